//! Following a ref: what it means now, and the way there.
//!
//! Always holds: what is shown changes only after the new commit and all its trees are here; whatever
//! fails before that leaves the old one.

use std::io;

use bonsaifs_core::{
    fs::{AsyncFs, Attr, Dropped, FsError, Kind, Timestamp},
    rt::run_blocking,
};

use super::{
    error::RepoError,
    open::{read_commit, resolve, want_key},
    provider::{Node, RepoFs},
    times::FIRST,
};
use crate::{
    git::{oid::Oid, tree::EntryMode},
    objects::{ObjectError, disk::Remembered},
    origin::{OriginError, RefWant, Resolved},
};

/// What a ref turned out to mean.
pub struct Target {
    resolved: Resolved,
    commit: Oid,
    root: Node,
}

/// What a mount shows at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The commit.
    pub commit: Oid,
    /// Its tree.
    pub root: Node,
    /// The full name of the ref that led to it, if one did.
    pub ref_name: Option<String>,
    /// True if the origin has not been asked since the mount was made from the cache alone.
    pub offline: bool,
}

impl Target {
    /// The commit.
    pub fn commit(&self) -> Oid {
        self.commit
    }
}

impl RepoFs {
    /// What is shown.
    pub fn shown(&self) -> Shown {
        let shown = self.0.shown.lock();
        shown.expect("no code panics while it holds it").clone()
    }

    /// Whether what was asked for can move: a branch, `HEAD`, or another ref, but neither a tag nor
    /// a commit by its id.
    pub fn can_move(&self) -> bool {
        match (&self.0.want, &self.shown().ref_name) {
            (RefWant::Head, _) => true,
            (RefWant::Named(_), Some(name)) => !name.starts_with("refs/tags/"),
            (RefWant::Named(_), None) => false,
        }
    }

    /// Asks the origin what the ref means now. If that is another commit, brings it with those of
    /// its trees that are not here, in one request.
    ///
    /// # Errors
    /// As those of [`super::open`].
    pub(super) async fn look(&self) -> Result<Target, RepoError> {
        let inner = &self.0;
        let resolved = resolve(&inner.runtime, &**inner.store.origin(), &inner.want).await?;
        let shown = self.shown();
        let target = resolved.peeled.unwrap_or(resolved.target);
        if target != shown.commit && !inner.store.origin().is_local() {
            inner
                .store
                .bring_commit(resolved.target, shown.root.oid)
                .await?;
        }
        let (commit, root, _) = read_commit(&inner.store, &resolved).await?;
        let now = inner.runtime.unix_time();
        let now = Timestamp {
            secs: i64::try_from(now.as_secs()).unwrap_or(i64::MAX),
            nanos: now.subsec_nanos(),
        };
        let next = inner.times.next_root(&inner.store, shown.root, root, now);
        Ok(Target {
            root: next.await,
            resolved,
            commit,
        })
    }

    /// Has `fs`, the filesystem over this repository, show what the ref means now: everything is brought, then it
    /// switches, then `forget` has the kernel drop what changed. Only after this may anyone be told. Nobody else may be at this.
    ///
    /// Gives what is shown now, and how much the kernel had to drop.
    ///
    /// # Errors
    /// As those of [`super::open`]; the old commit is shown then.
    pub async fn move_on(
        &self,
        fs: &AsyncFs<RepoFs>,
        forget: impl FnOnce(&[Dropped]) -> io::Result<()> + Send + 'static,
    ) -> Result<(Target, usize), RepoError> {
        let target = self.look().await?;
        let oid = target.root.oid;
        let broken = |error: FsError| {
            RepoError::Object(ObjectError::Malformed {
                oid,
                expected: "tree",
                reason: error.to_string(),
            })
        };
        let (root, attr) = self.root_of(&target);
        let switch = fs.prepare_switch(root, attr).await;
        let dropped = fs.switch(switch.map_err(broken)?).map_err(broken)?;
        let changed = dropped.len();
        self.show(&target);
        let forget = move || forget(&dropped);
        match run_blocking(&*self.0.runtime, "kernel forgets", forget).await {
            Some(Ok(())) => {}
            Some(Err(error)) => tracing::warn!(%error, "the kernel refused to drop something"),
            // The mount is ending.
            None => {}
        }
        Ok((target, changed))
    }

    /// The root directory of `target`.
    pub(super) fn root_of(&self, target: &Target) -> (Node, Attr) {
        (target.root, root_attr(self.0.times.of(target.root.stamp)))
    }

    /// Notes that `target` is what is shown from now on.
    pub(super) fn show(&self, target: &Target) {
        tracing::info!(commit = %target.commit, "the mount moves on");
        let shown = self.0.shown.lock();
        let mut shown = shown.expect("no code panics while it holds it");
        shown.commit = target.commit;
        shown.root = target.root;
        self.0.times.keep_only(target.root.stamp);
        shown.ref_name.clone_from(&target.resolved.name);
        shown.offline = false;
        drop(shown);
        self.0.ahead.moved(target.root.oid);
    }

    /// Notes on disk what the ref means, for a later mount without a network.
    pub async fn remember(&self, target: Target) {
        if self.0.store.origin().is_local() {
            return;
        }
        self.0.store.settled().await;
        let disk = self.0.store.disk().cloned();
        let key = want_key(&self.0.want);
        let what = Remembered {
            name: target.resolved.name,
            target: target.resolved.target,
            commit: target.commit,
        };
        let keep = move || disk.map_or(Ok(()), |disk| disk.remember(&key, &what));
        let kept = run_blocking(&*self.0.runtime, "remember ref", keep).await;
        if let Some(Err(error)) = kept {
            tracing::warn!(%error, "the cache could not remember what the ref meant");
        }
    }

    /// How long the origin wants to be left alone after it failed so.
    pub fn retry_after(error: &RepoError) -> Option<std::time::Duration> {
        match error {
            RepoError::Origin(
                OriginError::RateLimited { retry_after, .. }
                | OriginError::Server { retry_after, .. },
            ) => *retry_after,
            _ => None,
        }
    }
}

pub(super) fn root_node(oid: Oid) -> Node {
    Node {
        oid,
        mode: EntryMode::Dir,
        stamp: FIRST,
    }
}

pub(super) fn root_attr(mtime: Timestamp) -> Attr {
    Attr {
        kind: Kind::Dir,
        perm: 0o755,
        size: 0,
        mtime,
    }
}

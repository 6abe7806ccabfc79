//! From a source on the command line to a [`RepoFs`].
//!
//! Few round trips: one to find the commit, one that brings it and its trees. The filesystem is
//! ready as soon as the commit and its root are here; the rest streams in behind it.

use std::{path::PathBuf, sync::Arc, time::Duration};

use bonsaifs_core::{
    fs::Timestamp,
    rt::{SharedRuntime, run_blocking},
};

use super::{ahead::Prefetch, error::RepoError, hosts, provider::RepoFs};
use crate::{
    git::{
        commit::parse_commit,
        oid::{HashKind, ObjectKind, Oid, object_id},
        tag::parse_tag,
        url::Source,
    },
    objects::{
        BulkProgress, Content, ObjectError, ObjectStore,
        disk::{CacheFolder, DiskTier, Remembered},
    },
    origin::{
        Origin, OriginError, RefWant, Resolved,
        http::{HostMemory, HttpOrigin},
        local::LocalOrigin,
        retry::{Retries, RetryPolicy},
    },
    seams::{Seams, disk::Folder, http::HttpError},
};

/// What to open, and how.
pub struct OpenOptions {
    /// Where the repository is.
    pub source: Source,
    /// Which commit of it.
    pub want: RefWant,
    /// The folder for what is fetched; made if missing.
    pub cache_dir: PathBuf,
    /// The bytes that all of that folder may take, from now on for all who use it. Without it, what
    /// was said last, else 10 GiB or a tenth of the disk, whichever is less.
    pub cache_size: Option<u64>,
    /// Bytes of objects kept in memory.
    pub memory_budget: usize,
    /// What is fetched that nobody asked for.
    pub prefetch: Prefetch,
    /// Told what is going on, now and then.
    pub progress: Arc<dyn Fn(Progress) + Send + Sync>,
}

/// How far [`open`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The origin is asked for the ref.
    Resolving,
    /// The commit and its trees are coming.
    Fetching {
        /// Objects so far.
        objects: u64,
        /// Objects in all, once known.
        total: Option<u64>,
        /// Bytes so far.
        bytes: u64,
    },
    /// The filesystem can be used.
    Ready,
}

/// Opens one commit of a repository.
///
/// If the origin can't be reached but the cache remembers what the ref meant and has that commit,
/// this is what is opened ([`RepoFs::offline`]).
///
/// # Errors
/// When there is no such repository, ref or commit, it can't be reached or read, or the cache
/// folder can't be used.
pub async fn open(seams: &Seams, options: OpenOptions) -> Result<RepoFs, RepoError> {
    let cache = Folder {
        disk: seams.disk.clone(),
        path: options.cache_dir.clone(),
    };
    let hosts = hosts::load(&seams.runtime, &cache).await;
    let origin: Arc<dyn Origin> = match &options.source {
        Source::Path(path) => Arc::new(LocalOrigin::open(path, seams).await?),
        Source::Http(url) => Arc::new(HttpOrigin::new(url.clone(), seams, hosts.clone()).await),
    };
    (options.progress)(Progress::Resolving);
    let folder = Folder {
        disk: seams.disk.clone(),
        path: cache_path(&options.cache_dir, &*origin, &options.source),
    };
    let key = want_key(&options.want);
    let remembered = open_existing(&seams.runtime, &folder, &*origin)
        .and_then(|disk| Some((disk.hash(), disk.remembered(&key)?)));

    let (resolved, offline) = match resolve(&seams.runtime, &*origin, &options.want).await {
        Ok(resolved) => (resolved, false),
        Err(error) => match &remembered {
            Some((hash, known)) if is_unreachable(&error) => {
                tracing::warn!(%error, commit = %known.commit, "mounting what was fetched before");
                (from_memory(known, *hash), true)
            }
            _ => return Err(error.into()),
        },
    };
    let disk = DiskTier::open(
        seams.runtime.clone(),
        folder.clone(),
        resolved.hash,
        &origin.describe(),
    )
    .map_err(|error| RepoError::Cache {
        path: folder.path.clone(),
        reason: error.to_string(),
    })?;
    let whole = CacheFolder::new(seams.runtime.clone(), cache.clone());
    let whole = match options.cache_size {
        Some(bytes) => whole.with_quota(bytes),
        None => whole,
    };
    let disk = disk.within(whole);
    let store = ObjectStore::new(
        seams.runtime.clone(),
        origin.clone(),
        Some(Arc::new(disk)),
        resolved.hash,
        options.memory_budget,
    );
    store.look_after_disk();
    let (commit, root, time) = first_objects(seams, &store, &resolved, &options.progress)
        .await
        .map_err(|error| unknown_commit(error, &options.want, &resolved))?;
    if !offline && !origin.is_local() {
        let what = Remembered {
            name: resolved.name.clone(),
            target: resolved.target,
            commit,
        };
        remember(seams, &store, key, what, cache, hosts);
    }
    (options.progress)(Progress::Ready);
    Ok(RepoFs::new(
        seams.runtime.clone(),
        store,
        (options.want, resolved),
        Pinned {
            commit,
            root,
            time,
            offline,
        },
        options.prefetch,
    ))
}

/// The commit that a [`RepoFs`] shows.
pub(super) struct Pinned {
    pub commit: Oid,
    pub root: Oid,
    pub time: Timestamp,
    /// True if the origin could not be asked.
    pub offline: bool,
}

/// A commit id is believed until the objects are asked for: an origin that doesn't have it makes it
/// an unknown one.
fn unknown_commit(error: RepoError, want: &RefWant, resolved: &Resolved) -> RepoError {
    match (&error, want) {
        (
            RepoError::Origin(OriginError::MissingObject { source_name, oid }),
            RefWant::Named(name),
        ) if resolved.name.is_none() && oid.is_none_or(|oid| oid == resolved.target) => {
            OriginError::UnknownRef {
                source_name: source_name.clone(),
                name: name.clone(),
            }
            .into()
        }
        _ => error,
    }
}

/// A folder of its own for each source: its name for people, a hash of it all for uniqueness.
fn cache_path(cache_dir: &std::path::Path, origin: &dyn Origin, source: &Source) -> PathBuf {
    let described = origin.describe();
    let id = object_id(HashKind::Sha1, ObjectKind::Blob, described.as_bytes());
    let id = id.map_or_else(|| "0".repeat(16), |id| id.to_hex_with_len(16).to_string());
    let name: String = match source {
        Source::Http(url) => url.repo_name(),
        Source::Path(_) => {
            let parts = described.trim_end_matches('/').rsplit('/');
            parts
                .map(|part| part.trim_end_matches(".git"))
                .find(|part| !part.is_empty())
                .unwrap_or("root")
                .to_owned()
        }
    };
    let name: String = name
        .chars()
        .map(|char| {
            if char.is_ascii_alphanumeric() || "-_.".contains(char) {
                char
            } else {
                '_'
            }
        })
        .take(64)
        .collect();
    cache_dir
        .join("repos")
        .join(format!("{}-{id}", name.trim_start_matches('.')))
}

fn open_existing(
    runtime: &SharedRuntime,
    folder: &Folder,
    origin: &dyn Origin,
) -> Option<DiskTier> {
    let hash = DiskTier::format_of(folder)?;
    DiskTier::open(runtime.clone(), folder.clone(), hash, &origin.describe()).ok()
}

/// Notes what the ref meant, for a mount without a network, and what was learnt of the host. Waits
/// until the commit itself is in the cache: a ref never points to what is not there.
fn remember(
    seams: &Seams,
    store: &ObjectStore,
    key: String,
    what: Remembered,
    cache: Folder,
    hosts: HostMemory,
) {
    let (runtime, store, job) = (seams.runtime.clone(), store.clone(), store.begin_job());
    let task = async move {
        store.settled().await;
        let disk = store.disk().cloned();
        let own = runtime.clone();
        let keep = move || {
            hosts::save(&own, &cache, &hosts);
            disk.map_or(Ok(()), |disk| disk.remember(&key, &what))
        };
        if let Some(Err(error)) = run_blocking(&*runtime, "remember ref", keep).await {
            tracing::warn!(%error, "the cache could not remember what the ref meant");
        }
        drop(job);
    };
    seams.runtime.spawn("remember ref", Box::pin(task));
}

/// Under which name the meaning of a ref is remembered.
pub(super) fn want_key(want: &RefWant) -> String {
    match want {
        RefWant::Head => String::new(),
        RefWant::Named(name) => name.clone(),
    }
}

pub(super) async fn resolve(
    runtime: &SharedRuntime,
    origin: &dyn Origin,
    want: &RefWant,
) -> Result<Resolved, OriginError> {
    let mut retries = Retries::new(&**runtime, RetryPolicy::default());
    loop {
        match origin.resolve(want).await {
            Ok(resolved) => return Ok(resolved),
            // Who starts a mount wants to know at once that nobody is there.
            Err(error @ OriginError::Http(HttpError::Connect { .. })) => return Err(error),
            Err(error) => retries.pause_after(error).await?,
        }
    }
}

/// Whether the origin could not be asked at all, as opposed to having said no.
fn is_unreachable(error: &OriginError) -> bool {
    matches!(
        error,
        OriginError::Http(
            HttpError::Name { .. }
                | HttpError::Connect { .. }
                | HttpError::Timeout { .. }
                | HttpError::Broken { .. }
        ) | OriginError::Server { .. }
            | OriginError::RateLimited { .. }
    )
}

fn from_memory(known: &Remembered, hash: HashKind) -> Resolved {
    Resolved {
        name: known.name.clone(),
        target: known.target,
        peeled: Some(known.commit),
        hash,
    }
}

/// Brings the commit and its root tree, and starts to bring the other trees.
async fn first_objects(
    seams: &Seams,
    store: &ObjectStore,
    resolved: &Resolved,
    progress: &Arc<dyn Fn(Progress) + Send + Sync>,
) -> Result<(Oid, Oid, Timestamp), RepoError> {
    /// How often a progress line may change.
    const BEAT: Duration = Duration::from_millis(50);
    let complete = match store.disk() {
        _ if store.origin().is_local() => true,
        Some(disk) => disk.is_complete(&resolved.peeled.unwrap_or(resolved.target)),
        None => false,
    };
    let counts = match complete {
        true => Arc::new(BulkProgress::default()),
        false => store.download_commit(resolved.target),
    };
    let report = || {
        progress(Progress::Fetching {
            objects: counts.objects_so_far(),
            total: counts.objects_in_all(),
            bytes: counts.bytes_so_far(),
        });
    };
    let mut read = std::pin::pin!(read_commit(store, resolved));
    loop {
        match bonsaifs_core::rt::timeout(&*seams.runtime, BEAT, read.as_mut()).await {
            Ok(found) => return found,
            Err(_) => report(),
        }
    }
}

/// From the ref's target to its commit and root tree.
pub(super) async fn read_commit(
    store: &ObjectStore,
    resolved: &Resolved,
) -> Result<(Oid, Oid, Timestamp), RepoError> {
    let mut oid = resolved.target;
    // A tag may point to a tag; a chain longer than this is nobody's honest work.
    for _ in 0..16 {
        let (kind, data) = match store.get(&oid, ObjectKind::Commit).await? {
            Content::Whole { kind, data } => (kind, data),
            Content::Large(_) => (ObjectKind::Blob, bytes::Bytes::new()),
        };
        match kind {
            ObjectKind::Tag => {
                oid = parse_tag(&data, resolved.hash)
                    .map_err(|error| malformed(oid, "tag", &error))?
                    .target
            }
            ObjectKind::Commit => {
                let commit = parse_commit(&data, resolved.hash)
                    .map_err(|error| malformed(oid, "commit", &error))?;
                match store.get(&commit.tree, ObjectKind::Tree).await? {
                    Content::Whole {
                        kind: ObjectKind::Tree,
                        ..
                    } => {}
                    other => {
                        let reason = format!("it is a {}", other.kind());
                        return Err(malformed(commit.tree, "tree", &reason));
                    }
                }
                let time = Timestamp {
                    secs: commit.committer_time,
                    nanos: 0,
                };
                return Ok((oid, commit.tree, time));
            }
            ObjectKind::Tree | ObjectKind::Blob => {
                return Err(malformed(oid, "commit", &format!("it is a {kind}")));
            }
        }
    }
    Err(malformed(
        oid,
        "commit",
        &"the tag points to tags without an end",
    ))
}

fn malformed(oid: Oid, expected: &'static str, reason: &dyn std::fmt::Display) -> RepoError {
    RepoError::Object(ObjectError::Malformed {
        oid,
        expected,
        reason: reason.to_string(),
    })
}

//! [`RepoFs`]: `bonsaifs_core::fs::Provider` over one commit.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use bonsaifs_core::{
    cache::flight::SingleFlight,
    fs::{Attr, FsError, FsErrorKind, FsResult, Listing, ListingBuilder, Provider, StatFs},
    rt::{SharedRuntime, run_blocking},
};
use bytes::Bytes;
use rustc_hash::FxHashSet;

use super::{
    ahead::{Ahead, Prefetch},
    follow::{Shown, root_attr, root_node},
    open::Pinned,
    times::Times,
    tree::{self, Listed},
};
use crate::{
    git::{
        oid::{ObjectKind, Oid},
        tree::EntryMode,
    },
    objects::{Content, Missed, ObjectError, ObjectStore, disk::LargeFile},
    origin::{OriginError, RefWant, Resolved},
    seams::http::HttpError,
};

/// The longest symlink target that Linux can hand out (`PATH_MAX` less the NUL).
const MAX_TARGET: usize = 4095;
/// Of trees with more bytes (some 20,000 entries) sizes are looked up when they are asked for, not
/// when the tree is listed, so that listing stays quick.
const EAGER_TREE: usize = 768 << 10;

/// Trees of up to so many bytes (some 1,700 entries) are listed by the thread that asks: a tenth of a
/// millisecond.
const TREE_AT_ONCE: u64 = 64 << 10;

/// A place in the tree: an object, and what the tree says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    /// The object's id.
    pub oid: Oid,
    /// The entry's mode.
    pub mode: EntryMode,
    /// Which time it shows, and what is in it: two directories with one object may have been
    /// changed at different times. 0 until the mount moves on.
    pub stamp: u32,
}

/// One commit of a repository, read-only. A clone is another handle to the same.
#[derive(Clone)]
pub struct RepoFs(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub runtime: SharedRuntime,
    pub store: ObjectStore,
    /// What was asked for.
    pub want: RefWant,
    /// What is shown; another commit only after [`RepoFs::show`].
    pub shown: Mutex<Shown>,
    /// Which times the entries show.
    pub times: Times,
    pub rejected: Rejected,
    pub known: Known,
    /// What asks for more than is read.
    pub ahead: Arc<Ahead>,
    /// One request for the sizes of a directory, whoever asks; by the listing's address, which is
    /// its own while the flight holds it.
    sizes: SingleFlight<usize, ()>,
    /// True once the origin said that it can't tell sizes alone.
    no_sizes: AtomicBool,
}

/// What was left out so far, each tree's entries counted and logged once.
#[derive(Default)]
pub(super) struct Rejected {
    trees: Mutex<FxHashSet<Oid>>,
    entries: AtomicU64,
}

/// Totals of what is known, for `statfs`.
#[derive(Default)]
pub(super) struct Known {
    bytes: AtomicU64,
    files: AtomicU64,
}

impl Rejected {
    fn note(&self, tree: Oid, entries: &[String]) {
        if entries.is_empty() {
            return;
        }
        let first = self
            .trees
            .lock()
            .expect("no code panics while it holds the set")
            .insert(tree);
        if first {
            self.entries
                .fetch_add(entries.len() as u64, Ordering::Relaxed);
            for entry in entries {
                tracing::warn!(tree = %tree, "left out of the tree: {entry}");
            }
        }
    }

    pub fn entries(&self) -> u64 {
        self.entries.load(Ordering::Relaxed)
    }
}

impl RepoFs {
    pub(super) fn new(
        runtime: SharedRuntime,
        store: ObjectStore,
        (want, resolved): (RefWant, Resolved),
        pinned: Pinned,
        prefetch: Prefetch,
    ) -> Self {
        Self(Arc::new(Inner {
            ahead: Ahead::new(runtime.clone(), store.clone(), pinned.root, prefetch),
            runtime,
            store,
            want,
            shown: Mutex::new(Shown {
                commit: pinned.commit,
                root: root_node(pinned.root),
                ref_name: resolved.name,
                offline: pinned.offline,
            }),
            times: Times::new(pinned.time),
            rejected: Rejected::default(),
            known: Known::default(),
            sizes: SingleFlight::new(),
            no_sizes: AtomicBool::new(false),
        }))
    }

    fn noted<T>(&self, outcome: Result<T, ObjectError>) -> FsResult<T> {
        outcome.map_err(|error| {
            self.0.store.note_error(error.to_string());
            FsError::new(kind_of(&error), error)
        })
    }

    fn make_listing(&self, dir: &Node, content: &Content) -> FsResult<Listing<Node>> {
        let tree = &dir.oid;
        let Content::Whole {
            kind: ObjectKind::Tree,
            data,
        } = content
        else {
            return Err(malformed(
                *tree,
                "tree",
                &format!("it is a {}", content.kind()),
            ));
        };
        let store = &self.0.store;
        // What a source on this machine tells in a microsecond.
        let eager = data.len() <= EAGER_TREE;
        let source = |oid: &Oid| store.origin().try_header(oid)?.ok();
        // What came ahead is told when it is asked for, so that it is known to be of use.
        let ahead = &self.0.ahead;
        let header = |oid: &Oid| {
            let told_now = !ahead.is_unread(oid);
            told_now
                .then(|| self.header_at_hand(oid))
                .flatten()
                .or_else(|| eager.then(|| source(oid)).flatten())
        };
        let Listed { listing, rejected } =
            tree::list(data, store.hash(), self.0.times.within(dir.stamp), header)
                .map_err(|error| malformed(*tree, "tree", &error.to_string()))?;
        self.0.rejected.note(*tree, &rejected);
        self.0
            .known
            .files
            .fetch_add(listing.len() as u64, Ordering::Relaxed);
        for entry in listing.iter() {
            let size = entry.attr.map_or(0, |attr| attr.size);
            self.0.known.bytes.fetch_add(size, Ordering::Relaxed);
        }
        let tag = self.0.ahead.listed(*tree, &listing);
        Ok(listing.with_tag(tag))
    }

    /// Kind and size of an object whose content is in memory, or of a blob whose size was ever
    /// learnt.
    fn header_at_hand(&self, oid: &Oid) -> Option<(ObjectKind, u64)> {
        let store = &self.0.store;
        let known = || Some((ObjectKind::Blob, store.known_size(oid)?));
        store.try_header(oid).or_else(known)
    }

    /// The content of a blob; a large file that turns out damaged is dropped and brought anew.
    async fn blob(&self, oid: &Oid, missed: Option<Missed>) -> FsResult<Content> {
        let content = self.0.store.get_or(oid, ObjectKind::Blob, missed).await;
        let content = self.noted(content)?;
        self.must_be_blob(oid, content.kind())?;
        Ok(content)
    }

    fn must_be_blob(&self, oid: &Oid, kind: ObjectKind) -> FsResult<()> {
        match kind {
            ObjectKind::Blob => Ok(()),
            other => {
                // Only the object itself could tell that the entry is none.
                let entry = format!("{oid}: its mode says otherwise than its object, a {other}");
                self.0.rejected.note(*oid, &[entry]);
                Err(malformed(*oid, "blob", &format!("it is a {other}")))
            }
        }
    }

    async fn size_of_blob(&self, oid: &Oid) -> FsResult<u64> {
        let (kind, size) = self.noted(self.0.store.header(oid).await)?;
        self.must_be_blob(oid, kind)?;
        Ok(size)
    }

    async fn read_large(
        &self,
        file: Arc<LargeFile>,
        offset: u64,
        len: u32,
    ) -> std::io::Result<Bytes> {
        run_blocking(&*self.0.runtime, "read large file", move || {
            file.read(offset, len)
        })
        .await
        .unwrap_or_else(|| Err(std::io::Error::other("the read was given up")))
    }

    /// Learns the sizes of all entries of `listing` that are not known yet, in one request, from
    /// an origin that can tell them.
    async fn learn_sizes(&self, listing: &Arc<Listing<Node>>) {
        if self.0.no_sizes.load(Ordering::Relaxed) {
            return;
        }
        let unknown = (0..listing.len()).filter(|index| listing.size(*index).is_none());
        let (indexes, oids): (Vec<usize>, Vec<Oid>) = unknown
            .map(|index| (index, listing.get(index).node.oid))
            .unzip();
        match self.0.store.origin().sizes(&oids).await {
            Ok(Some(sizes)) => {
                for (index, size) in indexes.into_iter().zip(sizes) {
                    if let Some(size) = size {
                        let oid = listing.get(index).node.oid;
                        self.0.store.learn_size(&oid, size);
                        self.set_size(listing, index, size);
                    }
                }
            }
            Ok(None) => self.0.no_sizes.store(true, Ordering::Relaxed),
            // The content will tell; its request says what is wrong, if something is.
            Err(error) => tracing::debug!(%error, "the sizes of a directory could not be had"),
        }
    }

    fn set_size(&self, listing: &Listing<Node>, index: usize, size: u64) {
        if listing.size(index).is_none() {
            self.0.known.bytes.fetch_add(size, Ordering::Relaxed);
            listing.set_size(index, size);
        }
    }
}

impl Provider for RepoFs {
    type Node = Node;

    fn root(&self) -> (Node, Attr) {
        let shown = self.shown();
        let time = self.0.times.of(shown.root.stamp);
        (shown.root, root_attr(time))
    }

    fn try_list(&self, dir: &Node) -> Option<FsResult<Listing<Node>>> {
        let store = &self.0.store;
        // A source on this machine tells the sizes too, and its disk may have to be waited for.
        if dir.mode == EntryMode::Gitlink || store.origin().is_local() {
            return None;
        }
        let content = store.get_at_once(&dir.oid)?;
        (content.size() <= TREE_AT_ONCE).then(|| self.make_listing(dir, &content))
    }

    async fn list(&self, dir: &Node) -> FsResult<Listing<Node>> {
        if dir.mode == EntryMode::Gitlink {
            return Ok(ListingBuilder::with_capacity(0).build().0);
        }
        let content = self.noted(self.0.store.get(&dir.oid, ObjectKind::Tree).await)?;
        let (this, dir) = (self.clone(), *dir);
        run_blocking(&*self.0.runtime, "list tree", move || {
            this.make_listing(&dir, &content)
        })
        .await
        .unwrap_or_else(|| Err(FsErrorKind::Io.into()))
    }

    fn try_size(&self, listing: &Arc<Listing<Node>>, index: usize) -> Option<FsResult<u64>> {
        let oid = &listing.get(index).node.oid;
        let (kind, size) = self.header_at_hand(oid)?;
        self.0.ahead.used(oid, size);
        (kind == ObjectKind::Blob).then_some(Ok(size))
    }

    async fn size(&self, listing: &Arc<Listing<Node>>, index: usize) -> FsResult<u64> {
        let oid = listing.get(index).node.oid;
        let store = self.0.store.clone();
        let local = run_blocking(&*self.0.runtime, "object header", move || {
            store.local_header(&oid)
        });
        if let Some(Some((ObjectKind::Blob, size))) = local.await {
            self.0.ahead.used(&oid, size);
            self.set_size(listing, index, size);
            return Ok(size);
        }
        let key = Arc::as_ptr(listing).addr();
        self.0.sizes.run(&key, || self.learn_sizes(listing)).await;
        match listing.size(index) {
            Some(size) => Ok(size),
            None => {
                self.0.ahead.missed_size(listing.tag(), index);
                let size = self.size_of_blob(&oid).await?;
                // What is too large did not come for that.
                if self.0.store.try_header(&oid).is_some() {
                    self.0.ahead.read(&oid, size);
                }
                Ok(size)
            }
        }
    }

    fn try_read(&self, file: &Node, offset: u64, len: u32) -> Option<FsResult<Bytes>> {
        match self.0.store.get_at_once(&file.oid)? {
            Content::Whole {
                kind: ObjectKind::Blob,
                data,
            } => {
                self.0.ahead.used(&file.oid, data.len() as u64);
                Some(Ok(slice(&data, offset, len)))
            }
            Content::Large(large) => {
                let data = large.read_at_once(offset, len)?;
                self.0.ahead.used(&file.oid, large.size());
                Some(Ok(data))
            }
            // The async half finds the error.
            Content::Whole { .. } => None,
        }
    }

    fn will_read(&self, file: &Node, tag: u64, index: usize) {
        self.0.ahead.will_read(file.oid, tag, index);
    }

    fn will_scan(&self, _: &Node, tag: u64) {
        self.0.ahead.will_scan(tag);
    }

    async fn read(&self, file: &Node, offset: u64, len: u32) -> FsResult<Bytes> {
        let (mut note, missed) = self.0.ahead.reading(&file.oid);
        for _ in 0..2 {
            let content = self.blob(&file.oid, note.take()).await?;
            match missed.load(Ordering::Relaxed) {
                true => self.0.ahead.read(&file.oid, content.size()),
                false => self.0.ahead.used(&file.oid, content.size()),
            }
            match content {
                Content::Whole { data, .. } => return Ok(slice(&data, offset, len)),
                Content::Large(large) => match self.read_large(large, offset, len).await {
                    Ok(data) => return Ok(data),
                    Err(error) => {
                        self.0
                            .store
                            .note_error(format!("large file {}: {error}", file.oid));
                        self.0.store.drop_damaged(&file.oid);
                    }
                },
            }
        }
        Err(malformed(
            file.oid,
            "blob",
            "its file in the cache was damaged twice in a row",
        ))
    }

    fn try_readlink(&self, link: &Node) -> Option<FsResult<Bytes>> {
        match self.0.store.get_at_once(&link.oid)? {
            Content::Whole {
                kind: ObjectKind::Blob,
                data,
            } => Some(check_target(link, data)),
            _ => None,
        }
    }

    async fn readlink(&self, link: &Node) -> FsResult<Bytes> {
        match self.blob(&link.oid, None).await? {
            Content::Whole { data, .. } => check_target(link, data),
            Content::Large(_) => Err(FsErrorKind::NameTooLong.into()),
        }
    }

    fn statfs(&self) -> StatFs {
        StatFs {
            bytes: self.0.known.bytes.load(Ordering::Relaxed),
            files: self.0.known.files.load(Ordering::Relaxed),
            max_name: 255,
        }
    }

    fn label(&self, node: &Node) -> Option<String> {
        Some(node.oid.to_string())
    }

    fn xattrs(&self, node: &Node) -> Vec<(String, Vec<u8>)> {
        // Linux lets nobody read `user.` attributes of a symlink (xattr(7)).
        if node.mode == EntryMode::Symlink {
            return Vec::new();
        }
        let info = self.info(node);
        vec![
            (
                "user.bonsai.oid".to_owned(),
                info.oid.to_string().into_bytes(),
            ),
            (
                "user.bonsai.commit".to_owned(),
                self.shown().commit.to_string().into_bytes(),
            ),
            (
                "user.bonsai.content".to_owned(),
                info.content.as_bytes().to_vec(),
            ),
        ]
    }
}

fn slice(data: &Bytes, offset: u64, len: u32) -> Bytes {
    let start = usize::try_from(offset)
        .unwrap_or(usize::MAX)
        .min(data.len());
    let end = start.saturating_add(len as usize).min(data.len());
    data.slice(start..end)
}

/// A target that `readlink` can hand out (POSIX: not empty, no NUL, shorter than `PATH_MAX`).
fn check_target(link: &Node, data: Bytes) -> FsResult<Bytes> {
    if data.len() > MAX_TARGET {
        return Err(FsErrorKind::NameTooLong.into());
    }
    if data.is_empty() || data.contains(&0) {
        return Err(malformed(
            link.oid,
            "symlink",
            "its target is empty or has a NUL",
        ));
    }
    Ok(data)
}

fn malformed(oid: Oid, expected: &'static str, reason: &str) -> FsError {
    let error = ObjectError::Malformed {
        oid,
        expected,
        reason: reason.to_owned(),
    };
    tracing::warn!(object = %oid, %error, "a damaged or hostile object");
    FsError::new(FsErrorKind::Io, error)
}

/// What a reader is told. Never "no such file": the tree says that there is one.
fn kind_of(error: &ObjectError) -> FsErrorKind {
    match error {
        ObjectError::Origin { cause, .. } => match &**cause {
            OriginError::Http(HttpError::Timeout { .. }) | OriginError::RateLimited { .. } => {
                FsErrorKind::TimedOut
            }
            OriginError::Unauthorized { .. } | OriginError::Forbidden { .. } => FsErrorKind::Denied,
            _ => FsErrorKind::Io,
        },
        ObjectError::GivenUp { .. }
        | ObjectError::Malformed { .. }
        | ObjectError::OnlySize { .. } => FsErrorKind::Io,
    }
}

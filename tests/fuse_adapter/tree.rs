//! A provider in memory whose every answer can be held up, refused or made to panic.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use bonsaifs_core::fs::{
    Attr, FsError, FsErrorKind, FsResult, Kind, Listing, ListingBuilder, Provider, StatFs,
    Timestamp,
};
use bytes::Bytes;
use tokio::sync::watch;

/// The time of every entry.
pub const TIME: Timestamp = Timestamp {
    secs: 1_234_567_890,
    nanos: 0,
};

/// An entry's number in the tree; 0 is the root.
pub type Id = usize;

#[derive(Debug)]
enum Entry {
    Dir(BTreeMap<Vec<u8>, Id>),
    File(Bytes),
    Link(Bytes),
}

/// What an entry's content does when it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Answers from memory, on the spot.
    Warm,
    /// Answers in a task only.
    Cold,
    /// Fails.
    Fails(FsErrorKind),
    /// Panics on the spot.
    PanicsNow,
    /// Panics in a task.
    PanicsLater,
}

/// A tree and its moods. Clones share them.
#[derive(Clone)]
pub struct Tree(Arc<Inner>);

struct Inner {
    entries: Mutex<Vec<Entry>>,
    moods: Mutex<BTreeMap<Id, Mood>>,
    /// Entries whose size no listing tells.
    sizeless: Mutex<BTreeSet<Id>>,
    /// Entries whose tasks wait.
    held: watch::Sender<BTreeSet<Id>>,
    /// How many tasks wait.
    waiting: AtomicU64,
}

impl Tree {
    /// An empty root.
    pub fn new() -> Self {
        Self(Arc::new(Inner {
            entries: Mutex::new(vec![Entry::Dir(BTreeMap::new())]),
            moods: Mutex::default(),
            sizeless: Mutex::default(),
            held: watch::channel(BTreeSet::new()).0,
            waiting: AtomicU64::new(0),
        }))
    }

    fn add(&self, dir: Id, name: impl AsRef<[u8]>, entry: Entry) -> Id {
        let mut entries = self.0.entries.lock().expect("no test panics in here");
        let id = entries.len();
        entries.push(entry);
        let Entry::Dir(names) = &mut entries[dir] else {
            panic!("entry {dir} is not a directory");
        };
        names.insert(name.as_ref().to_vec(), id);
        id
    }

    pub fn dir(&self, dir: Id, name: impl AsRef<[u8]>) -> Id {
        self.add(dir, name, Entry::Dir(BTreeMap::new()))
    }

    pub fn file(&self, dir: Id, name: impl AsRef<[u8]>, data: impl Into<Bytes>) -> Id {
        self.add(dir, name, Entry::File(data.into()))
    }

    pub fn link(&self, dir: Id, name: impl AsRef<[u8]>, target: impl Into<Bytes>) -> Id {
        self.add(dir, name, Entry::Link(target.into()))
    }

    /// A file whose size only [`Provider::size`] tells.
    pub fn sizeless(&self, dir: Id, name: impl AsRef<[u8]>, data: impl Into<Bytes>) -> Id {
        let id = self.file(dir, name, data);
        let mut sizeless = self.0.sizeless.lock().expect("no test panics in here");
        sizeless.insert(id);
        id
    }

    /// A symlink whose length only [`Provider::size`] tells.
    pub fn sizeless_link(&self, dir: Id, name: impl AsRef<[u8]>, to: impl Into<Bytes>) -> Id {
        let id = self.link(dir, name, to);
        let mut sizeless = self.0.sizeless.lock().expect("no test panics in here");
        sizeless.insert(id);
        id
    }

    /// Sets an entry's mood; warm is the default.
    pub fn set(&self, id: Id, mood: Mood) {
        let mut moods = self.0.moods.lock().expect("no test panics in here");
        moods.insert(id, mood);
    }

    /// Holds up whatever a task asks of the entry, until [`Tree::release`].
    pub fn hold(&self, id: Id) {
        self.0.held.send_if_modified(|held| held.insert(id));
    }

    pub fn release(&self, id: Id) {
        self.0.held.send_if_modified(|held| held.remove(&id));
    }

    /// How many tasks are held up now.
    pub fn waiting(&self) -> u64 {
        self.0.waiting.load(Ordering::SeqCst)
    }

    fn mood(&self, id: Id) -> Mood {
        let moods = self.0.moods.lock().expect("no test panics in here");
        moods.get(&id).copied().unwrap_or(Mood::Warm)
    }

    /// `None` if only a task may answer.
    fn now(&self, id: Id) -> Option<FsResult<()>> {
        match self.mood(id) {
            Mood::Warm => Some(Ok(())),
            Mood::Cold | Mood::PanicsLater => None,
            Mood::Fails(kind) => Some(Err(failure(kind))),
            Mood::PanicsNow => panic!("as the test wants it"),
        }
    }

    async fn later(&self, id: Id) -> FsResult<()> {
        let mut held = self.0.held.subscribe();
        let waiting = Waiting::new(&self.0.waiting);
        // The sender is part of self.
        let _ = held.wait_for(|held| !held.contains(&id)).await;
        drop(waiting);
        match self.mood(id) {
            Mood::Fails(kind) => Err(failure(kind)),
            Mood::PanicsLater => panic!("as the test wants it"),
            Mood::Warm | Mood::Cold | Mood::PanicsNow => Ok(()),
        }
    }

    fn data(&self, id: Id) -> Bytes {
        match &self.0.entries.lock().expect("no test panics in here")[id] {
            Entry::File(data) | Entry::Link(data) => data.clone(),
            Entry::Dir(_) => Bytes::new(),
        }
    }

    fn listing(&self, dir: Id) -> Listing<Id> {
        let entries = self.0.entries.lock().expect("no test panics in here");
        let sizeless = self.0.sizeless.lock().expect("no test panics in here");
        let Entry::Dir(names) = &entries[dir] else {
            panic!("entry {dir} is not a directory");
        };
        let mut builder = ListingBuilder::new();
        for (name, id) in names {
            let (kind, perm, size) = match &entries[*id] {
                Entry::Dir(_) => (Kind::Dir, 0o755, Some(0)),
                Entry::File(data) => (Kind::File, 0o644, Some(data.len() as u64)),
                Entry::Link(target) => (Kind::Symlink, 0o777, Some(target.len() as u64)),
            };
            let size = size.filter(|_| !sizeless.contains(id));
            builder.push(name, *id, kind, perm, TIME, size);
        }
        let (listing, bad) = builder.build();
        assert!(bad.is_empty(), "bad names in a test: {bad:?}");
        listing
    }
}

/// Counts a task as waiting, also if it is dropped.
struct Waiting<'a>(&'a AtomicU64);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicU64) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn failure(kind: FsErrorKind) -> FsError {
    FsError::new(kind, "as the test wants it")
}

fn slice(data: &Bytes, offset: u64, len: u32) -> Bytes {
    let start = data.len().min(offset.try_into().unwrap_or(usize::MAX));
    let end = data.len().min(start.saturating_add(len as usize));
    data.slice(start..end)
}

impl Provider for Tree {
    type Node = Id;

    fn root(&self) -> (Id, Attr) {
        let attr = Attr {
            kind: Kind::Dir,
            perm: 0o755,
            size: 0,
            mtime: TIME,
        };
        (0, attr)
    }

    fn try_list(&self, dir: &Id) -> Option<FsResult<Listing<Id>>> {
        self.now(*dir).map(|go| go.map(|()| self.listing(*dir)))
    }

    async fn list(&self, dir: &Id) -> FsResult<Listing<Id>> {
        self.later(*dir).await.map(|()| self.listing(*dir))
    }

    async fn size(&self, listing: &Arc<Listing<Id>>, index: usize) -> FsResult<u64> {
        let id = *listing.get(index).node;
        self.later(id).await.map(|()| self.data(id).len() as u64)
    }

    fn try_read(&self, file: &Id, offset: u64, len: u32) -> Option<FsResult<Bytes>> {
        let go = self.now(*file)?;
        Some(go.map(|()| slice(&self.data(*file), offset, len)))
    }

    async fn read(&self, file: &Id, offset: u64, len: u32) -> FsResult<Bytes> {
        self.later(*file).await?;
        Ok(slice(&self.data(*file), offset, len))
    }

    fn try_readlink(&self, link: &Id) -> Option<FsResult<Bytes>> {
        self.now(*link).map(|go| go.map(|()| self.data(*link)))
    }

    async fn readlink(&self, link: &Id) -> FsResult<Bytes> {
        self.later(*link).await.map(|()| self.data(*link))
    }

    fn statfs(&self) -> StatFs {
        StatFs {
            bytes: 4097,
            files: 12,
            max_name: 255,
        }
    }

    fn xattrs(&self, node: &Id) -> Vec<(String, Vec<u8>)> {
        let number = ("user.test.number".to_owned(), node.to_string().into_bytes());
        vec![number, ("user.test.empty".to_owned(), Vec::new())]
    }
}

//! A small tree as a provider that answers when, and how, the test says.

use std::{
    collections::BTreeMap,
    future::{Future, ready},
    panic::resume_unwind,
    pin::Pin,
};

use super::*;
use crate::{
    cache::oneshot::{Sender, oneshot},
    fs::{FsError, ListingBuilder, Timestamp},
    sync::{AtomicU64, Mutex, Ordering, lock},
};

pub(super) const TIME: Timestamp = Timestamp {
    secs: 1_000_000,
    nanos: 7,
};

/// The root's node.
pub(super) const ROOT: u32 = 0;

/// A name, what is there, and what that is.
pub(super) type TreeEntry = (&'static str, u32, Kind);

/// Each directory's entries, by node. Two paths lead to directory 1 and to
/// file 5: nodes are content, not places.
const TREE: &[(u32, &[TreeEntry])] = &[
    (
        ROOT,
        &[
            ("a", 1, Kind::Dir),
            ("b", 2, Kind::File),
            ("empty", 4, Kind::Dir),
            ("link", 3, Kind::Symlink),
            ("same", 1, Kind::Dir),
        ],
    ),
    (
        1,
        &[
            ("deep", 7, Kind::Dir),
            ("x", 5, Kind::File),
            ("y", 6, Kind::File),
        ],
    ),
    (4, &[]),
    (7, &[("z", 5, Kind::File)]),
];

pub(super) fn entries(dir: u32) -> &'static [TreeEntry] {
    let (_, entries) = TREE
        .iter()
        .find(|(node, _)| *node == dir)
        .expect("a directory");
    entries
}

/// The bytes of a file, or the target of a symlink.
pub(super) fn content(node: u32) -> Vec<u8> {
    (0..node * 10).map(|i| (i + node) as u8).collect()
}

pub(super) fn part(node: u32, offset: u64, len: u32) -> Vec<u8> {
    let rest = content(node).into_iter().skip(offset as usize);
    rest.take(len as usize).collect()
}

pub(super) fn attr(node: u32, kind: Kind) -> Attr {
    let size = match kind {
        Kind::Dir => 0,
        Kind::File | Kind::Symlink => content(node).len() as u64,
    };
    Attr {
        kind,
        perm: if kind == Kind::Dir { 0o755 } else { 0o644 },
        size,
        mtime: TIME,
    }
}

/// A question to the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Call {
    List(u32),
    Size(u32),
    Read(u32, u64, u32),
    Readlink(u32),
}

/// How a question is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    Well,
    Badly,
    Panic,
}

/// When questions are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// By the `try_` methods already.
    Now,
    /// By the async methods, at their first poll.
    Soon,
    /// When the test says.
    Later,
}

pub(super) struct Tree {
    pub(super) when: Mutex<When>,
    /// Questions not answered yet.
    open: Mutex<Vec<Open>>,
    /// How often each was asked.
    asked: Mutex<BTreeMap<Call, u32>>,
    /// How often it failed.
    failures: Arc<AtomicU64>,
    /// How often a listing was invalidated.
    invalidated: AtomicU64,
}

struct Open {
    call: Call,
    /// What was to be seen when it was asked: only then it is the same question.
    epoch: u64,
    gate: Sender<How>,
}

impl Tree {
    pub(super) fn new(when: When) -> Self {
        Self {
            when: Mutex::new(when),
            open: Mutex::default(),
            asked: Mutex::default(),
            failures: Arc::default(),
            invalidated: AtomicU64::new(0),
        }
    }

    pub(super) fn set(&self, when: When) {
        *lock(&self.when) = when;
    }

    pub(super) fn asked(&self, call: Call) -> u32 {
        lock(&self.asked).get(&call).copied().unwrap_or(0)
    }

    /// How often a question was answered by a failure, and the failure was seen.
    pub(super) fn failures(&self) -> u64 {
        self.failures.load(Ordering::SeqCst)
    }

    /// From now on a question for a listing is another question.
    pub(super) fn listings_are_invalidated(&self) {
        self.invalidated.fetch_add(1, Ordering::SeqCst);
    }

    /// The questions that somebody waits for.
    pub(super) fn open(&self) -> Vec<Call> {
        let mut open = lock(&self.open);
        open.retain(|open| !open.gate.is_closed());
        open.iter().map(|open| open.call).collect()
    }

    /// Answers the open question `i`.
    pub(super) fn answer(&self, i: usize, how: How) {
        let question = lock(&self.open).remove(i);
        let _ = question.gate.send(how);
    }

    fn now(&self, call: Call) -> Option<()> {
        let now = *lock(&self.when) == When::Now;
        now.then(|| *lock(&self.asked).entry(call).or_default() += 1)
    }

    fn ask(&self, call: Call) -> Pin<Box<dyn Future<Output = FsResult<()>> + Send>> {
        *lock(&self.asked).entry(call).or_default() += 1;
        if *lock(&self.when) != When::Later {
            return Box::pin(ready(Ok(())));
        }
        let epoch = match call {
            Call::List(_) => self.invalidated.load(Ordering::SeqCst),
            Call::Size(_) | Call::Read(..) | Call::Readlink(_) => 0,
        };
        let (gate, answer) = oneshot();
        let mut open = lock(&self.open);
        let same = |o: &Open| (o.call, o.epoch) == (call, epoch) && !o.gate.is_closed();
        assert!(!open.iter().any(same), "asked twice at a time: {call:?}");
        open.push(Open { call, epoch, gate });
        let failures = Arc::clone(&self.failures);
        Box::pin(async move {
            match answer.await.expect("questions are answered, not dropped") {
                How::Well => Ok(()),
                How::Badly => {
                    failures.fetch_add(1, Ordering::SeqCst);
                    Err(FsError::from(FsErrorKind::Io))
                }
                How::Panic => resume_unwind(Box::new("planned")),
            }
        })
    }

    /// With the sizes of symlinks known and those of files not.
    fn listing(dir: u32) -> Listing<u32> {
        let mut builder = ListingBuilder::new();
        for (name, node, kind) in entries(dir) {
            let attr = attr(*node, *kind);
            let size = (*kind == Kind::Symlink).then_some(attr.size);
            builder.push(name.as_bytes(), *node, *kind, attr.perm, attr.mtime, size);
        }
        builder.build().0
    }
}

impl Provider for Tree {
    type Node = u32;

    fn root(&self) -> (u32, Attr) {
        (ROOT, attr(ROOT, Kind::Dir))
    }

    fn try_list(&self, dir: &u32) -> Option<FsResult<Listing<u32>>> {
        self.now(Call::List(*dir)).map(|()| Ok(Self::listing(*dir)))
    }

    async fn list(&self, dir: &u32) -> FsResult<Listing<u32>> {
        self.ask(Call::List(*dir)).await?;
        Ok(Self::listing(*dir))
    }

    fn try_size(&self, listing: &Arc<Listing<u32>>, index: usize) -> Option<FsResult<u64>> {
        let node = *listing.node(index);
        let now = self.now(Call::Size(node));
        now.map(|()| Ok(content(node).len() as u64))
    }

    async fn size(&self, listing: &Arc<Listing<u32>>, index: usize) -> FsResult<u64> {
        let node = *listing.node(index);
        self.ask(Call::Size(node)).await?;
        Ok(content(node).len() as u64)
    }

    fn try_read(&self, file: &u32, offset: u64, len: u32) -> Option<FsResult<Bytes>> {
        let now = self.now(Call::Read(*file, offset, len));
        now.map(|()| Ok(part(*file, offset, len).into()))
    }

    async fn read(&self, file: &u32, offset: u64, len: u32) -> FsResult<Bytes> {
        self.ask(Call::Read(*file, offset, len)).await?;
        Ok(part(*file, offset, len).into())
    }

    fn try_readlink(&self, link: &u32) -> Option<FsResult<Bytes>> {
        let now = self.now(Call::Readlink(*link));
        now.map(|()| Ok(content(*link).into()))
    }

    async fn readlink(&self, link: &u32) -> FsResult<Bytes> {
        self.ask(Call::Readlink(*link)).await?;
        Ok(content(*link).into())
    }

    fn label(&self, node: &u32) -> Option<String> {
        Some(format!("node {node}"))
    }

    fn xattrs(&self, node: &u32) -> Vec<(String, Vec<u8>)> {
        vec![("user.node".to_owned(), node.to_string().into_bytes())]
    }
}

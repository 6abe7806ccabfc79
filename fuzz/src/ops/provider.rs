//! A provider of a fixed tree, whose answers come when, and as, it is told.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bonsaifs_core::{
    cache::oneshot::{Sender, oneshot},
    fs::{Attr, FsErrorKind, FsResult, Kind, Listing, ListingBuilder, Provider, Timestamp},
};
use bytes::Bytes;

/// A place in the tree: 0 is the root.
pub type Node = u16;

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// The listing of a directory.
    List(Node),
    /// The size of a file or symlink.
    Size(Node),
    /// A part of a file.
    Read(Node, u64, u32),
    /// A symlink's target.
    Link(Node),
}

/// The truth about one node.
#[derive(Clone, Debug)]
pub struct Truth {
    /// Directory, file or symlink.
    pub kind: Kind,
    /// A directory's entries by name.
    pub entries: Vec<(&'static str, Node)>,
    /// A file's bytes or a symlink's target.
    pub content: Bytes,
    /// Whether the listing tells the size.
    pub size_listed: bool,
}

/// The tree: two levels of directories, files with and without known sizes, symlinks.
pub fn tree() -> Vec<Truth> {
    let dir = |entries: &[(&'static str, Node)]| Truth {
        kind: Kind::Dir,
        entries: entries.to_vec(),
        content: Bytes::new(),
        size_listed: true,
    };
    let leaf = |kind, content: &'static [u8], size_listed| Truth {
        kind,
        entries: Vec::new(),
        content: Bytes::from_static(content),
        size_listed,
    };
    vec![
        dir(&[("a", 1), ("b", 2), ("empty", 3), ("f", 4), ("l", 5)]),
        dir(&[("b", 6), ("f", 7), ("g", 8)]),
        dir(&[("f", 9)]),
        dir(&[]),
        leaf(Kind::File, b"f of the root", false),
        leaf(Kind::Symlink, b"a/f", false),
        dir(&[("deep", 10)]),
        leaf(Kind::File, b"f of a", true),
        leaf(Kind::File, b"", false),
        leaf(Kind::File, b"f of b, which is longer", false),
        leaf(Kind::File, b"deep", false),
    ]
}

/// A question that was not answered yet.
struct Asked {
    question: Question,
    answer: Sender<FsResult<()>>,
}

/// See the module.
pub struct Held {
    tree: Vec<Truth>,
    asked: Mutex<Vec<Asked>>,
    /// Whether the synchronous halves answer.
    warm: bool,
}

impl Held {
    /// A provider that is asked for everything, or that has everything at hand.
    pub fn new(warm: bool) -> Self {
        Self {
            tree: tree(),
            asked: Mutex::new(Vec::new()),
            warm,
        }
    }

    /// The questions under way, those whose asker went away left out.
    pub fn questions(&self) -> Vec<Question> {
        let mut asked = self.asked();
        asked.retain(|asked| !asked.answer.is_closed());
        asked.iter().map(|asked| asked.question).collect()
    }

    /// Lets one question have its answer.
    pub fn answer(&self, choice: usize, answer: FsResult<()>) {
        let mut asked = self.asked();
        if asked.is_empty() {
            return;
        }
        let at = choice % asked.len();
        let asked = asked.remove(at);
        // Its asker may be gone.
        let _ = asked.answer.send(answer);
    }

    fn asked(&self) -> MutexGuard<'_, Vec<Asked>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn wait(&self, question: Question) -> FsResult<()> {
        let (answer, receiver) = oneshot();
        self.asked().push(Asked { question, answer });
        receiver.await.unwrap_or(Err(FsErrorKind::Io.into()))
    }

    fn truth(&self, node: Node) -> &Truth {
        &self.tree[usize::from(node)]
    }

    fn listing(&self, dir: Node) -> Listing<Node> {
        let mut builder = ListingBuilder::new();
        for (name, node) in &self.truth(dir).entries {
            let entry = self.truth(*node);
            let size = entry.size_listed.then_some(entry.content.len() as u64);
            builder.push(
                name.as_bytes(),
                *node,
                entry.kind,
                0o644,
                Timestamp::default(),
                size,
            );
        }
        builder.build().0
    }

    fn part(&self, file: Node, offset: u64, len: u32) -> Bytes {
        part(&self.truth(file).content, offset, len)
    }
}

/// Up to `len` bytes from `offset` on.
pub fn part(content: &Bytes, offset: u64, len: u32) -> Bytes {
    let start = content.len().min(offset as usize);
    content.slice(start..content.len().min(start + len as usize))
}

impl Provider for Held {
    type Node = Node;

    fn root(&self) -> (Node, Attr) {
        let attr = Attr {
            kind: Kind::Dir,
            perm: 0o755,
            size: 0,
            mtime: Timestamp::default(),
        };
        (0, attr)
    }

    fn try_list(&self, dir: &Node) -> Option<FsResult<Listing<Node>>> {
        self.warm.then(|| Ok(self.listing(*dir)))
    }

    async fn list(&self, dir: &Node) -> FsResult<Listing<Node>> {
        self.wait(Question::List(*dir)).await?;
        Ok(self.listing(*dir))
    }

    async fn size(&self, listing: &std::sync::Arc<Listing<Node>>, index: usize) -> FsResult<u64> {
        let node = *listing.get(index).node;
        self.wait(Question::Size(node)).await?;
        Ok(self.truth(node).content.len() as u64)
    }

    async fn read(&self, file: &Node, offset: u64, len: u32) -> FsResult<Bytes> {
        self.wait(Question::Read(*file, offset, len)).await?;
        Ok(self.part(*file, offset, len))
    }

    async fn readlink(&self, link: &Node) -> FsResult<Bytes> {
        self.wait(Question::Link(*link)).await?;
        Ok(self.truth(*link).content.clone())
    }
}

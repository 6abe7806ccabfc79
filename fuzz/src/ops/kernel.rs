//! A kernel that keeps books, and knows the truth.

use std::{collections::BTreeMap, sync::Arc};

use bonsaifs_core::fs::{
    AsyncFs, Attr, Config, Entry, FsErrorKind, FsResult, Ino, Kind, Scan, Take, Told,
};
use bytes::Bytes;

use super::{
    executor::Executor,
    provider::{Held, Node, Question, Truth, part, tree},
};
use crate::input::Input;

/// An inode as the kernel knows it.
#[derive(Clone, Debug)]
struct Known {
    node: Node,
    parent: Ino,
    lookups: u64,
}

/// A request under way.
#[derive(Clone, Debug)]
struct Request {
    /// What it is about; not forgotten before the request ends.
    ino: Ino,
    node: Node,
    what: What,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Lookup(&'static str),
    GetAttr,
    ReadLink,
    Read(u64, u32),
    OpenDir,
}

enum Answer {
    Entry(FsResult<Entry>),
    Attr(FsResult<Attr>),
    Bytes(FsResult<Bytes>),
    Scan(FsResult<Scan<Node>>),
}

/// See the module.
pub struct Kernel {
    fs: Arc<AsyncFs<Held>>,
    tree: Vec<Truth>,
    known: BTreeMap<Ino, Known>,
    requests: Executor<Request, Answer>,
    /// Open directories: handle, inode, where to read on.
    dirs: Vec<(u64, Ino, u64)>,
    files: Vec<(u64, Ino)>,
    /// Whether a directory was invalidated; it may be listed more than once at a time then.
    invalidated: bool,
    /// Whether a failure was injected.
    failed: bool,
    /// Whether numbers are made to collide: a name that is only listed, and not known, may then show
    /// the number of a known one (`Inodes::number`).
    colliding: bool,
}

const NAMES: [&str; 8] = ["a", "b", "f", "l", "g", "deep", "empty", "none"];

impl Kernel {
    /// A mount, its budget and its luck with hashes as the input says.
    pub fn new(input: &mut Input<'_>) -> Self {
        let config = Config {
            listing_budget: [1 << 20, 0, 600][input.below(3)],
            ino_mask: [u64::MAX, 0, 3][input.below(3)],
        };
        let colliding = config.ino_mask != u64::MAX;
        let provider = Held::new(input.below(4) == 3);
        let root = Known {
            node: 0,
            parent: Ino::ROOT,
            lookups: 0,
        };
        Self {
            fs: Arc::new(AsyncFs::new(provider, config)),
            tree: tree(),
            known: BTreeMap::from([(Ino::ROOT, root)]),
            requests: Executor::default(),
            dirs: Vec::new(),
            files: Vec::new(),
            invalidated: false,
            failed: false,
            colliding,
        }
    }

    /// One step of anyone: a new request, a task's turn, an answer of the provider, a cancellation,
    /// a forget, a directory read on.
    pub fn step(&mut self, input: &mut Input<'_>) {
        match input.below(16) {
            0..=4 => self.request(input),
            5..=7 => self.poll(input.below(8)),
            8 | 9 => self.fs.provider().answer(input.below(8), Ok(())),
            10 => {
                self.failed = true;
                let error = FsErrorKind::TimedOut.into();
                self.fs.provider().answer(input.below(8), Err(error));
            }
            11 => {
                self.requests.cancel(input.below(8));
            }
            12 => self.forget(input),
            13 => self.read_on(input),
            14 => self.open_or_close_file(input),
            _ => {
                self.invalidated = true;
                self.fs.invalidate(&Node::from(input.byte() % 11));
            }
        }
        self.check_one_flight();
    }

    fn truth(&self, node: Node) -> &Truth {
        &self.tree[usize::from(node)]
    }

    fn choose(&self, input: &mut Input<'_>) -> (Ino, Node) {
        let at = input.below(self.known.len());
        let (ino, known) = self.known.iter().nth(at).expect("there is the root");
        (*ino, known.node)
    }

    fn request(&mut self, input: &mut Input<'_>) {
        let (ino, node) = self.choose(input);
        let what = match input.below(6) {
            0 | 1 => What::Lookup(NAMES[input.below(NAMES.len())]),
            2 => What::GetAttr,
            3 => What::ReadLink,
            4 => What::Read(input.below(12) as u64, input.below(12) as u32),
            _ => What::OpenDir,
        };
        let request = Request { ino, node, what };
        // The synchronous half first, as the adapter does it.
        let now = match what {
            What::Lookup(name) => self.fs.try_lookup(ino, name.as_bytes()).map(Answer::Entry),
            What::GetAttr => self.fs.try_getattr(ino).map(Answer::Attr),
            What::ReadLink => self.fs.try_readlink(ino).map(Answer::Bytes),
            What::Read(offset, len) => self.fs.try_read(ino, offset, len).map(Answer::Bytes),
            What::OpenDir => self.fs.try_scan(ino).map(Answer::Scan),
        };
        if let Some(answer) = now {
            self.check(&request, answer);
            return;
        }
        let fs = Arc::clone(&self.fs);
        self.requests.spawn(request, async move {
            match what {
                What::Lookup(name) => Answer::Entry(fs.lookup(ino, name.as_bytes()).await),
                What::GetAttr => Answer::Attr(fs.getattr(ino).await),
                What::ReadLink => Answer::Bytes(fs.readlink(ino).await),
                What::Read(offset, len) => Answer::Bytes(fs.read(ino, offset, len).await),
                What::OpenDir => Answer::Scan(fs.scan(ino).await),
            }
        });
    }

    fn poll(&mut self, choice: usize) {
        if let Some((request, answer)) = self.requests.poll_ready(choice) {
            self.check(&request, answer);
        }
    }

    /// Compares an answer with the truth, and keeps the books.
    fn check(&mut self, request: &Request, answer: Answer) {
        let truth = self.truth(request.node).clone();
        let (is_dir, is_file, is_link) = (
            truth.kind == Kind::Dir,
            truth.kind == Kind::File,
            truth.kind == Kind::Symlink,
        );
        match (request.what, answer) {
            (What::Lookup(name), Answer::Entry(answer)) => {
                let entry = truth.entries.iter().find(|(entry, _)| *entry == name);
                match (answer, entry) {
                    (Ok(entry), Some((_, node))) => {
                        self.check_attr(entry.attr, *node);
                        self.count(entry.ino, *node, request.ino);
                    }
                    (Err(error), entry) => {
                        let definite = match entry {
                            _ if !is_dir => Some(FsErrorKind::NotADirectory),
                            None => Some(FsErrorKind::NotFound),
                            Some(_) => None,
                        };
                        self.check_error(error.kind(), definite);
                    }
                    (Ok(entry), None) => panic!("{name} is not there: {entry:?}"),
                }
            }
            (What::GetAttr, Answer::Attr(Ok(attr))) => self.check_attr(attr, request.node),
            (What::GetAttr, Answer::Attr(Err(error))) => self.check_error(error.kind(), None),
            (What::ReadLink, Answer::Bytes(Ok(target))) => {
                assert!(is_link && target == truth.content);
            }
            (What::ReadLink, Answer::Bytes(Err(error))) => {
                self.check_error(error.kind(), (!is_link).then_some(FsErrorKind::Invalid));
            }
            (What::Read(offset, len), Answer::Bytes(Ok(bytes))) => {
                assert!(is_file && bytes == part(&truth.content, offset, len));
            }
            (What::Read(..), Answer::Bytes(Err(error))) => {
                let definite = match truth.kind {
                    Kind::File => None,
                    Kind::Dir => Some(FsErrorKind::IsADirectory),
                    Kind::Symlink => Some(FsErrorKind::Invalid),
                };
                self.check_error(error.kind(), definite);
            }
            (What::OpenDir, Answer::Scan(Ok(scan))) => {
                assert!(is_dir);
                let handle = self.fs.open_dir(scan);
                let other = |open: u64| open != handle;
                assert!(
                    self.dirs.iter().all(|(open, ..)| other(*open)),
                    "a handle twice"
                );
                assert!(
                    self.files.iter().all(|(open, _)| other(*open)),
                    "a handle twice"
                );
                self.dirs.push((handle, request.ino, 0));
            }
            (What::OpenDir, Answer::Scan(Err(error))) => {
                self.check_error(
                    error.kind(),
                    (!is_dir).then_some(FsErrorKind::NotADirectory),
                );
            }
            _ => unreachable!("each request has its kind of answer"),
        }
    }

    fn check_attr(&self, attr: Attr, node: Node) {
        let truth = self.truth(node);
        assert_eq!(attr.kind, truth.kind);
        assert_eq!(attr.size, truth.content.len() as u64);
    }

    /// An error is what the truth makes it, or one that was injected.
    fn check_error(&self, kind: FsErrorKind, definite: Option<FsErrorKind>) {
        let injected = self.failed && kind == FsErrorKind::TimedOut;
        assert!(
            injected || Some(kind) == definite,
            "{kind:?}, not {definite:?}"
        );
    }

    /// Counts a look-up.
    fn count(&mut self, ino: Ino, node: Node, parent: Ino) {
        assert!(ino.0 > 1, "a reserved number");
        let other = self
            .known
            .iter()
            .find(|(other, known)| **other != ino && known.node == node && known.parent == parent);
        assert!(
            other.is_none(),
            "two numbers for one path: {ino:?}, {other:?}"
        );
        let known = self.known.entry(ino).or_insert(Known {
            node,
            parent,
            lookups: 0,
        });
        let same = known.node == node && known.parent == parent;
        assert!(same, "one number for two paths: {ino:?}, {known:?}");
        known.lookups += 1;
    }

    /// Forgets some or all look-ups of an inode that nothing depends on, as a kernel does.
    fn forget(&mut self, input: &mut Input<'_>) {
        let (ino, _) = self.choose(input);
        let part = input.below(3);
        self.forget_some(ino, |lookups| lookups - part as u64 * lookups / 4);
    }

    fn forget_some(&mut self, ino: Ino, how_many: impl FnOnce(u64) -> u64) -> bool {
        let needed = self.requests.notes().any(|request| request.ino == ino)
            || self.known.values().any(|known| known.parent == ino)
            || self.dirs.iter().any(|(_, dir, _)| *dir == ino);
        let Some(known) = self.known.get_mut(&ino) else {
            return false;
        };
        if needed || ino == Ino::ROOT {
            return false;
        }
        let forgotten = how_many(known.lookups);
        known.lookups -= forgotten;
        if known.lookups == 0 {
            self.known.remove(&ino);
        }
        self.fs.forget(ino, forgotten);
        true
    }

    /// Reads on in an open directory, closes it, or goes back to its start.
    fn read_on(&mut self, input: &mut Input<'_>) {
        if self.dirs.is_empty() {
            return;
        }
        let at = input.below(self.dirs.len());
        let (handle, ino, offset) = self.dirs[at];
        let (form, room) = (input.below(8), input.below(6));
        match form {
            0 => {
                self.fs.release_dir(handle);
                self.dirs.remove(at);
            }
            1 => self.dirs[at].2 = 0,
            2..=4 => self.dirs[at].2 = self.readdir(handle, offset, room),
            5 => self.dirs[at].2 = self.readdirplus(handle, ino, offset, room, Told::Dirs),
            _ => self.dirs[at].2 = self.readdirplus(handle, ino, offset, room, Told::All),
        }
    }

    /// What stands at an offset of a directory.
    fn expected(&self, dir: Node, offset: u64) -> Option<(&'static str, Option<Node>)> {
        match offset {
            0 => Some((".", None)),
            1 => Some(("..", None)),
            _ => {
                let entry = self.truth(dir).entries.get(offset as usize - 2)?;
                Some((entry.0, Some(entry.1)))
            }
        }
    }

    fn readdir(&self, handle: u64, offset: u64, room: usize) -> u64 {
        let scan = self.fs.dir_handle(handle).expect("it is open");
        let dir = self.known[&scan.ino()].node;
        let mut next = offset;
        let mut left = room;
        self.fs.readdir(&scan, offset, &mut |item| {
            if left == 0 {
                return Take::Full;
            }
            left -= 1;
            let (name, node) = self.expected(dir, next).expect("an entry too many");
            assert_eq!(item.name, name.as_bytes());
            if let Some(node) = node {
                assert_eq!(item.kind, self.truth(node).kind);
                let known = self.known.get(&item.ino);
                let same = |known: &Known| (known.node, known.parent) == (node, scan.ino());
                assert!(self.colliding || known.is_none_or(same), "another's number");
            }
            next = item.offset;
            Take::More
        });
        assert!(left == 0 || self.expected(dir, next).is_none(), "too short");
        next
    }

    fn readdirplus(&mut self, handle: u64, ino: Ino, offset: u64, room: usize, told: Told) -> u64 {
        let scan = self.fs.dir_handle(handle).expect("it is open");
        let dir = self.known[&ino].node;
        let (mut next, mut left) = (offset, room);
        let mut taken = Vec::new();
        let fs = Arc::clone(&self.fs);
        fs.readdirplus(&scan, offset, told, &mut |item| {
            if left == 0 {
                return Take::Full;
            }
            left -= 1;
            let (name, node) = self.expected(dir, next).expect("an entry too many");
            assert_eq!(item.name, name.as_bytes());
            if let (Some(node), Some(attr)) = (node, item.attr) {
                self.check_attr(attr, node);
                taken.push((item.ino, node));
            }
            next = item.offset;
            Take::More
        });
        assert!(left == 0 || self.expected(dir, next).is_none(), "too short");
        for (entry, node) in taken {
            self.count(entry, node, ino);
        }
        next
    }

    fn open_or_close_file(&mut self, input: &mut Input<'_>) {
        if input.below(2) == 1 && !self.files.is_empty() {
            let (handle, _) = self.files.swap_remove(input.below(self.files.len()));
            self.fs.release_file(handle);
            return;
        }
        let (ino, node) = self.choose(input);
        match (self.fs.open_file(ino), self.truth(node).kind) {
            (Ok(handle), Kind::File) => {
                assert_eq!(self.fs.file_handle(handle).ok(), Some(ino));
                self.files.push((handle, ino));
            }
            (Err(error), Kind::Dir) => assert_eq!(error.kind(), FsErrorKind::IsADirectory),
            (Err(error), Kind::Symlink) => assert_eq!(error.kind(), FsErrorKind::Invalid),
            (answer, kind) => panic!("{answer:?} for a {kind:?}"),
        }
    }

    fn check_one_flight(&self) {
        let questions = self.fs.provider().questions();
        for (at, question) in questions.iter().enumerate() {
            let again = self.invalidated && matches!(question, Question::List(_));
            let twice = questions[..at].contains(question);
            assert!(again || !twice, "asked twice at a time: {question:?}");
        }
    }

    /// Faults end: everyone gets an answer. Then all is closed and forgotten: the root is left.
    pub fn finish(mut self) {
        while !self.requests.is_empty() {
            while self.requests.any_ready() {
                self.poll(0);
            }
            if self.requests.is_empty() {
                break;
            }
            let asked = self.fs.provider().questions();
            assert!(!asked.is_empty(), "{} are stranded", self.requests.len());
            self.fs.provider().answer(0, Ok(()));
        }
        assert!(self.fs.provider().questions().is_empty());
        for (handle, ..) in std::mem::take(&mut self.dirs) {
            self.fs.release_dir(handle);
        }
        for (handle, _) in std::mem::take(&mut self.files) {
            self.fs.release_file(handle);
        }
        while self.known.len() > 1 {
            let all: Vec<Ino> = self.known.keys().copied().collect();
            let mut progress = false;
            for ino in all {
                progress |= self.forget_some(ino, |lookups| lookups);
            }
            assert!(progress, "the books of this kernel have a circle");
        }
        assert_eq!(self.fs.stats().inodes, 1, "an inode was left over");
    }
}

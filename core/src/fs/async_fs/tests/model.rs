//! A kernel that keeps books, over a tree that answers as the input says.
//!
//! It holds what it uses, as the real one does: no inode is forgotten while an operation or an
//! open directory uses it, or while it has children.

use std::{cell::RefCell, collections::BTreeMap, panic::resume_unwind, rc::Rc};

use proptest::{prelude::*, sample::Index};

use super::*;
use crate::{
    fs::{DirItem, DirItemPlus, Scan, Take, Told},
    testing::cases,
};

#[derive(Clone, Debug)]
enum Step {
    /// An operation begins: on which inode, and what. First its `try_` half, if so wished.
    Begin(Index, Op, bool),
    /// A task that is ready goes on.
    Poll(Index),
    /// A task is dropped.
    Cancel(Index),
    /// The tree answers a question.
    Answer(Index, How),
    /// The tree answers as it likes from now on.
    When(When),
    /// An open directory is read in full, then closed or not.
    ReadDir(Index, bool),
    /// An open directory is read with attributes: from this offset, so many entries.
    ReadDirPlus(Index, u64, usize, Told),
    /// The kernel forgets: which inode, how many look-ups of it.
    Forget(Index, u64),
    /// The listing of one of the directories is dropped.
    Invalidate(Index),
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Lookup(&'static str),
    Getattr,
    Read(u64, u32),
    Readlink,
    OpenDir,
}

/// What the kernel knows of an inode.
struct Known {
    parent: Ino,
    name: String,
    node: u32,
    kind: Kind,
    lookups: u64,
    /// Operations and open directories that use it, and children.
    uses: u64,
}

struct Kernel {
    fs: AsyncFs<Tree>,
    /// True if every path has its own number for ever.
    stable: bool,
    known: RefCell<BTreeMap<Ino, Known>>,
    numbers: RefCell<BTreeMap<(Ino, String), Ino>>,
    open: RefCell<Vec<(u64, Ino)>>,
}

/// Keeps an inode from being forgotten while an operation uses it.
struct Use(Rc<Kernel>, Ino);

impl Use {
    fn new(kernel: &Rc<Kernel>, ino: Ino) -> Self {
        kernel.used(ino, 1);
        Self(Rc::clone(kernel), ino)
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        self.0.used(self.1, -1);
    }
}

impl Kernel {
    fn new(config: Config) -> Self {
        let root = Known {
            parent: Ino::ROOT,
            name: String::new(),
            node: ROOT,
            kind: Kind::Dir,
            lookups: 0,
            uses: 1,
        };
        Self {
            fs: AsyncFs::new(Tree::new(When::Later), config),
            stable: config.ino_mask == u64::MAX,
            known: RefCell::new(BTreeMap::from([(Ino::ROOT, root)])),
            numbers: RefCell::default(),
            open: RefCell::default(),
        }
    }

    fn used(&self, ino: Ino, change: i64) {
        let mut known = self.known.borrow_mut();
        let known = known.get_mut(&ino).expect("in use, so known");
        known.uses = known.uses.checked_add_signed(change).expect("used before");
    }

    fn node(&self, ino: Ino) -> (u32, Kind) {
        let known = self.known.borrow();
        (known[&ino].node, known[&ino].kind)
    }

    /// The fs gave a number that it counted.
    fn counted(&self, parent: Ino, name: &str, ino: Ino) {
        let entries = entries(self.node(parent).0);
        let (_, node, kind) = entries
            .iter()
            .find(|entry| entry.0 == name)
            .expect("is there");
        let new = !self.known.borrow().contains_key(&ino);
        if new {
            self.used(parent, 1);
        }
        let mut all = self.known.borrow_mut();
        let twice = all
            .iter()
            .find(|(i, known)| **i != ino && known.parent == parent && known.name == name);
        assert!(twice.is_none(), "one path, two numbers");
        let known = all.entry(ino).or_insert_with(|| Known {
            parent,
            name: name.to_owned(),
            node: *node,
            kind: *kind,
            lookups: 0,
            uses: 0,
        });
        assert_eq!(
            (known.parent, &known.name[..]),
            (parent, name),
            "one number, two paths"
        );
        known.lookups += 1;
        let first = *self
            .numbers
            .borrow_mut()
            .entry((parent, name.to_owned()))
            .or_insert(ino);
        assert!(!self.stable || first == ino, "a path changed its number");
    }

    fn forget(&self, ino: Ino, n: u64) {
        let mut all = self.known.borrow_mut();
        let known = all.get_mut(&ino).expect("picked from what is known");
        let n = n.min(known.lookups);
        known.lookups -= n;
        let gone = known.lookups == 0;
        let parent = known.parent;
        if gone {
            all.remove(&ino);
        }
        drop(all);
        if gone {
            self.used(parent, -1);
        }
        self.fs.forget(ino, n);
        if gone {
            assert!(
                self.fs.try_getattr(ino).expect("final").is_err(),
                "still known"
            );
        }
    }

    /// The inodes that the kernel may forget now.
    fn forgettable(&self) -> Vec<Ino> {
        let known = self.known.borrow();
        let unused = known.iter().filter(|(_, known)| known.uses == 0);
        unused.map(|(ino, _)| *ino).collect()
    }

    fn check_lookup(&self, parent: Ino, name: &str, found: FsResult<Entry>) {
        let (node, kind) = self.node(parent);
        if kind != Kind::Dir {
            assert_eq!(failed(found), FsErrorKind::NotADirectory);
            return;
        }
        let there = entries(node).iter().find(|entry| entry.0 == name);
        match (there, found) {
            (Some((_, node, kind)), Ok(entry)) => {
                assert_eq!(entry.attr, attr(*node, *kind));
                self.counted(parent, name, entry.ino);
            }
            (None, found) => assert_eq!(failed(found), FsErrorKind::NotFound),
            (Some(_), Err(error)) => panic!("{error}"),
        }
    }

    fn check_read(&self, ino: Ino, offset: u64, len: u32, read: FsResult<Bytes>) {
        let (node, kind) = self.node(ino);
        match kind {
            Kind::File => assert_eq!(read.expect("a file"), tree::part(node, offset, len)),
            Kind::Dir => assert_eq!(failed(read), FsErrorKind::IsADirectory),
            Kind::Symlink => assert_eq!(failed(read), FsErrorKind::Invalid),
        }
    }

    fn check_readlink(&self, ino: Ino, target: FsResult<Bytes>) {
        let (node, kind) = self.node(ino);
        match kind {
            Kind::Symlink => assert_eq!(target.expect("a link"), content(node)),
            Kind::File | Kind::Dir => assert_eq!(failed(target), FsErrorKind::Invalid),
        }
    }

    fn check_getattr(&self, ino: Ino, got: FsResult<Attr>) {
        let (node, kind) = self.node(ino);
        assert_eq!(got.expect("known"), attr(node, kind));
    }

    fn check_open(&self, ino: Ino, scan: FsResult<Scan<u32>>) {
        match self.node(ino).1 {
            Kind::Dir => {
                let handle = self.fs.open_dir(scan.expect("a directory"));
                self.used(ino, 1);
                self.open.borrow_mut().push((handle, ino));
            }
            Kind::File | Kind::Symlink => assert_eq!(failed(scan), FsErrorKind::NotADirectory),
        }
    }

    /// True if the `try_` half answered.
    fn try_op(&self, ino: Ino, op: Op) -> bool {
        match op {
            Op::Lookup(name) => {
                let found = self.fs.try_lookup(ino, name.as_bytes());
                found
                    .map(|found| self.check_lookup(ino, name, found))
                    .is_some()
            }
            Op::Getattr => {
                let got = self.fs.try_getattr(ino);
                got.map(|got| self.check_getattr(ino, got)).is_some()
            }
            Op::Read(offset, len) => {
                let read = self.fs.try_read(ino, offset, len);
                read.map(|read| self.check_read(ino, offset, len, read))
                    .is_some()
            }
            Op::Readlink => {
                let target = self.fs.try_readlink(ino);
                target
                    .map(|target| self.check_readlink(ino, target))
                    .is_some()
            }
            Op::OpenDir => {
                let scan = self.fs.try_scan(ino);
                scan.map(|scan| self.check_open(ino, scan)).is_some()
            }
        }
    }

    async fn op(&self, ino: Ino, op: Op) {
        let before = self.fs.provider().failures();
        // A failure must be one that was seen since the operation began, or it was kept.
        let passes = |error: Option<FsErrorKind>| {
            let failed = error == Some(FsErrorKind::Io);
            assert!(
                !failed || self.fs.provider().failures() > before,
                "a kept failure"
            );
            !failed
        };
        match op {
            Op::Lookup(name) => {
                let found = self.fs.lookup(ino, name.as_bytes()).await;
                if passes(kind_of(&found)) {
                    self.check_lookup(ino, name, found);
                }
            }
            Op::Getattr => {
                let got = self.fs.getattr(ino).await;
                if passes(kind_of(&got)) {
                    self.check_getattr(ino, got);
                }
            }
            Op::Read(offset, len) => {
                let read = self.fs.read(ino, offset, len).await;
                if passes(kind_of(&read)) {
                    self.check_read(ino, offset, len, read);
                }
            }
            Op::Readlink => {
                let target = self.fs.readlink(ino).await;
                if passes(kind_of(&target)) {
                    self.check_readlink(ino, target);
                }
            }
            Op::OpenDir => {
                let scan = self.fs.scan(ino).await;
                if passes(kind_of(&scan)) {
                    self.check_open(ino, scan);
                }
            }
        }
    }

    /// Number, if it has to be that one; offset; kind; name.
    fn expected(&self, dir: Ino) -> Vec<(Option<Ino>, u64, Kind, String)> {
        let known = self.known.borrow();
        let dot = |ino, offset, name: &str| (Some(ino), offset, Kind::Dir, name.to_owned());
        let mut all = vec![dot(dir, 1, "."), dot(known[&dir].parent, 2, "..")];
        for ((name, _, kind), offset) in entries(known[&dir].node).iter().zip(3..) {
            let is_it = |known: &Known| known.parent == dir && known.name == *name;
            let number = known
                .iter()
                .find(|(_, known)| is_it(known))
                .map(|(ino, _)| *ino);
            all.push((number, offset, *kind, (*name).to_owned()));
        }
        all
    }

    fn read_dir(&self, handle: u64, dir: Ino) {
        let scan = self.fs.dir_handle(handle).expect("open");
        let mut expected = self.expected(dir).into_iter();
        self.fs.readdir(&scan, 0, &mut |item: DirItem<'_>| {
            let (ino, offset, kind, name) = expected.next().expect("no more than there is");
            assert!(
                ino.is_none_or(|ino| ino == item.ino),
                "not the number it is known by"
            );
            assert_eq!(
                (offset, kind, name.as_bytes()),
                (item.offset, item.kind, item.name)
            );
            Take::More
        });
        assert!(expected.next().is_none(), "an entry is missing");
    }

    fn read_dir_plus(&self, handle: u64, dir: Ino, from: u64, room: usize, told: Told) {
        let scan = self.fs.dir_handle(handle).expect("open");
        let mut taken = Vec::new();
        self.fs
            .readdirplus(&scan, from, told, &mut |item: DirItemPlus<'_>| {
                if taken.len() == room {
                    return Take::Full;
                }
                let name = String::from_utf8(item.name.to_vec()).expect("all names are");
                taken.push((item.ino, item.offset, item.kind, name, item.attr));
                Take::More
            });
        let expected = self
            .expected(dir)
            .into_iter()
            .skip(from as usize)
            .take(room);
        assert_eq!(taken.len(), expected.len());
        for ((ino, offset, kind, name, got), expected) in taken.into_iter().zip(expected) {
            assert!(expected.0.is_none_or(|expected| expected == ino));
            assert_eq!((offset, kind, &name), (expected.1, expected.2, &expected.3));
            assert!(told == Told::All || kind == Kind::Dir || got.is_none());
            if let (Some(got), false) = (got, ["..", "."].contains(&name.as_str())) {
                self.counted(dir, &name, ino);
                let (node, kind) = self.node(ino);
                assert_eq!(got, attr(node, kind));
            }
        }
    }
}

fn kind_of<T>(result: &FsResult<T>) -> Option<FsErrorKind> {
    result.as_ref().err().map(|error| error.kind())
}

fn any_step() -> impl Strategy<Value = Step> {
    let index = any::<Index>;
    let op = prop_oneof![
        6 => prop::sample::select(vec!["a", "b", "same", "link", "deep", "x", "y", "z", "nope"])
            .prop_map(Op::Lookup),
        2 => Just(Op::Getattr),
        2 => (0_u64..3, 0_u32..3).prop_map(|(at, len)| Op::Read(at * 30, len * 40)),
        1 => Just(Op::Readlink),
        2 => Just(Op::OpenDir),
    ];
    let how = prop_oneof![4 => Just(How::Well), 2 => Just(How::Badly), 1 => Just(How::Panic)];
    let when = prop::sample::select(vec![When::Now, When::Soon, When::Later, When::Later]);
    let told = prop::sample::select(vec![Told::All, Told::Dirs]);
    prop_oneof![
        10 => (index(), op, any::<bool>()).prop_map(|(i, op, now)| Step::Begin(i, op, now)),
        12 => index().prop_map(Step::Poll),
        3 => index().prop_map(Step::Cancel),
        8 => (index(), how).prop_map(|(i, how)| Step::Answer(i, how)),
        1 => when.prop_map(Step::When),
        2 => (index(), any::<bool>()).prop_map(|(i, close)| Step::ReadDir(i, close)),
        2 => (index(), 0_u64..8, 0_usize..8, told).prop_map(|(i, at, n, told)| Step::ReadDirPlus(i, at, n, told)),
        6 => (index(), 1_u64..3).prop_map(|(i, n)| Step::Forget(i, n)),
        1 => index().prop_map(Step::Invalidate),
    ]
}

fn pick<T: Copy>(from: &[T], index: Index) -> Option<T> {
    (!from.is_empty()).then(|| from[index.index(from.len())])
}

/// A planned panic is part of the play, any other is a failure of the test.
fn check(polled: std::thread::Result<()>) {
    if let Err(panic) = polled
        && panic.downcast_ref::<&str>() != Some(&"planned")
    {
        resume_unwind(panic);
    }
}

fn play(kernel: &Rc<Kernel>, tasks: &mut Tasks<'_>, step: Step) {
    let tree = kernel.fs.provider();
    match step {
        Step::Begin(index, op, now) => {
            let known: Vec<Ino> = kernel.known.borrow().keys().copied().collect();
            let ino = pick(&known, index).expect("the root is known");
            if !now || !kernel.try_op(ino, op) {
                // The kernel holds the inode from the request on, not from the first poll.
                let (this, held) = (Rc::clone(kernel), Use::new(kernel, ino));
                tasks.spawn(async move {
                    let _held = held;
                    this.op(ino, op).await;
                });
            }
        }
        Step::Poll(index) => {
            if let Some(i) = pick(&tasks.ready(), index) {
                check(tasks.poll(i));
            }
        }
        Step::Cancel(index) => {
            if let Some(i) = pick(&tasks.alive(), index) {
                tasks.cancel(i);
            }
        }
        Step::Answer(index, how) => {
            let open = tree.open();
            if !open.is_empty() {
                tree.answer(index.index(open.len()), how);
            }
        }
        Step::When(when) => tree.set(when),
        Step::ReadDir(index, close) => {
            let open = kernel.open.borrow().clone();
            if let Some((handle, ino)) = pick(&open, index) {
                kernel.read_dir(handle, ino);
                if close {
                    close_dir(kernel, handle, ino);
                }
            }
        }
        Step::ReadDirPlus(index, from, room, told) => {
            let open = kernel.open.borrow().clone();
            if let Some((handle, ino)) = pick(&open, index) {
                kernel.read_dir_plus(handle, ino, from, room, told);
            }
        }
        Step::Forget(index, n) => {
            if let Some(ino) = pick(&kernel.forgettable(), index) {
                kernel.forget(ino, n);
            }
        }
        Step::Invalidate(index) => {
            tree.listings_are_invalidated();
            kernel.fs.invalidate(&[ROOT, 1, 4, 7][index.index(4)]);
        }
    }
}

fn close_dir(kernel: &Kernel, handle: u64, ino: Ino) {
    kernel.fs.release_dir(handle);
    kernel.open.borrow_mut().retain(|(open, _)| *open != handle);
    kernel.used(ino, -1);
}

proptest! {
    #![proptest_config(cases(512))]

    /// Truth, balance, one call for all who miss, no kept failure, nobody stranded: under any
    /// schedule, with operations cancelled anywhere.
    #[test]
    fn the_filesystem_keeps_its_promises_under_any_schedule(
        mask in prop::sample::select(vec![0, 3, u64::MAX]),
        budget in prop::sample::select(vec![0, 500, 1 << 20]),
        steps in prop::collection::vec(any_step(), 0..150),
    ) {
        let config = Config { listing_budget: budget, ino_mask: mask };
        let kernel = Rc::new(Kernel::new(config));
        let mut tasks = Tasks::default();
        for step in steps {
            play(&kernel, &mut tasks, step);
            let stats = kernel.fs.stats();
            prop_assert_eq!(stats.inodes, kernel.known.borrow().len() as u64);
            prop_assert!(stats.listing_bytes <= budget as u64);
        }
        // Faults end: everyone comes home.
        loop {
            while let Some(i) = tasks.ready().first() {
                check(tasks.poll(*i));
            }
            if kernel.fs.provider().open().is_empty() {
                break;
            }
            kernel.fs.provider().answer(0, How::Well);
        }
        prop_assert_eq!(tasks.alive(), Vec::<usize>::new(), "stranded");
        // The kernel lets go of everything: the tables are back to the root.
        let open = kernel.open.borrow().clone();
        open.into_iter().for_each(|(handle, ino)| close_dir(&kernel, handle, ino));
        while let Some(ino) = kernel.forgettable().first() {
            kernel.forget(*ino, u64::MAX);
        }
        let fs = &kernel.fs;
        prop_assert_eq!((fs.stats().inodes, kernel.known.borrow().len()), (1, 1));
        prop_assert_eq!(fs.dcache.fills() + fs.sizes.len() + fs.links.len() + fs.reads.len(), 0);
        prop_assert!(fs.handles.is_empty());
    }
}

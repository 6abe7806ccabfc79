//! How a kernel's questions come to a mount: as calls of `AsyncFs`, or as messages of the FUSE protocol, in the
//! framing of either transport, through the product's adapter.
//!
//! Always holds: a message is answered once, in the protocol's words; the answer to one whose program was killed is
//! waited for all the same, as Linux does once it has handed a request out (`request_wait_answer`), and what
//! it names is given back.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::{Arc, Mutex},
};

use bonsaifs::{
    fuse::{
        Content, Opens, errno,
        message::{Framing, Messages},
    },
    git::oid::Oid,
    repo::RepoFs,
};
use bonsaifs_core::{
    fs::{
        AsyncFs, Attr, DirItem, DirItemPlus, Entry, FsErrorKind, FsResult, Ino, Kind, Take,
        Timestamp, Told,
    },
    rt::SharedRuntime,
};
use bytes::Bytes;
use tokio::sync::oneshot::{self, error::TryRecvError};

use crate::{
    context::Shared,
    plan::Framed,
    props::{stranded, truth},
};

type Later<'a, T> = Pin<Box<dyn Future<Output = FsResult<T>> + 'a>>;

/// A question: what was said to it at once, or what is to be waited for.
pub struct Asking<'a, T> {
    pub quick: Option<FsResult<T>>,
    pub slow: Later<'a, T>,
    /// `None` if it is a call.
    pub sent: Option<Sent<'a, T>>,
}

/// A question that is a message.
pub struct Sent<'a, T> {
    front: &'a Front,
    unique: u32,
    thread: u32,
    /// Gives back what an answer names.
    back: fn(&Front, Ino, T),
    ino: Ino,
    /// The commit that was shown when it was answered.
    commit: Rc<Cell<Option<Oid>>>,
}

impl<T> Sent<'_, T> {
    /// The program that asked is killed.
    pub fn kill(&self) {
        let wired = self.front.wired.as_ref().expect("it sent this");
        let mut killed = wired.killed.lock().expect("a set that is only added to");
        killed.insert(self.thread);
        drop(killed);
        let unique = u64::from(self.unique).to_ne_bytes();
        wired.tell(INTERRUPT, Ino(0), &[&unique]);
    }

    /// Gives back what the answer named.
    pub fn give_back(&self, value: T) {
        (self.back)(self.front, self.ino, value);
    }

    /// Whether another commit is shown by now than when it was answered. The kernel, which holds a directory's lock
    /// from a question to the moment that its answer is in place, would have dropped what it named.
    pub fn met_a_switch(&self) -> bool {
        let at = self.commit.get();
        at.is_some_and(|at| at != self.front.fs.provider().commit())
    }
}

/// An entry of a directory that was read.
#[derive(Debug)]
pub struct Item {
    pub next: u64,
    pub name: Vec<u8>,
    pub kind: Kind,
    pub ino: Ino,
    /// Only with readdirplus, and where they are told; then it is counted.
    pub attr: Option<Attr>,
}

/// The handle of an open file or directory; `None` where the kernel opened it by itself.
pub type Handle = Option<u64>;

/// The way into a mount.
pub struct Front {
    fs: Arc<AsyncFs<RepoFs>>,
    wired: Option<Wired>,
}

struct Wired {
    messages: Messages<RepoFs>,
    framing: Framing,
    killed: Arc<Mutex<BTreeSet<u32>>>,
    /// The number of the last message.
    last: Cell<u32>,
    /// The threads that wait for nothing, the one on top that was answered last. A thread asks one thing at a time;
    /// one that was killed never comes back.
    idle: RefCell<Vec<u32>>,
    threads: Cell<u32>,
    world: Shared,
    index: usize,
}

const LOOKUP: u32 = 1;
const FORGET: u32 = 2;
const GETATTR: u32 = 3;
const READLINK: u32 = 5;
const OPEN: u32 = 14;
const READ: u32 = 15;
const RELEASE: u32 = 18;
const OPENDIR: u32 = 27;
const READDIR: u32 = 28;
const RELEASEDIR: u32 = 29;
const INTERRUPT: u32 = 36;
const BATCH_FORGET: u32 = 42;
const READDIRPLUS: u32 = 44;

/// `fuse_attr` and `fuse_entry_out`.
const ATTR: usize = 88;
const ENTRY: usize = 40 + ATTR;

impl Front {
    /// To the mount `index` of the plan, a process with this runtime, as the plan says.
    pub fn new(
        world: &Shared,
        index: usize,
        fs: Arc<AsyncFs<RepoFs>>,
        runtime: SharedRuntime,
    ) -> Self {
        let plan = &world.plan.mounts[index];
        let wired = plan.framed.map(|framed| {
            let killed: Arc<Mutex<BTreeSet<u32>>> = Arc::default();
            let killed_ones = Arc::clone(&killed);
            let is_killed = move |tid: u32| {
                let killed = killed_ones.lock().expect("a set that is only added to");
                killed.contains(&tid)
            };
            let content = match plan.follow {
                true => Content::Following,
                false => Content::Pinned,
            };
            let (framing, opens) = match framed {
                Framed::Device { opens } => (Framing::Whole, opens),
                Framed::Ring { opens } => (Framing::Slot, opens),
            };
            let fs = Arc::clone(&fs);
            let is_killed = Arc::new(is_killed);
            Wired {
                messages: Messages::new(fs, runtime, content, framing, opens, is_killed),
                framing,
                killed,
                last: Cell::new(0),
                idle: RefCell::default(),
                threads: Cell::new(0),
                world: world.clone(),
                index,
            }
        });
        Self { fs, wired }
    }

    /// What is shown.
    pub fn commit(&self) -> Oid {
        self.fs.provider().commit()
    }

    /// Whether a program can ask for this name: the kernel ends a name at a NUL, and goes up by itself.
    pub fn can_ask_for(&self, name: &[u8]) -> bool {
        self.wired.is_none() || !(name.contains(&0) || name == b"..")
    }

    pub fn lookup<'a>(&'a self, dir: Ino, name: &'a [u8]) -> Asking<'a, Entry> {
        if self.wired.is_none() {
            return Asking::call(self.fs.try_lookup(dir, name), self.fs.lookup(dir, name));
        }
        let back = |front: &Self, _, entry: Entry| front.forget(&[(entry.ino, 1)]);
        self.send(LOOKUP, dir, &[name, b"\0"], entry, back)
    }

    pub fn getattr(&self, ino: Ino) -> Asking<'_, Attr> {
        if self.wired.is_none() {
            return Asking::call(self.fs.try_getattr(ino), self.fs.getattr(ino));
        }
        let attr = move |data: &[u8]| match data.len() {
            104 => attr(&data[16..], ino),
            length => Err(format!("attributes of {length} bytes")),
        };
        self.send(GETATTR, ino, &[&[0; 16]], attr, |_, _, _| ())
    }

    pub fn readlink(&self, ino: Ino) -> Asking<'_, Bytes> {
        if self.wired.is_none() {
            return Asking::call(self.fs.try_readlink(ino), self.fs.readlink(ino));
        }
        self.send(READLINK, ino, &[], content, |_, _, _| ())
    }

    pub fn open(&self, ino: Ino) -> FsResult<Handle> {
        let Some(wired) = &self.wired else {
            return self.fs.open_file(ino).map(Some);
        };
        if wired.messages.policy().files == Opens::Skipped {
            return Ok(None);
        }
        let opened = self.send(OPEN, ino, &[&[0; 8]], handle, |_, _, _| ()).quick;
        opened.unwrap_or_else(|| panic!("what opens a file is in memory"))
    }

    pub fn release(&self, ino: Ino, handle: Handle) {
        match (&self.wired, handle) {
            (None, Some(handle)) => self.fs.release_file(handle),
            (Some(_), Some(handle)) => self.give_up(RELEASE, ino, handle),
            (_, None) => {}
        }
    }

    pub fn read(&self, ino: Ino, handle: Handle, offset: u64, len: u32) -> Asking<'_, Bytes> {
        if self.wired.is_none() {
            let quick = self.fs.try_read(ino, offset, len);
            return Asking::call(quick, self.fs.read(ino, offset, len));
        }
        let request = read_in(handle, offset, len);
        self.send(READ, ino, &[&request], content, |_, _, _| ())
    }

    pub fn opendir(&self, ino: Ino) -> Asking<'_, Handle> {
        let Some(wired) = &self.wired else {
            let open = |scan| Some(self.fs.open_dir(scan));
            let quick = self.fs.try_scan(ino).map(|scan| scan.map(open));
            return Asking::call(quick, async move { self.fs.scan(ino).await.map(open) });
        };
        if wired.messages.policy().directories == Opens::Skipped {
            return Asking::call(Some(Ok(None)), never());
        }
        let back = |front: &Self, ino, handle| front.release_dir(ino, handle);
        self.send(OPENDIR, ino, &[&[0; 8]], handle, back)
    }

    pub fn release_dir(&self, ino: Ino, handle: Handle) {
        match (&self.wired, handle) {
            (None, Some(handle)) => self.fs.release_dir(handle),
            (Some(_), Some(handle)) => self.give_up(RELEASEDIR, ino, handle),
            (_, None) => {}
        }
    }

    /// A piece of a directory, of up to `room` entries where they are called for, and of bytes for about as many where
    /// they are sent.
    pub fn readdir(
        &self,
        ino: Ino,
        handle: Handle,
        offset: u64,
        room: usize,
        plus: bool,
    ) -> Asking<'_, Vec<Item>> {
        if self.wired.is_none() {
            let handle = handle.expect("calls open directories");
            let scan = self.fs.dir_handle(handle);
            let piece = scan.map(|scan| {
                let mut items = Vec::new();
                let mut put = |item| match items.len() < room {
                    true => {
                        items.push(item);
                        Take::More
                    }
                    false => Take::Full,
                };
                // Now and then as for a reader that looks at no file.
                let told = match room.is_multiple_of(3) {
                    true => Told::Dirs,
                    false => Told::All,
                };
                match plus {
                    true => self
                        .fs
                        .readdirplus(&scan, offset, told, &mut |item| put(item.into())),
                    false => self.fs.readdir(&scan, offset, &mut |item| put(item.into())),
                }
                items
            });
            return Asking::call(Some(piece), never());
        }
        let bytes = (room * 200).clamp(1500, 64 << 10) as u32;
        let request = read_in(handle, offset, bytes);
        let items = move |data: &[u8]| items(data, plus);
        let back = |front: &Self, _, items: Vec<Item>| {
            for item in items.iter().filter(|item| item.attr.is_some()) {
                front.forget(&[(item.ino, 1)]);
            }
        };
        match plus {
            true => self.send(READDIRPLUS, ino, &[&request], items, back),
            false => self.send(READDIR, ino, &[&request], items, |_, _, _| ()),
        }
    }

    /// Whether some listing left out the attributes of files, as nobody looked at any.
    pub fn told_of_directories_only(&self) -> bool {
        let wired = self.wired.as_ref();
        wired.is_some_and(|wired| wired.messages.bare() > 0)
    }

    /// Gives counts back.
    pub fn forget(&self, counts: &[(Ino, u64)]) {
        let Some(wired) = &self.wired else {
            for (ino, count) in counts {
                self.fs.forget(*ino, *count);
            }
            return;
        };
        match counts {
            [] => {}
            [(ino, count)] => wired.tell(FORGET, *ino, &[&count.to_ne_bytes()]),
            all => {
                let length = u32::try_from(all.len()).expect("few");
                let mut body = length.to_ne_bytes().to_vec();
                body.extend([0; 4]);
                for (ino, count) in all {
                    body.extend(ino.0.to_ne_bytes());
                    body.extend(count.to_ne_bytes());
                }
                wired.tell(BATCH_FORGET, Ino(0), &[&body]);
            }
        }
    }

    fn give_up(&self, opcode: u32, ino: Ino, handle: u64) {
        let mut body = handle.to_ne_bytes().to_vec();
        body.extend([0; 16]);
        let nothing = |data: &[u8]| match data.is_empty() {
            true => Ok(()),
            false => Err("an answer of nothing has something".to_owned()),
        };
        let quick = self
            .send(opcode, ino, &[&body], nothing, |_, _, ()| ())
            .quick;
        if !matches!(quick, Some(Ok(()))) {
            let wrong = format!("a release of inode {} is answered {quick:?}", ino.0);
            let wired = self.wired.as_ref().expect("it was sent");
            wired.world.verdicts.judge(truth::NAME, Err(wrong));
        }
    }

    fn send<'a, T: 'a>(
        &'a self,
        opcode: u32,
        ino: Ino,
        body: &[&[u8]],
        read: impl Fn(&[u8]) -> Result<T, String> + 'a,
        back: fn(&Front, Ino, T),
    ) -> Asking<'a, T> {
        let wired = self.wired.as_ref().expect("only then it is sent");
        let commit = Rc::new(Cell::new(None));
        let thread = wired.thread();
        let (unique, mut told) = wired.send(thread, opcode, ino, body);
        let noted = commit.clone();
        let read = move |(answer, at): (Vec<u8>, Oid)| {
            noted.set(Some(at));
            wired.is_idle(thread);
            wired.read(unique, &answer, &read)
        };
        let quick = match told.try_recv() {
            Ok(answer) => Some(read(answer)),
            Err(TryRecvError::Empty | TryRecvError::Closed) => None,
        };
        let slow: Later<'a, T> = match quick {
            Some(_) => Box::pin(never()),
            None => Box::pin(async move {
                match told.await {
                    Ok(answer) => read(answer),
                    Err(_) => wired.never_answered(opcode).await,
                }
            }),
        };
        Asking {
            quick,
            slow,
            sent: Some(Sent {
                front: self,
                unique,
                thread,
                back,
                ino,
                commit,
            }),
        }
    }
}

impl<'a, T> Asking<'a, T> {
    fn call(quick: Option<FsResult<T>>, slow: impl Future<Output = FsResult<T>> + 'a) -> Self {
        Self {
            quick,
            slow: Box::pin(slow),
            sent: None,
        }
    }
}

async fn never<T>() -> T {
    std::future::pending().await
}

impl Wired {
    /// A thread that waits for nothing.
    fn thread(&self) -> u32 {
        let idle = self.idle.borrow_mut().pop();
        idle.unwrap_or_else(|| {
            self.threads.set(self.threads.get() + 1);
            self.threads.get()
        })
    }

    /// The thread was answered. One that was killed is gone.
    fn is_idle(&self, thread: u32) {
        let killed = self.killed.lock().expect("a set that is only added to");
        if !killed.contains(&thread) {
            self.idle.borrow_mut().push(thread);
        }
    }

    fn message(&self, thread: u32, opcode: u32, ino: Ino, body: &[&[u8]]) -> (u32, Vec<u8>) {
        let unique = self.last.get() + 1;
        self.last.set(unique);
        let length: usize = body.iter().map(|part| part.len()).sum();
        let mut message = (40 + length as u32).to_ne_bytes().to_vec();
        message.extend(opcode.to_ne_bytes());
        message.extend(u64::from(unique).to_ne_bytes());
        message.extend(ino.0.to_ne_bytes());
        // User, group, thread, and room for extensions.
        message.extend([0; 8]);
        message.extend(thread.to_ne_bytes());
        message.extend([0; 4]);
        body.iter().for_each(|part| message.extend(*part));
        (unique, message)
    }

    fn send(
        &self,
        thread: u32,
        opcode: u32,
        ino: Ino,
        body: &[&[u8]],
    ) -> (u32, oneshot::Receiver<(Vec<u8>, Oid)>) {
        let (unique, message) = self.message(thread, opcode, ino, body);
        let (tell, told) = oneshot::channel();
        let repo = self.messages.provider();
        self.messages.take(&message, move |answer| {
            // Who asked may be gone with the whole machine.
            let _ = tell.send((answer.to_vec(), repo.commit()));
        });
        (unique, told)
    }

    /// Sends what has no answer. Only a ring's slot comes back, at once and empty.
    fn tell(&self, opcode: u32, ino: Ino, body: &[&[u8]]) {
        let (unique, mut told) = self.send(0, opcode, ino, body);
        let came = told.try_recv().ok().map(|(answer, _)| answer);
        let check = match (self.framing, came) {
            (Framing::Whole, None) => Ok(()),
            (Framing::Slot, Some(answer)) => {
                self.reply(unique, &answer).and_then(|(errno, body)| {
                    match errno == 0 && body.is_empty() {
                        true => Ok(()),
                        false => Err(format!(
                            "a slot came back with {errno} and {} bytes",
                            body.len()
                        )),
                    }
                })
            }
            (Framing::Whole, Some(_)) => {
                Err(format!("message {opcode} has no answer, and got one"))
            }
            (Framing::Slot, None) => Err(format!("the slot of message {opcode} did not come back")),
        };
        self.world.verdicts.judge(truth::NAME, check);
    }

    /// Takes an answer apart.
    fn reply<'m>(&self, unique: u32, answer: &'m [u8]) -> Result<(i32, &'m [u8]), String> {
        if answer.len() < 16 || u32_at(answer, 0) as usize != answer.len() {
            return Err(format!(
                "an answer of {} bytes with another length",
                answer.len()
            ));
        }
        if u64_at(answer, 8) != u64::from(unique) {
            return Err(format!("the answer to {unique} names another message"));
        }
        let errno = -(u32_at(answer, 4).cast_signed());
        match errno != 0 && answer.len() > 16 {
            true => Err(format!("errno {errno} with something behind it")),
            false => Ok((errno, &answer[16..])),
        }
    }

    fn read<T>(
        &self,
        unique: u32,
        answer: &[u8],
        read: impl Fn(&[u8]) -> Result<T, String>,
    ) -> FsResult<T> {
        let answer = self.reply(unique, answer);
        let value = answer.and_then(|(number, body)| match number {
            0 => match body.len() == ENTRY && u64_at(body, 0) == 0 {
                // A name that is not there, and stays so for a while.
                true => Ok(Err(FsErrorKind::NotFound.into())),
                false => read(body).map(Ok),
            },
            number => {
                let kind = KINDS.iter().find(|kind| errno(**kind).code() == number);
                match (kind, number) {
                    (Some(kind), _) => Ok(Err((*kind).into())),
                    (None, libc::EINTR) => Ok(Err(FsErrorKind::Invalid.into())),
                    (None, _) => Err(format!("errno {number}, which no failure has")),
                }
            }
        });
        value.unwrap_or_else(|wrong| {
            self.world.verdicts.judge(truth::NAME, Err(wrong));
            Err(FsErrorKind::Io.into())
        })
    }

    async fn never_answered<T>(&self, opcode: u32) -> FsResult<T> {
        let lives = {
            let process = self.world.mounts[self.index].process.borrow();
            process
                .as_ref()
                .is_some_and(|process| !process.runtime.is_dead())
        };
        if lives {
            let wrong = format!("message {opcode} will never be answered");
            self.world.verdicts.judge(stranded::NAME, Err(wrong));
        }
        never().await
    }
}

const KINDS: [FsErrorKind; 12] = [
    FsErrorKind::NotFound,
    FsErrorKind::NameTooLong,
    FsErrorKind::NotADirectory,
    FsErrorKind::IsADirectory,
    FsErrorKind::Invalid,
    FsErrorKind::Stale,
    FsErrorKind::ReadOnly,
    FsErrorKind::NoData,
    FsErrorKind::Denied,
    FsErrorKind::TimedOut,
    FsErrorKind::Io,
    FsErrorKind::TooLarge,
];

fn u32_at(data: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(data[at..at + 4].try_into().expect("four"))
}

fn u64_at(data: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(data[at..at + 8].try_into().expect("eight"))
}

/// `fuse_read_in`.
fn read_in(handle: Handle, offset: u64, size: u32) -> [u8; 40] {
    let mut request = [0; 40];
    request[..8].copy_from_slice(&handle.unwrap_or(0).to_ne_bytes());
    request[8..16].copy_from_slice(&offset.to_ne_bytes());
    request[16..20].copy_from_slice(&size.to_ne_bytes());
    request
}

fn content(data: &[u8]) -> Result<Bytes, String> {
    Ok(Bytes::copy_from_slice(data))
}

fn handle(data: &[u8]) -> Result<Handle, String> {
    match data.len() {
        16 => Ok(Some(u64_at(data, 0))),
        length => Err(format!("a handle of {length} bytes")),
    }
}

/// `fuse_attr` of inode `ino`.
fn attr(data: &[u8], ino: Ino) -> Result<Attr, String> {
    if u64_at(data, 0) != ino.0 {
        return Err(format!("attributes of {} for {}", u64_at(data, 0), ino.0));
    }
    let mode = u32_at(data, 60);
    let kind = match mode & libc::S_IFMT {
        libc::S_IFDIR => Kind::Dir,
        libc::S_IFREG => Kind::File,
        libc::S_IFLNK => Kind::Symlink,
        _ => return Err(format!("mode {mode:o}")),
    };
    let size = u64_at(data, 8);
    if size > i64::MAX as u64 {
        return Err(format!("a size of {size}"));
    }
    if u64_at(data, 16) != size.div_ceil(512) {
        return Err(format!("{} blocks for {size} bytes", u64_at(data, 16)));
    }
    Ok(Attr {
        kind,
        perm: (mode & 0o7777) as u16,
        size,
        mtime: Timestamp {
            secs: u64_at(data, 32).cast_signed(),
            nanos: u32_at(data, 52),
        },
    })
}

/// `fuse_entry_out` of a name that is there.
fn entry(data: &[u8]) -> Result<Entry, String> {
    if data.len() != ENTRY {
        return Err(format!("an entry of {} bytes", data.len()));
    }
    let ino = Ino(u64_at(data, 0));
    Ok(Entry {
        ino,
        generation: u64_at(data, 8),
        attr: attr(&data[40..], ino)?,
    })
}

/// `fuse_dirent`s, or `fuse_direntplus`es.
fn items(mut data: &[u8], plus: bool) -> Result<Vec<Item>, String> {
    let before = if plus { ENTRY } else { 0 };
    let mut items = Vec::new();
    while !data.is_empty() {
        let cut = || format!("{} bytes are no entry", data.len());
        if data.len() < before + 24 {
            return Err(cut());
        }
        let (head, fields) = data.split_at(before);
        let ino = Ino(u64_at(fields, 0));
        let length = u32_at(fields, 16) as usize;
        let whole = (24 + length).next_multiple_of(8);
        let name = fields.get(24..24 + length).ok_or_else(cut)?.to_vec();
        let kind = match u32_at(fields, 20) << 12 {
            libc::S_IFDIR => Kind::Dir,
            libc::S_IFREG => Kind::File,
            libc::S_IFLNK => Kind::Symlink,
            _ => return Err(format!("type {}", u32_at(fields, 20))),
        };
        let mut item = Item {
            next: u64_at(fields, 8),
            name,
            kind,
            ino,
            attr: None,
        };
        // A node id of zero stands for no attributes.
        if plus && !item.is_dot() && u64_at(head, 0) != 0 {
            let entry = entry(head)?;
            if entry.ino != ino {
                return Err(format!("an entry of {} for {}", entry.ino.0, ino.0));
            }
            item.attr = Some(entry.attr);
        }
        items.push(item);
        data = fields.get(whole..).ok_or_else(cut)?;
    }
    Ok(items)
}

impl Item {
    /// Whether it is `.` or `..`, which are never counted.
    pub fn is_dot(&self) -> bool {
        self.name == b"." || self.name == b".."
    }
}

impl From<DirItem<'_>> for Item {
    fn from(item: DirItem<'_>) -> Self {
        Self {
            next: item.offset,
            name: item.name.to_owned(),
            kind: item.kind,
            ino: item.ino,
            attr: None,
        }
    }
}

impl From<DirItemPlus<'_>> for Item {
    fn from(item: DirItemPlus<'_>) -> Self {
        let mut made = Self {
            next: item.offset,
            name: item.name.to_owned(),
            kind: item.kind,
            ino: item.ino,
            attr: None,
        };
        // The dots have some too, and are not counted.
        if !made.is_dot() {
            made.attr = item.attr;
        }
        made
    }
}

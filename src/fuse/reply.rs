//! What is answered to a request, whichever way it came. May import: this room's attributes, fuser.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt, time::Duration};

use bonsaifs_core::fs::Ino;
use fuser::{
    Errno, FileAttr, FileHandle, FileType, FopenFlags, Generation, INodeNo, ReplyAttr, ReplyBmap,
    ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl,
    ReplyLock, ReplyLseek, ReplyOpen, ReplyPoll, ReplyStatfs, ReplyWrite, ReplyXattr,
};

use super::attr::no_entry;

/// A reply that can be an error. One that is dropped unanswered, as in a panic, answers EIO: of
/// fuser's that is its own guard (`Drop` of its `ReplyRaw`).
pub(super) trait Refuse: Send + 'static {
    /// Answers with `errno`.
    fn refuse(self, errno: Errno);
}

/// The answer to a look-up.
pub(super) trait EntryReply: Refuse {
    /// There is such an entry, and how long its name and its attributes stay so.
    fn entry(self, found: &FileAttr, generation: u64, name_ttl: Duration, attr_ttl: Duration);
    /// There is none, for so long.
    fn absent(self, ttl: Duration);
}

/// The answer to `getattr`.
pub(super) trait AttrReply: Refuse {
    /// The attributes, and how long they stay so.
    fn attr(self, attr: &FileAttr, ttl: Duration);
}

/// An answer of bytes.
pub(super) trait DataReply: Refuse {
    /// All of them.
    fn data(self, data: &[u8]);
}

/// The answer to `open` and `opendir`.
pub(super) trait OpenReply: Refuse {
    /// A handle.
    fn opened(self, handle: u64, flags: FopenFlags);
}

/// An answer that says no more than that it is done.
pub(super) trait EmptyReply: Refuse {
    /// Done.
    fn ok(self);
}

/// What `statfs` answers with.
pub(super) struct Space {
    pub blocks: u64,
    pub files: u64,
    pub max_name: u32,
    pub block: u32,
}

/// The answer to `statfs`.
pub(super) trait StatfsReply: Refuse {
    /// What there is; nothing of it is free.
    fn statfs(self, space: &Space);
}

/// The answer to `getxattr` and `listxattr`.
pub(super) trait XattrReply: DataReply {
    /// How many bytes there are.
    fn size(self, size: u32);
}

/// The answer to `readdir`.
pub(super) trait DirReply: Refuse {
    /// Adds an entry, whose successor is at `next`. True if there was no room.
    fn add(&mut self, ino: Ino, next: u64, kind: FileType, name: &[u8]) -> bool;
    /// That is all.
    fn ok(self);
}

/// The answer to `readdirplus`.
pub(super) trait DirPlusReply: Refuse {
    /// Adds an entry with its attributes, whose successor is at `next`; both are the kernel's for `ttl`.
    /// True if there was no room.
    fn add(&mut self, attr: &FileAttr, next: u64, ttl: Duration, name: &[u8]) -> bool;
    /// That is all.
    fn ok(self);
}

macro_rules! refuse {
    ($($reply:ty),+) => {
        $(impl Refuse for $reply {
            fn refuse(self, errno: Errno) {
                self.error(errno);
            }
        })+
    };
}

refuse!(
    ReplyAttr,
    ReplyBmap,
    ReplyCreate,
    ReplyData,
    ReplyDirectory,
    ReplyDirectoryPlus,
    ReplyEmpty,
    ReplyEntry,
    ReplyIoctl,
    ReplyLock,
    ReplyLseek,
    ReplyOpen,
    ReplyPoll,
    ReplyStatfs,
    ReplyWrite,
    ReplyXattr
);

impl EntryReply for ReplyEntry {
    fn entry(self, found: &FileAttr, generation: u64, name_ttl: Duration, attr_ttl: Duration) {
        self.entry_with_ttls(&attr_ttl, &name_ttl, found, Generation(generation));
    }
    fn absent(self, ttl: Duration) {
        ReplyEntry::entry(self, &ttl, &no_entry(), Generation(0));
    }
}

impl AttrReply for ReplyAttr {
    fn attr(self, attr: &FileAttr, ttl: Duration) {
        ReplyAttr::attr(self, &ttl, attr);
    }
}

impl DataReply for ReplyData {
    fn data(self, data: &[u8]) {
        ReplyData::data(self, data);
    }
}

impl OpenReply for ReplyOpen {
    fn opened(self, handle: u64, flags: FopenFlags) {
        ReplyOpen::opened(self, FileHandle(handle), flags);
    }
}

impl EmptyReply for ReplyEmpty {
    fn ok(self) {
        ReplyEmpty::ok(self);
    }
}

impl StatfsReply for ReplyStatfs {
    fn statfs(self, space: &Space) {
        let Space {
            blocks,
            files,
            max_name,
            block,
        } = *space;
        ReplyStatfs::statfs(self, blocks, 0, 0, files, 0, block, max_name, block);
    }
}

impl DataReply for ReplyXattr {
    fn data(self, data: &[u8]) {
        ReplyXattr::data(self, data);
    }
}

impl XattrReply for ReplyXattr {
    fn size(self, size: u32) {
        ReplyXattr::size(self, size);
    }
}

impl DirReply for ReplyDirectory {
    fn add(&mut self, ino: Ino, next: u64, kind: FileType, name: &[u8]) -> bool {
        ReplyDirectory::add(self, INodeNo(ino.0), next, kind, OsStr::from_bytes(name))
    }
    fn ok(self) {
        ReplyDirectory::ok(self);
    }
}

impl DirPlusReply for ReplyDirectoryPlus {
    fn add(&mut self, attr: &FileAttr, next: u64, ttl: Duration, name: &[u8]) -> bool {
        let name = OsStr::from_bytes(name);
        ReplyDirectoryPlus::add(self, attr.ino, next, name, &ttl, attr, Generation(0))
    }
    fn ok(self) {
        ReplyDirectoryPlus::ok(self);
    }
}

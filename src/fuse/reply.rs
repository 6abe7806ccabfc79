//! What is answered to a request, whichever way it came. May import: fuser (its values).

use std::time::Duration;

use bonsaifs_core::fs::{DirItemPlus, Ino};
use fuser::{Errno, FileAttr, FileType, FopenFlags};

/// A reply that can be an error. One that is dropped unanswered, as in a panic, answers EIO.
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
    /// Adds an entry, whose successor is at `next`. It and its attributes, if it has any here, are the kernel's for `ttl`.
    /// True if there was no room.
    fn add(&mut self, item: &DirItemPlus<'_>, attr: Option<&FileAttr>, ttl: Duration) -> bool;
    /// That is all.
    fn ok(self);
}

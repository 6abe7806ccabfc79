//! Directories as the kernel reads them. May import: this room, bonsaifs-core, fuser.
//!
//! # Sizes that are not known yet
//!
//! A Git tree has no sizes, and a listing must not wait for them. `readdirplus` can't leave an
//! entry's attributes out (the protocol could, with a node id of zero, but then fuser writes zero
//! as the entry's inode number too, and programs skip the entry). So such an entry carries a
//! placeholder, and no process may ever see it. How Linux treats it (`fuse_direntplus_link` in
//! fs/fuse/readdir.c, `fuse_change_attributes` in fs/fuse/inode.c):
//!
//! The entry has *a size that no file can have* (over `i64::MAX`). The kernel shows the entry's
//! name, number and type, finds the attributes invalid before it looks at any inode or waits for
//! any look-up (`fuse_invalid_attr`, since Linux 5.5), and gives the count back at once with a
//! FORGET. Whoever uses the name then looks it up, and that waits for the true size.
//!
//! A valid placeholder, say 0 with a time to live of zero, would be worse on three counts: it would
//! be written over an inode in use; listing a directory would wait for each look-up under way in
//! it (`d_alloc_parallel`), so one slow file would hold up `ls`; and the kernel would keep an inode
//! for every name that was only listed.
//!
//! A size that the kernel has been told never becomes unknown again: the inode holds the very
//! snapshot of the listing that it was told from.

use std::time::Duration;

use bonsaifs_core::fs::{Attr, DirItemPlus, Kind, Provider, Scan, Take, Timestamp};
use fuser::FileAttr;

use super::{
    attr::{file_attr, file_type},
    reply::{DirPlusReply, DirReply},
    serve::Shared,
};

/// The longest name that the kernel takes from a FUSE directory (`FUSE_NAME_MAX`). One longer name
/// would fail the whole directory with EIO, so it is left out; it couldn't be looked up either.
const NAME_MAX: usize = 1024;

/// Over `i64::MAX`: see the module's header.
const NO_SIZE: u64 = u64::MAX;

impl<P: Provider> Shared<P> {
    /// Answers with as many entries from `offset` as there is room for.
    pub fn fill(&self, mut reply: impl DirReply, scan: &Scan<P::Node>, offset: u64) {
        self.fs.readdir(scan, offset, &mut |item| {
            if item.name.len() > NAME_MAX {
                return Take::More;
            }
            take(reply.add(item.ino, item.offset, file_type(item.kind), item.name))
        });
        reply.ok();
    }

    /// The same with attributes, which are the kernel's for `ttl`.
    pub fn fill_plus(
        &self,
        mut reply: impl DirPlusReply,
        scan: &Scan<P::Node>,
        offset: u64,
        ttl: Duration,
    ) {
        self.fs.readdirplus(scan, offset, &mut |item| {
            if item.name.len() > NAME_MAX {
                self.fs.forget(item.ino, 1);
                return Take::More;
            }
            let (ttl, attr) = match item.attr {
                Some(attr) => (ttl, file_attr(item.ino, &attr, self.owner)),
                None => (Duration::ZERO, self.placeholder(&item)),
            };
            take(reply.add(&attr, item.offset, ttl, item.name))
        });
        reply.ok();
    }

    /// What stands for attributes that are not known: see the module's header.
    fn placeholder(&self, item: &DirItemPlus<'_>) -> FileAttr {
        let attr = Attr {
            kind: item.kind,
            perm: match item.kind {
                Kind::Dir => 0o755,
                Kind::File => 0o644,
                Kind::Symlink => 0o777,
            },
            size: NO_SIZE,
            mtime: Timestamp::default(),
        };
        file_attr(item.ino, &attr, self.owner)
    }
}

/// `add` says true if there was no room.
fn take(full: bool) -> Take {
    if full { Take::Full } else { Take::More }
}

//! Directories as the kernel reads them. May import: this room, bonsaifs-core.
//!
//! An entry of `readdirplus` whose attributes are not known has none: a Git tree has no sizes, and a listing must not
//! wait for them. The kernel then shows name, number and type, makes no inode and counts nothing
//! (a node id of zero, as `fuse_direntplus_link` in Linux's fs/fuse/readdir.c takes it). Whoever uses the name looks it up, and that waits for the true size.
//!
//! A placeholder, say a size of 0 with a time to live of zero, would be worse on three counts: it would be written over
//! an inode in use; listing a directory would wait for each look-up under way in it (`d_alloc_parallel`), so one slow file
//! would hold up `ls`; and the kernel would keep an inode for every name that was only listed.
//!
//! A size that the kernel has been told never becomes unknown again: the inode holds the very
//! snapshot of the listing that it was told from.

use std::time::Duration;

use bonsaifs_core::fs::{Provider, Scan, Take, Told};

use super::{
    attr::{file_attr, file_type},
    reply::{DirPlusReply, DirReply},
    serve::Shared,
};

/// The longest name that the kernel takes from a FUSE directory (`FUSE_NAME_MAX`). One longer name
/// would fail the whole directory with EIO, so it is left out; it couldn't be looked up either.
const NAME_MAX: usize = 1024;

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

    /// The same with the attributes that `told` names, which are the kernel's for `ttl`.
    pub fn fill_plus(
        &self,
        mut reply: impl DirPlusReply,
        scan: &Scan<P::Node>,
        offset: u64,
        told: Told,
        ttl: Duration,
    ) {
        self.fs.readdirplus(scan, offset, told, &mut |item| {
            if item.name.len() > NAME_MAX {
                if item.attr.is_some() {
                    self.fs.forget(item.ino, 1);
                }
                return Take::More;
            }
            let attr = item.attr.map(|attr| file_attr(item.ino, &attr, self.owner));
            take(reply.add(&item, attr.as_ref(), ttl))
        });
        reply.ok();
    }
}

/// `add` says true if there was no room.
fn take(full: bool) -> Take {
    if full { Take::Full } else { Take::More }
}

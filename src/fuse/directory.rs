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

use super::{attr::file_attr, operations::Part, reply::Entries, serve::Shared};

/// The longest name that the kernel takes from a FUSE directory (`FUSE_NAME_MAX`). One longer name
/// would fail the whole directory with EIO, so it is left out; it couldn't be looked up either.
const NAME_MAX: usize = 1024;

impl<P: Provider> Shared<P> {
    /// As many entries as there is room for.
    pub fn fill(&self, part: Part, scan: &Scan<P::Node>) -> Vec<u8> {
        let mut entries = Entries::new(part.room);
        self.fs.readdir(scan, part.offset, &mut |item| {
            if item.name.len() > NAME_MAX {
                return Take::More;
            }
            take(entries.add(&item))
        });
        entries.data
    }

    /// The same with the attributes that `told` names, which are the kernel's for `ttl`.
    pub fn fill_plus(
        &self,
        part: Part,
        scan: &Scan<P::Node>,
        told: Told,
        ttl: Duration,
    ) -> Vec<u8> {
        let mut entries = Entries::new(part.room);
        self.fs.readdirplus(scan, part.offset, told, &mut |item| {
            if item.name.len() > NAME_MAX {
                if item.attr.is_some() {
                    self.fs.forget(item.ino, 1);
                }
                return Take::More;
            }
            let attr = item.attr.map(|attr| file_attr(item.ino, &attr, self.owner));
            take(entries.add_plus(&item, attr.as_ref(), ttl))
        });
        entries.data
    }
}

/// `full` says that there was no room.
fn take(full: bool) -> Take {
    if full { Take::Full } else { Take::More }
}

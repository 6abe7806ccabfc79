//! What [`super::AsyncFs`] takes and gives beside plain values. May import: this room's values.

use super::{Attr, Ino, Kind, Listing};
use crate::sync::Arc;

/// How an [`super::AsyncFs`] is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Bytes of listings that are kept when no one holds them. Those that an inode or an open
    /// directory holds come on top.
    pub listing_budget: usize,
    /// For tests: which bits of an inode number's hash are used. Few bits make paths collide.
    pub ino_mask: u64,
}

impl Default for Config {
    /// 64 MiB of listings, all bits.
    fn default() -> Self {
        Self {
            listing_budget: 64 << 20,
            ino_mask: u64::MAX,
        }
    }
}

/// The answer to a look-up. The kernel now knows the inode once more (it is counted), and gives
/// it back with [`super::AsyncFs::forget`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The inode's number.
    pub ino: Ino,
    /// Always 0: a number stands for one path as long as anyone knows it.
    pub generation: u64,
    /// Its attributes.
    pub attr: Attr,
}

/// What a path names, without an inode ([`super::AsyncFs::resolve_path`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found<N> {
    /// The provider's key.
    pub node: N,
    /// Directory, file or symlink.
    pub kind: Kind,
    /// Its attributes, or `None` while its size is unknown; it is not asked for.
    pub attr: Option<Attr>,
}

/// Whether there is room for more directory entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// The entry was taken; give the next one.
    More,
    /// The entry was *not* taken, as there is no room for it. Give no more.
    Full,
}

/// One entry of a directory, for `readdir`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirItem<'a> {
    /// The number that a look-up of this entry gives. Not counted.
    pub ino: Ino,
    /// Where to go on after this entry.
    pub offset: u64,
    /// Directory, file or symlink.
    pub kind: Kind,
    /// The name; `.` and `..` come first.
    pub name: &'a [u8],
}

/// One entry of a directory with its attributes, for `readdirplus`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirItemPlus<'a> {
    /// The inode's number. With attributes it is counted like a look-up, but for `.` and `..`, which the
    /// kernel does not count either (`FUSE_READDIRPLUS` in its `fuse_direntplus_link`).
    pub ino: Ino,
    /// Where to go on after this entry.
    pub offset: u64,
    /// Directory, file or symlink.
    pub kind: Kind,
    /// The name; `.` and `..` come first.
    pub name: &'a [u8],
    /// The attributes, or `None` while the size is unknown and where none are wanted ([`Told`]): whoever
    /// wants them looks the name up.
    pub attr: Option<Attr>,
}

/// Whose attributes `readdirplus` tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Every entry's.
    All,
    /// Those of directories only: for a reader that goes through them and looks at no file.
    Dirs,
}

/// An open directory. It holds one snapshot, so offsets can't shift while it is read, whatever
/// becomes of the directory.
#[derive(Debug)]
pub struct Scan<N> {
    pub(super) ino: Ino,
    pub(super) parent: Ino,
    pub(super) listing: Arc<Listing<N>>,
    /// The switches to other trees that were before it was opened.
    pub(crate) epoch: u64,
}

impl<N> Clone for Scan<N> {
    fn clone(&self) -> Self {
        Self {
            ino: self.ino,
            parent: self.parent,
            listing: Arc::clone(&self.listing),
            epoch: self.epoch,
        }
    }
}

impl<N> Scan<N> {
    /// The directory's number.
    pub fn ino(&self) -> Ino {
        self.ino
    }

    /// The snapshot.
    pub fn listing(&self) -> &Arc<Listing<N>> {
        &self.listing
    }
}

/// Counts for `status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FsStats {
    /// Inodes that the kernel knows, that an open handle holds, and the root.
    pub inodes: u64,
    /// Listings kept within the budget.
    pub listings: u64,
    /// Their bytes.
    pub listing_bytes: u64,
    /// `try_` calls answered.
    pub hits: u64,
    /// `try_` calls that have to wait, through the async half.
    pub misses: u64,
}

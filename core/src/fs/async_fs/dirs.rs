//! Open directories and what is open at all.
//!
//! Always holds: an offset names a place in one snapshot. 0 is `.`, 1 is `..`, and entry `i` of
//! the listing is `i + 2`; each item carries the offset of the one after it.

use super::AsyncFs;
use crate::fs::{
    Attr, DirItem, DirItemPlus, FsErrorKind, FsResult, Ino, Kind, Provider, Scan, Take, Told,
};

/// Offsets before the first entry of a listing: `.` and `..`.
const DOTS: u64 = 2;

/// What is under a handle.
#[derive(Clone)]
pub(super) enum Open<N> {
    /// A directory; `held` if that keeps its inode known.
    Dir { scan: Scan<N>, held: bool },
    /// A file, whose inode it keeps known.
    File { ino: Ino },
}

impl<P: Provider> AsyncFs<P> {
    /// Opens directory `dir` for reading, if its listing can be had without waiting; see
    /// [`AsyncFs::scan`].
    pub fn try_scan(&self, dir: Ino) -> Option<FsResult<Scan<P::Node>>> {
        let epoch = self.inodes.epoch();
        let answer = self.listing_now(dir);
        let scan = answer.map(|listing| {
            let parent = self.parent(dir)?;
            Ok(Scan {
                ino: dir,
                parent,
                listing: listing?,
                epoch,
            })
        });
        self.tallied(dir, scan)
    }

    /// Opens directory `dir` for reading: takes its current snapshot.
    ///
    /// # Errors
    /// `NotADirectory`, `Stale` if `dir` is not known, and what the provider fails with.
    pub async fn scan(&self, dir: Ino) -> FsResult<Scan<P::Node>> {
        let epoch = self.inodes.epoch();
        let listing = self.listing(dir).await?;
        let parent = self.parent(dir)?;
        Ok(Scan {
            ino: dir,
            parent,
            listing,
            epoch,
        })
    }

    /// Hands the entries from `offset` on to `take`, until that says there is no more room. No
    /// inode is counted, no provider is asked.
    pub fn readdir(
        &self,
        scan: &Scan<P::Node>,
        offset: u64,
        take: &mut dyn FnMut(DirItem<'_>) -> Take,
    ) {
        self.tell_scan(scan, offset);
        for (next, place) in places(scan, offset) {
            let dot = |ino, name| DirItem {
                ino,
                offset: next,
                kind: Kind::Dir,
                name,
            };
            let item = match place {
                Place::Dot => dot(scan.ino, b"."),
                Place::DotDot => dot(scan.parent, b".."),
                Place::Entry(index) => DirItem {
                    ino: self.inodes.number(scan.ino, &scan.listing, index),
                    offset: next,
                    kind: scan.listing.kind(index),
                    name: scan.listing.name(index),
                },
            };
            if take(item) == Take::Full {
                return;
            }
        }
    }

    fn tell_scan(&self, scan: &Scan<P::Node>, offset: u64) {
        let listing = &scan.listing;
        if offset == 0 && listing.tag() != 0 && !listing.is_empty() {
            self.provider.will_scan(listing.get(0).node, listing.tag());
        }
    }

    /// Hands the entries from `offset` on to `take`, those that `told` names with their attributes, until
    /// that says there is no more room. An entry with attributes, but for `.` and `..`, is counted like a
    /// look-up before `take` sees it, so no forget can come too early; one that finds no room is taken
    /// back. One without is not counted.
    ///
    /// A size that is not known and not to be had at once leaves its entry without attributes; it
    /// never fails the directory. A directory opened before a switch to another tree has none at
    /// all: the kernel would keep them for the names as they are now.
    pub fn readdirplus(
        &self,
        scan: &Scan<P::Node>,
        offset: u64,
        told: Told,
        take: &mut dyn FnMut(DirItemPlus<'_>) -> Take,
    ) {
        self.tell_scan(scan, offset);
        // Nobody is asked for a size that is not told.
        let told = (self.inodes.epoch() == scan.epoch).then_some(told);
        for (next, place) in places(scan, offset) {
            let dot = |ino, name| DirItemPlus {
                ino,
                offset: next,
                kind: Kind::Dir,
                name,
                attr: self.attr_of_dir(ino),
            };
            let (item, counted) = match place {
                Place::Dot => (dot(scan.ino, b"."), false),
                Place::DotDot => (dot(scan.parent, b".."), false),
                Place::Entry(index) => {
                    let item = self.entry_of(scan, index, next, told);
                    (item, item.attr.is_some())
                }
            };
            if take(item) == Take::Full {
                if counted {
                    self.inodes.forget(item.ino, 1);
                }
                return;
            }
        }
    }

    /// Entry `index` of a directory, counted if it has attributes.
    fn entry_of<'a>(
        &self,
        scan: &'a Scan<P::Node>,
        index: usize,
        next: u64,
        told: Option<Told>,
    ) -> DirItemPlus<'a> {
        let (dir, listing) = (scan.ino, &scan.listing);
        let kind = listing.kind(index);
        let attr = match (told, kind) {
            (Some(Told::All), _) | (Some(Told::Dirs), Kind::Dir) => {
                self.attr_now(listing, index).and_then(Result::ok)
            }
            _ => None,
        };
        let known = attr.and_then(|attr| {
            let ino = self.inodes.remember_at(scan.epoch, dir, listing, index)?;
            Some((ino, attr))
        });
        let (ino, attr) = match known {
            Some((ino, attr)) => (ino, Some(attr)),
            None => (self.inodes.number(dir, listing, index), None),
        };
        DirItemPlus {
            ino,
            offset: next,
            kind,
            name: listing.name(index),
            attr,
        }
    }

    /// Puts an open directory under a handle, and keeps its inode known until
    /// [`AsyncFs::release_dir`].
    pub fn open_dir(&self, scan: Scan<P::Node>) -> u64 {
        let held = self.inodes.hold(scan.ino);
        self.handles.insert(Open::Dir { scan, held })
    }

    /// The open directory under `handle`.
    ///
    /// # Errors
    /// `Stale` if there is none.
    pub fn dir_handle(&self, handle: u64) -> FsResult<Scan<P::Node>> {
        match self.handles.get(handle) {
            Some(Open::Dir { scan, .. }) => Ok(scan),
            Some(Open::File { .. }) | None => Err(FsErrorKind::Stale.into()),
        }
    }

    /// Closes the directory under `handle`, if there is one.
    pub fn release_dir(&self, handle: u64) {
        let is_dir = |open: &Open<P::Node>| matches!(open, Open::Dir { .. });
        if let Some(Open::Dir { scan, held: true }) = self.handles.remove_if(handle, is_dir) {
            self.inodes.release(scan.ino);
        }
    }

    /// Puts file `ino` under a handle, and keeps the inode known until [`AsyncFs::release_file`].
    ///
    /// # Errors
    /// `IsADirectory`, `Invalid` for a symlink, `Stale` if `ino` is not known.
    pub fn open_file(&self, ino: Ino) -> FsResult<u64> {
        self.known_file(ino)?;
        if !self.inodes.hold(ino) {
            return Err(FsErrorKind::Stale.into());
        }
        Ok(self.handles.insert(Open::File { ino }))
    }

    /// The open file under `handle`.
    ///
    /// # Errors
    /// `Stale` if there is none.
    pub fn file_handle(&self, handle: u64) -> FsResult<Ino> {
        match self.handles.get(handle) {
            Some(Open::File { ino }) => Ok(ino),
            Some(Open::Dir { .. }) | None => Err(FsErrorKind::Stale.into()),
        }
    }

    /// Closes the file under `handle`, if there is one.
    pub fn release_file(&self, handle: u64) {
        let is_file = |open: &Open<P::Node>| matches!(open, Open::File { .. });
        if let Some(Open::File { ino }) = self.handles.remove_if(handle, is_file) {
            self.inodes.release(ino);
        }
    }

    fn attr_of_dir(&self, ino: Ino) -> Option<Attr> {
        let attr = self
            .inodes
            .with(ino, |_, listing, index| listing.attr(index));
        attr.flatten()
    }
}

/// What is at an offset.
enum Place {
    Dot,
    DotDot,
    Entry(usize),
}

/// All places from `offset` on, each with the offset of the next.
fn places<N>(scan: &Scan<N>, offset: u64) -> impl Iterator<Item = (u64, Place)> + use<N> {
    let end = DOTS + scan.listing.len() as u64;
    (offset..end).map(|offset| {
        let place = match offset {
            0 => Place::Dot,
            1 => Place::DotDot,
            // Below the length of the listing, which is a `usize`.
            _ => Place::Entry((offset - DOTS) as usize),
        };
        (offset + 1, place)
    })
}

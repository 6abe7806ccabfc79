//! The move of the table to another tree. May import: this room's values, [`crate::sync`].
//!
//! Always holds: after [`Inodes::switch`] every known path of the new tree is known by an entry of
//! the new tree, and every inode whose entry is gone or another one is an orphan: it stays what it
//! was for who holds it, and no path leads to it.
//!
//! A file that changed becomes an orphan too, and its path gets another inode, as if it had been
//! removed and made anew. So who has it open goes on reading the old bytes, and no page of the
//! kernel's is ever wrong.

use super::{Inodes, Path, Search, shard::Known};
use crate::{
    fs::{Attr, Ino, Kind, Listing, ListingBuilder},
    sync::{Arc, Ordering, lock},
};

/// A directory that is in both trees, and not the same.
pub struct DirChange<N> {
    /// Which of the changes is that of the directory it is in; its own for the root, which is the
    /// first. It comes before this one.
    pub parent: usize,
    /// Its place in the old and the new listing of that directory.
    pub place: (usize, usize),
    /// What is in it before.
    pub old: Arc<Listing<N>>,
    /// And after.
    pub new: Arc<Listing<N>>,
    /// What becomes of each entry of `old`: its place in `new`, or `None` if it is gone, or is
    /// something else there.
    pub moves: Vec<Option<usize>>,
    /// Names in `new` that are not in `old`.
    pub added: Vec<usize>,
}

/// What the kernel is to drop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// What it knows of a name in a directory, be it that there is none.
    Name {
        /// The directory.
        parent: Ino,
        /// The name.
        name: Vec<u8>,
    },
    /// A directory's attributes, and what it keeps of its entries' order.
    Dir(Ino),
}

impl<N> Inodes<N> {
    /// Switches to the tree with root `root`, which differs from the one before by `changes`; and
    /// what the kernel is to drop, now that whoever asks gets the new tree.
    pub fn switch(&self, root: N, attr: Attr, changes: &[DirChange<N>]) -> Vec<Dropped> {
        let mut single = ListingBuilder::with_capacity(1);
        single.push(b"root", root, Kind::Dir, attr.perm, attr.mtime, None);
        let single = Arc::new(single.build().0);
        // Freed when all locks are.
        let mut freed = Vec::new();
        let mut dropped = Vec::new();
        let mut numbers: Vec<Ino> = Vec::with_capacity(changes.len());

        let highest = lock(&self.salting);
        self.epoch.fetch_add(1, Ordering::AcqRel);
        for change in changes {
            let ino = match numbers.get(change.parent) {
                None => {
                    let mut shard = self.shard(Ino::ROOT);
                    let known = shard.get(Ino::ROOT).expect("the root is always known");
                    freed.push(std::mem::replace(&mut known.listing, Arc::clone(&single)));
                    shard.clear_at_hand(Ino::ROOT);
                    Ino::ROOT
                }
                Some(parent) => {
                    let listing = &changes[change.parent].old;
                    self.found(*highest, *parent, listing, change.place.0, |_| {})
                }
            };
            numbers.push(ino);
            for (index, to) in change.moves.iter().enumerate() {
                // Directories that changed are found by where they were: they move last.
                self.found(*highest, ino, &change.old, index, |known| {
                    if to.is_none() {
                        if !known.is_salted(self.mask) {
                            self.salted.fetch_add(1, Ordering::AcqRel);
                        }
                        known.make_orphan();
                    }
                });
            }
            // Of a directory that is not known the kernel keeps no names either.
            if self.shard(ino).get(ino).is_none() {
                continue;
            }
            dropped.push(Dropped::Dir(ino));
            let gone = (0..change.old.len()).filter(|index| change.moves[*index].is_none());
            let gone = gone.map(|index| change.old.name(index));
            let added = change.added.iter().map(|index| change.new.name(*index));
            dropped.extend(gone.chain(added).map(|name| Dropped::Name {
                parent: ino,
                name: name.to_vec(),
            }));
        }
        for (change, ino) in changes.iter().zip(&numbers) {
            for (index, to) in change.moves.iter().enumerate() {
                let Some(to) = to else { continue };
                let is_dir = change.old.kind(index) == Kind::Dir;
                let moved = self.found(*highest, *ino, &change.old, index, |known| {
                    known.index = u32::try_from(*to).expect("a listing has fewer than u32 counts");
                    let new = Arc::clone(&change.new);
                    freed.push(std::mem::replace(&mut known.listing, new));
                });
                if is_dir {
                    self.shard(moved).clear_at_hand(moved);
                }
            }
        }
        self.epoch.fetch_add(1, Ordering::AcqRel);
        drop(highest);
        drop(freed);
        dropped
    }

    /// The number of entry `index` of `listing`, the listing of `parent`; `change` is for the
    /// inode, if it is known.
    fn found(
        &self,
        highest: u64,
        parent: Ino,
        listing: &Arc<Listing<N>>,
        index: usize,
        change: impl FnOnce(&mut Known<N>),
    ) -> Ino {
        let path = Path {
            parent,
            listing,
            index,
        };
        let mut change = Some(change);
        let search = self.search(path.base(self.mask), highest, |known| {
            let is_it = path.is(known);
            if is_it && let Some(change) = change.take() {
                change(known);
            }
            is_it
        });
        match search {
            Search::Known(ino) | Search::Free { ino, .. } => ino,
        }
    }
}

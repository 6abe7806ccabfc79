//! One shard of the inode table. May import: this room's values, hashbrown.
//!
//! Always holds: what is at hand for a directory goes with its inode.

use hashbrown::HashTable;

use super::number::base_number;
use crate::{
    cache::table::shrink,
    fs::{Ino, Kind, Listing},
    sync::{Arc, Weak},
};

/// The parent of an orphan: no inode has this number.
const NOBODY: Ino = Ino(0);

/// A known inode. 40 bytes: there may be ten million.
#[derive(Debug)]
pub(super) struct Known<N> {
    ino: Ino,
    /// The directory it is in. Its own, in the root; [`NOBODY`] in an orphan.
    pub(super) parent: Ino,
    /// The listing that has its name, kind, node and attributes.
    pub(super) listing: Arc<Listing<N>>,
    /// Its place in `listing`.
    pub(super) index: u32,
    /// Open handles: up on hold, down on release.
    pub(super) held: u32,
    /// Times the kernel was told this number in a reply that it counts (a look-up, an entry of
    /// readdirplus), less what it gave back by forget. The root's means nothing.
    pub(super) lookups: u64,
}

impl<N> Known<N> {
    /// Known by one look-up.
    pub(super) fn new(ino: Ino, parent: Ino, listing: Arc<Listing<N>>, index: usize) -> Self {
        Self {
            ino,
            parent,
            listing,
            index: u32::try_from(index).expect("a listing has fewer entries than u32 counts"),
            held: 0,
            lookups: 1,
        }
    }

    /// The number it has unless that was taken.
    pub(super) fn base(&self, mask: u64) -> Ino {
        base_number(self.parent, self.listing.hash(self.at()), self.kind(), mask)
    }

    /// True if its number may be another than that of its path.
    pub(super) fn is_salted(&self, mask: u64) -> bool {
        self.parent == NOBODY || self.base(mask) != self.ino
    }

    /// From now on no path leads to it.
    pub(super) fn make_orphan(&mut self) {
        self.parent = NOBODY;
    }

    pub(super) fn ino(&self) -> Ino {
        self.ino
    }

    pub(super) fn at(&self) -> usize {
        self.index as usize
    }

    pub(super) fn name(&self) -> &[u8] {
        self.listing.name(self.at())
    }

    pub(super) fn kind(&self) -> Kind {
        self.listing.kind(self.at())
    }
}

#[derive(Debug)]
pub(super) struct Shard<N> {
    /// By number, which is a hash already.
    known: HashTable<Known<N>>,
    /// The listings of directories that are known, where one was needed. Apart, because most
    /// inodes are files. Weak: what is kept in memory is for the directory cache to say.
    at_hand: HashTable<(Ino, Weak<Listing<N>>)>,
}

impl<N> Shard<N> {
    pub(super) fn new() -> Self {
        Self {
            known: HashTable::new(),
            at_hand: HashTable::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// All of them, in no order.
    pub(super) fn all(&self) -> impl Iterator<Item = &Known<N>> {
        self.known.iter()
    }

    /// Bytes of memory held for all inodes.
    #[cfg(all(test, not(any(feature = "loom", feature = "shuttle"))))]
    pub(super) fn bytes(&self) -> usize {
        self.known.allocation_size() + self.at_hand.allocation_size()
    }

    pub(super) fn get(&mut self, ino: Ino) -> Option<&mut Known<N>> {
        self.known.find_mut(ino.0, |known| known.ino == ino)
    }

    /// Adds an inode whose number is free.
    pub(super) fn insert(&mut self, known: Known<N>) {
        self.known
            .insert_unique(known.ino.0, known, |known| known.ino.0);
    }

    pub(super) fn remove(&mut self, ino: Ino) -> Option<Known<N>> {
        if let Ok(entry) = self.at_hand.find_entry(ino.0, |(i, _)| *i == ino) {
            entry.remove();
            shrink(&mut self.at_hand, |(i, _)| i.0);
        }
        let entry = self
            .known
            .find_entry(ino.0, |known| known.ino == ino)
            .ok()?;
        let (known, _) = entry.remove();
        shrink(&mut self.known, |known| known.ino.0);
        Some(known)
    }

    pub(super) fn at_hand(&self, ino: Ino) -> Option<Arc<Listing<N>>> {
        let (_, listing) = self.at_hand.find(ino.0, |(i, _)| *i == ino)?;
        listing.upgrade()
    }

    /// Puts the listing of a directory that is known at hand.
    pub(super) fn put_at_hand(&mut self, ino: Ino, listing: &Arc<Listing<N>>) {
        let new = (ino, Arc::downgrade(listing));
        match self.at_hand.find_mut(ino.0, |(i, _)| *i == ino) {
            Some(old) => *old = new,
            None => {
                self.at_hand.insert_unique(ino.0, new, |(i, _)| i.0);
            }
        }
    }

    pub(super) fn clear_at_hand(&mut self, ino: Ino) {
        if let Ok(entry) = self.at_hand.find_entry(ino.0, |(i, _)| *i == ino) {
            entry.remove();
            shrink(&mut self.at_hand, |(i, _)| i.0);
        }
    }
}

//! Inode numbers and their lives. May import: [`crate::sync`], `crate::cache`, `crate::hash`, this
//! room's values, hashbrown, rustc-hash.
//!
//! Always holds:
//! - A number is a function of the path, so it is the same after a forget, a restart, a remount:
//!   `mix(hash(name) ^ mix(parent's number) ^ constant(kind))`, where `hash` is SipHash-1-3 under a
//!   fixed key and `mix` the finaliser of SplitMix64. Only while two paths with the same number
//!   are both known (1 in 2^64 for each pair), the later one has another.
//! - Of two inodes that are known at a time, no two have the same number, and none has two.
//! - An inode is known exactly as long as its look-ups are not all forgotten or it is held open;
//!   the root for ever.
//!
//! Lock order: `salting`, then one shard. Listings are dropped outside of both.

mod number;
mod shard;
mod switch;
#[cfg(all(test, not(any(feature = "loom", feature = "shuttle"))))]
mod tests;

pub use self::switch::{DirChange, Dropped};
use self::{
    number::{base_number, salted_number},
    shard::{Known, Shard},
};
use rustc_hash::FxHashMap;

use super::{Attr, Ino, Kind, Listing, ListingBuilder};
use crate::{
    cache::shards::Shards,
    sync::{Arc, AtomicU64, AtomicUsize, Mutex, MutexGuard, Ordering, lock},
};

/// The inodes that the kernel knows, or that are open.
#[derive(Debug)]
pub struct Inodes<N> {
    shards: Shards<Shard<N>>,
    /// Which bits of a base number are used: all but in tests, which want collisions.
    mask: u64,
    /// How many known inodes have a salted number or are orphans, plus one for each call under way
    /// that may add one. While it is 0, each known inode has its base number, and one look into one shard tells
    /// all about a path. Raised before a salted number is given, under `salting`; lowered after
    /// the inode is gone, under the lock of its shard.
    salted: AtomicUsize,
    /// The highest salt that any known inode may have. Whoever gives a salted number, or looks for
    /// one, or switches to another tree, holds this lock.
    salting: Mutex<u64>,
    /// Even, and higher by two after each switch to another tree; odd while one is under way,
    /// which holds `salting`. What is remembered for an answer is remembered only if this is what
    /// it was when the answer began ([`Inodes::remember_at`]); it is looked at under the lock of
    /// the shard, and changed before the switch takes that lock.
    epoch: AtomicU64,
}

/// What is known of an inode: an entry of its parent's listing.
#[derive(Debug)]
pub struct InodeRef<N> {
    /// The directory it is in; the root's is the root.
    pub parent: Ino,
    /// The listing that it is an entry of.
    pub listing: Arc<Listing<N>>,
    /// Its place there.
    pub index: usize,
}

/// Inodes that nobody has open: the kernel could forget them. See [`Inodes::idle`].
#[derive(Debug, Default)]
pub struct Idle {
    /// Those whose listing nothing but inodes holds: see [`Inodes::pinned_bytes`].
    pub pinning: Vec<Ino>,
    /// Those whose listing is in memory anyway.
    pub others: Vec<Ino>,
}

impl<N> InodeRef<N> {
    /// The provider's key.
    pub fn node(&self) -> &N {
        self.listing.node(self.index)
    }

    /// Directory, file or symlink.
    pub fn kind(&self) -> Kind {
        self.listing.kind(self.index)
    }

    /// The name in its directory. The root's means nothing.
    pub fn name(&self) -> &[u8] {
        self.listing.name(self.index)
    }

    /// Its attributes, or `None` while its size is unknown.
    pub fn attr(&self) -> Option<Attr> {
        self.listing.attr(self.index)
    }
}

impl<N> Inodes<N> {
    /// The root alone. `mask` is all ones, but for tests that want paths to collide.
    pub fn new(root: N, attr: Attr, mask: u64) -> Self {
        // The root is the one entry of a listing of its own, so that nothing needs to treat it
        // apart. Its name is never shown.
        let mut listing = ListingBuilder::with_capacity(1);
        listing.push(b"root", root, Kind::Dir, attr.perm, attr.mtime, None);
        let (listing, _) = listing.build();
        let inodes = Self {
            shards: Shards::new(Shard::new),
            mask,
            salted: AtomicUsize::new(0),
            salting: Mutex::new(0),
            epoch: AtomicU64::new(0),
        };
        let root = Known::new(Ino::ROOT, Ino::ROOT, Arc::new(listing), 0);
        inodes.shard(Ino::ROOT).insert(root);
        inodes
    }

    /// Counts one look-up of entry `index` of `listing`, the listing of the directory `parent`,
    /// and gives its number.
    pub fn remember(&self, parent: Ino, listing: &Arc<Listing<N>>, index: usize) -> Ino {
        let any = self.remember_if(When::Always, parent, listing, index);
        any.expect("nothing stands against it")
    }

    /// [`Inodes::remember`], unless there was a switch to another tree since [`Inodes::epoch`] was
    /// `epoch`: then `listing` may be of the tree before, and the answer is to be made again.
    pub fn remember_at(
        &self,
        epoch: u64,
        parent: Ino,
        listing: &Arc<Listing<N>>,
        index: usize,
    ) -> Option<Ino> {
        self.remember_if(When::Epoch(epoch), parent, listing, index)
    }

    /// The number of switches so far, doubled. Waits while one is under way, which is work in
    /// memory alone.
    pub fn epoch(&self) -> u64 {
        loop {
            let epoch = self.epoch.load(Ordering::Acquire);
            if epoch.is_multiple_of(2) {
                return epoch;
            }
            drop(lock(&self.salting));
        }
    }

    fn remember_if(
        &self,
        when: When,
        parent: Ino,
        listing: &Arc<Listing<N>>,
        index: usize,
    ) -> Option<Ino> {
        let path = Path {
            parent,
            listing,
            index,
        };
        let base = path.base(self.mask);
        let mut shard = self.shard(base);
        if !self.may(when) {
            return None;
        }
        if self.no_salts() {
            match shard.get(base) {
                None => {
                    shard.insert(path.known_as(base));
                    return Some(base);
                }
                Some(known) if path.is(known) => {
                    let replaced = path.count(known);
                    if replaced.is_some() {
                        shard.clear_at_hand(base);
                    }
                    drop(shard);
                    drop(replaced);
                    return Some(base);
                }
                Some(_) => {}
            }
        }
        drop(shard);
        self.remember_salted(base, &path, when)
    }

    /// Whether something may be remembered. Only under a lock that a switch takes after it has
    /// changed `epoch`.
    fn may(&self, when: When) -> bool {
        match when {
            When::Always => true,
            When::Epoch(epoch) => self.epoch.load(Ordering::Acquire) == epoch,
        }
    }

    /// The number of entry `index` of `listing`, the listing of `parent`, without counting a
    /// look-up: what `readdir` shows.
    ///
    /// Of an entry that is known it is its number. Of another it is the one that a look-up will
    /// give, unless a path with the same base number is known by then (1 in 2^64 for each pair).
    pub fn number(&self, parent: Ino, listing: &Arc<Listing<N>>, index: usize) -> Ino {
        let path = Path {
            parent,
            listing,
            index,
        };
        let base = path.base(self.mask);
        if self.no_salts() {
            return base;
        }
        let highest = lock(&self.salting);
        match self.search(base, *highest, |known| path.is(known)) {
            Search::Known(ino) | Search::Free { ino, .. } => ino,
        }
    }

    /// The bytes of all listings that nothing but inodes holds, so that they are in memory for their sake alone. One
    /// pass over all inodes, a part of them locked at a time; what changes meanwhile is told as it was or as it is.
    pub fn pinned_bytes(&self) -> usize {
        let pinned = self.pinned();
        pinned.values().map(|(listing, _)| listing.weight()).sum()
    }

    /// Inodes that nobody has open, but the root. Two such passes.
    pub fn idle(&self) -> Idle {
        let pinned = self.pinned();
        let mut idle = Idle::default();
        for shard in self.shards.iter() {
            for known in shard.all() {
                if known.held == 0 && known.ino() != Ino::ROOT {
                    match pinned.contains_key(&Arc::as_ptr(&known.listing).addr()) {
                        true => idle.pinning.push(known.ino()),
                        false => idle.others.push(known.ino()),
                    }
                }
            }
        }
        idle
    }

    /// Listings that nothing but inodes holds, by their addresses, and how many inodes that are.
    fn pinned(&self) -> FxHashMap<usize, (Arc<Listing<N>>, usize)> {
        let mut all = FxHashMap::default();
        for shard in self.shards.iter() {
            for known in shard.all() {
                let (_, inodes) = all
                    .entry(Arc::as_ptr(&known.listing).addr())
                    .or_insert_with(|| (Arc::clone(&known.listing), 0));
                *inodes += 1;
            }
        }
        // One more is the reference that was taken here.
        all.retain(|_, (listing, inodes)| Arc::strong_count(listing) <= *inodes + 1);
        all
    }

    /// What is known of `ino`; `None` for a number that was never given or is forgotten.
    pub fn get(&self, ino: Ino) -> Option<InodeRef<N>> {
        self.with(ino, |parent, listing, index| InodeRef {
            parent,
            listing: Arc::clone(listing),
            index,
        })
    }

    /// What `read` makes of the parent, listing and index of `ino`. It runs under a lock.
    pub(crate) fn with<R>(
        &self,
        ino: Ino,
        read: impl FnOnce(Ino, &Arc<Listing<N>>, usize) -> R,
    ) -> Option<R> {
        let mut shard = self.shard(ino);
        let known = shard.get(ino)?;
        Some(read(known.parent, &known.listing, known.index as usize))
    }

    /// Takes back `n` look-ups of `ino`. The inode goes with the last one, unless it is held open.
    /// More than there are, or of a number that is not known, is no reason to fall over: the
    /// kernel's books count.
    pub fn forget(&self, ino: Ino, n: u64) {
        self.give_back(ino, |known| known.lookups = known.lookups.saturating_sub(n));
    }

    /// Keeps `ino` known until [`Inodes::release`], forgotten or not. False if it isn't known.
    pub fn hold(&self, ino: Ino) -> bool {
        let mut shard = self.shard(ino);
        let known = shard.get(ino);
        known.map(|known| known.held += 1).is_some()
    }

    /// Takes back one [`Inodes::hold`].
    pub fn release(&self, ino: Ino) {
        self.give_back(ino, |known| known.held = known.held.saturating_sub(1));
    }

    /// The number of inodes known, the root included.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.len()).sum()
    }

    /// Never: there is a root.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The current listing of the directory `ino`, if it was put at hand and is still alive.
    pub(crate) fn listing_at_hand(&self, ino: Ino) -> Option<Arc<Listing<N>>> {
        let listing = self.shard(ino).at_hand(ino)?;
        Some(listing).filter(|listing| !listing.is_superseded())
    }

    /// Puts `listing`, which is that of the directory `ino` as it was in `seen`, at hand, if the
    /// inode is still known as that. Keeps nothing alive.
    pub(crate) fn put_at_hand(&self, ino: Ino, seen: &InodeRef<N>, listing: &Arc<Listing<N>>) {
        let mut shard = self.shard(ino);
        let same = |known: &mut Known<N>| {
            Arc::ptr_eq(&known.listing, &seen.listing) && known.at() == seen.index
        };
        if shard.get(ino).is_some_and(same) {
            shard.put_at_hand(ino, listing);
        }
    }

    fn shard(&self, ino: Ino) -> MutexGuard<'_, Shard<N>> {
        self.shards.of(ino.0)
    }

    fn give_back(&self, ino: Ino, change: impl FnOnce(&mut Known<N>)) {
        let mut shard = self.shard(ino);
        let Some(known) = shard.get(ino) else {
            return;
        };
        change(known);
        if ino == Ino::ROOT || known.lookups > 0 || known.held > 0 {
            return;
        }
        let removed = shard.remove(ino);
        if removed
            .as_ref()
            .is_some_and(|known| known.is_salted(self.mask))
        {
            self.salted.fetch_sub(1, Ordering::AcqRel);
        }
        drop(shard);
        drop(removed);
    }

    /// True if every known inode has its base number. Only under the lock of a shard, and true
    /// for that shard as long as the lock is held: see `salted`.
    fn no_salts(&self) -> bool {
        self.salted.load(Ordering::Acquire) == 0
    }

    /// [`Inodes::remember`] where the base number is taken, or may have been when this path was
    /// first remembered.
    fn remember_salted(&self, base: Ino, path: &Path<'_, N>, when: When) -> Option<Ino> {
        let mut highest = lock(&self.salting);
        // No switch begins while this lock is held.
        if !self.may(when) {
            return None;
        }
        // From here on everyone who wants to add an inode comes this way, and waits: a number
        // found free stays free until it is ours.
        if self.salted.fetch_add(1, Ordering::AcqRel) == 0 {
            *highest = 0;
        }
        let mut replaced = None;
        let found = self.search(base, *highest, |known| {
            let is_it = path.is(known);
            if is_it {
                replaced = path.count(known);
            }
            is_it
        });
        let ino = match found {
            Search::Known(ino) => {
                if replaced.is_some() {
                    self.shard(ino).clear_at_hand(ino);
                }
                self.salted.fetch_sub(1, Ordering::AcqRel);
                ino
            }
            Search::Free { ino, salt } => {
                self.shard(ino).insert(path.known_as(ino));
                match salt {
                    0 => drop(self.salted.fetch_sub(1, Ordering::AcqRel)),
                    _ => *highest = salt.max(*highest),
                }
                ino
            }
        };
        drop(highest);
        drop(replaced);
        Some(ino)
    }

    /// Looks for a path under each number that it may have, `highest` being the highest salt in
    /// use. `is_it` runs under a shard's lock.
    fn search(
        &self,
        base: Ino,
        highest: u64,
        mut is_it: impl FnMut(&mut Known<N>) -> bool,
    ) -> Search {
        let mut free = None;
        for salt in 0.. {
            let ino = salted_number(base, salt);
            match self.shard(ino).get(ino) {
                Some(known) => {
                    if is_it(known) {
                        return Search::Known(ino);
                    }
                }
                None => free = free.or(Some(Search::Free { ino, salt })),
            }
            if salt >= highest
                && let Some(free) = free
            {
                return free;
            }
        }
        unreachable!("there are more numbers than memory for inodes")
    }
}

/// On what condition something is remembered.
#[derive(Clone, Copy)]
enum When {
    /// On none.
    Always,
    /// No switch began since.
    Epoch(u64),
}

/// What became of the search for a path among the known inodes.
#[derive(Clone, Copy)]
enum Search {
    /// It is known by this number.
    Known(Ino),
    /// It isn't; this is the first of its numbers that is free.
    Free { ino: Ino, salt: u64 },
}

/// A path: a name in a directory whose number is known.
struct Path<'a, N> {
    parent: Ino,
    listing: &'a Arc<Listing<N>>,
    index: usize,
}

impl<N> Path<'_, N> {
    fn base(&self, mask: u64) -> Ino {
        let hash = self.listing.hash(self.index);
        base_number(self.parent, hash, self.listing.kind(self.index), mask)
    }

    /// True if `known` is this path: the same name and kind in the same directory, in this
    /// snapshot of it or in another.
    fn is(&self, known: &Known<N>) -> bool {
        if known.parent != self.parent {
            return false;
        }
        if Arc::ptr_eq(&known.listing, self.listing) {
            return known.at() == self.index;
        }
        known.kind() == self.listing.kind(self.index)
            && known.name() == self.listing.name(self.index)
    }

    fn known_as(&self, ino: Ino) -> Known<N> {
        Known::new(ino, self.parent, Arc::clone(self.listing), self.index)
    }

    /// Counts a look-up of `known`, which is this path, and moves it over to this snapshot unless
    /// that is the older one. Gives what is to be dropped outside of the lock.
    fn count(&self, known: &mut Known<N>) -> Option<Arc<Listing<N>>> {
        known.lookups = known.lookups.saturating_add(1);
        if Arc::ptr_eq(&known.listing, self.listing) || self.listing.is_superseded() {
            return None;
        }
        known.index =
            u32::try_from(self.index).expect("a listing has fewer entries than u32 counts");
        Some(std::mem::replace(
            &mut known.listing,
            Arc::clone(self.listing),
        ))
    }
}

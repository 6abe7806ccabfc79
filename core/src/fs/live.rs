//! Which listings are alive, by node. May import: [`crate::sync`], `crate::cache`, hashbrown.
//!
//! Always holds: it keeps nothing alive; and its size is at most twice that of what is alive, and
//! a little.

use std::hash::Hash;

use hashbrown::{HashTable, hash_table::Entry};

use super::Listing;
use crate::{
    cache::{
        shards::Shards,
        table::{hash_of, shrink},
    },
    sync::{Arc, Weak},
};

/// A part this small is not worth sweeping.
const SWEEP_AT_LEAST: usize = 16;

/// A weak table of listings: while anyone holds a directory's snapshot, it is found here.
#[derive(Debug)]
pub(super) struct LiveListings<N> {
    shards: Shards<Shard<N>>,
}

#[derive(Debug)]
struct Shard<N> {
    table: HashTable<(N, Weak<Listing<N>>)>,
    /// The size at which entries of dead listings are looked for: twice what the last sweep left,
    /// so that sweeping costs each insert a constant.
    sweep_at: usize,
}

impl<N: Hash + Eq> LiveListings<N> {
    pub(super) fn new() -> Self {
        let shard = || Shard {
            table: HashTable::new(),
            sweep_at: SWEEP_AT_LEAST,
        };
        Self {
            shards: Shards::new(shard),
        }
    }

    pub(super) fn get(&self, node: &N) -> Option<Arc<Listing<N>>> {
        let hash = hash_of(node);
        let shard = self.shards.of(hash);
        let (_, listing) = shard.table.find(hash, |(n, _)| n == node)?;
        listing.upgrade()
    }

    /// Makes `listing` the one of `node`; gives the one that was, if it is still alive.
    pub(super) fn set(&self, node: N, listing: &Arc<Listing<N>>) -> Option<Arc<Listing<N>>> {
        let hash = hash_of(&node);
        let mut shard = self.shards.of(hash);
        let shard = &mut *shard;
        if shard.table.len() >= shard.sweep_at {
            shard
                .table
                .retain(|(_, listing)| listing.strong_count() > 0);
            shard.sweep_at = SWEEP_AT_LEAST.max(shard.table.len() * 2);
            shrink(&mut shard.table, |(n, _)| hash_of(n));
        }
        let entry = shard
            .table
            .entry(hash, |(n, _)| *n == node, |(n, _)| hash_of(n));
        let new = Arc::downgrade(listing);
        match entry {
            Entry::Occupied(mut entry) => std::mem::replace(&mut entry.get_mut().1, new).upgrade(),
            Entry::Vacant(entry) => {
                entry.insert((node, new));
                None
            }
        }
    }

    pub(super) fn remove(&self, node: &N) -> Option<Arc<Listing<N>>> {
        let hash = hash_of(node);
        let mut shard = self.shards.of(hash);
        let entry = shard.table.find_entry(hash, |(n, _)| n == node).ok()?;
        let ((_, listing), _) = entry.remove();
        listing.upgrade()
    }

    /// Entries, of dead listings too.
    #[cfg(all(test, not(any(feature = "loom", feature = "shuttle"))))]
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.table.len()).sum()
    }
}

#[cfg(all(test, not(any(feature = "loom", feature = "shuttle"))))]
mod tests {
    use super::*;
    use crate::{cache::shards::SHARDS, fs::ListingBuilder};

    fn listing() -> Arc<Listing<u32>> {
        Arc::new(ListingBuilder::new().build().0)
    }

    #[test]
    fn what_is_held_is_found_and_what_is_not_is_gone() {
        let live = LiveListings::new();
        let held = listing();
        assert!(live.set(1, &held).is_none());
        live.set(2, &listing());
        assert!(Arc::ptr_eq(&live.get(&1).expect("held"), &held));
        assert!(live.get(&2).is_none());
        let newer = listing();
        assert!(live.set(1, &newer).is_some());
        assert!(Arc::ptr_eq(&live.remove(&1).expect("held"), &newer));
        assert!(live.get(&1).is_none());
    }

    /// Museum 27: an index that grows with what is used, not with what is there.
    #[test]
    fn the_table_follows_what_is_alive() {
        let many = if cfg!(miri) { 2_000 } else { 100_000 };
        let live = LiveListings::new();
        let held: Vec<_> = (0..1000).map(|_| listing()).collect();
        for (node, listing) in (0..).zip(&held) {
            live.set(node, listing);
        }
        // A sweep that finds all alive doubles the way to the next one, so that sweeps cost little.
        for shard in live.shards.iter() {
            let doubled = shard.sweep_at / SWEEP_AT_LEAST;
            assert!(doubled.is_power_of_two() && doubled * SWEEP_AT_LEAST == shard.sweep_at);
        }
        for node in 1000..many {
            live.set(node, &listing());
        }
        assert!((0..1000).all(|node| live.get(&node).is_some()));
        assert!(live.len() <= 2 * held.len() + SHARDS * (SWEEP_AT_LEAST + 1));
        drop(held);
        for node in 0..many {
            live.set(node, &listing());
        }
        assert!(live.len() <= SHARDS * (SWEEP_AT_LEAST + 1));
    }
}

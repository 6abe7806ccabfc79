//! A cache bounded by weight. May import: [`crate::sync`], hashbrown, [`super::table`]'s hash.
//!
//! Always holds: the weight of what is kept never exceeds the budget, not for a moment: room is
//! reserved before an entry goes in. `weight()` is the sum of the entries' weights whenever no
//! call is under way. What is evicted or replaced is dropped outside of the locks.
//!
//! Lock order: one shard at a time, never two.

mod ring;
#[cfg(all(test, not(any(feature = "loom", feature = "shuttle"))))]
mod tests;

use std::{borrow::Borrow, hash::Hash};

use self::ring::{Ring, Step};
use super::{
    shards::{SHARDS, Shards},
    table::hash_of,
};
use crate::sync::{AtomicU64, AtomicUsize, Ordering};

/// How many entries in use one eviction passes over at the most, before it takes one that is.
/// Else readers who keep marking entries could keep an insert going round for ever.
const MOST_SPARED: usize = 4 * SHARDS;

/// A cache of values by key, each with a weight (bytes, or whatever the budget counts).
///
/// What was not used since the eviction hand passed last goes first (CLOCK, "second chance").
/// The hand goes from shard to shard and looks at one entry in each.
#[derive(Debug)]
pub struct Weighted<K, V> {
    shards: Shards<Ring<K, V>>,
    budget: AtomicUsize,
    /// The weight of all entries, and of room reserved for entries about to go in.
    weight: AtomicUsize,
    /// The shard that the eviction hand looks at next.
    hand: AtomicUsize,
    evictions: AtomicU64,
}

impl<K: Hash + Eq, V: Clone> Weighted<K, V> {
    /// An empty cache that keeps up to `budget` of weight.
    pub fn new(budget: usize) -> Self {
        Self {
            shards: Shards::new(Ring::new),
            budget: AtomicUsize::new(budget),
            weight: AtomicUsize::new(0),
            hand: AtomicUsize::new(0),
            evictions: AtomicU64::new(0),
        }
    }

    /// The value of `key`, which counts as used now.
    pub fn get<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let hash = hash_of(key);
        self.shards.of(hash).get(hash, key)
    }

    /// Keeps `value` under `key` in place of what was there, evicting others as needed. For a
    /// moment, the key may have no value at all. True if it is kept: not what is heavier than the
    /// whole budget, which leaves all others alone.
    pub fn insert(&self, key: K, value: V, weight: usize) -> bool {
        let hash = hash_of(&key);
        // First, so that its own room is free before others are evicted; and what is replaced is
        // gone even if the new value can't be kept.
        self.remove_hashed(hash, &key, |_| true);
        if !self.reserve(weight) {
            return false;
        }
        let replaced = self.shards.of(hash).insert(hash, key, value, weight);
        if let Some(replaced) = replaced {
            self.free(replaced.weight);
        }
        // The budget may have been lowered since the room was reserved.
        self.trim();
        true
    }

    /// Takes the value of `key` out.
    pub fn remove<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.remove_hashed(hash_of(key), key, |_| true)
    }

    /// Takes the value of `key` out if `condition` holds for it.
    pub fn remove_if<Q>(&self, key: &Q, condition: impl FnOnce(&V) -> bool) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.remove_hashed(hash_of(key), key, condition)
    }

    /// The weight of all entries; never more than the budget.
    pub fn weight(&self) -> usize {
        self.weight.load(Ordering::Acquire)
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.len()).sum()
    }

    /// True if nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Entries evicted so far to make room; not those replaced or removed.
    pub fn evictions(&self) -> u64 {
        self.evictions.load(Ordering::Relaxed)
    }

    /// The weight that may be kept.
    pub fn budget(&self) -> usize {
        self.budget.load(Ordering::Acquire)
    }

    /// Changes the budget, evicting until what is kept is within it.
    pub fn set_budget(&self, budget: usize) {
        self.budget.store(budget, Ordering::Release);
        // A load might miss the room that an insert under way has reserved, while the insert misses
        // the new budget. This can't: a reservation before it is seen by `trim`, and one after it
        // sees the budget.
        self.weight.fetch_add(0, Ordering::AcqRel);
        self.trim();
    }

    fn remove_hashed<Q>(&self, hash: u64, key: &Q, condition: impl FnOnce(&V) -> bool) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let removed = self.shards.of(hash).remove_if(hash, key, condition)?;
        self.free(removed.weight);
        Some(removed.value)
    }

    /// Takes `weight` of the budget, evicting as needed. False if there can't be room: it is more
    /// than the budget, or other inserts under way hold what is left of it.
    fn reserve(&self, weight: usize) -> bool {
        loop {
            let budget = self.budget();
            if weight > budget {
                return false;
            }
            let taken = self
                .weight
                .fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| {
                    now.checked_add(weight).filter(|then| *then <= budget)
                });
            if taken.is_ok() {
                return true;
            }
            if !self.evict_one() {
                return false;
            }
        }
    }

    fn free(&self, weight: usize) {
        self.weight.fetch_sub(weight, Ordering::AcqRel);
    }

    fn trim(&self) {
        while self.weight() > self.budget() && self.evict_one() {}
    }

    /// Evicts the next entry that was not used lately. False if there is none at all.
    fn evict_one(&self) -> bool {
        let mut empty_in_a_row = 0;
        let mut spared = 0;
        while empty_in_a_row < SHARDS {
            let at = self.hand.fetch_add(1, Ordering::Relaxed);
            let step = self.shards.nth(at).step(spared < MOST_SPARED);
            match step {
                Step::Empty => empty_in_a_row += 1,
                Step::Spared => {
                    empty_in_a_row = 0;
                    spared += 1;
                }
                Step::Evicted(entry) => {
                    // The entry itself is dropped at the end of this arm, outside of the lock.
                    self.free(entry.weight);
                    self.evictions.fetch_add(1, Ordering::Relaxed);
                    return true;
                }
            }
        }
        false
    }
}

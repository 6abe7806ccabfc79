//! A map that many threads use at once. May import: [`crate::sync`], hashbrown, rustc-hash.
//!
//! Always holds: each call sees and leaves the entry of its key as a whole; there is one lock
//! for a part of the keys, held for that call only. Closures run under it: they must be short
//! and must not come back to the same table.

use std::{
    borrow::Borrow,
    hash::{BuildHasher, Hash},
};

use hashbrown::hash_table::{Entry, HashTable};
use rustc_hash::FxBuildHasher;

use super::shards::Shards;

/// A sharded map. See the module's header for what always holds.
#[derive(Debug)]
pub struct Table<K, V> {
    shards: Shards<HashTable<(K, V)>>,
}

/// The hash of a key, fixed from run to run.
pub(crate) fn hash_of<K: Hash + ?Sized>(key: &K) -> u64 {
    FxBuildHasher.hash_one(key)
}

/// Gives memory back once a table is more than three quarters empty, so that a table that was huge once
/// is not for ever.
pub(crate) fn shrink<T>(table: &mut HashTable<T>, hasher: impl Fn(&T) -> u64) {
    if table.capacity() > 64 && table.len() < table.capacity() / 4 {
        table.shrink_to(table.len() * 2, hasher);
    }
}

impl<K: Hash + Eq, V> Default for Table<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Hash + Eq, V> Table<K, V> {
    /// An empty map.
    pub fn new() -> Self {
        Self {
            shards: Shards::new(HashTable::new),
        }
    }

    /// What `read` makes of the value of `key`, if there is one.
    pub fn get_with<Q, R>(&self, key: &Q, read: impl FnOnce(&V) -> R) -> Option<R>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let hash = hash_of(key);
        let shard = self.shards.of(hash);
        let found = shard.find(hash, |(k, _)| k.borrow() == key);
        found.map(|(_, value)| read(value))
    }

    /// Sets the value of `key`; gives the one it had.
    pub fn upsert(&self, key: K, value: V) -> Option<V> {
        let hash = hash_of(&key);
        let mut shard = self.shards.of(hash);
        match shard.entry(hash, |(k, _)| *k == key, |(k, _)| hash_of(k)) {
            Entry::Occupied(mut entry) => Some(std::mem::replace(&mut entry.get_mut().1, value)),
            Entry::Vacant(entry) => {
                entry.insert((key, value));
                None
            }
        }
    }

    /// Lets `change` set, alter or take the value of `key` in one step. If it panics, the key is
    /// left without a value.
    pub fn with_entry<R>(&self, key: &K, change: impl FnOnce(&mut Option<V>) -> R) -> R
    where
        K: Clone,
    {
        let hash = hash_of(key);
        let mut shard = self.shards.of(hash);
        let entry = shard.entry(hash, |(k, _)| k == key, |(k, _)| hash_of(k));
        let (result, removed) = match entry {
            Entry::Occupied(entry) => {
                let ((key, value), vacant) = entry.remove();
                let mut value = Some(value);
                let result = change(&mut value);
                let removed = value.is_none();
                if let Some(value) = value {
                    vacant.insert((key, value));
                }
                (result, removed)
            }
            Entry::Vacant(vacant) => {
                let mut value = None;
                let result = change(&mut value);
                if let Some(value) = value {
                    vacant.insert((key.clone(), value));
                }
                (result, false)
            }
        };
        if removed {
            shrink(&mut shard, |(k, _)| hash_of(k));
        }
        result
    }

    /// Takes the value of `key` out if `condition` holds for it.
    pub fn remove_if<Q>(&self, key: &Q, condition: impl FnOnce(&V) -> bool) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let hash = hash_of(key);
        let mut shard = self.shards.of(hash);
        let entry = shard.find_entry(hash, |(k, _)| k.borrow() == key).ok()?;
        if !condition(&entry.get().1) {
            return None;
        }
        let ((_, value), _) = entry.remove();
        shrink(&mut shard, |(k, _)| hash_of(k));
        Some(value)
    }

    /// Takes the value of `key` out.
    pub fn remove<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.remove_if(key, |_| true)
    }

    /// The number of keys. Exact only while nobody else changes the map.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.len()).sum()
    }

    /// True if there is no key. Exact only while nobody else changes the map.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Shows every entry to `visit`, in no promised order.
    pub fn for_each(&self, mut visit: impl FnMut(&K, &V)) {
        for shard in self.shards.iter() {
            for (key, value) in shard.iter() {
                visit(key, value);
            }
        }
    }

    /// Keeps the entries for which `keep` holds.
    pub fn retain(&self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        for mut shard in self.shards.iter() {
            shard.retain(|(key, value)| keep(key, value));
            shrink(&mut shard, |(k, _)| hash_of(k));
        }
    }
}

#[cfg(all(test, not(any(feature = "loom", feature = "shuttle"))))]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::testing::cases;

    #[test]
    fn a_table_a_quarter_full_is_left_alone() {
        let hasher = |key: &u64| hash_of(key);
        let mut table = HashTable::with_capacity(200);
        let capacity = table.capacity();
        for key in 0..capacity as u64 / 4 {
            table.insert_unique(hash_of(&key), key, hasher);
        }
        shrink(&mut table, hasher);
        assert_eq!(table.capacity(), capacity);
        table.retain(|key| *key > 0);
        shrink(&mut table, hasher);
        assert!(table.capacity() < capacity);
    }

    #[test]
    #[cfg_attr(miri, ignore = "10 ms a key; the tests of shrink have few")]
    fn a_table_that_was_huge_gives_its_memory_back() {
        let many = 100_000_u32;
        let table = Table::new();
        for key in 0..many {
            table.upsert(key, ());
        }
        let capacity = || table.shards.iter().map(|s| s.capacity()).sum::<usize>();
        let full = capacity();
        for key in 10..many {
            table.remove(&key);
        }
        assert_eq!(table.len(), 10);
        assert!(capacity() < full / 10, "{} of {full}", capacity());
        assert_eq!(table.get_with(&3, |()| ()), Some(()));
    }

    #[test]
    #[cfg_attr(miri, ignore = "10 ms a key; the tests of shrink have few")]
    fn memory_comes_back_in_one_stroke_too() {
        let many = 10_000_u32;
        let table = Table::new();
        (0..many).for_each(|key| assert!(table.upsert(key, ()).is_none()));
        let capacity = || table.shards.iter().map(|s| s.capacity()).sum::<usize>();
        let full = capacity();
        table.retain(|key, ()| *key < 64);
        assert!(capacity() < full / 2, "{} of {full}", capacity());
    }

    /// Else each removal would hash what is left anew.
    #[test]
    fn a_table_that_is_small_or_well_filled_is_left_as_it_is() {
        for (keys, of) in [(30, 100), (1, 8)] {
            let mut table = HashTable::with_capacity(of);
            for key in 0..keys {
                table.insert_unique(key, key, |key| *key);
            }
            shrink(&mut table, |_| panic!("{keys} of {of} are hashed again"));
        }
    }

    #[test]
    fn a_panic_in_a_closure_leaves_a_usable_table() {
        let table = Table::new();
        table.upsert(1, "one");
        let panicked = std::panic::catch_unwind(|| table.with_entry(&1, |_| panic!("planned")));
        assert!(panicked.is_err());
        assert_eq!(table.get_with(&1, |v| *v), None);
        table.upsert(1, "again");
        assert_eq!(table.get_with(&1, |v| *v), Some("again"));
    }

    #[derive(Clone, Debug)]
    enum Op {
        Get,
        Upsert(u32),
        Set(Option<u32>),
        RemoveIfEven,
        Remove,
        RetainOver(u32),
    }

    fn any_op() -> impl Strategy<Value = (u8, Op)> {
        let op = prop_oneof![
            Just(Op::Get),
            any::<u32>().prop_map(Op::Upsert),
            any::<Option<u32>>().prop_map(Op::Set),
            Just(Op::RemoveIfEven),
            Just(Op::Remove),
            (0..u32::MAX / 4).prop_map(Op::RetainOver),
        ];
        (any::<u8>(), op)
    }

    proptest! {
    #![proptest_config(cases(128))]

        #[test]
        fn a_table_equals_a_map(ops in prop::collection::vec(any_op(), 0..200)) {
            let table: Table<u8, u32> = Table::new();
            let mut model: BTreeMap<u8, u32> = BTreeMap::new();
            for (key, op) in ops {
                match op {
                    Op::Get => {
                        prop_assert_eq!(table.get_with(&key, |v| *v), model.get(&key).copied());
                    }
                    Op::Upsert(value) => {
                        prop_assert_eq!(table.upsert(key, value), model.insert(key, value));
                    }
                    Op::Set(value) => {
                        let old = table.with_entry(&key, |v| std::mem::replace(v, value));
                        prop_assert_eq!(old, model.remove(&key));
                        model.extend(value.map(|value| (key, value)));
                    }
                    Op::RemoveIfEven => {
                        let even = model.get(&key).copied().filter(|v| v % 2 == 0);
                        prop_assert_eq!(table.remove_if(&key, |v| v % 2 == 0), even);
                        if even.is_some() {
                            model.remove(&key);
                        }
                    }
                    Op::Remove => prop_assert_eq!(table.remove(&key), model.remove(&key)),
                    Op::RetainOver(least) => {
                        table.retain(|_, v| *v >= least);
                        model.retain(|_, v| *v >= least);
                    }
                }
                prop_assert_eq!(table.len(), model.len());
            }
            prop_assert_eq!(table.is_empty(), model.is_empty());
            let mut all = BTreeMap::new();
            table.for_each(|k, v| { all.insert(*k, *v); });
            prop_assert_eq!(all, model);
        }
    }
}

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{
    sync::{Arc, Mutex, lock},
    testing::cases,
};

#[test]
fn what_is_not_used_goes_first() {
    let cache = Weighted::new(10);
    for key in 0..10 {
        assert!(cache.insert(key, key, 1));
    }
    for round in 0..50 {
        for key in 0..5 {
            assert_eq!(cache.get(&key), Some(key), "used in round {round}");
        }
        assert!(cache.insert(100 + round, 0, 1));
    }
    assert_eq!(
        (cache.len(), cache.weight(), cache.evictions()),
        (10, 10, 50)
    );
}

#[test]
fn an_empty_cache_says_so_and_has_nothing_to_evict() {
    let cache = Weighted::new(10);
    assert!(cache.is_empty() && !cache.evict_one());
    cache.insert(1, (), 1);
    assert!(!cache.is_empty() && cache.evict_one());
    assert!(cache.is_empty() && !cache.evict_one());
}

/// A key whose hash says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Colliding(u32);

impl Hash for Colliding {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        state.write_u32(0);
    }
}

#[test]
fn keys_with_the_same_hash_have_each_their_value() {
    let cache = Weighted::new(10);
    for key in 0..5 {
        cache.insert(Colliding(key), key, 1);
    }
    assert_eq!(cache.remove(&Colliding(2)), Some(2));
    for key in [0, 1, 3, 4] {
        assert_eq!(cache.get(&Colliding(key)), Some(key));
    }
    assert_eq!((cache.get(&Colliding(2)), cache.len()), (None, 4));
}

#[test]
fn what_was_used_once_goes_in_time() {
    let cache = Weighted::new(10);
    cache.insert(0, 0, 1);
    assert_eq!(cache.get(&0), Some(0));
    for key in 1..200 {
        cache.insert(key, key, 1);
    }
    assert_eq!(cache.get(&0), None);
}

#[test]
fn everything_used_does_not_stop_an_insert() {
    let cache = Weighted::new(100);
    for key in 0..100 {
        cache.insert(key, (), 1);
    }
    (0..100).for_each(|key| assert!(cache.get(&key).is_some()));
    assert!(cache.insert(100, (), 1));
    assert_eq!((cache.weight(), cache.evictions()), (100, 1));
}

#[test]
fn what_is_heavier_than_the_budget_is_not_kept_and_flushes_nothing() {
    let cache = Weighted::new(10);
    cache.insert("a", 1, 5);
    cache.insert("b", 2, 5);
    assert!(!cache.insert("whale", 3, 11));
    assert_eq!((cache.get("a"), cache.get("b")), (Some(1), Some(2)));
    assert_eq!((cache.get("whale"), cache.evictions()), (None, 0));
}

/// Museum 10: the last insert wins, also if it can't be kept.
#[test]
fn an_insert_never_leaves_the_old_value() {
    let cache = Weighted::new(10);
    cache.insert("a", 1, 5);
    assert!(cache.insert("a", 2, 6));
    assert_eq!(
        (cache.get("a"), cache.weight(), cache.len()),
        (Some(2), 6, 1)
    );
    assert!(!cache.insert("a", 3, 11));
    assert_eq!((cache.get("a"), cache.weight()), (None, 0));
    assert_eq!(cache.evictions(), 0);
}

#[test]
fn replacing_an_entry_evicts_no_other_while_there_is_room() {
    let cache = Weighted::new(10);
    cache.insert("a", 1, 5);
    cache.insert("b", 1, 5);
    cache.insert("a", 2, 5);
    assert_eq!((cache.get("a"), cache.get("b")), (Some(2), Some(1)));
}

#[test]
fn a_lower_budget_holds_at_once() {
    let cache = Weighted::new(100);
    for key in 0..100 {
        cache.insert(key, (), 1);
    }
    cache.set_budget(30);
    assert_eq!((cache.weight(), cache.len(), cache.budget()), (30, 30, 30));
    cache.set_budget(0);
    assert_eq!((cache.weight(), cache.len()), (0, 0));
    assert!(!cache.insert(1, (), 1));
}

#[test]
fn room_for_one_is_made_by_evicting_many() {
    let cache = Weighted::new(100);
    for key in 0..100 {
        cache.insert(key, (), 1);
    }
    assert!(cache.insert(1000, (), 95));
    assert_eq!((cache.weight(), cache.len()), (100, 6));
}

#[test]
fn only_what_meets_the_condition_is_removed() {
    let cache = Weighted::new(10);
    cache.insert("a", 1, 5);
    assert_eq!(cache.remove_if("a", |value| *value == 2), None);
    assert_eq!(cache.remove_if("a", |value| *value == 1), Some(1));
    assert_eq!((cache.weight(), cache.remove("a")), (0, None));
}

/// A value that comes back to its cache when it is dropped.
#[derive(Clone)]
struct Nosy(Arc<Mutex<Vec<usize>>>, Arc<Weighted<u8, Nosy>>);

impl Drop for Nosy {
    fn drop(&mut self) {
        lock(&self.0).push(self.1.len());
    }
}

#[test]
fn values_are_dropped_outside_of_the_locks() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let cache = Arc::new(Weighted::new(1));
    let nosy = || Nosy(Arc::clone(&seen), Arc::clone(&cache));
    cache.insert(1, nosy(), 1);
    cache.insert(1, nosy(), 1);
    cache.insert(2, nosy(), 1);
    cache.insert(3, nosy(), 2);
    drop(cache.remove(&2));
    // Would hang if a lock were held: one replaced, one evicted, one never kept, one removed.
    assert_eq!(lock(&seen).len(), 4);
}

/// Museum 41: accounting that two threads can't upset.
#[test]
fn the_budget_holds_for_threads_at_every_moment() {
    let cache = Weighted::new(50);
    std::thread::scope(|scope| {
        for thread in 0..3_u32 {
            let cache = &cache;
            scope.spawn(move || {
                for i in 0..2_000_u32 {
                    let key = (i * 7 + thread * 13) % 40;
                    match i % 5 {
                        0 => drop(cache.remove(&key)),
                        1 => drop(cache.get(&key)),
                        _ => drop(cache.insert(key, i, (i % 20) as usize)),
                    }
                    assert!(cache.weight() <= 50);
                }
            });
        }
    });
    let mut sum = 0;
    for key in 0..40 {
        // An entry's weight is what its value says.
        sum += cache.get(&key).map_or(0, |i| (i % 20) as usize);
    }
    assert_eq!(cache.weight(), sum);
}

#[derive(Clone, Debug)]
enum Op {
    Insert(u8, usize),
    Get(u8),
    Remove(u8),
    SetBudget(usize),
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0_u8..30, 0_usize..40).prop_map(|(key, weight)| Op::Insert(key, weight)),
        4 => (0_u8..30).prop_map(Op::Get),
        2 => (0_u8..30).prop_map(Op::Remove),
        1 => (0_usize..150).prop_map(Op::SetBudget),
    ]
}

proptest! {
    #![proptest_config(cases(256))]

    /// The model keeps everything: the cache may know less, never anything else.
    #[test]
    fn a_cache_is_a_bounded_part_of_a_map(ops in prop::collection::vec(any_op(), 0..200)) {
        let cache = Weighted::new(100);
        let mut model: BTreeMap<u8, (usize, usize)> = BTreeMap::new();
        for (now, op) in ops.into_iter().enumerate() {
            match op {
                Op::Insert(key, weight) => {
                    let before = cache.evictions();
                    let own = cache.get(&key).map_or(0, |_| model[&key].1);
                    let room = cache.budget() - (cache.weight() - own);
                    let kept = cache.insert(key, now, weight);
                    prop_assert_eq!(kept, weight <= cache.budget());
                    if kept {
                        prop_assert_eq!(cache.get(&key), Some(now));
                        prop_assert_eq!(cache.evictions() > before, weight > room);
                    } else {
                        prop_assert_eq!(cache.get(&key), None);
                    }
                    model.insert(key, (now, weight));
                }
                Op::Get(key) => {
                    if let Some(value) = cache.get(&key) {
                        prop_assert_eq!(value, model[&key].0);
                    }
                }
                Op::Remove(key) => {
                    let removed = cache.remove(&key);
                    let known = model.remove(&key);
                    prop_assert!(removed.is_none() || removed == known.map(|(at, _)| at));
                    prop_assert_eq!(cache.get(&key), None);
                }
                Op::SetBudget(budget) => cache.set_budget(budget),
            }
            let kept: Vec<_> = model.iter().filter(|(key, _)| cache.get(*key).is_some()).collect();
            let sum: usize = kept.iter().map(|(_, (_, weight))| weight).sum();
            prop_assert!(cache.weight() <= cache.budget());
            prop_assert_eq!((cache.weight(), cache.len()), (sum, kept.len()));
        }
    }
}

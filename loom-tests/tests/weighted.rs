//! Models of `Weighted`: never over budget, the books always balance, nothing is lost or kept
//! twice.

use std::sync::Arc;

use bonsai_loom_tests::{Threads, explore, thread};
use bonsaifs_core::cache::weighted::Weighted;

type Cache = Weighted<u8, Arc<u8>>;

/// What is there, by key, for keys below 4.
fn content(cache: &Cache) -> Vec<(u8, u8)> {
    (0..4)
        .filter_map(|key| Some((key, *cache.get(&key)?)))
        .collect()
}

/// The weight is the number of entries (each weighs 1), and within the budget.
fn assert_balanced(cache: &Cache) {
    let entries = content(cache).len();
    assert_eq!((cache.weight(), cache.len()), (entries, entries));
    assert!(entries <= cache.budget());
}

/// Room for one: two come in at once, and never are both there.
#[test]
fn two_inserts_into_room_for_one() {
    explore(Threads::Two, &["evicted", "had no room"], |seen| {
        let cache = Arc::new(Cache::new(1));
        let other = {
            let cache = Arc::clone(&cache);
            thread::spawn(move || {
                let kept = cache.insert(1, Arc::new(1), 1);
                assert!(cache.weight() <= 1, "over budget");
                kept
            })
        };
        let mine = cache.insert(2, Arc::new(2), 1);
        assert!(cache.weight() <= 1, "over budget");
        let theirs = other.join().expect("no panic");
        assert_balanced(&cache);
        match (mine, theirs) {
            (true, true) => {
                seen.mark("evicted");
                assert_eq!((cache.evictions(), cache.len()), (1, 1));
            }
            (false, false) => assert_eq!(cache.len(), 0),
            _ => {
                seen.mark("had no room");
                assert_eq!(cache.len(), 1);
            }
        }
    });
}

#[test]
fn three_inserts_into_room_for_two() {
    explore(Threads::Three, &["evicted"], |seen| {
        let cache = Arc::new(Cache::new(2));
        let others = [1, 2].map(|key| {
            let cache = Arc::clone(&cache);
            thread::spawn(move || {
                cache.insert(key, Arc::new(key), 1);
                assert!(cache.weight() <= 2, "over budget");
            })
        });
        cache.insert(3, Arc::new(3), 1);
        assert!(cache.weight() <= 2, "over budget");
        for other in others {
            other.join().expect("no panic");
        }
        assert_balanced(&cache);
        if cache.evictions() > 0 {
            seen.mark("evicted");
        }
    });
}

/// The same key twice: one of the values stays, its weight is counted once, the other is dropped.
#[test]
fn two_inserts_of_one_key() {
    explore(Threads::Two, &[], |_| {
        let cache = Arc::new(Cache::new(4));
        let values = [Arc::new(1), Arc::new(2)];
        let other = {
            let (cache, value) = (Arc::clone(&cache), Arc::clone(&values[0]));
            thread::spawn(move || assert!(cache.insert(1, value, 1)))
        };
        assert!(cache.insert(1, Arc::clone(&values[1]), 1));
        other.join().expect("no panic");
        assert_balanced(&cache);
        assert_eq!(cache.len(), 1);
        let held: usize = values.iter().map(Arc::strong_count).sum();
        assert_eq!(held, 3, "a value was kept or dropped twice");
    });
}

/// A reader sees the old value, the new one, or none for a moment; a remover takes what it gets.
#[test]
fn insert_get_and_remove_of_one_key() {
    let must_see = ["removed the old", "removed the new", "read the new"];
    explore(Threads::Three, &must_see, |seen| {
        let cache = Arc::new(Cache::new(4));
        assert!(cache.insert(1, Arc::new(1), 1));
        let writer = {
            let cache = Arc::clone(&cache);
            thread::spawn(move || assert!(cache.insert(1, Arc::new(2), 1)))
        };
        let remover = {
            let cache = Arc::clone(&cache);
            thread::spawn(move || cache.remove(&1))
        };
        let read = cache.get(&1).map(|value| *value);
        writer.join().expect("no panic");
        let removed = remover.join().expect("no panic").map(|value| *value);
        if read == Some(2) {
            seen.mark("read the new");
        }
        match removed {
            Some(1) => seen.mark("removed the old"),
            Some(2) => seen.mark("removed the new"),
            Some(_) => panic!("a value that nobody put in"),
            None => {}
        }
        let left = content(&cache);
        assert_eq!(left.is_empty(), removed == Some(2), "{left:?}, {removed:?}");
        assert_balanced(&cache);
    });
}

/// The budget goes down while an insert is under way.
fn a_lower_budget_holds(threads: Threads, inserts: &'static [u8]) {
    explore(threads, &["came first", "came after"], move |seen| {
        let cache = Arc::new(Cache::new(2));
        let others: Vec<_> = inserts
            .iter()
            .map(|key| {
                let cache = Arc::clone(&cache);
                thread::spawn(move || cache.insert(*key, Arc::new(*key), 1))
            })
            .collect();
        cache.set_budget(0);
        for other in others {
            let kept = other.join().expect("no panic");
            seen.mark(if kept { "came first" } else { "came after" });
        }
        assert_balanced(&cache);
        assert_eq!(cache.len(), 0, "over the new budget");
    });
}

#[test]
fn with_two_a_lower_budget_holds() {
    a_lower_budget_holds(Threads::Two, &[1]);
}

#[test]
fn with_three_a_lower_budget_holds() {
    a_lower_budget_holds(Threads::Three, &[1, 2]);
}

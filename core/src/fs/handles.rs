//! Handles of what is open. May import: [`crate::sync`], [`crate::cache`].
//!
//! Always holds: a handle is never given twice, whatever it stands for: there is one counter.

use crate::{
    cache::table::Table,
    sync::{AtomicU64, Ordering},
};

/// Things under handles. One of these is for everything that can be open in a filesystem, so
/// that a handle of one kind is never taken for one of another.
#[derive(Debug)]
pub struct Handles<T> {
    open: Table<u64, T>,
    next: AtomicU64,
}

impl<T> Default for Handles<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Handles<T> {
    /// Nothing is open.
    pub fn new() -> Self {
        Self {
            open: Table::new(),
            next: AtomicU64::new(1),
        }
    }

    /// Puts `thing` under a handle that was never used before; never 0.
    pub fn insert(&self, thing: T) -> u64 {
        // 2^64 handles take 584 years at one a nanosecond.
        let handle = self.next.fetch_add(1, Ordering::Relaxed);
        self.open.upsert(handle, thing);
        handle
    }

    /// What `read` makes of the thing under `handle`, under a lock; `None` if there is none.
    pub fn get_with<R>(&self, handle: u64, read: impl FnOnce(&T) -> R) -> Option<R> {
        self.open.get_with(&handle, read)
    }

    /// A clone of the thing under `handle`.
    pub fn get(&self, handle: u64) -> Option<T>
    where
        T: Clone,
    {
        self.get_with(handle, T::clone)
    }

    /// Takes out what is under `handle`.
    pub fn remove(&self, handle: u64) -> Option<T> {
        self.open.remove(&handle)
    }

    /// Takes out what is under `handle` if `condition` holds for it.
    pub fn remove_if(&self, handle: u64, condition: impl FnOnce(&T) -> bool) -> Option<T> {
        self.open.remove_if(&handle, condition)
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// True if nothing is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(all(test, not(any(feature = "loom", feature = "shuttle"))))]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_handle_stands_for_its_thing_until_it_is_removed() {
        let handles = Handles::new();
        let (a, b) = (handles.insert("a"), handles.insert("b"));
        assert_eq!((handles.get(a), handles.get(b)), (Some("a"), Some("b")));
        assert_eq!(handles.remove(a), Some("a"));
        assert_eq!((handles.get(a), handles.remove(a)), (None, None));
        assert_eq!(handles.remove_if(b, |thing| *thing == "c"), None);
        assert_eq!((handles.len(), handles.is_empty()), (1, false));
        assert_eq!(handles.remove(b), Some("b"));
        assert!(handles.is_empty());
    }

    /// Museum 37: two handles that are the same let a write go into another file.
    #[test]
    fn no_handle_is_given_twice_by_any_thread() {
        let handles = Handles::new();
        let take = || (0..1000).map(|i| handles.insert(i)).collect::<Vec<_>>();
        let all: Vec<Vec<u64>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..3).map(|_| scope.spawn(take)).collect();
            let ended = threads.into_iter().map(|thread| thread.join());
            ended.map(|given| given.expect("no panic")).collect()
        });
        let unique: BTreeSet<u64> = all.iter().flatten().copied().collect();
        assert_eq!((unique.len(), handles.len()), (3000, 3000));
        assert!(!unique.contains(&0));
        let first = handles.remove(all[0][0]);
        assert!(
            first.is_some() && !unique.contains(&handles.insert(0)),
            "not used again"
        );
    }
}

//! A row of locks, each over its part of a whole. May import: [`crate::sync`].
//!
//! Always holds: a key is in the part that its hash names, so two keys rarely wait for each other.

use crate::sync::{Mutex, MutexGuard, lock};

/// A power of two. Enough that two threads rarely meet and that growing one part is quick; the
/// model checkers take one, which is the hardest case and the fewest states.
pub(crate) const SHARDS: usize = if cfg!(any(feature = "loom", feature = "shuttle")) {
    1
} else {
    64
};

/// [`SHARDS`] times `T`, each behind its lock.
#[derive(Debug)]
pub(crate) struct Shards<T> {
    all: Box<[Padded<T>]>,
}

/// On a cache line of its own, so that taking one lock does not slow the next.
#[derive(Debug)]
#[repr(align(64))]
struct Padded<T>(Mutex<T>);

impl<T> Shards<T> {
    pub(crate) fn new(make: impl Fn() -> T) -> Self {
        Self {
            all: (0..SHARDS).map(|_| Padded(Mutex::new(make()))).collect(),
        }
    }

    /// The part that `hash` belongs to. It is chosen by bits 48 and up: hash tables inside use
    /// the lowest bits and the top seven, which must stay evenly spread within a part.
    pub(crate) fn of(&self, hash: u64) -> MutexGuard<'_, T> {
        self.nth((hash >> 48) as usize)
    }

    /// Part `i`, modulo their number.
    pub(crate) fn nth(&self, i: usize) -> MutexGuard<'_, T> {
        // Their number is a power of two.
        lock(&self.all[i & (self.all.len() - 1)].0)
    }

    /// All parts, one lock at a time.
    pub(crate) fn iter(&self) -> impl Iterator<Item = MutexGuard<'_, T>> {
        self.all.iter().map(|part| lock(&part.0))
    }
}

#[cfg(all(test, not(any(feature = "loom", feature = "shuttle"))))]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn the_bits_from_48_up_name_the_part_and_no_others() {
        let parts = Cell::new(0);
        let shards = Shards::new(|| parts.replace(parts.get() + 1));
        assert_eq!(parts.get(), SHARDS);
        for part in 0..SHARDS {
            for others in [0, (1 << 48) - 1, 1 << 57] {
                assert_eq!(*shards.of((part as u64) << 48 | others), part);
            }
        }
    }
}

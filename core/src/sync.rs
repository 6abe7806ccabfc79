//! The one door to locks, atomics and shared pointers: std, loom or shuttle by cargo feature.
//!
//! May import: std, loom, shuttle. Everything else in this crate takes them from here, so the
//! model checkers run the very code that production runs.
//!
//! `Arc` and `Weak` are std's in every mode: what is shared through them here is immutable or
//! behind a `Mutex` or atomic of this module, their counts are linearisable by themselves, and
//! loom's `Arc` has no `Weak`.

pub use std::sync::{Arc, Weak};

#[cfg(feature = "loom")]
pub use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
};

#[cfg(all(feature = "shuttle", not(feature = "loom")))]
pub use shuttle::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
};

#[cfg(not(any(feature = "loom", feature = "shuttle")))]
pub use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
};

/// Locks `mutex`, also after a panic of an earlier holder.
///
/// Poisoning would turn one panic into a mount that answers nothing any more. Every critical
/// section of this crate leaves its data valid at each point where it may unwind, so there is
/// nothing to protect from.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

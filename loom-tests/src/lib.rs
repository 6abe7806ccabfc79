//! What the models in `tests/` share: running a model under loom or shuttle, and the few tools a
//! model needs.
//!
//! A model is one closure: a handful of steps in two or three threads. Under loom every schedule
//! of it is run (of three threads, every one with up to three preemptions), under shuttle
//! 10,000 random ones (PCT). Which of the two it is, is the choice of this package's features;
//! models never look.
//!
//! May import: `bonsaifs-core`, loom, shuttle, std. Locks and threads of a model are those of
//! this crate, never std's: the checkers don't see std's.

mod explore;
mod task;

pub use explore::{Seen, Threads, explore};
pub use task::{block_on, poll_once};

#[cfg(feature = "loom")]
pub use loom::{
    sync::{Condvar, Mutex, MutexGuard},
    thread,
};

#[cfg(all(feature = "shuttle", not(feature = "loom")))]
pub use shuttle::{
    sync::{Condvar, Mutex, MutexGuard},
    thread,
};

/// Locks `mutex`, also after a panic of a holder: some models panic on purpose.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

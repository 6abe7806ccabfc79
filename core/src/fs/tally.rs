//! Counts of what was answered at once and what had to wait. May import: [`crate::sync`].

use crate::sync::{AtomicU64, Ordering};

/// Two threads that count rarely touch the same cache line.
const STRIPES: usize = 16;

/// Hits and misses, for `status`.
#[derive(Debug)]
pub(super) struct Tally {
    stripes: Box<[Stripe]>,
}

#[derive(Debug)]
#[repr(align(64))]
struct Stripe {
    hits: AtomicU64,
    misses: AtomicU64,
}

impl Tally {
    pub(super) fn new() -> Self {
        let stripe = |_| Stripe {
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        };
        Self {
            stripes: (0..STRIPES).map(stripe).collect(),
        }
    }

    /// Counts an answer, or that there was none. Counts with different `hint`s rarely meet.
    pub(super) fn count(&self, hint: u64, answered: bool) {
        let stripe = &self.stripes[(hint >> 48) as usize % STRIPES];
        let counter = if answered {
            &stripe.hits
        } else {
            &stripe.misses
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Hits and misses so far.
    pub(super) fn read(&self) -> (u64, u64) {
        let mut sum = (0, 0);
        for stripe in &self.stripes {
            sum.0 += stripe.hits.load(Ordering::Relaxed);
            sum.1 += stripe.misses.load(Ordering::Relaxed);
        }
        sum
    }
}

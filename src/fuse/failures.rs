//! What went wrong lately: the log's lines for it, and the last one for `status`.
//! May import: bonsaifs-core, tracing.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// How many failures are logged in one [`WINDOW`]; a dead network fails thousands of reads alike.
const LINES: u32 = 20;
const WINDOW: Duration = Duration::from_secs(10);

/// The last failure that a process saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastFailure {
    /// What failed, and why.
    pub message: String,
    /// When, in the runtime's time.
    pub at: Duration,
}

/// Counts and logs failures. They are rare, so a lock does.
#[derive(Debug, Default)]
pub struct Failures(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    count: u64,
    last: Option<LastFailure>,
    window: Duration,
    logged: u32,
    hushed: u64,
}

impl Failures {
    /// Takes note of a failure at `now`, and logs it unless there were too many just before.
    pub fn note(&self, now: Duration, message: String) {
        if let Some(hushed) = self.record(now, &message) {
            if hushed > 0 {
                tracing::warn!(hushed, "more failures were not logged");
            }
            tracing::warn!("{message}");
        }
    }

    /// `Some` if it is to be logged, with the number of those before that were not.
    fn record(&self, now: Duration, message: &str) -> Option<u64> {
        let mut state = self.lock();
        state.count += 1;
        state.last = Some(LastFailure {
            message: message.to_owned(),
            at: now,
        });
        if now.saturating_sub(state.window) >= WINDOW {
            state.window = now;
            state.logged = 0;
        }
        if state.logged == LINES {
            state.hushed += 1;
            return None;
        }
        state.logged += 1;
        Some(std::mem::take(&mut state.hushed))
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.lock().count
    }

    /// The last one.
    pub fn last(&self) -> Option<LastFailure> {
        self.lock().last.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // Whole after every statement, so a panic elsewhere harms nothing here.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_one_is_kept() {
        let failures = Failures::default();
        assert_eq!(failures.last(), None);
        failures.note(Duration::from_secs(1), "a".to_owned());
        failures.note(Duration::from_secs(2), "b".to_owned());
        assert_eq!(failures.count(), 2);
        let last = failures.last().expect("there were two");
        assert_eq!((last.message.as_str(), last.at.as_secs()), ("b", 2));
    }

    #[test]
    fn a_flood_is_logged_in_part_and_told_of_later() {
        let failures = Failures::default();
        let start = Duration::from_secs(100);
        let logged = (0..1000).filter(|_| failures.record(start, "x").is_some());
        assert_eq!(logged.count(), LINES as usize);
        assert_eq!(failures.count(), 1000);
        let later = start + WINDOW;
        assert_eq!(failures.record(later, "y"), Some(1000 - u64::from(LINES)));
        assert_eq!(failures.record(later, "z"), Some(0));
    }
}

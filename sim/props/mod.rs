//! What always holds, one file a property, each an observer that can be tried alone: it takes
//! observations and says what is wrong with them.
//!
//! Always holds: no observer looks into the product; each sees what a kernel, a server or a disk sees.

pub mod balance;
pub mod budgets;
pub mod complete;
pub mod crash;
pub mod following;
pub mod no_lie;
pub mod no_panic;
pub mod one_flight;
pub mod politeness;
pub mod stable_dirs;
pub mod stable_numbers;
pub mod stranded;
pub mod truth;
pub mod unread;
pub mod warm;
pub mod whole_objects;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::trace::now;

/// What an observer says: nothing, or what is wrong.
pub type Check = Result<(), String>;

/// A property that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The property's name.
    pub property: &'static str,
    /// When it was seen.
    pub at: Duration,
    /// What was seen.
    pub message: String,
}

/// Collects violations; the first one ends a run. A clone is another handle to the same list.
#[derive(Clone, Default)]
pub struct Verdicts(Arc<Mutex<Vec<Violation>>>);

impl Verdicts {
    /// Notes `check`'s complaint, if it has one.
    pub fn judge(&self, property: &'static str, check: Check) {
        if let Err(message) = check {
            let violation = Violation {
                property,
                at: now(),
                message,
            };
            self.0
                .lock()
                .expect("a list that is only pushed to")
                .push(violation);
        }
    }

    /// The first violation.
    pub fn first(&self) -> Option<Violation> {
        self.0
            .lock()
            .expect("a list that is only pushed to")
            .first()
            .cloned()
    }
}

//! **No lie under faults**: a failure is an error that says so, never "no such file"; without a fault
//! nothing fails; and once the faults have ended, nothing goes on failing.

use std::time::Duration;

use bonsaifs_core::fs::FsErrorKind;

use super::Check;

pub const NAME: &str = "no lie under faults";

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Something that the tree has, in a way that fits it.
    Possible,
    /// A name that the tree doesn't have.
    Absent,
}

/// Why a failure may be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excuse {
    /// No fault was near.
    None,
    /// A fault was on while the operation ran, or so shortly before that a joined request may
    /// have met it.
    Fault,
}

/// `asked` failed with `kind`.
pub fn failure(asked: Asked, kind: FsErrorKind, excuse: Excuse) -> Check {
    match (asked, kind, excuse) {
        (Asked::Absent, FsErrorKind::NotFound, _) => Ok(()),
        (Asked::Possible, FsErrorKind::NotFound, _) => {
            Err("\"no such file\" for what the tree has".to_owned())
        }
        (_, FsErrorKind::Io | FsErrorKind::TimedOut | FsErrorKind::Denied, Excuse::Fault) => Ok(()),
        (_, _, Excuse::Fault) => Err(format!("{kind:?} is not what a fault looks like")),
        (_, _, Excuse::None) => Err(format!("{kind:?} without a fault")),
    }
}

/// A name was looked up that the tree doesn't have, and something was found.
pub fn absent_was_found(path: &str) -> Check {
    Err(format!("{path} was found and is not in the tree"))
}

/// When faults were on.
#[derive(Default)]
pub struct Faults {
    /// Begin and end.
    spans: Vec<(Duration, Duration)>,
}

impl Faults {
    /// A fault is on from `begin` to `end`.
    pub fn add(&mut self, begin: Duration, end: Duration) {
        self.spans.push((begin, end));
    }

    /// When the last one ends; zero if there is none.
    pub fn end(&self) -> Duration {
        self.spans
            .iter()
            .map(|span| span.1)
            .max()
            .unwrap_or_default()
    }

    /// The excuse of an operation that ran from `begin` to `end`, where a request joined may have
    /// begun `linger` earlier.
    pub fn excuse(&self, begin: Duration, end: Duration, linger: Duration) -> Excuse {
        let begin = begin.saturating_sub(linger);
        match self
            .spans
            .iter()
            .any(|span| span.0 <= end && begin <= span.1)
        {
            true => Excuse::Fault,
            false => Excuse::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_such_file_is_a_lie_about_what_is_there() {
        for excuse in [Excuse::None, Excuse::Fault] {
            assert!(failure(Asked::Possible, FsErrorKind::NotFound, excuse).is_err());
            assert!(failure(Asked::Absent, FsErrorKind::NotFound, excuse).is_ok());
        }
    }

    #[test]
    fn without_a_fault_nothing_fails() {
        for kind in [FsErrorKind::Io, FsErrorKind::TimedOut, FsErrorKind::Denied] {
            assert!(failure(Asked::Possible, kind, Excuse::Fault).is_ok());
            assert!(failure(Asked::Possible, kind, Excuse::None).is_err());
            assert!(failure(Asked::Absent, kind, Excuse::None).is_err());
        }
    }

    #[test]
    fn a_fault_is_no_excuse_for_any_error() {
        for kind in [
            FsErrorKind::NotADirectory,
            FsErrorKind::Stale,
            FsErrorKind::IsADirectory,
        ] {
            assert!(failure(Asked::Possible, kind, Excuse::Fault).is_err());
        }
        assert!(absent_was_found("x").is_err());
    }

    #[test]
    fn only_a_fault_that_is_near_excuses() {
        let s = Duration::from_secs;
        let mut faults = Faults::default();
        faults.add(s(10), s(20));
        let linger = s(5);
        for (begin, end, expected) in [
            (1, 2, Excuse::None),
            (1, 10, Excuse::Fault),
            (15, 16, Excuse::Fault),
            (24, 26, Excuse::Fault),
            (26, 30, Excuse::None),
        ] {
            assert_eq!(
                faults.excuse(s(begin), s(end), linger),
                expected,
                "{begin}..{end}"
            );
        }
        assert_eq!(faults.end(), s(20));
    }
}

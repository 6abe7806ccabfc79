//! **No one is stranded**: whatever is cancelled or fails, the others finish, in bounded time once the
//! faults have ended.

use std::{collections::BTreeMap, time::Duration};

use super::Check;

pub const NAME: &str = "no one is stranded";

/// Within this simulated time after the faults have ended, or after its own begin if that is later,
/// every operation ends. It covers a request's every try with its time limits: see the product's
/// retry rules.
pub const BOUND: Duration = Duration::from_secs(300);

/// A mount could not be made at `now`, nor at any time since `since`; faults ended at `quiet`. Each
/// try ends, so none is stranded, and yet nobody ever gets to the files.
pub fn shut_out(since: Duration, now: Duration, quiet: Option<Duration>) -> Check {
    match quiet {
        Some(quiet) if now > quiet.max(since) + BOUND => Err(format!(
            "no mount since {:.3} s, {:.0} s after the last fault",
            since.as_secs_f64(),
            (now - quiet).as_secs_f64(),
        )),
        _ => Ok(()),
    }
}

/// A program was killed at `begin` while it waited for an answer, which came at `now`. The mount looks at least every
/// two seconds; a simulated clock goes in steps.
pub fn killed(begin: Duration, now: Duration) -> Check {
    const BOUND: Duration = Duration::from_millis(2200);
    match now > begin + BOUND {
        true => Err(format!(
            "a program waits for {:.3} s after it was killed",
            (now - begin).as_secs_f64()
        )),
        false => Ok(()),
    }
}

/// Operations under way.
#[derive(Default)]
pub struct UnderWay {
    next: u64,
    begun: BTreeMap<u64, (Duration, String)>,
}

impl UnderWay {
    /// An operation begins.
    pub fn begin(&mut self, now: Duration, what: String) -> u64 {
        self.next += 1;
        self.begun.insert(self.next, (now, what));
        self.next
    }

    /// It ended, or was interrupted.
    pub fn end(&mut self, id: u64) {
        self.begun.remove(&id);
    }

    /// Those whose description begins so died with their machine.
    pub fn drop_of(&mut self, prefixes: &[String]) {
        self.begun
            .retain(|_, begun| !prefixes.iter().any(|prefix| begun.1.starts_with(prefix)));
    }

    /// Whether `mount` is looking `path` up.
    pub fn looks_up(&self, mount: &str, path: &str) -> bool {
        let what = format!("{mount}: lookup {path}");
        self.begun.values().any(|begun| begun.1 == what)
    }

    /// Operations under way.
    pub fn len(&self) -> usize {
        self.begun.len()
    }

    /// Looks for one that takes too long; faults ended at `quiet`.
    pub fn check(&self, now: Duration, quiet: Duration) -> Check {
        for (begun, what) in self.begun.values() {
            if now > quiet.max(*begun) + BOUND {
                return Err(format!(
                    "{what} began at {:.3} s and has not ended, {:.0} s after the last fault",
                    begun.as_secs_f64(),
                    (now - quiet).as_secs_f64(),
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_that_never_ends_is_seen_in_time() {
        let s = Duration::from_secs;
        let mut under_way = UnderWay::default();
        let first = under_way.begin(s(1), "read".to_owned());
        let quiet = s(100);
        assert_eq!(under_way.check(quiet + BOUND, quiet), Ok(()));
        assert!(under_way.check(quiet + BOUND + s(1), quiet).is_err());
        under_way.end(first);
        assert_eq!(
            (
                under_way.len(),
                under_way.check(quiet + BOUND + s(1), quiet)
            ),
            (0, Ok(()))
        );
    }

    #[test]
    fn one_that_began_later_has_its_own_time() {
        let s = Duration::from_secs;
        let mut under_way = UnderWay::default();
        under_way.begin(s(50), "read".to_owned());
        assert_eq!(under_way.check(s(50) + BOUND, s(10)), Ok(()));
        assert!(under_way.check(s(51) + BOUND, s(10)).is_err());
    }

    #[test]
    fn one_that_goes_on_after_its_program_was_killed_is_seen() {
        let ms = Duration::from_millis;
        assert_eq!(killed(ms(100), ms(100)), Ok(()));
        assert_eq!(killed(ms(100), ms(2200)), Ok(()));
        assert!(killed(ms(100), ms(2400)).is_err());
    }

    #[test]
    fn a_mount_that_never_comes_is_seen() {
        let s = Duration::from_secs;
        let late = s(50) + BOUND;
        assert_eq!(shut_out(s(1), late, None), Ok(()), "faults go on");
        assert_eq!(shut_out(s(1), late, Some(s(50))), Ok(()), "just in time");
        assert!(shut_out(s(1), late + s(1), Some(s(50))).is_err());
        assert_eq!(shut_out(s(60), late + s(1), Some(s(50))), Ok(()));
    }
}

//! **Politeness**: a server's Retry-After is obeyed: until then no request goes to it.

use std::time::Duration;

use super::Check;

pub const NAME: &str = "politeness";

/// Sees one mount's requests to one host.
#[derive(Default)]
pub struct Politeness {
    not_before: Option<Duration>,
}

/// What a request that goes out was to Retry-After.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timing {
    /// Nothing was asked.
    Free,
    /// The first one after a time that was waited out.
    WaitedOut,
}

impl Politeness {
    /// An answer asked to wait for `after`.
    pub fn asked(&mut self, now: Duration, after: Duration) {
        self.not_before = self.not_before.max(Some(now + after));
    }

    /// A request goes out.
    pub fn request(&mut self, now: Duration) -> Result<Timing, String> {
        match self.not_before {
            None => Ok(Timing::Free),
            Some(time) if now >= time => {
                self.not_before = None;
                Ok(Timing::WaitedOut)
            }
            Some(time) => Err(format!(
                "a request {:.3} s before the time that Retry-After named",
                (time - now).as_secs_f64()
            )),
        }
    }

    /// The same as a check.
    pub fn check(result: &Result<Timing, String>) -> Check {
        result.clone().map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_comes_too_early_is_seen() {
        let s = Duration::from_secs;
        let mut politeness = Politeness::default();
        assert_eq!(politeness.request(s(1)), Ok(Timing::Free));
        politeness.asked(s(2), s(5));
        politeness.asked(s(2), s(1));
        let early = politeness.request(s(6));
        assert!(Politeness::check(&early).is_err());
        assert_eq!(politeness.request(s(7)), Ok(Timing::WaitedOut));
        assert_eq!(politeness.request(s(7)), Ok(Timing::Free));
    }
}

//! **Budgets**: memory, listings and requests in flight have bounds, and they hold.

use super::Check;

pub const NAME: &str = "budgets";

/// Requests that one mount may have in flight to one host: four for objects, the download of a
/// commit, and a few small ones.
pub const REQUESTS: usize = 8;

/// Something that has a budget.
pub fn within(what: &str, used: u64, budget: u64) -> Check {
    match used <= budget {
        true => Ok(()),
        false => Err(format!("{what}: {used} of {budget}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_that_is_broken_by_one_is_seen() {
        assert_eq!(within("bytes", 10, 10), Ok(()));
        assert!(within("bytes", 11, 10).is_err());
        assert!(within("requests", 1 + REQUESTS as u64, REQUESTS as u64).is_err());
    }
}

//! **Crash**: killed at any instant, the next start serves the same content; and what a start without a
//! server shows is a commit that the ref had.

use std::time::Duration;

use bonsaifs::git::oid::Oid;

use super::Check;

pub const NAME: &str = "crash";

/// A mount was opened between `begin` and `end` and shows `commit`. `history` is what its ref
/// pointed to, and since when.
pub fn shows(
    commit: &Oid,
    history: &[(Duration, Oid)],
    begin: Duration,
    end: Duration,
    offline: bool,
) -> Check {
    let until = |index: usize| history.get(index + 1).map_or(Duration::MAX, |next| next.0);
    let was = history
        .iter()
        .enumerate()
        // A mount from the cache may be as old as the cache.
        .any(|(index, (since, oid))| {
            oid == commit && *since <= end && (offline || until(index) >= begin)
        });
    match was {
        true => Ok(()),
        false => Err(format!(
            "the mount shows {commit}, which its ref was not then"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::encode;

    #[test]
    fn a_commit_of_another_time_is_seen() {
        let s = Duration::from_secs;
        let oid = |text: &str| encode::id(bonsaifs::git::oid::ObjectKind::Commit, text.as_bytes());
        let history = [(s(0), oid("old")), (s(10), oid("new"))];
        let shows = |commit, begin, end, offline| {
            shows(&oid(commit), &history, s(begin), s(end), offline).is_ok()
        };
        assert!(shows("old", 1, 2, false));
        assert!(shows("old", 9, 11, false), "the push came in between");
        assert!(!shows("old", 11, 12, false), "stale");
        assert!(shows("old", 11, 12, true), "but right without a server");
        assert!(!shows("new", 1, 2, false), "from the future");
        assert!(!shows("new", 1, 2, true), "from the future");
        assert!(!shows("none", 11, 12, true), "from nowhere");
    }
}

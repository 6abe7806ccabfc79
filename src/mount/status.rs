//! The figures of one mount, as `bonsai status --json` prints them. May import: fuse, repo, names.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bonsaifs_core::{fs::AsyncFs, rt::SharedRuntime};
use serde::Serialize;

use super::{follow::FollowStatus, state::Record};
use crate::{
    fuse::{Counters, Failures, LastFailure, Transport},
    repo::{ErrorStatus, RepoFs, RepoStatus},
};

/// What a mount's figures are read from.
#[derive(Clone)]
pub struct Gauges {
    /// The repository.
    pub repo: RepoFs,
    /// The filesystem over it.
    pub fs: Arc<AsyncFs<RepoFs>>,
    /// The kernel's requests.
    pub counters: Arc<Counters>,
    /// What processes saw fail.
    pub failures: Arc<Failures>,
    /// The clock.
    pub runtime: SharedRuntime,
    /// How the kernel's requests come.
    pub transport: Transport,
    /// When the mount began, by that clock.
    pub start: Duration,
}

/// The object of `bonsai status --json`; its fields are a promise to scripts.
#[derive(Debug, Serialize)]
pub struct Status {
    #[serde(flatten)]
    record: Record,
    uptime_seconds: u64,
    kernel: Kernel,
    cache: Cache,
    inodes: u64,
    listings: u64,
    listing_bytes: u64,
    follow: Option<FollowStatus>,
    #[serde(flatten)]
    repo: RepoStatus,
}

#[derive(Debug, Serialize)]
struct Kernel {
    transport: &'static str,
    requests: u64,
    by_op: BTreeMap<&'static str, u64>,
}

/// Answers from memory against those that had to wait.
#[derive(Debug, Serialize)]
struct Cache {
    hits: u64,
    misses: u64,
}

impl Gauges {
    /// The figures of now. Reads the cache folder: not for a FUSE thread or a task.
    pub fn read(&self, record: Record, follow: Option<FollowStatus>) -> Status {
        let now = self.runtime.now();
        let by_op: BTreeMap<_, _> = self.counters.all().collect();
        let stats = self.fs.stats();
        let mut repo = self.repo.status();
        repo.last_error = later(repo.last_error, self.failures.last(), now);
        Status {
            record,
            uptime_seconds: now.saturating_sub(self.start).as_secs(),
            kernel: Kernel {
                transport: self.transport.name(),
                requests: by_op.values().sum(),
                by_op,
            },
            cache: Cache {
                hits: stats.hits,
                misses: stats.misses,
            },
            inodes: stats.inodes,
            listings: stats.listings,
            listing_bytes: stats.listing_bytes,
            follow,
            repo,
        }
    }
}

/// The later of the repository's last error and of what a process last saw fail. Of one moment's,
/// the one that a process saw, as it names the path.
fn later(
    repo: Option<ErrorStatus>,
    seen: Option<LastFailure>,
    now: Duration,
) -> Option<ErrorStatus> {
    let seen = seen.map(|last| ErrorStatus {
        seconds_ago: now.saturating_sub(last.at).as_secs(),
        message: last.message,
    });
    match (repo, seen) {
        (Some(repo), Some(seen)) if repo.seconds_ago < seen.seconds_ago => Some(repo),
        (repo, seen) => seen.or(repo),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_error_is_shown() {
        let repo = |seconds_ago| {
            Some(ErrorStatus {
                message: "repo".to_owned(),
                seconds_ago,
            })
        };
        let seen = |at| {
            Some(LastFailure {
                message: "seen".to_owned(),
                at: Duration::from_secs(at),
            })
        };
        let now = Duration::from_secs(100);
        let shown = |repo, seen| later(repo, seen, now).map(|e| (e.message, e.seconds_ago));
        assert_eq!(shown(None, None), None);
        assert_eq!(shown(repo(3), None), Some(("repo".to_owned(), 3)));
        assert_eq!(shown(None, seen(96)), Some(("seen".to_owned(), 4)));
        assert_eq!(shown(repo(3), seen(96)), Some(("repo".to_owned(), 3)));
        assert_eq!(shown(repo(5), seen(96)), Some(("seen".to_owned(), 4)));
        assert_eq!(shown(repo(4), seen(96)), Some(("seen".to_owned(), 4)));
    }
}

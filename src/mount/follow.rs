//! Moving a mount on to what its ref means now. May import: control, state, status, error; fuse,
//! repo, bonsaifs-core.
//!
//! Always holds: one refresh at a time; one that fails leaves the commit that is shown, and is told
//! of in `status`. Anyone is told only after the kernel has dropped what changed.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bonsaifs_core::{
    fs::{AsyncFs, Dropped},
    rt::SharedRuntime,
};
use serde::Serialize;

use super::{
    control::Refreshed,
    error::MountError,
    plan::Follow,
    state::{Record, publish},
};
use crate::{
    fuse::KernelCaches,
    repo::{RepoError, RepoFs},
};

/// The longest pause after failures, unless the interval is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(10 * 60);

/// What can move a mount on.
pub struct Follower {
    pub repo: RepoFs,
    pub fs: Arc<AsyncFs<RepoFs>>,
    pub kernel: KernelCaches,
    pub runtime: SharedRuntime,
    /// `None` if the mount is pinned.
    pub follow: Option<Follow>,
    /// The mount's folder.
    pub folder: PathBuf,
    /// What others are told of the mount.
    pub record: Mutex<Record>,
    /// Held while a refresh is under way.
    pub busy: tokio::sync::Mutex<()>,
    pub last: Mutex<Last>,
}

/// What became of the refreshes so far.
#[derive(Clone, Debug, Default)]
pub struct Last {
    refreshed: Option<Duration>,
    failed: Option<(Duration, String)>,
}

/// The figures of following, in `bonsai status --json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FollowStatus {
    /// Seconds between two looks at the ref; `None` if it is looked at by `bonsai refresh` alone.
    pub every_seconds: Option<u64>,
    /// Seconds since the ref was last asked for with success; `None` before the first time.
    pub refreshed_seconds_ago: Option<u64>,
    /// Why the last try failed, if it did.
    pub last_error: Option<String>,
}

impl Follower {
    /// Looks what the ref means now, and shows that.
    ///
    /// # Errors
    /// [`MountError::Pinned`], or why it failed; the mount shows what it did.
    pub async fn refresh(&self) -> Result<Refreshed, MountError> {
        if self.follow.is_none() {
            let dir = self.record().dir.path();
            return Err(MountError::Pinned { dir });
        }
        let _one = self.busy.lock().await;
        let result = self.move_on().await;
        let now = self.runtime.now();
        let mut last = guard(&self.last);
        match &result {
            Ok(_) => {
                *last = Last {
                    refreshed: Some(now),
                    failed: None,
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the refresh failed");
                last.failed = Some((now, error.to_string()));
            }
        }
        result.map_err(MountError::Repo)
    }

    async fn move_on(&self) -> Result<Refreshed, RepoError> {
        let old = self.repo.commit();
        let kernel = self.kernel.clone();
        let forget = move |dropped: &[Dropped]| kernel.forget(dropped);
        let (target, changed) = self.repo.move_on(&self.fs, forget).await?;
        let told = Refreshed {
            old: old.to_string(),
            new: target.commit().to_string(),
            ref_name: self.repo.ref_name(),
            changed: changed as u64,
        };
        self.publish();
        self.repo.remember(target).await;
        Ok(told)
    }

    fn publish(&self) {
        let mut record = guard(&self.record);
        record.commit = self.repo.commit().to_string();
        record.ref_name = self.repo.ref_name();
        if let Err(error) = publish(&self.folder, &record) {
            tracing::warn!(%error, "others are not told of the new commit");
        }
    }

    /// Looks at the ref again and again, if that is what the mount is for. Never ends by itself.
    pub async fn run(&self) {
        let Some(Follow::Every { seconds }) = self.follow else {
            return std::future::pending().await;
        };
        let every = Duration::from_secs(seconds);
        let mut pause = every;
        loop {
            // Up to a tenth more, so that many mounts don't ask at the same moment.
            let jitter = pause / 1000 * (self.runtime.random() % 100) as u32;
            self.runtime.sleep(pause + jitter).await;
            pause = match self.refresh().await {
                Ok(_) => every,
                Err(error) => after_failure(pause, every, wish(&error)),
            };
        }
    }

    /// What others are told of the mount.
    pub fn record(&self) -> Record {
        guard(&self.record).clone()
    }

    /// The figures; `None` of a pinned mount.
    pub fn status(&self) -> Option<FollowStatus> {
        let follow = self.follow?;
        let last = guard(&self.last).clone();
        let now = self.runtime.now();
        Some(FollowStatus {
            every_seconds: match follow {
                Follow::Manual => None,
                Follow::Every { seconds } => Some(seconds),
            },
            refreshed_seconds_ago: last.refreshed.map(|at| now.saturating_sub(at).as_secs()),
            last_error: last.failed.map(|(_, error)| error),
        })
    }
}

/// The server's own word on when to come back.
fn wish(error: &MountError) -> Option<Duration> {
    match error {
        MountError::Repo(error) => RepoFs::retry_after(error),
        _ => None,
    }
}

/// The next pause: twice the one before, up to a bound, and never less than the server asked for.
fn after_failure(pause: Duration, every: Duration, wish: Option<Duration>) -> Duration {
    let doubled = (pause * 2).min(LONGEST_PAUSE.max(every));
    doubled.max(wish.unwrap_or_default())
}

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_after_failures_and_obey_the_server() {
        let seconds = Duration::from_secs;
        let every = seconds(30);
        assert_eq!(after_failure(every, every, None), seconds(60));
        assert_eq!(after_failure(seconds(500), every, None), LONGEST_PAUSE);
        let wish = Some(seconds(3600));
        assert_eq!(after_failure(every, every, wish), seconds(3600));
        // One that looks once a day goes on so.
        let day = seconds(86_400);
        assert_eq!(after_failure(day, day, None), day);
    }
}

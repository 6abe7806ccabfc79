//! Trying again, bounded in count and in time. May import: bonsaifs-core, the room's errors.
//!
//! Always holds: what [`OriginError::retry`] says won't pass is never tried again; a server's
//! `Retry-After` is obeyed, or, where it does not fit in the time, nothing is tried any more.

use std::{future::Future, time::Duration};

use bonsaifs_core::rt::Runtime;

use super::{OriginError, Retry};

/// How often and how long to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How many attempts in all; at least one is made.
    pub attempts: u32,
    /// No attempt starts later than this after the first one started.
    pub total: Duration,
    /// The longest pause before the second attempt. It doubles with each further one.
    pub first_pause: Duration,
    /// Where the doubling ends.
    pub longest_pause: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 5,
            total: Duration::from_secs(60),
            first_pause: Duration::from_millis(200),
            longest_pause: Duration::from_secs(10),
        }
    }
}

/// The attempts at one thing so far, for loops whose attempts differ (each asks only for what
/// is still missing):
///
/// ```ignore
/// let mut retries = Retries::new(runtime, RetryPolicy::default());
/// loop {
///     match attempt().await {
///         Ok(value) => return Ok(value),
///         Err(error) => retries.pause_after(error).await?,
///     }
/// }
/// ```
pub struct Retries<'a> {
    runtime: &'a dyn Runtime,
    policy: RetryPolicy,
    started: Duration,
    failed: u32,
}

impl<'a> Retries<'a> {
    /// The first attempt starts now.
    pub fn new(runtime: &'a dyn Runtime, policy: RetryPolicy) -> Self {
        Self {
            runtime,
            policy,
            started: runtime.now(),
            failed: 0,
        }
    }

    /// Waits until the next attempt may start.
    ///
    /// # Errors
    /// `error` itself if it won't pass, or if count or time are used up: without a pause.
    pub async fn pause_after(&mut self, error: OriginError) -> Result<(), OriginError> {
        self.failed += 1;
        if self.failed >= self.policy.attempts {
            return Err(error);
        }
        let pause = match error.retry() {
            Retry::No => return Err(error),
            Retry::Soon => self.jittered(),
            Retry::After(named) => named.max(self.jittered()),
        };
        let spent = self.runtime.now().saturating_sub(self.started);
        if spent.saturating_add(pause) > self.policy.total {
            return Err(error);
        }
        tracing::debug!(%error, ?pause, failed = self.failed, "trying again after a pause");
        self.runtime.sleep(pause).await;
        Ok(())
    }

    /// Anything from nothing to the pause that has doubled with each failure ("full jitter"), so
    /// that clients that failed together don't come back together.
    fn jittered(&self) -> Duration {
        let doublings = (self.failed - 1).min(31);
        let longest = self
            .policy
            .first_pause
            .saturating_mul(1 << doublings)
            .min(self.policy.longest_pause);
        let nanos = (longest.as_nanos() * u128::from(self.runtime.random())) >> 64;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// Runs `attempt`, given its number from 0 on, until it succeeds, fails for good, or the policy
/// ends it; then the last error is the result.
pub async fn with_retries<T, Fut>(
    runtime: &dyn Runtime,
    policy: RetryPolicy,
    mut attempt: impl FnMut(u32) -> Fut,
) -> Result<T, OriginError>
where
    Fut: Future<Output = Result<T, OriginError>>,
{
    let mut retries = Retries::new(runtime, policy);
    loop {
        match attempt(retries.failed).await {
            Ok(value) => return Ok(value),
            Err(error) => retries.pause_after(error).await?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{origin::testing::FakeRuntime, seams::http::HttpError};

    fn broken() -> OriginError {
        let (host, reason) = ("x".to_owned(), "y".to_owned());
        OriginError::Http(HttpError::Broken { host, reason })
    }

    fn limited(seconds: Option<u64>) -> OriginError {
        OriginError::RateLimited {
            url: "x".to_owned(),
            retry_after: seconds.map(Duration::from_secs),
        }
    }

    /// Fails with `error` each time; how many attempts were made and the pauses between them.
    async fn attempts(
        runtime: &FakeRuntime,
        error: impl Fn() -> OriginError,
    ) -> (u32, Vec<Duration>) {
        let mut made = 0;
        let result: Result<(), _> = with_retries(runtime, RetryPolicy::default(), |number| {
            assert_eq!(number, made);
            made += 1;
            let error = error();
            async { Err(error) }
        })
        .await;
        assert!(result.is_err());
        (made, runtime.slept())
    }

    #[tokio::test]
    async fn a_success_is_the_end() {
        let runtime = FakeRuntime::default();
        let result = with_retries(&runtime, RetryPolicy::default(), |number| async move {
            if number < 2 {
                Err(broken())
            } else {
                Ok(number)
            }
        });
        assert_eq!(result.await.expect("the third attempt works"), 2);
    }

    #[tokio::test]
    async fn what_passes_is_tried_five_times_with_growing_pauses() {
        let runtime = FakeRuntime::default();
        runtime.set_random(u64::MAX);
        let (made, slept) = attempts(&runtime, broken).await;
        assert_eq!(made, 5);
        let millis: Vec<u128> = slept.iter().map(|pause| pause.as_millis()).collect();
        // A hair under 200, 400, 800 and 1600.
        assert_eq!(millis, [199, 399, 799, 1599]);
    }

    #[tokio::test]
    async fn the_jitter_is_full() {
        let runtime = FakeRuntime::default();
        runtime.set_random(0);
        let (_, slept) = attempts(&runtime, broken).await;
        assert_eq!(slept, [Duration::ZERO; 4]);
    }

    #[tokio::test]
    async fn what_does_not_pass_is_tried_once() {
        let runtime = FakeRuntime::default();
        let (made, slept) = attempts(&runtime, || OriginError::NotFound {
            url: "x".to_owned(),
        })
        .await;
        assert_eq!((made, slept), (1, vec![]));
    }

    #[tokio::test]
    async fn retry_after_is_obeyed_as_long_as_it_fits() {
        let runtime = FakeRuntime::default();
        let (made, slept) = attempts(&runtime, || limited(Some(25))).await;
        assert_eq!((made, slept), (3, vec![Duration::from_secs(25); 2]));

        let runtime = FakeRuntime::default();
        let (made, slept) = attempts(&runtime, || limited(Some(61))).await;
        assert_eq!((made, slept), (1, vec![]));

        let runtime = FakeRuntime::default();
        let (made, slept) = attempts(&runtime, || limited(None)).await;
        assert_eq!((made, slept.len()), (5, 4));
    }

    #[tokio::test]
    async fn time_that_the_attempts_take_counts() {
        let runtime = FakeRuntime::default();
        let mut made = 0;
        let result: Result<(), _> = with_retries(&runtime, RetryPolicy::default(), |_| {
            made += 1;
            runtime.advance(Duration::from_secs(31));
            async { Err(broken()) }
        })
        .await;
        assert!(result.is_err());
        assert_eq!(made, 2);
    }
}

//! The production runtime: tokio's tasks, timers and clock. May import: bonsaifs-core, tokio.
//!
//! Always holds: [`TokioRuntime`] may be used from any thread, also one that tokio does not know
//! (a FUSE thread); its tasks run on the runtime that it was made in.

use std::{
    hash::{BuildHasher, RandomState},
    io,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bonsaifs_core::rt::{BoxFuture, Runtime};
use tokio::{runtime::Handle, time::Instant};
use tracing::Instrument;

/// [`Runtime`] over the tokio runtime that it was made in.
pub struct TokioRuntime {
    handle: Handle,
    start: Instant,
    /// Keyed by the system's randomness once a process.
    seed: RandomState,
    drawn: AtomicU64,
}

impl TokioRuntime {
    /// Takes hold of the tokio runtime that the caller runs in.
    ///
    /// # Errors
    /// If the caller runs in none.
    pub fn current() -> io::Result<Self> {
        let handle = Handle::try_current().map_err(io::Error::other)?;
        Ok(Self {
            handle,
            start: Instant::now(),
            seed: RandomState::new(),
            drawn: AtomicU64::new(0),
        })
    }
}

impl Runtime for TokioRuntime {
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) {
        let span = tracing::debug_span!("task", name);
        self.handle.spawn(task.instrument(span));
    }

    fn spawn_blocking(&self, name: &'static str, job: Box<dyn FnOnce() + Send + 'static>) {
        let span = tracing::debug_span!("job", name);
        self.handle.spawn_blocking(move || span.in_scope(job));
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        // A timer belongs to the runtime that is entered when it is made.
        let _entered = self.handle.enter();
        Box::pin(tokio::time::sleep(duration))
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn unix_time(&self) -> Duration {
        // Before 1970 there is no Git, and a clock set there is as good as one at zero.
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
    }

    fn random(&self) -> u64 {
        // SipHash under a random key over a counter: unguessable enough for jitter and names,
        // and no number comes twice from one process but by chance.
        self.seed
            .hash_one(self.drawn.fetch_add(1, Ordering::Relaxed))
    }
}

/// Runs `job` where blocking is fine and gives its result. For the production halves of the
/// seams only, which are inside tokio anyway.
///
/// # Errors
/// If `job` panicked, or the runtime is shutting down.
pub(super) async fn blocking<T: Send + 'static>(
    job: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(job)
        .await
        .map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, sync::Arc};

    use super::*;

    #[test]
    fn outside_of_tokio_there_is_no_runtime_to_take() {
        assert!(TokioRuntime::current().is_err());
    }

    #[tokio::test]
    async fn tasks_and_jobs_run() {
        let runtime = TokioRuntime::current().expect("inside tokio");
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        let from_job = sender.clone();
        runtime.spawn(
            "task",
            Box::pin(async move {
                sender.send("task").expect("the receiver lives");
            }),
        );
        runtime.spawn_blocking(
            "job",
            Box::new(move || from_job.send("job").expect("the receiver lives")),
        );
        let mut ran = BTreeSet::new();
        while let Some(name) = receiver.recv().await {
            ran.insert(name);
        }
        assert_eq!(ran, BTreeSet::from(["job", "task"]));
    }

    #[tokio::test]
    async fn sleep_ends_not_before_its_time_and_may_be_made_on_a_foreign_thread() {
        let runtime = Arc::new(TokioRuntime::current().expect("inside tokio"));
        let elsewhere = runtime.clone();
        let before = runtime.now();
        let sleep = std::thread::spawn(move || elsewhere.sleep(Duration::from_millis(2)))
            .join()
            .expect("making a timer off the runtime does not panic");
        sleep.await;
        assert!(runtime.now() - before >= Duration::from_millis(2));
    }

    #[tokio::test]
    async fn random_numbers_differ() {
        let runtime = TokioRuntime::current().expect("inside tokio");
        let drawn: BTreeSet<u64> = (0..1000).map(|_| runtime.random()).collect();
        assert_eq!(drawn.len(), 1000);
        let other = TokioRuntime::current().expect("inside tokio");
        assert!(!drawn.contains(&other.random()));
    }

    #[tokio::test]
    async fn the_wall_clock_is_past_the_day_this_was_written() {
        let runtime = TokioRuntime::current().expect("inside tokio");
        assert!(runtime.unix_time() > Duration::from_secs(1_750_000_000));
    }
}

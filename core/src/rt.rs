//! The runtime seam: tasks, timers, the clock and randomness come in through [`Runtime`].
//!
//! May import: std, [`crate::sync`], [`crate::cache::oneshot`]. Production implements it over tokio, the simulation over
//! turmoil's clock, the fuzzer over an executor whose every choice comes from its input.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use crate::cache::oneshot::oneshot;

/// A boxed future that may move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where tasks, time and chance come from. Object-safe, so that one `Arc<dyn Runtime>` is
/// handed down through all rooms.
pub trait Runtime: Send + Sync + 'static {
    /// Starts `task`; nobody waits for it. `name` is for traces. Dropping the runtime drops it.
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>);

    /// Runs `job`, which may block on a disk or burn CPU, where it does not hold up tasks.
    /// A simulation may run it in place.
    fn spawn_blocking(&self, name: &'static str, job: Box<dyn FnOnce() + Send + 'static>);

    /// Ends after `duration` of this runtime's time.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;

    /// Monotonic time since some fixed point of this runtime.
    fn now(&self) -> Duration;

    /// Wall-clock time since the Unix epoch.
    fn unix_time(&self) -> Duration;

    /// 64 random bits: for jitter and names of temporary files, not for keys.
    fn random(&self) -> u64;
}

/// A shared runtime handle, as every room takes it.
pub type SharedRuntime = Arc<dyn Runtime>;

/// Runs `job` where it may block, and gives its result: `None` if it panicked, or if the runtime
/// dropped it (it is shutting down). The job starts now, not at the first poll, and runs to its
/// end even if the future is dropped.
pub fn run_blocking<T: Send + 'static>(
    runtime: &dyn Runtime,
    name: &'static str,
    job: impl FnOnce() -> T + Send + 'static,
) -> impl Future<Output = Option<T>> + Send + 'static {
    let (sender, receiver) = oneshot();
    runtime.spawn_blocking(
        name,
        Box::new(move || {
            // Nobody may wait for it any more; the job was to be done all the same.
            let _ = sender.send(job());
        }),
    );
    receiver
}

/// A [`timeout`] ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no answer in time")
    }
}

impl std::error::Error for Elapsed {}

/// `work`'s result, or [`Elapsed`] if it takes longer than `duration` of the runtime's time;
/// then it is dropped. Work that is ready at the very end of the time still counts.
pub async fn timeout<F: Future>(
    runtime: &dyn Runtime,
    duration: Duration,
    work: F,
) -> Result<F::Output, Elapsed> {
    let mut work = pin!(work);
    let mut sleep = runtime.sleep(duration);
    poll_fn(|cx| {
        if let Poll::Ready(output) = work.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        sleep.as_mut().poll(cx).map(|()| Err(Elapsed))
    })
    .await
}

#[cfg(all(test, not(any(feature = "loom", feature = "shuttle"))))]
mod tests {
    use std::{cell::Cell, panic::AssertUnwindSafe};

    use super::*;
    use crate::{
        cache::oneshot::Sender,
        sync::{Mutex, lock},
        testing::{Tasks, poll_once},
    };

    /// Does nothing by itself: holds jobs and sleepers until the test says.
    #[derive(Default)]
    struct Held {
        jobs: Mutex<Vec<Box<dyn FnOnce() + Send>>>,
        sleepers: Mutex<Vec<Sender<()>>>,
    }

    impl Runtime for Held {
        fn spawn(&self, _: &'static str, _: BoxFuture<'static, ()>) {}
        fn spawn_blocking(&self, _: &'static str, job: Box<dyn FnOnce() + Send>) {
            lock(&self.jobs).push(job);
        }
        fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
            let (sender, receiver) = oneshot();
            lock(&self.sleepers).push(sender);
            Box::pin(async move {
                receiver.await;
            })
        }
        fn now(&self) -> Duration {
            Duration::ZERO
        }
        fn unix_time(&self) -> Duration {
            Duration::ZERO
        }
        fn random(&self) -> u64 {
            0
        }
    }

    fn run_job(runtime: &Held) {
        let job = lock(&runtime.jobs).pop().expect("a job was started");
        let _ = std::panic::catch_unwind(AssertUnwindSafe(job));
    }

    #[test]
    fn a_blocking_job_gives_its_result() {
        let runtime = Held::default();
        let mut result = Box::pin(run_blocking(&runtime, "job", || 7));
        assert_eq!(poll_once(&mut result), (Poll::Pending, 0));
        run_job(&runtime);
        assert_eq!(poll_once(&mut result), (Poll::Ready(Some(7)), 0));
    }

    #[test]
    fn a_job_that_panics_or_is_dropped_gives_none() {
        let runtime = Held::default();
        let mut result = Box::pin(run_blocking(&runtime, "job", || panic!("planned")));
        run_job(&runtime);
        assert_eq!(poll_once(&mut result), (Poll::Ready(None::<()>), 0));

        let mut result = Box::pin(run_blocking(&runtime, "job", || 1));
        lock(&runtime.jobs).clear();
        assert_eq!(poll_once(&mut result), (Poll::Ready(None), 0));
    }

    #[test]
    fn a_job_nobody_waits_for_still_runs() {
        let runtime = Held::default();
        let ran = Arc::new(Mutex::new(false));
        let in_job = Arc::clone(&ran);
        drop(run_blocking(&runtime, "job", move || *lock(&in_job) = true));
        run_job(&runtime);
        assert!(*lock(&ran));
    }

    #[test]
    fn a_timeout_ends_work_that_takes_too_long_and_no_other() {
        let runtime = Held::default();
        let ends = Cell::new(None);
        let quick = Cell::new(None);
        let mut tasks = Tasks::default();
        tasks.spawn(async {
            let never = std::future::pending::<()>();
            ends.set(Some(timeout(&runtime, Duration::from_secs(1), never).await));
        });
        tasks.spawn(async {
            quick.set(Some(
                timeout(&runtime, Duration::from_secs(1), async { 5 }).await,
            ));
        });
        tasks.run();
        assert_eq!((ends.get(), quick.get()), (None, Some(Ok(5))));
        lock(&runtime.sleepers).clear();
        tasks.run();
        assert_eq!(ends.get(), Some(Err(Elapsed)));
        assert_eq!(Elapsed.to_string(), "no answer in time");
        assert!(tasks.alive().is_empty());
    }
}

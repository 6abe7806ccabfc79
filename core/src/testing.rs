//! What tests of this crate share: wakers that count, an executor whose every choice is the
//! test's, how property tests run. Compiled for tests only.

use std::{
    future::Future,
    pin::Pin,
    sync::atomic::{AtomicUsize, Ordering},
    task::{Context, Poll, Wake, Waker},
};

use proptest::test_runner::{Config, RngSeed};

use crate::sync::Arc;

/// How property tests run: the same cases each time, so a test that passed passes again. To
/// search, set `PROPTEST_RNG_SEED` to anything, and `PROPTEST_CASES` to many. Miri, which takes a
/// thousand times longer for each, runs two.
pub(crate) fn cases(cases: u32) -> Config {
    let mut config = Config {
        failure_persistence: None,
        ..Config::default()
    };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = if cfg!(miri) { 2 } else { cases };
    }
    if let RngSeed::Random = config.rng_seed {
        config.rng_seed = RngSeed::Fixed(0);
    }
    config
}

/// Counts how often it was woken.
#[derive(Default)]
pub(crate) struct Wakes(AtomicUsize);

impl Wakes {
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    fn take(&self) -> usize {
        self.0.swap(0, Ordering::SeqCst)
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Polls once with a waker of its own; gives the counter behind that waker.
pub(crate) fn poll_counting<F: Future + Unpin>(future: &mut F) -> (Poll<F::Output>, Arc<Wakes>) {
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    let poll = Pin::new(future).poll(&mut Context::from_waker(&waker));
    (poll, wakes)
}

/// Polls once; gives how often that woke its own task.
pub(crate) fn poll_once<F: Future + Unpin>(future: &mut F) -> (Poll<F::Output>, usize) {
    let (poll, wakes) = poll_counting(future);
    (poll, wakes.count())
}

/// Tasks that run only when told to. A task is ready when it was not polled yet or was woken
/// since; what runs next is the caller's choice, so a test's input decides the schedule.
#[derive(Default)]
pub(crate) struct Tasks<'a> {
    tasks: Vec<Task<'a>>,
}

struct Task<'a> {
    future: Option<Pin<Box<dyn Future<Output = ()> + 'a>>>,
    wakes: Arc<Wakes>,
}

impl<'a> Tasks<'a> {
    pub(crate) fn spawn(&mut self, future: impl Future<Output = ()> + 'a) {
        let wakes = Arc::new(Wakes::default());
        Arc::clone(&wakes).wake();
        self.tasks.push(Task {
            future: Some(Box::pin(future)),
            wakes,
        });
    }

    /// The tasks that have not ended.
    pub(crate) fn alive(&self) -> Vec<usize> {
        let alive = |i: &usize| self.tasks[*i].future.is_some();
        (0..self.tasks.len()).filter(alive).collect()
    }

    /// The tasks that were woken.
    pub(crate) fn ready(&self) -> Vec<usize> {
        let mut ready = self.alive();
        ready.retain(|i| self.tasks[*i].wakes.count() > 0);
        ready
    }

    /// Polls task `i`; drops it if it panics.
    pub(crate) fn poll(&mut self, i: usize) -> std::thread::Result<()> {
        let task = &mut self.tasks[i];
        let Some(mut future) = task.future.take() else {
            return Ok(());
        };
        task.wakes.take();
        let waker = Waker::from(Arc::clone(&task.wakes));
        let polled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let poll = future.as_mut().poll(&mut Context::from_waker(&waker));
            (poll, future)
        }));
        let (poll, future) = polled?;
        if poll.is_pending() {
            self.tasks[i].future = Some(future);
        }
        Ok(())
    }

    /// Cancels task `i`.
    pub(crate) fn cancel(&mut self, i: usize) {
        self.tasks[i].future = None;
    }

    /// Polls whatever is ready until nothing is.
    pub(crate) fn run(&mut self) {
        while let Some(i) = self.ready().first() {
            self.poll(*i).expect("no task panics here");
        }
    }
}

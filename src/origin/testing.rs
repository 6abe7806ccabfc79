//! What this room's tests share.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bonsaifs_core::{
    rt::{BoxFuture, Runtime},
    sync::{Mutex, lock},
};

use crate::seams::{
    Seams, config::GitSettings, credentials::Anonymous, disk::StdDisk, http::ReqwestHttp,
};

/// The real disk and real sockets, a fake runtime, nobody's configuration, no proxy and no login.
pub(crate) fn seams() -> Seams {
    let config = Arc::new(GitSettings::parse(b"http.proxy\n\0"));
    Seams {
        runtime: Arc::new(FakeRuntime::default()),
        http: Arc::new(ReqwestHttp::new(config.clone())),
        disk: Arc::new(StdDisk),
        credentials: Arc::new(Anonymous),
        config,
    }
}

/// Time passes only by sleeping, which takes none of the test's; tasks run when the test says.
#[derive(Default)]
pub(crate) struct FakeRuntime {
    now: Mutex<Duration>,
    slept: Mutex<Vec<Duration>>,
    random: AtomicU64,
    tasks: Mutex<Vec<BoxFuture<'static, ()>>>,
}

impl FakeRuntime {
    /// What all draws give from now on.
    pub fn set_random(&self, value: u64) {
        self.random.store(value, Ordering::Relaxed);
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        *lock(&self.now) += by;
    }

    /// All sleeps so far.
    pub fn slept(&self) -> Vec<Duration> {
        lock(&self.slept).clone()
    }

    /// Runs the tasks that were spawned, and those that they spawn, to their end.
    pub async fn run_tasks(&self) {
        loop {
            let tasks = std::mem::take(&mut *lock(&self.tasks));
            if tasks.is_empty() {
                return;
            }
            for task in tasks {
                task.await;
            }
        }
    }
}

impl Runtime for FakeRuntime {
    fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) {
        lock(&self.tasks).push(task);
    }

    fn spawn_blocking(&self, _name: &'static str, job: Box<dyn FnOnce() + Send + 'static>) {
        job();
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        lock(&self.slept).push(duration);
        self.advance(duration);
        Box::pin(async {})
    }

    fn now(&self) -> Duration {
        *lock(&self.now)
    }

    fn unix_time(&self) -> Duration {
        // 2023-11-14 22:13:20.
        Duration::from_secs(1_700_000_000) + self.now()
    }

    fn random(&self) -> u64 {
        self.random.load(Ordering::Relaxed)
    }
}

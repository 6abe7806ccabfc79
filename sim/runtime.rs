//! The runtime seam over turmoil: one for each mount's process, so that a process can be killed.
//!
//! Always holds: a dead process runs nothing more, whatever its tasks' destructors try to start;
//! a blocking job runs as a task of its own after a small drawn delay, never inside its caller.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bonsaifs_core::rt::{BoxFuture, Runtime};
use tokio::{runtime::Handle, task::AbortHandle};

use super::{rng::Rng, trace::now};

/// The Unix time at which every world begins: 2026-01-01T00:00:00Z.
pub const EPOCH: Duration = Duration::from_secs(1_767_225_600);

/// How often the list of tasks is cleared of those that ended.
const SWEEP: usize = 64;

/// A process: its tasks live and die together.
pub struct SimRuntime {
    rng: Mutex<Rng>,
    /// Blocking jobs wait up to so many milliseconds before they run.
    job_delay_ms: u64,
    dead: Arc<AtomicBool>,
    tasks: Mutex<Vec<AbortHandle>>,
    /// What a process that died in the middle of something still wanted to start: until it is
    /// buried nothing of it ends, as nothing would in a process that is gone.
    never: Mutex<Vec<BoxFuture<'static, ()>>>,
    buried: AtomicBool,
}

impl SimRuntime {
    /// A process with chance of its own.
    pub fn new(rng: Rng, job_delay_ms: u64, dead: Arc<AtomicBool>) -> Arc<Self> {
        Arc::new(Self {
            rng: Mutex::new(rng),
            job_delay_ms,
            dead,
            tasks: Mutex::default(),
            never: Mutex::default(),
            buried: AtomicBool::new(false),
        })
    }

    /// Ends the process at once, as SIGKILL does.
    pub fn kill(&self) {
        self.dead.store(true, Ordering::Relaxed);
        self.buried.store(true, Ordering::Relaxed);
        let never = std::mem::take(&mut *self.never.lock().expect("a list that is only pushed to"));
        drop(never);
        let tasks = std::mem::take(&mut *self.tasks());
        tasks.iter().for_each(AbortHandle::abort);
    }

    /// True if it was killed, by [`SimRuntime::kill`] or by one of its own disk operations.
    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    fn draw(&self, n: u64) -> u64 {
        self.rng.lock().expect("drawing does not panic").below(n)
    }

    fn start(&self, task: BoxFuture<'static, ()>) {
        // Outside of any host there is nobody to run it: the world is being torn down.
        let Ok(handle) = Handle::try_current() else {
            return;
        };
        if self.buried.load(Ordering::Relaxed) {
            return;
        }
        if self.dead.load(Ordering::Relaxed) {
            self.never
                .lock()
                .expect("a list that is only pushed to")
                .push(task);
            return;
        }
        let handle = handle.spawn(task).abort_handle();
        let full = {
            let mut tasks = self.tasks();
            tasks.push(handle);
            tasks
                .len()
                .is_multiple_of(SWEEP)
                .then(|| std::mem::take(&mut *tasks))
        };
        // What goes with a task may start another one: never under the lock.
        if let Some(mut tasks) = full {
            tasks.retain(|task| !task.is_finished());
            self.tasks().extend(tasks);
        }
    }

    fn tasks(&self) -> std::sync::MutexGuard<'_, Vec<AbortHandle>> {
        self.tasks.lock().expect("a list that is only pushed to")
    }
}

impl Runtime for SimRuntime {
    fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) {
        self.start(task);
    }

    fn spawn_blocking(&self, _name: &'static str, job: Box<dyn FnOnce() + Send + 'static>) {
        let delay = Duration::from_millis(self.draw(self.job_delay_ms + 1));
        let dead = self.dead.clone();
        self.start(Box::pin(async move {
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            if !dead.load(Ordering::Relaxed) {
                job();
            }
        }));
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        match Handle::try_current() {
            Ok(_) => Box::pin(tokio::time::sleep(duration)),
            Err(_) => Box::pin(std::future::pending()),
        }
    }

    fn now(&self) -> Duration {
        now()
    }

    fn unix_time(&self) -> Duration {
        EPOCH + now()
    }

    fn random(&self) -> u64 {
        self.draw(u64::MAX)
    }
}

/// What the machines' clocks say at a simulated time, in seconds since the Unix epoch.
pub fn unix_seconds(at: Duration) -> i64 {
    (EPOCH + at).as_secs() as i64
}

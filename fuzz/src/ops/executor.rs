//! Tasks that run only when told to.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

/// Remembers that a task was woken.
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Tasks of one output type, each with a note of what it is about.
pub struct Executor<N, T> {
    tasks: Vec<Task<N, T>>,
}

struct Task<N, T> {
    note: N,
    future: Pin<Box<dyn Future<Output = T>>>,
    woken: Arc<Woken>,
}

impl<N, T> Default for Executor<N, T> {
    fn default() -> Self {
        Self { tasks: Vec::new() }
    }
}

impl<N, T> Executor<N, T> {
    /// Takes a task; it is ready at once.
    pub fn spawn(&mut self, note: N, future: impl Future<Output = T> + 'static) {
        self.tasks.push(Task {
            note,
            future: Box::pin(future),
            woken: Arc::new(Woken(AtomicBool::new(true))),
        });
    }

    /// How many have not ended.
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// True if all have ended.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// What those are about that have not ended.
    pub fn notes(&self) -> impl Iterator<Item = &N> {
        self.tasks.iter().map(|task| &task.note)
    }

    /// Polls one of the tasks that were woken, the `choice`-th of them, over and over. `None` if
    /// there is none, or if it goes on waiting.
    pub fn poll_ready(&mut self, choice: usize) -> Option<(N, T)> {
        let ready: Vec<usize> = (0..self.tasks.len())
            .filter(|at| self.tasks[*at].woken.0.load(Ordering::SeqCst))
            .collect();
        let at = *ready.get(choice % ready.len().max(1))?;
        let task = &mut self.tasks[at];
        task.woken.0.store(false, Ordering::SeqCst);
        let waker = Waker::from(Arc::clone(&task.woken));
        match task.future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Pending => None,
            Poll::Ready(output) => Some((self.tasks.remove(at).note, output)),
        }
    }

    /// True if a task was woken.
    pub fn any_ready(&self) -> bool {
        self.tasks
            .iter()
            .any(|task| task.woken.0.load(Ordering::SeqCst))
    }

    /// Drops a task where it stands: what it was about.
    pub fn cancel(&mut self, choice: usize) -> Option<N> {
        if self.tasks.is_empty() {
            return None;
        }
        let at = choice % self.tasks.len();
        Some(self.tasks.remove(at).note)
    }
}

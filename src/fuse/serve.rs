//! One request's way: from memory on its FUSE thread, or by a task that owns the reply.
//! May import: this room, bonsaifs-core, tracing.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, OnceLock},
};

use bonsaifs_core::{
    fs::{AsyncFs, Dropped, FsError, FsResult, Ino, Provider},
    rt::SharedRuntime,
};
use fuser::Errno;
use tracing::{Instrument, Span};

use super::{
    attr::Owner,
    counters::{Counters, Op},
    errno::{errno, is_failure},
    failures::Failures,
    interrupt::{Killed, unless_killed},
    reply::{Answer, Sink},
    session::KernelCaches,
    walkers::Walkers,
};

/// What FUSE threads and tasks share.
pub(super) struct Shared<P: Provider> {
    pub fs: Arc<AsyncFs<P>>,
    pub runtime: SharedRuntime,
    pub owner: Owner,
    pub counters: Arc<Counters>,
    pub failures: Arc<Failures>,
    pub killed: Arc<Killed>,
    pub walkers: Walkers,
    /// Who can be told to drop what it keeps, once there is somebody.
    pub kernel: OnceLock<KernelCaches>,
}

/// A request, as far as the log and its errors are concerned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub op: Op,
    pub ino: Ino,
    /// The thread that waits for it; 0 if it can't be seen from here.
    pub tid: u32,
}

impl Call {
    /// Of a request for inode `ino`, by the thread `tid`.
    pub fn new(op: Op, ino: u64, tid: u32) -> Self {
        Self {
            op,
            ino: Ino(ino),
            tid,
        }
    }
}

impl<P: Provider> Shared<P> {
    /// Answers `call`: by `now` if that knows, else by `later` in a task. `send` answers with what
    /// came of it; an error is answered here.
    pub fn serve<T, S: Sink, F>(
        self: &Arc<Self>,
        call: Call,
        reply: Answer<S>,
        now: impl FnOnce(&AsyncFs<P>) -> Option<FsResult<T>>,
        later: impl FnOnce(Arc<AsyncFs<P>>) -> F,
        send: impl FnOnce(&Self, Answer<S>, T) + Send + 'static,
    ) where
        T: 'static,
        F: Future<Output = FsResult<T>> + Send + 'static,
    {
        let span = self.span(call);
        let _entered = span.enter();
        self.guarded(call, move || {
            if let Some(result) = now(&self.fs) {
                return self.answer(call, reply, result, send);
            }
            let work = later(Arc::clone(&self.fs));
            let shared = Arc::clone(self);
            let task = async move {
                match unless_killed(&*shared.runtime, &*shared.killed, call.tid, work).await {
                    Some(result) => shared.answer(call, reply, result, send),
                    None => {
                        tracing::debug!("its process was killed while it waited");
                        reply.refuse(Errno::EINTR);
                    }
                }
            };
            // The name is for traces of tasks; the request's own span says more.
            let task = task.instrument(Span::current());
            self.runtime.spawn("fuse request", Box::pin(task));
        });
    }

    /// Answers `call` by `now`, for what is always in memory.
    pub fn serve_now<T, S: Sink>(
        &self,
        call: Call,
        reply: Answer<S>,
        now: impl FnOnce(&AsyncFs<P>) -> FsResult<T>,
        send: impl FnOnce(Answer<S>, T),
    ) {
        let span = self.span(call);
        let _entered = span.enter();
        self.guarded(call, || {
            let send = |_: &Self, reply, value| send(reply, value);
            self.answer(call, reply, now(&self.fs), send);
        });
    }

    fn answer<T, S: Sink>(
        &self,
        call: Call,
        reply: Answer<S>,
        result: FsResult<T>,
        send: impl FnOnce(&Self, Answer<S>, T),
    ) {
        match result {
            Ok(value) => {
                tracing::debug!("answered");
                send(self, reply, value);
            }
            Err(error) => reply.refuse(self.fail(call, &error)),
        }
    }

    /// The errno for `error`, which is logged if it is news.
    pub fn fail(&self, call: Call, error: &FsError) -> Errno {
        let errno = errno(error.kind());
        if is_failure(error.kind()) {
            let message = format!("{} {}: {error}", call.op.name(), self.path(call.ino));
            self.failures.note(self.runtime.now(), message);
        } else {
            tracing::debug!(%error, "refused");
        }
        errno
    }

    /// Thread `tid` looked up a file in directory `dir`: see [`Walkers`].
    pub fn looked_up(&self, tid: u32, dir: Ino) {
        let dirs = self.walkers.looked_up(tid, dir);
        let (false, Some(kernel)) = (dirs.is_empty(), self.kernel.get()) else {
            return;
        };
        let kernel = kernel.clone();
        let job = move || {
            let dropped: Vec<Dropped> = dirs.into_iter().map(Dropped::Dir).collect();
            if let Err(error) = kernel.forget(&dropped) {
                tracing::debug!(%error, "the kernel could not be told to drop listings");
            }
        };
        self.runtime.spawn_blocking("drop listings", Box::new(job));
    }

    /// Runs `work` on the FUSE thread. A panic in it must not end the thread, which other requests
    /// need: the reply, dropped on the way out, answers EIO.
    pub fn guarded(&self, call: Call, work: impl FnOnce()) {
        if catch_unwind(AssertUnwindSafe(work)).is_err() {
            let message = format!("{} {}: panicked", call.op.name(), self.path(call.ino));
            self.failures.note(self.runtime.now(), message);
        }
    }

    /// A span for the request. Path and object are looked for only if someone reads them.
    pub fn span(&self, call: Call) -> Span {
        if !tracing::enabled!(tracing::Level::DEBUG) {
            return Span::none();
        }
        let (path, object) = (self.path(call.ino), self.fs.label_of(call.ino));
        tracing::debug_span!("fuse", op = call.op.name(), ino = call.ino.0, path, object)
    }

    fn path(&self, ino: Ino) -> String {
        match self.fs.path_of(ino) {
            None => format!("inode {}", ino.0),
            Some(names) if names.is_empty() => "/".to_owned(),
            Some(names) => names
                .iter()
                .flat_map(|name| ["/".into(), String::from_utf8_lossy(name)])
                .collect(),
        }
    }
}

//! From a plan to a mount that serves, and to its end. May import: this room, fuse, repo, seams.
//!
//! Always holds: what was made is undone in the opposite order, whichever way this ends; each part
//! has a guard that undoes it. Unmounting comes before the directory is removed, that before the
//! state, and the state's lock is the last thing to go.

use std::{
    fs, io,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, UNIX_EPOCH},
};

use bonsaifs_core::fs::{AsyncFs, Config};
use nix::unistd::{getegid, geteuid};
use tokio::sync::{mpsc, oneshot};

use super::{
    attached::Attached,
    control::Reply,
    device::{self, Detach, DetachError},
    error::MountError,
    events::Failure,
    follow::Follower,
    lean::{Lean, Shares},
    names::DirFields,
    orders::Orders,
    plan::{Plan, Ready, TransportWish},
    point::Claim,
    responder::{Responder, Unmount},
    server::Server,
    state::{OwnFolder, Record, StateRoot},
    status::Gauges,
};
use crate::{
    fuse::{Adapter, KernelCaches, Owner, Session, Threads, Transport, uring},
    git::url::Source,
    repo::{self, OpenOptions, Progress, RepoFs},
    seams::Seams,
};

/// How long a new mount may take to answer.
const ANSWER: Duration = Duration::from_secs(10);
/// How long the kernel may take to let go once the mount is gone.
const LETTING_GO: Duration = Duration::from_secs(2);
/// How long the cache may take to write what it has begun.
const FLUSH: Duration = Duration::from_secs(5);

/// Who watches a mount begin.
pub trait Watcher: Send + Sync + 'static {
    /// How far it is. May be called often.
    fn progress(&self, progress: Progress);
    /// It answers.
    fn ready(&self, ready: &Ready);
}

/// What a mount is started from.
pub struct Start {
    /// What it is to be.
    pub plan: Plan,
    /// The repository of the plan.
    pub source: Source,
    /// The folder of all mounts.
    pub state: StateRoot,
    /// Its own folder there.
    pub folder: OwnFolder,
    /// Where the log goes, if to a file.
    pub log: Option<String>,
    /// The exit code and the words for an error.
    pub explain: fn(&MountError) -> Failure,
}

/// Mounts, serves until told to end or unmounted, and cleans up.
///
/// # Errors
/// Why it could not start. Once it is ready there is only one, [`MountError::NoAnswer`]: the kernel's requests can't be taken any more.
pub async fn live(
    start: Start,
    seams: &Seams,
    mut orders: Orders,
    watcher: Arc<dyn Watcher>,
) -> Result<(), MountError> {
    device::preflight(start.plan.access())?;
    let claim = Claim::new(&start.plan.dir.0, &start.state)?;
    let mut mount = tokio::select! {
        mount = Mount::begin(&start, seams, &claim, Arc::clone(&watcher)) => mount?,
        () = orders.stop_start() => return Err(MountError::Interrupted),
    };
    let (asks, asked) = mpsc::channel(8);
    let (server, follower) = mount.publish(&start, &claim, asks)?;
    let following = tokio::spawn(async move { follower.run().await });
    let lean = tokio::spawn(mount.lean(&start.plan).run());
    watcher.ready(&mount.ready(&claim));
    drop(watcher);

    let (reply, result) = match mount.serve(&mut orders, asked).await {
        Ok(reply) => (reply, Ok(())),
        Err(error) => {
            let dir = claim.dir().to_owned();
            let reason = error.to_string();
            (None, Err(MountError::NoAnswer { dir, reason }))
        }
    };
    tracing::info!("the mount ends");
    following.abort();
    lean.abort();
    server.stop(reply).await;
    mount.end().await;
    drop(claim);
    drop(start.folder);
    result
}

/// A mount that answers.
struct Mount {
    attached: Attached,
    gauges: Gauges,
    kernel: KernelCaches,
    /// Ends when the kernel has let go of it.
    ended: oneshot::Receiver<io::Result<()>>,
}

impl Mount {
    async fn begin(
        start: &Start,
        seams: &Seams,
        claim: &Claim,
        watcher: Arc<dyn Watcher>,
    ) -> Result<Self, MountError> {
        let Start { plan, source, .. } = start;
        let options = OpenOptions {
            source: source.clone(),
            want: plan.want(),
            cache_dir: plan.cache_dir.0.clone(),
            cache_size: plan.cache_size,
            memory_budget: Shares(plan.memory).objects(0),
            prefetch: plan.prefetch,
            progress: Arc::new(move |progress| watcher.progress(progress)),
        };
        let repo = repo::open(seams, options).await?;
        if plan.follow.is_some() && !repo.can_move() {
            let name = plan.reference.clone().unwrap_or_default();
            return Err(MountError::CannotFollow { name });
        }
        let config = Config {
            listing_budget: Shares(plan.memory).listings(),
            ..Config::default()
        };
        let fs = Arc::new(AsyncFs::new(repo.clone(), config));
        let owner = Owner {
            uid: geteuid().as_raw(),
            gid: getegid().as_raw(),
        };
        let adapter = Adapter::new(
            Arc::clone(&fs),
            Arc::clone(&seams.runtime),
            owner,
            plan.content(),
            plan.xattr_policy(),
        );
        let start = seams.runtime.now();
        let running = attach(plan, &repo, claim.dir(), &adapter)?;
        let gauges = Gauges {
            repo,
            fs,
            counters: adapter.counters(),
            failures: adapter.failures(),
            runtime: Arc::clone(&seams.runtime),
            transport: running.transport,
            start,
        };
        check_answers(claim.dir()).await?;
        Ok(Self {
            attached: running.attached,
            gauges,
            kernel: running.kernel,
            ended: running.ended,
        })
    }

    /// Makes the mount known to other commands.
    fn publish(
        &self,
        start: &Start,
        claim: &Claim,
        asks: mpsc::Sender<Unmount>,
    ) -> Result<(ServerTask, Arc<Follower>), MountError> {
        let ready = self.ready(claim);
        let started = UNIX_EPOCH.elapsed().unwrap_or_default();
        let record = Record {
            source: ready.source,
            ref_name: ready.ref_name,
            commit: ready.commit,
            dir: ready.dir,
            created_dir: claim.created(),
            pid: std::process::id(),
            started: started.as_secs(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            log: start.log.clone(),
        };
        let follower = Arc::new(Follower {
            repo: self.gauges.repo.clone(),
            fs: Arc::clone(&self.gauges.fs),
            kernel: self.kernel.clone(),
            runtime: Arc::clone(&self.gauges.runtime),
            follow: start.plan.follow,
            folder: start.folder.path().to_owned(),
            record: Mutex::new(record.clone()),
            busy: tokio::sync::Mutex::default(),
            last: Mutex::default(),
        });
        let gauges = self.gauges.clone();
        let responder = Responder::new(gauges, Arc::clone(&follower), start.explain, asks);
        let server = Server::bind(start.folder.path()).map_err(|error| MountError::State {
            path: start.folder.path().to_owned(),
            reason: error.to_string(),
        })?;
        let server = ServerTask::start(server, responder);
        start.folder.publish(&record)?;
        Ok((server, follower))
    }

    fn lean(&self, plan: &Plan) -> Lean {
        Lean {
            repo: self.gauges.repo.clone(),
            fs: Arc::clone(&self.gauges.fs),
            kernel: self.kernel.clone(),
            runtime: Arc::clone(&self.gauges.runtime),
            shares: Shares(plan.memory),
        }
    }

    fn ready(&self, claim: &Claim) -> Ready {
        let repo = &self.gauges.repo;
        Ready {
            source: repo.source(),
            dir: DirFields::from(claim.dir()),
            ref_name: repo.ref_name(),
            commit: repo.commit().to_string(),
            offline: repo.offline(),
        }
    }

    /// Serves until the mount is gone. Gives whom to tell, if someone asked for it.
    ///
    /// # Errors
    /// If the FUSE threads failed.
    async fn serve(
        &mut self,
        orders: &mut Orders,
        mut asked: mpsc::Receiver<Unmount>,
    ) -> io::Result<Option<oneshot::Sender<Reply>>> {
        loop {
            tokio::select! {
                ended = &mut self.ended => {
                    let failed = || io::Error::other("the FUSE threads are gone");
                    ended.unwrap_or_else(|_| Err(failed()))?;
                    tracing::info!("unmounted from outside");
                    return Ok(None);
                }
                () = orders.stop() => {
                    if self.detach(Detach::Idle).is_ok() || self.detach(Detach::Lazy).is_ok() {
                        return Ok(None);
                    }
                    tracing::error!("told to end, but the mount can't be removed");
                    return Ok(None);
                }
                Some(ask) = asked.recv() => {
                    let how = if ask.force { Detach::Lazy } else { Detach::Idle };
                    let reply = match self.detach(how) {
                        Ok(()) => return Ok(Some(ask.reply)),
                        Err(DetachError::Busy) => Reply::Busy,
                        Err(error) => Reply::Failed { reason: error.to_string() },
                    };
                    // Whoever asked may have gone.
                    let _ = ask.reply.send(reply);
                }
            }
        }
    }

    fn detach(&mut self, how: Detach) -> Result<(), DetachError> {
        // Waits for the FUSE threads at most, which wait for nothing.
        tokio::task::block_in_place(|| self.attached.detach(how))
    }

    async fn end(mut self) {
        // Whoever still uses a lazily detached mount keeps it; the end of this process ends that.
        if !self.ended.is_terminated() {
            let _ = tokio::time::timeout(LETTING_GO, &mut self.ended).await;
        }
        self.gauges.repo.shutdown(FLUSH).await;
        drop(self.attached);
    }
}

/// A mount whose FUSE threads run.
struct Running {
    attached: Attached,
    kernel: KernelCaches,
    transport: Transport,
    ended: oneshot::Receiver<io::Result<()>>,
}

/// Mounts, over io_uring if that is wanted and there is such a thing.
fn attach(
    plan: &Plan,
    repo: &RepoFs,
    dir: &Path,
    adapter: &Adapter<RepoFs>,
) -> Result<Running, MountError> {
    let over = |transport| attach_over(transport, plan, repo, dir, adapter.clone());
    match (plan.transport, uring::availability()) {
        (TransportWish::Uring, Err(reason)) => Err(MountError::NoUring { reason }),
        (TransportWish::Uring, Ok(())) => over(Transport::Uring),
        (TransportWish::Auto, Ok(())) => over(Transport::Uring).or_else(|error| {
            tracing::warn!(%error, "not over io_uring");
            over(Transport::Dev)
        }),
        (TransportWish::Auto | TransportWish::Dev, _) => over(Transport::Dev),
    }
}

/// Mounts, and starts the FUSE threads. There is no await in here: either both happen, or neither
/// stays.
fn attach_over(
    transport: Transport,
    plan: &Plan,
    repo: &RepoFs,
    dir: &Path,
    adapter: Adapter<RepoFs>,
) -> Result<Running, MountError> {
    let fd = device::attach(dir, &repo.source(), plan.access())?;
    let attached = Attached::new(dir)?;
    let threads = Threads::for_this_machine(device::device_opens());
    let (end, ended) = oneshot::channel();
    let session = Session::start(adapter, fd, transport, threads, move |result| {
        // Nobody may wait for it any more.
        let _ = end.send(result);
    })
    .map_err(|error| MountError::NoAnswer {
        dir: dir.to_owned(),
        reason: error.to_string(),
    })?;
    Ok(Running {
        attached,
        kernel: session.kernel_caches(),
        transport,
        ended,
    })
}

/// Asks the mount for its root as any process would.
async fn check_answers(dir: &Path) -> Result<(), MountError> {
    let no_answer = |reason: String| MountError::NoAnswer {
        dir: dir.to_owned(),
        reason,
    };
    let path = dir.to_owned();
    let asked = tokio::task::spawn_blocking(move || fs::symlink_metadata(path));
    match tokio::time::timeout(ANSWER, asked).await {
        Ok(Ok(Ok(meta))) if meta.is_dir() => Ok(()),
        Ok(Ok(Ok(_))) => Err(no_answer("its root is not a directory".to_owned())),
        Ok(Ok(Err(error))) => Err(no_answer(error.to_string())),
        Ok(Err(error)) => Err(no_answer(error.to_string())),
        Err(_) => Err(no_answer(format!("not within {} s", ANSWER.as_secs()))),
    }
}

/// The control socket's task.
struct ServerTask {
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

impl ServerTask {
    fn start(server: Server, responder: Responder) -> Self {
        let (stop, stopped) = oneshot::channel();
        let stopped = async {
            let _ = stopped.await;
        };
        let task = tokio::spawn(server.run(Arc::new(responder), stopped));
        Self { stop, task }
    }

    /// Tells whoever asked that the mount is gone, and waits until that is out.
    async fn stop(self, reply: Option<oneshot::Sender<Reply>>) {
        if let Some(reply) = reply {
            let _ = reply.send(Reply::Unmounted);
        }
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}

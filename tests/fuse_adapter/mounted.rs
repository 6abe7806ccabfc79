//! A mounted tree that is gone, whatever happens, when its guard is.

use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    thread,
    time::{Duration, Instant},
};

use bonsaifs::{
    fuse::{
        Adapter, Content, Counters, Failures, KernelCaches, Op, Owner, Session, Threads, Transport,
        Xattrs, uring,
    },
    mount::{
        device::{self, Access, Detach},
        point,
    },
    seams::rt::TokioRuntime,
};
use bonsaifs_core::fs::{AsyncFs, Config};
use fuser::InitFlags;
use nix::mount::{MsFlags, mount};

use crate::tree::Tree;

/// How long anything may take that should take no time at all.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How to mount.
#[derive(Clone, Copy)]
pub struct Options {
    pub xattrs: Xattrs,
    /// Kernel capabilities to do without.
    pub without: InitFlags,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            xattrs: Xattrs::Off,
            without: InitFlags::empty(),
        }
    }
}

/// Over which transport these tests run: io_uring where the kernel offers it, as `bonsai mount` has it.
pub fn transport() -> Transport {
    match uring::availability() {
        Ok(()) => Transport::Uring,
        Err(_) => Transport::Dev,
    }
}

/// A mount of a [`Tree`] in this process.
pub struct Mounted {
    dir: PathBuf,
    pub fs: Arc<AsyncFs<Tree>>,
    pub counters: Arc<Counters>,
    pub failures: Arc<Failures>,
    kernel: Option<KernelCaches>,
    ended: Mutex<Receiver<io::Result<()>>>,
    tasks: Option<tokio::runtime::Runtime>,
    folder: Option<tempfile::TempDir>,
}

impl Mounted {
    /// Mounts `tree` with the usual options at an ordinary place.
    pub fn new(tree: &Tree) -> Self {
        Self::with(tree, Options::default(), OsStr::new("mnt"))
    }

    /// Mounts `tree` at a directory called `name`.
    pub fn with(tree: &Tree, options: Options, name: &OsStr) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let base = fs::canonicalize(folder.path()).expect("it is there");
        let dir = base.join(name);
        fs::create_dir(&dir).expect("a mount point");

        let tasks = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let runtime = tasks.block_on(async { TokioRuntime::current().expect("inside one") });
        let core = Arc::new(AsyncFs::new(tree.clone(), Config::default()));
        let owner = Owner { uid: 12, gid: 34 };
        let adapter = Adapter::new(
            Arc::clone(&core),
            Arc::new(runtime),
            owner,
            Content::Pinned,
            options.xattrs,
        )
        .without(options.without);
        let (counters, failures) = (adapter.counters(), adapter.failures());

        let fd = device::attach(&dir, "test", Access::Everyone)
            .or_else(|_| device::attach(&dir, "test", Access::Owner))
            .expect("these tests need root or fusermount3, and /dev/fuse");
        let (end, ended) = channel();
        let mut mounted = Self {
            dir,
            fs: core,
            counters,
            failures,
            kernel: None,
            ended: Mutex::new(ended),
            tasks: Some(tasks),
            folder: Some(folder),
        };
        let threads = Threads::for_this_machine(device::device_opens());
        let ended = move |result| {
            let _ = end.send(result);
        };
        let session = Session::start(adapter, fd, transport(), threads, ended);
        mounted.kernel = Some(session.expect("the kernel agrees").kernel_caches());
        mounted
    }

    /// What the kernel keeps of it.
    pub fn kernel(&self) -> &KernelCaches {
        self.kernel.as_ref().expect("set by the start")
    }

    /// The mount point.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A path in it.
    pub fn path(&self, below: impl AsRef<Path>) -> PathBuf {
        self.dir.join(below)
    }

    /// How often the kernel asked for `op`.
    pub fn count(&self, op: Op) -> u64 {
        self.counters.get(op)
    }

    /// Makes the kernel forget every name of this mount that nobody uses, as it does under memory
    /// pressure: a remount does that (`reconfigure_super` in Linux's fs/super.c). For root only.
    pub fn forget_unused(&self) {
        let flags =
            MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        let none: Option<&str> = None;
        mount(none, &self.dir, none, flags, none).expect("root may");
    }

    /// Waits until the FUSE threads have ended.
    pub fn wait_end(&self) -> io::Result<()> {
        let ended = self.ended.lock().expect("no one panics in here");
        match ended.recv_timeout(PATIENCE) {
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) => panic!("the FUSE threads go on"),
            Err(RecvTimeoutError::Disconnected) => panic!("the FUSE threads are lost"),
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        while let Ok(Some(_)) = point::mounted_at(&self.dir) {
            if device::detach(&self.dir, Detach::Lazy).is_err() {
                // Better a folder left behind than the removal of what may lie in a mount.
                if let Some(folder) = self.folder.take() {
                    let _ = folder.keep();
                }
                break;
            }
        }
        if let Some(tasks) = self.tasks.take() {
            tasks.shutdown_background();
        }
    }
}

/// Runs `work` in a thread and gives its result; panics if it takes too long.
pub fn soon<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (send, receive) = channel();
    thread::spawn(move || {
        let _ = send.send(work());
    });
    receive
        .recv_timeout(PATIENCE)
        .expect("it panicked or hangs")
}

/// Waits until `done` holds; panics if it takes too long.
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// True if this process may do what only root may.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

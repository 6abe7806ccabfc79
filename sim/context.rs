//! What the parts of one world share.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    rc::Rc,
    sync::{Arc, Mutex},
    time::Duration,
};

use bonsaifs::git::oid::Oid;
use tokio::sync::Notify;

use super::{
    disk::{ProcessDisk, SimDisk},
    marks::Counts,
    plan::{Fault, Plan},
    props::{
        Verdicts,
        no_lie::{Excuse, Faults},
        stable_numbers::Numbers,
        stranded::{BOUND, UnderWay},
    },
    runtime::SimRuntime,
    server::GitServer,
    trace::{Trace, now},
    wire::Wire,
};

/// Shared by everything in one world, which runs on one thread.
pub struct Context {
    pub plan: Plan,
    pub trace: Trace,
    pub counts: Counts,
    pub verdicts: Verdicts,
    pub server: GitServer,
    pub machines: Vec<Machine>,
    pub mounts: Vec<MountState>,
    pub faults: RefCell<Faults>,
    pub under_way: RefCell<UnderWay>,
    /// Operations of kernels so far.
    pub operations: Cell<u64>,
    /// Set when no fault will begin any more and all have ended.
    pub quiet_since: Cell<Option<Duration>>,
    pub quiet: Notify,
}

/// A machine, as far as it outlives its power.
pub struct Machine {
    pub disk: SimDisk,
    /// Whether it lost power, ever.
    pub crashed: Cell<bool>,
    /// Files that a fault damaged.
    pub rotten: RefCell<BTreeSet<PathBuf>>,
}

/// A mount, as far as it outlives its process.
pub struct MountState {
    /// How it is called in traces.
    pub name: String,
    /// Which step each program does next.
    pub next_step: RefCell<Vec<usize>>,
    pub numbers: RefCell<Numbers>,
    pub process: RefCell<Option<Process>>,
    /// What the main loop wants of it.
    pub signal: Cell<Option<Signal>>,
    pub signalled: Notify,
    pub done: Cell<bool>,
    /// The commit shown last.
    pub commit: Cell<Option<Oid>>,
    /// Paths that could not be read at some time.
    pub failed: RefCell<BTreeSet<Vec<u8>>>,
    /// Waiting for an object: operations in the order in which they came, by object.
    pub waiting: RefCell<BTreeMap<Oid, Vec<u64>>>,
    /// How often the process was started.
    pub starts: Cell<u64>,
    /// Since when no start led to a mount; none if the last one did.
    pub shut_out_since: Cell<Option<Duration>>,
    /// Whether a process ended in the middle of something, ever.
    pub killed: Cell<bool>,
    /// Objects that any of its processes asked for.
    pub asked: Arc<Mutex<BTreeSet<Oid>>>,
}

/// A process that runs a mount.
pub struct Process {
    pub runtime: Arc<SimRuntime>,
    pub disk: Arc<ProcessDisk>,
    pub wire: Arc<Wire>,
}

/// What the main loop wants of a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Unmount in an orderly way, and mount again.
    Remount,
    /// The process is dead, or is to die now.
    Kill,
}

impl Context {
    /// The excuse of an operation that began at `begin` and ends now.
    pub fn excuse(&self, begin: Duration) -> Excuse {
        self.faults.borrow().excuse(begin, now(), BOUND)
    }

    /// Whether nothing ever goes wrong.
    pub fn is_faultless(&self) -> bool {
        let events = self.plan.events.iter();
        let mut faults = events.map(|event| &event.fault);
        faults.all(|fault| matches!(fault, Fault::Push { .. } | Fault::Remount { .. }))
    }

    /// Tells a mount to end its process.
    pub fn signal(&self, mount: usize, signal: Signal) {
        let mount = &self.mounts[mount];
        if mount.signal.get() != Some(Signal::Kill) {
            mount.signal.set(Some(signal));
        }
        mount.signalled.notify_one();
    }

    /// Ends a mount's process at once.
    pub fn kill(&self, mount: usize) {
        if let Some(process) = self.mounts[mount].process.borrow_mut().take() {
            process.runtime.kill();
            self.mounts[mount].killed.set(true);
        }
    }

    /// Waits until the faults have ended.
    pub async fn until_quiet(&self) {
        while self.quiet_since.get().is_none() {
            self.quiet.notified().await;
        }
    }
}

/// How everything in a world holds it.
pub type Shared = Rc<Context>;

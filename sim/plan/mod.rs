//! What is going to happen in a run, all of it, as data: so that it can be written down, replayed and
//! made smaller.
//!
//! Always holds: a run depends on its plan alone. A step carries the chance it needs, so that taking
//! other steps away changes little about it.

mod draw;
mod fault;
mod situations;

use serde::{Deserialize, Serialize};

pub use fault::{Answer, Event, Fault, INTERRUPTED, KINDS, UNSYNCED};

use super::repo::RepoPlan;

/// A whole run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// The seed it was drawn from; what is drawn during the run depends on it too.
    pub seed: u64,
    /// Simulated milliseconds in one step of turmoil.
    pub tick_ms: u64,
    /// Milliseconds that a message takes, at least and at most.
    pub latency_ms: (u64, u64),
    /// What the server can do.
    pub server: ServerPlan,
    /// The repositories it serves.
    pub repos: Vec<RepoPlan>,
    /// Bytes of each machine's disk.
    pub disks: Vec<u64>,
    /// Bytes that each cache folder may take.
    pub cache_size: u64,
    /// The mounts on the machines.
    pub mounts: Vec<MountPlan>,
    /// Faults and pushes, by the time at which they begin.
    pub events: Vec<Event>,
}

/// What the server offers, and how it sends.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ServerPlan {
    /// Advertises and heeds `filter`.
    pub filter: bool,
    /// Advertises `filter` and ignores it.
    pub ignores_filter: bool,
    /// Advertises and heeds `deepen`.
    pub shallow: bool,
    /// Offers `object-info`.
    pub object_info: bool,
    /// Says which object it does not have.
    #[serde(default)]
    pub names_missing: bool,
    /// Sends deltas.
    pub deltas: bool,
    /// Bytes of pack in one packet.
    pub packet: usize,
    /// Milliseconds between two packets.
    pub pause_ms: u64,
}

/// One mount.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MountPlan {
    /// On which machine.
    pub machine: usize,
    /// Of which repository.
    pub repo: usize,
    /// `None` for HEAD, or a branch, a tag or a commit's id, as a person would name it.
    pub want: Option<String>,
    /// Bytes of objects in memory.
    pub memory: usize,
    /// Bytes of listings in memory.
    pub listings: usize,
    /// Bits of inode numbers in use; few make paths collide.
    pub ino_mask: u64,
    /// A cache folder of its own, or the machine's.
    pub own_cache: bool,
    /// Blocking jobs wait up to so many milliseconds.
    pub job_delay_ms: u64,
    /// Whether the kernel asks with readdirplus.
    pub readdirplus: bool,
    /// Whether it may be refreshed.
    #[serde(default)]
    pub follow: bool,
    /// How the kernel's questions come as messages; `None` if they are calls.
    #[serde(default)]
    pub framed: Option<Framed>,
    /// What programs do on it, side by side.
    pub workers: Vec<Vec<Step>>,
}

/// The framing of messages, and whether the kernel opens files and directories by itself where it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Framed {
    /// As they come from /dev/fuse.
    Device { opens: bool },
    /// As they come in the slots of a ring.
    Ring { opens: bool },
}

/// One thing that a program does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Step {
    pub act: Act,
    /// Which path, in proportion to the commit's entries.
    pub path: u32,
    /// Whatever else there is to choose.
    pub arg: u32,
    /// Milliseconds before it.
    pub pause_ms: u64,
    /// The program is interrupted at this one of its awaits, at once or a little later.
    pub cancel: Option<u32>,
}

/// What a program may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Act {
    /// `stat`
    Stat,
    /// `cat`, in pieces
    Read,
    /// `readlink`
    Readlink,
    /// `ls`, in pieces, with a seek back now and then
    List,
    /// `stat` of a name that isn't there
    Missing,
    /// `rg` in one directory: list it, read its files
    Grep,
    /// The kernel drops what nobody uses.
    Forget,
    /// `statfs`, `getxattr`, the path of an inode, and inode numbers that nobody gave out.
    Look,
    /// `bonsai refresh`
    Refresh,
}

impl Plan {
    /// Steps of all workers.
    pub fn steps(&self) -> usize {
        self.mounts
            .iter()
            .flat_map(|mount| &mount.workers)
            .map(Vec::len)
            .sum()
    }
}

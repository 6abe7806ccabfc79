//! What may go wrong, as data.

use serde::{Deserialize, Serialize};

/// A fault, and how long it lasts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Event {
    /// Milliseconds since the world began.
    pub at_ms: u64,
    /// When it is over, for a fault that lasts.
    pub until_ms: u64,
    pub fault: Fault,
}

/// What may happen to a world.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// No message passes between a machine and the server; new connections fail at once.
    Partition { machine: usize },
    /// Messages are held back, and come when it is over.
    Hold { machine: usize },
    /// Each message breaks the link with this chance in 1,000, and repairs it with a tenth.
    Loss { machine: usize, per_mille: u64 },
    /// Each message takes so long.
    Slow { machine: usize, ms: u64 },
    /// The server answers requests so, with this chance in 1,000.
    Answer { answer: Answer, per_mille: u64 },
    /// The server's process dies, and is back at the end.
    ServerDown,
    /// A machine loses power, after so many more disk operations, and is back at the end.
    PowerOff { machine: usize, operations: u64 },
    /// A mount's process is killed, after so many more disk operations, and started again.
    Kill { mount: usize, operations: u64 },
    /// A mount is unmounted and mounted again.
    Remount { mount: usize },
    /// A machine's disk is full.
    DiskFull { machine: usize },
    /// A machine's disk fails with this chance in 1,000.
    DiskErrors { machine: usize, per_mille: u64 },
    /// Bits flip in so many files.
    BitRot { machine: usize, files: u64 },
    /// So many files hold what belongs to others of their kind, whole in itself.
    MixUp { machine: usize, files: u64 },
    /// The server loses some objects until the end.
    MissingObjects { repo: usize, per_mille: u64 },
    /// A branch moves on. Not a fault.
    Push { repo: usize, branch: String },
}

/// What a server may answer instead of what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Answer {
    /// This status, and nothing else.
    Status(u16),
    /// 429 or 503 with so many seconds of `Retry-After`.
    RetryAfter(u16, u64),
    /// The connection breaks in the middle of the body.
    Reset,
    /// The same, of answers that bring objects only.
    TornPack,
    /// The body ends early, but as a whole HTTP message.
    Cut,
    /// One bit of the body is flipped; not of sizes that are told alone (`object-info`), which nothing can
    /// check.
    Flip,
    /// A well-formed pack in which one object is another one.
    WrongObject,
    /// A well-formed pack without one of the objects.
    LeaveOut,
    /// One byte a second.
    Drip,
    /// Nothing for a long time.
    Silence,
    /// 200 with a page for people.
    Page,
    /// 200 with nothing.
    Empty,
    /// A redirect with this status to where the repository is served too.
    Moved(u16),
    /// A redirect to the same place again.
    Loop,
    /// A fatal message on the sideband, half-way.
    Fatal,
}

/// The kinds of all faults, as they are counted; pushes and remounts among them, which are none.
pub const KINDS: [&str; 32] = [
    "partition",
    "hold",
    "loss",
    "slow",
    "server down",
    "power off",
    "kill",
    "remount",
    "disk full",
    "disk errors",
    "bit rot",
    "mix-up",
    "missing objects",
    "push",
    "401",
    "403",
    "404",
    "5xx",
    "retry-after",
    "reset",
    "torn pack",
    "cut",
    "flip",
    "wrong object",
    "object left out",
    "drip",
    "silence",
    "page",
    "empty",
    "moved",
    "redirect loop",
    "fatal message",
];

/// What is counted like a fault where it happens: an operation that was interrupted.
pub const INTERRUPTED: &str = "interrupted operation";
/// The same: a power cut after which something that was not synced was gone or torn.
pub const UNSYNCED: &str = "unsynced data lost";

impl Fault {
    /// The fault's kind, one of [`KINDS`].
    pub fn name(&self) -> &'static str {
        match self {
            Fault::Partition { .. } => "partition",
            Fault::Hold { .. } => "hold",
            Fault::Loss { .. } => "loss",
            Fault::Slow { .. } => "slow",
            Fault::Answer { answer, .. } => answer.name(),
            Fault::ServerDown => "server down",
            Fault::PowerOff { .. } => "power off",
            Fault::Kill { .. } => "kill",
            Fault::Remount { .. } => "remount",
            Fault::DiskFull { .. } => "disk full",
            Fault::DiskErrors { .. } => "disk errors",
            Fault::BitRot { .. } => "bit rot",
            Fault::MixUp { .. } => "mix-up",
            Fault::MissingObjects { .. } => "missing objects",
            Fault::Push { .. } => "push",
        }
    }
}

impl Answer {
    /// The answer's kind, one of [`KINDS`].
    pub fn name(self) -> &'static str {
        match self {
            Answer::Status(401) => "401",
            Answer::Status(403) => "403",
            Answer::Status(404) => "404",
            Answer::Status(_) => "5xx",
            Answer::RetryAfter(..) => "retry-after",
            Answer::Reset => "reset",
            Answer::TornPack => "torn pack",
            Answer::Cut => "cut",
            Answer::Flip => "flip",
            Answer::WrongObject => "wrong object",
            Answer::LeaveOut => "object left out",
            Answer::Drip => "drip",
            Answer::Silence => "silence",
            Answer::Page => "page",
            Answer::Empty => "empty",
            Answer::Moved(_) => "moved",
            Answer::Loop => "redirect loop",
            Answer::Fatal => "fatal message",
        }
    }
}

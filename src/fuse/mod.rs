//! The FUSE adapter: the kernel's requests become calls of [`AsyncFs`], and nothing else.
//!
//! May import: bonsaifs-core, fuser, io-uring, rustix, tracing. No Git, no mounting: it is handed an open
//! descriptor of a mount, and any [`Provider`].
//!
//! Always holds: no FUSE thread waits for anything. A request is answered on its thread from
//! memory, or by a task that owns the reply; a panic in either answers EIO. Every error leaves
//! through one table (`errno`).
//!
//! [`AsyncFs`]: bonsaifs_core::fs::AsyncFs
//! [`Provider`]: bonsaifs_core::fs::Provider

mod adapter;
mod attr;
mod counters;
mod device;
mod directory;
mod errno;
mod failures;
mod interrupt;
#[cfg(feature = "sim")]
pub mod message;
mod operations;
mod policy;
mod reply;
mod serve;
mod session;
pub mod uring;
mod walkers;
mod wire;

pub use adapter::Adapter;
pub use attr::Owner;
pub use counters::{Counters, Op};
pub use errno::errno;
pub use failures::{Failures, LastFailure};
pub use policy::{Content, Opens, Policy, Xattrs};
pub use session::{KernelCaches, Session, Threads, Transport};

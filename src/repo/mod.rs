//! One commit of a repository as a filesystem tree.
//!
//! May import: objects, origin, git, seams, bonsaifs-core.
//!
//! Always holds: what is shown is the tree of exactly one commit at a time, less the entries that no honest
//! tree has; a name that is in the tree never becomes "no such file" because something failed.

mod ahead;
mod bring;
mod error;
mod follow;
mod hosts;
mod open;
mod provider;
mod scan;
mod status;
mod times;
mod tree;

pub use ahead::Prefetch;
pub use bring::Brought;
pub use error::RepoError;
pub use follow::{Shown, Target};
pub use open::{OpenOptions, Progress, open};
pub use provider::{Node, RepoFs};
pub use status::{
    DiskStatus, ErrorStatus, MemoryStatus, NodeInfo, OriginStatus, PrefetchStatus, RepoStatus,
};

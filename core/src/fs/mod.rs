//! The filesystem: what a provider gives, what inodes and directories are made of.
//!
//! May import: [`crate::sync`], [`crate::rt`], [`crate::cache`].

mod async_fs;
mod attr;
mod composite;
pub mod dcache;
mod either;
mod error;
pub mod handles;
pub mod inodes;
mod listing;
mod live;
mod provider;
mod reply;
mod tally;

pub use async_fs::{AsyncFs, Switch};
pub use attr::{Attr, Ino, Kind, NAME_MAX, StatFs, Timestamp};
pub use composite::{Composite, CompositeBuilder, CompositeNode, MountError};
pub use either::Either;
pub use error::{FsError, FsErrorKind, FsResult};
pub use inodes::{Dropped, Idle};
pub use listing::{BadName, Listing, ListingBuilder, ListingEntry, NameProblem};
pub use provider::Provider;
pub use reply::{Config, DirItem, DirItemPlus, Entry, Found, FsStats, Scan, Take, Told};

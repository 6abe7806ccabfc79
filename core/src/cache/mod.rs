//! Caches and the joining of concurrent work. May import: [`crate::sync`], hashbrown, rustc-hash.
//!
//! Always holds: no lock is held across an await, and none while a waker runs.

pub mod flight;
pub mod handoff;
pub mod oneshot;
pub(crate) mod shards;
pub mod table;
pub mod weighted;

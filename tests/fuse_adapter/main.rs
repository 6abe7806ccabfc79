//! The FUSE adapter under a real kernel, over a tree in memory. Needs /dev/fuse, and root or
//! fusermount3.
//!
//! A mount is detached when its guard goes, so nothing stays mounted when a test fails. Nothing
//! here waits for time to pass: a test waits for a state, and fails if that does not come.

mod mounted;
mod tree;
mod walking;

mod caching;
mod ending;
mod failing;
mod reading;
mod refusing;
mod sizes;
mod stalling;

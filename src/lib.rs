//! Bonsai mounts a Git repository in a fraction of a second, without a clone.
//!
//! The rooms, from the ground up; imports go down only:
//! [`seams`] and [`git`] (no imports of other rooms), [`origin`], [`objects`], [`repo`], [`fuse`],
//! [`mount`], [`cli`]. The generic part, without Git and without I/O, is the crate
//! `bonsaifs-core`.

pub mod cli;
pub mod fuse;
pub mod git;
pub mod mount;
pub mod objects;
pub mod origin;
pub mod repo;
pub mod seams;

//! What tests and benches share: real Git servers with faults, a slow link, repositories of every
//! kind, a comparer of trees, and the built command with a home of its own.
//!
//! Imports nothing of the product: what is expected comes from `git` and from plain system calls.
//! It panics where a test would have to: when its own tools fail.

pub mod bonsai;
pub mod closed;
pub mod compare;
pub mod process;
pub mod relay;
pub mod repo;
pub mod server;
pub mod syscalls;

pub use bonsai::{Bonsai, Mounted, Said, User};
pub use closed::ClosedPort;
pub use compare::{Order, assert_same, assert_same_in_parallel};
pub use relay::{Link, Relay};
pub use repo::{Files, Repo, Specimen, hostile, specimens};
pub use server::{Fault, GitServer, When};

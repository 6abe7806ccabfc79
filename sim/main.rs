//! The simulation: the production code of every room from the filesystem core down to the origin,
//! unchanged, in worlds of machines, disks, a network and a Git server that all follow one seed.
//!
//! `BONSAI_SEED=7 cargo test --features sim --test sim replay -- --nocapture` prints one run;
//! `cargo xtask sim --seeds 10000 --jobs 2` hunts. See README.md beside this.
//!
//! Imports go down only: `world` → `mount` → `kernel` → `context` → the seams' simulated halves
//! (`runtime`, `http`, `disk`), `server`, `props` → `repo`, `plan` → `trace`, `marks`, `rng`.

#![allow(
    missing_docs,
    clippy::print_stdout,
    reason = "a test of its own, whose output is what it is for"
)]

mod context;
mod director;
mod disk;
mod http;
mod kernel;
mod logs;
mod marks;
mod mount;
mod plan;
mod props;
mod repo;
mod report;
mod rng;
mod runs;
mod runtime;
mod server;
mod shrink;
mod start;
mod trace;
mod wire;
mod world;

//! What the fuzz targets check. Each module is one target or family of targets: `check` takes the
//! fuzzer's bytes, drives production code with them, and panics if a promise is broken.
//!
//! May import: `bonsaifs`, `bonsaifs-core`, std. Files in `fuzz_targets/` only call `check`.
//!
//! Always holds: a check is a pure function of its bytes, so a crash file is all that is needed to
//! see a failure again. Every oracle here is simpler than what it judges.

pub mod address;
#[cfg(fuzzing)]
pub mod credentials;
pub mod input;
pub mod objects;
pub mod ops;
pub mod pack;
pub mod pktline;
pub mod v2;

#[cfg(test)]
mod seeds;

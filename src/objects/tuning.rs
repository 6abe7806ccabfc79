//! Sizes and times at which the disk tier changes its ways. May import: nothing.
//!
//! The simulation (feature `sim`) has them a thousand times smaller, so that its small repositories and
//! short lives go every way there is; nothing else differs.

use std::time::Duration;

/// One of two numbers.
pub(crate) const fn choose(real: u64, simulated: u64) -> u64 {
    if cfg!(feature = "sim") {
        simulated
    } else {
        real
    }
}

/// Blobs of this many bytes and more are never held whole in memory: they live as plain files.
pub const LARGE: u64 = choose(8 << 20, 4 << 10);

/// Objects of up to so many bytes are read by a thread that others wait for: a tenth of a millisecond of
/// inflating and hashing.
pub(super) const AT_ONCE: u64 = choose(64 << 10, 1 << 10);

/// Blobs with more bytes than this are not prefetched.
pub(super) const PREFETCHED: u64 = choose(1 << 20, (4 << 10) - 1);

/// Bytes of a large file that one checksum covers.
pub(super) const BLOCK: usize = choose(64 << 10, 512) as usize;

/// Bytes of a large file that the disk is told to read before they are asked for.
pub(super) const READ_AHEAD: u64 = choose(8 << 20, 2 << 10);

/// Bytes of a pack that the disk is told to read around an object that had to be waited for: what lies side by
/// side is mostly read together, and a disk gives it all in the time of a few single ones.
pub(super) const READ_AROUND: u64 = choose(4 << 20, 1 << 10);

/// Bytes of an incoming pack that are kept in memory before a file is begun.
pub(super) const SPILL: usize = choose(1 << 20, 2 << 10) as usize;

/// How often the disk tier is looked after.
pub(super) const UPKEEP: Duration = Duration::from_millis(choose(600_000, 900));

/// How often the use of a pack is written down.
pub(super) const USED_AGAIN: Duration = Duration::from_secs(choose(3600, 2));

/// How long nothing is written after a disk took no more.
pub(super) const TRIED_AGAIN: Duration = Duration::from_millis(choose(60_000, 600));

/// Packs of fewer bytes are merged.
pub(super) const SMALL_PACK: u64 = choose(8 << 20, 6 << 10);

/// So many small packs are worth merging.
pub(super) const SMALL_PACKS: usize = choose(16, 3) as usize;

/// Bytes of a pack that was made of small ones, at the most.
pub(super) const MERGED: u64 = choose(64 << 20, 64 << 10);

/// Indexes of packs of up to so many bytes are held in memory: 2,300 objects of SHA-1.
pub(super) const INDEX_IN_MEMORY: u64 = choose(64 << 10, 2 << 10);

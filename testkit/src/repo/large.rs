//! A blob too large to be held in memory, and its content by formula. May import: this room's
//! other files.

use std::{
    fs::{self, File},
    io::Write,
    sync::LazyLock,
};

use super::{Repo, Specimen};

/// A blob of `size` bytes (see [`pattern`]) beside a small file.
pub fn large_blob(size: u64) -> Specimen {
    let repo = Repo::new();
    let source = repo.root().join("large");
    let mut file = File::create(&source).expect("a file made");
    let mut written = 0;
    while written < size {
        let length = (size - written).min(256 * PATTERN_BLOCK);
        let piece = pattern(written, length);
        file.write_all(&piece).expect("the disk takes it");
        written += length;
    }
    // From a file, Git streams it; fast compression, since only its size matters.
    let hash = ["-c", "core.compression=1", "hash-object", "-w", "../large"];
    let large = repo.git_with(&hash, b"");
    fs::remove_file(source).expect("the source removed");
    let small = repo.blob(b"small\n");
    let tree = repo.tree(&[("100644", &large, b"large"), ("100644", &small, b"small")]);
    Specimen::of_tree(repo, &tree)
}

/// The unit of [`pattern`].
pub const PATTERN_BLOCK: u64 = 4096;

/// What a block holds after its number: bytes without a period, so that a piece from another
/// place of the block is another one.
static TEMPLATE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut state = 1_u64;
    (8..PATTERN_BLOCK)
        .map(|_| {
            // Marsaglia's xorshift.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        })
        .collect()
});

/// `length` bytes from `offset` of the content of [`large_blob`]: every block begins with its own
/// number, so that no two are alike.
pub fn pattern(offset: u64, length: u64) -> Vec<u8> {
    let in_memory = |count: u64| usize::try_from(count).expect("fits in memory");
    let first = offset / PATTERN_BLOCK;
    let last = (offset + length).div_ceil(PATTERN_BLOCK);
    let mut bytes = Vec::with_capacity(in_memory((last - first) * PATTERN_BLOCK));
    for block in first..last {
        bytes.extend_from_slice(&block.to_be_bytes());
        bytes.extend_from_slice(&TEMPLATE);
    }
    bytes.truncate(in_memory(offset + length - first * PATTERN_BLOCK));
    bytes.drain(..in_memory(offset - first * PATTERN_BLOCK));
    bytes
}

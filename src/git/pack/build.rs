//! Building packs: what tests need, and what keeps the good part of a torn pack.

use std::io::Write;

use flate2::{Compression, write::ZlibEncoder};

use super::{EntryKind, PACK_HEADER, PackError, entry};
use crate::git::oid::{HashKind, ObjectKind, Oid};

/// The first bytes of a pack with this many objects.
pub fn pack_header(objects: u32) -> [u8; PACK_HEADER] {
    let mut header = *b"PACK\0\0\0\x02\0\0\0\0";
    header[8..].copy_from_slice(&objects.to_be_bytes());
    header
}

/// Appends the entry of a whole object, compressed at zlib's `level` (0 to 9).
pub fn encode_entry(out: &mut Vec<u8>, kind: ObjectKind, data: &[u8], level: u32) {
    encode(out, EntryKind::Base(kind), data, level);
}

/// Appends an entry of any kind to a pack of which `out` is all so far. `data` is the object, or
/// the delta.
///
/// # Panics
///
/// If the offset of an [`EntryKind::OfsDelta`] does not lie before the entry.
pub fn encode(out: &mut Vec<u8>, kind: EntryKind, data: &[u8], level: u32) {
    let offset = out.len() as u64;
    entry::write(out, kind, data.len() as u64, offset);
    deflate(out, data, level);
}

/// Appends `data` as a zlib stream.
fn deflate(out: &mut Vec<u8>, data: &[u8], level: u32) {
    let mut encoder = ZlibEncoder::new(out, Compression::new(level));
    encoder.write_all(data).expect("memory takes all bytes");
    encoder.finish().expect("memory takes all bytes");
}

/// The checksum that stands at the end of a pack and of an index, over all bytes before it.
#[derive(Clone)]
pub struct Checksum(gix_hash::Hasher);

impl Checksum {
    /// The checksum of nothing yet.
    pub fn new(hash: HashKind) -> Self {
        Self(gix_hash::hasher(hash))
    }

    /// Takes the next bytes.
    pub fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    /// The checksum. [`PackError::Checksum`] if the bytes carry a SHA-1 collision attack.
    pub fn finish(self) -> Result<Oid, PackError> {
        self.0.try_finalize().map_err(|_| PackError::Checksum)
    }
}

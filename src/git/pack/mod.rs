//! Packs (gitformat-pack): decoded and verified as they arrive ([`StreamDecoder`]), read at any
//! place once they are stored ([`read`]), found through their index ([`index`], [`index_file`]), and built
//! ([`build`]).
//!
//! May import: bytes, crc32fast, flate2, gix-hash, rustc-hash, the room's `oid`, `delta`,
//! `inflate`.
//!
//! Always holds: the decoder gives an object only with the id that it computed from the object's
//! bytes; delta chains are followed in loops, never by recursion, and end.

pub mod build;
mod cache;
mod entry;
mod error;
pub mod index;
pub mod index_file;
pub mod read;
mod resolve;
mod stream;
#[cfg(test)]
mod tests;

use std::{io, sync::Arc};

use bytes::Bytes;

pub use entry::{EntryHeader, EntryKind, PACK_HEADER};
pub use error::PackError;
pub use stream::StreamDecoder;

pub use super::inflate::InflateError;
use super::oid::{ObjectKind, Oid};

/// Bytes that can be read at any place, as a stored pack can.
pub trait ReadAt {
    /// Fills `buf` with the bytes from `offset` on: how many. Fewer than asked for are allowed,
    /// none only at the end.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;
}

impl ReadAt for [u8] {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let start = usize::try_from(offset).map_or(self.len(), |start| start.min(self.len()));
        let from = &self[start..];
        let len = from.len().min(buf.len());
        buf[..len].copy_from_slice(&from[..len]);
        Ok(len)
    }
}

impl ReadAt for Bytes {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.as_ref().read_at(offset, buf)
    }
}

impl ReadAt for Vec<u8> {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.as_slice().read_at(offset, buf)
    }
}

impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        (**self).read_at(offset, buf)
    }
}

impl<T: ReadAt + ?Sized> ReadAt for Arc<T> {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        (**self).read_at(offset, buf)
    }
}

/// How much a pack may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Blobs of this many bytes or more are hashed as they stream, and never handed out whole.
    pub large: u64,
    /// The most bytes of an object that must be held whole: of a commit, tree or tag, of a delta
    /// and its result. Blobs that aren't deltas may be of any size.
    pub max_object: u64,
    /// The most objects in a pack.
    pub max_objects: u32,
    /// How many bytes of recent objects are kept as bases of deltas to come.
    pub base_cache: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            large: 8 << 20,
            max_object: 1 << 30,
            max_objects: 20_000_000,
            base_cache: 32 << 20,
        }
    }
}

/// A verified object and its place in the pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// The id that the object's bytes hash to.
    pub oid: Oid,
    /// The object's kind, at the end of its delta chain.
    pub kind: ObjectKind,
    /// The object's size in bytes.
    pub size: u64,
    /// Where its entry begins, in bytes from the start of the pack.
    pub offset: u64,
    /// The CRC-32 of its entry as it stands in the pack, for the index.
    pub crc32: u32,
    /// The object's content. `None` for a blob of [`Limits::large`] bytes or more, and only then.
    pub data: Option<Bytes>,
}

/// What a complete pack was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackSummary {
    /// The pack's checksum, which stands at its end and names it.
    pub checksum: Oid,
    /// Its length in bytes, checksum included.
    pub len: u64,
    /// How many objects it has.
    pub objects: u32,
}

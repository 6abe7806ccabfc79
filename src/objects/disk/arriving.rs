//! A large blob that comes in pieces from an origin that keeps it elsewhere, and not in a pack.
//!
//! Always holds: a disk that takes no more, at whatever step, costs the file only: from then on the blob is in memory,
//! if it has no more than [`MOST_IN_MEMORY`] bytes.

use std::{io, sync::Arc};

use super::{
    DiskTier, LargeFile, LargeWriter,
    large::{MOST_IN_MEMORY, verified_in_memory},
};
use crate::git::oid::{ObjectKind, Oid};

/// One on its way.
pub struct Arriving {
    tier: Arc<DiskTier>,
    oid: Oid,
    size: u64,
    come: Come,
}

/// What came of it.
enum Come {
    OnDisk(Box<LargeWriter>),
    InMemory(Vec<u8>),
}

impl Arriving {
    /// The blob `oid` of `size` bytes.
    ///
    /// # Errors
    /// The disk's, if it takes no more and the blob is too large for memory; so of all methods.
    pub fn new(tier: Arc<DiskTier>, oid: Oid, size: u64) -> io::Result<Self> {
        let mut arriving = Self {
            come: Come::InMemory(Vec::new()),
            tier,
            oid,
            size,
        };
        match LargeWriter::new(&arriving.tier, oid, size) {
            Ok(writer) => arriving.come = Come::OnDisk(Box::new(writer)),
            Err(error) => arriving.give_up_disk(error)?,
        }
        Ok(arriving)
    }

    /// Takes the next piece.
    pub fn write(&mut self, data: &[u8]) -> io::Result<()> {
        let error = match &mut self.come {
            Come::InMemory(before) => {
                before.extend_from_slice(data);
                return Ok(());
            }
            Come::OnDisk(writer) => match writer.write(data) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            },
        };
        self.give_up_disk(error)?;
        self.write(data)
    }

    /// Whether all bytes came.
    pub fn is_full(&self) -> bool {
        match &self.come {
            Come::OnDisk(writer) => writer.is_full(),
            Come::InMemory(data) => data.len() as u64 >= self.size,
        }
    }

    /// Ends it. `Ok(None)` if what came is not the object that its id names.
    pub fn finish(mut self) -> io::Result<Option<LargeFile>> {
        if let Come::OnDisk(writer) = &mut self.come {
            match writer.finish() {
                Ok(file) => return Ok(file),
                Err(error) => self.give_up_disk(error)?,
            }
        }
        Ok(match self.come {
            Come::OnDisk(_) => None,
            Come::InMemory(data) => {
                verified_in_memory(self.tier.hash(), &self.oid, ObjectKind::Blob, data.into())
            }
        })
    }

    /// Takes what came back from the disk, which failed with `error`.
    fn give_up_disk(&mut self, error: io::Error) -> io::Result<()> {
        if !self.tier.refused(&error) {
            tracing::warn!(%error, object = %self.oid, "a large file can't be kept in the cache folder");
        }
        if self.size > MOST_IN_MEMORY {
            return Err(error);
        }
        if let Come::OnDisk(writer) = &self.come {
            self.come = Come::InMemory(writer.written()?);
        }
        Ok(())
    }
}

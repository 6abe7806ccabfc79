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
        let come = match LargeWriter::new(&tier, oid, size) {
            Ok(writer) => Come::OnDisk(Box::new(writer)),
            Err(error) => {
                instead_of_disk(&tier, &oid, size, error)?;
                Come::InMemory(Vec::new())
            }
        };
        Ok(Self {
            tier,
            oid,
            size,
            come,
        })
    }

    /// Takes the next piece.
    pub fn write(&mut self, data: &[u8]) -> io::Result<()> {
        if let Come::OnDisk(writer) = &mut self.come {
            let Err(error) = writer.write(data) else {
                return Ok(());
            };
            instead_of_disk(&self.tier, &self.oid, self.size, error)?;
            self.come = Come::InMemory(writer.written()?);
        }
        if let Come::InMemory(before) = &mut self.come {
            before.extend_from_slice(data);
        }
        Ok(())
    }

    /// Whether all bytes came.
    pub fn is_full(&self) -> bool {
        match &self.come {
            Come::OnDisk(writer) => writer.is_full(),
            Come::InMemory(data) => data.len() as u64 >= self.size,
        }
    }

    /// Ends it. `Ok(None)` if what came is not the object that its id names.
    pub fn finish(self) -> io::Result<Option<LargeFile>> {
        let data = match self.come {
            Come::InMemory(data) => data,
            Come::OnDisk(mut writer) => match writer.finish() {
                Ok(file) => return Ok(file),
                Err(error) => {
                    instead_of_disk(&self.tier, &self.oid, self.size, error)?;
                    writer.written()?
                }
            },
        };
        let hash = self.tier.hash();
        Ok(verified_in_memory(
            hash,
            &self.oid,
            ObjectKind::Blob,
            data.into(),
        ))
    }
}

/// The disk failed with `error`, which is the answer if memory can't take over.
fn instead_of_disk(tier: &DiskTier, oid: &Oid, size: u64, error: io::Error) -> io::Result<()> {
    if !tier.refused(&error) {
        tracing::warn!(%error, object = %oid, "a large file can't be kept in the cache folder");
    }
    match size <= MOST_IN_MEMORY {
        true => Ok(()),
        false => Err(error),
    }
}

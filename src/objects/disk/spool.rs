//! The bytes of a pack while it comes in: in memory while it is small, then in a temporary file.
//!
//! Always holds: every byte that was appended can be read back until the spool is dropped, even
//! if the disk fills up half-way (then the rest stays in memory, up to [`TAIL_LIMIT`]).

use std::{io, path::PathBuf, sync::Arc};

use super::{super::tuning::SPILL, DiskTier};
use crate::{git::pack::ReadAt, seams::disk::DiskFile};

/// Bytes kept in memory at the most when the disk takes no more.
const TAIL_LIMIT: usize = 256 << 20;

/// A growing pack.
pub struct Spool {
    tier: Option<Arc<DiskTier>>,
    file: Option<SpoolFile>,
    /// What is not in the file, which holds all that comes before.
    tail: Vec<u8>,
    failed: Option<String>,
}

struct SpoolFile {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    len: u64,
}

impl Spool {
    /// An empty spool. Without a tier everything stays in memory.
    pub fn new(tier: Option<Arc<DiskTier>>) -> Self {
        // What took no more a moment ago is not tried again yet.
        let failed = tier.as_ref().filter(|tier| !tier.takes_more());
        let failed = failed.and_then(|tier| tier.paused());
        Self {
            tier,
            file: None,
            tail: Vec::new(),
            failed,
        }
    }

    /// Bytes so far.
    pub fn len(&self) -> u64 {
        self.file.as_ref().map_or(0, |file| file.len) + self.tail.len() as u64
    }

    /// True while nothing was appended.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Why the disk takes no more, if so.
    pub fn failed(&self) -> Option<&str> {
        self.failed.as_deref()
    }

    /// Appends `data`. A disk that fails is not an error here: see the module's header.
    ///
    /// # Errors
    /// When the disk failed and memory has reached its bound too.
    pub fn append(&mut self, data: &[u8]) -> io::Result<()> {
        self.tail.extend_from_slice(data);
        let due = self.tail.len() >= SPILL && self.tier.is_some() && self.failed.is_none();
        if due && let Err(error) = self.spill() {
            let told = self.tier.as_ref().is_some_and(|tier| tier.refused(&error));
            if !told {
                tracing::warn!(%error, "a pack can't be kept in the cache folder");
            }
            self.failed = Some(error.to_string());
        }
        if due && let Some(tier) = self.tier.clone().filter(|tier| tier.is_room_due()) {
            // This thread has others to serve.
            let runtime = tier.runtime.clone();
            runtime.spawn_blocking("make room", Box::new(move || tier.make_room()));
        }
        if self.tail.len() > TAIL_LIMIT {
            let reason = self.failed.as_deref().unwrap_or("there is no cache folder");
            return Err(io::Error::other(format!(
                "a pack is too large for memory, and {reason}"
            )));
        }
        Ok(())
    }

    /// Moves all bytes to the file.
    fn spill(&mut self) -> io::Result<()> {
        let Some(tier) = &self.tier else {
            return Err(io::Error::other("there is no cache folder"));
        };
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let path = tier.temp(&tier.pack_dir());
                none.insert(SpoolFile {
                    file: tier.disk.create_new(&path)?,
                    path,
                    len: 0,
                })
            }
        };
        file.file.write_all_at(file.len, &self.tail)?;
        file.len += self.tail.len() as u64;
        tier.written.add(self.tail.len() as u64);
        self.tail.clear();
        Ok(())
    }

    /// Puts all bytes into the file, and says where it is. It stays the spool's, which can be read all the same if
    /// nothing comes of the file.
    pub(super) fn spill_all(&mut self) -> io::Result<(Arc<dyn DiskFile>, PathBuf)> {
        if let Some(reason) = &self.failed {
            return Err(io::Error::other(reason.clone()));
        }
        self.spill()?;
        let SpoolFile { file, path, .. } = self.file.as_ref().expect("spilling made the file");
        Ok((file.clone(), path.clone()))
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        if let (Some(tier), Some(file)) = (&self.tier, &self.file) {
            // It has got another name, or is in the way. A leftover is only a waste of space, and is removed at a later
            // start.
            let _ = tier.disk.remove_file(&file.path);
        }
    }
}

impl ReadAt for Spool {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let in_file = self.file.as_ref().map_or(0, |file| file.len);
        match &self.file {
            Some(file) if offset < in_file => {
                let len = buf
                    .len()
                    .min(usize::try_from(in_file - offset).unwrap_or(usize::MAX));
                file.file.read_at(offset, &mut buf[..len])
            }
            _ => {
                let start = usize::try_from(offset - in_file).unwrap_or(usize::MAX);
                let rest = self.tail.get(start..).unwrap_or_default();
                let len = buf.len().min(rest.len());
                buf[..len].copy_from_slice(&rest[..len]);
                Ok(len)
            }
        }
    }
}

//! One attached mount, and its end. May import: device, mountinfo, point.
//!
//! Always holds: only this very mount is ever unmounted, not what lies over it or came after it.

use std::path::{Path, PathBuf};

use super::{
    device::{self, Detach, DetachError},
    error::MountError,
    mountinfo::MountTable,
    point,
};

/// A mount made by this process. Dropping it detaches it, lazily.
#[derive(Debug)]
pub struct Attached {
    dir: PathBuf,
    /// The kernel's number of the mount.
    id: u64,
    there: bool,
}

impl Attached {
    /// Takes charge of the mount that was just made at `dir`.
    ///
    /// # Errors
    /// If it is not there.
    pub fn new(dir: &Path) -> Result<Self, MountError> {
        let mount = point::mounted_at(dir)?.ok_or_else(|| MountError::Refused {
            dir: dir.to_owned(),
            reason: "it was mounted, and is not in the list of mounts".to_owned(),
        })?;
        Ok(Self {
            dir: dir.to_owned(),
            id: mount.id,
            there: true,
        })
    }

    /// Unmounts it. Fine if it is gone already. May wait for the process that serves it, so not
    /// for a FUSE thread.
    ///
    /// # Errors
    /// [`DetachError::Busy`] if someone uses it and that counts; others if it can't be done.
    pub fn detach(&mut self, how: Detach) -> Result<(), DetachError> {
        if !self.there {
            return Ok(());
        }
        match self.place() {
            Place::Gone => {}
            Place::Covered => {
                return Err(DetachError::Other(
                    "another filesystem is mounted over it".to_owned(),
                ));
            }
            Place::Top => match device::detach(&self.dir, how) {
                Ok(()) | Err(DetachError::NotMounted) => {}
                Err(error) => return Err(error),
            },
        }
        self.there = false;
        Ok(())
    }

    fn place(&self) -> Place {
        let Ok(table) = MountTable::read() else {
            // Without /proc it can't be told; it was at the top when it was made.
            return Place::Top;
        };
        match table.top_at(&self.dir) {
            Some(top) if top.id == self.id => Place::Top,
            _ if table.has(self.id) => Place::Covered,
            _ => Place::Gone,
        }
    }
}

enum Place {
    Top,
    Covered,
    Gone,
}

impl Drop for Attached {
    fn drop(&mut self) {
        if let Err(error) = self.detach(Detach::Lazy) {
            tracing::warn!(%error, dir = %self.dir.display(), "the mount stays behind");
        }
    }
}

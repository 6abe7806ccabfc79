//! The folder of a tier: made when that is opened, or later, once the disk has room for it.
//!
//! May import: seams. Blocking.
//!
//! Always holds: a folder that is there is in use by this process, so that no other one removes it.

use std::{
    io,
    sync::{Mutex, MutexGuard},
};

use super::{DiskTier, folder, git_dir};
use crate::seams::disk::{DiskLock, Hold};

/// How far it has come.
pub(super) struct Making(Mutex<Made>);

struct Made {
    /// What the configuration is to name as the origin; `None` once all is there.
    left: Option<String>,
    /// Says that the repository is in use. None where the file system has no locks.
    in_use: Option<DiskLock>,
}

impl Making {
    /// Nothing is there yet, of a tier for `url`.
    pub fn new(url: &str) -> Self {
        Self(Mutex::new(Made {
            left: Some(url.to_owned()),
            in_use: None,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Made> {
        self.0.lock().expect("no code panics while it holds it")
    }
}

impl DiskTier {
    /// Makes of the folder what is not there yet.
    ///
    /// # Errors
    /// What the disk says. What was made stays.
    pub(super) fn make(&self) -> io::Result<()> {
        let mut made = self.making.lock();
        let Some(url) = made.left.clone() else {
            return Ok(());
        };
        if made.in_use.is_none() {
            made.in_use = self.say_in_use()?;
        }
        git_dir::create(self, &url)?;
        made.left = None;
        Ok(())
    }

    /// Whether the folder is there, as far as this process knows.
    pub(super) fn is_made(&self) -> bool {
        self.making.lock().left.is_none()
    }

    /// Takes the lock that keeps others from removing the folder.
    fn say_in_use(&self) -> io::Result<Option<DiskLock>> {
        /// How often the folder may be removed just when it was made.
        const TRIES: usize = 5;
        let lock = self.dir.join(folder::IN_USE);
        let mut tries = 0;
        loop {
            self.disk.create_dir_all(&self.dir.join("bonsai"))?;
            match self.disk.lock(&lock, Hold::Shared) {
                Ok(lock) => return Ok(Some(lock)),
                Err(error) if error.kind() == io::ErrorKind::NotFound && tries < TRIES => {
                    tries += 1;
                }
                // A network file system may have none. Then nobody gets the lock to remove it, either.
                Err(error) => {
                    tracing::debug!(%error, "the cache can't be locked");
                    return Ok(None);
                }
            }
        }
    }
}

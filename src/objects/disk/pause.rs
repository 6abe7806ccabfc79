//! A disk that takes no more: caching stops, reading goes on.
//!
//! May import: seams. Memory only, but for a folder that there was no room for.
//!
//! Always holds: it is told once that caching stops, and once that it goes on; in between a write is
//! tried every [`TRIED_AGAIN`], not more often.

use std::{io, sync::Mutex, time::Duration};

use super::DiskTier;
use crate::objects::tuning::TRIED_AGAIN;

/// Whether the disk takes more.
#[derive(Default)]
pub(super) struct Pause(Mutex<Option<Paused>>);

struct Paused {
    reason: String,
    /// In the runtime's monotonic time.
    until: Duration,
}

impl DiskTier {
    /// Whether it is worth trying to write. Makes the folder, if there was no room for it before.
    pub fn takes_more(&self) -> bool {
        let due = {
            let paused = self.pause.0.lock().expect("only looked at and set");
            let now = self.runtime.now();
            paused.as_ref().is_none_or(|paused| now >= paused.until)
        };
        if due && let Err(error) = self.make() {
            self.refused(&error);
            return false;
        }
        due
    }

    /// Why nothing is kept at the moment, if so.
    pub fn paused(&self) -> Option<String> {
        let paused = self.pause.0.lock().expect("only looked at and set");
        Some(paused.as_ref()?.reason.clone())
    }

    /// Takes note of a failed write. False if it is none of a disk that takes no more: then it is
    /// for the caller to tell.
    pub fn refused(&self, error: &io::Error) -> bool {
        let has_no_place = error.kind() == io::ErrorKind::NotFound && !self.is_made();
        if !takes_no_more(error) && !has_no_place {
            return false;
        }
        let mut paused = self.pause.0.lock().expect("only looked at and set");
        if paused.is_none() {
            tracing::warn!(%error, cache = %self.dir.display(),
                "the cache folder takes no more; going on without it, and trying again later");
        }
        let reason = match paused.take().filter(|_| has_no_place) {
            Some(before) => before.reason,
            None => error.to_string(),
        };
        *paused = Some(Paused {
            reason,
            until: self.runtime.now() + TRIED_AGAIN,
        });
        true
    }

    /// Takes note of a write that went well.
    pub fn accepted(&self) {
        let mut paused = self.pause.0.lock().expect("only looked at and set");
        if paused.take().is_some() {
            tracing::info!(cache = %self.dir.display(), "the cache folder takes writes again");
        }
    }
}

/// Whether a write failed because of the disk, and other writes will fail too: no room, a user's
/// quota, a disk that fails or was made read-only.
fn takes_no_more(error: &io::Error) -> bool {
    /// errno(3): input/output error.
    const EIO: i32 = 5;
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::ReadOnlyFilesystem
    ) || error.raw_os_error() == Some(EIO)
}

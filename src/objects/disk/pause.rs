//! A disk that takes no more: caching stops, reading goes on.
//!
//! May import: seams. Memory only.
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
    /// Whether it is worth trying to write.
    pub fn takes_more(&self) -> bool {
        let paused = self.pause.0.lock().expect("only looked at and set");
        let now = self.runtime.now();
        paused.as_ref().is_none_or(|paused| now >= paused.until)
    }

    /// Why nothing is kept at the moment, if so.
    pub fn paused(&self) -> Option<String> {
        let paused = self.pause.0.lock().expect("only looked at and set");
        Some(paused.as_ref()?.reason.clone())
    }

    /// Takes note of a failed write. False if it is none of a disk that takes no more: then it is
    /// for the caller to tell.
    pub fn refused(&self, error: &io::Error) -> bool {
        if !takes_no_more(error) {
            return false;
        }
        let mut paused = self.pause.0.lock().expect("only looked at and set");
        if paused.is_none() {
            tracing::warn!(%error, cache = %self.dir.display(),
                "the cache folder takes no more; going on without it, and trying again later");
        }
        *paused = Some(Paused {
            reason: error.to_string(),
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

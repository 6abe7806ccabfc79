//! The quota while a mount writes, and which files are in use.
//!
//! May import: seams. Noting a use is memory only; making room is blocking.
//!
//! Always holds: all repositories of the cache folder together take no more than the quota, plus, for
//! each process that writes at that moment, 1/64 of it and what it writes while room is being made.
//! What can't leave (files that are just being written, known sizes) may take more only by itself.
//!
//! The count of what was written is each process's own; the sum is taken from the folders themselves,
//! whenever a process has written 1/64 of the quota since the last time. Room is then made down to 15/16
//! of the quota, so that not every byte that is written later takes a file away.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{CacheFolder, DiskTier};
use crate::{git::oid::Oid, objects::tuning::USED_AGAIN};

/// How many uses of single files are kept in mind until they are written down.
const MOST_USES: usize = 1 << 16;

/// Bytes that a process wrote since the cache was last measured. A clone counts into the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Written(Arc<AtomicU64>);

impl Written {
    /// Counts `bytes` more.
    pub fn add(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// What a tier knows of the quota.
pub(super) struct Quota {
    cache: CacheFolder,
    /// So many bytes are worth measuring again: 1/64 of the quota. Zero before the first time.
    step: AtomicU64,
    /// True while one thread of this process is at it.
    busy: AtomicBool,
}

/// Files that were used since that was last written down.
#[derive(Default)]
pub(super) struct Uses(Mutex<BTreeSet<(Used, Oid)>>);

/// What was used, other than packs, which note it themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Used {
    Loose,
    Large,
}

impl Uses {
    /// Notes that a file was read.
    pub fn note(&self, what: Used, oid: &Oid) {
        let mut uses = self.0.lock().expect("only inserted into");
        if uses.len() < MOST_USES {
            uses.insert((what, *oid));
        }
    }
}

impl DiskTier {
    /// The same tier, which keeps the quota of `cache`, in whose folder it is, from now on.
    pub fn within(mut self, cache: CacheFolder) -> Self {
        self.quota = Some(Quota {
            cache,
            step: AtomicU64::new(0),
            busy: AtomicBool::new(false),
        });
        self
    }

    /// The bytes that the whole cache may take, if this tier keeps to a quota.
    pub fn quota(&self) -> Option<u64> {
        Some(self.quota.as_ref()?.cache.quota())
    }

    /// Whether so much was written that [`DiskTier::make_room`] has something to do. Cheap.
    pub fn is_room_due(&self) -> bool {
        self.quota.as_ref().is_some_and(|quota| {
            let written = self.written.0.load(Ordering::Relaxed);
            written > quota.step.load(Ordering::Relaxed)
        })
    }

    /// Removes the coldest of the whole cache if so much was written that it may be over its quota.
    /// Blocking. A failure is logged: the next one to write tries again.
    pub fn make_room(&self) {
        if self.is_room_due() {
            self.measure();
        }
    }

    fn measure(&self) {
        let Some(quota) = &self.quota else { return };
        if quota.busy.swap(true, Ordering::AcqRel) {
            return;
        }
        let written = self.written.0.swap(0, Ordering::Relaxed);
        let most = quota.cache.quota();
        quota.step.store(most / 64, Ordering::Relaxed);
        match quota.cache.keep_within(most) {
            Ok(Some(room)) if room.pieces > 0 => self.refresh(),
            Ok(Some(_)) => {}
            // Another process is at it, which need not have seen what this one wrote.
            Ok(None) => self.written.add(written),
            Err(error) => {
                self.written.add(written);
                tracing::warn!(%error, "the cache could not be kept within its quota");
            }
        }
        quota.busy.store(false, Ordering::Release);
    }

    /// What is to be done now and then: writes down what was used, lets go of what other processes
    /// removed, merges small packs, and keeps the quota. Blocking.
    pub fn keep_up(&self) {
        self.write_uses();
        self.refresh();
        self.merge_small_packs();
        self.measure();
    }

    fn merge_small_packs(&self) {
        if !self.takes_more() {
            return;
        }
        match self.merge_packs() {
            Ok(_) => {}
            Err(error) if self.refused(&error) => {}
            Err(error) => tracing::warn!(%error, "the cache's small packs could not be merged"),
        }
    }

    /// Writes down what was used, as times of the files. A failure makes things look colder.
    pub fn write_uses(&self) {
        let now = self.runtime.unix_time();
        let packs = self.lock_packs().all();
        for (name, pack) in packs {
            if pack.take_use(now) {
                self.touch(self.pack_dir().join(format!("{name}.pack")), now);
            }
        }
        let uses = std::mem::take(&mut *self.uses.0.lock().expect("only inserted into"));
        for (what, oid) in uses {
            let path = match what {
                Used::Loose => self.loose_path(&oid),
                Used::Large => self.large_dir().join(oid.to_string()),
            };
            self.touch(path, now);
        }
    }

    fn touch(&self, path: PathBuf, now: Duration) {
        if let Err(error) = self.disk.set_modified(&path, now) {
            tracing::debug!(path = %path.display(), %error, "a use could not be noted");
        }
    }
}

/// When a pack was used, and whether that was written down.
#[derive(Default)]
pub(super) struct PackUse {
    used: AtomicBool,
    /// When it was last written down, in seconds since the Unix epoch.
    written: AtomicU64,
}

impl PackUse {
    /// Notes a use.
    pub fn note(&self) {
        self.used.store(true, Ordering::Relaxed);
    }

    /// Whether it was used, and that is to be written down `now`: not more often than once in
    /// [`USED_AGAIN`].
    pub fn take(&self, now: Duration) -> bool {
        let last = Duration::from_secs(self.written.load(Ordering::Relaxed));
        if now.saturating_sub(last) < USED_AGAIN || !self.used.swap(false, Ordering::Relaxed) {
            return false;
        }
        self.written.store(now.as_secs(), Ordering::Relaxed);
        true
    }
}

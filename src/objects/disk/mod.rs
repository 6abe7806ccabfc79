//! The disk tier: a bare Git repository in the cache folder that `git` itself can read.
//!
//! May import: seams, git. Blocking: call it from `Runtime::spawn_blocking`.
//!
//! Always holds:
//! - Nothing becomes visible under its final name before it is whole: every file is written beside
//!   its place and renamed. A pack's index comes last, since readers look for indexes.
//! - Whatever is handed out was hashed, and matches the object id asked for; what does not match
//!   is set aside, and the next source is tried.
//! - Several processes may share it: names of temporary files are unique, final names are content
//!   addressed, and nothing is ever changed in place.
//!
//! Packs and their indexes are synced before they are renamed. Loose objects and large files are
//! not (as git's own default has it): after a power cut one may be torn, which the hash finds.

mod arriving;
#[cfg(test)]
mod at_once_tests;
#[cfg(test)]
mod bench;
#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod durable_tests;
mod folder;
#[cfg(test)]
mod full_tests;
mod git_dir;
mod install;
mod large;
mod loose;
mod making;
mod merge;
mod packs;
mod pause;
mod pieces;
mod room;
#[cfg(test)]
mod rotting;
mod sizes;
mod spool;
#[cfg(test)]
mod tests;
mod verify;

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use bonsaifs_core::rt::SharedRuntime;

pub use arriving::Arriving;
pub use folder::{CacheFolder, CachedRepo, Cleared, Holdings, Room};
pub use git_dir::{Remembered, TreesWent};
pub use install::Installed;
pub use large::{LargeFile, LargeWriter};
pub use spool::Spool;
pub use verify::Checked;

use self::packs::Packs;
use super::content::Content;
use crate::{
    git::{
        oid::{HashKind, ObjectKind, Oid, object_id},
        pack::Limits,
    },
    seams::disk::{Disk, Folder},
};

use super::tuning::AT_ONCE;
pub use super::tuning::LARGE;

/// A bare Git repository in the cache folder.
pub struct DiskTier {
    disk: Arc<dyn Disk>,
    runtime: SharedRuntime,
    dir: PathBuf,
    hash: HashKind,
    packs: Mutex<Packs>,
    sizes: sizes::Sizes,
    names: AtomicU64,
    written: room::Written,
    uses: room::Uses,
    quota: Option<room::Quota>,
    pause: pause::Pause,
    making: making::Making,
}

/// What the tier holds, for `status`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskStatus {
    /// Bytes of packs, indexes, loose objects and large files.
    pub bytes: u64,
    /// Packs.
    pub packs: u64,
    /// Objects in packs, and loose ones; one that is both counts twice.
    pub objects: u64,
    /// The bytes that all repositories of the cache folder may take together, if there is a bound.
    pub quota: Option<u64>,
    /// Why nothing more is kept at the moment, if so.
    pub paused: Option<String>,
}

impl DiskTier {
    /// The object format of the tier in `folder`, or `None` if there is none yet.
    pub fn format_of(folder: &Folder) -> Option<HashKind> {
        git_dir::object_format(folder)
    }

    /// Opens the tier in `folder`, creating it where needed. `url` is what its configuration names
    /// as the promisor remote; it must not carry credentials.
    pub fn open(
        runtime: SharedRuntime,
        folder: Folder,
        hash: HashKind,
        url: &str,
    ) -> io::Result<Self> {
        let tier = Self {
            disk: folder.disk,
            runtime,
            dir: folder.path,
            hash,
            packs: Mutex::default(),
            sizes: sizes::Sizes::default(),
            names: AtomicU64::new(0),
            written: room::Written::default(),
            uses: room::Uses::default(),
            quota: None,
            pause: pause::Pause::default(),
            making: making::Making::new(url),
        };
        // Without room for a folder there is none, until there is.
        match tier.make() {
            Err(error) if tier.refused(&error) => {}
            made => made?,
        }
        tier.remove_leftovers();
        let looked = tier
            .lock_packs()
            .refresh(&*tier.disk, &tier.pack_dir(), hash);
        match looked {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !tier.is_made() => {}
            looked => looked?,
        }
        Ok(tier)
    }

    /// The repository's folder.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// The object format.
    pub fn hash(&self) -> HashKind {
        self.hash
    }

    /// The object, verified, or `None` if it is not here, or only in a damaged form.
    pub fn find(&self, oid: &Oid) -> Option<Content> {
        self.find_loose(oid)
            .or_else(|| self.find_packed(oid))
            .or_else(|| self.open_large(oid).map(Content::large))
    }

    /// The object, verified, if it is in a pack, takes no time worth mentioning, and can be had without
    /// waiting for the disk or for another thread. Not blocking.
    pub fn find_at_once(&self, oid: &Oid) -> Option<Content> {
        let packs = self.packs.try_lock().ok()?.with_at_once(oid);
        packs.iter().find_map(|(pack, offset)| {
            let (kind, data) = pack.read_at_once(*offset, self.hash, AT_ONCE)?;
            let verified = object_id(self.hash, kind, &data) == Some(*oid);
            verified.then(|| pack.note_use())?;
            Some(Content::Whole { kind, data })
        })
    }

    /// Whether the object is here, in whatever state. Packs that another process added since the
    /// last miss are not looked at.
    pub fn has(&self, oid: &Oid) -> bool {
        self.lock_packs().contains(oid)
            || self.loose_header(oid).is_some()
            || self.open_large(oid).is_some()
    }

    /// Makes sure that a power cut leaves these objects here: loose ones are not synced when they are written. False if
    /// one is not here at all.
    pub fn secure(&self, oids: &[Oid]) -> io::Result<bool> {
        let mut folders = BTreeSet::new();
        for oid in oids {
            if self.lock_packs().contains(oid) {
                continue;
            }
            if !self.has(oid) {
                return Ok(false);
            }
            let path = self.loose_path(oid);
            self.disk.open(&path)?.sync()?;
            folders.extend(path.parent().map(Path::to_owned));
        }
        if !folders.is_empty() {
            folders.insert(self.dir.join("objects"));
        }
        for folder in folders {
            self.disk.sync_dir(&folder)?;
        }
        Ok(true)
    }

    /// Looks for packs that other processes added.
    pub fn refresh(&self) {
        if let Err(error) = self
            .lock_packs()
            .refresh(&*self.disk, &self.pack_dir(), self.hash)
        {
            tracing::warn!(%error, "the cache's packs could not be listed");
        }
    }

    /// What is here. Reads every object folder, so it takes some milliseconds.
    pub fn status(&self) -> DiskStatus {
        let mut status = DiskStatus {
            quota: self.quota(),
            paused: self.paused(),
            ..DiskStatus::default()
        };
        {
            let packs = self.lock_packs();
            status.packs = packs.len() as u64;
            status.objects = packs.objects();
        }
        for entry in self.disk.read_dir(&self.pack_dir()).unwrap_or_default() {
            status.bytes += entry.len;
        }
        for entry in self.disk.read_dir(&self.large_dir()).unwrap_or_default() {
            status.bytes += entry.len;
        }
        for (_, entry) in self.loose_files() {
            status.bytes += entry.len;
            status.objects += 1;
        }
        status
    }

    fn find_packed(&self, oid: &Oid) -> Option<Content> {
        let content = self.packed(oid, |pack| self.read_packed(pack, oid));
        if content.is_none() && self.lock_packs().contains(oid) {
            tracing::warn!(object = %oid, "a damaged object in the cache's packs is fetched again");
        }
        content
    }

    fn read_packed(&self, pack: &packs::Pack, oid: &Oid) -> Option<Content> {
        let (kind, size) = pack.header(oid, self.hash)?;
        if Self::is_large(kind, size) {
            let made = || self.large_from_pack(pack, oid, size);
            return self.open_large(oid).or_else(made).map(Content::large);
        }
        let (kind, data) = pack.read(oid, self.hash, Limits::default().max_object)?;
        (object_id(self.hash, kind, &data) == Some(*oid)).then_some(Content::Whole { kind, data })
    }

    fn is_large(kind: ObjectKind, size: u64) -> bool {
        kind == ObjectKind::Blob && size >= LARGE
    }

    /// Tries `read` on each pack that has `oid`, looking for packs of other processes once if no
    /// known pack has it.
    fn packed<T>(&self, oid: &Oid, read: impl Fn(&packs::Pack) -> Option<T>) -> Option<T> {
        let mut candidates = self.lock_packs().with(oid);
        if candidates.is_empty() {
            self.refresh();
            candidates = self.lock_packs().with(oid);
        }
        candidates.iter().find_map(|pack| {
            let found = read(pack)?;
            pack.note_use();
            Some(found)
        })
    }

    /// A file name in `folder` that nobody else uses. The prefix is the one git gives to its own
    /// temporary files, so that `git gc` removes what a crash left behind.
    fn temp(&self, folder: &Path) -> PathBuf {
        let number = self.names.fetch_add(1, Ordering::Relaxed);
        folder.join(format!(
            "tmp_bonsai_{:016x}_{number}",
            self.runtime.random()
        ))
    }

    fn lock_packs(&self) -> std::sync::MutexGuard<'_, Packs> {
        self.packs
            .lock()
            .expect("no code panics while it holds the pack list")
    }

    fn pack_dir(&self) -> PathBuf {
        self.dir.join("objects/pack")
    }

    fn large_dir(&self) -> PathBuf {
        self.dir.join("bonsai/large")
    }
}

/// A disk file as the git room reads packs.
struct FileAt(Arc<dyn crate::seams::disk::DiskFile>);

impl crate::git::pack::ReadAt for FileAt {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(offset, buf)
    }
}

/// The same file, as far as it can be read without waiting.
struct AtOnce<'a>(&'a FileAt);

impl crate::git::pack::ReadAt for AtOnce<'_> {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.0.0.read_at_once(offset, buf)
    }
}

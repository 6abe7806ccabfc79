//! The packs of an object directory: small indexes in memory, large ones and all bytes on disk.

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;

use super::{
    super::tuning::{INDEX_IN_MEMORY, READ_AROUND},
    AtOnce, FileAt,
    room::PackUse,
};
use crate::{
    git::{
        oid::{HashKind, ObjectKind, Oid},
        pack::{PackError, index::Index, index_file::IndexFile, read},
    },
    seams::disk::Disk,
};

/// One pack, open.
pub(super) struct Pack {
    file: FileAt,
    index: PackIndex,
    used: PackUse,
    /// Which part the disk was told to read last, in parts of [`READ_AROUND`] bytes.
    told: AtomicU64,
}

/// What [`Index`] and [`IndexFile`] have in common. A small one is worth less than an open file.
enum PackIndex {
    InMemory(Index),
    Stored(IndexFile<FileAt>),
}

/// All packs that are known, by file name without its ending.
#[derive(Default)]
pub(super) struct Packs {
    known: BTreeMap<String, Arc<Pack>>,
    /// One of them: the one that had what was looked for last. What came together is read together.
    last: Option<Arc<Pack>>,
}

impl PackIndex {
    fn open(disk: &dyn Disk, path: &Path, hash: HashKind) -> io::Result<Self> {
        let file = disk.open(path)?;
        let len = file.len()?;
        let damaged = |error| match error {
            PackError::Read { source, .. } => source,
            error => io::Error::new(io::ErrorKind::InvalidData, error),
        };
        if len > INDEX_IN_MEMORY {
            let index = IndexFile::open(FileAt(file), len, hash).map_err(damaged)?;
            return Ok(Self::Stored(index));
        }
        let index = Index::parse(Bytes::from(disk.read(path)?), hash).map_err(damaged)?;
        Ok(Self::InMemory(index))
    }

    fn find(&self, oid: &Oid) -> Option<u64> {
        match self {
            Self::InMemory(index) => index.find(oid),
            Self::Stored(index) => index.find(oid),
        }
    }

    fn find_at_once(&self, oid: &Oid) -> Option<u64> {
        match self {
            Self::InMemory(index) => index.find(oid),
            Self::Stored(index) => index.find_by(&AtOnce(index.file()), oid),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::InMemory(index) => index.len(),
            Self::Stored(index) => index.len(),
        }
    }
}

impl Pack {
    /// Opens `name`.pack and .idx in `folder`.
    pub fn open(disk: &dyn Disk, folder: &Path, name: &str, hash: HashKind) -> io::Result<Self> {
        let index = PackIndex::open(disk, &folder.join(format!("{name}.idx")), hash)?;
        let file = FileAt(disk.open(&folder.join(format!("{name}.pack")))?);
        Ok(Self {
            file,
            index,
            used: PackUse::default(),
            told: AtomicU64::new(u64::MAX),
        })
    }

    /// Notes that an object of it was read.
    pub fn note_use(&self) {
        self.used.note();
    }

    /// Whether it was used, and that is to be written down `now`, since the Unix epoch.
    pub fn take_use(&self, now: Duration) -> bool {
        self.used.take(now)
    }

    /// Kind and size of an object that the index has; `None` if the entry is damaged.
    pub fn header(&self, oid: &Oid, hash: HashKind) -> Option<(ObjectKind, u64)> {
        let offset = self.index.find(oid)?;
        read::object_header(&self.file, offset, hash, &|base| self.index.find(base)).ok()
    }

    /// The object, not verified; `None` if the entry is damaged.
    pub fn read(&self, oid: &Oid, hash: HashKind, max: u64) -> Option<(ObjectKind, Bytes)> {
        let offset = self.index.find(oid)?;
        self.read_around(offset);
        read::read_object(&self.file, offset, hash, &|base| self.index.find(base), max).ok()
    }

    fn read_around(&self, offset: u64) {
        let part = offset / READ_AROUND;
        if self.told.swap(part, Ordering::Relaxed) != part {
            self.file.0.will_read(part * READ_AROUND, READ_AROUND);
        }
    }

    /// The object at `offset`, as [`Pack::read`] has it, if all of it can be read without waiting.
    pub fn read_at_once(
        &self,
        offset: u64,
        hash: HashKind,
        max: u64,
    ) -> Option<(ObjectKind, Bytes)> {
        let find = |oid: &Oid| self.index.find_at_once(oid);
        read::read_object(&AtOnce(&self.file), offset, hash, &find, max).ok()
    }

    /// Streams an object that is not a delta; `None` if it is one, or is damaged, or `out` fails.
    pub fn stream(
        &self,
        oid: &Oid,
        hash: HashKind,
        out: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Option<(ObjectKind, u64)> {
        let offset = self.index.find(oid)?;
        read::stream_entry(&self.file, offset, hash, out).ok()
    }
}

impl Packs {
    /// Looks for packs that came since the last time, and forgets those that went.
    pub fn refresh(&mut self, disk: &dyn Disk, folder: &Path, hash: HashKind) -> io::Result<()> {
        /// How often packs may go between a look into the folder and the opening of one.
        const LOOKS: usize = 8;
        for _ in 0..LOOKS {
            // What went may be in a pack that came after the look into the folder.
            if !self.look(disk, folder, hash)? {
                break;
            }
        }
        Ok(())
    }

    /// Whether a pack went while it was to be opened.
    fn look(&mut self, disk: &dyn Disk, folder: &Path, hash: HashKind) -> io::Result<bool> {
        let mut went = false;
        let mut seen = BTreeMap::new();
        for entry in disk.read_dir(folder)? {
            let Some(name) = entry
                .name
                .to_str()
                .and_then(|name| name.strip_suffix(".idx"))
            else {
                continue;
            };
            if !name.starts_with("pack-") {
                continue;
            }
            if let Some(pack) = self.known.remove(name) {
                seen.insert(name.to_owned(), pack);
                continue;
            }
            match Pack::open(disk, folder, name, hash) {
                Ok(pack) => {
                    seen.insert(name.to_owned(), Arc::new(pack));
                }
                // Another process removed it just now.
                Err(error) if error.kind() == io::ErrorKind::NotFound => went = true,
                Err(error) => {
                    tracing::warn!(pack = name, %error, "a pack of the cache can't be used");
                }
            }
        }
        self.known = seen;
        self.last = None;
        Ok(went)
    }

    /// Forgets the pack `name`, so that the next look opens the file which has that name then.
    pub fn forget(&mut self, name: &str) {
        self.known.remove(name);
        self.last = None;
    }

    /// The packs whose index has `oid`.
    pub fn with(&mut self, oid: &Oid) -> Vec<Arc<Pack>> {
        let packs = self.known.values();
        let found: Vec<_> = packs
            .filter(|pack| pack.index.find(oid).is_some())
            .cloned()
            .collect();
        if let Some(pack) = found.first() {
            self.last = Some(Arc::clone(pack));
        }
        found
    }

    /// As [`Packs::with`], of those packs whose index can be read without waiting, and where in each it is. Where there
    /// are so many that looking takes a while, only the one that had the last object is looked into.
    pub fn with_at_once(&mut self, oid: &Oid) -> Vec<(Arc<Pack>, u64)> {
        /// A look into an index in memory takes less than a tenth of a microsecond, into a stored one, of
        /// which there are few, some microseconds.
        const FEW: usize = 512;
        let at = |pack: &Arc<Pack>| Some((Arc::clone(pack), pack.index.find_at_once(oid)?));
        if let Some(found) = self.last.as_ref().and_then(at) {
            return vec![found];
        }
        let few = self.known.len() <= FEW;
        let packs = self.known.values().filter(|_| few);
        let found: Vec<_> = packs.filter_map(at).collect();
        if let Some((pack, _)) = found.first() {
            self.last = Some(Arc::clone(pack));
        }
        found
    }

    /// Whether any index has `oid`.
    pub fn contains(&self, oid: &Oid) -> bool {
        self.known
            .values()
            .any(|pack| pack.index.find(oid).is_some())
    }

    /// The pack `name`, if it is known.
    pub fn get(&self, name: &str) -> Option<Arc<Pack>> {
        self.known.get(name).cloned()
    }

    /// All of them, with their names.
    pub fn all(&self) -> Vec<(String, Arc<Pack>)> {
        let known = self.known.iter();
        known
            .map(|(name, pack)| (name.clone(), pack.clone()))
            .collect()
    }

    /// Packs known.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Objects in them.
    pub fn objects(&self) -> u64 {
        self.known
            .values()
            .map(|pack| pack.index.len() as u64)
            .sum()
    }
}

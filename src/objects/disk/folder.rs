//! The cache folder as a whole: every repository in it, and the bytes that all of them may take.
//!
//! May import: seams, git. Blocking.
//!
//! Always holds: nothing here stops a reader: what is open can be read to its end, what is gone is
//! fetched again; a repository that a mount uses is never removed as a whole; several processes may
//! do any of this at the same time.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use bonsaifs_core::rt::SharedRuntime;

use super::{
    DiskTier, git_dir,
    pieces::{self, Kind, Piece, Pieces, TEMPORARY},
    verify::Checked,
};
use crate::{
    git::oid::HashKind,
    seams::disk::{Disk, Folder, Hold},
};

/// Held, shared, by each process that uses a repository of the cache.
pub(super) const IN_USE: &str = "bonsai/in-use.lock";
/// Held by the one process that makes room.
const MAKES_ROOM: &str = "room.lock";
/// Where `--cache-size` is kept.
const SIZE_FILE: &str = "size";
/// The most that a cache takes if nobody says otherwise: 10 GiB, or a tenth of the disk.
const MOST: u64 = 10 << 30;
/// What begins the name of a folder that is being removed.
const GOING: &str = ".going-";

/// A quota as it is kept: its bytes in decimal, and the checksum of these digits.
fn size_line(bytes: u64) -> String {
    let sum = crc32fast::hash(bytes.to_string().as_bytes());
    format!("{bytes} {sum:08x}\n")
}

/// What [`size_line`] told, if that is what it is still.
fn kept_size(raw: &[u8]) -> Option<u64> {
    let line = str::from_utf8(raw).ok()?;
    let bytes = line.split(' ').next()?.parse().ok()?;
    (size_line(bytes) == line).then_some(bytes)
}

/// A cache folder.
#[derive(Clone)]
pub struct CacheFolder {
    runtime: SharedRuntime,
    folder: Folder,
    /// The quota if none was ever kept.
    default: Option<u64>,
}

/// One repository in a cache folder.
#[derive(Clone, Debug)]
pub struct CachedRepo {
    /// Its folder.
    pub path: PathBuf,
    /// The repository that it caches, without credentials.
    pub source: String,
    /// Its object format.
    hash: HashKind,
}

/// What a repository of the cache holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Bytes of everything.
    pub bytes: u64,
    /// Packs.
    pub packs: u64,
    /// Objects in packs and loose ones; one that is both counts twice.
    pub objects: u64,
    /// Loose objects.
    pub loose: u64,
    /// Large files.
    pub large: u64,
    /// When anything of it was last used, since the Unix epoch; zero if never.
    pub used: Duration,
    /// Whether a process uses it; `None` if that can't be told.
    pub in_use: Option<bool>,
}

/// What [`CacheFolder::clear`] did with one repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleared {
    /// It is gone, and that freed so many bytes.
    Gone(u64),
    /// A mount uses it.
    InUse,
}

/// What was removed to make room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Bytes of leftovers and of what was coldest.
    pub freed: u64,
    /// Packs, loose objects and large files that left.
    pub pieces: u64,
    /// Bytes that are still there.
    pub left: u64,
}

impl CacheFolder {
    /// The cache in `folder`, which need not exist.
    pub fn new(runtime: SharedRuntime, folder: Folder) -> Self {
        Self {
            runtime,
            folder,
            default: None,
        }
    }

    /// The same, with `bytes` as its quota from now on, whoever uses it. If that can't be written
    /// down, for this process only.
    pub fn with_quota(mut self, bytes: u64) -> Self {
        self.default = Some(bytes);
        if let Err(error) = self.set_quota(bytes) {
            tracing::warn!(%error, "the size of the cache could not be written down");
        }
        self
    }

    /// Its repositories, by folder name. One whose making was cut short is none.
    ///
    /// # Errors
    /// If there is a folder and it can't be read.
    pub fn repos(&self) -> io::Result<Vec<CachedRepo>> {
        let repos = self.folder.path.join("repos");
        let entries = match self.folder.disk.read_dir(&repos) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let named = entries
            .into_iter()
            .filter(|entry| entry.is_dir && !entry.name.as_encoded_bytes().starts_with(b"."));
        let found = named.filter_map(|entry| {
            let path = repos.join(entry.name);
            let disk = &*self.folder.disk;
            let hash = git_dir::hash_of(disk, &path)?;
            let source = git_dir::source_of(disk, &path).unwrap_or_default();
            Some(CachedRepo { path, source, hash })
        });
        Ok(found.collect())
    }

    /// What `repo` holds.
    pub fn holdings(&self, repo: &CachedRepo) -> Holdings {
        let disk = &*self.folder.disk;
        let all = Pieces::list(disk, &repo.path);
        let mut holdings = Holdings {
            bytes: all.bytes(),
            in_use: self.in_use(repo),
            ..Holdings::default()
        };
        for piece in &all.pieces {
            holdings.used = holdings.used.max(piece.used);
            match piece.kind {
                Kind::Pack => {
                    holdings.packs += 1;
                    let index = piece.file("idx");
                    holdings.objects += index.map_or(0, |path| objects_of(disk, &path));
                }
                Kind::Loose => {
                    holdings.loose += 1;
                    holdings.objects += 1;
                }
                Kind::Large => holdings.large += 1,
            }
        }
        holdings
    }

    fn in_use(&self, repo: &CachedRepo) -> Option<bool> {
        match self.folder.disk.try_lock(&repo.path.join(IN_USE)) {
            Ok(lock) => Some(lock.is_none()),
            Err(_) => None,
        }
    }

    /// The bytes that the whole cache may take: what [`CacheFolder::set_quota`] was last told, else
    /// 10 GiB or a tenth of the disk, whichever is less.
    pub fn quota(&self) -> u64 {
        let disk = &self.folder.disk;
        let kept = disk.read(&self.folder.path.join(SIZE_FILE)).ok();
        // One that rotted is none: the cache would take more than it may, or throw all away.
        let kept = kept.and_then(|raw| kept_size(&raw));
        kept.or(self.default).unwrap_or_else(|| {
            let whole = disk.total_bytes(&self.folder.path);
            whole.map_or(MOST, |whole| MOST.min(whole / 10))
        })
    }

    /// From now on the whole cache may take `bytes`, whoever uses it.
    ///
    /// # Errors
    /// If that can't be written down.
    pub fn set_quota(&self, bytes: u64) -> io::Result<()> {
        let Folder { disk, path } = &self.folder;
        disk.create_dir_all(path)?;
        let temp = path.join(format!("{TEMPORARY}{:016x}", self.runtime.random()));
        disk.write_whole(&path.join(SIZE_FILE), &temp, size_line(bytes).as_bytes())
    }

    /// Removes the coldest packs, loose objects and large files, of whatever repository, until all
    /// that is left takes `bytes` at the most. Waits for other processes that do the same.
    ///
    /// # Errors
    /// If the folder can't be read, or a piece can't be removed.
    pub fn make_room(&self, bytes: u64) -> io::Result<Room> {
        let Folder { disk, path } = &self.folder;
        let _alone = disk.lock(&path.join(MAKES_ROOM), Hold::Alone)?;
        self.shrink(bytes, bytes)
    }

    /// As [`CacheFolder::make_room`] for a sixteenth less than `quota` if there is more than `quota`.
    /// Nothing is done, and the answer is `None`, while another process is at it.
    pub(super) fn keep_within(&self, quota: u64) -> io::Result<Option<Room>> {
        let Folder { disk, path } = &self.folder;
        match disk.try_lock(&path.join(MAKES_ROOM))? {
            None => Ok(None),
            Some(_alone) => self.shrink(quota, quota - quota / 16).map(Some),
        }
    }

    /// If there is more than `most`, makes it `target` or less.
    fn shrink(&self, most: u64, target: u64) -> io::Result<Room> {
        let repos = self.repos()?;
        let disk = &*self.folder.disk;
        let mut room = Room::default();
        let mut all: Vec<(usize, Piece)> = Vec::new();
        for (index, repo) in repos.iter().enumerate() {
            let pieces = Pieces::list(disk, &repo.path);
            room.left += pieces.bytes();
            all.extend(pieces.pieces.into_iter().map(|piece| (index, piece)));
        }
        if room.left <= most {
            return Ok(room);
        }
        all.sort_by_key(|(_, piece)| piece.used);
        let mut going: Vec<Vec<Piece>> = vec![Vec::new(); repos.len()];
        let mut excess = room.left - target;
        for (index, piece) in all {
            if excess == 0 {
                break;
            }
            excess = excess.saturating_sub(piece.bytes);
            going[index].push(piece);
        }
        for (repo, pieces) in repos.iter().zip(going) {
            if pieces.is_empty() {
                continue;
            }
            let random = || self.runtime.random();
            let trees = |piece: &Piece, hash| piece.may_have_trees(disk, hash);
            let freed = pieces::remove(disk, &repo.path, &pieces, trees, &random)?;
            tracing::info!(repo = %repo.path.display(), pieces = pieces.len(), bytes = freed,
                "the coldest of the cache left");
            room.freed += freed;
            room.pieces += pieces.len() as u64;
            room.left -= freed.min(room.left);
        }
        Ok(room)
    }

    /// Removes what crashes left behind more than a day ago, what was being cleared when a process
    /// ended, merges small packs, and makes room for the quota.
    ///
    /// # Errors
    /// As [`CacheFolder::make_room`].
    pub fn collect_garbage(&self, quota: u64) -> io::Result<Room> {
        let Folder { disk, path } = &self.folder;
        let repos = path.join("repos");
        if disk
            .read_dir(&repos)
            .is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
        {
            return Ok(Room::default());
        }
        let before = self.bytes()?;
        for entry in disk.read_dir(&repos)? {
            if entry.name.as_encoded_bytes().starts_with(GOING.as_bytes()) {
                disk.remove_dir_all(&repos.join(entry.name))?;
            }
        }
        for repo in self.repos()? {
            let tier = self.open(&repo)?;
            tier.remove_leftovers();
            tier.merge_packs()?;
        }
        let mut room = self.make_room(quota)?;
        room.left = self.bytes()?;
        room.freed = before.saturating_sub(room.left);
        Ok(room)
    }

    /// Bytes of all repositories.
    fn bytes(&self) -> io::Result<u64> {
        let disk = &*self.folder.disk;
        let repos = self.repos()?;
        Ok(repos
            .iter()
            .map(|repo| Pieces::list(disk, &repo.path).bytes())
            .sum())
    }

    /// Removes `repo`, unless a process uses it.
    ///
    /// # Errors
    /// What the disk says.
    pub fn clear(&self, repo: &CachedRepo) -> io::Result<Cleared> {
        let disk = &self.folder.disk;
        let Some(lock) = disk.try_lock(&repo.path.join(IN_USE))? else {
            return Ok(Cleared::InUse);
        };
        let bytes = Pieces::list(&**disk, &repo.path).bytes();
        let going = format!("{GOING}{:016x}", self.runtime.random());
        let going = self.folder.path.join("repos").join(going);
        // Whoever waits for the lock finds that the name is free, and begins anew.
        disk.rename(&repo.path, &going)?;
        drop(lock);
        disk.remove_dir_all(&going)?;
        Ok(Cleared::Gone(bytes))
    }

    /// Reads everything in `repo`, and removes what is not what its name says.
    ///
    /// # Errors
    /// If it can't be opened, or what is damaged can't be removed.
    pub fn verify(&self, repo: &CachedRepo) -> io::Result<Checked> {
        self.open(repo)?.verify()
    }

    fn open(&self, repo: &CachedRepo) -> io::Result<DiskTier> {
        let folder = Folder {
            disk: self.folder.disk.clone(),
            path: repo.path.clone(),
        };
        DiskTier::open(self.runtime.clone(), folder, repo.hash, &repo.source)
    }
}

/// How many objects the index at `path` has (gitformat-pack: the last word of its fan-out table).
fn objects_of(disk: &dyn Disk, path: &Path) -> u64 {
    let mut count = [0; 4];
    let read = disk
        .open(path)
        .and_then(|file| file.read_at(8 + 255 * 4, &mut count));
    match read {
        Ok(4) => u64::from(u32::from_be_bytes(count)),
        _ => 0,
    }
}

#[cfg(test)]
#[path = "folder_tests.rs"]
mod tests;

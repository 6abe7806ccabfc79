//! What a repository of the cache is made of, told from its folders alone: packs, loose objects, large
//! files. Each can go by itself; what went is fetched again.
//!
//! May import: seams, git. Blocking.
//!
//! Always holds: a pack loses its index first, as readers look for indexes; what says that all of a
//! commit is here goes before the first tree does.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    git::{
        loose,
        oid::{HashKind, ObjectKind},
        pack::{EntryKind, index::Index, read},
    },
    seams::disk::{Disk, DiskEntry, DiskLock, Hold},
};

use super::{FileAt, git_dir};

/// How temporary files are called.
pub(super) const TEMPORARY: &str = "tmp_bonsai_";
/// Held for a moment by whoever adds a pack (shared) or removes something (alone).
const CHANGES: &str = "bonsai/changes.lock";
/// Has another content after each time that trees went.
const TREES_WENT: &str = "bonsai/trees-went";

/// What a piece is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Pack,
    Loose,
    Large,
}

/// Something that can leave a cache by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub kind: Kind,
    /// The folder that its files are in.
    pub folder: PathBuf,
    /// Its files in the order in which they are removed.
    pub files: Vec<String>,
    /// Bytes of all of them.
    pub bytes: u64,
    /// When it was last used, as far as that was written down, since the Unix epoch.
    pub used: Duration,
}

/// All that is in a repository's folder.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    pub pieces: Vec<Piece>,
    /// Bytes of what is no piece: temporary files, known sizes.
    pub other: u64,
}

impl Pieces {
    /// Bytes of everything.
    pub fn bytes(&self) -> u64 {
        self.other + self.pieces.iter().map(|piece| piece.bytes).sum::<u64>()
    }

    /// Looks into the folders of the repository `dir`. What can't be listed counts as empty.
    pub fn list(disk: &dyn Disk, dir: &Path) -> Self {
        let mut all = Self::default();
        let pack_dir = dir.join("objects/pack");
        all.take(disk, &pack_dir, Kind::Pack, |name| {
            name.rsplit_once('.').filter(|_| name.starts_with("pack-"))
        });
        all.take(disk, &dir.join("bonsai/large"), Kind::Large, |name| {
            Some(name.split_once('.').unwrap_or((name, "")))
        });
        for folder in loose_folders(disk, dir) {
            all.take(disk, &folder, Kind::Loose, |name| Some((name, "")));
        }
        for entry in disk.read_dir(&dir.join("bonsai")).unwrap_or_default() {
            all.other += entry.len;
        }
        all
    }

    /// Takes the files of `folder`, of which those with the same stem are one piece.
    fn take(
        &mut self,
        disk: &dyn Disk,
        folder: &Path,
        kind: Kind,
        stem: impl Fn(&str) -> Option<(&str, &str)>,
    ) {
        let mut found: BTreeMap<String, Piece> = BTreeMap::new();
        for DiskEntry {
            name,
            len,
            modified,
            ..
        } in disk.read_dir(folder).unwrap_or_default()
        {
            let name = name.to_str().filter(|name| !name.starts_with("tmp_"));
            let Some((name, (stem, ending))) = name.and_then(|name| Some((name, stem(name)?)))
            else {
                self.other += len;
                continue;
            };
            let piece = found.entry(stem.to_owned()).or_insert_with(|| Piece {
                kind,
                folder: folder.to_owned(),
                files: Vec::new(),
                bytes: 0,
                used: Duration::ZERO,
            });
            piece.bytes += len;
            // A use is noted on the main file.
            if matches!(ending, "pack" | "") {
                piece.used = modified;
            }
            match ending {
                "idx" => piece.files.insert(0, name.to_owned()),
                _ => piece.files.push(name.to_owned()),
            }
        }
        for (_, mut piece) in found {
            if kind == Kind::Pack && !(piece.has("idx") && piece.has("pack")) {
                // Just being installed, or what a crash left of that.
                self.other += piece.bytes;
                continue;
            }
            // Of a large file the data goes before the checksums, without which it is none.
            if kind == Kind::Large {
                piece.files.sort();
            }
            self.pieces.push(piece);
        }
    }
}

impl Piece {
    /// Whether it has a file with this ending.
    pub fn has(&self, ending: &str) -> bool {
        self.file(ending).is_some()
    }

    /// The path of its file with this ending.
    pub fn file(&self, ending: &str) -> Option<PathBuf> {
        let is = |name: &&String| name.rsplit_once('.').is_some_and(|(_, own)| own == ending);
        let name = self.files.iter().find(is)?;
        Some(self.folder.join(name))
    }

    /// Whether it may hold commits, tags or trees: true in case of doubt.
    ///
    /// An entry that is a delta has its base in the same pack, and the chain ends at a whole object
    /// of the same kind, so a look at the whole ones is enough.
    pub fn may_have_trees(&self, disk: &dyn Disk, hash: HashKind) -> bool {
        match self.kind {
            Kind::Large => false,
            Kind::Loose => self.files.iter().any(|name| {
                let mut head = [0; 128];
                let file = disk.open(&self.folder.join(name));
                let len = file.and_then(|file| file.read_at(0, &mut head));
                !len.is_ok_and(|len| {
                    loose::header(&head[..len]).is_ok_and(|(kind, _)| kind == ObjectKind::Blob)
                })
            }),
            Kind::Pack => !self.only_blobs(disk, hash).unwrap_or(false),
        }
    }

    fn only_blobs(&self, disk: &dyn Disk, hash: HashKind) -> Option<bool> {
        let index = disk.read(&self.file("idx")?).ok()?;
        let index = Index::parse(index.into(), hash).ok()?;
        let pack = FileAt(disk.open(&self.file("pack")?).ok()?);
        let mut offsets: Vec<u64> = index.oids().map(|(_, offset)| offset).collect();
        // Git writes commits and trees first, so the first entries mostly tell.
        offsets.sort_unstable();
        for offset in offsets {
            match read::entry_header(&pack, offset, hash).ok()?.kind {
                EntryKind::Base(ObjectKind::Blob)
                | EntryKind::OfsDelta(_)
                | EntryKind::RefDelta(_) => {}
                EntryKind::Base(_) => return Some(false),
            }
        }
        Some(true)
    }

    fn remove(&self, disk: &dyn Disk) -> io::Result<()> {
        for name in &self.files {
            gone(disk.remove_file(&self.folder.join(name)))?;
        }
        Ok(())
    }
}

/// The folders of loose objects.
pub(super) fn loose_folders(disk: &dyn Disk, dir: &Path) -> Vec<PathBuf> {
    let objects = dir.join("objects");
    let folders = disk.read_dir(&objects).unwrap_or_default().into_iter();
    folders
        .filter(|entry| entry.is_dir && entry.name.len() == 2)
        .map(|entry| objects.join(entry.name))
        .collect()
}

/// Keeps pieces from being removed, or with [`Hold::Alone`] from being added, until the lock is dropped.
/// There is none on a file system that has no locks.
pub(super) fn lock_changes(
    disk: &dyn Disk,
    dir: &Path,
    hold: Hold,
) -> io::Result<Option<DiskLock>> {
    /// errno(3): no locks available, as a network file system says.
    const ENOLCK: i32 = 37;
    match disk.lock(&dir.join(CHANGES), hold) {
        Ok(lock) => Ok(Some(lock)),
        Err(error)
            if error.kind() == io::ErrorKind::Unsupported
                || error.raw_os_error() == Some(ENOLCK) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Somebody else may have removed it, which is as good.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Removes `pieces` of the repository `dir`; the bytes that this freed. Readers that have them open
/// go on reading. `trees` tells of a piece whether it may hold commits, tags or trees.
///
/// # Errors
/// What the disk says; then some may still be there.
pub(super) fn remove(
    disk: &dyn Disk,
    dir: &Path,
    pieces: &[Piece],
    trees: impl Fn(&Piece, HashKind) -> bool,
    random: &dyn Fn() -> u64,
) -> io::Result<u64> {
    let _alone = lock_changes(disk, dir, Hold::Alone)?;
    let hash = git_dir::hash_of(disk, dir).unwrap_or(HashKind::Sha1);
    if pieces.iter().any(|piece| trees(piece, hash)) {
        // Whoever downloads a commit just now does not mark it (see `trees_went`).
        let temp = dir.join(format!("bonsai/{TEMPORARY}{:016x}", random()));
        let content = format!("{:016x}\n", random());
        disk.write_whole(&dir.join(TREES_WENT), &temp, content.as_bytes())?;
        tracing::info!(repo = %dir.display(), "trees leave the cache: no commit is complete any more");
        drop_marks(disk, dir)?;
    }
    let mut freed = 0;
    for piece in pieces {
        piece.remove(disk)?;
        freed += piece.bytes;
    }
    Ok(freed)
}

/// Removes `pieces` of the repository `dir` whose objects are all in another pack by now.
///
/// # Errors
/// What the disk says; then some may still be there.
pub(super) fn remove_copied(disk: &dyn Disk, dir: &Path, pieces: &[Piece]) -> io::Result<()> {
    let _alone = lock_changes(disk, dir, Hold::Alone)?;
    pieces.iter().try_for_each(|piece| piece.remove(disk))
}

/// Another value after each time that trees left the repository `dir`.
pub(super) fn trees_went(disk: &dyn Disk, dir: &Path) -> Vec<u8> {
    disk.read(&dir.join(TREES_WENT)).unwrap_or_default()
}

/// Forgets which commits are all here, and git's own refs to them.
fn drop_marks(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    let complete = dir.join("bonsai/complete");
    for entry in disk.read_dir(&complete)? {
        gone(disk.remove_file(&complete.join(entry.name)))?;
    }
    // A power cut must not bring them back when it leaves the trees away.
    disk.sync_dir(&complete)?;
    gone(disk.remove_file(&dir.join("shallow")))?;
    let mut folders = vec![dir.join("refs")];
    while let Some(folder) = folders.pop() {
        for entry in disk.read_dir(&folder)? {
            let path = folder.join(entry.name);
            match entry.is_dir {
                true => folders.push(path),
                false => gone(disk.remove_file(&path))?,
            }
        }
    }
    Ok(())
}

//! Merging, with a look at every moment: `git`, and another process.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;

use super::*;
use crate::{
    git::oid::{HashKind, ObjectKind},
    objects::{
        disk::tests::{git, install},
        testing::{as_std_disk, id, tier, tier_on},
    },
    seams::disk::{Disk, DiskEntry, DiskLock, Hold, StdDisk},
};

/// A disk that does not do its nth change and none after, as if the process had been killed then.
struct Killed {
    changes: AtomicU64,
    at: u64,
}

impl Killed {
    fn change(&self) -> io::Result<()> {
        match self.changes.fetch_add(1, Ordering::Relaxed) < self.at {
            true => Ok(()),
            false => Err(io::Error::other("killed")),
        }
    }
}

impl Disk for Killed {
    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.change()?;
        StdDisk.create_new(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change()?;
        StdDisk.rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.change()?;
        StdDisk.remove_file(path)
    }
    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.change()?;
        StdDisk.remove_dir_all(path)
    }
    fn set_modified(&self, path: &Path, when: Duration) -> io::Result<()> {
        self.change()?;
        StdDisk.set_modified(path, when)
    }
    as_std_disk! {
        open(path: &Path) -> Arc<dyn DiskFile>;
        create_dir_all(path: &Path) -> ();
        read_dir(path: &Path) -> Vec<DiskEntry>;
        sync_dir(path: &Path) -> ();
        free_bytes(path: &Path) -> u64;
        total_bytes(path: &Path) -> u64;
        lock(path: &Path, hold: Hold) -> DiskLock;
        try_lock(path: &Path) -> Option<DiskLock>;
    }
}

fn blob(n: usize) -> Bytes {
    Bytes::from(format!("blob {n}\n").repeat(n + 1))
}

/// A cache with `packs` packs of two blobs each; the ids of all.
fn small_packs(dir: &Path, packs: usize) -> Vec<Oid> {
    let tier = tier(dir);
    for n in 0..packs {
        let objects = [blob(2 * n), blob(2 * n + 1)].map(|data| (ObjectKind::Blob, data));
        install(&tier, &objects);
    }
    (0..2 * packs)
        .map(|n| id(ObjectKind::Blob, &blob(n)))
        .collect()
}

fn packs(dir: &Path) -> usize {
    let entries = StdDisk
        .read_dir(&dir.join("objects/pack"))
        .expect("a folder");
    let is_pack = |entry: &&DiskEntry| entry.name.to_string_lossy().ends_with(".pack");
    entries.iter().filter(is_pack).count()
}

#[tokio::test]
async fn many_small_packs_become_one_under_the_eyes_of_another_process() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let oids = small_packs(dir.path(), SMALL_PACKS + 3);
    let reader = tier(dir.path());
    let merger = tier(dir.path());
    let merged = merger.merge_packs().expect("it works");
    assert_eq!(merged, SMALL_PACKS as u64 + 3);
    assert_eq!(packs(dir.path()), 1);
    let late = tier(dir.path());
    for at in [&reader, &merger, &late] {
        assert!(oids.iter().all(|oid| at.find(oid).is_some()));
        at.refresh();
        assert!(oids.iter().all(|oid| at.find(oid).is_some()));
    }
    let (sound, said) = git(dir.path(), &["fsck", "--full", "--strict"]);
    assert!(sound, "{said}");
    assert_eq!(
        merger.merge_packs().expect("it works"),
        0,
        "one is not many"
    );
}

#[tokio::test]
async fn killed_at_any_change_nothing_is_lost_and_git_reads_all() {
    for at in 0.. {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let oids = small_packs(dir.path(), SMALL_PACKS);
        let disk = Killed {
            changes: AtomicU64::new(0),
            at,
        };
        // Opening it changes nothing, as it is there.
        let merged = tier_on(Arc::new(disk), dir.path()).merge_packs();
        let (sound, said) = git(dir.path(), &["fsck", "--full", "--strict"]);
        assert!(sound, "{at}: {said}");
        let after = tier(dir.path());
        for oid in &oids {
            assert!(after.find(oid).is_some(), "{at}: {oid}");
        }
        if merged.is_ok() {
            assert!(at > 5, "there are changes to be killed at");
            return;
        }
    }
}

#[tokio::test]
async fn damaged_packs_and_objects_that_are_twice_stay_as_they_are() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let oids = small_packs(dir.path(), SMALL_PACKS + 2);
    let tier = tier(dir.path());
    // A pack that shares an object with another one.
    install(
        &tier,
        &[(ObjectKind::Blob, blob(0)), (ObjectKind::Blob, blob(999))],
    );
    let entries = StdDisk
        .read_dir(&dir.path().join("objects/pack"))
        .expect("a folder");
    let pack = entries
        .iter()
        .find(|entry| entry.name.to_string_lossy().ends_with(".pack"));
    let path = dir
        .path()
        .join("objects/pack")
        .join(&pack.expect("a pack").name);
    let mut raw = std::fs::read(&path).expect("it can be read");
    let middle = raw.len() / 2;
    raw[middle] ^= 1;
    std::fs::write(&path, raw).expect("it can be written");
    let merged = tier.merge_packs().expect("it works");
    assert!(merged >= SMALL_PACKS as u64, "{merged}");
    assert_eq!(
        packs(dir.path()) as u64,
        SMALL_PACKS as u64 + 3 - merged + 1
    );
    assert!(path.exists(), "the damaged one");
    let found = oids.iter().filter(|oid| tier.find(oid).is_some()).count();
    assert!(found >= oids.len() - 2, "{found} of {}", oids.len());
    assert!(tier.find(&id(ObjectKind::Blob, &blob(999))).is_some());
}

#[tokio::test]
async fn trees_are_not_mixed_with_blobs_and_keep_their_marks() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    small_packs(dir.path(), SMALL_PACKS);
    let tier = tier(dir.path());
    let mut trees = Vec::new();
    for n in 0..SMALL_PACKS {
        let mut tree = format!("100644 file-{n}\0").into_bytes();
        tree.extend(id(ObjectKind::Blob, &blob(0)).as_slice());
        trees.push(id(ObjectKind::Tree, &tree));
        install(&tier, &[(ObjectKind::Tree, tree.into())]);
    }
    tier.mark_complete(&trees[0], &tier.trees_went())
        .expect("room");
    assert_eq!(
        tier.merge_packs().expect("it works"),
        2 * SMALL_PACKS as u64
    );
    assert_eq!(packs(dir.path()), 2);
    assert!(tier.is_complete(&trees[0]));
    let all = Pieces::list(&StdDisk, dir.path()).pieces;
    let with_trees = |piece: &&Piece| piece.may_have_trees(&StdDisk, HashKind::Sha1);
    assert_eq!(all.iter().filter(with_trees).count(), 1);
}

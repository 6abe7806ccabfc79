//! A disk that fills up: at whatever step, it costs the copy and no answer.

use std::{
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
    Arriving, DiskTier, LARGE, Spool, folder,
    tests::{install, read_large, whole},
};
use crate::{
    git::{oid::ObjectKind, pack::ReadAt},
    objects::{
        content::Content,
        testing::{FakeOrigin, as_std_disk, id, noise, pack, store, tier_on},
        tuning::TRIED_AGAIN,
    },
    seams::disk::{Disk, DiskEntry, DiskFile, DiskLock, Hold, StdDisk},
};

/// A disk that takes only so many bytes more, and without any not even a folder.
struct FullDisk {
    room: Arc<AtomicU64>,
}

struct FullFile {
    file: Arc<dyn DiskFile>,
    room: Arc<AtomicU64>,
}

impl DiskFile for FullFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, buf)
    }
    fn write_all_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let len = data.len() as u64;
        let take = |room: u64| room.checked_sub(len);
        self.room
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .map_err(|_| io::Error::from(io::ErrorKind::StorageFull))?;
        self.file.write_all_at(offset, data)
    }
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

impl Disk for FullDisk {
    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = StdDisk.create_new(path)?;
        Ok(Arc::new(FullFile {
            file,
            room: self.room.clone(),
        }))
    }
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        match self.room.load(Ordering::Relaxed) {
            0 => Err(io::ErrorKind::StorageFull.into()),
            _ => StdDisk.create_dir_all(path),
        }
    }
    as_std_disk! {
        open(path: &Path) -> Arc<dyn DiskFile>;
        rename(from: &Path, to: &Path) -> ();
        remove_file(path: &Path) -> ();
        remove_dir_all(path: &Path) -> ();
        read_dir(path: &Path) -> Vec<DiskEntry>;
        sync_dir(path: &Path) -> ();
        free_bytes(path: &Path) -> u64;
        total_bytes(path: &Path) -> u64;
        set_modified(path: &Path, when: Duration) -> ();
        lock(path: &Path, hold: Hold) -> DiskLock;
        try_lock(path: &Path) -> Option<DiskLock>;
    }
}

/// A tier on a disk with so much room, which is left there.
fn full_tier(dir: &Path, room: u64) -> (Arc<DiskTier>, Arc<AtomicU64>) {
    let room = Arc::new(AtomicU64::new(room));
    let tier = tier_on(Arc::new(FullDisk { room: room.clone() }), dir);
    (tier, room)
}

#[tokio::test]
async fn a_spool_gives_back_every_byte_also_when_the_disk_fills_up() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (tier, room) = full_tier(dir.path(), 10_000);
    for budget in [u64::MAX, 3 << 20, 0] {
        room.store(budget, Ordering::Relaxed);
        let mut spool = Spool::new(Some(tier.clone()));
        let data: Vec<u8> = (0..5_000_000_u32)
            .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        for piece in data.chunks(70_001) {
            spool.append(piece).expect("memory takes the rest");
        }
        assert_eq!(spool.len(), data.len() as u64);
        assert_eq!(spool.failed().is_some(), budget != u64::MAX);
        let mut read = vec![0; data.len()];
        let mut at = 0;
        while at < read.len() {
            let len = spool
                .read_at(at as u64, &mut read[at..])
                .expect("it can be read");
            assert!(len > 0, "no byte is missing at {at}");
            at += len;
        }
        assert!(read == data);
        assert_eq!(
            spool.read_at(data.len() as u64, &mut [0]).expect("the end"),
            0
        );
    }
    let left = std::fs::read_dir(dir.path().join("objects/pack"))
        .expect("it is there")
        .count();
    assert_eq!(left, 0, "a dropped spool leaves nothing behind");
}

/// Amounts of room with which a disk is full at each step of what takes `all` bytes.
fn rooms(all: u64) -> impl Iterator<Item = u64> {
    let at_the_end = [1, 100, 1000].map(|bytes| all - bytes);
    (0..=4).map(move |part| all * part / 4).chain(at_the_end)
}

/// Found by the simulation (seed 4029694): a reader got an error where the disk took the beginning of a pack and
/// not its end, or not its index.
#[tokio::test]
async fn a_large_blob_is_read_at_whatever_step_the_disk_fills_up() {
    let origin = FakeOrigin::new();
    let data = noise(7, usize::try_from(LARGE).expect("8 MiB") + 100_001);
    let oid = origin.put(ObjectKind::Blob, data.clone());
    let read = async |room| {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (tier, left) = full_tier(dir.path(), room);
        let store = store(&origin, Some(tier));
        let content = store.get(&oid, ObjectKind::Blob).await;
        assert!(
            read_large(content.ok()).is_some_and(|read| read == data),
            "{room}"
        );
        store.close().await;
        left.load(Ordering::Relaxed)
    };
    let plenty = 100 << 20;
    let all = plenty - read(plenty).await;
    assert!(all > 2 * LARGE, "the pack and the file: {all}");
    let pack = pack(&[(ObjectKind::Blob, data.clone())]).len() as u64;
    for room in rooms(all).chain([pack - 1, pack, pack + 50]) {
        read(room).await;
    }
}

#[tokio::test]
async fn a_large_blob_in_pieces_arrives_at_whatever_step_the_disk_fills_up() {
    let data = noise(8, usize::try_from(LARGE).expect("8 MiB") + 100_001);
    let oid = id(ObjectKind::Blob, &data);
    let arrive = |room| {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (tier, left) = full_tier(dir.path(), room);
        let mut arriving = Arriving::new(tier, oid, data.len() as u64).expect("memory takes it");
        for piece in data.chunks(300_001) {
            assert!(!arriving.is_full());
            arriving.write(piece).expect("memory takes the rest");
        }
        assert!(arriving.is_full());
        let file = arriving
            .finish()
            .expect("memory has it")
            .map(Content::large);
        assert!(read_large(file).is_some_and(|read| read == data), "{room}");
        left.load(Ordering::Relaxed)
    };
    let plenty = 100 << 20;
    let all = plenty - arrive(plenty);
    assert!(all > LARGE, "{all}");
    rooms(all).for_each(|room| {
        arrive(room);
    });
    let other = id(ObjectKind::Blob, b"another");
    for room in [plenty, 0] {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (tier, _) = full_tier(dir.path(), room);
        let mut arriving = Arriving::new(tier, other, 3).expect("memory takes it");
        arriving.write(b"not").expect("memory takes it");
        assert!(arriving.finish().expect("no disk failed").is_none());
    }
}

/// A disk without room for the folder failed the whole mount.
#[tokio::test(start_paused = true)]
async fn without_room_for_a_folder_there_is_none_until_there_is() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("cache");
    let (tier, room) = full_tier(&path, 0);
    assert!(tier.paused().is_some() && !tier.takes_more());
    assert!(!path.exists());
    let object = (ObjectKind::Blob, Bytes::from_static(b"content"));
    let oid = id(object.0, &object.1);
    assert!(tier.find(&oid).is_none() && !tier.has(&oid));
    assert_eq!(tier.status().objects, 0);
    // What is written in the meantime finds no folder: that is the same refusal.
    let nowhere = io::Error::from(io::ErrorKind::NotFound);
    assert!(tier.refused(&nowhere));
    let why = tier.paused().expect("it is still refused");
    assert!(!why.contains("not found"), "{why}");
    // The disk has room, and nobody looks before it is time to.
    room.store(1 << 20, Ordering::Relaxed);
    assert!(!tier.takes_more());
    tokio::time::advance(TRIED_AGAIN).await;
    assert!(tier.takes_more());
    install(&tier, std::slice::from_ref(&object));
    assert_eq!(whole(tier.find(&oid)), Some(object.1));
    assert!(path.join("config").exists());
    // From here on a missing folder is a failure like any other.
    assert!(!tier.refused(&nowhere));
    // And it is in use: nobody else may take it away.
    let lock = StdDisk.try_lock(&path.join(folder::IN_USE));
    assert!(lock.expect("it can be asked").is_none());
}

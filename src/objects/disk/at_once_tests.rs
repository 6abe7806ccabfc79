//! Reading without waiting for the disk: which objects, from where, and that they are verified all the same.

use std::{
    io,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;

use super::{
    super::testing::{as_std_disk, id, tier, tier_on},
    tests::{install, whole},
    *,
};
use crate::objects::tuning::{READ_AHEAD, READ_AROUND};
use crate::seams::disk::{DiskEntry, DiskFile, DiskLock, Hold, StdDisk};

/// A disk of whose files the system holds all in memory, or nothing.
#[derive(Clone, Default)]
struct Held {
    held: Arc<AtomicBool>,
    waited: Arc<AtomicUsize>,
    /// What it was told to read.
    told: Arc<Mutex<Vec<std::ops::Range<u64>>>>,
}

impl Held {
    fn take_told(&self) -> Vec<std::ops::Range<u64>> {
        std::mem::take(&mut *self.told.lock().expect("no test panics with it"))
    }
}

struct HeldFile {
    file: Arc<dyn DiskFile>,
    disk: Held,
}

impl DiskFile for HeldFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.disk.waited.fetch_add(1, Ordering::Relaxed);
        self.file.read_at(offset, buf)
    }
    fn read_at_once(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        match self.disk.held.load(Ordering::Relaxed) {
            // A piece, as where one page is held and the next is not.
            true => {
                let piece = buf.len().min(1000);
                self.file.read_at(offset, &mut buf[..piece])
            }
            false => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
    fn will_read(&self, offset: u64, len: u64) {
        let mut told = self.disk.told.lock().expect("no test panics with it");
        told.push(offset..offset + len);
    }
    fn write_all_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
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

impl Disk for Held {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(HeldFile {
            file: StdDisk.open(path)?,
            disk: self.clone(),
        }))
    }
    as_std_disk! {
        create_new(path: &Path) -> Arc<dyn DiskFile>;
        rename(from: &Path, to: &Path) -> ();
        remove_file(path: &Path) -> ();
        create_dir_all(path: &Path) -> ();
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

fn blob(data: impl Into<Bytes>) -> (Oid, (ObjectKind, Bytes)) {
    let data = data.into();
    (id(ObjectKind::Blob, &data), (ObjectKind::Blob, data))
}

/// So many different ones that their pack's index is not held in memory.
fn many() -> Vec<(ObjectKind, Bytes)> {
    let text = |n: u64| blob(format!("{n}")).1;
    (0..crate::objects::tuning::INDEX_IN_MEMORY / 28)
        .map(text)
        .collect()
}

#[tokio::test]
async fn what_the_system_holds_is_read_at_once_and_nothing_else() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let long = Bytes::from(b"a text with more than a piece".repeat(200));
    let (oid, object) = blob(long.clone());
    let (stored_oid, stored) = blob("in a pack with a large index");
    {
        let tier = tier(dir.path());
        install(&tier, &[object]);
        let mut objects = many();
        objects.push(stored);
        install(&tier, &objects);
    }
    let disk = Held::default();
    let tier = tier_on(Arc::new(disk.clone()), dir.path());
    disk.waited.store(0, Ordering::Relaxed);
    assert!(tier.find_at_once(&oid).is_none());
    assert!(tier.find_at_once(&stored_oid).is_none());
    disk.held.store(true, Ordering::Relaxed);
    assert_eq!(whole(tier.find_at_once(&oid)), Some(long));
    assert!(tier.find_at_once(&stored_oid).is_some());
    assert_eq!(disk.waited.load(Ordering::Relaxed), 0);
    assert!(tier.find_at_once(&blob("nowhere").0).is_none());
}

#[tokio::test]
async fn what_takes_long_is_not_read_at_once() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let size = usize::try_from(AT_ONCE).expect("a few thousand");
    let (just, large) = (vec![b'j'; size], vec![b'l'; size + 1]);
    let [(just, first), (large, second)] = [just, large].map(blob);
    install(&tier(dir.path()), &[first, second]);
    let disk = Held::default();
    disk.held.store(true, Ordering::Relaxed);
    let tier = tier_on(Arc::new(disk), dir.path());
    assert!(tier.find_at_once(&just).is_some());
    assert!(tier.find_at_once(&large).is_none());
    assert!(tier.find(&large).is_some());
    // Nor does it wait for another thread.
    let _held = tier.lock_packs();
    assert!(tier.find_at_once(&just).is_none());
}

#[tokio::test]
async fn what_is_read_at_once_is_verified() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (oid, object) = blob("hello");
    install(&tier(dir.path()), &[object]);
    let pack = dir.path().join("objects/pack");
    let names = std::fs::read_dir(&pack).expect("it is there");
    let name = names
        .map(|entry| entry.expect("it can be read").path())
        .find(|path| path.extension().is_some_and(|end| end == "pack"))
        .expect("one pack");
    let disk = Held::default();
    disk.held.store(true, Ordering::Relaxed);
    let whole = std::fs::read(&name).expect("it is there");
    let mut handed_out = 0;
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        std::fs::remove_file(&name).expect("it is there");
        std::fs::write(&name, damaged).expect("there is room");
        let found = tier_on(Arc::new(disk.clone()), dir.path()).find_at_once(&oid);
        if let Some(data) = super::tests::whole(found) {
            assert_eq!(data, "hello", "byte {at}");
            handed_out += 1;
        }
    }
    // The pack's header and checksum do not matter to a single object, its own bytes do.
    assert!((1..whole.len() - 5).contains(&handed_out));
}

#[tokio::test]
async fn an_object_that_is_waited_for_brings_its_neighbours() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let blobs: Vec<_> = (0..50).map(|n| blob(format!("blob {n}"))).collect();
    let objects: Vec<_> = blobs.iter().map(|(_, object)| object.clone()).collect();
    install(&tier(dir.path()), &objects);
    let disk = Held::default();
    let tier = tier_on(Arc::new(disk.clone()), dir.path());
    for (oid, _) in &blobs {
        assert!(tier.find_at_once(oid).is_none());
        assert!(tier.find(oid).is_some());
    }
    // All of them lie in the first part of the pack, of which the disk is told once.
    let told: Vec<_> = disk
        .take_told()
        .iter()
        .map(|part| (part.start, part.end))
        .collect();
    assert_eq!(told, [(0, READ_AROUND)]);
}

#[tokio::test]
async fn a_large_file_is_read_ahead_as_long_as_it_is_read_in_order() {
    const PIECE: u64 = READ_AHEAD / 16;
    let dir = tempfile::tempdir().expect("a temporary folder");
    let size = LARGE.max(4 * READ_AHEAD);
    let (oid, object) = blob(vec![7; usize::try_from(size).expect("some megabytes")]);
    install(&tier(dir.path()), &[object]);
    let disk = Held::default();
    let tier = tier_on(Arc::new(disk.clone()), dir.path());
    // Once to unpack it, and once to open what that made.
    tier.find(&oid).expect("it is in the pack");
    let Some(Content::Large(file)) = tier.find(&oid) else {
        panic!("a large file");
    };
    disk.held.store(true, Ordering::Relaxed);
    disk.take_told();
    let len = u32::try_from(PIECE).expect("small");
    let mut waited = 0;
    for offset in (0..size).step_by(PIECE as usize) {
        let data = file.read_at_once(offset, len).unwrap_or_else(|| {
            waited += 1;
            file.read(offset, len).expect("it is there")
        });
        assert_eq!(data, vec![7; PIECE as usize]);
    }
    // Each part once, in order, without a gap from the first piece on.
    let told = disk.take_told();
    assert_eq!((told[0].start, told[told.len() - 1].end), (PIECE, size));
    assert!(
        told.windows(2).all(|pair| pair[0].end == pair[1].start),
        "{told:?}"
    );
    assert_eq!(told.len(), waited);
    assert!(waited <= 8, "{waited}");

    // Who jumps about gets what the system holds, and nothing more is read for it.
    for offset in [3 * READ_AHEAD, READ_AHEAD, 2 * READ_AHEAD] {
        let data = file.read_at_once(offset, len).expect("it is held");
        assert_eq!(data.len() as u64, PIECE);
        file.read(offset + 2 * READ_AHEAD / 3, len)
            .expect("it is there");
    }
    assert_eq!(disk.take_told(), []);
}

/// With over 128 packs, as a search of 100,000 files leaves them, each object cost a change of thread.
#[tokio::test]
async fn of_very_many_packs_the_one_that_had_the_last_object_is_looked_into() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let together: Vec<_> = (0..10).map(|n| blob(format!("together {n}"))).collect();
    let objects: Vec<_> = together.iter().map(|(_, object)| object.clone()).collect();
    let (alone, lonely) = blob("alone");
    {
        let tier = tier(dir.path());
        install(&tier, &objects);
        install(&tier, &[lonely]);
        for n in 0..600 {
            install(&tier, &[blob(format!("other {n}")).1]);
        }
    }
    let disk = Held::default();
    disk.held.store(true, Ordering::Relaxed);
    let tier = tier_on(Arc::new(disk), dir.path());
    assert!(
        tier.find_at_once(&together[0].0).is_none(),
        "there are too many"
    );
    assert!(tier.find(&together[0].0).is_some());
    for (oid, _) in &together {
        assert!(tier.find_at_once(oid).is_some());
    }
    assert!(tier.find_at_once(&alone).is_none(), "it is in another one");
}

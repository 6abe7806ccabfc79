//! The disk tier against `git` itself, damage, and a disk that fails.

use std::{
    io,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;

use super::{Arriving, DiskTier, LARGE, Spool, folder};
use crate::{
    git::{
        oid::{HashKind, ObjectKind, Oid},
        pack::{Limits, ReadAt, StreamDecoder, index::IndexEntry},
    },
    objects::{
        content::Content,
        testing::{FakeOrigin, as_std_disk, id, noise, pack, store, tier, tier_on},
        tuning::TRIED_AGAIN,
    },
    seams::disk::{Disk, DiskEntry, DiskFile, DiskLock, Hold, StdDisk},
};

pub(super) fn whole(content: Option<Content>) -> Option<Bytes> {
    match content {
        Some(Content::Whole { data, .. }) => Some(data),
        _ => None,
    }
}

/// Installs a pack of `objects` as if it had come over the network.
pub(super) fn install(tier: &Arc<DiskTier>, objects: &[(ObjectKind, Bytes)]) -> super::Installed {
    install_raw(tier, &pack(objects))
}

/// Installs the pack `raw` as if it had come over the network.
pub(super) fn install_raw(tier: &Arc<DiskTier>, raw: &[u8]) -> super::Installed {
    let mut spool = Spool::new(Some(tier.clone()));
    spool.append(raw).expect("the disk works");
    let mut entries = Vec::new();
    let mut decoder = StreamDecoder::new(
        HashKind::Sha1,
        Limits {
            large: LARGE,
            ..Limits::default()
        },
    );
    let mut found = |decoded: crate::git::pack::Decoded| {
        entries.push(IndexEntry {
            oid: decoded.oid,
            crc32: decoded.crc32,
            offset: decoded.offset,
        });
    };
    decoder.push(raw, &spool, &mut found).expect("a good pack");
    let summary = decoder.finish(&spool, &mut found).expect("a whole pack");
    tier.install_pack(&mut spool, &mut entries, &summary.checksum)
        .expect("the disk works")
}

pub(super) fn git(dir: &Path, args: &[&str]) -> (bool, String) {
    let output = Command::new("git")
        .arg("--git-dir")
        .arg(dir)
        .args(args)
        .env("GIT_NO_LAZY_FETCH", "1")
        .output()
        .expect("git is installed");
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

/// Flips a bit in the only file whose name ends so.
fn damage(folder: &Path, ending: &str, at: impl Fn(usize) -> usize) {
    let path = std::fs::read_dir(folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("it can be read").path())
        .find(|path| path.to_string_lossy().ends_with(ending))
        .expect("the file is there");
    let mut raw = std::fs::read(&path).expect("it can be read");
    let at = at(raw.len());
    raw[at] ^= 0x10;
    std::fs::write(&path, raw).expect("it can be written");
}

#[tokio::test]
async fn git_reads_what_the_tier_holds() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let tier = tier(dir.path());
    let blob = Bytes::from_static(b"packed\n");
    let mut tree = b"100644 file\0".to_vec();
    tree.extend(id(ObjectKind::Blob, b"not fetched\n").as_slice());
    tree.extend(b"100644 packed\0");
    tree.extend(id(ObjectKind::Blob, &blob).as_slice());
    let tree = Bytes::from(tree);
    let who = "A <a@example.org> 1700000000 +0000";
    let parent = id(ObjectKind::Commit, b"never fetched");
    let commit = format!(
        "tree {}\nparent {parent}\nauthor {who}\ncommitter {who}\n\nx\n",
        id(ObjectKind::Tree, &tree)
    );
    let commit_id = id(ObjectKind::Commit, commit.as_bytes());
    install(
        &tier,
        &[
            (ObjectKind::Commit, commit.into_bytes().into()),
            (ObjectKind::Tree, tree),
            (ObjectKind::Blob, blob),
        ],
    );
    let loose = id(ObjectKind::Blob, b"loose\n");
    tier.put_loose(&loose, ObjectKind::Blob, b"loose\n")
        .expect("the disk works");
    tier.put_loose(&loose, ObjectKind::Blob, b"loose\n")
        .expect("again is fine");
    let what = super::Remembered {
        name: Some("refs/heads/topic/one".to_owned()),
        target: commit_id,
        commit: commit_id,
    };
    tier.remember("", &what).expect("the disk works");
    tier.mark_complete(&commit_id, &tier.trees_went())
        .expect("the disk works");

    assert_eq!(
        git(dir.path(), &["cat-file", "-p", &loose.to_string()]),
        (true, "loose\n".into())
    );
    assert_eq!(
        git(dir.path(), &["cat-file", "-p", "HEAD:packed"]),
        (true, "packed\n".into())
    );
    let (sound, said) = git(dir.path(), &["fsck", "--full", "--strict"]);
    assert!(sound, "{said}");
    assert_eq!(
        git(dir.path(), &["config", "remote.origin.url"])
            .1
            .trim_end(),
        "https://example.org/a \"quoted\" repo.git"
    );
    for want in ["", "refs/heads/topic/one", "heads/topic/one", "topic/one"] {
        assert_eq!(tier.remembered(want).as_ref(), Some(&what), "{want}");
    }
    assert_eq!(tier.remembered("other"), None);
    assert!(tier.is_complete(&commit_id));
    let status = tier.status();
    assert_eq!((status.packs, status.objects), (1, 4));
    assert!(status.bytes > 100);
}

#[tokio::test]
async fn damage_anywhere_is_a_miss_and_never_wrong_bytes() {
    let data = Bytes::from(b"some content that will be damaged ".repeat(20));
    let oid = id(ObjectKind::Blob, &data);
    for at in [0, 14, 20, 60] {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let tier = tier(dir.path());
        install(&tier, &[(ObjectKind::Blob, data.clone())]);
        assert_eq!(whole(tier.find(&oid)), Some(data.clone()));
        damage(&dir.path().join("objects/pack"), ".pack", |len| {
            at.min(len - 21)
        });
        let found = whole(tier.find(&oid));
        assert!(found.is_none() || found == Some(data.clone()), "byte {at}");
        // A good copy beside the damaged one is found.
        tier.put_loose(&oid, ObjectKind::Blob, &data)
            .expect("the disk works");
        assert_eq!(whole(tier.find(&oid)), Some(data.clone()));
        let hex = oid.to_string();
        let folder = dir.path().join("objects").join(&hex[..2]);
        damage(&folder, &hex[2..], |len| len / 2);
        let found = whole(tier.find(&oid));
        assert!(
            found.is_none() || found == Some(data.clone()),
            "loose, byte {at}"
        );
    }
}

#[tokio::test]
async fn a_damaged_loose_object_is_removed_so_that_it_can_come_anew() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let tier = tier(dir.path());
    let oid = id(ObjectKind::Blob, b"content");
    tier.put_loose(&oid, ObjectKind::Blob, b"content")
        .expect("the disk works");
    std::fs::write(tier.loose_path(&oid), b"").expect("it can be written");
    assert!(tier.find(&oid).is_none());
    tier.put_loose(&oid, ObjectKind::Blob, b"content")
        .expect("the disk works");
    assert_eq!(whole(tier.find(&oid)).as_deref(), Some(&b"content"[..]));
}

fn large_blob() -> Vec<u8> {
    (0..LARGE as u32 + 100_001)
        .map(|n| ((n / 7) ^ (n >> 3)) as u8)
        .collect()
}

fn read_large(content: Option<Content>) -> Option<Vec<u8>> {
    let Some(Content::Large(file)) = content else {
        return None;
    };
    let mut data = Vec::new();
    while (data.len() as u64) < file.size() {
        data.extend(file.read(data.len() as u64, 130_001).ok()?);
    }
    Some(data)
}

#[tokio::test]
async fn a_large_blob_is_read_in_pieces_from_pack_loose_or_file() {
    let data = large_blob();
    let oid = id(ObjectKind::Blob, &data);
    let dir = tempfile::tempdir().expect("a temporary folder");
    let packed = tier(&dir.path().join("packed"));
    install(&packed, &[(ObjectKind::Blob, data.clone().into())]);
    assert!(packed.has(&oid));
    assert!(read_large(packed.find(&oid)).is_some_and(|read| read == data));
    let loose = tier(&dir.path().join("loose"));
    loose
        .put_loose(&oid, ObjectKind::Blob, &data)
        .expect("the disk works");
    assert!(read_large(loose.find(&oid)).is_some_and(|read| read == data));
    // And once more, from the plain file alone.
    std::fs::remove_file(loose.loose_path(&oid)).expect("it is there");
    assert!(read_large(loose.find(&oid)).is_some_and(|read| read == data));
    let Some(Content::Large(file)) = loose.find(&oid) else {
        panic!("it is there")
    };
    let end = data.len() as u64;
    assert_eq!(
        file.read(end - 5, 100).expect("sound"),
        data[data.len() - 5..]
    );
    assert!(file.read(end, 1).expect("sound").is_empty());
    assert!(file.read(u64::MAX, u32::MAX).expect("sound").is_empty());
}

#[tokio::test]
async fn damage_in_a_large_file_is_found_on_read() {
    let data = large_blob();
    let oid = id(ObjectKind::Blob, &data);
    let dir = tempfile::tempdir().expect("a temporary folder");
    let tier = tier(dir.path());
    tier.put_loose(&oid, ObjectKind::Blob, &data)
        .expect("the disk works");
    assert!(tier.find(&oid).is_some());
    let large = dir.path().join("bonsai/large");
    damage(&large, &oid.to_string(), |_| 5_000_000);
    let Some(Content::Large(file)) = tier.find(&oid) else {
        panic!("it opens")
    };
    assert_eq!(
        file.read(0, 1000).expect("this block is sound"),
        data[..1000]
    );
    let error = file.read(4_999_999, 10).expect_err("this one is not");
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    // Dropped, it is made anew from the loose object.
    tier.drop_large(&oid);
    assert!(read_large(tier.find(&oid)).is_some_and(|read| read == data));
    // Without its checksums, or cut short, it is not used at all.
    damage(&large, ".sums", |len| len / 2);
    assert!(read_large(tier.find(&oid)).is_some_and(|read| read == data));
    let path = large.join(oid.to_string());
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(path)
        .expect("it is there");
    file.set_len(data.len() as u64 - 1).expect("it can be cut");
    assert!(read_large(tier.find(&oid)).is_some_and(|read| read == data));
}

#[tokio::test]
async fn a_large_blob_with_the_wrong_content_never_becomes_visible() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let tier = tier(dir.path());
    let oid = id(ObjectKind::Blob, b"right");
    let mut writer = Arriving::new(tier.clone(), oid, 5).expect("the disk works");
    writer.write(b"wrong").expect("the disk works");
    assert!(writer.is_full());
    assert!(writer.finish().expect("the disk works").is_none());
    assert!(tier.find(&oid).is_none());
    let left = std::fs::read_dir(dir.path().join("bonsai/large"))
        .expect("it is there")
        .count();
    assert_eq!(left, 0, "nothing is left behind");
}

#[tokio::test]
async fn the_whole_objects_of_a_torn_pack_are_kept() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let tier = tier(dir.path());
    let objects: Vec<(ObjectKind, Bytes)> = (0..30)
        .map(|n| {
            (
                ObjectKind::Blob,
                Bytes::from(format!("object {n}\n").repeat(9)),
            )
        })
        .collect();
    let raw = pack(&objects);
    let torn = &raw[..raw.len() / 2];
    let mut spool = Spool::new(Some(tier.clone()));
    spool.append(torn).expect("the disk works");
    let mut entries = Vec::new();
    let mut decoder = StreamDecoder::new(HashKind::Sha1, Limits::default());
    decoder
        .push(torn, &spool, &mut |found| {
            entries.push(IndexEntry {
                oid: found.oid,
                crc32: found.crc32,
                offset: found.offset,
            });
        })
        .expect("sound so far");
    let (count, end) = decoder.complete_prefix();
    assert!(count > 5 && count < 30, "{count}");
    tier.install_torn(&mut spool, &mut entries, count, end)
        .expect("the disk works");
    for (index, (kind, data)) in objects.iter().enumerate() {
        let found = whole(tier.find(&id(*kind, data)));
        assert_eq!(found.is_some(), index < count as usize, "{index}");
    }
    let packs: Vec<_> = std::fs::read_dir(dir.path().join("objects/pack"))
        .expect("it is there")
        .map(|entry| entry.expect("it can be read").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "pack"))
        .collect();
    let path = packs[0].to_string_lossy().into_owned();
    let (sound, said) = git(dir.path(), &["verify-pack", &path]);
    assert!(sound, "{said}");
}

/// Found by the simulation (seed 487): a pack that had rotted kept the place of the sound one that
/// was fetched in its stead, so a large blob in it could not be read any more at all.
#[tokio::test]
async fn a_rotten_pack_gives_way_to_the_same_one_fetched_again() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let tier = tier(dir.path());
    let object = (ObjectKind::Blob, Bytes::from("content\n".repeat(50)));
    install(&tier, std::slice::from_ref(&object));
    damage(&dir.path().join("objects/pack"), "pack", |len| len / 2);
    let oid = id(object.0, &object.1);
    assert_eq!(whole(tier.find(&oid)), None);
    install(&tier, std::slice::from_ref(&object));
    assert_eq!(whole(tier.find(&oid)), Some(object.1));
}

#[tokio::test]
async fn packs_of_another_process_are_found() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (ours, theirs) = (tier(dir.path()), tier(dir.path()));
    let data = Bytes::from_static(b"theirs");
    let oid = id(ObjectKind::Blob, &data);
    assert!(ours.find(&oid).is_none());
    install(&theirs, &[(ObjectKind::Blob, data.clone())]);
    assert_eq!(whole(ours.find(&oid)), Some(data));
}

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

#[tokio::test]
async fn a_spool_gives_back_every_byte_also_when_the_disk_fills_up() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let room = Arc::new(AtomicU64::new(10_000));
    let tier = tier_on(Arc::new(FullDisk { room: room.clone() }), dir.path());
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

/// A tier on a disk with so much room, which is left there.
fn full_tier(dir: &Path, room: u64) -> (Arc<DiskTier>, Arc<AtomicU64>) {
    let room = Arc::new(AtomicU64::new(room));
    let tier = tier_on(Arc::new(FullDisk { room: room.clone() }), dir);
    (tier, room)
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

#[tokio::test]
async fn old_leftovers_are_removed_and_young_ones_stay() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    drop(tier(dir.path()));
    let folder = dir.path().join("objects/pack");
    let (old, young) = (
        folder.join("tmp_bonsai_old"),
        folder.join("tmp_bonsai_young"),
    );
    for path in [&old, &young] {
        std::fs::write(path, b"x").expect("it can be written");
    }
    let status = Command::new("touch")
        .args(["-d", "2 days ago"])
        .arg(&old)
        .status();
    assert!(status.expect("touch is installed").success());
    drop(tier(dir.path()));
    assert!(!old.exists());
    assert!(young.exists());
}

#[tokio::test]
async fn unknown_ids_are_simply_not_here() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let tier = tier(dir.path());
    let oid: Oid = id(ObjectKind::Blob, b"nobody has this");
    assert!(tier.find(&oid).is_none());
    assert!(!tier.has(&oid));
    assert_eq!(tier.status(), super::DiskStatus::default());
}

/// A disk without room for the folder failed the whole mount.
#[tokio::test(start_paused = true)]
async fn without_room_for_a_folder_there_is_none_until_there_is() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("cache");
    let room = Arc::new(AtomicU64::new(0));
    let tier = tier_on(Arc::new(FullDisk { room: room.clone() }), &path);
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

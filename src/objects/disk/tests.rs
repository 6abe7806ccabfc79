//! The disk tier against `git` itself, and damage.

use std::{io, path::Path, process::Command, sync::Arc};

use bytes::Bytes;

use super::{Arriving, DiskTier, LARGE, Spool};
use crate::{
    git::{
        oid::{HashKind, ObjectKind, Oid},
        pack::{Limits, StreamDecoder, index::IndexEntry},
    },
    objects::{
        content::Content,
        testing::{id, pack, tier},
    },
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

pub(super) fn read_large(content: Option<Content>) -> Option<Vec<u8>> {
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

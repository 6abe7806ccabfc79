//! Every byte of a cache folder damaged in turn, and every file cut short: what is read then is the truth or
//! nothing, and what was damaged can be stored anew.

use std::{collections::BTreeMap, fs};

use bytes::Bytes;

use super::{
    LARGE,
    rotting::{Damage, Place, Rotting, Truth, kind_of},
    tests::install_raw,
};
use crate::{
    git::{
        oid::{HashKind, ObjectKind, Oid},
        pack::{
            build::pack_header,
            index::{IndexEntry, write_index},
        },
    },
    objects::{
        disk::Remembered,
        testing::{id, noise, pack, tier, with_checksum},
        tuning::{BLOCK, INDEX_IN_MEMORY},
    },
};

/// What is longer is not damaged everywhere.
const SHORT: usize = 4 << 10;

#[tokio::test]
async fn damage_to_any_byte_is_found_on_read_and_what_is_damaged_can_be_stored_anew() {
    let rotting = Rotting::new(Truth::new());
    let (mut found, mut number) = (BTreeMap::<&str, usize>::new(), 0);
    let damages = |len| match len <= SHORT {
        true => Damage::everywhere(len),
        false => Damage::here_and_there(len),
    };
    rotting.each(damages, |path, damage| {
        number += 1;
        // Storing takes its time, most for a large file.
        let is_large = path
            .parent()
            .is_some_and(|folder| folder.ends_with("large"));
        if rotting.damage(path, damage, number % if is_large { 20 } else { 5 } == 0) {
            *found.entry(kind_of(path)).or_default() += 1;
        }
    });
    // In other files nothing is looked for.
    for (kind, least) in [
        ("pack", 400),
        ("idx", 600),
        ("loose", 250),
        ("large", 100),
        ("sums", 600),
        ("refs", 500),
        ("sizes", 200),
    ] {
        assert!(found[kind] > least, "{kind}: {found:?}");
    }
}

#[tokio::test]
async fn damage_to_an_index_that_stays_on_disk_is_found_on_read() {
    let blobs: Vec<Bytes> = (0..2_400)
        .map(|n| Bytes::from(format!("blob {n}\n")))
        .collect();
    let sample: Vec<usize> = (0..blobs.len()).step_by(200).collect();
    let rotting = Rotting::new(Truth::packed(&blobs, &sample));
    let (index, sound) = rotting
        .files
        .iter()
        .find(|(path, _)| kind_of(path) == "idx")
        .expect("an index");
    assert!(
        sound.len() as u64 > INDEX_IN_MEMORY,
        "it is not held in memory"
    );
    // Where the index says something of what is read: its header, counts, ids and offsets.
    let mut places: Vec<usize> = (0..12).chain((12..1032).step_by(41)).collect();
    let mut ids: Vec<Oid> = blobs
        .iter()
        .map(|data| id(ObjectKind::Blob, data))
        .collect();
    ids.sort_unstable();
    for object in &rotting.truth.objects {
        let at = ids.binary_search(&object.oid).expect("it is one of them");
        let offset = 1032 + ids.len() * 24 + at * 4;
        places.extend([
            1032 + at * 20,
            1032 + at * 20 + 13,
            offset,
            offset + 1,
            offset + 3,
        ]);
    }
    let mut found = 0;
    let all = Damage::at(places);
    for (number, damage) in all.iter().enumerate() {
        found += usize::from(rotting.damage(index, *damage, number % 10 == 0));
    }
    assert!(found > all.len() / 2, "{found} of {}", all.len());
}

#[tokio::test]
async fn a_large_blob_never_comes_damaged_out_of_its_pack() {
    let len = usize::try_from(LARGE).expect("a few megabytes") + BLOCK / 2;
    let large = Bytes::from(b"a line\n".repeat(len / 7));
    let rotting = Rotting::new(Truth::packed(&[large], &[0]));
    let (pack, sound) = rotting
        .files
        .iter()
        .find(|(path, _)| kind_of(path) == "pack")
        .expect("a pack");
    let end = sound.len() - 20;
    let places = (8..22).chain([1_000, end / 2, end - 5, end - 1]);
    let mut found = 0;
    for (number, damage) in Damage::at(places.collect()).into_iter().enumerate() {
        found += usize::from(rotting.damage(pack, damage, number % 8 == 0));
    }
    assert!(found > 20, "{found}");
}

#[tokio::test]
async fn verify_drops_what_any_byte_of_is_damaged() {
    let mut truth = Truth::new();
    // It takes long to read, and has a test of its own.
    truth.objects.retain(|object| object.place != Place::Large);
    let rotting = Rotting::new(truth);
    let some = |len| Damage::everywhere(len).into_iter().step_by(11).collect();
    rotting.each(some, |path, damage| {
        damage.done(path);
        let opened = tier(rotting.dir.path());
        let dropped = opened.verify().expect("what is damaged can go").dropped;
        let is_piece = matches!(kind_of(path), "pack" | "idx" | "loose");
        assert_eq!(dropped.len(), usize::from(is_piece), "{dropped:?}");
        assert_eq!(opened.verify().expect("nothing is to go").dropped, []);
        rotting.truth.read(&opened, &[]);
        rotting.restore(path);
    });
}

/// A tree whose entry looked like that of a blob went, and its commit stayed marked as complete.
#[tokio::test]
async fn verify_takes_no_damaged_pack_for_one_of_blobs() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let tier = tier(dir.path());
    let raw = pack(&[
        (ObjectKind::Tree, Bytes::from("no tree, but who looks")),
        (ObjectKind::Blob, noise(1, 40)),
    ]);
    let sum = Oid::from_bytes_or_panic(&raw[raw.len() - 20..]);
    let path = tier.pack_dir().join(format!("pack-{sum}.pack"));
    let commit = id(ObjectKind::Commit, b"its commit");
    for bit in 0..8 {
        install_raw(&tier, &raw);
        tier.mark_complete(&commit, &tier.trees_went())
            .expect("room");
        assert!(tier.is_complete(&commit));
        // The first entry: its kind and a part of its size.
        let damage = Damage::Flip {
            at: 12,
            bits: 1 << bit,
        };
        damage.done(&path);
        assert_eq!(tier.verify().expect("it can go").dropped.len(), 1);
        assert!(!tier.is_complete(&commit), "bit {bit}");
    }
}

/// The size in a damaged header was believed, and room for checksums of that many bytes ended the process.
#[tokio::test]
async fn a_monstrous_size_in_a_header_is_damage_like_any_other() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let tier = tier(dir.path());
    let oid = id(ObjectKind::Blob, b"small");
    tier.put_loose(&oid, ObjectKind::Blob, b"small")
        .expect("room");
    let path = tier.loose_path(&oid);
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    let head = format!("blob {}\0small", u64::MAX);
    std::io::Write::write_all(&mut encoder, head.as_bytes()).expect("memory");
    fs::write(&path, encoder.finish().expect("memory")).expect("room");
    assert!(tier.find(&oid).is_none());
    assert!(!path.exists(), "it is dropped");

    let mut raw = pack_header(1).to_vec();
    // Seven bits a byte: 2^60 and more.
    raw.extend([0xbf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]);
    raw.extend(noise(1, 40));
    let raw = with_checksum(raw);
    let (body, sum) = raw.split_at(raw.len() - 20);
    let sum = Oid::from_bytes_or_panic(sum);
    let mut entries = [IndexEntry {
        oid,
        crc32: crc32fast::hash(&body[12..]),
        offset: 12,
    }];
    let name = |ending: &str| tier.pack_dir().join(format!("pack-{sum}.{ending}"));
    fs::write(name("pack"), &raw).expect("room");
    fs::write(name("idx"), write_index(&mut entries, &sum, HashKind::Sha1)).expect("room");
    assert!(tier.find(&oid).is_none());
    assert_eq!(tier.verify().expect("it can go").dropped.len(), 1);
}

/// A flipped bit mostly makes a digit another one, and a mount without a network looked for a commit that
/// there never was.
#[tokio::test]
async fn a_ref_whose_meaning_rotted_is_not_remembered() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let tier = tier(dir.path());
    let what = Remembered {
        name: Some("refs/heads/main".to_owned()),
        target: id(ObjectKind::Tag, b"a tag"),
        commit: id(ObjectKind::Commit, b"a commit"),
    };
    tier.remember("main", &what).expect("room");
    let path = tier
        .path()
        .join("bonsai/refs")
        .join(id(ObjectKind::Blob, b"main").to_string());
    let sound = fs::read(&path).expect("it is there");
    assert_eq!(tier.remembered("main").as_ref(), Some(&what));
    // Under its full name it is kept too, and that is where this one is looked for next.
    let full = id(ObjectKind::Blob, b"refs/heads/main").to_string();
    fs::remove_file(tier.path().join("bonsai/refs").join(full)).expect("it is there");
    for at in 0..sound.len() {
        for bit in 0..8 {
            let mut rotten = sound.clone();
            rotten[at] ^= 1 << bit;
            fs::write(&path, rotten).expect("room");
            assert_eq!(tier.remembered("main"), None, "bit {bit} of byte {at}");
        }
    }
    tier.remember("main", &what).expect("room");
    assert_eq!(tier.remembered("main"), Some(what));
}

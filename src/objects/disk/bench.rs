//! How long opening a large cache takes:
//! `cargo test --release --lib objects::disk::bench -- --ignored --nocapture`.

#![expect(
    clippy::print_stdout,
    reason = "a bench shows its figures on standard output"
)]

use std::time::Instant;

use bytes::Bytes;

use super::DiskTier;
use crate::{
    git::{
        oid::{HashKind, ObjectKind, Oid},
        pack::{
            build::{Checksum, encode_entry, pack_header},
            index::{IndexEntry, write_index},
        },
    },
    objects::{
        content::Content,
        testing::{id, tier},
    },
};

/// Writes a pack of `count` blobs, which say their number from `first` on, as `install` would.
fn write_pack(folder: &std::path::Path, first: u32, count: u32) -> Vec<Oid> {
    let mut raw = pack_header(count).to_vec();
    let mut entries = Vec::new();
    for number in first..first + count {
        let data = number.to_string();
        entries.push(IndexEntry {
            oid: id(ObjectKind::Blob, data.as_bytes()),
            crc32: 0,
            offset: raw.len() as u64,
        });
        encode_entry(&mut raw, ObjectKind::Blob, data.as_bytes(), 0);
    }
    let mut checksum = Checksum::new(HashKind::Sha1);
    checksum.update(&raw);
    let checksum = checksum.finish().expect("no attack");
    raw.extend(checksum.as_slice());
    let name = |ending| folder.join(format!("objects/pack/pack-{checksum}.{ending}"));
    let index = write_index(&mut entries, &checksum, HashKind::Sha1);
    std::fs::write(name("pack"), raw).expect("it can be written");
    std::fs::write(name("idx"), index).expect("it can be written");
    entries.iter().map(|entry| entry.oid).collect()
}

#[tokio::test]
#[ignore = "makes a cache of 1,000,000 objects and prints times"]
async fn opening_a_million_objects() {
    const OBJECTS: u32 = 1_000_000;
    for packs in [1, 20, 400] {
        let dir = tempfile::tempdir().expect("a temporary folder");
        drop(tier(dir.path()));
        let each = OBJECTS / packs;
        let mut oids = Vec::new();
        for pack in 0..packs {
            oids = write_pack(dir.path(), pack * each, each);
        }
        let start = Instant::now();
        let tier = tier(dir.path());
        let opened = start.elapsed();
        let first: Option<Content> = tier.find(&oids[0]);
        let found = start.elapsed();
        assert!(matches!(first, Some(Content::Whole { data, .. }) if data != Bytes::new()));
        let start = Instant::now();
        for oid in oids.iter().take(1_000) {
            assert!(DiskTier::find(&tier, oid).is_some());
        }
        println!(
            "{packs} packs: open {opened:?}, with the first object {found:?}, \
             then {:?} an object",
            start.elapsed() / oids.len().min(1_000) as u32
        );
    }
}

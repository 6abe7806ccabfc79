//! What `git` makes is read as `git` reads it.

use std::collections::BTreeMap;

use super::*;
use crate::git::{
    oracle::Repo,
    pack::{
        index::{Index, IndexEntry, write_index},
        read::{entry_header, object_header, read_object, stream_entry},
    },
};

const HASHES: [HashKind; 2] = [HashKind::Sha1, HashKind::Sha256];

/// A repository with all four kinds of objects, deep delta chains among blobs and trees, an empty
/// blob, and a blob that doesn't compress.
fn repository(hash: HashKind) -> Repo {
    const WHO: &str = "C O Mitter <committer@example.org> 1700000000 -0330";
    let mut noise = 1u32;
    let mut random = || {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (noise >> 24) as u8
    };
    let mut script = Vec::new();
    let data = |script: &mut Vec<u8>, data: &[u8]| {
        script.extend_from_slice(format!("data {}\n", data.len()).as_bytes());
        script.extend_from_slice(data);
        script.push(b'\n');
    };
    let mut text: Vec<String> = (0..400)
        .map(|line| format!("line {line} of a long file\n"))
        .collect();
    for version in 0..40 {
        let head = format!("commit refs/heads/main\ncommitter {WHO}\n");
        script.extend_from_slice(head.as_bytes());
        data(
            &mut script,
            format!("version {version}\n\nwith a body").as_bytes(),
        );
        let mut file = |name: &str, content: &[u8]| {
            script.extend_from_slice(format!("M 100644 inline {name}\n").as_bytes());
            data(&mut script, content);
        };
        if version == 0 {
            let noise: Vec<_> = (0..40_000).map(|_| random()).collect();
            file("noise", &noise);
            file("zero", &[0; 200_000]);
            file("empty", b"");
        }
        text[version * 7] = format!("changed in version {version}: {}\n", random());
        text.push(format!("added {}\n", random()));
        file("deep/er/text", text.concat().as_bytes());
        for number in 0..4 {
            let name = format!("files/{number}-{version}");
            file(&name, &[random(), random(), random()]);
        }
    }
    let tag = format!("tag v1\nfrom refs/heads/main\ntagger {WHO}\n");
    script.extend_from_slice(tag.as_bytes());
    data(&mut script, b"a tag");
    let repo = Repo::new(hash);
    repo.git_with(&["fast-import", "--quiet"], &script);
    repo
}

/// Every object as `git cat-file` tells it.
fn contents(repo: &Repo) -> BTreeMap<Oid, (ObjectKind, Vec<u8>)> {
    let all = repo.git(&["cat-file", "--batch-all-objects", "--batch", "--buffer"]);
    let mut rest = &all[..];
    let mut objects = BTreeMap::new();
    while !rest.is_empty() {
        let line_end = rest.iter().position(|&byte| byte == b'\n').expect("a line");
        let line = String::from_utf8(rest[..line_end].to_vec()).expect("ASCII");
        let words: Vec<_> = line.split(' ').collect();
        let size: usize = words[2].parse().expect("a size");
        let kind = ObjectKind::from_word(words[1].as_bytes()).expect("a kind");
        let oid = Oid::from_hex(words[0].as_bytes()).expect("an id");
        let start = line_end + 1;
        objects.insert(oid, (kind, rest[start..start + size].to_vec()));
        rest = &rest[start + size + 1..];
    }
    objects
}

/// Packs everything; the pack, its index as `git index-pack` writes it, and the longest chain.
fn packed(repo: &Repo, options: &[&str]) -> (Vec<u8>, Vec<u8>, u32) {
    let args = [
        &[
            "pack-objects",
            "--all",
            "--stdout",
            "-q",
            "--window=20",
            "--no-reuse-delta",
        ][..],
        options,
    ]
    .concat();
    let pack = repo.git(&args);
    let receiver = Repo::new(repo.hash());
    receiver.write("a.pack", &pack);
    receiver.git(&["index-pack", "a.pack"]);
    let index = std::fs::read(receiver.path("a.idx")).expect("git wrote it");
    // `<id> <kind> <size> <size in pack> <offset> [<depth> <base>]`
    let listing = receiver.git(&["verify-pack", "-v", "a.idx"]);
    let listing = String::from_utf8(listing).expect("ASCII");
    let depth = |line: &str| line.split_whitespace().nth(5)?.parse::<u32>().ok();
    let deepest = listing
        .lines()
        .filter(|line| line.len() > 40 && !line.starts_with("chain"))
        .filter_map(depth)
        .max();
    (pack, index, deepest.unwrap_or(0))
}

/// Each way in which git can write deltas.
const OPTIONS: [&[&str]; 4] = [
    &["--delta-base-offset", "--depth=4095"],
    &["--delta-base-offset", "--depth=5"],
    &["--no-delta-base-offset", "--depth=4095"],
    &["--depth=0"],
];

#[test]
fn packs_of_git_are_decoded_as_git_does() {
    for hash in HASHES {
        let repo = repository(hash);
        let expected = contents(&repo);
        for options in OPTIONS {
            let (pack, index, depth) = packed(&repo, options);
            if options.contains(&"--depth=4095") {
                assert!(depth > 20, "only {depth} deep");
            }
            for (limits, piece) in [
                (Limits::default(), usize::MAX),
                (TIGHT, 1_000),
                (Limits::default(), 1),
            ] {
                let objects = decode_good(&pack, hash, limits, piece);
                assert!(
                    objects.is_sorted_by_key(|object| object.offset),
                    "in pack order"
                );
                assert_eq!(objects.len(), expected.len());
                for object in &objects {
                    let (kind, data) = &expected[&object.oid];
                    assert_eq!((object.kind, object.size), (*kind, data.len() as u64));
                    assert_true(object, hash, limits);
                    assert!(object.data.as_ref().is_none_or(|found| found == data));
                }
                let summary =
                    Oid::from_bytes_or_panic(&pack[trailer_offset(&pack, hash) as usize..]);
                let mut entries: Vec<_> = objects.iter().map(index_entry).collect();
                entries.reverse();
                let written = write_index(&mut entries, &summary, hash);
                assert!(written == index, "the index differs from git's");
            }
        }
    }
}

fn index_entry(object: &Decoded) -> IndexEntry {
    IndexEntry {
        oid: object.oid,
        crc32: object.crc32,
        offset: object.offset,
    }
}

#[test]
fn stored_packs_of_git_are_read_at_any_place() {
    for hash in HASHES {
        let repo = repository(hash);
        let expected = contents(&repo);
        for options in OPTIONS {
            let (pack, index, _) = packed(&repo, options);
            let index = Index::parse(Bytes::from(index), hash).expect("git's index");
            index.verify().expect("git's index");
            assert_eq!(index.len(), expected.len());
            let listed: Vec<_> = index.oids().map(|(oid, _)| oid).collect();
            assert!(listed.iter().eq(expected.keys()));
            let lookup = |oid: &Oid| index.find(oid);
            let mut deltas = 0;
            for (oid, (kind, data)) in &expected {
                let offset = index.find(oid).expect("listed");
                let header = object_header(&pack, offset, hash, &lookup).expect("a good pack");
                assert_eq!(header, (*kind, data.len() as u64));
                let object = read_object(&pack, offset, hash, &lookup, 1 << 20);
                assert_eq!(
                    object.expect("a good pack"),
                    (*kind, Bytes::from(data.clone()))
                );
                let too_large = read_object(
                    &pack,
                    offset,
                    hash,
                    &lookup,
                    (data.len() as u64).saturating_sub(1),
                );
                assert!(data.is_empty() || matches!(too_large, Err(PackError::TooLarge { .. })));
                let mut streamed = Vec::new();
                let result = stream_entry(&pack, offset, hash, &mut |piece| {
                    streamed.extend_from_slice(piece);
                    Ok(())
                });
                match (
                    entry_header(&pack, offset, hash).expect("a good pack").kind,
                    result,
                ) {
                    (EntryKind::Base(_), Ok(result)) => {
                        assert_eq!(result, (*kind, data.len() as u64));
                        assert!(&streamed == data);
                    }
                    (
                        EntryKind::OfsDelta(_) | EntryKind::RefDelta(_),
                        Err(PackError::IsDelta { offset: at }),
                    ) => {
                        assert!(streamed.is_empty() && at == offset);
                        deltas += 1;
                    }
                    (kind, result) => panic!("{kind:?} gave {result:?}"),
                }
            }
            assert_eq!(deltas > 50, !options.contains(&"--depth=0"));
        }
    }
}

#[test]
fn git_reads_what_is_built_here() {
    for hash in HASHES {
        let mut entries = vec![0; PACK_HEADER];
        let mut expected = BTreeMap::new();
        for level in 0..10u32 {
            let data = format!("level {level}")
                .repeat(1 + 300 * level as usize)
                .into_bytes();
            build::encode_entry(&mut entries, ObjectKind::Blob, &data, level);
            let oid = object_id(hash, ObjectKind::Blob, &data).expect("no collision");
            expected.insert(oid, (ObjectKind::Blob, data));
        }
        let pack = seal(10, &entries[PACK_HEADER..], hash);
        let repo = Repo::new(hash);
        repo.git_with(&["index-pack", "--stdin", "--strict"], &pack);
        assert_eq!(contents(&repo), expected);
        repo.git(&["fsck", "--full", "--strict"]);
    }
}

#[test]
fn a_torn_pack_is_saved_up_to_its_last_whole_entry() {
    let repo = repository(HashKind::Sha1);
    let (pack, ..) = packed(&repo, OPTIONS[0]);
    for cut in [
        0,
        5,
        12,
        13,
        5_000,
        pack.len() / 2,
        pack.len() - 21,
        pack.len() - 1,
    ] {
        let mut decoder = StreamDecoder::new(HashKind::Sha1, Limits::default());
        let mut objects = Vec::new();
        let torn = &pack[..cut];
        decoder
            .push(torn, &torn, &mut |object| objects.push(object))
            .expect("good so far");
        let end = decoder.finish(&torn, &mut |_| ());
        assert!(matches!(end, Err(PackError::Truncated { offset }) if offset == cut as u64));
        let (count, end) = decoder.complete_prefix();
        assert_eq!(count as usize, objects.len());
        assert!(end <= cut as u64);
        if count == 0 {
            continue;
        }
        let saved = seal(count, &pack[PACK_HEADER..end as usize], HashKind::Sha1);
        assert_eq!(
            decode_good(&saved, HashKind::Sha1, Limits::default(), usize::MAX),
            objects
        );
        Repo::new(HashKind::Sha1).git_with(&["index-pack", "--stdin"], &saved);
    }
}

//! Broken and hostile packs: no panic, no wrong object, always an error.

use super::*;
use crate::git::{
    delta::tests::{Op, encode},
    pack::read::{object_header, read_object},
};

const SHA1: HashKind = HashKind::Sha1;

fn blob(data: &[u8]) -> Oid {
    object_id(SHA1, ObjectKind::Blob, data).expect("no collision")
}

/// A delta that makes `base` followed by `more`.
fn append(base: &[u8], more: &[u8]) -> Vec<u8> {
    let copy = Op::Copy {
        offset: 0,
        size: base.len(),
    };
    let ops = [copy, Op::Insert(more.to_vec())];
    encode(base.len() as u64, (base.len() + more.len()) as u64, &ops)
}

/// One of each kind of entry: whole, large, both deltas, and a delta before its base.
fn small_pack(hash: HashKind) -> Vec<u8> {
    let mut out = vec![0; PACK_HEADER];
    let id = |data: &[u8]| object_id(hash, ObjectKind::Blob, data).expect("no collision");
    let late = EntryKind::RefDelta(id(b"late"));
    build::encode(&mut out, late, &append(b"late", b"r"), 6);
    let first = out.len() as u64;
    build::encode_entry(&mut out, ObjectKind::Blob, b"first", 6);
    build::encode(
        &mut out,
        EntryKind::OfsDelta(first),
        &append(b"first", b"!"),
        6,
    );
    build::encode(
        &mut out,
        EntryKind::RefDelta(id(b"first!")),
        &append(b"first!", b"?"),
        6,
    );
    build::encode_entry(&mut out, ObjectKind::Tree, b"", 0);
    build::encode_entry(&mut out, ObjectKind::Blob, &[b'x'; 400], 6);
    build::encode_entry(&mut out, ObjectKind::Blob, b"late", 6);
    seal(7, &out[PACK_HEADER..], hash)
}

/// A pack of these entries, each kind with its data; bases of ofs-deltas by number.
fn pack_of(entries: &[(EntryKind, &[u8])]) -> Vec<u8> {
    let mut out = vec![0; PACK_HEADER];
    let mut offsets = Vec::new();
    for (kind, data) in entries {
        offsets.push(out.len() as u64);
        let kind = match *kind {
            EntryKind::OfsDelta(number) => EntryKind::OfsDelta(offsets[number as usize]),
            kind => kind,
        };
        build::encode(&mut out, kind, data, 6);
    }
    seal(entries.len() as u32, &out[PACK_HEADER..], SHA1)
}

fn fails(pack: &[u8]) -> PackError {
    let (_, end) = decode(pack, SHA1, TIGHT, [pack.len() / 2]);
    end.expect_err("must be refused")
}

const BLOB: EntryKind = EntryKind::Base(ObjectKind::Blob);

#[test]
fn a_pack_cut_at_any_byte_is_an_error_and_gives_no_wrong_object() {
    for hash in [SHA1, HashKind::Sha256] {
        let pack = small_pack(hash);
        let whole = decode_good(&pack, hash, TIGHT, usize::MAX);
        assert_eq!(whole.len(), 7);
        for cut in 0..pack.len() {
            for piece in [1, usize::MAX] {
                let (objects, end) = decode(&pack[..cut], hash, TIGHT, std::iter::repeat(piece));
                assert!(
                    matches!(end, Err(PackError::Truncated { .. })),
                    "cut at {cut}: {end:?}"
                );
                assert_eq!(objects, whole[..objects.len()]);
            }
        }
    }
}

#[test]
fn any_flipped_bit_is_an_error_and_gives_no_untrue_object() {
    for hash in [SHA1, HashKind::Sha256] {
        let pack = small_pack(hash);
        for bit in 0..8 * pack.len() {
            let mut broken = pack.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            for piece in [3, usize::MAX] {
                let (objects, end) = decode(&broken, hash, TIGHT, std::iter::repeat(piece));
                assert!(end.is_err(), "bit {bit} does not matter");
                for object in &objects {
                    assert_true(object, hash, TIGHT);
                }
            }
        }
    }
}

#[test]
fn what_follows_a_pack_is_an_error() {
    let mut pack = small_pack(SHA1);
    pack.push(0);
    assert!(matches!(fails(&pack), PackError::Trailing));
}

#[test]
fn an_empty_pack_is_a_pack() {
    let (objects, end) = decode(&seal(0, b"", SHA1), SHA1, TIGHT, [1; 40]);
    assert!(objects.is_empty());
    assert_eq!(end.expect("a good pack").objects, 0);
}

#[test]
fn other_files_are_no_packs() {
    let mut old = build::pack_header(1);
    old[7] = 1;
    for start in [&b"<!DOCTYPE html>"[..], b"PACKPACKPACK", &old] {
        assert!(matches!(fails(start), PackError::NotAPack { .. }));
    }
    let mut newer = small_pack(SHA1);
    newer[7] = 3;
    assert!(
        matches!(fails(&newer), PackError::Checksum),
        "version 3 is read like 2"
    );
}

#[test]
fn limits_are_kept() {
    let header = build::pack_header(TIGHT.max_objects + 1);
    assert!(matches!(fails(&header), PackError::TooManyObjects { .. }));
    let limit = TIGHT.max_objects;
    let claimed = fails(&build::pack_header(0x1234_5678));
    assert!(
        matches!(claimed, PackError::TooManyObjects { objects: 0x1234_5678, limit: l } if l == limit),
        "{claimed}"
    );
    // As many as are allowed are begun; there are just none.
    let header = build::pack_header(limit);
    assert!(!matches!(fails(&header), PackError::TooManyObjects { .. }));

    // Stated sizes are refused before anything is made, or reserved.
    for (kind, refused) in [
        (EntryKind::Base(ObjectKind::Tree), true),
        (EntryKind::RefDelta(Oid::null(SHA1)), true),
        (BLOB, false),
    ] {
        for size in [TIGHT.max_object + 1, u64::MAX] {
            let mut entry = Vec::new();
            super::super::entry::write(&mut entry, kind, size, PACK_HEADER as u64);
            let error = fails(&seal(1, &entry, SHA1)[..PACK_HEADER + entry.len()]);
            let too_large =
                matches!(error, PackError::TooLarge { size: stated, .. } if stated == size);
            assert_eq!(too_large, refused, "{error}");
        }
    }

    // A delta of a few bytes whose result would be over the limit.
    let base = vec![b'x'; 1 << 16];
    let copy = Op::Copy {
        offset: 0,
        size: base.len(),
    };
    let ops = vec![copy; 17];
    let bomb = encode(base.len() as u64, 17 << 16, &ops);
    let pack = pack_of(&[(BLOB, &base), (EntryKind::OfsDelta(0), &bomb)]);
    let error = fails(&pack);
    assert!(
        matches!(error, PackError::TooLarge { size, .. } if size == 17 << 16),
        "{error}"
    );
}

#[test]
fn an_entry_that_inflates_to_another_size_is_an_error() {
    for (stated, data) in [
        (4, &b"first"[..]),
        (6, b"first"),
        (0, b"first"),
        (400, &[b'x'; 401]),
        (402, &[b'x'; 401]),
    ] {
        let mut good = Vec::new();
        build::encode_entry(&mut good, ObjectKind::Blob, data, 6);
        let mut header = Vec::new();
        super::super::entry::write(&mut header, BLOB, data.len() as u64, 12);
        let mut entry = Vec::new();
        super::super::entry::write(&mut entry, BLOB, stated, 12);
        entry.extend_from_slice(&good[header.len()..]);
        let error = fails(&seal(1, &entry, SHA1));
        assert!(
            matches!(error, PackError::Inflate { offset: 12, .. }),
            "{error}"
        );
    }
}

#[test]
fn a_base_must_be_an_entry() {
    let mut out = vec![0; PACK_HEADER];
    build::encode_entry(&mut out, ObjectKind::Blob, b"first", 6);
    build::encode(
        &mut out,
        EntryKind::OfsDelta(13),
        &append(b"first", b"!"),
        6,
    );
    let error = fails(&seal(2, &out[PACK_HEADER..], SHA1));
    assert_eq!(
        error.to_string(),
        "the pack's entry at 26 has a base that is no entry"
    );
}

#[test]
fn deltas_for_other_bases_are_errors() {
    let delta = append(b"other!", b"x");
    let error = fails(&pack_of(&[
        (BLOB, b"first"),
        (EntryKind::OfsDelta(0), &delta),
    ]));
    assert!(matches!(error, PackError::Delta { .. }), "{error}");
    let error = fails(&pack_of(&[
        (EntryKind::RefDelta(blob(b"first")), &delta),
        (BLOB, b"first"),
    ]));
    assert!(
        matches!(error, PackError::Delta { offset: 12, .. }),
        "{error}"
    );
}

#[test]
fn a_missing_base_is_named_after_all_else_was_made() {
    let missing = blob(b"missing");
    let pack = pack_of(&[
        (EntryKind::RefDelta(missing), &append(b"missing", b"1")),
        (EntryKind::OfsDelta(0), &append(b"missing1", b"2")),
        (EntryKind::RefDelta(blob(b"first")), &append(b"first", b"1")),
        (BLOB, b"first"),
    ]);
    let (objects, end) = decode(&pack, SHA1, TIGHT, []);
    assert!(
        matches!(end, Err(PackError::MissingBase(oid)) if oid == missing),
        "{end:?}"
    );
    let made: Vec<_> = objects.iter().map(|object| object.oid).collect();
    assert_eq!(made, [blob(b"first"), blob(b"first1")]);
}

#[test]
fn what_was_made_late_is_no_prefix() {
    let missing = EntryKind::RefDelta(blob(b"missing"));
    let early = EntryKind::RefDelta(blob(b"first"));
    let pack = pack_of(&[
        (BLOB, b"zero"),
        (early, &append(b"first", b"1")),
        (missing, &append(b"missing", b"1")),
        (BLOB, b"first"),
    ]);
    let mut decoder = StreamDecoder::new(SHA1, TIGHT);
    decoder
        .push(&pack, &pack, &mut |_| ())
        .expect("a good pack");
    decoder.finish(&pack, &mut |_| ()).expect_err("no base");
    let (count, end) = decoder.complete_prefix();
    assert_eq!(count, 1);
    decode_good(
        &seal(count, &pack[PACK_HEADER..end as usize], SHA1),
        SHA1,
        TIGHT,
        usize::MAX,
    );
}

#[test]
fn deltas_in_a_circle_end() {
    // Nobody can make ids that fit, so any two will do: each waits for what the other would be.
    let (one, two) = (blob(b"one"), blob(b"two"));
    let pack = pack_of(&[
        (EntryKind::RefDelta(two), &append(b"two", b"")[..2]),
        (EntryKind::RefDelta(one), &append(b"one", b"")[..2]),
    ]);
    assert!(matches!(fails(&pack), PackError::MissingBase(_)));
    // In a stored pack, an index can tell such lies.
    let second = {
        let mut first = vec![0; PACK_HEADER];
        build::encode(
            &mut first,
            EntryKind::RefDelta(two),
            &append(b"two", b"")[..2],
            6,
        );
        first.len() as u64
    };
    let lookup = |oid: &Oid| Some(if *oid == one { 12 } else { second });
    let read = read_object(&pack, 12, SHA1, &lookup, 1 << 20);
    assert!(matches!(read, Err(PackError::Entry { .. })), "{read:?}");
    let header = object_header(&pack, 12, SHA1, &lookup);
    assert!(matches!(header, Err(PackError::Entry { .. })), "{header:?}");
}

#[test]
fn an_object_made_from_itself_is_found_by_its_first_copy() {
    // Each of these makes the very object that it builds on, which must not become its own base.
    let same = EntryKind::RefDelta(blob(b"first"));
    let copy = Op::Copy { offset: 0, size: 5 };
    let delta = encode(5, 5, &[copy]);
    for order in [[0, 1, 1, 1], [1, 0, 1, 1], [1, 1, 1, 0]] {
        let kinds = [(BLOB, &b"first"[..]), (same, &delta[..])];
        let pack = pack_of(&order.map(|which| kinds[which]));
        let objects = decode_good(&pack, SHA1, TIGHT, 10);
        assert!(objects.len() == 4 && objects.iter().all(|object| object.oid == blob(b"first")));
    }
}

#[test]
fn a_chain_of_ten_thousand_deltas_is_followed_without_recursion() {
    let mut out = vec![0; PACK_HEADER];
    let (mut offset, mut data) = (out.len() as u64, b"0".to_vec());
    build::encode_entry(&mut out, ObjectKind::Blob, &data, 0);
    for _ in 0..9_999 {
        let next = out.len() as u64;
        let (op, more) = (
            Op::Copy { offset: 0, size: 1 },
            Op::Insert(next.to_le_bytes().to_vec()),
        );
        let delta = encode(data.len() as u64, 9, &[op, more]);
        build::encode(&mut out, EntryKind::OfsDelta(offset), &delta, 0);
        data = [&b"0"[..], &next.to_le_bytes()].concat();
        offset = next;
    }
    let pack = seal(10_000, &out[PACK_HEADER..], SHA1);
    let objects = decode_good(&pack, SHA1, Limits::default(), usize::MAX);
    assert_eq!(objects.last().map(|object| object.oid), Some(blob(&data)));
    let read = read_object(&pack, offset, SHA1, &|_| None, 1 << 20);
    assert_eq!(
        read.expect("a good pack"),
        (ObjectKind::Blob, Bytes::from(data))
    );
}

/// A store that can't be read.
struct Broken;

impl ReadAt for Broken {
    fn read_at(&self, _: u64, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("unplugged"))
    }
}

/// Counts how often it is read.
struct Counted(Vec<u8>, std::cell::Cell<u32>);

impl ReadAt for Counted {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.1.set(self.1.get() + 1);
        self.0.read_at(offset, buf)
    }
}

#[test]
fn what_was_read_with_the_header_is_not_read_again() {
    let mut pack = build::pack_header(1).to_vec();
    let offset = pack.len() as u64;
    // More than a header may have.
    let content: Vec<u8> = (0..200).collect();
    build::encode_entry(&mut pack, ObjectKind::Blob, &content, 6);
    let pack = Counted(pack, Default::default());
    let read = read_object(&pack, offset, HashKind::Sha1, &|_| None, 1000);
    assert_eq!(read.expect("a good entry").1, content);
    assert_eq!(pack.1.get(), 1);
}

#[test]
fn a_base_in_the_cache_is_not_read_again() {
    let pack = pack_of(&[
        (BLOB, b"first"),
        (EntryKind::OfsDelta(0), &append(b"first", b"!")),
        (
            EntryKind::RefDelta(blob(b"first!")),
            &append(b"first!", b"?"),
        ),
        (EntryKind::OfsDelta(0), &append(b"first", b".")),
    ]);
    let mut decoder = StreamDecoder::new(SHA1, Limits::default());
    decoder
        .push(&pack, &Broken, &mut |_| ())
        .expect("nothing to read");
    decoder
        .finish(&Broken, &mut |_| ())
        .expect("nothing to read");
    assert_eq!(decoder.found(), 4);
}

#[test]
fn a_store_that_fails_is_told() {
    let pack = pack_of(&[
        (BLOB, b"first"),
        (EntryKind::OfsDelta(0), &append(b"first", b"!")),
    ]);
    let mut decoder = StreamDecoder::new(SHA1, TIGHT);
    let error = decoder
        .push(&pack, &Broken, &mut |_| ())
        .expect_err("a base must be read");
    assert!(
        matches!(error, PackError::Read { offset: 12, .. }),
        "{error}"
    );

    let mut decoder = StreamDecoder::new(SHA1, TIGHT);
    let error = decoder
        .push(&pack, &b"".as_slice(), &mut |_| ())
        .expect_err("a base must be read");
    assert!(
        matches!(error, PackError::Truncated { offset: 12 }),
        "{error}"
    );
}

#[test]
fn short_reads_are_read_on() {
    struct Bytewise(Vec<u8>);
    impl ReadAt for Bytewise {
        fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
            let len = buf.len().min(1);
            self.0.read_at(offset, &mut buf[..len])
        }
    }
    let pack = small_pack(SHA1);
    let objects = decode_good(&pack, SHA1, TIGHT, usize::MAX);
    let lookup = |oid: &Oid| first_made(&objects, oid);
    let bytewise = Bytewise(pack);
    for object in &objects {
        let read =
            read_object(&bytewise, object.offset, SHA1, &lookup, 1 << 20).expect("a good pack");
        assert_eq!(object_id(SHA1, read.0, &read.1), Some(object.oid));
        let header = object_header(&bytewise, object.offset, SHA1, &lookup);
        assert_eq!(header.expect("a good pack"), (object.kind, object.size));
    }
}

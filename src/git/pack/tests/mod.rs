//! Tests of packs as wholes: against packs that `git` makes, and against packs made here at random.

mod hostile;
mod oracle;
mod random;

use super::{build, *};
use crate::git::oid::{HashKind, object_id};

/// Small limits, so that small packs reach them: nothing is cached, and blobs are large early.
const TIGHT: Limits = Limits {
    large: 300,
    max_object: 1 << 20,
    max_objects: 10_000,
    base_cache: 0,
};

/// Decodes `pack`, pushed in pieces of the given sizes (then the rest): the objects in the order in
/// which they came, and how it ended.
fn decode(
    pack: &[u8],
    hash: HashKind,
    limits: Limits,
    pieces: impl IntoIterator<Item = usize>,
) -> (Vec<Decoded>, Result<PackSummary, PackError>) {
    let mut decoder = StreamDecoder::new(hash, limits);
    let mut objects = Vec::new();
    let mut at = 0;
    let mut pieces = pieces.into_iter();
    while at < pack.len() {
        let end = pack
            .len()
            .min(at + pieces.next().unwrap_or(usize::MAX - at));
        // What was not pushed yet is not there to be read either.
        let stored = &pack[..end];
        if let Err(error) =
            decoder.push(&pack[at..end], &stored, &mut |object| objects.push(object))
        {
            assert!(matches!(
                decoder.push(b"x", &stored, &mut |_| ()),
                Err(PackError::Failed)
            ));
            assert!(matches!(
                decoder.finish(&stored, &mut |_| ()),
                Err(PackError::Failed)
            ));
            return (objects, Err(error));
        }
        at = end;
    }
    let end = decoder.finish(&pack, &mut |object| objects.push(object));
    assert_eq!(decoder.found() as usize, objects.len());
    if let Ok(summary) = &end {
        assert_eq!(decoder.objects(), Some(summary.objects));
        assert_eq!(decoder.found(), summary.objects);
        assert_eq!(
            decoder.complete_prefix(),
            (summary.objects, trailer_offset(pack, hash))
        );
        assert_eq!(summary.len, pack.len() as u64);
        assert_eq!(
            summary.checksum.as_slice(),
            &pack[trailer_offset(pack, hash) as usize..]
        );
    }
    (objects, end)
}

fn trailer_offset(pack: &[u8], hash: HashKind) -> u64 {
    (pack.len() - hash.len_in_bytes()) as u64
}

/// Decodes a good pack.
fn decode_good(pack: &[u8], hash: HashKind, limits: Limits, piece: usize) -> Vec<Decoded> {
    let (objects, end) = decode(pack, hash, limits, std::iter::repeat(piece));
    end.expect("a good pack");
    objects
}

/// Checks that an object is what its id says, and that only large blobs come without content.
fn assert_true(object: &Decoded, hash: HashKind, limits: Limits) {
    let large = object.kind == ObjectKind::Blob && object.size >= limits.large;
    assert_eq!(object.data.is_none(), large);
    if let Some(data) = &object.data {
        assert_eq!(object.size, data.len() as u64);
        assert_eq!(object_id(hash, object.kind, data), Some(object.oid));
    }
}

/// Puts header and trailer around entries that begin at offset 12.
fn seal(objects: u32, entries: &[u8], hash: HashKind) -> Vec<u8> {
    let mut pack = build::pack_header(objects).to_vec();
    pack.extend_from_slice(entries);
    let mut checksum = build::Checksum::new(hash);
    checksum.update(&pack);
    let checksum = checksum.finish().expect("no collision");
    pack.extend_from_slice(checksum.as_slice());
    pack
}

/// The offset of the first object with this id that was made.
fn first_made(objects: &[Decoded], oid: &Oid) -> Option<u64> {
    let object = objects.iter().find(|object| object.oid == *oid)?;
    Some(object.offset)
}

#[test]
fn however_a_pack_is_held_the_same_bytes_are_read() {
    let bytes: &[u8] = b"0123456789";
    let held: [&dyn ReadAt; 6] = [
        &bytes,
        &bytes.to_vec(),
        &Bytes::from_static(b"0123456789"),
        &&bytes,
        &Arc::new(bytes.to_vec()),
        &Arc::new(Bytes::from_static(b"0123456789")) as &dyn ReadAt,
    ];
    for pack in held {
        for (offset, expected) in [
            (0, &b"0123"[..]),
            (3, b"3456"),
            (8, b"89"),
            (10, b""),
            (99, b""),
        ] {
            let mut buf = [b'-'; 4];
            let len = pack.read_at(offset, &mut buf).expect("memory");
            assert_eq!(&buf[..len], expected);
            assert!(buf[len..].iter().all(|byte| *byte == b'-'));
        }
    }
}

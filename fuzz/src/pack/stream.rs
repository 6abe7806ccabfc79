//! The decoder of a pack that arrives.

use std::{cell::Cell, io};

use bonsaifs::git::{
    oid::{HashKind, ObjectKind, object_id},
    pack::{
        Decoded, Limits, PackError, PackSummary, ReadAt, StreamDecoder,
        build::pack_header,
        index::{Index, IndexEntry, write_index},
        read::{object_header, read_object, stream_entry},
    },
};

use super::builder::{Built, build, checksum, damage};
use crate::input::{Cuts, Input};

/// No object may take more.
const MAX: u64 = 1 << 17;

/// See the module.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let cuts = input.cuts();
    let limits = Limits {
        large: [1 << 20, 16, 300][input.below(3)],
        max_object: MAX,
        max_objects: 1000,
        base_cache: [1 << 20, 0, 64][input.below(3)],
    };
    let mut harm = Input::new(input.take(16));
    let built = build(&mut input);
    let mut bytes = built.bytes.clone();
    let damaged = damage(&mut harm, &mut bytes);

    let read = decode(&bytes, cuts, built.hash, limits);
    check_objects(&read, &built, limits);
    let whole = decode(&bytes, Cuts::NONE, built.hash, limits);
    assert_eq!(read.found, whole.found, "depends on the cuts");
    // Of data that is both broken and too long, what is noticed first may depend on the cuts.
    let [end, whole_end] = [&read, &whole].map(|read| match &read.end {
        Err(PackError::Inflate { offset, .. }) => format!("bad data at {offset}"),
        end => format!("{end:?}"),
    });
    assert_eq!(end, whole_end, "depends on the cuts");

    match &read.end {
        Ok(summary) => {
            let (body, trailer) = bytes.split_at(bytes.len() - built.hash.len_in_bytes());
            assert_eq!(
                checksum(body, built.hash).as_slice(),
                trailer,
                "not looked at"
            );
            assert_eq!(summary.checksum.as_slice(), trailer);
            assert_eq!(summary.len, bytes.len() as u64);
            assert_eq!(summary.objects as usize, read.found.len());
            check_stored(&bytes, &read, &built);
        }
        Err(error) => assert!(damaged, "an undamaged pack: {error}"),
    }
    if !damaged {
        let mut found: Vec<_> = read.found.iter().map(|d| (d.offset, d.oid)).collect();
        found.sort();
        let expected: Vec<_> = built.objects.iter().map(|(o, at)| (*at, o.oid)).collect();
        assert_eq!(found, expected, "not the pack's objects");
    }
    check_prefix(&bytes, &read, built.hash, limits);
}

struct Read {
    found: Vec<Decoded>,
    end: Result<PackSummary, PackError>,
    prefix: (u32, u64),
}

/// What was pushed so far, and nothing of what comes after.
struct Spool<'a> {
    bytes: &'a [u8],
    pushed: Cell<usize>,
}

impl ReadAt for Spool<'_> {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.bytes[..self.pushed.get()].read_at(offset, buf)
    }
}

fn decode(bytes: &[u8], cuts: Cuts<'_>, hash: HashKind, limits: Limits) -> Read {
    let spool = Spool {
        bytes,
        pushed: Cell::new(0),
    };
    let mut decoder = StreamDecoder::new(hash, limits);
    let mut found = Vec::new();
    let mut end = Ok(());
    for piece in cuts.pieces(bytes) {
        spool.pushed.set(spool.pushed.get() + piece.len());
        end = decoder.push(piece, &spool, &mut |decoded| found.push(decoded));
        if end.is_err() {
            break;
        }
    }
    let prefix = decoder.complete_prefix();
    let end = end.and_then(|()| decoder.finish(&spool, &mut |decoded| found.push(decoded)));
    assert_eq!(decoder.found() as usize, found.len());
    assert!(
        decoder
            .objects()
            .is_none_or(|objects| found.len() <= objects as usize)
    );
    Read { found, end, prefix }
}

/// Every object is what its id says, damaged pack or not.
fn check_objects(read: &Read, built: &Built, limits: Limits) {
    for decoded in &read.found {
        let large = decoded.kind == ObjectKind::Blob && decoded.size >= limits.large;
        let Some(data) = &decoded.data else {
            assert!(large, "held back: {decoded:?}");
            continue;
        };
        assert!(!large && data.len() as u64 == decoded.size && decoded.size <= MAX);
        let oid = object_id(built.hash, decoded.kind, data);
        assert_eq!(oid, Some(decoded.oid), "a wrong object came out");
    }
}

/// The pack with an index, as the object store keeps it.
fn check_stored(bytes: &[u8], read: &Read, built: &Built) {
    let mut offsets: Vec<_> = read.found.iter().map(|found| found.offset).collect();
    offsets.push((bytes.len() - built.hash.len_in_bytes()) as u64);
    offsets.sort_unstable();
    let mut entries = Vec::new();
    for found in &read.found {
        let at = offsets.partition_point(|offset| *offset <= found.offset);
        let entry = &bytes[found.offset as usize..offsets[at] as usize];
        assert_eq!(crc32(entry), found.crc32);
        entries.push(IndexEntry {
            oid: found.oid,
            crc32: found.crc32,
            offset: found.offset,
        });
    }
    let summary = read.end.as_ref().expect("the pack is complete");
    let index = write_index(&mut entries, &summary.checksum, built.hash);
    let index = Index::parse(index.into(), built.hash).expect("it was just written");
    index.verify().expect("it was just written");
    assert_eq!(index.len(), read.found.len());
    let mut ids: Vec<_> = entries.iter().map(|entry| entry.oid).collect();
    ids.dedup();
    if ids.len() < entries.len() {
        // An object that is there twice, once as a delta on itself, can't be found by its id: see
        // `read::Lookup`. No git writes such a pack.
        return;
    }
    let lookup = |oid: &_| index.find(oid);
    for found in &read.found {
        let header = object_header(&bytes, found.offset, built.hash, &lookup);
        assert_eq!(header.ok(), Some((found.kind, found.size)));
        let (kind, data) = read_object(&bytes, found.offset, built.hash, &lookup, MAX)
            .expect("it was decoded before");
        let oid = object_id(built.hash, kind, &data);
        assert_eq!((kind, oid), (found.kind, Some(found.oid)));
        let mut streamed = Vec::new();
        let streaming = stream_entry(&bytes, found.offset, built.hash, &mut |piece| {
            streamed.extend_from_slice(piece);
            Ok(())
        });
        match streaming {
            Ok(header) => assert_eq!((header, streamed), ((kind, found.size), data.to_vec())),
            Err(error) => assert!(matches!(error, PackError::IsDelta { .. }), "{error}"),
        }
    }
}

/// What is said to be whole of a torn pack makes a pack.
fn check_prefix(bytes: &[u8], read: &Read, hash: HashKind, limits: Limits) {
    let (count, end) = read.prefix;
    if count == 0 {
        return;
    }
    let mut salvaged = pack_header(count).to_vec();
    salvaged.extend_from_slice(&bytes[12..end as usize]);
    let trailer = checksum(&salvaged, hash);
    salvaged.extend_from_slice(trailer.as_slice());
    let again = decode(&salvaged, Cuts::NONE, hash, limits);
    let summary = again.end.as_ref().expect("its entries were whole");
    assert_eq!(summary.objects, count);
    let mut leading: Vec<_> = read.found.iter().filter(|f| f.offset < end).collect();
    leading.sort_by_key(|found| found.offset);
    let mut salvaged: Vec<_> = again.found.iter().collect();
    salvaged.sort_by_key(|found| found.offset);
    assert_eq!(salvaged, leading);
}

/// CRC-32 as in zlib, a bit at a time.
fn crc32(data: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in data {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ (0xedb8_8320 * (crc & 1));
        }
    }
    !crc
}

//! Stored packs and indexes that rotted: an error, or bytes within the limit; never a panic, an
//! endless chain or an answer that contradicts another.

use bonsaifs::git::{
    oid::{HashKind, Oid},
    pack::{
        PackError,
        index::{Index, IndexEntry, write_index},
        read::{entry_header, object_header, read_object, stream_entry},
    },
};

use super::builder::{build, checksum, damage};
use crate::input::Input;

/// No object may take more.
const MAX: u64 = 1 << 16;

/// See the module.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    match input.below(3) {
        0 => raw_index(input.rest()),
        1 => rotten_index(input),
        _ => rotten_pack(input),
    }
}

fn raw_index(data: &[u8]) {
    for hash in [HashKind::Sha1, HashKind::Sha256] {
        if let Ok(index) = Index::parse(data.to_vec().into(), hash) {
            check_index(&index);
        }
    }
}

fn rotten_index(mut input: Input<'_>) {
    let hash = HashKind::Sha1;
    let mut harm = Input::new(input.take(16));
    let mut entries = Vec::new();
    while entries.len() < 20 && !input.is_empty() {
        let mut id = [0; 20];
        id[0] = input.byte();
        id[19] = input.byte();
        let high = [0, 0x7fff_ffff, 0x8000_0000, u64::from(u32::MAX)][input.below(4)];
        entries.push(IndexEntry {
            oid: Oid::from_bytes_or_panic(&id),
            crc32: 7,
            offset: high + u64::from(input.byte()),
        });
    }
    let mut bytes = write_index(&mut entries, &checksum(b"", hash), hash);
    let damaged = damage(&mut harm, &mut bytes);
    let parsed = Index::parse(bytes.into(), hash);
    let Ok(index) = parsed else {
        assert!(damaged, "{:?}", parsed.err());
        return;
    };
    check_index(&index);
    if damaged {
        assert!(index.verify().is_err(), "rot was not noticed");
        return;
    }
    index.verify().expect("it was just written");
    let read: Vec<_> = index.entries().map(|e| (e.oid, e.offset)).collect();
    let written: Vec<_> = entries.iter().map(|e| (e.oid, e.offset)).collect();
    assert_eq!(read, written);
}

fn check_index(index: &Index) {
    let listed: Vec<_> = index.oids().collect();
    assert!(listed.len() <= index.len());
    let verified = index.verify().is_ok();
    for (oid, _) in &listed {
        let found = index.find(oid);
        if verified {
            let first = listed.iter().find(|(listed, _)| listed == oid);
            assert_eq!(found, first.map(|(_, offset)| *offset));
        }
    }
    let _ = index.pack_checksum();
}

/// The true places of objects, over a pack that is not what it was; or any places at all.
fn rotten_pack(mut input: Input<'_>) {
    let mut harm = Input::new(input.take(16));
    let twist = harm.byte();
    let built = build(&mut input);
    let mut bytes = built.bytes.clone();
    damage(&mut harm, &mut bytes);
    let lookup = |oid: &Oid| {
        let at = built
            .objects
            .iter()
            .position(|(object, _)| object.oid == *oid)?;
        let twisted = (at + usize::from(twist)) % built.objects.len();
        Some(built.objects[twisted].1)
    };
    let offsets = built.objects.iter().map(|(_, offset)| *offset);
    for offset in offsets.chain([0, u64::from(twist), bytes.len() as u64, u64::MAX]) {
        let read = read_object(&bytes, offset, built.hash, &lookup, MAX);
        if let Ok((kind, data)) = &read {
            assert!(data.len() as u64 <= MAX);
            let header = object_header(&bytes, offset, built.hash, &lookup);
            assert_eq!(header.ok(), Some((*kind, data.len() as u64)));
        }
        let mut streamed = Vec::new();
        let streaming = stream_entry(&bytes, offset, built.hash, &mut |piece| {
            streamed.extend_from_slice(piece);
            Ok(())
        });
        match (streaming, read) {
            (Ok((kind, size)), Ok((read_kind, data))) => {
                assert_eq!((kind, size), (read_kind, data.len() as u64));
                assert_eq!(streamed, data);
            }
            (Ok((_, size)), Err(_)) => assert!(size > MAX, "read in one way only"),
            (Err(error), Ok(_)) => assert!(matches!(error, PackError::IsDelta { .. }), "{error}"),
            (Err(_), Err(_)) => {}
        }
        let _ = entry_header(&bytes, offset, built.hash);
    }
}

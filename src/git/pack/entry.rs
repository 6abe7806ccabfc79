//! The header of a pack's entry (gitformat-pack, "Pack file entry").

use super::PackError;
use crate::git::oid::{HashKind, ObjectKind, Oid};

/// The length of a pack's own header, hence the offset of its first entry.
pub const PACK_HEADER: usize = 12;

/// No entry's header is longer: a size of 64 bits with the kind, and a SHA-256 id.
pub(super) const MAX_HEADER: usize = 10 + 32;

/// How an entry holds its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// Whole.
    Base(ObjectKind),
    /// As a delta against the entry that begins at this offset of the same pack.
    OfsDelta(u64),
    /// As a delta against this object.
    RefDelta(Oid),
}

/// What stands before an entry's compressed data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryHeader {
    /// How the object is held.
    pub kind: EntryKind,
    /// The inflated length of what is held: the object's size, or the delta's.
    pub size: u64,
    /// Where the compressed data begins, in bytes from the start of the pack.
    pub data_offset: u64,
}

const OFS_DELTA: u8 = 6;
const REF_DELTA: u8 = 7;

/// Reads the header of the entry at `offset` from its first bytes. `None` if `data` ends within it;
/// [`MAX_HEADER`] bytes are always enough.
pub(super) fn parse(
    data: &[u8],
    offset: u64,
    hash: HashKind,
) -> Result<Option<EntryHeader>, PackError> {
    let Some((code, size, mut len)) = kind_and_size(data, offset)? else {
        return Ok(None);
    };
    let kind = match code {
        1 => EntryKind::Base(ObjectKind::Commit),
        2 => EntryKind::Base(ObjectKind::Tree),
        3 => EntryKind::Base(ObjectKind::Blob),
        4 => EntryKind::Base(ObjectKind::Tag),
        OFS_DELTA => {
            let Some((distance, distance_len)) = distance(&data[len..], offset)? else {
                return Ok(None);
            };
            len += distance_len;
            let base = offset.checked_sub(distance);
            let base = base.filter(|&base| base >= PACK_HEADER as u64 && base < offset);
            EntryKind::OfsDelta(
                base.ok_or(PackError::entry(offset, "has a base outside of the pack"))?,
            )
        }
        REF_DELTA => {
            let Some(id) = data.get(len..len + hash.len_in_bytes()) else {
                return Ok(None);
            };
            len += id.len();
            EntryKind::RefDelta(Oid::from_bytes_or_panic(id))
        }
        _ => return Err(PackError::entry(offset, "is of an unknown kind")),
    };
    Ok(Some(EntryHeader {
        kind,
        size,
        data_offset: offset + len as u64,
    }))
}

/// Reads the kind's code and the size: three bits and four bits in the first byte, then seven bits
/// a byte, the lowest first.
fn kind_and_size(data: &[u8], offset: u64) -> Result<Option<(u8, u64, usize)>, PackError> {
    let Some((&first, rest)) = data.split_first() else {
        return Ok(None);
    };
    let code = first >> 4 & 7;
    let mut size = u64::from(first & 0xf);
    let mut more = first & 0x80 != 0;
    let mut len = 1;
    let mut bytes = rest.iter();
    while more {
        let Some(&byte) = bytes.next() else {
            return Ok(None);
        };
        let (bits, shift) = (u64::from(byte & 0x7f), 4 + 7 * (len - 1));
        if shift > 60 || bits << shift >> shift != bits {
            return Err(PackError::entry(
                offset,
                "states a size of more than 64 bits",
            ));
        }
        size |= bits << shift;
        more = byte & 0x80 != 0;
        len += 1;
    }
    Ok(Some((code, size, len)))
}

/// Reads how far before its entry a base begins: seven bits a byte, the highest first, where each
/// further byte also adds one to what came before, so that no number has two spellings.
fn distance(data: &[u8], offset: u64) -> Result<Option<(u64, usize)>, PackError> {
    let mut distance = 0u64;
    for (at, &byte) in data.iter().enumerate() {
        distance |= u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Ok(Some((distance, at + 1)));
        }
        if distance >= 1 << 56 {
            return Err(PackError::entry(offset, "has a base outside of the pack"));
        }
        distance = (distance + 1) << 7;
    }
    Ok(None)
}

/// Writes the header of an entry that begins at `offset` and inflates to `size` bytes.
pub(super) fn write(out: &mut Vec<u8>, kind: EntryKind, size: u64, offset: u64) {
    let code = match kind {
        EntryKind::Base(ObjectKind::Commit) => 1,
        EntryKind::Base(ObjectKind::Tree) => 2,
        EntryKind::Base(ObjectKind::Blob) => 3,
        EntryKind::Base(ObjectKind::Tag) => 4,
        EntryKind::OfsDelta(_) => OFS_DELTA,
        EntryKind::RefDelta(_) => REF_DELTA,
    };
    let mut byte = code << 4 | (size & 0xf) as u8;
    let mut rest = size >> 4;
    while rest > 0 {
        out.push(byte | 0x80);
        byte = (rest & 0x7f) as u8;
        rest >>= 7;
    }
    out.push(byte);
    match kind {
        EntryKind::Base(_) => {}
        EntryKind::OfsDelta(base) => {
            let mut distance = offset - base;
            let mut reversed = vec![(distance & 0x7f) as u8];
            while distance > 0x7f {
                distance = (distance >> 7) - 1;
                reversed.push((distance & 0x7f) as u8 | 0x80);
            }
            out.extend(reversed.iter().rev());
        }
        EntryKind::RefDelta(oid) => out.extend_from_slice(oid.as_slice()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SHA1: HashKind = HashKind::Sha1;

    fn any_size() -> impl Strategy<Value = u64> {
        (any::<u64>(), 0u32..64).prop_map(|(size, shift)| size >> shift)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            code in 0usize..6,
            size in any_size(),
            offset in any_size(),
            distance in any_size(),
            sha256 in any::<bool>(),
        ) {
            let hash = if sha256 { HashKind::Sha256 } else { SHA1 };
            let offset = (offset >> 1).max(PACK_HEADER as u64 + 1);
            let base = offset - 1 - distance % (offset - PACK_HEADER as u64);
            let kind = [
                EntryKind::Base(ObjectKind::Commit),
                EntryKind::Base(ObjectKind::Tree),
                EntryKind::Base(ObjectKind::Blob),
                EntryKind::Base(ObjectKind::Tag),
                EntryKind::OfsDelta(base),
                EntryKind::RefDelta(Oid::empty_blob(hash)),
            ][code];
            let mut data = Vec::new();
            write(&mut data, kind, size, offset);
            prop_assert!(data.len() <= MAX_HEADER);
            let data_offset = offset + data.len() as u64;
            for end in 0..data.len() {
                prop_assert!(matches!(parse(&data[..end], offset, hash), Ok(None)));
            }
            data.extend_from_slice(b"more");
            let header = parse(&data, offset, hash).expect("a good header");
            prop_assert_eq!(header, Some(EntryHeader { kind, size, data_offset }));
        }

        #[test]
        fn no_bytes_panic(data in prop::collection::vec(any::<u8>(), 0..50), offset in any_size()) {
            let parsed = parse(&data, offset >> 1, SHA1);
            prop_assert!(data.len() < MAX_HEADER || !matches!(parsed, Ok(None)));
        }
    }

    #[test]
    fn bad_headers_are_refused() {
        let parse = |data: &[u8]| parse(data, 1_000, SHA1);
        for kind in [0u8, 5] {
            assert!(parse(&[kind << 4]).is_err(), "kind {kind}");
        }
        let size_of = |last: u8| [&[0xbf][..], &[0xff; 8], &[last]].concat();
        assert!(parse(&size_of(0x0f)).is_ok());
        assert!(parse(&size_of(0x10)).is_err());
        assert!(parse(&[0xff; 12]).is_err());
        // 988 bytes back is the first entry; itself, the pack's header and before it are no bases.
        for (distance, good) in [
            (&[0x86, 0x5c][..], true),
            (&[0x86, 0x5d], false),
            (&[0x86, 0x68], false),
            (&[0], false),
            (&[0xff; 12], false),
        ] {
            assert_eq!(
                parse(&[&[0x60], distance].concat()).is_ok(),
                good,
                "{distance:x?}"
            );
        }
    }
}

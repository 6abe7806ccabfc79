//! The index of a pack, version 2 (gitformat-pack, "pack-*.idx files").

use bytes::Bytes;

use super::{PackError, build::Checksum};
use crate::git::oid::{HashKind, Oid};

const MAGIC: &[u8; 8] = b"\xfftOc\0\0\0\x02";
const FAN_OUT: usize = 256;
/// Where the ids begin.
pub(super) const IDS: usize = MAGIC.len() + 4 * FAN_OUT;
/// Marks an offset that stands in the table of 64-bit ones.
pub(super) const LARGE: u32 = 1 << 31;

/// One object in a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// Its id.
    pub oid: Oid,
    /// The CRC-32 of its entry as it stands in the pack.
    pub crc32: u32,
    /// Where its entry begins, in bytes from the start of the pack.
    pub offset: u64,
}

/// Writes the index of a pack, byte for byte as `git index-pack` does. Sorts `entries`.
pub fn write_index(entries: &mut [IndexEntry], pack_checksum: &Oid, hash: HashKind) -> Vec<u8> {
    entries.sort_unstable_by_key(|entry| (entry.oid, entry.offset));
    let is_large = |entry: &&IndexEntry| entry.offset >= u64::from(LARGE);
    let large = entries.iter().filter(is_large).count();
    let per_entry = hash.len_in_bytes() + 4 + 4;
    let len = IDS + entries.len() * per_entry + large * 8 + 2 * hash.len_in_bytes();
    let mut out = Vec::with_capacity(len);
    out.extend_from_slice(MAGIC);
    for first in 0..FAN_OUT {
        let up_to = entries.partition_point(|entry| usize::from(entry.oid.first_byte()) <= first);
        out.extend_from_slice(&(up_to as u32).to_be_bytes());
    }
    for entry in entries.iter() {
        out.extend_from_slice(entry.oid.as_slice());
    }
    for entry in entries.iter() {
        out.extend_from_slice(&entry.crc32.to_be_bytes());
    }
    let mut place = 0;
    for entry in entries.iter() {
        let offset = if is_large(&entry) {
            place += 1;
            LARGE | (place - 1)
        } else {
            entry.offset as u32
        };
        out.extend_from_slice(&offset.to_be_bytes());
    }
    for entry in entries.iter().filter(is_large) {
        out.extend_from_slice(&entry.offset.to_be_bytes());
    }
    out.extend_from_slice(pack_checksum.as_slice());
    let mut checksum = Checksum::new(hash);
    checksum.update(&out);
    let checksum = checksum.finish().expect(
        "an index is made of hashes and numbers, in which no attack on SHA-1 can be placed",
    );
    out.extend_from_slice(checksum.as_slice());
    out
}

/// A pack's index.
#[derive(Clone, Debug)]
pub struct Index {
    data: Bytes,
    hash: HashKind,
    len: usize,
    fan_out: FanOut,
}

/// How many objects have ids whose first byte is at most 0, 1, … 255.
#[derive(Clone, Debug)]
pub(super) struct FanOut(Box<[u32; FAN_OUT]>);

impl FanOut {
    /// Takes `head`, the first [`IDS`] bytes of an index of `end` bytes, and checks that all of its
    /// tables have room.
    pub fn parse(head: &[u8], end: u64, hash: HashKind) -> Result<Self, PackError> {
        if !head.starts_with(MAGIC) {
            return Err(PackError::Index("is not of version 2"));
        }
        let trailers = 2 * hash.len_in_bytes() as u64;
        let (counts, []) = head[MAGIC.len()..].as_chunks::<4>() else {
            return Err(PackError::Index("is too short"));
        };
        if counts.len() != FAN_OUT || end < IDS as u64 + trailers {
            return Err(PackError::Index("is too short"));
        }
        let mut fan_out = Box::new([0; FAN_OUT]);
        for (count, raw) in fan_out.iter_mut().zip(counts) {
            *count = u32::from_be_bytes(*raw);
        }
        if !fan_out.is_sorted() {
            return Err(PackError::Index("has a fan-out table out of order"));
        }
        let len = u64::from(fan_out[FAN_OUT - 1]);
        let fixed = len * (hash.len_in_bytes() as u64 + 4 + 4) + IDS as u64 + trailers;
        match end.checked_sub(fixed) {
            Some(large) if large % 8 == 0 && large / 8 <= len => Ok(Self(fan_out)),
            _ => Err(PackError::Index(
                "has a length that does not fit its number of objects",
            )),
        }
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.0[FAN_OUT - 1] as usize
    }

    /// From which place on, and up to which, ids begin as `oid` does.
    pub fn bucket(&self, oid: &Oid) -> (usize, usize) {
        let first = usize::from(oid.first_byte());
        let up_to = |first: usize| self.0[first] as usize;
        (first.checked_sub(1).map_or(0, up_to), up_to(first))
    }
}

impl Index {
    /// Takes an index. Looks at its header, fan-out table and length only; what it says of single
    /// objects is for [`verify`](Self::verify), or for whoever reads the object, to check.
    pub fn parse(data: Bytes, hash: HashKind) -> Result<Self, PackError> {
        let head = &data[..data.len().min(IDS)];
        let fan_out = FanOut::parse(head, data.len() as u64, hash)?;
        let len = fan_out.len();
        Ok(Self {
            data,
            hash,
            len,
            fan_out,
        })
    }

    /// Checks the checksum over the whole index, and that ids are in order and offsets in range.
    pub fn verify(&self) -> Result<(), PackError> {
        let (body, trailer) = self
            .data
            .split_at(self.data.len() - self.hash.len_in_bytes());
        let mut checksum = Checksum::new(self.hash);
        checksum.update(body);
        if checksum.finish()?.as_slice() != trailer {
            return Err(PackError::Index("does not match its checksum"));
        }
        if !(1..self.len).all(|at| self.id(at - 1) <= self.id(at)) {
            return Err(PackError::Index("has ids out of order"));
        }
        if (0..self.len).any(|at| self.offset(at).is_none()) {
            return Err(PackError::Index("has an offset out of range"));
        }
        Ok(())
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where the entry of `oid` begins in the pack, if it is there; the first of several.
    pub fn find(&self, oid: &Oid) -> Option<u64> {
        let (mut low, end) = self.fan_out.bucket(oid);
        let mut high = end;
        while low < high {
            let middle = low + (high - low) / 2;
            if self.id(middle) < oid.as_slice() {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        (low < end && self.id(low) == oid.as_slice()).then(|| self.offset(low))?
    }

    /// All objects in the order of their ids, with where their entries begin. Those whose offset
    /// is out of range are left out.
    pub fn oids(&self) -> impl Iterator<Item = (Oid, u64)> {
        (0..self.len).filter_map(|at| {
            let oid = Oid::from_bytes_or_panic(self.id(at));
            Some((oid, self.offset(at)?))
        })
    }

    /// All that the index says, in the order of ids.
    pub fn entries(&self) -> impl Iterator<Item = IndexEntry> {
        (0..self.len).filter_map(|at| {
            Some(IndexEntry {
                oid: Oid::from_bytes_or_panic(self.id(at)),
                crc32: self.word(self.crcs() + 4 * at),
                offset: self.offset(at)?,
            })
        })
    }

    /// The checksum of the pack that this index is for.
    pub fn pack_checksum(&self) -> Oid {
        let len = self.hash.len_in_bytes();
        Oid::from_bytes_or_panic(&self.data[self.data.len() - 2 * len..][..len])
    }

    fn crcs(&self) -> usize {
        IDS + self.len * self.hash.len_in_bytes()
    }

    /// The id at a place in the order of ids.
    fn id(&self, at: usize) -> &[u8] {
        let len = self.hash.len_in_bytes();
        &self.data[IDS + at * len..][..len]
    }

    /// The offset at a place in the order of ids; `None` if it refers to a place outside of the
    /// table of large ones.
    fn offset(&self, at: usize) -> Option<u64> {
        let offsets = self.crcs() + 4 * self.len;
        let offset = self.word(offsets + 4 * at);
        if offset & LARGE == 0 {
            return Some(u64::from(offset));
        }
        let large = offsets + 4 * self.len;
        let end = self.data.len() - 2 * self.hash.len_in_bytes();
        let at = large + 8 * (offset & !LARGE) as usize;
        let high = (at + 8 <= end).then(|| self.word(at))?;
        Some(u64::from(high) << 32 | u64::from(self.word(at + 4)))
    }

    fn word(&self, at: usize) -> u32 {
        let bytes = &self.data[at..at + 4];
        u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::git::oracle::Repo;

    const HASHES: [HashKind; 2] = [HashKind::Sha1, HashKind::Sha256];

    fn oid(hash: HashKind, start: u8, end: u8) -> Oid {
        let mut oid = Oid::null(hash);
        let bytes = oid.as_mut_slice();
        bytes[0] = start;
        bytes[bytes.len() - 1] = end;
        oid
    }

    fn sample(hash: HashKind) -> Vec<IndexEntry> {
        let entry = |start, end, offset| IndexEntry {
            oid: oid(hash, start, end),
            crc32: u32::from(end) * 0x0101_0101,
            offset,
        };
        vec![
            entry(255, 1, 12),
            entry(0, 2, 0x7fff_ffff),
            entry(0, 1, 0x8000_0000),
            entry(7, 0, 0xffff_ffff),
            entry(7, 1, 0x1_0000_0000),
            entry(7, 255, 1 << 62),
            entry(255, 255, 5_000),
        ]
    }

    fn written(hash: HashKind) -> Vec<u8> {
        write_index(&mut sample(hash), &oid(hash, 9, 9), hash)
    }

    #[test]
    fn what_is_written_is_found_and_git_reads_it() {
        for hash in HASHES {
            let data = written(hash);
            assert_eq!(data.capacity(), data.len(), "its memory is taken at once");
            let index = Index::parse(Bytes::from(data.clone()), hash).expect("a good index");
            index.verify().expect("a good index");
            assert_eq!((index.len(), index.pack_checksum()), (7, oid(hash, 9, 9)));
            assert!(!index.is_empty());
            let mut entries = sample(hash);
            for entry in &entries {
                assert_eq!(index.find(&entry.oid), Some(entry.offset));
            }
            for missing in [
                oid(hash, 0, 0),
                oid(hash, 0, 3),
                oid(hash, 1, 0),
                oid(hash, 7, 2),
                oid(hash, 255, 2),
            ] {
                assert_eq!(index.find(&missing), None);
            }
            for other in HASHES.into_iter().filter(|&other| other != hash) {
                assert_eq!(index.find(&oid(other, 7, 0)), None);
            }
            entries.sort_by_key(|entry| entry.oid);
            assert!(index.entries().eq(entries.iter().copied()));
            assert!(
                index
                    .oids()
                    .eq(entries.iter().map(|entry| (entry.oid, entry.offset)))
            );

            // `<offset> <id> (<crc>)`
            let shown = Repo::new(hash).git_with(&["show-index"], &data);
            let line = |entry: &IndexEntry| {
                format!("{} {} ({:08x})\n", entry.offset, entry.oid, entry.crc32)
            };
            let expected: String = entries.iter().map(line).collect();
            assert_eq!(String::from_utf8_lossy(&shown), expected);
        }
    }

    #[test]
    fn an_empty_index_is_an_index() {
        let data = write_index(&mut [], &oid(HashKind::Sha1, 1, 1), HashKind::Sha1);
        let index = Index::parse(Bytes::from(data), HashKind::Sha1).expect("a good index");
        index.verify().expect("a good index");
        assert!(index.is_empty());
        assert_eq!(index.find(&oid(HashKind::Sha1, 0, 0)), None);
        assert_eq!(index.find(&oid(HashKind::Sha256, 0, 0)), None);
    }

    #[test]
    fn of_an_object_that_is_there_twice_the_first_is_found() {
        let hash = HashKind::Sha1;
        let twice = |offset| IndexEntry {
            oid: oid(hash, 5, 5),
            crc32: 0,
            offset,
        };
        let mut entries = vec![twice(90), twice(12), twice(50)];
        entries.push(IndexEntry {
            oid: oid(hash, 5, 4),
            crc32: 0,
            offset: 20,
        });
        let data = write_index(&mut entries, &oid(hash, 1, 1), hash);
        let index = Index::parse(Bytes::from(data), hash).expect("a good index");
        index.verify().expect("a good index");
        assert_eq!(index.find(&oid(hash, 5, 5)), Some(12));
    }

    #[test]
    fn a_cut_or_flipped_index_is_refused() {
        for hash in HASHES {
            let data = written(hash);
            for cut in 0..data.len() {
                let index = Index::parse(Bytes::copy_from_slice(&data[..cut]), hash);
                // A cut by 64-bit offsets leaves a length that may be right.
                assert!(
                    index.is_err() || index.is_ok_and(|index| index.verify().is_err()),
                    "{cut}"
                );
            }
            for bit in 0..8 * data.len() {
                let mut broken = data.clone();
                broken[bit / 8] ^= 1 << (bit % 8);
                let index = Index::parse(Bytes::from(broken), hash);
                assert!(
                    index.is_err() || index.is_ok_and(|index| index.verify().is_err()),
                    "{bit}"
                );
            }
        }
    }

    #[test]
    fn a_length_that_does_not_fit_the_number_of_objects_is_refused() {
        let hash = HashKind::Sha1;
        let mut entries = sample(hash);
        entries.truncate(1);
        let data = write_index(&mut entries, &oid(hash, 9, 9), hash);
        // Half a 64-bit offset, and more of them than there are objects.
        for (more, fits) in [(0, true), (4, false), (8, true), (16, false)] {
            let longer = Bytes::from([&data[..], &vec![0; more]].concat());
            assert_eq!(Index::parse(longer, hash).is_ok(), fits, "{more}");
        }
    }

    #[test]
    fn the_wrong_format_is_refused() {
        assert!(Index::parse(Bytes::from(written(HashKind::Sha1)), HashKind::Sha256).is_err());
        let version_1 = Bytes::from(vec![0; 2_000]);
        assert!(matches!(
            Index::parse(version_1, HashKind::Sha1),
            Err(PackError::Index(_))
        ));
    }

    #[test]
    fn a_fan_out_table_out_of_order_is_refused() {
        let mut data = written(HashKind::Sha1);
        data[MAGIC.len()..MAGIC.len() + 4].copy_from_slice(&8u32.to_be_bytes());
        let index = Index::parse(Bytes::from(data), HashKind::Sha1);
        assert!(matches!(index, Err(PackError::Index(reason)) if reason.contains("fan-out")));
    }

    #[test]
    fn a_lie_about_offsets_is_seen() {
        let hash = HashKind::Sha1;
        let mut data = written(hash);
        // The first offset, a large one, now refers to the fifth large one of four.
        let offsets = IDS + 7 * (20 + 4);
        data[offsets..offsets + 4].copy_from_slice(&(LARGE | 4).to_be_bytes());
        let index = Index::parse(Bytes::from(data), hash).expect("looks right");
        assert_eq!(index.find(&oid(hash, 0, 1)), None);
        assert_eq!((index.oids().count(), index.entries().count()), (6, 6));
        assert!(index.verify().is_err());
    }

    proptest! {
        #[test]
        fn no_table_panics(
            fan_out in prop::collection::vec(0u32..9, 0..4),
            body in prop::collection::vec(any::<u8>(), 0..400),
            seek in any::<u8>(),
        ) {
            let mut data = MAGIC.to_vec();
            let mut counts = fan_out;
            counts.resize(FAN_OUT, 8);
            data.extend(counts.iter().flat_map(|count| count.to_be_bytes()));
            data.extend_from_slice(&body);
            if let Ok(index) = Index::parse(Bytes::from(data), HashKind::Sha1) {
                let _ = (index.find(&oid(HashKind::Sha1, seek, 0)), index.verify());
                prop_assert!(index.entries().count() <= index.len());
            }
        }
    }
}

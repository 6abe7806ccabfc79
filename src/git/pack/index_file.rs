//! The index of a pack, left where it is stored: its fan-out table in memory, the rest read as
//! look-ups need it.
//!
//! Always holds: opening reads 1 KiB, whatever the number of objects; what an index says of single
//! objects is not verified, whoever reads the object hashes it.

use std::io;

use super::{
    PackError, ReadAt,
    index::{self, FanOut, LARGE},
};
use crate::git::oid::{HashKind, Oid};

/// How many ids are read at once: 4 KiB of SHA-1 ones. Ids are evenly spread, so the place of one
/// in its bucket is guessed within this, but for packs of over 20 million objects.
const WINDOW: usize = 204;

/// A stored index.
#[derive(Debug)]
pub struct IndexFile<R> {
    file: R,
    /// Its length in bytes.
    end: u64,
    hash: HashKind,
    fan_out: FanOut,
}

impl<R: ReadAt> IndexFile<R> {
    /// Opens the index in `file`, which has `end` bytes. Looks at its header, fan-out table and
    /// length only.
    ///
    /// # Errors
    /// [`PackError::Read`] if the file can't be read, [`PackError::Index`] if it is no index.
    pub fn open(file: R, end: u64, hash: HashKind) -> Result<Self, PackError> {
        let mut head = [0; index::IDS];
        match read_all(&file, 0, &mut head) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(PackError::Index("is too short"));
            }
            Err(source) => return Err(PackError::Read { offset: 0, source }),
        }
        let fan_out = FanOut::parse(&head, end, hash)?;
        Ok(Self {
            file,
            end,
            hash,
            fan_out,
        })
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.fan_out.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where the entry of `oid` begins in the pack, if it is there and can be read; the first of
    /// several.
    pub fn find(&self, oid: &Oid) -> Option<u64> {
        self.find_by(&self.file, oid)
    }

    /// The file.
    pub fn file(&self) -> &R {
        &self.file
    }

    /// As [`IndexFile::find`], by another way to read the same file.
    pub fn find_by(&self, file: &impl ReadAt, oid: &Oid) -> Option<u64> {
        let id_len = self.hash.len_in_bytes();
        if oid.kind() != self.hash {
            return None;
        }
        // The first place whose id is not less than `oid` is searched for in low..high.
        let (mut low, mut high) = self.fan_out.bucket(oid);
        let mut guess = low + spread(oid, high - low);
        let mut ids = [0; WINDOW * 32];
        while low < high {
            let start = guess
                .saturating_sub(WINDOW / 2)
                .min(high.saturating_sub(WINDOW))
                .max(low);
            let stop = high.min(start + WINDOW);
            let ids = &mut ids[..(stop - start) * id_len];
            read_all(file, (index::IDS + start * id_len) as u64, ids).ok()?;
            let id = |at: usize| &ids[(at - start) * id_len..][..id_len];
            if id(stop - 1) < oid.as_slice() {
                low = stop;
            } else if start > low && id(start) >= oid.as_slice() {
                // The same id may also stand before this one.
                high = start + 1;
            } else {
                let at = (start..stop).find(|&at| id(at) >= oid.as_slice())?;
                return (id(at) == oid.as_slice()).then(|| self.offset(file, at))?;
            }
            // The guess was far off: an index that is not evenly spread. Halving always ends.
            guess = low + (high - low) / 2;
        }
        None
    }

    /// The offset at a place in the order of ids.
    fn offset(&self, file: &impl ReadAt, at: usize) -> Option<u64> {
        let len = self.len();
        let offsets = index::IDS + len * (self.hash.len_in_bytes() + 4);
        let mut word = [0; 4];
        read_all(file, (offsets + 4 * at) as u64, &mut word).ok()?;
        let offset = u32::from_be_bytes(word);
        if offset & LARGE == 0 {
            return Some(u64::from(offset));
        }
        let at = (offsets + 4 * len) as u64 + 8 * u64::from(offset & !LARGE);
        let mut large = [0; 8];
        if at + 8 > self.end - 2 * self.hash.len_in_bytes() as u64 {
            return None;
        }
        read_all(file, at, &mut large).ok()?;
        Some(u64::from_be_bytes(large))
    }
}

/// Where `oid` stands among `len` ids that begin with the same byte, if they are evenly spread.
fn spread(oid: &Oid, len: usize) -> usize {
    let next = oid.as_slice()[1..9]
        .try_into()
        .map_or(0, u64::from_be_bytes);
    // Less than `len`, as the fraction is less than one.
    ((u128::from(next) * len as u128) >> 64) as usize
}

fn read_all(file: &impl ReadAt, offset: u64, buf: &mut [u8]) -> io::Result<()> {
    let mut done = 0;
    while done < buf.len() {
        match file.read_at(offset + done as u64, &mut buf[done..]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(len) => done += len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::{
        super::index::{Index, IndexEntry, write_index},
        *,
    };

    /// An id whose first bytes are `start` and whose others are `rest`.
    fn oid(hash: HashKind, start: &[u8], rest: u8) -> Oid {
        let mut oid = Oid::null(hash);
        oid.as_mut_slice().fill(rest);
        oid.as_mut_slice()[..start.len()].copy_from_slice(start);
        oid
    }

    fn open(entries: &mut [IndexEntry], hash: HashKind) -> (IndexFile<Bytes>, Index) {
        let data = Bytes::from(write_index(entries, &Oid::null(hash), hash));
        let file = IndexFile::open(data.clone(), data.len() as u64, hash).expect("a good index");
        (file, Index::parse(data, hash).expect("a good index"))
    }

    #[test]
    fn ids_that_are_not_evenly_spread_are_found_too() {
        for hash in [HashKind::Sha1, HashKind::Sha256] {
            let entry = |n: u32| IndexEntry {
                oid: oid(hash, &[9, 0, 0, (n >> 8) as u8, n as u8], 1),
                crc32: 0,
                offset: u64::from(n) << 20,
            };
            let mut entries: Vec<_> = (0..5_000).map(entry).collect();
            // Many of the same id: the first is found.
            entries.extend((0..700).map(|n| IndexEntry {
                offset: 77 + n,
                ..entry(4_321)
            }));
            let (file, index) = open(&mut entries, hash);
            assert_eq!(file.len(), 5_700);
            for entry in &entries {
                assert_eq!(file.find(&entry.oid), index.find(&entry.oid));
                assert!(file.find(&entry.oid).is_some());
            }
            assert_eq!(file.find(&entry(4_321).oid), Some(77));
            for missing in [0, 9, 255].map(|first| oid(hash, &[first], 0xff)) {
                assert_eq!(file.find(&missing), None);
            }
        }
    }

    #[test]
    fn a_look_up_among_many_reads_little() {
        struct Counted(Bytes, std::cell::Cell<usize>);
        impl ReadAt for Counted {
            fn read_at(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<usize> {
                self.1.set(self.1.get() + buf.len());
                self.0.read_at(offset, buf)
            }
        }
        // Evenly spread, as hashes are.
        let id = |n: u32| {
            oid(
                HashKind::Sha1,
                &n.wrapping_mul(0x9e37_79b1).to_be_bytes(),
                3,
            )
        };
        let mut entries: Vec<_> = (0..200_000)
            .map(|n| IndexEntry {
                oid: id(n),
                crc32: 0,
                offset: u64::from(n),
            })
            .collect();
        let hash = HashKind::Sha1;
        let data = write_index(&mut entries, &Oid::null(hash), hash);
        let end = data.len() as u64;
        let file = IndexFile::open(Counted(data.into(), 0.into()), end, hash).expect("good");
        assert!(file.file.1.get() <= 1_100);
        for n in (0..200_000).step_by(9_973) {
            file.file.1.set(0);
            assert_eq!(file.find(&id(n)), Some(u64::from(n)));
            assert!(file.file.1.get() < 10_000, "{}", file.file.1.get());
        }
    }

    #[test]
    fn a_cut_index_is_refused_and_no_flipped_byte_panics() {
        let hash = HashKind::Sha1;
        let mut entries: Vec<_> = (0..40u8)
            .map(|n| IndexEntry {
                oid: oid(hash, &[n / 3, n], 1),
                crc32: 0,
                offset: u64::from(n) << 29,
            })
            .collect();
        let data = write_index(&mut entries, &Oid::null(hash), hash);
        for cut in 0..data.len() {
            let cut = Bytes::copy_from_slice(&data[..cut]);
            let whole = Index::parse(cut.clone(), hash);
            let file = IndexFile::open(cut.clone(), cut.len() as u64, hash);
            assert_eq!(file.is_ok(), whole.is_ok());
        }
        for at in 0..data.len() {
            let mut broken = data.clone();
            broken[at] ^= 0xff;
            let broken = Bytes::from(broken);
            let whole = Index::parse(broken.clone(), hash);
            let file = IndexFile::open(broken.clone(), broken.len() as u64, hash);
            assert_eq!(file.is_ok(), whole.is_ok());
            for entry in &entries {
                file.as_ref().ok().and_then(|file| file.find(&entry.oid));
            }
        }
    }

    proptest! {
        #[test]
        fn it_finds_what_the_index_in_memory_finds(
            ids in prop::collection::vec((0u8..3, any::<u16>()), 0..900),
            wanted in prop::collection::vec((0u8..3, any::<u16>()), 20),
        ) {
            let hash = HashKind::Sha1;
            let id = |&(first, next): &(u8, u16)| {
                let [high, low] = next.to_be_bytes();
                oid(hash, &[first, high, low], 0)
            };
            let mut entries: Vec<_> = ids
                .iter()
                .enumerate()
                .map(|(at, ids)| IndexEntry { oid: id(ids), crc32: 0, offset: 1 << (at % 40) })
                .collect();
            let (file, index) = open(&mut entries, hash);
            for wanted in ids.iter().chain(&wanted) {
                prop_assert_eq!(file.find(&id(wanted)), index.find(&id(wanted)));
            }
        }
    }
}

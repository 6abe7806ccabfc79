//! Sizes of blobs, kept for ever: Git's trees don't have them, and asking costs a round trip.
//!
//! May import: seams, git. A look-up is memory only, but for the first, which reads the file.
//!
//! The file `bonsai/sizes` in the cache folder has a header of 8 bytes, then records sorted by object id
//! (the id, 8 bytes of size, the highest first), then 4 bytes of CRC-32 over all before.
//!
//! Always holds: a file that is not as it was written counts as none, sizes can be learnt again; one
//! that two processes write has what at least one of them knew; at most [`MOST`] sizes are known.

use std::{
    io,
    path::PathBuf,
    sync::{Mutex, OnceLock},
};

use bytes::Bytes;
use rustc_hash::FxHashMap;

use super::DiskTier;
use crate::git::oid::{HashKind, Oid};

/// The first bytes: what it is, and the version.
const HEADER: &[u8; 8] = b"bonsize1";
/// Of the checksum.
const TRAILER: usize = 4;
/// Of a size.
const SIZE: usize = 8;

/// Sizes kept for one repository: 28 MB of SHA-1 records. What comes later is not kept.
const MOST: usize = 1 << 20;
/// So many new ones are worth writing the file anew.
const WORTH_WRITING: usize = 4096;

/// What is known of one repository's blobs.
#[derive(Default)]
pub(super) struct Sizes {
    state: OnceLock<Mutex<State>>,
}

struct State {
    kept: Kept,
    /// What was learnt since the file was written.
    fresh: FxHashMap<Oid, u64>,
    /// True while somebody writes the file.
    saving: bool,
}

/// The file's content.
struct Kept {
    hash: HashKind,
    /// Its records.
    records: Bytes,
}

impl Kept {
    fn none(hash: HashKind) -> Self {
        let records = Bytes::new();
        Self { hash, records }
    }

    /// Reads a file; nothing if it isn't whole.
    fn parse(raw: Vec<u8>, hash: HashKind) -> Self {
        let none = Self::none(hash);
        let raw = Bytes::from(raw);
        let Some(end) = raw.len().checked_sub(TRAILER) else {
            return none;
        };
        let sum = crc32fast::hash(&raw[..end]).to_be_bytes();
        let whole = raw[end..] == sum && raw.starts_with(HEADER) && end >= HEADER.len();
        if !whole || !(end - HEADER.len()).is_multiple_of(none.record()) {
            return none;
        }
        let records = raw.slice(HEADER.len()..end);
        Self { records, ..none }
    }

    /// The file for `sizes`, which are sorted by id.
    fn encode(hash: HashKind, sizes: &[(Oid, u64)]) -> Vec<u8> {
        let record = hash.len_in_bytes() + SIZE;
        let mut raw = Vec::with_capacity(HEADER.len() + sizes.len() * record + TRAILER);
        raw.extend(HEADER);
        for (oid, size) in sizes {
            raw.extend(oid.as_slice());
            raw.extend(size.to_be_bytes());
        }
        let sum = crc32fast::hash(&raw);
        raw.extend(sum.to_be_bytes());
        raw
    }

    fn record(&self) -> usize {
        self.hash.len_in_bytes() + SIZE
    }

    fn len(&self) -> usize {
        self.records.len() / self.record()
    }

    fn nth(&self, index: usize) -> (&[u8], u64) {
        let from = index * self.record();
        let (oid, size) = self.records[from..from + self.record()].split_at(self.record() - SIZE);
        let size = size.try_into().expect("a record ends with 8 bytes");
        (oid, u64::from_be_bytes(size))
    }

    fn find(&self, oid: &Oid) -> Option<u64> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let (at, size) = self.nth(middle);
            match at.cmp(oid.as_slice()) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Some(size),
            }
        }
        None
    }

    /// These records and `fresh`, which is right where both have an id; [`MOST`] at most.
    fn merged(&self, fresh: &FxHashMap<Oid, u64>) -> Vec<(Oid, u64)> {
        let mut all: Vec<(Oid, u64)> = fresh.iter().map(|(oid, size)| (*oid, *size)).collect();
        for index in 0..self.len() {
            let (oid, size) = self.nth(index);
            match Oid::try_from(oid) {
                Ok(oid) if !fresh.contains_key(&oid) => all.push((oid, size)),
                _ => {}
            }
        }
        all.sort_unstable();
        all.truncate(MOST);
        all
    }
}

impl State {
    fn find(&self, oid: &Oid) -> Option<u64> {
        let fresh = self.fresh.get(oid).copied();
        fresh.or_else(|| self.kept.find(oid))
    }
}

impl DiskTier {
    /// The size of the blob `oid`, if it was ever learnt.
    pub fn known_size(&self, oid: &Oid) -> Option<u64> {
        self.lock_sizes().find(oid)
    }

    /// Keeps the size of the blob `oid`. True if so many are new that they are worth
    /// [`DiskTier::save_sizes`] now.
    pub fn learn_size(&self, oid: &Oid, size: u64) -> bool {
        let mut state = self.lock_sizes();
        if state.find(oid) == Some(size) || state.kept.len() + state.fresh.len() >= MOST {
            return false;
        }
        state.fresh.insert(*oid, size);
        state.fresh.len() >= WORTH_WRITING && !state.saving
    }

    /// Writes what was learnt, together with what other processes wrote meanwhile. Blocking.
    ///
    /// # Errors
    /// What the disk says; then what was learnt is still known in this process.
    pub fn save_sizes(&self) -> io::Result<()> {
        let fresh = {
            let mut state = self.lock_sizes();
            if state.fresh.is_empty() || state.saving {
                return Ok(());
            }
            state.saving = true;
            state.fresh.clone()
        };
        let merged = self.read_sizes().merged(&fresh);
        let raw = Kept::encode(self.hash, &merged);
        let folder = self.dir.join("bonsai");
        let written = self
            .disk
            .write_whole(&self.sizes_path(), &self.temp(&folder), &raw);
        let mut state = self.lock_sizes();
        state.saving = false;
        written?;
        state.kept = Kept::parse(raw, self.hash);
        state
            .fresh
            .retain(|oid, size| fresh.get(oid) != Some(&*size));
        Ok(())
    }

    fn read_sizes(&self) -> Kept {
        match self.disk.read(&self.sizes_path()) {
            Ok(raw) => Kept::parse(raw, self.hash),
            Err(_) => Kept::none(self.hash),
        }
    }

    fn lock_sizes(&self) -> std::sync::MutexGuard<'_, State> {
        let state = self.sizes.state.get_or_init(|| {
            Mutex::new(State {
                kept: self.read_sizes(),
                fresh: FxHashMap::default(),
                saving: false,
            })
        });
        state
            .lock()
            .expect("no code panics while it holds the sizes")
    }

    fn sizes_path(&self) -> PathBuf {
        self.dir.join("bonsai/sizes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::oid::ObjectKind;
    use crate::objects::testing::{id, tier};

    fn oid(number: usize) -> Oid {
        id(ObjectKind::Blob, format!("blob {number}").as_bytes())
    }

    #[tokio::test]
    async fn what_was_learnt_is_known_after_a_restart() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let first = tier(folder.path());
        for number in 0..1000 {
            first.learn_size(&oid(number), number as u64 * 3);
        }
        first.save_sizes().expect("written");
        // Learnt after that, and again what was a mistake.
        first.learn_size(&oid(1000), 7);
        first.learn_size(&oid(5), 99);
        first.save_sizes().expect("written");
        let second = tier(folder.path());
        for number in (0..1000).filter(|number| *number != 5) {
            assert_eq!(second.known_size(&oid(number)), Some(number as u64 * 3));
        }
        assert_eq!(second.known_size(&oid(1000)), Some(7));
        assert_eq!(second.known_size(&oid(5)), Some(99));
        assert_eq!(second.known_size(&oid(1001)), None);
    }

    #[tokio::test]
    async fn two_processes_keep_what_both_learnt() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (one, other) = (tier(folder.path()), tier(folder.path()));
        assert_eq!(other.known_size(&oid(1)), None, "it has read the file");
        one.learn_size(&oid(1), 1);
        one.save_sizes().expect("written");
        other.learn_size(&oid(2), 2);
        other.save_sizes().expect("written");
        let third = tier(folder.path());
        assert_eq!(third.known_size(&oid(1)), Some(1));
        assert_eq!(third.known_size(&oid(2)), Some(2));
    }

    #[tokio::test]
    async fn a_damaged_file_counts_as_none_wherever_the_damage_is() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let first = tier(folder.path());
        for number in 0..3 {
            first.learn_size(&oid(number), 1 + number as u64);
        }
        first.save_sizes().expect("written");
        let path = first.sizes_path();
        let whole = std::fs::read(&path).expect("it is there");
        let all = || (0..3).map(|number| tier(folder.path()).known_size(&oid(number)));
        assert!(all().all(|size| size.is_some()));
        let damaged = (0..whole.len()).map(|at| {
            let mut raw = whole.clone();
            raw[at] ^= 0x10;
            raw
        });
        let cut = (0..whole.len()).map(|len| whole[..len].to_vec());
        for raw in damaged.chain(cut) {
            std::fs::write(&path, &raw).expect("written");
            assert!(all().all(|size| size.is_none()));
        }
        // And the next one to learn something mends it.
        let second = tier(folder.path());
        second.learn_size(&oid(1), 2);
        second.save_sizes().expect("written");
        assert_eq!(tier(folder.path()).known_size(&oid(1)), Some(2));
    }

    #[tokio::test]
    async fn many_new_ones_are_worth_writing_once() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let tier = tier(folder.path());
        let worth: Vec<usize> = (0..WORTH_WRITING)
            .filter(|number| tier.learn_size(&oid(*number), 1))
            .collect();
        assert_eq!(worth, [WORTH_WRITING - 1]);
        tier.save_sizes().expect("written");
        assert!(!tier.learn_size(&oid(0), 1), "it is known");
        assert!(!tier.learn_size(&oid(WORTH_WRITING), 1), "few are new");
    }
}

//! Makes listings. May import: the listing's insides.
//!
//! Always holds: whatever is pushed, what is built keeps the promises of [`Listing`]; entries
//! that can't are left out and reported.

use std::cmp::Ordering;

use super::{Kind, Listing, NameIndex, Slot, Times, Timestamp, UNKNOWN, known, name_at};
use crate::{
    hash::name_hash,
    sync::{Arc, AtomicBool, AtomicU64},
};

/// More entries than any directory has, few enough for 32-bit positions with room to spare.
const MAX_ENTRIES: usize = 1 << 30;

/// The longest name taken, in bytes. Linux takes 255 at most (`NAME_MAX`); what is longer can be
/// listed but not opened there, and it is for providers to leave it out.
const MAX_NAME: usize = 65_535;

/// Collects entries in any order and makes a [`Listing`] of them. Fastest in the order of names.
#[derive(Debug)]
pub struct ListingBuilder<N> {
    names: Vec<u8>,
    slots: Vec<Slot>,
    times: Vec<Timestamp>,
    nodes: Vec<N>,
    /// True as long as each name pushed was greater than the one before.
    sorted: bool,
    rejected: Vec<BadName>,
}

/// An entry that was left out of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadName {
    /// Its name, cut to 255 bytes.
    pub name: Vec<u8>,
    /// Why it can't be in a directory.
    pub problem: NameProblem,
}

/// Why a name can't be in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameProblem {
    /// It has no bytes.
    Empty,
    /// It is `.` or `..`, which every directory has already (POSIX, 4.13 Pathname Resolution).
    Dot,
    /// It holds a `/`, so a path could not name it.
    Slash,
    /// It holds a NUL, so a system call could not name it.
    Nul,
    /// It is longer than 65,535 bytes.
    TooLong,
    /// The directory has that name already; the first one pushed stays.
    Duplicate,
    /// The directory has 2^30 entries, or 4 GiB of names.
    Full,
}

impl<N> Default for ListingBuilder<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<N> ListingBuilder<N> {
    /// An empty directory so far.
    pub fn new() -> Self {
        Self::with_capacity(0)
    }

    /// The same, with room for `entries`.
    pub fn with_capacity(entries: usize) -> Self {
        Self {
            names: Vec::with_capacity(entries.saturating_mul(12)),
            slots: Vec::with_capacity(entries),
            times: Vec::with_capacity(entries),
            nodes: Vec::with_capacity(entries),
            sorted: true,
            rejected: Vec::new(),
        }
    }

    /// Adds an entry. `perm` are permission bits (others are cut off); `size` is in bytes, `None`
    /// while unknown, and not looked at for a directory. A name that no directory can have is
    /// left out and reported by [`ListingBuilder::build`].
    pub fn push(
        &mut self,
        name: &[u8],
        node: N,
        kind: Kind,
        perm: u16,
        mtime: Timestamp,
        size: Option<u64>,
    ) {
        if let Err(problem) = self.check(name) {
            return self.reject(name, problem);
        }
        let sorted = match self.slots.len() {
            0 => true,
            n => name_at(&self.names, &self.slots, n - 1) < name,
        };
        self.sorted &= sorted;
        self.names.extend_from_slice(name);
        let size = match (kind, size) {
            (Kind::Dir, _) => 0,
            (_, None) => UNKNOWN,
            (_, Some(size)) => known(size),
        };
        self.slots.push(Slot {
            hash: name_hash(name),
            size: AtomicU64::new(size),
            name_end: u32::try_from(self.names.len()).expect("checked: below 4 GiB of names"),
            perm: perm & 0o7777,
            kind,
        });
        self.times.push(mtime);
        self.nodes.push(node);
    }

    /// The listing, sorted, and what was left out of it: bad names in the order they were pushed,
    /// then duplicates in the order of names.
    pub fn build(mut self) -> (Listing<N>, Vec<BadName>) {
        if !self.sorted {
            self.sort();
        }
        let times = match self.times.first() {
            None => Times::Same(Timestamp::default()),
            Some(first) if self.times.iter().all(|time| time == first) => Times::Same(*first),
            Some(_) => Times::Each(self.times.into()),
        };
        let listing = Listing {
            index: Arc::new(NameIndex::new(&self.slots)),
            names: self.names.into(),
            slots: self.slots.into(),
            times,
            nodes: self.nodes.into(),
            tag: 0,
            superseded: AtomicBool::new(false),
        };
        (listing, self.rejected)
    }

    fn check(&self, name: &[u8]) -> Result<(), NameProblem> {
        match name {
            b"" => return Err(NameProblem::Empty),
            b"." | b".." => return Err(NameProblem::Dot),
            _ if name.len() > MAX_NAME => return Err(NameProblem::TooLong),
            _ => {}
        }
        if let Some(bad) = name.iter().find(|byte| matches!(byte, b'/' | 0)) {
            return Err(match bad {
                0 => NameProblem::Nul,
                _ => NameProblem::Slash,
            });
        }
        if self.slots.len() >= MAX_ENTRIES || self.names.len() + name.len() > u32::MAX as usize {
            return Err(NameProblem::Full);
        }
        Ok(())
    }

    fn reject(&mut self, name: &[u8], problem: NameProblem) {
        self.rejected.push(BadName {
            name: name[..name.len().min(255)].to_vec(),
            problem,
        });
    }

    /// Brings entries into the order of names, and leaves out all but the first of equal ones.
    fn sort(&mut self) {
        let (old_names, old_slots) = (
            std::mem::take(&mut self.names),
            std::mem::take(&mut self.slots),
        );
        let name = |i: usize| name_at(&old_names, &old_slots, i);
        let mut order: Vec<usize> = (0..old_slots.len()).collect();
        // The sort is stable, so of equal names the first pushed comes first.
        order.sort_by(|a, b| name(*a).cmp(name(*b)));

        let mut old_times: Vec<Timestamp> = std::mem::take(&mut self.times);
        let mut old_nodes: Vec<Option<N>> = self.nodes.drain(..).map(Some).collect();
        let mut last: Option<usize> = None;
        for i in order {
            if last.is_some_and(|last| name(last).cmp(name(i)) == Ordering::Equal) {
                self.reject(name(i), NameProblem::Duplicate);
                continue;
            }
            last = Some(i);
            self.names.extend_from_slice(name(i));
            let slot = &old_slots[i];
            self.slots.push(Slot {
                hash: slot.hash,
                size: AtomicU64::new(slot.size.load(crate::sync::Ordering::Relaxed)),
                name_end: u32::try_from(self.names.len()).expect("no more names than before"),
                perm: slot.perm,
                kind: slot.kind,
            });
            self.times.push(std::mem::take(&mut old_times[i]));
            self.nodes.push(
                old_nodes[i]
                    .take()
                    .expect("a position is in the order once"),
            );
        }
        self.sorted = true;
    }
}

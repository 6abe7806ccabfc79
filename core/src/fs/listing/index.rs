//! From a name to its position in a listing. May import: the listing's slots.
//!
//! Always holds: an index only speeds up; without one the same answer comes from the sorted
//! names. So it is left out where it would not pay, and given up where names were chosen to
//! make it slow.

use super::Slot;

/// Directories up to this size are searched entry by entry, comparing hashes.
const SMALL: usize = 8;

/// No entry has this position: a listing holds fewer.
const FREE: u32 = u32::MAX;

/// How a name is found.
#[derive(Debug)]
pub(super) enum NameIndex {
    /// Few entries: compare all hashes.
    Scan,
    /// Positions by hash, open addressing with linear probing, half full.
    Table(Box<[u32]>),
    /// Binary search over the names.
    Sorted,
}

impl NameIndex {
    /// An index of `slots`, or the choice to do without.
    pub(super) fn new(slots: &[Slot]) -> Self {
        if slots.len() <= SMALL {
            return Self::Scan;
        }
        let mut table = vec![FREE; slots.len() * 2].into_boxed_slice();
        // With names as they come an entry takes 1.5 probes on average. Someone who picks names
        // by their hashes could make it quadratic; such a directory is searched by its order.
        let mut probes_left = slots.len() * 8 + 64;
        for (i, slot) in slots.iter().enumerate() {
            let mut at = home(slot.hash, table.len());
            while table[at] != FREE {
                probes_left -= 1;
                if probes_left == 0 {
                    return Self::Sorted;
                }
                at = next(at, table.len());
            }
            table[at] = u32::try_from(i).expect("a builder takes fewer entries than u32 counts");
        }
        Self::Table(table)
    }

    /// The position of `name`, whose hash is `hash`; `name_of` gives an entry's name.
    pub(super) fn find<'a>(
        &self,
        hash: u64,
        slots: &[Slot],
        name_of: impl Fn(usize) -> &'a [u8],
        name: &[u8],
    ) -> Option<usize> {
        let is_it = |i: usize| slots[i].hash == hash && name_of(i) == name;
        match self {
            Self::Scan => (0..slots.len()).find(|i| is_it(*i)),
            Self::Table(table) => {
                let mut at = home(hash, table.len());
                // Ends: half of the table is free.
                while table[at] != FREE {
                    let i = table[at] as usize;
                    if is_it(i) {
                        return Some(i);
                    }
                    at = next(at, table.len());
                }
                None
            }
            Self::Sorted => {
                let (mut low, mut high) = (0, slots.len());
                while low < high {
                    let middle = low + (high - low) / 2;
                    match name_of(middle).cmp(name) {
                        std::cmp::Ordering::Less => low = middle + 1,
                        std::cmp::Ordering::Equal => return Some(middle),
                        std::cmp::Ordering::Greater => high = middle,
                    }
                }
                None
            }
        }
    }

    /// Bytes held outside of the value itself.
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Self::Table(table) => size_of_val::<[u32]>(table),
            Self::Scan | Self::Sorted => 0,
        }
    }
}

/// Where a hash would stand in a table of `len` places: its upper half, scaled.
pub(super) fn home(hash: u64, len: usize) -> usize {
    (((hash >> 32) * len as u64) >> 32) as usize
}

fn next(at: usize, len: usize) -> usize {
    if at + 1 == len { 0 } else { at + 1 }
}

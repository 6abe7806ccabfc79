//! A directory's content: an immutable, sorted, complete snapshot. May import: this room's values,
//! [`crate::sync`], `crate::hash`.
//!
//! Always holds: entries are sorted by name (bytewise), names are unique, not empty, and free of
//! `/` and NUL; an entry's position never changes, so it serves as a directory offset. Two things
//! may change, each once and in one direction: a size that was unknown becomes known, and a
//! listing that is no longer what its directory holds is marked as superseded.

mod builder;
mod index;
#[cfg(all(test, not(any(feature = "loom", feature = "shuttle"))))]
mod tests;

pub use builder::{BadName, ListingBuilder, NameProblem};

use self::index::NameIndex;
use super::{Attr, Kind, Timestamp};
use crate::{
    hash::name_hash,
    sync::{Arc, AtomicBool, AtomicU64, Ordering},
};

const UNKNOWN: u64 = u64::MAX;

/// A complete directory: see the module's header for what always holds.
///
/// Everything but the nodes is behind shared pointers, so that a provider that wraps another one
/// changes the nodes and keeps the rest ([`Listing::map_nodes`]).
#[derive(Debug)]
pub struct Listing<N> {
    /// All names, one after the other, in order.
    names: Arc<[u8]>,
    slots: Arc<[Slot]>,
    times: Times,
    index: Arc<NameIndex>,
    nodes: Box<[N]>,
    /// The provider's own, see [`Listing::tag`].
    tag: u64,
    /// Set once by the directory cache, when its directory has another listing by now.
    superseded: AtomicBool,
}

/// What `find`, `stat` and `readdir` need of an entry, in 24 bytes.
#[derive(Debug)]
struct Slot {
    /// [`name_hash`] of the name: finds it, and is the ground of its inode number.
    hash: u64,
    /// [`UNKNOWN`], or the size.
    size: AtomicU64,
    /// Where the name ends in `names`; it begins where the one before ends.
    name_end: u32,
    perm: u16,
    kind: Kind,
}

/// Modification times. A Git tree has one for all its entries, so one is all it stores.
#[derive(Clone, Debug)]
enum Times {
    Same(Timestamp),
    Each(Arc<[Timestamp]>),
}

/// One entry of a [`Listing`].
#[derive(Debug)]
pub struct ListingEntry<'a, N> {
    /// Its name, any bytes but `/` and NUL.
    pub name: &'a [u8],
    /// The provider's key.
    pub node: &'a N,
    /// Directory, file or symlink.
    pub kind: Kind,
    /// Its attributes, or `None` while the size is unknown.
    pub attr: Option<Attr>,
}

impl<N> Listing<N> {
    /// The number of entries.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// True for an empty directory.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Entry `i`, in the order of names.
    ///
    /// # Panics
    /// If `i` is not below [`Listing::len`].
    pub fn get(&self, i: usize) -> ListingEntry<'_, N> {
        ListingEntry {
            name: self.name(i),
            node: &self.nodes[i],
            kind: self.slots[i].kind,
            attr: self.attr(i),
        }
    }

    /// All entries, in the order of names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = ListingEntry<'_, N>> {
        (0..self.len()).map(|i| self.get(i))
    }

    /// The position of the entry with this name. As a listing is complete, `None` means that
    /// there is no such file.
    pub fn find(&self, name: &[u8]) -> Option<usize> {
        self.index
            .find(name_hash(name), &self.slots, |i| self.name(i), name)
    }

    /// The size of entry `i` in bytes, if known. Always 0 for a directory. Panics like
    /// [`Listing::get`].
    pub fn size(&self, i: usize) -> Option<u64> {
        // Relaxed is enough: the number is all that is handed over.
        match self.slots[i].size.load(Ordering::Relaxed) {
            UNKNOWN => None,
            size => Some(size),
        }
    }

    /// Makes the size of entry `i` known. The first one stays: the kernel may have it already,
    /// and a node's content never changes. Panics like [`Listing::get`].
    pub fn set_size(&self, i: usize, size: u64) {
        let _ = self.slots[i].size.compare_exchange(
            UNKNOWN,
            known(size),
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
    }

    /// The same listing with a number of the provider's own, by which it will know which of its
    /// directories this is. [`Listing::map_nodes`] keeps it.
    pub fn with_tag(mut self, tag: u64) -> Self {
        self.tag = tag;
        self
    }

    /// The number that was given to it with [`Listing::with_tag`], or 0.
    pub fn tag(&self) -> u64 {
        self.tag
    }

    /// Bytes of memory that this listing holds, shared parts included; not what nodes point to.
    pub fn weight(&self) -> usize {
        let times = match &self.times {
            Times::Same(_) => 0,
            Times::Each(times) => size_of_val::<[Timestamp]>(times),
        };
        size_of::<Self>()
            + size_of::<NameIndex>()
            + self.names.len()
            + size_of_val::<[Slot]>(&self.slots)
            + size_of_val::<[N]>(&self.nodes)
            + self.index.heap_bytes()
            + times
    }

    /// The same directory with other nodes, as a provider needs it that wraps another one. Names,
    /// attributes and sizes are shared: a size that becomes known in one is known in both.
    pub fn map_nodes<M>(&self, map: impl FnMut(&N) -> M) -> Listing<M> {
        self.with_nodes(self.nodes.iter().map(map).collect())
    }

    /// [`Listing::map_nodes`] with a `map` that may fail.
    ///
    /// # Errors
    /// The first that `map` fails with.
    pub fn try_map_nodes<M, E>(
        &self,
        map: impl FnMut(&N) -> Result<M, E>,
    ) -> Result<Listing<M>, E> {
        let nodes: Result<Box<[M]>, E> = self.nodes.iter().map(map).collect();
        Ok(self.with_nodes(nodes?))
    }

    fn with_nodes<M>(&self, nodes: Box<[M]>) -> Listing<M> {
        Listing {
            names: Arc::clone(&self.names),
            slots: Arc::clone(&self.slots),
            times: self.times.clone(),
            index: Arc::clone(&self.index),
            nodes,
            tag: self.tag,
            superseded: AtomicBool::new(false),
        }
    }

    /// A listing of entry `i` alone, with another node and its size at this moment.
    pub(crate) fn single<M>(&self, i: usize, node: M) -> Listing<M> {
        let entry = self.get(i);
        let mut single = ListingBuilder::with_capacity(1);
        let (perm, mtime) = (self.slots[i].perm, self.mtime(i));
        single.push(entry.name, node, entry.kind, perm, mtime, self.size(i));
        single.build().0
    }

    /// The attributes of entry `i`, or `None` while its size is unknown.
    pub(crate) fn attr(&self, i: usize) -> Option<Attr> {
        let slot = &self.slots[i];
        Some(Attr {
            kind: slot.kind,
            perm: slot.perm,
            size: self.size(i)?,
            mtime: self.mtime(i),
        })
    }

    fn mtime(&self, i: usize) -> Timestamp {
        match &self.times {
            Times::Same(time) => *time,
            Times::Each(times) => times[i],
        }
    }

    pub(crate) fn name(&self, i: usize) -> &[u8] {
        name_at(&self.names, &self.slots, i)
    }

    pub(crate) fn node(&self, i: usize) -> &N {
        &self.nodes[i]
    }

    pub(crate) fn kind(&self, i: usize) -> Kind {
        self.slots[i].kind
    }

    /// [`name_hash`] of the name of entry `i`.
    pub(crate) fn hash(&self, i: usize) -> u64 {
        self.slots[i].hash
    }

    /// Marks this snapshot as no longer the directory's: those who hold it may finish with it,
    /// nobody gets it anew.
    pub(crate) fn supersede(&self) {
        self.superseded.store(true, Ordering::Release);
    }

    pub(crate) fn is_superseded(&self) -> bool {
        self.superseded.load(Ordering::Acquire)
    }
}

/// `size` as a slot stores it. The one value that stands for "unknown" is no file's size (POSIX
/// sizes are signed 64-bit numbers), so cutting it off loses nothing.
fn known(size: u64) -> u64 {
    size.min(UNKNOWN - 1)
}

/// The name of entry `i`: from where the one before ends to its own end.
fn name_at<'a>(names: &'a [u8], slots: &[Slot], i: usize) -> &'a [u8] {
    let start = match i.checked_sub(1) {
        None => 0,
        Some(before) => slots[before].name_end,
    };
    &names[start as usize..slots[i].name_end as usize]
}

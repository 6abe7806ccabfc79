//! The filesystem that a FUSE adapter translates to. May import: everything of this crate.
//!
//! Always holds:
//! - The `try_` half of an operation answers from memory on the calling thread, or says `None`.
//!   It never waits for a provider, nor for a lock that is held while one is waited for.
//! - The async half may be dropped at any await; that takes nothing back that was counted, as
//!   look-ups are counted after the last await, in the step that returns them.
//! - "No such file" comes from a complete listing only; a failure of the provider is that failure.
//! - k callers who miss the same thing at a time cause one call to the provider, and share what
//!   comes of it. Failures are not kept: who asks later asks the provider again.

mod content;
mod dirs;
mod paths;
mod switch;
#[cfg(all(test, not(any(feature = "loom", feature = "shuttle"))))]
mod tests;

use bytes::Bytes;

pub use self::switch::Switch;

use self::dirs::Open;
use super::{
    Attr, Config, Entry, FsErrorKind, FsResult, FsStats, Ino, Kind, Listing, NAME_MAX, Provider,
    dcache::DCache,
    handles::Handles,
    inodes::{InodeRef, Inodes},
    tally::Tally,
};
use crate::{
    cache::flight::{SingleFlight, WaitEnd},
    sync::Arc,
};

/// A filesystem over a [`Provider`]. Its methods are what the FUSE protocol's requests need,
/// most in two halves: call `try_x` first, and `x` on an async task if that says `None`.
pub struct AsyncFs<P: Provider> {
    provider: P,
    inodes: Inodes<P::Node>,
    dcache: DCache<P::Node>,
    handles: Handles<Open<P::Node>>,
    sizes: SingleFlight<P::Node, FsResult<u64>>,
    links: SingleFlight<P::Node, FsResult<Bytes>>,
    reads: SingleFlight<(P::Node, u64, u32), FsResult<Bytes>>,
    tally: Tally,
}

impl<P: Provider> AsyncFs<P> {
    /// A filesystem that knows nothing yet but its root.
    pub fn new(provider: P, config: Config) -> Self {
        let (root, attr) = provider.root();
        Self {
            provider,
            inodes: Inodes::new(root, attr, config.ino_mask),
            dcache: DCache::new(config.listing_budget),
            handles: Handles::new(),
            sizes: SingleFlight::new(),
            links: SingleFlight::new(),
            reads: SingleFlight::new(),
            tally: Tally::new(),
        }
    }

    /// What it is a filesystem over.
    pub fn provider(&self) -> &P {
        &self.provider
    }

    /// Looks `name` up in directory `parent`, if that can be done from memory. Success counts one
    /// look-up of the inode, which [`AsyncFs::forget`] takes back; see [`AsyncFs::lookup`].
    pub fn try_lookup(&self, parent: Ino, name: &[u8]) -> Option<FsResult<Entry>> {
        let answer = self.lookup_now(parent, name);
        // By what was found: look-ups in one directory are many.
        let counted_by = match &answer {
            Some(Ok(entry)) => entry.ino,
            Some(Err(_)) | None => parent,
        };
        self.tallied(counted_by, answer)
    }

    /// Looks `name` up in directory `parent`. Success counts one look-up of the inode.
    ///
    /// # Errors
    /// `NotFound` only if the complete directory has no such name; `.` and `..` are none, as the
    /// kernel answers those itself. `NameTooLong` instead of it over [`NAME_MAX`]. `NotADirectory`, `Stale` if `parent` is not known, and what
    /// the provider fails with.
    pub async fn lookup(&self, parent: Ino, name: &[u8]) -> FsResult<Entry> {
        loop {
            let epoch = self.inodes.epoch();
            let listing = self.listing(parent).await?;
            let found = match listing.find(name) {
                Some(index) => {
                    let attr = self.attr(&listing, index).await?;
                    self.entry(epoch, parent, &listing, index, attr).map(Ok)
                }
                // As with an entry: that of the tree before is no answer any more.
                None if self.inodes.epoch() == epoch => Some(Err(absent(name).into())),
                None => None,
            };
            if let Some(found) = found {
                return found;
            }
        }
    }

    /// Takes back `n` look-ups of `ino`; with the last one the inode is gone. Costs no call to the
    /// provider, ever.
    pub fn forget(&self, ino: Ino, n: u64) {
        self.inodes.forget(ino, n);
    }

    /// The attributes of `ino`, if they can be had without waiting; see [`AsyncFs::getattr`].
    pub fn try_getattr(&self, ino: Ino) -> Option<FsResult<Attr>> {
        let known = self
            .inodes
            .with(ino, |_, listing, index| listing.attr(index));
        let answer = match known {
            None => Some(Err(FsErrorKind::Stale.into())),
            Some(Some(attr)) => Some(Ok(attr)),
            Some(None) => match self.known(ino) {
                Ok(known) => self.attr_now(&known.listing, known.index),
                Err(error) => Some(Err(error)),
            },
        };
        self.tallied(ino, answer)
    }

    /// The attributes of `ino`. A size that is not known is asked for.
    ///
    /// # Errors
    /// `Stale` if `ino` is not known, and what the provider fails with.
    pub async fn getattr(&self, ino: Ino) -> FsResult<Attr> {
        let known = self.known(ino)?;
        self.attr(&known.listing, known.index).await
    }

    /// Drops what is known of the directory `node`: who asks from now on makes the provider list
    /// it again. Open directories keep their snapshots.
    pub fn invalidate(&self, node: &P::Node) {
        self.dcache.invalidate(node);
    }

    /// Counts for `status`.
    pub fn stats(&self) -> FsStats {
        let (hits, misses) = self.tally.read();
        FsStats {
            inodes: self.inodes.len() as u64,
            listings: self.dcache.len() as u64,
            listing_bytes: self.dcache.weight() as u64,
            hits,
            misses,
        }
    }

    fn lookup_now(&self, parent: Ino, name: &[u8]) -> Option<FsResult<Entry>> {
        let epoch = self.inodes.epoch();
        let listing = match self.listing_now(parent)? {
            Ok(listing) => listing,
            Err(error) => return Some(Err(error)),
        };
        let Some(index) = listing.find(name) else {
            return Some(Err(absent(name).into()));
        };
        match self.attr_now(&listing, index)? {
            // After a switch meanwhile the async half looks again.
            Ok(attr) => self.entry(epoch, parent, &listing, index, attr).map(Ok),
            Err(error) => Some(Err(error)),
        }
    }

    /// Counts a look-up; the last step of one. `None` if the tree was switched since `epoch`.
    fn entry(
        &self,
        epoch: u64,
        parent: Ino,
        listing: &Arc<Listing<P::Node>>,
        index: usize,
        attr: Attr,
    ) -> Option<Entry> {
        Some(Entry {
            ino: self.inodes.remember_at(epoch, parent, listing, index)?,
            generation: 0,
            attr,
        })
    }

    /// The current listing of directory `dir`, if it is here or the provider has it at once.
    fn listing_now(&self, dir: Ino) -> Option<FsResult<Arc<Listing<P::Node>>>> {
        if let Some(listing) = self.inodes.listing_at_hand(dir) {
            return Some(Ok(listing));
        }
        let known = match self.known_dir(dir) {
            Ok(known) => known,
            Err(error) => return Some(Err(error)),
        };
        let node = known.node();
        let listing = self
            .dcache
            .try_fill(node, || self.provider.try_list(node))?;
        if let Ok(listing) = &listing {
            self.inodes.put_at_hand(dir, &known, listing);
        }
        Some(listing)
    }

    /// The current listing of directory `dir`.
    async fn listing(&self, dir: Ino) -> FsResult<Arc<Listing<P::Node>>> {
        if let Some(listing) = self.inodes.listing_at_hand(dir) {
            return Ok(listing);
        }
        let known = self.known_dir(dir)?;
        let listing = self.listing_of(known.node()).await?;
        self.inodes.put_at_hand(dir, &known, &listing);
        Ok(listing)
    }

    async fn listing_of(&self, node: &P::Node) -> FsResult<Arc<Listing<P::Node>>> {
        self.dcache.get(node, || self.provider.list(node)).await
    }

    /// The attributes of entry `index`, if its size is known or the provider has it at once.
    fn attr_now(&self, listing: &Arc<Listing<P::Node>>, index: usize) -> Option<FsResult<Attr>> {
        if let Some(attr) = listing.attr(index) {
            return Some(Ok(attr));
        }
        match self.provider.try_size(listing, index)? {
            Ok(size) => {
                listing.set_size(index, size);
                listing.attr(index).map(Ok)
            }
            Err(error) => Some(Err(error)),
        }
    }

    /// The attributes of entry `index`. One of all who need its size asks the provider.
    async fn attr(&self, listing: &Arc<Listing<P::Node>>, index: usize) -> FsResult<Attr> {
        loop {
            if let Some(attr) = listing.attr(index) {
                return Ok(attr);
            }
            match self.sizes.lead(listing.node(index)).await {
                // Maybe learnt for another listing that has the same node.
                WaitEnd::Done(size) => listing.set_size(index, size?),
                // The flight before may have ended since we looked.
                WaitEnd::Lead(lead) => match listing.size(index) {
                    Some(size) => lead.complete(Ok(size)),
                    None => {
                        let size = self.provider.size(listing, index).await;
                        if let Ok(size) = size {
                            listing.set_size(index, size);
                        }
                        lead.complete(size.clone());
                        size?;
                    }
                },
            }
        }
    }

    fn known(&self, ino: Ino) -> FsResult<InodeRef<P::Node>> {
        self.inodes.get(ino).ok_or(FsErrorKind::Stale.into())
    }

    fn known_dir(&self, ino: Ino) -> FsResult<InodeRef<P::Node>> {
        let known = self.known(ino)?;
        match known.kind() {
            Kind::Dir => Ok(known),
            Kind::File | Kind::Symlink => Err(FsErrorKind::NotADirectory.into()),
        }
    }

    /// Passes an answer of a `try_` half through, and counts it.
    fn tallied<T>(&self, ino: Ino, answer: Option<T>) -> Option<T> {
        self.tally.count(ino.0, answer.is_some());
        answer
    }
}

/// The error for a name that a complete directory does not have.
fn absent(name: &[u8]) -> FsErrorKind {
    match name.len() > NAME_MAX {
        true => FsErrorKind::NameTooLong,
        false => FsErrorKind::NotFound,
    }
}

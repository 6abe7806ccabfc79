//! Listings of directories by node. May import: [`crate::sync`], [`crate::cache`], this room's
//! values.
//!
//! Always holds:
//! - While anyone holds the current snapshot of a directory, everyone who asks gets that same
//!   snapshot; so a size that the kernel was told once never becomes unknown again.
//! - Any number of callers who miss cause one fill; its failure goes to all of them and is not
//!   kept.
//! - After [`DCache::invalidate`] and [`DCache::replace`] nobody gets an older snapshot, not even
//!   from a fill that began before.
//!
//! Lock order: a fill's key (in [`SingleFlight`]), then the kept or the live listings, one at a
//! time.

use std::{future::Future, hash::Hash};

use super::{FsResult, Listing, live::LiveListings};
use crate::{
    cache::{
        flight::{Join, Lead, SingleFlight, Standing, WaitEnd},
        weighted::Weighted,
    },
    sync::Arc,
};

#[cfg(all(test, not(any(feature = "loom", feature = "shuttle"))))]
mod tests;

/// The directory cache.
pub struct DCache<N> {
    /// What is kept although nobody may hold it, within the budget.
    kept: Weighted<N, Arc<Listing<N>>>,
    /// What somebody holds, or `kept` does.
    live: LiveListings<N>,
    fills: SingleFlight<N, Fill<N>>,
}

type Fill<N> = FsResult<Arc<Listing<N>>>;

impl<N: Clone + Eq + Hash> DCache<N> {
    /// An empty cache that keeps up to `budget` bytes of listings ([`Listing::weight`]).
    pub fn new(budget: usize) -> Self {
        Self {
            kept: Weighted::new(budget),
            live: LiveListings::new(),
            fills: SingleFlight::new(),
        }
    }

    /// The listing of `node`, if it is here.
    pub fn try_get(&self, node: &N) -> Option<Arc<Listing<N>>> {
        let current = |listing: &Arc<Listing<N>>| !listing.is_superseded();
        if let Some(listing) = self.kept.get(node).filter(current) {
            return Some(listing);
        }
        let listing = self.live.get(node).filter(current)?;
        self.keep(node, &listing);
        Some(listing).filter(current)
    }

    /// The listing of `node`, if it is here or `fill` has it at once. `None` also while another
    /// caller's fill is under way: that one is to be waited for ([`DCache::get`]).
    pub fn try_fill(
        &self,
        node: &N,
        fill: impl FnOnce() -> Option<FsResult<Listing<N>>>,
    ) -> Option<FsResult<Arc<Listing<N>>>> {
        if let Some(listing) = self.try_get(node) {
            return Some(Ok(listing));
        }
        let Join::Lead(lead) = self.fills.join(node) else {
            return None;
        };
        if let Some(listing) = self.try_get(node) {
            lead.complete(Ok(Arc::clone(&listing)));
            return Some(Ok(listing));
        }
        Some(self.publish(lead, fill()?))
    }

    /// The listing of `node`. If it is not here, one of all who ask fills it; each brings its own
    /// `fill`, of which at most one runs at a time, and no other once one ended.
    pub async fn get<F, Fut>(&self, node: &N, fill: F) -> FsResult<Arc<Listing<N>>>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = FsResult<Listing<N>>>,
    {
        if let Some(listing) = self.try_get(node) {
            return Ok(listing);
        }
        let lead = match self.fills.lead(node).await {
            WaitEnd::Done(filled) => return filled,
            WaitEnd::Lead(lead) => lead,
        };
        // The fill before may have ended since we looked.
        if let Some(listing) = self.try_get(node) {
            lead.complete(Ok(Arc::clone(&listing)));
            return Ok(listing);
        }
        let filled = fill().await;
        self.publish(lead, filled)
    }

    /// Makes `listing` what `node` holds from now on. A fill under way still answers those who
    /// wait for it.
    pub fn replace(&self, node: &N, listing: Listing<N>) -> Arc<Listing<N>> {
        let listing = Arc::new(listing);
        self.fills.detach_with(node, || self.store(node, &listing));
        listing
    }

    /// Drops what is known of `node`: who asks from now on causes a new fill. One under way still
    /// answers those who wait for it, and is not kept.
    pub fn invalidate(&self, node: &N) {
        self.fills.detach_with(node, || self.forget(node));
    }

    /// Bytes of the listings kept; those that only inodes and open directories hold come on top.
    pub fn weight(&self) -> usize {
        self.kept.weight()
    }

    /// The number of listings kept.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// True if none is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes that may be kept.
    pub fn budget(&self) -> usize {
        self.kept.budget()
    }

    /// Changes the bytes that may be kept; what is too much goes at once.
    pub fn set_budget(&self, budget: usize) {
        self.kept.set_budget(budget);
    }

    /// The number of fills under way: 0 when all is idle.
    pub fn fills(&self) -> usize {
        self.fills.len()
    }

    /// Ends a fill: stores a listing unless the node was invalidated meanwhile, and answers those
    /// who wait.
    fn publish(&self, lead: Lead<N, Fill<N>>, filled: FsResult<Listing<N>>) -> Fill<N> {
        let node = lead.key().clone();
        let filled = filled.map(Arc::new);
        lead.publish(filled.clone(), |filled, standing| {
            if let Ok(listing) = filled {
                match standing {
                    Standing::Current => self.store(&node, listing),
                    Standing::Detached => listing.supersede(),
                }
            }
        });
        filled
    }

    /// Makes `listing` the current one. Under the lock of the node's fills.
    fn store(&self, node: &N, listing: &Arc<Listing<N>>) {
        if let Some(old) = self.live.set(node.clone(), listing) {
            old.supersede();
        }
        self.kept
            .insert(node.clone(), Arc::clone(listing), listing.weight());
    }

    /// Leaves `node` without a listing. Under the lock of the node's fills.
    fn forget(&self, node: &N) {
        if let Some(old) = self.live.remove(node) {
            old.supersede();
        }
        self.kept.remove(node);
    }

    /// Keeps a listing that was only alive. Not under the lock of the node's fills, so it may be
    /// superseded by the time it is in; then it is taken out again.
    fn keep(&self, node: &N, listing: &Arc<Listing<N>>) {
        self.kept
            .insert(node.clone(), Arc::clone(listing), listing.weight());
        if listing.is_superseded() {
            self.kept.remove_if(node, |kept| Arc::ptr_eq(kept, listing));
        }
    }
}

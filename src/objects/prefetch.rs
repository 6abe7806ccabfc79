//! Bringing objects that nobody waits for yet.
//!
//! Always holds: what is wanted goes first: of the requests that may be out one is always left to it,
//! and a prefetch waits while all are taken. An object that a prefetch is bringing is not asked for a
//! second time: who wants it meanwhile gets it as it arrives, or, if it doesn't, is looked after the
//! ordinary way once the prefetch has ended, however it ends. A prefetch is tried once.

use std::sync::Arc;

use bonsaifs_core::{
    cache::handoff::{Claim, Ride},
    rt::run_blocking,
};

use super::{
    hydrator::MAX_REQUESTS,
    ingest::{Came, Ingest},
    store::{Inner, ObjectStore},
    tuning::PREFETCHED,
};
use crate::{
    git::oid::Oid,
    origin::{Fetch, Filter, OriginError},
};

/// Prefetches out at once.
pub const PREFETCHES: usize = MAX_REQUESTS - 1;

/// What a prefetch came to.
#[derive(Debug, Default)]
pub struct Prefetched {
    /// What was asked for: what was wanted less what was here, on its way, or known to be too large.
    pub asked: Vec<Oid>,
    /// What came, and its size in bytes.
    pub came: Vec<(Oid, u64)>,
    /// Why not all came, if not.
    pub unfinished: Option<Unfinished>,
}

/// Why a prefetch ended early.
#[derive(Debug)]
pub enum Unfinished {
    /// An object is larger than what is prefetched. Which one is not known; servers mostly send in
    /// the order asked.
    TooLarge,
    /// The origin failed, or doesn't have one of the objects.
    Failed(OriginError),
}

impl ObjectStore {
    /// Brings those of `wants` that are neither here nor on their way, nor known to be too large, in one request.
    pub async fn prefetch(&self, wants: Vec<Oid>) -> Prefetched {
        let inner = self.0.clone();
        let look = inner.clone();
        let missing = run_blocking(&*inner.runtime, "look before a prefetch", move || {
            let mut wants = wants;
            wants.retain(|oid| !look.is_known_to_be_large(oid) && !look.is_here(oid));
            wants
        });
        let wants = missing.await.unwrap_or_default();
        let Some(batch) = Batch::claim(inner, wants).await else {
            return Prefetched::default();
        };
        let inner = &batch.inner;
        let request = Fetch {
            have: None,
            wants: batch.oids.clone(),
            filter: Filter::OnlyWanted,
        };
        let came = Came::default();
        let ingest = Ingest::of_prefetch(inner.clone(), came.clone());
        let brought = ingest.bring(&request).await;
        let unfinished = match brought.result {
            _ if brought.too_large => Some(Unfinished::TooLarge),
            Err(error) => Some(Unfinished::Failed(error)),
            Ok(()) => None,
        };
        let came = std::mem::take(&mut *came.lock().expect("the fetch has ended"));
        Prefetched {
            asked: request.wants,
            came,
            unfinished,
        }
    }
}

impl Inner {
    /// What came since the caller looked is in memory.
    fn claim_prefetch(&self, wants: &mut Vec<Oid>) -> Claim {
        let is_here = |oid: &Oid| self.memory.get(oid).is_some();
        self.hydrator.off.claim_prefetch(wants, is_here)
    }

    /// Whether it is known from before that a prefetch would end at the object.
    fn is_known_to_be_large(&self, oid: &Oid) -> bool {
        let size = self.disk.as_ref().and_then(|disk| disk.known_size(oid));
        size.is_some_and(|size| size > PREFETCHED)
    }

    /// Whether the object is in memory or, in whatever state, on disk. Blocking.
    pub fn is_here(&self, oid: &Oid) -> bool {
        let on_disk = || self.disk.as_ref().is_some_and(|disk| disk.has(oid));
        self.memory.get(oid).is_some() || on_disk()
    }
}

/// A prefetch that is out; it has ended when this is dropped, on whatever way.
struct Batch {
    inner: Arc<Inner>,
    ride: Ride,
    oids: Vec<Oid>,
}

impl Batch {
    /// Waits until a prefetch may leave, and takes those of `wants` that nobody else is bringing:
    /// `None` if there are none.
    async fn claim(inner: Arc<Inner>, mut wants: Vec<Oid>) -> Option<Self> {
        let ride = loop {
            let ended = inner.hydrator.request_ended.notified();
            match inner.claim_prefetch(&mut wants) {
                Claim::Nothing => return None,
                Claim::Later => ended.await,
                Claim::Granted(ride) => break ride,
            }
        };
        Some(Self {
            inner,
            ride,
            oids: wants,
        })
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        let inner = &self.inner;
        for (oid, wanted) in inner.hydrator.off.end_prefetch(self.ride, &self.oids) {
            inner.search(oid, wanted.tag, wanted.lead, None);
        }
        inner.send_requests();
        inner.hydrator.request_ended.notify_waiters();
    }
}

#[cfg(test)]
#[path = "prefetch_tests.rs"]
mod tests;

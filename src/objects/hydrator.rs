//! The hydrator: joins what is wanted into few requests.
//!
//! A want leaves at once while fewer than [`MAX_REQUESTS`] are out; otherwise it queues, and goes
//! with the next request, together with all that queued meanwhile. What a prefetch ([`super::prefetch`]) is
//! bringing already waits for that. While a whole commit is being
//! downloaded ([`super::ObjectStore::download_commit`]), what that download will bring anyway waits for it.
//!
//! Always holds: at most [`MAX_REQUESTS`] are out, a commit's download not counted; every want has exactly one flight's lead here, until it is delivered, fails, or
//! nobody waits for it any more; `leads` is never locked across an await or a completion.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard},
};

use bonsaifs_core::cache::flight::Lead;
use rustc_hash::{FxHashMap, FxHashSet};
use tokio::sync::Notify;

use super::{
    error::ObjectError,
    ingest::Ingest,
    store::{Inner, Outcome},
};
use crate::{
    git::oid::{ObjectKind, Oid},
    origin::{
        Fetch, Filter, OriginError,
        retry::{Retries, RetryPolicy},
    },
};

/// Requests for objects in flight at once, for one origin (facts of Git hosts: 4 is polite).
pub(super) const MAX_REQUESTS: usize = 4;
/// Objects asked for in one request at the most: the server's delta search delays the first
/// object of a larger one.
const BATCH: usize = 256;

/// What is wanted and what is out.
#[derive(Default)]
pub(super) struct Hydrator {
    state: Mutex<State>,
    /// Told when a request has ended.
    pub request_ended: Notify,
}

#[derive(Default)]
pub(super) struct State {
    /// Whose results wait for an object, by object.
    leads: FxHashMap<Oid, Wanted>,
    /// Wanted, and in no request yet.
    queue: VecDeque<Want>,
    /// Wants so far.
    turns: u64,
    /// Requests out for what is wanted; prefetches and the download of a commit not counted.
    requests: usize,
    /// Prefetches out.
    pub prefetches: usize,
    /// What prefetches are bringing. Who wants one of these is not in the queue.
    pub riding: FxHashSet<Oid>,
    bulk: BulkState,
}

pub(super) struct Wanted {
    pub lead: Lead<Oid, Outcome>,
    pub kind: ObjectKind,
    turn: u64,
}

/// One time that an object was wanted. An object that was delivered and left memory may be wanted
/// anew while the request that brought it is still coming to its end: that end is not the new
/// want's business.
#[derive(Clone, Copy)]
struct Want {
    oid: Oid,
    turn: u64,
}

/// Whether a whole commit is being downloaded, and what comes with it.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum BulkState {
    #[default]
    None,
    /// A commit, its trees, and the tag that leads to it.
    Trees,
    /// Everything: a blob was seen, so the server does not filter.
    Everything,
}

impl BulkState {
    fn brings(self, kind: ObjectKind) -> bool {
        match self {
            BulkState::None => false,
            BulkState::Trees => kind != ObjectKind::Blob,
            BulkState::Everything => true,
        }
    }
}

impl State {
    /// Requests out, the download of a commit not counted.
    pub fn requests(&self) -> usize {
        self.requests + self.prefetches
    }

    /// Whether somebody waits for the object.
    pub fn is_wanted(&self, oid: &Oid) -> bool {
        self.leads.contains_key(oid)
    }

    /// Ends a prefetch of `oids`: those who waited for one that it did not bring.
    pub fn end_prefetch(&mut self, oids: &[Oid]) -> Vec<(Oid, Wanted)> {
        self.prefetches -= 1;
        let not_brought = oids.iter().filter(|oid| self.riding.remove(*oid));
        not_brought
            .filter_map(|oid| self.leads.remove_entry(oid))
            .collect()
    }

    /// What waits for `want`, if it was not delivered.
    fn wanted(&self, want: &Want) -> Option<&Wanted> {
        let wanted = self.leads.get(&want.oid)?;
        (wanted.turn == want.turn).then_some(wanted)
    }
}

impl Hydrator {
    /// Takes the lead of an object that was just published, if somebody waits for it.
    pub fn delivered(&self, oid: &Oid) -> Option<Lead<Oid, Outcome>> {
        let mut state = self.lock();
        state.riding.remove(oid);
        state.leads.remove(oid).map(|wanted| wanted.lead)
    }

    /// Notes that the commit's download brings blobs too.
    pub fn saw_blob_in_bulk(&self) {
        let mut state = self.lock();
        if state.bulk == BulkState::Trees {
            state.bulk = BulkState::Everything;
        }
    }

    /// Objects wanted from the origin and not here yet.
    pub fn wanted(&self) -> usize {
        self.lock().leads.len()
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no code panics while it holds the hydrator's state")
    }
}

impl Inner {
    /// Takes over `lead`: gets `oid` from the origin with the next request.
    pub fn want(self: &Arc<Self>, oid: Oid, kind: ObjectKind, lead: Lead<Oid, Outcome>) {
        let here = {
            let mut state = self.hydrator.lock();
            // It may have been published between the asker's look and this lock.
            match self.memory.get(&oid) {
                Some(content) => Some((lead, content)),
                None => {
                    state.turns += 1;
                    let turn = state.turns;
                    if !state.bulk.brings(kind) && !state.riding.contains(&oid) {
                        state.queue.push_back(Want { oid, turn });
                    }
                    state.leads.insert(oid, Wanted { lead, kind, turn });
                    None
                }
            }
        };
        match here {
            Some((lead, content)) => lead.complete(Ok(content)),
            None => self.send_requests(),
        }
    }

    /// Sends what is queued, as far as the bound on requests allows.
    pub fn send_requests(self: &Arc<Self>) {
        loop {
            let mut wants = Vec::new();
            let mut unwanted = Vec::new();
            {
                let mut state = self.hydrator.lock();
                if state.requests() >= MAX_REQUESTS {
                    return;
                }
                while wants.len() < BATCH {
                    let Some(want) = state.queue.pop_front() else {
                        break;
                    };
                    match state.wanted(&want) {
                        Some(wanted) if wanted.lead.interest() == 0 => {
                            unwanted.extend(state.leads.remove(&want.oid));
                        }
                        Some(_) => wants.push(want),
                        // Delivered meanwhile.
                        None => {}
                    }
                }
                if !wants.is_empty() {
                    state.requests += 1;
                }
            }
            // Leads end outside the lock.
            drop(unwanted);
            if wants.is_empty() {
                return;
            }
            let inner = self.clone();
            self.runtime.spawn(
                "fetch objects",
                Box::pin(async move {
                    let request = OpenRequest(inner);
                    fetch(&request.0, wants).await;
                }),
            );
        }
    }

    fn fail(&self, want: &Want, error: &Arc<OriginError>) {
        let wanted = {
            let mut state = self.hydrator.lock();
            let is_due = state.wanted(want).is_some();
            is_due.then(|| state.leads.remove(&want.oid)).flatten()
        };
        if let Some(wanted) = wanted {
            let error = ObjectError::Origin {
                oid: want.oid,
                cause: error.clone(),
            };
            tracing::warn!(object = %want.oid, %error, "an object could not be fetched");
            self.note_error(error.to_string());
            wanted.lead.complete(Err(error));
        }
    }

    /// Those of `wants` that were not delivered.
    fn still_wanted(&self, wants: &[Want]) -> Vec<Want> {
        let state = self.hydrator.lock();
        wants
            .iter()
            .filter(|want| state.wanted(want).is_some())
            .copied()
            .collect()
    }
}

/// Counts as a request out until it is dropped, on whatever way; then the queue moves on.
struct OpenRequest(Arc<Inner>);

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.hydrator.lock().requests -= 1;
        self.0.send_requests();
        self.0.hydrator.request_ended.notify_waiters();
    }
}

/// Gets `wants`, trying again what may pass, until each is delivered or failed.
async fn fetch(inner: &Arc<Inner>, wants: Vec<Want>) {
    let new_retries = || Retries::new(&*inner.runtime, RetryPolicy::default());
    let mut retries = new_retries();
    // Parts of the batch, each to be asked for on its own: an unknown object fails alone.
    let mut parts = vec![wants];
    while let Some(part) = parts.pop() {
        let wants = inner.still_wanted(&part);
        if wants.is_empty() {
            continue;
        }
        let mut ingest = Ingest::new(inner.clone(), None);
        let request = Fetch {
            wants: wants.iter().map(|want| want.oid).collect(),
            filter: Filter::OnlyWanted,
        };
        let result = inner.origin.fetch(&request, &mut ingest).await;
        let result = ingest.finish(result).await;
        let missing = inner.still_wanted(&wants);
        if missing.is_empty() {
            continue;
        }
        if missing.len() < wants.len() {
            retries = new_retries();
        }
        let error = match result {
            Ok(()) => OriginError::MissingObject {
                source_name: inner.origin.describe(),
                oid: None,
            },
            Err(error) => error,
        };
        match error {
            OriginError::MissingObject { oid: Some(oid), .. }
                if missing.iter().any(|want| want.oid == oid) =>
            {
                let error = Arc::new(error);
                let named = missing.iter().filter(|want| want.oid == oid);
                named.for_each(|want| inner.fail(want, &error));
                parts.push(missing);
            }
            OriginError::MissingObject { .. } if missing.len() > 1 => {
                let (left, right) = missing.split_at(missing.len() / 2);
                parts.extend([right.to_vec(), left.to_vec()]);
            }
            error => match retries.pause_after(error).await {
                Ok(()) => parts.push(missing),
                Err(error) => {
                    let error = Arc::new(error);
                    missing.iter().for_each(|want| inner.fail(want, &error));
                }
            },
        }
    }
}

/// The download of a whole commit goes on until this is dropped.
pub(super) struct BulkGuard(Arc<Inner>);

impl BulkGuard {
    /// Marks that a commit's download is under way; ends with the guard.
    pub fn begin(inner: &Arc<Inner>) -> Self {
        inner.hydrator.lock().bulk = BulkState::Trees;
        Self(inner.clone())
    }

    /// Ends the download with a failure, which those who wait for it get.
    pub fn fail(self, error: &Arc<OriginError>) {
        for (oid, wanted) in self.end() {
            let error = ObjectError::Origin {
                oid,
                cause: error.clone(),
            };
            wanted.lead.complete(Err(error));
        }
    }

    /// Ends the download; what waits for it, in order.
    fn end(&self) -> Vec<(Oid, Wanted)> {
        let mut state = self.0.hydrator.lock();
        let brought = std::mem::take(&mut state.bulk);
        let mut parked: Vec<Oid> = state
            .leads
            .iter()
            .filter(|(_, wanted)| brought.brings(wanted.kind))
            .map(|(oid, _)| *oid)
            .collect();
        parked.sort();
        parked
            .into_iter()
            .filter_map(|oid| state.leads.remove_entry(&oid))
            .collect()
    }
}

impl Drop for BulkGuard {
    fn drop(&mut self) {
        // What did not come, or came and left memory again, is looked for the ordinary way.
        for (oid, Wanted { lead, kind, .. }) in self.end() {
            self.0.search(oid, kind, lead);
        }
    }
}

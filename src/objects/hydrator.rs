//! The hydrator: joins what is wanted into few requests.
//!
//! A want leaves at once while fewer than [`MAX_REQUESTS`] are out; otherwise it queues, and goes
//! with the next request, together with all that queued meanwhile. What a prefetch
//! ([`super::prefetch`]) is bringing already waits for that. While a whole commit is being downloaded
//! ([`super::ObjectStore::download_commit`]), what that download will bring anyway waits for it.
//! The bookkeeping is core's [`HandOff`]; here requests are sent, and ended on whatever way.
//!
//! Always holds: at most [`MAX_REQUESTS`] are out, a commit's download not counted; a request that is
//! out is ended once, also when its task is dropped.

use std::sync::Arc;

use bonsaifs_core::cache::{
    flight::Lead,
    handoff::{HandOff, Want, Wanted},
};
use tokio::sync::Notify;

use super::{
    error::ObjectError,
    ingest::{Brought, Ingest},
    prefetch::PREFETCHES,
    store::{Inner, Outcome, Wish},
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
pub(super) struct Hydrator {
    pub off: HandOff<Oid, Outcome, Wish>,
    /// Told when a request has ended.
    pub request_ended: Notify,
}

impl Default for Hydrator {
    fn default() -> Self {
        Self {
            off: HandOff::new(MAX_REQUESTS, PREFETCHES),
            request_ended: Notify::new(),
        }
    }
}

impl Hydrator {
    /// Notes that the commit's download brings blobs too: the server does not filter.
    pub fn saw_blob_in_bulk(&self) {
        self.off.download_brings(|_| true);
    }
}

impl Inner {
    /// Takes over `lead`: gets `oid` from the origin with the next request.
    pub fn want(self: &Arc<Self>, oid: Oid, wish: Wish, lead: Lead<Oid, Outcome>) {
        // It may have been published since the asker looked.
        let look = |oid: &Oid| self.memory.get(oid).map(Ok);
        self.hydrator.off.want(oid, wish, lead, look);
        self.send_requests();
    }

    /// Sends what is queued, as far as the bound on requests allows.
    pub fn send_requests(self: &Arc<Self>) {
        while let Some(wants) = self.hydrator.off.next_request(BATCH) {
            let request = OpenRequest(self.clone());
            self.runtime.spawn(
                "fetch objects",
                Box::pin(async move { fetch(&request.0, wants).await }),
            );
        }
    }

    /// Ends the flights of those who asked for no more than the size.
    fn tell_size(self: &Arc<Self>, want: &Want<Oid>, size: u64) {
        self.learn_size(&want.key, size);
        if let Some(wanted) = self.hydrator.off.failed(want) {
            let oid = want.key;
            wanted
                .lead
                .complete(Err(ObjectError::OnlySize { oid, size }));
        }
    }

    fn fail(&self, want: &Want<Oid>, error: &Arc<OriginError>) {
        if let Some(wanted) = self.hydrator.off.failed(want) {
            let error = ObjectError::Origin {
                oid: want.key,
                cause: error.clone(),
            };
            tracing::warn!(object = %want.key, %error, "an object could not be fetched");
            self.note_error(error.to_string());
            wanted.lead.complete(Err(error));
        }
    }
}

/// Counts as a request out until it is dropped, on whatever way; then the queue moves on.
struct OpenRequest(Arc<Inner>);

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.hydrator.off.end_request();
        self.0.send_requests();
        self.0.hydrator.request_ended.notify_waiters();
    }
}

/// Headers that may tell of one object until it is fetched whole, where no two tell the same.
const HEADERS: usize = 3;

/// What one request is for.
struct Part {
    wants: Vec<Want<Oid>>,
    /// Whether it is to end at the first object that is large.
    only_sizes: bool,
}

/// Gets `wants`, trying again what may pass, until each is delivered or failed.
async fn fetch(inner: &Arc<Inner>, mut wants: Vec<Want<Oid>>) {
    let new_retries = || Retries::new(&*inner.runtime, RetryPolicy::default());
    let mut retries = new_retries();
    // Parts of the batch, each to be asked for on its own: an unknown object fails alone.
    let sizes = inner
        .hydrator
        .off
        .take_tagged(&mut wants, |wish| wish.only_size);
    let part = |wants, only_sizes| Part { wants, only_sizes };
    let mut parts = vec![part(sizes, true), part(wants, false)];
    // Sizes as headers told them, and of which object. Nothing verifies a header, as what it belongs to does not come; a
    // size is believed once two requests told it.
    let mut told: Vec<(Oid, u64)> = Vec::new();
    while let Some(Part { wants, only_sizes }) = parts.pop() {
        let wants = inner.hydrator.off.still_wanted(&wants);
        if wants.is_empty() {
            continue;
        }
        let request = Fetch {
            have: None,
            wants: wants.iter().map(|want| want.key).collect(),
            filter: Filter::OnlyWanted,
        };
        let ingest = match only_sizes {
            true => Ingest::of_small(inner.clone()),
            false => Ingest::new(inner.clone(), None),
        };
        let Brought {
            result,
            too_large,
            peeked,
        } = ingest.bring(&request).await;
        let missing = inner.hydrator.off.still_wanted(&wants);
        if missing.is_empty() {
            continue;
        }
        if missing.len() < wants.len() {
            retries = new_retries();
        }
        if only_sizes && too_large {
            // Most likely the first that did not come, as servers send in the order asked.
            let first = missing[0].key;
            match (missing.as_slice(), peeked.filter(|peek| peek.alone)) {
                ([alone], Some(peek)) if told.contains(&(first, peek.size)) => {
                    inner.tell_size(alone, peek.size);
                }
                // A delta tells nothing of what comes out of it; nor do headers that differ each time.
                ([_], peek) => {
                    let before = told.iter().filter(|(oid, _)| *oid == first).count();
                    let again = peek.is_some() && before < HEADERS;
                    parts.push(part(missing, again));
                }
                _ => {
                    parts.push(part(missing[1..].to_vec(), true));
                    parts.push(part(missing[..1].to_vec(), true));
                }
            }
            told.extend(peeked.map(|peek| (first, peek.size)));
            continue;
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
                if missing.iter().any(|want| want.key == oid) =>
            {
                let error = Arc::new(error);
                let named = missing.iter().filter(|want| want.key == oid);
                named.for_each(|want| inner.fail(want, &error));
                parts.push(part(missing, only_sizes));
            }
            OriginError::MissingObject { .. } if missing.len() > 1 => {
                let (left, right) = missing.split_at(missing.len() / 2);
                parts.extend([right, left].map(|half| part(half.to_vec(), only_sizes)));
            }
            error => match retries.pause_after(error).await {
                Ok(()) => parts.push(part(missing, only_sizes)),
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
        // A commit, its trees, and the tag that leads to it.
        let trees = |wish: &Wish| wish.kind != ObjectKind::Blob;
        inner.hydrator.off.begin_download(trees);
        Self(inner.clone())
    }

    /// Ends the download with a failure, which those who wait for it get.
    pub fn fail(self, error: &Arc<OriginError>) {
        for (oid, wanted) in self.0.hydrator.off.end_download() {
            let error = ObjectError::Origin {
                oid,
                cause: error.clone(),
            };
            wanted.lead.complete(Err(error));
        }
    }
}

impl Drop for BulkGuard {
    fn drop(&mut self) {
        // What did not come, or came and left memory again, is looked for the ordinary way.
        for (oid, Wanted { lead, tag, .. }) in self.0.hydrator.off.end_download() {
            self.0.search(oid, tag, lead, None);
        }
    }
}

//! The download of a whole commit: the commit and all its trees in one request.
//!
//! A download that breaks off goes on where it stopped: the trees that are here are walked, and
//! those that are missing are asked for with all below them.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bonsaifs_core::rt::run_blocking;
use rustc_hash::FxHashSet;

use super::{
    content::Content,
    disk::TreesWent,
    hydrator::BulkGuard,
    ingest::Ingest,
    store::{Inner, ObjectStore},
};
use crate::{
    git::{
        commit::parse_commit,
        oid::{ObjectKind, Oid},
        tag::parse_tag,
        tree::{self, EntryMode},
    },
    origin::{
        Fetch, Filter, OriginError,
        retry::{Retries, RetryPolicy},
    },
};

/// Counts what a download has brought, for a progress line.
#[derive(Default)]
pub struct BulkProgress {
    objects: AtomicU64,
    total: AtomicU64,
    bytes: AtomicU64,
}

impl BulkProgress {
    /// Objects verified so far.
    pub fn objects_so_far(&self) -> u64 {
        self.objects.load(Ordering::Relaxed)
    }

    /// Objects that will come, once the server has said so.
    pub fn objects_in_all(&self) -> Option<u64> {
        Some(self.total.load(Ordering::Relaxed)).filter(|total| *total > 0)
    }

    /// Bytes received so far.
    pub fn bytes_so_far(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn object(&self) {
        self.objects.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn total(&self, objects: u64) {
        self.total.store(objects, Ordering::Relaxed);
    }

    pub(super) fn bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl ObjectStore {
    /// Starts to download `target`, a commit or a tag of one, with all its trees, and returns at
    /// once with the counts of what came so far. While it runs, [`ObjectStore::get`] of what it brings waits for it.
    pub fn download_commit(&self, target: Oid) -> Arc<BulkProgress> {
        let progress = Arc::new(BulkProgress::default());
        let guard = BulkGuard::begin(&self.0);
        let inner = self.0.clone();
        let counts = progress.clone();
        let job = self.0.downloads.begin();
        let task = async move {
            let before = inner.trees_went().await;
            match download(&inner, target, None, &counts).await {
                Ok(commit) => {
                    drop(guard);
                    inner.mark_complete(commit, before).await;
                }
                Err(error) => {
                    tracing::warn!(object = %target, %error, "the commit's trees did not all come");
                    inner.note_error(error.to_string());
                    guard.fail(&Arc::new(error));
                }
            }
            drop(job);
        };
        self.0.runtime.spawn("download commit", Box::pin(task));
        progress
    }

    /// Brings `target`, a commit or a tag of one, with those of its trees that are not here, given
    /// that `base` is the tree of a commit that is here: in one request, which the server answers with what
    /// differs.
    ///
    /// # Errors
    /// When the origin failed more often than is tried.
    pub async fn bring_commit(&self, target: Oid, base: Oid) -> Result<(), OriginError> {
        // What is known to be here must be.
        self.settled().await;
        let inner = &self.0;
        let before = inner.trees_went().await;
        let walker = inner.clone();
        let look = move || walker.missing_trees(base).missing.is_empty();
        let whole = run_blocking(&*inner.runtime, "walk trees", look).await;
        let have = (whole == Some(true)).then_some(base);
        let commit = download(inner, target, have, &Arc::default()).await?;
        inner.mark_complete(commit, before).await;
        Ok(())
    }
}

/// Downloads until nothing is missing; what then is here. The first request leaves out the trees below
/// `have`.
async fn download(
    inner: &Arc<Inner>,
    target: Oid,
    have: Option<Oid>,
    progress: &Arc<BulkProgress>,
) -> Result<Option<Whole>, OriginError> {
    let new_retries = || Retries::new(&*inner.runtime, RetryPolicy::default());
    let mut retries = new_retries();
    let (mut wants, mut have) = (vec![target], have);
    loop {
        let before = progress.objects_so_far();
        let request = Fetch {
            have: have.take(),
            wants,
            filter: Filter::NoBlobs,
        };
        let ingest = Ingest::new(inner.clone(), Some(progress.clone()));
        let result = ingest.bring(&request).await.result;
        // What left memory again must be on disk before the walk looks for it.
        inner.background.idle().await;
        let walker = inner.clone();
        let gap = run_blocking(&*inner.runtime, "walk trees", move || {
            walker.missing_trees(target)
        })
        .await
        .unwrap_or_else(|| Gap {
            missing: vec![target],
            ..Gap::default()
        });
        if progress.objects_so_far() > before {
            retries = new_retries();
        }
        match result {
            Ok(()) if gap.missing.is_empty() => return Ok(gap.whole()),
            // The server is through and yet there are gaps: hostile or damaged trees. What can be
            // had is had on demand.
            Ok(()) => return Ok(None),
            Err(error) => {
                if gap.missing.is_empty() {
                    return Ok(gap.whole());
                }
                // A server that walks the trees stops at one that is damaged, or too deep for it.
                // Each by itself can still be had. So it can when the disk had no room for a large
                // file that came along from a server that does not filter.
                if matches!(
                    error,
                    OriginError::Refused { .. } | OriginError::Disk { .. }
                ) {
                    tracing::info!(%error, "the trees come one by one");
                    return Ok(None);
                }
                retries.pause_after(error).await?;
                wants = gap.missing;
            }
        }
    }
}

/// What a walk over the trees at hand found missing.
#[derive(Default)]
struct Gap {
    commit: Option<Oid>,
    missing: Vec<Oid>,
    /// What it went over: tags, the commit, trees.
    seen: Vec<Oid>,
}

/// A commit that is at hand with all its trees.
struct Whole {
    commit: Oid,
    /// It and its trees.
    objects: Vec<Oid>,
}

impl Gap {
    fn whole(self) -> Option<Whole> {
        Some(Whole {
            commit: self.commit?,
            objects: self.seen,
        })
    }
}

impl Inner {
    /// Walks from `target` over what is in memory and on disk. Blocking.
    fn missing_trees(&self, target: Oid) -> Gap {
        let mut gap = Gap::default();
        let mut next = target;
        // A tag may lead to a tag; git itself follows without a bound, hostile chains end here.
        for _ in 0..16 {
            let Some(Content::Whole { kind, data }) = self.at_hand(&next) else {
                gap.missing.push(next);
                return gap;
            };
            gap.seen.push(next);
            match kind {
                ObjectKind::Tag => match parse_tag(&data, self.hash) {
                    Ok(tag) => next = tag.target,
                    Err(_) => return gap,
                },
                ObjectKind::Commit => {
                    gap.commit = Some(next);
                    match parse_commit(&data, self.hash) {
                        Ok(commit) => next = commit.tree,
                        Err(_) => return gap,
                    }
                }
                ObjectKind::Tree => {
                    self.walk_trees(next, &mut gap);
                    return gap;
                }
                ObjectKind::Blob => return gap,
            }
        }
        gap
    }

    fn walk_trees(&self, root: Oid, gap: &mut Gap) {
        let mut seen = FxHashSet::default();
        let mut stack = vec![root];
        while let Some(oid) = stack.pop() {
            if !seen.insert(oid) {
                continue;
            }
            gap.seen.push(oid);
            match self.at_hand(&oid) {
                Some(Content::Whole {
                    kind: ObjectKind::Tree,
                    data,
                }) => {
                    let Ok(parsed) = tree::parse(&data, self.hash) else {
                        continue;
                    };
                    let dirs = parsed
                        .entries
                        .iter()
                        .filter(|entry| entry.mode == EntryMode::Dir);
                    stack.extend(dirs.map(|entry| entry.oid));
                }
                Some(_) => {}
                None => gap.missing.push(oid),
            }
        }
    }

    fn at_hand(&self, oid: &Oid) -> Option<Content> {
        self.memory
            .get(oid)
            .or_else(|| self.disk.as_ref()?.find(oid))
    }

    async fn trees_went(&self) -> Option<TreesWent> {
        let disk = self.disk.clone()?;
        run_blocking(&*self.runtime, "trees went", move || disk.trees_went()).await
    }

    /// Notes a complete download for the next mount, if all of it is on disk by now, for good: what the disk did
    /// not take is in memory only. `before` is from before the download began.
    async fn mark_complete(&self, whole: Option<Whole>, before: Option<TreesWent>) {
        let (Some(whole), Some(before), Some(disk)) = (whole, before, self.disk.clone()) else {
            return;
        };
        let marked = run_blocking(&*self.runtime, "mark complete", move || {
            match disk.secure(&whole.objects)? {
                true => disk.mark_complete(&whole.commit, &before),
                false => Ok(()),
            }
        });
        if let Some(Err(error)) = marked.await {
            tracing::debug!(%error, "the commit could not be marked as complete");
        }
    }
}

#[cfg(test)]
mod tests;

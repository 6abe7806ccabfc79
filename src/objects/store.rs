//! [`ObjectStore`]: the tiers in order, and one flight an object.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bonsaifs_core::{
    cache::{
        flight::{Join, Lead, SingleFlight, WaitEnd},
        weighted::Weighted,
    },
    rt::{SharedRuntime, run_blocking},
};

use super::{
    content::Content,
    disk::{DiskStatus, DiskTier},
    error::ObjectError,
    hydrator::Hydrator,
};
use crate::{
    git::oid::{HashKind, ObjectKind, Oid, object_id},
    origin::{Origin, OriginCounters, OriginError},
};

/// How many leaders of a flight may go away before an asker gives up.
const LEADERS: usize = 4;

/// What a flight ends with: the object, or why not.
pub(super) type Outcome = Result<Content, ObjectError>;

/// Called when an object turns out not to be on this machine.
pub type Missed = Box<dyn FnOnce() + Send>;

/// What is expected of an object that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    /// Decides only what may wait for a running download of a whole commit.
    pub kind: ObjectKind,
    /// Whether its size is enough.
    pub only_size: bool,
}

/// Gives objects by id, from the nearest place that has them. A clone is another handle to the
/// same store.
#[derive(Clone)]
pub struct ObjectStore(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub runtime: SharedRuntime,
    pub origin: Arc<dyn Origin>,
    pub disk: Option<Arc<DiskTier>>,
    pub hash: HashKind,
    pub memory: Weighted<Oid, Content>,
    pub flights: SingleFlight<Oid, Outcome>,
    pub hydrator: Hydrator,
    /// Writing to the disk tier.
    pub background: Background,
    /// Downloads of whole commits.
    pub downloads: Background,
    /// What else is to be done before the end; it may wait for the two above.
    pub notes: Background,
    /// Requests for objects that are out, until what came is handed to `background`.
    pub fetching: Background,
    /// Whether [`ObjectStore::close`] was called, and who is to be told then. Not a `watch`, which
    /// wakes in an order that no seed decides.
    closed: AtomicBool,
    closing: tokio::sync::Notify,
    fetched: AtomicU64,
    last_error: Mutex<Option<LastError>>,
}

/// The last failure, for `status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastError {
    /// What failed.
    pub message: String,
    /// When, in the runtime's monotonic time.
    pub at: Duration,
}

/// What the store holds and did, for `status`.
#[derive(Clone, Debug, Default)]
pub struct StoreStatus {
    /// Requests to the origin and bytes from it.
    pub origin: OriginCounters,
    /// Objects that came from the origin.
    pub fetched: u64,
    /// Bytes of objects in memory.
    pub memory_bytes: u64,
    /// Objects in memory.
    pub memory_objects: u64,
    /// The memory tier's bound in bytes.
    pub memory_budget: u64,
    /// The disk tier, where there is one.
    pub disk: Option<DiskStatus>,
    /// The last failure.
    pub last_error: Option<LastError>,
}

/// Where an object's content is, for `info`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In memory.
    Memory,
    /// In the disk tier.
    Disk,
    /// On this machine's disk, in the source itself.
    Source,
    /// At the origin only.
    Origin,
}

impl ObjectStore {
    /// A store over `origin`. `disk` keeps what came over a network; a local origin needs it for
    /// large blobs only. `memory_budget` is in bytes.
    pub fn new(
        runtime: SharedRuntime,
        origin: Arc<dyn Origin>,
        disk: Option<Arc<DiskTier>>,
        hash: HashKind,
        memory_budget: usize,
    ) -> Self {
        Self(Arc::new(Inner {
            runtime,
            origin,
            disk,
            hash,
            memory: Weighted::new(memory_budget),
            flights: SingleFlight::new(),
            hydrator: Hydrator::default(),
            background: Background::default(),
            downloads: Background::default(),
            notes: Background::default(),
            fetching: Background::default(),
            closed: AtomicBool::new(false),
            closing: tokio::sync::Notify::new(),
            fetched: AtomicU64::new(0),
            last_error: Mutex::default(),
        }))
    }

    /// The object if it is in memory, at once.
    pub fn try_get(&self, oid: &Oid) -> Option<Content> {
        self.0.memory.get(oid)
    }

    /// The object if it is in memory, or if it is small and the disk tier has it where it can be read
    /// without waiting. For a thread that others wait for.
    pub fn get_at_once(&self, oid: &Oid) -> Option<Content> {
        self.try_get(oid).or_else(|| {
            let content = self.0.disk.as_ref()?.find_at_once(oid)?;
            let weight = content.weight();
            self.0.memory.insert(*oid, content.clone(), weight);
            Some(content)
        })
    }

    /// The object, from wherever it is nearest. `kind` is what the asker expects; it decides only
    /// what may wait for a running download of a whole commit.
    ///
    /// # Errors
    /// When no place has it, or the origin failed more often than is tried.
    pub async fn get(&self, oid: &Oid, kind: ObjectKind) -> Outcome {
        self.get_or(oid, kind, None).await
    }

    /// As [`ObjectStore::get`], and calls `missed` if it turns out that the object is not on this machine,
    /// before it is asked for. Not if somebody else is looking for it already.
    pub async fn get_or(&self, oid: &Oid, kind: ObjectKind, mut missed: Option<Missed>) -> Outcome {
        let wish = Wish {
            kind,
            only_size: false,
        };
        for _ in 0..LEADERS {
            match self.flight(oid, wish, missed.take()).await {
                // That was the flight of someone who needs no more.
                Err(ObjectError::OnlySize { .. }) => {}
                outcome => return outcome,
            }
        }
        Err(ObjectError::GivenUp { oid: *oid })
    }

    /// The kind and size in bytes of what should be the blob `oid`, from the object itself, which comes
    /// for it if it is small. Of a large one only the beginning comes, which tells.
    ///
    /// # Errors
    /// As [`ObjectStore::get`].
    pub async fn header(&self, oid: &Oid) -> Result<(ObjectKind, u64), ObjectError> {
        let wish = Wish {
            kind: ObjectKind::Blob,
            only_size: true,
        };
        match self.flight(oid, wish, None).await {
            Err(ObjectError::OnlySize { size, .. }) => Ok((ObjectKind::Blob, size)),
            Ok(content) => Ok((content.kind(), content.size())),
            Err(error) => Err(error),
        }
    }

    async fn flight(&self, oid: &Oid, wish: Wish, missed: Option<Missed>) -> Outcome {
        let mut wait = match self.0.join(oid) {
            Joined::Here(content) => return Ok(content),
            Joined::Lead(lead) => {
                let wait = lead.wait();
                self.0.search(*oid, wish, lead, missed);
                wait
            }
            Joined::Wait(wait) => wait,
        };
        // A flight's leader goes away if nobody waited for a moment, or if the runtime is ending and
        // drops its work. In the latter case trying on would never end.
        for _ in 0..LEADERS {
            match (&mut wait).await {
                WaitEnd::Done(outcome) => return outcome,
                WaitEnd::Lead(lead) => {
                    wait = lead.wait();
                    self.0.search(*oid, wish, lead, None);
                }
            }
        }
        Err(ObjectError::GivenUp { oid: *oid })
    }

    /// The kind and size of an object, if memory knows it.
    pub fn try_header(&self, oid: &Oid) -> Option<(ObjectKind, u64)> {
        self.try_get(oid)
            .map(|content| (content.kind(), content.size()))
    }

    /// Where the object's content is now. Reads disks.
    pub fn place(&self, oid: &Oid) -> Place {
        if self.0.memory.get(oid).is_some() {
            Place::Memory
        } else if self.0.disk.as_ref().is_some_and(|disk| disk.has(oid)) {
            Place::Disk
        } else if self.0.origin.try_header(oid).is_some() {
            Place::Source
        } else {
            Place::Origin
        }
    }

    /// What the store holds and did. Reads the disk tier's folders.
    pub fn status(&self) -> StoreStatus {
        StoreStatus {
            origin: self.0.origin.counters(),
            fetched: self.0.fetched.load(Ordering::Relaxed),
            memory_bytes: self.0.memory.weight() as u64,
            memory_objects: self.0.memory.len() as u64,
            memory_budget: self.0.memory.budget() as u64,
            disk: self.0.disk.as_ref().map(|disk| disk.status()),
            last_error: self.0.lock_last_error().clone(),
        }
    }

    /// The object format.
    pub fn hash(&self) -> HashKind {
        self.0.hash
    }

    /// The kind and size of an object, as far as this machine knows without asking over a
    /// network. Reads disks.
    pub fn local_header(&self, oid: &Oid) -> Option<(ObjectKind, u64)> {
        self.0.local_header(oid)
    }

    /// Whether the object is in memory or, in whatever state, in the disk tier. Reads disks.
    pub fn is_here(&self, oid: &Oid) -> bool {
        self.0.is_here(oid)
    }

    /// The size of a blob, if it was ever learnt; from memory.
    pub fn known_size(&self, oid: &Oid) -> Option<u64> {
        let disk = self.0.disk.as_ref()?;
        disk.known_size(oid)
    }

    /// Keeps the size of a blob for ever.
    pub fn learn_size(&self, oid: &Oid, size: u64) {
        self.0.learn_size(oid, size);
    }

    /// Marks a job that [`ObjectStore::flush`] waits for, until it is dropped. It may itself wait
    /// for [`ObjectStore::settled`].
    pub fn begin_job(&self) -> BackgroundJob {
        self.0.notes.begin()
    }

    /// The memory tier's bound in bytes.
    pub fn memory_budget(&self) -> u64 {
        self.0.memory.budget() as u64
    }

    /// Gives the memory tier another bound, in bytes. What is above it leaves at once.
    pub fn set_memory_budget(&self, bytes: usize) {
        self.0.memory.set_budget(bytes);
    }

    /// Where objects come from when nothing here has them.
    pub fn origin(&self) -> &Arc<dyn Origin> {
        &self.0.origin
    }

    /// The disk tier, where there is one.
    pub fn disk(&self) -> Option<&Arc<DiskTier>> {
        self.0.disk.as_ref()
    }

    /// Notes a failure for `status`.
    pub fn note_error(&self, message: String) {
        self.0.note_error(message);
    }

    /// Objects that are wanted from the origin and did not come yet.
    pub fn wanted(&self) -> usize {
        self.0.hydrator.off.waiting()
    }

    /// Waits until everything that came with requests that have ended is in the disk tier, and all
    /// jobs are done. What is still coming is waited for by [`ObjectStore::close`] only.
    pub async fn flush(&self) {
        self.0.notes.idle().await;
        self.0.background.idle().await;
    }

    /// Breaks off the requests that are out, and waits until all that came, also what came of
    /// those, is in the disk tier. Whatever is asked of the origin from here on fails.
    pub async fn close(&self) {
        self.0.closed.store(true, Ordering::Release);
        self.0.closing.notify_waiters();
        self.0.fetching.idle().await;
        self.flush().await;
        let inner = self.0.clone();
        let _ = run_blocking(&*self.0.runtime, "save sizes", move || {
            inner.save_sizes();
            if let Some(disk) = &inner.disk {
                disk.keep_up();
            }
        })
        .await;
    }

    /// Waits until no commit is being downloaded, and what came with requests that have ended is in
    /// the disk tier. Not for the others: on a busy mount there may always be one.
    pub async fn settled(&self) {
        self.0.downloads.idle().await;
        self.0.background.idle().await;
    }

    /// Drops a large file that was found damaged, so that the next [`ObjectStore::get`] brings it
    /// anew.
    pub fn drop_damaged(&self, oid: &Oid) {
        self.0.memory.remove(oid);
        if let Some(disk) = &self.0.disk {
            disk.drop_large(oid);
        }
    }
}

enum Joined {
    Here(Content),
    Lead(Lead<Oid, Outcome>),
    Wait(bonsaifs_core::cache::flight::Wait<Oid, Outcome>),
}

impl Inner {
    fn join(&self, oid: &Oid) -> Joined {
        if let Some(content) = self.memory.get(oid) {
            return Joined::Here(content);
        }
        match self.flights.join(oid) {
            Join::Wait(wait) => Joined::Wait(wait),
            // A flight may have ended since memory was asked.
            Join::Lead(lead) => match self.memory.get(oid) {
                Some(content) => {
                    lead.complete(Ok(content.clone()));
                    Joined::Here(content)
                }
                None => Joined::Lead(lead),
            },
        }
    }

    /// Runs `fetch`, which [`ObjectStore::close`] breaks off.
    pub async fn unless_closed(
        &self,
        fetch: impl Future<Output = Result<(), OriginError>>,
    ) -> Result<(), OriginError> {
        let closing = self.closing.notified();
        let closed = async {
            if !self.closed.load(Ordering::Acquire) {
                closing.await;
            }
        };
        tokio::select! {
            biased;
            () = closed => Err(OriginError::Closing {
                source_name: self.origin.describe(),
            }),
            result = fetch => result,
        }
    }

    /// Looks for the object on disk, and at the origin if it isn't there. Owns the flight, so that
    /// no asker's going away disturbs the others.
    pub fn search(
        self: &Arc<Self>,
        oid: Oid,
        wish: Wish,
        lead: Lead<Oid, Outcome>,
        missed: Option<Missed>,
    ) {
        let inner = self.clone();
        self.runtime.spawn_blocking(
            "find object",
            Box::new(move || match inner.find_local(&oid) {
                Some(outcome) => {
                    if let Ok(content) = &outcome {
                        inner.memory.insert(oid, content.clone(), content.weight());
                    }
                    lead.complete(outcome);
                }
                None => {
                    if let Some(missed) = missed {
                        missed();
                    }
                    inner.want(oid, wish, lead);
                }
            }),
        );
    }

    /// The object from the disk tier, or from a source on this machine.
    fn find_local(&self, oid: &Oid) -> Option<Outcome> {
        if let Some(content) = self.disk.as_ref().and_then(|disk| disk.find(oid)) {
            return Some(Ok(content));
        }
        let answer = self.origin.try_object(oid)?;
        self.count_fetched();
        let answer = answer.and_then(|(kind, data)| {
            if object_id(self.hash, kind, &data) == Some(*oid) {
                return Ok(Content::Whole { kind, data });
            }
            Err(self.not_its_id(oid))
        });
        Some(answer.map_err(|error| {
            let error = ObjectError::origin(*oid, error);
            self.note_error(error.to_string());
            error
        }))
    }

    /// The error for an object whose content is not what its id says.
    pub fn not_its_id(&self, oid: &Oid) -> OriginError {
        OriginError::Corrupt {
            source_name: self.origin.describe(),
            reason: format!("the content of {oid} is not what its id says"),
        }
    }

    /// What is in the disk tier is read and hashed first: a flipped bit in a header would be a wrong
    /// size. Whoever asks for the size mostly wants the content next, and finds it in memory.
    fn local_header(self: &Arc<Self>, oid: &Oid) -> Option<(ObjectKind, u64)> {
        let here = self.memory.get(oid).or_else(|| {
            let content = self.disk.as_ref()?.find(oid)?;
            self.memory.insert(*oid, content.clone(), content.weight());
            if content.kind() == ObjectKind::Blob {
                self.learn_size(oid, content.size());
            }
            Some(content)
        });
        match here {
            Some(content) => Some((content.kind(), content.size())),
            None => self.origin.try_header(oid).and_then(Result::ok),
        }
    }

    /// Keeps the size of a blob of a source that is not on this machine.
    pub fn learn_size(self: &Arc<Self>, oid: &Oid, size: u64) {
        let Some(disk) = self.disk.as_ref().filter(|_| !self.origin.is_local()) else {
            return;
        };
        if disk.learn_size(oid, size) {
            let (inner, job) = (self.clone(), self.background.begin());
            let save = move || {
                inner.save_sizes();
                drop(job);
            };
            self.runtime.spawn_blocking("save sizes", Box::new(save));
        }
    }

    fn save_sizes(&self) {
        let Some(disk) = &self.disk else { return };
        if let Err(error) = disk.save_sizes()
            && !disk.refused(&error)
        {
            tracing::warn!(%error, "the sizes of files could not be kept");
        }
    }

    /// Makes a verified object known: to memory, and to those who wait for it.
    pub fn publish(self: &Arc<Self>, oid: Oid, content: Content) {
        self.count_fetched();
        if content.kind() == ObjectKind::Blob {
            self.learn_size(&oid, content.size());
        }
        self.memory.insert(oid, content.clone(), content.weight());
        if let Some(lead) = self.hydrator.off.delivered(&oid) {
            lead.complete(Ok(content));
        }
    }

    pub fn note_error(&self, message: String) {
        *self.lock_last_error() = Some(LastError {
            message,
            at: self.runtime.now(),
        });
    }

    fn count_fetched(&self) {
        self.fetched.fetch_add(1, Ordering::Relaxed);
    }

    fn lock_last_error(&self) -> std::sync::MutexGuard<'_, Option<LastError>> {
        self.last_error
            .lock()
            .expect("no code panics while it holds the last error")
    }
}

/// Counts jobs that go on behind the readers' backs, so that a shutdown can wait for them.
#[derive(Default)]
pub(super) struct Background {
    running: Arc<AtomicU64>,
    idle: Arc<tokio::sync::Notify>,
}

/// A job that a shutdown waits for; it ends when this is dropped.
pub struct BackgroundJob {
    running: Arc<AtomicU64>,
    idle: Arc<tokio::sync::Notify>,
}

impl Background {
    pub fn begin(&self) -> BackgroundJob {
        self.running.fetch_add(1, Ordering::AcqRel);
        BackgroundJob {
            running: self.running.clone(),
            idle: self.idle.clone(),
        }
    }

    pub async fn idle(&self) {
        loop {
            let notified = self.idle.notified();
            if self.running.load(Ordering::Acquire) == 0 {
                return;
            }
            notified.await;
        }
    }
}

impl Drop for BackgroundJob {
    fn drop(&mut self) {
        if self.running.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.idle.notify_waiters();
        }
    }
}

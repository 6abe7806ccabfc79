//! One fetch's stream, on its way in: verified, published at once, and kept on disk.

use std::{
    io,
    sync::{Arc, Mutex},
};

use bonsaifs_core::rt::run_blocking;
use bytes::Bytes;

use super::{
    bulk::BulkProgress,
    content::Content,
    disk::{Arriving, DiskTier, Installed, LARGE, Spool},
    store::Inner,
    tuning::PREFETCHED,
};
use crate::{
    git::{
        oid::{ObjectKind, Oid, object_id},
        pack::{Decoded, Limits, PackError, PackSummary, StreamDecoder, index::IndexEntry},
    },
    origin::{Fetch, FetchSink, OriginError},
};

/// A pack of blobs with so few objects is stored as loose ones: a pack is three files.
const LOOSE: usize = 16;

/// Takes what an origin sends. See the module's header.
pub(super) struct Ingest {
    inner: Arc<Inner>,
    progress: Option<Arc<BulkProgress>>,
    spool: Spool,
    decoder: StreamDecoder,
    found: Found,
    /// A large blob that a local origin hands out in pieces. It goes to the disk tier directly.
    large: Option<(Oid, Arriving)>,
    /// Whether the decoder met an object that is larger than this fetch may bring.
    too_large: bool,
}

/// What was decoded so far.
#[derive(Default)]
struct Found {
    entries: Vec<IndexEntry>,
    /// The first few blobs, in case it stays at so few.
    small: Vec<(Oid, Bytes)>,
    large: Vec<Oid>,
    /// Takes every object and its size in bytes, for a prefetch.
    came: Option<Came>,
}

/// What a prefetch brought: ids, and sizes in bytes.
pub(super) type Came = Arc<Mutex<Vec<(Oid, u64)>>>;

/// How a fetch ended.
pub(super) struct Brought {
    pub result: Result<(), OriginError>,
    /// Whether it ended at an object that is larger than this fetch may bring.
    pub too_large: bool,
    /// What the header of that object told, if it is a blob.
    pub peeked: Option<Peek>,
}

/// What a header told. Nothing verifies it.
#[derive(Clone, Copy)]
pub(super) struct Peek {
    /// The size in bytes.
    pub size: u64,
    /// Whether it is that of the only object which was to come.
    pub alone: bool,
}

impl Ingest {
    /// For one fetch. `progress` is there for the download of a whole commit.
    pub fn new(inner: Arc<Inner>, progress: Option<Arc<BulkProgress>>) -> Self {
        let limits = Limits {
            large: LARGE,
            ..Limits::default()
        };
        Self::with_limits(inner, progress, limits)
    }

    /// For sizes: ends with an error at the first object of more than [`PREFETCHED`] bytes.
    pub fn of_small(inner: Arc<Inner>) -> Self {
        let limits = Limits {
            large: u64::MAX,
            max_object: PREFETCHED,
            ..Limits::default()
        };
        Self::with_limits(inner, None, limits)
    }

    /// For a prefetch: as [`Ingest::of_small`], and notes in `came` what comes.
    pub fn of_prefetch(inner: Arc<Inner>, came: Came) -> Self {
        let mut ingest = Self::of_small(inner);
        ingest.found.came = Some(came);
        ingest
    }

    /// Sends `request` and takes what comes, until all is here, something fails, or the store
    /// closes; what came is kept in each case. See [`Ingest::finish`].
    pub async fn bring(mut self, request: &Fetch) -> Brought {
        let inner = self.inner.clone();
        let _fetching = inner.fetching.begin();
        let result = inner.unless_closed(inner.origin.fetch(request, &mut self));
        let result = result.await;
        let too_large = self.too_large;
        let alone = self.decoder.objects() == Some(1);
        let announced = self.decoder.announced().filter(|_| too_large);
        Brought {
            result: self.finish(result).await,
            too_large,
            peeked: announced
                .filter(|(kind, _)| *kind == ObjectKind::Blob)
                .map(|(_, size)| Peek { size, alone }),
        }
    }

    fn with_limits(inner: Arc<Inner>, progress: Option<Arc<BulkProgress>>, limits: Limits) -> Self {
        // A local source's objects are on a disk already.
        let disk = inner.disk.clone().filter(|_| !inner.origin.is_local());
        Self {
            decoder: StreamDecoder::new(inner.hash, limits),
            spool: Spool::new(disk),
            found: Found::default(),
            large: None,
            too_large: false,
            progress,
            inner,
        }
    }

    /// Ends the fetch, which ended with `result`: what came is kept, also of a pack that was cut
    /// short. Returns when all that was asked for can be read; the disk may still be at work.
    async fn finish(mut self, result: Result<(), OriginError>) -> Result<(), OriginError> {
        if self.spool.is_empty() {
            return result;
        }
        let (result, summary) = match result {
            Ok(()) => match self.end_of_pack() {
                Ok(summary) => (Ok(()), Some(summary)),
                Err(error) => (Err(error), None),
            },
            Err(error) => (Err(error), None),
        };
        let awaited = !self.found.large.is_empty();
        let inner = self.inner.clone();
        let job = inner.background.begin();
        let keep = move || {
            let kept = self.keep(summary);
            drop(job);
            kept
        };
        if !awaited {
            // It fails for large blobs only.
            let keep = move || drop(keep());
            inner.runtime.spawn_blocking("keep pack", Box::new(keep));
            return result;
        }
        // A large blob can be read when it stands as a file, not sooner.
        match run_blocking(&*inner.runtime, "keep pack", keep).await {
            Some(Err(error)) => result.and(Err(OriginError::Disk {
                what: "keeping a large file in the cache folder".to_owned(),
                reason: error.to_string(),
            })),
            _ => result,
        }
    }

    fn end_of_pack(&mut self) -> Result<PackSummary, OriginError> {
        let Self {
            decoder,
            spool,
            found,
            inner,
            progress,
            ..
        } = self;
        decoder
            .finish(spool, &mut |decoded| {
                found.take(inner, progress.as_deref(), decoded)
            })
            .map_err(|error| corrupt(inner, &error))
    }

    /// Puts what came into the disk tier. Blocking. A disk that takes no more, at whatever step, costs the copy only:
    /// large blobs are then in memory, as far as the pack was.
    fn keep(mut self, summary: Option<PackSummary>) -> io::Result<()> {
        let Some(disk) = self.inner.disk.clone() else {
            return match self.found.large.is_empty() {
                true => Ok(()),
                false => Err(io::Error::other("there is no cache folder")),
            };
        };
        if let Some(reason) = self.spool.failed() {
            return self.keep_in_memory(&disk, reason);
        }
        let Err(error) = self.keep_on(&disk, summary) else {
            disk.accepted();
            return Ok(());
        };
        if !disk.refused(&error) {
            tracing::warn!(%error, "what came can't be kept in the cache folder");
        }
        self.keep_in_memory(&disk, &error.to_string())
    }

    /// Hands out the large blobs that came although the disk takes no more, for `reason`.
    fn keep_in_memory(&self, disk: &DiskTier, reason: &str) -> io::Result<()> {
        let place = |oid: &Oid| {
            let entry = self.found.entries.iter().find(|entry| entry.oid == *oid)?;
            Some(entry.offset)
        };
        for oid in &self.found.large {
            let file = disk.large_from_memory(&self.spool, oid, &place);
            let file = file.ok_or_else(|| io::Error::other(reason.to_owned()))?;
            self.inner.publish(*oid, Content::Large(Arc::new(file)));
        }
        Ok(())
    }

    fn keep_on(&mut self, disk: &DiskTier, summary: Option<PackSummary>) -> io::Result<()> {
        let Self {
            inner,
            spool,
            decoder,
            found,
            ..
        } = self;
        let installed = match summary {
            Some(_) if found.is_small() => {
                for (oid, data) in &found.small {
                    disk.put_loose(oid, ObjectKind::Blob, data)?;
                }
                None
            }
            Some(summary) => {
                Some(disk.install_pack(spool, &mut found.entries, &summary.checksum)?)
            }
            None => keep_torn(disk, spool, decoder, &mut found.entries)?,
        };
        for oid in &found.large {
            let content = match &installed {
                Some(pack) => disk.find_in(pack, oid),
                None => disk.find(oid),
            };
            if let Some(content) = content {
                inner.publish(*oid, content);
            }
        }
        Ok(())
    }
}

/// Keeps the whole objects at the beginning of a pack that was cut short.
fn keep_torn(
    disk: &DiskTier,
    spool: &mut Spool,
    decoder: &StreamDecoder,
    entries: &mut Vec<IndexEntry>,
) -> io::Result<Option<Installed>> {
    let (count, end) = decoder.complete_prefix();
    entries.retain(|entry| entry.offset < end);
    // Deltas whose base had not come yet have no id; a pack with such an entry has no index.
    if count == 0 || entries.len() != count as usize {
        return Ok(None);
    }
    disk.install_torn(spool, entries, count, end).map(Some)
}

impl Found {
    fn take(&mut self, inner: &Arc<Inner>, progress: Option<&BulkProgress>, decoded: Decoded) {
        let Decoded {
            oid,
            kind,
            size,
            offset,
            crc32,
            data,
            ..
        } = decoded;
        if let Some(came) = &self.came {
            came.lock().expect("only pushed to").push((oid, size));
        }
        self.entries.push(IndexEntry { oid, crc32, offset });
        if let Some(progress) = progress {
            progress.object();
            if kind == ObjectKind::Blob {
                inner.hydrator.saw_blob_in_bulk();
            }
        }
        match data {
            Some(data) => {
                if kind == ObjectKind::Blob && self.small.len() <= LOOSE {
                    self.small.push((oid, data.clone()));
                }
                inner.publish(oid, Content::Whole { kind, data });
            }
            None => self.large.push(oid),
        }
    }

    /// Only blobs, and few: better loose.
    fn is_small(&self) -> bool {
        self.small.len() <= LOOSE && self.small.len() == self.entries.len()
    }
}

impl FetchSink for Ingest {
    fn pack_data(&mut self, data: Bytes) -> Result<(), OriginError> {
        let Self {
            decoder,
            spool,
            found,
            inner,
            progress,
            too_large,
            ..
        } = self;
        if let Some(progress) = progress {
            progress.bytes(data.len() as u64);
            if let Some(objects) = decoder.objects() {
                progress.total(u64::from(objects));
            }
        }
        spool.append(&data).map_err(|error| OriginError::Disk {
            what: "keeping a pack".to_owned(),
            reason: error.to_string(),
        })?;
        decoder
            .push(&data, spool, &mut |decoded| {
                found.take(inner, progress.as_deref(), decoded)
            })
            .map_err(|error| {
                *too_large = matches!(error, PackError::TooLarge { .. });
                corrupt(inner, &error)
            })
    }

    fn object(&mut self, oid: Oid, kind: ObjectKind, data: Bytes) -> Result<(), OriginError> {
        if object_id(self.inner.hash, kind, &data) != Some(oid) {
            return Err(self.inner.not_its_id(&oid));
        }
        self.inner.publish(oid, Content::Whole { kind, data });
        Ok(())
    }

    fn large_start(&mut self, oid: Oid, size: u64) -> Result<(), OriginError> {
        let Some(disk) = &self.inner.disk else {
            return Err(disk_error(
                &oid,
                &io::Error::other("there is no cache folder"),
            ));
        };
        let arriving = Arriving::new(disk.clone(), oid, size);
        self.large = Some((oid, arriving.map_err(|error| disk_error(&oid, &error))?));
        Ok(())
    }

    fn large_data(&mut self, data: Bytes) -> Result<(), OriginError> {
        let (oid, arriving) = self
            .large
            .as_mut()
            .expect("an origin begins a large blob before its data");
        let written = arriving.write(&data);
        written.map_err(|error| disk_error(oid, &error))?;
        if !arriving.is_full() {
            make_room(&self.inner);
            return Ok(());
        }
        let (oid, arriving) = self.large.take().expect("it was there a moment ago");
        let finished = arriving.finish().map_err(|error| disk_error(&oid, &error));
        make_room(&self.inner);
        match finished? {
            Some(file) => {
                self.inner.publish(oid, Content::Large(Arc::new(file)));
                Ok(())
            }
            None => Err(self.inner.not_its_id(&oid)),
        }
    }

    fn progress(&mut self, line: &str) {
        tracing::trace!(line, "the server says");
    }
}

/// Has room made in the disk tier if that is due, but not on this thread, which has others to serve.
fn make_room(inner: &Inner) {
    let disk = inner.disk.as_ref().filter(|disk| disk.is_room_due());
    if let Some(disk) = disk.cloned() {
        let make_room = Box::new(move || disk.make_room());
        inner.runtime.spawn_blocking("make room", make_room);
    }
}

fn corrupt(inner: &Inner, error: &PackError) -> OriginError {
    OriginError::Corrupt {
        source_name: inner.origin.describe(),
        reason: error.to_string(),
    }
}

fn disk_error(oid: &Oid, error: &io::Error) -> OriginError {
    OriginError::Disk {
        what: format!("writing the large file {oid} into the cache folder"),
        reason: error.to_string(),
    }
}

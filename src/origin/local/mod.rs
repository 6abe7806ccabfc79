//! Origins on a local disk: a repository's own object database, read object by object.
//!
//! May import: gix-odb, the rooms git and seams, bonsaifs-core.
//!
//! gix-odb maps the files that it reads, past the disk seam; that is the one exception to it.
//! Everything that may block runs in blocking jobs, but for [`LocalOrigin`]'s `try_` halves, which
//! take microseconds.
//!
//! Always holds: nothing is written; no hook, filter or replacement of the repository has a say;
//! a large blob is never whole in memory, unless it is stored as a delta.

mod ask_git;
mod config;
mod discover;
mod large;
mod reading;
mod refs;
mod store;

#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bonsaifs_core::rt::{BoxFuture, SharedRuntime, run_blocking};
use bytes::Bytes;

use super::{Fetch, FetchSink, Filter, Origin, OriginCounters, OriginError, RefWant, Resolved};
use crate::{
    git::{
        oid::{ObjectKind, Oid},
        refname,
        tag::parse_tag,
    },
    seams::{Seams, disk::Disk, git_process::GitProgram},
};
use config::RefStorage;
use discover::Places;
use reading::{Batch, Reading};
use refs::{FileRefs, Found};
use store::Store;

/// A blob of this many bytes or more is handed out in pieces.
pub const LARGE: u64 = 8 << 20;

/// More tags of tags than this lead nowhere.
const MAX_TAGS: usize = 32;

/// A repository on a local disk. It hands out what is wanted and, of a wanted commit, the root
/// tree; everything below is asked for object by object, which costs microseconds.
///
/// [`OriginCounters::requests`] counts objects read, [`OriginCounters::bytes`] their content.
#[derive(Clone)]
pub struct LocalOrigin {
    runtime: SharedRuntime,
    git: GitProgram,
    shared: Arc<Shared>,
}

/// What blocking jobs need.
struct Shared {
    disk: Arc<dyn Disk>,
    places: Places,
    store: Store,
    objects: AtomicU64,
    bytes: AtomicU64,
}

impl LocalOrigin {
    /// Opens the repository at `path`: a work tree or a folder in one, a bare repository, a `.git`
    /// folder, or the `.git` file of a submodule or a second work tree.
    ///
    /// # Errors
    /// [`OriginError::NoSuchPath`], [`OriginError::NotARepository`], [`OriginError::Disk`].
    pub async fn open(path: &Path, seams: &Seams) -> Result<Self, OriginError> {
        let disk = Arc::clone(&seams.disk);
        let path = path.to_owned();
        let opened = run_blocking(&*seams.runtime, "open repository", move || {
            let places = discover::discover(&*disk, &path)?;
            let name = places.given.display().to_string();
            let objects = places.common_dir.join("objects");
            let store = Store::open(objects, places.layout.hash, name)?;
            Ok(Shared {
                disk,
                places,
                store,
                objects: AtomicU64::new(0),
                bytes: AtomicU64::new(0),
            })
        });
        let shared = opened.await.unwrap_or_else(|| Err(stopped()))?;
        Ok(Self {
            runtime: Arc::clone(&seams.runtime),
            git: GitProgram::default(),
            shared: Arc::new(shared),
        })
    }

    /// Runs `job` where it may block.
    async fn blocking<T: Send + 'static>(
        &self,
        name: &'static str,
        job: impl FnOnce(&Shared) -> Result<T, OriginError> + Send + 'static,
    ) -> Result<T, OriginError> {
        let shared = Arc::clone(&self.shared);
        let done = run_blocking(&*self.runtime, name, move || job(&shared));
        done.await.unwrap_or_else(|| Err(stopped()))
    }

    async fn find_ref(&self, names: Vec<String>) -> Result<Option<Found>, OriginError> {
        match self.shared.places.layout.refs {
            RefStorage::Other => ask_git::find(&self.git, &self.shared.places, &names).await,
            RefStorage::Files => {
                self.blocking("read refs", move |shared| {
                    let mut refs = FileRefs::new(&*shared.disk, &shared.places);
                    for name in &names {
                        if let Some(found) = refs.find(name)? {
                            return Ok(Some(found));
                        }
                    }
                    Ok(None)
                })
                .await
            }
        }
    }

    async fn any_ref(&self) -> Result<bool, OriginError> {
        match self.shared.places.layout.refs {
            RefStorage::Other => ask_git::any(&self.git, &self.shared.places).await,
            RefStorage::Files => {
                self.blocking("read refs", |shared| {
                    FileRefs::new(&*shared.disk, &shared.places).any()
                })
                .await
            }
        }
    }

    async fn resolve_any(&self, want: &RefWant) -> Result<Resolved, OriginError> {
        let name = match want {
            RefWant::Head => "HEAD",
            RefWant::Named(name) => name.as_str(),
        };
        let unknown = |name: &str| OriginError::UnknownRef {
            source_name: self.describe(),
            name: name.to_owned(),
        };
        let whole_id = refname::parse_oid(name);
        let found = match whole_id {
            Some(_) => None,
            None => self.find_ref(refname::candidates(name)).await?,
        };
        let found = match (found, whole_id) {
            (Some(found), _) => found,
            (None, Some(target)) => Found { name: None, target },
            (None, None) if name == "HEAD" => {
                return Err(match self.any_ref().await? {
                    true => unknown(name),
                    false => OriginError::Empty {
                        source_name: self.describe(),
                    },
                });
            }
            (None, None) => {
                let digits = name.to_owned();
                let named = self.blocking("find ids", move |shared| shared.store.named_by(&digits));
                match named.await?.as_slice() {
                    [] => return Err(unknown(name)),
                    [target] => Found {
                        name: None,
                        target: *target,
                    },
                    [..] => return Err(unknown(&format!("{name} alone (several begin so)"))),
                }
            }
        };
        let target = found.target;
        let peeled = self.blocking("read tags", move |shared| shared.peel(target));
        let peeled = match peeled.await {
            // It is the name that leads nowhere, not a part of what it leads to.
            Err(OriginError::MissingObject { oid, .. }) if oid == whole_id => {
                return Err(unknown(name));
            }
            peeled => peeled?,
        };
        Ok(Resolved {
            name: found.name,
            target,
            peeled,
            hash: self.shared.places.layout.hash,
        })
    }

    async fn fetch_any(&self, fetch: &Fetch, sink: &mut dyn FetchSink) -> Result<(), OriginError> {
        let follow = fetch.filter != Filter::OnlyWanted;
        let mut reading = Reading::new(fetch.wants.clone(), follow);
        loop {
            let (next, batch) = self
                .blocking("read objects", move |shared| {
                    let batch = reading.next_batch(shared);
                    Ok((reading, batch))
                })
                .await?;
            reading = next;
            match batch {
                Batch::Objects { objects, failure } => {
                    for (oid, kind, data) in objects {
                        sink.object(oid, kind, data)?;
                    }
                    if let Some(error) = failure {
                        return Err(error);
                    }
                }
                Batch::Large { oid, mut blob } => {
                    sink.large_start(oid, blob.size)?;
                    loop {
                        let (next, piece) = self
                            .blocking("read a large object", move |shared| {
                                let piece = blob.piece()?;
                                shared.count_bytes(piece.as_ref().map_or(0, Bytes::len));
                                Ok((blob, piece))
                            })
                            .await?;
                        blob = next;
                        match piece {
                            Some(piece) => sink.large_data(piece)?,
                            None => break,
                        }
                    }
                }
                Batch::End => return Ok(()),
            }
        }
    }

    async fn sizes_of(&self, oids: Vec<Oid>) -> Result<Vec<Option<u64>>, OriginError> {
        self.blocking("read sizes", move |shared| {
            let size = |oid: &Oid| match shared.store.header(oid) {
                Ok((_, size)) => Ok(Some(size)),
                Err(OriginError::MissingObject { .. }) => Ok(None),
                Err(error) => Err(error),
            };
            oids.iter().map(size).collect()
        })
        .await
    }
}

impl Shared {
    /// Reads an object whole and counts it.
    fn object(&self, oid: &Oid) -> Result<(ObjectKind, Bytes), OriginError> {
        let (kind, data) = self.store.object(oid)?;
        self.objects.fetch_add(1, Ordering::Relaxed);
        self.count_bytes(data.len());
        Ok((kind, data))
    }

    fn count_bytes(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// The object behind a tag, through any tags of tags; `None` if `oid` is no tag.
    fn peel(&self, oid: Oid) -> Result<Option<Oid>, OriginError> {
        let mut at = oid;
        for _ in 0..MAX_TAGS {
            if self.store.header(&at)?.0 != ObjectKind::Tag {
                return Ok((at != oid).then_some(at));
            }
            let (_, data) = self.object(&at)?;
            let tag = parse_tag(&data, oid.kind());
            at = tag.map_err(|error| self.malformed(&at, &error))?.target;
        }
        Err(self.malformed(&oid, &"it is a tag of a tag of a tag without end"))
    }

    fn malformed(&self, oid: &Oid, reason: &impl ToString) -> OriginError {
        OriginError::Corrupt {
            source_name: self.places.given.display().to_string(),
            reason: format!("object {oid}: {}", reason.to_string()),
        }
    }

    /// The folders that objects are in.
    fn folders(&self) -> Vec<PathBuf> {
        large::folders(&self.places.common_dir.join("objects"))
    }
}

impl Origin for LocalOrigin {
    fn describe(&self) -> String {
        self.shared.places.given.display().to_string()
    }

    fn is_local(&self) -> bool {
        true
    }

    fn resolve<'a>(&'a self, want: &'a RefWant) -> BoxFuture<'a, Result<Resolved, OriginError>> {
        Box::pin(self.resolve_any(want))
    }

    fn fetch<'a>(
        &'a self,
        fetch: &'a Fetch,
        sink: &'a mut dyn FetchSink,
    ) -> BoxFuture<'a, Result<(), OriginError>> {
        Box::pin(self.fetch_any(fetch, sink))
    }

    fn sizes<'a>(
        &'a self,
        oids: &'a [Oid],
    ) -> BoxFuture<'a, Result<Option<Vec<Option<u64>>>, OriginError>> {
        Box::pin(async move { self.sizes_of(oids.to_vec()).await.map(Some) })
    }

    /// Small objects; a large one takes [`Origin::fetch`].
    fn try_object(&self, oid: &Oid) -> Option<Result<(ObjectKind, Bytes), OriginError>> {
        match self.shared.store.header(oid) {
            Ok((_, LARGE..)) => None,
            Ok(_) => Some(self.shared.object(oid)),
            Err(error) => Some(Err(error)),
        }
    }

    fn try_header(&self, oid: &Oid) -> Option<Result<(ObjectKind, u64), OriginError>> {
        Some(self.shared.store.header(oid))
    }

    fn counters(&self) -> OriginCounters {
        OriginCounters {
            requests: self.shared.objects.load(Ordering::Relaxed),
            bytes: self.shared.bytes.load(Ordering::Relaxed),
        }
    }
}

/// A job that panicked, or a runtime that is shutting down.
fn stopped() -> OriginError {
    OriginError::Disk {
        what: "a read of a local repository".to_owned(),
        reason: "it was broken off".to_owned(),
    }
}

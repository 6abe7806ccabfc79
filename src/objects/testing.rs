//! A scripted origin for this room's tests, and short ways to make objects and stores.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use bonsaifs_core::rt::{BoxFuture, SharedRuntime};
use bytes::Bytes;
use tokio::sync::Semaphore;

use super::{Content, ObjectError, ObjectStore, disk::DiskTier};
use crate::{
    git::{
        oid::{HashKind, ObjectKind, Oid, object_id},
        pack::build::{Checksum, encode_entry, pack_header},
        tree::EntryMode,
    },
    origin::{Fetch, FetchSink, Filter, Origin, OriginCounters, OriginError, RefWant, Resolved},
    seams::{
        disk::{Disk, Folder, StdDisk},
        http::HttpError,
        rt::TokioRuntime,
    },
};

pub(super) fn id(kind: ObjectKind, data: &[u8]) -> Oid {
    object_id(HashKind::Sha1, kind, data).expect("no collision attack in tests")
}

/// Content that does not get smaller.
pub(super) fn noise(seed: u32, len: usize) -> Bytes {
    let mut state = seed | 1;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// What happens to the next request.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// The pack ends after this many bytes, then the connection breaks.
    Cut(usize),
    /// This byte of the pack is flipped.
    Flip(usize),
    /// Everything is sent, and the answer ends only with another permit of the gate.
    Linger,
    /// This error, at once.
    Error(OriginError),
}

/// Serves what was put into it, as packs in pieces of 1,000 bytes.
pub(super) struct FakeOrigin {
    state: Mutex<State>,
    /// A permit is taken by each request before it answers.
    pub gate: Semaphore,
    filters: bool,
    names_missing: bool,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<Oid, (ObjectKind, Bytes)>,
    requests: Vec<Fetch>,
    faults: Vec<Fault>,
}

impl FakeOrigin {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
            filters: true,
            names_missing: false,
        })
    }

    /// One that says which object it does not have.
    pub fn naming_what_is_missing() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
            filters: true,
            names_missing: true,
        })
    }

    /// One that ignores `filter`.
    pub fn without_filter() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
            filters: false,
            names_missing: false,
        })
    }

    pub fn put(&self, kind: ObjectKind, data: impl Into<Bytes>) -> Oid {
        let data = data.into();
        let oid = id(kind, &data);
        self.lock().objects.insert(oid, (kind, data));
        oid
    }

    pub fn put_tree(&self, entries: &[(&str, &str, Oid)]) -> Oid {
        let mut data = Vec::new();
        for (mode, name, oid) in entries {
            data.extend(format!("{mode} {name}\0").as_bytes());
            data.extend(oid.as_slice());
        }
        self.put(ObjectKind::Tree, data)
    }

    pub fn put_commit(&self, tree: Oid) -> Oid {
        let who = "A U Thor <a@example.org> 1700000000 +0100";
        let text = format!("tree {tree}\nauthor {who}\ncommitter {who}\n\nmessage\n");
        self.put(ObjectKind::Commit, text.into_bytes())
    }

    pub fn fail_next(&self, fault: Fault) {
        self.lock().faults.push(fault);
    }

    pub fn requests(&self) -> Vec<Fetch> {
        self.lock().requests.clone()
    }

    /// How often each object was asked for by name.
    pub fn asked(&self, oid: &Oid) -> usize {
        self.lock()
            .requests
            .iter()
            .filter(|fetch| fetch.wants.contains(oid))
            .count()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("a test's lock")
    }

    /// All that `wants` reach, within the filter, each once.
    fn closure(&self, fetch: &Fetch) -> Result<Vec<(ObjectKind, Bytes)>, OriginError> {
        let state = self.lock();
        let mut out: Vec<Oid> = Vec::new();
        let mut stack: Vec<Oid> = fetch.wants.iter().rev().copied().collect();
        while let Some(oid) = stack.pop() {
            if out.contains(&oid) {
                continue;
            }
            let Some((kind, data)) = state.objects.get(&oid) else {
                return Err(OriginError::MissingObject {
                    source_name: "fake".into(),
                    oid: self.names_missing.then_some(oid),
                });
            };
            out.push(oid);
            if self.filters && fetch.filter == Filter::OnlyWanted {
                continue;
            }
            match kind {
                ObjectKind::Commit => {
                    let commit = crate::git::commit::parse_commit(data, HashKind::Sha1);
                    stack.push(commit.expect("a test's commit").tree);
                }
                ObjectKind::Tree => {
                    let tree = crate::git::tree::parse(data, HashKind::Sha1);
                    for entry in tree.expect("a test's tree").entries {
                        if entry.mode == EntryMode::Dir || !self.filters {
                            stack.push(entry.oid);
                        }
                    }
                }
                ObjectKind::Blob | ObjectKind::Tag => {}
            }
        }
        Ok(out.iter().map(|oid| state.objects[oid].clone()).collect())
    }
}

pub(super) fn pack(objects: &[(ObjectKind, Bytes)]) -> Vec<u8> {
    let mut out = pack_header(objects.len() as u32).to_vec();
    for (kind, data) in objects {
        encode_entry(&mut out, *kind, data, 1);
    }
    with_checksum(out)
}

/// Ends a pack of which `raw` is all but the checksum.
pub(super) fn with_checksum(mut raw: Vec<u8>) -> Vec<u8> {
    let mut checksum = Checksum::new(HashKind::Sha1);
    checksum.update(&raw);
    raw.extend(checksum.finish().expect("no attack").as_slice());
    raw
}

impl Origin for FakeOrigin {
    fn describe(&self) -> String {
        "fake".to_owned()
    }

    fn is_local(&self) -> bool {
        false
    }

    fn resolve<'a>(&'a self, _: &'a RefWant) -> BoxFuture<'a, Result<Resolved, OriginError>> {
        Box::pin(async {
            Err(OriginError::Empty {
                source_name: "fake".to_owned(),
            })
        })
    }

    fn fetch<'a>(
        &'a self,
        fetch: &'a Fetch,
        sink: &'a mut dyn FetchSink,
    ) -> BoxFuture<'a, Result<(), OriginError>> {
        Box::pin(async move {
            let fault = {
                let mut state = self.lock();
                state.requests.push(fetch.clone());
                (!state.faults.is_empty()).then(|| state.faults.remove(0))
            };
            self.gate
                .acquire()
                .await
                .expect("the gate is never closed")
                .forget();
            if let Some(Fault::Error(error)) = fault {
                return Err(error);
            }
            let mut raw = pack(&self.closure(fetch)?);
            match fault {
                Some(Fault::Flip(at)) => raw[at] ^= 1,
                Some(Fault::Cut(len)) => raw.truncate(len),
                _ => {}
            }
            for piece in raw.chunks(1000) {
                sink.pack_data(Bytes::copy_from_slice(piece))?;
                tokio::task::yield_now().await;
            }
            if let Some(Fault::Linger) = fault {
                self.gate
                    .acquire()
                    .await
                    .expect("the gate is never closed")
                    .forget();
            }
            match fault {
                Some(Fault::Cut(_)) => Err(OriginError::Http(HttpError::Broken {
                    host: "fake".to_owned(),
                    reason: "cut".to_owned(),
                })),
                _ => Ok(()),
            }
        })
    }

    fn sizes<'a>(
        &'a self,
        _: &'a [Oid],
    ) -> BoxFuture<'a, Result<Option<Vec<Option<u64>>>, OriginError>> {
        Box::pin(async { Ok(None) })
    }

    fn counters(&self) -> OriginCounters {
        OriginCounters::default()
    }
}

pub(super) fn runtime() -> SharedRuntime {
    Arc::new(TokioRuntime::current().expect("tests run inside tokio"))
}

pub(super) fn tier(dir: &std::path::Path) -> Arc<DiskTier> {
    tier_on(Arc::new(StdDisk), dir)
}

pub(super) fn tier_on(disk: Arc<dyn Disk>, dir: &std::path::Path) -> Arc<DiskTier> {
    let folder = Folder {
        disk,
        path: dir.to_owned(),
    };
    let url = "https://example.org/a \"quoted\" repo.git";
    Arc::new(DiskTier::open(runtime(), folder, HashKind::Sha1, url).expect("a folder of the test"))
}

pub(super) fn store(origin: &Arc<FakeOrigin>, disk: Option<Arc<DiskTier>>) -> ObjectStore {
    ObjectStore::new(runtime(), origin.clone(), disk, HashKind::Sha1, 64 << 20)
}

/// Methods of [`Disk`] that a disk of the tests leaves to [`StdDisk`].
macro_rules! as_std_disk {
    ($($method:ident($($name:ident: $argument:ty),*) -> $result:ty;)+) => {
        $(fn $method(&self, $($name: $argument),*) -> std::io::Result<$result> {
            $crate::seams::disk::Disk::$method(&$crate::seams::disk::StdDisk, $($name),*)
        })+
    };
}
pub(super) use as_std_disk;

/// The content of a blob that is small enough to be held whole.
pub(super) async fn blob(store: &ObjectStore, oid: &Oid) -> Result<Bytes, ObjectError> {
    match store.get(oid, ObjectKind::Blob).await? {
        Content::Whole {
            kind: ObjectKind::Blob,
            data,
        } => Ok(data),
        other => panic!("not a whole blob but a {}", other.kind()),
    }
}

/// A commit with two folders: `a` with one file, `b` with another.
pub(super) fn small_commit(origin: &FakeOrigin) -> (Oid, Oid, [Oid; 2]) {
    let one = origin.put(ObjectKind::Blob, "one");
    let two = origin.put(ObjectKind::Blob, "two");
    let a = origin.put_tree(&[("100644", "one", one)]);
    let b = origin.put_tree(&[("100644", "two", two)]);
    let root = origin.put_tree(&[("40000", "a", a), ("40000", "b", b)]);
    (origin.put_commit(root), root, [a, b])
}

/// Waits until so many requests came to the origin.
pub async fn reach_origin(origin: &FakeOrigin, count: usize) {
    while origin.requests().len() < count {
        tokio::task::yield_now().await;
    }
}

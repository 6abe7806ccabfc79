//! The objects of a local repository, through gix-odb: loose, packed, borrowed from alternates.
//! May import: gix-odb, gix-object.
//!
//! Always holds: `refs/replace` is not followed, so an object's content is always that of its
//! id; any number of threads may read at once; what `git gc` moves meanwhile is found again.

use std::{collections::HashSet, error::Error, path::PathBuf, sync::Arc};

use bonsaifs_core::sync::{Mutex, lock};
use bytes::Bytes;
use gix_hash::Prefix;
use gix_object::{Find, FindHeader, Kind};
use gix_odb::{
    HandleArc,
    store::init::{Options, Slots},
};

use crate::{
    git::oid::{HashKind, ObjectKind, Oid},
    origin::OriginError,
};

/// Handles beyond this many are not kept: each holds buffers of its own.
const MAX_IDLE: usize = 16;

/// A reader that held a larger object than this gives the memory back.
const MAX_BUFFER: usize = 16 << 20;

/// How many packs may be added before the repository has to be opened anew. An index slot takes
/// some hundred bytes.
const MIN_SLOTS: usize = 512;

pub(super) struct Store {
    source_name: String,
    hash: HashKind,
    store: Arc<gix_odb::Store>,
    /// A handle serves one thread at a time; these serve none now.
    idle: Mutex<Vec<Reader>>,
}

/// A handle with the buffer that objects are inflated into.
struct Reader {
    handle: HandleArc,
    buffer: Vec<u8>,
}

impl Store {
    /// Opens the object database in the folder `objects`.
    pub fn open(
        objects: PathBuf,
        hash: HashKind,
        source_name: String,
    ) -> Result<Self, OriginError> {
        let options = Options {
            slots: Slots::AsNeededByDiskState {
                multiplier: 1.5,
                minimum: MIN_SLOTS,
            },
            ..Options::default()
        };
        let what = format!("can't open {}", objects.display());
        let store = gix_odb::Store::at_opts(objects, hash, &mut std::iter::empty(), options)
            .map_err(|error| OriginError::Disk {
                what,
                reason: words(&error),
            })?;
        Ok(Self {
            source_name,
            hash,
            store: Arc::new(store),
            idle: Mutex::default(),
        })
    }

    /// The kind and size of an object.
    pub fn header(&self, oid: &Oid) -> Result<(ObjectKind, u64), OriginError> {
        self.read(oid, |reader| {
            let header = reader.handle.try_header(oid);
            header.map(|header| header.map(|header| (kind(header.kind), header.size)))
        })
    }

    /// An object whole. Not verified.
    pub fn object(&self, oid: &Oid) -> Result<(ObjectKind, Bytes), OriginError> {
        self.read(oid, |reader| {
            let data = reader.handle.try_find(oid, &mut reader.buffer);
            data.map(|data| data.map(|data| (kind(data.kind), Bytes::copy_from_slice(data.data))))
        })
    }

    /// The commits and tags whose ids begin with the hexadecimal digits `prefix`, in order. None
    /// for fewer than four digits, as git has it.
    pub fn named_by(&self, prefix: &str) -> Result<Vec<Oid>, OriginError> {
        let digits = self.hash.len_in_hex();
        let padded = format!("{prefix:0<digits$}");
        let Ok(padded) = Oid::from_hex(padded.as_bytes()) else {
            return Ok(Vec::new());
        };
        let Some(prefix) = (prefix.len() >= 4)
            .then(|| Prefix::new(&padded, prefix.len()).ok())
            .flatten()
        else {
            return Ok(Vec::new());
        };
        let reader = self.reader();
        // Only gathers; nothing depends on its order.
        let mut candidates = HashSet::new();
        let looked_up = reader.handle.lookup_prefix(prefix, Some(&mut candidates));
        looked_up.map_err(|error| self.failed(&prefix.to_string(), &error))?;
        self.put_back(reader);
        let mut found = Vec::new();
        for oid in candidates {
            if matches!(self.header(&oid)?.0, ObjectKind::Commit | ObjectKind::Tag) {
                found.push(oid);
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    fn read<T, E: Error>(
        &self,
        oid: &Oid,
        read: impl FnOnce(&mut Reader) -> Result<Option<T>, E>,
    ) -> Result<T, OriginError> {
        let missing = || OriginError::MissingObject {
            source_name: self.source_name.clone(),
            oid: Some(*oid),
        };
        if oid.kind() != self.hash {
            return Err(missing());
        }
        let mut reader = self.reader();
        let found = read(&mut reader);
        self.put_back(reader);
        match found {
            Ok(Some(found)) => Ok(found),
            Ok(None) => Err(missing()),
            Err(error) => Err(self.failed(&oid.to_string(), &error)),
        }
    }

    fn reader(&self) -> Reader {
        let idle = lock(&self.idle).pop();
        idle.unwrap_or_else(|| Reader {
            handle: self.store.to_cache_arc(),
            buffer: Vec::new(),
        })
    }

    fn put_back(&self, mut reader: Reader) {
        if reader.buffer.capacity() > MAX_BUFFER {
            reader.buffer = Vec::new();
        }
        let mut idle = lock(&self.idle);
        if idle.len() < MAX_IDLE {
            idle.push(reader);
        }
    }

    fn failed(&self, what: &str, error: &dyn Error) -> OriginError {
        OriginError::Disk {
            what: format!("can't read {what} from {}", self.source_name),
            reason: words(error),
        }
    }
}

fn kind(kind: Kind) -> ObjectKind {
    match kind {
        Kind::Commit => ObjectKind::Commit,
        Kind::Tree => ObjectKind::Tree,
        Kind::Blob => ObjectKind::Blob,
        Kind::Tag => ObjectKind::Tag,
    }
}

/// An error with its causes, in one line.
fn words(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}

#[cfg(test)]
mod tests {
    use std::fs;

    use bonsai_testkit::repo::{Repo, specimens};

    use super::*;

    fn open(repo: &Repo) -> Store {
        let hash = match repo.oid("main").len() {
            40 => HashKind::Sha1,
            _ => HashKind::Sha256,
        };
        Store::open(repo.git_dir().join("objects"), hash, "repo".to_owned()).expect("a store")
    }

    fn id(hex: &str) -> Oid {
        Oid::from_hex(hex.as_bytes()).expect("hex")
    }

    /// All objects of a repository, as `git cat-file` lists them.
    fn listed(repo: &Repo) -> Vec<(Oid, String, u64)> {
        let listing = repo.git(&["cat-file", "--batch-all-objects", "--batch-check"]);
        let listing = String::from_utf8(listing).expect("ASCII");
        let line = |line: &str| {
            let mut words = line.split(' ');
            let mut word = || words.next().expect("three words").to_owned();
            (id(&word()), word(), word().parse().expect("a number"))
        };
        listing.lines().map(line).collect()
    }

    #[test]
    fn every_object_however_it_is_stored() {
        for specimen in [
            specimens::plain(),
            specimens::sha256(),
            specimens::deltas(),
            specimens::ref_deltas(),
            specimens::loose(),
            specimens::many_packs(),
            specimens::alternates(),
            specimens::annotated_tag(),
        ] {
            let store = open(&specimen.repo);
            let listed = listed(&specimen.repo);
            assert!(listed.len() > 1);
            for (oid, kind, size) in listed {
                let header = store.header(&oid).expect("it is there");
                assert_eq!((header.0.as_str(), header.1), (kind.as_str(), size));
                let (found, data) = store.object(&oid).expect("it is there");
                assert_eq!((found, data.len() as u64), header);
                let hashed = crate::git::oid::object_id(oid.kind(), found, &data);
                assert_eq!(hashed, Some(oid));
            }
        }
    }

    #[test]
    fn many_threads_at_once() {
        let repo = specimens::deltas().repo;
        let (store, listed) = (open(&repo), listed(&repo));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for (oid, _, size) in &listed {
                        let (_, data) = store.object(oid).expect("it is there");
                        assert_eq!(data.len() as u64, *size);
                    }
                });
            }
        });
    }

    #[test]
    fn objects_that_git_moves_or_adds_meanwhile() {
        let specimen = specimens::loose();
        let store = open(&specimen.repo);
        let listed = listed(&specimen.repo);
        store.object(&id(&specimen.commit)).expect("it is there");
        specimen.repo.pack();
        specimen.repo.git(&["prune-packed"]);
        for (oid, ..) in listed {
            store.object(&oid).expect("it is in a pack now");
        }
        let new = id(&specimen.repo.blob(b"written just now"));
        assert_eq!(
            store.object(&new).expect("it is there").1,
            "written just now"
        );
    }

    #[test]
    fn replacements_are_not_followed() {
        let specimen = specimens::plain();
        let readme = specimen.repo.oid("main:README.md");
        let other = specimen.repo.blob(b"something else");
        specimen.repo.git(&["replace", &readme, &other]);
        let (_, data) = open(&specimen.repo).object(&id(&readme)).expect("there");
        assert_ne!(data, "something else");
    }

    #[test]
    fn what_is_missing_is_named() {
        let store = open(&specimens::plain().repo);
        for missing in ["7".repeat(40), "7".repeat(64)] {
            let missing = id(&missing);
            for error in [
                store.object(&missing).expect_err("not there"),
                store.header(&missing).expect_err("not there"),
            ] {
                assert!(
                    matches!(&error, OriginError::MissingObject { oid, .. } if *oid == Some(missing)),
                    "{error:?}"
                );
            }
        }
    }

    #[test]
    fn a_damaged_object_is_an_error_of_the_disk() {
        let repo = specimens::plain().repo;
        let oid = repo.blob(b"to be damaged");
        let path = repo
            .git_dir()
            .join("objects")
            .join(&oid[..2])
            .join(&oid[2..]);
        fs::remove_file(&path).expect("a loose object");
        fs::write(&path, b"damaged").expect("a loose object");
        let error = open(&repo).object(&id(&oid)).expect_err("damaged");
        assert!(matches!(error, OriginError::Disk { .. }), "{error:?}");
        assert!(error.to_string().contains(&oid), "{error}");
    }

    #[test]
    fn short_ids_name_commits_and_tags_only() {
        for specimen in [specimens::annotated_tag(), specimens::sha256()] {
            let store = open(&specimen.repo);
            for (oid, kind, _) in listed(&specimen.repo) {
                let hex = oid.to_string();
                let short = store.named_by(&hex[..12]).expect("a good store");
                let named = matches!(kind.as_str(), "commit" | "tag");
                assert_eq!(short, Vec::from_iter(named.then_some(oid)), "{kind}");
                let too_short = store.named_by(&hex[..3]).expect("a good store");
                assert!(too_short.is_empty());
            }
            for no_id in ["", "no hex", "main"] {
                let named = store.named_by(no_id).expect("a good store");
                assert!(named.is_empty(), "{no_id}");
            }
        }
    }
}

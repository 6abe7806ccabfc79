//! Bringing the content of whole subtrees because somebody asked for it (`bonsai prefetch`).
//!
//! May import: this room, objects, git. Always holds: what is here is not asked for again; one request
//! is out at a time, and what readers want goes before it; a call ends after so many files, so that whoever
//! asked can tell how far it is, or stop.

use bonsaifs_core::{
    fs::{Listing, ListingEntry, Timestamp},
    rt::run_blocking,
};
use rustc_hash::FxHashSet;

use super::{
    provider::{Node, RepoFs},
    tree,
};
use crate::{
    git::{
        oid::{ObjectKind, Oid},
        tree::EntryMode,
    },
    objects::{Content, ObjectError},
};

/// Files that one call of [`RepoFs::bring`] looks after: about 8 MB of source code.
const FILES: usize = 2048;

/// What a call of [`RepoFs::bring`] came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Brought {
    /// Files (and symlinks) that are here now.
    pub files: u64,
    /// Objects that came for it.
    pub came: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Where to go on; `None` at the end.
    pub next: Option<Vec<Vec<u8>>>,
}

impl RepoFs {
    /// How many files (and symlinks) are at or below `node`. Trees that are not here yet are waited
    /// for.
    ///
    /// # Errors
    /// A tree that can't be had.
    pub async fn files_below(&self, node: Node) -> Result<u64, ObjectError> {
        let mut walk = Walk::new(self, node, Vec::new());
        let mut files = 0;
        while walk.next().await?.is_some() {
            files += 1;
        }
        Ok(files)
    }

    /// Makes the content of the next files at or below `node` be here, in the order of their paths:
    /// those after `after`, the names of a path below `node`, or from the beginning if that is empty.
    /// In memory and, for a source on another machine, in the cache.
    ///
    /// # Errors
    /// What can't be had, tries included. What came before it stays.
    pub async fn bring(&self, node: Node, after: Vec<Vec<u8>>) -> Result<Brought, ObjectError> {
        let mut brought = Brought::default();
        let mut walk = Walk::new(self, node, after);
        let mut wants = Vec::new();
        let mut seen = FxHashSet::default();
        while wants.len() < FILES {
            let Some(oid) = walk.next().await? else {
                break;
            };
            brought.files += 1;
            if seen.insert(oid) {
                wants.push(oid);
            }
        }
        let full = wants.len() == FILES;
        brought.next = full.then(|| walk.path());
        if !self.0.store.origin().is_local() {
            self.bring_objects(wants, &mut brought).await?;
        }
        Ok(brought)
    }

    async fn bring_objects(
        &self,
        mut wants: Vec<Oid>,
        brought: &mut Brought,
    ) -> Result<(), ObjectError> {
        let store = &self.0.store;
        loop {
            let ended = store.prefetch(wants.clone()).await;
            brought.came += ended.came.len() as u64;
            brought.bytes += ended.came.iter().map(|(_, size)| size).sum::<u64>();
            let came: FxHashSet<Oid> = ended.came.iter().map(|(oid, _)| *oid).collect();
            let asked: FxHashSet<Oid> = ended.asked.into_iter().collect();
            // What was not asked for is here, or on its way to someone: that is waited for.
            let on_its_way = wants.iter().filter(|oid| !asked.contains(*oid));
            for oid in self.missing(on_its_way.copied().collect()).await {
                store.get(&oid, ObjectKind::Blob).await?;
            }
            wants.retain(|oid| asked.contains(oid) && !came.contains(oid));
            // The first of the rest is too large for a prefetch, or the request broke off before it: it
            // is had as a reader has it, with all tries, and its failure is the answer.
            let Some(first) = wants.first().copied() else {
                return Ok(());
            };
            let size = store.get(&first, ObjectKind::Blob).await?.size();
            brought.came += 1;
            brought.bytes += size;
            wants.remove(0);
        }
    }

    /// Those of `oids` that are not here.
    async fn missing(&self, mut oids: Vec<Oid>) -> Vec<Oid> {
        let store = self.0.store.clone();
        let look = move || {
            oids.retain(|oid| !store.is_here(oid));
            oids
        };
        let missing = run_blocking(&*self.0.runtime, "look what is missing", look);
        missing.await.unwrap_or_default()
    }
}

/// Goes through the files at or below a node in the order of their paths.
struct Walk<'a> {
    fs: &'a RepoFs,
    /// The node itself, if it is a file and was not given yet.
    file: Option<Oid>,
    /// A directory to go into next.
    enter: Option<Oid>,
    /// The directories that the walk is in, and how far it is in each.
    open: Vec<(Listing<Node>, usize)>,
    /// Names of the path after which the walk begins, the next first; gone once it is passed.
    after: Vec<Vec<u8>>,
}

impl<'a> Walk<'a> {
    fn new(fs: &'a RepoFs, node: Node, mut after: Vec<Vec<u8>>) -> Self {
        after.reverse();
        let (file, enter) = match node.mode {
            EntryMode::Dir => (None, Some(node.oid)),
            EntryMode::Gitlink => (None, None),
            _ => (Some(node.oid), None),
        };
        Self {
            fs,
            file,
            enter,
            open: Vec::new(),
            after,
        }
    }

    /// The next file's object.
    async fn next(&mut self) -> Result<Option<Oid>, ObjectError> {
        if let Some(file) = self.file.take() {
            return Ok(Some(file));
        }
        loop {
            if let Some(tree) = self.enter.take() {
                let listing = self.listing(tree).await?;
                // Up to the name where the walk begins, and past it unless that is a directory.
                let mut begin = 0;
                if let Some(name) = self.after.pop() {
                    let before = |entry: &ListingEntry<'_, Node>| entry.name < &name[..];
                    begin = listing.iter().take_while(before).count();
                    let is_there = begin < listing.len() && listing.get(begin).name == name;
                    if !is_there {
                        self.after.clear();
                    } else if self.after.is_empty() {
                        begin += 1;
                    }
                }
                self.open.push((listing, begin));
            }
            let Some((listing, index)) = self.open.last_mut() else {
                return Ok(None);
            };
            if *index == listing.len() {
                self.open.pop();
                // Names below a directory that is no more are of no use.
                self.after.clear();
                continue;
            }
            let node = *listing.get(*index).node;
            *index += 1;
            match node.mode {
                EntryMode::Dir => self.enter = Some(node.oid),
                EntryMode::Gitlink => {}
                _ => {
                    self.after.clear();
                    return Ok(Some(node.oid));
                }
            }
        }
    }

    /// The names of the path of what was given last.
    fn path(&self) -> Vec<Vec<u8>> {
        let name = |(listing, index): &(Listing<Node>, usize)| listing.get(index - 1).name.to_vec();
        self.open.iter().map(name).collect()
    }

    async fn listing(&self, tree: Oid) -> Result<Listing<Node>, ObjectError> {
        let store = &self.fs.0.store;
        let malformed = |reason: String| ObjectError::Malformed {
            oid: tree,
            expected: "tree",
            reason,
        };
        let data = match store.get(&tree, ObjectKind::Tree).await? {
            Content::Whole {
                kind: ObjectKind::Tree,
                data,
            } => data,
            other => return Err(malformed(format!("it is a {}", other.kind()))),
        };
        let hash = store.hash();
        let list = move || tree::list(&data, hash, |_| (0, Timestamp::default()), |_| None);
        match run_blocking(&*self.fs.0.runtime, "list tree to bring", list).await {
            Some(Ok(listed)) => Ok(listed.listing),
            Some(Err(error)) => Err(malformed(error.to_string())),
            None => Err(ObjectError::GivenUp { oid: tree }),
        }
    }
}

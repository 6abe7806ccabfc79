//! The truth: repositories in memory, made from a seed. One model for the server that serves them and
//! for the properties that judge what came out at the other end.
//!
//! Always holds: objects are encoded here, by hand, and hashed; nothing of the product's parsers has
//! a part in what counts as true.

pub mod encode;
mod generate;

use std::{collections::BTreeMap, rc::Rc};

use bonsaifs::git::oid::{ObjectKind, Oid};
use bytes::Bytes;

pub use generate::RepoPlan;

/// A repository at one moment: objects, and what refs point to.
#[derive(Default)]
pub struct Repo {
    /// Every object that was ever in it.
    pub objects: BTreeMap<Oid, (ObjectKind, Bytes)>,
    /// What refs point to now: full names.
    pub refs: BTreeMap<String, Oid>,
    /// The branch that HEAD means.
    pub head: String,
    /// Commits by id.
    pub commits: BTreeMap<Oid, Commit>,
    /// Commits of each branch that are still to be pushed, next one last.
    pub to_come: BTreeMap<String, Vec<Oid>>,
}

/// A commit's tree, as a reader should see it.
pub struct Commit {
    /// Seconds since the Unix epoch.
    pub time: i64,
    /// All that is in it, by path, parents before children, the root first with an empty path.
    pub entries: Vec<Entry>,
    by_path: BTreeMap<Vec<u8>, usize>,
}

/// One place in a commit's tree.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Joined by slashes.
    pub path: Vec<u8>,
    /// The object behind it; for a submodule the commit that isn't here.
    pub oid: Oid,
    pub what: What,
}

/// What stands at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A directory, with its names in the order of bytes.
    Dir(Rc<[Vec<u8>]>),
    /// A file.
    File { data: Bytes, executable: bool },
    /// A symlink.
    Link(Bytes),
    /// A submodule: an empty directory.
    Submodule,
}

impl Commit {
    fn new(time: i64, entries: Vec<Entry>) -> Self {
        let by_path = entries
            .iter()
            .enumerate()
            .map(|(index, entry)| (entry.path.clone(), index))
            .collect();
        Self {
            time,
            entries,
            by_path,
        }
    }

    /// What stands at `path`, if anything does.
    pub fn at(&self, path: &[u8]) -> Option<&Entry> {
        self.by_path.get(path).map(|index| &self.entries[*index])
    }
}

/// The same place with the same in it: an object's id says what is in it, but not how it is shown.
impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        let executable = |what: &What| {
            matches!(
                what,
                What::File {
                    executable: true,
                    ..
                }
            )
        };
        (self.oid, &self.path) == (other.oid, &other.path)
            && std::mem::discriminant(&self.what) == std::mem::discriminant(&other.what)
            && executable(&self.what) == executable(&other.what)
    }
}

impl Entry {
    /// True for all that `stat` shows as a directory.
    pub fn is_dir(&self) -> bool {
        matches!(self.what, What::Dir(_) | What::Submodule)
    }

    /// The size that `stat` shows.
    pub fn size(&self) -> u64 {
        match &self.what {
            What::Dir(_) | What::Submodule => 0,
            What::File { data, .. } => data.len() as u64,
            What::Link(target) => target.len() as u64,
        }
    }

    /// The names in it, for a directory.
    pub fn names(&self) -> &[Vec<u8>] {
        match &self.what {
            What::Dir(names) => names,
            _ => &[],
        }
    }
}

impl Repo {
    /// Moves a branch to its next commit, if there is one; where it points now.
    pub fn push(&mut self, branch: &str) -> Option<Oid> {
        let next = self.to_come.get_mut(branch)?.pop()?;
        self.refs.insert(branch.to_owned(), next);
        Some(next)
    }

    /// The commit behind a ref's target, through tags.
    pub fn peel(&self, oid: &Oid) -> Oid {
        match self.objects.get(oid) {
            Some((ObjectKind::Tag, data)) => {
                let hex = &data["object ".len()..][..oid.kind().len_in_hex()];
                let target = Oid::from_hex(hex).expect("made by this model");
                self.peel(&target)
            }
            _ => *oid,
        }
    }
}

/// `dir` and a name in it, as one path.
pub fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    match dir {
        b"" => name.to_owned(),
        _ => [dir, b"/", name].concat(),
    }
}

/// Where a path lies and its last name; `None` for the root.
pub fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.is_empty() {
        return None;
    }
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => Some((&path[..at], &path[at + 1..])),
        None => Some((b"", path)),
    }
}

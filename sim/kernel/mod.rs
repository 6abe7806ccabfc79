//! The kernel's side of one mount: which inodes it knows, how often it looked each one up, which names
//! it has cached.
//!
//! Always holds: it asks only for what it knows, holds what it uses, and gives back exactly what it
//! counted. A name that it was told to drop leads nowhere; what stood there stays known as long as it is
//! used, and what it is does not change.

pub mod ask;
mod dirs;
pub mod front;
pub mod program;
mod refresh;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use bonsaifs_core::fs::{Dropped, Ino};

use crate::repo::{Entry, join, split};

/// The kernel's tables for one mount. A clone is another handle to the same.
#[derive(Clone)]
pub struct Kernel(Rc<RefCell<Tables>>);

struct Tables {
    inodes: BTreeMap<u64, Inode>,
    /// Cached names.
    names: BTreeMap<(u64, Vec<u8>), u64>,
    /// Names that are known not to be there.
    absent: BTreeSet<(u64, Vec<u8>)>,
}

struct Inode {
    path: Vec<u8>,
    /// Where it was found; the root is its own.
    parent: u64,
    /// What stood there when it was counted last, and how many commits had been shown before.
    entry: Option<(Entry, usize)>,
    /// How often a reply named it; what a forget gives back.
    lookups: u64,
    /// Operations and open files on it.
    users: u64,
    /// Known inodes below it: the kernel's dentries pin their parents.
    children: u64,
}

/// An inode in use: as long as this lives the kernel does not forget it.
pub struct Held {
    kernel: Kernel,
    ino: Ino,
}

impl Held {
    pub fn ino(&self) -> Ino {
        self.ino
    }

    pub fn path(&self) -> Vec<u8> {
        self.kernel.0.borrow().inodes[&self.ino.0].path.clone()
    }
}

impl Clone for Held {
    fn clone(&self) -> Self {
        self.kernel.hold(self.ino)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // When a world ends in the middle, tables may be gone before what they count.
        if let Ok(mut tables) = self.kernel.0.try_borrow_mut()
            && let Some(inode) = tables.inodes.get_mut(&self.ino.0)
        {
            inode.users -= 1;
        }
    }
}

impl Kernel {
    /// A kernel that knows the root only.
    pub fn new() -> Self {
        let root = Inode {
            path: Vec::new(),
            parent: Ino::ROOT.0,
            entry: None,
            lookups: 1,
            users: 1,
            children: 0,
        };
        Self(Rc::new(RefCell::new(Tables {
            inodes: BTreeMap::from([(Ino::ROOT.0, root)]),
            names: BTreeMap::new(),
            absent: BTreeSet::new(),
        })))
    }

    pub fn hold(&self, ino: Ino) -> Held {
        let mut tables = self.0.borrow_mut();
        tables
            .inodes
            .get_mut(&ino.0)
            .expect("only what is known is held")
            .users += 1;
        Held {
            kernel: self.clone(),
            ino,
        }
    }

    /// The number that is cached for a name.
    pub fn child(&self, dir: Ino, name: &[u8]) -> Option<Ino> {
        let tables = self.0.borrow();
        tables
            .names
            .get(&(dir.0, name.to_owned()))
            .copied()
            .map(Ino)
    }

    /// The number that is cached for a path.
    pub fn cached(&self, path: &[u8]) -> Option<Ino> {
        match split(path) {
            None => Some(Ino::ROOT),
            Some((dir, name)) => self.child(self.cached(dir)?, name),
        }
    }

    /// Whether names lead from the root to `ino`.
    pub fn is_attached(&self, ino: Ino) -> bool {
        self.path_of(ino)
            .is_some_and(|path| self.cached(&path) == Some(ino))
    }

    /// The path that a number stands for, or stood for.
    pub fn path_of(&self, ino: Ino) -> Option<Vec<u8>> {
        let tables = self.0.borrow();
        tables.inodes.get(&ino.0).map(|inode| inode.path.clone())
    }

    /// What a number stands for, and how many commits had been shown when that was told last.
    pub fn entry(&self, ino: Ino) -> Option<(Entry, usize)> {
        self.0.borrow().inodes.get(&ino.0)?.entry.clone()
    }

    /// What was told of all that is known by a name that leads there; as [`Kernel::entry`].
    pub fn all_attached(&self) -> Vec<(Entry, usize)> {
        let known: Vec<u64> = self.0.borrow().inodes.keys().copied().collect();
        let attached = known
            .into_iter()
            .map(Ino)
            .filter(|ino| self.is_attached(*ino));
        attached.filter_map(|ino| self.entry(ino)).collect()
    }

    /// A reply named `ino` for `name` in `dir`, where `entry` stands: counted.
    pub fn counted(&self, dir: Ino, name: &[u8], ino: Ino, entry: Option<(Entry, usize)>) {
        let mut tables = self.0.borrow_mut();
        let place = (dir.0, name.to_owned());
        tables.absent.remove(&place);
        tables.names.insert(place, ino.0);
        let path = join(&tables.inodes[&dir.0].path, name);
        let before = tables.inodes.get_mut(&ino.0).map(|inode| {
            inode.lookups += 1;
            inode.entry = entry.clone();
            std::mem::replace(&mut inode.parent, dir.0)
        });
        if before.is_none() {
            let inode = Inode {
                path,
                parent: dir.0,
                entry,
                lookups: 1,
                users: 0,
                children: 0,
            };
            tables.inodes.insert(ino.0, inode);
        }
        if before != Some(dir.0) {
            tables.pin(dir.0, 1);
            if let Some(before) = before {
                tables.pin(before, -1);
            }
        }
    }

    /// Drops what it is told to.
    pub fn drop_cached(&self, dropped: &Dropped) {
        if let Dropped::Name { parent, name } = dropped {
            let mut tables = self.0.borrow_mut();
            let place = (parent.0, name.clone());
            tables.names.remove(&place);
            tables.absent.remove(&place);
        }
    }

    /// A reply said that `dir` has no such name: that is kept as long as the directory is known.
    pub fn not_found(&self, dir: Ino, name: &[u8]) {
        let mut tables = self.0.borrow_mut();
        tables.absent.insert((dir.0, name.to_owned()));
    }

    /// Paths that are known not to be there.
    pub fn all_absent(&self) -> Vec<Vec<u8>> {
        let absent: Vec<_> = self.0.borrow().absent.iter().cloned().collect();
        let in_reach = absent.into_iter().filter_map(|(dir, name)| {
            let path = self.path_of(Ino(dir))?;
            self.is_attached(Ino(dir)).then(|| join(&path, &name))
        });
        in_reach.collect()
    }

    /// Drops up to `n` inodes that nobody uses, `pick` says which; what to tell the mount.
    pub fn forget(&self, n: usize, pick: u64) -> Vec<(Ino, u64, Vec<u8>)> {
        let mut tables = self.0.borrow_mut();
        let mut forgotten = Vec::new();
        for round in 0..n as u64 {
            let idle: Vec<u64> = tables
                .inodes
                .iter()
                .filter(|(_, inode)| inode.users == 0 && inode.children == 0)
                .map(|(ino, _)| *ino)
                .collect();
            if idle.is_empty() {
                break;
            }
            let ino = idle[(crate::rng::mix(pick + round) % idle.len() as u64) as usize];
            let inode = tables.inodes.remove(&ino).expect("it was just found");
            let name = split(&inode.path).map_or(&b""[..], |(_, name)| name);
            let name = (inode.parent, name.to_owned());
            if tables.names.get(&name) == Some(&ino) {
                tables.names.remove(&name);
            }
            tables.absent.retain(|(dir, _)| *dir != ino);
            tables.pin(inode.parent, -1);
            forgotten.push((Ino(ino), inode.lookups, inode.path));
        }
        forgotten
    }

    /// Inodes known, the root among them.
    pub fn len(&self) -> usize {
        self.0.borrow().inodes.len()
    }
}

impl Tables {
    fn pin(&mut self, dir: u64, by: i64) {
        if let Some(inode) = self.inodes.get_mut(&dir) {
            inode.children = inode.children.saturating_add_signed(by);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_or_has_children_is_not_forgotten() {
        let kernel = Kernel::new();
        kernel.counted(Ino::ROOT, b"dir", Ino(2), None);
        kernel.counted(Ino(2), b"file", Ino(3), None);
        kernel.counted(Ino(2), b"file", Ino(3), None);
        let held = kernel.hold(Ino(3));
        assert!(kernel.forget(10, 1).is_empty());
        drop(held);
        let forgotten = kernel.forget(10, 1);
        let expected = [
            (Ino(3), 2, b"dir/file".to_vec()),
            (Ino(2), 1, b"dir".to_vec()),
        ];
        assert_eq!(forgotten, expected);
        assert_eq!((kernel.len(), kernel.cached(b"dir")), (1, None));
    }

    #[test]
    fn a_dropped_name_leads_nowhere_and_what_stood_there_stays_known() {
        let kernel = Kernel::new();
        kernel.counted(Ino::ROOT, b"dir", Ino(2), None);
        kernel.counted(Ino(2), b"file", Ino(3), None);
        kernel.drop_cached(&Dropped::Name {
            parent: Ino::ROOT,
            name: b"dir".to_vec(),
        });
        assert_eq!(
            (kernel.cached(b"dir"), kernel.cached(b"dir/file")),
            (None, None)
        );
        assert!(!kernel.is_attached(Ino(3)));
        assert_eq!(kernel.path_of(Ino(3)).as_deref(), Some(&b"dir/file"[..]));
        kernel.counted(Ino::ROOT, b"dir", Ino(4), None);
        assert_eq!(
            (kernel.cached(b"dir"), kernel.cached(b"dir/file")),
            (Some(Ino(4)), None)
        );
        assert_eq!(kernel.forget(10, 1).len(), 3);
    }

    #[test]
    fn what_is_not_there_is_kept_until_it_comes_or_is_dropped() {
        let kernel = Kernel::new();
        for name in [b"a", b"b", b"c"] {
            kernel.not_found(Ino::ROOT, name);
        }
        kernel.counted(Ino::ROOT, b"a", Ino(2), None);
        kernel.drop_cached(&Dropped::Name {
            parent: Ino::ROOT,
            name: b"b".to_vec(),
        });
        assert_eq!(kernel.all_absent(), [b"c"]);
    }
}

//! The kernel's side of one mount: which inodes it knows, how often it looked each one up, which names
//! it has cached.
//!
//! Always holds: it asks only for what it knows, holds what it uses, and gives back exactly what it
//! counted.

pub mod ask;
mod dirs;
pub mod program;

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use bonsaifs_core::fs::Ino;

use crate::repo::split;

/// The kernel's tables for one mount. A clone is another handle to the same.
#[derive(Clone)]
pub struct Kernel(Rc<RefCell<Tables>>);

struct Tables {
    inodes: BTreeMap<u64, Inode>,
    by_path: BTreeMap<Vec<u8>, u64>,
}

struct Inode {
    path: Vec<u8>,
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
            lookups: 1,
            users: 1,
            children: 0,
        };
        Self(Rc::new(RefCell::new(Tables {
            inodes: BTreeMap::from([(Ino::ROOT.0, root)]),
            by_path: BTreeMap::from([(Vec::new(), Ino::ROOT.0)]),
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

    /// The number that is cached for a path.
    pub fn cached(&self, path: &[u8]) -> Option<Ino> {
        self.0.borrow().by_path.get(path).map(|ino| Ino(*ino))
    }

    /// The path that a number stands for.
    pub fn path_of(&self, ino: Ino) -> Option<Vec<u8>> {
        self.0
            .borrow()
            .inodes
            .get(&ino.0)
            .map(|inode| inode.path.clone())
    }

    /// A reply named `ino` for `path`: counted.
    pub fn counted(&self, path: &[u8], ino: Ino) {
        let mut tables = self.0.borrow_mut();
        if let Some(inode) = tables.inodes.get_mut(&ino.0) {
            inode.lookups += 1;
            return;
        }
        let inode = Inode {
            path: path.to_owned(),
            lookups: 1,
            users: 0,
            children: 0,
        };
        tables.inodes.insert(ino.0, inode);
        tables.by_path.insert(path.to_owned(), ino.0);
        tables.pin_parent(path, 1);
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
            tables.by_path.remove(&inode.path);
            tables.pin_parent(&inode.path, -1);
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
    fn pin_parent(&mut self, path: &[u8], by: i64) {
        let parent = split(path).and_then(|(dir, _)| self.by_path.get(dir).copied());
        if let Some(inode) = parent.and_then(|ino| self.inodes.get_mut(&ino)) {
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
        kernel.counted(b"dir", Ino(2));
        kernel.counted(b"dir/file", Ino(3));
        kernel.counted(b"dir/file", Ino(3));
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
}

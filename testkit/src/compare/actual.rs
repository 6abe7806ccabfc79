//! Reads a directory tree with plain system calls. May import: this room's values, rustix.

use std::{
    fs::File,
    io::{self, Read},
    os::fd::OwnedFd,
    path::Path,
    rc::Rc,
};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, readlinkat, statat};

use super::{Difference, Node, Tree, lossy};

/// In which order the entries of each directory are visited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// By name.
    Sorted,
    /// By name, from the last.
    Reversed,
    /// Shuffled; the same number gives the same order.
    Shuffled(u64),
}

/// Everything below `dir`. Nothing is followed, nothing is skipped; what fails or contradicts
/// itself is an oddity of the result:
///
/// - `readdir` gives `.` and `..` and every name exactly once, with the kind and the inode number
///   that `lstat` gives;
/// - everyone may read, all or none may execute, and no other bits are set;
/// - a file is read to its end, and the end is where `lstat` said.
pub fn read_tree(dir: &Path, order: Order) -> Tree {
    let mut reader = Reader {
        tree: Tree::default(),
        order,
    };
    match File::open(dir) {
        Ok(root) => reader.read_from(root.into()),
        Err(error) => reader.odd(b"", format!("open: {error}")),
    }
    reader.tree
}

struct Reader {
    tree: Tree,
    order: Order,
}

/// A directory still to be read: opened below its parent, so that a path may be longer than
/// `PATH_MAX`.
struct Pending {
    parent: Rc<OwnedFd>,
    name: Vec<u8>,
    path: Vec<u8>,
}

impl Reader {
    fn read_from(&mut self, root: OwnedFd) {
        let mut pending = Vec::new();
        self.read_dir(root, &[], &mut pending);
        while let Some(next) = pending.pop() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match openat(&*next.parent, next.name.as_slice(), flags, Mode::empty()) {
                Ok(fd) => self.read_dir(fd, &next.path, &mut pending),
                Err(error) => self.odd(&next.path, format!("open directory: {error}")),
            }
        }
    }

    fn read_dir(&mut self, fd: OwnedFd, path: &[u8], pending: &mut Vec<Pending>) {
        let fd = Rc::new(fd);
        for (name, kind, ino) in self.entries(&fd, path) {
            let mut child = path.to_vec();
            if !child.is_empty() {
                child.push(b'/');
            }
            child.extend_from_slice(&name);
            let stat = match statat(&*fd, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(error) => {
                    self.odd(&child, format!("lstat: {error}"));
                    continue;
                }
            };
            let type_by_stat = FileType::from_raw_mode(stat.st_mode);
            if kind != type_by_stat {
                let what = format!("readdir says {kind:?}, lstat {type_by_stat:?}");
                self.odd(&child, what);
            }
            if ino != stat.st_ino {
                let what = format!("readdir says inode {ino}, lstat {}", stat.st_ino);
                self.odd(&child, what);
            }
            let node = match type_by_stat {
                FileType::Directory => {
                    self.check_permissions(&child, stat.st_mode, Some(true));
                    pending.push(Pending {
                        parent: Rc::clone(&fd),
                        name,
                        path: child.clone(),
                    });
                    Ok(Node::Dir)
                }
                FileType::Symlink => readlinkat(&*fd, name.as_slice(), Vec::new())
                    .map(|target| Node::Symlink(target.into_bytes()))
                    .map_err(io::Error::from),
                FileType::RegularFile => {
                    let executable = self.check_permissions(&child, stat.st_mode, None);
                    read_file(&fd, &name).map(|data| Node::File {
                        executable,
                        size: u64::try_from(stat.st_size).unwrap_or(u64::MAX),
                        data,
                    })
                }
                other => Err(io::Error::other(format!("is a {other:?}"))),
            };
            match node {
                Ok(node) => {
                    self.tree.nodes.insert(child, node);
                }
                Err(error) => self.odd(&child, format!("read: {error}")),
            }
        }
    }

    /// The entries of a directory in this reader's order, with kind and inode number, without
    /// `.` and `..`.
    fn entries(&mut self, fd: &OwnedFd, path: &[u8]) -> Vec<(Vec<u8>, FileType, u64)> {
        let mut entries = Vec::new();
        let dir = match Dir::read_from(fd) {
            Ok(dir) => dir,
            Err(error) => {
                self.odd(path, format!("readdir: {error}"));
                return entries;
            }
        };
        for entry in dir {
            match entry {
                Ok(entry) => entries.push((
                    entry.file_name().to_bytes().to_vec(),
                    entry.file_type(),
                    entry.ino(),
                )),
                Err(error) => {
                    self.odd(path, format!("readdir: {error}"));
                    break;
                }
            }
        }
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        for twice in entries.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
            let what = format!("readdir gives {:?} twice", lossy(&twice[0].0));
            self.odd(path, what);
        }
        entries.dedup_by(|a, b| a.0 == b.0);
        for dots in [b".".as_slice(), b".."] {
            match entries.iter().position(|(name, ..)| name == dots) {
                Some(index) => drop(entries.remove(index)),
                None => self.odd(path, format!("readdir leaves out {:?}", lossy(dots))),
            }
        }
        match self.order {
            Order::Sorted => {}
            Order::Reversed => entries.reverse(),
            Order::Shuffled(seed) => shuffle(&mut entries, seed),
        }
        entries
    }

    /// The executable bit. `expected` is what it must be, where that is known.
    fn check_permissions(&mut self, path: &[u8], mode: u32, expected: Option<bool>) -> bool {
        let executable = mode & 0o111 == 0o111;
        let regular = mode & 0o444 == 0o444 && mode & 0o7000 == 0;
        let all_or_none = executable || mode & 0o111 == 0;
        if !regular || !all_or_none || expected.is_some_and(|wanted| wanted != executable) {
            self.odd(path, format!("permissions {:o}", mode & 0o7777));
        }
        executable
    }

    fn odd(&mut self, path: &[u8], what: String) {
        self.tree.oddities.push(Difference::Odd {
            path: path.to_vec(),
            what,
        });
    }
}

fn read_file(dir: &OwnedFd, name: &[u8]) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(openat(dir, name, flags, Mode::empty())?);
    let mut data = Vec::new();
    file.read_to_end(&mut data)?;
    Ok(data)
}

/// Fisher and Yates, over numbers from a multiplicative generator (Knuth's MMIX constants).
fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut state = seed;
    for last in (1..items.len()).rev() {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let bound = u64::try_from(last + 1).expect("a length fits 64 bits");
        let other = usize::try_from((state >> 33) % bound).expect("below a length");
        items.swap(last, other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shuffle_keeps_everything_and_depends_on_the_seed_only() {
        let shuffled = |seed| {
            let mut items: Vec<u32> = (0..50).collect();
            shuffle(&mut items, seed);
            items
        };
        assert_eq!(shuffled(2), shuffled(2));
        assert_ne!(shuffled(2), shuffled(3));
        let mut sorted = shuffled(2);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..50).collect::<Vec<_>>());
    }
}

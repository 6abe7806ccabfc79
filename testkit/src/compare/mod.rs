//! What a commit's tree must look like, what a directory looks like, and how the two differ.
//! May import: repo.
//!
//! Always holds: what is expected comes from `git`, what is there comes from plain system calls,
//! and neither goes through the product.

mod actual;
mod archive;
mod expected;

use std::{collections::BTreeMap, fmt, path::Path, sync::Barrier, thread};

pub use actual::{Order, read_tree};
pub use archive::archived;
pub use expected::committed;

/// Everything below a directory, by path (components joined by `/`, any other bytes).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// Directories, files and symlinks.
    pub nodes: BTreeMap<Vec<u8>, Node>,
    /// Where the directory contradicted itself while it was read; a tree from Git has none.
    pub oddities: Vec<Difference>,
}

/// What a path is.
#[derive(Clone, PartialEq, Eq)]
pub enum Node {
    /// A directory (or a gitlink, which a checkout shows as an empty one).
    Dir,
    /// A regular file.
    File {
        /// True if any may execute it.
        executable: bool,
        /// What `lstat` says, before the content is read.
        size: u64,
        /// The content.
        data: Vec<u8>,
    },
    /// A symlink with its target.
    Symlink(Vec<u8>),
}

impl Node {
    /// A regular file whose size is that of its content.
    pub fn file(executable: bool, data: impl Into<Vec<u8>>) -> Self {
        let data = data.into();
        Self::File {
            executable,
            size: u64::try_from(data.len()).expect("a length fits 64 bits"),
            data,
        }
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dir => write!(f, "a directory"),
            Self::File {
                executable: true,
                size,
                ..
            } => write!(f, "an executable file of {size} bytes"),
            Self::File { size, .. } => write!(f, "a file of {size} bytes"),
            Self::Symlink(target) => write!(f, "a symlink to {:?}", lossy(target)),
        }
    }
}

/// One way in which a directory is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// A path that should be there and is not.
    Missing(Vec<u8>),
    /// A path that should not be there.
    Extra(Vec<u8>),
    /// A directory, file or symlink where another was expected.
    Kind {
        /// Where.
        path: Vec<u8>,
        /// What should be there.
        expected: Node,
        /// What is there.
        actual: Node,
    },
    /// Executable, or not, contrary to what was expected.
    Mode(Vec<u8>),
    /// Another symlink target.
    Target(Vec<u8>),
    /// `lstat` gives another size.
    Size {
        /// Where.
        path: Vec<u8>,
        /// The size it should have.
        expected: u64,
        /// The size it has.
        actual: u64,
    },
    /// Other content.
    Bytes {
        /// Where.
        path: Vec<u8>,
        /// The first byte that differs, or where the shorter one ends.
        offset: usize,
    },
    /// An operation failed, or two operations contradict each other.
    Odd {
        /// Where.
        path: Vec<u8>,
        /// What was seen.
        what: String,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(path) => write!(f, "missing: {:?}", lossy(path)),
            Self::Extra(path) => write!(f, "not expected: {:?}", lossy(path)),
            Self::Kind {
                path,
                expected,
                actual,
            } => write!(f, "{:?} is {actual:?}; expected {expected:?}", lossy(path)),
            Self::Mode(path) => write!(f, "{:?} has the wrong executable bit", lossy(path)),
            Self::Target(path) => write!(f, "{:?} has the wrong target", lossy(path)),
            Self::Size {
                path,
                expected,
                actual,
            } => write!(
                f,
                "{:?} has size {actual}; expected {expected}",
                lossy(path)
            ),
            Self::Bytes { path, offset } => {
                write!(f, "{:?} has other bytes from {offset} on", lossy(path))
            }
            Self::Odd { path, what } => write!(f, "{:?}: {what}", lossy(path)),
        }
    }
}

/// Text for people: what is not UTF-8 is replaced.
fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Every difference, by path; first where `actual` contradicted itself.
pub fn differences(expected: &Tree, actual: &Tree) -> Vec<Difference> {
    let mut found = actual.oddities.clone();
    for (path, node) in &expected.nodes {
        match actual.nodes.get(path) {
            None => found.push(Difference::Missing(path.clone())),
            Some(there) => node_differences(path, node, there, &mut found),
        }
    }
    for path in actual.nodes.keys() {
        if !expected.nodes.contains_key(path) {
            found.push(Difference::Extra(path.clone()));
        }
    }
    found
}

fn node_differences(path: &[u8], expected: &Node, actual: &Node, found: &mut Vec<Difference>) {
    let path = path.to_vec();
    match (expected, actual) {
        (Node::Dir, Node::Dir) => {}
        (Node::Symlink(wanted), Node::Symlink(target)) => {
            if wanted != target {
                found.push(Difference::Target(path));
            }
        }
        (
            Node::File {
                executable: wanted_bit,
                size: wanted_size,
                data: wanted,
            },
            Node::File {
                executable,
                size,
                data,
            },
        ) => {
            if wanted_bit != executable {
                found.push(Difference::Mode(path.clone()));
            }
            if wanted_size != size {
                found.push(Difference::Size {
                    path: path.clone(),
                    expected: *wanted_size,
                    actual: *size,
                });
            }
            if wanted != data {
                let same = wanted.iter().zip(data).take_while(|(a, b)| a == b);
                found.push(Difference::Bytes {
                    path,
                    offset: same.count(),
                });
            }
        }
        _ => found.push(Difference::Kind {
            path,
            expected: expected.clone(),
            actual: actual.clone(),
        }),
    }
}

/// Panics with the first differences if `dir`, read in `order`, is not `expected`.
pub fn assert_same(expected: &Tree, dir: &Path, order: Order) {
    let found = differences(expected, &read_tree(dir, order));
    assert!(found.is_empty(), "{}", report(dir, order, &found));
}

/// As [`assert_same`], by `readers` threads at once, each in an order of its own.
pub fn assert_same_in_parallel(expected: &Tree, dir: &Path, readers: u64) {
    let start = Barrier::new(usize::try_from(readers).expect("a handful of readers"));
    thread::scope(|scope| {
        for reader in 0..readers {
            let start = &start;
            scope.spawn(move || {
                let order = match reader {
                    0 => Order::Sorted,
                    1 => Order::Reversed,
                    seed => Order::Shuffled(seed),
                };
                start.wait();
                assert_same(expected, dir, order);
            });
        }
    });
}

fn report(dir: &Path, order: Order, found: &[Difference]) -> String {
    let mut text = format!(
        "{} differs from its commit in {} ways, read in order {order:?}:\n",
        dir.display(),
        found.len()
    );
    for difference in found.iter().take(20) {
        text.push_str(&format!("  {difference}\n"));
    }
    text
}

impl Tree {
    /// The tree without directories that have nothing but directories below them: `git archive`
    /// leaves those of Git's empty trees out.
    pub fn without_empty_dirs(&self) -> Self {
        let mut kept = BTreeMap::new();
        // From the last path to the first, so that what is below a directory comes before it.
        for (path, node) in self.nodes.iter().rev() {
            let mut below = path.clone();
            below.push(b'/');
            let has_children = kept
                .range::<Vec<u8>, _>(below.clone()..)
                .next()
                .is_some_and(|(next, _): (&Vec<u8>, &Node)| next.starts_with(&below));
            if *node != Node::Dir || has_children {
                kept.insert(path.clone(), node.clone());
            }
        }
        Self {
            nodes: kept,
            oddities: self.oddities.clone(),
        }
    }

    /// Regular files.
    pub fn files(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.nodes.iter().filter_map(|(path, node)| match node {
            Node::File { data, .. } => Some((path.as_slice(), data.as_slice())),
            _ => None,
        })
    }
}

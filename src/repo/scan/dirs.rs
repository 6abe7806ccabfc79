//! The directories that were listed, as the policy of prefetching remembers them: which is in which, and what
//! became of each.
//!
//! May import: git's ids, core's listings. No I/O.
//!
//! Always holds: no more than [`MAX_TREES`] trees are known. When another one would be too many, all are
//! forgotten but the directories that the new one is in and what stands in these, so that a walk goes on as it
//! was. A directory that was forgotten says nothing any more until it is listed again; its number is never
//! given to another one.

use bonsaifs_core::fs::Listing;
use rustc_hash::FxHashMap;

use crate::{
    git::{oid::Oid, tree::EntryMode},
    objects::choose,
    repo::provider::Node,
};

/// How many trees may be known, listed or seen in another one's listing: a hundred bytes each, so 26 MiB.
/// Fewer in the simulation, whose repositories are small.
pub(super) const MAX_TREES: usize = choose(1 << 18, 24) as usize;
/// What stands for no number and no index below.
const NONE: u32 = u32::MAX;

/// An entry of a directory that was listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::repo) struct Place {
    /// The directory's number.
    pub dir: u64,
    /// The entry's place in its listing.
    pub index: u32,
}

/// A directory whose listing was seen.
#[derive(Clone, Copy)]
pub(super) struct Dir {
    /// Its tree.
    pub tree: Oid,
    /// Its files and links.
    pub blobs: u32,
    /// The last few entries that were read.
    pub recent: [u32; 4],
    /// Whether its entries were read one after the other.
    pub entered: bool,
}

/// What is remembered of a tree once it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// A scan of it was noticed, and a step for its files made.
    Widened = 1,
    /// Its files were asked for, or stand ready to be.
    Asked = 2,
    /// It is, or was, to be walked as a whole.
    Walked = 4,
}

/// A tree that was listed, or stands in a listing.
#[derive(Clone, Copy)]
struct Tree {
    /// Its place in `dirs`, or [`NONE`].
    dir: u32,
    /// The place in `dirs` of the directory that it stands in (the last one seen of several), or [`NONE`].
    up: u32,
    /// Where in that.
    index: u32,
    /// Each [`Mark`] a bit.
    marks: u8,
}

impl Tree {
    const UNKNOWN: Self = Self {
        dir: NONE,
        up: NONE,
        index: NONE,
        marks: 0,
    };
}

/// The directories.
#[derive(Default)]
pub(super) struct Dirs {
    dirs: Vec<Dir>,
    /// By the beginning of the tree's id, which is enough for a policy.
    trees: FxHashMap<u64, Tree>,
    /// The number of `dirs[0]`.
    first: u64,
}

impl Dirs {
    /// Notes a directory's listing; its number.
    pub fn listed(&mut self, tree: Oid, listing: &Listing<Node>) -> u64 {
        if let Some(number) = self.number(&tree) {
            return number;
        }
        let is_dir = |node: &Node| node.mode == EntryMode::Dir;
        let below = listing.iter().filter(|entry| is_dir(entry.node)).count();
        if self.trees.len() + below + 1 > MAX_TREES {
            self.start_over(&tree);
        }
        let dir = self.push(tree);
        let mut blobs = 0;
        for (index, entry) in (0..).zip(listing.iter()) {
            match entry.node.mode {
                EntryMode::Dir => {
                    if let Some(known) = self.tree_mut(&entry.node.oid) {
                        (known.up, known.index) = (dir, index);
                    }
                }
                EntryMode::Gitlink => {}
                _ => blobs += 1,
            }
        }
        self.dirs[dir as usize].blobs = blobs;
        self.first + u64::from(dir)
    }

    fn push(&mut self, tree: Oid) -> u32 {
        let dir = u32::try_from(self.dirs.len()).expect("no more than there are trees");
        self.dirs.push(Dir {
            tree,
            blobs: 0,
            recent: [NONE; 4],
            entered: false,
        });
        self.trees.entry(key(&tree)).or_insert(Tree::UNKNOWN).dir = dir;
        dir
    }

    /// The directory with this number, unless it was forgotten.
    pub fn get(&self, number: u64) -> Option<&Dir> {
        self.dirs.get(self.place(number)?)
    }

    /// [`Dirs::get`], to change it.
    pub fn get_mut(&mut self, number: u64) -> Option<&mut Dir> {
        let place = self.place(number)?;
        self.dirs.get_mut(place)
    }

    fn place(&self, number: u64) -> Option<usize> {
        usize::try_from(number.checked_sub(self.first)?).ok()
    }

    /// The number of the directory with this tree, if it was listed.
    pub fn number(&self, tree: &Oid) -> Option<u64> {
        let known = self.trees.get(&key(tree))?;
        (known.dir != NONE).then(|| self.first + u64::from(known.dir))
    }

    /// Marks a tree. False if it was marked so already. A tree for which there is no room is not remembered.
    pub fn mark(&mut self, tree: &Oid, mark: Mark) -> bool {
        let Some(known) = self.tree_mut(tree) else {
            return true;
        };
        let before = known.marks;
        known.marks |= mark as u8;
        before != known.marks
    }

    /// Takes a mark off a tree.
    pub fn unmark(&mut self, tree: &Oid, mark: Mark) {
        if let Some(known) = self.trees.get_mut(&key(tree)) {
            known.marks &= !(mark as u8);
        }
    }

    fn tree_mut(&mut self, tree: &Oid) -> Option<&mut Tree> {
        let has_room = self.trees.len() < MAX_TREES;
        match self.trees.entry(key(tree)) {
            std::collections::hash_map::Entry::Occupied(known) => Some(known.into_mut()),
            std::collections::hash_map::Entry::Vacant(room) => {
                has_room.then(|| room.insert(Tree::UNKNOWN))
            }
        }
    }

    /// The trees of a directory and of all those it is in, each with the place of the one below; none for
    /// the first. Empty if the directory was forgotten.
    pub fn way_up(&self, number: u64) -> Vec<(Oid, Option<u32>)> {
        let Some(dir) = self.get(number) else {
            return Vec::new();
        };
        let mut way = vec![(dir.tree, None)];
        way.extend(self.above(&dir.tree));
        way
    }

    /// The trees that a tree is in, innermost first, each with the place of the one below.
    fn above(&self, tree: &Oid) -> impl Iterator<Item = (Oid, Option<u32>)> {
        /// With the tree itself 512: deeper than any honest tree, and an end for one that is in itself.
        const DEPTH: usize = 511;
        let up = move |tree: &Oid| {
            let known = self.trees.get(&key(tree))?;
            Some((self.dirs.get(known.up as usize)?.tree, Some(known.index)))
        };
        std::iter::successors(up(tree), move |(tree, _)| up(tree)).take(DEPTH)
    }

    /// Forgets all but the directories that `tree` is in, and what stands in these.
    fn start_over(&mut self, tree: &Oid) {
        let mut kept: FxHashMap<u32, u32> = FxHashMap::default();
        let mut dirs = Vec::new();
        for (above, _) in self.above(tree) {
            let Some(old) = self.trees.get(&key(&above)).map(|known| known.dir) else {
                break;
            };
            kept.entry(old).or_insert_with(|| {
                dirs.push(self.dirs[old as usize]);
                dirs.len() as u32 - 1
            });
        }
        self.trees.retain(|_, known| {
            known.dir = kept.get(&known.dir).copied().unwrap_or(NONE);
            known.up = kept.get(&known.up).copied().unwrap_or(NONE);
            known.dir != NONE || known.up != NONE
        });
        // Such directories are so large that keeping them would soon lead here again.
        if self.trees.len() > MAX_TREES / 2 {
            self.trees.clear();
            dirs.clear();
        }
        self.trees.shrink_to_fit();
        self.first += self.dirs.len() as u64;
        self.dirs = dirs;
    }
}

/// The first eight bytes of an id.
fn key(oid: &Oid) -> u64 {
    let first = oid.as_slice().first_chunk().expect("ids have 20 or 32");
    u64::from_le_bytes(*first)
}

#[cfg(test)]
#[path = "dirs_tests.rs"]
mod tests;

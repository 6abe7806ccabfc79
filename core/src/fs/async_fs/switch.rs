//! From one tree to another, for a provider whose root moves.
//!
//! Always holds: an answer that began after [`AsyncFs::switch`] returned is of the new tree. One
//! that was under way is made again before it counts anything, so that what the kernel was told of
//! the old tree, it was told before the switch ended: then it can be told to drop it, and nothing
//! old comes after that.

use super::AsyncFs;
use crate::{
    fs::{Attr, Dropped, FsErrorKind, FsResult, Ino, Kind, Listing, Provider, inodes::DirChange},
    sync::Arc,
};

/// The way to another tree, worked out and ready to go.
pub struct Switch<N> {
    root: N,
    attr: Attr,
    from: N,
    changes: Vec<DirChange<N>>,
}

impl<P: Provider> AsyncFs<P> {
    /// Compares the tree that is shown with the one whose root is `root`: the directories that
    /// differ, and no others, are listed, both as they are and as they will be. Nothing changes
    /// yet.
    ///
    /// A directory of which one side can't be listed counts as another one.
    ///
    /// # Errors
    /// What the provider fails to list either root with.
    pub async fn prepare_switch(&self, root: P::Node, attr: Attr) -> FsResult<Switch<P::Node>> {
        let from = self.known(Ino::ROOT)?.node().clone();
        let mut changes = Vec::new();
        if from != root {
            let old = self.listing_of(&from).await?;
            let new = self.listing_of(&root).await?;
            changes.push(change(0, (0, 0), old, new));
        }
        let mut at = 0;
        while at < changes.len() {
            for (place, to) in self.differing_dirs(&changes[at]) {
                let (old, new) = {
                    let change = &changes[at];
                    (change.old.node(place).clone(), change.new.node(to).clone())
                };
                let listings = match self.listing_of(&old).await {
                    Ok(old) => self.listing_of(&new).await.map(|new| (old, new)),
                    Err(error) => Err(error),
                };
                match listings {
                    Ok((old, new)) => changes.push(change(at, (place, to), old, new)),
                    Err(_) => {
                        // Not the same directory any more, then; whoever looks sees the error.
                        changes[at].moves[place] = None;
                    }
                }
            }
            at += 1;
        }
        Ok(Switch {
            root,
            attr,
            from,
            changes,
        })
    }

    /// Shows the tree that `switch` leads to, and tells what the kernel is to drop. It must be told
    /// before anyone is told that the switch is done. What is open stays what it is.
    ///
    /// # Errors
    /// `Stale` if another switch came first.
    pub fn switch(&self, switch: Switch<P::Node>) -> FsResult<Vec<Dropped>> {
        if *self.known(Ino::ROOT)?.node() != switch.from {
            return Err(FsErrorKind::Stale.into());
        }
        if switch.is_empty() {
            // Answers under way and open directories are of this very tree.
            return Ok(Vec::new());
        }
        Ok(self
            .inodes
            .switch(switch.root, switch.attr, &switch.changes))
    }

    /// Where the directories are that are in both listings, and differ.
    fn differing_dirs(&self, change: &DirChange<P::Node>) -> Vec<(usize, usize)> {
        let pairs = change.moves.iter().enumerate();
        let pairs = pairs.filter_map(|(place, to)| Some((place, (*to)?)));
        pairs
            .filter(|(place, to)| change.old.node(*place) != change.new.node(*to))
            .collect()
    }
}

impl<N> Switch<N> {
    /// True if both trees are the same.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

/// Compares two listings of a directory. Sizes that are known stay known.
fn change<N: Eq>(
    parent: usize,
    place: (usize, usize),
    old: Arc<Listing<N>>,
    new: Arc<Listing<N>>,
) -> DirChange<N> {
    let mut is_old = vec![false; new.len()];
    let moves = (0..old.len()).map(|index| {
        let to = new.find(old.name(index))?;
        let same = old.node(index) == new.node(to);
        let both_dirs = old.kind(index) == Kind::Dir && new.kind(to) == Kind::Dir;
        if same && let Some(size) = old.size(index) {
            new.set_size(to, size);
        }
        let stays = old.kind(index) == new.kind(to) && (same || both_dirs);
        is_old[to] = true;
        stays.then_some(to)
    });
    let moves = moves.collect();
    let added = (0..new.len()).filter(|index| !is_old[*index]).collect();
    DirChange {
        parent,
        place,
        old,
        new,
        moves,
        added,
    }
}

//! Models of a switch to another tree against look-ups under way: once the switch has ended, what
//! the kernel was told of the old tree is either what it is told to drop, or what it gives back by
//! itself; and nobody finds anything old.

use std::sync::Arc;

use bonsai_loom_tests::{Threads, explore, thread};
use bonsaifs_core::fs::{
    Attr, Dropped, Ino, Kind, Listing, ListingBuilder, Timestamp,
    inodes::{DirChange, Inodes},
};

const ROOT: Attr = Attr {
    kind: Kind::Dir,
    perm: 0o755,
    size: 0,
    mtime: Timestamp { secs: 0, nanos: 0 },
};

/// A tree of one directory `d` with one file `x` in it.
struct Tree {
    node: u8,
    root: Arc<Listing<u8>>,
    dir: Arc<Listing<u8>>,
}

const DIR: u8 = 1;
const FILE: u8 = 2;

impl Tree {
    /// Its nodes are `node` and the two after it.
    fn new(node: u8) -> Self {
        let listing = |name: &[u8], node, kind| {
            let mut builder = ListingBuilder::new();
            builder.push(name, node, kind, 0o755, Timestamp::default(), Some(0));
            Arc::new(builder.build().0)
        };
        Self {
            node,
            root: listing(b"d", node + DIR, Kind::Dir),
            dir: listing(b"x", node + FILE, Kind::File),
        }
    }
}

const OLD: u8 = 0;
const NEW: u8 = 10;

struct World {
    trees: [Tree; 2],
    inodes: Inodes<u8>,
}

impl World {
    fn new() -> Self {
        Self {
            trees: [Tree::new(OLD), Tree::new(NEW)],
            inodes: Inodes::new(OLD, ROOT, u64::MAX),
        }
    }

    /// What a look-up of the only entry of `dir` does.
    fn look_up(&self, dir: Ino) -> Ino {
        loop {
            let epoch = self.inodes.epoch();
            let node = *self.inodes.get(dir).expect("it is counted").node();
            let tree = &self.trees[usize::from(node >= NEW)];
            let listing = if node == tree.node {
                &tree.root
            } else {
                &tree.dir
            };
            if let Some(ino) = self.inodes.remember_at(epoch, dir, listing, 0) {
                return ino;
            }
        }
    }

    fn switch(&self) -> Vec<Dropped> {
        let [old, new] = &self.trees;
        let change = |parent, old: &Arc<Listing<u8>>, new: &Arc<Listing<u8>>, to| DirChange {
            parent,
            place: (0, 0),
            old: Arc::clone(old),
            new: Arc::clone(new),
            moves: vec![to],
            added: Vec::new(),
        };
        let changes = [
            change(0, &old.root, &new.root, Some(0)),
            change(0, &old.dir, &new.dir, None),
        ];
        self.inodes.switch(NEW, ROOT, &changes)
    }

    fn node(&self, ino: Ino) -> u8 {
        *self.inodes.get(ino).expect("it is counted").node()
    }
}

fn lookups_against_a_switch(threads: Threads, others: usize) {
    explore(threads, &[], move |_| {
        let world = Arc::new(World::new());
        let lookers: Vec<_> = (0..others)
            .map(|_| {
                let world = Arc::clone(&world);
                thread::spawn(move || {
                    let dir = world.look_up(Ino::ROOT);
                    (dir, world.look_up(dir))
                })
            })
            .collect();
        let dropped = world.switch();
        // Who begins now sees the new tree only.
        let dir = world.look_up(Ino::ROOT);
        assert_eq!(world.node(dir), NEW + DIR);
        let file = world.look_up(dir);
        assert_eq!(world.node(file), NEW + FILE);
        for looker in lookers {
            let (d, x) = looker.join().expect("no panic");
            assert_eq!(d, dir, "a directory keeps its number");
            if x == file {
                world.inodes.forget(x, 1);
            } else {
                assert_eq!(world.node(x), OLD + FILE, "what is open stays what it is");
                let name = b"x".to_vec();
                let told = dropped.contains(&Dropped::Name { parent: d, name });
                assert!(told, "the kernel keeps an old answer");
                world.inodes.forget(x, 1);
            }
            world.inodes.forget(d, 1);
        }
        assert_eq!(world.node(dir), NEW + DIR);
        world.inodes.forget(file, 1);
        world.inodes.forget(dir, 1);
        assert_eq!(world.inodes.len(), 1, "an inode was left over");
    });
}

#[test]
fn of_a_lookup_against_a_switch() {
    lookups_against_a_switch(Threads::TwoLong, 1);
}

#[test]
fn of_two_lookups_against_a_switch() {
    lookups_against_a_switch(Threads::Three, 2);
}

//! Walks through directories that look at no file, and those that do.

use std::{fs, os::unix::fs::DirEntryExt, os::unix::fs::MetadataExt};

use bonsaifs::fuse::Op;

use crate::{
    mounted::{Mounted, until},
    tree::Tree,
};

const DIRS: usize = 60;
const FILES: usize = 10;

fn tree() -> Tree {
    let tree = Tree::new();
    for d in 0..DIRS {
        let dir = tree.dir(0, format!("d{d:02}"));
        for f in 0..FILES {
            tree.file(dir, format!("f{f}"), "x".repeat(f));
        }
    }
    tree
}

/// Lists all directories, in one thread. Gives the inode numbers of the files, in order.
fn walk(mount: &Mounted) -> Vec<u64> {
    let mut numbers = Vec::new();
    for d in 0..DIRS {
        let listed = fs::read_dir(mount.path(format!("d{d:02}"))).expect("listed");
        let before = numbers.len();
        for entry in listed {
            let entry = entry.expect("an entry");
            assert!(entry.file_type().expect("told").is_file());
            numbers.push(entry.ino());
        }
        assert_eq!(numbers.len() - before, FILES);
    }
    numbers
}

/// Looks at all files, whose numbers must be these.
fn look_at_all(mount: &Mounted, numbers: &[u64]) {
    for d in 0..DIRS {
        for f in 0..FILES {
            let file = mount.path(format!("d{d:02}/f{f}"));
            let found = fs::symlink_metadata(file).expect("it is there");
            assert_eq!(found.len(), f as u64);
            assert_eq!(found.ino(), numbers[d * FILES + f]);
        }
    }
}

#[test]
fn a_walk_that_looks_at_no_file_makes_the_kernel_keep_directories_only() {
    let mount = Mounted::new(&tree());
    let numbers = walk(&mount);
    // Eight directories come in full before it is tried, and the root is one of them if it was listed.
    let known = mount.fs.stats().inodes as usize;
    assert!(known <= 1 + DIRS + 8 * FILES, "{known} inodes");
    assert_eq!(walk(&mount), numbers);
    look_at_all(&mount, &numbers);
    assert_eq!(walk(&mount), numbers);
}

#[test]
fn after_such_a_walk_the_kernel_soon_gets_full_listings() {
    let mount = Mounted::new(&tree());
    let numbers = walk(&mount);
    let listed = mount.count(Op::Readdirplus);
    // Enough look-ups for the kernel to be told to drop what it has.
    for f in 0..FILES {
        for d in DIRS - 6..DIRS {
            fs::symlink_metadata(mount.path(format!("d{d:02}/f{f}"))).expect("there");
        }
    }
    until("the kernel asks for directories again", || {
        assert_eq!(walk(&mount), numbers);
        mount.count(Op::Readdirplus) > listed + (DIRS / 2) as u64
    });
    let looked = mount.count(Op::Lookup);
    look_at_all(&mount, &numbers);
    let more = mount.count(Op::Lookup) - looked;
    // This thread has been wrong once, so the sixty directories came in full.
    assert!(more <= 2 * FILES as u64, "{more} look-ups");
}

#[test]
fn a_walk_that_looks_at_files_has_their_attributes_with_the_names() {
    let mount = Mounted::new(&tree());
    for d in 0..DIRS {
        for entry in fs::read_dir(mount.path(format!("d{d:02}"))).expect("listed") {
            entry.expect("an entry").metadata().expect("it is there");
        }
    }
    // Each directory, and the files of the one that it was tried with.
    let looked = mount.count(Op::Lookup) as usize;
    assert!(looked <= DIRS + FILES, "{looked} look-ups");
}

/// With `FUSE_READDIRPLUS_AUTO` the kernel asks for the attributes of a directory's first few kilobytes, and then looks up each
/// other file: `find -uid` over large directories took four times as long.
#[test]
fn who_reads_a_large_directory_before_it_looks_has_all_attributes() {
    let tree = Tree::new();
    let dir = tree.dir(0, "d");
    for f in 0..1_000 {
        tree.file(dir, format!("f{f:03}"), "x");
    }
    let mount = Mounted::new(&tree);
    let listed = fs::read_dir(mount.path("d")).expect("listed");
    let entries: Vec<_> = listed.map(|entry| entry.expect("an entry")).collect();
    assert_eq!(entries.len(), 1_000);
    let looked = mount.count(Op::Lookup);
    for entry in entries {
        assert_eq!(entry.metadata().expect("it is there").len(), 1);
    }
    assert_eq!(mount.count(Op::Lookup), looked);
}

//! Open directories and handles.

use super::*;
use crate::fs::{DirItem, DirItemPlus, Kind, Scan, Take, Told};

fn names(fs: &AsyncFs<Tree>, scan: &Scan<u32>, offset: u64) -> Vec<Vec<u8>> {
    let mut names = Vec::new();
    fs.readdir(scan, offset, &mut |item| {
        names.push(item.name.to_vec());
        Take::More
    });
    names
}

#[test]
fn a_directory_is_read_from_any_offset_that_was_given() {
    let fs = fs(When::Soon);
    let a = look_up(&fs, "a").ino;
    let scan = run(fs.scan(a)).expect("a directory");
    assert_eq!((scan.ino(), scan.listing().len()), (a, 3));
    let mut items = Vec::new();
    fs.readdir(&scan, 0, &mut |item: DirItem<'_>| {
        items.push((item.ino, item.offset, item.kind, item.name.to_vec()));
        Take::More
    });
    let [x, y] = ["a/x", "a/y"].map(|path| look_up(&fs, path).ino);
    let deep = look_up(&fs, "a/deep").ino;
    let item = |ino, offset, kind, name: &str| (ino, offset, kind, name.as_bytes().to_vec());
    assert_eq!(
        items,
        [
            item(a, 1, Kind::Dir, "."),
            item(Ino::ROOT, 2, Kind::Dir, ".."),
            item(deep, 3, Kind::Dir, "deep"),
            item(x, 4, Kind::File, "x"),
            item(y, 5, Kind::File, "y"),
        ]
    );
    for (i, (_, offset, ..)) in items.iter().enumerate() {
        assert_eq!(names(&fs, &scan, *offset).len(), items.len() - 1 - i);
    }
    for offset in [6, 1 << 40, u64::MAX] {
        assert!(names(&fs, &scan, offset).is_empty());
    }
}

#[test]
fn the_dots_of_the_root_are_the_root() {
    let fs = fs(When::Soon);
    let scan = run(fs.scan(Ino::ROOT)).expect("a directory");
    let mut dots = Vec::new();
    fs.readdir(&scan, 0, &mut |item| {
        dots.push(item.ino);
        if dots.len() == 2 {
            Take::Full
        } else {
            Take::More
        }
    });
    assert_eq!(dots, [Ino::ROOT, Ino::ROOT]);
}

#[test]
fn readdirplus_counts_each_entry_it_gives_and_no_other() {
    let fs = fs(When::Now);
    let scan = run(fs.scan(Ino::ROOT)).expect("a directory");
    for room in 0..=7 {
        let mut taken = Vec::new();
        fs.readdirplus(&scan, 0, Told::All, &mut |item: DirItemPlus<'_>| {
            if taken.len() == room {
                return Take::Full;
            }
            if ![&b"."[..], b".."].contains(&item.name) {
                // Counted already: a forget from another thread may come at once.
                assert!(fs.try_getattr(item.ino).expect("known").is_ok());
            }
            taken.push(item.ino);
            Take::More
        });
        assert_eq!(taken.len(), room);
        let counted = room.saturating_sub(2);
        assert_eq!(fs.stats().inodes, 1 + counted as u64);
        taken.iter().skip(2).for_each(|ino| fs.forget(*ino, 1));
        assert_eq!(fs.stats().inodes, 1);
    }
}

#[test]
fn readdirplus_tells_the_attributes_of_the_dots_too() {
    let fs = fs(When::Now);
    let a = look_up(&fs, "a");
    let scan = run(fs.scan(a.ino)).expect("a directory");
    let mut dots = Vec::new();
    fs.readdirplus(&scan, 0, Told::All, &mut |item| {
        dots.push(item.attr);
        if dots.len() == 2 {
            Take::Full
        } else {
            Take::More
        }
    });
    let root = run(fs.getattr(Ino::ROOT)).expect("known");
    assert_eq!(dots, [Some(a.attr), Some(root)]);
}

/// Museum 23: one child that can't be sized does not fail its directory.
#[test]
fn readdirplus_leaves_a_size_that_is_not_at_hand_open() {
    let fs = fs(When::Soon);
    let scan = run(fs.scan(Ino::ROOT)).expect("a directory");
    let mut attrs = Vec::new();
    fs.readdirplus(&scan, 2, Told::All, &mut |item| {
        attrs.push((item.name.to_vec(), item.attr));
        Take::More
    });
    let known = |(name, node, kind): &(&str, u32, Kind)| {
        let known = *kind != Kind::File;
        (name.as_bytes().to_vec(), known.then(|| attr(*node, *kind)))
    };
    assert_eq!(attrs, entries(ROOT).iter().map(known).collect::<Vec<_>>());
    assert_eq!(fs.stats().inodes, 5, "all but the one that has none");
    assert_eq!(fs.provider().asked(Call::Size(2)), 0);
}

#[test]
fn readdirplus_tells_of_directories_only_where_that_is_enough() {
    let fs = fs(When::Now);
    let scan = run(fs.scan(Ino::ROOT)).expect("a directory");
    let mut told = Vec::new();
    fs.readdirplus(&scan, 2, Told::Dirs, &mut |item| {
        assert_eq!(item.attr.is_some(), item.kind == Kind::Dir);
        told.push((item.ino, item.kind));
        Take::More
    });
    let dirs = told.iter().filter(|(_, kind)| *kind == Kind::Dir).count();
    assert_eq!(fs.stats().inodes, 1 + dirs as u64);
    // A file has the number that it gets when it is looked up.
    assert_eq!(told[1], (look_up(&fs, "b").ino, Kind::File));
}

/// Museum 24: offsets are those of the snapshot that was opened.
#[test]
fn an_open_directory_keeps_its_snapshot_whatever_is_invalidated() {
    let fs = AsyncFs::new(
        Tree::new(When::Soon),
        Config {
            listing_budget: 0,
            ..Config::default()
        },
    );
    let scan = run(fs.scan(Ino::ROOT)).expect("a directory");
    let handle = fs.open_dir(scan);
    let before = names(&fs, &fs.dir_handle(handle).expect("open"), 0);
    fs.invalidate(&ROOT);
    assert_eq!(names(&fs, &fs.dir_handle(handle).expect("open"), 0), before);
    fs.release_dir(handle);
    fs.release_dir(handle);
    assert_eq!(failed(fs.dir_handle(handle)), FsErrorKind::Stale);
    assert!(fs.try_scan(Ino::ROOT).is_none(), "asked anew after that");
}

#[test]
fn what_is_open_stays_known_until_it_is_closed() {
    let fs = fs(When::Soon);
    let (a, b) = (look_up(&fs, "a").ino, look_up(&fs, "b").ino);
    let dir = fs.open_dir(run(fs.scan(a)).expect("a directory"));
    let file = fs.open_file(b).expect("a file");
    assert_ne!(dir, file);
    fs.forget(a, 1);
    fs.forget(b, 1);
    assert_eq!(
        (fs.file_handle(file).expect("open"), fs.stats().inodes),
        (b, 3)
    );
    // A handle of one kind is none of the other.
    assert!(fs.dir_handle(file).is_err() && fs.file_handle(dir).is_err());
    fs.release_dir(file);
    fs.release_file(dir);
    assert_eq!(fs.stats().inodes, 3);
    fs.release_dir(dir);
    fs.release_file(file);
    assert_eq!(fs.stats().inodes, 1);
    assert_eq!(failed(fs.open_file(b)), FsErrorKind::Stale);
}

/// An inode that is gone when its directory is opened is not let go twice when it is closed.
#[test]
fn closing_takes_back_only_what_opening_held() {
    let fs = fs(When::Soon);
    let a = look_up(&fs, "a").ino;
    let scan = run(fs.scan(a)).expect("a directory");
    fs.forget(a, 1);
    let not_held = fs.open_dir(scan.clone());
    look_up(&fs, "a");
    let held = fs.open_dir(scan);
    fs.forget(a, 1);
    fs.release_dir(not_held);
    assert_eq!(fs.stats().inodes, 2);
    fs.release_dir(held);
    assert_eq!(fs.stats().inodes, 1);
}

fn attributes(fs: &AsyncFs<Tree>, scan: &Scan<u32>) -> Vec<bool> {
    let mut told = Vec::new();
    fs.readdirplus(scan, 2, Told::All, &mut |item| {
        told.push(item.attr.is_some());
        Take::More
    });
    told
}

fn switched(fs: &AsyncFs<Tree>, root: u32) {
    let switch = run(fs.prepare_switch(root, attr(root, Kind::Dir))).expect("both are there");
    fs.switch(switch).expect("nobody was first");
}

/// Simulation, seed 304161: an open directory lost its attributes with each look that found nothing new.
#[test]
fn a_switch_to_the_same_tree_changes_nothing() {
    let fs = fs(When::Now);
    let scan = run(fs.scan(Ino::ROOT)).expect("a directory");
    let before = fs.inodes.epoch();
    switched(&fs, ROOT);
    assert_eq!(fs.inodes.epoch(), before);
    assert_eq!(attributes(&fs, &scan), [true; 5]);
}

/// Simulation, seed 304161: sizes that nobody was told of counted as read.
#[test]
fn a_directory_from_before_a_switch_asks_for_no_size() {
    let fs = fs(When::Now);
    let scan = run(fs.scan(Ino::ROOT)).expect("a directory");
    switched(&fs, 1);
    assert_eq!(attributes(&fs, &scan), [false; 5]);
    assert_eq!(fs.provider().asked(Call::Size(2)), 0);
    assert_eq!(fs.stats().inodes, 1);
}

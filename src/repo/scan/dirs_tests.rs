use std::collections::BTreeSet;

use super::*;
use crate::repo::scan::tests::{dir, id};

/// Lists the directory `path` with one file and `below` directories: `d0000000/` and so on.
fn list(dirs: &mut Dirs, path: &str, below: usize) -> u64 {
    let names = (0..below).map(|n| format!("d{n:07}/"));
    let names: Vec<String> = std::iter::once("a file".to_owned()).chain(names).collect();
    let (tree, listing) = dir(path, &names);
    dirs.listed(tree, &listing)
}

#[test]
fn a_directory_knows_what_it_is_in() {
    let mut dirs = Dirs::default();
    let root = list(&mut dirs, "r/", 3);
    let below = list(&mut dirs, "r/d0000002/", 1);
    assert_eq!(dirs.get(root).map(|dir| dir.blobs), Some(1));
    assert_eq!(list(&mut dirs, "r/", 3), root, "the same again");
    let way = [(id("r/d0000002/"), None), (id("r/"), Some(3))];
    assert_eq!(dirs.way_up(below), way);
    assert_eq!(dirs.number(&id("r/d0000002/")), Some(below));
    assert_eq!(dirs.number(&id("r/d0000001/")), None, "seen, not listed");
}

#[test]
fn a_mark_is_set_once_until_it_is_taken_off() {
    let mut dirs = Dirs::default();
    let tree = id("r/");
    assert!(dirs.mark(&tree, Mark::Asked) && dirs.mark(&tree, Mark::Walked));
    assert!(!dirs.mark(&tree, Mark::Asked) && !dirs.mark(&tree, Mark::Walked));
    dirs.unmark(&tree, Mark::Asked);
    assert!(dirs.mark(&tree, Mark::Asked) && !dirs.mark(&tree, Mark::Walked));
}

/// The tables grew with every directory that was ever listed: a quarter of a GiB for a million.
#[test]
fn a_walk_through_more_than_is_remembered_goes_on_as_it_was() {
    let mut dirs = Dirs::default();
    let each = 4;
    let above = MAX_TREES / 2 - 2;
    list(&mut dirs, "r/", above);
    assert!(dirs.mark(&id("r/d0000000/"), Mark::Asked));
    let mut numbers = BTreeSet::new();
    for n in 0..above {
        let path = format!("r/d{n:07}/");
        let number = list(&mut dirs, &path, each);
        assert!(numbers.insert(number), "a number is given once");
        assert!(dirs.trees.len() <= MAX_TREES && dirs.dirs.len() <= MAX_TREES);
        // What it is in is known, however much was forgotten in between.
        let way: Vec<Oid> = dirs
            .way_up(number)
            .into_iter()
            .map(|(tree, _)| tree)
            .collect();
        assert_eq!(way, [id(&path), id("r/")]);
    }
    // The older ones say nothing, or what is true.
    for number in numbers {
        let dir = dirs.get(number).map(|dir| dir.tree);
        assert!(dir.is_none_or(|tree| dirs.number(&tree) == Some(number)));
    }
    assert!(dirs.first > 0, "something was forgotten");
    assert!(dirs.get(0).is_none() && dirs.way_up(0).is_empty());
    assert!(
        !dirs.mark(&id("r/d0000000/"), Mark::Asked),
        "of what stands above all is kept"
    );
}

#[test]
fn directories_with_more_below_than_is_remembered_keep_to_the_bound() {
    let mut dirs = Dirs::default();
    for path in ["r/", "r/d0000000/", "r/d0000000/d0000000/", "s/"] {
        let number = list(&mut dirs, path, MAX_TREES + 10);
        assert_eq!(dirs.trees.len(), MAX_TREES);
        assert_eq!(dirs.get(number).map(|dir| dir.blobs), Some(1), "{path}");
        // There is no room to remember it.
        let beyond = id(&format!("{path}d{:07}/", MAX_TREES + 5));
        assert!(dirs.mark(&beyond, Mark::Walked) && dirs.mark(&beyond, Mark::Walked));
    }
}

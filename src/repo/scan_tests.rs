use std::sync::Arc;

use bonsaifs_core::fs::{ListingBuilder, Timestamp};

use super::*;
use crate::{
    git::oid::{HashKind, ObjectKind, object_id},
    repo::tree::kind_and_perm,
    seams::http::HttpError,
};

const NOW: Duration = Duration::from_secs(1000);
const MEMORY: u64 = 1 << 30;

pub(super) fn id(text: &str) -> Oid {
    object_id(HashKind::Sha1, ObjectKind::Blob, text.as_bytes()).expect("no collision attack")
}

/// A directory of these names; those that end in `/` are directories. Objects are named after the
/// path.
pub(super) fn dir(path: &str, names: &[String]) -> (Oid, Listing<Node>) {
    let mut builder = ListingBuilder::new();
    for name in names {
        let mode = match name.ends_with('/') {
            true => EntryMode::Dir,
            false => EntryMode::File,
        };
        let (kind, perm) = kind_and_perm(mode);
        let oid = id(&format!("{path}{name}"));
        let name = name.trim_end_matches('/').as_bytes();
        let node = Node {
            oid,
            mode,
            stamp: 0,
        };
        builder.push(name, node, kind, perm, Timestamp::default(), None);
    }
    (id(path), builder.build().0)
}

fn files(path: &str, count: usize) -> (Oid, Listing<Node>) {
    let names: Vec<String> = (0..count).map(|n| format!("f{n:04}")).collect();
    dir(path, &names)
}

/// `count` directories of `each` files below a root: the scan that has seen the root, and all listings
/// by tree.
fn forest(count: usize, each: usize) -> (Scan, FxHashMap<Oid, Listing<Node>>) {
    let names: Vec<String> = (0..count).map(|n| format!("d{n:03}/")).collect();
    let mut trees: FxHashMap<Oid, Listing<Node>> = FxHashMap::default();
    let (root, listing) = dir("", &names);
    let mut scan = Scan::new(MEMORY);
    scan.listed(root, &listing);
    trees.insert(root, listing);
    trees.extend(names.iter().map(|name| files(name, each)));
    (scan, trees)
}

/// A directory of so many files whose first two were missed and whose step was taken: the scan, the directory's
/// number and its listing.
fn scanned(path: &str, count: usize) -> (Scan, u64, Listing<Node>) {
    let (tree, listing) = files(path, count);
    let mut scan = Scan::new(MEMORY);
    let dir = scan.listed(tree, &listing);
    scan.missed(Place { dir, index: 0 });
    scan.missed(Place { dir, index: 1 });
    let step = scan.next_step(NOW).expect("evidence");
    scan.take_step(step, &listing);
    (scan, dir, listing)
}

/// Takes all steps that can be taken.
fn look(scan: &mut Scan, trees: &FxHashMap<Oid, Listing<Node>>) {
    while let Some(step) = scan.next_step(NOW) {
        scan.take_step(step, &trees[&step.tree()]);
    }
}

/// A prefetch of which all came, each with so many bytes.
fn all_came(batch: &[Oid], size: u64) -> Prefetched {
    Prefetched {
        asked: batch.to_vec(),
        came: batch.iter().map(|oid| (*oid, size)).collect(),
        unfinished: None,
    }
}

fn failed(batch: &[Oid], why: Unfinished) -> Prefetched {
    Prefetched {
        asked: batch.to_vec(),
        came: Vec::new(),
        unfinished: Some(why),
    }
}

fn broken() -> Unfinished {
    Unfinished::Failed(OriginError::Http(HttpError::Broken {
        host: "h".to_owned(),
        reason: "cut".to_owned(),
    }))
}

#[test]
fn one_file_or_two_far_apart_say_nothing() {
    let (tree, listing) = files("d/", 100);
    let mut scan = Scan::new(MEMORY);
    let dir = scan.listed(tree, &listing);
    for index in [50, 10, 90, 50] {
        scan.missed(Place { dir, index });
        assert_eq!(scan.next_step(NOW), None, "{index}");
    }
}

#[test]
fn two_neighbours_bring_the_directory_the_nearest_first() {
    let (tree, listing) = files("d/", 40);
    let mut scan = Scan::new(MEMORY);
    let dir = scan.listed(tree, &listing);
    scan.missed(Place { dir, index: 20 });
    scan.missed(Place { dir, index: 22 });
    let step = scan.next_step(NOW).expect("evidence");
    assert_eq!(step, Step::Files { tree, from: 22 });
    scan.take_step(step, &listing);
    let batch = scan.next_batch(NOW);
    let nearest = [22, 21, 23].map(|index| listing.get(index).node.oid);
    assert_eq!(batch[..3], nearest);
    // The rest goes with further requests, each file once.
    let mut seen: FxHashSet<Oid> = batch.iter().copied().collect();
    loop {
        let batch = scan.next_batch(NOW);
        if batch.is_empty() {
            break;
        }
        assert!(batch.len() <= BATCH);
        assert!(batch.iter().all(|oid| seen.insert(*oid)));
    }
    assert_eq!(seen.len(), 40);
    // And is not asked for again.
    scan.missed(Place { dir, index: 23 });
    assert_eq!(scan.next_step(NOW), None);
}

#[test]
fn the_order_of_reading_may_be_reversed() {
    let (tree, listing) = files("d/", 40);
    let mut scan = Scan::new(MEMORY);
    let dir = scan.listed(tree, &listing);
    scan.missed(Place { dir, index: 39 });
    scan.missed(Place { dir, index: 38 });
    assert!(scan.next_step(NOW).is_some());
}

#[test]
fn one_directory_after_the_other_widens_to_what_both_are_in() {
    let (mut scan, trees) = forest(30, 2);
    let (first, second) = (id("d004/"), id("d005/"));
    let dir = scan.listed(first, &trees[&first]);
    scan.missed(Place { dir, index: 0 });
    look(&mut scan, &trees);
    assert_eq!(scan.next_batch(NOW).len(), 2, "only its own");
    let dir = scan.listed(second, &trees[&second]);
    scan.missed(Place { dir, index: 0 });
    look(&mut scan, &trees);
    let mut asked = Vec::new();
    while let batch = scan.next_batch(NOW)
        && !batch.is_empty()
    {
        asked.extend(batch);
        look(&mut scan, &trees);
    }
    let names = |n: usize| [id(&format!("d{n:03}/f0000")), id(&format!("d{n:03}/f0001"))];
    // Its own, then what follows in the order of the walk, then what was before.
    let expected: Vec<Oid> = (5..30).chain((0..4).rev()).flat_map(names).collect();
    assert_eq!(asked, expected);
}

#[test]
fn directories_far_apart_do_not_widen() {
    let (mut scan, trees) = forest(60, 2);
    for n in ["d004/", "d040/", "d020/"] {
        let dir = scan.listed(id(n), &trees[&id(n)]);
        scan.missed(Place { dir, index: 0 });
        look(&mut scan, &trees);
    }
    assert_eq!(scan.next_batch(NOW).len(), 6, "their own files only");
}

#[test]
fn what_lies_unread_has_a_bound_that_grows_with_what_is_read() {
    let count = 4 * BATCH;
    let size = BASE / BATCH as u64;
    let (tree, listing) = files("d/", count);
    let mut scan = Scan::new(MEMORY * 1024);
    let dir = scan.listed(tree, &listing);
    scan.missed(Place { dir, index: 0 });
    scan.missed(Place { dir, index: 1 });
    let step = scan.next_step(NOW).expect("evidence");
    scan.take_step(step, &listing);
    let mut came = Vec::new();
    let mut take = |scan: &mut Scan| {
        let batch = scan.next_batch(NOW);
        scan.ended(&batch, all_came(&batch, size), NOW);
        came.extend(batch);
        came.len()
    };
    // The first request is sent on a guess; then it is known how large they are.
    let first = take(&mut scan);
    assert!((BATCH / 2..=BATCH).contains(&first), "{first}");
    for _ in 0..5 {
        take(&mut scan);
    }
    assert_eq!(take(&mut scan), BATCH, "no more than the base");
    assert_eq!(scan.next_step(NOW), None);
    // Something of it is read: as much may come anew.
    let read = came[0];
    assert!(scan.used(&read, size));
    assert!(!scan.used(&read, size), "counted once");
    let batch = scan.next_batch(NOW);
    assert_eq!(batch.len(), 1);
    // Much was read on other ways: twice as much may lie unread.
    scan.read(BASE);
    assert!(scan.next_batch(NOW).len() > BATCH / 2);
}

/// An object that was read while its prefetch was out counted as used at once, and for ever if it
/// then came on another way: `status` told of more used than had come ahead.
#[test]
fn only_what_came_ahead_counts_as_used() {
    let (mut scan, ..) = scanned("d/", 8);
    let batch = scan.next_batch(NOW);
    assert!(scan.used(&batch[0], 1) && scan.used(&batch[1], 1));
    assert_eq!(scan.figures().used, 0, "nothing has come yet");
    let result = Prefetched {
        asked: batch.clone(),
        came: vec![(batch[0], 1)],
        unfinished: Some(broken()),
    };
    scan.ended(&batch, result, NOW);
    let figures = scan.figures();
    assert_eq!((figures.came, figures.used), (1, 1));
}

#[test]
fn a_small_memory_bounds_what_lies_unread() {
    let (tree, listing) = files("d/", 40);
    let mut scan = Scan::new(0);
    let dir = scan.listed(tree, &listing);
    scan.missed(Place { dir, index: 0 });
    scan.missed(Place { dir, index: 1 });
    assert_eq!(scan.next_step(NOW), None);
    assert!(scan.next_batch(NOW).is_empty());
}

#[test]
fn what_lies_unread_for_long_is_written_off_and_makes_the_next_scan_timid() {
    let (mut scan, ..) = scanned("d/", 2 * BATCH);
    let batch = scan.next_batch(NOW);
    scan.ended(&batch, all_came(&batch, BASE / 8), NOW);
    assert!(scan.next_batch(NOW + PATIENCE / 2).is_empty());
    let later = NOW + PATIENCE;
    assert_eq!(scan.next_batch(later).len(), 4, "half of the base");
    assert_eq!(scan.base, BASE / 2);
    assert!(!scan.used(&batch[0], 1), "no longer counted");
}

#[test]
fn what_is_too_large_is_left_out_and_the_rest_asked_for_again() {
    let (mut scan, ..) = scanned("d/", 8);
    let batch = scan.next_batch(NOW);
    let result = Prefetched {
        asked: batch.clone(),
        came: vec![(batch[0], 10), (batch[1], 10)],
        unfinished: Some(Unfinished::TooLarge),
    };
    scan.ended(&batch, result, NOW);
    assert_eq!(scan.next_batch(NOW), batch[3..]);
}

/// Simulation, seed 300170: a large file that is in two directories broke off a prefetch for each.
#[test]
fn what_was_too_large_once_is_not_asked_for_again_elsewhere() {
    let (tree, listing) = files("d/", 3);
    let (_, other) = files("d/", 3);
    let mut scan = Scan::new(MEMORY);
    let first = scan.listed(tree, &listing);
    scan.missed(Place {
        dir: first,
        index: 0,
    });
    scan.missed(Place {
        dir: first,
        index: 1,
    });
    let step = scan.next_step(NOW).expect("evidence");
    scan.take_step(step, &listing);
    let batch = scan.next_batch(NOW);
    let result = Prefetched {
        asked: batch.clone(),
        came: Vec::new(),
        unfinished: Some(Unfinished::TooLarge),
    };
    scan.ended(&batch, result, NOW);
    assert_eq!(scan.next_batch(NOW), batch[1..]);
    // Another tree with the same files.
    let dir = scan.listed(id("another tree"), &other);
    for oid in &batch[1..] {
        scan.used(oid, 1);
    }
    scan.missed(Place { dir, index: 0 });
    scan.missed(Place { dir, index: 1 });
    let step = scan.next_step(NOW).expect("evidence");
    scan.take_step(step, &other);
    assert!(!scan.next_batch(NOW).contains(&batch[0]));
}

#[test]
fn what_the_origin_does_not_have_is_left_out() {
    let (mut scan, ..) = scanned("d/", 8);
    let batch = scan.next_batch(NOW);
    let missing = |oid| {
        Unfinished::Failed(OriginError::MissingObject {
            source_name: "s".to_owned(),
            oid,
        })
    };
    scan.ended(&batch, failed(&batch, missing(Some(batch[2]))), NOW);
    let next = scan.next_batch(NOW);
    assert_eq!(next.len(), 7);
    assert!(!next.contains(&batch[2]));
    scan.ended(&next, failed(&next, missing(None)), NOW);
    assert!(scan.next_batch(NOW).is_empty(), "those who want them ask");
}

#[test]
fn after_a_failure_there_is_a_pause_and_a_new_scan_may_try_again() {
    let (mut scan, dir, listing) = scanned("d/", 8);
    let batch = scan.next_batch(NOW);
    assert_eq!(scan.ended(&batch, failed(&batch, broken()), NOW), None);
    scan.missed(Place { dir, index: 2 });
    assert_eq!(scan.next_step(NOW), None, "in the pause");
    let later = NOW + PAUSE;
    let step = scan.next_step(later).expect("the pause is over");
    scan.take_step(step, &listing);
    assert_eq!(scan.next_batch(later).len(), 8);
    assert_eq!(scan.unread(), 8);
}

#[test]
fn everything_comes_without_evidence_and_despite_failures() {
    let (_, trees) = forest(10, 3);
    let mut scan = Scan::new(MEMORY);
    scan.want_all(id(""));
    let mut asked = FxHashSet::default();
    let mut now = NOW;
    let mut failures = 0;
    loop {
        while let Some(step) = scan.next_step(now) {
            scan.take_step(step, &trees[&step.tree()]);
        }
        let batch = scan.next_batch(now);
        if batch.is_empty() {
            break;
        }
        if failures < 3 {
            failures += 1;
            let pause = scan.ended(&batch, failed(&batch, broken()), now);
            now += pause.expect("it is not given up");
            continue;
        }
        scan.ended(&batch, all_came(&batch, 1 << 40), now);
        asked.extend(batch);
    }
    assert_eq!(asked.len(), 30);
    assert_eq!(now - NOW, PAUSE * 7, "each pause is twice as long");
}

#[test]
fn a_scan_elsewhere_drops_what_was_planned_and_may_come_back() {
    let names: Vec<String> = (0..40).map(|n| format!("d{n:03}/")).collect();
    let (root, listing) = dir("", &names);
    let mut scan = Scan::new(MEMORY);
    scan.listed(root, &listing);
    let mut trees = FxHashMap::default();
    for name in &names {
        let subs: Vec<String> = (0..10).map(|n| format!("s{n}/")).collect();
        trees.extend([dir(name, &subs)]);
        trees.extend(subs.iter().map(|sub| files(&format!("{name}{sub}"), 2)));
    }
    let read = |scan: &mut Scan, path: &str| {
        let parent = id(&path[..5]);
        scan.listed(parent, &trees[&parent]);
        let dir = scan.listed(id(path), &trees[&id(path)]);
        scan.missed(Place { dir, index: 0 });
    };
    read(&mut scan, "d000/s0/");
    read(&mut scan, "d000/s1/");
    read(&mut scan, "d030/s0/");
    read(&mut scan, "d030/s1/");
    let steps: Vec<Step> = scan.steps.iter().copied().collect();
    let of = |name: &str| steps.iter().any(|step| step.tree() == id(name));
    assert!(of("d030/") && !of("d000/"), "{steps:?}");
    read(&mut scan, "d000/s2/");
    read(&mut scan, "d000/s3/");
    assert!(scan.steps.iter().any(|step| step.tree() == id("d000/")));
}

/// Git has no such tree, but a damaged table must not hang anybody.
#[test]
fn a_tree_within_itself_ends() {
    let (tree, _) = files("d/", 1);
    let node = Node {
        stamp: 0,
        oid: tree,
        mode: EntryMode::Dir,
    };
    let mut builder = ListingBuilder::new();
    builder.push(b"d", node, Kind::Dir, 0o755, Timestamp::default(), None);
    let listing = Arc::new(builder.build().0);
    let mut scan = Scan::new(MEMORY);
    let dir = scan.listed(tree, &listing);
    assert!(scan.dirs.way_up(dir).len() <= 512);
}

/// `ls -l` of a directory whose sizes are not known cost two round trips, one of them for its first file alone.
#[test]
fn a_size_that_is_asked_for_after_the_entries_were_read_widens_at_once() {
    let (tree, listing) = files("d/", 100);
    let mut scan = Scan::new(MEMORY);
    let dir = scan.listed(tree, &listing);
    // Without that it says as little as a read, and so does a read with it.
    scan.missed_size(Place { dir, index: 50 });
    scan.entered(dir);
    scan.missed(Place { dir, index: 90 });
    assert_eq!(scan.next_step(NOW), None);
    scan.missed_size(Place { dir, index: 0 });
    assert_eq!(scan.next_step(NOW), Some(Step::Files { tree, from: 0 }));
    // Not of a directory that is too large for one request.
    let (large, listing_of_large) = files("large/", BATCH + 1);
    let dir_of_large = scan.listed(large, &listing_of_large);
    scan.entered(dir_of_large);
    scan.missed_size(Place {
        dir: dir_of_large,
        index: 7,
    });
    assert_eq!(scan.next_step(NOW), None);
    // Once, and of this directory only.
    scan.missed_size(Place { dir, index: 70 });
    assert_eq!(scan.next_step(NOW), None);
    let (other, listing) = files("e/", 100);
    let dir = scan.listed(other, &listing);
    scan.missed_size(Place { dir, index: 3 });
    assert_eq!(scan.next_step(NOW), None);
}

/// Nothing held the memory of what lies unread where everything is to come: a hundred bytes an object.
#[test]
fn what_lies_unread_is_counted_up_to_a_bound_where_everything_is_to_come() {
    let (tree, listing) = files("d/", 3 * MAX_UNREAD);
    let mut scan = Scan::new(MEMORY);
    scan.want_all(tree);
    let step = scan.next_step(NOW).expect("everything is wanted");
    scan.take_step(step, &listing);
    let mut came = 0;
    while let batch = scan.next_batch(NOW)
        && !batch.is_empty()
    {
        scan.ended(&batch, all_came(&batch, 1), NOW);
        came += batch.len();
        assert!(scan.unread() <= MAX_UNREAD + LARGEST_BATCH);
    }
    assert_eq!(came, 3 * MAX_UNREAD);
    assert_eq!(scan.unread_bytes, scan.unread() as u64);
}

/// Small objects are many: the bound in bytes alone let a million of them lie unread.
#[test]
fn no_more_than_so_many_objects_lie_unread_however_small() {
    let (tree, listing) = files("d/", 2 * MAX_UNREAD);
    let mut scan = Scan::new(MEMORY);
    let dir = scan.listed(tree, &listing);
    scan.read(1 << 40);
    scan.missed(Place { dir, index: 0 });
    scan.missed(Place { dir, index: 1 });
    let step = scan.next_step(NOW).expect("evidence");
    scan.take_step(step, &listing);
    let mut came = Vec::new();
    while let batch = scan.next_batch(NOW)
        && !batch.is_empty()
    {
        scan.ended(&batch, all_came(&batch, 1), NOW);
        came.extend(batch);
    }
    assert_eq!(came.len(), MAX_UNREAD);
    // What is read makes room.
    assert!(scan.used(&came[0], 1));
    assert_eq!(scan.next_batch(NOW).len(), 1);
}

/// With 128 objects a request, a search of 100,000 files took 1.3 times as long as after a clone: each costs the
/// server processes of its own.
#[test]
fn requests_grow_with_what_was_read() {
    let count = 40 * LARGEST_BATCH;
    let (mut scan, ..) = scanned("d/", count);
    let mut sizes = Vec::new();
    while let batch = scan.next_batch(NOW)
        && !batch.is_empty()
    {
        scan.ended(&batch, all_came(&batch, 1), NOW);
        assert!(batch.iter().all(|oid| scan.used(oid, 1)));
        sizes.push(batch.len());
    }
    assert_eq!(sizes.iter().sum::<usize>(), count);
    assert_eq!(sizes[..2], [BATCH, BATCH]);
    assert!(sizes[..sizes.len() - 1].is_sorted(), "{sizes:?}");
    assert_eq!(sizes.iter().max(), Some(&LARGEST_BATCH));
    // What came and nobody read pays for nothing.
    let (mut scan, ..) = scanned("e/", count);
    for _ in 0..3 {
        let batch = scan.next_batch(NOW);
        scan.ended(&batch, all_came(&batch, 1), NOW);
        assert_eq!(batch.len(), BATCH);
    }
}

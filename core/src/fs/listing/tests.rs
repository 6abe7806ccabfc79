use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::testing::cases;

const TIME: Timestamp = Timestamp {
    secs: 1_700_000_000,
    nanos: 5,
};

fn build(names: &[&[u8]]) -> (Listing<usize>, Vec<BadName>) {
    let mut builder = ListingBuilder::new();
    for (node, name) in names.iter().enumerate() {
        builder.push(name, node, Kind::File, 0o644, TIME, Some(1));
    }
    builder.build()
}

fn names<N>(listing: &Listing<N>) -> Vec<&[u8]> {
    listing.iter().map(|entry| entry.name).collect()
}

#[test]
fn an_empty_directory_finds_nothing() {
    let (listing, bad) = ListingBuilder::<()>::default().build();
    assert!(listing.is_empty() && bad.is_empty());
    assert_eq!((listing.len(), listing.find(b"a")), (0, None));
}

#[test]
fn entries_come_in_bytewise_order_however_they_were_pushed() {
    let (listing, bad) = build(&[b"b", b"a", b"\xff", b"B", b"a-"]);
    assert!(bad.is_empty());
    assert_eq!(names(&listing), [&b"B"[..], b"a", b"a-", b"b", b"\xff"]);
    let nodes: Vec<_> = listing.iter().map(|entry| *entry.node).collect();
    assert_eq!(nodes, [3, 1, 4, 0, 2]);
    assert_eq!(names(&build(&[b"b", b"a"]).0), [b"a", b"b"]);
    assert!(!listing.is_empty());
}

#[test]
fn names_that_no_directory_has_are_left_out_and_reported() {
    let long = vec![b'x'; MAX_NAME_FOR_TESTS + 1];
    let (listing, bad) = build(&[
        b"", b".", b"..", b"a/b", b"/", b"a\0", &long, b"ok", b"...", b".git",
    ]);
    assert_eq!(names(&listing), [&b"..."[..], b".git", b"ok"]);
    let problems: Vec<_> = bad.iter().map(|bad| bad.problem).collect();
    use NameProblem::*;
    assert_eq!(problems, [Empty, Dot, Dot, Slash, Slash, Nul, TooLong]);
    assert_eq!(bad[3].name, b"a/b");
    assert_eq!(bad[6].name.len(), 255, "a report does not carry 64 KiB");
}

const MAX_NAME_FOR_TESTS: usize = 65_535;

#[test]
fn the_longest_name_is_taken() {
    let long = vec![b'x'; MAX_NAME_FOR_TESTS];
    let (listing, bad) = build(&[b"a", &long, b"z"]);
    assert!(bad.is_empty());
    assert_eq!(listing.find(&long), Some(1));
}

#[test]
fn of_equal_names_the_first_pushed_stays() {
    let (listing, bad) = build(&[b"b", b"a", b"b", b"a", b"b"]);
    assert_eq!(names(&listing), [b"a", b"b"]);
    assert_eq!((*listing.get(0).node, *listing.get(1).node), (1, 0));
    let problems: Vec<_> = bad.into_iter().map(|bad| (bad.name, bad.problem)).collect();
    let duplicate = |name: &[u8]| (name.to_vec(), NameProblem::Duplicate);
    assert_eq!(
        problems,
        [duplicate(b"a"), duplicate(b"b"), duplicate(b"b")]
    );
    let (listing, bad) = build(&[b"a", b"a"]);
    assert_eq!((listing.len(), *listing.get(0).node, bad.len()), (1, 0, 1));
}

#[test]
fn attributes_are_as_pushed_and_other_mode_bits_are_cut() {
    let mut builder = ListingBuilder::with_capacity(2);
    builder.push(b"dir", (), Kind::Dir, 0o755, TIME, Some(4096));
    let later = Timestamp { secs: -1, nanos: 0 };
    builder.push(b"link", (), Kind::Symlink, 0o120_777, later, Some(7));
    let (listing, _) = builder.build();
    let dir = listing.get(0).attr.expect("known");
    assert_eq!((dir.kind, dir.perm, dir.size), (Kind::Dir, 0o755, 0));
    assert_eq!(dir.mtime, TIME);
    let link = listing.get(1).attr.expect("known");
    assert_eq!((link.kind, link.perm, link.size), (Kind::Symlink, 0o777, 7));
    assert_eq!(link.mtime, later);
}

#[test]
fn an_unknown_size_becomes_known_once_and_stays() {
    let mut builder = ListingBuilder::new();
    builder.push(b"f", (), Kind::File, 0o644, TIME, None);
    builder.push(b"huge", (), Kind::File, 0o644, TIME, Some(u64::MAX));
    let (listing, _) = builder.build();
    assert_eq!((listing.size(0), listing.get(0).attr), (None, None));
    listing.set_size(0, 10);
    listing.set_size(0, 20);
    assert_eq!(listing.size(0), Some(10));
    assert_eq!(listing.get(0).attr.expect("known now").size, 10);
    assert_eq!(listing.size(1), Some(u64::MAX - 1), "known, if absurd");
}

#[test]
fn a_directorys_size_is_zero_and_can_not_be_set() {
    let mut builder = ListingBuilder::new();
    builder.push(b"d", (), Kind::Dir, 0o755, TIME, None);
    let (listing, _) = builder.build();
    listing.set_size(0, 9);
    assert_eq!(listing.size(0), Some(0));
}

#[test]
fn mapped_nodes_share_names_and_sizes() {
    let mut builder = ListingBuilder::new();
    for (node, name) in [b"a", b"b"].iter().enumerate() {
        builder.push(*name, node, Kind::File, 0o644, TIME, None);
    }
    let listing = builder.build().0.with_tag(7);
    let mapped = listing.map_nodes(|node| format!("node {node}"));
    assert_eq!((listing.tag(), mapped.tag()), (7, 7));
    assert_eq!(mapped.get(1).node, "node 1");
    assert_eq!(mapped.find(b"b"), Some(1));
    mapped.set_size(1, 5);
    assert_eq!(listing.size(1), Some(5));
}

#[test]
fn weight_counts_what_is_held() {
    let (small, _) = build(&[b"a"]);
    let long = [b'n'; 1000];
    let (large, _) = build(&[&long]);
    assert_eq!(large.weight() - small.weight(), 999);
    let many: Vec<Vec<u8>> = (0..100).map(|i| format!("{i:03}").into_bytes()).collect();
    let many: Vec<&[u8]> = many.iter().map(Vec::as_slice).collect();
    let (many, _) = build(&many);
    // A slot, a node, a name and two places in the index for each.
    let each = size_of::<Slot>() + size_of::<usize>() + 3 + 2 * size_of::<u32>();
    let itself = size_of::<Listing<usize>>() + size_of::<NameIndex>();
    assert_eq!(build(&[]).0.weight(), itself);
    assert_eq!(many.weight(), itself + 100 * each);
    let mut two_times = ListingBuilder::new();
    for (name, secs) in [(b"a", 1), (b"b", 2)] {
        two_times.push(
            name,
            0_usize,
            Kind::File,
            0o644,
            Timestamp { secs, nanos: 0 },
            None,
        );
    }
    let times = two_times.build().0.weight() - build(&[b"a", b"b"]).0.weight();
    assert_eq!(times, 2 * size_of::<Timestamp>());
}

#[test]
fn a_slot_stays_small() {
    assert_eq!(size_of::<Slot>(), 24);
}

/// Names picked so that all of them want the same place in the index.
#[test]
fn names_chosen_to_collide_are_found_all_the_same() {
    let count = if cfg!(miri) { 24 } else { 200 };
    let chosen: Vec<Vec<u8>> = (0_u64..)
        .map(|i| format!("{i}").into_bytes())
        .filter(|name| index::home(name_hash(name), count * 2) == 7)
        .take(count)
        .collect();
    let pushed: Vec<&[u8]> = chosen.iter().map(Vec::as_slice).collect();
    let (listing, _) = build(&pushed);
    assert!(matches!(*listing.index, NameIndex::Sorted));
    for (node, name) in chosen.iter().enumerate() {
        let i = listing.find(name).expect("was pushed");
        assert_eq!(*listing.get(i).node, node);
    }
    assert_eq!(listing.find(b"no such name"), None);
}

fn any_name() -> impl Strategy<Value = Vec<u8>> {
    // Few letters, so that names repeat and share prefixes; some that can't be.
    prop_oneof![
        8 => prop::collection::vec(prop::sample::select(&b"ab\xff."[..]), 0..5),
        1 => prop::collection::vec(any::<u8>(), 0..12),
        1 => prop::collection::vec(prop::sample::select(&b"a/\0"[..]), 1..4),
    ]
}

fn any_entry() -> impl Strategy<Value = (Vec<u8>, Kind, Option<u64>, i64)> {
    let kind = prop::sample::select(vec![Kind::Dir, Kind::File, Kind::Symlink]);
    (any_name(), kind, any::<Option<u16>>(), 0_i64..2)
        .prop_map(|(name, kind, size, secs)| (name, kind, size.map(u64::from), secs))
}

proptest! {
    #![proptest_config(cases(256))]

    /// A listing is the map of the names that can be, first one wins; all else is reported.
    #[test]
    fn a_listing_equals_a_map(
        pushed in prop::collection::vec(any_entry(), 0..60),
        probes in prop::collection::vec(any_name(), 0..20),
    ) {
        let mut model = BTreeMap::new();
        let mut left_out = 0;
        let mut builder = ListingBuilder::new();
        for (node, (name, kind, size, secs)) in pushed.iter().enumerate() {
            let mtime = Timestamp { secs: *secs, nanos: 0 };
            builder.push(name, node, *kind, 0o644, mtime, *size);
            let possible = !name.is_empty()
                && name != b"."
                && name != b".."
                && !name.contains(&b'/')
                && !name.contains(&0);
            if possible && !model.contains_key(name) {
                let size = if *kind == Kind::Dir { Some(0) } else { *size };
                model.insert(name.clone(), (node, *kind, size, mtime));
            } else {
                left_out += 1;
            }
        }
        let (listing, bad) = builder.build();
        prop_assert_eq!(bad.len(), left_out);
        prop_assert_eq!(listing.len(), model.len());
        for (i, (name, (node, kind, size, mtime))) in model.iter().enumerate() {
            let entry = listing.get(i);
            prop_assert_eq!(entry.name, &name[..]);
            prop_assert_eq!((entry.node, entry.kind), (node, *kind));
            prop_assert_eq!(entry.attr.map(|attr| attr.size), *size);
            if let Some(attr) = entry.attr {
                prop_assert_eq!((attr.mtime, attr.perm), (*mtime, 0o644));
            }
            prop_assert_eq!(listing.find(name), Some(i));
        }
        for probe in probes {
            prop_assert_eq!(listing.find(&probe).is_some(), model.contains_key(&probe));
        }
    }
}

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{fs::Timestamp, testing::cases};

const ALL: u64 = u64::MAX;

fn dir_attr() -> Attr {
    Attr {
        kind: Kind::Dir,
        perm: 0o755,
        size: 0,
        mtime: Timestamp::default(),
    }
}

fn inodes(mask: u64) -> Inodes<u32> {
    Inodes::new(0, dir_attr(), mask)
}

fn listing(entries: &[(&str, u32, Kind)]) -> Arc<Listing<u32>> {
    let mut builder = ListingBuilder::new();
    for (name, node, kind) in entries {
        let size = Some(u64::from(*node));
        builder.push(
            name.as_bytes(),
            *node,
            *kind,
            0o644,
            Timestamp::default(),
            size,
        );
    }
    Arc::new(builder.build().0)
}

fn files(names: &[&str]) -> Arc<Listing<u32>> {
    let entries: Vec<_> = (1..)
        .zip(names)
        .map(|(node, name)| (*name, node, Kind::File))
        .collect();
    listing(&entries)
}

#[test]
fn the_root_is_known_for_ever() {
    assert!(!inodes(u64::MAX).is_empty());
    let inodes = inodes(ALL);
    let root = inodes.get(Ino::ROOT).expect("root");
    assert_eq!(
        (root.parent, *root.node(), root.kind()),
        (Ino::ROOT, 0, Kind::Dir)
    );
    assert_eq!(root.attr(), Some(dir_attr()));
    inodes.forget(Ino::ROOT, u64::MAX);
    inodes.release(Ino::ROOT);
    assert!(inodes.get(Ino::ROOT).is_some());
    assert_eq!(inodes.len(), 1);
}

/// The bytes that inodes alone keep, which do, and which others are idle; each in order.
fn idle(inodes: &Inodes<u32>) -> (usize, Vec<Ino>, Vec<Ino>) {
    let mut idle = inodes.idle();
    idle.pinning.sort();
    idle.others.sort();
    (inodes.pinned_bytes(), idle.pinning, idle.others)
}

#[test]
fn listings_that_are_there_for_inodes_alone_are_told() {
    let inodes = inodes(ALL);
    let (kept, pinned) = (files(&["a", "b"]), files(&["c", "d", "e"]));
    let other = vec![inodes.remember(Ino::ROOT, &kept, 0)];
    let mut closed: Vec<Ino> = [0, 1]
        .map(|index| inodes.remember(Ino::ROOT, &pinned, index))
        .into();
    closed.sort();
    let open = inodes.remember(Ino::ROOT, &pinned, 2);
    assert!(inodes.hold(open));
    let root = inodes.get(Ino::ROOT).expect("root").listing.weight();
    let (told, pinning, mut others) = idle(&inodes);
    assert_eq!((told, pinning), (root, vec![]), "the test has both");
    others.retain(|ino| !closed.contains(ino));
    assert_eq!(others, other);
    let bytes = root + pinned.weight();
    drop(pinned);
    assert_eq!(idle(&inodes), (bytes, closed.clone(), other.clone()));
    closed.iter().for_each(|ino| inodes.forget(*ino, 1));
    assert_eq!(idle(&inodes), (bytes, vec![], other.clone()), "one is open");
    inodes.forget(open, 1);
    inodes.release(open);
    assert_eq!(idle(&inodes), (root, vec![], other));
}

#[test]
fn an_inode_lives_until_its_last_look_up_is_forgotten() {
    let inodes = inodes(ALL);
    let dir = files(&["a", "b"]);
    let b = inodes.remember(Ino::ROOT, &dir, 1);
    assert_eq!(inodes.remember(Ino::ROOT, &dir, 1), b);
    assert_eq!(inodes.len(), 2);
    let known = inodes.get(b).expect("known");
    assert_eq!(
        (known.parent, known.name(), *known.node()),
        (Ino::ROOT, &b"b"[..], 2)
    );
    drop(known);
    inodes.forget(b, 1);
    assert!(inodes.get(b).is_some());
    inodes.forget(b, 1);
    assert!(inodes.get(b).is_none());
    assert_eq!(inodes.len(), 1);
    assert_eq!(
        Arc::strong_count(&dir),
        1,
        "a forgotten inode holds nothing"
    );
}

/// Museum 33 and 28: no panic, no inode made up.
#[test]
fn forgetting_too_much_or_the_unknown_changes_nothing_else() {
    let inodes = inodes(ALL);
    let dir = files(&["a", "b"]);
    let a = inodes.remember(Ino::ROOT, &dir, 0);
    let b = inodes.remember(Ino::ROOT, &dir, 1);
    inodes.forget(a, 5);
    inodes.forget(a, 1);
    inodes.release(a);
    inodes.forget(Ino(12345), 1);
    assert!(inodes.get(a).is_none() && inodes.get(Ino(12345)).is_none());
    assert!(inodes.get(b).is_some());
    assert!(!inodes.hold(a));
}

#[test]
fn an_open_handle_keeps_its_inode() {
    let inodes = inodes(ALL);
    let dir = files(&["a"]);
    let a = inodes.remember(Ino::ROOT, &dir, 0);
    assert!(inodes.hold(a) && inodes.hold(a));
    inodes.forget(a, 1);
    inodes.release(a);
    assert!(inodes.get(a).is_some());
    assert_eq!(inodes.remember(Ino::ROOT, &dir, 0), a);
    inodes.release(a);
    assert!(inodes.get(a).is_some(), "looked up again");
    inodes.forget(a, 1);
    assert_eq!(inodes.len(), 1);
}

/// Museum 36: the number comes from the path, not from a counter.
#[test]
fn the_same_path_has_the_same_number_after_a_forget_and_after_a_remount() {
    let (one, two) = (inodes(ALL), inodes(ALL));
    let dir = files(&["x", "y", "z"]);
    let other_snapshot = files(&["w", "y"]);
    let y = one.remember(Ino::ROOT, &dir, 1);
    one.forget(y, 1);
    assert_eq!(one.number(Ino::ROOT, &dir, 1), y);
    assert_eq!(one.remember(Ino::ROOT, &other_snapshot, 1), y);
    two.remember(Ino::ROOT, &dir, 0);
    assert_eq!(two.remember(Ino::ROOT, &dir, 1), y);
}

/// Museum 44: the kernel does not take a number that changes its kind.
#[test]
fn a_name_that_becomes_a_directory_gets_another_number() {
    for mask in [ALL, 0] {
        let inodes = inodes(mask);
        let file = inodes.remember(Ino::ROOT, &listing(&[("a", 1, Kind::File)]), 0);
        let dir = inodes.remember(Ino::ROOT, &listing(&[("a", 2, Kind::Dir)]), 0);
        assert_ne!(file, dir);
        assert_eq!(inodes.get(file).map(|known| *known.node()), Some(1));
    }
}

/// Museum 20: one name, one entry; its content is that of the newest snapshot.
#[test]
fn a_look_up_in_a_newer_snapshot_moves_the_inode_over_and_an_older_one_never_back() {
    let inodes = inodes(ALL);
    let old = listing(&[("a", 1, Kind::File)]);
    let new = listing(&[("Z", 8, Kind::File), ("a", 9, Kind::File)]);
    let a = inodes.remember(Ino::ROOT, &old, 0);
    old.supersede();
    assert_eq!(inodes.remember(Ino::ROOT, &new, 1), a);
    assert_eq!(inodes.get(a).map(|known| *known.node()), Some(9));
    assert_eq!(Arc::strong_count(&old), 1);
    assert_eq!(inodes.remember(Ino::ROOT, &old, 0), a);
    assert_eq!(inodes.get(a).map(|known| *known.node()), Some(9));
    inodes.forget(a, 3);
    assert_eq!(inodes.len(), 1);
}

#[test]
fn two_paths_with_one_number_get_two_while_both_are_known() {
    // With no bit of the hash used, every path has the same base number.
    let inodes = inodes(0);
    let dir = files(&["a", "b", "c"]);
    let a = inodes.remember(Ino::ROOT, &dir, 0);
    let b = inodes.remember(Ino::ROOT, &dir, 1);
    let c = inodes.remember(Ino::ROOT, &dir, 2);
    assert!(a != b && b != c && a != c);
    let name = |ino| inodes.get(ino).expect("known").name().to_vec();
    assert_eq!([name(a), name(b), name(c)], [b"a", b"b", b"c"]);
    // The base number is free again, but b and c are known by theirs.
    inodes.forget(a, 1);
    assert_eq!(inodes.remember(Ino::ROOT, &dir, 1), b);
    assert_eq!(inodes.number(Ino::ROOT, &dir, 2), c);
    assert_eq!(inodes.number(Ino::ROOT, &dir, 0), a);
    inodes.forget(b, 2);
    inodes.forget(c, 1);
    assert_eq!(inodes.len(), 1);
    assert_eq!(
        inodes.salted.load(Ordering::SeqCst),
        0,
        "one look is enough again"
    );
    // No two are known any more, so the function decides again.
    assert_eq!(inodes.remember(Ino::ROOT, &dir, 2), a);
}

/// Museum 11: what was put at hand late does not bring a forgotten inode back.
#[test]
fn a_listing_is_at_hand_while_its_directory_is_known_and_it_is_current() {
    let inodes = inodes(ALL);
    let top = listing(&[("d", 1, Kind::Dir)]);
    let own = files(&["f"]);
    let d = inodes.remember(Ino::ROOT, &top, 0);
    let seen = inodes.get(d).expect("known");
    assert!(inodes.listing_at_hand(d).is_none());
    inodes.put_at_hand(d, &seen, &own);
    assert!(Arc::ptr_eq(&inodes.listing_at_hand(d).expect("put"), &own));
    assert_eq!(Arc::strong_count(&own), 1, "at hand keeps nothing alive");
    own.supersede();
    assert!(inodes.listing_at_hand(d).is_none());

    let newer = files(&["g"]);
    inodes.put_at_hand(d, &seen, &newer);
    assert!(inodes.listing_at_hand(d).is_some());
    inodes.forget(d, 1);
    assert!(inodes.listing_at_hand(d).is_none());
    inodes.put_at_hand(d, &seen, &newer);
    assert!(inodes.listing_at_hand(d).is_none() && inodes.get(d).is_none());
}

#[test]
fn a_directory_that_is_another_node_by_now_has_no_listing_at_hand() {
    for mask in [ALL, 0] {
        let inodes = inodes(mask);
        let old = listing(&[("c", 1, Kind::Dir), ("d", 2, Kind::Dir)]);
        let new = listing(&[("d", 3, Kind::Dir)]);
        inodes.remember(Ino::ROOT, &old, 0);
        let d = inodes.remember(Ino::ROOT, &old, 1);
        let seen = inodes.get(d).expect("known");
        let own = files(&["f"]);
        inodes.put_at_hand(d, &seen, &own);
        assert!(inodes.listing_at_hand(d).is_some());
        assert_eq!(inodes.remember(Ino::ROOT, &new, 0), d);
        assert!(inodes.listing_at_hand(d).is_none());
        inodes.put_at_hand(d, &seen, &own);
        assert!(inodes.listing_at_hand(d).is_none(), "what was seen is over");
    }
}

/// Museum 31: what the kernel has forgotten takes no memory.
#[test]
#[cfg_attr(miri, ignore = "about amounts of memory; takes Miri more than an hour")]
fn an_inode_takes_few_bytes_and_gives_them_back() {
    assert_eq!(size_of::<Known<u32>>(), 40);
    let inodes = inodes(ALL);
    let names: Vec<String> = (0..20_000).map(|i| format!("{i}")).collect();
    let dir = files(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let all: Vec<Ino> = (0..dir.len())
        .map(|i| inodes.remember(Ino::ROOT, &dir, i))
        .collect();
    let bytes = || {
        inodes
            .shards
            .iter()
            .map(|shard| shard.bytes())
            .sum::<usize>()
    };
    assert!(
        bytes() < 100 * dir.len(),
        "{} bytes each",
        bytes() / dir.len()
    );
    all.iter().for_each(|ino| inodes.forget(*ino, 1));
    assert!(bytes() < 1_000_000 / 4, "{} bytes left", bytes());
    assert_eq!(inodes.len(), 1);
}

#[test]
fn threads_that_collide_agree_on_numbers() {
    let names: Vec<String> = (0..40).map(|i| format!("{i}")).collect();
    let dir = files(&names.iter().map(String::as_str).collect::<Vec<_>>());
    for mask in [0, 7, 63] {
        let inodes = inodes(mask);
        std::thread::scope(|scope| {
            for thread in 0..3 {
                let (inodes, dir) = (&inodes, &dir);
                scope.spawn(move || {
                    for round in 0..300_usize {
                        let index = (round * 7 + thread * 11) % dir.len();
                        let ino = inodes.remember(Ino::ROOT, dir, index);
                        let known = inodes.get(ino).expect("counted by this thread");
                        assert_eq!(known.index, index);
                        assert_eq!(inodes.number(Ino::ROOT, dir, index), ino);
                        inodes.forget(ino, 1);
                    }
                });
            }
        });
        assert_eq!(inodes.len(), 1);
        assert_eq!(inodes.salted.load(Ordering::SeqCst), 0);
    }
}

#[derive(Clone, Debug)]
enum Op {
    Remember,
    Forget(u64),
    Hold,
    Release,
}

/// A path of the model: a directory (the root or one of two others) and a name.
type ModelPath = (usize, usize);

#[derive(Default)]
struct ModelInode {
    ino: u64,
    lookups: u64,
    held: u64,
}

fn any_op() -> impl Strategy<Value = (ModelPath, Op)> {
    let op = prop_oneof![
        4 => Just(Op::Remember),
        3 => (1_u64..4).prop_map(Op::Forget),
        1 => Just(Op::Hold),
        1 => Just(Op::Release),
    ];
    ((0_usize..3, 0_usize..6), op)
}

proptest! {
    #![proptest_config(cases(512))]

    /// Numbers, counts and lives are those of a map from paths, however many paths collide.
    #[test]
    fn inodes_equal_a_map_of_paths(
        mask in prop::sample::select(vec![0, 1, 3, 15, ALL]),
        ops in prop::collection::vec(any_op(), 0..120),
    ) {
        let inodes = inodes(mask);
        let dir = files(&["a", "b", "c", "d", "e", "f"]);
        // Two directories whose numbers are made up: only their being different matters.
        let parents = [Ino::ROOT, Ino(1 << 40), Ino(1 << 41)];
        let mut model: BTreeMap<ModelPath, ModelInode> = BTreeMap::new();
        for (path, op) in ops {
            let (parent, index) = (parents[path.0], path.1);
            let known = model.get_mut(&path);
            match (op, known) {
                (Op::Remember, known) => {
                    let announced = inodes.number(parent, &dir, index);
                    let ino = inodes.remember(parent, &dir, index);
                    match known {
                        Some(known) => {
                            prop_assert_eq!(ino.0, known.ino);
                            prop_assert_eq!(ino, announced);
                            known.lookups += 1;
                        }
                        None => {
                            prop_assert!(ino > Ino::ROOT);
                            let fresh = ModelInode { ino: ino.0, lookups: 1, held: 0 };
                            model.insert(path, fresh);
                        }
                    }
                }
                (Op::Forget(n), Some(known)) => {
                    inodes.forget(Ino(known.ino), n);
                    known.lookups = known.lookups.saturating_sub(n);
                }
                (Op::Hold, Some(known)) => {
                    prop_assert!(inodes.hold(Ino(known.ino)));
                    known.held += 1;
                }
                (Op::Release, Some(known)) => {
                    inodes.release(Ino(known.ino));
                    known.held = known.held.saturating_sub(1);
                }
                (_, None) => {}
            }
            model.retain(|_, known| known.lookups > 0 || known.held > 0);
            prop_assert_eq!(inodes.len(), model.len() + 1);
            for ((parent, index), known) in &model {
                let found = inodes.get(Ino(known.ino)).expect("known");
                prop_assert_eq!((found.parent, found.index), (parents[*parent], *index));
            }
        }
        for known in model.values() {
            inodes.forget(Ino(known.ino), known.lookups);
            (0..known.held).for_each(|_| inodes.release(Ino(known.ino)));
        }
        prop_assert_eq!((inodes.len(), inodes.salted.load(Ordering::SeqCst)), (1, 0));
        // A number that collides with none is the function's.
        if mask == ALL {
            for ((parent, index), known) in &model {
                let fresh = Inodes::new(0, dir_attr(), ALL);
                prop_assert_eq!(fresh.remember(parents[*parent], &dir, *index).0, known.ino);
            }
        }
    }
}

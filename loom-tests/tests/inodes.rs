//! Models of `Inodes`: a number stands for one path and a path has one number as long as anyone
//! knows it, whoever looks up, forgets or holds it at the same time; and all of it goes in the end.

use std::sync::Arc;

use bonsai_loom_tests::{Threads, explore, thread};
use bonsaifs_core::fs::{Attr, Ino, Kind, Listing, ListingBuilder, Timestamp, inodes::Inodes};

type Snapshot = Arc<Listing<u8>>;

/// The files `a` and `b`, at 0 and 1.
fn listing() -> Snapshot {
    let mut builder = ListingBuilder::new();
    for name in [b"a", b"b"] {
        builder.push(
            name,
            name[0],
            Kind::File,
            0o644,
            Timestamp::default(),
            Some(0),
        );
    }
    Arc::new(builder.build().0)
}

/// The root alone. With no bits of the hash in use, all paths want the same number.
fn inodes(mask: u64) -> Arc<Inodes<u8>> {
    let root = Attr {
        kind: Kind::Dir,
        perm: 0o755,
        size: 0,
        mtime: Timestamp::default(),
    };
    Arc::new(Inodes::new(0, root, mask))
}

const ALL_BITS: u64 = u64::MAX;
const COLLIDING: u64 = 0;

/// Who has counted a look-up sees the path under its number.
fn assert_is(inodes: &Inodes<u8>, ino: Ino, index: usize) {
    let known = inodes.get(ino).expect("it is counted");
    assert_eq!((known.parent, known.index), (Ino::ROOT, index));
}

/// A look-up, some use of it, and its forget.
fn look_up_and_forget(inodes: &Inodes<u8>, listing: &Snapshot, index: usize) -> Ino {
    let ino = inodes.remember(Ino::ROOT, listing, index);
    assert_is(inodes, ino, index);
    inodes.forget(ino, 1);
    ino
}

/// Everything is forgotten: the root is left, and numbers are what they were at the start.
fn assert_empty(inodes: &Inodes<u8>, listing: &Snapshot, mask: u64) {
    assert_eq!(inodes.len(), 1, "an inode was left over");
    let fresh = self::inodes(mask);
    for index in [0, 1] {
        let number = inodes.number(Ino::ROOT, listing, index);
        assert_eq!(number, fresh.number(Ino::ROOT, listing, index));
    }
}

fn lookups_against_forgets(threads: Threads, others: usize) {
    explore(threads, &[], move |_| {
        let (inodes, listing) = (inodes(ALL_BITS), listing());
        let handles: Vec<_> = (0..others)
            .map(|_| {
                let (inodes, listing) = (Arc::clone(&inodes), Arc::clone(&listing));
                thread::spawn(move || look_up_and_forget(&inodes, &listing, 0))
            })
            .collect();
        let ino = look_up_and_forget(&inodes, &listing, 0);
        for handle in handles {
            assert_eq!(handle.join().expect("no panic"), ino, "the number changed");
        }
        assert_empty(&inodes, &listing, ALL_BITS);
    });
}

#[test]
fn of_two_lookups_against_forgets() {
    lookups_against_forgets(Threads::Two, 1);
}

#[test]
fn of_three_lookups_against_forgets() {
    lookups_against_forgets(Threads::Three, 2);
}

/// A batched forget of look-ups that were answered races with one that is not yet.
#[test]
fn a_batched_forget_takes_back_no_later_lookup() {
    explore(Threads::Two, &[], |_| {
        let (inodes, listing) = (inodes(ALL_BITS), listing());
        let first = inodes.remember(Ino::ROOT, &listing, 0);
        assert_eq!(inodes.remember(Ino::ROOT, &listing, 0), first);
        let forgetter = {
            let inodes = Arc::clone(&inodes);
            thread::spawn(move || inodes.forget(first, 2))
        };
        let again = inodes.remember(Ino::ROOT, &listing, 0);
        assert_eq!(again, first);
        forgetter.join().expect("no panic");
        assert_is(&inodes, again, 0);
        inodes.forget(again, 1);
        assert_empty(&inodes, &listing, ALL_BITS);
    });
}

/// An open handle keeps a forgotten inode, if it came before the last forget.
#[test]
fn a_hold_against_the_last_forget() {
    explore(Threads::Two, &["held", "too late"], |seen| {
        let (inodes, listing) = (inodes(ALL_BITS), listing());
        let ino = inodes.remember(Ino::ROOT, &listing, 0);
        let forgetter = {
            let inodes = Arc::clone(&inodes);
            thread::spawn(move || inodes.forget(ino, 1))
        };
        if inodes.hold(ino) {
            seen.mark("held");
            assert_is(&inodes, ino, 0);
            inodes.release(ino);
        } else {
            seen.mark("too late");
        }
        forgetter.join().expect("no panic");
        assert_empty(&inodes, &listing, ALL_BITS);
    });
}

/// The same path through an older and a newer snapshot is one inode.
#[test]
fn a_path_has_one_number_through_two_snapshots() {
    explore(Threads::Two, &[], |_| {
        let (inodes, older, newer) = (inodes(ALL_BITS), listing(), listing());
        let other = {
            let inodes = Arc::clone(&inodes);
            thread::spawn(move || inodes.remember(Ino::ROOT, &newer, 1))
        };
        let mine = inodes.remember(Ino::ROOT, &older, 1);
        assert_eq!(other.join().expect("no panic"), mine);
        assert_eq!(inodes.len(), 2);
        inodes.forget(mine, 1);
        assert_is(&inodes, mine, 1);
        inodes.forget(mine, 1);
        assert_empty(&inodes, &older, ALL_BITS);
    });
}

/// Two paths that want the same number: each is seen under its own.
#[test]
fn two_paths_collide() {
    explore(Threads::Two, &["b had to give way"], |seen| {
        let (inodes, listing) = (inodes(COLLIDING), listing());
        let wanted = inodes.number(Ino::ROOT, &listing, 0);
        let other = {
            let (inodes, listing) = (Arc::clone(&inodes), Arc::clone(&listing));
            thread::spawn(move || inodes.remember(Ino::ROOT, &listing, 1))
        };
        let a = inodes.remember(Ino::ROOT, &listing, 0);
        let b = other.join().expect("no panic");
        assert_ne!(a, b, "one number for two paths");
        assert!(a == wanted || b == wanted, "neither has the base number");
        seen.mark(if a == wanted {
            "b had to give way"
        } else {
            "a had to give way"
        });
        assert_is(&inodes, a, 0);
        assert_is(&inodes, b, 1);
        assert_eq!(inodes.len(), 3);
        inodes.forget(a, 1);
        assert_is(&inodes, b, 1);
        inodes.forget(b, 1);
        assert_empty(&inodes, &listing, COLLIDING);
    });
}

/// One path comes and goes while the one it collides with is looked up again: that keeps the number
/// it has as long as it is known.
#[test]
fn a_collision_that_goes_renumbers_nobody() {
    explore(Threads::Two, &["b had to give way"], |seen| {
        let (inodes, listing) = (inodes(COLLIDING), listing());
        let wanted = inodes.number(Ino::ROOT, &listing, 1);
        let comes_and_goes = {
            let (inodes, listing) = (Arc::clone(&inodes), Arc::clone(&listing));
            thread::spawn(move || look_up_and_forget(&inodes, &listing, 0))
        };
        let first = inodes.remember(Ino::ROOT, &listing, 1);
        let second = inodes.remember(Ino::ROOT, &listing, 1);
        assert_eq!(first, second, "the number changed");
        assert_eq!(inodes.number(Ino::ROOT, &listing, 1), first);
        if first != wanted {
            seen.mark("b had to give way");
        }
        comes_and_goes.join().expect("no panic");
        assert_is(&inodes, first, 1);
        inodes.forget(first, 2);
        assert_empty(&inodes, &listing, COLLIDING);
    });
}

/// Three look-ups of two paths that collide, two of them of the same path.
#[test]
fn three_lookups_collide() {
    explore(
        Threads::Three,
        &["a had to give way", "b had to give way"],
        |seen| {
            let (inodes, listing) = (inodes(COLLIDING), listing());
            let wanted = inodes.number(Ino::ROOT, &listing, 0);
            let others = [1, 1].map(|index| {
                let (inodes, listing) = (Arc::clone(&inodes), Arc::clone(&listing));
                thread::spawn(move || inodes.remember(Ino::ROOT, &listing, index))
            });
            let a = inodes.remember(Ino::ROOT, &listing, 0);
            let [b, b_too] = others.map(|other| other.join().expect("no panic"));
            assert_eq!(b, b_too, "two numbers for one path");
            assert_ne!(a, b, "one number for two paths");
            seen.mark(if a == wanted {
                "b had to give way"
            } else {
                "a had to give way"
            });
            assert_is(&inodes, a, 0);
            assert_is(&inodes, b, 1);
            inodes.forget(b, 2);
            inodes.forget(a, 1);
            assert_empty(&inodes, &listing, COLLIDING);
        },
    );
}

/// The same where each forgets as soon as it can: whoever is known is known by one number.
#[test]
fn three_come_and_go_and_collide() {
    explore(Threads::Three, &[], |_| {
        let (inodes, listing) = (inodes(COLLIDING), listing());
        let others = [0, 1].map(|index| {
            let (inodes, listing) = (Arc::clone(&inodes), Arc::clone(&listing));
            thread::spawn(move || look_up_and_forget(&inodes, &listing, index))
        });
        look_up_and_forget(&inodes, &listing, 1);
        for other in others {
            other.join().expect("no panic");
        }
        assert_empty(&inodes, &listing, COLLIDING);
    });
}

/// A path that had to give way is looked up twice while the one it gave way to goes: it has one
/// number, its own or the one that is free again.
#[test]
fn the_number_is_free_again_while_a_path_gives_way() {
    let must_see = ["gave way", "got the free number"];
    explore(Threads::Three, &must_see, |seen| {
        let (inodes, listing) = (inodes(COLLIDING), listing());
        let a = inodes.remember(Ino::ROOT, &listing, 0);
        let forgetter = {
            let inodes = Arc::clone(&inodes);
            thread::spawn(move || inodes.forget(a, 1))
        };
        let other = {
            let (inodes, listing) = (Arc::clone(&inodes), Arc::clone(&listing));
            thread::spawn(move || inodes.remember(Ino::ROOT, &listing, 1))
        };
        let b = inodes.remember(Ino::ROOT, &listing, 1);
        forgetter.join().expect("no panic");
        let b_too = other.join().expect("no panic");
        assert_eq!(b, b_too, "two numbers for one path");
        seen.mark(if b == a {
            "got the free number"
        } else {
            "gave way"
        });
        assert_is(&inodes, b, 1);
        inodes.forget(b, 2);
        assert_empty(&inodes, &listing, COLLIDING);
    });
}

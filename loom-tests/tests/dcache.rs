//! Models of `DCache`: one fill for all who miss, one snapshot for all while anyone holds it, and
//! nothing old after a change, whatever is evicted, replaced, abandoned or dropped meanwhile.

use std::sync::Arc;

use bonsai_loom_tests::{Mutex, Seen, Threads, block_on, explore, lock, poll_once, thread};
use bonsaifs_core::fs::{
    FsErrorKind, FsResult, Kind, Listing, ListingBuilder, Timestamp, dcache::DCache,
};

type Snapshot = Arc<Listing<u8>>;

/// A directory with one entry, whose size says which version of it this is.
fn version(number: u64) -> Listing<u8> {
    let mut builder = ListingBuilder::with_capacity(1);
    builder.push(
        b"x",
        0,
        Kind::File,
        0o644,
        Timestamp::default(),
        Some(number),
    );
    builder.build().0
}

fn version_of(listing: &Snapshot) -> u64 {
    listing.size(0).expect("it is given")
}

/// A cache over directories whose current version is the truth.
struct World {
    cache: DCache<u8>,
    truth: Mutex<u64>,
    fills: Mutex<u32>,
}

/// Whether a fill finds its listing.
#[derive(Clone, Copy, PartialEq)]
enum Fill {
    Finds,
    Fails,
}

impl World {
    /// With room for `listings` of them.
    fn new(listings: usize) -> Arc<Self> {
        Arc::new(Self {
            cache: DCache::new(version(1).weight() * listings),
            truth: Mutex::new(1),
            fills: Mutex::new(0),
        })
    }

    fn get(&self, node: u8, fill: Fill) -> FsResult<Snapshot> {
        block_on(self.cache.get(&node, async || {
            *lock(&self.fills) += 1;
            let number = *lock(&self.truth);
            match fill {
                Fill::Finds => Ok(version(number)),
                Fill::Fails => Err(FsErrorKind::TimedOut.into()),
            }
        }))
    }

    fn find(&self, node: u8) -> Snapshot {
        self.get(node, Fill::Finds).expect("fills find")
    }

    fn fills(&self) -> u32 {
        *lock(&self.fills)
    }

    fn assert_idle(&self) {
        assert_eq!(self.cache.fills(), 0, "a fill was left over");
        assert!(self.cache.weight() <= self.cache.budget(), "over budget");
    }
}

fn spawn<T: Send + 'static>(
    world: &Arc<World>,
    work: impl FnOnce(&World) -> T + Send + 'static,
) -> thread::JoinHandle<T> {
    let world = Arc::clone(world);
    thread::spawn(move || work(&world))
}

fn one_fill_for_all(threads: Threads, others: usize) {
    explore(threads, &[], move |_| {
        let world = World::new(1);
        let handles: Vec<_> = (0..others)
            .map(|_| spawn(&world, |world| world.find(7)))
            .collect();
        let mine = world.find(7);
        for handle in handles {
            let theirs = handle.join().expect("no panic");
            assert!(Arc::ptr_eq(&mine, &theirs), "two snapshots");
        }
        assert_eq!(world.fills(), 1);
        world.assert_idle();
    });
}

#[test]
fn two_misses_one_fill() {
    one_fill_for_all(Threads::Two, 1);
}

#[test]
fn three_misses_one_fill() {
    one_fill_for_all(Threads::Three, 2);
}

/// A failed fill is not kept: once it is over, another can find the listing.
#[test]
fn a_failure_is_not_kept() {
    explore(Threads::Two, &["shared the failure", "found it"], |seen| {
        let world = World::new(1);
        let failing = spawn(&world, |world| world.get(7, Fill::Fails).is_err());
        let mine = world.get(7, Fill::Finds);
        failing.join().expect("no panic");
        seen.mark(match mine {
            Ok(_) => "found it",
            Err(_) => "shared the failure",
        });
        assert_eq!(version_of(&world.find(7)), 1);
        world.assert_idle();
    });
}

/// Begins a fill, or waits for one, and goes away.
fn abandon(world: &World, seen: &Seen) {
    let mut never = Box::pin(world.cache.get(&7, async || {
        seen.mark("abandoned a fill");
        std::future::pending().await
    }));
    let _ = poll_once(&mut never);
}

fn an_abandoned_fill_strands_nobody(threads: Threads, others: usize) {
    explore(threads, &["abandoned a fill"], move |seen| {
        let world = World::new(1);
        let handles: Vec<_> = (0..others)
            .map(|_| spawn(&world, |world| world.find(7)))
            .collect();
        abandon(&world, seen);
        for handle in handles {
            assert_eq!(version_of(&handle.join().expect("no panic")), 1);
        }
        assert_eq!(world.fills(), 1);
        world.assert_idle();
    });
}

#[test]
fn with_two_an_abandoned_fill_strands_nobody() {
    an_abandoned_fill_strands_nobody(Threads::Two, 1);
}

#[test]
fn with_three_an_abandoned_fill_strands_nobody() {
    an_abandoned_fill_strands_nobody(Threads::Three, 2);
}

/// The directory changes, and its listing is invalidated, while it is being filled.
#[derive(Clone, Copy, PartialEq)]
enum Change {
    Invalidate,
    Replace,
}

impl World {
    fn change(&self, change: Change) {
        *lock(&self.truth) = 2;
        match change {
            Change::Invalidate => self.cache.invalidate(&7),
            Change::Replace => {
                self.cache.replace(&7, version(2));
            }
        }
    }
}

/// A fill, a change, and a look at what is left.
fn nothing_old_is_kept_after(change: Change, threads: Threads) {
    explore(
        threads,
        &["filled the old", "filled the new"],
        move |seen| {
            let world = World::new(1);
            let filler = spawn(&world, |world| version_of(&world.find(7)));
            world.change(change);
            let asked = world.cache.try_get(&7);
            assert!(asked.is_none_or(|now| version_of(&now) == 2), "stale");
            seen.mark(match filler.join().expect("no panic") {
                1 => "filled the old",
                _ => "filled the new",
            });
            assert_eq!(version_of(&world.find(7)), 2, "stale");
            world.assert_idle();
        },
    );
}

/// Fills before and after a change: who asks after it gets the new version, one and the same.
fn nothing_old_is_given_after(change: Change) {
    explore(Threads::Three, &["an old fill ended later"], move |seen| {
        let world = World::new(1);
        let others = [(); 2].map(|()| spawn(&world, |world| world.find(7)));
        world.change(change);
        let mine = world.find(7);
        assert_eq!(version_of(&mine), 2, "stale");
        for other in others {
            let theirs = other.join().expect("no panic");
            if !Arc::ptr_eq(&theirs, &mine) {
                seen.mark("an old fill ended later");
            }
        }
        assert!(Arc::ptr_eq(&world.find(7), &mine), "two snapshots");
        world.assert_idle();
    });
}

#[test]
fn nothing_old_is_kept_after_invalidate() {
    nothing_old_is_kept_after(Change::Invalidate, Threads::Two);
}

#[test]
fn nothing_old_is_kept_after_replace() {
    nothing_old_is_kept_after(Change::Replace, Threads::TwoLong);
}

#[test]
fn nothing_old_is_given_after_invalidate() {
    nothing_old_is_given_after(Change::Invalidate);
}

#[test]
fn nothing_old_is_given_after_replace() {
    nothing_old_is_given_after(Change::Replace);
}

/// A snapshot that someone holds (an open directory, an inode) is the one that everyone gets, also
/// when it is evicted just now.
#[test]
fn an_evicted_snapshot_that_is_held_is_found_again() {
    explore(Threads::Two, &["evicted"], |seen| {
        let world = World::new(1);
        let held = world.find(7);
        let evictor = spawn(&world, |world| world.find(8));
        let again = world.find(7);
        assert!(Arc::ptr_eq(&held, &again), "two snapshots");
        evictor.join().expect("no panic");
        assert_eq!(world.fills(), 2);
        if world.cache.try_get(&8).is_none() {
            seen.mark("evicted");
        }
        world.assert_idle();
    });
}

/// The same, while it is also replaced: a holder goes on with its own, everyone else gets the new.
#[test]
fn eviction_and_replacement_of_a_held_snapshot() {
    explore(Threads::Three, &[], |_| {
        let world = World::new(1);
        let held = world.find(7);
        let evictor = spawn(&world, |world| drop(world.find(8)));
        let replacer = spawn(&world, |world| world.change(Change::Replace));
        let seen_now = world.find(7);
        replacer.join().expect("no panic");
        let after = world.find(7);
        evictor.join().expect("no panic");
        assert_eq!((version_of(&held), version_of(&after)), (1, 2));
        assert!(Arc::ptr_eq(&seen_now, &held) || Arc::ptr_eq(&seen_now, &after));
        assert!(Arc::ptr_eq(&world.find(7), &after), "two current snapshots");
        world.assert_idle();
    });
}

/// The last holder lets go of an evicted snapshot while it is asked for: it is found, or filled
/// anew; never half of each.
#[test]
fn the_last_holder_lets_go() {
    explore(Threads::Two, &["found", "filled anew"], |seen| {
        let world = World::new(1);
        let held = world.find(7);
        let _evictor = world.find(8);
        // The look afterwards is for loom, which does not see an `Arc` being dropped, but then looks
        // at what goes before and after it.
        let holder = spawn(&world, move |world| {
            drop(held);
            assert!(world.cache.try_get(&9).is_none());
        });
        let mine = world.find(7);
        assert_eq!(version_of(&mine), 1);
        seen.mark(match world.fills() {
            2 => "found",
            _ => "filled anew",
        });
        holder.join().expect("no panic");
        assert!(Arc::ptr_eq(&world.find(7), &mine), "two snapshots");
        world.assert_idle();
    });
}

/// What nobody holds and the budget can't keep is gone from memory.
#[test]
fn nothing_stays_without_a_holder_and_room() {
    explore(Threads::Two, &[], |_| {
        let world = World::new(0);
        let other = spawn(&world, |world| Arc::downgrade(&world.find(7)));
        let mine = Arc::downgrade(&world.find(7));
        let theirs = other.join().expect("no panic");
        assert!(mine.upgrade().is_none() && theirs.upgrade().is_none());
        assert!(world.cache.try_get(&7).is_none());
        world.assert_idle();
    });
}

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    future::ready,
    rc::Rc,
};

use proptest::prelude::*;

use super::*;
use crate::{
    cache::oneshot::{Sender, oneshot},
    fs::{FsError, FsErrorKind, Kind, ListingBuilder, Timestamp},
    testing::{Tasks, cases, poll_once},
};

/// A listing with one file, whose node tells listings apart.
fn listing(version: u32) -> Listing<u32> {
    let mut builder = ListingBuilder::new();
    builder.push(b"f", version, Kind::File, 0o644, Timestamp::default(), None);
    builder.build().0
}

fn version(listing: &Listing<u32>) -> u32 {
    *listing.node(0)
}

fn one_weight() -> usize {
    listing(0).weight()
}

/// A fill that answers at once.
fn filled(cache: &DCache<u32>, node: u32, with: u32) -> Arc<Listing<u32>> {
    cache
        .try_fill(&node, || Some(Ok(listing(with))))
        .expect("answers at once")
        .expect("does not fail")
}

fn failure() -> FsError {
    FsErrorKind::Io.into()
}

#[test]
fn a_listing_is_kept() {
    let cache = DCache::new(1 << 20);
    assert!(cache.try_get(&1).is_none() && cache.is_empty());
    assert_eq!(version(&filled(&cache, 1, 10)), 10);
    assert_eq!(cache.try_get(&1).map(|listing| version(&listing)), Some(10));
    assert_eq!((cache.len(), cache.weight()), (1, one_weight()));
    assert!(!cache.is_empty());
}

#[test]
fn what_was_evicted_and_is_asked_for_again_while_somebody_holds_it_is_kept_again() {
    let cache = DCache::new(one_weight());
    let held = filled(&cache, 1, 10);
    filled(&cache, 2, 20);
    assert!(Arc::ptr_eq(&held, &cache.try_get(&1).expect("held")));
    drop(held);
    assert_eq!(cache.try_get(&1).map(|listing| version(&listing)), Some(10));
    assert!(cache.try_get(&2).is_none(), "it had to make room");
}

#[test]
fn a_fill_under_way_is_counted_until_it_ends_or_goes() {
    let cache: DCache<u32> = DCache::new(1 << 20);
    let mut fill = Box::pin(cache.get(&1, std::future::pending::<FsResult<Listing<u32>>>));
    assert!(poll_once(&mut fill).0.is_pending());
    assert_eq!(cache.fills(), 1);
    drop(fill);
    assert_eq!(cache.fills(), 0);
}

#[test]
fn a_failure_is_answered_and_not_kept() {
    let cache: DCache<u32> = DCache::new(1 << 20);
    let failed = cache.try_fill(&1, || Some(Err(failure())));
    assert!(failed.expect("answers at once").is_err());
    assert_eq!(version(&filled(&cache, 1, 10)), 10);
    assert_eq!(cache.fills(), 0);
}

#[test]
fn a_fill_that_can_not_answer_at_once_leaves_nothing_behind() {
    let cache: DCache<u32> = DCache::new(1 << 20);
    assert!(cache.try_fill(&1, || None).is_none());
    assert_eq!((cache.fills(), cache.len()), (0, 0));
}

#[test]
fn while_a_snapshot_is_held_the_same_one_is_served_however_small_the_budget() {
    let cache = DCache::new(0);
    let held = filled(&cache, 1, 10);
    held.set_size(0, 99);
    assert_eq!((cache.len(), cache.weight()), (0, 0));
    let again = cache.try_get(&1).expect("held");
    assert!(Arc::ptr_eq(&held, &again));
    assert_eq!(again.size(0), Some(99), "a size known once stays known");
    drop((held, again));
    assert!(cache.try_get(&1).is_none());
}

#[test]
fn the_budget_bounds_what_nobody_holds() {
    let cache = DCache::new(10 * one_weight());
    for node in 0..100 {
        filled(&cache, node, node);
    }
    assert_eq!((cache.len(), cache.weight()), (10, 10 * one_weight()));
    cache.set_budget(3 * one_weight());
    assert_eq!((cache.len(), cache.budget()), (3, 3 * one_weight()));
    let here = (0..100).filter(|node| cache.try_get(node).is_some());
    assert_eq!(here.count(), 3);
}

/// Ends a fill.
type Gate = Sender<FsResult<Listing<u32>>>;

/// What ends the fills under way.
type Gates = RefCell<Vec<Gate>>;

/// Runs a fill that ends when its gate says, and with what that says.
async fn get(cache: &DCache<u32>, node: u32, gates: &Gates) -> FsResult<Arc<Listing<u32>>> {
    let fill = || {
        let (sender, gate) = oneshot();
        gates.borrow_mut().push(sender);
        async { gate.await.expect("gates are opened, not dropped") }
    };
    cache.get(&node, fill).await
}

/// Museum 13: k callers who miss, one fill, one snapshot.
#[test]
fn callers_who_miss_together_share_one_fill() {
    let cache = DCache::new(1 << 20);
    let gates = Gates::default();
    let got = RefCell::new(Vec::new());
    let mut tasks = Tasks::default();
    for _ in 0..10 {
        tasks.spawn(async {
            let listing = get(&cache, 1, &gates).await.expect("filled");
            got.borrow_mut().push(listing);
        });
    }
    tasks.run();
    assert_eq!(gates.borrow().len(), 1);
    let gate = gates.borrow_mut().pop().expect("one fill");
    assert!(gate.send(Ok(listing(10))).is_ok());
    tasks.run();
    let got = got.borrow();
    assert_eq!(got.len(), 10);
    assert!(got.iter().all(|listing| Arc::ptr_eq(listing, &got[0])));
}

/// Museum 14: a cancelled fill is not "in progress" for ever.
#[test]
fn a_cancelled_fill_is_taken_over_by_one_who_waits_for_it() {
    let cache = DCache::new(1 << 20);
    let gates = Gates::default();
    let got = Cell::new(None);
    let mut tasks = Tasks::default();
    tasks.spawn(async {
        let _ = get(&cache, 1, &gates).await;
    });
    tasks.spawn(async {
        let listing = cache.get(&1, || ready(Ok(listing(20)))).await;
        got.set(listing.ok().map(|listing| version(&listing)));
    });
    tasks.run();
    tasks.cancel(0);
    tasks.run();
    assert_eq!((got.get(), cache.fills()), (Some(20), 0));
}

/// The sync half never waits, and never begins what is begun already.
#[test]
fn try_fill_does_not_wait_for_a_fill_under_way() {
    let cache = DCache::new(1 << 20);
    let gates = Gates::default();
    let mut tasks = Tasks::default();
    tasks.spawn(async {
        let _ = get(&cache, 1, &gates).await;
    });
    tasks.run();
    assert!(
        cache
            .try_fill(&1, || unreachable!("begun already"))
            .is_none()
    );
}

/// Museum 16 and 18: an older fill never passes for the newer state.
#[test]
fn a_fill_under_way_when_its_node_is_invalidated_answers_its_waiters_and_is_not_kept() {
    let cache = DCache::new(1 << 20);
    let gates = Gates::default();
    let got = RefCell::new(Vec::new());
    let mut tasks = Tasks::default();
    for _ in 0..2 {
        tasks.spawn(async {
            let listing = get(&cache, 1, &gates).await.expect("filled");
            got.borrow_mut().push(listing);
        });
    }
    tasks.run();
    cache.invalidate(&1);
    tasks.spawn(async {
        let listing = get(&cache, 1, &gates).await.expect("filled");
        got.borrow_mut().push(listing);
    });
    tasks.run();
    assert_eq!(gates.borrow().len(), 2, "who asks later causes a new fill");
    let old = gates.borrow_mut().remove(0);
    assert!(old.send(Ok(listing(1))).is_ok());
    tasks.run();
    assert!(cache.try_get(&1).is_none(), "the old one is not kept");
    let new = gates.borrow_mut().remove(0);
    assert!(new.send(Ok(listing(2))).is_ok());
    tasks.run();
    let versions: Vec<_> = got
        .borrow()
        .iter()
        .map(|listing| version(listing))
        .collect();
    assert_eq!(versions, [1, 1, 2]);
    assert!(got.borrow()[0].is_superseded() && !got.borrow()[2].is_superseded());
    assert_eq!(cache.try_get(&1).map(|listing| version(&listing)), Some(2));
}

#[test]
fn a_replaced_listing_is_served_to_no_one_even_while_it_is_held() {
    let cache = DCache::new(1 << 20);
    let old = filled(&cache, 1, 10);
    let new = cache.replace(&1, listing(20));
    assert!(old.is_superseded() && !new.is_superseded());
    assert!(Arc::ptr_eq(&cache.try_get(&1).expect("kept"), &new));
    cache.invalidate(&1);
    assert!(cache.try_get(&1).is_none(), "although `new` is held");
    assert_eq!(cache.weight(), 0);
}

#[derive(Clone, Debug)]
enum Op {
    Ask(u32),
    TryGet(u32),
    TryFill(u32),
    Poll(prop::sample::Index),
    Cancel(prop::sample::Index),
    Answer(prop::sample::Index, bool),
    Invalidate(u32),
    Replace(u32),
    LetGo(prop::sample::Index),
    Budget(usize),
}

fn any_op() -> impl Strategy<Value = Op> {
    let node = 0_u32..3;
    let index = any::<prop::sample::Index>;
    prop_oneof![
        4 => node.clone().prop_map(Op::Ask),
        2 => node.clone().prop_map(Op::TryGet),
        1 => node.clone().prop_map(Op::TryFill),
        6 => index().prop_map(Op::Poll),
        2 => index().prop_map(Op::Cancel),
        4 => (index(), any::<bool>()).prop_map(|(i, well)| Op::Answer(i, well)),
        1 => node.clone().prop_map(Op::Invalidate),
        1 => node.prop_map(Op::Replace),
        3 => index().prop_map(Op::LetGo),
        1 => (0_usize..4).prop_map(Op::Budget),
    ]
}

/// What the model knows: the state of each directory by a version that grows, the snapshots that
/// somebody holds, and the fills under way.
#[derive(Default)]
struct World {
    versions: BTreeMap<u32, u32>,
    held: Vec<(u32, Arc<Listing<u32>>)>,
    /// Node, version, and what ends it.
    fills: Vec<(u32, u32, Gate)>,
}

impl World {
    fn version(&self, node: u32) -> u32 {
        self.versions.get(&node).copied().unwrap_or(0)
    }

    /// A snapshot was handed out to someone who asked when the directory was at `asked`.
    fn take(&mut self, node: u32, asked: u32, got: Arc<Listing<u32>>) {
        assert!(version(&got) >= asked, "older than when it was asked for");
        for (other, held) in &self.held {
            if *other == node && version(held) == version(&got) && !held.is_superseded() {
                assert!(Arc::ptr_eq(held, &got), "two snapshots of one state");
            }
        }
        self.held.push((node, got));
    }
}

async fn ask(cache: &DCache<u32>, world: &RefCell<World>, node: u32) {
    let asked = world.borrow().version(node);
    let fill = || {
        let (sender, gate) = oneshot();
        let mut world = world.borrow_mut();
        let version = world.version(node);
        let current = |(n, held): &(u32, Arc<Listing<u32>>)| *n == node && !held.is_superseded();
        assert!(
            !world.held.iter().any(current),
            "filled although it is here"
        );
        world.fills.retain(|(_, _, gate)| !gate.is_closed());
        let same = |fill: &&(u32, u32, _)| (fill.0, fill.1) == (node, version);
        assert_eq!(
            world.fills.iter().find(same).map(|_| ()),
            None,
            "two fills of one state"
        );
        world.fills.push((node, version, sender));
        async { gate.await.expect("gates are opened, not dropped") }
    };
    if let Ok(got) = cache.get(&node, fill).await {
        world.borrow_mut().take(node, asked, got);
    }
}

fn pick<T>(from: &[T], index: prop::sample::Index) -> Option<usize> {
    (!from.is_empty()).then(|| index.index(from.len()))
}

proptest! {
    #![proptest_config(cases(512))]

    /// Nobody gets a state older than when they asked; of each state there is one snapshot as
    /// long as it is held; one fill at a time; the budget holds; everyone comes home.
    #[test]
    fn the_cache_serves_current_snapshots_only(ops in prop::collection::vec(any_op(), 0..80)) {
        let cache = Rc::new(DCache::new(2 * one_weight()));
        let world = RefCell::new(World::default());
        let mut tasks = Tasks::default();
        for op in ops {
            match op {
                Op::Ask(node) => tasks.spawn(ask(&cache, &world, node)),
                Op::TryGet(node) => {
                    let mut world = world.borrow_mut();
                    let now = world.version(node);
                    match cache.try_get(&node) {
                        Some(got) => world.take(node, now, got),
                        None => {
                            let current = |(n, held): &(u32, Arc<Listing<u32>>)| {
                                *n == node && !held.is_superseded()
                            };
                            prop_assert!(!world.held.iter().any(current), "held, but not found");
                        }
                    }
                }
                Op::TryFill(node) => {
                    let now = world.borrow().version(node);
                    if let Some(got) = cache.try_fill(&node, || Some(Ok(listing(now)))) {
                        world.borrow_mut().take(node, now, got.expect("does not fail"));
                    }
                }
                Op::Poll(index) => {
                    let ready = tasks.ready();
                    if let Some(i) = pick(&ready, index) {
                        tasks.poll(ready[i]).expect("no panic");
                    }
                }
                Op::Cancel(index) => {
                    let alive = tasks.alive();
                    if let Some(i) = pick(&alive, index) {
                        tasks.cancel(alive[i]);
                    }
                }
                Op::Answer(index, well) => {
                    let mut world = world.borrow_mut();
                    if let Some(i) = pick(&world.fills, index) {
                        let (_, version, gate) = world.fills.remove(i);
                        drop(world);
                        // Its task may be gone; then so is the gate.
                        let answer = if well { Ok(listing(version)) } else { Err(failure()) };
                        let _ = gate.send(answer);
                    }
                }
                Op::Invalidate(node) => {
                    *world.borrow_mut().versions.entry(node).or_default() += 1;
                    cache.invalidate(&node);
                }
                Op::Replace(node) => {
                    let mut world = world.borrow_mut();
                    let version = world.version(node) + 1;
                    world.versions.insert(node, version);
                    let new = cache.replace(&node, listing(version));
                    world.take(node, version, new);
                }
                Op::LetGo(index) => {
                    let mut world = world.borrow_mut();
                    if let Some(i) = pick(&world.held, index) {
                        world.held.remove(i);
                    }
                }
                Op::Budget(listings) => cache.set_budget(listings * one_weight()),
            }
            prop_assert!(cache.weight() <= cache.budget());
        }
        loop {
            tasks.run();
            let Some((_, version, gate)) = world.borrow_mut().fills.pop() else {
                break;
            };
            let _ = gate.send(Ok(listing(version)));
        }
        prop_assert_eq!(tasks.alive(), Vec::<usize>::new(), "stranded");
        prop_assert_eq!(cache.fills(), 0);
    }
}

//! Loom models: small programs that loom runs under every order of their steps. Run them with
//! `cargo test -p bonsaifs-core --features loom --lib models`.
//!
//! May import: loom, this crate. Two or three threads, a handful of steps each.

use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Wake, Waker},
};

use loom::thread;

use crate::{
    cache::{
        flight::{Join, SingleFlight, Standing, WaitEnd},
        weighted::Weighted,
    },
    fs::{Attr, Ino, Kind, Listing, ListingBuilder, Timestamp, dcache::DCache, inodes::Inodes},
    sync::{Arc, AtomicUsize, Mutex, Ordering, lock},
};

/// Runs `model` under every order of steps with at most so many preemptions: without a bound
/// three threads take for ever.
fn check(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Flights over a cache: what everyone does who has work to share.
struct Shared {
    flights: SingleFlight<u8, usize>,
    cache: Mutex<Option<usize>>,
    works: AtomicUsize,
}

impl Shared {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            flights: SingleFlight::new(),
            cache: Mutex::new(None),
            works: AtomicUsize::new(0),
        })
    }

    async fn get(&self) -> usize {
        if let Some(value) = *lock(&self.cache) {
            return value;
        }
        match self.flights.lead(&0).await {
            WaitEnd::Done(value) => value,
            WaitEnd::Lead(lead) => {
                let cached = *lock(&self.cache);
                let value = cached.unwrap_or_else(|| 1 + self.works.fetch_add(1, Ordering::SeqCst));
                lead.publish(value, |value, standing| {
                    if standing == Standing::Current {
                        *lock(&self.cache) = Some(*value);
                    }
                });
                value
            }
        }
    }
}

#[test]
fn callers_who_miss_together_do_the_work_once() {
    check(3, || {
        let shared = Shared::new();
        let other = Arc::clone(&shared);
        let thread = thread::spawn(move || block_on(other.get()));
        assert_eq!(block_on(shared.get()), 1);
        assert_eq!(thread.join().expect("no panic"), 1);
        assert_eq!(shared.works.load(Ordering::SeqCst), 1);
        assert!(shared.flights.is_empty());
    });
}

#[test]
fn a_leader_that_goes_strands_nobody() {
    check(3, || {
        let shared = Shared::new();
        let goes = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            if let Join::Lead(lead) = goes.flights.join(&0) {
                drop(lead);
            }
        });
        let stays = Arc::clone(&shared);
        let other = thread::spawn(move || block_on(stays.get()));
        assert_eq!(block_on(shared.get()), 1);
        assert_eq!(other.join().expect("no panic"), 1);
        thread.join().expect("no panic");
        assert!(shared.flights.is_empty());
    });
}

#[test]
fn a_lead_offered_to_one_who_goes_is_passed_on() {
    check(3, || {
        let shared = Shared::new();
        let Join::Lead(lead) = shared.flights.join(&0) else {
            unreachable!("the first to join");
        };
        let Join::Wait(mut goes) = shared.flights.join(&0) else {
            unreachable!("the second to join");
        };
        let stays = Arc::clone(&shared);
        let other = thread::spawn(move || block_on(stays.get()));
        assert!(poll_once(&mut goes).is_pending());
        let thread = thread::spawn(move || drop(goes));
        drop(lead);
        assert_eq!(block_on(shared.get()), 1);
        thread.join().expect("no panic");
        assert_eq!(other.join().expect("no panic"), 1);
        assert_eq!(shared.works.load(Ordering::SeqCst), 1);
        assert!(shared.flights.is_empty());
    });
}

fn listing(version: usize) -> Listing<usize> {
    let mut listing = ListingBuilder::new();
    listing.push(b"f", version, Kind::File, 0o644, Timestamp::default(), None);
    listing.build().0
}

#[test]
fn after_an_invalidation_nobody_gets_what_was_before() {
    check(5, || {
        let cache = Arc::new(DCache::new(1 << 20));
        let version = Arc::new(AtomicUsize::new(1));
        let held = cache.replace(&0, listing(1));
        // What is held, but not kept, is taken back into what is kept while it is invalidated.
        cache.set_budget(0);
        cache.set_budget(1 << 20);
        let (cache_1, version_1) = (Arc::clone(&cache), Arc::clone(&version));
        let thread = thread::spawn(move || {
            let fill = || async { Ok(listing(version_1.load(Ordering::SeqCst))) };
            let got = block_on(cache_1.get(&0, fill)).expect("does not fail");
            *got.get(0).node
        });
        version.store(2, Ordering::SeqCst);
        cache.invalidate(&0);
        let fill = || async { Ok(listing(version.load(Ordering::SeqCst))) };
        let got = block_on(cache.get(&0, fill)).expect("does not fail");
        assert_eq!(*got.get(0).node, 2);
        let theirs = thread.join().expect("no panic");
        assert!(theirs == 1 || theirs == 2);
        let now = cache.try_get(&0).expect("held, so here");
        assert!(Arc::ptr_eq(&now, &got), "one snapshot while it is held");
        drop(held);
        assert_eq!(cache.fills(), 0);
    });
}

#[test]
fn the_weight_is_the_sum_of_what_is_kept_and_within_the_budget() {
    check(3, || {
        let cache = Arc::new(Weighted::new(3));
        let other = Arc::clone(&cache);
        let thread = thread::spawn(move || {
            other.insert(1, 2, 2);
            assert!(other.weight() <= 3);
        });
        cache.insert(1, 1, 1);
        cache.insert(2, 2, 2);
        assert!(cache.weight() <= 3);
        thread.join().expect("no panic");
        let sum: usize = [1, 2].iter().filter_map(|key| cache.get(key)).sum();
        assert_eq!(cache.weight(), sum);
    });
}

#[test]
fn colliding_paths_have_their_own_numbers_and_each_path_has_one() {
    check(3, || {
        let attr = Attr {
            kind: Kind::Dir,
            perm: 0o755,
            size: 0,
            mtime: Timestamp::default(),
        };
        let inodes = Arc::new(Inodes::new(0, attr, 0));
        let mut dir = ListingBuilder::new();
        for (name, node) in [(b"a", 1), (b"b", 2)] {
            dir.push(name, node, Kind::File, 0o644, Timestamp::default(), None);
        }
        let dir = Arc::new(dir.build().0);
        let (inodes_1, dir_1) = (Arc::clone(&inodes), Arc::clone(&dir));
        let thread = thread::spawn(move || {
            let a = inodes_1.remember(Ino::ROOT, &dir_1, 0);
            let b = inodes_1.remember(Ino::ROOT, &dir_1, 1);
            assert_ne!(a, b);
            inodes_1.forget(a, 1);
            b
        });
        let b = inodes.remember(Ino::ROOT, &dir, 1);
        assert_eq!(thread.join().expect("no panic"), b);
        assert_eq!(inodes.get(b).map(|known| known.index), Some(1));
        inodes.forget(b, 2);
        assert_eq!(inodes.len(), 1);
    });
}

//! Models of `HandOff`, with a flight and a memory around it as the hydrator has them: everyone who
//! wants something gets it, it is asked for by one at a time, and the end of a request or a prefetch
//! concerns only what it was sent for.

use std::sync::Arc;

use bonsai_loom_tests::{Mutex, Seen, Threads, block_on, explore, lock, thread};
use bonsaifs_core::cache::{
    flight::{Join, Lead, SingleFlight, WaitEnd},
    handoff::{Claim, HandOff, Ride, Want},
};

/// What a flight ends with.
type Outcome = Result<u32, &'static str>;

/// A store with an origin that has every object but [`MISSING`].
struct Store {
    flights: SingleFlight<u8, Outcome>,
    off: HandOff<u8, Outcome, ()>,
    memory: Mutex<Vec<(u8, u32)>>,
    /// What is being brought now, and how often each object was asked for.
    origin: Mutex<Origin>,
    max_requests: usize,
}

#[derive(Default)]
struct Origin {
    out: usize,
    bringing: Vec<u8>,
    asked: Vec<u8>,
}

const MISSING: u8 = 9;

impl Store {
    /// One request may be out at a time.
    fn new(max_prefetches: usize) -> Arc<Self> {
        Self::with_bound(1, max_prefetches)
    }

    fn with_bound(max_requests: usize, max_prefetches: usize) -> Arc<Self> {
        Arc::new(Self {
            flights: SingleFlight::new(),
            off: HandOff::new(max_requests, max_prefetches),
            memory: Mutex::new(Vec::new()),
            origin: Mutex::default(),
            max_requests,
        })
    }

    fn look(&self, key: u8) -> Option<u32> {
        let memory = lock(&self.memory);
        memory.iter().find(|(k, _)| *k == key).map(|(_, v)| *v)
    }

    /// What a reader gets.
    fn get(&self, seen: &Seen, key: u8) -> Outcome {
        if let Some(value) = self.look(key) {
            seen.mark("found in memory");
            return Ok(value);
        }
        let mut wait = match self.flights.join(&key) {
            Join::Wait(wait) => {
                seen.mark("joined");
                wait
            }
            Join::Lead(lead) => {
                let wait = lead.wait();
                self.want(key, lead);
                wait
            }
        };
        block_on(async {
            loop {
                match (&mut wait).await {
                    WaitEnd::Done(outcome) => return outcome,
                    WaitEnd::Lead(lead) => {
                        seen.mark("took over");
                        wait = lead.wait();
                        self.want(key, lead);
                    }
                }
            }
        })
    }

    fn want(&self, key: u8, lead: Lead<u8, Outcome>) {
        self.off.want(key, (), lead, |key| self.look(*key).map(Ok));
        self.send();
    }

    /// Sends what may leave, in the caller's thread: a model's threads are few.
    fn send(&self) {
        while let Some(wants) = self.off.next_request(2) {
            self.fetch(&wants);
            self.off.end_request();
        }
    }

    fn fetch(&self, wants: &[Want<u8>]) {
        let keys: Vec<u8> = wants.iter().map(|want| want.key).collect();
        self.begin(&keys);
        for want in wants {
            if want.key == MISSING {
                if let Some(wanted) = self.off.failed(want) {
                    wanted.lead.complete(Err("missing"));
                }
            } else {
                self.publish(want.key);
            }
        }
        self.end(&keys);
        assert_eq!(self.off.still_wanted(wants), []);
    }

    fn publish(&self, key: u8) {
        lock(&self.memory).push((key, u32::from(key) * 10));
        if let Some(lead) = self.off.delivered(&key) {
            lead.complete(Ok(u32::from(key) * 10));
        }
    }

    fn evict(&self, key: u8) {
        lock(&self.memory).retain(|(k, _)| *k != key);
    }

    /// A request goes out.
    fn begin(&self, keys: &[u8]) {
        let mut origin = lock(&self.origin);
        for key in keys {
            assert!(
                !origin.bringing.contains(key),
                "{key} is on its way already"
            );
        }
        origin.out += 1;
        assert!(
            origin.out <= self.max_requests,
            "more requests are out than may be"
        );
        origin.asked.extend(keys);
        origin.bringing.extend(keys);
    }

    fn end(&self, keys: &[u8]) {
        let mut origin = lock(&self.origin);
        origin.out -= 1;
        origin.bringing.retain(|key| !keys.contains(key));
    }

    /// A prefetch of `keys` may leave now, or not at all.
    fn claim(&self, keys: &mut Vec<u8>) -> Option<Ride> {
        match self
            .off
            .claim_prefetch(keys, |key| self.look(*key).is_some())
        {
            Claim::Granted(ride) => Some(ride),
            Claim::Nothing | Claim::Later => None,
        }
    }

    /// Ends a prefetch: those who waited for what did not come want it themselves.
    fn end_prefetch(&self, seen: &Seen, ride: Ride, keys: &[u8]) {
        for (key, wanted) in self.off.end_prefetch(ride, keys) {
            seen.mark("left by the prefetch");
            self.want(key, wanted.lead);
        }
        self.send();
    }

    fn asked(&self, key: u8) -> usize {
        let origin = lock(&self.origin);
        origin.asked.iter().filter(|asked| **asked == key).count()
    }

    fn assert_idle(&self) {
        assert_eq!(self.flights.len(), 0, "a flight was left over");
        assert_eq!(self.off.waiting(), 0, "somebody waits for ever");
        assert_eq!(self.off.requests(), 0, "a request never ended");
        assert_eq!(lock(&self.origin).out, 0);
    }
}

fn reader(store: &Arc<Store>, seen: &Seen, key: u8) -> thread::JoinHandle<Outcome> {
    let (store, seen) = (Arc::clone(store), seen.clone());
    thread::spawn(move || store.get(&seen, key))
}

/// Readers of one object cause one request, whoever comes when.
fn one_object_is_asked_for_once(threads: Threads, others: usize) {
    let must_see = ["found in memory", "joined"];
    explore(threads, &must_see, move |seen| {
        let store = Store::new(0);
        let others: Vec<_> = (0..others).map(|_| reader(&store, seen, 1)).collect();
        assert_eq!(store.get(seen, 1), Ok(10));
        for other in others {
            assert_eq!(other.join().expect("no panic"), Ok(10));
        }
        assert_eq!(store.asked(1), 1);
        store.assert_idle();
    });
}

#[test]
fn two_readers_of_one_object() {
    one_object_is_asked_for_once(Threads::Two, 1);
}

#[test]
fn three_readers_of_one_object() {
    one_object_is_asked_for_once(Threads::Three, 2);
}

/// With one request allowed and that one out, readers queue; they go with the next, together, and one
/// whose object is not there fails alone. Whoever ends a request moves the queue on.
fn the_queue_moves_on(threads: Threads, keys: &'static [u8]) {
    explore(threads, &["all go together"], move |seen| {
        let store = Store::new(1);
        // A prefetch of something else is the request that is out.
        let mut ahead = vec![200];
        let ride = store.claim(&mut ahead).expect("nothing is out");
        store.begin(&ahead);
        let readers: Vec<_> = keys.iter().map(|key| reader(&store, seen, *key)).collect();
        if store.off.waiting() == keys.len() {
            seen.mark("all go together");
        }
        store.end(&ahead);
        store.end_prefetch(seen, ride, &ahead);
        for (key, reader) in keys.iter().zip(readers) {
            let expected = match *key {
                MISSING => Err("missing"),
                key => Ok(u32::from(key) * 10),
            };
            assert_eq!(reader.join().expect("no panic"), expected);
            assert_eq!(store.asked(*key), 1);
        }
        store.assert_idle();
    });
}

#[test]
fn one_queues_behind_a_request() {
    the_queue_moves_on(Threads::Two, &[1]);
}

#[test]
fn two_queue_behind_a_request_and_one_fails() {
    the_queue_moves_on(Threads::Three, &[1, MISSING]);
}

/// A reader of what a prefetch is bringing: it gets it from there, or, if it doesn't come, asks itself
/// once the prefetch has ended. It is never asked for while the prefetch is out.
fn a_reader_meets_a_prefetch(threads: Threads, readers: usize, comes: bool) {
    let must_see: &[&str] = match comes {
        true => &["found in memory"],
        false => &["left by the prefetch"],
    };
    explore(threads, must_see, move |seen| {
        // A request may leave: that nothing is sent is not for want of room.
        let store = Store::with_bound(2, 1);
        let mut ahead = vec![1];
        let ride = store.claim(&mut ahead).expect("nothing is out");
        store.begin(&ahead);
        let readers: Vec<_> = (0..readers).map(|_| reader(&store, seen, 1)).collect();
        if comes {
            store.publish(1);
        }
        store.end(&ahead);
        store.end_prefetch(seen, ride, &ahead);
        for reader in readers {
            assert_eq!(reader.join().expect("no panic"), Ok(10));
        }
        assert_eq!(store.asked(1), if comes { 1 } else { 2 });
        store.assert_idle();
    });
}

#[test]
fn a_prefetch_that_brings_what_one_wants() {
    a_reader_meets_a_prefetch(Threads::Two, 1, true);
}

#[test]
fn a_prefetch_that_brings_what_two_want() {
    a_reader_meets_a_prefetch(Threads::Three, 2, true);
}

#[test]
fn a_prefetch_that_fails_to_bring_what_one_wants() {
    a_reader_meets_a_prefetch(Threads::Two, 1, false);
}

#[test]
fn a_prefetch_that_fails_to_bring_what_two_want() {
    a_reader_meets_a_prefetch(Threads::Three, 2, false);
}

/// A prefetch of what somebody else is reading: whoever comes first, it is asked for once.
#[test]
fn a_prefetch_of_what_a_reader_gets() {
    explore(Threads::Two, &["came before the claim"], |seen| {
        let store = Store::with_bound(2, 1);
        let reader = reader(&store, seen, 1);
        let mut ahead = vec![1];
        match store.claim(&mut ahead) {
            Some(ride) => {
                store.begin(&ahead);
                store.publish(1);
                store.end(&ahead);
                store.end_prefetch(seen, ride, &ahead);
            }
            None if store.look(1).is_some() => seen.mark("came before the claim"),
            None => {}
        }
        assert_eq!(reader.join().expect("no panic"), Ok(10));
        assert_eq!(store.asked(1), 1);
        store.assert_idle();
    });
}

/// An object comes, leaves memory and is wanted anew while the request that brought it is still coming
/// to its end, which is a failure: that end is not the new want's business.
#[test]
fn an_old_request_does_not_end_a_new_want() {
    let must_see = ["wanted anew before the end"];
    explore(Threads::TwoLong, &must_see, |seen| {
        let store = Store::with_bound(2, 1);
        let Join::Lead(lead) = store.flights.join(&1) else {
            panic!("nobody leads yet");
        };
        let wait = lead.wait();
        store.off.want(1, (), lead, |_| None);
        let wants = store.off.next_request(2).expect("one is wanted");
        store.publish(1);
        assert!(matches!(block_on(wait), WaitEnd::Done(Ok(10))));
        store.evict(1);
        let again = reader(&store, seen, 1);
        if store.off.waiting() == 1 {
            seen.mark("wanted anew before the end");
        }
        for want in &wants {
            if let Some(wanted) = store.off.failed(want) {
                wanted.lead.complete(Err("the end of an old request"));
            }
        }
        store.off.end_request();
        store.send();
        assert_eq!(again.join().expect("no panic"), Ok(10));
        store.assert_idle();
    });
}

/// The same with prefetches: what one brought is prefetched anew before it has ended.
#[test]
fn an_old_prefetch_does_not_end_a_new_one() {
    explore(Threads::TwoLong, &["left by the prefetch"], |seen| {
        let store = Store::with_bound(3, 2);
        let (mut first, mut second) = (vec![1], vec![1]);
        let old = store.claim(&mut first).expect("nothing is out");
        store.publish(1);
        store.evict(1);
        let new = store.claim(&mut second).expect("it came");
        store.begin(&second);
        let reader = reader(&store, seen, 1);
        store.end_prefetch(seen, old, &first);
        assert_eq!(store.asked(1), 1, "asked for while the new prefetch is out");
        store.end(&second);
        store.end_prefetch(seen, new, &second);
        assert_eq!(reader.join().expect("no panic"), Ok(10));
        assert_eq!(store.asked(1), 2);
        store.assert_idle();
    });
}

/// A reader that queues goes away; another that comes at any time is served all the same.
#[test]
fn a_reader_that_goes_strands_nobody() {
    explore(Threads::TwoLong, &["joined"], |seen| {
        let store = Store::new(1);
        let mut ahead = vec![200];
        let ride = store.claim(&mut ahead).expect("nothing is out");
        let Join::Lead(lead) = store.flights.join(&1) else {
            panic!("nobody leads yet");
        };
        let goes = lead.wait();
        store.off.want(1, (), lead, |_| None);
        let stays = reader(&store, seen, 1);
        drop(goes);
        store.end_prefetch(seen, ride, &ahead);
        assert_eq!(stays.join().expect("no panic"), Ok(10));
        assert_eq!(store.asked(1), 1);
        store.assert_idle();
    });
}

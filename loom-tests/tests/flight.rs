//! Models of `SingleFlight`: whatever becomes of its leaders and waiters, nobody is stranded, one
//! leads at a time, and nothing is left over.

use std::{sync::Arc, task::Poll};

use bonsai_loom_tests::{Mutex, Seen, Threads, block_on, explore, lock, poll_once, thread};
use bonsaifs_core::cache::flight::{Join, SingleFlight, Standing, WaitEnd};

const KEY: u8 = 7;

/// What a value is: which load it came from, counted from 1, or that load's failure.
type Value = Result<u32, u32>;

/// A cache behind a flight, as the rooms above use it: look, join, look again, load, publish.
struct Cached {
    flights: SingleFlight<u8, Value>,
    cache: Mutex<Option<u32>>,
    loads: Mutex<Loads>,
}

#[derive(Default)]
struct Loads {
    begun: u32,
    running: u32,
}

/// How a load ends.
#[derive(Clone, Copy, PartialEq)]
enum Load {
    Finishes,
    Fails,
    /// Takes its caller with it, by a panic or a cancellation: what is left of either is that the
    /// caller's future is dropped, and the lead in it. (The unwinding itself is tested in core:
    /// loom takes a lock that is let go in it for poisoned.)
    Breaks,
}

impl Cached {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            flights: SingleFlight::new(),
            cache: Mutex::new(None),
            loads: Mutex::new(Loads::default()),
        })
    }

    /// The value, or `None` if the load broke.
    fn try_get(&self, seen: &Seen, load: Load) -> Option<Value> {
        if let Some(value) = *lock(&self.cache) {
            return Some(Ok(value));
        }
        block_on(async {
            let lead = match self.flights.lead(&KEY).await {
                WaitEnd::Done(value) => {
                    seen.mark("waited for another's value");
                    return Some(value);
                }
                WaitEnd::Lead(lead) => lead,
            };
            if let Some(value) = *lock(&self.cache) {
                seen.mark("led, and found it done");
                lead.complete(Ok(value));
                return Some(Ok(value));
            }
            let value = self.load(load)?;
            lead.publish(value, |value, _| {
                if let Ok(value) = value {
                    *lock(&self.cache) = Some(*value);
                }
            });
            Some(value)
        })
    }

    fn get(&self, seen: &Seen, load: Load) -> Value {
        self.try_get(seen, load).expect("it does not break")
    }

    fn load(&self, load: Load) -> Option<Value> {
        let number = {
            let mut loads = lock(&self.loads);
            loads.begun += 1;
            loads.running += 1;
            assert_eq!(loads.running, 1, "two leaders");
            loads.begun
        };
        lock(&self.loads).running -= 1;
        match load {
            Load::Finishes => Some(Ok(number)),
            Load::Fails => Some(Err(number)),
            Load::Breaks => None,
        }
    }

    fn begun(&self) -> u32 {
        lock(&self.loads).begun
    }

    fn assert_idle(&self) {
        assert_eq!(self.flights.len(), 0, "a flight was left over");
    }
}

fn everyone_gets_the_one_load(threads: Threads, others: usize) {
    let must_see = ["waited for another's value", "led, and found it done"];
    explore(threads, &must_see, move |seen| {
        let cached = Cached::new();
        let handles: Vec<_> = (0..others)
            .map(|_| {
                let (cached, seen) = (Arc::clone(&cached), seen.clone());
                thread::spawn(move || cached.get(&seen, Load::Finishes))
            })
            .collect();
        assert_eq!(cached.get(seen, Load::Finishes), Ok(1));
        for handle in handles {
            assert_eq!(handle.join().expect("no panic"), Ok(1));
        }
        assert_eq!(cached.begun(), 1);
        cached.assert_idle();
    });
}

#[test]
fn two_misses_cause_one_load() {
    everyone_gets_the_one_load(Threads::Two, 1);
}

#[test]
fn three_misses_cause_one_load() {
    everyone_gets_the_one_load(Threads::Three, 2);
}

/// A failure goes to all who waited for it and to no one else: who comes later tries again.
fn a_failure_is_shared_and_not_kept(threads: Threads, others: usize) {
    let must_see = ["waited for another's value", "tried again"];
    explore(threads, &must_see, move |seen| {
        let cached = Cached::new();
        let handles: Vec<_> = (0..others)
            .map(|_| {
                let (cached, seen) = (Arc::clone(&cached), seen.clone());
                thread::spawn(move || cached.get(&seen, Load::Fails))
            })
            .collect();
        let mut failures = vec![cached.get(seen, Load::Fails)];
        for handle in handles {
            failures.push(handle.join().expect("no panic"));
        }
        let begun = cached.begun();
        assert!(failures.iter().all(|f| matches!(f, Err(n) if *n <= begun)));
        // Each load's failure reached at least the one who led it.
        for load in 1..=begun {
            assert!(failures.contains(&Err(load)));
        }
        if begun > 1 {
            seen.mark("tried again");
        }
        cached.assert_idle();
    });
}

#[test]
fn of_two_a_failure_is_shared_and_not_kept() {
    a_failure_is_shared_and_not_kept(Threads::Two, 1);
}

#[test]
fn of_three_a_failure_is_shared_and_not_kept() {
    a_failure_is_shared_and_not_kept(Threads::Three, 2);
}

/// One caller's load breaks; the others load for themselves, once.
fn what_breaks_is_its_leaders_alone(threads: Threads, others: usize) {
    explore(threads, &["it broke first"], move |seen| {
        let cached = Cached::new();
        let handles: Vec<_> = (0..others)
            .map(|_| {
                let (cached, seen) = (Arc::clone(&cached), seen.clone());
                thread::spawn(move || cached.get(&seen, Load::Finishes))
            })
            .collect();
        let unlucky = cached.try_get(seen, Load::Breaks);
        let values: Vec<_> = handles
            .into_iter()
            .map(|handle| handle.join().expect("no panic"))
            .collect();
        match unlucky {
            // One load that broke, then one that did not.
            None => {
                seen.mark("it broke first");
                assert!(values.iter().all(|v| *v == Ok(2)));
                assert_eq!(cached.begun(), 2);
            }
            Some(value) => {
                assert!(values.iter().all(|v| *v == value));
                assert_eq!((value, cached.begun()), (Ok(1), 1));
            }
        }
        cached.assert_idle();
    });
}

#[test]
fn with_two_what_breaks_is_its_leaders_alone() {
    what_breaks_is_its_leaders_alone(Threads::Two, 1);
}

#[test]
fn with_three_what_breaks_is_its_leaders_alone() {
    what_breaks_is_its_leaders_alone(Threads::Three, 2);
}

/// Joins, and is cancelled at once, or after a first poll, whatever it was to become.
fn join_and_leave(flights: &SingleFlight<u8, Value>, seen: &Seen) {
    match flights.join(&KEY) {
        Join::Lead(lead) => {
            seen.mark("a leader left");
            drop(lead);
        }
        Join::Wait(mut wait) => match poll_once(&mut wait) {
            Poll::Pending => {
                seen.mark("a waiter left");
                drop(wait);
            }
            Poll::Ready(WaitEnd::Lead(lead)) => {
                seen.mark("an heir left");
                drop(lead);
            }
            Poll::Ready(WaitEnd::Done(_)) => {}
        },
    }
}

/// One caller goes away at any point; the others' value comes all the same.
fn the_rest_finish_when_one_leaves(threads: Threads, staying: usize) {
    let must_see = ["a leader left", "a waiter left"];
    explore(threads, &must_see, move |seen| {
        let cached = Cached::new();
        let handles: Vec<_> = (0..staying)
            .map(|_| {
                let (cached, seen) = (Arc::clone(&cached), seen.clone());
                thread::spawn(move || cached.get(&seen, Load::Finishes))
            })
            .collect();
        join_and_leave(&cached.flights, seen);
        for handle in handles {
            assert_eq!(handle.join().expect("no panic"), Ok(1));
        }
        assert_eq!(cached.begun(), 1);
        cached.assert_idle();
    });
}

#[test]
fn one_finishes_when_the_other_leaves() {
    the_rest_finish_when_one_leaves(Threads::Two, 1);
}

#[test]
fn two_finish_when_a_third_leaves() {
    the_rest_finish_when_one_leaves(Threads::Three, 2);
}

/// Two leave, one of them perhaps just made the leader; the third finishes.
#[test]
fn one_finishes_when_two_leave() {
    let must_see = ["a leader left", "a waiter left"];
    explore(Threads::Three, &must_see, |seen| {
        let cached = Cached::new();
        let stays = {
            let (cached, seen) = (Arc::clone(&cached), seen.clone());
            thread::spawn(move || cached.get(&seen, Load::Finishes))
        };
        let leaves = {
            let (cached, seen) = (Arc::clone(&cached), seen.clone());
            thread::spawn(move || join_and_leave(&cached.flights, &seen))
        };
        join_and_leave(&cached.flights, seen);
        leaves.join().expect("no panic");
        assert_eq!(stays.join().expect("no panic"), Ok(1));
        assert_eq!(cached.begun(), 1);
        cached.assert_idle();
    });
}

/// The lead passes to a waiter that is woken for it and goes instead: it passes on. And the flight
/// that nobody is left in is gone.
#[test]
fn the_lead_passes_on_through_those_who_leave() {
    explore(Threads::Three, &["an heir left"], |seen| {
        let flights = Arc::new(SingleFlight::<u8, Value>::new());
        let Join::Lead(lead) = flights.join(&KEY) else {
            panic!("first to join");
        };
        let waits = [flights.join(&KEY), flights.join(&KEY)];
        let handles = waits.map(|join| {
            let Join::Wait(mut wait) = join else {
                panic!("two leaders");
            };
            let seen = seen.clone();
            thread::spawn(move || match poll_once(&mut wait) {
                Poll::Ready(WaitEnd::Lead(_)) => seen.mark("an heir left"),
                Poll::Ready(WaitEnd::Done(_)) => panic!("nobody made a value"),
                Poll::Pending => {}
            })
        });
        drop(lead);
        for handle in handles {
            handle.join().expect("no panic");
        }
        assert_eq!(flights.len(), 0, "a flight was left over");
    });
}

/// A waiter that was nominated goes just as new callers come and one takes the lead: its flight
/// stays joinable, so the other new caller waits for it and does not lead as well.
#[test]
fn new_callers_take_a_vacant_lead_while_its_nominee_leaves() {
    explore(
        Threads::Three,
        &["waited for another's value", "led, and found it done"],
        |seen| {
            let cached = Cached::new();
            let Join::Lead(lead) = cached.flights.join(&KEY) else {
                panic!("first to join");
            };
            let nominee = cached.flights.join(&KEY);
            drop(lead);
            let leaver = thread::spawn(move || drop(nominee));
            let other = {
                let (cached, seen) = (Arc::clone(&cached), seen.clone());
                thread::spawn(move || cached.get(&seen, Load::Finishes))
            };
            assert_eq!(cached.get(seen, Load::Finishes), Ok(1));
            assert_eq!(other.join().expect("no panic"), Ok(1));
            leaver.join().expect("no panic");
            assert_eq!(cached.begun(), 1);
            cached.assert_idle();
        },
    );
}

/// The lead is handed to another thread, as the hydrator does; the one who waits is woken there.
#[test]
fn a_lead_completes_from_another_thread() {
    explore(Threads::Three, &[], |_| {
        let flights = Arc::new(SingleFlight::<u8, Value>::new());
        let Join::Lead(lead) = flights.join(&KEY) else {
            panic!("first to join");
        };
        let Join::Wait(wait) = flights.join(&KEY) else {
            panic!("two leaders");
        };
        let worker = thread::spawn(move || lead.complete(Ok(5)));
        let waiter = thread::spawn(move || match block_on(wait) {
            WaitEnd::Done(value) => value,
            WaitEnd::Lead(_) => panic!("the leader did not go"),
        });
        worker.join().expect("no panic");
        assert_eq!(waiter.join().expect("no panic"), Ok(5));
        assert_eq!(flights.len(), 0);
    });
}

/// The source as a flight sees it that may be invalidated: `version` is the truth.
struct Versioned {
    flights: SingleFlight<u8, Value>,
    cache: Mutex<Option<u32>>,
    truth: Mutex<u32>,
}

impl Versioned {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            flights: SingleFlight::new(),
            cache: Mutex::new(None),
            truth: Mutex::new(1),
        })
    }

    fn get(&self, seen: &Seen) -> u32 {
        let value = block_on(async {
            let lead = match self.flights.lead(&KEY).await {
                WaitEnd::Done(value) => return value,
                WaitEnd::Lead(lead) => lead,
            };
            let version = *lock(&self.truth);
            let value = Ok(version);
            lead.publish(value, |_, standing| match standing {
                Standing::Current => *lock(&self.cache) = Some(version),
                Standing::Detached => seen.mark("published into the void"),
            });
            value
        });
        value.expect("no load fails here")
    }

    fn change(&self) {
        *lock(&self.truth) = 2;
        self.flights.detach_with(&KEY, || *lock(&self.cache) = None);
    }
}

/// Once the change is through, nothing old is kept or handed to those who come later; those who
/// came before it get an answer in any case.
fn nothing_old_after_detach(threads: Threads, others: usize) {
    explore(threads, &["published into the void"], move |seen| {
        let versioned = Versioned::new();
        let handles: Vec<_> = (0..others)
            .map(|_| {
                let (versioned, seen) = (Arc::clone(&versioned), seen.clone());
                thread::spawn(move || versioned.get(&seen))
            })
            .collect();
        versioned.change();
        assert_ne!(*lock(&versioned.cache), Some(1), "a stale value was kept");
        assert_eq!(versioned.get(seen), 2, "a later caller got the old value");
        for handle in handles {
            assert!(matches!(handle.join().expect("no panic"), 1 | 2));
        }
        assert_eq!(*lock(&versioned.cache), Some(2));
        assert_eq!(versioned.flights.len(), 0, "a flight was left over");
    });
}

#[test]
fn with_two_nothing_old_is_left_after_detach() {
    nothing_old_after_detach(Threads::Two, 1);
}

#[test]
fn with_three_nothing_old_is_left_after_detach() {
    nothing_old_after_detach(Threads::Three, 2);
}

/// A flight detached while its leader goes away: those who wait in it still finish.
#[test]
fn a_detached_flight_loses_its_leader_and_its_waiters_finish() {
    explore(Threads::Three, &[], |_| {
        let flights = Arc::new(SingleFlight::<u8, Value>::new());
        let Join::Lead(lead) = flights.join(&KEY) else {
            panic!("first to join");
        };
        let Join::Wait(wait) = flights.join(&KEY) else {
            panic!("two leaders");
        };
        let waiter = thread::spawn(move || match block_on(wait) {
            WaitEnd::Done(_) => panic!("nobody made a value"),
            WaitEnd::Lead(lead) => lead.complete(Ok(1)),
        });
        let leaver = thread::spawn(move || drop(lead));
        flights.detach(&KEY);
        let later = block_on(flights.run(&KEY, async || Ok(2)));
        assert_eq!(later, Ok(2), "joined a flight that was detached");
        waiter.join().expect("no panic");
        leaver.join().expect("no panic");
        assert_eq!(flights.len(), 0, "a flight was left over");
    });
}

use std::{
    cell::{Cell, RefCell},
    future::{pending, ready},
    panic::resume_unwind,
    rc::Rc,
};

use super::*;
use crate::{
    cache::oneshot::{Receiver, Sender, oneshot},
    testing::{Tasks, poll_counting, poll_once},
};

mod model;

fn lead<K: Hash + Eq + Clone, V: Clone>(join: Join<K, V>) -> Lead<K, V> {
    match join {
        Join::Lead(lead) => lead,
        Join::Wait(_) => panic!("was to lead"),
    }
}

fn wait<K: Hash + Eq + Clone, V: Clone>(join: Join<K, V>) -> Wait<K, V> {
    match join {
        Join::Wait(wait) => wait,
        Join::Lead(_) => panic!("was to wait"),
    }
}

fn value<V, K: Hash + Eq + Clone>(end: Poll<WaitEnd<K, V>>) -> Option<V> {
    match end {
        Poll::Ready(WaitEnd::Done(value)) => Some(value),
        Poll::Ready(WaitEnd::Lead(_)) | Poll::Pending => None,
    }
}

#[test]
fn the_first_to_join_leads_and_all_others_wait() {
    let flights = SingleFlight::new();
    let leader = lead(flights.join(&1));
    let mut waiters: Vec<_> = (0..3).map(|_| wait(flights.join(&1))).collect();
    assert_eq!((leader.interest(), flights.len()), (3, 1));
    assert!(!flights.is_empty());
    assert!(poll_once(&mut waiters[0]).0.is_pending());
    drop(waiters.pop());
    assert_eq!(leader.interest(), 2);
    leader.complete("value");
    for mut waiter in waiters {
        assert_eq!(value(poll_once(&mut waiter).0), Some("value"));
    }
    assert!(flights.is_empty());
}

#[test]
fn other_keys_fly_on_their_own() {
    let flights = SingleFlight::<_, ()>::new();
    let _one = lead(flights.join(&1));
    let _two = lead(flights.join(&2));
    assert_eq!(flights.len(), 2);
}

#[test]
fn whoever_waits_has_a_place_of_their_own_however_they_came() {
    let flights = SingleFlight::new();
    let leader = lead(flights.join(&1));
    let mut waiters = vec![
        leader.wait(),
        leader.wait(),
        wait(flights.join(&1)),
        leader.wait(),
    ];
    for waiter in &mut waiters {
        assert!(poll_once(waiter).0.is_pending());
    }
    assert_eq!(leader.interest(), 4);
    drop(waiters.pop());
    assert_eq!(leader.interest(), 3);
    leader.complete(7);
    for mut waiter in waiters {
        assert_eq!(value(poll_once(&mut waiter).0), Some(7));
    }
}

#[test]
fn after_the_end_the_key_is_free() {
    let flights = SingleFlight::new();
    lead(flights.join(&1)).complete(());
    let _again = lead(flights.join(&1));
}

/// Museum 3: n waiters of a failing flight make one call, and each is woken once.
#[test]
fn ten_thousand_waiters_of_a_failing_flight_share_one_failure() {
    /// Few under Miri, which is slower by a factor of thousands.
    const MANY: usize = if cfg!(miri) { 500 } else { 10_000 };
    let flights: SingleFlight<u8, Result<(), &str>> = SingleFlight::new();
    let calls = Cell::new(0);
    let (fail, failing) = oneshot::<()>();
    let failing = RefCell::new(Some(failing));
    let failures = Cell::new(0);
    let mut tasks = Tasks::default();
    for _ in 0..MANY {
        tasks.spawn(async {
            let work = || {
                calls.set(calls.get() + 1);
                let failing = failing.borrow_mut().take();
                async {
                    failing.expect("one call").await;
                    Err("refused")
                }
            };
            assert_eq!(flights.run(&7, work).await, Err("refused"));
            failures.set(failures.get() + 1);
        });
    }
    let all = tasks.ready();
    all.into_iter().for_each(|i| tasks.poll(i).expect("waits"));
    drop(fail);
    let leader = tasks.ready();
    assert_eq!(leader.len(), 1);
    tasks.poll(leader[0]).expect("fails");
    let woken = tasks.ready();
    assert_eq!(woken.len(), MANY - 1);
    woken.into_iter().for_each(|i| tasks.poll(i).expect("ends"));
    assert_eq!((calls.get(), failures.get()), (1, MANY));
    assert_eq!(flights.len(), 0);
}

/// Museum 7: a flight whose only owner is cancelled ends.
#[test]
fn a_flight_that_nobody_is_left_in_is_gone() {
    let flights: SingleFlight<u8, ()> = SingleFlight::new();
    drop(lead(flights.join(&1)));
    assert_eq!(flights.len(), 0);

    let leader = lead(flights.join(&1));
    let waiters: Vec<_> = (0..3).map(|_| wait(flights.join(&1))).collect();
    drop(leader);
    assert_eq!(flights.len(), 1, "the waiters are still there");
    drop(waiters);
    assert_eq!(flights.len(), 0);
}

#[test]
fn when_the_leader_goes_the_one_who_waited_longest_takes_over() {
    let flights = SingleFlight::new();
    let leader = lead(flights.join(&1));
    let mut first = wait(flights.join(&1));
    let mut second = wait(flights.join(&1));
    let (_, first_wakes) = poll_counting(&mut first);
    let (_, second_wakes) = poll_counting(&mut second);
    drop(leader);
    assert_eq!((first_wakes.count(), second_wakes.count()), (1, 0));
    let Poll::Ready(WaitEnd::Lead(leader)) = poll_once(&mut first).0 else {
        panic!("was to lead");
    };
    assert!(poll_once(&mut second).0.is_pending());
    leader.complete(9);
    assert_eq!(value(poll_once(&mut second).0), Some(9));
}

/// A waiter may move between tasks; the one that polled it last is woken.
#[test]
fn only_the_last_waker_is_woken() {
    let flights = SingleFlight::new();
    let leader = lead(flights.join(&1));
    let mut waiter = wait(flights.join(&1));
    let (_, first) = poll_counting(&mut waiter);
    let (_, last) = poll_counting(&mut waiter);
    leader.complete(());
    assert_eq!((first.count(), last.count()), (0, 1));
}

#[test]
fn leadership_offered_to_a_waiter_that_goes_passes_on() {
    let flights = SingleFlight::<_, ()>::new();
    let leader = lead(flights.join(&1));
    let mut first = wait(flights.join(&1));
    let mut second = wait(flights.join(&1));
    let _ = poll_once(&mut first);
    let (_, wakes) = poll_counting(&mut second);
    drop(leader);
    drop(first);
    assert_eq!(wakes.count(), 1);
    assert!(matches!(
        poll_once(&mut second).0,
        Poll::Ready(WaitEnd::Lead(_))
    ));
}

#[test]
fn a_new_caller_takes_a_lead_that_no_one_took_yet() {
    let flights = SingleFlight::new();
    let leader = lead(flights.join(&1));
    let mut waiter = wait(flights.join(&1));
    let _ = poll_once(&mut waiter);
    drop(leader);
    let leader = lead(flights.join(&1));
    assert!(
        poll_once(&mut waiter).0.is_pending(),
        "one leader at a time"
    );
    leader.complete(3);
    assert_eq!(value(poll_once(&mut waiter).0), Some(3));
}

/// Museum 4: a panic concerns the caller whose work it was, nobody else.
#[test]
fn after_a_panic_in_the_work_a_waiter_does_its_own() {
    let flights: SingleFlight<u8, u8> = SingleFlight::new();
    let (go, gate) = oneshot::<()>();
    let seen = Cell::new(None);
    let mut tasks = Tasks::default();
    tasks.spawn(async {
        let work = || async {
            gate.await;
            resume_unwind(Box::new("planned"))
        };
        flights.run(&1, work).await;
    });
    tasks.spawn(async {
        seen.set(Some(flights.run(&1, || ready(4)).await));
    });
    tasks.poll(0).expect("waits at the gate");
    tasks.poll(1).expect("waits for the flight");
    drop(go);
    assert!(tasks.poll(0).is_err());
    tasks.run();
    assert_eq!((seen.get(), flights.len()), (Some(4), 0));
}

/// Museum 5: the end of an old flight leaves a newer one of the same key alone.
#[test]
fn a_detached_flight_serves_its_waiters_and_no_one_else() {
    let flights = SingleFlight::new();
    let old = lead(flights.join(&1));
    let mut old_waiter = wait(flights.join(&1));
    flights.detach(&1);
    let new = lead(flights.join(&1));
    let mut new_waiter = wait(flights.join(&1));
    old.complete("old");
    assert_eq!(value(poll_once(&mut old_waiter).0), Some("old"));
    assert!(poll_once(&mut new_waiter).0.is_pending());
    assert_eq!(flights.len(), 1);
    new.complete("new");
    assert_eq!(value(poll_once(&mut new_waiter).0), Some("new"));
}

#[test]
fn a_detached_flight_can_change_its_leader() {
    let flights = SingleFlight::new();
    let old = lead(flights.join(&1));
    let mut waiter = wait(flights.join(&1));
    flights.detach(&1);
    let _new = lead(flights.join(&1));
    drop(old);
    let Poll::Ready(WaitEnd::Lead(old)) = poll_once(&mut waiter).0 else {
        panic!("was to lead");
    };
    old.complete(());
    assert_eq!(flights.len(), 1);
}

/// A flight without a leader and without a key is of no use to those who wait for it.
#[test]
fn waiters_of_a_detached_flight_that_loses_its_leader_join_the_new_one() {
    let flights: SingleFlight<u8, &str> = SingleFlight::new();
    let got = RefCell::new(Vec::new());
    let old = lead(flights.join(&1));
    let mut tasks = Tasks::default();
    for _ in 0..3 {
        tasks.spawn(async {
            let value = flights.run(&1, || ready("own work")).await;
            got.borrow_mut().push(value);
        });
    }
    tasks.run();
    flights.detach(&1);
    let new = lead(flights.join(&1));
    drop(old);
    tasks.run();
    assert_eq!(new.interest(), 3);
    new.complete("new");
    tasks.run();
    assert_eq!(*got.borrow(), ["new", "new", "new"]);
}

#[test]
fn a_flight_knows_whether_it_was_detached_when_it_publishes() {
    let flights = SingleFlight::new();
    let cache = RefCell::new(Vec::new());
    let store = |value: &u8, standing| cache.borrow_mut().push((*value, standing));
    lead(flights.join(&1)).publish(5, store);

    let leader = lead(flights.join(&1));
    let found = flights.detach_with(&1, || cache.borrow().len());
    assert_eq!(found, 1);
    leader.publish(6, store);
    assert_eq!(
        cache.into_inner(),
        [(5, Standing::Current), (6, Standing::Detached)]
    );
}

#[test]
fn a_panic_while_publishing_strands_nobody() {
    let flights = SingleFlight::new();
    let leader = lead(flights.join(&1));
    let mut waiter = wait(flights.join(&1));
    let (_, wakes) = poll_counting(&mut waiter);
    let publish = || leader.publish((), |(), _| resume_unwind(Box::new("planned")));
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(publish)).is_err());
    assert_eq!(wakes.count(), 1);
    assert!(matches!(
        poll_once(&mut waiter).0,
        Poll::Ready(WaitEnd::Lead(_))
    ));
}

#[test]
fn a_lead_may_be_handed_to_another_task() {
    fn assert_send<T: Send + 'static>(_: &T) {}
    let flights: SingleFlight<u8, u8> = SingleFlight::new();
    let leader = lead(flights.join(&1));
    let mut waiter = wait(flights.join(&1));
    assert_send(&leader);
    assert_send(&waiter);
    assert_eq!(leader.key(), &1);
    drop(flights);
    leader.complete(1);
    assert_eq!(value(poll_once(&mut waiter).0), Some(1));
}

#[test]
fn a_cancelled_leader_drops_its_work_before_the_next_begins() {
    let flights: SingleFlight<u8, ()> = SingleFlight::new();
    let running = Cell::new(0);
    struct Running<'a>(&'a Cell<i32>);
    impl Drop for Running<'_> {
        fn drop(&mut self) {
            self.0.set(self.0.get() - 1);
        }
    }
    let work = || async {
        running.set(running.get() + 1);
        let _guard = Running(&running);
        pending::<()>().await;
    };
    let mut tasks = Tasks::default();
    tasks.spawn(flights.run(&1, work));
    tasks.spawn(flights.run(&1, work));
    tasks.run();
    assert_eq!(running.get(), 1);
    tasks.cancel(0);
    assert_eq!(running.get(), 0);
    tasks.run();
    assert_eq!(running.get(), 1);
}

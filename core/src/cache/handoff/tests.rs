use super::*;
use crate::{
    cache::flight::{Join, SingleFlight, Wait, WaitEnd},
    testing::poll_once,
};

type Flights = SingleFlight<u8, u32>;
type Off = HandOff<u8, u32, bool>;

fn lead(flights: &Flights, key: u8) -> Lead<u8, u32> {
    match flights.join(&key) {
        Join::Lead(lead) => lead,
        Join::Wait(_) => panic!("nobody leads yet"),
    }
}

/// Wants `key`, which nothing has; the future of who waits.
fn want(off: &Off, flights: &Flights, key: u8) -> Wait<u8, u32> {
    let lead = lead(flights, key);
    let wait = lead.wait();
    off.want(key, false, lead, |_| None);
    wait
}

fn keys(wants: Option<Vec<Want<u8>>>) -> Vec<u8> {
    let wants = wants.unwrap_or_default();
    wants.into_iter().map(|want| want.key).collect()
}

fn granted(claim: Claim) -> Ride {
    match claim {
        Claim::Granted(ride) => ride,
        claim => panic!("{claim:?}"),
    }
}

#[test]
fn what_is_wanted_while_all_requests_are_out_goes_with_the_next() {
    let (off, flights) = (Off::new(2, 1), Flights::new());
    let _waits: Vec<_> = (1..=2).map(|key| want(&off, &flights, key)).collect();
    assert_eq!(keys(off.next_request(1)), [1]);
    assert_eq!(keys(off.next_request(1)), [2]);
    let _later: Vec<_> = (3..=5).map(|key| want(&off, &flights, key)).collect();
    assert_eq!(off.next_request(8), None);
    off.end_request();
    assert_eq!(keys(off.next_request(2)), [3, 4]);
    assert_eq!(off.requests(), 2);
    off.end_request();
    assert_eq!(keys(off.next_request(2)), [5]);
    assert_eq!(off.waiting(), 5);
}

#[test]
fn what_came_in_the_meantime_is_not_asked_for() {
    let (off, flights) = (Off::new(2, 1), Flights::new());
    let lead = lead(&flights, 1);
    let mut wait = lead.wait();
    off.want(1, false, lead, |key| Some(u32::from(*key) * 10));
    assert_eq!(off.next_request(8), None);
    assert!(matches!(
        poll_once(&mut wait).0,
        std::task::Poll::Ready(WaitEnd::Done(10))
    ));
    // Delivered while it was queued.
    let _wait = want(&off, &flights, 2);
    drop(off.delivered(&2));
    assert_eq!(off.next_request(8), None);
    assert_eq!((off.waiting(), off.requests()), (0, 0));
}

#[test]
fn what_nobody_waits_for_is_not_asked_for() {
    let (off, flights) = (Off::new(2, 1), Flights::new());
    drop(want(&off, &flights, 1));
    let _stays = want(&off, &flights, 2);
    assert_eq!(keys(off.next_request(8)), [2]);
    assert_eq!(off.waiting(), 1);
    assert_eq!(flights.len(), 1);
}

#[test]
fn an_old_request_does_not_end_a_new_want() {
    let (off, flights) = (Off::new(2, 1), Flights::new());
    let _first = want(&off, &flights, 1);
    let old = off.next_request(8).expect("one is wanted");
    off.delivered(&1).expect("somebody waits").complete(7);
    let _second = want(&off, &flights, 1);
    assert_eq!(off.still_wanted(&old), []);
    assert!(off.failed(&old[0]).is_none());
    assert_eq!(off.waiting(), 1);
    let new = off.next_request(8).expect("it is wanted anew");
    assert_eq!(off.still_wanted(&new), new);
    assert!(off.failed(&new[0]).is_some());
    assert!(off.failed(&new[0]).is_none());
}

#[test]
fn what_a_prefetch_brings_is_waited_for() {
    let (off, flights) = (Off::new(2, 1), Flights::new());
    let mut ahead = vec![1, 2, 3];
    let ride = granted(off.claim_prefetch(&mut ahead, |_| false));
    let _waits: Vec<_> = [1, 2].map(|key| want(&off, &flights, key)).into();
    assert_eq!(off.next_request(8), None);
    off.delivered(&1).expect("somebody waits").complete(7);
    let left = off.end_prefetch(ride, &ahead);
    let left: Vec<u8> = left.iter().map(|(key, _)| *key).collect();
    assert_eq!(left, [2]);
    assert_eq!((off.waiting(), off.requests()), (0, 0));
}

#[test]
fn a_prefetch_takes_only_what_nobody_is_bringing_and_only_its_share_of_requests() {
    let (off, flights) = (Off::new(2, 1), Flights::new());
    let _wait = want(&off, &flights, 1);
    assert_eq!(off.claim_prefetch(&mut vec![1], |_| false), Claim::Nothing);
    let mut ahead = vec![1, 2];
    let ride = granted(off.claim_prefetch(&mut ahead, |_| false));
    assert_eq!(ahead, [2]);
    assert_eq!(off.claim_prefetch(&mut vec![2], |_| false), Claim::Nothing);
    // Its share is used up, though another request may leave.
    assert_eq!(off.claim_prefetch(&mut vec![3], |_| false), Claim::Later);
    assert_eq!(keys(off.next_request(8)), [1]);
    // With the prefetch as many are out as may be.
    let _two = want(&off, &flights, 4);
    assert_eq!((off.next_request(8), off.requests()), (None, 2));
    assert!(off.end_prefetch(ride, &ahead).is_empty());
    assert_eq!(keys(off.next_request(8)), [4]);
    assert_eq!(off.claim_prefetch(&mut vec![3], |_| false), Claim::Later);
    off.end_request();
    assert!(matches!(
        off.claim_prefetch(&mut vec![3], |_| false),
        Claim::Granted(_)
    ));
}

/// What came between a look into memory and the claim was asked for a second time.
#[test]
fn a_prefetch_leaves_out_what_came_meanwhile() {
    let off = Off::new(2, 1);
    let mut ahead = vec![1, 2];
    let _ride = granted(off.claim_prefetch(&mut ahead, |key| *key == 1));
    assert_eq!(ahead, [2]);
    assert_eq!(off.claim_prefetch(&mut vec![1], |_| true), Claim::Nothing);
}

#[test]
fn an_old_prefetch_does_not_end_a_new_one() {
    let (off, flights) = (Off::new(3, 2), Flights::new());
    let old = granted(off.claim_prefetch(&mut vec![1], |_| false));
    // It comes, leaves memory, and is prefetched anew before the first prefetch has ended.
    assert!(off.delivered(&1).is_none());
    let new = granted(off.claim_prefetch(&mut vec![1], |_| false));
    let _wait = want(&off, &flights, 1);
    assert!(off.end_prefetch(old, &[1]).is_empty());
    assert_eq!(off.claim_prefetch(&mut vec![1], |_| false), Claim::Nothing);
    assert_eq!(off.next_request(8), None);
    assert_eq!(off.end_prefetch(new, &[1]).len(), 1);
}

#[test]
fn what_a_download_brings_waits_for_its_end_and_no_longer() {
    let (off, flights) = (Off::new(2, 1), Flights::new());
    let wanted = |key, tag| {
        let lead = lead(&flights, key);
        let wait = lead.wait();
        off.want(key, tag, lead, |_| None);
        wait
    };
    let _before = wanted(1, true);
    off.begin_download(|tag| *tag);
    let _during: Vec<_> = [(3, true), (2, true), (4, false)]
        .map(|(key, tag)| wanted(key, tag))
        .into();
    // What was queued before stays there.
    assert_eq!(keys(off.next_request(8)), [1, 4]);
    off.download_brings(|_| true);
    let _all = wanted(5, false);
    assert_eq!(off.next_request(8), None);
    let left: Vec<u8> = off.end_download().iter().map(|(key, _)| *key).collect();
    assert_eq!(left, [2, 3, 5]);
    assert!(off.end_download().is_empty());
    let _after = wanted(6, true);
    assert_eq!(keys(off.next_request(8)), [6]);
    // None is under way: nothing to widen.
    off.download_brings(|_| true);
    let _plain = wanted(7, true);
    off.end_request();
    assert_eq!(keys(off.next_request(8)), [7]);
}

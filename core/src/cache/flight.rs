//! Joining of concurrent work for the same key. May import: [`crate::sync`], [`super::table`].
//!
//! Always holds:
//! - A flight has one leader at the most, and none only while a waiter is being made the leader.
//! - No one is stranded: when the leader ends, each waiter gets the value; when the leader goes
//!   without one (cancelled, panicked), one waiter takes over, and if that one goes too, the next.
//! - Everyone who joined a flight and stays gets the same value, errors included.
//! - A flight that nobody is left in is gone.
//!
//! Lock order: the table's lock of a key, then the state of its flight. Wakers are called, and
//! dropped, outside of both.

#[cfg(all(test, not(any(feature = "loom", feature = "shuttle"))))]
mod tests;

use std::{
    collections::BTreeMap,
    future::Future,
    hash::Hash,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use super::table::Table;
use crate::sync::{Arc, Mutex, lock};

/// Flights by key. `V` is what everyone in a flight gets, so it is cheap to clone; where work
/// may fail it is a `Result` with an error that is cheap to clone, too.
pub struct SingleFlight<K, V> {
    flights: Flights<K, V>,
}

/// The flights that can be joined. Shared with leaders and waiters, who may outlive the handle.
type Flights<K, V> = Arc<Table<K, Arc<Flight<K, V>>>>;

struct Flight<K, V> {
    key: K,
    state: Mutex<State<V>>,
}

struct State<V> {
    phase: Phase<V>,
    /// Everyone who waits, in the order of joining, by ticket; with the waker once polled.
    waiters: BTreeMap<u64, Option<Waker>>,
    next_ticket: u64,
}

enum Phase<V> {
    /// A [`Lead`] of this flight exists.
    Led,
    /// The leader went without a value. Whoever comes first, a waiter that is polled or a new
    /// caller, takes the lead; the waiter with this ticket was woken to do so, and passes that on
    /// if it goes instead.
    Vacant { nominee: u64 },
    /// The value is here. There are no waiters any more, only those who have yet to fetch it.
    Done(V),
}

/// What joining made of the caller.
pub enum Join<K: Hash + Eq + Clone, V: Clone> {
    /// No one is at it: do the work, then [`Lead::complete`].
    Lead(Lead<K, V>),
    /// Someone is at it: await the value.
    Wait(Wait<K, V>),
}

/// The duty to do a flight's work. It may be handed to another task. Dropped without a value, it
/// passes to a waiter.
pub struct Lead<K: Hash + Eq + Clone, V> {
    flights: Flights<K, V>,
    flight: Arc<Flight<K, V>>,
    ended: bool,
}

/// A place among those who wait for a flight: a future of [`WaitEnd`]. It may be dropped at any
/// time; that strands nobody.
pub struct Wait<K: Hash + Eq + Clone, V: Clone> {
    flights: Flights<K, V>,
    /// `None` once it ended.
    flight: Option<Arc<Flight<K, V>>>,
    ticket: u64,
}

/// How waiting ended.
pub enum WaitEnd<K: Hash + Eq + Clone, V> {
    /// The leader's value.
    Done(V),
    /// The leader went without a value, and the caller is the leader now.
    Lead(Lead<K, V>),
}

/// Whether a flight still is its key's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is: its value is the newest there will be.
    Current,
    /// It was detached ([`SingleFlight::detach`]): its value is for those who wait already, and
    /// for no cache.
    Detached,
}

impl<K: Hash + Eq + Clone, V: Clone> Default for SingleFlight<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Hash + Eq + Clone, V: Clone> SingleFlight<K, V> {
    /// No flights.
    pub fn new() -> Self {
        Self {
            flights: Arc::new(Table::new()),
        }
    }

    /// Joins the flight of `key`, or begins one. In one step, so of any number of callers exactly
    /// one leads.
    ///
    /// A leader looks into its cache again before it begins: the flight before this one may have
    /// ended between the caller's miss and now.
    pub fn join(&self, key: &K) -> Join<K, V> {
        self.flights.with_entry(key, |slot| {
            let lead = |flight: &Arc<Flight<K, V>>| {
                Join::Lead(Lead {
                    flights: Arc::clone(&self.flights),
                    flight: Arc::clone(flight),
                    ended: false,
                })
            };
            let Some(flight) = slot else {
                return lead(slot.insert(Arc::new(Flight::new(key.clone()))));
            };
            let mut state = lock(&flight.state);
            if let Phase::Vacant { .. } = state.phase {
                state.phase = Phase::Led;
                return lead(flight);
            }
            let ticket = state.next_ticket;
            state.next_ticket += 1;
            state.waiters.insert(ticket, None);
            Join::Wait(Wait {
                flights: Arc::clone(&self.flights),
                flight: Some(Arc::clone(flight)),
                ticket,
            })
        })
    }

    /// The value of `key`'s flight. The leader runs `work` in place, in the caller's task; if it
    /// is cancelled or panics, one of the waiters takes over and runs its own.
    pub async fn run<F, Fut>(&self, key: &K, work: F) -> V
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = V>,
    {
        match self.lead(key).await {
            WaitEnd::Done(value) => value,
            WaitEnd::Lead(lead) => {
                let value = work().await;
                lead.complete(value.clone());
                value
            }
        }
    }

    /// Joins the flight of `key` and waits until it ended or it is the caller's to lead.
    pub async fn lead(&self, key: &K) -> WaitEnd<K, V> {
        loop {
            match self.join(key) {
                Join::Lead(lead) => return WaitEnd::Lead(lead),
                Join::Wait(wait) => match wait.await {
                    // A flight without a leader and without a key serves no one: join the one
                    // that has the key now. Dropping the lead sends the next waiter there, too.
                    WaitEnd::Lead(lead) if lead.standing() == Standing::Detached => drop(lead),
                    end => return end,
                },
            }
        }
    }

    /// Parts the flight of `key` from the key: who joins from now on begins a new flight, while
    /// the old one still serves those who wait for it.
    pub fn detach(&self, key: &K) {
        self.detach_with(key, || ());
    }

    /// [`SingleFlight::detach`] and `also`, in one step as [`Lead::publish`] sees it: what an
    /// older flight stores comes before `also`, or is [`Standing::Detached`].
    pub fn detach_with<R>(&self, key: &K, also: impl FnOnce() -> R) -> R {
        let (_detached, result) = self.flights.with_entry(key, |slot| (slot.take(), also()));
        result
    }

    /// The number of flights that can be joined: 0 when all is idle.
    pub fn len(&self) -> usize {
        self.flights.len()
    }

    /// True if there is no flight to join.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<K, V> Flight<K, V> {
    fn new(key: K) -> Self {
        Self {
            key,
            state: Mutex::new(State {
                phase: Phase::Led,
                waiters: BTreeMap::new(),
                next_ticket: 0,
            }),
        }
    }
}

impl<V> State<V> {
    /// Asks the one who has waited longest to take the lead. `None` if nobody waits, else what
    /// wakes it, if it was polled yet.
    fn nominate(&mut self) -> Option<Option<Waker>> {
        let (ticket, waker) = self.waiters.first_key_value()?;
        self.phase = Phase::Vacant { nominee: *ticket };
        Some(waker.clone())
    }
}

impl<K: Hash + Eq + Clone, V> Lead<K, V> {
    /// Ends the flight: everyone who waits gets `value`, the key is free again. What others are
    /// to find later must be in its cache before.
    pub fn complete(self, value: V) {
        self.publish(value, |_, _| ());
    }

    /// Ends the flight, and lets `store` put the value into a cache in the same step, before
    /// anyone gets it; [`Standing`] tells whether it may.
    ///
    /// `store` runs under the lock of the key: it must be short and must not join a flight.
    pub fn publish(mut self, value: V, store: impl FnOnce(&V, Standing)) {
        let flight = &self.flight;
        self.flights.with_entry(&flight.key, |slot| {
            if slot.as_ref().is_some_and(|f| Arc::ptr_eq(f, flight)) {
                store(&value, Standing::Current);
                *slot = None;
            } else {
                store(&value, Standing::Detached);
            }
        });
        let waiters = {
            let mut state = lock(&flight.state);
            state.phase = Phase::Done(value);
            std::mem::take(&mut state.waiters)
        };
        self.ended = true;
        for waker in waiters.into_values().flatten() {
            waker.wake();
        }
    }

    /// Joins this very flight as one who waits, so that the lead can be handed to another task.
    pub fn wait(&self) -> Wait<K, V>
    where
        V: Clone,
    {
        let ticket = {
            let mut state = lock(&self.flight.state);
            let ticket = state.next_ticket;
            state.next_ticket += 1;
            state.waiters.insert(ticket, None);
            ticket
        };
        Wait {
            flights: Arc::clone(&self.flights),
            flight: Some(Arc::clone(&self.flight)),
            ticket,
        }
    }

    /// How many wait for the value now, beside the leader itself. Work that nobody waits for may
    /// be skipped.
    pub fn interest(&self) -> usize {
        lock(&self.flight.state).waiters.len()
    }

    /// Whether others can still join this flight.
    pub fn standing(&self) -> Standing {
        let joined = |flight: &Arc<Flight<K, V>>| Arc::ptr_eq(flight, &self.flight);
        match self.flights.get_with(&self.flight.key, joined) {
            Some(true) => Standing::Current,
            Some(false) | None => Standing::Detached,
        }
    }

    /// What the flight is about.
    pub fn key(&self) -> &K {
        &self.flight.key
    }
}

impl<K: Hash + Eq + Clone, V> Drop for Lead<K, V> {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let flight = &self.flight;
        // Under the key's lock, so that nobody joins a flight that is about to go.
        let waker = self.flights.with_entry(&flight.key, |slot| {
            let nominated = lock(&flight.state).nominate();
            if nominated.is_none() && slot.as_ref().is_some_and(|f| Arc::ptr_eq(f, flight)) {
                *slot = None;
            }
            nominated.flatten()
        });
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<K: Hash + Eq + Clone, V: Clone> Future for Wait<K, V> {
    type Output = WaitEnd<K, V>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<WaitEnd<K, V>> {
        let this = &mut *self;
        let flight = this.flight.take().expect("polled after it ended");
        let mut state = lock(&flight.state);
        match &state.phase {
            Phase::Done(value) => {
                let value = value.clone();
                drop(state);
                Poll::Ready(WaitEnd::Done(value))
            }
            Phase::Vacant { .. } => {
                state.phase = Phase::Led;
                let waker = state.waiters.remove(&this.ticket);
                drop(state);
                drop(waker);
                Poll::Ready(WaitEnd::Lead(Lead {
                    flights: Arc::clone(&this.flights),
                    flight,
                    ended: false,
                }))
            }
            Phase::Led => {
                let mine = state.waiters.entry(this.ticket).or_default();
                let old = mine.replace(cx.waker().clone());
                drop(state);
                drop(old);
                this.flight = Some(flight);
                Poll::Pending
            }
        }
    }
}

impl<K: Hash + Eq + Clone, V: Clone> Drop for Wait<K, V> {
    fn drop(&mut self) {
        let Some(flight) = self.flight.take() else {
            return;
        };
        let (mine, next, deserted) = {
            let mut state = lock(&flight.state);
            let mine = state.waiters.remove(&self.ticket);
            match state.phase {
                Phase::Vacant { nominee } if nominee == self.ticket => {
                    let next = state.nominate();
                    let deserted = next.is_none();
                    (mine, next.flatten(), deserted)
                }
                _ => (mine, None, false),
            }
        };
        drop(mine);
        if let Some(waker) = next {
            waker.wake();
        }
        if deserted {
            // Looked at again under the key's lock: someone may have come and taken the lead.
            self.flights.with_entry(&flight.key, |slot| {
                let same = slot.as_ref().is_some_and(|f| Arc::ptr_eq(f, &flight));
                if same && lock(&flight.state).is_deserted() {
                    *slot = None;
                }
            });
        }
    }
}

impl<V> State<V> {
    fn is_deserted(&self) -> bool {
        matches!(self.phase, Phase::Vacant { .. }) && self.waiters.is_empty()
    }
}

//! The hand-off from those who want something to the requests that bring it. May import:
//! [`crate::sync`], [`super::flight`], rustc-hash.
//!
//! What is wanted leaves at once while fewer requests are out than may be; otherwise it queues, and
//! goes with the next request, together with all that queued meanwhile. What something else is
//! bringing already, a prefetch or a download, waits for that and is not asked for.
//!
//! Plain bookkeeping: whoever uses it sends the requests, and tells what became of them.
//!
//! Always holds:
//! - Every want has its flight's lead here until it is delivered, fails, or nobody waits for it any
//!   more; a lead that leaves is the caller's to end.
//! - At most [`HandOff::new`]'s number of requests are out, prefetches counted among them.
//! - What a prefetch is bringing is asked for by nobody else, until it came or the prefetch ended.
//! - The end of a request concerns only the wants that it was sent for: what was delivered, went out
//!   of memory and is wanted anew is a new want.
//!
//! The lock is held across no await, no completion of a lead and no drop of one.

#[cfg(all(test, not(any(feature = "loom", feature = "shuttle"))))]
mod tests;

use std::{collections::VecDeque, hash::Hash};

use rustc_hash::FxHashMap;

use super::flight::Lead;
use crate::sync::{Mutex, MutexGuard, lock};

/// The bookkeeping of one origin. `K` is what can be wanted, `V` what its flight ends with, `T` what
/// is to be remembered of a want (what kind of thing is expected, say).
pub struct HandOff<K: Hash + Eq + Clone, V, T> {
    state: Mutex<State<K, V, T>>,
    max_requests: usize,
    max_prefetches: usize,
}

struct State<K: Hash + Eq + Clone, V, T> {
    leads: FxHashMap<K, Wanted<K, V, T>>,
    /// Wanted, and in no request yet.
    queue: VecDeque<Want<K>>,
    /// Wants and prefetches so far.
    turns: u64,
    /// Requests out for what is wanted.
    requests: usize,
    /// Prefetches out.
    prefetches: usize,
    /// What prefetches are bringing, each by the turn of its prefetch.
    riding: FxHashMap<K, u64>,
    /// What a download that is under way will bring anyway.
    download: Option<Brings<T>>,
}

/// Whether a download brings what such a want is for.
pub type Brings<T> = fn(&T) -> bool;

/// Somebody who waits.
pub struct Wanted<K: Hash + Eq + Clone, V, T> {
    /// The duty to end their flight.
    pub lead: Lead<K, V>,
    /// What the want was noted with.
    pub tag: T,
    turn: u64,
    by: Carrier,
}

/// What is to bring something that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carrier {
    /// A request that is out, or the queue's next.
    Request,
    /// The prefetch of this turn.
    Prefetch(u64),
    /// The download.
    Download,
}

/// One time that something was wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want<K> {
    /// What.
    pub key: K,
    turn: u64,
}

/// Whether a prefetch may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Everything is on its way already.
    Nothing,
    /// Too many requests are out: try again when one has ended.
    Later,
    /// It may; [`HandOff::end_prefetch`] is owed.
    Granted(Ride),
}

/// A prefetch that is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the prefetch is to be ended"]
pub struct Ride(u64);

impl<K: Hash + Eq + Ord + Copy, V: Clone, T> HandOff<K, V, T> {
    /// Nothing wanted. `max_requests` may be out at a time, and at most `max_prefetches` of them for
    /// what nobody waits for.
    pub fn new(max_requests: usize, max_prefetches: usize) -> Self {
        Self {
            state: Mutex::new(State {
                leads: FxHashMap::default(),
                queue: VecDeque::new(),
                turns: 0,
                requests: 0,
                prefetches: 0,
                riding: FxHashMap::default(),
                download: None,
            }),
            max_requests,
            max_prefetches,
        }
    }

    /// Takes over `lead`: somebody wants `key`. `look` is asked, in the same step, whether it came
    /// meanwhile; then its flight ends with what `look` gives. The caller sends what
    /// [`HandOff::next_request`] gives after this.
    pub fn want(&self, key: K, tag: T, lead: Lead<K, V>, look: impl FnOnce(&K) -> Option<V>) {
        let here = {
            let mut state = self.lock();
            match look(&key) {
                Some(value) => Some((lead, value)),
                None => {
                    state.turns += 1;
                    let turn = state.turns;
                    let by = match (state.riding.get(&key), state.download) {
                        (Some(ride), _) => Carrier::Prefetch(*ride),
                        (None, Some(brings)) if brings(&tag) => Carrier::Download,
                        _ => Carrier::Request,
                    };
                    if by == Carrier::Request {
                        state.queue.push_back(Want { key, turn });
                    }
                    let wanted = Wanted {
                        lead,
                        tag,
                        turn,
                        by,
                    };
                    state.leads.insert(key, wanted);
                    None
                }
            }
        };
        if let Some((lead, value)) = here {
            lead.complete(value);
        }
    }

    /// What the next request is for, `max` at the most; it counts as out until
    /// [`HandOff::end_request`]. `None` if nothing is queued, or no request may leave. What nobody
    /// waits for any more is left out.
    pub fn next_request(&self, max: usize) -> Option<Vec<Want<K>>> {
        let mut wants = Vec::new();
        let mut unwanted = Vec::new();
        {
            let mut state = self.lock();
            if state.out() >= self.max_requests {
                return None;
            }
            while wants.len() < max {
                let Some(want) = state.queue.pop_front() else {
                    break;
                };
                match state.wanted(&want) {
                    Some(wanted) if wanted.lead.interest() == 0 => {
                        unwanted.extend(state.leads.remove(&want.key));
                    }
                    Some(_) => wants.push(want),
                    // Delivered meanwhile.
                    None => {}
                }
            }
            if !wants.is_empty() {
                state.requests += 1;
            }
        }
        drop(unwanted);
        (!wants.is_empty()).then_some(wants)
    }

    /// A request that [`HandOff::next_request`] gave is over.
    pub fn end_request(&self) {
        self.lock().requests -= 1;
    }

    /// `key` came, and can be looked up by now: the lead of those who wait for it.
    pub fn delivered(&self, key: &K) -> Option<Lead<K, V>> {
        let mut state = self.lock();
        state.riding.remove(key);
        state.leads.remove(key).map(|wanted| wanted.lead)
    }

    /// `want` failed: the lead of those who wait for it, if it was not delivered before.
    pub fn failed(&self, want: &Want<K>) -> Option<Wanted<K, V, T>> {
        let mut state = self.lock();
        let is_due = state.wanted(want).is_some();
        is_due.then(|| state.leads.remove(&want.key)).flatten()
    }

    /// Those of `wants` that were neither delivered nor failed.
    pub fn still_wanted(&self, wants: &[Want<K>]) -> Vec<Want<K>> {
        let state = self.lock();
        wants
            .iter()
            .filter(|want| state.wanted(want).is_some())
            .copied()
            .collect()
    }

    /// Takes those out of `wants` whose tag `is` says so, and which are not over.
    pub fn take_tagged(&self, wants: &mut Vec<Want<K>>, is: impl Fn(&T) -> bool) -> Vec<Want<K>> {
        let state = self.lock();
        let tagged = |want: &mut Want<K>| state.wanted(want).is_some_and(|wanted| is(&wanted.tag));
        wants.extract_if(.., tagged).collect()
    }

    /// How many wants wait.
    pub fn waiting(&self) -> usize {
        self.lock().leads.len()
    }

    /// How many requests are out, prefetches included.
    pub fn requests(&self) -> usize {
        self.lock().out()
    }

    /// Asks for a prefetch of `keys`, of which those are left out that are on their way already, or of
    /// which `is_here` says, in the same step, that they came.
    pub fn claim_prefetch(&self, keys: &mut Vec<K>, is_here: impl Fn(&K) -> bool) -> Claim {
        let mut state = self.lock();
        keys.retain(|key| {
            let comes = state.leads.contains_key(key) || state.riding.contains_key(key);
            !comes && !is_here(key)
        });
        if keys.is_empty() {
            return Claim::Nothing;
        }
        if state.prefetches >= self.max_prefetches || state.out() >= self.max_requests {
            return Claim::Later;
        }
        state.prefetches += 1;
        state.turns += 1;
        let turn = state.turns;
        state.riding.extend(keys.iter().map(|key| (*key, turn)));
        Claim::Granted(Ride(turn))
    }

    /// Ends a prefetch of `keys`: those who waited for what it did not bring, in the order of `keys`.
    #[must_use = "they wait"]
    pub fn end_prefetch(&self, ride: Ride, keys: &[K]) -> Vec<(K, Wanted<K, V, T>)> {
        let mut state = self.lock();
        state.prefetches -= 1;
        let mut waiting = Vec::new();
        for key in keys {
            // Another prefetch may be bringing it by now.
            if state.riding.get(key) == Some(&ride.0) {
                state.riding.remove(key);
                let wanted = state.leads.get(key);
                if wanted.is_some_and(|wanted| wanted.by == Carrier::Prefetch(ride.0)) {
                    waiting.extend(state.leads.remove_entry(key));
                }
            }
        }
        waiting
    }

    /// A download has begun that brings what `brings` says; what is wanted of that waits for it.
    pub fn begin_download(&self, brings: Brings<T>) {
        self.lock().download = Some(brings);
    }

    /// The download turns out to bring what `brings` says, if one is under way.
    pub fn download_brings(&self, brings: Brings<T>) {
        let mut state = self.lock();
        if state.download.is_some() {
            state.download = Some(brings);
        }
    }

    /// The download is over: those who waited for what it did not bring, in order.
    #[must_use = "they wait"]
    pub fn end_download(&self) -> Vec<(K, Wanted<K, V, T>)> {
        let mut state = self.lock();
        state.download = None;
        let parked = state.leads.iter();
        let parked = parked.filter(|(_, wanted)| wanted.by == Carrier::Download);
        let mut parked: Vec<K> = parked.map(|(key, _)| *key).collect();
        parked.sort();
        parked
            .into_iter()
            .filter_map(|key| state.leads.remove_entry(&key))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, State<K, V, T>> {
        lock(&self.state)
    }
}

impl<K: Hash + Eq + Copy, V, T> State<K, V, T> {
    fn out(&self) -> usize {
        self.requests + self.prefetches
    }

    /// Who waits for `want`, if it is not over.
    fn wanted(&self, want: &Want<K>) -> Option<&Wanted<K, V, T>> {
        let wanted = self.leads.get(&want.key)?;
        (wanted.turn == want.turn).then_some(wanted)
    }
}

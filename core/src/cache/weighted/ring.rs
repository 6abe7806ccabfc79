//! One shard of a weighted cache: entries in a ring, found through a table of their places.
//! May import: hashbrown, [`crate::cache::table`]'s hash.
//!
//! Always holds: each entry is in the table once and in the ring once; free places are used
//! again, so memory follows the most entries there were at a time.

use std::{borrow::Borrow, hash::Hash};

use hashbrown::HashTable;

use crate::cache::table::{hash_of, shrink};

/// The place before the oldest and after the newest entry.
const END: u32 = u32::MAX;

#[derive(Debug)]
pub(super) struct Ring<K, V> {
    /// The places of entries, by the hash of their keys.
    table: HashTable<u32>,
    places: Vec<Place<K, V>>,
    /// The places without an entry.
    free: Vec<u32>,
    /// Where the hand looks next: what is in, or was passed over, for longest.
    oldest: u32,
    newest: u32,
}

#[derive(Debug)]
struct Place<K, V> {
    /// `None` in a free place.
    entry: Option<Entry<K, V>>,
    older: u32,
    newer: u32,
}

/// A value under its key.
#[derive(Debug)]
pub(super) struct Entry<K, V> {
    key: K,
    pub(super) value: V,
    pub(super) weight: usize,
    /// Used since the hand passed.
    used: bool,
}

/// What the hand found.
#[derive(Debug)]
pub(super) enum Step<K, V> {
    /// Nothing in this shard.
    Empty,
    /// An entry that was used; it must be used again to be spared again.
    Spared,
    /// This one, which is out now.
    Evicted(Entry<K, V>),
}

impl<K: Hash + Eq, V: Clone> Ring<K, V> {
    pub(super) fn new() -> Self {
        Self {
            table: HashTable::new(),
            places: Vec::new(),
            free: Vec::new(),
            oldest: END,
            newest: END,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn get<Q>(&mut self, hash: u64, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let places = &self.places;
        let at = *self.table.find(hash, |at| has_key(places, *at, key))?;
        let entry = self.places[at as usize].entry.as_mut()?;
        entry.used = true;
        Some(entry.value.clone())
    }

    /// Adds an entry, to which the hand comes last; gives the one of the same key.
    pub(super) fn insert(
        &mut self,
        hash: u64,
        key: K,
        value: V,
        weight: usize,
    ) -> Option<Entry<K, V>> {
        let replaced = self.remove_if(hash, &key, |_| true);
        let place = Place {
            entry: Some(Entry {
                key,
                value,
                weight,
                used: false,
            }),
            older: END,
            newer: END,
        };
        let at = match self.free.pop() {
            Some(at) => {
                self.places[at as usize] = place;
                at
            }
            None => {
                self.places.push(place);
                u32::try_from(self.places.len() - 1).expect("memory ends before 2^32 entries")
            }
        };
        self.link(at);
        let places = &self.places;
        self.table
            .insert_unique(hash, at, |at| hash_at(places, *at));
        replaced
    }

    pub(super) fn remove_if<Q>(
        &mut self,
        hash: u64,
        key: &Q,
        condition: impl FnOnce(&V) -> bool,
    ) -> Option<Entry<K, V>>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let places = &self.places;
        let at = *self.table.find(hash, |at| has_key(places, *at, key))?;
        if !condition(&places[at as usize].entry.as_ref()?.value) {
            return None;
        }
        self.take(hash, at)
    }

    /// Looks at the oldest entry: evicts it, or passes it over because it was used and
    /// `may_spare`.
    pub(super) fn step(&mut self, may_spare: bool) -> Step<K, V> {
        let at = self.oldest;
        if at == END {
            return Step::Empty;
        }
        let entry = self.places[at as usize].entry.as_mut();
        if may_spare && entry.is_some_and(|entry| std::mem::take(&mut entry.used)) {
            self.unlink(at);
            self.link(at);
            return Step::Spared;
        }
        match self.take(hash_at(&self.places, at), at) {
            Some(entry) => Step::Evicted(entry),
            None => Step::Empty,
        }
    }

    /// Empties the place `at`, whose key has `hash`.
    fn take(&mut self, hash: u64, at: u32) -> Option<Entry<K, V>> {
        let in_table = self.table.find_entry(hash, |other| *other == at).ok()?;
        in_table.remove();
        self.unlink(at);
        let entry = self.places[at as usize].entry.take();
        if self.table.is_empty() {
            self.places = Vec::new();
            self.free = Vec::new();
        } else {
            self.free.push(at);
        }
        let places = &self.places;
        shrink(&mut self.table, |at| hash_at(places, *at));
        entry
    }

    /// Makes `at` the newest of the ring.
    fn link(&mut self, at: u32) {
        let before = self.newest;
        self.newest = at;
        match before {
            END => self.oldest = at,
            _ => self.places[before as usize].newer = at,
        }
        let place = &mut self.places[at as usize];
        (place.older, place.newer) = (before, END);
    }

    /// Takes `at` out of the ring.
    fn unlink(&mut self, at: u32) {
        let Place { older, newer, .. } = self.places[at as usize];
        match older {
            END => self.oldest = newer,
            _ => self.places[older as usize].newer = newer,
        }
        match newer {
            END => self.newest = older,
            _ => self.places[newer as usize].older = older,
        }
    }
}

fn has_key<K, V, Q>(places: &[Place<K, V>], at: u32, key: &Q) -> bool
where
    K: Borrow<Q>,
    Q: Eq + ?Sized,
{
    let entry = places[at as usize].entry.as_ref();
    entry.is_some_and(|entry| entry.key.borrow() == key)
}

fn hash_at<K: Hash, V>(places: &[Place<K, V>], at: u32) -> u64 {
    let entry = places[at as usize].entry.as_ref();
    entry.map_or(0, |entry| hash_of(&entry.key))
}

//! Which time each entry shows, once a mount has moved on.
//!
//! May import: git, objects, this room's nodes.
//!
//! An entry that a switch changed shows the time of that switch, as a checkout would: what was
//! built from it before is older, whatever times the commits have. An entry that no switch changed
//! shows what it always did. So a time depends on the path, and an object's id does not tell it;
//! a node carries a *stamp* that does.
//!
//! Always holds: what is kept is one record for each directory that a switch changed and is still
//! there, with the names in it that were changed; nothing of older commits. The time of a switch is later
//! than that of the one before, also when the clock was set back: a file that changed twice would else
//! look older than what was built of it in between.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bonsaifs_core::fs::Timestamp;
use bytes::Bytes;
use rustc_hash::FxHashMap;

use super::provider::Node;
use crate::{
    git::{
        oid::{HashKind, ObjectKind, Oid},
        tree::{self, EntryMode},
    },
    objects::{Content, ObjectStore},
};

/// The stamp of what no switch changed.
pub(super) const FIRST: u32 = 0;

/// What a stamp stands for.
#[derive(Clone, Debug)]
struct Record {
    /// The time of the entry itself.
    time: Timestamp,
    /// Of a directory: the stamps of entries in it.
    named: BTreeMap<Box<[u8]>, u32>,
    /// And of all others.
    others: u32,
}

/// The stamps in use.
pub(super) struct Times {
    first: Timestamp,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    records: FxHashMap<u32, Record>,
    /// The highest stamp that was ever given.
    last: u32,
    /// The time of the latest switch.
    switched: Option<Timestamp>,
}

impl Table {
    fn give(&mut self, record: Record) -> u32 {
        // Nobody switches four thousand million directories in the life of a mount.
        self.last = self.last.saturating_add(1);
        self.records.insert(self.last, record);
        self.last
    }

    /// The time of a switch for which the clock says `now`.
    fn switch(&mut self, now: Timestamp) -> Timestamp {
        let time = self.switched.map_or(now, |last| now.max(after(last)));
        self.switched = Some(time);
        time
    }
}

/// The next nanosecond.
fn after(time: Timestamp) -> Timestamp {
    match time.nanos {
        999_999_999 => Timestamp {
            secs: time.secs.saturating_add(1),
            nanos: 0,
        },
        nanos => Timestamp {
            nanos: nanos + 1,
            ..time
        },
    }
}

/// Directories of both trees that are yet to be compared.
struct Pair {
    stamp: u32,
    old: (Oid, u32),
    new: Oid,
}

impl Times {
    /// All entries show `first`.
    pub fn new(first: Timestamp) -> Self {
        Self {
            first,
            table: Mutex::default(),
        }
    }

    /// The time of what has `stamp`.
    pub fn of(&self, stamp: u32) -> Timestamp {
        self.record(stamp).time
    }

    /// For the entries of the directory with `dir`: the stamp and the time of each name.
    pub fn within(&self, dir: u32) -> impl Fn(&[u8]) -> (u32, Timestamp) + '_ {
        let record = self.record(dir);
        // Of most directories all entries are others: they cost no look into the table.
        let others = (record.others, self.of(record.others));
        move |name| match record.named.get(name) {
            None => others,
            Some(stamp) => (*stamp, self.of(*stamp)),
        }
    }

    /// What a stamp that is not in use any more stood for is of no account: only an answer that
    /// the switch overtook can still ask for it.
    fn record(&self, stamp: u32) -> Record {
        let record = self.lock().records.get(&stamp).cloned();
        record.unwrap_or(Record {
            time: self.first,
            named: BTreeMap::new(),
            others: FIRST,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The root of tree `new`, which comes after `old` when the clock says `now`. A directory of which
    /// one side can't be read counts as new. `old` is what is shown; nobody else may be at this.
    pub async fn next_root(
        &self,
        store: &ObjectStore,
        old: Node,
        new: Oid,
        now: Timestamp,
    ) -> Node {
        // What came of a look that was not followed by a switch.
        self.keep_only(old.stamp);
        if old.oid == new {
            return old;
        }
        let (uniform, time) = {
            let mut table = self.lock();
            let time = table.switch(now);
            let record = Record {
                time,
                named: BTreeMap::new(),
                others: FIRST,
            };
            let stamp = table.give(record);
            if let Some(record) = table.records.get_mut(&stamp) {
                record.others = stamp;
            }
            (stamp, time)
        };
        let root = self.copy(uniform);
        let mut pairs = vec![Pair {
            stamp: root,
            old: (old.oid, old.stamp),
            new,
        }];
        while let Some(pair) = pairs.pop() {
            let (Some(before), Some(after)) =
                (tree(store, pair.old.0).await, tree(store, pair.new).await)
            else {
                continue;
            };
            let hash = store.hash();
            if let Some(record) = self.compare(&pair, (&before, &after), hash, uniform, &mut pairs)
            {
                let record = Record { time, ..record };
                self.lock().records.insert(pair.stamp, record);
            }
        }
        Node {
            oid: new,
            mode: EntryMode::Dir,
            stamp: root,
        }
    }

    /// A new stamp that stands for the same as `stamp`.
    fn copy(&self, stamp: u32) -> u32 {
        let record = self.record(stamp);
        self.lock().give(record)
    }

    /// The record of a directory that changed. Its directories that did are left in `pairs`.
    fn compare(
        &self,
        pair: &Pair,
        (before, after): (&Bytes, &Bytes),
        hash: HashKind,
        uniform: u32,
        pairs: &mut Vec<Pair>,
    ) -> Option<Record> {
        let old = tree::parse(before, hash).ok()?;
        let new = tree::parse(after, hash).ok()?;
        let old: FxHashMap<&[u8], _> = old.entries.iter().map(|e| (e.name, e)).collect();
        let mut record = self.record(pair.old.1);
        let kept = std::mem::take(&mut record.named);
        let others = record.others;
        let stamp_of = |name: &[u8]| kept.get(name).copied().unwrap_or(others);
        for entry in &new.entries {
            let stamp = match old.get(entry.name) {
                Some(old) if (old.oid, old.mode) == (entry.oid, entry.mode) => stamp_of(entry.name),
                Some(old) if old.mode == EntryMode::Dir && entry.mode == EntryMode::Dir => {
                    let stamp = self.copy(uniform);
                    pairs.push(Pair {
                        stamp,
                        old: (old.oid, stamp_of(entry.name)),
                        new: entry.oid,
                    });
                    stamp
                }
                _ => uniform,
            };
            if stamp != others {
                record.named.insert(entry.name.into(), stamp);
            }
        }
        Some(record)
    }

    /// Drops the stamps that the tree with root stamp `root` does not have.
    pub fn keep_only(&self, root: u32) {
        let mut table = self.lock();
        let mut kept = FxHashMap::default();
        let mut next = vec![root];
        while let Some(stamp) = next.pop() {
            if let Some(record) = table.records.remove(&stamp) {
                next.extend(record.named.values());
                next.push(record.others);
                kept.insert(stamp, record);
            }
        }
        table.records = kept;
    }
}

async fn tree(store: &ObjectStore, oid: Oid) -> Option<Bytes> {
    match store.get(&oid, ObjectKind::Tree).await {
        Ok(Content::Whole {
            kind: ObjectKind::Tree,
            data,
        }) => Some(data),
        _ => None,
    }
}

#[cfg(test)]
#[path = "times_tests.rs"]
mod tests;

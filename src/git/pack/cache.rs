//! Recent objects of a pack, kept as bases of deltas to come.

use std::collections::VecDeque;

use bytes::Bytes;
use rustc_hash::FxHashMap;

use crate::git::oid::ObjectKind;

/// Objects by their entry's offset, within a budget of bytes. An object that was used since it
/// came up for dropping last gets another round (the CLOCK policy).
pub(super) struct BaseCache {
    budget: usize,
    used: usize,
    objects: FxHashMap<u64, Slot>,
    /// The offsets of `objects`, in the order in which they come up for dropping.
    order: VecDeque<u64>,
}

struct Slot {
    kind: ObjectKind,
    data: Bytes,
    hit: bool,
}

impl BaseCache {
    pub(super) fn new(budget: usize) -> Self {
        Self {
            budget,
            used: 0,
            objects: FxHashMap::default(),
            order: VecDeque::new(),
        }
    }

    pub(super) fn get(&mut self, offset: u64) -> Option<(ObjectKind, Bytes)> {
        let slot = self.objects.get_mut(&offset)?;
        slot.hit = true;
        Some((slot.kind, slot.data.clone()))
    }

    /// Keeps an object, unless it is larger than the budget.
    pub(super) fn put(&mut self, offset: u64, kind: ObjectKind, data: Bytes) {
        let weight = weight(&data);
        if weight > self.budget || self.objects.contains_key(&offset) {
            return;
        }
        while self.used + weight > self.budget {
            self.drop_one();
        }
        self.used += weight;
        self.order.push_back(offset);
        let hit = false;
        self.objects.insert(offset, Slot { kind, data, hit });
    }

    fn drop_one(&mut self) {
        while let Some(offset) = self.order.pop_front() {
            match self.objects.get_mut(&offset) {
                Some(slot) if slot.hit => {
                    slot.hit = false;
                    self.order.push_back(offset);
                }
                _ => {
                    if let Some(slot) = self.objects.remove(&offset) {
                        self.used -= weight(&slot.data);
                    }
                    return;
                }
            }
        }
    }
}

/// What an object counts for: its bytes and about what keeping track of it takes.
fn weight(data: &Bytes) -> usize {
    data.len() + 128
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(len: usize) -> Bytes {
        Bytes::from(vec![0; len])
    }

    #[test]
    fn the_budget_holds_and_used_objects_stay_longer() {
        let mut cache = BaseCache::new(3 * (100 + 128));
        for offset in 0..3 {
            cache.put(offset, ObjectKind::Tree, data(100));
        }
        assert_eq!(cache.get(0), Some((ObjectKind::Tree, data(100))));
        cache.put(3, ObjectKind::Blob, data(100));
        let held = |cache: &BaseCache| {
            let mut held: Vec<_> = cache.objects.keys().copied().collect();
            held.sort_unstable();
            held
        };
        assert_eq!(held(&cache), [0, 2, 3]);
        // 0 had its other round.
        cache.put(4, ObjectKind::Blob, data(300));
        assert_eq!(held(&cache), [3, 4]);
        assert!(cache.used <= cache.budget);
        cache.put(5, ObjectKind::Blob, data(3 * 228));
        assert_eq!(held(&cache), [3, 4]);
        cache.put(6, ObjectKind::Blob, data(3 * 228 - 128));
        assert_eq!(held(&cache), [6]);
        assert_eq!(cache.used, cache.budget);
    }

    #[test]
    fn the_same_object_again_counts_once() {
        let mut cache = BaseCache::new(1000);
        cache.put(1, ObjectKind::Blob, data(100));
        cache.put(1, ObjectKind::Blob, data(100));
        assert_eq!((cache.used, cache.order.len()), (228, 1));
    }
}

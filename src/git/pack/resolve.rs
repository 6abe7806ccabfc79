//! The objects of a pack while it is being decoded: which there are so far, and deltas made into
//! objects.

use bytes::Bytes;
use rustc_hash::FxHashMap;

use super::{
    Decoded, EntryKind, Limits, PACK_HEADER, PackError, ReadAt, cache::BaseCache, read::EntryReader,
};
use crate::git::{
    delta,
    oid::{HashKind, ObjectKind, Oid, object_id},
};

/// Receives objects as they are found.
pub(super) type Found<'a> = &'a mut dyn FnMut(Decoded);

/// An entry whose bytes are all there.
struct Entry {
    offset: u64,
    /// The object, once it is verified.
    object: Option<Oid>,
}

/// A delta whose base isn't known yet.
struct Waiting {
    /// Its place in `entries`.
    entry: usize,
    base: Base,
    crc32: u32,
}

/// What a delta is against.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Base {
    /// The entry at this place in `entries`.
    Entry(usize),
    /// An object that a later entry may hold.
    Object(Oid),
}

/// Where an entry lies in the pack, and the checksum of its bytes.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) offset: u64,
    pub(super) crc32: u32,
}

/// The entries of one pack, as they come.
pub(super) struct Resolver {
    hash: HashKind,
    limits: Limits,
    /// In pack order.
    entries: Vec<Entry>,
    /// The places in `entries` of the objects known so far; of an object that came twice, the one
    /// that was made first, so that no entry is ever found as a base of its own base. Only kept
    /// from the first delta that names its base by id on, which in most packs never comes.
    by_id: Option<FxHashMap<Oid, usize>>,
    /// In pack order.
    waiting: Vec<Waiting>,
    cache: BaseCache,
    reader: EntryReader,
    found: u32,
}

impl Resolver {
    pub(super) fn new(hash: HashKind, limits: Limits) -> Self {
        Self {
            hash,
            limits,
            entries: Vec::new(),
            by_id: None,
            waiting: Vec::new(),
            cache: BaseCache::new(limits.base_cache),
            reader: EntryReader::new(hash),
            found: 0,
        }
    }

    /// How many objects were found.
    pub(super) fn found(&self) -> u32 {
        self.found
    }

    /// How many entries came, waiting ones too.
    pub(super) fn entries(&self) -> usize {
        self.entries.len()
    }

    /// How many leading entries became objects without help of later ones, and where the next
    /// entry begins, if it came.
    pub(super) fn leading_objects(&self) -> (u32, Option<u64>) {
        let unknown = self.entries.iter().position(|entry| entry.object.is_none());
        let waiting = self.waiting.first().map(|waiting| waiting.entry);
        let count = [unknown, waiting].into_iter().flatten().min();
        let count = count.unwrap_or(self.entries.len());
        let next = self.entries.get(count).map(|entry| entry.offset);
        (count as u32, next)
    }

    /// Takes a blob that was hashed as it streamed.
    pub(super) fn large_blob(&mut self, place: Place, oid: Oid, size: u64, found: Found<'_>) {
        let entry = self.push_entry(place.offset);
        self.set_object(entry, oid);
        self.deliver(place, oid, ObjectKind::Blob, size, None, found);
    }

    /// Takes a whole object.
    pub(super) fn object(
        &mut self,
        place: Place,
        kind: ObjectKind,
        data: Vec<u8>,
        found: Found<'_>,
    ) -> Result<(), PackError> {
        let entry = self.push_entry(place.offset);
        self.add_new(entry, place, kind, data, found)
    }

    /// Takes a delta: makes its object if its base is known, else lets it wait.
    pub(super) fn delta(
        &mut self,
        place: Place,
        kind: EntryKind,
        delta: &[u8],
        pack: &dyn ReadAt,
        found: Found<'_>,
    ) -> Result<(), PackError> {
        let base = match kind {
            EntryKind::OfsDelta(base) => {
                let entry = self
                    .entries
                    .binary_search_by_key(&base, |entry| entry.offset);
                let no_entry = |_| PackError::entry(place.offset, "has a base that is no entry");
                Base::Entry(entry.map_err(no_entry)?)
            }
            EntryKind::RefDelta(oid) => self.find(&oid).map_or(Base::Object(oid), Base::Entry),
            EntryKind::Base(_) => unreachable!("a whole object is no delta"),
        };
        let entry = self.push_entry(place.offset);
        let known = match base {
            Base::Entry(base) => self.entries[base].object.map(|_| base),
            Base::Object(_) => None,
        };
        let Some(base) = known else {
            let crc32 = place.crc32;
            self.waiting.push(Waiting { entry, base, crc32 });
            return Ok(());
        };
        let (kind, base) = self.read(base, pack)?;
        let made = delta::apply(&base, delta, self.limits.max_object);
        let made = made.map_err(PackError::delta(place.offset))?;
        self.add_new(entry, place, kind, made, found)
    }

    /// Makes the objects of all deltas that wait, once every entry came.
    ///
    /// # Errors
    ///
    /// [`PackError::MissingBase`] if some have a base that isn't in the pack, or wait in a circle;
    /// all others are made before.
    pub(super) fn finish(&mut self, pack: &dyn ReadAt, found: Found<'_>) -> Result<(), PackError> {
        let waiting = std::mem::take(&mut self.waiting);
        let result = self.make_waiting(&waiting, pack, found);
        if result.is_err() {
            self.waiting = waiting;
        }
        result
    }

    fn make_waiting(
        &mut self,
        waiting: &[Waiting],
        pack: &dyn ReadAt,
        found: Found<'_>,
    ) -> Result<(), PackError> {
        let mut by_base: FxHashMap<Base, Vec<usize>> = FxHashMap::default();
        let mut ready = Vec::new();
        for (at, delta) in waiting.iter().enumerate() {
            let base = match delta.base {
                Base::Object(oid) => self.find(&oid).map_or(delta.base, Base::Entry),
                entry => entry,
            };
            match base {
                Base::Entry(base) if self.entries[base].object.is_some() => ready.push(at),
                base => by_base.entry(base).or_default().push(at),
            }
        }
        // What waits on an object comes right after it, while it is still in the cache.
        ready.reverse();
        while let Some(at) = ready.pop() {
            let Waiting { entry, crc32, .. } = waiting[at];
            let offset = self.entries[entry].offset;
            // All of the chain below this entry is known, so the reader finds its way down.
            let (kind, data) = self.read(entry, pack)?;
            let oid = self.add(entry, Place { offset, crc32 }, kind, data, found)?;
            for base in [Base::Object(oid), Base::Entry(entry)] {
                let next = by_base.remove(&base).unwrap_or_default();
                ready.extend(next.into_iter().rev());
            }
        }
        let lost = |delta: &Waiting| match delta.base {
            Base::Object(oid) if self.entries[delta.entry].object.is_none() => Some(oid),
            _ => None,
        };
        match waiting.iter().find_map(lost) {
            Some(oid) => Err(PackError::MissingBase(oid)),
            None => Ok(()),
        }
    }

    /// The place of the entry that holds object `oid`, if it came.
    fn find(&mut self, oid: &Oid) -> Option<usize> {
        let by_id = self.by_id.get_or_insert_with(|| {
            let mut by_id = FxHashMap::default();
            for (at, entry) in self.entries.iter().enumerate() {
                if let Some(oid) = entry.object {
                    by_id.entry(oid).or_insert(at);
                }
            }
            by_id
        });
        by_id.get(oid).copied()
    }

    /// Reads the object at a place in `entries`.
    fn read(&mut self, entry: usize, pack: &dyn ReadAt) -> Result<(ObjectKind, Bytes), PackError> {
        let (entries, by_id) = (&self.entries, &self.by_id);
        let lookup = |oid: &Oid| Some(entries[*by_id.as_ref()?.get(oid)?].offset);
        let max = self.limits.max_object;
        let offset = entries[entry].offset;
        self.reader
            .object(pack, offset, &lookup, max, &mut self.cache)
    }

    fn push_entry(&mut self, offset: u64) -> usize {
        debug_assert!(offset >= PACK_HEADER as u64);
        let object = None;
        self.entries.push(Entry { offset, object });
        self.entries.len() - 1
    }

    fn set_object(&mut self, entry: usize, oid: Oid) {
        self.entries[entry].object = Some(oid);
        if let Some(by_id) = &mut self.by_id {
            by_id.entry(oid).or_insert(entry);
        }
    }

    /// Adds an object that isn't in the cache yet.
    fn add_new(
        &mut self,
        entry: usize,
        place: Place,
        kind: ObjectKind,
        data: Vec<u8>,
        found: Found<'_>,
    ) -> Result<(), PackError> {
        let data = Bytes::from(data);
        self.cache.put(place.offset, kind, data.clone());
        self.add(entry, place, kind, data, found).map(drop)
    }

    /// Hashes an object, notes it and hands it out.
    fn add(
        &mut self,
        entry: usize,
        place: Place,
        kind: ObjectKind,
        data: Bytes,
        found: Found<'_>,
    ) -> Result<Oid, PackError> {
        let collision = PackError::Collision {
            offset: place.offset,
        };
        let oid = object_id(self.hash, kind, &data).ok_or(collision)?;
        self.set_object(entry, oid);
        let size = data.len() as u64;
        let large = kind == ObjectKind::Blob && size >= self.limits.large;
        self.deliver(place, oid, kind, size, (!large).then_some(data), found);
        Ok(oid)
    }

    fn deliver(
        &mut self,
        place: Place,
        oid: Oid,
        kind: ObjectKind,
        size: u64,
        data: Option<Bytes>,
        found: Found<'_>,
    ) {
        self.found += 1;
        found(Decoded {
            oid,
            kind,
            size,
            offset: place.offset,
            crc32: place.crc32,
            data,
        });
    }
}

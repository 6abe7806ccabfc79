//! A pack decoded as it arrives: cut into entries, inflated, hashed, and checked as a whole.

use super::{
    Decoded, EntryKind, Limits, PACK_HEADER, PackError, PackSummary, ReadAt,
    build::Checksum,
    entry,
    read::reserve,
    resolve::{Place, Resolver},
};
use crate::git::{
    inflate::{End, Fed, Inflater},
    oid::{HashKind, ObjectHasher, ObjectKind},
};

/// Decodes one pack from bytes that are pushed as they arrive, in any pieces.
///
/// Every object is handed out as soon as its id is known: a whole one, and a delta whose base came
/// before, when its last byte arrives; the deltas whose base comes later, in
/// [`finish`](Self::finish). An object may stand in a pack twice and is then handed out twice.
///
/// An error ends it: what was handed out stays good, and each further call gives
/// [`PackError::Failed`].
pub struct StreamDecoder {
    hash: HashKind,
    limits: Limits,
    state: State,
    /// How many bytes of the pack were taken.
    offset: u64,
    /// Over all of them but the trailer.
    checksum: Checksum,
    /// What the header says, once it came.
    objects: Option<u32>,
    /// Where the entry that is arriving begins, or the next one.
    entry_offset: u64,
    /// What the header of the entry before that says, or of that one, if it is no delta.
    whole: Option<(ObjectKind, u64)>,
    /// Over that entry's bytes.
    crc: crc32fast::Hasher,
    resolver: Resolver,
    inflater: Inflater,
    /// The delta that is arriving; kept for its memory.
    delta: Vec<u8>,
    scratch: Vec<u8>,
}

/// What the next byte belongs to.
enum State {
    /// The pack's header, of which this much came.
    Header(Start),
    /// An entry's header, of which this much came.
    EntryHeader(Start),
    /// An entry's compressed data.
    Body(Body),
    /// The checksum at the end, of which this much came.
    Trailer(Start),
    /// Nothing: this was the pack.
    Done(PackSummary),
    /// Nothing: an error came before.
    Failed,
}

/// The first bytes of something short that may arrive in pieces.
struct Start {
    buf: [u8; entry::MAX_HEADER],
    len: usize,
}

impl Start {
    const EMPTY: Self = Self {
        buf: [0; entry::MAX_HEADER],
        len: 0,
    };

    /// Takes bytes from `data` until there are `want`: how many were taken.
    fn fill(&mut self, data: &[u8], want: usize) -> usize {
        let taken = data.len().min(want - self.len);
        self.buf[self.len..self.len + taken].copy_from_slice(&data[..taken]);
        self.len += taken;
        taken
    }

    fn bytes(&self) -> &[u8] {
        &self.buf[..self.len]
    }
}

/// An entry whose compressed data is arriving.
enum Body {
    /// An object that is kept whole.
    Whole {
        kind: ObjectKind,
        size: usize,
        data: Vec<u8>,
    },
    /// A large blob, which is only hashed.
    Large {
        size: u64,
        left: u64,
        hasher: ObjectHasher,
    },
    /// A delta, in [`StreamDecoder::delta`].
    Delta { kind: EntryKind, size: usize },
}

/// As much memory as is kept for the next delta.
const KEPT_DELTA: usize = 1 << 20;

impl StreamDecoder {
    /// A decoder at the start of a pack whose ids are of the format `hash`.
    pub fn new(hash: HashKind, limits: Limits) -> Self {
        Self {
            hash,
            limits,
            state: State::Header(Start::EMPTY),
            offset: 0,
            checksum: Checksum::new(hash),
            objects: None,
            entry_offset: 0,
            whole: None,
            crc: crc32fast::Hasher::new(),
            resolver: Resolver::new(hash, limits),
            inflater: Inflater::new(),
            delta: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Takes the next bytes of the pack, and calls `found` for every object that they complete, in
    /// pack order. `pack` gives back what was pushed, `data` included: whoever stores it does so
    /// before pushing it. It is read only when the base of a delta is not in the cache any more.
    pub fn push(
        &mut self,
        data: &[u8],
        pack: &dyn ReadAt,
        found: &mut dyn FnMut(Decoded),
    ) -> Result<(), PackError> {
        let result = self.take(data, pack, found);
        if result.is_err() {
            self.state = State::Failed;
        }
        result
    }

    /// To be called after the last byte: makes the objects of the deltas whose bases came later.
    /// `Ok` says that the pack is complete, its checksum right, and every object handed out.
    ///
    /// # Errors
    ///
    /// [`PackError::Truncated`] if the pack isn't complete; [`PackError::MissingBase`] if it is,
    /// but not in itself, all objects that could be made having been handed out.
    pub fn finish(
        &mut self,
        pack: &dyn ReadAt,
        found: &mut dyn FnMut(Decoded),
    ) -> Result<PackSummary, PackError> {
        let result = match self.state {
            State::Done(summary) => self.resolver.finish(pack, found).map(|()| summary),
            State::Failed => Err(PackError::Failed),
            _ => Err(PackError::Truncated {
                offset: self.offset,
            }),
        };
        if result.is_err() {
            self.state = State::Failed;
        }
        result
    }

    /// How many objects the pack says it has, once its header came.
    pub fn objects(&self) -> Option<u32> {
        self.objects
    }

    /// Kind and size in bytes of the object whose entry began last, from its header: before it came, also if it is
    /// too large to be taken. `None` for a delta. Not verified.
    pub fn announced(&self) -> Option<(ObjectKind, u64)> {
        self.whole
    }

    /// How many objects were handed out.
    pub fn found(&self) -> u32 {
        self.resolver.found()
    }

    /// What of a torn pack makes a pack of its own, with another header and trailer: the number of
    /// leading entries that came whole and were handed out, with bases among themselves, and where
    /// the next entry begins.
    pub fn complete_prefix(&self) -> (u32, u64) {
        let (count, next) = self.resolver.leading_objects();
        (count, next.unwrap_or(self.entry_offset))
    }

    fn take(
        &mut self,
        data: &[u8],
        pack: &dyn ReadAt,
        found: &mut dyn FnMut(Decoded),
    ) -> Result<(), PackError> {
        if matches!(self.state, State::Failed) {
            return Err(PackError::Failed);
        }
        let mut rest = data;
        while !rest.is_empty() {
            let taken = match self.state {
                State::Header(_) => self.header(rest)?,
                State::EntryHeader(_) | State::Body(_) => self.entry(rest, pack, found)?,
                State::Trailer(_) => self.trailer(rest)?,
                State::Done(_) => return Err(PackError::Trailing),
                State::Failed => return Err(PackError::Failed),
            };
            rest = &rest[taken..];
        }
        Ok(())
    }

    /// Takes bytes of the pack's header.
    fn header(&mut self, data: &[u8]) -> Result<usize, PackError> {
        let State::Header(start) = &mut self.state else {
            unreachable!("only called in this state");
        };
        let taken = start.fill(data, PACK_HEADER);
        self.offset += taken as u64;
        if start.len < PACK_HEADER {
            return Ok(taken);
        }
        let objects = parse_header(start.bytes())?;
        if objects > self.limits.max_objects {
            let limit = self.limits.max_objects;
            return Err(PackError::TooManyObjects { objects, limit });
        }
        self.checksum.update(start.bytes());
        self.objects = Some(objects);
        self.begin_entry();
        Ok(taken)
    }

    /// Gets ready for the next entry, or for the trailer after the last one.
    fn begin_entry(&mut self) {
        self.entry_offset = self.offset;
        self.crc.reset();
        let came = self.resolver.entries() as u64;
        self.state = if self
            .objects
            .is_some_and(|objects| came < u64::from(objects))
        {
            State::EntryHeader(Start::EMPTY)
        } else {
            State::Trailer(Start::EMPTY)
        };
    }

    /// Takes bytes of one entry, at most up to its end.
    fn entry(
        &mut self,
        data: &[u8],
        pack: &dyn ReadAt,
        found: &mut dyn FnMut(Decoded),
    ) -> Result<usize, PackError> {
        let mut taken = self.entry_header(data)?;
        let mut end = End::NotYet;
        if taken < data.len() {
            let fed = self.body(&data[taken..])?;
            taken += fed.taken;
            end = fed.end;
        }
        self.checksum.update(&data[..taken]);
        self.crc.update(&data[..taken]);
        self.offset += taken as u64;
        if end == End::Reached {
            self.end_entry(pack, found)?;
            self.begin_entry();
        }
        Ok(taken)
    }

    /// Takes bytes of an entry's header, if that is what is next, and gets ready for its data.
    fn entry_header(&mut self, data: &[u8]) -> Result<usize, PackError> {
        let State::EntryHeader(start) = &mut self.state else {
            return Ok(0);
        };
        let offset = self.entry_offset;
        let before = start.len;
        let filled = start.fill(data, entry::MAX_HEADER);
        let Some(header) = entry::parse(start.bytes(), offset, self.hash)? else {
            return Ok(filled);
        };
        self.inflater.reset();
        self.whole = match header.kind {
            EntryKind::Base(kind) => Some((kind, header.size)),
            EntryKind::OfsDelta(_) | EntryKind::RefDelta(_) => None,
        };
        self.state = State::Body(match header.kind {
            EntryKind::Base(ObjectKind::Blob) if header.size >= self.limits.large => Body::Large {
                size: header.size,
                left: header.size,
                hasher: ObjectHasher::new(self.hash, ObjectKind::Blob, header.size),
            },
            EntryKind::Base(kind) => {
                let mut data = Vec::new();
                let size = reserve(&mut data, offset, header.size, self.limits.max_object)?;
                Body::Whole { kind, size, data }
            }
            kind => {
                self.delta.clear();
                let size = reserve(&mut self.delta, offset, header.size, self.limits.max_object)?;
                Body::Delta { kind, size }
            }
        });
        Ok((header.data_offset - offset) as usize - before)
    }

    /// Takes bytes of an entry's compressed data.
    fn body(&mut self, data: &[u8]) -> Result<Fed, PackError> {
        let State::Body(body) = &mut self.state else {
            unreachable!("the header is through: there is more data than it took");
        };
        let offset = self.entry_offset;
        match body {
            Body::Whole {
                size, data: out, ..
            } => self
                .inflater
                .fill(data, out, *size)
                .map_err(PackError::inflate(offset)),
            Body::Delta { size, .. } => self
                .inflater
                .fill(data, &mut self.delta, *size)
                .map_err(PackError::inflate(offset)),
            Body::Large { left, hasher, .. } => {
                let mut hash = |piece: &[u8]| {
                    hasher.update(piece);
                    Ok(())
                };
                self.inflater
                    .pieces(data, left, &mut self.scratch, &mut hash)
                    .map_err(PackError::pieces(offset))
            }
        }
    }

    /// Makes an object of an entry that is whole.
    fn end_entry(
        &mut self,
        pack: &dyn ReadAt,
        found: &mut dyn FnMut(Decoded),
    ) -> Result<(), PackError> {
        let place = Place {
            offset: self.entry_offset,
            crc32: self.crc.clone().finalize(),
        };
        let State::Body(body) = std::mem::replace(&mut self.state, State::Failed) else {
            unreachable!("an entry ends in its data");
        };
        match body {
            Body::Whole { kind, data, .. } => self.resolver.object(place, kind, data, found),
            Body::Large { size, hasher, .. } => {
                let offset = place.offset;
                let oid = hasher.finish().ok_or(PackError::Collision { offset })?;
                self.resolver.large_blob(place, oid, size, found);
                Ok(())
            }
            Body::Delta { kind, .. } => {
                self.resolver.delta(place, kind, &self.delta, pack, found)?;
                self.delta.clear();
                self.delta.shrink_to(KEPT_DELTA);
                Ok(())
            }
        }
    }

    /// Takes bytes of the checksum at the end.
    fn trailer(&mut self, data: &[u8]) -> Result<usize, PackError> {
        let State::Trailer(start) = &mut self.state else {
            unreachable!("only called in this state");
        };
        let taken = start.fill(data, self.hash.len_in_bytes());
        self.offset += taken as u64;
        if start.len == self.hash.len_in_bytes() {
            let checksum = self.checksum.clone().finish()?;
            if checksum.as_slice() != start.bytes() {
                return Err(PackError::Checksum);
            }
            self.state = State::Done(PackSummary {
                checksum,
                len: self.offset,
                objects: self.resolver.entries() as u32,
            });
        }
        Ok(taken)
    }
}

/// Reads a pack's header: the number of its objects. Versions 2 and 3 differ in nothing.
fn parse_header(header: &[u8]) -> Result<u32, PackError> {
    let not_a_pack = |reason| PackError::NotAPack { reason };
    let word = |at: usize| {
        u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    if &header[..4] != b"PACK" {
        let start = String::from_utf8_lossy(&header[..4]);
        return Err(not_a_pack(format!("it begins with {start:?}")));
    }
    match word(4) {
        2 | 3 => Ok(word(8)),
        version => Err(not_a_pack(format!("it is of version {version}"))),
    }
}

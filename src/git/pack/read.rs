//! Objects out of a stored pack, each at its offset.
//!
//! What is read here is not verified: whoever hands it on hashes it first.

use std::io;

use bytes::Bytes;

use super::{EntryHeader, EntryKind, PackError, ReadAt, cache::BaseCache, entry};
use crate::git::{
    delta,
    inflate::{End, Inflater},
    oid::{HashKind, ObjectKind, Oid},
};

/// How much is read for an entry's header; most entries are whole within it.
const FIRST_READ: usize = 4_096;
/// The most that is read at once after that.
const NEXT_READ: usize = 65_536;
/// Longer delta chains than this are taken for circles. Git makes none of over 4,095.
const MAX_CHAIN: usize = 1 << 16;

const ENDLESS: &str = "has an endless delta chain";

/// Finds where in the same pack an object's entry begins. For an object that is there twice it must
/// be the same place each time, and not one whose delta chain leads back to that object.
pub type Lookup<'a> = dyn Fn(&Oid) -> Option<u64> + 'a;

/// Reads the header of the entry at `offset`.
pub fn entry_header(
    pack: &dyn ReadAt,
    offset: u64,
    hash: HashKind,
) -> Result<EntryHeader, PackError> {
    EntryReader::new(hash).header(pack, offset)
}

/// The kind and size of the object at `offset`, without inflating it: a delta tells the size in its
/// first bytes, and the kind stands at the end of its chain.
pub fn object_header(
    pack: &dyn ReadAt,
    offset: u64,
    hash: HashKind,
    lookup: &Lookup<'_>,
) -> Result<(ObjectKind, u64), PackError> {
    let mut reader = EntryReader::new(hash);
    let mut header = reader.header(pack, offset)?;
    let size = match header.kind {
        EntryKind::Base(_) => header.size,
        EntryKind::OfsDelta(_) | EntryKind::RefDelta(_) => {
            reader.delta_result_size(pack, offset, &header)?
        }
    };
    for _ in 0..MAX_CHAIN {
        match next_link(&header, lookup)? {
            Link::Last(kind) => return Ok((kind, size)),
            Link::Base(base) => header = reader.header(pack, base)?,
        }
    }
    Err(PackError::entry(offset, ENDLESS))
}

/// Reads the object at `offset` whole, following its delta chain. Not verified.
///
/// # Errors
///
/// [`PackError::TooLarge`] if it, or a base or delta in its chain, has more than `max` bytes.
pub fn read_object(
    pack: &dyn ReadAt,
    offset: u64,
    hash: HashKind,
    lookup: &Lookup<'_>,
    max: u64,
) -> Result<(ObjectKind, Bytes), PackError> {
    EntryReader::new(hash).object(pack, offset, lookup, max, &mut BaseCache::new(0))
}

/// Hands the object at `offset` to `out` in pieces of at most 64 KiB, whatever its size: its kind
/// and size. Not verified.
///
/// # Errors
///
/// [`PackError::IsDelta`], before `out` is called, if the entry is a delta; [`PackError::Out`] if
/// `out` fails.
pub fn stream_entry(
    pack: &dyn ReadAt,
    offset: u64,
    hash: HashKind,
    out: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> Result<(ObjectKind, u64), PackError> {
    let EntryReader {
        mut inflater,
        mut input,
        ..
    } = EntryReader::new(hash);
    let header = input.header(pack, offset, hash)?;
    let EntryKind::Base(kind) = header.kind else {
        return Err(PackError::IsDelta { offset });
    };
    let (mut at, mut left, mut scratch) = (header.data_offset, header.size, Vec::new());
    loop {
        let data = input.at(pack, at, NEXT_READ)?;
        let fed = inflater.pieces(data, &mut left, &mut scratch, out);
        let fed = fed.map_err(PackError::pieces(offset))?;
        at += fed.taken as u64;
        if fed.end == End::Reached {
            return Ok((kind, header.size));
        }
    }
}

/// Where a delta chain goes on from an entry.
enum Link {
    /// Nowhere: the entry holds an object of this kind whole.
    Last(ObjectKind),
    /// At the base that begins here.
    Base(u64),
}

fn next_link(header: &EntryHeader, lookup: &Lookup<'_>) -> Result<Link, PackError> {
    match header.kind {
        EntryKind::Base(kind) => Ok(Link::Last(kind)),
        EntryKind::OfsDelta(base) => Ok(Link::Base(base)),
        EntryKind::RefDelta(oid) => lookup(&oid)
            .map(Link::Base)
            .ok_or(PackError::MissingBase(oid)),
    }
}

/// The part of a stored pack that was read last.
#[derive(Default)]
struct Input {
    buf: Vec<u8>,
    /// Where `buf` begins, in bytes from the start of the pack.
    start: u64,
    /// How much of `buf` was read.
    len: usize,
}

impl Input {
    /// The bytes from `offset` on: what is at hand, or else up to `want` newly read ones; never
    /// none.
    fn at(&mut self, pack: &dyn ReadAt, offset: u64, want: usize) -> Result<&[u8], PackError> {
        let skip = offset.checked_sub(self.start);
        if let Some(skip) = skip.filter(|skip| *skip < self.len as u64) {
            return Ok(&self.buf[skip as usize..self.len]);
        }
        self.read(pack, offset, want, 1)?;
        match self.len {
            0 => Err(PackError::Truncated { offset }),
            len => Ok(&self.buf[..len]),
        }
    }

    /// Reads up to `want` bytes from `offset` on, and at least `least` unless the pack ends before.
    fn read(
        &mut self,
        pack: &dyn ReadAt,
        offset: u64,
        want: usize,
        least: usize,
    ) -> Result<(), PackError> {
        self.buf.resize(want.max(self.buf.len()), 0);
        self.start = offset;
        self.len = 0;
        while self.len < least {
            let at = offset + self.len as u64;
            match pack.read_at(at, &mut self.buf[self.len..want]) {
                Ok(0) => break,
                Ok(read) => self.len += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(PackError::Read { offset: at, source }),
            }
        }
        Ok(())
    }

    fn header(
        &mut self,
        pack: &dyn ReadAt,
        offset: u64,
        hash: HashKind,
    ) -> Result<EntryHeader, PackError> {
        self.read(pack, offset, FIRST_READ, entry::MAX_HEADER)?;
        let parsed = entry::parse(&self.buf[..self.len], offset, hash)?;
        parsed.ok_or(PackError::Truncated {
            offset: offset + self.len as u64,
        })
    }
}

/// Reads entries, one after another, with the same buffers.
pub(super) struct EntryReader {
    hash: HashKind,
    inflater: Inflater,
    input: Input,
    /// The delta that is being applied.
    delta: Vec<u8>,
}

impl EntryReader {
    pub(super) fn new(hash: HashKind) -> Self {
        Self {
            hash,
            inflater: Inflater::new(),
            input: Input::default(),
            delta: Vec::new(),
        }
    }

    fn header(&mut self, pack: &dyn ReadAt, offset: u64) -> Result<EntryHeader, PackError> {
        self.input.header(pack, offset, self.hash)
    }

    /// Reads a whole object as [`read_object`] does, taking bases from `cache` where it has them
    /// and leaving there what it had to make.
    pub(super) fn object(
        &mut self,
        pack: &dyn ReadAt,
        offset: u64,
        lookup: &Lookup<'_>,
        max: u64,
        cache: &mut BaseCache,
    ) -> Result<(ObjectKind, Bytes), PackError> {
        // From the object wanted down to the first one that is whole.
        let mut deltas = Vec::new();
        let mut at = offset;
        let (kind, mut data) = loop {
            if let Some(object) = cache.get(at) {
                break object;
            }
            let header = self.header(pack, at)?;
            match next_link(&header, lookup)? {
                Link::Last(kind) => {
                    let mut data = Vec::new();
                    self.inflate(pack, at, &header, max, &mut data)?;
                    let data = Bytes::from(data);
                    cache.put(at, kind, data.clone());
                    break (kind, data);
                }
                Link::Base(_) if deltas.len() == MAX_CHAIN => {
                    return Err(PackError::entry(offset, ENDLESS));
                }
                Link::Base(base) => {
                    deltas.push(at);
                    at = base;
                }
            }
        };
        while let Some(at) = deltas.pop() {
            let header = self.header(pack, at)?;
            let mut delta = std::mem::take(&mut self.delta);
            delta.clear();
            self.inflate(pack, at, &header, max, &mut delta)?;
            let made = delta::apply(&data, &delta, max).map_err(PackError::delta(at))?;
            self.delta = delta;
            data = Bytes::from(made);
            cache.put(at, kind, data.clone());
        }
        Ok((kind, data))
    }

    /// Inflates the entry at `offset` into `out`, which is empty.
    fn inflate(
        &mut self,
        pack: &dyn ReadAt,
        offset: u64,
        header: &EntryHeader,
        max: u64,
        out: &mut Vec<u8>,
    ) -> Result<(), PackError> {
        let size = reserve(out, offset, header.size, max)?;
        self.inflater.reset();
        let mut at = header.data_offset;
        loop {
            // Data that doesn't compress is a little longer than what it inflates to.
            let want = (size - out.len() + 1024).min(NEXT_READ);
            let data = self.input.at(pack, at, want)?;
            let fed = self.inflater.fill(data, out, size);
            let fed = fed.map_err(PackError::inflate(offset))?;
            at += fed.taken as u64;
            if fed.end == End::Reached {
                return Ok(());
            }
        }
    }

    /// The size that the delta at `offset` says its result has.
    fn delta_result_size(
        &mut self,
        pack: &dyn ReadAt,
        offset: u64,
        header: &EntryHeader,
    ) -> Result<u64, PackError> {
        let mut start = [0; delta::MAX_HEADER];
        let (mut at, mut made) = (header.data_offset, 0);
        self.inflater.reset();
        loop {
            let data = self.input.at(pack, at, FIRST_READ)?;
            let fed = self.inflater.prefix(data, &mut start, &mut made);
            let fed = fed.map_err(PackError::inflate(offset))?;
            at += fed.taken as u64;
            if fed.end == End::Reached {
                let sizes = delta::sizes(&start[..made]).map_err(PackError::delta(offset))?;
                return Ok(sizes.result);
            }
        }
    }
}

/// Makes room in `out` for the entry at `offset`, which inflates to `size` bytes, if that is allowed.
/// The memory is only written when the bytes come.
pub(super) fn reserve(
    out: &mut Vec<u8>,
    offset: u64,
    size: u64,
    limit: u64,
) -> Result<usize, PackError> {
    let held = usize::try_from(size).ok().filter(|_| size <= limit);
    let held = held.ok_or(PackError::TooLarge {
        offset,
        size,
        limit,
    })?;
    out.try_reserve_exact(held)
        .map_err(|_| PackError::entry(offset, "does not fit into memory"))?;
    Ok(held)
}

//! Loose objects: one zlib stream each, of `<kind> SP <size> NUL` and the content.
//!
//! May import: bytes, flate2, the room's `oid`, `inflate`.
//!
//! What is read here is not verified: whoever hands it on hashes it first.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::{Compression, write::ZlibEncoder};

pub use super::inflate::InflateError;
use super::{
    inflate::{End, Fed, Inflater, PieceError},
    oid::ObjectKind,
};

/// No header is longer: the longest word, a size of 64 bits, a space and a NUL are 28 bytes.
const MAX_HEADER: usize = 32;

/// Why a loose object can't be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LooseError {
    /// The compressed data is bad, or another length than the header says.
    #[error(transparent)]
    Inflate(#[from] InflateError),
    /// The header names no kind and size.
    #[error("the object's header can't be read")]
    Header,
    /// The object is larger than allowed.
    #[error("the object has {size} bytes, over the limit of {limit}")]
    TooLarge {
        /// Its size.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// The object is allowed, but there is no memory for it.
    #[error("the object of {size} bytes does not fit into memory")]
    NoMemory {
        /// Its size.
        size: u64,
    },
    /// The data ends early.
    #[error("the object ends early")]
    Truncated,
    /// Something follows the object.
    #[error("the object is followed by other bytes")]
    Trailing,
    /// The receiver of the content failed.
    #[error("the object can't be handed on: {0}")]
    Out(io::Error),
}

impl From<PieceError> for LooseError {
    fn from(error: PieceError) -> Self {
        match error {
            PieceError::Inflate(error) => Self::Inflate(error),
            PieceError::Out(error) => Self::Out(error),
        }
    }
}

/// Writes a loose object, compressed quickly rather than well (zlib's level 1).
pub fn encode(kind: ObjectKind, data: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    write!(encoder, "{kind} {}\0", data.len()).expect("memory takes all bytes");
    encoder.write_all(data).expect("memory takes all bytes");
    encoder.finish().expect("memory takes all bytes")
}

/// Reads an object's kind and size from the first bytes of its file; 4 KiB are always enough.
pub fn header(start: &[u8]) -> Result<(ObjectKind, u64), LooseError> {
    let mut head = Head::default();
    head.feed(&mut Inflater::new(), start)?;
    let (kind, size, _) = head.parse()?;
    Ok((kind, size))
}

/// Reads a whole object of at most `max` bytes. Not verified.
pub fn decode(data: &[u8], max: u64) -> Result<(ObjectKind, Bytes), LooseError> {
    let mut inflater = Inflater::new();
    let mut head = Head::default();
    let taken = head.feed(&mut inflater, data)?.taken;
    let (kind, size, start) = head.parse()?;
    if size > max {
        return Err(LooseError::TooLarge { size, limit: max });
    }
    let no_memory = LooseError::NoMemory { size };
    let Ok(len) = usize::try_from(size) else {
        return Err(no_memory);
    };
    if start.len() > len {
        return Err(InflateError::TooLong.into());
    }
    let mut out = Vec::new();
    out.try_reserve_exact(len).map_err(|_| no_memory)?;
    out.extend_from_slice(start);
    let rest = &data[taken..];
    let fed = inflater.fill(rest, &mut out, len)?;
    match fed.end {
        End::NotYet => Err(LooseError::Truncated),
        End::Reached if fed.taken < rest.len() => Err(LooseError::Trailing),
        End::Reached => Ok((kind, Bytes::from(out))),
    }
}

/// The first bytes of the inflated stream: the header, and the start of the content.
#[derive(Default)]
struct Head {
    buf: [u8; MAX_HEADER],
    len: usize,
}

impl Head {
    /// Takes the next bytes of the file.
    fn feed(&mut self, inflater: &mut Inflater, data: &[u8]) -> Result<Fed, LooseError> {
        Ok(inflater.prefix(data, &mut self.buf, &mut self.len)?)
    }

    /// The kind, the size, and the start of the content.
    fn parse(&self) -> Result<(ObjectKind, u64, &[u8]), LooseError> {
        let start = &self.buf[..self.len];
        let Some(nul) = start.iter().position(|&byte| byte == 0) else {
            let full = self.len == MAX_HEADER;
            return Err(if full {
                LooseError::Header
            } else {
                LooseError::Truncated
            });
        };
        let header = std::str::from_utf8(&start[..nul]).map_err(|_| LooseError::Header)?;
        let (word, size) = header.split_once(' ').ok_or(LooseError::Header)?;
        let kind = ObjectKind::from_word(word.as_bytes()).ok_or(LooseError::Header)?;
        // Only the one spelling that the object's id is made of: no sign, no leading zero.
        let parsed = size
            .parse::<u64>()
            .ok()
            .filter(|parsed| parsed.to_string() == size);
        Ok((kind, parsed.ok_or(LooseError::Header)?, &start[nul + 1..]))
    }
}

/// Reads a loose object that is fed in any pieces, and hands its content on without holding it.
pub struct LooseStream {
    inflater: Inflater,
    head: Head,
    /// Kind and size, once they are known.
    header: Option<(ObjectKind, u64)>,
    /// How much of the content is still to come.
    left: u64,
    end: End,
    scratch: Vec<u8>,
}

impl Default for LooseStream {
    fn default() -> Self {
        Self::new()
    }
}

impl LooseStream {
    /// A reader at the start of an object.
    pub fn new() -> Self {
        Self {
            inflater: Inflater::new(),
            head: Head::default(),
            header: None,
            left: 0,
            end: End::NotYet,
            scratch: Vec::new(),
        }
    }

    /// Takes the next bytes of the file and hands the content in them to `out`, in pieces of at
    /// most 64 KiB. Not verified. After an error the reader is of no more use.
    pub fn feed(
        &mut self,
        data: &[u8],
        out: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), LooseError> {
        let mut rest = data;
        if self.header.is_none() {
            let fed = self.head.feed(&mut self.inflater, rest)?;
            if fed.end == End::NotYet {
                return Ok(());
            }
            rest = &rest[fed.taken..];
            let (kind, size, start) = self.head.parse()?;
            self.header = Some((kind, size));
            let left = size.checked_sub(start.len() as u64);
            self.left = left.ok_or(InflateError::TooLong)?;
            if !start.is_empty() {
                out(start).map_err(LooseError::Out)?;
            }
        }
        if self.end == End::NotYet {
            let fed = self
                .inflater
                .pieces(rest, &mut self.left, &mut self.scratch, out)?;
            rest = &rest[fed.taken..];
            self.end = fed.end;
        }
        if rest.is_empty() {
            Ok(())
        } else {
            Err(LooseError::Trailing)
        }
    }

    /// The object's kind and size, as soon as they are known.
    pub fn header(&self) -> Option<(ObjectKind, u64)> {
        self.header
    }

    /// To be called after the last byte: the kind and size of what was handed on.
    ///
    /// # Errors
    ///
    /// [`LooseError::Truncated`] if the object isn't through.
    pub fn finish(&self) -> Result<(ObjectKind, u64), LooseError> {
        match (self.header, self.end) {
            (Some(header), End::Reached) => Ok(header),
            _ => Err(LooseError::Truncated),
        }
    }
}

#[cfg(test)]
mod tests;

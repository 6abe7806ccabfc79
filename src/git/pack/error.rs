//! What can be wrong with a pack or its index.

use std::io;

use crate::git::{
    delta::DeltaError,
    inflate::{InflateError, PieceError},
    oid::Oid,
};

/// Why a pack, one of its entries or its index can't be used. Offsets are those of the entry's
/// first byte from the start of the pack.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackError {
    /// The first bytes aren't those of a pack that can be read.
    #[error("not a pack: {reason}")]
    NotAPack {
        /// What was seen.
        reason: String,
    },
    /// The pack claims more objects than [`super::Limits::max_objects`].
    #[error("the pack has {objects} objects, over the limit of {limit}")]
    TooManyObjects {
        /// What its header says.
        objects: u32,
        /// The limit.
        limit: u32,
    },
    /// An entry breaks the format.
    #[error("the pack's entry at {offset} {reason}")]
    Entry {
        /// Which entry.
        offset: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An entry's compressed data is bad.
    #[error("the pack's entry at {offset}: {source}")]
    Inflate {
        /// Which entry.
        offset: u64,
        /// What is wrong with it.
        source: InflateError,
    },
    /// A delta doesn't give an object.
    #[error("the pack's entry at {offset}: {source}")]
    Delta {
        /// Which entry.
        offset: u64,
        /// What is wrong with it.
        source: DeltaError,
    },
    /// An object is larger than allowed.
    #[error("the pack's entry at {offset} has {size} bytes, over the limit of {limit}")]
    TooLarge {
        /// Which entry.
        offset: u64,
        /// The object's size, or its delta's.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// A delta's base isn't in the pack.
    #[error("the pack has a delta against {0}, which it does not hold")]
    MissingBase(Oid),
    /// The entry is a delta where only a whole object can be used.
    #[error("the pack's entry at {offset} is a delta")]
    IsDelta {
        /// Which entry.
        offset: u64,
    },
    /// The object's bytes carry a SHA-1 collision attack.
    #[error("the pack's entry at {offset} carries a SHA-1 collision attack")]
    Collision {
        /// Which entry.
        offset: u64,
    },
    /// The pack or index ends early.
    #[error("the pack ends early, at {offset}")]
    Truncated {
        /// Where there was no more.
        offset: u64,
    },
    /// Something follows the pack's checksum.
    #[error("the pack is followed by other bytes")]
    Trailing,
    /// The checksum at the end isn't that of the bytes before it.
    #[error("the checksum of the pack is wrong")]
    Checksum,
    /// The decoder failed before and takes nothing more.
    #[error("the pack failed before")]
    Failed,
    /// The index breaks the format or doesn't match its checksum.
    #[error("the pack's index {0}")]
    Index(&'static str),
    /// The pack can't be read from where it is stored.
    #[error("the pack can't be read at {offset}: {source}")]
    Read {
        /// Where, in bytes from the start of the pack.
        offset: u64,
        /// What the storage said.
        source: io::Error,
    },
    /// The receiver of an object's bytes failed.
    #[error("an object from the pack can't be handed on: {0}")]
    Out(io::Error),
}

impl PackError {
    pub(super) fn entry(offset: u64, reason: &'static str) -> Self {
        Self::Entry { offset, reason }
    }

    pub(super) fn inflate(offset: u64) -> impl Fn(InflateError) -> Self {
        move |source| Self::Inflate { offset, source }
    }

    pub(super) fn pieces(offset: u64) -> impl Fn(PieceError) -> Self {
        move |error| match error {
            PieceError::Inflate(source) => Self::Inflate { offset, source },
            PieceError::Out(source) => Self::Out(source),
        }
    }

    pub(super) fn delta(offset: u64) -> impl Fn(DeltaError) -> Self {
        move |error| match error {
            DeltaError::TooLarge { size, limit } => Self::TooLarge {
                offset,
                size,
                limit,
            },
            source => Self::Delta { offset, source },
        }
    }
}

//! An object's content as readers get it: small ones whole in memory, large blobs as a file.
//!
//! Always holds: whatever stands here was verified against its object id.

use std::sync::Arc;

use bytes::Bytes;

use super::disk::LargeFile;
use crate::git::oid::ObjectKind;

/// A verified object.
#[derive(Clone)]
pub enum Content {
    /// All of it, in memory.
    Whole {
        /// The object's kind.
        kind: ObjectKind,
        /// Its content, without the header.
        data: Bytes,
    },
    /// A large blob, as a plain file of the disk tier.
    Large(Arc<LargeFile>),
}

impl Content {
    /// A large blob.
    pub(super) fn large(file: LargeFile) -> Self {
        Content::Large(Arc::new(file))
    }

    /// The object's kind.
    pub fn kind(&self) -> ObjectKind {
        match self {
            Content::Whole { kind, .. } => *kind,
            Content::Large(_) => ObjectKind::Blob,
        }
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        match self {
            Content::Whole { data, .. } => data.len() as u64,
            Content::Large(file) => file.size(),
        }
    }

    /// The bytes it holds in memory, for budgets.
    pub fn weight(&self) -> usize {
        /// An entry's share of the tables around it.
        const ENTRY: usize = 128;
        match self {
            Content::Whole { data, .. } => data.len() + ENTRY,
            Content::Large(file) => file.weight() + ENTRY,
        }
    }
}

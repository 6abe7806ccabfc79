//! The wanted objects of one fetch, read batch by batch: each batch is one blocking job, so the
//! sink is fed while nothing is read, and nothing is held but one batch.

use std::{collections::VecDeque, sync::atomic::Ordering};

use bytes::Bytes;

use super::{LARGE, Shared, large::LargeBlob};
use crate::{
    git::{
        commit::parse_commit,
        oid::{ObjectKind, Oid},
        tag::parse_tag,
    },
    origin::OriginError,
};

/// A batch ends when it holds this much.
const BATCH: usize = 1 << 20;

/// What is still to be read.
pub(super) struct Reading {
    wanted: VecDeque<Oid>,
    /// Whether a commit's root tree and a tag's target are read along.
    follow: bool,
}

/// One job's worth.
pub(super) enum Batch {
    /// Objects, and what went wrong behind them.
    Objects {
        objects: Vec<(Oid, ObjectKind, Bytes)>,
        failure: Option<OriginError>,
    },
    /// A blob to be read in pieces.
    Large { oid: Oid, blob: Box<LargeBlob> },
    /// Nothing is left.
    End,
}

enum Read {
    Object(ObjectKind, Bytes),
    Large(Box<LargeBlob>),
}

impl Reading {
    pub fn new(wanted: Vec<Oid>, follow: bool) -> Self {
        Self {
            wanted: wanted.into(),
            follow,
        }
    }

    pub fn next_batch(&mut self, shared: &Shared) -> Batch {
        let mut objects = Vec::new();
        let mut held = 0;
        let mut failure = None;
        while held < BATCH
            && let Some(oid) = self.wanted.pop_front()
        {
            match self.read(shared, oid) {
                Ok(Read::Object(kind, data)) => {
                    held += data.len();
                    objects.push((oid, kind, data));
                }
                Ok(Read::Large(blob)) if objects.is_empty() => return Batch::Large { oid, blob },
                Ok(Read::Large(_)) => {
                    // It begins the next batch.
                    self.wanted.push_front(oid);
                    break;
                }
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
        }
        if objects.is_empty() && failure.is_none() {
            return Batch::End;
        }
        Batch::Objects { objects, failure }
    }

    fn read(&mut self, shared: &Shared, oid: Oid) -> Result<Read, OriginError> {
        if let (ObjectKind::Blob, size @ LARGE..) = shared.store.header(&oid)?
            && let Some(blob) = LargeBlob::find(&*shared.disk, &shared.folders(), &oid, size)?
        {
            shared.objects.fetch_add(1, Ordering::Relaxed);
            return Ok(Read::Large(Box::new(blob)));
        }
        let (kind, data) = shared.object(&oid)?;
        if self.follow {
            let malformed = |error| shared.malformed(&oid, &error);
            match kind {
                ObjectKind::Commit => {
                    let commit = parse_commit(&data, oid.kind()).map_err(malformed)?;
                    self.wanted.push_front(commit.tree);
                }
                ObjectKind::Tag => {
                    let tag = parse_tag(&data, oid.kind()).map_err(malformed)?;
                    self.wanted.push_front(tag.target);
                }
                ObjectKind::Tree | ObjectKind::Blob => {}
            }
        }
        Ok(Read::Object(kind, data))
    }
}

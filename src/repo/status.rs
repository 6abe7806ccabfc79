//! What a mounted commit can tell of itself.

use std::time::Duration;

use serde::Serialize;

use super::provider::{Node, RepoFs};
use crate::{
    git::{oid::Oid, tree::EntryMode},
    objects::Place,
};

/// Figures for `bonsai status`; field names are those of its `--json`.
#[derive(Clone, Debug, Serialize)]
pub struct RepoStatus {
    /// True if the mount was made from the cache because the origin could not be asked.
    pub offline: bool,
    /// What the origin was asked for.
    pub origin: OriginStatus,
    /// What was fetched ahead; `None` if nothing ever is.
    pub prefetch: Option<PrefetchStatus>,
    /// The memory tier.
    pub memory: MemoryStatus,
    /// The disk tier; `None` for a source that is on this machine.
    pub disk: Option<DiskStatus>,
    /// Tree entries left out because no honest tree has them.
    pub rejected_entries: u64,
    /// The last failure.
    pub last_error: Option<ErrorStatus>,
}

/// Requests to the origin.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct OriginStatus {
    /// Requests sent.
    pub requests: u64,
    /// Bytes of answers.
    pub bytes: u64,
    /// Objects that came.
    pub objects: u64,
    /// Objects that somebody waits for.
    pub waiting: u64,
}

/// What was fetched before anybody asked for it.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct PrefetchStatus {
    /// Objects that came.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many of them were then asked for.
    pub used: u64,
}

/// Objects in memory.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct MemoryStatus {
    /// Their bytes.
    pub bytes: u64,
    /// The bound on these.
    pub budget: u64,
    /// How many.
    pub objects: u64,
}

/// Objects in the cache folder.
#[derive(Clone, Debug, Serialize)]
pub struct DiskStatus {
    /// The folder, a bare Git repository.
    pub path: String,
    /// Bytes on disk.
    pub bytes: u64,
    /// Packs.
    pub packs: u64,
    /// Objects.
    pub objects: u64,
    /// The bytes that all repositories of the cache folder may take together.
    pub quota: Option<u64>,
    /// Why nothing more is kept at the moment, as when the disk is full; `None` if all is well.
    pub paused: Option<String>,
}

/// A failure and when it was.
#[derive(Clone, Debug, Serialize)]
pub struct ErrorStatus {
    /// What failed.
    pub message: String,
    /// Seconds since then.
    pub seconds_ago: u64,
}

/// What `bonsai info` tells of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    /// The object's id; a submodule's commit for a gitlink.
    pub oid: Oid,
    /// Where its content is: `memory`, `disk`, `here` (the source is on this machine) or
    /// `not fetched`.
    pub content: &'static str,
    /// Its size in bytes, where it is known without a request.
    pub size: Option<u64>,
}

impl RepoFs {
    /// The source, without credentials.
    pub fn source(&self) -> String {
        self.0.store.origin().describe()
    }

    /// The commit that is shown.
    pub fn commit(&self) -> Oid {
        let shown = self.0.shown.lock();
        shown.expect("no code panics while it holds it").commit
    }

    /// The full name of the ref that led to the commit, if one did.
    pub fn ref_name(&self) -> Option<String> {
        self.shown().ref_name
    }

    /// True if the origin could not be asked, and what was fetched before is shown.
    pub fn offline(&self) -> bool {
        self.shown().offline
    }

    /// Lets objects have so many bytes of memory.
    pub fn set_memory_budget(&self, bytes: usize) {
        self.0.store.set_memory_budget(bytes);
    }

    /// Figures of now. Reads the cache's folders, which takes some milliseconds.
    pub fn status(&self) -> RepoStatus {
        let status = self.0.store.status();
        let now = self.0.runtime.now();
        RepoStatus {
            offline: self.offline(),
            origin: OriginStatus {
                requests: status.origin.requests,
                bytes: status.origin.bytes,
                objects: status.fetched,
                waiting: self.0.store.wanted() as u64,
            },
            prefetch: self.0.ahead.figures().map(|figures| PrefetchStatus {
                objects: figures.came,
                bytes: figures.came_bytes,
                used: figures.used,
            }),
            memory: MemoryStatus {
                bytes: status.memory_bytes,
                budget: status.memory_budget,
                objects: status.memory_objects,
            },
            disk: self
                .0
                .store
                .disk()
                .zip(status.disk)
                .map(|(disk, figures)| DiskStatus {
                    path: disk.path().display().to_string(),
                    bytes: figures.bytes,
                    packs: figures.packs,
                    objects: figures.objects,
                    quota: figures.quota,
                    paused: figures.paused,
                }),
            rejected_entries: self.0.rejected.entries(),
            last_error: status.last_error.map(|error| ErrorStatus {
                message: error.message,
                seconds_ago: now.saturating_sub(error.at).as_secs(),
            }),
        }
    }

    /// What is known of a node without asking over a network. Reads disks.
    pub fn info(&self, node: &Node) -> NodeInfo {
        if node.mode == EntryMode::Gitlink {
            return NodeInfo {
                oid: node.oid,
                content: "not fetched",
                size: Some(0),
            };
        }
        let place = self.0.store.place(&node.oid);
        NodeInfo {
            oid: node.oid,
            content: match place {
                Place::Memory => "memory",
                Place::Disk => "disk",
                Place::Source => "here",
                Place::Origin => "not fetched",
            },
            size: self.size_at_hand(&node.oid),
        }
    }

    fn size_at_hand(&self, oid: &Oid) -> Option<u64> {
        let known = self.0.store.known_size(oid);
        known.or_else(|| Some(self.0.store.local_header(oid)?.1))
    }

    /// Breaks off what is on its way, and waits until what came so far is in the cache, for
    /// `within` at the most.
    pub async fn shutdown(&self, within: Duration) {
        let flush = std::pin::pin!(self.0.store.close());
        if bonsaifs_core::rt::timeout(&*self.0.runtime, within, flush)
            .await
            .is_err()
        {
            tracing::warn!(
                "the cache folder was not done writing; what is missing is fetched again"
            );
        }
    }
}

//! What a mount answers on its control socket. May import: control, server, status; fuse, repo.

use std::{os::unix::ffi::OsStrExt, path::Path};

use bonsaifs_core::fs::{FsErrorKind, Kind};
use tokio::sync::{mpsc, oneshot};

use super::{
    control::{NodeReport, Reply, Request},
    server::Answer,
    state::Record,
    status::Gauges,
};

/// Someone wants the mount gone.
#[derive(Debug)]
pub struct Unmount {
    /// Also if it is in use.
    pub force: bool,
    /// Told what came of it.
    pub reply: oneshot::Sender<Reply>,
}

/// Answers for one mount.
pub struct Responder {
    gauges: Gauges,
    record: Record,
    unmounts: mpsc::Sender<Unmount>,
}

impl Responder {
    /// Reads from `gauges`, and passes on to `unmounts`.
    pub fn new(gauges: Gauges, record: Record, unmounts: mpsc::Sender<Unmount>) -> Self {
        Self {
            gauges,
            record,
            unmounts,
        }
    }

    async fn status(&self) -> Reply {
        let (gauges, record) = (self.gauges.clone(), self.record.clone());
        let read = move || serde_json::to_value(gauges.read(record));
        match tokio::task::spawn_blocking(read).await {
            Ok(Ok(status)) => Reply::Status { status },
            Ok(Err(error)) => failed(&error),
            Err(error) => failed(&error),
        }
    }

    async fn unmount(&self, force: bool) -> Reply {
        let (reply, answer) = oneshot::channel();
        let ask = Unmount { force, reply };
        match self.unmounts.send(ask).await {
            // The mount is ending for another reason: that is what was asked for.
            Err(_) => Reply::Unmounted,
            Ok(()) => answer.await.unwrap_or(Reply::Unmounted),
        }
    }

    async fn info(&self, path: &Path) -> Reply {
        let names: Vec<&[u8]> = path
            .iter()
            .map(OsStrExt::as_bytes)
            .filter(|name| *name != b"/")
            .collect();
        let found = match self.gauges.fs.resolve_path(&names).await {
            Ok(found) => found,
            Err(error) => {
                return match error.kind() {
                    FsErrorKind::NotFound | FsErrorKind::NotADirectory => Reply::Missing,
                    _ => failed(&error),
                };
            }
        };
        let repo = self.gauges.repo.clone();
        let read = move || {
            let info = repo.info(&found.node);
            NodeReport {
                kind: kind_name(found.kind).to_owned(),
                oid: info.oid.to_string(),
                commit: repo.commit().to_string(),
                size: info.size.or(found.attr.map(|attr| attr.size)),
                content: info.content.to_owned(),
            }
        };
        match tokio::task::spawn_blocking(read).await {
            Ok(report) => Reply::Info(report),
            Err(error) => failed(&error),
        }
    }
}

fn failed(error: &dyn std::fmt::Display) -> Reply {
    Reply::Failed {
        reason: error.to_string(),
    }
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Dir => "directory",
        Kind::File => "file",
        Kind::Symlink => "symlink",
    }
}

impl Answer for Responder {
    async fn answer(&self, request: Request) -> Reply {
        match request {
            Request::Status => self.status().await,
            Request::Unmount { force } => self.unmount(force).await,
            Request::Info { path } => self.info(&path.0).await,
        }
    }
}

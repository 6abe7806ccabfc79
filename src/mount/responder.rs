//! What a mount answers on its control socket. May import: control, server, status; fuse, repo.

use std::{
    ffi::OsString,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::Path,
    sync::Arc,
};

use bonsaifs_core::fs::{Found, FsErrorKind, Kind};
use tokio::sync::{mpsc, oneshot};

use super::{
    control::{NodeReport, PrefetchStep, Reply, Request},
    error::MountError,
    events::Failure,
    follow::Follower,
    names::AnyPath,
    server::Answer,
    status::Gauges,
};
use crate::{objects::ObjectError, repo::Node};

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
    follower: Arc<Follower>,
    explain: fn(&MountError) -> Failure,
    unmounts: mpsc::Sender<Unmount>,
}

impl Responder {
    /// Reads from `gauges`, and passes on to `unmounts`.
    pub fn new(
        gauges: Gauges,
        follower: Arc<Follower>,
        explain: fn(&MountError) -> Failure,
        unmounts: mpsc::Sender<Unmount>,
    ) -> Self {
        Self {
            gauges,
            follower,
            explain,
            unmounts,
        }
    }

    async fn refresh(&self) -> Reply {
        // In a task of its own: a switch that has begun is told to the kernel whoever goes away.
        let follower = Arc::clone(&self.follower);
        let task = tokio::spawn(async move { follower.refresh().await });
        match task.await {
            Ok(Ok(told)) => Reply::Refreshed(told),
            Ok(Err(error)) => Reply::NotRefreshed((self.explain)(&error)),
            Err(error) => failed(&error),
        }
    }

    async fn status(&self) -> Reply {
        let (gauges, follower) = (self.gauges.clone(), Arc::clone(&self.follower));
        let read = move || serde_json::to_value(gauges.read(follower.record(), follower.status()));
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

    /// What is at `path`, or the answer to whoever asked for what isn't.
    async fn found(&self, path: &Path) -> Result<Found<Node>, Reply> {
        let names = names(path);
        let found = self.gauges.fs.resolve_path(&names).await;
        found.map_err(|error| match error.kind() {
            FsErrorKind::NotFound | FsErrorKind::NotADirectory => Reply::Missing,
            _ => failed(&error),
        })
    }

    async fn prefetch(&self, path: &Path, after: &Path) -> Reply {
        let found = match self.found(path).await {
            Ok(found) => found,
            Err(reply) => return reply,
        };
        let repo = &self.gauges.repo;
        let step = async {
            let after: Vec<Vec<u8>> = names(after).into_iter().map(<[u8]>::to_vec).collect();
            let total = match after.is_empty() {
                true => Some(repo.files_below(found.node).await?),
                false => None,
            };
            Ok::<_, ObjectError>((total, repo.bring(found.node, after).await?))
        };
        match step.await {
            Ok((total, brought)) => Reply::Prefetched(PrefetchStep {
                files: brought.files,
                came: brought.came,
                bytes: brought.bytes,
                total,
                next: brought.next.map(|names| {
                    let names = names.into_iter().map(OsString::from_vec);
                    AnyPath(names.collect())
                }),
            }),
            Err(error) => failed(&error),
        }
    }

    async fn info(&self, path: &Path) -> Reply {
        let found = match self.found(path).await {
            Ok(found) => found,
            Err(reply) => return reply,
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

/// The names of a path from the mount point on.
fn names(path: &Path) -> Vec<&[u8]> {
    let names = path.iter().map(OsStrExt::as_bytes);
    names.filter(|name| *name != b"/").collect()
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
            Request::Refresh => self.refresh().await,
            Request::Unmount { force } => self.unmount(force).await,
            Request::Info { path } => self.info(&path.0).await,
            Request::Prefetch { path, after } => self.prefetch(&path.0, &after.0).await,
        }
    }
}

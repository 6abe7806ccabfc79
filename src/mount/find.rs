//! Finding mounts and asking them, for the commands. May import: state, control, point.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    control::{self, NodeReport, Reply, Request},
    error::MountError,
    mountinfo::MountTable,
    names::AnyPath,
    point,
    state::{Instance, Life, StateRoot},
};

/// How long a mount may take to answer a question.
const PATIENCE: Duration = Duration::from_secs(10);

/// The living mount at `dir`.
///
/// # Errors
/// [`MountError::NotOurs`] or [`MountError::Dead`].
pub fn living(state: &StateRoot, dir: &Path) -> Result<Instance, MountError> {
    let dir = point::resolve(dir).map_err(|_| MountError::NotOurs {
        dir: dir.to_owned(),
    })?;
    match state.find(&dir)? {
        None => Err(MountError::NotOurs { dir }),
        Some(instance) if instance.life == Life::Dead => Err(MountError::Dead { dir }),
        Some(instance) => Ok(instance),
    }
}

/// The figures of a living mount: the object of `bonsai status --json`.
///
/// # Errors
/// [`MountError::Silent`] if it doesn't answer.
pub fn status(instance: &Instance) -> Result<serde_json::Value, MountError> {
    match ask(instance, &Request::Status)? {
        Reply::Status { status } => Ok(status),
        other => Err(unexpected(instance, &other)),
    }
}

/// What `path` is, which lies in a mount of ours. The last component is not followed, and nothing
/// is fetched for it.
///
/// # Errors
/// [`MountError::NotOurs`], [`MountError::NoSuchPath`], [`MountError::Dead`],
/// [`MountError::Silent`] or [`MountError::Query`].
pub fn info(state: &StateRoot, path: &Path) -> Result<NodeReport, MountError> {
    let absolute = locate(path)?;
    let query = |reason: String| MountError::Query {
        path: path.to_owned(),
        reason,
    };
    let table = MountTable::read().map_err(|error| query(error.to_string()))?;
    let ours = |point: &Path| -> Result<Option<Instance>, MountError> { state.find(point) };
    let point = table.containing(&absolute).map(|mount| &mount.point);
    let found = match point {
        Some(point) => ours(point)?.map(|instance| (instance, point)),
        None => None,
    };
    let Some((instance, point)) = found else {
        return Err(MountError::NotOurs {
            dir: path.to_owned(),
        });
    };
    if instance.life == Life::Dead {
        return Err(MountError::Dead {
            dir: instance.dir(),
        });
    }
    let below = absolute.strip_prefix(point).unwrap_or(Path::new(""));
    let request = Request::Info {
        path: AnyPath(below.to_owned()),
    };
    match ask(&instance, &request)? {
        Reply::Info(report) => Ok(report),
        Reply::Missing => Err(MountError::NoSuchPath {
            path: path.to_owned(),
        }),
        Reply::Failed { reason } => Err(query(reason)),
        other => Err(unexpected(&instance, &other)),
    }
}

/// The absolute path without links, but for the last component. Nothing is asked about that one,
/// as even `lstat` makes a mount find out the size of a file.
fn locate(path: &Path) -> Result<PathBuf, MountError> {
    let missing = || MountError::NoSuchPath {
        path: path.to_owned(),
    };
    let absolute = std::path::absolute(path).map_err(|_| missing())?;
    let text = path.as_os_str().as_encoded_bytes();
    let follow = text.ends_with(b"/") || text.ends_with(b"/.") || text == b".";
    let result = match (absolute.parent(), absolute.file_name()) {
        (Some(parent), Some(name)) if !follow => {
            fs::canonicalize(parent).map(|parent| parent.join(name))
        }
        // A root, or a path that ends in "..".
        _ => fs::canonicalize(&absolute),
    };
    result.map_err(|error| match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR) => missing(),
        Some(libc::ENOTCONN | libc::ECONNABORTED) => MountError::Dead {
            dir: path.to_owned(),
        },
        _ => MountError::Query {
            path: path.to_owned(),
            reason: error.to_string(),
        },
    })
}

fn ask(instance: &Instance, request: &Request) -> Result<Reply, MountError> {
    control::ask(&instance.folder, request, PATIENCE).map_err(|error| MountError::Silent {
        dir: instance.dir(),
        pid: instance.record.pid,
        reason: error.to_string(),
    })
}

fn unexpected(instance: &Instance, reply: &Reply) -> MountError {
    let reason = match reply {
        Reply::Failed { reason } => reason.clone(),
        other => format!("it answered {other:?}"),
    };
    MountError::Silent {
        dir: instance.dir(),
        pid: instance.record.pid,
        reason,
    }
}

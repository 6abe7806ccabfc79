//! Finding mounts and asking them, for the commands. May import: state, control, point.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    control::{self, NodeReport, PrefetchStep, Refreshed, Reply, Request},
    error::MountError,
    events::Failure,
    mountinfo::MountTable,
    names::AnyPath,
    point,
    state::{Instance, Life, StateRoot},
};

/// How long a mount may take to answer a question.
const PATIENCE: Duration = Duration::from_secs(10);
/// And to fetch some megabytes over a slow line, tries included.
const PATIENCE_FOR_A_STEP: Duration = Duration::from_secs(30 * 60);

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
    match ask(instance, &Request::Status, PATIENCE)? {
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
    let place = Place::of(state, path)?;
    let request = Request::Info {
        path: place.below.clone(),
    };
    match place.ask(&request, PATIENCE)? {
        Reply::Info(report) => Ok(report),
        other => Err(unexpected(&place.instance, &other)),
    }
}

/// Has the mount that `path` lies in fetch what is at or below it, and tells `watch` of each step.
/// The last component is not followed. The sum of all steps.
///
/// # Errors
/// As [`info`]; [`MountError::Query`] also if something could not be fetched.
pub fn prefetch(
    state: &StateRoot,
    path: &Path,
    watch: &mut dyn FnMut(&PrefetchStep),
) -> Result<PrefetchStep, MountError> {
    let place = Place::of(state, path)?;
    let mut sum = PrefetchStep::default();
    let mut after = AnyPath(PathBuf::new());
    loop {
        let request = Request::Prefetch {
            path: place.below.clone(),
            after,
        };
        let step = match place.ask(&request, PATIENCE_FOR_A_STEP)? {
            Reply::Prefetched(step) => step,
            other => return Err(unexpected(&place.instance, &other)),
        };
        sum.files += step.files;
        sum.came += step.came;
        sum.bytes += step.bytes;
        sum.total = sum.total.or(step.total);
        watch(&sum);
        match step.next {
            Some(next) => after = next,
            None => return Ok(sum),
        }
    }
}

/// Has the living mount that `dir` is, or lies in, look what its ref means now.
///
/// # Errors
/// [`MountError::NotOurs`], [`MountError::Dead`] or [`MountError::Silent`]; inside, what the mount
/// failed with.
pub fn refresh(state: &StateRoot, dir: &Path) -> Result<Result<Refreshed, Failure>, MountError> {
    let place = Place::of(state, dir)?;
    match place.ask(&Request::Refresh, PATIENCE_FOR_A_STEP)? {
        Reply::Refreshed(told) => Ok(Ok(told)),
        Reply::NotRefreshed(failure) => Ok(Err(failure)),
        other => Err(unexpected(&place.instance, &other)),
    }
}

/// A path in a living mount of ours.
struct Place {
    /// As it was given.
    path: PathBuf,
    instance: Instance,
    /// From the mount point on.
    below: AnyPath,
}

impl Place {
    fn of(state: &StateRoot, path: &Path) -> Result<Self, MountError> {
        let absolute = locate(path)?;
        let table = MountTable::read().map_err(|error| query(path, error.to_string()))?;
        let point = table.containing(&absolute).map(|mount| &mount.point);
        let found = match point {
            Some(point) => state.find(point)?.map(|instance| (instance, point)),
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
        Ok(Self {
            path: path.to_owned(),
            below: AnyPath(below.to_owned()),
            instance,
        })
    }

    /// The mount's answer, unless it is that it has none.
    fn ask(&self, request: &Request, patience: Duration) -> Result<Reply, MountError> {
        match ask(&self.instance, request, patience)? {
            Reply::Missing => Err(MountError::NoSuchPath {
                path: self.path.clone(),
            }),
            Reply::Failed { reason } => Err(query(&self.path, reason)),
            reply => Ok(reply),
        }
    }
}

fn query(path: &Path, reason: String) -> MountError {
    MountError::Query {
        path: path.to_owned(),
        reason,
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

fn ask(instance: &Instance, request: &Request, patience: Duration) -> Result<Reply, MountError> {
    control::ask(&instance.folder, request, patience).map_err(|error| MountError::Silent {
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

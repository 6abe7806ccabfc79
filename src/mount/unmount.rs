//! `bonsai unmount`: asks, waits, and clears away what is dead. May import: state, control, point.

use std::{
    fs::{self, File},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    control::{self, Reply, Request},
    device::{self, Detach, DetachError},
    error::MountError,
    point,
    state::{self, Instance, Life, StateRoot},
};

/// How long mount and process may take to go.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a process may take to answer before it counts as stuck.
const ANSWER: Duration = Duration::from_secs(5);

/// Unmounts what is mounted at `dir`, and waits until mount and process are gone. With `force`
/// also if it is in use, and even if its process does not answer.
///
/// # Errors
/// [`MountError::NotOurs`], [`MountError::Busy`], [`MountError::StillThere`] and others.
pub fn unmount(state: &StateRoot, dir: &Path, force: bool) -> Result<(), MountError> {
    let path = point::resolve(dir).map_err(|_| MountError::NotOurs {
        dir: dir.to_owned(),
    })?;
    match state.find(&path)? {
        Some(instance) if instance.life == Life::Ok => end(&instance, &path, force),
        Some(_) => clear(state, &path),
        // Its state may have been lost, as /tmp and /run are at a restart.
        None if is_dead_bonsai(&path)? => clear(state, &path),
        None => Err(MountError::NotOurs { dir: path }),
    }
}

fn end(instance: &Instance, path: &Path, force: bool) -> Result<(), MountError> {
    let lock = instance.lock_file();
    let request = Request::Unmount { force };
    match control::ask(&instance.folder, &request, ANSWER) {
        Ok(Reply::Unmounted) => {}
        Ok(Reply::Busy) => {
            return Err(MountError::Busy {
                dir: path.to_owned(),
            });
        }
        Ok(other) => {
            let reason = match other {
                Reply::Failed { reason } => reason,
                other => format!("it answered {other:?}"),
            };
            return Err(MountError::Unmount {
                dir: path.to_owned(),
                reason,
            });
        }
        // It ended between being found and being asked.
        Err(_) if lock.as_ref().is_none_or(state::is_free) => {}
        Err(_) if force => end_stuck(instance, path)?,
        Err(error) => {
            return Err(MountError::Silent {
                dir: path.to_owned(),
                pid: instance.record.pid,
                reason: error.to_string(),
            });
        }
    }
    wait_gone(instance, lock.as_ref(), path)
}

/// The process does not answer: takes its mount away, and ends it if it still doesn't go.
fn end_stuck(instance: &Instance, path: &Path) -> Result<(), MountError> {
    detach(path)?;
    let pid = i32::try_from(instance.record.pid).map(Pid::from_raw);
    if let Ok(pid) = pid {
        // The lock is held, so the number is still that process's.
        let _ = kill(pid, Signal::SIGKILL);
    }
    Ok(())
}

/// A dead mount: nobody is left to ask.
fn clear(state: &StateRoot, path: &Path) -> Result<(), MountError> {
    point::clear_dead(path)?;
    if state.sweep(path)? {
        // Fails, rightly, if something is in it.
        let _ = fs::remove_dir(path);
    }
    Ok(())
}

fn is_dead_bonsai(path: &Path) -> Result<bool, MountError> {
    let mount = point::mounted_at(path)?;
    Ok(mount
        .is_some_and(|mount| mount.fs_type == "fuse.bonsai" && point::is_dead_mount(&mount, path)))
}

fn detach(path: &Path) -> Result<(), MountError> {
    match device::detach(path, Detach::Lazy) {
        Ok(()) | Err(DetachError::NotMounted) => Ok(()),
        Err(error) => Err(MountError::Unmount {
            dir: path.to_owned(),
            reason: error.to_string(),
        }),
    }
}

/// Waits until the process has let go of its lock and is gone, or a zombie that its parent has
/// not asked about yet.
fn wait_gone(instance: &Instance, lock: Option<&File>, path: &Path) -> Result<(), MountError> {
    let end = Instant::now() + PATIENCE;
    let mut step = Duration::from_millis(1);
    while !(lock.is_none_or(state::is_free) && is_gone(instance.record.pid)) {
        if Instant::now() >= end {
            return Err(MountError::StillThere {
                dir: path.to_owned(),
                seconds: PATIENCE.as_secs(),
                what: format!("process {} still runs", instance.record.pid),
            });
        }
        thread::sleep(step);
        step = (step * 2).min(Duration::from_millis(50));
    }
    if instance.folder.exists() {
        // It was killed before it could clean up.
        let _ = fs::remove_dir_all(&instance.folder);
        if instance.record.created_dir {
            let _ = fs::remove_dir(path);
        }
    }
    Ok(())
}

fn is_gone(pid: u32) -> bool {
    // "1 (name with ) in it) Z …": the state follows the last parenthesis (proc_pid_stat(5)).
    fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| {
        stat.rsplit(") ")
            .next()
            .is_some_and(|rest| rest.starts_with(['Z', 'X']))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_not_gone_and_no_process_is() {
        assert!(!is_gone(std::process::id()));
        assert!(is_gone(u32::MAX));
    }

    #[test]
    fn what_is_not_ours_is_left_alone() {
        let temp = tempfile::tempdir().expect("a temporary folder");
        let state = StateRoot::in_folder(&temp.path().join("state"));
        for path in [temp.path(), Path::new("/proc"), Path::new("/no/such/path")] {
            let error = unmount(&state, path, true).expect_err("not a mount of ours");
            assert!(matches!(error, MountError::NotOurs { .. }), "{error}");
        }
    }
}

//! The mount point: whether a directory may become one, and who gets it.
//! May import: mountinfo, device, state.
//!
//! Always holds: of two claims on one directory at most one lives; a directory made by a claim
//! goes with it.

use std::{
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, RenameFlags, renameat, renameat2},
    unistd::{AccessFlags, access, geteuid},
};

use super::{
    device::{self, Detach},
    error::MountError,
    mountinfo::{Mount, MountTable},
    state::StateRoot,
};

/// The absolute path of a mount point without links, as the kernel lists it. The directory itself
/// need not exist, and is not looked into if its filesystem is dead.
///
/// # Errors
/// If the directory above does not exist or can't be reached.
pub fn resolve(dir: &Path) -> Result<PathBuf, MountError> {
    let unusable = |error: io::Error| MountError::Unusable {
        dir: dir.to_owned(),
        reason: error.to_string(),
    };
    match fs::canonicalize(dir) {
        Ok(path) => return Ok(path),
        Err(error) if is_dead(&error) || error.kind() == io::ErrorKind::NotFound => {}
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Err(MountError::NotADirectory {
                dir: dir.to_owned(),
            });
        }
        Err(error) => return Err(unusable(error)),
    }
    let absolute = std::path::absolute(dir).map_err(unusable)?;
    let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else {
        return Err(MountError::ParentMissing {
            dir: dir.to_owned(),
        });
    };
    match fs::canonicalize(parent) {
        Ok(parent) => Ok(parent.join(name)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(MountError::ParentMissing {
            dir: dir.to_owned(),
        }),
        Err(error) => Err(unusable(error)),
    }
}

/// True for the errors of a FUSE mount whose process is gone.
fn is_dead(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOTCONN | libc::ECONNABORTED)
    )
}

/// True if a FUSE mount lies at `point` and nobody answers for it any more. Asks by `statfs`, which
/// the kernel always passes on: attributes it may have kept from when the mount was alive.
pub fn is_dead_mount(mount: &Mount, point: &Path) -> bool {
    let asked = || nix::sys::statvfs::statvfs(point).map_err(io::Error::from);
    mount.is_fuse() && asked().is_err_and(|error| is_dead(&error))
}

/// The uppermost mount at `point`, if there is one.
///
/// # Errors
/// [`MountError::Unusable`] if the list of mounts can't be read.
pub fn mounted_at(point: &Path) -> Result<Option<Mount>, MountError> {
    let table = MountTable::read().map_err(|error| MountError::Unusable {
        dir: point.to_owned(),
        reason: format!("the list of mounts can't be read: {error}"),
    })?;
    Ok(table.top_at(point).cloned())
}

/// A directory that this process alone may mount on. Held as long as the mount lives.
#[derive(Debug)]
pub struct Claim {
    dir: PathBuf,
    created: bool,
    lock: File,
}

impl Claim {
    /// Claims `dir` as a mount point: clears dead mounts and their state away, makes the
    /// directory if it is missing, and checks that it is empty and may be mounted on.
    ///
    /// # Errors
    /// What stands in the way; see [`MountError`].
    pub fn new(dir: &Path, state: &StateRoot) -> Result<Self, MountError> {
        let path = resolve(dir)?;
        clear_dead(&path)?;
        let made_before = state.sweep(&path)?;
        let (lock, made_now) = obtain(&path)?;
        let claim = Self {
            dir: path,
            // A dead mount's directory is its heir's to remove.
            created: made_now || made_before,
            lock,
        };
        claim.check()?;
        Ok(claim)
    }

    /// The mount point's absolute path without links.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// True if the directory was made for this mount.
    pub fn created(&self) -> bool {
        self.created
    }

    /// What can change until the lock is held is looked at after that.
    fn check(&self) -> Result<(), MountError> {
        let dir = || self.dir.clone();
        if let Some(mount) = mounted_at(&self.dir)? {
            return Err(already_mounted(&self.dir, &mount));
        }
        let mut entries = fs::read_dir(&self.dir).map_err(|error| denied(&self.dir, &error))?;
        if entries.next().is_some() {
            return Err(MountError::NotEmpty { dir: dir() });
        }
        // fusermount3 asks for the same of an ordinary user (util/fusermount.c, check_perm).
        if !geteuid().is_root() && access(&self.dir, AccessFlags::W_OK).is_err() {
            return Err(MountError::NotAllowed {
                dir: dir(),
                reason: "you may not write to it".to_owned(),
            });
        }
        Ok(())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.created {
            // Fails, rightly, if something is in it or mounted on it.
            let _ = fs::remove_dir(&self.dir);
        }
        // Not only closed: a child that is just being started (fusermount3, git) has a copy of the
        // descriptor until its exec, and the lock with it.
        let _ = self.lock.unlock();
    }
}

fn already_mounted(dir: &Path, mount: &Mount) -> MountError {
    MountError::AlreadyMounted {
        dir: dir.to_owned(),
        source_name: format!(
            "{} ({})",
            mount.source.to_string_lossy().escape_debug(),
            mount.fs_type
        ),
    }
}

fn denied(dir: &Path, error: &io::Error) -> MountError {
    let (dir, reason) = (dir.to_owned(), error.to_string());
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            MountError::NotAllowed { dir, reason }
        }
        _ => MountError::Unusable { dir, reason },
    }
}

/// Detaches every dead FUSE mount at `path`. A living one is an error.
pub(super) fn clear_dead(path: &Path) -> Result<(), MountError> {
    while let Some(mount) = mounted_at(path)? {
        if !is_dead_mount(&mount, path) {
            return Err(already_mounted(path, &mount));
        }
        match device::detach(path, Detach::Lazy) {
            Ok(()) | Err(device::DetachError::NotMounted) => {}
            Err(error) => {
                return Err(MountError::Unusable {
                    dir: path.to_owned(),
                    reason: format!("a dead mount is there and can't be removed: {error}"),
                });
            }
        }
    }
    Ok(())
}

/// Makes the directory if it is missing, and locks it. True if it was made.
///
/// The lock is on the directory itself, so that it leaves nothing behind and holds between users
/// of different state folders. A new directory is locked before it has its name: whoever loses
/// finds it locked, and has nothing to remove.
fn obtain(path: &Path) -> Result<(File, bool), MountError> {
    loop {
        if let Some(lock) = make_locked(path)? {
            return Ok((lock, true));
        }
        let file = match File::open(path) {
            Ok(file) => file,
            // Its maker's start failed just now.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(denied(path, &error)),
        };
        lock(&file, path)?;
        if is_same(&file, path) {
            return Ok((file, false));
        }
    }
}

/// A new directory at `path`, locked; `None` if there is something already.
fn make_locked(path: &Path) -> Result<Option<File>, MountError> {
    match fs::metadata(path) {
        Ok(meta) if meta.is_dir() => return Ok(None),
        Ok(_) => {
            return Err(MountError::NotADirectory {
                dir: path.to_owned(),
            });
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(denied(path, &error)),
    }
    let hidden = make_hidden(path)?;
    let named = File::open(&hidden)
        .map_err(|error| denied(path, &error))
        .and_then(|file| lock(&file, path).map(|()| file))
        .and_then(|file| match rename_new(&hidden, path) {
            Ok(()) => Ok(Some(file)),
            Err(Errno::EEXIST) => Ok(None),
            Err(error) => Err(denied(path, &error.into())),
        });
    if !matches!(named, Ok(Some(_))) {
        let _ = fs::remove_dir(&hidden);
    }
    named
}

/// A new directory beside `path` that nobody looks for.
fn make_hidden(path: &Path) -> Result<PathBuf, MountError> {
    for attempt in 0.. {
        let hidden = path.with_file_name(format!(".bonsai-{}-{attempt}", std::process::id()));
        match fs::create_dir(&hidden) {
            Ok(()) => return Ok(hidden),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(MountError::ParentMissing {
                    dir: path.to_owned(),
                });
            }
            Err(error) => return Err(denied(path, &error)),
        }
    }
    unreachable!("the loop ends by returning only")
}

/// Renames a directory unless there is something at `to` already.
fn rename_new(from: &Path, to: &Path) -> nix::Result<()> {
    let noreplace = RenameFlags::RENAME_NOREPLACE;
    match renameat2(AT_FDCWD, from, AT_FDCWD, to, noreplace) {
        // Filesystems that can't promise that much: an empty directory may be replaced then.
        Err(Errno::EINVAL) => match fs::symlink_metadata(to) {
            Ok(_) => Err(Errno::EEXIST),
            Err(_) => renameat(AT_FDCWD, from, AT_FDCWD, to),
        },
        result => result,
    }
}

/// Where directories can't be locked, as on NFS, there is no protection against another start at
/// the same moment; a mount that is there already is seen anyway.
fn lock(file: &File, path: &Path) -> Result<(), MountError> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(MountError::MountingNow {
            dir: path.to_owned(),
        }),
        Err(TryLockError::Error(error)) => {
            tracing::debug!(%error, "the mount point can't be locked");
            Ok(())
        }
    }
}

/// True if the open directory is the one at `path`, and not one that was removed since.
fn is_same(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

#[cfg(test)]
#[path = "point_tests.rs"]
mod tests;

//! The state folder: one folder a mount, with what others must know to find and end it.
//! May import: names; std, nix, serde.
//!
//! Always holds: whoever serves a mount holds an exclusive `flock` on `<folder>/lock` from before
//! the folder has its final name until the process ends, however it ends. So a free lock means
//! dead, whatever became of process numbers, and only the holder of the lock removes the folder.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, ErrorKind},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use nix::unistd::geteuid;
use serde::{Deserialize, Serialize};

use super::{error::MountError, names::DirFields};

const RECORD: &str = "mount.json";
const LOCK: &str = "lock";
/// The control socket's name within a mount's folder.
pub(super) const SOCKET: &str = "control.sock";
const LOG: &str = "log";

/// What a mount writes about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The repository, without credentials.
    pub source: String,
    /// The full ref name, or `None` for a commit by itself.
    #[serde(rename = "ref")]
    pub ref_name: Option<String>,
    /// The commit's id, in full.
    pub commit: String,
    /// The mount point.
    #[serde(flatten)]
    pub dir: DirFields,
    /// True if the mount point was made by the mount, and goes with it.
    pub created_dir: bool,
    /// The process that serves it.
    pub pid: u32,
    /// When it was mounted, in seconds since 1970.
    pub started: u64,
    /// The version of bonsai that serves it.
    pub version: String,
    /// The log file, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
}

/// Whether someone still serves a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Life {
    /// Its process runs.
    Ok,
    /// Its process is gone.
    Dead,
}

/// A mount as its folder tells of it.
#[derive(Clone, Debug)]
pub struct Instance {
    /// Its folder.
    pub folder: PathBuf,
    /// What it wrote.
    pub record: Record,
    /// Whether its process runs.
    pub life: Life,
}

impl Instance {
    /// The mount point.
    pub fn dir(&self) -> PathBuf {
        self.record.dir.path()
    }

    /// Opens the lock file, for [`is_free`]; `None` once the folder is gone.
    pub fn lock_file(&self) -> Option<File> {
        File::open(self.folder.join(LOCK)).ok()
    }
}

/// The folder of all mounts of one user.
#[derive(Clone, Debug)]
pub struct StateRoot(PathBuf);

impl StateRoot {
    /// `$BONSAI_STATE_DIR`, else `$XDG_RUNTIME_DIR/bonsai`, else `/tmp/bonsai-<uid>`; made if it
    /// is missing.
    ///
    /// # Errors
    /// [`MountError::State`] if it can't be made, or belongs to or is open to others.
    pub fn open() -> Result<Self, MountError> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        if let Some(path) = variable("BONSAI_STATE_DIR") {
            return Self::at(Path::new(&path), 0o022);
        }
        // The XDG base directory specification: a relative path is to be ignored.
        if let Some(path) = variable("XDG_RUNTIME_DIR").map(PathBuf::from)
            && path.is_absolute()
        {
            return Self::at(&path.join("bonsai"), 0o022);
        }
        let path = PathBuf::from(format!("/tmp/bonsai-{}", geteuid()));
        // Anyone may make such a folder in /tmp before us, so it must be ours alone.
        Self::at(&path, 0o077)
    }

    /// The folder `path`, for tests.
    #[cfg(test)]
    pub(super) fn in_folder(path: &Path) -> Self {
        Self::at(path, 0o022).expect("a folder of the test's own")
    }

    /// The folder `path`, refused if any permission of `forbidden` is given.
    fn at(path: &Path, forbidden: u32) -> Result<Self, MountError> {
        let fail = |reason: String| MountError::State {
            path: path.to_owned(),
            reason,
        };
        let path = std::path::absolute(path).map_err(|error| fail(error.to_string()))?;
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .map_err(|error| fail(error.to_string()))?;
        let meta = fs::symlink_metadata(&path).map_err(|error| fail(error.to_string()))?;
        if !meta.is_dir() {
            return Err(fail("it is not a directory".to_owned()));
        }
        if meta.uid() != geteuid().as_raw() {
            return Err(fail(format!("it belongs to user {}", meta.uid())));
        }
        if meta.mode() & forbidden != 0 {
            return Err(fail(format!(
                "its permissions are {:03o}, open to others",
                meta.mode() & 0o777
            )));
        }
        Ok(Self(path))
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Every mount, dead or alive, by mount point.
    ///
    /// # Errors
    /// [`MountError::State`] if the folder can't be read.
    pub fn instances(&self) -> Result<Vec<Instance>, MountError> {
        let mut found: Vec<Instance> = self
            .folders()?
            .into_iter()
            .filter_map(|folder| {
                // Mounts that are just beginning or ending have no record.
                let record = fs::read(folder.join(RECORD)).ok()?;
                let record = serde_json::from_slice(&record).ok()?;
                let life = match File::open(folder.join(LOCK)) {
                    Ok(lock) if is_free(&lock) => Life::Dead,
                    Ok(_) => Life::Ok,
                    Err(_) => return None,
                };
                Some(Instance {
                    folder,
                    record,
                    life,
                })
            })
            .collect();
        found.sort_by_key(|instance| (instance.dir(), instance.record.started));
        Ok(found)
    }

    /// The mount at `dir`, a living one if there are several.
    ///
    /// # Errors
    /// As [`StateRoot::instances`].
    pub fn find(&self, dir: &Path) -> Result<Option<Instance>, MountError> {
        let mut at_dir = self.instances()?;
        at_dir.retain(|instance| instance.dir() == dir);
        let alive = at_dir
            .iter()
            .rposition(|instance| instance.life == Life::Ok);
        Ok(alive
            .map(|i| at_dir.swap_remove(i))
            .or_else(|| at_dir.pop()))
    }

    /// Removes the folders of dead mounts at `dir`, and of starts that never came to their end.
    /// True if one of them had made the mount point, which is for the caller to take over.
    ///
    /// # Errors
    /// As [`StateRoot::instances`].
    pub fn sweep(&self, dir: &Path) -> Result<bool, MountError> {
        let mut made_dir = false;
        for folder in self.folders()? {
            let record = fs::read(folder.join(RECORD))
                .ok()
                .and_then(|text| serde_json::from_slice::<Record>(&text).ok());
            if record.as_ref().is_some_and(|r| r.dir.path() != dir) {
                continue;
            }
            let dead = File::open(folder.join(LOCK)).is_ok_and(|lock| is_free(&lock));
            if dead && remove_folder(&folder) {
                made_dir |= record.is_some_and(|r| r.created_dir);
            }
        }
        Ok(made_dir)
    }

    /// Makes the folder of a new mount and takes its lock.
    ///
    /// # Errors
    /// [`MountError::State`].
    pub fn create(&self) -> Result<OwnFolder, MountError> {
        let fail = |error: io::Error| MountError::State {
            path: self.0.clone(),
            reason: error.to_string(),
        };
        let pid = std::process::id();
        for attempt in 0.. {
            let id = if attempt == 0 {
                pid.to_string()
            } else {
                format!("{pid}-{attempt}")
            };
            // Locked before it has a name that others look at.
            let hidden = self.0.join(format!(".{id}"));
            match DirBuilder::new().mode(0o700).create(&hidden) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(fail(error)),
            }
            let result = lock_new(&hidden).and_then(|lock| {
                let path = self.0.join(&id);
                // A rename would take the place of an empty folder; there is none, as every
                // named folder has a lock in it.
                fs::rename(&hidden, &path)?;
                Ok(OwnFolder { path, _lock: lock })
            });
            match result {
                Ok(folder) => return Ok(folder),
                Err(error) => {
                    let _ = fs::remove_dir_all(&hidden);
                    // A mount by a process of the same number left its folder.
                    if error.kind() != ErrorKind::DirectoryNotEmpty {
                        return Err(fail(error));
                    }
                }
            }
        }
        unreachable!("the loop ends by returning only")
    }

    fn folders(&self) -> Result<Vec<PathBuf>, MountError> {
        let fail = |error: io::Error| MountError::State {
            path: self.0.clone(),
            reason: error.to_string(),
        };
        let mut folders = Vec::new();
        for entry in fs::read_dir(&self.0).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
            if !hidden && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(entry.path());
            }
        }
        folders.sort();
        Ok(folders)
    }
}

/// True if no process holds the lock.
pub fn is_free(lock: &File) -> bool {
    match lock.try_lock_shared() {
        Ok(()) => {
            let _ = lock.unlock();
            true
        }
        Err(TryLockError::WouldBlock) => false,
        Err(TryLockError::Error(_)) => false,
    }
}

fn lock_new(folder: &Path) -> io::Result<File> {
    let lock = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(folder.join(LOCK))?;
    lock.try_lock()?;
    Ok(lock)
}

/// Removes the folder of a dead mount. False if it is not dead after all, or gone already.
fn remove_folder(folder: &Path) -> bool {
    let Ok(lock) = File::open(folder.join(LOCK)) else {
        return false;
    };
    lock.try_lock().is_ok() && fs::remove_dir_all(folder).is_ok()
}

/// The folder of the mount that this process serves; removed when dropped.
#[derive(Debug)]
pub struct OwnFolder {
    path: PathBuf,
    _lock: File,
}

impl OwnFolder {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the log goes if the user names no file.
    pub fn log(&self) -> PathBuf {
        self.path.join(LOG)
    }

    /// Tells others of the mount; all of it or nothing.
    ///
    /// # Errors
    /// [`MountError::State`].
    pub fn publish(&self, record: &Record) -> Result<(), MountError> {
        publish(&self.path, record)
    }
}

/// Tells others of the mount whose folder this is; all of it or nothing.
///
/// # Errors
/// [`MountError::State`].
pub fn publish(folder: &Path, record: &Record) -> Result<(), MountError> {
    let write = || -> io::Result<()> {
        let text = serde_json::to_vec_pretty(record)?;
        let new = folder.join("mount.json.new");
        fs::write(&new, text)?;
        fs::rename(&new, folder.join(RECORD))
    };
    write().map_err(|error| MountError::State {
        path: folder.to_owned(),
        reason: error.to_string(),
    })
}

impl Drop for OwnFolder {
    fn drop(&mut self) {
        // If it stays, it is a dead one, which the next mount or unmount there removes.
        let _ = fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;

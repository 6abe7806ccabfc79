//! The disk seam: files by handle, rename, sync, directory sync. Blocking; call it from
//! `Runtime::spawn_blocking`, or where a short wait on a local disk is fine.
//!
//! Always holds: nothing here is durable before `sync`, and a rename not before `sync_dir`.

mod local;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

pub use local::StdDisk;

/// An open file. Positions are explicit, so one handle serves many threads.
pub trait DiskFile: Send + Sync {
    /// Fills `buf` from `offset`; fewer bytes only at the end of the file.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;
    /// Reads what the system holds in memory of `buf.len()` bytes from `offset`: how many, and none only at
    /// the end of the file. For a thread that must not wait for the disk.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if nothing is held, or the file system can't tell.
    fn read_at_once(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let _ = (offset, buf);
        Err(io::ErrorKind::WouldBlock.into())
    }
    /// A hint that `len` bytes from `offset` will be read soon. Starts to read them, and does not wait.
    fn will_read(&self, offset: u64, len: u64) {
        let _ = (offset, len);
    }
    /// Writes all of `data` at `offset`.
    fn write_all_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;
    /// Its length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// True if it has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Cuts or extends it.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Makes its content durable.
    fn sync(&self) -> io::Result<()>;
}

/// What a directory holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskEntry {
    /// The name within the directory.
    pub name: std::ffi::OsString,
    /// True for a directory.
    pub is_dir: bool,
    /// Bytes, for a file.
    pub len: u64,
    /// When its content last changed, since the Unix epoch.
    pub modified: std::time::Duration,
}

/// What a lock lets others do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Others may hold it so too.
    Shared,
    /// Nobody else holds it.
    Alone,
}

/// An advisory lock, held until this is dropped or the process ends, however it ends.
pub type DiskLock = Box<dyn std::any::Any + Send + Sync>;

/// A local disk.
pub trait Disk: Send + Sync + 'static {
    /// Opens an existing file for reading.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Creates a file for reading and writing that must not exist yet, for its owner only.
    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Replaces or creates `to` by `from`, atomically.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Creates a directory and its parents, for their owner only.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Removes a directory with all that is in it.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;
    /// What is in a directory, sorted by name.
    fn read_dir(&self, path: &Path) -> io::Result<Vec<DiskEntry>>;
    /// Makes a directory's entries durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Free bytes for this user on the file system that holds `path`.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;
    /// Bytes of the whole file system that holds `path`, in use or not.
    fn total_bytes(&self, path: &Path) -> io::Result<u64>;
    /// Sets when a file's content last changed, since the Unix epoch.
    fn set_modified(&self, path: &Path, when: std::time::Duration) -> io::Result<()>;
    /// Locks the file `path`, which is made if it is missing, and waits for that as long as it takes.
    /// The lock is of the file that has this name when this returns.
    fn lock(&self, path: &Path, hold: Hold) -> io::Result<DiskLock>;
    /// As [`Disk::lock`] with [`Hold::Alone`], but `None` at once if anybody else holds it.
    fn try_lock(&self, path: &Path) -> io::Result<Option<DiskLock>>;

    /// The whole content of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.open(path)?;
        let mut data = vec![0; usize::try_from(file.len()?).map_err(io::Error::other)?];
        let mut at = 0;
        while at < data.len() {
            match file.read_at(at as u64, &mut data[at..])? {
                0 => break,
                n => at += n,
            }
        }
        data.truncate(at);
        Ok(data)
    }

    /// Replaces `path` by a file with `data`, durably: a reader, or a start after a crash, sees
    /// the old content or the new, never a part. `temp` names a file beside it that is in
    /// nobody else's use.
    fn write_whole(&self, path: &Path, temp: &Path, data: &[u8]) -> io::Result<()> {
        let file = self.create_new(temp)?;
        let written = file.write_all_at(0, data).and_then(|()| file.sync());
        if let Err(error) = written.and_then(|()| self.rename(temp, path)) {
            let _ = self.remove_file(temp);
            return Err(error);
        }
        // A bare file name has the empty path for a parent.
        let parent = path.parent().filter(|parent| *parent != Path::new(""));
        self.sync_dir(parent.unwrap_or(Path::new(".")))
    }
}

/// A shared disk handle and the folder under it that a room may use.
#[derive(Clone)]
pub struct Folder {
    /// The disk.
    pub disk: Arc<dyn Disk>,
    /// The folder.
    pub path: PathBuf,
}

//! A machine's disk behind the disk seam, keyed by inode: what was not synced is lost or torn by a
//! crash, space runs out, sectors fail, bits rot.
//!
//! Always holds: a handle follows its file through renames and removals, as POSIX has it; a process
//! that is dead, or a machine that is down, changes nothing any more.

mod crash;
mod locks;
mod state;
#[cfg(test)]
mod tests;

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bonsaifs::seams::disk::{Disk, DiskEntry, DiskFile, DiskLock, Hold};

use self::{
    locks::Locks,
    state::{Entry, FileRef, State},
};
use super::rng::Rng;

/// A machine's disk. A clone is another handle to the same disk.
#[derive(Clone)]
pub struct SimDisk(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Operations so far, those of dead processes not counted.
    operations: AtomicU64,
    /// After which operation the machine loses power; `u64::MAX` for never.
    power_off_at: AtomicU64,
    locks: Locks,
}

impl SimDisk {
    /// An empty disk of `capacity` bytes.
    pub fn new(rng: Rng, capacity: u64) -> Self {
        Self(Arc::new(Shared {
            state: Mutex::new(State::new(rng, capacity)),
            operations: AtomicU64::new(0),
            power_off_at: AtomicU64::new(u64::MAX),
            locks: Locks::default(),
        }))
    }

    /// The disk as one process sees it, which ends when `dead` is set.
    pub fn process(&self, dead: Arc<AtomicBool>) -> Arc<ProcessDisk> {
        Arc::new(ProcessDisk {
            disk: self.clone(),
            dead,
            kill_at: AtomicU64::new(u64::MAX),
        })
    }

    /// The machine loses power after `operations` more disk operations.
    pub fn power_off_after(&self, operations: u64) {
        let at = self.operations() + operations;
        self.0.power_off_at.store(at, Ordering::Relaxed);
    }

    /// The machine loses power, if it hasn't by itself: what was not synced is decided upon.
    /// Whether anything is gone.
    pub fn power_off(&self) -> bool {
        self.0.power_off_at.store(0, Ordering::Relaxed);
        self.lock().crash()
    }

    /// The machine starts again.
    pub fn power_on(&self) {
        self.0.power_off_at.store(u64::MAX, Ordering::Relaxed);
    }

    /// True if no operation has any effect now.
    pub fn is_off(&self) -> bool {
        self.operations() >= self.0.power_off_at.load(Ordering::Relaxed)
    }

    /// Whether writes fail for want of space, however much there is.
    pub fn set_full(&self, full: bool) {
        self.lock().full = full;
    }

    /// How many operations in 1,000 fail with EIO.
    pub fn set_errors(&self, per_mille: u64) {
        self.lock().errors_per_mille = per_mille;
    }

    /// Flips one bit in each of up to `count` files; which ones.
    pub fn rot(&self, count: u64) -> Vec<PathBuf> {
        self.lock().rot(count)
    }

    /// Exchanges content between up to `count` files, each of which stays well-formed; which ones.
    pub fn mix_up(&self, count: u64) -> Vec<PathBuf> {
        self.lock().mix_up(count)
    }

    /// All files with their content, by path.
    pub fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        self.lock().files()
    }

    /// Bytes of what lies under final names in the object folders below `cache`.
    pub fn pieces(&self, cache: &Path) -> u64 {
        let mut bytes = 0;
        let state = self.lock();
        state::walk(&state.root, Path::new("/"), &mut |path, file| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let folder = path.parent().unwrap_or(path);
            let held =
                folder.ends_with("bonsai/large") || folder.iter().any(|part| part == "objects");
            if held && path.starts_with(cache) && !name.starts_with("tmp_") {
                bytes += state.len(file);
            }
        });
        bytes
    }

    /// Bytes in use.
    pub fn used(&self) -> u64 {
        self.lock().used
    }

    fn operations(&self) -> u64 {
        self.0.operations.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0
            .state
            .lock()
            .expect("the simulated disk does not panic")
    }
}

/// A disk in the hands of one process.
pub struct ProcessDisk {
    disk: SimDisk,
    dead: Arc<AtomicBool>,
    /// At which operation of the disk this process is killed; `u64::MAX` for never.
    kill_at: AtomicU64,
}

impl ProcessDisk {
    /// The process is killed after `operations` more disk operations of its machine, in the
    /// middle of whatever it is doing.
    pub fn kill_after(&self, operations: u64) {
        let at = self.disk.operations().saturating_add(operations);
        self.kill_at.store(at, Ordering::Relaxed);
    }

    /// Counts one operation; the disk's state if it is to happen.
    fn begin(&self) -> io::Result<MutexGuard<'_, State>> {
        if self.disk.operations() >= self.kill_at.load(Ordering::Relaxed) {
            self.dead.store(true, Ordering::Relaxed);
        }
        if self.dead.load(Ordering::Relaxed) || self.disk.is_off() {
            return Err(io::Error::other("the process is dead"));
        }
        self.disk.0.operations.fetch_add(1, Ordering::Relaxed);
        let mut state = self.disk.lock();
        match state.draw_error() {
            Some(error) => Err(error),
            None => Ok(state),
        }
    }
}

/// A file that a process has open.
struct OpenFile {
    file: FileRef,
    process: Arc<ProcessDisk>,
}

impl DiskFile for OpenFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let state = self.process.begin()?;
        Ok(state.read(&self.file, offset, buf))
    }

    /// One time in four the system holds nothing of it, without a pattern that the next reads would
    /// follow.
    fn read_at_once(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let state = self.process.begin()?;
        let mixed = self
            .process
            .disk
            .operations()
            .wrapping_mul(0x9e37_79b9_7f4a_7c15);
        match mixed >> 62 {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            _ => Ok(state.read(&self.file, offset, buf)),
        }
    }

    fn write_all_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.process.begin()?.write(&self.file, offset, data)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.process.begin()?.len(&self.file))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.process.begin()?.set_len(&self.file, len)
    }

    fn sync(&self) -> io::Result<()> {
        self.process.begin()?.sync(&self.file);
        Ok(())
    }
}

/// The seam wants `&self`, and open files hold on to their process: so the trait is on a handle.
#[derive(Clone)]
pub struct DiskHandle(pub Arc<ProcessDisk>);

impl DiskHandle {
    fn opened(&self, file: FileRef) -> Arc<dyn DiskFile> {
        Arc::new(OpenFile {
            file,
            process: self.0.clone(),
        })
    }
}

impl Disk for DiskHandle {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.0.begin()?.open(path)?;
        Ok(self.opened(file))
    }

    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.0.begin()?.create_new(path)?;
        Ok(self.opened(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.begin()?.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.0.begin()?.remove_file(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.0.begin()?.create_dir_all(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.0.begin()?.remove_dir_all(path)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DiskEntry>> {
        let state = self.0.begin()?;
        let entries = state.read_dir(path)?;
        Ok(entries
            .into_iter()
            .map(|(name, entry)| disk_entry(name, &entry))
            .collect())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.0.begin()?.sync_dir(path)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let _ = path;
        Ok(self.0.begin()?.free())
    }

    fn total_bytes(&self, path: &Path) -> io::Result<u64> {
        let _ = path;
        Ok(self.0.begin()?.capacity)
    }

    fn set_modified(&self, path: &Path, when: Duration) -> io::Result<()> {
        self.0.begin()?.set_modified(path, when)
    }

    fn lock(&self, path: &Path, hold: Hold) -> io::Result<DiskLock> {
        self.0.begin()?.lockable(path)?;
        let lock = self.0.disk.0.locks.take(path, hold, &self.0.dead);
        // One thread: whoever waited here would wait for ever.
        Ok(Box::new(lock.expect(
            "no job ends while it holds a lock that others wait for",
        )))
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<DiskLock>> {
        self.0.begin()?.lockable(path)?;
        let lock = self.0.disk.0.locks.take(path, Hold::Alone, &self.0.dead);
        Ok(lock.map(|lock| Box::new(lock) as DiskLock))
    }
}

fn disk_entry(name: OsString, entry: &Entry) -> DiskEntry {
    match entry {
        Entry::Dir(_) => DiskEntry {
            name,
            is_dir: true,
            len: 0,
            modified: Duration::ZERO,
        },
        Entry::File(file) => {
            let file = file.lock().expect("the simulated disk does not panic");
            DiskEntry {
                name,
                is_dir: false,
                len: file.live.len() as u64,
                modified: file.modified,
            }
        }
    }
}

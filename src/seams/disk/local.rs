//! The production disk: std::fs. May import: std::fs, nix (statvfs), rustix (preadv2, fadvise), the
//! trait above.
//!
//! Always holds: what is created here is its owner's alone (files 0600, directories 0700), and
//! no descriptor is inherited by child processes (std opens with `O_CLOEXEC`).

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io,
    num::NonZero,
    os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt},
    path::Path,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use rustix::{
    fs::{Advice, fadvise},
    io::{Errno, ReadWriteFlags, preadv2},
};

use super::{Disk, DiskEntry, DiskFile, DiskLock, Hold};

/// [`Disk`] over std::fs.
#[derive(Clone, Copy, Debug, Default)]
pub struct StdDisk;

struct StdFile(File);

impl DiskFile for StdFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buf.len() {
            match self.0.read_at(&mut buf[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn read_at_once(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let mut into = [io::IoSliceMut::new(buf)];
        match preadv2(&self.0, &mut into, offset, ReadWriteFlags::NOWAIT) {
            Ok(read) => Ok(read),
            // An older kernel or a file system that can't tell what it holds.
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                Err(io::ErrorKind::WouldBlock.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn will_read(&self, offset: u64, len: u64) {
        // A hint: where it is not taken, nothing is lost.
        let _ = fadvise(&self.0, offset, NonZero::new(len), Advice::WillNeed);
    }

    fn write_all_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        // fdatasync(2) also writes the length; times may be lost, and nobody reads them.
        self.0.sync_data()
    }
}

impl Disk for StdDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(StdFile(File::open(path)?)))
    }

    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        Ok(Arc::new(StdFile(file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DiskEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            // Of a symlink, not of what it points to; an entry removed meanwhile is not there.
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let modified = metadata.modified()?.duration_since(UNIX_EPOCH);
            entries.push(DiskEntry {
                name: entry.file_name(),
                is_dir: metadata.is_dir(),
                len: if metadata.is_dir() { 0 } else { metadata.len() },
                // A time before the epoch is nobody's honest one.
                modified: modified.unwrap_or_default(),
            });
        }
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let stat = nix::sys::statvfs::statvfs(path)?;
        Ok(stat.blocks_available().saturating_mul(stat.fragment_size()))
    }

    fn total_bytes(&self, path: &Path) -> io::Result<u64> {
        let stat = nix::sys::statvfs::statvfs(path)?;
        Ok(stat.blocks().saturating_mul(stat.fragment_size()))
    }

    fn set_modified(&self, path: &Path, when: Duration) -> io::Result<()> {
        File::open(path)?.set_modified(UNIX_EPOCH + when)
    }

    fn lock(&self, path: &Path, hold: Hold) -> io::Result<DiskLock> {
        loop {
            let file = lock_file(path)?;
            match hold {
                Hold::Shared => file.lock_shared()?,
                Hold::Alone => file.lock()?,
            }
            // Whoever held it before may have taken the name away.
            if has_name(&file, path)? {
                return Ok(Box::new(file));
            }
        }
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<DiskLock>> {
        let file = lock_file(path)?;
        match file.try_lock() {
            Ok(()) if has_name(&file, path)? => Ok(Some(Box::new(file))),
            Ok(()) | Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

fn lock_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

/// Whether `file` is the one that is called `path` now.
fn has_name(file: &File, path: &Path) -> io::Result<bool> {
    let own = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (own.dev(), own.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use bonsai_testkit::process::within;

    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a temporary folder")
    }

    #[test]
    fn reads_and_writes_at_positions() -> io::Result<()> {
        let dir = folder();
        let path = dir.path().join("file");
        let file = StdDisk.create_new(&path)?;
        assert!(file.is_empty()?);
        file.write_all_at(0, b"hello world")?;
        file.write_all_at(6, b"there")?;
        file.sync()?;
        assert_eq!(file.len()?, 11);

        let file = StdDisk.open(&path)?;
        let mut buf = [0; 8];
        assert_eq!(file.read_at(6, &mut buf)?, 5);
        assert_eq!(&buf[..5], b"there");
        assert_eq!(file.read_at(11, &mut buf)?, 0);
        assert_eq!(StdDisk.read(&path)?, b"hello there");
        assert!(
            file.write_all_at(0, b"x").is_err(),
            "a file opened to be read can't be written"
        );
        Ok(())
    }

    #[test]
    fn reads_at_once_what_is_held_and_does_not_wait_for_the_rest() -> io::Result<()> {
        let dir = folder();
        let path = dir.path().join("file");
        let file = StdDisk.create_new(&path)?;
        file.write_all_at(0, b"hello")?;
        let mut buf = [0; 8];
        match file.read_at_once(1, &mut buf) {
            Ok(read) => assert_eq!(&buf[..read], b"ello"),
            // Not every file system can tell, network file systems cannot.
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
        Ok(())
    }

    #[test]
    fn set_len_cuts_and_extends() -> io::Result<()> {
        let dir = folder();
        let path = dir.path().join("file");
        let file = StdDisk.create_new(&path)?;
        file.write_all_at(0, b"abcdef")?;
        file.set_len(2)?;
        file.set_len(4)?;
        assert_eq!(StdDisk.read(&path)?, b"ab\0\0");
        Ok(())
    }

    #[test]
    fn what_is_created_is_its_owners_alone() -> io::Result<()> {
        let dir = folder();
        let nested = dir.path().join("a/b");
        StdDisk.create_dir_all(&nested)?;
        StdDisk.create_dir_all(&nested)?;
        StdDisk.create_new(&nested.join("file"))?;
        let mode =
            |path: &Path| Ok::<_, io::Error>(fs::metadata(path)?.permissions().mode() & 0o7777);
        assert_eq!(mode(&dir.path().join("a"))?, 0o700);
        assert_eq!(mode(&nested)?, 0o700);
        assert_eq!(mode(&nested.join("file"))?, 0o600);
        Ok(())
    }

    #[test]
    fn create_new_refuses_what_exists() -> io::Result<()> {
        let dir = folder();
        let path = dir.path().join("file");
        StdDisk.create_new(&path)?;
        let error = StdDisk.create_new(&path).err().expect("it exists");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        Ok(())
    }

    #[test]
    fn read_dir_is_sorted_and_does_not_follow_symlinks() -> io::Result<()> {
        let dir = folder();
        StdDisk
            .create_new(&dir.path().join("b"))?
            .write_all_at(0, b"123")?;
        StdDisk.create_dir_all(&dir.path().join("c"))?;
        std::os::unix::fs::symlink("c", dir.path().join("a"))?;
        let entries = StdDisk.read_dir(dir.path())?;
        let seen: Vec<_> = entries
            .iter()
            .map(|entry| (entry.name.to_str().expect("ASCII"), entry.is_dir, entry.len))
            .collect();
        assert_eq!(seen, [("a", false, 1), ("b", false, 3), ("c", true, 0)]);
        Ok(())
    }

    #[test]
    fn write_whole_replaces_and_leaves_no_temporary_file() -> io::Result<()> {
        let dir = folder();
        let (path, temp) = (dir.path().join("file"), dir.path().join("temp"));
        StdDisk.write_whole(&path, &temp, b"one")?;
        StdDisk.write_whole(&path, &temp, b"two")?;
        assert_eq!(StdDisk.read(&path)?, b"two");
        assert_eq!(StdDisk.read_dir(dir.path())?.len(), 1);
        Ok(())
    }

    #[test]
    fn removing_and_renaming() -> io::Result<()> {
        let dir = folder();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        StdDisk.create_new(&one)?;
        StdDisk.rename(&one, &two)?;
        StdDisk.sync_dir(dir.path())?;
        assert!(StdDisk.open(&one).is_err());
        StdDisk.remove_file(&two)?;
        assert!(StdDisk.open(&two).is_err());
        StdDisk.create_dir_all(&one.join("deep"))?;
        StdDisk.remove_dir_all(&one)?;
        assert!(StdDisk.read_dir(dir.path())?.is_empty());
        Ok(())
    }

    /// The lock, once nobody has it any more. That may be a moment after the last file with it was closed: a
    /// process that another test is just starting has every descriptor until its exec.
    fn once_free(path: &Path) -> io::Result<DiskLock> {
        let mut tried = Ok(None);
        within(Duration::from_secs(20), || {
            tried = StdDisk.try_lock(path);
            !matches!(tried, Ok(None))
        });
        tried?.ok_or_else(|| io::Error::other("somebody still has it"))
    }

    #[test]
    fn a_lock_keeps_others_out_until_it_is_dropped() -> io::Result<()> {
        let dir = folder();
        let path = dir.path().join("lock");
        let one = StdDisk.lock(&path, Hold::Shared)?;
        let other = StdDisk.lock(&path, Hold::Shared)?;
        assert!(StdDisk.try_lock(&path)?.is_none());
        drop(one);
        assert!(StdDisk.try_lock(&path)?.is_none());
        drop(other);
        let alone = once_free(&path)?;
        assert!(StdDisk.try_lock(&path)?.is_none());
        // A lock of a file that lost its name is no lock of the file that has it now.
        fs::remove_file(&path)?;
        assert!(StdDisk.try_lock(&path)?.is_some());
        drop(alone);
        Ok(())
    }

    #[test]
    fn times_are_set_and_read_back() -> io::Result<()> {
        let dir = folder();
        let path = dir.path().join("file");
        StdDisk.create_new(&path)?;
        StdDisk.set_modified(&path, Duration::from_secs(1_000_000))?;
        let entries = StdDisk.read_dir(dir.path())?;
        assert_eq!(entries[0].modified, Duration::from_secs(1_000_000));
        Ok(())
    }

    #[test]
    fn free_bytes_are_told_for_a_folder_and_refused_for_none() -> io::Result<()> {
        let dir = folder();
        assert!(StdDisk.free_bytes(dir.path())? > 0);
        assert!(StdDisk.total_bytes(dir.path())? >= StdDisk.free_bytes(dir.path())?);
        assert!(StdDisk.free_bytes(&dir.path().join("none")).is_err());
        Ok(())
    }
}

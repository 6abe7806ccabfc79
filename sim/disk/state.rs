//! What lies on a simulated disk: what a reader sees now, and what a crash would leave.
//!
//! Always holds: `live` is what everybody reads; `durable` plus any choice of the journal's
//! entries and of each file's unsynced blocks is what may be found after a crash. A sync moves
//! things from the second kind into the first.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    io,
    path::{Component, Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use crate::{rng::Rng, runtime::EPOCH, trace::now};

/// What is written at once or not at all: a sector.
pub(super) const BLOCK: usize = 512;

pub type FileRef = Arc<Mutex<FileData>>;
pub type DirRef = Arc<Mutex<DirData>>;

#[derive(Default)]
pub struct FileData {
    pub live: Vec<u8>,
    /// When it was last written to, since the Unix epoch.
    pub modified: Duration,
    pub(super) durable: Vec<u8>,
    pub(super) unsynced: Vec<Write>,
    /// How many names it has: 0 or 1.
    pub(super) linked: bool,
}

pub(super) enum Write {
    Data { offset: usize, data: Vec<u8> },
    Len(usize),
}

#[derive(Clone)]
pub enum Entry {
    File(FileRef),
    Dir(DirRef),
}

#[derive(Default)]
pub struct DirData {
    pub(super) live: BTreeMap<OsString, Entry>,
    pub(super) durable: BTreeMap<OsString, Entry>,
}

/// A change of names that is not durable yet.
pub(super) struct Change {
    /// The names that go.
    unset: Option<(DirRef, OsString)>,
    /// The names that come.
    set: Option<(DirRef, OsString, Entry)>,
}

pub struct State {
    pub(super) rng: Rng,
    pub(super) root: DirRef,
    pub(super) journal: Vec<Change>,
    pub capacity: u64,
    pub used: u64,
    pub full: bool,
    pub errors_per_mille: u64,
}

pub(super) fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().expect("the simulated disk does not panic")
}

fn no_such_file() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl State {
    pub fn new(rng: Rng, capacity: u64) -> Self {
        Self {
            rng,
            root: DirRef::default(),
            journal: Vec::new(),
            capacity,
            used: 0,
            full: false,
            errors_per_mille: 0,
        }
    }

    /// Whether the operation that begins is to fail.
    pub fn draw_error(&mut self) -> Option<io::Error> {
        let fails = self.errors_per_mille > 0 && self.rng.chance(self.errors_per_mille);
        fails.then(|| io::Error::from_raw_os_error(5))
    }

    pub fn free(&self) -> u64 {
        match self.full {
            true => 0,
            false => self.capacity.saturating_sub(self.used),
        }
    }

    fn find(&self, path: &Path) -> io::Result<Entry> {
        let mut entry = Entry::Dir(self.root.clone());
        for name in names(path) {
            let Entry::Dir(dir) = &entry else {
                return Err(io::ErrorKind::NotADirectory.into());
            };
            let next = lock(dir).live.get(name).cloned();
            entry = next.ok_or_else(no_such_file)?;
        }
        Ok(entry)
    }

    fn dir(&self, path: &Path) -> io::Result<DirRef> {
        match self.find(path)? {
            Entry::Dir(dir) => Ok(dir),
            Entry::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn parent<'p>(&self, path: &'p Path) -> io::Result<(DirRef, &'p OsStr)> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let dir = self.dir(path.parent().unwrap_or(Path::new("/")))?;
        Ok((dir, name))
    }

    pub fn open(&self, path: &Path) -> io::Result<FileRef> {
        match self.find(path)? {
            Entry::File(file) => Ok(file),
            Entry::Dir(_) => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    pub fn create_new(&mut self, path: &Path) -> io::Result<FileRef> {
        let (dir, name) = self.parent(path)?;
        if lock(&dir).live.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if self.free() == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let file = FileRef::default();
        lock(&file).linked = true;
        self.set(&dir, name, Entry::File(file.clone()));
        Ok(file)
    }

    fn set(&mut self, dir: &DirRef, name: &OsStr, entry: Entry) {
        lock(dir).live.insert(name.to_owned(), entry.clone());
        self.journal.push(Change {
            unset: None,
            set: Some((dir.clone(), name.to_owned(), entry)),
        });
    }

    pub fn read(&self, file: &FileRef, offset: u64, buf: &mut [u8]) -> usize {
        let file = lock(file);
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = file.live.get(start..).unwrap_or_default();
        let len = buf.len().min(rest.len());
        buf[..len].copy_from_slice(&rest[..len]);
        len
    }

    pub fn len(&self, file: &FileRef) -> u64 {
        lock(file).live.len() as u64
    }

    /// Writes as much as there is room for; an error if that is not all.
    pub fn write(&mut self, file: &FileRef, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut file = lock(file);
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let grows = (offset + data.len()).saturating_sub(file.live.len()) as u64;
        let lacks = grows.saturating_sub(self.free());
        let data = &data[..data.len() - (lacks as usize).min(data.len())];
        let before = file.live.len();
        put(&mut file.live, offset, data);
        file.modified = EPOCH + now();
        if file.linked {
            self.used += (file.live.len() - before) as u64;
        }
        file.unsynced.push(Write::Data {
            offset,
            data: data.to_owned(),
        });
        match lacks {
            0 => Ok(()),
            _ => Err(io::ErrorKind::StorageFull.into()),
        }
    }

    pub fn set_len(&mut self, file: &FileRef, len: u64) -> io::Result<()> {
        let mut file = lock(file);
        let len = usize::try_from(len).map_err(io::Error::other)?;
        let before = file.live.len();
        if len as u64 > before as u64 + self.free() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        file.live.resize(len, 0);
        if file.linked {
            self.used = self.used + len as u64 - before as u64;
        }
        file.unsynced.push(Write::Len(len));
        Ok(())
    }

    pub fn sync(&mut self, file: &FileRef) {
        let mut file = lock(file);
        if !file.unsynced.is_empty() {
            file.durable = file.live.clone();
            file.unsynced.clear();
        }
    }

    pub fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let (from_dir, from_name) = self.parent(from)?;
        let (to_dir, to_name) = self.parent(to)?;
        let moved = lock(&from_dir).live.get(from_name).cloned();
        let moved = moved.ok_or_else(no_such_file)?;
        if matches!(lock(&to_dir).live.get(to_name), Some(Entry::Dir(_))) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        lock(&from_dir).live.remove(from_name);
        let replaced = lock(&to_dir).live.insert(to_name.to_owned(), moved.clone());
        self.unlinked(replaced);
        self.journal.push(Change {
            unset: Some((from_dir, from_name.to_owned())),
            set: Some((to_dir, to_name.to_owned(), moved)),
        });
        Ok(())
    }

    fn unlinked(&mut self, entry: Option<Entry>) {
        if let Some(Entry::File(file)) = entry {
            let mut file = lock(&file);
            file.linked = false;
            self.used -= file.live.len() as u64;
        }
    }

    pub fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        let (dir, name) = self.parent(path)?;
        match lock(&dir).live.get(name) {
            None => return Err(no_such_file()),
            Some(Entry::Dir(_)) => return Err(io::ErrorKind::IsADirectory.into()),
            Some(Entry::File(_)) => {}
        }
        let removed = lock(&dir).live.remove(name);
        self.unlinked(removed);
        self.journal.push(Change {
            unset: Some((dir, name.to_owned())),
            set: None,
        });
        Ok(())
    }

    pub fn set_modified(&mut self, path: &Path, when: Duration) -> io::Result<()> {
        let file = self.open(path)?;
        lock(&file).modified = when;
        Ok(())
    }

    /// Whether there may be a lock file at `path`. None is made: nothing is ever in it.
    pub fn lockable(&self, path: &Path) -> io::Result<()> {
        self.parent(path).map(|_| ())
    }

    pub fn create_dir_all(&mut self, path: &Path) -> io::Result<()> {
        let mut dir = self.root.clone();
        for name in names(path) {
            let existing = lock(&dir).live.get(name).cloned();
            dir = match existing {
                Some(Entry::Dir(next)) => next,
                Some(Entry::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                None if self.free() == 0 => return Err(io::ErrorKind::StorageFull.into()),
                None => {
                    let next = DirRef::default();
                    self.set(&dir, name, Entry::Dir(next.clone()));
                    next
                }
            };
        }
        Ok(())
    }

    pub fn remove_dir_all(&mut self, path: &Path) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        let mut gone = Vec::new();
        walk(&self.dir(path)?, Path::new(""), &mut |_, file| {
            gone.push(file.clone())
        });
        for file in gone {
            self.unlinked(Some(Entry::File(file)));
        }
        lock(&parent).live.remove(name);
        self.journal.push(Change {
            unset: Some((parent, name.to_owned())),
            set: None,
        });
        Ok(())
    }

    pub fn read_dir(&self, path: &Path) -> io::Result<Vec<(OsString, Entry)>> {
        let dir = self.dir(path)?;
        let dir = lock(&dir);
        Ok(dir
            .live
            .iter()
            .map(|(name, entry)| (name.clone(), entry.clone()))
            .collect())
    }

    pub fn sync_dir(&mut self, path: &Path) -> io::Result<()> {
        let dir = self.dir(path)?;
        for change in std::mem::take(&mut self.journal) {
            if change.touches(&dir) {
                change.apply();
            } else {
                self.journal.push(change);
            }
        }
        Ok(())
    }

    pub fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut files = Vec::new();
        walk(&self.root, Path::new("/"), &mut |path, file| {
            files.push((path.to_owned(), lock(file).live.clone()));
        });
        files
    }
}

impl Change {
    fn touches(&self, dir: &DirRef) -> bool {
        let unset = self
            .unset
            .as_ref()
            .is_some_and(|(at, _)| Arc::ptr_eq(at, dir));
        unset
            || self
                .set
                .as_ref()
                .is_some_and(|(at, ..)| Arc::ptr_eq(at, dir))
    }

    /// Makes it durable.
    pub(super) fn apply(self) {
        if let Some((dir, name)) = self.unset {
            lock(&dir).durable.remove(&name);
        }
        if let Some((dir, name, entry)) = self.set {
            lock(&dir).durable.insert(name, entry);
        }
    }
}

/// All files below `dir`, in order.
pub(super) fn walk(dir: &DirRef, path: &Path, each: &mut dyn FnMut(&Path, &FileRef)) {
    let entries = lock(dir).live.clone();
    for (name, entry) in entries {
        let path = path.join(name);
        match entry {
            Entry::File(file) => each(&path, &file),
            Entry::Dir(dir) => walk(&dir, &path, each),
        }
    }
}

fn names(path: &Path) -> impl Iterator<Item = &OsStr> {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name),
        _ => None,
    })
}

pub(super) fn put(content: &mut Vec<u8>, offset: usize, data: &[u8]) {
    if data.is_empty() {
        return;
    }
    let end = offset + data.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[offset..end].copy_from_slice(data);
}

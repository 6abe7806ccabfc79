//! What a power cut may take: a disk that knows what was not synced.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;

use crate::{
    git::oid::{ObjectKind, Oid},
    objects::{
        disk::tests::install,
        testing::{as_std_disk, id, tier_on},
    },
    seams::disk::{Disk, DiskEntry, DiskFile, DiskLock, Hold, StdDisk},
};

/// What a power cut may take; a clone is another handle to the same.
#[derive(Clone, Default)]
struct Watched(Arc<Mutex<AtRisk>>);

#[derive(Default)]
struct AtRisk {
    /// Names whose folder was not synced since they were made.
    names: BTreeSet<PathBuf>,
    /// Files whose content was not synced since it was written.
    content: BTreeSet<PathBuf>,
}

impl Watched {
    fn with<R>(&self, look: impl FnOnce(&mut AtRisk) -> R) -> R {
        look(&mut self.0.lock().expect("no code panics while it holds it"))
    }

    /// Whether `path` may be gone or torn after a power cut.
    fn at_risk(&self, path: &Path) -> bool {
        self.with(|at_risk| {
            let name = path.ancestors().any(|path| at_risk.names.contains(path));
            name || at_risk.content.contains(path)
        })
    }
}

struct WatchedFile {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    disk: Watched,
}

impl DiskFile for WatchedFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, buf)
    }
    fn write_all_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.disk
            .with(|at_risk| at_risk.content.insert(self.path.clone()));
        self.file.write_all_at(offset, data)
    }
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk
            .with(|at_risk| at_risk.content.insert(self.path.clone()));
        self.file.set_len(len)
    }
    fn sync(&self) -> io::Result<()> {
        self.disk.with(|at_risk| at_risk.content.remove(&self.path));
        self.file.sync()
    }
}

impl Disk for Watched {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(WatchedFile {
            file: StdDisk.open(path)?,
            path: path.to_owned(),
            disk: self.clone(),
        }))
    }
    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = StdDisk.create_new(path)?;
        self.with(|at_risk| at_risk.names.insert(path.to_owned()));
        Ok(Arc::new(WatchedFile {
            file,
            path: path.to_owned(),
            disk: self.clone(),
        }))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        StdDisk.rename(from, to)?;
        self.with(|at_risk| {
            at_risk.names.remove(from);
            at_risk.names.insert(to.to_owned());
            if at_risk.content.remove(from) {
                at_risk.content.insert(to.to_owned());
            }
        });
        Ok(())
    }
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let new = path.ancestors().take_while(|path| !path.exists());
        let new: Vec<PathBuf> = new.map(Path::to_owned).collect();
        StdDisk.create_dir_all(path)?;
        self.with(|at_risk| at_risk.names.extend(new));
        Ok(())
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        StdDisk.sync_dir(path)?;
        self.with(|at_risk| at_risk.names.retain(|name| name.parent() != Some(path)));
        Ok(())
    }
    as_std_disk! {
        remove_file(path: &Path) -> ();
        remove_dir_all(path: &Path) -> ();
        read_dir(path: &Path) -> Vec<DiskEntry>;
        free_bytes(path: &Path) -> u64;
        total_bytes(path: &Path) -> u64;
        set_modified(path: &Path, when: Duration) -> ();
        lock(path: &Path, hold: Hold) -> DiskLock;
        try_lock(path: &Path) -> Option<DiskLock>;
    }
}

/// A power cut could take trees, or the whole folder of packs, and leave the note that all trees were here: the next
/// mount then believed it, and each tree cost a request.
#[tokio::test]
async fn what_is_noted_as_complete_outlives_a_power_cut() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let disk = Watched::default();
    let tier = tier_on(Arc::new(disk.clone()), dir.path());
    let objects = [(ObjectKind::Tree, ""), (ObjectKind::Blob, "in a pack")];
    let objects = objects.map(|(kind, data)| (kind, Bytes::from(data)));
    install(&tier, &objects);
    let packed: Vec<Oid> = objects.iter().map(|(kind, data)| id(*kind, data)).collect();
    let loose = id(ObjectKind::Blob, b"loose");
    tier.put_loose(&loose, ObjectKind::Blob, b"loose")
        .expect("room");
    assert!(
        disk.at_risk(&tier.loose_path(&loose)),
        "as is any loose object"
    );

    let before = tier.trees_went();
    let all = [packed.clone(), vec![loose]].concat();
    assert!(tier.secure(&all).expect("no error"));
    tier.mark_complete(&loose, &before).expect("room");
    let mut paths = vec![tier.complete_path(&loose), tier.loose_path(&loose)];
    let packs = StdDisk
        .read_dir(&dir.path().join("objects/pack"))
        .expect("a folder");
    assert_eq!(packs.len(), 3);
    paths.extend(
        packs
            .into_iter()
            .map(|pack| dir.path().join("objects/pack").join(pack.name)),
    );
    for path in paths {
        assert!(!disk.at_risk(&path), "{}", path.display());
    }
    let unknown = id(ObjectKind::Blob, b"not here");
    assert!(!tier.secure(&[loose, unknown]).expect("no error"));
}

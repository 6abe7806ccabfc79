//! Taking a received pack into the object directory: sync, index, promisor mark, rename.

use std::{io, path::Path, sync::Arc};

use super::{
    Content, DiskTier, Spool,
    packs::Pack,
    pieces::{TEMPORARY, lock_changes, loose_folders},
};
use crate::{
    git::{
        oid::Oid,
        pack::{
            build::pack_header,
            index::{IndexEntry, write_index},
        },
    },
    seams::disk::{DiskFile, Hold},
};

/// A pack that was just installed. It can be read from also when the quota had it removed already.
pub struct Installed(Option<Arc<Pack>>);

impl DiskTier {
    /// Installs a whole pack whose objects `entries` names and whose trailer is `checksum`.
    ///
    /// The pack gets a `.promisor` mark (gitformat-pack, partial clone): objects that it refers to
    /// may be missing, the origin has them.
    pub fn install_pack(
        &self,
        spool: &mut Spool,
        entries: &mut [IndexEntry],
        checksum: &Oid,
    ) -> io::Result<Installed> {
        let (file, temp) = spool.spill_all()?;
        self.install(&*file, &temp, entries, checksum)
    }

    /// Installs the first `count` objects of a pack that was cut short, which end at `end`: its
    /// header and trailer are written anew, as `git index-pack --fix-thin` does.
    pub fn install_torn(
        &self,
        spool: &mut Spool,
        entries: &mut [IndexEntry],
        count: u32,
        end: u64,
    ) -> io::Result<Installed> {
        let (file, temp) = spool.spill_all()?;
        file.set_len(end)?;
        file.write_all_at(0, &pack_header(count))?;
        let checksum = self.checksum_of(&*file, end)?;
        file.write_all_at(end, checksum.as_slice())?;
        self.install(&*file, &temp, entries, &checksum)
    }

    pub(super) fn install(
        &self,
        file: &dyn DiskFile,
        temp: &Path,
        entries: &mut [IndexEntry],
        checksum: &Oid,
    ) -> io::Result<Installed> {
        let folder = self.pack_dir();
        let named = |ending: &str| folder.join(format!("pack-{checksum}.{ending}"));
        // If the pack is here already it was not good enough, or nobody would have fetched it again:
        // what has rotted is replaced.
        file.sync()?;
        let changes = lock_changes(&*self.disk, &self.dir, Hold::Shared)?;
        self.disk.rename(temp, &named("pack"))?;
        self.disk
            .write_whole(&named("promisor"), &self.temp(&folder), b"")?;
        let index = write_index(entries, checksum, self.hash);
        self.disk
            .write_whole(&named("idx"), &self.temp(&folder), &index)?;
        let mut packs = self.lock_packs();
        packs.forget(&format!("pack-{checksum}"));
        packs.refresh(&*self.disk, &folder, self.hash)?;
        let installed = Installed(packs.get(&format!("pack-{checksum}")));
        drop(packs);
        drop(changes);
        // Counted anew, as only now it can leave.
        self.written
            .add(file.len().unwrap_or(0) + index.len() as u64);
        self.make_room();
        Ok(installed)
    }

    /// An object of a pack that was just installed, which may have left the cache again.
    pub fn find_in(&self, installed: &Installed, oid: &Oid) -> Option<Content> {
        let of_pack = installed
            .0
            .as_ref()
            .and_then(|pack| self.read_packed(pack, oid));
        of_pack.or_else(|| self.find(oid))
    }

    pub(super) fn checksum_of(&self, file: &dyn DiskFile, end: u64) -> io::Result<Oid> {
        let mut hasher = gix_hash::hasher(self.hash);
        let mut buf = vec![0; 1 << 16];
        let mut at = 0;
        while at < end {
            let want = buf
                .len()
                .min(usize::try_from(end - at).unwrap_or(usize::MAX));
            let len = file.read_at(at, &mut buf[..want])?;
            if len == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            hasher.update(&buf[..len]);
            at += len as u64;
        }
        hasher.try_finalize().map_err(io::Error::other)
    }

    /// Removes temporary files that a crash left behind more than a day ago. Younger ones may
    /// belong to another process that is alive.
    pub(super) fn remove_leftovers(&self) {
        const DAY: std::time::Duration = std::time::Duration::from_secs(24 * 60 * 60);
        let now = self.runtime.unix_time();
        let mut folders = vec![self.pack_dir(), self.large_dir()];
        folders
            .extend(["", "bonsai", "bonsai/refs", "bonsai/complete"].map(|sub| self.dir.join(sub)));
        folders.extend(loose_folders(&*self.disk, &self.dir));
        for folder in folders {
            for entry in self.disk.read_dir(&folder).unwrap_or_default() {
                let ours = entry
                    .name
                    .to_str()
                    .is_some_and(|name| name.starts_with(TEMPORARY));
                if ours && now.saturating_sub(entry.modified) > DAY {
                    // Tried again at the next start.
                    let _ = self.disk.remove_file(&folder.join(&entry.name));
                }
            }
        }
    }
}

//! Loose objects: one file each, as git writes them.

use std::{io, path::PathBuf};

use super::{DiskTier, room::Used};
use crate::{
    git::{
        loose,
        oid::{ObjectKind, Oid, object_id},
        pack::Limits,
    },
    objects::content::Content,
    seams::disk::DiskEntry,
};

impl DiskTier {
    /// Stores one object loose. Finding it there already is fine.
    pub fn put_loose(&self, oid: &Oid, kind: ObjectKind, data: &[u8]) -> io::Result<()> {
        let path = self.loose_path(oid);
        if self.disk.open(&path).is_ok() {
            return Ok(());
        }
        let folder = path
            .parent()
            .expect("a loose object's path has a folder")
            .to_owned();
        self.disk.create_dir_all(&folder)?;
        let temp = self.temp(&folder);
        let encoded = loose::encode(kind, data);
        let written = self
            .disk
            .create_new(&temp)
            .and_then(|file| file.write_all_at(0, &encoded))
            .and_then(|()| self.disk.rename(&temp, &path));
        self.written.add(encoded.len() as u64);
        self.make_room();
        if written.is_err() {
            // The first error is the one to tell.
            let _ = self.disk.remove_file(&temp);
        }
        written
    }

    /// The loose object, verified. A damaged file is removed.
    pub(super) fn find_loose(&self, oid: &Oid) -> Option<Content> {
        let (kind, size) = self.loose_header(oid)?;
        let path = self.loose_path(oid);
        if Self::is_large(kind, size) {
            return self
                .open_large(oid)
                .or_else(|| self.large_from_loose(oid, size))
                .map(Content::large)
                .or_else(|| self.drop_loose(oid));
        }
        let raw = self.disk.read(&path).ok()?;
        match loose::decode(&raw, Limits::default().max_object) {
            Ok((kind, data)) if object_id(self.hash, kind, &data) == Some(*oid) => {
                self.uses.note(Used::Loose, oid);
                Some(Content::Whole { kind, data })
            }
            _ => self.drop_loose(oid),
        }
    }

    /// Kind and size of a loose object. A file that doesn't even begin right is removed.
    pub(super) fn loose_header(&self, oid: &Oid) -> Option<(ObjectKind, u64)> {
        /// Longer than any header ("commit", a space, 20 digits, NUL) deflates to.
        const HEAD: usize = 128;
        let file = self.disk.open(&self.loose_path(oid)).ok()?;
        let mut head = [0; HEAD];
        let len = file.read_at(0, &mut head).ok()?;
        match loose::header(&head[..len]) {
            Ok(header) => Some(header),
            Err(_) => self.drop_loose(oid),
        }
    }

    fn drop_loose<T>(&self, oid: &Oid) -> Option<T> {
        tracing::warn!(object = %oid, "a damaged object in the cache is dropped");
        // If it can't be removed it will be found damaged again, which is harmless.
        let _ = self.disk.remove_file(&self.loose_path(oid));
        None
    }

    pub(super) fn loose_path(&self, oid: &Oid) -> PathBuf {
        let hex = oid.to_string();
        self.dir.join("objects").join(&hex[..2]).join(&hex[2..])
    }

    /// All files in the loose object folders, with their folders.
    pub(super) fn loose_files(&self) -> Vec<(PathBuf, DiskEntry)> {
        let objects = self.dir.join("objects");
        let mut files = Vec::new();
        for folder in self.disk.read_dir(&objects).unwrap_or_default() {
            if folder.is_dir && folder.name.len() == 2 {
                let path = objects.join(&folder.name);
                let entries = self.disk.read_dir(&path).unwrap_or_default();
                files.extend(entries.into_iter().map(|entry| (path.clone(), entry)));
            }
        }
        files
    }
}

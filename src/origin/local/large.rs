//! A large blob in pieces: from a loose file, or from a pack entry that is no delta, with memory
//! that does not depend on its size.
//!
//! Blocks on the disk; runs in blocking jobs.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use flate2::{Decompress, FlushDecompress, Status};

use super::discover::failed;
use crate::{
    git::{
        oid::{ObjectKind, Oid},
        pack::{EntryKind, ReadAt, read::entry_header},
    },
    origin::OriginError,
    seams::disk::{Disk, DiskFile},
};

/// How much is read of the file at once.
const INPUT: usize = 64 << 10;

/// The most that one piece holds.
const PIECE: usize = 1 << 20;

/// The longest header of a loose object: a kind, a size and a NUL.
const MAX_LOOSE_HEADER: usize = 32;

/// A blob that is being read.
pub(super) struct LargeBlob {
    pub size: u64,
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    /// Where the file goes on.
    at: u64,
    input: Vec<u8>,
    /// How much of `input` was used.
    used: usize,
    inflate: Decompress,
    /// How many bytes of the blob are still to come.
    left: u64,
    /// True once zlib has seen the end of its stream and found its checksum right.
    ended: bool,
}

impl LargeBlob {
    /// Finds the blob `oid`, of `size` bytes, in one of the object folders `folders`. `None` if it
    /// is nowhere as more than a delta, so that only the whole of it can be had.
    pub fn find(
        disk: &dyn Disk,
        folders: &[PathBuf],
        oid: &Oid,
        size: u64,
    ) -> Result<Option<Self>, OriginError> {
        for folder in folders {
            if let Some(blob) = Self::loose(disk, folder, oid, size)? {
                return Ok(Some(blob));
            }
        }
        for folder in folders {
            if let Some(blob) = Self::packed(disk, &folder.join("pack"), oid, size)? {
                return Ok(Some(blob));
            }
        }
        Ok(None)
    }

    fn loose(
        disk: &dyn Disk,
        folder: &Path,
        oid: &Oid,
        size: u64,
    ) -> Result<Option<Self>, OriginError> {
        let hex = oid.to_string();
        let path = folder.join(&hex[..2]).join(&hex[2..]);
        let file = match disk.open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(&path, error)),
        };
        let mut blob = Self::new(file, path, 0, size);
        blob.skip_loose_header()?;
        Ok(Some(blob))
    }

    fn packed(
        disk: &dyn Disk,
        folder: &Path,
        oid: &Oid,
        size: u64,
    ) -> Result<Option<Self>, OriginError> {
        let entries = match disk.read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(folder, error)),
        };
        for entry in entries {
            let index = folder.join(&entry.name);
            if index.extension().is_none_or(|extension| extension != "idx") {
                continue;
            }
            let Some(offset) = offset_in(&index, oid) else {
                continue;
            };
            let path = index.with_extension("pack");
            // A pack that `git gc` has just removed; the object is in another one by now.
            let Ok(file) = disk.open(&path) else {
                continue;
            };
            let header = match entry_header(&Pack(&*file), offset, oid.kind()) {
                Ok(header) => header,
                Err(error) => return Err(failed(&path, io::Error::other(error))),
            };
            if header.kind == EntryKind::Base(ObjectKind::Blob) && header.size == size {
                return Ok(Some(Self::new(file, path, header.data_offset, size)));
            }
        }
        Ok(None)
    }

    fn new(file: Arc<dyn DiskFile>, path: PathBuf, at: u64, size: u64) -> Self {
        Self {
            size,
            file,
            path,
            at,
            input: Vec::new(),
            used: 0,
            inflate: Decompress::new(true),
            left: size,
            ended: false,
        }
    }

    /// The next piece, never empty; `None` when all `size` bytes were there and zlib's own
    /// checksum is right. Not verified beyond that.
    pub fn piece(&mut self) -> Result<Option<Bytes>, OriginError> {
        let mut piece = Vec::new();
        if self.left > 0 {
            piece.resize(PIECE.min(usize::try_from(self.left).unwrap_or(PIECE)), 0);
            let made = self.inflate_into(&mut piece)?;
            piece.truncate(made);
            self.left -= made as u64;
        }
        if self.left == 0 && !self.ended {
            // What comes now may only be the end of the stream.
            if self.inflate_into(&mut [0])? > 0 || !self.ended {
                return Err(self.broken("is longer than its header says"));
            }
        }
        if piece.is_empty() && self.left > 0 {
            return Err(self.broken("is shorter than its header says"));
        }
        Ok((!piece.is_empty()).then(|| Bytes::from(piece)))
    }

    /// Inflates until `out` is full or the stream ends; how much was made.
    fn inflate_into(&mut self, out: &mut [u8]) -> Result<usize, OriginError> {
        let mut made = 0;
        while made < out.len() && !self.ended {
            if self.used == self.input.len() {
                self.read_on()?;
            }
            let before = (self.inflate.total_in(), self.inflate.total_out());
            let status = self.inflate.decompress(
                &self.input[self.used..],
                &mut out[made..],
                FlushDecompress::None,
            );
            let status = status.map_err(|_| self.broken("is no zlib stream"))?;
            let taken = (self.inflate.total_in() - before.0) as usize;
            let given = (self.inflate.total_out() - before.1) as usize;
            self.used += taken;
            made += given;
            self.ended = status == Status::StreamEnd;
            if !self.ended && taken == 0 && given == 0 {
                return Err(self.broken("is no zlib stream"));
            }
        }
        Ok(made)
    }

    fn read_on(&mut self) -> Result<(), OriginError> {
        self.input.resize(INPUT, 0);
        self.used = 0;
        let read = self.file.read_at(self.at, &mut self.input);
        let read = read.map_err(|error| failed(&self.path, error))?;
        self.input.truncate(read);
        self.at += read as u64;
        if read == 0 {
            return Err(self.broken("ends early"));
        }
        Ok(())
    }

    /// Goes past `blob <size> NUL`, which stands before a loose object's content.
    fn skip_loose_header(&mut self) -> Result<(), OriginError> {
        let mut header = Vec::new();
        let mut byte = [0];
        loop {
            if header.len() == MAX_LOOSE_HEADER || self.inflate_into(&mut byte)? == 0 {
                return Err(self.broken("has no header"));
            }
            if byte == [0] {
                break;
            }
            header.push(byte[0]);
        }
        if header != format!("blob {}", self.size).as_bytes() {
            return Err(self.broken("has another header than before"));
        }
        Ok(())
    }

    fn broken(&self, how: &str) -> OriginError {
        OriginError::Disk {
            what: format!("a blob in {}", self.path.display()),
            reason: format!("it {how}"),
        }
    }
}

/// Where in its pack an object's entry begins, if the pack of the index at `path` holds it.
fn offset_in(path: &Path, oid: &Oid) -> Option<u64> {
    let index = gix_odb::pack::index::File::at(path, oid.kind()).ok()?;
    let entry = index.lookup(oid)?;
    Some(index.pack_offset_at_index(entry))
}

struct Pack<'a>(&'a dyn DiskFile);

impl ReadAt for Pack<'_> {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(offset, buf)
    }
}

/// All folders that hold the objects of the repository whose own ones are in `objects`: those, then
/// what it borrows from (`objects/info/alternates`).
pub(super) fn folders(objects: &Path) -> Vec<PathBuf> {
    // Relative paths in it are relative to itself, so the current folder doesn't matter.
    let borrowed = gix_odb::alternate::resolve(objects.to_owned(), Path::new("/"));
    let mut folders = vec![objects.to_owned()];
    folders.extend(borrowed.unwrap_or_default());
    folders
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write};

    use flate2::{Compression, write::ZlibEncoder};

    use super::*;
    use crate::seams::disk::StdDisk;

    fn zlib(data: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(data).expect("memory takes it");
        encoder.finish().expect("memory takes it")
    }

    /// What reading a loose file with these bytes as a blob of `size` bytes gives.
    fn read(file: &[u8], size: u64) -> Result<Vec<u8>, OriginError> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let oid = Oid::from([0x77; 20]);
        fs::create_dir(dir.path().join("77")).expect("a folder");
        let path = dir.path().join("77").join("77".repeat(19));
        fs::write(path, file).expect("written");
        let folders = [PathBuf::from("/nonexistent"), dir.path().to_owned()];
        let blob = LargeBlob::find(&StdDisk, &folders, &oid, size)?;
        let mut blob = blob.expect("it is there");
        let mut data = Vec::new();
        while let Some(piece) = blob.piece()? {
            assert!(!piece.is_empty() && piece.len() <= PIECE);
            data.extend_from_slice(&piece);
        }
        assert!(blob.piece()?.is_none(), "the end stays the end");
        Ok(data)
    }

    fn loose(data: &[u8]) -> Vec<u8> {
        zlib(&[format!("blob {}\0", data.len()).as_bytes(), data].concat())
    }

    #[test]
    fn blobs_of_any_size() {
        for size in [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE] {
            let data: Vec<u8> = (0..size).map(|at| ((at * at) >> 7) as u8).collect();
            let read = read(&loose(&data), size as u64).expect("a good file");
            assert!(read == data, "{size}");
        }
    }

    #[test]
    fn damaged_files_are_errors() {
        let good = loose(b"hello hello hello");
        assert_eq!(read(&good, 17).expect("a good file"), b"hello hello hello");
        for length in 0..good.len() {
            assert!(read(&good[..length], 17).is_err(), "cut at {length}");
        }
        for at in 2..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            assert!(read(&bad, 17).is_err(), "flipped at {at}");
        }
        for (content, why) in [
            (&b"blob 17\0hello"[..], "shorter"),
            (b"blob 17\0hello hello hello and more", "longer"),
            (b"blob 18\0hello hello hello", "another size"),
            (b"tree 17\0hello hello hello", "another kind"),
            (b"blob 17", "no end of the header"),
            (
                b"a header that goes on and on and never comes to its end",
                "no header",
            ),
        ] {
            assert!(read(&zlib(content), 17).is_err(), "{why}");
        }
        assert!(read(b"plain text", 17).is_err());
    }

    #[test]
    fn what_is_nowhere_is_not_found() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let folders = [dir.path().to_owned()];
        let oid = Oid::from([0x77; 20]);
        let found = LargeBlob::find(&StdDisk, &folders, &oid, 1);
        assert!(found.expect("no error").is_none());
    }
}

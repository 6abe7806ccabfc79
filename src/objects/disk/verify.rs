//! `bonsai cache verify`: every object is read and hashed, and what is damaged goes.
//!
//! May import: seams, git. Blocking, and reads all there is.
//!
//! Always holds: what goes is fetched again when it is wanted; a pack with one damaged object goes as a
//! whole, since nothing in a pack can be changed in place.

use std::io;

use super::{
    DiskTier, FileAt,
    pieces::{self, Kind, Piece, Pieces},
};
use crate::git::{
    loose::{self, LooseStream},
    oid::{ObjectHasher, ObjectKind, Oid, object_id},
    pack::{Limits, index::Index, read},
    refname,
};

/// What a look at everything found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Objects that were read, and large files.
    pub objects: u64,
    /// Bytes of files that were read.
    pub bytes: u64,
    /// What was damaged and is gone, by file name, with what was wrong.
    pub dropped: Vec<(String, String)>,
}

impl DiskTier {
    /// Reads everything, and removes what is not what its name says.
    ///
    /// # Errors
    /// If what is damaged can't be removed.
    pub fn verify(&self) -> io::Result<Checked> {
        let mut checked = Checked::default();
        for piece in Pieces::list(&*self.disk, &self.dir).pieces {
            let wrong = match piece.kind {
                Kind::Pack => self.check_pack(&piece),
                Kind::Loose => self.check_loose(&piece),
                Kind::Large => self.check_large(&piece),
            };
            checked.bytes += piece.bytes;
            match wrong {
                Ok(objects) => checked.objects += objects,
                Err(_) if self.is_gone(&piece) => {}
                Err(reason) => {
                    self.drop_damaged(&piece)?;
                    let name = piece
                        .folder
                        .join(piece.files.last().expect("a piece has a file"));
                    let name = name.strip_prefix(&self.dir).unwrap_or(&name);
                    tracing::warn!(file = %name.display(), reason, "damaged, and dropped");
                    checked.dropped.push((name.display().to_string(), reason));
                }
            }
        }
        self.refresh();
        Ok(checked)
    }

    fn drop_damaged(&self, piece: &Piece) -> io::Result<u64> {
        // Not as `may_have_trees` says: a bit that flips in the header of an entry makes a tree a blob.
        let trees = |piece: &Piece, hash| {
            piece.kind == Kind::Pack || piece.may_have_trees(&*self.disk, hash)
        };
        let (piece, random) = (std::slice::from_ref(piece), || self.runtime.random());
        pieces::remove(&*self.disk, &self.dir, piece, trees, &random)
    }

    /// Whether somebody else removed it meanwhile.
    fn is_gone(&self, piece: &Piece) -> bool {
        let gone = |name| {
            let opened = self.disk.open(&piece.folder.join(name));
            opened.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
        };
        piece.files.iter().any(gone)
    }

    /// How many objects the pack has, or what is wrong with it.
    pub(super) fn check_pack(&self, piece: &Piece) -> Result<u64, String> {
        let file = |ending| {
            piece
                .file(ending)
                .ok_or_else(|| format!("it has no .{ending}"))
        };
        let index = self.disk.read(&file("idx")?).map_err(say)?;
        let index = Index::parse(index.into(), self.hash).map_err(say)?;
        index.verify().map_err(say)?;
        let pack = self.disk.open(&file("pack")?).map_err(say)?;
        let end = pack.len().map_err(say)?;
        let body = end.saturating_sub(self.hash.len_in_bytes() as u64);
        let mut trailer = vec![0; self.hash.len_in_bytes()];
        pack.read_at(body, &mut trailer).map_err(say)?;
        let sum = self.checksum_of(&*pack, body).map_err(say)?;
        if sum.as_slice() != trailer || sum != index.pack_checksum() {
            return Err("the pack does not match its checksum".to_owned());
        }
        let pack = FileAt(pack);
        for (oid, offset) in index.oids() {
            let lookup = |base: &Oid| index.find(base);
            let wrong = || format!("the content of {oid} is not what its id says");
            let (kind, size) =
                read::object_header(&pack, offset, self.hash, &lookup).map_err(say)?;
            let mut hasher = ObjectHasher::new(self.hash, kind, size);
            let streamed = read::stream_entry(&pack, offset, self.hash, &mut |data| {
                hasher.update(data);
                Ok(())
            });
            let id = match streamed {
                Ok(_) => hasher.finish(),
                // A delta.
                Err(_) => {
                    let max = Limits::default().max_object;
                    let (kind, data) =
                        read::read_object(&pack, offset, self.hash, &lookup, max).map_err(say)?;
                    object_id(self.hash, kind, &data)
                }
            };
            if id != Some(oid) {
                return Err(wrong());
            }
        }
        Ok(index.len() as u64)
    }

    fn check_loose(&self, piece: &Piece) -> Result<u64, String> {
        let name = piece.files.first().ok_or("it has no file")?;
        let folder = piece.folder.file_name().unwrap_or_default();
        let oid = refname::parse_oid(&format!("{}{name}", folder.to_string_lossy()))
            .ok_or("its name is no object id")?;
        let file = self.disk.open(&piece.folder.join(name)).map_err(say)?;
        let mut head = [0; 128];
        let len = file.read_at(0, &mut head).map_err(say)?;
        let (kind, size) = loose::header(&head[..len]).map_err(say)?;
        let mut hasher = ObjectHasher::new(self.hash, kind, size);
        let mut stream = LooseStream::new();
        let (mut buf, mut at) = (vec![0; 1 << 16], 0);
        loop {
            let len = file.read_at(at, &mut buf).map_err(say)?;
            if len == 0 {
                break;
            }
            at += len as u64;
            let mut take = |data: &[u8]| {
                hasher.update(data);
                Ok(())
            };
            stream.feed(&buf[..len], &mut take).map_err(say)?;
        }
        stream.finish().map_err(say)?;
        match hasher.finish() == Some(oid) {
            true => Ok(1),
            false => Err("its content is not what its name says".to_owned()),
        }
    }

    fn check_large(&self, piece: &Piece) -> Result<u64, String> {
        let name = piece.files.first().ok_or("it has no file")?;
        let oid = refname::parse_oid(name).ok_or("its name is no object id")?;
        let file = self.open_large(&oid).ok_or("its checksums do not fit")?;
        let mut hasher = ObjectHasher::new(self.hash, ObjectKind::Blob, file.size());
        let mut at = 0;
        while at < file.size() {
            let data = file.read(at, 1 << 20).map_err(say)?;
            hasher.update(&data);
            at += data.len() as u64;
        }
        match hasher.finish() == Some(oid) {
            true => Ok(1),
            false => Err("its content is not what its name says".to_owned()),
        }
    }
}

fn say(error: impl std::fmt::Display) -> String {
    error.to_string()
}

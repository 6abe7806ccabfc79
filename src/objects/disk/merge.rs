//! Small packs become one: a pack is three files, and every look for an object looks into each.
//!
//! May import: seams, git. Blocking.
//!
//! Always holds: the old packs go only after the new one can be found and is durable, so a crash loses
//! nothing, and neither `git` nor another process ever misses an object; only what was read and hashed
//! goes into the new pack; packs with trees and packs of blobs are not mixed, since they leave a full
//! cache for different reasons.
//!
//! The entries are copied as they are. A delta names its base by id, or by how far before it the base
//! lies in the same pack, and neither changes when whole packs are put one behind the other.

use std::{collections::BTreeSet, io, time::Duration};

use super::{
    DiskTier, git_dir,
    pieces::{self, Kind, Piece, Pieces},
};
use crate::{
    git::{
        oid::Oid,
        pack::{
            build::pack_header,
            index::{Index, IndexEntry},
        },
    },
    objects::tuning::{MERGED, SMALL_PACK, SMALL_PACKS},
    seams::disk::DiskFile,
};

/// Held by the one process that merges the packs of a repository.
const MERGES: &str = "bonsai/merge.lock";

impl DiskTier {
    /// Makes one pack of many small ones, if there are so many; how many went into it.
    ///
    /// # Errors
    /// What the disk says; then everything is still where it was, or in the new pack too.
    pub fn merge_packs(&self) -> io::Result<u64> {
        let Some(_alone) = self.disk.try_lock(&self.dir.join(MERGES))? else {
            return Ok(0);
        };
        let hash = git_dir::hash_of(&*self.disk, &self.dir).unwrap_or(self.hash);
        let all = Pieces::list(&*self.disk, &self.dir).pieces;
        let small = all
            .into_iter()
            .filter(|piece| piece.kind == Kind::Pack && piece.bytes < SMALL_PACK);
        let (trees, blobs): (Vec<Piece>, Vec<Piece>) =
            small.partition(|piece| piece.may_have_trees(&*self.disk, hash));
        Ok(self.merge(trees)? + self.merge(blobs)?)
    }

    fn merge(&self, mut small: Vec<Piece>) -> io::Result<u64> {
        if small.len() < SMALL_PACKS {
            return Ok(0);
        }
        // What is equally warm comes together.
        small.sort_by_key(|piece| piece.used);
        let mut chosen: Vec<(Piece, Index)> = Vec::new();
        let (mut seen, mut bytes) = (BTreeSet::new(), 0);
        for piece in small {
            // What is damaged is for readers and `verify` to find; it stays by itself.
            if bytes + piece.bytes > MERGED || self.check_pack(&piece).is_err() {
                continue;
            }
            let Some(index) = self.index_of(&piece) else {
                continue;
            };
            // An object twice in one pack is nothing that git writes.
            let oids: BTreeSet<Oid> = index.oids().map(|(oid, _)| oid).collect();
            if oids.len() != index.len() || !seen.is_disjoint(&oids) {
                continue;
            }
            seen.extend(oids);
            bytes += piece.bytes;
            chosen.push((piece, index));
        }
        if chosen.len() < SMALL_PACKS {
            return Ok(0);
        }
        let temp = self.temp(&self.pack_dir());
        let file = self.disk.create_new(&temp)?;
        let merged = self.copy(&chosen, &*file).and_then(|(mut entries, sum)| {
            let installed = self.install(&*file, &temp, &mut entries, &sum)?;
            Ok((installed, sum))
        });
        let (_installed, sum) = match merged {
            Ok(merged) => merged,
            Err(error) => {
                // The first error is the one to tell.
                let _ = self.disk.remove_file(&temp);
                return Err(error);
            }
        };
        let used = chosen.iter().map(|(piece, _)| piece.used);
        let used = used.max().unwrap_or(Duration::ZERO);
        let path = self.pack_dir().join(format!("pack-{sum}.pack"));
        self.disk.set_modified(&path, used)?;
        let old: Vec<Piece> = chosen.into_iter().map(|(piece, _)| piece).collect();
        pieces::remove_copied(&*self.disk, &self.dir, &old)?;
        self.refresh();
        tracing::info!(repo = %self.dir.display(), packs = old.len(), "small packs were merged");
        Ok(old.len() as u64)
    }

    fn index_of(&self, piece: &Piece) -> Option<Index> {
        let index = self.disk.read(&piece.file("idx")?).ok()?;
        Index::parse(index.into(), self.hash).ok()
    }

    /// Writes a pack with everything in `packs` to `file`: its entries, and its checksum.
    fn copy(
        &self,
        packs: &[(Piece, Index)],
        file: &dyn DiskFile,
    ) -> io::Result<(Vec<IndexEntry>, Oid)> {
        let count: usize = packs.iter().map(|(_, index)| index.len()).sum();
        let header = pack_header(u32::try_from(count).map_err(io::Error::other)?);
        file.write_all_at(0, &header)?;
        let begin = header.len() as u64;
        let mut end = begin;
        let mut entries = Vec::with_capacity(count);
        let mut buf = vec![0; 1 << 16];
        for (piece, index) in packs {
            entries.extend(index.entries().map(|entry| IndexEntry {
                offset: entry.offset - begin + end,
                ..entry
            }));
            let path = piece.file("pack").ok_or(io::ErrorKind::NotFound)?;
            let pack = self.disk.open(&path)?;
            let stop = pack.len()?.saturating_sub(self.hash.len_in_bytes() as u64);
            let mut at = begin;
            while at < stop {
                let want = usize::try_from(stop - at).map_or(buf.len(), |left| left.min(buf.len()));
                let len = pack.read_at(at, &mut buf[..want])?;
                if len == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                file.write_all_at(end, &buf[..len])?;
                at += len as u64;
                end += len as u64;
            }
        }
        let sum = self.checksum_of(file, end)?;
        file.write_all_at(end, sum.as_slice())?;
        self.written.add(end);
        Ok((entries, sum))
    }
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;

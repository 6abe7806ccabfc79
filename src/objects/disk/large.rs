//! Large blobs as plain files, so that any part of them can be read without the rest.
//!
//! Beside each file lies a list of checksums, one for every [`BLOCK`] bytes, made while the blob
//! was hashed. A read checks the blocks that it touches, so a flipped bit is found without
//! hashing gigabytes again.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;

use super::{
    super::tuning::{BLOCK, READ_AHEAD},
    DiskTier, Spool,
    packs::Pack,
    room::{Used, Written},
};
use crate::{
    git::{
        loose::LooseStream,
        oid::{HashKind, ObjectHasher, ObjectKind, Oid, object_id},
        pack::{Limits, read},
    },
    seams::disk::{Disk, DiskFile},
};

/// Bytes of a large blob that are kept in memory at the most, when the disk takes no more.
pub(super) const MOST_IN_MEMORY: u64 = 256 << 20;

/// A verified large blob on disk.
pub struct LargeFile {
    file: Arc<dyn DiskFile>,
    size: u64,
    sums: Box<[u32]>,
    /// Bytes of it that are in memory.
    held: usize,
    ahead: Ahead,
}

/// How far the disk has been told to read. Whoever reads a large file from its beginning on asks for little at a
/// time: without more, each piece would wait for the disk.
#[derive(Default)]
struct Ahead {
    /// Where the last read ended.
    last: AtomicU64,
    /// Where what was told ends.
    told: AtomicU64,
}

impl Ahead {
    /// Whether it is time to tell more, for a read from `offset` to `end`: it goes on where the last one ended (the
    /// kernel asks in order, but for a few), and half of what was told is read.
    fn is_due(&self, offset: u64, end: u64, size: u64) -> bool {
        let told = self.told.load(Ordering::Relaxed);
        let goes_on = self.last.load(Ordering::Relaxed).abs_diff(offset) <= READ_AHEAD / 8;
        goes_on && told < size && end + READ_AHEAD / 2 > told
    }

    fn note(&self, end: u64) {
        self.last.store(end, Ordering::Relaxed);
    }

    /// Notes a read, and tells more if that is due.
    fn renew(&self, file: &dyn DiskFile, offset: u64, end: u64, size: u64) {
        if self.is_due(offset, end, size) {
            let until = size.min(end + READ_AHEAD);
            let before = self.told.swap(until, Ordering::Relaxed);
            // What was told of another part of the file says nothing here.
            let from = if before >= end && before < until {
                before
            } else {
                end
            };
            file.will_read(from, until - from);
        } else if self.told.load(Ordering::Relaxed) > end + READ_AHEAD {
            // It begins anew, further to the front.
            self.told.store(end, Ordering::Relaxed);
        }
        self.note(end);
    }
}

/// Content in memory in place of a file, where the disk takes no more.
struct InMemory(Bytes);

impl DiskFile for InMemory {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = self.0.get(start..).unwrap_or_default();
        let len = buf.len().min(rest.len());
        buf[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn read_at_once(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.read_at(offset, buf)
    }

    fn write_all_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// `data` in place of a file, if it is the blob `oid`.
pub(super) fn verified_in_memory(
    hash: HashKind,
    oid: &Oid,
    kind: ObjectKind,
    data: Bytes,
) -> Option<LargeFile> {
    let verified = kind == ObjectKind::Blob && object_id(hash, kind, &data) == Some(*oid);
    verified.then(|| LargeFile::in_memory(data))
}

/// Takes a large blob in pieces; only the one whose id is right becomes visible.
pub struct LargeWriter {
    disk: Arc<dyn Disk>,
    oid: Oid,
    size: u64,
    hasher: ObjectHasher,
    /// Where the blob goes, and its checksums; first under the names `temp`.
    paths: Paths,
    temp: Paths,
    file: Arc<dyn DiskFile>,
    sums: Vec<u32>,
    block: crc32fast::Hasher,
    written: u64,
    /// Of the tier.
    counted: Written,
    done: bool,
}

/// Where a large blob and its checksums lie.
struct Paths {
    data: PathBuf,
    sums: PathBuf,
}

impl LargeFile {
    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes of memory it holds.
    pub fn weight(&self) -> usize {
        self.sums.len() * size_of::<u32>() + self.held
    }

    /// A verified blob that no disk takes.
    fn in_memory(data: Bytes) -> Self {
        Self {
            size: data.len() as u64,
            sums: data.chunks(BLOCK).map(crc32fast::hash).collect(),
            held: data.len(),
            ahead: Ahead::default(),
            file: Arc::new(InMemory(data)),
        }
    }

    /// Up to `len` bytes from `offset`, fewer only at the end.
    ///
    /// # Errors
    /// `InvalidData` if what is on disk is not what was verified; any other error is the disk's.
    pub fn read(&self, offset: u64, len: u32) -> io::Result<Bytes> {
        let end = self.size.min(offset.saturating_add(u64::from(len)));
        if offset >= end {
            return Ok(Bytes::new());
        }
        self.ahead.renew(&*self.file, offset, end, self.size);
        self.checked(offset, end, |at, buf| self.file.read_at(at, buf))
    }

    /// The same, if the system holds it in memory and it is not time to read ahead.
    pub fn read_at_once(&self, offset: u64, len: u32) -> Option<Bytes> {
        let end = self.size.min(offset.saturating_add(u64::from(len)));
        if offset >= end {
            return Some(Bytes::new());
        }
        if self.ahead.is_due(offset, end, self.size) {
            return None;
        }
        self.ahead.note(end);
        // Damage is the other half's to tell.
        let read = |at, buf: &mut [u8]| self.file.read_at_once(at, buf);
        self.checked(offset, end, read).ok()
    }

    /// The bytes from `offset` to `end`, which is not before it, nor after the file's end.
    fn checked(
        &self,
        offset: u64,
        end: u64,
        read: impl Fn(u64, &mut [u8]) -> io::Result<usize>,
    ) -> io::Result<Bytes> {
        let first = offset / BLOCK as u64;
        let start = first * BLOCK as u64;
        let stop = end.next_multiple_of(BLOCK as u64).min(self.size);
        let mut data = vec![0; (stop - start) as usize];
        read_exact(read, start, &mut data)?;
        for (index, block) in data.chunks(BLOCK).enumerate() {
            if crc32fast::hash(block) != self.sums[first as usize + index] {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!(
                        "bytes {} and on are damaged",
                        start + (index * BLOCK) as u64
                    ),
                ));
            }
        }
        Ok(Bytes::from(data).slice((offset - start) as usize..(end - start) as usize))
    }
}

impl LargeWriter {
    /// Begins the blob `oid` of `size` bytes.
    pub fn new(tier: &DiskTier, oid: Oid, size: u64) -> io::Result<Self> {
        let folder = tier.large_dir();
        let temp = Paths {
            data: tier.temp(&folder),
            sums: tier.temp(&folder),
        };
        Ok(Self {
            file: tier.disk.create_new(&temp.data)?,
            hasher: ObjectHasher::new(tier.hash, ObjectKind::Blob, size),
            disk: tier.disk.clone(),
            paths: tier.large_paths(&oid),
            oid,
            size,
            temp,
            // Not with room for all: a damaged header may tell any size.
            sums: Vec::new(),
            block: crc32fast::Hasher::new(),
            written: 0,
            counted: tier.written.clone(),
            done: false,
        })
    }

    /// Takes the next piece.
    pub fn write(&mut self, mut data: &[u8]) -> io::Result<()> {
        self.hasher.update(data);
        self.counted.add(data.len() as u64);
        self.file.write_all_at(self.written, data)?;
        while !data.is_empty() {
            let room = BLOCK - (self.written % BLOCK as u64) as usize;
            let (piece, rest) = data.split_at(room.min(data.len()));
            self.block.update(piece);
            self.written += piece.len() as u64;
            if piece.len() == room {
                self.end_block();
            }
            data = rest;
        }
        Ok(())
    }

    /// Whether all bytes came.
    pub fn is_full(&self) -> bool {
        self.written >= self.size
    }

    fn end_block(&mut self) {
        let block = std::mem::replace(&mut self.block, crc32fast::Hasher::new());
        self.sums.push(block.finalize());
    }

    /// What it took, read back.
    pub(super) fn written(&self) -> io::Result<Vec<u8>> {
        let mut data = vec![0; usize::try_from(self.written).map_err(io::Error::other)?];
        read_exact(
            |at, buf: &mut [u8]| self.file.read_at(at, buf),
            0,
            &mut data,
        )?;
        Ok(data)
    }

    /// Ends it. `Ok(None)` if what came is not the object that `oid` names. After an error nothing is lost yet.
    pub fn finish(&mut self) -> io::Result<Option<LargeFile>> {
        if self.written != self.size || self.hasher.clone().finish() != Some(self.oid) {
            return Ok(None);
        }
        if !self.written.is_multiple_of(BLOCK as u64) {
            self.end_block();
        }
        let sums = std::mem::take(&mut self.sums);
        let encoded = encode_sums(self.size, &sums);
        self.disk
            .write_whole(&self.paths.sums, &self.temp.sums, &encoded)?;
        self.disk.rename(&self.temp.data, &self.paths.data)?;
        self.done = true;
        // Counted anew, as only now it can leave.
        self.counted.add(self.size + encoded.len() as u64);
        Ok(Some(LargeFile {
            file: self.file.clone(),
            size: self.size,
            sums: sums.into(),
            held: 0,
            ahead: Ahead::default(),
        }))
    }
}

impl Drop for LargeWriter {
    fn drop(&mut self) {
        if !self.done {
            // A leftover is only a waste of space, and is removed at a later start.
            let _ = self.disk.remove_file(&self.temp.data);
        }
    }
}

impl DiskTier {
    /// The plain file of a large blob, if there is one whose list of checksums is whole.
    pub(super) fn open_large(&self, oid: &Oid) -> Option<LargeFile> {
        let paths = self.large_paths(oid);
        let file = self.disk.open(&paths.data).ok()?;
        let (size, sums) = self
            .disk
            .read(&paths.sums)
            .ok()
            .and_then(|raw| decode_sums(&raw))?;
        if file.len().ok()? != size {
            return None;
        }
        self.uses.note(Used::Large, oid);
        Some(LargeFile {
            file,
            size,
            sums,
            held: 0,
            ahead: Ahead::default(),
        })
    }

    /// Removes the plain file of a large blob that was found damaged.
    pub fn drop_large(&self, oid: &Oid) {
        let paths = self.large_paths(oid);
        tracing::warn!(object = %oid, "a damaged large file in the cache is dropped");
        // What can't be removed is found damaged again, which is harmless.
        let _ = self.disk.remove_file(&paths.data);
        let _ = self.disk.remove_file(&paths.sums);
    }

    /// Unpacks a large blob from a pack into its plain file. `None` if the pack's copy is damaged
    /// or the disk is full.
    ///
    /// If the disk is full, it is in memory, up to [`MOST_IN_MEMORY`] bytes of it.
    pub(super) fn large_from_pack(&self, pack: &Pack, oid: &Oid, size: u64) -> Option<LargeFile> {
        let file = self.unpack_large(pack, oid, size);
        file.or_else(|| {
            let (kind, data) = pack.read(oid, self.hash, MOST_IN_MEMORY)?;
            verified_in_memory(self.hash, oid, kind, data)
        })
    }

    /// A large blob out of a pack of which `spool` is all, and that no disk takes. `place` tells
    /// where an object's entry begins.
    pub fn large_from_memory(
        &self,
        spool: &Spool,
        oid: &Oid,
        place: &dyn Fn(&Oid) -> Option<u64>,
    ) -> Option<LargeFile> {
        let read = read::read_object(spool, place(oid)?, self.hash, place, MOST_IN_MEMORY);
        let (kind, data) = read.ok()?;
        verified_in_memory(self.hash, oid, kind, data)
    }

    fn unpack_large(&self, pack: &Pack, oid: &Oid, size: u64) -> Option<LargeFile> {
        let mut writer = LargeWriter::new(self, *oid, size).ok()?;
        if pack
            .stream(oid, self.hash, &mut |data| {
                self.make_room();
                writer.write(data)
            })
            .is_none()
        {
            // A delta, or damaged: the first is rare for a blob of this size.
            let (_, data) = pack.read(oid, self.hash, Limits::default().max_object)?;
            writer = LargeWriter::new(self, *oid, size).ok()?;
            writer.write(&data).ok()?;
        }
        let file = writer.finish().ok().flatten();
        self.make_room();
        file
    }

    /// Unpacks a large loose blob into its plain file.
    pub(super) fn large_from_loose(&self, oid: &Oid, size: u64) -> Option<LargeFile> {
        let file = self.disk.open(&self.loose_path(oid)).ok()?;
        let mut writer = LargeWriter::new(self, *oid, size).ok()?;
        let mut stream = LooseStream::new();
        let mut buf = vec![0; BLOCK];
        let mut at = 0;
        loop {
            let len = file.read_at(at, &mut buf).ok()?;
            if len == 0 {
                break;
            }
            at += len as u64;
            self.make_room();
            stream
                .feed(&buf[..len], &mut |data| writer.write(data))
                .ok()?;
        }
        stream.finish().ok()?;
        let file = writer.finish().ok().flatten();
        self.make_room();
        file
    }

    fn large_paths(&self, oid: &Oid) -> Paths {
        let folder = self.large_dir();
        Paths {
            data: folder.join(oid.to_string()),
            sums: folder.join(format!("{oid}.sums")),
        }
    }
}

/// The blob's size, a checksum a block, and a checksum of all that, little-endian.
fn encode_sums(size: u64, sums: &[u32]) -> Vec<u8> {
    let mut raw = size.to_le_bytes().to_vec();
    raw.extend(sums.iter().flat_map(|sum| sum.to_le_bytes()));
    let own = crc32fast::hash(&raw);
    raw.extend(own.to_le_bytes());
    raw
}

fn decode_sums(raw: &[u8]) -> Option<(u64, Box<[u32]>)> {
    let (body, own) = raw.split_last_chunk::<4>()?;
    if crc32fast::hash(body) != u32::from_le_bytes(*own) {
        return None;
    }
    let (size, sums) = body.split_first_chunk::<8>()?;
    let size = u64::from_le_bytes(*size);
    let (words, rest) = sums.as_chunks::<4>();
    let whole = rest.is_empty() && words.len() as u64 == size.div_ceil(BLOCK as u64);
    whole.then(|| {
        (
            size,
            words.iter().map(|word| u32::from_le_bytes(*word)).collect(),
        )
    })
}

fn read_exact(
    read: impl Fn(u64, &mut [u8]) -> io::Result<usize>,
    mut offset: u64,
    mut buf: &mut [u8],
) -> io::Result<()> {
    while !buf.is_empty() {
        match read(offset, buf)? {
            0 => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the file is cut short",
                ));
            }
            n => {
                offset += n as u64;
                buf = &mut buf[n..];
            }
        }
    }
    Ok(())
}

//! What is answered to a request, in the FUSE protocol's bytes (include/uapi/linux/fuse.h of Linux, protocol 7.42).
//! May import: this room, bonsaifs-core, fuser (its values).
//!
//! Always holds: a request is answered exactly once, one whose answer is dropped, as in a panic, with EIO.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bonsaifs_core::fs::{DirItem, DirItemPlus};
use fuser::{Errno, FileAttr, FileType, FopenFlags};

use super::attr::file_type;

/// `fuse_out_header`.
pub(super) const OUT_HEADER: usize = 16;

/// Where the answer to one request goes.
pub(super) trait Sink: Send + 'static {
    /// Sends it: no error and all `parts`, or an errno (not negated) and none.
    fn send(self, unique: u64, errno: i32, parts: &[&[u8]]);

    /// Whether an answer of so many bytes is better made by a task than by the thread that took the request.
    fn is_for_a_task(&self, _bytes: u32) -> bool {
        false
    }
}

/// The first bytes of an answer, `fuse_out_header`, to one with `length` bytes behind it.
pub(super) fn out_header(unique: u64, errno: i32, length: usize) -> [u8; OUT_HEADER] {
    let mut header = [0; OUT_HEADER];
    let length = u32::try_from(OUT_HEADER + length).unwrap_or(u32::MAX);
    header[..4].copy_from_slice(&length.to_ne_bytes());
    header[4..8].copy_from_slice(&(-errno).to_ne_bytes());
    header[8..].copy_from_slice(&unique.to_ne_bytes());
    header
}

/// An answer on its way.
pub(super) struct Answer<S: Sink> {
    unique: u64,
    sink: Option<S>,
}

impl<S: Sink> Answer<S> {
    /// To the request with this number.
    pub fn new(unique: u64, sink: S) -> Self {
        Self {
            unique,
            sink: Some(sink),
        }
    }

    fn send(mut self, parts: &[&[u8]]) {
        if let Some(sink) = self.sink.take() {
            sink.send(self.unique, 0, parts);
        }
    }

    /// See [`Sink::is_for_a_task`].
    pub fn is_for_a_task(&self, bytes: u32) -> bool {
        self.sink
            .as_ref()
            .is_some_and(|sink| sink.is_for_a_task(bytes))
    }

    /// An error.
    pub fn refuse(mut self, errno: Errno) {
        if let Some(sink) = self.sink.take() {
            sink.send(self.unique, errno.code(), &[]);
        }
    }

    /// To a look-up: there is such an entry, and how long its name and its attributes stay so.
    pub fn entry(self, found: &FileAttr, generation: u64, name_ttl: Duration, attr_ttl: Duration) {
        let mut out = Vec::with_capacity(ENTRY);
        put_entry(&mut out, found, generation, name_ttl, attr_ttl);
        self.send(&[&out]);
    }

    /// To a look-up: there is none, for so long.
    pub fn absent(self, ttl: Duration) {
        let mut out = [0; ENTRY];
        out[16..24].copy_from_slice(&ttl.as_secs().to_ne_bytes());
        out[32..36].copy_from_slice(&ttl.subsec_nanos().to_ne_bytes());
        self.send(&[&out]);
    }

    /// To `getattr`: the attributes, and how long they stay so.
    pub fn attr(self, attr: &FileAttr, ttl: Duration) {
        let mut out = Vec::with_capacity(16 + ATTR);
        out.extend(ttl.as_secs().to_ne_bytes());
        out.extend(ttl.subsec_nanos().to_ne_bytes());
        out.extend([0; 4]);
        put_attr(&mut out, attr);
        self.send(&[&out]);
    }

    /// Bytes: all of them.
    pub fn data(self, data: &[u8]) {
        self.send(&[data]);
    }

    /// To `getxattr` and `listxattr`: how many bytes there are.
    pub fn size(self, size: u32) {
        self.send(&[&size.to_ne_bytes(), &[0; 4]]);
    }

    /// To `open` and `opendir`: a handle.
    pub fn opened(self, handle: u64, flags: FopenFlags) {
        let flags = flags.bits().to_ne_bytes();
        self.send(&[&handle.to_ne_bytes(), &flags, &[0; 4]]);
    }

    /// It is done.
    pub fn ok(self) {
        self.send(&[]);
    }

    /// To `statfs`: what there is; nothing of it is free.
    pub fn statfs(self, space: &Space) {
        let mut out = Vec::with_capacity(80);
        for number in [space.blocks, 0, 0, space.files, 0] {
            out.extend(number.to_ne_bytes());
        }
        for number in [space.block, space.max_name, space.block] {
            out.extend(number.to_ne_bytes());
        }
        out.resize(80, 0);
        self.send(&[&out]);
    }
}

impl<S: Sink> Drop for Answer<S> {
    fn drop(&mut self) {
        if let Some(sink) = self.sink.take() {
            sink.send(self.unique, libc::EIO, &[]);
        }
    }
}

/// What `statfs` answers with.
pub(super) struct Space {
    pub blocks: u64,
    pub files: u64,
    pub max_name: u32,
    pub block: u32,
}

/// Entries of a directory, as many as there is room for: the bytes of an answer.
pub(super) struct Entries {
    pub data: Vec<u8>,
    room: usize,
}

impl Entries {
    /// None yet, and room for so many bytes.
    pub fn new(room: usize) -> Self {
        Self {
            data: Vec::new(),
            room,
        }
    }

    /// Adds an entry of `readdir`. True if there was no room.
    pub fn add(&mut self, item: &DirItem<'_>) -> bool {
        let entry = (item.ino.0, item.offset, file_type(item.kind));
        self.put(entry, item.name, |_| ())
    }

    /// Adds an entry of `readdirplus`. It and its attributes, if it has any here, are the kernel's for `ttl`. True if there
    /// was no room.
    pub fn add_plus(
        &mut self,
        item: &DirItemPlus<'_>,
        attr: Option<&FileAttr>,
        ttl: Duration,
    ) -> bool {
        let entry = (item.ino.0, item.offset, file_type(item.kind));
        self.put(entry, item.name, |out| match attr {
            Some(attr) => put_entry(out, attr, 0, ttl, ttl),
            // A node id of zero: there are no attributes here, and nothing to count.
            None => out.extend([0; ENTRY]),
        })
    }

    /// Adds what `before` writes, and a `fuse_dirent`. True if there was no room.
    fn put(
        &mut self,
        (ino, next, kind): (u64, u64, FileType),
        name: &[u8],
        before: impl FnOnce(&mut Vec<u8>),
    ) -> bool {
        let start = self.data.len();
        before(&mut self.data);
        self.data.extend(ino.to_ne_bytes());
        self.data.extend(next.to_ne_bytes());
        let length = u32::try_from(name.len()).unwrap_or(u32::MAX);
        self.data.extend(length.to_ne_bytes());
        self.data.extend((file_mode(kind) >> 12).to_ne_bytes());
        self.data.extend(name);
        self.data.resize(self.data.len().next_multiple_of(8), 0);
        let full = self.data.len() > self.room;
        if full {
            self.data.truncate(start);
        }
        full
    }
}

/// `fuse_attr` and `fuse_entry_out`.
const ATTR: usize = 88;
const ENTRY: usize = 40 + ATTR;

fn put_entry(
    out: &mut Vec<u8>,
    attr: &FileAttr,
    generation: u64,
    name_ttl: Duration,
    attr_ttl: Duration,
) {
    let numbers = [
        attr.ino.0,
        generation,
        name_ttl.as_secs(),
        attr_ttl.as_secs(),
    ];
    for number in numbers {
        out.extend(number.to_ne_bytes());
    }
    for number in [name_ttl, attr_ttl].map(|ttl| ttl.subsec_nanos()) {
        out.extend(number.to_ne_bytes());
    }
    put_attr(out, attr);
}

fn put_attr(out: &mut Vec<u8>, attr: &FileAttr) {
    let times = [attr.atime, attr.mtime, attr.ctime].map(since_epoch);
    for number in [attr.ino.0, attr.size, attr.blocks] {
        out.extend(number.to_ne_bytes());
    }
    for (seconds, _) in times {
        out.extend(seconds.to_ne_bytes());
    }
    for (_, nanos) in times {
        out.extend(nanos.to_ne_bytes());
    }
    let mode = file_mode(attr.kind) | u32::from(attr.perm);
    let numbers = [
        mode,
        attr.nlink,
        attr.uid,
        attr.gid,
        attr.rdev,
        attr.blksize,
        attr.flags,
    ];
    for number in numbers {
        out.extend(number.to_ne_bytes());
    }
}

/// The type bits of `st_mode`.
fn file_mode(kind: FileType) -> u32 {
    match kind {
        FileType::Directory => libc::S_IFDIR,
        FileType::Symlink => libc::S_IFLNK,
        _ => libc::S_IFREG,
    }
}

/// Seconds and nanoseconds, the latter never negative.
fn since_epoch(time: SystemTime) -> (i64, u32) {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => (after.as_secs().cast_signed(), after.subsec_nanos()),
        Err(error) => {
            let before = error.duration();
            let seconds = 0i64.wrapping_sub_unsigned(before.as_secs());
            match before.subsec_nanos() {
                0 => (seconds, 0),
                nanos => (seconds.wrapping_sub(1), 1_000_000_000 - nanos),
            }
        }
    }
}

#[cfg(test)]
mod tests;

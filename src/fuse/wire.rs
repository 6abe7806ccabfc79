//! What the kernel sends and is sent unasked, in the FUSE protocol's bytes (include/uapi/linux/fuse.h of Linux, protocol
//! 7.42); answers stand in `reply`. May import: this room, bonsaifs-core, fuser (its values).
//!
//! Always holds: no byte of a request can make this panic.

use bonsaifs_core::fs::Provider;
use fuser::{Errno, InitFlags, OpenFlags};

use super::{
    Adapter,
    counters::Op,
    operations::{Asked, Part},
    policy::Policy,
    reply::{Answer, Sink, out_header},
};

/// The protocol's version that is spoken here, and the oldest of the kernel's that will do: that of Linux 4.20, which
/// caches directories and reads more than 32 pages at a time.
const MAJOR: u32 = 7;
const MINOR: u32 = 42;
const OLDEST: u32 = 28;

/// `fuse_in_header`.
pub(super) const IN_HEADER: usize = 40;

const FORGET: u32 = 2;
pub(super) const INIT: u32 = 26;
const INTERRUPT: u32 = 36;
const DESTROY: u32 = 38;
const BATCH_FORGET: u32 = 42;

/// Bytes, of which each look is answered: zero where there are none.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a>(pub &'a [u8]);

impl Fields<'_> {
    pub fn u32(self, at: usize) -> u32 {
        self.get(at).map_or(0, u32::from_ne_bytes)
    }
    pub fn u64(self, at: usize) -> u64 {
        self.get(at).map_or(0, u64::from_ne_bytes)
    }
    fn get<const N: usize>(self, at: usize) -> Option<[u8; N]> {
        self.0.get(at..at + N)?.try_into().ok()
    }
}

/// `fuse_in_header`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub opcode: u32,
    pub unique: u64,
    pub ino: u64,
    pub tid: u32,
}

impl Header {
    pub fn parse(data: &[u8]) -> Self {
        let fields = Fields(data);
        Self {
            opcode: fields.u32(4),
            unique: fields.u64(8),
            ino: fields.u64(16),
            tid: fields.u32(32),
        }
    }

    /// How many bytes of what follows are of a fixed form. The rest is a name, or more.
    fn fixed(&self) -> usize {
        match self.opcode {
            // getattr
            3 => 16,
            // forgets, open, opendir, getxattr, listxattr
            FORGET | BATCH_FORGET | 14 | 27 | 22 | 23 => 8,
            // read, readdir, readdirplus
            15 | 28 | 44 => 40,
            // release, releasedir
            18 | 29 => 24,
            _ => 0,
        }
    }
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request<'a> {
    pub header: Header,
    /// The operation's own fields, maybe with zeros behind.
    pub fixed: &'a [u8],
    /// What follows these.
    pub rest: &'a [u8],
}

impl<'a> Request<'a> {
    /// As /dev/fuse gives it: all in one piece.
    pub fn whole(data: &'a [u8]) -> Option<Self> {
        let header = Header::parse(data.get(..IN_HEADER)?);
        let body = &data[IN_HEADER..];
        let (fixed, rest) = body.split_at(header.fixed().min(body.len()));
        Some(Self {
            header,
            fixed,
            rest,
        })
    }

    /// As io_uring gives it: header, fixed fields and the rest, each in its place.
    pub fn in_parts(header: Header, fixed: &'a [u8], rest: &'a [u8]) -> Self {
        Self {
            header,
            fixed,
            rest,
        }
    }

    /// The name that the rest is, without the NUL that ends it.
    fn name(&self) -> &'a [u8] {
        let end = self.rest.iter().position(|byte| *byte == 0);
        &self.rest[..end.unwrap_or(self.rest.len())]
    }
}

/// Requests that are never granted, whatever they ask for.
const REFUSED: [(u32, Op); 26] = [
    (4, Op::Setattr),
    (6, Op::Symlink),
    (8, Op::Mknod),
    (9, Op::Mkdir),
    (10, Op::Unlink),
    (11, Op::Rmdir),
    (12, Op::Rename),
    (13, Op::Link),
    (16, Op::Write),
    (20, Op::Fsync),
    (21, Op::Setxattr),
    (24, Op::Removexattr),
    (25, Op::Flush),
    (30, Op::Fsyncdir),
    (31, Op::Getlk),
    (32, Op::Setlk),
    (33, Op::Setlk),
    (34, Op::Access),
    (35, Op::Create),
    (37, Op::Bmap),
    (39, Op::Ioctl),
    (40, Op::Poll),
    (43, Op::Fallocate),
    (45, Op::Rename),
    (46, Op::Lseek),
    (47, Op::CopyFileRange),
];

impl<P: Provider> Adapter<P> {
    /// Takes a request that came over /dev/fuse: answers it into `sink`, now or later, unless it is one that has no
    /// answer.
    pub(super) fn take_from_device<S: Sink>(&self, request: &Request<'_>, sink: S) {
        if !self.note(request) {
            self.dispatch(request, sink);
        }
    }

    /// Takes a request that came in a slot of a ring, and answers it into `sink`. Forgets of what a listing showed
    /// in vain come this way (`fuse_force_forget`): they have no answer, but their slot must go back.
    pub(super) fn take_from_ring<S: Sink>(&self, request: &Request<'_>, sink: S) {
        match self.note(request) {
            true => sink.send(request.header.unique, 0, &[]),
            false => self.dispatch(request, sink),
        }
    }

    /// Answers `request` into `sink`, now or later.
    pub(super) fn dispatch<S: Sink>(&self, request: &Request<'_>, sink: S) {
        let header = request.header;
        let fields = Fields(request.fixed);
        let asked = Asked {
            ino: header.ino,
            tid: header.tid,
        };
        let part = Part {
            handle: fields.u64(0),
            offset: fields.u64(8),
            room: fields.u32(16) as usize,
        };
        let answer = Answer::new(header.unique, sink);
        match header.opcode {
            1 => self.on_lookup(asked, request.name(), answer),
            3 => self.on_getattr(asked, answer),
            5 => self.on_readlink(asked, answer),
            14 => self.on_open(asked, OpenFlags(fields.u32(0).cast_signed()), answer),
            15 => self.on_read(asked, fields.u64(8), fields.u32(16), answer),
            17 => self.on_statfs(asked, answer),
            18 => self.on_release(asked, fields.u64(0), answer),
            22 => self.on_getxattr(asked, request.name(), fields.u32(0), answer),
            23 => self.on_listxattr(asked, fields.u32(0), answer),
            27 => self.on_opendir(asked, answer),
            28 => self.on_readdir(asked, part, answer),
            29 => self.on_releasedir(asked, fields.u64(0), answer),
            44 => self.on_readdirplus(asked, part, answer),
            DESTROY => answer.ok(),
            opcode => match REFUSED.iter().find(|(number, _)| *number == opcode) {
                Some((_, op)) => self.refuse(*op, answer),
                None => answer.refuse(Errno::ENOSYS),
            },
        }
    }

    /// Deals with `request` if it is one that has no answer. True if it was.
    fn note(&self, request: &Request<'_>) -> bool {
        let Header {
            opcode, ino, tid, ..
        } = request.header;
        match opcode {
            FORGET => self.on_forget(Asked { ino, tid }, Fields(request.fixed).u64(0)),
            BATCH_FORGET => {
                let count = Fields(request.fixed).u32(0) as usize;
                for one in request.rest.chunks_exact(16).take(count) {
                    let ino = Fields(one).u64(0);
                    self.on_forget(Asked { ino, tid }, Fields(one).u64(8));
                }
            }
            // Who was killed is found out another way (`interrupt`).
            INTERRUPT => {}
            _ => return false,
        }
        true
    }
}

/// A message to the kernel that nobody asked for (`enum fuse_notify_code`): its header, and what is behind it.
fn notice(code: i32, body: &[&[u8]]) -> Vec<u8> {
    let length = body.iter().map(|part| part.len()).sum();
    let mut out = out_header(0, -code, length).to_vec();
    body.iter().for_each(|part| out.extend(*part));
    out
}

/// Has the kernel drop a name (`fuse_notify_inval_entry_out`).
pub(super) fn drop_name(parent: u64, name: &[u8]) -> Vec<u8> {
    let length = u32::try_from(name.len()).unwrap_or(u32::MAX);
    let fields = [&parent.to_ne_bytes()[..], &length.to_ne_bytes(), &[0; 4]];
    notice(3, &[&fields.concat(), name, &[0]])
}

/// Has the kernel drop what it keeps of an inode (`fuse_notify_inval_inode_out`).
pub(super) fn drop_inode(ino: u64) -> Vec<u8> {
    notice(2, &[&ino.to_ne_bytes(), &[0; 16]])
}

/// Has the kernel forget those of `inodes` that nobody uses (`fuse_notify_prune_out`, Linux 6.18).
pub(super) fn prune(inodes: &[u64]) -> Vec<u8> {
    let count = u32::try_from(inodes.len()).unwrap_or(u32::MAX);
    let all: Vec<u8> = inodes.iter().flat_map(|ino| ino.to_ne_bytes()).collect();
    notice(9, &[&count.to_ne_bytes(), &[0; 12], &all])
}

/// What the kernel says at the beginning (`fuse_init_in`).
#[derive(Clone, Copy, Debug)]
pub(super) struct Offer {
    pub major: u32,
    pub minor: u32,
    readahead: u32,
    pub flags: InitFlags,
}

impl Offer {
    pub fn parse(request: &Request<'_>) -> Self {
        let fields = Fields(request.rest);
        let mut flags = u64::from(fields.u32(12));
        if flags & InitFlags::FUSE_INIT_EXT.bits() != 0 {
            flags |= u64::from(fields.u32(16)) << 32;
        }
        Self {
            major: fields.u32(0),
            minor: fields.u32(4),
            readahead: fields.u32(8),
            flags: InitFlags::from_bits_retain(flags),
        }
    }

    /// Whether one can agree on it, and on `also`; else why not.
    pub fn check(&self, also: InitFlags) -> Result<(), String> {
        let Self { major, minor, .. } = *self;
        if major != MAJOR || minor < OLDEST {
            return Err(format!(
                "the kernel speaks version {major}.{minor} of the FUSE protocol, and {MAJOR}.{OLDEST} is wanted at least"
            ));
        }
        match self.flags.contains(also) {
            true => Ok(()),
            false => Err(format!("the kernel does not offer {:?}", also - self.flags)),
        }
    }

    /// What is agreed on (`fuse_init_out`).
    pub fn accept(&self, policy: &Policy, flags: InitFlags) -> Vec<u8> {
        /// A page is 4 KiB here or more; the kernel takes what it can.
        const PAGE: u32 = 4096;
        let flags = flags | InitFlags::FUSE_INIT_EXT;
        let [low, high] = [flags.bits() as u32, (flags.bits() >> 32) as u32];
        let mut out = Vec::with_capacity(64);
        for number in [MAJOR, self.minor.min(MINOR), self.readahead, low] {
            out.extend(number.to_ne_bytes());
        }
        // The kernel takes a queue that is three quarters full for busy, as it does by itself.
        let background = policy.max_background;
        for number in [background, background / 4 * 3] {
            out.extend(number.to_ne_bytes());
        }
        let nanosecond: u32 = 1;
        for number in [policy.max_request, nanosecond] {
            out.extend(number.to_ne_bytes());
        }
        let pages = u16::try_from(policy.max_request / PAGE).unwrap_or(u16::MAX);
        for number in [pages, 0] {
            out.extend(number.to_ne_bytes());
        }
        out.extend(high.to_ne_bytes());
        out.resize(64, 0);
        out
    }
}

#[cfg(test)]
mod tests;

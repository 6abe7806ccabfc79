//! What becomes of each request, whichever way it came and its answer goes. May import: this room,
//! bonsaifs-core, fuser (its values).

use bonsaifs_core::fs::{AsyncFs, Entry, FsErrorKind, FsResult, Kind, Provider};
use fuser::{Errno, OpenAccMode, OpenFlags};

use super::{
    Adapter,
    attr::{BLOCK, file_attr},
    counters::Op,
    policy::{Opens, Xattrs},
    reply::{Answer, Sink, Space},
    serve::Call,
};

/// The longest symlink target that a process can read, in bytes (`PATH_MAX` with its NUL).
const TARGET_MAX: usize = 4095;

/// Whose request it is, and for which inode.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub ino: u64,
    /// The thread that waits; 0 if it can't be seen from here.
    pub tid: u32,
}

/// The part of a directory that is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    /// The open directory; nothing where the kernel opens by itself.
    pub handle: u64,
    /// Where to go on.
    pub offset: u64,
    /// Bytes of the answer.
    pub room: usize,
}

/// What every request of a kind is answered with that is never granted.
pub(super) fn refusal(op: Op) -> Errno {
    match op {
        // The kernel does these by itself, and remembers that it must (ENOSYS once).
        Op::Access
        | Op::Bmap
        | Op::Flush
        | Op::Fsync
        | Op::Fsyncdir
        | Op::Getlk
        | Op::Lseek
        | Op::Poll
        | Op::Setlk => Errno::ENOSYS,
        // There is no device behind it (ioctl(2)).
        Op::Ioctl => Errno::ENOTTY,
        // Nothing can be changed.
        _ => Errno::EROFS,
    }
}

/// The kernel keeps "no such entry" too, so that is an answer and not an error.
fn or_absent(result: FsResult<Entry>) -> FsResult<Option<Entry>> {
    match result {
        Ok(entry) => Ok(Some(entry)),
        Err(error) if error.kind() == FsErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Answers getxattr and listxattr by their common rule (fuse.4): a size of zero asks how long it
/// is, and too little room is ERANGE.
fn send_xattr(reply: Answer<impl Sink>, size: u32, data: &[u8]) {
    match u32::try_from(data.len()) {
        Err(_) => reply.refuse(Errno::E2BIG),
        Ok(length) if size == 0 => reply.size(length),
        Ok(length) if size < length => reply.refuse(Errno::ERANGE),
        Ok(_) => reply.data(data),
    }
}

impl<P: Provider> Adapter<P> {
    /// Counts a request, and says what it is.
    fn asked(&self, op: Op, asked: Asked) -> Call {
        self.count(op);
        Call::new(op, asked.ino, asked.tid)
    }

    pub(super) fn on_lookup<S: Sink>(&self, asked: Asked, name: &[u8], reply: Answer<S>) {
        let call = self.asked(Op::Lookup, asked);
        let (dir, policy) = (call.ino, self.policy);
        self.shared.serve(
            call,
            reply,
            |fs| fs.try_lookup(dir, name).map(or_absent),
            |fs| {
                let name = name.to_vec();
                async move { or_absent(fs.lookup(dir, &name).await) }
            },
            move |shared, reply, entry| match entry {
                Some(entry) => {
                    if entry.attr.kind != Kind::Dir {
                        shared.looked_up(asked.tid, dir);
                    }
                    let attr = file_attr(entry.ino, &entry.attr, shared.owner);
                    reply.entry(&attr, entry.generation, policy.entry_ttl, policy.attr_ttl);
                }
                None => reply.absent(policy.negative_ttl),
            },
        );
    }

    pub(super) fn on_forget(&self, asked: Asked, lookups: u64) {
        let call = self.asked(Op::Forget, asked);
        let forget = || self.shared.fs.forget(call.ino, lookups);
        self.shared.guarded(call, forget);
    }

    pub(super) fn on_getattr<S: Sink>(&self, asked: Asked, reply: Answer<S>) {
        let call = self.asked(Op::Getattr, asked);
        let ttl = self.policy.attr_ttl;
        self.shared.serve(
            call,
            reply,
            |fs| fs.try_getattr(call.ino),
            |fs| async move { fs.getattr(call.ino).await },
            move |shared, reply, attr| {
                reply.attr(&file_attr(call.ino, &attr, shared.owner), ttl);
            },
        );
    }

    pub(super) fn on_readlink<S: Sink>(&self, asked: Asked, reply: Answer<S>) {
        let call = self.asked(Op::Readlink, asked);
        self.shared.serve(
            call,
            reply,
            |fs| fs.try_readlink(call.ino),
            |fs| async move { fs.readlink(call.ino).await },
            |_, reply, target| match target.len() > TARGET_MAX {
                true => reply.refuse(Errno::ENAMETOOLONG),
                false => reply.data(&target),
            },
        );
    }

    pub(super) fn on_open<S: Sink>(&self, asked: Asked, flags: OpenFlags, reply: Answer<S>) {
        let call = self.asked(Op::Open, asked);
        if flags.acc_mode() != OpenAccMode::O_RDONLY {
            return reply.refuse(Errno::EROFS);
        }
        let Opens::Answered(keep) = self.policy.files else {
            return reply.refuse(Errno::ENOSYS);
        };
        self.shared.serve_now(
            call,
            reply,
            |fs| fs.open_file(call.ino),
            |reply, handle| reply.opened(handle, keep),
        );
    }

    pub(super) fn on_read<S: Sink>(&self, asked: Asked, offset: u64, size: u32, reply: Answer<S>) {
        let call = self.asked(Op::Read, asked);
        let by_task = reply.is_for_a_task(size);
        let now = move |fs: &AsyncFs<P>| fs.try_read(call.ino, offset, size);
        self.shared.serve(
            call,
            reply,
            |fs| if by_task { None } else { now(fs) },
            |fs| async move {
                match by_task.then(|| now(&fs)).flatten() {
                    Some(result) => result,
                    None => fs.read(call.ino, offset, size).await,
                }
            },
            |_, reply, data| reply.data(&data),
        );
    }

    pub(super) fn on_release<S: Sink>(&self, asked: Asked, handle: u64, reply: Answer<S>) {
        let call = self.asked(Op::Release, asked);
        if self.policy.files != Opens::Skipped {
            let release = || self.shared.fs.release_file(handle);
            self.shared.guarded(call, release);
        }
        reply.ok();
    }

    pub(super) fn on_opendir<S: Sink>(&self, asked: Asked, reply: Answer<S>) {
        let call = self.asked(Op::Opendir, asked);
        let Opens::Answered(keep) = self.policy.directories else {
            return reply.refuse(Errno::ENOSYS);
        };
        self.shared.serve(
            call,
            reply,
            |fs| fs.try_scan(call.ino),
            |fs| async move { fs.scan(call.ino).await },
            move |shared, reply, scan| reply.opened(shared.fs.open_dir(scan), keep),
        );
    }

    pub(super) fn on_readdir<S: Sink>(&self, asked: Asked, part: Part, reply: Answer<S>) {
        let call = self.asked(Op::Readdir, asked);
        self.with_scan(call, part.handle, reply, move |shared, reply, scan| {
            reply.data(&shared.fill(part, &scan));
        });
    }

    pub(super) fn on_readdirplus<S: Sink>(&self, asked: Asked, part: Part, reply: Answer<S>) {
        let call = self.asked(Op::Readdirplus, asked);
        let ttl = self.policy.attr_ttl.min(self.policy.entry_ttl);
        self.with_scan(call, part.handle, reply, move |shared, reply, scan| {
            let told = shared
                .walkers
                .told(asked.tid, call.ino, scan.listing(), part.offset);
            reply.data(&shared.fill_plus(part, &scan, told, ttl));
        });
    }

    pub(super) fn on_releasedir<S: Sink>(&self, asked: Asked, handle: u64, reply: Answer<S>) {
        let call = self.asked(Op::Releasedir, asked);
        if self.policy.directories != Opens::Skipped {
            let release = || self.shared.fs.release_dir(handle);
            self.shared.guarded(call, release);
        }
        reply.ok();
    }

    pub(super) fn on_statfs<S: Sink>(&self, asked: Asked, reply: Answer<S>) {
        let call = self.asked(Op::Statfs, asked);
        self.shared.guarded(call, move || {
            let stat = self.shared.fs.statfs();
            reply.statfs(&Space {
                blocks: stat.bytes.div_ceil(BLOCK.into()),
                files: stat.files,
                max_name: stat.max_name,
                block: BLOCK,
            });
        });
    }

    pub(super) fn on_getxattr<S: Sink>(
        &self,
        asked: Asked,
        name: &[u8],
        size: u32,
        reply: Answer<S>,
    ) {
        let call = self.asked(Op::Getxattr, asked);
        if self.policy.xattrs == Xattrs::Off {
            return reply.refuse(Errno::ENOSYS);
        }
        self.shared.serve_now(
            call,
            reply,
            |fs| {
                let all = fs.xattrs(call.ino)?;
                let found = all.into_iter().find(|(key, _)| key.as_bytes() == name);
                found.ok_or_else(|| FsErrorKind::NoData.into())
            },
            |reply, (_, value)| send_xattr(reply, size, &value),
        );
    }

    pub(super) fn on_listxattr<S: Sink>(&self, asked: Asked, size: u32, reply: Answer<S>) {
        let call = self.asked(Op::Listxattr, asked);
        if self.policy.xattrs == Xattrs::Off {
            return reply.refuse(Errno::ENOSYS);
        }
        self.shared.serve_now(
            call,
            reply,
            |fs| fs.xattrs(call.ino),
            |reply, all| {
                let mut names = Vec::new();
                for (name, _) in all {
                    names.extend_from_slice(name.as_bytes());
                    names.push(0);
                }
                send_xattr(reply, size, &names);
            },
        );
    }
}

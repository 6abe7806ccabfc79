//! fuser's trait, operation by operation. May import: this room, bonsaifs-core, fuser.

use std::{ffi::OsStr, io, os::unix::ffi::OsStrExt, path::Path, time::SystemTime};

use bonsaifs_core::fs::{Entry, FsErrorKind, FsResult, Ino, Provider};
use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, Filesystem, Generation,
    INodeNo, IoctlFlags, KernelConfig, LockOwner, OpenAccMode, OpenFlags, PollEvents, PollFlags,
    PollNotifier, RenameFlags, ReplyAttr, ReplyBmap, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLock, ReplyLseek, ReplyOpen,
    ReplyPoll, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};

use super::{
    Adapter,
    attr::{BLOCK, file_attr, no_entry},
    counters::Op,
    policy::{Opens, Xattrs},
    serve::Call,
};

/// The longest symlink target that a process can read, in bytes (`PATH_MAX` with its NUL).
const TARGET_MAX: usize = 4095;

/// Requests that get the same answer whatever they ask for.
macro_rules! refused {
    ($($method:ident($($argument:ty),*; $reply:ty) $op:ident $errno:ident;)+) => {
        $(fn $method(&self, _: &Request, $(_: $argument,)* reply: $reply) {
            self.refuse(Op::$op, reply, Errno::$errno);
        })+
    };
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
fn send_xattr(reply: ReplyXattr, size: u32, data: &[u8]) {
    match u32::try_from(data.len()) {
        Err(_) => reply.error(Errno::E2BIG),
        Ok(length) if size == 0 => reply.size(length),
        Ok(length) if size < length => reply.error(Errno::ERANGE),
        Ok(_) => reply.data(data),
    }
}

impl<P: Provider> Filesystem for Adapter<P> {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let policy = self.agree(config.capabilities());
        let refused = |what: &str| io::Error::other(format!("the kernel refuses {what}"));
        config
            .add_capabilities(policy.capabilities)
            .map_err(|flags| refused(&format!("{flags:?}, which it offers")))?;
        // Requests are as large as writes may be (fuser's `max_pages`).
        config
            .set_max_write(policy.max_request)
            .map_err(|_| refused("the size of requests"))?;
        config
            .set_max_background(policy.max_background)
            .map_err(|_| refused("the number of reads ahead"))?;
        tracing::debug!(?policy, kernel = %config.kernel_abi(), "agreed with the kernel");
        Ok(())
    }

    fn lookup(&self, req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.count(Op::Lookup);
        let (dir, name) = (Ino(parent.0), name.as_bytes());
        let policy = self.policy;
        self.shared.serve(
            Call::new(Op::Lookup, parent, req),
            reply,
            |fs| fs.try_lookup(dir, name).map(or_absent),
            |fs| {
                let name = name.to_vec();
                async move { or_absent(fs.lookup(dir, &name).await) }
            },
            move |shared, reply: ReplyEntry, entry| match entry {
                Some(entry) => reply.entry_with_ttls(
                    &policy.attr_ttl,
                    &policy.entry_ttl,
                    &file_attr(entry.ino, &entry.attr, shared.owner),
                    Generation(entry.generation),
                ),
                None => reply.entry(&policy.negative_ttl, &no_entry(), Generation(0)),
            },
        );
    }

    // fuser keeps `batch_forget` to itself (the type of its argument is private) and calls this
    // for each inode of it.
    fn forget(&self, req: &Request, ino: INodeNo, nlookup: u64) {
        self.count(Op::Forget);
        let call = Call::new(Op::Forget, ino, req);
        let forget = || self.shared.fs.forget(call.ino, nlookup);
        self.shared.guarded(call, forget);
    }

    fn getattr(&self, req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        self.count(Op::Getattr);
        let call = Call::new(Op::Getattr, ino, req);
        let ttl = self.policy.attr_ttl;
        self.shared.serve(
            call,
            reply,
            |fs| fs.try_getattr(call.ino),
            |fs| async move { fs.getattr(call.ino).await },
            move |shared, reply: ReplyAttr, attr| {
                reply.attr(&ttl, &file_attr(call.ino, &attr, shared.owner));
            },
        );
    }

    fn readlink(&self, req: &Request, ino: INodeNo, reply: ReplyData) {
        self.count(Op::Readlink);
        let call = Call::new(Op::Readlink, ino, req);
        self.shared.serve(
            call,
            reply,
            |fs| fs.try_readlink(call.ino),
            |fs| async move { fs.readlink(call.ino).await },
            |_, reply: ReplyData, target| {
                if target.len() > TARGET_MAX {
                    reply.error(Errno::ENAMETOOLONG);
                } else {
                    reply.data(&target);
                }
            },
        );
    }

    fn open(&self, req: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        self.count(Op::Open);
        if flags.acc_mode() != OpenAccMode::O_RDONLY {
            return reply.error(Errno::EROFS);
        }
        let Opens::Answered(keep) = self.policy.files else {
            return reply.error(Errno::ENOSYS);
        };
        let call = Call::new(Op::Open, ino, req);
        self.shared.serve_now(
            call,
            reply,
            |fs| fs.open_file(call.ino),
            |reply: ReplyOpen, fh| reply.opened(FileHandle(fh), keep),
        );
    }

    fn read(
        &self,
        req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.count(Op::Read);
        let call = Call::new(Op::Read, ino, req);
        self.shared.serve(
            call,
            reply,
            |fs| fs.try_read(call.ino, offset, size),
            |fs| async move { fs.read(call.ino, offset, size).await },
            |_, reply: ReplyData, data| reply.data(&data),
        );
    }

    fn release(
        &self,
        req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.count(Op::Release);
        if self.policy.files != Opens::Skipped {
            let call = Call::new(Op::Release, ino, req);
            let release = || self.shared.fs.release_file(fh.0);
            self.shared.guarded(call, release);
        }
        reply.ok();
    }

    fn opendir(&self, req: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        self.count(Op::Opendir);
        let Opens::Answered(keep) = self.policy.directories else {
            return reply.error(Errno::ENOSYS);
        };
        let call = Call::new(Op::Opendir, ino, req);
        self.shared.serve(
            call,
            reply,
            |fs| fs.try_scan(call.ino),
            |fs| async move { fs.scan(call.ino).await },
            move |shared, reply: ReplyOpen, scan| {
                reply.opened(FileHandle(shared.fs.open_dir(scan)), keep);
            },
        );
    }

    fn readdir(
        &self,
        req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        reply: ReplyDirectory,
    ) {
        self.count(Op::Readdir);
        let call = Call::new(Op::Readdir, ino, req);
        self.with_scan(call, fh, reply, move |shared, reply, scan| {
            shared.fill(reply, &scan, offset);
        });
    }

    fn readdirplus(
        &self,
        req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        reply: ReplyDirectoryPlus,
    ) {
        self.count(Op::Readdirplus);
        let call = Call::new(Op::Readdirplus, ino, req);
        // fuser has one time for name and attributes.
        let ttl = self.policy.attr_ttl.min(self.policy.entry_ttl);
        self.with_scan(call, fh, reply, move |shared, reply, scan| {
            shared.fill_plus(reply, &scan, offset, ttl);
        });
    }

    fn releasedir(
        &self,
        req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.count(Op::Releasedir);
        if self.policy.directories != Opens::Skipped {
            let call = Call::new(Op::Releasedir, ino, req);
            let release = || self.shared.fs.release_dir(fh.0);
            self.shared.guarded(call, release);
        }
        reply.ok();
    }

    fn statfs(&self, req: &Request, ino: INodeNo, reply: ReplyStatfs) {
        self.count(Op::Statfs);
        let call = Call::new(Op::Statfs, ino, req);
        self.shared.guarded(call, move || {
            let stat = self.shared.fs.statfs();
            let blocks = stat.bytes.div_ceil(BLOCK.into());
            reply.statfs(blocks, 0, 0, stat.files, 0, BLOCK, stat.max_name, BLOCK);
        });
    }

    fn getxattr(&self, req: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        self.count(Op::Getxattr);
        if self.policy.xattrs == Xattrs::Off {
            return reply.error(Errno::ENOSYS);
        }
        let call = Call::new(Op::Getxattr, ino, req);
        self.shared.serve_now(
            call,
            reply,
            |fs| {
                let all = fs.xattrs(call.ino)?;
                let found = all.into_iter().find(|(key, _)| key.as_str() == name);
                found.ok_or_else(|| FsErrorKind::NoData.into())
            },
            |reply, (_, value)| send_xattr(reply, size, &value),
        );
    }

    fn listxattr(&self, req: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        self.count(Op::Listxattr);
        if self.policy.xattrs == Xattrs::Off {
            return reply.error(Errno::ENOSYS);
        }
        let call = Call::new(Op::Listxattr, ino, req);
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

    // Nothing can be changed.
    refused! {
        setattr(
            INodeNo, Option<u32>, Option<u32>, Option<u32>, Option<u64>, Option<TimeOrNow>,
            Option<TimeOrNow>, Option<SystemTime>, Option<FileHandle>, Option<SystemTime>,
            Option<SystemTime>, Option<SystemTime>, Option<BsdFileFlags>; ReplyAttr
        ) Setattr EROFS;
        mknod(INodeNo, &OsStr, u32, u32, u32; ReplyEntry) Mknod EROFS;
        mkdir(INodeNo, &OsStr, u32, u32; ReplyEntry) Mkdir EROFS;
        unlink(INodeNo, &OsStr; ReplyEmpty) Unlink EROFS;
        rmdir(INodeNo, &OsStr; ReplyEmpty) Rmdir EROFS;
        symlink(INodeNo, &OsStr, &Path; ReplyEntry) Symlink EROFS;
        rename(INodeNo, &OsStr, INodeNo, &OsStr, RenameFlags; ReplyEmpty) Rename EROFS;
        link(INodeNo, INodeNo, &OsStr; ReplyEntry) Link EROFS;
        create(INodeNo, &OsStr, u32, u32, i32; ReplyCreate) Create EROFS;
        write(
            INodeNo, FileHandle, u64, &[u8], WriteFlags, OpenFlags, Option<LockOwner>; ReplyWrite
        ) Write EROFS;
        fallocate(INodeNo, FileHandle, u64, u64, i32; ReplyEmpty) Fallocate EROFS;
        copy_file_range(
            INodeNo, FileHandle, u64, INodeNo, FileHandle, u64, u64, CopyFileRangeFlags; ReplyWrite
        ) CopyFileRange EROFS;
        setxattr(INodeNo, &OsStr, &[u8], i32, u32; ReplyEmpty) Setxattr EROFS;
        removexattr(INodeNo, &OsStr; ReplyEmpty) Removexattr EROFS;
    }

    // The kernel does these by itself, and remembers that it must (ENOSYS once).
    refused! {
        access(INodeNo, AccessFlags; ReplyEmpty) Access ENOSYS;
        flush(INodeNo, FileHandle, LockOwner; ReplyEmpty) Flush ENOSYS;
        fsync(INodeNo, FileHandle, bool; ReplyEmpty) Fsync ENOSYS;
        fsyncdir(INodeNo, FileHandle, bool; ReplyEmpty) Fsyncdir ENOSYS;
        lseek(INodeNo, FileHandle, i64, i32; ReplyLseek) Lseek ENOSYS;
        bmap(INodeNo, u32, u64; ReplyBmap) Bmap ENOSYS;
        poll(INodeNo, FileHandle, PollNotifier, PollEvents, PollFlags; ReplyPoll) Poll ENOSYS;
        getlk(INodeNo, FileHandle, LockOwner, u64, u64, i32, u32; ReplyLock) Getlk ENOSYS;
        setlk(INodeNo, FileHandle, LockOwner, u64, u64, i32, u32, bool; ReplyEmpty) Setlk ENOSYS;
    }

    // There is no device behind it (ioctl(2)).
    refused! {
        ioctl(INodeNo, FileHandle, IoctlFlags, u32, &[u8], u32; ReplyIoctl) Ioctl ENOTTY;
    }
}

//! fuser's trait: requests that come over /dev/fuse. May import: this room, fuser.

use std::{ffi::OsStr, io, os::unix::ffi::OsStrExt, path::Path, time::SystemTime};

use bonsaifs_core::fs::Provider;
use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, FileHandle, Filesystem, INodeNo, IoctlFlags,
    KernelConfig, LockOwner, OpenFlags, PollEvents, PollFlags, PollNotifier, RenameFlags,
    ReplyAttr, ReplyBmap, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty,
    ReplyEntry, ReplyIoctl, ReplyLock, ReplyLseek, ReplyOpen, ReplyPoll, ReplyStatfs, ReplyWrite,
    ReplyXattr, Request, TimeOrNow, WriteFlags,
};

use super::{Adapter, counters::Op, operations::Asked};

/// Requests that get the same answer whatever they ask for.
macro_rules! refused {
    ($($method:ident($($argument:ty),*; $reply:ty) $op:ident;)+) => {
        $(fn $method(&self, _: &Request, $(_: $argument,)* reply: $reply) {
            self.refuse(Op::$op, reply);
        })+
    };
}

fn asked(request: &Request, ino: INodeNo) -> Asked {
    Asked {
        ino: ino.0,
        tid: request.pid(),
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
        self.on_lookup(asked(req, parent), name.as_bytes(), reply);
    }

    // fuser keeps `batch_forget` to itself (the type of its argument is private) and calls this
    // for each inode of it.
    fn forget(&self, req: &Request, ino: INodeNo, nlookup: u64) {
        self.on_forget(asked(req, ino), nlookup);
    }

    fn getattr(&self, req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        self.on_getattr(asked(req, ino), reply);
    }

    fn readlink(&self, req: &Request, ino: INodeNo, reply: ReplyData) {
        self.on_readlink(asked(req, ino), reply);
    }

    fn open(&self, req: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        self.on_open(asked(req, ino), flags, reply);
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
        self.on_read(asked(req, ino), offset, size, reply);
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
        self.on_release(asked(req, ino), fh.0, reply);
    }

    fn opendir(&self, req: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        self.on_opendir(asked(req, ino), reply);
    }

    fn readdir(
        &self,
        req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        reply: ReplyDirectory,
    ) {
        self.on_readdir(asked(req, ino), fh.0, offset, reply);
    }

    fn readdirplus(
        &self,
        req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        reply: ReplyDirectoryPlus,
    ) {
        self.on_readdirplus(asked(req, ino), fh.0, offset, reply);
    }

    fn releasedir(
        &self,
        req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.on_releasedir(asked(req, ino), fh.0, reply);
    }

    fn statfs(&self, req: &Request, ino: INodeNo, reply: ReplyStatfs) {
        self.on_statfs(asked(req, ino), reply);
    }

    fn getxattr(&self, req: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        self.on_getxattr(asked(req, ino), name.as_bytes(), size, reply);
    }

    fn listxattr(&self, req: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        self.on_listxattr(asked(req, ino), size, reply);
    }

    // What they are refused with says `refusal`.
    refused! {
        setattr(
            INodeNo, Option<u32>, Option<u32>, Option<u32>, Option<u64>, Option<TimeOrNow>,
            Option<TimeOrNow>, Option<SystemTime>, Option<FileHandle>, Option<SystemTime>,
            Option<SystemTime>, Option<SystemTime>, Option<BsdFileFlags>; ReplyAttr
        ) Setattr;
        mknod(INodeNo, &OsStr, u32, u32, u32; ReplyEntry) Mknod;
        mkdir(INodeNo, &OsStr, u32, u32; ReplyEntry) Mkdir;
        unlink(INodeNo, &OsStr; ReplyEmpty) Unlink;
        rmdir(INodeNo, &OsStr; ReplyEmpty) Rmdir;
        symlink(INodeNo, &OsStr, &Path; ReplyEntry) Symlink;
        rename(INodeNo, &OsStr, INodeNo, &OsStr, RenameFlags; ReplyEmpty) Rename;
        link(INodeNo, INodeNo, &OsStr; ReplyEntry) Link;
        create(INodeNo, &OsStr, u32, u32, i32; ReplyCreate) Create;
        write(
            INodeNo, FileHandle, u64, &[u8], WriteFlags, OpenFlags, Option<LockOwner>; ReplyWrite
        ) Write;
        fallocate(INodeNo, FileHandle, u64, u64, i32; ReplyEmpty) Fallocate;
        copy_file_range(
            INodeNo, FileHandle, u64, INodeNo, FileHandle, u64, u64, CopyFileRangeFlags; ReplyWrite
        ) CopyFileRange;
        setxattr(INodeNo, &OsStr, &[u8], i32, u32; ReplyEmpty) Setxattr;
        removexattr(INodeNo, &OsStr; ReplyEmpty) Removexattr;
        access(INodeNo, AccessFlags; ReplyEmpty) Access;
        flush(INodeNo, FileHandle, LockOwner; ReplyEmpty) Flush;
        fsync(INodeNo, FileHandle, bool; ReplyEmpty) Fsync;
        fsyncdir(INodeNo, FileHandle, bool; ReplyEmpty) Fsyncdir;
        lseek(INodeNo, FileHandle, i64, i32; ReplyLseek) Lseek;
        bmap(INodeNo, u32, u64; ReplyBmap) Bmap;
        poll(INodeNo, FileHandle, PollNotifier, PollEvents, PollFlags; ReplyPoll) Poll;
        getlk(INodeNo, FileHandle, LockOwner, u64, u64, i32, u32; ReplyLock) Getlk;
        setlk(INodeNo, FileHandle, LockOwner, u64, u64, i32, u32, bool; ReplyEmpty) Setlk;
        ioctl(INodeNo, FileHandle, IoctlFlags, u32, &[u8], u32; ReplyIoctl) Ioctl;
    }
}

//! Nothing can be changed.

use std::{
    fs::{self, File, Permissions},
    io,
    os::unix::fs::{PermissionsExt, lchown, symlink},
    path::Path,
};

use bonsaifs::fuse::Op;
use nix::{
    mount::{MsFlags, mount},
    sys::stat::{Mode, SFlag, mknod},
};

use crate::{
    mounted::{Mounted, is_root},
    tree::Tree,
};

type Change = (&'static str, Op, fn(&Path) -> io::Result<()>);

/// Every system call that changes something, with the request that it becomes.
const CHANGES: [Change; 18] = [
    ("open(O_TRUNC)", Op::Setattr, |dir| {
        let file = File::options()
            .write(true)
            .truncate(true)
            .open(dir.join("file"));
        file.map(drop)
    }),
    ("open(O_CREAT)", Op::Create, |dir| {
        File::create_new(dir.join("new")).map(drop)
    }),
    ("truncate", Op::Setattr, |dir| {
        nix::unistd::truncate(&dir.join("file"), 1).map_err(io::Error::from)
    }),
    ("mkdir", Op::Mkdir, |dir| fs::create_dir(dir.join("new"))),
    ("mknod", Op::Mknod, |dir| {
        let mode = Mode::from_bits_truncate(0o644);
        mknod(&dir.join("new"), SFlag::S_IFREG, mode, 0).map_err(io::Error::from)
    }),
    ("mkfifo", Op::Mknod, |dir| {
        let mode = Mode::from_bits_truncate(0o644);
        nix::unistd::mkfifo(&dir.join("new"), mode).map_err(io::Error::from)
    }),
    ("symlink", Op::Symlink, |dir| symlink("x", dir.join("new"))),
    ("link", Op::Link, |dir| {
        fs::hard_link(dir.join("file"), dir.join("new"))
    }),
    ("unlink", Op::Unlink, |dir| {
        fs::remove_file(dir.join("file"))
    }),
    ("rmdir", Op::Rmdir, |dir| fs::remove_dir(dir.join("dir"))),
    ("rename", Op::Rename, |dir| {
        fs::rename(dir.join("file"), dir.join("new"))
    }),
    ("chmod", Op::Setattr, |dir| {
        fs::set_permissions(dir.join("file"), Permissions::from_mode(0o600))
    }),
    ("chown", Op::Setattr, |dir| {
        lchown(dir.join("file"), Some(1), Some(1))
    }),
    ("utimensat", Op::Setattr, |dir| {
        let times = fs::FileTimes::new().set_modified(std::time::SystemTime::UNIX_EPOCH);
        File::open(dir.join("file"))?.set_times(times)
    }),
    ("setxattr", Op::Setxattr, |dir| {
        let flags = rustix::fs::XattrFlags::empty();
        Ok(rustix::fs::setxattr(
            dir.join("file"),
            "user.x",
            b"y",
            flags,
        )?)
    }),
    ("removexattr", Op::Removexattr, |dir| {
        Ok(rustix::fs::removexattr(dir.join("file"), "user.x")?)
    }),
    ("write", Op::Write, |dir| {
        use io::Write;
        File::options()
            .write(true)
            .open(dir.join("file"))?
            .write_all(b"x")
    }),
    ("fallocate", Op::Fallocate, |dir| {
        let file = File::options().write(true).open(dir.join("file"))?;
        Ok(rustix::fs::fallocate(
            file,
            rustix::fs::FallocateFlags::empty(),
            0,
            99,
        )?)
    }),
];

fn tree() -> Tree {
    let tree = Tree::new();
    tree.file(0, "file", "content");
    tree.dir(0, "dir");
    tree
}

fn assert_untouched(mount: &Mounted) {
    let mut names: Vec<_> = fs::read_dir(mount.dir())
        .expect("listed")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["dir", "file"]);
    assert_eq!(fs::read(mount.path("file")).expect("read"), b"content");
}

#[test]
fn every_change_is_refused() {
    let mount = Mounted::new(&tree());
    for (name, op, change) in CHANGES {
        let error = change(mount.dir()).expect_err(name);
        assert_eq!(error.raw_os_error(), Some(libc::EROFS), "{name}: {error}");
        assert_eq!(
            mount.count(op),
            0,
            "{name} is refused by the kernel already"
        );
    }
    assert_untouched(&mount);
}

/// Root may take the kernel's read-only flag away; then every request comes through.
#[test]
fn every_change_is_refused_even_if_root_remounts_it_writable() {
    if !is_root() {
        return;
    }
    let mounted = Mounted::new(&tree());
    // The kernel checks permissions by itself, and root's fs uid is not the files' owner.
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let none: Option<&str> = None;
    mount(none, mounted.dir(), none, flags, none).expect("root may");
    for (name, op, change) in CHANGES {
        let before = mounted.count(op);
        let error = change(mounted.dir()).expect_err(name);
        assert_eq!(error.raw_os_error(), Some(libc::EROFS), "{name}: {error}");
        // Before the kernel leaves opens alone, the first one for writing is refused itself.
        assert!(
            mounted.count(op) > before || mounted.count(Op::Open) > 0,
            "{name} was not asked"
        );
    }
    for op in [
        Op::Create,
        Op::Mkdir,
        Op::Rename,
        Op::Write,
        Op::Setattr,
        Op::Setxattr,
    ] {
        assert!(mounted.count(op) > 0, "{} never came", op.name());
    }
    assert_untouched(&mounted);
}

//! What the kernel keeps, and what it gives back.

use std::{
    ffi::OsStr,
    fs, io,
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
};

use bonsaifs::fuse::Op;
use bonsaifs_core::fs::Ino;
use fuser::InitFlags;

use crate::{
    mounted::{Mounted, Options, is_root, until},
    tree::{Mood, Tree},
};

fn small_tree() -> Tree {
    let tree = Tree::new();
    for d in 0..3 {
        let dir = tree.dir(0, format!("d{d}"));
        for f in 0..50 {
            tree.file(dir, format!("f{f}"), format!("content {f}"));
        }
    }
    tree
}

fn look_through(mount: &Mounted, dir: &str) {
    for entry in fs::read_dir(mount.path(dir)).expect("listed") {
        let entry = entry.expect("an entry");
        entry.metadata().expect("it is there");
        fs::read(entry.path()).expect("read");
    }
}

/// Panics unless `work`, done over and over, soon causes no requests but those of `free`. A few
/// tries are granted, as others on this machine may make the kernel drop its caches.
fn assert_comes_to_cost_only(mount: &Mounted, free: &[Op], work: impl Fn()) {
    let counts = || -> Vec<(Op, u64)> {
        let ops = Op::ALL.into_iter().filter(|op| !free.contains(op));
        ops.map(|op| (op, mount.count(op))).collect()
    };
    let mut last = (Vec::new(), Vec::new());
    for _ in 0..5 {
        let before = counts();
        work();
        last = (before, counts());
        if last.0 == last.1 {
            return;
        }
    }
    assert_eq!(last.0, last.1, "the kernel asks again and again");
}

fn assert_comes_to_cost_nothing(mount: &Mounted, work: impl Fn()) {
    assert_comes_to_cost_only(mount, &[], work);
}

#[test]
fn a_missing_name_is_asked_for_once() {
    let mount = Mounted::new(&small_tree());
    let missing = |name| {
        let error = fs::symlink_metadata(mount.path(name)).expect_err("not there");
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
    };
    assert_comes_to_cost_nothing(&mount, || {
        for _ in 0..10 {
            missing("nothing");
        }
    });
    let asked = mount.count(Op::Lookup);
    missing("something else");
    assert!(mount.count(Op::Lookup) > asked);
}

#[test]
fn what_was_seen_is_not_asked_for_again() {
    let mount = Mounted::new(&small_tree());
    assert_comes_to_cost_nothing(&mount, || look_through(&mount, "d0"));
}

#[test]
fn the_kernel_forgets_what_it_is_asked_to_unless_that_is_used() {
    let mount = Mounted::new(&small_tree());
    look_through(&mount, "d0");
    let ino = |path: &str| Ino(fs::metadata(mount.path(path)).expect("there").ino());
    let open = fs::File::open(mount.path("d0/f7")).expect("opened");
    let all: Vec<Ino> = (0..50).map(|f| ino(&format!("d0/f{f}"))).collect();
    assert!(mount.fs.stats().inodes > 50);
    match mount.kernel().prune(&all) {
        // Linux before 6.18.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => return,
        result => result.expect("it is asked"),
    }
    // The root, its directories that were listed, and the file that is open.
    until("it has forgotten them", || mount.fs.stats().inodes <= 5);
    assert!(mount.fs.path_of(all[7]).is_some(), "it is in use");
    assert_eq!(io::read_to_string(&open).expect("read"), "content 7");
    look_through(&mount, "d0");
}

#[test]
fn opens_are_left_to_the_kernel() {
    let mount = Mounted::new(&small_tree());
    for f in 0..50 {
        fs::read(mount.path(format!("d1/f{f}"))).expect("read");
        assert_eq!(fs::read_dir(mount.path("d1")).expect("listed").count(), 50);
    }
    assert_eq!(mount.count(Op::Open), 1, "the kernel remembers ENOSYS");
    assert_eq!(mount.count(Op::Opendir), 1);
    assert_eq!(mount.count(Op::Release) + mount.count(Op::Releasedir), 0);
    assert!(mount.count(Op::Flush) <= 1);
}

#[test]
fn opens_are_answered_where_the_kernel_wants_it() {
    let options = Options {
        without: InitFlags::FUSE_NO_OPEN_SUPPORT | InitFlags::FUSE_NO_OPENDIR_SUPPORT,
        ..Options::default()
    };
    let mount = Mounted::with(&small_tree(), options, OsStr::new("mnt"));
    for f in 0..50 {
        let data = fs::read(mount.path(format!("d1/f{f}"))).expect("read");
        assert_eq!(data, format!("content {f}").into_bytes());
        assert_eq!(fs::read_dir(mount.path("d1")).expect("listed").count(), 50);
    }
    assert_eq!(mount.count(Op::Open), 50);
    assert_eq!(mount.count(Op::Opendir), 50);
    until("every handle is given back", || {
        mount.count(Op::Release) == 50 && mount.count(Op::Releasedir) == 50
    });
    // Pages and directories are kept from open to open.
    let opens = [Op::Open, Op::Opendir, Op::Release, Op::Releasedir];
    assert_comes_to_cost_only(&mount, &opens, || look_through(&mount, "d2"));
    // Opening for writing is refused by the mount itself.
    let error = fs::File::options()
        .write(true)
        .open(mount.path("d1/f1"))
        .expect_err("read-only");
    assert_eq!(error.raw_os_error(), Some(libc::EROFS));
}

#[test]
fn no_extended_attributes_costs_one_request() {
    let mount = Mounted::new(&small_tree());
    for f in 0..20 {
        let mut buffer = [0u8; 10];
        let path = mount.path(format!("d0/f{f}"));
        let got = rustix::fs::getxattr(&path, "user.bonsai.oid", &mut buffer[..]);
        assert_eq!(got, Err(rustix::io::Errno::OPNOTSUPP));
        let listed = rustix::fs::listxattr(&path, &mut buffer[..]);
        assert!(listed == Ok(0) || listed == Err(rustix::io::Errno::OPNOTSUPP));
    }
    assert_eq!(mount.count(Op::Getxattr), 1);
    assert!(mount.count(Op::Listxattr) <= 1);
}

#[test]
fn permissions_are_the_kernels_work() {
    let mount = Mounted::new(&small_tree());
    for f in 0..20 {
        let path = mount.path(format!("d0/f{f}"));
        nix::unistd::access(&path, nix::unistd::AccessFlags::R_OK).expect("readable");
    }
    assert_eq!(mount.count(Op::Access), 0);
}

/// Makes the kernel forget what nobody uses, until this many inodes are left.
fn forget_until(what: &str, mount: &Mounted, left: u64) {
    until(what, || {
        mount.forget_unused();
        mount.fs.stats().inodes == left
    });
}

#[test]
fn every_look_up_is_given_back() {
    if !is_root() {
        return;
    }
    let tree = small_tree();
    for f in 0..30 {
        tree.sizeless(0, format!("sizeless{f}"), "x".repeat(f));
    }
    let mount = Mounted::new(&tree);
    assert_eq!(mount.fs.stats().inodes, 1);
    let look = || -> io::Result<()> {
        for entry in fs::read_dir(mount.dir())? {
            let path = entry?.path();
            if fs::symlink_metadata(&path)?.is_dir() {
                for entry in fs::read_dir(path)? {
                    entry?.metadata()?;
                }
            }
        }
        Ok(())
    };
    look().expect("all is there");
    let known = mount.fs.stats().inodes;
    assert!(known > 150, "the kernel knows {known} inodes");
    forget_until("only the root is known", &mount, 1);

    // What is open is kept, and answers.
    look().expect("all is there again");
    let file = fs::File::options()
        .read(true)
        .custom_flags(libc::O_NOATIME | libc::O_CLOEXEC)
        .open(mount.path("d0/f7"))
        .or_else(|_| fs::File::open(mount.path("d0/f7")))
        .expect("opened");
    forget_until("only an open file's path is known", &mount, 3);
    let mut buffer = [0; 9];
    file.read_exact_at(&mut buffer, 0).expect("read");
    assert_eq!(&buffer, b"content 7");
    drop(file);
    forget_until("only the root is known again", &mount, 1);
}

#[test]
fn an_open_directory_is_one_snapshot() {
    let tree = small_tree();
    let dir = tree.dir(0, "cold");
    tree.set(dir, Mood::Cold);
    for f in 0..3000 {
        tree.file(dir, format!("{f:04}"), "");
    }
    let mount = Mounted::new(&tree);
    let mut entries = fs::read_dir(mount.path("cold")).expect("listed");
    let mut names: Vec<String> = Vec::new();
    for entry in entries.by_ref().take(100) {
        names.push(
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("digits"),
        );
    }
    if is_root() {
        mount.forget_unused();
    }
    for entry in entries {
        names.push(
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("digits"),
        );
    }
    names.sort();
    let expected: Vec<String> = (0..3000).map(|f| format!("{f:04}")).collect();
    assert_eq!(names, expected);
}

//! What a mount shows.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs,
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::{FileExt, FileTypeExt, MetadataExt},
    },
    path::{Path, PathBuf},
    thread,
};

use bonsaifs::fuse::{Op, Xattrs};
use fuser::InitFlags;

use crate::{
    mounted::{Mounted, Options, is_root, until},
    tree::{Mood, TIME, Tree},
};

#[test]
fn every_attribute_is_as_promised() {
    let tree = Tree::new();
    let sub = tree.dir(0, "sub");
    tree.file(sub, "file", vec![7u8; 513]);
    tree.link(0, "link", "sub/file");
    let mount = Mounted::new(&tree);

    let file = fs::symlink_metadata(mount.path("sub/file")).expect("it is there");
    assert!(file.file_type().is_file());
    assert_eq!(file.mode() & 0o7777, 0o644);
    assert_eq!((file.size(), file.blocks(), file.blksize()), (513, 2, 4096));
    let dir = fs::symlink_metadata(mount.path("sub")).expect("it is there");
    assert!(dir.file_type().is_dir());
    assert_eq!((dir.size(), dir.blocks()), (0, 0));
    let link = fs::symlink_metadata(mount.path("link")).expect("it is there");
    assert!(link.file_type().is_symlink());
    assert_eq!(link.size(), 8);
    let root = fs::symlink_metadata(mount.dir()).expect("it is there");
    assert_eq!(root.ino(), 1);

    for meta in [&file, &dir, &link, &root] {
        assert_eq!(meta.nlink(), 1);
        assert_eq!((meta.uid(), meta.gid()), (12, 34));
        assert_eq!(meta.mtime(), TIME.secs);
        assert_eq!((meta.ctime(), meta.atime()), (TIME.secs, TIME.secs));
        assert!(!meta.file_type().is_char_device());
    }
    assert_eq!(
        fs::read(mount.path("link")).expect("it leads there"),
        [7; 513]
    );
    assert_eq!(
        fs::read_link(mount.path("link")).expect("a link"),
        Path::new("sub/file")
    );
}

#[test]
fn statfs_counts_in_blocks_of_4096() {
    let tree = Tree::new();
    let mount = Mounted::new(&tree);
    let stat = nix::sys::statvfs::statvfs(mount.dir()).expect("answered");
    assert_eq!((stat.block_size(), stat.fragment_size()), (4096, 4096));
    assert_eq!(stat.blocks(), 2);
    assert_eq!((stat.blocks_free(), stat.blocks_available()), (0, 0));
    assert_eq!((stat.files(), stat.files_free()), (12, 0));
    assert_eq!(stat.name_max(), 255);
}

#[test]
fn reads_at_any_offset_are_what_the_file_has() {
    let tree = Tree::new();
    let data: Vec<u8> = (0..3_000_000u32).map(|i| ((i * 31) >> 3) as u8).collect();
    let cold = tree.file(0, "cold", data.clone());
    tree.file(0, "warm", data.clone());
    tree.file(0, "empty", "");
    tree.set(cold, Mood::Cold);
    let mount = Mounted::new(&tree);
    for name in ["cold", "warm"] {
        let file = fs::File::open(mount.path(name)).expect("opened");
        for (offset, len) in [
            (2_999_990, 100),
            (0, 1),
            (4095, 2),
            (1 << 20, 1 << 20),
            (0, 0),
        ] {
            let mut buffer = vec![0; len];
            let read = file.read_at(&mut buffer, offset as u64).expect("read");
            let end = data.len().min(offset + len);
            assert_eq!(buffer[..read], data[offset..end], "{name} at {offset}");
        }
        let mut buffer = [0; 10];
        assert_eq!(file.read_at(&mut buffer, 1 << 40).expect("past the end"), 0);
        assert_eq!(fs::read(mount.path(name)).expect("read"), data);
    }
    assert!(fs::read(mount.path("empty")).expect("read").is_empty());
}

/// Every path below `dir` with what is there.
fn walk(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).expect("listed") {
        let path = entry.expect("an entry").path();
        let kind = fs::symlink_metadata(&path)
            .expect("it is there")
            .file_type();
        let content = if kind.is_dir() {
            found.extend(walk(&path));
            b"a directory".to_vec()
        } else if kind.is_symlink() {
            let target = fs::read_link(&path).expect("a target");
            target.into_os_string().into_vec()
        } else {
            fs::read(&path).expect("its content")
        };
        found.insert(path, content);
    }
    found
}

/// A tree with a bit of everything, and what a walk of it finds.
fn forest(tree: &Tree) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut expected = BTreeMap::new();
    for d in 0..20 {
        let name = format!("dir{d}");
        let dir = tree.dir(0, &name);
        let path = PathBuf::from(&name);
        for f in 0..30 {
            let name =
                OsString::from_vec(format!("f{f}\u{e9}").into_bytes()[..3 + f / 10].to_vec());
            let data = format!("{d} {f}").repeat(f * 40);
            let id = tree.file(dir, name.as_bytes(), data.clone());
            if f % 3 == 0 {
                tree.set(id, Mood::Cold);
            }
            expected.insert(path.join(name), data.into_bytes());
        }
        tree.link(dir, "link", format!("f{d}"));
        expected.insert(path.join("link"), format!("f{d}").into_bytes());
        if d % 2 == 0 {
            tree.set(dir, Mood::Cold);
        }
        expected.insert(path, b"a directory".to_vec());
    }
    expected
}

#[test]
fn many_threads_see_the_same_tree() {
    let tree = Tree::new();
    let expected = forest(&tree);
    let mount = Mounted::new(&tree);
    let expected: BTreeMap<PathBuf, Vec<u8>> = expected
        .into_iter()
        .map(|(path, content)| (mount.path(path), content))
        .collect();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..3 {
                    assert!(walk(mount.dir()) == expected, "a different tree");
                }
            });
        }
    });
    assert_eq!(mount.failures.count(), 0, "{:?}", mount.failures.last());
}

#[test]
fn a_large_directory_has_each_entry_once() {
    let tree = Tree::new();
    let dir = tree.dir(0, "large");
    for i in 0..20_000 {
        tree.file(dir, format!("entry number {i}"), "");
    }
    // With readdirplus and without.
    for without in [InitFlags::empty(), InitFlags::FUSE_DO_READDIRPLUS] {
        let options = Options {
            without,
            ..Options::default()
        };
        let mount = Mounted::with(&tree, options, OsStr::new("mnt"));
        let names: Vec<OsString> = fs::read_dir(mount.path("large"))
            .expect("listed")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        let mut unique = names.clone();
        unique.sort();
        unique.dedup();
        assert_eq!((names.len(), unique.len()), (20_000, 20_000));
        let plus = mount.count(Op::Readdirplus);
        assert_eq!(plus > 0, without.is_empty(), "{plus} with attributes");
    }
}

#[test]
fn names_and_mount_points_are_any_bytes() {
    let tree = Tree::new();
    let name = OsStr::from_bytes(b"na me\n\xff\\");
    tree.file(0, name.as_bytes(), "x");
    for point in [
        &b"sp ace"[..],
        b"new\nline",
        b"\xff\xfe",
        b"back\\slash,comma",
    ] {
        let mount = Mounted::with(&tree, Options::default(), OsStr::from_bytes(point));
        assert_eq!(fs::read(mount.path(name)).expect("read"), b"x");
        let listed: Vec<OsString> = fs::read_dir(mount.dir())
            .expect("listed")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        assert_eq!(listed, [name]);
        let dir = mount.dir().to_owned();
        drop(mount);
        assert!(!dir.exists(), "the mount point is removed once it is free");
    }
}

#[test]
fn a_name_that_the_kernel_refuses_does_not_hide_the_others() {
    let tree = Tree::new();
    tree.file(0, "a", "");
    tree.file(0, "b".repeat(1025), "");
    tree.file(0, "c", "");
    for without in [InitFlags::empty(), InitFlags::FUSE_DO_READDIRPLUS] {
        let options = Options {
            without,
            ..Options::default()
        };
        let mount = Mounted::with(&tree, options, OsStr::new("mnt"));
        let mut listed: Vec<OsString> = fs::read_dir(mount.dir())
            .expect("listed")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        listed.sort();
        assert_eq!(listed, ["a", "c"]);
        if is_root() {
            until("the hidden entry is given back too", || {
                mount.forget_unused();
                mount.fs.stats().inodes == 1
            });
        }
    }
}

#[test]
fn targets_of_links_are_any_bytes_up_to_the_systems_limit() {
    let tree = Tree::new();
    tree.link(0, "bytes", &b"\xff \n"[..]);
    tree.link(0, "longest", "x".repeat(4095));
    tree.link(0, "too long", "x".repeat(4096));
    let mount = Mounted::new(&tree);
    let target =
        |name| fs::read_link(mount.path(name)).map(|path| path.into_os_string().into_vec());
    assert_eq!(target("bytes").expect("a target"), b"\xff \n");
    assert_eq!(target("longest").expect("a target").len(), 4095);
    let error = target("too long").expect_err("no process can have it");
    assert_eq!(error.raw_os_error(), Some(libc::ENAMETOOLONG));
}

#[test]
fn extended_attributes_are_answered_if_wanted() {
    let tree = Tree::new();
    let file = tree.file(0, "file", "x");
    tree.link(0, "link", "file");
    let options = Options {
        xattrs: Xattrs::On,
        ..Options::default()
    };
    let mount = Mounted::with(&tree, options, OsStr::new("mnt"));
    let get = |name: &str, room: usize| {
        let mut buffer = vec![0; room];
        let length = rustix::fs::getxattr(mount.path("file"), name, &mut buffer)?;
        buffer.truncate(length);
        rustix::io::Result::Ok(buffer)
    };
    let number = file.to_string().into_bytes();
    assert_eq!(get("user.test.number", 99), Ok(number.clone()));
    assert_eq!(get("user.test.empty", 99), Ok(Vec::new()));
    assert_eq!(get("user.test.none", 99), Err(rustix::io::Errno::NODATA));
    let length = rustix::fs::getxattr_query(mount.path("file"), "user.test.number");
    assert_eq!(length, Ok(number.len()), "a size of 0 asks how long it is");

    let mut names = [0u8; 99];
    let length = rustix::fs::listxattr(mount.path("file"), &mut names[..]).expect("listed");
    assert_eq!(&names[..length], b"user.test.number\0user.test.empty\0");
    let short = rustix::fs::listxattr(mount.path("file"), &mut names[..3]);
    assert_eq!(short, Err(rustix::io::Errno::RANGE));
}

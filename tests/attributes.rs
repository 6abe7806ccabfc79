//! What `stat`, `statfs`, `readdir` and extended attributes say, and that nothing can be changed.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs, io,
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::{DirEntryExt, MetadataExt},
    },
    path::{Path, PathBuf},
};

use bonsai_testkit::{
    Bonsai, Files, GitServer, Mounted, Repo, Specimen,
    process::mount_at,
    repo::COMMIT_TIME,
    specimens,
    syscalls::{figures, mutations, xattr, xattr_names},
};

fn bonsai() -> Bonsai {
    Bonsai::new(env!("CARGO_BIN_EXE_bonsai"))
}

/// Every path of the mount with its `lstat`, the mount point itself as an empty path.
fn all_stats(mount: &Mounted<'_>) -> BTreeMap<PathBuf, fs::Metadata> {
    let mut stats = BTreeMap::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(path) = pending.pop() {
        let stat = fs::symlink_metadata(mount.path(&path)).expect("lstat");
        if stat.is_dir() {
            for entry in fs::read_dir(mount.path(&path)).expect("readdir") {
                pending.push(path.join(entry.expect("an entry").file_name()));
            }
        }
        stats.insert(path, stat);
    }
    stats
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn times_are_the_commits() {
    let repo = Repo::new();
    repo.commit(&specimens::small_files());
    let tree = repo.oid("main^{tree}");
    // The epoch, the usual, the last second of 32 bits, and one that needs more.
    for time in [0, COMMIT_TIME, 2_147_483_647, 8_589_934_592] {
        let commit = repo.commit_at(&tree, time);
        repo.point_main(&commit);
        let bonsai = bonsai();
        let mount = bonsai.mount(repo.path(), &[]);
        for (path, stat) in all_stats(&mount) {
            assert_eq!((stat.mtime(), stat.mtime_nsec()), (time, 0), "{path:?}");
            assert_eq!((stat.ctime(), stat.ctime_nsec()), (time, 0), "{path:?}");
        }
        mount.unmount();
    }
}

#[test]
fn the_committers_time_counts_not_the_authors() {
    let repo = Repo::new();
    repo.commit(&specimens::small_files());
    let tree = repo.oid("main^{tree}");
    let text = format!(
        "tree {tree}\nauthor A <a@example.org> 1000 +0200\ncommitter C <c@example.org> 2000 -0700\n\nx\n"
    );
    let commit = repo.raw("commit", text.as_bytes());
    repo.point_main(&commit);
    let bonsai = bonsai();
    let mount = bonsai.mount(repo.path(), &[]);
    let stat = fs::metadata(mount.path("README.md")).expect("stat");
    assert_eq!(stat.mtime(), 2000);
    mount.unmount();
}

#[test]
fn owner_links_modes_and_blocks() {
    let specimen = specimens::plain();
    let bonsai = bonsai();
    let mount = bonsai.mount(specimen.repo.path(), &[]);
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    for (path, stat) in all_stats(&mount) {
        assert_eq!(stat.uid(), uid.as_raw(), "{path:?}");
        assert_eq!(stat.gid(), gid.as_raw(), "{path:?}");
        assert_eq!(stat.nlink(), 1, "{path:?}");
        assert_eq!(stat.blocks(), stat.size().div_ceil(512), "{path:?}");
        assert!(stat.blksize() >= 4096, "{path:?}");
        let permissions = stat.mode() & 0o7777;
        let expected = if stat.is_symlink() {
            0o777
        } else if stat.is_dir() || path == Path::new("run.sh") {
            0o755
        } else {
            0o644
        };
        assert_eq!(permissions, expected, "{path:?}");
    }
    mount.unmount();
}

#[test]
fn inode_numbers_are_unique_and_survive_a_remount() {
    let specimen = specimens::plain();
    let server = GitServer::start(specimen.repo.root()).expect("a server");
    let folder = specimen.repo.path().display().to_string();
    let mut seen = Vec::new();
    // The same tree by two ways, with caches of their own; one of them twice.
    for source in [folder.clone(), server.url(&specimen.repo.served()), folder] {
        let bonsai = bonsai();
        let mount = bonsai.mount(&source, &[]);
        let stats = all_stats(&mount);
        let numbers: BTreeMap<PathBuf, u64> = stats
            .iter()
            .map(|(path, stat)| (path.clone(), stat.ino()))
            .collect();
        let unique: BTreeSet<u64> = numbers.values().copied().collect();
        assert_eq!(unique.len(), numbers.len(), "no number twice");
        assert_eq!(numbers[Path::new("")], 1, "the root");
        seen.push(numbers);
        mount.unmount();
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0], seen[2]);
}

#[test]
fn readdir_and_lstat_agree_on_numbers_and_kinds() {
    let specimen = specimens::plain();
    let bonsai = bonsai();
    let mount = bonsai.mount(specimen.repo.path(), &[]);
    for dir in ["", "src", "src/modules"] {
        for entry in fs::read_dir(mount.path(dir)).expect("readdir") {
            let entry = entry.expect("an entry");
            let stat = fs::symlink_metadata(entry.path()).expect("lstat");
            assert_eq!(entry.ino(), stat.ino(), "{entry:?}");
            assert_eq!(
                entry.file_type().expect("a kind"),
                stat.file_type(),
                "{entry:?}"
            );
        }
    }
    mount.unmount();
}

#[test]
fn a_directory_read_twice_is_the_same_twice() {
    let specimen = specimens::large_directory(3000);
    let bonsai = bonsai();
    let mount = bonsai.mount(specimen.repo.path(), &[]);
    let read = || -> Vec<Vec<u8>> {
        fs::read_dir(mount.path("large"))
            .expect("readdir")
            .map(|entry| entry.expect("an entry").file_name().into_vec())
            .collect()
    };
    let first = read();
    assert_eq!(first.len(), 3000);
    assert!(first.is_sorted(), "in the order of names");
    assert_eq!(first, read());
    mount.unmount();
}

#[test]
fn any_change_is_refused_as_read_only() {
    let repo = Repo::new();
    let inner = Files::new()
        .file("dir/file", "content")
        .symlink("dir/link", "file")
        .file("dir/sub/inner", "x");
    repo.commit(&inner);
    let bonsai = bonsai();
    let mount = bonsai.mount(repo.path(), &["--xattr"]);
    let dir = mount.path("dir");
    for (name, mutate) in mutations() {
        let error = mutate(&dir).expect_err(name);
        assert_eq!(error.raw_os_error(), Some(libc::EROFS), "{name}: {error}");
    }
    assert_eq!(fs::read(dir.join("file")).expect("read"), b"content");
    mount.unmount();
}

#[test]
fn without_xattrs_any_change_is_refused_too() {
    let repo = Repo::new();
    let inner = Files::new()
        .file("dir/file", "content")
        .symlink("dir/link", "file")
        .file("dir/sub/inner", "x");
    repo.commit(&inner);
    let bonsai = bonsai();
    let mount = bonsai.mount(repo.path(), &[]);
    for (name, mutate) in mutations() {
        let error = mutate(&mount.path("dir")).expect_err(name);
        assert_eq!(error.raw_os_error(), Some(libc::EROFS), "{name}: {error}");
    }
    mount.unmount();
}

#[test]
fn what_is_not_there_is_not_found_and_costs_no_request() {
    let specimen = specimens::plain();
    let server = GitServer::start(specimen.repo.root()).expect("a server");
    let bonsai = bonsai();
    let mount = bonsai.mount(server.url(&specimen.repo.served()), &[]);
    // Its size is asked for when it is looked up, and so are those of no others.
    fs::symlink_metadata(mount.path("README.md")).expect("it is there");
    let requests = server.totals().requests;
    let errno = |path: &str| {
        let error = fs::symlink_metadata(mount.path(path)).expect_err(path);
        error.raw_os_error()
    };
    for _ in 0..2 {
        assert_eq!(errno("nothing"), Some(libc::ENOENT));
        assert_eq!(errno("src/nothing"), Some(libc::ENOENT));
        assert_eq!(errno("nothing/below"), Some(libc::ENOENT));
        assert_eq!(errno("readme.md"), Some(libc::ENOENT), "case matters");
        assert_eq!(errno("README.md/below"), Some(libc::ENOTDIR));
        assert_eq!(errno(&"n".repeat(256)), Some(libc::ENAMETOOLONG));
        assert_eq!(errno(".git"), Some(libc::ENOENT));
    }
    assert_eq!(server.totals().requests, requests);
    mount.unmount();
}

#[test]
fn wrong_operations_have_their_errno() {
    let specimen = specimens::plain();
    let bonsai = bonsai();
    let mount = bonsai.mount(specimen.repo.path(), &[]);
    let errno = |result: io::Result<()>| result.expect_err("an error").raw_os_error();
    let read = |path: &str| fs::read(mount.path(path)).map(drop);
    assert_eq!(errno(read("src")), Some(libc::EISDIR));
    let link = fs::read_link(mount.path("README.md")).map(drop);
    assert_eq!(errno(link), Some(libc::EINVAL));
    let list = fs::read_dir(mount.path("README.md")).map(drop);
    assert_eq!(errno(list), Some(libc::ENOTDIR));
    mount.unmount();
}

#[test]
fn a_symlink_target_too_long_for_linux() {
    let repo = Repo::new();
    let files = Files::new()
        .symlink("long", vec![b'a'; 4096])
        .file("beside", "x");
    repo.commit(&files);
    let bonsai = bonsai();
    let mount = bonsai.mount(repo.path(), &[]);
    let error = fs::read_link(mount.path("long")).expect_err("too long");
    assert_eq!(error.raw_os_error(), Some(libc::ENAMETOOLONG));
    let stat = fs::symlink_metadata(mount.path("long")).expect("lstat");
    assert!(stat.is_symlink());
    assert_eq!(fs::read(mount.path("beside")).expect("read"), b"x");
    mount.unmount();
}

#[test]
fn figures_of_the_file_system() {
    let specimen = specimens::plain();
    let bonsai = bonsai();
    let mount = bonsai.mount(specimen.repo.path(), &[]);
    fs::read(mount.path("bin.dat")).expect("read");
    let figures = figures(mount.dir()).expect("statvfs");
    assert!(figures.read_only);
    assert_eq!(figures.longest_name, 255);
    assert_eq!((figures.free, figures.files_free), (0, 0));
    assert!(figures.unit > 0 && figures.files > 0, "{figures:?}");
    let point = mount_at(mount.dir()).expect("in the mount table");
    assert!(point.kind.starts_with("fuse"), "{point:?}");
    for option in ["ro", "nosuid", "nodev"] {
        assert!(
            point.options.iter().any(|given| given == option),
            "{point:?}"
        );
    }
    mount.unmount();
}

#[test]
fn without_the_flag_there_are_no_xattrs() {
    let specimen = specimens::plain();
    let bonsai = bonsai();
    let mount = bonsai.mount(specimen.repo.path(), &[]);
    let path = mount.path("README.md");
    let unsupported = xattr(&path, "user.bonsai.oid").expect_err("no attributes");
    assert_eq!(unsupported.raw_os_error(), libc::EOPNOTSUPP);
    // The kernel takes "not supported" of listing for an empty list, or says it.
    assert!(xattr_names(&path).unwrap_or_default().is_empty());
    mount.unmount();
}

#[test]
fn with_the_flag_xattrs_tell_object_commit_and_place() {
    let specimen = specimens::plain();
    // A server that tells sizes: otherwise looking a file up fetches it, for its size.
    let builder = GitServer::builder(specimen.repo.root());
    let server = builder.object_info().start().expect("a server");
    let bonsai = bonsai();
    let mount = bonsai.mount(server.url(&specimen.repo.served()), &["--xattr"]);
    let names = [
        "user.bonsai.commit",
        "user.bonsai.content",
        "user.bonsai.oid",
    ];
    for (path, revision) in [
        ("README.md", "HEAD:README.md"),
        ("src/modules", "HEAD:src/modules"),
        ("", "HEAD^{tree}"),
    ] {
        let at = mount.path(path);
        assert_eq!(xattr_names(&at).expect("names"), names, "{path}");
        let value = |name: &str| {
            let value = xattr(&at, name).unwrap_or_else(|error| panic!("{name}: {error}"));
            String::from_utf8(value).expect("text")
        };
        assert_eq!(value("user.bonsai.oid"), specimen.repo.oid(revision));
        assert_eq!(value("user.bonsai.commit"), specimen.commit);
    }
    let file = mount.path("src/deep/er/file.txt");
    let place = || xattr(&file, "user.bonsai.content").expect("a place");
    assert_eq!(place(), b"not fetched");
    fs::read(&file).expect("read");
    assert_ne!(place(), b"not fetched");
    let missing = xattr(&file, "user.bonsai.nothing").expect_err("no such attribute");
    assert_eq!(missing.raw_os_error(), libc::ENODATA);
    mount.unmount();
}

/// `bonsai info --json` of a path.
fn info(bonsai: &Bonsai, path: &Path) -> serde_json::Value {
    json(&bonsai.ok([OsStr::new("info"), path.as_os_str(), OsStr::new("--json")]))
}

#[test]
fn info_tells_object_commit_size_and_place() {
    let specimen = specimens::plain();
    let server = GitServer::start(specimen.repo.root()).expect("a server");
    let bonsai = bonsai();
    let mount = bonsai.mount(server.url(&specimen.repo.served()), &[]);
    let file = mount.path("src/deep/er/file.txt");
    let requests = server.totals().requests;
    let before = info(&bonsai, &file);
    assert_eq!(
        before["oid"],
        specimen.repo.oid("HEAD:src/deep/er/file.txt")
    );
    assert_eq!(before["commit"], specimen.commit.as_str());
    assert_eq!(before["content"], "not fetched");
    assert!(before["size"].is_null(), "{before}");
    assert_eq!(server.totals().requests, requests, "info fetches nothing");
    let data = fs::read(&file).expect("read");
    let after = info(&bonsai, &file);
    assert_eq!(after["size"], data.len());
    assert!(
        after["content"] == "memory" || after["content"] == "disk",
        "{after}"
    );
    // A symlink is itself, not what it points to.
    let link = info(&bonsai, &mount.path("latest"));
    assert_eq!(link["oid"], specimen.repo.oid("HEAD:latest"));
    assert_ne!(
        link["kind"],
        info(&bonsai, &mount.path("src/deep/er"))["kind"]
    );
    // For people: the same, as text.
    let text = bonsai.ok([OsStr::new("info"), file.as_os_str()]);
    assert!(
        text.contains(&specimen.repo.oid("HEAD:src/deep/er/file.txt")),
        "{text}"
    );
    assert!(text.contains(&specimen.commit), "{text}");
    mount.unmount();
}

#[test]
fn info_of_a_local_source_says_here() {
    let specimen = specimens::plain();
    let bonsai = bonsai();
    let mount = bonsai.mount(specimen.repo.path(), &[]);
    let file = info(&bonsai, &mount.path("README.md"));
    assert_eq!(file["content"], "here");
    assert_eq!(file["size"], 18);
    mount.unmount();
}

#[test]
fn info_takes_names_of_any_bytes() {
    let specimen: Specimen = specimens::names();
    let bonsai = bonsai();
    let mount = bonsai.mount(specimen.repo.path(), &[]);
    for name in [
        b"\xff\xfe\x80 not UTF-8".as_slice(),
        b"new\nline",
        b"--flag",
    ] {
        let path = mount.path(OsStr::from_bytes(name));
        let told = info(&bonsai, &path);
        assert!(told["oid"].is_string(), "{told}");
    }
    mount.unmount();
}

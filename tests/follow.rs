//! Mounts that follow a ref: what changes, what stays, and what a failed refresh leaves.

use std::{
    fs::{self, File},
    io::Read,
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
};

use bonsai_testkit::{Bonsai, Files, GitServer, Repo, server::Logged};

const MANUAL: [&str; 2] = ["--follow", "manual"];

fn bonsai() -> Bonsai {
    Bonsai::new(env!("CARGO_BIN_EXE_bonsai"))
}

fn refresh(bonsai: &Bonsai, dir: &Path) -> serde_json::Value {
    let words = ["refresh".as_ref(), "--json".as_ref(), dir.as_os_str()];
    serde_json::from_str(&bonsai.ok(words)).expect("JSON")
}

fn status(bonsai: &Bonsai, dir: &Path) -> serde_json::Value {
    let words = ["status".as_ref(), "--json".as_ref(), dir.as_os_str()];
    serde_json::from_str(&bonsai.ok(words)).expect("JSON")
}

/// Names in the order in which they are read.
fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("a directory");
    let name = |entry: std::io::Result<fs::DirEntry>| {
        let name = entry.expect("an entry").file_name();
        name.into_string().expect("UTF-8")
    };
    entries.map(name).collect()
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).expect("a file")
}

fn ino(path: impl AsRef<Path>) -> u64 {
    fs::symlink_metadata(path).expect("it is there").ino()
}

fn old_tree() -> Files {
    Files::new()
        .file("same", "same\n")
        .file("changes", "old\n")
        .file("goes", "goes\n")
        .file("kind", "a file\n")
        .file("sub/same", "sub same\n")
        .file("sub/changes", "sub old\n")
        .file("still/deep/same", "deep\n")
        .file("gone/in", "in\n")
        .symlink("link", "same")
}

fn new_tree() -> Files {
    Files::new()
        .file("same", "same\n")
        .file("changes", "new and longer\n")
        .file("comes", "comes\n")
        .file("kind/now", "a directory\n")
        .file("sub/same", "sub same\n")
        .file("sub/changes", "sub new\n")
        .file("sub/added/x", "x\n")
        .file("still/deep/same", "deep\n")
        .symlink("link", "changes")
}

/// Looks at all there is, so that the kernel keeps it; absent names too.
fn look_at_all(dir: &Path) {
    for _ in 0..2 {
        for name in [
            "same",
            "changes",
            "goes",
            "comes",
            "kind",
            "link",
            "sub/added",
        ] {
            let _ = fs::symlink_metadata(dir.join(name));
            let _ = fs::read(dir.join(name));
        }
        for below in ["", "sub", "still", "still/deep", "gone"] {
            for name in names(&dir.join(below)) {
                let _ = fs::metadata(dir.join(below).join(name));
            }
        }
    }
}

fn assert_is_new(dir: &Path) {
    let all = ["changes", "comes", "kind", "link", "same", "still", "sub"];
    assert_eq!(names(dir), all);
    assert_eq!(names(&dir.join("sub")), ["added", "changes", "same"]);
    assert_eq!(read(dir.join("changes")), "new and longer\n");
    assert_eq!(read(dir.join("comes")), "comes\n");
    assert_eq!(read(dir.join("kind/now")), "a directory\n");
    assert_eq!(read(dir.join("sub/changes")), "sub new\n");
    assert_eq!(read(dir.join("sub/added/x")), "x\n");
    assert_eq!(read(dir.join("same")), "same\n");
    let link = fs::read_link(dir.join("link")).expect("a link");
    assert_eq!(link, Path::new("changes"));
    for gone in ["goes", "gone", "gone/in"] {
        fs::symlink_metadata(dir.join(gone)).expect_err("it is gone");
    }
}

fn a_refresh_shows_the_new_commit(source: impl AsRef<std::ffi::OsStr>, repo: &Repo, old: &str) {
    let bonsai = bonsai();
    let mount = bonsai.mount(source, &MANUAL);
    let dir = mount.dir().to_owned();
    look_at_all(&dir);
    let stays = ["", "same", "sub", "sub/same", "still", "still/deep/same"];
    let numbers: Vec<u64> = stays.iter().map(|name| ino(dir.join(name))).collect();
    let open = File::open(dir.join("changes")).expect("a file");
    let removed = File::open(dir.join("goes")).expect("a file");
    let mut stream = fs::read_dir(&dir).expect("a directory");
    let first = stream.next().expect("an entry").expect("an entry");
    assert_eq!(first.file_name(), "changes");
    // It keeps the stream open.
    drop(first);

    let said = refresh(&bonsai, &dir);
    assert_eq!((&said["moved"], &said["old"]), (&false.into(), &old.into()));
    let new = repo.commit(&new_tree());
    let said = refresh(&bonsai, &dir);
    assert_eq!(said["moved"], true);
    assert_eq!(
        (&said["old"], &said["new"]),
        (&old.into(), &new.as_str().into())
    );
    assert_is_new(&dir);
    let after: Vec<u64> = stays.iter().map(|name| ino(dir.join(name))).collect();
    assert_eq!(after, numbers, "what is the same has the same number");
    // What was open is what it was.
    let mut bytes = [0; 100];
    let length = open.read_at(&mut bytes, 0).expect("old bytes");
    assert_eq!(&bytes[..length], b"old\n");
    let mut text = String::new();
    (&removed).read_to_string(&mut text).expect("old bytes");
    assert_eq!(text, "goes\n");
    let rest: Vec<_> = stream
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert_eq!(
        rest,
        ["goes", "gone", "kind", "link", "same", "still", "sub"]
    );
    // The end of an old stream changes nothing for a new one.
    assert_is_new(&dir);
    let told = status(&bonsai, &dir);
    assert_eq!(told["commit"], new.as_str());
    assert!(told["follow"]["refreshed_seconds_ago"].is_u64(), "{told}");

    // And back, as a forced push may do.
    repo.point_main(old);
    let said = refresh(&bonsai, &dir);
    assert_eq!(said["new"], old);
    assert_eq!(read(dir.join("changes")), "old\n");
    assert_eq!(read(dir.join("kind")), "a file\n");
    assert_eq!(read(dir.join("gone/in")), "in\n");
    assert_eq!(names(&dir.join("sub")), ["changes", "same"]);
    fs::metadata(dir.join("comes")).expect_err("it is gone again");
    let line = bonsai.ok(["refresh".as_ref(), dir.as_os_str()]);
    assert!(line.contains(": already at main "), "{line}");
    drop((open, removed));
    mount.unmount();
}

#[test]
fn a_local_repository() {
    let repo = Repo::new();
    let old = repo.commit(&old_tree());
    a_refresh_shows_the_new_commit(repo.path(), &repo, &old);
}

#[test]
fn over_http() {
    let repo = Repo::new();
    let old = repo.commit(&old_tree());
    let server = GitServer::start(repo.root()).expect("a server");
    a_refresh_shows_the_new_commit(server.url("repo.git"), &repo, &old);
}

/// What `make` and `git status` go by: what changed is newer than what was built before, and what
/// did not change is as it was, also where the kernel never saw it.
#[test]
fn what_changed_has_the_time_of_the_refresh_and_the_rest_keeps_its_own() {
    let time = |path: &Path| {
        let meta = fs::symlink_metadata(path).expect("it is there");
        (meta.mtime(), meta.mtime_nsec())
    };
    let repo = Repo::new();
    let old = repo.commit(&old_tree());
    let bonsai = bonsai();
    let mount = bonsai.mount(repo.path(), &MANUAL);
    let first = time(mount.dir());
    repo.commit(&new_tree());
    let began = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970");
    refresh(&bonsai, mount.dir());
    let same = ["same", "sub/same", "still", "still/deep", "still/deep/same"];
    let changed = [
        "",
        "changes",
        "comes",
        "kind",
        "kind/now",
        "link",
        "sub",
        "sub/changes",
        "sub/added",
        "sub/added/x",
    ];
    for name in same {
        assert_eq!(time(&mount.path(name)), first, "{name}");
    }
    let second = time(mount.dir());
    assert!(second.0 >= began.as_secs() as i64, "{second:?}");
    for name in changed {
        assert_eq!(time(&mount.path(name)), second, "{name}");
    }
    // Back: what changes back is newer still, and what only the first step changed stays.
    let half = Files::new()
        .file("changes", "old\n")
        .file("comes", "comes\n");
    let half = half.file("same", "same\n").file("sub/added/x", "x\n");
    repo.commit(&half);
    refresh(&bonsai, mount.dir());
    assert_eq!(time(&mount.path("same")), first);
    for name in ["comes", "sub/added", "sub/added/x"] {
        assert_eq!(time(&mount.path(name)), second, "{name}");
    }
    let third = time(mount.dir());
    assert!(third > second, "{third:?} {second:?}");
    for name in ["changes", "sub"] {
        assert_eq!(time(&mount.path(name)), third, "{name}");
    }
    repo.point_main(&old);
    refresh(&bonsai, mount.dir());
    assert_eq!(time(&mount.path("same")), first);
    assert!(time(&mount.path("sub/same")) > third);
    mount.unmount();
}

/// More entries than the C library reads ahead.
#[test]
fn an_open_directory_stream_keeps_the_old_commit() {
    let many = |text: &str, from: u32| {
        let mut files = Files::new().file("other", text);
        for number in from..from + 5000 {
            files.add_file(format!("dir/a-name-of-some-length-{number:05}"), text);
        }
        files
    };
    let repo = Repo::new();
    repo.commit(&many("old", 0));
    let bonsai = bonsai();
    let mount = bonsai.mount(repo.path(), &MANUAL);
    let dir = mount.path("dir");
    let before = names(&dir);
    let mut stream = fs::read_dir(&dir).expect("a directory");
    let idle = fs::read_dir(&dir).expect("a directory");
    let mut seen: Vec<String> = Vec::new();
    let name = |entry: std::io::Result<fs::DirEntry>| {
        entry
            .expect("an entry")
            .file_name()
            .into_string()
            .expect("UTF-8")
    };
    seen.push(name(stream.next().expect("an entry")));
    repo.commit(&many("new", 2500));
    refresh(&bonsai, mount.dir());
    let after = names(&dir);
    assert_eq!(after.len(), 5000);
    assert_eq!(after[0], "a-name-of-some-length-02500");
    seen.extend(stream.map(name));
    assert_eq!(seen, before);
    // One that had not begun to read has its snapshot all the same, and leaves nothing of it with
    // the kernel.
    assert_eq!(idle.map(name).collect::<Vec<_>>(), before);
    assert_eq!(names(&dir), after);
    fs::metadata(dir.join(&before[0])).expect_err("it is gone");
    assert_eq!(read(dir.join(&after[0])), "new");
    mount.unmount();
}

/// A look-up that the switch overtakes must not leave the old answer with the kernel.
#[test]
fn readers_during_refreshes_see_one_commit_or_the_other_and_the_new_one_after() {
    let tree = |n: u32| {
        let mut files = Files::new();
        for dir in 0..8 {
            files.add_file(format!("d{dir}/file"), format!("{n}\n"));
            files.add_file(format!("d{dir}/only{n}"), "here\n");
            files.add_file(format!("d{dir}/same"), "same\n");
        }
        files
    };
    let repo = Repo::new();
    repo.commit(&tree(0));
    let bonsai = bonsai();
    let mount = bonsai.mount(repo.path(), &MANUAL);
    let dir = mount.dir().to_owned();
    let end = std::sync::atomic::AtomicBool::new(false);
    let is_over = || end.load(std::sync::atomic::Ordering::Relaxed);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !is_over() {
                    for number in 0..8 {
                        let at = dir.join(format!("d{number}"));
                        read(at.join("file"))
                            .trim()
                            .parse::<u32>()
                            .expect("a number");
                        assert_eq!(read(at.join("same")), "same\n");
                        assert_eq!(names(&at).len(), 3);
                        for n in 0..12 {
                            let _ = fs::metadata(at.join(format!("only{n}")));
                        }
                    }
                }
            });
        }
        for n in 1..12 {
            repo.commit(&tree(n));
            refresh(&bonsai, &dir);
            for number in 0..8 {
                let at = dir.join(format!("d{number}"));
                assert_eq!(read(at.join("file")), format!("{n}\n"));
                let only = format!("only{n}");
                assert_eq!(names(&at), ["file", &only, "same"]);
                fs::metadata(at.join(&only)).expect("it came");
                let before = at.join(format!("only{}", n - 1));
                fs::metadata(before).expect_err("it is gone");
            }
        }
        end.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    mount.unmount();
}

#[test]
fn only_changed_trees_are_fetched_in_one_request() {
    let many = |text: &str| {
        let mut files = Files::new().file("a/b/c/d", text);
        for number in 0..200 {
            files.add_file(format!("dir{number}/file"), format!("{number}\n"));
        }
        files
    };
    let repo = Repo::new();
    repo.commit(&many("old"));
    let server = GitServer::start(repo.root()).expect("a server");
    let bonsai = bonsai();
    let mount = bonsai.mount(server.url("repo.git"), &MANUAL);
    let objects = |bonsai: &Bonsai| status(bonsai, mount.dir())["origin"]["objects"].clone();
    // A look that finds nothing new is one request.
    refresh(&bonsai, mount.dir());
    server.reset();
    refresh(&bonsai, mount.dir());
    assert_eq!(server.log_of("ls-refs").len(), 1);
    assert_eq!(server.log_of("fetch").len(), 0);
    let before = objects(&bonsai).as_u64().expect("a number");
    let new = repo.commit(&many("new"));
    server.reset();
    refresh(&bonsai, mount.dir());
    assert_eq!(server.log_of("ls-refs").len(), 1);
    let fetches = server.log_of("fetch");
    assert_eq!(fetches.len(), 1);
    assert_eq!(Logged::wants(&fetches[0]), [new]);
    // The commit, its root and three directories.
    let after = objects(&bonsai).as_u64().expect("a number");
    assert_eq!(after - before, 5);
    assert_eq!(read(mount.path("a/b/c/d")), "new");
    mount.unmount();
}

#[test]
fn a_failed_refresh_leaves_the_old_commit() {
    let repo = Repo::new();
    let old = repo.commit(&old_tree());
    let mut server = GitServer::start(repo.root()).expect("a server");
    let bonsai = bonsai();
    let mount = bonsai.mount(
        server.url("repo.git"),
        &["--follow", "manual", "--ref", "main"],
    );
    let dir = mount.dir().to_owned();
    look_at_all(&dir);
    repo.commit(&new_tree());
    let fails = |code: i32| {
        let said = bonsai.run(["refresh".as_ref(), dir.as_os_str()]);
        assert_eq!(said.code, Some(code), "{}", said.err);
        assert_eq!(said.err.lines().count(), 1, "{}", said.err);
        let told = status(&bonsai, &dir);
        assert_eq!(told["commit"], old.as_str());
        assert!(told["follow"]["last_error"].is_string(), "{told}");
        assert_eq!(read(dir.join("changes")), "old\n");
    };
    server.stop();
    fails(21);
    server.restart().expect("the same again");
    repo.git(&["update-ref", "refs/heads/other", "refs/heads/main"]);
    repo.git(&["update-ref", "-d", "refs/heads/main"]);
    fails(5);
    repo.git(&["update-ref", "refs/heads/main", "refs/heads/other"]);
    assert_eq!(refresh(&bonsai, &dir)["moved"], true);
    assert_is_new(&dir);
    assert!(status(&bonsai, &dir)["follow"]["last_error"].is_null());
    mount.unmount();
}

#[test]
fn what_does_not_move_is_not_followed_and_a_pinned_mount_not_refreshed() {
    let repo = Repo::new();
    let commit = repo.commit(&old_tree());
    repo.git(&["tag", "v1", &commit]);
    let bonsai = bonsai();
    let dir = bonsai.scratch().join("m");
    for name in ["v1", &commit] {
        let said = bonsai.try_mount(repo.path(), &dir, &["--follow", "30s", "--ref", name]);
        assert_eq!(said.code, Some(2), "{}", said.err);
        let says = format!("--follow needs a branch, and {name} is a tag or a commit");
        assert!(said.err.contains(&says), "{}", said.err);
    }
    let mount = bonsai.mount(repo.path(), &[]);
    let said = bonsai.run(["refresh".as_ref(), mount.dir().as_os_str()]);
    assert_eq!(said.code, Some(2), "{}", said.err);
    assert!(said.err.contains("is pinned to its commit"), "{}", said.err);
    mount.unmount();
}

#[test]
fn a_mount_follows_by_itself() {
    let repo = Repo::new();
    repo.commit(&old_tree());
    let bonsai = bonsai();
    let mount = bonsai.mount(repo.path(), &["--follow", "1s"]);
    look_at_all(mount.dir());
    repo.commit(&new_tree());
    while read(mount.path("changes")) == "old\n" {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    // The kernel may be told of one name after the other, until the commit is.
    let commit = repo.oid("main");
    while status(&bonsai, mount.dir())["commit"] != commit.as_str() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let said = refresh(&bonsai, mount.dir());
    assert_eq!(said["moved"], false);
    assert_is_new(mount.dir());
    mount.unmount();
    bonsai.assert_nothing_left();
}

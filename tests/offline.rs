//! The cache: what was fetched is there without a network and after a crash, and `git` reads it.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
    time::Duration,
};

use bonsai_testkit::{
    Bonsai, Files, GitServer, Link, Mounted, Order, Relay, Repo, assert_same,
    assert_same_in_parallel,
    compare::{Tree, committed},
    process::within,
    specimens,
};

fn bonsai() -> Bonsai {
    Bonsai::new(env!("CARGO_BIN_EXE_bonsai"))
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Many folders with a few files each, so that reading one folder leaves others alone.
fn spread() -> Repo {
    let repo = Repo::new();
    let mut files = Files::new();
    for folder in 0..50 {
        for file in 0..20 {
            let line = format!("folder {folder}, file {file}\n");
            let content = line.repeat(1 + folder * 20 + file);
            files.add_file(format!("folder-{folder:02}/file-{file:02}.txt"), content);
        }
    }
    repo.commit(&files);
    repo
}

/// Where `bonsai info` says the content of every file is.
fn places(bonsai: &Bonsai, mount: &Mounted<'_>, tree: &Tree) -> BTreeMap<PathBuf, String> {
    tree.files()
        .map(|(path, _)| {
            let path = PathBuf::from(std::str::from_utf8(path).expect("plain names"));
            let full = mount.path(&path);
            let info = bonsai.ok([OsStr::new("info"), full.as_os_str(), OsStr::new("--json")]);
            let place = json(&info)["content"].as_str().expect("a place").to_owned();
            (path, place)
        })
        .collect()
}

/// The repositories in a cache folder.
fn cached_repositories(cache: &Path) -> Vec<PathBuf> {
    let repositories = fs::read_dir(cache.join("repos")).expect("a folder of repositories");
    repositories
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.join("objects").is_dir())
        .collect()
}

fn git(git_dir: &Path, args: &[&str]) -> Output {
    Command::new("git")
        .args(["-c", "safe.directory=*"])
        .arg("--git-dir")
        .arg(git_dir)
        .args(args)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        // What is missing is not to be fetched by `git` itself.
        .env("GIT_NO_LAZY_FETCH", "1")
        .output()
        .expect("git starts")
}

fn assert_fsck(git_dir: &Path) {
    let output = git(git_dir, &["fsck", "--full"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git fsck: {said}");
    let all = format!("{}{said}", String::from_utf8_lossy(&output.stdout));
    for bad in ["missing", "error", "corrupt"] {
        assert!(!all.contains(bad), "git fsck: {all}");
    }
}

#[test]
fn without_the_server_what_was_fetched_is_there_and_the_rest_says_why_not() {
    let repo = spread();
    let expected = committed(&repo, "HEAD");
    let mut server = GitServer::start(repo.root()).expect("a server");
    let bonsai = bonsai();
    let url = server.url("repo.git");
    let dir = bonsai.scratch().join("mnt");
    let mount = bonsai.mount_at(&url, &dir, &[]);
    let readable = |path: &Path| -> io::Result<bool> {
        let key = path.to_str().expect("plain names").as_bytes();
        let wanted = expected.files().find(|(path, _)| *path == key);
        Ok(fs::read(dir.join(path))? == wanted.expect("in the tree").1)
    };
    for file in ["folder-00/file-03.txt", "folder-31/file-00.txt"] {
        assert!(readable(Path::new(file)).expect("read"));
    }
    mount.unmount();

    server.stop();
    let mount = bonsai.mount_at(&url, &dir, &[]);
    assert!(mount.line().contains(&repo.oid("HEAD")[..12]));
    // The whole tree is listed.
    let listed = fs::read_dir(mount.dir()).expect("readdir").count();
    assert_eq!(listed, 50);
    let places = places(&bonsai, &mount, &expected);
    let (there, missing): (Vec<_>, Vec<_>) = places
        .iter()
        .partition(|(_, place)| *place != "not fetched");
    for file in ["folder-00/file-03.txt", "folder-31/file-00.txt"] {
        assert!(
            there.iter().any(|(path, _)| *path == Path::new(file)),
            "{places:?}"
        );
    }
    for (path, _) in &there {
        assert!(readable(path).unwrap_or_else(|error| panic!("{path:?}: {error}")));
    }
    assert!(!missing.is_empty(), "reading two files fetched everything");
    let (path, _) = missing[missing.len() / 2];
    let error = readable(path).expect_err("not fetched");
    assert_eq!(error.raw_os_error(), Some(libc::EIO), "{path:?}: {error}");
    let status = json(&mount.status());
    let message = status["last_error"]["message"].as_str().unwrap_or_default();
    let host = server.address().to_string();
    assert!(message.contains(&host), "says why: {status}");

    // When the server is back, so is the rest.
    server.restart().expect("the same port");
    let back = within(Duration::from_secs(30), || {
        readable(path).is_ok_and(|same| same)
    });
    assert!(back, "{path:?} after the server came back");
    mount.unmount();
    bonsai.assert_nothing_left();
}

#[test]
fn a_wholly_fetched_commit_needs_no_server() {
    let specimen = specimens::plain();
    let expected = committed(&specimen.repo, &specimen.commit);
    let mut server = GitServer::start(specimen.repo.root()).expect("a server");
    let bonsai = bonsai();
    let url = server.url("repo.git");
    let wants: [&[&str]; 3] = [&[], &["--ref", "main"], &["--ref", &specimen.commit]];
    for want in wants {
        let mount = bonsai.mount(&url, want);
        assert_same(&expected, mount.dir(), Order::Sorted);
        mount.unmount();
    }
    server.stop();
    for want in wants {
        let mount = bonsai.mount(&url, want);
        assert_same_in_parallel(&expected, mount.dir(), 8);
        mount.unmount();
    }
}

#[test]
fn a_branch_that_moved_is_seen_by_the_next_mount() {
    let repo = Repo::new();
    let files = specimens::small_files();
    repo.commit(&files);
    let server = GitServer::start(repo.root()).expect("a server");
    let bonsai = bonsai();
    let url = server.url("repo.git");
    let first = bonsai.mount(&url, &[]);
    let old = fs::read(first.path("README.md")).expect("read");
    let commit = repo.commit(&files.file("README.md", "newer\n"));
    // The mount that stands is pinned.
    assert_eq!(fs::read(first.path("README.md")).expect("read"), old);
    let second = bonsai.mount(&url, &[]);
    assert!(second.line().contains(&commit[..12]));
    assert_eq!(
        fs::read(second.path("README.md")).expect("read"),
        b"newer\n"
    );
    assert_eq!(fs::read(first.path("README.md")).expect("read"), old);
    first.unmount();
    second.unmount();
}

#[test]
fn git_reads_the_cache() {
    let specimen = specimens::plain();
    let server = GitServer::start(specimen.repo.root()).expect("a server");
    let bonsai = bonsai();
    let mount = bonsai.mount(server.url("repo.git"), &[]);
    for file in ["README.md", "bin.dat", "src/deep/er/file.txt"] {
        fs::read(mount.path(file)).expect("read");
    }
    mount.unmount();
    let repositories = cached_repositories(&bonsai.cache());
    let [cached] = repositories.as_slice() else {
        panic!("one repository: {repositories:?}");
    };
    for file in ["README.md", "bin.dat", "src/deep/er/file.txt"] {
        let blob = specimen.repo.oid(&format!("HEAD:{file}"));
        let here = git(cached, &["cat-file", "blob", &blob]);
        let said = String::from_utf8_lossy(&here.stderr);
        assert!(here.status.success(), "{file}: {said}");
        let there = specimen.repo.git(&["cat-file", "blob", &blob]);
        assert!(here.stdout == there, "{file}");
    }
    let tree = git(cached, &["ls-tree", "-r", &specimen.commit]);
    assert_eq!(
        String::from_utf8_lossy(&tree.stdout),
        String::from_utf8_lossy(&specimen.repo.git(&["ls-tree", "-r", &specimen.commit]))
    );
    assert_fsck(cached);
}

#[test]
fn git_reads_the_cache_of_a_sha256_repository() {
    let specimen = specimens::sha256();
    let server = GitServer::start(specimen.repo.root()).expect("a server");
    let bonsai = bonsai();
    let mount = bonsai.mount(server.url("repo.git"), &[]);
    fs::read(mount.path("README.md")).expect("read");
    mount.unmount();
    for cached in cached_repositories(&bonsai.cache()) {
        let blob = specimen.repo.oid("HEAD:README.md");
        let output = git(&cached, &["cat-file", "blob", &blob]);
        assert_eq!(output.stdout, b"# Example\n\nHello.\n");
        assert_fsck(&cached);
    }
}

/// Every file of the cache in turn is spoiled: what is served is right all the same.
#[test]
fn a_damaged_cache_is_never_served() {
    let specimen = specimens::plain();
    let expected = committed(&specimen.repo, &specimen.commit);
    let server = GitServer::start(specimen.repo.root()).expect("a server");
    let bonsai = bonsai();
    let url = server.url("repo.git");
    let mount = bonsai.mount(&url, &[]);
    assert_same(&expected, mount.dir(), Order::Sorted);
    mount.unmount();
    let mut spoiled = 0;
    for file in files_below(&bonsai.cache()) {
        let mut data = fs::read(&file).expect("read");
        let in_objects = file.components().any(|part| part.as_os_str() == "objects");
        if !in_objects || data.len() < 40 {
            continue;
        }
        let middle = data.len() / 2;
        data[middle] ^= 0x55;
        // Objects are stored read-only.
        fs::remove_file(&file).expect("removed");
        fs::write(&file, data).expect("written");
        spoiled += 1;
    }
    assert!(spoiled > 0, "the cache holds objects");
    let mount = bonsai.mount(&url, &[]);
    assert_same(&expected, mount.dir(), Order::Sorted);
    mount.unmount();
    bonsai.assert_nothing_left();
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut pending = vec![dir.to_owned()];
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(dir).expect("readdir") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                pending.push(path);
            } else {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// How often the process is killed: at moments spread over a whole run.
fn crashes() -> u64 {
    if std::env::var_os("BONSAI_HEAVY").is_some() {
        60
    } else {
        8
    }
}

/// Killed at any moment (measured in bytes that came over the link), the next start serves the
/// same content, and `git` finds nothing wrong with the cache.
#[test]
fn killed_at_any_moment_the_next_start_serves_the_same() {
    let repo = spread();
    let expected = committed(&repo, "HEAD");
    let server = GitServer::start(repo.root()).expect("a server");
    // Slow enough for the moments to differ.
    let link = Link {
        rtt: Duration::from_millis(2),
        bits_per_second: 40_000_000,
    };
    let relay = Relay::start(server.address(), link).expect("a relay");
    let url = relay.url("repo.git");
    let whole = {
        let bonsai = bonsai();
        let mount = bonsai.mount(&url, &[]);
        assert_same_in_parallel(&expected, mount.dir(), 4);
        mount.unmount();
        relay.totals().bytes_down
    };
    for crash in 0..crashes() {
        let bonsai = bonsai();
        let dir = bonsai.scratch().join("mnt");
        relay.reset();
        let mount = bonsai.mount_at(&url, &dir, &[]);
        let daemon = mount.daemon();
        let moment = relay.totals().bytes_down + (whole - whole / 5) * crash / crashes();
        thread::scope(|scope| {
            for reader in 0..4 {
                let (expected, dir) = (&expected, &dir);
                // Fails when the process is killed, which is the point.
                scope.spawn(move || {
                    for (path, _) in expected.files().skip(reader * 250) {
                        let path = std::str::from_utf8(path).expect("plain names");
                        if fs::read(dir.join(path)).is_err() {
                            break;
                        }
                    }
                });
            }
            let reached = || relay.totals().bytes_down >= moment;
            assert!(within(Duration::from_secs(60), reached), "crash {crash}");
            daemon.signal(bonsai_testkit::process::KILL);
        });
        assert!(within(Duration::from_secs(20), || !daemon.is_alive()));
        for cached in cached_repositories(&bonsai.cache()) {
            assert_fsck(&cached);
        }
        let again = bonsai.mount_at(&url, &dir, &[]);
        assert_same(&expected, again.dir(), Order::Shuffled(crash));
        again.unmount();
        drop(mount);
        for cached in cached_repositories(&bonsai.cache()) {
            assert_fsck(&cached);
        }
        bonsai.assert_nothing_left();
    }
}

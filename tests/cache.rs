//! `bonsai cache`, and what the cache may hold, with real mounts.

use std::{fs, path::Path, process::Command, time::Duration};

use bonsai_testkit::{
    Bonsai, Files, GitServer, Mounted, Order, Repo, assert_same, compare::committed,
    process::within,
};

fn bonsai() -> Bonsai {
    Bonsai::new(env!("CARGO_BIN_EXE_bonsai"))
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Content that does not get smaller.
fn noise(seed: u32, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// A repository of `files` files of 64 KiB that can't be packed tighter.
fn repo(files: u32) -> Repo {
    let repo = Repo::new();
    let mut all = Files::new();
    for number in 0..files {
        all.add_file(
            format!("folder-{:02}/file-{number:03}", number / 10),
            noise(number, 1 << 16),
        );
    }
    repo.commit(&all);
    repo
}

fn read_all(mount: &Mounted<'_>, files: u32) {
    for number in 0..files {
        let path = mount.path(format!("folder-{:02}/file-{number:03}", number / 10));
        let data = fs::read(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        assert!(data == noise(number, 1 << 16), "{path:?}");
    }
}

/// Flips a bit in the middle of the first pack of the cache folder.
fn damage(cache: &Path) {
    let repos = fs::read_dir(cache.join("repos")).expect("repositories");
    let repo = repos.map(|repo| repo.expect("an entry").path()).next();
    let packs = repo.expect("a repository").join("objects/pack");
    let pack = fs::read_dir(packs)
        .expect("packs")
        .map(|pack| pack.expect("an entry").path())
        .find(|path| path.extension().is_some_and(|ending| ending == "pack"))
        .expect("a pack");
    let mut raw = fs::read(&pack).expect("it can be read");
    let middle = raw.len() / 2;
    raw[middle] ^= 1;
    fs::write(&pack, raw).expect("it can be written");
}

#[test]
fn status_and_clear_know_which_mounts_use_it() {
    let repo = repo(3);
    let server = GitServer::start(repo.root()).expect("a server");
    let bonsai = bonsai();
    let url = server.url("repo.git");
    let empty = json(&bonsai.ok(["cache", "status", "--json"]));
    assert_eq!(empty["repositories"].as_array().map(Vec::len), Some(0));
    assert!(empty["quota"].as_u64().is_some_and(|quota| quota > 0));

    let mount = bonsai.mount_at(&url, &bonsai.scratch().join("mnt"), &[]);
    read_all(&mount, 3);
    let status = json(&bonsai.ok(["cache", "status", "--json"]));
    assert_eq!(
        Path::new(status["cache_dir"].as_str().expect("a path")),
        bonsai.cache()
    );
    assert_eq!(status["repositories"][0]["source"], url);
    assert_eq!(status["repositories"][0]["in_use"], true);
    let lines = bonsai.ok(["cache", "status"]);
    assert!(
        lines.contains(&url) && lines.contains(", mounted"),
        "{lines}"
    );
    let said = bonsai.ok(["cache", "clear"]);
    assert_eq!(said.trim_end(), format!("left {url}: a mount uses it"));
    let said = bonsai.run(["cache", "clear", url.as_str()]);
    assert_eq!(said.code, Some(16), "{}", said.err);
    assert_same(&committed(&repo, "HEAD"), mount.dir(), Order::Sorted);
    mount.unmount();

    let status = json(&bonsai.ok(["cache", "status", "--json"]));
    assert_eq!(status["repositories"][0]["in_use"], false);
    assert!(
        status["bytes"]
            .as_u64()
            .is_some_and(|bytes| bytes > 3 << 16)
    );
    let other = bonsai.ok(["cache", "clear", "https://example.org/other.git"]);
    assert_eq!(other.trim_end(), "nothing to clear");
    let said = bonsai.ok(["cache", "clear", url.as_str()]);
    assert!(said.starts_with(&format!("cleared {url}: ")), "{said}");
    let status = json(&bonsai.ok(["cache", "status", "--json"]));
    assert_eq!(status["bytes"], 0);
    bonsai.assert_nothing_left();
}

#[test]
fn code_33_damage_is_found_dropped_and_fetched_again() {
    let repo = repo(20);
    let server = GitServer::start(repo.root()).expect("a server");
    let bonsai = bonsai();
    let url = server.url("repo.git");
    let dir = bonsai.scratch().join("mnt");
    let mount = bonsai.mount_at(&url, &dir, &["--prefetch", "all"]);
    read_all(&mount, 20);
    mount.unmount();
    assert_eq!(
        json(&bonsai.ok(["cache", "verify", "--json"]))[0]["dropped"]
            .as_array()
            .map(Vec::len),
        Some(0)
    );
    damage(&bonsai.cache());
    let said = bonsai.run(["cache", "verify"]);
    assert_eq!(said.code, Some(33), "{}", said.err);
    assert!(said.out.contains("objects/pack/pack-"), "{}", said.out);
    assert!(said.err.contains("fetched again"), "{}", said.err);
    bonsai.ok(["cache", "verify"]);
    let mount = bonsai.mount_at(&url, &dir, &[]);
    assert_same(&committed(&repo, "HEAD"), mount.dir(), Order::Sorted);
    mount.unmount();
    bonsai.assert_nothing_left();
}

#[test]
fn gc_makes_room_while_a_mount_runs() {
    let repo = repo(20);
    let server = GitServer::start(repo.root()).expect("a server");
    let bonsai = bonsai();
    let dir = bonsai.scratch().join("mnt");
    let mount = bonsai.mount_at(server.url("repo.git"), &dir, &[]);
    read_all(&mount, 20);
    // What was read is kept behind the readers' backs; what comes after gc is not its business. The commit, its
    // three trees, and the files.
    let kept = || {
        let objects = &json(&mount.status())["disk"]["objects"];
        objects.as_u64().is_some_and(|objects| objects >= 24)
    };
    assert!(within(Duration::from_secs(30), kept), "{}", mount.status());
    let said = json(&bonsai.ok(["cache", "gc", "--cache-size", "300KiB", "--json"]));
    assert!(
        said["bytes"]
            .as_u64()
            .is_some_and(|bytes| bytes <= 300 << 10),
        "{said}"
    );
    assert_same(&committed(&repo, "HEAD"), mount.dir(), Order::Sorted);
    mount.unmount();
    let mount = bonsai.mount_at(server.url("repo.git"), &dir, &[]);
    assert_same(&committed(&repo, "HEAD"), mount.dir(), Order::Sorted);
    mount.unmount();
    for entry in fs::read_dir(bonsai.cache().join("repos")).expect("repositories") {
        let fsck = Command::new("git")
            .arg("--git-dir")
            .arg(entry.expect("an entry").path())
            .args(["fsck", "--full"])
            .output()
            .expect("git starts");
        assert!(fsck.status.success(), "{fsck:?}");
    }
    bonsai.assert_nothing_left();
}

#[test]
fn a_mount_keeps_the_cache_within_its_size() {
    const SIZE: u64 = 1 << 20;
    let repo = repo(60);
    let server = GitServer::start(repo.root()).expect("a server");
    let bonsai = bonsai();
    let url = server.url("repo.git");
    let dir = bonsai.scratch().join("mnt");
    let mount = bonsai.mount_at(&url, &dir, &["--cache-size", "1MiB", "--memory", "2"]);
    let bytes = || {
        let status = json(&bonsai.ok(["cache", "status", "--json"]));
        assert_eq!(status["quota"], SIZE);
        status["bytes"].as_u64().expect("a number")
    };
    for round in 0..2 {
        read_all(&mount, 60);
        let status = json(&mount.status());
        assert_eq!(status["disk"]["quota"], SIZE, "{round}");
    }
    assert_same(&committed(&repo, "HEAD"), mount.dir(), Order::Reversed);
    mount.unmount();
    // What came last is in the cache only now, and it was measured after that.
    let held = bytes();
    assert!(held <= SIZE && held > SIZE / 4, "{held}");
    // The size is kept for later mounts.
    let mount = bonsai.mount_at(&url, &dir, &[]);
    read_all(&mount, 60);
    mount.unmount();
    assert!(bytes() <= SIZE, "{}", bytes());
    bonsai.assert_nothing_left();
}

/// A file system of its own with little room, until it is dropped. Needs root.
struct Tmpfs(std::path::PathBuf);

impl Tmpfs {
    fn new(dir: std::path::PathBuf, size: &str) -> Self {
        fs::create_dir(&dir).expect("a new folder");
        let mounted = Command::new("mount")
            .args([
                "-t",
                "tmpfs",
                "-o",
                &format!("size={size},mode=700"),
                "none",
            ])
            .arg(&dir)
            .status();
        assert!(
            mounted.expect("mount starts").success(),
            "this test needs root"
        );
        Self(dir)
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A mount failed on a disk that had no room for so much as a folder.
#[test]
fn a_disk_that_is_full_from_the_beginning_costs_the_copy_too() {
    let repo = Repo::new();
    let mut all = Files::new();
    for number in 0..20 {
        all.add_file(format!("folder/file-{number:03}"), noise(number, 5000));
    }
    repo.commit(&all);
    let server = GitServer::start(repo.root()).expect("a server");
    let bonsai = bonsai();
    let cache = Tmpfs::new(bonsai.scratch().join("tmpfs"), "64k");
    let filled = fs::write(cache.0.join("others"), noise(1, 1 << 20));
    assert!(filled.is_err(), "it is full now");
    let option = cache.0.join("cache");
    let option = option.to_str().expect("plain").to_owned();
    let dir = bonsai.scratch().join("mnt");
    let mount = bonsai.mount_at(server.url("repo.git"), &dir, &["--cache-dir", &option]);
    assert_same(&committed(&repo, "HEAD"), mount.dir(), Order::Sorted);
    let status = json(&mount.status());
    let paused = status["disk"]["paused"].as_str().unwrap_or_default();
    assert!(paused.contains("No space left"), "{status}");
    mount.unmount();
    drop(cache);
    bonsai.assert_nothing_left();
}

#[test]
fn a_full_disk_costs_the_copy_and_no_answer() {
    let repo = Repo::new();
    let mut all = Files::new();
    for number in 0..60 {
        let path = format!("folder-{:02}/file-{number:03}", number / 10);
        all.add_file(path, noise(number, 1 << 16));
    }
    // Large ones live on disk where there is room.
    all.add_file("large", noise(99, 9 << 20));
    repo.commit(&all);
    let server = GitServer::start(repo.root()).expect("a server");
    a_full_disk_costs_no_answer_of(server.url("repo.git").as_ref(), &repo);
    // Its large files come in another way.
    let local = repo.root().join("repo.git");
    a_full_disk_costs_no_answer_of(local.as_os_str(), &repo);
}

fn a_full_disk_costs_no_answer_of(source: &std::ffi::OsStr, repo: &Repo) {
    let bonsai = bonsai();
    let cache = Tmpfs::new(bonsai.scratch().join("tmpfs"), "2m");
    let option = cache.0.to_str().expect("plain").to_owned();
    let log = bonsai.scratch().join("log");
    let log_option = log.to_str().expect("plain").to_owned();
    let dir = bonsai.scratch().join("mnt");
    let options = [
        "--cache-dir",
        &option,
        "--cache-size",
        "1GiB",
        "--log-file",
        &log_option,
    ];
    let mount = bonsai.mount_at(source, &dir, &options);
    for _ in 0..2 {
        assert_same(&committed(repo, "HEAD"), mount.dir(), Order::Sorted);
    }
    let status = json(&mount.status());
    let paused = status["disk"]["paused"].as_str().unwrap_or_default();
    assert!(paused.contains("No space left"), "{status}");
    let lines = bonsai.ok([std::ffi::OsStr::new("status"), mount.dir().as_os_str()]);
    assert!(lines.contains("nothing more is kept on disk"), "{lines}");
    mount.unmount();
    let log = fs::read_to_string(&log).expect("a log");
    let warnings = log
        .lines()
        .filter(|line| line.contains("takes no more"))
        .count();
    assert_eq!(warnings, 1, "{log}");
    drop(cache);
    bonsai.assert_nothing_left();
}

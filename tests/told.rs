//! What is told of a mount, and what the options of `bonsai mount` change about it.

use std::{
    ffi::OsStr,
    fs, io,
    os::unix::fs::MetadataExt,
    path::Path,
    process::{Command, Stdio},
};

use bonsai_testkit::{
    Bonsai, Files, GitServer, Order, Repo, Said, assert_same, compare::committed, specimens,
};

fn bonsai() -> Bonsai {
    Bonsai::new(env!("CARGO_BIN_EXE_bonsai"))
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn mount_says_one_line_and_unmount_nothing() {
    let specimen = specimens::plain();
    let bonsai = bonsai();
    let dir = bonsai.scratch().join("mnt");
    let guard = bonsai.guard(&dir);
    let said = bonsai.try_mount(specimen.repo.path(), &dir, &[]);
    let line = format!(
        "mounted {} at {}: main {}\n",
        specimen.repo.path().display(),
        dir.display(),
        &specimen.commit[..12]
    );
    let expected = Said {
        code: Some(0),
        out: line,
        err: String::new(),
    };
    assert_eq!(said, expected);
    let said = bonsai.try_unmount(&dir, &[]);
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    drop(guard);
    bonsai.assert_nothing_left();
}

/// That nothing of it is shown elsewhere, the test above says.
#[test]
fn a_terminal_is_shown_the_progress_which_then_goes_away() {
    let specimen = specimens::plain();
    let bonsai = bonsai();
    let dir = bonsai.scratch().join("mnt");
    let _guard = bonsai.guard(&dir);
    let mount = bonsai.command(["mount"]);
    let words = r#"exec "$BONSAI" mount "$SOURCE" "$DIR""#;
    let shown = Command::new("script")
        .args(["--quiet", "--return", "--command", words, "/dev/null"])
        .env_clear()
        .envs(
            mount
                .get_envs()
                .filter_map(|(key, value)| Some((key, value?))),
        )
        .env("BONSAI", mount.get_program())
        .env("SOURCE", specimen.repo.path())
        .env("DIR", &dir)
        .stdin(Stdio::null())
        .output()
        .expect("script starts");
    let text = String::from_utf8_lossy(&shown.stdout);
    assert!(shown.status.success(), "{text}");
    let (progress, line) = text.split_once("mounted ").expect("the line");
    assert!(progress.contains("\rresolving the ref …"), "{text:?}");
    assert!(progress.ends_with("  \r"), "not wiped: {text:?}");
    assert_eq!(line.matches('\n').count(), 1, "{text:?}");
}

#[test]
fn the_line_names_the_ref() {
    for (specimen, name) in [
        (specimens::branch(), "feature/x"),
        (specimens::annotated_tag(), "v1.0"),
        (specimens::unreferenced_commit(), "detached"),
        (specimens::detached_head(), "detached"),
    ] {
        let bonsai = bonsai();
        let options: Vec<&str> = specimen.want.iter().flat_map(|w| ["--ref", w]).collect();
        let mount = bonsai.mount(specimen.repo.path(), &options);
        let end = format!(": {name} {}\n", &specimen.commit[..12]);
        assert!(mount.line().ends_with(&end), "{}", mount.line());
        mount.unmount();
    }
}

#[test]
fn list_and_status_tell_of_every_mount() {
    let specimen = specimens::plain();
    let server = GitServer::start(specimen.repo.root()).expect("a server");
    let bonsai = bonsai();
    assert_eq!(json(&bonsai.ok(["list", "--json"])), serde_json::json!([]));
    let here = bonsai.mount(specimen.repo.path(), &[]);
    let there = bonsai.mount(server.url("repo.git"), &[]);
    let list = json(&bonsai.ok(["list", "--json"]));
    let mounts = list.as_array().expect("an array");
    assert_eq!(mounts.len(), 2);
    for (mount, source) in [
        (&here, specimen.repo.path().display().to_string()),
        (&there, server.url("repo.git")),
    ] {
        let dir = mount.dir().display().to_string();
        let told = mounts.iter().find(|told| told["dir"] == dir.as_str());
        let told = told.expect("listed by its directory");
        assert_eq!(told["source"], source.as_str());
        assert_eq!(told["commit"], specimen.commit.as_str());
        assert_eq!(told["pid"], mount.daemon().0);
        assert_eq!(told["state"], "ok");
        assert!(
            told["ref"]
                .as_str()
                .is_some_and(|name| name.ends_with("main")),
            "{told}"
        );
        let text = bonsai.ok(["list"]);
        let line = text
            .lines()
            .find(|line| line.contains(&dir))
            .expect("a line for it");
        assert!(
            line.contains(&source) && line.contains(&specimen.commit[..12]),
            "{line}"
        );
        assert!(line.contains("ok"), "{line}");
    }
    assert_eq!(bonsai.ok(["list"]).lines().count(), 2);
    let all = json(&bonsai.ok(["status", "--json"]));
    assert_eq!(all.as_array().map(Vec::len), Some(2));
    here.unmount();
    there.unmount();
    assert_eq!(bonsai.ok(["list"]), "");
    bonsai.assert_nothing_left();
}

#[test]
fn status_has_every_figure() {
    let specimen = specimens::plain();
    let server = GitServer::start(specimen.repo.root()).expect("a server");
    let bonsai = bonsai();
    let mount = bonsai.mount(server.url("repo.git"), &["--memory", "100"]);
    fs::read(mount.path("README.md")).expect("read");
    fs::read_dir(mount.path("src"))
        .expect("readdir")
        .for_each(drop);
    let status = json(&mount.status());
    assert_eq!(status["source"], server.url("repo.git"));
    assert_eq!(status["commit"], specimen.commit.as_str());
    assert_eq!(status["pid"], mount.daemon().0);
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert!(status["last_error"].is_null());
    assert_eq!(status["rejected_entries"], 0);
    let number = |path: &str| {
        let value = status.pointer(path);
        let number = value.and_then(serde_json::Value::as_u64);
        number.unwrap_or_else(|| panic!("no number at {path} of {status}"))
    };
    for path in [
        "/uptime_seconds",
        "/cache/hits",
        "/disk/bytes",
        "/disk/packs",
        "/memory/bytes",
    ] {
        number(path);
    }
    for path in [
        "/cache/misses",
        "/inodes",
        "/listings",
        "/listing_bytes",
        "/origin/objects",
    ] {
        assert!(number(path) > 0, "{path}");
    }
    assert!(number("/kernel/requests") > 0);
    assert!(number("/kernel/by_op/lookup") > 0);
    // Of --memory 100; the rest is for listings.
    assert_eq!(number("/memory/budget"), 75 << 20);
    assert!(number("/memory/objects") > 0);
    // What the mount says that it asked for is what the server was asked for.
    let totals = server.totals();
    assert_eq!(number("/origin/requests"), totals.requests);
    assert_eq!(number("/origin/bytes"), totals.bytes_out);
    let text = bonsai.ok([OsStr::new("status"), mount.dir().as_os_str()]);
    assert!(
        text.contains(&specimen.commit) && text.contains("main"),
        "{text}"
    );
    mount.unmount();
}

#[test]
fn logs_go_where_they_are_sent() {
    let specimen = specimens::plain();
    let mut bonsai = bonsai();
    bonsai.set("RUST_LOG", "debug");
    let file = bonsai.home().join("log");
    let mount = bonsai.mount(
        specimen.repo.path(),
        &["--log-file", file.to_str().expect("a plain path")],
    );
    let path = mount.path("src/deep/er/file.txt");
    fs::read(&path).expect("read");
    let ino = fs::metadata(&path).expect("stat").ino();
    mount.unmount();
    let log = fs::read_to_string(&file).expect("a log");
    // Spans name what was worked on: inode, path and object.
    let oid = specimen.repo.oid("HEAD:src/deep/er/file.txt");
    let of_file = |line: &&str| line.contains(r#"path="/src/deep/er/file.txt""#);
    let line = log.lines().find(of_file).expect("the file's line");
    assert!(line.contains(&format!(r#"object="{}""#, oid)), "{line}");
    assert!(line.contains(&format!("ino={ino} ")), "{line}");
    let mount = bonsai.guard(&bonsai.scratch().join("own"));
    let said = bonsai.try_mount(specimen.repo.path(), mount.dir(), &[]);
    assert_eq!(said.code, Some(0), "{said:?}");
    fs::read(mount.path("README.md")).expect("read");
    let own = fs::read_dir(bonsai.state())
        .expect("the state folder")
        .map(|entry| entry.expect("an entry").path().join("log"))
        .find(|log| log.exists())
        .expect("a log in the mount's folder");
    assert!(fs::metadata(own).expect("stat").len() > 0);
    mount.unmount();
}

#[test]
fn others_see_it_only_if_allowed() {
    assert!(
        nix::unistd::geteuid().is_root(),
        "this test takes away rights: run it as root"
    );
    let specimen = specimens::plain();
    let bonsai = bonsai();
    // Others must get as far as the mount point.
    let scratch = tempfile::tempdir().expect("a folder");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(scratch.path(), open).expect("set");
    for (options, allowed) in [([].as_slice(), false), (["--allow-other"].as_slice(), true)] {
        let dir = scratch.path().join("mnt");
        let mount = bonsai.mount_at(specimen.repo.path(), &dir, options);
        let status = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "cat"])
            .arg(mount.path("README.md"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("setpriv starts");
        assert_eq!(status.success(), allowed, "{options:?}");
        mount.unmount();
    }
}

#[test]
fn the_memory_budget_holds() {
    let mut files = Files::new();
    for number in 0..60 {
        files.add_file(format!("file-{number}"), vec![number; 50_000]);
    }
    let repo = Repo::new();
    let commit = repo.commit(&files);
    let bonsai = bonsai();
    let mount = bonsai.mount(repo.path(), &["--memory", "1"]);
    let expected = committed(&repo, &commit);
    let total: usize = expected.files().map(|(_, data)| data.len()).sum();
    assert!(total > 1 << 20, "more than fits");
    assert_same(&expected, mount.dir(), Order::Sorted);
    let status = json(&mount.status());
    // The rest is for listings.
    let budget = 3 << 18;
    assert_eq!(status["memory"]["budget"], budget);
    let bytes = status["memory"]["bytes"].as_u64().expect("a number");
    assert!(bytes <= budget, "{bytes}");
    mount.unmount();
}

#[test]
fn the_cache_folder_is_where_it_is_told() {
    let specimen = specimens::plain();
    let server = GitServer::start(specimen.repo.root()).expect("a server");
    let bonsai = bonsai();
    let told = bonsai.home().join("told");
    let option = told.to_str().expect("a plain path");
    let mount = bonsai.mount(server.url("repo.git"), &["--cache-dir", option]);
    fs::read(mount.path("README.md")).expect("read");
    let path = json(&mount.status())["disk"]["path"]
        .as_str()
        .map(str::to_owned);
    assert!(path.is_some_and(|path| path.starts_with(option)));
    mount.unmount();
    let is_empty = |dir: &Path| -> io::Result<bool> { Ok(fs::read_dir(dir)?.next().is_none()) };
    assert!(!is_empty(&told).expect("made"));
    assert!(
        is_empty(&bonsai.cache()).expect("there"),
        "nothing elsewhere"
    );
}

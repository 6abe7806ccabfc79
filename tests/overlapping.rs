//! Refreshes that overlap: one goes on at a time, each ends with what the ref means, and what is new comes
//! once.

use std::{
    fs,
    path::Path,
    process::{Child, Stdio},
    time::Duration,
};

use bonsai_testkit::{Bonsai, Files, GitServer, Mounted, Repo, process::within, server::Logged};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(20);

fn bonsai() -> Bonsai {
    Bonsai::new(env!("CARGO_BIN_EXE_bonsai"))
}

fn tree(text: &str) -> Files {
    Files::new()
        .file("changes", format!("{text}\n"))
        .file("sub/changes", format!("sub {text}\n"))
        .file("same", "same\n")
}

fn shows(dir: &Path, text: &str) {
    let read = |name: &str| fs::read_to_string(dir.join(name)).expect("a file");
    assert_eq!(read("changes"), format!("{text}\n"));
    assert_eq!(read("sub/changes"), format!("sub {text}\n"));
    assert_eq!(read("same"), "same\n");
}

/// A repository that has the tree "old", its commit, and its server.
fn served() -> (Repo, String, GitServer) {
    let repo = Repo::new();
    let old = repo.commit(&tree("old"));
    let server = GitServer::start(repo.root()).expect("a server");
    (repo, old, server)
}

/// A mount that follows, as `how` says, and shows "old".
fn following<'a>(bonsai: &'a Bonsai, server: &GitServer, how: &str) -> Mounted<'a> {
    let mount = bonsai.mount(server.url("repo.git"), &["--follow", how]);
    shows(mount.dir(), "old");
    mount
}

/// The mount shows commit `new` with the tree "new", which came once; and ends cleanly.
fn assert_moved(bonsai: &Bonsai, mount: Mounted<'_>, server: &GitServer, new: &str) {
    shows(mount.dir(), "new");
    let status = status(&mount);
    assert_eq!(status["commit"], new);
    assert!(status["follow"]["last_error"].is_null(), "{status}");
    assert_new_came_once(server, new);
    mount.unmount();
    bonsai.assert_nothing_left();
}

fn status(mount: &Mounted<'_>) -> Value {
    serde_json::from_str(&mount.status()).expect("JSON")
}

/// Begins `bonsai refresh`, and returns once the mount has heard of it.
fn begin(bonsai: &Bonsai, mount: &Mounted<'_>) -> Child {
    let asked = || {
        let open = mount.daemon().descriptors();
        open.iter()
            .filter(|path| path.to_string_lossy().starts_with("socket:"))
            .count()
    };
    let before = asked();
    let words = [
        "refresh".as_ref(),
        "--json".as_ref(),
        mount.dir().as_os_str(),
    ];
    let mut command = bonsai.command(words);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    assert!(within(PATIENCE, || asked() > before), "it asks");
    child.expect("it starts")
}

fn end(child: Child) -> Value {
    let said = child.wait_with_output().expect("it ends");
    let err = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success(), "{err}");
    serde_json::from_slice(&said.stdout).expect("JSON")
}

/// How many requests of this kind the server has that it did not answer.
fn unanswered(server: &GitServer, command: &str) -> usize {
    let log = server.log_of(command);
    log.iter().filter(|asked| asked.status.is_none()).count()
}

fn wait_for_unanswered(server: &GitServer, command: &str) {
    let waits = || unanswered(server, command) > 0;
    assert!(within(PATIENCE, waits), "{command} is asked");
}

fn assert_new_came_once(server: &GitServer, new: &str) {
    let log = server.log_of("fetch");
    let wants = log
        .iter()
        .flat_map(Logged::wants)
        .filter(|want| *want == new);
    assert_eq!(wants.count(), 1, "{log:?}");
}

#[test]
fn of_two_refreshes_at_the_same_moment_one_moves_the_mount() {
    let (repo, old, server) = served();
    let bonsai = bonsai();
    let mount = following(&bonsai, &server, "manual");
    let new = repo.commit(&tree("new"));
    server.reset();
    server.pause();
    let first = begin(&bonsai, &mount);
    wait_for_unanswered(&server, "ls-refs");
    let second = begin(&bonsai, &mount);
    // The mount shows and tells what it did, while they wait.
    shows(mount.dir(), "old");
    assert_eq!(status(&mount)["commit"], old.as_str());
    server.resume();
    let told = [end(first), end(second)];
    let moved: Vec<&Value> = told.iter().filter(|told| told["moved"] == true).collect();
    assert_eq!(moved.len(), 1, "{told:?}");
    assert_eq!(moved[0]["old"], old.as_str());
    assert!(
        told.iter().all(|told| told["new"] == new.as_str()),
        "{told:?}"
    );
    assert_eq!(server.log_of("ls-refs").len(), 2, "each looks for itself");
    assert_moved(&bonsai, mount, &server, &new);
}

#[test]
fn a_refresh_while_that_of_the_interval_runs_waits_for_it() {
    let (repo, old, server) = served();
    let bonsai = bonsai();
    let mount = following(&bonsai, &server, "1s");
    server.reset();
    server.pause();
    wait_for_unanswered(&server, "ls-refs");
    // What is committed now, one of the two finds.
    let new = repo.commit(&tree("new"));
    let own = begin(&bonsai, &mount);
    assert_eq!(unanswered(&server, "ls-refs"), 1, "one at a time");
    assert_eq!(status(&mount)["commit"], old.as_str());
    server.resume();
    let told = end(own);
    assert_eq!(told["new"], new.as_str());
    assert_moved(&bonsai, mount, &server, &new);
}

#[test]
fn who_gives_up_a_refresh_leaves_it_to_those_who_wait() {
    let (repo, _, server) = served();
    let bonsai = bonsai();
    let mount = following(&bonsai, &server, "manual");
    let new = repo.commit(&tree("new"));
    server.reset();
    server.pause();
    let mut first = begin(&bonsai, &mount);
    wait_for_unanswered(&server, "ls-refs");
    let second = begin(&bonsai, &mount);
    first.kill().expect("it runs");
    first.wait().expect("it ends");
    server.resume();
    assert_eq!(end(second)["new"], new.as_str());
    assert_moved(&bonsai, mount, &server, &new);
}

//! Starts that are given up, and processes that hang: whatever a user does then, nothing is left.

use std::{
    fs,
    io::{self, Read},
    path::Path,
    process::{Child, Stdio},
    thread,
    time::Duration,
};

use bonsai_testkit::{
    Bonsai, GitServer,
    process::{Process, mount_at, within},
    specimens,
};
use nix::{
    mount::MsFlags,
    sys::signal::{Signal, kill},
    unistd::Pid,
};

const PATIENCE: Duration = Duration::from_secs(20);

fn bonsai() -> Bonsai {
    Bonsai::new(env!("CARGO_BIN_EXE_bonsai"))
}

fn signal(process: Process, signal: Signal) {
    let number = i32::try_from(process.0).expect("a process number");
    kill(Pid::from_raw(number), signal).expect("it runs");
}

/// Starts to mount what does not come, and waits until the server was asked.
fn start(bonsai: &Bonsai, server: &GitServer, dir: &Path, options: &[&str]) -> Child {
    server.pause();
    let child = bonsai
        .command(["mount"])
        .args(options)
        .arg(server.url("repo.git"))
        .arg(dir)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    // The directory is there before anything is asked for.
    assert!(within(PATIENCE, || dir.exists()), "no start");
    child
}

fn assert_gone(bonsai: &Bonsai, dir: &Path) {
    bonsai.assert_nothing_left();
    assert!(mount_at(dir).is_none());
    assert!(!dir.exists(), "the directory made for the mount stays");
}

/// As Ctrl-C does, and as the end of a terminal does: the background process is not of the
/// terminal's, and has to notice by itself.
#[test]
fn the_end_of_the_command_ends_a_start_in_the_background() {
    let specimen = specimens::plain();
    for end in [Signal::SIGINT, Signal::SIGHUP, Signal::SIGKILL] {
        let server = GitServer::start(specimen.repo.root()).expect("a server");
        let bonsai = bonsai();
        let dir = bonsai.scratch().join("mnt");
        let mut child = start(&bonsai, &server, &dir, &[]);
        assert!(bonsai.processes().len() >= 2, "it and the background");
        signal(Process(child.id()), end);
        child.wait().expect("ours");
        assert_gone(&bonsai, &dir);
    }
}

#[test]
fn a_signal_ends_a_start_in_the_foreground() {
    let specimen = specimens::plain();
    for end in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let server = GitServer::start(specimen.repo.root()).expect("a server");
        let bonsai = bonsai();
        let dir = bonsai.scratch().join("mnt");
        let child = start(&bonsai, &server, &dir, &["--foreground"]);
        signal(Process(child.id()), end);
        let output = child.wait_with_output().expect("ours");
        assert_eq!(output.status.code(), Some(1), "{end}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(
            said.starts_with("bonsai: the start was interrupted; "),
            "{said}"
        );
        assert_gone(&bonsai, &dir);
    }
}

#[test]
fn a_signal_to_the_background_process_ends_its_start_with_a_word() {
    let specimen = specimens::plain();
    let server = GitServer::start(specimen.repo.root()).expect("a server");
    let bonsai = bonsai();
    let dir = bonsai.scratch().join("mnt");
    let child = start(&bonsai, &server, &dir, &[]);
    let command = Process(child.id());
    let daemon = bonsai
        .processes()
        .into_iter()
        .find(|process| *process != command);
    signal(daemon.expect("a background process"), Signal::SIGTERM);
    let output = child.wait_with_output().expect("ours");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.starts_with("bonsai: the start was interrupted; "),
        "{said}"
    );
    assert_gone(&bonsai, &dir);
}

#[test]
fn a_killed_background_process_fails_the_command() {
    let specimen = specimens::plain();
    let server = GitServer::start(specimen.repo.root()).expect("a server");
    let bonsai = bonsai();
    let dir = bonsai.scratch().join("mnt");
    let child = start(&bonsai, &server, &dir, &[]);
    let command = Process(child.id());
    let daemon = bonsai
        .processes()
        .into_iter()
        .find(|process| *process != command);
    signal(daemon.expect("a background process"), Signal::SIGKILL);
    let output = child.wait_with_output().expect("ours");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("SIGKILL"), "{said}");
    // What it left is cleared away by the next.
    server.resume();
    let mount = bonsai.mount_at(server.url("repo.git"), &dir, &[]);
    mount.unmount();
    bonsai.assert_nothing_left();
}

#[test]
fn a_start_that_is_given_up_can_be_made_again_at_once() {
    let specimen = specimens::plain();
    let server = GitServer::start(specimen.repo.root()).expect("a server");
    let bonsai = bonsai();
    let dir = bonsai.scratch().join("mnt");
    let mut child = start(&bonsai, &server, &dir, &[]);
    let said = bonsai.try_mount(server.url("repo.git"), &dir, &[]);
    assert_eq!(said.code, Some(12), "the first is at it: {said:?}");
    signal(Process(child.id()), Signal::SIGINT);
    child.wait().expect("ours");
    assert!(within(PATIENCE, || !dir.exists()));
    server.resume();
    let mount = bonsai.mount_at(server.url("repo.git"), &dir, &[]);
    assert!(mount.path("README.md").exists());
    mount.unmount();
    bonsai.assert_nothing_left();
}

#[test]
fn a_process_that_hangs_is_ended_by_force_only() {
    let specimen = specimens::plain();
    let bonsai = bonsai();
    let mount = bonsai.mount(specimen.repo.path(), &[]);
    let daemon = mount.daemon();
    signal(daemon, Signal::SIGSTOP);
    // Both at once, as each waits for an answer first.
    let (idle, list) = thread::scope(|scope| {
        let idle = scope.spawn(|| bonsai.try_unmount(mount.dir(), &[]));
        let list = bonsai.ok(["list"]);
        (idle.join().expect("no panic"), list)
    });
    assert_eq!(idle.code, Some(1), "{idle:?}");
    assert!(
        idle.err.contains("does not answer") && idle.err.contains("--force"),
        "{idle:?}"
    );
    assert!(list.contains(" ok"), "it lives: {list}");
    let said = bonsai.try_unmount(mount.dir(), &["--force"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(!daemon.is_alive());
    assert!(mount_at(mount.dir()).is_none());
    assert!(!mount.dir().exists());
    bonsai.assert_nothing_left();
}

#[test]
fn what_someone_mounted_over_a_mount_is_left_alone() {
    assert!(
        nix::unistd::geteuid().is_root(),
        "this test mounts a tmpfs: run it as root"
    );
    let specimen = specimens::plain();
    let bonsai = bonsai();
    let mount = bonsai.mount(specimen.repo.path(), &[]);
    let dir = mount.dir();
    let none: Option<&str> = None;
    nix::mount::mount(Some("over"), dir, Some("tmpfs"), MsFlags::empty(), none).expect("mounted");
    for options in [[].as_slice(), &["--force"]] {
        let said = bonsai.try_unmount(dir, options);
        let over = mount_at(dir).map(|point| point.kind);
        assert_eq!(over.as_deref(), Some("tmpfs"), "{said:?}");
        assert_eq!(said.code, Some(16), "{said:?}");
    }
    nix::mount::umount(dir).expect("unmounted");
    assert!(mount.path("README.md").exists(), "as it was");
    mount.unmount();
    bonsai.assert_nothing_left();
}

/// `docs/ERRORS.md`: what those see who still use a mount that was taken away by force.
#[test]
fn those_who_use_a_mount_that_is_taken_away_are_told_so() {
    let specimen = specimens::plain();
    let server = GitServer::start(specimen.repo.root()).expect("a server");
    let bonsai = bonsai();
    let mount = bonsai.mount(server.url("repo.git"), &[]);
    let mut open = fs::File::open(mount.path("run.sh")).expect("opened");
    let dir = fs::File::open(mount.dir()).expect("opened");
    server.pause();
    let asked = server.log().len();
    let path = mount.path("README.md");
    let waiting = thread::spawn(move || fs::read(path));
    let path = mount.path("src/deep/er/file.txt");
    let looking = thread::spawn(move || fs::metadata(path));
    let in_flight = within(PATIENCE, || server.log().len() > asked);
    assert!(in_flight, "nothing is asked for");
    let said = bonsai.try_unmount(mount.dir(), &["--force"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    drop(dir);
    let errno = |error: io::Error| error.raw_os_error();
    let waited = waiting.join().expect("no panic").expect_err("cut off");
    let looked = looking.join().expect("no panic").expect_err("cut off");
    assert_eq!(
        (errno(waited), errno(looked)),
        (Some(libc::EIO), Some(libc::EIO))
    );
    let mut text = String::new();
    let read = open.read_to_string(&mut text).expect_err("gone");
    assert_eq!(errno(read), Some(libc::ENOTCONN));
    server.resume();
    bonsai.assert_nothing_left();
}

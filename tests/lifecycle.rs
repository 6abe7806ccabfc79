//! A mount's life: how it begins, and every way in which it ends.

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader},
    os::unix::ffi::OsStrExt,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use bonsai_testkit::{
    Bonsai, Order, Said, Specimen, assert_same,
    compare::committed,
    process::{Process, mount_at, within},
    specimens,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// How long anything may take that should take no time at all.
const PATIENCE: Duration = Duration::from_secs(20);

fn bonsai() -> Bonsai {
    Bonsai::new(env!("CARGO_BIN_EXE_bonsai"))
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn signal(process: Process, signal: Signal) {
    let number = i32::try_from(process.0).expect("a process number");
    kill(Pid::from_raw(number), signal).expect("it runs");
}

#[test]
fn a_directory_made_for_the_mount_goes_with_it() {
    let specimen = specimens::plain();
    let bonsai = bonsai();
    let made = bonsai.scratch().join("made");
    bonsai.mount_at(specimen.repo.path(), &made, &[]).unmount();
    assert!(!made.exists());
    let existing = bonsai.scratch().join("existing");
    fs::create_dir(&existing).expect("made");
    bonsai
        .mount_at(specimen.repo.path(), &existing, &[])
        .unmount();
    assert!(existing.is_dir());
}

#[test]
fn a_mount_point_of_any_name() {
    let specimen = specimens::plain();
    let bonsai = bonsai();
    for name in [
        b"with blank and \"quotes\"".as_slice(),
        b"new\nline",
        b"back\\slash",
        b"\xff\xfe",
    ] {
        let dir = bonsai.scratch().join(OsStr::from_bytes(name));
        let mount = bonsai.mount_at(specimen.repo.path(), &dir, &[]);
        assert!(mount.path("README.md").exists());
        assert_eq!(
            json(&bonsai.ok(["list", "--json"]))
                .as_array()
                .map(Vec::len),
            Some(1)
        );
        mount.unmount();
        assert!(!dir.exists());
    }
}

#[test]
fn unmount_by_another_name_of_the_directory() {
    let specimen = specimens::plain();
    let bonsai = bonsai();
    let dir = bonsai.scratch().join("mnt");
    let link = bonsai.scratch().join("link");
    std::os::unix::fs::symlink(&dir, &link).expect("made");
    for (other, folder) in [("mnt/", bonsai.scratch()), ("../mnt/mnt", bonsai.state())] {
        let guard = bonsai.mount_at(specimen.repo.path(), &dir, &[]);
        let mut command = bonsai.command(["unmount", other]);
        let said = Said::from(command.current_dir(folder).output().expect("starts"));
        assert_eq!(said.code, Some(0), "{said:?}");
        assert!(mount_at(guard.dir()).is_none());
    }
    let guard = bonsai.mount_at(specimen.repo.path(), &dir, &[]);
    assert_eq!(bonsai.try_unmount(&link, &[]).code, Some(0));
    drop(guard);
    bonsai.assert_nothing_left();
}

/// A mount in the foreground: the child, after it has said that it is mounted.
fn foreground(bonsai: &Bonsai, specimen: &Specimen, dir: &Path) -> (Child, String) {
    let mut child = bonsai
        .command(["mount", "--foreground"])
        .arg(specimen.repo.path())
        .arg(dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts");
    let mut line = String::new();
    let mut output = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
    output.read_line(&mut line).expect("readable");
    (child, line)
}

#[test]
fn the_foreground_stays_until_a_signal() {
    let specimen = specimens::plain();
    for end in [Signal::SIGINT, Signal::SIGTERM] {
        let bonsai = bonsai();
        let dir = bonsai.scratch().join("mnt");
        let guard = bonsai.guard(&dir);
        let (mut child, line) = foreground(&bonsai, &specimen, &dir);
        assert!(line.starts_with("mounted "), "{line}");
        assert!(guard.path("README.md").exists());
        assert_eq!(guard.daemon(), Process(child.id()), "it serves by itself");
        assert!(child.try_wait().expect("ours").is_none(), "it stays");
        signal(Process(child.id()), end);
        let status = child.wait().expect("ours");
        assert_eq!(status.code(), Some(0), "{end}: {status}");
        assert!(mount_at(&dir).is_none());
        bonsai.assert_nothing_left();
        assert!(!dir.exists());
    }
}

#[test]
fn the_foreground_ends_when_unmounted() {
    let specimen = specimens::plain();
    let by_us = |bonsai: &Bonsai, dir: &Path| bonsai.try_unmount(dir, &[]).code;
    let from_outside = |_: &Bonsai, dir: &Path| {
        let status = Command::new("umount").arg(dir).status();
        status.expect("it starts").code()
    };
    for unmount in [&by_us as &dyn Fn(&Bonsai, &Path) -> _, &from_outside] {
        let bonsai = bonsai();
        let dir = bonsai.scratch().join("mnt");
        let guard = bonsai.guard(&dir);
        let (mut child, _) = foreground(&bonsai, &specimen, &dir);
        assert_eq!(unmount(&bonsai, &dir), Some(0));
        assert_eq!(child.wait().expect("ours").code(), Some(0));
        drop(guard);
        bonsai.assert_nothing_left();
    }
}

#[test]
fn the_background_ends_cleanly_by_a_signal() {
    let specimen = specimens::plain();
    for end in [Signal::SIGTERM, Signal::SIGINT] {
        let bonsai = bonsai();
        let mount = bonsai.mount(specimen.repo.path(), &[]);
        let daemon = mount.daemon();
        signal(daemon, end);
        assert!(within(PATIENCE, || !daemon.is_alive()), "{end}");
        assert!(mount_at(mount.dir()).is_none(), "{end}");
        bonsai.assert_nothing_left();
        assert!(!mount.dir().exists());
    }
}

#[test]
fn a_signal_ends_a_busy_mount_too() {
    let specimen = specimens::plain();
    let bonsai = bonsai();
    let mount = bonsai.mount(specimen.repo.path(), &[]);
    let daemon = mount.daemon();
    let held = fs::File::open(mount.path("README.md")).expect("opened");
    signal(daemon, Signal::SIGTERM);
    assert!(within(PATIENCE, || !daemon.is_alive()));
    assert!(mount_at(mount.dir()).is_none());
    drop(held);
    bonsai.assert_nothing_left();
}

#[test]
fn a_hang_up_does_not_end_the_background() {
    let specimen = specimens::plain();
    let bonsai = bonsai();
    let mount = bonsai.mount(specimen.repo.path(), &[]);
    let daemon = mount.daemon();
    signal(daemon, Signal::SIGHUP);
    // Signals are handled before what is asked after them.
    assert_eq!(fs::read(mount.path("README.md")).expect("read").len(), 18);
    assert_eq!(mount.daemon(), daemon);
    mount.unmount();
}

#[test]
fn a_killed_mount_is_shown_as_dead_and_its_directory_used_again() {
    let specimen = specimens::plain();
    let expected = committed(&specimen.repo, &specimen.commit);
    let bonsai = bonsai();
    let dir = bonsai.scratch().join("mnt");
    let dead = bonsai.mount_at(specimen.repo.path(), &dir, &[]);
    dead.kill();
    let error = fs::read_dir(&dir).expect_err("nobody serves it");
    // Which of the two depends on the kernel's version.
    let dead_errno = [libc::ENOTCONN, libc::ECONNABORTED];
    assert!(
        error
            .raw_os_error()
            .is_some_and(|errno| dead_errno.contains(&errno)),
        "{error}"
    );
    let list = json(&bonsai.ok(["list", "--json"]));
    assert_eq!(list[0]["state"], "dead", "{list}");
    assert!(bonsai.ok(["list"]).contains("dead"));
    let again = bonsai.mount_at(specimen.repo.path(), &dir, &[]);
    assert_same(&expected, &dir, Order::Sorted);
    assert_eq!(
        json(&bonsai.ok(["list", "--json"]))
            .as_array()
            .map(Vec::len),
        Some(1)
    );
    again.unmount();
    drop(dead);
    bonsai.assert_nothing_left();
    assert!(!dir.exists(), "made for the first, it goes with the second");
}

#[test]
fn a_killed_mount_can_be_unmounted() {
    let specimen = specimens::plain();
    let bonsai = bonsai();
    let mount = bonsai.mount(specimen.repo.path(), &[]);
    mount.kill();
    let said = bonsai.try_unmount(mount.dir(), &[]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(mount_at(mount.dir()).is_none());
    bonsai.assert_nothing_left();
}

#[test]
fn a_killed_mount_without_its_state_is_still_recognised() {
    let specimen = specimens::plain();
    let bonsai = bonsai();
    let dir = bonsai.scratch().join("mnt");
    let dead = bonsai.mount_at(specimen.repo.path(), &dir, &[]);
    dead.kill();
    fs::remove_dir_all(bonsai.state()).expect("removed");
    let again = bonsai.mount_at(specimen.repo.path(), &dir, &[]);
    assert!(again.path("README.md").exists());
    again.unmount();
    bonsai.assert_nothing_left();
}

#[test]
fn unmounted_from_outside_the_process_ends() {
    let specimen = specimens::plain();
    for command in [
        ["umount"].as_slice(),
        &["fusermount3", "-u"],
        &["umount", "-l"],
    ] {
        let bonsai = bonsai();
        let mount = bonsai.mount(specimen.repo.path(), &[]);
        let daemon = mount.daemon();
        let status = Command::new(command[0])
            .args(&command[1..])
            .arg(mount.dir())
            .status()
            .expect("it starts");
        assert!(status.success(), "{command:?}");
        assert!(within(PATIENCE, || !daemon.is_alive()), "{command:?}");
        bonsai.assert_nothing_left();
    }
}

#[test]
fn of_several_mounts_at_one_directory_one_succeeds() {
    let specimen = specimens::plain();
    let bonsai = bonsai();
    let dir = bonsai.scratch().join("mnt");
    let guard = bonsai.guard(&dir);
    let codes: Vec<Option<i32>> = thread::scope(|scope| {
        let starts: Vec<_> = (0..5)
            .map(|_| scope.spawn(|| bonsai.try_mount(specimen.repo.path(), &dir, &[]).code))
            .collect();
        starts
            .into_iter()
            .map(|start| start.join().expect("no panic"))
            .collect()
    });
    let winners = codes.iter().filter(|code| **code == Some(0)).count();
    assert_eq!(winners, 1, "{codes:?}");
    assert!(
        codes.iter().all(|code| matches!(code, Some(0 | 12))),
        "{codes:?}"
    );
    assert!(guard.path("README.md").exists());
    assert_eq!(
        json(&bonsai.ok(["list", "--json"]))
            .as_array()
            .map(Vec::len),
        Some(1)
    );
    guard.unmount();
    bonsai.assert_nothing_left();
}

#[test]
fn a_busy_mount_is_unmounted_only_by_force() {
    let specimen = specimens::plain();
    let bonsai = bonsai();
    let mount = bonsai.mount(specimen.repo.path(), &[]);
    let held = fs::File::open(mount.path("README.md")).expect("opened");
    let said = bonsai.try_unmount(mount.dir(), &[]);
    assert_eq!(said.code, Some(16), "{said:?}");
    assert!(said.err.contains("--force"), "{said:?}");
    assert!(mount.path("README.md").exists(), "it goes on");
    let said = bonsai.try_unmount(mount.dir(), &["--force"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(mount_at(mount.dir()).is_none());
    drop(held);
    bonsai.assert_nothing_left();
}

#[test]
fn the_background_process_is_on_its_own() {
    let specimen = specimens::plain();
    let mut bonsai = bonsai();
    // A descriptor that every child inherits.
    let stray = bonsai.home().join("stray");
    fs::write(&stray, "").expect("written");
    let script = format!("exec 9<'{}'; exec \"$@\"", stray.display());
    bonsai.set_prefix(&["sh", "-c", &script, "sh"]);
    let mount = bonsai.mount(specimen.repo.path(), &[]);
    let daemon = mount.daemon();
    assert_eq!(daemon.session(), Some(daemon.0), "leads a session");
    assert_eq!(daemon.working_dir().as_deref(), Some(Path::new("/")));
    let descriptors = daemon.descriptors();
    assert!(!descriptors.is_empty());
    assert!(!descriptors.contains(&stray), "{descriptors:?}");
    mount.unmount();
}

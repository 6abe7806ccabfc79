//! A provider that does not answer: who waits, who doesn't, and how waiting ends.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    mounted::{Mounted, soon, until},
    tree::{Mood, Tree},
};

#[test]
fn those_who_wait_do_not_hold_up_the_others() {
    let tree = Tree::new();
    let stalled: Vec<usize> = (0..40)
        .map(|i| tree.file(0, format!("stalled{i}"), "late"))
        .collect();
    let slow = tree.dir(0, "slow");
    tree.file(slow, "file", "");
    let sub = tree.dir(0, "sub");
    tree.file(sub, "warm", "warm");
    let cold = tree.file(sub, "cold", "cold");
    for id in stalled.iter().copied().chain([slow, cold]) {
        tree.set(id, Mood::Cold);
    }
    for id in stalled.iter().copied().chain([slow]) {
        tree.hold(id);
    }
    let mount = Mounted::new(&tree);

    let mut readers = Vec::new();
    for i in 0..stalled.len() {
        let path = mount.path(format!("stalled{i}"));
        readers.push(thread::spawn(move || fs::read(path)));
    }
    // One who looks up in a directory that does not come, and one who lists it.
    let path = mount.path("slow/file");
    let looker = thread::spawn(move || fs::metadata(path).map(|_| Vec::new()));
    readers.push(looker);
    until("all of them wait", || tree.waiting() >= 41);

    let dir = mount.dir().to_owned();
    soon(move || {
        for _ in 0..100 {
            assert_eq!(fs::metadata(dir.join("sub/warm")).expect("there").len(), 4);
        }
        assert_eq!(fs::read(dir.join("sub/warm")).expect("read"), b"warm");
        assert_eq!(fs::read(dir.join("sub/cold")).expect("read"), b"cold");
        assert_eq!(fs::read_dir(dir.join("sub")).expect("listed").count(), 2);
    });

    for id in stalled.into_iter().chain([slow]) {
        tree.release(id);
    }
    for reader in readers {
        let read = soon(move || reader.join().expect("no panic")).expect("it got its answer");
        assert!(read == b"late" || read.is_empty());
    }
}

/// Starts `program` on `path`, waits until it hangs on the tree, sends it `signal`, and waits for
/// its end.
fn kill_waiting(tree: &Tree, program: &str, path: &Path, signal: Signal) {
    let before = tree.waiting();
    let mut child = Command::new(program)
        .arg(path)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    until("it waits", || tree.waiting() > before);
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process number"));
    kill(pid, signal).expect("it is alive");
    let status = soon(move || child.wait()).expect("waited for");
    assert!(!status.success());
}

const SIGNALS: [Signal; 3] = [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGINT];

/// The kernel lets go of such a process only when its request is answered.
#[test]
fn a_process_that_waits_for_a_name_or_an_attribute_can_be_killed() {
    let tree = Tree::new();
    let dir = tree.dir(0, "dir");
    let link = tree.link(0, "link", "x");
    let sizeless = tree.sizeless(0, "sizeless", "x");
    for id in [dir, link, sizeless] {
        tree.set(id, Mood::Cold);
        tree.hold(id);
    }
    let mount = Mounted::new(&tree);
    for signal in SIGNALS {
        for (program, path) in [
            ("stat", "dir/below"),
            ("ls", "dir"),
            ("readlink", "link"),
            ("stat", "sizeless"),
        ] {
            kill_waiting(&tree, program, &mount.path(path), signal);
            until("its request is given up", || tree.waiting() == 0);
        }
    }
    // Others still get their answers.
    for id in [dir, link, sizeless] {
        tree.release(id);
    }
    assert_eq!(
        fs::metadata(mount.path("sizeless")).expect("there").len(),
        1
    );
    assert_eq!(fs::read_dir(mount.path("dir")).expect("listed").count(), 0);
    assert_eq!(mount.failures.count(), 0, "{:?}", mount.failures.last());
}

/// The kernel lets go of such a process by itself; what it read ahead may be of use to others.
#[test]
fn a_process_that_waits_for_content_can_be_killed() {
    let tree = Tree::new();
    let files: Vec<usize> = (0..SIGNALS.len())
        .map(|i| tree.file(0, format!("file{i}"), "content"))
        .collect();
    for file in &files {
        tree.set(*file, Mood::Cold);
        tree.hold(*file);
    }
    let mount = Mounted::new(&tree);
    for (i, signal) in SIGNALS.into_iter().enumerate() {
        kill_waiting(&tree, "cat", &mount.path(format!("file{i}")), signal);
    }
    for (i, file) in files.into_iter().enumerate() {
        tree.release(file);
        let read = fs::read(mount.path(format!("file{i}")));
        assert_eq!(read.expect("others can read it"), b"content");
    }
}

#[test]
fn one_who_is_killed_takes_nothing_from_the_others() {
    let tree = Tree::new();
    let file = tree.file(0, "file", "content");
    tree.set(file, Mood::Cold);
    tree.hold(file);
    let mount = Mounted::new(&tree);
    let path = mount.path("file");
    let reader = thread::spawn(move || fs::read(path));
    until("the first waits", || tree.waiting() > 0);
    let mut child = Command::new("cat")
        .arg(mount.path("file"))
        .stdout(Stdio::null())
        .spawn()
        .expect("cat starts");
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process number"));
    let stat = format!("/proc/{pid}/stat");
    until("the second waits", || {
        fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") D "))
    });
    kill(pid, Signal::SIGKILL).expect("it is alive");
    soon(move || child.wait()).expect("waited for");
    tree.release(file);
    let read = soon(move || reader.join().expect("no panic"));
    assert_eq!(read.expect("the first gets its answer"), b"content");
}

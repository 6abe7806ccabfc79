//! How a mount ends.

use std::{env, fs, os::fd::RawFd, process::Command, thread};

use bonsaifs::{
    fuse::Transport,
    mount::{
        device::{self, Detach, DetachError},
        point,
    },
};

use crate::{
    mounted::{Mounted, soon, transport, until},
    tree::{Mood, Tree},
};

fn tree() -> Tree {
    let tree = Tree::new();
    tree.file(0, "file", "content");
    tree
}

#[test]
fn unmounting_ends_the_threads() {
    let mount = Mounted::new(&tree());
    assert_eq!(fs::read(mount.path("file")).expect("read"), b"content");
    let listed = point::mounted_at(mount.dir())
        .expect("readable")
        .expect("mounted");
    assert_eq!(listed.fs_type, "fuse.bonsai");
    assert_eq!(listed.source, "test");
    device::detach(mount.dir(), Detach::Idle).expect("nobody uses it");
    mount.wait_end().expect("a clean end");
    assert!(point::mounted_at(mount.dir()).expect("readable").is_none());
    assert_eq!(
        device::detach(mount.dir(), Detach::Idle),
        Err(DetachError::NotMounted)
    );
}

#[test]
fn a_mount_in_use_is_busy_and_can_be_detached() {
    let mount = Mounted::new(&tree());
    let file = fs::File::open(mount.path("file")).expect("opened");
    assert_eq!(
        device::detach(mount.dir(), Detach::Idle),
        Err(DetachError::Busy)
    );
    device::detach(mount.dir(), Detach::Lazy).expect("always possible");
    assert!(point::mounted_at(mount.dir()).expect("readable").is_none());
    // Who has it open goes on reading.
    assert_eq!(std::io::read_to_string(&file).expect("read"), "content");
    drop(file);
    mount.wait_end().expect("a clean end");
}

#[test]
fn a_stalled_reader_does_not_hold_up_unmounting() {
    let tree = tree();
    let stalled = tree.file(0, "stalled", "late");
    tree.set(stalled, Mood::Cold);
    tree.hold(stalled);
    let mount = Mounted::new(&tree);
    let path = mount.path("stalled");
    let reader = thread::spawn(move || fs::read(path));
    until("it waits", || tree.waiting() > 0);

    let dir = mount.dir().to_owned();
    let (idle, lazy) = soon(move || {
        let idle = device::detach(&dir, Detach::Idle);
        (idle, device::detach(&dir, Detach::Lazy))
    });
    assert_eq!(idle, Err(DetachError::Busy));
    assert_eq!(lazy, Ok(()));
    tree.release(stalled);
    let read = soon(move || reader.join().expect("no panic"));
    assert_eq!(read.expect("its answer"), b"late");
    mount.wait_end().expect("a clean end");
}

/// Requests of its processor would wait for ever.
#[test]
fn a_queue_that_fails_ends_the_mount() {
    if transport() != Transport::Uring {
        return;
    }
    // In a process without the rings of other tests.
    let alone = Command::new(env::current_exe().expect("this program"))
        .args(["--exact", "--ignored", "ending::all_rings_are_taken_away"])
        .output()
        .expect("it starts");
    // Its reader, which has the same output, has ended too.
    let said = String::from_utf8_lossy(&alone.stdout);
    assert!(alone.status.success(), "{said}");
    assert!(said.contains("1 passed"), "{said}");
}

#[test]
#[ignore = "a_queue_that_fails_ends_the_mount runs it"]
#[expect(unsafe_code, reason = "descriptors taken away from their owner")]
fn all_rings_are_taken_away() {
    let mount = Mounted::new(&tree());
    let none = fs::File::open("/dev/null").expect("always there");
    let mut rings = 0;
    for fd in fs::read_dir("/proc/self/fd").expect("readable") {
        let fd = fd.expect("an entry");
        if fs::read_link(fd.path()).is_ok_and(|it| it.ends_with("anon_inode:[io_uring]")) {
            let name = fd.file_name();
            let number: Option<RawFd> = name.to_str().and_then(|name| name.parse().ok());
            // The number is that of another file now, and the ring only there as long as a thread waits in it.
            // SAFETY: the ring's owner, which stays alive, finds that other file under its number, and closes it.
            let taken = unsafe { nix::unistd::dup2_raw(&none, number.expect("a number")) };
            std::mem::forget(taken.expect("replaced"));
            rings += 1;
        }
    }
    assert!(rings > 0);
    // Not a thread of this process: it could not end as long as that waits.
    let reader = Command::new("cat").arg(mount.path("file")).spawn();
    drop(reader.expect("it starts"));
    mount.wait_end().expect_err("the rings are gone");
}

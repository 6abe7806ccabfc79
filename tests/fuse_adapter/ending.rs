//! How a mount ends.

use std::{fs, thread};

use bonsaifs::mount::{
    device::{self, Detach, DetachError},
    point,
};

use crate::{
    mounted::{Mounted, soon, until},
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

//! Failures and panics: the errno that a process sees, and a mount that goes on.

use std::fs;

use bonsaifs_core::fs::FsErrorKind;

use crate::{
    mounted::Mounted,
    tree::{Mood, Tree},
};

fn errno<T: std::fmt::Debug>(result: std::io::Result<T>) -> i32 {
    let error = result.expect_err("it fails");
    error.raw_os_error().expect("the system's")
}

#[test]
fn failures_are_told_apart_and_taken_note_of() {
    let tree = Tree::new();
    let mut seen = 0;
    for (kind, number, is_news) in [
        (FsErrorKind::Io, libc::EIO, true),
        (FsErrorKind::Denied, libc::EACCES, true),
        (FsErrorKind::TimedOut, libc::ETIMEDOUT, true),
        (FsErrorKind::TooLarge, libc::EFBIG, false),
    ] {
        let dir = tree.dir(0, format!("{kind:?}"));
        tree.set(dir, Mood::Fails(kind));
        let link = tree.link(0, format!("link {kind:?}"), "x");
        tree.set(link, Mood::Fails(kind));
        let mount = Mounted::new(&tree);
        assert_eq!(
            errno(
                fs::read_dir(mount.path(format!("{kind:?}")))
                    .and_then(|mut dir| { dir.next().expect("an error, not an end") })
            ),
            number
        );
        assert_eq!(
            errno(fs::read_link(mount.path(format!("link {kind:?}")))),
            number
        );
        assert_eq!(
            errno(fs::metadata(mount.path(format!("{kind:?}/below")))),
            number,
            "never \"no such file\""
        );
        seen = mount.failures.count();
        assert_eq!(seen >= 3, is_news, "{kind:?}: {seen}");
        if is_news {
            let last = mount.failures.last().expect("there were some");
            assert!(last.message.contains(&format!("/{kind:?}")), "{last:?}");
            assert!(last.message.contains("as the test wants it"), "{last:?}");
        }
    }
    assert_eq!(seen, 0, "the last kind was no news");
}

#[test]
fn a_failure_is_not_kept_as_an_answer() {
    let tree = Tree::new();
    let dir = tree.dir(0, "dir");
    tree.file(dir, "file", "content");
    tree.set(dir, Mood::Fails(FsErrorKind::Io));
    let mount = Mounted::new(&tree);
    assert_eq!(errno(fs::read(mount.path("dir/file"))), libc::EIO);
    tree.set(dir, Mood::Cold);
    assert_eq!(
        fs::read(mount.path("dir/file")).expect("now it works"),
        b"content"
    );
}

#[test]
fn a_panic_answers_eio_and_the_mount_goes_on() {
    let tree = Tree::new();
    for (i, mood) in [Mood::PanicsNow, Mood::PanicsLater].into_iter().enumerate() {
        let file = tree.file(0, format!("file{i}"), "content");
        tree.set(file, mood);
        let dir = tree.dir(0, format!("dir{i}"));
        tree.set(dir, mood);
    }
    tree.file(0, "fine", "content");
    let mount = Mounted::new(&tree);
    // More often than there are FUSE threads, so that each would be lost by now.
    for _ in 0..20 {
        for i in 0..2 {
            assert_eq!(errno(fs::read(mount.path(format!("file{i}")))), libc::EIO);
            assert_eq!(
                errno(fs::metadata(mount.path(format!("dir{i}/x")))),
                libc::EIO
            );
        }
    }
    assert_eq!(fs::read(mount.path("fine")).expect("read"), b"content");
    assert!(fs::metadata(mount.path("missing")).is_err());
    assert!(mount.failures.count() >= 20, "panics are news");
}

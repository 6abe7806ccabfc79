//! Sizes that are not known when a directory is listed (`fuse::directory` says how).

use std::{
    fs::{self, File},
    io::Read,
    os::fd::AsFd,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use bonsaifs::fuse::Op;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

use crate::{
    mounted::{Mounted, soon, until},
    tree::{Mood, Tree},
};

/// Lists `dir` by asking the mount, not the kernel's cache of it.
fn list_anew(dir: &Path) -> usize {
    let open = File::open(dir).expect("a directory");
    posix_fadvise(open.as_fd(), 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).expect("advised");
    drop(open);
    fs::read_dir(dir).expect("listed").count()
}

#[test]
fn listing_does_not_wait_and_stat_does() {
    let tree = Tree::new();
    let ids: Vec<usize> = (0..30)
        .map(|i| tree.sizeless(0, format!("f{i}"), "x".repeat(i + 1)))
        .collect();
    for id in &ids {
        tree.set(*id, Mood::Cold);
        tree.hold(*id);
    }
    let mount = Mounted::new(&tree);
    let dir = mount.dir().to_owned();
    let listed = soon(move || {
        let mut types: Vec<bool> = Vec::new();
        for entry in fs::read_dir(dir).expect("listed") {
            types.push(
                entry
                    .expect("an entry")
                    .file_type()
                    .expect("told")
                    .is_file(),
            );
        }
        types
    });
    assert_eq!(listed, [true; 30], "names and types need no sizes");
    assert!(mount.count(Op::Readdirplus) > 0);

    let path = mount.path("f9");
    let stat = thread::spawn(move || fs::metadata(path).expect("there").len());
    until("stat waits", || tree.waiting() > 0);
    assert!(!stat.is_finished());
    for id in &ids {
        tree.release(*id);
    }
    assert_eq!(soon(move || stat.join().expect("no panic")), 10);
    for i in 0..30 {
        let path = mount.path(format!("f{i}"));
        assert_eq!(fs::read(&path).expect("read").len(), i + 1);
        assert_eq!(fs::metadata(&path).expect("there").len(), i as u64 + 1);
    }
}

#[test]
fn a_size_once_seen_stays_while_the_directory_is_listed_again() {
    let tree = Tree::new();
    let dir = tree.dir(0, "dir");
    for i in 0..30 {
        let id = tree.sizeless(dir, format!("f{i}"), "x".repeat(i + 1));
        tree.set(id, Mood::Cold);
    }
    let mount = Mounted::new(&tree);
    let dir = mount.path("dir");
    assert_eq!(list_anew(&dir), 30);
    let mut file = File::open(dir.join("f20")).expect("opened");
    assert_eq!(file.metadata().expect("there").len(), 21);
    for _ in 0..5 {
        let asked = mount.count(Op::Readdir) + mount.count(Op::Readdirplus);
        assert_eq!(list_anew(&dir), 30);
        let asked_again = mount.count(Op::Readdir) + mount.count(Op::Readdirplus);
        assert!(
            asked_again > asked,
            "the listing came from the kernel's cache"
        );
        assert_eq!(file.metadata().expect("there").len(), 21);
    }
    let mut text = String::new();
    file.read_to_string(&mut text).expect("read");
    assert_eq!(text.len(), 21);
}

/// The kernel keeps targets of links in its page cache, and may cut them to the size it has.
#[test]
fn links_of_unknown_length_lead_where_they_should() {
    let tree = Tree::new();
    let dir = tree.dir(0, "dir");
    for i in 0..30 {
        let target = format!("{}/{i}", "target".repeat(i + 1));
        let id = tree.sizeless_link(dir, format!("l{i}"), target);
        tree.set(id, Mood::Cold);
    }
    let mount = Mounted::new(&tree);
    for _ in 0..3 {
        assert_eq!(list_anew(&mount.path("dir")), 30);
        for i in 0..30 {
            let path = mount.path(format!("dir/l{i}"));
            let target = fs::read_link(&path).expect("a target");
            let expected = format!("{}/{i}", "target".repeat(i + 1));
            assert_eq!(target.to_str(), Some(expected.as_str()));
            let length = fs::symlink_metadata(&path).expect("there").len();
            assert_eq!(length, expected.len() as u64);
        }
    }
}

/// Copies by means that trust the size that the kernel has, and never ask for it (`splice`).
fn splice(file: &File) -> String {
    // A copy of the writing end in a process that another test starts would keep it open.
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe");
    let flags = rustix::pipe::SpliceFlags::empty();
    rustix::pipe::splice(file, None, &write, None, 100, flags).expect("spliced");
    drop(write);
    let mut text = String::new();
    File::from(read).read_to_string(&mut text).expect("read");
    text
}

/// A listing waits for no look-up under way, and what it does not know does not win over the answer.
#[test]
fn a_listing_does_not_overtake_a_look_up() {
    let tree = Tree::new();
    let dir = tree.dir(0, "dir");
    let file = tree.sizeless(dir, "file", "content");
    tree.set(file, Mood::Cold);
    tree.hold(file);
    let mount = Mounted::new(&tree);
    let dir = mount.path("dir");
    assert_eq!(list_anew(&dir), 1);

    let path = mount.path("dir/file");
    let copier = thread::spawn(move || splice(&File::open(path).expect("opened")));
    until("the look-up waits", || tree.waiting() > 0);
    let listed = mount.count(Op::Readdirplus);
    assert_eq!(list_anew(&dir), 1);
    assert!(
        mount.count(Op::Readdirplus) > listed,
        "it was given another"
    );
    tree.release(file);
    assert_eq!(soon(move || copier.join().expect("no panic")), "content");
    assert_eq!(
        mount.count(Op::Forget),
        0,
        "what has no size was not counted"
    );
}

/// The same by chance: two list, others open files for the first time.
#[test]
fn no_process_sees_a_size_that_is_not_true() {
    const FILES: usize = 300;
    let tree = Tree::new();
    let dirs: Vec<String> = (0..4).map(|d| format!("d{d}")).collect();
    for name in &dirs {
        let dir = tree.dir(0, name);
        for i in 0..FILES {
            let id = tree.sizeless(dir, format!("f{i}"), format!("{i:09}"));
            tree.set(id, Mood::Cold);
        }
    }
    let mount = Mounted::new(&tree);
    let copy_all = |dir: &Path, order: &mut dyn Iterator<Item = usize>| {
        for i in order {
            let file = File::open(dir.join(format!("f{i}"))).expect("opened");
            assert_eq!(splice(&file), format!("{i:09}"));
            assert_eq!(file.metadata().expect("there").len(), 9);
        }
    };
    for dir in dirs.iter().map(|dir| mount.path(dir)) {
        let copiers = AtomicUsize::new(2);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while copiers.load(Ordering::Relaxed) > 0 {
                        assert_eq!(list_anew(&dir), FILES);
                    }
                });
            }
            for backwards in [false, true] {
                let (dir, copiers) = (&dir, &copiers);
                scope.spawn(move || {
                    // Also when it panics, or the listers would go on for ever.
                    let _end = Countdown(copiers);
                    match backwards {
                        false => copy_all(dir, &mut (0..FILES)),
                        true => copy_all(dir, &mut (0..FILES).rev()),
                    }
                });
            }
        });
    }
}

struct Countdown<'a>(&'a AtomicUsize);

impl Drop for Countdown<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

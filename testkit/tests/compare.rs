//! The comparer finds nothing wrong with a real checkout, and every planted difference.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, symlink},
    path::PathBuf,
    process::Command,
};

use bonsai_testkit::{
    Files, Order, Repo, Specimen, assert_same_in_parallel,
    compare::{Difference, Node, Tree, committed, differences, read_tree},
    specimens,
};
use tempfile::TempDir;

/// The files of a commit on an ordinary file system.
struct Checkout {
    folder: TempDir,
    expected: Tree,
}

impl Checkout {
    fn of(specimen: &Specimen) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let status = Command::new("sh")
            .args(["-c", "umask 022 && exec git \"$@\"", "sh"])
            .args(["-c", "safe.directory=*"])
            .arg("--git-dir")
            .arg(specimen.repo.git_dir())
            .arg("--work-tree")
            .arg(folder.path())
            .args([
                "checkout",
                "--force",
                "--quiet",
                &specimen.commit,
                "--",
                ".",
            ])
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .status()
            .expect("git starts");
        assert!(status.success());
        Self {
            folder,
            expected: committed(&specimen.repo, &specimen.commit),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn differences(&self) -> Vec<Difference> {
        differences(
            &self.expected,
            &read_tree(self.folder.path(), Order::Sorted),
        )
    }
}

#[test]
fn a_checkout_is_the_same() {
    for make in [
        specimens::plain,
        specimens::names,
        specimens::symlinks,
        specimens::executables,
        specimens::sha256,
    ] {
        let checkout = Checkout::of(&make());
        assert_eq!(checkout.differences(), []);
        assert_same_in_parallel(&checkout.expected, checkout.folder.path(), 8);
    }
}

#[test]
fn a_deep_checkout_is_the_same() {
    let checkout = Checkout::of(&specimens::deep(200));
    assert_eq!(checkout.differences(), []);
}

/// A checkout of one file of each kind, for `plant` to spoil.
fn planted(plant: impl FnOnce(&Checkout)) -> Vec<Difference> {
    let repo = Repo::new();
    let files = Files::new()
        .file("dir/file", "content")
        .executable("run", "x")
        .symlink("link", "file");
    let commit = repo.commit(&files);
    let checkout = Checkout::of(&Specimen {
        repo,
        want: None,
        commit,
    });
    assert_eq!(checkout.differences(), []);
    plant(&checkout);
    checkout.differences()
}

#[test]
fn a_missing_path_is_found() {
    let found = planted(|at| fs::remove_file(at.path("run")).expect("removed"));
    assert_eq!(found, [Difference::Missing(b"run".to_vec())]);
}

#[test]
fn an_extra_path_is_found() {
    let found = planted(|at| fs::create_dir(at.path("dir/new")).expect("made"));
    assert_eq!(found, [Difference::Extra(b"dir/new".to_vec())]);
}

#[test]
fn another_mode_is_found() {
    for (name, mode) in [("run", 0o644), ("dir/file", 0o755)] {
        let permissions = Permissions::from_mode(mode);
        let found = planted(|at| fs::set_permissions(at.path(name), permissions).expect("set"));
        assert_eq!(found, [Difference::Mode(name.as_bytes().to_vec())]);
    }
}

#[test]
fn odd_permissions_are_found() {
    for (name, mode) in [
        ("run", 0o4755),
        ("run", 0o744),
        ("dir/file", 0o600),
        ("dir", 0o644),
    ] {
        let permissions = Permissions::from_mode(mode);
        let found = planted(|at| fs::set_permissions(at.path(name), permissions).expect("set"));
        let odd = |difference: &Difference| matches!(difference, Difference::Odd { what, .. } if what.contains("permissions"));
        assert!(found.iter().any(odd), "{name} {mode:o}: {found:?}");
    }
}

#[test]
fn another_target_is_found() {
    let found = planted(|at| {
        fs::remove_file(at.path("link")).expect("removed");
        symlink("fil", at.path("link")).expect("made");
    });
    assert_eq!(found, [Difference::Target(b"link".to_vec())]);
}

#[test]
fn another_kind_is_found() {
    let found = planted(|at| {
        fs::remove_file(at.path("link")).expect("removed");
        fs::write(at.path("link"), "file").expect("made");
    });
    let expected = Difference::Kind {
        path: b"link".to_vec(),
        expected: Node::Symlink(b"file".to_vec()),
        actual: Node::file(false, "file"),
    };
    assert_eq!(found, [expected]);
}

#[test]
fn another_byte_is_found() {
    let found = planted(|at| fs::write(at.path("dir/file"), "conTent").expect("written"));
    let expected = Difference::Bytes {
        path: b"dir/file".to_vec(),
        offset: 3,
    };
    assert_eq!(found, [expected]);
}

#[test]
fn another_size_is_found() {
    for content in ["content\n", "conten"] {
        let found = planted(|at| fs::write(at.path("dir/file"), content).expect("written"));
        let (path, length) = (b"dir/file".to_vec(), content.len());
        let size = Difference::Size {
            path: path.clone(),
            expected: 7,
            actual: u64::try_from(length).expect("small"),
        };
        let bytes = Difference::Bytes {
            path,
            offset: length.min(7),
        };
        assert_eq!(found, [size, bytes]);
    }
}

#[test]
fn a_size_that_lies_is_found() {
    // Files of /proc say 0 and hold something.
    let actual = read_tree("/proc/self/net/stat".as_ref(), Order::Sorted);
    let lies = actual.nodes.iter().find_map(|(path, node)| match node {
        Node::File { size: 0, data, .. } if !data.is_empty() => {
            let mut nodes = actual.nodes.clone();
            nodes.insert(path.clone(), Node::file(false, data.clone()));
            Some(nodes)
        }
        _ => None,
    });
    let expected = Tree {
        nodes: lies.expect("such a file"),
        oddities: Vec::new(),
    };
    let found = differences(&expected, &actual);
    assert!(
        matches!(found.as_slice(), [.., Difference::Size { actual: 0, .. }]),
        "{found:?}"
    );
}

#[test]
fn what_cannot_be_read_is_found() {
    let tree = read_tree("/nowhere/at/all".as_ref(), Order::Sorted);
    assert!(matches!(tree.oddities.as_slice(), [Difference::Odd { .. }]));
    let found = planted(|at| {
        fs::remove_file(at.path("dir/file")).expect("removed");
        let status = Command::new("mkfifo").arg(at.path("dir/file")).status();
        assert!(status.expect("mkfifo starts").success());
    });
    assert!(
        found
            .iter()
            .any(|one| matches!(one, Difference::Odd { .. }))
    );
    assert!(found.contains(&Difference::Missing(b"dir/file".to_vec())));
}

#[test]
fn a_parallel_reader_that_finds_something_fails_the_test() {
    let checkout = Checkout::of(&specimens::plain());
    fs::write(checkout.path("README.md"), "other").expect("written");
    let expected = checkout.expected.clone();
    let dir = checkout.folder.path().to_owned();
    let caught = std::panic::catch_unwind(|| assert_same_in_parallel(&expected, &dir, 3));
    assert!(caught.is_err());
}

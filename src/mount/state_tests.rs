use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

fn root() -> (tempfile::TempDir, StateRoot) {
    let temp = tempfile::tempdir().expect("a temporary folder");
    let root = StateRoot::at(&temp.path().join("state"), 0o022).expect("a new folder is fine");
    (temp, root)
}

fn record(dir: &str) -> Record {
    Record {
        source: "https://example.org/r.git".to_owned(),
        ref_name: Some("refs/heads/main".to_owned()),
        commit: "ab".repeat(20),
        dir: DirFields::from(Path::new(dir)),
        created_dir: false,
        pid: std::process::id(),
        started: 1,
        version: "0.1.0".to_owned(),
        log: None,
    }
}

/// Makes `folder` as a killed process leaves it: in place, and the lock free. Unlocked, not only
/// closed: a process that another test is just starting has every descriptor until its exec.
fn kill(folder: OwnFolder) {
    folder._lock.unlock().expect("it was locked");
    let copy = folder.path.with_extension("copy");
    fs::rename(&folder.path, &copy).expect("renamed");
    let path = folder.path.clone();
    drop(folder);
    fs::rename(copy, path).expect("renamed back");
}

#[test]
fn a_new_folder_is_for_its_owner_only() {
    let (_temp, root) = root();
    let mode = |path: &Path| fs::metadata(path).expect("it is there").mode() & 0o777;
    assert_eq!(mode(root.path()), 0o700);
    let own = root.create().expect("created");
    assert_eq!(mode(own.path()), 0o700);
}

#[test]
fn folders_open_to_others_are_refused() {
    let (_temp, root) = root();
    let set = |mode| {
        fs::set_permissions(root.path(), fs::Permissions::from_mode(mode)).expect("set");
    };
    set(0o755);
    StateRoot::at(root.path(), 0o022).expect("others may look, not write");
    let error = StateRoot::at(root.path(), 0o077).expect_err("not in /tmp");
    assert!(error.to_string().contains("755"), "{error}");
    set(0o770);
    StateRoot::at(root.path(), 0o022).expect_err("others may write");
}

#[test]
fn links_and_files_are_refused() {
    let (temp, root) = root();
    let link = temp.path().join("link");
    symlink(root.path(), &link).expect("linked");
    StateRoot::at(&link, 0o022).expect_err("a link may lead anywhere");
    let file = temp.path().join("file");
    fs::write(&file, "").expect("written");
    StateRoot::at(&file, 0o022).expect_err("a file is no folder");
}

#[test]
fn a_mount_is_seen_from_publication_to_its_end() {
    let (_temp, root) = root();
    let own = root.create().expect("created");
    assert!(root.instances().expect("readable").is_empty());
    own.publish(&record("/mnt/a")).expect("published");

    let found = root.find(Path::new("/mnt/a")).expect("readable");
    let found = found.expect("it is published");
    assert_eq!(found.record, record("/mnt/a"));
    assert_eq!(found.life, Life::Ok);
    assert!(root.find(Path::new("/mnt/b")).expect("readable").is_none());

    drop(own);
    assert!(root.instances().expect("readable").is_empty());
    assert_eq!(fs::read_dir(root.path()).expect("readable").count(), 0);
}

#[test]
fn looking_does_not_disturb_the_owner() {
    let (_temp, root) = root();
    let own = root.create().expect("created");
    own.publish(&record("/mnt/a")).expect("published");
    for _ in 0..3 {
        let found = root.instances().expect("readable");
        assert_eq!(found[0].life, Life::Ok);
    }
    assert!(!root.sweep(Path::new("/mnt/a")).expect("readable"));
    assert!(own.path().exists(), "a living mount is not swept");
}

#[test]
fn a_killed_mount_is_dead_and_swept_by_its_directory() {
    let (_temp, root) = root();
    let own = root.create().expect("created");
    let mut made = record("/mnt/a");
    made.created_dir = true;
    own.publish(&made).expect("published");
    let folder = own.path().to_owned();
    kill(own);

    let found = root.find(Path::new("/mnt/a")).expect("readable");
    assert_eq!(found.expect("still listed").life, Life::Dead);
    assert!(!root.sweep(Path::new("/mnt/b")).expect("readable"));
    assert!(folder.exists(), "other directories' mounts are left alone");
    assert!(root.sweep(Path::new("/mnt/a")).expect("readable"));
    assert!(!folder.exists());
}

#[test]
fn a_start_that_was_killed_is_swept_by_any() {
    let (_temp, root) = root();
    let own = root.create().expect("created");
    let folder = own.path().to_owned();
    kill(own);
    assert!(!root.sweep(Path::new("/mnt/b")).expect("readable"));
    assert!(!folder.exists());
}

#[test]
fn the_living_mount_is_preferred_to_dead_ones() {
    let (_temp, root) = root();
    let dead = root.create().expect("created");
    dead.publish(&Record {
        started: 9,
        ..record("/mnt/a")
    })
    .expect("published");
    kill(dead);
    let own = root.create().expect("created beside the dead one");
    own.publish(&record("/mnt/a")).expect("published");
    let found = root.find(Path::new("/mnt/a")).expect("readable");
    assert_eq!(found.expect("two are there").folder, own.path());
}

#[test]
fn broken_records_are_not_mounts() {
    let (_temp, root) = root();
    let own = root.create().expect("created");
    fs::write(own.path().join(RECORD), "{").expect("written");
    assert!(root.instances().expect("readable").is_empty());
}

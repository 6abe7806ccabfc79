//! An ordinary user mounts through `fusermount3`. Run by root, these tests become `nobody`; run by
//! an ordinary user, they are that user.

use std::{fs, io};

use bonsai_testkit::{
    Bonsai, GitServer, Order, User, assert_same, compare::committed, process::mount_at, specimens,
};

const BINARY: &str = env!("CARGO_BIN_EXE_bonsai");

fn ordinary() -> (Bonsai, u32) {
    let own = nix::unistd::geteuid();
    if own.is_root() {
        (Bonsai::as_user(BINARY, User::NOBODY), User::NOBODY.uid)
    } else {
        (Bonsai::new(BINARY), own.as_raw())
    }
}

#[test]
fn an_ordinary_user_mounts_reads_and_unmounts() {
    let specimen = specimens::plain();
    let server = GitServer::start(specimen.repo.root()).expect("a server");
    let (bonsai, uid) = ordinary();
    let mount = bonsai.mount(server.url("repo.git"), &[]);
    let point = mount_at(mount.dir()).expect("mounted");
    assert!(
        point.options.contains(&format!("user_id={uid}")),
        "{point:?}"
    );
    // Not even root may look into another's mount.
    if nix::unistd::geteuid().is_root() {
        let error = fs::read(mount.path("README.md")).expect_err("refused");
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    }
    let said = bonsai.said_by(&["cat"], &mount.path("README.md"));
    assert_eq!(said.out, "# Example\n\nHello.\n", "{said:?}");
    let said = bonsai.said_by(&["stat", "-c", "%u %a"], &mount.path("run.sh"));
    assert_eq!(said.out, format!("{uid} 755\n"));
    let said = bonsai.said_by(&["touch"], &mount.path("new"));
    assert!(said.err.contains("Read-only file system"), "{said:?}");
    mount.unmount();
    bonsai.assert_nothing_left();
}

#[test]
fn an_ordinary_users_killed_mount_is_used_again() {
    let specimen = specimens::plain();
    let server = GitServer::start(specimen.repo.root()).expect("a server");
    let (bonsai, _) = ordinary();
    let dir = bonsai.scratch().join("mnt");
    let dead = bonsai.mount_at(server.url("repo.git"), &dir, &[]);
    dead.kill();
    let again = bonsai.mount_at(server.url("repo.git"), &dir, &[]);
    let said = bonsai.said_by(&["cat"], &again.path("README.md"));
    assert_eq!(said.code, Some(0), "{said:?}");
    again.unmount();
    bonsai.assert_nothing_left();
}

#[test]
fn the_whole_tree_as_an_ordinary_user_sees_it() {
    let specimen = specimens::names();
    let server = GitServer::start(specimen.repo.root()).expect("a server");
    let (bonsai, _) = ordinary();
    let mount = bonsai.mount(server.url("repo.git"), &[]);
    // Copied out by the user, compared by whoever runs the test.
    let copy = bonsai.scratch().join("copy");
    assert_eq!(bonsai.said_by(&["mkdir"], &copy).code, Some(0));
    let to = copy.display().to_string();
    let all = mount.path(".");
    let said = bonsai.said_by(&["cp", "-a", "-t", &to], &all);
    assert_eq!(said.code, Some(0), "{said:?}");
    let expected = committed(&specimen.repo, &specimen.commit);
    assert_same(&expected, &copy, Order::Sorted);
    mount.unmount();
    bonsai.assert_nothing_left();
}

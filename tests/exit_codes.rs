//! Every exit code of docs/ERRORS.md: one line that names the thing and the remedy, and nothing
//! left behind.

use std::{
    fs,
    io::Write,
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use bonsai_testkit::{
    Bonsai, ClosedPort, Fault, GitServer, Said, User, When, process::mount_at, specimens,
};

const BINARY: &str = env!("CARGO_BIN_EXE_bonsai");

fn bonsai() -> Bonsai {
    Bonsai::new(BINARY)
}

/// Panics unless `said` is a failure with this code in one line that holds `thing`.
fn assert_refused(said: &Said, code: i32, thing: &str) {
    assert_eq!(said.code, Some(code), "{said:?}");
    assert_eq!(said.out, "", "{said:?}");
    assert!(said.err.starts_with("bonsai: "), "{said:?}");
    assert!(
        said.err.ends_with('\n') && said.err.lines().count() == 1,
        "{said:?}"
    );
    assert!(said.err.contains("; "), "names no remedy: {said:?}");
    assert!(said.err.contains(thing), "does not name {thing}: {said:?}");
}

/// Fails to mount `source`, at a directory that is not there, with this code; nothing stays.
fn refuses_source(bonsai: &Bonsai, source: &str, options: &[&str], code: i32, thing: &str) {
    let dir = bonsai.scratch().join("mnt");
    let guard = bonsai.guard(&dir);
    let said = bonsai.try_mount(source, &dir, options);
    assert_refused(&said, code, thing);
    assert!(mount_at(&dir).is_none());
    assert!(!dir.exists(), "the directory made for the mount stays");
    drop(guard);
    bonsai.assert_nothing_left();
}

/// Fails to mount a good source at `dir` with this code.
fn refuses_dir(bonsai: &Bonsai, dir: &Path, code: i32) {
    let specimen = specimens::plain();
    let said = bonsai.try_mount(specimen.repo.path(), dir, &[]);
    assert_refused(&said, code, &dir.display().to_string());
}

#[test]
fn code_2_wrong_usage() {
    let bonsai = bonsai();
    for args in [
        ["mount"].as_slice(),
        &["mount", "--no-such-flag", "a", "b"],
        &["no-such-command"],
        &["unmount"],
    ] {
        let said = bonsai.run(args);
        assert_eq!(said.code, Some(2), "{args:?}: {said:?}");
        assert_eq!(said.out, "");
        assert!(!said.err.is_empty());
    }
    for source in [
        "git@example.org:a/b.git",
        "ssh://example.org/a/b",
        "git://example.org/a",
    ] {
        refuses_source(&bonsai, source, &[], 2, source);
    }
}

#[test]
fn code_3_no_such_path() {
    refuses_source(&bonsai(), "/nowhere/at/all", &[], 3, "/nowhere/at/all");
}

#[test]
fn code_3_info_of_a_name_that_is_not_there() {
    let specimen = specimens::plain();
    let bonsai = bonsai();
    let mount = bonsai.mount(specimen.repo.path(), &[]);
    let path = mount.path("src/nothing");
    let said = bonsai.run([Path::new("info"), &path]);
    assert_refused(&said, 3, "src/nothing");
    mount.unmount();
}

#[test]
fn code_4_not_a_repository() {
    let bonsai = bonsai();
    let folder = bonsai.home();
    let path = folder.display().to_string();
    refuses_source(&bonsai, &path, &[], 4, &path);
}

#[test]
fn code_5_unknown_ref() {
    let specimen = specimens::plain();
    let server = GitServer::start(specimen.repo.root()).expect("a server");
    let bonsai = bonsai();
    let path = specimen.repo.path().display().to_string();
    for source in [path, server.url("repo.git")] {
        for name in [
            "no-such-branch",
            &"0123456789".repeat(4),
            "refs/heads/nothing",
        ] {
            refuses_source(&bonsai, &source, &["--ref", name], 5, name);
        }
    }
}

#[test]
fn code_6_empty_repository() {
    let repo = specimens::empty_repository();
    let server = GitServer::start(repo.root()).expect("a server");
    let bonsai = bonsai();
    for source in [repo.path().display().to_string(), server.url("repo.git")] {
        refuses_source(&bonsai, &source, &[], 6, "repo.git");
    }
}

#[test]
fn code_10_mount_point_unusable() {
    let bonsai = bonsai();
    refuses_dir(&bonsai, &bonsai.scratch().join("missing/mnt"), 10);
    let file = bonsai.scratch().join("file");
    fs::write(&file, "not a directory").expect("written");
    refuses_dir(&bonsai, &file, 10);
    assert_eq!(fs::read(&file).expect("read"), b"not a directory");
    refuses_dir(&bonsai, &file.join("below"), 10);
    bonsai.assert_nothing_left();
}

/// A specimen that other users can read.
fn open_specimen() -> bonsai_testkit::Specimen {
    let specimen = specimens::plain();
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(specimen.repo.root(), open).expect("set");
    specimen
}

#[test]
fn code_10_mount_point_not_permitted() {
    assert!(
        nix::unistd::geteuid().is_root(),
        "this test takes away rights: run it as root"
    );
    let specimen = open_specimen();
    let server = GitServer::start(specimen.repo.root()).expect("a server");
    let bonsai = Bonsai::as_user(BINARY, User::NOBODY);
    // /usr belongs to root everywhere.
    let dir = Path::new("/usr/bonsai-test-mount-point");
    let said = bonsai.try_mount(server.url("repo.git"), dir, &[]);
    assert_refused(&said, 10, "/usr/bonsai-test-mount-point");
    bonsai.assert_nothing_left();
}

#[test]
fn code_11_mount_point_not_empty() {
    let bonsai = bonsai();
    let dir = bonsai.scratch().join("full");
    fs::create_dir(&dir).expect("made");
    fs::write(dir.join("precious"), "kept").expect("written");
    refuses_dir(&bonsai, &dir, 11);
    assert_eq!(fs::read(dir.join("precious")).expect("read"), b"kept");
    bonsai.assert_nothing_left();
}

#[test]
fn code_12_already_mounted() {
    let specimen = specimens::plain();
    let bonsai = bonsai();
    let mount = bonsai.mount(specimen.repo.path(), &[]);
    refuses_dir(&bonsai, mount.dir(), 12);
    assert!(mount.path("README.md").exists(), "the first is as it was");
    mount.unmount();
}

#[test]
fn code_12_someone_elses_mount() {
    assert!(
        nix::unistd::geteuid().is_root(),
        "this test mounts a tmpfs: run it as root"
    );
    let bonsai = bonsai();
    let dir = bonsai.scratch().join("tmpfs");
    fs::create_dir(&dir).expect("made");
    let run = |words: &[&str]| {
        let mut command = Command::new(words[0]);
        let status = command.args(&words[1..]).arg(&dir).status();
        assert!(status.expect("it starts").success(), "{words:?}");
    };
    run(&["mount", "-t", "tmpfs", "bonsai-test"]);
    let specimen = specimens::plain();
    let said = bonsai.try_mount(specimen.repo.path(), &dir, &[]);
    run(&["umount"]);
    assert_refused(&said, 12, &dir.display().to_string());
    bonsai.assert_nothing_left();
}

#[test]
fn code_13_no_dev_fuse() {
    assert!(
        nix::unistd::geteuid().is_root(),
        "this test hides /dev: run it as root"
    );
    let mut bonsai = bonsai();
    let script = "mount -t tmpfs none /dev && mknod /dev/null c 1 3 && exec \"$@\"";
    bonsai.set_prefix(&["unshare", "--mount", "sh", "-c", script, "sh"]);
    let specimen = specimens::plain();
    let path = specimen.repo.path().display().to_string();
    refuses_source(&bonsai, &path, &[], 13, "/dev/fuse");
}

#[test]
fn code_14_no_fusermount3() {
    assert!(
        nix::unistd::geteuid().is_root(),
        "this test hides /usr/bin: run it as root"
    );
    let mut bonsai = Bonsai::as_user(BINARY, User::NOBODY);
    // In a mount namespace of its own, /usr/bin holds nothing but setpriv.
    let few = bonsai.home().join("few");
    fs::create_dir(&few).expect("made");
    fs::copy("/usr/bin/setpriv", few.join("setpriv")).expect("copied");
    let few = few.display().to_string();
    let script = "mount --bind \"$0\" /usr/bin && exec \"$@\"";
    bonsai.set_prefix(&["unshare", "--mount", "sh", "-c", script, &few]);
    let specimen = open_specimen();
    let path = specimen.repo.path().display().to_string();
    refuses_source(&bonsai, &path, &[], 14, "fusermount3");
}

#[test]
fn code_15_not_a_bonsai_mount() {
    let bonsai = bonsai();
    let dir = bonsai.scratch();
    let name = dir.display().to_string();
    assert_refused(&bonsai.try_unmount(&dir, &[]), 15, &name);
    assert_refused(&bonsai.run([Path::new("status"), &dir]), 15, &name);
    assert_refused(&bonsai.run([Path::new("info"), &dir.join("x")]), 15, &name);
    assert_refused(&bonsai.try_unmount(Path::new("/proc"), &[]), 15, "/proc");
    assert!(Path::new("/proc/self").exists(), "left alone");
}

// Code 16 is `a_busy_mount_is_unmounted_only_by_force` of tests/lifecycle.rs.

#[test]
fn code_20_name_not_resolved() {
    // RFC 2606: no name below `invalid` exists.
    let url = "http://bonsai-test.invalid/repo.git";
    refuses_source(&bonsai(), url, &[], 20, "bonsai-test.invalid");
}

#[test]
fn code_21_refused() {
    let port = ClosedPort::new().expect("a port");
    let address = port.address().to_string();
    let url = format!("http://{address}/repo.git");
    refuses_source(&bonsai(), &url, &[], 21, &address);
}

#[test]
fn code_22_timed_out() {
    let specimen = specimens::plain();
    let server = GitServer::start(specimen.repo.root()).expect("a server");
    server.pause();
    let bonsai = bonsai();
    bonsai.set_git_config("[http]\n\tlowSpeedTime = 1\n");
    let thing = server.address().to_string();
    refuses_source(&bonsai, &server.url("repo.git"), &[], 22, &thing);
}

#[test]
fn code_23_tls() {
    // Answers in plain text whatever it is asked.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            // A client that has gone away is no fault of the test.
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let url = format!("https://{address}/repo.git");
    refuses_source(&bonsai(), &url, &[], 23, &address.to_string());
}

/// Fails to mount from a server that answers everything with `code`.
fn refuses_status(status: u16, code: i32) {
    let specimen = specimens::plain();
    let server = GitServer::start(specimen.repo.root()).expect("a server");
    server.fault_for_ever(When::Any, Fault::status(status));
    let url = server.url("repo.git");
    refuses_source(&bonsai(), &url, &[], code, &url);
}

#[test]
fn code_24_login_needed() {
    refuses_status(401, 24);
    let specimen = specimens::plain();
    let builder = GitServer::builder(specimen.repo.root());
    let server = builder.login("user", "secret").start().expect("a server");
    let url = server.url("repo.git");
    refuses_source(&bonsai(), &url, &[], 24, &url);
    let wrong = server.url_with_login("repo.git", "user", "guessed");
    let bonsai = bonsai();
    let said = bonsai.try_mount(&wrong, &bonsai.scratch().join("mnt"), &[]);
    assert_refused(&said, 24, &url);
    assert!(!said.err.contains("guessed"), "{said:?}");
}

#[test]
fn code_25_forbidden() {
    refuses_status(403, 25);
}

#[test]
fn code_26_not_found() {
    refuses_status(404, 26);
    let specimen = specimens::plain();
    let server = GitServer::start(specimen.repo.root()).expect("a server");
    let url = server.url("nowhere.git");
    refuses_source(&bonsai(), &url, &[], 26, &url);
}

#[test]
fn code_27_fault_of_the_server() {
    refuses_status(500, 27);
    refuses_status(503, 27);
}

#[test]
fn code_27_too_many_requests() {
    refuses_status(429, 27);
}

/// A server of some shape, and a plain repository in it.
fn refuses_shape(
    shape: impl FnOnce(bonsai_testkit::server::Builder) -> bonsai_testkit::server::Builder,
    code: i32,
) {
    let specimen = specimens::plain();
    let builder = shape(GitServer::builder(specimen.repo.root()));
    let server = builder.start().expect("a server");
    let url = server.url("repo.git");
    refuses_source(&bonsai(), &url, &[], code, &url);
}

#[test]
fn code_28_not_a_git_server() {
    refuses_shape(|builder| builder.web_page(), 28);
}

#[test]
fn code_29_dumb_http() {
    refuses_shape(|builder| builder.dumb(), 29);
}

#[test]
fn code_30_old_protocols() {
    refuses_shape(|builder| builder.version_0(), 30);
    refuses_shape(|builder| builder.version_1(), 30);
}

#[test]
fn code_31_what_cannot_be_right() {
    let refusal = Fault::Answer {
        content_type: "application/x-git-upload-pack-result".to_owned(),
        body: b"001fERR the moon is in the way\n".to_vec(),
    };
    for (fault, thing) in [
        (refusal, "the moon is in the way"),
        (Fault::CorruptPack { at: 40 }, "repo.git"),
    ] {
        let specimen = specimens::plain();
        let server = GitServer::start(specimen.repo.root()).expect("a server");
        server.fault_for_ever(When::command("fetch"), fault);
        refuses_source(&bonsai(), &server.url("repo.git"), &[], 31, thing);
    }
}

#[test]
fn code_32_cache_folder() {
    let specimen = specimens::plain();
    let server = GitServer::start(specimen.repo.root()).expect("a server");
    let bonsai = bonsai();
    let file: PathBuf = bonsai.home().join("file");
    fs::write(&file, "not a folder").expect("written");
    let option = file.to_str().expect("a plain path");
    let url = server.url("repo.git");
    refuses_source(&bonsai, &url, &["--cache-dir", option], 32, option);
}

#[test]
fn code_32_state_folder() {
    let specimen = specimens::plain();
    let source = specimen.repo.path();
    let bonsai = bonsai();
    let thing = bonsai.state().display().to_string();
    let dir = bonsai.scratch().join("mnt");
    let open = fs::Permissions::from_mode(0o777);
    fs::set_permissions(bonsai.state(), open).expect("set");
    assert_refused(&bonsai.try_mount(&source, &dir, &[]), 32, &thing);
    fs::remove_dir(bonsai.state()).expect("removed");
    fs::write(bonsai.state(), "a file").expect("written");
    assert_refused(&bonsai.try_mount(&source, &dir, &[]), 32, &thing);
    assert!(!dir.exists() && mount_at(&dir).is_none());
}

#[test]
fn code_32_state_folder_of_someone_else() {
    assert!(
        nix::unistd::geteuid().is_root(),
        "this test gives a folder away: run it as root"
    );
    let specimen = specimens::plain();
    let bonsai = bonsai();
    chown(bonsai.state(), Some(1), Some(1)).expect("given away");
    let dir = bonsai.scratch().join("mnt");
    let said = bonsai.try_mount(specimen.repo.path(), &dir, &[]);
    assert_refused(&said, 32, &bonsai.state().display().to_string());
    assert!(!dir.exists());
}

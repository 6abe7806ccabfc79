//! Logins: where they come from, and where they never go.

use std::{ffi::OsStr, fs, os::unix::fs::PermissionsExt, path::Path};

use bonsai_testkit::{Bonsai, GitServer, Specimen, process::all_command_lines, specimens};

const USER: &str = "some-user";
const SECRET: &str = "s3cr3t-0f-th3-t3st";

fn bonsai() -> Bonsai {
    Bonsai::new(env!("CARGO_BIN_EXE_bonsai"))
}

/// The secret of the one test that looks for it on all command lines: the others, which run at the
/// same time, type theirs.
const SOUGHT: &str = "0nly-1n-th1s-t3st";

fn guarded(specimen: &Specimen, secret: &str) -> GitServer {
    let builder = GitServer::builder(specimen.repo.root());
    builder.login(USER, secret).start().expect("a server")
}

/// Mounts, reads and unmounts.
fn works(bonsai: &Bonsai, url: &str) {
    let mount = bonsai.mount(url, &[]);
    assert_eq!(fs::read(mount.path("README.md")).expect("read").len(), 18);
    mount.unmount();
}

#[test]
fn from_the_url() {
    let specimen = specimens::plain();
    let server = guarded(&specimen, SECRET);
    works(&bonsai(), &server.url_with_login("repo.git", USER, SECRET));
}

#[test]
fn from_a_credential_helper() {
    let specimen = specimens::plain();
    let server = guarded(&specimen, SECRET);
    let bonsai = bonsai();
    bonsai.set_git_config(&format!(
        "[credential]\n\thelper = \"!f() {{ test $1 = get && echo username={USER} && \
         echo password={SECRET}; }}; f\"\n"
    ));
    works(&bonsai, &server.url("repo.git"));
}

#[test]
fn from_netrc() {
    let specimen = specimens::plain();
    let server = guarded(&specimen, SECRET);
    let bonsai = bonsai();
    let file = bonsai.home().join(".netrc");
    let line = format!("machine 127.0.0.1 login {USER} password {SECRET}\n");
    fs::write(&file, line).expect("written");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("set");
    works(&bonsai, &server.url("repo.git"));
}

#[test]
fn a_server_that_wants_none_gets_none() {
    let specimen = specimens::plain();
    let server = GitServer::start(specimen.repo.root()).expect("a server");
    let mut bonsai = bonsai();
    // Tokens are for the hosts they are named after.
    for variable in ["GITHUB_TOKEN", "GH_TOKEN", "GITLAB_TOKEN"] {
        bonsai.set(variable, SECRET);
    }
    works(&bonsai, &server.url("repo.git"));
    let log = server.log();
    assert!(log.iter().all(|request| request.authorization.is_none()));
}

#[test]
fn a_redirect_to_another_host_loses_the_login() {
    let specimen = specimens::plain();
    let other = GitServer::start(specimen.repo.root()).expect("a server");
    let builder = GitServer::builder(specimen.repo.root()).redirect("/away/", &other.url(""));
    let server = builder.start().expect("a server");
    works(
        &bonsai(),
        &server.url_with_login("away/repo.git", USER, SECRET),
    );
    assert!(!other.log().is_empty(), "it was followed");
    for request in other.log() {
        assert_eq!(request.authorization, None, "{request:?}");
    }
}

#[test]
fn a_redirect_on_the_same_host_keeps_it() {
    let specimen = specimens::plain();
    let builder = GitServer::builder(specimen.repo.root())
        .redirect("/old.git/", "/repo.git/")
        .login(USER, SECRET);
    let server = builder.start().expect("a server");
    works(&bonsai(), &server.url_with_login("old.git", USER, SECRET));
}

/// Every form in which a secret would give itself away: as it is, and in base64 with [`USER`], as a
/// Basic login has it.
fn forms() -> [&'static str; 2] {
    [SOUGHT, "c29tZS11c2VyOjBubHktMW4tdGgxcy10M3N0"]
}

fn assert_without_secret(what: &str, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for form in forms() {
        assert!(!text.contains(form), "{what} holds the secret: {text}");
    }
}

fn assert_files_without_secret(dir: &Path) {
    for entry in fs::read_dir(dir).expect("readdir") {
        let path = entry.expect("an entry").path();
        let kind = fs::symlink_metadata(&path).expect("lstat").file_type();
        if kind.is_dir() {
            assert_files_without_secret(&path);
        } else if kind.is_file() {
            let data = fs::read(&path).expect("read");
            assert_without_secret(&path.display().to_string(), &data);
        }
    }
}

#[test]
fn no_secret_is_seen_anywhere() {
    let specimen = specimens::plain();
    let server = guarded(&specimen, SOUGHT);
    let mut bonsai = bonsai();
    bonsai.set("RUST_LOG", "trace");
    let log = bonsai.home().join("log");
    let log_option = log.to_str().expect("a plain path");
    let url = server.url_with_login("repo.git", USER, SOUGHT);
    for options in [[].as_slice(), &["--log-file", log_option]] {
        let mount = bonsai.mount(&url, options);
        fs::read(mount.path("bin.dat")).expect("read");
        assert_without_secret("the line", mount.line().as_bytes());
        for (pid, words) in all_command_lines() {
            assert_without_secret(&format!("the command line of {pid}"), &words);
        }
        assert_without_secret("status", mount.status().as_bytes());
        for args in [["list"].as_slice(), &["list", "--json"], &["status"]] {
            assert_without_secret("the answer", bonsai.ok(args).as_bytes());
        }
        let path = mount.path("bin.dat");
        let info = bonsai.ok([OsStr::new("info"), path.as_os_str()]);
        assert_without_secret("info", info.as_bytes());
        let table = fs::read("/proc/self/mountinfo").expect("read");
        assert_without_secret("the mount table", &table);
        assert_files_without_secret(&bonsai.state());
        mount.unmount();
        assert_files_without_secret(&bonsai.cache());
    }
    let text = fs::read(&log).expect("a log");
    assert!(!text.is_empty());
    assert_without_secret("the log", &text);
}

#[test]
fn no_secret_is_in_an_error() {
    let specimen = specimens::plain();
    let mut server = guarded(&specimen, SECRET);
    let bonsai = bonsai();
    let dir = bonsai.scratch().join("mnt");
    let missing = server.url_with_login("nowhere.git", USER, SECRET);
    let unknown = server.url_with_login("repo.git", USER, SECRET);
    let refused = |url: &str, options: &[&str]| {
        let said = bonsai.try_mount(url, &dir, options);
        assert_ne!(said.code, Some(0));
        assert!(!said.err.contains(SECRET), "{said:?}");
    };
    refused(&missing, &[]);
    refused(&unknown, &["--ref", "nothing"]);
    server.stop();
    refused(&unknown, &[]);
}

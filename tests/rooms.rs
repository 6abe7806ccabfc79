//! `.ci/rooms` finds what it is for, and nothing else.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

/// Runs the check on a tree of one source file.
fn check(path: &str, source: &str) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    for (path, source) in [("core/src/lib.rs", ""), ("src/lib.rs", ""), (path, source)] {
        let file = folder.path().join(path);
        fs::create_dir_all(file.parent().expect("a folder above")).expect("made");
        fs::write(file, source).expect("written");
    }
    rooms(folder.path())
}

fn rooms(root: &Path) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/rooms");
    let mut command = Command::new(script);
    command.arg(root).output().expect("bash and awk are there")
}

fn assert_found(path: &str, source: &str, expected: &str) {
    let output = check(path, source);
    let said = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "not found: {source}{error}");
    assert!(said.contains(expected), "{source} gives {said}{error}");
    assert!(said.contains(path), "{said}");
}

fn assert_clean(path: &str, source: &str) {
    let output = check(path, source);
    let said = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{source} gives {said}{error}");
}

#[test]
fn this_repository_keeps_the_rules() {
    let output = rooms(Path::new(env!("CARGO_MANIFEST_DIR")));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
}

/// `core` is for any filesystem: it brings no runtime, no FUSE library and nothing of Git.
#[test]
fn the_core_depends_on_little() {
    let output = Command::new(env!("CARGO"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["tree", "--locked", "--package", "bonsaifs-core"])
        .args([
            "--edges",
            "normal,build",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ])
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let names: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert!(names.contains(&"bytes"), "{text}");
    for name in names {
        let foreign = [
            "tokio", "fuser", "gix", "libc", "nix", "rustix", "reqwest", "hyper",
        ];
        let foreign = foreign.iter().find(|word| name.starts_with(**word));
        assert_eq!(foreign, None, "{name}");
    }
}

#[test]
fn imports_that_go_up_are_found() {
    let up = "src/git/tree.rs";
    assert_found(
        up,
        "use crate::origin::Origin;\n",
        "git reaches up to origin",
    );
    assert_found(
        up,
        "use crate::{\n    git::oid::Oid,\n    repo::{Node, RepoFs},\n};\n",
        "repo",
    );
    assert_found(
        up,
        "fn f() -> crate::cli::Exit {}\n",
        "git reaches up to cli",
    );
    assert_found(
        up,
        "pub(crate) use crate::fuse::x;\n",
        "git reaches up to fuse",
    );
    assert_found(
        up,
        "use super::super::mount::State;\n",
        "git reaches up to mount",
    );
    assert_found("src/git/mod.rs", "use super::objects::Store;\n", "objects");
    assert_found(
        "src/seams/disk.rs",
        "use bonsaifs::repo::x;\n",
        "seams reaches up to repo",
    );
    assert_found(
        "src/origin/http/mod.rs",
        "use super::super::repo::x;\n",
        "repo",
    );
}

#[test]
fn seams_and_git_know_nothing_of_each_other() {
    assert_found(
        "src/git/url.rs",
        "use crate::seams::http::Http;\n",
        "reaches up to seams",
    );
    assert_found(
        "src/seams/http.rs",
        "use crate::git::url::Url;\n",
        "reaches up to git",
    );
}

#[test]
fn imports_that_go_down_are_fine() {
    assert_clean(
        "src/cli/mod.rs",
        "use crate::{mount::a, repo::b, git::c, seams::d};\n",
    );
    assert_clean(
        "src/origin/mod.rs",
        "use crate::{git::oid::Oid, seams::http::Http};\n",
    );
    assert_clean(
        "src/mount/state.rs",
        "use super::fuse::x; // a module of the same room\n",
    );
    assert_clean(
        "src/git/pack/index.rs",
        "use crate::git::oid::Oid;\nuse super::entry::Entry;\n",
    );
    assert_clean(
        "src/git/mod.rs",
        "//! Not [`crate::repo`].\n/// Nor crate::cli::x.\n",
    );
}

#[test]
fn an_unknown_room_is_found() {
    assert_found("src/cellar/mod.rs", "fn f() {}\n", "no room of the plan");
}

#[test]
fn bypasses_of_the_seams_are_found() {
    let bypasses = [
        ("let now = Instant::now();\n", "Instant::now"),
        (
            "let now = std::time::SystemTime::now();\n",
            "SystemTime::now",
        ),
        ("tokio::spawn(work);\n", "tokio::spawn"),
        ("use tokio::{io::AsyncRead, time::sleep};\n", "tokio::time"),
        ("use tokio::net::TcpStream;\n", "tokio::net"),
        ("tokio::fs::read(path).await\n", "tokio::fs"),
        (
            "use std::{\n    io,\n    fs::{self, File},\n};\n",
            "std::fs",
        ),
        ("use std::{fmt, fs};\n", "std::fs"),
        ("let data = std::fs::read(path);\n", "std::fs"),
        ("use std::net::TcpStream;\n", "std::net"),
        ("std::process::Command::new(\"git\");\n", "std::process"),
        ("std::thread::spawn(f);\n", "thread::spawn"),
        ("let n: u64 = rand::random();\n", "rand::"),
        (
            "use std::{collections::HashMap, hash::RandomState};\n",
            "RandomState",
        ),
        ("let client = reqwest::Client::new();\n", "reqwest::"),
    ];
    for (source, what) in bypasses {
        for path in [
            "core/src/fs/dcache.rs",
            "src/git/tree.rs",
            "src/origin/http.rs",
            "src/objects/store.rs",
            "src/repo/open.rs",
        ] {
            assert_found(path, source, &format!("past the seams: {what}"));
        }
        for path in [
            "src/seams/tokio.rs",
            "src/mount/state.rs",
            "src/cli/mod.rs",
            "src/origin/local/mod.rs",
            "src/origin/local.rs",
        ] {
            assert_clean(path, source);
        }
    }
}

#[test]
fn what_only_looks_like_a_bypass_is_fine() {
    let path = "src/git/tree.rs";
    for source in [
        "// Instant::now() is for others.\n",
        "/// See [`std::fs::read`].\n",
        "let brand = operand::random();\n",
        "use std::io::Read;\nuse crate::git::oid::Oid;\n",
        "fn my_std::fsx() {}\n",
        "let url = \"https://example.org/\"; // std::fs::read\n",
    ] {
        assert_clean(path, source);
    }
}

#[test]
fn tests_may_do_as_they_like_and_only_they() {
    let path = "src/git/tree.rs";
    let test =
        "#[cfg(test)]\nmod tests {\n    use std::fs;\n    fn f() {\n        fs::x();\n    }\n}\n";
    assert_clean(path, test);
    assert_clean("src/git/tests/all.rs", "use std::fs;\n");
    assert_clean(path, "#[cfg(test)]\nuse std::fs;\nfn f() {}\n");
    assert_clean(
        path,
        "#[cfg(all(test, not(loom)))]\n#[allow(x)]\nmod tests {\n    use std::fs;\n}\n",
    );
    let after = format!("{test}fn f() {{ std::fs::read(x); }}\n");
    assert_found(path, &after, "past the seams: std::fs");
    assert_found(
        path,
        "#[cfg(test)]\nuse std::io;\nuse std::fs;\n",
        "std::fs",
    );
    assert_found(path, "#[cfg(not(test))]\nuse std::fs;\n", "std::fs");
}

#[test]
fn a_file_of_a_test_module_is_known_by_its_declaration() {
    let run = |declaration: &str, file: &str| {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |path: &str, source: &str| {
            let file = folder.path().join(path);
            fs::create_dir_all(file.parent().expect("a folder above")).expect("made");
            fs::write(file, source).expect("written");
        };
        write("core/src/lib.rs", "");
        write("src/git/mod.rs", declaration);
        write(file, "use std::fs;\n");
        rooms(folder.path()).status.success()
    };
    assert!(run("#[cfg(test)]\nmod oracle;\n", "src/git/oracle.rs"));
    assert!(run("#[cfg(test)]\nmod oracle;\n", "src/git/oracle/mod.rs"));
    assert!(run(
        "#[cfg(test)]\n#[path = \"url_tests.rs\"]\nmod tests;\n",
        "src/git/url_tests.rs"
    ));
    assert!(!run("mod oracle;\n", "src/git/oracle.rs"));
    assert!(!run(
        "#[cfg(test)]\nmod other;\nmod oracle;\n",
        "src/git/oracle.rs"
    ));
}

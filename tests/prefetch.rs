//! `bonsai prefetch`: what was asked for is here afterwards, in few requests, and nothing else is.

use std::fs;

use bonsai_testkit::{Bonsai, Files, GitServer, Repo, server::Logged};

fn bonsai() -> Bonsai {
    Bonsai::new(env!("CARGO_BIN_EXE_bonsai"))
}

/// More files below `src` than one step takes, one of them of 3 MB; and others beside it.
fn repo() -> Repo {
    let mut files = Files::new().file("README.md", "read me\n");
    for number in 0..2500 {
        let path = format!("src/d{:02}/f{number:04}", number % 40);
        files.add_file(path, format!("file {number}\n"));
    }
    // As text that does not compress to nothing.
    let large: Vec<u8> = (0..3_000_000u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    files.add_file("src/d20/large", large);
    files.add_file("src/twice", "file 7\n");
    for number in 0..100 {
        files.add_file(format!("other/f{number}"), format!("other {number}\n"));
    }
    let repo = Repo::new();
    repo.commit(&files.symlink("src/link", "twice"));
    repo
}

fn json(said: &str) -> serde_json::Value {
    serde_json::from_str(said).expect("JSON")
}

#[test]
fn what_was_prefetched_is_here_when_the_server_goes() {
    let repo = repo();
    let server = GitServer::start(repo.root()).expect("a server");
    let bonsai = bonsai();
    // Nothing else fetches ahead.
    let mount = bonsai.mount(server.url("repo.git"), &["--prefetch", "none"]);
    let src = mount.path("src");
    let words = ["prefetch".as_ref(), "--json".as_ref(), src.as_os_str()];
    let said = json(&bonsai.ok(words));
    // 2,500 files, the large one, the one that is twice, and the link.
    assert_eq!(said["files"], 2503);
    assert_eq!(said["fetched"], 2502);
    let fetches = server.log_of("fetch");
    assert!(fetches.len() <= 8, "{} requests", fetches.len());
    let wants: usize = fetches
        .iter()
        .skip(1)
        .map(|fetch| Logged::wants(fetch).len())
        .sum();
    // The request that ended at the large file is sent again for what had not come.
    assert!(wants < 2 * 2503, "{wants} wants");
    // Again: nothing is asked for.
    let said = bonsai.ok(["prefetch".as_ref(), src.as_os_str()]);
    assert_eq!(
        said.trim_end(),
        "2503 files are here: fetched 0 objects, 0 B"
    );
    assert_eq!(server.log_of("fetch").len(), fetches.len());
    drop(server);
    for number in 0..2500 {
        let path = src.join(format!("d{:02}/f{number:04}", number % 40));
        assert_eq!(
            fs::read(path).expect("it is here"),
            format!("file {number}\n").as_bytes()
        );
    }
    assert_eq!(
        fs::read(src.join("d20/large")).expect("it is here").len(),
        3_000_000
    );
    assert_eq!(fs::read(src.join("link")).expect("it is here"), b"file 7\n");
    fs::read(mount.path("other/f1")).expect_err("nobody asked for it");
    mount.unmount();
}

#[test]
fn files_and_several_paths() {
    let repo = repo();
    let server = GitServer::start(repo.root()).expect("a server");
    let bonsai = bonsai();
    let mount = bonsai.mount(server.url("repo.git"), &[]);
    let paths = ["README.md", "other"].map(|path| mount.path(path));
    let said = bonsai.ok([
        "prefetch".as_ref(),
        paths[0].as_os_str(),
        paths[1].as_os_str(),
    ]);
    assert!(
        said.starts_with("101 files are here: fetched 101 objects"),
        "{said}"
    );
    mount.unmount();
}

#[test]
fn of_a_local_source_all_is_here_already() {
    let repo = repo();
    let bonsai = bonsai();
    let mount = bonsai.mount(repo.path(), &[]);
    let said = bonsai.ok(["prefetch".as_ref(), mount.dir().as_os_str()]);
    assert_eq!(
        said.trim_end(),
        "2604 files are here: fetched 0 objects, 0 B"
    );
    mount.unmount();
}

#[test]
fn what_cannot_be_prefetched_is_told() {
    let repo = repo();
    let server = GitServer::start(repo.root()).expect("a server");
    let bonsai = bonsai();
    let mount = bonsai.mount(server.url("repo.git"), &["--prefetch", "none"]);
    let fails = |path: &std::path::Path, code: i32, word: &str| {
        let said = bonsai.run(["prefetch".as_ref(), path.as_os_str()]);
        assert_eq!(said.code, Some(code), "{}", said.err);
        assert!(said.err.contains(word), "{}", said.err);
        assert_eq!(said.err.lines().count(), 1, "{}", said.err);
    };
    fails(&mount.path("nothing"), 3, "nothing");
    fails(&bonsai.scratch(), 15, "in no bonsai mount");
    drop(server);
    fails(&mount.path("other"), 1, "other");
    mount.unmount();
}

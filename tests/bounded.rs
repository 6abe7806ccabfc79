//! What mounts share and what they cost: each object is fetched once, and memory has bounds.

use std::{collections::BTreeMap, fs, time::Duration};

use bonsai_testkit::{
    Bonsai, Files, GitServer, Order, Repo, assert_same, assert_same_in_parallel,
    compare::committed, process::within, specimens,
};

fn bonsai() -> Bonsai {
    Bonsai::new(env!("CARGO_BIN_EXE_bonsai"))
}

/// How often each object was wanted in a `fetch`.
fn wants(server: &GitServer) -> BTreeMap<String, u64> {
    let mut wants = BTreeMap::new();
    for request in server.log_of("fetch") {
        for oid in request.wants() {
            *wants.entry(oid.to_owned()).or_default() += 1;
        }
    }
    wants
}

#[test]
fn two_mounts_in_sequence_fetch_each_object_once() {
    let specimen = specimens::plain();
    let expected = committed(&specimen.repo, &specimen.commit);
    let server = GitServer::start(specimen.repo.root()).expect("a server");
    let bonsai = bonsai();
    let first = bonsai.mount(server.url("repo.git"), &[]);
    assert_same_in_parallel(&expected, first.dir(), 8);
    first.unmount();
    let once = wants(&server);
    assert!(!once.is_empty());
    let second = bonsai.mount(server.url("repo.git"), &[]);
    assert_same_in_parallel(&expected, second.dir(), 8);
    second.unmount();
    assert_eq!(wants(&server), once, "the second fetched something again");
    assert!(once.values().all(|times| *times == 1), "{once:?}");
}

#[test]
fn two_mounts_at_once_share_what_either_fetched() {
    let specimen = specimens::plain();
    let expected = committed(&specimen.repo, &specimen.commit);
    let server = GitServer::start(specimen.repo.root()).expect("a server");
    let bonsai = bonsai();
    let first = bonsai.mount(server.url("repo.git"), &[]);
    let second = bonsai.mount(server.url("repo.git"), &[]);
    assert_same(&expected, first.dir(), Order::Sorted);
    let after_first = server.log_of("fetch").len();
    // What the first wrote, the second finds.
    first.unmount();
    assert_same(&expected, second.dir(), Order::Sorted);
    assert_eq!(server.log_of("fetch").len(), after_first);
    second.unmount();
    bonsai.assert_nothing_left();
}

#[test]
fn many_mounts_of_one_repository_at_once() {
    let specimen = specimens::plain();
    let expected = committed(&specimen.repo, &specimen.commit);
    let server = GitServer::start(specimen.repo.root()).expect("a server");
    let bonsai = bonsai();
    let url = server.url("repo.git");
    std::thread::scope(|scope| {
        for number in 0..6 {
            let (bonsai, expected, url) = (&bonsai, &expected, &url);
            scope.spawn(move || {
                let dir = bonsai.scratch().join(format!("at-once-{number}"));
                let mount = bonsai.mount_at(url, &dir, &[]);
                assert_same(expected, mount.dir(), Order::Shuffled(number));
                mount.unmount();
            });
        }
    });
    bonsai.assert_nothing_left();
}

#[test]
fn two_names_of_one_object_are_fetched_once() {
    // Two files of the same content.
    let specimen = specimens::executables();
    let server = GitServer::start(specimen.repo.root()).expect("a server");
    let bonsai = bonsai();
    let mount = bonsai.mount(server.url("repo.git"), &[]);
    for name in ["x", "n"] {
        assert_eq!(std::fs::read(mount.path(name)).expect("read"), b"same");
    }
    assert!(wants(&server).values().all(|times| *times == 1));
    mount.unmount();
}

/// Linux 6.18 and later forget inodes when they are asked to.
fn kernel_forgets() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("Linux");
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut number = || numbers.next().and_then(|n| n.parse::<u32>().ok());
    (number(), number()) >= (Some(6), Some(18))
}

/// `find` over ten million entries left four times what a mount may take: each inode that the kernel knew kept its
/// directory's listing.
#[test]
fn what_the_kernel_knows_does_not_keep_listings_without_bound() {
    if !kernel_forgets() {
        return;
    }
    let (dirs, files) = (40, 200);
    let mut tree = Files::new();
    for dir in 0..dirs {
        for file in 0..files {
            tree.add_file(format!("d{dir:02}/f{dir:02}-{file:03}"), "");
        }
    }
    let repo = Repo::new();
    repo.commit(&tree);
    let bonsai = bonsai();
    let mount = bonsai.mount(repo.path(), &["--memory", "1"]);
    let mut open = Vec::new();
    for dir in 0..dirs {
        for file in 0..files {
            let path = mount.path(format!("d{dir:02}/f{dir:02}-{file:03}"));
            assert_eq!(fs::metadata(&path).expect("there").len(), 0);
            if file == 0 {
                open.push(fs::File::open(path).expect("opened"));
            }
        }
    }
    // Listings may have 256 KiB, and a quarter of that more; these are 700 KB.
    let few = || {
        let status: serde_json::Value = serde_json::from_str(&mount.status()).expect("JSON");
        let inodes = status["inodes"].as_u64().expect("a number");
        inodes < 5_000
    };
    assert!(within(Duration::from_secs(20), few), "{}", mount.status());
    assert_same(&committed(&repo, "HEAD"), mount.dir(), Order::Sorted);
    drop(open);
    mount.unmount();
    bonsai.assert_nothing_left();
}

/// A walk that looks at each of ten million files left 800,000 inodes, which no budget counted. Here inodes may have
/// a quarter of a mebibyte, at 100 bytes each, and objects have what these leave them.
#[test]
fn what_the_kernel_knows_has_a_share_of_the_memory() {
    if !kernel_forgets() {
        return;
    }
    let files = 4_000;
    let mut tree = Files::new();
    for file in 0..files {
        tree.add_file(format!("d/f{file:04}"), "");
    }
    let repo = Repo::new();
    repo.commit(&tree);
    let bonsai = bonsai();
    let mount = bonsai.mount(repo.path(), &["--memory", "1"]);
    let status = || -> serde_json::Value { serde_json::from_str(&mount.status()).expect("JSON") };
    assert_eq!(status()["memory"]["budget"], 768 << 10);
    for file in 0..files {
        let path = mount.path(format!("d/f{file:04}"));
        assert_eq!(fs::metadata(&path).expect("there").len(), 0);
    }
    // One listing of 4,000 entries is within its own share: nothing else asks the kernel to forget.
    let held = || {
        let status = status();
        let figure = |value: &serde_json::Value| value.as_u64().expect("a number");
        let objects = figure(&status["memory"]["budget"]);
        assert!(figure(&status["listing_bytes"]) < 256 << 10, "{status}");
        figure(&status["inodes"]) <= 2_622 && ((448 << 10)..(768 << 10)).contains(&objects)
    };
    assert!(within(Duration::from_secs(20), held), "{}", mount.status());
    assert_same(&committed(&repo, "HEAD"), mount.dir(), Order::Sorted);
    mount.unmount();
    bonsai.assert_nothing_left();
}

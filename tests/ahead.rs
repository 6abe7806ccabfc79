//! Prefetching: a scan costs few requests, a single read costs one, and what was fetched ahead is
//! what the commit has.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use bonsai_testkit::{
    Bonsai, Files, GitServer, Mounted, Order, Repo, assert_same,
    compare::committed,
    process::within,
    server::{Logged, assert_each_once},
};

fn bonsai() -> Bonsai {
    Bonsai::new(env!("CARGO_BIN_EXE_bonsai"))
}

/// `dirs` directories `d000`… of `files` files `f000`… each.
fn repo(dirs: usize, files: usize) -> Repo {
    let repo = Repo::new();
    let mut tree = Files::new();
    for dir in 0..dirs {
        for file in 0..files {
            let line = format!("file {file} of directory {dir}\n");
            tree.add_file(format!("d{dir:03}/f{file:03}"), line.repeat(1 + file % 5));
        }
    }
    repo.commit(&tree);
    repo
}

/// The requests for objects after the one that brought the commit.
fn fetches(server: &GitServer) -> Vec<Logged> {
    server.log_of("fetch").split_off(1)
}

/// The trees come behind the mount's back; a test that counts requests waits for them.
fn wait_for_trees(server: &GitServer) {
    let done = || {
        let log = server.log_of("fetch");
        log.first().is_some_and(|first| first.status.is_some())
    };
    assert!(within(Duration::from_secs(30), done), "the trees come");
}

#[test]
fn ls_of_a_directory_takes_two_round_trips() {
    let repo = repo(3, 80);
    let server = GitServer::start(repo.root()).expect("a server");
    let bonsai = bonsai();
    let mount = bonsai.mount(server.url("repo.git"), &[]);
    wait_for_trees(&server);
    // As `ls -l` does: one entry after the other.
    for entry in fs::read_dir(mount.path("d001")).expect("listed") {
        let path = entry.expect("an entry").path();
        assert!(fs::symlink_metadata(path).expect("it has a size").len() > 0);
    }
    let log = fetches(&server);
    // The first on its own, and at the same time all the others, but for the second if that is asked for before
    // they have left. Which of two that leave together the server reads first is theirs.
    let mut wants: Vec<usize> = log.iter().map(|request| request.wants().len()).collect();
    wants.sort_unstable();
    assert!(wants == [1, 79] || wants == [1, 1, 78], "{wants:?}");
    assert_each_once(&log);
    mount.unmount();
}

#[test]
fn sizes_that_were_learnt_are_known_after_a_remount() {
    let repo = repo(3, 80);
    for object_info in [false, true] {
        let builder = GitServer::builder(repo.root());
        let builder = if object_info {
            builder.object_info()
        } else {
            builder
        };
        let server = builder.start().expect("a server");
        let bonsai = bonsai();
        let sizes = || -> Vec<u64> {
            let mount = bonsai.mount(server.url("repo.git"), &[]);
            let paths = (0..3 * 80).map(|n| format!("d{:03}/f{:03}", n / 80, n % 80));
            let size = |path| {
                fs::symlink_metadata(mount.path(path))
                    .expect("a size")
                    .len()
            };
            let sizes = paths.map(size).collect();
            mount.unmount();
            sizes
        };
        let first = sizes();
        server.reset();
        assert_eq!(sizes(), first);
        for command in ["fetch", "object-info"] {
            assert_eq!(server.log_of(command).len(), 0, "{object_info}: {command}");
        }
    }
}

/// What `bonsai status` says.
fn status(mount: &Mounted<'_>) -> serde_json::Value {
    serde_json::from_str(&mount.status()).expect("JSON")
}

#[test]
fn reading_a_directory_costs_few_requests_whatever_the_server_offers() {
    let repo = repo(2, 400);
    for object_info in [false, true] {
        let builder = GitServer::builder(repo.root());
        let builder = if object_info {
            builder.object_info()
        } else {
            builder
        };
        let server = builder.start().expect("a server");
        let bonsai = bonsai();
        let mount = bonsai.mount(server.url("repo.git"), &[]);
        wait_for_trees(&server);
        for entry in fs::read_dir(mount.path("d001")).expect("listed") {
            fs::read(entry.expect("an entry").path()).expect("read");
        }
        let log = fetches(&server);
        assert!(log.len() <= 8, "{object_info}: {} requests", log.len());
        assert_each_once(&log);
        // An object can be read before the request that brought it has ended and is counted.
        let ahead = || status(&mount)["prefetch"].clone();
        let counted = || ["objects", "used"].map(|name| ahead()[name].as_u64().expect("a number"));
        let all = || counted().into_iter().all(|count| count > 390);
        assert!(within(Duration::from_secs(30), all), "{}", ahead());
        mount.unmount();
    }
}

/// `ls -l` waited for its first file alone, and then for the others.
#[test]
fn the_first_size_asked_for_in_a_listed_directory_brings_them_all() {
    let repo = repo(2, 80);
    let server = GitServer::start(repo.root()).expect("a server");
    let bonsai = bonsai();
    let mount = bonsai.mount(server.url("repo.git"), &[]);
    wait_for_trees(&server);
    let listed = fs::read_dir(mount.path("d001")).expect("listed");
    let names: Vec<_> = listed
        .map(|entry| entry.expect("an entry").path())
        .collect();
    assert_eq!(names.len(), 80);
    assert_eq!(fetches(&server).len(), 0);
    assert!(fs::metadata(&names[7]).expect("there").len() > 0);
    let came = || status(&mount)["prefetch"]["objects"].as_u64() >= Some(79);
    assert!(within(Duration::from_secs(30), came), "{}", status(&mount));
    assert!(fetches(&server).len() <= 2);
    mount.unmount();
}

#[test]
fn what_every_tool_opens_comes_with_the_mount() {
    let mut files = Files::new().file("README.md", "read me\n");
    let opened = [".gitignore", ".gitattributes", "Cargo.toml"];
    for name in opened {
        files.add_file(name, format!("# {name}\n"));
    }
    let repo = Repo::new();
    repo.commit(&files.file("src/.gitignore", "below the root\n"));
    let server = GitServer::start(repo.root()).expect("a server");
    let bonsai = bonsai();
    let mount = bonsai.mount(server.url("repo.git"), &[]);
    // Not when the server has sent it: who waits for what is on its way shows a scan of the folder.
    // A commit and two trees come first.
    let came = || status(&mount)["origin"]["objects"] == 3 + opened.len();
    assert!(
        within(Duration::from_secs(30), came),
        "{:?}",
        fetches(&server)
    );
    assert_eq!(fetches(&server)[0].wants().len(), opened.len());
    for name in opened {
        let content = fs::read(mount.path(name)).expect("it is here");
        assert_eq!(content, format!("# {name}\n").as_bytes());
    }
    assert_eq!(fetches(&server).len(), 1);
    mount.unmount();
    server.reset();
    let bonsai = self::bonsai();
    let mount = bonsai.mount(server.url("repo.git"), &["--prefetch", "none"]);
    assert_eq!(
        fs::read(mount.path("README.md")).expect("read"),
        b"read me\n"
    );
    assert_eq!(fetches(&server).len(), 1, "the file that was read");
    mount.unmount();
}

/// Found by the simulation (seed 4063581): one of them that is too large for a prefetch kept those after it from
/// coming, and was asked for again at each mount, also when its size was known.
#[test]
fn a_large_one_of_what_every_tool_opens_comes_when_it_is_wanted() {
    let large = "#".repeat(2 << 20);
    let repo = Repo::new();
    let files = Files::new()
        .file(".gitignore", "target\n")
        .file("Cargo.toml", large.as_str())
        .file("Makefile", "all:\n");
    repo.commit(&files);
    let server = GitServer::builder(repo.root()).object_info();
    let server = server.start().expect("a server");
    let bonsai = bonsai();
    let mount = bonsai.mount(server.url("repo.git"), &[]);
    // A commit, its tree, and the two small files.
    let came = || status(&mount)["origin"]["objects"] == 4;
    assert!(
        within(Duration::from_secs(30), came),
        "{:?}",
        fetches(&server)
    );
    let size = fs::metadata(mount.path("Cargo.toml")).expect("there").len();
    assert_eq!(size, 2 << 20);
    mount.unmount();
    server.reset();
    let mount = bonsai.mount(server.url("repo.git"), &[]);
    let content = fs::read(mount.path("Makefile")).expect("it is here");
    assert_eq!(content, b"all:\n");
    let content = fs::read(mount.path("Cargo.toml")).expect("read");
    assert_eq!(content, large.as_bytes());
    mount.unmount();
    // The trees are here.
    assert_eq!(server.log_of("fetch").len(), 1);
}

/// A size that an earlier mount had learnt made each read cost a request of its own: only files whose
/// size this mount had asked for were known by their place.
#[test]
fn reading_a_directory_whose_sizes_are_known_costs_few_requests() {
    let repo = repo(2, 400);
    let server = GitServer::builder(repo.root()).object_info();
    let server = server.start().expect("a server");
    let bonsai = bonsai();
    let mount = bonsai.mount(server.url("repo.git"), &[]);
    wait_for_trees(&server);
    let files = |mount: &Mounted<'_>| -> Vec<PathBuf> {
        let entries = fs::read_dir(mount.path("d001")).expect("listed");
        let path = |entry: std::io::Result<fs::DirEntry>| entry.expect("an entry").path();
        entries.map(path).collect()
    };
    for path in files(&mount) {
        fs::symlink_metadata(path).expect("a size");
    }
    assert_eq!(fetches(&server).len(), 0, "only sizes");
    mount.unmount();
    server.reset();
    let mount = bonsai.mount(server.url("repo.git"), &[]);
    for path in files(&mount) {
        fs::read(path).expect("read");
    }
    let log = server.log_of("fetch");
    assert!(log.len() <= 8, "{} requests", log.len());
    assert_each_once(&log);
    mount.unmount();
}

#[test]
fn reading_everything_costs_few_requests_and_gives_what_is_committed() {
    let repo = repo(60, 20);
    let server = GitServer::start(repo.root()).expect("a server");
    let bonsai = bonsai();
    let mount = bonsai.mount(server.url("repo.git"), &[]);
    assert_same(&committed(&repo, "HEAD"), mount.dir(), Order::Sorted);
    let log = fetches(&server);
    assert!(log.len() <= 60, "{} requests for 1,200 files", log.len());
    assert_each_once(&log);
    mount.unmount();
}

#[test]
fn single_reads_cost_one_request_each_and_bring_nothing_else() {
    let repo = repo(40, 30);
    let server = GitServer::start(repo.root()).expect("a server");
    let bonsai = bonsai();
    let mount = bonsai.mount(server.url("repo.git"), &[]);
    wait_for_trees(&server);
    // No two in neighbouring places.
    for n in 0..20 {
        let path = format!("d{:03}/f{:03}", n * 17 % 40, n * 11 % 30);
        fs::read(mount.path(path)).expect("read");
    }
    let log = fetches(&server);
    assert_eq!(log.len(), 20);
    assert!(log.iter().all(|request| request.wants().len() == 1));
    mount.unmount();
}

#[test]
fn without_prefetching_each_file_costs_its_request() {
    let repo = repo(1, 30);
    let server = GitServer::start(repo.root()).expect("a server");
    let bonsai = bonsai();
    let mount = bonsai.mount(server.url("repo.git"), &["--prefetch", "none"]);
    wait_for_trees(&server);
    for entry in fs::read_dir(mount.path("d000")).expect("listed") {
        fs::read(entry.expect("an entry").path()).expect("read");
    }
    let log = fetches(&server);
    assert_eq!(log.len(), 30);
    let status: serde_json::Value = serde_json::from_str(&mount.status()).expect("JSON");
    assert_eq!(status["prefetch"], serde_json::Value::Null);
    mount.unmount();
}

#[test]
fn with_prefetch_all_everything_is_there_when_the_server_goes() {
    let repo = repo(20, 20);
    let mut server = GitServer::start(repo.root()).expect("a server");
    let bonsai = bonsai();
    let mount = bonsai.mount(server.url("repo.git"), &["--prefetch", "all"]);
    let all_came = || {
        let status: serde_json::Value = serde_json::from_str(&mount.status()).expect("JSON");
        status["prefetch"]["objects"] == 400
    };
    assert!(within(Duration::from_secs(60), all_came), "all of it comes");
    server.stop();
    assert_same(&committed(&repo, "HEAD"), mount.dir(), Order::Sorted);
    assert_each_once(&fetches(&server));
    mount.unmount();
}

/// What a refresh brought was left to those who read it.
#[test]
fn with_prefetch_all_everything_new_comes_after_a_refresh_too() {
    let repo = repo(4, 10);
    let mut server = GitServer::start(repo.root()).expect("a server");
    let bonsai = bonsai();
    let options = ["--prefetch", "all", "--follow", "manual"];
    let mount = bonsai.mount(server.url("repo.git"), &options);
    let came = |objects: u64| {
        within(Duration::from_secs(60), || {
            status(&mount)["prefetch"]["objects"] == objects
        })
    };
    assert!(came(40), "all of it comes");
    let mut tree = Files::new();
    for file in 0..10 {
        tree.add_file(format!("d002/f{file:03}"), format!("other {file}\n"));
        tree.add_file(format!("new/deep/f{file:03}"), format!("new {file}\n"));
    }
    repo.commit(&tree);
    bonsai.ok(["refresh".as_ref(), mount.dir().as_os_str()]);
    assert!(came(60), "what is new comes: {}", mount.status());
    server.stop();
    assert_same(&committed(&repo, "HEAD"), mount.dir(), Order::Sorted);
    mount.unmount();
}

/// A listing of large files fetched each of them whole where the server has no `object-info`.
#[test]
fn the_sizes_of_large_files_cost_their_beginnings() {
    const SIZE: usize = 4 << 20;
    let mut tree = Files::new();
    for file in 0..6 {
        // Text that hardly compresses, so that bytes tell what was sent.
        let mut state = 0x9e37_79b9_u32 + file;
        let mut data = Vec::with_capacity(SIZE);
        while data.len() < SIZE {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            data.push((state >> 24) as u8);
        }
        tree.add_file(format!("large/f{file}"), data);
        tree.add_file(format!("large/small{file}"), format!("small {file}\n"));
    }
    let repo = Repo::new();
    repo.commit(&tree);
    let server = GitServer::start(repo.root()).expect("a server");
    let bonsai = bonsai();
    let mount = bonsai.mount(server.url("repo.git"), &[]);
    let size = |name: String| fs::symlink_metadata(mount.path("large").join(name));
    for file in 0..6 {
        assert_eq!(size(format!("f{file}")).expect("a size").len(), SIZE as u64);
        assert_eq!(size(format!("small{file}")).expect("a size").len(), 8);
    }
    // What the mount read; a server sends on until it hears that nobody does.
    let status: serde_json::Value = serde_json::from_str(&mount.status()).expect("JSON");
    let bytes = status["origin"]["bytes"].as_u64().expect("a number");
    assert!(bytes < SIZE as u64, "{bytes} bytes for 6 sizes");
    let info = bonsai.ok(["info".as_ref(), mount.path("large/f3").as_os_str()]);
    assert!(
        info.contains("not fetched") && info.contains("4194304"),
        "{info}"
    );
    assert_eq!(fs::read(mount.path("large/f3")).expect("read").len(), SIZE);
    mount.unmount();
}

#[test]
fn a_large_file_among_others_is_not_fetched_ahead() {
    let repo = Repo::new();
    let mut tree = Files::new();
    for file in 0..40 {
        tree.add_file(format!("f{file:03}"), format!("file {file}\n"));
    }
    // It compresses to nothing; its size counts.
    tree.add_file("f020-large", vec![b'x'; 5 << 20]);
    repo.commit(&tree);
    let server = GitServer::start(repo.root()).expect("a server");
    let bonsai = bonsai();
    let mount = bonsai.mount(server.url("repo.git"), &[]);
    wait_for_trees(&server);
    for file in 0..40 {
        let path = mount.path(format!("f{file:03}"));
        let expected = format!("file {file}\n");
        assert_eq!(fs::read_to_string(path).expect("read"), expected);
    }
    let info = bonsai.ok([
        "info",
        mount.path("f020-large").to_str().expect("UTF-8"),
        "--json",
    ]);
    let info: serde_json::Value = serde_json::from_str(&info).expect("JSON");
    assert_eq!(info["content"], "not fetched");
    let large = fs::read(mount.path("f020-large")).expect("read");
    assert!(large.len() == 5 << 20 && large.iter().all(|byte| *byte == b'x'));
    assert!(fetches(&server).len() <= 10);
    assert!(Path::new(mount.dir()).exists());
    mount.unmount();
}

//! Real source trees: the dependencies of this very build, as the cargo registry keeps them,
//! committed into repositories of over 1,000 files each.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use bonsai_testkit::{
    Bonsai, GitServer, Order, Repo, assert_same, assert_same_in_parallel,
    compare::{Tree, archived, committed, differences},
};

/// How many files a tree must have at least.
const FILES: usize = 1000;

/// Crates whose sources are larger than this are of no interest: it is many files that count.
const LARGEST_CRATE: u64 = 20 << 20;

fn bonsai() -> Bonsai {
    Bonsai::new(env!("CARGO_BIN_EXE_bonsai"))
}

/// The unpacked sources of every dependency, with their number of files, by name.
fn sources() -> Vec<(PathBuf, usize)> {
    let home = env::var_os("CARGO_HOME").map_or_else(
        || PathBuf::from(env::var_os("HOME").expect("a home folder")).join(".cargo"),
        PathBuf::from,
    );
    let mut found = Vec::new();
    let registries = fs::read_dir(home.join("registry/src"));
    for registry in registries.expect("the cargo registry, since this was built from it") {
        let registry = registry.expect("an entry").path();
        for krate in fs::read_dir(registry).expect("a registry") {
            let krate = krate.expect("an entry").path();
            let (files, bytes) = measure(&krate);
            if bytes <= LARGEST_CRATE {
                found.push((krate, files));
            }
        }
    }
    found.sort();
    found
}

/// Files below a folder, and their bytes.
fn measure(dir: &Path) -> (usize, u64) {
    let (mut files, mut bytes) = (0, 0);
    for entry in fs::read_dir(dir).expect("readdir") {
        let entry = entry.expect("an entry");
        let stat = entry.metadata().expect("lstat");
        if stat.is_dir() {
            let (inner_files, inner_bytes) = measure(&entry.path());
            files += inner_files;
            bytes += inner_bytes;
        } else {
            files += 1;
            bytes += stat.len();
        }
    }
    (files, bytes)
}

/// Sources put together to trees of over [`FILES`] files. Each is all of one registry folder.
fn trees() -> Vec<Vec<PathBuf>> {
    let mut trees = Vec::new();
    let (mut tree, mut files) = (Vec::new(), 0);
    for (krate, count) in sources() {
        if tree
            .first()
            .is_some_and(|first: &PathBuf| first.parent() != krate.parent())
        {
            (tree, files) = (Vec::new(), 0);
        }
        tree.push(krate);
        files += count;
        if files > FILES {
            trees.push(std::mem::take(&mut tree));
            files = 0;
        }
    }
    trees
}

/// A repository with these folders at its root, as `git add` takes them in.
fn commit(folders: &[PathBuf]) -> Repo {
    let repo = Repo::new();
    let registry = folders[0].parent().expect("in a registry");
    let git = |args: &[&str]| -> Command {
        let mut command = repo.command();
        command
            .arg("--work-tree")
            .arg(registry)
            .args(args)
            .env("GIT_DIR", repo.path());
        command
    };
    let mut add = git(&["add", "--force", "--"]);
    for folder in folders {
        add.arg(registry.join(folder.file_name().expect("a name")));
    }
    assert!(
        add.current_dir(registry)
            .status()
            .expect("git starts")
            .success()
    );
    let mut commit = git(&["commit", "--quiet", "--message", "Sources"]);
    assert!(
        commit
            .current_dir(registry)
            .status()
            .expect("git starts")
            .success()
    );
    repo.pack();
    repo
}

#[test]
fn three_real_trees_of_over_1_000_files() {
    let trees = trees();
    assert!(
        trees.len() >= 3,
        "too few sources in the registry: {trees:?}"
    );
    // From all over the alphabet.
    for number in [0, trees.len() / 2, trees.len() - 1] {
        let repo = commit(&trees[number]);
        let expected: Tree = committed(&repo, "HEAD");
        let count = expected.files().count();
        assert!(count > FILES, "{count} files in {:?}", trees[number]);
        let archive = archived(&repo, "HEAD").without_empty_dirs();
        assert_eq!(differences(&expected.without_empty_dirs(), &archive), []);
        let server = GitServer::start(repo.root()).expect("a server");
        for source in [repo.path().display().to_string(), server.url("repo.git")] {
            let bonsai = bonsai();
            let mount = bonsai.mount(&source, &[]);
            assert_same_in_parallel(&expected, mount.dir(), 8);
            assert_same(&expected, mount.dir(), Order::Sorted);
            same_by_tools(&repo, mount.dir());
            mount.unmount();
            bonsai.assert_nothing_left();
        }
    }
}

/// Third opinions: `diff` finds nothing between the mount and a checkout, and what `git` makes of
/// the mount's files is the commit's tree.
fn same_by_tools(repo: &Repo, dir: &Path) {
    let checkout = repo.root().join("checkout");
    if !checkout.exists() {
        fs::create_dir(&checkout).expect("made");
        let mut command = repo.command();
        command.arg("--work-tree").arg(&checkout);
        command.args(["checkout", "--force", "--quiet", "HEAD", "--", "."]);
        assert!(command.status().expect("git starts").success());
    }
    let mut diff = Command::new("diff");
    let output = diff
        .args(["--recursive", "--no-dereference"])
        .arg(&checkout)
        .arg(dir)
        .output();
    let output = output.expect("diff starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );

    let index = repo.root().join("index");
    let git = |args: &[&str]| {
        let mut command = repo.command();
        command.arg("--work-tree").arg(dir).args(args);
        command
            .env("GIT_INDEX_FILE", &index)
            .env("GIT_DIR", repo.path());
        let output = command.current_dir(dir).output().expect("git starts");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    git(&["add", "--force", "--all", "."]);
    assert_eq!(git(&["write-tree"]), repo.oid("HEAD^{tree}"));
}

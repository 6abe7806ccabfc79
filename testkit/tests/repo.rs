//! The specimens are what they say, and both opinions on a tree agree on each.

use bonsai_testkit::{
    Files, Repo, Specimen,
    compare::{Node, Tree, archived, committed, differences},
    hostile, specimens,
};

/// The tree of a specimen, after `git ls-tree` and `git archive` agreed on it.
fn tree_of(specimen: &Specimen) -> Tree {
    let tree = committed(&specimen.repo, &specimen.commit);
    let archive = archived(&specimen.repo, &specimen.commit);
    let differences = differences(&tree.without_empty_dirs(), &archive.without_empty_dirs());
    assert_eq!(differences, []);
    tree
}

#[test]
fn both_opinions_agree_on_every_specimen() {
    type Make = fn() -> Specimen;
    let all: [(&str, Make); 21] = [
        ("plain", specimens::plain),
        ("sha256", specimens::sha256),
        ("executables", specimens::executables),
        ("symlinks", specimens::symlinks),
        ("gitlinks", specimens::gitlinks),
        ("names", specimens::names),
        ("empty things", specimens::empty_things),
        ("deltas", specimens::deltas),
        ("ref deltas", specimens::ref_deltas),
        ("loose", specimens::loose),
        ("many packs", specimens::many_packs),
        ("annotated tag", specimens::annotated_tag),
        ("nested tag", specimens::nested_tag),
        ("branch", specimens::branch),
        ("unreferenced commit", specimens::unreferenced_commit),
        ("detached HEAD", specimens::detached_head),
        ("alternates", specimens::alternates),
        ("work tree", specimens::work_tree),
        ("second work tree", specimens::second_work_tree),
        ("shallow", specimens::shallow),
        ("deep", || specimens::deep(200)),
    ];
    for (name, make) in all {
        let specimen = make();
        let tree = tree_of(&specimen);
        assert!(tree.nodes.len() > 2, "{name} has something to show");
        let want = specimen.want.as_deref().unwrap_or("HEAD");
        let commit = specimen.repo.oid(&format!("{want}^{{commit}}"));
        assert_eq!(commit, specimen.commit, "{name}: the commit wanted");
    }
    assert!(tree_of(&specimens::empty_tree()).nodes.is_empty());
}

#[test]
fn specimens_hold_what_they_are_for() {
    let tree = tree_of(&specimens::names());
    assert!(tree.nodes.contains_key(b"new\nline".as_slice()));
    let not_utf8 = b"\xff\xfe\x80 not UTF-8".as_slice();
    assert!(tree.nodes.contains_key(not_utf8));
    assert!(tree.nodes.contains_key(vec![b'n'; 255].as_slice()));

    let tree = tree_of(&specimens::symlinks());
    let longest = tree.nodes.get(b"longest".as_slice());
    assert_eq!(longest, Some(&Node::Symlink(vec![b'b'; 4095])));

    let tree = tree_of(&specimens::empty_things());
    let empty = tree.nodes.get(b"only/below".as_slice());
    assert_eq!(empty, Some(&Node::Dir));

    let tree = tree_of(&specimens::executables());
    let node = tree.nodes.get(b"x".as_slice());
    assert_eq!(node, Some(&Node::file(true, "same")));

    let tree = tree_of(&specimens::deep(200));
    let depths = tree
        .nodes
        .keys()
        .map(|path| path.split(|&byte| byte == b'/').count());
    assert_eq!(depths.max(), Some(201));
}

/// What `git verify-pack -v` says of all packs.
fn packed(specimen: &Specimen) -> String {
    let folder = specimen.repo.git_dir().join("objects/pack");
    let mut report = String::new();
    for entry in std::fs::read_dir(folder).expect("a pack folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|kind| kind == "idx") {
            let index = path.to_str().expect("a path in UTF-8");
            let text = specimen.repo.git(&["verify-pack", "-v", index]);
            report.push_str(&String::from_utf8_lossy(&text));
        }
    }
    report
}

#[test]
fn repositories_have_the_storage_they_are_for() {
    assert!(packed(&specimens::deltas()).contains("chain length = "));
    assert!(packed(&specimens::ref_deltas()).contains("chain length = "));
    assert_eq!(packed(&specimens::loose()), "");
    let in_git_dir = |specimen: &Specimen, path: &str| specimen.repo.git_dir().join(path).exists();
    assert!(in_git_dir(
        &specimens::alternates(),
        "objects/info/alternates"
    ));
    assert!(in_git_dir(&specimens::shallow(), "shallow"));
    assert!(in_git_dir(
        &specimens::many_packs(),
        "objects/pack/multi-pack-index"
    ));
    let second = specimens::second_work_tree();
    assert!(second.repo.path().join(".git").is_file());
    assert_eq!(specimens::sha256().commit.len(), 64);
}

#[test]
fn a_large_directory_has_every_entry() {
    let specimen = specimens::large_directory(5000);
    let tree = committed(&specimen.repo, &specimen.commit);
    // The directory, its entries, and the file in its subdirectory.
    assert_eq!(tree.nodes.len(), 1 + 5000 + 1);
}

#[test]
fn a_large_blob_is_its_pattern() {
    let size = 3 * specimens::PATTERN_BLOCK + 77;
    let specimen = specimens::large_blob(size);
    let data = specimen.repo.git(&["cat-file", "blob", "HEAD:large"]);
    assert_eq!(data, specimens::pattern(0, size));
    // Any piece is the same as cut from the whole.
    for (offset, length) in [(0, 1), (7, 2), (4095, 4098), (size - 3, 3)] {
        let from = usize::try_from(offset).expect("small");
        let to = usize::try_from(offset + length).expect("small");
        assert_eq!(specimens::pattern(offset, length), data[from..to]);
    }
}

#[test]
fn hostile_trees_are_kept_as_they_are() {
    let all = hostile::all();
    for hostile in &all {
        let commit = hostile.repo.oid("HEAD");
        assert_ne!(Some(&commit), hostile.honest.as_ref(), "{}", hostile.name);
        if let Some(honest) = &hostile.honest {
            assert!(!committed(&hostile.repo, honest).nodes.is_empty());
        }
    }
    let holds = |name: &str, part: &[u8]| {
        let found = all.iter().find(|hostile| hostile.name == name);
        let hostile = found.expect("a hostile tree of this name");
        let data = hostile.repo.git(&["cat-file", "tree", "HEAD^{tree}"]);
        data.windows(part.len()).any(|window| window == part)
    };
    assert!(holds("an entry .git", b"100644 .git\0"));
    assert!(holds("a name that leads out", b" ../../escape\0"));
    assert!(holds("an empty name", b"100644 \0"));
}

#[test]
fn a_tree_deeper_than_any_path() {
    let repo = hostile::deep(5000);
    let counts = repo.git(&["count-objects", "-v"]);
    let text = String::from_utf8_lossy(&counts);
    // A tree a level and the root, a blob, a commit.
    let objects: u64 = text
        .lines()
        .filter_map(|line| {
            line.strip_prefix("in-pack: ")
                .or(line.strip_prefix("count: "))
        })
        .map(|count| count.parse::<u64>().expect("a count"))
        .sum();
    assert_eq!(objects, 5000 + 1 + 1 + 1, "{text}");
}

#[test]
fn the_same_calls_give_the_same_ids() {
    let make = || Repo::new().commit(&Files::new().file("a", "b").symlink("c", "d"));
    assert_eq!(make(), make());
}

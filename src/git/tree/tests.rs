//! Tests of the reader of trees: against git, and against hostile ones.

use proptest::prelude::*;

use super::*;
use crate::git::oracle::Repo;

const SHA1: HashKind = HashKind::Sha1;

fn encode(entries: &[(&str, &[u8], Oid)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (mode, name, oid) in entries {
        out.extend_from_slice(mode.as_bytes());
        out.push(b' ');
        out.extend_from_slice(name);
        out.push(0);
        out.extend_from_slice(oid.as_slice());
    }
    out
}

fn oid() -> Oid {
    Oid::empty_blob(SHA1)
}

/// A tree of files with these names.
fn files(names: &[&[u8]]) -> Vec<u8> {
    let entries: Vec<_> = names.iter().map(|&name| ("100644", name, oid())).collect();
    encode(&entries)
}

fn names<'a>(tree: &ParsedTree<'a>) -> Vec<&'a [u8]> {
    tree.entries.iter().map(|entry| entry.name).collect()
}

fn rejected(tree: &ParsedTree<'_>) -> Vec<(Vec<u8>, RejectReason)> {
    tree.rejected
        .iter()
        .map(|entry| (entry.name.clone(), entry.reason))
        .collect()
}

#[test]
fn a_tree_of_git_is_read_whole() {
    for hash in [SHA1, HashKind::Sha256] {
        let repo = Repo::new(hash);
        repo.write("foo/inner", b"1");
        repo.write("foo.txt", b"2");
        repo.write("foo0", b"3");
        repo.write("ru\u{fc}n", b"4");
        repo.git(&["add", "--all"]);
        let (blob, head) = (repo.rev(":foo.txt"), repo.commit("one"));
        for (mode, name) in [("100755", "run"), ("120000", "link")] {
            let info = format!("{mode},{blob},{name}");
            repo.git(&["update-index", "--add", "--cacheinfo", &info]);
        }
        let info = format!("160000,{head},module");
        repo.git(&["update-index", "--add", "--cacheinfo", &info]);
        repo.git(&["commit", "--quiet", "--message=two"]);
        let data = repo.git(&["cat-file", "tree", "HEAD^{tree}"]);
        let tree = parse(&data, hash).expect("git's tree");
        assert_eq!((tree.order, tree.rejected.len()), (Order::Sorted, 0));
        // `<mode> SP <kind> SP <id> TAB <name>`, sorted as git does.
        let listing = repo.git(&["ls-tree", "-z", "HEAD"]);
        let mut listed: Vec<_> = listing
            .split(|&byte| byte == 0)
            .filter(|line| !line.is_empty())
            .collect();
        listed.sort_by_key(|line| line.split(|&byte| byte == b'\t').next_back());
        let shown: Vec<_> = tree
            .entries
            .iter()
            .map(|entry| {
                let kind = match entry.mode {
                    EntryMode::Dir => "tree",
                    EntryMode::Gitlink => "commit",
                    EntryMode::File | EntryMode::Executable | EntryMode::Symlink => "blob",
                };
                let mode = entry.mode.as_octal();
                let line = format!("{mode:0>6} {kind} {}\t", entry.oid);
                [line.as_bytes(), entry.name].concat()
            })
            .collect();
        assert_eq!(shown, listed);
        assert_eq!(names(&tree)[..3], [&b"foo"[..], b"foo.txt", b"foo0"]);
    }
}

#[test]
fn modes_are_read_as_git_does() {
    for (mode, expected) in [
        ("40000", Some(EntryMode::Dir)),
        ("040000", Some(EntryMode::Dir)),
        ("40755", Some(EntryMode::Dir)),
        ("100644", Some(EntryMode::File)),
        ("100664", Some(EntryMode::File)),
        ("100600", Some(EntryMode::File)),
        ("100611", Some(EntryMode::File)),
        ("100755", Some(EntryMode::Executable)),
        ("100700", Some(EntryMode::Executable)),
        ("104755", Some(EntryMode::Executable)),
        ("120000", Some(EntryMode::Symlink)),
        ("120777", Some(EntryMode::Symlink)),
        ("160000", Some(EntryMode::Gitlink)),
        ("0", None),
        ("644", None),
        ("20000", None),
        ("140000", None),
        ("300644", None),
        ("240000", None),
        ("1100644", None),
        ("40000000040000", None),
        ("777777777777777777777777777777", None),
    ] {
        let data = encode(&[(mode, b"x", oid())]);
        let tree = parse(&data, SHA1).expect("cut into entries");
        assert_eq!(
            tree.entries.first().map(|entry| entry.mode),
            expected,
            "{mode}"
        );
        let reasons: Vec<_> = tree.rejected.iter().map(|entry| entry.reason).collect();
        assert_eq!(reasons == [RejectReason::BadMode], expected.is_none());
    }
}

#[test]
fn a_rejection_can_be_told_in_words() {
    use RejectReason::*;
    let all = [
        Empty, Dot, DotDot, DotGit, Slash, TooLong, Duplicate, BadMode,
    ];
    for reason in all {
        assert!(reason.as_str().starts_with("has ") || reason.as_str().starts_with("is "));
    }
    let mut words: Vec<_> = all.map(RejectReason::as_str).to_vec();
    words.sort_unstable();
    words.dedup();
    assert_eq!(words.len(), all.len());
}

#[test]
fn names_that_lead_elsewhere_are_rejected() {
    let long = [b'x'; NAME_MAX + 1];
    for (name, reason) in [
        (&b""[..], RejectReason::Empty),
        (b".", RejectReason::Dot),
        (b"..", RejectReason::DotDot),
        (b".git", RejectReason::DotGit),
        (b".GiT", RejectReason::DotGit),
        (b"/", RejectReason::Slash),
        (b"../../etc/passwd", RejectReason::Slash),
        (b"a/b", RejectReason::Slash),
        (&long, RejectReason::TooLong),
    ] {
        let data = files(&[name, b"ok"]);
        let tree = parse(&data, SHA1).expect("cut into entries");
        assert_eq!(names(&tree), [b"ok"]);
        let shown = name[..name.len().min(NAME_MAX)].to_vec();
        assert_eq!(rejected(&tree), [(shown, reason)]);
        assert!(!reason.as_str().is_empty());
    }
}

#[test]
fn any_other_name_is_fine() {
    let longest = [b'x'; NAME_MAX];
    let odd: [&[u8]; 12] = [
        b"\x01",
        b"\n",
        b" ",
        b"-",
        b"...",
        b".gitmodules",
        b"\\",
        b".git\xe2\x80\x8c",
        b"CON",
        b"git~1",
        &longest,
        b"\xff\xfe",
    ];
    let data = files(&odd);
    let tree = parse(&data, SHA1).expect("cut into entries");
    assert!(tree.rejected.is_empty());
    let mut sorted = odd;
    sorted.sort_unstable();
    assert_eq!(names(&tree), sorted);
}

#[test]
fn of_a_name_the_first_entry_stays() {
    let other = Oid::empty_tree(SHA1);
    let data = encode(&[
        ("100644", b"a", oid()),
        ("40000", b"b", other),
        ("120000", b"a", other),
        ("40000", b"a", other),
        ("40000", b".git", other),
    ]);
    let tree = parse(&data, SHA1).expect("cut into entries");
    assert_eq!(names(&tree), [b"a", b"b"]);
    assert_eq!(tree.entries[0].mode, EntryMode::File);
    assert_eq!(
        rejected(&tree),
        [
            (b".git".to_vec(), RejectReason::DotGit),
            (b"a".to_vec(), RejectReason::Duplicate),
            (b"a".to_vec(), RejectReason::Duplicate),
        ]
    );
}

#[test]
fn an_order_that_is_not_gits_is_told_and_mended() {
    let order = |entries: &[(&str, &[u8])]| {
        let entries: Vec<_> = entries
            .iter()
            .map(|&(mode, name)| (mode, name, oid()))
            .collect();
        let data = encode(&entries);
        let tree = parse(&data, SHA1).expect("cut into entries");
        assert!(tree.entries.is_sorted_by_key(|entry| entry.name));
        tree.order
    };
    let (file, dir) = ("100644", "40000");
    assert_eq!(
        order(&[(file, b"a.b"), (dir, b"a"), (file, b"a0")]),
        Order::Sorted
    );
    assert_eq!(order(&[(dir, b"a"), (file, b"a.b")]), Order::Unsorted);
    assert_eq!(order(&[(file, b"b"), (file, b"a")]), Order::Unsorted);
    assert_eq!(order(&[(file, b"a"), (file, b"a")]), Order::Unsorted);
    assert_eq!(
        order(&[(file, b"b"), (file, b".git"), (file, b"c")]),
        Order::Sorted
    );
}

#[test]
fn what_can_not_be_cut_is_an_error() {
    let good = files(&[b"name", b"other"]);
    let first = good.len() / 2;
    for cut in 1..good.len() {
        let parsed = parse(&good[..cut], SHA1);
        assert_eq!(
            parsed.is_ok(),
            cut == files(&[b"name"]).len(),
            "cut at {cut} of {first}"
        );
    }
    for (data, reason, offset) in [
        (&b"10x644 a\0"[..], "there is no octal mode", 2),
        (b" a\0", "there is no octal mode", 0),
        (b"8 a\0", "there is no octal mode", 0),
        (b"100644", "it ends within a mode", 6),
        (b"100644 abc", "it ends within a name", 7),
        (b"100644 abc\x00123", "it ends within an id", 11),
    ] {
        let error = parse(data, SHA1).expect_err("can't be cut");
        let kind = ObjectKind::Tree;
        assert_eq!(
            error,
            ObjectError {
                kind,
                reason,
                offset
            }
        );
    }
    assert!(parse(b"", SHA1).expect("the empty tree").entries.is_empty());
}

proptest! {
    #[test]
    fn every_entry_is_shown_or_rejected(
        raw in prop::collection::vec((
            prop::sample::select(vec!["100644", "40000", "120000", "7"]),
            prop::collection::vec(prop::sample::select(b"a.b/0-\xff".to_vec()), 0..4),
        ), 0..20),
    ) {
        let entries: Vec<_> = raw.iter().map(|(mode, name)| (*mode, &name[..], oid())).collect();
        let data = encode(&entries);
        let tree = parse(&data, SHA1).expect("cut into entries");
        prop_assert_eq!(tree.entries.len() + tree.rejected.len(), raw.len());
        prop_assert!(tree.entries.is_sorted_by(|one, other| one.name < other.name));
        for entry in &tree.entries {
            let name = entry.name;
            prop_assert!(!name.is_empty() && !name.contains(&b'/') && name != b"." && name != b"..");
            let first = raw.iter().find(|(mode, raw)| raw == name && *mode != "7");
            prop_assert_eq!(first.map(|(mode, _)| *mode), Some(entry.mode.as_octal()));
        }
    }

    #[test]
    fn no_bytes_panic(data in prop::collection::vec(prop::sample::select(b"01746 ./a\0\xff".to_vec()), 0..90)) {
        let _ = parse(&data, SHA1);
    }
}

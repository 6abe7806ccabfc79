//! Commits, as far as a file system needs them: the tree, the parents, the time.
//!
//! May import: the room's `oid`, `malformed`.

use super::{
    malformed::ObjectError,
    oid::{HashKind, ObjectKind, Oid},
};

/// A commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Its root tree.
    pub tree: Oid,
    /// Its parents, in order.
    pub parents: Vec<Oid>,
    /// When it was committed, in seconds since 1970; 0 if that can't be read, as git has it.
    pub committer_time: i64,
}

/// Reads a commit: `tree <id>`, any number of `parent <id>`, `author …`, `committer …`, and more
/// that doesn't matter here, a line each.
///
/// # Errors
///
/// [`ObjectError`] if the tree or a parent can't be read. A missing or odd author or committer is
/// none: old and imported histories have them.
pub fn parse_commit(data: &[u8], hash: HashKind) -> Result<Commit, ObjectError> {
    let malformed = |reason, rest: &[u8]| ObjectError {
        kind: ObjectKind::Commit,
        reason,
        offset: data.len() - rest.len(),
    };
    let mut rest = data;
    let tree = id_line(&mut rest, b"tree ", hash);
    let tree = tree.ok_or_else(|| malformed("there is no tree", rest))?;
    let mut parents = Vec::new();
    while rest.starts_with(b"parent ") {
        let parent = id_line(&mut rest, b"parent ", hash);
        parents.push(parent.ok_or_else(|| malformed("a parent can't be read", rest))?);
    }
    let mut headers = rest
        .split(|&byte| byte == b'\n')
        .take_while(|line| !line.is_empty());
    let committer = headers.find_map(|line| line.strip_prefix(b"committer "));
    Ok(Commit {
        tree,
        parents,
        committer_time: committer.and_then(time).unwrap_or(0),
    })
}

/// Takes the line `<key><id>` off `rest`, if that is what it begins with.
pub(super) fn id_line(rest: &mut &[u8], key: &[u8], hash: HashKind) -> Option<Oid> {
    let (hex, tail) = rest
        .strip_prefix(key)?
        .split_at_checked(hash.len_in_hex())?;
    let oid = Oid::from_hex(hex).ok()?;
    *rest = tail.strip_prefix(b"\n")?;
    Some(oid)
}

/// The seconds in `<name> <<email>> <seconds> <zone>`, where name and email may be anything.
fn time(person: &[u8]) -> Option<i64> {
    let after_email = person.rsplit(|&byte| byte == b'>').next()?;
    let text = std::str::from_utf8(after_email).ok()?;
    text.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::oracle::Repo;

    const SHA1: HashKind = HashKind::Sha1;
    const ID: &str = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";

    fn with_committer(line: &str) -> i64 {
        let data =
            format!("tree {ID}\nauthor A <a> 5 +0000\n{line}\ncommitter X <x> 9 +0000\n\nbody");
        parse_commit(data.as_bytes(), SHA1)
            .expect("good enough")
            .committer_time
    }

    #[test]
    fn commits_of_git_are_read() {
        for hash in [SHA1, HashKind::Sha256] {
            let repo = Repo::new(hash);
            let one = repo.commit("one");
            repo.git(&["checkout", "--quiet", "--orphan", "other"]);
            let two = repo.commit("two\n\ncommitter Not Me <x> 1 +0000");
            let merge = format!("{one} {two} {two}");
            let parents: Vec<_> = merge.split(' ').flat_map(|id| ["-p", id]).collect();
            let args = [
                &["commit-tree", "-m", "merge", "HEAD^{tree}"],
                &parents[..4],
            ]
            .concat();
            let three = repo.git(&args);
            let three = String::from_utf8(three).expect("ASCII");
            let read = |name: &str| {
                let data = repo.git(&["cat-file", "commit", name]);
                parse_commit(&data, hash).expect("git's commit")
            };
            let expected = |parents: &[Oid]| Commit {
                tree: Oid::empty_tree(hash),
                parents: parents.to_vec(),
                committer_time: 1_700_000_001,
            };
            assert_eq!(read(&one.to_string()), expected(&[]));
            assert_eq!(read(&two.to_string()), expected(&[]));
            assert_eq!(read(three.trim()), expected(&[one, two]));
        }
    }

    #[test]
    fn odd_committers_have_a_time_or_none() {
        for (line, time) in [
            ("committer A <a> 1700000000 +0100", 1_700_000_000),
            ("committer A <a> -5 +0100", -5),
            ("committer A <a>1700000000", 1_700_000_000),
            ("committer A <a> > 7 +0000", 7),
            ("committer > <a> 7 +0000", 7),
            ("committer A <a> 9223372036854775808 +0000", 0),
            ("committer A <a> now +0000", 0),
            ("committer A <a>", 0),
            ("committer ", 0),
            ("encoding x", 9),
            ("", 0),
        ] {
            assert_eq!(with_committer(line), time, "{line}");
        }
    }

    #[test]
    fn a_commit_without_a_tree_is_malformed() {
        let parse = |data: &str| parse_commit(data.as_bytes(), SHA1);
        assert!(parse(&format!("tree {ID}\n")).is_ok());
        for (data, offset) in [
            (String::new(), 0),
            (format!("tree {ID}"), 0),
            (format!("tree {}\n", &ID[1..]), 0),
            (format!("tree {ID}0\n"), 0),
            (format!("parent {ID}\ntree {ID}\n"), 0),
            (format!("tree {ID}\nparent x\n"), 46),
            (format!("tree {ID}\nparent {ID}\nparent {ID} \n"), 94),
        ] {
            let error = parse(&data).expect_err("must be refused");
            assert_eq!(
                (error.kind, error.offset),
                (ObjectKind::Commit, offset),
                "{data}"
            );
        }
        assert!(parse_commit(format!("tree {ID}\n").as_bytes(), HashKind::Sha256).is_err());
    }
}

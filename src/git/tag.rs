//! Annotated tags, as far as a file system needs them: what they point to.
//!
//! May import: the room's `oid`, `malformed`, `commit`.

use super::{
    commit::id_line,
    malformed::ObjectError,
    oid::{HashKind, ObjectKind, Oid},
};

/// What a tag points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TagTarget {
    /// The object.
    pub target: Oid,
    /// Its kind, as the tag has it; another tag is possible.
    pub kind: ObjectKind,
}

/// Reads a tag: `object <id>`, `type <kind>`, and more that doesn't matter here, a line each.
pub fn parse_tag(data: &[u8], hash: HashKind) -> Result<TagTarget, ObjectError> {
    let malformed = |reason, rest: &[u8]| ObjectError {
        kind: ObjectKind::Tag,
        reason,
        offset: data.len() - rest.len(),
    };
    let mut rest = data;
    let target = id_line(&mut rest, b"object ", hash);
    let target = target.ok_or_else(|| malformed("there is no object", rest))?;
    let line = rest.split(|&byte| byte == b'\n').next();
    let word = line.and_then(|line| line.strip_prefix(b"type "));
    let kind = word.and_then(ObjectKind::from_word);
    let kind = kind.ok_or_else(|| malformed("there is no type", rest))?;
    Ok(TagTarget { target, kind })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::oracle::Repo;

    #[test]
    fn tags_of_git_are_read() {
        for hash in [HashKind::Sha1, HashKind::Sha256] {
            let repo = Repo::new(hash);
            repo.write("file", b"x");
            repo.commit("one");
            repo.git(&["tag", "--annotate", "--message=t", "to-tag-of-commit"]);
            for (name, of, kind) in [
                ("commit", "HEAD", ObjectKind::Commit),
                ("tree", "HEAD:", ObjectKind::Tree),
                ("blob", "HEAD:file", ObjectKind::Blob),
                ("tag", "to-tag-of-commit", ObjectKind::Tag),
            ] {
                repo.git(&["tag", "--annotate", "--message=t", name, of]);
                let data = repo.git(&["cat-file", "tag", name]);
                let target = repo.rev(of);
                assert_eq!(parse_tag(&data, hash), Ok(TagTarget { target, kind }));
            }
        }
    }

    #[test]
    fn a_tag_of_nothing_is_malformed() {
        let id = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";
        let parse = |data: &str| parse_tag(data.as_bytes(), HashKind::Sha1);
        assert!(parse(&format!("object {id}\ntype tree")).is_ok());
        for (data, offset) in [
            (String::new(), 0),
            (format!("object {id}"), 0),
            ("object 4b825d\ntype tree\n".to_owned(), 0),
            (format!("object {id}\n"), 48),
            (format!("object {id}\ntype branch\n"), 48),
            (format!("object {id}\ntag x\ntype tree\n"), 48),
        ] {
            let error = parse(&data).expect_err("must be refused");
            assert_eq!(
                (error.kind, error.offset),
                (ObjectKind::Tag, offset),
                "{data}"
            );
        }
    }
}

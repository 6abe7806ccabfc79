//! Which of a server's refs is meant. Pure.

use crate::{
    git::{oid::HashKind, refname, v2::RefLine},
    origin::Resolved,
};

/// What to ask a server for, and how to find it in the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// Where HEAD points.
    Head,
    /// The first of these full names that is there.
    AnyOf(Vec<String>),
}

impl Question {
    /// The question behind a branch's, a tag's or a full ref's name. `None` if no ref can be
    /// called so.
    pub fn named(name: &str) -> Option<Self> {
        if name == "HEAD" {
            return Some(Self::Head);
        }
        let candidates = refname::candidates(name);
        (!candidates.is_empty()).then_some(Self::AnyOf(candidates))
    }

    /// The `ref-prefix` values to send. Servers know no exact match, so the answer may hold more.
    pub fn prefixes(&self) -> Vec<&str> {
        match self {
            Self::Head => vec!["HEAD"],
            Self::AnyOf(names) => names.iter().map(String::as_str).collect(),
        }
    }

    /// The answer, if it is among `refs`.
    pub fn find(&self, refs: &[RefLine], hash: HashKind) -> Option<Resolved> {
        let resolved = |line: &RefLine, name: Option<&String>| {
            Some(Resolved {
                name: name.cloned(),
                target: line.oid?,
                peeled: line.peeled,
                hash,
            })
        };
        let line = |name: &str| refs.iter().find(|line| line.name == name);
        match self {
            // HEAD has a target's name unless it is detached.
            Self::Head => line("HEAD").and_then(|head| resolved(head, head.symref_target.as_ref())),
            Self::AnyOf(names) => names
                .iter()
                .find_map(|name| resolved(line(name)?, Some(name))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::oid::Oid;

    fn oid(digit: u8) -> Oid {
        Oid::from([digit; 20])
    }

    fn line(name: &str, digit: u8) -> RefLine {
        RefLine {
            name: name.to_owned(),
            oid: Some(oid(digit)),
            symref_target: None,
            peeled: None,
        }
    }

    fn find(question: &Question, refs: &[RefLine]) -> Option<(Option<String>, Oid, Option<Oid>)> {
        let found = question.find(refs, HashKind::Sha1)?;
        assert_eq!(found.hash, HashKind::Sha1);
        Some((found.name, found.target, found.peeled))
    }

    #[test]
    fn head_is_named_after_its_branch() {
        let head = RefLine {
            symref_target: Some("refs/heads/main".to_owned()),
            ..line("HEAD", 1)
        };
        let found = find(&Question::Head, &[line("refs/heads/HEAD", 2), head]);
        assert_eq!(found, Some((Some("refs/heads/main".into()), oid(1), None)));
        let detached = find(&Question::Head, &[line("HEAD", 3)]);
        assert_eq!(detached, Some((None, oid(3), None)));
    }

    #[test]
    fn an_unborn_or_missing_head_is_not_found() {
        let unborn = RefLine {
            oid: None,
            symref_target: Some("refs/heads/main".to_owned()),
            ..line("HEAD", 1)
        };
        assert_eq!(find(&Question::Head, &[unborn]), None);
        assert_eq!(find(&Question::Head, &[]), None);
    }

    #[test]
    fn a_tag_goes_before_a_branch_and_only_whole_names_count() {
        let question = Question::named("v1").expect("a valid name");
        assert!(question.prefixes().contains(&"refs/tags/v1"));
        assert!(question.prefixes().contains(&"refs/heads/v1"));
        let tag = RefLine {
            peeled: Some(oid(9)),
            ..line("refs/tags/v1", 1)
        };
        let branch = line("refs/heads/v1", 2);
        let longer = line("refs/tags/v1.0", 3);
        let found = find(&question, &[longer.clone(), branch.clone(), tag]);
        assert_eq!(
            found,
            Some((Some("refs/tags/v1".into()), oid(1), Some(oid(9))))
        );
        let found = find(&question, &[longer.clone(), branch]);
        assert_eq!(found, Some((Some("refs/heads/v1".into()), oid(2), None)));
        assert_eq!(find(&question, &[longer]), None);
    }

    #[test]
    fn a_full_name_means_itself() {
        let question = Question::named("refs/pull/1/head").expect("a valid name");
        assert_eq!(question.prefixes(), ["refs/pull/1/head"]);
        assert_eq!(Question::named("HEAD"), Some(Question::Head));
    }

    #[test]
    fn what_can_not_be_a_ref_is_no_question() {
        for name in ["", "a b", "a..b", "-\n", "refs/", "@{-1}"] {
            assert_eq!(Question::named(name), None, "{name:?}");
        }
    }
}

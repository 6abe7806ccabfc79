//! Ref names: which are valid (git-check-ref-format), and what a short name may stand for
//! (gitrevisions).
//!
//! May import: the room's `oid`.
//!
//! Always holds: a valid name has no control character, so it is safe to print and to send.

use super::oid::Oid;

/// The longest name taken for one, in bytes. It is Linux's longest path, beyond which git can't keep
/// a ref as a file; the format itself sets no limit.
pub const MAX_LEN: usize = 4096;

/// True if git-check-ref-format accepts `name`, with or without a slash in it (`main` is valid, as
/// with `--allow-onelevel`), and it is no longer than [`MAX_LEN`].
pub fn is_valid(name: &str) -> bool {
    let forbidden = |byte: u8| byte <= b' ' || b"\x7f~^:?*[\\".contains(&byte);
    name.len() <= MAX_LEN
        && !name.bytes().any(forbidden)
        && name != "@"
        && !name.ends_with('.')
        && !name.contains("..")
        && !name.contains("@{")
        && name.split('/').all(|component| {
            !component.is_empty() && !component.starts_with('.') && !component.ends_with(".lock")
        })
}

/// The full ref names that `name` may stand for, in the order in which gitrevisions tries them.
/// Nothing for an invalid name; itself alone for `HEAD` and for what begins with `refs/`.
pub fn candidates(name: &str) -> Vec<String> {
    if !is_valid(name) {
        return Vec::new();
    }
    if name == "HEAD" || name.starts_with("refs/") {
        return vec![name.to_owned()];
    }
    vec![
        format!("refs/{name}"),
        format!("refs/tags/{name}"),
        format!("refs/heads/{name}"),
        format!("refs/remotes/{name}"),
        format!("refs/remotes/{name}/HEAD"),
    ]
}

/// The id that `text` spells out: all 40 or 64 hex digits of it. Abbreviations are not ids.
pub fn parse_oid(text: &str) -> Option<Oid> {
    Oid::from_hex(text.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::git::{oid::HashKind, oracle};

    /// What git-check-ref-format says.
    fn git_accepts(name: &str) -> bool {
        oracle::git_status(&["check-ref-format", "--allow-onelevel", name])
    }

    #[test]
    fn each_rule_is_gits() {
        let names = [
            "main",
            "refs/heads/main",
            "a/b/c",
            "a/-",
            "a/-x",
            "@",
            "@/a",
            "a@",
            "a@b",
            "@{",
            "a@{1}",
            "a{b}",
            "{",
            "",
            "/",
            "/a",
            "a/",
            "a//b",
            ".",
            ".a",
            "a/.b",
            "a.",
            "a./b",
            "a/b.",
            "a..b",
            "...",
            "a.b",
            "x.lock",
            "a.lock/b",
            "a/b.lock",
            ".lock",
            "lock",
            "a.locks",
            "a b",
            "a\tb",
            "a\nb",
            "a\x7fb",
            "a~b",
            "a^b",
            "a:b",
            "a?b",
            "a*b",
            "a[b",
            "a]b",
            "a\\b",
            "ä/é",
            "\u{85}",
            "HEAD",
            "refs/heads/\u{1f600}",
        ];
        for name in names {
            assert_eq!(is_valid(name), git_accepts(name), "{name:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(150))]
        #[test]
        fn any_name_is_judged_as_git_does(name in "[a@{}./~^:lock]{0,8}|[a-z./]{1,6}(\\.lock)?") {
            prop_assert_eq!(is_valid(&name), git_accepts(&name));
        }
    }

    #[test]
    fn an_endless_name_is_refused() {
        assert!(is_valid(&"x".repeat(MAX_LEN)));
        assert!(!is_valid(&"x".repeat(MAX_LEN + 1)));
    }

    #[test]
    fn candidates_come_in_the_order_of_gitrevisions() {
        assert_eq!(candidates("refs/heads/main"), ["refs/heads/main"]);
        assert_eq!(candidates("HEAD"), ["HEAD"]);
        assert_eq!(
            candidates("v1"),
            [
                "refs/v1",
                "refs/tags/v1",
                "refs/heads/v1",
                "refs/remotes/v1",
                "refs/remotes/v1/HEAD"
            ]
        );
        assert!(candidates("a..b").is_empty());
        assert!(candidates("").is_empty());
    }

    #[test]
    fn only_whole_ids_are_ids() {
        let sha1 = "A9993e364706816aba3e25717850c26c9cd0d89d";
        let oid = parse_oid(sha1).expect("40 digits");
        assert_eq!(
            (oid.kind(), oid.to_string()),
            (HashKind::Sha1, sha1.to_lowercase())
        );
        let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(
            parse_oid(sha256).map(|oid| oid.kind()),
            Some(HashKind::Sha256)
        );
        for not in [
            "",
            "a9993e",
            &sha1[1..],
            &format!("{sha1}0"),
            &sha1.replace('0', "g"),
            "HEAD",
        ] {
            assert_eq!(parse_oid(not), None, "{not:?}");
        }
    }
}

//! The server's own words: made safe to print, and understood where that helps.

use crate::git::oid::{HashKind, Oid};

/// As much of a message as is shown to people.
const MESSAGE_LIMIT: usize = 2_000;

/// A server's text for a person's terminal: bytes that are no UTF-8 and control characters
/// replaced, white space at the end dropped, the length bounded.
pub fn printable(text: &[u8]) -> String {
    let text = &text[..text.len().min(MESSAGE_LIMIT)];
    let mut shown: String = String::from_utf8_lossy(text)
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    shown.truncate(shown.trim_end().len());
    shown
}

/// Recognises the refusals of a `fetch` that mean "I don't have this object, or won't give it to
/// you": upload-pack's `not our ref <id>` and JGit's `want <id> not valid`. `Some(None)` if the
/// message says so but names no id of the format `hash`; `None` if it says something else.
pub fn not_our_ref(message: &str, hash: HashKind) -> Option<Option<Oid>> {
    let refused = message.contains("not our ref")
        || message.contains("want ") && message.contains(" not valid");
    if !refused {
        return None;
    }
    let words = message.split(|c: char| !c.is_ascii_alphanumeric());
    let ids = words.filter(|word| word.len() == hash.len_in_hex());
    Some(
        ids.filter_map(|word| Oid::from_hex(word.as_bytes()).ok())
            .next(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "a9993e364706816aba3e25717850c26c9cd0d89d";

    #[test]
    fn refusals_of_an_object_are_recognised() {
        let id = Oid::from_hex(ID.as_bytes()).ok();
        for (message, expected) in [
            (format!("upload-pack: not our ref {ID}"), Some(id)),
            (
                format!("fatal: git upload-pack: not our ref {ID}\n"),
                Some(id),
            ),
            (format!("want {ID} not valid"), Some(id)),
            ("upload-pack: not our ref".to_owned(), Some(None)),
            ("upload-pack: not our ref a9993e".to_owned(), Some(None)),
            (format!("bad tree {ID}"), None),
            (format!("token {ID} not valid"), None),
            (format!("you want {ID}, I have none"), None),
            (String::new(), None),
        ] {
            assert_eq!(not_our_ref(&message, HashKind::Sha1), expected, "{message}");
        }
        let in_other_format = format!("not our ref {ID}");
        assert_eq!(not_our_ref(&in_other_format, HashKind::Sha256), Some(None));
    }

    #[test]
    fn a_servers_words_are_safe_to_print() {
        assert_eq!(printable(b"no \x1b[31mway\x07\r\n"), "no  [31mway");
        assert_eq!(printable(b"\xff\xc3\xa4"), "\u{fffd}ä");
        assert_eq!(printable(&[b'x'; 70_000]).len(), MESSAGE_LIMIT);
    }
}

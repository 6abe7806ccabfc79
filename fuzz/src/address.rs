//! Addresses and ref names that a person types: none makes a password visible, none becomes an
//! unsafe file name or an invalid request.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

use bonsaifs::git::{
    refname,
    url::{HttpUrl, Source, SourceError, parse_source},
};
use url::Url;

use crate::input::Input;

/// Stands where a password may stand; nothing may ever show it.
const SECRET: &str = "hunter2%40secret";

/// See the module.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let form = input.below(4);
    let content = input.rest();
    if let Ok(text) = std::str::from_utf8(content) {
        check_refname(text);
    }
    let arg = match form {
        0 => content.to_vec(),
        1 => [b"https://", content].concat(),
        2 => [b"https://user:", SECRET.as_bytes(), b"@", content].concat(),
        _ => [b"http://", SECRET.as_bytes(), b"@", content].concat(),
    };
    // A host or path that is the secret itself is no leak, in whatever case, and with whatever in it a
    // URL does without (tabs and ends of lines, by the URL standard).
    let mut plain = content.to_ascii_lowercase();
    plain.retain(|byte| !b"\t\n\r".contains(byte));
    if plain.windows(7).any(|part| part == b"hunter2") {
        return;
    }
    // Nor is one that only shows once the host is written in ASCII: without any login it is shown as well.
    let shown = match parse_source(OsStr::from_bytes(&[b"https://", content].concat())) {
        Ok(Source::Http(url)) => url.to_string(),
        Ok(Source::Path(_)) => String::new(),
        Err(error) => error.to_string(),
    };
    if shown.contains("hunter2") {
        return;
    }
    match parse_source(OsStr::from_bytes(&arg)) {
        Ok(Source::Path(path)) => assert_eq!(path.as_os_str().as_bytes(), arg),
        Ok(Source::Http(url)) => {
            let password = url.credentials().map(|found| found.password.as_deref());
            if form == 2 && password != Some(Some("hunter2@secret")) {
                // A later `@` in the content makes all before it the password.
                assert!(content.contains(&b'@'), "the password was lost");
            }
            check_http(&url);
        }
        Err(error) => check_shown(&error),
    }
}

fn assert_hidden(shown: &str) {
    assert!(!shown.contains("hunter2"), "{shown}");
}

fn check_shown(error: &SourceError) {
    assert_hidden(&error.to_string());
    assert_hidden(&format!("{error:?}"));
}

fn check_http(url: &HttpUrl) {
    assert_hidden(&url.to_string());
    assert_hidden(&format!("{url:?}"));
    let again = HttpUrl::parse(&url.to_string()).expect("its own form is an address");
    assert_eq!(again.as_url(), url.as_url());
    assert!(again.credentials().is_none());

    let refs = url.join_service("/info/refs?service=git-upload-pack");
    assert_hidden(refs.as_str());
    assert!(refs.path().ends_with("/info/refs"), "{refs}");
    assert_eq!(refs.query(), Some("service=git-upload-pack"));
    assert_eq!(refs.origin(), url.as_url().origin());
    let rebased = url.rebase(&refs).expect("no redirect at all");
    assert_eq!(&rebased, url, "a redirect to itself changes nothing");

    let elsewhere = Url::parse("https://elsewhere.example/x/info/refs").expect("an address");
    if let Some(rebased) = url.rebase(&elsewhere) {
        let same = elsewhere.origin() == url.as_url().origin();
        let upgraded = url.as_url().host_str() == elsewhere.host_str();
        assert!(same || upgraded || rebased.credentials().is_none());
    }

    let name = url.repo_name();
    assert_hidden(&name);
    let safe = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    assert!((1..=64).contains(&name.len()) && name.chars().all(safe));
    assert!(!name.starts_with(['.', '-']), "{name}");
}

/// The rules of git-check-ref-format(1), numbered as there; rule 2 (a slash) is waived.
fn by_the_manual(name: &str) -> bool {
    let bytes = name.as_bytes();
    let mut components = name.split('/');
    let has = |pair: &str| name.contains(pair);
    let rule1 = components.all(|part| !part.starts_with('.') && !part.ends_with(".lock"));
    let rule3 = !has("..");
    let rule4 =
        bytes.iter().all(|b| *b >= 0x20 && *b != 0x7f) && !name.contains([' ', '~', '^', ':']);
    let rule5 = !name.contains(['?', '*', '[']);
    let rule6 = !name.starts_with('/') && !name.ends_with('/') && !has("//");
    let rule7 = !name.ends_with('.');
    let rule8 = !has("@{");
    let rule9 = name != "@";
    let rule10 = !name.contains('\\');
    let not_empty = !name.is_empty() && name.len() <= refname::MAX_LEN;
    let first = rule1 && rule3 && rule4 && rule5 && rule6;
    first && rule7 && rule8 && rule9 && rule10 && not_empty
}

fn check_refname(name: &str) {
    let valid = refname::is_valid(name);
    assert_eq!(valid, by_the_manual(name), "{name:?}");
    let candidates = refname::candidates(name);
    assert_eq!(valid, !candidates.is_empty());
    for full in candidates {
        assert!(full.ends_with(name) || full.ends_with("/HEAD"));
        // Prefixes make a name longer, never invalid in itself.
        assert!(
            refname::is_valid(&full) || full.len() > refname::MAX_LEN,
            "{full}"
        );
    }
    if let Some(oid) = refname::parse_oid(name) {
        assert!(oid.to_string().eq_ignore_ascii_case(name));
    }
}

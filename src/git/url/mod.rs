//! What a person names as the repository: a path, or an address.
//!
//! May import: url.
//!
//! Always holds: a user name or password given in an address is kept apart from it; no `Debug`,
//! `Display` or error text of this module shows one.

mod http;

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStringExt,
    path::PathBuf,
};

pub use http::{HttpUrl, UrlCredentials};

/// Where a repository is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A folder on a local disk. Whether it is there is not known yet.
    Path(PathBuf),
    /// A repository behind smart HTTP.
    Http(HttpUrl),
}

/// Why an argument names no repository that can be mounted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Nothing at all.
    #[error("the repository's name is empty: give a path or an https:// address")]
    Empty,
    /// An address of a kind that isn't supported.
    #[error("{what} is not supported ({given}): {remedy}")]
    Unsupported {
        /// The transport.
        what: String,
        /// The argument, without credentials.
        given: String,
        /// What to do instead.
        remedy: String,
    },
    /// An address that can't be read.
    #[error("{given} is not a repository's address: {reason}")]
    Invalid {
        /// The argument, without credentials.
        given: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Tells paths and addresses apart as `git clone` does: what has a scheme is an address, what has
/// a colon before its first slash is the `host:path` of SSH, anything else is a path. Looks at no
/// disk, so a folder whose name looks like an address must be given as `./name`.
///
/// # Errors
///
/// [`SourceError::Unsupported`] for transports other than a local path and HTTP(S), with the
/// remedy; [`SourceError::Invalid`] for an address that can't be read.
pub fn parse_source(arg: &OsStr) -> Result<Source, SourceError> {
    if arg.is_empty() {
        return Err(SourceError::Empty);
    }
    // Only ASCII matters for telling the kinds apart.
    let text = arg.to_string_lossy();
    if let Some((scheme, rest)) = split_scheme(&text) {
        return match scheme.to_ascii_lowercase().as_str() {
            "http" | "https" => HttpUrl::parse(&text).map(Source::Http),
            "file" => file_path(&text, rest).map(Source::Path),
            other => Err(unsupported_scheme(other, &text, rest)),
        };
    }
    // A colon before any slash ends a host's name.
    match text.find([':', '/']) {
        Some(at) if text[at..].starts_with(':') => Err(unsupported_host_path(&text, at)),
        _ => Ok(Source::Path(PathBuf::from(arg))),
    }
}

/// Cuts `scheme://rest`, where the scheme is one by RFC 3986.
fn split_scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    let valid = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    valid.then_some((scheme, rest))
}

/// The path in a `file://` address.
fn file_path(text: &str, rest: &str) -> Result<PathBuf, SourceError> {
    let path = rest.strip_prefix("localhost").unwrap_or(rest);
    if !path.starts_with('/') {
        return Err(SourceError::Invalid {
            given: redact(text),
            reason: "a file:// address names an absolute path, as in file:///srv/repo".to_owned(),
        });
    }
    Ok(PathBuf::from(OsString::from_vec(percent_decode(
        path.as_bytes(),
    ))))
}

fn unsupported_scheme(scheme: &str, text: &str, rest: &str) -> SourceError {
    let without_user = rest
        .rsplit_once('@')
        .map_or(rest, |(_, host_path)| host_path);
    let (host, path) = without_user.split_once('/').unwrap_or((without_user, ""));
    // A port belongs to the other transport.
    let host = host.split(':').next().unwrap_or(host);
    SourceError::Unsupported {
        what: format!("{scheme}://"),
        given: redact(text),
        remedy: instead(host, path),
    }
}

fn unsupported_host_path(text: &str, colon: usize) -> SourceError {
    let (host, path) = (&text[..colon], &text[colon + 1..]);
    if path.starts_with(':') {
        return SourceError::Unsupported {
            what: format!("the transport helper {host}"),
            given: text.to_owned(),
            remedy: "use an https:// address, or clone it and mount the clone".to_owned(),
        };
    }
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    SourceError::Unsupported {
        what: "SSH".to_owned(),
        given: text.to_owned(),
        remedy: format!("{}; a folder of that name is ./{text}", instead(host, path)),
    }
}

fn instead(host: &str, path: &str) -> String {
    let path = path.trim_start_matches('/');
    format!("use https://{host}/{path}, or clone it and mount the clone")
}

/// An address as it may be shown: whatever stands before its last `@` is masked, since a password
/// that was not percent-encoded may hold any character.
fn redact(text: &str) -> String {
    match (text.split_once("://"), text.rfind('@')) {
        (Some((scheme, _)), Some(at)) => format!("{scheme}://***{}", &text[at..]),
        _ => text.to_owned(),
    }
}

fn percent_decode(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        let hex = |at: usize| {
            tail.get(at)
                .and_then(|&digit| char::from(digit).to_digit(16))
        };
        match (byte, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high << 4 | low) as u8);
                rest = &tail[2..];
            }
            _ => {
                out.push(byte);
                rest = tail;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    fn source(text: &str) -> Result<Source, SourceError> {
        parse_source(OsStr::new(text))
    }

    fn message(text: &str) -> String {
        source(text).expect_err("must be refused").to_string()
    }

    #[test]
    fn paths_are_paths() {
        for path in [
            ".",
            "..",
            "/srv/repo.git",
            "repo",
            "./git@host:path",
            "/a:b",
            "a/b:c",
            "~x",
            "a b",
            "@",
            "ä",
        ] {
            assert_eq!(
                source(path),
                Ok(Source::Path(PathBuf::from(path))),
                "{path}"
            );
        }
        let bytes = OsStr::from_bytes(b"/srv/\xff\xfe");
        assert_eq!(parse_source(bytes), Ok(Source::Path(PathBuf::from(bytes))));
        assert_eq!(source(""), Err(SourceError::Empty));
    }

    #[test]
    fn file_addresses_are_paths() {
        for (text, path) in [
            ("file:///srv/a%20b.git", "/srv/a b.git"),
            ("FILE:///srv/%zz%4", "/srv/%zz%4"),
            ("file://localhost/srv", "/srv"),
        ] {
            assert_eq!(
                source(text),
                Ok(Source::Path(PathBuf::from(path))),
                "{text}"
            );
        }
        assert_eq!(
            source("file:///%ff"),
            Ok(Source::Path(PathBuf::from(OsStr::from_bytes(b"/\xff"))))
        );
        assert!(message("file://srv/repo").contains("file:///srv/repo"));
    }

    #[test]
    fn other_transports_are_refused_with_a_remedy() {
        for (text, remedy) in [
            (
                "git@github.com:o/r.git",
                "use https://github.com/o/r.git, or clone",
            ),
            ("host:/srv/r", "use https://host/srv/r, or clone"),
            (
                "ssh://git@github.com:2222/o/r.git",
                "use https://github.com/o/r.git, or clone",
            ),
            ("git://host/r", "use https://host/r, or clone"),
            ("git+ssh://host/r", "use https://host/r, or clone"),
            ("ftp://host/r", "use https://host/r, or clone"),
            ("ext::sh -c true", "use an https:// address"),
        ] {
            assert!(
                matches!(source(text), Err(SourceError::Unsupported { .. })),
                "{text}"
            );
            assert!(message(text).contains(remedy), "{}", message(text));
        }
        assert!(message("a:b").contains("./a:b"));
    }

    #[test]
    fn a_refusal_repeats_the_address_without_its_password() {
        assert!(message("ssh://bob:pw@host/r").contains("ssh://***@host/r"));
        assert!(message("git://host/r").contains("git://host/r"));
        assert!(message("file://srv/repo").contains("file://srv/repo"));
    }

    #[test]
    fn a_scheme_is_what_rfc_3986_says() {
        assert_eq!(split_scheme("git+ssh://h/r"), Some(("git+ssh", "h/r")));
        assert_eq!(split_scheme("S3.x-1://"), Some(("S3.x-1", "")));
        for none in [
            "://h", "1a://h", "+a://h", "a_b://h", "a b://h", "a:/h", "ä://h",
        ] {
            assert_eq!(split_scheme(none), None, "{none}");
        }
    }

    #[test]
    fn bad_addresses_are_refused_with_a_reason() {
        for (text, reason) in [
            ("https://", "empty host"),
            ("https://host:99999/r", "port"),
            ("https://host/r?tab=readme", "‘?’"),
            ("https://host/r#readme", "‘#’"),
        ] {
            assert!(
                matches!(source(text), Err(SourceError::Invalid { .. })),
                "{text}"
            );
            assert!(message(text).contains(reason), "{}", message(text));
        }
        let not_text = parse_source(OsStr::from_bytes(b"https://\xff/r"));
        assert!(not_text.is_err(), "{not_text:?}");
        assert!(HttpUrl::parse("ssh://host/r").is_err());
    }
}

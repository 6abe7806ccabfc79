//! The address of a repository behind smart HTTP.

use std::fmt;

use url::Url;

use super::{SourceError, percent_decode, redact};

/// A user name and password that stood in an address. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct UrlCredentials {
    /// The user, or a token in its place.
    pub user: String,
    /// The password, if one was given.
    pub password: Option<String>,
}

impl fmt::Debug for UrlCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UrlCredentials(hidden)")
    }
}

/// The address of a repository behind smart HTTP: without credentials, query, fragment and
/// trailing slashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpUrl {
    url: Url,
    credentials: Option<UrlCredentials>,
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(f)
    }
}

impl HttpUrl {
    /// Reads an `http://` or `https://` address.
    pub fn parse(text: &str) -> Result<Self, SourceError> {
        let invalid = |reason: &str| SourceError::Invalid {
            given: redact(text),
            reason: reason.to_owned(),
        };
        let url = Url::parse(text).map_err(|error| invalid(&error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(invalid("it begins with neither https:// nor http://"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(invalid("leave out what follows the ‘?’ or ‘#’"));
        }
        let credentials = (!url.username().is_empty() || url.password().is_some()).then(|| {
            let decode =
                |part: &str| String::from_utf8_lossy(&percent_decode(part.as_bytes())).into_owned();
            UrlCredentials {
                user: decode(url.username()),
                password: url.password().map(decode),
            }
        });
        let mut plain = Self::plain(url);
        plain.credentials = credentials;
        Ok(plain)
    }

    /// `url` without all that isn't the repository's place.
    fn plain(mut url: Url) -> Self {
        // These fail only for addresses without a host, which HTTP ones always have.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url.set_query(None);
        url.set_fragment(None);
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        Self {
            url,
            credentials: None,
        }
    }

    /// The address, without credentials.
    pub fn as_url(&self) -> &Url {
        &self.url
    }

    /// What stood before the host.
    pub fn credentials(&self) -> Option<&UrlCredentials> {
        self.credentials.as_ref()
    }

    /// The address of one of the repository's services: `suffix` is a path from the repository on
    /// (`/git-upload-pack`), with a query if need be (`/info/refs?service=git-upload-pack`).
    pub fn join_service(&self, suffix: &str) -> Url {
        let (path, query) = match suffix.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (suffix, None),
        };
        let mut url = self.url.clone();
        let base = url.path().trim_end_matches('/');
        let path = format!("{base}/{}", path.trim_start_matches('/'));
        url.set_path(&path);
        url.set_query(query);
        url
    }

    /// The repository's address after `GET …/info/refs` was redirected to `final_info_refs`, as
    /// git finds it: what stands before `/info/refs` there. `None` if it doesn't end so, which
    /// means that the redirect leads to something else (a login page). Credentials go along only to
    /// the same scheme, host and port, or from `http` to `https` of the same host with the
    /// default ports.
    pub fn rebase(&self, final_info_refs: &Url) -> Option<Self> {
        if !matches!(final_info_refs.scheme(), "http" | "https") {
            return None;
        }
        let base = final_info_refs.path().strip_suffix("/info/refs")?;
        let mut url = final_info_refs.clone();
        url.set_path(base);
        let mut rebased = Self::plain(url);
        if self.may_share_credentials_with(&rebased.url) {
            rebased.credentials.clone_from(&self.credentials);
        }
        Some(rebased)
    }

    fn may_share_credentials_with(&self, other: &Url) -> bool {
        let upgraded = self.url.scheme() == "http"
            && other.scheme() == "https"
            && self.url.host() == other.host()
            && self.url.port().is_none()
            && other.port().is_none();
        self.url.origin() == other.origin() || upgraded
    }

    /// A short name for the repository that is safe as the name of a folder: the last part of its
    /// path without `.git`, or the host if there is none; of ASCII letters, digits and `._-`, at
    /// most 64 of them, the first neither `.` nor `-`. Different repositories may share it.
    pub fn repo_name(&self) -> String {
        let path = percent_decode(self.url.path().as_bytes());
        let last = path
            .rsplit(|&byte| byte == b'/')
            .find(|part| !part.is_empty());
        let last = last.map(|part| part.strip_suffix(b".git").unwrap_or(part));
        let host = self.url.host_str().unwrap_or("repository").as_bytes();
        let name = last.filter(|part| !part.is_empty()).unwrap_or(host);
        let safe = |(at, &byte): (usize, &u8)| match byte {
            b'.' | b'-' if at == 0 => '_',
            b'.' | b'_' | b'-' => char::from(byte),
            _ if byte.is_ascii_alphanumeric() => char::from(byte),
            _ => '_',
        };
        name.iter().enumerate().take(64).map(safe).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::url::{Source, parse_source};

    fn http(text: &str) -> HttpUrl {
        HttpUrl::parse(text).expect("a good address")
    }

    #[test]
    fn credentials_are_kept_apart() {
        let url = http("https://us%40er:p%3Aw@host:8443/r");
        assert_eq!(url.as_url().as_str(), "https://host:8443/r");
        let expected = UrlCredentials {
            user: "us@er".to_owned(),
            password: Some("p:w".to_owned()),
        };
        assert_eq!(url.credentials(), Some(&expected));
        assert_eq!(
            http("https://token@host/r")
                .credentials()
                .map(|c| c.password.clone()),
            Some(None)
        );
        assert_eq!(http("https://host/r").credentials(), None);
    }

    #[test]
    fn nothing_shows_credentials() {
        let url = http("https://bob:secret@host/r");
        for shown in [
            url.to_string(),
            format!("{url:?}"),
            format!("{:?}", Source::Http(url.clone())),
        ] {
            assert!(
                !shown.contains("secret") && !shown.contains("bob"),
                "{shown}"
            );
        }
        for text in [
            "https://bob:secret@host:99999/r",
            "https://bob:secret@host/r?x",
            "https://bob:se@secret@host/r#x",
            "https://bob:secret@",
            "https://bob:9secret/9@host/r",
            "ssh://bob:secret@host/r",
            "file://bob:secret@host/r",
        ] {
            let error = parse_source(text.as_ref()).expect_err("must be refused");
            let shown = format!("{error} {error:?}");
            assert!(
                !shown.contains("secret") && !shown.contains("bob"),
                "{shown}"
            );
        }
    }

    #[test]
    fn services_hang_under_the_repository() {
        for (base, refs, pack) in [
            (
                "https://host/o/r.git",
                "https://host/o/r.git/info/refs?service=git-upload-pack",
                "https://host/o/r.git/git-upload-pack",
            ),
            (
                "http://host:80/a%20b//",
                "http://host/a%20b/info/refs?service=git-upload-pack",
                "http://host/a%20b/git-upload-pack",
            ),
            (
                "https://host",
                "https://host/info/refs?service=git-upload-pack",
                "https://host/git-upload-pack",
            ),
        ] {
            let url = http(base);
            assert_eq!(
                url.join_service("/info/refs?service=git-upload-pack")
                    .as_str(),
                refs
            );
            assert_eq!(url.join_service("/git-upload-pack").as_str(), pack);
        }
        assert_eq!(http("https://host/r/"), http("https://host/r"));
    }

    #[test]
    fn a_redirect_moves_the_repository() {
        let from = http("https://bob:pw@host/r");
        let rebase = |to: &str| from.rebase(&Url::parse(to).expect("a URL"));
        let same_host = rebase("https://host/o/r.git/info/refs?service=git-upload-pack");
        let same_host = same_host.expect("ends in /info/refs");
        assert_eq!(same_host.to_string(), "https://host/o/r.git");
        assert_eq!(same_host.credentials(), from.credentials());
        for elsewhere in [
            "https://other/r/info/refs",
            "https://host:8443/r/info/refs",
            "http://host/r/info/refs",
            "https://eve:x@other/r/info/refs",
        ] {
            let moved = rebase(elsewhere).expect("ends in /info/refs");
            assert_eq!(moved.credentials(), None, "{elsewhere}");
            assert_eq!(moved.as_url().username(), "");
        }
        for not in [
            "https://host/login",
            "https://host/r/info/refs/x",
            "ftp://host/r/info/refs",
        ] {
            assert_eq!(rebase(not), None, "{not}");
        }
        let upgraded = http("http://bob:pw@host/r")
            .rebase(&Url::parse("https://host/r/info/refs").expect("a URL"))
            .expect("ends in /info/refs");
        assert!(upgraded.credentials().is_some());
        let elsewhere = http("http://bob:pw@host/r")
            .rebase(&Url::parse("https://other/r/info/refs").expect("a URL"))
            .expect("ends in /info/refs");
        assert_eq!(elsewhere.credentials(), None);
    }

    #[test]
    fn repo_names_are_safe_folder_names() {
        let long = format!("https://host/{}", "x".repeat(300));
        for (url, name) in [
            ("https://host/o/bonsai.git", "bonsai"),
            ("https://host/o/bonsai/", "bonsai"),
            ("https://host/o/.git", "host"),
            ("https://host", "host"),
            ("https://host/o/..%2f..%2fetc", "etc"),
            ("https://host/%2e%2e%00x", "_._x"),
            ("https://host/-rf", "_rf"),
            ("https://host/a%20%F0%9F%98%80b", "a_____b"),
            (&long, &"x".repeat(64)),
        ] {
            assert_eq!(http(url).repo_name(), name, "{url}");
        }
    }
}

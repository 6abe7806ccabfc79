//! What the user's Git configuration says about HTTP: `url.<base>.insteadOf`, `http.proxy`,
//! `http.sslCAInfo`, `http.extraHeader`, `http.lowSpeedTime`, each also as `http.<url>.<name>`
//! (git-config(1)). May import: url, the git process.
//!
//! Always holds: git itself reads its files, includes and variables; here its listing is only
//! searched. Nothing of a setting's value is in any Debug output: headers and proxies carry
//! passwords.

mod closeness;

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use bonsaifs_core::rt::BoxFuture;
use tokio::sync::OnceCell;
use url::Url;

use super::git_process::GitProgram;
use closeness::{Closeness, closeness};

/// How long git may take to list its configuration: 1.5 ms are usual.
const LISTING_TIMEOUT: Duration = Duration::from_secs(10);

/// The settings of one moment, in git's order: later ones win over earlier ones.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct GitSettings {
    entries: Vec<(String, String)>,
    /// From `GIT_*` variables, by the name of the `http.` setting; they win over all entries.
    variables: Vec<(&'static str, String)>,
    home: Option<PathBuf>,
}

impl fmt::Debug for GitSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GitSettings")
            .field("entries", &self.entries.len())
            .field("variables", &self.variables.len())
            .finish_non_exhaustive()
    }
}

/// Which `http.extraHeader` settings a request may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderScope {
    /// All that apply to its URL.
    Any,
    /// Only those of an `http.<url>` section that names it: for a host that the user did not
    /// name, which a redirect led to.
    NamedOnly,
}

impl GitSettings {
    /// Reads what `git config -z --get-regexp` or `git config -z --list` prints: `key LF value
    /// NUL`, or `key NUL` for a key without `=`. Keys are lower case but for their middle part.
    pub fn parse(listing: &[u8]) -> Self {
        let entries = listing
            .split(|&byte| byte == 0)
            .filter(|entry| !entry.is_empty())
            .filter_map(|entry| std::str::from_utf8(entry).ok())
            .map(|entry| match entry.split_once('\n') {
                Some((key, value)) => (key.to_owned(), value.to_owned()),
                None => (entry.to_owned(), "true".to_owned()),
            })
            .collect();
        Self {
            entries,
            ..Self::default()
        }
    }

    /// Adds the variables that git takes over its configuration (git(1)), read through `get`:
    /// `GIT_SSL_CAINFO`, `GIT_HTTP_LOW_SPEED_TIME`; and `HOME`, which `~` stands for.
    pub fn with_environment(mut self, get: impl Fn(&str) -> Option<String>) -> Self {
        for (variable, name) in [
            ("GIT_SSL_CAINFO", "sslcainfo"),
            ("GIT_HTTP_LOW_SPEED_TIME", "lowspeedtime"),
        ] {
            if let Some(value) = get(variable) {
                self.variables.push((name, value));
            }
        }
        self.home = get("HOME").map(PathBuf::from);
        self
    }

    /// `url` as `url.<base>.insteadOf` rewrites it: the longest value that it starts with gives
    /// way to its base. `None` if none does.
    pub fn rewrite(&self, url: &str) -> Option<String> {
        let (base, prefix) = self
            .entries
            .iter()
            .filter_map(|(key, prefix)| {
                let base = key.strip_prefix("url.")?.strip_suffix(".insteadof")?;
                url.starts_with(prefix.as_str()).then_some((base, prefix))
            })
            // The first of equals, as git has it.
            .reduce(|best, next| {
                if next.1.len() > best.1.len() {
                    next
                } else {
                    best
                }
            })?;
        Some(format!("{base}{}", &url[prefix.len()..]))
    }

    /// The value of `http.<name>` (lower case) for `url`: that of the section which names the URL
    /// most closely, and the last of equals.
    pub fn http(&self, name: &str, url: &Url) -> Option<&str> {
        let variable = self.variables.iter().rev().find(|(key, _)| *key == name);
        if let Some((_, value)) = variable {
            return Some(value);
        }
        self.applying(name, url).last().map(|(_, value)| value)
    }

    /// The headers that `http.extraHeader` adds to requests for `url`, names in lower case. An
    /// empty setting takes back those before it.
    pub fn extra_headers(&self, url: &Url, scope: HeaderScope) -> Vec<(String, String)> {
        let mut headers = Vec::new();
        for (section, value) in self.applying("extraheader", url) {
            if section == Closeness::default() && scope == HeaderScope::NamedOnly {
                continue;
            }
            if value.is_empty() {
                headers.clear();
            } else if let Some((name, value)) = value.split_once(':') {
                headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
            }
        }
        headers
    }

    /// The file of more root certificates for `url` (`http.sslCAInfo`), `~/` expanded.
    pub fn ssl_ca_info(&self, url: &Url) -> Option<PathBuf> {
        let value = self
            .http("sslcainfo", url)
            .filter(|value| !value.is_empty())?;
        match (value.strip_prefix("~/"), &self.home) {
            (Some(rest), Some(home)) => Some(home.join(rest)),
            _ => Some(value.into()),
        }
    }

    /// How long a server may stay silent (`http.lowSpeedTime`), if anyone said so. The speed
    /// that git takes along with it is not looked at: any byte is speed enough.
    pub fn low_speed_time(&self, url: &Url) -> Option<Duration> {
        let seconds = self.http("lowspeedtime", url)?.parse().ok()?;
        (seconds > 0).then(|| Duration::from_secs(seconds))
    }

    /// The values of `http.<name>` that git would take in for `url`, in its order: a value is
    /// passed over if one before it came from a section that names the URL more closely.
    fn applying<'a, 'q>(
        &'a self,
        name: &'q str,
        url: &'q Url,
    ) -> impl Iterator<Item = (Closeness, &'a str)> + use<'a, 'q> {
        let mut best = Closeness::default();
        self.entries.iter().filter_map(move |(key, value)| {
            let closeness = match section_of(key, name)? {
                "" => Closeness::default(),
                pattern => closeness(pattern, url)?,
            };
            (closeness >= best).then(|| {
                best = closeness;
                (closeness, value.as_str())
            })
        })
    }
}

/// The URL in `http.<url>.<name>`, empty in `http.<name>`; `None` for any other key.
fn section_of<'a>(key: &'a str, name: &str) -> Option<&'a str> {
    let rest = key.strip_prefix("http.")?.strip_suffix(name)?;
    if rest.is_empty() {
        Some("")
    } else {
        rest.strip_suffix('.')
    }
}

/// Where the settings come from.
pub trait GitConfig: Send + Sync + 'static {
    /// The settings: read at the first call, then remembered.
    fn load(&self) -> BoxFuture<'_, Arc<GitSettings>>;
}

/// Settings that are already here: none, or a test's.
impl GitConfig for GitSettings {
    fn load(&self) -> BoxFuture<'_, Arc<GitSettings>> {
        Box::pin(async { Arc::new(self.clone()) })
    }
}

/// The settings of this machine's user, listed by git. Without a git there are none.
#[derive(Debug, Default)]
pub struct SystemGitConfig {
    git: GitProgram,
    settings: OnceCell<Arc<GitSettings>>,
}

impl SystemGitConfig {
    /// Settings that `git` is going to list.
    pub fn new(git: GitProgram) -> Self {
        Self {
            git,
            settings: OnceCell::new(),
        }
    }
}

impl GitConfig for SystemGitConfig {
    fn load(&self) -> BoxFuture<'_, Arc<GitSettings>> {
        Box::pin(async {
            let read = || async {
                let args = ["config", "-z", "--get-regexp", r"^(url|http)\."];
                let listing = self.git.ask(&args, b"", LISTING_TIMEOUT).await;
                let settings = GitSettings::parse(&listing.unwrap_or_default());
                Arc::new(settings.with_environment(|name| std::env::var(name).ok()))
            };
            self.settings.get_or_init(read).await.clone()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seams::git_process::tests::script;

    fn settings(entries: &[(&str, &str)]) -> GitSettings {
        let listing: String = entries
            .iter()
            .map(|(key, value)| format!("{key}\n{value}\0"))
            .collect();
        GitSettings::parse(listing.as_bytes())
    }

    fn url(text: &str) -> Url {
        Url::parse(text).expect("a URL")
    }

    #[test]
    fn a_listing_is_read_with_empty_and_missing_values() {
        let read = GitSettings::parse(b"http.a\none\0http.b\n\0http.c\0http.d\ntwo\nlines\0");
        let expected = [("a", "one"), ("b", ""), ("c", "true"), ("d", "two\nlines")];
        for (name, value) in expected {
            assert_eq!(
                read.http(name, &url("https://x.org/")),
                Some(value),
                "{name}"
            );
        }
        assert_eq!(read.http("e", &url("https://x.org/")), None);
    }

    #[test]
    fn instead_of_takes_the_longest_prefix() {
        let settings = settings(&[
            (
                "url.https://mirror.example/.insteadof",
                "https://github.com/",
            ),
            (
                "url.https://Near.example/x/.insteadof",
                "https://github.com/near/",
            ),
            ("url.https://late.example/.insteadof", "https://github.com/"),
        ]);
        let rewritten = |url| settings.rewrite(url);
        assert_eq!(
            rewritten("https://github.com/a/b").as_deref(),
            Some("https://mirror.example/a/b")
        );
        assert_eq!(
            rewritten("https://github.com/near/b").as_deref(),
            Some("https://Near.example/x/b")
        );
        assert_eq!(rewritten("https://gitlab.com/a/b"), None);
    }

    #[test]
    fn the_closest_section_wins_whatever_the_order() {
        let settings = settings(&[
            ("http.https://example.org/team.proxy", "team"),
            ("http.https://*.example.org.proxy", "wild"),
            ("http.https://git.example.org.proxy", "host"),
            ("http.proxy", "any"),
            ("http.https://example.org.proxy", "site"),
        ]);
        for (target, proxy) in [
            ("https://example.org/team/repo.git", "team"),
            ("https://example.org/team", "team"),
            ("https://example.org/teams/repo.git", "site"),
            ("https://example.org/other", "site"),
            ("https://git.example.org/x", "host"),
            ("https://web.example.org/x", "wild"),
            ("https://a.b.example.org/x", "any"),
            ("http://example.org/team", "any"),
            ("https://example.org:8443/team", "any"),
        ] {
            assert_eq!(
                settings.http("proxy", &url(target)),
                Some(proxy),
                "{target}"
            );
        }
    }

    #[test]
    fn the_last_of_equals_wins() {
        let settings = settings(&[("http.proxy", "one"), ("http.proxy", "two")]);
        assert_eq!(settings.http("proxy", &url("http://x/")), Some("two"));
    }

    #[test]
    fn a_section_with_a_user_means_that_user_only() {
        let settings = settings(&[("http.https://me@example.org.proxy", "mine")]);
        let proxy = |target| settings.http("proxy", &url(target)).map(str::to_owned);
        assert_eq!(proxy("https://me@example.org/x").as_deref(), Some("mine"));
        assert_eq!(proxy("https://example.org/x"), None);
    }

    #[test]
    fn extra_headers_add_up_and_an_empty_one_takes_them_back() {
        let settings = settings(&[
            ("http.extraheader", "X-Lost: 1"),
            ("http.extraheader", ""),
            ("http.extraheader", "X-Kept: a: b"),
            (
                "http.https://example.org/.extraheader",
                "AUTHORIZATION: basic c2VjcmV0",
            ),
            (
                "http.extraheader",
                "X-Late: passed over, a closer section was seen",
            ),
            ("http.extraheader", "no colon"),
        ]);
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let named = header("authorization", "basic c2VjcmV0");
        let here = url("https://example.org/repo");
        assert_eq!(
            settings.extra_headers(&here, HeaderScope::Any),
            [header("x-kept", "a: b"), named.clone()]
        );
        assert_eq!(
            settings.extra_headers(&here, HeaderScope::NamedOnly),
            [named]
        );
        let there = url("https://example.com/repo");
        assert_eq!(settings.extra_headers(&there, HeaderScope::NamedOnly), []);
    }

    #[test]
    fn variables_win_and_the_home_folder_is_filled_in() {
        let environment = |name: &str| match name {
            "HOME" => Some("/home/me".to_owned()),
            "GIT_HTTP_LOW_SPEED_TIME" => Some("7".to_owned()),
            _ => None,
        };
        let here = url("https://example.org/repo");
        let settings = settings(&[
            ("http.https://example.org.lowspeedtime", "3"),
            ("http.sslcainfo", "~/roots.pem"),
        ]);
        assert_eq!(settings.low_speed_time(&here), Some(Duration::from_secs(3)));
        let settings = settings.with_environment(environment);
        assert_eq!(settings.low_speed_time(&here), Some(Duration::from_secs(7)));
        assert_eq!(
            settings.ssl_ca_info(&here),
            Some(PathBuf::from("/home/me/roots.pem"))
        );
    }

    #[test]
    fn debug_output_shows_no_value() {
        let settings = settings(&[("http.extraheader", "Authorization: Basic hunter2")]);
        assert!(!format!("{settings:?}").contains("hunter2"));
    }

    #[tokio::test]
    async fn git_lists_once_and_its_absence_means_no_settings() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let count = dir.path().join("count");
        let config = SystemGitConfig::new(script(&format!(
            "echo run >> '{}'; printf 'http.proxy\\nhttp://p/\\0'",
            count.display()
        )));
        let here = url("https://example.org/");
        for _ in 0..3 {
            let settings = config.load().await;
            assert_eq!(settings.http("proxy", &here), Some("http://p/"));
        }
        let runs = std::fs::read_to_string(&count).expect("the script ran");
        assert_eq!(runs, "run\n");

        let none = SystemGitConfig::new(script("exit 1")).load().await;
        assert_eq!(none.http("proxy", &here), None);
    }
}

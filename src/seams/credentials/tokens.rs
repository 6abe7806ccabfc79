//! Tokens in environment variables, each for one host. May import: url.
//!
//! Always holds: a token goes to the host that its variable is for and to no other, over TLS or to
//! this machine only.

use std::fmt;

use url::{Host, Url};

use super::{Credential, CredentialSource, Site};

/// The tokens of one environment.
#[derive(Clone, Default)]
pub struct Tokens(Vec<Token>);

#[derive(Clone)]
struct Token {
    variable: &'static str,
    host: String,
    /// `None` for the scheme's own.
    port: Option<u16>,
    user: &'static str,
    secret: String,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|token| (token.variable, &token.host)))
            .finish()
    }
}

impl Tokens {
    /// Reads the variables through `get`:
    /// - `BONSAI_TOKEN` for the host (or `host:port`) in `BONSAI_TOKEN_HOST`;
    /// - `GH_TOKEN`, else `GITHUB_TOKEN`, for github.com, as GitHub's own command reads them;
    /// - `GITLAB_TOKEN` for the host in `GITLAB_HOST`, or for gitlab.com without it, as GitLab's
    ///   own.
    ///
    /// An empty variable counts as none.
    pub fn from_env(get: impl Fn(&str) -> Option<String>) -> Self {
        let get = |variable: &str| {
            let value = get(variable)?.trim().to_owned();
            (!value.is_empty()).then_some(value)
        };
        let mut tokens = Vec::new();
        let mut add = |variable, host: &str, user| {
            let Some(secret) = get(variable) else {
                return false;
            };
            let Some((host, port)) = parse_host(host) else {
                tracing::warn!(
                    variable,
                    "the variable that names a token's host names none"
                );
                return false;
            };
            tokens.push(Token {
                variable,
                host,
                port,
                user,
                secret,
            });
            true
        };
        if let Some(host) = get("BONSAI_TOKEN_HOST") {
            add("BONSAI_TOKEN", &host, "x-access-token");
        }
        if !add("GH_TOKEN", "github.com", "x-access-token") {
            add("GITHUB_TOKEN", "github.com", "x-access-token");
        }
        let host = get("GITLAB_HOST");
        add(
            "GITLAB_TOKEN",
            host.as_deref().unwrap_or("gitlab.com"),
            "oauth2",
        );
        Self(tokens)
    }

    /// The credential for the site of `url`, if a token is meant for it and may go there.
    pub fn find(&self, url: &Url) -> Option<Credential> {
        let site = Site::of(url)?;
        let token = self.0.iter().find(|token| {
            token.host == site.host
                && token
                    .port
                    .map_or(site.has_default_port(), |port| port == site.port)
        })?;
        if !site.is_private() {
            tracing::warn!(
                variable = token.variable,
                %site,
                "a token is not sent over plain HTTP"
            );
            return None;
        }
        Some(Credential::basic(
            site,
            CredentialSource::Variable(token.variable),
            token.user,
            &token.secret,
        ))
    }
}

/// `host`, `host:port` or a URL of either, in the form that parsed URLs have.
fn parse_host(text: &str) -> Option<(String, Option<u16>)> {
    // The URL standard has tabs and line ends dropped wherever they stand: two lines would name the
    // host that they make together.
    if text.contains(char::is_control) {
        return None;
    }
    let with_scheme = match text.contains("://") {
        true => Url::parse(text),
        false => Url::parse(&format!("https://{text}")),
    };
    let url = with_scheme.ok()?;
    let host: Host<&str> = url.host()?;
    Some((host.to_string(), url.port()))
}

#[cfg(test)]
mod tests {
    use super::{super::tests::url, *};

    fn tokens(variables: &[(&str, &str)]) -> Tokens {
        Tokens::from_env(|name| {
            let found = variables.iter().find(|(key, _)| *key == name)?;
            Some(found.1.to_owned())
        })
    }

    /// `variable user:password` of what is found for `target`.
    fn found(tokens: &Tokens, target: &str) -> Option<String> {
        let site = Site::of(&url(target))?;
        let credential = tokens.find(&url(target))?;
        let CredentialSource::Variable(variable) = credential.source() else {
            panic!("{credential:?} is not from a variable");
        };
        let candidates = ["x-access-token:one", "x-access-token:two", "oauth2:three"];
        let clear = candidates.into_iter().find(|clear| {
            let (user, password) = clear.split_once(':').expect("a colon");
            credential == Credential::basic(site.clone(), credential.source(), user, password)
        });
        Some(format!("{variable} {}", clear.unwrap_or("?")))
    }

    #[test]
    fn each_token_goes_to_its_host_only() {
        let all = tokens(&[
            ("BONSAI_TOKEN", "one"),
            ("BONSAI_TOKEN_HOST", "git.example.org:8443"),
            ("GITHUB_TOKEN", "two"),
            ("GITLAB_TOKEN", "three"),
        ]);
        for (target, expected) in [
            (
                "https://git.example.org:8443/x",
                Some("BONSAI_TOKEN x-access-token:one"),
            ),
            ("https://git.example.org/x", None),
            (
                "https://github.com/a/b",
                Some("GITHUB_TOKEN x-access-token:two"),
            ),
            ("https://github.com:8443/a/b", None),
            ("https://github.com.evil.example/a/b", None),
            ("https://api.github.com/a/b", None),
            ("https://gitlab.com/a/b", Some("GITLAB_TOKEN oauth2:three")),
            ("https://example.org/", None),
        ] {
            assert_eq!(found(&all, target).as_deref(), expected, "{target}");
        }
    }

    #[test]
    fn gh_token_goes_before_github_token_and_an_empty_one_counts_as_none() {
        let both = tokens(&[("GITHUB_TOKEN", "one"), ("GH_TOKEN", "two")]);
        let target = "https://github.com/a/b";
        assert_eq!(
            found(&both, target).as_deref(),
            Some("GH_TOKEN x-access-token:two")
        );
        let one = tokens(&[("GITHUB_TOKEN", " one\n"), ("GH_TOKEN", "")]);
        assert_eq!(
            found(&one, target).as_deref(),
            Some("GITHUB_TOKEN x-access-token:one")
        );
    }

    #[test]
    fn gitlab_host_takes_the_token_away_from_gitlab_com() {
        for host in ["gitlab.example.org", "https://gitlab.example.org/"] {
            let tokens = tokens(&[("GITLAB_TOKEN", "three"), ("GITLAB_HOST", host)]);
            assert_eq!(
                found(&tokens, "https://gitlab.example.org/a").as_deref(),
                Some("GITLAB_TOKEN oauth2:three")
            );
            assert_eq!(found(&tokens, "https://gitlab.com/a"), None);
        }
    }

    #[test]
    fn plain_http_carries_tokens_on_this_machine_only() {
        let local = tokens(&[
            ("BONSAI_TOKEN", "one"),
            ("BONSAI_TOKEN_HOST", "127.0.0.1:80"),
        ]);
        // Port 80 is a default of http only, so the URL parser keeps it.
        assert!(found(&local, "http://127.0.0.1/x").is_some());
        let far = tokens(&[
            ("BONSAI_TOKEN", "one"),
            ("BONSAI_TOKEN_HOST", "example.org"),
        ]);
        assert!(found(&far, "https://example.org/x").is_some());
        assert_eq!(found(&far, "http://example.org/x"), None);
    }

    #[test]
    fn a_token_without_a_host_or_for_none_is_left_out() {
        assert!(tokens(&[("BONSAI_TOKEN", "one")]).0.is_empty());
        let bad = tokens(&[("BONSAI_TOKEN", "one"), ("BONSAI_TOKEN_HOST", "no host")]);
        assert!(bad.0.is_empty());
    }

    #[test]
    fn lines_that_make_a_host_together_name_none() {
        for host in [
            "git.exam\rple.org",
            "git.exam\nple.org",
            "git.exam\tple.org",
        ] {
            for host in [host.to_owned(), format!("https://{host}/")] {
                let tokens = tokens(&[("GITLAB_TOKEN", "three"), ("GITLAB_HOST", &host)]);
                assert!(tokens.0.is_empty(), "{host:?}");
            }
        }
    }

    #[test]
    fn debug_output_shows_no_token() {
        let tokens = tokens(&[("GITHUB_TOKEN", "two")]);
        assert_eq!(format!("{tokens:?}"), r#"[("GITHUB_TOKEN", "github.com")]"#);
    }
}

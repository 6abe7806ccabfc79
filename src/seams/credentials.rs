//! The credentials seam: who may prove to which host who the user is.
//! May import: url, base64, the git process.
//!
//! Always holds: a [`Credential`] is bound to one [`Site`] (scheme, host and port) and gives
//! itself to no other; it is in no Debug output and in no error; a token from a variable is never
//! sent over plain HTTP but to this machine itself. What the URL, a helper or `.netrc` say
//! for a plain HTTP address is sent there, as git does.

#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod helper;
mod netrc;
mod system;
mod tokens;

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use bonsaifs_core::rt::BoxFuture;
use url::{Host, Url};

pub use system::SystemCredentials;
pub use tokens::Tokens;

/// Where a credential belongs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Site {
    scheme: String,
    host: String,
    port: u16,
}

impl Site {
    /// The site of an `http` or `https` URL with a host; `None` for any other.
    pub fn of(url: &Url) -> Option<Self> {
        matches!(url.scheme(), "http" | "https").then_some(())?;
        Some(Self {
            scheme: url.scheme().to_owned(),
            host: url.host_str()?.to_owned(),
            port: url.port_or_known_default()?,
        })
    }

    /// The name or address, IPv6 in brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// True if nobody on the network can read along: TLS, or no network at all.
    pub fn is_private(&self) -> bool {
        self.scheme == "https"
            || match Host::parse(&self.host) {
                Ok(Host::Domain(name)) => name == "localhost",
                Ok(Host::Ipv4(address)) => address.is_loopback(),
                Ok(Host::Ipv6(address)) => address.is_loopback(),
                Err(_) => false,
            }
    }

    fn has_default_port(&self) -> bool {
        matches!(
            (self.scheme.as_str(), self.port),
            ("https", 443) | ("http", 80)
        )
    }
}

impl fmt::Display for Site {
    /// `https://example.org`, with the port if it is not the scheme's own.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        if !self.has_default_port() {
            write!(f, ":{}", self.port)?;
        }
        Ok(())
    }
}

/// Who knew a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialSource {
    /// It stands in the URL that the user gave.
    Url,
    /// This environment variable.
    Variable(&'static str),
    /// `git credential fill`.
    Helper,
    /// The `.netrc` file.
    Netrc,
}

impl fmt::Display for CredentialSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CredentialSource::Url => "the URL",
            CredentialSource::Variable(name) => name,
            CredentialSource::Helper => "git credential",
            CredentialSource::Netrc => ".netrc",
        })
    }
}

/// What proves to one site who the user is.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    site: Site,
    source: CredentialSource,
    /// The value of an `Authorization` header.
    authorization: String,
    /// What `git credential approve` and `reject` are to be told, if a helper answered.
    record: Vec<u8>,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("site", &self.site.to_string())
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

impl Credential {
    /// HTTP Basic (RFC 7617) for `site`.
    pub fn basic(site: Site, source: CredentialSource, user: &str, password: &str) -> Self {
        let encoded = STANDARD.encode(format!("{user}:{password}"));
        Self {
            site,
            source,
            authorization: format!("Basic {encoded}"),
            record: Vec::new(),
        }
    }

    /// Who knew it.
    pub fn source(&self) -> CredentialSource {
        self.source
    }

    /// The value of the `Authorization` header of a request to `url`, if that is on the
    /// credential's own site. Not to be shown.
    pub fn authorization_for(&self, url: &Url) -> Option<&str> {
        (Site::of(url).as_ref() == Some(&self.site)).then_some(self.authorization.as_str())
    }
}

/// What is asked for after a 401.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The repository, without user and password.
    pub url: Url,
    /// The user, where the user's URL named one.
    pub user: Option<String>,
    /// The values of the answer's `WWW-Authenticate` headers, in order.
    pub www_authenticate: Vec<String>,
}

/// Knows credentials.
pub trait Credentials: Send + Sync + 'static {
    /// A credential that the user meant for the site of `url`, so that it is sent at once
    /// and not only when asked for. Answers from memory.
    fn known(&self, url: &Url) -> Option<Credential>;

    /// Looks for a credential after an anonymous request, or one with a known credential, was
    /// answered by a 401. May take as long as a person takes to answer a helper's question.
    fn lookup<'a>(&'a self, ask: &'a Ask) -> BoxFuture<'a, Option<Credential>>;

    /// Says that a credential worked.
    fn approve<'a>(&'a self, credential: &'a Credential) -> BoxFuture<'a, ()>;

    /// Says that a credential was refused.
    fn reject<'a>(&'a self, credential: &'a Credential) -> BoxFuture<'a, ()>;
}

/// Knows none: everything is anonymous.
#[derive(Clone, Copy, Debug, Default)]
pub struct Anonymous;

impl Credentials for Anonymous {
    fn known(&self, _url: &Url) -> Option<Credential> {
        None
    }

    fn lookup<'a>(&'a self, _ask: &'a Ask) -> BoxFuture<'a, Option<Credential>> {
        Box::pin(async { None })
    }

    fn approve<'a>(&'a self, _credential: &'a Credential) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }

    fn reject<'a>(&'a self, _credential: &'a Credential) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn url(text: &str) -> Url {
        Url::parse(text).expect("a URL")
    }

    fn site(text: &str) -> Site {
        Site::of(&url(text)).expect("a site")
    }

    #[test]
    fn sites_are_scheme_host_and_port() {
        assert_eq!(
            site("https://Example.org/a"),
            site("https://example.org:443/b?c")
        );
        assert_ne!(site("https://example.org/"), site("http://example.org/"));
        assert_ne!(
            site("https://example.org/"),
            site("https://example.org:444/")
        );
        assert_ne!(
            site("https://example.org/"),
            site("https://www.example.org/")
        );
        assert_eq!(Site::of(&url("ssh://example.org/")), None);
        assert_eq!(Site::of(&url("file:///x")), None);
        assert_eq!(
            site("https://u:p@example.org/x").to_string(),
            "https://example.org"
        );
        assert_eq!(site("http://[::1]:81/x").to_string(), "http://[::1]:81");
    }

    #[test]
    fn private_is_tls_or_this_machine() {
        for private in [
            "https://example.org/",
            "http://localhost:8080/",
            "http://127.0.0.1/",
            "http://127.8.9.1/",
            "http://[::1]/",
        ] {
            assert!(site(private).is_private(), "{private}");
        }
        for public in [
            "http://example.org/",
            "http://localhost.example.org/",
            "http://128.0.0.1/",
            "http://[::2]/",
            "http://10.0.0.1/",
        ] {
            assert!(!site(public).is_private(), "{public}");
        }
    }

    #[test]
    fn a_credential_gives_itself_to_its_own_site_only() {
        let here = site("https://example.org/");
        let credential = Credential::basic(here, CredentialSource::Url, "Aladdin", "open sesame");
        assert_eq!(
            credential.authorization_for(&url("https://example.org/any/path")),
            // The example of RFC 7617.
            Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")
        );
        for elsewhere in [
            "http://example.org/",
            "https://example.org:8443/",
            "https://example.com/",
            "https://sub.example.org/",
        ] {
            assert_eq!(
                credential.authorization_for(&url(elsewhere)),
                None,
                "{elsewhere}"
            );
        }
    }

    #[test]
    fn debug_output_shows_where_but_not_what() {
        let here = site("https://example.org/");
        let credential = Credential::basic(here, CredentialSource::Netrc, "someone", "hunter2");
        let shown = format!("{credential:?}");
        assert!(shown.contains("https://example.org"), "{shown}");
        for secret in ["someone", "hunter2", "c29tZW9uZTpodW50ZXIy"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}

//! The text that `git credential` reads and writes (git-credential(1)). May import: std, base64,
//! no I/O.
//!
//! Always holds: no value with a line break or a NUL is ever written, so nothing that a server
//! says can pose as another line; an answer for another site than the one asked about is no
//! answer.

use super::{Ask, Credential, CredentialSource, Site};

/// What `git credential fill` is told. `None` if the URL can't be asked about.
pub(super) fn question(ask: &Ask) -> Option<Vec<u8>> {
    let mut lines = Lines::default();
    // First, so that git knows what the later lines and its answer may hold.
    lines.add("capability[]", "authtype");
    lines.add_site(&Site::of(&ask.url)?);
    lines.add("path", ask.url.path().trim_start_matches('/'));
    if let Some(user) = &ask.user {
        lines.add("username", user);
    }
    for challenge in &ask.www_authenticate {
        lines.add("wwwauth[]", challenge);
    }
    Some(lines.0)
}

/// The credential in the answer of `git credential fill` to [`question`]: either `authtype` and
/// `credential`, or `username` and `password`.
pub(super) fn parse(answer: &[u8], ask: &Ask) -> Option<Credential> {
    let site = Site::of(&ask.url)?;
    let answer = std::str::from_utf8(answer).ok()?;
    let fields: Vec<(&str, &str)> = answer
        .lines()
        .filter_map(|line| line.split_once('='))
        .collect();
    // Of a value given twice the last counts.
    let last = |name: &str| {
        let found = fields.iter().rev().find(|(key, _)| *key == name);
        found.map(|(_, value)| *value)
    };
    if matches!(last("quit"), Some("1" | "true")) {
        return None;
    }
    let same_host = last("host").is_none_or(|host| host == host_and_port(&site));
    let same_protocol = last("protocol").is_none_or(|protocol| protocol == site.scheme);
    if !same_host || !same_protocol {
        tracing::warn!(%site, "a credential helper answered for another site");
        return None;
    }
    let mut credential = match (last("authtype"), last("credential")) {
        (Some(scheme), Some(value)) => Credential {
            site,
            source: CredentialSource::Helper,
            authorization: format!("{scheme} {value}"),
            record: Vec::new(),
        },
        _ => Credential::basic(
            site,
            CredentialSource::Helper,
            last("username")?,
            last("password")?,
        ),
    };
    // Approve and reject want back all that fill said.
    let mut record = Lines::default();
    for (name, value) in fields {
        record.add(name, value);
    }
    credential.record = record.0;
    Some(credential)
}

/// A site's host as git writes it: with the port, if the URL has one.
fn host_and_port(site: &Site) -> String {
    if site.has_default_port() {
        site.host.clone()
    } else {
        format!("{}:{}", site.host, site.port)
    }
}

#[derive(Default)]
struct Lines(Vec<u8>);

impl Lines {
    fn add(&mut self, name: &str, value: &str) {
        if !value.contains(['\n', '\r', '\0']) {
            self.0
                .extend_from_slice(format!("{name}={value}\n").as_bytes());
        }
    }

    fn add_site(&mut self, site: &Site) {
        self.add("protocol", &site.scheme);
        self.add("host", &host_and_port(site));
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::url, *};

    fn ask(target: &str) -> Ask {
        Ask {
            url: url(target),
            user: None,
            www_authenticate: Vec::new(),
        }
    }

    #[test]
    fn a_question_says_who_where_and_how() {
        let ask = Ask {
            user: Some("me".into()),
            www_authenticate: vec!["Basic realm=\"x\"".into(), "Bearer".into()],
            ..ask("https://example.org:8443/team/repo.git")
        };
        assert_eq!(
            String::from_utf8(question(&ask).expect("a web URL")).expect("UTF-8"),
            "capability[]=authtype\nprotocol=https\nhost=example.org:8443\n\
             path=team/repo.git\nusername=me\nwwwauth[]=Basic realm=\"x\"\nwwwauth[]=Bearer\n"
        );
        assert_eq!(
            question(&super::Ask {
                url: url("file:///x"),
                ..ask
            }),
            None
        );
    }

    #[test]
    fn nothing_that_a_server_says_becomes_a_line_of_its_own() {
        for challenge in ["Basic\nhost=evil.example", "Basic\rhost=evil", "Basic\0"] {
            let ask = Ask {
                www_authenticate: vec![challenge.into()],
                ..ask("https://example.org/repo")
            };
            let question = question(&ask).expect("a web URL");
            assert!(!String::from_utf8_lossy(&question).contains("evil"));
            assert!(!String::from_utf8_lossy(&question).contains("wwwauth"));
        }
    }

    #[test]
    fn user_and_password() {
        let ask = ask("https://example.org/repo");
        let answer = b"protocol=https\nhost=example.org\nusername=Aladdin\npassword=open sesame\n";
        let credential = parse(answer, &ask).expect("a credential");
        assert_eq!(credential.source(), CredentialSource::Helper);
        assert_eq!(
            credential.authorization_for(&ask.url),
            Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")
        );
        assert_eq!(credential.record, answer);
    }

    #[test]
    fn a_scheme_of_the_helpers_own() {
        let ask = ask("https://example.org/repo");
        let answer =
            b"capability[]=authtype\nauthtype=Bearer\ncredential=t0ken\nstate[]=helper:1\n";
        let credential = parse(answer, &ask).expect("a credential");
        assert_eq!(credential.authorization_for(&ask.url), Some("Bearer t0ken"));
        assert_eq!(credential.record, answer);
        assert!(!format!("{credential:?}").contains("t0ken"));
    }

    #[test]
    fn what_is_no_credential() {
        let ask = ask("https://example.org/repo");
        for answer in [
            &b""[..],
            b"username=me\n",
            b"password=secret\n",
            b"quit=1\nusername=me\npassword=secret\n",
            b"host=evil.example\nusername=me\npassword=secret\n",
            b"host=example.org:8443\nusername=me\npassword=secret\n",
            b"protocol=http\nusername=me\npassword=secret\n",
            b"authtype=Bearer\n",
            b"username=me\npassword=\xff\n",
        ] {
            let shown = String::from_utf8_lossy(answer);
            assert_eq!(parse(answer, &ask), None, "{shown}");
        }
    }
}

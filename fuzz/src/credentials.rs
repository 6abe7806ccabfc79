//! What credentials are read from: a password reaches the site it was meant for and no other,
//! whatever stands in `.netrc`, in a helper's answer, in the environment, in Git's configuration.

use bonsaifs::seams::{
    config::{GitSettings, HeaderScope},
    credentials::{Ask, Credential, Site, Tokens, fuzzing},
};
use url::Url;

use crate::input::Input;

/// Stands where another site's password may stand.
const SECRET: &str = "hunter2";

/// A token that no host's name can hold, however it is written: names are lower case, without space.
const TOKEN: &str = "HUNTER 2";

/// See the module.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let form = input.below(5);
    let content = input.rest();
    let text = String::from_utf8_lossy(content);
    match form {
        0 => netrc(&text),
        1 => helper_answer(content),
        2 => helper_question(&text),
        3 => tokens(&text),
        _ => config(content),
    }
}

fn url(text: &str) -> Url {
    Url::parse(text).expect("a constant")
}

fn ask(text: &str) -> Ask {
    Ask {
        url: url(text),
        user: None,
        www_authenticate: Vec::new(),
    }
}

/// Whatever follows an entry for another machine, that one's password isn't found.
fn netrc(text: &str) {
    let entry = format!("machine other.example login {SECRET} password {SECRET}\n");
    for user in [None, Some("someone"), Some(SECRET)] {
        let found = fuzzing::netrc(&format!("{entry}{text}"), "asked.example", user);
        if let Some((found_user, password)) = found {
            assert!(text.contains(SECRET) || password != SECRET);
            assert!(user.is_none_or(|user| user == found_user));
        }
    }
}

/// What a credential gives away about itself.
fn check_credential(credential: &Credential, asked: &Url) {
    for elsewhere in [
        "https://other.example/",
        "http://asked.example/",
        "https://asked.example:444/",
        "https://asked.example.other.example/",
    ] {
        assert_eq!(credential.authorization_for(&url(elsewhere)), None);
    }
    let value = credential
        .authorization_for(asked)
        .expect("it is for the site that was asked about");
    if value.len() > 12 {
        assert!(!format!("{credential:?}").contains(value));
    }
}

fn helper_answer(answer: &[u8]) {
    let ask = ask("https://asked.example/repo");
    if let Some(credential) = fuzzing::helper_answer(answer, &ask) {
        check_credential(&credential, &ask.url);
    }
}

/// Nothing that a server says becomes a line of its own.
fn helper_question(text: &str) {
    let mut ask = ask("https://asked.example/repo");
    ask.user = text.lines().next().map(str::to_owned);
    ask.www_authenticate = vec![text.to_owned(), "Basic".to_owned()];
    let question = fuzzing::helper_question(&ask).expect("an address of the web");
    let question = String::from_utf8(question).expect("all of it was text");
    for line in question.lines() {
        let (key, _) = line.split_once('=').expect("each line is key=value");
        let known = [
            "capability[]",
            "protocol",
            "host",
            "path",
            "username",
            "wwwauth[]",
        ];
        assert!(known.contains(&key), "{line:?}");
    }
    let hosts = question.lines().filter(|line| line.starts_with("host="));
    assert_eq!(hosts.collect::<Vec<_>>(), ["host=asked.example"]);
}

/// A token goes to the host that its variable names, and not in the open.
fn tokens(text: &str) {
    let mut lines = text.lines();
    let (bonsai, gitlab) = (lines.next(), lines.next());
    let tokens = Tokens::from_env(|name| match name {
        "BONSAI_TOKEN" | "GH_TOKEN" | "GITLAB_TOKEN" => Some(TOKEN.to_owned()),
        "BONSAI_TOKEN_HOST" => bonsai.map(str::to_owned),
        "GITLAB_HOST" => gitlab.map(str::to_owned),
        _ => None,
    });
    assert!(!format!("{tokens:?}").contains(TOKEN));
    for asked in [
        "https://asked.example/",
        "http://asked.example/",
        "https://gitlab.com/x",
    ] {
        let asked = url(asked);
        let Some(credential) = tokens.find(&asked) else {
            continue;
        };
        assert_eq!(asked.scheme(), "https", "sent in the open");
        let host = asked.host_str().expect("it has one");
        let named = text.to_lowercase().contains(host) || text.contains('%') || !text.is_ascii();
        assert!(named || host == "gitlab.com" && gitlab.is_none_or(|host| host.trim().is_empty()));
        assert!(Site::of(&asked).is_some_and(|site| site.is_private()));
        if host == "asked.example" {
            check_credential(&credential, &asked);
        }
    }
}

/// Settings of other sites aren't taken for this one, and none of them is shown.
fn config(listing: &[u8]) {
    let other = format!("http.https://other.example/.extraheader\nAuthorization: {SECRET}\0");
    let settings = GitSettings::parse(&[other.as_bytes(), listing].concat());
    assert!(!format!("{settings:?}").contains(SECRET));
    let mentioned = listing
        .windows(SECRET.len())
        .any(|w| w == SECRET.as_bytes());
    for asked in ["https://asked.example/a/b", "http://asked.example:8080/"] {
        let asked = url(asked);
        let named = settings.extra_headers(&asked, HeaderScope::NamedOnly);
        let any = settings.extra_headers(&asked, HeaderScope::Any);
        for (name, value) in any.iter().chain(&named) {
            assert!(mentioned || !value.contains(SECRET), "{name}: {value}");
            assert_eq!(name, &name.to_ascii_lowercase());
        }
        for name in ["proxy", "sslcainfo", "lowspeedtime", ""] {
            let _ = settings.http(name, &asked);
        }
        let _ = (
            settings.ssl_ca_info(&asked),
            settings.low_speed_time(&asked),
        );
    }
    for address in ["gh:org/repo", "https://asked.example/x", ""] {
        if let Some(rewritten) = settings.rewrite(address) {
            let tail = (0..=address.len()).any(|at| rewritten.ends_with(&address[at..]));
            assert!(tail);
        }
    }
}

//! No error, whatever the host does, shows a credential.

use std::{collections::BTreeSet, sync::Arc};

use bonsaifs_core::sync::Mutex;

use super::*;
use crate::{
    origin::{Fetch, Filter, Origin, RefWant, http::fake::FakeCredentials},
    seams::{config::GitSettings, http::HttpError},
};

/// In the URL, as a token, from a helper, in a configured header; and as they are sent.
const SECRETS: [&str; 8] = [
    "url-user",
    "url-secret",
    "token-secret",
    "helper-secret",
    "header-secret",
    "dXJsLXVzZXI6dXJsLXNlY3JldA==",
    "eDp0b2tlbi1zZWNyZXQ=",
    "bWU6aGVscGVyLXNlY3JldA==",
];

type Misdeed = Box<dyn Fn() -> Answer + Send + Sync>;

/// Everything a host can do wrong, to any kind of request.
fn misdeeds() -> Vec<Misdeed> {
    let mut misdeeds: Vec<Misdeed> = Vec::new();
    for status in [
        204, 301, 400, 401, 403, 404, 405, 410, 418, 429, 500, 502, 503, 599,
    ] {
        misdeeds.push(Box::new(move || Answer::status(status, &[])));
        misdeeds.push(Box::new(move || {
            Answer::status(status, &[("location", "https://elsewhere.example/login")])
        }));
    }
    for body in [
        &b""[..],
        b"zzzz",
        b"0008size",
        b"<html>",
        b"0000",
        b"000eERR hello\n",
    ] {
        misdeeds.push(Box::new(move || Answer::result(body)));
        misdeeds.push(Box::new(move || {
            super::super::fake::response(200, &[("content-type", "text/html")], body).into()
        }));
    }
    let host = || "git.example:443".to_owned();
    let reason = || "why".to_owned();
    let failures: [fn(String, String) -> HttpError; 5] = [
        |host, _| HttpError::Name { host },
        |host, reason| HttpError::Connect { host, reason },
        |host, reason| HttpError::Tls { host, reason },
        |host, _| HttpError::Timeout { host },
        |host, reason| HttpError::Broken { host, reason },
    ];
    for failure in failures {
        misdeeds.push(Box::new(move || Answer::failure(failure(host(), reason()))));
        misdeeds.push(Box::new(move || {
            let half = pack_answer(&[b"PACK"])[..20].to_vec();
            Answer::pieces(vec![Ok(half.into()), Err(failure(host(), reason()))])
        }));
    }
    misdeeds
}

/// A world with a secret in every place that can hold one, and what goes wrong in it.
async fn errors(mut world: World, url: &str) -> Vec<OriginError> {
    let place = "https://git.example/".parse().expect("a URL");
    world.credentials = Arc::new(FakeCredentials {
        token: Some((place, "x", "token-secret")),
        found: Mutex::new([("me", "helper-secret")].into()),
        ..Default::default()
    });
    world.settings = GitSettings::parse(b"http.extraheader\nX-Key: header-secret\0");
    let origin = world.origin(url).await;
    let fetch = Fetch {
        have: None,
        wants: vec![oid('1')],
        filter: Filter::NoBlobs,
    };
    let results = [
        origin.resolve(&RefWant::Head).await.map(|_| ()),
        origin.fetch(&fetch, &mut Sink::default()).await,
        origin.sizes(&[oid('1')]).await.map(|_| ()),
    ];
    assert_eq!(origin.describe(), REPO);
    results.into_iter().filter_map(Result::err).collect()
}

#[tokio::test]
async fn no_error_shows_a_credential() {
    let mut kinds = BTreeSet::new();
    for url in [
        "https://url-user:url-secret@git.example/team/repo.git",
        "https://url-user@git.example/team/repo.git",
        "https://git.example/team/repo.git",
    ] {
        for misdeed in misdeeds() {
            let misdeed = Arc::new(misdeed);
            let always = Arc::clone(&misdeed);
            let always = World::new(move |_| always());
            let in_commands_only = World::new(move |seen| match seen.command() {
                None => Answer::advertisement(&[FETCH, "object-info"]),
                Some(_) => misdeed(),
            });
            for world in [always, in_commands_only] {
                for error in errors(world, url).await {
                    let shown = format!("{error} {error:?}");
                    for secret in SECRETS {
                        assert!(!shown.contains(secret), "{secret} in {shown}");
                    }
                    kinds.insert(kind(&error));
                }
            }
        }
    }
    // The misdeeds lead to every kind of error that there is at a host.
    for kind in [
        "Corrupt",
        "Empty",
        "Forbidden",
        "Http",
        "NotFound",
        "NotGit",
        "RateLimited",
        "Refused",
        "Server",
        "Unauthorized",
    ] {
        assert!(kinds.contains(kind), "{kind} is not among {kinds:?}");
    }
}

/// The variant's name.
fn kind(error: &OriginError) -> String {
    let shown = format!("{error:?}");
    shown
        .split([' ', '('])
        .next()
        .unwrap_or_default()
        .to_owned()
}

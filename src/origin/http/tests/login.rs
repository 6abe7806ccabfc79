//! Who gets which credential, when, and who is told how it went.

use std::collections::VecDeque;

use base64::{Engine, engine::general_purpose::STANDARD};
use bonsaifs_core::sync::{Mutex, lock};

use super::*;
use crate::{
    origin::{Fetch, Filter, Origin, RefWant, http::fake::FakeCredentials},
    seams::config::GitSettings,
};

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// A usual host that wants this login and names its challenge.
fn guarded(user: &str, password: &str) -> impl Fn(&Seen) -> Answer + Send + Sync + 'static {
    let wanted = basic(user, password);
    move |seen| match seen.header("authorization") {
        Some(given) if given == wanted => usual(seen).after(1),
        _ => Answer::status(401, &[("www-authenticate", "Basic realm=\"team\"")]).after(1),
    }
}

fn queue(found: &[(&'static str, &'static str)]) -> Mutex<VecDeque<(&'static str, &'static str)>> {
    Mutex::new(found.iter().copied().collect())
}

fn with_credentials(world: &mut World, credentials: FakeCredentials) {
    world.credentials = credentials.into();
}

async fn head_at(world: &World, url: &str) -> Result<(), OriginError> {
    let origin = world.origin(url).await;
    let result = origin.resolve(&RefWant::Head).await;
    world.runtime.run_tasks().await;
    result.map(|_| ())
}

/// The `Authorization` headers so far, in order; an empty one where there was none.
fn sent(world: &World) -> Vec<String> {
    let header = |seen: &Seen| seen.header("authorization").unwrap_or_default().to_owned();
    world.seen().iter().map(header).collect()
}

#[tokio::test]
async fn anonymous_first_then_what_a_helper_knows_and_it_is_told_that_it_worked() {
    let mut world = World::new(guarded("me", "secret"));
    with_credentials(
        &mut world,
        FakeCredentials {
            found: queue(&[("me", "secret")]),
            ..Default::default()
        },
    );
    let origin = world.origin(REPO).await;
    origin.resolve(&RefWant::Head).await.expect("let in");
    world.runtime.run_tasks().await;
    // Both requests of the race were refused, and one question was asked.
    let login = basic("me", "secret");
    assert_eq!(sent(&world), ["", "", &login, &login]);
    assert_eq!(
        world.credentials_log(),
        [
            "lookup ?@https://git.example/team/repo.git Basic realm=\"team\"",
            "approve git credential"
        ]
    );
    // From then on it goes with every request.
    origin.resolve(&RefWant::Head).await.expect("let in");
    assert_eq!(sent(&world), [login.as_str()]);
    assert_eq!(world.credentials_log().len(), 2);
}

#[tokio::test]
async fn a_refused_login_is_reported_and_the_end() {
    let mut world = World::new(guarded("me", "secret"));
    with_credentials(
        &mut world,
        FakeCredentials {
            found: queue(&[("me", "wrong"), ("me", "secret")]),
            ..Default::default()
        },
    );
    let error = head_at(&world, REPO).await.expect_err("not let in");
    assert!(
        matches!(&error, OriginError::Unauthorized { url } if url == REPO),
        "{error:?}"
    );
    let log = world.credentials_log();
    assert_eq!(log.len(), 2, "{log:?}");
    assert_eq!(log[1], "reject git credential");
}

#[tokio::test]
async fn nobody_knows_a_login() {
    let world = World::new(guarded("me", "secret"));
    let error = head_at(&world, REPO).await.expect_err("not let in");
    assert!(
        matches!(error, OriginError::Unauthorized { .. }),
        "{error:?}"
    );
    assert!(sent(&world).iter().all(String::is_empty));
}

#[tokio::test]
async fn a_login_in_the_url_is_sent_at_once_and_nobody_else_is_asked() {
    let world = World::new(guarded("me", "p@ss"));
    let url = "https://me:p%40ss@git.example/team/repo.git";
    head_at(&world, url).await.expect("let in");
    let login = basic("me", "p@ss");
    assert_eq!(sent(&world), [login.as_str(), &login]);
    assert_eq!(world.credentials_log(), ["approve the URL"]);

    let url = "https://me:wrong@git.example/team/repo.git";
    let error = head_at(&world, url).await.expect_err("not let in");
    assert!(
        matches!(error, OriginError::Unauthorized { .. }),
        "{error:?}"
    );
    assert!(
        !world
            .credentials_log()
            .iter()
            .any(|line| line.starts_with("lookup"))
    );
}

#[tokio::test]
async fn a_user_in_the_url_is_told_to_the_helper() {
    let mut world = World::new(guarded("me", "secret"));
    with_credentials(
        &mut world,
        FakeCredentials {
            found: queue(&[("me", "secret")]),
            ..Default::default()
        },
    );
    let url = "https://me@git.example/team/repo.git";
    head_at(&world, url).await.expect("let in");
    let log = world.credentials_log();
    assert!(
        log[0].starts_with("lookup me@https://git.example/"),
        "{log:?}"
    );
}

#[tokio::test]
async fn a_token_in_the_users_place_is_tried_with_an_empty_password() {
    let world = World::new(guarded("t0ken", ""));
    head_at(&world, "https://t0ken@git.example/team/repo.git")
        .await
        .expect("let in");
    let world = World::new(guarded("t0ken", ""));
    let plain = "http://t0ken@git.example/team/repo.git";
    assert!(head_at(&world, plain).await.is_err(), "not over plain HTTP");
    assert!(sent(&world).iter().all(String::is_empty));
}

fn token(place: &str, password: &'static str) -> FakeCredentials {
    FakeCredentials {
        token: Some((place.parse().expect("a URL"), "x", password)),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_token_for_the_host_is_sent_at_once() {
    let mut world = World::new(guarded("x", "t0ken"));
    with_credentials(&mut world, token("https://git.example/", "t0ken"));
    head_at(&world, REPO).await.expect("let in");
    let login = basic("x", "t0ken");
    assert_eq!(sent(&world), [login.as_str(), &login]);
}

#[tokio::test]
async fn a_stale_token_gives_way_to_what_a_helper_knows() {
    let mut world = World::new(guarded("me", "secret"));
    let credentials = FakeCredentials {
        found: queue(&[("me", "secret")]),
        ..token("https://git.example/", "stale")
    };
    with_credentials(&mut world, credentials);
    head_at(&world, REPO).await.expect("let in");
    let log = world.credentials_log();
    assert_eq!(log[0], "reject BONSAI_TOKEN");
    assert!(log[1].starts_with("lookup "), "{log:?}");
    assert_eq!(log[2], "approve git credential");
}

#[tokio::test]
async fn a_login_that_expires_is_asked_for_once_more() {
    let mut world = World::new(|seen| {
        // The first login is good for the refs, the second for the fetch.
        let wanted = match seen.command().as_deref() {
            Some("fetch") => basic("me", "second"),
            _ => basic("me", "first"),
        };
        match seen.header("authorization") == Some(&wanted) {
            true => usual(seen),
            false => Answer::status(401, &[]),
        }
    });
    with_credentials(
        &mut world,
        FakeCredentials {
            found: queue(&[("me", "first"), ("me", "second")]),
            ..Default::default()
        },
    );
    let origin = world.origin(REPO).await;
    origin.resolve(&RefWant::Head).await.expect("let in");
    world.runtime.run_tasks().await;
    let fetch = Fetch {
        have: None,
        wants: vec![oid('1')],
        filter: Filter::NoBlobs,
    };
    let fetched = origin.fetch(&fetch, &mut Sink::default()).await;
    fetched.expect("let in again");
    world.runtime.run_tasks().await;
    let log = world.credentials_log();
    let verbs: Vec<&str> = log
        .iter()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!(verbs, ["lookup", "approve", "reject", "lookup", "approve"]);
}

#[tokio::test]
async fn no_credential_follows_a_redirect_to_another_host() {
    for url in [
        "https://me:secret@git.example/team/repo.git",
        "https://git.example/team/repo.git",
    ] {
        let mut world = World::new(|seen| match seen.request.url.host_str() {
            Some("git.example") => Answer::status(
                301,
                &[(
                    "location",
                    "https://evil.example/repo/info/refs?service=git-upload-pack",
                )],
            ),
            _ => {
                assert_eq!(seen.header("authorization"), None, "{}", seen.line());
                assert_eq!(seen.header("x-secret"), None, "{}", seen.line());
                usual(seen)
            }
        });
        with_credentials(&mut world, token("https://git.example/", "t0ken"));
        world.settings = GitSettings::parse(b"http.extraheader\nX-Secret: 1\0");
        head_at(&world, url)
            .await
            .expect("the other host lets anyone in");
        let logins = sent(&world);
        assert!(!logins[0].is_empty(), "the host itself gets it: {logins:?}");
        assert!(logins.iter().any(String::is_empty));
    }
}

#[tokio::test]
async fn a_host_that_a_redirect_leads_to_is_asked_about_by_its_own_name() {
    let mut world = World::new(|seen| match seen.request.url.host_str() {
        Some("git.example") => Answer::status(
            301,
            &[(
                "location",
                "https://other.example/repo/info/refs?service=git-upload-pack",
            )],
        ),
        _ => guarded("you", "other secret")(seen),
    });
    with_credentials(
        &mut world,
        FakeCredentials {
            found: queue(&[("you", "other secret")]),
            ..token("https://git.example/", "t0ken")
        },
    );
    head_at(&world, REPO).await.expect("let in");
    let log = world.credentials_log();
    assert!(
        log[0].starts_with("lookup ?@https://other.example/repo "),
        "{log:?}"
    );
}

#[tokio::test]
async fn a_login_of_the_users_own_headers_is_the_only_one() {
    let mut world = World::new(guarded("me", "secret"));
    with_credentials(&mut world, token("https://git.example/", "t0ken"));
    let header = format!("Authorization: {}", basic("me", "secret"));
    let listing = format!("http.https://git.example/.extraheader\n{header}\0");
    world.settings = GitSettings::parse(listing.as_bytes());
    head_at(&world, REPO).await.expect("let in");
    let login = basic("me", "secret");
    assert_eq!(sent(&world), [login.as_str(), &login]);
    assert!(world.credentials_log().is_empty());

    let listing = b"http.https://git.example/.extraheader\nAuthorization: Basic wrong\0";
    world.settings = GitSettings::parse(listing);
    let error = head_at(&world, REPO).await.expect_err("not let in");
    assert!(
        matches!(error, OriginError::Unauthorized { .. }),
        "{error:?}"
    );
    assert!(world.credentials_log().is_empty());
}

#[tokio::test]
async fn a_server_fault_says_nothing_about_a_login() {
    let mut world = World::new(|seen| match seen.command() {
        None => Answer::never(),
        Some(_) => Answer::status(500, &[]),
    });
    with_credentials(&mut world, token("https://git.example/", "t0ken"));
    head_at(&world, REPO).await.expect_err("a fault");
    assert!(lock(&world.credentials.log).is_empty());
}

//! Repositories that are elsewhere: redirects, before and after the origin was opened.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use bonsaifs_core::rt::BoxFuture;

use super::*;
use crate::seams::http::{Body, HttpError, Response};

#[tokio::test]
async fn redirects_are_followed_by_the_get_and_the_post_goes_where_they_lead() {
    let world = World::new(|seen| {
        let moved = |to: &str| Answer::status(301, &[("location", to)]);
        match seen.line().as_str() {
            line if line == format!("ls-refs {POST}") => moved("https://git.example/elsewhere"),
            line if line == format!("GET {GET}") => {
                moved("/team/renamed.git/info/refs?service=git-upload-pack")
            }
            "GET https://git.example/team/renamed.git/info/refs?service=git-upload-pack" => {
                moved("https://other.example/repo/info/refs?service=git-upload-pack")
            }
            line if line.contains("https://other.example/repo/") => usual(seen),
            line => panic!("{line}"),
        }
    });
    let origin = world.origin(REPO).await;
    let resolved = origin.resolve(&RefWant::Head).await.expect("found");
    assert_eq!(resolved, main_branch());
    let asked = world.asked();
    assert_eq!(asked.len(), 5, "{asked:#?}");
    assert_eq!(
        asked[4],
        "ls-refs https://other.example/repo/git-upload-pack"
    );
    // From then on nothing goes the long way.
    origin.resolve(&RefWant::Head).await.expect("found");
    assert_eq!(
        world.asked(),
        ["ls-refs https://other.example/repo/git-upload-pack"]
    );
    assert_eq!(origin.describe(), REPO);
}

#[tokio::test]
async fn redirects_without_end_or_aim() {
    let world = World::new(|seen| match seen.command() {
        None => Answer::status(302, &[("location", GET)]),
        Some(_) => Answer::status(302, &[("location", POST)]),
    });
    let error = head_of(&world).await.expect_err("round and round");
    assert!(matches!(error, OriginError::NotGit { .. }), "{error:?}");
    assert!(world.asked().len() <= 22);

    let world = World::new(|_| Answer::status(302, &[]));
    let error = head_of(&world).await.expect_err("nowhere");
    assert!(matches!(error, OriginError::NotGit { .. }), "{error:?}");
}

/// Found by the simulation (seed 2011409): each redirect's answer was held over the next request, and a mount had one more
/// in flight than it may.
#[tokio::test]
async fn what_redirects_is_let_go_before_the_next_request() {
    struct Held(Arc<AtomicUsize>);
    impl Drop for Held {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }
    impl Body for Held {
        fn chunk(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, HttpError>> {
            Box::pin(async { Ok(None) })
        }
    }
    let held = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&held);
    let world = World::new(move |_| {
        assert_eq!(count.fetch_add(1, Ordering::Relaxed), 0, "one at a time");
        Answer::from(Response {
            status: 302,
            headers: vec![("location".to_owned(), GET.to_owned())],
            body: Box::new(Held(Arc::clone(&count))),
        })
    });
    let error = head_of(&world).await.expect_err("round and round");
    assert!(matches!(error, OriginError::NotGit { .. }), "{error:?}");
    assert_eq!(world.asked().len(), 22);
    assert_eq!(held.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_repository_that_moves_while_it_is_open_is_found_again() {
    let moved = Arc::new(AtomicBool::new(false));
    let has_moved = Arc::clone(&moved);
    let world = World::new(move |seen| {
        let at_new_place = seen.request.url.path().contains("renamed");
        match (has_moved.load(Ordering::Relaxed), seen.command()) {
            (moved, _) if moved == at_new_place => usual(seen),
            (_, None) => Answer::status(
                301,
                &[("location", "/renamed/info/refs?service=git-upload-pack")],
            ),
            (_, Some(_)) => Answer::status(404, &[]),
        }
    });
    let origin = world.origin(REPO).await;
    origin.resolve(&RefWant::Head).await.expect("found");
    world.runtime.run_tasks().await;
    moved.store(true, Ordering::Relaxed);
    let resolved = origin.resolve(&RefWant::Head).await;
    assert_eq!(resolved.expect("found again"), main_branch());
}

#[tokio::test]
async fn a_repository_that_has_moved_on_a_known_host_is_found() {
    let world = World::new(|seen| match seen.command() {
        _ if seen.request.url.path().contains("renamed") => usual(seen),
        None => Answer::status(
            301,
            &[("location", "/renamed/info/refs?service=git-upload-pack")],
        ),
        Some(_) => Answer::status(404, &[]),
    });
    let origin = world.origin("https://git.example/renamed").await;
    origin.resolve(&RefWant::Head).await.expect("found");
    world.runtime.run_tasks().await;
    // The host is known by now, but this repository is not where it was.
    assert_eq!(head_of(&world).await.expect("found"), main_branch());
}

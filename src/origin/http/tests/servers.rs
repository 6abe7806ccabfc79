//! What every kind of server, and every way to fail, is reported as.

use super::*;
use crate::seams::http::HttpError;

/// An answer to the GET, in turns early and late against the POST's, which is empty as that of
/// a server without version 2.
async fn without_version_2(advertisement: fn() -> Answer) -> OriginError {
    let mut errors = Vec::new();
    for turns in [0, 9] {
        let world = World::new(move |seen| match seen.command() {
            None => advertisement().after(turns),
            Some(_) => Answer::result(b"").after(4),
        });
        errors.push(head_of(&world).await.expect_err("no version 2"));
        assert_eq!(world.asked().len(), 2);
    }
    assert_eq!(format!("{:?}", errors[0]), format!("{:?}", errors[1]));
    errors.remove(0)
}

fn page(content_type: &str, body: &[u8]) -> Answer {
    super::super::fake::response(200, &[("content-type", content_type)], body).into()
}

#[tokio::test]
async fn servers_without_version_2_are_named_for_what_they_are() {
    let old = without_version_2(|| {
        let line = format!("{} HEAD\0multi_ack", oid('1'));
        page(
            "application/x-git-upload-pack-advertisement",
            &packets(&[&line]),
        )
    });
    assert!(matches!(
        old.await,
        OriginError::OldProtocol { version: 0, .. }
    ));

    let old = without_version_2(|| {
        page(
            "application/x-git-upload-pack-advertisement",
            &packets(&["version 1"]),
        )
    });
    assert!(matches!(
        old.await,
        OriginError::OldProtocol { version: 1, .. }
    ));

    let dumb = without_version_2(|| {
        let line = format!("{}\trefs/heads/main\n", oid('1'));
        page("text/plain", line.as_bytes())
    });
    assert!(matches!(dumb.await, OriginError::DumbHttp { .. }));

    let web = without_version_2(|| page("text/html", b"<html>hello</html>"));
    let web = web.await;
    assert!(
        matches!(&web, OriginError::NotGit { url, .. } if url == REPO),
        "{web:?}"
    );
    assert!(web.to_string().contains("text/html"), "{web}");

    let useless = without_version_2(|| {
        page(
            "application/x-git-upload-pack-advertisement",
            &packets(&["version 2"]),
        )
    });
    assert!(matches!(useless.await, OriginError::NotGit { .. }));

    let refused = without_version_2(|| {
        page(
            "application/x-git-upload-pack-advertisement",
            &packets(&["ERR gone fishing"]),
        )
    });
    let refused = refused.await;
    assert!(
        matches!(&refused, OriginError::Refused { message, .. } if message == "gone fishing"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_page_for_every_request_is_no_git_server() {
    let world = World::new(|_| page("text/html", b"<html>hello</html>"));
    let error = head_of(&world).await.expect_err("no Git");
    assert!(matches!(error, OriginError::NotGit { .. }), "{error:?}");
}

#[tokio::test]
async fn each_status_has_its_error_whoever_gives_it_first() {
    for (status, expected) in [
        (403, "Forbidden {"),
        (404, "NotFound {"),
        (410, "NotFound {"),
        (429, "RateLimited {"),
        (500, "Server {"),
        (503, "Server {"),
        (400, "NotGit {"),
    ] {
        for turns in [0, 9] {
            let world = World::new(move |seen| {
                let answer =
                    Answer::status(status, &[("retry-after", "3")][..usize::from(status > 403)]);
                answer.after(if seen.command().is_some() { 4 } else { turns })
            });
            let error = head_of(&world).await.expect_err("an error");
            let said = format!("{error:?}");
            assert!(said.starts_with(expected), "{status}: {said}");
            assert!(said.contains(REPO), "{said}");
        }
    }
}

#[tokio::test]
async fn a_connection_that_fails_for_both_is_the_error() {
    let world = World::new(|_| {
        let (host, reason) = ("git.example:443".into(), "refused".into());
        Answer::failure(HttpError::Connect { host, reason })
    });
    let error = head_of(&world).await.expect_err("no connection");
    assert!(
        matches!(error, OriginError::Http(HttpError::Connect { .. })),
        "{error:?}"
    );
}

#[tokio::test]
async fn an_advertisement_that_fails_on_its_own_does_no_harm() {
    for answer in [
        || Answer::status(500, &[]),
        || {
            let (host, reason) = ("git.example:443".into(), "reset".into());
            Answer::failure(HttpError::Broken { host, reason })
        },
    ] {
        let world = World::new(move |seen| match seen.command() {
            None => answer(),
            Some(_) => head().after(5),
        });
        assert_eq!(head_of(&world).await.expect("found"), main_branch());
    }
}

#[tokio::test]
async fn answers_that_can_not_be_right() {
    for body in [&b"0008size"[..], b"zzzz", b"0032"] {
        let world = World::new(move |seen| match seen.command() {
            None => usual(seen),
            Some(_) => Answer::result(body),
        });
        let error = head_of(&world).await.expect_err("no list of refs");
        assert!(matches!(error, OriginError::Corrupt { .. }), "{error:?}");
    }
}

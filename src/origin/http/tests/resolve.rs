//! Finding refs, and how few requests it takes.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::{
    git::oid::HashKind,
    origin::{Origin, RefWant},
    seams::{config::GitSettings, http::Method},
};

#[tokio::test]
async fn an_unknown_host_is_asked_for_both_at_once_and_only_the_refs_are_waited_for() {
    let world = World::new(|seen| match seen.command() {
        None => Answer::never(),
        Some(_) => head().after(5),
    });
    assert_eq!(head_of(&world).await.expect("found"), main_branch());
    let seen = world.seen();
    assert_eq!(seen[0].line(), format!("ls-refs {POST}"));
    assert_eq!(seen[1].line(), format!("GET {GET}"));
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0].request.method, Method::Post);
    assert_eq!(seen[1].request.method, Method::Get);
    for request in &seen {
        assert_eq!(request.header("git-protocol"), Some("version=2"));
        assert!(
            request
                .header("user-agent")
                .expect("one")
                .starts_with("git/")
        );
        assert_eq!(request.header("authorization"), None);
    }
    assert_eq!(
        seen[0].header("content-type"),
        Some("application/x-git-upload-pack-request")
    );
    let lines = ["command=ls-refs", "peel", "symrefs", "ref-prefix HEAD"];
    assert_eq!(seen[0].lines(), lines);
}

#[tokio::test]
async fn a_known_host_is_asked_once() {
    let world = World::new(usual);
    head_of(&world).await.expect("found");
    // What was still on its way when the refs were there.
    world.runtime.run_tasks().await;
    assert_eq!(world.seen().len(), 2);

    assert_eq!(head_of(&world).await.expect("found"), main_branch());
    let seen = world.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].line(), format!("ls-refs {POST}"));
    // It was learnt that the server has a name and tells of unborn branches.
    let agent = concat!("agent=bonsai/", env!("CARGO_PKG_VERSION"));
    let lines = [
        "command=ls-refs",
        agent,
        "peel",
        "symrefs",
        "unborn",
        "ref-prefix HEAD",
    ];
    assert_eq!(seen[0].lines(), lines);
}

#[tokio::test]
async fn a_server_that_answers_the_advertisement_first_is_waited_for() {
    let world = World::new(|seen| match seen.command() {
        None => usual(seen),
        Some(_) => head().after(5),
    });
    assert_eq!(head_of(&world).await.expect("found"), main_branch());
    assert_eq!(world.asked().len(), 2);
}

#[tokio::test]
async fn a_question_that_is_given_up_stands_in_nobodys_way() {
    let asked_before = AtomicBool::new(false);
    let world = World::new(move |seen| match seen.command() {
        None if !asked_before.swap(true, Ordering::Relaxed) => Answer::never(),
        None => Answer::advertisement(&[FETCH, "object-format=sha256"]),
        Some(_) if seen.lines().contains(&"object-format=sha256".to_owned()) => {
            Answer::result(packets(&[&format!("{} HEAD", "7".repeat(64))]))
        }
        // Which makes it wait for the advertisement.
        Some(_) => Answer::result(b""),
    });
    let origin = world.origin(REPO).await;
    tokio::select! {
        biased;
        found = origin.resolve(&RefWant::Head) => panic!("{found:?}"),
        () = std::future::ready(()) => {}
    }
    assert_eq!(world.asked().len(), 2);
    let found = origin.resolve(&RefWant::Head).await.expect("found");
    assert_eq!(found.hash, HashKind::Sha256);
}

#[tokio::test]
async fn a_sha_256_repository_is_asked_again_in_its_format() {
    let id = "7".repeat(64);
    let answer = format!("{id} HEAD symref-target:refs/heads/main");
    let world = World::new(move |seen| match seen.command() {
        None => Answer::advertisement(&[FETCH, "object-format=sha256"]),
        Some(_) if seen.lines().contains(&"object-format=sha256".to_owned()) => {
            Answer::result(packets(&[&answer]))
        }
        // As `git http-backend` answers: upload-pack says why on its stderr only.
        Some(_) => Answer::result(b""),
    });
    let resolved = head_of(&world).await.expect("found");
    assert_eq!(resolved.hash, HashKind::Sha256);
    assert_eq!(resolved.target.to_string(), id);
    assert_eq!(world.asked().len(), 3);
    // The next mount knows it.
    head_of(&world).await.expect("found");
    assert_eq!(world.asked().len(), 1);
}

#[tokio::test]
async fn a_whole_commit_id_needs_no_request() {
    let world = World::new(|_| panic!("nothing is to be asked"));
    for (id, hash) in [
        ("a".repeat(40), HashKind::Sha1),
        ("A".repeat(64), HashKind::Sha256),
    ] {
        let resolved = resolve(&world, &id).await.expect("an id is an id");
        assert_eq!(resolved.target.to_string(), id.to_lowercase());
        assert_eq!((resolved.name, resolved.peeled), (None, None));
        assert_eq!(resolved.hash, hash);
    }
}

#[tokio::test]
async fn named_refs_are_asked_for_by_prefix() {
    let world = World::new(|seen| match seen.command() {
        None => usual(seen),
        Some(_) => {
            let tag = format!("{} refs/tags/v1 peeled:{}", oid('2'), oid('3'));
            let branch = format!("{} refs/heads/v1", oid('4'));
            Answer::result(packets(&[&branch, &tag]))
        }
    });
    let resolved = resolve(&world, "v1").await.expect("found");
    assert_eq!(resolved.name.as_deref(), Some("refs/tags/v1"));
    assert_eq!(
        (resolved.target, resolved.peeled),
        (oid('2'), Some(oid('3')))
    );
    let lines = world.seen()[0].lines();
    for prefix in ["refs/tags/v1", "refs/heads/v1"] {
        assert!(lines.contains(&format!("ref-prefix {prefix}")), "{lines:?}");
    }

    let resolved = resolve(&world, "refs/heads/v1").await.expect("found");
    assert_eq!(resolved.target, oid('4'));
    for unknown in ["v2", "no such name", "refs/heads/v", "abc123"] {
        let error = resolve(&world, unknown).await.expect_err("no such ref");
        assert!(
            matches!(&error, OriginError::UnknownRef { name, source_name } if name == unknown && source_name == REPO),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn an_empty_repository_is_empty_and_a_head_that_leads_nowhere_is_not() {
    for head in [vec![], vec!["unborn HEAD symref-target:refs/heads/main"]] {
        for branch in [None, Some(format!("{} refs/heads/other", oid('2')))] {
            let (head, others) = (head.clone(), branch.clone());
            let world = World::new(move |seen| match seen.command() {
                None => usual(seen),
                Some(_) if seen.lines().contains(&"ref-prefix HEAD".to_owned()) => {
                    Answer::result(packets(&head))
                }
                Some(_) => Answer::result(packets(&Vec::from_iter(others.as_deref()))),
            });
            let error = head_of(&world).await.expect_err("no HEAD");
            match branch {
                None => assert!(matches!(error, OriginError::Empty { .. }), "{error:?}"),
                Some(_) => assert!(
                    matches!(&error, OriginError::UnknownRef { name, .. } if name == "HEAD"),
                    "{error:?}"
                ),
            }
        }
    }
}

#[tokio::test]
async fn the_configuration_decides_where_and_what() {
    let mut world = World::new(|seen| {
        let url = seen.request.url.as_str();
        assert!(
            url.starts_with("https://mirror.example/team/repo.git/"),
            "{url}"
        );
        assert_eq!(seen.header("x-extra"), Some("yes"));
        assert_eq!(seen.request.head_timeout.as_secs(), 7);
        usual(seen)
    });
    world.settings = GitSettings::parse(
        b"url.https://mirror.example/.insteadof\nhttps://git.example/\0\
          url.git@ssh.example:.insteadof\nhttps://other.example/\0\
          http.extraheader\nX-Extra: yes\0\
          http.lowspeedtime\n7\0",
    );
    let origin = world.origin(REPO).await;
    assert_eq!(
        origin.resolve(&RefWant::Head).await.expect("found"),
        main_branch()
    );
    assert_eq!(origin.describe(), REPO);
}

#[tokio::test]
async fn an_instead_of_that_leads_out_of_http_is_passed_over() {
    let mut world = World::new(usual);
    let listing = b"url.git@git.example:.insteadof\nhttps://git.example/\0";
    world.settings = GitSettings::parse(listing);
    assert_eq!(head_of(&world).await.expect("found"), main_branch());
}

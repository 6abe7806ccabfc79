//! The origin over real sockets against a real `git http-backend`.

use std::{collections::BTreeMap, sync::Arc};

use bonsai_testkit::{
    Fault, GitServer, When,
    repo::{Repo, Specimen, specimens},
};
use bonsaifs_core::rt::SharedRuntime;

use super::*;
use crate::{
    git::{
        oid::HashKind,
        pack::{Limits, StreamDecoder},
        url::HttpUrl,
    },
    origin::{
        Fetch, Filter, Origin, RefWant,
        http::{HostMemory, HttpOrigin},
        retry::{RetryPolicy, with_retries},
        testing,
    },
    seams::{Seams, rt::TokioRuntime},
};

fn seams() -> Seams {
    let runtime: SharedRuntime = Arc::new(TokioRuntime::current().expect("a test runtime"));
    Seams {
        runtime,
        ..testing::seams()
    }
}

async fn origin(url: &str) -> HttpOrigin {
    let url = HttpUrl::parse(url).expect("a URL");
    HttpOrigin::new(url, &seams(), HostMemory::default()).await
}

fn serve(repo: &Repo) -> GitServer {
    GitServer::start(repo.root()).expect("a server")
}

fn want(name: Option<&str>) -> RefWant {
    name.map_or(RefWant::Head, |name| RefWant::Named(name.to_owned()))
}

fn id(hex: &str) -> Oid {
    Oid::from_hex(hex.as_bytes()).expect("hex")
}

fn fetch_of(filter: Filter, wants: &[Oid]) -> Fetch {
    Fetch {
        have: None,
        wants: wants.to_vec(),
        filter,
    }
}

/// The objects that a fetch brings, by id, every one verified.
async fn objects(
    origin: &HttpOrigin,
    fetch: &Fetch,
) -> Result<BTreeMap<String, ObjectKind>, OriginError> {
    let mut sink = Sink::default();
    origin.fetch(fetch, &mut sink).await?;
    let mut decoder = StreamDecoder::new(fetch.wants[0].kind(), Limits::default());
    let mut objects = BTreeMap::new();
    let mut found = |object: crate::git::pack::Decoded| {
        objects.insert(object.oid.to_string(), object.kind);
    };
    let pack = sink.pack.as_slice();
    decoder.push(pack, &pack, &mut found).expect("a good pack");
    decoder.finish(&pack, &mut found).expect("a whole pack");
    Ok(objects)
}

/// What `git` says that a commit consists of, without blobs.
fn commit_and_trees(repo: &Repo, commit: &str) -> BTreeMap<String, ObjectKind> {
    let root = repo.oid(&format!("{commit}^{{tree}}"));
    let listing = repo.git(&[
        "ls-tree",
        "-r",
        "-t",
        "-d",
        "--format=%(objectname)",
        commit,
    ]);
    let listing = String::from_utf8(listing).expect("hex");
    let trees = listing.lines().map(str::to_owned).chain([root]);
    trees
        .map(|tree| (tree, ObjectKind::Tree))
        .chain([(commit.to_owned(), ObjectKind::Commit)])
        .collect()
}

#[tokio::test]
async fn repositories_of_many_kinds_resolve_and_give_their_trees() {
    for specimen in [
        specimens::plain(),
        specimens::sha256(),
        specimens::annotated_tag(),
        specimens::nested_tag(),
        specimens::branch(),
        specimens::unreferenced_commit(),
        specimens::detached_head(),
        specimens::alternates(),
        specimens::shallow(),
    ] {
        let Specimen {
            repo,
            want: named,
            commit,
        } = specimen;
        let server = serve(&repo);
        let origin = origin(&server.url(&repo.served())).await;
        let resolved = origin.resolve(&want(named.as_deref())).await;
        let resolved = resolved.unwrap_or_else(|error| panic!("{named:?}: {error}"));
        let tip = resolved.peeled.unwrap_or(resolved.target);
        assert_eq!(tip.to_string(), commit, "{named:?}");
        let fetch = fetch_of(Filter::NoBlobs, &[tip]);
        let got = objects(&origin, &fetch).await.expect("a pack");
        assert_eq!(got, commit_and_trees(&repo, &commit), "{named:?}");
    }
}

#[tokio::test]
async fn an_empty_repository_and_an_unknown_ref() {
    let repo = specimens::empty_repository();
    let server = serve(&repo);
    let empty = origin(&server.url(&repo.served())).await;
    let error = empty.resolve(&RefWant::Head).await.expect_err("no commit");
    assert!(matches!(error, OriginError::Empty { .. }), "{error:?}");

    let Specimen { repo, .. } = specimens::plain();
    let server = serve(&repo);
    let origin = origin(&server.url(&repo.served())).await;
    let error = origin.resolve(&want(Some("nowhere"))).await;
    let error = error.expect_err("no such ref");
    assert!(matches!(error, OriginError::UnknownRef { .. }), "{error:?}");
}

/// Whole requests to reach a README, advertisement included.
#[tokio::test]
async fn a_first_mount_takes_four_requests_and_a_second_one_three() {
    let Specimen { repo, commit, .. } = specimens::plain();
    let readme = id(&repo.oid("main:README.md"));
    let server = serve(&repo);
    let url = HttpUrl::parse(&server.url(&repo.served())).expect("a URL");
    let memory = HostMemory::default();
    for requests in [4, 3] {
        server.reset();
        let origin = HttpOrigin::new(url.clone(), &seams(), memory.clone()).await;
        let resolved = origin.resolve(&RefWant::Head).await.expect("found");
        let trees = fetch_of(Filter::NoBlobs, &[resolved.target]);
        assert_eq!(resolved.target.to_string(), commit);
        objects(&origin, &trees).await.expect("a pack");
        let blob = fetch_of(Filter::OnlyWanted, &[readme]);
        let got = objects(&origin, &blob).await.expect("a pack");
        assert_eq!(
            got,
            BTreeMap::from([(readme.to_string(), ObjectKind::Blob)])
        );
        // Sizes wait for the advertisement, so after them all requests are counted.
        assert_eq!(origin.sizes(&[readme]).await.expect("an answer"), None);
        assert_eq!(server.totals().requests, requests);
        assert_eq!(origin.counters().requests, requests);
        assert!(origin.counters().bytes > 0);
    }
}

#[tokio::test]
async fn only_what_is_wanted() {
    let Specimen { repo, commit, .. } = specimens::plain();
    let server = serve(&repo);
    let origin = origin(&server.url(&repo.served())).await;
    let one = |oid: &str, kind| BTreeMap::from([(oid.to_owned(), kind)]);
    for (revision, kind) in [
        (commit.as_str(), ObjectKind::Commit),
        ("main^{tree}", ObjectKind::Tree),
        ("main:src", ObjectKind::Tree),
        ("main:README.md", ObjectKind::Blob),
    ] {
        let oid = repo.oid(revision);
        let fetch = fetch_of(Filter::OnlyWanted, &[id(&oid)]);
        let got = objects(&origin, &fetch).await.expect("a pack");
        assert_eq!(got, one(&oid, kind), "{revision}");
    }
    assert_eq!(server.totals().requests, 4);
}

#[tokio::test]
async fn a_server_without_filters_gives_what_is_wanted_and_more() {
    let Specimen { repo, commit, .. } = specimens::plain();
    let server = GitServer::builder(repo.root()).without_filter().start();
    let server = server.expect("a server");
    let origin = origin(&server.url(&repo.served())).await;
    let fetch = fetch_of(Filter::NoBlobs, &[id(&commit)]);
    let got = objects(&origin, &fetch).await.expect("a pack");
    for (oid, kind) in commit_and_trees(&repo, &commit) {
        assert_eq!(got.get(&oid), Some(&kind));
    }
    let readme = repo.oid("main:README.md");
    let blob = fetch_of(Filter::OnlyWanted, &[id(&readme)]);
    let got = objects(&origin, &blob).await.expect("a pack");
    assert_eq!(got, BTreeMap::from([(readme, ObjectKind::Blob)]));
}

#[tokio::test]
async fn an_object_that_is_not_there() {
    let Specimen { repo, .. } = specimens::plain();
    let server = serve(&repo);
    let origin = origin(&server.url(&repo.served())).await;
    let fetch = fetch_of(Filter::OnlyWanted, &[oid('7')]);
    let error = objects(&origin, &fetch).await.expect_err("not there");
    assert!(
        matches!(&error, OriginError::MissingObject { oid: Some(missing), .. } if *missing == oid('7')),
        "{error:?}"
    );
}

#[tokio::test]
async fn an_id_of_another_format_is_not_there() {
    for (specimen, digits) in [(specimens::plain(), 64), (specimens::sha256(), 40)] {
        let server = serve(&specimen.repo);
        let origin = origin(&server.url(&specimen.repo.served())).await;
        let other = id(&"7".repeat(digits));
        let fetch = fetch_of(Filter::NoBlobs, &[other]);
        let error = objects(&origin, &fetch).await.expect_err("not there");
        assert!(
            matches!(&error, OriginError::MissingObject { oid, .. } if *oid == Some(other)),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn sizes_from_a_server_that_tells_them() {
    let Specimen { repo, commit, .. } = specimens::plain();
    let server = GitServer::builder(repo.root()).object_info().start();
    let server = server.expect("a server");
    let origin = origin(&server.url(&repo.served())).await;
    let asked = [id(&repo.oid("main:bin.dat")), oid('7'), id(&commit)];
    let sizes = origin.sizes(&asked).await.expect("an answer");
    let sizes = sizes.expect("the server tells sizes");
    assert_eq!(sizes[..2], [Some(100_000), None]);
    let commit_size = repo.git_with(&["cat-file", "-s", &commit], b"");
    assert_eq!(sizes[2], Some(commit_size.parse().expect("a number")));
}

#[tokio::test]
async fn servers_that_do_not_speak_version_2() {
    let Specimen { repo, .. } = specimens::plain();
    repo.git(&["update-server-info"]);
    let builder = || GitServer::builder(repo.root());
    for (builder, expected) in [
        (builder().version_0(), "OldProtocol { "),
        (builder().version_1(), "OldProtocol { "),
        (builder().dumb(), "DumbHttp { "),
        (builder().web_page(), "NotGit { "),
    ] {
        let server = builder.start().expect("a server");
        let origin = origin(&server.url(&repo.served())).await;
        let resolved = origin.resolve(&RefWant::Head).await;
        let said = format!("{:?}", resolved.expect_err("no version 2"));
        assert!(said.starts_with(expected), "{said}");
        // A commit's id needs no ref, and leads to the same.
        let fetch = fetch_of(Filter::NoBlobs, &[oid('1')]);
        let said = format!(
            "{:?}",
            objects(&origin, &fetch).await.expect_err("nor here")
        );
        assert!(said.starts_with(expected), "{said}");
    }
}

#[tokio::test]
async fn logins() {
    let Specimen { repo, commit, .. } = specimens::plain();
    let server = GitServer::builder(repo.root())
        .login("me", "hunter2")
        .start();
    let server = server.expect("a server");
    let served = repo.served();
    let open = origin(&server.url_with_login(&served, "me", "hunter2")).await;
    let resolved = open.resolve(&RefWant::Head).await.expect("let in");
    assert_eq!(resolved.target.to_string(), commit);
    for url in [
        server.url(&served),
        server.url_with_login(&served, "me", "wrong"),
    ] {
        let closed = origin(&url).await.resolve(&RefWant::Head).await;
        let error = closed.expect_err("not let in");
        assert!(
            matches!(error, OriginError::Unauthorized { .. }),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn a_redirect_to_another_server() {
    let Specimen { repo, commit, .. } = specimens::plain();
    let target = serve(&repo);
    let here = GitServer::builder(repo.root())
        .redirect("/old.git", &target.url(&repo.served()))
        .start()
        .expect("a server");
    let origin = origin(&here.url("old.git")).await;
    let resolved = origin.resolve(&RefWant::Head).await.expect("found");
    let fetch = fetch_of(Filter::NoBlobs, &[resolved.target]);
    let got = objects(&origin, &fetch).await.expect("a pack");
    assert_eq!(got, commit_and_trees(&repo, &commit));
    assert!(target.log_of("fetch").len() == 1 && here.log_of("fetch").is_empty());
}

#[tokio::test]
async fn faults_that_pass_are_tried_again_until_they_have() {
    let Specimen { repo, .. } = specimens::plain();
    let server = serve(&repo);
    let origin = origin(&server.url(&repo.served())).await;
    let slow_down = Fault::Status {
        code: 429,
        retry_after: Some(0),
    };
    let faults = [
        Fault::status(503),
        slow_down,
        Fault::Close,
        Fault::Cut { after: 20 },
    ];
    for fault in faults {
        server.fault(When::command("ls-refs"), 1, fault);
    }
    let seams = seams();
    let policy = RetryPolicy {
        first_pause: std::time::Duration::ZERO,
        ..RetryPolicy::default()
    };
    let resolved = with_retries(&*seams.runtime, policy, |_| origin.resolve(&RefWant::Head));
    let resolved = resolved.await.expect("the fifth attempt works");
    assert_eq!(resolved.name.as_deref(), Some("refs/heads/main"));
    assert_eq!(server.faults_left(), 0);
}

#[tokio::test]
async fn a_pack_that_is_cut_is_an_error_that_may_pass() {
    let Specimen { repo, commit, .. } = specimens::plain();
    let server = serve(&repo);
    let origin = origin(&server.url(&repo.served())).await;
    for after in [0, 1, 30, 300] {
        server.fault(When::command("fetch"), 1, Fault::Cut { after });
        let fetch = fetch_of(Filter::NoBlobs, &[id(&commit)]);
        let error = objects(&origin, &fetch).await.expect_err("cut");
        assert_eq!(error.retry(), crate::origin::Retry::Soon, "{error:?}");
        server.heal();
        objects(&origin, &fetch).await.expect("whole");
    }
}

#[tokio::test]
async fn an_answer_in_single_bytes() {
    let Specimen { repo, commit, .. } = specimens::plain();
    let server = serve(&repo);
    server.fault_for_ever(When::Any, Fault::Dribble);
    let origin = origin(&server.url(&repo.served())).await;
    let resolved = origin.resolve(&RefWant::Head).await.expect("found");
    assert_eq!(resolved.hash, HashKind::Sha1);
    let fetch = fetch_of(Filter::NoBlobs, &[resolved.target]);
    let got = objects(&origin, &fetch).await.expect("a pack");
    assert_eq!(got, commit_and_trees(&repo, &commit));
}

//! From names to commits.

use super::*;

#[tokio::test]
async fn names_are_full_and_tags_are_peeled() {
    let Specimen { repo, commit, .. } = specimens::nested_tag();
    let origin = open(&repo).await;
    let resolved = origin.resolve(&RefWant::Head).await.expect("found");
    assert_eq!(resolved.name.as_deref(), Some("refs/heads/main"));
    assert_eq!(resolved.peeled, None);
    for name in ["again", "tags/again", "refs/tags/again"] {
        let resolved = origin.resolve(&named(name)).await.expect("found");
        assert_eq!(resolved.name.as_deref(), Some("refs/tags/again"));
        assert_eq!(resolved.target, id(&repo.oid("refs/tags/again")));
        assert_eq!(resolved.peeled, Some(id(&commit)));
    }
    let tag = repo.oid("refs/tags/again");
    for name in [tag.as_str(), &tag[..9]] {
        let resolved = origin.resolve(&named(name)).await.expect("found");
        assert_eq!((resolved.name, resolved.peeled), (None, Some(id(&commit))));
    }
    let (result, sink) = fetch(&origin, Filter::NoBlobs, &[id(&tag)]).await;
    result.expect("all are there");
    // The tag, its target, the commit, the root tree.
    assert_eq!(sink.whole.len(), 4);
}

#[tokio::test]
async fn what_is_not_there_is_an_unknown_name() {
    let Specimen { repo, .. } = specimens::plain();
    let origin = open(&repo).await;
    let blob = repo.oid("main:README.md");
    let none = "7".repeat(40);
    for name in [
        "nowhere",
        "a b",
        "../HEAD",
        "",
        none.as_str(),
        "7777",
        &blob[..10],
    ] {
        let error = origin.resolve(&named(name)).await.expect_err("no such ref");
        let shown = name.to_owned();
        assert!(
            matches!(&error, OriginError::UnknownRef { name, .. } if *name == shown),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn a_short_id_that_means_two_commits_is_refused() {
    let Specimen { repo, .. } = specimens::plain();
    let tree = repo.oid("main^{tree}");
    // Two commits whose ids begin with the same four digits, as their text tells.
    let text = |time: i64| {
        let who = format!("Test <test@example.org> {time} +0000");
        format!("tree {tree}\nauthor {who}\ncommitter {who}\n\nTest\n")
    };
    let mut seen = BTreeMap::new();
    let (first, second) = (1_600_000_000..)
        .find_map(|time| {
            let data = text(time);
            let oid = object_id(HashKind::Sha1, ObjectKind::Commit, data.as_bytes());
            let digits = oid.expect("no attack").to_string()[..4].to_owned();
            seen.insert(digits, time).map(|other| (other, time))
        })
        .expect("there are only 65,536 beginnings");
    let ids = [first, second].map(|time| repo.commit_at(&tree, time));
    assert_eq!(ids[0][..4], ids[1][..4]);
    let origin = open(&repo).await;
    let error = origin.resolve(&named(&ids[0][..4])).await;
    let error = error.expect_err("it could be either").to_string();
    assert!(error.contains("several"), "{error}");
    let whole = origin.resolve(&named(&ids[0])).await.expect("it is one");
    assert_eq!(whole.target, id(&ids[0]));
}

#[tokio::test]
async fn an_empty_repository_is_empty_and_a_head_that_leads_nowhere_is_not() {
    let repo = specimens::empty_repository();
    let error = open(&repo).await.resolve(&RefWant::Head).await;
    let error = error.expect_err("no commit");
    assert!(matches!(error, OriginError::Empty { .. }), "{error:?}");

    let Specimen { repo, .. } = specimens::plain();
    repo.git(&["symbolic-ref", "HEAD", "refs/heads/other"]);
    let error = open(&repo).await.resolve(&RefWant::Head).await;
    let error = error.expect_err("no such branch");
    assert!(
        matches!(&error, OriginError::UnknownRef { name, .. } if name == "HEAD"),
        "{error:?}"
    );
}

#[tokio::test]
async fn refs_in_a_reftable_are_read_by_git() {
    let Specimen { repo, commit, .. } = specimens::annotated_tag();
    let clone = [
        "clone",
        "--quiet",
        "--bare",
        "--ref-format=reftable",
        "repo.git",
    ];
    let repo = repo.beside("reftable.git", &clone);
    let origin = open(&repo).await;
    let head = origin.resolve(&RefWant::Head).await.expect("found");
    assert_eq!(head.name.as_deref(), Some("refs/heads/main"));
    assert_eq!(head.target, id(&repo.oid("main")));
    let tag = origin.resolve(&named("v1.0")).await.expect("found");
    assert_eq!(tag.name.as_deref(), Some("refs/tags/v1.0"));
    assert_eq!(tag.peeled, Some(id(&commit)));
    let error = origin.resolve(&named("v1")).await.expect_err("not whole");
    assert!(matches!(error, OriginError::UnknownRef { .. }), "{error:?}");

    let init = ["init", "--quiet", "--bare", "--ref-format=reftable"];
    let empty = open(&repo.beside("empty.git", &init)).await;
    let error = empty.resolve(&RefWant::Head).await.expect_err("no commit");
    assert!(matches!(error, OriginError::Empty { .. }), "{error:?}");

    let without_git = LocalOrigin {
        git: GitProgram::custom("/nonexistent/git", Vec::new()),
        ..origin
    };
    let error = without_git
        .resolve(&RefWant::Head)
        .await
        .expect_err("unread");
    assert!(error.to_string().contains("reftable"), "{error}");
    without_git
        .resolve(&named(&commit))
        .await
        .expect("an id needs no ref");
}

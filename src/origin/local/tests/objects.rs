//! Objects small and large.

use super::*;

#[tokio::test]
async fn objects_come_one_by_one_or_in_any_number() {
    let Specimen { repo, .. } = specimens::deltas();
    let listing = repo.git(&["ls-tree", "-r", "--format=%(objectname)", "main"]);
    let listing = String::from_utf8(listing).expect("hex");
    let blobs: Vec<Oid> = listing.lines().map(id).collect();
    let origin = open(&repo).await;
    let (result, sink) = fetch(&origin, Filter::OnlyWanted, &blobs).await;
    result.expect("all are there");
    let distinct: std::collections::BTreeSet<_> = blobs.iter().copied().collect();
    assert!(sink.whole.keys().eq(distinct.iter()));

    let sizes = origin.sizes(&blobs).await.expect("all are there");
    let sizes = sizes.expect("a local origin tells sizes");
    for (oid, size) in blobs.iter().zip(sizes) {
        let (kind, data) = &sink.whole[oid];
        assert_eq!(size, Some(data.len() as u64));
        let tried = origin.try_object(oid).expect("small").expect("there");
        assert_eq!(tried, (*kind, data.clone()));
        let (_, tried) = origin.try_header(oid).expect("local").expect("there");
        assert_eq!(tried, data.len() as u64);
    }
    let counters = origin.counters();
    assert_eq!(counters.requests, 2 * blobs.len() as u64);
    assert!(counters.bytes > 0);
}

#[tokio::test]
async fn only_a_commit_that_is_to_be_followed_brings_its_tree() {
    let Specimen { repo, commit, .. } = specimens::plain();
    let origin = open(&repo).await;
    let tree = id(&repo.oid("main:src"));
    for (filter, wants, count) in [
        (Filter::OnlyWanted, vec![id(&commit)], 1),
        (Filter::None, vec![id(&commit)], 2),
        (Filter::NoBlobs, vec![tree], 1),
        (Filter::NoBlobs, vec![], 0),
    ] {
        let (result, sink) = fetch(&origin, filter, &wants).await;
        result.expect("all are there");
        assert_eq!(sink.whole.len(), count);
    }
}

#[tokio::test]
async fn what_is_missing_is_named_after_what_is_there() {
    let Specimen { repo, commit, .. } = specimens::plain();
    let origin = open(&repo).await;
    let missing = id(&"7".repeat(40));
    let wants = [id(&commit), missing, id(&repo.oid("main:src"))];
    let (result, sink) = fetch(&origin, Filter::OnlyWanted, &wants).await;
    let error = result.expect_err("one is missing");
    assert!(
        matches!(&error, OriginError::MissingObject { oid, .. } if *oid == Some(missing)),
        "{error:?}"
    );
    assert_eq!(sink.whole.len(), 1);
    let sizes = origin.sizes(&wants[..2]).await.expect("an answer");
    assert!(
        matches!(sizes.as_deref(), Some([Some(_), None])),
        "{sizes:?}"
    );
    assert!(origin.try_object(&missing).expect("local").is_err());
    assert!(origin.try_header(&missing).expect("local").is_err());
}

#[tokio::test]
async fn a_partial_clone_does_not_have_all_and_fetches_nothing() {
    let Specimen { repo, commit, .. } = specimens::plain();
    repo.git(&["config", "uploadpack.allowFilter", "true"]);
    let url = format!("file://{}", repo.path().display());
    let clone = ["clone", "--quiet", "--bare", "--filter=blob:none", &url];
    let partial = repo.beside("partial.git", &clone);
    let origin = open(&partial).await;
    let (result, _) = fetch(&origin, Filter::NoBlobs, &[id(&commit)]).await;
    result.expect("commits and trees are there");
    let readme = id(&repo.oid("main:README.md"));
    for _ in 0..2 {
        let (result, _) = fetch(&origin, Filter::OnlyWanted, &[readme]).await;
        let error = result.expect_err("no blob is");
        assert!(
            matches!(error, OriginError::MissingObject { .. }),
            "{error:?}"
        );
    }
}

/// A blob over the limit comes in pieces however git stores it, but for deltas, which come whole.
#[tokio::test]
async fn large_blobs_come_in_pieces() {
    let size = LARGE + 12_345;
    let Specimen { repo, .. } = specimens::large_blob(size);
    let large = id(&repo.oid("main:large"));
    let content = specimens::pattern(0, size);
    let wants = [id(&repo.oid("main:small")), large, id(&repo.oid("main"))];
    let check = async |repo: &Repo| {
        let origin = open(repo).await;
        let (result, sink) = fetch(&origin, Filter::OnlyWanted, &wants).await;
        result.expect("all are there");
        assert_eq!(sink.whole.len(), 2);
        assert_eq!(sink.coming, Some((large, size)));
        assert!(sink.large[&large] == content);
        assert!(sink.longest_piece <= 1 << 20);
        assert!(
            origin.try_object(&large).is_none(),
            "too large for a quick look"
        );
        let tried = origin
            .try_header(&large)
            .expect("local")
            .map(|(_, size)| size);
        assert_eq!(tried.expect("there"), size);
        assert!(origin.counters().bytes >= size);
    };
    check(&repo).await;
    repo.pack();
    assert!(
        fs::read_dir(repo.path().join("objects/pack"))
            .expect("packs")
            .count()
            > 0
    );
    check(&repo).await;
    let borrow = ["clone", "--quiet", "--bare", "--shared", "repo.git"];
    check(&repo.beside("borrower.git", &borrow)).await;
}

#[tokio::test]
async fn a_large_blob_that_is_a_delta_comes_whole() {
    let size = LARGE + 1;
    let Specimen { repo, .. } = specimens::large_blob(size);
    let mut changed = specimens::pattern(0, size);
    changed.extend_from_slice(b"and one line more\n");
    let blobs = [repo.oid("main:large"), repo.blob(&changed)];
    let tree = repo.tree(&[("100644", &blobs[0], b"a"), ("100644", &blobs[1], b"b")]);
    repo.point_main(&repo.commit_of(&tree));
    repo.pack();
    let origin = open(&repo).await;
    let (result, sink) = fetch(&origin, Filter::OnlyWanted, &blobs.map(|hex| id(&hex))).await;
    result.expect("both are there");
    assert_eq!((sink.whole.len(), sink.large.len()), (1, 1));
    for data in sink.large.values() {
        assert!(*data == changed || *data == changed[..data.len()]);
    }
}

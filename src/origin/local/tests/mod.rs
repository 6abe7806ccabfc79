//! The local origin on repositories of every kind that git makes.

mod names;
mod objects;

use std::{collections::BTreeMap, fs};

use bonsai_testkit::repo::{Files, Repo, Specimen, specimens};

use super::*;
use crate::{
    git::oid::{HashKind, object_id},
    origin::testing::seams,
};

async fn open(repo: &Repo) -> LocalOrigin {
    let opened = LocalOrigin::open(&repo.path(), &seams()).await;
    opened.expect("a repository")
}

fn id(hex: &str) -> Oid {
    Oid::from_hex(hex.as_bytes()).expect("hex")
}

fn named(name: &str) -> RefWant {
    RefWant::Named(name.to_owned())
}

/// Takes what comes, and checks each object against its id.
#[derive(Default)]
struct Sink {
    whole: BTreeMap<Oid, (ObjectKind, Bytes)>,
    large: BTreeMap<Oid, Vec<u8>>,
    /// The large one that is coming, and its size.
    coming: Option<(Oid, u64)>,
    longest_piece: usize,
}

impl FetchSink for Sink {
    fn pack_data(&mut self, _: Bytes) -> Result<(), OriginError> {
        panic!("a local origin sends no packs")
    }

    fn object(&mut self, oid: Oid, kind: ObjectKind, data: Bytes) -> Result<(), OriginError> {
        assert_eq!(object_id(oid.kind(), kind, &data), Some(oid));
        self.whole.insert(oid, (kind, data));
        Ok(())
    }

    fn large_start(&mut self, oid: Oid, size: u64) -> Result<(), OriginError> {
        self.coming = Some((oid, size));
        self.large.insert(oid, Vec::new());
        Ok(())
    }

    fn large_data(&mut self, data: Bytes) -> Result<(), OriginError> {
        assert!(!data.is_empty());
        self.longest_piece = self.longest_piece.max(data.len());
        let (oid, _) = self.coming.expect("it was announced");
        let so_far = self.large.get_mut(&oid).expect("it was announced");
        so_far.extend_from_slice(&data);
        Ok(())
    }

    fn progress(&mut self, _: &str) {}
}

async fn fetch(
    origin: &LocalOrigin,
    filter: Filter,
    wants: &[Oid],
) -> (Result<(), OriginError>, Sink) {
    let mut sink = Sink::default();
    let fetch = Fetch {
        have: None,
        wants: wants.to_vec(),
        filter,
    };
    let result = origin.fetch(&fetch, &mut sink).await;
    (result, sink)
}

#[tokio::test]
async fn repositories_of_every_kind_resolve_and_give_commit_and_root_tree() {
    for specimen in [
        specimens::plain(),
        specimens::sha256(),
        specimens::deltas(),
        specimens::ref_deltas(),
        specimens::loose(),
        specimens::many_packs(),
        specimens::annotated_tag(),
        specimens::nested_tag(),
        specimens::branch(),
        specimens::unreferenced_commit(),
        specimens::detached_head(),
        specimens::alternates(),
        specimens::work_tree(),
        specimens::second_work_tree(),
        specimens::shallow(),
        specimens::empty_tree(),
    ] {
        let Specimen { repo, want, commit } = specimen;
        let origin = open(&repo).await;
        assert!(origin.is_local());
        let asked = want.as_deref().map_or(RefWant::Head, named);
        let resolved = origin.resolve(&asked).await;
        let resolved = resolved.unwrap_or_else(|error| panic!("{want:?}: {error}"));
        let tip = resolved.peeled.unwrap_or(resolved.target);
        assert_eq!(tip, id(&commit), "{want:?}");
        assert_eq!(resolved.hash, tip.kind());
        let (result, sink) = fetch(&origin, Filter::NoBlobs, &[tip]).await;
        result.expect("both are there");
        let root = id(&repo.oid(&format!("{commit}^{{tree}}")));
        let kinds: Vec<_> = sink
            .whole
            .iter()
            .map(|(oid, (kind, _))| (*oid, *kind))
            .collect();
        let mut expected = vec![(tip, ObjectKind::Commit), (root, ObjectKind::Tree)];
        expected.sort_unstable_by_key(|(oid, _)| *oid);
        assert_eq!(kinds, expected);
    }
}

#[tokio::test]
async fn an_open_origin_sees_what_git_adds_and_repacks() {
    let Specimen { repo, .. } = specimens::loose();
    let origin = open(&repo).await;
    let before = origin.resolve(&RefWant::Head).await.expect("found");
    let commit = repo.commit(&Files::new().file("new", "new"));
    repo.pack();
    let after = origin.resolve(&RefWant::Head).await.expect("found");
    assert_eq!(after.target, id(&commit));
    assert_ne!(after.target, before.target);
    let (result, _) = fetch(&origin, Filter::NoBlobs, &[after.target]).await;
    result.expect("it is there");
}

#[tokio::test]
async fn paths_that_lead_to_no_repository() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let open = async |path: &Path| LocalOrigin::open(path, &seams()).await.err();
    let error = open(dir.path()).await;
    assert!(
        matches!(error, Some(OriginError::NotARepository { .. })),
        "{error:?}"
    );
    let error = open(&dir.path().join("missing")).await;
    assert!(
        matches!(error, Some(OriginError::NoSuchPath { .. })),
        "{error:?}"
    );
}

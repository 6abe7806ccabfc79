use bytes::Bytes;
use tokio::{sync::Semaphore, task::JoinHandle};

use super::*;
use crate::{
    git::oid::ObjectKind,
    objects::{
        ObjectError,
        testing::{FakeOrigin, Fault, blob, id, reach_origin, store, tier},
        tuning::PREFETCHED,
    },
    seams::http::HttpError,
};

fn reader(store: &ObjectStore, oid: Oid) -> JoinHandle<Result<Bytes, ObjectError>> {
    let store = store.clone();
    tokio::spawn(async move { blob(&store, &oid).await })
}

fn prefetch(store: &ObjectStore, oids: &[Oid]) -> JoinHandle<Prefetched> {
    let (store, oids) = (store.clone(), oids.to_vec());
    tokio::spawn(async move { store.prefetch(oids).await })
}

/// Waits until no request is out: an object is there before the one that brought it has ended.
async fn idle(store: &ObjectStore) {
    while store.0.hydrator.off.requests() > 0 {
        tokio::task::yield_now().await;
    }
}

/// Lets every task run that can; what other threads do meanwhile takes as long as it takes.
async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

fn put(origin: &FakeOrigin, count: usize) -> Vec<Oid> {
    let blob = |n| origin.put(ObjectKind::Blob, format!("blob {n}").into_bytes());
    (0..count).map(blob).collect()
}

/// Each request waits for a permit from now on.
fn close(origin: &FakeOrigin) {
    origin.gate.forget_permits(Semaphore::MAX_PERMITS);
}

#[tokio::test]
async fn what_was_prefetched_costs_its_reader_no_request() {
    let origin = FakeOrigin::new();
    let oids = put(&origin, 20);
    let store = store(&origin, None);
    let result = store.prefetch(oids.clone()).await;
    assert_eq!(result.asked, oids);
    let sizes: Vec<u64> = result.came.iter().map(|(_, size)| *size).collect();
    assert_eq!((sizes.len(), sizes[0], sizes[19]), (20, 6, 7));
    assert!(result.unfinished.is_none());
    for oid in &oids {
        blob(&store, oid).await.expect("it is here");
    }
    assert_eq!(origin.requests().len(), 1);
    assert_eq!(origin.requests()[0].filter, Filter::OnlyWanted);
}

#[tokio::test]
async fn what_is_known_to_be_large_is_not_asked_for() {
    let origin = FakeOrigin::new();
    let oids = put(&origin, 3);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = store(&origin, Some(tier(folder.path())));
    store.learn_size(&oids[0], PREFETCHED + 1);
    store.learn_size(&oids[1], PREFETCHED);
    assert_eq!(store.prefetch(oids.clone()).await.asked, oids[1..]);
    assert!(store.prefetch(oids[..1].to_vec()).await.asked.is_empty());
    assert_eq!(origin.requests().len(), 1);
}

#[tokio::test]
async fn what_is_here_or_on_its_way_is_not_asked_for() {
    let origin = FakeOrigin::new();
    let oids = put(&origin, 4);
    let folder = tempfile::tempdir().expect("a temporary folder");
    // A memory of nothing: the first is on disk only.
    let disk = tier(folder.path());
    let store = ObjectStore::new(
        crate::objects::testing::runtime(),
        origin.clone(),
        Some(disk),
        crate::git::oid::HashKind::Sha1,
        0,
    );
    blob(&store, &oids[0]).await.expect("it is there");
    idle(&store).await;
    store.flush().await;
    close(&origin);
    let wanted = reader(&store, oids[1]);
    reach_origin(&origin, 2).await;
    let first = prefetch(&store, &oids[2..3]);
    reach_origin(&origin, 3).await;
    let second = prefetch(&store, &oids);
    reach_origin(&origin, 4).await;
    assert_eq!(origin.requests()[3].wants, [oids[3]]);
    origin.gate.add_permits(3);
    wanted.await.expect("no panic").expect("it is there");
    first.await.expect("no panic");
    assert_eq!(second.await.expect("no panic").asked, [oids[3]]);
    assert!(oids.iter().all(|oid| origin.asked(oid) == 1));
}

#[tokio::test]
async fn who_wants_what_is_on_its_way_gets_it_from_there() {
    let origin = FakeOrigin::new();
    let oids = put(&origin, 10);
    let store = store(&origin, None);
    close(&origin);
    let ahead = prefetch(&store, &oids);
    reach_origin(&origin, 1).await;
    let readers: Vec<_> = oids.iter().map(|oid| reader(&store, *oid)).collect();
    while store.wanted() < oids.len() {
        tokio::task::yield_now().await;
    }
    origin.gate.add_permits(1);
    for reader in readers {
        reader.await.expect("no panic").expect("it came");
    }
    ahead.await.expect("no panic");
    assert_eq!(origin.requests().len(), 1, "each is asked for once");
}

#[tokio::test]
async fn who_wants_what_a_prefetch_fails_to_bring_asks_himself() {
    let origin = FakeOrigin::new();
    let oids = put(&origin, 10);
    let store = store(&origin, None);
    close(&origin);
    origin.fail_next(Fault::Cut(100));
    let ahead = prefetch(&store, &oids);
    reach_origin(&origin, 1).await;
    let readers: Vec<_> = oids.iter().map(|oid| reader(&store, *oid)).collect();
    while store.wanted() < oids.len() {
        tokio::task::yield_now().await;
    }
    origin.gate.add_permits(100);
    let result = ahead.await.expect("no panic");
    assert!(!result.came.is_empty() && result.came.len() < oids.len());
    assert!(matches!(
        result.unfinished,
        Some(Unfinished::Failed(OriginError::Http(
            HttpError::Broken { .. }
        )))
    ));
    for reader in readers {
        reader.await.expect("no panic").expect("it came");
    }
    for (oid, _) in &result.came {
        assert_eq!(origin.asked(oid), 1, "what came is not asked for again");
    }
}

#[tokio::test]
async fn who_wants_what_a_prefetch_was_bringing_that_is_dropped_asks_himself() {
    let origin = FakeOrigin::new();
    let oids = put(&origin, 3);
    let store = store(&origin, None);
    close(&origin);
    let ahead = prefetch(&store, &oids);
    reach_origin(&origin, 1).await;
    let wanted = reader(&store, oids[1]);
    while store.wanted() < 1 {
        tokio::task::yield_now().await;
    }
    ahead.abort();
    origin.gate.add_permits(1);
    wanted.await.expect("no panic").expect("it came");
    assert_eq!(origin.requests()[1].wants, [oids[1]]);
}

#[tokio::test]
async fn what_is_wanted_never_waits_for_prefetches() {
    let origin = FakeOrigin::new();
    let oids = put(&origin, 10);
    let store = store(&origin, None);
    close(&origin);
    let ahead: Vec<_> = (0..5).map(|n| prefetch(&store, &oids[n..=n])).collect();
    reach_origin(&origin, PREFETCHES).await;
    settle().await;
    assert_eq!(origin.requests().len(), PREFETCHES, "no more at once");
    let wanted = reader(&store, oids[9]);
    reach_origin(&origin, MAX_REQUESTS).await;
    assert_eq!(origin.requests()[MAX_REQUESTS - 1].wants, [oids[9]]);
    // And no more than the bound are out, whatever is wanted.
    let next = reader(&store, oids[8]);
    while store.wanted() < 2 {
        tokio::task::yield_now().await;
    }
    settle().await;
    assert_eq!(origin.requests().len(), MAX_REQUESTS);
    // Those who wait go before the prefetches that wait.
    origin.gate.add_permits(1);
    reach_origin(&origin, MAX_REQUESTS + 1).await;
    assert_eq!(origin.requests()[MAX_REQUESTS].wants, [oids[8]]);
    origin.gate.add_permits(100);
    wanted.await.expect("no panic").expect("it came");
    next.await.expect("no panic").expect("it came");
    for ahead in ahead {
        assert_eq!(ahead.await.expect("no panic").came.len(), 1);
    }
    idle(&store).await;
}

#[tokio::test]
async fn a_large_object_ends_a_prefetch_and_can_be_read_all_the_same() {
    let origin = FakeOrigin::new();
    let mut oids = put(&origin, 3);
    let large = vec![7; PREFETCHED as usize + 1];
    oids.insert(1, origin.put(ObjectKind::Blob, large.clone()));
    let exact = origin.put(ObjectKind::Blob, vec![8; PREFETCHED as usize]);
    let store = store(&origin, None);
    let result = store.prefetch(vec![exact]).await;
    assert_eq!(result.came, [(exact, PREFETCHED)]);
    let result = store.prefetch(oids.clone()).await;
    assert!(matches!(result.unfinished, Some(Unfinished::TooLarge)));
    assert_eq!(result.came.len(), 1, "what came before it is kept");
    assert_eq!(blob(&store, &oids[1]).await.expect("it is there"), large);
    assert_eq!(origin.asked(&oids[1]), 2);
}

#[tokio::test]
async fn an_object_that_is_not_there_fails_only_the_prefetch() {
    let origin = FakeOrigin::new();
    let mut oids = put(&origin, 3);
    oids.push(id(ObjectKind::Blob, b"nowhere"));
    let store = store(&origin, None);
    let result = store.prefetch(oids.clone()).await;
    assert!(matches!(
        result.unfinished,
        Some(Unfinished::Failed(OriginError::MissingObject { .. }))
    ));
    blob(&store, &oids[0]).await.expect("it is there");
    assert_eq!(store.status().last_error, None, "nobody's read failed");
}

//! The store over a scripted origin: one flight, few requests, failures alone, tries, tiers.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::{
    ObjectError, ObjectStore,
    hydrator::MAX_REQUESTS,
    testing::{
        FakeOrigin, Fault, blob, id, pack, reach_origin, runtime, small_commit, store, tier,
    },
};
use crate::{
    git::oid::{HashKind, ObjectKind, Oid},
    origin::{Filter, OriginError},
};

fn text(number: usize) -> Vec<u8> {
    format!("content {number}\n")
        .repeat(number % 7 + 1)
        .into_bytes()
}

#[tokio::test]
async fn many_readers_of_one_object_cause_one_request() {
    let origin = FakeOrigin::new();
    let oid = origin.put(ObjectKind::Blob, "shared");
    let store = store(&origin, None);
    let readers: Vec<_> = (0..50)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { blob(&store, &oid).await })
        })
        .collect();
    for reader in readers {
        assert_eq!(
            reader.await.expect("no panic").expect("it is there"),
            "shared"
        );
    }
    assert_eq!(origin.requests().len(), 1);
    assert_eq!(origin.requests()[0].filter, Filter::OnlyWanted);
}

#[tokio::test]
async fn what_is_wanted_while_requests_are_out_goes_with_the_next() {
    let origin = FakeOrigin::new();
    let oids: Vec<Oid> = (0..100)
        .map(|n| origin.put(ObjectKind::Blob, text(n)))
        .collect();
    origin
        .gate
        .forget_permits(tokio::sync::Semaphore::MAX_PERMITS);
    let store = store(&origin, None);
    let readers: Vec<_> = oids
        .iter()
        .map(|oid| {
            let (store, oid) = (store.clone(), *oid);
            tokio::spawn(async move { blob(&store, &oid).await })
        })
        .collect();
    while store.wanted() < oids.len() {
        tokio::task::yield_now().await;
    }
    origin.gate.add_permits(oids.len());
    for (number, reader) in readers.into_iter().enumerate() {
        assert_eq!(
            reader.await.expect("no panic").expect("it is there"),
            text(number)
        );
    }
    assert!(
        origin.requests().len() <= 5,
        "4 at once, then one: {}",
        origin.requests().len()
    );
    assert!(
        oids.iter().all(|oid| origin.asked(oid) == 1),
        "each object is asked for once"
    );
}

#[tokio::test(start_paused = true)]
async fn an_unknown_object_fails_alone_and_is_not_remembered_as_missing() {
    one_of_a_batch_is_unknown(FakeOrigin::new()).await;
}

#[tokio::test(start_paused = true)]
async fn an_object_that_the_origin_names_as_unknown_fails_alone() {
    one_of_a_batch_is_unknown(FakeOrigin::naming_what_is_missing()).await;
}

async fn one_of_a_batch_is_unknown(origin: Arc<FakeOrigin>) {
    let known: Vec<Oid> = (0..20)
        .map(|n| origin.put(ObjectKind::Blob, text(n)))
        .collect();
    let unknown = id(ObjectKind::Blob, b"comes later");
    origin
        .gate
        .forget_permits(tokio::sync::Semaphore::MAX_PERMITS);
    let store = store(&origin, None);
    let mut all = known.clone();
    all.insert(10, unknown);
    let readers: Vec<_> = all
        .iter()
        .map(|oid| {
            let (store, oid) = (store.clone(), *oid);
            tokio::spawn(async move { (oid, blob(&store, &oid).await) })
        })
        .collect();
    while store.wanted() < all.len() {
        tokio::task::yield_now().await;
    }
    origin.gate.add_permits(1000);
    for reader in readers {
        let ended = tokio::time::timeout(Duration::from_secs(3600), reader).await;
        let (oid, result) = ended.expect("it ends").expect("no panic");
        assert_eq!(result.is_err(), oid == unknown, "{oid}: {result:?}");
    }
    origin.put(ObjectKind::Blob, "comes later");
    assert_eq!(
        blob(&store, &unknown).await.expect("asked for again"),
        "comes later"
    );
}

#[tokio::test]
async fn a_failure_is_told_to_all_and_asked_again_only_by_later_readers() {
    let origin = FakeOrigin::new();
    let oid = origin.put(ObjectKind::Blob, "secret");
    origin.fail_next(Fault::Error(OriginError::Forbidden {
        url: "fake".to_owned(),
    }));
    let store = store(&origin, None);
    let (first, second) = tokio::join!(blob(&store, &oid), blob(&store, &oid));
    for result in [first, second] {
        let error = result.expect_err("the origin refused");
        assert!(error.to_string().contains("403"), "{error}");
    }
    assert_eq!(origin.requests().len(), 1);
    assert_eq!(blob(&store, &oid).await.expect("allowed now"), "secret");
}

#[tokio::test(start_paused = true)]
async fn a_torn_or_damaged_pack_is_fetched_again_for_what_is_missing() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for fault in [
        Fault::Cut(30),
        Fault::Cut(0),
        Fault::Flip(20),
        Fault::Flip(3),
    ] {
        let origin = FakeOrigin::new();
        let oid = origin.put(ObjectKind::Blob, "a blob that takes a few bytes in a pack");
        origin.fail_next(fault.clone());
        let store = store(&origin, Some(tier(&dir.path().join(format!("{fault:?}")))));
        let data = blob(&store, &oid)
            .await
            .unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        assert_eq!(data, "a blob that takes a few bytes in a pack");
        assert_eq!(origin.requests().len(), 2, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_came_of_a_torn_pack_is_not_asked_for_again() {
    let origin = FakeOrigin::new();
    let oids: Vec<Oid> = (0..24)
        .map(|n| origin.put(ObjectKind::Blob, text(n)))
        .collect();
    origin
        .gate
        .forget_permits(tokio::sync::Semaphore::MAX_PERMITS);
    let store = store(&origin, None);
    let mut readers = Vec::new();
    for oid in &oids {
        let (store, oid) = (store.clone(), *oid);
        readers.push(tokio::spawn(async move { blob(&store, &oid).await }));
        // Each before the next: two that are wanted at the same moment may leave in one request.
        reach_origin(&origin, readers.len().min(MAX_REQUESTS)).await;
    }
    while store.wanted() < oids.len() {
        tokio::task::yield_now().await;
    }
    // The four that are out have theirs; the next one is for the twenty that queue.
    let queued: Vec<_> = oids.iter().filter(|oid| origin.asked(oid) == 0).collect();
    let all: Vec<_> = queued
        .iter()
        .map(|oid| {
            oids.iter()
                .position(|other| other == *oid)
                .expect("one of them")
        })
        .map(|number| (ObjectKind::Blob, Bytes::from(text(number))))
        .collect();
    origin.fail_next(Fault::Cut(pack(&all).len() / 2));
    origin.gate.add_permits(1000);
    for reader in readers {
        reader.await.expect("no panic").expect("it is there");
    }
    let asked = |times| {
        queued
            .iter()
            .filter(|oid| origin.asked(oid) == times)
            .count()
    };
    assert_eq!(origin.requests().len(), 6);
    assert_eq!(asked(1) + asked(2), 20);
    assert!(asked(1) > 5 && asked(2) > 5, "{} {}", asked(1), asked(2));
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_stays_down_is_an_error_in_bounded_time() {
    let origin = FakeOrigin::new();
    let oid = origin.put(ObjectKind::Blob, "x");
    for _ in 0..100 {
        let error = OriginError::Server {
            url: "fake".to_owned(),
            status: 503,
            retry_after: None,
        };
        origin.fail_next(Fault::Error(error));
    }
    let store = store(&origin, None);
    let start = tokio::time::Instant::now();
    let error = blob(&store, &oid).await.expect_err("it is down");
    assert!(error.to_string().contains("503"), "{error}");
    assert!(start.elapsed().as_secs() <= 61, "{:?}", start.elapsed());
    assert!(origin.requests().len() > 1, "it was tried again");
    assert!(
        store
            .status()
            .last_error
            .is_some_and(|error| error.message.contains("503"))
    );
}

#[tokio::test]
async fn a_reader_who_goes_away_strands_nobody() {
    let origin = FakeOrigin::new();
    let oid = origin.put(ObjectKind::Blob, "wanted by two");
    origin
        .gate
        .forget_permits(tokio::sync::Semaphore::MAX_PERMITS);
    let store = store(&origin, None);
    let leaver = tokio::spawn({
        let store = store.clone();
        async move { blob(&store, &oid).await }
    });
    while origin.requests().is_empty() {
        tokio::task::yield_now().await;
    }
    let stayer = tokio::spawn({
        let store = store.clone();
        async move { blob(&store, &oid).await }
    });
    tokio::task::yield_now().await;
    leaver.abort();
    assert!(leaver.await.is_err_and(|error| error.is_cancelled()));
    origin.gate.add_permits(1);
    assert_eq!(
        stayer.await.expect("no panic").expect("it came"),
        "wanted by two"
    );
    assert_eq!(origin.requests().len(), 1);
}

/// Found by the simulation (seed 6): the end of a request that had delivered its object took the
/// object's next want for undelivered, and failed it with "does not have the object".
#[tokio::test]
async fn an_object_wanted_anew_is_not_failed_by_the_request_that_brought_it_before() {
    let origin = FakeOrigin::new();
    let oid = origin.put(ObjectKind::Blob, "leaves memory at once");
    origin
        .gate
        .forget_permits(tokio::sync::Semaphore::MAX_PERMITS);
    let store = ObjectStore::new(runtime(), origin.clone(), None, HashKind::Sha1, 0);
    origin.fail_next(Fault::Linger);
    origin.gate.add_permits(1);
    blob(&store, &oid)
        .await
        .expect("the first request brings it");
    let again = tokio::spawn({
        let store = store.clone();
        async move { blob(&store, &oid).await }
    });
    while origin.requests().len() < 2 {
        tokio::task::yield_now().await;
    }
    // Ends the first request, which is ahead in the queue; the second one is not answered yet.
    origin.gate.add_permits(1);
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    origin.gate.add_permits(1);
    again
        .await
        .expect("no panic")
        .expect("the second request brings it");
}

/// An object was read while its pack was still under way, and was not in the cache after the mount's
/// end, because only packs that had ended were waited for.
#[tokio::test]
async fn what_was_read_stays_though_the_store_closes_before_its_pack_has_ended() {
    let origin = FakeOrigin::new();
    let oid = origin.put(ObjectKind::Blob, "read at the last moment");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = store(&origin, Some(tier(folder.path())));
    origin
        .gate
        .forget_permits(tokio::sync::Semaphore::MAX_PERMITS);
    origin.gate.add_permits(1);
    origin.fail_next(Fault::Linger);
    blob(&store, &oid).await.expect("it came");
    // The origin never ends its answer.
    store.close().await;
    assert!(tier(folder.path()).has(&oid));
    // What is still asked for fails, and nothing more is sent.
    let late = origin.put(ObjectKind::Blob, "too late");
    let error = blob(&store, &late).await.expect_err("the store is closed");
    assert!(error.to_string().contains("the mount is ending"), "{error}");
    assert_eq!(origin.requests().len(), 1);
}

#[tokio::test]
async fn trees_that_a_running_download_brings_are_not_asked_for_again() {
    let origin = FakeOrigin::new();
    let (commit, root, [a, b]) = small_commit(&origin);
    origin
        .gate
        .forget_permits(tokio::sync::Semaphore::MAX_PERMITS);
    let store = store(&origin, None);
    store.download_commit(commit);
    let readers: Vec<_> = [root, a, b]
        .map(|oid| {
            let store = store.clone();
            tokio::spawn(async move { store.get(&oid, ObjectKind::Tree).await.map(|c| c.kind()) })
        })
        .into();
    while store.wanted() < 3 {
        tokio::task::yield_now().await;
    }
    origin.gate.add_permits(1);
    for reader in readers {
        assert_eq!(
            reader.await.expect("no panic").expect("it came"),
            ObjectKind::Tree
        );
    }
    assert_eq!(origin.requests().len(), 1);
    assert_eq!(origin.requests()[0].filter, Filter::NoBlobs);
}

#[tokio::test(start_paused = true)]
async fn a_download_cut_short_goes_on_with_what_is_missing() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let origin = FakeOrigin::new();
    let (commit, root, [a, b]) = small_commit(&origin);
    // Long enough for the commit and some trees, too short for all.
    origin.fail_next(Fault::Cut(230));
    let store = store(&origin, Some(tier(dir.path())));
    store.download_commit(commit);
    for oid in [root, a, b] {
        store
            .get(&oid, ObjectKind::Tree)
            .await
            .expect("it comes in the end");
    }
    store.settled().await;
    let requests = origin.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[1].filter, Filter::NoBlobs);
    assert!(
        !requests[1].wants.contains(&commit),
        "the commit was kept: {requests:?}"
    );
}

#[tokio::test]
async fn a_server_without_filter_brings_blobs_that_need_no_request() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let origin = FakeOrigin::without_filter();
    let (commit, _, [a, _]) = small_commit(&origin);
    let store = store(&origin, Some(tier(dir.path())));
    store.download_commit(commit);
    store.get(&a, ObjectKind::Tree).await.expect("it comes");
    store.settled().await;
    assert_eq!(
        blob(&store, &id(ObjectKind::Blob, b"two"))
            .await
            .expect("it came along"),
        "two"
    );
    assert_eq!(origin.requests().len(), 1);
}

#[tokio::test]
async fn a_second_store_over_the_same_folder_needs_no_request() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let origin = FakeOrigin::new();
    let (commit, root, _) = small_commit(&origin);
    let lone = origin.put(ObjectKind::Blob, "alone");
    let many: Vec<Oid> = (0..40)
        .map(|n| origin.put(ObjectKind::Blob, text(n)))
        .collect();
    let first = store(&origin, Some(tier(dir.path())));
    first.download_commit(commit);
    first.get(&root, ObjectKind::Tree).await.expect("it comes");
    blob(&first, &lone).await.expect("it comes");
    for oid in &many {
        blob(&first, oid).await.expect("it comes");
    }
    // An object is given as soon as it came, while the pack that it came in still ends.
    first.close().await;
    let before = origin.requests().len();

    let disk = tier(dir.path());
    let second = store(&origin, Some(disk.clone()));
    assert_eq!(blob(&second, &lone).await.expect("from disk"), "alone");
    for (number, oid) in many.iter().enumerate() {
        assert_eq!(blob(&second, oid).await.expect("from disk"), text(number));
    }
    assert_eq!(
        second
            .get(&root, ObjectKind::Tree)
            .await
            .expect("from disk")
            .size(),
        2 * 28
    );
    assert_eq!(origin.requests().len(), before, "everything was on disk");
    assert!(disk.is_complete(&commit));
}

/// Found by the simulation (seed 148): when the runtime dropped the work at once, as it does while it
/// ends, the asker searched again and again inside one poll.
#[tokio::test]
async fn an_asker_gives_up_when_all_work_is_dropped() {
    struct Ending(bonsaifs_core::rt::SharedRuntime);
    impl bonsaifs_core::rt::Runtime for Ending {
        fn spawn(&self, _: &'static str, _: bonsaifs_core::rt::BoxFuture<'static, ()>) {}
        fn spawn_blocking(&self, _: &'static str, _: Box<dyn FnOnce() + Send>) {}
        fn sleep(&self, duration: Duration) -> bonsaifs_core::rt::BoxFuture<'static, ()> {
            self.0.sleep(duration)
        }
        fn now(&self) -> Duration {
            self.0.now()
        }
        fn unix_time(&self) -> Duration {
            self.0.unix_time()
        }
        fn random(&self) -> u64 {
            self.0.random()
        }
    }
    let origin = FakeOrigin::new();
    let oid = origin.put(ObjectKind::Blob, "never asked for");
    let ending = Arc::new(Ending(runtime()));
    let store = ObjectStore::new(ending, origin.clone(), None, HashKind::Sha1, 1 << 20);
    let error = blob(&store, &oid).await.expect_err("nobody does anything");
    assert!(matches!(error, ObjectError::GivenUp { .. }), "{error}");
}

#[tokio::test]
async fn one_memory_entry_over_the_budget_does_not_matter() {
    let origin = FakeOrigin::new();
    let big = origin.put(ObjectKind::Blob, vec![b'x'; 1 << 20]);
    let store = ObjectStore::new(
        super::testing::runtime(),
        Arc::clone(&origin) as _,
        None,
        crate::git::oid::HashKind::Sha1,
        1000,
    );
    assert_eq!(blob(&store, &big).await.expect("it comes").len(), 1 << 20);
    assert!(store.status().memory_bytes <= 1000);
}

//! Downloads of whole commits that end in unusual ways.

use tokio::sync::Semaphore;

use super::{
    super::{
        disk::LARGE,
        testing::{FakeOrigin, Fault, runtime},
    },
    *,
};
use crate::git::oid::HashKind;

/// Found by the simulation (seed 1602): a server that does not filter sent a large file along, there was
/// no room for it, and everything that waited for the download failed with it, at each mount anew.
#[tokio::test]
async fn a_large_file_without_room_fails_nobody_who_did_not_ask_for_it() {
    let origin = FakeOrigin::without_filter();
    let large = origin.put(ObjectKind::Blob, vec![0; LARGE as usize]);
    let small = origin.put(ObjectKind::Blob, "small");
    let root = origin.put_tree(&[("100644", "large", large), ("100644", "small", small)]);
    let commit = origin.put_commit(root);
    origin.gate.forget_permits(Semaphore::MAX_PERMITS);
    origin.gate.add_permits(1);
    origin.fail_next(Fault::Linger);
    // No cache folder, and a memory that nothing stays in.
    let store = ObjectStore::new(runtime(), origin.clone(), None, HashKind::Sha1, 1);
    let progress = store.download_commit(commit);
    while progress.objects_so_far() < 4 {
        tokio::task::yield_now().await;
    }
    let reader = {
        let store = store.clone();
        tokio::spawn(async move { store.get(&small, ObjectKind::Blob).await })
    };
    while store.wanted() < 1 {
        tokio::task::yield_now().await;
    }
    origin.gate.add_permits(2);
    let read = reader.await.expect("no panic").expect("it can be had");
    assert_eq!(read.size(), 5);
}

//! What a store does now and then for its disk tier. May import: the store; seams.
//!
//! Always holds: it keeps no store alive, and nobody waits for it but a shutdown.

use std::sync::Arc;

use bonsaifs_core::rt::run_blocking;

use super::{store::ObjectStore, tuning::UPKEEP};

impl ObjectStore {
    /// Starts to look after the disk tier, every ten minutes for as long as the store lives: what was
    /// used is written down, small packs are merged, the quota is kept.
    pub fn look_after_disk(&self) {
        let runtime = self.0.runtime.clone();
        let store = Arc::downgrade(&self.0);
        let task = async move {
            loop {
                let Some(sleep) = store.upgrade().map(|inner| inner.runtime.sleep(UPKEEP)) else {
                    return;
                };
                sleep.await;
                let Some(inner) = store.upgrade() else { return };
                let Some(disk) = inner.disk.clone() else {
                    return;
                };
                let job = inner.background.begin();
                let keep_up = run_blocking(&*inner.runtime, "keep up", move || disk.keep_up());
                drop(inner);
                keep_up.await;
                drop(job);
            }
        };
        runtime.spawn("look after disk", Box::pin(task));
    }
}

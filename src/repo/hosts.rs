//! What is known of hosts, kept in the cache folder from one mount to the next.
//!
//! Always holds: a file that can't be read, or makes no sense, is as good as none.

use bonsaifs_core::rt::{SharedRuntime, run_blocking};

use crate::{
    origin::http::{HostMemory, SavedHosts},
    seams::disk::Folder,
};

/// The file within the cache folder.
const FILE: &str = "hosts.json";

/// What earlier mounts learnt.
pub(super) async fn load(runtime: &SharedRuntime, cache: &Folder) -> HostMemory {
    let cache = cache.clone();
    let saved = run_blocking(&**runtime, "load hosts", move || {
        let raw = cache.disk.read(&cache.path.join(FILE)).ok()?;
        serde_json::from_slice::<SavedHosts>(&raw).ok()
    });
    HostMemory::from_saved(saved.await.flatten().unwrap_or_default())
}

/// Keeps what is known now, if that is news. Blocking. Of two mounts that save at once the last
/// one wins: what the other learnt is learnt again.
pub(super) fn save(runtime: &SharedRuntime, cache: &Folder, memory: &HostMemory) {
    let Ok(raw) = serde_json::to_vec(&memory.to_saved()) else {
        return;
    };
    let path = cache.path.join(FILE);
    if cache.disk.read(&path).is_ok_and(|old| old == raw) {
        return;
    }
    let temp = cache
        .path
        .join(format!("tmp_bonsai_{:016x}", runtime.random()));
    if let Err(error) = cache.disk.write_whole(&path, &temp, &raw) {
        tracing::debug!(%error, "what is known of hosts could not be kept");
    }
}

//! Keeping a mount's memory within its bounds where only the kernel, or the C library, can give it back. May import: fuse,
//! repo, bonsaifs-core, libc.
//!
//! An inode that the kernel knows keeps its directory's listing in memory. The kernel knows as many as it likes, so
//! once listings that nothing else keeps have too many bytes, it is asked to forget the inodes that keep them. What
//! is freed then, or when the kernel forgets of its own accord, lies between what is still in use, and the C library
//! keeps it unless it is told to look.
//!
//! Always holds: nothing here changes what a reader sees, and nobody waits for it.

use std::{sync::Arc, time::Duration};

use bonsaifs_core::{
    fs::{AsyncFs, Ino},
    rt::{SharedRuntime, run_blocking},
};

use crate::{fuse::KernelCaches, repo::RepoFs};

/// How often it is looked at.
const EVERY: Duration = Duration::from_millis(200);
/// So many inodes that are gone leave memory worth looking for.
const WORTH_IT: u64 = 50_000;

/// What keeps a mount lean.
pub struct Lean {
    pub fs: Arc<AsyncFs<RepoFs>>,
    pub kernel: KernelCaches,
    pub runtime: SharedRuntime,
    /// Bytes of listings that inodes alone may keep.
    pub most: usize,
}

impl Lean {
    /// Looks again and again. Never ends by itself.
    pub async fn run(self) {
        let mut seen = (0, 0);
        let mut highest = 0;
        loop {
            self.runtime.sleep(EVERY).await;
            let stats = self.fs.stats();
            highest = stats.inodes.max(highest);
            if stats.inodes + WORTH_IT < highest {
                run_blocking(&*self.runtime, "give memory back", give_back).await;
                highest = stats.inodes;
            }
            // Where nothing was listed and nobody came, nothing is kept that was not kept before.
            let now = (stats.inodes, stats.misses);
            if std::mem::replace(&mut seen, now) != now {
                let (fs, kernel, most) = (Arc::clone(&self.fs), self.kernel.clone(), self.most);
                let look = move || look(&fs, &kernel, most);
                run_blocking(&*self.runtime, "look at inodes", look).await;
            }
        }
    }
}

fn look(fs: &AsyncFs<RepoFs>, kernel: &KernelCaches, most: usize) {
    let (bytes, inodes) = fs.pinning();
    if bytes <= most {
        return;
    }
    tracing::debug!(
        bytes,
        inodes = inodes.len(),
        "the kernel is asked to forget"
    );
    forget(kernel, &inodes);
}

fn forget(kernel: &KernelCaches, inodes: &[Ino]) {
    if let Err(error) = kernel.prune(inodes) {
        // Linux before 6.18 can't be asked.
        tracing::debug!(%error, "the kernel does not forget");
    }
}

#[expect(unsafe_code, reason = "a function of the C library")]
fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it has no preconditions, and may be called from any thread (malloc_trim(3)).
    unsafe {
        libc::malloc_trim(0);
    }
}

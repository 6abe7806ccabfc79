//! Keeping a mount's memory within its bounds where only the kernel, or the C library, can give it back. May import: fuse,
//! repo, bonsaifs-core, libc, rustix.
//!
//! An inode that the kernel knows keeps its directory's listing in memory. The kernel knows as many as it likes, so
//! once listings that nothing else keeps have too many bytes, it is asked to forget the inodes that keep them. What
//! is freed then, or when the kernel forgets of its own accord, lies between what is still in use, and the C library
//! keeps it unless it is told to look.
//!
//! Always holds: nothing here changes what a reader sees, and nobody waits for it.

use std::{fs, io, sync::Arc, time::Duration};

use bonsaifs_core::{
    fs::AsyncFs,
    rt::{SharedRuntime, run_blocking},
};

use crate::{fuse::KernelCaches, repo::RepoFs};

/// How often it is looked at.
const EVERY: Duration = Duration::from_millis(200);
/// So many inodes that are gone leave memory worth looking for.
const WORTH_IT: u64 = 50_000;
/// And so many bytes more than there were.
const GROWN: usize = 32 << 20;

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
        let (mut highest, mut resident) = (0, 0);
        let mut can_ask = true;
        loop {
            self.runtime.sleep(EVERY).await;
            let stats = self.fs.stats();
            // Where nothing was listed and nobody came or went, all is as it was.
            let now = (stats.inodes, stats.misses);
            if std::mem::replace(&mut seen, now) == now {
                continue;
            }
            if can_ask {
                let (fs, kernel, most) = (Arc::clone(&self.fs), self.kernel.clone(), self.most);
                let look = move || look(&fs, &kernel, most);
                if let Some(Err(error)) = run_blocking(&*self.runtime, "look at inodes", look).await
                {
                    // Linux before 6.18 knows no such message; anything else may be another time.
                    can_ask = error.raw_os_error() != Some(libc::EINVAL);
                    tracing::info!(%error, can_ask, "the kernel does not forget");
                }
            }
            highest = stats.inodes.max(highest);
            let many_went = stats.inodes + WORTH_IT < highest;
            if many_went || resident_memory().is_some_and(|bytes| bytes > resident + GROWN) {
                run_blocking(&*self.runtime, "give memory back", give_back).await;
                highest = stats.inodes;
                resident = resident_memory().unwrap_or_default();
            }
        }
    }
}

fn look(core: &AsyncFs<RepoFs>, kernel: &KernelCaches, most: usize) -> io::Result<()> {
    let (bytes, inodes) = core.pinning();
    if bytes <= most {
        return Ok(());
    }
    tracing::debug!(
        bytes,
        inodes = inodes.len(),
        "the kernel is asked to forget"
    );
    kernel.prune(&inodes)
}

/// Bytes of memory that this process has (proc_pid_statm(5)).
fn resident_memory() -> Option<usize> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: usize = text.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size())
}

#[expect(unsafe_code, reason = "a function of the C library")]
fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it has no preconditions, and may be called from any thread (malloc_trim(3)).
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_this_process_is_known() {
        let bytes = resident_memory().expect("Linux");
        assert!((1 << 20..1 << 40).contains(&bytes), "{bytes}");
    }
}

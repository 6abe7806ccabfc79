//! Keeping a mount's memory within its bounds where only the kernel, or the C library, can give it back. May import: fuse,
//! repo, bonsaifs-core, libc, rustix.
//!
//! An inode that the kernel knows has its place in a table, and keeps its directory's listing in memory. The kernel knows
//! as many as it likes. What the table has is taken from what objects may have; once it is too much, or listings that
//! nothing else keeps have too many bytes, the kernel is asked to forget inodes that nobody has open. What
//! is freed then, or when the kernel forgets of its own accord, lies between what is still in use, and the C library
//! keeps it unless it is told to look.
//!
//! Always holds: nothing here changes what a reader sees, and nobody waits for it.

use std::{fs, sync::Arc, time::Duration};

use bonsaifs_core::{
    fs::{AsyncFs, Idle, Ino},
    rt::{SharedRuntime, run_blocking},
};

use crate::{fuse::KernelCaches, repo::RepoFs};

/// How often it is looked at.
const EVERY: Duration = Duration::from_millis(200);
/// So many inodes that are gone leave memory worth looking for.
const WORTH_IT: u64 = 50_000;
/// And so many bytes more than there were.
const GROWN: usize = 8 << 20;

/// Bytes of one inode: 56 in a full table, 112 in one that has just grown. With 75 the tables grew once more, to twice their
/// size, before the kernel had forgotten what it was asked to.
const INODE: usize = 100;
/// And of what it keeps of listings, where there are as many as may be.
const LISTED: usize = 25;

/// Who may have how much of a mount's memory, whose bytes it holds.
#[derive(Clone, Copy)]
pub struct Shares(pub usize);

impl Shares {
    /// Bytes of directory listings.
    pub fn listings(self) -> usize {
        self.0 / 4
    }

    /// Bytes of objects while there are so many inodes.
    pub fn objects(self, inodes: usize) -> usize {
        self.0 - self.listings() - inodes.min(self.most_inodes()) * (INODE + LISTED)
    }

    /// Bytes of listings that inodes alone keep.
    fn most_pinned(self) -> usize {
        self.0 / 16
    }

    /// How many inodes the kernel may know.
    fn most_inodes(self) -> usize {
        self.0 / 4 / INODE
    }

    /// Whether the kernel is to forget some of the `known` inodes, which keep so many bytes of listings.
    fn is_too_much(self, known: usize, pinned_bytes: usize) -> bool {
        known > self.most_inodes() || pinned_bytes > self.most_pinned()
    }

    /// Which of them it is to forget then: those that keep listings, and of the others what makes half, so that it is not asked
    /// again at once. Their numbers are hashes: it is these or any others.
    fn to_forget(self, known: usize, idle: Idle) -> Vec<Ino> {
        let mut forget = idle.pinning;
        if known > self.most_inodes() {
            let rest = (known - self.most_inodes() / 2).saturating_sub(forget.len());
            forget.extend(idle.others.into_iter().take(rest));
        }
        forget
    }
}

/// What keeps a mount lean.
pub struct Lean {
    pub repo: RepoFs,
    pub fs: Arc<AsyncFs<RepoFs>>,
    pub kernel: KernelCaches,
    pub runtime: SharedRuntime,
    pub shares: Shares,
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
            let known = usize::try_from(stats.inodes).unwrap_or(usize::MAX);
            self.repo.set_memory_budget(self.shares.objects(known));
            if can_ask {
                let (fs, kernel, shares) = (Arc::clone(&self.fs), self.kernel.clone(), self.shares);
                let ask = move || {
                    if !shares.is_too_much(known, fs.pinned_bytes()) {
                        return Ok(());
                    }
                    let forget = shares.to_forget(known, fs.idle());
                    tracing::debug!(known, forget = forget.len(), "the kernel may know less");
                    kernel.prune(&forget)
                };
                if let Some(Err(error)) = run_blocking(&*self.runtime, "look at inodes", ask).await
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

    const SHARES: Shares = Shares(256 << 20);

    fn inodes(numbers: std::ops::Range<usize>) -> Vec<Ino> {
        numbers.map(|ino| Ino(ino as u64)).collect()
    }

    #[test]
    fn all_shares_are_the_whole() {
        let most = SHARES.most_inodes();
        assert!((600_000..700_000).contains(&most), "{most}");
        for inodes in [0, 1, 1000, most, most + 1, usize::MAX] {
            let kept = inodes.min(most) * (INODE + LISTED);
            let all = SHARES.listings() + SHARES.objects(inodes) + kept;
            assert_eq!(all, SHARES.0, "{inodes}");
            assert!(kept <= SHARES.0 / 4 + SHARES.most_pinned());
        }
    }

    #[test]
    fn inodes_go_that_keep_listings_or_are_too_many() {
        let most = SHARES.most_inodes();
        let is_too_much = |known, bytes| SHARES.is_too_much(known, bytes);
        assert!(!is_too_much(most, 16 << 20));
        assert!(is_too_much(most + 1, 0));
        assert!(is_too_much(1, (16 << 20) + 1));
        let forget = |known, pinning, others| {
            let idle = Idle {
                pinning: inodes(0..pinning),
                others: inodes(pinning..pinning + others),
            };
            SHARES.to_forget(known, idle).len()
        };
        assert_eq!(forget(100, 30, 69), 30);
        let half = most + 1 - most / 2;
        assert_eq!(forget(most + 1, 30, most), half);
        assert_eq!(forget(most + 1, 0, most), half);
        assert_eq!(forget(most + 1, half + 5, 100), half + 5);
        assert_eq!(forget(most + 1, 3, 4), 7, "others are open");
    }

    #[test]
    fn the_memory_of_this_process_is_known() {
        let bytes = resident_memory().expect("Linux");
        assert!((1 << 20..1 << 40).contains(&bytes), "{bytes}");
    }
}

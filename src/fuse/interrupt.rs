//! Processes that were killed while their request waits. May import: bonsaifs-core; std::fs (/proc).
//!
//! The kernel lets go of a request that it has handed out only when it is answered, even if the
//! process that made it was killed (`request_wait_answer` in Linux's fs/fuse/dev.c). Without more,
//! Ctrl-C on an `ls` that waits for a dead network would hang until the origin's time is up. The kernel
//! does say so with FUSE_INTERRUPT, but for every signal; one that has a handler must not break off the read of
//! a file. So a request that waits looks now and then whether its process has
//! SIGKILL pending, which is what the kernel turns every deadly signal into, and is then answered EINTR.

use std::{
    fs,
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::Duration,
};

use bonsaifs_core::rt::Runtime;

/// The first look comes after this time, each later one after twice the time before.
const FIRST_LOOK: Duration = Duration::from_millis(250);
const LAST_STEP: Duration = Duration::from_secs(2);

/// Who knows whether a thread was killed: [`is_killed`], or a simulation.
pub(super) type Killed = dyn Fn(u32) -> bool + Send + Sync;

/// Runs `work` to its end, or until the thread `tid` is `killed`: then `None`. `tid` 0 is a
/// process that this one can't see.
pub(super) async fn unless_killed<T>(
    runtime: &dyn Runtime,
    killed: &Killed,
    tid: u32,
    work: impl Future<Output = T>,
) -> Option<T> {
    let mut work = pin!(work);
    let mut step = FIRST_LOOK;
    loop {
        let mut timer = runtime.sleep(step);
        let ended = poll_fn(|cx| {
            if let Poll::Ready(value) = work.as_mut().poll(cx) {
                return Poll::Ready(Some(value));
            }
            timer.as_mut().poll(cx).map(|()| None)
        });
        if let Some(value) = ended.await {
            return Some(value);
        }
        if tid != 0 && killed(tid) {
            return None;
        }
        step = (step * 2).min(LAST_STEP);
    }
}

/// Whether the thread has SIGKILL pending, as /proc tells.
pub(super) fn is_killed(tid: u32) -> bool {
    // Threads have a folder in /proc too, though it is not listed (proc(5)).
    fs::read_to_string(format!("/proc/{tid}/status")).is_ok_and(|text| sigkill_pending(&text))
}

/// True if SIGKILL is among the thread's or the process's pending signals in this text of
/// `/proc/<tid>/status`.
fn sigkill_pending(status: &str) -> bool {
    const SIGKILL: u64 = 1 << (libc::SIGKILL - 1);
    status
        .lines()
        .filter_map(|line| {
            line.strip_prefix("SigPnd:")
                .or_else(|| line.strip_prefix("ShdPnd:"))
        })
        .filter_map(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .any(|mask| mask & SIGKILL != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_deadly_signal_counts() {
        let status = |own: &str, shared: &str| {
            format!("Name:\tx\nSigPnd:\t{own}\nShdPnd:\t{shared}\nSigBlk:\t0000000000000100\n")
        };
        let none = "0000000000000000";
        assert!(!sigkill_pending(&status(none, none)));
        // SIGINT and SIGCHLD wait for a handler.
        assert!(!sigkill_pending(&status(
            "0000000000000002",
            "0000000000010000"
        )));
        assert!(sigkill_pending(&status("0000000000000100", none)));
        assert!(sigkill_pending(&status(none, "0000000000000102")));
        assert!(!sigkill_pending(""));
    }

    #[test]
    fn the_living_and_the_gone_are_not_killed() {
        assert!(!is_killed(std::process::id()));
        assert!(!is_killed(u32::MAX));
    }
}

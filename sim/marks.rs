//! "Sometimes" marks: rare situations that the simulation exists for. A run counts those it reached;
//! over the standard seeds each must be reached at least once, or the generator is what's broken.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

/// All marks, and so all that the standard seeds must reach.
pub const ALL: [&str; 40] = [
    JOINED,
    LEADER_LEFT,
    EVICTION_MET_FILL,
    FORGET_MET_LOOKUP,
    TORN_PACK_RETRIED,
    OFFLINE,
    CORRUPT_CACHE,
    BISECTED,
    BULK_RESUMED,
    FILTER_IGNORED,
    FAILURE_SHARED,
    RECOVERED,
    SEEK_BACK,
    CACHE_SHARED,
    CRASH_RECOVERED,
    KILLED_MID_JOB,
    LARGE_READ,
    NEW_COMMIT,
    RETRY_AFTER,
    DISK_REFUSED,
    QUEUED,
    AHEAD_USED,
    AHEAD_JOINED,
    AHEAD_IN_VAIN,
    AHEAD_BROKEN_OFF,
    AHEAD_FULL,
    WIDENED,
    GIVEN_UP,
    COLDEST_LEFT,
    TREES_LEFT,
    PACKS_MERGED,
    DISK_RESUMED,
    FOLLOWED,
    MET_A_SWITCH,
    REFRESH_FAILED,
    OLD_READ,
    OLD_STREAM,
    KILLED_AND_TOLD,
    ANSWERED_LATE,
    BARE_LISTING,
];

/// Two readers waited for one object, one request brought it, and both got it.
pub const JOINED: &str = "two readers joined one flight";
/// The reader who came first was interrupted while another one waited for the same.
pub const LEADER_LEFT: &str = "a flight's first reader was interrupted";
/// A directory was being filled while the budget for listings was spent.
pub const EVICTION_MET_FILL: &str = "an eviction met a fill";
/// The kernel forgot an inode while a lookup of the same name was under way.
pub const FORGET_MET_LOOKUP: &str = "a forget met a lookup";
/// An object of a pack that broke off was asked for again.
pub const TORN_PACK_RETRIED: &str = "a retry after a torn pack";
/// A mount was made from the cache, with no server.
pub const OFFLINE: &str = "an offline mount from the cache";
/// Damage on disk was found.
pub const CORRUPT_CACHE: &str = "a corrupt cache entry found";
/// A batch with an unknown object was asked for in parts.
pub const BISECTED: &str = "a batch bisected";
/// A commit's download went on after it broke off.
pub const BULK_RESUMED: &str = "a bulk download resumed";
/// The server ignored a filter.
pub const FILTER_IGNORED: &str = "a filter ignored";
/// Two readers waited for one object and both got its failure.
pub const FAILURE_SHARED: &str = "two readers shared a failure";
/// What had failed was asked for again, and came.
pub const RECOVERED: &str = "a failure was not kept";
/// A program sought back in a directory.
pub const SEEK_BACK: &str = "a directory scan sought back";
/// Two mounts had one cache folder.
pub const CACHE_SHARED: &str = "two mounts shared a cache";
/// A mount was made on a disk that had lost power.
pub const CRASH_RECOVERED: &str = "a mount after a power cut";
/// A process died between two of its disk operations.
pub const KILLED_MID_JOB: &str = "a process killed in the middle of a job";
/// A part of a large file was read.
pub const LARGE_READ: &str = "a part of a large file read";
/// A mount was made anew and showed another commit.
pub const NEW_COMMIT: &str = "a remount saw a push";
/// A request followed one that was answered with Retry-After.
pub const RETRY_AFTER: &str = "a Retry-After waited out";
/// The disk refused a write.
pub const DISK_REFUSED: &str = "the disk refused, and reading went on";
/// A cache was over its quota, and something left it.
pub const COLDEST_LEFT: &str = "the coldest left the cache";
/// A commit that was complete lost trees to the quota.
pub const TREES_LEFT: &str = "trees left the cache";
/// Small packs became one.
pub const PACKS_MERGED: &str = "small packs merged";
/// A disk that had refused writes took them again.
pub const DISK_RESUMED: &str = "caching went on after the disk refused";

/// Readers of different objects, whose requests had to wait, were served by one.
pub const QUEUED: &str = "wants queued and left together";
/// Somebody asked for what a prefetch had brought.
pub const AHEAD_USED: &str = "a prefetched object used";
/// Somebody wanted what a prefetch was bringing, and got it from there.
pub const AHEAD_JOINED: &str = "a reader joined a prefetch";
/// Somebody wanted what a prefetch was bringing, it did not come, and he got it all the same.
pub const AHEAD_IN_VAIN: &str = "a prefetch failed a reader, who got it anyway";
/// A prefetch met an object that is too large for it.
pub const AHEAD_BROKEN_OFF: &str = "a prefetch broken off at a large object";
/// As many prefetches as may be were out, and a reader's request left all the same.
pub const AHEAD_FULL: &str = "a reader passed a full set of prefetches";
/// A directory was prefetched that no program had come to yet.
pub const WIDENED: &str = "a scan widened past its directory";
/// Prefetching went on because what had lain unread for long was given up.
pub const GIVEN_UP: &str = "what lay unread was given up";
/// A refresh led to another commit.
pub const FOLLOWED: &str = "a refresh moved a mount";
/// Programs were in the middle of something when it did.
pub const MET_A_SWITCH: &str = "a switch met other operations";
/// A refresh failed, and the mount went on with its commit.
pub const REFRESH_FAILED: &str = "a refresh failed";
/// A file that was open went on giving what a refresh had replaced.
pub const OLD_READ: &str = "an open file outlived a refresh";
/// A directory that was being read when a refresh came went on as it was.
pub const OLD_STREAM: &str = "an open directory outlived a refresh";

/// A program that waited for a message's answer was killed, and the mount gave up on it.
pub const KILLED_AND_TOLD: &str = "a killed program's request ended";
/// The same, and the answer came before the mount knew.
pub const ANSWERED_LATE: &str = "an answer met a kill";
/// A thread that looked at no file was told the attributes of directories only.
pub const BARE_LISTING: &str = "a listing left out what nobody looked at";

/// Counts of marks, and of faults that took effect. A clone is another handle to the same counts.
#[derive(Clone, Default)]
pub struct Counts(Arc<Mutex<BTreeMap<String, u64>>>);

impl Counts {
    /// Counts `what` once more.
    pub fn add(&self, what: &str) {
        let mut counts = self.0.lock().expect("counting does not panic");
        match counts.get_mut(what) {
            Some(count) => *count += 1,
            None => {
                counts.insert(what.to_owned(), 1);
            }
        }
    }

    /// All counts.
    pub fn all(&self) -> BTreeMap<String, u64> {
        self.0.lock().expect("counting does not panic").clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_counted_and_have_names_of_their_own() {
        let counts = Counts::default();
        counts.add(JOINED);
        counts.add(JOINED);
        assert_eq!(counts.all()[JOINED], 2);
        let names: std::collections::BTreeSet<_> = ALL.into_iter().collect();
        assert_eq!(names.len(), ALL.len());
    }
}

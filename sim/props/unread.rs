//! **Bounded prefetching**: what was asked for ahead and lies unread has a bound: a base, or twice what
//! was read, and never more than a share of memory.
//!
//! Seen from outside: a blob in a request that no operation had touched before was asked for ahead. A
//! prefetch is decided upon some time before its request is seen, and up to [`OUT`] are under way, so
//! that the last [`OUT`] say nothing about the bound; which ones those are can't be seen, so the
//! largest are left out, and one more: what every tool opens comes with the mount, and is not counted by
//! the policy. All others had come, and their sizes were known, when the last one was decided.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bonsaifs::git::oid::Oid;

use super::Check;

pub const NAME: &str = "bounded prefetching";

/// Prefetches under way at once.
pub const OUT: usize = 3;
/// Bytes that may lie unread whatever was read (in the simulation).
const BASE: u64 = 4 << 10;
/// What lies unread for longer does not count any more.
const PATIENCE: Duration = Duration::from_secs(30);

/// What an operation that needs a blob met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Met {
    /// Nothing that was asked for ahead.
    Nothing,
    /// It came ahead, and nobody had touched it yet.
    Came,
    /// A prefetch is bringing it, in this exchange.
    Coming(u64),
}

/// What a prefetch says about the policy behind it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// What was asked for ahead.
    pub ahead: Vec<Oid>,
    /// It would not have been sent, had not something been given up that lay unread for long.
    pub gave_up: bool,
}

/// Sees one process's requests for blobs, and what its programs ask for.
pub struct Unread {
    /// All blobs of the repository, and their sizes.
    blobs: BTreeMap<Oid, u64>,
    /// More than this never lies unread.
    ceiling: u64,
    touched: BTreeSet<Oid>,
    read: u64,
    open: BTreeMap<u64, Vec<Oid>>,
    came: Vec<(Duration, Vec<Oid>)>,
}

impl Unread {
    /// `blobs` are those of the repository with their sizes, `memory` is the bytes of objects that the
    /// mount may hold.
    pub fn new(blobs: BTreeMap<Oid, u64>, memory: u64) -> Self {
        Self {
            blobs,
            ceiling: memory / 4,
            touched: BTreeSet::new(),
            read: 0,
            open: BTreeMap::new(),
            came: Vec::new(),
        }
    }

    /// An operation needs the size or the content of `oid`, and `waits` for it or doesn't have to.
    pub fn touch(&mut self, oid: &Oid, waits: bool) -> Met {
        let Some(size) = self.blobs.get(oid) else {
            return Met::Nothing;
        };
        let first = self.touched.insert(*oid);
        // Each who waits may have been counted.
        if first || waits {
            self.read += size;
        }
        let open = self.open.iter().find(|(_, ahead)| ahead.contains(oid));
        match open {
            Some((exchange, _)) => Met::Coming(*exchange),
            None if first && self.came.iter().any(|(_, ahead)| ahead.contains(oid)) => Met::Came,
            None => Met::Nothing,
        }
    }

    /// A request for `wants` goes out.
    pub fn begin(&mut self, exchange: u64, wants: &[Oid], now: Duration) -> Sent {
        let mut ahead = wants.to_vec();
        ahead.retain(|oid| self.blobs.contains_key(oid) && !self.touched.contains(oid));
        if ahead.is_empty() {
            return Sent::default();
        }
        let (mut old, mut all) = (0, self.unread(&ahead));
        for (came, ahead) in &self.came {
            let unread = self.unread(ahead);
            all += unread;
            old += if *came + PATIENCE <= now { unread } else { 0 };
        }
        // Not by a little only: sizes of what comes are guessed.
        let gave_up = old > 0 && all > self.allowed() / 4 * 5;
        self.open.insert(exchange, ahead.clone());
        Sent { ahead, gave_up }
    }

    /// An exchange is over; `came` if all that it asked for came.
    pub fn end(&mut self, exchange: u64, came: bool, now: Duration) -> Check {
        if let Some(ahead) = self.open.remove(&exchange)
            && came
        {
            for (_, before) in &mut self.came {
                before.retain(|oid| !ahead.contains(oid));
            }
            self.came.push((now, ahead));
        }
        self.check(now)
    }

    /// Whether too much lies unread.
    fn check(&self, now: Duration) -> Check {
        match now.checked_sub(PATIENCE) {
            Some(since) => self.within(since + Duration::from_nanos(1)),
            None => self.within(Duration::ZERO),
        }
    }

    /// Whether too much lies unread of what came at `since` or later.
    fn within(&self, since: Duration) -> Check {
        let recent = self.came.iter().filter(|(came, _)| *came >= since);
        let mut bytes: Vec<u64> = recent.map(|(_, ahead)| self.unread(ahead)).collect();
        bytes.sort_unstable_by(|a, b| b.cmp(a));
        let unread: u64 = bytes.iter().skip(OUT + 1).sum();
        match unread <= self.allowed() {
            true => Ok(()),
            false => Err(format!(
                "{unread} bytes that came ahead lie unread, and not counting the largest requests; \
                 {} were read",
                self.read
            )),
        }
    }

    fn allowed(&self) -> u64 {
        BASE.max(2 * self.read).min(self.ceiling)
    }

    fn unread(&self, ahead: &[Oid]) -> u64 {
        let unread = ahead.iter().filter(|oid| !self.touched.contains(*oid));
        unread.map(|oid| self.blobs[oid]).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::encode;

    const NOW: Duration = Duration::from_secs(100);

    fn oid(n: u64) -> Oid {
        encode::id(bonsaifs::git::oid::ObjectKind::Blob, &n.to_le_bytes())
    }

    /// Ten blobs of a kilobyte each.
    fn unread(memory: u64) -> Unread {
        Unread::new((0..10).map(|n| (oid(n), 1024)).collect(), memory)
    }

    /// Asks for one blob after the other until the observer complains; how many came by then.
    fn until_too_many(unread: &mut Unread, from: u64) -> u64 {
        let mut came = from;
        while came < 10 {
            assert_eq!(unread.begin(came, &[oid(came)], NOW).ahead, [oid(came)]);
            came += 1;
            if unread.end(came - 1, true, NOW).is_err() {
                break;
            }
        }
        came - from
    }

    #[test]
    fn more_than_may_lie_unread_is_seen() {
        // Four requests say nothing; four more fill the base.
        assert_eq!(until_too_many(&mut unread(1 << 20), 0), 4 + 4 + 1);
        // A quarter of the memory is for two.
        assert_eq!(until_too_many(&mut unread(8 << 10), 0), 4 + 2 + 1);
        // What was read allows twice as much.
        let mut much_read = unread(1 << 20);
        for n in 0..3 {
            much_read.touch(&oid(n), true);
        }
        assert_eq!(until_too_many(&mut much_read, 3), 7);
        let mut more = unread(1 << 20);
        more.touch(&oid(0), true);
        assert_eq!(until_too_many(&mut more, 1), 4 + 4 + 1);
    }

    #[test]
    fn what_lies_for_long_is_given_up() {
        let mut unread = unread(1 << 20);
        let came = until_too_many(&mut unread, 0);
        assert!(
            unread
                .end(99, false, NOW + PATIENCE - Duration::from_nanos(1))
                .is_err()
        );
        assert_eq!(unread.end(99, false, NOW + PATIENCE), Ok(()));
        assert!(unread.begin(came, &[oid(came)], NOW + PATIENCE).gave_up);
    }

    #[test]
    fn what_is_wanted_is_not_ahead_and_who_meets_a_prefetch_is_seen() {
        let mut unread = unread(1 << 20);
        assert_eq!(unread.touch(&oid(0), true), Met::Nothing);
        assert_eq!(unread.begin(1, &[oid(0), oid(77)], NOW), Sent::default());
        assert_eq!(unread.begin(2, &[oid(1), oid(2)], NOW).ahead.len(), 2);
        assert_eq!(unread.touch(&oid(1), true), Met::Coming(2));
        assert_eq!(unread.end(2, true, NOW), Ok(()));
        assert_eq!(unread.touch(&oid(2), false), Met::Came);
        assert_eq!(unread.touch(&oid(2), false), Met::Nothing);
    }
}

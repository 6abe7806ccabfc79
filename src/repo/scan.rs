//! What is likely to be read next: the policy of prefetching, as plain state.
//!
//! May import: git's ids, core's listings. No I/O, no clock of its own, no tasks: `ahead` has those.
//!
//! Evidence is what was read although it was not here, and what a prefetch brought and was then read.
//! One file says nothing, unless it is a size that is asked for after its directory's entries were read. A
//! second one close to it in the same directory widens to the directory; a directory that follows another
//! in the order of a walk widens to the tree that both are in, and so on up to the whole commit. Numbers are
//! smaller in the simulation, as its repositories are (`choose`).
//!
//! Always holds: what was prefetched and lies unread, what is on its way included, is no more than
//! [`BASE`] or twice what was read, whichever is more (by estimate, where a size is not known yet), and no more
//! than [`MAX_UNREAD`] objects. What lies unread for [`PATIENCE`] is written off, and halves the base; what is
//! read doubles it again. What is remembered of directories has a bound too (`dirs`).

mod dirs;

use std::{collections::VecDeque, time::Duration};

use bonsaifs_core::fs::{Kind, Listing};
use rustc_hash::{FxHashMap, FxHashSet};

pub(super) use dirs::Place;
use dirs::{Dirs, Mark};

use super::provider::Node;
use crate::{
    git::{oid::Oid, tree::EntryMode},
    objects::{Prefetched, Unfinished, choose},
    origin::OriginError,
};

/// Bytes that may lie unread before anything was read.
const BASE: u64 = choose(8 << 20, 4 << 10);
/// The least that waste brings the base down to.
const LEAST_BASE: u64 = BASE / 8;
/// Objects in one request: a server's delta search delays the first of a larger one, and with fewer
/// the round trips count (facts of Git servers).
const BATCH: usize = choose(128, 16) as usize;
/// The same once it is known that much is read: what counts then is what each request costs a server, which
/// starts processes for it. A [`PAID`]th of what came ahead and was read, up to this; or this, where everything is
/// to come.
const LARGEST_BATCH: usize = choose(1024, 48) as usize;
const PAID: u64 = choose(8, 2);
/// Entries between two that still count as neighbours: what stands between may not interest the
/// scanner.
const GAP: u32 = 4;
/// Entries between two directories that still count as neighbours in a walk.
const DIR_GAP: u32 = 8;
/// How long something may lie unread.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long nothing is prefetched after the origin failed; twice as long after each further failure.
const PAUSE: Duration = Duration::from_secs(5);
/// How often the pause is doubled at the most.
const DOUBLINGS: u32 = 6;
/// How many objects may lie unread, however small they are; where everything is to come, of how many is
/// remembered that they lie unread. A hundred bytes each.
const MAX_UNREAD: usize = choose(1 << 16, 64) as usize;
/// Of how many objects is remembered that they are too large for a prefetch.
const MAX_LARGE: usize = 4096;
/// What an object is taken for before any came, in bytes.
const FIRST_GUESS: u64 = choose(8 << 10, 512);

/// A step of widening. Its tree is to be read before it can be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The files of one directory, those next to `from` first.
    Files { tree: Oid, from: u32 },
    /// The files of all directories in a tree, from the entry `from` on, then those before it.
    Tree { tree: Oid, from: u32, forward: bool },
}

impl Step {
    /// The tree to be read.
    pub fn tree(&self) -> Oid {
        match self {
            Step::Files { tree, .. } | Step::Tree { tree, .. } => *tree,
        }
    }
}

/// Something that was asked for ahead and not read yet.
struct Unread {
    place: Place,
    /// `None` while it is on its way.
    size: Option<u64>,
    since: Duration,
}

/// Figures for `status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Figures {
    /// Objects that came ahead.
    pub came: u64,
    /// Their bytes.
    pub came_bytes: u64,
    /// Those of them that were read, be it while their request was still out.
    pub used: u64,
}

/// The state of the policy.
pub(super) struct Scan {
    dirs: Dirs,
    /// The directory that was scanned last.
    last: Option<u64>,
    /// Where widening has come to, next first.
    steps: VecDeque<Step>,
    /// The tree that was widened to last.
    widest: Option<Oid>,
    /// What is to be asked for, next first.
    ready: VecDeque<(Oid, Place)>,
    unread: FxHashMap<Oid, Unread>,
    /// Read while its prefetch was out; whether it came ahead shows at the end of that.
    early: FxHashSet<Oid>,
    unread_bytes: u64,
    /// How many of `unread` are on their way.
    coming: u64,
    read_bytes: u64,
    base: u64,
    /// Bytes read since the base was last doubled.
    credit: u64,
    /// More than this never lies unread, whatever was read: a share of the memory tier.
    ceiling: u64,
    paused_until: Duration,
    /// Failures since the last prefetch that ended well.
    failures: u32,
    /// Whether everything is to come, so that nothing is given up.
    all: bool,
    /// What was too large for a prefetch: it comes when somebody wants it.
    large: FxHashSet<Oid>,
    figures: Figures,
}

impl Scan {
    /// Nothing seen yet. `memory` is the memory tier's budget in bytes.
    pub fn new(memory: u64) -> Self {
        Self {
            dirs: Dirs::default(),
            last: None,
            steps: VecDeque::new(),
            widest: None,
            ready: VecDeque::new(),
            unread: FxHashMap::default(),
            early: FxHashSet::default(),
            unread_bytes: 0,
            coming: 0,
            read_bytes: 0,
            base: BASE,
            credit: 0,
            ceiling: memory / 4,
            paused_until: Duration::ZERO,
            failures: 0,
            all: false,
            large: FxHashSet::default(),
            figures: Figures::default(),
        }
    }

    /// Whether everything is to come.
    pub fn wants_all(&self) -> bool {
        self.all
    }

    /// Everything below `root` is to come, whatever is read.
    pub fn want_all(&mut self, root: Oid) {
        self.all = true;
        self.base = u64::MAX;
        self.ceiling = u64::MAX;
        self.widen(root, 0, true);
    }

    /// Notes a directory's listing; its number.
    pub fn listed(&mut self, tree: Oid, listing: &Listing<Node>) -> u64 {
        self.dirs.listed(tree, listing)
    }

    /// Notes that somebody begins to read the entries of a directory.
    pub fn entered(&mut self, dir: u64) {
        if let Some(dir) = self.dirs.get_mut(dir) {
            dir.entered = true;
        }
    }

    /// Notes that the file at `place` was asked for and is not here.
    pub fn missed(&mut self, place: Place) {
        self.touched(place);
    }

    /// Notes that the size of the file at `place` was asked for and is not known. Who has read the directory's
    /// entries wants all of their sizes: so `ls -l` waits for one answer, not for two. Of a directory that one
    /// request can't bring, the first says too little: a searcher with two threads may begin far from where it
    /// goes on, and what came would lie unread.
    pub fn missed_size(&mut self, place: Place) {
        self.touched(place);
        if let Some(dir) = self.dirs.get(place.dir)
            && dir.entered
            && dir.blobs as usize <= BATCH
        {
            self.scanned(place);
        }
    }

    /// Notes that `bytes` were brought because somebody wanted them.
    pub fn read(&mut self, bytes: u64) {
        self.read_bytes = self.read_bytes.saturating_add(bytes);
    }

    /// Notes that an object of this size was read. True if it was asked for ahead.
    pub fn used(&mut self, oid: &Oid, bytes: u64) -> bool {
        let Some(unread) = self.unread.remove(oid) else {
            return false;
        };
        self.forget(&unread);
        match unread.size {
            Some(_) => self.figures.used += 1,
            None => {
                self.early.insert(*oid);
            }
        }
        self.read(bytes);
        self.credit += bytes;
        if self.credit >= self.base {
            self.credit = 0;
            self.base = self.base.max((self.base.saturating_mul(2)).min(BASE));
        }
        self.touched(unread.place);
        true
    }

    /// How many objects were asked for ahead and not read yet.
    pub fn unread(&self) -> usize {
        self.unread.len()
    }

    /// Whether the object was asked for ahead and not read yet.
    pub fn is_unread(&self, oid: &Oid) -> bool {
        self.unread.contains_key(oid)
    }

    /// Figures so far.
    pub fn figures(&self) -> Figures {
        self.figures
    }

    fn forget(&mut self, unread: &Unread) {
        match unread.size {
            Some(size) => self.unread_bytes -= size,
            None => self.coming -= 1,
        }
    }

    fn touched(&mut self, place: Place) {
        let Some(dir) = self.dirs.get_mut(place.dir) else {
            return;
        };
        if dir.recent.contains(&place.index) {
            return;
        }
        let is_near = |recent: &u32| *recent != u32::MAX && recent.abs_diff(place.index) <= GAP;
        let near = dir.recent.iter().any(is_near);
        dir.recent.rotate_right(1);
        dir.recent[0] = place.index;
        if near || dir.blobs <= 2 {
            self.scanned(place);
        }
    }

    /// The directory of `place` is being read from entry to entry, now at `place`.
    fn scanned(&mut self, place: Place) {
        if self.last != Some(place.dir)
            && let Some(last) = self.last.replace(place.dir)
            && let Some((tree, from, forward)) = self.walk(last, place.dir)
        {
            self.widen(tree, from, forward);
        }
        let Some(tree) = self.dirs.get(place.dir).map(|dir| dir.tree) else {
            return;
        };
        if self.dirs.mark(&tree, Mark::Widened) {
            self.steps.push_front(Step::Files {
                tree,
                from: place.index,
            });
        }
    }

    /// The tree that two directories are in, if a walk through it may lead from one to the other:
    /// where the later one stands in it, and in which direction the walk goes.
    fn walk(&self, before: u64, after: u64) -> Option<(Oid, u32, bool)> {
        let (way_before, way_after) = (self.dirs.way_up(before), self.dirs.way_up(after));
        let ((tree, to), (_, from)) = way_after.iter().find_map(|after| {
            let before = way_before.iter().find(|before| before.0 == after.0);
            Some((after, before?))
        })?;
        match (*from, *to) {
            // One is in the other.
            (None, to) => Some((*tree, to.unwrap_or(0), true)),
            (Some(from), None) => Some((*tree, from, true)),
            (Some(from), Some(to)) if from.abs_diff(to) <= DIR_GAP => Some((*tree, to, to >= from)),
            _ => None,
        }
    }

    fn widen(&mut self, tree: Oid, from: u32, forward: bool) {
        if !self.dirs.mark(&tree, Mark::Walked) {
            return;
        }
        let climbs = self
            .widest
            .and_then(|widest| self.dirs.number(&widest))
            .is_some_and(|widest| self.dirs.way_up(widest).iter().any(|(dir, _)| *dir == tree));
        if !climbs {
            self.drop_plans();
        }
        self.widest = Some(tree);
        self.steps.push_back(Step::Tree {
            tree,
            from,
            forward,
        });
    }

    /// The scan goes on elsewhere: what was planned and not asked for is not asked for.
    fn drop_plans(&mut self) {
        for step in std::mem::take(&mut self.steps) {
            match step {
                Step::Files { tree, .. } => self.may_widen_again(&tree),
                Step::Tree { tree, .. } => self.dirs.unmark(&tree, Mark::Walked),
            }
        }
        for (_, place) in std::mem::take(&mut self.ready) {
            self.may_widen_again_at(place);
        }
    }

    fn may_widen_again(&mut self, tree: &Oid) {
        self.dirs.unmark(tree, Mark::Asked);
        self.dirs.unmark(tree, Mark::Widened);
    }

    fn may_widen_again_at(&mut self, place: Place) {
        if let Some(tree) = self.dirs.get(place.dir).map(|dir| dir.tree) {
            self.may_widen_again(&tree);
        }
    }

    /// How many objects one request asks for at the most, by what was read so far.
    fn batch(&self) -> usize {
        match self.all {
            true => LARGEST_BATCH,
            false => {
                let paid = usize::try_from(self.figures.used / PAID).unwrap_or(usize::MAX);
                paid.clamp(BATCH, LARGEST_BATCH)
            }
        }
    }

    /// Whether what is ready makes less than half a request.
    pub fn is_little_ready(&self) -> bool {
        self.ready.len() < self.batch() / 2
    }

    /// The next step to take, if there is room for what it would bring and nothing else is ready.
    pub fn next_step(&mut self, now: Duration) -> Option<Step> {
        if self.ready.len() >= self.batch() || self.room(now) == 0 {
            return None;
        }
        self.steps.pop_front()
    }

    /// Takes a step, whose tree has this listing.
    pub fn take_step(&mut self, step: Step, listing: &Listing<Node>) {
        let dir = self.listed(step.tree(), listing);
        let all = || (0..).zip(listing.iter());
        let blobs = |entry: &Node| !matches!(entry.mode, EntryMode::Dir | EntryMode::Gitlink);
        if self.dirs.mark(&step.tree(), Mark::Asked) {
            self.dirs.mark(&step.tree(), Mark::Widened);
            let files = all().filter(|(_, entry)| blobs(entry.node) && entry.kind != Kind::Dir);
            let mut files: Vec<(Oid, Place)> = files
                .map(|(index, entry)| (entry.node.oid, Place { dir, index }))
                .filter(|(oid, _)| !self.unread.contains_key(oid))
                .collect();
            match step {
                Step::Files { from, .. } => {
                    files.sort_by_key(|(_, place)| place.index.abs_diff(from));
                    for file in files.into_iter().rev() {
                        self.ready.push_front(file);
                    }
                }
                Step::Tree { .. } => self.ready.extend(files),
            }
        }
        if let Step::Tree { from, forward, .. } = step {
            let dirs = all().filter(|(_, entry)| entry.node.mode == EntryMode::Dir);
            let (mut ahead, mut behind): (Vec<_>, Vec<_>) = dirs
                .map(|(index, entry)| (index, entry.node.oid))
                .partition(|(index, _)| {
                    if forward {
                        *index >= from
                    } else {
                        *index <= from
                    }
                });
            match forward {
                true => behind.reverse(),
                false => ahead.reverse(),
            }
            for (_, tree) in ahead.into_iter().chain(behind).rev() {
                if self.dirs.mark(&tree, Mark::Walked) {
                    self.steps.push_front(Step::Tree {
                        tree,
                        from: if forward { 0 } else { u32::MAX },
                        forward,
                    });
                }
            }
        }
    }

    /// Gives a step back whose tree could not be read.
    pub fn give_up(&mut self, step: Step) {
        match step {
            Step::Files { tree, .. } => self.may_widen_again(&tree),
            Step::Tree { tree, .. } => self.dirs.unmark(&tree, Mark::Walked),
        }
    }

    /// Notes an object that is too large for a prefetch.
    pub fn note_large(&mut self, oid: Oid) {
        if self.large.len() == MAX_LARGE {
            self.large.clear();
        }
        self.large.insert(oid);
    }

    /// What to ask for next, in one request; empty if there is nothing, or no room for it.
    pub fn next_batch(&mut self, now: Duration) -> Vec<Oid> {
        let room = self.room(now).min(self.batch() as u64) as usize;
        let mut batch = Vec::new();
        while batch.len() < room {
            let Some((oid, place)) = self.ready.pop_front() else {
                break;
            };
            if self.large.contains(&oid) {
                continue;
            }
            let unread = Unread {
                place,
                size: None,
                since: now,
            };
            if let std::collections::hash_map::Entry::Vacant(entry) = self.unread.entry(oid) {
                entry.insert(unread);
                self.coming += 1;
                batch.push(oid);
            }
        }
        batch
    }

    /// For how many objects there is room.
    fn room(&mut self, now: Duration) -> u64 {
        if now < self.paused_until {
            return 0;
        }
        if self.room_left() == 0 {
            self.write_off(now);
        }
        self.room_left()
    }

    fn room_left(&self) -> u64 {
        let allowed = self.base.max(self.read_bytes.saturating_mul(2));
        let taken = self.unread_bytes + self.coming * self.guess();
        let room = allowed.min(self.ceiling).saturating_sub(taken) / self.guess();
        match self.all {
            true => room,
            false => room.min(MAX_UNREAD.saturating_sub(self.unread.len()) as u64),
        }
    }

    /// The size in bytes that an object is taken for until it is here.
    fn guess(&self) -> u64 {
        match self.figures.came {
            0 => FIRST_GUESS,
            came => (self.figures.came_bytes / came).max(64),
        }
    }

    /// Gives up on what lies unread for long.
    fn write_off(&mut self, now: Duration) {
        let before = self.unread.len();
        let mut freed = 0;
        self.unread.retain(|_, unread| match unread.size {
            Some(size) if unread.since + PATIENCE <= now => {
                freed += size;
                false
            }
            _ => true,
        });
        self.unread_bytes -= freed;
        if self.unread.len() < before && self.base <= BASE {
            self.base = (self.base / 2).max(LEAST_BASE);
        }
    }

    /// Notes what became of a batch. If everything is to come and the origin failed: when to go on.
    pub fn ended(&mut self, batch: &[Oid], result: Prefetched, now: Duration) -> Option<Duration> {
        for (oid, size) in &result.came {
            self.figures.came += 1;
            self.figures.came_bytes += size;
            self.figures.used += u64::from(self.early.remove(oid));
            let is_full = self.unread.len() > MAX_UNREAD;
            if let Some(unread) = self.unread.get_mut(oid)
                && unread.size.is_none()
            {
                self.coming -= 1;
                if self.all && is_full {
                    self.unread.remove(oid);
                } else {
                    unread.size = Some(*size);
                    unread.since = now;
                    self.unread_bytes += size;
                }
            }
        }
        // What did not come; what was here already among it.
        let mut rest = Vec::new();
        let asked: FxHashSet<&Oid> = result.asked.iter().collect();
        for oid in batch {
            self.early.remove(oid);
            if self
                .unread
                .get(oid)
                .is_some_and(|unread| unread.size.is_none())
            {
                let place = self.unread.remove(oid).expect("just seen").place;
                self.coming -= 1;
                rest.extend(asked.contains(oid).then_some((*oid, place)));
            }
        }
        match result.unfinished {
            None => {}
            Some(Unfinished::TooLarge) => {
                let mut rest = rest.into_iter();
                // The first that did not come is most likely the one that is too large; if not, the next try
                // tells.
                if let Some((large, _)) = rest.next() {
                    self.note_large(large);
                }
                self.again(rest);
            }
            Some(Unfinished::Failed(OriginError::MissingObject {
                oid: Some(missing), ..
            })) => self.again(rest.into_iter().filter(|(oid, _)| *oid != missing)),
            // Which one nobody knows: they are left to those who want them.
            Some(Unfinished::Failed(OriginError::MissingObject { oid: None, .. })) => {}
            Some(Unfinished::Failed(error)) => {
                tracing::debug!(%error, "a prefetch failed");
                let pause = PAUSE * (1 << self.failures.min(DOUBLINGS));
                self.failures += 1;
                self.paused_until = now + pause;
                if self.all {
                    self.again(rest.into_iter());
                    return Some(pause);
                }
                for (_, place) in rest {
                    self.may_widen_again_at(place);
                }
                return None;
            }
        }
        self.failures = 0;
        None
    }

    fn again(&mut self, rest: impl DoubleEndedIterator<Item = (Oid, Place)>) {
        for file in rest.rev() {
            self.ready.push_front(file);
        }
    }
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;

//! Who goes through directories and looks at no file, as `find` does. May import: bonsaifs-core.
//!
//! A listing with attributes makes the kernel create an inode for each entry, which is most of what `find` costs.
//! Whoever needs directories only is told the attributes of directories only.
//!
//! Nothing in the protocol says who that is: with all attributes told, `find` and `ls -lR` ask the same. So a thread that
//! has been given some directories in full gets small ones without, and goes on like that if nobody looks up what is
//! in them. A look-up by the thread itself, or several by others, and it gets all attributes again and is not tried
//! again for long.
//!
//! The kernel keeps listings. Whoever comes later to a directory that was told without attributes looks up each of its
//! files, so after some such look-ups the kernel is asked to drop all these listings.
//!
//! Always holds: what is told differs in attributes only, so a wrong guess costs time and never a wrong answer. All tables
//! are bounded.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
};

use bonsaifs_core::fs::{Ino, Kind, Listing, Told};

/// Directories that a thread gets in full before it is tried for the first time.
const FIRST_WAIT: u32 = 8;
/// How many times as many before the next, each time that it was wrong.
const WAIT_FACTOR: u32 = 8;
/// How many times the entries of a directory the thread must have got in full before it is good for a trial: what it costs
/// to be wrong, which is a look-up of each file, is then bounded by what the thread has read.
const TIMES: usize = 2;
/// Trials that nobody minded, until a thread gets directories of any size that way.
const TRIALS: u32 = 3;
/// Look-ups by other threads in directories that one walks through, until it is taken for no walker: a search has its
/// files opened by others.
const LOOKS_OF_OTHERS: u32 = 8;
/// Look-ups in directories told without attributes, until the kernel is asked to drop their listings.
const LOOKS: u32 = 32;
/// Threads that are remembered.
const THREADS: usize = 256;
/// Directories told without attributes that are remembered.
const BARE: usize = 1 << 16;

/// See the module's header.
#[derive(Default)]
pub(super) struct Walkers {
    state: Mutex<State>,
    /// As many as `State::bare` has, to be looked at without the lock.
    bare: AtomicUsize,
}

#[derive(Default)]
struct State {
    threads: HashMap<u32, Walker>,
    /// Directories told without attributes, and to whom.
    bare: HashMap<Ino, u32>,
    /// Look-ups in these.
    looks: u32,
    /// Counts all that is asked, to know which thread was here last.
    now: u64,
}

#[derive(Clone, Copy)]
struct Walker {
    /// Directories told in full since the last time that it was wrong, and their entries.
    full: u32,
    entries: usize,
    /// How many there must be before a trial.
    wait: u32,
    /// Trials that nobody minded.
    trials: u32,
    looks_of_others: u32,
    seen: u64,
}

impl Walker {
    fn told<N>(&mut self, listing: &Listing<N>) -> Told {
        if self.trials >= TRIALS {
            return Told::Dirs;
        }
        let few = listing.len().saturating_mul(TIMES) <= self.entries;
        let has_file = || listing.iter().any(|entry| entry.kind != Kind::Dir);
        if self.full >= self.wait && few && has_file() {
            self.trials += 1;
            return Told::Dirs;
        }
        self.full = self.full.saturating_add(1);
        self.entries = self.entries.saturating_add(listing.len());
        Told::All
    }

    fn was_wrong(&mut self) {
        *self = Self {
            wait: self.wait.saturating_mul(WAIT_FACTOR),
            seen: self.seen,
            ..Self::default()
        };
    }
}

impl Default for Walker {
    fn default() -> Self {
        Self {
            full: 0,
            entries: 0,
            wait: FIRST_WAIT,
            trials: 0,
            looks_of_others: 0,
            seen: 0,
        }
    }
}

impl Walkers {
    /// What to tell thread `tid` of directory `dir`, which it reads from `offset`. 0 is a thread that can't be seen from
    /// here, which may be any.
    pub fn told<N>(&self, tid: u32, dir: Ino, listing: &Listing<N>, offset: u64) -> Told {
        if tid == 0 {
            return Told::All;
        }
        let mut state = self.lock();
        if offset > 0 {
            // As it began.
            return match state.bare.get(&dir) {
                Some(of) if *of == tid => Told::Dirs,
                _ => Told::All,
            };
        }
        let told = state.thread(tid).told(listing);
        match told {
            Told::All => state.bare.remove(&dir),
            Told::Dirs => {
                if state.bare.len() == BARE {
                    state.bare.clear();
                }
                state.bare.insert(dir, tid)
            }
        };
        self.bare.store(state.bare.len(), Ordering::Relaxed);
        told
    }

    /// Thread `tid` looked up a file of directory `dir`. Gives the directories whose listings the kernel is to drop, in
    /// the order of their numbers.
    pub fn looked_up(&self, tid: u32, dir: Ino) -> Vec<Ino> {
        if self.bare() == 0 {
            return Vec::new();
        }
        let mut state = self.lock();
        let Some(&of) = state.bare.get(&dir) else {
            return Vec::new();
        };
        if let Some(walker) = state.threads.get_mut(&of) {
            walker.looks_of_others += u32::from(of != tid);
            if of == tid || walker.looks_of_others >= LOOKS_OF_OTHERS {
                walker.was_wrong();
            }
        }
        state.looks += 1;
        if state.looks < LOOKS {
            return Vec::new();
        }
        state.looks = 0;
        let bare = std::mem::take(&mut state.bare);
        self.bare.store(0, Ordering::Relaxed);
        drop(state);
        let mut dirs: Vec<Ino> = bare.into_keys().collect();
        dirs.sort_unstable();
        dirs
    }

    /// Directories that were told without attributes, as far as that is remembered.
    pub fn bare(&self) -> usize {
        self.bare.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds it")
    }
}

impl State {
    fn thread(&mut self, tid: u32) -> &mut Walker {
        self.now += 1;
        if self.threads.len() == THREADS && !self.threads.contains_key(&tid) {
            let oldest = self.threads.iter().min_by_key(|(_, walker)| walker.seen);
            let oldest = oldest.map(|(tid, _)| *tid);
            oldest.and_then(|tid| self.threads.remove(&tid));
        }
        let walker = self.threads.entry(tid).or_default();
        walker.seen = self.now;
        walker
    }
}

#[cfg(test)]
mod tests {
    use bonsaifs_core::fs::{ListingBuilder, Timestamp};

    use super::*;

    const FIND: u32 = 1;

    fn listing(files: usize, dirs: usize) -> Listing<()> {
        let mut builder = ListingBuilder::new();
        for number in 0..files + dirs {
            let kind = if number < files {
                Kind::File
            } else {
                Kind::Dir
            };
            let (name, time) = (format!("{number}"), Timestamp::default());
            builder.push(name.as_bytes(), (), kind, 0o644, time, Some(0));
        }
        builder.build().0
    }

    fn next(walkers: &Walkers, number: u64) -> Told {
        walkers.told(FIND, Ino(number), &listing(2, 1), 0)
    }

    fn walking(walkers: &Walkers, from: u64) {
        let told: Vec<_> = (from..from + 9).map(|at| next(walkers, at)).collect();
        let (last, before) = told.split_last().expect("nine");
        assert!(before.iter().all(|told| *told == Told::All));
        assert_eq!(*last, Told::Dirs);
    }

    #[test]
    fn who_looks_at_no_file_is_told_of_directories() {
        let walkers = Walkers::default();
        walking(&walkers, 0);
        // While it is a trial, of small directories only: 24 entries came in full.
        assert_eq!(walkers.told(FIND, Ino(20), &listing(13, 0), 0), Told::All);
        assert_eq!(walkers.told(FIND, Ino(21), &listing(0, 3), 0), Told::All);
        assert_eq!(next(&walkers, 22), Told::Dirs);
        assert_eq!(next(&walkers, 23), Told::Dirs);
        assert_eq!(walkers.told(FIND, Ino(24), &listing(40, 0), 0), Told::Dirs);
        assert_eq!(walkers.told(FIND, Ino(24), &listing(40, 0), 9), Told::Dirs);
        // Others are others, and who can't be seen may be anyone.
        assert_eq!(walkers.told(2, Ino(25), &listing(2, 1), 0), Told::All);
        assert_eq!(walkers.told(2, Ino(24), &listing(40, 0), 9), Told::All);
        for number in 100..200 {
            let told = walkers.told(0, Ino(number), &listing(2, 1), 0);
            assert_eq!(told, Told::All);
        }
    }

    #[test]
    fn a_large_directory_is_good_for_a_trial_once_twice_as_much_came_in_full() {
        let walkers = Walkers::default();
        assert!((0..8).all(|at| next(&walkers, at) == Told::All));
        let large = listing(1000, 0);
        let told = |at| walkers.told(FIND, Ino(at), &large, 0);
        assert_eq!((100..).take_while(|at| told(*at) == Told::All).count(), 2);
        assert!((1000..1100).all(|at| told(at) == Told::Dirs));
    }

    #[test]
    fn who_looks_at_a_file_is_told_all_for_long() {
        let walkers = Walkers::default();
        walking(&walkers, 0);
        // What was told in full says nothing.
        walkers.looked_up(FIND, Ino(3));
        assert_eq!(next(&walkers, 20), Told::Dirs);
        walkers.looked_up(FIND, Ino(20));
        let all = (100..).take_while(|at| next(&walkers, *at) == Told::All);
        assert_eq!(all.count(), 64);
    }

    #[test]
    fn looks_of_others_tell_of_a_search_with_many_threads() {
        let walkers = Walkers::default();
        walking(&walkers, 0);
        (0..7).for_each(|_| drop(walkers.looked_up(2, Ino(8))));
        assert_eq!(next(&walkers, 20), Told::Dirs);
        walkers.looked_up(2, Ino(8));
        assert_eq!(next(&walkers, 21), Told::All);
    }

    #[test]
    fn the_kernel_drops_bare_listings_once_files_in_them_are_looked_at() {
        let walkers = Walkers::default();
        walking(&walkers, 0);
        assert_eq!(next(&walkers, 20), Told::Dirs);
        for _ in 0..31 {
            assert_eq!(walkers.looked_up(2, Ino(20)), []);
        }
        assert_eq!(walkers.looked_up(2, Ino(8)), [Ino(8), Ino(20)]);
        // Their next listings are full, or are remembered anew.
        assert!((0..100).all(|_| walkers.looked_up(2, Ino(20)).is_empty()));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let walkers = Walkers::default();
        for tid in 1..1000 {
            walkers.told(tid, Ino(1), &listing(1, 0), 0);
        }
        assert_eq!(walkers.lock().threads.len(), THREADS);
        let small = listing(1, 0);
        for number in 0..100_000 {
            walkers.told(FIND, Ino(number), &small, 0);
        }
        let bare = walkers.lock().bare.len();
        assert!((1..=BARE).contains(&bare), "{bare}");
        assert_eq!(walkers.bare(), bare);
    }
}

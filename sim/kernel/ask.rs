//! One operation: the half that answers at once, else the half that waits, which may be interrupted at
//! any of its awaits.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    future::Future,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use bonsaifs::git::oid::Oid;
use bonsaifs_core::fs::{AsyncFs, Dropped, FsError, FsErrorKind, FsResult};

use super::{
    Held, Kernel,
    front::{Asking, Front, Sent},
};
use crate::{
    context::{MountState, Shared},
    marks,
    plan::{INTERRUPTED, Step},
    props::{
        no_lie::{self, Asked},
        stranded,
        truth::shown,
        unread::Met,
        warm::{self, Warm},
    },
    repo::{Commit, Entry, join, split},
    runtime::unix_seconds,
    trace::{Class, now},
    wire::Wire,
};

/// See [`Mounted::untold`].
#[derive(Default)]
pub struct Untold(RefCell<Option<(Oid, Arc<AtomicBool>)>>);

impl Untold {
    /// A refresh begins, of a mount that shows `commit`. What it gives is set once the kernel was told.
    pub fn begin(&self, commit: Oid) -> Arc<AtomicBool> {
        let told = Arc::new(AtomicBool::new(false));
        *self.0.borrow_mut() = Some((commit, Arc::clone(&told)));
        told
    }

    /// Whether it is so, of a mount that shows `commit`.
    pub fn is_so(&self, commit: Oid) -> bool {
        let under_way = self.0.borrow();
        let under_way = under_way.as_ref();
        under_way.is_some_and(|(before, told)| *before != commit && !told.load(Ordering::Relaxed))
    }

    /// It is over, however it ended.
    pub fn end(&self) {
        *self.0.borrow_mut() = None;
    }
}

/// A mount in use.
pub struct Mounted {
    pub world: Shared,
    /// Its place in the plan.
    pub index: usize,
    pub fs: Arc<AsyncFs<bonsaifs::repo::RepoFs>>,
    pub front: Front,
    pub kernel: Kernel,
    /// The commits that it has shown, and the refreshes that led to each: from when to when, in seconds since the Unix epoch.
    pub shown: RefCell<Vec<(Oid, (i64, i64))>>,
    /// What the kernel is told to drop, on its way there.
    pub told: Arc<Mutex<Vec<Dropped>>>,
    /// Held by a refresh.
    pub refreshing: tokio::sync::Mutex<()>,
    /// When the refresh under way began.
    pub refresh_began: Cell<Duration>,
    /// Whether a switch has happened that the kernel was not told of yet. What is answered in this moment may be
    /// of a directory that has gone, and will be dropped with it.
    pub untold: Untold,
    /// Steps under way, for checks that want a moment of rest.
    pub busy: Cell<u64>,
    /// No new steps: an unmount waits for those under way.
    pub draining: Cell<bool>,
    /// What was answered so far.
    pub warm: RefCell<Warm>,
    /// Directories of which a file was asked for.
    pub visited: RefCell<BTreeSet<Vec<u8>>>,
}

/// A program was interrupted, got an error that is not its fault, or finds that what it was after has gone with a
/// refresh: it gives up what it was doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    Interrupted,
    Failed,
    Moved,
}

/// How a program's step may be interrupted.
pub struct Interrupt {
    /// At the so many-th time that the program waits; never if there is none.
    at: Cell<Option<u32>>,
    /// After it has waited that long then: only so others come to wait for what it began.
    after: Duration,
}

impl Interrupt {
    /// As `step` says.
    pub fn of(step: &Step) -> Self {
        let after = [0, 0, 5, 40, 300][step.arg as usize / 8 % 5];
        Self {
            at: Cell::new(step.cancel),
            after: Duration::from_millis(after),
        }
    }

    /// If it is to be, it is interrupted the next time that the program waits.
    fn hasten(&self) {
        self.at.set(self.at.get().and(Some(0)));
    }

    /// `work`, or `None` if it is interrupted.
    async fn cut<F: Future>(&self, work: F) -> Option<F::Output> {
        let mut work = pin!(work);
        let mut patience = pin!(tokio::time::sleep(self.after));
        let mut waits = false;
        std::future::poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => match self.at.get() {
                Some(0) if self.after.is_zero() => Poll::Ready(None),
                Some(0) => {
                    if !waits {
                        waits = true;
                        let until = tokio::time::Instant::now() + self.after;
                        patience.as_mut().reset(until);
                    }
                    patience.as_mut().poll(cx).map(|()| None)
                }
                Some(n) => {
                    self.at.set(Some(n - 1));
                    Poll::Pending
                }
                None => Poll::Pending,
            },
        })
        .await
    }
}

/// What is asked, for the trace and the properties.
pub struct Question<'a> {
    pub what: &'static str,
    pub path: &'a [u8],
    /// The object that the answer needs, where it is one.
    pub oid: Option<Oid>,
    pub asked: Asked,
}

/// Removes an operation from those under way when it ends, however it ends.
struct Open<'a> {
    world: &'a Shared,
    mount: &'a MountState,
    id: u64,
    oid: Option<Oid>,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.world.under_way.borrow_mut().end(self.id);
        if let Some(oid) = &self.oid {
            let mut waiting = self.mount.waiting.borrow_mut();
            if let Some(ids) = waiting.get_mut(oid) {
                ids.retain(|id| *id != self.id);
                if ids.is_empty() {
                    waiting.remove(oid);
                }
            }
        }
    }
}

impl Mounted {
    /// What the mount shows.
    pub fn truth<R>(&self, look: impl FnOnce(&Commit) -> R) -> R {
        let shown = self.times_shown();
        self.truth_at(shown, look)
    }

    /// What it shows since the `shown`-th commit came, from 1.
    pub fn truth_at<R>(&self, shown: usize, look: impl FnOnce(&Commit) -> R) -> R {
        let commit = self.shown.borrow()[shown - 1].0;
        let repo = self.world.plan.mounts[self.index].repo;
        self.world
            .server
            .with(|server| look(&server.repos[repo].commits[&commit]))
    }

    /// Whether what is shown has nothing at `path`.
    pub fn is_absent(&self, path: &[u8]) -> bool {
        self.truth(|commit| commit.at(path).is_none())
    }

    /// A name that another commit has in the directory `dir`, and the one that is shown doesn't.
    pub fn name_elsewhere(&self, dir: &[u8], pick: u32) -> Option<Vec<u8>> {
        let mount = &self.world.plan.mounts[self.index];
        if !mount.follow {
            return None;
        }
        let all: Vec<Vec<u8>> = self.world.server.with(|server| {
            let commits = server.repos[mount.repo].commits.values();
            let dirs = commits.filter_map(|commit| commit.at(dir));
            dirs.flat_map(|dir| dir.names().to_vec()).collect()
        });
        let mut absent = all;
        absent.retain(|name| self.is_absent(&join(dir, name)));
        let pick = pick as usize % absent.len().max(1);
        absent.into_iter().nth(pick)
    }

    /// How many commits it has shown. Notes one that is new, and drops what the kernel was told to.
    pub fn times_shown(&self) -> usize {
        if !self.world.plan.mounts[self.index].follow {
            return 1;
        }
        let commit = self.fs.provider().commit();
        let last = self.shown.borrow().last().map(|last| last.0);
        if last != Some(commit) {
            let time = (
                unix_seconds(self.refresh_began.get()),
                unix_seconds(now()) + 1,
            );
            self.shown.borrow_mut().push((commit, time));
            *self.warm.borrow_mut() = Warm::default();
        }
        let mut told = self.told.lock().expect("a list that is only pushed to");
        for dropped in told.drain(..) {
            self.kernel.drop_cached(&dropped);
        }
        drop(told);
        self.shown.borrow().len()
    }

    /// What stands behind an inode, and how many commits had been shown when it began to: of a directory that is
    /// still there what it is now, of all else what was told of it.
    pub fn entry_of(&self, held: &Held) -> (Entry, usize) {
        let shown = self.times_shown();
        let told = self.kernel.entry(held.ino());
        let path = held.path();
        let now = self.truth(|commit| commit.at(&path).cloned());
        match (told, now) {
            (Some((entry, at)), Some(now)) if entry.is_dir() != now.is_dir() => (entry, at),
            (Some((entry, at)), _) if !entry.is_dir() || !self.kernel.is_attached(held.ino()) => {
                (entry, at)
            }
            (_, Some(now)) => (now, shown),
            (Some(told), None) => told,
            (None, None) => unreachable!("the root is always there"),
        }
    }

    /// The times that `path` may have since the `shown`-th commit came, each at least and at most: that of the refresh that
    /// changed it last, or the first commit's; where something can fail also those of other refreshes, as what can't be
    /// compared counts as changed.
    pub fn times_of(&self, path: &[u8], shown: usize) -> Vec<(i64, i64)> {
        let first = self.truth_at(1, |commit| commit.time);
        let mut times = vec![(first, first)];
        for at in 2..=shown {
            let entry = |at| self.truth_at(at, |commit| commit.at(path).cloned());
            if !self.world.is_faultless() {
                times.push(self.shown.borrow()[at - 1].1);
            } else if entry(at - 1) != entry(at) {
                times = vec![self.shown.borrow()[at - 1].1];
            }
        }
        times
    }

    pub fn state(&self) -> &MountState {
        &self.world.mounts[self.index]
    }

    /// Does one operation. The answer, or `None` if a name is not there and needn't be.
    pub async fn ask<T>(
        &self,
        question: Question<'_>,
        interrupt: &Interrupt,
        asking: Asking<'_, T>,
    ) -> Result<Option<T>, Stop> {
        let Asking { quick, slow, sent } = asking;
        let world = &self.world;
        world.operations.set(world.operations.get() + 1);
        let begin = now();
        let before = self.times_shown();
        let was_quick = quick.is_some();
        let met = self.touch(question.path, !was_quick);
        let mut shared = false;
        let result = match quick {
            Some(result) => Some(result),
            None => {
                self.judge_wait(&question);
                let describe = || {
                    format!(
                        "{}: {} {}",
                        self.state().name,
                        question.what,
                        shown(question.path)
                    )
                };
                let id = world.under_way.borrow_mut().begin(begin, describe());
                if let Some(oid) = question.oid {
                    self.state()
                        .waiting
                        .borrow_mut()
                        .entry(oid)
                        .or_default()
                        .push(id);
                }
                let open = Open {
                    world,
                    mount: self.state(),
                    id,
                    oid: question.oid,
                };
                let mut slow = slow;
                if sent.is_some() {
                    interrupt.hasten();
                }
                let result = interrupt.cut(slow.as_mut()).await;
                if let (None, Some(sent)) = (&result, &sent) {
                    self.kill(sent, slow).await;
                }
                shared = self.note_sharing(&open, result.is_none());
                self.note_filling(&question);
                result
            }
        };
        self.note(&question, begin, was_quick, result.as_ref());
        if let Some(sent) = sent.filter(Sent::met_a_switch) {
            if let Some(Ok(value)) = result {
                sent.give_back(value);
            }
            return Err(Stop::Moved);
        }
        let found = matches!(result, Some(Ok(_)));
        let absent = matches!(&result, Some(Err(error)) if error.kind() == FsErrorKind::NotFound);
        if (found || absent) && self.times_shown() == before && self.is_of_now(&question) {
            let mut warm = self.warm.borrow_mut();
            warm.answered(question.what, question.path, found);
        }
        match result {
            None => {
                world.counts.add(&format!("fault: {INTERRUPTED}"));
                Err(Stop::Interrupted)
            }
            Some(Ok(value)) => {
                if shared {
                    world.counts.add(marks::JOINED);
                }
                if let Some(wire) = self.wire() {
                    wire.got(met);
                }
                if self.state().failed.borrow_mut().remove(question.path) {
                    world.counts.add(marks::RECOVERED);
                }
                Ok(Some(value))
            }
            Some(Err(error)) if self.is_gone(&question, &error, before) => Err(Stop::Moved),
            Some(Err(error)) => {
                let check = no_lie::failure(question.asked, error.kind(), world.excuse(begin));
                let check = check.map_err(|wrong| {
                    format!(
                        "{} {} at {}: {wrong}: {error}",
                        question.what,
                        shown(question.path),
                        self.state().name
                    )
                });
                world.verdicts.judge(no_lie::NAME, check);
                if question.asked == Asked::Absent && error.kind() == FsErrorKind::NotFound {
                    return Ok(None);
                }
                if shared {
                    world.counts.add(marks::FAILURE_SHARED);
                }
                self.state()
                    .failed
                    .borrow_mut()
                    .insert(question.path.to_owned());
                Err(Stop::Failed)
            }
        }
    }

    /// The program that asked is killed, and waits for its answer all the same.
    async fn kill<T>(&self, sent: &Sent<'_, T>, slow: impl Future<Output = FsResult<T>>) {
        let begin = now();
        sent.kill();
        let answer = slow.await;
        let check = stranded::killed(begin, now());
        self.world.verdicts.judge(stranded::NAME, check);
        match answer {
            Ok(value) => {
                self.world.counts.add(marks::ANSWERED_LATE);
                sent.give_back(value);
            }
            Err(_) => self.world.counts.add(marks::KILLED_AND_TOLD),
        }
    }

    /// Whether what was asked for when the mount had shown `before` commits is right to be missing now.
    fn is_gone(&self, question: &Question<'_>, error: &FsError, before: usize) -> bool {
        let was_there = question.asked == Asked::Possible;
        let shown = self.times_shown();
        let moved = shown.max(before) > 1;
        let is_absent_at = |at| self.truth_at(at, |commit| commit.at(question.path).is_none());
        // Where a directory could not be compared with what it is now, the old one, which may lack what came, is dropped
        // in a moment.
        let may_be_old = self.untold.is_so(self.front.commit());
        let missing = matches!(
            error.kind(),
            FsErrorKind::NotFound | FsErrorKind::NotADirectory
        );
        let is_right = || is_absent_at(shown) || may_be_old && is_absent_at(shown - 1);
        was_there && moved && missing && is_right()
    }

    /// Notes that what is at `path` is needed by somebody, who `waits` for it or doesn't have to.
    pub fn touch(&self, path: &[u8], waits: bool) -> Met {
        let oid = self.truth(|commit| {
            let entry = commit.at(path);
            entry.filter(|entry| !entry.is_dir()).map(|entry| entry.oid)
        });
        let (Some(oid), Some(wire)) = (oid, self.wire()) else {
            return Met::Nothing;
        };
        let met = wire.touch(&oid, waits);
        let dir = split(path).map_or(path, |(dir, _)| dir);
        let is_new = !self.visited.borrow().contains(dir);
        if is_new {
            self.visited.borrow_mut().insert(dir.to_owned());
            if met != Met::Nothing {
                self.world.counts.add(marks::WIDENED);
            }
        }
        met
    }

    fn wire(&self) -> Option<Arc<Wire>> {
        let process = self.state().process.borrow();
        process.as_ref().map(|process| process.wire.clone())
    }

    /// Whether a question after content is after what stands there now, not after what a refresh replaced.
    fn is_of_now(&self, question: &Question<'_>) -> bool {
        let now = self.truth(|commit| commit.at(question.path).map(|entry| entry.oid));
        !matches!(question.what, "read" | "readlink" | "getattr") || question.oid == now
    }

    /// Whether what has to wait now may have to.
    fn judge_wait(&self, question: &Question<'_>) {
        if !self.is_of_now(question) {
            return;
        }
        let plan = &self.world.plan.mounts[self.index];
        let is_large = self.truth(|commit| {
            let entry = commit.at(question.path);
            entry.is_some_and(|entry| entry.size() >= bonsaifs::objects::disk::LARGE)
        });
        let check = self.warm.borrow().waits(
            question.what,
            question.path,
            question.asked == Asked::Possible,
            plan.listings >= 1 << 20,
            plan.memory >= 1 << 20 && !is_large,
        );
        self.world.verdicts.judge(warm::NAME, check);
    }

    /// Whether a directory came while others are still being filled, and the budget can't hold them.
    fn note_filling(&self, question: &Question<'_>) {
        let is_fill = matches!(question.what, "lookup" | "opendir");
        let budget = self.world.plan.mounts[self.index].listings as u64;
        let spent = budget < self.fs.stats().listing_bytes + 500;
        if is_fill && spent && self.state().waiting.borrow().len() > 1 {
            self.world.counts.add(marks::EVICTION_MET_FILL);
        }
    }

    /// Whether others wait for the same object.
    fn note_sharing(&self, open: &Open<'_>, interrupted: bool) -> bool {
        let Some(oid) = &open.oid else { return false };
        let waiting = self.state().waiting.borrow();
        let Some(ids) = waiting.get(oid).filter(|ids| ids.len() > 1) else {
            return false;
        };
        if interrupted && ids[0] == open.id {
            self.world.counts.add(marks::LEADER_LEFT);
        }
        true
    }

    fn note<T>(
        &self,
        question: &Question<'_>,
        begin: Duration,
        quick: bool,
        result: Option<&FsResult<T>>,
    ) {
        let failed = !matches!(result, Some(Ok(_)));
        self.world
            .trace
            .span(Class::Operation, &self.state().name, begin, failed, || {
                let outcome = match result {
                    None => "interrupted".to_owned(),
                    Some(Ok(_)) if quick => "ok, at once".to_owned(),
                    Some(Ok(_)) => format!("ok after {:.3}", (now() - begin).as_secs_f64()),
                    Some(Err(error)) => format!("{:?}", error.kind()),
                };
                format!("{} {} -> {outcome}", question.what, shown(question.path))
            });
    }
}

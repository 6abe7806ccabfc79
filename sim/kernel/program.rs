//! What programs do, as the kernel turns it into operations; each answer goes to the properties.

use std::time::Duration;

use bonsaifs_core::fs::{Entry as Found, FsErrorKind, Ino, Kind};

use super::{
    Held,
    ask::{Interrupt, Mounted, Question, Stop},
    front::{Asking, Handle},
};
use crate::{
    marks,
    plan::{Act, Step},
    props::{
        Check,
        no_lie::{self, Asked},
        stable_numbers, truth,
    },
    repo::{Entry, What, join},
};

/// A program's step, with the chance that it carries.
pub struct Run<'a> {
    pub at: &'a Mounted,
    pub step: &'a Step,
    pub interrupt: Interrupt,
}

pub(super) type Done<T> = Result<T, Stop>;

impl Run<'_> {
    /// Does the step.
    pub async fn run(&self) -> Done<()> {
        let entry = self.chosen();
        match self.step.act {
            Act::Stat => self.stat(&entry).await,
            Act::Read => self.read(&self.a_file(&entry)).await,
            Act::Readlink => self.readlink(&entry).await,
            Act::List => self.list(&entry).await.map(|_| ()),
            Act::Missing => self.missing(&entry).await,
            Act::Grep => self.grep(&entry).await,
            Act::Forget => {
                self.forget();
                Ok(())
            }
            Act::Look => self.look(&entry).await,
            Act::Refresh => self.at.refresh().await,
        }
    }

    fn chosen(&self) -> Entry {
        self.at.truth(|commit| {
            let len = commit.entries.len() as u64;
            commit.entries[((u64::from(self.step.path) * len) >> 32) as usize].clone()
        })
    }

    /// `entry` if it is a file, else the next one that is, so that readers read.
    fn a_file(&self, entry: &Entry) -> Entry {
        self.at.truth(|commit| {
            let after = commit
                .entries
                .iter()
                .skip_while(|other| other.path != entry.path);
            let mut files = after.filter(|entry| matches!(entry.what, What::File { .. }));
            files.next().unwrap_or(entry).clone()
        })
    }

    pub(super) fn judge(&self, property: &'static str, check: Check) {
        self.at.world.verdicts.judge(property, check);
    }

    pub(super) fn question<'e>(&self, what: &'static str, entry: &'e Entry) -> Question<'e> {
        Question {
            what,
            path: &entry.path,
            oid: Some(entry.oid),
            asked: Asked::Possible,
        }
    }

    /// From the root to `path`, by what is cached or by lookups.
    pub async fn walk(&self, path: &[u8]) -> Done<Held> {
        let mut held = self.at.kernel.hold(Ino::ROOT);
        let mut at = Vec::new();
        for (depth, name) in path
            .split(|byte| *byte == b'/')
            .filter(|name| !name.is_empty())
            .enumerate()
        {
            at = join(&at, name);
            // What the kernel has cached has not run out of time, mostly.
            let fresh = !crate::rng::mix(u64::from(self.step.arg) + depth as u64).is_multiple_of(8);
            self.at.times_shown();
            held = match self.at.kernel.child(held.ino(), name).filter(|_| fresh) {
                Some(ino) => self.at.kernel.hold(ino),
                None => self.lookup(&held, name, &at).await?,
            };
        }
        Ok(held)
    }

    async fn lookup(&self, dir: &Held, name: &[u8], path: &[u8]) -> Done<Held> {
        let oid = self.dir_oid(dir);
        let question = Question {
            what: "lookup",
            path,
            oid,
            asked: Asked::Possible,
        };
        let asking = self.at.front.lookup(dir.ino(), name);
        let found = self.at.ask(question, &self.interrupt, asking).await?;
        let found = found.expect("the answer to what must be there is never an absence");
        self.counted(dir, name, path, &found)
    }

    /// The tree object of a directory.
    fn dir_oid(&self, dir: &Held) -> Option<bonsaifs::git::oid::Oid> {
        let path = dir.path();
        self.at
            .truth(|commit| commit.at(&path).map(|entry| entry.oid))
    }

    /// A look-up named what is at `path`, `name` in `dir`. Whatever was shown when it began, that is what is shown now.
    fn counted(&self, dir: &Held, name: &[u8], path: &[u8], found: &Found) -> Done<Held> {
        let shown = self.at.times_shown();
        let dir_is_there = self
            .at
            .truth(|commit| commit.at(&dir.path()).is_some_and(Entry::is_dir));
        if !dir_is_there || !self.at.kernel.is_attached(dir.ino()) {
            // In a directory that has gone, what is found is of no account.
            self.at.front.forget(&[(found.ino, 1)]);
            return Err(Stop::Moved);
        }
        let entry = self.at.truth(|commit| truth::found(commit, path).cloned());
        let entry = match entry {
            Ok(entry) => {
                let times = self.at.times_of(path, shown);
                let check = truth::attr(&entry, &times, &found.attr);
                if check.is_err() && self.at.untold.is_so(self.at.front.commit()) {
                    // Where a directory could not be compared with what it is now, it is another one: what was
                    // found in the old one is dropped with it, in a moment.
                    self.at.front.forget(&[(found.ino, 1)]);
                    return Err(Stop::Moved);
                }
                self.judge(truth::NAME, check);
                self.numbered(path, found.attr.kind, found.ino);
                Some((entry, shown))
            }
            Err(wrong) => {
                self.judge(truth::NAME, Err(wrong));
                None
            }
        };
        self.at.kernel.counted(dir.ino(), name, found.ino, entry);
        Ok(self.at.kernel.hold(found.ino))
    }

    pub(super) fn numbered(&self, path: &[u8], kind: Kind, ino: Ino) {
        let holder = self.at.kernel.path_of(ino);
        // What a refresh changed may have another number before the kernel is told to drop it.
        let now = self.at.truth(|commit| commit.at(path).cloned());
        let is_same = |ino: &Ino| match (self.at.kernel.entry(*ino), &now) {
            (Some((told, _)), Some(now)) => {
                told == *now || (told.is_dir() && now.is_dir() && self.at.world.is_faultless())
            }
            _ => true,
        };
        let current = self.at.kernel.cached(path).filter(is_same).map(|ino| ino.0);
        let mut numbers = self.at.state().numbers.borrow_mut();
        let check = numbers.seen(path, kind as u8, ino.0, holder.as_deref(), current);
        self.judge(stable_numbers::NAME, check);
    }

    async fn stat(&self, entry: &Entry) -> Done<()> {
        let held = self.walk(&entry.path).await?;
        let before = self.at.times_shown();
        let question = self.question("getattr", entry);
        let asking = self.at.front.getattr(held.ino());
        let got = self.at.ask(question, &self.interrupt, asking).await?;
        if let Some(attr) = got {
            let (entry, shown) = self.at.entry_of(&held);
            // Of a directory that a refresh changed meanwhile it may be either.
            let shown = before.min(shown)..=shown;
            let times: Vec<_> = shown
                .flat_map(|at| self.at.times_of(&entry.path, at))
                .collect();
            self.judge(truth::NAME, truth::attr(&entry, &times, &attr));
        }
        Ok(())
    }

    async fn read(&self, entry: &Entry) -> Done<()> {
        let held = self.walk(&entry.path).await?;
        let (entry, shown) = self.at.entry_of(&held);
        let front = &self.at.front;
        let ino = held.ino();
        if !matches!(entry.what, What::File { .. }) {
            let asking = front.read(ino, None, 0, 1);
            return self.refused(&entry, "read", asking).await;
        }
        let Ok(handle) = front.open(ino) else {
            self.judge(
                truth::NAME,
                Err(format!("{} can't be opened", truth::shown(&entry.path))),
            );
            return Ok(());
        };
        let result = self.read_open(&held, handle, &entry).await;
        let now = self.at.truth(|commit| commit.at(&entry.path).cloned());
        if result.is_ok() && self.at.times_shown() > shown && now.as_ref() != Some(&entry) {
            self.at.world.counts.add(marks::OLD_READ);
        }
        front.release(ino, handle);
        result
    }

    async fn read_open(&self, held: &Held, handle: Handle, entry: &Entry) -> Done<()> {
        let size = entry.size();
        let (piece, mut offset) = match self.step.arg % 4 {
            0 => (7, size.saturating_sub(20)),
            1 => (100, u64::from(self.step.arg) % (size + 2)),
            2 => (4096, 0),
            _ => (128 << 10, 0),
        };
        // To the end, and once past it; of large files a part is enough.
        for _ in 0..8 {
            let question = self.question("read", entry);
            let asking = self.at.front.read(held.ino(), handle, offset, piece);
            let Some(data) = self.at.ask(question, &self.interrupt, asking).await? else {
                break;
            };
            self.judge(truth::NAME, truth::read(entry, offset, piece, &data));
            if size >= bonsaifs::objects::disk::LARGE {
                self.at.world.counts.add(marks::LARGE_READ);
            }
            if self.is_slow() {
                tokio::time::sleep(Duration::from_millis(40)).await;
            }
            offset += u64::from(piece);
            if offset > size + u64::from(piece) {
                break;
            }
        }
        Ok(())
    }

    /// Whether this step takes its time between two pieces of what it has open, so that a refresh may come.
    pub(super) fn is_slow(&self) -> bool {
        self.at.world.plan.mounts[self.at.index].follow && self.step.arg & 128 != 0
    }

    /// An operation that doesn't fit what stands there: any success is a lie.
    pub(super) async fn refused<T>(
        &self,
        entry: &Entry,
        what: &str,
        asking: Asking<'_, T>,
    ) -> Done<()> {
        let result = match asking.quick {
            Some(result) => result,
            None => asking.slow.await,
        };
        if result.is_ok() {
            let wrong = format!("{what} of {} succeeded", truth::shown(&entry.path));
            self.judge(truth::NAME, Err(wrong));
        }
        Ok(())
    }

    async fn readlink(&self, entry: &Entry) -> Done<()> {
        let held = self.walk(&entry.path).await?;
        let entry = &self.at.entry_of(&held).0;
        let asking = self.at.front.readlink(held.ino());
        if !matches!(entry.what, What::Link(_)) {
            return self.refused(entry, "readlink", asking).await;
        }
        let question = self.question("readlink", entry);
        let got = self.at.ask(question, &self.interrupt, asking).await?;
        if let Some(target) = got {
            self.judge(truth::NAME, truth::readlink(entry, &target));
        }
        Ok(())
    }

    async fn missing(&self, entry: &Entry) -> Done<()> {
        let held = self.walk(&entry.path).await?;
        let entry = &self.at.entry_of(&held).0;
        let absent: [&[u8]; 6] = [b"no-such-name", b".git", b"..", b".GIT", b"F1", b"\x00"];
        let other = self.at.name_elsewhere(&entry.path, self.step.arg);
        let name = match other.filter(|_| self.step.arg & 1 == 0) {
            Some(name) => &name.clone(),
            None => absent[self.step.arg as usize % absent.len()],
        };
        let path = join(&entry.path, name);
        if !self.at.is_absent(&path) || !self.at.front.can_ask_for(name) {
            return Ok(());
        }
        let asking = self.at.front.lookup(held.ino(), name);
        if !entry.is_dir() {
            return self.refused(entry, "lookup below a file", asking).await;
        }
        let question = Question {
            what: "lookup",
            path: &path,
            oid: Some(entry.oid),
            asked: Asked::Absent,
        };
        let found = self.at.ask(question, &self.interrupt, asking).await?;
        if let Some(found) = found {
            // A refresh may have brought it.
            if self.at.is_absent(&path) {
                self.judge(no_lie::NAME, no_lie::absent_was_found(&truth::shown(&path)));
            }
            self.counted(&held, name, &path, &found)?;
        } else if self.at.kernel.is_attached(held.ino()) && self.at.is_absent(&path) {
            self.at.kernel.not_found(held.ino(), name);
        }
        Ok(())
    }

    async fn grep(&self, entry: &Entry) -> Done<()> {
        let names = self.list(entry).await?;
        for (name, kind) in names.iter().take(12) {
            let path = join(&entry.path, name);
            let Some(child) = self.at.truth(|commit| commit.at(&path).cloned()) else {
                continue;
            };
            if *kind == Kind::File {
                self.read(&child).await?;
            }
        }
        Ok(())
    }

    fn forget(&self) {
        let pick = u64::from(self.step.path) << 32 | u64::from(self.step.arg);
        let n = [1, 4, 100][self.step.arg as usize % 3];
        let mut forgotten = self.at.kernel.forget(n, pick);
        // A mount with several threads may see them in any order.
        if self.step.arg & 64 != 0 {
            forgotten.reverse();
        }
        // The root is no less there for a forget of its own (an unmount sends one).
        if self.step.arg & 128 != 0 {
            self.at.front.forget(&[(Ino::ROOT, 1)]);
        }
        let world = &self.at.world;
        for (_, _, path) in &forgotten {
            world.operations.set(world.operations.get() + 1);
            if world
                .under_way
                .borrow()
                .looks_up(&self.at.state().name, &truth::shown(path))
            {
                world.counts.add(marks::FORGET_MET_LOOKUP);
            }
        }
        let counts: Vec<(Ino, u64)> = forgotten
            .into_iter()
            .map(|(ino, lookups, _)| (ino, lookups))
            .collect();
        self.at.front.forget(&counts);
    }

    async fn look(&self, entry: &Entry) -> Done<()> {
        let fs = &self.at.fs;
        let held = self.walk(&entry.path).await?;
        let _ = fs.statfs();
        let path = fs.path_of(held.ino()).map(|names| names.join(&b'/'));
        let now = self.at.entry_of(&held).0;
        let is_there = self.at.truth(|commit| commit.at(&entry.path) == Some(&now));
        if is_there
            && self.at.kernel.is_attached(held.ino())
            && path.as_deref() != Some(&entry.path)
        {
            let wrong = format!(
                "the path of {} is given as {path:?}",
                truth::shown(&entry.path)
            );
            self.judge(truth::NAME, Err(wrong));
        }
        if fs.xattrs(held.ino()).is_err() {
            self.judge(
                truth::NAME,
                Err("an inode in use has no attributes".to_owned()),
            );
        }
        // A number that nobody gave out is never somebody.
        let unknown = Ino(crate::rng::mix(u64::from(self.step.arg)) | 1 << 63);
        if self.at.kernel.path_of(unknown).is_none() {
            let front = &self.at.front;
            let found = front.lookup(unknown, b"x").quick;
            let found = found.map(|found| found.map(|_| ()));
            let attr = front.getattr(unknown).quick.map(|attr| attr.map(|_| ()));
            for answer in [found, attr].into_iter().flatten() {
                if answer.as_ref().is_ok()
                    || answer.is_err_and(|error| {
                        error.kind() != FsErrorKind::Stale && error.kind() != FsErrorKind::NotFound
                    })
                {
                    self.judge(
                        truth::NAME,
                        Err("an unknown inode was answered for".to_owned()),
                    );
                }
            }
        }
        Ok(())
    }
}

/// What all say is wrong, if all say that something is.
pub(super) fn any(checks: Vec<Check>) -> Check {
    match checks.iter().find(|check| check.is_ok()) {
        Some(_) => Ok(()),
        None => checks.into_iter().next().unwrap_or(Ok(())),
    }
}

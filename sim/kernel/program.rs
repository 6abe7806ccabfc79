//! What programs do, as the kernel turns it into operations; each answer goes to the properties.

use bonsaifs_core::fs::{Entry as Found, FsErrorKind, FsResult, Ino, Kind};

use super::{
    Held,
    ask::{Interrupt, Mounted, Question, Stop},
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
            held = match self.at.kernel.cached(&at).filter(|_| fresh) {
                Some(ino) => self.at.kernel.hold(ino),
                None => self.lookup(&held, name, &at).await?,
            };
        }
        Ok(held)
    }

    async fn lookup(&self, dir: &Held, name: &[u8], path: &[u8]) -> Done<Held> {
        let fs = &self.at.fs;
        let oid = self.dir_oid(dir);
        let question = Question {
            what: "lookup",
            path,
            oid,
            asked: Asked::Possible,
        };
        let quick = fs.try_lookup(dir.ino(), name);
        let found = self
            .at
            .ask(question, &self.interrupt, quick, fs.lookup(dir.ino(), name))
            .await?;
        let found = found.expect("the answer to what must be there is never an absence");
        self.counted(path, &found);
        Ok(self.at.kernel.hold(found.ino))
    }

    /// The tree object of a directory.
    fn dir_oid(&self, dir: &Held) -> Option<bonsaifs::git::oid::Oid> {
        let path = dir.path();
        self.at
            .truth(|commit| commit.at(&path).map(|entry| entry.oid))
    }

    fn counted(&self, path: &[u8], found: &Found) {
        self.at.truth(|commit| match truth::found(commit, path) {
            Ok(entry) => {
                self.judge(truth::NAME, truth::attr(commit, entry, &found.attr));
                self.numbered(path, found.attr.kind, found.ino);
            }
            Err(wrong) => self.judge(truth::NAME, Err(wrong)),
        });
        self.at.kernel.counted(path, found.ino);
    }

    pub(super) fn numbered(&self, path: &[u8], kind: Kind, ino: Ino) {
        let holder = self.at.kernel.path_of(ino);
        let current = self.at.kernel.cached(path).map(|ino| ino.0);
        let mut numbers = self.at.state().numbers.borrow_mut();
        let check = numbers.seen(path, kind as u8, ino.0, holder.as_deref(), current);
        self.judge(stable_numbers::NAME, check);
    }

    async fn stat(&self, entry: &Entry) -> Done<()> {
        let held = self.walk(&entry.path).await?;
        let fs = &self.at.fs;
        let quick = fs.try_getattr(held.ino());
        let question = self.question("getattr", entry);
        let got = self
            .at
            .ask(question, &self.interrupt, quick, fs.getattr(held.ino()))
            .await?;
        if let Some(attr) = got {
            self.at
                .truth(|commit| self.judge(truth::NAME, truth::attr(commit, entry, &attr)));
        }
        Ok(())
    }

    async fn read(&self, entry: &Entry) -> Done<()> {
        let held = self.walk(&entry.path).await?;
        let fs = &self.at.fs;
        let ino = held.ino();
        if !matches!(entry.what, What::File { .. }) {
            return self
                .refused(entry, "read", fs.try_read(ino, 0, 1), fs.read(ino, 0, 1))
                .await;
        }
        let Ok(handle) = fs.open_file(ino) else {
            self.judge(
                truth::NAME,
                Err(format!("{} can't be opened", truth::shown(&entry.path))),
            );
            return Ok(());
        };
        let result = self.read_open(&held, entry).await;
        fs.release_file(handle);
        result
    }

    async fn read_open(&self, held: &Held, entry: &Entry) -> Done<()> {
        let fs = &self.at.fs;
        let size = entry.size();
        let (piece, mut offset) = match self.step.arg % 4 {
            0 => (7, size.saturating_sub(20)),
            1 => (100, u64::from(self.step.arg) % (size + 2)),
            2 => (4096, 0),
            _ => (128 << 10, 0),
        };
        // To the end, and once past it; of large files a part is enough.
        for _ in 0..8 {
            let quick = fs.try_read(held.ino(), offset, piece);
            let question = self.question("read", entry);
            let slow = fs.read(held.ino(), offset, piece);
            let Some(data) = self.at.ask(question, &self.interrupt, quick, slow).await? else {
                break;
            };
            self.judge(truth::NAME, truth::read(entry, offset, piece, &data));
            if size >= bonsaifs::objects::disk::LARGE {
                self.at.world.counts.add(marks::LARGE_READ);
            }
            offset += u64::from(piece);
            if offset > size + u64::from(piece) {
                break;
            }
        }
        Ok(())
    }

    /// An operation that doesn't fit what stands there: any success is a lie.
    pub(super) async fn refused<T>(
        &self,
        entry: &Entry,
        what: &str,
        quick: Option<FsResult<T>>,
        slow: impl Future<Output = FsResult<T>>,
    ) -> Done<()> {
        let result = match quick {
            Some(result) => result,
            None => slow.await,
        };
        if result.is_ok() {
            let wrong = format!("{what} of {} succeeded", truth::shown(&entry.path));
            self.judge(truth::NAME, Err(wrong));
        }
        Ok(())
    }

    async fn readlink(&self, entry: &Entry) -> Done<()> {
        let held = self.walk(&entry.path).await?;
        let fs = &self.at.fs;
        let ino = held.ino();
        if !matches!(entry.what, What::Link(_)) {
            return self
                .refused(entry, "readlink", fs.try_readlink(ino), fs.readlink(ino))
                .await;
        }
        let question = self.question("readlink", entry);
        let got = self
            .at
            .ask(
                question,
                &self.interrupt,
                fs.try_readlink(ino),
                fs.readlink(ino),
            )
            .await?;
        if let Some(target) = got {
            self.judge(truth::NAME, truth::readlink(entry, &target));
        }
        Ok(())
    }

    async fn missing(&self, entry: &Entry) -> Done<()> {
        let held = self.walk(&entry.path).await?;
        let fs = &self.at.fs;
        let absent: [&[u8]; 6] = [b"no-such-name", b".git", b"..", b".GIT", b"F1", b"\x00"];
        let name = absent[self.step.arg as usize % absent.len()];
        let path = join(&entry.path, name);
        if self.at.truth(|commit| commit.at(&path).is_some()) {
            return Ok(());
        }
        let quick = fs.try_lookup(held.ino(), name);
        let slow = fs.lookup(held.ino(), name);
        if !entry.is_dir() {
            return self
                .refused(entry, "lookup below a file", quick, slow)
                .await;
        }
        let question = Question {
            what: "lookup",
            path: &path,
            oid: Some(entry.oid),
            asked: Asked::Absent,
        };
        if self
            .at
            .ask(question, &self.interrupt, quick, slow)
            .await?
            .is_some()
        {
            self.judge(no_lie::NAME, no_lie::absent_was_found(&truth::shown(&path)));
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
            self.at.fs.forget(Ino::ROOT, 1);
        }
        let world = &self.at.world;
        for (ino, lookups, path) in forgotten {
            world.operations.set(world.operations.get() + 1);
            if world
                .under_way
                .borrow()
                .looks_up(&self.at.state().name, &truth::shown(&path))
            {
                world.counts.add(marks::FORGET_MET_LOOKUP);
            }
            self.at.fs.forget(ino, lookups);
        }
    }

    async fn look(&self, entry: &Entry) -> Done<()> {
        let fs = &self.at.fs;
        let held = self.walk(&entry.path).await?;
        let _ = fs.statfs();
        let path = fs.path_of(held.ino()).map(|names| names.join(&b'/'));
        if path.as_deref() != Some(&entry.path) {
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
            let found = fs.try_lookup(unknown, b"x").map(|found| found.map(|_| ()));
            let attr = fs.try_getattr(unknown).map(|attr| attr.map(|_| ()));
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

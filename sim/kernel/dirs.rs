//! Reading directories: in pieces, with seeks back, with readdir or readdirplus.

use std::time::Duration;

use bonsaifs_core::fs::Kind;

use super::{
    Held,
    ask::Question,
    front::{Handle, Item},
    program::{Done, Run, any},
};
use crate::{
    marks,
    props::{
        no_lie::Asked,
        stable_dirs::{self, ScanWatch},
        truth,
    },
    repo::{Entry, join},
};

impl Run<'_> {
    /// Lists a directory to its end; what is in it.
    pub(super) async fn list(&self, entry: &Entry) -> Done<Vec<(Vec<u8>, Kind)>> {
        let held = self.walk(&entry.path).await?;
        let (entry, told) = self.at.entry_of(&held);
        let entry = &entry;
        let front = &self.at.front;
        let ino = held.ino();
        let asking = front.opendir(ino);
        // Opened by the kernel itself: the first piece is what is asked for.
        let by_itself = matches!(asking.quick, Some(Ok(None)));
        if !entry.is_dir() {
            match by_itself {
                true => {
                    let asking = front.readdir(ino, None, 0, 1, false);
                    self.refused(entry, "readdir", asking).await?;
                }
                false => self.refused(entry, "readdir", asking).await?,
            }
            return Ok(Vec::new());
        }
        let before = self.at.times_shown();
        let question = self.question("opendir", entry);
        let handle = match by_itself {
            true => None,
            false => {
                let handle = self.at.ask(question, &self.interrupt, asking).await?;
                handle.expect("a directory that is there")
            }
        };
        // What is open stays of the commit that was shown then; a refresh may have come between.
        let of = match self.at.kernel.is_attached(held.ino()) {
            true => (before..=self.at.times_shown()).collect(),
            false => vec![told],
        };
        let result = self.list_open(&held, &of, handle).await;
        front.release_dir(ino, handle);
        result
    }

    /// `of` are the commits of which the open directory may be, as the first so many that were shown.
    async fn list_open(
        &self,
        held: &Held,
        of: &[usize],
        handle: Handle,
    ) -> Done<Vec<(Vec<u8>, Kind)>> {
        let path = held.path();
        let mut watch = ScanWatch::default();
        let mut names = Vec::new();
        let (mut offset, mut round) = (0, 0_u64);
        // Numbers that are made to collide depend on who is known at the moment, and after a refresh on who was.
        let plan = &self.at.world.plan.mounts[self.at.index];
        let certain = plan.ino_mask == u64::MAX && !plan.follow;
        let room = [1, 3, 20, 1000][self.step.arg as usize % 4];
        let mut seeks = u64::from(self.step.arg / 4) % 3;
        loop {
            round += 1;
            if seeks > 0 && crate::rng::mix(u64::from(self.step.arg) + round).is_multiple_of(6) {
                seeks -= 1;
                offset = watch.offset(crate::rng::mix(round));
                watch.seek(offset);
                self.at.world.counts.add(marks::SEEK_BACK);
            }
            let is_new = of == [self.at.times_shown()] && self.at.kernel.is_attached(held.ino());
            if !is_new {
                self.at.world.counts.add(marks::OLD_STREAM);
            }
            let piece = self.piece(held, is_new, handle, offset, room).await?;
            let Some(last) = piece.last() else { break };
            offset = last.next;
            for Item {
                next,
                name,
                kind,
                ino,
                ..
            } in piece
            {
                self.judge(
                    stable_dirs::NAME,
                    watch.entry(next, &name, if certain { ino.0 } else { 0 }),
                );
                let is_new = names.iter().all(|(known, _)| *known != name);
                if is_new && name != b"." && name != b".." {
                    names.push((name, kind));
                }
            }
            if self.at.world.verdicts.first().is_some() {
                break;
            }
            // Other programs go on between two pieces.
            match self.is_slow() {
                true => tokio::time::sleep(Duration::from_millis(40)).await,
                false => tokio::task::yield_now().await,
            }
        }
        self.judge(stable_dirs::NAME, watch.end());
        let checks = of.iter().map(|at| {
            self.at.truth_at(*at, |commit| {
                let dir = truth::found(commit, &path)?;
                truth::listing(commit, dir, &names)
            })
        });
        self.judge(truth::NAME, any(checks.collect()));
        Ok(names)
    }

    /// One readdir or readdirplus, with room for so many entries. Unless it `is_new` the directory may be of another commit
    /// than the one that is shown: then nothing is kept of what is told.
    async fn piece(
        &self,
        held: &Held,
        is_new: bool,
        handle: Handle,
        offset: u64,
        room: usize,
    ) -> Done<Vec<Item>> {
        let dir = held.path();
        let front = &self.at.front;
        let plus = self.at.world.plan.mounts[self.at.index].readdirplus;
        let question = Question {
            // Where nothing was opened, this is where the listing comes.
            what: if handle.is_none() {
                "opendir"
            } else {
                "readdir"
            },
            path: &dir,
            oid: None,
            asked: Asked::Possible,
        };
        let asking = front.readdir(held.ino(), handle, offset, room, plus);
        let piece = self.at.ask(question, &self.interrupt, asking).await?;
        let piece = piece.expect("a directory that is there");
        let shown = self.at.times_shown();
        for item in piece.iter().filter(|item| !item.is_dot()) {
            if is_new {
                self.listed(&dir, item);
            }
            // Without attributes nothing is counted, and nothing kept.
            let Some(attr) = &item.attr else {
                continue;
            };
            let path = join(&dir, &item.name);
            let entry = self.at.truth(|commit| truth::found(commit, &path).cloned());
            // Of a directory of another commit no attributes are told: the kernel would take them for those of now.
            if self.at.kernel.is_attached(held.ino()) {
                self.at.touch(&path, false);
                let times = self.at.times_of(&path, shown);
                let check = entry.as_ref().map_err(Clone::clone);
                let check = check.and_then(|entry| truth::attr(entry, &times, attr));
                self.judge(truth::NAME, check);
            }
            if is_new {
                let entry = entry.ok().map(|entry| (entry, shown));
                let kernel = &self.at.kernel;
                kernel.counted(held.ino(), &item.name, item.ino, entry);
            } else {
                front.forget(&[(item.ino, 1)]);
            }
        }
        if plus && front.told_of_directories_only() {
            self.at.world.counts.add(marks::BARE_LISTING);
        }
        Ok(piece)
    }

    /// A name was listed with a number. Where numbers are made to collide, one that is not counted
    /// may be another path's: nobody can use it.
    fn listed(&self, dir: &[u8], item: &Item) {
        let plan = &self.at.world.plan.mounts[self.at.index];
        if item.attr.is_some() || plan.ino_mask == u64::MAX {
            self.numbered(&join(dir, &item.name), item.kind, item.ino);
        }
    }
}

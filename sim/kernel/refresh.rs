//! `bonsai refresh`: the mount moves on to what its branch means now, while programs go on.

use std::sync::{Arc, Mutex, atomic::Ordering};

use bonsaifs_core::fs::Dropped;

use super::{
    ask::{Mounted, Stop},
    program::Done,
};
use crate::{
    marks,
    props::{Check, crash, following, no_lie},
    repo::{Entry, join},
    start::history,
    trace::{Class, now},
};

impl Mounted {
    /// Looks what the branch means now, and shows it.
    pub async fn refresh(&self) -> Done<()> {
        let world = &self.world;
        if !world.plan.mounts[self.index].follow {
            return Ok(());
        }
        let _one = self.refreshing.lock().await;
        let name = &self.state().name;
        let begin = now();
        self.refresh_began.set(begin);
        let before = self.times_shown();
        let id = world
            .under_way
            .borrow_mut()
            .begin(begin, format!("{name}: refresh"));
        let told = Arc::clone(&self.told);
        let is_told = self.untold.begin(self.fs.provider().commit());
        let all = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&all);
        let forget = move |dropped: &[Dropped]| {
            let mut kept = kept.lock().expect("a list that is only pushed to");
            kept.extend(dropped.iter().cloned());
            let mut told = told.lock().expect("a list that is only pushed to");
            told.extend(dropped.iter().cloned());
            is_told.store(true, Ordering::Relaxed);
            Ok(())
        };
        let result = self.fs.provider().move_on(&self.fs, forget).await;
        self.untold.end();
        world.under_way.borrow_mut().end(id);
        let after = self.times_shown();
        let outcome = match &result {
            Ok((target, changed)) => {
                format!("{}, {changed} dropped", target.commit().to_hex_with_len(7))
            }
            Err(error) => error.to_string(),
        };
        world
            .trace
            .span(Class::Life, name, begin, result.is_err(), || {
                format!("refresh -> {outcome}")
            });
        match result {
            Ok((target, _)) => {
                world.verdicts.judge(
                    crash::NAME,
                    crash::shows(
                        &target.commit(),
                        &history(world, self.index),
                        begin,
                        now(),
                        false,
                    ),
                );
                let known = self.known(after);
                let absent = self.kernel.all_absent();
                let check = self.truth(|commit| following::nothing_old(commit, &known, &absent));
                world.verdicts.judge(following::NAME, check);
                if after > before {
                    world.counts.add(marks::FOLLOWED);
                    let all = all.lock().expect("nobody else has it").clone();
                    let failed = world.excuse(begin) != no_lie::Excuse::None;
                    // Where numbers collide, one that was dropped may be another path's by now.
                    if world.plan.mounts[self.index].ino_mask == u64::MAX {
                        let check = self.dropped(before, &all, failed);
                        world.verdicts.judge(following::NAME, check);
                    }
                    if self.busy.get() > 1 {
                        world.counts.add(marks::MET_A_SWITCH);
                    }
                }
                self.fs.provider().remember(target).await;
                self.state().commit.set(Some(self.fs.provider().commit()));
                Ok(())
            }
            Err(error) => {
                world.counts.add(marks::REFRESH_FAILED);
                world
                    .verdicts
                    .judge(following::NAME, following::stays(&before, &after));
                if world.excuse(begin) == no_lie::Excuse::None {
                    let wrong = format!("{name}: no refresh without a fault: {error}");
                    world.verdicts.judge(no_lie::NAME, Err(wrong));
                }
                Err(Stop::Failed)
            }
        }
    }

    /// What is known by name, of what was told before more than `shown` commits had been shown.
    fn known(&self, shown: usize) -> Vec<Entry> {
        let known = self.kernel.all_attached().into_iter();
        let known = known.filter(|(_, since)| *since <= shown);
        known.map(|(entry, _)| entry).collect()
    }

    /// Whether the kernel was to drop `all` by the switch from the `before`-th commit to the one after it.
    fn dropped(&self, before: usize, all: &[Dropped], failed: bool) -> Check {
        // A directory that the kernel has forgotten meanwhile is of no account.
        let path = |ino| self.kernel.path_of(ino);
        let (mut names, mut dirs) = (Vec::new(), Vec::new());
        for dropped in all {
            match dropped {
                Dropped::Name { parent, name } => {
                    names.extend(path(*parent).map(|dir| join(&dir, name)));
                }
                Dropped::Dir(ino) => dirs.extend(path(*ino)),
            }
        }
        let known = self.known(before);
        let commit = |at: usize| self.shown.borrow()[at - 1].0;
        let (old, new) = (commit(before), commit(before + 1));
        self.world.server.with(|server| {
            let commits = &server.repos[self.world.plan.mounts[self.index].repo].commits;
            following::dropped(
                (&commits[&old], &commits[&new]),
                &known,
                &names,
                &dirs,
                failed,
            )
        })
    }
}

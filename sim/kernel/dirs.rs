//! Reading directories: in pieces, with seeks back, with readdir or readdirplus.

use bonsaifs_core::fs::{DirItem, DirItemPlus, Ino, Kind, Take};

use super::program::{Done, Run};
use crate::{
    marks,
    props::{
        stable_dirs::{self, ScanWatch},
        truth,
    },
    repo::{Entry, join},
};

impl Run<'_> {
    /// Lists a directory to its end; what is in it.
    pub(super) async fn list(&self, entry: &Entry) -> Done<Vec<(Vec<u8>, Kind)>> {
        let held = self.walk(&entry.path).await?;
        let fs = &self.at.fs;
        let ino = held.ino();
        if !entry.is_dir() {
            self.refused(entry, "readdir", fs.try_scan(ino), fs.scan(ino))
                .await?;
            return Ok(Vec::new());
        }
        let question = self.question("opendir", entry);
        let scan = self
            .at
            .ask(question, &self.interrupt, fs.try_scan(ino), fs.scan(ino))
            .await?;
        let handle = fs.open_dir(scan.expect("a directory that is there"));
        let result = self.list_open(entry, handle).await;
        fs.release_dir(handle);
        result
    }

    async fn list_open(&self, entry: &Entry, handle: u64) -> Done<Vec<(Vec<u8>, Kind)>> {
        let mut watch = ScanWatch::default();
        let mut names = Vec::new();
        let (mut offset, mut round) = (0, 0_u64);
        // Numbers that are made to collide depend on who is known at the moment.
        let certain = self.at.world.plan.mounts[self.at.index].ino_mask == u64::MAX;
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
            let piece = self.piece(entry, handle, offset, room);
            let Some(last) = piece.last() else { break };
            offset = last.0;
            for (next, name, kind, ino) in piece {
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
            tokio::task::yield_now().await;
        }
        self.judge(stable_dirs::NAME, watch.end());
        self.at
            .truth(|commit| self.judge(truth::NAME, truth::listing(commit, entry, &names)));
        Ok(names)
    }

    /// One readdir or readdirplus, with room for so many entries.
    fn piece(
        &self,
        entry: &Entry,
        handle: u64,
        offset: u64,
        room: usize,
    ) -> Vec<(u64, Vec<u8>, Kind, Ino)> {
        let fs = &self.at.fs;
        let world = &self.at.world;
        world.operations.set(world.operations.get() + 1);
        let Ok(scan) = fs.dir_handle(handle) else {
            self.judge(
                stable_dirs::NAME,
                Err("an open directory's handle is not known".to_owned()),
            );
            return Vec::new();
        };
        let mut piece = Vec::new();
        if !world.plan.mounts[self.at.index].readdirplus {
            fs.readdir(&scan, offset, &mut |item: DirItem<'_>| {
                if piece.len() == room {
                    return Take::Full;
                }
                piece.push((item.offset, item.name.to_owned(), item.kind, item.ino));
                Take::More
            });
            for (_, name, kind, ino) in &piece {
                self.listed(entry, name, *kind, *ino);
            }
            return piece;
        }
        let mut attrs = Vec::new();
        fs.readdirplus(&scan, offset, &mut |item: DirItemPlus<'_>| {
            if piece.len() == room {
                return Take::Full;
            }
            piece.push((item.offset, item.name.to_owned(), item.kind, item.ino));
            attrs.push(item.attr);
            Take::More
        });
        for ((_, name, kind, ino), attr) in piece.iter().zip(attrs) {
            self.listed(entry, name, *kind, *ino);
            if name == b"." || name == b".." {
                continue;
            }
            let path = join(&entry.path, name);
            if let Some(attr) = attr {
                self.at.touch(&path, false);
                self.at.truth(|commit| {
                    let check = truth::found(commit, &path)
                        .and_then(|entry| truth::attr(commit, entry, &attr));
                    self.judge(truth::NAME, check);
                });
            }
            self.at.kernel.counted(&path, *ino);
        }
        piece
    }

    /// A name was listed with a number. Where numbers are made to collide, one that is not counted
    /// may be another path's: nobody can use it.
    fn listed(&self, dir: &Entry, name: &[u8], kind: Kind, ino: Ino) {
        let plan = &self.at.world.plan.mounts[self.at.index];
        let certain = plan.readdirplus || plan.ino_mask == u64::MAX;
        if certain && name != b"." && name != b".." {
            self.numbered(&join(&dir.path, name), kind, ino);
        }
    }
}

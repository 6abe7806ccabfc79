//! What a crash leaves of a simulated disk, and what time does to it.

use std::path::{Path, PathBuf};

use super::state::{BLOCK, DirRef, Entry, FileData, State, Write, lock, put, walk};

impl State {
    /// Loses power: of what was not synced, some is there and some is not. Whether anything is gone.
    pub fn crash(&mut self) -> bool {
        // Some file systems keep the order of changes, so that what is lost is the end; POSIX
        // promises nothing at all.
        let keep_names = *self.rng.pick(&[0, 500, 500, 900, 1000]);
        let in_order = self.rng.chance(500);
        let keep_blocks = *self.rng.pick(&[0, 0, 500, 500, 900, 1000]);
        let (mut lost, mut any) = (false, false);
        for change in std::mem::take(&mut self.journal) {
            lost = !self.rng.chance(keep_names) || (lost && in_order);
            any |= lost;
            if !lost {
                change.apply();
            }
        }
        let root = self.root.clone();
        revive(&root);
        let mut files = Vec::new();
        walk(&root, Path::new("/"), &mut |_, file| {
            files.push(file.clone())
        });
        self.used = 0;
        for file in files {
            let mut file = lock(&file);
            any |= self.tear(&mut file, keep_blocks);
            self.used += file.live.len() as u64;
        }
        any
    }

    fn tear(&mut self, file: &mut FileData, keep_per_mille: u64) -> bool {
        file.linked = true;
        let mut content = std::mem::take(&mut file.durable);
        for write in std::mem::take(&mut file.unsynced) {
            match write {
                Write::Len(len) => {
                    if self.rng.chance(keep_per_mille) {
                        content.resize(len, 0);
                    }
                }
                Write::Data { offset, data } => {
                    let mut at = 0;
                    while at < data.len() {
                        let len = (BLOCK - (offset + at) % BLOCK).min(data.len() - at);
                        if self.rng.chance(keep_per_mille) {
                            put(&mut content, offset + at, &data[at..at + len]);
                        }
                        at += len;
                    }
                }
            }
        }
        let torn = file.live != content;
        file.live = content.clone();
        file.durable = content;
        torn
    }

    pub fn rot(&mut self, count: u64) -> Vec<PathBuf> {
        let mut files = Vec::new();
        walk(&self.root, Path::new("/"), &mut |path, file| {
            if !lock(file).live.is_empty() {
                files.push((path.to_owned(), file.clone()));
            }
        });
        let mut hit = Vec::new();
        for _ in 0..count.min(files.len() as u64) {
            let (path, file) = self.rng.pick(&files).clone();
            let mut file = lock(&file);
            let at = self.rng.below(file.live.len() as u64) as usize;
            let bit = 1 << self.rng.below(8);
            file.live[at] ^= bit;
            if let Some(byte) = file.durable.get_mut(at) {
                *byte ^= bit;
            }
            hit.push(path);
        }
        hit
    }
}

/// What is durable becomes what is seen.
fn revive(dir: &DirRef) {
    let durable = {
        let mut dir = lock(dir);
        dir.live = dir.durable.clone();
        dir.durable.clone()
    };
    for entry in durable.values() {
        if let Entry::Dir(dir) = entry {
            revive(dir);
        }
    }
}

//! What a crash leaves of a simulated disk, and what time does to it.

use std::path::{Path, PathBuf};

use super::state::{BLOCK, DirRef, Entry, FileData, State, Write, lock, put, walk};
use crate::props::whole_objects::loose_oid;

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
        // Of a repository's many files one has the sizes, and is hit no less than all the objects.
        let (mut files, mut sizes) = (Vec::new(), Vec::new());
        walk(&self.root, Path::new("/"), &mut |path, file| {
            if lock(file).live.is_empty() {
                return;
            }
            files.push((path.to_owned(), file.clone()));
            if path.ends_with("bonsai/sizes") {
                sizes.push((path.to_owned(), file.clone()));
            }
        });
        let mut hit = Vec::new();
        for _ in 0..count.min(files.len() as u64) {
            let of = match !sizes.is_empty() && self.rng.chance(300) {
                true => &sizes,
                false => &files,
            };
            let (path, file) = self.rng.pick(of).clone();
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

impl State {
    /// Makes well-formed files hold what belongs to others: two loose objects exchange their
    /// content, an index of a pack the places of two objects. Nothing but an object's id can tell.
    pub fn mix_up(&mut self, count: u64) -> Vec<PathBuf> {
        let (mut loose, mut indexes) = (Vec::new(), Vec::new());
        walk(&self.root, Path::new("/"), &mut |path, file| {
            if loose_oid(path).is_some() {
                loose.push((path.to_owned(), file.clone()));
            } else if path.extension().is_some_and(|ending| ending == "idx") {
                indexes.push((path.to_owned(), file.clone()));
            }
        });
        let mut hit = Vec::new();
        for _ in 0..count {
            if loose.len() > 1 && self.rng.chance(500) {
                let (path, one) = loose.swap_remove(self.rng.below(loose.len() as u64) as usize);
                let (other_path, other) = self.rng.pick(&loose).clone();
                let (mut one, mut other) = (lock(&one), lock(&other));
                let (one, other) = (&mut *one, &mut *other);
                std::mem::swap(&mut one.live, &mut other.live);
                std::mem::swap(&mut one.durable, &mut other.durable);
                std::mem::swap(&mut one.unsynced, &mut other.unsynced);
                hit.extend([path, other_path]);
            } else if !indexes.is_empty() {
                let (path, file) = self.rng.pick(&indexes).clone();
                let (one, other) = (self.rng.next(), self.rng.next());
                let mut file = lock(&file);
                swap_offsets(&mut file.live, one, other);
                swap_offsets(&mut file.durable, one, other);
                hit.push(path);
            }
        }
        hit
    }
}

/// Exchanges the places of two objects in a pack's index (gitformat-pack, version 2).
fn swap_offsets(index: &mut [u8], one: u64, other: u64) {
    /// The header and the fan-out table, whose last word is the number of objects.
    const IDS: usize = 8 + 4 * 256;
    let Some(count) = index.get(IDS - 4..IDS) else {
        return;
    };
    let count = count.iter().fold(0, |n, byte| n << 8 | usize::from(*byte));
    // Behind the ids and the checksums.
    let offsets = IDS + count * (20 + 4);
    if count == 0 || index.len() < offsets + count * 4 {
        return;
    }
    let place = |pick: u64| offsets + 4 * (pick % count as u64) as usize;
    for byte in 0..4 {
        index.swap(place(one) + byte, place(other) + byte);
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

//! **Following** (what is promised of a mount that follows a branch): after a refresh everyone sees the new
//! commit, whatever the kernel had cached; and the kernel drops what changed, and nothing else.

use std::collections::BTreeSet;

use super::{Check, truth::shown};
use crate::repo::{Commit, Entry};

pub const NAME: &str = "following";

/// A refresh led from `old` to `new`, and had the kernel drop `names` (whole paths), and what it keeps of `dirs`. `known`
/// is what the kernel knew by name before the switch and knows still. If something `failed`, a directory that could not be read
/// counts as another one with all that is in it.
pub fn dropped(
    (old, new): (&Commit, &Commit),
    known: &[Entry],
    names: &[Vec<u8>],
    dirs: &[Vec<u8>],
    failed: bool,
) -> Check {
    let stays = |path: &[u8]| match (old.at(path), new.at(path)) {
        (Some(old), Some(new)) => old == new || (old.is_dir() && new.is_dir()),
        (None, None) => true,
        _ => false,
    };
    let told: BTreeSet<&[u8]> = names.iter().map(Vec::as_slice).collect();
    if let Some(path) = told.iter().find(|path| stays(path) && !failed) {
        return Err(format!("{} was dropped and did not change", shown(path)));
    }
    if let Some(dir) = dirs
        .iter()
        .find(|dir| old.at(dir) == new.at(dir) && !failed)
    {
        return Err(format!("{} was dropped and did not change", shown(dir)));
    }
    // What lies in a directory that went is out of reach with it.
    let above =
        |path: &[u8]| (0..path.len()).any(|at| path[at] == b'/' && told.contains(&path[..at]));
    for entry in known {
        let path = &entry.path;
        if !stays(path) && !told.contains(path.as_slice()) && !above(path) {
            return Err(format!("{} changed and was not dropped", shown(path)));
        }
        let changed = old.at(path) != new.at(path);
        if entry.is_dir() && stays(path) && changed && !dirs.contains(path) {
            return Err(format!("{} changed and is still as it was", shown(path)));
        }
    }
    Ok(())
}

/// A refresh has ended; `known` is what the kernel knows by name then, `absent` what it knows not to be there.
pub fn nothing_old(new: &Commit, known: &[Entry], absent: &[Vec<u8>]) -> Check {
    if let Some(path) = absent.iter().find(|path| new.at(path).is_some()) {
        return Err(format!("{} came and is still missing", shown(path)));
    }
    for entry in known {
        let now = new.at(&entry.path);
        if !now.is_some_and(|now| now == entry || (now.is_dir() && entry.is_dir())) {
            return Err(format!("{} is still as it was", shown(&entry.path)));
        }
    }
    Ok(())
}

/// A refresh failed: `before` was shown, and `after` is.
pub fn stays<C: PartialEq>(before: &C, after: &C) -> Check {
    match before == after {
        true => Ok(()),
        false => Err("a refresh that failed changed what is shown".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::{Repo, RepoPlan, join};

    fn commits(check: impl FnOnce(&Commit, &Commit, Vec<Entry>)) {
        let repo = Repo::generate(&RepoPlan {
            seed: 3,
            entries: 60,
            commits: 2,
            branches: 1,
            large: 0,
            hostile: false,
        });
        let old = repo.refs["refs/heads/main"];
        let new = repo.to_come["refs/heads/main"][0];
        let old = &repo.commits[&old];
        check(old, &repo.commits[&new], old.entries.clone());
    }

    /// What is right to be dropped when all is known.
    fn right(old: &Commit, new: &Commit) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        let (mut names, mut dirs) = (Vec::new(), Vec::new());
        for dir in &old.entries {
            let Some(now) = new.at(&dir.path).filter(|now| now.is_dir() && dir.is_dir()) else {
                continue;
            };
            if now != dir {
                dirs.push(dir.path.clone());
            }
            for name in dir.names().iter().chain(now.names()) {
                let path = join(&dir.path, name);
                let (was, is) = (old.at(&path), new.at(&path));
                let both = was.is_some_and(Entry::is_dir) && is.is_some_and(Entry::is_dir);
                if was != is && !both {
                    names.push(path);
                }
            }
        }
        (names, dirs)
    }

    #[test]
    fn what_changed_is_to_be_dropped_and_nothing_else() {
        commits(|old, new, known| {
            let (names, dirs) = right(old, new);
            assert!(!names.is_empty());
            assert_eq!(dropped((old, new), &known, &names, &dirs, false), Ok(()));
            let is_known = |path: &[u8]| known.iter().any(|entry| entry.path == path);
            for path in &names {
                let mut less = names.clone();
                less.retain(|other| other != path);
                let check = dropped((old, new), &known, &less, &dirs, false);
                assert_eq!(check.is_err(), is_known(path), "{}", shown(path));
            }
            assert!(dropped((old, new), &known, &names, &dirs[1..], false).is_err());
            let same = known
                .iter()
                .find(|entry| new.at(&entry.path) == Some(*entry));
            let same = same.expect("most did not change").path.clone();
            let more = [names.clone(), vec![same.clone()]].concat();
            assert!(dropped((old, new), &known, &more, &dirs, false).is_err());
            let (changed, all) = (&dirs[1], [names.clone(), vec![dirs[1].clone()]].concat());
            let check = |failed| dropped((old, new), &known, &all, &dirs, failed);
            assert!(
                check(false).is_err() && check(true).is_ok(),
                "{}",
                shown(changed)
            );
            let more = [dirs.clone(), vec![same]].concat();
            assert!(dropped((old, new), &known, &names, &more, false).is_err());
        });
    }

    #[test]
    fn what_is_still_old_is_seen() {
        commits(|old, new, known| {
            let none = [b"none".to_vec()];
            assert_eq!(nothing_old(old, &known, &none), Ok(()));
            assert_eq!(nothing_old(new, &new.entries, &none), Ok(()));
            assert!(nothing_old(new, &known, &none).is_err());
            let came = [new.entries[1].path.clone()];
            assert!(nothing_old(new, &new.entries, &came).is_err());
            assert!(stays(&1, &2).is_err());
            assert_eq!(stays(&1, &1), Ok(()));
        });
    }
}

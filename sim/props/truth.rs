//! **Truth**: a successful answer equals the pinned commit's tree: names, order, types, modes, sizes,
//! bytes.

use bonsaifs_core::fs::{Attr, Kind};

use super::Check;
use crate::repo::{Commit, Entry, What};

pub const NAME: &str = "truth";

/// The kind that an entry is shown as.
pub fn kind_of(entry: &Entry) -> Kind {
    match entry.what {
        What::Dir(_) | What::Submodule => Kind::Dir,
        What::File { .. } => Kind::File,
        What::Link(_) => Kind::Symlink,
    }
}

/// Attributes of `entry`, whose time lies in one of `times`: at least and at most, in seconds since the Unix epoch.
pub fn attr(entry: &Entry, times: &[(i64, i64)], got: &Attr) -> Check {
    let perm = match &entry.what {
        What::Dir(_) | What::Submodule => 0o755,
        What::File {
            executable: false, ..
        } => 0o644,
        What::File {
            executable: true, ..
        } => 0o755,
        What::Link(_) => 0o777,
    };
    let expected = (kind_of(entry), perm, entry.size());
    let seen = (got.kind, got.perm, got.size);
    let secs = got.mtime.secs;
    let in_time = times.iter().any(|(from, to)| (*from..=*to).contains(&secs));
    if expected == seen && in_time {
        return Ok(());
    }
    Err(format!(
        "{}: {seen:?} of {secs}, and the tree says {expected:?} of {times:?}",
        shown(&entry.path)
    ))
}

/// Something was found at `path`.
pub fn found<'c>(commit: &'c Commit, path: &[u8]) -> Result<&'c Entry, String> {
    commit
        .at(path)
        .ok_or_else(|| format!("{} was found and is not in the tree", shown(path)))
}

/// Up to `len` bytes from `offset` were read.
pub fn read(entry: &Entry, offset: u64, len: u32, got: &[u8]) -> Check {
    let What::File { data, .. } = &entry.what else {
        return Err(format!("{} was read and is no file", shown(&entry.path)));
    };
    let start = (offset as usize).min(data.len());
    let end = (start + len as usize).min(data.len());
    if *got == data[start..end] {
        return Ok(());
    }
    let differs = got.iter().zip(&data[start..end]).position(|(a, b)| a != b);
    Err(format!(
        "{}: {} bytes from {offset} for {}, first difference at {differs:?}",
        shown(&entry.path),
        got.len(),
        end - start,
    ))
}

/// A symlink's target was read.
pub fn readlink(entry: &Entry, got: &[u8]) -> Check {
    match &entry.what {
        What::Link(target) if target == got => Ok(()),
        _ => Err(format!(
            "{}: not the target {:?}",
            shown(&entry.path),
            got.escape_ascii().to_string()
        )),
    }
}

/// A directory was listed to its end: names with their kinds, without `.` and `..`.
pub fn listing(commit: &Commit, dir: &Entry, got: &[(Vec<u8>, Kind)]) -> Check {
    let names: Vec<&[u8]> = got.iter().map(|(name, _)| name.as_slice()).collect();
    if names != dir.names() {
        let expected: Vec<_> = dir.names().iter().map(|name| shown(name)).collect();
        let names: Vec<_> = names.into_iter().map(shown).collect();
        return Err(format!(
            "{}: listed {names:?}, and the tree has {expected:?}",
            shown(&dir.path)
        ));
    }
    for (name, kind) in got {
        let entry = found(commit, &crate::repo::join(&dir.path, name))?;
        if kind_of(entry) != *kind {
            return Err(format!("{}: listed as {kind:?}", shown(&entry.path)));
        }
    }
    Ok(())
}

/// A path as it is printed.
pub fn shown(path: &[u8]) -> String {
    match path {
        b"" => "/".to_owned(),
        _ if path.len() > 60 => format!("{}…({})", path[..20].escape_ascii(), path.len()),
        _ => path.escape_ascii().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use bonsaifs_core::fs::Timestamp;

    use super::*;
    use crate::repo::{Repo, RepoPlan};

    fn commit(check: impl Fn(&Commit, &Entry)) {
        let plan = RepoPlan {
            seed: 2,
            entries: 60,
            commits: 1,
            branches: 1,
            large: 0,
            hostile: false,
        };
        let repo = Repo::generate(&plan);
        let commit = repo.commits.values().next().expect("one commit");
        let file = commit
            .entries
            .iter()
            .find(|entry| matches!(&entry.what, What::File { data, .. } if data.len() > 20));
        check(commit, file.expect("a file with content"));
    }

    #[test]
    fn a_wrong_attribute_is_seen() {
        commit(|commit, file| {
            let What::File { executable, .. } = &file.what else {
                panic!("a file")
            };
            let right = Attr {
                kind: Kind::File,
                perm: if *executable { 0o755 } else { 0o644 },
                size: file.size(),
                mtime: Timestamp {
                    secs: commit.time,
                    nanos: 0,
                },
            };
            let time = [(commit.time, commit.time)];
            assert_eq!(attr(file, &time, &right), Ok(()));
            for wrong in [
                Attr {
                    kind: Kind::Symlink,
                    ..right
                },
                Attr {
                    perm: 0o600,
                    ..right
                },
                Attr {
                    size: right.size - 1,
                    ..right
                },
                Attr { size: 0, ..right },
                Attr {
                    mtime: Timestamp::default(),
                    ..right
                },
            ] {
                assert!(attr(file, &time, &wrong).is_err(), "{wrong:?}");
            }
        });
    }

    #[test]
    fn wrong_bytes_are_seen() {
        commit(|_, file| {
            let What::File { data, .. } = &file.what else {
                panic!("a file")
            };
            assert_eq!(read(file, 3, 5, &data[3..8]), Ok(()));
            assert_eq!(read(file, 0, 1 << 20, data), Ok(()));
            assert_eq!(read(file, 1 << 40, 5, b""), Ok(()));
            assert!(read(file, 3, 5, &data[3..7]).is_err(), "a short read");
            assert!(
                read(file, 0, 1 << 20, &data[..data.len() - 1]).is_err(),
                "a short file"
            );
            assert!(read(file, 4, 5, &data[3..8]).is_err(), "other bytes");
            assert!(read(file, 0, 5, b"").is_err(), "nothing");
            assert!(readlink(file, data).is_err(), "no symlink");
        });
    }

    #[test]
    fn a_wrong_listing_is_seen() {
        commit(|commit, _| {
            let root = commit.at(b"").expect("the root");
            let right: Vec<_> = root
                .names()
                .iter()
                .map(|name| (name.clone(), kind_of(commit.at(name).expect("in the tree"))))
                .collect();
            assert_eq!(listing(commit, root, &right), Ok(()));
            assert!(
                listing(commit, root, &right[1..]).is_err(),
                "one is missing"
            );
            assert!(
                listing(commit, root, &[right.clone(), right[..1].to_vec()].concat()).is_err(),
                "one is double"
            );
            let mut other = right.clone();
            other.swap(0, 1);
            assert!(listing(commit, root, &other).is_err(), "another order");
            let mut other = right;
            other[0].1 = if other[0].1 == Kind::Dir {
                Kind::File
            } else {
                Kind::Dir
            };
            assert!(listing(commit, root, &other).is_err(), "another kind");
        });
    }

    #[test]
    fn what_is_not_there_can_not_be_found() {
        commit(|commit, file| {
            assert!(found(commit, &file.path).is_ok());
            assert!(found(commit, b"nothing/of the kind").is_err());
        });
    }
}

//! Refs in files: loose ones and `packed-refs` (gitrepository-layout).
//!
//! Blocks on the disk; runs in blocking jobs.

use std::path::Path;

use super::discover::{Places, RefContent, content, failed, parse_ref};
use crate::{
    git::{oid::Oid, refname},
    origin::OriginError,
    seams::disk::Disk,
};

/// As many aliases in a row as git follows.
const MAX_ALIASES: usize = 5;

/// Where a ref leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The full name at the end of all aliases, or `None` for a detached `HEAD`.
    pub name: Option<String>,
    /// The object.
    pub target: Oid,
}

/// The refs of one repository at one moment.
pub(super) struct FileRefs<'a> {
    disk: &'a dyn Disk,
    places: &'a Places,
    /// The content of `packed-refs`, once it was needed.
    packed: Option<Vec<u8>>,
}

impl<'a> FileRefs<'a> {
    pub fn new(disk: &'a dyn Disk, places: &'a Places) -> Self {
        Self {
            disk,
            places,
            packed: None,
        }
    }

    /// Where the ref with the full name `name` (or `HEAD`) leads; `None` if it or what it
    /// is an alias of isn't there.
    pub fn find(&mut self, name: &str) -> Result<Option<Found>, OriginError> {
        let mut name = name.to_owned();
        for _ in 0..=MAX_ALIASES {
            match self.read(&name)? {
                None => return Ok(None),
                Some(RefContent::Alias(target)) => name = target,
                Some(RefContent::Oid(target)) => {
                    let name = (name != "HEAD").then_some(name);
                    return Ok(Some(Found { name, target }));
                }
            }
        }
        Err(OriginError::Disk {
            what: format!("can't follow {name}"),
            reason: "its aliases go in circles".to_owned(),
        })
    }

    /// True if there is any branch or tag.
    pub fn any(&mut self) -> Result<bool, OriginError> {
        for folder in ["heads", "tags"] {
            let folder = self.places.common_dir.join("refs").join(folder);
            if holds_a_file(self.disk, &folder)? {
                return Ok(true);
            }
        }
        Ok(packed_lines(self.packed()?).next().is_some())
    }

    fn read(&mut self, name: &str) -> Result<Option<RefContent>, OriginError> {
        if name != "HEAD" && !refname::is_valid(name) {
            return Ok(None);
        }
        let path = self.home_of(name).join(name);
        // Loose ones go first; a ref that is just being packed is in both places for a while.
        if let Some(content) = content(self.disk, &path)? {
            let parsed = parse_ref(&content);
            return parsed.map(Some).ok_or_else(|| OriginError::Disk {
                what: format!("can't read {}", path.display()),
                reason: "it is no ref".to_owned(),
            });
        }
        let found = packed_lines(self.packed()?).find(|(packed, _)| *packed == name.as_bytes());
        Ok(found.map(|(_, oid)| RefContent::Oid(oid)))
    }

    /// `HEAD` and a few kinds of refs are each work tree's own (git-worktree, "Refs").
    fn home_of(&self, name: &str) -> &'a Path {
        let own = ["refs/bisect/", "refs/worktree/", "refs/rewritten/"];
        if name == "HEAD" || own.iter().any(|prefix| name.starts_with(prefix)) {
            &self.places.git_dir
        } else {
            &self.places.common_dir
        }
    }

    fn packed(&mut self) -> Result<&[u8], OriginError> {
        if self.packed.is_none() {
            let path = self.places.common_dir.join("packed-refs");
            self.packed = Some(content(self.disk, &path)?.unwrap_or_default());
        }
        Ok(self.packed.as_deref().unwrap_or_default())
    }
}

/// The names and ids in a `packed-refs` file. Lines with `#` and `^` say things about it and about
/// the ref before.
fn packed_lines(packed: &[u8]) -> impl Iterator<Item = (&[u8], Oid)> {
    packed.split(|&byte| byte == b'\n').filter_map(|line| {
        let space = line.iter().position(|&byte| byte == b' ')?;
        let oid = Oid::from_hex(&line[..space]).ok()?;
        Some((line[space + 1..].trim_ascii_end(), oid))
    })
}

fn holds_a_file(disk: &dyn Disk, folder: &Path) -> Result<bool, OriginError> {
    let entries = match disk.read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failed(folder, error)),
    };
    for entry in entries {
        if !entry.is_dir || holds_a_file(disk, &folder.join(entry.name))? {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use bonsai_testkit::repo::{Repo, specimens};

    use super::{super::discover::discover, *};
    use crate::seams::disk::StdDisk;

    fn places(repo: &Repo) -> Places {
        discover(&StdDisk, &repo.path()).expect("a repository")
    }

    /// `<name> <id>` of where `name` leads.
    fn found(repo: &Repo, name: &str) -> Option<String> {
        let places = places(repo);
        let found = FileRefs::new(&StdDisk, &places).find(name);
        let found = found.unwrap_or_else(|error| panic!("{name}: {error}"))?;
        let name = found.name.unwrap_or("detached".to_owned());
        Some(format!("{name} {}", found.target))
    }

    #[test]
    fn loose_packed_and_both() {
        let specimen = specimens::plain();
        let (repo, old) = (&specimen.repo, &specimen.commit);
        let at = |name: &str, oid: &str| Some(format!("{name} {oid}"));
        assert_eq!(found(repo, "HEAD"), at("refs/heads/main", old));
        repo.git(&["update-ref", "refs/heads/a/b", old]);
        repo.git(&["tag", "-a", "-m", "x", "v1", old]);
        repo.git(&["pack-refs", "--all"]);
        let tag = repo.oid("refs/tags/v1");
        for (name, oid) in [
            ("refs/heads/main", old),
            ("refs/heads/a/b", old),
            ("refs/tags/v1", &tag),
        ] {
            assert_eq!(found(repo, name), at(name, oid));
        }
        let new = repo.commit(&bonsai_testkit::repo::Files::new().file("x", "y"));
        assert_eq!(found(repo, "HEAD"), at("refs/heads/main", &new));
        for nothing in [
            "refs/heads/a",
            "refs/heads/none",
            "refs/heads",
            "refs/tags/v",
            "../x",
        ] {
            assert_eq!(found(repo, nothing), None, "{nothing}");
        }
    }

    #[test]
    fn detached_and_per_work_tree() {
        let specimen = specimens::detached_head();
        let head = found(&specimen.repo, "HEAD");
        assert_eq!(head, Some(format!("detached {}", specimen.commit)));
        let second = specimens::second_work_tree();
        let head = found(&second.repo, "HEAD");
        assert_eq!(head, Some(format!("refs/heads/second {}", second.commit)));
        assert!(found(&second.repo, "refs/heads/main").is_some());
        let mark = ["update-ref", "refs/worktree/mark", &second.commit];
        second.repo.git(&mark);
        assert!(found(&second.repo, "refs/worktree/mark").is_some());
        let first = second.repo.named("repo");
        assert_eq!(found(&first, "refs/worktree/mark"), None);
    }

    #[test]
    fn circles_and_rubbish_are_errors() {
        let repo = specimens::plain().repo;
        let heads = repo.path().join("refs/heads");
        fs::write(heads.join("a"), "ref: refs/heads/b\n").expect("written");
        fs::write(heads.join("b"), "ref: refs/heads/a\n").expect("written");
        fs::write(heads.join("c"), "rubbish\n").expect("written");
        let places = places(&repo);
        let mut refs = FileRefs::new(&StdDisk, &places);
        for name in ["refs/heads/a", "refs/heads/c"] {
            let error = refs.find(name).expect_err("not a good ref");
            assert!(matches!(error, OriginError::Disk { .. }), "{error:?}");
        }
    }

    #[test]
    fn whether_there_is_any_ref() {
        let any = |repo: &Repo| {
            let places = places(repo);
            let any = FileRefs::new(&StdDisk, &places).any();
            any.expect("a readable folder")
        };
        assert!(!any(&specimens::empty_repository()));
        let repo = specimens::plain().repo;
        assert!(any(&repo));
        repo.git(&["pack-refs", "--all"]);
        assert!(any(&repo));
        repo.git(&["update-ref", "-d", "refs/heads/main"]);
        assert!(!any(&repo));
        repo.git(&["update-ref", "refs/tags/deep/er", &specimens_commit(&repo)]);
        assert!(any(&repo));
    }

    /// A commit that stays when no ref leads to it.
    fn specimens_commit(repo: &Repo) -> String {
        repo.commit_of(&repo.tree(&[]))
    }
}

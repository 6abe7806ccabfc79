//! From a path to the repository that it is in: work tree, subfolder, bare, `.git`, or the `.git`
//! file of a submodule or a second work tree (gitrepository-layout).
//!
//! Blocks on the disk; runs in blocking jobs.

use std::{
    ffi::OsStr,
    io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use super::config::{self, Layout};
use crate::{
    git::{oid::Oid, refname},
    origin::OriginError,
    seams::disk::Disk,
};

/// Where the parts of a repository are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Places {
    /// The path that the user gave, absolute.
    pub given: PathBuf,
    /// What is this work tree's own: `HEAD`.
    pub git_dir: PathBuf,
    /// What all work trees share: objects, refs, configuration.
    pub common_dir: PathBuf,
    /// How it is stored.
    pub layout: Layout,
}

/// Finds the repository at `path` or above it.
///
/// # Errors
/// [`OriginError::NoSuchPath`], [`OriginError::NotARepository`]; [`OriginError::Disk`] if
/// something on the way can't be read, and for an object format that is not known.
pub(super) fn discover(disk: &dyn Disk, path: &Path) -> Result<Places, OriginError> {
    // The one look at the disk here that is not through the seam: which folders a path is in is
    // known only when its symlinks and dots are resolved.
    let given = path.canonicalize().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => OriginError::NoSuchPath {
            path: path.display().to_string(),
        },
        _ => failed(path, error),
    })?;
    let not_found = || OriginError::NotARepository {
        path: path.display().to_string(),
    };
    let git_dir = match followed(disk, &given)? {
        // The user named a `.git` file.
        Some(target) => target,
        None if !given.is_dir() => return Err(not_found()),
        None => given
            .ancestors()
            .find_map(|folder| in_folder(disk, folder).transpose())
            .ok_or_else(not_found)??,
    };
    let common_dir = common_dir(disk, &git_dir)?;
    if !is_repository(disk, &git_dir, &common_dir)? {
        return Err(not_found());
    }
    let config = text(disk, &common_dir.join("config"))?.unwrap_or_default();
    let layout = config::layout(&config).map_err(|format| OriginError::Disk {
        what: format!("can't read {}", common_dir.display()),
        reason: format!("its object format {format:?} is unknown"),
    })?;
    Ok(Places {
        given,
        git_dir,
        common_dir,
        layout,
    })
}

/// The Git directory that `folder` has or is.
fn in_folder(disk: &dyn Disk, folder: &Path) -> Result<Option<PathBuf>, OriginError> {
    let dot_git = folder.join(".git");
    for candidate in [&dot_git, folder] {
        if is_repository(disk, candidate, &common_dir(disk, candidate)?)? {
            return Ok(Some(candidate.to_owned()));
        }
    }
    followed(disk, &dot_git)
}

/// Where the file `path` points, if it is one that says `gitdir: <path>`.
fn followed(disk: &dyn Disk, path: &Path) -> Result<Option<PathBuf>, OriginError> {
    let Some(content) = content(disk, path)? else {
        return Ok(None);
    };
    let target = content.strip_prefix(b"gitdir:").map(|target| {
        let target = target.trim_ascii();
        // Relative to the folder of the file.
        let folder = path.parent().unwrap_or(Path::new("/"));
        folder.join(OsStr::from_bytes(target))
    });
    Ok(target)
}

/// A second work tree's Git directory names the one that it shares most things with.
fn common_dir(disk: &dyn Disk, git_dir: &Path) -> Result<PathBuf, OriginError> {
    let named = content(disk, &git_dir.join("commondir"))?;
    Ok(match named {
        Some(path) => git_dir.join(OsStr::from_bytes(path.trim_ascii())),
        None => git_dir.to_owned(),
    })
}

/// What git itself takes for a repository: a plausible `HEAD`, `objects` and `refs`.
fn is_repository(disk: &dyn Disk, git_dir: &Path, common_dir: &Path) -> Result<bool, OriginError> {
    let Some(head) = content(disk, &git_dir.join("HEAD"))? else {
        return Ok(false);
    };
    // With a reftable it names a branch that no branch can be called.
    let plausible = head.starts_with(b"ref: refs/") || parse_ref(&head).is_some();
    let is_there = |name: &str| disk.open(&common_dir.join(name)).is_ok();
    Ok(plausible && is_there("objects") && is_there("refs"))
}

/// What a ref's file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RefContent {
    /// An object.
    Oid(Oid),
    /// Another ref's full name.
    Alias(String),
}

/// Reads the content of a ref's file: `<id>` or `ref: <name>`.
pub(super) fn parse_ref(content: &[u8]) -> Option<RefContent> {
    let text = std::str::from_utf8(content).ok()?.trim_end();
    match text.strip_prefix("ref:") {
        Some(name) => {
            let name = name.trim_start();
            let valid = name.starts_with("refs/") && refname::is_valid(name);
            valid.then(|| RefContent::Alias(name.to_owned()))
        }
        // Old versions put more after the id.
        None => refname::parse_oid(text.split_ascii_whitespace().next()?).map(RefContent::Oid),
    }
}

/// A file's content; `None` if there is no such file.
pub(super) fn content(disk: &dyn Disk, path: &Path) -> Result<Option<Vec<u8>>, OriginError> {
    match disk.read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::IsADirectory => Ok(None),
            _ => Err(failed(path, error)),
        },
    }
}

/// [`content`] as text, with replacements for what is none.
fn text(disk: &dyn Disk, path: &Path) -> Result<Option<String>, OriginError> {
    let content = content(disk, path)?;
    Ok(content.map(|content| String::from_utf8_lossy(&content).into_owned()))
}

/// The error of a disk that fails.
pub(super) fn failed(path: &Path, error: io::Error) -> OriginError {
    OriginError::Disk {
        what: format!("can't read {}", path.display()),
        reason: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use bonsai_testkit::repo::{Format, Repo, Shape, specimens};

    use super::*;
    use crate::{git::oid::HashKind, seams::disk::StdDisk};

    fn found(path: &Path) -> (PathBuf, PathBuf) {
        let places = discover(&StdDisk, path);
        let places = places.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let real = |path: PathBuf| path.canonicalize().expect("it is there");
        (real(places.git_dir), real(places.common_dir))
    }

    #[test]
    fn bare_work_tree_subfolder_and_dot_git() {
        let bare = Repo::new();
        let git_dir = bare.path().canonicalize().expect("it is there");
        for path in [bare.path(), bare.path().join("objects")] {
            assert_eq!(found(&path), (git_dir.clone(), git_dir.clone()));
        }

        let work_tree = specimens::work_tree().repo;
        let git_dir = work_tree.path().join(".git");
        let git_dir = git_dir.canonicalize().expect("it is there");
        let sub = work_tree.path().join("some/folder");
        fs::create_dir_all(&sub).expect("a folder");
        std::os::unix::fs::symlink(&sub, work_tree.root().join("link")).expect("a link");
        for path in [
            work_tree.path(),
            work_tree.path().join(".git"),
            sub.clone(),
            sub.join("..").join("folder"),
            work_tree.root().join("link"),
        ] {
            assert_eq!(found(&path), (git_dir.clone(), git_dir.clone()));
        }
    }

    #[test]
    fn a_second_work_tree_shares_objects_and_has_a_head_of_its_own() {
        let second = specimens::second_work_tree().repo;
        let (git_dir, common_dir) = found(&second.path());
        assert!(git_dir.ends_with(".git/worktrees/second"), "{git_dir:?}");
        assert!(common_dir.ends_with("repo/.git"), "{common_dir:?}");
        assert_eq!(found(&second.path().join(".git")), (git_dir, common_dir));
    }

    #[test]
    fn a_submodule_is_a_repository_of_its_own() {
        let outer = specimens::work_tree().repo;
        let inner = specimens::plain().repo;
        let source = inner.path().display().to_string();
        let add = [
            "-c",
            "protocol.file.allow=always",
            "submodule",
            "--quiet",
            "add",
            &source,
            "sub",
        ];
        outer.git(&add);
        let (git_dir, _) = found(&outer.path().join("sub"));
        assert!(git_dir.ends_with(".git/modules/sub"), "{git_dir:?}");
    }

    #[test]
    fn formats() {
        for (format, hash) in [
            (Format::Sha1, HashKind::Sha1),
            (Format::Sha256, HashKind::Sha256),
        ] {
            let repo = Repo::with(format, Shape::Bare);
            let places = discover(&StdDisk, &repo.path()).expect("a repository");
            assert_eq!(places.layout.hash, hash);
        }
        let repo = Repo::new();
        let config = repo.path().join("config");
        fs::write(&config, "[extensions]\nobjectformat = blake3\n").expect("written");
        let error = discover(&StdDisk, &repo.path()).expect_err("unknown");
        assert!(error.to_string().contains("blake3"), "{error}");
    }

    #[test]
    fn what_is_not_there_or_no_repository() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let file = dir.path().join("file");
        fs::write(&file, "text").expect("written");
        let missing = dir.path().join("missing");
        for path in [&missing, &missing.join("x"), &file.join("x")] {
            let error = discover(&StdDisk, path).expect_err("not there");
            let shown = path.display().to_string();
            assert!(
                matches!(&error, OriginError::NoSuchPath { path } if *path == shown),
                "{error:?}"
            );
        }
        let dangling = dir.path().join("dangling");
        fs::create_dir(&dangling).expect("a folder");
        fs::write(dangling.join(".git"), "gitdir: ../nowhere\n").expect("written");
        let repo = specimens::work_tree().repo;
        let in_work_tree = repo.path().join("README.md");
        for path in [dir.path(), &file, &dangling, &in_work_tree] {
            let error = discover(&StdDisk, path).expect_err("no repository");
            assert!(
                matches!(error, OriginError::NotARepository { .. }),
                "{error:?}"
            );
        }
    }

    #[test]
    fn ref_files() {
        let id = "1".repeat(40);
        let oid = RefContent::Oid(refname::parse_oid(&id).expect("hex"));
        for text in [format!("{id}\n"), id.clone(), format!("{id} more\n")] {
            assert_eq!(parse_ref(text.as_bytes()), Some(oid.clone()), "{text}");
        }
        for text in ["ref: refs/heads/main\n", "ref:refs/heads/main"] {
            let alias = RefContent::Alias("refs/heads/main".to_owned());
            assert_eq!(parse_ref(text.as_bytes()), Some(alias), "{text}");
        }
        for text in [
            "",
            "\n",
            "main\n",
            "ref: ../../etc/passwd\n",
            "ref: refs/../x",
            "ref: HEAD",
        ] {
            assert_eq!(parse_ref(text.as_bytes()), None, "{text}");
        }
    }
}

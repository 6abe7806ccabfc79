//! What a mount is to be. May import: git's addresses, origin, device, fuse, names; serde.
//!
//! Always holds: a plan may carry credentials (in the source's URL), so it goes through a pipe,
//! never onto a command line or into a log; it has no `Debug`.

use serde::{Deserialize, Serialize};

use super::{
    device::Access,
    names::{AnyPath, DirFields},
};
use crate::{
    fuse::{Content, Xattrs},
    origin::RefWant,
    repo::Prefetch,
};

/// All that `bonsai mount` was told, with nothing left to look up in the caller's folder.
#[derive(Clone, Serialize, Deserialize)]
pub struct Plan {
    /// The repository: an absolute path, or a URL as it was typed.
    pub source: AnyPath,
    /// `--ref`.
    pub reference: Option<String>,
    /// The mount point, an absolute path.
    pub dir: AnyPath,
    /// The folder for what is fetched, an absolute path.
    pub cache_dir: AnyPath,
    /// The bytes that all of that folder may take, if the user said so.
    pub cache_size: Option<u64>,
    /// Bytes of objects to keep in memory.
    pub memory: usize,
    /// What is fetched that nobody asked for.
    pub prefetch: Prefetch,
    /// Whether and how it follows the ref; `None` if it stays with its commit.
    pub follow: Option<Follow>,
    /// How requests come.
    #[serde(default)]
    pub transport: TransportWish,
    /// Whether other users may use it.
    pub allow_other: bool,
    /// Whether extended attributes can be read.
    pub xattrs: bool,
    /// Whether the kernel is told to keep next to nothing, for comparison.
    #[serde(default)]
    pub unsteady: bool,
    /// The log file, an absolute path, if the user named one.
    pub log: Option<AnyPath>,
}

/// How a mount follows its ref.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Follow {
    /// When `bonsai refresh` says so.
    Manual,
    /// By itself, too.
    Every {
        /// The time between two looks.
        seconds: u64,
    },
}

/// Which transport the user wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransportWish {
    /// The fastest that there is.
    #[default]
    Auto,
    /// /dev/fuse.
    Dev,
    /// io_uring, or none.
    Uring,
}

impl Plan {
    /// What is to be shown of the repository.
    pub fn want(&self) -> RefWant {
        match &self.reference {
            None => RefWant::Head,
            Some(name) => RefWant::Named(name.clone()),
        }
    }

    /// What the kernel may keep.
    pub fn content(&self) -> Content {
        match self.follow {
            Some(_) => Content::Following,
            None if self.unsteady => Content::Unsteady,
            None => Content::Pinned,
        }
    }

    /// Who may use the mount.
    pub fn access(&self) -> Access {
        if self.allow_other {
            Access::Everyone
        } else {
            Access::Owner
        }
    }

    /// Whether extended attributes can be read.
    pub fn xattr_policy(&self) -> Xattrs {
        if self.xattrs { Xattrs::On } else { Xattrs::Off }
    }
}

/// A mount that answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// The repository, without credentials.
    pub source: String,
    /// The mount point.
    #[serde(flatten)]
    pub dir: DirFields,
    /// The full name of the ref, if there is one.
    pub ref_name: Option<String>,
    /// The commit's id.
    pub commit: String,
    /// True if the origin could not be reached, and the cache's last word is shown.
    pub offline: bool,
}

/// How others name a ref: `main` for `refs/heads/main`, and `detached` without one.
pub fn short_ref(name: Option<&str>) -> &str {
    let Some(name) = name else { return "detached" };
    ["refs/heads/", "refs/tags/", "refs/remotes/"]
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))
        .unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsString, os::unix::ffi::OsStringExt};

    use super::*;

    #[test]
    fn refs_are_shortened_as_git_does() {
        assert_eq!(short_ref(None), "detached");
        assert_eq!(short_ref(Some("refs/heads/a/b")), "a/b");
        assert_eq!(short_ref(Some("refs/tags/v1")), "v1");
        assert_eq!(short_ref(Some("refs/remotes/origin/x")), "origin/x");
        assert_eq!(short_ref(Some("refs/pull/1/head")), "refs/pull/1/head");
        assert_eq!(short_ref(Some("HEAD")), "HEAD");
    }

    #[test]
    fn a_plan_comes_through_a_pipe_whole() {
        let any = |bytes: &[u8]| AnyPath(OsString::from_vec(bytes.to_vec()).into());
        let plan = Plan {
            source: any(b"/src/\xff\n"),
            reference: Some("main".to_owned()),
            dir: any(b"/mnt/\xfe"),
            cache_dir: any(b"/c"),
            cache_size: Some(9),
            memory: 7,
            prefetch: Prefetch::All,
            follow: Some(Follow::Every { seconds: 30 }),
            transport: TransportWish::Uring,
            allow_other: true,
            xattrs: false,
            unsteady: true,
            log: Some(any(b"/\xfd")),
        };
        let line = serde_json::to_string(&plan).expect("plain data");
        assert!(!line.contains('\n'), "{line}");
        let back: Plan = serde_json::from_str(&line).expect("the same again");
        assert_eq!(back.source, plan.source);
        assert_eq!(back.dir, plan.dir);
        assert_eq!(back.log, plan.log);
        assert_eq!(back.cache_size, Some(9));
        assert_eq!(back.prefetch, Prefetch::All);
        assert_eq!(back.follow, plan.follow);
        assert_eq!(back.transport, plan.transport);
        assert_eq!(back.want(), RefWant::Named("main".to_owned()));
        assert_eq!(back.access(), Access::Everyone);
        assert_eq!(back.xattr_policy(), Xattrs::Off);
        assert!(back.unsteady);
    }
}

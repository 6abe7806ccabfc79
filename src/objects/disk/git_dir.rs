//! The repository around the objects: its configuration, what refs meant last time, which commits
//! have all their trees.
//!
//! May import: seams, git. Blocking.
//!
//! Always holds: what a ref meant is told as it was remembered, or not at all.

use std::{
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    DiskTier,
    pieces::{self, lock_changes},
};
use crate::{
    git::{
        oid::{HashKind, ObjectKind, Oid, object_id},
        refname,
    },
    seams::disk::{Disk, Folder, Hold},
};

/// What a ref meant when its origin was last asked, for a mount without a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// The full ref name, if it was one.
    pub name: Option<String>,
    /// The object it pointed to.
    pub target: Oid,
    /// The commit behind it.
    pub commit: Oid,
}

/// See [`DiskTier::trees_went`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreesWent(Vec<u8>);

#[derive(Serialize, Deserialize)]
struct RememberedFile {
    want: String,
    name: Option<String>,
    target: String,
    commit: String,
    /// Of all above. A digit of an id that rotted is a digit mostly.
    sum: u32,
}

impl RememberedFile {
    fn new(want: &str, what: &Remembered) -> io::Result<Self> {
        let mut file = Self {
            want: want.to_owned(),
            name: what.name.clone(),
            target: what.target.to_string(),
            commit: what.commit.to_string(),
            sum: 0,
        };
        file.sum = file.summed()?;
        Ok(file)
    }

    fn summed(&self) -> io::Result<u32> {
        let all = (&self.want, &self.name, &self.target, &self.commit);
        let raw = serde_json::to_vec(&all).map_err(io::Error::other)?;
        Ok(crc32fast::hash(&raw))
    }

    /// What it says that `want` meant, if it is whole.
    fn meaning(self, want: &str) -> Option<Remembered> {
        let whole = self.summed().is_ok_and(|sum| sum == self.sum);
        if !whole || self.want != want {
            return None;
        }
        Some(Remembered {
            name: self.name,
            target: refname::parse_oid(&self.target)?,
            commit: refname::parse_oid(&self.commit)?,
        })
    }
}

/// The object format that the repository in `folder` was made for.
pub(super) fn object_format(folder: &Folder) -> Option<HashKind> {
    hash_of(&*folder.disk, &folder.path)
}

/// The object format that the repository in the folder `dir` was made for.
pub(super) fn hash_of(disk: &dyn Disk, dir: &Path) -> Option<HashKind> {
    let config = disk.read(&dir.join("config")).ok()?;
    let sha256 = config.windows(6).any(|word| word == b"sha256");
    Some(if sha256 {
        HashKind::Sha256
    } else {
        HashKind::Sha1
    })
}

/// The address that [`create`] wrote into the configuration.
pub(super) fn source_of(disk: &dyn Disk, dir: &Path) -> Option<String> {
    let config = String::from_utf8(disk.read(&dir.join("config")).ok()?).ok()?;
    let mut lines = config.lines();
    let quoted = lines.find_map(|line| line.trim_start().strip_prefix("url = \""))?;
    let mut url = String::new();
    let mut chars = quoted.chars();
    loop {
        match chars.next()? {
            '"' => return Some(url),
            '\\' => url.push(match chars.next()? {
                'n' => '\n',
                other => other,
            }),
            char => url.push(char),
        }
    }
}

/// Makes the repository, or completes one whose making was cut short.
pub(super) fn create(tier: &DiskTier, url: &str) -> io::Result<()> {
    let DiskTier {
        disk,
        runtime,
        dir: path,
        hash,
        ..
    } = tier;
    for sub in [
        "objects/pack",
        "objects/info",
        "refs/heads",
        "refs/tags",
        "bonsai/large",
        "bonsai/refs",
        "bonsai/complete",
    ] {
        let sub = path.join(sub);
        if disk.read_dir(&sub).is_err() {
            disk.create_dir_all(&sub)?;
            // Else what is kept in there could outlive a power cut in one folder and not in another.
            disk.sync_dir(sub.parent().unwrap_or(path))?;
        }
    }
    let temp = || path.join(format!("tmp_bonsai_{:016x}", runtime.random()));
    if disk.open(&path.join("HEAD")).is_err() {
        disk.write_whole(&path.join("HEAD"), &temp(), b"ref: refs/heads/main\n")?;
    }
    // The configuration comes last: it is what says that there is a repository.
    if disk.open(&path.join("config")).is_err() {
        let format = match hash {
            HashKind::Sha256 => "\tobjectFormat = sha256\n",
            _ => "",
        };
        let config = format!(
            "[core]\n\trepositoryFormatVersion = 1\n\tbare = true\n\
             [extensions]\n\tpartialClone = origin\n{format}\
             [remote \"origin\"]\n\turl = {}\n\tpromisor = true\n\tpartialCloneFilter = blob:none\n\
             [gc]\n\tauto = 0\n",
            quoted(url)
        );
        disk.write_whole(&path.join("config"), &temp(), config.as_bytes())?;
    }
    Ok(())
}

/// Whether `name`, which came from a server, is a ref's and nothing else's in the folder.
fn is_ref(name: &str) -> bool {
    name.starts_with("refs/") && refname::is_valid(name)
}

/// A value as git-config(1) wants it quoted.
fn quoted(value: &str) -> String {
    let mut quoted = String::from("\"");
    for char in value.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            '\n' => quoted.push_str("\\n"),
            _ => quoted.push(char),
        }
    }
    quoted.push('"');
    quoted
}

impl DiskTier {
    /// Keeps what `want` meant, also under the full name it turned out to have, and sets git's own
    /// refs so that `git` sees the objects as reachable. An empty `want` is the remote's HEAD.
    pub fn remember(&self, want: &str, what: &Remembered) -> io::Result<()> {
        self.keep_meaning(want, what)?;
        let Some(name) = what.name.as_deref().filter(|name| is_ref(name)) else {
            return Ok(());
        };
        if name != want {
            self.keep_meaning(name, what)?;
        }
        // What left the cache meanwhile took git's refs with it.
        let _changes = lock_changes(&*self.disk, &self.dir, Hold::Shared)?;
        self.refresh();
        if !self.has(&what.target) {
            return Ok(());
        }
        if let Err(error) = self.set_ref(name, &what.target, want.is_empty()) {
            // Only for git's eyes: a name may stand where another needs a folder.
            tracing::debug!(name, %error, "the cache's ref could not be set");
        }
        Ok(())
    }

    fn keep_meaning(&self, want: &str, what: &Remembered) -> io::Result<()> {
        let file = RememberedFile::new(want, what)?;
        let raw = serde_json::to_vec(&file).map_err(io::Error::other)?;
        let temp = self.temp(&self.dir.join("bonsai/refs"));
        self.disk
            .write_whole(&self.remembered_path(want), &temp, &raw)
    }

    fn set_ref(&self, name: &str, target: &Oid, is_head: bool) -> io::Result<()> {
        let path = self.dir.join(name);
        self.disk
            .create_dir_all(path.parent().unwrap_or(&self.dir))?;
        let temp = || self.temp(&self.dir);
        self.disk
            .write_whole(&path, &temp(), format!("{target}\n").as_bytes())?;
        if is_head && name.starts_with("refs/heads/") {
            let head = format!("ref: {name}\n");
            self.disk
                .write_whole(&self.dir.join("HEAD"), &temp(), head.as_bytes())?;
        }
        Ok(())
    }

    /// What `want` meant when it was last remembered, or the first ref that git would take it for.
    pub fn remembered(&self, want: &str) -> Option<Remembered> {
        let names = refname::candidates(want);
        std::iter::once(want)
            .chain(names.iter().map(String::as_str))
            .find_map(|name| self.meaning(name))
    }

    fn meaning(&self, want: &str) -> Option<Remembered> {
        let raw = self.disk.read(&self.remembered_path(want)).ok()?;
        let file: RememberedFile = serde_json::from_slice(&raw).ok()?;
        file.meaning(want)
    }

    fn remembered_path(&self, want: &str) -> PathBuf {
        let id = object_id(self.hash, ObjectKind::Blob, want.as_bytes());
        let id = id.map_or_else(|| "unnamed".to_owned(), |id| id.to_string());
        self.dir.join("bonsai/refs").join(id)
    }

    /// A value that changes whenever commits or trees left the cache: to be taken before the
    /// download that [`DiskTier::mark_complete`] is called for. What left before is not taken for here after this.
    pub fn trees_went(&self) -> TreesWent {
        let went = self.went();
        self.refresh();
        went
    }

    fn went(&self) -> TreesWent {
        TreesWent(pieces::trees_went(&*self.disk, &self.dir))
    }

    /// Notes that `commit` and all its trees are here, and that its history ends there
    /// (gitformat `shallow`), which git wants to know. Nothing is noted if trees left the cache
    /// since `before`.
    pub fn mark_complete(&self, commit: &Oid, before: &TreesWent) -> io::Result<()> {
        let _changes = lock_changes(&*self.disk, &self.dir, Hold::Shared)?;
        if self.went() != *before {
            return Ok(());
        }
        let folder = self.dir.join("bonsai/complete");
        self.disk
            .write_whole(&folder.join(commit.to_string()), &self.temp(&folder), b"")?;
        let shallow = self.dir.join("shallow");
        let mut lines = self.disk.read(&shallow).unwrap_or_default();
        let line = format!("{commit}\n");
        if !lines
            .windows(line.len())
            .any(|window| window == line.as_bytes())
        {
            lines.extend(line.as_bytes());
            self.disk
                .write_whole(&shallow, &self.temp(&self.dir), &lines)?;
        }
        Ok(())
    }

    /// Whether [`DiskTier::mark_complete`] was called for `commit`, by any process.
    pub fn is_complete(&self, commit: &Oid) -> bool {
        self.disk.open(&self.complete_path(commit)).is_ok()
    }

    pub(super) fn complete_path(&self, commit: &Oid) -> PathBuf {
        Path::new(&self.dir)
            .join("bonsai/complete")
            .join(commit.to_string())
    }
}

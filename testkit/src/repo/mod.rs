//! Makes repositories with Git's own plumbing. May import: std, tempfile.
//!
//! Always holds: no configuration of the user or the machine has a say, names and times are
//! fixed, so the same calls give the same object ids.

mod files;
pub mod hostile;
mod large;
pub mod sources;
pub mod specimens;

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    thread,
};

use tempfile::TempDir;

pub use files::Files;
pub use specimens::Specimen;

/// The time of all commits that don't say otherwise: 2023-11-14T22:13:20Z.
pub const COMMIT_TIME: i64 = 1_700_000_000;

/// An object format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Ids of 20 bytes.
    Sha1,
    /// Ids of 32 bytes.
    Sha256,
}

/// Whether a repository has a work tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// The folder is the Git directory.
    Bare,
    /// The Git directory is the folder's `.git`.
    WorkTree,
}

/// A repository in a folder that vanishes with the last one made in it.
#[derive(Clone, Debug)]
pub struct Repo {
    folder: Arc<TempDir>,
    name: String,
}

impl Default for Repo {
    fn default() -> Self {
        Self::new()
    }
}

impl Repo {
    /// A bare SHA-1 repository without a commit, in a new folder.
    pub fn new() -> Self {
        Self::with(Format::Sha1, Shape::Bare)
    }

    /// A repository without a commit, in a new folder.
    pub fn with(format: Format, shape: Shape) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("bonsai-repo-")
            .tempdir()
            .expect("a temporary folder");
        let repo = Self {
            folder: Arc::new(folder),
            name: match shape {
                Shape::Bare => "repo.git".to_owned(),
                Shape::WorkTree => "repo".to_owned(),
            },
        };
        let format = match format {
            Format::Sha1 => "--object-format=sha1",
            Format::Sha256 => "--object-format=sha256",
        };
        let mut init = git_command(repo.root());
        init.args(["init", "--quiet", "--initial-branch=main", format]);
        if shape == Shape::Bare {
            init.arg("--bare");
        }
        run(init.arg(&repo.name), b"");
        repo.ignore_attributes();
        repo
    }

    /// A repository that `git` makes beside this one: `command` gets as its last argument the
    /// name `name`, relative to [`Repo::root`], where it runs.
    pub fn beside(&self, name: &str, command: &[&str]) -> Self {
        run(git_command(self.root()).args(command).arg(name), b"");
        let repo = self.named(name);
        repo.ignore_attributes();
        repo
    }

    /// What lies at `name` in the same folder.
    pub fn named(&self, name: &str) -> Self {
        Self {
            folder: Arc::clone(&self.folder),
            name: name.to_owned(),
        }
    }

    /// The folder that holds the repository; a server's root.
    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    /// The repository's name in [`Repo::root`].
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The repository: what one mounts.
    pub fn path(&self) -> PathBuf {
        self.root().join(&self.name)
    }

    /// The path under [`Repo::root`] by which a server serves it.
    pub fn served(&self) -> String {
        if self.path().join(".git").exists() {
            format!("{}/.git", self.name)
        } else {
            self.name.clone()
        }
    }

    /// `git` in this repository, with nothing of the user's configuration.
    pub fn command(&self) -> Command {
        git_command(&self.path())
    }

    /// What `git` says to `args`. Panics if it fails.
    pub fn git(&self, args: &[&str]) -> Vec<u8> {
        run(self.command().args(args), b"")
    }

    /// As [`Repo::git`], with standard input; the answer is one line.
    pub fn git_with(&self, args: &[&str], input: &[u8]) -> String {
        one_line(&run(self.command().args(args), input))
    }

    /// The object id of a revision.
    pub fn oid(&self, revision: &str) -> String {
        self.git_with(&["rev-parse", "--verify", "--quiet", revision], b"")
    }

    /// Stores a blob.
    pub fn blob(&self, data: &[u8]) -> String {
        self.git_with(&["hash-object", "-w", "--stdin"], data)
    }

    /// Stores a tree that Git itself would make: entries are sorted, objects may be missing.
    pub fn tree(&self, entries: &[(&str, &str, &[u8])]) -> String {
        let mut input = Vec::new();
        for (mode, oid, name) in entries {
            let kind = match *mode {
                "040000" => "tree",
                "160000" => "commit",
                _ => "blob",
            };
            input.extend_from_slice(format!("{mode} {kind} {oid}\t").as_bytes());
            input.extend_from_slice(name);
            input.push(0);
        }
        self.git_with(&["mktree", "-z", "--missing"], &input)
    }

    /// Stores an object that Git itself would not make, byte by byte.
    pub fn raw(&self, kind: &str, data: &[u8]) -> String {
        let args = ["hash-object", "-t", kind, "--literally", "-w", "--stdin"];
        self.git_with(&args, data)
    }

    /// Stores a commit of `tree`, without parents, at [`COMMIT_TIME`].
    pub fn commit_of(&self, tree: &str) -> String {
        self.commit_at(tree, COMMIT_TIME)
    }

    /// Stores a commit of `tree` at `time`, in seconds since the epoch.
    pub fn commit_at(&self, tree: &str, time: i64) -> String {
        let who = format!("Test <test@example.org> {time} +0000");
        let text = format!("tree {tree}\nauthor {who}\ncommitter {who}\n\nTest\n");
        self.raw("commit", text.as_bytes())
    }

    /// Points the branch `main` to `commit`.
    pub fn point_main(&self, commit: &str) {
        self.git(&["update-ref", "refs/heads/main", commit]);
    }

    /// Commits `files`, without parents, to `main`, in one pack; the commit's id.
    pub fn commit(&self, files: &Files) -> String {
        let import = ["-c", "fastimport.unpackLimit=0"];
        let args = [&import[..], &["fast-import", "--quiet", "--force"]].concat();
        run(self.command().args(&args), &files.import_stream());
        self.oid("refs/heads/main")
    }

    /// All objects in one pack, with deltas.
    pub fn pack(&self) {
        self.git(&["repack", "-a", "-d", "-f", "--quiet", "--depth=50"]);
    }

    /// The Git directory: the folder itself, its `.git`, or where a `.git` file points to.
    pub fn git_dir(&self) -> PathBuf {
        let path = one_line(&self.git(&["rev-parse", "--absolute-git-dir"]));
        PathBuf::from(path)
    }

    /// Makes `git archive` (the second opinion on what a tree holds) show every byte as it is,
    /// whatever attributes the content asks for.
    fn ignore_attributes(&self) {
        let common = ["rev-parse", "--path-format=absolute", "--git-common-dir"];
        let info = PathBuf::from(one_line(&self.git(&common))).join("info");
        std::fs::create_dir_all(&info).expect("a folder for attributes");
        let rule = "* -export-ignore -export-subst -text -ident -filter -working-tree-encoding\n";
        std::fs::write(info.join("attributes"), rule).expect("attributes written");
    }
}

/// `git` in `folder`, cut off from all configuration but what is given here.
fn git_command(folder: &Path) -> Command {
    let mut command = Command::new("git");
    command
        .current_dir(folder)
        .args(["-c", "safe.directory=*", "-c", "gc.auto=0"])
        .args(["-c", "protocol.file.allow=always"])
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_AUTHOR_NAME", "Test")
        .env("GIT_AUTHOR_EMAIL", "test@example.org")
        .env("GIT_AUTHOR_DATE", format!("{COMMIT_TIME} +0000"))
        .env("GIT_COMMITTER_NAME", "Test")
        .env("GIT_COMMITTER_EMAIL", "test@example.org")
        .env("GIT_COMMITTER_DATE", format!("{COMMIT_TIME} +0000"));
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        command.env_remove(variable);
    }
    command
}

/// Runs `command` with `input`; its output. Panics, with what it said, if it fails.
fn run(command: &mut Command, input: &[u8]) -> Vec<u8> {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("stdin is a pipe");
    let output = thread::scope(|scope| {
        scope.spawn(move || match stdin.write_all(input) {
            // A command that has failed says so itself.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => panic!("{error}"),
            _ => {}
        });
        child.wait_with_output().expect("git ends")
    });
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

fn one_line(output: &[u8]) -> String {
    let text = String::from_utf8(output.to_vec()).expect("git answers in UTF-8 here");
    text.trim_end_matches('\n').to_owned()
}

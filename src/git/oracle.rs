//! The real `git`, asked by tests. Only built for tests.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;

use super::oid::{HashKind, Oid};

/// `git` without the machine's and the user's configuration, and with fixed names and dates.
fn command(args: &[&str]) -> Command {
    let mut command = Command::new("git");
    command
        .args(args)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_AUTHOR_NAME", "A U Thor")
        .env("GIT_AUTHOR_EMAIL", "author@example.org")
        .env("GIT_AUTHOR_DATE", "1700000000 +0100")
        .env("GIT_COMMITTER_NAME", "C O Mitter")
        .env("GIT_COMMITTER_EMAIL", "committer@example.org")
        .env("GIT_COMMITTER_DATE", "1700000001 -0330")
        .env_remove("GIT_DIR")
        .env_remove("GIT_PROTOCOL");
    command
}

/// Whether `git` with these arguments succeeds. Its output is dropped.
pub fn git_status(args: &[&str]) -> bool {
    command(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("git runs")
        .success()
}

/// A repository in a folder of its own, which goes with it.
pub struct Repo {
    dir: TempDir,
    hash: HashKind,
}

impl Repo {
    /// An empty repository with branch `main`.
    pub fn new(hash: HashKind) -> Self {
        let dir = TempDir::new().expect("a temporary folder");
        let repo = Self { dir, hash };
        let format = format!("--object-format={hash}");
        repo.git(&["init", "--quiet", "--initial-branch=main", &format]);
        repo
    }

    /// Its object format.
    pub fn hash(&self) -> HashKind {
        self.hash
    }

    /// A path within the work tree.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file into the work tree.
    pub fn write(&self, name: &str, content: &[u8]) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).expect("a folder");
        std::fs::write(path, content).expect("a file");
    }

    /// Commits all of the work tree.
    pub fn commit(&self, message: &str) -> Oid {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message", message]);
        self.rev("HEAD")
    }

    /// The id that `name` stands for.
    pub fn rev(&self, name: &str) -> Oid {
        let text = self.git(&["rev-parse", "--verify", name]);
        Oid::from_hex(text.trim_ascii()).expect("git prints an id")
    }

    /// Runs `git` in the work tree. Panics if it fails.
    pub fn git(&self, args: &[&str]) -> Vec<u8> {
        self.git_with(args, b"")
    }

    /// Runs `git` in the work tree with `input`. Panics if it fails.
    pub fn git_with(&self, args: &[&str], input: &[u8]) -> Vec<u8> {
        let (success, output, errors) = self.run(args, input);
        assert!(
            success,
            "git {args:?}: {}",
            String::from_utf8_lossy(&errors)
        );
        output
    }

    /// What upload-pack advertises to a client whose `GIT_PROTOCOL` is `protocol`.
    pub fn info_refs(&self, protocol: &str) -> Vec<u8> {
        let output = command(&["upload-pack", "--http-backend-info-refs", "."])
            .current_dir(self.dir.path())
            .env("GIT_PROTOCOL", protocol)
            .output()
            .expect("git runs");
        assert!(output.status.success());
        output.stdout
    }

    /// What `git http-backend` answers to `GET info/refs?service=git-upload-pack` of a client whose
    /// `Git-Protocol` is `protocol`: the content type and the body.
    pub fn http_info_refs(&self, protocol: &str) -> (String, Vec<u8>) {
        let output = command(&["http-backend"])
            .env("GIT_PROJECT_ROOT", self.dir.path())
            .env("GIT_HTTP_EXPORT_ALL", "1")
            .env("GIT_PROTOCOL", protocol)
            .env("REQUEST_METHOD", "GET")
            .env("PATH_INFO", "/.git/info/refs")
            .env("QUERY_STRING", "service=git-upload-pack")
            .output()
            .expect("git runs");
        assert!(output.status.success());
        let head_end = output
            .stdout
            .windows(4)
            .position(|bytes| bytes == b"\r\n\r\n");
        let (head, body) = output.stdout.split_at(head_end.expect("a CGI answer") + 4);
        let head = String::from_utf8_lossy(head);
        let kind = head
            .lines()
            .find_map(|line| line.strip_prefix("Content-Type: "));
        (kind.expect("a content type").to_owned(), body.to_vec())
    }

    /// upload-pack's answer to a request of protocol version 2, whole or up to where it gave up.
    pub fn upload_pack(&self, request: &[u8]) -> Vec<u8> {
        let (_, answer, _) = self.run(&["upload-pack", "--stateless-rpc", "."], request);
        answer
    }

    /// Runs `git` in the work tree with `input`: whether it succeeded, its output, its messages.
    fn run(&self, args: &[&str], input: &[u8]) -> (bool, Vec<u8>, Vec<u8>) {
        let mut child = command(args)
            .current_dir(self.dir.path())
            .env("GIT_PROTOCOL", "version=2")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("git runs");
        let mut stdin = child.stdin.take().expect("piped");
        let output = std::thread::scope(|scope| {
            // A git that answers before it has read everything closes the pipe: no failure of ours.
            scope.spawn(move || drop(stdin.write_all(input)));
            child.wait_with_output().expect("git ends")
        });
        (output.status.success(), output.stdout, output.stderr)
    }
}

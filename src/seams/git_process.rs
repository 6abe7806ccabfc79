//! Runs the user's `git` for what only it knows: its configuration and its credential helpers.
//! May import: tokio::process.
//!
//! Always holds: the child runs in `/`, outside of any repository that the caller may be in; it
//! can't prompt on the terminal; it inherits no descriptor but its three own (everything else in
//! this process is opened with `O_CLOEXEC`); it is killed when its time is up or its future is
//! dropped; secrets go through pipes only, never through arguments.

use std::{
    ffi::{OsStr, OsString},
    process::Stdio,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::Command,
};

/// More output than this is cut off; no answer of git's that is used here comes near it.
const MAX_OUTPUT: u64 = 1 << 20;

/// Variables that would tie git to a repository of the caller's.
const REPOSITORY_VARIABLES: [&str; 8] = [
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_DIR",
    "GIT_INDEX_FILE",
    "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_WORK_TREE",
];

/// How to start git.
#[derive(Clone, Debug)]
pub struct GitProgram {
    program: OsString,
    first_args: Vec<OsString>,
}

impl Default for GitProgram {
    /// `git` from the search path.
    fn default() -> Self {
        Self {
            program: "git".into(),
            first_args: Vec::new(),
        }
    }
}

impl GitProgram {
    /// A stand-in: `program` with `first_args` before git's own.
    pub fn custom(program: impl Into<OsString>, first_args: Vec<OsString>) -> Self {
        Self {
            program: program.into(),
            first_args,
        }
    }

    /// Runs `git <args>` with `input` on its stdin, for `limit` at the most, and gives its
    /// stdout. `None` if git isn't there, took too long or did not end with exit code 0: to
    /// those who ask, all of these mean that git has nothing to say.
    pub async fn ask(
        &self,
        args: &[impl AsRef<OsStr>],
        input: &[u8],
        limit: Duration,
    ) -> Option<Vec<u8>> {
        let verb = args.first().map(AsRef::as_ref).unwrap_or_default();
        match tokio::time::timeout(limit, self.run(args, input)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                tracing::debug!(?verb, %error, "git could not be run");
                None
            }
            Err(_) => {
                tracing::warn!(?verb, ?limit, "git did not answer in time");
                None
            }
        }
    }

    async fn run(
        &self,
        args: &[impl AsRef<OsStr>],
        input: &[u8],
    ) -> std::io::Result<Option<Vec<u8>>> {
        let mut command = Command::new(&self.program);
        command
            .args(&self.first_args)
            .args(args)
            .current_dir("/")
            .env("GIT_TERMINAL_PROMPT", "0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A helper's words on stderr may quote what nobody should read in a log.
            .stderr(Stdio::null())
            .kill_on_drop(true);
        for variable in REPOSITORY_VARIABLES {
            command.env_remove(variable);
        }
        let mut child = command.spawn()?;
        let mut stdin = child.stdin.take().expect("stdin was asked to be a pipe");
        let stdout = child.stdout.take().expect("stdout was asked to be a pipe");
        // A child that ends without reading all of its input has its reasons.
        let _ = stdin.write_all(input).await;
        drop(stdin);
        let mut answer = Vec::new();
        stdout.take(MAX_OUTPUT).read_to_end(&mut answer).await?;
        Ok(child.wait().await?.success().then_some(answer))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::{net::TcpListener, os::fd::AsRawFd};

    use super::*;

    const NOTHING: &[&str] = &[];
    const LONG: Duration = Duration::from_secs(20);

    /// A stand-in for git that runs `script` with git's arguments.
    pub(in crate::seams) fn script(script: &str) -> GitProgram {
        GitProgram::custom(
            "/bin/sh",
            vec!["-c".into(), script.into(), "git-stand-in".into()],
        )
    }

    #[tokio::test]
    async fn input_arguments_and_output_pass() {
        let answer = script("echo \"$@\"; cat")
            .ask(&["credential", "fill"], b"protocol=https\n", LONG)
            .await;
        assert_eq!(
            answer.as_deref(),
            Some(&b"credential fill\nprotocol=https\n"[..])
        );
    }

    #[tokio::test]
    async fn a_failure_is_no_answer() {
        assert_eq!(
            script("echo x; exit 128").ask(NOTHING, b"", LONG).await,
            None
        );
        let missing = GitProgram::custom("/nonexistent/git", Vec::new());
        assert_eq!(missing.ask(NOTHING, b"", LONG).await, None);
    }

    #[tokio::test]
    async fn a_child_that_hangs_is_given_up() {
        let limit = Duration::from_millis(50);
        assert_eq!(script("exec sleep 60").ask(NOTHING, b"", limit).await, None);
    }

    #[tokio::test]
    async fn a_child_that_does_not_read_does_no_harm() {
        let input = vec![b'x'; 1 << 20];
        let answer = script("echo done").ask(NOTHING, &input, LONG).await;
        assert_eq!(answer.as_deref(), Some(&b"done\n"[..]));
    }

    #[tokio::test]
    async fn endless_output_is_cut() {
        let limit = Duration::from_secs(20);
        let answer = script("head -c 3000000 /dev/zero || true")
            .ask(NOTHING, b"", limit)
            .await
            .expect("the script succeeds");
        assert_eq!(answer.len() as u64, MAX_OUTPUT);
    }

    #[tokio::test]
    async fn the_child_stands_in_the_root_and_can_not_prompt() {
        let answer = script("pwd; echo $GIT_TERMINAL_PROMPT; echo ${GIT_DIR-none}")
            .ask(NOTHING, b"", LONG)
            .await;
        assert_eq!(answer.as_deref(), Some(&b"/\n0\nnone\n"[..]));
    }

    #[tokio::test]
    async fn the_child_inherits_no_descriptor_of_ours() {
        let file = tempfile::tempfile().expect("a temporary file");
        let socket = TcpListener::bind("127.0.0.1:0").expect("a socket");
        let ours = [file.as_raw_fd(), socket.as_raw_fd()].map(|descriptor| {
            std::fs::read_link(format!("/proc/self/fd/{descriptor}"))
                .expect("/proc knows our descriptors")
                .to_string_lossy()
                .into_owned()
        });
        let listing = script("ls -l /proc/$$/fd").ask(NOTHING, b"", LONG).await;
        let listing = String::from_utf8(listing.expect("ls succeeds")).expect("UTF-8");
        drop((file, socket));
        assert!(listing.contains("pipe:"), "no listing: {listing}");
        for name in ours {
            assert!(!listing.contains(&name), "{name} was inherited: {listing}");
        }
    }
}

//! The control socket: one JSON line asks, one JSON line answers. The asking half.
//! May import: state; std, serde.
//!
//! Always holds: every wait has a bound. The answering half is `server`.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Write},
    os::{fd::AsRawFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{events::Failure, names::AnyPath, state::SOCKET};

/// The longest line that is accepted, in bytes.
pub const MAX_LINE: u64 = 1 << 20;

/// What may be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Request {
    /// How the mount fares: [`Reply::Status`].
    Status,
    /// To unmount and end: [`Reply::Unmounted`] or [`Reply::Busy`].
    Unmount {
        /// Also if someone uses it (lazily).
        force: bool,
    },
    /// What a path below the mount point is: [`Reply::Info`] or [`Reply::Missing`].
    Info {
        /// The path; empty for the mount point itself.
        path: AnyPath,
    },
    /// To look what the ref means now, and show that: [`Reply::Refreshed`] or
    /// [`Reply::NotRefreshed`].
    Refresh,
    /// To fetch the content of the next files at or below a path: [`Reply::Prefetched`] or
    /// [`Reply::Missing`].
    Prefetch {
        /// The path; empty for the mount point itself.
        path: AnyPath,
        /// Where the last step said to go on, below `path`; empty for the first step.
        after: AnyPath,
    },
}

/// The answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// The object that `bonsai status --json` prints.
    Status {
        /// It.
        status: serde_json::Value,
    },
    /// The mount is gone; the process is about to end.
    Unmounted,
    /// Someone uses the mount; it stays.
    Busy,
    /// What the path is.
    Info(NodeReport),
    /// What became of one step of fetching ahead.
    Prefetched(PrefetchStep),
    /// The mount shows what the ref means now.
    Refreshed(Refreshed),
    /// It does not, and shows what it did.
    NotRefreshed(Failure),
    /// There is no such path.
    Missing,
    /// It could not be done.
    Failed {
        /// Why.
        reason: String,
    },
}

/// What `bonsai info` tells of a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReport {
    /// `file`, `directory` or `symlink`.
    pub kind: String,
    /// The object's id.
    pub oid: String,
    /// The commit's id.
    pub commit: String,
    /// Bytes, if known without asking the origin.
    pub size: Option<u64>,
    /// Where the content is: `here`, `memory`, `disk` or `not fetched`.
    pub content: String,
}

/// What became of `bonsai refresh`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refreshed {
    /// The commit before.
    pub old: String,
    /// The commit that is shown now.
    pub new: String,
    /// The full name of the ref, if there is one.
    #[serde(rename = "ref")]
    pub ref_name: Option<String>,
    /// Names and directories that the kernel was told to drop.
    pub changed: u64,
}

/// What one step of `bonsai prefetch` came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrefetchStep {
    /// Files that are here now.
    pub files: u64,
    /// Objects that came for it.
    pub came: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many files there are in all; told with the first step.
    pub total: Option<u64>,
    /// Where to go on; `None` at the end.
    pub next: Option<AnyPath>,
}

/// A path to the socket that is short, whatever the folder's: a socket's address holds 108 bytes
/// (unix(7)). Valid as long as the file is open.
pub(super) fn socket_path(folder: &Path) -> io::Result<(File, PathBuf)> {
    let open = File::open(folder)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", open.as_raw_fd()));
    Ok((open, path))
}

/// Asks the process behind the mount whose folder this is, and waits `patience` for the answer.
///
/// # Errors
/// If nobody listens, or the answer doesn't come in time or makes no sense.
pub fn ask(folder: &Path, request: &Request, patience: Duration) -> io::Result<Reply> {
    let (_open, path) = socket_path(folder)?;
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = Vec::new();
    let mut reader = BufReader::new(io::Read::take(&stream, MAX_LINE));
    reader
        .read_until(b'\n', &mut answer)
        .map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no answer within {} s", patience.as_secs()),
            ),
            _ => error,
        })?;
    if answer.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "it closed the connection",
        ));
    }
    Ok(serde_json::from_slice(&answer)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_on_the_wire() {
        let unmount = Request::Unmount { force: true };
        let text = serde_json::to_string(&unmount).expect("plain data");
        assert_eq!(text, r#"{"op":"unmount","force":true}"#);
        let text = serde_json::to_string(&Reply::Busy).expect("plain data");
        assert_eq!(text, r#"{"reply":"busy"}"#);
        let info = Reply::Info(NodeReport {
            kind: "file".to_owned(),
            oid: "1234".to_owned(),
            commit: "5678".to_owned(),
            size: None,
            content: "disk".to_owned(),
        });
        let text = serde_json::to_string(&info).expect("plain data");
        assert_eq!(
            text,
            r#"{"reply":"info","kind":"file","oid":"1234","commit":"5678","size":null,"content":"disk"}"#
        );
        assert_eq!(
            serde_json::from_str::<Reply>(&text).expect("the same again"),
            info
        );
    }

    #[test]
    fn nobody_listening_is_an_error_at_once() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let error = ask(folder.path(), &Request::Status, Duration::from_secs(60))
            .expect_err("there is no socket");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        // A socket file that its process left behind. Shut down, not only closed: a process that
        // another test is just starting has a copy of every descriptor until its exec, and as long
        // as it does, connections are taken. One such copy is held here.
        let left = std::os::unix::net::UnixListener::bind(folder.path().join(SOCKET));
        let left = left.expect("bound");
        let _copy = left.try_clone().expect("copied");
        rustix::net::shutdown(left, rustix::net::Shutdown::Both).expect("shut down");
        let error = ask(folder.path(), &Request::Status, Duration::from_secs(60))
            .expect_err("its process is gone");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}

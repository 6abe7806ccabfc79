//! The control socket: the answering half, in the process that serves the mount.
//! May import: control; tokio.
//!
//! Always holds: only the mount's user and root are answered (`SO_PEERCRED`), and a connection
//! that says nothing is closed.

use std::{fs, future::Future, io, path::Path, pin::pin, sync::Arc, time::Duration};

use nix::unistd::geteuid;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    task::JoinSet,
};

use super::control::{MAX_LINE, Reply, Request, socket_path};

/// How long a connection may take to ask.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long answers may still take once the mount has ended.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Who answers.
pub trait Answer: Send + Sync + 'static {
    /// The answer to `request`.
    fn answer(&self, request: Request) -> impl Future<Output = Reply> + Send;
}

/// The listening socket of a mount.
#[derive(Debug)]
pub struct Server(UnixListener);

impl Server {
    /// Listens in the mount's folder. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// If the socket can't be made.
    pub fn bind(folder: &Path) -> io::Result<Self> {
        let (_open, path) = socket_path(folder)?;
        let listener = UnixListener::bind(&path)?;
        // The folder is closed to others already; this says the same once more.
        let only_owner = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(&path, only_owner)?;
        Ok(Self(listener))
    }

    /// Answers until `stop` is done, then gives the answers under way a second to get out.
    pub async fn run(self, answer: Arc<impl Answer>, stop: impl Future<Output = ()>) {
        let mut connections = JoinSet::new();
        let mut stop = pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                Some(_) = connections.join_next() => {}
                accepted = self.0.accept() => match accepted {
                    Ok((stream, _)) => {
                        let answer = Arc::clone(&answer);
                        connections.spawn(async move {
                            if let Err(error) = serve(stream, &*answer).await {
                                tracing::debug!(%error, "a control connection ended early");
                            }
                        });
                    }
                    Err(error) => {
                        // Out of descriptors, most likely: let others give some back.
                        tracing::warn!(%error, "the control socket can't accept");
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                },
            }
        }
        let _ = tokio::time::timeout(LAST_WORDS, connections.join_all()).await;
    }
}

async fn serve(mut stream: UnixStream, answer: &impl Answer) -> io::Result<()> {
    let peer = stream.peer_cred()?.uid();
    if peer != 0 && peer != geteuid().as_raw() {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("user {peer} may not ask"),
        ));
    }
    let mut line = Vec::new();
    let (read, mut write) = stream.split();
    let mut reader = BufReader::new(read.take(MAX_LINE));
    tokio::time::timeout(PATIENCE, reader.read_until(b'\n', &mut line)).await??;
    let reply = match serde_json::from_slice(&line) {
        Ok(request) => answer.answer(request).await,
        Err(error) => Reply::Failed {
            reason: format!("not understood: {error}"),
        },
    };
    let mut text = serde_json::to_vec(&reply)?;
    text.push(b'\n');
    tokio::time::timeout(PATIENCE, write.write_all(&text)).await??;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;
    use crate::mount::{control::ask, names::AnyPath};

    struct Echo;

    impl Answer for Echo {
        async fn answer(&self, request: Request) -> Reply {
            match request {
                Request::Status | Request::Refresh => Reply::Unmounted,
                Request::Unmount { .. } => Reply::Busy,
                Request::Info { path } | Request::Prefetch { path, .. } => Reply::Failed {
                    reason: path.0.display().to_string(),
                },
            }
        }
    }

    async fn asked(folder: &Path, request: Request) -> Reply {
        let folder = folder.to_owned();
        tokio::task::spawn_blocking(move || ask(&folder, &request, PATIENCE))
            .await
            .expect("asking does not panic")
            .expect("an answer comes")
    }

    #[tokio::test]
    async fn requests_are_answered_whatever_the_folders_length() {
        let temp = tempfile::tempdir().expect("a temporary folder");
        let folder = temp.path().join("x".repeat(120));
        fs::create_dir(&folder).expect("made");
        let server = Server::bind(&folder).expect("bound");
        let task = tokio::spawn(server.run(Arc::new(Echo), pending()));
        assert_eq!(asked(&folder, Request::Status).await, Reply::Unmounted);
        let unmount = Request::Unmount { force: false };
        assert_eq!(asked(&folder, unmount).await, Reply::Busy);
        // A long line in both directions.
        let path = "p".repeat(100_000);
        let info = Request::Info {
            path: AnyPath(path.clone().into()),
        };
        assert_eq!(asked(&folder, info).await, Reply::Failed { reason: path });
        task.abort();
    }

    /// Answers once told to, and tells when it was asked.
    struct Slow(tokio::sync::Notify, tokio::sync::Notify);

    impl Answer for Slow {
        async fn answer(&self, _request: Request) -> Reply {
            self.0.notify_one();
            self.1.notified().await;
            Reply::Unmounted
        }
    }

    #[tokio::test]
    async fn the_last_answer_gets_out() {
        let temp = tempfile::tempdir().expect("a temporary folder");
        let server = Server::bind(temp.path()).expect("bound");
        let slow = Arc::new(Slow(Default::default(), Default::default()));
        let stop = {
            let slow = Arc::clone(&slow);
            async move {
                slow.0.notified().await;
                slow.1.notify_one();
            }
        };
        let (reply, ()) = tokio::join!(asked(temp.path(), Request::Status), server.run(slow, stop));
        assert_eq!(reply, Reply::Unmounted);
    }

    #[tokio::test]
    async fn nonsense_is_told_so_and_silence_harms_no_one() {
        let temp = tempfile::tempdir().expect("a temporary folder");
        let server = Server::bind(temp.path()).expect("bound");
        let task = tokio::spawn(server.run(Arc::new(Echo), pending()));
        let (_open, path) = socket_path(temp.path()).expect("the folder opens");
        let _silent = UnixStream::connect(&path).await.expect("connected");

        let mut stream = UnixStream::connect(&path).await.expect("connected");
        stream.write_all(b"hello\n").await.expect("written");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("answered");
        assert!(
            text.starts_with(r#"{"reply":"failed","reason":"not understood"#),
            "{text}"
        );
        task.abort();
    }
}

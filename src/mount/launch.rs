//! Starting the background process: the command's half. May import: plan, events; std.
//!
//! Always holds: the plan goes through a pipe. That pipe stays open until the mount answers, so
//! that its end tells the background process that nobody waits for it any more.

use std::{
    fs,
    io::{self, BufRead, BufReader, Write},
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{
    error::MountError,
    events::{Event, Failure},
    plan::{Plan, Ready},
};

/// Why there is no mount.
#[derive(Debug)]
pub enum LaunchError {
    /// The background process said why.
    Failed(Failure),
    /// It could not be started, or said nothing.
    Lost(MountError),
}

/// The file of this very program: by its name, which is what `ps` and `top` show of the new
/// process, unless another file has taken that since.
fn own_file() -> PathBuf {
    let own = PathBuf::from("/proc/self/exe");
    let same = |name: &Path| match (fs::metadata(name), fs::metadata(&own)) {
        (Ok(named), Ok(own)) => (named.dev(), named.ino()) == (own.dev(), own.ino()),
        _ => false,
    };
    std::env::current_exe()
        .ok()
        .filter(|name| same(name))
        .unwrap_or(own)
}

/// Starts this program again as a background process, and waits until its mount answers.
///
/// # Errors
/// What the background process failed with.
pub fn launch(plan: &Plan, progress: &mut dyn FnMut(&str)) -> Result<Ready, LaunchError> {
    let lost = |reason: String| LaunchError::Lost(MountError::Background { reason });
    let failed = |error: io::Error| lost(error.to_string());
    let mut child = Command::new(own_file())
        .arg0("bonsai")
        .arg("daemon")
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    let mut orders = child.stdin.take().expect("it was asked for");
    let mut line = serde_json::to_vec(plan).map_err(|error| failed(error.into()))?;
    line.push(b'\n');
    // If it is gone already, what it said or its exit status says more than a broken pipe.
    let _ = orders.write_all(&line);

    let events = BufReader::new(child.stdout.take().expect("it was asked for"));
    for line in events.lines() {
        let line = line.map_err(failed)?;
        match serde_json::from_str(&line) {
            Ok(Event::Progress { text }) => progress(&text),
            Ok(Event::Ready(ready)) => return Ok(ready),
            Ok(Event::Failed(failure)) => {
                // It has cleaned up when it has ended.
                let _ = child.wait();
                return Err(LaunchError::Failed(failure));
            }
            Err(error) => return Err(lost(format!("it said {line:?}: {error}"))),
        }
    }
    let status = child.wait().map_err(failed)?;
    Err(lost(format!(
        "it ended before the mount was ready ({status})"
    )))
}

//! Running other programs, within a time.

use std::{
    fs::{self, File},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

/// How a program ended, and all that it said.
pub struct Ended {
    /// `None` if it was ended for taking too long.
    pub status: Option<ExitStatus>,
    pub said: String,
}

/// Runs `command` for `patience` at the most; what it says goes through the file `log`.
pub fn run(command: &mut Command, log: &Path, patience: Duration) -> Result<Ended, String> {
    let wrong = |error: std::io::Error| format!("{command:?}: {error}");
    let file = File::create(log).map_err(wrong)?;
    let copy = file.try_clone().map_err(wrong)?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(copy)
        .spawn()
        .map_err(|error| format!("{command:?}: {error}"))?;
    let began = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break Some(status),
            Ok(None) if began.elapsed() < patience => thread::sleep(Duration::from_millis(5)),
            Ok(None) | Err(_) => {
                end(&mut child);
                break None;
            }
        }
    };
    let said = fs::read(log).map_err(|error| format!("{}: {error}", log.display()))?;
    Ok(Ended {
        status,
        said: String::from_utf8_lossy(&said).into_owned(),
    })
}

/// Ends a program that is not needed any more.
pub fn end(child: &mut Child) {
    // It may have ended by itself.
    let _ = child.kill();
    let _ = child.wait();
}

/// The end of what a program said.
pub fn tail(said: &str) -> String {
    let lines: Vec<&str> = said.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

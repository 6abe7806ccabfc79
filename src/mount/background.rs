//! The background process's own half of its start: a session of its own, no descriptors but its
//! own, the plan from a pipe and events into one. May import: plan, events; std, nix.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Write},
    path::Path,
    thread,
};

use nix::unistd::{close, dup2_stderr, dup2_stdin, dup2_stdout, setsid};
use tokio::sync::oneshot;

use super::{events::Event, plan::Plan};

/// Leaves the terminal and whatever descriptors were passed on by mistake. To be called first of
/// all, while this process has opened nothing itself.
///
/// # Errors
/// If `/proc` is missing.
pub fn detach() -> io::Result<()> {
    // Fails for a leader of a process group, which has no terminal to leave then, or the user
    // started it by hand.
    let _ = setsid();
    let mut strays = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        let name = entry?.file_name();
        strays.extend(name.to_str().and_then(|name| name.parse::<i32>().ok()));
    }
    for fd in strays {
        // One of them was the folder just read, which is closed.
        if fd > 2 {
            let _ = close(fd);
        }
    }
    Ok(())
}

/// The plan, and what tells that the command which sent it is gone.
///
/// # Errors
/// If standard input holds no plan.
pub fn receive_plan() -> io::Result<(Plan, oneshot::Receiver<()>)> {
    let mut input = BufReader::new(io::stdin());
    let mut line = String::new();
    input.read_line(&mut line)?;
    let plan = serde_json::from_str(&line)?;
    let (gone, waiting) = oneshot::channel();
    thread::Builder::new()
        .name("starter".to_owned())
        .spawn(move || {
            // Nothing more is sent: this ends when the other side does.
            let _ = io::copy(&mut input, &mut io::sink());
            let _ = gone.send(());
        })?;
    Ok((plan, waiting))
}

/// Tells the command that started this process.
///
/// # Errors
/// If it is gone.
pub fn tell(event: &Event) -> io::Result<()> {
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    let mut out = io::stdout().lock();
    out.write_all(&line)?;
    out.flush()
}

/// Lets go of the pipes: from now on there is nobody to talk to.
///
/// # Errors
/// If `/dev/null` can't be opened.
pub fn let_go() -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    Ok(())
}

/// Sends what this process and its libraries write to standard error into the log.
///
/// # Errors
/// If it can't be opened.
pub fn stderr_to(log: &Path) -> io::Result<()> {
    let file = File::options().append(true).create(true).open(log)?;
    dup2_stderr(&file)?;
    Ok(())
}

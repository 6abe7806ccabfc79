//! What benches of whole mounts share. May import: testkit.

#![allow(dead_code, reason = "no bench needs all of it")]

use std::{
    error::Error,
    io::Read,
    path::Path,
    process::{Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

/// What goes wrong in a bench is told and ends it.
pub type Outcome<T> = Result<T, Box<dyn Error>>;

/// `git`, whatever the user's configuration says.
pub fn git(args: &[&str]) -> Command {
    let mut command = Command::new("git");
    command
        .args(args)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .stdin(Stdio::null());
    command
}

/// `git clone --depth 1` of `url` into `dir`, with further options.
pub fn shallow_clone(url: &str, dir: &Path, options: &[&str]) -> Outcome<()> {
    let status = git(&["clone", "--quiet", "--depth", "1"])
        .args(options)
        .arg(url)
        .arg(dir)
        .status()?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("git clone {options:?}: {status}").into()),
    }
}

/// A whole process: how long it took, how it ended, how much it said on its standard output, which is read
/// and thrown away.
pub struct Ran {
    pub time: Duration,
    pub status: ExitStatus,
    pub bytes: usize,
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Outcome<Ran> {
    let start = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut output = child.stdout.take().ok_or("no pipe")?;
    let mut room = vec![0; 1 << 16];
    let mut bytes = 0;
    loop {
        match output.read(&mut room)? {
            0 => break,
            n => bytes += n,
        }
    }
    let status = child.wait()?;
    Ok(Ran {
        time: start.elapsed(),
        status,
        bytes,
    })
}

/// Whether `rg` is installed; `grep -r` is taken where it isn't.
pub fn has_ripgrep() -> bool {
    let asked = Command::new("rg").arg("--version").output();
    asked.is_ok_and(|output| output.status.success())
}

/// A search of all files in `dir` for what is in none of them, so that the output costs nothing.
pub fn search(dir: &Path) -> Command {
    let (program, options) = match has_ripgrep() {
        true => ("rg", "--no-ignore"),
        false => ("grep", "-r"),
    };
    let mut command = Command::new(program);
    command.args([options, "zyzzyva"]).arg(dir);
    command
}

/// Median, least and most of a figure.
pub fn spread<R, T: Copy + PartialOrd>(runs: &[R], figure: impl Fn(&R) -> T) -> (T, T, T) {
    let mut figures: Vec<T> = runs.iter().map(figure).collect();
    figures.sort_by(|a, b| a.partial_cmp(b).expect("figures can be ordered"));
    (
        figures[figures.len() / 2],
        figures[0],
        figures[figures.len() - 1],
    )
}

/// For figures with one decimal.
#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
pub fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

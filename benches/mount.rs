//! From nothing to the bytes of `README.md`, over a slow link: `bonsai mount` beside
//! `git clone --depth 1` and `git clone --filter=blob:none --depth 1`.
//!
//! usage: cargo bench --bench mount -- [--rounds N] [--files N] [--bonsai PATH]
//!
//! Each round runs all three, in turns, each from nothing: no cache, no state, no connection. The
//! time is that of whole processes, `cat README.md` included. Requests are those that the server
//! read, bytes those that came over the link, both up to the moment when `cat` ended.

mod common;

use std::{
    env, fs, io,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use bonsai_testkit::{
    Bonsai, Files, GitServer, Link, Relay, Repo,
    repo::sources::{add_sources, text},
};
use common::{Outcome, megabytes, shallow_clone, spread};

/// What is to be reached, with 5,000 files.
const TARGET_SECONDS: f64 = 0.40;
const TARGET_REQUESTS: u64 = 4;
const TARGET_MEMORY: u64 = 60_000_000;

struct Options {
    rounds: usize,
    files: usize,
    binary: PathBuf,
}

impl Options {
    fn parse(mut words: impl Iterator<Item = String>) -> Outcome<Self> {
        let mut options = Self {
            rounds: 5,
            files: 5000,
            binary: PathBuf::from(env!("CARGO_BIN_EXE_bonsai")),
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            match word.as_str() {
                "--rounds" => options.rounds = value()?.parse()?,
                "--files" => options.files = value()?.parse()?,
                "--bonsai" => options.binary = PathBuf::from(value()?),
                // Cargo's own.
                "--bench" => {}
                _ => return Err(format!("unknown argument {word}").into()),
            }
        }
        if options.rounds == 0 {
            return Err("at least one round".into());
        }
        Ok(options)
    }
}

/// The ways compared, in the order of the table.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Mount,
    Clone,
    FilteredClone,
}

const WAYS: [Way; 3] = [Way::Mount, Way::Clone, Way::FilteredClone];

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Mount => "bonsai mount",
            Self::Clone => "git clone --depth 1",
            Self::FilteredClone => "git clone --filter=blob:none --depth 1",
        }
    }
}

/// One run of one way.
#[derive(Clone, Copy)]
struct Run {
    time: Duration,
    requests: u64,
    bytes: u64,
    /// The most that the background process had resident, where there is one.
    memory: Option<u64>,
}

/// What all runs share.
struct Field {
    server: GitServer,
    relay: Relay,
    readme: Vec<u8>,
    binary: PathBuf,
}

impl Field {
    fn run(&self, way: Way) -> Outcome<Run> {
        self.server.reset();
        self.relay.reset();
        match way {
            Way::Mount => self.mount(),
            Way::Clone => self.clone(&[]),
            Way::FilteredClone => self.clone(&["--filter=blob:none"]),
        }
    }

    fn mount(&self) -> Outcome<Run> {
        let bonsai = Bonsai::new(&self.binary);
        let dir = bonsai.scratch().join("mnt");
        let start = Instant::now();
        let mount = bonsai.mount_at(self.relay.url("repo.git"), &dir, &[]);
        let mut run = self.cat(&dir, start)?;
        run.memory = mount.daemon().peak_memory();
        mount.unmount();
        bonsai.assert_nothing_left();
        Ok(run)
    }

    fn clone(&self, options: &[&str]) -> Outcome<Run> {
        let folder = tempfile::tempdir()?;
        let dir = folder.path().join("clone");
        let start = Instant::now();
        shallow_clone(&self.relay.url("repo.git"), &dir, options)?;
        self.cat(&dir, start)
    }

    /// Ends a run by `cat README.md`.
    fn cat(&self, dir: &Path, start: Instant) -> Outcome<Run> {
        let output = Command::new("cat").arg(dir.join("README.md")).output()?;
        let run = Run {
            time: start.elapsed(),
            requests: self.server.totals().requests,
            bytes: self.relay.totals().bytes_down,
            memory: None,
        };
        if output.stdout != self.readme {
            return Err("README.md has other bytes".into());
        }
        Ok(run)
    }
}

/// `count` files in folders of about 20, three levels deep, of 0.5 to 8 kB.
fn repository(count: usize) -> Repo {
    let repo = Repo::new();
    let mut files = Files::new().file("README.md", text(1, 3000));
    add_sources(&mut files, "", count.saturating_sub(1));
    repo.commit(&files);
    repo.pack();
    repo
}

fn report(options: &Options, runs: &[Vec<Run>]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "\n{} files, {} ms, {} Mbit/s, {} rounds: from nothing to the bytes of README.md\n",
        options.files,
        Link::WAN.rtt.as_millis(),
        Link::WAN.bits_per_second / 1_000_000,
        options.rounds
    )?;
    writeln!(
        out,
        "{:<40} {:>8} {:>8} {:>8} {:>7} {:>9} {:>12}",
        "", "median s", "min", "max", "ratio", "requests", "bytes"
    )?;
    let seconds = |run: &Run| run.time.as_secs_f64();
    let (base, ..) = spread(&runs[0], seconds);
    for (way, runs) in WAYS.iter().zip(runs) {
        let (median, least, most) = spread(runs, seconds);
        let (requests, ..) = spread(runs, |run| run.requests);
        let (bytes, ..) = spread(runs, |run| run.bytes);
        writeln!(
            out,
            "{:<40} {median:>8.3} {least:>8.3} {most:>8.3} {:>7.1} {requests:>9} {bytes:>12}",
            way.name(),
            median / base
        )?;
    }
    let (_, _, requests) = spread(&runs[0], |run| run.requests);
    let (_, _, memory) = spread(&runs[0], |run| run.memory.unwrap_or(u64::MAX));
    let verdict = |reached| if reached { "reached" } else { "MISSED" };
    writeln!(
        out,
        "\n{:<40} {:>12} {:>12}",
        "bonsai mount", "measured", "target"
    )?;
    writeln!(
        out,
        "{:<40} {base:>10.3} s {TARGET_SECONDS:>10.2} s  {}",
        "time (median)",
        verdict(base <= TARGET_SECONDS)
    )?;
    writeln!(
        out,
        "{:<40} {requests:>12} {TARGET_REQUESTS:>12}  {}",
        "requests (most)",
        verdict(requests <= TARGET_REQUESTS)
    )?;
    writeln!(
        out,
        "{:<40} {:>9.1} MB {:>9.1} MB  {}",
        "resident at the peak (most)",
        megabytes(memory),
        megabytes(TARGET_MEMORY),
        verdict(memory < TARGET_MEMORY)
    )
}

fn run() -> Outcome<()> {
    let options = Options::parse(env::args().skip(1))?;
    if !options.binary.is_file() {
        return Err(format!("{} is not there; build it first", options.binary.display()).into());
    }
    let repo = repository(options.files);
    let server = GitServer::start(repo.root())?;
    let relay = Relay::start(server.address(), Link::WAN)?;
    let field = Field {
        server,
        relay,
        readme: repo.git(&["cat-file", "blob", "HEAD:README.md"]),
        binary: fs::canonicalize(&options.binary)?,
    };
    let mut runs = vec![Vec::new(); WAYS.len()];
    for round in 0..options.rounds {
        // In turns, so that none always runs in another's wake.
        for turn in 0..WAYS.len() {
            let way = (round + turn) % WAYS.len();
            runs[way].push(field.run(WAYS[way])?);
        }
    }
    report(&options, &runs)?;
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing can be done if even this can't be said.
            let _ = writeln!(io::stderr(), "mount: {error}");
            ExitCode::FAILURE
        }
    }
}

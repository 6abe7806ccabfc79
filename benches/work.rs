//! The same work on a fresh mount and after a clone, over a slow link; and again after a remount.
//!
//! usage: cargo bench --bench work -- [--rounds N] [--files N] [--only NAME] [--bonsai PATH]
//!
//! Each round does each piece of work on both, in turns, each from nothing: no cache, no state, no
//! connection. The time is that of whole processes: the mount or `git clone --depth 1`, and the command.
//! Requests are those that the server read, bytes those that came over the link.

mod common;

use std::{
    env, fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use bonsai_testkit::{
    Bonsai, Files, GitServer, Link, Mounted, Relay, Repo,
    repo::sources::{add_folder, add_sources, text},
};
use common::{Outcome, git, megabytes, run, search, shallow_clone, spread};

struct Options {
    rounds: usize,
    files: usize,
    only: Option<String>,
    binary: PathBuf,
}

impl Options {
    fn parse(mut words: impl Iterator<Item = String>) -> Outcome<Self> {
        let mut options = Self {
            rounds: 3,
            files: 5000,
            only: None,
            binary: PathBuf::from(env!("CARGO_BIN_EXE_bonsai")),
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            match word.as_str() {
                "--rounds" => options.rounds = value()?.parse()?,
                "--files" => options.files = value()?.parse()?,
                "--only" => options.only = Some(value()?),
                "--bonsai" => options.binary = PathBuf::from(value()?),
                // Cargo's own.
                "--bench" => {}
                _ => return Err(format!("unknown argument {word}").into()),
            }
        }
        if options.rounds == 0 || options.files < 3000 {
            return Err("at least one round, and 3000 files".into());
        }
        Ok(options)
    }
}

/// Files in `eighty/` and in `many/`; the others are sources in many folders.
const EIGHTY: usize = 80;
const MANY: usize = 2300;
/// Files read one after the other.
const RANDOM: usize = 50;

/// What is done.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Work {
    Readme,
    List,
    Folder,
    Search,
    Archive,
    Random,
    Status,
    Again,
}

const WORKS: [Work; 8] = [
    Work::Readme,
    Work::List,
    Work::Folder,
    Work::Search,
    Work::Archive,
    Work::Random,
    Work::Status,
    Work::Again,
];

impl Work {
    fn name(self) -> &'static str {
        match self {
            Self::Readme => "cat README.md",
            Self::List => "ls -l of 80 files",
            Self::Folder => "search of 2,300 files",
            Self::Search => "search of everything",
            Self::Archive => "tar of everything",
            Self::Random => "50 files, here and there",
            Self::Status => "first git status",
            Self::Again => "tar again, after a remount",
        }
    }

    /// What is to be reached, in words, and whether it was.
    fn verdict(self, mount: &[Done], ratio: f64) -> (String, bool) {
        let (command, ..) = spread(mount, |done| done.command.as_secs_f64());
        let (_, _, requests) = spread(mount, |done| done.requests_of_command);
        let (_, _, bytes) = spread(mount, |done| done.bytes_of_command);
        let rtt = Link::WAN.rtt.as_secs_f64();
        match self {
            Self::Readme => {
                let (total, ..) = spread(mount, |done| done.total.as_secs_f64());
                ("≤ 0.35 s from nothing".to_owned(), total <= 0.35)
            }
            Self::List => (
                format!("≤ 2 round trips: {:.1}", command / rtt),
                command <= 2.5 * rtt,
            ),
            Self::Folder => ("≤ 0.60 × clone".to_owned(), ratio <= 0.60),
            Self::Search | Self::Archive | Self::Status => {
                ("≤ 1.15 × clone".to_owned(), ratio <= 1.15)
            }
            Self::Random => {
                let each = command / 50.0 - rtt;
                let (_, _, read) = spread(mount, |done| done.bytes_read);
                let times = megabytes(bytes) / megabytes(read.max(1));
                (
                    format!(
                        "≤ RTT + 10 ms: + {:.0} ms; ≤ 3 × bytes: {times:.1}",
                        each * 1e3
                    ),
                    each <= 0.010 && times <= 3.0,
                )
            }
            Self::Again => (format!("no request: {requests}"), requests == 0),
        }
    }
}

/// One run of one work on one side.
#[derive(Clone, Copy)]
struct Done {
    /// From nothing to the end of the command.
    total: Duration,
    /// The command's part.
    command: Duration,
    requests: u64,
    requests_of_command: u64,
    bytes: u64,
    bytes_of_command: u64,
    /// What the command wrote.
    bytes_read: u64,
}

/// What all runs share.
struct Field {
    server: GitServer,
    relay: Relay,
    binary: PathBuf,
    /// A Git directory with an index that has no times in it yet.
    git_dir: PathBuf,
    random: Vec<String>,
}

impl Field {
    fn command(&self, work: Work, dir: &Path, git_dir: &Path) -> Command {
        match work {
            Work::Readme => with_paths("cat", &[], dir, &["README.md".to_owned()]),
            Work::List => with_paths("ls", &["-l"], dir, &["eighty".to_owned()]),
            Work::Folder => search(&dir.join("many")),
            Work::Search => search(dir),
            // Into a pipe: tar does not read files when it writes to /dev/null itself.
            Work::Archive | Work::Again => with_paths(
                "tar",
                &["--exclude=.git", "-cf", "-"],
                dir,
                &[".".to_owned()],
            ),
            Work::Random => with_paths("cat", &[], dir, &self.random),
            Work::Status => {
                let mut command = git(&["status", "--porcelain"]);
                command.env("GIT_DIR", git_dir).env("GIT_WORK_TREE", dir);
                command
            }
        }
    }

    fn reset(&self) {
        self.server.reset();
        self.relay.reset();
    }

    /// Runs `work` in `dir`, which was got ready since `start`.
    fn work(&self, work: Work, dir: &Path, git_dir: &Path, start: Instant) -> Outcome<Done> {
        let (requests, bytes) = self.counts();
        let ran = run(&mut self.command(work, dir, git_dir))?;
        let total = start.elapsed();
        let (all_requests, all_bytes) = self.counts();
        let as_expected = match work {
            Work::Folder | Work::Search => ran.status.code() == Some(1) && ran.bytes == 0,
            Work::Status => ran.status.success() && ran.bytes == 0,
            _ => ran.status.success() && ran.bytes > 0,
        };
        if !as_expected {
            return Err(format!("{}: {}, {} bytes", work.name(), ran.status, ran.bytes).into());
        }
        Ok(Done {
            total,
            command: ran.time,
            requests: all_requests,
            requests_of_command: all_requests - requests,
            bytes: all_bytes,
            bytes_of_command: all_bytes - bytes,
            bytes_read: u64::try_from(ran.bytes)?,
        })
    }

    fn counts(&self) -> (u64, u64) {
        (
            self.server.totals().requests,
            self.relay.totals().bytes_down,
        )
    }

    fn on_mount(&self, work: Work) -> Outcome<Done> {
        let bonsai = Bonsai::new(&self.binary);
        let dir = bonsai.scratch().join("mnt");
        let git_dir = self.fresh_git_dir(&bonsai.scratch())?;
        let mount = || -> Mounted<'_> { bonsai.mount_at(self.relay.url("repo.git"), &dir, &[]) };
        self.reset();
        let mut start = Instant::now();
        let mut mounted = mount();
        if work == Work::Again {
            self.work(Work::Archive, &dir, &git_dir, start)?;
            mounted.unmount();
            self.reset();
            start = Instant::now();
            mounted = mount();
        }
        if work == Work::List {
            // What is to be seen is the listing, not the rest of the trees.
            std::thread::sleep(Duration::from_millis(500));
        }
        let done = self.work(work, &dir, &git_dir, start)?;
        mounted.unmount();
        bonsai.assert_nothing_left();
        Ok(done)
    }

    fn on_clone(&self, work: Work) -> Outcome<Done> {
        let folder = tempfile::tempdir()?;
        let dir = folder.path().join("clone");
        self.reset();
        let mut start = Instant::now();
        shallow_clone(&self.relay.url("repo.git"), &dir, &[])?;
        if work == Work::Again {
            self.work(Work::Archive, &dir, &dir.join(".git"), start)?;
            self.reset();
            start = Instant::now();
        }
        self.work(work, &dir, &dir.join(".git"), start)
    }

    fn fresh_git_dir(&self, scratch: &Path) -> Outcome<PathBuf> {
        let git_dir = scratch.join("separate.git");
        let copied = Command::new("cp")
            .arg("-r")
            .args([&self.git_dir, &git_dir])
            .status()?;
        match copied.success() {
            true => Ok(git_dir),
            false => Err("the Git directory could not be copied".into()),
        }
    }
}

fn with_paths(program: &str, options: &[&str], dir: &Path, paths: &[String]) -> Command {
    let mut command = Command::new(program);
    command.current_dir(dir).args(options).args(paths);
    command
}

fn repository(count: usize) -> Repo {
    let repo = Repo::new();
    let mut files = Files::new().file("README.md", text(1, 3000));
    add_folder(&mut files, "eighty", EIGHTY);
    add_folder(&mut files, "many", MANY);
    add_sources(&mut files, "src/", count - EIGHTY - MANY - 1);
    repo.commit(&files);
    repo.pack();
    repo
}

/// No two in the same folder while there are enough folders.
fn here_and_there(count: usize) -> Vec<String> {
    let sources = count - EIGHTY - MANY - 1;
    let folders = sources / 20;
    (0..RANDOM)
        .map(|n| {
            let folder = n * 7919 % folders;
            let file = folder * 20 + n * 13 % 20;
            format!(
                "src/part-{:02}/module-{folder:04}/file-{file:05}.rs",
                folder / 16
            )
        })
        .collect()
}

fn measure(options: &Options) -> Outcome<()> {
    let repo = repository(options.files);
    let server = GitServer::start(repo.root())?;
    let relay = Relay::start(server.address(), Link::WAN)?;
    let scratch = tempfile::tempdir()?;
    let clone = scratch.path().join("clone");
    shallow_clone(&server.url("repo.git"), &clone, &["--no-checkout"])?;
    let read_tree = git(&["-C"])
        .arg(&clone)
        .args(["read-tree", "HEAD"])
        .status()?;
    if !read_tree.success() {
        return Err("git read-tree failed".into());
    }
    let field = Field {
        server,
        relay,
        binary: fs::canonicalize(&options.binary)?,
        git_dir: clone.join(".git"),
        random: here_and_there(options.files),
    };
    let mut out = io::stdout();
    writeln!(
        out,
        "\n{} files, {} ms, {} Mbit/s, {} rounds in turns; the clone is git clone --depth 1\n",
        options.files,
        Link::WAN.rtt.as_millis(),
        Link::WAN.bits_per_second / 1_000_000,
        options.rounds
    )?;
    writeln!(
        out,
        "{:<28} {:>8} {:>5} {:>7} {:>8} {:>5} {:>7} {:>6}  to reach",
        "", "mount, s", "requ.", "MB", "clone, s", "requ.", "MB", "ratio"
    )?;
    for work in WORKS {
        if options
            .only
            .as_ref()
            .is_some_and(|only| !work.name().contains(only))
        {
            continue;
        }
        let (mut mount, mut clone) = (Vec::new(), Vec::new());
        for round in 0..options.rounds {
            for turn in 0..2 {
                match (round + turn) % 2 {
                    0 => mount.push(field.on_mount(work)?),
                    _ => clone.push(field.on_clone(work)?),
                }
            }
        }
        let side = |runs: &[Done]| {
            let (time, ..) = spread(runs, |done| done.total.as_secs_f64());
            let (requests, ..) = spread(runs, |done| done.requests);
            let (bytes, ..) = spread(runs, |done| done.bytes);
            (time, requests, megabytes(bytes))
        };
        let (time, requests, mb) = side(&mount);
        let (clone_time, clone_requests, clone_mb) = side(&clone);
        let ratio = time / clone_time;
        let (target, reached) = work.verdict(&mount, ratio);
        writeln!(
            out,
            "{:<28} {time:>8.2} {requests:>5} {mb:>7.2} {clone_time:>8.2} {clone_requests:>5} {clone_mb:>7.2} {ratio:>6.2}  {target}{}",
            work.name(),
            if reached { "" } else { "  MISSED" }
        )?;
    }
    Ok(())
}

fn main() -> ExitCode {
    let options = Options::parse(env::args().skip(1));
    match options.and_then(|options| measure(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing can be done if even this can't be said.
            let _ = writeln!(io::stderr(), "work: {error}");
            ExitCode::FAILURE
        }
    }
}

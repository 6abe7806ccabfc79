//! The same commands on a mount and on a checkout of the same commit on this machine's disk, with
//! the kernel's caches warm, dropped, and after a remount.
//!
//! usage: cargo bench --bench ext4 -- [--rounds N] [--files N] [--large MIB] [--transport dev|uring] [--naive]
//!            [--plot SVG] [--bonsai PATH]
//!
//! With `--naive` a second mount takes part, whose kernel is told to keep next to nothing, as filesystems with
//! the usual settings do; with `--plot` the ratios are drawn.
//!
//! Wants root, as it drops the kernel's caches, after which each command's own program is loaded before the
//! clock starts. In each round every command runs on one and on the
//! other, in turns. The time is that of the command's whole process, its output read and thrown away.
//! Meanwhile the processors are kept from sleeping deeply (/dev/cpu_dma_latency), which makes the same
//! command up to 19 times slower now and then. The folders are in `TMPDIR`; the type of that
//! filesystem is printed.

mod common;

use std::{
    env,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Duration,
};

use bonsai_testkit::{
    Bonsai, Files, GitServer, Mounted, Repo,
    repo::sources::{add_sources, text},
};
use common::{Outcome, Ran, has_ripgrep, plot, run, search, shallow_clone};

struct Options {
    rounds: usize,
    files: usize,
    /// The size of the one large file, in MiB.
    large: usize,
    /// How the mount's requests come.
    transport: Transport,
    /// Whether a mount with the usual settings takes part.
    naive: bool,
    /// Where to draw the ratios.
    plot: Option<PathBuf>,
    binary: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Transport {
    Dev,
    Uring,
}

impl Transport {
    fn name(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Uring => "uring",
        }
    }
}

impl Options {
    fn parse(mut words: impl Iterator<Item = String>) -> Outcome<Self> {
        let mut options = Self {
            rounds: 7,
            files: 5000,
            large: 1024,
            transport: Transport::Dev,
            naive: false,
            plot: None,
            binary: PathBuf::from(env!("CARGO_BIN_EXE_bonsai")),
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            match word.as_str() {
                "--rounds" => options.rounds = value()?.parse()?,
                "--files" => options.files = value()?.parse()?,
                "--large" => options.large = value()?.parse()?,
                "--transport" => {
                    options.transport = match value()?.as_str() {
                        "dev" => Transport::Dev,
                        "uring" => Transport::Uring,
                        other => return Err(format!("no transport is called {other}").into()),
                    }
                }
                "--naive" => options.naive = true,
                "--plot" => options.plot = Some(PathBuf::from(value()?)),
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

/// In which state the caches are when a command starts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// The same command ran just before.
    Warm,
    /// The kernel's caches were dropped; the mount's process has all content in memory.
    Cold,
    /// The mount is new, with all content in its disk tier, and the kernel's caches were dropped.
    Restarted,
}

const STATES: [State; 3] = [State::Warm, State::Cold, State::Restarted];

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Warm => "kernel-warm",
            Self::Cold => "kernel-cold, from memory",
            Self::Restarted => "remounted, from the disk tier",
        }
    }
}

/// What is run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Work {
    Find,
    List,
    Search,
    Tar,
    Status,
    Large,
}

const WORKS: [Work; 6] = [
    Work::Find,
    Work::List,
    Work::Search,
    Work::Tar,
    Work::Status,
    Work::Large,
];

impl Work {
    fn name(self) -> &'static str {
        match self {
            Self::Find => "find",
            Self::List => "ls -lR",
            Self::Search if has_ripgrep() => "rg",
            Self::Search => "grep -r",
            Self::Tar => "tar",
            Self::Status => "git status",
            Self::Large => "one large file",
        }
    }

    /// The ratio to reach, at most.
    fn target(self, state: State, transport: Transport) -> f64 {
        let [warm, cold_dev, cold_uring, restarted] = match self {
            Self::Find => [1.00, 0.6, 0.4, 0.8],
            Self::List => [1.00, 0.8, 0.45, 0.9],
            Self::Search => [1.05, 0.8, 0.35, 1.0],
            Self::Tar => [1.05, 0.9, 0.45, 1.0],
            Self::Status => [1.05, 3.0, 1.2, 3.0],
            // As speeds they are 0.95 and 0.9.
            Self::Large => [1.0 / 0.95, 1.0 / 0.9, 1.0 / 0.9, 1.0 / 0.9],
        };
        match (state, transport) {
            (State::Warm, _) => warm,
            (State::Cold, Transport::Dev) => cold_dev,
            (State::Cold, Transport::Uring) => cold_uring,
            (State::Restarted, _) => restarted,
        }
    }

    fn command(self, side: &Side) -> Command {
        let (program, words): (&str, &[&str]) = match self {
            Self::Find => ("find", &["tree"]),
            Self::List => ("ls", &["-lR", "tree"]),
            Self::Search => return search(&side.dir.join("tree")),
            // Into a pipe: tar does not read files when it writes to /dev/null itself.
            Self::Tar => ("tar", &["cf", "-", "tree"]),
            Self::Status => ("git", &["status", "--porcelain"]),
            Self::Large => ("cat", &["large"]),
        };
        let mut command = Command::new(program);
        command.args(words);
        match self {
            Self::Status => command
                .env("GIT_DIR", &side.git_dir)
                .env("GIT_WORK_TREE", side.dir.join("tree")),
            _ => &mut command,
        };
        command
            .current_dir(&side.dir)
            .env("LC_ALL", "C")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_OPTIONAL_LOCKS", "0");
        command
    }
}

/// A folder with the names `tree` and `large`, and a Git directory whose index matches `tree`.
struct Side {
    dir: PathBuf,
    git_dir: PathBuf,
    /// How its mounts are made, if they are mounts.
    options: Option<Vec<String>>,
}

/// The mounts of a side: of the tree, and of the large file.
type Mounts<'a> = [Mounted<'a>; 2];

impl Side {
    /// Runs `work` once; how long it took.
    fn run(&self, work: Work) -> Outcome<Duration> {
        let Ran {
            time,
            status,
            bytes,
        } = run(&mut work.command(self))?;
        let as_expected = match work {
            Work::Search => status.code() == Some(1) && bytes == 0,
            Work::Status => status.success() && bytes == 0,
            _ => status.success() && bytes > 0,
        };
        match as_expected {
            true => Ok(time),
            false => Err(format!("{} gave {status} and {bytes} bytes", work.name()).into()),
        }
    }

    /// Makes the Git directory's index match `tree`.
    fn refresh_index(&self) -> Outcome<()> {
        let mut command = Work::Status.command(self);
        let _ = command.env_remove("GIT_OPTIONAL_LOCKS");
        let output = command.output()?;
        match output.status.success() && output.stdout.is_empty() {
            true => Ok(()),
            false => Err(format!("git status: {}", String::from_utf8_lossy(&output.stdout)).into()),
        }
    }
}

/// Keeps the processors awake while it lives, where the system lets us.
struct Awake(Option<File>);

impl Awake {
    fn new() -> Self {
        let file = File::options().write(true).open("/dev/cpu_dma_latency");
        Self(
            file.and_then(|mut file| file.write_all(&[0; 4]).map(|()| file))
                .ok(),
        )
    }
}

/// Drops the kernel's caches, and loads the program of `work` again: its own file and libraries were dropped
/// too, and they are on the disk for both sides.
fn drop_caches(work: Work) -> Outcome<()> {
    let _ = Command::new("sync").status()?;
    fs::write("/proc/sys/vm/drop_caches", "3")
        .map_err(|error| format!("can't drop the kernel's caches (run it as root): {error}"))?;
    let program = match work {
        Work::Find => "find",
        Work::List => "ls",
        Work::Search if has_ripgrep() => "rg",
        Work::Search => "grep",
        Work::Tar => "tar",
        Work::Status => "git",
        Work::Large => "cat",
    };
    let loaded = Command::new(program).arg("--version").output()?;
    match loaded.status.success() {
        true => Ok(()),
        false => Err(format!("{program} --version fails").into()),
    }
}

/// All sides, and how to bring about each state.
struct Field {
    bonsai: Bonsai,
    server: GitServer,
    /// The disk, the mount, and maybe the naive mount.
    sides: Vec<Side>,
}

impl Field {
    fn new(options: &Options, scratch: &Path) -> Outcome<Self> {
        let repo = repository(options.files);
        let large = large_repository(options.large);
        let memory = (options.large + 64 + options.files / 50).max(1024);
        let transport = options.transport.name();
        let ours = ["--memory", &memory.to_string(), "--transport", transport].map(str::to_owned);
        let naive = ours.iter().cloned().chain(["--unsteady".to_owned()]);
        let mut kinds = vec![("disk", None), ("mount", Some(ours.to_vec()))];
        if options.naive {
            kinds.push(("naive", Some(naive.collect())));
        }
        let served = scratch.join("served");
        fs::create_dir(&served)?;
        for (repo, name) in [(&repo, "tree.git"), (&large, "large.git")] {
            copy_folder(&repo.path(), &served.join(name))?;
        }
        let mut sides = Vec::new();
        for (name, options) in kinds {
            let dir = scratch.join(name);
            fs::create_dir(&dir)?;
            std::os::unix::fs::symlink("large-tree/large", dir.join("large"))?;
            sides.push(Side {
                git_dir: dir.join("tree.git"),
                dir,
                options,
            });
        }
        let disk = &sides[0].dir;
        for (repo, name) in [(&repo, "tree"), (&large, "large-tree")] {
            let path = disk.join(name);
            shallow_clone(&format!("file://{}", repo.path().display()), &path, &[])?;
            let git_dir = disk.join(format!("{name}.git"));
            fs::rename(path.join(".git"), &git_dir)?;
            for side in &sides[1..] {
                copy_folder(&git_dir, &side.dir.join(format!("{name}.git")))?;
            }
        }
        Ok(Self {
            bonsai: Bonsai::new(&options.binary),
            server: GitServer::start(&served)?,
            sides,
        })
    }

    /// Mounts both repositories of a side that has mounts. Their content is in the disk tier after the first time.
    fn mounted(&self, side: &Side) -> Option<Mounts<'_>> {
        let options: Vec<&str> = side.options.as_ref()?.iter().map(String::as_str).collect();
        let mount = |(source, name)| {
            let dir = side.dir.join(name);
            self.bonsai
                .mount_at(self.server.url(source), &dir, &options)
        };
        Some([("tree.git", "tree"), ("large.git", "large-tree")].map(mount))
    }

    /// One command on one side, in one state. `mounts` may be replaced.
    fn measure<'a>(
        &'a self,
        state: State,
        work: Work,
        side: &'a Side,
        mounts: &mut Option<Mounts<'a>>,
    ) -> Outcome<Duration> {
        match state {
            State::Warm => {
                side.run(work)?;
            }
            State::Cold => drop_caches(work)?,
            State::Restarted => {
                for mount in mounts.take().into_iter().flatten() {
                    mount.unmount();
                }
                *mounts = self.mounted(side);
                drop_caches(work)?;
            }
        }
        side.run(work)
    }
}

fn copy_folder(from: &Path, to: &Path) -> Outcome<()> {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status()?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("can't copy {}", from.display()).into()),
    }
}

/// `count` files of 0.5 to 8 kB.
fn repository(count: usize) -> Repo {
    let repo = Repo::new();
    let mut files = Files::new();
    add_sources(&mut files, "", count);
    repo.commit(&files);
    repo.pack();
    repo
}

/// One file of `mib` MiB.
fn large_repository(mib: usize) -> Repo {
    let repo = Repo::new();
    let mut data = text(7, 1 << 20);
    data.truncate(1 << 20);
    repo.commit(&Files::new().file("large", data.repeat(mib)));
    repo.pack();
    repo
}

fn median(times: &mut [Duration]) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e3
}

fn measure() -> Outcome<()> {
    let options = Options::parse(env::args().skip(1))?;
    let scratch = tempfile::tempdir()?;
    let field = Field::new(&options, scratch.path())?;
    let awake = Awake::new();
    let kind = Command::new("stat")
        .args(["--file-system", "--format=%T"])
        .arg(scratch.path())
        .output()?;
    let mut out = io::stdout();
    writeln!(
        out,
        "\n{} files and one of {} MiB, on {}; medians of {} runs in turns; over {}; processors kept awake: {}\n",
        options.files,
        options.large,
        String::from_utf8_lossy(&kind.stdout).trim(),
        options.rounds,
        options.transport.name(),
        if awake.0.is_some() { "yes" } else { "no" },
    )?;
    writeln!(
        out,
        "{:<30} {:<15} {:>9} {:>9} {:>7} {:>9} {}",
        "",
        "",
        "disk, ms",
        "mount, ms",
        "ratio",
        "to reach",
        if options.naive {
            "   naive, ms   ratio"
        } else {
            ""
        }
    )?;
    let mut mounts: Vec<_> = field.sides.iter().map(|side| field.mounted(side)).collect();
    // Once, so that all content is here, and all indexes match.
    for side in &field.sides {
        side.refresh_index()?;
        for work in WORKS {
            side.run(work)?;
        }
    }
    let mut groups = Vec::new();
    for state in STATES {
        for work in WORKS {
            let count = field.sides.len();
            let mut took = vec![Vec::new(); count];
            for round in 0..options.rounds {
                for turn in 0..count {
                    let at = (round + turn) % count;
                    let side = &field.sides[at];
                    took[at].push(field.measure(state, work, side, &mut mounts[at])?);
                }
            }
            let medians: Vec<f64> = took.iter_mut().map(|times| median(times)).collect();
            let (disk, mount) = (medians[0], medians[1]);
            let (ratio, target) = (mount / disk, work.target(state, options.transport));
            let naive = medians.get(2);
            writeln!(
                out,
                "{:<30} {:<15} {disk:>9.1} {mount:>9.1} {ratio:>7.2} {target:>9.2} {:<6} {}",
                state.name(),
                work.name(),
                if ratio <= target { "" } else { "MISSED" },
                naive.map_or(String::new(), |naive| {
                    format!("{naive:>11.1} {:>7.2}", naive / disk)
                })
            )?;
            let ratios = medians[1..].iter().map(|median| median / disk).collect();
            groups.push((format!("{}, {}", work.name(), state.name()), ratios));
        }
    }
    for mount in mounts.into_iter().flatten().flatten() {
        mount.unmount();
    }
    field.bonsai.assert_nothing_left();
    if let Some(path) = &options.plot {
        let title = format!(
            "Time of a command, where on ext4 it takes 1: {} files, {}",
            options.files,
            options.transport.name()
        );
        let names = ["Bonsai", "Bonsai with the usual settings"];
        fs::write(path, plot(&title, &names, &groups))?;
    }
    Ok(())
}

fn main() -> ExitCode {
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing can be done if even this can't be said.
            let _ = writeln!(io::stderr(), "ext4: {error}");
            ExitCode::FAILURE
        }
    }
}

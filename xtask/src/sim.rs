//! `cargo xtask sim`: runs many seeds in processes of their own, and looks into what fails.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::summary::Summary;

/// How long a seed may take by the clock: what takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often to say how far it is.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// How long shrinking may take.
const SHRINKING: Duration = Duration::from_secs(600);
/// Failures that are shrunk and written down in one hunt.
const FOLDERS: usize = 10;

/// What to do.
pub struct Options {
    seeds: u64,
    from: u64,
    jobs: usize,
    batch: u64,
    out: PathBuf,
    keep_going: bool,
}

impl Options {
    /// Reads the command line after `sim`.
    pub fn parse(args: &[String]) -> Result<Self, String> {
        let mut options = Self {
            seeds: 1000,
            from: 0,
            jobs: 2,
            batch: 1,
            out: PathBuf::from("target/sim-failures"),
            keep_going: false,
        };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            if arg == "--keep-going" {
                options.keep_going = true;
                continue;
            }
            let value = args.next().ok_or(format!("{arg} wants a value"))?;
            let number = || {
                value
                    .parse::<u64>()
                    .map_err(|_| format!("{arg} wants a number"))
            };
            match arg.as_str() {
                "--seeds" => options.seeds = number()?,
                "--from" => options.from = number()?,
                "--jobs" => options.jobs = number()?.max(1) as usize,
                "--batch" => options.batch = number()?.max(1),
                "--out" => options.out = value.into(),
                _ => return Err(format!("unknown option {arg}")),
            }
        }
        Ok(options)
    }
}

/// A process with its range of seeds.
struct Run {
    child: Child,
    lines: PathBuf,
    began: Instant,
    seeds: u64,
}

/// Hunts.
pub fn run(options: &Options) -> ExitCode {
    let Some(binary) = build() else {
        eprintln!("the simulation could not be built");
        return ExitCode::FAILURE;
    };
    if let Err(error) = fs::create_dir_all(&options.out) {
        eprintln!("{}: {error}", options.out.display());
        return ExitCode::FAILURE;
    }
    let began = Instant::now();
    let busy_before = children_time();
    let mut summary = Summary::default();
    let mut running: Vec<Run> = Vec::new();
    let mut told = began;
    let mut next = options.from;
    let end = options.from + options.seeds;
    loop {
        let mut still = Vec::new();
        for mut run in running {
            let over = matches!(run.child.try_wait(), Ok(Some(_)) | Err(_));
            let hangs =
                run.began.elapsed() > PATIENCE * u32::try_from(run.seeds).unwrap_or(u32::MAX);
            if hangs && !over {
                // Its last line tells which seed it was at.
                let _ = run.child.kill();
                let _ = run.child.wait();
            }
            if over || hangs {
                summary.read(&fs::read_to_string(&run.lines).unwrap_or_default());
                let _ = fs::remove_file(&run.lines);
            } else {
                still.push(run);
            }
        }
        running = still;
        let stop = summary.failures() > 0 && !options.keep_going;
        while running.len() < options.jobs && next < end && !stop {
            let until = (next + options.batch).min(end);
            running.extend(start(&binary, options, next, until));
            next = until;
        }
        if running.is_empty() {
            break;
        }
        if told.elapsed() > TELL_EVERY {
            told = Instant::now();
            eprintln!("{}", summary.progress(options.seeds));
        }
        thread::sleep(Duration::from_millis(1));
    }
    let busy = children_time().saturating_sub(busy_before);
    println!("{}", summary.text(began.elapsed(), busy, options.jobs));
    for seed in summary.failed_seeds().into_iter().take(FOLDERS) {
        write_down(&binary, options, seed);
    }
    match summary.failures() {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Processor time of all processes that were started here and have ended: proc(5)'s `cutime` and
/// `cstime`, in hundredths of a second. Other work on the machine does not change it much.
fn children_time() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name, in parentheses, may have spaces.
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
    let ticks = fields.split(' ').skip(13).take(2);
    let ticks: u64 = ticks.filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

/// Builds the simulation and finds its binary.
fn build() -> Option<PathBuf> {
    let mut cargo = Command::new("cargo");
    // What `cargo run` tells this program about its own package is not for the build: some build
    // scripts ask for it, and everything above them would be built anew each time.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&*name);
        }
    }
    let output = cargo
        .args([
            "test",
            "--profile",
            "sim",
            "--features",
            "sim",
            "--test",
            "sim",
            "--no-run",
        ])
        .args(["--message-format", "json"])
        .stderr(Stdio::inherit())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let messages = text
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let binary = messages
        .filter(|message| message["target"]["name"] == "sim")
        .find_map(|message| Some(PathBuf::from(message["executable"].as_str()?)));
    binary.filter(|_| output.status.success())
}

fn start(binary: &Path, options: &Options, from: u64, to: u64) -> Option<Run> {
    let lines = options.out.join(format!("lines-{from}"));
    let _ = fs::remove_file(&lines);
    let child = Command::new(binary)
        .args(["runs::hunt", "--exact", "--quiet"])
        .env("BONSAI_SEEDS", format!("{from}..{to}"))
        .env("BONSAI_LINES", &lines)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    Some(Run {
        child,
        lines,
        began: Instant::now(),
        seeds: to - from,
    })
}

/// Shrinks a failure and puts it into a folder of its own.
fn write_down(binary: &Path, options: &Options, seed: u64) {
    let folder = options.out.join(format!("seed-{seed}"));
    let child = Command::new(binary)
        .args(["runs::shrink", "--exact", "--quiet"])
        .env("BONSAI_SEED", seed.to_string())
        .env("BONSAI_FOLDER", &folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else { return };
    let began = Instant::now();
    while matches!(child.try_wait(), Ok(None)) {
        if began.elapsed() > SHRINKING {
            let _ = child.kill();
            let _ = child.wait();
        }
        thread::sleep(Duration::from_millis(20));
    }
    if folder.join("failure.txt").exists() {
        println!("seed {seed}: {}", folder.display());
    } else {
        println!("seed {seed}: not shrunk (it hangs, or its process died)");
    }
}

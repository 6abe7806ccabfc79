//! The memory of a mount's process after `find` over millions of names, and after the kernel has
//! forgotten them again, beside its budget and 64 MiB.
//!
//! usage: cargo bench --bench memory -- [--entries N]… [--look] [--memory MIB] [--transport dev|uring] [--bonsai PATH]
//!
//! Wants root, as it drops the kernel's caches. Each number of entries gets a mount of its own.
//!
//! What is mounted is a local repository of N files, 1,000 in a directory. All files have one blob, as
//! only names are read. Directories must not share a tree: listings are kept by the tree's id, so a
//! million files in copies of one tree would be one listing in memory. Therefore each has one name that
//! no other has, which makes each a tree, a listing and nodes of its own; on the disk they are small all the
//! same, as deltas of one another. `find` goes without `stat` but on directories, with `--look` on each file too; what
//! it printed is counted, so a walk that ended early is an error.
//!
//! After the caches are dropped the kernel takes its time to tell what it forgot: the figures are taken when
//! the number of inodes falls no more.

mod common;

use std::{
    env,
    fmt::Write as _,
    fs,
    io::{self, BufWriter, Write},
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use bonsai_testkit::{Bonsai, Mounted, Repo, process::Process};
use common::{Outcome, Ran, run};
use serde_json::Value;

/// Files in a directory.
const FILES: usize = 1000;
/// Directories of files in one of their parents.
const DIRS: usize = 100;
/// What a mount may take beyond its budget, in bytes.
const BEYOND: u64 = 64 << 20;
/// How long the number of inodes must stay as it is.
const QUIET: Duration = Duration::from_secs(2);
/// How long the kernel may take to tell all that it forgot.
const PATIENCE: Duration = Duration::from_secs(180);

struct Options {
    /// Of one mount each.
    entries: Vec<usize>,
    /// The mount's budget, in MiB.
    memory: u64,
    /// How the mount's requests come.
    transport: String,
    /// Whether each file is looked at.
    look: bool,
    binary: PathBuf,
}

impl Options {
    fn parse(mut words: impl Iterator<Item = String>) -> Outcome<Self> {
        let mut options = Self {
            entries: Vec::new(),
            memory: 256,
            transport: "dev".to_owned(),
            look: false,
            binary: PathBuf::from(env!("CARGO_BIN_EXE_bonsai")),
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            match word.as_str() {
                "--entries" => options.entries.push(value()?.parse()?),
                "--memory" => options.memory = value()?.parse()?,
                "--transport" => options.transport = value()?,
                "--look" => options.look = true,
                "--bonsai" => options.binary = PathBuf::from(value()?),
                // Cargo's own.
                "--bench" => {}
                _ => return Err(format!("unknown argument {word}").into()),
            }
        }
        if options.entries.is_empty() {
            options.entries.push(1_000_000);
        }
        match options.entries.contains(&0) {
            true => Err("at least one entry".into()),
            false => Ok(options),
        }
    }
}

/// The repository's commit: `files` files, 1,000 in a directory, 100 directories in a parent.
struct Tree {
    files: usize,
}

impl Tree {
    fn parent_name(parent: usize) -> String {
        format!("parent-{parent:04}")
    }

    fn dir_name(dir: usize) -> String {
        format!("dir-{dir:02}", dir = dir % DIRS)
    }

    /// The first is in this directory only.
    fn file_name(dir: usize, file: usize) -> String {
        match file {
            0 => format!("module-{dir:06}.rs"),
            _ => format!("module-{file:03}.rs"),
        }
    }

    fn dirs(&self) -> usize {
        self.files.div_ceil(FILES)
    }

    fn files_of(&self, dir: usize) -> usize {
        FILES.min(self.files - dir * FILES)
    }

    /// Stores it and points `main` to it.
    fn store(&self) -> Outcome<Repo> {
        let repo = Repo::new();
        let blob = repo.blob(b"");
        let dirs = make_trees(&repo, self.dirs(), |dir, text| {
            for file in 0..self.files_of(dir) {
                let name = Self::file_name(dir, file);
                let _ = writeln!(text, "100644 blob {blob}\t{name}");
            }
        })?;
        let parents = make_trees(&repo, dirs.len().div_ceil(DIRS), |parent, text| {
            for (dir, oid) in dirs.iter().enumerate().skip(parent * DIRS).take(DIRS) {
                let _ = writeln!(text, "040000 tree {oid}\t{}", Self::dir_name(dir));
            }
        })?;
        let root = make_trees(&repo, 1, |_, text| {
            for (parent, oid) in parents.iter().enumerate() {
                let _ = writeln!(text, "040000 tree {oid}\t{}", Self::parent_name(parent));
            }
        })?;
        repo.point_main(&repo.commit_of(&root[0]));
        repo.git(&["repack", "-a", "-d", "--quiet"]);
        Ok(repo)
    }

    /// The bytes that `find .` prints in its root.
    fn printed(&self) -> usize {
        let line = |names: &[String]| {
            let below: usize = names.iter().map(|name| "/".len() + name.len()).sum();
            ".".len() + below + "\n".len()
        };
        let parents = (0..self.dirs().div_ceil(DIRS)).map(|parent| {
            let name = Self::parent_name(parent);
            line(&[name])
        });
        let dirs = (0..self.dirs()).map(|dir| {
            let (parent, name) = (Self::parent_name(dir / DIRS), Self::dir_name(dir));
            let files = (0..self.files_of(dir)).map(|file| {
                let file = Self::file_name(dir, file);
                line(&[parent.clone(), name.clone(), file])
            });
            let files: usize = files.sum();
            line(&[parent.clone(), name.clone()]) + files
        });
        line(&[]) + parents.sum::<usize>() + dirs.sum::<usize>()
    }
}

/// Stores `count` trees, whose entries `write` adds as `git mktree` reads them; their ids.
fn make_trees(
    repo: &Repo,
    count: usize,
    write: impl Fn(usize, &mut String) + Sync,
) -> Outcome<Vec<String>> {
    let mut child = repo
        .command()
        .args(["mktree", "--batch"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let stdin = child.stdin.take().ok_or("no pipe")?;
    // Git answers meanwhile, more than a pipe holds.
    let output = thread::scope(|scope| {
        scope.spawn(|| {
            let mut stdin = BufWriter::new(stdin);
            let mut text = String::new();
            for tree in 0..count {
                text.clear();
                write(tree, &mut text);
                text.push('\n');
                if stdin.write_all(text.as_bytes()).is_err() {
                    // Git has failed, and says so itself.
                    return;
                }
            }
        });
        child.wait_with_output()
    })?;
    let oids: Vec<String> = String::from_utf8(output.stdout)?
        .lines()
        .map(str::to_owned)
        .collect();
    match output.status.success() && oids.len() == count {
        true => Ok(oids),
        false => Err(format!("git mktree: {}, {} trees", output.status, oids.len()).into()),
    }
}

/// What a mount holds at a moment.
#[derive(Clone, Copy)]
struct Held {
    /// Of the whole process, in bytes.
    resident: u64,
    peak: u64,
    /// As `bonsai status` has it.
    inodes: u64,
    listings: u64,
    listing_bytes: u64,
    object_bytes: u64,
}

impl Held {
    fn of(mount: &Mounted<'_>, daemon: Process) -> Outcome<Self> {
        let gone = "the mount's process is gone";
        let status: Value = serde_json::from_str(&mount.status())?;
        let number = |path: &str| {
            let value = status.pointer(path).and_then(Value::as_u64);
            value.ok_or(format!("no {path} in bonsai status: {status}"))
        };
        Ok(Self {
            resident: daemon.resident_memory().ok_or(gone)?,
            peak: daemon.peak_memory().ok_or(gone)?,
            inodes: number("/inodes")?,
            listings: number("/listings")?,
            listing_bytes: number("/listing_bytes")?,
            object_bytes: number("/memory/bytes")?,
        })
    }
}

/// Drops the kernel's caches, and waits until it has told all that it forgot.
fn drop_caches(mount: &Mounted<'_>, daemon: Process) -> Outcome<Held> {
    let _ = Command::new("sync").status()?;
    let end = Instant::now() + PATIENCE;
    let mut held = Held::of(mount, daemon)?;
    loop {
        // Again each time: a directory goes only after what was in it.
        fs::write("/proc/sys/vm/drop_caches", "3")
            .map_err(|error| format!("can't drop the kernel's caches (run it as root): {error}"))?;
        thread::sleep(QUIET);
        let now = Held::of(mount, daemon)?;
        if now.inodes == held.inodes {
            return Ok(now);
        }
        if Instant::now() >= end {
            return Err(format!("{} inodes are still being forgotten", now.inodes).into());
        }
        held = now;
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn measure_one(options: &Options, entries: usize, out: &mut impl Write) -> Outcome<()> {
    let tree = Tree { files: entries };
    let repo = tree.store()?;
    let bonsai = Bonsai::new(&options.binary);
    let memory = options.memory.to_string();
    let mount = bonsai.mount(
        repo.path(),
        &["--memory", &memory, "--transport", &options.transport],
    );
    let daemon = mount.daemon();
    let before = Held::of(&mount, daemon)?;
    let mut find = Command::new("find");
    find.arg(".").current_dir(mount.dir());
    if options.look {
        find.args(["-uid", "+0", "-o", "-print"]);
    }
    let Ran {
        time,
        status,
        bytes,
    } = run(&mut find)?;
    if !status.success() || bytes != tree.printed() {
        let expected = tree.printed();
        return Err(format!("find gave {status} and {bytes} bytes, not {expected}").into());
    }
    let after = Held::of(&mount, daemon)?;
    let dropped = drop_caches(&mount, daemon)?;
    let bound = (options.memory << 20) + BEYOND;
    for (name, held, seconds) in [
        ("mounted", before, None),
        ("after find", after, Some(time.as_secs_f64())),
        ("caches dropped", dropped, None),
    ] {
        writeln!(
            out,
            "{entries:>9} {name:<15} {:>7} {:>9.1} {:>9.1} {:>9.1} {:<5} {:>9} {:>9} {:>13.1} {:>12.1}",
            seconds.map_or(String::new(), |seconds| format!("{seconds:.1}")),
            mebibytes(held.resident),
            mebibytes(held.peak),
            mebibytes(bound),
            if held.resident <= bound { "ok" } else { "OVER" },
            held.inodes,
            held.listings,
            mebibytes(held.listing_bytes),
            mebibytes(held.object_bytes),
        )?;
    }
    mount.unmount();
    bonsai.assert_nothing_left();
    Ok(())
}

fn measure() -> Outcome<()> {
    let options = Options::parse(env::args().skip(1))?;
    let mut out = io::stdout();
    writeln!(
        out,
        "\n--memory {}, over {}; sizes in MiB; ok and OVER are of RSS now\n",
        options.memory, options.transport,
    )?;
    writeln!(
        out,
        "{:>9} {:<15} {:>7} {:>9} {:>9} {:>9} {:<5} {:>9} {:>9} {:>13} {:>12}",
        "entries",
        "",
        "find, s",
        "RSS",
        "peak",
        "may have",
        "",
        "inodes",
        "listings",
        "listings, MiB",
        "objects, MiB",
    )?;
    for entries in &options.entries {
        measure_one(&options, *entries, &mut out)?;
    }
    Ok(())
}

fn main() -> ExitCode {
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing can be done if even this can't be said.
            let _ = writeln!(io::stderr(), "memory: {error}");
            ExitCode::FAILURE
        }
    }
}

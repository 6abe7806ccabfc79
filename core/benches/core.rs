//! How long the core's warm operations take, what filling costs, and how large an inode is; each
//! beside what it is to reach.
//!
//! usage: cargo bench -p bonsaifs-core
//!
//! criterion runs and compares; the table at the end has the medians of the same samples. Nodes are as
//! large as those of a Git tree. All of it is memory and processor time: nothing waits.

#![allow(
    clippy::print_stdout,
    reason = "a bench shows its figures on standard output"
)]

use std::{
    cell::RefCell,
    fs,
    hint::black_box,
    sync::{Arc, Barrier},
    time::{Duration, Instant},
};

use bonsaifs_core::fs::{
    AsyncFs, Attr, Config, FsErrorKind, FsResult, Ino, Kind, Listing, ListingBuilder, Provider,
    Scan, Take, Timestamp, Told,
};
use bytes::Bytes;
use criterion::Criterion;

/// Files in each directory of the tree below.
const FILES: u32 = 1000;
/// Directories below the root.
const DIRS: u32 = 1000;

/// As large as the node of a Git tree: an object id of up to 32 bytes, its kind, and a mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Node {
    number: u32,
    rest: [u32; 8],
}

impl Node {
    fn new(number: u32) -> Self {
        Self {
            number,
            rest: [number; 8],
        }
    }
}

const ROOT: u32 = u32::MAX;

/// A root with [`DIRS`] directories of [`FILES`] files each, made anew whenever it is asked for.
struct Generated;

impl Provider for Generated {
    type Node = Node;

    fn root(&self) -> (Node, Attr) {
        let mut root = ListingBuilder::new();
        root.push(
            b"root",
            Node::new(ROOT),
            Kind::Dir,
            0o755,
            Timestamp::default(),
            None,
        );
        let (root, _) = root.build();
        (
            Node::new(ROOT),
            root.get(0).attr.expect("a directory's size is known"),
        )
    }

    fn try_list(&self, dir: &Node) -> Option<FsResult<Listing<Node>>> {
        Some(Ok(listing(dir.number)))
    }

    async fn list(&self, dir: &Node) -> FsResult<Listing<Node>> {
        Ok(listing(dir.number))
    }

    async fn read(&self, _: &Node, _: u64, _: u32) -> FsResult<Bytes> {
        Err(FsErrorKind::Io.into())
    }

    async fn readlink(&self, _: &Node) -> FsResult<Bytes> {
        Err(FsErrorKind::Io.into())
    }
}

fn listing(dir: u32) -> Listing<Node> {
    let (count, kind, prefix) = match dir {
        ROOT => (DIRS, Kind::Dir, "dir"),
        _ => (FILES, Kind::File, "source_file_"),
    };
    let mut builder = ListingBuilder::with_capacity(count as usize);
    for number in 0..count {
        let mut name = [0; 32];
        let name = name_into(&mut name, prefix, number);
        let node = Node::new(match dir {
            ROOT => number,
            _ => DIRS + dir * FILES + number,
        });
        let size = (kind == Kind::File).then_some(4096);
        builder.push(name, node, kind, 0o644, Timestamp::default(), size);
    }
    builder.build().0
}

/// `<prefix>0042`, without allocation.
fn name_into<'a>(room: &'a mut [u8; 32], prefix: &str, number: u32) -> &'a [u8] {
    let end = prefix.len() + 4;
    room[..prefix.len()].copy_from_slice(prefix.as_bytes());
    let mut left = number;
    for at in (prefix.len()..end).rev() {
        room[at] = b'0' + (left % 10) as u8;
        left /= 10;
    }
    &room[..end]
}

fn filesystem() -> AsyncFs<Generated> {
    AsyncFs::new(Generated, Config::default())
}

/// A warm directory: its number, and the names and numbers of its files, in an order that a cache
/// line does not guess.
struct Warm {
    fs: AsyncFs<Generated>,
    dir: Ino,
    files: Vec<(Vec<u8>, Ino)>,
}

impl Warm {
    fn new() -> Self {
        let fs = filesystem();
        let dir = found(&fs, Ino::ROOT, b"dir0007");
        let mut files: Vec<(Vec<u8>, Ino)> = (0..FILES)
            .map(|number| {
                let mut room = [0; 32];
                let name = name_into(&mut room, "source_file_", number * 7 % FILES);
                (name.to_vec(), found(&fs, dir, name))
            })
            .collect();
        files.rotate_left(13);
        Self { fs, dir, files }
    }

    fn look_up(&self, times: u64) {
        for (name, _) in self.files.iter().cycle().take(count(times)) {
            let entry = self.fs.try_lookup(self.dir, black_box(name));
            black_box(entry.expect("it is warm").expect("it is there"));
        }
    }

    fn getattr(&self, times: u64) {
        for (_, ino) in self.files.iter().cycle().take(count(times)) {
            let attr = self.fs.try_getattr(black_box(*ino));
            black_box(attr.expect("it is warm").expect("it is known"));
        }
    }

    fn readdir(&self, times: u64) {
        for _ in 0..times {
            let scan = self.fs.try_scan(self.dir);
            let scan = scan.expect("it is warm").expect("a directory");
            let mut sum = 0;
            self.fs.readdir(&scan, 0, &mut |item| {
                sum ^= item.ino.0 ^ item.name.len() as u64;
                Take::More
            });
            black_box(sum);
        }
    }

    fn readdirplus(&self, times: u64) {
        for _ in 0..times {
            let scan = self.fs.try_scan(self.dir);
            let scan = scan.expect("it is warm").expect("a directory");
            let mut sum = 0;
            self.fs.readdirplus(&scan, 0, Told::All, &mut |item| {
                sum ^= item.ino.0 ^ item.attr.map_or(0, |attr| attr.size);
                Take::More
            });
            black_box(sum);
        }
    }
}

fn count(times: u64) -> usize {
    usize::try_from(times).expect("fewer than memory has bytes")
}

fn found(fs: &AsyncFs<Generated>, dir: Ino, name: &[u8]) -> Ino {
    let entry = fs.try_lookup(dir, name).expect("nothing waits here");
    entry.expect("it is there").ino
}

/// Lists all directories of a new filesystem, and counts each entry as `readdirplus` does.
fn fill(fs: &AsyncFs<Generated>, dirs: u32) {
    for number in 0..dirs {
        fs.readdirplus(&scan(fs, number), 0, Told::All, &mut |item| {
            black_box(item.ino);
            Take::More
        });
    }
}

/// Opens a directory.
fn scan(fs: &AsyncFs<Generated>, number: u32) -> Scan<Node> {
    let mut room = [0; 32];
    let dir = found(fs, Ino::ROOT, name_into(&mut room, "dir", number));
    let scan = fs.try_scan(dir).expect("nothing waits here");
    scan.expect("a directory")
}

/// Runs `work` on each of two threads, and gives the time until both are through.
fn on_two_threads(warm: &Arc<Warm>, times: u64, work: fn(&Warm, u64)) -> Duration {
    let begin = Arc::new(Barrier::new(3));
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let (warm, begin) = (Arc::clone(warm), Arc::clone(&begin));
            std::thread::spawn(move || {
                begin.wait();
                work(&warm, times);
            })
        })
        .collect();
    begin.wait();
    let start = Instant::now();
    for thread in threads {
        thread.join().expect("no panic");
    }
    start.elapsed()
}

/// Nanoseconds a unit of work: each sample that criterion took, the warming up too.
struct Samples(RefCell<Vec<f64>>);

impl Samples {
    /// Has criterion run `work`, which does it so many times and gives the time; `unit` is how many
    /// things one time is.
    fn take(
        criterion: &mut Criterion,
        name: &str,
        unit: u32,
        mut work: impl FnMut(u64) -> Duration,
    ) -> f64 {
        let samples = Self(RefCell::default());
        criterion.bench_function(name, |bencher| {
            bencher.iter_custom(|times| {
                let took = work(times);
                let nanos = took.as_nanos() as f64 / times as f64 / f64::from(unit);
                samples.0.borrow_mut().push(nanos);
                took
            });
        });
        samples.median()
    }

    fn median(self) -> f64 {
        let mut nanos = self.0.into_inner();
        nanos.sort_by(f64::total_cmp);
        nanos.get(nanos.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// Resident memory of this process in bytes (`statm` of proc(5), in pages of 4 KiB here).
fn resident() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.unwrap_or(0) * 4096
}

/// Bytes that an entry of a listing takes, and those that it takes more once it is a known inode.
fn bytes_of_an_entry_and_an_inode() -> (f64, f64) {
    let entries = f64::from(DIRS * FILES);
    let before = resident();
    // Filling by itself drops nothing: the budget is large, and each listing is held.
    let fs = AsyncFs::new(
        Generated,
        Config {
            listing_budget: usize::MAX,
            ..Config::default()
        },
    );
    let scans: Vec<_> = (0..DIRS).map(|number| scan(&fs, number)).collect();
    let listed = resident();
    for scan in &scans {
        fs.readdirplus(scan, 0, Told::All, &mut |_| Take::More);
    }
    let known = resident();
    assert_eq!(fs.stats().inodes, u64::from(DIRS * FILES + DIRS + 1));
    (
        listed.saturating_sub(before) as f64 / entries,
        known.saturating_sub(listed) as f64 / entries,
    )
}

/// Arithmetic in registers: what two threads can be faster than one here and now.
fn spin(times: u64) {
    let mut x = times;
    for _ in 0..times {
        x = black_box(x.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(13));
    }
    black_box(x);
}

/// Prints a line of the table.
fn line(what: &str, figure: f64, unit: &str, sign: &str, target: f64) {
    let met = match sign {
        "≤" => figure <= target,
        _ => figure >= target,
    };
    let met = if met { "yes" } else { "no" };
    println!("{what:<44} {figure:>9.2} {unit:<12} {sign} {target:<7} {met}");
}

fn main() {
    // First, while nothing else has touched the heap.
    let (entry, inode) = bytes_of_an_entry_and_an_inode();
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    let c = &mut criterion;
    let warm = Arc::new(Warm::new());
    let look_up = Samples::take(c, "look-up hit", 1, |n| timed(|| warm.look_up(n)));
    let getattr = Samples::take(c, "getattr hit", 1, |n| timed(|| warm.getattr(n)));
    let spin_once = Samples::take(c, "arithmetic", 1, |n| timed(|| spin(n)));
    let two_spin = Samples::take(c, "arithmetic on two threads", 2, |n| {
        on_two_threads(&warm, n, |_, n| spin(n))
    });
    let two_look_up = Samples::take(c, "look-up hit on two threads", 2, |n| {
        on_two_threads(&warm, n, Warm::look_up)
    });
    let two_getattr = Samples::take(c, "getattr hit on two threads", 2, |n| {
        on_two_threads(&warm, n, Warm::getattr)
    });
    let readdir = Samples::take(c, "readdir of 1,000", 1, |n| timed(|| warm.readdir(n)));
    let plus = Samples::take(c, "readdirplus of 1,000", 1, |n| {
        timed(|| warm.readdirplus(n))
    });
    let filled = Samples::take(c, "filling", 100 * FILES, |n| {
        (0..n)
            .map(|_| {
                let fs = filesystem();
                timed(|| fill(&fs, 100))
            })
            .sum()
    });
    criterion.final_summary();

    println!();
    println!("{:<44} {:>9} {:<12} to reach", "what", "median", "unit");
    line("look-up hit", look_up, "ns", "≤", 100.0);
    line("getattr hit", getattr, "ns", "≤", 40.0);
    println!(
        "{:<44} {:>9.2} times",
        "arithmetic on two threads, to one",
        spin_once / two_spin
    );
    let twice = look_up / two_look_up;
    line("look-ups on two threads, to one", twice, "times", "≥", 2.0);
    let twice = getattr / two_getattr;
    line("getattrs on two threads, to one", twice, "times", "≥", 2.0);
    line("readdir of 1,000 entries", readdir / 1e3, "µs", "≤", 15.0);
    println!(
        "{:<44} {:>9.2} µs",
        "readdirplus of 1,000 entries",
        plus / 1e3
    );
    line(
        "filling, readdirplus",
        1e3 / filled,
        "M entries/s",
        "≥",
        3.0,
    );
    line("a known inode", inode, "bytes", "≤", 100.0);
    println!("{:<44} {entry:>9.2} bytes", "an entry of a listing");
}

//! A blob of 1 GiB is read right, from a folder and over HTTP, with bounded memory.

use std::{
    fs::File,
    io::Read,
    os::unix::fs::FileExt,
    sync::{Arc, Mutex, PoisonError, Weak},
    thread,
};

use bonsai_testkit::{
    Bonsai, GitServer, Mounted, Specimen,
    specimens::{self, PATTERN_BLOCK, pattern},
};

const SIZE: u64 = 1 << 30;

/// The most that the process may ever have resident while it serves the blob: the memory tier's
/// 256 MiB, what listings and packs in flight take, and room to spare.
const MEMORY: u64 = 400 << 20;

/// Made once for tests that run at the same time, as it takes some seconds; gone with the last of
/// them.
fn specimen() -> Arc<Specimen> {
    static MADE: Mutex<Weak<Specimen>> = Mutex::new(Weak::new());
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    made.upgrade().unwrap_or_else(|| {
        let specimen = Arc::new(specimens::large_blob(SIZE));
        *made = Arc::downgrade(&specimen);
        specimen
    })
}

fn bonsai() -> Bonsai {
    Bonsai::new(env!("CARGO_BIN_EXE_bonsai"))
}

/// Reads the whole blob from front to back, and compares every byte.
fn assert_whole(mount: &Mounted<'_>) {
    let mut file = File::open(mount.path("large")).expect("opened");
    let mut buffer = vec![0; 1 << 20];
    let mut offset = 0;
    loop {
        let mut filled = 0;
        while filled < buffer.len() {
            match file.read(&mut buffer[filled..]).expect("read") {
                0 => break,
                count => filled += count,
            }
        }
        if filled == 0 {
            break;
        }
        let count = u64::try_from(filled).expect("small");
        // Not assert_eq: a difference would be printed in full.
        assert!(
            buffer[..filled] == pattern(offset, count),
            "other bytes after {offset}"
        );
        offset += count;
    }
    assert_eq!(offset, SIZE, "ends where it should");
}

/// Reads pieces at places all over the blob, in an order of its own.
fn assert_pieces(mount: &Mounted<'_>, seed: u64) {
    let file = File::open(mount.path("large")).expect("opened");
    let mut state = seed;
    for _ in 0..500 {
        // Knuth's MMIX constants.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let offset = (state >> 16) % SIZE;
        let length = ((state >> 8) % (3 * PATTERN_BLOCK)).min(SIZE - offset);
        let mut buffer = vec![0; usize::try_from(length).expect("small")];
        file.read_exact_at(&mut buffer, offset).expect("read");
        assert!(
            buffer == pattern(offset, length),
            "other bytes after {offset}"
        );
    }
    // At the end and past it.
    let mut buffer = [0; 100];
    assert_eq!(file.read_at(&mut buffer, SIZE - 10).expect("read"), 10);
    assert_eq!(buffer[..10], pattern(SIZE - 10, 10));
    assert_eq!(file.read_at(&mut buffer, SIZE).expect("read"), 0);
    assert_eq!(file.read_at(&mut buffer, SIZE + 100_000).expect("read"), 0);
}

fn assert_bounded(mount: &Mounted<'_>) {
    let peak = mount.daemon().peak_memory().expect("it runs");
    assert!(peak <= MEMORY, "{} MiB resident at the peak", peak >> 20);
}

/// All that is asked of the large blob, for one source.
fn served(source: &str) {
    let bonsai = bonsai();
    let mount = bonsai.mount(source, &[]);
    let stat = std::fs::metadata(mount.path("large")).expect("stat");
    assert_eq!(stat.len(), SIZE);
    assert_pieces(&mount, 1);
    assert_whole(&mount);
    thread::scope(|scope| {
        for seed in 2..6 {
            let mount = &mount;
            scope.spawn(move || assert_pieces(mount, seed));
        }
    });
    assert_eq!(
        std::fs::read(mount.path("small")).expect("read"),
        b"small\n"
    );
    assert_bounded(&mount);
    mount.unmount();
    bonsai.assert_nothing_left();
}

#[test]
fn from_a_folder() {
    let specimen = specimen();
    served(&specimen.repo.path().display().to_string());
}

#[test]
fn over_http() {
    let specimen = specimen();
    let server = GitServer::start(specimen.repo.root()).expect("a server");
    served(&server.url("repo.git"));
}

#[test]
fn from_the_cache_after_a_remount() {
    let specimen = specimen();
    let mut server = GitServer::start(specimen.repo.root()).expect("a server");
    let url = server.url("repo.git");
    let bonsai = bonsai();
    let mount = bonsai.mount(&url, &[]);
    // Fetched as a whole, whatever is read first.
    assert_pieces(&mount, 7);
    mount.unmount();
    server.stop();
    let mount = bonsai.mount(&url, &[]);
    assert_pieces(&mount, 8);
    assert_whole(&mount);
    assert_bounded(&mount);
    mount.unmount();
}

#[test]
fn a_mount_of_its_repository_does_not_fetch_it() {
    let specimen = specimen();
    let server = GitServer::start(specimen.repo.root()).expect("a server");
    let bonsai = bonsai();
    let mount = bonsai.mount(server.url("repo.git"), &[]);
    assert_eq!(
        std::fs::read(mount.path("small")).expect("read"),
        b"small\n"
    );
    // Compressed as it is, the blob is several times as large. It is the one sibling of what was read, so
    // it is asked for ahead, and refused at its first bytes; the server sends on until it hears of that.
    let status: serde_json::Value = serde_json::from_str(&mount.status()).expect("JSON");
    let bytes = status["origin"]["bytes"].as_u64().expect("a number");
    assert!(bytes < 1 << 20, "{bytes} bytes read");
    mount.unmount();
}

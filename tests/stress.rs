//! A hundred threads read a thousand files of a cold mount at the same time, in no order: every byte is
//! true, no object is asked for twice, and the mount ends cleanly.

use std::{fs, sync::Barrier, thread, time::Duration};

use bonsai_testkit::{Bonsai, Files, GitServer, Repo, process::within, server::assert_each_once};

const THREADS: usize = 100;
const FILES: usize = 1_000;
/// Files that each thread reads, besides those that are its own to read.
const READS: usize = 100;

/// Numbers in no order, the same for a seed each time.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) as usize % limit
    }
}

fn path(number: usize) -> String {
    format!("d{:02}/e{}/f{number:03}", number / 50, number % 3)
}

/// From an empty file to some that take several reads of the kernel.
fn content(number: usize) -> Vec<u8> {
    let len = match number % 100 {
        0 if number == 0 => 0,
        0 => 300_000,
        rest => rest * 97,
    };
    let mut random = Random(number as u64);
    let line = |_| format!("{number} {}\n", random.below(1 << 30));
    let mut content = (0..len / 8).map(line).collect::<String>().into_bytes();
    content.truncate(len);
    content
}

#[test]
fn a_hundred_threads_read_a_thousand_files_of_a_cold_mount() {
    let contents: Vec<Vec<u8>> = (0..FILES).map(content).collect();
    let mut files = Files::new();
    for (number, content) in contents.iter().enumerate() {
        files.add_file(path(number), content.clone());
    }
    let repo = Repo::new();
    repo.commit(&files);
    let server = GitServer::start(repo.root()).expect("a server");
    let bonsai = Bonsai::new(env!("CARGO_BIN_EXE_bonsai"));
    let mount = bonsai.mount(server.url("repo.git"), &[]);
    let all_at_once = Barrier::new(THREADS);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (mount, contents, all_at_once) = (&mount, &contents, &all_at_once);
            scope.spawn(move || {
                let mut random = Random(thread as u64);
                let mut numbers: Vec<usize> = (0..READS).map(|_| random.below(FILES)).collect();
                // So that each file is read by somebody.
                for number in (thread..FILES).step_by(THREADS) {
                    numbers.insert(random.below(numbers.len()), number);
                }
                all_at_once.wait();
                for number in numbers {
                    let path = path(number);
                    let read = fs::read(mount.path(&path));
                    let read = read.unwrap_or_else(|error| panic!("{path}: {error}"));
                    assert!(read == contents[number], "{path} has other bytes");
                }
            });
        }
    });

    let status = || -> serde_json::Value { serde_json::from_str(&mount.status()).expect("JSON") };
    assert!(status()["last_error"].is_null(), "{}", status());
    let log = server.log_of("fetch");
    // The commit, with which its trees come, and the files.
    assert_eq!(assert_each_once(&log), 1 + FILES);
    let all = repo.git(&["rev-list", "--objects", "--all"]);
    let all = String::from_utf8(all)
        .expect("ids and paths")
        .lines()
        .count();
    // An object can be read before the request that brought it has ended and is counted.
    let counted = || status()["origin"]["objects"] == all;
    assert!(within(Duration::from_secs(20), counted), "{}", status());
    mount.unmount();
    bonsai.assert_nothing_left();
}

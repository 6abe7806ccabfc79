//! Failures that pass are tried again and leave no trace in what is read; those that stay fail what
//! they concern and nothing else, and are never kept as an answer.

use std::{
    collections::BTreeSet,
    fs, io,
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use bonsai_testkit::{
    Bonsai, Fault, Files, GitServer, Order, Repo, When, assert_same, compare::committed,
    process::within, specimens,
};

fn bonsai() -> Bonsai {
    Bonsai::new(env!("CARGO_BIN_EXE_bonsai"))
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn errno(result: io::Result<Vec<u8>>) -> Option<i32> {
    result.expect_err("an error").raw_os_error()
}

/// What does not compress: `count` files of `size` bytes each in the folder `data`.
fn noise(count: usize, size: usize) -> Files {
    let mut files = Files::new();
    let mut state = 1_u64;
    for number in 0..count {
        let bytes: Vec<u8> = (0..size)
            .map(|_| {
                // Marsaglia's xorshift.
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.to_le_bytes()[3]
            })
            .collect();
        files.add_file(format!("data/file-{number:02}"), bytes);
    }
    files
}

/// Faults during the start that pass, by name.
fn passing_faults() -> Vec<(When, u64, Fault)> {
    let later = Fault::Status {
        code: 429,
        retry_after: Some(1),
    };
    vec![
        (When::Any, 2, Fault::status(503)),
        (When::Any, 1, later),
        (When::Any, 1, Fault::Close),
        (When::command("fetch"), 1, Fault::status(500)),
        (When::command("fetch"), 1, Fault::Cut { after: 0 }),
        (When::command("fetch"), 1, Fault::Cut { after: 100 }),
        (When::command("fetch"), 1, Fault::Cut { after: u64::MAX }),
        (When::command("fetch"), 1, Fault::CorruptPack { at: 100 }),
        (
            When::command("fetch"),
            1,
            Fault::CorruptPack { at: usize::MAX },
        ),
        (When::command("fetch"), 1, Fault::Stall { after: 100 }),
        (When::Any, 1, Fault::Stall { after: 10 }),
        (When::Any, 100, Fault::Dribble),
    ]
}

#[test]
fn failures_during_the_start_that_pass() {
    let specimen = specimens::plain();
    let expected = committed(&specimen.repo, &specimen.commit);
    for (when, times, fault) in passing_faults() {
        let server = GitServer::start(specimen.repo.root()).expect("a server");
        server.fault(when.clone(), times, fault.clone());
        let bonsai = bonsai();
        bonsai.set_git_config("[http]\n\tlowSpeedTime = 1\n");
        let mount = bonsai.mount(server.url("repo.git"), &[]);
        if fault != Fault::Dribble {
            assert_eq!(server.faults_left(), 0, "{when:?} {fault:?}");
        }
        server.heal();
        assert_same(&expected, mount.dir(), Order::Sorted);
        mount.unmount();
        bonsai.assert_nothing_left();
    }
}

#[test]
fn failures_of_a_read_that_pass() {
    let specimen = specimens::plain();
    let path = "src/deep/er/file.txt";
    let content = specimen
        .repo
        .git(&["cat-file", "blob", &format!("HEAD:{path}")]);
    for (when, times, fault) in passing_faults() {
        let server = GitServer::start(specimen.repo.root()).expect("a server");
        let bonsai = bonsai();
        bonsai.set_git_config("[http]\n\tlowSpeedTime = 1\n");
        let mount = bonsai.mount(server.url("repo.git"), &[]);
        server.fault(when.clone(), times, fault.clone());
        let read = fs::read(mount.path(path));
        assert!(read.is_ok_and(|read| read == content), "{when:?} {fault:?}");
        if fault != Fault::Dribble {
            assert_eq!(server.faults_left(), 0, "{when:?} {fault:?}");
        }
        mount.unmount();
    }
}

#[test]
fn retry_after_is_obeyed() {
    let specimen = specimens::plain();
    let server = GitServer::start(specimen.repo.root()).expect("a server");
    let bonsai = bonsai();
    let mount = bonsai.mount(server.url("repo.git"), &[]);
    let later = Fault::Status {
        code: 429,
        retry_after: Some(2),
    };
    server.fault(When::Any, 1, later);
    let start = Instant::now();
    fs::read(mount.path("bin.dat")).expect("read");
    assert!(start.elapsed() >= Duration::from_secs(2));
    mount.unmount();
}

#[test]
fn trying_again_is_bounded() {
    let specimen = specimens::plain();
    let server = GitServer::start(specimen.repo.root()).expect("a server");
    let bonsai = bonsai();
    let mount = bonsai.mount(server.url("repo.git"), &[]);
    server.reset();
    server.fault_for_ever(When::Any, Fault::status(503));
    assert_eq!(errno(fs::read(mount.path("bin.dat"))), Some(libc::EIO));
    let tries = server.totals().requests;
    assert!((2..=20).contains(&tries), "{tries} requests");
    let status = json(&mount.status());
    let message = status["last_error"]["message"].as_str();
    assert!(message.is_some_and(|text| text.contains("503")), "{status}");
    // The failure was no answer: it is asked again, and what is healed is read.
    server.heal();
    assert_eq!(
        fs::read(mount.path("bin.dat")).expect("read").len(),
        100_000
    );
    mount.unmount();
}

#[test]
fn a_failed_size_is_never_a_guess() {
    let specimen = specimens::plain();
    let server = GitServer::start(specimen.repo.root()).expect("a server");
    let bonsai = bonsai();
    let mount = bonsai.mount(server.url("repo.git"), &[]);
    server.fault_for_ever(When::Any, Fault::status(404));
    let error = fs::symlink_metadata(mount.path("bin.dat")).expect_err("no size");
    assert_ne!(
        error.raw_os_error(),
        Some(libc::ENOENT),
        "a failure is not an absence"
    );
    server.heal();
    let stat = fs::symlink_metadata(mount.path("bin.dat")).expect("stat");
    assert_eq!(stat.len(), 100_000);
    mount.unmount();
}

#[test]
fn what_the_login_may_not_read_is_not_permitted() {
    let specimen = specimens::plain();
    let server = GitServer::start(specimen.repo.root()).expect("a server");
    let bonsai = bonsai();
    let mount = bonsai.mount(server.url("repo.git"), &[]);
    server.fault_for_ever(When::Any, Fault::status(403));
    assert_eq!(errno(fs::read(mount.path("bin.dat"))), Some(libc::EACCES));
    mount.unmount();
}

#[test]
fn a_server_that_never_answers_times_out() {
    let specimen = specimens::plain();
    let server = GitServer::start(specimen.repo.root()).expect("a server");
    let bonsai = bonsai();
    bonsai.set_git_config("[http]\n\tlowSpeedTime = 1\n");
    let mount = bonsai.mount(server.url("repo.git"), &[]);
    fs::read(mount.path("README.md")).expect("read");
    server.pause();
    thread::scope(|scope| {
        let stuck = scope.spawn(|| fs::read(mount.path("bin.dat")));
        // What is here is read while the other waits.
        assert_eq!(fs::read(mount.path("README.md")).expect("read").len(), 18);
        let error = errno(stuck.join().expect("no panic"));
        assert_eq!(error, Some(libc::ETIMEDOUT));
    });
    server.resume();
    assert_eq!(
        fs::read(mount.path("bin.dat")).expect("read").len(),
        100_000
    );
    mount.unmount();
}

#[test]
fn an_object_that_the_origin_does_not_have_fails_alone() {
    let repo = Repo::new();
    let lost = "0123456789".repeat(4);
    let blobs: Vec<String> = (0..20).map(|n| repo.blob(&[n; 50])).collect();
    let names: Vec<Vec<u8>> = (0..20).map(|n| format!("f{n:02}").into_bytes()).collect();
    let mut entries: Vec<(&str, &str, &[u8])> = blobs
        .iter()
        .zip(&names)
        .map(|(blob, name)| ("100644", blob.as_str(), name.as_slice()))
        .collect();
    entries.push(("100644", &lost, b"lost"));
    let commit = repo.commit_of(&repo.tree(&entries));
    repo.point_main(&commit);
    let server = GitServer::start(repo.root()).expect("a server");
    for source in [repo.path().display().to_string(), server.url("repo.git")] {
        let bonsai = bonsai();
        let mount = bonsai.mount(&source, &[]);
        // All at once, so that the lost one shares requests with others.
        let start = Barrier::new(21);
        thread::scope(|scope| {
            let stuck = scope.spawn(|| {
                start.wait();
                fs::read(mount.path("lost"))
            });
            for n in 0..20_u8 {
                let (start, mount) = (&start, &mount);
                scope.spawn(move || {
                    start.wait();
                    let read = fs::read(mount.path(format!("f{n:02}"))).expect("read");
                    assert_eq!(read, [n; 50]);
                });
            }
            assert_eq!(errno(stuck.join().expect("no panic")), Some(libc::EIO));
        });
        let status = json(&mount.status());
        let message = status["last_error"]["message"].as_str().unwrap_or_default();
        assert!(message.contains(&lost), "{source}: {status}");
        // Listed all the same.
        assert_eq!(fs::read_dir(mount.dir()).expect("readdir").count(), 21);
        mount.unmount();
    }
}

/// A pack cut short is not fetched as a whole again: what came whole is kept.
#[test]
fn after_a_cut_only_what_is_missing_is_asked_for() {
    let repo = Repo::new();
    let commit = repo.commit(&noise(40, 4000));
    let expected = committed(&repo, &commit);
    let server = GitServer::start(repo.root()).expect("a server");
    let bonsai = bonsai();
    // Prefetches would share the work in a way that the order of events decides.
    let mount = bonsai.mount(server.url("repo.git"), &["--prefetch", "none"]);
    server.reset();
    // The first requests are held up, so that all other reads go together in a later one.
    server.pause();
    thread::scope(|scope| {
        for (path, data) in expected.files() {
            let path = mount.path(std::str::from_utf8(path).expect("plain names"));
            scope.spawn(move || assert_eq!(fs::read(path).expect("read"), data));
        }
        let waiting = || json(&mount.status())["origin"]["waiting"].as_u64();
        assert!(within(Duration::from_secs(20), || waiting() == Some(40)));
        // The next fetch of more than one object ends after more than a packet of its answer
        // (64 KiB at the most), and before its end.
        server.fault(When::WantsMany, 1, Fault::Cut { after: 90_000 });
        server.resume();
    });
    let log = server.log_of("fetch");
    let wants: Vec<BTreeSet<&str>> = log
        .iter()
        .map(|r| r.wants().into_iter().collect())
        .collect();
    let Some(cut) = log.iter().position(|r| r.bytes_out == 90_000) else {
        panic!("no request was cut: {wants:?}");
    };
    let again: BTreeSet<&str> = wants[cut + 1..].iter().flatten().copied().collect();
    let repeated = wants[cut].intersection(&again).count();
    assert!(repeated > 0, "nothing was missing: {wants:?}");
    assert!(
        repeated < wants[cut].len(),
        "everything was asked for again: {wants:?}"
    );
    mount.unmount();
}

#[test]
fn eight_readers_of_one_file_make_one_request() {
    let specimen = specimens::plain();
    let server = GitServer::start(specimen.repo.root()).expect("a server");
    let bonsai = bonsai();
    let mount = bonsai.mount(server.url("repo.git"), &[]);
    let blob = specimen.repo.oid("HEAD:bin.dat");
    let start = Barrier::new(8);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                start.wait();
                assert_eq!(
                    fs::read(mount.path("bin.dat")).expect("read").len(),
                    100_000
                );
            });
        }
    });
    let log = server.log_of("fetch");
    let asked = log
        .iter()
        .filter(|request| request.wants().contains(&blob.as_str()));
    assert_eq!(asked.count(), 1);
    mount.unmount();
}

#[test]
fn a_slow_read_holds_up_no_other() {
    let specimen = specimens::plain();
    let server = GitServer::start(specimen.repo.root()).expect("a server");
    let bonsai = bonsai();
    let mount = bonsai.mount(server.url("repo.git"), &[]);
    fs::read(mount.path("README.md")).expect("read");
    server.pause();
    thread::scope(|scope| {
        // More than there are threads to serve the kernel.
        let stuck: Vec<_> = (0..32)
            .map(|n| {
                let path = mount.path(format!("src/modules/m{n:02}.rs"));
                scope.spawn(move || fs::read(path).map(drop))
            })
            .collect();
        let asked = || server.totals().requests > 0 && !server.log_of("fetch").is_empty();
        assert!(within(Duration::from_secs(20), asked));
        for n in 0..100 {
            // Each name is a question that the kernel has not asked yet.
            let nothing = mount.path(format!("src/nothing-{n}"));
            fs::symlink_metadata(nothing).expect_err("not there");
            fs::read(mount.path("README.md")).expect("read");
        }
        // Not their own directory: there the kernel itself makes a listing wait for look-ups.
        let listed = fs::read_dir(mount.path("src/deep")).expect("readdir");
        assert_eq!(listed.count(), 1);
        assert!(
            stuck.iter().any(|reader| !reader.is_finished()),
            "they still wait"
        );
        server.resume();
        for reader in stuck {
            reader.join().expect("no panic").expect("read");
        }
    });
    mount.unmount();
}

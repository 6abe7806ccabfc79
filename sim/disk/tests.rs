//! The simulated disk is an oracle too: what it loses and what it keeps is tried here.

use std::collections::BTreeSet;

use super::*;

const DIR: &str = "/cache";

fn machine(seed: u64) -> (SimDisk, DiskHandle) {
    let disk = SimDisk::new(Rng::stream(seed, "disk"), 1 << 20);
    let process = DiskHandle(disk.process(Arc::default()));
    process.create_dir_all(Path::new(DIR)).expect("room");
    process.sync_dir(Path::new("/")).expect("no fault");
    (disk, process)
}

fn at(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}

fn put(process: &DiskHandle, name: &str, data: &[u8]) -> Arc<dyn DiskFile> {
    let file = process.create_new(&at(name)).expect("a new name");
    file.write_all_at(0, data).expect("room");
    file
}

#[test]
fn what_was_synced_survives_every_crash() {
    for seed in 0..50 {
        let (disk, process) = machine(seed);
        put(&process, "temp", b"whole").sync().expect("no fault");
        process.rename(&at("temp"), &at("final")).expect("no fault");
        process.sync_dir(Path::new(DIR)).expect("no fault");
        disk.power_off();
        disk.power_on();
        assert_eq!(process.read(&at("final")).expect("durable"), b"whole");
        assert!(process.open(&at("temp")).is_err());
    }
}

#[test]
fn what_was_not_synced_is_there_or_lost_or_torn() {
    let mut seen = BTreeSet::new();
    for seed in 0..200 {
        let (disk, process) = machine(seed);
        put(&process, "a", &[7; 2000]);
        let lost = disk.power_off();
        disk.power_on();
        let outcome = match process.read(&at("a")) {
            Err(_) => "lost",
            Ok(data) if data.is_empty() => "empty",
            Ok(data) if data == [7; 2000] => "whole",
            Ok(_) => "torn",
        };
        assert_eq!(lost, outcome != "whole", "seed {seed}: {outcome}");
        seen.insert(outcome);
    }
    assert_eq!(seen, BTreeSet::from(["empty", "lost", "torn", "whole"]));
}

#[test]
fn a_rename_without_a_directory_sync_may_or_may_not_have_happened() {
    let mut seen = BTreeSet::new();
    for seed in 0..200 {
        let (disk, process) = machine(seed);
        put(&process, "old", b"old").sync().expect("no fault");
        put(&process, "new", b"new").sync().expect("no fault");
        process.sync_dir(Path::new(DIR)).expect("no fault");
        process.rename(&at("new"), &at("old")).expect("no fault");
        disk.power_off();
        disk.power_on();
        let old = process.read(&at("old")).expect("one of both");
        assert_eq!(process.open(&at("new")).is_ok(), old == b"old");
        seen.insert(old);
    }
    assert_eq!(seen.len(), 2);
}

#[test]
fn a_handle_follows_its_file() {
    let (_, process) = machine(1);
    let file = put(&process, "a", b"one");
    process.rename(&at("a"), &at("b")).expect("no fault");
    file.write_all_at(0, b"two").expect("room");
    assert_eq!(process.read(&at("b")).expect("there"), b"two");
    process.remove_file(&at("b")).expect("there");
    let mut buf = [0; 3];
    assert_eq!(file.read_at(0, &mut buf).expect("still open"), 3);
    assert_eq!(&buf, b"two");
}

#[test]
fn a_full_disk_takes_what_fits_and_says_so() {
    let disk = SimDisk::new(Rng::stream(1, "disk"), 10);
    let process = DiskHandle(disk.process(Arc::default()));
    let file = process.create_new(Path::new("/a")).expect("room");
    let error = file
        .write_all_at(0, &[1; 20])
        .expect_err("10 bytes are all");
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!((disk.used(), file.len().expect("no fault")), (10, 10));
    process.remove_file(Path::new("/a")).expect("there");
    assert_eq!(disk.used(), 0);
}

#[test]
fn a_dead_process_changes_nothing() {
    let (disk, process) = machine(1);
    process.0.kill_after(1);
    let file = process.create_new(&at("a")).expect("the last act");
    assert!(file.write_all_at(0, b"x").is_err());
    let other = DiskHandle(disk.process(Arc::default()));
    assert_eq!(other.read(&at("a")).expect("it was made"), b"");
}

#[test]
fn power_may_go_in_the_middle() {
    let (disk, process) = machine(1);
    disk.power_off_after(1);
    let file = put_nothing(&process);
    assert!(file.sync().is_err());
    assert!(disk.is_off());
}

fn put_nothing(process: &DiskHandle) -> Arc<dyn DiskFile> {
    process.create_new(&at("a")).expect("the last act")
}

#[test]
fn rot_flips_a_bit_that_a_reader_sees() {
    let (disk, process) = machine(1);
    put(&process, "a", &[0; 100]);
    assert_eq!(disk.rot(1), [at("a")]);
    let data = process.read(&at("a")).expect("there");
    assert_eq!(data.iter().map(|byte| byte.count_ones()).sum::<u32>(), 1);
}

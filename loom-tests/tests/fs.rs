//! Models of `AsyncFs` and `Handles`: a look-up against a forget of the same name, a scan against a
//! change, cancelled look-ups, handles of both kinds.

use std::sync::Arc;

use bonsai_loom_tests::{Threads, block_on, explore, poll_once, thread};
use bonsaifs_core::fs::{
    AsyncFs, Attr, Config, Entry, FsResult, Ino, Kind, Listing, ListingBuilder, Provider, Take,
    Timestamp, Told, handles::Handles,
};
use bytes::Bytes;

/// A root (0) with the directory `d` (1), which has the file `f` (2), whose size must be asked for.
struct Two;

const DIR: Attr = Attr {
    kind: Kind::Dir,
    perm: 0o755,
    size: 0,
    mtime: Timestamp { secs: 0, nanos: 0 },
};

impl Provider for Two {
    type Node = u8;

    fn root(&self) -> (u8, Attr) {
        (0, DIR)
    }

    async fn list(&self, dir: &u8) -> FsResult<Listing<u8>> {
        let mut builder = ListingBuilder::with_capacity(1);
        let mtime = Timestamp::default();
        match dir {
            0 => builder.push(b"d", 1, Kind::Dir, 0o755, mtime, None),
            _ => builder.push(b"f", 2, Kind::File, 0o644, mtime, None),
        }
        Ok(builder.build().0)
    }

    async fn size(&self, _: &Arc<Listing<u8>>, _: usize) -> FsResult<u64> {
        Ok(7)
    }

    async fn read(&self, _: &u8, _: u64, _: u32) -> FsResult<Bytes> {
        Ok(Bytes::from_static(b"content"))
    }

    async fn readlink(&self, _: &u8) -> FsResult<Bytes> {
        Ok(Bytes::new())
    }
}

type Fs = Arc<AsyncFs<Two>>;

/// With listings at hand, so that the models are about what comes after.
fn warm() -> Fs {
    let fs = Arc::new(AsyncFs::new(Two, Config::default()));
    block_on(fs.scan(Ino::ROOT)).expect("it is there");
    fs
}

fn look_up(fs: &Fs, parent: Ino, name: &[u8]) -> Entry {
    match fs.try_lookup(parent, name) {
        Some(answer) => answer,
        None => block_on(fs.lookup(parent, name)),
    }
    .expect("it is there")
}

fn assert_empty(fs: &Fs) {
    assert_eq!(fs.stats().inodes, 1, "an inode was left over");
}

#[test]
fn a_lookup_against_the_last_forget() {
    explore(Threads::Two, &[], |_| {
        let fs = warm();
        let first = look_up(&fs, Ino::ROOT, b"d");
        let forgetter = {
            let fs = Arc::clone(&fs);
            thread::spawn(move || fs.forget(first.ino, 1))
        };
        let again = look_up(&fs, Ino::ROOT, b"d");
        assert_eq!(again.ino, first.ino, "the number changed");
        forgetter.join().expect("no panic");
        let attr = fs.try_getattr(again.ino).expect("a directory's is known");
        assert_eq!(attr.expect("it is counted"), DIR);
        fs.forget(again.ino, 1);
        assert_empty(&fs);
    });
}

/// `readdirplus` counts what it shows, and takes back what there is no room for, while others look
/// up and forget the same.
fn readdirplus_against_lookups(threads: Threads, others: usize) {
    explore(threads, &[], move |_| {
        let fs = warm();
        let scan = fs.try_scan(Ino::ROOT).expect("warm").expect("it is there");
        let handles: Vec<_> = (0..others)
            .map(|_| {
                let fs = Arc::clone(&fs);
                thread::spawn(move || {
                    let entry = look_up(&fs, Ino::ROOT, b"d");
                    fs.forget(entry.ino, 1);
                })
            })
            .collect();
        let mut shown = None;
        fs.readdirplus(&scan, 2, Told::All, &mut |item| {
            shown = Some(item.ino);
            Take::More
        });
        fs.readdirplus(&scan, 2, Told::All, &mut |_| Take::Full);
        let shown = shown.expect("there is one entry");
        let attr = fs.try_getattr(shown).expect("a directory's is known");
        assert_eq!(attr.expect("it is counted"), DIR);
        fs.forget(shown, 1);
        for handle in handles {
            handle.join().expect("no panic");
        }
        assert_empty(&fs);
    });
}

#[test]
fn with_two_readdirplus_against_a_lookup() {
    readdirplus_against_lookups(Threads::Two, 1);
}

#[test]
fn with_three_readdirplus_against_lookups() {
    readdirplus_against_lookups(Threads::Three, 2);
}

/// An open directory keeps its inode and its snapshot, through a forget and an invalidation.
#[test]
fn an_open_directory_against_forget_and_invalidate() {
    explore(Threads::Two, &[], |_| {
        let fs = warm();
        let dir = look_up(&fs, Ino::ROOT, b"d").ino;
        let scan = block_on(fs.scan(dir)).expect("it is there");
        let snapshot = Arc::clone(scan.listing());
        let handle = fs.open_dir(scan);
        let changer = {
            let fs = Arc::clone(&fs);
            thread::spawn(move || {
                fs.invalidate(&1);
                fs.forget(dir, 1);
            })
        };
        let scan = fs.dir_handle(handle).expect("it is open");
        let mut names = Vec::new();
        fs.readdir(&scan, 0, &mut |item| {
            names.push(item.name.to_vec());
            Take::More
        });
        assert_eq!(names, [&b"."[..], b"..", b"f"]);
        assert!(Arc::ptr_eq(scan.listing(), &snapshot));
        assert!(fs.try_getattr(dir).expect("known").is_ok(), "not held");
        changer.join().expect("no panic");
        fs.release_dir(handle);
        assert!(fs.dir_handle(handle).is_err());
        assert_empty(&fs);
    });
}

/// A look-up that is cancelled wherever it stands counts nothing, and the one that waited with it
/// gets its answer.
#[test]
fn a_cancelled_lookup_counts_nothing() {
    explore(Threads::TwoLong, &["cancelled", "answered"], |seen| {
        let fs = Arc::new(AsyncFs::new(Two, Config::default()));
        let other = {
            let fs = Arc::clone(&fs);
            thread::spawn(move || block_on(fs.lookup(Ino::ROOT, b"d")))
        };
        let polled = poll_once(&mut Box::pin(fs.lookup(Ino::ROOT, b"d")));
        match polled {
            std::task::Poll::Pending => seen.mark("cancelled"),
            std::task::Poll::Ready(answer) => {
                seen.mark("answered");
                fs.forget(answer.expect("it is there").ino, 1);
            }
        }
        let entry = other.join().expect("no panic").expect("it is there");
        fs.forget(entry.ino, 1);
        assert_empty(&fs);
    });
}

/// Two cold look-ups of a file with an unknown size, whose listing and size are asked for once.
#[test]
fn two_cold_lookups() {
    explore(Threads::TwoLong, &[], |_| {
        let fs = Arc::new(AsyncFs::new(Two, Config::default()));
        let dir = block_on(fs.lookup(Ino::ROOT, b"d")).expect("it is there");
        let other = {
            let fs = Arc::clone(&fs);
            thread::spawn(move || block_on(fs.lookup(dir.ino, b"f")))
        };
        let mine = block_on(fs.lookup(dir.ino, b"f")).expect("it is there");
        let theirs = other.join().expect("no panic").expect("it is there");
        assert_eq!((mine, mine.attr.size), (theirs, 7));
        fs.forget(mine.ino, 2);
        fs.forget(dir.ino, 1);
        assert_empty(&fs);
    });
}

#[test]
fn handles_are_unique_and_go_once() {
    explore(Threads::Three, &["theirs came first"], |seen| {
        let handles = Arc::new(Handles::new());
        let shared = handles.insert("shared");
        let others = ["left", "right"].map(|thing| {
            let handles = Arc::clone(&handles);
            thread::spawn(move || {
                let handle = handles.insert(thing);
                assert_eq!(handles.get(handle), Some(thing));
                (handle, handles.remove(shared).is_some())
            })
        });
        let mine = handles.insert("mine");
        let removed = handles.remove(shared).is_some();
        assert_eq!(handles.get(mine), Some("mine"));
        let others = others.map(|other| other.join().expect("no panic"));
        let all = [(mine, removed), others[0], others[1]];
        let times = all.iter().filter(|(_, removed)| *removed).count();
        assert_eq!(times, 1, "removed {times} times");
        assert!(all[0].0 != all[1].0 && all[1].0 != all[2].0 && all[0].0 != all[2].0);
        if !removed {
            seen.mark("theirs came first");
        }
        for (handle, _) in all {
            assert!(handles.remove(handle).is_some());
        }
        assert!(handles.is_empty());
    });
}

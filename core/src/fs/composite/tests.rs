use std::cell::Cell;

use super::*;
use crate::{
    fs::{AsyncFs, Config, Either, Entry, Ino, Take, Told},
    sync::{AtomicU32, Ordering},
    testing::Tasks,
};

const TIME: Timestamp = Timestamp { secs: 9, nanos: 0 };

/// A directory of files `0`, `1`, … whose sizes are not in the listing, but learnt all at once.
/// The node of its root is `None`, and a file's is its number, in every `Flat` alike.
#[derive(Debug)]
struct Flat {
    id: u8,
    files: u8,
    sized: AtomicU32,
    /// How often it heard that its entries are read.
    scanned: AtomicU32,
}

fn flat(id: u8) -> Flat {
    Flat {
        id,
        files: 3,
        sized: AtomicU32::new(0),
        scanned: AtomicU32::new(0),
    }
}

impl Provider for Flat {
    type Node = Option<u8>;

    fn root(&self) -> (Option<u8>, Attr) {
        let attr = Attr {
            kind: Kind::Dir,
            perm: 0o700 + u16::from(self.id),
            size: 0,
            mtime: Timestamp::default(),
        };
        (None, attr)
    }

    async fn list(&self, dir: &Option<u8>) -> FsResult<Listing<Option<u8>>> {
        assert_eq!(*dir, None);
        let mut listing = ListingBuilder::new();
        for file in 0..self.files {
            let name = file.to_string();
            let kind = if file == 2 { Kind::Symlink } else { Kind::File };
            listing.push(name.as_bytes(), Some(file), kind, 0o644, TIME, None);
        }
        Ok(listing.build().0.with_tag(7))
    }

    async fn size(&self, listing: &Arc<Listing<Option<u8>>>, index: usize) -> FsResult<u64> {
        self.sized.fetch_add(1, Ordering::SeqCst);
        for i in 0..listing.len() {
            listing.set_size(i, u64::from(self.id) * 100 + i as u64);
        }
        Ok(listing.size(index).expect("just set"))
    }

    fn will_scan(&self, first: &Option<u8>, tag: u64) {
        assert_eq!((*first, tag), (Some(0), 7));
        self.scanned.fetch_add(1, Ordering::SeqCst);
    }

    async fn read(&self, file: &Option<u8>, _: u64, _: u32) -> FsResult<Bytes> {
        Ok(vec![self.id, file.expect("a file")].into())
    }

    async fn readlink(&self, link: &Option<u8>) -> FsResult<Bytes> {
        self.read(link, 0, 2).await
    }

    fn label(&self, node: &Option<u8>) -> Option<String> {
        Some(format!("{} {node:?}", self.id))
    }

    fn xattrs(&self, _: &Option<u8>) -> Vec<(String, Vec<u8>)> {
        vec![("id".to_owned(), vec![self.id])]
    }

    fn statfs(&self) -> StatFs {
        StatFs {
            bytes: 10,
            files: 3,
            max_name: 300,
        }
    }
}

/// One file that is at hand at once.
struct Now;

impl Provider for Now {
    type Node = bool;

    fn root(&self) -> (bool, Attr) {
        let (_, attr) = flat(0).root();
        (true, attr)
    }

    fn try_list(&self, _: &bool) -> Option<FsResult<Listing<bool>>> {
        let mut listing = ListingBuilder::new();
        listing.push(b"now", false, Kind::File, 0o600, TIME, None);
        Some(Ok(listing.build().0))
    }

    async fn list(&self, dir: &bool) -> FsResult<Listing<bool>> {
        self.try_list(dir).expect("at hand")
    }

    fn try_size(&self, listing: &Arc<Listing<bool>>, index: usize) -> Option<FsResult<u64>> {
        let entry = listing.get(index);
        assert_eq!((entry.name, entry.node), (&b"now"[..], &false));
        Some(Ok(3))
    }

    fn try_read(&self, _: &bool, _: u64, _: u32) -> Option<FsResult<Bytes>> {
        Some(Ok(Bytes::from_static(b"now")))
    }

    async fn read(&self, _: &bool, _: u64, _: u32) -> FsResult<Bytes> {
        Ok(Bytes::from_static(b"now"))
    }

    async fn readlink(&self, _: &bool) -> FsResult<Bytes> {
        Err(FsErrorKind::Invalid.into())
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let output = Cell::new(None);
    let mut tasks = Tasks::default();
    tasks.spawn(async { output.set(Some(future.await)) });
    tasks.run();
    drop(tasks);
    output.into_inner().expect("has no reason to wait")
}

fn look_up<P: Provider>(fs: &AsyncFs<P>, path: &str) -> FsResult<Vec<Entry>> {
    let mut way: Vec<Entry> = Vec::new();
    for name in path.split('/') {
        let parent = way.last().map_or(Ino::ROOT, |entry| entry.ino);
        way.push(run(fs.lookup(parent, name.as_bytes()))?);
    }
    Ok(way)
}

fn names<P: Provider>(fs: &AsyncFs<P>, dir: Ino) -> Vec<String> {
    let scan = run(fs.scan(dir)).expect("a directory");
    let mut names = Vec::new();
    fs.readdir(&scan, 2, &mut |item| {
        names.push(String::from_utf8_lossy(item.name).into_owned());
        Take::More
    });
    names
}

fn composite(paths: &[&str]) -> Composite<Flat> {
    let mut builder = Composite::builder(TIME);
    for (path, id) in paths.iter().zip(1..) {
        builder.mount(path.as_bytes(), flat(id)).expect("free");
    }
    builder.build()
}

#[test]
fn providers_are_found_at_their_paths() {
    let fs = AsyncFs::new(
        composite(&["host/org/one", "/host//org/two/", "host/three", "four"]),
        Config::default(),
    );
    assert_eq!(names(&fs, Ino::ROOT), ["four", "host"]);
    let way = look_up(&fs, "host/org/two/1").expect("is there");
    assert_eq!(names(&fs, way[0].ino), ["org", "three"]);
    assert_eq!(names(&fs, way[1].ino), ["one", "two"]);
    assert_eq!((way[1].attr.perm, way[1].attr.mtime), (0o755, TIME));
    assert_eq!(
        way[2].attr.perm, 0o702,
        "a root's attributes are its provider's"
    );
    assert_eq!(run(fs.read(way[3].ino, 0, 9)).expect("a file"), [2, 1][..]);
    let link = look_up(&fs, "four/2").expect("is there")[1];
    assert_eq!(run(fs.readlink(link.ino)).expect("a link"), [4, 2][..]);
    assert_eq!(
        fs.xattrs(link.ino).expect("known"),
        [("id".to_owned(), vec![4])]
    );
    assert!(fs.xattrs(way[0].ino).expect("known").is_empty());
    assert_eq!(fs.label_of(link.ino).as_deref(), Some("4 Some(2)"));
    assert_eq!(fs.label_of(way[0].ino), None);
    let nope = look_up(&fs, "host/nope").expect_err("is not there");
    assert_eq!(nope.kind(), FsErrorKind::NotFound);
    assert_eq!(
        fs.statfs(),
        StatFs {
            bytes: 40,
            files: 15,
            max_name: 300
        }
    );
}

/// Equal nodes of two providers are two nodes.
#[test]
fn what_one_provider_holds_is_never_shown_for_another() {
    let fs = AsyncFs::new(composite(&["a", "b"]), Config::default());
    for (dir, id) in [("a", 1), ("b", 2)] {
        let way = look_up(&fs, &format!("{dir}/0")).expect("is there");
        assert_eq!(way[1].attr.size, id * 100);
        assert_eq!(run(fs.read(way[1].ino, 0, 9)).expect("a file")[0], id as u8);
    }
}

#[test]
fn sizes_learnt_for_neighbours_are_known_above() {
    let fs = AsyncFs::new(composite(&["a"]), Config::default());
    for (path, size) in [("a/0", 100), ("a/1", 101), ("a/2", 102)] {
        assert_eq!(look_up(&fs, path).expect("is there")[1].attr.size, size);
    }
    assert_eq!(fs.provider().providers()[0].sized.load(Ordering::SeqCst), 1);
}

/// Museum 30 and 32: one table, so nothing to pass on and nothing to keep in step.
#[test]
fn all_inodes_are_in_one_table_that_goes_back_to_the_root() {
    let fs = AsyncFs::new(composite(&["x/a", "x/b", "y"]), Config::default());
    let mut all = Vec::new();
    for path in ["x/a/0", "x/b/0", "y/0", "x/a/1"] {
        all.extend(look_up(&fs, path).expect("is there"));
    }
    let mut numbers: Vec<Ino> = all.iter().map(|entry| entry.ino).collect();
    numbers.sort();
    numbers.dedup();
    // x, x/a, x/a/0, x/a/1, x/b, x/b/0, y, y/0
    assert_eq!((numbers.len(), fs.stats().inodes), (8, 9));
    all.iter().for_each(|entry| fs.forget(entry.ino, 1));
    assert_eq!(fs.stats().inodes, 1);
    assert!(
        look_up(&fs, "y/0").is_ok(),
        "a provider's root can't be forgotten"
    );
}

#[test]
fn composition_is_at_virtual_directories_only() {
    let mut builder = Composite::builder(TIME);
    let mut mount = |path: &str| builder.mount(path.as_bytes(), flat(1)).map(|_| ());
    let occupied = |path: &str| Err(MountError::Occupied(path.into()));
    assert_eq!(mount("a/b"), Ok(()));
    assert_eq!(mount("a/b"), occupied("a/b"));
    assert_eq!(mount("a/b/c"), occupied("a/b"));
    assert_eq!(mount("a/b/c/d/e"), occupied("a/b"));
    assert_eq!(mount("a"), Err(MountError::NotEmpty(b"a".into())));
    for path in ["", "/", "//"] {
        assert_eq!(mount(path), Err(MountError::NoName));
    }
    for bad in [".", "..", "a\0b", &"x".repeat(256)] {
        let bad_name = Err(MountError::BadName(bad.into()));
        assert_eq!(mount(&format!("new/{bad}/x")), bad_name);
    }
    assert_eq!(mount(&"y".repeat(255)), Ok(()));
    let composite = builder.build();
    assert_eq!(composite.providers().len(), 2);
    let fs = AsyncFs::new(composite, Config::default());
    assert_eq!(
        names(&fs, Ino::ROOT),
        ["a".to_owned(), "y".repeat(255)],
        "a failed mount leaves nothing behind"
    );
}

#[test]
fn what_can_not_be_mounted_is_named() {
    let messages = [
        (
            MountError::NoName,
            "a provider needs a path of at least one name",
        ),
        (MountError::BadName(b"..".into()), r#"".." can't be a name"#),
        (
            MountError::Occupied(b"a/b".into()),
            r#"a provider is at "a/b" already"#,
        ),
        (
            MountError::NotEmpty(b"a".into()),
            r#"other providers are below "a""#,
        ),
    ];
    for (error, message) in messages {
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn an_empty_composite_is_an_empty_directory() {
    let fs = AsyncFs::new(composite(&[]), Config::default());
    assert!(names(&fs, Ino::ROOT).is_empty());
    let root = run(fs.getattr(Ino::ROOT)).expect("known");
    assert_eq!((root.perm, root.mtime), (0o755, TIME));
}

#[test]
fn virtual_directories_are_at_hand_at_once() {
    let fs = AsyncFs::new(composite(&["a/b"]), Config::default());
    let a = fs.try_lookup(Ino::ROOT, b"a").expect("now").expect("there");
    let b = fs.try_lookup(a.ino, b"b").expect("now").expect("there");
    assert!(
        fs.try_lookup(b.ino, b"0").is_none(),
        "its provider has to be asked"
    );
}

#[test]
fn providers_of_different_types_are_composed_through_either() {
    let mut builder = Composite::builder(TIME);
    builder.mount(b"flat", Either::Left(flat(7))).expect("free");
    builder.mount(b"now", Either::Right(Now)).expect("free");
    let fs = AsyncFs::new(builder.build(), Config::default());
    let now = fs
        .try_lookup(Ino::ROOT, b"now")
        .expect("now")
        .expect("there");
    let file = fs.try_lookup(now.ino, b"now").expect("now").expect("there");
    assert_eq!(
        (file.attr.size, file.attr.perm, file.attr.mtime),
        (3, 0o600, TIME)
    );
    assert_eq!(
        fs.try_read(file.ino, 0, 9).expect("now").expect("a file"),
        b"now"[..]
    );
    let way = look_up(&fs, "flat/1").expect("is there");
    assert_eq!(way[1].attr.size, 701);
    assert_eq!(run(fs.read(way[1].ino, 0, 9)).expect("a file"), [7, 1][..]);
    let link = look_up(&fs, "flat/2").expect("is there")[1].ino;
    assert!(
        fs.try_readlink(link).is_none(),
        "its provider has to be asked"
    );
    assert_eq!(run(fs.readlink(link)).expect("a link"), [7, 2][..]);
    assert_eq!(fs.xattrs(link).expect("known").len(), 1);
    assert_eq!(names(&fs, way[0].ino), ["0", "1", "2"]);
    assert_eq!(fs.statfs().bytes, 10);
}

/// Each beginning of a directory's entries is told once, to whoever has them and to nobody else.
#[test]
fn a_provider_hears_that_its_entries_are_read() {
    let mut builder = Composite::builder(TIME);
    for (name, provider) in [
        ("left", Either::Left(flat(1))),
        ("right", Either::Right(flat(2))),
    ] {
        builder.mount(name.as_bytes(), provider).expect("free");
    }
    let fs = AsyncFs::new(builder.build(), Config::default());
    let told = || -> Vec<u32> {
        let count = |provider: &Either<Flat, Flat>| match provider {
            Either::Left(flat) | Either::Right(flat) => flat.scanned.load(Ordering::SeqCst),
        };
        fs.provider().providers().iter().map(count).collect()
    };
    let read = |path: &str, offset| {
        let dir = run(fs.lookup(Ino::ROOT, path.as_bytes())).expect("there");
        let scan = run(fs.scan(dir.ino)).expect("a directory");
        fs.readdir(&scan, offset, &mut |_| Take::More);
        fs.readdirplus(&scan, offset, Told::All, &mut |_| Take::More);
    };
    read("left", 0);
    assert_eq!(told(), [2, 0]);
    read("right", 1);
    assert_eq!(told(), [2, 0], "that is no beginning");
    read("right", 0);
    assert_eq!(told(), [2, 2]);
    // The directory of both is nobody's.
    let scan = run(fs.scan(Ino::ROOT)).expect("a directory");
    fs.readdir(&scan, 0, &mut |_| Take::More);
    assert_eq!(told(), [2, 2]);
}

mod dirs;
mod model;
mod tree;

use std::{cell::Cell, future::Future};

use self::tree::{Call, How, ROOT, Tree, When, attr, content, entries};
use super::*;
use crate::testing::Tasks;

fn fs(when: When) -> AsyncFs<Tree> {
    AsyncFs::new(Tree::new(when), Config::default())
}

/// Runs what has no reason to wait.
fn run<T>(future: impl Future<Output = T>) -> T {
    let output = Cell::new(None);
    let mut tasks = Tasks::default();
    tasks.spawn(async { output.set(Some(future.await)) });
    tasks.run();
    drop(tasks);
    output.into_inner().expect("has no reason to wait")
}

fn look_up(fs: &AsyncFs<Tree>, path: &str) -> Entry {
    let mut at = None;
    for name in path.split('/') {
        let parent = at.map_or(Ino::ROOT, |entry: Entry| entry.ino);
        at = Some(run(fs.lookup(parent, name.as_bytes())).expect("is there"));
    }
    at.expect("a path has a name")
}

fn failed<T>(result: FsResult<T>) -> FsErrorKind {
    match result {
        Ok(_) => panic!("was to fail"),
        Err(error) => error.kind(),
    }
}

#[test]
fn a_path_is_looked_up_name_by_name() {
    let fs = fs(When::Soon);
    let z = look_up(&fs, "a/deep/z");
    assert_eq!((z.attr, z.generation), (attr(5, Kind::File), 0));
    assert_eq!(
        fs.path_of(z.ino),
        Some(vec![b"a".to_vec(), b"deep".to_vec(), b"z".to_vec()])
    );
    assert_eq!(fs.path_of(Ino::ROOT), Some(vec![]));
    let deep = look_up(&fs, "a/deep").ino;
    assert_eq!(fs.parent(z.ino).expect("known"), deep);
    assert_eq!(fs.stats().inodes, 4);
}

/// Museum 22 and 33: absence is known from the complete listing; the unknown is not the root.
#[test]
fn what_can_not_be_looked_up_says_why() {
    let fs = fs(When::Soon);
    let b = look_up(&fs, "b").ino;
    let look = |parent, name: &[u8]| failed(run(fs.lookup(parent, name)));
    for name in [&b"nope"[..], b".", b"..", b""] {
        assert_eq!(look(Ino::ROOT, name), FsErrorKind::NotFound);
    }
    assert_eq!(look(b, b"x"), FsErrorKind::NotADirectory);
    assert_eq!(look(Ino(999), b"x"), FsErrorKind::Stale);
    assert_eq!(failed(run(fs.getattr(Ino(999)))), FsErrorKind::Stale);
    assert_eq!(look(Ino::ROOT, &[b'x'; NAME_MAX]), FsErrorKind::NotFound);
    for long in [NAME_MAX + 1, 4096] {
        assert_eq!(look(Ino::ROOT, &vec![b'x'; long]), FsErrorKind::NameTooLong);
    }
    assert_eq!(fs.provider().asked(Call::List(ROOT)), 1);
    assert_eq!(fs.stats().inodes, 2, "what failed was not counted");
}

#[test]
fn what_was_invalidated_is_asked_for_again() {
    let fs = fs(When::Soon);
    look_up(&fs, "b");
    fs.invalidate(&ROOT);
    look_up(&fs, "b");
    assert_eq!(fs.provider().asked(Call::List(ROOT)), 2);
}

#[test]
fn a_try_half_answers_what_is_here_and_nothing_else() {
    let fs = fs(When::Later);
    assert!(fs.try_lookup(Ino::ROOT, b"b").is_none());
    assert!(fs.try_scan(Ino::ROOT).is_none());
    assert_eq!(fs.stats().misses, 2);
    fs.provider().set(When::Soon);
    let (b, link) = (look_up(&fs, "b"), look_up(&fs, "link"));
    fs.provider().set(When::Later);
    let again = fs
        .try_lookup(Ino::ROOT, b"b")
        .expect("here")
        .expect("there");
    assert_eq!(again, b);
    assert!(fs.try_lookup(Ino::ROOT, b"nope").expect("known").is_err());
    assert!(fs.try_getattr(b.ino).is_some() && fs.try_scan(Ino::ROOT).is_some());
    assert!(fs.try_read(b.ino, 0, 1).is_none());
    assert!(fs.try_readlink(link.ino).is_none());
    assert_eq!((fs.stats().hits, fs.stats().misses), (4, 4));
}

/// Museum 2: a hit is ready without any task.
#[test]
fn with_a_provider_that_has_all_at_hand_no_task_is_needed() {
    let fs = fs(When::Now);
    let a = fs.try_lookup(Ino::ROOT, b"a").expect("now").expect("there");
    let x = fs.try_lookup(a.ino, b"x").expect("now").expect("there");
    assert_eq!(x.attr, attr(5, Kind::File));
    let bytes = fs.try_read(x.ino, 3, 10).expect("now").expect("a file");
    assert_eq!(bytes, content(5)[3..13]);
    let link = fs
        .try_lookup(Ino::ROOT, b"link")
        .expect("now")
        .expect("there");
    let target = fs.try_readlink(link.ino).expect("now").expect("a link");
    assert_eq!(target, content(3));
    assert_eq!(fs.stats().misses, 0);
}

/// Museum 25: a size is the real one or not there.
#[test]
fn a_size_is_asked_for_once_and_known_from_then_on() {
    let fs = fs(When::Soon);
    let x = look_up(&fs, "a/x");
    // The same content at another path of the same listing, and in another listing.
    assert_eq!(look_up(&fs, "same/x").attr, x.attr);
    assert_eq!(fs.provider().asked(Call::Size(5)), 1);
    assert_eq!(run(fs.getattr(x.ino)).expect("known"), x.attr);
    assert_eq!(fs.provider().asked(Call::Size(5)), 1);
}

/// Museum 1 and 13: k callers who miss the same, one call each.
#[test]
fn callers_who_miss_together_make_one_call() {
    let fs = fs(When::Soon);
    let (b, link) = (look_up(&fs, "b").ino, look_up(&fs, "link").ino);
    fs.provider().set(When::Later);
    let ended = Cell::new(0);
    let mut tasks = Tasks::default();
    for _ in 0..10 {
        tasks.spawn(async {
            let a = fs.lookup(Ino::ROOT, b"a").await.expect("there");
            fs.lookup(a.ino, b"y").await.expect("there");
            assert_eq!(fs.read(b, 5, 5).await.expect("read"), content(2)[5..10]);
            assert_eq!(fs.readlink(link).await.expect("read"), content(3));
            ended.set(ended.get() + 1);
        });
    }
    loop {
        tasks.run();
        match fs.provider().open().len() {
            0 => break,
            n => assert_eq!(n, 1),
        }
        fs.provider().answer(0, How::Well);
    }
    assert_eq!(ended.get(), 10);
    for call in [
        Call::List(1),
        Call::Size(6),
        Call::Read(2, 5, 5),
        Call::Readlink(3),
    ] {
        assert_eq!(fs.provider().asked(call), 1, "{call:?}");
    }
}

#[test]
fn a_failure_goes_to_all_who_wait_and_is_asked_anew_later() {
    let fs = fs(When::Later);
    let errors = Cell::new(0);
    let mut tasks = Tasks::default();
    for _ in 0..5 {
        tasks.spawn(async {
            let error = failed(fs.lookup(Ino::ROOT, b"nope").await);
            assert_eq!(error, FsErrorKind::Io, "not: no such file");
            errors.set(errors.get() + 1);
        });
    }
    tasks.run();
    fs.provider().answer(0, How::Badly);
    tasks.run();
    assert_eq!(errors.get(), 5);
    fs.provider().set(When::Soon);
    let later = failed(run(fs.lookup(Ino::ROOT, b"nope")));
    assert_eq!(
        (later, fs.provider().asked(Call::List(ROOT))),
        (FsErrorKind::NotFound, 2)
    );
}

/// Museum 29: what is cancelled was not counted.
#[test]
fn a_cancelled_look_up_counts_nothing() {
    let fs = fs(When::Later);
    let mut tasks = Tasks::default();
    tasks.spawn(async { drop(fs.lookup(Ino::ROOT, b"b").await) });
    tasks.run();
    fs.provider().answer(0, How::Well);
    tasks.run();
    assert_eq!(fs.provider().open(), [Call::Size(2)]);
    tasks.cancel(0);
    assert_eq!(fs.stats().inodes, 1);
    assert_eq!(fs.provider().open(), []);
}

#[test]
fn files_directories_and_links_are_not_taken_for_each_other() {
    let fs = fs(When::Soon);
    let [a, b, link] = ["a", "b", "link"].map(|path| look_up(&fs, path).ino);
    assert_eq!(failed(run(fs.read(a, 0, 1))), FsErrorKind::IsADirectory);
    assert_eq!(failed(run(fs.read(link, 0, 1))), FsErrorKind::Invalid);
    assert_eq!(failed(run(fs.readlink(a))), FsErrorKind::Invalid);
    assert_eq!(failed(run(fs.readlink(b))), FsErrorKind::Invalid);
    assert_eq!(failed(run(fs.scan(b))), FsErrorKind::NotADirectory);
    assert_eq!(failed(fs.open_file(a)), FsErrorKind::IsADirectory);
    assert!(fs.try_read(a, 0, 1).expect("known").is_err());
    assert!(fs.try_readlink(b).expect("known").is_err());
    assert!(fs.try_scan(b).expect("known").is_err());
}

#[test]
fn reads_end_at_the_end_of_the_file() {
    let fs = fs(When::Soon);
    let b = look_up(&fs, "b").ino;
    assert_eq!(run(fs.read(b, 15, 100)).expect("a file"), content(2)[15..]);
    assert_eq!(run(fs.read(b, 20, 1)).expect("a file"), b""[..]);
}

/// Museum 21: a forget costs no call, nor does the look-up after it.
#[test]
fn a_forget_does_not_undo_what_is_known_of_the_directory() {
    let fs = fs(When::Soon);
    let b = look_up(&fs, "b");
    fs.forget(b.ino, 1);
    assert_eq!(look_up(&fs, "b"), b);
    assert_eq!(fs.provider().asked(Call::List(ROOT)), 1);
    assert_eq!(fs.provider().asked(Call::Size(2)), 1);
}

#[test]
fn a_path_is_resolved_without_counting_or_sizing() {
    let fs = fs(When::Soon);
    let resolve = |path: &[&str]| run(fs.resolve_path(path));
    let found = resolve(&["same", "deep", "z"]).expect("is there");
    assert_eq!((found.node, found.kind, found.attr), (5, Kind::File, None));
    let root = resolve(&[]).expect("is there");
    assert_eq!((root.node, root.attr), (ROOT, Some(attr(ROOT, Kind::Dir))));
    let link = resolve(&["link"]).expect("is there");
    assert_eq!(link.attr, Some(attr(3, Kind::Symlink)));
    assert_eq!(failed(resolve(&["a", "nope"])), FsErrorKind::NotFound);
    assert_eq!(failed(resolve(&["b", "x"])), FsErrorKind::NotADirectory);
    assert_eq!(failed(resolve(&["link", "x"])), FsErrorKind::NotADirectory);
    assert_eq!(fs.stats().inodes, 1);
    assert_eq!(fs.provider().asked(Call::Size(5)), 0);
}

#[test]
fn extended_attributes_are_the_nodes() {
    let fs = fs(When::Soon);
    let x = look_up(&fs, "a/x").ino;
    let xattrs = fs.xattrs(x).expect("known");
    assert_eq!(xattrs, [("user.node".to_owned(), b"5".to_vec())]);
    assert_eq!(failed(fs.xattrs(Ino(999))), FsErrorKind::Stale);
    assert_eq!(fs.statfs().max_name, 255);
}

#[test]
fn a_label_is_the_nodes() {
    let fs = fs(When::Soon);
    let x = look_up(&fs, "a/x").ino;
    assert_eq!(fs.label_of(x).as_deref(), Some("node 5"));
    fs.forget(x, 1);
    assert_eq!(fs.label_of(x), None);
}

#[test]
fn the_path_of_what_has_lost_its_parent_is_not_known() {
    let fs = fs(When::Soon);
    let x = look_up(&fs, "a/x").ino;
    let a = fs.parent(x).expect("known");
    fs.forget(a, 1);
    assert_eq!(fs.path_of(x), None);
    assert_eq!(failed(run(fs.lookup(a, b"y"))), FsErrorKind::Stale);
}

/// Gives too much.
struct Chatty;

impl Provider for Chatty {
    type Node = bool;

    fn root(&self) -> (bool, Attr) {
        (true, attr(ROOT, Kind::Dir))
    }

    async fn list(&self, _: &bool) -> FsResult<Listing<bool>> {
        let mut builder = crate::fs::ListingBuilder::new();
        builder.push(b"f", false, Kind::File, 0o644, tree::TIME, Some(1));
        Ok(builder.build().0)
    }

    async fn read(&self, _: &bool, _: u64, _: u32) -> FsResult<Bytes> {
        Ok(Bytes::from_static(b"much more than was asked for"))
    }

    fn try_read(&self, _: &bool, _: u64, _: u32) -> Option<FsResult<Bytes>> {
        Some(Ok(Bytes::from_static(b"much more than was asked for")))
    }

    async fn readlink(&self, _: &bool) -> FsResult<Bytes> {
        Err(FsErrorKind::Io.into())
    }
}

#[test]
fn no_more_is_read_than_was_asked_for() {
    let fs = AsyncFs::new(Chatty, Config::default());
    let f = run(fs.lookup(Ino::ROOT, b"f")).expect("there").ino;
    assert_eq!(run(fs.read(f, 0, 4)).expect("a file"), b"much"[..]);
    assert_eq!(
        fs.try_read(f, 0, 4).expect("now").expect("a file"),
        b"much"[..]
    );
}

#[test]
fn operations_can_be_moved_to_other_threads() {
    fn assert_send<T: Send>(_: T) {}
    let fs = fs(When::Soon);
    assert_send(fs.lookup(Ino::ROOT, b"a"));
    assert_send(fs.getattr(Ino::ROOT));
    assert_send(fs.read(Ino::ROOT, 0, 1));
    assert_send(fs.readlink(Ino::ROOT));
    assert_send(fs.scan(Ino::ROOT));
    assert_send(fs.resolve_path::<Vec<u8>>(&[]));
}

/// What a directory at a path holds is that of its node there, also after the path got another
/// node, while someone still holds the listing of the old one.
#[test]
fn a_directory_that_became_another_node_shows_that_nodes_listing() {
    let fs = fs(When::Soon);
    let before = look_up(&fs, "a").ino;
    let _held = run(fs.scan(before)).expect("a directory");
    // As if the tree had changed: "a" is the empty directory now.
    let mut changed = crate::fs::ListingBuilder::new();
    changed.push(b"a", 4, Kind::Dir, 0o755, tree::TIME, None);
    fs.dcache.replace(&ROOT, changed.build().0);
    assert_eq!(look_up(&fs, "a").ino, before);
    assert_eq!(failed(run(fs.lookup(before, b"x"))), FsErrorKind::NotFound);
    let now = run(fs.scan(before)).expect("a directory");
    assert!(now.listing().is_empty());
}

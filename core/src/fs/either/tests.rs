use std::cell::Cell;

use super::*;
use crate::{
    fs::{Composite, Kind, ListingBuilder, Timestamp},
    testing::Tasks,
};

/// Has everything at hand, and says in each answer who gave it. One file, `f`; its node is false.
#[derive(Debug)]
struct Told(u8);

impl Told {
    fn said(&self, what: &str) -> Bytes {
        format!("{what} of {}", self.0).into()
    }
}

impl Provider for Told {
    type Node = bool;

    fn root(&self) -> (bool, Attr) {
        let attr = Attr {
            kind: Kind::Dir,
            perm: u16::from(self.0),
            size: 0,
            mtime: Timestamp::default(),
        };
        (true, attr)
    }

    fn try_list(&self, _: &bool) -> Option<FsResult<Listing<bool>>> {
        let mut listing = ListingBuilder::new();
        let (time, perm) = (Timestamp::default(), u16::from(self.0));
        listing.push(b"f", false, Kind::Symlink, perm, time, None);
        Some(Ok(listing.build().0))
    }

    async fn list(&self, dir: &bool) -> FsResult<Listing<bool>> {
        self.try_list(dir).expect("at hand")
    }

    fn try_size(&self, _: &Arc<Listing<bool>>, _: usize) -> Option<FsResult<u64>> {
        Some(Ok(u64::from(self.0)))
    }

    async fn size(&self, listing: &Arc<Listing<bool>>, index: usize) -> FsResult<u64> {
        self.try_size(listing, index).expect("at hand")
    }

    fn try_read(&self, _: &bool, _: u64, _: u32) -> Option<FsResult<Bytes>> {
        Some(Ok(self.said("bytes")))
    }

    async fn read(&self, _: &bool, _: u64, _: u32) -> FsResult<Bytes> {
        Ok(self.said("bytes"))
    }

    fn try_readlink(&self, _: &bool) -> Option<FsResult<Bytes>> {
        Some(Ok(self.said("target")))
    }

    async fn readlink(&self, _: &bool) -> FsResult<Bytes> {
        Ok(self.said("target"))
    }

    fn statfs(&self) -> StatFs {
        StatFs {
            bytes: u64::from(self.0),
            ..StatFs::default()
        }
    }

    fn label(&self, _: &bool) -> Option<String> {
        Some(self.0.to_string())
    }

    fn xattrs(&self, _: &bool) -> Vec<(String, Vec<u8>)> {
        vec![("user.told".to_owned(), vec![self.0])]
    }
}

/// Has what a provider must have, and nothing else.
struct Bare;

impl Provider for Bare {
    type Node = ();

    fn root(&self) -> ((), Attr) {
        ((), Told(0).root().1)
    }

    async fn list(&self, (): &()) -> FsResult<Listing<()>> {
        Ok(ListingBuilder::new().build().0)
    }

    async fn read(&self, (): &(), _: u64, _: u32) -> FsResult<Bytes> {
        Ok(Bytes::new())
    }

    async fn readlink(&self, (): &()) -> FsResult<Bytes> {
        Ok(Bytes::new())
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

fn kind<T>(result: FsResult<T>) -> Option<FsErrorKind> {
    result.err().map(|error| error.kind())
}

/// Asks `provider` everything in both halves; each answer must be that of `Told(id)`.
fn is_told<P: Provider>(provider: &P, dir: &P::Node, id: u8) {
    let now = |answer: Option<FsResult<Bytes>>| answer.expect("at hand").expect("does not fail");
    let both = [
        provider.try_list(dir).expect("at hand"),
        run(provider.list(dir)),
    ];
    for listing in both {
        let listing = Arc::new(listing.expect("does not fail"));
        assert_eq!((listing.len(), listing.name(0)), (1, &b"f"[..]));
        let file = listing.node(0);
        let sizes = [
            provider.try_size(&listing, 0).expect("at hand"),
            run(provider.size(&listing, 0)),
        ];
        for size in sizes {
            assert_eq!(size.expect("does not fail"), u64::from(id));
        }
        let (bytes, target) = (Told(id).said("bytes"), Told(id).said("target"));
        assert_eq!(now(provider.try_read(file, 0, 9)), bytes);
        assert_eq!(run(provider.read(file, 0, 9)).expect("a file"), bytes);
        assert_eq!(now(provider.try_readlink(file)), target);
        assert_eq!(run(provider.readlink(file)).expect("a link"), target);
        let xattrs = [("user.told".to_owned(), vec![id])];
        assert_eq!(provider.xattrs(file), xattrs);
        assert_eq!(provider.label(file), Some(id.to_string()));
    }
    assert_eq!(provider.statfs().bytes, u64::from(id));
}

#[test]
fn each_of_the_two_is_asked_what_is_its_own() {
    let left: Either<Told, Told> = Either::Left(Told(1));
    let right: Either<Told, Told> = Either::Right(Told(2));
    for (provider, id) in [(left, 1), (right, 2)] {
        let (root, attr) = provider.root();
        assert_eq!(attr.perm, u16::from(id));
        is_told(&provider, &root, id);
    }
}

#[test]
fn through_a_composite_it_is_the_same() {
    let mut builder = Composite::builder(Timestamp::default());
    builder
        .mount(b"told", Either::<Told, Bare>::Left(Told(3)))
        .expect("free");
    let composite = builder.build();
    let (root, _) = composite.root();
    let listing = run(composite.list(&root)).expect("virtual");
    is_told(&composite, listing.node(0), 3);
}

#[test]
fn the_node_of_the_other_one_is_stale() {
    let provider: Either<Told, Told> = Either::Left(Told(1));
    let other: Either<Told, Told> = Either::Right(Told(2));
    let (node, _) = other.root();
    let stale = Some(FsErrorKind::Stale);
    assert_eq!(provider.try_list(&node).map(kind), Some(stale));
    assert_eq!(kind(run(provider.list(&node))), stale);
    assert_eq!(provider.try_read(&node, 0, 1).map(kind), Some(stale));
    assert_eq!(kind(run(provider.read(&node, 0, 1))), stale);
    assert_eq!(provider.try_readlink(&node).map(kind), Some(stale));
    assert_eq!(kind(run(provider.readlink(&node))), stale);
    let listing = Arc::new(run(other.list(&node)).expect("its own"));
    assert_eq!(provider.try_size(&listing, 0).map(kind), Some(stale));
    assert_eq!(kind(run(provider.size(&listing, 0))), stale);
    assert!(provider.xattrs(&node).is_empty());
    assert_eq!(provider.label(&node), None);
}

#[test]
fn what_a_provider_need_not_have_is_not_made_up() {
    let listing = Arc::new(run(Bare.list(&())).expect("does not fail"));
    assert!(Bare.try_list(&()).is_none() && Bare.try_size(&listing, 0).is_none());
    assert!(Bare.try_read(&(), 0, 1).is_none() && Bare.try_readlink(&()).is_none());
    assert_eq!(kind(run(Bare.size(&listing, 0))), Some(FsErrorKind::Io));
    assert!(Bare.xattrs(&()).is_empty());
    assert_eq!(Bare.label(&()), None);
    assert_eq!(Bare.statfs().max_name, 255);
}

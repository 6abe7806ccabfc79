//! Where objects come from: an [`Origin`] answers for one repository on one host or disk.
//!
//! May import: git, seams, bonsaifs-core; [`local`] also gix-odb. Origins fetch and report; they
//! cache nothing but what they know of their host, and retry nothing: their callers do, with
//! [`retry`].
//!
//! Always holds: an origin's bytes are not trusted; the sink verifies every object's id. An error
//! never carries a credential.

mod error;
pub mod http;
pub mod local;
pub mod retry;
#[cfg(test)]
mod testing;

use std::sync::Arc;

use bonsaifs_core::rt::BoxFuture;
use bytes::Bytes;

pub use error::{OriginError, Retry};

use crate::{
    git::{
        oid::{HashKind, ObjectKind, Oid},
        url::Source,
    },
    seams::Seams,
};
use http::{HostMemory, HttpOrigin};
use local::LocalOrigin;

/// What the user asked to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefWant {
    /// The remote's HEAD.
    Head,
    /// `--ref`: a branch, a tag, a full ref name, or a whole commit id.
    Named(String),
}

/// What a [`RefWant`] turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The full ref name (`refs/heads/main`), or `None` for a bare commit id or a detached HEAD.
    pub name: Option<String>,
    /// The object the ref points to: a commit, or an annotated tag of one.
    pub target: Oid,
    /// The commit behind an annotated tag, where the origin said so.
    pub peeled: Option<Oid>,
    /// The repository's object format.
    pub hash: HashKind,
}

/// Which objects to leave out of what the wanted ones reach (gitprotocol-v2, `filter`). An origin
/// that can't filter sends more; that is never an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Send everything reachable.
    None,
    /// No blobs but wanted ones (`blob:none`): a commit and all its trees.
    NoBlobs,
    /// Nothing but the wanted objects themselves (`tree:0`).
    OnlyWanted,
}

/// One request for objects. History is never followed: depth is always one.
#[derive(Clone, Debug)]
pub struct Fetch {
    /// The ids wanted; at least one.
    pub wants: Vec<Oid>,
    /// What to leave out.
    pub filter: Filter,
    /// A tree that is here with all trees below it: an origin that knows it may leave these out. One
    /// that doesn't sends more.
    pub have: Option<Oid>,
}

/// Takes what an origin sends, as it arrives. Called from async tasks: implementations do short
/// work only.
pub trait FetchSink: Send {
    /// The next bytes of a pack, in order. One fetch sends one pack at the most.
    fn pack_data(&mut self, data: Bytes) -> Result<(), OriginError>;
    /// A whole object, claimed to be `oid` and not verified yet.
    fn object(&mut self, oid: Oid, kind: ObjectKind, data: Bytes) -> Result<(), OriginError>;
    /// A large blob that the origin can hand out in pieces: its size, then
    /// [`FetchSink::large_data`] until it is complete. Not verified yet.
    fn large_start(&mut self, oid: Oid, size: u64) -> Result<(), OriginError>;
    /// The next piece of the blob begun by [`FetchSink::large_start`].
    fn large_data(&mut self, data: Bytes) -> Result<(), OriginError>;
    /// A line of progress from the server, as it came.
    fn progress(&mut self, line: &str);
}

/// What an origin has done so far, for `status`. Counted by the origin itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OriginCounters {
    /// Requests sent.
    pub requests: u64,
    /// Bytes of response bodies received.
    pub bytes: u64,
}

/// A source of the objects of one repository.
pub trait Origin: Send + Sync + 'static {
    /// The source as a person would write it, without credentials.
    fn describe(&self) -> String;

    /// True if objects are on a local disk already, so that keeping a copy would be a waste.
    fn is_local(&self) -> bool;

    /// Finds what `want` names.
    fn resolve<'a>(&'a self, want: &'a RefWant) -> BoxFuture<'a, Result<Resolved, OriginError>>;

    /// Streams the wanted objects, and what they reach within the filter, into `sink`. Ends with
    /// `Ok` when the origin said that it is through; whether every wanted object came is for the
    /// sink's owner to see. A local origin sends the root tree with a wanted commit and nothing
    /// else that is not wanted: it is asked object by object.
    fn fetch<'a>(
        &'a self,
        fetch: &'a Fetch,
        sink: &'a mut dyn FetchSink,
    ) -> BoxFuture<'a, Result<(), OriginError>>;

    /// The sizes of objects without their content (`object-info`), in the order asked; `None` in
    /// place of one the origin doesn't have. `Ok(None)` if this origin can't tell sizes alone.
    fn sizes<'a>(
        &'a self,
        oids: &'a [Oid],
    ) -> BoxFuture<'a, Result<Option<Vec<Option<u64>>>, OriginError>>;

    /// An object that is a few microseconds away: on a local disk and small enough. Not verified
    /// yet. `None` if this origin has to be asked by [`Origin::fetch`]; that an object is not
    /// there is an error, not `None`.
    fn try_object(&self, _oid: &Oid) -> Option<Result<(ObjectKind, Bytes), OriginError>> {
        None
    }

    /// An object's kind and size that are a few microseconds away, as [`Origin::try_object`].
    fn try_header(&self, _oid: &Oid) -> Option<Result<(ObjectKind, u64), OriginError>> {
        None
    }

    /// Requests and bytes so far.
    fn counters(&self) -> OriginCounters;
}

/// The origin that `source` names. A local repository is opened; of a host nothing is asked yet,
/// so that only [`Origin::resolve`] or [`Origin::fetch`] fail for what is wrong there. `memory` is
/// what is known of hosts, and learns.
///
/// # Errors
/// For a path: [`OriginError::NoSuchPath`], [`OriginError::NotARepository`],
/// [`OriginError::Disk`].
pub async fn open(
    source: &Source,
    seams: &Seams,
    memory: HostMemory,
) -> Result<Arc<dyn Origin>, OriginError> {
    Ok(match source {
        Source::Path(path) => Arc::new(LocalOrigin::open(path, seams).await?),
        Source::Http(url) => Arc::new(HttpOrigin::new(url.clone(), seams, memory).await),
    })
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::{testing::seams, *};
    use crate::git::url::parse_source;

    #[tokio::test]
    async fn a_source_opens_as_what_it_is() {
        let open = async |text: &str| {
            let source = parse_source(OsStr::new(text)).expect("a source");
            open(&source, &seams(), HostMemory::default()).await
        };
        let repo = bonsai_testkit::repo::Repo::new();
        let path = repo.path().canonicalize().expect("it is there");
        let local = open(path.to_str().expect("UTF-8"))
            .await
            .expect("a repository");
        assert!(local.is_local());
        assert_eq!(local.describe(), path.display().to_string());
        let error = open("/no/such/path").await.err().expect("no repository");
        assert!(matches!(error, OriginError::NoSuchPath { .. }), "{error:?}");
        let http = open("https://someone:hunter2@git.example/repo").await;
        let http = http.expect("nothing is asked yet");
        assert!(!http.is_local());
        assert_eq!(http.describe(), "https://git.example/repo");
    }
}

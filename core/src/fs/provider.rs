//! The seam to whoever knows the tree. May import: this room's values only.

use std::{fmt::Debug, future::Future, hash::Hash, sync::Arc};

use bytes::Bytes;

use super::{Attr, FsError, FsErrorKind, FsResult, Listing, StatFs};

/// A read-only tree of nodes. Implement it, hand it to [`super::AsyncFs`], and you have a
/// filesystem: inode numbers, lookup counts, caches and the joining of concurrent misses are
/// the core's work.
///
/// A *node* is your own key for a file, directory or symlink (a path, an object id, …). It never
/// becomes an inode number by itself. Two nodes that are equal must have equal content.
///
/// The `try_` methods answer from memory at once, on the calling thread, without blocking and
/// without allocation worth mentioning; `None` means "not here, ask the async half". That one
/// must find all there is: it is asked without its `try_` half before.
///
/// For any number of callers who miss the same thing at a time, one async call is made, and all
/// get what comes of it, a failure too. A future may be dropped at any await; then another
/// caller's takes over, from the beginning.
pub trait Provider: Send + Sync + 'static {
    /// The provider's own key for a place in its tree.
    type Node: Clone + Eq + Hash + Debug + Send + Sync + 'static;

    /// The root directory and its attributes.
    fn root(&self) -> (Self::Node, Attr);

    /// The listing of `dir` if it can be had without waiting.
    fn try_list(&self, dir: &Self::Node) -> Option<FsResult<Listing<Self::Node>>> {
        let _ = dir;
        None
    }

    /// The complete listing of `dir`. Not a part of it: names that are not in it don't exist.
    fn list(&self, dir: &Self::Node) -> impl Future<Output = FsResult<Listing<Self::Node>>> + Send;

    /// The size in bytes of entry `index` of `listing`, if it can be had without waiting. Only
    /// asked when the listing does not know it.
    fn try_size(&self, listing: &Arc<Listing<Self::Node>>, index: usize) -> Option<FsResult<u64>> {
        let _ = (listing, index);
        None
    }

    /// The size in bytes of entry `index` of `listing`. The whole listing is handed over so that
    /// a provider may learn its neighbours' sizes in the same breath ([`Listing::set_size`]).
    fn size(
        &self,
        listing: &Arc<Listing<Self::Node>>,
        index: usize,
    ) -> impl Future<Output = FsResult<u64>> + Send {
        let _ = (listing, index);
        async { Err(FsError::from(FsErrorKind::Io)) }
    }

    /// Up to `len` bytes of `file` from `offset`, if they can be had without waiting. Fewer only
    /// at the end of the file.
    fn try_read(&self, file: &Self::Node, offset: u64, len: u32) -> Option<FsResult<Bytes>> {
        let _ = (file, offset, len);
        None
    }

    /// Somebody is about to [`Provider::read`] `file`, which could not be had at once: entry `index` of a
    /// listing with this [`Listing::tag`]. For a provider that learns from what is read together.
    fn will_read(&self, file: &Self::Node, tag: u64, index: usize) {
        let _ = (file, tag, index);
    }

    /// Somebody begins to read the entries of a listing with this [`Listing::tag`], of which `first` is the first
    /// one. For a provider that learns from what is asked for together; of a listing without a tag, or without
    /// entries, nobody is told.
    fn will_scan(&self, first: &Self::Node, tag: u64) {
        let _ = (first, tag);
    }

    /// Up to `len` bytes of `file` from `offset`; fewer only at the end of the file, none past it.
    fn read(
        &self,
        file: &Self::Node,
        offset: u64,
        len: u32,
    ) -> impl Future<Output = FsResult<Bytes>> + Send;

    /// The target of a symlink if it can be had without waiting.
    fn try_readlink(&self, link: &Self::Node) -> Option<FsResult<Bytes>> {
        let _ = link;
        None
    }

    /// The target of a symlink, any bytes but NUL.
    fn readlink(&self, link: &Self::Node) -> impl Future<Output = FsResult<Bytes>> + Send;

    /// Space and counts, for `statfs`.
    fn statfs(&self) -> StatFs {
        StatFs {
            max_name: 255,
            ..StatFs::default()
        }
    }

    /// What `node` is in the provider's own words, as an object's id, for logs; from memory.
    fn label(&self, node: &Self::Node) -> Option<String> {
        let _ = node;
        None
    }

    /// The extended attributes of `node` as (name, value), from memory.
    fn xattrs(&self, node: &Self::Node) -> Vec<(String, Vec<u8>)> {
        let _ = node;
        Vec::new()
    }
}

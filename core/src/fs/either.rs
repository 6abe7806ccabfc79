//! Two kinds of providers as one. May import: this room's values.
//!
//! Always holds: like [`super::Composite`], it works on nodes and knows no inodes.

use bytes::Bytes;

use super::{Attr, FsError, FsErrorKind, FsResult, Listing, Provider, StatFs};
use crate::sync::Arc;

#[cfg(all(test, not(any(feature = "loom", feature = "shuttle"))))]
mod tests;

/// One of two: as a provider, one that is of either type; as a node, a node of that one. Nested,
/// it holds any number of types, as a [`super::Composite`] of several needs them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Either<A, B> {
    /// The first type.
    Left(A),
    /// The second type.
    Right(B),
}

type NodeOf<A, B> = Either<<A as Provider>::Node, <B as Provider>::Node>;

/// The node of another provider was handed in: no provider gave it out.
fn stranger<T>() -> FsResult<T> {
    Err(FsErrorKind::Stale.into())
}

impl<A: Provider, B: Provider> Provider for Either<A, B> {
    type Node = NodeOf<A, B>;

    fn root(&self) -> (Self::Node, Attr) {
        match self {
            Self::Left(provider) => {
                let (root, attr) = provider.root();
                (Either::Left(root), attr)
            }
            Self::Right(provider) => {
                let (root, attr) = provider.root();
                (Either::Right(root), attr)
            }
        }
    }

    fn try_list(&self, dir: &Self::Node) -> Option<FsResult<Listing<Self::Node>>> {
        match (self, dir) {
            (Self::Left(provider), Either::Left(dir)) => Some(left(provider.try_list(dir)?)),
            (Self::Right(provider), Either::Right(dir)) => Some(right(provider.try_list(dir)?)),
            _ => Some(stranger()),
        }
    }

    async fn list(&self, dir: &Self::Node) -> FsResult<Listing<Self::Node>> {
        match (self, dir) {
            (Self::Left(provider), Either::Left(dir)) => left(provider.list(dir).await),
            (Self::Right(provider), Either::Right(dir)) => right(provider.list(dir).await),
            _ => stranger(),
        }
    }

    fn try_size(&self, listing: &Arc<Listing<Self::Node>>, index: usize) -> Option<FsResult<u64>> {
        // Only this entry, as in a composite.
        match (self, listing.node(index)) {
            (Self::Left(provider), Either::Left(node)) => {
                provider.try_size(&Arc::new(listing.single(index, node.clone())), 0)
            }
            (Self::Right(provider), Either::Right(node)) => {
                provider.try_size(&Arc::new(listing.single(index, node.clone())), 0)
            }
            _ => Some(stranger()),
        }
    }

    async fn size(&self, listing: &Arc<Listing<Self::Node>>, index: usize) -> FsResult<u64> {
        let stale = || FsError::from(FsErrorKind::Stale);
        match self {
            Self::Left(provider) => {
                let inner = listing.try_map_nodes(|node| match node {
                    Either::Left(node) => Ok(node.clone()),
                    Either::Right(_) => Err(stale()),
                })?;
                provider.size(&Arc::new(inner), index).await
            }
            Self::Right(provider) => {
                let inner = listing.try_map_nodes(|node| match node {
                    Either::Right(node) => Ok(node.clone()),
                    Either::Left(_) => Err(stale()),
                })?;
                provider.size(&Arc::new(inner), index).await
            }
        }
    }

    fn try_read(&self, file: &Self::Node, offset: u64, len: u32) -> Option<FsResult<Bytes>> {
        match (self, file) {
            (Self::Left(provider), Either::Left(file)) => provider.try_read(file, offset, len),
            (Self::Right(provider), Either::Right(file)) => provider.try_read(file, offset, len),
            _ => Some(stranger()),
        }
    }

    fn will_read(&self, file: &Self::Node, tag: u64, index: usize) {
        match (self, file) {
            (Self::Left(provider), Either::Left(file)) => provider.will_read(file, tag, index),
            (Self::Right(provider), Either::Right(file)) => provider.will_read(file, tag, index),
            _ => {}
        }
    }

    fn will_scan(&self, first: &Self::Node, tag: u64) {
        match (self, first) {
            (Self::Left(provider), Either::Left(first)) => provider.will_scan(first, tag),
            (Self::Right(provider), Either::Right(first)) => provider.will_scan(first, tag),
            _ => {}
        }
    }

    async fn read(&self, file: &Self::Node, offset: u64, len: u32) -> FsResult<Bytes> {
        match (self, file) {
            (Self::Left(provider), Either::Left(file)) => provider.read(file, offset, len).await,
            (Self::Right(provider), Either::Right(file)) => provider.read(file, offset, len).await,
            _ => stranger(),
        }
    }

    fn try_readlink(&self, link: &Self::Node) -> Option<FsResult<Bytes>> {
        match (self, link) {
            (Self::Left(provider), Either::Left(link)) => provider.try_readlink(link),
            (Self::Right(provider), Either::Right(link)) => provider.try_readlink(link),
            _ => Some(stranger()),
        }
    }

    async fn readlink(&self, link: &Self::Node) -> FsResult<Bytes> {
        match (self, link) {
            (Self::Left(provider), Either::Left(link)) => provider.readlink(link).await,
            (Self::Right(provider), Either::Right(link)) => provider.readlink(link).await,
            _ => stranger(),
        }
    }

    fn statfs(&self) -> StatFs {
        match self {
            Self::Left(provider) => provider.statfs(),
            Self::Right(provider) => provider.statfs(),
        }
    }

    fn label(&self, node: &Self::Node) -> Option<String> {
        match (self, node) {
            (Self::Left(provider), Either::Left(node)) => provider.label(node),
            (Self::Right(provider), Either::Right(node)) => provider.label(node),
            _ => None,
        }
    }

    fn xattrs(&self, node: &Self::Node) -> Vec<(String, Vec<u8>)> {
        match (self, node) {
            (Self::Left(provider), Either::Left(node)) => provider.xattrs(node),
            (Self::Right(provider), Either::Right(node)) => provider.xattrs(node),
            _ => Vec::new(),
        }
    }
}

fn left<N: Clone, M>(listing: FsResult<Listing<N>>) -> FsResult<Listing<Either<N, M>>> {
    listing.map(|listing| listing.map_nodes(|node| Either::Left(node.clone())))
}

fn right<N, M: Clone>(listing: FsResult<Listing<M>>) -> FsResult<Listing<Either<N, M>>> {
    listing.map(|listing| listing.map_nodes(|node| Either::Right(node.clone())))
}

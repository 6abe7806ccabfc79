//! Many providers under one root. May import: this room's values.
//!
//! Always holds: composition is on nodes. There is one inode space, that of the [`super::AsyncFs`]
//! above; nothing here gives out numbers or counts look-ups. A provider's root is reached through
//! virtual directories only, never through another provider's tree.

#[cfg(all(test, not(any(feature = "loom", feature = "shuttle"))))]
mod tests;
mod virtual_dirs;

use std::fmt;

use bytes::Bytes;

use self::virtual_dirs::{Child, VirtualDir};
use super::{
    Attr, FsError, FsErrorKind, FsResult, Kind, Listing, ListingBuilder, Provider, StatFs,
    Timestamp,
};
use crate::sync::Arc;

/// Where a node of a [`Composite`] belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CompositeNode<N> {
    /// A virtual directory, by its place in the composite.
    Virtual(u32),
    /// A provider, by its place in the composite, and its own node.
    Inner(u32, N),
}

/// Providers of one type, each at a path. For several types, see [`super::Either`].
#[derive(Debug)]
pub struct Composite<P> {
    /// The directories above the providers; the first is the root.
    dirs: Vec<VirtualDir>,
    providers: Vec<P>,
    mtime: Timestamp,
}

/// Puts a [`Composite`] together.
#[derive(Debug)]
pub struct CompositeBuilder<P> {
    composite: Composite<P>,
}

/// Why a provider can't be at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountError {
    /// The path has no names in it.
    NoName,
    /// A part of the path is no name: `.`, `..`, with a NUL in it, or longer than 255 bytes.
    BadName(Vec<u8>),
    /// Another provider is at this path, or at one that leads to it. Compose where the
    /// directories are virtual.
    Occupied(Vec<u8>),
    /// Other providers are below this path.
    NotEmpty(Vec<u8>),
}

impl fmt::Display for MountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = |path: &Vec<u8>| String::from_utf8_lossy(path).into_owned();
        match self {
            Self::NoName => write!(f, "a provider needs a path of at least one name"),
            Self::BadName(name) => write!(f, "{:?} can't be a name", path(name)),
            Self::Occupied(at) => write!(f, "a provider is at {:?} already", path(at)),
            Self::NotEmpty(at) => write!(f, "other providers are below {:?}", path(at)),
        }
    }
}

impl std::error::Error for MountError {}

impl<P: Provider> CompositeBuilder<P> {
    /// Puts `provider` at `path`: names parted by `/` (several in a row, or at an end, count as
    /// one and as none). Virtual directories are made for all but the last.
    pub fn mount(&mut self, path: &[u8], provider: P) -> Result<&mut Self, MountError> {
        let number = u32::try_from(self.composite.providers.len())
            .expect("memory ends before 2^32 providers");
        virtual_dirs::insert(&mut self.composite.dirs, path, number)?;
        self.composite.providers.push(provider);
        Ok(self)
    }

    /// The composite as it stands.
    pub fn build(self) -> Composite<P> {
        self.composite
    }
}

impl<P: Provider> Composite<P> {
    /// Begins a composite whose virtual directories were changed at `mtime`.
    pub fn builder(mtime: Timestamp) -> CompositeBuilder<P> {
        CompositeBuilder {
            composite: Self {
                dirs: vec![VirtualDir::default()],
                providers: Vec::new(),
                mtime,
            },
        }
    }

    /// The providers, in the order they were mounted.
    pub fn providers(&self) -> &[P] {
        &self.providers
    }

    fn provider(&self, number: u32) -> &P {
        &self.providers[number as usize]
    }

    fn dir_attr(&self) -> Attr {
        Attr {
            kind: Kind::Dir,
            perm: 0o755,
            size: 0,
            mtime: self.mtime,
        }
    }

    fn list_virtual(&self, dir: u32) -> Listing<CompositeNode<P::Node>> {
        let children = &self.dirs[dir as usize].children;
        let mut listing = ListingBuilder::with_capacity(children.len());
        for (name, child) in children {
            let (node, attr) = match child {
                Child::Dir(dir) => (CompositeNode::Virtual(*dir), self.dir_attr()),
                Child::Provider(number) => {
                    let (root, attr) = self.provider(*number).root();
                    (CompositeNode::Inner(*number, root), attr)
                }
            };
            listing.push(name, node, Kind::Dir, attr.perm, attr.mtime, None);
        }
        let (listing, rejected) = listing.build();
        debug_assert!(rejected.is_empty(), "names are checked when mounted");
        listing
    }

    /// What only files and links are asked for, asked of a virtual directory.
    fn is_dir<T>() -> FsResult<T> {
        Err(FsErrorKind::IsADirectory.into())
    }
}

type Listed<P> = FsResult<Listing<CompositeNode<<P as Provider>::Node>>>;

/// A provider's listing with the composite's nodes; all else is shared.
fn outer<N: Clone>(
    number: u32,
    listing: FsResult<Listing<N>>,
) -> FsResult<Listing<CompositeNode<N>>> {
    listing.map(|listing| listing.map_nodes(|node| CompositeNode::Inner(number, node.clone())))
}

impl<P: Provider> Provider for Composite<P> {
    type Node = CompositeNode<P::Node>;

    fn root(&self) -> (Self::Node, Attr) {
        (CompositeNode::Virtual(0), self.dir_attr())
    }

    fn try_list(&self, dir: &Self::Node) -> Option<Listed<P>> {
        match dir {
            CompositeNode::Virtual(dir) => Some(Ok(self.list_virtual(*dir))),
            CompositeNode::Inner(number, node) => {
                let listing = self.provider(*number).try_list(node)?;
                Some(outer(*number, listing))
            }
        }
    }

    async fn list(&self, dir: &Self::Node) -> Listed<P> {
        match dir {
            CompositeNode::Virtual(dir) => Ok(self.list_virtual(*dir)),
            CompositeNode::Inner(number, node) => {
                outer(*number, self.provider(*number).list(node).await)
            }
        }
    }

    fn try_size(&self, listing: &Arc<Listing<Self::Node>>, index: usize) -> Option<FsResult<u64>> {
        match listing.node(index) {
            CompositeNode::Virtual(_) => Some(Ok(0)),
            CompositeNode::Inner(number, node) => {
                // Only this entry: a copy of the whole listing for each of its sizes is too much
                // for a half that has to be quick.
                let single = Arc::new(listing.single(index, node.clone()));
                self.provider(*number).try_size(&single, 0)
            }
        }
    }

    async fn size(&self, listing: &Arc<Listing<Self::Node>>, index: usize) -> FsResult<u64> {
        let CompositeNode::Inner(number, _) = listing.node(index) else {
            return Ok(0);
        };
        let inner = inner_listing(listing)?;
        self.provider(*number).size(&Arc::new(inner), index).await
    }

    fn try_read(&self, file: &Self::Node, offset: u64, len: u32) -> Option<FsResult<Bytes>> {
        match file {
            CompositeNode::Virtual(_) => Some(Self::is_dir()),
            CompositeNode::Inner(number, node) => {
                self.provider(*number).try_read(node, offset, len)
            }
        }
    }

    fn will_read(&self, file: &Self::Node, tag: u64, index: usize) {
        if let CompositeNode::Inner(number, node) = file {
            self.provider(*number).will_read(node, tag, index);
        }
    }

    fn will_scan(&self, first: &Self::Node, tag: u64) {
        if let CompositeNode::Inner(number, node) = first {
            self.provider(*number).will_scan(node, tag);
        }
    }

    async fn read(&self, file: &Self::Node, offset: u64, len: u32) -> FsResult<Bytes> {
        match file {
            CompositeNode::Virtual(_) => Self::is_dir(),
            CompositeNode::Inner(number, node) => {
                self.provider(*number).read(node, offset, len).await
            }
        }
    }

    fn try_readlink(&self, link: &Self::Node) -> Option<FsResult<Bytes>> {
        match link {
            CompositeNode::Virtual(_) => Some(Self::is_dir()),
            CompositeNode::Inner(number, node) => self.provider(*number).try_readlink(node),
        }
    }

    async fn readlink(&self, link: &Self::Node) -> FsResult<Bytes> {
        match link {
            CompositeNode::Virtual(_) => Self::is_dir(),
            CompositeNode::Inner(number, node) => self.provider(*number).readlink(node).await,
        }
    }

    /// The sums of what the providers say, and the virtual directories.
    fn statfs(&self) -> StatFs {
        let mut sum = StatFs {
            bytes: 0,
            files: self.dirs.len() as u64,
            max_name: 255,
        };
        for each in self.providers.iter().map(Provider::statfs) {
            sum.bytes = sum.bytes.saturating_add(each.bytes);
            sum.files = sum.files.saturating_add(each.files);
            sum.max_name = sum.max_name.max(each.max_name);
        }
        sum
    }

    fn label(&self, node: &Self::Node) -> Option<String> {
        match node {
            CompositeNode::Virtual(_) => None,
            CompositeNode::Inner(number, node) => self.provider(*number).label(node),
        }
    }

    fn xattrs(&self, node: &Self::Node) -> Vec<(String, Vec<u8>)> {
        match node {
            CompositeNode::Virtual(_) => Vec::new(),
            CompositeNode::Inner(number, node) => self.provider(*number).xattrs(node),
        }
    }
}

/// A listing of one provider with that provider's nodes again; sizes stay shared, so what it
/// learns of neighbours is not lost.
fn inner_listing<N: Clone>(listing: &Listing<CompositeNode<N>>) -> FsResult<Listing<N>> {
    listing.try_map_nodes(|node| match node {
        CompositeNode::Inner(_, node) => Ok(node.clone()),
        // A virtual directory's listing, whose sizes are all known: nobody asks.
        CompositeNode::Virtual(_) => Err(FsError::from(FsErrorKind::IsADirectory)),
    })
}

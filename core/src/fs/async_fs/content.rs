//! What is in files and symlinks, and what else is known of them.

use bytes::Bytes;

use super::AsyncFs;
use crate::fs::{FsErrorKind, FsResult, Ino, Kind, Provider, StatFs, inodes::InodeRef};

impl<P: Provider> AsyncFs<P> {
    /// The target of symlink `ino`, if it can be had without waiting; see [`AsyncFs::readlink`].
    pub fn try_readlink(&self, ino: Ino) -> Option<FsResult<Bytes>> {
        let answer = match self.known_link(ino) {
            Ok(known) => self.provider.try_readlink(known.node()),
            Err(error) => Some(Err(error)),
        };
        self.tallied(ino, answer)
    }

    /// The target of symlink `ino`.
    ///
    /// # Errors
    /// `Invalid` for anything but a symlink (POSIX, `readlink`), `Stale` if `ino` is not known,
    /// and what the provider fails with.
    pub async fn readlink(&self, ino: Ino) -> FsResult<Bytes> {
        let known = self.known_link(ino)?;
        let node = known.node();
        let work = || self.provider.readlink(node);
        self.links.run(node, work).await
    }

    /// Up to `len` bytes of file `ino` from `offset`, if they can be had without waiting; see
    /// [`AsyncFs::read`].
    pub fn try_read(&self, ino: Ino, offset: u64, len: u32) -> Option<FsResult<Bytes>> {
        let answer = match self.known_file(ino) {
            Ok(known) => self.provider.try_read(known.node(), offset, len),
            Err(error) => Some(Err(error)),
        };
        self.tallied(ino, answer.map(|read| read.map(|bytes| cut(bytes, len))))
    }

    /// Up to `len` bytes of file `ino` from `offset`; fewer only at its end, none past it.
    ///
    /// # Errors
    /// `IsADirectory` for a directory, `Invalid` for a symlink, `Stale` if `ino` is not known, and
    /// what the provider fails with.
    pub async fn read(&self, ino: Ino, offset: u64, len: u32) -> FsResult<Bytes> {
        let known = self.known_file(ino)?;
        let node = known.node();
        self.provider
            .will_read(node, known.listing.tag(), known.index);
        let work = || self.provider.read(node, offset, len);
        let read = self.reads.run(&(node.clone(), offset, len), work).await;
        read.map(|bytes| cut(bytes, len))
    }

    /// The extended attributes of `ino` as (name, value).
    ///
    /// # Errors
    /// `Stale` if `ino` is not known.
    pub fn xattrs(&self, ino: Ino) -> FsResult<Vec<(String, Vec<u8>)>> {
        Ok(self.provider.xattrs(self.known(ino)?.node()))
    }

    /// Space and counts.
    pub fn statfs(&self) -> StatFs {
        self.provider.statfs()
    }

    pub(super) fn known_file(&self, ino: Ino) -> FsResult<InodeRef<P::Node>> {
        let known = self.known(ino)?;
        match known.kind() {
            Kind::File => Ok(known),
            Kind::Dir => Err(FsErrorKind::IsADirectory.into()),
            Kind::Symlink => Err(FsErrorKind::Invalid.into()),
        }
    }

    fn known_link(&self, ino: Ino) -> FsResult<InodeRef<P::Node>> {
        let known = self.known(ino)?;
        match known.kind() {
            Kind::Symlink => Ok(known),
            Kind::Dir | Kind::File => Err(FsErrorKind::Invalid.into()),
        }
    }
}

/// No more than was asked for, whatever the provider gave: the kernel fails a longer reply.
fn cut(mut bytes: Bytes, len: u32) -> Bytes {
    bytes.truncate(len as usize);
    bytes
}

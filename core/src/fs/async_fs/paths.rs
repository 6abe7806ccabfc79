//! From inodes to paths and from paths to nodes, for logs and for `info`.

use super::AsyncFs;
use crate::fs::{Found, FsErrorKind, FsResult, Idle, Ino, Kind, Provider};

impl<P: Provider> AsyncFs<P> {
    /// The directory that `ino` is in; the root is in itself.
    ///
    /// # Errors
    /// `Stale` if `ino` is not known.
    pub fn parent(&self, ino: Ino) -> FsResult<Ino> {
        let parent = self.inodes.with(ino, |parent, _, _| parent);
        parent.ok_or(FsErrorKind::Stale.into())
    }

    /// The names that lead from the root to `ino`; none for the root. `None` if `ino`, or a
    /// directory on the way, is not known.
    pub fn path_of(&self, ino: Ino) -> Option<Vec<Vec<u8>>> {
        let mut names = Vec::new();
        let mut at = ino;
        while at != Ino::ROOT {
            // A known path is as long as there are directories known on it: no longer one is
            // walked, whatever a caller did to the counts.
            if names.len() > self.inodes.len() {
                return None;
            }
            let known = self.inodes.get(at)?;
            names.push(known.name().to_vec());
            at = known.parent;
        }
        names.reverse();
        Some(names)
    }

    /// Bytes of listings that are in memory for the sake of inodes alone. See
    /// [`Inodes::pinned_bytes`](crate::fs::inodes::Inodes::pinned_bytes).
    pub fn pinned_bytes(&self) -> usize {
        self.inodes.pinned_bytes()
    }

    /// Inodes that nobody has open: the kernel may be asked to forget them. See
    /// [`Inodes::idle`](crate::fs::inodes::Inodes::idle).
    pub fn idle(&self) -> Idle {
        self.inodes.idle()
    }

    /// What `ino` is in the provider's own words ([`Provider::label`]); `None` if it has none, or
    /// `ino` is not known.
    pub fn label_of(&self, ino: Ino) -> Option<String> {
        self.provider.label(self.inodes.get(ino)?.node())
    }

    /// What is at `path`, given as names from the root on. Nothing is counted, and no size is
    /// asked for. The last name may be a symlink; none is followed.
    ///
    /// # Errors
    /// `NotFound`, `NotADirectory` for a name below something else, and what the provider fails
    /// with.
    pub async fn resolve_path<S: AsRef<[u8]> + Sync>(
        &self,
        path: &[S],
    ) -> FsResult<Found<P::Node>> {
        let root = self.known(Ino::ROOT)?;
        let mut found = Found {
            node: root.node().clone(),
            kind: Kind::Dir,
            attr: root.attr(),
        };
        for name in path {
            if found.kind != Kind::Dir {
                return Err(FsErrorKind::NotADirectory.into());
            }
            let listing = self.listing_of(&found.node).await?;
            let index = listing.find(name.as_ref()).ok_or(FsErrorKind::NotFound)?;
            let entry = listing.get(index);
            found = Found {
                node: entry.node.clone(),
                kind: entry.kind,
                attr: entry.attr,
            };
        }
        Ok(found)
    }
}

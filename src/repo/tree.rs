//! From a Git tree object to a listing, without the entries that no honest tree has.
//!
//! May import: git, bonsaifs-core.

use bonsaifs_core::fs::{Kind, Listing, ListingBuilder, Timestamp};

use super::provider::Node;
use crate::git::{
    malformed::ObjectError,
    oid::{HashKind, ObjectKind, Oid},
    tree::{self, EntryMode},
};

/// A listing, and what was left out of it.
pub(super) struct Listed {
    pub listing: Listing<Node>,
    /// Each as "name: reason".
    pub rejected: Vec<String>,
}

/// The inode kind and permission bits of an entry: what a checkout makes of it.
pub(super) fn kind_and_perm(mode: EntryMode) -> (Kind, u16) {
    match mode {
        // A submodule's commit lives elsewhere; a checkout without submodules has a folder there.
        EntryMode::Dir | EntryMode::Gitlink => (Kind::Dir, 0o755),
        EntryMode::File => (Kind::File, 0o644),
        EntryMode::Executable => (Kind::File, 0o755),
        EntryMode::Symlink => (Kind::Symlink, 0o777),
    }
}

/// Whether an object of `kind` can stand behind an entry with `mode`.
fn fits(mode: EntryMode, kind: ObjectKind) -> bool {
    match mode {
        EntryMode::Dir => kind == ObjectKind::Tree,
        EntryMode::File | EntryMode::Executable | EntryMode::Symlink => kind == ObjectKind::Blob,
        EntryMode::Gitlink => true,
    }
}

/// Makes a listing of the tree object `data`. `header` tells an object's kind and size where they
/// are known without a request, `stamp` the stamp and the time of an entry.
pub(super) fn list(
    data: &[u8],
    hash: HashKind,
    stamp: impl Fn(&[u8]) -> (u32, Timestamp),
    header: impl Fn(&Oid) -> Option<(ObjectKind, u64)>,
) -> Result<Listed, ObjectError> {
    let parsed = tree::parse(data, hash)?;
    let mut rejected: Vec<String> = parsed
        .rejected
        .iter()
        .map(|entry| {
            format!(
                "{}: it {}",
                entry.name.escape_ascii(),
                entry.reason.as_str()
            )
        })
        .collect();
    let mut builder = ListingBuilder::with_capacity(parsed.entries.len());
    for entry in &parsed.entries {
        let (kind, perm) = kind_and_perm(entry.mode);
        let header = match entry.mode {
            EntryMode::Gitlink => None,
            _ => header(&entry.oid),
        };
        if let Some((object, _)) = header
            && !fits(entry.mode, object)
        {
            rejected.push(format!(
                "{}: its mode says otherwise than its object, a {object}",
                entry.name.escape_ascii()
            ));
            continue;
        }
        let size = match kind {
            Kind::Dir => Some(0),
            Kind::File | Kind::Symlink => header.map(|(_, size)| size),
        };
        let (stamp, mtime) = stamp(entry.name);
        let node = Node {
            oid: entry.oid,
            mode: entry.mode,
            stamp,
        };
        builder.push(entry.name, node, kind, perm, mtime, size);
    }
    let (listing, bad) = builder.build();
    rejected.extend(bad.iter().map(|bad| format!("{bad:?}")));
    Ok(Listed { listing, rejected })
}

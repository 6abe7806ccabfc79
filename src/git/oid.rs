//! Object ids and kinds. May import: gix-hash.

use std::fmt;

pub use gix_hash::{Kind as HashKind, ObjectId as Oid};

/// The four kinds of Git object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ObjectKind {
    /// A commit.
    Commit,
    /// A tree, which is a directory.
    Tree,
    /// A blob: the content of a file or the target of a symlink.
    Blob,
    /// An annotated tag.
    Tag,
}

impl ObjectKind {
    /// The word that stands in an object's header.
    pub fn as_str(self) -> &'static str {
        match self {
            ObjectKind::Commit => "commit",
            ObjectKind::Tree => "tree",
            ObjectKind::Blob => "blob",
            ObjectKind::Tag => "tag",
        }
    }

    /// The kind named by an object header's word, if it is one of the four.
    pub fn from_word(word: &[u8]) -> Option<Self> {
        Some(match word {
            b"commit" => ObjectKind::Commit,
            b"tree" => ObjectKind::Tree,
            b"blob" => ObjectKind::Blob,
            b"tag" => ObjectKind::Tag,
            _ => return None,
        })
    }
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Hashes an object as it comes: its header first, then its content in any pieces.
#[derive(Clone)]
pub struct ObjectHasher(gix_hash::Hasher);

impl ObjectHasher {
    /// Starts an object of `kind` with `size` bytes of content.
    pub fn new(hash: HashKind, kind: ObjectKind, size: u64) -> Self {
        let mut hasher = gix_hash::hasher(hash);
        hasher.update(format!("{kind} {size}\0").as_bytes());
        Self(hasher)
    }

    /// Takes the next piece of content.
    pub fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    /// The object's id, or `None` if the content carries a SHA-1 collision attack.
    pub fn finish(self) -> Option<Oid> {
        self.0.try_finalize().ok()
    }
}

/// The id of a whole object, or `None` if its content carries a SHA-1 collision attack.
pub fn object_id(hash: HashKind, kind: ObjectKind, data: &[u8]) -> Option<Oid> {
    let mut hasher = ObjectHasher::new(hash, kind, data.len() as u64);
    hasher.update(data);
    hasher.finish()
}

//! The error of everything that reads an object's content.

use super::oid::ObjectKind;

/// An object whose bytes are what its id says, but don't make sense as its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed {kind}: {reason} (at byte {offset})")]
pub struct ObjectError {
    /// What it should be.
    pub kind: ObjectKind,
    /// What is wrong.
    pub reason: &'static str,
    /// Where, in bytes from the start of the content.
    pub offset: usize,
}

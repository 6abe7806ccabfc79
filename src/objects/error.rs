//! Why an object could not be had. Cheap to clone: everyone who waited for it gets the same one.

use std::sync::Arc;

use crate::{git::oid::Oid, origin::OriginError};

/// A failed request for one object.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ObjectError {
    /// The origin was asked, tries included, and did not deliver.
    #[error("object {oid}: {cause}")]
    Origin {
        /// The object.
        oid: Oid,
        /// What the origin said.
        cause: Arc<OriginError>,
    },
    /// Only its size was asked for, and it is too large to be brought for that.
    #[error("object {oid} has {size} bytes, and only that was asked")]
    OnlySize {
        /// The object.
        oid: Oid,
        /// Its size in bytes.
        size: u64,
    },
    /// Whoever was to bring it went away, more than once: the mount is ending.
    #[error("object {oid}: nobody is left to bring it, the mount is ending")]
    GivenUp {
        /// The object.
        oid: Oid,
    },
    /// The bytes don't make an object of the kind that the tree promised.
    #[error("object {oid} is not a {expected}: {reason}")]
    Malformed {
        /// The object.
        oid: Oid,
        /// The kind or shape that was expected.
        expected: &'static str,
        /// What was seen.
        reason: String,
    },
}

impl ObjectError {
    /// The error for `oid` that `cause` at the origin is.
    pub fn origin(oid: Oid, cause: OriginError) -> Self {
        Self::Origin {
            oid,
            cause: Arc::new(cause),
        }
    }
}

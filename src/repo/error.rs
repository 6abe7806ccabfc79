//! Why a repository could not be opened.

use std::path::PathBuf;

use crate::{objects::ObjectError, origin::OriginError};

/// A failed [`super::open`].
#[derive(Clone, Debug, thiserror::Error)]
pub enum RepoError {
    /// The origin said no, or did not answer.
    #[error(transparent)]
    Origin(#[from] OriginError),
    /// The cache folder can't be used.
    #[error("the cache folder {} can't be used: {reason}", .path.display())]
    Cache {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The commit, or its root tree, is not what it should be.
    #[error(transparent)]
    Object(ObjectError),
}

impl From<ObjectError> for RepoError {
    fn from(error: ObjectError) -> Self {
        match error {
            ObjectError::Origin { cause, .. } => Self::Origin((*cause).clone()),
            other => Self::Object(other),
        }
    }
}

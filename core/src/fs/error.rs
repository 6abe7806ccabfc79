//! The one error type that leaves this crate. May import: std, thiserror.
//!
//! Always holds: an error is cheap to clone, because every reader who joined a flight gets it.

use std::{error::Error, fmt, sync::Arc};

/// What went wrong, by what the caller can do about it. The FUSE adapter has the one table
/// from these to errno.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FsErrorKind {
    /// The directory is complete and has no such entry (ENOENT).
    NotFound,
    /// The name is longer than any entry's can be (ENAMETOOLONG).
    NameTooLong,
    /// Not a directory (ENOTDIR).
    NotADirectory,
    /// A directory where a file was wanted (EISDIR).
    IsADirectory,
    /// Not a symlink, or an argument out of range (EINVAL).
    Invalid,
    /// The inode or handle is not known any more (ESTALE).
    Stale,
    /// The filesystem can't be changed (EROFS).
    ReadOnly,
    /// No such extended attribute (ENODATA).
    NoData,
    /// The origin refused: not allowed to read this (EACCES).
    Denied,
    /// The origin did not answer within the bounds, tries included (ETIMEDOUT).
    TimedOut,
    /// The content could not be had, or was corrupt wherever it came from (EIO).
    Io,
    /// Too large for this operation (EFBIG).
    TooLarge,
}

/// A failed filesystem operation: a kind, and the cause with its context.
#[derive(Clone)]
pub struct FsError {
    kind: FsErrorKind,
    cause: Option<Arc<dyn Error + Send + Sync>>,
}

/// The result of a filesystem operation.
pub type FsResult<T> = Result<T, FsError>;

impl FsError {
    /// An error of `kind` with the cause that says more.
    pub fn new(kind: FsErrorKind, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            kind,
            cause: Some(Arc::from(cause.into())),
        }
    }

    /// What went wrong.
    pub fn kind(&self) -> FsErrorKind {
        self.kind
    }
}

impl From<FsErrorKind> for FsError {
    fn from(kind: FsErrorKind) -> Self {
        Self { kind, cause: None }
    }
}

impl fmt::Debug for FsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FsError({:?}: {self})", self.kind)
    }
}

impl fmt::Display for FsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            None => write!(f, "{:?}", self.kind),
            Some(cause) => {
                write!(f, "{cause}")?;
                let mut next = cause.source();
                while let Some(error) = next {
                    write!(f, ": {error}")?;
                    next = error.source();
                }
                Ok(())
            }
        }
    }
}

impl Error for FsError {}

#[cfg(all(test, not(any(feature = "loom", feature = "shuttle"))))]
mod tests {
    use super::*;

    /// An error whose cause is another one.
    #[derive(Debug)]
    struct Outer(FsError);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the pack can't be had")
        }
    }

    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn a_failure_tells_its_whole_chain_of_causes() {
        assert_eq!(FsError::from(FsErrorKind::Stale).to_string(), "Stale");
        let inner = FsError::new(FsErrorKind::TimedOut, "no answer in 30 s");
        let error = FsError::new(FsErrorKind::Io, Outer(inner));
        assert_eq!(error.kind(), FsErrorKind::Io);
        assert_eq!(
            error.to_string(),
            "the pack can't be had: no answer in 30 s"
        );
    }
}

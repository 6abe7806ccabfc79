//! Everything that can go wrong at an origin, and whether it may pass.

use std::time::Duration;

use crate::{git::oid::Oid, seams::http::HttpError};

/// Whether the same request may work a little later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// It won't.
    No,
    /// It may.
    Soon,
    /// It may, after the time that the server named (`Retry-After`).
    After(Duration),
}

/// A failed request to an origin. Each variant is one row of `docs/ERRORS.md`, with an exit code.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OriginError {
    /// The transport failed: name, connection, TLS, time.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// 401: no credential, or a wrong one.
    #[error("{url} wants a login (401)")]
    Unauthorized {
        /// The repository, without credentials.
        url: String,
    },
    /// 403.
    #[error("{url} refuses access (403)")]
    Forbidden {
        /// The repository.
        url: String,
    },
    /// 404 or 410.
    #[error("{url} does not exist, or is not for this login (404)")]
    NotFound {
        /// The repository.
        url: String,
    },
    /// 429.
    #[error("{url} asks to slow down (429)")]
    RateLimited {
        /// The repository.
        url: String,
        /// What `Retry-After` said.
        retry_after: Option<Duration>,
    },
    /// 5xx.
    #[error("{url} has a fault of its own ({status})")]
    Server {
        /// The repository.
        url: String,
        /// The status code.
        status: u16,
        /// What `Retry-After` said.
        retry_after: Option<Duration>,
    },
    /// The server answered, but not as a Git server does.
    #[error("{url} is not a Git server: {reason}")]
    NotGit {
        /// The address.
        url: String,
        /// What was seen.
        reason: String,
    },
    /// The server only offers the "dumb" protocol: files, no upload-pack.
    #[error("{url} speaks the dumb HTTP protocol only")]
    DumbHttp {
        /// The repository.
        url: String,
    },
    /// The server speaks version 0 or 1 only.
    #[error("{url} speaks Git protocol version {version} only; version 2 is needed")]
    OldProtocol {
        /// The repository.
        url: String,
        /// 0 or 1.
        version: u8,
    },
    /// The ref or commit asked for isn't there.
    #[error("{source_name} has no branch, tag or commit named {name}")]
    UnknownRef {
        /// The repository.
        source_name: String,
        /// What was asked for.
        name: String,
    },
    /// There is no commit at all.
    #[error("{source_name} is empty: it has no commit yet")]
    Empty {
        /// The repository.
        source_name: String,
    },
    /// A local path that is not there.
    #[error("no such path: {path}")]
    NoSuchPath {
        /// The path.
        path: String,
    },
    /// A local path that is no repository.
    #[error("{path} is not a Git repository")]
    NotARepository {
        /// The path.
        path: String,
    },
    /// The origin does not have an object. `oid` is the one, where the origin said which.
    #[error("{source_name} does not have the object {}", .oid.map_or("asked for".to_owned(), |oid| oid.to_string()))]
    MissingObject {
        /// The repository.
        source_name: String,
        /// The object, if named.
        oid: Option<Oid>,
    },
    /// The server said no in Git's own words (an `ERR` packet or a fatal sideband message).
    #[error("{source_name} answered: {message}")]
    Refused {
        /// The repository.
        source_name: String,
        /// Its words.
        message: String,
    },
    /// What came breaks the protocol or the format, or an object isn't what its id says.
    #[error("{source_name} sent what can't be right: {reason}")]
    Corrupt {
        /// The repository.
        source_name: String,
        /// What was seen.
        reason: String,
    },
    /// The store is closing: whatever is on its way is broken off.
    #[error("{source_name} is not asked any more: the mount is ending")]
    Closing {
        /// The repository.
        source_name: String,
    },
    /// A local disk failed.
    #[error("{what}: {reason}")]
    Disk {
        /// The file and what was done with it.
        what: String,
        /// What the system said.
        reason: String,
    },
}

impl OriginError {
    /// Whether the same request may work later. A broken or short answer may; a refusal won't.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Http(HttpError::Broken { .. } | HttpError::Timeout { .. }) => Retry::Soon,
            Self::Http(HttpError::Connect { .. }) => Retry::Soon,
            Self::Http(HttpError::Name { .. } | HttpError::Tls { .. }) => Retry::No,
            Self::RateLimited { retry_after, .. } | Self::Server { retry_after, .. } => {
                retry_after.map_or(Retry::Soon, Retry::After)
            }
            Self::Corrupt { .. } => Retry::Soon,
            Self::Unauthorized { .. }
            | Self::Forbidden { .. }
            | Self::NotFound { .. }
            | Self::NotGit { .. }
            | Self::DumbHttp { .. }
            | Self::OldProtocol { .. }
            | Self::UnknownRef { .. }
            | Self::Empty { .. }
            | Self::NoSuchPath { .. }
            | Self::NotARepository { .. }
            | Self::MissingObject { .. }
            | Self::Refused { .. }
            | Self::Closing { .. }
            | Self::Disk { .. } => Retry::No,
        }
    }
}

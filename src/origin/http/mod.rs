//! Origins behind smart HTTP: Git's protocol version 2 (gitprotocol-v2, gitprotocol-http), with
//! as few round trips as it allows.
//!
//! May import: the rooms git and seams, bonsaifs-core.
//!
//! The capability advertisement is not waited for: version 2 requests are whole in themselves, so
//! the first command goes out at once, built on what the host is known or assumed to offer. Where
//! that leads nowhere (a redirect, an empty answer, a refusal), the advertisement decides, and the
//! command is sent once more. For a host that is not known the advertisement is asked for beside
//! the first command.

mod advertisement;
mod fetch;
mod login;
mod memory;
mod refs;
mod resolve;
mod retry_after;
mod sizes;
mod status;
mod transport;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use bonsaifs_core::{
    rt::{BoxFuture, SharedRuntime},
    sync::{Mutex, lock},
};
use bytes::Bytes;

pub use memory::{HostMemory, SavedHosts};

use super::{Fetch, FetchSink, Origin, OriginCounters, OriginError, RefWant, Resolved};
use crate::{
    git::{
        oid::{HashKind, Oid},
        url::HttpUrl,
        v2::{Capabilities, ProtocolError},
    },
    seams::{Seams, http::Response},
};
use transport::{Errand, Transport};

/// A repository behind smart HTTP. Clones are the same origin.
#[derive(Clone)]
pub struct HttpOrigin(Arc<Inner>);

struct Inner {
    runtime: SharedRuntime,
    transport: Transport,
    memory: HostMemory,
    /// As the user named it.
    given: HttpUrl,
    /// Where the repository is, after `url.<base>.insteadOf` and redirects.
    place: Mutex<HttpUrl>,
    /// What it advertised, if it was asked. Held while it is being asked, so that it is asked once.
    advertised: tokio::sync::Mutex<Option<Capabilities>>,
    /// The same, for a look without waiting.
    known: Mutex<Option<Capabilities>>,
    /// A permit for each request for sizes: whoever lists many folders at once must not cause as
    /// many requests.
    size_permits: tokio::sync::Semaphore,
}

impl HttpOrigin {
    /// The repository at `url`, wherever the user's Git configuration says that this is. Asks
    /// nothing of the host yet. `memory` is what is known of hosts; it learns.
    pub async fn new(url: HttpUrl, seams: &Seams, memory: HostMemory) -> Self {
        let settings = seams.config.load().await;
        let place = match settings.rewrite(url.as_url().as_str()) {
            None => url.clone(),
            Some(rewritten) => HttpUrl::parse(&rewritten).unwrap_or_else(|_| {
                // Typically an SSH address, for pushing without a password.
                tracing::info!(%url, "url.<base>.insteadOf does not lead to HTTP and is ignored");
                url.clone()
            }),
        };
        Self(Arc::new(Inner {
            runtime: Arc::clone(&seams.runtime),
            transport: Transport::new(seams, settings, &place),
            memory,
            given: url,
            place: Mutex::new(place),
            advertised: tokio::sync::Mutex::default(),
            known: Mutex::default(),
            size_permits: tokio::sync::Semaphore::new(sizes::MAX_REQUESTS),
        }))
    }
}

impl Origin for HttpOrigin {
    fn describe(&self) -> String {
        self.0.given.to_string()
    }

    fn is_local(&self) -> bool {
        false
    }

    fn resolve<'a>(&'a self, want: &'a RefWant) -> BoxFuture<'a, Result<Resolved, OriginError>> {
        Box::pin(self.0.resolve(want))
    }

    fn fetch<'a>(
        &'a self,
        fetch: &'a Fetch,
        sink: &'a mut dyn FetchSink,
    ) -> BoxFuture<'a, Result<(), OriginError>> {
        Box::pin(self.0.fetch(fetch, sink))
    }

    fn sizes<'a>(
        &'a self,
        oids: &'a [Oid],
    ) -> BoxFuture<'a, Result<Option<Vec<Option<u64>>>, OriginError>> {
        Box::pin(self.0.sizes(oids))
    }

    fn counters(&self) -> OriginCounters {
        self.0.transport.counters()
    }
}

/// What the requests of one operation are built on.
struct Basis {
    caps: Capabilities,
    ground: Ground,
}

/// How capabilities came to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ground {
    /// The repository itself said so to this process.
    Advertised,
    /// The repository or its host said so some days ago.
    Remembered,
    /// Nobody said so; it is what servers usually offer.
    Assumed,
}

/// Why a command failed, and whether that settles it.
#[derive(Debug)]
enum Failure {
    /// It does.
    Final(OriginError),
    /// Not if the capabilities that the request was built on were only assumed.
    CapabilitiesInDoubt(OriginError),
    /// Not before it is known whether the repository has moved.
    AddressInDoubt(OriginError),
}

impl From<OriginError> for Failure {
    fn from(error: OriginError) -> Self {
        Self::Final(error)
    }
}

impl Failure {
    fn into_error(self) -> OriginError {
        match self {
            Self::Final(error) | Self::CapabilitiesInDoubt(error) | Self::AddressInDoubt(error) => {
                error
            }
        }
    }
}

impl Inner {
    /// What to build a request on, without waiting: what was advertised, or else remembered, or
    /// else usual. `hash` is the format of the objects that the request names, if it names any.
    fn basis(&self, hash: Option<HashKind>) -> Basis {
        let known = lock(&self.known).clone();
        let (mut caps, ground) = if let Some(caps) = known {
            (caps, Ground::Advertised)
        } else if let Some(caps) = self.memory.recall(&self.place(), self.unix_time()) {
            (caps, Ground::Remembered)
        } else {
            (Capabilities::assumed(), Ground::Assumed)
        };
        if let Some(hash) = hash {
            caps.hash = hash;
        }
        Basis { caps, ground }
    }

    /// A basis that is certain, from the advertisement.
    async fn certain_basis(&self) -> Result<Basis, OriginError> {
        Ok(Basis {
            caps: self.advertisement().await?,
            ground: Ground::Advertised,
        })
    }

    /// What to do about a command that failed on `basis`: a better basis to repeat it on,
    /// or the error that stands.
    async fn reconsider(&self, failure: Failure, basis: &Basis) -> Result<Basis, OriginError> {
        let certain = basis.ground == Ground::Advertised;
        match failure {
            Failure::CapabilitiesInDoubt(error) if certain => return Err(error),
            Failure::Final(error) => return Err(error),
            Failure::AddressInDoubt(_) if certain => self.forget_advertisement().await,
            Failure::CapabilitiesInDoubt(_) | Failure::AddressInDoubt(_) => {}
        }
        self.certain_basis().await
    }

    /// Sends a command and checks the answer's head.
    async fn command(&self, errand: Errand, body: Vec<u8>) -> Result<Response, Failure> {
        let place = self.place();
        let url = place.join_service("/git-upload-pack");
        let response = self
            .transport
            .exchange(errand, &place, &url, Bytes::from(body))
            .await?;
        let place = place.to_string();
        if response.status == 200 {
            return match status::check_result(&response, &place) {
                Ok(()) => Ok(response),
                Err(error) => Err(Failure::AddressInDoubt(error)),
            };
        }
        let error = status::failure(&response, &place, self.unix_time());
        Err(match error {
            // A redirect, which must not be followed with a POST; or what a repository that moved,
            // or a server that is none of Git's, answers.
            OriginError::NotGit { .. } | OriginError::NotFound { .. } => {
                Failure::AddressInDoubt(error)
            }
            _ => Failure::Final(error),
        })
    }

    /// What an answer that breaks off, breaks the protocol or says no means. `received` is whether
    /// anything came at all: a server that does not understand the request ends without a word.
    fn protocol_failure(&self, error: ProtocolError, hash: HashKind, received: bool) -> Failure {
        let source_name = self.given.to_string();
        match error {
            ProtocolError::Remote(message) => match crate::git::v2::not_our_ref(&message, hash) {
                Some(oid) => Failure::Final(OriginError::MissingObject { source_name, oid }),
                None => Failure::CapabilitiesInDoubt(OriginError::Refused {
                    source_name,
                    message,
                }),
            },
            ProtocolError::Truncated if !received => {
                Failure::CapabilitiesInDoubt(self.corrupt("the answer is empty"))
            }
            ProtocolError::Truncated => Failure::Final(self.corrupt("the answer ended early")),
            ProtocolError::Malformed(reason) => Failure::CapabilitiesInDoubt(self.corrupt(reason)),
        }
    }

    fn corrupt(&self, reason: impl Into<String>) -> OriginError {
        OriginError::Corrupt {
            source_name: self.given.to_string(),
            reason: reason.into(),
        }
    }

    fn place(&self) -> HttpUrl {
        lock(&self.place).clone()
    }

    fn unix_time(&self) -> Duration {
        self.runtime.unix_time()
    }
}

//! The HTTP seam: send a request, get a status, headers and a stream of bytes.
//!
//! Always holds: redirects are never followed here (the caller decides), no credential is added
//! here, and a body that ends early is an error, never a short success. (A response with neither
//! a length nor chunks ends where its connection does; whether that was all, only the protocol
//! above can tell.) No Debug output shows a credential.

mod client;
mod failure;

use std::{fmt, time::Duration};

use bonsaifs_core::rt::BoxFuture;
use bytes::Bytes;
pub use client::ReqwestHttp;
use url::Url;

/// Request methods that Git needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET
    Get,
    /// POST
    Post,
}

/// One request. Headers are sent as given; a body implies `Content-Length`.
#[derive(Clone)]
pub struct Request {
    /// GET or POST.
    pub method: Method,
    /// Where to; user and password in it are not used.
    pub url: Url,
    /// Header names (lower case) and values.
    pub headers: Vec<(String, String)>,
    /// The body, empty for none.
    pub body: Bytes,
    /// How long until the response's head must be there.
    pub head_timeout: Duration,
    /// How long the body may stay silent.
    pub idle_timeout: Duration,
}

impl fmt::Debug for Request {
    /// Without user and password, and with the names of headers only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut url = self.url.clone();
        let _ = url.set_username("");
        let _ = url.set_password(None);
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("url", &url.as_str())
            .field("headers", &names)
            .field("body", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// A response's head and the stream of its body.
pub struct Response {
    /// The HTTP status code.
    pub status: u16,
    /// Header names (lower case) and values, in order; values that are not UTF-8 are left out.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Box<dyn Body>,
}

impl Response {
    /// The first value of header `name` (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

/// A response's body as it arrives. Dropping it cancels the rest.
pub trait Body: Send {
    /// The next piece, `None` at the end.
    fn chunk(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, HttpError>>;
}

/// Why there is no response, or no more of it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum HttpError {
    /// The host's name has no address.
    #[error("the name {host} can't be resolved")]
    Name {
        /// The host asked for.
        host: String,
    },
    /// Nobody listens there, or the network is not reachable.
    #[error("no connection to {host}: {reason}")]
    Connect {
        /// The host and port.
        host: String,
        /// What the system said.
        reason: String,
    },
    /// TLS failed: a certificate that can't be trusted, or no common version.
    #[error("no secure connection to {host}: {reason}")]
    Tls {
        /// The host and port.
        host: String,
        /// What the TLS library said.
        reason: String,
    },
    /// Head or body took too long.
    #[error("{host} did not answer in time")]
    Timeout {
        /// The host and port.
        host: String,
    },
    /// The connection broke after it stood.
    #[error("the connection to {host} broke: {reason}")]
    Broken {
        /// The host and port.
        host: String,
        /// What the library said.
        reason: String,
    },
}

/// Sends requests. Shared by everything that talks to one or more hosts; keeps connections.
pub trait Http: Send + Sync + 'static {
    /// Sends `request` and gives the response as soon as its head is there.
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, HttpError>>;
}

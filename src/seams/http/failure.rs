//! What a failed request means: finds the cause at the bottom of the library's error chain.
//! May import: reqwest, rustls, std::io.
//!
//! Always holds: no URL, header or credential gets into the result, only the host and the words
//! of the innermost error.

use std::{error::Error, io};

use url::Url;

use super::HttpError;

/// The host that a request goes to, as error messages name it.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    name: String,
    with_port: String,
}

impl Peer {
    /// The host of `url`.
    pub fn of(url: &Url) -> Self {
        let name = url.host_str().unwrap_or_default().to_owned();
        let with_port = match url.port_or_known_default() {
            Some(port) => format!("{name}:{port}"),
            None => name.clone(),
        };
        Self { name, with_port }
    }

    /// It took too long.
    pub fn timeout(&self) -> HttpError {
        HttpError::Timeout {
            host: self.with_port.clone(),
        }
    }

    /// The TLS side can't even be set up.
    pub fn tls(&self, reason: impl ToString) -> HttpError {
        HttpError::Tls {
            host: self.with_port.clone(),
            reason: reason.to_string(),
        }
    }

    /// No connection.
    pub fn connect(&self, reason: impl ToString) -> HttpError {
        HttpError::Connect {
            host: self.with_port.clone(),
            reason: reason.to_string(),
        }
    }

    /// The connection broke.
    pub fn broken(&self, reason: impl ToString) -> HttpError {
        HttpError::Broken {
            host: self.with_port.clone(),
            reason: reason.to_string(),
        }
    }

    /// What `error` means, by the most telling error in its chain of causes.
    pub fn failure(&self, error: &reqwest::Error) -> HttpError {
        if error.is_dns() {
            return HttpError::Name {
                host: self.name.clone(),
            };
        }
        let mut reason = String::new();
        let mut cut_off = false;
        for cause in causes(error) {
            if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
                return self.tls(tls);
            }
            if let Some(io) = cause.downcast_ref::<io::Error>() {
                match io.kind() {
                    io::ErrorKind::TimedOut => return self.timeout(),
                    io::ErrorKind::UnexpectedEof
                    | io::ErrorKind::ConnectionReset
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::BrokenPipe => cut_off = true,
                    _ => {}
                }
            }
            reason = cause.to_string();
        }
        // A peer that hangs up during the TLS handshake was there: the connection stood.
        if error.is_connect() && !cut_off {
            self.connect(reason)
        } else {
            self.broken(reason)
        }
    }
}

/// The errors that caused `error`, outermost first. An [`io::Error`] that wraps another error
/// names that one's cause as its own, so it is looked into by hand.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(error.source(), |cause| {
        let cause: &'a (dyn Error + 'static) = *cause;
        match cause
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
        {
            Some(inner) => Some(inner as &(dyn Error + 'static)),
            None => cause.source(),
        }
    })
}

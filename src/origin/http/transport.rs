//! One exchange with a repository's host: headers, login, limits, counts.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bonsaifs_core::{
    rt::SharedRuntime,
    sync::{Mutex, lock},
};
use bytes::{Bytes, BytesMut};
use url::Url;

use super::{
    super::{OriginCounters, OriginError},
    login::Logins,
    retry_after,
    status::RESULT_TYPE,
};
use crate::{
    git::url::HttpUrl,
    seams::{
        Seams,
        config::{GitSettings, HeaderScope},
        credentials::Site,
        http::{Http, Method, Request, Response},
    },
};

/// Some servers and the web firewalls before them know a Git client by how this begins, and
/// show others a web page.
const USER_AGENT: &str = concat!("git/2.0 (bonsai ", env!("CARGO_PKG_VERSION"), ")");

/// How long a host may take to answer at all, and how long it may then be silent. A server that
/// is counting objects says something every five seconds (`uploadpack.keepAlive`).
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// A `fetch` may have to count the objects of a huge repository before its first byte.
const FETCH_HEAD_TIMEOUT: Duration = Duration::from_secs(60);

/// At most two logins are tried after the first refusal: a stale token, then what a helper knows.
const MAX_SENDS: usize = 3;

/// As much of a refusal's body as is read.
const REFUSAL_LIMIT: usize = 64 << 10;

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Errand {
    /// The capability advertisement.
    Advertisement,
    /// A command whose answer is short.
    Command,
    /// A `fetch`.
    Fetch,
}

pub(super) struct Transport {
    http: Arc<dyn Http>,
    settings: Arc<GitSettings>,
    logins: Logins,
    /// The site that the user named.
    home: Option<Site>,
    requests: AtomicU64,
    bytes: AtomicU64,
    runtime: SharedRuntime,
    /// Until when the host asked to be left alone (`Retry-After`), in the runtime's monotonic time.
    rest_until: Mutex<Duration>,
}

impl Transport {
    /// For the repository that the user named as `given`.
    pub fn new(seams: &Seams, settings: Arc<GitSettings>, given: &HttpUrl) -> Self {
        Self {
            http: Arc::clone(&seams.http),
            settings,
            logins: Logins::new(Arc::clone(&seams.runtime), Arc::clone(&seams.credentials)),
            home: Site::of(given.as_url()),
            requests: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            runtime: Arc::clone(&seams.runtime),
            rest_until: Mutex::default(),
        }
    }

    /// What a host asked of one request by `Retry-After` it asked of all: until then nothing is
    /// sent, and callers learn how long to wait.
    fn rested(&self, repository: &HttpUrl) -> Result<(), OriginError> {
        let left = lock(&self.rest_until).saturating_sub(self.runtime.now());
        if left.is_zero() {
            return Ok(());
        }
        Err(OriginError::RateLimited {
            url: repository.to_string(),
            retry_after: Some(left),
        })
    }

    fn note_rest(&self, response: &Response) {
        if !matches!(response.status, 403 | 429 | 500..=599) {
            return;
        }
        let asked = response
            .header("retry-after")
            .and_then(|value| retry_after::parse(value, self.runtime.unix_time()));
        if let Some(asked) = asked {
            let mut rest_until = lock(&self.rest_until);
            *rest_until = (*rest_until).max(self.runtime.now().saturating_add(asked));
        }
    }

    pub fn counters(&self) -> OriginCounters {
        OriginCounters {
            requests: self.requests.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }

    /// Runs `errand` at `url`, which belongs to `repository`, with `body` if it is a POST. On a 401,
    /// looks for a login and sends it again. Any other status is the caller's.
    pub async fn exchange(
        &self,
        errand: Errand,
        repository: &HttpUrl,
        url: &Url,
        body: Bytes,
    ) -> Result<Response, OriginError> {
        let request = self.request(errand, url, body);
        let own_login = request
            .headers
            .iter()
            .any(|(name, _)| name == "authorization");
        let mut credential = match own_login {
            true => None,
            false => self.logins.credential_for(url, repository),
        };
        for _ in 0..MAX_SENDS {
            let mut request = request.clone();
            let authorization = credential
                .as_ref()
                .and_then(|credential| credential.authorization_for(url));
            if let Some(value) = authorization {
                request
                    .headers
                    .push(("authorization".to_owned(), value.to_owned()));
            }
            self.rested(repository)?;
            self.requests.fetch_add(1, Ordering::Relaxed);
            let response = self.http.send(request).await?;
            self.note_rest(&response);
            if response.status != 401 {
                if let (200..=299, Some(credential)) = (response.status, &credential) {
                    self.logins.worked(url, credential);
                }
                return Ok(response);
            }
            if own_login {
                break;
            }
            let challenges = response
                .headers
                .iter()
                .filter(|(name, _)| name == "www-authenticate")
                .map(|(_, value)| value.clone())
                .collect();
            // Read to its end, so that the connection can be used again.
            let _ = self.body(response, REFUSAL_LIMIT).await;
            credential = self
                .logins
                .refused(url, repository, credential.as_ref(), challenges)
                .await;
            if credential.is_none() {
                break;
            }
        }
        Err(OriginError::Unauthorized {
            url: repository.to_string(),
        })
    }

    fn request(&self, errand: Errand, url: &Url, body: Bytes) -> Request {
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut headers = vec![
            header("user-agent", USER_AGENT),
            header("git-protocol", "version=2"),
        ];
        let method = match errand {
            Errand::Advertisement => {
                headers.push(header("accept", "*/*"));
                headers.push(header("pragma", "no-cache"));
                Method::Get
            }
            Errand::Command | Errand::Fetch => {
                let request_type = "application/x-git-upload-pack-request";
                headers.push(header("content-type", request_type));
                headers.push(header("accept", RESULT_TYPE));
                Method::Post
            }
        };
        let scope = match Site::of(url) == self.home {
            true => HeaderScope::Any,
            false => HeaderScope::NamedOnly,
        };
        headers.extend(self.settings.extra_headers(url, scope));
        let patience = self.settings.low_speed_time(url);
        Request {
            method,
            url: url.clone(),
            headers,
            body,
            head_timeout: patience.unwrap_or(match errand {
                Errand::Fetch => FETCH_HEAD_TIMEOUT,
                Errand::Advertisement | Errand::Command => HEAD_TIMEOUT,
            }),
            idle_timeout: patience.unwrap_or(IDLE_TIMEOUT),
        }
    }

    /// The next piece of a body, counted.
    pub async fn chunk(&self, response: &mut Response) -> Result<Option<Bytes>, OriginError> {
        let chunk = response.body.chunk().await?;
        if let Some(data) = &chunk {
            self.bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
        }
        Ok(chunk)
    }

    /// The whole body, or as much of it as first goes beyond `limit`: then the rest is not read.
    pub async fn body(&self, mut response: Response, limit: usize) -> Result<Bytes, OriginError> {
        let Some(first) = self.chunk(&mut response).await? else {
            return Ok(Bytes::new());
        };
        // Most answers come in one piece.
        let mut body = BytesMut::from(first);
        while body.len() <= limit
            && let Some(data) = self.chunk(&mut response).await?
        {
            body.extend_from_slice(&data);
        }
        Ok(body.freeze())
    }
}

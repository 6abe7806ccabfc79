//! The production HTTP client: reqwest over rustls. May import: reqwest, rustls, tokio's timers,
//! the Git configuration.
//!
//! Always holds: redirects are not followed, nothing is decompressed (`identity` is all that is
//! asked for), no cookie is kept, and certificates are always checked, against the system's roots
//! and those of `http.sslCAInfo`.

use std::{collections::BTreeMap, io, path::PathBuf, sync::Arc, time::Duration};

use bonsaifs_core::rt::BoxFuture;
use bytes::Bytes;
use reqwest::{
    Certificate, Client, NoProxy, Proxy,
    header::{ACCEPT_ENCODING, AUTHORIZATION, HeaderMap, HeaderName, HeaderValue},
};
use tokio::{sync::Mutex, time::timeout};
use url::Url;

use super::{Body, Http, HttpError, Method, Request, Response, failure::Peer};
use crate::seams::{
    config::{GitConfig, GitSettings},
    rt::blocking,
};

/// How long a connection without requests is kept.
const KEEP_IDLE: Duration = Duration::from_secs(60);

/// Variables that name a proxy, as curl and reqwest read them.
const PROXY_VARIABLES: [&str; 6] = [
    "ALL_PROXY",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "all_proxy",
    "https_proxy",
    "http_proxy",
];

/// [`Http`] over reqwest, with HTTP/1.1 and HTTP/2 and a pool of connections. Proxies come from
/// `http.proxy`, or else from `https_proxy`, `http_proxy` and `all_proxy`; `no_proxy` takes hosts
/// out of both.
pub struct ReqwestHttp {
    config: Arc<dyn GitConfig>,
    /// What to do where `http.proxy` says nothing.
    usual_proxy: Proxying,
    /// One client for each way to reach hosts; in practice one or two.
    clients: Mutex<BTreeMap<Way, Client>>,
}

/// What a client is built for. Has no Debug: a proxy's URL may hold a password.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Way {
    roots: Roots,
    proxy: Proxying,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Roots {
    /// None are read: plain HTTP needs none, and reading them takes milliseconds.
    Unneeded,
    System,
    SystemAnd(PathBuf),
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Proxying {
    Direct,
    Environment,
    By(String),
}

impl ReqwestHttp {
    /// A client that heeds `config`. Builds nothing before the first request.
    pub fn new(config: Arc<dyn GitConfig>) -> Self {
        let in_environment = PROXY_VARIABLES
            .iter()
            .any(|variable| std::env::var_os(variable).is_some_and(|value| !value.is_empty()));
        Self {
            config,
            usual_proxy: if in_environment {
                Proxying::Environment
            } else {
                Proxying::Direct
            },
            clients: Mutex::default(),
        }
    }

    fn way_to(&self, url: &Url, settings: &GitSettings) -> Way {
        let proxy = match settings.http("proxy", url) {
            None => self.usual_proxy.clone(),
            Some("") => Proxying::Direct,
            Some(proxy) => Proxying::By(proxy.to_owned()),
        };
        // A proxy may itself want TLS.
        let roots = match settings.ssl_ca_info(url) {
            _ if url.scheme() == "http" && proxy == Proxying::Direct => Roots::Unneeded,
            None => Roots::System,
            Some(file) => Roots::SystemAnd(file),
        };
        Way { roots, proxy }
    }

    async fn client(&self, url: &Url, peer: &Peer) -> Result<Client, HttpError> {
        let way = self.way_to(url, &*self.config.load().await);
        // Held while a client is built, so that the first requests build one, not one each.
        let mut clients = self.clients.lock().await;
        if let Some(client) = clients.get(&way) {
            return Ok(client.clone());
        }
        let build_way = way.clone();
        let client = blocking(move || build(build_way))
            .await
            .and_then(|built| built)
            .map_err(|error| peer.tls(error))?;
        clients.insert(way, client.clone());
        Ok(client)
    }
}

/// Reads certificates, so it may block for some milliseconds.
fn build(way: Way) -> io::Result<Client> {
    // Fails only where a provider is installed already, and then that one is used.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .tcp_nodelay(true)
        .pool_idle_timeout(KEEP_IDLE);
    builder = match way.roots {
        Roots::Unneeded => builder.tls_certs_only([]),
        Roots::System => builder,
        Roots::SystemAnd(file) => {
            builder.tls_certs_merge(certificates(&file).map_err(|error| {
                io::Error::other(format!("the certificates in {}: {error}", file.display()))
            })?)
        }
    };
    builder = match way.proxy {
        Proxying::Environment => builder,
        Proxying::Direct => builder.no_proxy(),
        Proxying::By(url) => {
            // The error would quote the URL, which may hold a password.
            let proxy = Proxy::all(url).map_err(|_| io::Error::other("http.proxy is no URL"))?;
            builder.proxy(proxy.no_proxy(NoProxy::from_env()))
        }
    };
    builder
        .build()
        .map_err(|error| io::Error::other(error.without_url()))
}

fn certificates(file: &std::path::Path) -> io::Result<Vec<Certificate>> {
    let certificates =
        Certificate::from_pem_bundle(&std::fs::read(file)?).map_err(io::Error::other)?;
    if certificates.is_empty() {
        return Err(io::Error::other("there are none"));
    }
    Ok(certificates)
}

/// `None` if a name or a value can't stand in a header.
fn header_map(headers: &[(String, String)]) -> Option<HeaderMap> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name = HeaderName::try_from(name).ok()?;
        let mut value = HeaderValue::try_from(value).ok()?;
        // Kept out of HTTP/2's compression tables and of Debug output.
        value.set_sensitive(name == AUTHORIZATION);
        map.append(name, value);
    }
    map.entry(ACCEPT_ENCODING)
        .or_insert(HeaderValue::from_static("identity"));
    Some(map)
}

impl Http for ReqwestHttp {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, HttpError>> {
        Box::pin(async move {
            let peer = Peer::of(&request.url);
            let client = self.client(&request.url, &peer).await?;
            let mut url = request.url;
            // The library would make a header of them.
            let _ = url.set_username("");
            let _ = url.set_password(None);
            let method = match request.method {
                Method::Get => reqwest::Method::GET,
                Method::Post => reqwest::Method::POST,
            };
            let headers = header_map(&request.headers)
                .ok_or_else(|| peer.broken("a request header holds what a header can't"))?;
            let mut sending = client.request(method, url).headers(headers);
            if !request.body.is_empty() {
                sending = sending.body(request.body);
            }
            let response = timeout(request.head_timeout, sending.send())
                .await
                .map_err(|_| peer.timeout())?
                .map_err(|error| peer.failure(&error))?;
            let headers = response
                .headers()
                .iter()
                .filter_map(|(name, value)| {
                    Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
                })
                .collect();
            Ok(Response {
                status: response.status().as_u16(),
                headers,
                body: Box::new(ReqwestBody {
                    state: State::Open(response),
                    idle_timeout: request.idle_timeout,
                    peer,
                }),
            })
        })
    }
}

struct ReqwestBody {
    state: State,
    idle_timeout: Duration,
    peer: Peer,
}

enum State {
    Open(reqwest::Response),
    Ended,
    /// Asked again, it fails again: a caller that lost the error must not take it for the end.
    Failed(HttpError),
}

impl Body for ReqwestBody {
    fn chunk(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, HttpError>> {
        Box::pin(async move {
            let response = match &mut self.state {
                State::Open(response) => response,
                State::Ended => return Ok(None),
                State::Failed(error) => return Err(error.clone()),
            };
            let error = match timeout(self.idle_timeout, response.chunk()).await {
                Ok(Ok(Some(chunk))) => return Ok(Some(chunk)),
                Ok(Ok(None)) => {
                    self.state = State::Ended;
                    return Ok(None);
                }
                Ok(Err(error)) => self.peer.failure(&error),
                Err(_) => self.peer.timeout(),
            };
            self.state = State::Failed(error.clone());
            Err(error)
        })
    }
}

#[cfg(test)]
mod tests;

//! The HTTP seam over turmoil: hyper's HTTP/1.1 client with a small pool of connections. Errors are
//! told apart as the production client does.
//!
//! Always holds: each exchange is told to the [`Watch`] when it begins, when its head comes and when
//! it ends, on whatever way, a dropped one included.

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use bonsaifs::seams::http::{Body, Http, HttpError, Method, Request, Response};
use bonsaifs_core::rt::{BoxFuture, SharedRuntime};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use turmoil::net::TcpStream;
use url::Url;

/// Sees every exchange of one mount from its own side of the network.
pub trait Watch: Send + Sync + 'static {
    /// A request goes out; the number tells exchanges apart.
    fn begin(&self, request: &Request) -> u64;
    /// The head of its answer came.
    fn head(&self, exchange: u64, response: &Response);
    /// Bytes of its answer came.
    fn data(&self, exchange: u64, len: usize);
    /// It is over: all of it came, it failed, or nobody wants it any more.
    fn end(&self, exchange: u64, how: &str);
}

/// How an exchange ended that nobody wants any more, for [`Watch::end`].
pub const DROPPED: &str = "dropped";

type Sender = http1::SendRequest<Full<Bytes>>;

/// [`Http`] of one mount's process.
pub struct SimHttp(Arc<Shared>);

struct Shared {
    runtime: SharedRuntime,
    watch: Arc<dyn Watch>,
    idle: Mutex<Vec<(String, Sender)>>,
    /// Names the mount to the server's log.
    mount: String,
}

impl SimHttp {
    /// A client whose connections live in `runtime`.
    pub fn new(runtime: SharedRuntime, watch: Arc<dyn Watch>, mount: String) -> Self {
        Self(Arc::new(Shared {
            runtime,
            watch,
            idle: Mutex::default(),
            mount,
        }))
    }
}

/// One exchange's end, told when it is dropped.
struct Exchange {
    shared: Arc<Shared>,
    id: u64,
    how: String,
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.shared.watch.end(self.id, &self.how);
    }
}

impl Exchange {
    fn fail(&mut self, error: HttpError) -> HttpError {
        self.how = error.to_string();
        error
    }
}

impl Http for SimHttp {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, HttpError>> {
        let shared = self.0.clone();
        Box::pin(async move {
            let mut exchange = Exchange {
                id: shared.watch.begin(&request),
                how: DROPPED.to_owned(),
                shared: shared.clone(),
            };
            let host = peer(&request.url);
            let head = timeout(request.head_timeout, shared.head(&request, &host)).await;
            let (response, sender) = match head {
                Ok(Ok(head)) => head,
                Ok(Err(error)) => return Err(exchange.fail(error)),
                Err(_) => return Err(exchange.fail(HttpError::Timeout { host })),
            };
            let (head, body) = response.into_parts();
            let headers = head
                .headers
                .iter()
                .filter_map(|(name, value)| {
                    let value = value.to_str().ok()?;
                    Some((name.as_str().to_owned(), value.to_owned()))
                })
                .collect();
            let id = exchange.id;
            let response = Response {
                status: head.status.as_u16(),
                headers,
                body: Box::new(SimBody {
                    body,
                    sender: Some(sender),
                    exchange,
                    host,
                    idle_timeout: request.idle_timeout,
                }),
            };
            shared.watch.head(id, &response);
            Ok(response)
        })
    }
}

impl Shared {
    async fn head(
        &self,
        request: &Request,
        host: &str,
    ) -> Result<(hyper::Response<Incoming>, Sender), HttpError> {
        // A connection that was kept may have been closed by the server meanwhile: then once more
        // with a new one, as every client does.
        if let Some(mut sender) = self.take_idle(host)
            && sender.ready().await.is_ok()
        {
            match sender.try_send_request(self.head_of(request)).await {
                Ok(response) => return Ok((response, sender)),
                Err(mut error) => {
                    if error.take_message().is_none() {
                        return Err(broken(host, &error.into_error()));
                    }
                }
            }
        }
        let mut sender = self.connect(request, host).await?;
        let response = sender
            .send_request(self.head_of(request))
            .await
            .map_err(|error| broken(host, &error))?;
        Ok((response, sender))
    }

    fn take_idle(&self, host: &str) -> Option<Sender> {
        let mut idle = self.idle.lock().expect("a list that is only pushed to");
        idle.retain(|(_, sender)| !sender.is_closed());
        let at = idle.iter().rposition(|(name, _)| name == host)?;
        Some(idle.remove(at).1)
    }

    async fn connect(&self, request: &Request, host: &str) -> Result<Sender, HttpError> {
        let name = request.url.host_str().unwrap_or_default();
        let port = request.url.port_or_known_default().unwrap_or(80);
        let refused = |error: io::Error| HttpError::Connect {
            host: host.to_owned(),
            reason: error.to_string(),
        };
        let stream = TcpStream::connect((name, port)).await.map_err(refused)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| broken(host, &error))?;
        let drive = async move {
            // How it ended is told to whoever waits for an answer.
            let _ = connection.await;
        };
        self.runtime.spawn("connection", Box::pin(drive));
        Ok(sender)
    }

    fn head_of(&self, request: &Request) -> hyper::Request<Full<Bytes>> {
        let target = &request.url[url::Position::BeforePath..url::Position::AfterQuery];
        let mut builder = hyper::Request::builder()
            .method(match request.method {
                Method::Get => "GET",
                Method::Post => "POST",
            })
            .uri(target)
            .header("host", request.url.host_str().unwrap_or_default())
            .header("x-sim-mount", &self.mount);
        for (name, value) in &request.headers {
            builder = builder.header(name, value);
        }
        builder
            .body(Full::new(request.body.clone()))
            .expect("the product sends valid headers")
    }
}

struct SimBody {
    body: Incoming,
    /// Goes back to the pool when the body is through.
    sender: Option<Sender>,
    exchange: Exchange,
    host: String,
    idle_timeout: Duration,
}

impl Body for SimBody {
    fn chunk(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, HttpError>> {
        Box::pin(async move {
            loop {
                let frame = timeout(self.idle_timeout, self.body.frame()).await;
                match frame {
                    Err(_) => {
                        let host = self.host.clone();
                        return Err(self.exchange.fail(HttpError::Timeout { host }));
                    }
                    Ok(Some(Err(error))) => {
                        return Err(self.exchange.fail(broken(&self.host, &error)));
                    }
                    Ok(Some(Ok(frame))) => {
                        if let Ok(data) = frame.into_data() {
                            let shared = &self.exchange.shared;
                            shared.watch.data(self.exchange.id, data.len());
                            return Ok(Some(data));
                        }
                    }
                    Ok(None) => {
                        self.exchange.how = "through".to_owned();
                        if let Some(sender) = self.sender.take() {
                            let idle = &self.exchange.shared.idle;
                            idle.lock()
                                .expect("a list that is only pushed to")
                                .push((self.host.clone(), sender));
                        }
                        return Ok(None);
                    }
                }
            }
        })
    }
}

fn peer(url: &Url) -> String {
    let name = url.host_str().unwrap_or_default();
    match url.port_or_known_default() {
        Some(port) => format!("{name}:{port}"),
        None => name.to_owned(),
    }
}

fn broken(host: &str, error: &hyper::Error) -> HttpError {
    HttpError::Broken {
        host: host.to_owned(),
        reason: error.to_string(),
    }
}

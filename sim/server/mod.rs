//! A Git server for simulated worlds: protocol version 2 over HTTP/1.1 on turmoil's network.
//!
//! Always holds: what it serves comes from the model repositories; what goes wrong is drawn from its
//! own stream while a fault is on, and is counted and traced.

mod answer;
mod body;
pub mod pack;
mod refuse;
pub mod wire;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    net::Ipv4Addr,
    rc::Rc,
    time::Duration,
};

use bonsaifs::git::oid::Oid;
use http_body_util::BodyExt;
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use turmoil::net::TcpListener;

use self::body::Script;
use crate::{
    marks::Counts,
    plan::{Answer, ServerPlan},
    repo::Repo,
    rng::Rng,
    trace::{Class, Trace, now},
};

/// The name of the server's host.
pub const HOST: &str = "git";

/// A server; its content outlives its process. A clone is another handle to the same.
#[derive(Clone)]
pub struct GitServer(Rc<RefCell<State>>);

/// What the server is and what is wrong with it now.
pub struct State {
    pub repos: Vec<Repo>,
    /// What each ref pointed to, and since when.
    pub history: BTreeMap<(usize, String), Vec<(Duration, Oid)>>,
    plan: ServerPlan,
    rng: Rng,
    /// Faults that are on: the answer, its chance in 1,000, and until when.
    pub answers: Vec<(Answer, u64, Duration)>,
    /// Objects that the server lost.
    pub missing: Vec<BTreeSet<Oid>>,
    deflated: pack::Deflated,
    /// Wants of fetches that went wrong, by mount, for the marks.
    pub torn: BTreeMap<String, BTreeSet<Oid>>,
    pub refused: BTreeMap<String, BTreeSet<Oid>>,
    trace: Trace,
    counts: Counts,
}

impl GitServer {
    /// A server of `repos`.
    pub fn new(plan: ServerPlan, repos: Vec<Repo>, rng: Rng, trace: Trace, counts: Counts) -> Self {
        let mut history = BTreeMap::new();
        for (index, repo) in repos.iter().enumerate() {
            for (name, oid) in &repo.refs {
                history.insert((index, name.clone()), vec![(Duration::ZERO, *oid)]);
            }
        }
        Self(Rc::new(RefCell::new(State {
            missing: repos.iter().map(|_| BTreeSet::new()).collect(),
            repos,
            history,
            plan,
            rng,
            answers: Vec::new(),
            deflated: pack::Deflated::default(),
            torn: BTreeMap::new(),
            refused: BTreeMap::new(),
            trace,
            counts,
        })))
    }

    /// Looks at it, or changes it, between requests.
    pub fn with<R>(&self, look: impl FnOnce(&mut State) -> R) -> R {
        look(&mut self.0.borrow_mut())
    }

    /// Serves until the host dies.
    pub async fn serve(self) -> turmoil::Result {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 80)).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            let server = self.clone();
            tokio::task::spawn_local(async move {
                let service = service_fn(|request| server.answer(request));
                // How a connection ends is the client's to notice.
                let _ = http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Script>, Infallible> {
        let (head, body) = request.into_parts();
        let body = match body.collect().await {
            Ok(body) => body.to_bytes(),
            Err(_) => return Ok(respond(400, &[], Script::default())),
        };
        let mount = head
            .headers
            .get("x-sim-mount")
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        let begin = now();
        let target = head
            .uri
            .path_and_query()
            .map(|target| target.as_str())
            .unwrap_or_default();
        let (text, response) = self.0.borrow_mut().handle(&mount, target, &body);
        let trace = self.0.borrow().trace.clone();
        trace.span(Class::Message, HOST, begin, false, || {
            format!("{mount}: {text}")
        });
        Ok(response)
    }
}

impl State {
    /// Moves a branch on.
    pub fn push(&mut self, repo: usize, branch: &str) -> Option<Oid> {
        let oid = self.repos[repo].push(branch)?;
        let moments = self.history.entry((repo, branch.to_owned())).or_default();
        moments.push((now(), oid));
        Some(oid)
    }

    /// Loses objects, blobs mostly.
    pub fn lose(&mut self, repo: usize, per_mille: u64) {
        let oids: Vec<Oid> = self.repos[repo].objects.keys().copied().collect();
        for oid in oids {
            let (kind, _) = &self.repos[repo].objects[&oid];
            let chance = match kind {
                bonsaifs::git::oid::ObjectKind::Blob => per_mille,
                bonsaifs::git::oid::ObjectKind::Tree => per_mille / 10,
                _ => 0,
            };
            if self.rng.chance(chance) {
                self.missing[repo].insert(oid);
            }
        }
    }

    /// The fault that hits this request, if one does, and until when it lasts. `packs` is whether it
    /// asks for objects.
    fn draw(&mut self, packs: bool) -> Option<(Answer, Duration)> {
        let answers = std::mem::take(&mut self.answers);
        let hit = answers
            .iter()
            .filter(|(answer, ..)| packs || *answer != Answer::TornPack)
            .find(|(_, per_mille, _)| self.rng.chance(*per_mille))
            .map(|(answer, _, until)| (*answer, *until));
        self.answers = answers;
        hit
    }
}

fn respond(status: u16, headers: &[(&str, &str)], body: Script) -> Response<Script> {
    let mut builder = Response::builder().status(status);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(body).expect("headers of our own making")
}

//! A host that answers as a test says, and remembers what it was asked.

use std::{collections::VecDeque, future::poll_fn, sync::Arc, task::Poll};

use bonsaifs_core::{
    rt::BoxFuture,
    sync::{Mutex, lock},
};
use bytes::Bytes;
use url::Url;

use super::{HostMemory, HttpOrigin};
use crate::{
    git::{pktline, url::HttpUrl},
    origin::testing::{FakeRuntime, seams},
    seams::{
        Seams,
        config::GitSettings,
        credentials::{Ask, Credential, CredentialSource, Credentials, Site},
        http::{Body, Http, HttpError, Request, Response},
    },
};

/// What a fake host answers.
pub(in crate::origin) struct Answer {
    /// How many turns others get before this is there; never, if `None`.
    turns: Option<u32>,
    result: Result<Response, HttpError>,
}

impl Answer {
    /// This status, with these headers and an empty body.
    pub fn status(status: u16, headers: &[(&str, &str)]) -> Self {
        response(status, headers, b"").into()
    }

    /// 200 from a Git server, to a POST.
    pub fn result(body: impl Into<Vec<u8>>) -> Self {
        let headers = [("content-type", super::status::RESULT_TYPE)];
        response(200, &headers, &body.into()).into()
    }

    /// 200 from a Git server, to a POST, with a body that comes in these pieces.
    pub fn pieces(pieces: Vec<Result<Bytes, HttpError>>) -> Self {
        let mut answer = Self::result(b"");
        let response = answer.result.as_mut().expect("it is a result");
        response.body = Box::new(FakeBody(pieces.into()));
        answer
    }

    /// 200 to the GET, advertising version 2 with these further lines.
    pub fn advertisement(lines: &[&str]) -> Self {
        let mut all = vec!["version 2", "agent=git/2.47", "ls-refs=unborn"];
        all.extend(lines);
        let headers = [(
            "content-type",
            "application/x-git-upload-pack-advertisement",
        )];
        response(200, &headers, &packets(&all)).into()
    }

    /// No answer.
    pub fn failure(error: HttpError) -> Self {
        Self {
            turns: Some(0),
            result: Err(error),
        }
    }

    /// The same, but others get this many turns first.
    pub fn after(mut self, turns: u32) -> Self {
        self.turns = Some(turns);
        self
    }

    /// Nothing, ever.
    pub fn never() -> Self {
        Self {
            turns: None,
            ..Self::status(200, &[])
        }
    }
}

impl From<Response> for Answer {
    fn from(response: Response) -> Self {
        Self {
            turns: Some(0),
            result: Ok(response),
        }
    }
}

/// A response with a body in one piece.
pub(in crate::origin) fn response(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Response {
    let pieces = match body {
        b"" => VecDeque::new(),
        body => VecDeque::from([Ok(Bytes::copy_from_slice(body))]),
    };
    Response {
        status,
        headers: headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        body: Box::new(FakeBody(pieces)),
    }
}

/// Lines as packets, then a flush.
pub(in crate::origin) fn packets(lines: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    for line in lines {
        match *line {
            "0001" => pktline::encode_delim(&mut out),
            line => pktline::encode_text(&mut out, line),
        }
    }
    pktline::encode_flush(&mut out);
    out
}

struct FakeBody(VecDeque<Result<Bytes, HttpError>>);

impl Body for FakeBody {
    fn chunk(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, HttpError>> {
        Box::pin(async { self.0.pop_front().transpose() })
    }
}

/// A request as the fake host saw it.
#[derive(Clone)]
pub(in crate::origin) struct Seen {
    pub request: Request,
}

impl Seen {
    /// `GET <url>` or the command of a POST with the URL.
    pub fn line(&self) -> String {
        match self.command() {
            None => format!("GET {}", self.request.url),
            Some(command) => format!("{command} {}", self.request.url),
        }
    }

    pub fn command(&self) -> Option<String> {
        let lines = self.lines();
        let command = lines.first()?.strip_prefix("command=")?;
        Some(command.to_owned())
    }

    /// The lines of the body.
    pub fn lines(&self) -> Vec<String> {
        pktline::packets(&self.request.body)
            .filter_map(|packet| match packet.expect("a well-formed request") {
                pktline::Pkt::Data(line) => {
                    Some(String::from_utf8_lossy(pktline::text(line)).into_owned())
                }
                _ => None,
            })
            .collect()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.request.headers.iter().filter(|(key, _)| key == name);
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} was sent twice");
        value
    }
}

type Handler = Box<dyn Fn(&Seen) -> Answer + Send + Sync>;

/// The fake host.
pub(in crate::origin) struct FakeHttp {
    handler: Handler,
    seen: Mutex<Vec<Seen>>,
}

impl Http for FakeHttp {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, HttpError>> {
        let seen = Seen { request };
        let answer = (self.handler)(&seen);
        lock(&self.seen).push(seen);
        Box::pin(async move {
            let mut turns = answer.turns;
            poll_fn(|cx| match &mut turns {
                Some(0) => Poll::Ready(()),
                Some(turns) => {
                    *turns -= 1;
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                None => Poll::Pending,
            })
            .await;
            answer.result
        })
    }
}

/// Credentials that a test has set, and what was told about them.
#[derive(Default)]
pub(in crate::origin) struct FakeCredentials {
    /// Known at once, as a variable's.
    pub token: Option<(Url, &'static str, &'static str)>,
    /// What look-ups give in turn, for whatever site asks.
    pub found: Mutex<VecDeque<(&'static str, &'static str)>>,
    pub log: Mutex<Vec<String>>,
}

impl FakeCredentials {
    fn note(&self, verb: &str, credential: &Credential) {
        lock(&self.log).push(format!("{verb} {}", credential.source()));
    }
}

impl Credentials for FakeCredentials {
    fn known(&self, url: &Url) -> Option<Credential> {
        let (place, user, password) = self.token.as_ref()?;
        let site = Site::of(url)?;
        (Site::of(place)? == site).then(|| {
            let source = CredentialSource::Variable("BONSAI_TOKEN");
            Credential::basic(site, source, user, password)
        })
    }

    fn lookup<'a>(&'a self, ask: &'a Ask) -> BoxFuture<'a, Option<Credential>> {
        let challenges = ask.www_authenticate.join("|");
        let user = ask.user.as_deref().unwrap_or("?");
        lock(&self.log).push(format!("lookup {user}@{} {challenges}", ask.url));
        let found = lock(&self.found).pop_front();
        Box::pin(async move {
            let (user, password) = found?;
            let site = Site::of(&ask.url)?;
            let source = CredentialSource::Helper;
            Some(Credential::basic(site, source, user, password))
        })
    }

    fn approve<'a>(&'a self, credential: &'a Credential) -> BoxFuture<'a, ()> {
        self.note("approve", credential);
        Box::pin(async {})
    }

    fn reject<'a>(&'a self, credential: &'a Credential) -> BoxFuture<'a, ()> {
        self.note("reject", credential);
        Box::pin(async {})
    }
}

/// A fake world with one host (whatever its names) and one origin.
pub(in crate::origin) struct World {
    pub runtime: Arc<FakeRuntime>,
    pub http: Arc<FakeHttp>,
    pub credentials: Arc<FakeCredentials>,
    pub memory: HostMemory,
    pub settings: GitSettings,
}

impl World {
    pub fn new(handler: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        Self {
            runtime: Arc::default(),
            http: Arc::new(FakeHttp {
                handler: Box::new(handler),
                seen: Mutex::default(),
            }),
            credentials: Arc::default(),
            memory: HostMemory::default(),
            settings: GitSettings::default(),
        }
    }

    /// The origin for `url`.
    pub async fn origin(&self, url: &str) -> HttpOrigin {
        let seams = Seams {
            runtime: self.runtime.clone(),
            http: self.http.clone(),
            credentials: self.credentials.clone(),
            config: Arc::new(self.settings.clone()),
            ..seams()
        };
        let url = HttpUrl::parse(url).expect("a URL");
        HttpOrigin::new(url, &seams, self.memory.clone()).await
    }

    /// What the host was asked since the last time.
    pub fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut *lock(&self.http.seen))
    }

    /// The same, a line for each request.
    pub fn asked(&self) -> Vec<String> {
        self.seen().iter().map(Seen::line).collect()
    }

    /// What those who know credentials were told.
    pub fn credentials_log(&self) -> Vec<String> {
        lock(&self.credentials.log).clone()
    }
}

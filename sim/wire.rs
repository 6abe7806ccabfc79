//! What a mount's process says to the server, seen from its own side of the network: the ground of
//! the properties about requests.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
    time::Duration,
};

use bonsaifs::{
    git::oid::Oid,
    seams::http::{Request, Response},
};

use super::{
    http::{DROPPED, Watch},
    marks::{self, Counts},
    props::{
        Verdicts, budgets,
        one_flight::{self, OneFlight},
        politeness::{self, Politeness, Timing},
        unread::{self, Met, Unread},
    },
    server::wire::Command,
    trace::{Class, Trace, now},
};

/// The filter of a request for single objects.
const ONLY_WANTED: &str = "tree:0";

/// Watches one process.
pub struct Wire {
    mount: String,
    trace: Trace,
    counts: Counts,
    verdicts: Verdicts,
    inner: Mutex<Inner>,
}

struct Inner {
    next: u64,
    open: BTreeMap<u64, Open>,
    flights: OneFlight,
    politeness: Politeness,
    unread: Unread,
    /// Whether all that is asked for comes, if the answer comes through.
    honest: bool,
    /// Exchanges that did not bring all that they were for.
    in_vain: BTreeSet<u64>,
}

struct Open {
    begin: Duration,
    text: String,
    status: u16,
    bytes: usize,
    /// Whether it is for what nobody had asked for.
    ahead: bool,
}

impl Wire {
    /// Watches the process of `mount`. `honest`: what comes through is all that was asked for.
    pub fn new(
        mount: String,
        flights: OneFlight,
        unread: Unread,
        honest: bool,
        trace: Trace,
        counts: Counts,
        verdicts: Verdicts,
    ) -> Self {
        Self {
            mount,
            trace,
            counts,
            verdicts,
            inner: Mutex::new(Inner {
                next: 0,
                open: BTreeMap::new(),
                flights,
                politeness: Politeness::default(),
                unread,
                honest,
                in_vain: BTreeSet::new(),
            }),
        }
    }

    /// Whether nothing is asked for at the moment.
    pub fn is_idle(&self) -> bool {
        self.lock().open.is_empty()
    }

    /// Notes that an operation needs the size or the content of `oid`, and `waits` for it or doesn't
    /// have to.
    pub fn touch(&self, oid: &Oid, waits: bool) -> Met {
        self.lock().unread.touch(oid, waits)
    }

    /// Notes that an operation got what it needed, which it had met so.
    pub fn got(&self, met: Met) {
        match met {
            Met::Nothing => {}
            Met::Came => self.counts.add(marks::AHEAD_USED),
            Met::Coming(exchange) if self.lock().in_vain.contains(&exchange) => {
                self.counts.add(marks::AHEAD_IN_VAIN);
            }
            Met::Coming(_) => self.counts.add(marks::AHEAD_JOINED),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().expect("watching does not panic")
    }
}

impl Watch for Wire {
    fn begin(&self, request: &Request) -> u64 {
        let mut inner = self.lock();
        inner.next += 1;
        let id = inner.next;
        let command = Command::parse(&request.body).unwrap_or_default();
        let wants = command.wants();
        let text = match command.name.as_str() {
            "" => format!("GET {}", request.url.path()),
            name => {
                let wants = wants.iter().map(|oid| oid.to_hex_with_len(7).to_string());
                let filter = command.filter().unwrap_or_default();
                format!("{name} {} {filter}", wants.collect::<Vec<_>>().join(","))
            }
        };
        let timing = inner.politeness.request(now());
        self.verdicts
            .judge(politeness::NAME, Politeness::check(&timing));
        if timing == Ok(Timing::WaitedOut) {
            self.counts.add(marks::RETRY_AFTER);
        }
        let sent = inner.unread.begin(id, &wants, now());
        if sent.gave_up {
            self.counts.add(marks::GIVEN_UP);
        }
        let ahead = !sent.ahead.is_empty();
        let wanted = wants.len() - sent.ahead.len();
        if !ahead && wanted > 0 {
            let prefetches = inner.open.values().filter(|open| open.ahead).count();
            if prefetches >= unread::OUT {
                self.counts.add(marks::AHEAD_FULL);
            }
            if wanted > 1 && command.filter() == Some(ONLY_WANTED) {
                self.counts.add(marks::QUEUED);
            }
        }
        if !wants.is_empty() {
            let deep = command.filter() != Some(ONLY_WANTED);
            self.verdicts
                .judge(one_flight::NAME, inner.flights.begin(id, deep, wants));
        }
        inner.open.insert(
            id,
            Open {
                begin: now(),
                text,
                status: 0,
                bytes: 0,
                ahead,
            },
        );
        let open = inner.open.len() as u64;
        self.verdicts.judge(
            budgets::NAME,
            budgets::within("requests in flight", open, budgets::REQUESTS as u64),
        );
        id
    }

    fn head(&self, exchange: u64, response: &Response) {
        let mut inner = self.lock();
        if let Some(open) = inner.open.get_mut(&exchange) {
            open.status = response.status;
        }
        let after = response
            .header("retry-after")
            .and_then(|value| value.parse().ok());
        if let (429 | 503, Some(seconds)) = (response.status, after) {
            inner.politeness.asked(now(), Duration::from_secs(seconds));
        }
    }

    fn data(&self, exchange: u64, len: usize) {
        if let Some(open) = self.lock().open.get_mut(&exchange) {
            open.bytes += len;
        }
    }

    fn end(&self, exchange: u64, how: &str) {
        let mut inner = self.lock();
        let Some(open) = inner.open.remove(&exchange) else {
            return;
        };
        let too_large = inner.flights.end(exchange, how == DROPPED, open.ahead);
        let failed = how != "through" || open.status != 200;
        if failed {
            inner.in_vain.insert(exchange);
        }
        if open.ahead && too_large {
            self.counts.add(marks::AHEAD_BROKEN_OFF);
        }
        let came = !failed && inner.honest;
        self.verdicts
            .judge(unread::NAME, inner.unread.end(exchange, came, now()));
        self.trace
            .span(Class::Message, &self.mount, open.begin, failed, || {
                format!(
                    "{} -> {} {} bytes, {how}",
                    open.text, open.status, open.bytes
                )
            });
    }
}

//! What a mount's process says to the server, seen from its own side of the network: the ground of
//! the properties about requests.

use std::{collections::BTreeMap, sync::Mutex, time::Duration};

use bonsaifs::seams::http::{Request, Response};

use super::{
    http::{DROPPED, Watch},
    marks::{self, Counts},
    props::{
        Verdicts, budgets,
        one_flight::{self, OneFlight},
        politeness::{self, Politeness, Timing},
    },
    server::wire::Command,
    trace::{Class, Trace, now},
};

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
}

struct Open {
    begin: Duration,
    text: String,
    status: u16,
    bytes: usize,
}

impl Wire {
    /// Watches the process of `mount`.
    pub fn new(
        mount: String,
        flights: OneFlight,
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
            }),
        }
    }

    /// Whether nothing is asked for at the moment.
    pub fn is_idle(&self) -> bool {
        self.lock().open.is_empty()
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
            name => format!(
                "{name} {}{}",
                wants.len(),
                command
                    .filter()
                    .map_or_else(String::new, |filter| format!(" {filter}"))
            ),
        };
        let timing = inner.politeness.request(now());
        self.verdicts
            .judge(politeness::NAME, Politeness::check(&timing));
        if timing == Ok(Timing::WaitedOut) {
            self.counts.add(marks::RETRY_AFTER);
        }
        if !wants.is_empty() {
            self.verdicts
                .judge(one_flight::NAME, inner.flights.begin(id, wants));
        }
        inner.open.insert(
            id,
            Open {
                begin: now(),
                text,
                status: 0,
                bytes: 0,
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
        inner.flights.end(exchange, how == DROPPED);
        let Some(open) = inner.open.remove(&exchange) else {
            return;
        };
        let failed = how != "through" || open.status != 200;
        self.trace
            .span(Class::Message, &self.mount, open.begin, failed, || {
                format!(
                    "{} -> {} {} bytes, {how}",
                    open.text, open.status, open.bytes
                )
            });
    }
}

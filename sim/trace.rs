//! What happened, as lines: simulated time, host, what was done, and how it ended. Everything that
//! watches a run shares one [`Trace`].
//!
//! Always holds: a line depends on the plan alone, so one seed gives the same trace byte for byte.
//! Nothing here reads a clock but the simulated one.

use std::{
    fmt::Write as _,
    sync::{Arc, Mutex},
    time::Duration,
};

use super::rng::mix;

/// What a line of the timeline is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// An operation of a mount's kernel.
    Operation,
    /// A request, or its answer.
    Message,
    /// A fault, or its end.
    Fault,
    /// A mount that begins or ends.
    Life,
}

/// One thing that happened, for the timeline.
#[derive(Clone, Debug)]
pub struct Happening {
    pub class: Class,
    pub host: String,
    pub begin: Duration,
    pub end: Duration,
    pub text: String,
    pub failed: bool,
}

/// Collects lines. A clone is another handle to the same trace.
#[derive(Clone, Default)]
pub struct Trace(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    /// All lines so far, folded: two traces are equal if their hashes are.
    hash: u64,
    lines: u64,
    /// The lines themselves, if somebody wants to read them.
    text: Option<String>,
    happenings: Option<Vec<Happening>>,
    /// Whether each line is printed at once: then one sees where a run hangs.
    live: bool,
}

impl Trace {
    /// A trace that keeps its lines and happenings to be shown; the default one only hashes.
    pub fn kept() -> Self {
        let trace = Self::default();
        {
            let mut inner = trace.lock();
            inner.text = Some(String::new());
            inner.happenings = Some(Vec::new());
        }
        trace
    }

    /// A trace that prints each line as it comes.
    pub fn live() -> Self {
        let trace = Self::default();
        trace.lock().live = true;
        trace
    }

    /// Notes something that began at `begin` and has just ended.
    pub fn span(
        &self,
        class: Class,
        host: &str,
        begin: Duration,
        failed: bool,
        text: impl FnOnce() -> String,
    ) {
        let end = now();
        let text = text();
        let mut inner = self.lock();
        let micros = (end.as_nanos() + 500) / 1000;
        let (whole, rest) = (micros / 1_000_000, micros % 1_000_000);
        let line = format!("{whole:>5}.{rest:06} {host:<8} {text}");
        inner.hash = folded(inner.hash, line.as_bytes());
        inner.lines += 1;
        if inner.live {
            println!("{line}");
        }
        if let Some(all) = &mut inner.text {
            // Writing to a string can't fail.
            let _ = writeln!(all, "{line}");
        }
        if let Some(all) = &mut inner.happenings {
            all.push(Happening {
                class,
                host: host.to_owned(),
                begin,
                end,
                text,
                failed,
            });
        }
    }

    /// Notes something that happens now.
    pub fn point(&self, class: Class, host: &str, text: impl FnOnce() -> String) {
        self.span(class, host, now(), false, text);
    }

    /// A hash over all lines, and how many there are.
    pub fn digest(&self) -> (u64, u64) {
        let inner = self.lock();
        (inner.hash, inner.lines)
    }

    /// The lines, if they were kept.
    pub fn text(&self) -> String {
        self.lock().text.clone().unwrap_or_default()
    }

    /// The happenings, if they were kept.
    pub fn happenings(&self) -> Vec<Happening> {
        self.lock().happenings.clone().unwrap_or_default()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0
            .lock()
            .expect("no code panics while it writes a line")
    }
}

/// `hash` with a line folded into it, eight bytes at a time: a seed has thousands of lines.
fn folded(hash: u64, line: &[u8]) -> u64 {
    let (words, rest) = line.as_chunks();
    let hash = words
        .iter()
        .fold(hash, |hash, word| mix(hash ^ u64::from_le_bytes(*word)));
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    // The length tells a line from one that ends in zeros.
    mix(hash ^ u64::from_le_bytes(last)) ^ line.len() as u64
}

thread_local! {
    static OUTSIDE: std::cell::Cell<Duration> = const { std::cell::Cell::new(Duration::ZERO) };
}

/// Tells what time it is between two steps of the simulation, where no host has a clock.
pub fn set_outside_time(time: Duration) {
    OUTSIDE.set(time);
}

/// Simulated time since the world began.
pub fn now() -> Duration {
    turmoil::sim_elapsed().unwrap_or_else(|| OUTSIDE.get())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_lines_give_equal_digests_and_others_do_not() {
        let run = |texts: &[&str]| {
            let trace = Trace::kept();
            for text in texts {
                trace.point(Class::Fault, "git", || (*text).to_owned());
            }
            (trace.digest(), trace.text())
        };
        assert_eq!(run(&["a", "b"]), run(&["a", "b"]));
        assert_ne!(run(&["a", "b"]).0, run(&["b", "a"]).0);
        assert_eq!(run(&["a"]).1, "    0.000000 git      a\n");
    }
}

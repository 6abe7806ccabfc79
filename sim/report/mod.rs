//! What is told of runs: a line each for a hunt, a folder for a failure.

mod html;

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::Path,
    process::Command,
};

use serde::Serialize;

use crate::{
    marks,
    plan::{INTERRUPTED, KINDS, Plan, UNSYNCED},
    props::Violation,
    trace::Trace,
    world::{self, Outcome},
};

/// A run, for `cargo xtask sim`.
#[derive(Serialize)]
pub struct Line {
    seed: u64,
    property: Option<&'static str>,
    message: Option<String>,
    operations: u64,
    simulated_ms: u64,
    trace: String,
    lines: u64,
    counts: BTreeMap<String, u64>,
}

impl Line {
    /// What came of `seed`.
    pub fn new(seed: u64, outcome: &Outcome) -> Self {
        Self {
            seed,
            property: outcome
                .violation
                .as_ref()
                .map(|violation| violation.property),
            message: outcome
                .violation
                .as_ref()
                .map(|violation| violation.message.clone()),
            operations: outcome.operations,
            simulated_ms: outcome.simulated.as_millis() as u64,
            trace: format!("{:016x}", outcome.digest.0),
            lines: outcome.digest.1,
            counts: counts(outcome),
        }
    }

    /// As one line of JSON.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("plain data")
    }
}

/// What a run counted, and zero for what it knows of and did not come to: what is never reached
/// must be seen too.
fn counts(outcome: &Outcome) -> BTreeMap<String, u64> {
    let kinds = KINDS.iter().chain(&[INTERRUPTED, UNSYNCED]);
    let faults = kinds.map(|kind| format!("fault: {kind}"));
    let marks = marks::ALL.iter().map(|mark| (*mark).to_owned());
    let mut counts: BTreeMap<String, u64> = faults.chain(marks).map(|what| (what, 0)).collect();
    counts.extend(outcome.counts.clone());
    counts
}

/// The file that a hunt's lines go to.
pub struct Lines(File);

impl Lines {
    /// Goes on writing to `path`.
    pub fn append(path: &Path) -> Self {
        let file = OpenOptions::new().create(true).append(true).open(path);
        Self(file.expect("BONSAI_LINES names a file that can be written"))
    }

    /// A run begins: what hangs is known by having begun only.
    pub fn begin(&mut self, seed: u64) {
        writeln!(self.0, "{{\"begun\":{seed}}}").expect("room for a line");
    }

    /// It ended.
    pub fn end(&mut self, line: &Line) {
        writeln!(self.0, "{}", line.json()).expect("room for a line");
    }
}

/// Writes down a failure: the plan, the shrunk one, its trace and timeline, the commit, the command.
pub fn folder(
    folder: &Path,
    plan: &Plan,
    small: &Plan,
    violation: &Violation,
    command: &str,
) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let json = |plan: &Plan| serde_json::to_string_pretty(plan).expect("plain data");
    fs::write(folder.join("plan.json"), json(plan))?;
    fs::write(folder.join("shrunk.json"), json(small))?;
    let trace = Trace::kept();
    let outcome = world::run(small, &trace);
    fs::write(folder.join("trace.txt"), trace.text())?;
    let commit = Command::new("git")
        .args([
            "describe",
            "--always",
            "--dirty",
            "--abbrev=40",
            "--exclude=*",
        ])
        .output();
    let commit = commit.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let commit = commit.unwrap_or_else(|_| "unknown".to_owned());
    let small_command = format!(
        "BONSAI_PLAN={}/shrunk.json cargo test --features sim --test sim replay -- --nocapture",
        folder.display()
    );
    let told = |violation: &Violation| {
        format!(
            "at {:.3} s: {}",
            violation.at.as_secs_f64(),
            violation.message
        )
    };
    let wrong = outcome.violation.as_ref();
    let sizes = |plan: &Plan| format!("{} steps, {} events", plan.steps(), plan.events.len());
    let text = format!(
        "seed {}\nproperty: {}\ncommit: {commit}\n\nwhole: {}\n{}\n{command}\n\nshrunk: {}\n{}\n{small_command}\n",
        plan.seed,
        violation.property,
        sizes(plan),
        told(violation),
        sizes(small),
        wrong.map_or("fails no more".to_owned(), told),
    );
    fs::write(folder.join("failure.txt"), &text)?;
    let wrong = wrong.map(|violation| violation.at);
    let page = html::timeline(&text, &trace.happenings(), outcome.simulated, wrong);
    fs::write(folder.join("timeline.html"), page)
}

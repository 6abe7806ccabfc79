//! `bonsai list`, `status` and `info`, for people and as JSON. May import: this room, mount.

use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use super::{args, failure::Failure, output::Out, progress::size};
use crate::mount::{
    control::NodeReport,
    find,
    names::{DirFields, one_line, printable},
    plan::short_ref,
    state::{Instance, Life, StateRoot},
};

/// Runs `bonsai list`.
///
/// # Errors
/// If the state folder can't be read.
pub fn list(args: &args::List, out: &mut Out) -> Result<(), Failure> {
    let instances = StateRoot::open()?.instances()?;
    if args.json {
        let listed: Vec<Listed> = instances.iter().map(Listed::from).collect();
        out.json(&listed)?;
    } else {
        for line in table(&instances) {
            out.line(&line)?;
        }
    }
    Ok(())
}

/// One mount in `bonsai list --json`.
#[derive(Serialize)]
struct Listed<'a> {
    #[serde(flatten)]
    dir: &'a DirFields,
    source: &'a str,
    #[serde(rename = "ref")]
    ref_name: Option<&'a str>,
    commit: &'a str,
    pid: u32,
    state: Life,
}

impl<'a> From<&'a Instance> for Listed<'a> {
    fn from(instance: &'a Instance) -> Self {
        let record = &instance.record;
        Self {
            dir: &record.dir,
            source: &record.source,
            ref_name: record.ref_name.as_deref(),
            commit: &record.commit,
            pid: record.pid,
            state: instance.life,
        }
    }
}

/// Columns for people, two spaces apart.
fn table(instances: &[Instance]) -> Vec<String> {
    let rows: Vec<[String; 5]> = instances
        .iter()
        .map(|instance| {
            let record = &instance.record;
            let life = match instance.life {
                Life::Ok => "ok",
                Life::Dead => "dead",
            };
            [
                printable(&instance.dir()),
                one_line(&record.source),
                short_ref(record.ref_name.as_deref()).to_owned(),
                format!("{:.12}", record.commit),
                life.to_owned(),
            ]
        })
        .collect();
    let width = |column: usize| {
        let widths = rows.iter().map(|row| row[column].chars().count());
        widths.max().unwrap_or(0)
    };
    let widths: [usize; 5] = std::array::from_fn(width);
    rows.iter()
        .map(|row| {
            let cells: Vec<String> = row
                .iter()
                .zip(widths)
                .map(|(cell, width)| format!("{cell:width$}"))
                .collect();
            cells.join("  ").trim_end().to_owned()
        })
        .collect()
}

/// Runs `bonsai status`.
///
/// # Errors
/// If there is no such mount, or it doesn't answer. Without a mount's name, those that are dead
/// or don't answer are left out; `bonsai list` has them.
pub fn status(args: &args::Status, out: &mut Out) -> Result<(), Failure> {
    let state = StateRoot::open()?;
    let found = match &args.dir {
        Some(dir) => vec![find::status(&find::living(&state, dir)?)?],
        None => {
            let alive = state.instances()?.into_iter();
            let alive = alive.filter(|instance| instance.life == Life::Ok);
            alive
                .filter_map(|instance| find::status(&instance).ok())
                .collect()
        }
    };
    match (args.json, &args.dir) {
        (true, Some(_)) => out.json(&found[0])?,
        (true, None) => out.json(&found)?,
        (false, _) => {
            for (i, status) in found.iter().enumerate() {
                if i > 0 {
                    out.line("")?;
                }
                for line in status_lines(status) {
                    out.line(&line)?;
                }
            }
        }
    }
    Ok(())
}

/// A mount's figures for people. What an older or newer process does not tell is left out.
fn status_lines(status: &Value) -> Vec<String> {
    let text = |pointer: &str| status.pointer(pointer).and_then(Value::as_str);
    let number = |pointer: &str| status.pointer(pointer).and_then(Value::as_u64);
    let mut lines = Vec::new();
    let mut line = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            lines.push(format!("{name:<9} {}", one_line(&value)));
        }
    };
    line("mount", text("/dir").map(str::to_owned));
    line("source", text("/source").map(str::to_owned));
    let commit = text("/commit").unwrap_or_default();
    line(
        "commit",
        Some(format!("{commit} ({})", short_ref(text("/ref")))),
    );
    line(
        "process",
        number("/pid")
            .zip(number("/uptime_seconds"))
            .map(|(pid, seconds)| {
                let version = text("/version").unwrap_or("unknown");
                format!("{pid}, up {}, version {version}", duration(seconds))
            }),
    );
    line(
        "kernel",
        number("/kernel/requests").map(|requests| {
            let by_op = status.pointer("/kernel/by_op").and_then(Value::as_object);
            let mut ops: Vec<(u64, &str)> = by_op
                .into_iter()
                .flatten()
                .filter_map(|(op, count)| Some((count.as_u64()?, op.as_str())))
                .filter(|(count, _)| *count > 0)
                .collect();
            ops.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
            let ops: Vec<String> = ops
                .iter()
                .map(|(count, op)| format!("{op} {count}"))
                .collect();
            let ops = if ops.is_empty() {
                String::new()
            } else {
                format!(": {}", ops.join(", "))
            };
            let over = match text("/kernel/transport") {
                Some("uring") => " over io_uring",
                Some("dev") => " over /dev/fuse",
                _ => "",
            };
            format!("{requests} requests{over}{ops}")
        }),
    );
    line(
        "cache",
        number("/cache/hits")
            .zip(number("/cache/misses"))
            .map(|(hits, misses)| format!("{hits} answered from memory, {misses} had to wait")),
    );
    line(
        "tables",
        number("/inodes")
            .zip(number("/listings"))
            .map(|(inodes, listings)| {
                let bytes = size(number("/listing_bytes").unwrap_or(0));
                format!("{inodes} inodes, {listings} listings ({bytes})")
            }),
    );
    line("follow", status.get("follow").and_then(follow));
    line(
        "origin",
        number("/origin/requests").map(|requests| {
            let bytes = size(number("/origin/bytes").unwrap_or(0));
            let objects = number("/origin/objects").unwrap_or(0);
            let waiting = match number("/origin/waiting") {
                None | Some(0) => String::new(),
                Some(waiting) => format!(", {waiting} more waited for"),
            };
            format!("{requests} requests, {bytes}, {objects} objects{waiting}")
        }),
    );
    line(
        "ahead",
        number("/prefetch/objects").map(|objects| {
            let bytes = size(number("/prefetch/bytes").unwrap_or(0));
            let used = number("/prefetch/used").unwrap_or(0);
            format!("{objects} objects fetched ahead ({bytes}), {used} of them used")
        }),
    );
    line(
        "memory",
        number("/memory/bytes")
            .zip(number("/memory/budget"))
            .map(|(bytes, budget)| {
                let objects = number("/memory/objects").unwrap_or(0);
                format!("{} of {}, {objects} objects", size(bytes), size(budget))
            }),
    );
    line(
        "disk",
        text("/disk/path").map(|path| {
            let bytes = size(number("/disk/bytes").unwrap_or(0));
            let packs = number("/disk/packs").unwrap_or(0);
            let objects = number("/disk/objects").unwrap_or(0);
            format!("{bytes}, {packs} packs, {objects} objects in {path}")
        }),
    );
    line(
        "",
        text("/disk/paused").map(|reason| format!("nothing more is kept on disk: {reason}")),
    );
    let rejected = number("/rejected_entries").filter(|count| *count > 0);
    line(
        "left out",
        rejected.map(|count| format!("{count} tree entries that no honest tree has")),
    );
    line(
        "error",
        text("/last_error/message").map(|message| {
            let ago = number("/last_error/seconds_ago").unwrap_or(0);
            format!("{message} ({} ago)", duration(ago))
        }),
    );
    line("log", text("/log").map(str::to_owned));
    lines
}

/// How a mount follows its ref.
fn follow(follow: &Value) -> Option<String> {
    let number = |name| follow.get(name).and_then(Value::as_u64);
    let follow = follow.as_object()?;
    let how = match number("every_seconds") {
        None => "by bonsai refresh".to_owned(),
        Some(seconds) => format!("every {}", duration(seconds)),
    };
    let last = match number("refreshed_seconds_ago") {
        None => "not refreshed yet".to_owned(),
        Some(seconds) => format!("refreshed {} ago", duration(seconds)),
    };
    let failed = match follow.get("last_error").and_then(Value::as_str) {
        None => String::new(),
        Some(error) => format!(", the last try failed: {error}"),
    };
    Some(format!("{how}, {last}{failed}"))
}

/// A number of seconds for people.
fn duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// Runs `bonsai info`.
///
/// # Errors
/// If the path is in no mount of ours, or is not there.
pub fn info(args: &args::Info, out: &mut Out) -> Result<(), Failure> {
    let report = find::info(&StateRoot::open()?, &args.path)?;
    if args.json {
        out.json(&InfoObject::new(&args.path, &report))?;
    } else {
        for line in info_lines(&args.path, &report) {
            out.line(&line)?;
        }
    }
    Ok(())
}

/// The object of `bonsai info --json`.
#[derive(Serialize)]
struct InfoObject<'a> {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_bytes: Option<String>,
    #[serde(flatten)]
    report: &'a NodeReport,
}

impl<'a> InfoObject<'a> {
    fn new(path: &Path, report: &'a NodeReport) -> Self {
        Self {
            path: path.to_string_lossy().into_owned(),
            path_bytes: crate::mount::names::bytes_field(path),
            report,
        }
    }
}

fn info_lines(path: &Path, report: &NodeReport) -> Vec<String> {
    let size = report
        .size
        .map_or("unknown until it is read".to_owned(), |n| n.to_string());
    vec![
        format!("path     {}", printable(path)),
        format!("kind     {}", report.kind),
        format!("oid      {}", report.oid),
        format!("commit   {}", report.commit),
        format!("size     {size}"),
        format!("content  {}", report.content),
    ]
}

#[cfg(test)]
#[path = "show_tests.rs"]
mod tests;

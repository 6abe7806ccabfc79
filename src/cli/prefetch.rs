//! `bonsai prefetch`. May import: this room, mount.

use serde::Serialize;

use super::{
    args,
    failure::Failure,
    output::{Out, ProgressLine},
    progress::size,
};
use crate::mount::{control::PrefetchStep, find, state::StateRoot};

/// Runs `bonsai prefetch`: each path in turn, with a progress bar on a terminal. When it is
/// interrupted, the mount ends the step that it is at, a few megabytes, and no more.
///
/// # Errors
/// If a path is in no mount of ours or not there, or something can't be fetched; what came before
/// stays.
pub fn prefetch(args: &args::PrefetchPaths, out: &mut Out) -> Result<(), Failure> {
    let state = StateRoot::open()?;
    let mut all = Fetched::default();
    let mut bar = ProgressLine::new();
    for path in &args.paths {
        let sum = find::prefetch(&state, path, &mut |sum| bar.show(&progress(sum)))?;
        all.files += sum.files;
        all.fetched += sum.came;
        all.bytes += sum.bytes;
    }
    drop(bar);
    if args.json {
        out.json(&all)?;
    } else {
        out.line(&all.line())?;
    }
    Ok(())
}

/// The object of `bonsai prefetch --json`.
#[derive(Debug, Default, Serialize)]
struct Fetched {
    /// Files whose content is here now.
    files: u64,
    /// Objects that were fetched for it.
    fetched: u64,
    /// Their bytes.
    bytes: u64,
}

impl Fetched {
    fn line(&self) -> String {
        let Self {
            files,
            fetched,
            bytes,
        } = self;
        let bytes = size(*bytes);
        let objects = if *fetched == 1 { "object" } else { "objects" };
        let files = match files {
            1 => "1 file is here".to_owned(),
            n => format!("{n} files are here"),
        };
        format!("{files}: fetched {fetched} {objects}, {bytes}")
    }
}

fn progress(sum: &PrefetchStep) -> String {
    const WIDTH: u64 = 24;
    let total = sum.total.unwrap_or(sum.files);
    let done = (sum.files.min(total) * WIDTH / total.max(1)) as usize;
    let rest = WIDTH as usize - done;
    let bytes = size(sum.bytes);
    format!(
        "[{}{}] {} of {total} files, {bytes}",
        "#".repeat(done),
        ".".repeat(rest),
        sum.files
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_fills_up() {
        let at = |files| {
            progress(&PrefetchStep {
                files,
                bytes: 2048,
                total: Some(200),
                ..PrefetchStep::default()
            })
        };
        assert_eq!(at(0), "[........................] 0 of 200 files, 2.0 KiB");
        assert_eq!(
            at(100),
            "[############............] 100 of 200 files, 2.0 KiB"
        );
        assert_eq!(
            at(200),
            "[########################] 200 of 200 files, 2.0 KiB"
        );
        let none = progress(&PrefetchStep::default());
        assert_eq!(none, "[........................] 0 of 0 files, 0 B");
    }

    #[test]
    fn what_was_done_is_one_line() {
        let line = |files, fetched, bytes| {
            let fetched = Fetched {
                files,
                fetched,
                bytes,
            };
            fetched.line()
        };
        assert_eq!(line(0, 0, 0), "0 files are here: fetched 0 objects, 0 B");
        assert_eq!(line(1, 1, 5), "1 file is here: fetched 1 object, 5 B");
        assert_eq!(
            line(3, 2, 2048),
            "3 files are here: fetched 2 objects, 2.0 KiB"
        );
    }
}

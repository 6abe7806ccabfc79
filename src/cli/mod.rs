//! The command line: from words to rooms, and from their answers to words.
//!
//! May import: every room; clap, serde_json, tracing-subscriber. Nobody imports this one.
//!
//! Always holds: a failure is one line on standard error that names the thing and the remedy, and
//! an exit code of the table in `code`; standard output has nothing but what was asked for.

pub mod args;
mod cache;
mod code;
mod explain;
mod failure;
mod logging;
mod output;
mod prefetch;
mod progress;
mod refresh;
mod show;
mod start;

use std::{ffi::OsString, process::ExitCode};

use clap::{Parser, error::ErrorKind};

pub use code::Code;
pub use failure::Failure;

use crate::mount::{self, state::StateRoot};
use args::{Cli, Command};
use output::{Out, complain};

/// Runs the command that `words` are, the first of them its name.
pub fn main(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(words) {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    match run(cli.command) {
        Ok(()) => Code::Ok.into(),
        Err(failure) => {
            complain(&failure.line());
            ExitCode::from(failure.code)
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    let out = &mut Out::default();
    match command {
        Command::Mount(args) => start::mount(args, out),
        Command::Unmount(args) => {
            mount::unmount(&StateRoot::open()?, &args.dir, args.force)?;
            Ok(())
        }
        Command::List(args) => show::list(&args, out),
        Command::Status(args) => show::status(&args, out),
        Command::Info(args) => show::info(&args, out),
        Command::Prefetch(args) => prefetch::prefetch(&args, out),
        Command::Cache(args) => cache::cache(args, out),
        Command::Refresh(args) => refresh::refresh(&args, out),
        Command::Daemon => start::daemon(),
    }
}

/// Help and version are answers; anything else is one line.
fn usage(error: &clap::Error) -> ExitCode {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    ) {
        // It may have nobody to read it.
        let _ = error.print();
        return Code::Ok.into();
    }
    complain(&usage_failure(error).line());
    Code::Usage.into()
}

fn usage_failure(error: &clap::Error) -> Failure {
    let happened = if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        "the command is missing".to_owned()
    } else {
        // The first paragraph says what is wrong; usage and tips follow.
        let text = error.to_string();
        let first = text.split("\n\n").next().unwrap_or_default();
        let first = first.strip_prefix("error: ").unwrap_or(first);
        let words: Vec<&str> = first.split_whitespace().collect();
        words.join(" ")
    };
    Failure::new(Code::Usage, &happened, "bonsai --help shows how")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(words: &[&str]) -> String {
        let error = Cli::try_parse_from(words).expect_err("wrong usage");
        usage_failure(&error).line()
    }

    #[test]
    fn wrong_usage_is_one_line() {
        assert_eq!(
            line(&["bonsai"]),
            "bonsai: the command is missing; bonsai --help shows how"
        );
        assert_eq!(
            line(&["bonsai", "mount", "."]),
            "bonsai: the following required arguments were not provided: <DIR>; bonsai --help \
             shows how"
        );
        assert_eq!(
            line(&["bonsai", "list", "--jsn"]),
            "bonsai: unexpected argument '--jsn' found; bonsai --help shows how"
        );
        let memory = line(&["bonsai", "mount", ".", "m", "--memory", "x"]);
        assert!(memory.contains("'x'") && !memory.contains('\n'), "{memory}");
    }
}

//! The `bonsai` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    bonsaifs::cli::main(std::env::args_os())
}

//! Chores of this repository: `cargo xtask sim` hunts with the simulation, `cargo xtask museum` tries the
//! detectors on planted bugs.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command for people, whose output is what it is for"
)]

mod museum;
mod sim;
mod summary;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask sim [--seeds N] [--from SEED] [--jobs J] [--batch B] [--out FOLDER] [--keep-going]
    Runs N seeds of the simulation (1000), J processes at a time (2), B seeds a process (1), and sums
    up what came of them. Each failure is shrunk and written to a folder of its own below FOLDER
    (target/sim-failures). Ends at the first failures unless told to keep going.

cargo xtask museum [NAME ...] [--some N --turn K] [--detector loom|shuttle|sim|test]
    Plants each bug of sim/museum/, or those with one of these numbers or names, into a copy
    of the tree, and says which detector caught it and after how much. --some N takes the N whose turn
    it is. --detector leaves out what another one catches; shuttle runs loom's models.";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.split_first() {
        Some((command, rest)) if command == "sim" => match sim::Options::parse(rest) {
            Ok(options) => sim::run(&options),
            Err(wrong) => {
                eprintln!("{wrong}\n{HELP}");
                ExitCode::from(2)
            }
        },
        Some((command, rest)) if command == "museum" => match museum::Options::parse(rest) {
            Ok(options) => museum::run(&options),
            Err(wrong) => {
                eprintln!("{wrong}\n{HELP}");
                ExitCode::from(2)
            }
        },
        _ => {
            eprintln!("{HELP}");
            ExitCode::from(2)
        }
    }
}

//! `cargo xtask museum`: puts each planted bug of `sim/museum/` into a copy of the tree and says which
//! detector caught it, and after how many seeds or executions.
//!
//! Always holds: the checkout is only read; every detector is first tried on the copy without a
//! bug, where it must find nothing.

mod copy;
mod detect;
mod piece;
mod process;

use std::{
    collections::BTreeSet,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use self::{
    copy::Copy,
    detect::{Detectors, Found},
    piece::{Detector, Piece},
};

/// Where the pieces are.
const FOLDER: &str = "sim/museum";

/// What to do.
#[derive(Default)]
pub struct Options {
    /// Numbers, or parts of names; all pieces without.
    names: Vec<String>,
    /// How many, and which turn it is.
    some: Option<usize>,
    turn: usize,
    /// Only those that this detector catches.
    only: Option<String>,
    /// Models run under shuttle.
    shuttle: bool,
}

impl Options {
    /// Reads the command line after `museum`.
    pub fn parse(args: &[String]) -> Result<Self, String> {
        let mut options = Self::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            if !arg.starts_with("--") {
                options.names.push(arg.clone());
                continue;
            }
            let value = args.next().ok_or(format!("{arg} wants a value"))?;
            let number = || {
                value
                    .parse::<usize>()
                    .map_err(|_| format!("{arg} wants a number"))
            };
            match (arg.as_str(), value.as_str()) {
                ("--some", _) => options.some = Some(number()?),
                ("--turn", _) => options.turn = number()?,
                ("--detector", "shuttle") => {
                    options.shuttle = true;
                    options.only = Some("loom".to_owned());
                }
                ("--detector", "loom" | "sim" | "test") => options.only = Some(value.clone()),
                ("--detector", _) => return Err(format!("no detector is called {value}")),
                _ => return Err(format!("unknown option {arg}")),
            }
        }
        Ok(options)
    }

    /// The pieces that are asked for, those of one detector side by side: that saves builds.
    fn choose(&self, all: Vec<Piece>) -> Vec<Piece> {
        let mut pieces: Vec<Piece> = all
            .into_iter()
            .filter(|piece| {
                let only = self.only.as_deref();
                only.is_none_or(|only| piece.detector.name() == only)
            })
            .filter(|piece| {
                let named = |name: &String| piece.is_called(name.trim_end_matches(".patch"));
                self.names.is_empty() || self.names.iter().any(named)
            })
            .collect();
        if let Some(some) = self.some.filter(|some| *some < pieces.len()) {
            let first = self.turn.wrapping_mul(some) % pieces.len();
            pieces.rotate_left(first);
            pieces.truncate(some);
        }
        pieces.sort_by_key(|piece| (piece.detector.name(), piece.name.clone()));
        pieces
    }
}

/// A line of the table.
struct Row {
    piece: Piece,
    verdict: Result<Found, String>,
    built: Duration,
    ran: Duration,
}

/// Plants, and looks.
pub fn run(options: &Options) -> ExitCode {
    match go(options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn go(options: &Options) -> Result<bool, String> {
    let pieces = options.choose(piece::all(Path::new(FOLDER))?);
    if pieces.is_empty() {
        return Err("no piece of the museum is called so".to_owned());
    }
    let copy = Copy::make()?;
    let detectors = Detectors::new(&copy, options.shuttle);
    controls(&detectors, &pieces)?;
    let mut rows = Vec::new();
    for piece in pieces {
        let row = try_one(&copy, &detectors, piece)?;
        println!("{}", line(&row));
        rows.push(row);
    }
    println!("\n{}", table(&rows));
    Ok(rows.iter().all(|row| row.verdict.is_ok()))
}

/// A detector that cries without a bug proves nothing.
fn controls(detectors: &Detectors<'_>, pieces: &[Piece]) -> Result<(), String> {
    let named: BTreeSet<&Detector> = pieces.iter().map(|piece| &piece.detector).collect();
    let began = Instant::now();
    for detector in &named {
        detectors
            .build(detector)
            .map_err(|log| format!("{detector} can't be built without a bug:\n{log}"))
            .and_then(|binary| detectors.control(detector, &binary))?;
    }
    println!(
        "{} detectors find nothing without a bug ({:.0} s)",
        named.len(),
        began.elapsed().as_secs_f64()
    );
    Ok(())
}

fn try_one(copy: &Copy, detectors: &Detectors<'_>, piece: Piece) -> Result<Row, String> {
    let began = Instant::now();
    let planted = copy.plant(&piece);
    let built = match &planted {
        Ok(()) => detectors
            .build(&piece.detector)
            .map_err(|log| format!("does not build:\n{log}")),
        Err(error) => Err(error.clone()),
    };
    let build_time = began.elapsed();
    let began = Instant::now();
    let verdict = built.and_then(|binary| detectors.look(&piece.detector, &binary));
    let ran = began.elapsed();
    // However it went, the next piece finds the tree as it was.
    copy.restore(&piece)?;
    Ok(Row {
        piece,
        verdict,
        built: build_time,
        ran,
    })
}

fn line(row: &Row) -> String {
    match &row.verdict {
        Ok(found) => format!("{}: caught by {found}", row.piece.name),
        Err(reason) => format!("{}: NOT CAUGHT: {reason}", row.piece.name),
    }
}

fn table(rows: &[Row]) -> String {
    let mut out = format!(
        "| {:<46} | {:<8} | {:<42} | {:>14} | {:>7} | {:>5} |\n",
        "planted", "class", "caught by", "after", "build s", "run s"
    );
    out.push_str(&format!(
        "|{:-<48}|{:-<10}|{:-<44}|{:->16}|{:->9}|{:->7}|\n",
        "", "", "", ":", ":", ":"
    ));
    for row in rows {
        let (by, after) = match &row.verdict {
            Ok(found) => (found.by.clone(), found.after.clone()),
            Err(_) => ("NOT CAUGHT".to_owned(), String::new()),
        };
        out.push_str(&format!(
            "| {:<46} | {:<8} | {by:<42} | {after:>14} | {:>7.1} | {:>5.1} |\n",
            row.piece.name,
            row.piece.class,
            row.built.as_secs_f64(),
            row.ran.as_secs_f64(),
        ));
    }
    let missed = rows.iter().filter(|row| row.verdict.is_err()).count();
    out.push_str(&format!(
        "{} planted, {} caught",
        rows.len(),
        rows.len() - missed
    ));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(args: &[&str]) -> Options {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        Options::parse(&args).expect("a command line")
    }

    fn pieces() -> Vec<Piece> {
        let text = |by: &str| format!("A bug.\nClass: 1\nCaught by: {by}\n\n--- a/x\n+++ b/x\n");
        let piece =
            |name: &str, by: &str| Piece::parse(name.to_owned(), text(by)).expect("a piece");
        vec![
            piece("01-a", "loom flight a"),
            piece("02-b", "sim"),
            piece("03-c", "loom flight b"),
            piece("04-d", "sim"),
            piece("05-e", "test bonsaifs lib x::y"),
        ]
    }

    fn chosen(args: &[&str]) -> Vec<String> {
        let chosen = options(args).choose(pieces());
        chosen.into_iter().map(|piece| piece.name).collect()
    }

    #[test]
    fn turns_go_through_all_pieces() {
        assert_eq!(chosen(&["--some", "2", "--turn", "0"]), ["01-a", "02-b"]);
        let seen: BTreeSet<String> = (0..5)
            .flat_map(|turn| chosen(&["--some", "2", "--turn", &turn.to_string()]))
            .collect();
        assert_eq!(seen.len(), 5);
        assert_eq!(chosen(&["--some", "9", "--turn", "3"]).len(), 5);
    }

    #[test]
    fn pieces_are_chosen_by_name_and_by_detector() {
        assert_eq!(chosen(&["2", "05-e.patch"]), ["02-b", "05-e"]);
        assert_eq!(chosen(&["0"]).len(), 0);
        assert_eq!(chosen(&["--detector", "sim"]), ["02-b", "04-d"]);
        assert_eq!(chosen(&["--detector", "shuttle"]), ["01-a", "03-c"]);
        assert!(options(&["--detector", "shuttle"]).shuttle);
    }

    #[test]
    fn a_wrong_command_line_is_refused() {
        for wrong in [
            &["--some"][..],
            &["--some", "x"],
            &["--what", "1"],
            &["--detector", "eyes"],
        ] {
            let args: Vec<String> = wrong.iter().map(|arg| (*arg).to_owned()).collect();
            assert!(Options::parse(&args).is_err(), "{wrong:?}");
        }
    }
}

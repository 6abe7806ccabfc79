//! `bonsai refresh`. May import: this room, mount.

use std::path::Path;

use serde::Serialize;

use super::{args, failure::Failure, output::Out};
use crate::mount::{
    control::Refreshed,
    find,
    names::printable,
    plan::{Follow, short_ref},
    state::StateRoot,
};

/// Runs `bonsai refresh`.
///
/// # Errors
/// If there is no such mount, it is pinned, or the ref can't be had; the mount stays as it is.
pub fn refresh(args: &args::Refresh, out: &mut Out) -> Result<(), Failure> {
    let told = find::refresh(&StateRoot::open()?, &args.dir)??;
    if args.json {
        out.json(&Object {
            moved: told.old != told.new,
            told: &told,
        })?;
    } else {
        out.line(&line(&args.dir, &told))?;
    }
    Ok(())
}

#[derive(Serialize)]
struct Object<'a> {
    moved: bool,
    #[serde(flatten)]
    told: &'a Refreshed,
}

fn line(dir: &Path, told: &Refreshed) -> String {
    let name = short_ref(told.ref_name.as_deref());
    let dir = printable(dir);
    match told.old == told.new {
        true => format!("{dir}: already at {name} {:.12}", told.new),
        false => format!("{dir}: {name} {:.12} -> {:.12}", told.old, told.new),
    }
}

/// What `--follow` takes: `manual`, or a number with `s`, `m` or `h`.
///
/// # Errors
/// What is wrong with it.
pub fn parse_follow(text: &str) -> Result<Follow, String> {
    if text == "manual" {
        return Ok(Follow::Manual);
    }
    let wrong = || "give a time from 1s on, as 30s, 5m or 1h, or manual".to_owned();
    let digits = text.trim_end_matches(['s', 'm', 'h']);
    let factor = match &text[digits.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(wrong()),
    };
    let number: u32 = digits.parse().map_err(|_| wrong())?;
    match u64::from(number) * factor {
        0 => Err(wrong()),
        seconds => Ok(Follow::Every { seconds }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_of_it_is_one_line() {
        let told = |old: &str, new: &str| Refreshed {
            old: old.repeat(40),
            new: new.repeat(40),
            ref_name: Some("refs/heads/main".to_owned()),
            changed: 3,
        };
        let dir = Path::new("m");
        let same = line(dir, &told("1", "1"));
        assert_eq!(same, "m: already at main 111111111111");
        let moved = line(dir, &told("1", "2"));
        assert_eq!(moved, "m: main 111111111111 -> 222222222222");
    }

    #[test]
    fn times_are_numbers_with_a_unit() {
        let every = |seconds| Ok(Follow::Every { seconds });
        assert_eq!(parse_follow("30s"), every(30));
        assert_eq!(parse_follow("5m"), every(300));
        assert_eq!(parse_follow("2h"), every(7200));
        assert_eq!(parse_follow("manual"), Ok(Follow::Manual));
        for wrong in [
            "",
            "0s",
            "30",
            "s",
            "1d",
            "-1s",
            "1ss",
            "1.5h",
            "99999999999s",
        ] {
            assert!(parse_follow(wrong).is_err(), "{wrong}");
        }
    }
}

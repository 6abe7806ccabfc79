//! The ways to run it: one seed to read, a few as a test, a range for a hunt, one again to compare.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    marks,
    plan::Plan,
    report::{self, Line},
    shrink,
    trace::Trace,
    world::{self, Outcome},
};

/// Operations of one run, about.
const OPERATIONS: u64 = 1000;

/// The standard seeds: every mark is reached by one of them.
const STANDARD: std::ops::Range<u64> = 0..200;

/// Seeds that are run twice each, in processes of their own.
const TWICE: std::ops::Range<u64> = 0..20;

fn number(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

/// How to see a run again.
fn command(seed: u64) -> String {
    format!("BONSAI_SEED={seed} cargo test --features sim --test sim replay -- --nocapture")
}

/// What is to be run: a plan from a file, or that of a seed.
fn plan() -> Plan {
    match env::var_os("BONSAI_PLAN") {
        Some(path) => {
            let text = fs::read_to_string(&path).expect("BONSAI_PLAN names a file");
            serde_json::from_str(&text).expect("BONSAI_PLAN names a plan")
        }
        None => Plan::draw(number("BONSAI_SEED").unwrap_or(1), OPERATIONS),
    }
}

fn verdict(seed: u64, outcome: &Outcome) -> String {
    match &outcome.violation {
        None => format!("seed {seed}: all properties hold"),
        Some(violation) => format!(
            "seed {seed}: \"{}\" does not hold at {:.3} s: {}\n{}\nseed {seed}",
            violation.property,
            violation.at.as_secs_f64(),
            violation.message,
            command(seed),
        ),
    }
}

/// Prints the trace of `BONSAI_SEED`, or of the plan in the file `BONSAI_PLAN`.
#[test]
fn replay() {
    let plan = plan();
    println!("seed {}", plan.seed);
    let outcome = world::run(&plan, &Trace::live());
    println!("{}", Line::new(plan.seed, &outcome).json());
    println!("{}", verdict(plan.seed, &outcome));
    assert!(
        outcome.violation.is_none(),
        "{}",
        verdict(plan.seed, &outcome)
    );
}

/// Runs `BONSAI_SEEDS` (`from..to`) one after the other and writes a line for each into the file
/// `BONSAI_LINES`. For `cargo xtask sim`; does nothing without these.
#[test]
fn hunt() {
    let (Ok(seeds), Some(path)) = (env::var("BONSAI_SEEDS"), env::var_os("BONSAI_LINES")) else {
        return;
    };
    let bounds = seeds
        .split_once("..")
        .and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    let seeds: std::ops::Range<u64> = bounds.expect("BONSAI_SEEDS is from..to");
    let mut lines = report::Lines::append(Path::new(&path));
    for seed in seeds {
        lines.begin(seed);
        let outcome = world::run(&Plan::draw(seed, OPERATIONS), &Trace::default());
        lines.end(&Line::new(seed, &outcome));
    }
}

/// Makes the failing plan of `BONSAI_SEED` smaller and writes all there is to know about it into the
/// folder `BONSAI_FOLDER`. For `cargo xtask sim`; does nothing without these.
#[test]
fn shrink() {
    let Some(folder) = env::var_os("BONSAI_FOLDER").map(PathBuf::from) else {
        return;
    };
    let plan = plan();
    let outcome = world::run(&plan, &Trace::default());
    let Some(violation) = outcome.violation else {
        println!("seed {}: all properties hold", plan.seed);
        return;
    };
    let small = shrink::shrink(&plan, &violation);
    report::folder(&folder, &plan, &small, &violation, &command(plan.seed))
        .expect("the folder can be written");
    println!("{}", folder.display());
}

/// All properties hold for the standard seeds, and each rare situation is reached.
#[test]
fn standard_seeds() {
    let mut reached = BTreeMap::<String, u64>::new();
    for seed in STANDARD {
        let outcome = world::run(&Plan::draw(seed, OPERATIONS), &Trace::default());
        assert!(outcome.violation.is_none(), "{}", verdict(seed, &outcome));
        for (what, count) in outcome.counts {
            *reached.entry(what).or_default() += count;
        }
    }
    let missed: Vec<_> = marks::ALL
        .into_iter()
        .filter(|mark| !reached.contains_key(*mark))
        .collect();
    assert!(
        missed.is_empty(),
        "never reached by the seeds {STANDARD:?}: {missed:?}"
    );
}

/// A seed gives the same trace, byte for byte, in each process.
#[test]
fn a_seed_gives_the_same_trace_twice() {
    let run = |seed: u64| {
        let output = Command::new(env::current_exe().expect("this test has a file"))
            .args(["runs::replay", "--exact", "--nocapture"])
            .env("BONSAI_SEED", seed.to_string())
            .env_remove("BONSAI_PLAN")
            .output()
            .expect("this test can be started");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        // Below its last line the test harness tells how long it took.
        let end = text
            .find("test runs::replay ...")
            .or_else(|| text.find("\ntest result"))
            .unwrap_or(text.len());
        text[..end].to_owned()
    };
    for seed in TWICE {
        let (first, second) = (run(seed), run(seed));
        let differs = first
            .lines()
            .zip(second.lines())
            .find(|(first, second)| first != second);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(first.len(), second.len(), "seed {seed}");
        assert!(
            first.lines().count() > 20,
            "seed {seed} has a trace: {first}"
        );
    }
}

//! The detectors: building them in the copy, and running them until they see something or their
//! time is over.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{
    copy::Copy,
    piece::Detector,
    process::{self, tail},
};

/// Within what a bug is to be seen.
const SEEDS: u64 = 2000;
const PATIENCE: Duration = Duration::from_secs(60);
/// Seeds without a bug, to see that the simulation finds nothing.
const CONTROL: u64 = 50;
/// One seed takes a tenth of a second; one that takes so long hangs.
const HANG: Duration = Duration::from_secs(25);

/// What was seen.
pub struct Found {
    /// By whom.
    pub by: String,
    /// After how many seeds or executions.
    pub after: String,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, after {}", self.by, self.after)
    }
}

/// The detectors, over one copy.
pub struct Detectors<'a> {
    copy: &'a Copy,
    shuttle: bool,
}

/// How some seeds went.
enum Seeds {
    /// All of them, or as many as there was time for.
    Fine(u64),
    /// One failed.
    Failed { seed: u64, property: String },
}

impl<'a> Detectors<'a> {
    /// `shuttle`: models are run under shuttle, not loom.
    pub fn new(copy: &'a Copy, shuttle: bool) -> Self {
        Self { copy, shuttle }
    }

    /// Builds a detector from the copy as it is; its program, or what the compiler said.
    pub fn build(&self, detector: &Detector) -> Result<PathBuf, String> {
        let tree = self.copy.tree();
        let (folder, target, args) = match detector {
            Detector::Loom { file, .. } => {
                let mut args = vec!["--release", "--test", file];
                if self.shuttle {
                    args.extend(["--no-default-features", "--features", "shuttle"]);
                }
                (tree.join("loom-tests"), "loom", args)
            }
            Detector::Sim => (tree, "target", vec!["--features", "sim", "--test", "sim"]),
            Detector::Test {
                package, target, ..
            } => {
                let mut args = vec!["-p", package];
                match target.as_str() {
                    "lib" => args.push("--lib"),
                    test => args.extend(["--test", test]),
                }
                (tree, "target", args)
            }
        };
        let output = Command::new("cargo")
            .args(["test", "--locked", "--no-run", "--message-format", "json"])
            .args(args)
            .current_dir(folder)
            .env("CARGO_TARGET_DIR", self.copy.place(target))
            .output()
            .map_err(|error| format!("cargo: {error}"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let binary = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|message| message["profile"]["test"] == true)
            .find_map(|message| Some(PathBuf::from(message["executable"].as_str()?)));
        match binary.filter(|_| output.status.success()) {
            Some(binary) => Ok(binary),
            None => Err(errors(&text, &String::from_utf8_lossy(&output.stderr))),
        }
    }

    /// Without a bug nothing may be seen.
    pub fn control(&self, detector: &Detector, binary: &Path) -> Result<(), String> {
        match detector {
            Detector::Loom { test, .. } | Detector::Test { test, .. } => {
                let ended = self.test(binary, test, PATIENCE * 10)?;
                if ended.status.is_some_and(|status| status.success())
                    && ended.said.contains("1 passed")
                {
                    return Ok(());
                }
                Err(format!(
                    "{detector} fails without a bug:\n{}",
                    tail(&ended.said)
                ))
            }
            Detector::Sim => match self.seeds(binary, CONTROL, PATIENCE * 10)? {
                Seeds::Fine(_) => Ok(()),
                Seeds::Failed { seed, property } => {
                    Err(format!("without a bug seed {seed} fails: {property}"))
                }
            },
        }
    }

    /// Looks for a bug that is planted: who saw it, or why nobody did.
    pub fn look(&self, detector: &Detector, binary: &Path) -> Result<Found, String> {
        match detector {
            Detector::Loom { test, .. } => {
                let ended = self.test(binary, test, PATIENCE)?;
                // A deadlock under loom ends the process: destructors can't run in it. So the
                // execution is told by a hook, not by the harness.
                let said = |line: &str| Some(line.strip_prefix("failed in execution ")?.to_owned());
                match ended.said.lines().find_map(said) {
                    Some(execution) => Ok(Found {
                        by: match self.shuttle {
                            true => format!("shuttle, {test}"),
                            false => format!("loom, {test}"),
                        },
                        after: format!("{execution} exec."),
                    }),
                    None => Err(format!(
                        "{detector} has not seen it:\n{}",
                        tail(&ended.said)
                    )),
                }
            }
            Detector::Test { test, .. } => {
                let ended = self.test(binary, test, PATIENCE)?;
                let failed = ended.said.contains("1 failed") || ended.status.is_none();
                match failed {
                    true => Ok(Found {
                        by: format!("test, {test}"),
                        after: "1 test".to_owned(),
                    }),
                    false => Err(format!(
                        "{detector} has not seen it:\n{}",
                        tail(&ended.said)
                    )),
                }
            }
            Detector::Sim => match self.seeds(binary, SEEDS, PATIENCE)? {
                Seeds::Failed { seed, property } => Ok(Found {
                    by: format!("sim, {property}"),
                    after: format!("{} seeds", seed + 1),
                }),
                Seeds::Fine(seeds) => Err(format!("{seeds} seeds have not seen it")),
            },
        }
    }

    fn test(
        &self,
        binary: &Path,
        test: &str,
        patience: Duration,
    ) -> Result<process::Ended, String> {
        let mut command = Command::new(binary);
        command
            .args([test, "--exact", "--nocapture"])
            .current_dir(self.copy.tree());
        process::run(&mut command, &self.copy.place("log"), patience)
    }

    /// Runs seeds from 0 on, one after the other, until one fails.
    fn seeds(&self, binary: &Path, seeds: u64, patience: Duration) -> Result<Seeds, String> {
        let lines = self.copy.place("lines");
        // It is only there if there was a run before.
        let _ = fs::remove_file(&lines);
        let mut child = Command::new(binary)
            .args(["runs::hunt", "--exact", "--quiet"])
            .env("BONSAI_SEEDS", format!("0..{seeds}"))
            .env("BONSAI_LINES", &lines)
            .current_dir(self.copy.tree())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("{}: {error}", binary.display()))?;
        let began = Instant::now();
        let mut last = (0, Instant::now());
        loop {
            let ended = !matches!(child.try_wait(), Ok(None));
            let run = Lines::read(&fs::read_to_string(&lines).unwrap_or_default());
            if run.ended > last.0 {
                last = (run.ended, Instant::now());
            }
            let hangs = last.1.elapsed() > HANG;
            let over = ended || hangs || began.elapsed() > patience || run.failed.is_some();
            if !over {
                thread::sleep(Duration::from_millis(20));
                continue;
            }
            process::end(&mut child);
            if let Some((seed, property)) = run.failed {
                return Ok(Seeds::Failed { seed, property });
            }
            return match run.open {
                Some(seed) if hangs || ended => Ok(Seeds::Failed {
                    seed,
                    property: if hangs { "it hangs" } else { "it died" }.to_owned(),
                }),
                None if ended && run.ended == 0 => Err("the simulation did not run".to_owned()),
                _ => Ok(Seeds::Fine(run.ended)),
            };
        }
    }
}

/// What a run has written down so far.
#[derive(Default)]
struct Lines {
    /// Seeds that ended.
    ended: u64,
    /// The seed that began last, if it has not ended.
    open: Option<u64>,
    /// The first that failed, and the property that did not hold.
    failed: Option<(u64, String)>,
}

impl Lines {
    fn read(text: &str) -> Self {
        let mut lines = Self::default();
        for line in text
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        {
            if let Some(seed) = line["begun"].as_u64() {
                lines.open = Some(seed);
            } else if let Some(seed) = line["seed"].as_u64() {
                lines.open = None;
                lines.ended += 1;
                if let (None, Some(property)) = (&lines.failed, line["property"].as_str()) {
                    lines.failed = Some((seed, property.to_owned()));
                }
            }
        }
        lines
    }
}

/// The errors among a build's messages, or else what cargo itself said.
fn errors(messages: &str, stderr: &str) -> String {
    let rendered: Vec<String> = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["message"]["level"] == "error")
        .filter_map(|message| Some(message["message"]["rendered"].as_str()?.to_owned()))
        .collect();
    match rendered.is_empty() {
        true => tail(stderr),
        false => rendered.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_and_the_seed_under_way_are_known_from_the_lines() {
        let text = concat!(
            "{\"begun\":0}\n{\"seed\":0,\"property\":null}\n",
            "{\"begun\":1}\n{\"seed\":1,\"property\":\"truth\"}\n",
            "{\"begun\":2}\n{\"seed\":2,\"property\":\"balance\"}\n",
            "{\"begun\":3}\n{\"seed\":3,\"pro",
        );
        let lines = Lines::read(text);
        assert_eq!((lines.ended, lines.open), (3, Some(3)));
        assert_eq!(lines.failed, Some((1, "truth".to_owned())));
    }

    #[test]
    fn what_the_compiler_says_is_told() {
        let messages =
            r#"{"reason":"compiler-message","message":{"level":"error","rendered":"error: no\n"}}"#;
        assert_eq!(errors(messages, "x"), "error: no\n");
        assert_eq!(
            errors("", "error: no such package"),
            "error: no such package"
        );
    }
}

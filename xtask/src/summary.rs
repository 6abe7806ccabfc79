//! Sums up what a hunt's runs wrote.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    time::Duration,
};

use serde_json::Value;

/// All runs of a hunt.
#[derive(Default)]
pub struct Summary {
    ended: u64,
    /// Seeds that began and never ended.
    hung: BTreeSet<u64>,
    operations: u64,
    simulated_ms: u64,
    counts: BTreeMap<String, u64>,
    /// By property: seeds, and what was seen by the first.
    failed: BTreeMap<String, (BTreeSet<u64>, String)>,
}

impl Summary {
    /// Takes in all the lines of one process.
    pub fn read(&mut self, lines: &str) {
        let mut begun = BTreeSet::new();
        for line in lines
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        {
            if let Some(seed) = line["begun"].as_u64() {
                begun.insert(seed);
                continue;
            }
            let Some(seed) = line["seed"].as_u64() else {
                continue;
            };
            begun.remove(&seed);
            self.ended += 1;
            self.operations += line["operations"].as_u64().unwrap_or(0);
            self.simulated_ms += line["simulated_ms"].as_u64().unwrap_or(0);
            for (what, count) in line["counts"].as_object().into_iter().flatten() {
                *self.counts.entry(what.clone()).or_default() += count.as_u64().unwrap_or(0);
            }
            if let Some(property) = line["property"].as_str() {
                let message = line["message"].as_str().unwrap_or_default().to_owned();
                let failed = self.failed.entry(property.to_owned());
                failed.or_insert((BTreeSet::new(), message)).0.insert(seed);
            }
        }
        self.hung.extend(begun);
    }

    /// How far a hunt of `all` seeds has come.
    pub fn progress(&self, all: u64) -> String {
        format!(
            "{} of {all} seeds, failed: {:?}",
            self.ended,
            first(&self.failed_seeds())
        )
    }

    /// How many seeds failed or hung.
    pub fn failures(&self) -> usize {
        self.failed_seeds().len()
    }

    /// The seeds that failed or hung.
    pub fn failed_seeds(&self) -> BTreeSet<u64> {
        let mut seeds = self.hung.clone();
        seeds.extend(self.failed.values().flat_map(|(seeds, _)| seeds));
        seeds
    }

    /// For people. The runs took `took` by the clock and `busy` of processor time.
    pub fn text(&self, took: Duration, busy: Duration, jobs: usize) -> String {
        let mut out = String::new();
        let seeds = self.ended as f64;
        let rate = |time: Duration| seeds / time.as_secs_f64().max(1e-9);
        // Writing to a string can't fail.
        let _ = writeln!(
            out,
            "{seeds} seeds, {} operations ({:.0} a seed), {:.0} s simulated, in {:.1} s: {:.1} seeds/s with {jobs} jobs, {:.1} a second of processor time",
            self.operations,
            self.operations as f64 / seeds.max(1.0),
            self.simulated_ms as f64 / 1000.0,
            took.as_secs_f64(),
            rate(took),
            rate(busy),
        );
        let (faults, marks): (Vec<_>, Vec<_>) = self
            .counts
            .iter()
            .partition(|(what, _)| what.starts_with("fault: "));
        for (title, counts) in [("faults", faults), ("marks", marks)] {
            let _ = writeln!(out, "{title}:");
            for (what, count) in counts {
                let what = what.trim_start_matches("fault: ");
                let never = if *count == 0 { "  NEVER" } else { "" };
                let _ = writeln!(out, "{count:>10}  {what}{never}");
            }
        }
        for (property, (seeds, message)) in &self.failed {
            let _ = writeln!(
                out,
                "FAILED \"{property}\": {} seeds, {:?} …\n    {message}",
                seeds.len(),
                first(seeds)
            );
        }
        if !self.hung.is_empty() {
            let _ = writeln!(out, "HUNG, OR DIED: {:?}", first(&self.hung));
        }
        if let Some(seed) = self.failed_seeds().first() {
            let _ = write!(
                out,
                "BONSAI_SEED={seed} cargo test --features sim --test sim replay -- --nocapture"
            );
        }
        out
    }
}

fn first(seeds: &BTreeSet<u64>) -> Vec<u64> {
    seeds.iter().take(10).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_and_hangs_are_told_apart_and_counted() {
        let mut summary = Summary::default();
        summary.read(concat!(
            "{\"begun\":1}\n",
            "{\"seed\":1,\"property\":null,\"operations\":10,\"simulated_ms\":5,\"counts\":{\"a\":2,\"b\":0}}\n",
            "{\"begun\":2}\n",
            "{\"seed\":2,\"property\":\"truth\",\"message\":\"x\",\"operations\":3,\"simulated_ms\":5,\"counts\":{\"a\":1}}\n",
            "{\"begun\":3}\n",
        ));
        assert_eq!(summary.failed_seeds(), BTreeSet::from([2, 3]));
        // What another process wrote ends nothing of this one.
        summary.read(
            "{\"seed\":3,\"property\":null,\"operations\":0,\"simulated_ms\":0,\"counts\":{}}\n",
        );
        assert_eq!(summary.progress(9), "3 of 9 seeds, failed: [2, 3]");
        let text = summary.text(Duration::from_secs(1), Duration::from_secs(4), 1);
        assert!(text.contains("3 seeds, 13 operations (4 a seed)"), "{text}");
        assert!(text.contains("3.0 seeds/s with 1 jobs, 0.8 a second of processor time"));
        assert!(text.contains("FAILED \"truth\": 1 seeds"), "{text}");
        assert!(text.contains("HUNG, OR DIED: [3]"), "{text}");
        assert!(text.contains("         3  a\n"), "{text}");
        assert!(text.contains("         0  b  NEVER\n"), "{text}");
    }
}

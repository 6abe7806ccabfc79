//! How far a start is, for people, at a readable pace. May import: repo's progress.

use std::time::{Duration, Instant};

use crate::repo::Progress;

/// At most one line in this time.
const PACE: Duration = Duration::from_millis(100);

/// Turns progress into lines.
#[derive(Debug, Default)]
pub struct Narrator {
    last: Option<Instant>,
}

impl Narrator {
    /// The line to show now, if it is time for one.
    pub fn line(&mut self, progress: Progress, now: Instant) -> Option<String> {
        let soon = self
            .last
            .is_some_and(|last| now.duration_since(last) < PACE);
        if soon && matches!(progress, Progress::Fetching { .. }) {
            return None;
        }
        let text = describe(progress)?;
        self.last = Some(now);
        Some(text)
    }
}

fn describe(progress: Progress) -> Option<String> {
    match progress {
        Progress::Resolving => Some("resolving the ref …".to_owned()),
        Progress::Fetching {
            objects,
            total,
            bytes,
        } => {
            let of = total.map_or(String::new(), |total| format!(" of {total}"));
            Some(format!(
                "fetching the tree: {objects}{of} objects, {}",
                size(bytes)
            ))
        }
        Progress::Ready => None,
    }
}

/// A number of bytes for people.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let power = (bytes.ilog2() / 10).min(6);
    let unit = UNITS[power as usize - 1];
    // Tenths, cut off: enough for people, and exact for the computer.
    let tenths = (u128::from(bytes) * 10) >> (10 * power);
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fetching(objects: u64) -> Progress {
        Progress::Fetching {
            objects,
            total: Some(10),
            bytes: 2048,
        }
    }

    #[test]
    fn lines_come_at_a_readable_pace() {
        let mut narrator = Narrator::default();
        let start = Instant::now();
        let first = narrator.line(fetching(1), start);
        assert_eq!(
            first.as_deref(),
            Some("fetching the tree: 1 of 10 objects, 2.0 KiB")
        );
        assert_eq!(narrator.line(fetching(2), start + PACE / 2), None);
        assert!(narrator.line(fetching(3), start + PACE).is_some());
        assert!(narrator.line(Progress::Resolving, start + PACE).is_some());
        assert_eq!(narrator.line(Progress::Ready, start + PACE * 9), None);
    }

    #[test]
    fn sizes_are_short_and_right() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_048_575, "1023.9 KiB"),
            (1 << 20, "1.0 MiB"),
            (u64::MAX, "15.9 EiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}

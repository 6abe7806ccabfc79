//! **Stable directories**: in a scan of a directory each entry comes exactly once, whatever happens
//! meanwhile, and going back to an offset gives the same entries again.

use super::Check;

pub const NAME: &str = "stable directories";

/// One scan of one directory, from opening it to closing it.
#[derive(Default)]
pub struct ScanWatch {
    /// What came, in order: the offset after it, its name, its number.
    seen: Vec<(u64, Vec<u8>, u64)>,
    /// Where in `seen` the next entry stands.
    at: usize,
}

impl ScanWatch {
    /// The program goes to an offset that it was given before; 0 is the beginning.
    pub fn seek(&mut self, offset: u64) {
        self.at = match offset {
            0 => 0,
            _ => self
                .seen
                .iter()
                .position(|seen| seen.0 == offset)
                .map_or(self.seen.len(), |at| at + 1),
        };
    }

    /// An entry came.
    pub fn entry(&mut self, next: u64, name: &[u8], ino: u64) -> Check {
        let entry = (next, name.to_owned(), ino);
        if let Some(before) = self.seen.get(self.at) {
            if *before != entry {
                return Err(format!("{entry:?} where {before:?} was before"));
            }
        } else {
            if self.seen.iter().any(|seen| seen.1 == name) {
                return Err(format!("{} came twice", name.escape_ascii()));
            }
            if next == 0 || self.seen.iter().any(|seen| seen.0 == next) {
                return Err(format!("the offset {next} came twice"));
            }
            self.seen.push(entry);
        }
        self.at += 1;
        Ok(())
    }

    /// Nothing more came.
    pub fn end(&self) -> Check {
        match self.at == self.seen.len() {
            true => Ok(()),
            false => Err(format!(
                "the end after {} of {} entries",
                self.at,
                self.seen.len()
            )),
        }
    }

    /// An offset that was given, chosen by `pick`.
    pub fn offset(&self, pick: u64) -> u64 {
        match self.seen.len() as u64 {
            0 => 0,
            len => match pick % (len + 1) {
                0 => 0,
                n => self.seen[n as usize - 1].0,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan() -> ScanWatch {
        let mut scan = ScanWatch::default();
        for (offset, name) in [(1, "."), (2, ".."), (3, "a"), (4, "b")] {
            scan.entry(offset, name.as_bytes(), offset)
                .expect("a fine scan");
        }
        scan
    }

    #[test]
    fn a_fine_scan_with_a_seek_is_fine() {
        let mut scan = scan();
        scan.seek(3);
        assert_eq!(scan.entry(4, b"b", 4), Ok(()));
        assert_eq!(scan.end(), Ok(()));
        scan.seek(0);
        assert_eq!(scan.entry(1, b".", 1), Ok(()));
    }

    #[test]
    fn an_entry_that_comes_twice_is_seen() {
        assert!(scan().entry(5, b"a", 3).is_err());
        assert!(scan().entry(4, b"c", 9).is_err(), "its offset does");
    }

    #[test]
    fn other_entries_after_a_seek_are_seen() {
        let mut other = scan();
        other.seek(2);
        assert!(other.entry(4, b"b", 4).is_err(), "one was skipped");
        let mut other = scan();
        other.seek(2);
        assert!(other.entry(3, b"a", 77).is_err(), "another number");
        let mut short = scan();
        short.seek(2);
        short.entry(3, b"a", 3).expect("as before");
        assert!(short.end().is_err(), "an early end");
    }

    #[test]
    fn offsets_given_out_can_be_chosen() {
        assert_eq!(
            (0..5).map(|pick| scan().offset(pick)).collect::<Vec<_>>(),
            [0, 1, 2, 3, 4]
        );
    }
}

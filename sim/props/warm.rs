//! **Warm answers** (idea 4 of the design): what was answered once, and has had no reason to leave
//! memory, is answered at once; a name that a known directory doesn't have, too.

use std::collections::BTreeSet;

use super::{Check, truth::shown};
use crate::repo::split;

pub const NAME: &str = "warm answers";

/// What one process of a mount was asked, by the kernel's names for it.
#[derive(Default)]
pub struct Warm {
    /// Directories that are known: listed, or found or not found something in.
    dirs: BTreeSet<Vec<u8>>,
    /// Paths whose attributes were told.
    known: BTreeSet<Vec<u8>>,
    /// Contents that were told, of files, links and open directories, and how they were asked for: what is open as a
    /// directory may be a file by now.
    content: BTreeSet<(&'static str, Vec<u8>)>,
}

impl Warm {
    /// `what` of `path` was answered; `found` unless there is no such name.
    pub fn answered(&mut self, what: &'static str, path: &[u8], found: bool) {
        match what {
            "lookup" => {
                let dir = split(path).map_or(&b""[..], |(dir, _)| dir);
                self.dirs.insert(dir.to_owned());
                if found {
                    self.known.insert(path.to_owned());
                }
            }
            "opendir" => drop(self.dirs.insert(path.to_owned())),
            "getattr" => drop(self.known.insert(path.to_owned())),
            _ => drop(self.content.insert((what, path.to_owned()))),
        }
    }

    /// `what` of `path`, which is there or not, has to wait. `listings` and `objects` say whether
    /// memory has room for all of either.
    pub fn waits(
        &self,
        what: &'static str,
        path: &[u8],
        is_there: bool,
        listings: bool,
        objects: bool,
    ) -> Check {
        let dir = split(path).map_or(&b""[..], |(dir, _)| dir);
        let is_warm = match what {
            "lookup" if is_there => listings && self.known.contains(path),
            "lookup" => listings && self.dirs.contains(dir),
            "opendir" => listings && self.dirs.contains(path),
            "getattr" => listings && self.known.contains(path),
            _ => objects && self.content.contains(&(what, path.to_owned())),
        };
        match is_warm {
            true => Err(format!("{what} of {} waits, and was known", shown(path))),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_answered_and_has_to_wait_again_is_seen() {
        let mut warm = Warm::default();
        let questions = [
            ("lookup", &b"d/a"[..], true),
            ("lookup", b"d/none", false),
            ("opendir", b"d", true),
            ("getattr", b"d/a", true),
            ("read", b"d/a", true),
        ];
        for (what, path, there) in questions {
            assert_eq!(warm.waits(what, path, there, true, true), Ok(()));
        }
        warm.answered("lookup", b"d/a", true);
        warm.answered("read", b"d/a", true);
        for (what, path, there) in questions {
            assert!(warm.waits(what, path, there, true, true).is_err(), "{what}");
        }
        assert_eq!(warm.waits("lookup", b"d/b", true, true, true), Ok(()));
        assert_eq!(warm.waits("lookup", b"d/none", false, false, true), Ok(()));
        assert_eq!(warm.waits("read", b"d/a", true, true, false), Ok(()));
        warm.answered("readdir", b"d/b", true);
        assert_eq!(warm.waits("read", b"d/b", true, true, true), Ok(()));
    }
}

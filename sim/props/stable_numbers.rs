//! **Stable numbers** (idea 2 of the design): an inode number stands for one path as long as the kernel
//! knows it, and a path has the same number after a remount.

use std::collections::BTreeMap;

use super::Check;
use super::truth::shown;

pub const NAME: &str = "stable numbers";

/// Remembers the numbers of one mount over its remounts.
pub struct Numbers {
    /// False where numbers are made to collide, or a branch is followed: then a number may depend on who came first.
    across_remounts: bool,
    ever: BTreeMap<(Vec<u8>, u8), u64>,
}

impl Numbers {
    pub fn new(across_remounts: bool) -> Self {
        Self {
            across_remounts,
            ever: BTreeMap::new(),
        }
    }

    /// `path`, of a kind that is the same from mount to mount, has the number `ino`; `holder` is the
    /// path that the kernel knows by that number, if it knows one, and `current` the number that it
    /// knows the path by.
    pub fn seen(
        &mut self,
        path: &[u8],
        kind: u8,
        ino: u64,
        holder: Option<&[u8]>,
        current: Option<u64>,
    ) -> Check {
        if let Some(holder) = holder.filter(|holder| *holder != path) {
            return Err(format!("{ino:#x} is {} and {}", shown(holder), shown(path)));
        }
        if let Some(current) = current.filter(|current| *current != ino) {
            return Err(format!("{} is {current:#x} and {ino:#x}", shown(path)));
        }
        let before = *self.ever.entry((path.to_owned(), kind)).or_insert(ino);
        if self.across_remounts && before != ino {
            return Err(format!("{} was {before:#x} and is {ino:#x}", shown(path)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_number_for_two_paths_is_seen() {
        let mut numbers = Numbers::new(true);
        assert_eq!(numbers.seen(b"a", 0, 5, None, None), Ok(()));
        assert_eq!(numbers.seen(b"a", 0, 5, Some(b"a"), Some(5)), Ok(()));
        assert!(numbers.seen(b"b", 0, 5, Some(b"a"), None).is_err());
    }

    #[test]
    fn two_numbers_for_one_path_are_seen() {
        let mut numbers = Numbers::new(true);
        numbers.seen(b"a", 0, 5, None, None).expect("the first");
        assert!(numbers.seen(b"a", 0, 6, None, Some(5)).is_err(), "at once");
        assert!(
            numbers.seen(b"a", 0, 6, None, None).is_err(),
            "after a remount"
        );
        assert_eq!(
            numbers.seen(b"a", 1, 6, None, None),
            Ok(()),
            "it is of another kind now"
        );
        let mut colliding = Numbers::new(false);
        colliding.seen(b"a", 0, 5, None, None).expect("the first");
        assert_eq!(colliding.seen(b"a", 0, 6, None, None), Ok(()));
    }
}

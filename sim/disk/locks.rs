//! Advisory locks on the files of a simulated disk. They end with the process that holds them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use bonsaifs::seams::disk::Hold;

/// All locks of a disk. A clone is another handle to the same locks.
#[derive(Clone, Default)]
pub struct Locks(Arc<Mutex<Held>>);

#[derive(Default)]
struct Held {
    next: u64,
    by_path: BTreeMap<PathBuf, Vec<Holder>>,
}

struct Holder {
    number: u64,
    hold: Hold,
    dead: Arc<AtomicBool>,
}

/// One lock, until it is dropped.
pub struct Lock {
    locks: Locks,
    path: PathBuf,
    number: u64,
}

impl Locks {
    /// The lock on `path` for the process that ends when `dead` is set, if nobody is in the way.
    pub fn take(&self, path: &Path, hold: Hold, dead: &Arc<AtomicBool>) -> Option<Lock> {
        let mut held = self.0.lock().expect("taking a lock does not panic");
        held.next += 1;
        let number = held.next;
        let holders = held.by_path.entry(path.to_owned()).or_default();
        holders.retain(|holder| !holder.dead.load(Ordering::Relaxed));
        let free = match hold {
            Hold::Shared => holders.iter().all(|holder| holder.hold == Hold::Shared),
            Hold::Alone => holders.is_empty(),
        };
        free.then(|| {
            holders.push(Holder {
                number,
                hold,
                dead: dead.clone(),
            });
            Lock {
                locks: self.clone(),
                path: path.to_owned(),
                number,
            }
        })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let mut held = self.locks.0.lock().expect("taking a lock does not panic");
        if let Some(holders) = held.by_path.get_mut(&self.path) {
            holders.retain(|holder| holder.number != self.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_ends_with_its_process() {
        let locks = Locks::default();
        let (one, other) = (Arc::default(), Arc::default());
        let path = Path::new("/lock");
        let shared = locks.take(path, Hold::Shared, &one).expect("free");
        let again = locks.take(path, Hold::Shared, &other).expect("shared");
        assert!(locks.take(path, Hold::Alone, &other).is_none());
        drop(again);
        assert!(locks.take(path, Hold::Alone, &other).is_none());
        one.store(true, Ordering::Relaxed);
        let alone = locks.take(path, Hold::Alone, &other).expect("one is dead");
        drop(shared);
        assert!(locks.take(path, Hold::Shared, &one).is_none());
        drop(alone);
        assert!(locks.take(path, Hold::Shared, &one).is_some());
    }
}

//! **No panic**: no task of the product panics, whatever comes over the network or from the disk.

use std::sync::{Mutex, Once};

use super::Check;

pub const NAME: &str = "no panic";

static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Begins to note panics, also of tasks, whose runtime would swallow them.
pub fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if let Ok(mut seen) = SEEN.lock() {
                seen.push(info.to_string());
            }
            before(info);
        }));
    });
    clear();
}

/// Forgets what was noted.
pub fn clear() {
    if let Ok(mut seen) = SEEN.lock() {
        seen.clear();
    }
}

/// Whether anything panicked since.
pub fn check() -> Check {
    match SEEN.lock().ok().and_then(|mut seen| seen.pop()) {
        Some(message) => Err(message),
        None => Ok(()),
    }
}

//! **No panic**: no task of the product panics, whatever comes over the network or from the disk.
//!
//! A world lives on one thread, and so do its panics: worlds and tests on other threads have their own.

use std::{cell::RefCell, sync::Once};

use super::Check;

pub const NAME: &str = "no panic";

thread_local! {
    static SEEN: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Begins to note this thread's panics, also those of tasks, whose runtime would swallow them.
pub fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            // A thread that is ending has no world any more.
            let _ = SEEN.try_with(|seen| {
                if let Ok(mut seen) = seen.try_borrow_mut() {
                    seen.push(info.to_string());
                }
            });
            before(info);
        }));
    });
    SEEN.take();
}

/// Whether anything panicked since this was asked last.
pub fn check() -> Check {
    match SEEN.take().into_iter().next() {
        Some(message) => Err(message),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_that_the_runtime_swallowed_is_seen_once() {
        install();
        assert_eq!(check(), Ok(()));
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.expect("a runtime without I/O always starts");
        let joined = runtime.block_on(async { tokio::spawn(async { panic!("planted") }).await });
        assert!(joined.is_err(), "the task is gone, and the program goes on");
        let message = check().expect_err("a panic");
        assert!(message.contains("planted"), "{message}");
        assert_eq!(check(), Ok(()));
    }

    #[test]
    fn another_thread_has_panics_of_its_own() {
        install();
        let other = std::thread::spawn(|| panic!("planted elsewhere"));
        assert!(other.join().is_err());
        assert_eq!(check(), Ok(()));
    }

    #[test]
    fn a_new_world_does_not_answer_for_the_panics_before_it() {
        install();
        assert!(std::panic::catch_unwind(|| panic!("planted before")).is_err());
        install();
        assert_eq!(check(), Ok(()));
    }
}

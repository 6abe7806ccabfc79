//! Models of `oneshot`: the receiver always ends, and a value is given once or given back.

use bonsai_loom_tests::{Threads, block_on, explore, poll_once, thread};
use bonsaifs_core::cache::oneshot::oneshot;

#[test]
fn a_value_reaches_the_one_who_waits() {
    explore(Threads::Two, &[], |_| {
        let (sender, receiver) = oneshot();
        let sending = thread::spawn(move || sender.send(7));
        assert_eq!(block_on(receiver), Some(7));
        assert_eq!(sending.join().expect("no panic"), Ok(()));
    });
}

#[test]
fn a_sender_that_goes_ends_the_wait() {
    explore(Threads::Two, &[], |_| {
        let (sender, receiver) = oneshot::<u8>();
        let going = thread::spawn(move || drop(sender));
        assert_eq!(block_on(receiver), None);
        going.join().expect("no panic");
    });
}

/// The receiver goes, after a poll, while the value is sent: it was given, or is given back.
#[test]
fn a_value_is_taken_or_given_back() {
    explore(Threads::Two, &["given back", "taken"], |seen| {
        let (sender, mut receiver) = oneshot();
        let sending = thread::spawn(move || sender.send(7));
        let got = poll_once(&mut receiver);
        drop(receiver);
        match sending.join().expect("no panic") {
            Err(7) => {
                seen.mark("given back");
                assert!(got.is_pending());
            }
            Ok(()) if got.is_ready() => seen.mark("taken"),
            Ok(()) => {}
            Err(_) => panic!("another value came back"),
        }
    });
}

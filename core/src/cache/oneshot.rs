//! A slot for one value from one task to another. May import: [`crate::sync`].
//!
//! Always holds: the receiver ends. It gets the value, or `None` once the sender is gone without
//! one (dropped, cancelled, panicked).

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use crate::sync::{Arc, Mutex, lock};

/// A slot, by its two ends.
pub fn oneshot<T>() -> (Sender<T>, Receiver<T>) {
    let slot = Arc::new(Mutex::new(State::Empty(None)));
    let sender = Sender {
        slot: Arc::clone(&slot),
    };
    (sender, Receiver { slot })
}

enum State<T> {
    /// Nothing sent yet; the waker of the receiver once it was polled.
    Empty(Option<Waker>),
    Sent(T),
    /// One end is gone, or the value was taken.
    Closed,
}

/// The end that gives the value. Dropping it tells the receiver that there will be none.
pub struct Sender<T> {
    slot: Arc<Mutex<State<T>>>,
}

/// The end that waits: a future of the value, or of `None` if the sender is gone without one.
/// Dropping it tells the sender that nobody waits.
pub struct Receiver<T> {
    slot: Arc<Mutex<State<T>>>,
}

impl<T> Sender<T> {
    /// Hands over `value`, or gives it back if the receiver is gone.
    pub fn send(self, value: T) -> Result<(), T> {
        let mut state = lock(&self.slot);
        match &mut *state {
            State::Empty(waker) => {
                let waker = waker.take();
                *state = State::Sent(value);
                drop(state);
                if let Some(waker) = waker {
                    waker.wake();
                }
                Ok(())
            }
            State::Sent(_) | State::Closed => Err(value),
        }
    }

    /// True once the receiver is gone, so that work for it can be skipped.
    pub fn is_closed(&self) -> bool {
        matches!(*lock(&self.slot), State::Closed)
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut state = lock(&self.slot);
        if let State::Empty(waker) = &mut *state {
            let waker = waker.take();
            *state = State::Closed;
            // Outside the lock: waking may run, or drop, anything.
            drop(state);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

impl<T> Future for Receiver<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut state = lock(&self.slot);
        match &mut *state {
            State::Empty(waker) => {
                let old = waker.replace(cx.waker().clone());
                drop(state);
                drop(old);
                Poll::Pending
            }
            State::Sent(_) => match std::mem::replace(&mut *state, State::Closed) {
                State::Sent(value) => Poll::Ready(Some(value)),
                State::Empty(_) | State::Closed => Poll::Ready(None),
            },
            State::Closed => Poll::Ready(None),
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let left = std::mem::replace(&mut *lock(&self.slot), State::Closed);
        drop(left);
    }
}

#[cfg(all(test, not(any(feature = "loom", feature = "shuttle"))))]
mod tests {
    use super::*;
    use crate::testing::poll_once;

    #[test]
    fn a_value_sent_before_or_after_the_first_poll_arrives() {
        let (sender, mut receiver) = oneshot();
        assert_eq!(sender.send(1), Ok(()));
        assert_eq!(poll_once(&mut receiver), (Poll::Ready(Some(1)), 0));

        let (sender, mut receiver) = oneshot();
        let (poll, wakes) = crate::testing::poll_counting(&mut receiver);
        assert_eq!(poll, Poll::Pending);
        assert_eq!(sender.send(2), Ok(()));
        assert_eq!(wakes.count(), 1);
        assert_eq!(poll_once(&mut receiver), (Poll::Ready(Some(2)), 0));
    }

    #[test]
    fn a_dropped_sender_ends_the_wait() {
        let (sender, mut receiver) = oneshot::<()>();
        let (poll, wakes) = crate::testing::poll_counting(&mut receiver);
        assert_eq!(poll, Poll::Pending);
        drop(sender);
        assert_eq!(wakes.count(), 1);
        assert_eq!(poll_once(&mut receiver), (Poll::Ready(None), 0));
    }

    #[test]
    fn a_dropped_receiver_gives_the_value_back() {
        let (sender, receiver) = oneshot();
        assert!(!sender.is_closed());
        drop(receiver);
        assert!(sender.is_closed());
        assert_eq!(sender.send("unwanted"), Err("unwanted"));
    }

    #[test]
    fn only_the_last_waker_is_woken() {
        let (sender, mut receiver) = oneshot::<()>();
        let (_, first) = crate::testing::poll_counting(&mut receiver);
        let (_, second) = crate::testing::poll_counting(&mut receiver);
        drop(sender);
        assert_eq!((first.count(), second.count()), (0, 1));
    }
}

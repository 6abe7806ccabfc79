//! Driving futures inside a model. May import: this crate's locks, std.

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

use crate::{Condvar, Mutex, lock};

/// A thread that waits to be woken. Unlike park and unpark it loses nothing and adds nothing: a
/// future that is never woken leaves its thread here, and the checker reports the deadlock.
struct Bed {
    woken: Mutex<bool>,
    alarm: Condvar,
}

impl Wake for Bed {
    fn wake(self: Arc<Self>) {
        *lock(&self.woken) = true;
        self.alarm.notify_one();
    }
}

/// Runs `future` to its end on this thread of the model.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let bed = Arc::new(Bed {
        woken: Mutex::new(false),
        alarm: Condvar::new(),
    });
    let waker = Waker::from(Arc::clone(&bed));
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        let mut woken = lock(&bed.woken);
        while !*woken {
            woken = bed
                .alarm
                .wait(woken)
                .unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        *woken = false;
    }
}

/// Polls once, with a waker that does nothing: what a task does that is cancelled next.
pub fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

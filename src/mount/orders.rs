//! Who may end a mount from outside: signals, and the command that started it. May import: tokio.

use std::{future::pending, io};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};

/// Waits for the word to end.
#[derive(Debug)]
pub struct Orders {
    signals: Signals,
    /// Tells that the command that started this background process is gone.
    starter: Option<oneshot::Receiver<()>>,
}

#[derive(Debug)]
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    on_hangup: Hangup,
}

/// What the end of a terminal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hangup {
    /// In the foreground: the end of the mount, which would be left dead otherwise.
    Ends,
    /// In the background: nothing.
    Ignored,
}

impl Orders {
    /// For a process in the foreground. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// If signals can't be had.
    pub fn foreground() -> io::Result<Self> {
        Self::new(Hangup::Ends, None)
    }

    /// For one in the background; `starter` ends when the command that started it does.
    ///
    /// # Errors
    /// As [`Orders::foreground`].
    pub fn background(starter: oneshot::Receiver<()>) -> io::Result<Self> {
        Self::new(Hangup::Ignored, Some(starter))
    }

    fn new(on_hangup: Hangup, starter: Option<oneshot::Receiver<()>>) -> io::Result<Self> {
        Ok(Self {
            signals: Signals {
                interrupt: signal(SignalKind::interrupt())?,
                terminate: signal(SignalKind::terminate())?,
                hangup: signal(SignalKind::hangup())?,
                on_hangup,
            },
            starter,
        })
    }

    /// Ends when the mount is to end: SIGINT or SIGTERM, and SIGHUP in the foreground.
    pub async fn stop(&mut self) {
        self.signals.stop().await;
    }

    /// The same, and when nobody waits for the start any more.
    pub async fn stop_start(&mut self) {
        let Self { signals, starter } = self;
        let gone = async {
            match starter {
                // However it ends, the other side is gone.
                Some(starter) => drop(starter.await),
                None => pending().await,
            }
        };
        tokio::select! {
            () = signals.stop() => {}
            () = gone => {}
        }
    }
}

impl Signals {
    async fn stop(&mut self) {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => return,
                _ = self.terminate.recv() => return,
                _ = self.hangup.recv() => {
                    if self.on_hangup == Hangup::Ends {
                        return;
                    }
                }
            }
        }
    }
}

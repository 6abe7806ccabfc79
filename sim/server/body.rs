//! A response's body that keeps a schedule: pieces, pauses, and an end that may be abrupt.

use std::{
    collections::VecDeque,
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use tokio::time::{Sleep, sleep};

use crate::trace::now;

/// One thing that happens on the way out.
#[derive(Clone, Debug)]
pub enum Piece {
    Data(Bytes),
    Wait(Duration),
    /// One byte a second until that moment, then the rest.
    Drip(Bytes, Duration),
    /// The connection breaks.
    Break,
}

/// A body that plays its pieces in order.
#[derive(Default)]
pub struct Script {
    pieces: VecDeque<Piece>,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Script {
    /// A body of these pieces.
    pub fn new(pieces: impl IntoIterator<Item = Piece>) -> Self {
        Self {
            pieces: pieces.into_iter().collect(),
            waiting: None,
        }
    }

    /// A body that is here at once.
    pub fn whole(data: impl Into<Bytes>) -> Self {
        let data = data.into();
        Self::new((!data.is_empty()).then_some(Piece::Data(data)))
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        loop {
            if let Some(waiting) = &mut self.waiting {
                ready!(waiting.as_mut().poll(cx));
                self.waiting = None;
            }
            match self.pieces.pop_front() {
                None => return Poll::Ready(None),
                Some(Piece::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Some(Piece::Wait(time)) => self.waiting = Some(Box::pin(sleep(time))),
                Some(Piece::Drip(data, until)) if now() >= until || data.len() < 2 => {
                    self.pieces.push_front(Piece::Data(data));
                }
                Some(Piece::Drip(mut data, until)) => {
                    let first = data.split_to(1);
                    self.pieces.push_front(Piece::Drip(data, until));
                    self.pieces.push_front(Piece::Wait(Duration::from_secs(1)));
                    return Poll::Ready(Some(Ok(Frame::data(first))));
                }
                Some(Piece::Break) => {
                    return Poll::Ready(Some(Err(io::ErrorKind::ConnectionReset.into())));
                }
            }
        }
    }
}

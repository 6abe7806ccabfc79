//! The answer to `fetch`: read the same however it is cut, never more pack than arrived, through
//! only when it is, and every word of the server safe to print.

use bonsaifs::git::v2::{FetchEvent, FetchResponse, ProtocolError};
use bytes::Bytes;

use super::is_printable;
use crate::input::{Cuts, Input};

/// See the module.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let cuts = input.cuts();
    let stream = super::answer(&mut input);
    let whole = read(&stream, Cuts::NONE);
    assert_eq!(read(&stream, cuts), whole, "depends on the cuts");

    let (events, end) = &whole;
    let mut pack = 0;
    for event in events {
        match event {
            FetchEvent::PackData(bytes) => {
                assert!(!bytes.is_empty());
                pack += bytes.len();
            }
            FetchEvent::Progress(text) => assert!(is_printable(text), "{text:?}"),
            FetchEvent::WantedRef { name, .. } => assert!(is_printable(name), "{name:?}"),
            FetchEvent::Shallow(_) | FetchEvent::Unshallow(_) | FetchEvent::End => {}
        }
    }
    assert!(pack <= stream.len());
    assert_eq!(
        end.is_ok(),
        events.last() == Some(&FetchEvent::End),
        "through without an end, or the other way round"
    );
    assert!(events.iter().rev().skip(1).all(|e| *e != FetchEvent::End));
    match end {
        Err(ProtocolError::Remote(text)) => assert!(is_printable(text), "{text:?}"),
        Err(ProtocolError::Malformed(_) | ProtocolError::Truncated) => {}
        Ok(()) => check_cut_off(&stream, events),
    }
}

/// An answer that ends early is through at no place before its end.
fn check_cut_off(stream: &[u8], events: &[FetchEvent]) {
    // What follows the end is ignored, so the end itself has to be found first.
    let is_through = |len: usize| read(&stream[..len], Cuts::NONE).1.is_ok();
    let mut through = stream.len();
    while through > 0 && through + 64 > stream.len() && is_through(through - 1) {
        through -= 1;
    }
    for len in [through / 4, through / 2, through.saturating_sub(1)] {
        let (part, end) = read(&stream[..len], Cuts::NONE);
        if is_through(len) {
            // The end is further ahead than was looked.
            continue;
        }
        assert_eq!(end, Err(ProtocolError::Truncated));
        let complete = part.len().min(part.len().saturating_sub(1));
        assert_eq!(part[..complete], events[..complete], "another beginning");
    }
}

/// All events, neighbouring pieces of pack joined, and how it ended.
fn read(stream: &[u8], cuts: Cuts<'_>) -> (Vec<FetchEvent>, Result<(), ProtocolError>) {
    let mut response = FetchResponse::new();
    let mut events: Vec<FetchEvent> = Vec::new();
    for piece in cuts.pieces(stream) {
        response.feed(Bytes::copy_from_slice(piece));
        loop {
            match response.next_event() {
                Ok(None) => break,
                Ok(Some(event)) => push(&mut events, event),
                Err(error) => {
                    assert_eq!(response.finish(), Err(error.clone()), "an error stands");
                    return (events, Err(error));
                }
            }
        }
    }
    (events, response.finish())
}

fn push(events: &mut Vec<FetchEvent>, event: FetchEvent) {
    match (events.last_mut(), event) {
        (Some(FetchEvent::PackData(before)), FetchEvent::PackData(more)) => {
            *before = [&before[..], &more[..]].concat().into();
        }
        (_, event) => events.push(event),
    }
}

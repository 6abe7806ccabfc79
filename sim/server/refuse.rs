//! Answers that say no, or send elsewhere, whatever was asked for.

use super::{
    answer::{Answered, RESULT},
    body::Script,
    respond,
};
use crate::plan::Answer;

/// Below this everything is served once more, as often as it is put in front.
pub(super) const MOVED: &str = "/moved";

/// The answer to a request for `target`, if this one needs no further look at it.
pub(super) fn refuse(answer: Answer, target: &str) -> Option<Answered> {
    let (seconds, place);
    let (status, header, body): (u16, Option<(&str, &str)>, &str) = match answer {
        Answer::Status(401) => (401, Some(("www-authenticate", "Basic realm=\"sim\"")), ""),
        Answer::Status(status) => (status, None, ""),
        Answer::RetryAfter(status, after) => {
            seconds = after.to_string();
            (status, Some(("retry-after", seconds.as_str())), "")
        }
        Answer::Moved(status) => {
            place = format!("{MOVED}{target}");
            (status, Some(("location", place.as_str())), "")
        }
        Answer::Loop => (302, Some(("location", target)), ""),
        Answer::Page => (
            200,
            Some(("content-type", "text/html")),
            "<html>Please log in.</html>",
        ),
        Answer::Empty => (200, RESULT.first().copied(), ""),
        _ => return None,
    };
    let response = respond(status, header.as_slice(), Script::whole(body.to_owned()));
    Some((format!("-> {}", answer.name()), response))
}

//! The answer to `fetch`, read as it arrives: sections of lines, then the pack in a sideband.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{ProtocolError, malformed, pktline, remote};
use crate::git::{
    oid::Oid,
    pktline::{Pkt, PktReader},
    refname,
};

/// As much of one line of progress as is kept.
const PROGRESS_LIMIT: usize = 1_000;

/// What an answer holds, in the order in which it comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchEvent {
    /// This commit comes without its parents.
    Shallow(Oid),
    /// This commit comes with its parents.
    Unshallow(Oid),
    /// What a ref that was wanted by name points to.
    WantedRef {
        /// The full name; valid as [`refname::is_valid`] says.
        name: String,
        /// The object.
        oid: Oid,
    },
    /// The next bytes of the pack; never empty.
    PackData(Bytes),
    /// A line of progress, without its line break and safe to print.
    Progress(String),
    /// The answer is through. Whether the pack is, its checksum must tell.
    End,
}

/// Where in the answer the next packet stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before a section's name.
    Heading,
    /// Among the lines of `acknowledgments`, which nothing here asked for.
    Acknowledgments,
    /// Among the lines of `shallow-info`.
    ShallowInfo,
    /// Among the lines of `wanted-refs`.
    WantedRefs,
    /// In the sideband of `packfile`.
    Pack,
    /// Behind the last flush packet.
    End,
}

/// Reads one answer: feed it what arrives, take events until there is none, and ask
/// [`FetchResponse::finish`] when nothing more arrives.
#[derive(Debug)]
pub struct FetchResponse {
    reader: PktReader,
    place: Place,
    /// Events of packets that were looked at already.
    ready: VecDeque<FetchEvent>,
    /// A line of progress whose end didn't come yet.
    line: Vec<u8>,
    failed: Option<ProtocolError>,
}

impl Default for FetchResponse {
    fn default() -> Self {
        Self::new()
    }
}

impl FetchResponse {
    /// A reader at the start of an answer.
    pub fn new() -> Self {
        Self {
            reader: PktReader::new(),
            place: Place::Heading,
            ready: VecDeque::new(),
            line: Vec::new(),
            failed: None,
        }
    }

    /// Takes the next bytes of the answer. What follows its end is ignored.
    pub fn feed(&mut self, data: Bytes) {
        if self.place != Place::End {
            self.reader.feed(data);
        }
    }

    /// The next event, or `None` until more is fed. An error stands: each further call gives it
    /// again.
    pub fn next_event(&mut self) -> Result<Option<FetchEvent>, ProtocolError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let result = self.advance();
        if let Err(error) = &result {
            self.failed = Some(error.clone());
        }
        result
    }

    /// To be called when nothing more arrives.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::Truncated`] if the answer isn't through; an earlier error again.
    pub fn finish(&self) -> Result<(), ProtocolError> {
        match (&self.failed, self.place) {
            (Some(error), _) => Err(error.clone()),
            (None, Place::End) => Ok(()),
            (None, _) => Err(ProtocolError::Truncated),
        }
    }

    fn advance(&mut self) -> Result<Option<FetchEvent>, ProtocolError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            if self.place == Place::End {
                return Ok(None);
            }
            match self.reader.next_pkt()? {
                None => return Ok(None),
                Some(Pkt::Data(content)) if self.place == Place::Pack => self.sideband(content)?,
                Some(Pkt::Data(content)) => self.text(&content)?,
                Some(Pkt::Flush) if self.place == Place::Pack => {
                    self.end_progress_line();
                    self.ready.push_back(FetchEvent::End);
                    self.place = Place::End;
                }
                Some(Pkt::Delim) if !matches!(self.place, Place::Pack | Place::Heading) => {
                    self.place = Place::Heading;
                }
                Some(Pkt::Flush) => {
                    return Err(ProtocolError::Malformed(
                        "the answer has no pack".to_owned(),
                    ));
                }
                Some(Pkt::Delim | Pkt::ResponseEnd) => {
                    return Err(ProtocolError::Malformed(
                        "the answer's sections are out of order".to_owned(),
                    ));
                }
            }
        }
    }

    /// Takes a packet of text: a section's name, or one of its lines.
    fn text(&mut self, content: &[u8]) -> Result<(), ProtocolError> {
        if let Some(message) = content.strip_prefix(b"ERR ") {
            return Err(ProtocolError::Remote(remote::printable(message)));
        }
        let line = pktline::text(content);
        match self.place {
            Place::Heading => {
                self.place = match line {
                    b"acknowledgments" => Place::Acknowledgments,
                    b"shallow-info" => Place::ShallowInfo,
                    b"wanted-refs" => Place::WantedRefs,
                    b"packfile" => Place::Pack,
                    other => return Err(malformed("a section that was not asked for", other)),
                };
            }
            Place::ShallowInfo => {
                let event = shallow(line).ok_or_else(|| malformed("not a shallow commit", line))?;
                self.ready.push_back(event);
            }
            Place::WantedRefs => {
                let event = wanted_ref(line).ok_or_else(|| malformed("not a wanted ref", line))?;
                self.ready.push_back(event);
            }
            Place::Acknowledgments | Place::Pack | Place::End => {}
        }
        Ok(())
    }

    /// Takes a packet of the pack's section: 1 is pack data, 2 progress, 3 the server's last words.
    fn sideband(&mut self, content: Bytes) -> Result<(), ProtocolError> {
        match content.first() {
            Some(1) if content.len() > 1 => {
                self.ready
                    .push_back(FetchEvent::PackData(content.slice(1..)));
            }
            // To keep the connection alive.
            Some(1) => {}
            Some(2) => self.progress(&content[1..]),
            Some(3) => return Err(ProtocolError::Remote(remote::printable(&content[1..]))),
            _ => return Err(malformed("a packet in no known band", &content)),
        }
        Ok(())
    }

    /// Cuts progress text, which comes in any pieces, into lines. A carriage return, which makes a
    /// terminal write the line again, ends one too.
    fn progress(&mut self, text: &[u8]) {
        for piece in text.split_inclusive(|byte| matches!(byte, b'\r' | b'\n')) {
            let room = PROGRESS_LIMIT.saturating_sub(self.line.len());
            self.line.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.ends_with(b"\r") || piece.ends_with(b"\n") {
                self.end_progress_line();
            }
        }
    }

    fn end_progress_line(&mut self) {
        let line = remote::printable(&self.line);
        self.line.clear();
        if !line.is_empty() {
            self.ready.push_back(FetchEvent::Progress(line));
        }
    }
}

/// Reads `shallow <id>` or `unshallow <id>`.
fn shallow(line: &[u8]) -> Option<FetchEvent> {
    if let Some(id) = line.strip_prefix(b"shallow ") {
        Some(FetchEvent::Shallow(Oid::from_hex(id).ok()?))
    } else {
        let id = line.strip_prefix(b"unshallow ")?;
        Some(FetchEvent::Unshallow(Oid::from_hex(id).ok()?))
    }
}

/// Reads `<id> SP <name>`. No name can have been asked for that isn't valid, nor is it safe to
/// print.
fn wanted_ref(line: &[u8]) -> Option<FetchEvent> {
    let (id, name) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    refname::is_valid(name).then_some(())?;
    Some(FetchEvent::WantedRef {
        name: name.to_owned(),
        oid: Oid::from_hex(id.as_bytes()).ok()?,
    })
}

#[cfg(test)]
mod tests;

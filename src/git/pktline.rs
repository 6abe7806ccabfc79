//! The pkt-line framing of Git's protocol (gitprotocol-common): write packets, and cut a byte
//! stream that comes in any pieces into packets.
//!
//! May import: bytes. The room's error for everything on the wire stands here too, since each
//! reader above starts with packets.
//!
//! Always holds: a reader keeps at most one unfinished packet of its own (65,520 bytes) besides
//! what it was fed; where a packet lies within one fed piece, its content is a slice, not a copy.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

/// The longest content of a data packet (gitprotocol-common: 65,520 with its length).
pub const MAX_PAYLOAD: usize = 65_516;

/// The four hex digits before each packet.
const PREFIX: usize = 4;

/// What is wrong with a server's answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// The server said no in its own words, made safe to print.
    #[error("{0}")]
    Remote(String),
    /// The answer breaks the protocol.
    #[error("{0}")]
    Malformed(String),
    /// The answer ended before it was through.
    #[error("the answer ended early")]
    Truncated,
}

/// One packet, its content as `T`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pkt<T> {
    /// Content, which may be empty.
    Data(T),
    /// `0000`: the end of a message.
    Flush,
    /// `0001`: the end of a section.
    Delim,
    /// `0002`: the end of a response on a connection that stays open.
    ResponseEnd,
}

impl Pkt<&[u8]> {
    /// The packet's length with its prefix.
    fn wire_len(&self) -> usize {
        match self {
            Pkt::Data(content) => PREFIX + content.len(),
            Pkt::Flush | Pkt::Delim | Pkt::ResponseEnd => PREFIX,
        }
    }
}

/// Appends a data packet.
///
/// # Panics
///
/// If `payload` is longer than [`MAX_PAYLOAD`]: what is sent is ours to bound.
pub fn encode_data(out: &mut Vec<u8>, payload: &[u8]) {
    assert!(
        payload.len() <= MAX_PAYLOAD,
        "a packet's content is bounded by its writer"
    );
    out.extend_from_slice(format!("{:04x}", payload.len() + PREFIX).as_bytes());
    out.extend_from_slice(payload);
}

/// Appends a data packet of one line, adding its newline.
///
/// # Panics
///
/// If `line` and its newline are longer than [`MAX_PAYLOAD`].
pub fn encode_text(out: &mut Vec<u8>, line: &str) {
    encode_data(out, format!("{line}\n").as_bytes());
}

/// Appends a flush packet.
pub fn encode_flush(out: &mut Vec<u8>) {
    out.extend_from_slice(b"0000");
}

/// Appends a delimiter packet.
pub fn encode_delim(out: &mut Vec<u8>) {
    out.extend_from_slice(b"0001");
}

/// A packet's content without the one newline that a text line may end with.
pub fn text(payload: &[u8]) -> &[u8] {
    payload.strip_suffix(b"\n").unwrap_or(payload)
}

/// Reads the four digits before a packet: its kind, with the length of its content.
fn parse_prefix(digits: &[u8]) -> Result<Pkt<usize>, ProtocolError> {
    let malformed = || {
        let seen = String::from_utf8_lossy(digits);
        ProtocolError::Malformed(format!("{seen:?} stands where a packet's length should"))
    };
    let mut len = 0;
    for &digit in digits {
        let value = char::from(digit).to_digit(16).ok_or_else(malformed)?;
        len = len << 4 | value as usize;
    }
    match len {
        0 => Ok(Pkt::Flush),
        1 => Ok(Pkt::Delim),
        2 => Ok(Pkt::ResponseEnd),
        PREFIX.. if len <= PREFIX + MAX_PAYLOAD => Ok(Pkt::Data(len - PREFIX)),
        _ => Err(malformed()),
    }
}

/// The first packet in `data`, or `None` if `data` ends within it.
fn first(data: &[u8]) -> Result<Option<Pkt<&[u8]>>, ProtocolError> {
    let Some(digits) = data.get(..PREFIX) else {
        return Ok(None);
    };
    Ok(match parse_prefix(digits)? {
        Pkt::Data(len) => data.get(PREFIX..PREFIX + len).map(Pkt::Data),
        Pkt::Flush => Some(Pkt::Flush),
        Pkt::Delim => Some(Pkt::Delim),
        Pkt::ResponseEnd => Some(Pkt::ResponseEnd),
    })
}

/// The packets of a whole message. Ends with [`ProtocolError::Truncated`] if `data` ends within a
/// packet, and after any error.
pub fn packets(mut data: &[u8]) -> impl Iterator<Item = Result<Pkt<&[u8]>, ProtocolError>> {
    std::iter::from_fn(move || {
        if data.is_empty() {
            return None;
        }
        let item = first(data).and_then(|pkt| pkt.ok_or(ProtocolError::Truncated));
        data = item.as_ref().map_or(&[], |pkt| &data[pkt.wire_len()..]);
        Some(item)
    })
}

/// Takes the first packet off `data`, if it is whole.
fn take_first(data: &mut Bytes) -> Result<Option<Pkt<Bytes>>, ProtocolError> {
    let Some(pkt) = first(data)? else {
        return Ok(None);
    };
    let wire_len = pkt.wire_len();
    let pkt = match pkt {
        Pkt::Data(_) => Pkt::Data(data.slice(PREFIX..wire_len)),
        Pkt::Flush => Pkt::Flush,
        Pkt::Delim => Pkt::Delim,
        Pkt::ResponseEnd => Pkt::ResponseEnd,
    };
    data.advance(wire_len);
    Ok(Some(pkt))
}

/// Cuts packets out of a stream that is fed in any pieces.
#[derive(Debug, Default)]
pub struct PktReader {
    /// A packet that began in an earlier piece than it ends in, as far as it is here.
    partial: BytesMut,
    /// What was fed and is not looked at yet. No piece is empty.
    fed: VecDeque<Bytes>,
}

impl PktReader {
    /// A reader at the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next piece of the stream.
    pub fn feed(&mut self, data: Bytes) {
        if !data.is_empty() {
            self.fed.push_back(data);
        }
    }

    /// The next packet, or `None` until more is fed. After an error there is no way on: each
    /// further call gives the same error.
    pub fn next_pkt(&mut self) -> Result<Option<Pkt<Bytes>>, ProtocolError> {
        if self.partial.is_empty() {
            let Some(front) = self.fed.front_mut() else {
                return Ok(None);
            };
            let pkt = take_first(front)?;
            if pkt.is_none() {
                self.partial.extend_from_slice(front);
                front.clear();
            }
            self.drop_empty_front();
            if pkt.is_some() {
                return Ok(pkt);
            }
        }
        self.complete_partial()
    }

    /// Fills up `partial` and gives its packet once it is whole.
    fn complete_partial(&mut self) -> Result<Option<Pkt<Bytes>>, ProtocolError> {
        loop {
            let whole = match self.partial.get(..PREFIX).map(parse_prefix) {
                None => PREFIX,
                Some(pkt) => match pkt? {
                    Pkt::Data(len) => PREFIX + len,
                    Pkt::Flush | Pkt::Delim | Pkt::ResponseEnd => PREFIX,
                },
            };
            if self.partial.len() == whole {
                return take_first(&mut self.partial.split().freeze());
            }
            let Some(front) = self.fed.front_mut() else {
                return Ok(None);
            };
            let missing = front.len().min(whole - self.partial.len());
            self.partial.extend_from_slice(&front[..missing]);
            front.advance(missing);
            self.drop_empty_front();
        }
    }

    fn drop_empty_front(&mut self) {
        if self.fed.front().is_some_and(Bytes::is_empty) {
            self.fed.pop_front();
        }
    }

    /// True if all that was fed has been given out: the stream may end here.
    pub fn is_empty(&self) -> bool {
        self.partial.is_empty() && self.fed.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_all(pieces: &[&[u8]]) -> Result<(Vec<Pkt<Bytes>>, bool), ProtocolError> {
        let mut reader = PktReader::new();
        let mut pkts = Vec::new();
        for piece in pieces {
            reader.feed(Bytes::copy_from_slice(piece));
            while let Some(pkt) = reader.next_pkt()? {
                pkts.push(pkt);
            }
        }
        Ok((pkts, reader.is_empty()))
    }

    #[test]
    fn the_four_kinds_are_written_and_read() {
        let mut out = Vec::new();
        encode_text(&mut out, "command=fetch");
        encode_delim(&mut out);
        encode_data(&mut out, b"");
        encode_flush(&mut out);
        assert_eq!(out, b"0012command=fetch\n000100040000");
        out.extend_from_slice(b"0002");
        let (pkts, empty) = read_all(&[&out]).expect("well-formed");
        assert!(empty);
        assert_eq!(
            pkts,
            [
                Pkt::Data(Bytes::from_static(b"command=fetch\n")),
                Pkt::Delim,
                Pkt::Data(Bytes::new()),
                Pkt::Flush,
                Pkt::ResponseEnd,
            ]
        );
    }

    #[test]
    fn the_longest_packet_passes_and_a_longer_one_is_refused() {
        let mut out = Vec::new();
        encode_data(&mut out, &[7; MAX_PAYLOAD]);
        assert_eq!(&out[..4], b"fff0");
        let (pkts, _) = read_all(&[&out]).expect("just within");
        assert_eq!(pkts, [Pkt::Data(Bytes::from(vec![7; MAX_PAYLOAD]))]);
        for hostile in ["fff1", "ffff", "0003"] {
            assert!(matches!(
                read_all(&[hostile.as_bytes()]),
                Err(ProtocolError::Malformed(_))
            ));
        }
    }

    #[test]
    #[should_panic(expected = "bounded by its writer")]
    fn a_packet_too_long_to_write_is_a_bug() {
        encode_data(&mut Vec::new(), &[0; MAX_PAYLOAD + 1]);
    }

    #[test]
    fn what_is_no_length_is_named() {
        for stray in [
            &b"<!DOCTYPE"[..],
            b"+123",
            b"00g0",
            b"\xff\xfe\x00\x01",
            b" 0a1",
        ] {
            let Err(ProtocolError::Malformed(reason)) = read_all(&[stray]) else {
                panic!("{stray:?} must be malformed");
            };
            assert!(reason.contains("packet's length"), "{reason}");
        }
        let Err(error) = read_all(&[b"<!", b"DO"]) else {
            panic!("cut digits must be malformed too");
        };
        assert_eq!(
            error.to_string(),
            "\"<!DO\" stands where a packet's length should"
        );
    }

    #[test]
    fn an_error_stands() {
        let mut reader = PktReader::new();
        reader.feed(Bytes::from_static(b"00"));
        assert_eq!(reader.next_pkt(), Ok(None));
        reader.feed(Bytes::from_static(b"zz0000"));
        let error = reader.next_pkt();
        assert!(error.is_err());
        assert_eq!(reader.next_pkt(), error);
        assert!(!reader.is_empty());
    }

    #[test]
    fn a_cut_packet_is_seen_at_the_end() {
        let (pkts, empty) = read_all(&[b"0000", b"000ahel"]).expect("well-formed so far");
        assert_eq!((pkts, empty), (vec![Pkt::Flush], false));
        let last = packets(b"0000000ahel").last();
        assert_eq!(last, Some(Err(ProtocolError::Truncated)));
    }

    #[test]
    fn content_within_one_piece_is_not_copied() {
        let fed = Bytes::from_static(b"0009hello0008worl");
        let mut reader = PktReader::new();
        reader.feed(fed.clone());
        for start in [4, 13] {
            let Ok(Some(Pkt::Data(content))) = reader.next_pkt() else {
                panic!("two packets");
            };
            assert_eq!(content.as_ptr(), fed[start..].as_ptr());
        }
    }

    proptest! {
        #[test]
        fn any_cutting_gives_the_same_packets(
            contents in prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 0..40)), 0..12),
            mut cuts in prop::collection::vec(0usize..500, 0..20),
        ) {
            let mut stream = Vec::new();
            for content in &contents {
                match content {
                    Some(content) => encode_data(&mut stream, content),
                    None => encode_delim(&mut stream),
                }
            }
            for cut in &mut cuts {
                *cut %= stream.len() + 1;
            }
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let pieces: Vec<_> = cuts.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect();
            let (pkts, empty) = read_all(&pieces).expect("well-formed");
            let expected: Vec<_> = contents
                .into_iter()
                .map(|content| content.map_or(Pkt::Delim, |content| Pkt::Data(Bytes::from(content))))
                .collect();
            prop_assert!(empty);
            prop_assert_eq!(pkts, expected);
        }

        #[test]
        fn reader_and_iterator_agree_on_any_bytes(data in prop::collection::vec(prop::sample::select(b"0000012349aAfxz\n".to_vec()), 0..60)) {
            let whole: Result<Vec<_>, _> = packets(&data).collect();
            let bytewise: Vec<_> = data.chunks(1).collect();
            match (whole, read_all(&bytewise)) {
                (Ok(whole), Ok((pkts, true))) => prop_assert_eq!(whole.len(), pkts.len()),
                (Err(ProtocolError::Truncated), Ok((_, false))) => {}
                (Err(one), Err(other)) => prop_assert_eq!(one, other),
                (one, other) => prop_assert!(false, "{one:?} but {other:?}"),
            }
        }
    }
}

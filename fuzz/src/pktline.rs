//! Packets: a stream cut anywhere gives the packets that it gives in one piece.

use bonsaifs::git::pktline::{
    MAX_PAYLOAD, Pkt, PktReader, ProtocolError, encode_data, encode_delim, encode_flush, packets,
};
use bytes::Bytes;

use crate::input::{Cuts, Input};

/// What reading a stream gave: its packets, and how it ended.
type Read = (Vec<Pkt<Vec<u8>>>, Result<(), ProtocolError>);

/// See the module.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let cuts = input.cuts();
    let stream = input.rest();
    let whole = read_whole(stream);
    assert_eq!(read_pieces(stream, cuts), whole, "depends on the cuts");
    assert_eq!(read_pieces(stream, Cuts::NONE), whole);

    let mut again = Vec::new();
    for pkt in &whole.0 {
        match pkt {
            Pkt::Data(content) => {
                assert!(content.len() <= MAX_PAYLOAD);
                encode_data(&mut again, content);
            }
            Pkt::Flush => encode_flush(&mut again),
            Pkt::Delim => encode_delim(&mut again),
            Pkt::ResponseEnd => again.extend_from_slice(b"0002"),
        }
    }
    assert!(again.eq_ignore_ascii_case(&stream[..again.len()]));
    assert_eq!(
        read_whole(&again),
        (whole.0, Ok(())),
        "not the same when written again"
    );
}

fn read_whole(stream: &[u8]) -> Read {
    let mut all = Vec::new();
    for pkt in packets(stream) {
        match pkt {
            Ok(pkt) => all.push(owned(pkt)),
            Err(error) => return (all, Err(error)),
        }
    }
    (all, Ok(()))
}

fn read_pieces(stream: &[u8], cuts: Cuts<'_>) -> Read {
    let mut reader = PktReader::new();
    let mut all = Vec::new();
    for piece in cuts.pieces(stream) {
        reader.feed(Bytes::copy_from_slice(piece));
        loop {
            match reader.next_pkt() {
                Ok(None) => break,
                Ok(Some(pkt)) => all.push(owned(pkt)),
                Err(error) => {
                    assert_eq!(reader.next_pkt(), Err(error.clone()), "an error stands");
                    return (all, Err(error));
                }
            }
        }
    }
    let end = if reader.is_empty() {
        Ok(())
    } else {
        Err(ProtocolError::Truncated)
    };
    (all, end)
}

fn owned(pkt: Pkt<impl AsRef<[u8]>>) -> Pkt<Vec<u8>> {
    match pkt {
        Pkt::Data(content) => Pkt::Data(content.as_ref().to_vec()),
        Pkt::Flush => Pkt::Flush,
        Pkt::Delim => Pkt::Delim,
        Pkt::ResponseEnd => Pkt::ResponseEnd,
    }
}

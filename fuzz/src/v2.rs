//! Answers of protocol version 2.
//!
//! The fuzzer finds lines sooner than lengths in hex. So an answer is either the input's bytes as
//! they are, or its lines, each made a packet ([`answer`]).

pub mod advertisement;
pub mod fetch;
pub mod lists;

use bonsaifs::git::{
    oid::HashKind,
    pktline::{encode_data, encode_delim, encode_flush},
};

use crate::input::Input;

/// The bytes of an answer: as they are, or from lines, where `=` stands for a flush packet
/// and `-` for a delimiter.
fn answer(input: &mut Input<'_>) -> Vec<u8> {
    let raw = input.below(4) == 0;
    let rest = input.rest();
    if raw {
        return rest.to_vec();
    }
    let mut out = Vec::new();
    for line in rest.split(|byte| *byte == b'\n') {
        match line {
            b"=" => encode_flush(&mut out),
            b"-" => encode_delim(&mut out),
            // Longer ones don't fit a packet, and a fuzzer's inputs are shorter anyway.
            line => encode_data(&mut out, &line[..line.len().min(65_000)]),
        }
    }
    out
}

fn hash_kind(input: &mut Input<'_>) -> HashKind {
    match input.below(4) {
        3 => HashKind::Sha256,
        _ => HashKind::Sha1,
    }
}

fn is_printable(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

//! Protocol version 2 from the client's side (gitprotocol-v2): what a server can do, and the
//! requests `ls-refs`, `fetch` and `object-info` with their answers.
//!
//! May import: bytes, the room's `oid`, `pktline`, `refname`.
//!
//! Always holds: a request asks only for what the server's [`Capabilities`] offer, and is whole in
//! itself, since over HTTP no request knows of another. Text from a server comes out safe to print.

mod capabilities;
mod fetch;
mod ls_refs;
mod object_info;
mod remote;
mod response;

pub use capabilities::{Advertisement, Capabilities, parse_advertisement};
pub use fetch::{FetchRequest, FilterSpec, fetch_request};
pub use ls_refs::{RefLine, ls_refs_request, parse_ls_refs};
pub use object_info::{object_info_request, parse_object_info};
pub use remote::not_our_ref;
pub use response::{FetchEvent, FetchResponse};

pub use super::pktline::ProtocolError;
use super::{
    oid::{HashKind, Oid},
    pktline,
};

/// Starts a request: the command and the capabilities that go with it, up to its arguments.
fn begin(caps: &Capabilities, command: &str) -> Vec<u8> {
    let mut out = Vec::new();
    pktline::encode_text(&mut out, &format!("command={command}"));
    if caps.agent.is_some() {
        pktline::encode_text(
            &mut out,
            concat!("agent=bonsai/", env!("CARGO_PKG_VERSION")),
        );
    }
    // Without the line, SHA-1 is meant.
    if caps.hash != HashKind::Sha1 {
        pktline::encode_text(&mut out, &format!("object-format={}", caps.hash));
    }
    pktline::encode_delim(&mut out);
    out
}

/// Reads a whole object id of the format that `hash` says.
fn parse_id(hex: &[u8], hash: HashKind) -> Result<Oid, ProtocolError> {
    match Oid::from_hex(hex) {
        Ok(oid) if oid.kind() == hash => Ok(oid),
        _ => Err(malformed("a line without a whole object id", hex)),
    }
}

/// An error that quotes the line it is about, as far as is useful.
fn malformed(what: &str, line: &[u8]) -> ProtocolError {
    let shown = &line[..line.len().min(100)];
    ProtocolError::Malformed(format!("{what}: {:?}", String::from_utf8_lossy(shown)))
}

/// The lines of an answer that is one list: up to its flush packet, newlines stripped. An `ERR`
/// packet becomes [`ProtocolError::Remote`].
fn lines(body: &[u8]) -> impl Iterator<Item = Result<&[u8], ProtocolError>> {
    let mut packets = pktline::packets(body);
    let mut through = false;
    std::iter::from_fn(move || {
        if through {
            return None;
        }
        let item = match packets.next() {
            None => Err(ProtocolError::Truncated),
            Some(Err(error)) => Err(error),
            Some(Ok(pktline::Pkt::Flush)) => {
                through = true;
                return None;
            }
            Some(Ok(pktline::Pkt::Data(line))) => match line.strip_prefix(b"ERR ") {
                Some(message) => Err(ProtocolError::Remote(remote::printable(message))),
                None => Ok(pktline::text(line)),
            },
            Some(Ok(_)) => Err(ProtocolError::Malformed("a list with sections".to_owned())),
        };
        through = item.is_err();
        Some(item)
    })
}

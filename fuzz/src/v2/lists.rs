//! The answers that are lists (`ls-refs`, `object-info`) and refusals: never an entry that the
//! answer doesn't have, and never a shorter list because the answer was cut off.

use bonsaifs::git::{
    pktline::{Pkt, packets},
    refname,
    v2::{ProtocolError, not_our_ref, parse_ls_refs, parse_object_info},
};

use super::{answer, hash_kind, is_printable};
use crate::input::Input;

/// See the module.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let hash = hash_kind(&mut input);
    let body = answer(&mut input);
    let holds = |text: &str| {
        let text = text.as_bytes();
        body.windows(text.len())
            .any(|window| window.eq_ignore_ascii_case(text))
    };

    match parse_ls_refs(&body, hash) {
        Ok(refs) => {
            for line in &refs {
                assert!(
                    refname::is_valid(&line.name) && holds(&line.name),
                    "{line:?}"
                );
                for oid in line.oid.iter().chain(&line.peeled) {
                    assert!(oid.kind() == hash && holds(&oid.to_string()), "{line:?}");
                }
                assert!(line.symref_target.as_deref().is_none_or(holds));
            }
            check_cut_off(&body, |part| parse_ls_refs(part, hash).err());
        }
        Err(error) => check_error(&error),
    }
    match parse_object_info(&body, hash) {
        Ok(infos) => {
            for (oid, size) in &infos {
                assert!(oid.kind() == hash && holds(&oid.to_string()));
                let digits = |size: &u64| holds(&size.to_string());
                assert!(size.as_ref().is_none_or(digits), "{oid} {size:?}");
            }
            check_cut_off(&body, |part| parse_object_info(part, hash).err());
        }
        Err(error) => check_error(&error),
    }

    let message = String::from_utf8_lossy(&body);
    if let Some(Some(oid)) = not_our_ref(&message, hash) {
        assert!(oid.kind() == hash && holds(&oid.to_string()));
    }
}

/// A list that ends before its flush packet is an error.
fn check_cut_off(body: &[u8], error_of: impl Fn(&[u8]) -> Option<ProtocolError>) {
    let mut flush_at = 0;
    for pkt in packets(body) {
        match pkt.expect("it was read to its flush packet") {
            Pkt::Data(content) => flush_at += 4 + content.len(),
            Pkt::Flush => break,
            Pkt::Delim | Pkt::ResponseEnd => flush_at += 4,
        }
    }
    for len in [flush_at / 3, flush_at / 2, flush_at, flush_at + 3] {
        let error = error_of(&body[..len]);
        assert_eq!(error, Some(ProtocolError::Truncated), "cut off at {len}");
    }
}

fn check_error(error: &ProtocolError) {
    if let ProtocolError::Remote(text) = error {
        assert!(is_printable(text), "{text:?}");
    }
}

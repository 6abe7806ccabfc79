//! `object-info`: the sizes of objects without their content.

use super::{Capabilities, ProtocolError, begin, lines, malformed, parse_id, pktline};
use crate::git::oid::{HashKind, Oid};

/// The request for the sizes of `oids`. Newer servers take at most 10,000 at a time.
pub fn object_info_request(caps: &Capabilities, oids: &[Oid]) -> Vec<u8> {
    let mut out = begin(caps, "object-info");
    pktline::encode_text(&mut out, "size");
    for oid in oids {
        pktline::encode_text(&mut out, &format!("oid {oid}"));
    }
    pktline::encode_flush(&mut out);
    out
}

/// Reads the answer to [`object_info_request`]: the objects in the server's order, which is the
/// request's, each with its size in bytes, or with `None` if the server doesn't have it.
pub fn parse_object_info(
    body: &[u8],
    hash: HashKind,
) -> Result<Vec<(Oid, Option<u64>)>, ProtocolError> {
    let mut lines = lines(body);
    match lines.next() {
        Some(first) => match first? {
            b"size" => {}
            other => return Err(malformed("an answer that doesn't begin with size", other)),
        },
        // Nothing was asked for.
        None => return Ok(Vec::new()),
    }
    lines.map(|line| parse_size(line?, hash)).collect()
}

/// Reads `<id> SP [<size>]`.
fn parse_size(line: &[u8], hash: HashKind) -> Result<(Oid, Option<u64>), ProtocolError> {
    let (id, size) = line
        .split_at_checked(hash.len_in_hex())
        .ok_or_else(|| malformed("a line without a whole object id", line))?;
    let oid = parse_id(id, hash)?;
    let size = match size.strip_prefix(b" ").unwrap_or(size) {
        b"" => None,
        digits => {
            let parsed = std::str::from_utf8(digits)
                .ok()
                .and_then(|size| size.parse().ok());
            Some(parsed.ok_or_else(|| malformed("a size that is no number", line))?)
        }
    };
    Ok((oid, size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::oracle::Repo;

    #[test]
    fn a_request_asks_for_the_size_of_each_object() {
        let id = "a9993e364706816aba3e25717850c26c9cd0d89d";
        let oid = Oid::from_hex(id.as_bytes()).expect("an id");
        let request = object_info_request(&Capabilities::assumed(), &[oid]);
        let text = String::from_utf8_lossy(&request);
        for part in ["command=object-info", "size\n", &format!("oid {id}\n")] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(request.ends_with(b"0000"));
    }

    #[test]
    fn a_real_server_tells_sizes() {
        for hash in [HashKind::Sha1, HashKind::Sha256] {
            let repo = Repo::new(hash);
            repo.git(&["config", "transfer.advertiseObjectInfo", "true"]);
            repo.write("a", &[b'x'; 70_000]);
            repo.write("empty", b"");
            repo.commit("one");
            let (a, empty) = (repo.rev("HEAD:a"), repo.rev("HEAD:empty"));
            let unknown = Oid::null(hash);
            let caps = Capabilities {
                hash,
                object_info: true,
                ..Capabilities::assumed()
            };
            let ask = |oids: &[Oid]| {
                let request = object_info_request(&caps, oids);
                let body = repo.upload_pack(&request);
                parse_object_info(&body, hash)
            };
            let sizes = [(a, Some(70_000)), (unknown, None), (empty, Some(0))];
            assert_eq!(ask(&[a, unknown, empty]), Ok(sizes.to_vec()));
        }
    }

    #[test]
    fn broken_answers_are_errors() {
        let parse = |body: &[u8]| parse_object_info(body, HashKind::Sha1);
        assert_eq!(parse(b"0000"), Ok(Vec::new()));
        assert_eq!(parse(b"0009size\n0000"), Ok(Vec::new()));
        assert_eq!(parse(b"0008size"), Err(ProtocolError::Truncated));
        assert_eq!(
            parse(b"000cERR no.\n0000"),
            Err(ProtocolError::Remote("no.".to_owned()))
        );
        let id = "a9993e364706816aba3e25717850c26c9cd0d89d";
        for line in [
            format!("{id} x"),
            format!("{id} -1"),
            format!("{id}  1"),
            format!("{id} 18446744073709551616"),
            id[1..].to_owned(),
        ] {
            let mut body = b"0008size".to_vec();
            pktline::encode_text(&mut body, &line);
            let parsed = parse(&body);
            assert!(
                matches!(parsed, Err(ProtocolError::Malformed(_))),
                "{line}: {parsed:?}"
            );
        }
        assert!(matches!(
            parse(b"0008type0000"),
            Err(ProtocolError::Malformed(_))
        ));
    }
}

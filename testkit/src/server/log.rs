//! What a server was asked: one entry a request, with what a test may want to assert on.
//! May import: std only.

use std::collections::BTreeSet;

/// One request as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// `GET` or `POST`.
    pub method: String,
    /// The path, percent-encoded as it came.
    pub path: String,
    /// What follows `?`, empty for nothing.
    pub query: String,
    /// The `Git-Protocol` header.
    pub git_protocol: Option<String>,
    /// The `Authorization` header.
    pub authorization: Option<String>,
    /// The body's pkt-lines before the first flush, without line ends; a delimiter packet is `""`.
    pub lines: Vec<String>,
    /// The status answered; `None` as long as none was.
    pub status: Option<u16>,
    /// Bytes of the response's body so far.
    pub bytes_out: u64,
}

/// Panics if an object was asked for twice. How many were asked for.
pub fn assert_each_once(log: &[Logged]) -> usize {
    let wants: Vec<&str> = log.iter().flat_map(Logged::wants).collect();
    let different: BTreeSet<&str> = wants.iter().copied().collect();
    assert_eq!(
        wants.len(),
        different.len(),
        "an object was asked for twice"
    );
    wants.len()
}

impl Logged {
    /// The protocol v2 command of a POST: `ls-refs`, `fetch`, `object-info`.
    pub fn command(&self) -> Option<&str> {
        self.lines
            .iter()
            .find_map(|line| line.strip_prefix("command="))
    }

    /// The object ids after `want`, as hexadecimal.
    pub fn wants(&self) -> Vec<&str> {
        self.with_prefix("want ")
    }

    /// The object ids after `oid` (of `object-info`), as hexadecimal.
    pub fn oids(&self) -> Vec<&str> {
        self.with_prefix("oid ")
    }

    /// The filter asked for.
    pub fn filter(&self) -> Option<&str> {
        self.lines
            .iter()
            .find_map(|line| line.strip_prefix("filter "))
    }

    fn with_prefix(&self, prefix: &str) -> Vec<&str> {
        self.lines
            .iter()
            .filter_map(|line| line.strip_prefix(prefix))
            .collect()
    }
}

/// The pkt-lines (gitprotocol-common) of `body` up to its first flush packet or the first byte
/// that is no pkt-line.
pub(super) fn pkt_lines(mut body: &[u8]) -> Vec<String> {
    let mut lines = Vec::new();
    while let Some((length, rest)) = pkt_length(body) {
        match length {
            0 => break,
            1..4 => {
                lines.push(String::new());
                body = rest;
            }
            _ => {
                let Some(payload) = rest.get(..length - 4) else {
                    break;
                };
                let text = String::from_utf8_lossy(payload);
                lines.push(text.trim_end_matches('\n').to_owned());
                body = &rest[length - 4..];
            }
        }
    }
    lines
}

/// The length that a pkt-line's first four bytes state (they are counted in it), and what follows
/// them.
pub(super) fn pkt_length(body: &[u8]) -> Option<(usize, &[u8])> {
    let digits = std::str::from_utf8(body.get(..4)?).ok()?;
    let length = usize::from_str_radix(digits, 16).ok()?;
    Some((length, &body[4..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_up_to_the_flush() {
        let body = b"0014command=ls-refs\n0001000bpeel me00000009later";
        assert_eq!(pkt_lines(body), ["command=ls-refs", "", "peel me"]);
    }

    #[test]
    fn what_is_no_pkt_line_ends_it() {
        assert_eq!(pkt_lines(b"0009hello<html>"), ["hello"]);
        assert!(pkt_lines(b"00ffshort").is_empty());
        assert!(pkt_lines(b"").is_empty());
    }
}

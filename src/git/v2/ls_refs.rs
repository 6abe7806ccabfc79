//! `ls-refs`: the names that point into a repository.

use super::{Capabilities, ProtocolError, begin, lines, malformed, parse_id, pktline};
use crate::git::{
    oid::{HashKind, Oid},
    refname,
};

/// One ref.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefLine {
    /// The full name; valid as [`refname::is_valid`] says.
    pub name: String,
    /// Where it points. `None` for the HEAD of a repository that has no commit on that branch yet.
    pub oid: Option<Oid>,
    /// The name of the ref that this one is an alias of, if that is UTF-8.
    pub symref_target: Option<String>,
    /// The object behind an annotated tag.
    pub peeled: Option<Oid>,
}

/// The request for all refs whose names begin with one of `prefixes`, or for all refs there are if
/// there is no prefix. A server may send more than was asked for. A prefix longer than any ref name
/// ([`refname::MAX_LEN`]) is cut, which keeps packets within bounds whatever a person types.
pub fn ls_refs_request(caps: &Capabilities, prefixes: &[&str]) -> Vec<u8> {
    let mut out = begin(caps, "ls-refs");
    pktline::encode_text(&mut out, "peel");
    pktline::encode_text(&mut out, "symrefs");
    if caps.ls_refs_unborn {
        pktline::encode_text(&mut out, "unborn");
    }
    for prefix in prefixes {
        // Refs are matched bytewise, so the cut may fall within a character.
        let cut = &prefix.as_bytes()[..prefix.len().min(refname::MAX_LEN)];
        pktline::encode_data(
            &mut out,
            &[
                b"ref-prefix ",
                cut,
                b"
",
            ]
            .concat(),
        );
    }
    pktline::encode_flush(&mut out);
    out
}

/// Reads the answer to [`ls_refs_request`]. Refs whose names aren't valid UTF-8 and valid ref names
/// are left out: nothing here could ask for them, and they aren't safe to print.
///
/// # Errors
///
/// [`ProtocolError::Truncated`] if the body ends before its flush packet. An empty body, the answer
/// of servers that don't speak version 2, is one of these.
pub fn parse_ls_refs(body: &[u8], hash: HashKind) -> Result<Vec<RefLine>, ProtocolError> {
    let mut refs = Vec::new();
    for line in lines(body) {
        refs.extend(parse_ref(line?, hash)?);
    }
    Ok(refs)
}

/// Reads `(<id> | "unborn") SP <name> *(SP <attribute>)`.
fn parse_ref(line: &[u8], hash: HashKind) -> Result<Option<RefLine>, ProtocolError> {
    let mut words = line.split(|&byte| byte == b' ');
    let (Some(id), Some(name)) = (words.next(), words.next()) else {
        return Err(malformed("a ref without a name", line));
    };
    let oid = match id {
        b"unborn" => None,
        id => Some(parse_id(id, hash)?),
    };
    let Some(name) = valid_name(name) else {
        return Ok(None);
    };
    let mut line = RefLine {
        name,
        oid,
        symref_target: None,
        peeled: None,
    };
    for attribute in words {
        if let Some(target) = attribute.strip_prefix(b"symref-target:") {
            line.symref_target = valid_name(target);
        } else if let Some(id) = attribute.strip_prefix(b"peeled:") {
            line.peeled = Some(parse_id(id, hash)?);
        }
    }
    Ok(Some(line))
}

fn valid_name(name: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(name).ok()?;
    refname::is_valid(name).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::{
        oracle::Repo,
        v2::{Advertisement, parse_advertisement},
    };

    const BOTH: [HashKind; 2] = [HashKind::Sha1, HashKind::Sha256];

    fn caps(repo: &Repo) -> Capabilities {
        match parse_advertisement(None, &repo.info_refs("version=2")) {
            Advertisement::V2(caps) => caps,
            other => panic!("{other:?}"),
        }
    }

    fn ask(repo: &Repo, prefixes: &[&str]) -> Vec<RefLine> {
        let request = ls_refs_request(&caps(repo), prefixes);
        let body = repo.upload_pack(&request);
        parse_ls_refs(&body, repo.hash()).expect("a good answer")
    }

    fn line(name: &str, oid: Oid) -> RefLine {
        RefLine {
            name: name.to_owned(),
            oid: Some(oid),
            symref_target: None,
            peeled: None,
        }
    }

    #[test]
    fn a_request_is_as_the_protocol_says() {
        let mut caps = Capabilities::assumed();
        assert_eq!(
            ls_refs_request(&caps, &["HEAD", "refs/heads/"]),
            b"0014command=ls-refs\n00010009peel\n000csymrefs\n0014ref-prefix HEAD\n001bref-prefix refs/heads/\n0000"
        );
        caps.hash = HashKind::Sha256;
        caps.agent = Some("git/2".to_owned());
        caps.ls_refs_unborn = true;
        let agent = format!("agent=bonsai/{}\n", env!("CARGO_PKG_VERSION"));
        assert_eq!(
            ls_refs_request(&caps, &[]),
            format!(
                "0014command=ls-refs\n{:04x}{agent}0019object-format=sha256\n00010009peel\n000csymrefs\n000bunborn\n0000",
                agent.len() + 4
            )
            .as_bytes()
        );
    }

    #[test]
    fn an_endless_prefix_is_cut() {
        let long = "ä".repeat(100_000);
        let request = ls_refs_request(&Capabilities::assumed(), &[&long]);
        assert!(request.len() < 5_000);
    }

    #[test]
    fn a_real_servers_refs_are_read() {
        for hash in BOTH {
            let repo = Repo::new(hash);
            let one = repo.commit("one");
            repo.git(&["tag", "light"]);
            repo.git(&["tag", "--annotate", "--message=t", "heavy"]);
            repo.git(&["branch", "ä"]);
            let tag = repo.rev("refs/tags/heavy");
            let head = RefLine {
                symref_target: Some("refs/heads/main".to_owned()),
                ..line("HEAD", one)
            };
            let heavy = RefLine {
                peeled: Some(one),
                ..line("refs/tags/heavy", tag)
            };
            let (main, other) = (line("refs/heads/main", one), line("refs/heads/ä", one));
            let light = line("refs/tags/light", one);
            assert_eq!(ask(&repo, &["HEAD"]), std::slice::from_ref(&head));
            assert_eq!(ask(&repo, &["refs/tags/"]), [heavy.clone(), light.clone()]);
            assert_eq!(ask(&repo, &[]), [head, main, other, heavy, light]);
            assert_eq!(ask(&repo, &["refs/none"]), []);
        }
    }

    #[test]
    fn an_empty_repository_tells_its_unborn_branch() {
        let repo = Repo::new(HashKind::Sha1);
        let unborn = RefLine {
            name: "HEAD".to_owned(),
            oid: None,
            symref_target: Some("refs/heads/main".to_owned()),
            peeled: None,
        };
        assert_eq!(ask(&repo, &["HEAD"]), [unborn]);
    }

    #[test]
    fn refs_that_nothing_can_ask_for_are_left_out() {
        let id = "a9993e364706816aba3e25717850c26c9cd0d89d";
        let mut body = Vec::new();
        for name in [
            &b"refs/heads/\xff"[..],
            b"refs/heads/\x1b[31m",
            b"refs/heads/a..b",
            b"refs/heads/ok",
        ] {
            let mut line = format!("{id} ").into_bytes();
            line.extend_from_slice(name);
            line.extend_from_slice(b" symref-target:refs/\xff new-attribute:1\n");
            pktline::encode_data(&mut body, &line);
        }
        pktline::encode_flush(&mut body);
        let oid = Oid::from_hex(id.as_bytes()).expect("an id");
        assert_eq!(
            parse_ls_refs(&body, HashKind::Sha1),
            Ok(vec![line("refs/heads/ok", oid)])
        );
    }

    #[test]
    fn broken_answers_are_errors() {
        let parse = |body: &[u8]| parse_ls_refs(body, HashKind::Sha1);
        assert_eq!(parse(b"0000"), Ok(Vec::new()));
        for cut in [&b""[..], b"00", b"003d"] {
            assert_eq!(parse(cut), Err(ProtocolError::Truncated));
        }
        let refused = ProtocolError::Remote("no such repository".to_owned());
        assert_eq!(parse(b"001bERR no such repository\n0000"), Err(refused));
        for odd in [
            &b"0001"[..],
            b"0009HEAD\n0000",
            b"000eabc HEAD\n0000",
            b"0004",
            b"0005 ",
        ] {
            let parsed = parse(odd);
            assert!(
                matches!(parsed, Err(ProtocolError::Malformed(_))),
                "{odd:?}: {parsed:?}"
            );
        }
        let sha1 = b"0032a9993e364706816aba3e25717850c26c9cd0d89d HEAD\n0000";
        assert!(parse(sha1).is_ok());
        assert!(parse_ls_refs(sha1, HashKind::Sha256).is_err());
    }
}

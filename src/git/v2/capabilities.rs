//! What a server can do: the capability advertisement, which answers
//! `GET info/refs?service=git-upload-pack`.

use super::{pktline, remote::printable};
use crate::git::{
    oid::{HashKind, Oid},
    pktline::Pkt,
};

/// What a server of protocol version 2 offers, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The repository's object format.
    pub hash: HashKind,
    /// The server's name for itself. Requests carry ours if it sent one.
    pub agent: Option<String>,
    /// The command `ls-refs`.
    pub ls_refs: bool,
    /// `ls-refs` tells where HEAD points in a repository without a commit.
    pub ls_refs_unborn: bool,
    /// The command `fetch`.
    pub fetch: bool,
    /// `fetch` takes `deepen`.
    pub fetch_shallow: bool,
    /// `fetch` takes `filter`.
    pub fetch_filter: bool,
    /// `fetch` takes `want-ref`.
    pub fetch_ref_in_want: bool,
    /// `fetch` can send all of its answer in a sideband.
    pub fetch_sideband_all: bool,
    /// The command `object-info`, asking for sizes.
    pub object_info: bool,
    /// Requests may carry `server-option` lines.
    pub server_option: bool,
}

impl Capabilities {
    /// What to assume of a host that was never asked: version 2 with `ls-refs`, and `fetch` with
    /// `deepen` and `filter`, over SHA-1. A server that doesn't have one of them answers with an
    /// error or, if it doesn't speak version 2 at all, with nothing.
    pub fn assumed() -> Self {
        Self {
            ls_refs: true,
            fetch: true,
            fetch_shallow: true,
            fetch_filter: true,
            ..Self::none()
        }
    }

    fn none() -> Self {
        Self {
            hash: HashKind::Sha1,
            agent: None,
            ls_refs: false,
            ls_refs_unborn: false,
            fetch: false,
            fetch_shallow: false,
            fetch_filter: false,
            fetch_ref_in_want: false,
            fetch_sideband_all: false,
            object_info: false,
            server_option: false,
        }
    }

    /// Takes one advertised line, `key` or `key=value`. Unknown ones are for other clients.
    /// `Err` with the reason if the server can't be used at all.
    fn take(&mut self, line: &str) -> Result<(), String> {
        let (key, value) = line.split_once('=').unwrap_or((line, ""));
        match key {
            "agent" => self.agent = Some(value.to_owned()),
            "object-format" => {
                self.hash = match value {
                    "sha1" => HashKind::Sha1,
                    "sha256" => HashKind::Sha256,
                    other => return Err(format!("its object format {other:?} is unknown")),
                }
            }
            "ls-refs" => {
                self.ls_refs = true;
                self.ls_refs_unborn = value.split(' ').any(|feature| feature == "unborn");
            }
            "fetch" => {
                self.fetch = true;
                for feature in value.split(' ') {
                    match feature {
                        "shallow" => self.fetch_shallow = true,
                        "filter" => self.fetch_filter = true,
                        "ref-in-want" => self.fetch_ref_in_want = true,
                        "sideband-all" => self.fetch_sideband_all = true,
                        _ => {}
                    }
                }
            }
            // Git up to 2.47 advertises the bare word, later ones what can be asked for.
            "object-info" => {
                self.object_info = value.is_empty() || value.split(' ').any(|word| word == "size");
            }
            "server-option" => self.server_option = true,
            _ => {}
        }
        Ok(())
    }
}

/// What answers at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Advertisement {
    /// A Git server that speaks version 2.
    V2(Capabilities),
    /// A Git server that speaks this older version, 0 or 1.
    Version(u8),
    /// A plain file server with a repository on it.
    Dumb,
    /// A Git server's refusal, in its own words.
    Refused(String),
    /// Something else, and what was seen of it.
    NotGit(String),
}

/// Reads the body of a successful `GET info/refs?service=git-upload-pack`. The body alone decides;
/// `content_type` only helps to say what something else is.
pub fn parse_advertisement(content_type: Option<&str>, body: &[u8]) -> Advertisement {
    if body.is_empty() {
        return Advertisement::NotGit("the answer is empty".to_owned());
    }
    if is_dumb(body) {
        return Advertisement::Dumb;
    }
    parse_smart(body).unwrap_or_else(|reason| {
        let kind = match content_type {
            Some(kind) if !kind.starts_with("application/x-git-upload-pack-advertisement") => {
                format!("the answer is {:?}, ", printable(kind.as_bytes()))
            }
            _ => String::new(),
        };
        Advertisement::NotGit(format!("{kind}{reason}"))
    })
}

/// True for the file `info/refs` of a repository on a plain file server: `<id> TAB <ref>` a line.
fn is_dumb(body: &[u8]) -> bool {
    let is_ref = |line: &[u8]| {
        let tab = line.iter().position(|&byte| byte == b'\t');
        tab.is_some_and(|tab| Oid::from_hex(&line[..tab]).is_ok())
    };
    let mut lines = pktline::text(body).split(|&byte| byte == b'\n');
    lines.all(is_ref)
}

fn parse_smart(body: &[u8]) -> Result<Advertisement, String> {
    let mut packets = pktline::packets(body);
    let mut next = || match packets.next() {
        Some(Ok(packet)) => Ok(packet),
        Some(Err(error)) => Err(error.to_string()),
        None => Err("the list of capabilities is cut short".to_owned()),
    };
    let mut first = next()?;
    if matches!(first, Pkt::Data(line) if line.starts_with(b"# service=")) {
        if next()? != Pkt::Flush {
            return Err("the line \"# service=\" does not stand alone".to_owned());
        }
        first = next()?;
    }
    let Pkt::Data(first) = first else {
        // Version 0 has at least one line, for an empty repository too.
        return Err("the list of capabilities is empty".to_owned());
    };
    if let Some(message) = first.strip_prefix(b"ERR ") {
        return Ok(Advertisement::Refused(printable(message)));
    }
    match pktline::text(first) {
        b"version 2" => {}
        b"version 1" => return Ok(Advertisement::Version(1)),
        // Version 0 begins with `<id> SP <ref> NUL <capabilities>`.
        line if line.contains(&0) && starts_with_id(line) => return Ok(Advertisement::Version(0)),
        line => {
            return Err(format!(
                "it begins with {:?}",
                printable(&line[..line.len().min(80)])
            ));
        }
    }
    let mut caps = Capabilities::none();
    loop {
        match next()? {
            Pkt::Data(line) => caps.take(&printable(pktline::text(line)))?,
            Pkt::Flush => return Ok(Advertisement::V2(caps)),
            Pkt::Delim | Pkt::ResponseEnd => {
                return Err("the list of capabilities has sections".to_owned());
            }
        }
    }
}

fn starts_with_id(line: &[u8]) -> bool {
    let space = line.iter().position(|&byte| byte == b' ');
    space.is_some_and(|space| Oid::from_hex(&line[..space]).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::oracle::Repo;

    const TYPE: Option<&str> = Some("application/x-git-upload-pack-advertisement");

    fn parse(body: &[u8]) -> Advertisement {
        parse_advertisement(TYPE, body)
    }

    fn v2(advertisement: Advertisement) -> Capabilities {
        match advertisement {
            Advertisement::V2(caps) => caps,
            other => panic!("not version 2: {other:?}"),
        }
    }

    #[test]
    fn a_real_server_is_understood() {
        for hash in [HashKind::Sha1, HashKind::Sha256] {
            let repo = Repo::new(hash);
            let plain = v2(parse(&repo.info_refs("version=2")));
            let agent = plain.agent.clone().expect("git names itself");
            assert!(agent.starts_with("git/"), "{agent}");
            let expected = Capabilities {
                hash,
                agent: Some(agent),
                ls_refs: true,
                ls_refs_unborn: true,
                fetch: true,
                fetch_shallow: true,
                server_option: true,
                ..Capabilities::none()
            };
            assert_eq!(plain, expected);

            repo.git(&["config", "uploadpack.allowFilter", "true"]);
            repo.git(&["config", "uploadpack.allowRefInWant", "true"]);
            repo.git(&["config", "uploadpack.allowSidebandAll", "true"]);
            repo.git(&["config", "transfer.advertiseObjectInfo", "true"]);
            let full = Capabilities {
                fetch_filter: true,
                fetch_ref_in_want: true,
                fetch_sideband_all: true,
                object_info: true,
                ..expected
            };
            assert_eq!(v2(parse(&repo.info_refs("version=2"))), full);
        }
    }

    #[test]
    fn the_service_line_may_stand_before() {
        let repo = Repo::new(HashKind::Sha1);
        let plain = repo.info_refs("version=2");
        let mut with_service = b"001e# service=git-upload-pack\n0000".to_vec();
        with_service.extend_from_slice(&plain);
        assert_eq!(parse(&with_service), parse(&plain));
        assert_eq!(parse_advertisement(None, &plain), parse(&plain));
    }

    #[test]
    fn object_info_is_known_by_both_of_its_names() {
        for (line, offered) in [
            ("object-info", true),
            ("object-info=size type", true),
            ("object-info=type", false),
        ] {
            let mut body = b"000eversion 2\n".to_vec();
            pktline::encode_text(&mut body, line);
            pktline::encode_flush(&mut body);
            assert_eq!(v2(parse(&body)).object_info, offered, "{line}");
        }
    }

    #[test]
    fn each_feature_is_taken_for_itself() {
        let none = Capabilities::none;
        for (line, expected) in [
            (
                "ls-refs",
                Capabilities {
                    ls_refs: true,
                    ..none()
                },
            ),
            (
                "ls-refs=x unborn",
                Capabilities {
                    ls_refs: true,
                    ls_refs_unborn: true,
                    ..none()
                },
            ),
            (
                "fetch",
                Capabilities {
                    fetch: true,
                    ..none()
                },
            ),
            (
                "fetch=shallow",
                Capabilities {
                    fetch: true,
                    fetch_shallow: true,
                    ..none()
                },
            ),
            (
                "fetch=filter",
                Capabilities {
                    fetch: true,
                    fetch_filter: true,
                    ..none()
                },
            ),
            (
                "fetch=ref-in-want",
                Capabilities {
                    fetch: true,
                    fetch_ref_in_want: true,
                    ..none()
                },
            ),
            (
                "fetch=sideband-all",
                Capabilities {
                    fetch: true,
                    fetch_sideband_all: true,
                    ..none()
                },
            ),
            (
                "server-option",
                Capabilities {
                    server_option: true,
                    ..none()
                },
            ),
            (
                "agent=git/2",
                Capabilities {
                    agent: Some("git/2".to_owned()),
                    ..none()
                },
            ),
            (
                "object-format=sha256",
                Capabilities {
                    hash: HashKind::Sha256,
                    ..none()
                },
            ),
            ("wait-for-done", none()),
        ] {
            let mut body = b"000eversion 2\n".to_vec();
            pktline::encode_text(&mut body, line);
            pktline::encode_flush(&mut body);
            assert_eq!(v2(parse(&body)), expected, "{line}");
        }
        let assumed = Capabilities {
            ls_refs: true,
            fetch: true,
            fetch_shallow: true,
            fetch_filter: true,
            ..none()
        };
        assert_eq!(Capabilities::assumed(), assumed);
    }

    #[test]
    fn old_versions_are_told_apart() {
        let repo = Repo::new(HashKind::Sha1);
        assert_eq!(parse(&repo.info_refs("")), Advertisement::Version(0));
        repo.commit("one");
        assert_eq!(parse(&repo.info_refs("")), Advertisement::Version(0));
        assert_eq!(
            parse(&repo.info_refs("version=1")),
            Advertisement::Version(1)
        );
    }

    #[test]
    fn http_backend_is_understood() {
        let repo = Repo::new(HashKind::Sha1);
        repo.commit("one");
        for (protocol, expected) in [
            ("version=2", parse(&repo.info_refs("version=2"))),
            ("version=1", Advertisement::Version(1)),
            ("", Advertisement::Version(0)),
        ] {
            let (kind, body) = repo.http_info_refs(protocol);
            assert_eq!(
                parse_advertisement(Some(&kind), &body),
                expected,
                "{protocol:?}"
            );
            // Older versions come with the line "# service=" before them.
            assert_eq!(body.starts_with(b"001e# service="), protocol != "version=2");
        }
    }

    #[test]
    fn a_file_server_is_dumb() {
        let repo = Repo::new(HashKind::Sha1);
        repo.commit("one");
        repo.git(&["tag", "v1"]);
        repo.git(&["update-server-info"]);
        let file = std::fs::read(repo.path(".git/info/refs")).expect("git wrote it");
        assert_eq!(
            parse_advertisement(Some("text/plain"), &file),
            Advertisement::Dumb
        );
    }

    #[test]
    fn what_is_no_git_server_is_described() {
        let html = parse_advertisement(
            Some("text/html; charset=utf-8"),
            b"<!DOCTYPE html><p>Sign in",
        );
        let Advertisement::NotGit(reason) = html else {
            panic!("{html:?}");
        };
        assert!(
            reason.contains("text/html") && reason.contains("<!DO"),
            "{reason}"
        );
        let Advertisement::NotGit(reason) = parse(b"<!DOCTYPE html>") else {
            panic!("is no Git server");
        };
        assert!(
            !reason.contains("the answer is"),
            "its type is right: {reason}"
        );
        for body in [
            &b""[..],
            b"0000",
            b"0001",
            b"000eversion 2\n",
            b"000eversion 2\n0001",
            b"000eversion 3\n0000",
            b"000ahello\n0000",
            b"000bhel\0lo\n0000",
            b"0032a9993e364706816aba3e25717850c26c9cd0d89d r/x\n0000",
            b"000eversion 2\n0017object-format=md5!\n0000",
            b"001e# service=git-upload-pack\n000eversion 2\n0000",
            b"\x00\x01\x02\x03\x04",
            b"\n",
        ] {
            let parsed = parse(body);
            assert!(matches!(parsed, Advertisement::NotGit(_)), "{parsed:?}");
        }
    }

    #[test]
    fn a_servers_refusal_is_kept() {
        let body = b"0022ERR access denied or \x1bno repo.\n";
        let refused = Advertisement::Refused("access denied or  no repo.".to_owned());
        assert_eq!(parse(body), refused);
    }
}

//! Tests of the reader of `fetch` answers: made ones, cut in every way, and a real server's.

use proptest::prelude::*;

use super::*;
use crate::git::{
    oid::HashKind,
    oracle::Repo,
    pack::{Decoded, Limits, StreamDecoder},
    v2::{Capabilities, FetchRequest, FilterSpec, fetch_request, not_our_ref},
};

const ID: &str = "a9993e364706816aba3e25717850c26c9cd0d89d";

fn id() -> Oid {
    Oid::from_hex(ID.as_bytes()).expect("an id")
}

/// Feeds `body` in pieces of `size` and collects the events, adjoining pack data joined.
fn read(body: &[u8], size: usize) -> (Vec<FetchEvent>, Result<(), ProtocolError>) {
    let mut response = FetchResponse::new();
    let mut events = Vec::new();
    for piece in body.chunks(size) {
        response.feed(Bytes::copy_from_slice(piece));
        loop {
            match response.next_event() {
                Ok(Some(event)) => match (events.last_mut(), event) {
                    (Some(FetchEvent::PackData(before)), FetchEvent::PackData(more)) => {
                        assert!(!more.is_empty(), "nothing is no event");
                        *before = [&before[..], &more[..]].concat().into();
                    }
                    (_, event) => events.push(event),
                },
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(response.next_event(), Err(error.clone()), "it stands");
                    return (events, Err(error));
                }
            }
        }
    }
    (events, response.finish())
}

fn packets(contents: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    for content in contents {
        match content {
            [] => pktline::encode_delim(&mut out),
            content => pktline::encode_data(&mut out, content),
        }
    }
    out
}

/// All sections, both kinds of progress line breaks, keep-alives.
fn full() -> Vec<u8> {
    let mut body = packets(&[
        b"acknowledgments\n",
        b"NAK\n",
        b"",
        b"shallow-info\n",
        format!("shallow {ID}\n").as_bytes(),
        format!("unshallow {ID}").as_bytes(),
        b"",
        b"wanted-refs\n",
        format!("{ID} refs/heads/main\n").as_bytes(),
        b"",
        b"packfile\n",
        b"\x02Counting: 1\rCount",
        b"\x01PACK",
        b"\x01",
        b"\x02",
        b"\x02ing: 2, \x1b[31mdone.\n\n",
        b"\x01rest",
        b"\x02bye",
    ]);
    pktline::encode_flush(&mut body);
    body
}

#[test]
fn all_sections_are_read() {
    let (events, end) = read(&full(), usize::MAX);
    let progress = |line: &str| FetchEvent::Progress(line.to_owned());
    assert_eq!(end, Ok(()));
    assert_eq!(
        events,
        [
            FetchEvent::Shallow(id()),
            FetchEvent::Unshallow(id()),
            FetchEvent::WantedRef {
                name: "refs/heads/main".to_owned(),
                oid: id()
            },
            progress("Counting: 1"),
            FetchEvent::PackData(Bytes::from_static(b"PACK")),
            progress("Counting: 2,  [31mdone."),
            FetchEvent::PackData(Bytes::from_static(b"rest")),
            progress("bye"),
            FetchEvent::End,
        ]
    );
}

#[test]
fn any_cutting_gives_the_same_events_and_any_end_but_the_last_is_early() {
    let body = full();
    let whole = read(&body, usize::MAX);
    for size in 1..40 {
        assert_eq!(read(&body, size), whole);
    }
    for end in 0..body.len() {
        let (events, result) = read(&body[..end], usize::MAX);
        assert_eq!(result, Err(ProtocolError::Truncated), "cut at {end}");
        assert!(!events.contains(&FetchEvent::End));
    }
}

#[test]
fn what_follows_the_end_is_ignored() {
    let mut body = full();
    body.extend_from_slice(b"0000zzzz");
    for size in [1, 7, usize::MAX] {
        assert_eq!(read(&body, size), read(&full(), size));
    }
    let mut response = FetchResponse::new();
    response.feed(Bytes::from(full()));
    while response.next_event() != Ok(Some(FetchEvent::End)) {}
    response.feed(Bytes::from_static(b"not kept"));
    assert!(response.reader.is_empty());
}

#[test]
fn a_wanted_ref_with_an_invalid_name_is_malformed() {
    for name in ["refs\u{f}heads/main", "refs/heads/\u{1b}[31m", ""] {
        let line = format!("{ID} {name}");
        let (events, end) = read(&packets(&[b"wanted-refs\n", line.as_bytes()]), 9);
        assert_eq!(events, [], "{name:?}");
        let Err(ProtocolError::Malformed(message)) = end else {
            panic!("{name:?}: {end:?}");
        };
        assert!(!message.contains(char::is_control), "{message}");
    }
}

#[test]
fn pack_data_is_not_copied() {
    let body = Bytes::from(packets(&[b"packfile\n", b"\x01PACK"]));
    let mut response = FetchResponse::new();
    response.feed(body.clone());
    let Ok(Some(FetchEvent::PackData(data))) = response.next_event() else {
        panic!("pack data");
    };
    assert_eq!(data.as_ptr(), body[body.len() - 4..].as_ptr());
}

#[test]
fn a_servers_last_words_are_an_error() {
    let remote = |words: &str| Err(ProtocolError::Remote(words.to_owned()));
    for (contents, expected) in [
        (
            &[&b"ERR upload-pack: no\n"[..]][..],
            remote("upload-pack: no"),
        ),
        (&[b"shallow-info\n", b"ERR late"], remote("late")),
        (
            &[b"packfile\n", b"\x01PACK", b"\x03out of\x07 memory\n"],
            remote("out of  memory"),
        ),
    ] {
        assert_eq!(read(&packets(contents), usize::MAX).1, expected);
    }
}

#[test]
fn answers_out_of_order_are_malformed() {
    for contents in [
        &[&b"packfile-uris\n"[..]][..],
        &[b"news\n"],
        &[b""],
        &[b"packfile\n", b""],
        &[b"packfile\n", b"\x04x"],
        &[b"packfile\n", b"PACK"],
        &[b"shallow-info\n", b"shallow 123"],
        &[
            b"shallow-info\n",
            b"swallow a9993e364706816aba3e25717850c26c9cd0d89d",
        ],
        &[
            b"wanted-refs\n",
            b"a9993e364706816aba3e25717850c26c9cd0d89d",
        ],
        &[b"shallow-info\n", b"", b""],
    ] {
        let (_, end) = read(&packets(contents), usize::MAX);
        assert!(
            matches!(end, Err(ProtocolError::Malformed(_))),
            "{contents:?}: {end:?}"
        );
    }
    for body in [
        &b"0000"[..],
        b"0002",
        b"0014acknowledgments\n0000",
        b"0011shallow-info\n0002",
    ] {
        let (_, end) = read(body, usize::MAX);
        assert!(matches!(end, Err(ProtocolError::Malformed(_))), "{end:?}");
    }
    assert_eq!(read(b"", 1).1, Err(ProtocolError::Truncated));
}

#[test]
fn an_endless_line_of_progress_is_bounded() {
    let mut contents: Vec<&[u8]> = vec![b"packfile\n"];
    let line = [b"\x02".as_slice(), &[b'x'; 60_000]].concat();
    contents.extend([&line[..]; 5]);
    let mut body = packets(&contents);
    pktline::encode_flush(&mut body);
    let (events, _) = read(&body, usize::MAX);
    let expected = FetchEvent::Progress("x".repeat(PROGRESS_LIMIT));
    assert_eq!(events, [expected, FetchEvent::End]);
}

proptest! {
    #[test]
    fn no_bytes_panic(data in prop::collection::vec(prop::sample::select(b"0000001249acfklps\n \x01\x02\x03".to_vec()), 0..80)) {
        let _ = read(&data, 3);
    }
}

/// A repository of two commits with a file each in a folder and beside it.
fn repo(hash: HashKind) -> Repo {
    let repo = Repo::new(hash);
    repo.write("folder/a", b"aaa\n");
    repo.commit("one");
    repo.write("b", &[b'b'; 2_000]);
    repo.commit("two");
    for key in [
        "uploadpack.allowFilter",
        "uploadpack.allowAnySHA1InWant",
        "uploadpack.allowRefInWant",
    ] {
        repo.git(&["config", key, "true"]);
    }
    repo
}

fn ask(repo: &Repo, request: &FetchRequest<'_>) -> (Vec<FetchEvent>, Result<(), ProtocolError>) {
    let caps = Capabilities {
        hash: repo.hash(),
        agent: Some("git".to_owned()),
        ..Capabilities::assumed()
    };
    let body = repo.upload_pack(&fetch_request(&caps, request));
    let whole = read(&body, usize::MAX);
    for size in [1, 5, 1_000] {
        let cut = read(&body, size);
        assert_eq!(cut, whole);
    }
    whole
}

/// The ids of the objects in the pack, sorted; decoded here and unpacked by git, which must agree.
fn objects(hash: HashKind, events: &[FetchEvent]) -> Vec<String> {
    let pack: Vec<u8> = events
        .iter()
        .filter_map(|event| match event {
            FetchEvent::PackData(data) => Some(data.to_vec()),
            _ => None,
        })
        .flatten()
        .collect();
    let mut decoded = Vec::new();
    let mut decoder = StreamDecoder::new(hash, Limits::default());
    let mut found = |object: Decoded| decoded.push(object.oid.to_string());
    decoder.push(&pack, &pack, &mut found).expect("git's pack");
    decoder.finish(&pack, &mut found).expect("git's pack");
    decoded.sort();
    let receiver = Repo::new(hash);
    receiver.git_with(&["unpack-objects", "-q"], &pack);
    let all = receiver.git(&[
        "cat-file",
        "--batch-all-objects",
        "--batch-check=%(objectname)",
    ]);
    assert!(String::from_utf8_lossy(&all).lines().eq(decoded.iter()));
    decoded
}

fn sorted(repo: &Repo, names: &[&str]) -> Vec<String> {
    let mut ids: Vec<_> = names
        .iter()
        .map(|name| repo.rev(name).to_string())
        .collect();
    ids.sort();
    ids
}

#[test]
fn a_real_server_answers_each_kind_of_request() {
    for hash in [HashKind::Sha1, HashKind::Sha256] {
        let repo = repo(hash);
        let head = [repo.rev("HEAD")];
        let filtered = |filter| FetchRequest {
            wants: &head,
            filter: Some(filter),
            deepen: Some(1),
            ..FetchRequest::default()
        };
        for (filter, expected) in [
            (FilterSpec::BlobNone, &["HEAD", "HEAD:", "HEAD:folder"][..]),
            (FilterSpec::TreeDepth(0), &["HEAD"]),
            (FilterSpec::TreeDepth(1), &["HEAD", "HEAD:"]),
            (
                FilterSpec::BlobLimit(1_000),
                &["HEAD", "HEAD:", "HEAD:folder", "HEAD:folder/a"],
            ),
            (
                FilterSpec::Combine(vec![FilterSpec::TreeDepth(2), FilterSpec::BlobNone]),
                &["HEAD", "HEAD:", "HEAD:folder"],
            ),
        ] {
            let (events, end) = ask(&repo, &filtered(filter.clone()));
            assert_eq!(end, Ok(()), "{filter:?}");
            assert_eq!(events.first(), Some(&FetchEvent::Shallow(head[0])));
            assert_eq!(
                objects(hash, &events),
                sorted(&repo, expected),
                "{filter:?}"
            );
        }
        let blobs = [repo.rev("HEAD:b"), repo.rev("HEAD:folder/a")];
        let request = FetchRequest {
            wants: &blobs,
            no_progress: true,
            ..FetchRequest::default()
        };
        let (events, end) = ask(&repo, &request);
        assert_eq!(end, Ok(()));
        assert_eq!(
            objects(hash, &events),
            sorted(&repo, &["HEAD:b", "HEAD:folder/a"])
        );
        assert!(
            !events
                .iter()
                .any(|event| matches!(event, FetchEvent::Progress(_)))
        );
    }
}

#[test]
fn a_real_server_resolves_wanted_refs() {
    let repo = repo(HashKind::Sha1);
    let request = FetchRequest {
        want_refs: &["refs/heads/main"],
        filter: Some(FilterSpec::TreeDepth(0)),
        deepen: Some(1),
        ..FetchRequest::default()
    };
    let (events, end) = ask(&repo, &request);
    assert_eq!(end, Ok(()));
    assert!(events.contains(&FetchEvent::WantedRef {
        name: "refs/heads/main".to_owned(),
        oid: repo.rev("HEAD"),
    }));
}

#[test]
fn a_real_server_names_the_object_it_lacks() {
    let repo = repo(HashKind::Sha1);
    let request = FetchRequest {
        wants: &[id()],
        ..FetchRequest::default()
    };
    let (_, end) = ask(&repo, &request);
    let Err(ProtocolError::Remote(message)) = end else {
        panic!("{end:?}");
    };
    assert_eq!(not_our_ref(&message, HashKind::Sha1), Some(Some(id())));
}

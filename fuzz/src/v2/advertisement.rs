//! The capability advertisement: whatever answers, what is said of it is safe to print, and what
//! is asked of it is well formed and no more than it offers.

use bonsaifs::git::{
    pktline::{Pkt, packets, text},
    v2::{
        Advertisement, Capabilities, FetchRequest, FilterSpec, fetch_request, ls_refs_request,
        object_info_request, parse_advertisement,
    },
};

use super::{answer, is_printable};
use crate::input::Input;

/// See the module.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let kinds = [
        None,
        Some("application/x-git-upload-pack-advertisement"),
        Some("text/html; charset=utf-8"),
        Some("\x1b[31m"),
    ];
    let kind = kinds[input.below(kinds.len())];
    let body = answer(&mut input);
    match parse_advertisement(kind, &body) {
        Advertisement::V2(caps) => check_requests(&caps),
        Advertisement::Version(version) => assert!(version < 2),
        Advertisement::Dumb => {}
        Advertisement::Refused(text) | Advertisement::NotGit(text) => {
            assert!(is_printable(&text), "{text:?}");
        }
    }
    let with_other_kind = parse_advertisement(Some("application/octet-stream"), &body);
    if let Advertisement::V2(caps) = parse_advertisement(kind, &body) {
        let same = Advertisement::V2(caps);
        assert_eq!(with_other_kind, same, "the body alone decides");
    }
}

fn check_requests(caps: &Capabilities) {
    assert!(caps.agent.as_deref().is_none_or(is_printable));
    let null = caps.hash.null();
    let fetch = FetchRequest {
        wants: &[null],
        filter: Some(FilterSpec::BlobNone),
        deepen: Some(1),
        ..FetchRequest::default()
    };
    let requests = [
        ls_refs_request(caps, &["HEAD", "refs/heads/"]),
        fetch_request(caps, &fetch),
        object_info_request(caps, &[null]),
    ];
    for request in requests {
        let packets: Vec<_> = packets(&request)
            .collect::<Result<_, _>>()
            .expect("our own packets");
        assert_eq!(packets.last(), Some(&Pkt::Flush));
        let lines = packets.iter().filter_map(|pkt| match pkt {
            Pkt::Data(line) => Some(text(line)),
            _ => None,
        });
        for line in lines {
            let offered = match line {
                b"unborn" => caps.ls_refs_unborn,
                b"deepen 1" => caps.fetch_shallow,
                b"filter blob:none" => caps.fetch_filter,
                line if line.starts_with(b"agent=") => caps.agent.is_some(),
                _ => true,
            };
            assert!(offered, "asks for what isn't offered: {line:?}");
        }
    }
}

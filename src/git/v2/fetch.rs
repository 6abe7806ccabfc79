//! The `fetch` request: objects by id or by ref, with a filter.

use super::{Capabilities, begin, pktline};
use crate::git::oid::Oid;

/// Which objects to leave out of what the wanted ones reach (git-rev-list, `--filter`). Wanted
/// objects themselves are always sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilterSpec {
    /// No blobs.
    BlobNone,
    /// No blobs of this many bytes or more.
    BlobLimit(u64),
    /// No trees and blobs at this depth or deeper; a commit's root tree is at depth 0.
    TreeDepth(u32),
    /// What all of these let through. Not every server takes it.
    Combine(Vec<FilterSpec>),
}

impl FilterSpec {
    /// The filter as it is sent.
    fn spec(&self) -> String {
        match self {
            Self::BlobNone => "blob:none".to_owned(),
            Self::BlobLimit(bytes) => format!("blob:limit={bytes}"),
            Self::TreeDepth(depth) => format!("tree:{depth}"),
            Self::Combine(filters) => {
                // The parts are URL-encoded, of which only these two characters are ever in one.
                let encode = |filter: &Self| filter.spec().replace('%', "%25").replace('+', "%2b");
                let parts: Vec<_> = filters.iter().map(encode).collect();
                format!("combine:{}", parts.join("+"))
            }
        }
    }
}

/// What to fetch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetchRequest<'a> {
    /// The objects wanted.
    pub wants: &'a [Oid],
    /// A tree that is here with all trees below it: what it has is not sent. A commit would do the
    /// same only for thin packs (git-pack-objects marks the trees of commits on the far side for
    /// `--thin` alone), and it would stand for its whole history. A server that does not know the
    /// tree passes over it.
    pub have: Option<Oid>,
    /// Full names of refs wanted, whatever they point to by then. Only for servers with
    /// [`Capabilities::fetch_ref_in_want`]; each must be a valid ref name.
    pub want_refs: &'a [&'a str],
    /// What to leave out. Not sent to a server that can't filter, which then sends everything.
    pub filter: Option<FilterSpec>,
    /// How many commits of history to send, counted from the wanted ones. Not sent to a server that
    /// can't cut history.
    pub deepen: Option<u32>,
    /// Whether deltas may build on objects that aren't in the pack. They would have to be named as
    /// present, so only a server with a mind of its own would make use of it.
    pub thin_pack: bool,
    /// Whether to spare the progress messages.
    pub no_progress: bool,
}

/// Writes the request, with `done`, so that the pack comes at once.
pub fn fetch_request(caps: &Capabilities, request: &FetchRequest<'_>) -> Vec<u8> {
    let mut out = begin(caps, "fetch");
    let mut line = |text: &str| pktline::encode_text(&mut out, text);
    if request.thin_pack {
        line("thin-pack");
    }
    if request.no_progress {
        line("no-progress");
    }
    line("ofs-delta");
    if let (Some(depth), true) = (request.deepen, caps.fetch_shallow) {
        line(&format!("deepen {depth}"));
    }
    if let (Some(filter), true) = (&request.filter, caps.fetch_filter) {
        line(&format!("filter {}", filter.spec()));
    }
    for oid in request.wants {
        line(&format!("want {oid}"));
    }
    for name in request.want_refs {
        line(&format!("want-ref {name}"));
    }
    if let Some(have) = request.have {
        line(&format!("have {have}"));
    }
    line("done");
    pktline::encode_flush(&mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::oid::HashKind;

    fn text(caps: &Capabilities, request: &FetchRequest<'_>) -> Vec<String> {
        let body = fetch_request(caps, request);
        pktline::packets(&body)
            .map(|packet| match packet.expect("well-formed") {
                pktline::Pkt::Data(line) => {
                    String::from_utf8_lossy(pktline::text(line)).into_owned()
                }
                other => format!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn a_tree_that_is_here_is_named_before_the_end() {
        let wants = [Oid::null(HashKind::Sha1)];
        let have = Oid::empty_tree(HashKind::Sha1);
        let request = FetchRequest {
            wants: &wants,
            have: Some(have),
            ..FetchRequest::default()
        };
        let lines = text(&Capabilities::assumed(), &request);
        let end = &lines[lines.len() - 3..];
        assert_eq!(end, [&format!("have {have}"), "done", "Flush"]);
    }

    #[test]
    fn a_request_has_what_was_asked_and_ends_in_done() {
        let wants = [Oid::null(HashKind::Sha1), Oid::empty_tree(HashKind::Sha1)];
        let request = FetchRequest {
            wants: &wants,
            filter: Some(FilterSpec::BlobNone),
            deepen: Some(1),
            no_progress: true,
            ..FetchRequest::default()
        };
        assert_eq!(
            text(&Capabilities::assumed(), &request),
            [
                "command=fetch",
                "Delim",
                "no-progress",
                "ofs-delta",
                "deepen 1",
                "filter blob:none",
                "want 0000000000000000000000000000000000000000",
                "want 4b825dc642cb6eb9a060e54bf8d69288fbee4904",
                "done",
                "Flush",
            ]
        );
    }

    #[test]
    fn what_a_server_does_not_offer_is_not_asked() {
        let caps = Capabilities {
            fetch_filter: false,
            fetch_shallow: false,
            ..Capabilities::assumed()
        };
        let request = FetchRequest {
            want_refs: &["refs/heads/main"],
            filter: Some(FilterSpec::BlobNone),
            deepen: Some(1),
            thin_pack: true,
            ..FetchRequest::default()
        };
        assert_eq!(
            text(&caps, &request),
            [
                "command=fetch",
                "Delim",
                "thin-pack",
                "ofs-delta",
                "want-ref refs/heads/main",
                "done",
                "Flush"
            ]
        );
    }

    #[test]
    fn filters_are_spelled_as_git_does() {
        let combined = FilterSpec::Combine(vec![
            FilterSpec::TreeDepth(2),
            FilterSpec::BlobLimit(32 << 10),
        ]);
        assert_eq!(combined.spec(), "combine:tree:2+blob:limit=32768");
        let nested = FilterSpec::Combine(vec![FilterSpec::Combine(vec![
            combined,
            FilterSpec::BlobNone,
        ])]);
        assert_eq!(
            nested.spec(),
            "combine:combine:combine:tree:2%252bblob:limit=32768%2bblob:none"
        );
    }
}

//! Fetching objects and their sizes.

use super::*;
use crate::{
    origin::{Fetch, Filter, Origin, OriginCounters, RefWant},
    seams::http::HttpError,
};

fn fetch(filter: Filter, wants: &str) -> Fetch {
    Fetch {
        have: None,
        wants: wants.chars().map(oid).collect(),
        filter,
    }
}

/// A host that answers fetches with `answer`, and everything else as usual.
fn fetching(answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> World {
    World::new(move |seen| match seen.command().as_deref() {
        Some("fetch") => answer(seen),
        _ => usual(seen),
    })
}

async fn fetched(world: &World, what: &Fetch) -> (Result<(), OriginError>, Sink) {
    let mut sink = Sink::default();
    let result = world.origin(REPO).await.fetch(what, &mut sink).await;
    (result, sink)
}

/// Pieces of `whole`, each of `size` bytes.
fn pieces(whole: &[u8], size: usize) -> Vec<Result<Bytes, HttpError>> {
    whole
        .chunks(size)
        .map(|piece| Ok(Bytes::copy_from_slice(piece)))
        .collect()
}

#[tokio::test]
async fn a_pack_is_passed_on_as_it_comes() {
    for size in [1, 3, 7, 1000] {
        let world = fetching(move |_| {
            let answer = pack_answer(&[b"PACK", b"more", b"and the end"]);
            Answer::pieces(pieces(&answer, size))
        });
        let (result, sink) = fetched(&world, &fetch(Filter::NoBlobs, "1")).await;
        result.expect("a whole answer");
        assert_eq!(sink.pack, b"PACKmoreand the end");
        assert_eq!(sink.progress, ["Counting"]);
    }
}

/// Found by the simulation (seed 85): a host that answered one request with `Retry-After` was asked
/// for something else at once.
#[tokio::test]
async fn what_a_host_asks_of_one_request_all_others_obey() {
    let world = fetching(|_| Answer::status(429, &[("retry-after", "3")]));
    let origin = world.origin(REPO).await;
    let mut sink = Sink::default();
    let first = origin
        .fetch(&fetch(Filter::OnlyWanted, "1"), &mut sink)
        .await;
    assert!(
        matches!(first, Err(OriginError::RateLimited { .. })),
        "{first:?}"
    );
    assert!(!world.seen().is_empty());
    let second = origin
        .fetch(&fetch(Filter::OnlyWanted, "2"), &mut sink)
        .await;
    assert!(
        matches!(
            second,
            Err(OriginError::RateLimited {
                retry_after: Some(_),
                ..
            })
        ),
        "{second:?}"
    );
    assert!(world.seen().is_empty(), "nothing was sent");
}

#[tokio::test]
async fn what_is_asked_for() {
    for (filter, expected) in [
        (Filter::None, vec!["ofs-delta", "deepen 1"]),
        (
            Filter::NoBlobs,
            vec!["ofs-delta", "deepen 1", "filter blob:none"],
        ),
        (
            Filter::OnlyWanted,
            vec!["no-progress", "ofs-delta", "deepen 1", "filter tree:0"],
        ),
    ] {
        let world = World::new(usual);
        let origin = world.origin(REPO).await;
        let what = fetch(filter, "12");
        let mut sink = Sink::default();
        origin.fetch(&what, &mut sink).await.expect("a pack");
        let seen = world.seen();
        // No advertisement is asked for where nothing is in doubt.
        assert_eq!(seen.len(), 1);
        let lines = seen[0].lines();
        let wants = [format!("want {}", oid('1')), format!("want {}", oid('2'))];
        let expected: Vec<String> = ["command=fetch"]
            .into_iter()
            .chain(expected)
            .map(str::to_owned)
            .chain(wants)
            .chain(["done".to_owned()])
            .collect();
        assert_eq!(lines, expected);
        let body = pack_answer(&[b"PACK"]).len() as u64;
        let counters = OriginCounters {
            requests: 1,
            bytes: body,
        };
        assert_eq!(origin.counters(), counters);
    }
}

#[tokio::test]
async fn a_server_that_can_not_filter_is_asked_again_without() {
    let world = World::new(|seen| match seen.command() {
        None => Answer::advertisement(&["fetch=shallow"]),
        Some(_) if seen.lines().iter().any(|line| line.starts_with("filter")) => {
            // As upload-pack answers what it was not configured to take.
            Answer::result(b"")
        }
        Some(_) => usual(seen),
    });
    let origin = world.origin(REPO).await;
    for requests in [3, 1] {
        let mut sink = Sink::default();
        let what = fetch(Filter::OnlyWanted, "1");
        origin.fetch(&what, &mut sink).await.expect("a pack");
        assert_eq!(sink.pack, b"PACK");
        assert_eq!(world.seen().len(), requests);
    }
}

#[tokio::test]
async fn an_object_that_is_not_there_is_named() {
    for (message, expected) in [
        (
            format!("ERR upload-pack: not our ref {}", oid('2')),
            Some(oid('2')),
        ),
        ("ERR upload-pack: not our ref".to_owned(), None),
        (format!("ERR want {} not valid", oid('3')), Some(oid('3'))),
    ] {
        let world = fetching(move |_| Answer::result(packets(&[&message])));
        let (result, _) = fetched(&world, &fetch(Filter::OnlyWanted, "12")).await;
        let error = result.expect_err("it is not there");
        assert!(
            matches!(&error, OriginError::MissingObject { oid, .. } if *oid == expected),
            "{error:?}"
        );
        assert_eq!(world.seen().len(), 1, "nothing is in doubt");
    }
}

#[tokio::test]
async fn other_refusals_are_the_servers_own_words() {
    let world = fetching(|_| Answer::result(packets(&["ERR we are closed"])));
    let (result, _) = fetched(&world, &fetch(Filter::NoBlobs, "1")).await;
    let error = result.expect_err("refused");
    assert!(
        matches!(&error, OriginError::Refused { message, .. } if message == "we are closed"),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_server_that_dies_in_the_middle_of_a_pack() {
    let world = fetching(|_| {
        let mut answer = pack_answer(&[b"PACK"]);
        answer.truncate(answer.len() - 4);
        let last_words = b"\x03aborting due to possible repository corruption";
        crate::git::pktline::encode_data(&mut answer, last_words);
        Answer::result(answer)
    });
    let (result, sink) = fetched(&world, &fetch(Filter::NoBlobs, "1")).await;
    let error = result.expect_err("it said so");
    assert!(matches!(error, OriginError::Refused { .. }), "{error:?}");
    assert_eq!(sink.pack, b"PACK");
    assert_eq!(world.seen().len(), 1, "a sink takes one pack only");
}

#[tokio::test]
async fn an_answer_that_ends_early_is_never_a_success() {
    let whole = pack_answer(&[b"PACK", b"more"]);
    for length in 0..whole.len() {
        let cut = whole[..length].to_vec();
        let world = fetching(move |_| Answer::result(cut.clone()));
        let (result, _) = fetched(&world, &fetch(Filter::NoBlobs, "1")).await;
        let error = result.expect_err("the answer is cut");
        assert!(matches!(error, OriginError::Corrupt { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_connection_that_breaks_keeps_what_came() {
    let world = fetching(|_| {
        let whole = pack_answer(&[b"PACK", b"more"]);
        let mut pieces = pieces(&whole[..whole.len() - 10], 5);
        let (host, reason) = ("git.example:443".into(), "reset".into());
        pieces.push(Err(HttpError::Broken { host, reason }));
        Answer::pieces(pieces)
    });
    let (result, sink) = fetched(&world, &fetch(Filter::NoBlobs, "1")).await;
    let error = result.expect_err("it broke");
    assert!(
        matches!(error, OriginError::Http(HttpError::Broken { .. })),
        "{error:?}"
    );
    assert_eq!(sink.pack, b"PACK");
}

#[tokio::test]
async fn an_error_of_the_sink_ends_it() {
    struct Full;
    impl FetchSink for Full {
        fn pack_data(&mut self, _: Bytes) -> Result<(), OriginError> {
            let (what, reason) = ("pack".into(), "no space left".into());
            Err(OriginError::Disk { what, reason })
        }
        fn object(&mut self, _: Oid, _: ObjectKind, _: Bytes) -> Result<(), OriginError> {
            Ok(())
        }
        fn large_start(&mut self, _: Oid, _: u64) -> Result<(), OriginError> {
            Ok(())
        }
        fn large_data(&mut self, _: Bytes) -> Result<(), OriginError> {
            Ok(())
        }
        fn progress(&mut self, _: &str) {}
    }
    let world = World::new(usual);
    let origin = world.origin(REPO).await;
    let what = fetch(Filter::NoBlobs, "1");
    let error = origin.fetch(&what, &mut Full).await.expect_err("full");
    assert!(matches!(error, OriginError::Disk { .. }), "{error:?}");
}

#[tokio::test]
async fn nothing_wanted_is_nothing_asked() {
    let world = World::new(|_| panic!("nothing is to be asked"));
    let (result, _) = fetched(&world, &fetch(Filter::NoBlobs, "")).await;
    result.expect("nothing to do");
    let origin = world.origin(REPO).await;
    assert_eq!(origin.sizes(&[]).await.expect("none"), Some(vec![]));
}

/// A host that tells sizes: 7 for each object but `oid('0')`, which it doesn't have.
fn telling_sizes(seen: &Seen) -> Answer {
    match seen.command().as_deref() {
        None => Answer::advertisement(&[FETCH, "object-info"]),
        Some("object-info") => {
            let missing = oid('0').to_string();
            let mut lines = vec!["size".to_owned()];
            for line in seen.lines() {
                if let Some(id) = line.strip_prefix("oid ") {
                    let size = if id == missing { "" } else { "7" };
                    lines.push(format!("{id} {size}"));
                }
            }
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            Answer::result(packets(&lines))
        }
        _ => usual(seen),
    }
}

#[tokio::test]
async fn sizes_come_in_the_order_asked() {
    let world = World::new(telling_sizes);
    let origin = world.origin(REPO).await;
    let asked = [oid('3'), oid('0'), oid('1'), oid('3')];
    let sizes = origin.sizes(&asked).await.expect("an answer");
    assert_eq!(sizes, Some(vec![Some(7), None, Some(7), Some(7)]));
    assert_eq!(world.seen().len(), 2, "the advertisement and the sizes");
    origin.sizes(&asked).await.expect("an answer");
    assert_eq!(world.seen().len(), 1);
}

#[tokio::test]
async fn sizes_are_asked_for_in_bounded_requests() {
    let world = World::new(telling_sizes);
    let origin = world.origin(REPO).await;
    let asked = vec![oid('5'); 25_000];
    let sizes = origin.sizes(&asked).await.expect("an answer");
    assert_eq!(sizes, Some(vec![Some(7); 25_000]));
    let ids = |seen: &Seen| {
        seen.lines()
            .iter()
            .filter(|line| line.starts_with("oid "))
            .count()
    };
    let counts: Vec<usize> = world.seen().iter().map(ids).collect();
    assert_eq!(counts, [0, 10_000, 10_000, 5_000]);
}

#[tokio::test]
async fn a_server_that_tells_no_sizes_is_asked_once_whether_it_does() {
    let world = World::new(usual);
    let origin = world.origin(REPO).await;
    for requests in [1, 0] {
        assert_eq!(origin.sizes(&[oid('1')]).await.expect("an answer"), None);
        assert_eq!(world.seen().len(), requests);
    }
}

#[tokio::test]
async fn a_server_that_no_longer_tells_sizes() {
    let world = World::new(telling_sizes);
    world
        .origin(REPO)
        .await
        .sizes(&[oid('1')])
        .await
        .expect("sizes");
    let later = World {
        memory: world.memory.clone(),
        ..World::new(|seen| match seen.command().as_deref() {
            Some("object-info") => Answer::result(b""),
            _ => usual(seen),
        })
    };
    let origin = later.origin(REPO).await;
    assert_eq!(origin.sizes(&[oid('1')]).await.expect("an answer"), None);
}

#[tokio::test]
async fn a_size_that_is_left_out_is_not_an_object_that_is_not_there() {
    let world = World::new(|seen| match seen.command().as_deref() {
        Some("object-info") => Answer::result(packets(&["size"])),
        _ => telling_sizes(seen),
    });
    let origin = world.origin(REPO).await;
    let error = origin.sizes(&[oid('1')]).await.expect_err("no answer");
    assert!(matches!(error, OriginError::Corrupt { .. }), "{error:?}");
}

#[tokio::test]
async fn an_advertisement_that_is_on_its_way_is_waited_for_and_not_asked_for_again() {
    let world = World::new(|seen| match seen.command().as_deref() {
        None => telling_sizes(seen).after(9),
        Some("ls-refs") => usual(seen).after(1),
        Some(_) => telling_sizes(seen),
    });
    let origin = world.origin(REPO).await;
    origin.resolve(&RefWant::Head).await.expect("found");
    let asked = [oid('1')];
    let (sizes, ()) = tokio::join!(origin.sizes(&asked), world.runtime.run_tasks());
    assert_eq!(sizes.expect("an answer"), Some(vec![Some(7)]));
    let commands: Vec<_> = world.seen().iter().map(Seen::command).collect();
    let expected = [Some("ls-refs"), None, Some("object-info")];
    assert_eq!(commands, expected.map(|name| name.map(str::to_owned)));
}

//! Packs made at random: objects whole and as deltas of both kinds, with bases before and behind
//! them.

use std::collections::BTreeMap;

use proptest::{prelude::*, sample::Index as Pick};

use super::*;
use crate::git::{
    delta::tests::{Op, encode, meaning},
    pack::{
        EntryKind,
        read::{object_header, read_object},
    },
};

/// An object yet to be made.
#[derive(Clone, Debug)]
struct Plan {
    /// For a delta, an earlier object in the order of making, and what to do with it.
    delta: Option<(Pick, Vec<PlanOp>)>,
    kind: Pick,
    data: Vec<u8>,
    /// Where it goes in the pack: the lowest first.
    place: u32,
    by_id: bool,
    level: u32,
}

#[derive(Clone, Debug)]
enum PlanOp {
    Copy(Pick, Pick),
    Insert(Vec<u8>),
}

fn plans() -> impl Strategy<Value = Vec<Plan>> {
    let data = || prop::collection::vec(prop::sample::select(b"abc\0\xff".to_vec()), 0..500);
    let op = prop_oneof![
        (any::<Pick>(), any::<Pick>()).prop_map(|(start, len)| PlanOp::Copy(start, len)),
        prop::collection::vec(any::<u8>(), 1..20).prop_map(PlanOp::Insert),
    ];
    let delta = prop::option::weighted(0.7, (any::<Pick>(), prop::collection::vec(op, 0..6)));
    let plan = (
        delta,
        any::<Pick>(),
        data(),
        any::<u32>(),
        any::<bool>(),
        0u32..10,
    )
        .prop_map(|(delta, kind, data, place, by_id, level)| Plan {
            delta,
            kind,
            data,
            place,
            by_id,
            level,
        });
    prop::collection::vec(plan, 0..25)
}

/// What the model says an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Object {
    kind: ObjectKind,
    data: Vec<u8>,
    oid: Oid,
    /// Whether its object can be made when its entry arrives.
    at_once: bool,
}

/// Makes the pack, and the objects in it by the offsets of their entries.
fn make(plans: &[Plan], hash: HashKind) -> (Vec<u8>, BTreeMap<u64, Object>) {
    // The model: what each object is.
    let mut objects: Vec<(ObjectKind, Vec<u8>)> = Vec::new();
    let mut deltas = Vec::new();
    for plan in plans {
        let base = plan.delta.as_ref().filter(|_| !objects.is_empty());
        let Some((base, ops)) = base.map(|(base, ops)| (base.index(objects.len()), ops)) else {
            let kinds = [
                ObjectKind::Commit,
                ObjectKind::Tree,
                ObjectKind::Blob,
                ObjectKind::Tag,
            ];
            objects.push((*plan.kind.get(&kinds), plan.data.clone()));
            deltas.push(None);
            continue;
        };
        let (kind, data) = &objects[base];
        let ops: Vec<_> = ops
            .iter()
            .filter_map(|op| match op {
                PlanOp::Copy(..) if data.is_empty() => None,
                PlanOp::Copy(start, size) => {
                    let offset = start.index(data.len());
                    let size = 1 + size.index(data.len() - offset);
                    Some(Op::Copy { offset, size })
                }
                PlanOp::Insert(bytes) => Some(Op::Insert(bytes.clone())),
            })
            .collect();
        let made = meaning(data, &ops);
        deltas.push(Some((
            base,
            encode(data.len() as u64, made.len() as u64, &ops),
        )));
        objects.push((*kind, made));
    }
    let ids: Vec<_> = objects
        .iter()
        .map(|(kind, data)| object_id(hash, *kind, data).expect("no collision"))
        .collect();

    // The pack, in the order of places.
    let mut order: Vec<_> = (0..plans.len()).collect();
    order.sort_by_key(|&at| plans[at].place);
    let mut out = vec![0; PACK_HEADER];
    let mut offsets: BTreeMap<usize, u64> = BTreeMap::new();
    let mut known: Vec<Oid> = Vec::new();
    let mut model: BTreeMap<u64, Object> = BTreeMap::new();
    for at in order {
        let offset = out.len() as u64;
        let (kind, data) = &objects[at];
        let at_once = match &deltas[at] {
            None => {
                build::encode_entry(&mut out, *kind, data, plans[at].level);
                true
            }
            Some((base, delta)) => match offsets.get(base).filter(|_| !plans[at].by_id) {
                Some(&base) => {
                    build::encode(&mut out, EntryKind::OfsDelta(base), delta, plans[at].level);
                    model[&base].at_once
                }
                None => {
                    let base = ids[*base];
                    build::encode(&mut out, EntryKind::RefDelta(base), delta, plans[at].level);
                    known.contains(&base)
                }
            },
        };
        offsets.insert(at, offset);
        if at_once {
            known.push(ids[at]);
        }
        let (kind, data, oid) = (*kind, data.clone(), ids[at]);
        model.insert(
            offset,
            Object {
                kind,
                data,
                oid,
                at_once,
            },
        );
    }
    let pack = seal(plans.len() as u32, &out[PACK_HEADER..], hash);
    (pack, model)
}

proptest! {
    #[test]
    fn any_pack_in_any_pieces_gives_its_objects(
        plans in plans(),
        sha256 in any::<bool>(),
        pieces in prop::collection::vec(1usize..200, 0..60),
        cache in prop::sample::select(vec![0, 600, 1 << 20]),
    ) {
        let hash = if sha256 { HashKind::Sha256 } else { HashKind::Sha1 };
        let limits = Limits { base_cache: cache, ..TIGHT };
        let (pack, model) = make(&plans, hash);
        let (objects, end) = decode(&pack, hash, limits, pieces);
        prop_assert!(end.is_ok(), "{:?}", end);
        prop_assert_eq!(objects.len(), model.len());
        for object in &objects {
            assert_true(object, hash, limits);
            let expected = &model[&object.offset];
            prop_assert_eq!((object.kind, object.oid), (expected.kind, expected.oid));
            prop_assert_eq!(object.size, expected.data.len() as u64);
            if let Some(data) = &object.data {
                prop_assert!(data == &expected.data);
            }
            let next = model.range(object.offset + 1..).next();
            let entry_end = next.map_or(trailer_offset(&pack, hash), |(&offset, _)| offset);
            let entry = &pack[object.offset as usize..entry_end as usize];
            prop_assert_eq!(object.crc32, crc32fast::hash(entry));
        }
        // First what can be made at once, in pack order; then the rest.
        let at_once: Vec<_> = model.iter().filter(|(_, object)| object.at_once).map(|(&offset, _)| offset).collect();
        let first: Vec<_> = objects.iter().take(at_once.len()).map(|object| object.offset).collect();
        prop_assert_eq!(first, at_once);

        // The first one made, since a later one of the same id may be made from it.
        let lookup = |oid: &Oid| first_made(&objects, oid);
        for (&offset, expected) in &model {
            let read = read_object(&pack, offset, hash, &lookup, 1 << 20);
            prop_assert_eq!(read.expect("a good pack"), (expected.kind, Bytes::from(expected.data.clone())));
            let header = object_header(&pack, offset, hash, &lookup);
            prop_assert_eq!(header.expect("a good pack"), (expected.kind, expected.data.len() as u64));
        }
    }

    #[test]
    fn any_torn_pack_keeps_a_good_part(plans in plans(), cut in any::<Pick>()) {
        let hash = HashKind::Sha1;
        let (pack, model) = make(&plans, hash);
        let torn = &pack[..cut.index(pack.len())];
        let mut decoder = StreamDecoder::new(hash, TIGHT);
        let mut objects = Vec::new();
        decoder.push(torn, &torn, &mut |object| objects.push(object)).expect("good so far");
        prop_assert!(matches!(decoder.finish(&torn, &mut |_| ()), Err(PackError::Truncated { .. })), "cut");
        let (count, end) = decoder.complete_prefix();
        let whole = model.values().take_while(|object| object.at_once).count();
        prop_assert!(count as usize <= whole);
        if count > 0 {
            let saved = seal(count, &pack[PACK_HEADER..end as usize], hash);
            objects.truncate(count as usize);
            prop_assert_eq!(decode_good(&saved, hash, TIGHT, usize::MAX), objects);
        }
    }
}

//! From what a client wants to the bytes of a pack, faults included.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use bonsaifs::git::oid::{ObjectKind, Oid};
use bytes::Bytes;

use crate::{
    repo::{
        Repo,
        encode::{Stored, deflate, delta, id, pack_entry, pack_header, pack_trailer},
    },
    rng::Rng,
};

/// What to leave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    Nothing,
    /// `blob:none`
    Blobs,
    /// `tree:0`
    AllButWanted,
}

/// All that `wants` reach, each once, commits and trees first. `Err` with an object that the server
/// doesn't have.
pub fn closure(
    repo: &Repo,
    missing: &BTreeSet<Oid>,
    wants: &[Oid],
    leave: Leave,
    shallow: bool,
) -> Result<Vec<Oid>, Oid> {
    let wanted: BTreeSet<Oid> = wants.iter().copied().collect();
    let mut seen = BTreeSet::new();
    let (mut first, mut blobs) = (Vec::new(), Vec::new());
    let mut queue: std::collections::VecDeque<Oid> = wants.iter().copied().collect();
    while let Some(oid) = queue.pop_front() {
        if !seen.insert(oid) {
            continue;
        }
        let (kind, data) = repo.objects.get(&oid).ok_or(oid)?;
        let is_wanted = wanted.contains(&oid);
        let is_left_out = match leave {
            Leave::Nothing => false,
            Leave::Blobs => *kind == ObjectKind::Blob,
            Leave::AllButWanted => matches!(kind, ObjectKind::Blob | ObjectKind::Tree),
        };
        // Its kind stands in the tree that names it: what is left out, git does not look at.
        if is_left_out && !is_wanted {
            continue;
        }
        if missing.contains(&oid) {
            return Err(oid);
        }
        match kind {
            ObjectKind::Blob => blobs.push(oid),
            _ => first.push(oid),
        }
        queue.extend(references(*kind, data, shallow));
        if leave == Leave::AllButWanted && *kind == ObjectKind::Tree {
            // Its entries are at depth 1 or more below a wanted object: all left out.
            continue;
        }
    }
    first.extend(blobs);
    Ok(first)
}

/// The objects that an object names, and that a repository has.
fn references(kind: ObjectKind, data: &[u8], shallow: bool) -> Vec<Oid> {
    let hex = |at: usize| Oid::from_hex(&data[at..at + 40]).expect("made by the model");
    match kind {
        ObjectKind::Blob => Vec::new(),
        ObjectKind::Tag => vec![hex("object ".len())],
        ObjectKind::Commit => {
            let mut oids = vec![hex("tree ".len())];
            let parent = "tree \n".len() + 40;
            if !shallow && data[parent..].starts_with(b"parent ") {
                oids.push(hex(parent + "parent ".len()));
            }
            oids
        }
        ObjectKind::Tree => {
            let mut oids = Vec::new();
            let mut rest = data;
            while let Some(space) = rest.iter().position(|byte| *byte == b' ') {
                let end = rest
                    .iter()
                    .position(|byte| *byte == 0)
                    .expect("made by the model");
                let oid = &rest[end + 1..end + 21];
                if &rest[..space] != b"160000" {
                    oids.push(Oid::from_bytes_or_panic(oid));
                }
                rest = &rest[end + 21..];
            }
            oids
        }
    }
}

/// What is wrong with a pack that is well-formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trick {
    None,
    /// One object is another one.
    Swap,
    /// One object isn't there.
    LeaveOut,
}

/// Compressed objects, by content.
#[derive(Default)]
pub struct Deflated(BTreeMap<Oid, Rc<Vec<u8>>>);

impl Deflated {
    fn get(&mut self, oid: &Oid, data: &[u8]) -> Rc<Vec<u8>> {
        let make = || Rc::new(deflate(data));
        self.0.entry(*oid).or_insert_with(make).clone()
    }
}

/// Writes `oids` as a pack.
pub fn build(
    repo: &Repo,
    oids: &[Oid],
    deltas: bool,
    trick: Trick,
    deflated: &mut Deflated,
    rng: &mut Rng,
) -> Vec<u8> {
    let mut objects: Vec<(Oid, ObjectKind, Bytes)> = oids
        .iter()
        .map(|oid| {
            let (kind, data) = &repo.objects[oid];
            (*oid, *kind, data.clone())
        })
        .collect();
    if !objects.is_empty() {
        let at = rng.below(objects.len() as u64) as usize;
        match trick {
            Trick::None => {}
            Trick::LeaveOut => {
                objects.remove(at);
            }
            Trick::Swap => {
                let (oid, kind, data) = &mut objects[at];
                let mut other = data.to_vec();
                match other.first_mut() {
                    Some(byte) => *byte ^= 1,
                    None => other.push(b'x'),
                }
                *data = other.into();
                *oid = id(*kind, data);
            }
        }
    }
    let mut pack = pack_header(objects.len());
    let mut last_blob: Option<(Oid, Bytes, u64)> = None;
    for (oid, kind, data) in &objects {
        let at = pack.len() as u64;
        let base = last_blob
            .as_ref()
            .filter(|_| deltas && *kind == ObjectKind::Blob);
        let difference = base
            .map(|(_, base, _)| delta(base, data))
            .filter(|difference| difference.len() < data.len() / 2);
        match (base, difference) {
            (Some((base, _, base_at)), Some(difference)) => {
                let packed = deflate(&difference);
                let stored = match rng.chance(700) {
                    true => Stored::OffsetDelta(at - base_at),
                    false => Stored::RefDelta(base),
                };
                pack_entry(&mut pack, &stored, difference.len(), &packed);
            }
            _ => {
                let packed = deflated.get(oid, data);
                pack_entry(&mut pack, &Stored::Whole(*kind), data.len(), &packed);
            }
        }
        if *kind == ObjectKind::Blob {
            last_blob = Some((*oid, data.clone(), at));
        }
    }
    pack_trailer(&mut pack);
    pack
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::RepoPlan;

    fn repo() -> Repo {
        Repo::generate(&RepoPlan {
            seed: 1,
            entries: 40,
            commits: 3,
            branches: 1,
            large: 0,
            hostile: false,
        })
    }

    fn kinds(repo: &Repo, oids: &[Oid]) -> BTreeSet<&'static str> {
        oids.iter()
            .map(|oid| repo.objects[oid].0.as_str())
            .collect()
    }

    #[test]
    fn filters_leave_out_what_they_say() {
        let repo = repo();
        let head = repo.refs["refs/heads/main"];
        let none = BTreeSet::new();
        let get =
            |wants: &[Oid], leave| closure(&repo, &none, wants, leave, true).expect("all there");
        assert_eq!(
            kinds(&repo, &get(&[head], Leave::Nothing)),
            BTreeSet::from(["blob", "commit", "tree"])
        );
        assert_eq!(
            kinds(&repo, &get(&[head], Leave::Blobs)),
            BTreeSet::from(["commit", "tree"])
        );
        assert_eq!(get(&[head], Leave::AllButWanted), [head]);
        let tree = repo.commits[&head].at(b"").expect("the root").oid;
        assert_eq!(get(&[tree], Leave::AllButWanted), [tree]);
    }

    #[test]
    fn history_comes_only_without_a_depth() {
        let mut repo = repo();
        repo.push("refs/heads/main").expect("three commits");
        let head = repo.refs["refs/heads/main"];
        let count = |shallow| {
            let oids = closure(&repo, &BTreeSet::new(), &[head], Leave::Blobs, shallow)
                .expect("all there");
            oids.iter()
                .filter(|oid| repo.objects[*oid].0 == ObjectKind::Commit)
                .count()
        };
        assert_eq!((count(true), count(false)), (1, 2));
    }

    #[test]
    fn a_missing_object_is_named() {
        let repo = repo();
        let head = repo.refs["refs/heads/main"];
        let missing = BTreeSet::from([head]);
        assert_eq!(
            closure(&repo, &missing, &[head], Leave::Nothing, true),
            Err(head)
        );
    }

    #[test]
    fn a_missing_object_that_is_left_out_does_not_matter() {
        let repo = repo();
        let head = repo.refs["refs/heads/main"];
        let blobs = repo.objects.iter();
        let blobs = blobs.filter(|(_, (kind, _))| *kind == ObjectKind::Blob);
        let missing: BTreeSet<Oid> = blobs.map(|(oid, _)| *oid).collect();
        let closure = |leave| closure(&repo, &missing, &[head], leave, true);
        assert!(closure(Leave::Blobs).is_ok());
        assert!(closure(Leave::Nothing).is_err());
    }
}

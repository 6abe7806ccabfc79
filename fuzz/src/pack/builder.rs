//! A pack out of choices.

use bonsaifs::git::{
    oid::{HashKind, ObjectKind, Oid, object_id},
    pack::{
        EntryKind,
        build::{Checksum, encode, pack_header},
    },
};

use crate::input::Input;

/// A pack, and what is in it.
pub struct Built {
    /// The format of its ids.
    pub hash: HashKind,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// What must come out, and where it begins, in pack order.
    pub objects: Vec<(Object, u64)>,
}

/// An object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its id.
    pub oid: Oid,
    /// Its kind.
    pub kind: ObjectKind,
    /// Its content.
    pub data: Vec<u8>,
}

/// How an object is stored.
enum Stored {
    Whole,
    /// As a delta on the object at this place of the plan, named by id or by offset.
    Delta {
        base: usize,
        delta: Vec<u8>,
        by: By,
    },
}

#[derive(Clone, Copy, PartialEq)]
enum By {
    Id,
    Offset,
}

/// Draws a pack of up to 12 objects from all of `input`.
pub fn build(input: &mut Input<'_>) -> Built {
    let hash = match input.below(4) {
        3 => HashKind::Sha256,
        _ => HashKind::Sha1,
    };
    let backwards = input.below(4) == 3;
    let mut plan: Vec<(Object, Stored)> = Vec::new();
    while plan.len() < 12 && !input.is_empty() {
        let form = input.below(8);
        let planned = match (form, plan.len()) {
            (0..=3, _) | (_, 0) => whole(input, hash, form % 4),
            (_, len) => {
                let base = input.below(len);
                let by = if form.is_multiple_of(2) || backwards {
                    By::Id
                } else {
                    By::Offset
                };
                delta_on(input, hash, &plan[base].0, base, by)
            }
        };
        plan.push(planned);
    }

    let mut order: Vec<usize> = (0..plan.len()).collect();
    if backwards {
        order.reverse();
    }
    let count = u32::try_from(plan.len()).expect("a few");
    let mut bytes = pack_header(count).to_vec();
    let mut offsets = vec![0; plan.len()];
    let mut objects = Vec::new();
    for at in order {
        let (object, stored) = &plan[at];
        let offset = bytes.len() as u64;
        offsets[at] = offset;
        let level = input.below(10) as u32;
        match stored {
            Stored::Whole => encode(
                &mut bytes,
                EntryKind::Base(object.kind),
                &object.data,
                level,
            ),
            Stored::Delta { base, delta, by } => {
                let kind = match by {
                    By::Id => EntryKind::RefDelta(plan[*base].0.oid),
                    By::Offset => EntryKind::OfsDelta(offsets[*base]),
                };
                encode(&mut bytes, kind, delta, level);
            }
        }
        objects.push((object.clone(), offset));
    }
    let trailer = checksum(&bytes, hash);
    bytes.extend_from_slice(trailer.as_slice());
    Built {
        hash,
        bytes,
        objects,
    }
}

/// The checksum that ends a pack of these bytes.
pub fn checksum(bytes: &[u8], hash: HashKind) -> Oid {
    let mut checksum = Checksum::new(hash);
    checksum.update(bytes);
    checksum
        .finish()
        .expect("no attack fits into a fuzzer's input")
}

fn object(hash: HashKind, kind: ObjectKind, data: Vec<u8>) -> Object {
    let oid = object_id(hash, kind, &data).expect("no attack fits into a fuzzer's input");
    Object { oid, kind, data }
}

fn whole(input: &mut Input<'_>, hash: HashKind, kind: usize) -> (Object, Stored) {
    let kind = [
        ObjectKind::Blob,
        ObjectKind::Tree,
        ObjectKind::Commit,
        ObjectKind::Tag,
    ][kind];
    let (len, times) = (input.byte(), input.below(8));
    let data = input.take(len.into()).repeat(1 + times * times * times);
    (object(hash, kind, data), Stored::Whole)
}

/// Up to four instructions: copy a part of the base, or add new bytes.
fn delta_on(
    input: &mut Input<'_>,
    hash: HashKind,
    base: &Object,
    at: usize,
    by: By,
) -> (Object, Stored) {
    let mut data = Vec::new();
    let mut ops = Vec::new();
    for _ in 0..=input.below(4) {
        if input.below(2) == 0 && !base.data.is_empty() {
            let start = input.word() as usize % base.data.len();
            let len = 1 + input.byte() as usize % (base.data.len() - start).min(255);
            ops.push(0b1001_0111 | 0b0010_0000);
            ops.extend_from_slice(&(start as u32).to_le_bytes()[..3]);
            ops.extend_from_slice(&(len as u16).to_le_bytes());
            data.extend_from_slice(&base.data[start..start + len]);
        } else {
            let len = 1 + input.below(100);
            let mut new = input.take(len).to_vec();
            if new.is_empty() {
                new.push(b'.');
            }
            ops.push(new.len() as u8);
            ops.extend_from_slice(&new);
            data.extend_from_slice(&new);
        }
    }
    let mut delta = Vec::new();
    for size in [base.data.len(), data.len()] {
        let mut size = size;
        while size > 0x7f {
            delta.push(size as u8 | 0x80);
            size >>= 7;
        }
        delta.push(size as u8);
    }
    delta.extend_from_slice(&ops);
    let stored = Stored::Delta {
        base: at,
        delta,
        by,
    };
    (object(hash, base.kind, data), stored)
}

/// Damage: up to three bytes changed, an end cut off or something added. False if the bytes are as
/// they were.
pub fn damage(input: &mut Input<'_>, bytes: &mut Vec<u8>) -> bool {
    let before = bytes.clone();
    let edits = input.below(4);
    for _ in 0..edits {
        let at = input.word() as usize % bytes.len();
        bytes[at] ^= input.byte();
    }
    match input.below(6) {
        4 => bytes.truncate(input.word() as usize % bytes.len()),
        5 => bytes.push(input.byte()),
        _ => {}
    }
    *bytes != before
}

//! Git's formats from the writing side: trees, commits, tags (gitformat-tree, git-cat-file), packs with
//! deltas (gitformat-pack). May import: flate2, gix-hash through the product's object ids.

use std::io::Write as _;

use bonsaifs::git::oid::{HashKind, ObjectKind, Oid, object_id};
use flate2::{Compression, write::ZlibEncoder};

/// The object format of every simulated repository.
pub const HASH: HashKind = HashKind::Sha1;

/// An object's id.
pub fn id(kind: ObjectKind, data: &[u8]) -> Oid {
    object_id(HASH, kind, data).expect("nobody attacks SHA-1 from inside a seed")
}

/// One entry of a tree object.
pub struct TreeItem {
    pub mode: &'static str,
    pub name: Vec<u8>,
    pub oid: Oid,
}

/// A tree object. Entries are put into git's order: as if a directory's name ended in a slash.
pub fn tree(items: &mut [TreeItem]) -> Vec<u8> {
    items.sort_by_key(|item| {
        let mut key = item.name.clone();
        if item.mode == "40000" {
            key.push(b'/');
        }
        key
    });
    let mut data = Vec::new();
    for item in items {
        data.extend(item.mode.as_bytes());
        data.push(b' ');
        data.extend(&item.name);
        data.push(0);
        data.extend(item.oid.as_slice());
    }
    data
}

/// A commit object.
pub fn commit(tree: &Oid, parent: Option<&Oid>, time: i64) -> Vec<u8> {
    let parent = parent.map_or_else(String::new, |oid| format!("parent {oid}\n"));
    let who = format!("A U Thor <a@example.org> {time} +0100");
    format!("tree {tree}\n{parent}author {who}\ncommitter {who}\n\na commit\n").into_bytes()
}

/// An annotated tag of a commit.
pub fn tag(target: &Oid, name: &str) -> Vec<u8> {
    let who = "A U Thor <a@example.org> 1700000000 +0000";
    format!("object {target}\ntype commit\ntag {name}\ntagger {who}\n\na tag\n").into_bytes()
}

/// How an object stands in a pack.
pub enum Stored<'a> {
    /// As it is.
    Whole(ObjectKind),
    /// As the difference to the entry that begins so many bytes before.
    OffsetDelta(u64),
    /// As the difference to another object.
    RefDelta(&'a Oid),
}

/// A pack's header.
pub fn pack_header(objects: usize) -> Vec<u8> {
    let mut out = b"PACK\0\0\0\x02".to_vec();
    out.extend((objects as u32).to_be_bytes());
    out
}

/// One entry: `size` bytes of content, which `deflated` holds compressed.
pub fn pack_entry(out: &mut Vec<u8>, stored: &Stored<'_>, size: usize, deflated: &[u8]) {
    let number: u8 = match stored {
        Stored::Whole(ObjectKind::Commit) => 1,
        Stored::Whole(ObjectKind::Tree) => 2,
        Stored::Whole(ObjectKind::Blob) => 3,
        Stored::Whole(ObjectKind::Tag) => 4,
        Stored::OffsetDelta(_) => 6,
        Stored::RefDelta(_) => 7,
    };
    let mut rest = size >> 4;
    let mut byte = (number << 4) | (size & 15) as u8;
    while rest > 0 {
        out.push(byte | 0x80);
        byte = (rest & 0x7f) as u8;
        rest >>= 7;
    }
    out.push(byte);
    match stored {
        Stored::Whole(_) => {}
        Stored::OffsetDelta(back) => {
            let mut digits = vec![(back & 0x7f) as u8];
            let mut rest = back >> 7;
            while rest > 0 {
                rest -= 1;
                digits.push(0x80 | (rest & 0x7f) as u8);
                rest >>= 7;
            }
            out.extend(digits.iter().rev());
        }
        Stored::RefDelta(base) => out.extend(base.as_slice()),
    }
    out.extend(deflated);
}

/// Closes a pack with its checksum.
pub fn pack_trailer(out: &mut Vec<u8>) {
    let mut hasher = gix_hash::hasher(HASH);
    hasher.update(out);
    let sum = hasher
        .try_finalize()
        .expect("nobody attacks SHA-1 from inside a seed");
    out.extend(sum.as_slice());
}

/// `data` in zlib's format.
pub fn deflate(data: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::new(1));
    encoder
        .write_all(data)
        .expect("writing to memory does not fail");
    encoder.finish().expect("writing to memory does not fail")
}

/// The instructions that make `result` from `base`: what both begin and end with is copied.
pub fn delta(base: &[u8], result: &[u8]) -> Vec<u8> {
    let same = |a: &mut dyn Iterator<Item = (&u8, &u8)>| a.take_while(|(a, b)| a == b).count();
    let head = same(&mut base.iter().zip(result));
    let room = base.len().min(result.len()) - head;
    let tail = same(&mut base.iter().rev().zip(result.iter().rev())).min(room);
    let mut out = Vec::new();
    varint(&mut out, base.len());
    varint(&mut out, result.len());
    copy(&mut out, 0, head);
    for piece in result[head..result.len() - tail].chunks(127) {
        out.push(piece.len() as u8);
        out.extend(piece);
    }
    copy(&mut out, base.len() - tail, tail);
    out
}

fn varint(out: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        out.push(0x80 | (number & 0x7f) as u8);
        number >>= 7;
    }
    out.push(number as u8);
}

fn copy(out: &mut Vec<u8>, offset: usize, len: usize) {
    let mut at = offset;
    let mut left = len;
    while left > 0 {
        let piece = left.min(0xffff);
        let at_byte = out.len();
        out.push(0x80);
        for (bit, byte) in (at as u32).to_le_bytes().into_iter().enumerate() {
            if byte != 0 {
                out.push(byte);
                out[at_byte] |= 1 << bit;
            }
        }
        for (bit, byte) in (piece as u16).to_le_bytes().into_iter().enumerate() {
            if byte != 0 {
                out.push(byte);
                out[at_byte] |= 0x10 << bit;
            }
        }
        at += piece;
        left -= piece;
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// What `git` makes of a pack: `index-pack`, then `cat-file` of each object.
    #[test]
    fn git_reads_our_packs() {
        let base = b"line one\nline two\nline three\n".repeat(20);
        let mut other = base.clone();
        other.splice(100..110, *b"something else");
        let mut third = other.clone();
        third.extend(b"and more");
        let mut pack = pack_header(3);
        pack_entry(
            &mut pack,
            &Stored::Whole(ObjectKind::Blob),
            base.len(),
            &deflate(&base),
        );
        let second = pack.len() as u64;
        let difference = delta(&base, &other);
        pack_entry(
            &mut pack,
            &Stored::OffsetDelta(second - 12),
            difference.len(),
            &deflate(&difference),
        );
        let difference = delta(&other, &third);
        let of = id(ObjectKind::Blob, &other);
        pack_entry(
            &mut pack,
            &Stored::RefDelta(&of),
            difference.len(),
            &deflate(&difference),
        );
        pack_trailer(&mut pack);

        let dir = tempfile::tempdir().expect("a folder");
        let git = |args: &[&str]| {
            let output = Command::new("git")
                .arg("-C")
                .arg(dir.path())
                .args(args)
                .output()
                .expect("git is here");
            assert!(
                output.status.success(),
                "{args:?}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            output.stdout
        };
        git(&["init", "-q", "--bare", "."]);
        std::fs::write(dir.path().join("p.pack"), &pack).expect("room");
        std::fs::create_dir_all(dir.path().join("objects/pack")).expect("room");
        git(&["index-pack", "-o", "objects/pack/p.idx", "p.pack"]);
        std::fs::rename(
            dir.path().join("p.pack"),
            dir.path().join("objects/pack/p.pack"),
        )
        .expect("room");
        for data in [&base, &other, &third] {
            let oid = id(ObjectKind::Blob, data).to_string();
            assert_eq!(&git(&["cat-file", "blob", &oid]), data);
        }
    }

    #[test]
    fn a_directory_sorts_as_if_it_ended_in_a_slash() {
        let item = |mode, name: &str| TreeItem {
            mode,
            name: name.into(),
            oid: Oid::null(HASH),
        };
        let mut items = [
            item("40000", "a"),
            item("100644", "a.b"),
            item("100644", "a0"),
        ];
        tree(&mut items);
        let order: Vec<_> = items.iter().map(|item| item.name.as_slice()).collect();
        assert_eq!(order, [b"a.b".as_slice(), b"a", b"a0"]);
    }
}

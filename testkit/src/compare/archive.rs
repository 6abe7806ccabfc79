//! The tree of a commit as `git archive` tells it: a tar file in pax format (POSIX.1-2001, `pax`
//! interchange format). May import: repo.

use std::collections::BTreeMap;

use crate::repo::Repo;

use super::{Node, Tree, lossy};

/// The unit of a tar file.
const BLOCK: usize = 512;

/// The tree of `commit` as its archive holds it. Directories without anything in them are left
/// out by Git, but gitlinks are there.
pub fn archived(repo: &Repo, commit: &str) -> Tree {
    parse(&repo.git(&["archive", "--format=tar", commit]))
}

/// One member's header.
struct Header<'a> {
    block: &'a [u8],
}

impl<'a> Header<'a> {
    /// A text field, up to its NUL.
    fn text(&self, from: usize, length: usize) -> &'a [u8] {
        let field = &self.block[from..from + length];
        let end = field.iter().position(|&byte| byte == 0);
        &field[..end.unwrap_or(length)]
    }

    fn octal(&self, from: usize, length: usize) -> usize {
        let digits = lossy(self.text(from, length));
        usize::from_str_radix(digits.trim(), 8).expect("a number in octal")
    }

    fn path(&self) -> Vec<u8> {
        let (name, prefix) = (self.text(0, 100), self.text(345, 155));
        if prefix.is_empty() {
            return name.to_vec();
        }
        [prefix, b"/", name].concat()
    }

    /// Panics if the header is not what its checksum says.
    fn check(&self) {
        let sum: usize = self
            .block
            .iter()
            .enumerate()
            .map(|(index, &byte)| {
                if (148..156).contains(&index) {
                    b' '
                } else {
                    byte
                }
            })
            .map(usize::from)
            .sum();
        assert_eq!(sum, self.octal(148, 8), "a tar header's checksum");
    }
}

fn parse(tar: &[u8]) -> Tree {
    let mut nodes = BTreeMap::new();
    let mut position = 0;
    let mut extended: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    while let Some(block) = tar.get(position..position + BLOCK) {
        if block.iter().all(|&byte| byte == 0) {
            break;
        }
        let header = Header { block };
        header.check();
        position += BLOCK;
        let size = extended
            .get(b"size".as_slice())
            .map_or_else(|| header.octal(124, 12), |size| number(size));
        let data = &tar[position..position + size];
        position += size.div_ceil(BLOCK) * BLOCK;
        let kind = header.block[156];
        match kind {
            // For the next member, or for the whole archive (the commit's id as a comment).
            b'x' => {
                extended = records(data);
                continue;
            }
            b'g' => continue,
            _ => {}
        }
        let own = |key: &[u8], field: Vec<u8>| extended.get(key).cloned().unwrap_or(field);
        let mut path = own(b"path", header.path());
        let node = match kind {
            b'5' => Node::Dir,
            b'2' => Node::Symlink(own(b"linkpath", header.text(157, 100).to_vec())),
            b'0' => Node::file(header.octal(100, 8) & 0o100 != 0, data),
            other => panic!("a tar member of type {other:#x}"),
        };
        extended.clear();
        if path.last() == Some(&b'/') {
            path.pop();
        }
        // The archive of an empty tree may hold its root.
        if !path.is_empty() {
            nodes.insert(path, node);
        }
    }
    Tree {
        nodes,
        oddities: Vec::new(),
    }
}

/// The records of a pax header: `length SP key = value LF`, the length counting all of it.
fn records(mut data: &[u8]) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut records = BTreeMap::new();
    while let Some(space) = data.iter().position(|&byte| byte == b' ') {
        let length = number(&data[..space]);
        let record = &data[space + 1..length - 1];
        let equals = record.iter().position(|&byte| byte == b'=');
        let (key, value) = record.split_at(equals.expect("a pax record has a value"));
        records.insert(key.to_vec(), value[1..].to_vec());
        data = &data[length..];
    }
    records
}

fn number(digits: &[u8]) -> usize {
    lossy(digits).parse().expect("a decimal number")
}

//! The tree of a commit as `git ls-tree` and `git cat-file` tell it. May import: repo.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    process::Stdio,
    thread,
};

use crate::repo::Repo;

use super::{Node, Tree, lossy};

/// The tree of `commit`, with all content. Panics if anything of it is missing.
pub fn committed(repo: &Repo, commit: &str) -> Tree {
    let listing = repo.git(&["ls-tree", "-r", "-t", "-z", "--full-tree", commit]);
    let mut nodes = BTreeMap::new();
    let mut blobs = Vec::new();
    for line in listing.split(|&byte| byte == 0).filter(|l| !l.is_empty()) {
        // mode SP type SP oid TAB path
        let tab = line.iter().position(|&byte| byte == b'\t');
        let (head, path) = line.split_at(tab.expect("ls-tree separates the path by a tab"));
        let path = path[1..].to_vec();
        let head = lossy(head);
        let mut words = head.split(' ');
        let mode = words.next().expect("a mode").to_owned();
        let oid = words.nth(1).expect("an object id").to_owned();
        match mode.as_str() {
            "040000" | "160000" => drop(nodes.insert(path, Node::Dir)),
            _ => blobs.push((path, mode, oid)),
        }
    }
    let contents = contents(repo, blobs.iter().map(|(.., oid)| oid.as_str()));
    for ((path, mode, _), data) in blobs.into_iter().zip(contents) {
        let node = match mode.as_str() {
            "120000" => Node::Symlink(data),
            "100644" => Node::file(false, data),
            "100755" => Node::file(true, data),
            other => panic!("git ls-tree gives mode {other}"),
        };
        nodes.insert(path, node);
    }
    Tree {
        nodes,
        oddities: Vec::new(),
    }
}

/// The content of each object, in the order given.
fn contents<'a>(repo: &Repo, oids: impl Iterator<Item = &'a str>) -> Vec<Vec<u8>> {
    let mut request = String::new();
    let mut count = 0;
    for oid in oids {
        request.push_str(oid);
        request.push('\n');
        count += 1;
    }
    let mut child = repo
        .command()
        .args(["cat-file", "--batch", "--buffer"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("git starts");
    let mut input = child.stdin.take().expect("stdin is a pipe");
    let feeder = thread::spawn(move || input.write_all(request.as_bytes()));
    let mut output = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
    let mut all = Vec::new();
    for _ in 0..count {
        // oid SP type SP size LF content LF
        let mut head = String::new();
        output.read_line(&mut head).expect("git answers");
        let size = head.trim_end().rsplit(' ').next().expect("a size");
        let size: usize = size
            .parse()
            .unwrap_or_else(|_| panic!("git cat-file says {head:?}"));
        let mut data = vec![0; size];
        output.read_exact(&mut data).expect("the whole content");
        output.read_exact(&mut [0]).expect("a line end");
        all.push(data);
    }
    feeder
        .join()
        .expect("the feeder doesn't panic")
        .expect("git takes the request");
    assert!(child.wait().expect("git ends").success());
    all
}

//! Makes repositories: small to medium trees with everything that hurts in them.

use std::collections::BTreeMap;

use bonsaifs::git::oid::{ObjectKind, Oid};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    Commit, Entry, Repo, What,
    encode::{self, TreeItem},
    join,
};
use crate::rng::Rng;

/// How a repository is to be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RepoPlan {
    /// Where its chance comes from.
    pub seed: u64,
    /// Entries of the first commit, about.
    pub entries: u64,
    /// Commits of each branch, the first one included.
    pub commits: u64,
    /// Branches.
    pub branches: u64,
    /// Bytes of a large blob; 0 for none.
    pub large: u64,
    /// Whether trees have entries that no honest tree has.
    pub hostile: bool,
}

/// A tree while it is being made.
#[derive(Clone)]
enum Node {
    Dir(BTreeMap<Vec<u8>, Node>),
    File { data: Bytes, executable: bool },
    Link(Bytes),
    Submodule(Oid),
}

/// Names that have broken something somewhere.
const ODD_NAMES: [&[u8]; 18] = [
    b"with space",
    b"-dash",
    b"new\nline",
    b"\xff\xfe",
    b"a",
    b"a.b",
    b"a-b",
    b"a0",
    b"A",
    b".hidden",
    b"...",
    b"caf\xc3\xa9",
    b"tab\there",
    b"*",
    b"con",
    b"~",
    // What every tool opens comes with the mount.
    b".gitignore",
    b"Makefile",
];

struct Maker {
    rng: Rng,
    plan: RepoPlan,
    /// Content that stands at several places.
    common: Vec<Bytes>,
}

impl Repo {
    /// Makes the repository that `plan` describes.
    pub fn generate(plan: &RepoPlan) -> Self {
        let mut rng = Rng::stream(plan.seed, "repo");
        let common = (0..3).map(|n| Bytes::from(rng.bytes(n * 40))).collect();
        let mut maker = Maker {
            rng,
            plan: plan.clone(),
            common,
        };
        let mut repo = Repo {
            head: "refs/heads/main".to_owned(),
            ..Repo::default()
        };
        let mut root = maker.first_tree();
        for branch in 0..plan.branches.max(1) {
            let name = match branch {
                0 => "refs/heads/main".to_owned(),
                n => format!("refs/heads/b{n}"),
            };
            let mut commits = Vec::new();
            for n in 0..plan.commits.max(1) {
                if branch + n > 0 {
                    maker.change(&mut root);
                }
                let time = 1_600_000_000 + (branch * 1000 + n) as i64;
                commits.push(repo.add_commit(&root, commits.last(), time, plan.hostile));
            }
            commits.reverse();
            let first = commits.pop().expect("one commit at least");
            repo.refs.insert(name.clone(), first);
            if branch == 0 {
                let tag = repo.put(ObjectKind::Tag, encode::tag(&first, "v1"));
                repo.refs.insert("refs/tags/v1".to_owned(), tag);
            }
            repo.to_come.insert(name, commits);
        }
        repo
    }

    fn put(&mut self, kind: ObjectKind, data: impl Into<Bytes>) -> Oid {
        let data = data.into();
        let oid = encode::id(kind, &data);
        self.objects.entry(oid).or_insert((kind, data));
        oid
    }

    fn add_commit(&mut self, root: &Node, parent: Option<&Oid>, time: i64, hostile: bool) -> Oid {
        let mut entries = Vec::new();
        let tree = self.add_tree(root, b"", hostile, &mut entries);
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        let oid = self.put(ObjectKind::Commit, encode::commit(&tree, parent, time));
        self.commits.insert(oid, Commit::new(time, entries));
        oid
    }

    fn add_tree(
        &mut self,
        node: &Node,
        path: &[u8],
        hostile: bool,
        entries: &mut Vec<Entry>,
    ) -> Oid {
        let (oid, what) = match node {
            Node::Dir(children) => {
                let mut items = Vec::new();
                for (name, child) in children {
                    let oid = self.add_tree(child, &join(path, name), hostile, entries);
                    let mode = match child {
                        Node::Dir(_) => "40000",
                        Node::File {
                            executable: true, ..
                        } => "100755",
                        Node::File { .. } => "100644",
                        Node::Link(_) => "120000",
                        Node::Submodule(_) => "160000",
                    };
                    items.push(TreeItem {
                        mode,
                        name: name.clone(),
                        oid,
                    });
                }
                if hostile && path.len().is_multiple_of(3) {
                    // git-fsck refuses these; a reader must never see them.
                    let oid = self.put(ObjectKind::Blob, "evil");
                    for name in [b".git".as_slice(), b"..", b".", b".GIT"] {
                        items.push(TreeItem {
                            mode: "100644",
                            name: name.to_owned(),
                            oid,
                        });
                    }
                }
                let oid = self.put(ObjectKind::Tree, encode::tree(&mut items));
                (oid, What::Dir(children.keys().cloned().collect()))
            }
            Node::File { data, executable } => {
                let oid = self.put(ObjectKind::Blob, data.clone());
                (
                    oid,
                    What::File {
                        data: data.clone(),
                        executable: *executable,
                    },
                )
            }
            Node::Link(target) => (
                self.put(ObjectKind::Blob, target.clone()),
                What::Link(target.clone()),
            ),
            Node::Submodule(oid) => (*oid, What::Submodule),
        };
        entries.push(Entry {
            path: path.to_owned(),
            oid,
            what,
        });
        oid
    }
}

impl Maker {
    fn first_tree(&mut self) -> Node {
        let mut root = Node::Dir(BTreeMap::new());
        for _ in 0..self.plan.entries {
            let (name, leaf) = (self.name(), self.leaf());
            let depth = self.rng.below(5);
            self.place(&mut root, depth, name, leaf);
        }
        if self.plan.large > 0 {
            for n in 0..2 {
                let len = self.plan.large + self.rng.below(self.plan.large);
                let data = Bytes::from(self.rng.bytes(len as usize));
                let name = format!("large{n}").into_bytes();
                let depth = self.rng.below(2);
                self.place(
                    &mut root,
                    depth,
                    name,
                    Node::File {
                        data,
                        executable: false,
                    },
                );
            }
        }
        root
    }

    /// Puts `leaf` below `node`, down to `depth` directories deep; some of them are made on the way.
    fn place(&mut self, node: &mut Node, depth: u64, name: Vec<u8>, leaf: Node) {
        let Node::Dir(children) = node else { return };
        if depth == 0 {
            children.entry(name).or_insert(leaf);
            return;
        }
        let dirs: Vec<Vec<u8>> = children
            .iter()
            .filter(|(_, child)| matches!(child, Node::Dir(_)))
            .map(|(name, _)| name.clone())
            .collect();
        let new = dirs.is_empty() || self.rng.chance(200);
        let dir = match new {
            true => self.name(),
            false => self.rng.pick(&dirs).clone(),
        };
        let child = children
            .entry(dir)
            .or_insert_with(|| Node::Dir(BTreeMap::new()));
        self.place(child, depth - 1, name, leaf);
    }

    fn name(&mut self) -> Vec<u8> {
        match self.rng.below(40) {
            0..=5 => self.rng.pick(&ODD_NAMES).to_vec(),
            6 => vec![b'n'; 255],
            _ => format!("f{}", self.rng.below(500)).into_bytes(),
        }
    }

    fn leaf(&mut self) -> Node {
        match self.rng.below(40) {
            0..=2 => {
                let target =
                    *self
                        .rng
                        .pick(&["f1", "../a", "/etc/hosts", "dangling", ".", "loop\u{fc}"]);
                Node::Link(Bytes::from_static(target.as_bytes()))
            }
            3 => Node::Link(Bytes::from(vec![b'l'; 4095])),
            4 => Node::Submodule(encode::id(ObjectKind::Commit, &self.rng.bytes(20))),
            _ => self.file(),
        }
    }

    fn file(&mut self) -> Node {
        let executable = self.rng.chance(150);
        let data = match self.rng.below(10) {
            0 => Bytes::new(),
            1 | 2 => self.rng.pick(&self.common.clone()).clone(),
            3 => Bytes::from(text(&mut self.rng, 2000)),
            4 => {
                // Some larger than what an incoming pack may take of memory, some just large.
                let len = self.rng.below(4500) as usize;
                Bytes::from(self.rng.bytes(len))
            }
            _ => Bytes::from(text(&mut self.rng, 200)),
        };
        Node::File { data, executable }
    }

    /// What a few commits of work do to a tree.
    fn change(&mut self, root: &mut Node) {
        for _ in 0..self.rng.range(1, 6) {
            let (name, leaf) = (self.name(), self.leaf());
            let depth = self.rng.below(4);
            match self.rng.below(3) {
                0 => self.place(root, depth, name, leaf),
                1 => self.edit(root, false),
                _ => self.edit(root, true),
            }
        }
    }

    /// Changes or removes one entry somewhere.
    fn edit(&mut self, node: &mut Node, remove: bool) {
        let Node::Dir(children) = node else { return };
        if children.is_empty() {
            return;
        }
        let names: Vec<Vec<u8>> = children.keys().cloned().collect();
        let name = self.rng.pick(&names).clone();
        if remove && self.rng.chance(300) && children.len() > 1 {
            children.remove(&name);
            return;
        }
        match children.get_mut(&name) {
            Some(child @ Node::Dir(_)) => self.edit(child, remove),
            Some(Node::File { data, .. }) => {
                let mut longer = data.to_vec();
                longer.extend(b"changed\n");
                *data = longer.into();
            }
            Some(other) => *other = self.leaf(),
            None => {}
        }
    }
}

fn text(rng: &mut Rng, most: u64) -> Vec<u8> {
    let lines = rng.below(most / 10 + 1);
    (0..lines)
        .flat_map(|_| format!("line {}\n", rng.below(1000)).into_bytes())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(seed: u64) -> RepoPlan {
        RepoPlan {
            seed,
            entries: 60,
            commits: 3,
            branches: 2,
            large: 5000,
            hostile: false,
        }
    }

    #[test]
    fn a_seed_always_makes_the_same_repository() {
        let refs = |seed| Repo::generate(&plan(seed)).refs;
        assert_eq!(refs(1), refs(1));
        assert_ne!(refs(1), refs(2));
    }

    #[test]
    fn entries_and_trees_agree() {
        let repo = Repo::generate(&plan(3));
        for commit in repo.commits.values() {
            for entry in &commit.entries {
                for name in entry.names() {
                    assert!(commit.at(&join(&entry.path, name)).is_some());
                }
                if let What::File { data, .. } = &entry.what {
                    assert_eq!(&repo.objects[&entry.oid].1, data);
                }
            }
            assert!(commit.at(b"no/such").is_none());
        }
    }

    #[test]
    fn pushes_move_a_branch_along_its_commits() {
        let mut repo = Repo::generate(&plan(4));
        let before = repo.refs["refs/heads/main"];
        let after = repo.push("refs/heads/main").expect("three commits");
        assert_ne!(before, after);
        assert_eq!(repo.refs["refs/heads/main"], after);
        repo.push("refs/heads/main").expect("three commits");
        assert!(repo.push("refs/heads/main").is_none());
        let tag = repo.refs["refs/tags/v1"];
        assert_eq!(repo.peel(&tag), before);
    }
}

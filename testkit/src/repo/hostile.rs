//! Trees that no honest Git would make. May import: this room's other files.

use super::{Files, Repo};

/// A repository whose commit holds one hostile tree, and what an honest reader sees of it.
#[derive(Clone, Debug)]
pub struct Hostile {
    /// What is wrong with it.
    pub name: &'static str,
    /// The repository; HEAD is the commit.
    pub repo: Repo,
    /// A commit whose tree is what must be seen of the hostile one: the same without the entries
    /// that are left out. Nothing if no honest tree is like it.
    pub honest: Option<String>,
    /// How many entries are left out.
    pub rejected: u64,
    /// Paths whose object is not of the kind that the mode says, or no tree at all: they are left
    /// out, or reading them fails.
    pub unreadable: Vec<&'static str>,
}

/// The objects that hostile entries point to.
struct Parts {
    repo: Repo,
    blob: String,
    tree: String,
}

impl Parts {
    fn new() -> Self {
        let repo = Repo::new();
        let blob = repo.blob(b"harmless\n");
        let tree = repo.tree(&[("100644", &blob, b"inner")]);
        Self { repo, blob, tree }
    }

    /// A hostile tree of `entries` in this order, beside honest ones; `rejected` of them are to
    /// be left out, and `kept` is what an honest tree would hold instead.
    fn specimen(
        self,
        name: &'static str,
        entries: &[(&str, &str, &[u8])],
        kept: &[(&str, &str, &[u8])],
        rejected: u64,
    ) -> Hostile {
        let honest_tree = self.repo.tree(kept);
        let honest = self.repo.commit_of(&honest_tree);
        let tree = self.repo.raw("tree", &encode(entries));
        let commit = self.repo.commit_of(&tree);
        self.repo.point_main(&commit);
        Hostile {
            name,
            repo: self.repo,
            honest: Some(honest),
            rejected,
            unreadable: Vec::new(),
        }
    }
}

/// The bytes of a tree object (gitformat: `mode SP name NUL id`), in the order given.
fn encode(entries: &[(&str, &str, &[u8])]) -> Vec<u8> {
    let mut data = Vec::new();
    for (mode, oid, name) in entries {
        data.extend_from_slice(mode.trim_start_matches('0').as_bytes());
        data.push(b' ');
        data.extend_from_slice(name);
        data.push(0);
        data.extend((0..oid.len()).step_by(2).map(|digit| {
            u8::from_str_radix(&oid[digit..digit + 2], 16).expect("an id in hexadecimal")
        }));
    }
    data
}

/// One of every sort but the one of [`deep`].
pub fn all() -> Vec<Hostile> {
    let mut all = Vec::new();
    for (name, bad) in [
        ("an entry .git", b".git".as_slice()),
        ("an entry .GIT", b".GIT"),
        ("an entry .", b"."),
        ("an entry ..", b".."),
        ("a name with a slash", b"sub/escape"),
        ("a name that leads out", b"../../escape"),
        ("an absolute name", b"/etc/passwd"),
        ("an empty name", b""),
        ("a name of 256 bytes", &[b'n'; 256]),
    ] {
        for (mode, kind) in [("100644", "file"), ("040000", "directory")] {
            let parts = Parts::new();
            let (blob, tree) = (parts.blob.clone(), parts.tree.clone());
            let target = if kind == "file" { &blob } else { &tree };
            let honest = [
                ("100644", blob.as_str(), b"a".as_slice()),
                ("040000", &tree, b"z"),
            ];
            let entries = [honest[0], (mode, target, bad), honest[1]];
            all.push(parts.specimen(name, &entries, &honest, 1));
        }
    }
    all.push(duplicates());
    all.push(duplicate_kinds());
    all.push(unsorted());
    all.push(bad_mode());
    all.push(tree_mode_on_a_blob());
    all.push(blob_mode_on_a_tree());
    all.push(truncated());
    all.push(garbage());
    all
}

fn duplicates() -> Hostile {
    let parts = Parts::new();
    let (blob, tree) = (parts.blob.clone(), parts.tree.clone());
    let other = parts.repo.blob(b"the second one of its name\n");
    let entries: [(&str, &str, &[u8]); 4] = [
        ("100644", &blob, b"a"),
        ("100755", &other, b"a"),
        ("100644", &other, b"a"),
        ("040000", &tree, b"z"),
    ];
    let kept = [entries[0], entries[3]];
    parts.specimen("a name three times", &entries, &kept, 2)
}

fn duplicate_kinds() -> Hostile {
    let parts = Parts::new();
    let (blob, tree) = (parts.blob.clone(), parts.tree.clone());
    // Sorted as Git wants it, because a directory sorts as if its name ended with a slash.
    let entries: [(&str, &str, &[u8]); 3] = [
        ("100644", &blob, b"a"),
        ("100644", &blob, b"a.c"),
        ("040000", &tree, b"a"),
    ];
    let kept = [entries[0], entries[1]];
    parts.specimen("a file and a directory of one name", &entries, &kept, 1)
}

fn unsorted() -> Hostile {
    let parts = Parts::new();
    let (blob, tree) = (parts.blob.clone(), parts.tree.clone());
    let entries: [(&str, &str, &[u8]); 4] = [
        ("040000", &tree, b"z"),
        ("100644", &blob, b"m"),
        ("100644", &blob, b"a"),
        ("100644", &blob, b"q"),
    ];
    let kept = [entries[2], entries[1], entries[3], entries[0]];
    parts.specimen("entries in no order", &entries, &kept, 0)
}

fn bad_mode() -> Hostile {
    let parts = Parts::new();
    let (blob, tree) = (parts.blob.clone(), parts.tree.clone());
    let entries: [(&str, &str, &[u8]); 4] = [
        ("100644", &blob, b"a"),
        ("010644", &blob, b"fifo"),
        ("020666", &blob, b"device"),
        ("040000", &tree, b"z"),
    ];
    let kept = [entries[0], entries[3]];
    parts.specimen("modes of a fifo and a device", &entries, &kept, 2)
}

fn tree_mode_on_a_blob() -> Hostile {
    let parts = Parts::new();
    let blob = parts.blob.clone();
    let entries: [(&str, &str, &[u8]); 2] =
        [("100644", &blob, b"a"), ("040000", &blob, b"not-a-dir")];
    parts.specimen("tree mode on a blob", &entries, &entries[..1], 1)
}

fn blob_mode_on_a_tree() -> Hostile {
    let parts = Parts::new();
    let (blob, tree) = (parts.blob.clone(), parts.tree.clone());
    let entries: [(&str, &str, &[u8]); 2] =
        [("100644", &blob, b"a"), ("100644", &tree, b"not-a-file")];
    parts.specimen("blob mode on a tree", &entries, &entries[..1], 1)
}

/// A subdirectory whose tree object ends inside an id.
fn truncated() -> Hostile {
    let parts = Parts::new();
    let mut data = encode(&[("100644", &parts.blob, b"cut")]);
    data.truncate(data.len() - 5);
    broken_directory(parts, "a tree object cut short", &data)
}

/// A subdirectory whose tree object is no tree at all.
fn garbage() -> Hostile {
    broken_directory(
        Parts::new(),
        "a tree object of nonsense",
        b"no tree at all\n",
    )
}

fn broken_directory(parts: Parts, name: &'static str, data: &[u8]) -> Hostile {
    let blob = parts.blob.clone();
    let broken = parts.repo.raw("tree", data);
    let entries: [(&str, &str, &[u8]); 2] =
        [("100644", &blob, b"a"), ("040000", &broken, b"broken")];
    Hostile {
        honest: None,
        unreadable: vec!["broken"],
        ..parts.specimen(name, &entries, &entries[..1], 0)
    }
}

/// A tree `levels` deep, every level a directory `d` in the one above; the last holds a file.
/// Far deeper than any path can be long.
pub fn deep(levels: usize) -> Repo {
    let repo = Repo::new();
    let mut files = Files::new();
    files.add_file(
        [b"d/".repeat(levels), b"bottom".to_vec()].concat(),
        "bottom\n",
    );
    repo.commit(&files);
    repo
}

//! **Complete**: a commit that a cache is marked to have all of is there with every tree, as `git` and the
//! next mount take it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use bonsaifs::git::{
    commit::parse_commit,
    oid::{HashKind, ObjectKind, Oid},
    pack::index::Index,
    tree::{self, EntryMode},
};
use bytes::Bytes;

use super::{Check, whole_objects::loose_oid};

pub const NAME: &str = "complete";

/// Judges the repositories below `cache`. `files` is all that lies on the disk, `objects` what there is
/// in the world.
pub fn marks(
    cache: &Path,
    files: &[(PathBuf, Vec<u8>)],
    objects: &BTreeMap<Oid, (ObjectKind, Bytes)>,
) -> Check {
    for (path, _) in files.iter().filter(|(path, _)| path.starts_with(cache)) {
        let folder = path.parent().unwrap_or(path);
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        let Some(commit) = Oid::from_hex(name)
            .ok()
            .filter(|_| folder.ends_with("bonsai/complete"))
        else {
            continue;
        };
        let repo = folder.ancestors().nth(2).unwrap_or(folder);
        let here = held(repo, files);
        for oid in reached(commit, objects) {
            if !here.contains(&oid) {
                return Err(format!("{} lacks {oid} of {commit}", repo.display()));
            }
        }
    }
    Ok(())
}

/// What a repository's folder has, loose or in packs with an index.
fn held(repo: &Path, files: &[(PathBuf, Vec<u8>)]) -> BTreeSet<Oid> {
    let mut held = BTreeSet::new();
    for (path, raw) in files.iter().filter(|(path, _)| path.starts_with(repo)) {
        held.extend(loose_oid(path));
        if path.extension().is_some_and(|ending| ending == "idx")
            && let Ok(index) = Index::parse(raw.clone().into(), HashKind::Sha1)
        {
            held.extend(index.oids().map(|(oid, _)| oid));
        }
    }
    held
}

/// A commit and its trees, those of them that the world has.
fn reached(commit: Oid, objects: &BTreeMap<Oid, (ObjectKind, Bytes)>) -> BTreeSet<Oid> {
    let mut reached = BTreeSet::new();
    let mut next = vec![commit];
    while let Some(oid) = next.pop() {
        let Some((kind, data)) = objects.get(&oid).filter(|_| reached.insert(oid)) else {
            continue;
        };
        match kind {
            ObjectKind::Commit => {
                next.extend(parse_commit(data, HashKind::Sha1).map(|commit| commit.tree));
            }
            ObjectKind::Tree => {
                let entries = tree::parse(data, HashKind::Sha1).map(|tree| tree.entries);
                let dirs = entries.into_iter().flatten();
                let dirs = dirs.filter(|entry| entry.mode == EntryMode::Dir);
                next.extend(dirs.map(|entry| entry.oid));
            }
            _ => {}
        }
    }
    reached.retain(|oid| objects.contains_key(oid));
    reached
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::encode::id;

    #[test]
    fn a_mark_without_its_trees_is_seen() {
        let tree = (ObjectKind::Tree, Bytes::new());
        let tree_id = id(tree.0, &tree.1);
        let who = "A <a@example.org> 1700000000 +0000";
        let text = format!("tree {tree_id}\nauthor {who}\ncommitter {who}\n\nx\n");
        let commit = (ObjectKind::Commit, Bytes::from(text));
        let commit_id = id(commit.0, &commit.1);
        let objects = BTreeMap::from([(tree_id, tree), (commit_id, commit)]);
        let loose = |oid: &Oid| {
            let hex = oid.to_string();
            (
                PathBuf::from(format!("/c/r/objects/{}/{}", &hex[..2], &hex[2..])),
                Vec::new(),
            )
        };
        let mark = (
            PathBuf::from(format!("/c/r/bonsai/complete/{commit_id}")),
            Vec::new(),
        );
        let whole = [mark.clone(), loose(&commit_id), loose(&tree_id)];
        assert_eq!(marks(Path::new("/c"), &whole, &objects), Ok(()));
        assert!(marks(Path::new("/c"), &whole[..2], &objects).is_err());
        assert_eq!(marks(Path::new("/other"), &whole[..2], &objects), Ok(()));
        assert_eq!(marks(Path::new("/c"), &whole[1..2], &objects), Ok(()));
    }
}

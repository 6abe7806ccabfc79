//! **Whole objects**: under a final name there is a whole object that was verified, or nothing: no crash,
//! no fault and no hostile answer puts anything else there.

use std::{
    collections::BTreeSet,
    io::Read as _,
    path::{Path, PathBuf},
};

use bonsaifs::git::oid::{HashKind, ObjectKind, Oid, object_id};
use flate2::read::ZlibDecoder;

use super::Check;

pub const NAME: &str = "whole objects";

/// Judges what lies on a disk that never lost power: `files` is all of it, `rotten` what a fault
/// damaged.
pub fn loose(files: &[(PathBuf, Vec<u8>)], rotten: &BTreeSet<PathBuf>) -> Check {
    for (path, raw) in files {
        let Some(oid) = loose_oid(path).filter(|_| !rotten.contains(path)) else {
            continue;
        };
        let mut data = Vec::new();
        let inflated = ZlibDecoder::new(&raw[..]).read_to_end(&mut data);
        if inflated.is_err() || id_of(&data) != Some(oid) {
            return Err(format!(
                "{} does not hold what its name says",
                path.display()
            ));
        }
    }
    Ok(())
}

/// Judges the packs on a disk, one that lost power too: a pack with an index was synced before
/// anybody could see it.
pub fn packs(files: &[(PathBuf, Vec<u8>)], rotten: &BTreeSet<PathBuf>) -> Check {
    // What was damaged under another name can't be told from what was never whole.
    if rotten.iter().any(|path| is_temporary(path)) {
        return Ok(());
    }
    for (path, raw) in files {
        let is_seen = || {
            let index = path.with_extension("idx");
            files.iter().any(|(other, _)| *other == index)
        };
        if path.extension().is_none_or(|ending| ending != "pack")
            || rotten.contains(path)
            || !is_seen()
        {
            continue;
        }
        let sum = raw.split_last_chunk::<20>().and_then(|(body, trailer)| {
            let mut hasher = gix_hash::hasher(HashKind::Sha1);
            hasher.update(body);
            let sum = hasher.try_finalize().ok()?;
            (sum.as_slice() == trailer).then_some(sum)
        });
        let name = path.file_stem().unwrap_or_default();
        if sum.is_none_or(|sum| *name != *format!("pack-{sum}")) {
            return Err(format!("{} is not whole", path.display()));
        }
    }
    Ok(())
}

/// Judges a cache on a disk where nothing ever failed, after every process ended in an orderly way:
/// nothing lies under a temporary name.
pub fn no_leftovers(files: &[(PathBuf, Vec<u8>)]) -> Check {
    match files.iter().find(|(path, _)| is_temporary(path)) {
        Some((path, _)) => Err(format!("{} was left behind", path.display())),
        None => Ok(()),
    }
}

fn is_temporary(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with("tmp_"))
}

/// The object that a path in an object folder names.
pub fn loose_oid(path: &Path) -> Option<Oid> {
    let name = path.file_name()?.to_str()?;
    let folder = path.parent()?;
    let first = folder.file_name()?.to_str()?;
    if folder.parent()?.file_name()? != "objects" || first.len() != 2 || name.len() != 38 {
        return None;
    }
    Oid::from_hex(format!("{first}{name}").as_bytes()).ok()
}

fn id_of(data: &[u8]) -> Option<Oid> {
    let end = data.iter().position(|byte| *byte == 0)?;
    let kind = ObjectKind::from_word(data[..end].split(|byte| *byte == b' ').next()?)?;
    let size: usize = std::str::from_utf8(&data[kind.as_str().len() + 1..end])
        .ok()?
        .parse()
        .ok()?;
    let content = &data[end + 1..];
    (size == content.len()).then(|| object_id(HashKind::Sha1, kind, content))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::encode::{deflate, id, pack_header, pack_trailer};

    #[test]
    fn anything_but_the_object_under_its_name_is_seen() {
        let oid = id(ObjectKind::Blob, b"hello").to_string();
        let path = PathBuf::from(format!("/c/objects/{}/{}", &oid[..2], &oid[2..]));
        let judge = |raw: Vec<u8>| loose(&[(path.clone(), raw)], &BTreeSet::new());
        assert_eq!(judge(deflate(b"blob 5\0hello")), Ok(()));
        assert!(judge(deflate(b"blob 5\0hellO")).is_err(), "another object");
        assert!(judge(deflate(b"blob 5\0hell")).is_err(), "a short one");
        assert!(
            judge(deflate(b"blob 5\0hello")[..9].to_vec()).is_err(),
            "half of it"
        );
        assert!(judge(Vec::new()).is_err(), "nothing");
        let rotten = BTreeSet::from([path.clone()]);
        assert_eq!(loose(&[(path.clone(), Vec::new())], &rotten), Ok(()));
        let temporary = PathBuf::from(format!("/c/objects/{}/tmp_bonsai_1", &oid[..2]));
        let files = [(temporary, Vec::new())];
        assert_eq!(loose(&files, &BTreeSet::new()), Ok(()));
        assert!(no_leftovers(&files).is_err());
        assert_eq!(no_leftovers(&[(path, Vec::new())]), Ok(()));
    }

    #[test]
    fn a_pack_that_is_not_whole_is_seen_once_it_has_an_index() {
        let mut raw = pack_header(0);
        pack_trailer(&mut raw);
        let sum = Oid::from_bytes_or_panic(&raw[raw.len() - 20..]);
        let path = PathBuf::from(format!("/c/objects/pack/pack-{sum}.pack"));
        let index = (path.with_extension("idx"), Vec::new());
        let none = BTreeSet::new();
        let judge = |raw: &[u8], rotten: &BTreeSet<PathBuf>| {
            packs(&[(path.clone(), raw.to_vec()), index.clone()], rotten)
        };
        assert_eq!(judge(&raw, &none), Ok(()));
        assert!(judge(&raw[..raw.len() - 1], &none).is_err(), "its end");
        assert!(judge(&[], &none).is_err(), "all of it");
        let mut torn = raw.clone();
        torn[7] = 0;
        assert!(judge(&torn, &none).is_err(), "a part of it");
        assert_eq!(judge(&torn, &BTreeSet::from([path.clone()])), Ok(()));
        assert_eq!(packs(&[(path.clone(), torn)], &none), Ok(()));
        let other = [
            (PathBuf::from("/c/pack-x.pack"), raw),
            (PathBuf::from("/c/pack-x.idx"), Vec::new()),
        ];
        assert!(packs(&other, &none).is_err(), "another one");
    }
}

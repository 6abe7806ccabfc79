//! **Whole objects**: under a final name there is a whole object that was verified, or nothing: no crash,
//! no fault and no hostile answer puts anything else there.

use std::{collections::BTreeSet, io::Read as _, path::PathBuf};

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

/// The object that a path in an object folder names.
fn loose_oid(path: &std::path::Path) -> Option<Oid> {
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
    use crate::repo::encode::{deflate, id};

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
        assert_eq!(loose(&[(temporary, Vec::new())], &BTreeSet::new()), Ok(()));
    }
}

//! The directories above the providers. May import: the composite's errors.
//!
//! Always holds: they are a tree from directory 0, and a name leads to a directory or to a
//! provider, never to both.

use std::collections::BTreeMap;

use super::MountError;

#[derive(Debug, Default)]
pub(super) struct VirtualDir {
    pub(super) children: BTreeMap<Vec<u8>, Child>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Child {
    /// By its place among the virtual directories.
    Dir(u32),
    /// By its place among the providers.
    Provider(u32),
}

/// Makes `path` lead to `provider`. On an error nothing is changed.
pub(super) fn insert(
    dirs: &mut Vec<VirtualDir>,
    path: &[u8],
    provider: u32,
) -> Result<(), MountError> {
    let names: Vec<&[u8]> = path
        .split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty())
        .collect();
    let Some((last, above)) = names.split_last() else {
        return Err(MountError::NoName);
    };
    if let Some(bad) = names.iter().find(|name| is_bad(name)) {
        return Err(MountError::BadName(bad.to_vec()));
    }
    // As far as it exists first, so that an error leaves no directories behind.
    let mut at = 0;
    let mut missing = above;
    while let Some((name, rest)) = missing.split_first() {
        match dirs[at as usize].children.get(*name) {
            None => break,
            Some(Child::Dir(dir)) => at = *dir,
            Some(Child::Provider(_)) => {
                let way = &names[..names.len() - rest.len() - 1];
                return Err(MountError::Occupied(way.join(&b'/')));
            }
        }
        missing = rest;
    }
    if missing.is_empty() {
        match dirs[at as usize].children.get(*last) {
            None => {}
            Some(Child::Provider(_)) => return Err(MountError::Occupied(names.join(&b'/'))),
            Some(Child::Dir(_)) => return Err(MountError::NotEmpty(names.join(&b'/'))),
        }
    }
    for name in missing {
        let new = u32::try_from(dirs.len()).expect("memory ends before 2^32 directories");
        dirs.push(VirtualDir::default());
        let children = &mut dirs[at as usize].children;
        children.insert(name.to_vec(), Child::Dir(new));
        at = new;
    }
    let children = &mut dirs[at as usize].children;
    children.insert(last.to_vec(), Child::Provider(provider));
    Ok(())
}

fn is_bad(name: &[u8]) -> bool {
    name == b"." || name == b".." || name.contains(&0) || name.len() > 255
}

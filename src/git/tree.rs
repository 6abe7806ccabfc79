//! Trees: the entries of a directory, with what can't be shown of it left out.
//!
//! May import: the room's `oid`, `malformed`.
//!
//! Always holds: a parsed tree's names are unique, sorted bytewise, and each can be the name of a
//! file in a Linux directory without leading out of it.

use super::{
    malformed::ObjectError,
    oid::{HashKind, ObjectKind, Oid},
};

/// The longest name of a file, in bytes (`NAME_MAX` of Linux).
pub const NAME_MAX: usize = 255;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntryMode {
    /// A directory: `40000`.
    Dir,
    /// A regular file: `100644`, and any other `100xxx` that its owner can't execute.
    File,
    /// A regular file that its owner can execute: `100755` and its like.
    Executable,
    /// A symbolic link, whose target is the blob's content: `120000`.
    Symlink,
    /// A commit of another repository, where a submodule goes: `160000`.
    Gitlink,
}

impl EntryMode {
    /// Reads a mode by its file type, as git does; permissions count for the executable bit only.
    fn from_bits(bits: u32) -> Option<Self> {
        Some(match bits & 0o170000 {
            _ if bits > 0o177777 => return None,
            0o040000 => Self::Dir,
            0o100000 if bits & 0o100 != 0 => Self::Executable,
            0o100000 => Self::File,
            0o120000 => Self::Symlink,
            0o160000 => Self::Gitlink,
            _ => return None,
        })
    }

    /// The mode as git writes it, in octal.
    pub fn as_octal(self) -> &'static str {
        match self {
            Self::Dir => "40000",
            Self::File => "100644",
            Self::Executable => "100755",
            Self::Symlink => "120000",
            Self::Gitlink => "160000",
        }
    }
}

/// One entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeEntry<'a> {
    /// What it is.
    pub mode: EntryMode,
    /// Its name.
    pub name: &'a [u8],
    /// The object: a tree, a blob, or a commit of another repository.
    pub oid: Oid,
}

/// Why an entry can't be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RejectReason {
    /// No name.
    Empty,
    /// `.`
    Dot,
    /// `..`
    DotDot,
    /// `.git`, in any mix of upper and lower case.
    DotGit,
    /// A slash in the name.
    Slash,
    /// A name of more than [`NAME_MAX`] bytes.
    TooLong,
    /// The name of an earlier entry.
    Duplicate,
    /// A mode that is none of [`EntryMode`].
    BadMode,
}

impl RejectReason {
    /// The reason in words, to follow "the entry".
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "has no name",
            Self::Dot => "is named \".\"",
            Self::DotDot => "is named \"..\"",
            Self::DotGit => "is named \".git\"",
            Self::Slash => "has a slash in its name",
            Self::TooLong => "has a name of over 255 bytes",
            Self::Duplicate => "has the name of another one",
            Self::BadMode => "has a mode that git does not know",
        }
    }
}

/// An entry that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Its name, of which at most the first [`NAME_MAX`] bytes are kept.
    pub name: Vec<u8>,
    /// Why.
    pub reason: RejectReason,
}

/// Whether a tree's entries stand in git's order, in which a directory's name counts as ending in a
/// slash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// They do.
    Sorted,
    /// They don't; no git wrote this tree.
    Unsorted,
}

/// A tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedTree<'a> {
    /// What can be shown, sorted bytewise by name, which isn't always git's order.
    pub entries: Vec<TreeEntry<'a>>,
    /// What can't, in the tree's order.
    pub rejected: Vec<Rejected>,
    /// How the entries stood in the tree, rejected ones not counted.
    pub order: Order,
}

/// Reads a tree, which is `<octal mode> SP <name> NUL <id>` for each entry.
///
/// # Errors
///
/// [`ObjectError`] if the bytes can't be cut into entries; there is no part of a tree then.
pub fn parse(data: &[u8], hash: HashKind) -> Result<ParsedTree<'_>, ObjectError> {
    let mut tree = ParsedTree {
        entries: Vec::new(),
        rejected: Vec::new(),
        order: Order::Sorted,
    };
    let mut rest = data;
    while !rest.is_empty() {
        let entry = cut_entry(&mut rest, hash).map_err(|reason| ObjectError {
            kind: ObjectKind::Tree,
            reason,
            offset: data.len() - rest.len(),
        })?;
        match judge(&entry) {
            Err(reason) => tree.reject(entry.name, reason),
            Ok(mode) => {
                let entry = TreeEntry {
                    mode,
                    name: entry.name,
                    oid: entry.oid,
                };
                if tree
                    .entries
                    .last()
                    .is_some_and(|last| git_order(last, &entry).is_ge())
                {
                    tree.order = Order::Unsorted;
                }
                tree.entries.push(entry);
            }
        }
    }
    tree.sort();
    Ok(tree)
}

impl<'a> ParsedTree<'a> {
    fn reject(&mut self, name: &[u8], reason: RejectReason) {
        self.rejected.push(Rejected {
            name: name[..name.len().min(NAME_MAX)].to_vec(),
            reason,
        });
    }

    /// Sorts entries by name, and rejects all but the first of a name.
    fn sort(&mut self) {
        // Stable, and quick for what is nearly sorted, as git's order is.
        self.entries.sort_by_key(|entry| entry.name);
        let mut duplicates: Vec<&[u8]> = Vec::new();
        self.entries.dedup_by(|entry, before| {
            let duplicate = entry.name == before.name;
            if duplicate {
                duplicates.push(entry.name);
            }
            duplicate
        });
        for name in duplicates {
            self.reject(name, RejectReason::Duplicate);
        }
    }
}

/// An entry as it stands in the tree.
struct RawEntry<'a> {
    mode: u32,
    name: &'a [u8],
    oid: Oid,
}

/// Cuts the first entry off `rest`. If that can't be done, `rest` is left where it went wrong.
fn cut_entry<'a>(rest: &mut &'a [u8], hash: HashKind) -> Result<RawEntry<'a>, &'static str> {
    let mut mode = 0u32;
    let mut digits = 0;
    loop {
        let (&byte, tail) = rest.split_first().ok_or("it ends within a mode")?;
        match byte {
            b'0'..=b'7' => {
                // More than 16 bits are no mode, however many more there are.
                mode = (mode << 3 | u32::from(byte - b'0')).min(0o1_000_000);
                digits += 1;
            }
            b' ' if digits > 0 => {
                *rest = tail;
                break;
            }
            _ => return Err("there is no octal mode"),
        }
        *rest = tail;
    }
    let name_len = rest.iter().position(|&byte| byte == 0);
    let (name, tail) = rest.split_at(name_len.ok_or("it ends within a name")?);
    *rest = &tail[1..];
    let id = rest.split_at_checked(hash.len_in_bytes());
    let (id, tail) = id.ok_or("it ends within an id")?;
    *rest = tail;
    Ok(RawEntry {
        mode,
        name,
        oid: Oid::from_bytes_or_panic(id),
    })
}

/// Whether an entry can be shown by itself.
fn judge(entry: &RawEntry<'_>) -> Result<EntryMode, RejectReason> {
    match entry.name {
        b"" => return Err(RejectReason::Empty),
        b"." => return Err(RejectReason::Dot),
        b".." => return Err(RejectReason::DotDot),
        name if name.eq_ignore_ascii_case(b".git") => return Err(RejectReason::DotGit),
        name if name.contains(&b'/') => return Err(RejectReason::Slash),
        name if name.len() > NAME_MAX => return Err(RejectReason::TooLong),
        _ => {}
    }
    EntryMode::from_bits(entry.mode).ok_or(RejectReason::BadMode)
}

/// The order in which git sorts entries.
fn git_order(one: &TreeEntry<'_>, other: &TreeEntry<'_>) -> std::cmp::Ordering {
    fn key<'a>(entry: &TreeEntry<'a>) -> impl Iterator<Item = &'a u8> {
        let slash: &[u8] = if entry.mode == EntryMode::Dir {
            b"/"
        } else {
            b""
        };
        entry.name.iter().chain(slash)
    }
    key(one).cmp(key(other))
}

#[cfg(test)]
mod tests;

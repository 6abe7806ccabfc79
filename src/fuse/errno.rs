//! The one table from errors to errno. May import: bonsaifs-core, fuser.

use bonsaifs_core::fs::FsErrorKind;
use fuser::Errno;

/// The errno that a process sees for an error of this kind. `docs/ERRORS.md` says what each means.
pub fn errno(kind: FsErrorKind) -> Errno {
    match kind {
        FsErrorKind::NotFound => Errno::ENOENT,
        FsErrorKind::NameTooLong => Errno::ENAMETOOLONG,
        FsErrorKind::NotADirectory => Errno::ENOTDIR,
        FsErrorKind::IsADirectory => Errno::EISDIR,
        FsErrorKind::Invalid => Errno::EINVAL,
        FsErrorKind::Stale => Errno::ESTALE,
        FsErrorKind::ReadOnly => Errno::EROFS,
        FsErrorKind::NoData => Errno::ENODATA,
        FsErrorKind::Denied => Errno::EACCES,
        FsErrorKind::TimedOut => Errno::ETIMEDOUT,
        FsErrorKind::Io => Errno::EIO,
        FsErrorKind::TooLarge => Errno::EFBIG,
    }
}

/// True for errors that are news to the mount's owner; the others are ordinary answers.
pub(super) fn is_failure(kind: FsErrorKind) -> bool {
    match kind {
        FsErrorKind::Denied | FsErrorKind::TimedOut | FsErrorKind::Io => true,
        FsErrorKind::NotFound
        | FsErrorKind::NameTooLong
        | FsErrorKind::NotADirectory
        | FsErrorKind::IsADirectory
        | FsErrorKind::Invalid
        | FsErrorKind::Stale
        | FsErrorKind::ReadOnly
        | FsErrorKind::NoData
        | FsErrorKind::TooLarge => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every kind with its errno's name and whether it is logged, as `docs/ERRORS.md` has it.
    const TABLE: [(FsErrorKind, &str, i32, bool); 12] = [
        (FsErrorKind::NotFound, "ENOENT", libc::ENOENT, false),
        (
            FsErrorKind::NameTooLong,
            "ENAMETOOLONG",
            libc::ENAMETOOLONG,
            false,
        ),
        (FsErrorKind::NotADirectory, "ENOTDIR", libc::ENOTDIR, false),
        (FsErrorKind::IsADirectory, "EISDIR", libc::EISDIR, false),
        (FsErrorKind::Invalid, "EINVAL", libc::EINVAL, false),
        (FsErrorKind::Stale, "ESTALE", libc::ESTALE, false),
        (FsErrorKind::ReadOnly, "EROFS", libc::EROFS, false),
        (FsErrorKind::NoData, "ENODATA", libc::ENODATA, false),
        (FsErrorKind::Denied, "EACCES", libc::EACCES, true),
        (FsErrorKind::TimedOut, "ETIMEDOUT", libc::ETIMEDOUT, true),
        (FsErrorKind::Io, "EIO", libc::EIO, true),
        (FsErrorKind::TooLarge, "EFBIG", libc::EFBIG, false),
    ];

    #[test]
    fn each_kind_has_its_errno() {
        for (kind, _, number, logged) in TABLE {
            assert_eq!(errno(kind).code(), number, "{kind:?}");
            assert_eq!(is_failure(kind), logged, "{kind:?}");
        }
    }

    #[test]
    fn the_document_has_the_same_table() {
        let text = include_str!("../../docs/ERRORS.md");
        let rows: Vec<(&str, &str)> = text
            .lines()
            .filter_map(|line| line.strip_prefix("| `E"))
            .filter_map(|rest| rest.split_once("` | "))
            .map(|(name, rest)| (name, rest.rsplit(" | ").next().unwrap_or_default()))
            .collect();
        for (kind, name, _, logged) in TABLE {
            let row = rows.iter().find(|(short, _)| name[1..] == **short);
            let (_, last) = row.unwrap_or_else(|| panic!("{name} ({kind:?}) is not in the table"));
            assert_eq!(*last, if logged { "yes |" } else { "no |" }, "{name}");
        }
    }
}

//! Attributes in the kernel's words. May import: bonsaifs-core, fuser.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bonsaifs_core::fs::{Attr, Ino, Kind, Timestamp};
use fuser::{FileAttr, FileType, INodeNo};

/// Whom every file of a mount belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

/// The unit of `st_blksize` and of `statfs`, in bytes.
pub(super) const BLOCK: u32 = 4096;

pub(super) fn file_type(kind: Kind) -> FileType {
    match kind {
        Kind::Dir => FileType::Directory,
        Kind::File => FileType::RegularFile,
        Kind::Symlink => FileType::Symlink,
    }
}

/// The attributes as `stat` shows them.
///
/// The link count is 1 for all: names of one object are files of their own here, and
/// subdirectories are not counted, as btrfs does (1 says "not counted" to `find`). `st_blocks`
/// counts units of 512 bytes, whatever the block size (stat(3type)).
pub(super) fn file_attr(ino: Ino, attr: &Attr, owner: Owner) -> FileAttr {
    let time = system_time(attr.mtime);
    FileAttr {
        ino: INodeNo(ino.0),
        size: attr.size,
        blocks: attr.size.div_ceil(512),
        atime: time,
        mtime: time,
        ctime: time,
        crtime: time,
        kind: file_type(attr.kind),
        perm: attr.perm,
        nlink: 1,
        uid: owner.uid,
        gid: owner.gid,
        rdev: 0,
        blksize: BLOCK,
        flags: 0,
    }
}

fn system_time(time: Timestamp) -> SystemTime {
    let whole = Duration::from_secs(time.secs.unsigned_abs());
    let seconds = if time.secs < 0 {
        UNIX_EPOCH.checked_sub(whole)
    } else {
        UNIX_EPOCH.checked_add(whole)
    };
    // Linux's SystemTime holds any i64 of seconds; only its very last second may overflow.
    seconds
        .and_then(|seconds| seconds.checked_add(Duration::from_nanos(time.nanos.into())))
        .unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: Owner = Owner { uid: 7, gid: 8 };

    fn attr(kind: Kind, size: u64) -> Attr {
        Attr {
            kind,
            perm: 0o755,
            size,
            mtime: Timestamp {
                secs: 1_700_000_000,
                nanos: 5,
            },
        }
    }

    #[test]
    fn blocks_are_halves_of_kibibytes_rounded_up() {
        for (size, blocks) in [(0, 0), (1, 1), (512, 1), (513, 2), (u64::MAX, 1 << 55)] {
            let shown = file_attr(Ino(9), &attr(Kind::File, size), OWNER);
            assert_eq!((shown.size, shown.blocks), (size, blocks));
        }
    }

    #[test]
    fn every_field_is_as_promised() {
        let shown = file_attr(Ino(9), &attr(Kind::Dir, 0), OWNER);
        let time = UNIX_EPOCH + Duration::new(1_700_000_000, 5);
        assert_eq!(
            shown,
            FileAttr {
                ino: INodeNo(9),
                size: 0,
                blocks: 0,
                atime: time,
                mtime: time,
                ctime: time,
                crtime: time,
                kind: FileType::Directory,
                perm: 0o755,
                nlink: 1,
                uid: 7,
                gid: 8,
                rdev: 0,
                blksize: 4096,
                flags: 0,
            }
        );
    }

    #[test]
    fn times_before_1970_and_at_the_ends_are_kept() {
        let at = |secs, nanos| system_time(Timestamp { secs, nanos });
        let half = Duration::from_millis(500);
        assert_eq!(at(-1, 500_000_000), UNIX_EPOCH - half);
        assert_eq!(at(-3, 0), UNIX_EPOCH - Duration::from_secs(3));
        let last = at(i64::MAX, 0).duration_since(UNIX_EPOCH);
        assert_eq!(last.expect("after 1970").as_secs(), i64::MAX as u64);
        let first = at(i64::MIN, 0).duration_since(UNIX_EPOCH);
        let before = first.expect_err("before 1970").duration();
        assert_eq!(before.as_secs(), i64::MIN.unsigned_abs());
    }
}

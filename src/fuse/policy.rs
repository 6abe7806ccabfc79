//! What the kernel may keep, and for how long. May import: fuser.
//!
//! Always holds: a pure function of what a mount shows and of what the kernel offers; measured in
//! the project's notes on FUSE against ext4.

use std::time::Duration;

use fuser::{FopenFlags, InitFlags};

/// What a mount shows, as far as the kernel's caches are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// One commit: nothing ever changes.
    Pinned,
    /// One commit after the other. The kernel may keep what it knows for ever all the same, as it
    /// is told what to drop. A file that changes gets another inode, so the kernel opens files by
    /// itself and no page is ever wrong. Directories keep their inodes and change, so each stream
    /// has a handle that holds its snapshot; and the kernel may not keep their entries in order:
    /// a stream from before a switch would write old ones into what the kernel keeps after it.
    Following,
    /// Anything may change at any moment, so nothing is kept for long: what a filesystem does that takes the
    /// usual settings. For comparison only.
    Unsteady,
}

impl Content {
    fn directories(self, skip: Opens) -> Opens {
        match self {
            Self::Pinned => skip,
            Self::Following | Self::Unsteady => Opens::Answered(FopenFlags::empty()),
        }
    }
}

/// Whether extended attributes can be read. The kernel remembers ENOSYS for a whole mount but
/// nothing else: with attributes, `ls -l` costs two requests a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Xattrs {
    /// ENOSYS once, and no question after that.
    Off,
    /// Answered, file by file.
    On,
}

/// What becomes of `open` and `opendir`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opens {
    /// ENOSYS: the kernel opens by itself from then on, and keeps pages and directories. Opening
    /// for writing still fails with EROFS, as the mount is read-only (`MS_RDONLY`).
    Skipped,
    /// A handle, with these flags.
    Answered(FopenFlags),
}

/// How one mount treats the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How long a name stays what it is.
    pub entry_ttl: Duration,
    /// How long attributes stay.
    pub attr_ttl: Duration,
    /// How long a missing name stays missing.
    pub negative_ttl: Duration,
    /// What becomes of `open`.
    pub files: Opens,
    /// What becomes of `opendir`.
    pub directories: Opens,
    /// Whether extended attributes can be read.
    pub xattrs: Xattrs,
    /// What is asked of the kernel; all of it is on offer.
    pub capabilities: InitFlags,
    /// The largest request in bytes. The kernel's limit is 256 pages unless
    /// `fs.fuse.max_pages_limit` raises it.
    pub max_request: u32,
    /// How many reads ahead may be under way at once. They wait for a network, not for a disk.
    pub max_background: u16,
}

/// Longer than any mount lives; the kernel cuts what its clock can't count.
const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// Wanted of any kernel that has them. Not `FUSE_READDIRPLUS_AUTO`, with which the kernel asks for the attributes of a
/// directory's first few kilobytes only, unless something is looked up before it asks for more: who reads the whole
/// directory and looks then, as `tar`, `du` and `find -size` do, costs a look-up for each of the rest.
const WANTED: InitFlags = InitFlags::FUSE_ASYNC_READ
    .union(InitFlags::FUSE_MAX_PAGES)
    .union(InitFlags::FUSE_PARALLEL_DIROPS)
    .union(InitFlags::FUSE_DO_READDIRPLUS)
    .union(InitFlags::FUSE_CACHE_SYMLINKS);

impl Policy {
    /// The policy for a mount of `content` under a kernel that offers `offered`.
    pub fn new(content: Content, xattrs: Xattrs, offered: InitFlags) -> Self {
        if content == Content::Unsteady {
            return Self::unsteady(xattrs, offered);
        }
        let skip = |flag, otherwise| {
            if offered.contains(flag) {
                Opens::Skipped
            } else {
                Opens::Answered(otherwise)
            }
        };
        Self {
            entry_ttl: FOR_EVER,
            attr_ttl: FOR_EVER,
            negative_ttl: FOR_EVER,
            files: skip(
                InitFlags::FUSE_NO_OPEN_SUPPORT,
                FopenFlags::FOPEN_KEEP_CACHE,
            ),
            directories: content.directories(skip(
                InitFlags::FUSE_NO_OPENDIR_SUPPORT,
                FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_CACHE_DIR,
            )),
            xattrs,
            capabilities: WANTED & offered,
            max_request: 1 << 20,
            max_background: 256,
        }
    }

    /// The usual settings (libfuse's): a second for what is there, nothing for what isn't, each file opened and its
    /// pages dropped, names and attributes asked for apart.
    fn unsteady(xattrs: Xattrs, offered: InitFlags) -> Self {
        let second = Duration::from_secs(1);
        Self {
            entry_ttl: second,
            attr_ttl: second,
            negative_ttl: Duration::ZERO,
            files: Opens::Answered(FopenFlags::empty()),
            directories: Content::Unsteady.directories(Opens::Skipped),
            xattrs,
            capabilities: (InitFlags::FUSE_ASYNC_READ | InitFlags::FUSE_PARALLEL_DIROPS) & offered,
            max_request: 128 << 10,
            max_background: 12,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_mount_is_asked_everything_once() {
        let policy = Policy::new(Content::Pinned, Xattrs::Off, InitFlags::all());
        let year = Duration::from_secs(365 * 24 * 60 * 60);
        assert!(policy.entry_ttl > year);
        assert!(policy.attr_ttl > year);
        assert!(policy.negative_ttl > year);
        assert_eq!(policy.files, Opens::Skipped);
        assert_eq!(policy.directories, Opens::Skipped);
        assert_eq!(policy.capabilities, WANTED);
    }

    #[test]
    fn a_following_mount_answers_opendir_and_keeps_no_directories() {
        let policy = Policy::new(Content::Following, Xattrs::Off, InitFlags::all());
        assert_eq!(policy.entry_ttl, FOR_EVER);
        assert_eq!(policy.files, Opens::Skipped);
        let no_flags = Opens::Answered(FopenFlags::empty());
        assert_eq!(policy.directories, no_flags);
    }

    #[test]
    fn what_may_change_at_any_moment_is_not_kept() {
        let policy = Policy::new(Content::Unsteady, Xattrs::Off, InitFlags::all());
        assert_eq!(policy.entry_ttl, Duration::from_secs(1));
        assert_eq!(policy.negative_ttl, Duration::ZERO);
        assert_eq!(policy.files, Opens::Answered(FopenFlags::empty()));
        assert_eq!(policy.directories, Opens::Answered(FopenFlags::empty()));
        let plus = InitFlags::FUSE_DO_READDIRPLUS | InitFlags::FUSE_CACHE_SYMLINKS;
        assert!(!policy.capabilities.intersects(plus));
    }

    #[test]
    fn an_older_kernel_gets_handles_that_keep_its_caches() {
        let offered = InitFlags::FUSE_DO_READDIRPLUS | InitFlags::FUSE_NO_OPEN_SUPPORT;
        let policy = Policy::new(Content::Pinned, Xattrs::On, offered);
        assert_eq!(policy.files, Opens::Skipped);
        assert_eq!(
            policy.directories,
            Opens::Answered(FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_CACHE_DIR)
        );
        assert_eq!(policy.capabilities, InitFlags::FUSE_DO_READDIRPLUS);
        assert_eq!(policy.xattrs, Xattrs::On);

        let policy = Policy::new(Content::Pinned, Xattrs::Off, InitFlags::empty());
        assert_eq!(policy.files, Opens::Answered(FopenFlags::FOPEN_KEEP_CACHE));
    }
}

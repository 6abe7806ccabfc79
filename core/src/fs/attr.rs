//! Plain values: inode numbers, kinds, attributes. May import: std only.

/// The longest name that is looked for, in bytes (`NAME_MAX` of Linux).
pub const NAME_MAX: usize = 255;

/// An inode number of the one inode space. [`Ino::ROOT`] is 1, as the FUSE protocol wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ino(pub u64);

impl Ino {
    /// The root directory of a mount (`FUSE_ROOT_ID`).
    pub const ROOT: Ino = Ino(1);
}

/// What an inode is. Read-only trees know three kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A directory.
    Dir,
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink,
}

/// A point in time: whole seconds since the Unix epoch (negative before it) and nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    /// Seconds since 1970-01-01T00:00:00Z.
    pub secs: i64,
    /// Nanoseconds after `secs`, below 1,000,000,000.
    pub nanos: u32,
}

/// The attributes of an inode, as `stat` shows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attr {
    /// Directory, file or symlink.
    pub kind: Kind,
    /// Permission bits, `0o7777` at most.
    pub perm: u16,
    /// Bytes of a file, or of a symlink's target; 0 for a directory.
    pub size: u64,
    /// Modification time (also shown as change and access time).
    pub mtime: Timestamp,
}

/// What `statfs` shows. All counts may grow while the mount learns more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatFs {
    /// Bytes of all files whose size is known.
    pub bytes: u64,
    /// Entries known.
    pub files: u64,
    /// The longest name in bytes.
    pub max_name: u32,
}

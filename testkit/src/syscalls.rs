//! System calls that std has no name for: every way to change a tree, extended attributes, the
//! file system's figures. May import: rustix.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{PermissionsExt, chown, symlink},
    path::Path,
};

use rustix::{
    fs::{
        AtFlags, CWD, FallocateFlags, FileType, Mode, OFlags, Timespec, Timestamps, UTIME_NOW,
        XattrFlags, fallocate, getxattr, listxattr, mknodat, openat, removexattr, setxattr,
        statvfs, utimensat,
    },
    io::Errno,
};

/// A way to change a tree, tried in the directory `dir` that holds a file `file`, a symlink
/// `link` and a directory `sub`.
pub type Mutation = fn(dir: &Path) -> io::Result<()>;

/// Every system call that changes a tree, by name.
pub fn mutations() -> Vec<(&'static str, Mutation)> {
    vec![
        ("creat", |dir| File::create(dir.join("new")).map(drop)),
        ("mkdir", |dir| fs::create_dir(dir.join("new"))),
        ("symlink", |dir| symlink("target", dir.join("new"))),
        ("link", |dir| {
            fs::hard_link(dir.join("file"), dir.join("new"))
        }),
        ("mkfifo", |dir| node(dir, FileType::Fifo)),
        ("mknod of a file", |dir| node(dir, FileType::RegularFile)),
        ("unlink of a file", |dir| fs::remove_file(dir.join("file"))),
        ("unlink of a symlink", |dir| {
            fs::remove_file(dir.join("link"))
        }),
        ("rmdir", |dir| fs::remove_dir(dir.join("sub"))),
        ("rename", |dir| {
            fs::rename(dir.join("file"), dir.join("new"))
        }),
        ("rename over another", |dir| {
            fs::rename(dir.join("file"), dir.join("link"))
        }),
        ("rename of a directory", |dir| {
            fs::rename(dir.join("sub"), dir.join("new"))
        }),
        ("open for writing", |dir| {
            open(dir, OpenOptions::new().write(true))
        }),
        ("open for both", |dir| {
            open(dir, OpenOptions::new().read(true).write(true))
        }),
        ("open for appending", |dir| {
            open(dir, OpenOptions::new().append(true))
        }),
        ("open to truncate", |dir| {
            open(dir, OpenOptions::new().write(true).truncate(true))
        }),
        ("chmod of a file", |dir| chmod(&dir.join("file"))),
        ("chmod of a directory", |dir| chmod(&dir.join("sub"))),
        ("chown", |dir| chown(dir.join("file"), Some(0), Some(0))),
        ("utimens of a file", |dir| touch(&dir.join("file"))),
        ("utimens of a symlink", |dir| touch(&dir.join("link"))),
        ("setxattr", |dir| {
            Ok(setxattr(
                dir.join("file"),
                "user.test",
                b"1",
                XattrFlags::empty(),
            )?)
        }),
        ("removexattr", |dir| {
            Ok(removexattr(dir.join("file"), "user.test")?)
        }),
        ("fallocate", |dir| {
            let file = OpenOptions::new().write(true).open(dir.join("file"))?;
            Ok(fallocate(file, FallocateFlags::empty(), 0, 4096)?)
        }),
    ]
}

fn node(dir: &Path, kind: FileType) -> io::Result<()> {
    Ok(mknodat(CWD, dir.join("new"), kind, Mode::from(0o644), 0)?)
}

fn open(dir: &Path, options: &mut OpenOptions) -> io::Result<()> {
    options.open(dir.join("file")).map(drop)
}

fn chmod(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(0o600))
}

fn touch(path: &Path) -> io::Result<()> {
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: UTIME_NOW,
    };
    let times = Timestamps {
        last_access: now,
        last_modification: now,
    };
    Ok(utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// How many directories called `name` below each other can be opened, `limit` at the most. Goes
/// from each to the next, so that no path is too long.
pub fn descend(dir: &Path, name: &str, limit: usize) -> io::Result<usize> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut here = openat(CWD, dir, flags, Mode::empty())?;
    for level in 0..limit {
        match openat(&here, name, flags, Mode::empty()) {
            Ok(next) => here = next,
            Err(_) => return Ok(level),
        }
    }
    Ok(limit)
}

/// The value of an extended attribute.
pub fn xattr(path: &Path, name: &str) -> Result<Vec<u8>, Errno> {
    let mut value = vec![0; 4096];
    let length = getxattr(path, name, value.as_mut_slice())?;
    value.truncate(length);
    Ok(value)
}

/// The names of all extended attributes, sorted.
pub fn xattr_names(path: &Path) -> Result<Vec<String>, Errno> {
    let mut list = vec![0; 64 * 1024];
    let length = listxattr(path, list.as_mut_slice())?;
    let mut names: Vec<String> = list[..length]
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect();
    names.sort();
    Ok(names)
}

/// What statvfs(3) says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    /// The unit of `blocks` and `free`, in bytes.
    pub unit: u64,
    /// Blocks in all.
    pub blocks: u64,
    /// Blocks that are free.
    pub free: u64,
    /// Inodes in all.
    pub files: u64,
    /// Inodes that are free.
    pub files_free: u64,
    /// The longest name in bytes.
    pub longest_name: u64,
    /// True if mounted read-only.
    pub read_only: bool,
}

/// The figures of the file system at `path`.
pub fn figures(path: &Path) -> io::Result<Figures> {
    let figures = statvfs(path)?;
    Ok(Figures {
        unit: figures.f_frsize,
        blocks: figures.f_blocks,
        free: figures.f_bfree,
        files: figures.f_files,
        files_free: figures.f_ffree,
        longest_name: figures.f_namemax,
        read_only: figures
            .f_flag
            .contains(rustix::fs::StatVfsMountFlags::RDONLY),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with what the mutations work on.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("file"), "x").expect("written");
        symlink("file", folder.path().join("link")).expect("made");
        fs::create_dir(folder.path().join("sub")).expect("made");
        folder
    }

    #[test]
    fn every_mutation_works_where_it_may() {
        for (name, mutate) in mutations() {
            let folder = folder();
            let file = folder.path().join("file");
            if name.ends_with("xattr") {
                match setxattr(&file, "user.test", b"1", XattrFlags::empty()) {
                    // Not every file system has them.
                    Err(Errno::OPNOTSUPP) => continue,
                    result => result.expect("set"),
                }
                assert_eq!(xattr(&file, "user.test"), Ok(b"1".to_vec()));
                assert_eq!(xattr_names(&file), Ok(vec!["user.test".to_owned()]));
            }
            match mutate(folder.path()) {
                Ok(()) => {}
                // An ordinary user can't give files to root.
                Err(error) if name == "chown" => {
                    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
                }
                Err(error) => panic!("{name}: {error}"),
            }
        }
    }

    #[test]
    fn going_down_ends_where_the_tree_does() {
        let folder = folder();
        fs::create_dir_all(folder.path().join("d/d/d")).expect("made");
        assert_eq!(descend(folder.path(), "d", 10).ok(), Some(3));
        assert_eq!(descend(folder.path(), "d", 2).ok(), Some(2));
    }

    #[test]
    fn figures_of_an_ordinary_file_system() {
        let figures = figures(&std::env::temp_dir()).expect("figures");
        assert!(figures.unit > 0 && figures.blocks > 0 && !figures.read_only);
        assert_eq!(figures.longest_name, 255);
    }
}

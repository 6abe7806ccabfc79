//! The kernel's list of mounts, `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
//! May import: std.
//!
//! Always holds: paths are bytes; what can't be parsed is left out, never guessed.

use std::{
    ffi::OsString,
    fs, io,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Its number, unique while it lasts.
    pub id: u64,
    /// The number of the mount that it lies on.
    pub parent: u64,
    /// The device, as `major:minor`.
    pub device: String,
    /// Where it is mounted.
    pub point: PathBuf,
    /// The type, as `ext4` or `fuse.bonsai`.
    pub fs_type: String,
    /// What is mounted, in the words of whoever mounted it.
    pub source: OsString,
}

impl Mount {
    /// True for a FUSE filesystem of any kind, block devices aside.
    pub fn is_fuse(&self) -> bool {
        self.fs_type == "fuse" || self.fs_type.starts_with("fuse.")
    }
}

/// All mounts of this process's namespace.
#[derive(Clone, Debug, Default)]
pub struct MountTable(Vec<Mount>);

impl MountTable {
    /// Reads the kernel's list.
    ///
    /// # Errors
    /// If `/proc` is not mounted.
    pub fn read() -> io::Result<Self> {
        Ok(Self::parse(&fs::read("/proc/self/mountinfo")?))
    }

    /// Parses such a list.
    pub fn parse(text: &[u8]) -> Self {
        Self(text.split(|b| *b == b'\n').filter_map(parse_line).collect())
    }

    /// The uppermost mount at `point` itself, which is the one that a process sees there.
    pub fn top_at(&self, point: &Path) -> Option<&Mount> {
        let at_point = || self.0.iter().filter(|mount| mount.point == point);
        // Mounts at one place lie on each other; only the uppermost carries none of the others.
        at_point().find(|mount| !at_point().any(|other| other.parent == mount.id))
    }

    /// True if the mount of this number is there, wherever it is.
    pub fn has(&self, id: u64) -> bool {
        self.0.iter().any(|mount| mount.id == id)
    }

    /// The mount that `path` lies in: the uppermost at the longest point that is `path` or above.
    pub fn containing(&self, path: &Path) -> Option<&Mount> {
        path.ancestors().find_map(|point| self.top_at(point))
    }
}

fn parse_line(line: &[u8]) -> Option<Mount> {
    // "36 35 98:0 /root /point rw,noatime master:1 - ext3 source rw": any number of optional
    // fields stand before the dash.
    let mut fields = line.split(|b| *b == b' ');
    let id = number(fields.next()?)?;
    let parent = number(fields.next()?)?;
    let device = text(fields.next()?)?;
    let _root = fields.next()?;
    let point = unescape(fields.next()?);
    fields.find(|field| *field == b"-")?;
    let fs_type = text(fields.next()?)?;
    let source = unescape(fields.next()?);
    Some(Mount {
        id,
        parent,
        device,
        point: PathBuf::from(point),
        fs_type,
        source,
    })
}

fn text(field: &[u8]) -> Option<String> {
    std::str::from_utf8(field).ok().map(str::to_owned)
}

fn number(field: &[u8]) -> Option<u64> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

/// Space, tab, newline and backslash are written as a backslash and three octal digits.
fn unescape(field: &[u8]) -> OsString {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        match tail {
            [
                a @ b'0'..=b'3',
                b @ b'0'..=b'7',
                c @ b'0'..=b'7',
                after @ ..,
            ] if first == b'\\' => {
                out.push(((a - b'0') << 6) | ((b - b'0') << 3) | (c - b'0'));
                rest = after;
            }
            _ => {
                out.push(first);
                rest = tail;
            }
        }
    }
    OsString::from_vec(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &[u8] = b"22 27 0:21 / /proc rw,relatime - proc proc rw\n\
        27 1 254:0 / / rw,relatime shared:1 master:2 - ext4 /dev/vda rw,discard\n\
        40 27 0:40 / /mnt/a rw,nosuid - fuse.bonsai https://x.org/r.git ro,user_id=0\n\
        41 40 0:41 / /mnt/a rw - tmpfs tmpfs rw\n\
        50 27 0:50 / /mnt/we\\040ird\\012\\134\xff\\011 ro - fuse.bonsai a\\040b rw\n\
        garbage\n\
        60 27 0:60 / /short\n";

    #[test]
    fn lines_are_parsed_whole() {
        let table = MountTable::parse(SAMPLE);
        assert_eq!(table.0.len(), 5, "the broken lines are left out");
        assert_eq!(
            table.0[1],
            Mount {
                id: 27,
                parent: 1,
                device: "254:0".to_owned(),
                point: PathBuf::from("/"),
                fs_type: "ext4".to_owned(),
                source: OsString::from("/dev/vda"),
            }
        );
    }

    #[test]
    fn octal_escapes_are_bytes() {
        let table = MountTable::parse(SAMPLE);
        let point = OsString::from_vec(b"/mnt/we ird\n\\\xff\t".to_vec());
        let mount = table.top_at(Path::new(&point)).expect("the escaped mount");
        assert_eq!(mount.source, "a b");
        // What is not an escape stays as it is.
        assert_eq!(unescape(b"a\\9\\08x\\400\\"), "a\\9\\08x\\400\\");
    }

    #[test]
    fn the_uppermost_mount_is_found_whatever_the_order() {
        for text in [
            &b"40 27 0:40 / /m rw - a a rw\n41 40 0:41 / /m rw - b b rw\n"[..],
            b"41 40 0:41 / /m rw - b b rw\n40 27 0:40 / /m rw - a a rw\n",
        ] {
            let table = MountTable::parse(text);
            assert_eq!(table.top_at(Path::new("/m")).map(|m| m.id), Some(41));
        }
    }

    #[test]
    fn a_path_lies_in_the_longest_mount_above() {
        let table = MountTable::parse(SAMPLE);
        let id = |path| table.containing(Path::new(path)).map(|mount| mount.id);
        assert_eq!(id("/mnt/a/b/c"), Some(41));
        assert_eq!(id("/mnt/ab"), Some(27), "whole components only");
        assert_eq!(id("/"), Some(27));
    }

    #[test]
    fn fuse_is_told_from_names_that_begin_alike() {
        let table = MountTable::parse(
            b"1 0 0:1 / /a rw - fuse x rw\n2 0 0:2 / /b rw - fuse.y x rw\n\
              3 0 0:3 / /c rw - fusectl x rw\n4 0 0:4 / /d rw - fuseblk x rw\n",
        );
        let fuse: Vec<bool> = table.0.iter().map(Mount::is_fuse).collect();
        assert_eq!(fuse, [true, true, false, false]);
    }

    #[test]
    fn the_real_list_has_the_root() {
        let table = MountTable::read().expect("/proc is mounted");
        assert!(table.top_at(Path::new("/")).is_some());
    }
}

//! Counts of the kernel's requests, for `status`. May import: std.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! ops {
    ($($op:ident $name:literal),+ $(,)?) => {
        /// The kernel's requests (fuse.4, `enum fuse_opcode`).
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[expect(missing_docs, reason = "each is named as its FUSE request")]
        pub enum Op { $($op),+ }

        impl Op {
            /// All of them, in the order of their counters.
            pub const ALL: [Op; [$(Op::$op),+].len()] = [$(Op::$op),+];

            /// The request's name in lower case, as `status` and the log have it.
            pub fn name(self) -> &'static str {
                match self { $(Op::$op => $name),+ }
            }
        }
    };
}

ops! {
    Access "access",
    Bmap "bmap",
    CopyFileRange "copy_file_range",
    Create "create",
    Fallocate "fallocate",
    Flush "flush",
    Forget "forget",
    Fsync "fsync",
    Fsyncdir "fsyncdir",
    Getattr "getattr",
    Getlk "getlk",
    Getxattr "getxattr",
    Ioctl "ioctl",
    Link "link",
    Listxattr "listxattr",
    Lookup "lookup",
    Lseek "lseek",
    Mkdir "mkdir",
    Mknod "mknod",
    Open "open",
    Opendir "opendir",
    Poll "poll",
    Read "read",
    Readdir "readdir",
    Readdirplus "readdirplus",
    Readlink "readlink",
    Release "release",
    Releasedir "releasedir",
    Removexattr "removexattr",
    Rename "rename",
    Rmdir "rmdir",
    Setattr "setattr",
    Setlk "setlk",
    Setxattr "setxattr",
    Statfs "statfs",
    Symlink "symlink",
    Unlink "unlink",
    Write "write",
}

/// One count a request, and one for each inode of a forget of many. Each is exact; together they are not one moment's.
#[derive(Debug)]
pub struct Counters([AtomicU64; Op::ALL.len()]);

impl Default for Counters {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; Op::ALL.len()])
    }
}

impl Counters {
    /// Counts one request.
    pub fn count(&self, op: Op) {
        self.0[op as usize].fetch_add(1, Relaxed);
    }

    /// How often `op` came.
    pub fn get(&self, op: Op) -> u64 {
        self.0[op as usize].load(Relaxed)
    }

    /// Every request's name and count, by name.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        Op::ALL.into_iter().map(|op| (op.name(), self.get(op)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_has_its_own_counter() {
        let counters = Counters::default();
        for (times, op) in Op::ALL.into_iter().enumerate() {
            for _ in 0..times {
                counters.count(op);
            }
        }
        let expected = (0..Op::ALL.len() as u64).collect::<Vec<_>>();
        let counted: Vec<u64> = counters.all().map(|(_, count)| count).collect();
        assert_eq!(counted, expected);
    }

    #[test]
    fn names_are_in_order() {
        let names: Vec<&str> = Op::ALL.map(Op::name).to_vec();
        assert!(names.is_sorted());
    }
}

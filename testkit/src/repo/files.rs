//! A description of a tree, and the fast-import stream that makes a commit of it.
//! May import: std only.

use std::collections::BTreeMap;

/// Files, symlinks and gitlinks by path. A path may hold any bytes but NUL; components are joined
/// by `/`. Empty directories are for [`super::Repo::tree`]: fast-import drops them.
#[derive(Clone, Debug, Default)]
pub struct Files {
    entries: BTreeMap<Vec<u8>, Entry>,
}

#[derive(Clone, Debug)]
enum Entry {
    File { executable: bool, data: Vec<u8> },
    Symlink(Vec<u8>),
    Gitlink(String),
}

impl Files {
    /// Nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// A regular file.
    pub fn file(mut self, path: impl AsRef<[u8]>, data: impl Into<Vec<u8>>) -> Self {
        self.add_file(path, data);
        self
    }

    /// An executable file.
    pub fn executable(self, path: impl AsRef<[u8]>, data: impl Into<Vec<u8>>) -> Self {
        let data = data.into();
        self.entry(
            path,
            Entry::File {
                executable: true,
                data,
            },
        )
    }

    /// A symlink.
    pub fn symlink(self, path: impl AsRef<[u8]>, target: impl Into<Vec<u8>>) -> Self {
        self.entry(path, Entry::Symlink(target.into()))
    }

    /// A gitlink (the commit of a submodule); `commit` is in hexadecimal and need not exist.
    pub fn gitlink(self, path: impl AsRef<[u8]>, commit: &str) -> Self {
        self.entry(path, Entry::Gitlink(commit.to_owned()))
    }

    /// As [`Files::file`], for loops.
    pub fn add_file(&mut self, path: impl AsRef<[u8]>, data: impl Into<Vec<u8>>) {
        let entry = Entry::File {
            executable: false,
            data: data.into(),
        };
        self.entries.insert(path.as_ref().to_vec(), entry);
    }

    /// How many entries were described.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True if nothing was described.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn entry(mut self, path: impl AsRef<[u8]>, entry: Entry) -> Self {
        self.entries.insert(path.as_ref().to_vec(), entry);
        self
    }

    /// A git-fast-import(1) stream that commits this to `main`, without parents.
    pub(super) fn import_stream(&self) -> Vec<u8> {
        let mut stream = format!(
            "commit refs/heads/main\n\
             committer Test <test@example.org> {} +0000\n\
             data 5\nTest\n\n",
            super::COMMIT_TIME
        )
        .into_bytes();
        for (path, entry) in &self.entries {
            let (mode, data) = match entry {
                Entry::File { executable, data } => {
                    (if *executable { "100755" } else { "100644" }, data)
                }
                Entry::Symlink(target) => ("120000", target),
                Entry::Gitlink(commit) => {
                    modify(&mut stream, "160000", commit, path);
                    continue;
                }
            };
            modify(&mut stream, mode, "inline", path);
            stream.extend_from_slice(format!("data {}\n", data.len()).as_bytes());
            stream.extend_from_slice(data);
            stream.push(b'\n');
        }
        stream
    }
}

/// `M mode what path LF`, the path quoted as in C.
fn modify(stream: &mut Vec<u8>, mode: &str, what: &str, path: &[u8]) {
    stream.extend_from_slice(format!("M {mode} {what} \"").as_bytes());
    for &byte in path {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                stream.push(byte);
            }
            _ => stream.extend_from_slice(format!("\\{byte:03o}").as_bytes()),
        }
    }
    stream.extend_from_slice(b"\"\n");
}

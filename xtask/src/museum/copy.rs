//! The copy of the tree that bugs are planted into.
//!
//! It lies below `target/museum`, always at the same place, and so do its build products: what did not
//! change since the last run is not built again. Cargo tells by a file's time whether it changed, so
//! a file is only written where its content differs, and then it gets the time of the writing: a
//! planted file, and one put back, are both newer than anything built before.

use std::{
    collections::BTreeSet,
    env,
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::piece::Piece;

/// A copy of the tree.
pub struct Copy {
    checkout: PathBuf,
    /// `target/museum`.
    folder: PathBuf,
    /// Locked as long as this lives: two runs would plant into each other's copy.
    _alone: File,
}

fn wrong(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}

impl Copy {
    /// Copies the checkout in the current folder, or brings an older copy up to date.
    pub fn make() -> Result<Self, String> {
        let checkout = env::current_dir().map_err(|error| format!("no current folder: {error}"))?;
        let folder = checkout.join("target/museum");
        let tree = folder.join("tree");
        fs::create_dir_all(&tree).map_err(|error| wrong(&tree, &error))?;
        let alone = File::create(folder.join("lock")).map_err(|error| wrong(&folder, &error))?;
        if alone.try_lock().is_err() {
            return Err("another run is at work in target/museum".to_owned());
        }
        let copy = Self {
            checkout,
            folder,
            _alone: alone,
        };
        let mut wanted = BTreeSet::new();
        for file in copy.list()? {
            // One that is deleted and not committed yet is listed and not there.
            if copy.checkout.join(&file).is_file() {
                copy.bring(&file)?;
                wanted.insert(file);
            }
        }
        let mut there = Vec::new();
        walk(&copy.tree(), Path::new(""), &mut there)?;
        for file in there.into_iter().filter(|file| !wanted.contains(file)) {
            let path = copy.tree().join(file);
            fs::remove_file(&path).map_err(|error| wrong(&path, &error))?;
        }
        copy.sow("museum/target/debug", "debug")?;
        copy.sow("museum/loom/release", "../loom-tests/target/release")?;
        Ok(copy)
    }

    /// The copy's root.
    pub fn tree(&self) -> PathBuf {
        self.folder.join("tree")
    }

    /// A place for build products and logs.
    pub fn place(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Plants a bug.
    pub fn plant(&self, piece: &Piece) -> Result<(), String> {
        let mut child = Command::new("git")
            .args(["apply", "--whitespace=nowarn", "-"])
            .current_dir(self.tree())
            // The copy lies inside the checkout and is none of its folders.
            .env("GIT_CEILING_DIRECTORIES", &self.folder)
            .env_remove("GIT_DIR")
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("git: {error}"))?;
        if let Some(mut input) = child.stdin.take() {
            // What git did not read it has refused: its status tells.
            let _ = input.write_all(piece.diff.as_bytes());
        }
        let output = child
            .wait_with_output()
            .map_err(|error| format!("git: {error}"))?;
        let same = |file: &PathBuf| {
            fs::read(self.tree().join(file)).ok() == fs::read(self.checkout.join(file)).ok()
        };
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("it does not apply: {said}"));
        }
        if piece.files.iter().any(same) {
            return Err("it was applied and changed nothing".to_owned());
        }
        Ok(())
    }

    /// Makes the copy what it was before [`Copy::plant`].
    pub fn restore(&self, piece: &Piece) -> Result<(), String> {
        piece.files.iter().try_for_each(|file| self.bring(file))
    }

    /// Brings one file up to date.
    fn bring(&self, file: &Path) -> Result<(), String> {
        let (from, to) = (self.checkout.join(file), self.tree().join(file));
        let content = fs::read(&from).map_err(|error| wrong(&from, &error))?;
        if fs::read(&to).is_ok_and(|old| old == content) {
            return Ok(());
        }
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder).map_err(|error| wrong(folder, &error))?;
        }
        fs::write(&to, content).map_err(|error| wrong(&to, &error))
    }

    /// The files that make up the checkout: git's, and those that are new to it; without git all but
    /// build products.
    fn list(&self) -> Result<Vec<PathBuf>, String> {
        let output = Command::new("git")
            .args([
                "ls-files",
                "-z",
                "--cached",
                "--others",
                "--exclude-standard",
            ])
            .current_dir(&self.checkout)
            .output();
        if let Ok(output) = output
            && output.status.success()
        {
            let text = String::from_utf8_lossy(&output.stdout);
            let names = text.split('\0').filter(|name| !name.is_empty());
            return Ok(names.map(PathBuf::from).collect());
        }
        let mut files = Vec::new();
        walk(&self.checkout, Path::new(""), &mut files)?;
        Ok(files)
    }

    /// Begins a new folder of build products with what an ordinary build has made of the packages
    /// from the registry. What is ours is built anew: the copy has another path.
    fn sow(&self, to: &str, from: &str) -> Result<(), String> {
        let target = self.checkout.join("target");
        let (from, to) = (target.join(from), target.join(to));
        if to.exists() || !from.exists() {
            return Ok(());
        }
        let ours = |name: &str| {
            ["bonsai", "libbonsai", "xtask", "sim-"]
                .iter()
                .any(|prefix| name.starts_with(prefix))
        };
        for part in [".fingerprint", "build", "deps"] {
            let (from, to) = (from.join(part), to.join(part));
            fs::create_dir_all(&to).map_err(|error| wrong(&to, &error))?;
            let Ok(entries) = fs::read_dir(&from) else {
                continue;
            };
            let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
            let wanted: Vec<PathBuf> = names
                // Of programs only the parts that go into others.
                .filter(|name| part != "deps" || name.contains('.'))
                .filter(|name| !ours(name))
                .map(|name| from.join(name))
                .collect();
            for some in wanted.chunks(200) {
                // The times count: they tell cargo that nothing changed.
                let copied = Command::new("cp")
                    .args(["-a", "--reflink=auto", "-t"])
                    .arg(&to)
                    .args(some)
                    .status();
                if !copied.is_ok_and(|status| status.success()) {
                    // Then these are built.
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// All files below `root/path`, but for build products and git's own.
fn walk(root: &Path, path: &Path, files: &mut Vec<PathBuf>) -> Result<(), String> {
    let folder = root.join(path);
    for entry in fs::read_dir(&folder).map_err(|error| wrong(&folder, &error))? {
        let entry = entry.map_err(|error| wrong(&folder, &error))?;
        let kind = entry.file_type().map_err(|error| wrong(&folder, &error))?;
        let name = entry.file_name();
        let path = path.join(&name);
        match kind.is_dir() {
            true if name == "target" || name == ".git" => {}
            true => walk(root, &path, files)?,
            false => files.push(path),
        }
    }
    Ok(())
}

//! The built command with a home of its own, and mounts that never outlive their test.
//! May import: process.
//!
//! Always holds: nothing of the user's configuration, credentials, state or cache is used; a
//! mount made here is gone when its guard is.

use std::{
    ffi::{OsStr, OsString},
    fs,
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use crate::process::{Process, is_forking, mount_at, processes_with, within};

/// How long anything may take that should take no time at all.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the folder of a [`Bonsai`] has.
const FOLDERS: [&str; 5] = ["home", "state", "cache", "mnt", "logs"];

/// A user and group to run as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// The user's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
}

impl User {
    /// Debian's `nobody` and `nogroup`.
    pub const NOBODY: User = User {
        uid: 65534,
        gid: 65534,
    };
}

/// What a command said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// The command, with folders of its own for home, state, cache and mount points.
pub struct Bonsai {
    binary: PathBuf,
    folder: TempDir,
    user: Option<User>,
    environment: Vec<(OsString, OsString)>,
    prefix: Vec<OsString>,
}

impl Bonsai {
    /// The command at `binary`, with new folders. Panics without `/dev/fuse`: these tests can
    /// show nothing without it.
    pub fn new(binary: impl AsRef<Path>) -> Self {
        assert!(
            Path::new("/dev/fuse").exists(),
            "there is no /dev/fuse: load the kernel module (modprobe fuse), or give the container \
             that device (docker run --device /dev/fuse --cap-add SYS_ADMIN)"
        );
        let folder = tempfile::Builder::new()
            .prefix("bonsai-test-")
            .tempdir()
            .expect("a temporary folder");
        let bonsai = Self {
            binary: binary.as_ref().to_owned(),
            folder,
            user: None,
            environment: Vec::new(),
            prefix: Vec::new(),
        };
        for dir in FOLDERS {
            fs::create_dir(bonsai.dir(dir)).expect("a folder");
            // As the command wants its state: for the owner only.
            let only_owner = std::os::unix::fs::PermissionsExt::from_mode(0o700);
            fs::set_permissions(bonsai.dir(dir), only_owner).expect("permissions set");
        }
        bonsai
    }

    /// The same for another user, with a copy of the binary that this user can reach. Needs root.
    pub fn as_user(binary: impl AsRef<Path>, user: User) -> Self {
        let mut bonsai = Self::new(&binary);
        let copy = bonsai.dir("bonsai");
        // By another process: a child that some other test's thread starts meanwhile would inherit
        // a descriptor open for writing, and then the copy could not be run (ETXTBSY).
        let copied = Command::new("cp").arg(binary.as_ref()).arg(&copy).status();
        assert!(copied.expect("cp starts").success(), "the binary copied");
        bonsai.binary = copy;
        for dir in FOLDERS.into_iter().chain([""]) {
            chown(bonsai.dir(dir), Some(user.uid), Some(user.gid))
                .expect("only root can test as another user");
        }
        bonsai.user = Some(user);
        bonsai
    }

    /// A variable in the environment of every command from now on.
    pub fn set(&mut self, key: impl Into<OsString>, value: impl Into<OsString>) {
        self.environment.push((key.into(), value.into()));
    }

    /// The user's Git configuration from now on.
    pub fn set_git_config(&self, text: &str) {
        let file = self.home().join(".gitconfig");
        fs::write(&file, text).expect("written");
        if let Some(user) = self.user {
            chown(file, Some(user.uid), Some(user.gid)).expect("given to the user");
        }
    }

    /// Words before the binary's path from now on (`unshare --mount …`). They run as the user of
    /// the test, and the command after them as the user of this home.
    pub fn set_prefix(&mut self, words: &[&str]) {
        self.prefix = words.iter().map(OsString::from).collect();
    }

    /// The state folder.
    pub fn state(&self) -> PathBuf {
        self.dir("state")
    }

    /// The cache folder.
    pub fn cache(&self) -> PathBuf {
        self.dir("cache")
    }

    /// The home folder.
    pub fn home(&self) -> PathBuf {
        self.dir("home")
    }

    /// A folder for mount points and whatever else a test needs, owned by the user.
    pub fn scratch(&self) -> PathBuf {
        self.dir("mnt")
    }

    fn logs(&self) -> PathBuf {
        self.dir("logs")
    }

    fn dir(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The command with its environment, and `args` to follow.
    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut words = self.prefix.clone();
        if let Some(user) = self.user.filter(|_| !words.is_empty()) {
            words.extend([
                OsString::from("setpriv"),
                format!("--reuid={}", user.uid).into(),
                format!("--regid={}", user.gid).into(),
                "--clear-groups".into(),
            ]);
        }
        words.push(self.binary.clone().into_os_string());
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .args(args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home())
            .env("BONSAI_STATE_DIR", self.state())
            .env("BONSAI_CACHE_DIR", self.cache())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("RUST_BACKTRACE", "1")
            .current_dir("/")
            .stdin(Stdio::null());
        // Where a coverage build writes its counts.
        if let Some(profile) = std::env::var_os("LLVM_PROFILE_FILE") {
            command.env("LLVM_PROFILE_FILE", profile);
        }
        for (key, value) in &self.environment {
            command.env(key, value);
        }
        if let Some(user) = self.user.filter(|_| self.prefix.is_empty()) {
            command.uid(user.uid).gid(user.gid);
        }
        command
    }

    /// Runs the command to its end.
    pub fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Said {
        let output = self.command(args).output();
        output.expect("the binary starts").into()
    }

    /// Runs the command; what it printed. Panics if it fails.
    pub fn ok<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> String {
        let mut command = self.command(args);
        let said = Said::from(command.output().expect("the binary starts"));
        assert_eq!(said.code, Some(0), "{command:?} says {said:?}");
        said.out
    }

    /// What another program says to `path`, run as the user of this home.
    pub fn said_by(&self, program: &[&str], path: &Path) -> Said {
        let mut command = Command::new(program[0]);
        command
            .args(&program[1..])
            .arg(path)
            .current_dir("/")
            .stdin(Stdio::null());
        if let Some(user) = self.user {
            command.uid(user.uid).gid(user.gid);
        }
        command.output().expect("the program starts").into()
    }

    /// Mounts `source` at a new directory. Panics if that fails.
    pub fn mount(&self, source: impl AsRef<OsStr>, options: &[&str]) -> Mounted<'_> {
        let number = fs::read_dir(self.scratch())
            .expect("the scratch folder")
            .count();
        let dir = self.scratch().join(format!("m{number}"));
        self.mount_at(source, &dir, options)
    }

    /// Mounts `source` at `dir`, with a log that [`Bonsai::assert_nothing_left`] looks at unless `options` name another. Panics if that fails.
    pub fn mount_at(&self, source: impl AsRef<OsStr>, dir: &Path, options: &[&str]) -> Mounted<'_> {
        let mut guard = self.guard(dir);
        let number = fs::read_dir(self.logs()).expect("a folder").count();
        let log = self.logs().join(number.to_string());
        let mut options = options.to_vec();
        if !options.contains(&"--log-file") {
            options.extend(["--log-file", log.to_str().expect("a plain path")]);
        }
        let said = self.try_mount(source, dir, &options);
        assert_eq!(said.code, Some(0), "bonsai mount says {said:?}");
        guard.line = said.out;
        guard
    }

    /// Tries to mount `source` at `dir`. If that may work, have a [`Bonsai::guard`] first.
    pub fn try_mount(&self, source: impl AsRef<OsStr>, dir: &Path, options: &[&str]) -> Said {
        let mut command = self.command(["mount"]);
        command.args(options).arg(source).arg(dir);
        command.output().expect("the binary starts").into()
    }

    /// Tries to unmount `dir`.
    pub fn try_unmount(&self, dir: &Path, options: &[&str]) -> Said {
        let mut command = self.command(["unmount"]);
        command.args(options).arg(dir);
        command.output().expect("the binary starts").into()
    }

    /// A guard for a mount at `dir` that the test makes itself.
    pub fn guard(&self, dir: &Path) -> Mounted<'_> {
        Mounted {
            bonsai: self,
            dir: dir.to_owned(),
            line: String::new(),
        }
    }

    /// Processes that belong to this home: daemons, and commands still running.
    pub fn processes(&self) -> Vec<Process> {
        processes_with("BONSAI_STATE_DIR", &self.state())
    }

    /// Panics unless every process of this home ends soon, none of its mounts panicked and the state folder is empty.
    pub fn assert_nothing_left(&self) {
        let gone = within(PATIENCE, || self.processes().is_empty());
        assert!(gone, "still running: {:?}", self.processes());
        let state: Vec<PathBuf> = fs::read_dir(self.state())
            .expect("the state folder")
            .map(|entry| entry.expect("an entry").path())
            .collect();
        assert!(state.is_empty(), "left in the state folder: {state:?}");
        for log in fs::read_dir(self.logs()).expect("a folder") {
            let log = fs::read(log.expect("an entry").path()).expect("readable");
            let log = String::from_utf8_lossy(&log);
            assert!(!log.contains("panicked"), "{log}");
        }
    }
}

impl Drop for Bonsai {
    /// As a last resort, ends what the guards of the mounts could not.
    fn drop(&mut self) {
        for process in self.processes() {
            process.signal(rustix::process::Signal::KILL);
        }
    }
}

/// A mount, which is gone when this is dropped.
pub struct Mounted<'a> {
    bonsai: &'a Bonsai,
    dir: PathBuf,
    line: String,
}

impl Mounted<'_> {
    /// Where it is mounted.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A path below it.
    pub fn path(&self, below: impl AsRef<Path>) -> PathBuf {
        self.dir.join(below)
    }

    /// The line that `bonsai mount` printed.
    pub fn line(&self) -> &str {
        &self.line
    }

    /// What `bonsai status --json` says of it.
    pub fn status(&self) -> String {
        let args = [
            OsStr::new("status"),
            OsStr::new("--json"),
            self.dir.as_os_str(),
        ];
        self.bonsai.ok(args)
    }

    /// The background process.
    pub fn daemon(&self) -> Process {
        let status = self.status();
        let number = number_after(&status, "\"pid\"")
            .unwrap_or_else(|| panic!("status without a pid: {status}"));
        Process(u32::try_from(number).expect("a process number"))
    }

    /// Unmounts, and panics unless mount and process are gone.
    pub fn unmount(self) {
        let daemon = self.daemon();
        // What this test has closed may be open in another one's child for a moment.
        assert!(within(PATIENCE, || !is_forking()), "a child never runs");
        let said = self.bonsai.try_unmount(&self.dir, &[]);
        assert_eq!(said.code, Some(0), "bonsai unmount says {said:?}");
        assert!(mount_at(&self.dir).is_none(), "still mounted after unmount");
        // It has let go of everything; the kernel may be a moment behind in clearing it away.
        let gone = within(PATIENCE, || !daemon.is_alive());
        assert!(gone, "the process outlives unmount");
    }

    /// Kills the daemon as a crash would, and waits until it is gone. The mount stays behind.
    pub fn kill(&self) {
        let daemon = self.daemon();
        assert!(daemon.signal(rustix::process::Signal::KILL));
        assert!(within(PATIENCE, || !daemon.is_alive()), "survives SIGKILL");
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        if mount_at(&self.dir).is_none() {
            return;
        }
        // However it ends: a lazy unmount makes every later one find nothing.
        let _ = self.bonsai.try_unmount(&self.dir, &["--force"]);
        while mount_at(&self.dir).is_some() {
            let mut lazily = match self.bonsai.user {
                None => Command::new("umount"),
                Some(user) => {
                    let mut command = Command::new("fusermount3");
                    command.arg("-u").uid(user.uid).gid(user.gid);
                    command
                }
            };
            lazily
                .arg(if self.bonsai.user.is_some() {
                    "-z"
                } else {
                    "-l"
                })
                .arg(&self.dir)
                .stderr(Stdio::null());
            if !lazily.status().is_ok_and(|status| status.success()) {
                break;
            }
        }
    }
}

/// The first whole number after `key` in a JSON text.
fn number_after(json: &str, key: &str) -> Option<u64> {
    let (_, rest) = json.split_once(key)?;
    let rest = rest.trim_start().strip_prefix(':')?.trim_start();
    let end = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    rest[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_in_json() {
        assert_eq!(number_after("{\"a\":1,\"pid\" : 42}", "\"pid\""), Some(42));
        assert_eq!(number_after("{\"pid\":null}", "\"pid\""), None);
        assert_eq!(number_after("{}", "\"pid\""), None);
    }
}

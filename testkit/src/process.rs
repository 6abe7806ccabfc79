//! Processes and mounts as `/proc` shows them, and waiting with a bound. May import: rustix.

use std::{
    fs,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// The signal that no process survives.
pub const KILL: Signal = Signal::KILL;

/// Waits until `done`, at most `limit`; true if it came to pass.
pub fn within(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    loop {
        if done() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// A process by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process(pub u32);

impl Process {
    /// True unless it is gone, or a zombie that nobody has waited for yet. A process whose first
    /// thread has ended lives as long as any other does, and so do its descriptors.
    pub fn is_alive(self) -> bool {
        let Ok(threads) = fs::read_dir(format!("/proc/{}/task", self.0)) else {
            return false;
        };
        threads
            .filter_map(|thread| fs::read(thread.ok()?.path().join("stat")).ok())
            .any(|stat| {
                let stat = String::from_utf8_lossy(&stat);
                // The state follows the name, which is in parentheses and may hold any.
                let state = stat.rsplit(") ").next().unwrap_or_default();
                !state.starts_with(['Z', 'X'])
            })
    }

    /// Sends a signal; false if there is no such process.
    pub fn signal(self, signal: Signal) -> bool {
        let number = i32::try_from(self.0).expect("a process number");
        let pid = Pid::from_raw(number).expect("not process 0");
        kill_process(pid, signal).is_ok()
    }

    /// The memory it has resident now, in bytes.
    pub fn resident_memory(self) -> Option<u64> {
        self.memory("VmRSS:")
    }

    /// The most memory it ever had resident, in bytes.
    pub fn peak_memory(self) -> Option<u64> {
        self.memory("VmHWM:")
    }

    fn memory(self, key: &str) -> Option<u64> {
        let status = self.field("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kibibytes * 1024)
    }

    /// What its open descriptors point to.
    pub fn descriptors(self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(format!("/proc/{}/fd", self.0)) else {
            return Vec::new();
        };
        let mut all: Vec<PathBuf> = entries
            .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
            .collect();
        all.sort();
        all
    }

    /// Its working directory.
    pub fn working_dir(self) -> Option<PathBuf> {
        fs::read_link(format!("/proc/{}/cwd", self.0)).ok()
    }

    /// Its session's number.
    pub fn session(self) -> Option<u32> {
        let stat = self.field("stat")?;
        // After the name: state, parent, group, session.
        stat.rsplit(") ").next()?.split(' ').nth(3)?.parse().ok()
    }

    fn field(self, name: &str) -> Option<String> {
        let bytes = fs::read(format!("/proc/{}/{name}", self.0)).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// The bytes of every process's command line and environment that can be read, to look for what
/// must not be there.
pub fn all_command_lines() -> Vec<(u32, Vec<u8>)> {
    let entries = fs::read_dir("/proc").expect("/proc is there");
    entries
        .filter_map(|entry| {
            let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
            Some((pid, fs::read(format!("/proc/{pid}/cmdline")).ok()?))
        })
        .collect()
}

/// The processes whose environment holds `variable` with this value.
pub fn processes_with(variable: &str, value: &Path) -> Vec<Process> {
    let mut wanted = format!("{variable}=").into_bytes();
    wanted.extend_from_slice(value.as_os_str().as_encoded_bytes());
    let entries = fs::read_dir("/proc").expect("/proc is there");
    entries
        .filter_map(|entry| {
            let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
            environment
                .split(|&byte| byte == 0)
                .any(|line| line == wanted)
                .then_some(Process(pid))
        })
        .filter(|process| process.is_alive())
        .collect()
}

/// Whether a thread of this process has forked a child that does not run its program yet. Until then the
/// child has copies of all open files, those of other threads' tests too, though they are closed on exec.
pub fn is_forking() -> bool {
    let Ok(own) = fs::read_link("/proc/self/exe") else {
        return false;
    };
    let parent = format!("PPid:\t{}\n", std::process::id());
    let entries = fs::read_dir("/proc").expect("/proc is there");
    entries.flatten().any(|entry| {
        let path = entry.path();
        let is_child =
            fs::read_to_string(path.join("status")).is_ok_and(|status| status.contains(&parent));
        is_child && fs::read_link(path.join("exe")).is_ok_and(|exe| exe == own)
    })
}

/// One line of `/proc/self/mountinfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountPoint {
    /// Where.
    pub path: PathBuf,
    /// The file system, with its subtype after a dot.
    pub kind: String,
    /// What was mounted, as the file system names it.
    pub source: String,
    /// The options of the mount and of the file system.
    pub options: Vec<String>,
}

/// All mounts that this process sees, the oldest first.
pub fn mount_points() -> Vec<MountPoint> {
    let table = fs::read("/proc/self/mountinfo").expect("/proc is there");
    table
        .split(|&byte| byte == b'\n')
        .filter_map(|line| {
            let fields: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
            // proc(5): six fields, optional ones up to a dash, then type, source, options.
            let dash = fields.iter().position(|field| *field == b"-")?;
            let text = |index: usize| {
                let field = fields.get(index).copied().unwrap_or_default();
                String::from_utf8_lossy(field).into_owned()
            };
            let options = format!("{},{}", text(5), text(dash + 3));
            Some(MountPoint {
                path: PathBuf::from(std::ffi::OsString::from_vec(unescaped(fields[4]))),
                kind: text(dash + 1),
                source: text(dash + 2),
                options: options.split(',').map(str::to_owned).collect(),
            })
        })
        .collect()
}

/// The mount on top at `dir`, if it is a mount point. Works for a dead FUSE mount too.
pub fn mount_at(dir: &Path) -> Option<MountPoint> {
    mount_points()
        .into_iter()
        .rev()
        .find(|mount| mount.path == dir)
}

/// Blanks, line ends and backslashes are octal in `/proc`'s tables.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let octal = (first == b'\\')
            .then(|| std::str::from_utf8(tail.get(..3)?).ok())
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octal {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn octal_escapes_in_mount_tables() {
        assert_eq!(unescaped(b"/a\\040b\\134c\\012"), b"/a b\\c\n");
        assert_eq!(unescaped(b"/plain\\"), b"/plain\\");
    }

    #[test]
    fn the_root_is_mounted_and_a_temporary_folder_is_not() {
        assert!(mount_at(Path::new("/proc")).is_some());
        let folder = tempfile::tempdir().expect("a folder");
        assert!(mount_at(folder.path()).is_none());
    }

    #[test]
    fn a_process_lives_until_it_is_killed() {
        let folder = tempfile::tempdir().expect("a folder");
        // Ends by itself when its input does: with this test at the latest.
        let mut child = Command::new("cat")
            .env("TESTKIT_MARK", folder.path())
            .stdin(Stdio::piped())
            .spawn()
            .expect("cat starts");
        let process = Process(child.id());
        assert!(process.is_alive());
        let limit = Duration::from_secs(10);
        let found = || processes_with("TESTKIT_MARK", folder.path());
        assert!(within(limit, || found() == [process]), "by its environment");
        let measured = || process.peak_memory().is_some_and(|bytes| bytes > 4096);
        assert!(within(limit, measured), "its memory");
        assert!(process.resident_memory().is_some_and(|bytes| bytes > 4096));
        assert!(process.signal(Signal::KILL));
        assert!(within(limit, || !process.is_alive()));
        child.wait().expect("it was ours");
        assert!(found().is_empty());
    }

    #[test]
    fn waiting_ends() {
        assert!(!within(Duration::from_millis(20), || false));
        assert!(within(Duration::ZERO, || true));
    }
}

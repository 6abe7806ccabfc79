//! The kernel's side of a mount: /dev/fuse, mount(2), and fusermount3 for ordinary users.
//! May import: mountinfo; std, nix, rustix.
//!
//! Why not fuser's own mounting: when its session ends it unmounts by path whatever lies there by
//! then, be it someone else's mount; and as an ordinary user it only knows mount points in UTF-8.
//! Here nothing is unmounted that [`detach`]'s caller did not ask for.

use std::{
    fmt,
    fs::{self, File},
    io::{self, IoSliceMut},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
    unistd::{getegid, geteuid},
};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use super::error::MountError;

const DEVICE: &str = "/dev/fuse";
const HELPER: &str = "fusermount3";

/// Who may use a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The user who mounted it.
    Owner,
    /// Every user, as far as the files' modes allow (`allow_other`).
    Everyone,
}

/// Opens /dev/fuse, and checks that this user may mount at all.
///
/// # Errors
/// [`MountError::Device`], [`MountError::NoHelper`] or [`MountError::AllowOther`].
pub fn preflight(access: Access) -> Result<(), MountError> {
    if geteuid().is_root() {
        return open_device().map(drop);
    }
    let uid = geteuid().as_raw();
    if helper().is_none() {
        return Err(MountError::NoHelper { uid });
    }
    // fusermount3 opens it, some versions with the user's rights: that is for it to say.
    fs::metadata(DEVICE).map_err(no_device)?;
    let allowed = || fs::read("/etc/fuse.conf").is_ok_and(|text| allows_other(&text));
    if access == Access::Everyone && !allowed() {
        return Err(MountError::AllowOther { uid });
    }
    Ok(())
}

/// True if this text of `/etc/fuse.conf` lets users give `allow_other` (mount.fuse3(8)).
fn allows_other(conf: &[u8]) -> bool {
    conf.split(|b| *b == b'\n')
        .any(|line| line.trim_ascii() == b"user_allow_other")
}

fn open_device() -> Result<File, MountError> {
    File::options()
        .read(true)
        .write(true)
        .open(DEVICE)
        .map_err(no_device)
}

fn no_device(error: io::Error) -> MountError {
    MountError::Device {
        reason: error.to_string(),
    }
}

/// True if this process may open /dev/fuse, which threads with a queue of their own need.
pub fn device_opens() -> bool {
    open_device().is_ok()
}

/// The helper's path, from `PATH` or where systems keep it.
fn helper() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/bin", "/bin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(HELPER))
        .find(|file| file.is_file())
}

/// Mounts a FUSE filesystem on `dir`: read-only, `nosuid`, `nodev`, with the kernel's permission
/// checks, of type `fuse.bonsai`. Root mounts by itself, others through fusermount3. Gives the
/// descriptor that the kernel's requests come from; until they are answered, whoever looks into
/// `dir` waits.
///
/// # Errors
/// [`MountError::Device`], [`MountError::NoHelper`] or [`MountError::Refused`].
pub fn attach(dir: &Path, source: &str, access: Access) -> Result<OwnedFd, MountError> {
    let source = source_name(source);
    if !geteuid().is_root() {
        return attach_by_helper(dir, &source, access);
    }
    let device = open_device()?;
    let mut options = format!(
        "fd={},rootmode=40000,user_id={},group_id={},default_permissions,subtype=bonsai",
        device.as_raw_fd(),
        geteuid(),
        getegid(),
    );
    if access == Access::Everyone {
        options.push_str(",allow_other");
    }
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    match mount(
        Some(source.as_str()),
        dir,
        Some("fuse"),
        flags,
        Some(options.as_str()),
    ) {
        Ok(()) => Ok(device.into()),
        // Root without the right to mount, as in a container.
        Err(Errno::EPERM) => attach_by_helper(dir, &source, access),
        Err(error) => Err(refused(dir, error.desc())),
    }
}

fn refused(dir: &Path, reason: impl Into<String>) -> MountError {
    MountError::Refused {
        dir: dir.to_owned(),
        reason: reason.into(),
    }
}

/// The name that `mount` and `df` show: without what separates mount options.
fn source_name(source: &str) -> String {
    let mut name = String::new();
    for c in source.chars().take(256) {
        match c {
            ',' => name.push_str("%2C"),
            '\\' => name.push_str("%5C"),
            c if c.is_control() => name.push('?'),
            c => name.push(c),
        }
    }
    name
}

/// fusermount3 sends the descriptor over the socket whose number it finds in `_FUSE_COMMFD`. That
/// socket is its standard input, so no descriptor has to be let through by hand.
fn attach_by_helper(dir: &Path, source: &str, access: Access) -> Result<OwnedFd, MountError> {
    let helper = helper().ok_or(MountError::NoHelper {
        uid: geteuid().as_raw(),
    })?;
    let failed = |error: io::Error| refused(dir, format!("{HELPER}: {error}"));
    let (ours, theirs) = UnixStream::pair().map_err(failed)?;
    let mut options = format!("ro,nosuid,nodev,default_permissions,fsname={source},subtype=bonsai");
    if access == Access::Everyone {
        options.push_str(",allow_other");
    }
    let child = Command::new(helper)
        .args(["-o", &options, "--"])
        .arg(dir)
        .env("_FUSE_COMMFD", "0")
        .env("LC_ALL", "C")
        .current_dir("/")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let received = receive_descriptor(&ours);
    let output = child.wait_with_output().map_err(failed)?;
    match received {
        Ok(Some(fd)) if output.status.success() => Ok(fd),
        Ok(_) => Err(helper_refused(dir, &output.stderr)),
        Err(error) => Err(failed(error)),
    }
}

/// What the helper's complaint means.
fn helper_refused(dir: &Path, stderr: &[u8]) -> MountError {
    let reason = said(stderr);
    if reason.contains("failed to open /dev/fuse") || reason.contains("device not found") {
        MountError::Device { reason }
    } else if reason.contains("no write access to mountpoint") {
        MountError::NotAllowed {
            dir: dir.to_owned(),
            reason,
        }
    } else {
        refused(dir, reason)
    }
}

fn receive_descriptor(socket: &UnixStream) -> io::Result<Option<OwnedFd>> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0u8];
    // Ends with nothing if the helper closes its side, as it does when it fails.
    recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut byte)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let fd = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    Ok(fd)
}

/// How to unmount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detach {
    /// Only if nobody uses it.
    Idle,
    /// At once, and for those who use it when they end (`MNT_DETACH`).
    Lazy,
}

/// Why a mount is still there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DetachError {
    /// Someone uses it.
    Busy,
    /// Nothing is mounted there.
    NotMounted,
    /// Anything else, in the system's words.
    Other(String),
}

impl fmt::Display for DetachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => f.write_str("it is busy"),
            Self::NotMounted => f.write_str("it is not mounted"),
            Self::Other(reason) => f.write_str(reason),
        }
    }
}

/// Unmounts the uppermost mount at `dir`. May wait for the process that serves it.
///
/// # Errors
/// See [`DetachError`].
pub fn detach(dir: &Path, how: Detach) -> Result<(), DetachError> {
    let mut flags = MntFlags::UMOUNT_NOFOLLOW;
    if how == Detach::Lazy {
        flags |= MntFlags::MNT_DETACH;
    }
    match umount2(dir, flags) {
        Ok(()) => Ok(()),
        Err(Errno::EBUSY) => Err(DetachError::Busy),
        Err(Errno::EINVAL | Errno::ENOENT) => Err(DetachError::NotMounted),
        Err(Errno::EPERM) => detach_by_helper(dir, how),
        Err(error) => Err(DetachError::Other(error.desc().to_owned())),
    }
}

fn detach_by_helper(dir: &Path, how: Detach) -> Result<(), DetachError> {
    let helper =
        helper().ok_or_else(|| DetachError::Other(format!("{HELPER} is not installed")))?;
    let mut command = Command::new(helper);
    command.arg("-u");
    if how == Detach::Lazy {
        command.arg("-z");
    }
    let output = command
        .arg("--")
        .arg(dir)
        .env("LC_ALL", "C")
        .current_dir("/")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| DetachError::Other(format!("{HELPER}: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = said(&output.stderr);
    Err(if said.contains("busy") {
        DetachError::Busy
    } else if said.contains("not found in /etc/mtab") {
        DetachError::NotMounted
    } else {
        DetachError::Other(said)
    })
}

/// The last line that the helper printed.
fn said(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let line = text.lines().rfind(|line| !line.trim().is_empty());
    line.map_or_else(
        || format!("{HELPER} said nothing"),
        |line| line.trim().to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_names_carry_no_option() {
        assert_eq!(
            source_name("https://x.org/a,allow_other\\b\n"),
            "https://x.org/a%2Callow_other%5Cb?"
        );
        assert_eq!(source_name(&"x".repeat(9000)).len(), 256);
    }

    #[test]
    fn the_option_counts_only_on_a_line_by_itself() {
        assert!(allows_other(b"mount_max = 9\n  user_allow_other \n"));
        assert!(!allows_other(
            b"#user_allow_other\n# user_allow_other must\n"
        ));
        assert!(!allows_other(b""));
    }

    #[test]
    fn the_helpers_last_words_are_kept() {
        assert_eq!(said(b"a\nfusermount3: no\n\n"), "fusermount3: no");
        assert_eq!(said(b""), "fusermount3 said nothing");
    }

    #[test]
    fn the_helpers_complaints_are_told_apart() {
        let refused = |text: &str| helper_refused(Path::new("/m"), text.as_bytes());
        let device = refused("fusermount3: failed to open /dev/fuse: Permission denied\n");
        assert!(matches!(device, MountError::Device { .. }), "{device}");
        let missing = "fusermount3: fuse device not found, try 'modprobe fuse' first\n";
        assert!(matches!(refused(missing), MountError::Device { .. }));
        let access = refused("fusermount3: user has no write access to mountpoint /m\n");
        assert!(matches!(access, MountError::NotAllowed { .. }), "{access}");
        let other = refused("fusermount3: mount failed: Operation not permitted\n");
        assert!(matches!(other, MountError::Refused { .. }), "{other}");
    }

    #[test]
    fn nothing_is_unmounted_where_nothing_is_mounted() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        assert_eq!(
            detach(dir.path(), Detach::Idle),
            Err(DetachError::NotMounted)
        );
        assert_eq!(
            detach(&dir.path().join("gone"), Detach::Lazy),
            Err(DetachError::NotMounted)
        );
    }
}

//! Everything that can go wrong with a mount, its mount point and its state.
//! May import: repo's error; std, thiserror.
//!
//! Each variant is a row of `docs/ERRORS.md`; the exit code and the remedy stand in `cli`.

use std::path::PathBuf;

use super::names::printable;
use crate::repo::RepoError;

/// Why a mount could not be made, found or ended. Messages name the thing and take one line.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// The directory above the mount point is not there.
    #[error("the directory above {} does not exist", printable(.dir))]
    ParentMissing {
        /// The mount point.
        dir: PathBuf,
    },
    /// The mount point is a file, or something else that is no directory.
    #[error("{} is not a directory", printable(.dir))]
    NotADirectory {
        /// The mount point.
        dir: PathBuf,
    },
    /// The user may not mount there.
    #[error("no permission to mount at {}: {reason}", printable(.dir))]
    NotAllowed {
        /// The mount point.
        dir: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The mount point can't be used for another reason.
    #[error("{} can't be used as a mount point: {reason}", printable(.dir))]
    Unusable {
        /// The mount point.
        dir: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// There is something in the mount point.
    #[error("{} is not empty", printable(.dir))]
    NotEmpty {
        /// The mount point.
        dir: PathBuf,
    },
    /// Something is mounted there, and alive.
    #[error("{} is already a mount point, of {source_name}", printable(.dir))]
    AlreadyMounted {
        /// The mount point.
        dir: PathBuf,
        /// What is mounted there.
        source_name: String,
    },
    /// Another `bonsai mount` is busy with the same directory.
    #[error("{} is being mounted by another bonsai at this moment", printable(.dir))]
    MountingNow {
        /// The mount point.
        dir: PathBuf,
    },
    /// There is no FUSE device, or it may not be opened.
    #[error("/dev/fuse can't be opened: {reason}")]
    Device {
        /// What the system said.
        reason: String,
    },
    /// An ordinary user needs the helper, and it is not there.
    #[error("fusermount3 is not installed, and user {uid} may not mount without it")]
    NoHelper {
        /// The user's number.
        uid: u32,
    },
    /// `--allow-other` is not open to users of this machine.
    #[error("--allow-other is refused to user {uid}: /etc/fuse.conf has no user_allow_other")]
    AllowOther {
        /// The user's number.
        uid: u32,
    },
    /// The kernel or the helper refused to mount.
    #[error("mounting at {} failed: {reason}", printable(.dir))]
    Refused {
        /// The mount point.
        dir: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// It was mounted, but does not answer.
    #[error("the mount at {} does not answer: {reason}", printable(.dir))]
    NoAnswer {
        /// The mount point.
        dir: PathBuf,
        /// What was seen.
        reason: String,
    },
    /// It was not mounted to follow anything.
    #[error("{} is pinned to its commit", printable(.dir))]
    Pinned {
        /// The mount point.
        dir: PathBuf,
    },
    /// `--follow` of what does not move.
    #[error("--follow needs a branch, and {name} is a tag or a commit")]
    CannotFollow {
        /// What `--ref` said.
        name: String,
    },
    /// `--transport uring` where there is none.
    #[error("there is no FUSE over io_uring here: {reason}")]
    NoUring {
        /// What is in the way.
        reason: String,
    },
    /// No mount of ours is there.
    #[error("{} is in no bonsai mount of yours", printable(.dir))]
    NotOurs {
        /// The path asked for.
        dir: PathBuf,
    },
    /// A mount of ours is there, but its process is gone.
    #[error("{} is a dead mount: its process is gone", printable(.dir))]
    Dead {
        /// The mount point.
        dir: PathBuf,
    },
    /// There is a mount of ours, but nothing of that name in it.
    #[error("no such path: {}", printable(.path))]
    NoSuchPath {
        /// The path asked for.
        path: PathBuf,
    },
    /// Something uses the mount.
    #[error("{} is busy: a process has a file open or its working directory there", printable(.dir))]
    Busy {
        /// The mount point.
        dir: PathBuf,
    },
    /// Unmounting began, but did not come to its end in time.
    #[error("{} is not gone after {seconds} seconds: {what}", printable(.dir))]
    StillThere {
        /// The mount point.
        dir: PathBuf,
        /// How long was waited.
        seconds: u64,
        /// Mount or process.
        what: String,
    },
    /// The kernel or the helper refused to unmount.
    #[error("unmounting {} failed: {reason}", printable(.dir))]
    Unmount {
        /// The mount point.
        dir: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The state folder can't be used.
    #[error("the state folder {} can't be used: {reason}", printable(.path))]
    State {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The log file can't be written.
    #[error("the log file {} can't be written: {reason}", printable(.path))]
    Log {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The background process of a mount is there but does not answer.
    #[error("the process {pid} behind {} does not answer: {reason}", printable(.dir))]
    Silent {
        /// The mount point.
        dir: PathBuf,
        /// The process.
        pid: u32,
        /// What was seen.
        reason: String,
    },
    /// A query about a path failed inside the mount.
    #[error("{} can't be asked about: {reason}", printable(.path))]
    Query {
        /// The path asked for.
        path: PathBuf,
        /// What the mount said.
        reason: String,
    },
    /// The background process could not be started, or ended without a word.
    #[error("the background process failed: {reason}")]
    Background {
        /// What was seen.
        reason: String,
    },
    /// A signal, or the end of the command that started it, ended the start.
    #[error("the start was interrupted")]
    Interrupted,
    /// The repository could not be opened.
    #[error(transparent)]
    Repo(#[from] RepoError),
}

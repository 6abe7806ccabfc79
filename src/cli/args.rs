//! The command line. May import: clap, repo. Help comes from here alone.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    mount::plan::{Follow, TransportWish},
    repo,
};

const EXAMPLES: &str = "\
Examples:
  bonsai mount https://example.org/big/repo.git ~/big
  bonsai mount --ref v1.2 . /tmp/v1.2
  bonsai prefetch ~/big/src
  bonsai mount --follow 30s https://example.org/big/repo.git ~/big
  bonsai refresh ~/big
  bonsai status ~/big
  bonsai unmount ~/big

Environment:
  BONSAI_CACHE_DIR  what is fetched is kept here (else $XDG_CACHE_HOME/bonsai, ~/.cache/bonsai)
  BONSAI_STATE_DIR  running mounts are listed here (else $XDG_RUNTIME_DIR/bonsai, /tmp/bonsai-<uid>)
  RUST_LOG          what is logged (default: warn)

Exit codes:
  0 done; 1 other errors; 2 wrong usage; 3 no such path; 4 not a repository; 5 unknown ref;
  6 empty repository; 10-16 mount point, /dev/fuse, fusermount3, unmounting; 20-31 the network
  and the server; 32 cache or state folder; 33 damage in the cache. docs/ERRORS.md lists each.";

/// Mount any Git repository in a fraction of a second, without a clone.
#[derive(Debug, Parser)]
#[command(name = "bonsai", version, after_help = EXAMPLES, max_term_width = 100)]
#[command(disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show a commit of a repository as a directory, read-only
    Mount(Mount),
    /// Take a mount away
    #[command(visible_alias = "umount")]
    Unmount(Unmount),
    /// List the mounts
    List(List),
    /// Show how a mount fares, or all of them
    Status(Status),
    /// Tell what a path in a mount is: object, commit, size, whether its content is here
    Info(Info),
    /// Fetch the content of files and directories of a mount, to have it before it is read
    Prefetch(PrefetchPaths),
    /// Look after what was fetched: how much there is, whether it is sound, what may go
    Cache(CacheArgs),
    /// Move a mount that follows its ref on to what that means now
    Refresh(Refresh),
    /// The background process of a mount; started by `bonsai mount`
    #[command(hide = true)]
    Daemon,
}

/// `bonsai mount`.
#[derive(Debug, Args)]
pub struct Mount {
    /// The repository: a work tree, a bare repository, a .git folder, or an http(s):// URL
    pub source: PathBuf,
    /// The mount point: an empty directory, or one that does not exist yet
    pub dir: PathBuf,
    /// Branch, tag or commit id (of a URL the whole id) [default: the repository's HEAD]
    #[arg(long = "ref", value_name = "REF")]
    pub reference: Option<String>,
    /// Follow the branch: look every 30s, 5m, 1h, or (manual) by bonsai refresh alone
    #[arg(long, value_name = "EVERY", value_parser = super::refresh::parse_follow)]
    pub follow: Option<Follow>,
    /// Stay in the foreground until unmounted, Ctrl-C or SIGTERM
    #[arg(long)]
    pub foreground: bool,
    /// Let other users in, as far as the files' modes allow
    #[arg(long)]
    pub allow_other: bool,
    /// Offer user.bonsai.* extended attributes (makes ls -l slower)
    #[arg(long)]
    pub xattr: bool,
    /// Folder for what is fetched
    #[arg(long, value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,
    /// Bytes that the whole of that folder may take, as 10GiB; kept for later mounts [default: what was
    /// said last, else 10 GiB or a tenth of the disk, whichever is less]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub cache_size: Option<u64>,
    /// MiB of memory for objects, directory listings (a quarter) and inodes (up to a quarter)
    #[arg(long, value_name = "MIB", default_value_t = 256)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub memory: u32,
    /// What to fetch ahead: auto follows what is read, all brings the whole commit
    #[arg(long, value_name = "WHAT", default_value = "auto")]
    pub prefetch: Prefetch,
    /// How the kernel's requests come: over io_uring where it offers that (auto), over it or not at all
    /// (uring), through /dev/fuse (dev)
    #[arg(long, value_name = "HOW", default_value = "auto")]
    pub transport: Transport,
    /// Have the kernel keep next to nothing, as filesystems with the usual settings do; for comparison
    #[arg(long, hide = true, conflicts_with = "follow")]
    pub unsteady: bool,
    /// Write the log to this file
    #[arg(long, value_name = "FILE")]
    pub log_file: Option<PathBuf>,
}

/// What `--prefetch` may be.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Prefetch {
    /// What a scan is likely to read next
    Auto,
    /// Nothing
    None,
    /// Everything, from the start
    All,
}

impl From<Prefetch> for repo::Prefetch {
    fn from(prefetch: Prefetch) -> Self {
        match prefetch {
            Prefetch::Auto => Self::Auto,
            Prefetch::None => Self::None,
            Prefetch::All => Self::All,
        }
    }
}

/// What `--transport` may be.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Transport {
    /// The fastest that there is
    Auto,
    /// /dev/fuse
    Dev,
    /// io_uring
    Uring,
}

impl From<Transport> for TransportWish {
    fn from(transport: Transport) -> Self {
        match transport {
            Transport::Auto => Self::Auto,
            Transport::Dev => Self::Dev,
            Transport::Uring => Self::Uring,
        }
    }
}

/// `bonsai unmount`.
#[derive(Debug, Args)]
pub struct Unmount {
    /// The mount point
    pub dir: PathBuf,
    /// Also if it is in use: those who use it see errors from then on
    #[arg(long)]
    pub force: bool,
}

/// `bonsai list`.
#[derive(Debug, Args)]
pub struct List {
    /// A JSON array
    #[arg(long)]
    pub json: bool,
}

/// `bonsai status`.
#[derive(Debug, Args)]
pub struct Status {
    /// The mount point [default: all mounts]
    pub dir: Option<PathBuf>,
    /// A JSON object; an array without DIR
    #[arg(long)]
    pub json: bool,
}

/// `bonsai info`.
#[derive(Debug, Args)]
pub struct Info {
    /// A path in a mount; the last component is not followed if it is a symlink
    pub path: PathBuf,
    /// A JSON object
    #[arg(long)]
    pub json: bool,
}

/// `bonsai prefetch`.
#[derive(Debug, Args)]
pub struct PrefetchPaths {
    /// Files and directories in mounts; symlinks are not followed
    #[arg(required = true)]
    pub paths: Vec<PathBuf>,
    /// A JSON object
    #[arg(long)]
    pub json: bool,
}

/// `bonsai cache`.
#[derive(Debug, Args)]
#[command(disable_help_subcommand = true)]
pub struct CacheArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: CacheCommand,
    /// The cache folder [default: see bonsai --help]
    #[arg(long, value_name = "DIR", global = true)]
    pub cache_dir: Option<PathBuf>,
    /// JSON
    #[arg(long, global = true)]
    pub json: bool,
}

/// The commands of `bonsai cache`.
#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    /// Show where the cache is, what it holds of each repository, and how much it may hold
    Status,
    /// Read and hash everything; what is damaged is dropped, and fetched again when it is wanted
    Verify {
        /// Only what is kept of this repository
        source: Option<PathBuf>,
    },
    /// Remove what crashes left behind, and the coldest of what is more than the cache may hold
    Gc {
        /// Keep so much at the most, this time [default: what the cache may hold]
        #[arg(long, value_name = "SIZE", value_parser = parse_size)]
        cache_size: Option<u64>,
    },
    /// Remove what is kept of the repositories that no mount uses
    Clear {
        /// Only of this one
        source: Option<PathBuf>,
    },
}

/// A number of bytes, with a unit or without.
fn parse_size(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 9] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
        ("kB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
        ("", 1),
    ];
    let digits = text.find(|c: char| !c.is_ascii_digit());
    let (number, unit) = text.split_at(digits.unwrap_or(text.len()));
    let unit = UNITS.iter().find(|(name, _)| *name == unit.trim());
    let bytes = || number.parse::<u64>().ok()?.checked_mul(unit?.1);
    bytes().ok_or_else(|| "a size is a whole number and a unit, as in 500MiB or 10GiB".to_owned())
}

/// `bonsai refresh`.
#[derive(Debug, Args)]
pub struct Refresh {
    /// The mount point, or a path in the mount
    #[arg(default_value = ".")]
    pub dir: PathBuf,
    /// A JSON object
    #[arg(long)]
    pub json: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(parse_size("10GiB"), Ok(10 << 30));
        assert_eq!(parse_size("5 MB"), Ok(5_000_000));
        assert_eq!(parse_size("77"), Ok(77));
        for wrong in ["", "GiB", "1.5GiB", "-1", "1 XB", "99999999TiB"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_need_not_be_utf8() {
        use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
        let name = OsStr::from_bytes(b"/m\xff");
        let words = [OsStr::new("bonsai"), OsStr::new("info"), name];
        let cli = Cli::try_parse_from(words).expect("any bytes are a path");
        assert!(matches!(cli.command, Command::Info(info) if info.path == name));
    }

    #[test]
    fn help_names_what_scripts_rely_on() {
        let help = Cli::command().render_long_help().to_string();
        for word in [
            "BONSAI_STATE_DIR",
            "BONSAI_CACHE_DIR",
            "RUST_LOG",
            "Exit codes:",
        ] {
            assert!(help.contains(word), "{word} is missing");
        }
        assert!(!help.contains("daemon"), "the hidden command is shown");
    }
}

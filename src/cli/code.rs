//! Exit codes. May import: nothing.

use std::process::ExitCode;

macro_rules! codes {
    ($($code:ident = $number:literal $meaning:literal,)+) => {
        /// What the command's exit code says; `docs/ERRORS.md` has the same table.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Code {
            $(#[doc = $meaning] $code = $number,)+
        }

        impl Code {
            /// All of them, by number.
            pub const ALL: [Code; [$(Code::$code),+].len()] = [$(Code::$code),+];

            /// What it says, in a few words.
            pub fn meaning(self) -> &'static str {
                match self { $(Code::$code => $meaning,)+ }
            }
        }
    };
}

codes! {
    Ok = 0 "done",
    Other = 1 "internal error, or one without a code of its own",
    Usage = 2 "wrong usage of the command",
    NoSuchPath = 3 "no such path",
    NotARepository = 4 "not a repository",
    UnknownRef = 5 "unknown branch, tag or commit",
    Empty = 6 "empty repository",
    PointUnusable = 10 "mount point missing or unusable",
    PointNotEmpty = 11 "mount point not empty",
    AlreadyMounted = 12 "already mounted",
    NoDevice = 13 "no /dev/fuse, or it can't be opened",
    NoHelper = 14 "no fusermount3",
    NotOurs = 15 "not a bonsai mount",
    Busy = 16 "mount busy",
    Name = 20 "name not resolved",
    Unreachable = 21 "connection refused, broken, or host unreachable",
    TimedOut = 22 "timed out",
    Tls = 23 "no secure connection (TLS)",
    Unauthorized = 24 "login needed (401)",
    Forbidden = 25 "access forbidden (403)",
    NotFound = 26 "not found (404)",
    ServerFault = 27 "fault of the server (5xx), or too many requests (429)",
    NotGit = 28 "not a Git server",
    DumbHttp = 29 "dumb HTTP protocol only",
    OldProtocol = 30 "Git protocol version 0 or 1 only",
    Corrupt = 31 "the server refused, or sent what can't be right",
    Folder = 32 "cache or state folder can't be used",
    Rotten = 33 "damage was found in the cache, and dropped",
}

impl Code {
    /// The number that the process ends with.
    pub fn number(self) -> u8 {
        self as u8
    }
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        ExitCode::from(code.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_the_same_table() {
        let text = include_str!("../../docs/ERRORS.md");
        let rows: Vec<(u8, &str)> = text
            .lines()
            .filter_map(|line| line.strip_prefix("| ")?.split_once(" | "))
            .filter_map(|(number, rest)| Some((number.parse().ok()?, rest.split(" | ").next()?)))
            .collect();
        let table: Vec<(u8, &str)> = Code::ALL
            .iter()
            .map(|code| (code.number(), code.meaning()))
            .collect();
        assert_eq!(rows, table);
    }
}

//! Every error's exit code and remedy: the one place where they are decided.
//! May import: code; mount, repo, objects, origin, git and seams for their errors.
//!
//! Always holds: no wildcard, so a new error can't be forgotten here.

use super::{code::Code, failure::Failure};
use crate::{
    git::url::SourceError, mount::MountError, objects::ObjectError, origin::OriginError,
    repo::RepoError, seams::http::HttpError,
};

const REPORT: &str = "this should not happen: please report it with the log (see bonsai list)";

impl From<&MountError> for Failure {
    fn from(error: &MountError) -> Self {
        let (code, remedy) = mount(error);
        Failure::new(code, error, remedy)
    }
}

impl From<&SourceError> for Failure {
    fn from(error: &SourceError) -> Self {
        let give = "give a path or an https:// address";
        match error {
            SourceError::Empty => {
                Failure::new(Code::Usage, &"the repository's name is empty", give)
            }
            SourceError::Unsupported {
                what,
                given,
                remedy,
            } => {
                let happened = format!("{what} is not supported ({given})");
                Failure::new(Code::Usage, &happened, remedy)
            }
            SourceError::Invalid { .. } => Failure::new(Code::Usage, error, give),
        }
    }
}

fn mount(error: &MountError) -> (Code, &'static str) {
    match error {
        MountError::ParentMissing { .. } => (Code::PointUnusable, "make that directory first"),
        MountError::NotADirectory { .. } => (
            Code::PointUnusable,
            "name a directory, or one that does not exist yet",
        ),
        MountError::NotAllowed { .. } => (Code::PointUnusable, "choose a directory that you own"),
        MountError::Unusable { .. } => (Code::PointUnusable, "choose another directory"),
        MountError::Refused { .. } => (
            Code::PointUnusable,
            "choose another directory, or ask who runs this machine whether users may mount",
        ),
        MountError::AllowOther { .. } => (
            Code::Usage,
            "leave --allow-other out, or have that line added to the file",
        ),
        MountError::NotEmpty { .. } => (
            Code::PointNotEmpty,
            "choose an empty directory, or one that does not exist yet",
        ),
        MountError::AlreadyMounted { .. } => (
            Code::AlreadyMounted,
            "unmount it first, or choose another directory",
        ),
        MountError::MountingNow { .. } => (
            Code::AlreadyMounted,
            "wait for it, or choose another directory",
        ),
        MountError::Device { .. } => (
            Code::NoDevice,
            "load the fuse module (modprobe fuse), or have the device passed into the container \
             and opened to users",
        ),
        MountError::NoHelper { .. } => {
            (Code::NoHelper, "install the package fuse3, or run as root")
        }
        MountError::Pinned { .. } => (
            Code::Usage,
            "mount it with --follow manual, or with --follow 30s",
        ),
        MountError::CannotFollow { .. } => (
            Code::Usage,
            "name a branch with --ref, or leave --follow out",
        ),
        MountError::NoUring { .. } => (
            Code::Usage,
            "leave --transport out, or take --transport dev",
        ),
        MountError::NotOurs { .. } => (Code::NotOurs, "bonsai list shows them"),
        MountError::Dead { .. } => (
            Code::NotOurs,
            "bonsai unmount clears it away, bonsai mount uses the directory again",
        ),
        MountError::NoSuchPath { .. } => (Code::NoSuchPath, "check the spelling"),
        MountError::Busy { .. } => (
            Code::Busy,
            "close it (lsof or fuser -m tells which), or detach the mount lazily with --force",
        ),
        MountError::StillThere { .. } => {
            (Code::Busy, "try bonsai unmount --force, or end the process")
        }
        MountError::Unmount { .. } => (Code::Busy, "try bonsai unmount --force"),
        MountError::State { .. } => (
            Code::Folder,
            "name one that is yours alone with BONSAI_STATE_DIR",
        ),
        MountError::Log { .. } => (Code::Usage, "name another with --log-file"),
        MountError::Silent { .. } => (Code::Other, "try again, or bonsai unmount --force"),
        MountError::Query { .. } => (Code::Other, "the log says more (see bonsai status)"),
        MountError::NoAnswer { .. } | MountError::Background { .. } => (Code::Other, REPORT),
        MountError::Interrupted => (Code::Other, "nothing was left behind; start it again"),
        MountError::Repo(error) => repo(error),
    }
}

fn repo(error: &RepoError) -> (Code, &'static str) {
    match error {
        RepoError::Origin(error) => origin(error),
        RepoError::Cache { .. } => (
            Code::Folder,
            "name another with --cache-dir or BONSAI_CACHE_DIR",
        ),
        RepoError::Object(error) => object(error),
    }
}

fn object(error: &ObjectError) -> (Code, &'static str) {
    match error {
        ObjectError::Origin { cause, .. } => origin(cause),
        ObjectError::Malformed { .. } => (
            Code::Corrupt,
            "git fsck in a clone tells whether the repository is damaged",
        ),
        ObjectError::GivenUp { .. } | ObjectError::OnlySize { .. } => {
            (Code::Other, "start it again")
        }
    }
}

fn origin(error: &OriginError) -> (Code, &'static str) {
    match error {
        OriginError::Http(error) => http(error),
        OriginError::Unauthorized { .. } => (
            Code::Unauthorized,
            "log in with git's credential helper, .netrc or a token variable (GITHUB_TOKEN, \
             GITLAB_TOKEN)",
        ),
        OriginError::Forbidden { .. } => {
            (Code::Forbidden, "use a login that may read this repository")
        }
        OriginError::NotFound { .. } => (
            Code::NotFound,
            "check the address; hosts also say so of repositories that the login may not see",
        ),
        OriginError::RateLimited { .. } => (
            Code::ServerFault,
            "try again later; with a login, hosts allow more requests",
        ),
        OriginError::Server { .. } => (Code::ServerFault, "try again later"),
        OriginError::NotGit { .. } => (
            Code::NotGit,
            "give the address that git clone takes, not that of a web page",
        ),
        OriginError::DumbHttp { .. } | OriginError::OldProtocol { .. } => (
            if matches!(error, OriginError::DumbHttp { .. }) {
                Code::DumbHttp
            } else {
                Code::OldProtocol
            },
            "clone it with git and mount the clone, or ask for Git 2.18 or later on the server",
        ),
        OriginError::UnknownRef { .. } => (
            Code::UnknownRef,
            "git ls-remote shows the branches and tags; a URL's commit needs its whole id",
        ),
        OriginError::Empty { .. } => (Code::Empty, "push a commit first, or name one with --ref"),
        OriginError::NoSuchPath { .. } => (Code::NoSuchPath, "check the spelling"),
        OriginError::NotARepository { .. } => (
            Code::NotARepository,
            "name a work tree, a bare repository or a .git folder",
        ),
        OriginError::MissingObject { .. } => (
            Code::Corrupt,
            "the repository may be shallow or damaged: git fsck tells",
        ),
        OriginError::Refused { .. } | OriginError::Corrupt { .. } => (
            Code::Corrupt,
            "try again; if it stays, ask who runs the server",
        ),
        OriginError::Closing { .. } => (Code::Other, "mount it again"),
        OriginError::Disk { .. } => (
            Code::Folder,
            "check the disk's space and the folder's permissions",
        ),
    }
}

fn http(error: &HttpError) -> (Code, &'static str) {
    match error {
        HttpError::Name { .. } => (Code::Name, "check the address and the network"),
        HttpError::Connect { .. } | HttpError::Broken { .. } => (
            Code::Unreachable,
            "check the address, the network and the proxy settings",
        ),
        HttpError::Tls { .. } => (
            Code::Tls,
            "check the machine's clock and certificates (http.sslCAInfo, SSL_CERT_FILE), and that \
             the server speaks https there",
        ),
        HttpError::Timeout { .. } => (Code::TimedOut, "check the network, or try again later"),
    }
}

#[cfg(test)]
#[path = "explain_tests.rs"]
mod tests;

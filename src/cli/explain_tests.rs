use std::path::PathBuf;

use super::*;

fn url() -> String {
    "https://example.org/r.git".to_owned()
}

fn code(error: impl Into<OriginError>) -> u8 {
    let error = MountError::Repo(RepoError::Origin(error.into()));
    Failure::from(&error).code
}

/// The codes that `docs/ERRORS.md` promises for what can go wrong at an origin.
#[test]
fn what_an_origin_says_has_its_own_codes() {
    let (host, reason) = ("h".to_owned(), "r".to_owned());
    let source_name = url();
    let name = HttpError::Name { host: host.clone() };
    assert_eq!(code(name), 20);
    let connect = HttpError::Connect {
        host: host.clone(),
        reason: reason.clone(),
    };
    assert_eq!(code(connect), 21);
    let broken = HttpError::Broken {
        host: host.clone(),
        reason: reason.clone(),
    };
    assert_eq!(code(broken), 21);
    let tls = HttpError::Tls {
        host: host.clone(),
        reason: reason.clone(),
    };
    assert_eq!(code(tls), 23);
    assert_eq!(code(HttpError::Timeout { host }), 22);
    assert_eq!(code(OriginError::Unauthorized { url: url() }), 24);
    assert_eq!(code(OriginError::Forbidden { url: url() }), 25);
    assert_eq!(code(OriginError::NotFound { url: url() }), 26);
    let limited = OriginError::RateLimited {
        url: url(),
        retry_after: None,
    };
    assert_eq!(code(limited), 27);
    let server = OriginError::Server {
        url: url(),
        status: 503,
        retry_after: None,
    };
    assert_eq!(code(server), 27);
    let not_git = OriginError::NotGit {
        url: url(),
        reason: reason.clone(),
    };
    assert_eq!(code(not_git), 28);
    assert_eq!(code(OriginError::DumbHttp { url: url() }), 29);
    let old = OriginError::OldProtocol {
        url: url(),
        version: 1,
    };
    assert_eq!(code(old), 30);
    let unknown = OriginError::UnknownRef {
        source_name: source_name.clone(),
        name: "x".to_owned(),
    };
    assert_eq!(code(unknown), 5);
    let empty = OriginError::Empty {
        source_name: source_name.clone(),
    };
    assert_eq!(code(empty), 6);
    let path = || "/p".to_owned();
    assert_eq!(code(OriginError::NoSuchPath { path: path() }), 3);
    assert_eq!(code(OriginError::NotARepository { path: path() }), 4);
    let missing = OriginError::MissingObject {
        source_name: source_name.clone(),
        oid: None,
    };
    assert_eq!(code(missing), 31);
    let refused = OriginError::Refused {
        source_name: source_name.clone(),
        message: "no".to_owned(),
    };
    assert_eq!(code(refused), 31);
    let corrupt = OriginError::Corrupt {
        source_name: source_name.clone(),
        reason: reason.clone(),
    };
    assert_eq!(code(corrupt), 31);
    assert_eq!(code(OriginError::Closing { source_name }), 1);
    let disk = OriginError::Disk {
        what: "/c".to_owned(),
        reason,
    };
    assert_eq!(code(disk), 32);
}

#[test]
fn what_a_mount_says_has_its_own_codes() {
    let dir = || PathBuf::from("/m");
    let reason = || "r".to_owned();
    let table = [
        (MountError::ParentMissing { dir: dir() }, 10),
        (MountError::NotADirectory { dir: dir() }, 10),
        (
            MountError::NotAllowed {
                dir: dir(),
                reason: reason(),
            },
            10,
        ),
        (MountError::NotEmpty { dir: dir() }, 11),
        (
            MountError::AlreadyMounted {
                dir: dir(),
                source_name: url(),
            },
            12,
        ),
        (MountError::MountingNow { dir: dir() }, 12),
        (MountError::Device { reason: reason() }, 13),
        (MountError::NoHelper { uid: 1 }, 14),
        (MountError::NotOurs { dir: dir() }, 15),
        (MountError::Dead { dir: dir() }, 15),
        (MountError::Busy { dir: dir() }, 16),
        (MountError::NoSuchPath { path: dir() }, 3),
        (
            MountError::State {
                path: dir(),
                reason: reason(),
            },
            32,
        ),
        (MountError::AllowOther { uid: 1 }, 2),
        (MountError::Interrupted, 1),
    ];
    for (error, number) in table {
        assert_eq!(Failure::from(&error).code, number, "{error}");
    }
}

#[test]
fn a_failure_is_one_line_whatever_the_names() {
    let error = MountError::NotEmpty {
        dir: PathBuf::from("/a\nb\x1b[2J"),
    };
    assert_eq!(
        Failure::from(&error).line(),
        "bonsai: /a\\nb\\u{1b}[2J is not empty; choose an empty directory, or one that does not \
         exist yet"
    );
    let error = OriginError::Refused {
        source_name: url(),
        message: "line one\nline two".to_owned(),
    };
    let failure = Failure::from(&MountError::Repo(error.into()));
    assert!(!failure.line().contains('\n'));
}

#[test]
fn unsupported_sources_name_their_remedy() {
    let error = crate::git::url::parse_source("git@example.org:r.git".as_ref());
    let failure = Failure::from(&error.expect_err("SSH is not supported"));
    assert_eq!(failure.code, 2);
    let line = failure.line();
    assert!(line.starts_with("bonsai: SSH is not supported ("), "{line}");
    assert!(line.contains("; use https://example.org/r.git"), "{line}");
}

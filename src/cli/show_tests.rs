use std::{ffi::OsString, os::unix::ffi::OsStringExt, path::PathBuf};

use serde_json::json;

use super::*;
use crate::mount::state::Record;

fn instance(dir: &str, ref_name: Option<&str>, life: Life) -> Instance {
    Instance {
        folder: PathBuf::from("/run/bonsai/1"),
        record: Record {
            source: "https://x.org/r.git".to_owned(),
            ref_name: ref_name.map(str::to_owned),
            commit: "0123456789abcdef0123456789abcdef01234567".to_owned(),
            dir: DirFields::from(Path::new(dir)),
            created_dir: true,
            pid: 42,
            started: 0,
            version: "0.1.0".to_owned(),
            log: None,
        },
        life,
    }
}

#[test]
fn a_list_has_a_line_a_mount() {
    let instances = [
        instance("/m", Some("refs/heads/main"), Life::Ok),
        instance("/mnt/two\n", None, Life::Dead),
    ];
    assert_eq!(
        table(&instances),
        [
            "/m          https://x.org/r.git  main      0123456789ab  ok",
            "/mnt/two\\n  https://x.org/r.git  detached  0123456789ab  dead",
        ]
    );
    assert!(table(&[]).is_empty());
}

#[test]
fn the_lists_json_has_the_promised_fields() {
    let instance = instance("/m", Some("refs/heads/main"), Life::Ok);
    let json = serde_json::to_value(Listed::from(&instance)).expect("plain data");
    assert_eq!(
        json,
        json!({
            "dir": "/m",
            "source": "https://x.org/r.git",
            "ref": "refs/heads/main",
            "commit": "0123456789abcdef0123456789abcdef01234567",
            "pid": 42,
            "state": "ok",
        })
    );
}

#[test]
fn a_status_for_people() {
    let status = json!({
        "dir": "/m", "source": "https://x.org/r.git", "ref": null, "commit": "0123",
        "pid": 7, "uptime_seconds": 3700, "version": "0.1.0",
        "kernel": {"transport": "uring", "requests": 5, "by_op": {"lookup": 3, "getattr": 2, "open": 0}},
        "cache": {"hits": 4, "misses": 1}, "inodes": 3, "listings": 2, "listing_bytes": 2048,
        "origin": {"requests": 2, "bytes": 1024, "objects": 9, "waiting": 3},
        "prefetch": {"objects": 8, "bytes": 2048, "used": 5},
        "memory": {"bytes": 10, "budget": 1 << 20, "objects": 1},
        "disk": null, "rejected_entries": 1,
        "last_error": {"message": "read /x: it\nbroke", "seconds_ago": 61},
    });
    assert_eq!(
        status_lines(&status),
        [
            "mount     /m",
            "source    https://x.org/r.git",
            "commit    0123 (detached)",
            "process   7, up 1 h 1 min, version 0.1.0",
            "kernel    5 requests over io_uring: lookup 3, getattr 2",
            "cache     4 answered from memory, 1 had to wait",
            "tables    3 inodes, 2 listings (2.0 KiB)",
            "origin    2 requests, 1.0 KiB, 9 objects, 3 more waited for",
            "ahead     8 objects fetched ahead (2.0 KiB), 5 of them used",
            "memory    10 B of 1.0 MiB, 1 objects",
            "left out  1 tree entries that no honest tree has",
            "error     read /x: it\\nbroke (1 min 1 s ago)",
        ]
    );
    // Whatever another version sends, something is shown and nothing panics.
    assert_eq!(status_lines(&json!({"dir": 1})), ["commit     (detached)"]);
}

#[test]
fn durations_are_short() {
    let shown = [0, 59, 60, 3599, 3600, 86399, 86400, 200_000].map(duration);
    assert_eq!(
        shown,
        [
            "0 s",
            "59 s",
            "1 min 0 s",
            "59 min 59 s",
            "1 h 0 min",
            "23 h 59 min",
            "1 d 0 h",
            "2 d 7 h",
        ]
    );
}

#[test]
fn info_tells_what_it_knows() {
    let report = NodeReport {
        kind: "file".to_owned(),
        oid: "12".to_owned(),
        commit: "34".to_owned(),
        size: None,
        content: "not fetched".to_owned(),
    };
    let path = PathBuf::from(OsString::from_vec(b"a\xff".to_vec()));
    let json = serde_json::to_value(InfoObject::new(&path, &report)).expect("plain data");
    assert_eq!(
        json,
        json!({
            "path": "a\u{fffd}", "path_bytes": "Yf8=", "kind": "file", "oid": "12",
            "commit": "34", "size": null, "content": "not fetched",
        })
    );
    assert_eq!(
        info_lines(&path, &report),
        [
            "path     a\u{fffd}",
            "kind     file",
            "oid      12",
            "commit   34",
            "size     unknown until it is read",
            "content  not fetched",
        ]
    );
}

use std::sync::{Arc, Mutex};

use super::*;
use crate::fuse::{
    attr::{Owner, file_attr},
    wire::Fields,
};
use bonsaifs_core::fs::{Attr, Ino, Kind, Timestamp};

/// What was sent: the request's number, the errno, and the bytes.
type Sent = Arc<Mutex<Vec<(u64, i32, Vec<u8>)>>>;

struct Kept(Sent);

impl Sink for Kept {
    fn send(self, unique: u64, errno: i32, parts: &[&[u8]]) {
        let mut sent = self.0.lock().expect("no test panics with it");
        sent.push((unique, errno, parts.concat()));
    }
}

fn answer(sent: &Sent) -> Answer<Kept> {
    Answer::new(7, Kept(sent.clone()))
}

/// What `reply` sends: one answer.
fn sent(reply: impl FnOnce(Answer<Kept>)) -> (i32, Vec<u8>) {
    let sent = Sent::default();
    reply(answer(&sent));
    let mut sent = sent.lock().expect("no test panics with it");
    assert_eq!(sent.len(), 1);
    let (unique, errno, data) = sent.remove(0);
    assert_eq!(unique, 7);
    (errno, data)
}

fn attr(kind: Kind, secs: i64) -> FileAttr {
    let attr = Attr {
        kind,
        perm: 0o640,
        size: 1025,
        mtime: Timestamp { secs, nanos: 3 },
    };
    file_attr(Ino(99), &attr, Owner { uid: 5, gid: 6 })
}

#[test]
fn a_request_is_answered_once_also_when_its_answer_is_lost() {
    assert_eq!(sent(drop), (libc::EIO, vec![]));
    assert_eq!(
        sent(|answer| answer.refuse(Errno::ENOENT)),
        (libc::ENOENT, vec![])
    );
    assert_eq!(sent(Answer::ok), (0, vec![]));
    assert_eq!(sent(|answer| answer.data(b"abc")), (0, b"abc".to_vec()));
}

#[test]
fn a_header_counts_itself_and_negates_the_errno() {
    let header = out_header(0x1234, libc::EIO, 0);
    let fields = Fields(&header);
    assert_eq!(fields.u32(0), 16);
    assert_eq!(fields.u32(4).cast_signed(), -libc::EIO);
    assert_eq!(fields.u64(8), 0x1234);
    assert_eq!(Fields(&out_header(1, 0, 100)).u32(0), 116);
}

#[test]
fn an_entry_has_its_fields_where_linux_looks_for_them() {
    let found = attr(Kind::Dir, 1_700_000_000);
    let (name, attrs) = (Duration::new(10, 11), Duration::new(20, 21));
    let (errno, data) = sent(|answer| answer.entry(&found, 4, name, attrs));
    let out = Fields(&data);
    assert_eq!((errno, data.len()), (0, 128));
    assert_eq!([0, 8, 16, 24].map(|at| out.u64(at)), [99, 4, 10, 20]);
    assert_eq!([32, 36].map(|at| out.u32(at)), [11, 21]);
    // fuse_attr
    let times = [1_700_000_000; 3];
    assert_eq!([40, 48, 56].map(|at| out.u64(at)), [99, 1025, 3]);
    assert_eq!([64, 72, 80].map(|at| out.u64(at)), times);
    assert_eq!([88, 92, 96].map(|at| out.u32(at)), [3; 3]);
    let rest = [100, 104, 108, 112, 116, 120, 124].map(|at| out.u32(at));
    assert_eq!(rest, [libc::S_IFDIR | 0o640, 1, 5, 6, 0, 4096, 0]);

    let (_, data) = sent(|answer| answer.absent(Duration::new(8, 9)));
    assert_eq!(
        (
            Fields(&data).u64(0),
            Fields(&data).u64(16),
            Fields(&data).u32(32)
        ),
        (0, 8, 9)
    );
    let (_, data) = sent(|answer| answer.attr(&attr(Kind::Symlink, -1), Duration::new(1, 2)));
    let out = Fields(&data);
    assert_eq!((data.len(), out.u64(0), out.u32(8)), (104, 1, 2));
    assert_eq!(out.u64(16 + 32).cast_signed(), -1);
    assert_eq!(out.u32(16 + 48), 3);
    assert_eq!(out.u32(16 + 60), libc::S_IFLNK | 0o640);
}

#[test]
fn times_before_the_epoch_have_nanoseconds_that_are_not_negative() {
    let before = |nanos| UNIX_EPOCH - Duration::from_nanos(nanos);
    assert_eq!(since_epoch(UNIX_EPOCH), (0, 0));
    assert_eq!(since_epoch(before(1_000_000_000)), (-1, 0));
    assert_eq!(since_epoch(before(1)), (-1, 999_999_999));
    assert_eq!(since_epoch(before(1_500_000_000)), (-2, 500_000_000));
}

#[test]
fn directories_are_filled_as_far_as_there_is_room() {
    let item = |offset, name, kind| DirItem {
        ino: Ino(9),
        offset,
        kind,
        name,
    };
    let listed = |room: usize| {
        let mut added = 0;
        let mut entries = Entries::new(room);
        while !entries.add(&item(added + 1, b"name", Kind::File)) {
            added += 1;
        }
        (added, entries.data)
    };
    // 24 bytes and the name, padded to eight.
    for (room, fits) in [(0, 0), (31, 0), (32, 1), (63, 1), (64, 2), (1000, 31)] {
        let (added, data) = listed(room);
        assert_eq!(
            (added, data.len()),
            (fits, 32 * usize::try_from(fits).expect("small"))
        );
    }
    let data = listed(32).1;
    let out = Fields(&data);
    assert_eq!(
        (out.u64(0), out.u64(8), out.u32(16), out.u32(20)),
        (9, 1, 4, 8)
    );
    assert_eq!(&data[24..], b"name\0\0\0\0");

    let mut entries = Entries::new(320);
    let found = attr(Kind::Dir, 0);
    let mut add = |offset, name, attr: Option<&FileAttr>| {
        let DirItem { kind, .. } = item(offset, name, attr.map_or(Kind::File, |_| Kind::Dir));
        let item = DirItemPlus {
            ino: Ino(99),
            offset,
            kind,
            name,
            attr: None,
        };
        entries.add_plus(&item, attr, Duration::ZERO)
    };
    assert!(!add(5, b"d", Some(&found)));
    assert!(!add(6, b"e", None));
    assert!(add(7, b"f", Some(&found)));
    let data = entries.data;
    let of = |entry: usize| {
        let fields = Fields(&data[entry * 160..]);
        let dirent = (fields.u64(128), fields.u64(136), fields.u32(148));
        (fields.u64(0), dirent)
    };
    assert_eq!(data.len(), 320);
    assert_eq!(of(0), (99, (99, 5, 4)));
    // A node id of zero stands for no attributes; the entry has its number all the same.
    assert_eq!(of(1), (0, (99, 6, 8)));
}

//! Objects and deltas: nothing is shown that isn't in the bytes, nothing in them is lost without
//! being reported, and no name leads out of its directory.

use bonsaifs::git::{
    commit::parse_commit,
    delta,
    loose::{self, LooseStream},
    oid::{HashKind, ObjectKind, Oid},
    tag::parse_tag,
    tree::{self, EntryMode, RejectReason},
};

use crate::input::Input;

/// The most that any object here may take.
const MAX: u64 = 1 << 16;

/// See the module.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    match input.below(6) {
        0 => check_tree(input.rest(), HashKind::Sha1),
        1 => check_tree(&written_tree(&mut input), HashKind::Sha1),
        2 => check_tree(input.rest(), HashKind::Sha256),
        3 => check_text(input.rest()),
        4 => check_loose(input),
        _ => check_delta(input),
    }
}

/// A tree in a short form: for each entry a mode, the length of a name, the name.
fn written_tree(input: &mut Input<'_>) -> Vec<u8> {
    const MODES: [&str; 12] = [
        "100644",
        "100755",
        "40000",
        "120000",
        "160000",
        "040000",
        "100664",
        "0",
        "100600",
        "20000",
        "1777777777777",
        "100000",
    ];
    let mut out = Vec::new();
    while !input.is_empty() {
        out.extend_from_slice(MODES[input.below(MODES.len())].as_bytes());
        out.push(b' ');
        let len = input.below(8);
        let name = input.take(len);
        out.extend(name.iter().filter(|byte| **byte != 0));
        out.push(0);
        out.extend([input.byte(); 20]);
    }
    out
}

/// A mode, a name, and the object that it stands for.
type Cut<'a> = (&'a [u8], &'a [u8], Oid);

/// The entries as they stand: mode, name, id. `None` if the bytes can't be cut into them.
fn cut(data: &[u8], hash: HashKind) -> Option<Vec<Cut<'_>>> {
    let mut entries = Vec::new();
    let mut at = 0;
    while at < data.len() {
        let space = at + data[at..].iter().position(|byte| *byte == b' ')?;
        let nul = space + data[space..].iter().position(|byte| *byte == 0)?;
        let end = nul + 1 + hash.len_in_bytes();
        let mode = &data[at..space];
        let is_octal = !mode.is_empty() && mode.iter().all(|byte| (b'0'..=b'7').contains(byte));
        let oid = Oid::from_bytes_or_panic(data.get(nul + 1..end)?);
        if !is_octal {
            return None;
        }
        entries.push((mode, &data[space + 1..nul], oid));
        at = end;
    }
    Some(entries)
}

fn check_tree(data: &[u8], hash: HashKind) {
    let (parsed, raw) = match (tree::parse(data, hash), cut(data, hash)) {
        (Ok(parsed), Some(raw)) => (parsed, raw),
        (Err(error), None) => {
            assert!(error.offset <= data.len());
            return;
        }
        (parsed, raw) => panic!("{parsed:?} of {raw:?}"),
    };
    assert_eq!(parsed.entries.len() + parsed.rejected.len(), raw.len());
    let names: Vec<_> = parsed.entries.iter().map(|entry| entry.name).collect();
    assert!(names.is_sorted_by(|a, b| a < b), "unsorted or twice");
    for entry in &parsed.entries {
        let name = entry.name;
        assert!(!name.is_empty() && name != b"." && name != b".." && name.len() <= 255);
        assert!(!name.contains(&b'/') && !name.eq_ignore_ascii_case(b".git"));
        // Of several with this name, the first that can be shown.
        let first = raw
            .iter()
            .find(|(mode, raw_name, _)| *raw_name == name && mode_of(mode).is_some());
        let (mode, _, oid) = first.expect("it stands in the tree");
        assert_eq!((mode_of(mode), oid), (Some(entry.mode), &entry.oid));
    }
    for rejected in &parsed.rejected {
        let name = &rejected.name[..];
        let shown = names.contains(&name);
        match rejected.reason {
            RejectReason::Duplicate => assert!(shown, "rejected without need"),
            RejectReason::BadMode | RejectReason::TooLong => {}
            _ => assert!(!shown),
        }
    }
}

/// What git takes a mode for (`canon_mode` by its file type).
fn mode_of(octal: &[u8]) -> Option<EntryMode> {
    let digits = octal.iter().skip_while(|digit| **digit == b'0').count();
    let text = std::str::from_utf8(octal).expect("digits");
    if digits > 6 {
        return None;
    }
    let bits = u32::from_str_radix(text.trim_start_matches('0'), 8).unwrap_or(0);
    match bits >> 12 {
        0o04 => Some(EntryMode::Dir),
        0o10 if bits & 0o100 == 0 => Some(EntryMode::File),
        0o10 => Some(EntryMode::Executable),
        0o12 => Some(EntryMode::Symlink),
        0o16 => Some(EntryMode::Gitlink),
        _ => None,
    }
}

/// Commits and tags: every id that comes out stands in a line of its own.
fn check_text(data: &[u8]) {
    let has_line = |key: &str, value: String| {
        let line = format!("{key} {value}");
        data.split(|byte| *byte == b'\n')
            .any(|l| l.eq_ignore_ascii_case(line.as_bytes()))
    };
    for hash in [HashKind::Sha1, HashKind::Sha256] {
        match parse_commit(data, hash) {
            Ok(commit) => {
                assert!(has_line("tree", commit.tree.to_string()));
                let is_there = |parent: &Oid| has_line("parent", parent.to_string());
                assert!(commit.parents.iter().all(is_there));
            }
            Err(error) => assert!(error.offset <= data.len()),
        }
        match parse_tag(data, hash) {
            Ok(tag) => {
                assert!(has_line("object", tag.target.to_string()));
                assert!(has_line("type", tag.kind.to_string()));
            }
            Err(error) => assert!(error.offset <= data.len()),
        }
    }
}

/// A loose object is read the same whole and in pieces, and within its limit.
fn check_loose(mut input: Input<'_>) {
    let cuts = input.cuts();
    let kinds = [
        ObjectKind::Blob,
        ObjectKind::Tree,
        ObjectKind::Commit,
        ObjectKind::Tag,
    ];
    let kind = kinds[input.below(4)];
    let edits = input.below(4);
    let edits: Vec<_> = (0..edits).map(|_| (input.word(), input.byte())).collect();
    let content = input.rest();
    let mut file = loose::encode(kind, content);
    for (at, bits) in &edits {
        let at = *at as usize % file.len();
        file[at] ^= bits;
    }
    let whole = loose::decode(&file, MAX);
    if edits.iter().all(|(_, bits)| *bits == 0) {
        let (read_kind, read) = whole.as_ref().expect("it was just written");
        assert_eq!((*read_kind, &read[..]), (kind, content));
    }

    let mut stream = LooseStream::new();
    let mut out = Vec::new();
    let fed = cuts.pieces(&file).try_for_each(|piece| {
        stream.feed(piece, &mut |bytes| {
            assert!(bytes.len() <= 64 << 10);
            out.extend_from_slice(bytes);
            Ok(())
        })
    });
    let streamed = fed.and_then(|()| stream.finish());
    match (whole, streamed) {
        (Ok((kind, data)), Ok(header)) => {
            assert_eq!(header, (kind, data.len() as u64));
            assert_eq!(out, data);
            assert_eq!(loose::header(&file).ok(), Some(header));
            assert!(data.len() as u64 <= MAX);
        }
        (Err(loose::LooseError::TooLarge { .. }), _) | (Err(_), Err(_)) => {}
        (whole, streamed) => panic!("{whole:?} whole, {streamed:?} in pieces"),
    }
}

/// A delta gives what its instructions say, byte by byte, or nothing.
fn check_delta(mut input: Input<'_>) {
    let base_len = input.byte();
    let base = input.take(base_len.into());
    let delta = input.rest();
    let result = delta::apply(base, delta, MAX);
    assert_eq!(result.as_ref().ok(), interpret(base, delta).as_ref());
    if let Ok(result) = result {
        let header = delta::sizes(delta).expect("it was applied");
        assert_eq!(header.base, base.len() as u64);
        assert_eq!(header.result, result.len() as u64);
    }
}

/// The text of gitformat-pack, "Deltified representation", followed word by word.
fn interpret(base: &[u8], delta: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = delta.iter().copied();
    let mut number = || {
        let mut value = 0u128;
        for shift in (0..70).step_by(7) {
            let byte = bytes.next()?;
            value |= u128::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return u64::try_from(value).ok();
            }
        }
        None
    };
    let (base_len, result_len) = (number()?, number()?);
    if base_len != base.len() as u64 || result_len > MAX {
        return None;
    }
    let mut out = Vec::new();
    while let Some(op) = bytes.next() {
        if op == 0 {
            return None;
        }
        if op < 0x80 {
            for _ in 0..op {
                out.push(bytes.next()?);
            }
            continue;
        }
        let mut operands = [0usize; 7];
        for (place, operand) in operands.iter_mut().enumerate() {
            if op >> place & 1 == 1 {
                *operand = bytes.next()?.into();
            }
        }
        let [o1, o2, o3, o4, s1, s2, s3] = operands;
        let offset = o1 | o2 << 8 | o3 << 16 | o4 << 24;
        let size = match s1 | s2 << 8 | s3 << 16 {
            0 => 0x10000,
            size => size,
        };
        out.extend_from_slice(base.get(offset..offset + size)?);
        if out.len() as u64 > result_len {
            return None;
        }
    }
    (out.len() as u64 == result_len).then_some(out)
}

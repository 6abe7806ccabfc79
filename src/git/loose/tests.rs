//! Tests of loose objects: against git's files, cut ones and lying ones.

use proptest::prelude::*;

use super::*;
use crate::git::{
    oid::{HashKind, object_id},
    oracle::Repo,
};

/// Decodes by a stream that is fed in pieces of `step` bytes.
fn stream(file: &[u8], step: usize) -> Result<(ObjectKind, Vec<u8>), LooseError> {
    let mut stream = LooseStream::new();
    let mut content = Vec::new();
    for piece in file.chunks(step) {
        stream.feed(piece, &mut |data| {
            assert!(data.len() <= 64 * 1024);
            content.extend_from_slice(data);
            Ok(())
        })?;
    }
    let (kind, size) = stream.finish()?;
    assert_eq!(stream.header(), Some((kind, size)));
    assert_eq!(size, content.len() as u64);
    Ok((kind, content))
}

fn deflate(data: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(data).expect("memory");
    encoder.finish().expect("memory")
}

fn sample(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * at / 900) as u8).collect()
}

#[test]
fn what_is_written_is_read() {
    let kinds = [
        ObjectKind::Commit,
        ObjectKind::Tree,
        ObjectKind::Blob,
        ObjectKind::Tag,
    ];
    for (kind, len) in kinds
        .into_iter()
        .cycle()
        .zip([0, 1, 20, 21, 22, 30, 5_000, 300_000])
    {
        let data = sample(len);
        let file = encode(kind, &data);
        let whole = decode(&file, len as u64).expect("a good object");
        assert_eq!(whole, (kind, Bytes::from(data.clone())));
        assert_eq!(
            header(&file[..file.len().min(4096)]).expect("a good object"),
            (kind, len as u64)
        );
        for step in [1, 3, 1000, usize::MAX] {
            assert_eq!(
                stream(&file, step).expect("a good object"),
                (kind, data.clone())
            );
        }
    }
}

#[test]
fn git_reads_what_is_written_and_is_read() {
    for hash in [HashKind::Sha1, HashKind::Sha256] {
        let repo = Repo::new(hash);
        let data = sample(10_000);
        let oid = object_id(hash, ObjectKind::Blob, &data).expect("no collision");
        let (folder, rest) = (&oid.to_string()[..2], &oid.to_string()[2..]);
        let name = format!(".git/objects/{folder}/{rest}");
        repo.write(&name, &encode(ObjectKind::Blob, &data));
        assert!(repo.git(&["cat-file", "blob", &oid.to_string()]) == data);
        repo.git(&["fsck", "--strict"]);

        for level in ["0", "1", "9"] {
            let content = format!("compressed at {level}").repeat(100);
            let set = format!("core.looseCompression={level}");
            let args = ["-c", &set, "hash-object", "-w", "--stdin"];
            let id = repo.git_with(&args, content.as_bytes());
            let id = String::from_utf8(id).expect("ASCII");
            let path = repo.path(&format!(".git/objects/{}/{}", &id[..2], id[2..].trim()));
            let file = std::fs::read(path).expect("git wrote it");
            let expected = (ObjectKind::Blob, content.into_bytes());
            assert_eq!(stream(&file, 7).expect("git's object"), expected);
            let (kind, data) = decode(&file, 1 << 20).expect("git's object");
            assert_eq!((kind, data.to_vec()), expected);
        }
    }
}

#[test]
fn a_file_cut_or_followed_by_more_is_an_error() {
    for len in [0, 10, 300] {
        let file = encode(ObjectKind::Blob, &sample(len));
        for cut in 0..file.len() {
            let decoded = decode(&file[..cut], 1_000);
            assert!(
                matches!(decoded, Err(LooseError::Truncated)),
                "{cut}: {decoded:?}"
            );
            for step in [1, usize::MAX] {
                let streamed = stream(&file[..cut], step);
                assert!(
                    matches!(streamed, Err(LooseError::Truncated)),
                    "{cut}: {streamed:?}"
                );
            }
        }
        let longer = [&file[..], b"x"].concat();
        assert!(matches!(decode(&longer, 1_000), Err(LooseError::Trailing)));
        assert!(matches!(stream(&longer, 1), Err(LooseError::Trailing)));
        assert!(matches!(
            stream(&longer, usize::MAX),
            Err(LooseError::Trailing)
        ));
    }
}

#[test]
fn other_sizes_than_stated_are_errors() {
    for (content, error) in [
        ("blob 5\0four", InflateError::TooShort),
        ("blob 3\0four", InflateError::TooLong),
        ("blob 0\0four", InflateError::TooLong),
        (
            "blob 99\0and the rest is not here, but longer than the first read",
            InflateError::TooShort,
        ),
        (
            "blob 40\0and there is more here than that, longer than the first read",
            InflateError::TooLong,
        ),
    ] {
        let file = deflate(content.as_bytes());
        let decoded = decode(&file, 1_000);
        assert!(
            matches!(decoded, Err(LooseError::Inflate(e)) if e == error),
            "{decoded:?}"
        );
        for step in [1, usize::MAX] {
            let streamed = stream(&file, step);
            assert!(
                matches!(streamed, Err(LooseError::Inflate(e)) if e == error),
                "{streamed:?}"
            );
        }
    }
}

#[test]
fn only_headers_that_ids_are_made_of_are_read() {
    for content in [
        "blob 05\0five.",
        "blob +5\0five.",
        "blob -5\0five.",
        "blob  5\0five.",
        "blob\0",
        "blob 5",
        "Blob 5\0five.",
        "stash 5\0five.",
        "blob 18446744073709551616\0",
        "blob 5 and then nothing that ends a header",
        "\0",
    ] {
        let file = deflate(content.as_bytes());
        for result in [
            decode(&file, 1_000).map(drop),
            stream(&file, 1).map(drop),
            header(&file).map(drop),
        ] {
            let refused = matches!(result, Err(LooseError::Header | LooseError::Truncated));
            assert!(refused, "{content:?}: {result:?}");
        }
    }
    assert!(matches!(
        decode(b"not zlib at all", 9),
        Err(LooseError::Inflate(InflateError::Broken))
    ));
}

#[test]
fn stated_sizes_over_the_limit_are_refused_at_once() {
    let file = deflate(b"blob 18446744073709551615\0x");
    let refused = decode(&file, 1 << 30);
    assert!(
        matches!(refused, Err(LooseError::TooLarge { size: u64::MAX, limit }) if limit == 1 << 30)
    );
    assert_eq!(header(&file).expect("a header").1, u64::MAX);
}

#[test]
fn a_receivers_failure_comes_through() {
    let file = encode(ObjectKind::Blob, &sample(100_000));
    for passes in [0, 1] {
        let mut calls = 0;
        let result = LooseStream::new().feed(&file, &mut |_| {
            calls += 1;
            if calls > passes {
                Err(io::Error::other("full"))
            } else {
                Ok(())
            }
        });
        assert!(matches!(result, Err(LooseError::Out(_))), "{result:?}");
    }
}

proptest! {
    #[test]
    fn no_flipped_bit_gives_another_object(len in 0usize..100, bit in any::<prop::sample::Index>()) {
        let data = sample(len);
        let mut file = encode(ObjectKind::Blob, &data);
        let bit = bit.index(8 * file.len());
        file[bit / 8] ^= 1 << (bit % 8);
        // zlib's own checksum sees it, but for bits of its header that mean nothing.
        if let Ok((kind, found)) = decode(&file, 1_000) {
            prop_assert_eq!((kind, found.to_vec()), (ObjectKind::Blob, data));
        }
        let _ = stream(&file, 2);
    }
}

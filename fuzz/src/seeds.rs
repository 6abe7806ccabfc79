//! The seeds in `corpus/`: written here, so that it is known what is in them and why.
//!
//! `BONSAI_WRITE_SEEDS=1 cargo test --lib` in `fuzz/` writes them anew.

use std::path::PathBuf;

/// A target's check, and its seeds by name.
struct Target {
    name: &'static str,
    check: fn(&[u8]),
    seeds: Vec<(&'static str, Vec<u8>)>,
}

fn target(
    name: &'static str,
    check: fn(&[u8]),
    seeds: impl IntoIterator<Item = (&'static str, Vec<u8>)>,
) -> Target {
    let seeds = seeds.into_iter().collect();
    Target { name, check, seeds }
}

const ID: &str = "0123456789abcdef0123456789abcdef01234567";

fn all() -> Vec<Target> {
    vec![
        target("pktline", crate::pktline::check, pktline()),
        target(
            "v2_advertisement",
            crate::v2::advertisement::check,
            advertisement(),
        ),
        target("v2_fetch", crate::v2::fetch::check, fetch()),
        target("v2_lists", crate::v2::lists::check, lists()),
        target("objects", crate::objects::check, objects()),
        target("pack_stream", crate::pack::stream::check, pack_stream()),
        target("pack_files", crate::pack::files::check, pack_files()),
        target("ops", crate::ops::check, ops()),
        target("address", crate::address::check, address()),
        #[cfg(fuzzing)]
        target("credentials", crate::credentials::check, credentials()),
    ]
}

fn pktline() -> Vec<(&'static str, Vec<u8>)> {
    let stream = b"0009hello0004000100060a0000000afr\xc3\xbche0002";
    vec![
        ("whole", [&[0][..], stream].concat()),
        ("bytewise", [&[1, 1][..], stream].concat()),
        ("uneven", [&[3, 0, 2, 7][..], stream].concat()),
        ("too-long", [&[1, 5][..], b"0004fff1"].concat()),
        ("reserved", [&[0][..], b"0003"].concat()),
        ("cut-off", [&[2, 3, 1][..], b"0010hell"].concat()),
    ]
}

fn advertisement() -> Vec<(&'static str, Vec<u8>)> {
    let v2 = "version 2\nagent=git/2.47.3\nls-refs=unborn\nfetch=shallow wait-for-done filter \
              ref-in-want sideband-all\nserver-option\nobject-format=sha1\nobject-info\n=";
    let with = |start: &[u8], text: &str| [start, text.as_bytes()].concat();
    vec![
        ("v2", with(&[1, 1], v2)),
        (
            "preamble",
            with(&[1, 1], &format!("# service=git-upload-pack\n=\n{v2}")),
        ),
        (
            "sha256",
            with(&[0, 1], "version 2\nfetch\nobject-format=sha256\n="),
        ),
        (
            "v0",
            with(&[1, 1], &format!("{ID} HEAD\0multi_ack thin-pack\n=")),
        ),
        ("v1", with(&[1, 1], "version 1\n=")),
        ("refused", with(&[1, 1], "ERR no such repository\x1b[31m")),
        ("dumb", with(&[0, 0], &format!("{ID}\trefs/heads/main\n"))),
        (
            "page",
            with(&[2, 0], "<!DOCTYPE html><title>Sign in</title>"),
        ),
    ]
}

fn fetch() -> Vec<(&'static str, Vec<u8>)> {
    let with = |cuts: &[u8], text: &str| [cuts, &[1], text.as_bytes()].concat();
    let pack = "packfile\n\u{2}Counting objects: 1\r\n\u{1}PACK..\n\u{2}done.\n\u{1}more\n=";
    vec![
        ("pack", with(&[0], pack)),
        ("pack-bytewise", with(&[1, 1], pack)),
        (
            "shallow",
            with(
                &[2, 9, 0],
                &format!("shallow-info\nshallow {ID}\nunshallow {ID}\n-\n{pack}"),
            ),
        ),
        (
            "sections",
            with(
                &[0],
                &format!(
                    "acknowledgments\nNAK\nready\n-\nwanted-refs\n{ID} refs/heads/main\n-\n{pack}"
                ),
            ),
        ),
        ("fatal", with(&[0], "packfile\n\u{3}out of memory\x07\n=")),
        (
            "refused",
            with(&[0], &format!("ERR upload-pack: not our ref {ID}")),
        ),
        ("cut-off", with(&[1, 4], "packfile\n\u{1}PACK")),
    ]
}

fn lists() -> Vec<(&'static str, Vec<u8>)> {
    let with = |hash: u8, text: &str| [&[hash, 1], text.as_bytes()].concat();
    vec![
        (
            "refs",
            with(
                0,
                &format!(
                    "{ID} HEAD symref-target:refs/heads/main\n{ID} refs/heads/main\n\
                     {ID} refs/tags/v1 peeled:{ID}\n="
                ),
            ),
        ),
        (
            "unborn",
            with(0, "unborn HEAD symref-target:refs/heads/main\n="),
        ),
        (
            "bad-name",
            with(0, &format!("{ID} refs/heads/..\n{ID} a\x1b\n=")),
        ),
        ("sha256", with(3, &format!("{ID}{} HEAD\n=", &ID[..24]))),
        ("sizes", with(0, &format!("size\n{ID} 12\n{ID} \n="))),
        (
            "refused",
            with(0, &format!("ERR upload-pack: not our ref {ID}\n")),
        ),
        ("jgit", with(0, &format!("want {ID} not valid"))),
        ("empty", with(0, "=")),
    ]
}

fn objects() -> Vec<(&'static str, Vec<u8>)> {
    let with = |form: u8, parts: &[&[u8]]| [&[form][..], &parts.concat()].concat();
    let id = [7; 20];
    vec![
        (
            "tree",
            with(
                0,
                &[b"40000 a\0", &id, b"100644 a.b\0", &id, b"160000 m\0", &id],
            ),
        ),
        (
            "tree-odd",
            with(0, &[b"0100664 .GIT\0", &id, b"777 x/y\0", &id]),
        ),
        (
            "tree-choices",
            with(
                1,
                &[b"\x02\x01a\x01\x00\x01a\x02\x01\x02..\x03\x03\x05link\x00\x04"],
            ),
        ),
        ("tree-sha256", with(2, &[b"120000 l\0", &[9; 32]])),
        (
            "commit",
            with(
                3,
                &[format!(
                    "tree {ID}\nparent {ID}\nauthor A <a@b> 1 +0000\n\
                     committer C <> d> 1700000000 +0200\nencoding x\n\nwhy\n"
                )
                .as_bytes()],
            ),
        ),
        (
            "tag",
            with(
                3,
                &[format!("object {ID}\ntype commit\ntag v1\n\nx").as_bytes()],
            ),
        ),
        ("loose", with(4, &[&[2, 3, 1, 0, 0], b"content of a blob"])),
        ("loose-rot", with(4, &[&[0, 1, 1, 20, 0, 0, 0, 4], b"tree"])),
        (
            "delta",
            with(5, &[&[10], b"0123456789", &[10, 8, 0x91, 2, 5, 3], b"new"]),
        ),
        (
            "delta-far",
            with(5, &[&[1], b"0", &[1, 3, 0xff, 1, 1, 1, 1, 1, 1, 1]]),
        ),
    ]
}

/// Choices that make packs; see `pack::builder`.
const PACKS: [(&str, &[u8]); 5] = [
    ("blobs", b"\0\0\0\x05\0hello\0\x05\x07again\x01\x03\0abc"),
    (
        "deltas",
        b"\0\0\0\x10\x020123456789abcdef\x05\0\x01\0\x02\0\0\0\x08\x01\x03new\x04\x01\x02\x01\x04more\x01\0",
    ),
    (
        "backwards",
        b"\0\x03\0\x0a\x010123456789\x04\0\0\0\x01\0\0\0\x05\x04\x01\0\x01\x06behind",
    ),
    ("sha256", b"\x03\0\x02\x04\0tree\x03\x03\0tag"),
    ("empty", b""),
];

const ON_ITSELF: &[u8] = b"\x02\x05\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xfe\x00\x00\x00\x00\x00\x00\x00\x00\x00\x03\x00\x0a\x01\x30\x31\x32\x33\x34\x35\x36\x37\x38\x39\x04\x00\x00\x00\xff\xff\xff\xff\x01\x00\x00\x00\x05\x04\x00\x04\x00\x00\x01\x00\x01\x06\x62\x65\x68\x69\x40\x64";

fn pack_stream() -> Vec<(&'static str, Vec<u8>)> {
    let undamaged = |cuts: &[u8], limits: [u8; 2], choices: &[u8]| {
        [cuts, &limits, &[0; 16][..], choices].concat()
    };
    let mut seeds: Vec<_> = PACKS
        .iter()
        .map(|(name, choices)| (*name, undamaged(&[2, 5, 0], [0, 0], choices)))
        .collect();
    let (_, deltas) = PACKS[1];
    seeds.push(("bytewise", undamaged(&[1, 1], [0, 1], deltas)));
    // An object twice, once as a delta on itself. The fuzzer found it.
    seeds.push(("on-itself", ON_ITSELF.to_vec()));
    seeds.push(("large", undamaged(&[1, 20], [1, 2], deltas)));
    for (name, harm) in [
        ("changed", [1, 40, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ("torn", [0, 4, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ("trailing", [0, 5, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ] {
        seeds.push((name, [&[1, 3, 0, 0], &harm[..], deltas].concat()));
    }
    seeds
}

fn pack_files() -> Vec<(&'static str, Vec<u8>)> {
    let index = b"\x01\x02\0\x05\x01\x02\x01\x06\x01\x02\x02\x07\xff\xff\x03\x08";
    let (_, deltas) = PACKS[1];
    let (_, backwards) = PACKS[2];
    vec![
        ("index-raw", [&[0][..], b"\xfftOc\0\0\0\x02\0\0"].concat()),
        ("index", [&[1][..], &[0; 16], index].concat()),
        (
            "index-rot",
            [&[1, 1, 8, 4, 0, 0, 1][..], &[0; 10], index].concat(),
        ),
        ("pack", [&[2][..], &[0; 16], deltas].concat()),
        ("pack-twisted", [&[2, 1][..], &[0; 15], backwards].concat()),
        (
            "pack-rot",
            [&[2, 0, 1, 12, 0, 0, 0, 64][..], &[0; 9], deltas].concat(),
        ),
    ]
}

/// Three bytes of set-up (budget, hash bits, warm or cold), then steps; see `ops::kernel`.
fn ops() -> Vec<(&'static str, Vec<u8>)> {
    // Requests about the first known inode, the root: look up a, f, nothing; open; turns; answers.
    let lookup = |name: u8| [0, 0, 0, name];
    let (turn, answer, fail) = ([5, 0], [8, 0], [10, 0]);
    let (open, read_on) = ([0, 0, 5], [13, 0, 7, 5]);
    let with = |setup: [u8; 3], steps: &[&[u8]]| [&setup[..], &steps.concat()].concat();
    vec![
        (
            "lookups",
            with(
                [0, 0, 0],
                &[
                    &lookup(0),
                    &lookup(2),
                    &lookup(7),
                    &turn,
                    &turn,
                    &turn,
                    &answer,
                    &turn,
                    &turn,
                    &turn,
                    &answer,
                    &turn,
                    &turn,
                ],
            ),
        ),
        (
            "failure",
            with(
                [0, 0, 0],
                &[
                    &lookup(0),
                    &lookup(1),
                    &turn,
                    &turn,
                    &fail,
                    &turn,
                    &turn,
                    &lookup(0),
                    &turn,
                    &answer,
                    &turn,
                    &[12, 1, 0],
                ],
            ),
        ),
        (
            "cancel",
            with(
                [1, 1, 0],
                &[
                    &lookup(0),
                    &lookup(0),
                    &turn,
                    &turn,
                    &[11, 0],
                    &turn,
                    &answer,
                    &turn,
                ],
            ),
        ),
        (
            "warm-scan",
            with(
                [2, 2, 3],
                &[
                    &open,
                    &read_on,
                    &read_on,
                    &[13, 0, 2, 3],
                    &[13, 0, 1, 0],
                    &read_on,
                    &[12, 2, 0],
                    &[15, 0],
                    &lookup(0),
                    &[13, 0, 0, 0],
                ],
            ),
        ),
        (
            "files",
            with(
                [0, 1, 3],
                &[
                    &lookup(2),
                    &turn,
                    &answer,
                    &turn,
                    &[14, 0, 1],
                    &[0, 1, 4, 2, 9],
                    &turn,
                    &answer,
                    &turn,
                    &[12, 1, 0],
                    &[14, 1, 0],
                ],
            ),
        ),
    ]
}

fn address() -> Vec<(&'static str, Vec<u8>)> {
    let with = |form: u8, text: &str| [&[form], text.as_bytes()].concat();
    vec![
        ("path", with(0, "../some/where.git")),
        ("https", with(0, "https://Example.ORG:443/a/b.git/")),
        ("scp", with(0, "git@github.com:org/repo.git")),
        ("ssh", with(0, "ssh://git@example.org/x")),
        ("password", with(2, "example.org/a%20b/.git")),
        ("token", with(3, "localhost:8080")),
        ("bracket", with(2, "[::1]:80/-x?query#fragment")),
        ("ref", with(0, "refs/heads/a.lock/b@{1}")),
        // A URL does without the return, and then the path is the secret.
        ("secret-in-pieces", with(2, "a0b/ =ss\0hunt\rer2///\0")),
        ("id", with(0, ID)),
    ]
}

#[cfg(fuzzing)]
fn credentials() -> Vec<(&'static str, Vec<u8>)> {
    let with = |form: u8, text: &str| [&[form], text.as_bytes()].concat();
    vec![
        (
            "netrc",
            with(
                0,
                "machine other.example login a password \"b \\\" c\"\nmacdef m\nx\n\n\
                 # comment\nmachine asked.example login d account e password f\ndefault login g",
            ),
        ),
        (
            "helper",
            with(
                1,
                "protocol=https\nhost=asked.example\nusername=a\npassword=b\n",
            ),
        ),
        (
            "helper-scheme",
            with(1, "authtype=Bearer\ncredential=xyz\nephemeral=1\n"),
        ),
        (
            "helper-elsewhere",
            with(1, "host=other.example\nusername=a\npassword=b\n"),
        ),
        ("question", with(2, "Basic realm=\"x\"\nhost=other.example")),
        (
            "tokens",
            with(3, "asked.example:8443\nhttps://other.example"),
        ),
        // The URL standard drops the line end, and what is left is the host's name.
        ("tokens-line-end-in-a-host", with(3, "a\rsked.example")),
        // A host is shown in lower case, so a secret that can be a host's name proves nothing.
        ("tokens-named-like-a-secret", with(3, "HUNTER2")),
        (
            "config",
            with(
                4,
                "http.extraheader\nA: b\0http.https://asked.example.extraheader\n\
                 Authorization: Basic x\0url.https://asked.example/.insteadof\ngh:\0\
                 http.lowspeedtime\n20\0http.https://*.example/a/.proxy\nhttp://p\0flag",
            ),
        ),
    ]
}

fn folder(target: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "corpus", target]
        .iter()
        .collect()
}

#[test]
fn the_committed_seeds_are_these() {
    let write = std::env::var_os("BONSAI_WRITE_SEEDS").is_some();
    for target in all() {
        let folder = folder(target.name);
        std::fs::create_dir_all(&folder).expect("fuzz/ can be written");
        for (name, bytes) in target.seeds {
            let path = folder.join(format!("seed-{name}"));
            if write {
                std::fs::write(&path, &bytes).expect("fuzz/ can be written");
            }
            let there = std::fs::read(&path).expect("the seed is committed");
            assert!(there == bytes, "{} is out of date", path.display());
        }
    }
}

/// The seeds themselves, every beginning of them, and each with one byte changed.
#[test]
fn the_seeds_and_what_is_near_them_pass() {
    for target in all() {
        for (_, seed) in &target.seeds {
            for at in 0..=seed.len() {
                (target.check)(&seed[..at]);
                let mut changed = seed.clone();
                for bit in [0x01, 0x20, 0x80] {
                    if let Some(byte) = changed.get_mut(at) {
                        *byte ^= bit;
                        (target.check)(&changed);
                        changed[at] ^= bit;
                    }
                }
            }
        }
    }
}

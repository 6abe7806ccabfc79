//! The origin against a fake host, whose every answer a test chooses, and against a real
//! `git http-backend`.

mod backend;
mod login;
mod moves;
mod objects;
mod resolve;
mod secrets;
mod servers;

use bytes::Bytes;

use super::fake::{Answer, Seen, World, packets};
use crate::{
    git::oid::{HashKind, ObjectKind, Oid},
    origin::{FetchSink, Origin, OriginError, RefWant, Resolved},
};

const REPO: &str = "https://git.example/team/repo.git";
const POST: &str = "https://git.example/team/repo.git/git-upload-pack";
const GET: &str = "https://git.example/team/repo.git/info/refs?service=git-upload-pack";

const FETCH: &str = "fetch=shallow wait-for-done filter";

/// An id of the same hex digit all over.
fn oid(digit: char) -> Oid {
    let hex = digit.to_string().repeat(40);
    Oid::from_hex(hex.as_bytes()).expect("hex")
}

/// The answer to `ls-refs` for HEAD of a repository with one branch, whose tip is `oid('1')`.
fn head() -> Answer {
    let line = format!("{} HEAD symref-target:refs/heads/main", oid('1'));
    Answer::result(packets(&[&line]))
}

/// A Git server as they are in the field: an advertisement, HEAD, a pack.
fn usual(seen: &Seen) -> Answer {
    match seen.command().as_deref() {
        None => Answer::advertisement(&[FETCH, "object-format=sha1"]),
        Some("ls-refs") => head(),
        Some("fetch") => Answer::result(pack_answer(&[b"PACK"])),
        Some(other) => panic!("{other} was asked for"),
    }
}

/// An answer to `fetch` with these pieces of a pack, a line of progress before it.
fn pack_answer(pieces: &[&[u8]]) -> Vec<u8> {
    use crate::git::pktline::{encode_data, encode_flush, encode_text};
    let mut out = Vec::new();
    encode_text(&mut out, "packfile");
    encode_data(&mut out, b"\x02Counting\n");
    for piece in pieces {
        encode_data(&mut out, &[b"\x01", *piece].concat());
    }
    encode_flush(&mut out);
    out
}

/// What [`head`] says.
fn main_branch() -> Resolved {
    Resolved {
        name: Some("refs/heads/main".to_owned()),
        target: oid('1'),
        peeled: None,
        hash: HashKind::Sha1,
    }
}

/// Resolves `want`, the empty name being HEAD, in a new origin for [`REPO`].
async fn resolve(world: &World, want: &str) -> Result<Resolved, OriginError> {
    let want = match want {
        "" => RefWant::Head,
        name => RefWant::Named(name.to_owned()),
    };
    world.origin(REPO).await.resolve(&want).await
}

async fn head_of(world: &World) -> Result<Resolved, OriginError> {
    resolve(world, "").await
}

/// Takes what comes.
#[derive(Default)]
struct Sink {
    pack: Vec<u8>,
    progress: Vec<String>,
}

impl FetchSink for Sink {
    fn pack_data(&mut self, data: Bytes) -> Result<(), OriginError> {
        self.pack.extend_from_slice(&data);
        Ok(())
    }

    fn object(&mut self, _: Oid, _: ObjectKind, _: Bytes) -> Result<(), OriginError> {
        panic!("smart HTTP sends packs only")
    }

    fn large_start(&mut self, _: Oid, _: u64) -> Result<(), OriginError> {
        panic!("smart HTTP sends packs only")
    }

    fn large_data(&mut self, _: Bytes) -> Result<(), OriginError> {
        panic!("smart HTTP sends packs only")
    }

    fn progress(&mut self, line: &str) {
        self.progress.push(line.to_owned());
    }
}

//! A cache folder to damage, for tests: what it holds, how it is damaged, what may be read of it then.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::FileExt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;

use super::{DiskTier, LARGE, LargeWriter, Remembered, tests::install_raw};
use crate::{
    git::{
        oid::{ObjectKind, Oid},
        pack::{
            EntryKind,
            build::{encode, encode_entry, pack_header},
        },
    },
    objects::{
        Content,
        testing::{id, noise, pack, tier, with_checksum},
        tuning::BLOCK,
    },
};

/// Where an object of the folder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Pack,
    Loose,
    Large,
}

pub(super) struct Object {
    pub place: Place,
    pub oid: Oid,
    kind: ObjectKind,
    data: Bytes,
}

impl Object {
    pub fn new(place: Place, kind: ObjectKind, data: impl Into<Bytes>) -> Self {
        let data = data.into();
        let oid = id(kind, &data);
        Self {
            place,
            oid,
            kind,
            data,
        }
    }
}

/// What a folder holds, and so what may be read in it.
pub(super) struct Truth {
    pub objects: Vec<Object>,
    /// The one pack, whole.
    pack: Vec<u8>,
    wants: Vec<(String, Remembered)>,
    sizes: Vec<(Oid, u64)>,
}

/// What of the truth could not be read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Missing {
    objects: Vec<Oid>,
    wants: Vec<String>,
    sizes: Vec<Oid>,
}

/// A delta (gitformat-pack) that makes `base` with `end` behind it. Both are short.
fn longer(base: &[u8], end: &[u8]) -> Vec<u8> {
    let short = |len: usize| u8::try_from(len).ok().filter(|len| *len < 0x80);
    let short = |len| short(len).expect("one byte tells the length");
    let mut delta = vec![short(base.len()), short(base.len() + end.len())];
    // Copies from offset 0 on; then inserts.
    delta.extend([0x90, short(base.len()), short(end.len())]);
    delta.extend(end);
    delta
}

impl Truth {
    /// Each kind of thing that a cache folder may hold, none of them long but the large file.
    pub fn new() -> Self {
        let text = Bytes::from("a blob that is the base of a delta, and of one more\n");
        let [once, twice] = ["once more\n", "and a last time\n"];
        let mut tree = b"100644 file\0".to_vec();
        tree.extend(id(ObjectKind::Blob, &text).as_slice());
        let who = "A <a@example.org> 1700000000 +0000";
        let tree_id = id(ObjectKind::Tree, &tree);
        let commit = format!("tree {tree_id}\nauthor {who}\ncommitter {who}\n\nx\n");
        let commit_id = id(ObjectKind::Commit, commit.as_bytes());

        let mut pack = pack_header(7).to_vec();
        encode_entry(&mut pack, ObjectKind::Commit, commit.as_bytes(), 1);
        encode_entry(&mut pack, ObjectKind::Tree, &tree, 1);
        let base = pack.len() as u64;
        encode_entry(&mut pack, ObjectKind::Blob, &text, 1);
        let middle = pack.len() as u64;
        let made = [&text, once.as_bytes()].concat();
        let delta = longer(&text, once.as_bytes());
        encode(&mut pack, EntryKind::OfsDelta(base), &delta, 1);
        let last = [&made, twice.as_bytes()].concat();
        let delta = longer(&made, twice.as_bytes());
        encode(&mut pack, EntryKind::OfsDelta(middle), &delta, 1);
        let by_id = [&text, twice.as_bytes()].concat();
        let delta = longer(&text, twice.as_bytes());
        let of = EntryKind::RefDelta(id(ObjectKind::Blob, &text));
        encode(&mut pack, of, &delta, 1);
        encode_entry(&mut pack, ObjectKind::Blob, &noise(1, 40), 0);

        use {ObjectKind::*, Place::*};
        let remembered = |name: Option<&str>| Remembered {
            name: name.map(str::to_owned),
            target: commit_id,
            commit: commit_id,
        };
        let large = usize::try_from(LARGE).expect("a few megabytes") + BLOCK / 2;
        let objects = vec![
            Object::new(Pack, Commit, commit),
            Object::new(Pack, Tree, tree),
            Object::new(Pack, Blob, text),
            Object::new(Pack, Blob, made),
            Object::new(Pack, Blob, last),
            Object::new(Pack, Blob, by_id),
            Object::new(Pack, Blob, noise(1, 40)),
            Object::new(Loose, Blob, "loose\n".repeat(9)),
            Object::new(Loose, Blob, ""),
            Object::new(Loose, Blob, noise(2, 40)),
            Object::new(
                Loose,
                Tree,
                b"40000 empty\0and nothing that is one".to_vec(),
            ),
            Object::new(Large, Blob, noise(3, large)),
        ];
        let sizes = (0..4u8).map(|n| (id(Blob, &[n]), 1 << (9 * n)));
        Self {
            sizes: sizes.collect(),
            objects,
            pack: with_checksum(pack),
            wants: vec![
                (
                    "refs/heads/main".to_owned(),
                    remembered(Some("refs/heads/main")),
                ),
                (commit_id.to_string(), remembered(None)),
            ],
        }
    }

    /// A pack of blobs with these contents, of which those at the places `read` are read.
    pub fn packed(contents: &[Bytes], read: &[usize]) -> Self {
        let blob = |data: &Bytes| (ObjectKind::Blob, data.clone());
        let blobs: Vec<_> = contents.iter().map(blob).collect();
        let object = |at: &usize| Object::new(Place::Pack, ObjectKind::Blob, contents[*at].clone());
        Self {
            objects: read.iter().map(object).collect(),
            pack: pack(&blobs),
            wants: Vec::new(),
            sizes: Vec::new(),
        }
    }

    fn missing_all(&self) -> Missing {
        Missing {
            objects: self.objects.iter().map(|object| object.oid).collect(),
            wants: self.wants.iter().map(|(want, _)| want.clone()).collect(),
            sizes: self.sizes.iter().map(|(oid, _)| *oid).collect(),
        }
    }

    /// Stores `missing` as it would be after it came again.
    pub fn store(&self, tier: &Arc<DiskTier>, missing: &Missing) {
        let mut packed = false;
        for object in &self.objects {
            let Object {
                oid, kind, data, ..
            } = object;
            match object.place {
                _ if !missing.objects.contains(oid) => {}
                Place::Pack if packed => {}
                Place::Pack => {
                    install_raw(tier, &self.pack);
                    packed = true;
                }
                Place::Loose => tier.put_loose(oid, *kind, data).expect("room"),
                Place::Large => {
                    let mut writer = LargeWriter::new(tier, *oid, data.len() as u64).expect("room");
                    writer.write(data).expect("room");
                    writer.finish().expect("room").expect("it is the right one");
                }
            }
        }
        for (want, what) in &self.wants {
            if missing.wants.contains(want) {
                tier.remember(want, what).expect("room");
            }
        }
        for (oid, size) in &self.sizes {
            if missing.sizes.contains(oid) {
                tier.learn_size(oid, *size);
            }
        }
        tier.save_sizes().expect("room");
    }

    /// Reads everything: what isn't there. Of the large file only the blocks around `places` are read.
    pub fn read(&self, tier: &DiskTier, places: &[u64]) -> Missing {
        let mut missing = Missing::default();
        for Object {
            oid, kind, data, ..
        } in &self.objects
        {
            let sound = match tier.find(oid) {
                None => false,
                Some(Content::Whole {
                    kind: found,
                    data: read,
                }) => {
                    assert!(found == *kind && read == *data, "{oid}: {found} {read:?}");
                    true
                }
                Some(Content::Large(file)) => {
                    assert_eq!(file.size(), data.len() as u64, "{oid}");
                    let sound = places.iter().all(|at| match file.read(*at, 100) {
                        Ok(read) => {
                            let from = data.len().min(usize::try_from(*at).expect("short"));
                            let to = data.len().min(from + 100);
                            assert!(read == data[from..to], "{oid}, from {at} on");
                            true
                        }
                        Err(error) => {
                            assert_eq!(error.kind(), std::io::ErrorKind::InvalidData, "{error}");
                            false
                        }
                    });
                    if !sound {
                        // As the store does when a reader says so.
                        tier.drop_large(oid);
                    }
                    sound
                }
            };
            if !sound {
                missing.objects.push(*oid);
            }
        }
        for (want, what) in &self.wants {
            match tier.remembered(want) {
                Some(found) => assert_eq!(found, *what, "{want}"),
                None => missing.wants.push(want.clone()),
            }
        }
        for (oid, size) in &self.sizes {
            match tier.known_size(oid) {
                Some(found) => assert_eq!(found, *size, "{oid}"),
                None => missing.sizes.push(*oid),
            }
        }
        missing
    }
}

/// A folder to damage, and what it holds.
pub(super) struct Rotting {
    pub truth: Truth,
    pub dir: tempfile::TempDir,
    /// The content of all its files that are not empty, as it should be.
    pub files: BTreeMap<PathBuf, Vec<u8>>,
}

impl Rotting {
    pub fn new(truth: Truth) -> Self {
        // In memory, as it is synced thousands of times.
        let memory = Path::new("/dev/shm");
        let dir = match memory.is_dir() {
            true => tempfile::tempdir_in(memory),
            false => tempfile::tempdir(),
        };
        let dir = dir.expect("a temporary folder");
        let stored = tier(dir.path());
        truth.store(&stored, &truth.missing_all());
        drop(stored);
        let files = files(dir.path()).into_iter();
        let content = |path: PathBuf| (path.clone(), fs::read(path).expect("it can be read"));
        Self {
            files: files.map(content).collect(),
            truth,
            dir,
        }
    }

    /// Puts everything back.
    pub fn restore(&self, damaged: &Path) {
        for path in files(self.dir.path()) {
            if !self.files.contains_key(&path) {
                fs::remove_file(path).expect("it is there");
            }
        }
        for (path, sound) in &self.files {
            if path == damaged || !path.exists() {
                fs::write(path, sound).expect("room");
            }
        }
    }

    /// Does `damage` to the file `path`, reads everything, and if something is missing and it is to be
    /// mended, stores it and reads everything again. Whether something was missing.
    pub fn damage(&self, path: &Path, damage: Damage, mend: bool) -> bool {
        let sound = &self.files[path];
        damage.done(path);
        let at = damage.place() as u64;
        let places = match kind_of(path) {
            "large" | "sums" => &[0, at.saturating_sub(50), at][..],
            _ => &[],
        };
        let opened = tier(self.dir.path());
        let missing = self.truth.read(&opened, places);
        let found = missing != Missing::default();
        if found && mend {
            self.truth.store(&opened, &missing);
            let again = self.truth.read(&opened, places);
            assert_eq!(again, Missing::default(), "stored anew");
            let again = self.truth.read(&tier(self.dir.path()), places);
            assert_eq!(again, Missing::default(), "and opened anew");
            let now = fs::read(path).expect("it is there");
            assert!(now == *sound, "what is damaged is gone");
        }
        self.restore(path);
        found
    }

    /// Calls `each` with damages of each file, until it panics, and then says what it was about.
    pub fn each<'a>(
        &'a self,
        damages: impl Fn(usize) -> Vec<Damage>,
        mut each: impl FnMut(&'a Path, Damage),
    ) {
        for (path, sound) in &self.files {
            for damage in damages(sound.len()) {
                let tried = catch_unwind(AssertUnwindSafe(|| each(path, damage)));
                tried.unwrap_or_else(|_| panic!("{}: {damage:?}", path.display()));
            }
        }
    }
}

/// All files below `dir` that are not empty.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let entry = entry.expect("it can be read");
            let about = entry.metadata().expect("it is there");
            match about.is_dir() {
                true => folders.push(entry.path()),
                false if about.len() == 0 => {}
                false => files.push(entry.path()),
            }
        }
    }
    files
}

/// One change to a file.
#[derive(Clone, Copy, Debug)]
pub(super) enum Damage {
    Flip { at: usize, bits: u8 },
    Cut { len: usize },
}

impl Damage {
    fn place(self) -> usize {
        match self {
            Self::Flip { at, .. } => at,
            Self::Cut { len } => len,
        }
    }

    pub fn done(self, path: &Path) {
        let file = fs::File::options().read(true).write(true).open(path);
        let file = file.expect("it is there");
        match self {
            Self::Flip { at, bits } => {
                let mut byte = [0];
                file.read_exact_at(&mut byte, at as u64)
                    .expect("it is there");
                file.write_all_at(&[byte[0] ^ bits], at as u64)
                    .expect("room");
            }
            Self::Cut { len } => file.set_len(len as u64).expect("it can be cut"),
        }
    }

    /// A bit of each byte, another one for its neighbour, and the lengths to be cut to.
    ///
    /// Of an index, whose first kilobyte is a table of counts, every third byte there.
    pub fn everywhere(len: usize) -> Vec<Self> {
        let is_taken =
            |at: &usize| len < 1_024 || !(40..1_032).contains(at) || at.is_multiple_of(3);
        Self::at((0..len).filter(is_taken).collect())
    }

    /// The same around both ends of a long file and of some of its blocks, and at some places between.
    pub fn here_and_there(len: usize) -> Vec<Self> {
        let near = |at: &usize| *at < 20 || at + 25 > len || at % (BLOCK * 37) < 2;
        Self::at(
            (0..len)
                .filter(|at| near(at) || at.is_multiple_of(len / 8))
                .collect(),
        )
    }

    pub fn at(places: Vec<usize>) -> Vec<Self> {
        let flip = |at: &usize| Self::Flip {
            at: *at,
            bits: 1 << (at % 8),
        };
        // Of a longer file every third length: what ends between is no other case.
        let lengths = places
            .iter()
            .step_by(if places.len() > 400 { 3 } else { 1 });
        let cuts = lengths.map(|len| Self::Cut { len: *len });
        places.iter().map(flip).chain(cuts).collect()
    }
}

/// Which of the things that a cache folder holds is in the file `path`.
pub(super) fn kind_of(path: &Path) -> &str {
    let folder = path.parent().and_then(Path::file_name).unwrap_or_default();
    match (folder.to_str(), path.extension().or(path.file_name())) {
        (Some("refs"), _) => "refs",
        (Some(two), _) if two.len() == 2 => "loose",
        (_, Some(name)) if name.len() == 40 => "large",
        (_, name) => name.and_then(|name| name.to_str()).unwrap_or_default(),
    }
}

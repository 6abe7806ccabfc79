use std::{
    os::unix::{ffi::OsStrExt, fs::symlink},
    sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use super::*;

struct Place {
    temp: tempfile::TempDir,
    state: StateRoot,
}

impl Place {
    fn new() -> Self {
        let temp = tempfile::tempdir().expect("a temporary folder");
        let state = StateRoot::in_folder(&temp.path().join("state"));
        Self { temp, state }
    }

    fn path(&self, name: &str) -> PathBuf {
        // The temporary folder may be reached through a link.
        let base = fs::canonicalize(self.temp.path()).expect("it is there");
        base.join(name)
    }

    fn claim(&self, name: &str) -> Result<Claim, MountError> {
        Claim::new(&self.path(name), &self.state)
    }
}

#[test]
fn a_missing_directory_is_made_and_removed_with_the_claim() {
    let place = Place::new();
    let claim = place.claim("m").expect("claimed");
    assert!(claim.created() && place.path("m").is_dir());
    drop(claim);
    assert!(!place.path("m").exists());
}

#[test]
fn a_made_directory_with_something_in_it_stays() {
    let place = Place::new();
    let claim = place.claim("m").expect("claimed");
    fs::write(place.path("m/file"), "").expect("written");
    drop(claim);
    assert!(place.path("m/file").exists());
}

#[test]
fn an_empty_directory_is_used_and_stays() {
    let place = Place::new();
    fs::create_dir(place.path("m")).expect("made");
    let claim = place.claim("m").expect("claimed");
    assert!(!claim.created());
    drop(claim);
    assert!(place.path("m").is_dir());
}

#[test]
fn what_stands_in_the_way_is_told_apart() {
    let place = Place::new();
    fs::create_dir_all(place.path("full/x")).expect("made");
    fs::write(place.path("file"), "").expect("written");

    let error = place.claim("full").expect_err("not empty");
    assert!(matches!(error, MountError::NotEmpty { .. }), "{error}");
    let error = place.claim("file").expect_err("a file");
    assert!(matches!(error, MountError::NotADirectory { .. }), "{error}");
    let error = place.claim("file/m").expect_err("below a file");
    assert!(matches!(error, MountError::NotADirectory { .. }), "{error}");
    let error = place.claim("no/m").expect_err("no parent");
    assert!(matches!(error, MountError::ParentMissing { .. }), "{error}");
    let error = Claim::new(Path::new("/proc"), &place.state).expect_err("mounted");
    assert!(
        matches!(error, MountError::AlreadyMounted { .. }),
        "{error}"
    );
}

#[test]
fn of_two_claims_one_wins() {
    let place = Place::new();
    let first = place.claim("m").expect("claimed");
    let error = place.claim("m").expect_err("claimed already");
    assert!(matches!(error, MountError::MountingNow { .. }), "{error}");
    assert!(place.path("m").is_dir(), "the loser removes nothing");
    drop(first);
    place.claim("m").expect("free again");
}

#[test]
fn of_many_claims_at_once_one_wins_and_nothing_is_left() {
    let place = Place::new();
    for _ in 0..20 {
        let won = AtomicUsize::new(0);
        // All of them hold what they got until each has tried.
        let tried = Barrier::new(8);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let claim = place.claim("m");
                    tried.wait();
                    match claim {
                        Ok(_) => drop(won.fetch_add(1, Ordering::Relaxed)),
                        Err(MountError::MountingNow { .. }) => {}
                        Err(other) => panic!("{other}"),
                    }
                });
            }
        });
        assert_eq!(won.into_inner(), 1);
        assert!(!place.path("m").exists(), "it was made, and goes");
    }
    let left: Vec<_> = fs::read_dir(place.path(""))
        .expect("listed")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert_eq!(left, ["state"]);
}

#[test]
fn links_are_followed_to_one_name() {
    let place = Place::new();
    fs::create_dir(place.path("real")).expect("made");
    symlink(place.path("real"), place.path("link")).expect("linked");
    let claim = place.claim("link").expect("claimed");
    assert_eq!(claim.dir(), place.path("real"));
    drop(claim);
    let claim = place.claim("link/m").expect("claimed");
    assert_eq!(claim.dir(), place.path("real/m"));
}

#[test]
fn names_of_any_bytes_are_fine() {
    let place = Place::new();
    let name = Path::new(std::ffi::OsStr::from_bytes(b"we ird\n\xff"));
    let dir = place.path("").join(name);
    let claim = Claim::new(&dir, &place.state).expect("claimed");
    assert_eq!(claim.dir(), dir);
}

#[test]
fn dots_are_resolved_not_taken_for_names() {
    let place = Place::new();
    fs::create_dir(place.path("m")).expect("made");
    let dotted = place.path("m").join("..").join("m").join(".");
    assert_eq!(resolve(&dotted).expect("it exists"), place.path("m"));
    let gone = place.path("m").join("..").join("new");
    assert_eq!(
        resolve(&gone).expect("its parent exists"),
        place.path("new")
    );
}

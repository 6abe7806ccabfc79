//! One repository of every kind that a mount must show. May import: this room's other files.

use std::io::Write;

use super::{Files, Format, Repo, Shape};

pub use super::large::{PATTERN_BLOCK, large_blob, pattern};

/// A repository ready to be mounted.
#[derive(Clone, Debug)]
pub struct Specimen {
    /// The repository.
    pub repo: Repo,
    /// What to give as `--ref`; nothing for HEAD.
    pub want: Option<String>,
    /// The commit that must then be shown.
    pub commit: String,
}

impl Specimen {
    fn of(repo: Repo, files: &Files) -> Self {
        let commit = repo.commit(files);
        Self {
            repo,
            want: None,
            commit,
        }
    }

    pub(super) fn of_tree(repo: Repo, tree: &str) -> Self {
        let commit = repo.commit_of(tree);
        repo.point_main(&commit);
        Self {
            repo,
            want: None,
            commit,
        }
    }
}

/// Text of `lines` lines that no two numbers share.
fn text(number: usize, lines: usize) -> Vec<u8> {
    let mut text = Vec::new();
    for line in 0..lines {
        writeln!(text, "file {number}, line {line}").expect("memory takes it");
    }
    text
}

/// A small project: a few folders, text and binary files, an executable, a symlink.
pub fn small_files() -> Files {
    let mut files = Files::new()
        .file("README.md", "# Example\n\nHello.\n")
        .file(
            "bin.dat",
            (0..=255).cycle().take(100_000).collect::<Vec<u8>>(),
        )
        .executable("run.sh", "#!/bin/sh\necho hello\n")
        .symlink("latest", "src/deep/er")
        .file("src/lib.rs", text(0, 10))
        .file("src/deep/er/file.txt", text(1, 1000));
    for number in 0..40 {
        files.add_file(format!("src/modules/m{number:02}.rs"), text(number, number));
    }
    files
}

/// [`small_files`], in one pack.
pub fn plain() -> Specimen {
    Specimen::of(Repo::new(), &small_files())
}

/// [`small_files`] in the SHA-256 format.
pub fn sha256() -> Specimen {
    Specimen::of(Repo::with(Format::Sha256, Shape::Bare), &small_files())
}

/// Executable bits in all places.
pub fn executables() -> Specimen {
    let files = Files::new()
        .executable("x", "same")
        .file("n", "same")
        .executable("dir/empty-x", "")
        .file("dir/empty-n", "")
        .executable("dir/deep/x", vec![0; 5000]);
    Specimen::of(Repo::new(), &files)
}

/// Symlinks with targets of every sort: dangling, absolute, out of the tree, to themselves, not
/// UTF-8, with line ends, and the longest that Linux can follow.
pub fn symlinks() -> Specimen {
    let files = Files::new()
        .file("file", "x")
        .symlink("to-file", "file")
        .symlink("dangling", "nowhere")
        .symlink("absolute", "/etc/hostname")
        .symlink("out", "../../../..")
        .symlink("itself", "itself")
        .symlink("dir/up", "../file")
        .symlink("bytes", b"\xff\xfe \n\t\\\"'\x01")
        .symlink("trailing-slash", "dir/")
        .symlink("long", vec![b'a'; 200])
        .symlink("longest", vec![b'b'; 4095]);
    Specimen::of(Repo::new(), &files)
}

/// Gitlinks at the root and below.
pub fn gitlinks() -> Specimen {
    let files = Files::new()
        .file(
            ".gitmodules",
            "[submodule \"lib\"]\n\tpath = lib\n\turl = ../lib\n",
        )
        .gitlink("lib", "1234567890123456789012345678901234567890")
        .gitlink("vendor/other", "abcdefabcdefabcdefabcdefabcdefabcdefabcd")
        .file("vendor/file", "beside a gitlink");
    Specimen::of(Repo::new(), &files)
}

/// Names of any bytes, the longest ones, and names whose order is easy to get wrong.
pub fn names() -> Specimen {
    let mut files = Files::new();
    let odd: [&[u8]; 22] = [
        b"new\nline",
        b"tab\tand\rreturn",
        b"quote\"s and 'single'",
        b"back\\slash",
        b" leading and trailing ",
        b"-dash",
        b"--flag",
        b"*?[glob]",
        b"$(touch x)`y`;&|<>",
        b"%41 percent",
        b"\xff\xfe\x80 not UTF-8",
        b"\xc3",
        "h\u{e9}llo \u{1f333}".as_bytes(),
        // The same letter composed and not: two names.
        "\u{e9}".as_bytes(),
        "e\u{301}".as_bytes(),
        b"\x01\x1f\x7f",
        b"...",
        b".hidden",
        b"..double",
        b"con",
        b"a:b",
        b"UPPER",
    ];
    for (number, name) in odd.iter().enumerate() {
        files.add_file(name, text(number, 3));
        files.add_file([b"as-dir/", *name, b"/", *name].concat(), text(number, 2));
    }
    files.add_file(vec![b'n'; 255], "a name of 255 bytes");
    files.add_file(vec![0xe9; 255], "255 bytes that are not UTF-8");
    files.add_file("upper", "not UPPER");
    // Git sorts a tree as if a directory's name ended with a slash.
    for name in ["ab", "ab.c", "ab-c", "ab0", "abc"] {
        files.add_file(format!("order/{name}"), name);
        files.add_file(format!("order/dir{name}/x"), name);
        files.add_file(format!("order/dir{name}.file"), name);
    }
    files.add_file("order/dirab-", "-");
    Specimen::of(Repo::new(), &files)
}

/// Empty files and empty directories (which only a tree can hold, no index).
pub fn empty_things() -> Specimen {
    let repo = Repo::new();
    let (blob, nothing) = (repo.blob(b""), repo.tree(&[]));
    let inner = repo.tree(&[
        ("100644", &blob, b"empty"),
        ("040000", &nothing, b"nothing"),
    ]);
    let only = repo.tree(&[("040000", &nothing, b"below")]);
    let tree = repo.tree(&[
        ("040000", &inner, b"dir"),
        ("100644", &blob, b"empty"),
        ("040000", &nothing, b"nothing"),
        ("040000", &only, b"only"),
    ]);
    Specimen::of_tree(repo, &tree)
}

/// A commit of the empty tree.
pub fn empty_tree() -> Specimen {
    Specimen::of(Repo::new(), &Files::new())
}

/// No commit at all: not to be mounted.
pub fn empty_repository() -> Repo {
    Repo::new()
}

/// A directory of `count` entries, most of them small files with one of 97 contents.
pub fn large_directory(count: usize) -> Specimen {
    let mut files = Files::new()
        .symlink("large/link", "entry-00000")
        .file("large/sub/file", "below the large one");
    for number in 0..count - 2 {
        files.add_file(format!("large/entry-{number:05}"), text(number % 97, 1));
    }
    Specimen::of(Repo::new(), &files)
}

/// A path `levels` directories deep, with a file and a symlink on every level.
pub fn deep(levels: usize) -> Specimen {
    let mut files = Files::new();
    let mut path = String::new();
    for level in 0..levels {
        path.push_str(&format!("level{level}/"));
        files.add_file(format!("{path}file"), text(level, 1));
        files = files.symlink(format!("{path}link"), "../file");
    }
    Specimen::of(Repo::new(), &files)
}

/// A history of edits to large texts, repacked: most objects are deltas by offset.
pub fn deltas() -> Specimen {
    let specimen = edited();
    specimen.repo.pack();
    specimen
}

/// As [`deltas`], with deltas that name their base by id.
pub fn ref_deltas() -> Specimen {
    let specimen = edited();
    let base = ["-c", "repack.useDeltaBaseOffset=false"];
    let repack = ["repack", "-a", "-d", "-f", "--quiet", "--depth=50"];
    specimen.repo.git(&[&base[..], &repack].concat());
    specimen
}

fn edited() -> Specimen {
    let mut files = Files::new();
    let mut content = text(0, 800);
    for number in 0..60 {
        // Each file is the one before it with a line more.
        content.extend_from_slice(&text(number, 1));
        files.add_file(format!("edits/version-{number:02}"), content.clone());
    }
    Specimen::of(Repo::new(), &files)
}

/// All objects loose.
pub fn loose() -> Specimen {
    let repo = Repo::new();
    let blob = repo.blob(b"loose\n");
    let large = repo.blob(&text(0, 5000));
    let inner = repo.tree(&[("100644", &large, b"large")]);
    let tree = repo.tree(&[
        ("100755", &blob, b"run"),
        ("040000", &inner, b"sub"),
        ("120000", &blob, b"symlink"),
    ]);
    Specimen::of_tree(repo, &tree)
}

/// Objects spread over several packs and loose ones, with a multi-pack-index and packed refs.
pub fn many_packs() -> Specimen {
    let repo = Repo::new();
    for number in 0..3 {
        repo.commit(&Files::new().file(format!("old-{number}"), text(number, 20)));
    }
    repo.commit(&small_files());
    repo.git(&["multi-pack-index", "write"]);
    let blob = repo.blob(b"loose beside packs\n");
    let packed = repo.oid("main^{tree}");
    let tree = repo.tree(&[
        ("040000", &packed, b"packed"),
        ("100644", &blob, b"zz-loose"),
    ]);
    let specimen = Specimen::of_tree(repo, &tree);
    specimen.repo.git(&["pack-refs", "--all"]);
    specimen
}

/// An annotated tag, asked for by its name.
pub fn annotated_tag() -> Specimen {
    let mut specimen = plain();
    let args = ["tag", "-a", "-m", "Release", "v1.0", &specimen.commit];
    specimen.repo.git(&args);
    // HEAD is elsewhere, so that the tag is what decides.
    specimen
        .repo
        .commit(&Files::new().file("other", "not tagged"));
    specimen.want = Some("v1.0".to_owned());
    specimen
}

/// A tag of a tag of a commit.
pub fn nested_tag() -> Specimen {
    let mut specimen = annotated_tag();
    let args = ["tag", "-a", "-m", "Again", "again", "v1.0"];
    specimen.repo.git(&args);
    specimen.want = Some("again".to_owned());
    specimen
}

/// A branch other than HEAD's, whose name has a slash.
pub fn branch() -> Specimen {
    let mut specimen = plain();
    let reference = "refs/heads/feature/x";
    specimen
        .repo
        .git(&["update-ref", reference, &specimen.commit]);
    specimen.repo.commit(&Files::new().file("other", "on main"));
    specimen.want = Some("feature/x".to_owned());
    specimen
}

/// A commit by its id, which no ref points to any more.
pub fn unreferenced_commit() -> Specimen {
    let mut specimen = plain();
    specimen.repo.commit(&Files::new().file("other", "on main"));
    specimen.want = Some(specimen.commit.clone());
    specimen
}

/// HEAD holds a commit's id, not a branch's name.
pub fn detached_head() -> Specimen {
    let specimen = plain();
    specimen
        .repo
        .git(&["update-ref", "--no-deref", "HEAD", &specimen.commit]);
    specimen.repo.commit(&Files::new().file("other", "on main"));
    specimen
}

/// All objects are another repository's, borrowed through `objects/info/alternates`.
pub fn alternates() -> Specimen {
    let lender = plain();
    let clone = ["clone", "--quiet", "--bare", "--shared", "repo.git"];
    Specimen {
        repo: lender.repo.beside("borrower.git", &clone),
        ..lender
    }
}

/// A work tree with a `.git` directory, whose checked-out files say something else than HEAD.
pub fn work_tree() -> Specimen {
    let specimen = Specimen::of(Repo::with(Format::Sha1, Shape::WorkTree), &small_files());
    let readme = specimen.repo.path().join("README.md");
    std::fs::write(readme, "not committed").expect("a file written");
    specimen
}

/// A second work tree, whose `.git` is a file, on a branch of its own.
pub fn second_work_tree() -> Specimen {
    let first = work_tree();
    first
        .repo
        .commit(&small_files().file("only-here", "in the second work tree"));
    let commit = first.repo.oid("main");
    first
        .repo
        .git(&["update-ref", "refs/heads/second", &commit]);
    first.repo.commit(&small_files());
    let add = ["worktree", "add", "--quiet", "../second", "second"];
    first.repo.git(&add);
    Specimen {
        repo: first.repo.named("second"),
        want: None,
        commit,
    }
}

/// A clone without history, whose only commit has a parent that isn't there.
pub fn shallow() -> Specimen {
    let repo = Repo::new();
    let old = repo.commit(&Files::new().file("README.md", "older"));
    let tree = {
        repo.commit(&small_files());
        repo.oid("main^{tree}")
    };
    let args = ["commit-tree", "-p", &old, "-m", "newer", &tree];
    let commit = repo.git_with(&args, b"");
    repo.point_main(&commit);
    let origin = format!("file://{}", repo.path().display());
    let clone = ["clone", "--quiet", "--bare", "--depth=1", &origin];
    Specimen {
        repo: repo.beside("shallow.git", &clone),
        want: None,
        commit,
    }
}

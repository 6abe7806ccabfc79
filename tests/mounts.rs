//! Repositories of every kind, from a folder and over HTTP from servers of every shape: the mount
//! shows every path, kind, mode, target, size and byte of the commit, to one reader and to eight
//! at once.

use std::{collections::BTreeSet, fs, io, os::unix::ffi::OsStringExt, path::Path, thread};

use bonsai_testkit::{
    Bonsai, GitServer, Order, Specimen, assert_same, assert_same_in_parallel,
    compare::{Difference, Node, Tree, archived, committed, differences, read_tree},
    hostile, specimens,
    syscalls::descend,
};

fn bonsai() -> Bonsai {
    Bonsai::new(env!("CARGO_BIN_EXE_bonsai"))
}

/// A way to reach a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// By its path.
    Folder,
    /// Over HTTP, from a server as most are: with filters, without object-info.
    Http,
    /// Over HTTP, from a server that can't filter.
    WithoutFilter,
    /// Over HTTP, from a server that tells sizes.
    ObjectInfo,
}

const ALL_WAYS: [Way; 4] = [Way::Folder, Way::Http, Way::WithoutFilter, Way::ObjectInfo];

impl Way {
    /// The source to mount, and the server to keep until it is unmounted.
    fn source(self, specimen: &Specimen) -> (String, Option<GitServer>) {
        let builder = GitServer::builder(specimen.repo.root());
        let builder = match self {
            Self::Folder => return (specimen.repo.path().display().to_string(), None),
            Self::Http => builder,
            Self::WithoutFilter => builder.without_filter(),
            Self::ObjectInfo => builder.object_info(),
        };
        let server = builder.start().expect("a server");
        (server.url(&specimen.repo.served()), Some(server))
    }
}

/// The tree of the commit, on which `git ls-tree` and `git archive` agree.
fn expected(specimen: &Specimen) -> Tree {
    let tree = committed(&specimen.repo, &specimen.commit);
    let archive = archived(&specimen.repo, &specimen.commit);
    let found = differences(&tree.without_empty_dirs(), &archive.without_empty_dirs());
    assert_eq!(found, [], "two opinions on what to expect");
    tree
}

/// Mounts by every way of `ways`, for one reader and again, from nothing, for eight.
fn shown_by(specimen: &Specimen, ways: &[Way]) {
    let expected = expected(specimen);
    for &way in ways {
        for readers in [1, 8] {
            let (source, _server) = way.source(specimen);
            let bonsai = bonsai();
            let options: Vec<&str> = specimen
                .want
                .iter()
                .flat_map(|want| ["--ref", want])
                .collect();
            let mount = bonsai.mount(&source, &options);
            assert!(
                mount.line().trim_end().ends_with(&specimen.commit[..12]),
                "{way:?}: {} is not {}",
                mount.line(),
                specimen.commit
            );
            match readers {
                1 => assert_same(&expected, mount.dir(), Order::Sorted),
                _ => assert_same_in_parallel(&expected, mount.dir(), readers),
            }
            let status: serde_json::Value =
                serde_json::from_str(&mount.status()).expect("status in JSON");
            assert_eq!(status["commit"], specimen.commit.as_str());
            assert_eq!(status["rejected_entries"], 0);
            assert!(status["last_error"].is_null(), "{way:?}: {status}");
            mount.unmount();
            bonsai.assert_nothing_left();
        }
    }
}

fn shown(specimen: &Specimen) {
    shown_by(specimen, &ALL_WAYS);
}

#[test]
fn a_plain_repository() {
    shown(&specimens::plain());
}

#[test]
fn a_sha256_repository() {
    shown(&specimens::sha256());
}

#[test]
fn executable_bits() {
    shown(&specimens::executables());
}

#[test]
fn symlinks_with_any_target() {
    shown(&specimens::symlinks());
}

#[test]
fn gitlinks_as_empty_directories() {
    shown(&specimens::gitlinks());
}

#[test]
fn names_of_any_bytes() {
    shown(&specimens::names());
}

#[test]
fn empty_files_and_empty_directories() {
    shown(&specimens::empty_things());
}

#[test]
fn a_commit_of_the_empty_tree() {
    shown(&specimens::empty_tree());
}

#[test]
fn a_path_200_levels_deep() {
    shown(&specimens::deep(200));
}

#[test]
fn objects_packed_with_deltas() {
    shown(&specimens::deltas());
}

#[test]
fn objects_packed_with_deltas_by_id() {
    shown(&specimens::ref_deltas());
}

#[test]
fn loose_objects() {
    shown(&specimens::loose());
}

#[test]
fn many_packs_and_packed_refs() {
    shown(&specimens::many_packs());
}

#[test]
fn an_annotated_tag() {
    shown(&specimens::annotated_tag());
}

#[test]
fn a_tag_of_a_tag() {
    shown(&specimens::nested_tag());
}

#[test]
fn a_branch_other_than_the_default() {
    shown(&specimens::branch());
}

#[test]
fn a_commit_that_no_ref_points_to() {
    shown(&specimens::unreferenced_commit());
}

#[test]
fn a_shortened_commit_id_of_a_local_repository() {
    let mut specimen = specimens::unreferenced_commit();
    specimen.want = Some(specimen.commit[..12].to_owned());
    // A server can't be asked for the rest of an id.
    shown_by(&specimen, &[Way::Folder]);
}

#[test]
fn a_detached_head() {
    shown(&specimens::detached_head());
}

#[test]
fn borrowed_objects() {
    shown(&specimens::alternates());
}

#[test]
fn a_work_tree_shows_its_commit_not_its_files() {
    shown(&specimens::work_tree());
}

#[test]
fn a_work_tree_whose_git_is_a_file() {
    // Served over HTTP is only what has a Git directory of its own.
    shown_by(&specimens::second_work_tree(), &[Way::Folder]);
}

#[test]
fn a_git_directory_itself() {
    let specimen = specimens::work_tree();
    let expected = expected(&specimen);
    let bonsai = bonsai();
    let mount = bonsai.mount(specimen.repo.path().join(".git"), &[]);
    assert_same(&expected, mount.dir(), Order::Sorted);
    mount.unmount();
}

#[test]
fn a_path_relative_to_the_working_directory() {
    let specimen = specimens::plain();
    let bonsai = bonsai();
    let dir = bonsai.scratch().join("here");
    let mut command = bonsai.command(["mount", "."]);
    let output = command.arg(&dir).current_dir(specimen.repo.path()).output();
    let output = output.expect("the binary starts");
    let mount = bonsai.guard(&dir);
    assert!(output.status.success(), "{output:?}");
    assert_same(&expected(&specimen), mount.dir(), Order::Sorted);
    mount.unmount();
}

#[test]
fn a_shallow_clone() {
    shown(&specimens::shallow());
}

/// The directory of 100,000 entries is compared in full by one reader; eight list it at once.
#[test]
fn a_directory_of_100_000_entries() {
    let specimen = specimens::large_directory(100_000);
    let expected = expected(&specimen);
    let names: BTreeSet<Vec<u8>> = expected
        .nodes
        .keys()
        .filter_map(|path| path.strip_prefix(b"large/".as_slice()))
        .filter(|name| !name.contains(&b'/'))
        .map(<[u8]>::to_vec)
        .collect();
    assert_eq!(names.len(), 100_000);
    for way in [Way::Folder, Way::Http] {
        let (source, _server) = way.source(&specimen);
        let bonsai = bonsai();
        let mount = bonsai.mount(&source, &[]);
        let large = mount.path("large");
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let listed = names_in(&large).expect("listed");
                    assert_eq!(listed.len(), 100_000, "each name once");
                    assert!(listed.into_iter().collect::<BTreeSet<_>>() == names);
                });
            }
        });
        assert_same(&expected, mount.dir(), Order::Sorted);
        mount.unmount();
        bonsai.assert_nothing_left();
    }
}

fn names_in(dir: &Path) -> io::Result<Vec<Vec<u8>>> {
    fs::read_dir(dir)?
        .map(|entry| Ok(entry?.file_name().into_vec()))
        .collect()
}

#[test]
fn sizes_are_right_before_any_content_is_read() {
    let specimen = specimens::plain();
    let expected = expected(&specimen);
    for way in ALL_WAYS {
        let (source, _server) = way.source(&specimen);
        let bonsai = bonsai();
        let mount = bonsai.mount(&source, &[]);
        for (path, data) in expected.files() {
            let path = std::str::from_utf8(path).expect("plain names");
            let stat = fs::symlink_metadata(mount.path(path)).expect("lstat");
            let size = usize::try_from(stat.len()).expect("small");
            assert_eq!(size, data.len(), "{way:?}: {path}");
        }
        // A symlink's size is its target's length.
        let link = fs::symlink_metadata(mount.path("latest")).expect("lstat");
        assert_eq!(link.len(), 11, "{way:?}");
        mount.unmount();
    }
}

#[test]
fn sizes_come_without_content_where_the_server_tells_them() {
    let specimen = specimens::plain();
    let (source, server) = Way::ObjectInfo.source(&specimen);
    let server = server.expect("an HTTP way has one");
    let bonsai = bonsai();
    let mount = bonsai.mount(&source, &[]);
    let blob = specimen.repo.oid("HEAD:src/deep/er/file.txt");
    let stat = fs::symlink_metadata(mount.path("src/deep/er/file.txt")).expect("lstat");
    assert!(stat.len() > 0);
    let fetched = |oid: &str| {
        let fetches = server.log_of("fetch");
        fetches.iter().any(|request| request.wants().contains(&oid))
    };
    assert!(!fetched(&blob), "the content was fetched for its size");
    assert!(!server.log_of("object-info").is_empty());
    mount.unmount();
}

#[test]
fn only_what_is_touched_is_fetched() {
    let specimen = specimens::plain();
    let (source, server) = Way::Http.source(&specimen);
    let server = server.expect("an HTTP way has one");
    let bonsai = bonsai();
    let mount = bonsai.mount(&source, &[]);
    let readme = fs::read(mount.path("README.md")).expect("read");
    assert_eq!(readme, b"# Example\n\nHello.\n");
    let blob = specimen.repo.oid("HEAD:bin.dat");
    let wanted: Vec<String> = server
        .log()
        .iter()
        .flat_map(|request| {
            request
                .wants()
                .into_iter()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect();
    assert!(wanted.contains(&specimen.repo.oid("HEAD:README.md")));
    assert!(!wanted.contains(&blob), "{wanted:?}");
    // No filter but blob:none leaves the 100 kB of bin.dat out of the first answer.
    assert!(server.totals().bytes_out < 50_000);
    mount.unmount();
}

#[test]
fn hostile_entries_are_left_out_and_counted() {
    for hostile in hostile::all() {
        let Some(honest) = &hostile.honest else {
            continue;
        };
        let expected = committed(&hostile.repo, honest);
        let bonsai = bonsai();
        let mount = bonsai.mount(hostile.repo.path(), &[]);
        let found = differences(&expected, &read_tree(mount.dir(), Order::Sorted));
        assert_eq!(found, [], "{}", hostile.name);
        let status: serde_json::Value =
            serde_json::from_str(&mount.status()).expect("status in JSON");
        assert_eq!(
            status["rejected_entries"], hostile.rejected,
            "{}",
            hostile.name
        );
        mount.unmount();
        bonsai.assert_nothing_left();
    }
}

#[test]
fn hostile_entries_cannot_be_looked_up_either() {
    for hostile in hostile::all() {
        let bonsai = bonsai();
        let mount = bonsai.mount(hostile.repo.path(), &[]);
        let honest = hostile
            .honest
            .as_ref()
            .map(|honest| committed(&hostile.repo, honest));
        for name in [".git", ".GIT", "sub/escape", "escape", "fifo", "device"] {
            let error = fs::symlink_metadata(mount.path(name)).expect_err(name);
            assert_eq!(
                error.kind(),
                io::ErrorKind::NotFound,
                "{}: {name}",
                hostile.name
            );
        }
        // What is not left out can be looked up without listing first.
        for path in honest.iter().flat_map(|tree| tree.nodes.keys()) {
            let path = std::str::from_utf8(path).expect("plain names");
            fs::symlink_metadata(mount.path(path)).expect(path);
        }
        mount.unmount();
    }
}

/// A tree's mode on a blob, a blob's on a tree, a tree object that is none: where the object's
/// kind is known beforehand the entry is left out, and where it is only found out on reading, that
/// fails. What is beside it is not concerned.
#[test]
fn an_object_of_the_wrong_kind_is_left_out_or_fails_alone() {
    for hostile in hostile::all() {
        if hostile.unreadable.is_empty() {
            continue;
        }
        let bonsai = bonsai();
        let mount = bonsai.mount(hostile.repo.path(), &[]);
        let actual = read_tree(mount.dir(), Order::Sorted);
        assert_eq!(
            actual.nodes.get(b"a".as_slice()),
            Some(&Node::file(false, "harmless\n")),
            "{}: what is beside it",
            hostile.name
        );
        for bad in &hostile.unreadable {
            let path = mount.path(bad);
            let result = match fs::symlink_metadata(&path) {
                Ok(stat) if stat.is_dir() => names_in(&path).map(drop),
                Ok(_) => fs::read(&path).map(drop),
                Err(error) => Err(error),
            };
            let error = result.expect_err("unreadable");
            let status: serde_json::Value =
                serde_json::from_str(&mount.status()).expect("status in JSON");
            if error.kind() == io::ErrorKind::NotFound {
                let listed = names_in(mount.dir()).expect("listed");
                assert!(
                    !listed.contains(&bad.as_bytes().to_vec()),
                    "{}",
                    hostile.name
                );
                assert_eq!(status["rejected_entries"], 1, "{}", hostile.name);
            } else {
                assert_eq!(error.raw_os_error(), Some(libc::EIO), "{}", hostile.name);
                assert!(status["last_error"].is_object(), "{}", hostile.name);
            }
        }
        mount.unmount();
        bonsai.assert_nothing_left();
    }
}

/// Real servers refuse to pack some of these trees; whatever they do, the command ends, and a
/// mount that stands is the same as from a folder.
#[test]
fn hostile_trees_over_http() {
    for hostile in hostile::all() {
        let server = GitServer::start(hostile.repo.root()).expect("a server");
        let bonsai = bonsai();
        let dir = bonsai.scratch().join("mnt");
        let url = server.url(&hostile.repo.served());
        let mount = bonsai.guard(&dir);
        let said = bonsai.try_mount(&url, &dir, &[]);
        if said.code == Some(0) {
            let actual = read_tree(mount.dir(), Order::Sorted);
            if let Some(honest) = &hostile.honest {
                let expected = committed(&hostile.repo, honest);
                let mut found = differences(&expected, &actual);
                // Only the object tells what it is, so this name is listed, and fails when used.
                found.retain(|difference| {
                    !matches!(difference, Difference::Odd { path, what }
                        if path == b"not-a-file" && what.contains("Input/output error"))
                });
                assert_eq!(found, [], "{}", hostile.name);
            }
            mount.unmount();
        } else {
            assert_eq!(said.code, Some(31), "{}: {said:?}", hostile.name);
            assert!(!dir.exists());
        }
        bonsai.assert_nothing_left();
    }
}

/// 5,000 levels are more than a path can have, so this goes down by `openat`, as deep as the mount
/// lets it, and looks whether the mount still answers.
#[test]
fn an_absurdly_deep_tree_hangs_nothing() {
    let repo = hostile::deep(5000);
    let builder = GitServer::builder(repo.root()).config("core.maxTreeDepth", "10000");
    let server = builder.start().expect("a server");
    for source in [
        repo.path().display().to_string(),
        server.url(&repo.served()),
    ] {
        let bonsai = bonsai();
        let mount = bonsai.mount(&source, &[]);
        let levels = descend(mount.dir(), "d", 5000).expect("the root opens");
        // At least as far as any path name can lead.
        assert!(levels >= 2047, "{levels} levels");
        let names = names_in(mount.dir()).expect("still answers");
        assert_eq!(names, [b"d".to_vec()]);
        mount.unmount();
        bonsai.assert_nothing_left();
    }
}

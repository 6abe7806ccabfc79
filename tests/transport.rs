//! The ways in which the kernel's requests come. Over io_uring only where this kernel offers it; there all other
//! tests of mounts run over it too.

use std::{fs, thread};

use bonsai_testkit::{Bonsai, Mounted, Order, assert_same, compare::committed, specimens};
use bonsaifs::fuse::uring;

fn bonsai() -> Bonsai {
    Bonsai::new(env!("CARGO_BIN_EXE_bonsai"))
}

fn transport(mount: &Mounted<'_>) -> String {
    let status: serde_json::Value = serde_json::from_str(&mount.status()).expect("JSON");
    let name = status["kernel"]["transport"].as_str();
    name.expect("a name").to_owned()
}

#[test]
fn every_byte_is_right_over_each_and_status_says_which() {
    let offered = uring::availability().is_ok();
    let expected = |wish| match (wish, offered) {
        ("dev", _) | (_, false) => "dev",
        _ => "uring",
    };
    let specimen = specimens::plain();
    let wishes: &[_] = if offered {
        &["auto", "dev", "uring"]
    } else {
        &["auto", "dev"]
    };
    for wish in wishes {
        let bonsai = bonsai();
        let mount = bonsai.mount(specimen.repo.path(), &["--transport", wish]);
        assert_eq!(transport(&mount), expected(wish));
        let truth = committed(&specimen.repo, &specimen.commit);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert_same(&truth, mount.dir(), Order::Shuffled(3)));
            }
        });
        mount.unmount();
        bonsai.assert_nothing_left();
    }
}

#[test]
fn io_uring_where_there_is_none_is_a_clear_error_and_nothing_is_mounted() {
    let Err(reason) = uring::availability() else {
        return;
    };
    let specimen = specimens::plain();
    let bonsai = bonsai();
    let dir = bonsai.scratch().join("mnt");
    let said = bonsai.try_mount(specimen.repo.path(), &dir, &["--transport", "uring"]);
    assert_eq!(said.code, Some(2), "{}", said.err);
    assert!(said.err.contains(&reason), "{}", said.err);
    assert!(said.err.contains("--transport dev"), "{}", said.err);
    assert!(fs::symlink_metadata(&dir).is_err(), "it is gone again");
    bonsai.assert_nothing_left();
}

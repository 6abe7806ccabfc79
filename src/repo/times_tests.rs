use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bonsaifs_core::rt::{BoxFuture, Runtime};

use super::*;
use crate::{
    git::url::Source,
    origin::RefWant,
    repo::{OpenOptions, Prefetch, RepoFs, open},
    seams::{
        Seams, config::GitSettings, credentials::Anonymous, disk::StdDisk, http::ReqwestHttp,
        rt::TokioRuntime,
    },
};

/// Tokio's runtime with a clock that the test sets, in seconds.
struct Clock {
    real: TokioRuntime,
    seconds: AtomicU64,
}

impl Runtime for Clock {
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) {
        self.real.spawn(name, task);
    }
    fn spawn_blocking(&self, name: &'static str, job: Box<dyn FnOnce() + Send + 'static>) {
        self.real.spawn_blocking(name, job);
    }
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.real.sleep(duration)
    }
    fn now(&self) -> Duration {
        self.real.now()
    }
    fn unix_time(&self) -> Duration {
        Duration::from_secs(self.seconds.load(Ordering::Relaxed))
    }
    fn random(&self) -> u64 {
        self.real.random()
    }
}

fn git(dir: &Path, args: &[&str]) {
    let mut command = Command::new("git");
    command
        .current_dir(dir)
        .args(["-c", "user.name=A", "-c", "user.email=a@example.org"]);
    command.args(args).env("GIT_CONFIG_GLOBAL", "/dev/null");
    let said = command.output().expect("git is installed");
    assert!(
        said.status.success(),
        "{}",
        String::from_utf8_lossy(&said.stderr)
    );
}

/// The next commit changes `changes` and `sub/changes`, and nothing else.
fn commit(dir: &Path, text: &str) {
    std::fs::write(dir.join("changes"), text).expect("room");
    std::fs::write(dir.join("sub/changes"), text).expect("room");
    git(dir, &["add", "--all"]);
    git(dir, &["commit", "--quiet", "--message", "x"]);
}

fn at(secs: i64, nanos: u32) -> Timestamp {
    Timestamp { secs, nanos }
}

/// A repository in the folder `dir`, its path, and the clock by which it is opened.
async fn opened(dir: &Path) -> (PathBuf, RepoFs, Arc<Clock>) {
    let source = dir.join("source");
    std::fs::create_dir_all(source.join("sub")).expect("room");
    git(&source, &["init", "--quiet", "--initial-branch=main"]);
    std::fs::write(source.join("stays"), "stays").expect("room");
    commit(&source, "at first");
    let clock = Arc::new(Clock {
        real: TokioRuntime::current().expect("tests run inside tokio"),
        seconds: AtomicU64::new(0),
    });
    let config = Arc::new(GitSettings::parse(b""));
    let seams = Seams {
        runtime: clock.clone(),
        http: Arc::new(ReqwestHttp::new(config.clone())),
        disk: Arc::new(StdDisk),
        credentials: Arc::new(Anonymous),
        config,
    };
    let options = OpenOptions {
        source: Source::Path(source.clone()),
        want: RefWant::Head,
        cache_dir: dir.join("cache"),
        cache_size: None,
        memory_budget: 1 << 20,
        prefetch: Prefetch::None,
        progress: Arc::new(|_| {}),
    };
    let repo = open(&seams, options).await.expect("it opens");
    (source, repo, clock)
}

/// A clock that was set back between two refreshes showed a file that changed in both as older than it
/// was after the first.
#[tokio::test]
async fn with_the_clock_set_back_what_changes_is_still_newer() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (source, repo, clock) = opened(dir.path()).await;
    let first = repo.0.times.of(FIRST);
    let mut sub = None;
    for (says, shown) in [
        (5_000, at(5_000, 0)),
        (3_000, at(5_000, 1)),
        (5_000, at(5_000, 2)),
        (6_000, at(6_000, 0)),
    ] {
        commit(&source, &format!("{says} {shown:?}"));
        clock.seconds.store(says, Ordering::Relaxed);
        let target = repo.look().await.expect("it is there");
        repo.show(&target);
        let (root, attr) = repo.root_of(&target);
        assert_eq!(attr.mtime, shown, "the root, {says}");
        let times = &repo.0.times;
        let within = times.within(root.stamp);
        assert_eq!(within(b"changes").1, shown, "{says}");
        assert_eq!(within(b"stays").1, first);
        let (stamp, time) = within(b"sub");
        assert_eq!((time, times.within(stamp)(b"changes").1), (shown, shown));
        assert_ne!(sub.replace(stamp), Some(stamp), "a directory that changed");
    }
}

/// Each refresh that failed after the trees were compared left its records for good.
#[tokio::test]
async fn looks_that_nothing_comes_of_leave_nothing() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (source, repo, _) = opened(dir.path()).await;
    let records = || repo.0.times.lock().records.len();
    let mut after_one = None;
    for n in 0..5 {
        commit(&source, &format!("commit {n}"));
        repo.look().await.expect("it is there");
        assert_eq!(records(), *after_one.get_or_insert(records()), "{n}");
    }
    assert!(after_one.is_some_and(|records| records > 0));
    let target = repo.look().await.expect("it is there");
    repo.show(&target);
    // The root, the folder, and what all files have that changed.
    assert_eq!(records(), 3);
}

#[test]
fn a_nanosecond_more_may_be_a_second_more() {
    assert_eq!(after(at(7, 999_999_999)), at(8, 0));
    assert_eq!(after(at(-1, 5)), at(-1, 6));
}

//! How a mount's process starts: its own seams, then the product's own `repo::open`.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    rc::Rc,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use bonsaifs::{
    git::{
        oid::{ObjectKind, Oid},
        url::parse_source,
    },
    objects::disk::LARGE,
    origin::RefWant,
    repo::{OpenOptions, Prefetch, RepoFs, open},
    seams::{Seams, config::GitSettings, credentials::Anonymous},
};
use bonsaifs_core::fs::{AsyncFs, Config};

use super::{
    context::{Process, Shared},
    disk::DiskHandle,
    http::SimHttp,
    kernel::{
        Kernel,
        ask::{Mounted, Untold},
        front::Front,
    },
    marks,
    mount::signalled,
    plan::Fault,
    props::{
        crash,
        no_lie::{self, Excuse},
        one_flight::{OneFlight, Rule},
        stranded,
        unread::Unread,
    },
    rng::{Rng, mix},
    runtime::SimRuntime,
    server::HOST,
    trace::{Class, now},
    wire::Wire,
};

/// Starts the process; `None` after a while if the repository could not be opened, and then the mount
/// is done with if it never will.
pub async fn start(world: &Shared, index: usize) -> Option<Rc<Mounted>> {
    let plan = &world.plan.mounts[index];
    let state = &world.mounts[index];
    let machine = &world.machines[plan.machine];
    let start = state.starts.get();
    state.starts.set(start + 1);
    let dead = Arc::new(AtomicBool::new(false));
    let seed = mix(world.plan.seed ^ mix((index as u64) << 32 | start));
    let runtime = SimRuntime::new(
        Rng::stream(seed, "process"),
        plan.job_delay_ms,
        dead.clone(),
    );
    let disk = machine.disk.process(dead);
    let wire = Arc::new(Wire::new(
        state.name.clone(),
        OneFlight::new(
            rule(world, index),
            state.asked.clone(),
            large(world, plan.repo),
        ),
        Unread::new(blobs(world, plan.repo), plan.memory as u64),
        honest(world),
        world.trace.clone(),
        world.counts.clone(),
        world.verdicts.clone(),
    ));
    *state.process.borrow_mut() = Some(Process {
        runtime: runtime.clone(),
        disk: disk.clone(),
        wire: wire.clone(),
    });
    let seams = Seams {
        runtime: runtime.clone(),
        http: Arc::new(SimHttp::new(runtime.clone(), wire, state.name.clone())),
        disk: Arc::new(DiskHandle(disk)),
        credentials: Arc::new(Anonymous),
        config: Arc::new(GitSettings::default()),
    };
    let url = format!("http://{HOST}/repo{}", plan.repo);
    let options = OpenOptions {
        source: parse_source(url.as_ref()).expect("a plain URL"),
        want: plan.want.clone().map_or(RefWant::Head, RefWant::Named),
        cache_dir: cache_dir(world, index),
        cache_size: Some(world.plan.cache_size),
        memory_budget: plan.memory,
        prefetch: Prefetch::Auto,
        progress: Arc::new(|_| {}),
    };
    let begin = now();
    let id = world
        .under_way
        .borrow_mut()
        .begin(begin, format!("{}: mount", state.name));
    let opened = tokio::select! {
        biased;
        _ = signalled(state) => None,
        opened = open(&seams, options) => Some(opened),
    };
    world.under_way.borrow_mut().end(id);
    let result = match opened {
        None => {
            world.trace.span(Class::Life, &state.name, begin, true, || {
                "mount -> killed".to_owned()
            });
            world.kill(index);
            return None;
        }
        Some(result) => result,
    };
    match result {
        Err(error) => {
            world.trace.span(Class::Life, &state.name, begin, true, || {
                format!("mount -> {error}")
            });
            if world.excuse(begin) == Excuse::None {
                world.verdicts.judge(
                    no_lie::NAME,
                    Err(format!("{}: no mount without a fault: {error}", state.name)),
                );
            }
            let since = state.shut_out_since.get().unwrap_or(begin);
            state.shut_out_since.set(Some(since));
            let check = stranded::shut_out(since, now(), world.quiet_since.get());
            let check = check.map_err(|wrong| format!("{}: {wrong}: {error}", state.name));
            world.verdicts.judge(stranded::NAME, check);
            world.kill(index);
            tokio::time::sleep(Duration::from_millis(700)).await;
            None
        }
        Ok(repo) => {
            state.shut_out_since.set(None);
            Some(mounted(world, index, repo, runtime, begin))
        }
    }
}

fn mounted(
    world: &Shared,
    index: usize,
    repo: RepoFs,
    runtime: Arc<SimRuntime>,
    begin: Duration,
) -> Rc<Mounted> {
    let plan = &world.plan.mounts[index];
    let state = &world.mounts[index];
    let commit = repo.commit();
    let offline = repo.offline();
    if offline {
        world.counts.add(marks::OFFLINE);
    }
    world
        .trace
        .span(Class::Life, &state.name, begin, false, || {
            format!(
                "mount -> {}{}",
                commit.to_hex_with_len(7),
                if offline { ", offline" } else { "" }
            )
        });
    let check = crash::shows(&commit, &history(world, index), begin, now(), offline);
    world.verdicts.judge(crash::NAME, check);
    if state
        .commit
        .replace(Some(commit))
        .is_some_and(|before| before != commit)
    {
        world.counts.add(marks::NEW_COMMIT);
    }
    if world.machines[plan.machine].crashed.get() {
        world.counts.add(marks::CRASH_RECOVERED);
    }
    let shares = |other: usize| {
        let theirs = &world.plan.mounts[other];
        other != index
            && (theirs.machine, theirs.repo, theirs.own_cache) == (plan.machine, plan.repo, false)
            && world.mounts[other].commit.get().is_some()
    };
    if !plan.own_cache && (0..world.mounts.len()).any(shares) {
        world.counts.add(marks::CACHE_SHARED);
    }
    let config = Config {
        listing_budget: plan.listings,
        ino_mask: plan.ino_mask,
    };
    let fs = Arc::new(AsyncFs::new(repo, config));
    Rc::new(Mounted {
        world: world.clone(),
        index,
        front: Front::new(world, index, Arc::clone(&fs), runtime),
        fs,
        kernel: Kernel::new(),
        shown: RefCell::new(vec![(commit, (0, 0))]),
        told: Arc::default(),
        refreshing: tokio::sync::Mutex::default(),
        refresh_began: Cell::default(),
        untold: Untold::default(),
        busy: Cell::new(0),
        draining: Cell::new(false),
        warm: RefCell::default(),
        visited: RefCell::default(),
    })
}

/// The commits that a mount's ref pointed to, and since when.
pub fn history(world: &Shared, index: usize) -> Vec<(Duration, Oid)> {
    let plan = &world.plan.mounts[index];
    world.server.with(|server| {
        let repo = &server.repos[plan.repo];
        let name = match plan.want.as_deref() {
            None => repo.head.clone(),
            Some("v1") => "refs/tags/v1".to_owned(),
            Some(name) if name.starts_with("refs/") => name.to_owned(),
            Some(name) => format!("refs/heads/{name}"),
        };
        let history = server.history[&(plan.repo, name)].iter();
        history
            .map(|(since, oid)| (*since, repo.peel(oid)))
            .collect()
    })
}

/// Where a mount's cache is.
pub fn cache_dir(world: &Shared, index: usize) -> PathBuf {
    match world.plan.mounts[index].own_cache {
        true => PathBuf::from(format!("/cache/{}", world.mounts[index].name)),
        false => PathBuf::from("/cache/all"),
    }
}

/// A repository's objects that are too large to be prefetched.
fn large(world: &Shared, repo: usize) -> BTreeSet<Oid> {
    world.server.with(|server| {
        let objects = server.repos[repo].objects.iter();
        objects
            .filter(|(_, (_, data))| data.len() as u64 >= LARGE)
            .map(|(oid, _)| *oid)
            .collect()
    })
}

/// A repository's blobs and their sizes.
fn blobs(world: &Shared, repo: usize) -> BTreeMap<Oid, u64> {
    world.server.with(|server| {
        let objects = server.repos[repo].objects.iter();
        objects
            .filter(|(_, (kind, _))| *kind == ObjectKind::Blob)
            .map(|(oid, (_, data))| (*oid, data.len() as u64))
            .collect()
    })
}

/// Whether the server never answers with something else than what was asked for.
fn honest(world: &Shared) -> bool {
    let dishonest =
        |fault: &Fault| matches!(fault, Fault::Answer { .. } | Fault::MissingObjects { .. });
    let events = &world.plan.events;
    !events.iter().any(|event| dishonest(&event.fault))
}

/// How strict one can be about requests.
fn rule(world: &Shared, index: usize) -> Rule {
    let plan = &world.plan.mounts[index];
    let roomy = plan.memory >= 1 << 20
        && world.plan.disks[plan.machine] >= 1 << 20
        && world.plan.cache_size >= 1 << 20;
    // What a server can do is assumed at first, and asked for when that went wrong.
    let as_assumed = world.plan.server.filter && world.plan.server.shallow;
    // An unmount breaks off what is under way.
    let events = world.plan.events.iter();
    let pushes_only = events
        .map(|event| &event.fault)
        .all(|fault| matches!(fault, Fault::Push { .. }));
    match roomy {
        true if pushes_only && as_assumed => Rule::OnceForAll,
        true => Rule::OneAtATime,
        false => Rule::Forgetful,
    }
}

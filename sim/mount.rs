//! The life of one mount: its process starts, programs use it, it is killed or unmounted and starts
//! again; at the end everything is checked once more, and then all must be given back.

use std::{rc::Rc, time::Duration};

use tokio::task::JoinSet;

use super::{
    context::{MountState, Shared, Signal},
    kernel::{
        ask::{Interrupt, Mounted},
        program::Run,
    },
    plan::{Act, Fault, Step},
    props::{
        Check, balance, budgets, complete,
        stranded::{self, BOUND},
        whole_objects,
    },
    rng::Rng,
    start::{cache_dir, start},
    trace::{Class, now},
};

/// How many places the last check looks at.
const LAST_LOOKS: u64 = 25;
/// How long an unmount may take to write what it has.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// Why a mount's time was over.
enum End {
    Signalled(Signal),
    /// Its programs are through.
    Through,
}

/// Runs the mount `index` of the plan until its programs are through and the last check is done.
/// After a power cut this is called anew.
pub async fn live(world: Shared, index: usize) {
    let state = &world.mounts[index];
    if state.done.get() {
        return;
    }
    loop {
        state.signal.set(None);
        let Some(mounted) = start(&world, index).await else {
            if state.done.get() {
                return;
            }
            continue;
        };
        let end = tokio::select! {
            biased;
            signal = signalled(state) => End::Signalled(signal),
            () = use_it(&mounted) => End::Through,
        };
        match end {
            End::Signalled(Signal::Kill) => {
                world
                    .trace
                    .point(Class::Life, &state.name, || "killed".to_owned());
                world.kill(index);
                drop(mounted);
            }
            End::Signalled(Signal::Remount) => stop(&world, index, mounted).await,
            End::Through => {
                last_check(&mounted, 0).await;
                give_back(&mounted);
                stop(&world, index, mounted).await;
                if let Some(mounted) = start(&world, index).await {
                    last_check(&mounted, 1).await;
                    give_back(&mounted);
                    stop(&world, index, mounted).await;
                    state.done.set(true);
                    return;
                }
            }
        }
    }
}

/// Waits until the main loop wants something of the mount.
pub async fn signalled(state: &MountState) -> Signal {
    loop {
        if let Some(signal) = state.signal.get() {
            return signal;
        }
        state.signalled.notified().await;
    }
}

/// Runs all programs, side by side, and waits until faults have ended.
async fn use_it(mounted: &Rc<Mounted>) {
    let mut programs = JoinSet::new();
    for worker in 0..mounted.world.plan.mounts[mounted.index].workers.len() {
        programs.spawn_local(program(mounted.clone(), worker));
    }
    while programs.join_next().await.is_some() {}
    mounted.world.until_quiet().await;
}

async fn program(mounted: Rc<Mounted>, worker: usize) {
    let world = &mounted.world;
    let state = mounted.state();
    let steps = &world.plan.mounts[mounted.index].workers[worker];
    loop {
        let number = state.next_step.borrow()[worker];
        let Some(step) = steps.get(number).filter(|_| !mounted.draining.get()) else {
            return;
        };
        // A step that a crash cut off is not done again.
        state.next_step.borrow_mut()[worker] = number + 1;
        tokio::time::sleep(Duration::from_millis(step.pause_ms)).await;
        run(&mounted, step, Interrupt::of(step)).await;
    }
}

async fn run(mounted: &Mounted, step: &Step, interrupt: Interrupt) {
    mounted.busy.set(mounted.busy.get() + 1);
    // What went wrong is judged where it was seen; a program that fails goes on with its next step.
    let _ = Run {
        at: mounted,
        step,
        interrupt,
    }
    .run()
    .await;
    mounted.busy.set(mounted.busy.get() - 1);
    if mounted.busy.get() == 0 {
        at_rest(mounted, step.arg);
    }
}

/// What must hold whenever no operation is under way.
fn at_rest(mounted: &Mounted, arg: u32) {
    let world = &mounted.world;
    let stats = mounted.fs.stats();
    let plan = &world.plan.mounts[mounted.index];
    world.verdicts.judge(
        balance::NAME,
        balance::inodes(mounted.kernel.len() as u64, stats.inodes),
    );
    let listings = budgets::within(
        "bytes of listings",
        stats.listing_bytes,
        plan.listings as u64,
    );
    world.verdicts.judge(budgets::NAME, listings);
    if arg.is_multiple_of(16) {
        let memory = mounted.fs.provider().status().memory;
        let objects = budgets::within("bytes of objects", memory.bytes, plan.memory as u64);
        world.verdicts.judge(budgets::NAME, objects);
        world
            .verdicts
            .judge(budgets::NAME, cache(world, mounted.index));
    }
}

/// Whether a cache is within its quota, where nothing hinders those who see to that. Each process may
/// have written 1/64 of it since the cache was last measured.
fn cache(world: &Shared, index: usize) -> Check {
    let plan = &world.plan;
    let hindered = plan.events.iter().any(|event| {
        matches!(
            event.fault,
            Fault::Kill { .. }
                | Fault::PowerOff { .. }
                | Fault::DiskFull { .. }
                | Fault::DiskErrors { .. }
        )
    });
    let machine = plan.mounts[index].machine;
    if hindered || plan.disks[machine] < 1 << 20 {
        return Ok(());
    }
    let held = world.machines[machine]
        .disk
        .pieces(&cache_dir(world, index));
    let processes = plan.mounts.len() as u64;
    let most = plan.cache_size + processes * (plan.cache_size / 64);
    budgets::within("bytes of the cache", held, most)
}

/// Once faults have ended, everything can be had: looks at a part of it, each place until it comes.
async fn last_check(mounted: &Rc<Mounted>, round: u64) {
    let world = &mounted.world;
    let mut rng = Rng::stream(world.plan.seed, "last check");
    let tiny = world.plan.disks[world.plan.mounts[mounted.index].machine] < 1 << 20;
    let looks = match round {
        0 => LAST_LOOKS,
        _ => 3,
    };
    if mounted.world.plan.mounts[mounted.index].follow {
        catch_up(mounted, tiny).await;
    }
    for _ in 0..looks {
        let path = rng.next() as u32;
        for act in [Act::List, Act::Read, Act::Stat, Act::Readlink] {
            let step = Step {
                act,
                path,
                arg: 3,
                pause_ms: 0,
                cancel: None,
            };
            let mut tries = 0;
            loop {
                let interrupt = Interrupt::of(&step);
                let begin = now();
                tries += 1;
                let failed = Run {
                    at: mounted,
                    step: &step,
                    interrupt,
                }
                .run()
                .await
                .is_err();
                let judged = world.verdicts.first().is_some();
                // What does not come after so long was judged just now; a tiny disk never has room.
                let late = world
                    .quiet_since
                    .get()
                    .is_some_and(|quiet| begin > quiet + BOUND);
                if !failed || judged || late || (tiny && tries > 2) {
                    break;
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// Moves a mount on to what its branch means, until that is done.
async fn catch_up(mounted: &Mounted, tiny: bool) {
    let world = &mounted.world;
    let (begin, mut tries) = (now(), 0);
    while mounted.refresh().await.is_err() && world.verdicts.first().is_none() {
        tries += 1;
        // A tiny disk never has room.
        if tiny && tries > 2 {
            return;
        }
        let check = stranded::shut_out(begin, now(), world.quiet_since.get());
        let check = check.map_err(|wrong| format!("{}: no refresh: {wrong}", mounted.state().name));
        world.verdicts.judge(stranded::NAME, check);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// The kernel drops everything, and the tables must be back to the root.
fn give_back(mounted: &Rc<Mounted>) {
    let forgotten = mounted.kernel.forget(usize::MAX, 0).into_iter();
    let counts: Vec<_> = forgotten.map(|(ino, lookups, _)| (ino, lookups)).collect();
    mounted.front.forget(&counts);
    let inodes = mounted.fs.stats().inodes;
    mounted
        .world
        .verdicts
        .judge(balance::NAME, balance::inodes(1, inodes));
}

/// Unmounts in an orderly way.
async fn stop(world: &Shared, index: usize, mounted: Rc<Mounted>) {
    let state = &world.mounts[index];
    mounted.draining.set(true);
    let begin = now();
    mounted.fs.provider().shutdown(SHUTDOWN).await;
    world
        .trace
        .span(Class::Life, &state.name, begin, false, || {
            "unmounted".to_owned()
        });
    let idle = state
        .process
        .borrow()
        .as_ref()
        .is_some_and(|process| process.wire.is_idle() && !process.runtime.is_dead());
    let orderly = idle && now() < begin + SHUTDOWN && !state.killed.get();
    if orderly {
        let left = leftovers(world, index);
        world.verdicts.judge(whole_objects::NAME, left);
    }
    world.verdicts.judge(complete::NAME, marks(world, index));
    world.kill(index);
    state.killed.set(!orderly);
    drop(mounted);
}

/// Whether what a mount's cache says to be complete is, on a disk that did not rot.
fn marks(world: &Shared, index: usize) -> Check {
    let plan = &world.plan.mounts[index];
    let machine = &world.machines[plan.machine];
    if !machine.rotten.borrow().is_empty() {
        return Ok(());
    }
    let files = machine.disk.files();
    let cache = cache_dir(world, index);
    world
        .server
        .with(|server| complete::marks(&cache, &files, &server.repos[plan.repo].objects))
}

/// What a mount left in a cache that only it uses, on a disk where nothing ever failed.
fn leftovers(world: &Shared, index: usize) -> Check {
    let plan = &world.plan;
    let machine = plan.mounts[index].machine;
    let alone = plan.mounts[index].own_cache || plan.mounts.len() == 1;
    let failing = plan.events.iter().any(|event| {
        matches!(
            event.fault,
            Fault::PowerOff { .. } | Fault::DiskFull { .. } | Fault::DiskErrors { .. }
        )
    });
    if !alone || failing || plan.disks[machine] < 1 << 20 {
        return Ok(());
    }
    let mut files = world.machines[machine].disk.files();
    let cache = cache_dir(world, index);
    files.retain(|(path, _)| path.starts_with(&cache));
    whole_objects::no_leftovers(&files)
}

//! A world: machines, a server, a network, and the plan of what happens to them, run to its end.
//!
//! Always holds: everything runs on one thread, and only between two steps of turmoil does the main
//! loop here change anything.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use turmoil::Builder;

use super::{
    context::{Context, Machine, MountState, Shared},
    director::Director,
    disk::SimDisk,
    logs,
    marks::Counts,
    mount,
    plan::Plan,
    props::{
        Verdicts, Violation, no_lie::Faults, no_panic, stable_numbers::Numbers, stranded::UnderWay,
        whole_objects,
    },
    repo::Repo,
    rng::{Rng, mix},
    server::{GitServer, HOST},
    trace::{Trace, set_outside_time},
};

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub violation: Option<Violation>,
    pub operations: u64,
    pub simulated: Duration,
    /// Marks, and faults that took effect.
    pub counts: BTreeMap<String, u64>,
    pub digest: (u64, u64),
}

/// Runs `plan` to its end, or to the first violation.
pub fn run(plan: &Plan, trace: &Trace) -> Outcome {
    no_panic::install();
    set_outside_time(Duration::ZERO);
    let counts = Counts::default();
    logs::install(&counts);
    let world = build(plan, trace, &counts);
    let (low, high) = plan.latency_ms;
    let mut sim = Builder::new()
        .rng_seed(mix(plan.seed))
        .tick_duration(Duration::from_millis(plan.tick_ms))
        .simulation_duration(Duration::from_secs(1 << 30))
        .min_message_latency(Duration::from_millis(low))
        .max_message_latency(Duration::from_millis(high.max(low + 1)))
        .tcp_capacity(1 << 16)
        .build();
    let server = world.server.clone();
    sim.host(HOST, move || server.clone().serve());
    for machine in 0..world.machines.len() {
        let world = world.clone();
        sim.host(machine_name(machine), move || {
            start_machine(world.clone(), machine)
        });
    }
    let mut director = Director::new(world.clone());
    while world.verdicts.first().is_none() && !world.mounts.iter().all(|mount| mount.done.get()) {
        if let Err(error) = sim.step() {
            world
                .verdicts
                .judge(no_panic::NAME, Err(format!("a host failed: {error}")));
        }
        set_outside_time(sim.elapsed());
        world.verdicts.judge(no_panic::NAME, no_panic::check());
        director.direct(&mut sim);
    }
    world
        .verdicts
        .judge(whole_objects::NAME, disks_are_whole(&world));
    // Processes die before the hosts that run their tasks.
    (0..world.mounts.len()).for_each(|mount| world.kill(mount));
    let simulated = sim.elapsed();
    drop(sim);
    world.verdicts.judge(no_panic::NAME, no_panic::check());
    Outcome {
        violation: world.verdicts.first(),
        operations: world.operations.get(),
        simulated,
        counts: counts.all(),
        digest: trace.digest(),
    }
}

/// The name of a machine's host.
pub fn machine_name(machine: usize) -> String {
    format!("machine{machine}")
}

fn build(plan: &Plan, trace: &Trace, counts: &Counts) -> Shared {
    let repos = plan.repos.iter().map(Repo::generate).collect();
    let rng = Rng::stream(plan.seed, "server");
    let server = GitServer::new(
        plan.server.clone(),
        repos,
        rng,
        trace.clone(),
        counts.clone(),
    );
    let machines = plan
        .disks
        .iter()
        .enumerate()
        .map(|(index, capacity)| Machine {
            disk: SimDisk::new(
                Rng::stream(mix(plan.seed ^ index as u64), "disk"),
                *capacity,
            ),
            crashed: Cell::new(false),
            rotten: RefCell::default(),
        });
    let mounts = plan
        .mounts
        .iter()
        .enumerate()
        .map(|(index, mount)| MountState {
            name: format!("mount{index}"),
            next_step: RefCell::new(vec![0; mount.workers.len()]),
            numbers: RefCell::new(Numbers::new(mount.ino_mask == u64::MAX && !mount.follow)),
            process: RefCell::default(),
            signal: Cell::new(None),
            signalled: tokio::sync::Notify::new(),
            done: Cell::new(false),
            commit: Cell::new(None),
            failed: RefCell::default(),
            waiting: RefCell::default(),
            starts: Cell::new(0),
            shut_out_since: Cell::new(None),
            killed: Cell::new(false),
            asked: Arc::default(),
        });
    Rc::new(Context {
        plan: plan.clone(),
        trace: trace.clone(),
        counts: counts.clone(),
        verdicts: Verdicts::default(),
        server,
        machines: machines.collect(),
        mounts: mounts.collect(),
        faults: RefCell::new(Faults::default()),
        under_way: RefCell::new(UnderWay::default()),
        operations: Cell::new(0),
        quiet_since: Cell::new(None),
        quiet: tokio::sync::Notify::new(),
    })
}

async fn start_machine(world: Shared, machine: usize) -> turmoil::Result {
    for (index, mount) in world.plan.mounts.iter().enumerate() {
        if mount.machine == machine {
            tokio::task::spawn_local(mount::live(world.clone(), index));
        }
    }
    std::future::pending().await
}

/// Whether what lies under final names is whole. After a power cut only packs must be: of the rest
/// readers find out.
fn disks_are_whole(world: &Shared) -> Result<(), String> {
    for machine in &world.machines {
        let rotten: BTreeSet<_> = machine.rotten.borrow().clone();
        let files = machine.disk.files();
        whole_objects::packs(&files, &rotten)?;
        if !machine.crashed.get() {
            whole_objects::loose(&files, &rotten)?;
        }
    }
    Ok(())
}

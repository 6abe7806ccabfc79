//! Makes a plan's events happen: begins faults, ends them, notices what died, and says when all is quiet.

use std::time::Duration;

use turmoil::Sim;

use super::{
    context::{Shared, Signal},
    marks,
    plan::{Answer, Event, Fault, UNSYNCED},
    props::stranded,
    server::HOST,
    trace::{Class, now},
    world::machine_name,
};

/// Makes the plan's events happen.
pub struct Director {
    world: Shared,
    /// The next event of the plan.
    next: usize,
    /// Faults that are on.
    on: Vec<Event>,
}

impl Director {
    /// Before the first step.
    pub fn new(world: Shared) -> Self {
        Self {
            world,
            next: 0,
            on: Vec::new(),
        }
    }

    /// Does what is due after a step of turmoil.
    pub fn direct(&mut self, sim: &mut Sim<'_>) {
        let world = self.world.clone();
        let time = now();
        while let Some(event) = world.plan.events.get(self.next) {
            if Duration::from_millis(event.at_ms) > time {
                break;
            }
            self.next += 1;
            self.begin(sim, event);
        }
        let (over, on) = std::mem::take(&mut self.on)
            .into_iter()
            .partition(|event| Duration::from_millis(event.until_ms) <= time);
        self.on = on;
        for event in over {
            let event: Event = event;
            self.end(sim, &event);
        }
        self.notice_deaths(sim);
        if self.next == world.plan.events.len()
            && self.on.is_empty()
            && world.quiet_since.get().is_none()
        {
            world
                .trace
                .point(Class::Fault, "world", || "quiet".to_owned());
            world.quiet_since.set(Some(time));
            world.quiet.notify_waiters();
        }
        if let Some(quiet) = world.quiet_since.get() {
            let check = world.under_way.borrow().check(time, quiet);
            world.verdicts.judge(stranded::NAME, check);
        }
    }

    fn begin(&mut self, sim: &mut Sim<'_>, event: &Event) {
        let world = &self.world;
        let until = Duration::from_millis(event.until_ms);
        let is_fault = !matches!(event.fault, Fault::Push { .. } | Fault::Remount { .. });
        if is_fault {
            world.faults.borrow_mut().add(now(), until.max(now()));
        }
        if !matches!(event.fault, Fault::Answer { .. }) {
            world.counts.add(&format!("fault: {}", event.fault.name()));
        }
        world.trace.point(Class::Fault, "world", || {
            format!("{:?} until {until:?}", event.fault)
        });
        let lasts = match &event.fault {
            Fault::Partition { machine } => {
                sim.partition(machine_name(*machine), HOST);
                true
            }
            Fault::Hold { machine } => {
                sim.hold(machine_name(*machine), HOST);
                true
            }
            Fault::Loss { machine, per_mille } => {
                sim.set_link_fail_rate(machine_name(*machine), HOST, *per_mille as f64 / 1000.0);
                true
            }
            Fault::Slow { machine, ms } => {
                let time = Duration::from_millis(*ms);
                sim.set_link_max_message_latency(machine_name(*machine), HOST, time);
                true
            }
            Fault::Answer { answer, per_mille } => {
                world
                    .server
                    .with(|server| server.answers.push((*answer, *per_mille, until)));
                true
            }
            Fault::ServerDown => {
                sim.crash(HOST);
                true
            }
            Fault::PowerOff {
                machine,
                operations,
            } => {
                world.machines[*machine].disk.power_off_after(*operations);
                true
            }
            Fault::Kill { mount, operations } => {
                let process = world.mounts[*mount].process.borrow();
                if let Some(process) = &*process {
                    process.disk.kill_after(*operations);
                }
                if *operations == 0 {
                    world.signal(*mount, Signal::Kill);
                }
                true
            }
            Fault::Remount { mount } => {
                world.signal(*mount, Signal::Remount);
                false
            }
            Fault::DiskFull { machine } => {
                world.machines[*machine].disk.set_full(true);
                true
            }
            Fault::DiskErrors { machine, per_mille } => {
                world.machines[*machine].disk.set_errors(*per_mille);
                true
            }
            Fault::BitRot { machine, files } => {
                let machine = &world.machines[*machine];
                let hit = machine.disk.rot(*files);
                machine.rotten.borrow_mut().extend(hit);
                false
            }
            Fault::MixUp { machine, files } => {
                let machine = &world.machines[*machine];
                let hit = machine.disk.mix_up(*files);
                machine.rotten.borrow_mut().extend(hit);
                false
            }
            Fault::MissingObjects { repo, per_mille } => {
                world.server.with(|server| server.lose(*repo, *per_mille));
                true
            }
            Fault::Push { repo, branch } => {
                world.server.with(|server| server.push(*repo, branch));
                false
            }
        };
        if lasts {
            self.on.push(event.clone());
        }
    }

    fn end(&mut self, sim: &mut Sim<'_>, event: &Event) {
        let world = &self.world;
        let begin = Duration::from_millis(event.at_ms);
        world.trace.span(Class::Fault, "world", begin, false, || {
            format!("{} ends", event.fault.name())
        });
        match &event.fault {
            Fault::Partition { machine } => sim.repair(machine_name(*machine), HOST),
            Fault::Hold { machine } => sim.release(machine_name(*machine), HOST),
            Fault::Loss { machine, .. } => {
                sim.set_link_fail_rate(machine_name(*machine), HOST, 0.0);
                sim.repair(machine_name(*machine), HOST);
            }
            Fault::Slow { machine, .. } => {
                let (low, high) = world.plan.latency_ms;
                let time = Duration::from_millis(high.max(low + 1));
                sim.set_link_max_message_latency(machine_name(*machine), HOST, time);
            }
            Fault::Answer { answer, per_mille } => {
                let until = Duration::from_millis(event.until_ms);
                let this: (Answer, u64, Duration) = (*answer, *per_mille, until);
                world.server.with(|server| {
                    if let Some(at) = server.answers.iter().position(|other| *other == this) {
                        server.answers.remove(at);
                    }
                });
            }
            Fault::ServerDown => sim.bounce(HOST),
            Fault::PowerOff { machine, .. } => self.power_on(sim, *machine),
            Fault::DiskFull { machine } => world.machines[*machine].disk.set_full(false),
            Fault::DiskErrors { machine, .. } => world.machines[*machine].disk.set_errors(0),
            Fault::MissingObjects { repo, .. } => {
                world.server.with(|server| server.missing[*repo].clear())
            }
            Fault::Kill { mount, .. } => {
                // It may not have come to the operation that it was to die at.
                if let Some(process) = &*world.mounts[*mount].process.borrow() {
                    process.disk.kill_after(u64::MAX / 2);
                }
            }
            Fault::Remount { .. }
            | Fault::BitRot { .. }
            | Fault::MixUp { .. }
            | Fault::Push { .. } => {}
        }
        // A fault of the same kind may still be on; then it goes on.
        let same: Vec<Event> = self
            .on
            .iter()
            .filter(|other| other.fault.name() == event.fault.name())
            .cloned()
            .collect();
        for other in same {
            match &other.fault {
                Fault::Partition { machine } => sim.partition(machine_name(*machine), HOST),
                Fault::Hold { machine } => sim.hold(machine_name(*machine), HOST),
                Fault::DiskFull { machine } => world.machines[*machine].disk.set_full(true),
                Fault::DiskErrors { machine, per_mille } => {
                    world.machines[*machine].disk.set_errors(*per_mille)
                }
                _ => {}
            }
        }
    }

    /// Machines that lost power, and processes that died, between two of their disk operations.
    fn notice_deaths(&mut self, sim: &mut Sim<'_>) {
        let world = self.world.clone();
        for (index, machine) in world.machines.iter().enumerate() {
            if machine.disk.is_off() && sim.is_host_running(machine_name(index)) {
                self.power_off(sim, index);
            }
        }
        for (index, mount) in world.mounts.iter().enumerate() {
            let died = mount
                .process
                .borrow()
                .as_ref()
                .is_some_and(|process| process.runtime.is_dead());
            if died && mount.signal.get() != Some(Signal::Kill) {
                world.counts.add(marks::KILLED_MID_JOB);
                world.signal(index, Signal::Kill);
            }
        }
    }

    fn power_off(&self, sim: &mut Sim<'_>, machine: usize) {
        let world = &self.world;
        world.trace.point(Class::Fault, &machine_name(machine), || {
            "power off".to_owned()
        });
        world.machines[machine].crashed.set(true);
        for (index, mount) in world.plan.mounts.iter().enumerate() {
            if mount.machine == machine {
                world.kill(index);
                world.mounts[index].waiting.borrow_mut().clear();
            }
        }
        if world.machines[machine].disk.power_off() {
            world.counts.add(&format!("fault: {UNSYNCED}"));
        }
        sim.crash(machine_name(machine));
        let prefixes: Vec<String> = (0..world.mounts.len())
            .filter(|index| world.plan.mounts[*index].machine == machine)
            .map(|index| format!("{}: ", world.mounts[index].name))
            .collect();
        world.under_way.borrow_mut().drop_of(&prefixes);
    }

    fn power_on(&self, sim: &mut Sim<'_>, machine: usize) {
        let disk = &self.world.machines[machine].disk;
        if sim.is_host_running(machine_name(machine)) {
            // It has not come to the operation that it was to die at.
            self.power_off(sim, machine);
        }
        disk.power_on();
        sim.bounce(machine_name(machine));
    }
}

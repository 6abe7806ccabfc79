//! Draws plans: each kind of fault and each feature is on or off for a whole run (swarm testing,
//! Groce et al. 2012), so that runs differ in kind and not only in detail.

use super::{Act, Answer, Event, Fault, Framed, MountPlan, Plan, ServerPlan, Step};
use crate::{repo::RepoPlan, rng::Rng};

/// Within how many milliseconds faults begin.
const SPAN_MS: u64 = 6_000;

impl Plan {
    /// The plan of `seed`, with about `operations` operations of the kernel.
    pub fn draw(seed: u64, operations: u64) -> Self {
        let mut rng = Rng::stream(seed, "plan");
        let repos: Vec<RepoPlan> = (0..rng.range(1, 2)).map(|_| repo(&mut rng)).collect();
        let machines = rng.range(1, 2);
        let disks = (0..machines)
            .map(|_| *rng.pick(&[1 << 30, 1 << 30, 64 << 10]))
            .collect();
        let mounts = mounts(&mut rng, machines, &repos, operations);
        let mut plan = Self {
            seed,
            tick_ms: *rng.pick(&[10, 20, 20, 30]),
            latency_ms: *rng.pick(&[(0, 5), (1, 40), (20, 20), (5, 200)]),
            server: server(&mut rng),
            repos,
            disks,
            cache_size: *Rng::stream(seed, "cache size").pick(&[1 << 30, 1 << 30, 40_000, 8_000]),
            mounts,
            events: Vec::new(),
        };
        // One run in eight has no faults at all: then nothing may fail.
        if !rng.chance(125) {
            plan.draw_faults(&mut Rng::stream(seed, "faults"));
            plan.draw_situations(&mut Rng::stream(seed, "situations"));
            plan.draw_mix_ups(&mut Rng::stream(seed, "mix-ups"));
        }
        if rng.chance(500) {
            plan.draw_pushes(&mut rng);
        }
        plan.server.names_missing = Rng::stream(seed, "names").chance(600);
        plan.draw_following(&mut Rng::stream(seed, "following"));
        plan.draw_framing(&mut Rng::stream(seed, "framing"));
        plan.draw_idleness(&mut Rng::stream(seed, "idleness"));
        plan.events.sort_by_key(|event| event.at_ms);
        plan
    }

    fn draw_faults(&mut self, rng: &mut Rng) {
        let machine = |rng: &mut Rng, plan: &Plan| rng.below(plan.disks.len() as u64) as usize;
        let mount = |rng: &mut Rng, plan: &Plan| rng.below(plan.mounts.len() as u64) as usize;
        let mut kinds: Vec<u64> = (0..13).filter(|_| rng.chance(220)).collect();
        if kinds.is_empty() {
            kinds.push(rng.below(13));
        }
        for kind in kinds {
            for _ in 0..rng.range(1, 3) {
                let fault = match kind {
                    0 => Fault::Partition {
                        machine: machine(rng, self),
                    },
                    1 => Fault::Hold {
                        machine: machine(rng, self),
                    },
                    2 => Fault::Loss {
                        machine: machine(rng, self),
                        per_mille: rng.range(1, 30),
                    },
                    3 => Fault::Slow {
                        machine: machine(rng, self),
                        ms: rng.range(50, 2000),
                    },
                    4..=6 => Fault::Answer {
                        answer: answer(rng),
                        per_mille: *rng.pick(&[100, 300, 1000]),
                    },
                    7 => Fault::ServerDown,
                    8 => Fault::PowerOff {
                        machine: machine(rng, self),
                        operations: if rng.chance(500) { 0 } else { rng.below(60) },
                    },
                    9 => match rng.chance(700) {
                        true => Fault::Kill {
                            mount: mount(rng, self),
                            operations: if rng.chance(500) { 0 } else { rng.below(60) },
                        },
                        false => Fault::Remount {
                            mount: mount(rng, self),
                        },
                    },
                    10 => Fault::DiskFull {
                        machine: machine(rng, self),
                    },
                    11 => Fault::DiskErrors {
                        machine: machine(rng, self),
                        per_mille: rng.range(5, 300),
                    },
                    _ => match rng.chance(700) {
                        true => Fault::BitRot {
                            machine: machine(rng, self),
                            files: rng.range(1, 8),
                        },
                        false => Fault::MissingObjects {
                            repo: rng.below(self.repos.len() as u64) as usize,
                            per_mille: rng.range(10, 300),
                        },
                    },
                };
                let at_ms = rng.below(SPAN_MS);
                let lasts = *rng.pick(&[100, 500, 1000, 2000, 3000, 5000]);
                self.events.push(Event {
                    at_ms,
                    until_ms: at_ms + lasts,
                    fault: fault.clone(),
                });
                // What was on disk is only looked at by the next start.
                if matches!(fault, Fault::BitRot { .. } | Fault::Partition { .. })
                    && rng.chance(600)
                {
                    let mount = mount(rng, self);
                    let at_ms = at_ms + rng.below(100);
                    let fault = Fault::Remount { mount };
                    self.events.push(Event {
                        at_ms,
                        until_ms: at_ms,
                        fault,
                    });
                }
            }
        }
    }

    /// Files that hold what belongs to others, in one run of five. Indexes are only read by a start.
    fn draw_mix_ups(&mut self, rng: &mut Rng) {
        if !rng.chance(200) {
            return;
        }
        for _ in 0..rng.range(1, 3) {
            let at_ms = rng.below(SPAN_MS);
            let machine = rng.below(self.disks.len() as u64) as usize;
            let files = rng.range(1, 20);
            let mount = rng.below(self.mounts.len() as u64) as usize;
            for (after, fault) in [
                (0, Fault::MixUp { machine, files }),
                (rng.below(100), Fault::Remount { mount }),
            ] {
                let at_ms = at_ms + after;
                self.events.push(Event {
                    at_ms,
                    until_ms: at_ms,
                    fault,
                });
            }
        }
    }

    /// Some mounts follow their branch, which moves, and are refreshed while they are used.
    fn draw_following(&mut self, rng: &mut Rng) {
        for index in 0..self.mounts.len() {
            let branch = match self.mounts[index].want.as_deref() {
                Some("v1") => continue,
                Some(name) if !name.starts_with("refs/") => format!("refs/heads/{name}"),
                _ => "refs/heads/main".to_owned(),
            };
            if !rng.chance(400) {
                continue;
            }
            let mount = &mut self.mounts[index];
            mount.follow = true;
            let repo = mount.repo;
            for steps in &mut mount.workers {
                for _ in 0..rng.range(1, 4) {
                    if let Some(at) = steps.len().checked_sub(1) {
                        let at = rng.below(at as u64 + 1) as usize;
                        steps[at].act = Act::Refresh;
                        steps[at].cancel = None;
                    }
                }
            }
            // The root is read entry by entry, over and over, while refreshes come.
            let slow = rng.chance(500);
            if slow {
                let step = |act, arg, pause_ms| Step {
                    act,
                    path: 0,
                    arg,
                    pause_ms,
                    cancel: None,
                };
                mount.workers.push(vec![step(Act::List, 144, 0); 4]);
                mount.workers.push(vec![step(Act::Refresh, 0, 250); 6]);
            }
            self.repos[repo].commits = self.repos[repo].commits.max(4);
            for _ in 0..rng.range(1, 3) {
                let at_ms = rng.below(if slow { SPAN_MS / 3 } else { SPAN_MS });
                let branch = branch.clone();
                self.events.push(Event {
                    at_ms,
                    until_ms: at_ms,
                    fault: Fault::Push { repo, branch },
                });
            }
        }
    }

    /// Half of the mounts are asked by messages.
    fn draw_framing(&mut self, rng: &mut Rng) {
        for mount in &mut self.mounts {
            let opens = rng.chance(700);
            mount.framed = match rng.below(4) {
                0 => Some(Framed::Device { opens }),
                1 => Some(Framed::Ring { opens }),
                _ => None,
            };
        }
    }

    fn draw_pushes(&mut self, rng: &mut Rng) {
        for repo in 0..self.repos.len() {
            for _ in 0..rng.below(3) {
                let branch = match rng.below(self.repos[repo].branches) {
                    0 => "refs/heads/main".to_owned(),
                    n => format!("refs/heads/b{n}"),
                };
                let at_ms = rng.below(SPAN_MS);
                let fault = Fault::Push { repo, branch };
                self.events.push(Event {
                    at_ms,
                    until_ms: at_ms,
                    fault,
                });
            }
        }
        let mount = rng.below(self.mounts.len() as u64) as usize;
        let at_ms = rng.below(SPAN_MS);
        self.events.push(Event {
            at_ms,
            until_ms: at_ms,
            fault: Fault::Remount { mount },
        });
    }
}

fn repo(rng: &mut Rng) -> RepoPlan {
    RepoPlan {
        seed: rng.next(),
        entries: *rng.pick(&[0, 5, 30, 30, 80, 80, 150]),
        commits: rng.range(1, 4),
        branches: rng.range(1, 3),
        large: *rng.pick(&[0, 0, 5_000, 9_000]),
        hostile: rng.chance(150),
    }
}

fn server(rng: &mut Rng) -> ServerPlan {
    let filter = rng.chance(800);
    ServerPlan {
        filter,
        ignores_filter: filter && rng.chance(150),
        shallow: rng.chance(900),
        object_info: rng.chance(400),
        names_missing: false,
        deltas: rng.chance(500),
        packet: *rng.pick(&[100, 1000, 8000, 65_515]),
        pause_ms: *rng.pick(&[0, 0, 0, 1, 20]),
    }
}

fn answer(rng: &mut Rng) -> Answer {
    match rng.below(18) {
        0 => Answer::Status(401),
        1 => Answer::Status(403),
        2 => Answer::Status(404),
        3 => Answer::Status(*rng.pick(&[500, 502, 503])),
        4 | 5 => Answer::RetryAfter(*rng.pick(&[429, 503]), *rng.pick(&[0, 1, 2, 5])),
        6 | 7 => Answer::Reset,
        8 => *rng.pick(&[Answer::Cut, Answer::TornPack]),
        9 => Answer::Flip,
        10 => Answer::WrongObject,
        11 => Answer::LeaveOut,
        12 => Answer::Drip,
        13 => Answer::Silence,
        14 => *rng.pick(&[Answer::Page, Answer::Empty]),
        15 => Answer::Moved(*rng.pick(&[301, 302, 307, 308])),
        16 => Answer::Loop,
        _ => Answer::Fatal,
    }
}

fn mounts(rng: &mut Rng, machines: u64, repos: &[RepoPlan], operations: u64) -> Vec<MountPlan> {
    let count = rng.range(1, 3);
    // A program's step is some operations of the kernel: measured, not derived.
    let steps = operations / 5;
    let mut mounts: Vec<MountPlan> = (0..count)
        .map(|_| {
            let repo = rng.below(repos.len() as u64) as usize;
            let branch = rng.below(repos[repo].branches);
            MountPlan {
                machine: rng.below(machines) as usize,
                repo,
                want: match rng.below(6) {
                    0..=2 => None,
                    3 if branch > 0 => Some(format!("b{branch}")),
                    4 => Some("v1".to_owned()),
                    _ => Some("refs/heads/main".to_owned()),
                },
                memory: *rng.pick(&[500, 3_000, 20_000, 1 << 20, 1 << 20]),
                listings: *rng.pick(&[0, 400, 3_000, 1 << 20]),
                ino_mask: *rng.pick(&[u64::MAX, u64::MAX, u64::MAX, 0x3f]),
                own_cache: rng.chance(300),
                job_delay_ms: *rng.pick(&[0, 1, 5]),
                readdirplus: rng.chance(600),
                follow: false,
                framed: None,
                workers: Vec::new(),
            }
        })
        .collect();
    let acts = acts(rng);
    for mount in &mut mounts {
        let workers = *rng.pick(&[1, 2, 3, 5, 8, 16]);
        let each = steps / count / workers;
        // A few paths that everybody is after, so that they meet.
        let hot: Vec<u32> = (0..3).map(|_| rng.next() as u32).collect();
        let pauses = *rng.pick(&[0, 20, 100, 300]);
        let interrupts = *rng.pick(&[0, 0, 50, 250]);
        mount.workers = (0..workers)
            .map(|_| {
                (0..each)
                    .map(|_| step(rng, &acts, &hot, pauses, interrupts))
                    .collect()
            })
            .collect();
    }
    mounts
}

/// What programs of this run do: some acts more, some not at all.
fn acts(rng: &mut Rng) -> Vec<Act> {
    use Act::*;
    let mut acts = vec![Read];
    for act in [Stat, Read, Readlink, List, Missing, Grep, Forget, Look] {
        for _ in 0..rng.below(4) {
            acts.push(act);
        }
    }
    acts
}

fn step(rng: &mut Rng, acts: &[Act], hot: &[u32], pauses: u64, interrupts: u64) -> Step {
    Step {
        act: *rng.pick(acts),
        path: match rng.chance(400) {
            true => *rng.pick(hot),
            false => rng.next() as u32,
        },
        arg: rng.next() as u32,
        pause_ms: match rng.chance(500) {
            true => 0,
            false => rng.below(pauses + 1),
        },
        cancel: rng.chance(interrupts).then(|| rng.below(8) as u32),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{super::KINDS, *};

    #[test]
    fn a_seed_always_gives_the_same_plan() {
        let plan = |seed| serde_json::to_string(&Plan::draw(seed, 1000)).expect("plain data");
        assert_eq!(plan(5), plan(5));
        assert_ne!(plan(5), plan(6));
    }

    #[test]
    fn every_kind_of_fault_is_drawn_and_some_runs_have_none() {
        let mut seen = BTreeSet::new();
        let mut quiet = 0;
        for seed in 0..300 {
            let plan = Plan::draw(seed, 1000);
            seen.extend(plan.events.iter().map(|event| event.fault.name()));
            quiet +=
                u64::from(plan.events.iter().all(|event| {
                    matches!(event.fault, Fault::Push { .. } | Fault::Remount { .. })
                }));
        }
        assert!(quiet > 10);
        assert_eq!(seen, BTreeSet::from(KINDS));
    }
}

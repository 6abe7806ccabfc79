//! Situations that independent draws rarely come to, put together on purpose: each needs several
//! things at once, most of all a cache that is still cold.
//!
//! Always holds: they have a stream of their own, so the rest of a plan is the same with and without.

use super::{Act, Answer, Event, Fault, Plan, Step};
use crate::rng::Rng;

/// Programs that start at once on one mount.
const CROWD: usize = 16;
/// What each of them reads before it goes on with what was drawn for it.
const READS: usize = 6;
/// Longer than anything may lie unread.
const IDLE_MS: u64 = 31_000;
/// How many files are read one after the other in a scan.
const SCAN: u32 = 10;
/// From one path to the next in a commit of some 150 entries.
const NEXT: u32 = u32::MAX / 150;

impl Plan {
    /// Puts some of the situations into the plan, in most runs none.
    pub(super) fn draw_situations(&mut self, rng: &mut Rng) {
        if rng.chance(200) {
            self.crowd_of_strangers(rng);
        }
        if rng.chance(200) {
            self.torn_download(rng);
        }
        if rng.chance(200) {
            self.killed_while_cold(rng);
        }
        if rng.chance(200) {
            self.herd_with_quitters(rng);
        }
        if rng.chance(100) {
            self.turned_away(rng);
        }
        if rng.chance(150) {
            self.dark_after_the_first_mount(rng);
        }
    }

    /// One program reads a few files that stand next to each other, does nothing for so long that what
    /// came ahead is given up, and reads elsewhere; the mount's other programs begin only then.
    pub(super) fn draw_idleness(&mut self, rng: &mut Rng) {
        if !rng.chance(300) {
            return;
        }
        let chosen = rng.below(self.mounts.len() as u64) as usize;
        let workers = &mut self.mounts[chosen].workers;
        for first in workers
            .iter_mut()
            .skip(1)
            .filter_map(|worker| worker.first_mut())
        {
            first.pause_ms = 2 * IDLE_MS;
        }
        let Some(worker) = workers.first_mut() else {
            return;
        };
        let mut scan = |pause_ms| {
            let path = rng.next() as u32;
            (0..SCAN).map(move |n| Step {
                act: Act::Read,
                path: path.wrapping_add(n * NEXT),
                arg: 3,
                pause_ms: if n == 0 { pause_ms } else { 0 },
                cancel: None,
            })
        };
        let steps: Vec<Step> = scan(0).chain(scan(IDLE_MS)).chain(scan(0)).collect();
        worker.splice(..0, steps);
    }

    /// Many programs read different files of a cold mount at once, so that wants queue and leave in
    /// batches; and the server has lost some of what they want.
    fn crowd_of_strangers(&mut self, rng: &mut Rng) {
        let chosen = rng.below(self.mounts.len() as u64) as usize;
        let mount = &mut self.mounts[chosen];
        let repo = mount.repo;
        mount.workers.resize(CROWD, Vec::new());
        for worker in &mut mount.workers {
            let reads = (0..READS).map(|_| Step {
                act: Act::Read,
                path: rng.next() as u32,
                arg: rng.next() as u32,
                pause_ms: 0,
                cancel: None,
            });
            worker.splice(..0, reads.collect::<Vec<_>>());
        }
        self.events.push(Event {
            at_ms: 0,
            until_ms: rng.range(2_000, 8_000),
            fault: Fault::MissingObjects {
                repo,
                per_mille: rng.range(50, 400),
            },
        });
    }

    /// Many programs want the same cold files at once, and some of them, the first ones too, are
    /// interrupted while they wait.
    fn herd_with_quitters(&mut self, rng: &mut Rng) {
        let chosen = rng.below(self.mounts.len() as u64) as usize;
        let paths: Vec<u32> = (0..READS).map(|_| rng.next() as u32).collect();
        let mount = &mut self.mounts[chosen];
        mount.workers.resize(CROWD, Vec::new());
        for worker in &mut mount.workers {
            let reads = paths.iter().map(|path| Step {
                act: Act::Read,
                path: *path,
                arg: rng.next() as u32,
                pause_ms: 0,
                cancel: rng.chance(300).then(|| rng.below(4) as u32),
            });
            worker.splice(..0, reads.collect::<Vec<_>>());
        }
    }

    /// The first packs break off, those with the trees of a commit that has many among them.
    fn torn_download(&mut self, rng: &mut Rng) {
        for repo in &mut self.repos {
            repo.entries = repo.entries.max(60);
        }
        // Only whole packets are seen of what breaks off.
        self.server.packet = 100;
        self.server.ignores_filter = false;
        self.events.push(Event {
            at_ms: 0,
            until_ms: rng.range(500, 3_000),
            fault: Fault::Answer {
                answer: Answer::TornPack,
                per_mille: *rng.pick(&[500, 800, 1000]),
            },
        });
    }

    /// A process is killed by one of the disk operations of its first seconds, which are many.
    fn killed_while_cold(&mut self, rng: &mut Rng) {
        let at_ms = rng.below(1_500);
        self.events.push(Event {
            at_ms,
            until_ms: at_ms + rng.range(1_000, 5_000),
            fault: Fault::Kill {
                mount: rng.below(self.mounts.len() as u64) as usize,
                operations: rng.range(1, 60),
            },
        });
    }

    /// A machine loses power when its mounts have just been made for the first time, and later again: what of a new cache was
    /// not synced may be gone.
    fn dark_after_the_first_mount(&mut self, rng: &mut Rng) {
        let machine = rng.below(self.disks.len() as u64) as usize;
        self.disks[machine] = 1 << 30;
        for at_ms in [rng.range(200, 1_200), rng.range(2_000, 3_000)] {
            self.events.push(Event {
                at_ms,
                until_ms: at_ms + 100,
                fault: Fault::PowerOff {
                    machine,
                    operations: 0,
                },
            });
        }
    }

    /// The server has too much to do when everybody comes.
    fn turned_away(&mut self, rng: &mut Rng) {
        let at_ms = rng.below(1_500);
        self.events.push(Event {
            at_ms,
            until_ms: at_ms + rng.range(500, 3_000),
            fault: Fault::Answer {
                answer: Answer::RetryAfter(*rng.pick(&[429, 503]), rng.range(1, 4)),
                per_mille: 300,
            },
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_reads_first_what_the_server_has_lost() {
        let mut plan = Plan::draw(3, 1000);
        plan.crowd_of_strangers(&mut Rng::stream(3, "test"));
        let crowded = plan
            .mounts
            .iter()
            .find(|mount| mount.workers.len() == CROWD);
        let crowded = crowded.expect("one mount has a crowd");
        for worker in &crowded.workers {
            let mut first = worker.iter().take(READS);
            assert!(first.all(|step| step.act == Act::Read && step.pause_ms == 0));
        }
        let lost = plan.events.iter().any(|event| {
            event.at_ms == 0
                && matches!(event.fault, Fault::MissingObjects { repo, .. } if repo == crowded.repo)
        });
        assert!(lost);
    }
}

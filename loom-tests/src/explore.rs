//! Running a model under the checker that the features chose. May import: loom, shuttle, std.
//!
//! Always holds: a run fails if a schedule fails (an assertion, a deadlock, which is what a lost
//! wake-up becomes), and also if a situation the model was written for was never reached.

use std::{
    cell::Cell,
    collections::BTreeSet,
    sync::{Arc, Mutex, Once, PoisonError},
};

/// How many threads a model has, its main thread included, and so how much of it can be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// Under loom, every schedule.
    Two,
    /// Two with too many steps for that; as for three.
    TwoLong,
    /// Under loom, every schedule with up to three preemptions.
    Three,
}

/// The situations that schedules have reached.
#[derive(Clone, Default)]
pub struct Seen(Arc<Mutex<BTreeSet<&'static str>>>);

impl Seen {
    /// This schedule reached `what`.
    pub fn mark(&self, what: &'static str) {
        // std's lock on purpose: marking is no step of the model.
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.insert(what);
    }
}

thread_local! {
    /// Executions begun by the test of this thread. All threads of a model run on it in turn.
    static EXECUTIONS: Cell<usize> = const { Cell::new(0) };
}

/// Makes every panic say in which execution it came, also one that no destructor survives.
fn tell_executions() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            eprintln!("failed in execution {}", EXECUTIONS.get());
            before(panic);
        }));
    });
}

/// Runs `model` in many schedules, and checks that each of `must_see` was marked in one of them.
pub fn explore(
    threads: Threads,
    must_see: &[&'static str],
    model: impl Fn(&Seen) + Send + Sync + 'static,
) {
    tell_executions();
    EXECUTIONS.set(0);
    let seen = Seen::default();
    let in_model = seen.clone();
    run(threads, move || {
        EXECUTIONS.set(EXECUTIONS.get() + 1);
        model(&in_model);
    });
    println!("{} executions", EXECUTIONS.get());
    let seen = seen.0.lock().unwrap_or_else(PoisonError::into_inner);
    for what in must_see {
        assert!(seen.contains(what), "no schedule reached: {what}");
    }
}

/// `LOOM_CHECKPOINT_FILE`, `LOOM_LOG` and the like work as loom's documentation says.
#[cfg(feature = "loom")]
fn run(threads: Threads, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.max_branches = 20_000;
    if threads != Threads::Two {
        builder.preemption_bound = Some(builder.preemption_bound.unwrap_or(3));
    }
    builder.check(model);
}

/// `BONSAI_SEED` and `BONSAI_SCHEDULES` choose others than the 10,000 of seed 1. A failure prints
/// its schedule; `BONSAI_SCHEDULE=<that>` runs it alone.
#[cfg(all(feature = "shuttle", not(feature = "loom")))]
fn run(_: Threads, model: impl Fn() + Send + Sync + 'static) {
    use shuttle::{
        Config, Runner,
        scheduler::{PctScheduler, ReplayScheduler},
    };

    /// How many points of a schedule PCT moves on purpose. Bugs that need more are rare.
    const DEPTH: usize = 3;

    let number = |name: &str| {
        let text = std::env::var(name).ok()?;
        Some(
            text.parse()
                .unwrap_or_else(|_| panic!("{name}={text}: not a number")),
        )
    };
    let mut config = Config::new();
    config.stack_size = 256 << 10;
    if let Ok(schedule) = std::env::var("BONSAI_SCHEDULE") {
        let scheduler = ReplayScheduler::new_from_encoded(&schedule);
        Runner::new(scheduler, config).run(model);
        return;
    }
    let seed = number("BONSAI_SEED").unwrap_or(1);
    let schedules = number("BONSAI_SCHEDULES").unwrap_or(10_000);
    let schedules = usize::try_from(schedules).expect("a number that fits");
    let scheduler = PctScheduler::new_from_seed(seed, DEPTH, schedules);
    Runner::new(scheduler, config).run(model);
}

//! Makes a failing plan smaller while it fails in the same way: whole mounts' programs first, then events,
//! then runs of steps, halving as delta debugging does (Zeller and Hildebrandt, 2002).

use crate::{plan::Plan, props::Violation, trace::Trace, world};

/// Runs that one shrinking may take.
const RUNS: u32 = 400;

/// The smallest plan found whose run ends with the same failure.
pub fn shrink(plan: &Plan, violation: &Violation) -> Plan {
    shrink_with(plan, &mut |candidate| {
        let outcome = world::run(candidate, &Trace::default());
        outcome
            .violation
            .is_some_and(|found| is_same(&found, violation))
    })
}

/// Whether two violations are the same failure: of one property, told in the same words. Paths, ids
/// and numbers may differ.
fn is_same(one: &Violation, other: &Violation) -> bool {
    fn words(violation: &Violation) -> impl Iterator<Item = &str> {
        let message = violation.message.split_whitespace();
        let words = message.map(|word| word.trim_matches(|c: char| c.is_ascii_punctuation()));
        words.filter(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphabetic()))
    }
    one.property == other.property && words(one).eq(words(other))
}

fn shrink_with(plan: &Plan, fails: &mut dyn FnMut(&Plan) -> bool) -> Plan {
    let mut best = plan.clone();
    let mut left = RUNS;
    loop {
        let before = size(&best);
        for mount in 0..best.mounts.len() {
            for worker in (0..best.mounts[mount].workers.len()).rev() {
                let mut smaller = best.clone();
                smaller.mounts[mount].workers[worker].clear();
                keep(&mut best, smaller, &mut left, fails);
            }
        }
        halve(&mut best, &mut left, fails, &mut |plan| &mut plan.events);
        for mount in 0..best.mounts.len() {
            for worker in 0..best.mounts[mount].workers.len() {
                halve(&mut best, &mut left, fails, &mut |plan| {
                    &mut plan.mounts[mount].workers[worker]
                });
            }
        }
        for mount in 0..best.mounts.len() {
            for worker in 0..best.mounts[mount].workers.len() {
                for step in 0..best.mounts[mount].workers[worker].len().min(40) {
                    if best.mounts[mount].workers[worker][step].cancel.is_some() {
                        let mut smaller = best.clone();
                        smaller.mounts[mount].workers[worker][step].cancel = None;
                        keep(&mut best, smaller, &mut left, fails);
                    }
                }
            }
        }
        if left == 0 || size(&best) == before {
            return best;
        }
    }
}

/// Takes `smaller` if it fails too.
fn keep(
    best: &mut Plan,
    smaller: Plan,
    left: &mut u32,
    fails: &mut dyn FnMut(&Plan) -> bool,
) -> bool {
    if *left == 0 || size(&smaller) == size(best) {
        return false;
    }
    *left -= 1;
    let fails = fails(&smaller);
    if fails {
        *best = smaller;
    }
    fails
}

/// Takes away pieces of a list, large ones first.
fn halve<T: Clone>(
    best: &mut Plan,
    left: &mut u32,
    fails: &mut dyn FnMut(&Plan) -> bool,
    list: &mut dyn FnMut(&mut Plan) -> &mut Vec<T>,
) {
    let mut piece = list(best).len();
    while piece > 0 {
        let mut at = 0;
        while at < list(best).len() {
            let mut smaller = best.clone();
            let steps = list(&mut smaller);
            steps.drain(at..(at + piece).min(steps.len()));
            if !keep(best, smaller, left, fails) {
                at += piece;
            }
        }
        piece /= 2;
    }
}

fn size(plan: &Plan) -> usize {
    let interrupts = plan
        .mounts
        .iter()
        .flat_map(|mount| mount.workers.iter().flatten());
    plan.steps() * 2
        + plan.events.len() * 2
        + interrupts.filter(|step| step.cancel.is_some()).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Act;

    #[test]
    fn what_the_failure_does_not_need_goes_away() {
        let plan = (0..)
            .map(|seed| Plan::draw(seed, 1000))
            .find(|plan| plan.steps() > 100 && plan.events.len() > 3 && has(plan, Act::Grep) > 2);
        let plan = plan.expect("seeds are many");
        let small = shrink_with(&plan, &mut |plan| {
            has(plan, Act::Grep) >= 2 && !plan.events.is_empty()
        });
        assert_eq!((small.steps(), small.events.len()), (2, 1));
    }

    #[test]
    fn another_place_is_the_same_failure_and_another_reason_is_not() {
        let violation = |property, message: &str| Violation {
            property,
            at: std::time::Duration::ZERO,
            message: message.to_owned(),
        };
        let first = violation(
            "truth",
            "lookup f1/f2: Io without a fault: object 2781: no space",
        );
        let is_same = |property, message| is_same(&first, &violation(property, message));
        assert!(is_same(
            "truth",
            "lookup f9: Io without a fault: object aa81: no space"
        ));
        assert!(!is_same(
            "truth",
            "lookup f9: Io without a fault: object aa81: is damaged"
        ));
        assert!(!is_same(
            "balance",
            "lookup f1/f2: Io without a fault: object 2781: no space"
        ));
    }

    fn has(plan: &Plan, act: Act) -> usize {
        let steps = plan
            .mounts
            .iter()
            .flat_map(|mount| mount.workers.iter().flatten());
        steps.filter(|step| step.act == act).count()
    }
}

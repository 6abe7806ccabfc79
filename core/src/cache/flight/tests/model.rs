//! SingleFlight against a model that knows who is in which flight. The input picks every step:
//! which task begins, goes on, ends well, fails, panics or is cancelled.

use std::{future::poll_fn, pin::pin};

use proptest::prelude::*;

use super::*;
use crate::testing::cases;

const KEYS: u8 = 2;

#[derive(Clone, Debug)]
enum Step {
    /// A new caller for this key.
    Call(u8),
    /// One of the tasks that are ready goes on.
    Poll(prop::sample::Index),
    /// One of the tasks that have not ended is dropped.
    Cancel(prop::sample::Index),
    /// One of the works under way ends.
    End(prop::sample::Index, How),
    /// The flight of this key is detached.
    Detach(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Well,
    Badly,
    Panic,
}

/// What a flight gives: which piece of work made it, and how that went.
type Outcome = Result<u32, u32>;

#[derive(Default)]
struct Model {
    flights: Vec<ModelFlight>,
    /// The flight that can be joined, by key.
    open: [Option<usize>; KEYS as usize],
    works: u32,
    /// Works under way, with what ends them.
    gates: Vec<Sender<How>>,
}

#[derive(Default)]
struct ModelFlight {
    members: usize,
    /// Works under way: 0 or 1.
    leaders: usize,
    outcome: Option<Outcome>,
    detached: bool,
}

type Shared = Rc<RefCell<Model>>;

/// A caller's membership of a flight, from its first poll to its end.
struct Member {
    model: Shared,
    key: u8,
    flight: Cell<usize>,
}

impl Member {
    fn new(model: &Shared, key: u8) -> Self {
        let flight = Cell::new(model.borrow_mut().join(key));
        Self {
            model: Rc::clone(model),
            key,
            flight,
        }
    }

    /// Whoever finds a detached flight without a leader goes to the one that has the key now.
    fn move_on(&self) {
        let mut m = self.model.borrow_mut();
        let flight = &m.flights[self.flight.get()];
        if flight.detached && flight.leaders == 0 && flight.outcome.is_none() {
            m.leave(self.key, self.flight.get());
            self.flight.set(m.join(self.key));
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.model.borrow_mut().leave(self.key, self.flight.get());
    }
}

impl Model {
    fn join(&mut self, key: u8) -> usize {
        let next = self.flights.len();
        let flight = *self.open[usize::from(key)].get_or_insert(next);
        if flight == next {
            self.flights.push(ModelFlight::default());
        }
        self.flights[flight].members += 1;
        flight
    }

    fn leave(&mut self, key: u8, flight: usize) {
        self.flights[flight].members -= 1;
        if self.flights[flight].members == 0 {
            self.close(key, flight);
        }
    }

    fn close(&mut self, key: u8, flight: usize) {
        let open = &mut self.open[usize::from(key)];
        if *open == Some(flight) {
            *open = None;
        }
    }
}

/// A piece of work under way.
struct Work<'a>(&'a Member);

impl<'a> Work<'a> {
    fn begin(member: &'a Member) -> (Self, u32, Receiver<How>) {
        let mut m = member.model.borrow_mut();
        let flight = &mut m.flights[member.flight.get()];
        flight.leaders += 1;
        assert_eq!(flight.leaders, 1, "two leaders at a time");
        assert_eq!(flight.outcome, None, "work after the end");
        m.works += 1;
        let (sender, gate) = oneshot();
        m.gates.push(sender);
        (Self(member), m.works, gate)
    }
}

impl Drop for Work<'_> {
    fn drop(&mut self) {
        self.0.model.borrow_mut().flights[self.0.flight.get()].leaders -= 1;
    }
}

async fn call(flights: Rc<SingleFlight<u8, Outcome>>, model: Shared, key: u8) {
    let member = Member::new(&model, key);
    let work = || async {
        let (work, number, gate) = Work::begin(&member);
        let outcome = match gate.await.expect("gates are opened, not dropped") {
            How::Well => Ok(number),
            How::Badly => Err(number),
            How::Panic => resume_unwind(Box::new("planned")),
        };
        drop(work);
        let mut m = model.borrow_mut();
        m.flights[member.flight.get()].outcome = Some(outcome);
        m.close(key, member.flight.get());
        outcome
    };
    let mut run = pin!(flights.run(&key, work));
    let got = poll_fn(|cx| {
        member.move_on();
        run.as_mut().poll(cx)
    })
    .await;
    let made = model.borrow().flights[member.flight.get()].outcome;
    assert_eq!(Some(got), made, "not what this flight made");
}

fn any_step() -> impl Strategy<Value = Step> {
    let how = prop::sample::select(vec![How::Well, How::Badly, How::Panic]);
    prop_oneof![
        4 => (0..KEYS).prop_map(Step::Call),
        8 => any::<prop::sample::Index>().prop_map(Step::Poll),
        3 => any::<prop::sample::Index>().prop_map(Step::Cancel),
        2 => (any::<prop::sample::Index>(), how).prop_map(|(i, how)| Step::End(i, how)),
        1 => (0..KEYS).prop_map(Step::Detach),
    ]
}

fn pick(from: &[usize], index: prop::sample::Index) -> Option<usize> {
    (!from.is_empty()).then(|| from[index.index(from.len())])
}

fn end_one(model: &Shared, choose: impl Fn(usize) -> usize, how: How) -> bool {
    let mut m = model.borrow_mut();
    // Works of cancelled tasks are gone; their gates are of no use.
    m.gates.retain(|gate| !gate.is_closed());
    if m.gates.is_empty() {
        return false;
    }
    let at = choose(m.gates.len());
    let gate = m.gates.remove(at);
    drop(m);
    gate.send(how).is_ok()
}

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn flights_keep_their_promises_under_any_schedule(
        steps in prop::collection::vec(any_step(), 0..80),
    ) {
        let flights = Rc::new(SingleFlight::new());
        let model = Shared::default();
        let mut tasks = Tasks::default();
        for step in steps {
            match step {
                Step::Call(key) => {
                    tasks.spawn(call(Rc::clone(&flights), Rc::clone(&model), key));
                }
                Step::Poll(index) => {
                    if let Some(i) = pick(&tasks.ready(), index) {
                        check(tasks.poll(i));
                    }
                }
                Step::Cancel(index) => {
                    if let Some(i) = pick(&tasks.alive(), index) {
                        tasks.cancel(i);
                    }
                }
                Step::End(index, how) => {
                    end_one(&model, |n| index.index(n), how);
                }
                Step::Detach(key) => {
                    flights.detach(&key);
                    let mut m = model.borrow_mut();
                    if let Some(flight) = m.open[usize::from(key)].take() {
                        m.flights[flight].detached = true;
                    }
                }
            }
            let open = model.borrow().open.iter().flatten().count();
            prop_assert_eq!(flights.len(), open);
        }
        // Let all works end, and everyone must come home.
        loop {
            while let Some(i) = tasks.ready().first() {
                check(tasks.poll(*i));
            }
            if !end_one(&model, |_| 0, How::Well) {
                break;
            }
        }
        prop_assert_eq!(tasks.alive(), Vec::<usize>::new(), "stranded");
        prop_assert_eq!(flights.len(), 0);
    }
}

/// A planned panic is part of the play, any other is a failure of the test.
fn check(polled: std::thread::Result<()>) {
    if let Err(panic) = polled
        && panic.downcast_ref::<&str>() != Some(&"planned")
    {
        resume_unwind(panic);
    }
}

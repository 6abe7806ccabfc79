//! One processor's queue. May import: this room.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, Mutex, mpsc},
    thread::{self, ThreadId},
};

use bonsaifs_core::fs::Provider;
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};
use rustix::event::{EventfdFlags, eventfd};

use super::{
    super::{Adapter, reply::Sink, wire::Request},
    ring::{Event, Held, Ring, Slot},
};

/// Bytes from which on another processor makes the answer. The queue's own is that of who asks, and of the kernel that
/// copies it once more; two changes of thread cost less than the copy then.
const LARGE: u32 = 128 << 10;

/// What a queue's thread does.
pub(super) struct Queue {
    ring: Ring,
    answered: Arc<Answered>,
    device: OwnedFd,
}

/// Slots whose answer is written, on the way to their ring.
struct Answered {
    slots: Mutex<Vec<Held>>,
    /// Written to by other threads, when the queue's waits.
    waker: OwnedFd,
    thread: ThreadId,
    /// There are other processors than the queue's.
    has_company: bool,
}

impl Answered {
    fn put(&self, held: Held) {
        let mut slots = self.slots.lock().expect("no code panics while it holds it");
        slots.push(held);
        let first = slots.len() == 1;
        drop(slots);
        // The queue's own thread looks by itself, before it waits.
        if first && thread::current().id() != self.thread {
            let written = rustix::io::write(&self.waker, &1u64.to_ne_bytes());
            if let Err(error) = written {
                tracing::debug!(%error, "a queue could not be woken");
            }
        }
    }

    fn take(&self) -> Vec<Held> {
        let mut slots = self.slots.lock().expect("no code panics while it holds it");
        std::mem::take(&mut *slots)
    }
}

/// Answers into a slot.
struct ToSlot {
    held: Held,
    answered: Arc<Answered>,
}

impl Sink for ToSlot {
    fn send(mut self, unique: u64, errno: i32, parts: &[&[u8]]) {
        self.held.answer(unique, errno, parts);
        self.answered.put(self.held);
    }

    fn is_for_a_task(&self, bytes: u32) -> bool {
        bytes >= LARGE && self.answered.has_company
    }
}

impl Queue {
    /// Serves `slots` on processor `cpu`, which may be the only one or have company, until the kernel has given all of
    /// them back. Says through `started` that it does, or why not.
    ///
    /// # Errors
    /// What ended it later on.
    pub fn run<P: Provider>(
        cpu: u16,
        has_company: bool,
        slots: Vec<Arc<Slot>>,
        device: &OwnedFd,
        adapter: &Adapter<P>,
        started: mpsc::Sender<io::Result<()>>,
    ) -> io::Result<()> {
        // A hint; on a machine where it is forbidden the scheduler knows better.
        let mut own = CpuSet::new();
        if own.set(cpu.into()).is_ok()
            && let Err(error) = sched_setaffinity(Pid::from_raw(0), &own)
        {
            tracing::debug!(%error, cpu, "a queue's thread can't stay on its processor");
        }
        // Whoever listens has given up if it is not there.
        let (mut queue, events) = match Self::start(slots, device, has_company) {
            Ok(queue) => queue,
            Err(error) => {
                let _ = started.send(Err(error));
                return Ok(());
            }
        };
        let _ = started.send(Ok(()));
        drop(started);
        queue.serve(adapter, events)
    }

    fn start(
        slots: Vec<Arc<Slot>>,
        device: &OwnedFd,
        has_company: bool,
    ) -> io::Result<(Self, Vec<Event>)> {
        let mut ring = Ring::new(slots.len() + 1)?;
        let waker = eventfd(0, EventfdFlags::CLOEXEC)?;
        let device = device.try_clone()?;
        ring.arm(waker.as_fd())?;
        for slot in slots {
            ring.register(device.as_fd(), slot)?;
        }
        let events = ring.turn(false)?;
        let refused = |event: &Event| matches!(event, Event::Gone(_));
        let (refused, events): (Vec<_>, Vec<_>) = events.into_iter().partition(refused);
        if let Some(Event::Gone(error)) = refused.into_iter().next() {
            return Err(error);
        }
        let queue = Self {
            ring,
            answered: Arc::new(Answered {
                slots: Mutex::default(),
                waker,
                thread: thread::current().id(),
                has_company,
            }),
            device,
        };
        Ok((queue, events))
    }

    fn serve<P: Provider>(
        &mut self,
        adapter: &Adapter<P>,
        mut events: Vec<Event>,
    ) -> io::Result<()> {
        loop {
            for event in events {
                match event {
                    Event::Request(held) => self.take(adapter, held),
                    Event::Woken => self.ring.arm(self.answered.waker.as_fd())?,
                    Event::Gone(error) => tracing::trace!(%error, "a slot is gone"),
                }
            }
            if self.ring.open() == 0 {
                return Ok(());
            }
            for held in self.answered.take() {
                self.ring.commit(self.device.as_fd(), held)?;
            }
            events = self.ring.turn(true)?;
        }
    }

    fn take<P: Provider>(&self, adapter: &Adapter<P>, held: Held) {
        let (header, fixed, rest) = held.request();
        let request = Request::in_parts(header, &fixed, &rest);
        let slot = ToSlot {
            held,
            answered: Arc::clone(&self.answered),
        };
        adapter.take_from_ring(&request, slot);
    }
}

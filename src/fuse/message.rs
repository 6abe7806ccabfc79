//! Requests and answers as the bytes that they are, for a kernel that is none: the simulation's.
//!
//! May import: this room, bonsaifs-core, fuser (its values). Always holds: a request goes the way of one that
//! the real kernel sent, from its bytes to those of its answer.

use std::sync::Arc;

use bonsaifs_core::{
    fs::{AsyncFs, Provider},
    rt::SharedRuntime,
};
use fuser::InitFlags;

use super::{
    Adapter,
    attr::Owner,
    interrupt::Killed,
    policy::{Content, Policy, Xattrs},
    reply::{Sink, out_header},
    wire::Request,
};

/// How the kernel hands a message over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// In one piece, as /dev/fuse does.
    Whole,
    /// In the parts of a ring's slot.
    Slot,
}

/// Fixed fields of a slot, in bytes.
const FIXED: usize = 128;

/// An [`Adapter`] that takes messages.
pub struct Messages<P: Provider> {
    adapter: Adapter<P>,
    framing: Framing,
}

/// Where an answer goes that is wanted as bytes.
struct Bytes<F>(F);

impl<F: FnOnce(&[u8]) + Send + 'static> Sink for Bytes<F> {
    fn send(self, unique: u64, errno: i32, parts: &[&[u8]]) {
        let length = parts.iter().map(|part| part.len()).sum();
        let mut message = out_header(unique, errno, length).to_vec();
        parts.iter().for_each(|part| message.extend(*part));
        (self.0)(&message);
    }
}

impl<P: Provider> Messages<P> {
    /// For `fs`, whose waiting requests are tasks of `runtime`, under a kernel that opens files and directories by
    /// itself where it may, if `opens`. `killed` says whether a thread was killed.
    pub fn new(
        fs: Arc<AsyncFs<P>>,
        runtime: SharedRuntime,
        content: Content,
        framing: Framing,
        opens: bool,
        killed: Arc<Killed>,
    ) -> Self {
        let owner = Owner { uid: 0, gid: 0 };
        let mut adapter = Adapter::with_killed(fs, runtime, owner, content, Xattrs::Off, killed);
        let by_itself = InitFlags::FUSE_NO_OPEN_SUPPORT | InitFlags::FUSE_NO_OPENDIR_SUPPORT;
        adapter.agree(if opens { by_itself } else { InitFlags::empty() });
        Self { adapter, framing }
    }

    /// Whose tree it is.
    pub fn provider(&self) -> P
    where
        P: Clone,
    {
        self.adapter.shared.fs.provider().clone()
    }

    /// What was agreed on.
    pub fn policy(&self) -> Policy {
        self.adapter.policy
    }

    /// Directories that were told without the attributes of their files.
    pub fn bare(&self) -> usize {
        self.adapter.shared.walkers.bare()
    }

    /// Takes one message of the kernel's. `answer` is called with the answer, which begins with a
    /// `fuse_out_header`: now, later from a task, or not at all if the message has none.
    pub fn take(&self, message: &[u8], answer: impl FnOnce(&[u8]) + Send + 'static) {
        let Some(request) = Request::whole(message) else {
            return;
        };
        if self.framing == Framing::Whole {
            return self.adapter.take_from_device(&request, Bytes(answer));
        }
        let mut fixed = [0; FIXED];
        fixed[..request.fixed.len()].copy_from_slice(request.fixed);
        let request = Request::in_parts(request.header, &fixed, request.rest);
        self.adapter.take_from_ring(&request, Bytes(answer));
    }
}

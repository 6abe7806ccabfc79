//! The adapter itself; what it answers stands in `operations`. May import: this room,
//! bonsaifs-core, fuser.

use std::sync::{Arc, OnceLock};

use bonsaifs_core::{
    fs::{AsyncFs, Provider, Scan},
    rt::SharedRuntime,
};
use fuser::InitFlags;

use super::{
    attr::Owner,
    counters::{Counters, Op},
    failures::Failures,
    interrupt::{Killed, is_killed},
    operations::refusal,
    policy::{Content, Opens, Policy, Xattrs},
    reply::{Answer, Sink},
    serve::{Call, Shared},
    walkers::Walkers,
};

/// An [`AsyncFs`] in the kernel's words, over /dev/fuse or over io_uring.
pub struct Adapter<P: Provider> {
    pub(super) shared: Arc<Shared<P>>,
    content: Content,
    xattrs: Xattrs,
    unseen: InitFlags,
    pub(super) policy: Policy,
}

/// A clone is another handle to the same filesystem, with the same counts.
impl<P: Provider> Clone for Adapter<P> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            ..*self
        }
    }
}

impl<P: Provider> Adapter<P> {
    /// An adapter for `fs`, whose files belong to `owner`; misses are tasks of `runtime`.
    pub fn new(
        fs: Arc<AsyncFs<P>>,
        runtime: SharedRuntime,
        owner: Owner,
        content: Content,
        xattrs: Xattrs,
    ) -> Self {
        let killed = Arc::new(is_killed);
        Self::with_killed(fs, runtime, owner, content, xattrs, killed)
    }

    /// The same, where `killed` says which threads were killed.
    pub(super) fn with_killed(
        fs: Arc<AsyncFs<P>>,
        runtime: SharedRuntime,
        owner: Owner,
        content: Content,
        xattrs: Xattrs,
        killed: Arc<Killed>,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                fs,
                runtime,
                owner,
                counters: Arc::default(),
                failures: Arc::default(),
                killed,
                walkers: Walkers::default(),
                kernel: OnceLock::new(),
            }),
            content,
            xattrs,
            unseen: InitFlags::empty(),
            policy: Policy::new(content, xattrs, InitFlags::empty()),
        }
    }

    /// The same as under a kernel without these capabilities.
    pub fn without(mut self, capabilities: InitFlags) -> Self {
        self.unseen |= capabilities;
        self
    }

    /// The counts of the kernel's requests.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.shared.counters)
    }

    /// What went wrong.
    pub fn failures(&self) -> Arc<Failures> {
        Arc::clone(&self.shared.failures)
    }

    /// Decides the policy, now that the kernel has said what it offers.
    pub(super) fn agree(&mut self, offered: InitFlags) -> Policy {
        self.policy = Policy::new(self.content, self.xattrs, offered - self.unseen);
        self.policy
    }

    pub(super) fn count(&self, op: Op) {
        self.shared.counters.count(op);
    }

    /// Counts and refuses a request of a kind that is never granted.
    pub(super) fn refuse(&self, op: Op, reply: Answer<impl Sink>) {
        self.count(op);
        reply.refuse(refusal(op));
    }

    /// Gives `send` the open directory: the handle's, or, where the kernel opens by itself, the
    /// inode's. Both hold the same snapshot as long as the kernel knows the inode.
    pub(super) fn with_scan<S: Sink>(
        &self,
        call: Call,
        handle: u64,
        reply: Answer<S>,
        send: impl FnOnce(&Shared<P>, Answer<S>, Scan<P::Node>) + Send + 'static,
    ) {
        let ino = call.ino;
        let skipped = self.policy.directories == Opens::Skipped;
        self.shared.serve(
            call,
            reply,
            move |fs| {
                if skipped {
                    fs.try_scan(ino)
                } else {
                    Some(fs.dir_handle(handle))
                }
            },
            move |fs| async move { fs.scan(ino).await },
            send,
        );
    }
}

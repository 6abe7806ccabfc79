//! The FUSE threads. May import: this room, rustix.

use std::{io, os::fd::OwnedFd, sync::Arc, thread};

use bonsaifs_core::fs::{Dropped, Ino, Provider};

use super::{Adapter, device, uring, wire};

/// The way that requests and answers take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// /dev/fuse, which is read and written.
    Dev,
    /// io_uring. See [`uring::availability`].
    Uring,
}

impl Transport {
    /// As `--transport` and `status` have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Uring => "uring",
        }
    }
}

/// How many threads take requests, and from where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threads {
    /// How many.
    pub count: usize,
    /// True if each opens /dev/fuse again and has a queue of its own there
    /// (`FUSE_DEV_IOC_CLONE`), which needs the right to open it.
    pub own_queues: bool,
}

impl Threads {
    /// One a core, at least 2 and at most 8: they only answer from memory.
    pub fn for_this_machine(own_queues: bool) -> Self {
        let cores = thread::available_parallelism().map_or(2, usize::from);
        Self {
            count: cores.clamp(2, 8),
            own_queues,
        }
    }
}

/// What the kernel keeps of a mount.
#[derive(Clone, Debug)]
pub struct KernelCaches(Arc<OwnedFd>);

/// Inodes in one message that asks to forget them.
const PRUNED_AT_ONCE: usize = 512;

impl KernelCaches {
    /// Asks the kernel to forget those of `inodes` that nobody uses. Forgets come for those that it does, in their
    /// own time.
    ///
    /// # Errors
    /// `EINVAL` if the kernel can't be asked for that (Linux before 6.18), and what else it says.
    pub fn prune(&self, inodes: &[Ino]) -> io::Result<()> {
        for some in inodes.chunks(PRUNED_AT_ONCE) {
            let numbers: Vec<u64> = some.iter().map(|ino| ino.0).collect();
            rustix::io::write(&self.0, &wire::prune(&numbers))?;
        }
        Ok(())
    }

    /// Has the kernel drop this and nothing else. Waits for look-ups under way in the directories
    /// concerned, so it is nothing for a thread or a task that these may need: the kernel takes a
    /// directory's lock, which each look-up holds until its answer is in place. That is why nothing
    /// that was answered before can be kept after this.
    ///
    /// # Errors
    /// The first that the kernel gave; it is told of all the rest all the same.
    pub fn forget(&self, dropped: &[Dropped]) -> io::Result<()> {
        let mut result = Ok(());
        for dropped in dropped {
            let told = self.forget_one(dropped);
            if result.is_ok() {
                result = told;
            }
        }
        result
    }

    fn forget_one(&self, dropped: &Dropped) -> io::Result<()> {
        let message = match dropped {
            Dropped::Name { parent, name } => wire::drop_name(parent.0, name),
            Dropped::Dir(ino) => wire::drop_inode(ino.0),
        };
        match rustix::io::write(&self.0, &message) {
            // The kernel does not know it.
            Ok(_) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// A mount's FUSE threads.
#[derive(Debug)]
pub struct Session(KernelCaches);

impl Session {
    /// What the kernel keeps of this mount.
    pub fn kernel_caches(&self) -> KernelCaches {
        self.0.clone()
    }

    /// Agrees on the protocol with the kernel behind `fd` (the mount's /dev/fuse), and starts the
    /// threads: over /dev/fuse as `threads` says, over io_uring one a processor. They end, and `ended` is called, once the filesystem
    /// is unmounted and nobody uses it any more. It is called with an error if one of them fails before: requests may then
    /// wait for ever, until the mount is taken away and `fd` is closed.
    ///
    /// Who may use the mount is for the kernel to say (`allow_other`).
    ///
    /// # Errors
    /// If the kernel speaks a protocol that is too old or not over `transport`, or no thread can be started. Then the
    /// mount is still there, and dead.
    pub fn start<P: Provider>(
        adapter: Adapter<P>,
        fd: OwnedFd,
        transport: Transport,
        threads: Threads,
        ended: impl FnOnce(io::Result<()>) + Send + 'static,
    ) -> io::Result<Self> {
        let fd = Arc::new(fd);
        let kernel = KernelCaches(Arc::clone(&fd));
        // It is the first session of this adapter.
        let _ = adapter.shared.kernel.set(kernel.clone());
        match transport {
            Transport::Dev => device::start(adapter, &fd, threads, ended)?,
            Transport::Uring => uring::start(adapter, &fd, ended)?,
        }
        Ok(Self(kernel))
    }
}

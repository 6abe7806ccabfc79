//! /dev/fuse: the first request and what is agreed on, and threads that read requests and write answers.
//!
//! May import: this room, bonsaifs-core, fuser (its values), rustix.
//!
//! Always holds: an answer is written to the descriptor that its request was read from, as the kernel wants it. The one
//! who wants to know of a mount's end is told once.

use std::{
    fs, io,
    os::fd::{AsRawFd, OwnedFd},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use bonsaifs_core::fs::Provider;
use fuser::InitFlags;
use rustix::io::Errno;

use super::{
    Adapter, Threads,
    reply::{Sink, out_header},
    wire::{self, Offer, Request},
};

/// What a request may be longer than what is read or written by it, in bytes.
const AROUND: usize = 4096;

/// Agrees with the kernel behind `fd`, and starts the threads. See [`super::Session::start`].
pub(super) fn start<P: Provider>(
    mut adapter: Adapter<P>,
    fd: &Arc<OwnedFd>,
    threads: Threads,
    ended: impl FnOnce(io::Result<()>) + Send + 'static,
) -> io::Result<()> {
    agree(&mut adapter, fd, InitFlags::empty(), None)?;
    let end = Arc::new(End::new(ended, threads.count));
    for number in 0..threads.count {
        let own = match threads.own_queues && number > 0 {
            true => Arc::new(another_queue(fd)?),
            false => Arc::clone(fd),
        };
        take_from(&own, &adapter, &end)?;
    }
    Ok(())
}

/// Starts a thread that takes what comes over `fd`, until the filesystem is unmounted; then it says so.
pub(super) fn take_from<P: Provider, F: FnOnce(io::Result<()>) + Send + 'static>(
    fd: &Arc<OwnedFd>,
    adapter: &Adapter<P>,
    end: &Arc<End<F>>,
) -> io::Result<()> {
    let (fd, adapter, end) = (Arc::clone(fd), adapter.clone(), Arc::clone(end));
    let run = move || end.tell(take_all(&fd, &adapter));
    thread::Builder::new()
        .name("fuse".to_owned())
        .spawn(run)
        .map(drop)
}

fn take_all<P: Provider>(fd: &Arc<OwnedFd>, adapter: &Adapter<P>) -> io::Result<()> {
    let mut buffer = vec![0; adapter.policy.max_request as usize + AROUND];
    loop {
        let length = match read(fd, &mut buffer) {
            Ok(length) => length,
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => return Ok(()),
            Err(error) => return Err(error),
        };
        let Some(request) = Request::whole(&buffer[..length]) else {
            continue;
        };
        adapter.take_from_device(&request, ToDevice(Arc::clone(fd)));
    }
}

/// The first request, and its answer: the adapter's policy, with `also` and in requests of at most `max_request` bytes.
///
/// # Errors
/// If the kernel's protocol is older than [`wire::OLDEST`], or it does not offer `also`.
pub(super) fn agree<P: Provider>(
    adapter: &mut Adapter<P>,
    fd: &Arc<OwnedFd>,
    also: InitFlags,
    max_request: Option<u32>,
) -> io::Result<()> {
    let mut buffer = vec![0; AROUND + (128 << 10)];
    let length = read(fd, &mut buffer)?;
    let request = Request::whole(&buffer[..length])
        .filter(|request| request.header.opcode == wire::INIT)
        .ok_or_else(|| io::Error::other("the kernel does not begin as it should"))?;
    let offer = Offer::parse(&request);
    let to_device = ToDevice(Arc::clone(fd));
    if let Err(problem) = offer.check(also) {
        to_device.send(request.header.unique, libc::EPROTO, &[]);
        return Err(io::Error::other(problem));
    }
    adapter.agree(offer.flags);
    if let Some(max_request) = max_request {
        adapter.policy.max_request = max_request;
    }
    let policy = adapter.policy;
    let answer = offer.accept(&policy, policy.capabilities | also);
    to_device.send(request.header.unique, 0, &[&answer]);
    tracing::debug!(
        ?policy,
        minor = offer.minor,
        ?also,
        "agreed with the kernel"
    );
    Ok(())
}

fn read(fd: &OwnedFd, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match rustix::io::read(fd, &mut *buffer) {
            // A request that was broken off before it was read (ENOENT).
            Err(Errno::INTR | Errno::AGAIN | Errno::NOENT) => {}
            result => return Ok(result?),
        }
    }
}

/// Opens /dev/fuse once more, as another queue of the mount behind `fd` (`FUSE_DEV_IOC_CLONE`, Linux 4.2).
fn another_queue(fd: &OwnedFd) -> io::Result<OwnedFd> {
    const CLONE: rustix::ioctl::Opcode = rustix::ioctl::opcode::read::<u32>(229, 0);
    let device = fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/fuse")?;
    let number = fd.as_raw_fd().cast_unsigned();
    // SAFETY: it reads one u32, the descriptor's number, which is what `Setter` points it to.
    #[expect(unsafe_code, reason = "rustix has no safe way to this ioctl")]
    unsafe {
        let clone = rustix::ioctl::Setter::<CLONE, u32>::new(number);
        rustix::ioctl::ioctl(&device, clone)?;
    }
    Ok(device.into())
}

/// Answers over /dev/fuse.
pub(super) struct ToDevice(pub Arc<OwnedFd>);

impl Sink for ToDevice {
    fn send(self, unique: u64, errno: i32, parts: &[&[u8]]) {
        let header = out_header(unique, errno, parts.iter().map(|part| part.len()).sum());
        let mut pieces = vec![io::IoSlice::new(&header)];
        pieces.extend(parts.iter().map(|part| io::IoSlice::new(part)));
        // Whoever asked may be gone.
        if let Err(error) = rustix::io::writev(&self.0, &pieces) {
            tracing::debug!(%error, "an answer was not taken");
        }
    }
}

/// Whom to tell of the end of a mount: once all of its threads have ended well, or one has not.
pub(super) struct End<F> {
    tell: Mutex<Option<F>>,
    threads: AtomicUsize,
}

impl<F: FnOnce(io::Result<()>)> End<F> {
    /// Of a mount that has so many threads.
    pub fn new(tell: F, threads: usize) -> Self {
        Self {
            tell: Mutex::new(Some(tell)),
            threads: AtomicUsize::new(threads),
        }
    }

    /// One thread ended like this.
    pub fn tell(&self, result: io::Result<()>) {
        let last = self.threads.fetch_sub(1, Ordering::AcqRel) == 1;
        if result.is_ok() && !last {
            return;
        }
        let mut tell = self.tell.lock().expect("no code panics while it holds it");
        if let Some(tell) = tell.take() {
            tell(result);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn end(threads: usize) -> (End<impl FnOnce(io::Result<()>)>, mpsc::Receiver<bool>) {
        let (tell, told) = mpsc::channel();
        let ended = move |result: io::Result<()>| tell.send(result.is_ok()).expect("heard");
        (End::new(ended, threads), told)
    }

    #[test]
    fn the_end_is_when_the_last_thread_ends() {
        let (end, told) = end(2);
        end.tell(Ok(()));
        assert!(told.try_recv().is_err());
        end.tell(Ok(()));
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [true]);
    }

    #[test]
    fn a_thread_that_fails_is_the_end_at_once_and_the_only_one() {
        let (end, told) = end(3);
        end.tell(Ok(()));
        end.tell(Err(io::Error::other("it failed")));
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [false]);
        end.tell(Ok(()));
        assert_eq!(told.try_iter().count(), 0);
    }
}

//! FUSE over io_uring (Linux 6.14 and later, module parameter `fuse.enable_uring`): a queue a processor, whose
//! thread takes a request, answers it and waits for the next in one system call.
//!
//! May import: this room, bonsaifs-core, fuser (its values), io-uring, rustix, nix.
//!
//! Always holds: no queue's thread waits for anything but its ring. Everything that is `unsafe` stands in
//! `ring`. /dev/fuse goes on to bring what has no answer (forgets), and tells of the end.

mod queue;
mod ring;

use std::{
    fs, io,
    os::fd::OwnedFd,
    sync::{Arc, mpsc},
    thread,
};

use bonsaifs_core::fs::Provider;
use fuser::InitFlags;

use self::queue::Queue;
use super::{
    Adapter,
    device::{self, End},
};

/// Requests that a queue holds at a time, those included that wait for a network. When all are taken the kernel
/// lets others wait, so there are many; their memory is only used when it is written to.
const DEPTH: usize = 128;
/// The same of a processor that is not there now, but might come.
const DEPTH_OF_ABSENT: usize = 2;
/// The largest request in bytes; the kernel reads ahead by half of it.
const MAX_REQUEST: u32 = 256 << 10;

/// Whether this system offers it, or why not.
///
/// # Errors
/// What is in the way.
pub fn availability() -> Result<(), String> {
    const SWITCH: &str = "/sys/module/fuse/parameters/enable_uring";
    match fs::read_to_string(SWITCH).as_deref().map(str::trim) {
        Ok("Y" | "1") => {}
        Ok(_) => return Err(format!("it is switched off: write Y to {SWITCH}")),
        Err(_) => return Err("this kernel has no FUSE over io_uring (Linux 6.14)".to_owned()),
    }
    match ring::Ring::new(2) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("io_uring can't be used: {error}")),
    }
}

/// Agrees with the kernel behind `fd`, and starts the threads. See [`super::Session::start`].
pub(super) fn start<P: Provider>(
    mut adapter: Adapter<P>,
    fd: &Arc<OwnedFd>,
    ended: impl FnOnce(io::Result<()>) + Send + 'static,
) -> io::Result<()> {
    let wanted = InitFlags::FUSE_OVER_IO_URING;
    device::agree(&mut adapter, fd, wanted, Some(MAX_REQUEST))?;
    let queues = spread(&processors("possible")?, &processors("online")?);
    let threads = queues.len();
    let end = Arc::new(End::new(ended, threads + 1));
    let (tell, told) = mpsc::channel();
    for (cpu, mine) in queues {
        let mut slots = Vec::new();
        for queue in mine {
            let depth = if queue == cpu { DEPTH } else { DEPTH_OF_ABSENT };
            slots.extend((0..depth).map(|_| ring::Slot::new(queue, MAX_REQUEST as usize)));
        }
        let (adapter, fd, tell) = (adapter.clone(), Arc::clone(fd), tell.clone());
        let end = Arc::clone(&end);
        // If it fails, what is asked on its processor from now on has no answer, so the mount ends.
        let run = move || end.tell(Queue::run(cpu, threads > 1, slots, &fd, &adapter, tell));
        thread::Builder::new()
            .name("fuse queue".to_owned())
            .spawn(run)?;
    }
    drop(tell);
    for _ in 0..threads {
        let started = told.recv();
        started.map_err(|_| io::Error::other("a thread of a queue ended"))??;
    }
    device::take_from(fd, &adapter, &end)
}

/// The processors of this machine that are `what`.
fn processors(what: &str) -> io::Result<Vec<u16>> {
    let path = format!("/sys/devices/system/cpu/{what}");
    let text = fs::read_to_string(&path)?;
    parse_list(text.trim()).ok_or_else(|| io::Error::other(format!("{path} has {text}")))
}

/// Reads the kernel's way to write sets of numbers, as `0-3,5` (cpulist in its documentation).
fn parse_list(text: &str) -> Option<Vec<u16>> {
    let mut all: Vec<u16> = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
        all.extend(first..=last);
    }
    Some(all)
}

/// Who serves which queue: each processor that is there its own, and of the others some.
fn spread(possible: &[u16], online: &[u16]) -> Vec<(u16, Vec<u16>)> {
    let mut all: Vec<(u16, Vec<u16>)> = online.iter().map(|&cpu| (cpu, vec![cpu])).collect();
    let absent = possible.iter().filter(|cpu| !online.contains(cpu));
    let threads = all.len();
    for (number, &queue) in absent.enumerate() {
        all[number % threads].1.push(queue);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_read_as_the_kernel_writes_them() {
        assert_eq!(parse_list("0"), Some(vec![0]));
        assert_eq!(parse_list("0-1"), Some(vec![0, 1]));
        assert_eq!(parse_list("0-2,5,7-8"), Some(vec![0, 1, 2, 5, 7, 8]));
        for bad in ["", "x", "1-", "0-99999999"] {
            assert_eq!(parse_list(bad), None, "{bad}");
        }
    }

    #[test]
    fn every_queue_is_served_once_and_each_processor_serves_its_own() {
        assert_eq!(spread(&[0, 1], &[0, 1]), [(0, vec![0]), (1, vec![1])]);
        assert_eq!(
            spread(&[0, 1, 2, 3, 4], &[0, 2]),
            [(0, vec![0, 1, 4]), (2, vec![2, 3])]
        );
    }
}

#![expect(
    unsafe_code,
    reason = "memory that the kernel and we write to in turns"
)]
//! A ring, and the memory of its requests. The one place with `unsafe`: what each needs stands beside it.
//!
//! A slot is in the kernel's hands from the submission of its command until the completion of that comes, and in
//! ours from then until the next submission. In our hands it is one [`Held`]'s, which is made from a completion only
//! and is given up by the submission only; so nobody else looks at its memory.

use std::{
    cell::UnsafeCell,
    io,
    os::fd::{AsRawFd, BorrowedFd},
    sync::Arc,
};

use io_uring::{IoUring, cqueue, opcode, squeue, types};

use super::super::{
    reply::{OUT_HEADER, out_header},
    wire::{Fields, Header},
};

/// `struct fuse_uring_req_header`: the header (in or out), the operation's fixed fields, and
/// `struct fuse_uring_ent_in_out`.
const HEADERS: usize = 128 + 128 + 32;
const FIXED: usize = 128;
const COMMIT_ID: usize = 256 + 8;
const PAYLOAD_SIZE: usize = 256 + 16;

/// `enum fuse_uring_cmd`.
const REGISTER: u32 = 1;
const COMMIT_AND_FETCH: u32 = 2;

/// Where `struct io_uring_sqe` has its length.
const SQE_LEN: usize = 24;

/// What the kernel is told once: where headers and payload are (`struct iovec`).
type Places = [libc::iovec; 2];

#[repr(C, align(8))]
struct Headers([u8; HEADERS]);

/// The memory of one request at a time.
pub(super) struct Slot {
    queue: u16,
    headers: Box<UnsafeCell<Headers>>,
    payload: Box<UnsafeCell<[u8]>>,
    places: Box<UnsafeCell<Places>>,
}

// SAFETY: its memory is looked at by one `Held` at a time (see the module's header), and `Held` is moved
// between threads through a lock.
unsafe impl Send for Slot {}
// SAFETY: as above; a shared `Slot` gives nothing away by itself.
unsafe impl Sync for Slot {}

impl Slot {
    /// One of `queue`, whose answers have up to `payload` bytes.
    pub fn new(queue: u16, payload: usize) -> Arc<Self> {
        let payload: Box<[u8]> = vec![0; payload].into_boxed_slice();
        // SAFETY: `UnsafeCell<[u8]>` has the layout of `[u8]` (its documentation), and the pointer is a
        // box's, given up a moment ago.
        let payload = unsafe { Box::from_raw(Box::into_raw(payload) as *mut UnsafeCell<[u8]>) };
        let headers = Box::new(UnsafeCell::new(Headers([0; HEADERS])));
        let places = [
            libc::iovec {
                iov_base: headers.get().cast(),
                iov_len: HEADERS,
            },
            libc::iovec {
                iov_base: payload.get().cast(),
                iov_len: payload.get().len(),
            },
        ];
        Arc::new(Self {
            queue,
            headers,
            payload,
            places: Box::new(UnsafeCell::new(places)),
        })
    }
}

/// A slot in our hands, with a request in it.
pub(super) struct Held {
    slot: Arc<Slot>,
    number: usize,
    commit_id: u64,
}

impl Held {
    fn headers(&self) -> &[u8; HEADERS] {
        // SAFETY: the slot is in our hands, this `Held`'s alone.
        unsafe { &(*self.slot.headers.get()).0 }
    }

    fn headers_mut(&mut self) -> &mut [u8; HEADERS] {
        // SAFETY: as above, and `self` is borrowed for as long.
        unsafe { &mut (*self.slot.headers.get()).0 }
    }

    fn payload(&self) -> &[u8] {
        // SAFETY: as above.
        unsafe { &*self.slot.payload.get() }
    }

    fn payload_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `self` is borrowed for as long.
        unsafe { &mut *self.slot.payload.get() }
    }

    /// Copies the request out: its header, its fixed fields, and the rest.
    pub fn request(&self) -> (Header, [u8; FIXED], Vec<u8>) {
        let headers = self.headers();
        let mut fixed = [0; FIXED];
        fixed.copy_from_slice(&headers[128..128 + FIXED]);
        let size = Fields(headers).u32(PAYLOAD_SIZE) as usize;
        let payload = self.payload();
        let rest = payload[..size.min(payload.len())].to_vec();
        (Header::parse(headers), fixed, rest)
    }

    /// Writes the answer: no error and all `parts`, or an errno and none.
    pub fn answer(&mut self, unique: u64, errno: i32, parts: &[&[u8]]) {
        let length = parts.iter().map(|part| part.len()).sum();
        let fits = length <= self.payload().len();
        let (errno, length, parts) = match fits {
            true => (errno, length, parts),
            // Longer than the kernel asked for: never.
            false => (libc::EIO, 0, &[][..]),
        };
        let mut at = 0;
        for part in parts {
            self.payload_mut()[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        let headers = self.headers_mut();
        headers[..OUT_HEADER].copy_from_slice(&out_header(unique, errno, length));
        let length = u32::try_from(length).unwrap_or(0);
        headers[PAYLOAD_SIZE..PAYLOAD_SIZE + 4].copy_from_slice(&length.to_ne_bytes());
    }
}

/// What a ring tells.
pub(super) enum Event {
    /// A request came.
    Request(Held),
    /// The kernel gave a slot back for good.
    Gone(io::Error),
    /// The wake-up that was armed went off.
    Woken,
}

/// A ring, for the thread that made it.
pub(super) struct Ring {
    ring: IoUring<squeue::Entry128, cqueue::Entry>,
    /// The slots that were ever submitted; they live as long as the kernel may write to them.
    slots: Vec<Arc<Slot>>,
    /// How many of them the kernel has not given back.
    open: usize,
    /// Where the wake-up is read into.
    woken: Box<UnsafeCell<u64>>,
}

const WAKE: u64 = u64::MAX;

impl Ring {
    /// One with room for so many commands at a time.
    pub fn new(room: usize) -> io::Result<Self> {
        let room = u32::try_from(room.next_power_of_two()).map_err(io::Error::other)?;
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .build(room)?;
        Ok(Self {
            ring,
            slots: Vec::new(),
            open: 0,
            woken: Box::default(),
        })
    }

    /// Slots that are not given back.
    pub fn open(&self) -> usize {
        self.open
    }

    /// Hands a new slot to the kernel behind `device`.
    pub fn register(&mut self, device: BorrowedFd<'_>, slot: Arc<Slot>) -> io::Result<()> {
        let mut entry = command(
            device,
            REGISTER,
            slot.queue,
            0,
            Some(slot.places.get() as u64),
        )
        .user_data(self.slots.len() as u64);
        // SAFETY: an `Entry128` is a `struct io_uring_sqe` of 128 bytes (`repr(C)`), whose length is a
        // u32 at this place; the crate has no way to set it for this operation.
        unsafe {
            let sqe: *mut squeue::Entry128 = &mut entry;
            sqe.cast::<u8>().add(SQE_LEN).cast::<u32>().write(2);
        }
        self.slots.push(slot);
        self.open += 1;
        self.push(&entry)
    }

    /// Hands the slot back with its answer, for the next request.
    pub fn commit(&mut self, device: BorrowedFd<'_>, held: Held) -> io::Result<()> {
        let Held {
            slot,
            number,
            commit_id,
        } = held;
        let entry = command(device, COMMIT_AND_FETCH, slot.queue, commit_id, None);
        self.push(&entry.user_data(number as u64))
    }

    /// Has [`Event::Woken`] come when `waker`, an eventfd, is written to.
    pub fn arm(&mut self, waker: BorrowedFd<'_>) -> io::Result<()> {
        let into = self.woken.get().cast();
        let read = opcode::Read::new(types::Fd(waker.as_raw_fd()), into, 8).build();
        self.push(&squeue::Entry128::from(read.user_data(WAKE)))
    }

    fn push(&mut self, entry: &squeue::Entry128) -> io::Result<()> {
        // SAFETY: what the entry points to lives as long as `self`, which is not dropped before the
        // kernel is through with it (`Drop`). Descriptors are the caller's, who keeps them open.
        while unsafe { self.ring.submission().push(entry) }.is_err() {
            self.ring.submit()?;
        }
        Ok(())
    }

    /// Submits what is there; waits for an event if `wait`; all that came.
    pub fn turn(&mut self, wait: bool) -> io::Result<Vec<Event>> {
        match self.ring.submit_and_wait(usize::from(wait)) {
            Ok(_) => {}
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::EBUSY)) => {}
            Err(error) => return Err(error),
        }
        let mut events = Vec::new();
        let completed: Vec<(u64, i32)> = self
            .ring
            .completion()
            .map(|entry| (entry.user_data(), entry.result()))
            .collect();
        for (data, result) in completed {
            events.push(match data {
                WAKE => Event::Woken,
                _ if result < 0 => {
                    self.open -= 1;
                    Event::Gone(io::Error::from_raw_os_error(-result))
                }
                number => self.held(number as usize),
            });
        }
        Ok(events)
    }

    fn held(&self, index: usize) -> Event {
        let mut held = Held {
            slot: Arc::clone(&self.slots[index]),
            number: index,
            commit_id: 0,
        };
        held.commit_id = Fields(held.headers()).u64(COMMIT_ID);
        Event::Request(held)
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if self.open > 0 {
            // The kernel may still write to them.
            std::mem::forget(std::mem::take(&mut self.slots));
        }
        std::mem::forget(std::mem::take(&mut self.woken));
    }
}

/// A command of `struct fuse_uring_cmd_req`.
fn command(
    device: BorrowedFd<'_>,
    operation: u32,
    queue: u16,
    commit_id: u64,
    places: Option<u64>,
) -> squeue::Entry128 {
    let mut request = [0; 80];
    request[8..16].copy_from_slice(&commit_id.to_ne_bytes());
    request[16..18].copy_from_slice(&queue.to_ne_bytes());
    let device = types::Fd(device.as_raw_fd());
    opcode::UringCmd80::new(device, operation)
        .cmd(request)
        .addr(places)
        .build()
}

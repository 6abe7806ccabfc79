//! A slow link: a TCP relay that adds a network's delay and bandwidth. May import: rustix.
//!
//! Always holds: a connection costs one round trip before it carries data; each direction is late
//! by half a round trip; bytes toward the client share the bandwidth over all connections.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// What is read at once, and so what arrives at once.
const PIECE: usize = 16 * 1024;
/// Pieces on their way in one direction of one connection; a sender that is further ahead waits.
const IN_FLIGHT: usize = 1024;
/// How far ahead of the link's bandwidth a sender may be before it is held back.
const BACKLOG: Duration = Duration::from_millis(200);

/// The properties of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The round-trip time.
    pub rtt: Duration,
    /// Bits a second toward the client.
    pub bits_per_second: u64,
}

impl Link {
    /// The link of all published figures: 40 ms and 200 Mbit/s.
    pub const WAN: Link = Link {
        rtt: Duration::from_millis(40),
        bits_per_second: 200_000_000,
    };

    fn transmission(&self, bytes: usize) -> Duration {
        let bits = u64::try_from(bytes).expect("a length fits 64 bits") * 8;
        Duration::from_nanos(bits * 1_000_000_000 / self.bits_per_second)
    }
}

/// Counts since the start or the last [`Relay::reset`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RelayTotals {
    /// Connections accepted.
    pub connections: u64,
    /// Bytes from the client to the server.
    pub bytes_up: u64,
    /// Bytes from the server to the client.
    pub bytes_down: u64,
}

/// A running relay. Stops when dropped; connections still open end with their peers.
pub struct Relay {
    shared: Arc<Shared>,
    listener: Arc<TcpListener>,
    address: SocketAddr,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    link: Link,
    target: SocketAddr,
    stopped: AtomicBool,
    connections: AtomicU64,
    bytes_up: AtomicU64,
    bytes_down: AtomicU64,
    /// When the link toward the client will have sent what was given to it.
    free_at: Mutex<Instant>,
}

impl Relay {
    /// A link to `target`, listening on a free port of loopback.
    pub fn start(target: SocketAddr, link: Link) -> io::Result<Self> {
        let listener = Arc::new(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?);
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            link,
            target,
            stopped: AtomicBool::new(false),
            connections: AtomicU64::new(0),
            bytes_up: AtomicU64::new(0),
            bytes_down: AtomicU64::new(0),
            free_at: Mutex::new(Instant::now()),
        });
        let acceptor = thread::spawn({
            let (listener, shared) = (Arc::clone(&listener), Arc::clone(&shared));
            move || accept(&listener, &shared)
        });
        Ok(Self {
            shared,
            listener,
            address,
            acceptor: Some(acceptor),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of the repository at `path` under the root of the server behind the link.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    /// Counts so far.
    pub fn totals(&self) -> RelayTotals {
        RelayTotals {
            connections: self.shared.connections.load(Ordering::Relaxed),
            bytes_up: self.shared.bytes_up.load(Ordering::Relaxed),
            bytes_down: self.shared.bytes_down.load(Ordering::Relaxed),
        }
    }

    /// Sets the counts to zero.
    pub fn reset(&self) {
        self.shared.connections.store(0, Ordering::Relaxed);
        self.shared.bytes_up.store(0, Ordering::Relaxed);
        self.shared.bytes_down.store(0, Ordering::Relaxed);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Release);
        // Wakes the acceptor, which sees that it is to stop.
        rustix::net::shutdown(&*self.listener, rustix::net::Shutdown::Both)
            .expect("a listening socket can be shut down");
        if let Some(acceptor) = self.acceptor.take() {
            acceptor.join().expect("the acceptor doesn't panic");
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while !shared.stopped.load(Ordering::Acquire) {
        // A connection that broke before it was accepted is the client's business.
        let Ok((client, _)) = listener.accept() else {
            continue;
        };
        shared.connections.fetch_add(1, Ordering::Relaxed);
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            // An error is a connection that broke; both ends see it as such.
            let _ = relay(&shared, client);
        });
    }
}

fn relay(shared: &Arc<Shared>, client: TcpStream) -> io::Result<()> {
    thread::sleep(shared.link.rtt);
    let server = TcpStream::connect(shared.target)?;
    for stream in [&client, &server] {
        stream.set_nodelay(true)?;
    }
    let (client_out, server_in) = (client.try_clone()?, server.try_clone()?);
    let up = thread::spawn({
        let shared = Arc::clone(shared);
        move || pump(client, server, &shared, Direction::Up)
    });
    pump(server_in, client_out, shared, Direction::Down);
    up.join().expect("a pump doesn't panic");
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    /// Toward the server.
    Up,
    /// Toward the client: shaped.
    Down,
}

/// Carries one direction until its sender ends it.
fn pump(mut from: TcpStream, mut to: TcpStream, shared: &Arc<Shared>, direction: Direction) {
    let (queue, arrivals) = mpsc::sync_channel::<(Instant, Vec<u8>)>(IN_FLIGHT);
    let writer = thread::spawn(move || {
        for (due, data) in arrivals {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&data).is_err() {
                break;
            }
        }
        // The peer may have closed it already.
        let _ = to.shutdown(Shutdown::Write);
    });
    let mut buffer = vec![0; PIECE];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let sent = match direction {
            Direction::Up => Instant::now(),
            Direction::Down => transmit(shared, length),
        };
        let counter = match direction {
            Direction::Up => &shared.bytes_up,
            Direction::Down => &shared.bytes_down,
        };
        let count = u64::try_from(length).expect("a length fits 64 bits");
        counter.fetch_add(count, Ordering::Relaxed);
        let due = sent + shared.link.rtt / 2;
        if queue.send((due, buffer[..length].to_vec())).is_err() {
            break;
        }
    }
    drop(queue);
    // A writer that gave up has left its source unread; the sender must learn that.
    let _ = from.shutdown(Shutdown::Read);
    writer.join().expect("a writer doesn't panic");
}

/// When the link toward the client has sent `length` more bytes. Waits while it is too far behind.
fn transmit(shared: &Shared, length: usize) -> Instant {
    let sent = {
        let mut free_at = shared.free_at.lock().expect("no holder panics");
        *free_at = (*free_at).max(Instant::now()) + shared.link.transmission(length);
        *free_at
    };
    let ahead = sent.saturating_duration_since(Instant::now());
    thread::sleep(ahead.saturating_sub(BACKLOG));
    sent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_that_bytes_take() {
        assert_eq!(Link::WAN.transmission(25_000), Duration::from_millis(1));
    }
}

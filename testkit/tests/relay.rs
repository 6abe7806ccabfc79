//! The relay delays and limits about as much as it says. Bounds are wide: only a relay that does
//! nothing, or far too much, fails here.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use bonsai_testkit::{ClosedPort, Link, Relay};

/// Answers every connection's first byte with as many bytes as it says in units of 100,000, and
/// closes.
fn answering() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut units = [0];
            if stream.read_exact(&mut units).is_ok() {
                let answer = vec![units[0]; usize::from(units[0]) * 100_000];
                stream.write_all(&answer).expect("taken");
            }
        }
    });
    address
}

fn ask(address: SocketAddr, units: u8) -> (Vec<u8>, Duration) {
    let start = Instant::now();
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.write_all(&[units]).expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("answered");
    (answer, start.elapsed())
}

#[test]
fn bytes_come_through_late_and_counted() {
    let link = Link {
        rtt: Duration::from_millis(100),
        bits_per_second: 1_000_000_000,
    };
    let relay = Relay::start(answering(), link).expect("a relay");
    let (answer, took) = ask(relay.address(), 3);
    assert_eq!(answer, vec![3; 300_000]);
    // One round trip for the connection, one for the question.
    assert!(took >= link.rtt * 2, "{took:?}");
    assert!(took < link.rtt * 20, "{took:?}");
    let totals = relay.totals();
    assert_eq!(totals.connections, 1);
    assert_eq!((totals.bytes_up, totals.bytes_down), (1, 300_000));
    relay.reset();
    assert_eq!(relay.totals().bytes_down, 0);
}

#[test]
fn connections_share_the_bandwidth() {
    // 100,000 bytes take 100 ms.
    let link = Link {
        rtt: Duration::from_millis(2),
        bits_per_second: 8_000_000,
    };
    let relay = Relay::start(answering(), link).expect("a relay");
    let start = Instant::now();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| assert_eq!(ask(relay.address(), 2).0.len(), 200_000));
        }
    });
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(400), "{took:?}");
    assert!(took < Duration::from_secs(8), "{took:?}");
}

#[test]
fn a_dead_target_ends_the_connection() {
    let port = ClosedPort::new().expect("a port");
    let relay = Relay::start(port.address(), Link::WAN).expect("a relay");
    let mut stream = TcpStream::connect(relay.address()).expect("connected");
    let mut answer = Vec::new();
    // An end or an error, but no hang.
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.is_empty());
}

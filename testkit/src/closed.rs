//! A port where nobody listens. May import: rustix.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    os::fd::OwnedFd,
};

use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket};

/// Holds a port of loopback without listening: whoever connects is refused, and nobody else gets
/// the port meanwhile, as they could if a listener had only been closed.
#[derive(Debug)]
pub struct ClosedPort {
    _socket: OwnedFd,
    address: SocketAddr,
}

impl ClosedPort {
    /// Some free port.
    pub fn new() -> io::Result<Self> {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
        bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let address = SocketAddr::try_from(getsockname(&socket)?)?;
        Ok(Self {
            _socket: socket,
            address,
        })
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

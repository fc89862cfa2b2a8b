//! Connecting a socket without waiting for the result.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{IntoRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::{Errno, Fd};

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// A TCP port.
    Tcp(SocketAddr),
    /// A Unix socket, by its path.
    Unix(PathBuf),
}

impl Address {
    /// The TCP port, if it is one.
    pub const fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl From<&Path> for Address {
    fn from(path: &Path) -> Self {
        Self::Unix(path.to_owned())
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// The addresses of one name in the order in which they are tried: as they come, which is the order of RFC 6724, but the
/// families alternate (RFC 8305 §4: "the client SHOULD also interleave address families").
pub fn in_turn(addresses: impl IntoIterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let addresses: Vec<_> = addresses.into_iter().collect();
    let first_is_ipv4 = addresses.first().is_some_and(SocketAddr::is_ipv4);
    let of_family = |is_ipv4| addresses.iter().filter(move |one| one.is_ipv4() == is_ipv4);
    let (mut first, mut second) = (of_family(first_is_ipv4), of_family(!first_is_ipv4));
    let mut ordered = Vec::with_capacity(addresses.len());
    while ordered.len() < addresses.len() {
        ordered.extend(first.next());
        ordered.extend(second.next());
    }
    ordered
}

/// Where to connect to, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectOptions {
    /// The peer's address.
    pub to: Address,
    /// The local address, for TCP. `None`: the kernel chooses. The kernel always chooses the port, and does so when the
    /// connect knows both ends (`IP_BIND_ADDRESS_NO_PORT`, Linux 4.2): each pair of addresses then has all ports.
    pub from: Option<IpAddr>,
    /// The congestion control (`TCP_CONGESTION`), for TCP. `None`: the system's default.
    pub congestion: Option<String>,
}

impl ConnectOptions {
    /// Options that name the peer and leave the rest to the kernel.
    pub fn new(to: impl Into<Address>) -> Self {
        Self {
            to: to.into(),
            from: None,
            congestion: None,
        }
    }
}

/// Begins to connect, over TCP with `TCP_NODELAY`. The socket becomes writable once the connect has succeeded or failed
/// ([`connect_result`](super::sys::connect_result)). `EAGAIN`: the accept queue of a Unix socket is full.
pub(super) fn begin(options: &ConnectOptions) -> Result<Fd, Errno> {
    let socket = match &options.to {
        Address::Tcp(to) => tcp(options, *to),
        Address::Unix(path) => unix(path),
    };
    let socket = socket.map_err(|error| Errno(error.raw_os_error().unwrap_or(libc::EINVAL)))?;
    Ok(Fd(socket.into_raw_fd()))
}

/// Takes a connected stream socket: it does not block from now on.
pub(super) fn adopt(stream: OwnedFd) -> Fd {
    let socket = Socket::from(stream);
    if let Err(error) = socket.set_nonblocking(true) {
        // fcntl(2) fails for no descriptor that is open.
        tracing::error!("a stream that was handed over may block: {error}");
    }
    Fd(socket.into_raw_fd())
}

fn tcp(options: &ConnectOptions, to: SocketAddr) -> std::io::Result<Socket> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(to), kind, Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    if let Some(name) = &options.congestion {
        socket.set_tcp_congestion(name.as_bytes())?;
    }
    if let Some(from) = options.from {
        super::sys::bind_address_no_port(&socket)?;
        socket.bind(&SocketAddr::new(from, 0).into())?;
    }
    match socket.connect(&to.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(socket),
    }
}

/// A connect to a Unix socket is over when the call returns.
fn unix(path: &Path) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ordered(addresses: &[&str]) -> Vec<String> {
        let parsed = addresses.iter().map(|one| one.parse().expect("an address"));
        in_turn(parsed).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn families_alternate_beginning_with_the_first_one_named() {
        assert_eq!(ordered(&[]), Vec::<String>::new());
        let (a, b, c) = ("[::1]:1", "[::2]:1", "[::3]:1");
        let (x, y) = ("10.0.0.1:1", "10.0.0.2:1");
        assert_eq!(ordered(&[a, b, c, x, y]), [a, x, b, y, c]);
        assert_eq!(ordered(&[x, y, a]), [x, a, y]);
        assert_eq!(ordered(&[a, b]), [a, b]);
        assert_eq!(ordered(&[x, a]), [x, a]);
    }
}

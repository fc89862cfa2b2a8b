//! Connecting a socket without waiting for the result.

use std::net::{IpAddr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

use super::{Errno, Fd};

/// Where to connect to, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectOptions {
    /// The peer's address.
    pub to: SocketAddr,
    /// The local address. `None`: the kernel chooses. The kernel always chooses the port, and does so when the connect
    /// knows both ends (`IP_BIND_ADDRESS_NO_PORT`, Linux 4.2): each pair of addresses then has all ports.
    pub from: Option<IpAddr>,
    /// The congestion control (`TCP_CONGESTION`). `None`: the system's default.
    pub congestion: Option<String>,
}

impl ConnectOptions {
    /// Options that name the peer and leave the rest to the kernel.
    pub const fn new(to: SocketAddr) -> Self {
        Self {
            to,
            from: None,
            congestion: None,
        }
    }
}

/// Begins to connect, with `TCP_NODELAY`. The socket becomes writable once the connect has succeeded or failed
/// ([`connect_result`](super::sys::connect_result)).
pub(super) fn begin(options: &ConnectOptions) -> Result<Fd, Errno> {
    let socket =
        socket(options).map_err(|error| Errno(error.raw_os_error().unwrap_or(libc::EINVAL)))?;
    Ok(Fd(std::os::fd::IntoRawFd::into_raw_fd(socket)))
}

fn socket(options: &ConnectOptions) -> std::io::Result<Socket> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(options.to), kind, Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    if let Some(name) = &options.congestion {
        socket.set_tcp_congestion(name.as_bytes())?;
    }
    if let Some(from) = options.from {
        super::sys::bind_address_no_port(&socket)?;
        socket.bind(&SocketAddr::new(from, 0).into())?;
    }
    match socket.connect(&options.to.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(socket),
    }
}

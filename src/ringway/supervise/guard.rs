//! The port of a wrapped program, held on every address: a program whose bind is not moved finds it taken.
//!
//! Owns: sockets that are bound and never listen. Never: takes a connection.
//!
//! A listener on 0.0.0.0 holds the port for IPv4 alone, and one on 127.0.0.1 holds nothing else. Without this, a program that is linked
//! statically, or runs with the rights of another user, would listen beside the gateway, and clients would reach it past the gateway.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

/// Holds the port of the listeners on all addresses that they do not have themselves.
///
/// # Errors
/// The address, and why: another process may listen there.
pub(super) fn hold(
    listeners: &[(&Socket, SocketAddr)],
) -> Vec<Result<Socket, (SocketAddr, io::Error)>> {
    let Some(port) = listeners.first().map(|(_, address)| address.port()) else {
        return Vec::new();
    };
    let wildcards = [
        SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)),
        SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)),
    ];
    // A listener on [::] hears both.
    let has_all = |wildcard: &SocketAddr| {
        let mut hosts = listeners.iter().map(|(_, address)| address.ip());
        hosts.any(|host| host == wildcard.ip() || host == IpAddr::V6(Ipv6Addr::UNSPECIFIED))
    };
    let is_beside = |wildcard: &SocketAddr| {
        let mut all = listeners.iter();
        all.any(|(_, address)| address.is_ipv4() == wildcard.is_ipv4())
    };
    let mut missing: Vec<_> = wildcards.into_iter().filter(|at| !has_all(at)).collect();
    // Last comes one that shares nothing: the kernel then forgets that the port was shared.
    missing.sort_by_key(|wildcard| !is_beside(wildcard));
    let bind = |wildcard| {
        let beside: &[_] = if is_beside(&wildcard) { listeners } else { &[] };
        bind(wildcard, beside).map_err(|error| (wildcard, error))
    };
    let held = missing.into_iter().map(bind);
    // A system without IPv6 has nothing to hold there.
    let no_family = |error: &io::Error| {
        [libc::EAFNOSUPPORT, libc::EADDRNOTAVAIL].contains(&error.raw_os_error().unwrap_or(0))
    };
    held.filter(|held| !matches!(held, Err((_, error)) if no_family(error)))
        .collect()
}

/// Binds a socket to all addresses, beside our own listeners on some of them: they share the port while it is bound (SO_REUSEPORT), and
/// with nobody afterwards.
fn bind(address: SocketAddr, beside: &[(&Socket, SocketAddr)]) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Old connections of this port may be in TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(!beside.is_empty())?;
    let mut shared = Vec::new();
    for (listener, _) in beside {
        if !listener.reuse_port()? {
            listener.set_reuse_port(true)?;
            shared.push(listener);
        }
    }
    let bound = socket.bind(&address.into());
    for listener in shared {
        listener.set_reuse_port(false)?;
    }
    bound?;
    socket.set_reuse_port(false)?;
    socket.set_reuse_address(false)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// Binds and listens as a program does, with the option that most servers set.
    fn program(address: SocketAddr, only_v6: bool) -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(only_v6)?;
        }
        socket.bind(&address.into())?;
        socket.listen(1)?;
        Ok(socket)
    }

    #[test]
    fn nobody_listens_beside_the_listener_and_the_listener_serves() {
        for host in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"] {
            let listener = TcpListener::bind(host).expect("a port");
            let address = listener.local_addr().expect("bound");
            let socket = Socket::from(listener.try_clone().expect("a descriptor"));
            let held = hold(&[(&socket, address)]);
            assert!(held.iter().all(Result::is_ok), "{host}: {held:?}");
            for (other, only_v6) in [
                ("0.0.0.0", false),
                ("127.0.0.1", false),
                ("127.0.0.9", false),
                ("::", false),
                ("::", true),
                ("::1", true),
                ("::ffff:127.0.0.9", false),
            ] {
                let other = SocketAddr::new(other.parse().expect("an address"), address.port());
                let why = program(other, only_v6).expect_err("it is held").kind();
                assert_eq!(why, io::ErrorKind::AddrInUse, "{host} {other}");
            }
            let mut reached = address;
            if address.ip().is_unspecified() {
                reached.set_ip(Ipv4Addr::LOCALHOST.into());
            }
            let _client = TcpStream::connect(reached).expect("it listens");
            listener.accept().expect("a client");
        }
    }

    #[test]
    fn a_port_that_another_process_has_is_told() {
        let other = TcpListener::bind("127.0.0.2:0").expect("a port");
        let port = other.local_addr().expect("bound").port();
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("another address");
        let socket = Socket::from(listener);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let held = hold(&[(&socket, address)]);
        let (at, why) = held[0].as_ref().expect_err("it is taken");
        assert_eq!(
            (at.ip().is_unspecified(), why.kind()),
            (true, io::ErrorKind::AddrInUse)
        );
    }
}

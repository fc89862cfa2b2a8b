//! The addresses of a server's endpoints: names are looked up here.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};

use crate::exit::Fatal;
use crate::options::{Endpoint, WebHost};
use crate::supervise::Address;

/// Looks up the host of a server's endpoint.
pub(super) fn resolve(endpoint: &Endpoint) -> Result<Address, Fatal> {
    match endpoint {
        Endpoint::Unix { path } => Ok(Address::Unix(path.clone())),
        Endpoint::Tcp { host, port } => look_up(host, *port).map(Address::Tcp),
    }
}

/// The address of the pages of a server whose WebSockets are on `addresses`.
pub(super) fn of_pages(
    host: &WebHost,
    port: u16,
    addresses: &[Address],
) -> Result<SocketAddr, Fatal> {
    match (host, addresses.first()) {
        (WebHost::Named(host), _) => look_up(host, port).map(|found| found[0]),
        (WebHost::Loopback, Some(Address::Tcp(addresses)))
            if addresses.first().is_some_and(SocketAddr::is_ipv6) =>
        {
            Ok((Ipv6Addr::LOCALHOST, port).into())
        }
        (WebHost::Loopback, _) => Ok((Ipv4Addr::LOCALHOST, port).into()),
    }
}

/// All addresses of a host, at least one. IPv4 comes first: users who type `localhost` also expect clients on
/// 127.0.0.1.
fn look_up(host: &str, port: u16) -> Result<Vec<SocketAddr>, Fatal> {
    let refuse = |why: String| {
        Fatal::environment(format!(
            "cannot find the address of '{host}': {why}; give an address, as 127.0.0.1 or [::1]"
        ))
    };
    let found = (host, port).to_socket_addrs();
    let mut found: Vec<_> = found.map_err(|error| refuse(error.to_string()))?.collect();
    found.sort_by_key(SocketAddr::is_ipv6);
    match found.is_empty() {
        true => Err(refuse("it has none".to_owned())),
        false => Ok(found),
    }
}

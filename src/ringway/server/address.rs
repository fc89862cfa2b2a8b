//! From a place to listen, as it was typed, to addresses.

use std::net::{SocketAddr, ToSocketAddrs as _};

use crate::exit::Fatal;
use crate::options::Endpoint;
use crate::supervise::Address;

/// Looks the host up. IPv4 comes first: who types `localhost` also means clients that type 127.0.0.1.
pub(super) fn resolve(endpoint: &Endpoint) -> Result<Address, Fatal> {
    let (host, port) = match endpoint {
        Endpoint::Unix { path } => return Ok(Address::Unix(path.clone())),
        Endpoint::Tcp { host, port } => (host, *port),
    };
    let found = (host.as_str(), port).to_socket_addrs().map_err(|error| {
        Fatal::environment(format!(
            "cannot find the address of '{host}': {error}; give an address, as ws://127.0.0.1:{port}"
        ))
    })?;
    let mut found: Vec<_> = found.collect();
    found.sort_by_key(SocketAddr::is_ipv6);
    Ok(Address::Tcp(found))
}

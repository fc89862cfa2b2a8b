//! The addresses of a server. Owns: the look-up of its name, which can take seconds.

use std::net::ToSocketAddrs as _;

use super::compat::uri::Uri;
use crate::io::{Address, in_turn};

/// The addresses of a URI's host in the order in which they are tried; never empty.
///
/// # Errors
/// A clause that says why there is none.
pub fn of(uri: &Uri) -> Result<Vec<Address>, String> {
    match &uri.socket {
        Some(path) => Ok(vec![Address::Unix(path.clone())]),
        None => of_host(&uri.host, uri.port),
    }
}

/// The same of a host, which may be an IPv6 address with a zone (`fe80::1%eth0`), and a TCP port.
///
/// # Errors
/// A clause that says why there is none.
pub fn of_host(host: &str, port: u16) -> Result<Vec<Address>, String> {
    let found = (host, port).to_socket_addrs();
    let found = in_turn(found.map_err(|error| error.to_string())?);
    match found.is_empty() {
        true => Err("it has none".to_owned()),
        false => Ok(found.into_iter().map(Address::Tcp).collect()),
    }
}

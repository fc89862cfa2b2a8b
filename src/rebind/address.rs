//! Which addresses are moved, and where to: bytes in, bytes out. Part of the library of `preload.rs`, and tested in this crate.

use core::ffi::CStr;

/// The variable that names both ports, as `5901:40001`: the one that the program believes to bind, and the one that it gets.
pub(crate) const VARIABLE: &CStr = c"RINGWAY_WRAP_PORTS";

/// Bytes of the longest address that is looked at: `sockaddr_in6`.
pub(crate) const ADDRESS_BYTES_MAX: usize = 28;

/// Bytes of `sockaddr_in`.
const V4_BYTES: usize = 16;

/// Bytes of `sockaddr_in6` without its last field, which the kernel lets out.
const V6_BYTES_MIN: usize = 24;

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

const LOOPBACK_V4: [u8; 4] = [127, 0, 0, 1];
const LOOPBACK_V6: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const LOOPBACK_MAPPED: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1];

/// The value of [`VARIABLE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ports {
    /// What the program asks for.
    pub(crate) from: u16,
    /// What it gets.
    pub(crate) to: u16,
}

impl Ports {
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let text = core::str::from_utf8(text).ok()?;
        let (from, to) = text.split_once(':')?;
        Some(Self {
            from: from.parse().ok()?,
            to: to.parse().ok()?,
        })
    }
}

/// The address that is bound in the place of `address`, with its length. `None`: it is none of ours.
///
/// `only_v6`: the socket has `IPV6_V6ONLY`. One that has not, and asks for all addresses, hears IPv4 here: a machine may have no `::1`.
pub(crate) fn moved(
    address: &[u8],
    ports: Ports,
    only_v6: bool,
) -> Option<([u8; ADDRESS_BYTES_MAX], usize)> {
    let family = u16::from_ne_bytes(*address.first_chunk()?);
    let port = u16::from_be_bytes(*address.get(2..)?.first_chunk()?);
    if port != ports.from {
        return None;
    }
    let mut moved = [0; ADDRESS_BYTES_MAX];
    moved[..2].copy_from_slice(&family.to_ne_bytes());
    moved[2..4].copy_from_slice(&ports.to.to_be_bytes());
    match family {
        AF_INET if address.len() >= V4_BYTES => {
            moved[4..8].copy_from_slice(&LOOPBACK_V4);
            Some((moved, V4_BYTES))
        }
        AF_INET6 if address.len() >= V6_BYTES_MIN => {
            let host = &address[8..V6_BYTES_MIN];
            let hears_v4 = !only_v6 && (host == [0; 16] || host[..12] == LOOPBACK_MAPPED[..12]);
            let host = match hears_v4 {
                true => LOOPBACK_MAPPED,
                false => LOOPBACK_V6,
            };
            moved[8..V6_BYTES_MIN].copy_from_slice(&host);
            Some((moved, ADDRESS_BYTES_MAX))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    const PORTS: Ports = Ports {
        from: 5901,
        to: 40001,
    };

    fn v4(host: Ipv4Addr, port: u16) -> Vec<u8> {
        let mut address = AF_INET.to_ne_bytes().to_vec();
        address.extend(port.to_be_bytes());
        address.extend(host.octets());
        address.extend([0; 8]);
        address
    }

    fn v6(host: Ipv6Addr, port: u16) -> Vec<u8> {
        let mut address = AF_INET6.to_ne_bytes().to_vec();
        address.extend(port.to_be_bytes());
        address.extend([0; 4]);
        address.extend(host.octets());
        address.extend(7_u32.to_ne_bytes());
        address
    }

    #[test]
    fn the_port_is_moved_to_the_loopback_of_what_the_socket_hears() {
        for host in [
            Ipv4Addr::UNSPECIFIED,
            Ipv4Addr::LOCALHOST,
            Ipv4Addr::new(192, 0, 2, 1),
        ] {
            let (address, len) = moved(&v4(host, 5901), PORTS, false).expect("ours");
            assert_eq!(address[..len], v4(Ipv4Addr::LOCALHOST, 40001));
        }
        let mapped = Ipv4Addr::LOCALHOST.to_ipv6_mapped();
        for (host, only_v6, wanted) in [
            (Ipv6Addr::UNSPECIFIED, false, mapped),
            (Ipv6Addr::UNSPECIFIED, true, Ipv6Addr::LOCALHOST),
            (Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped(), false, mapped),
            (Ipv6Addr::LOCALHOST, false, Ipv6Addr::LOCALHOST),
            (
                Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1),
                true,
                Ipv6Addr::LOCALHOST,
            ),
        ] {
            let (address, len) = moved(&v6(host, 5901), PORTS, only_v6).expect("ours");
            let mut wanted = v6(wanted, 40001);
            // No zone.
            wanted[24..].fill(0);
            assert_eq!(address[..len], wanted, "{host} {only_v6}");
        }
    }

    #[test]
    fn everything_else_stays() {
        let unix = [1, 0, b'/', b'r', b'u', b'n'];
        let other_port = v4(Ipv4Addr::UNSPECIFIED, 5902);
        let any_port = v6(Ipv6Addr::UNSPECIFIED, 0);
        let short = &v4(Ipv4Addr::UNSPECIFIED, 5901)[..8];
        for address in [&unix[..], &other_port, &any_port, short, &[], &[2]] {
            assert_eq!(moved(address, PORTS, false), None, "{address:?}");
        }
    }

    #[test]
    fn two_ports_have_a_colon_between_them() {
        assert_eq!(Ports::parse(b"5901:40001"), Some(PORTS));
        for text in ["", "5901", "5901:", "5901:70000", "a:b", "1:2:3"] {
            assert_eq!(Ports::parse(text.as_bytes()), None, "{text}");
        }
    }
}

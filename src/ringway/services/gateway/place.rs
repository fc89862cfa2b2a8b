//! A target as people write it.
//!
//! Owns: the forms `host:port`, `[::1]:port`, `unix:/path` and websockify's `unix_socket:/path`. Never: looks a name up.

use std::fmt;
use std::net::Ipv6Addr;
use std::path::PathBuf;

use crate::proto::http::authority;

/// Bytes of a path that the address of a Unix socket has room for, without the zero behind it (unix(7)).
const UNIX_PATH_BYTES_MAX: usize = 107;

/// Bytes of a name in the DNS (RFC 1035 §2.3.4).
const HOST_BYTES_MAX: usize = 255;

/// A target.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// A port of a host.
    Tcp {
        /// A name or an address, IPv6 without its brackets.
        host: String,
        /// Not 0.
        port: u16,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

impl Place {
    /// Reads `host:port`, `[::1]:port`, `unix:/path` or `unix_socket:/path`. `None`: it is none of these.
    pub fn parse(text: &str) -> Option<Self> {
        let path = text.strip_prefix("unix:");
        if let Some(path) = path.or_else(|| text.strip_prefix("unix_socket:")) {
            let is_path = path.starts_with('/')
                && path.len() <= UNIX_PATH_BYTES_MAX
                && !path.contains(char::is_control);
            return is_path.then(|| Self::Unix(path.into()));
        }
        let (host, port) = text.rsplit_once(':')?;
        Self::tcp(host, port)
    }

    /// The port of a host; IPv6 with or without brackets.
    pub fn tcp(host: &str, port: &str) -> Option<Self> {
        let port = match port.parse() {
            Ok(number @ 1..) if !port.starts_with('+') => number,
            _ => return None,
        };
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let is_v6 = |host: &str| host.parse::<Ipv6Addr>().is_ok();
        let is_name = |host: &str| {
            (1..=HOST_BYTES_MAX).contains(&host.len())
                && host.bytes().all(|byte| byte.is_ascii_graphic())
                && !host.contains([':', '/', '[', ']', '@', '#', '?'])
        };
        let host = match bare {
            Some(address) if is_v6(address) => address,
            None if is_name(host) => host,
            _ => return None,
        };
        Some(Self::Tcp {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } => f.write_str(&authority(host, port)),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_they_are_shown() {
        for text in [
            "127.0.0.1:5900",
            "[::1]:22",
            "vnc.example:5901",
            "unix:/run/a b.sock",
        ] {
            let place = Place::parse(text).expect("a place");
            assert_eq!(place.to_string(), text);
        }
        let place = Place::parse("unix_socket:/run/a.sock");
        assert_eq!(place, Some(Place::Unix("/run/a.sock".into())));
        for text in [
            "",
            "5900",
            "host",
            "host:0",
            "host:65536",
            "::1:22",
            "[host]:1",
            ":5900",
            "unix:a",
            "host:+80",
            "a b:1",
            "unix:",
            "a/b:1",
            "[::1:1",
        ] {
            assert_eq!(Place::parse(text), None, "{text}");
        }
    }
}

//! Places to listen and names of congestion controls, as people type them.
//!
//! Owns: the text of `--wsuri`, `--port` and `--congestion`. Never: opens a socket or looks up a name.

use std::path::PathBuf;

use ringway::options::{Endpoint, WebPort};

use crate::Text;
use crate::judge::{BadOption, Resolved};

/// Parses `ws://host:port` or `ws+unix:/path`.
pub fn endpoint(uri: &str) -> Resolved<Endpoint> {
    let wrong = |why: &str| {
        BadOption(format!(
            "--wsuri {uri}: {why}; give something like ws://127.0.0.1:9000"
        ))
    };
    if uri.starts_with("wss:") {
        return Err(BadOption(format!(
            "--wsuri {uri}: TLS is not there yet; use ws:// and let a TLS proxy stand in front"
        )));
    }
    if let Some(path) = uri.strip_prefix("ws+unix:") {
        // Both ws+unix:/path and ws+unix:///path are in use.
        let path = path.strip_prefix("//").unwrap_or(path);
        // sockaddr_un.sun_path holds 108 octets with its end.
        return match path.len() {
            _ if !path.starts_with('/') => Err(wrong("the path must begin with a slash")),
            108.. => Err(wrong(
                "the path is longer than the 107 octets a Unix socket can have",
            )),
            _ => Ok(Endpoint::Unix {
                path: PathBuf::from(path),
            }),
        };
    }
    let rest = uri
        .strip_prefix("ws://")
        .ok_or_else(|| wrong("it does not begin with ws:// or ws+unix:"))?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if !matches!(path, "" | "/") {
        return Err(wrong(
            "the server answers on every path, so it cannot be bound to one",
        ));
    }
    if authority.contains('@') {
        return Err(wrong("a user has no meaning here"));
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest
                .split_once(']')
                .ok_or_else(|| wrong("the bracket of the IPv6 address is open"))?;
            host.parse::<std::net::Ipv6Addr>()
                .map_err(|_| wrong("what is in brackets is no IPv6 address"))?;
            (host, rest.strip_prefix(':'))
        }
        None => match authority.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                return Err(wrong("an IPv6 address needs brackets, as ws://[::1]:9000"));
            }
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let port = port.ok_or_else(|| wrong("the port is missing"))?;
    let port = port
        .parse::<u16>()
        .map_err(|_| wrong("the port is not a number from 0 to 65535"))?;
    match host {
        "" => Err(wrong("the host is missing (0.0.0.0 is every IPv4 address)")),
        _ => Ok(Endpoint::Tcp {
            host: host.to_owned(),
            port,
        }),
    }
}

/// Parses a port of the web pages: a number, `auto`, or 0 for none.
///
/// # Errors
/// It is none of these.
pub fn web_port(text: &str) -> Resolved<WebPort> {
    match (text, text.parse::<u16>()) {
        ("auto", _) => Ok(WebPort::Auto),
        (_, Ok(0)) => Ok(WebPort::Off),
        (_, Ok(port)) => Ok(WebPort::Fixed(port)),
        _ => Err(BadOption(format!(
            "--port {text} is no port: give a number from 1 to 65535, auto for any free one, or 0 for no web pages"
        ))),
    }
}

/// A name the kernel could know: TCP_CA_NAME_MAX is 16 with its end.
pub fn congestion(Text(name): &Text) -> Resolved<String> {
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    match name.len() {
        1..=15 if name.chars().all(known) => Ok(name.clone()),
        _ => Err(BadOption(format!(
            "--congestion {name} is no name of a congestion control: see \
             /proc/sys/net/ipv4/tcp_available_congestion_control"
        ))),
    }
}

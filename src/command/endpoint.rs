//! Places to listen and names of congestion controls, as people type them.
//!
//! Owns: the text of `--wsuri`, `--port` and `--congestion`. Never: opens a socket or looks up a name.

use ringway::options::{Endpoint, WebPort};

use crate::Text;
use crate::judge::{BadOption, Resolved};

/// Limits of heads that a user may set. The head of the smallest opening handshake has about 150 bytes and five fields. A
/// larger limit than these would let each connection hold a megabyte before it is one.
pub const HEAD_MIN: u64 = 256;
/// See [`HEAD_MIN`].
pub const HEAD_MAX: u64 = 1 << 20;
/// See [`HEAD_MIN`].
pub const HEADERS_MIN: u64 = 5;
/// See [`HEAD_MIN`].
pub const HEADERS_MAX: u64 = 10_000;

/// Parses `ws://host:port` or `ws+unix:/path`.
///
/// # Errors
/// It is neither.
pub fn endpoint(uri: &str) -> Resolved<Endpoint> {
    uri.parse()
        .map_err(|bad| BadOption(format!("--wsuri {bad}")))
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

//! Places to listen and names of congestion controls, as users write them.
//!
//! Owns: the text of `--wsuri`, `--port` and `--congestion`. Never: opens a socket or looks up a name.

use ringway::options::{BadEndpoint, ENDPOINTS_MAX, Endpoint, WebHost, WebPort};
use ringway::proto::http::authority;

use crate::Text;
use crate::judge::{BadOption, Resolved};
use crate::kinds::{Bare, Kind, Words, Wrong};

/// Limits of request heads that a user may set: bytes and fields. The head of the smallest opening handshake has about
/// 150 bytes and five fields. Above the maximum, a connection could hold more than a megabyte before its WebSocket is
/// open.
pub const HEAD_MIN: u64 = 256;
/// See [`HEAD_MIN`].
pub const HEAD_MAX: u64 = 1 << 20;
/// See [`HEAD_MIN`].
pub const HEADERS_MIN: u64 = 5;
/// See [`HEAD_MIN`].
pub const HEADERS_MAX: u64 = 10_000;

/// A place to listen: `ws://host:port` or `ws+unix:/path`.
pub const URI: Words<Endpoint> = Words {
    value_name: "URI",
    parse: |uri| {
        uri.parse().map_err(|bad: BadEndpoint| {
            let sentence = bad.to_string();
            Wrong::Because(sentence.strip_prefix(uri).unwrap_or(&sentence).to_owned())
        })
    },
    show: |endpoint| {
        Some(match endpoint {
            Endpoint::Tcp { host, port } => {
                // The name of an interface follows an address of its link.
                let host = host.replace('%', "%25");
                format!("ws://{}", authority(&host, port))
            }
            Endpoint::Unix { path } => format!("ws+unix:{}", path.display()),
        })
    },
    bare: Bare::Refused,
};

/// Places to listen, one to [`ENDPOINTS_MAX`].
pub const URIS: Words<Vec<Endpoint>> = Words {
    value_name: "URI,...",
    parse: |uris| {
        let one = |uri: &str| {
            URI.parse(uri.trim()).map_err(|wrong| match uri == uris {
                true => wrong,
                false => Wrong::Because(format!(": {uri}{wrong}")),
            })
        };
        // The path of a Unix socket may have commas.
        let mut places: Vec<&str> = Vec::new();
        let mut start = 0;
        for (at, _) in uris.match_indices(',') {
            let rest = uris[at + 1..].trim_start();
            let scheme = rest.split_once(':').map_or("", |(scheme, _)| scheme);
            let known = ["ws", "wss", "ws+unix"];
            if known.iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
                places.push(&uris[start..at]);
                start = at + 1;
            }
        }
        places.push(&uris[start..]);
        let places: Vec<_> = places.into_iter().map(one).collect::<Result<_, _>>()?;
        match places.len() {
            0..=ENDPOINTS_MAX => Ok(places),
            more => Err(Wrong::Because(format!(
                " are {more} places: a server listens at up to {ENDPOINTS_MAX}"
            ))),
        }
    },
    show: |places| {
        let places: Option<Vec<_>> = places.iter().map(|place| URI.show(place)).collect();
        Some(places?.join(","))
    },
    bare: Bare::Refused,
};

/// The port of the web pages: a number, `auto`, or 0 for none. An address may precede it.
pub const WEB_PORT: Words<WebPort> = Words {
    value_name: "[HOST:]PORT",
    parse: parse_web_port,
    show: |port| {
        let (host, port) = match port {
            WebPort::Auto(host) => (host, "auto".to_owned()),
            WebPort::Fixed(host, port) => (host, port.to_string()),
            WebPort::Off => return Some("0".to_owned()),
        };
        Some(match host {
            WebHost::Loopback => port,
            WebHost::Named(host) => authority(host, port),
        })
    },
    bare: Bare::Refused,
};

/// A name that the kernel could know: TCP_CA_NAME_MAX is 16, with the final NUL.
pub const CONGESTION: Words<String> = Words {
    value_name: "NAME",
    parse: |name| {
        let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        match name.len() {
            1..=15 if name.chars().all(known) => Ok(name.to_owned()),
            _ => Err(Wrong::Because(
                " is no name of a congestion control: see \
                 /proc/sys/net/ipv4/tcp_available_congestion_control"
                    .to_owned(),
            )),
        }
    },
    show: |name| Some(name.clone()),
    bare: Bare::Refused,
};

/// Parses [`URI`] for `--wsuri`.
///
/// # Errors
/// The text is no such URI.
pub fn endpoint(uri: &str) -> Resolved<Endpoint> {
    typed("wsuri", uri, &URI)
}

/// Parses [`WEB_PORT`] for `--port`.
///
/// # Errors
/// The text is no such port.
pub fn web_port(text: &str) -> Resolved<WebPort> {
    typed("port", text, &WEB_PORT)
}

/// Checks [`CONGESTION`] for `--congestion`.
///
/// # Errors
/// The text cannot be such a name.
pub fn congestion(Text(name): &Text) -> Resolved<String> {
    typed("congestion", name, &CONGESTION)
}

fn typed<V>(name: &str, text: &str, kind: &impl Kind<V>) -> Resolved<V> {
    kind.parse(text)
        .map_err(|wrong| BadOption(format!("--{name} {text}{wrong}")))
}

fn parse_web_port(text: &str) -> Result<WebPort, Wrong> {
    let wrong = |why: &str| {
        Wrong::Because(format!(
            " {why}: give a number from 1 to 65535, auto for any free one, or 0 for no web pages; with an address in \
             front, as 0.0.0.0:8080 or [::]:8080, others than this machine can see them"
        ))
    };
    let (host, port) = match text.rsplit_once(':') {
        None => (WebHost::Loopback, text),
        Some((host, port)) => (WebHost::Named(web_host(host).map_err(wrong)?), port),
    };
    match (port, port.parse::<u16>()) {
        ("auto", _) => Ok(WebPort::Auto(host)),
        (_, Ok(0)) if host == WebHost::Loopback => Ok(WebPort::Off),
        (_, Ok(0)) => Err(wrong("has an address, but no port")),
        // A port has no sign.
        (digits, Ok(port)) if digits.starts_with(|c: char| c.is_ascii_digit()) => {
            Ok(WebPort::Fixed(host, port))
        }
        _ => Err(wrong("is no port")),
    }
}

/// The name or address before a port, an IPv6 address without its brackets. The error is the reason.
fn web_host(host: &str) -> Result<String, &'static str> {
    let bracketed = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    match bracketed {
        Some(host) if host.parse::<std::net::Ipv6Addr>().is_ok() => Ok(host.to_owned()),
        Some(_) => Err("has brackets without an IPv6 address"),
        None if host.is_empty() => Err("has no address before the colon"),
        None if host.contains(':') => Err("has an IPv6 address without brackets"),
        None => Ok(host.to_owned()),
    }
}

//! The URI of a server under test. Owns: parsing it. Never: resolves a name.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

/// A `ws` or `wss` URI (RFC 6455 §3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uri {
    /// A name or an address, without brackets; an IPv6 address may have a zone, as `fe80::1%eth0`. `localhost` for a Unix
    /// socket.
    pub host: String,
    /// 80 unless it was given, with TLS 443.
    pub port: u16,
    /// Path and query, beginning with `/`.
    pub resource: String,
    /// Whether it is a `wss` URI.
    pub secure: bool,
    /// The Unix socket of a `ws+unix` URI, in place of host and port.
    pub socket: Option<PathBuf>,
}

/// Most bytes of a URI: twice the 8000 bytes that RFC 9110 §4.1 recommends everybody to support.
const BYTES_MAX: usize = 16_000;

impl Uri {
    /// Parses `ws://host[:port][/path][?query]`, `wss://` for TLS, or `ws+unix:/socket[:/path][?query]`.
    ///
    /// # Errors
    /// A clause that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.len() > BYTES_MAX {
            return Err("it is longer than 16000 bytes");
        }
        if let Some(rest) = strip_scheme(text, "ws+unix:") {
            return Self::parse_unix(rest);
        }
        let (secure, rest) = match (strip_scheme(text, "ws://"), strip_scheme(text, "wss://")) {
            (Some(rest), _) => (false, rest),
            (None, Some(rest)) => (true, rest),
            (None, None) => return Err("it does not begin with ws:// or wss://"),
        };
        if !rest.bytes().all(|b| b.is_ascii_graphic()) {
            return Err("it has characters that must be percent-encoded");
        }
        // RFC 6455 §3: "Fragment identifiers are meaningless in the context of WebSocket URIs and MUST NOT be used"
        if rest.contains('#') {
            return Err("it has a fragment (#)");
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, resource) = rest.split_at(end);
        let (host, port) = split_port(authority)?;
        let port = port.unwrap_or_else(|| default_port(secure));
        let slash = if resource.starts_with('/') { "" } else { "/" };
        Ok(Self {
            host: host.into_owned(),
            port,
            resource: format!("{slash}{resource}"),
            secure,
            socket: None,
        })
    }

    /// Both `ws+unix:/path` and `ws+unix:///path` are in use. What follows a colon in it is the resource.
    fn parse_unix(rest: &str) -> Result<Self, &'static str> {
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        let (socket, resource) = rest.split_once(':').unwrap_or((rest, "/"));
        if !socket.starts_with('/') || socket.ends_with('/') {
            return Err(
                "the path of its socket is missing or not absolute, as in ws+unix:/run/chat.sock",
            );
        }
        let is_good = |b: u8| b.is_ascii_graphic() && b != b'#';
        if !resource.starts_with('/') || !resource.bytes().all(is_good) {
            return Err("what follows the colon is no path, as in ws+unix:/run/chat.sock:/path");
        }
        Ok(Self {
            host: "localhost".to_owned(),
            port: 80,
            resource: resource.to_owned(),
            secure: false,
            socket: Some(socket.into()),
        })
    }

    /// The value of the Host header. The port is left out when it is the default of the scheme.
    pub fn authority(&self) -> String {
        let (open, close) = if self.host.contains(':') {
            ("[", "]")
        } else {
            ("", "")
        };
        // RFC 6874 §4: a zone means something to this machine only, and "the zone identifier MUST be removed".
        let host = self.host.split('%').next().unwrap_or_default();
        match self.port {
            port if port == default_port(self.secure) => format!("{open}{host}{close}"),
            port => format!("{open}{host}{close}:{port}"),
        }
    }
}

impl Uri {
    /// Host and port, also when it is the default of the scheme, for a proxy.
    pub fn authority_with_port(&self) -> String {
        match self.port {
            port if port == default_port(self.secure) => format!("{}:{port}", self.authority()),
            _ => self.authority(),
        }
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.socket {
            return write!(f, "ws+unix:{}:{}", path.display(), self.resource);
        }
        let authority = match self.host.split_once('%') {
            None => self.authority(),
            Some((_, zone)) => self.authority().replace(']', &format!("%25{zone}]")),
        };
        let scheme = if self.secure { "wss" } else { "ws" };
        write!(f, "{scheme}://{authority}{}", self.resource)
    }
}

const fn default_port(secure: bool) -> u16 {
    if secure { 443 } else { 80 }
}

/// The text after a scheme. Upper and lower case are the same in a scheme (RFC 3986 §3.1).
fn strip_scheme<'a>(text: &'a str, scheme: &str) -> Option<&'a str> {
    let (begin, rest) = text.split_at_checked(scheme.len())?;
    begin.eq_ignore_ascii_case(scheme).then_some(rest)
}

/// Host and port. The host is owned where it differs from the text: before a zone the percent sign is encoded.
fn split_port(authority: &str) -> Result<(Cow<'_, str>, Option<u16>), &'static str> {
    // A WebSocket URI has no userinfo (RFC 6455 §3). Ignoring one silently would surprise a user who pasted it.
    if authority.contains('@') {
        return Err("it names a user (before the @), and a WebSocket URI has none; leave it out");
    }
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (host, port) = rest.split_once(']').ok_or("a bracket is not closed")?;
        (zoned(host)?, port)
    } else {
        let (host, port) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
        if host.is_empty() || !host.bytes().all(is_name) {
            return Err("it has no usable host");
        }
        (Cow::Borrowed(host), port)
    };
    match port.strip_prefix(':') {
        None if port.is_empty() => Ok((host, None)),
        // RFC 3986 §3.2.3: an empty port means the scheme's default.
        Some("") => Ok((host, None)),
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => match digits.parse() {
            Ok(0) | Err(_) => Err("its port is not between 1 and 65535"),
            Ok(port) => Ok((host, Some(port))),
        },
        _ => Err("its port is not between 1 and 65535"),
    }
}

/// An IPv6 address, with its zone if it has one. RFC 6874 §2: `fe80::1%25eth0` names `fe80::1%eth0`.
fn zoned(text: &str) -> Result<Cow<'_, str>, &'static str> {
    let (address, zone) = match text.split_once('%') {
        None => (text, None),
        Some((address, zone)) => (address, Some(zone)),
    };
    if address.parse::<std::net::Ipv6Addr>().is_err() {
        return Err("what is in brackets is no IPv6 address");
    }
    match zone.map(|zone| zone.strip_prefix("25").unwrap_or_default()) {
        None => Ok(Cow::Borrowed(address)),
        Some(zone) if !zone.is_empty() && zone.bytes().all(is_name) => {
            Ok(Cow::Owned(format!("{address}%{zone}")))
        }
        Some(_) => Err("a zone is written behind %25, as in ws://[fe80::1%25eth0]:9000"),
    }
}

/// A character of a name that needs no escape (RFC 3986 §2.3).
const fn is_name(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(host: &str, port: u16, resource: &str) -> Uri {
        let (host, resource) = (host.to_owned(), resource.to_owned());
        Uri {
            host,
            port,
            resource,
            secure: false,
            socket: None,
        }
    }

    #[test]
    fn a_unix_socket_is_a_path_and_perhaps_a_resource() {
        let at = |text: &str| {
            let uri = Uri::parse(text).expect("good");
            let socket = uri.socket.clone().expect("a socket");
            let parts = (socket.display().to_string(), uri.resource.clone());
            (parts.0, parts.1, uri.authority(), uri.to_string())
        };
        let whole = |socket: &str, resource: &str| {
            let shown = format!("ws+unix:{socket}:{resource}");
            (
                socket.to_owned(),
                resource.to_owned(),
                "localhost".to_owned(),
                shown,
            )
        };
        assert_eq!(at("ws+unix:/run/a.sock"), whole("/run/a.sock", "/"));
        assert_eq!(at("WS+unix:///run/a b:/c?d"), whole("/run/a b", "/c?d"));
        assert_eq!(at("ws+unix:/a:/b:c"), whole("/a", "/b:c"));
        for text in [
            "ws+unix:",
            "ws+unix:a",
            "ws+unix://a",
            "ws+unix:/run/",
            "ws+unix::/a",
        ] {
            let why = Uri::parse(text).expect_err("no socket");
            assert!(why.starts_with("the path of its socket"), "{text}: {why}");
        }
        for text in [
            "ws+unix:/a:b",
            "ws+unix:/a:",
            "ws+unix:/a:/b#c",
            "ws+unix:/a:/b c",
        ] {
            let why = Uri::parse(text).expect_err("no resource");
            assert!(why.starts_with("what follows the colon"), "{text}: {why}");
        }
    }

    #[test]
    fn an_ipv6_address_may_have_a_zone_that_the_server_does_not_see() {
        let text = "ws://[fe80::1%25eth0]:9000/";
        let uri = Uri::parse(text).expect("good");
        assert_eq!((uri.host.as_str(), uri.port), ("fe80::1%eth0", 9000));
        assert_eq!(uri.authority(), "[fe80::1]:9000");
        assert_eq!(uri.to_string(), text);
        for text in [
            "ws://[fe80::1%eth0]/",
            "ws://[fe80::1%25]/",
            "ws://[fe80::1%25a%2fb]/",
        ] {
            let why = Uri::parse(text).expect_err("no zone");
            assert!(why.starts_with("a zone is written"), "{text}: {why}");
        }
    }

    #[test]
    fn a_uri_has_host_port_and_resource() {
        let cases = [
            ("ws://localhost:9000", uri("localhost", 9000, "/")),
            ("ws://127.0.0.1", uri("127.0.0.1", 80, "/")),
            ("ws://[::1]:9000/a?b=c&d", uri("::1", 9000, "/a?b=c&d")),
            ("ws://a-b.example?x", uri("a-b.example", 80, "/?x")),
            ("ws://h:65535/%3B", uri("h", 65535, "/%3B")),
            ("WS://h:1/A", uri("h", 1, "/A")),
            ("wS://h:1/a@b", uri("h", 1, "/a@b")),
            ("ws://h:/", uri("h", 80, "/")),
        ];
        for (text, expected) in cases {
            assert_eq!(Uri::parse(text), Ok(expected), "{text}");
        }
        let secure = |port| Uri {
            secure: true,
            ..uri("h", port, "/")
        };
        assert_eq!(Uri::parse("wss://h"), Ok(secure(443)));
        assert_eq!(Uri::parse("WSS://h:80"), Ok(secure(80)));
    }

    #[test]
    fn what_is_no_uri_says_why() {
        let cases = [
            ("", "it does not begin with ws:// or wss://"),
            ("http://h", "it does not begin with ws:// or wss://"),
            ("ws://", "it has no usable host"),
            ("ws://:9000", "it has no usable host"),
            (
                "\u{e9}\u{e9}\u{e9}",
                "it does not begin with ws:// or wss://",
            ),
            (
                "ws://user@h",
                "it names a user (before the @), and a WebSocket URI has none; leave it out",
            ),
            (
                "ws://user:pw@h:9000/",
                "it names a user (before the @), and a WebSocket URI has none; leave it out",
            ),
            (
                "ws://user:pw@[::1]/",
                "it names a user (before the @), and a WebSocket URI has none; leave it out",
            ),
            ("ws://h:0", "its port is not between 1 and 65535"),
            ("ws://h:+1", "its port is not between 1 and 65535"),
            ("ws://h:65536", "its port is not between 1 and 65535"),
            ("ws://[::1", "a bracket is not closed"),
            ("ws://[::g]", "what is in brackets is no IPv6 address"),
            ("ws://[::1]9", "its port is not between 1 and 65535"),
            ("ws://h/#a", "it has a fragment (#)"),
            (
                "ws://h/a b",
                "it has characters that must be percent-encoded",
            ),
            (
                "ws://h\u{e9}",
                "it has characters that must be percent-encoded",
            ),
        ];
        for (text, why) in cases {
            assert_eq!(Uri::parse(text), Err(why), "{text}");
        }
        assert!(Uri::parse(&format!("ws://{}", "a".repeat(15_995))).is_ok());
        assert!(Uri::parse(&format!("ws://{}", "a".repeat(15_996))).is_err());
    }

    #[test]
    fn what_is_shown_parses_back() {
        for text in [
            "ws://h/",
            "ws://[::1]:9000/a?b",
            "ws://h:81/",
            "wss://h/",
            "wss://h:80/",
        ] {
            let uri = Uri::parse(text).expect("good");
            assert_eq!(uri.to_string(), text);
        }
    }
}

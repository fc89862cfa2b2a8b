//! The URI of a server under test. Owns: parsing it. Never: resolves a name.

use std::fmt;

/// A `ws` or `wss` URI (RFC 6455 §3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uri {
    /// A name or an address, without brackets.
    pub host: String,
    /// 80 unless it was given, with TLS 443.
    pub port: u16,
    /// Path and query, beginning with `/`.
    pub resource: String,
    /// Whether it is a `wss` URI.
    pub secure: bool,
}

/// Most bytes of a URI: twice the 8000 bytes that RFC 9110 §4.1 recommends everybody to support.
const BYTES_MAX: usize = 16_000;

impl Uri {
    /// Parses `ws://host[:port][/path][?query]`, or `wss://` for TLS.
    ///
    /// # Errors
    /// A clause that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.len() > BYTES_MAX {
            return Err("it is longer than 16000 bytes");
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
            host: host.to_owned(),
            port,
            resource: format!("{slash}{resource}"),
            secure,
        })
    }

    /// The value of the Host header. The port is left out when it is the default of the scheme.
    pub fn authority(&self) -> String {
        let (open, close) = if self.host.contains(':') {
            ("[", "]")
        } else {
            ("", "")
        };
        match self.port {
            port if port == default_port(self.secure) => format!("{open}{}{close}", self.host),
            port => format!("{open}{}{close}:{port}", self.host),
        }
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "wss" } else { "ws" };
        write!(f, "{scheme}://{}{}", self.authority(), self.resource)
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

fn split_port(authority: &str) -> Result<(&str, Option<u16>), &'static str> {
    // A WebSocket URI has no userinfo (RFC 6455 §3). Ignoring one silently would surprise a user who pasted it.
    if authority.contains('@') {
        return Err("it names a user (before the @), and a WebSocket URI has none; leave it out");
    }
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (host, port) = rest.split_once(']').ok_or("a bracket is not closed")?;
        if host.parse::<std::net::Ipv6Addr>().is_err() {
            return Err("what is in brackets is no IPv6 address");
        }
        (host, port)
    } else {
        let (host, port) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
        let good = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
        if host.is_empty() || !host.bytes().all(good) {
            return Err("it has no usable host");
        }
        (host, port)
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

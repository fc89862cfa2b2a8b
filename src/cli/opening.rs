//! The options of `ringway server` that opening handshakes must meet, and what every answer carries.
//!
//! Owns: their definitions and the texts of their values. Never: judges how options go together (`resolve` does).

use ringway::options::{Network, OriginPattern, ServerOptions, Versions};
use ringway::proto::flash_policy::Policy;
use ringway::proto::handshake::Letterhead;
use ringway_command::kinds::{Bare, Choice, Count, OrOff, Switch, Unless, Words, Wrong};
use ringway_command::options::{Definition, define};

/// Most proxies between client and server: more than any chain that we know.
const PROXIES_MAX: u64 = 16;

macro_rules! field {
    ($($name:ident).+) => { ringway_command::field!(ServerOptions: $($name).+) };
}

#[rustfmt::skip] // one option per block, help last
pub(super) fn definitions() -> [Definition<ServerOptions>; 12] {
    [
        define("allow-origin", field!(opening.allowed_origins), ORIGINS,
            "Origins whose pages may connect, others get 403: https://example.com, https://*.example.com (every host below it), \
             https://example.com:* (any port), *://localhost:*. May be given several times")
            .default_said("every origin")
            .repeated(),
        define("allow-null-origin", field!(opening.allow_null_origin), Switch,
            "With --allow-origin: let the origin `null` connect too, which sandboxed pages and local files have"),
        define("require-origin", field!(opening.require_origin), Switch,
            "Answer 403 to a request without an Origin header, which no browser sends"),
        define("versions", field!(opening.versions), VERSIONS,
            "Versions of the protocol to serve: 13 (RFC 6455), 8 (its drafts of 2011), or 13,8. Others get 426"),
        define("trust-forwarded-for", field!(opening.forwarded_by),
            OrOff(Count(1..=PROXIES_MAX, "give the number of proxies in front of the server")),
            "The N-th address from the right in X-Forwarded-For is the client's; 0 = the header is not read"),
        define("trust-proxies", field!(opening.proxies), NETWORKS,
            "With --trust-forwarded-for: read the header only of these addresses and networks, as 10.0.0.0/8,::1, and of \
             Unix sockets")
            .default_said("of every peer")
            .repeated(),
        define("proxy-protocol", field!(opening.proxy_protocol), NETWORKS,
            "Connections from these addresses and networks, and of Unix sockets, begin with a PROXY header (version 1 or 2), \
             which names the client; without one they are reset. As 10.0.0.0/8,::1")
            .default_said("none")
            .repeated(),
        define("header", field!(opening.headers), HEADERS,
            "A header that every answer has, as 'X-Frame-Options: DENY'. May be given several times; in a file, one per line")
            .repeated_lines(),
        define("server-name", field!(opening.server_name), SERVER_NAME,
            "The Server header of every answer; without text there is none"),
        define("health-path", field!(opening.health_path), Unless(PATH),
            "A path on which GET and HEAD are answered 200, and 503 by a worker that is to end"),
        define("legacy", field!(opening.legacy), Switch,
            "Serve the protocols before RFC 6455, too: Hixie-75 and Hixie-76 (text only), and versions 7 and 8. Their proof that a \
             WebSocket asked is weak or missing"),
        define("flash-policy", field!(opening.flash_policy), Unless(FLASH_POLICY),
            "Answer a <policy-file-request/> in place of a request: Flash of any site may connect to these ports, as 80,9000-9010 \
             or *"),
    ]
}

const VERSIONS: Choice<Versions> = Choice(
    "LIST",
    &[
        ("13", Versions::Rfc6455),
        ("8", Versions::Hybi10),
        ("13,8", Versions::Both),
        ("8,13", Versions::Both),
    ],
);

/// Patterns with commas between them.
const ORIGINS: Words<Vec<OriginPattern>> = Words {
    value_name: "ORIGIN,...",
    parse: |text| list(text, "give an origin, as https://example.com"),
    show: |patterns| show_list(patterns),
    bare: Bare::Refused,
};

/// Addresses and networks with commas between them.
const NETWORKS: Words<Vec<Network>> = Words {
    value_name: "CIDR,...",
    parse: |text| list(text, "give an address or a network, as 10.0.0.0/8"),
    show: |networks| show_list(networks),
    bare: Bare::Refused,
};

fn list<T>(text: &str, remedy: &str) -> Result<Vec<T>, Wrong>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    let one = |part: &str| match part.trim() {
        "" => Err(Wrong::Because(format!(
            ": there is nothing between two commas: {remedy}"
        ))),
        part => part
            .parse()
            .map_err(|why| Wrong::Because(format!(": '{part}' {why}"))),
    };
    text.split(',').map(one).collect()
}

fn show_list<T: std::fmt::Display>(values: &[T]) -> Option<String> {
    let texts: Vec<String> = values.iter().map(T::to_string).collect();
    (!texts.is_empty()).then(|| texts.join(","))
}

/// `Name: value`, one per line.
pub(super) const HEADERS: Words<Vec<(String, String)>> = Words {
    value_name: "NAME: VALUE",
    parse: |text| text.lines().map(header).collect(),
    show: |headers| {
        let lines = headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}"));
        let lines: Vec<String> = lines.collect();
        (!lines.is_empty()).then(|| lines.join("\n"))
    },
    bare: Bare::Refused,
};

fn header(line: &str) -> Result<(String, String), Wrong> {
    let (name, value) = line.split_once(':').ok_or_else(|| {
        Wrong::Because(format!(
            ": '{line}' has no colon: write it as 'X-Frame-Options: DENY'"
        ))
    })?;
    let (name, value) = (name.trim(), value.trim());
    match Letterhead::new("", &[(name, value)]) {
        Ok(_) => Ok((name.to_owned(), value.to_owned())),
        Err(misuse) => Err(Wrong::Because(format!(": {misuse}"))),
    }
}

const SERVER_NAME: Words<String> = Words {
    value_name: "NAME",
    parse: |text| match Letterhead::new(text, &[]) {
        Ok(_) => Ok(text.to_owned()),
        Err(misuse) => Err(Wrong::Because(format!(": {misuse}"))),
    },
    show: |name| Some(name.clone()),
    bare: Bare::Refused,
};

const FLASH_POLICY: Words<Policy> = Words {
    value_name: "PORTS",
    parse: |text| {
        let policy = text.parse();
        policy.map_err(|bad| Wrong::Because(format!(": '{text}' {bad}")))
    },
    show: |policy| Some(policy.to_string()),
    bare: Bare::Refused,
};

const PATH: Words<String> = Words {
    value_name: "PATH",
    parse: |text| {
        let is_known = |c: char| c.is_ascii_graphic() && !matches!(c, '?' | '#');
        match text.starts_with('/') && text.chars().all(is_known) {
            true => Ok(text.to_owned()),
            false => Err(Wrong::not("a path", "write it as /health")),
        }
    },
    show: |path| Some(path.clone()),
    bare: Bare::Refused,
};

#[cfg(test)]
mod tests {
    use ringway_command::kinds::Kind as _;

    use super::*;

    #[test]
    fn lists_are_shown_as_they_are_read() {
        let text = "https://*.example.com,*://localhost:*";
        let origins = ORIGINS.parse(text).expect("two origins");
        assert_eq!(ORIGINS.show(&origins).as_deref(), Some(text));
        let text = "10.0.0.0/8,::1/128";
        let networks = NETWORKS.parse("10.0.0.0/8, ::1").expect("two networks");
        assert_eq!(NETWORKS.show(&networks).as_deref(), Some(text));
        let text = "X-A: 1, 2\nX-B: c";
        let headers = HEADERS.parse(text).expect("two headers");
        assert_eq!(HEADERS.show(&headers).as_deref(), Some(text));
        assert_eq!(headers[0], ("X-A".to_owned(), "1, 2".to_owned()));
        assert_eq!(ORIGINS.show(&Vec::new()), None);
        assert_eq!(HEADERS.show(&Vec::new()), None);
    }

    #[test]
    fn what_is_no_value_says_why() {
        fn why<V: std::fmt::Debug>(kind: &Words<V>, text: &str) -> String {
            kind.parse(text).expect_err("no value").to_string()
        }
        assert!(why(&ORIGINS, "example.com").starts_with(": 'example.com' has no scheme"));
        assert!(why(&ORIGINS, "https://a,,https://b").contains("nothing between two commas"));
        assert!(why(&NETWORKS, "10.0.0.1/8").starts_with(": '10.0.0.1/8' has bits"));
        assert!(why(&HEADERS, "X-A").contains("has no colon"));
        assert!(why(&HEADERS, "Date: now").contains("written by the protocol"));
        assert!(why(&SERVER_NAME, "a\u{7}").contains("control"));
        assert!(why(&FLASH_POLICY, "80;81").contains("80,9000-9010"));
        assert!(why(&PATH, "health").contains("/health"));
        assert!(why(&PATH, "/a?b").contains("/health"));
    }
}

//! The options of opening handshakes: further headers, credentials, the proxy, redirects.
//!
//! Owns: their definitions, the texts of their values, and how they go together. Never: opens a file, or looks a name up.

use std::path::PathBuf;

use super::options::Run;
use crate::load::compat::uri::Uri;
use crate::load::options::{
    Asking, Proxy, Tunnel, basic_credentials, check_header, is_field_value, is_secret,
    percent_decoded,
};
use ringway_command::judge::{BadOption, Resolved};
use ringway_command::kinds::{Bare, Count, FILE, OrOff, Unless, Words, Wrong};
use ringway_command::options::{Definition, define};

/// Redirects in a row: a browser follows 20.
const REDIRECTS_MAX: u64 = 20;

/// Longest file of headers, bytes.
pub(super) const HEADER_FILE_MAX: u64 = 64 << 10;

/// What was given about opening handshakes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) headers: Vec<(String, String)>,
    /// A file with further headers, which `launch` reads.
    pub(super) header_file: Option<PathBuf>,
    pub(super) user: Option<User>,
    pub(super) cookie: Option<String>,
    pub(super) origin: Option<String>,
    pub(super) proxy: Option<ProxyUri>,
    pub(super) redirects_max: Option<u32>,
}

/// A user and a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) password: String,
}

impl User {
    fn credentials(&self) -> Option<String> {
        basic_credentials(&self.name, &self.password)
    }
}

/// A proxy as it was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ProxyUri {
    text: String,
    /// Its host, port and authority.
    pub(super) uri: Uri,
    user: Option<User>,
}

impl Given {
    /// How servers are asked. The proxy has no addresses yet, and the tunnel leads to `server`.
    pub(super) fn asking(&self, server: &Uri) -> Asking {
        let mut headers = self.headers.clone();
        let credentials = self.user.as_ref().and_then(User::credentials);
        let more = [
            ("Authorization", credentials),
            ("Cookie", self.cookie.clone()),
        ];
        headers.extend(
            more.into_iter()
                .filter_map(|(name, value)| Some((name.to_owned(), value?))),
        );
        Asking {
            origin: self.origin.clone(),
            headers,
            proxy: self.proxy.as_ref().map(|proxy| Proxy {
                authority: proxy.uri.authority(),
                addresses: Vec::new(),
                tunnel: Tunnel {
                    authority: server.authority_with_port(),
                    authorization: proxy.user.as_ref().and_then(User::credentials),
                },
            }),
        }
    }

    /// Adds what the file of `--header-file` says.
    pub(super) fn add_file(&mut self, text: &str) -> Result<(), Wrong> {
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        for line in lines {
            self.headers.push(header(line)?);
        }
        Ok(())
    }

    /// Refuses what does not go together.
    pub(super) fn check(&self, server: &Uri) -> Resolved<()> {
        let names = |known: &str| {
            let mut headers = self.headers.iter();
            headers.any(|(name, _)| name.eq_ignore_ascii_case(known))
        };
        let twice = |header: &str, option: &str| {
            BadOption(format!(
                "--header has {header}, and --{option} would send another: leave one of them off"
            ))
        };
        if self.user.is_some() && names("Authorization") {
            return Err(twice("Authorization", "basic-auth"));
        }
        if self.cookie.is_some() && names("Cookie") {
            return Err(twice("Cookie", "cookie"));
        }
        if self.origin.is_some() && names("Origin") {
            return Err(twice("Origin", "origin"));
        }
        if server.socket.is_none() {
            return Ok(());
        }
        match (&self.proxy, self.redirects_max) {
            (Some(_), _) => Err(BadOption(
                "--proxy: no proxy leads to a Unix socket; leave it off, or give a ws:// URI".to_owned(),
            )),
            (None, Some(_)) => Err(BadOption(
                "--redirects: a redirect leads to another host, and a Unix socket has none; leave it off".to_owned(),
            )),
            (None, None) => Ok(()),
        }
    }

    /// Forgets what another server must not learn: credentials, cookies, and headers that hold them.
    pub(super) fn forget_secrets(&mut self) {
        (self.user, self.cookie) = (None, None);
        self.headers.retain(|(name, _)| !is_secret(name));
    }
}

macro_rules! field {
    ($($name:ident).+) => { ringway_command::field!(Run: $($name).+) };
}

#[rustfmt::skip] // one option per block, help last
pub(super) fn definitions() -> [Definition<Run>; 7] {
    [
        define("header", field!(asking.headers), HEADERS,
            "A header of every request, as 'User-Agent: x'; may be repeated. In a configuration file, one per line")
            .repeated_lines(),
        define("header-file", field!(asking.header_file), Unless(FILE),
            "A file with further headers, one per line: other users of this machine see what is typed, and not what is in a file"),
        define("basic-auth", field!(asking.user), Unless(USER), "User and password of every request (Basic, RFC 7617)"),
        define("cookie", field!(asking.cookie), Unless(VALUE), "The cookies of every request, as 'a=1; b=2'"),
        define("origin", field!(asking.origin), Unless(VALUE), "The Origin of every request, as of a browser's page"),
        define("proxy", field!(asking.proxy), Unless(PROXY),
            "An HTTP proxy to go through (CONNECT), as http://127.0.0.1:3128 or http://user:password@proxy:3128"),
        define("redirects", field!(asking.redirects_max),
            OrOff(Count(1..=REDIRECTS_MAX, "a browser follows 20")),
            "Redirects to follow at a first connection, after which the run goes where the last one led, with no credentials for \
             another host; 0 = a redirect is an error"),
    ]
}

/// `Name: value`, one per line.
const HEADERS: Words<Vec<(String, String)>> = Words {
    value_name: "NAME: VALUE",
    parse: |text| text.lines().map(header).collect(),
    show: |headers| {
        let lines = headers.iter();
        let lines: Vec<String> = lines
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        (!lines.is_empty()).then(|| lines.join("\n"))
    },
    bare: Bare::Refused,
};

fn header(line: &str) -> Result<(String, String), Wrong> {
    let (name, value) = line.split_once(':').ok_or_else(|| {
        Wrong::Because(format!(
            ": '{line}' has no colon: write it as 'User-Agent: x'"
        ))
    })?;
    let header = (name.trim().to_owned(), value.trim().to_owned());
    match check_header(&header) {
        Ok(()) => Ok(header),
        Err(why) => Err(Wrong::Because(format!(
            ": '{}' cannot be sent: {why}",
            header.0
        ))),
    }
}

/// A header value.
const VALUE: Words<String> = Words {
    value_name: "VALUE",
    parse: |text| match is_field_value(text.as_bytes()) && !text.is_empty() {
        true => Ok(text.to_owned()),
        false => Err(Wrong::not(
            "a header value",
            "leave out control characters and white space at its ends",
        )),
    },
    show: |value| Some(value.clone()),
    bare: Bare::Refused,
};

const USER: Words<User> = Words {
    value_name: "USER:PASSWORD",
    parse: |text| match text.split_once(':') {
        Some((name, password)) => user(name.to_owned(), password.to_owned()),
        None => Err(Wrong::Because(
            ": there is no colon between user and password".to_owned(),
        )),
    },
    show: |user| Some(format!("{}:{}", user.name, user.password)),
    bare: Bare::Refused,
};

fn user(name: String, password: String) -> Result<User, Wrong> {
    let user = User { name, password };
    match user.credentials() {
        Some(_) => Ok(user),
        None => Err(Wrong::Because(
            ": a user has no colon, and neither user nor password has control characters"
                .to_owned(),
        )),
    }
}

const PROXY: Words<ProxyUri> = Words {
    value_name: "URI",
    parse: proxy,
    show: |proxy| Some(proxy.text.clone()),
    bare: Bare::Refused,
};

fn proxy(text: &str) -> Result<ProxyUri, Wrong> {
    let wrong = |why: &str| {
        Wrong::Because(format!(
            " is no proxy: {why}; write it as http://127.0.0.1:3128 or http://user:password@proxy:3128"
        ))
    };
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    if !scheme.eq_ignore_ascii_case("http") {
        return Err(wrong(
            "it does not begin with http://, and no other kind is known here",
        ));
    }
    let (name, authority) = match rest.rsplit_once('@') {
        Some((name, authority)) => (Some(name), authority),
        None => (None, rest),
    };
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    let has_port = authority
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if authority.contains(['/', '?', '#']) || !has_port {
        return Err(wrong("it has a host and a port, and nothing behind them"));
    }
    let uri = Uri::parse(&format!("ws://{authority}")).map_err(wrong)?;
    let user = name.map(|name| {
        let (name, password) = name.split_once(':').unwrap_or((name, ""));
        let decoded = |text| {
            percent_decoded(text)
                .ok_or_else(|| wrong("its user or password is not percent-encoded UTF-8"))
        };
        user(decoded(name)?, decoded(password)?)
    });
    Ok(ProxyUri {
        text: text.to_owned(),
        uri,
        user: user.transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use ringway_command::kinds::Kind as _;

    use super::*;

    fn why<V: std::fmt::Debug>(kind: &Words<V>, text: &str) -> String {
        kind.parse(text).expect_err("no value").to_string()
    }

    #[test]
    fn a_proxy_has_host_port_and_perhaps_a_user() {
        let at = |text: &str| {
            let proxy = PROXY.parse(text).expect("a proxy");
            assert_eq!(PROXY.show(&proxy).as_deref(), Some(text));
            let credentials = proxy.user.as_ref().and_then(User::credentials);
            (proxy.uri.authority(), credentials)
        };
        assert_eq!(
            at("http://127.0.0.1:3128"),
            ("127.0.0.1:3128".to_owned(), None)
        );
        assert_eq!(at("HTTP://[::1]:8080/"), ("[::1]:8080".to_owned(), None));
        // Aladdin:open sesame, as in RFC 7617 §2.
        let known = Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==".to_owned());
        assert_eq!(
            at("http://Aladdin:open%20sesame@p:1"),
            ("p:1".to_owned(), known)
        );
        let at_in_password = Some("Basic YTpiQGM=".to_owned());
        assert_eq!(at("http://a:b%40c@p:1").1, at_in_password);
        assert_eq!(at("http://a:b@c@p:1").1, at_in_password);
        for bad in [
            "p:1",
            "https://p:1",
            "http://p",
            "http://p:1/x",
            "http://p:0",
            "http://:1",
            "http://a%4:b@p:1",
            "http://a%ff:b@p:1",
            "http://a%3Ab:c@p:1",
        ] {
            assert!(!why(&PROXY, bad).is_empty(), "{bad}");
        }
        assert!(why(&PROXY, "socks5://p:1").contains("http://"));
    }

    #[test]
    fn headers_are_shown_as_they_are_read_and_reserved_ones_are_refused() {
        let text = "User-Agent: a: b\nX-B: c, d";
        let headers = HEADERS.parse(text).expect("two headers");
        assert_eq!(HEADERS.show(&headers).as_deref(), Some(text));
        assert!(why(&HEADERS, "X").contains("has no colon"));
        assert!(why(&HEADERS, "Host: x").contains("written by the protocol"));
        assert!(why(&HEADERS, "Sec-WebSocket-Key: x").contains("written by the protocol"));
        assert!(why(&HEADERS, "a b: x").contains("token"));
        assert!(why(&VALUE, " a").contains("header value"));
        assert!(why(&USER, "a").contains("no colon"));
        assert!(why(&USER, "a:b\u{7}").contains("control characters"));
    }

    #[test]
    fn secrets_are_for_the_server_that_was_named() {
        let mut given = Given {
            headers: vec![
                ("authorization".to_owned(), "Bearer x".to_owned()),
                ("X-A".to_owned(), "1".to_owned()),
            ],
            cookie: Some("a=1".to_owned()),
            ..Given::default()
        };
        given
            .add_file("\nCOOKIE: b=2\r\n\nX-B: 2\n")
            .expect("two headers");
        assert!(given.add_file("X").is_err());
        let uri = Uri::parse("ws://h/").expect("good");
        assert!(given.check(&uri).is_err(), "two cookies");
        given.forget_secrets();
        let asking = given.asking(&uri);
        let headers = [("X-A", "1"), ("X-B", "2")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        assert_eq!(asking.headers, headers);
    }
}

//! The environment of a program: the variables of CGI (RFC 3875 §4.1), as websocketd gives them.
//!
//! A header becomes a variable, but for those that would say something else there:
//! - `Proxy` would be `HTTP_PROXY`, which libraries obey.
//! - `Authorization` and its like are secrets, which everybody may see who sees the environment (RFC 3875 §4.1.18).
//! - A name with `_` would be the same variable as the one with `-`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStringExt as _;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::scripts::Place;

/// Headers that are no variables of their own: those of the body are variables without `HTTP_`.
const KEPT_BACK: [&str; 6] = [
    "host",
    "proxy",
    "authorization",
    "proxy-authorization",
    "content-length",
    "content-type",
];

/// What a program is told of a request.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The method.
    pub method: &'a str,
    /// Path and query, as the client wrote them.
    pub target: &'a str,
    /// What follows the `?`.
    pub query: &'a str,
    /// `HTTP/1.1`, say.
    pub protocol: &'a str,
    /// The value of `Host`.
    pub host: &'a str,
    /// Who asks, if it is known. Where a proxy has told it, the port is 0.
    pub client: Option<SocketAddr>,
    /// Whether it speaks TLS.
    pub is_tls: bool,
    /// Length and type of the body; empty where there is none.
    pub body: (&'a str, &'a str),
}

/// The variables for a request. `AUTH_TYPE` and `REMOTE_USER` are added when the client has shown who it is.
pub fn of<'a>(
    asked: &Asked<'_>,
    fields: impl Iterator<Item = (&'a str, &'a [u8])>,
    place: &Place,
) -> Vec<(OsString, OsString)> {
    let (client, port) = match asked.client {
        Some(client) => (client.ip().to_string(), client.port().to_string()),
        None => Default::default(),
    };
    let (name, own_port) = server(asked.host, asked.is_tls);
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let text = |name: &str, value: &str| (name.into(), value.into());
    let mut all: Vec<(OsString, OsString)> = vec![
        text("GATEWAY_INTERFACE", "CGI/1.1"),
        text(
            "SERVER_SOFTWARE",
            concat!("ringway/", env!("CARGO_PKG_VERSION")),
        ),
        text("SERVER_PROTOCOL", asked.protocol),
        text("SERVER_NAME", name),
        text("SERVER_PORT", own_port),
        text("REQUEST_METHOD", asked.method),
        text("REQUEST_URI", asked.target),
        text("QUERY_STRING", asked.query),
        text("REMOTE_ADDR", &client),
        text("REMOTE_HOST", &client),
        text("REMOTE_PORT", &port),
        text("REMOTE_IDENT", ""),
        text("CONTENT_LENGTH", asked.body.0),
        text("CONTENT_TYPE", asked.body.1),
        text(
            "UNIQUE_ID",
            &since.unwrap_or_default().as_nanos().to_string(),
        ),
        ("SCRIPT_NAME".into(), place.script_name.clone()),
        ("PATH_INFO".into(), place.path_info.clone()),
        ("PATH_TRANSLATED".into(), place.path.clone()),
    ];
    if asked.is_tls {
        all.push(text("HTTPS", "on"));
    }
    all.extend(headers(fields));
    all
}

/// The variables for who the client is.
pub fn of_user(user: Option<&str>) -> [(OsString, OsString); 2] {
    let kind = user.map_or("", |_| "Basic");
    [
        ("AUTH_TYPE".into(), kind.into()),
        ("REMOTE_USER".into(), user.unwrap_or("").into()),
    ]
}

/// Name and port in `Host`.
fn server(host: &str, is_tls: bool) -> (&str, &str) {
    let default = if is_tls { "443" } else { "80" };
    match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, port),
        _ => (host, default),
    }
}

/// `HTTP_…`: those of one name are one variable, with `, ` between them.
fn headers<'a>(all: impl Iterator<Item = (&'a str, &'a [u8])>) -> Vec<(OsString, OsString)> {
    let mut variables: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for (name, value) in all {
        let is_kept_back = KEPT_BACK.iter().any(|kept| kept.eq_ignore_ascii_case(name));
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if is_kept_back || !name.bytes().all(is_plain) || value.contains(&0) {
            continue;
        }
        let name = format!("HTTP_{}", name.to_ascii_uppercase().replace('-', "_"));
        match variables.entry(name) {
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(value.to_vec());
            }
            std::collections::btree_map::Entry::Occupied(entry) => {
                let joined = entry.into_mut();
                joined.extend_from_slice(b", ");
                joined.extend_from_slice(value);
            }
        }
    }
    let all = variables.into_iter();
    all.map(|(name, value)| (name.into(), OsString::from_vec(value)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_variables_but_for_those_that_would_mean_something_else() {
        let all: [(&str, &[u8]); 8] = [
            ("Host", b"h:1"),
            ("Proxy", b"http://evil/"),
            ("Authorization", b"Basic x"),
            ("Cookie", b"a=1"),
            ("cookie", b"b=2"),
            ("X_Forwarded", b"spoof"),
            ("X-Forwarded", b"true"),
            ("X-Latin", b"\xE9"),
        ];
        let variables = headers(all.into_iter());
        let expected: [(&str, &[u8]); 3] = [
            ("HTTP_COOKIE", b"a=1, b=2"),
            ("HTTP_X_FORWARDED", b"true"),
            ("HTTP_X_LATIN", b"\xE9"),
        ];
        let expected =
            expected.map(|(name, value)| (name.into(), OsString::from_vec(value.into())));
        assert_eq!(variables, expected);
    }

    #[test]
    fn the_server_is_what_host_says() {
        assert_eq!(server("a.example:8080", false), ("a.example", "8080"));
        assert_eq!(server("a.example", true), ("a.example", "443"));
        assert_eq!(server("[::1]", false), ("[::1]", "80"));
        assert_eq!(server("[::1]:81", false), ("[::1]", "81"));
    }
}

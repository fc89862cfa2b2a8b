//! The environment of a program: the variables of CGI (RFC 3875 §4.1), as websocketd gives them.
//!
//! A header becomes a variable, but for those that would say something else there:
//! - `Proxy` would be `HTTP_PROXY`, which libraries obey.
//! - `Authorization` and its like are secrets, which everybody may see who sees the environment (RFC 3875 §4.1.18).
//! - A name with `_` would be the same variable as the one with `-`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::time::{SystemTime, UNIX_EPOCH};

use ringway::Opening;

use super::scripts::Place;

/// Variables that are there and have no value, as RFC 3875 knows them and a WebSocket has none of them.
const EMPTY: [&str; 3] = ["CONTENT_LENGTH", "CONTENT_TYPE", "REMOTE_IDENT"];

/// Headers that are no variables.
const KEPT_BACK: [&str; 4] = ["host", "proxy", "authorization", "proxy-authorization"];

/// The variables for a client. `AUTH_TYPE` and `REMOTE_USER` are added when the client has shown who it is.
pub(super) fn of(opening: &Opening<'_>, place: &Place) -> Vec<(OsString, OsString)> {
    let request = opening.request();
    let (client, port) = match opening.peer() {
        Some(peer) => (peer.ip().to_string(), peer.port().to_string()),
        None => Default::default(),
    };
    let (name, own_port) = server(request.host(), opening.is_tls());
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let text = |name: &str, value: &str| (name.into(), value.into());
    let mut all: Vec<(OsString, OsString)> = vec![
        text("GATEWAY_INTERFACE", "CGI/1.1"),
        text(
            "SERVER_SOFTWARE",
            concat!("ringway/", env!("CARGO_PKG_VERSION")),
        ),
        text("SERVER_PROTOCOL", "HTTP/1.1"),
        text("SERVER_NAME", name),
        text("SERVER_PORT", own_port),
        text("REQUEST_METHOD", "GET"),
        text("REQUEST_URI", request.target()),
        text("QUERY_STRING", request.query().unwrap_or("")),
        text("REMOTE_ADDR", &client),
        text("REMOTE_HOST", &client),
        text("REMOTE_PORT", &port),
        text(
            "UNIQUE_ID",
            &since.unwrap_or_default().as_nanos().to_string(),
        ),
        ("SCRIPT_NAME".into(), place.script_name.clone()),
        ("PATH_INFO".into(), place.path_info.clone()),
        ("PATH_TRANSLATED".into(), place.path.clone()),
    ];
    all.extend(EMPTY.map(|name| text(name, "")));
    if opening.is_tls() {
        all.push(text("HTTPS", "on"));
    }
    all.extend(headers(request.headers()));
    all
}

/// The variables for who the client is.
pub(super) fn of_user(user: Option<&str>) -> [(OsString, OsString); 2] {
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

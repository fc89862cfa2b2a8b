//! What of a head is passed on, and what an application is told of the client.
//!
//! Fields that concern one connection alone stay behind (RFC 9110 §7.6.1). Whatever a client says of itself in `X-Forwarded-…` is replaced,
//! unless it is a trusted proxy.

use hyper::header::{CONNECTION, EXPECT, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue};

use crate::peer::Peer;

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const AT_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const USER: HeaderName = HeaderName::from_static("x-forwarded-user");

/// Fields of one connection, beside those that `Connection` names.
const OF_CONNECTION: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Removes what concerns one connection alone.
pub(crate) fn strip(headers: &mut HeaderMap) {
    let mut named = Vec::new();
    for value in headers.get_all(CONNECTION) {
        let names = value.as_bytes().split(|byte| *byte == b',');
        named.extend(names.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok()));
    }
    for name in named {
        // One that says how long the body is, or whom it is for, is never about the connection.
        if name != HOST && name != hyper::header::CONTENT_LENGTH {
            headers.remove(name);
        }
    }
    for name in OF_CONNECTION {
        headers.remove(name);
    }
}

/// Tells the application of the client. `is_trusted`: the peer is a proxy, whose word about its own client is passed on. `user`: who has
/// shown a password here, which no proxy knows better.
pub(crate) fn tell(headers: &mut HeaderMap, peer: Peer, is_trusted: bool, user: Option<&str>) {
    // Nobody here reads it, so nobody can vouch for it. And we have answered the other ourselves.
    headers.remove(FORWARDED);
    headers.remove(EXPECT);
    let words: Vec<HeaderName> = headers
        .keys()
        .filter(|name| is_word_about_client(name, is_trusted))
        .cloned()
        .collect();
    for name in words {
        headers.remove(name);
    }
    let mut chain: Vec<Vec<u8>> = Vec::new();
    chain.extend(
        headers
            .get_all(FOR)
            .iter()
            .map(|value| value.as_bytes().to_vec()),
    );
    chain.extend(
        peer.address
            .map(|address| address.ip().to_canonical().to_string().into_bytes()),
    );
    headers.remove(FOR);
    if let Ok(value) = HeaderValue::from_bytes(&chain.join(&b", "[..]))
        && !value.is_empty()
    {
        headers.insert(FOR, value);
    }
    let proto = match peer.is_tls {
        true => "https",
        false => "http",
    };
    headers
        .entry(PROTO)
        .or_insert(HeaderValue::from_static(proto));
    if let Some(host) = headers.get(HOST).cloned() {
        headers.entry(AT_HOST).or_insert(host);
    }
    if let Some(user) = user {
        headers.remove(USER);
        headers.extend(HeaderValue::from_str(user).map(|user| (USER, user)));
    }
}

/// Whether a field says something of the client that only a trusted proxy may say. Gateways of applications (CGI, WSGI) make no difference
/// between `-` and `_` in names, so names with `_` go in any case.
fn is_word_about_client(name: &HeaderName, is_trusted: bool) -> bool {
    let alike = name.as_str().replace('_', "-");
    let is_word = alike.starts_with("x-forwarded-") || alike == "x-real-ip" || alike == "forwarded";
    is_word && (!is_trusted || name.as_str().contains('_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, value.parse().expect("a value"));
        }
        map
    }

    fn peer(address: &str) -> Peer {
        Peer {
            address: Some(address.parse().expect("an address")),
            is_tls: true,
        }
    }

    #[test]
    fn fields_of_the_connection_stay_behind() {
        let mut headers = map(&[
            ("connection", "close, X-Own ,host"),
            ("x-own", "1"),
            ("host", "a"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("transfer-encoding", "chunked"),
            ("accept", "*/*"),
        ]);
        strip(&mut headers);
        assert_eq!(headers, map(&[("host", "a"), ("accept", "*/*")]));
    }

    #[test]
    fn what_a_stranger_says_of_itself_is_replaced() {
        let mut headers = map(&[
            ("host", "shop.example"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x_forwarded_for", "10.0.0.1"),
            ("x-forwarded-proto", "ftp"),
            ("x-forwarded-port", "1"),
            ("x-real-ip", "10.0.0.1"),
            ("x-forwarded-user", "root"),
            ("forwarded", "for=10.0.0.1"),
            ("expect", "100-continue"),
        ]);
        tell(&mut headers, peer("192.0.2.7:5"), false, Some("ada"));
        let told = [
            ("host", "shop.example"),
            ("x-forwarded-for", "192.0.2.7"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "shop.example"),
            ("x-forwarded-user", "ada"),
        ];
        assert_eq!(headers, map(&told));
    }

    #[test]
    fn the_word_of_a_trusted_proxy_is_passed_on() {
        let mut headers = map(&[
            ("host", "inner"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-for", "10.0.0.2"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "shop.example"),
            ("x-forwarded-user", "ada"),
            ("x_forwarded_for", "1.1.1.1"),
        ]);
        let mut shown = headers.clone();
        tell(&mut shown, peer("192.0.2.7:5"), true, Some("bob"));
        assert_eq!(shown.get(USER), Some(&HeaderValue::from_static("bob")));
        tell(&mut headers, peer("[::ffff:192.0.2.7]:5"), true, None);
        let told = [
            ("host", "inner"),
            ("x-forwarded-for", "10.0.0.1, 10.0.0.2, 192.0.2.7"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "shop.example"),
            ("x-forwarded-user", "ada"),
        ];
        assert_eq!(headers, map(&told));
    }

    #[test]
    fn of_a_unix_socket_there_is_no_address() {
        let mut headers = map(&[("x-forwarded-for", "10.0.0.1")]);
        let peer = Peer {
            address: None,
            is_tls: false,
        };
        tell(&mut headers, peer, false, None);
        assert_eq!(headers, map(&[("x-forwarded-proto", "http")]));
    }
}

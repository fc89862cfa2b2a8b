//! Where a server sends a client instead of opening the WebSocket: `Location` against the URI that was asked for.
//!
//! Never: follows a redirect, or counts how many there were; the caller does both.

use super::StatusCode;

/// Longest URI of a redirect, bytes: twice the 8000 that RFC 9110 §4.1 recommends everybody to support.
const URI_BYTES_MAX: usize = 16_000;

/// Why a redirect must not be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadRedirect {
    /// From `wss` to `ws`: what TLS protected would travel in the clear.
    Downgrade,
    /// There is no `Location`.
    LocationMissing,
    /// `Location` is no URI, or one of more than 16,000 bytes.
    LocationMalformed,
    /// A scheme that leads to no WebSocket.
    Scheme,
    /// `Location` names a user, which a WebSocket URI cannot (RFC 6455 §3).
    User,
}

impl std::fmt::Display for BadRedirect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Downgrade => "the redirect leads from TLS to a connection without it",
            Self::LocationMissing => "the redirect has no Location",
            Self::LocationMalformed => "the redirect's Location is no URI",
            Self::Scheme => "the redirect leads to something that is no WebSocket",
            Self::User => "the redirect's Location names a user",
        })
    }
}

impl std::error::Error for BadRedirect {}

/// Whether a status redirects (RFC 9110 §15.4). 300 leaves the choice to a user, 304 is about caches, and 305 is not used
/// any more.
pub const fn is_redirect(status: StatusCode) -> bool {
    matches!(status.0, 301 | 302 | 303 | 307 | 308)
}

/// Whether a header is for the server that was named only, and not for one that it redirects to: credentials and cookies.
pub fn is_secret(name: &str) -> bool {
    name.eq_ignore_ascii_case("Authorization") || name.eq_ignore_ascii_case("Cookie")
}

/// The URI that a redirect leads to: `ws://…` or `wss://…`, without a fragment. `from` is the one that was asked for, with
/// one of these schemes. In `location`, `http` and `https` stand for `ws` and `wss`, and a relative reference is resolved
/// (RFC 3986 §5.2).
///
/// # Errors
/// [`BadRedirect`]: why it must not be followed.
pub fn redirect(from: &str, location: Option<&[u8]>) -> Result<String, BadRedirect> {
    let location = location.ok_or(BadRedirect::LocationMissing)?;
    let is_good = location.len() <= URI_BYTES_MAX && location.iter().all(u8::is_ascii_graphic);
    let location = str::from_utf8(location).ok().filter(|_| is_good);
    let location = location.ok_or(BadRedirect::LocationMalformed)?;
    // RFC 6455 §3: "Fragment identifiers are meaningless in the context of WebSocket URIs"
    let location = before(location, &['#']);
    let (scheme, rest) = from
        .split_once("://")
        .ok_or(BadRedirect::LocationMalformed)?;
    let was_secure = scheme.eq_ignore_ascii_case("wss");
    let (authority, asked) = rest.split_at(before(rest, &['/', '?']).len());
    let (secure, authority, resource) = match scheme_of(location) {
        Some((scheme, rest)) => {
            let is = |known: &str| scheme.eq_ignore_ascii_case(known);
            let secure = is("wss") || is("https");
            if !(secure || is("ws") || is("http")) {
                return Err(BadRedirect::Scheme);
            }
            let rest = rest
                .strip_prefix("//")
                .ok_or(BadRedirect::LocationMalformed)?;
            let (authority, resource) = rest.split_at(before(rest, &['/', '?']).len());
            (secure, authority, resolved("/", resource))
        }
        None => match location.strip_prefix("//") {
            Some(rest) => {
                let (authority, resource) = rest.split_at(before(rest, &['/', '?']).len());
                (was_secure, authority, resolved("/", resource))
            }
            None => (was_secure, authority, resolved(asked, location)),
        },
    };
    if was_secure && !secure {
        return Err(BadRedirect::Downgrade);
    }
    if authority.contains('@') {
        return Err(BadRedirect::User);
    }
    if !super::http::is_host(authority.as_bytes()) {
        return Err(BadRedirect::LocationMalformed);
    }
    let scheme = if secure { "wss" } else { "ws" };
    let uri = format!("{scheme}://{authority}{resource}");
    match uri.len() <= URI_BYTES_MAX {
        true => Ok(uri),
        false => Err(BadRedirect::LocationMalformed),
    }
}

/// The text before the first of `ends`, or all of it.
fn before<'a>(text: &'a str, ends: &[char]) -> &'a str {
    text.split(ends).next().unwrap_or(text)
}

/// The scheme of a URI and what follows its colon (RFC 3986 §3.1). None: a relative reference.
fn scheme_of(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let good = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    let begins = scheme.starts_with(|c: char| c.is_ascii_alphabetic());
    (begins && scheme.chars().all(good)).then_some((scheme, rest))
}

/// Path and query of `reference`, relative to those that were asked for; begins with `/`.
fn resolved(asked: &str, reference: &str) -> String {
    let (path, query) = reference.split_at(before(reference, &['?']).len());
    let (asked_path, asked_query) = asked.split_at(before(asked, &['?']).len());
    let path = match path {
        "" => {
            let query = if query.is_empty() { asked_query } else { query };
            return format!("{}{query}", without_dots(asked_path));
        }
        absolute if absolute.starts_with('/') => without_dots(absolute),
        // RFC 3986 §5.2.3: "excluding any characters after the right-most "/" in the base URI path"
        relative => {
            let folder = asked_path.rsplit_once('/').map_or("", |(folder, _)| folder);
            without_dots(&format!("{folder}/{relative}"))
        }
    };
    path + query
}

/// A path without `.` and `..` (RFC 3986 §5.2.4); begins with `/`.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let segments = path.strip_prefix('/').unwrap_or(path);
    let mut ends_in_folder = false;
    for segment in segments.split('/') {
        ends_in_folder = matches!(segment, "." | "..");
        match segment {
            "." => {}
            ".." => drop(kept.pop()),
            segment => kept.push(segment),
        }
    }
    if ends_in_folder {
        kept.push("");
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_resolved_against_the_uri_that_was_asked_for() {
        let cases = [
            ("ws://h/a", "ws://h2:81/b?c", "ws://h2:81/b?c"),
            ("ws://h/a", "http://h2", "ws://h2/"),
            ("ws://h/a", "HTTPS://h2/x", "wss://h2/x"),
            ("ws://h/a", "WSS://h2/x", "wss://h2/x"),
            ("wss://h/a", "https://h/b", "wss://h/b"),
            ("wss://h/a", "//h2/b", "wss://h2/b"),
            ("ws://h:9/a/b?q", "/c", "ws://h:9/c"),
            ("ws://h:9/a/b?q", "c", "ws://h:9/a/c"),
            ("ws://h:9/a/b?q", "?r", "ws://h:9/a/b?r"),
            ("ws://h:9/a/b?q", "", "ws://h:9/a/b?q"),
            ("ws://h:9/a/b?q", "#f", "ws://h:9/a/b?q"),
            ("ws://h:9/a/b/c", "../d", "ws://h:9/a/d"),
            ("ws://h:9/a/b/c", "../../../../d", "ws://h:9/d"),
            ("ws://h:9/a/b/c", "./", "ws://h:9/a/b/"),
            ("ws://h:9/a/b/c", "..", "ws://h:9/a/"),
            ("ws://h:9", "x", "ws://h:9/x"),
            ("ws://h:9?q", "", "ws://h:9/?q"),
            ("ws://[::1]:9/", "http://[::2]:80/", "ws://[::2]:80/"),
            ("ws://h/", "/a:b", "ws://h/a:b"),
            ("ws://h/", "http://h/a#b?c", "ws://h/a"),
        ];
        for (from, location, to) in cases {
            let found = redirect(from, Some(location.as_bytes()));
            assert_eq!(found.as_deref(), Ok(to), "{location} from {from}");
        }
    }

    #[test]
    fn what_must_not_be_followed_says_why() {
        let long = format!("ws://h/{}", "a".repeat(16_000));
        let cases: [(&str, Option<&[u8]>, BadRedirect); 13] = [
            ("wss://h/", Some(b"ws://h/"), BadRedirect::Downgrade),
            ("WSS://h/", Some(b"http://h/"), BadRedirect::Downgrade),
            ("ws://h/", None, BadRedirect::LocationMissing),
            ("ws://h/", Some(b"/a b"), BadRedirect::LocationMalformed),
            ("ws://h/", Some(b"/a\r\nb"), BadRedirect::LocationMalformed),
            ("ws://h/", Some(b"/\xff"), BadRedirect::LocationMalformed),
            ("ws://h/", Some(b"http:/x"), BadRedirect::LocationMalformed),
            (
                "ws://h/",
                Some(b"http:///x"),
                BadRedirect::LocationMalformed,
            ),
            (
                "ws://h/",
                Some(b"ws://h:x/"),
                BadRedirect::LocationMalformed,
            ),
            ("ws://h/", Some(b"ftp://h/"), BadRedirect::Scheme),
            ("ws://h/", Some(b"javascript:alert(1)"), BadRedirect::Scheme),
            ("ws://h/", Some(b"http://u:p@h/"), BadRedirect::User),
            (
                "ws://h/",
                Some(long.as_bytes()),
                BadRedirect::LocationMalformed,
            ),
        ];
        for (from, location, why) in cases {
            assert_eq!(redirect(from, location), Err(why), "{location:?}");
        }
        // A relative one may not make the URI longer than it may be either.
        let from = format!("ws://h/{}/x", "a".repeat(15_990));
        let location = Some(&b"bcdefghijklm"[..]);
        let found = redirect(&from, location);
        assert_eq!(found, Err(BadRedirect::LocationMalformed));
    }

    #[test]
    fn credentials_and_cookies_are_secret() {
        assert!(is_secret("authorization") && is_secret("COOKIE"));
        assert!(!is_secret("Cookie2") && !is_secret("Origin"));
    }

    #[test]
    fn five_statuses_redirect() {
        let statuses = (100..600).filter(|status| is_redirect(StatusCode(*status)));
        assert_eq!(statuses.collect::<Vec<_>>(), [301, 302, 303, 307, 308]);
    }
}

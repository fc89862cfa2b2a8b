//! The origins whose pages may open a WebSocket (RFC 6454, RFC 6455 §10.2).
//!
//! ```text
//!  https://example.com        that scheme, that host, the scheme's own port
//!  https://*.example.com      every host below example.com, and not example.com itself
//!  https://app-*.example.com  a star inside a label stands for characters of that label alone
//!  *://localhost:*            any scheme, any port
//! ```
//!
//! Nothing else in a pattern has a special meaning: a dot is a dot.

use std::fmt;
use std::str::FromStr;

/// A pattern for origins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginPattern {
    text: String,
    /// In lower case; `None` for any.
    scheme: Option<String>,
    /// Labels in lower case, an address in brackets as one; `None` for any host.
    host: Option<Vec<String>>,
    port: PortPattern,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PortPattern {
    Any,
    /// The port that belongs to the origin's scheme.
    Scheme,
    Number(u16),
}

/// Why a text is no pattern for origins: the rest of a sentence that begins with the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadOriginPattern(&'static str);

impl fmt::Display for BadOriginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for BadOriginPattern {}

impl fmt::Display for OriginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for OriginPattern {
    type Err = BadOriginPattern;

    fn from_str(text: &str) -> Result<Self, BadOriginPattern> {
        let (scheme, rest) = text
            .split_once("://")
            .ok_or(BadOriginPattern("has no scheme, as in https://example.com"))?;
        if scheme != "*" && !is_scheme(scheme) {
            return Err(BadOriginPattern(
                "has a scheme that is neither a name nor a star",
            ));
        }
        if rest.contains(['/', '?', '#', '@']) {
            return Err(BadOriginPattern(
                "has more than scheme, host and port, and an origin has no more: remove the rest",
            ));
        }
        let (host, port) = split_port(rest).ok_or(BadOriginPattern(
            "has an IPv6 address without its brackets, as in http://[::1]:8000",
        ))?;
        let port = match port {
            None => PortPattern::Scheme,
            Some("*") => PortPattern::Any,
            Some(port) => PortPattern::Number(parse_port(port).ok_or(BadOriginPattern(
                "has a port that is neither a number nor a star",
            ))?),
        };
        Ok(Self {
            text: text.to_owned(),
            scheme: (scheme != "*").then(|| scheme.to_ascii_lowercase()),
            host: host_pattern(host)?,
            port,
        })
    }
}

fn host_pattern(host: &str) -> Result<Option<Vec<String>>, BadOriginPattern> {
    if host == "*" {
        return Ok(None);
    }
    let host = host.to_ascii_lowercase();
    if host.starts_with('[') {
        return Ok(Some(vec![host]));
    }
    let labels: Vec<String> = host.split('.').map(str::to_owned).collect();
    for (at, label) in labels.iter().enumerate() {
        let is_known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'*');
        if label.is_empty() || !label.bytes().all(is_known) {
            return Err(BadOriginPattern(
                "has a host that is no name: international names are written as xn--",
            ));
        }
        if label.matches('*').count() > 1 {
            return Err(BadOriginPattern(
                "has two stars in one label: one is enough",
            ));
        }
        if label == "*" && at > 0 {
            return Err(BadOriginPattern(
                "has a label that is a star behind another label: only the first one may be",
            ));
        }
    }
    Ok(Some(labels))
}

impl OriginPattern {
    /// Whether the origin belongs to the pattern.
    pub fn matches(&self, origin: &Origin<'_>) -> bool {
        let Origin::Tuple { scheme, host, port } = *origin else {
            return false;
        };
        let is_scheme = self
            .scheme
            .as_deref()
            .is_none_or(|wanted| wanted.eq_ignore_ascii_case(scheme));
        let is_port = match self.port {
            PortPattern::Any => true,
            PortPattern::Scheme => port == port_of(scheme),
            PortPattern::Number(wanted) => port == Some(wanted),
        };
        let is_host = |labels: &Vec<String>| host_matches(labels, host);
        is_scheme && is_port && self.host.as_ref().is_none_or(is_host)
    }
}

fn host_matches(labels: &[String], host: &str) -> bool {
    if host.starts_with('[') {
        return matches!(labels, [one] if one.eq_ignore_ascii_case(host));
    }
    let mut sent = host.split('.').rev();
    for (at, label) in labels.iter().enumerate().rev() {
        let Some(part) = sent.next().filter(|part| !part.is_empty()) else {
            return false;
        };
        // A first label that is a star also stands for the labels in front of it.
        if at == 0 && label == "*" {
            return sent.all(|part| !part.is_empty());
        }
        if !label_matches(label, part) {
            return false;
        }
    }
    sent.next().is_none()
}

fn label_matches(pattern: &str, label: &str) -> bool {
    let Some((begin, end)) = pattern.split_once('*') else {
        return pattern.eq_ignore_ascii_case(label);
    };
    let is_long_enough = label.len() >= begin.len() + end.len();
    let begins = label
        .get(..begin.len())
        .is_some_and(|part| part.eq_ignore_ascii_case(begin));
    let ends = || label.get(label.len() - end.len()..);
    is_long_enough && begins && ends().is_some_and(|part| part.eq_ignore_ascii_case(end))
}

/// The value of an `Origin` header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin<'a> {
    /// `null`, and `file:`, which some browsers send for it: a sandboxed page, or one without a server.
    Null,
    /// Scheme, host and port.
    Tuple {
        /// As sent.
        scheme: &'a str,
        /// As sent; an IPv6 address with its brackets.
        host: &'a str,
        /// As sent, or the scheme's own; `None` if that is not known.
        port: Option<u16>,
    },
    /// Anything else.
    Strange,
}

impl<'a> Origin<'a> {
    /// Parses the value of an `Origin` header.
    pub fn parse(text: &'a str) -> Self {
        if text == "null" {
            return Self::Null;
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Self::Strange;
        };
        if scheme.eq_ignore_ascii_case("file") {
            return Self::Null;
        }
        let parts = split_port(rest);
        let Some((host, port)) = parts.filter(|(host, _)| is_scheme(scheme) && !host.is_empty())
        else {
            return Self::Strange;
        };
        let is_odd = |b: u8| !b.is_ascii_graphic() || matches!(b, b'/' | b'?' | b'#' | b'@' | b',');
        let port = match port {
            None => port_of(scheme),
            Some(port) => match parse_port(port) {
                Some(port) => Some(port),
                None => return Self::Strange,
            },
        };
        if host.bytes().any(is_odd) {
            return Self::Strange;
        }
        Self::Tuple { scheme, host, port }
    }
}

/// Splits `host:port`; `None` if the host is an address whose brackets are missing or open.
fn split_port(text: &str) -> Option<(&str, Option<&str>)> {
    let end = match text.starts_with('[') {
        true => text.find(']')? + 1,
        false => text.find(':').unwrap_or(text.len()),
    };
    let (host, rest) = text.split_at_checked(end)?;
    match rest.strip_prefix(':') {
        Some(port) if port.contains(':') => None,
        Some(port) => Some((host, Some(port))),
        None if rest.is_empty() => Some((host, None)),
        None => None,
    }
}

fn parse_port(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// The port that an origin leaves out (RFC 6454 §4).
fn port_of(scheme: &str) -> Option<u16> {
    let is = |known: &str| scheme.eq_ignore_ascii_case(known);
    match () {
        () if is("http") || is("ws") => Some(80),
        () if is("https") || is("wss") => Some(443),
        () => None,
    }
}

/// RFC 3986 §3.1.
fn is_scheme(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic())
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, origin: &str) -> bool {
        let pattern: OriginPattern = pattern.parse().expect("a pattern");
        pattern.matches(&Origin::parse(origin))
    }

    #[test]
    fn a_pattern_matches_what_it_says_and_no_more() {
        for (pattern, origin, is_match) in [
            ("https://example.com", "https://example.com", true),
            ("https://example.com", "https://example.com:443", true),
            ("https://example.com", "HTTPS://EXAMPLE.com", true),
            ("https://example.com", "http://example.com", false),
            ("https://example.com", "https://example.com:8443", false),
            ("https://example.com:8443", "https://example.com:8443", true),
            ("https://example.com:8443", "https://example.com", false),
            // A dot is a dot, and the pattern is anchored at both ends.
            ("https://example.com", "https://exampleXcom", false),
            ("https://example.com", "https://example.com.evil.org", false),
            ("https://example.com", "https://notexample.com", false),
            ("https://*.example.com", "https://a.example.com", true),
            ("https://*.example.com", "https://a.b.example.com", true),
            ("https://*.example.com", "https://example.com", false),
            ("https://*.example.com", "https://.example.com", false),
            ("https://*.example.com", "https://evilexample.com", false),
            (
                "https://*.example.com",
                "https://a.example.com.evil.org",
                false,
            ),
            (
                "https://*.example.com",
                "https://evil.org:1.example.com",
                false,
            ),
            (
                "https://*.example.com",
                "https://evil.org/.example.com",
                false,
            ),
            (
                "https://*.example.com",
                "https://evil.org#.example.com",
                false,
            ),
            ("https://*.example.com", "https://u@a.example.com", false),
            (
                "https://app-*.example.com",
                "https://app-1.example.com",
                true,
            ),
            (
                "https://app-*.example.com",
                "https://app-1.evil.example.com",
                false,
            ),
            ("https://a*a.org", "https://a.org", false),
            ("*://localhost:*", "http://localhost:3000", true),
            ("*://localhost:*", "app://localhost", true),
            ("*://*:*", "https://anything.example", true),
            ("*://*:*", "null", false),
            ("http://[::1]:8000", "http://[::1]:8000", true),
            ("http://[::1]:8000", "http://[::2]:8000", false),
            ("http://*", "http://[::2]", true),
        ] {
            assert_eq!(matches(pattern, origin), is_match, "{pattern} {origin}");
        }
    }

    #[test]
    fn null_and_file_are_the_null_origin_and_odd_texts_are_none() {
        for text in ["null", "file://", "FILE:///home"] {
            assert_eq!(Origin::parse(text), Origin::Null, "{text}");
        }
        for text in [
            "",
            "Null",
            "http://",
            "http://a:b",
            "http://a:1:2",
            "//a",
            "a b://c",
            "http://a, http://b",
            "http://[::1",
            "1://a",
        ] {
            assert_eq!(Origin::parse(text), Origin::Strange, "{text}");
        }
    }

    #[test]
    fn what_is_no_pattern_says_why() {
        for (text, why) in [
            ("example.com", "has no scheme"),
            ("*", "has no scheme"),
            ("ht*tp://a", "has a scheme"),
            ("https://a/", "has more than"),
            ("https://", "has a host"),
            ("https://a..b", "has a host"),
            ("https://ex+ample.com", "has a host"),
            ("https://a**.b", "has two stars"),
            ("https://a.*.b", "has a label"),
            ("https://a:b", "has a port"),
            ("https://a:70000", "has a port"),
            ("https://::1", "has an IPv6"),
        ] {
            let error = text.parse::<OriginPattern>().expect_err("no pattern");
            assert!(error.to_string().starts_with(why), "{text}: {error}");
        }
        let text = "https://*.Example.com:*";
        assert_eq!(
            text.parse::<OriginPattern>().expect("one").to_string(),
            text
        );
    }
}

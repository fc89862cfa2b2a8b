//! Where to connect: a `ws://` or `wss://` URL (RFC 6455 §3), or the address of a proxy.
//!
//! Never: looks up a name.

use std::fmt;

use ringway_proto::handshake::basic_credentials;
use ringway_proto::http::{self, percent_decoded};

/// Longest URL in bytes: twice the 8000 that RFC 9110 §4.1 recommends everybody to support.
const URL_BYTES_MAX: usize = 16_000;

/// Why a text is no URL of a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadUrl {
    /// It has a fragment, which means nothing to a WebSocket (RFC 6455 §3).
    Fragment,
    /// The host is missing or none: a name in ASCII, an IPv4 address, or an IPv6 address in brackets.
    Host,
    /// It has more than 16,000 bytes.
    Long,
    /// The port is not a number from 1 to 65535.
    Port,
    /// It does not begin with `ws://` or `wss://`, or that of a proxy not with `http://`.
    Scheme,
    /// Path or query have a character that must be percent-encoded.
    Target,
    /// User or password, in the URL or [of their own](crate::Connector::basic_auth), are no percent-encoded UTF-8, or have
    /// a control character; or the user has a colon.
    User,
}

impl fmt::Display for BadUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fragment => "a WebSocket's URL has no fragment (#)",
            Self::Host => "the URL has no host: a name in ASCII, an IPv4 address, or an IPv6 address in brackets",
            Self::Long => "the URL has more than 16,000 bytes",
            Self::Port => "the URL's port is not a number from 1 to 65535",
            Self::Scheme => "the URL begins neither with ws:// nor with wss://, or a proxy's not with http://",
            Self::Target => "the URL has a character that must be percent-encoded",
            Self::User => "the user or the password cannot be sent: the user has a colon, or one of them a control character or no UTF-8",
        })
    }
}

impl std::error::Error for BadUrl {}

/// A URL in its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    /// TLS.
    pub(crate) secure: bool,
    /// Without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// As in `Host`: with brackets, and with the port unless it is the scheme's default.
    pub(crate) authority: String,
    /// Path and query; begins with `/`.
    pub(crate) target: String,
    /// User and password, as `Authorization` has them (Basic).
    pub(crate) credentials: Option<String>,
}

impl Url {
    /// Parses `ws://…` or `wss://…`.
    pub(crate) fn parse(text: &str) -> Result<Self, BadUrl> {
        Self::parse_with(text, &[("ws", 80), ("wss", 443)])
    }

    /// Parses a proxy's address, `http://…`.
    pub(crate) fn parse_proxy(text: &str) -> Result<Self, BadUrl> {
        Self::parse_with(text, &[("http", 80)])
    }

    fn parse_with(text: &str, schemes: &[(&str, u16)]) -> Result<Self, BadUrl> {
        if text.len() > URL_BYTES_MAX {
            return Err(BadUrl::Long);
        }
        if text.contains('#') {
            return Err(BadUrl::Fragment);
        }
        let (scheme, rest) = text.split_once("://").ok_or(BadUrl::Scheme)?;
        let known = |(name, _): &&(&str, u16)| scheme.eq_ignore_ascii_case(name);
        let (scheme, default_port) = schemes.iter().find(known).ok_or(BadUrl::Scheme)?;
        let authority = rest.split(['/', '?']).next().unwrap_or(rest);
        let resource = &rest[authority.len()..];
        let (credentials, authority) = match authority.rsplit_once('@') {
            Some((user, authority)) => (Some(credentials(user)?), authority),
            None => (None, authority),
        };
        let (host, port) = parse_authority(authority)?;
        if !resource.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(BadUrl::Target);
        }
        let slash = if resource.starts_with('/') { "" } else { "/" };
        let port = port.unwrap_or(*default_port);
        let full = http::authority(host, port);
        let default = format!(":{default_port}");
        Ok(Self {
            secure: *scheme == "wss",
            host: host.to_owned(),
            port,
            authority: full.strip_suffix(&default).unwrap_or(&full).to_owned(),
            target: format!("{slash}{resource}"),
            credentials,
        })
    }

    /// Host and port, as CONNECT wants them.
    pub(crate) fn host_and_port(&self) -> String {
        http::authority(&self.host, self.port)
    }

    /// The URL without user and password.
    pub(crate) fn text(&self) -> String {
        let scheme = if self.secure { "wss" } else { "ws" };
        format!("{scheme}://{}{}", self.authority, self.target)
    }
}

/// The host without brackets, and the port if there is one.
fn parse_authority(authority: &str) -> Result<(&str, Option<u16>), BadUrl> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or(BadUrl::Host)?;
            host.parse::<std::net::Ipv6Addr>()
                .map_err(|_| BadUrl::Host)?;
            let port = match rest.strip_prefix(':') {
                None if rest.is_empty() => None,
                None => return Err(BadUrl::Host),
                port => port,
            };
            (host, port)
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    if host.is_empty() || !host.bytes().all(good) {
        return Err(BadUrl::Host);
    }
    let port = match port {
        None => None,
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            let port = port.parse().ok().filter(|port| *port > 0);
            Some(port.ok_or(BadUrl::Port)?)
        }
        Some(_) => return Err(BadUrl::Port),
    };
    Ok((host, port))
}

fn credentials(text: &str) -> Result<String, BadUrl> {
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    let both = percent_decoded(user).zip(percent_decoded(password));
    let credentials = both.and_then(|(user, password)| basic_credentials(&user, &password));
    credentials.ok_or(BadUrl::User)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_parts() {
        let shown = |text: &str| {
            let url = Url::parse(text)?;
            let Url {
                secure,
                host,
                port,
                authority,
                target,
                credentials,
            } = url;
            let user = credentials.unwrap_or_default();
            Ok::<_, BadUrl>(format!(
                "{secure} {host} {port} {authority} {target} {user}"
            ))
        };
        for (text, parts) in [
            ("ws://h", "false h 80 h / "),
            ("WSS://h", "true h 443 h / "),
            ("ws://h:81?q", "false h 81 h:81 /?q "),
            ("wss://h:443/a/b?c=d", "true h 443 h /a/b?c=d "),
            ("ws://[::1]", "false ::1 80 [::1] / "),
            ("ws://[::1]:9/x", "false ::1 9 [::1]:9 /x "),
            ("ws://u:p@h/", "false h 80 h / Basic dTpw"),
            (
                "ws://u%40x:a%3Ab%20@h/",
                "false h 80 h / Basic dUB4OmE6YiA=",
            ),
            ("ws://u@h", "false h 80 h / Basic dTo="),
        ] {
            assert_eq!(shown(text).as_deref(), Ok(parts), "{text}");
        }
        for (text, bad) in [
            ("http://h", BadUrl::Scheme),
            ("h", BadUrl::Scheme),
            ("ws:h", BadUrl::Scheme),
            ("ws://", BadUrl::Host),
            ("ws:///x", BadUrl::Host),
            ("ws://[::1", BadUrl::Host),
            ("ws://[::1]x", BadUrl::Host),
            ("ws://[h]", BadUrl::Host),
            ("ws://a b", BadUrl::Host),
            ("ws://müller.de", BadUrl::Host),
            ("ws://h:0", BadUrl::Port),
            ("ws://h:", BadUrl::Port),
            ("ws://h:65536", BadUrl::Port),
            ("ws://h:+1", BadUrl::Port),
            ("ws://h/a b", BadUrl::Target),
            ("ws://h/ä", BadUrl::Target),
            ("ws://h/#x", BadUrl::Fragment),
            ("ws://%ff@h", BadUrl::User),
            ("ws://a%3Ab@h", BadUrl::User),
            ("ws://a%0a@h", BadUrl::User),
            ("ws://a%+1@h", BadUrl::User),
        ] {
            assert_eq!(shown(text), Err(bad), "{text}");
        }
        assert_eq!(
            Url::parse(&format!("ws://h/{}", "a".repeat(16_000))),
            Err(BadUrl::Long)
        );
        let proxy = Url::parse_proxy("http://u:p@proxy:3128").expect("good");
        assert_eq!(proxy.host_and_port(), "proxy:3128");
        assert_eq!(Url::parse_proxy("https://proxy"), Err(BadUrl::Scheme));
        assert_eq!(
            Url::parse("ws://u:p@[::1]:80/x").expect("good").text(),
            "ws://[::1]/x"
        );
    }
}

//! What an operator wants of opening handshakes: whose pages may connect, whose word about addresses counts, what every
//! answer carries.

use std::net::{IpAddr, SocketAddr};

use crate::proto::flash_policy::Policy;
use crate::proto::handshake::{Letterhead, Origin, OriginPattern, Refusal, Request, Versions};
use crate::proto::http::{self, Answer, StatusCode};
use crate::proto::{Network, forwarded_for};

/// What holds for the opening handshakes of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpeningRules {
    /// The origins whose pages may connect; the pages of others get 403. Default: every origin.
    pub origins: Option<Vec<OriginPattern>>,
    /// What becomes of the origin `null` while `origins` is set. Default: it gets 403.
    pub null_origin: Admission,
    /// What becomes of a request without an origin, which no browser sends. Default: it may connect.
    pub missing_origin: Admission,
    /// The versions of the protocol. Default: 13 alone.
    pub versions: Versions,
    /// How many proxies append to `X-Forwarded-For`: the client is the address that the outermost of them wrote.
    /// Default: the header is not read.
    pub forwarded_by: Option<usize>,
    /// The proxies whose `X-Forwarded-For` is read. Empty: every peer's. A Unix socket's peer is always one of them.
    pub proxies: Vec<Network>,
    /// The proxies whose connections begin with a PROXY header. A Unix socket's peer is one of them if there are any.
    /// Default: none.
    pub proxy_protocol: Vec<Network>,
    /// The name of the server and the fields that every answer has. Default: the name of the library.
    pub letterhead: Option<Letterhead>,
    /// A path on which GET is answered 200, and 503 while the worker drains. Default: none.
    pub health_path: Option<String>,
    /// The policy that Flash gets which asks for it in place of a request. Default: none.
    pub flash_policy: Option<Policy>,
}

impl Default for OpeningRules {
    fn default() -> Self {
        Self {
            origins: None,
            null_origin: Admission::Refused,
            missing_origin: Admission::Allowed,
            versions: Versions::default(),
            forwarded_by: None,
            proxies: Vec::new(),
            proxy_protocol: Vec::new(),
            letterhead: None,
            health_path: None,
            flash_policy: None,
        }
    }
}

/// Whether somebody may connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It gets 403.
    Refused,
    /// It may connect.
    Allowed,
}

impl OpeningRules {
    /// The refusal of a request whose origin is not allowed.
    pub(super) fn judge_origin(&self, request: &Request<'_>) -> Option<Refusal> {
        let Some(sent) = request.origin() else {
            return (self.missing_origin == Admission::Refused).then_some(forbidden(
                "a request without an Origin header is not served here",
            ));
        };
        let patterns = self.origins.as_ref()?;
        let origin = Origin::parse(sent);
        let is_allowed = match origin {
            Origin::Null => self.null_origin == Admission::Allowed,
            Origin::Tuple { .. } => patterns.iter().any(|pattern| pattern.matches(&origin)),
            Origin::Strange => false,
        };
        (!is_allowed).then_some(forbidden("pages of this origin may not connect here"))
    }

    /// The address of the client, as far as trusted proxies tell it. `peer` is who is connected. A forwarded address has
    /// port 0: the header has none.
    pub(super) fn client(
        &self,
        headers: http::Headers<'_>,
        peer: Option<SocketAddr>,
    ) -> Option<SocketAddr> {
        let is_proxy = |address: IpAddr| {
            self.proxies.is_empty() || self.proxies.iter().any(|proxy| proxy.contains(address))
        };
        match self.forwarded_by {
            Some(count) if peer.is_none_or(|peer| is_proxy(peer.ip())) => {
                let forwarded = forwarded_for(headers.all("X-Forwarded-For"), count);
                forwarded.map(|address| (address, 0).into()).or(peer)
            }
            _ => peer,
        }
    }

    /// Whether somebody else than the peer may be the client, as a proxy is to tell. None: the peer of a Unix socket.
    pub(crate) fn may_be_proxy(&self, peer: Option<SocketAddr>) -> bool {
        let Some(peer) = peer else { return true };
        let names = |proxies: &[Network]| proxies.iter().any(|proxy| proxy.contains(peer.ip()));
        names(&self.proxy_protocol)
            || self.forwarded_by.is_some() && (self.proxies.is_empty() || names(&self.proxies))
    }

    /// The answer to a health check, if the request is one.
    pub(super) fn health(
        &self,
        request: &http::Request<'_>,
        draining: bool,
    ) -> Option<Answer<'static>> {
        let path = self.health_path.as_deref()?;
        if request.path() != path || !matches!(request.method(), "GET" | "HEAD") {
            return None;
        }
        let (status, body) = match draining {
            true => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
            false => (StatusCode::OK, "ok\n"),
        };
        Some(Answer {
            status,
            content_type: "text/plain; charset=utf-8",
            // A cache on the way would answer for a worker that is gone.
            headers: &[("Cache-Control", "no-store")],
            body: body.as_bytes(),
        })
    }
}

const fn forbidden(reason: &'static str) -> Refusal {
    Refusal::new(StatusCode::FORBIDDEN, reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::handshake::{Asked, parse_request_for};
    use crate::proto::http::{Limits, Progress, Resume};

    const REQUEST: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

    fn asked<R>(lines: &str, look: impl FnOnce(&Request<'_>) -> R) -> R {
        let text = format!("{REQUEST}{lines}\r\n");
        let parsed = parse_request_for(
            Versions::Both,
            text.as_bytes(),
            Resume::default(),
            &Limits::default(),
        );
        match parsed {
            Ok(Progress::Complete {
                head: Asked::WebSocket(request),
                ..
            }) => look(&request),
            other => panic!("{lines}: {other:?}"),
        }
    }

    #[test]
    fn an_origin_is_judged_by_the_list_and_its_absence_by_an_option() {
        let rules = OpeningRules {
            origins: Some(vec!["https://*.example.com".parse().expect("a pattern")]),
            ..OpeningRules::default()
        };
        let refused = |rules: &OpeningRules, lines: &str| {
            asked(lines, |request| rules.judge_origin(request).is_some())
        };
        let version = "Sec-WebSocket-Version: 13\r\n";
        for (origin, is_refused) in [
            ("Origin: https://a.example.com\r\n", false),
            ("Origin: https://example.org\r\n", true),
            ("Origin: null\r\n", true),
            ("Origin: nonsense\r\n", true),
            // Only version 8 has this header.
            ("Sec-WebSocket-Origin: https://example.org\r\n", false),
            ("", false),
        ] {
            let lines = format!("{version}{origin}");
            assert_eq!(refused(&rules, &lines), is_refused, "{origin}");
            assert!(!refused(&OpeningRules::default(), &lines), "{origin}");
        }
        let draft = "Sec-WebSocket-Version: 8\r\n";
        for (origin, is_refused) in [
            ("Sec-WebSocket-Origin: https://example.org\r\n", true),
            ("Sec-WebSocket-Origin: https://a.example.com\r\n", false),
            ("Origin: https://example.org\r\n", true),
        ] {
            assert_eq!(refused(&rules, &format!("{draft}{origin}")), is_refused);
        }
        let null = OpeningRules {
            null_origin: Admission::Allowed,
            missing_origin: Admission::Refused,
            ..rules
        };
        assert!(!refused(&null, &format!("{version}Origin: null\r\n")));
        assert!(refused(&null, version));
    }

    #[test]
    fn a_health_check_says_whether_the_worker_drains() {
        let rules = OpeningRules {
            health_path: Some("/health".to_owned()),
            ..OpeningRules::default()
        };
        let status = |line: &str, draining| {
            let text = format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n");
            let parsed = http::parse_request(text.as_bytes(), &Limits::default());
            let Ok(Progress::Complete { head, .. }) = parsed else {
                panic!("not complete");
            };
            rules.health(&head, draining).map(|answer| answer.status.0)
        };
        assert_eq!(status("GET /health", false), Some(200));
        assert_eq!(status("HEAD /health?from=lb", false), Some(200));
        assert_eq!(status("GET /health", true), Some(503));
        assert_eq!(status("GET /healthy", true), None);
        assert_eq!(status("POST /health", false), None);
    }

    #[test]
    fn a_forwarded_address_counts_when_a_proxy_says_it() {
        let peer: SocketAddr = "10.0.0.1:5000".parse().expect("an address");
        let client = |rules: &OpeningRules, peer, lines: &str| {
            let lines = format!("Sec-WebSocket-Version: 13\r\n{lines}");
            asked(&lines, |request| rules.client(request.headers(), peer))
                .map(|address| address.to_string())
        };
        let lines = "X-Forwarded-For: 203.0.113.7, 198.51.100.2\r\n";
        let none = OpeningRules::default();
        assert_eq!(
            client(&none, Some(peer), lines).as_deref(),
            Some("10.0.0.1:5000")
        );
        let two = OpeningRules {
            forwarded_by: Some(2),
            proxies: vec!["10.0.0.0/8".parse().expect("a network")],
            ..none
        };
        assert_eq!(
            client(&two, Some(peer), lines).as_deref(),
            Some("203.0.113.7:0")
        );
        assert_eq!(client(&two, None, lines).as_deref(), Some("203.0.113.7:0"));
        assert_eq!(
            client(&two, Some(peer), "").as_deref(),
            Some("10.0.0.1:5000")
        );
        let stranger: SocketAddr = "192.0.2.9:1".parse().expect("an address");
        assert_eq!(
            client(&two, Some(stranger), lines).as_deref(),
            Some("192.0.2.9:1")
        );
    }
}

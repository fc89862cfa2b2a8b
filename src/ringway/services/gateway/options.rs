//! What an operator can say about the sessions of a gateway.
//!
//! Owns: the values and their defaults. Never: opens what they name.

use std::path::PathBuf;
use std::time::Duration;

use super::place::Place;

/// Which sessions there may be, where they lead to, and what is written about them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionOptions {
    /// Where tokens are looked up: at most one. Default: clients bring none.
    pub token_file: Option<PathBuf>,
    /// A directory with a file for each token.
    pub token_names: Option<PathBuf>,
    /// A directory with a socket for each token.
    pub token_sockets: Option<PathBuf>,
    /// An address with `%s` for the token.
    pub token_url: Option<String>,
    /// Keys of signed tokens that name their target.
    pub token_jwt: Vec<PathBuf>,
    /// A Redis server.
    pub token_redis: Option<String>,
    /// What stands before a token in the server's keys, with a colon. Default: nothing.
    pub token_namespace: Option<String>,
    /// Where a request has its token. Default: `?token=`.
    pub token_from: TokenFrom,
    /// Targets by host and path.
    pub routes: Vec<Route>,
    /// Time to find out a target, password check included. Default 3 s.
    pub lookup_timeout: Duration,
    /// Users with hashed passwords: a file, or one `user:hash`.
    pub basic_auth: Option<String>,
    /// Names (CN) of the client certificates that may have sessions. Default: all.
    pub client_names: Vec<String>,
    /// Sessions of one target, in each worker. Default: any number.
    pub sessions_per_target_max: Option<u32>,
    /// Where a line about each session is written to: a file, `-` (stderr), or `syslog:` with a socket or an address.
    pub access_log: Option<String>,
    /// How.
    pub access_log_format: LogFormat,
    /// Where sessions are recorded: a directory, or the beginning of files' names.
    pub record: Option<PathBuf>,
    /// How.
    pub record_format: RecordFormat,
    /// Whether marks for what passes are printed. Default: no.
    pub traffic: bool,
    /// Whether the gateway stops when its first session has ended. Default: no.
    pub run_once: bool,
    /// When the gateway stops, however it is used. Default: never.
    pub stop_after: Option<Duration>,
    /// How long without a session it goes on. Default: for ever.
    pub stop_when_idle: Option<Duration>,
}

impl SessionOptions {
    /// How many places there are where tokens are looked up: more than one are too many.
    pub fn sources(&self) -> usize {
        let given = [
            self.token_file.is_some(),
            self.token_names.is_some(),
            self.token_sockets.is_some(),
            self.token_url.is_some(),
            !self.token_jwt.is_empty(),
            self.token_redis.is_some(),
        ];
        given.into_iter().filter(|is_given| *is_given).count()
    }

    /// Whether there are tokens or routes.
    pub fn leads(&self) -> bool {
        self.sources() > 0 || !self.routes.is_empty()
    }
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            token_file: None,
            token_names: None,
            token_sockets: None,
            token_url: None,
            token_jwt: Vec::new(),
            token_redis: None,
            token_namespace: None,
            token_from: TokenFrom::default(),
            routes: Vec::new(),
            lookup_timeout: Duration::from_secs(3),
            basic_auth: None,
            client_names: Vec::new(),
            sessions_per_target_max: None,
            access_log: None,
            access_log_format: LogFormat::Text,
            record: None,
            record_format: RecordFormat::Websockify,
            traffic: false,
            run_once: false,
            stop_after: None,
            stop_when_idle: None,
        }
    }
}

/// Where a request has its token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenFrom {
    /// In the query, under this name, percent-encoded.
    Query(String),
    /// The first segment of the path, percent-encoded.
    Path,
    /// `Host`, without its port.
    Host,
    /// The header of this name.
    Header(String),
    /// The cookie of this name.
    Cookie(String),
}

impl Default for TokenFrom {
    fn default() -> Self {
        Self::Query("token".to_owned())
    }
}

/// Requests to a host, or below a path, lead to a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The host, in lower case and without a port. Empty: any.
    pub host: String,
    /// The path. Everything below it belongs to it. Empty: any.
    pub path: String,
    /// The target.
    pub place: Place,
}

impl Route {
    /// Reads `/path=target`, `host=target` or `host/path=target`.
    pub fn parse(text: &str) -> Option<Self> {
        let (from, target) = text.split_once('=')?;
        let (host, path) = match from.find('/') {
            Some(at) => from.split_at(at),
            None => (from, ""),
        };
        let is_clean = |text: &str| {
            text.bytes().all(|byte| byte.is_ascii_graphic()) && !text.contains([',', '?', '#'])
        };
        if from.is_empty() || !is_clean(from) {
            return None;
        }
        Some(Self {
            host: host.to_ascii_lowercase(),
            path: path.to_owned(),
            place: Place::parse(target)?,
        })
    }

    /// The most exact of these routes for a request: one with its host before one for any, then the one with the longest path.
    pub fn find<'r>(routes: &'r [Self], host: &str, path: &str) -> Option<&'r Self> {
        let host = without_port(host).to_ascii_lowercase();
        let matching = routes.iter().filter(|route| route.matches(&host, path));
        matching.max_by_key(|route| (!route.host.is_empty(), route.path.len()))
    }

    fn matches(&self, host: &str, path: &str) -> bool {
        let below = path.strip_prefix(&self.path);
        let is_below = below.is_some_and(|rest| {
            rest.is_empty()
                || self.path.is_empty()
                || self.path.ends_with('/')
                || rest.starts_with('/')
        });
        is_below && (self.host.is_empty() || self.host == host)
    }
}

impl std::fmt::Display for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}={}", self.host, self.path, self.place)
    }
}

/// `Host` without its port.
pub fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => name,
        _ => host,
    }
}

/// How a line of the access log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people: `name=value` behind the time and the client.
    Text,
    /// An object of JSON.
    Json,
}

/// How a session is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordFormat {
    /// As websockify does it: lines of JavaScript.
    Websockify,
    /// Compact, with times in microseconds (`docs/gateway.md`).
    Ringway,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_read_as_they_are_shown() {
        for text in [
            "/vnc=127.0.0.1:5900",
            "host.example/ssh=unix:/run/s",
            "host=[::1]:1",
            "/a/=h:1",
        ] {
            assert_eq!(Route::parse(text).expect("a route").to_string(), text);
        }
        for text in ["", "=h:1", "/a", "/a=", "/a b=h:1", "/a?b=h:1"] {
            assert_eq!(Route::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_host_counts_before_the_longest_path() {
        let routes = [
            "/=h:1",
            "/vnc=h:2",
            "/vnc/a=h:3",
            "one.example=h:4",
            "one.example/vnc=h:5",
            "/dir/=h:6",
        ];
        let routes: Vec<_> = routes
            .iter()
            .filter_map(|text| Route::parse(text))
            .collect();
        let port = |host, path| match &Route::find(&routes, host, path).expect("a route").place {
            Place::Tcp { port, .. } => *port,
            Place::Unix(_) => unreachable!("none is"),
        };
        assert_eq!(port("x", "/"), 1);
        assert_eq!(port("x:80", "/vncs"), 1);
        assert_eq!(port("x", "/vnc"), 2);
        assert_eq!(port("x", "/vnc/"), 2);
        assert_eq!(port("x", "/vnc/a/b"), 3);
        assert_eq!(port("One.Example:6080", "/a"), 4);
        assert_eq!(port("one.example", "/vnc/a"), 5);
        assert_eq!((port("x", "/dir/a"), port("x", "/dir")), (6, 1));
        assert_eq!(Route::find(&routes[1..2], "x", "/a"), None);
        assert_eq!(
            (
                without_port("[::1]:80"),
                without_port("[::1]"),
                without_port("a:1")
            ),
            ("[::1]", "[::1]", "a")
        );
    }
}

//! The standalone form, `wsperf URI THREADS CONNS LOW HIGH RESULT.json`: its arguments, and the file it writes.
//!
//! Owns: both, as plain values. Never: opens a connection or a file.
//!
//! New opening handshakes are begun until HIGH are in progress, and again once only LOW are. Each WebSocket is closed as
//! soon as it is open, and a failed connect is not retried. This is the scenario
//! [`Handshake`](crate::load::options::Scenario) with a count. Its threads share nothing, so each gets its part of the
//! marks and connections. The file is one JSON object:
//!
//! | field | what |
//! |---|---|
//! | `total_duration` | µs on the monotonic clock |
//! | `started`, `ended` | ns since 1970-01-01 UTC, to the millisecond |
//! | `handshake_throttle_count` | how often HIGH was reached and more was to do |
//! | `handshake_resume_count` | how often it went on at LOW |
//! | `connection_stats[]` | one object for each connection, thread by thread in the order in which they were over |
//! | … `tcp_pre_init` | µs from the start to TCP connected |
//! | … `tcp_post_init` | µs from there until the opening handshake could begin: 0 without TLS and proxy |
//! | … `open` | µs from there to the WebSocket open, or to the failure |
//! | … `close` | µs from there until it was closed |
//! | … `failed` | whether the opening handshake failed |

use serde::{Deserialize, Serialize};

use super::uri::Uri;
use crate::load::run::HandshakeRecord;

/// How the form is typed.
pub const USAGE: &str = "wsperf URI THREADS CONNS LOW HIGH RESULT.json, \
                         for example: wsperf ws://127.0.0.1:9000 4 200000 1000 2000 result.json";

/// Most connections of one run: the record of each is kept.
pub const CONNECTIONS_MAX: usize = 10_000_000;

/// Most driver threads.
pub const THREADS_MAX: usize = 1024;

/// The arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standalone {
    /// The server under test.
    pub uri: Uri,
    /// Driver threads. 0 means one: the loop cannot use the calling thread.
    pub threads: usize,
    /// Connections of all threads.
    pub connections: usize,
    /// Begins new handshakes once fewer than this many are in progress.
    pub low: usize,
    /// Most handshakes in progress.
    pub high: usize,
    /// The file to write.
    pub result: std::path::PathBuf,
}

/// Parses the six arguments.
///
/// # Errors
/// A sentence that says what is wrong.
pub fn parse(words: &[&str]) -> Result<Standalone, String> {
    let &[uri, threads, connections, low, high, result] = words else {
        return Err(format!(
            "there are {} arguments instead of 6: {USAGE}",
            words.len()
        ));
    };
    let number = |name: &str, text: &str, min: usize, max: usize| {
        let number = text.bytes().all(|b| b.is_ascii_digit());
        let number = number.then(|| text.parse().ok()).flatten();
        number
            .filter(|n| (min..=max).contains(n))
            .ok_or_else(|| format!("{name} is {text}, and must be a number from {min} to {max}"))
    };
    let parsed = Standalone {
        uri: Uri::parse(uri).map_err(|why| format!("URI {uri}: {why}"))?,
        threads: number("THREADS", threads, 0, THREADS_MAX)?,
        connections: number("CONNS", connections, 1, CONNECTIONS_MAX)?,
        low: number("LOW", low, 1, CONNECTIONS_MAX)?,
        high: number("HIGH", high, 1, CONNECTIONS_MAX)?,
        result: result.into(),
    };
    if parsed.low > parsed.high {
        return Err(format!("LOW is {low}, above HIGH, which is {high}"));
    }
    if result.is_empty() {
        return Err("RESULT.json is empty: it names the file to write".to_owned());
    }
    Ok(parsed)
}

/// The result file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ResultFile {
    /// In microseconds.
    pub total_duration: u64,
    /// In ns since 1970-01-01 UTC. The first original programs wrote none, later ones µs.
    #[serde(default)]
    pub started: u64,
    /// The same for the end of the run.
    #[serde(default)]
    pub ended: u64,
    /// How often the high mark was reached.
    #[serde(default)]
    pub handshake_throttle_count: u64,
    /// How often handshakes were begun again at the low mark.
    #[serde(default)]
    pub handshake_resume_count: u64,
    /// The connections.
    pub connection_stats: Vec<ConnectionStats>,
}

/// One connection: the duration of each step in µs. The original programs could write negative ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionStats {
    /// From the start to TCP connected.
    pub tcp_pre_init: i64,
    /// From there to the beginning of the opening handshake.
    pub tcp_post_init: i64,
    /// From there to the open WebSocket, or to the failure.
    pub open: i64,
    /// From there to the closed connection.
    pub close: i64,
    /// The opening handshake failed.
    pub failed: bool,
}

impl From<&HandshakeRecord> for ConnectionStats {
    fn from(record: &HandshakeRecord) -> Self {
        let micros = |ns: u64| i64::try_from(ns / 1000).expect("2^64 ns are 2^55 µs");
        Self {
            tcp_pre_init: micros(record.tcp_ns),
            tcp_post_init: 0,
            open: micros(record.open_ns.saturating_sub(record.tcp_ns)),
            close: micros(record.close_ns),
            failed: record.failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &str) -> Result<Standalone, String> {
        parse(&words.split(' ').collect::<Vec<_>>())
    }

    #[test]
    fn six_words_are_the_form() {
        let expected = Standalone {
            uri: Uri::parse("ws://127.0.0.1:9000").expect("a URI"),
            threads: 4,
            connections: 200_000,
            low: 1000,
            high: 2000,
            result: "result.json".into(),
        };
        assert_eq!(
            parsed("ws://127.0.0.1:9000 4 200000 1000 2000 result.json"),
            Ok(expected)
        );
        assert!(parsed("ws://h 0 1 1 1 r").is_ok());
    }

    #[test]
    fn what_is_not_the_form_says_why() {
        let cases = [
            (
                "ws://h 1 1 1 1",
                "there are 5 arguments instead of 6: wsperf URI THREADS",
            ),
            (
                "http://h 1 1 1 1 r",
                "URI http://h: it does not begin with ws:// or wss://",
            ),
            (
                "ws://h -1 1 1 1 r",
                "THREADS is -1, and must be a number from 0 to 1024",
            ),
            (
                "ws://h 1 0 1 1 r",
                "CONNS is 0, and must be a number from 1 to 10000000",
            ),
            (
                "ws://h 1 1 0 1 r",
                "LOW is 0, and must be a number from 1 to 10000000",
            ),
            (
                "ws://h 1 1 1 x r",
                "HIGH is x, and must be a number from 1 to 10000000",
            ),
            ("ws://h 1 1 3 2 r", "LOW is 3, above HIGH, which is 2"),
            (
                "ws://h 1 1 1 1 ",
                "RESULT.json is empty: it names the file to write",
            ),
        ];
        for (words, why) in cases {
            let found = parsed(words).expect_err(words);
            assert!(found.starts_with(why), "{words}: {found}");
        }
    }

    fn record(tcp_ns: u64, open_ns: u64, close_ns: u64, failed: bool) -> ConnectionStats {
        ConnectionStats::from(&HandshakeRecord {
            tcp_ns,
            open_ns,
            close_ns,
            failed,
        })
    }

    #[test]
    fn the_file_has_the_originals_fields_in_microseconds() {
        let file = ResultFile {
            total_duration: 12_345,
            started: 1_400_000_000_000_000_001,
            ended: 1_400_000_000_012_345_001,
            handshake_throttle_count: 2,
            handshake_resume_count: 1,
            connection_stats: vec![
                record(20_999, 3_000_000, 5_000_000, false),
                record(20_000, 8_000_000, 0, true),
            ],
        };
        assert_eq!(
            serde_json::to_string(&file).expect("plain numbers"),
            "{\"total_duration\":12345,\"started\":1400000000000000001,\"ended\":1400000000012345001,\
             \"handshake_throttle_count\":2,\"handshake_resume_count\":1,\"connection_stats\":[\
             {\"tcp_pre_init\":20,\"tcp_post_init\":0,\"open\":2979,\"close\":5000,\"failed\":false},\
             {\"tcp_pre_init\":20,\"tcp_post_init\":0,\"open\":7980,\"close\":0,\"failed\":true}]}"
        );
    }
}

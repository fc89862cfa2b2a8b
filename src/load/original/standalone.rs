//! The standalone form, `wsperf URI THREADS CONNS LOW HIGH RESULT.json`: what is typed, and the file that comes of it.
//!
//! Owns: both, as plain values. Never: opens a connection or a file.
//!
//! Opening handshakes in progress rise to HIGH, and when they fall below LOW again up to HIGH; each WebSocket is closed
//! with 1001 as soon as it is open, and nothing is tried twice. The file is one JSON object:
//!
//! | field | what |
//! |---|---|
//! | `total_duration` | µs on the monotonic clock |
//! | `started`, `ended` | ns since 1970-01-01 UTC |
//! | `handshake_throttle_count` | how often HIGH was reached and more was to do |
//! | `handshake_resume_count` | how often it went on at LOW |
//! | `connection_stats[]` | one object for each connection, in the order in which they were over |
//! | … `tcp_pre_init` | µs from the start to TCP connected |
//! | … `tcp_post_init` | µs from there until the opening handshake could begin: 0 without TLS and proxy |
//! | … `open` | µs from there to the WebSocket open, or to the failure |
//! | … `close` | µs from there until it was closed |
//! | … `failed` | whether the opening handshake failed |

use serde::{Deserialize, Serialize};

use super::uri::Uri;

/// How the form is typed.
pub const USAGE: &str = "wsperf URI THREADS CONNS LOW HIGH RESULT.json, \
                         for example: wsperf ws://127.0.0.1:9000 4 200000 1000 2000 result.json";

/// Connections of one run: their records take 40 octets each until the end.
pub const CONNECTIONS_MAX: usize = 10_000_000;

/// Driver threads.
pub const THREADS_MAX: usize = 1024;

/// What the form asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standalone {
    /// The server under test.
    pub uri: Uri,
    /// Driver threads; 0: the calling one.
    pub threads: usize,
    /// Connections in all.
    pub connections: usize,
    /// Go on when fewer opening handshakes than this are in progress.
    pub low: usize,
    /// At most so many in progress.
    pub high: usize,
    /// The file to write.
    pub result: std::path::PathBuf,
}

/// Reads the six words of the form.
///
/// # Errors
/// What is wrong, in a sentence.
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

/// One connection that is over: when each step was reached, in nanoseconds on one clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionRecord {
    /// The connect was begun.
    pub start_ns: u64,
    /// TCP was connected; none: it never was.
    pub tcp_ns: Option<u64>,
    /// The WebSocket was open; none: it never was.
    pub open_ns: Option<u64>,
    /// It was over, whichever way.
    pub end_ns: u64,
}

/// The result file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ResultFile {
    /// In microseconds.
    pub total_duration: u64,
    /// In nanoseconds since 1970-01-01 UTC; the first originals had neither, later ones wrote microseconds.
    #[serde(default)]
    pub started: u64,
    /// The same for the end.
    #[serde(default)]
    pub ended: u64,
    /// How often the high mark was reached.
    #[serde(default)]
    pub handshake_throttle_count: u64,
    /// How often it went on at the low mark.
    #[serde(default)]
    pub handshake_resume_count: u64,
    /// Each connection.
    pub connection_stats: Vec<ConnectionStats>,
}

/// One connection: each step's own time in microseconds. The originals could write negative ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionStats {
    /// To TCP connected.
    pub tcp_pre_init: i64,
    /// From there to the opening handshake.
    pub tcp_post_init: i64,
    /// From there to open, or to the failure.
    pub open: i64,
    /// From there to closed.
    pub close: i64,
    /// The opening handshake failed.
    pub failed: bool,
}

impl From<ConnectionRecord> for ConnectionStats {
    fn from(record: ConnectionRecord) -> Self {
        let micros = |from: u64, to: u64| {
            i64::try_from(to.saturating_sub(from) / 1000).expect("2^64 ns are 2^55 µs")
        };
        let tcp = record.tcp_ns.unwrap_or(record.end_ns);
        let open = record.open_ns.unwrap_or(record.end_ns);
        Self {
            tcp_pre_init: micros(record.start_ns, tcp),
            tcp_post_init: 0,
            open: micros(tcp, open),
            close: micros(open, record.end_ns),
            failed: record.open_ns.is_none(),
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
                "wss://h 1 1 1 1 r",
                "URI wss://h: TLS is not there yet; use ws://",
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

    #[test]
    fn the_file_has_the_originals_fields_in_microseconds() {
        let over = |tcp_ns, open_ns| ConnectionRecord {
            start_ns: 1_000_000,
            tcp_ns,
            open_ns,
            end_ns: 9_000_999,
        };
        let file = ResultFile {
            total_duration: 12_345,
            started: 1_400_000_000_000_000_001,
            ended: 1_400_000_000_012_345_001,
            handshake_throttle_count: 2,
            handshake_resume_count: 1,
            connection_stats: vec![
                over(Some(1_020_000), Some(4_000_000)).into(),
                over(Some(1_020_000), None).into(),
                over(None, None).into(),
            ],
        };
        assert_eq!(
            serde_json::to_string(&file).expect("plain numbers"),
            "{\"total_duration\":12345,\"started\":1400000000000000001,\"ended\":1400000000012345001,\
             \"handshake_throttle_count\":2,\"handshake_resume_count\":1,\"connection_stats\":[\
             {\"tcp_pre_init\":20,\"tcp_post_init\":0,\"open\":2980,\"close\":5000,\"failed\":false},\
             {\"tcp_pre_init\":20,\"tcp_post_init\":0,\"open\":7980,\"close\":0,\"failed\":true},\
             {\"tcp_pre_init\":8000,\"tcp_post_init\":0,\"open\":0,\"close\":0,\"failed\":true}]}"
        );
    }
}

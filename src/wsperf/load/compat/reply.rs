//! The replies of the control server, as JSON text.
//!
//! Owns: their fields, named and ordered as in the original program, and the records that results are made from.
//! Never: measures anything.
//!
//! serde_json writes them. Nothing here parses JSON: commands are plain text.

use std::time::Duration;

use serde::Serialize;

use super::command::{MessageTest, Refusal};
use super::samples::Summary;

/// The name and version that this program sends to servers and to its clients.
pub const VERSION: &str = concat!("ringway wsperf/", env!("CARGO_PKG_VERSION"));

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Reply<'a, T> {
    TestWelcome {
        version: &'a str,
        ident: &'a str,
        num_workers: usize,
    },
    TestStart {
        token: &'a str,
        data: Job,
    },
    TestData {
        token: &'a str,
        data: &'a T,
    },
    TestComplete {
        token: &'a str,
        data: &'a str,
    },
    Error {
        token: &'a str,
        data: &'a str,
        #[serde(skip_serializing_if = "str::is_empty")]
        detail: &'a str,
    },
}

/// A reply without a result.
type Plain<'a> = Reply<'a, ()>;

#[derive(Serialize)]
struct Job {
    worker_id: usize,
}

impl<T: Serialize> Reply<'_, T> {
    fn text(&self) -> String {
        serde_json::to_string(self).expect("keys are strings and nothing here fails to serialize")
    }
}

/// The first message on a control connection.
pub fn welcome(ident: &str, num_workers: usize) -> String {
    Plain::TestWelcome {
        version: VERSION,
        ident,
        num_workers,
    }
    .text()
}

/// A thread has begun the test.
pub fn start(token: &str, worker_id: usize) -> String {
    let data = Job { worker_id };
    Plain::TestStart { token, data }.text()
}

/// The last reply about a test.
pub fn complete(token: &str) -> String {
    Plain::TestComplete { token, data: "" }.text()
}

/// A command that is not carried out.
pub fn refused(refusal: &Refusal) -> String {
    error(&refusal.token, &refusal.data, &refusal.detail)
}

/// An error, with its reason in `detail` if it is known.
pub fn error(token: &str, data: &str, detail: &str) -> String {
    Plain::Error {
        token,
        data,
        detail,
    }
    .text()
}

/// How a `message_test` ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// Every answer came and was right.
    Pass,
    /// An answer was wrong, or the connection ended before the last one.
    Fail,
    /// The last answer did not come in time.
    TimeOut,
}

/// The record of a `message_test`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageOutcome {
    /// How it ended.
    pub ending: Ending,
    /// Times in ns from sending each message to its answer, in order of arrival.
    pub round_trips_ns: Vec<u64>,
    /// From the first send to the end.
    pub total: Duration,
}

#[derive(Serialize)]
struct MessageData {
    result: Ending,
    min: f64,
    max: f64,
    median: f64,
    avg: f64,
    stddev: f64,
    total: f64,
    bytes: u64,
    quantiles: Vec<[f64; 2]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rtts: Option<Vec<f64>>,
}

/// The reply with the result of a `message_test`. The error says why there was no connection.
pub fn message_data(test: &MessageTest, outcome: Result<&MessageOutcome, &str>) -> String {
    let token = &test.token;
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(detail) => {
            let data = &serde_json::json!({ "result": "connection_failed", "detail": detail });
            return Reply::TestData { token, data }.text();
        }
    };
    let mut rtts: Vec<f64> = outcome
        .round_trips_ns
        .iter()
        .map(|ns| micros(*ns))
        .collect();
    rtts.sort_unstable_by(f64::total_cmp);
    let summary = Summary::of_sorted(&rtts, test.quantile_count);
    let data = &MessageData {
        result: outcome.ending,
        min: summary.min,
        max: summary.max,
        median: summary.median,
        avg: summary.avg,
        stddev: summary.stddev,
        total: micros(u64::try_from(outcome.total.as_nanos()).unwrap_or(u64::MAX)),
        bytes: test.size as u64 * rtts.len() as u64,
        quantiles: summary.quantiles,
        rtts: test.rtts.then_some(rtts),
    };
    Reply::TestData { token, data }.text()
}

/// The state of a connection of a `stress_test`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum Status {
    /// The opening handshake is not complete.
    #[default]
    Connecting,
    /// Open.
    Open,
    /// We have sent a Close.
    Closing,
    /// The WebSocket is closed.
    Closed,
    /// The opening handshake did not succeed.
    Failed,
}

/// One connection of a `stress_test`: when it reached each step, in ns since the test began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StressConnection {
    /// Its state.
    pub status: Status,
    /// The connect was begun.
    pub start_ns: Option<u64>,
    /// TCP was connected.
    pub tcp_ns: Option<u64>,
    /// The WebSocket was open.
    pub open_ns: Option<u64>,
    /// The opening handshake failed.
    pub fail_ns: Option<u64>,
    /// Our Close was sent.
    pub close_sent_ns: Option<u64>,
    /// The connection ended.
    pub close_ns: Option<u64>,
    /// For each answered message: when it was sent, and when it was answered.
    pub messages_ns: Vec<[u64; 2]>,
}

/// The record of a `stress_test`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StressOutcome {
    /// Connections open at the end.
    pub current: u64,
    /// Most connections open at the same time.
    pub max: u64,
    /// Connections that opened.
    pub total: u64,
    /// Connections that failed to open.
    pub failed: u64,
    /// The connections, in the order in which they were begun.
    pub connections: Vec<StressConnection>,
}

#[derive(Serialize)]
struct StressData {
    current_connections: u64,
    max_connections: u64,
    total_connections: u64,
    failed_connections: u64,
    connection_data: Vec<ConnectionData>,
}

#[derive(Serialize)]
struct ConnectionData {
    id: usize,
    status: Status,
    start: f64,
    tcp: f64,
    open: f64,
    fail: f64,
    close_sent: f64,
    close: f64,
    messages: Vec<[f64; 2]>,
}

/// The reply with the result of a `stress_test`. A step that was not reached is 0, as in the original program.
pub fn stress_data(token: &str, outcome: &StressOutcome) -> String {
    let since = |ns: Option<u64>| ns.map_or(0.0, micros);
    let connections = outcome.connections.iter().enumerate();
    let data = &StressData {
        current_connections: outcome.current,
        max_connections: outcome.max,
        total_connections: outcome.total,
        failed_connections: outcome.failed,
        connection_data: connections
            .map(|(id, connection)| ConnectionData {
                id,
                status: connection.status,
                start: since(connection.start_ns),
                tcp: since(connection.tcp_ns),
                open: since(connection.open_ns),
                fail: since(connection.fail_ns),
                close_sent: since(connection.close_sent_ns),
                close: since(connection.close_ns),
                messages: connection
                    .messages_ns
                    .iter()
                    .map(|times| times.map(micros))
                    .collect(),
            })
            .collect(),
    };
    Reply::TestData { token, data }.text()
}

#[expect(clippy::cast_precision_loss, reason = "a test lasts less than 2^53 ns")]
fn micros(ns: u64) -> f64 {
    ns as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::compat::command::{self, Test};

    fn message_test(rtts: bool) -> MessageTest {
        let text = format!(
            "message_test:uri=ws://h;token=t;size=20;count=3;timeout=0;binary=true;sync=true;correctness=exact;\
             quantile_count=2;rtts={rtts};"
        );
        match command::parse(&text) {
            Ok(Test::Message(test)) => test,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn short_replies_are_as_the_original_wrote_them() {
        assert_eq!(
            welcome("here", 2),
            r#"{"type":"test_welcome","version":"ringway wsperf/0.1.0","ident":"here","num_workers":2}"#
        );
        assert_eq!(
            start("foo", 1),
            r#"{"type":"test_start","token":"foo","data":{"worker_id":1}}"#
        );
        assert_eq!(
            complete("foo"),
            r#"{"type":"test_complete","token":"foo","data":""}"#
        );
        assert_eq!(
            error("", "Invalid Command", ""),
            r#"{"type":"error","token":"","data":"Invalid Command"}"#
        );
    }

    #[test]
    fn a_token_with_quotes_is_escaped() {
        assert_eq!(
            complete("a\"b\\</script>"),
            r#"{"type":"test_complete","token":"a\"b\\</script>","data":""}"#
        );
        let refusal = command::parse("message_test:token=\";size=1;").expect_err("no uri");
        assert_eq!(
            refused(&refusal),
            r#"{"type":"error","token":"\"","data":"Invalid uri parameter.","detail":"it is required"}"#
        );
    }

    #[test]
    fn a_message_test_has_its_figures_in_microseconds() {
        let outcome = MessageOutcome {
            ending: Ending::Pass,
            round_trips_ns: vec![3000, 1000, 2500],
            total: Duration::from_nanos(7250),
        };
        // avg 6.5/3, stddev of 1, 2.5, 3 = sqrt(13/12); quantiles up to the ranks 2 and 3.
        let expected = "{\"type\":\"test_data\",\"token\":\"t\",\"data\":{\"result\":\"pass\",\"min\":1.0,\"max\":3.0,\
                        \"median\":2.5,\"avg\":2.1666666666666665,\"stddev\":1.0408329997330663,\"total\":7.25,\
                        \"bytes\":60,\"quantiles\":[[1.75,2.5],[3.0,3.0]]";
        let short = message_data(&message_test(false), Ok(&outcome));
        assert_eq!(short, format!("{expected}}}}}"));
        let long = message_data(&message_test(true), Ok(&outcome));
        assert_eq!(long, format!("{expected},\"rtts\":[1.0,2.5,3.0]}}}}"));
    }

    #[test]
    fn a_message_test_without_a_connection_or_without_an_answer_says_so() {
        assert_eq!(
            message_data(&message_test(true), Err("connect: refused")),
            r#"{"type":"test_data","token":"t","data":{"detail":"connect: refused","result":"connection_failed"}}"#
        );
        let outcome = MessageOutcome {
            ending: Ending::TimeOut,
            round_trips_ns: vec![],
            total: Duration::from_millis(10),
        };
        assert_eq!(
            message_data(&message_test(false), Ok(&outcome)),
            "{\"type\":\"test_data\",\"token\":\"t\",\"data\":{\"result\":\"time_out\",\"min\":0.0,\"max\":0.0,\
             \"median\":0.0,\"avg\":0.0,\"stddev\":0.0,\"total\":10000.0,\"bytes\":0,\
             \"quantiles\":[[0.0,0.0],[0.0,0.0]]}}"
        );
    }

    #[test]
    fn a_stress_test_has_every_step_of_every_connection() {
        let outcome = StressOutcome {
            current: 0,
            max: 1,
            total: 1,
            failed: 1,
            connections: vec![
                StressConnection {
                    status: Status::Closed,
                    start_ns: Some(0),
                    tcp_ns: Some(50_500),
                    open_ns: Some(110_000),
                    fail_ns: None,
                    close_sent_ns: Some(150_000),
                    close_ns: Some(190_000),
                    messages_ns: vec![[111_000, 149_000]],
                },
                StressConnection {
                    status: Status::Failed,
                    start_ns: Some(10_000_000),
                    fail_ns: Some(10_020_000),
                    ..StressConnection::default()
                },
            ],
        };
        assert_eq!(
            stress_data("s", &outcome),
            "{\"type\":\"test_data\",\"token\":\"s\",\"data\":{\"current_connections\":0,\"max_connections\":1,\
             \"total_connections\":1,\"failed_connections\":1,\"connection_data\":[\
             {\"id\":0,\"status\":\"Closed\",\"start\":0.0,\"tcp\":50.5,\"open\":110.0,\"fail\":0.0,\
             \"close_sent\":150.0,\"close\":190.0,\"messages\":[[111.0,149.0]]},\
             {\"id\":1,\"status\":\"Failed\",\"start\":10000.0,\"tcp\":0.0,\"open\":0.0,\"fail\":10020.0,\
             \"close_sent\":0.0,\"close\":0.0,\"messages\":[]}]}}"
        );
    }
}

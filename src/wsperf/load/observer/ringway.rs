//! The statistics of a Ringway server itself: turns of its event loops, and how evenly its workers share the load.
//!
//! Owns: asking the supervisor's page, checking that the answer is Ringway's, and the differences over the window.
//! Never: waits longer than [`PATIENCE`] for an answer.
//!
//! Each worker sends its counters to its supervisor at least once per second, so the page shows records of the past. It
//! names the age of each record, and the worker's clock when the record was made. A difference is taken between two
//! records made under steady load, over the time between them by the worker's own clock:
//!
//! ```text
//!        warm-up      │            measured window            │
//!   ─────┬────────────┼────┬───────────┬───────────┬──────────┼───  records
//!        └ the first: asked for at     …           └ the last: asked for at the end
//!          the beginning, not older than the warm-up; else a later one
//! ```

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::window::SATURATED;
use crate::load::options::Scenario;
use crate::load::outcome::{Process, Server, WorkerShare};
use crate::proto::http::{self, Progress, StatusCode};
use crate::time::{self, Instant};

/// Path of the statistics page.
pub(super) const PATH: &str = "/stats.json";

/// Limit for an answer. The supervisor answers from memory on the same machine, but may have to wait for a CPU. Chosen,
/// untested.
const PATIENCE: Duration = Duration::from_secs(1);

/// Most bytes of an answer: about 2 KiB per worker for at most 1024 workers, and room to spare.
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// Most listeners of the server that are asked whether they serve the page.
const CANDIDATES_MAX: usize = 8;

/// The statistics page of one server, and its answers at both ends of the window.
#[derive(Debug)]
pub(super) struct Page {
    address: SocketAddr,
    version: String,
    first: Option<Vec<Worker>>,
    last: Result<Vec<Worker>, String>,
}

/// An answer of the page. Unused fields are ignored.
#[derive(Debug, Deserialize)]
struct Answer {
    event: String,
    server: About,
    workers: Vec<Worker>,
}

#[derive(Debug, Deserialize)]
struct About {
    event: String,
    version: String,
}

#[derive(Clone, Debug, Deserialize)]
struct Worker {
    worker: u64,
    pid: Option<i32>,
    clients: u64,
    /// None until the worker has sent its first record.
    record: Option<Record>,
    total: Totals,
    /// When the answer came, by the clock of this process.
    #[serde(skip)]
    asked: Instant,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Record {
    clock_ns: u64,
    #[serde(rename = "age_s", deserialize_with = "seconds")]
    age: Duration,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Totals {
    handshakes: u64,
    messages_out: u64,
    turns: u64,
    cpu_ns: u64,
}

impl Page {
    /// The page at `address`. The error says why there is none.
    pub(super) fn open(address: SocketAddr) -> Result<Self, String> {
        let answer = ask(address)?;
        Ok(Self {
            address,
            version: answer.server.version,
            first: None,
            last: Err("the window has not ended".to_owned()),
        })
    }

    /// The first of `candidates` that serves the page.
    pub(super) fn look_for(candidates: &[SocketAddr]) -> Option<Self> {
        let candidates = candidates.iter().take(CANDIDATES_MAX);
        candidates
            .copied()
            .find_map(|address| Self::open(address).ok())
    }

    /// Asks for the first figures, unless it has them: a record of every worker, made when the load was already steady,
    /// which is after `began` less `warmup`.
    pub(super) fn handle_begin(&mut self, began: Instant, warmup: Duration) {
        let is_steady = |worker: &Worker| {
            let record = worker.record;
            record.is_some_and(|record| record.age <= worker.asked.since(began) + warmup)
        };
        if self.first.is_none()
            && let Ok(answer) = ask(self.address)
            && answer.workers.iter().all(is_steady)
        {
            self.first = Some(answer.workers);
        }
    }

    /// Asks for the last figures.
    pub(super) fn handle_end(&mut self) {
        self.last = ask(self.address).map(|answer| answer.workers);
    }

    /// Adds what the server says about itself in a window of `wall`. The error is a sentence for the notes.
    pub(super) fn finish(
        self,
        scenario: &Scenario,
        wall: Duration,
        server: &mut Server,
    ) -> Result<(), String> {
        let page = format!("http://{}{PATH}", self.address);
        server.version = Some(format!("Ringway {}", self.version));
        let last = self
            .last
            .map_err(|why| format!("{page} did not answer at the end of the window: {why}"))?;
        let shares: Option<Vec<Share>> = self.first.and_then(|first| {
            let pairs = first.iter().zip(&last);
            (first.len() == last.len())
                .then(|| pairs.map(|(first, last)| share(first, last)).collect())?
        });
        let shares = shares.ok_or_else(|| {
            format!(
                "{page} had no two records of each worker in the window: it was too short (workers write one per second), \
                 or a worker was replaced"
            )
        })?;
        let sum = |of: fn(&Share) -> f64| shares.iter().map(of).sum::<f64>();
        let per_second = match scenario {
            Scenario::Handshake { .. } | Scenario::Massconnect { .. } => {
                sum(|share| share.handshakes)
            }
            // Echoes, or deliveries of a broadcast: what the server sends is what is measured.
            _ => sum(|share| share.messages_out),
        };
        if per_second > 0.0 {
            server.enters_per_message = Some(sum(|share| share.turns) / per_second);
        }
        let rows = shares.iter().zip(&last).map(|(share, worker)| WorkerShare {
            index: worker.worker,
            clients: worker.clients,
            messages: whole(share.messages_out * wall.as_secs_f64()),
            utilisation: share.cpu_s,
            saturated: is_saturated(worker, share, &server.processes),
        });
        server.workers = rows.collect();
        server.statistics = Some(format!("{page} (Ringway {})", self.version));
        Ok(())
    }
}

/// Whether a worker had no time to spare: from the kernel's accounting of its process, or from its own record where the
/// process is not known.
fn is_saturated(worker: &Worker, share: &Share, processes: &[Process]) -> bool {
    let known = processes.iter().find(|row| Some(row.pid) == worker.pid);
    known.map_or(share.cpu_s >= SATURATED, |row| row.saturated)
}

/// The work of one worker, per second.
#[derive(Debug)]
struct Share {
    handshakes: f64,
    messages_out: f64,
    turns: f64,
    cpu_s: f64,
}

/// None if both are the same record.
fn share(first: &Worker, last: &Worker) -> Option<Share> {
    let (before, after) = (first.record?, last.record?);
    let span = if first.pid == last.pid {
        Duration::from_nanos(after.clock_ns.checked_sub(before.clock_ns)?)
    } else {
        // The worker was replaced, and its successor's clock began at zero: takes the driver's clock instead.
        (last.asked.since(first.asked) + before.age).saturating_sub(after.age)
    };
    let seconds = span.as_secs_f64();
    let rate = |count: fn(&Totals) -> u64| {
        let delta = count(&last.total).saturating_sub(count(&first.total));
        #[expect(clippy::cast_precision_loss, reason = "a rate is shown rounded")]
        let delta = delta as f64;
        delta / seconds
    };
    (seconds > 0.0).then(|| Share {
        handshakes: rate(|total| total.handshakes),
        messages_out: rate(|total| total.messages_out),
        turns: rate(|total| total.turns),
        cpu_s: rate(|total| total.cpu_ns) / 1e9,
    })
}

/// Parses seconds given as a number.
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    Duration::try_from_secs_f64(f64::deserialize(deserializer)?).map_err(D::Error::custom)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count of messages, never negative and far below 2^53"
)]
fn whole(count: f64) -> u64 {
    count.round() as u64
}

/// Asks once. The error says what is wrong with the answer.
fn ask(address: SocketAddr) -> Result<Answer, String> {
    let response = get(address).map_err(|error| error.to_string())?;
    let mut answer = parse(&response, address)?;
    let now = time::now();
    answer
        .workers
        .iter_mut()
        .for_each(|worker| worker.asked = now);
    Ok(answer)
}

/// Sends a GET and returns all bytes up to the server's close.
fn get(address: SocketAddr) -> io::Result<Vec<u8>> {
    let deadline = time::now() + PATIENCE;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(
        format!("GET {PATH} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes(),
    )?;
    let mut response = Vec::new();
    let mut piece = [0; 16 * 1024];
    while response.len() <= ANSWER_BYTES_MAX {
        let left = deadline.since(time::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut piece)? {
            0 => return Ok(response),
            len => response.extend_from_slice(piece.get(..len).unwrap_or_default()),
        }
    }
    Err(io::ErrorKind::FileTooLarge.into())
}

/// Parses the statistics in a response.
fn parse(response: &[u8], address: SocketAddr) -> Result<Answer, String> {
    let foreign =
        |why: &dyn std::fmt::Display| format!("{address} is no page of a Ringway server: {why}");
    let mut response = response.to_vec();
    let progress = http::parse_response(&mut response, &http::Limits::default());
    let (status, head_bytes) = match progress.map_err(|fault| foreign(&fault))? {
        Progress::Complete { head, head_bytes } => (head.status(), head_bytes),
        Progress::Incomplete { .. } => return Err(foreign(&"the answer ends in its head")),
    };
    if status != StatusCode::OK {
        return Err(foreign(&format_args!("it answers {}", status.0)));
    }
    let body = response.get(head_bytes..).unwrap_or_default();
    let answer: Answer = serde_json::from_slice(body).map_err(|error| foreign(&error))?;
    if answer.event != "stats" || answer.server.event != "listening" {
        return Err(foreign(&"its objects have other names"));
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use serde_json::json;

    use super::*;

    /// A page with one worker, whose figures are multiples of `n`.
    fn body(n: u64, age_s: f64, pid: i32) -> String {
        let total = json!({ "handshakes": n, "messages_in": n, "messages_out": 100 * n, "turns": 25 * n, "cpu_ns": 500_000_000 * n, "drops": 3 });
        let record = json!({ "clock_ns": 1_000_000_000 * n, "age_s": age_s });
        let worker = json!({ "worker": 0, "pid": pid, "clients": 7, "record": record, "total": total, "state": "ready" });
        let server = json!({ "event": "listening", "version": "1.2.3" });
        json!({ "event": "stats", "server": server, "workers": [worker] }).to_string()
    }

    fn response(body: &str) -> Vec<u8> {
        format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    }

    /// A server that gives these answers, one per connection.
    fn page(answers: Vec<Vec<u8>>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("port 0 is free");
        let address = listener.local_addr().expect("bound");
        std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().expect("asked");
                let mut request = Vec::new();
                let mut byte = [0];
                while !request.ends_with(b"\r\n\r\n") {
                    stream.read_exact(&mut byte).expect("a request");
                    request.extend_from_slice(&byte);
                }
                assert!(request.starts_with(b"GET /stats.json HTTP/1.1\r\n"));
                stream.write_all(&answer).expect("the other side reads");
            }
        });
        address
    }

    fn finish(page: Page) -> Result<Server, String> {
        let mut server = Server::default();
        page.finish(&Scenario::Echo, Duration::from_secs(10), &mut server)?;
        Ok(server)
    }

    #[test]
    fn differences_are_by_the_clock_of_the_worker() {
        let answers = [(1, 0.5), (2, 0.9), (5, 0.1)];
        let address = page(answers.map(|(n, age)| response(&body(n, age, 9))).to_vec());
        let mut page = Page::open(address).expect("it is one");
        page.handle_begin(time::now(), Duration::from_secs(1));
        page.handle_end();
        let server = finish(page).expect("two records");
        assert_eq!(server.enters_per_message, Some(0.25));
        let share = WorkerShare {
            index: 0,
            clients: 7,
            messages: 1000,
            utilisation: 0.5,
            saturated: false,
        };
        assert_eq!(server.workers, [share]);
        assert_eq!(
            server.statistics,
            Some(format!("http://{address}/stats.json (Ringway 1.2.3)"))
        );
        assert_eq!(server.version.as_deref(), Some("Ringway 1.2.3"));
    }

    #[test]
    fn figures_from_before_the_warm_up_are_not_taken() {
        let answers = [(1, 0.5), (2, 0.9), (3, 0.1)];
        let mut page = Page::open(page(
            answers.map(|(n, age)| response(&body(n, age, 9))).to_vec(),
        ))
        .expect("it is one");
        let began = time::now();
        page.handle_begin(began, Duration::from_millis(100));
        assert!(page.first.is_none(), "0.9 s old, and the load is 0.1 s old");
        page.handle_begin(began, Duration::from_millis(100));
        assert_eq!(
            page.first.as_ref().map(|first| first[0].total.messages_out),
            Some(300)
        );
    }

    #[test]
    fn one_record_has_no_difference() {
        let answers = [(1, 0.5), (2, 0.1), (2, 0.9)];
        let mut page = Page::open(page(
            answers.map(|(n, age)| response(&body(n, age, 9))).to_vec(),
        ))
        .expect("it is one");
        page.handle_begin(time::now(), Duration::from_secs(1));
        page.handle_end();
        let why = finish(page).expect_err("the same record twice");
        assert!(why.contains("it was too short"), "{why}");
    }

    #[test]
    fn a_successor_is_compared_by_when_its_record_came() {
        // The page was asked at that second; its record was 1 s old.
        let worker = |pid, clock_ns, asked: u64| Worker {
            worker: 0,
            pid: Some(pid),
            clients: 0,
            record: Some(Record {
                clock_ns,
                age: Duration::from_secs(1),
            }),
            total: Totals {
                handshakes: 0,
                messages_out: asked,
                turns: 0,
                cpu_ns: 0,
            },
            asked: Instant::from_nanos(asked * 1_000_000_000),
        };
        let rate = |first, last| share(&first, &last).map(|share| share.messages_out);
        assert_eq!(rate(worker(8, 900, 4), worker(9, 100, 8)), Some(1.0));
        assert_eq!(rate(worker(8, 900, 4), worker(8, 900, 4)), None);
    }

    #[test]
    fn what_is_not_ringways_is_refused() {
        let address: SocketAddr = "127.0.0.1:1".parse().expect("an address");
        let refused = |bytes: &[u8]| parse(bytes, address).expect_err("foreign");
        assert!(refused(b"HTTP/1.1 404 Not Found\r\n\r\n{}").ends_with("it answers 404"));
        assert!(refused(b"-ERR unknown command\r\n").contains("is no page of a Ringway server"));
        assert!(refused(b"HTTP/1.1 200 OK\r\nx: ").ends_with("the answer ends in its head"));
        assert!(refused(&response("{\"event\":\"stats\"}")).contains("missing field"));
        let other = body(1, 0.0, 9).replace("\"stats\"", "\"state\"");
        assert!(refused(&response(&other)).ends_with("its objects have other names"));
        assert!(parse(&response(&body(1, 0.0, 9)), address).is_ok());
    }
}

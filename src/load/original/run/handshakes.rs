//! The standalone form: opening handshakes between two water marks, each WebSocket closed as soon as it is open.
//!
//! The marks and the connections are divided among the threads, which share nothing: the original's threads shared one
//! mutex. With fewer connections or a lower high mark than threads, so many threads run as that.

use std::time::{Duration, SystemTime};

use super::super::standalone::{ConnectionRecord, ConnectionStats, ResultFile, Standalone};
use super::{Destination, HANDSHAKE_TIMEOUT, PATIENCE, Task, index, on, seed};
use crate::conn::{App, Closed, Config, Context, Failed, Reach, Worker};
use crate::io::{Error, Io};
use crate::load::options::IoTier;
use crate::proto::{CloseCode, Message};
use crate::time::{self, Instant};

/// Runs the standalone form, on the calling thread when it asks for none.
///
/// # Errors
/// A loop failed, in a sentence.
pub fn handshakes(
    form: &Standalone,
    destination: &Destination,
    tier: IoTier,
) -> Result<ResultFile, String> {
    let (began, started) = (time::now(), unix_ns());
    let threads = form.threads.clamp(1, form.connections.min(form.high));
    let share = |whole: usize, at: usize| whole / threads + usize::from(at < whole % threads);
    let tasks = (0..threads).map(|at| HandshakeTask {
        connections: share(form.connections, at),
        low: share(form.low, at).max(1),
        high: share(form.high, at),
        destination,
    });
    let shares: Vec<Result<Share, String>> = if form.threads == 0 {
        tasks.map(|task| on(tier, task)).collect()
    } else {
        std::thread::scope(|scope| {
            let threads: Vec<_> = tasks
                .map(|task| scope.spawn(move || on(tier, task)))
                .collect();
            let joined = threads.into_iter().map(std::thread::ScopedJoinHandle::join);
            joined
                .map(|joined| joined.unwrap_or_else(|_| Err("a driver thread panicked".to_owned())))
                .collect()
        })
    };
    let total = time::now().since(began);
    let mut file = ResultFile {
        total_duration: u64::try_from(total.as_micros()).unwrap_or(u64::MAX),
        started,
        ended: started + u64::try_from(total.as_nanos()).unwrap_or(u64::MAX),
        ..ResultFile::default()
    };
    for share in shares {
        let share = share?;
        file.handshake_throttle_count += share.throttled;
        file.handshake_resume_count += share.resumed;
        let stats = share.records.into_iter().map(ConnectionStats::from);
        file.connection_stats.extend(stats);
    }
    Ok(file)
}

fn unix_ns() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

struct HandshakeTask<'a> {
    connections: usize,
    low: usize,
    high: usize,
    destination: &'a Destination,
}

/// What one thread found out.
#[derive(Default)]
struct Share {
    records: Vec<ConnectionRecord>,
    throttled: u64,
    resumed: u64,
}

impl Task for HandshakeTask<'_> {
    type Output = Share;

    fn run<I: Io>(self, io: I) -> Result<Self::Output, Error> {
        let config = Config {
            handshake_timeout: HANDSHAKE_TIMEOUT,
            masking_seed: seed(),
            ..Config::default()
        };
        let gate = Gate {
            share: Share {
                records: Vec::with_capacity(self.connections),
                ..Share::default()
            },
            task: self,
            in_progress: 0,
            throttled: false,
        };
        let mut worker = Worker::client(io, gate, config);
        let mut patience = Duration::ZERO;
        while !(worker.app().left() == 0 && worker.connections() == 0) {
            worker.turn(Some(patience))?;
            // Connects that did not even begin make no event that would end a wait.
            patience =
                if worker.app().in_progress < worker.app().task.low && worker.app().left() > 0 {
                    Duration::ZERO
                } else {
                    PATIENCE
                };
        }
        Ok(std::mem::take(&mut worker.app_mut().share))
    }
}

/// The application of one thread's connections; a connection's tag is the index of its record.
struct Gate<'a> {
    task: HandshakeTask<'a>,
    share: Share,
    in_progress: usize,
    /// The high mark was reached, and the low mark was not since.
    throttled: bool,
}

impl Gate<'_> {
    /// Connections that were not begun.
    const fn left(&self) -> usize {
        self.task.connections - self.share.records.len()
    }

    fn record(&mut self, tag: u32) -> &mut ConnectionRecord {
        &mut self.share.records[index(tag)]
    }

    fn begin<I: Io>(&mut self, reach: &mut Reach<'_, I>) {
        let now = time::now().nanos();
        let tag = u32::try_from(self.share.records.len()).expect("there are at most 10 million");
        let Destination { dial, request } = self.task.destination;
        if reach.connect(dial, request, tag).is_ok() {
            self.in_progress += 1;
        }
        self.share.records.push(ConnectionRecord {
            start_ns: now,
            tcp_ns: None,
            open_ns: None,
            end_ns: now,
        });
    }
}

impl App for Gate<'_> {
    fn connected(&mut self, tag: u32, now: Instant) {
        self.record(tag).tcp_ns = Some(now.nanos());
    }

    fn failed(&mut self, failed: Failed) {
        self.in_progress -= 1;
        self.record(failed.tag).end_ns = time::now().nanos();
    }

    fn open(&mut self, context: &mut Context<'_>) {
        self.in_progress -= 1;
        let now = time::now().nanos();
        let record = self.record(context.tag());
        record.open_ns = Some(now);
        record.end_ns = now;
        // The server may have closed already; then there is nothing to close.
        let _ = context.close(CloseCode::GoingAway, "");
    }

    /// Servers may greet; what they say is of no interest here.
    fn message(&mut self, _context: &mut Context<'_>, _message: Message<'_>) {}

    fn turn<I: Io>(&mut self, reach: &mut Reach<'_, I>) {
        if self.in_progress >= self.task.low || self.left() == 0 {
            return;
        }
        if std::mem::take(&mut self.throttled) {
            self.share.resumed += 1;
        }
        // No more tries in a turn than may be in progress, should each of them fail at once.
        for _ in 0..self.task.high {
            if self.in_progress >= self.task.high || self.left() == 0 {
                break;
            }
            self.begin(reach);
        }
        if self.in_progress >= self.task.high && self.left() > 0 {
            self.throttled = true;
            self.share.throttled += 1;
        }
    }

    fn close(&mut self, closed: Closed) {
        self.record(closed.tag).end_ns = time::now().nanos();
    }
}

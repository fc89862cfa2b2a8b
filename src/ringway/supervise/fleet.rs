//! The figures of all workers: records in, periods and totals out. No clock, no I/O.
//!
//! Owns: the arithmetic. Totals never go backwards, because a dead worker's counts stay in its seat. Rates use the
//! intervals that the workers measured, not the supervisor's timer.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;

use super::sidecar;
use crate::options::Application;
use crate::stats::{self, Counters, Rates, Record, turns};
use crate::time::Instant;

/// Samples of the plot: five minutes, one per second.
const HISTORY_LEN: usize = 300;

/// Time without a record after which a worker counts as stuck or stopped: three missing records.
const SILENT_AFTER: Duration = Duration::from_secs(3);

/// The figures, shared by the supervisor's loop and the pages. The pages hold the lock for one answer at most.
pub(super) type Shared = Arc<Mutex<Fleet>>;

pub(super) fn shared(fleet: Fleet) -> Shared {
    Arc::new(Mutex::new(fleet))
}

/// Locks the figures. A panic under the lock does not harm them: they are only numbers.
pub(super) fn locked(fleet: &Shared) -> MutexGuard<'_, Fleet> {
    fleet.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The figures of the running server.
#[derive(Debug)]
pub(super) struct Fleet {
    pub(super) about: About,
    pub(super) seats: Vec<Seat>,
    /// Number of the last closed period; 0 before the first.
    pub(super) period: u64,
    pub(super) period_length: Duration,
    period_began: Instant,
    /// `None`: the server has no backplane.
    pub(super) bridge: Option<sidecar::Figures<stats::bridge::Counters>>,
    /// `None`: the server has no web process.
    pub(super) web: Option<sidecar::Figures<stats::web::Counters>>,
    history: VecDeque<Sample>,
    pub(super) api: ApiCounts,
}

/// What the HTTP API was asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ApiCounts {
    pub(super) requests: u64,
    /// Without the key.
    pub(super) unauthorized: u64,
    /// With the key, and not carried out.
    pub(super) failed: u64,
    /// Records of the bus that were overwritten before it read them: answers may have been among them.
    pub(super) missed: u64,
    /// Messages that it put on the bus; those of a pubsub that got their place.
    pub(super) published: u64,
}

/// Facts that do not change while the server runs.
#[derive(Clone, Debug)]
pub(super) struct About {
    pub(super) address: String,
    pub(super) backlog: u32,
    pub(super) web: Option<String>,
    pub(super) pid: u32,
    pub(super) started: Instant,
    pub(super) started_unix_s: f64,
    pub(super) settings: Vec<(String, String)>,
    /// As in the supervisor's options.
    pub(super) services: Vec<(String, Application)>,
}

/// One point of the plot.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) at: Instant,
    /// One per worker.
    pub(super) workers: Vec<WorkerPoint>,
    pub(super) clients: u64,
    /// Rates of all workers together.
    pub(super) per_s: Rates,
}

/// What the plots show of one worker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct WorkerPoint {
    pub(super) messages_in_per_s: f64,
    pub(super) messages_out_per_s: f64,
    /// Share of one CPU: 1.0 is all of it.
    pub(super) cpu_share: f64,
    pub(super) turn_ns_p99: u64,
}

/// The figures of one seat. One worker after another has the seat.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) state: State,
    pub(super) pid: Option<u32>,
    pub(super) cpu: Option<usize>,
    /// Workers that replaced another one.
    pub(super) restarts: u64,
    /// All workers started on this seat.
    births: u64,
    pub(super) tier: String,
    pub(super) tier_note: String,
    /// When the present worker sent its last record. `None` before the first.
    pub(super) last_record: Option<Heard>,
    /// Counts of all workers of this seat that are gone.
    retired: Counters,
    /// Counts of the present worker, as of its last record.
    current: Counters,
    /// The last record.
    pub(super) live: Gathering,
    /// The last closed period.
    pub(super) closed: Gathering,
    /// The running period.
    open: Gathering,
    /// Turn times since the supervisor started.
    pub(super) turns: Histogram<u64>,
}

/// When a worker made a record, and when the supervisor read it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    /// The instant at which the worker made it, by the worker's clock.
    pub(super) made: Instant,
    /// The instant at which the supervisor read it, by the supervisor's clock.
    pub(super) heard: Instant,
}

/// Where a worker is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Started. No record has come.
    Starting,
    /// The first record has come: the worker accepts.
    Ready,
    /// Alive, but without a record for [`SILENT_AFTER`].
    Silent,
    /// No process. The next start waits for its back-off.
    Waiting,
    /// No process, and none will be started.
    Gone,
}

impl State {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Silent => "silent",
            Self::Waiting => "restarting",
            Self::Gone => "gone",
        }
    }
}

/// Counts and turn times of a measured time.
#[derive(Clone, Debug)]
pub(super) struct Gathering {
    pub(super) delta: Counters,
    ns: u64,
    turns: Histogram<u64>,
}

/// One gathering, or the sum of several, as rates and shares.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Figures {
    pub(super) seconds: f64,
    pub(super) delta: Counters,
    /// Share of one CPU: 1.0 is all of it.
    pub(super) cpu_share: f64,
    pub(super) per_s: Rates,
    pub(super) turn_ns_p50: u64,
    pub(super) turn_ns_p99: u64,
    pub(super) turn_ns_max: u64,
}

impl Fleet {
    pub(super) fn new(about: About, cpus: &[Option<usize>]) -> Self {
        let seats = cpus.iter().map(|cpu| Seat::new(*cpu)).collect();
        let period_began = about.started;
        let period_length = Duration::ZERO;
        Self {
            about,
            seats,
            period: 0,
            period_length,
            period_began,
            bridge: None,
            web: None,
            history: VecDeque::new(),
            api: ApiCounts::default(),
        }
    }

    /// Closes the running period and shows it from now on.
    pub(super) fn close_period(&mut self, now: Instant) {
        self.period += 1;
        self.period_length = now.since(self.period_began);
        self.period_began = now;
        for seat in &mut self.seats {
            std::mem::swap(&mut seat.closed, &mut seat.open);
            seat.open.clear();
            // A worker without a record in the period still holds its connections.
            seat.closed.delta = seat.closed.delta.with_gauges_of(&seat.current);
        }
    }

    /// Adds a point to the plot. Returns the workers that have fallen silent, whose last figures are not live any more.
    pub(super) fn sample(&mut self, now: Instant) -> Vec<usize> {
        let is_silent = |seat: &Seat| seat.state == State::Ready && seat.is_overdue(now);
        let silent: Vec<_> = (0..self.seats.len())
            .filter(|index| is_silent(&self.seats[*index]))
            .collect();
        for index in &silent {
            self.seats[*index].state = State::Silent;
            self.seats[*index].live = Gathering::new();
        }
        if self.history.len() == HISTORY_LEN {
            self.history.pop_front();
        }
        let point = |seat: &Seat| {
            let figures = seat.live.figures();
            WorkerPoint {
                messages_in_per_s: figures.per_s.messages_in,
                messages_out_per_s: figures.per_s.messages_out,
                cpu_share: figures.cpu_share,
                turn_ns_p99: figures.turn_ns_p99,
            }
        };
        self.history.push_back(Sample {
            at: now,
            workers: self.seats.iter().map(point).collect(),
            clients: self.total().clients,
            per_s: self.live().per_s,
        });
        silent
    }

    pub(super) fn history(&self) -> impl Iterator<Item = &Sample> {
        self.history.iter()
    }

    /// Totals of all seats.
    pub(super) fn total(&self) -> Counters {
        self.seats
            .iter()
            .fold(Counters::default(), |sum, seat| sum.plus(&seat.total()))
    }

    /// Figures of all seats in the last closed period.
    pub(super) fn closed(&self) -> Figures {
        Figures::sum(self.seats.iter().map(|seat| &seat.closed))
    }

    /// Figures of all seats from their last records.
    pub(super) fn live(&self) -> Figures {
        Figures::sum(self.seats.iter().map(|seat| &seat.live))
    }

    /// The I/O tiers in use and their reasons, in the order of the seats, without repeats.
    pub(super) fn tiers(&self) -> (String, String) {
        let mut tiers: Vec<&str> = Vec::new();
        let mut notes: Vec<&str> = Vec::new();
        for seat in &self.seats {
            if !tiers.contains(&seat.tier.as_str()) {
                tiers.push(&seat.tier);
            }
            if !seat.tier_note.is_empty() && !notes.contains(&seat.tier_note.as_str()) {
                notes.push(&seat.tier_note);
            }
        }
        (tiers.join("+"), notes.join("; "))
    }
}

impl Seat {
    fn new(cpu: Option<usize>) -> Self {
        Self {
            state: State::Starting,
            pid: None,
            cpu,
            restarts: 0,
            births: 0,
            tier: String::new(),
            tier_note: String::new(),
            last_record: None,
            retired: Counters::default(),
            current: Counters::default(),
            live: Gathering::new(),
            closed: Gathering::new(),
            open: Gathering::new(),
            turns: turns::accumulator(),
        }
    }

    /// A worker was started on the seat.
    pub(super) fn handle_birth(&mut self, pid: u32) {
        self.state = State::Starting;
        self.pid = Some(pid);
        self.restarts = self.births;
        self.births += 1;
    }

    /// Adds a record of the worker, which was read at `now`.
    pub(super) fn handle_record(&mut self, now: Instant, record: Record) {
        self.last_record = Some(Heard {
            made: record.at,
            heard: now,
        });
        let delta = record.counters.since(&self.current);
        self.open.add(&delta, record.interval_ns, &record.turns);
        add(&mut self.turns, &record.turns);
        self.current = record.counters;
        self.live = Gathering {
            delta,
            ns: record.interval_ns,
            turns: record.turns,
        };
        self.state = State::Ready;
        self.tier = record.tier;
        self.tier_note = record.tier_note;
    }

    /// The worker is gone. Its counts stay, and its connections count no more.
    pub(super) fn handle_death(&mut self, next: State) {
        self.retired = self.retired.plus(&self.current.without_gauges());
        self.current = Counters::default();
        self.last_record = None;
        self.live = Gathering::new();
        self.state = next;
        self.pid = None;
    }

    fn is_overdue(&self, now: Instant) -> bool {
        let last = self.last_record;
        last.is_some_and(|last| now.since(last.heard) > SILENT_AFTER)
    }

    /// Totals of this seat since the supervisor started.
    pub(super) fn total(&self) -> Counters {
        self.retired.plus(&self.current)
    }
}

impl Gathering {
    fn new() -> Self {
        Self {
            delta: Counters::default(),
            ns: 0,
            turns: turns::accumulator(),
        }
    }

    fn clear(&mut self) {
        self.delta = Counters::default();
        self.ns = 0;
        self.turns.reset();
    }

    fn add(&mut self, delta: &Counters, ns: u64, turns: &Histogram<u64>) {
        self.delta = self.delta.without_gauges().plus(delta);
        self.ns += ns;
        add(&mut self.turns, turns);
    }

    pub(super) fn figures(&self) -> Figures {
        Figures::sum(std::iter::once(self))
    }
}

impl Figures {
    /// Adds counts and rates, and merges turn times.
    fn sum<'a>(gatherings: impl Iterator<Item = &'a Gathering>) -> Self {
        let mut turns = turns::accumulator();
        let mut sum = Self::zero();
        for part in gatherings {
            let seconds = Duration::from_nanos(part.ns).as_secs_f64();
            let delta = &part.delta;
            sum.seconds = sum.seconds.max(seconds);
            sum.delta = sum.delta.plus(delta);
            sum.per_s = sum.per_s.plus(&delta.per_second(seconds));
            add(&mut turns, &part.turns);
        }
        sum.cpu_share = sum.per_s.cpu_ns / 1e9;
        sum.turn_ns_p50 = turns.value_at_quantile(0.5);
        sum.turn_ns_p99 = turns.value_at_quantile(0.99);
        sum.turn_ns_max = turns.max();
        sum
    }

    fn zero() -> Self {
        Self {
            seconds: 0.0,
            delta: Counters::default(),
            cpu_share: 0.0,
            per_s: Rates::default(),
            turn_ns_p50: 0,
            turn_ns_p99: 0,
            turn_ns_max: 0,
        }
    }
}

/// For rates and plots. The 53 bits of an f64 are enough for them.
#[expect(clippy::cast_precision_loss, reason = "shown rounded to a few digits")]
pub(super) fn as_f64(count: u64) -> f64 {
    count as f64
}

fn add(sum: &mut Histogram<u64>, part: &Histogram<u64>) {
    sum.add(part)
        .expect("all turn-time histograms have the same bounds");
}

#[cfg(test)]
#[path = "fleet_tests.rs"]
pub(super) mod tests;

//! The scenario `handshake`: opening and closing handshakes, and no messages between them.
//!
//! New opening handshakes are begun until `high` are in progress, and again once only `low` are: the high and low water
//! marks of the original wsperf.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::meter::{Due, Meter, Window, histogram};
use super::options::CLOSING_MAX;
use super::ramp::{Fate, Ramp};
use super::thread::{Figures, Record, Script};
use crate::proto::{CloseCode, Kind, Message};
use crate::time::Instant;
use crate::worker::{App, Closed, Context, Failure, Handle, Prepared, Scope};

/// Most handshakes that are kept one by one, 32 bytes each.
const RECORDS_MAX: u64 = 10_000_000;

/// The part of one thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) low: usize,
    pub(super) high: usize,
    /// Handshakes to do. None: as many as the window has time for.
    pub(super) count: Option<u64>,
}

/// The handshakes of one thread.
#[derive(Debug)]
pub(super) struct Handshake {
    meter: Meter,
    ramp: Ramp,
    plan: Plan,
    begun: u64,
    /// Connections that are opening or closing.
    alive: usize,
    /// Unused tags.
    free: Vec<u32>,
    opened: Vec<Instant>,
    /// No handshake is begun until only `low` are in progress.
    throttled: bool,
    throttles: u64,
    resumes: u64,
    tcp: Histogram<u64>,
    closing: Histogram<u64>,
    records: Vec<Record>,
    finishing: bool,
}

impl Handshake {
    /// How many tags a thread needs.
    pub(super) const fn tags(plan: &Plan) -> usize {
        plan.high + CLOSING_MAX
    }

    pub(super) fn new(meter: Meter, mut ramp: Ramp, plan: Plan) -> Self {
        ramp.pause_between_attempts();
        let tags = Self::tags(&plan);
        let room = plan.count.unwrap_or(0).min(RECORDS_MAX);
        Self {
            meter,
            ramp,
            plan,
            begun: 0,
            alive: 0,
            free: (0..u32::try_from(tags).unwrap_or(u32::MAX)).rev().collect(),
            opened: vec![Instant::ZERO; tags],
            throttled: false,
            throttles: 0,
            resumes: 0,
            tcp: histogram(),
            closing: histogram(),
            records: Vec::with_capacity(usize::try_from(room).unwrap_or(0)),
            finishing: false,
        }
    }

    /// Whether one more handshake may be begun.
    fn wants_more(&self) -> bool {
        self.plan.count.is_none_or(|count| self.begun < count)
    }

    fn record(&mut self, record: Record) {
        if self.plan.count.is_some() && (self.records.len() as u64) < RECORDS_MAX {
            self.records.push(record);
        }
    }

    fn begin_more(&mut self) {
        let mut in_progress = self.ramp.unsettled();
        if self.throttled {
            if in_progress > self.plan.low {
                return;
            }
            self.throttled = false;
            self.resumes += 1;
        }
        while in_progress < self.plan.high && self.wants_more() {
            let Some(tag) = self.free.pop() else { return };
            self.ramp.add(tag);
            self.begun += 1;
            self.alive += 1;
            in_progress += 1;
        }
        if in_progress >= self.plan.high && self.wants_more() {
            self.throttled = true;
            self.throttles += 1;
        }
    }

    fn is_counted_out(&self) -> bool {
        !self.wants_more() && self.alive == 0
    }

    fn give_back(&mut self, tag: u32) {
        self.alive -= 1;
        self.free.push(tag);
    }

    fn fail(&mut self, tag: u32, now: Instant) {
        let open_ns = now.nanos().saturating_sub(self.ramp.began(tag).nanos());
        self.record(Record {
            tcp_ns: nanos(self.ramp.connect_time(tag)),
            open_ns,
            close_ns: 0,
            failed: true,
        });
        self.give_back(tag);
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl App for Handshake {
    type Session = ();

    fn connected(&mut self, scope: &mut Scope<'_>, (): &mut ()) {
        let (tag, now) = (scope.tag(), scope.now());
        self.ramp.note_connected(tag, now);
    }

    fn failed(&mut self, scope: &mut Scope<'_>, (): (), failed: Failure) {
        if self.finishing {
            return self.ramp.settle();
        }
        let now = crate::time::now();
        if self.ramp.note_failed(&mut self.meter, scope, &failed, now) == Fate::Failed {
            self.fail(scope.tag(), now);
        }
    }

    fn open(&mut self, context: &mut Context<'_>, (): &mut ()) {
        let (tag, now) = (context.tag(), context.now());
        self.opened[tag as usize] = now;
        self.meter.note_open();
        self.meter.latency(now, self.ramp.began(tag), Due::Whenever);
        self.tcp
            .saturating_record(nanos(self.ramp.connect_time(tag)).max(1));
        self.ramp.note_open(tag);
        // The connection is open, so a Close is allowed.
        let _ = context.close(CloseCode::NormalClosure, "");
    }

    fn message(&mut self, _context: &mut Context<'_>, (): &mut (), _message: Message<'_>) {
        self.meter.fault(
            |errors| errors.content += 1,
            || "a message arrived that nobody asked for".to_owned(),
        );
    }

    fn close(&mut self, scope: &mut Scope<'_>, (): (), closed: Closed<'_>) {
        self.meter.connections -= 1;
        if self.finishing {
            return;
        }
        let (tag, now) = (scope.tag(), crate::time::now());
        let opened = self.opened[tag as usize];
        if closed.clean {
            self.meter.message(now, 0);
        } else {
            self.meter.fault(
                |errors| errors.close += 1,
                || "a closing handshake was not completed".to_owned(),
            );
        }
        let close_ns = nanos(now.since(opened));
        self.closing.saturating_record(close_ns.max(1));
        self.record(Record {
            tcp_ns: nanos(self.ramp.connect_time(tag)),
            open_ns: nanos(opened.since(self.ramp.began(tag))),
            close_ns,
            failed: false,
        });
        self.give_back(tag);
    }

    fn turn(&mut self, reach: &mut Handle<'_>) {
        let now = reach.clock();
        self.meter.pass(now);
        if self.finishing {
            return;
        }
        if self.meter.is_running(now) {
            self.begin_more();
        } else {
            // The window is over: connections that wait because the server is away are not begun any more.
            for tag in self.ramp.stop() {
                self.begun -= 1;
                self.give_back(tag);
            }
        }
        for (tag, errno) in self.ramp.step(reach) {
            self.ramp.count_refusal(&mut self.meter, errno);
            self.fail(tag, now);
        }
    }
}

impl Script for Handshake {
    fn messages(&self) -> Vec<(Kind, &[u8])> {
        Vec::new()
    }

    fn set_prepared(&mut self, _prepared: Prepared) {}

    fn is_ready(&self) -> bool {
        true
    }

    fn set_go(&mut self, _window: Window) {}

    fn due(&self) -> Option<Instant> {
        let window = self.meter.window().filter(|_| self.begun == 0);
        let first = window.map(|window| window.go);
        first.into_iter().chain(self.ramp.due()).min()
    }

    fn is_done(&self) -> bool {
        self.alive == 0
    }

    fn is_complete(&self) -> bool {
        self.is_counted_out() || self.ramp.is_hopeless()
    }

    fn finish(&mut self, _in_time: bool) {
        self.finishing = true;
        self.ramp.stop();
    }

    fn meter(&mut self) -> &mut Meter {
        &mut self.meter
    }

    fn figures(&mut self) -> Figures {
        let mut figures = Figures {
            handshakes: std::mem::take(&mut self.records),
            ..Figures::default()
        };
        figures.add("handshakes_begun", self.begun);
        figures.add("throttles", self.throttles);
        figures.add("resumes", self.resumes);
        figures.times.insert("tcp_connect", self.tcp.clone());
        figures.times.insert("close", self.closing.clone());
        figures
    }
}

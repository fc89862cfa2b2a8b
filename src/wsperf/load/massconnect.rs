//! The scenario `massconnect`: many connections that send nothing. They are opened in batches and then held. A connect
//! that fails is retried.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::meter::{Due, Meter, Window, histogram};
use super::ramp::{Fate, Ramp};
use super::thread::{Figures, Script};
use crate::io::ConnId;
use crate::proto::{Kind, Message};
use crate::time::Instant;
use crate::worker::{App, Closed, Context, Failure, Handle, Prepared, Scope};

/// Attempts for one connection before it is given up.
const TRIES_MAX: u8 = 20;

/// Shortest time without a new connection after which the server counts as full, however soon connects are retried.
const QUIET_MIN: Duration = Duration::from_secs(1);

/// Most Pings sent in one turn.
const PINGS_PER_TURN: usize = 1024;

/// How a thread opens its connections.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) batch: usize,
    pub(super) batch_delay: Duration,
    pub(super) retry_delay: Duration,
    pub(super) ping_interval: Option<Duration>,
    /// Limit of each connect and of each opening handshake.
    pub(super) timeout: Duration,
}

/// The connections of one thread.
#[derive(Debug)]
pub(super) struct Massconnect {
    meter: Meter,
    ramp: Ramp,
    plan: Plan,
    /// Open connections by tag.
    ids: Vec<Option<ConnId>>,
    tries: Vec<u8>,
    /// The first tag that was not begun yet.
    next: usize,
    next_batch: Instant,
    began: Option<Instant>,
    reached: Option<Instant>,
    retries: u64,
    lost: u64,
    given_up: u64,
    /// Those of `given_up` that were given up because the server is full.
    given_up_full: u64,
    /// When a connection was last opened, or when the first was begun.
    progressed: Instant,
    /// The connection that gets the next Ping, and when.
    next_ping: (usize, Instant),
    pings: u64,
    pongs: u64,
    /// When the unanswered Ping of each connection was sent. A Pong with another time in its payload is ignored.
    pinged: Vec<Option<Instant>>,
    pong_times: Histogram<u64>,
    opening: Histogram<u64>,
    finishing: bool,
}

impl Massconnect {
    pub(super) fn new(meter: Meter, ramp: Ramp, plan: Plan, count: usize) -> Self {
        Self {
            meter,
            ramp,
            plan,
            ids: vec![None; count],
            tries: vec![0; count],
            next: 0,
            next_batch: Instant::ZERO,
            began: None,
            reached: None,
            retries: 0,
            lost: 0,
            given_up: 0,
            given_up_full: 0,
            progressed: Instant::ZERO,
            next_ping: (0, Instant::ZERO),
            pings: 0,
            pongs: 0,
            pinged: vec![None; count],
            pong_times: histogram(),
            opening: histogram(),
            finishing: false,
        }
    }

    fn begin_batches(&mut self, now: Instant) {
        if self.next >= self.ids.len() || now < self.next_batch {
            return;
        }
        let end = (self.next + self.plan.batch).min(self.ids.len());
        let tag = |at| u32::try_from(at).unwrap_or(u32::MAX);
        (self.next..end).for_each(|at| self.ramp.add(tag(at)));
        self.next = end;
        self.next_batch = now + self.plan.batch_delay;
    }

    /// Retries the connection later, or gives it up.
    fn retry(&mut self, tag: u32, now: Instant) {
        let tries = &mut self.tries[tag as usize];
        *tries += 1;
        if *tries < TRIES_MAX {
            self.retries += 1;
            self.ramp.add_later(tag, now + self.plan.retry_delay);
        } else {
            self.given_up += 1;
        }
    }

    /// Notes that a connection did not open. If none has opened for as long as all attempts of one connection take, the
    /// server is full. Then all others are given up too: trying them would cost the same time per batch and show nothing
    /// new.
    fn note_failed(&mut self, tag: u32, patience: Duration, now: Instant) {
        if now.since(self.progressed) < patience {
            return self.retry(tag, now);
        }
        let begun = self.ramp.stop().len() + 1;
        let rest = self.ids.len() - std::mem::replace(&mut self.next, self.ids.len());
        let more = (begun + rest) as u64;
        self.given_up += more;
        self.given_up_full += more;
    }

    fn note_reached(&mut self, now: Instant) {
        if self.reached.is_none() && self.meter.connections + self.given_up == self.ids.len() as u64
        {
            self.reached = Some(now);
        }
    }

    /// Pings the connections whose turn it is. Each gets one Ping per interval, and the Pings are spread evenly over it.
    fn ping_some(&mut self, reach: &mut Handle<'_>) {
        let Some(interval) = self.plan.ping_interval else {
            return;
        };
        let now = reach.now();
        let gap = interval / u32::try_from(self.ids.len().max(1)).unwrap_or(u32::MAX);
        let (mut at, mut due) = self.next_ping;
        if due == Instant::ZERO {
            due = now;
        }
        for _ in 0..PINGS_PER_TURN {
            if due > now {
                break;
            }
            // A connection that has not answered its last Ping gets no other.
            if self.pinged[at].is_none()
                && let Some(mut context) = self.ids[at].and_then(|id| reach.context(id))
                && context.ping(&now.nanos().to_be_bytes()).is_ok()
            {
                self.pinged[at] = Some(now);
                self.pings += 1;
            }
            at = (at + 1) % self.ids.len();
            due = due + gap.max(Duration::from_nanos(1));
        }
        self.next_ping = (at, due);
    }
}

impl App for Massconnect {
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
        if self.ramp.note_failed(&mut self.meter, scope, &failed, now) == Fate::MovedOn {
            return;
        }
        if failed != Failure::Timeout {
            let patience = self.plan.retry_delay * u32::from(TRIES_MAX);
            self.note_failed(scope.tag(), patience.max(QUIET_MIN), now);
        } else if now.since(self.progressed) < self.plan.timeout {
            // Given up: the connection has used all of its attempts, and others would only lengthen the run.
            self.given_up += 1;
        } else {
            self.note_failed(scope.tag(), self.plan.timeout, now);
        }
        self.note_reached(now);
    }

    fn open(&mut self, context: &mut Context<'_>, (): &mut ()) {
        let (tag, now) = (context.tag(), context.now());
        self.ramp.note_open(tag);
        self.meter.note_open();
        self.progressed = now;
        self.ids[tag as usize] = Some(context.id());
        let took = now.since(self.ramp.began(tag)).as_nanos();
        self.opening
            .saturating_record(u64::try_from(took).unwrap_or(u64::MAX).max(1));
        self.note_reached(now);
    }

    fn message(&mut self, _context: &mut Context<'_>, (): &mut (), _message: Message<'_>) {
        self.meter.fault(
            |errors| errors.content += 1,
            || "a message arrived that nobody asked for".to_owned(),
        );
    }

    fn pong(&mut self, context: &mut Context<'_>, (): &mut (), payload: &[u8]) {
        let pinged = &mut self.pinged[context.tag() as usize];
        let Some(sent) = *pinged else { return };
        if payload != sent.nanos().to_be_bytes() {
            return;
        }
        *pinged = None;
        let now = context.now();
        self.pongs += 1;
        self.meter.complete(now, sent, payload.len(), Due::Whenever);
        let took = now.nanos().saturating_sub(sent.nanos());
        self.pong_times.saturating_record(took.max(1));
    }

    fn close(&mut self, scope: &mut Scope<'_>, (): (), closed: Closed<'_>) {
        self.meter.connections -= 1;
        self.ids[scope.tag() as usize] = None;
        if self.finishing {
            self.meter.left(&closed);
        } else {
            self.lost += 1;
            self.meter.lost(&closed);
        }
    }

    fn turn(&mut self, reach: &mut Handle<'_>) {
        let now = reach.clock();
        if self.began.is_none() {
            self.began = Some(now);
            self.progressed = now;
        }
        self.meter.pass(now);
        if self.finishing {
            return;
        }
        self.begin_batches(now);
        for (tag, errno) in self.ramp.step(reach) {
            self.ramp.count_refusal(&mut self.meter, errno);
            self.retry(tag, now);
        }
        if self.meter.is_running(now) {
            self.ping_some(reach);
        }
    }
}

impl Script for Massconnect {
    fn messages(&self) -> Vec<(Kind, &[u8])> {
        Vec::new()
    }

    fn set_prepared(&mut self, _prepared: Prepared) {}

    fn is_ready(&self) -> bool {
        self.next >= self.ids.len() && self.ramp.is_settled()
    }

    fn set_go(&mut self, _window: Window) {}

    fn due(&self) -> Option<Instant> {
        let batch = (self.next < self.ids.len()).then_some(self.next_batch);
        let window = self.meter.window();
        let pings = self.plan.ping_interval.and(window);
        let ping = pings.map(|window| window.go.max(self.next_ping.1));
        let ping = ping.filter(|due| pings.is_some_and(|window| *due < window.end));
        [batch, ping, self.ramp.due()].into_iter().flatten().min()
    }

    fn is_done(&self) -> bool {
        self.pongs >= self.pings
    }

    fn finish(&mut self, in_time: bool) {
        self.finishing = true;
        if in_time {
            self.meter.errors.missing += self.pings - self.pongs;
        }
        self.ramp.stop();
    }

    fn meter(&mut self) -> &mut Meter {
        &mut self.meter
    }

    fn figures(&mut self) -> Figures {
        let mut figures = Figures::default();
        figures.add("retries", self.retries);
        figures.add("lost", self.lost);
        figures.add("given_up", self.given_up);
        figures.add("given_up_full", self.given_up_full);
        figures.add("pings", self.pings);
        figures.add("pongs", self.pongs);
        figures.times.insert("open", self.opening.clone());
        if let (Some(began), Some(reached)) = (self.began, self.reached) {
            figures.ramp = Some(reached.since(began));
        }
        figures
    }
}

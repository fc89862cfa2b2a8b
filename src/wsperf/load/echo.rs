//! Every message comes back to its sender: the scenarios `echo`, `mixed`, `stress` and `soak`.

use std::collections::VecDeque;
use std::time::Duration;

use super::churn::Churn;
use super::deck::Deck;
use super::meter::{Due, Meter, Window, histogram};
use super::peer::Peer;
use super::ramp::{self, Ramp};
use super::schedule::Schedule;
use super::thread::{Figures, Script};
use crate::conn::{App, Closed, Context, Failure, Handle, Prepared, Scope};
use crate::proto::{Kind, Message};
use crate::time::Instant;
use hdrhistogram::Histogram;

/// Messages sent in one turn by the schedule, so that a thread that was held up gets to its answers in between.
const SCHEDULED_PER_TURN: u64 = 4096;

/// When messages are due.
#[derive(Debug)]
pub(super) enum Pace {
    /// A message for each answer; so many of each connection are under way.
    Closed { in_flight: usize },
    /// By the clock.
    Open(Schedule),
}

/// The connections of one thread.
#[derive(Debug)]
pub(super) struct Echo {
    pub(super) meter: Meter,
    deck: Deck,
    pub(super) ramp: Ramp,
    pace: Pace,
    pub(super) peers: Vec<Peer>,
    /// Connections that take part in sending.
    active: usize,
    churn: Option<Churn>,
    /// Messages that are due and not answered.
    outstanding: u64,
    /// The clock runs and the first messages were sent.
    started: bool,
    /// Messages that were due on a connection that was not open.
    skipped: u64,
    /// Messages without an answer when we closed or reset their connection on purpose.
    abandoned: u64,
    late: Histogram<u64>,
    /// Connections that may have something to send in this turn.
    touched: Vec<u32>,
    /// An empty list whose memory the next turn uses.
    scheduled: Vec<(u64, Instant)>,
    finishing: bool,
}

impl Echo {
    pub(super) fn new(
        meter: Meter,
        deck: Deck,
        mut ramp: Ramp,
        pace: Pace,
        count: usize,
        idle: f64,
        churn: Option<Churn>,
    ) -> Self {
        let tags = u32::try_from(count).unwrap_or(u32::MAX);
        (0..tags).for_each(|tag| ramp.add(tag));
        let capacity = match pace {
            Pace::Closed { in_flight } => in_flight,
            Pace::Open(_) => 0,
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a count of connections"
        )]
        let active = (count as f64 * (1.0 - idle)).ceil() as usize;
        let peer = |at| Peer {
            due: VecDeque::with_capacity(capacity),
            idle: at >= active,
            slow: churn.as_ref().is_some_and(|churn| churn.is_slow(at)),
            ..Peer::default()
        };
        Self {
            meter,
            deck,
            ramp,
            pace,
            peers: (0..count).map(peer).collect(),
            active: active.min(count),
            churn,
            outstanding: 0,
            started: false,
            skipped: 0,
            abandoned: 0,
            late: histogram(),
            touched: Vec::with_capacity(count),
            scheduled: Vec::new(),
            finishing: false,
        }
    }

    /// A message is due on a connection: it leaves with this turn if there is room, else as soon as there is.
    #[inline]
    fn add(&mut self, tag: u32, due: Instant) {
        self.outstanding += 1;
        self.peers[tag as usize].due.push_back(due);
        self.touch(tag);
    }

    /// The connection may have something to send.
    #[inline]
    fn touch(&mut self, tag: u32) {
        let peer = &mut self.peers[tag as usize];
        if !std::mem::replace(&mut peer.touched, true) {
            self.touched.push(tag);
        }
    }

    /// Sends what is due, once per connection and turn.
    fn pump_touched(&mut self, reach: &mut Handle<'_>) {
        let mut touched = std::mem::take(&mut self.touched);
        for tag in touched.drain(..) {
            let peer = &mut self.peers[tag as usize];
            peer.touched = false;
            if let Some(mut context) = peer.id.and_then(|id| reach.context(id)) {
                self.pump(&mut context, tag);
            }
        }
        self.touched = touched;
    }

    /// Sends what is due, as far as the queue takes it; [`App::writable`] goes on.
    fn pump(&mut self, context: &mut Context<'_>, tag: u32) {
        let Some(prepared) = self.deck.prepared() else {
            return;
        };
        let peer = &mut self.peers[tag as usize];
        loop {
            let under_way = peer.sent - peer.received;
            let unsent = peer.due.len() - usize::try_from(under_way).unwrap_or(usize::MAX);
            if unsent == 0 {
                return;
            }
            let run = self.deck.run(tag, peer.sent, unsent);
            let count = run.len() as u64;
            if context.send_prepared_run(prepared, run).is_err() {
                return;
            }
            peer.sent += count;
        }
    }

    /// What the schedule has become due for.
    fn follow_schedule(&mut self, now: Instant) {
        let Pace::Open(schedule) = &mut self.pace else {
            return;
        };
        let mut due = std::mem::take(&mut self.scheduled);
        schedule.take(now, SCHEDULED_PER_TURN, &mut due);
        for (number, at) in due.drain(..) {
            let tag = u32::try_from(number % self.active.max(1) as u64).unwrap_or(0);
            let peer = &self.peers[tag as usize];
            if peer.id.is_none() || peer.leaving {
                self.skipped += 1;
                continue;
            }
            if self.meter.is_measured(at) {
                let late = now.nanos().saturating_sub(at.nanos()).max(1);
                self.late.saturating_record(late);
            }
            self.add(tag, at);
        }
        self.scheduled = due;
    }

    /// The first messages of a closed loop.
    fn begin(&mut self, now: Instant) {
        for tag in 0..u32::try_from(self.peers.len()).unwrap_or(u32::MAX) {
            if self.peers[tag as usize].id.is_some() {
                self.fill(tag, now);
            }
        }
    }

    /// Brings a connection to its number of messages in flight.
    fn fill(&mut self, tag: u32, now: Instant) {
        let Pace::Closed { in_flight } = self.pace else {
            return;
        };
        if !self.peers[tag as usize].idle {
            (0..in_flight).for_each(|_| self.add(tag, now));
        }
    }

    fn surprise(&mut self, what: &str) {
        self.meter
            .fault(|errors| errors.content += 1, || what.to_owned());
    }

    /// A connection is over: its messages will not be answered.
    fn lose(&mut self, tag: u32) -> bool {
        let peer = &mut self.peers[tag as usize];
        let (lost, ours) = (peer.due.len() as u64, peer.leaving);
        self.outstanding -= lost;
        peer.reset();
        if ours {
            self.abandoned += lost;
        } else if !self.finishing {
            self.meter.errors.missing += lost;
        }
        ours
    }
}

impl App for Echo {
    type Session = ();

    fn connected(&mut self, scope: &mut Scope<'_>, (): &mut ()) {
        let (tag, now) = (scope.tag(), scope.now());
        self.ramp.note_connected(tag, now);
    }

    fn failed(&mut self, scope: &mut Scope<'_>, (): (), failed: Failure) {
        self.ramp.settle();
        if self.finishing {
            return;
        }
        ramp::count_failure(&mut self.meter, &failed);
        if self.churn.is_some() && self.started {
            self.ramp.add(scope.tag());
        }
    }

    fn open(&mut self, context: &mut Context<'_>, (): &mut ()) {
        self.ramp.settle();
        self.meter.connections += 1;
        let (tag, now) = (context.tag(), context.now());
        self.peers[tag as usize].id = Some(context.id());
        if self.started && self.meter.is_running(now) {
            self.fill(tag, now);
        }
    }

    #[inline]
    fn message(&mut self, context: &mut Context<'_>, (): &mut (), message: Message<'_>) {
        let (tag, now) = (context.tag(), context.now());
        let peer = &mut self.peers[tag as usize];
        if peer.sent == peer.received {
            return self.surprise("a message arrived that was not sent");
        }
        let Some(due) = peer.due.pop_front() else {
            return;
        };
        let index = self.deck.index(tag, peer.received);
        peer.received += 1;
        self.outstanding -= 1;
        let right = self.deck.is(index, &message);
        let peer = &self.peers[tag as usize];
        if !right {
            // No measurement: how fast something wrong came says nothing.
            self.surprise("a message came back with other contents than were sent");
        } else if peer.slow {
            self.meter.message(now, message.len());
            if let Some(churn) = &mut self.churn {
                churn.note_read(tag, message.len());
            }
        } else {
            let kind = match self.pace {
                Pace::Closed { .. } => Due::Whenever,
                Pace::Open(_) => Due::Scheduled,
            };
            self.meter.complete(now, due, message.len(), kind);
        }
        let leaving = self.peers[tag as usize].leaving;
        if matches!(self.pace, Pace::Closed { .. }) && !leaving && self.meter.is_running(now) {
            self.add(tag, now);
        }
    }

    fn writable(&mut self, context: &mut Context<'_>, (): &mut ()) {
        self.touch(context.tag());
    }

    fn close(&mut self, scope: &mut Scope<'_>, (): (), closed: Closed<'_>) {
        self.meter.connections -= 1;
        let ours = self.lose(scope.tag());
        if self.finishing {
            return self.meter.left(&closed);
        }
        if !ours {
            self.meter.lost(&closed);
        }
        if self.churn.is_some() && self.meter.window().is_some() {
            self.ramp.add(scope.tag());
        }
    }

    fn turn(&mut self, reach: &mut Handle<'_>) {
        for (tag, errno) in self.ramp.step(reach) {
            ramp::count_refusal(&mut self.meter, errno);
            if self.churn.is_some() && self.started {
                self.ramp
                    .add_later(tag, reach.now() + Duration::from_millis(100));
            }
        }
        let now = reach.clock();
        self.meter.pass(now);
        if !self.meter.has_begun(now) {
            return;
        }
        if !std::mem::replace(&mut self.started, true) {
            self.begin(now);
        }
        self.follow_schedule(now);
        self.pump_touched(reach);
        if let Some(churn) = &mut self.churn {
            if self.meter.is_running(now) {
                churn.step(&mut self.peers, reach);
            } else {
                churn.stop(&self.peers, reach);
            }
        }
    }
}

impl Script for Echo {
    fn messages(&self) -> Vec<(Kind, &[u8])> {
        self.deck.messages()
    }

    fn set_prepared(&mut self, prepared: Prepared) {
        self.deck.set_prepared(prepared);
    }

    fn is_ready(&self) -> bool {
        self.ramp.is_settled()
    }

    fn set_go(&mut self, window: Window) {
        if let Pace::Open(schedule) = &mut self.pace {
            schedule.start(window.go, window.end);
        }
        if let Some(churn) = &mut self.churn {
            churn.start(window.go);
        }
    }

    fn due(&self) -> Option<Instant> {
        let window = self.meter.window()?;
        let scheduled = match &self.pace {
            Pace::Open(schedule) => schedule.next(),
            Pace::Closed { .. } => None,
        };
        let churn = self.churn.as_ref().and_then(Churn::due);
        let first = (!self.started).then_some(window.go);
        [scheduled, churn, first, self.ramp.due()]
            .into_iter()
            .flatten()
            .min()
    }

    fn is_done(&self) -> bool {
        let scheduled = match &self.pace {
            Pace::Open(schedule) => schedule.next(),
            Pace::Closed { .. } => None,
        };
        self.outstanding == 0 && scheduled.is_none()
    }

    fn finish(&mut self, in_time: bool) {
        self.finishing = true;
        self.ramp.stop();
        if in_time {
            self.meter.errors.missing += self.outstanding;
        }
    }

    fn meter(&mut self) -> &mut Meter {
        &mut self.meter
    }

    fn figures(&mut self) -> Figures {
        let mut figures = Figures::default();
        if matches!(self.pace, Pace::Open(_)) {
            figures.late = Some(self.late.clone());
            if self.skipped > 0 {
                figures.add("skipped_messages", self.skipped);
            }
        }
        if let Some(churn) = &self.churn {
            figures.add("abandoned_messages", self.abandoned);
            churn.tell(&mut figures);
        }
        figures
    }
}

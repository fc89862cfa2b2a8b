//! The scenarios `echo`, `mixed`, `stress` and `soak`: the server sends every message back to its sender.

use std::collections::VecDeque;

use super::churn::Churn;
use super::meter::{Due, Meter, Window, histogram};
use super::payloads::Payloads;
use super::peer::Peer;
use super::ramp::{Fate, Ramp};
use super::schedule::Schedule;
use super::thread::{Figures, Script};
use crate::io::ConnId;
use crate::proto::{Kind, Message};
use crate::time::Instant;
use crate::worker::{App, Closed, Context, Failure, Handle, Prepared, Scope};
use hdrhistogram::Histogram;

/// Most messages sent by the schedule in one turn, so that a late thread also reads answers in between.
const SCHEDULED_PER_TURN: u64 = 4096;

/// When messages are due.
#[derive(Debug)]
pub(super) enum Pace {
    /// A message for each answer; each connection has `in_flight` messages under way.
    Closed { in_flight: usize },
    /// By the clock, whatever the server does.
    Open(Schedule),
}

/// How the connections of one thread send.
#[derive(Debug)]
pub(super) struct Plan {
    /// Whether each connection sends, by tag.
    pub(super) active: Vec<bool>,
    /// Sends each message with a system call of its own.
    pub(super) unbatched: bool,
}

/// The connections of one thread.
#[derive(Debug)]
pub(super) struct Echo {
    pub(super) meter: Meter,
    payloads: Payloads,
    pub(super) ramp: Ramp,
    pace: Pace,
    pub(super) peers: Vec<Peer>,
    /// Tags of the connections that send.
    active: Vec<u32>,
    unbatched: bool,
    churn: Option<Churn>,
    /// Messages that are due and have no answer yet.
    outstanding: u64,
    /// The clock runs, and the first messages were sent.
    started: bool,
    /// Messages that were due on a connection that this driver had closed or reset itself.
    skipped: u64,
    /// Messages without an answer on connections that this driver closed or reset on purpose.
    abandoned: u64,
    late: Histogram<u64>,
    /// Tags of connections that may have something to send in this turn.
    touched: Vec<u32>,
    /// An empty list, kept for its memory.
    scheduled: Vec<(u64, Instant)>,
    finishing: bool,
}

impl Echo {
    pub(super) fn new(
        meter: Meter,
        payloads: Payloads,
        mut ramp: Ramp,
        pace: Pace,
        plan: Plan,
        churn: Option<Churn>,
    ) -> Self {
        let tags = 0..u32::try_from(plan.active.len()).unwrap_or(u32::MAX);
        tags.clone().for_each(|tag| ramp.add(tag));
        let capacity = match pace {
            Pace::Closed { in_flight } => in_flight,
            Pace::Open(_) => 0,
        };
        let peer = |(at, active): (usize, &bool)| Peer {
            due: VecDeque::with_capacity(if *active { capacity } else { 0 }),
            idle: !active,
            slow: churn.as_ref().is_some_and(|churn| churn.is_slow(at)),
            ..Peer::default()
        };
        Self {
            meter,
            payloads,
            ramp,
            pace,
            peers: plan.active.iter().enumerate().map(peer).collect(),
            active: tags.filter(|tag| plan.active[*tag as usize]).collect(),
            unbatched: plan.unbatched,
            churn,
            outstanding: 0,
            started: false,
            skipped: 0,
            abandoned: 0,
            late: histogram(),
            touched: Vec::with_capacity(plan.active.len()),
            scheduled: Vec::new(),
            finishing: false,
        }
    }

    /// Notes that a message is due on a connection. It leaves in this turn if the send queue has room, or else as soon as
    /// it has.
    #[inline]
    fn add(&mut self, tag: u32, due: Instant) {
        self.outstanding += 1;
        self.peers[tag as usize].due.push_back(due);
        self.touch(tag);
    }

    /// Notes that the connection may have something to send.
    #[inline]
    fn touch(&mut self, tag: u32) {
        let peer = &mut self.peers[tag as usize];
        if !std::mem::replace(&mut peer.touched, true) {
            self.touched.push(tag);
        }
    }

    /// Sends what is due, with one send per connection and turn.
    fn pump_touched(&mut self, reach: &mut Handle<'_>) {
        let mut touched = std::mem::take(&mut self.touched);
        for tag in touched.drain(..) {
            let peer = &mut self.peers[tag as usize];
            peer.touched = false;
            let Some(id) = peer.id else { continue };
            if self.unbatched {
                self.pump_apart(reach, id, tag);
            } else if let Some(mut context) = reach.context(id) {
                while self.pump(&mut context, tag, usize::MAX) {}
            }
        }
        self.touched = touched;
    }

    /// Sends what is due on a connection, each message with its own send.
    fn pump_apart(&mut self, reach: &mut Handle<'_>, id: ConnId, tag: u32) {
        while let Some(mut context) = reach.context(id)
            && self.pump(&mut context, tag, 1)
        {
            reach.send_now(id);
        }
    }

    /// Queues due messages that are neighbours in memory, at most `most` of them. Returns false if there is nothing more
    /// to send, or if the queue is full: then [`App::writable`] continues.
    fn pump(&mut self, context: &mut Context<'_>, tag: u32, most: usize) -> bool {
        let Some(prepared) = self.payloads.prepared() else {
            return false;
        };
        let peer = &mut self.peers[tag as usize];
        let under_way = peer.sent - peer.received;
        let unsent = peer.due.len() - usize::try_from(under_way).unwrap_or(usize::MAX);
        if unsent == 0 {
            return false;
        }
        let run = self.payloads.run(tag, peer.sent, unsent.min(most));
        let count = run.len() as u64;
        if context.send_prepared_run(prepared, run).is_err() {
            return false;
        }
        peer.sent += count;
        true
    }

    /// Adds the messages that the schedule makes due by now.
    fn follow_schedule(&mut self, now: Instant) {
        let Pace::Open(schedule) = &mut self.pace else {
            return;
        };
        let mut due = std::mem::take(&mut self.scheduled);
        schedule.take(now, SCHEDULED_PER_TURN, &mut due);
        for (number, at) in due.drain(..) {
            let place = number % self.active.len().max(1) as u64;
            let Some(&tag) = self.active.get(usize::try_from(place).unwrap_or(0)) else {
                continue;
            };
            let peer = &self.peers[tag as usize];
            if peer.leaving || (peer.id.is_none() && peer.ended_by_us) {
                self.skipped += 1;
                continue;
            }
            if peer.id.is_none() {
                // The message was due while the server had this connection closed, so it counts as missing.
                self.meter.miss(at);
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

    /// Sends the first messages of a closed loop.
    fn begin(&mut self, now: Instant) {
        for tag in 0..u32::try_from(self.peers.len()).unwrap_or(u32::MAX) {
            if self.peers[tag as usize].id.is_some() {
                self.fill(tag, now);
            }
        }
    }

    /// Adds messages until the connection has its number in flight.
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

    /// Drops a connection that has ended: its messages will not be answered.
    fn lose(&mut self, tag: u32) -> bool {
        let peer = &mut self.peers[tag as usize];
        let ours = peer.leaving;
        let due = std::mem::take(&mut peer.due);
        self.outstanding -= due.len() as u64;
        peer.reset();
        peer.ended_by_us = ours;
        if ours {
            self.abandoned += due.len() as u64;
        } else if !self.finishing {
            self.give_up(due.iter(), self.peers[tag as usize].slow);
        }
        ours
    }

    /// Counts messages that will not be answered. Two kinds do not enter the latency: those of a closed loop, which have
    /// no due time independent of the server, and those of slow readers, which are late on purpose.
    fn give_up<'d>(&mut self, due: impl ExactSizeIterator<Item = &'d Instant>, slow: bool) {
        match self.pace {
            Pace::Open(_) if !slow => due.for_each(|due| self.meter.miss(*due)),
            _ => self.meter.errors.missing += due.len() as u64,
        }
    }
}

impl App for Echo {
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
        let fate = self.ramp.note_failed(&mut self.meter, scope, &failed, now);
        if fate == Fate::Failed && self.churn.is_some() && self.started {
            self.peers[scope.tag() as usize].ended_by_us = false;
            self.ramp.add(scope.tag());
        }
    }

    fn open(&mut self, context: &mut Context<'_>, (): &mut ()) {
        let (tag, now) = (context.tag(), context.now());
        self.ramp.note_open(tag);
        self.meter.note_open();
        self.peers[tag as usize].id = Some(context.id());
        if self.started && !self.finishing && self.meter.is_running(now) {
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
        let index = self.payloads.index(tag, peer.received);
        peer.received += 1;
        self.outstanding -= 1;
        peer.losses = 0;
        let right = self.payloads.is(index, &message);
        let peer = &self.peers[tag as usize];
        if !right {
            // A wrong answer is not measured: its latency would mean nothing.
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
        let goes_on = !leaving && !self.finishing && self.meter.is_running(now);
        if matches!(self.pace, Pace::Closed { .. }) && goes_on {
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
            let peer = &mut self.peers[scope.tag() as usize];
            if ours {
                self.ramp.add(scope.tag());
            } else {
                peer.losses = peer.losses.saturating_add(1);
                let (losses, now) = (peer.losses, crate::time::now());
                self.ramp.add_again(scope.tag(), losses, now);
            }
        }
    }

    fn turn(&mut self, reach: &mut Handle<'_>) {
        for (tag, errno) in self.ramp.step(reach) {
            self.ramp.count_refusal(&mut self.meter, errno);
            if self.churn.is_some() && self.started {
                self.ramp.add(tag);
            }
        }
        let now = reach.clock();
        self.meter.pass(now);
        if self.finishing || !self.meter.has_begun(now) {
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
        self.payloads.messages()
    }

    fn set_prepared(&mut self, prepared: Prepared) {
        self.payloads.set_prepared(prepared);
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
            self.ramp.pause_between_attempts();
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
            for at in 0..self.peers.len() {
                let Peer { due, slow, .. } = &mut self.peers[at];
                let (due, slow) = (std::mem::take(due), *slow);
                self.give_up(due.iter(), slow);
                self.peers[at].due = due;
            }
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

//! The scenario `broadcast`: the server passes every message on to all connections.

use std::sync::Arc;

use hdrhistogram::Histogram;

use super::fanout::{Arrival, Disorder, Fanout, Sequence, Stamp};
use super::meter::{Due, Meter, Window, histogram};
use super::options::STAMP_BYTES;
use super::ramp::{Fate, Ramp};
use super::schedule::Schedule;
use super::thread::{Figures, Script};
use crate::io::ConnId;
use crate::proto::{Kind, Message};
use crate::time::Instant;
use crate::worker::{App, Closed, Context, Failure, Handle, Prepared, Scope};

/// Most messages sent by the schedule in one turn, so that a late thread also reads answers in between.
const SCHEDULED_PER_TURN: u64 = 1024;

/// When senders send.
#[derive(Debug)]
pub(super) enum Pace {
    /// A sender sends its next message when an earlier one has come back; each has `in_flight` messages under way.
    Closed { in_flight: usize },
    /// By the clock, whatever the server does.
    Open(Schedule),
}

/// The part of one thread in a broadcast.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// Number of the thread's first connection among those of all threads, and how many it has.
    pub(super) first: usize,
    pub(super) count: usize,
    /// How many connections of all threads send: those with the lowest numbers.
    pub(super) senders: usize,
    /// The server sends a message to all but its sender.
    pub(super) others_only: bool,
    /// Sends each message with a system call of its own.
    pub(super) unbatched: bool,
    /// Payload bytes of a message, and its kind.
    pub(super) size: usize,
    pub(super) kind: Kind,
}

/// The connections of one thread.
#[derive(Debug)]
pub(super) struct Broadcast {
    meter: Meter,
    ramp: Ramp,
    pace: Pace,
    fanout: Arc<Fanout>,
    /// The number of this thread's first connection among all.
    first: usize,
    /// How many connections of all threads send: those with the lowest numbers.
    senders: usize,
    others_only: bool,
    unbatched: bool,
    ids: Vec<Option<ConnId>>,
    /// The number of each connection's next message.
    sent: Vec<u32>,
    sent_messages: u64,
    /// What has come to each connection from each sender. Empty when there are more than [`SEQUENCES_MAX`] pairs: then the
    /// order is not checked.
    sequences: Vec<Sequence>,
    disorder: Disorder,
    payload: Vec<u8>,
    kind: Kind,
    started: bool,
    late: Histogram<u64>,
    scheduled: Vec<(u64, Instant)>,
    refused: u64,
    /// Messages that came back to the connection that sent them.
    own: u64,
    /// All messages of this thread were sent.
    sent_all: bool,
    finishing: bool,
}

/// Most pairs of connection and sender whose order is checked: 64 MiB of memory.
const SEQUENCES_MAX: usize = 8 << 20;

impl Broadcast {
    pub(super) fn new(
        meter: Meter,
        mut ramp: Ramp,
        pace: Pace,
        fanout: &Arc<Fanout>,
        plan: Plan,
    ) -> Self {
        let Plan {
            first,
            count,
            senders,
            others_only,
            unbatched,
            size,
            kind,
        } = plan;
        let tags = u32::try_from(count).unwrap_or(u32::MAX);
        (0..tags).for_each(|tag| ramp.add(tag));
        let table = count.saturating_mul(senders);
        Self {
            meter,
            ramp,
            pace,
            fanout: fanout.clone(),
            first,
            senders,
            others_only,
            unbatched,
            ids: vec![None; count],
            sent: vec![0; count],
            sent_messages: 0,
            sequences: vec![Sequence::default(); if table <= SEQUENCES_MAX { table } else { 0 }],
            disorder: Disorder::default(),
            payload: vec![b'.'; size.max(STAMP_BYTES)],
            kind,
            started: false,
            late: histogram(),
            scheduled: Vec::new(),
            refused: 0,
            own: 0,
            sent_all: false,
            finishing: false,
        }
    }

    /// How many of this thread's connections send: those with tags below this number.
    fn own_senders(&self) -> usize {
        self.senders.saturating_sub(self.first).min(self.ids.len())
    }

    fn send(&mut self, context: &mut Context<'_>, due: Instant) {
        let at = context.tag() as usize;
        let stamp = Stamp {
            source: u32::try_from(self.first + at).unwrap_or(u32::MAX),
            number: self.sent[at],
            due,
        };
        stamp.write(&mut self.payload);
        if context.send(self.kind, &self.payload).is_err() {
            self.refused += 1;
            if matches!(self.pace, Pace::Open(_)) {
                self.meter.miss(due);
            }
            return;
        }
        self.sent[at] = self.sent[at].wrapping_add(1);
        self.sent_messages += 1;
        let receivers = self.fanout.open().saturating_sub(self.others_only.into());
        self.fanout.expect(receivers);
    }

    fn follow_schedule(&mut self, reach: &mut Handle<'_>, now: Instant) {
        let senders = self.own_senders();
        let Pace::Open(schedule) = &mut self.pace else {
            return;
        };
        if senders == 0 {
            return;
        }
        let mut due = std::mem::take(&mut self.scheduled);
        schedule.take(now, SCHEDULED_PER_TURN, &mut due);
        for (number, at) in due.drain(..) {
            let place = usize::try_from(number % senders as u64).unwrap_or(0);
            let Some(id) = self.ids[place] else {
                // The message was due, but the server had closed the sender's connection or had never opened it.
                self.meter.miss(at);
                continue;
            };
            let Some(mut context) = reach.context(id) else {
                self.meter.miss(at);
                continue;
            };
            if self.meter.is_measured(at) {
                let late = now.nanos().saturating_sub(at.nanos()).max(1);
                self.late.saturating_record(late);
            }
            self.send(&mut context, at);
            if self.unbatched {
                reach.send_now(id);
            }
        }
        self.scheduled = due;
    }

    fn begin(&mut self, reach: &mut Handle<'_>) {
        let Pace::Closed { in_flight } = self.pace else {
            return;
        };
        for place in 0..self.own_senders() {
            for _ in 0..in_flight {
                let Some(id) = self.ids[place] else { continue };
                let Some(mut context) = reach.context(id) else {
                    continue;
                };
                let now = context.now();
                self.send(&mut context, now);
                if self.unbatched {
                    reach.send_now(id);
                }
            }
        }
    }

    /// Checks the order at one connection. Returns whether the message has not come before.
    fn note_order(&mut self, at: usize, stamp: &Stamp) -> bool {
        let pair = at * self.senders + stamp.source as usize;
        let Some(sequence) = self.sequences.get_mut(pair) else {
            return true;
        };
        let arrival = sequence.note(stamp.number);
        if let Some(fault) = self.disorder.note(arrival) {
            self.meter
                .fault(|errors| errors.content += 1, || fault.to_owned());
        }
        arrival != Arrival::Again
    }

    /// Notes when all messages of this thread were sent.
    fn note_end(&mut self, now: Instant) {
        let goes_on = match &self.pace {
            Pace::Open(schedule) => schedule.next().is_some(),
            Pace::Closed { .. } => self.meter.is_running(now),
        };
        if !goes_on && self.own_senders() > 0 && !std::mem::replace(&mut self.sent_all, true) {
            self.fanout.end_sending();
        }
    }
}

impl App for Broadcast {
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
        match self.ramp.note_failed(&mut self.meter, scope, &failed, now) {
            Fate::MovedOn | Fate::Failed => {}
        }
    }

    fn open(&mut self, context: &mut Context<'_>, (): &mut ()) {
        self.ramp.note_open(context.tag());
        self.meter.note_open();
        self.fanout.note_open();
        self.ids[context.tag() as usize] = Some(context.id());
    }

    fn message(&mut self, context: &mut Context<'_>, (): &mut (), message: Message<'_>) {
        let (at, now) = (context.tag() as usize, context.now());
        let stamp = Stamp::read(message.payload());
        let right = message.kind() == self.kind && message.len() == self.payload.len();
        let Some(stamp) = stamp.filter(|stamp| right && (stamp.source as usize) < self.senders)
        else {
            self.meter.fault(
                |errors| errors.content += 1,
                || "a message arrived that nobody sent".to_owned(),
            );
            return;
        };
        let own = stamp.source as usize == self.first + at;
        self.own += u64::from(own);
        if own && self.others_only {
            self.meter.fault(
                |errors| errors.content += 1,
                || "a message came back to its sender, which --others-only rules out".to_owned(),
            );
            return;
        }
        if !self.note_order(at, &stamp) {
            return;
        }
        self.fanout.deliver();
        let due = match self.pace {
            Pace::Closed { .. } => Due::Whenever,
            Pace::Open(_) => Due::Scheduled,
        };
        self.meter.complete(now, stamp.due, message.len(), due);
        let goes_on = !self.finishing && self.meter.is_running(now);
        if own && matches!(self.pace, Pace::Closed { .. }) && goes_on {
            self.send(context, now);
        }
    }

    fn close(&mut self, scope: &mut Scope<'_>, (): (), closed: Closed<'_>) {
        self.meter.connections -= 1;
        self.fanout.note_close();
        self.ids[scope.tag() as usize] = None;
        if self.finishing {
            self.meter.left(&closed);
        } else {
            self.meter.lost(&closed);
        }
    }

    fn turn(&mut self, reach: &mut Handle<'_>) {
        for (_, errno) in self.ramp.step(reach) {
            self.ramp.count_refusal(&mut self.meter, errno);
        }
        let now = reach.clock();
        self.meter.pass(now);
        if self.finishing || !self.meter.has_begun(now) {
            return;
        }
        if !std::mem::replace(&mut self.started, true) {
            self.begin(reach);
        }
        self.follow_schedule(reach, now);
        self.note_end(now);
    }
}

impl Script for Broadcast {
    fn messages(&self) -> Vec<(Kind, &[u8])> {
        Vec::new()
    }

    fn set_prepared(&mut self, _prepared: Prepared) {}

    fn is_ready(&self) -> bool {
        self.ramp.is_settled()
    }

    fn set_go(&mut self, window: Window) {
        if let Pace::Open(schedule) = &mut self.pace {
            schedule.start(window.go, window.end);
        }
    }

    fn due(&self) -> Option<Instant> {
        let window = self.meter.window()?;
        match &self.pace {
            Pace::Open(schedule) if self.own_senders() > 0 => schedule.next(),
            _ => (!self.started).then_some(window.go),
        }
    }

    fn is_done(&self) -> bool {
        self.fanout.is_complete()
    }

    fn finish(&mut self, _in_time: bool) {
        self.finishing = true;
        self.ramp.stop();
    }

    fn meter(&mut self) -> &mut Meter {
        &mut self.meter
    }

    fn figures(&mut self) -> Figures {
        let mut figures = Figures::default();
        if matches!(self.pace, Pace::Open(_)) {
            figures.late = Some(self.late.clone());
        }
        figures.add("broadcast_sent", self.sent_messages);
        figures.add("broadcast_refused", self.refused);
        figures.add("broadcast_own", self.own);
        let Disorder {
            ahead,
            overtaken,
            duplicates,
        } = self.disorder;
        figures.add("broadcast_out_of_order", ahead + overtaken + duplicates);
        figures.add("broadcast_overtaken", overtaken);
        figures.add("broadcast_duplicates", duplicates);
        figures
    }
}

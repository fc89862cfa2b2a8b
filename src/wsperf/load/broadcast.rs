//! The scenario `broadcast`: the server passes every message on to all connections.
//!
//! A message carries its sender, its number, and the time at which it was due. So every connection can compute the
//! latency (all connections share one clock) and see whether a message is missing:
//!
//! ```text
//!   "rwb1" sender: 8 hex digits, number: 8, nanoseconds: 16, then filler up to the size
//! ```

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hdrhistogram::Histogram;

use super::meter::{Due, Meter, Window, histogram};
use super::options::BROADCAST_BYTES_MIN as STAMP_BYTES;
use super::ramp::{Fate, Ramp};
use super::schedule::Schedule;
use super::thread::{Figures, Script};
use crate::io::ConnId;
use crate::proto::{Kind, Message};
use crate::time::Instant;
use crate::worker::{App, Closed, Context, Failure, Handle, Prepared, Scope};

const MAGIC: &[u8] = b"rwb1";

/// Most messages sent by the schedule in one turn, so that a late thread also reads answers in between.
const SCHEDULED_PER_TURN: u64 = 1024;

/// Counters that all threads share. A message is complete once every connection has received it.
#[derive(Debug, Default)]
pub(super) struct Fanout {
    /// Deliveries that are due: each message counts the connections that were open when it was sent.
    expected: AtomicU64,
    /// Deliveries received.
    delivered: AtomicU64,
    /// Open connections of all threads.
    open: AtomicU64,
}

impl Fanout {
    fn is_complete(&self) -> bool {
        self.delivered.load(Ordering::Relaxed) >= self.expected.load(Ordering::Relaxed)
    }
}

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
    sent: Vec<u32>,
    /// The number of the next message that each connection expects from each sender. Empty when there are more than
    /// [`EXPECTED_MAX`] pairs: then the order is not checked.
    expected: Vec<u32>,
    payload: Vec<u8>,
    kind: Kind,
    started: bool,
    late: Histogram<u64>,
    scheduled: Vec<(u64, Instant)>,
    refused: u64,
    /// Messages that came back to the connection that sent them.
    own: u64,
    out_of_order: u64,
    finishing: bool,
}

/// Most entries of `expected`: 64 MiB of memory.
const EXPECTED_MAX: usize = 16 << 20;

/// The fields of a received message.
struct Stamp {
    sender: u32,
    number: u32,
    due: Instant,
}

impl Stamp {
    fn write(&self, payload: &mut [u8]) {
        let (sender, number, due) = (self.sender, self.number, self.due.nanos());
        let (magic, rest) = payload.split_at_mut(MAGIC.len());
        magic.copy_from_slice(MAGIC);
        write!(
            &mut rest[..STAMP_BYTES - MAGIC.len()],
            "{sender:08x}{number:08x}{due:016x}"
        )
        .expect("the digits are as many as there is room for");
    }

    fn read(payload: &[u8]) -> Option<Self> {
        let digits = payload.strip_prefix(MAGIC)?.get(..32)?;
        let digits = str::from_utf8(digits).ok()?;
        let number = |range| u64::from_str_radix(digits.get(range)?, 16).ok();
        Some(Self {
            sender: u32::try_from(number(0..8)?).ok()?,
            number: u32::try_from(number(8..16)?).ok()?,
            due: Instant::from_nanos(number(16..32)?),
        })
    }
}

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
            expected: vec![0; if table <= EXPECTED_MAX { table } else { 0 }],
            payload: vec![b'.'; size.max(STAMP_BYTES)],
            kind,
            started: false,
            late: histogram(),
            scheduled: Vec::new(),
            refused: 0,
            own: 0,
            out_of_order: 0,
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
            sender: u32::try_from(self.first + at).unwrap_or(u32::MAX),
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
        self.sent[at] += 1;
        let open = self.fanout.open.load(Ordering::Relaxed);
        let expected = open.saturating_sub(self.others_only.into());
        self.fanout.expected.fetch_add(expected, Ordering::Relaxed);
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

    /// Whether the message is the next one that this connection expects from its sender.
    fn note_order(&mut self, at: usize, stamp: &Stamp) {
        let entry = at * self.senders + stamp.sender as usize;
        let Some(expected) = self.expected.get_mut(entry) else {
            return;
        };
        if stamp.number != *expected {
            self.out_of_order += 1;
            self.meter.fault(
                |errors| errors.content += 1,
                || "a broadcast message was lost, doubled or out of order".to_owned(),
            );
        }
        *expected = stamp.number.wrapping_add(1);
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
        self.fanout.open.fetch_add(1, Ordering::Relaxed);
        self.ids[context.tag() as usize] = Some(context.id());
    }

    fn message(&mut self, context: &mut Context<'_>, (): &mut (), message: Message<'_>) {
        let (at, now) = (context.tag() as usize, context.now());
        let stamp = Stamp::read(message.payload());
        let right = message.kind() == self.kind && message.len() == self.payload.len();
        let Some(stamp) = stamp.filter(|stamp| right && (stamp.sender as usize) < self.senders)
        else {
            self.meter.fault(
                |errors| errors.content += 1,
                || "a message arrived that nobody sent".to_owned(),
            );
            return;
        };
        let own = stamp.sender as usize == self.first + at;
        self.own += u64::from(own);
        if own && self.others_only {
            self.meter.fault(
                |errors| errors.content += 1,
                || "a message came back to its sender, which --others-only rules out".to_owned(),
            );
            return;
        }
        self.fanout.delivered.fetch_add(1, Ordering::Relaxed);
        self.note_order(at, &stamp);
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
        self.fanout.open.fetch_sub(1, Ordering::Relaxed);
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
        let scheduled = match &self.pace {
            Pace::Open(schedule) if self.own_senders() > 0 => schedule.next(),
            _ => None,
        };
        self.fanout.is_complete() && scheduled.is_none()
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
        figures.add(
            "broadcast_sent",
            self.sent.iter().map(|sent| u64::from(*sent)).sum(),
        );
        figures.add("broadcast_refused", self.refused);
        figures.add("broadcast_own", self.own);
        figures.add("broadcast_out_of_order", self.out_of_order);
        figures
    }
}

impl Fanout {
    /// Deliveries that were due, and deliveries received.
    pub(super) fn totals(&self) -> (u64, u64) {
        (
            self.expected.load(Ordering::Relaxed),
            self.delivered.load(Ordering::Relaxed),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_comes_back_and_nothing_else_is_one() {
        let mut payload = vec![b'.'; 40];
        let stamp = Stamp {
            sender: 7,
            number: 0xABCD,
            due: Instant::from_nanos(1_234_567_890_123),
        };
        stamp.write(&mut payload);
        assert_eq!(&payload, b"rwb1000000070000abcd0000011f71fb04cb....");
        let read = Stamp::read(&payload).expect("a stamp");
        assert_eq!(
            (read.sender, read.number, read.due),
            (stamp.sender, stamp.number, stamp.due)
        );
        for wrong in [&b""[..], b"rwb1", &payload[..35], &payload[1..]] {
            assert!(Stamp::read(wrong).is_none());
        }
    }
}

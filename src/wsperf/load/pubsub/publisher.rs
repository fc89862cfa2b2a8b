//! The connection of a `pubsub` run that publishes: in batches, by the clock alone.
//!
//! Owns: the messages, and which of them the server has not answered yet. Never: judges what subscribers get.

use std::collections::HashMap;
use std::sync::Arc;

use hdrhistogram::Histogram;
use ringway_bus::history::Retain;
use ringway_bus::pubsub::{Payload, Request, RequestId, binary};

use super::Topics;
use crate::io::ConnId;
use crate::load::fanout::{Fanout, Stamp};
use crate::load::meter::{Meter, histogram};
use crate::load::schedule::Schedule;
use crate::load::thread::Figures;
use crate::proto::Kind;
use crate::time::Instant;
use crate::worker::Handle;

/// Most messages published in one turn, so that a late thread also reads events in between. A batch is always whole.
const PUBLISHED_PER_TURN: u64 = 1024;

/// Most publishes without an answer: 64 MiB of memory. As long as a server owes more, messages are not sent.
const UNANSWERED_MAX: usize = 1 << 20;

/// The publisher.
#[derive(Debug)]
pub(super) struct Publisher {
    /// Its connection while that is open.
    pub(super) id: Option<ConnId>,
    topics: Arc<Topics>,
    fanout: Arc<Fanout>,
    /// When batches are due, and messages of a batch.
    schedule: Schedule,
    batch: u64,
    /// Messages so far, sent or not: each goes to the topic behind that of the one before.
    messages: usize,
    /// The number of each topic's next message.
    numbers: Vec<u32>,
    next_id: RequestId,
    unanswered: HashMap<RequestId, Publish>,
    payload: Vec<u8>,
    /// Empty lists, kept for their memory.
    request: Vec<u8>,
    scheduled: Vec<(u64, Instant)>,
    late: Histogram<u64>,
    acks: Histogram<u64>,
    acked: u64,
    published: u64,
    published_in_window: u64,
    refused: u64,
    unsent: u64,
    /// All messages were sent.
    sent_all: bool,
}

/// A publish that waits for its answer.
#[derive(Clone, Copy, Debug)]
struct Publish {
    due: Instant,
    /// Deliveries that are due if it is accepted.
    deliveries: u64,
}

impl Publisher {
    /// Sends `batch` messages of `size` bytes at each instant of `schedule`.
    pub(super) fn new(
        topics: &Arc<Topics>,
        fanout: &Arc<Fanout>,
        schedule: Schedule,
        batch: u64,
        size: usize,
    ) -> Self {
        Self {
            id: None,
            topics: topics.clone(),
            fanout: fanout.clone(),
            schedule,
            batch,
            messages: 0,
            numbers: vec![0; topics.len()],
            next_id: RequestId::MIN,
            unanswered: HashMap::new(),
            payload: vec![b'.'; size],
            request: Vec::new(),
            scheduled: Vec::new(),
            late: histogram(),
            acks: histogram(),
            acked: 0,
            published: 0,
            published_in_window: 0,
            refused: 0,
            unsent: 0,
            sent_all: false,
        }
    }

    pub(super) const fn start(&mut self, go: Instant, end: Instant) {
        self.schedule.start(go, end);
    }

    /// When the next batch is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.schedule.next()
    }

    /// Whether every publish was answered.
    pub(super) fn is_answered(&self) -> bool {
        self.unanswered.is_empty()
    }

    /// Publishes what is due.
    pub(super) fn follow_schedule(
        &mut self,
        reach: &mut Handle<'_>,
        meter: &mut Meter,
        now: Instant,
    ) {
        let mut due = std::mem::take(&mut self.scheduled);
        let batches = (PUBLISHED_PER_TURN / self.batch).max(1);
        self.schedule.take(now, batches, &mut due);
        for (_, at) in due.drain(..) {
            for _ in 0..self.batch {
                self.publish(reach, meter, at, now);
            }
        }
        self.scheduled = due;
        if self.schedule.next().is_none() && !std::mem::replace(&mut self.sent_all, true) {
            self.fanout.end_sending();
        }
    }

    fn publish(&mut self, reach: &mut Handle<'_>, meter: &mut Meter, due: Instant, now: Instant) {
        let at = self.messages % self.numbers.len();
        self.messages = self.messages.wrapping_add(1);
        let stamp = Stamp {
            source: u32::try_from(at).unwrap_or(u32::MAX),
            number: self.numbers[at],
            due,
        };
        stamp.write(&mut self.payload);
        self.request.clear();
        let request = Request::Publish {
            id: Some(self.next_id),
            topic: self.topics.topic(at),
            payload: Payload::Bytes(&self.payload),
            retain: Retain::No,
        };
        binary::encode_request(&request, &mut self.request);
        let may_send = self.unanswered.len() < UNANSWERED_MAX;
        let mut context = self.id.and_then(|id| reach.context(id));
        let sent = context
            .as_mut()
            .filter(|_| may_send)
            .map(|context| context.send(Kind::Binary, &self.request));
        if !matches!(sent, Some(Ok(()))) {
            self.unsent += 1;
            return meter.miss(due);
        }
        let deliveries = self.fanout.open();
        self.fanout.expect(deliveries);
        self.topics.note_published();
        self.unanswered
            .insert(self.next_id, Publish { due, deliveries });
        self.next_id = self.next_id.checked_add(1).unwrap_or(RequestId::MIN);
        self.numbers[at] = self.numbers[at].wrapping_add(1);
        self.published += 1;
        if meter.is_measured(due) {
            self.published_in_window += 1;
            let late = now.nanos().saturating_sub(due.nanos()).max(1);
            self.late.saturating_record(late);
        }
    }

    /// The server has accepted a publish. False: nobody waits for that answer.
    pub(super) fn note_ack(&mut self, id: RequestId, meter: &Meter, now: Instant) -> bool {
        let Some(Publish { due, .. }) = self.unanswered.remove(&id) else {
            return false;
        };
        self.acked += 1;
        if meter.is_measured(due) {
            let took = now.nanos().saturating_sub(due.nanos()).max(1);
            self.acks.saturating_record(took);
        }
        true
    }

    /// The server has refused a publish: nobody gets it, and the number is missing at every subscriber.
    pub(super) fn note_refusal(&mut self, id: Option<RequestId>) {
        let Some(Publish { deliveries, .. }) = id.and_then(|id| self.unanswered.remove(&id)) else {
            return;
        };
        self.refused += 1;
        self.topics.note_refused();
        self.fanout.withdraw(deliveries);
    }

    /// The connection has ended, or the wait for answers. Returns how many have not come.
    pub(super) fn give_up(&mut self) -> u64 {
        self.id = None;
        std::mem::take(&mut self.unanswered).len() as u64
    }

    pub(super) fn tell(&self, figures: &mut Figures) {
        figures.late = Some(self.late.clone());
        figures.times.insert("pubsub_ack", self.acks.clone());
        figures.add("pubsub_acks", self.acked);
        figures.add("pubsub_published", self.published);
        figures.add("pubsub_published_in_window", self.published_in_window);
        figures.add("pubsub_refused", self.refused);
        figures.add("pubsub_unsent", self.unsent);
    }
}

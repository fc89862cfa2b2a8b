//! What waits for the broker: names to subscribe to, and messages.
//!
//! Names are kept as what is wanted and what the connection has, so that a connection that is lost, or a subscription that comes and goes,
//! costs nothing. Messages are dropped when there is no connection, and when too many wait.

use std::collections::{HashSet, VecDeque};

use crate::Origin;
use crate::broker::Outgoing;
use crate::counts::{Counts, add};
use crate::envelope::{Content, Message, Sender, encode};

/// Messages that wait for the broker.
pub const QUEUE_MESSAGES_MAX: usize = 16_384;
/// Their bytes.
pub const QUEUE_BYTES_MAX: usize = 16 << 20;

/// Names and messages that are handed over at once.
const BATCH_MAX: usize = 256;

#[derive(Debug)]
pub(crate) struct Outbox {
    origin: Origin,
    /// Of the last message.
    number: u64,
    wanted: HashSet<Box<str>>,
    /// What the connection has subscribed to.
    active: HashSet<Box<str>>,
    /// Names of which the two may differ.
    changed: HashSet<Box<str>>,
    queue: VecDeque<Outgoing>,
    queue_bytes: usize,
    /// Messages that were taken out and are not handed over yet.
    in_hand: usize,
    /// The largest payload that the broker takes. `None`: there is no connection.
    payload_bytes_max: Option<usize>,
    /// The other servers are to be told that messages were dropped.
    pub(crate) owes_notice: bool,
    /// Nothing more comes.
    pub(crate) is_ending: bool,
}

impl Outbox {
    pub(crate) fn new(origin: Origin) -> Self {
        Self {
            origin,
            number: 0,
            wanted: HashSet::new(),
            active: HashSet::new(),
            changed: HashSet::new(),
            queue: VecDeque::new(),
            queue_bytes: 0,
            in_hand: 0,
            payload_bytes_max: None,
            owes_notice: false,
            is_ending: false,
        }
    }

    pub(crate) fn want(&mut self, name: &str, is_wanted: bool) {
        match is_wanted {
            true => self.wanted.insert(name.into()),
            false => self.wanted.remove(name),
        };
        if self.payload_bytes_max.is_some() {
            self.changed.insert(name.into());
        }
    }

    /// There is a connection, without subscriptions.
    pub(crate) fn open(&mut self, payload_bytes_max: usize) {
        self.payload_bytes_max = Some(payload_bytes_max);
        self.changed = self.wanted.clone();
    }

    /// There is none any more.
    pub(crate) fn close(&mut self, counts: &Counts) {
        let notices = self.queue.iter().filter(|one| one.is_notice).count();
        let dropped = self.in_hand + self.queue.len() - notices;
        add(&counts.dropped_away, dropped);
        self.owes_notice |= dropped + notices > 0;
        self.payload_bytes_max = None;
        self.in_hand = 0;
        self.queue.clear();
        self.queue_bytes = 0;
        self.active.clear();
        self.changed.clear();
    }

    /// A message for the other servers.
    pub(crate) fn push(&mut self, name: String, message: &Message, counts: &Counts) {
        let Message { space, topic, body } = message;
        self.number += 1;
        let sender = Sender {
            origin: self.origin,
            number: self.number,
        };
        let content = Content::Message { space, topic, body };
        let payload = encode(sender, content);
        let dropped = match self.payload_bytes_max {
            None => &counts.dropped_away,
            Some(max) if payload.len() > max => &counts.dropped_too_big,
            Some(_) if self.queue.len() >= QUEUE_MESSAGES_MAX => &counts.dropped_full,
            Some(_) if self.queue_bytes + payload.len() > QUEUE_BYTES_MAX => &counts.dropped_full,
            Some(_) => {
                self.queue_bytes += payload.len();
                let is_notice = false;
                return self.queue.push_back(Outgoing {
                    name,
                    payload,
                    is_notice,
                });
            }
        };
        add(dropped, 1);
        self.owes_notice = true;
    }

    /// The other servers learn that messages of this one were dropped.
    pub(crate) fn push_notice(&mut self, name: String) {
        self.owes_notice = false;
        self.number += 1;
        let sender = Sender {
            origin: self.origin,
            number: self.number,
        };
        self.queue.push_back(Outgoing {
            name,
            payload: encode(sender, Content::Notice),
            is_notice: true,
        });
    }

    /// Some of the names that the connection is to subscribe to (`true`) or not any more. They count as done.
    pub(crate) fn take_changes(&mut self) -> Vec<(Box<str>, bool)> {
        let mut changes = Vec::new();
        while changes.len() < BATCH_MAX
            && let Some(name) = self.changed.iter().next().cloned()
        {
            self.changed.remove(&name);
            let is_wanted = self.wanted.contains(&name);
            let has_changed = match is_wanted {
                true => self.active.insert(name.clone()),
                false => self.active.remove(&name),
            };
            if has_changed {
                changes.push((name, is_wanted));
            }
        }
        changes
    }

    /// Some of the messages, which are in hand until [`Self::hand_over`].
    pub(crate) fn take_batch(&mut self) -> Vec<Outgoing> {
        let len = self.queue.len().min(BATCH_MAX);
        let batch: Vec<_> = self.queue.drain(..len).collect();
        let bytes = batch.iter().filter(|one| !one.is_notice);
        self.queue_bytes -= bytes.map(|one| one.payload.len()).sum::<usize>();
        self.in_hand = batch.iter().filter(|one| !one.is_notice).count();
        batch
    }

    /// The messages that were in hand are the broker's.
    pub(crate) fn hand_over(&mut self, counts: &Counts) {
        add(&counts.published, std::mem::take(&mut self.in_hand));
    }
}

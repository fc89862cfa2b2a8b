//! What waits for one subscriber that does not read fast enough.
//!
//! Owns: a bounded queue of references to messages, the policy when it is full, and the count of what was dropped and why.
//! Never: sends, or looks into a message. The caller pops while the connection takes more.
//!
//! A drop is never silent: [`Queue::pop`] yields a [`Next::Gap`] at the place of the messages that are missing, so that the
//! subscriber can be told before it sees what follows. Only a message that a newer one of its topic replaces leaves no gap, and
//! what waited when the queue closed is told by the close itself.
//!
//! | limit | default | memory |
//! |---|---|---|
//! | messages of one queue | 1,000 | 16 bytes and the reference each, while they wait, and 8 more for a topic that is no number; 40 more with [`Policy::Conflate`] |
//! | bytes of the messages of one queue | 1 MiB | none of its own: they are shared. It bounds what a subscriber keeps from being freed |

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::num::NonZeroU64;

use crate::history::Weight;

/// The status code of the Close for [`Policy::Close`]: "Try Again Later" in IANA's registry.
pub const TRY_AGAIN_LATER: u16 = 1013;

/// Items for which an empty queue keeps room.
const ITEMS_KEPT: usize = 16;

/// What happens to a message for which the queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// The connection is closed with [`TRY_AGAIN_LATER`].
    Close,
    /// It takes the place of an older message of its topic, also while the queue is not full. If there is none, the oldest of all go.
    Conflate,
    /// It is dropped.
    DropNewest,
    /// The oldest messages are dropped until it fits.
    DropOldest,
}

/// What one queue may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Messages that wait; at least one.
    pub messages_max: usize,
    /// Their bytes. A message that is larger itself is dropped.
    pub bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            messages_max: 1000,
            bytes_max: 1 << 20,
        }
    }
}

/// Messages that were dropped, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drops {
    /// Offered after the queue had closed, or waiting when it did.
    pub closed: u64,
    /// Replaced by a newer one of the same topic.
    pub conflated: u64,
    /// Dropped because the queue was full.
    pub newest: u64,
    /// Dropped to make room.
    pub oldest: u64,
    /// Larger than the whole queue.
    pub too_big: u64,
}

impl Drops {
    /// All of them.
    pub const fn total(&self) -> u64 {
        self.closed + self.conflated + self.newest + self.oldest + self.too_big
    }

    /// Adds what another queue has dropped, or the same one since `before`.
    pub const fn add(&mut self, now: &Self, before: &Self) {
        self.closed += now.closed - before.closed;
        self.conflated += now.conflated - before.conflated;
        self.newest += now.newest - before.newest;
        self.oldest += now.oldest - before.oldest;
        self.too_big += now.too_big - before.too_big;
    }
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Push {
    /// It waits, and older ones may have been dropped for it.
    Queued,
    /// It was dropped.
    Dropped,
    /// It was dropped with everything that waited: the connection is to be closed with [`TRY_AGAIN_LATER`].
    Close,
}

/// What the subscriber gets next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next<M, T = u64> {
    /// Messages are missing here.
    Gap {
        /// How many.
        messages: NonZeroU64,
        /// Their topic, if they are of one only.
        topic: Option<T>,
    },
    /// A message.
    Message(M),
}

#[derive(Debug)]
enum Item<M, T> {
    Gap(NonZeroU64, Option<T>),
    Message(T, M),
}

/// The queue of one subscriber. A topic is whatever the caller tells topics apart by.
#[derive(Debug)]
pub struct Queue<M, T = u64> {
    policy: Policy,
    limits: Limits,
    /// Never two gaps side by side.
    items: VecDeque<Item<M, T>>,
    /// How many items were taken from the front, so that places stay the same: item `i` has place `taken + i`.
    taken: usize,
    messages: usize,
    bytes: usize,
    /// With [`Policy::Conflate`]: the place of the message of a topic.
    places: HashMap<T, usize>,
    drops: Drops,
    closed: bool,
}

impl<M: Weight, T: Clone + Eq + Hash> Queue<M, T> {
    /// An empty queue; it allocates nothing before the first message.
    pub fn new(policy: Policy, limits: Limits) -> Self {
        Self {
            policy,
            limits,
            items: VecDeque::new(),
            taken: 0,
            messages: 0,
            bytes: 0,
            places: HashMap::new(),
            drops: Drops::default(),
            closed: false,
        }
    }

    /// Messages that wait.
    pub const fn messages(&self) -> usize {
        self.messages
    }

    /// Whether there is nothing to pop: no message, and no gap to tell of.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Bytes of the messages that wait.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// What was dropped so far.
    pub const fn drops(&self) -> &Drops {
        &self.drops
    }

    /// The place of what is popped next. Whatever else is to reach the subscriber in order notes [`Self::end`] when it comes, and goes
    /// when this is no longer before that. (With [`Policy::Conflate`] a message may go earlier.)
    pub const fn begin(&self) -> usize {
        self.taken
    }

    /// The place behind everything that waits.
    pub fn end(&self) -> usize {
        self.taken + self.items.len()
    }

    /// Notes that messages are missing here, which were lost elsewhere.
    pub fn push_gap(&mut self, topic: Option<T>, messages: NonZeroU64) {
        if !self.closed {
            self.note_gap_at_end(messages, topic);
        }
    }

    /// Offers a message of a topic.
    pub fn push(&mut self, topic: T, message: M) -> Push {
        let bytes = message.bytes();
        if self.closed {
            self.drops.closed += 1;
            return Push::Dropped;
        }
        if bytes <= self.limits.bytes_max
            && self.policy == Policy::Conflate
            && self.conflate(&topic, &message)
        {
            return Push::Queued;
        }
        if !self.is_full_for(bytes) {
            self.append(topic, message);
            return Push::Queued;
        }
        match self.policy {
            Policy::Close => self.close(),
            _ if bytes > self.limits.bytes_max => {
                self.drops.too_big += 1;
                self.note_gap_at_end(NonZeroU64::MIN, Some(topic));
                Push::Dropped
            }
            Policy::DropNewest => {
                self.drops.newest += 1;
                self.note_gap_at_end(NonZeroU64::MIN, Some(topic));
                Push::Dropped
            }
            Policy::Conflate | Policy::DropOldest => {
                while self.is_full_for(bytes) {
                    self.drop_oldest();
                }
                self.append(topic, message);
                Push::Queued
            }
        }
    }

    /// The next message or gap. `None` if nothing waits.
    pub fn pop(&mut self) -> Option<Next<M, T>> {
        let first = self.take_first()?;
        // A subscriber that caught up keeps no room for what once waited.
        if self.items.is_empty() && self.items.capacity() > ITEMS_KEPT {
            (self.items, self.places) = (VecDeque::new(), HashMap::new());
        }
        Some(match first {
            Item::Gap(messages, topic) => Next::Gap { messages, topic },
            Item::Message(_, message) => Next::Message(message),
        })
    }

    fn is_full_for(&self, bytes: usize) -> bool {
        let is_full = self.messages >= self.limits.messages_max.max(1);
        is_full || bytes > self.limits.bytes_max.saturating_sub(self.bytes)
    }

    fn append(&mut self, topic: T, message: M) {
        self.messages += 1;
        self.bytes += message.bytes();
        if self.policy == Policy::Conflate {
            self.places.insert(topic.clone(), self.end());
        }
        self.items.push_back(Item::Message(topic, message));
    }

    /// Puts a message in the place of an older one of its topic. Says whether there was one, and room for the new one.
    fn conflate(&mut self, topic: &T, message: &M) -> bool {
        let Some(place) = self.places.get(topic) else {
            return false;
        };
        let index = *place - self.taken;
        let item = &mut self.items[index];
        let Item::Message(_, old) = item else {
            unreachable!("places are of messages");
        };
        let others = self.bytes - old.bytes();
        self.drops.conflated += 1;
        if message.bytes() <= self.limits.bytes_max - others {
            self.bytes = others + message.bytes();
            *old = message.clone();
            return true;
        }
        // Only what it replaces is gone; for the rest of the room the oldest have to go.
        self.bytes = others;
        self.messages -= 1;
        self.places.remove(topic);
        self.remove(index);
        false
    }

    /// Takes an item out of the middle, and keeps the places of those behind it right.
    fn remove(&mut self, index: usize) {
        self.items.remove(index);
        for (at, item) in self.items.iter().enumerate().skip(index) {
            if let Item::Message(topic, _) = item {
                self.places.insert(topic.clone(), self.taken + at);
            }
        }
        if let (Some(Item::Gap(more, other)), Some(before)) =
            (self.items.get(index), index.checked_sub(1))
        {
            let behind = (*more, other.clone());
            if let Item::Gap(messages, topic) = &mut self.items[before] {
                (*messages, *topic) = merged((*messages, topic.take()), behind);
                self.remove(index);
            }
        }
    }

    fn take_first(&mut self) -> Option<Item<M, T>> {
        let item = self.items.pop_front()?;
        self.taken += 1;
        if let Item::Message(topic, message) = &item {
            self.messages -= 1;
            self.bytes -= message.bytes();
            if self.policy == Policy::Conflate {
                self.places.remove(topic);
            }
        }
        Some(item)
    }

    /// Drops the oldest message and notes a gap in its place.
    fn drop_oldest(&mut self) {
        let mut gap: Option<(NonZeroU64, Option<T>)> = None;
        while let Some(item) = self.take_first() {
            let (more, topic, is_message) = match item {
                Item::Gap(more, topic) => (more, topic, false),
                Item::Message(topic, _) => (NonZeroU64::MIN, Some(topic), true),
            };
            gap = Some(match gap {
                None => (more, topic),
                Some(gap) => merged(gap, (more, topic)),
            });
            if is_message {
                self.drops.oldest += 1;
                break;
            }
        }
        // What was behind the message may be a gap already.
        if let Some(Item::Gap(more, topic)) = self.items.front() {
            let behind = (*more, topic.clone());
            gap = gap.map(|first| merged(first, behind));
            self.take_first();
        }
        if let Some((messages, topic)) = gap {
            self.items.push_front(Item::Gap(messages, topic));
            self.taken -= 1;
        }
    }

    fn note_gap_at_end(&mut self, more: NonZeroU64, topic: Option<T>) {
        if let Some(Item::Gap(messages, of)) = self.items.back_mut() {
            (*messages, *of) = merged((*messages, of.take()), (more, topic));
        } else {
            self.items.push_back(Item::Gap(more, topic));
        }
    }

    #[cold]
    fn close(&mut self) -> Push {
        self.closed = true;
        self.drops.closed += self.messages as u64 + 1;
        self.items = VecDeque::new();
        self.places = HashMap::new();
        (self.messages, self.bytes) = (0, 0);
        Push::Close
    }
}

/// Two gaps side by side are one.
fn merged<T: Eq>(
    (messages, topic): (NonZeroU64, Option<T>),
    (more, other): (NonZeroU64, Option<T>),
) -> (NonZeroU64, Option<T>) {
    (
        messages.saturating_add(more.get()),
        topic.filter(|topic| other.as_ref() == Some(topic)),
    )
}

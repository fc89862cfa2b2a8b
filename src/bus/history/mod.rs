//! What was published before: the last messages of each topic, and one that is retained.
//!
//! Owns: offsets and epochs, what is kept and for how long, and the count of what was given up.
//! Never: reads a clock (instants come in, as the time since a zero of the caller's choice), or looks into a message.
//!
//! Each topic counts its messages from 1. A subscriber that comes back names the last *offset* that it has seen, and the *epoch* in
//! which that was counted; it gets what it has missed, or is told that there is a [`Gap`]. A topic that was forgotten begins again
//! under a new epoch, so that its offsets cannot be mistaken for the old ones.
//!
//! | limit | default | memory |
//! |---|---|---|
//! | bytes of all messages and topics | 64 MiB | as much: a message counts its bytes and 160, a topic its name twice and 256 |
//! | messages of one topic | 100 | within the above |
//! | age of a message | 5 minutes | within the above |
//! | topics | 100,000 | within the above |
//!
//! Beyond the bytes the oldest message of all topics is given up, then the topic that was published to longest ago, with its retained
//! message.

mod order;
#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU64;
use std::time::Duration;

use slab::Slab;

use crate::topics::{Pattern, Topic};
use order::Order;

/// Messages for which the list of a topic keeps room when they are gone.
const LIST_KEPT: usize = 16;

/// What a message and a topic take beside their bytes, with the spare room of the tables; `tests/memory.rs` measures it.
const MESSAGE_BYTES: usize = 160;
const TOPIC_BYTES: usize = 256;

/// A message, or a reference to one.
pub trait Weight: Clone {
    /// Bytes that it keeps from being freed.
    fn bytes(&self) -> usize;
}

impl Weight for std::sync::Arc<[u8]> {
    fn bytes(&self) -> usize {
        self.len()
    }
}

/// What a history may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all messages and topics, see the table of the module.
    pub bytes_max: usize,
    /// Messages of one topic; 0 keeps only retained ones.
    pub messages_max: usize,
    /// How long a message is kept. A retained one is kept until another takes its place.
    pub age_max: Duration,
    /// Topics, those without messages included.
    pub topics_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes_max: 64 << 20,
            messages_max: 100,
            age_max: Duration::from_mins(5),
            topics_max: 100_000,
        }
    }
}

/// A place in the history of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// In which life of the topic its messages were counted.
    pub epoch: u64,
    /// The number of a message, from 1; 0 is before the first one.
    pub offset: u64,
}

/// Whether a message is also the one that new subscribers get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retain {
    /// It takes the place of the retained one.
    Yes,
    /// The retained one stays.
    No,
}

/// What cannot be replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gap {
    /// So many messages are no longer kept.
    Messages(u64),
    /// The position is of another epoch, or was never reached: nobody knows how many.
    Unknown,
}

/// What a message that already had its place was to the copy of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The next one, or the first of a topic that was not known here.
    Next,
    /// The topic began again, under this epoch; so many messages of its new life never came here.
    BeganAgain(u64),
    /// So many messages before it never came here.
    Behind(NonZeroU64),
    /// It was here before, or its place is none. Nothing has changed.
    Stale,
}

/// How many messages and topics were given up, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evictions {
    /// Messages before others that never came here, or of a life of their topic that has ended.
    pub behind_gaps: u64,
    /// Messages older than [`Limits::age_max`].
    pub by_age: u64,
    /// Messages for [`Limits::bytes_max`], and of topics that were forgotten.
    pub by_bytes: u64,
    /// Messages for [`Limits::messages_max`].
    pub by_messages: u64,
    /// Retained messages of topics that were forgotten.
    pub retained: u64,
    /// Topics, for [`Limits::topics_max`] or [`Limits::bytes_max`].
    pub topics: u64,
}

#[derive(Debug)]
struct Kept<M> {
    topic: usize,
    at: Duration,
    message: M,
}

#[derive(Debug)]
struct Life<M> {
    name: Box<str>,
    epoch: u64,
    /// The last offset that was given.
    last: u64,
    /// The newest messages, oldest first: offsets up to `last` without a hole.
    messages: VecDeque<usize>,
    /// With its offset, 0 if that was given under another epoch.
    retained: Option<(u64, M)>,
}

impl<M: Weight> Life<M> {
    fn own_bytes(&self) -> usize {
        TOPIC_BYTES + 2 * self.name.len()
    }

    fn retained_bytes(&self) -> usize {
        let retained = self.retained.as_ref();
        retained.map_or(0, |(_, message)| MESSAGE_BYTES + message.bytes())
    }
}

/// The history of a set of topics that share their limits.
#[derive(Debug)]
pub struct History<M> {
    limits: Limits,
    next_epoch: u64,
    names: HashMap<Box<str>, usize>,
    topics: Slab<Life<M>>,
    /// By their last publish.
    topics_by_use: Order,
    messages: Slab<Kept<M>>,
    /// By age.
    messages_by_age: Order,
    bytes: usize,
    evictions: Evictions,
}

impl<M: Weight> History<M> {
    /// An empty history. The first epoch must be larger than all that an earlier history of the same topics can have used: the time in
    /// nanoseconds, for example.
    pub fn new(limits: Limits, first_epoch: u64) -> Self {
        Self {
            limits,
            next_epoch: first_epoch,
            names: HashMap::new(),
            topics: Slab::new(),
            topics_by_use: Order::default(),
            messages: Slab::new(),
            messages_by_age: Order::default(),
            bytes: 0,
            evictions: Evictions::default(),
        }
    }

    /// Bytes that count towards [`Limits::bytes_max`].
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Topics that are known.
    pub fn topics(&self) -> usize {
        self.topics.len()
    }

    /// What was given up so far.
    pub const fn evictions(&self) -> &Evictions {
        &self.evictions
    }

    /// Adds a message and returns its place. Whatever has to go for it is counted; it may be the message itself.
    pub fn publish(
        &mut self,
        now: Duration,
        topic: Topic<'_>,
        message: M,
        retain: Retain,
    ) -> Position {
        let position = self.next(topic);
        self.apply(now, topic, position, message, retain);
        position
    }

    /// The place that the next message of a topic gets.
    pub fn next(&self, topic: Topic<'_>) -> Position {
        let last = self.position(topic);
        let (epoch, last) = last.map_or((self.next_epoch, 0), |last| (last.epoch, last.offset));
        let offset = last + 1;
        Position { epoch, offset }
    }

    /// Adds a message whose place was given by this or another history, of which this one is a copy. Messages of a topic are expected in
    /// their order; where some are missing, those before them are given up, so that what is kept has no hole.
    pub fn apply(
        &mut self,
        now: Duration,
        topic: Topic<'_>,
        position: Position,
        message: M,
        retain: Retain,
    ) -> Applied {
        self.expire(now);
        let before = self.position(topic);
        // Places beyond are never reached by counting, and what comes behind them could not be counted.
        if position.offset == 0 || position.offset == u64::MAX || position.epoch == u64::MAX {
            return Applied::Stale;
        }
        let applied = match before {
            None => Applied::Next,
            Some(before) if before.epoch != position.epoch => {
                Applied::BeganAgain(position.offset - 1)
            }
            Some(before) if position.offset <= before.offset => return Applied::Stale,
            Some(before) => NonZeroU64::new(position.offset - before.offset - 1)
                .map_or(Applied::Next, Applied::Behind),
        };
        let at = self.touch(topic, position.epoch);
        if applied != Applied::Next {
            self.begin_again(at, position.epoch);
        }
        self.topics[at].last = position.offset;
        self.keep(now, at, message, retain);
        self.shrink();
        applied
    }

    /// Gives up what is kept of a topic but the retained message, whose offset means nothing under another epoch.
    fn begin_again(&mut self, at: usize, epoch: u64) {
        while let Some(number) = self.topics[at].messages.front() {
            self.evictions.behind_gaps += 1;
            self.give_up(*number);
        }
        let life = &mut self.topics[at];
        if life.epoch != epoch
            && let Some((offset, _)) = &mut life.retained
        {
            *offset = 0;
        }
        life.epoch = epoch;
    }

    /// Keeps a message that has the last offset of its topic.
    fn keep(&mut self, now: Duration, at: usize, message: M, retain: Retain) {
        let life = &mut self.topics[at];
        if retain == Retain::Yes {
            self.bytes -= life.retained_bytes();
            life.retained = Some((life.last, message.clone()));
            self.bytes += life.retained_bytes();
        }
        if self.limits.messages_max == 0 {
            return;
        }
        self.bytes += MESSAGE_BYTES + message.bytes();
        let kept = Kept {
            topic: at,
            at: now,
            message,
        };
        let number = self.messages.insert(kept);
        self.messages_by_age.push(number);
        life.messages.push_back(number);
        if life.messages.len() > self.limits.messages_max {
            self.evictions.by_messages += 1;
            let oldest = self.topics[at].messages[0];
            self.give_up(oldest);
        }
    }

    /// Where a topic is now. `None` if nothing was published to it, or it was forgotten.
    pub fn position(&self, topic: Topic<'_>) -> Option<Position> {
        let life = self.life(topic)?;
        Some(Position {
            epoch: life.epoch,
            offset: life.last,
        })
    }

    /// The messages behind a position with their offsets, oldest first, and what is missing before them.
    pub fn since(
        &mut self,
        now: Duration,
        topic: Topic<'_>,
        position: Position,
    ) -> (Option<Gap>, impl Iterator<Item = (u64, &M)>) {
        self.expire(now);
        let life = self.life(topic);
        let (gap, from) = match life {
            Some(life) if life.epoch == position.epoch && position.offset <= life.last => {
                let oldest = life.last + 1 - life.messages.len() as u64;
                let missing = oldest.saturating_sub(position.offset + 1);
                let gap = (missing > 0).then_some(Gap::Messages(missing));
                (gap, position.offset + 1)
            }
            _ => (Some(Gap::Unknown), 0),
        };
        let numbers = life.into_iter().flat_map(|life| {
            let oldest = life.last + 1 - life.messages.len() as u64;
            (oldest..).zip(&life.messages)
        });
        let behind = numbers.filter(move |(offset, _)| *offset >= from);
        (
            gap,
            behind.map(|(offset, number)| (offset, &self.messages[*number].message)),
        )
    }

    /// The retained message of a topic and its offset; 0 if that was of another epoch.
    pub fn retained(&self, topic: Topic<'_>) -> Option<(u64, &M)> {
        let (offset, message) = self.life(topic)?.retained.as_ref()?;
        Some((*offset, message))
    }

    /// The retained messages of all topics that a pattern matches, in no order: name, offset, message. Looks at every topic, unless the
    /// pattern is a name.
    pub fn retained_of(&self, pattern: Pattern<'_>) -> impl Iterator<Item = (&str, u64, &M)> {
        let one = pattern.as_topic();
        let named = one.and_then(|topic| self.life(topic)).into_iter();
        let all = self.topics.iter().map(|(_, life)| life);
        let all = all.take(if one.is_some() { 0 } else { usize::MAX });
        named.chain(all).filter_map(move |life| {
            let (offset, message) = life.retained.as_ref()?;
            let is_meant = Topic::parse(&life.name).is_ok_and(|topic| pattern.matches(topic));
            is_meant.then_some((&*life.name, *offset, message))
        })
    }

    /// Nothing is retained for this topic any more. Says whether something was.
    pub fn clear_retained(&mut self, topic: Topic<'_>) -> bool {
        let Some(at) = self.names.get(topic.as_str()) else {
            return false;
        };
        let life = &mut self.topics[*at];
        self.bytes -= life.retained_bytes();
        life.retained.take().is_some()
    }

    /// When [`Self::handle_timeout`] has something to do. `None` while no message is kept.
    pub fn poll_timeout(&self) -> Option<Duration> {
        let oldest = self.messages_by_age.first()?;
        Some(self.messages[oldest].at.saturating_add(self.limits.age_max))
    }

    /// Gives up what is too old. Every other call with an instant does that as well.
    pub fn handle_timeout(&mut self, now: Duration) {
        self.expire(now);
    }

    fn life(&self, topic: Topic<'_>) -> Option<&Life<M>> {
        Some(&self.topics[*self.names.get(topic.as_str())?])
    }

    /// The topic, as the one that was used last; a new one of this epoch, if it is not known.
    fn touch(&mut self, topic: Topic<'_>, epoch: u64) -> usize {
        if let Some(at) = self.names.get(topic.as_str()).copied() {
            self.topics_by_use.remove(at);
            self.topics_by_use.push(at);
            return at;
        }
        while self.topics.len() >= self.limits.topics_max.max(1)
            && let Some(oldest) = self.topics_by_use.first()
        {
            self.forget(oldest);
        }
        let life = Life {
            name: topic.as_str().into(),
            epoch,
            last: 0,
            messages: VecDeque::new(),
            retained: None,
        };
        if epoch == self.next_epoch {
            self.next_epoch += 1;
        }
        self.bytes += life.own_bytes();
        let at = self.topics.insert(life);
        self.names.insert(topic.as_str().into(), at);
        self.topics_by_use.push(at);
        at
    }

    fn expire(&mut self, now: Duration) {
        while let Some(oldest) = self.messages_by_age.first() {
            if now.saturating_sub(self.messages[oldest].at) < self.limits.age_max {
                return;
            }
            self.evictions.by_age += 1;
            self.give_up(oldest);
        }
    }

    /// Down to the limit of bytes, which may be smaller than a single message.
    fn shrink(&mut self) {
        while self.bytes > self.limits.bytes_max {
            if let Some(oldest) = self.messages_by_age.first() {
                self.evictions.by_bytes += 1;
                self.give_up(oldest);
            } else if let Some(oldest) = self.topics_by_use.first() {
                self.forget(oldest);
            } else {
                return;
            }
        }
    }

    /// Gives up a message, which is the oldest of its topic, because it is either that or the oldest of all.
    fn give_up(&mut self, number: usize) {
        self.messages_by_age.remove(number);
        let kept = self.messages.remove(number);
        self.bytes -= MESSAGE_BYTES + kept.message.bytes();
        let list = &mut self.topics[kept.topic].messages;
        let first = list.pop_front();
        debug_assert_eq!(first, Some(number));
        // A topic keeps no room for the messages that it had once.
        if list.capacity() > LIST_KEPT && list.len() * 4 < list.capacity() {
            list.shrink_to((list.len() * 2).max(LIST_KEPT));
        }
    }

    fn forget(&mut self, at: usize) {
        while let Some(number) = self.topics[at].messages.front() {
            self.evictions.by_bytes += 1;
            self.give_up(*number);
        }
        self.topics_by_use.remove(at);
        let life = self.topics.remove(at);
        self.names.remove(&life.name);
        self.bytes -= life.own_bytes() + life.retained_bytes();
        self.evictions.topics += 1;
        self.evictions.retained += u64::from(life.retained.is_some());
    }
}

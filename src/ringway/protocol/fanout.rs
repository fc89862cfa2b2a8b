//! Topics: messages that are encoded once, and go to all subscribers on all workers.
//!
//! ```text
//!  publish ──▶ this turn's messages ──────────────┐        end of the turn, for each run of messages of one topic:
//!         └──▶ log of this worker ═══▶ the others │
//!                                                 ├─▶ one block ──▶ subscribers, one piece each, none copied
//!  logs of the others ═══════▶ copied once, checked ┘           └─▶ a queue of its own for each that does not keep up
//! ```
//!
//! How often a payload byte is touched: copied once into the log and once into the turn's messages by the worker that publishes,
//! copied once out of the log by each other worker, once more when the block is made; then none for each subscriber, unless the
//! subscriber does not keep up: then it is copied once for all those, and once for each when it takes the message.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher as _;
use std::num::NonZeroU64;
use std::ops::Range;
use std::rc::Rc;

use ringway_bus::history::{History, Retain, Weight};
use ringway_bus::queue::{Drops, Push, Queue};
use ringway_bus::topics::{Full, Pattern, Subscribed, Topic, Topics, Unsubscribed};

use super::prepared::{Prepared, TooMuch};
use crate::bus::{Bus, BusOptions, Kind, Refusal, Said, interest};
use crate::conn::blocks::Blocks;
use crate::io::{ConnId, Fd};
use crate::proto::deflate::{Deflate, Deflater};
use crate::proto::frame::{self, Header};
use crate::proto::{self, Opcode};
use crate::stats::Counters;
use crate::time::Instant;

/// Bytes and messages for which the lists of a turn keep memory from turn to turn (about 1.2 MiB).
const KEPT_BYTES: usize = 1 << 20;
const KEPT_MESSAGES: usize = 4096;

/// Whom a message of a topic is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// All subscribers.
    All,
    /// All subscribers but the connection that publishes.
    Others,
}

/// What an application learns from the bus of the server's workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum News<'a> {
    /// An application, perhaps of this very worker, has said something ([`Handle::note`](super::Handle::note)).
    Note {
        /// The seat on the bus of the worker that said it: its index.
        seat: usize,
        /// Under which topic.
        topic: &'a [u8],
        /// What; as another process has written it.
        body: &'a [u8],
    },
    /// This worker was too slow: records of another one were overwritten before it read them.
    Missed {
        /// The other's seat.
        seat: usize,
        /// How many.
        records: NonZeroU64,
    },
    /// A worker has taken the place of one that ended. What that one had not yet said is lost.
    Replaced {
        /// Their seat. One that is no worker's is of the bridge to a broker.
        seat: usize,
    },
    /// The bridge to a broker asks for all topics that are wanted here: for services that come with Ringway.
    #[doc(hidden)]
    Asked,
}

/// What was said in a turn beside messages.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Aside {
    Missed {
        seat: usize,
        records: NonZeroU64,
    },
    Replaced {
        seat: usize,
    },
    /// The bridge asks, in this round.
    Asked {
        round: u64,
    },
}

/// A message of the turn, or a note.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) kind: Kind,
    pub(crate) seat: usize,
    pub(crate) origin: u64,
    /// Messages of the turn before this one: its own index among them, if it is one.
    pub(crate) message: usize,
    /// In [`Turn::topics`].
    topic: Range<usize>,
    /// In [`Turn::bytes`].
    body: Range<usize>,
}

/// What was said in a turn, in the order of each that said it.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    pub(crate) items: Vec<Item>,
    /// The messages among them.
    pub(crate) frames: Vec<(Header, Range<usize>)>,
    /// Frames, one behind the other, so that those of one topic are one piece; and notes.
    bytes: Vec<u8>,
    topics: Vec<u8>,
    pub(crate) asides: Vec<Aside>,
}

impl Turn {
    /// Adds a note or a message. `false`: it should be a message, and its body is no whole data frame of a server.
    fn push(
        &mut self,
        kind: Kind,
        (seat, origin): (usize, u64),
        topic: &[u8],
        body: &[&[u8]],
    ) -> bool {
        let (at, message) = (self.bytes.len(), self.frames.len());
        body.iter()
            .for_each(|part| self.bytes.extend_from_slice(part));
        if matches!(kind, Kind::FRAME | Kind::FRAME_FOR_OTHERS) {
            let Some(header) = frame::whole_of_server(&self.bytes[at..]) else {
                self.bytes.truncate(at);
                return false;
            };
            self.frames.push((header, at..self.bytes.len()));
        }
        let last = self.items.last().map(|item| item.topic.clone());
        let is_same = |range: &Range<usize>| self.topics[range.clone()] == *topic;
        let topic = last.filter(is_same).unwrap_or_else(|| {
            let at = self.topics.len();
            self.topics.extend_from_slice(topic);
            at..self.topics.len()
        });
        self.items.push(Item {
            kind,
            seat,
            origin,
            message,
            topic,
            body: at..self.bytes.len(),
        });
        true
    }

    /// Takes the last item back.
    fn pop(&mut self) {
        if let Some(item) = self.items.pop() {
            self.bytes.truncate(item.body.start);
            self.frames.truncate(item.message);
        }
    }

    pub(crate) fn topic(&self, item: &Item) -> &[u8] {
        &self.topics[item.topic.clone()]
    }

    pub(crate) fn body(&self, item: &Item) -> &[u8] {
        &self.bytes[item.body.clone()]
    }

    const fn is_empty(&self) -> bool {
        self.items.is_empty() && self.asides.is_empty()
    }

    fn recycle(&mut self) {
        self.items.clear();
        self.items.shrink_to(KEPT_MESSAGES);
        self.frames.clear();
        self.frames.shrink_to(KEPT_MESSAGES);
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES);
        self.topics.clear();
        self.topics.shrink_to(KEPT_BYTES);
        self.asides.clear();
    }
}

impl Item {
    /// A message and no note.
    pub(crate) const fn is_frame(&self) -> bool {
        matches!(self.kind, Kind::FRAME | Kind::FRAME_FOR_OTHERS)
    }

    pub(crate) const fn has_topic_of(&self, other: &Self) -> bool {
        self.topic.start == other.topic.start && self.topic.end == other.topic.end
    }
}

/// A message that waits for subscribers that do not keep up.
#[derive(Debug)]
pub(crate) struct Late {
    pub(crate) kind: proto::Kind,
    pub(crate) payload: Box<[u8]>,
}

/// A reference to it.
#[derive(Clone, Debug)]
pub(crate) struct LateRef(pub(crate) Rc<Late>);

impl LateRef {
    /// Keeps the payload of a data frame.
    pub(crate) fn new(opcode: Opcode, payload: &[u8]) -> Self {
        Self(Rc::new(Late {
            kind: match opcode {
                Opcode::Text => proto::Kind::Text,
                _ => proto::Kind::Binary,
            },
            payload: payload.into(),
        }))
    }
}

impl Weight for LateRef {
    fn bytes(&self) -> usize {
        self.0.payload.len()
    }
}

/// The messages that wait for one subscriber.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) queue: Queue<LateRef>,
    /// The connection is on the worker's list of those whose socket has room: once, however many messages wait.
    pub(crate) is_listed: bool,
}

/// The topics of one worker.
#[derive(Debug)]
pub(crate) struct Fanout {
    pub(crate) bus: Bus,
    /// Becomes readable when another seat rings.
    pub(crate) bell: Fd,
    options: BusOptions,
    topics: Topics,
    turn: Turn,
    /// An empty turn, whose memory is used again.
    spare: Turn,
    /// What waits for subscribers that do not keep up.
    pub(crate) late: HashMap<u64, Waiting>,
    hashes: std::hash::RandomState,
    /// The compressor, once a subscriber has agreed to compression.
    deflater: Option<(Deflater, Deflate)>,
    deflate: Option<Deflate>,
    /// Subscribers that agreed to permessage-deflate: while there are none, nothing is compressed.
    compressing: HashSet<u64>,
    /// The subscribers of a topic. The memory is used again.
    pub(crate) found: Vec<u64>,
    /// What [`Self::replay`] tells, if anything is kept.
    history: Option<History<LateRef>>,
    /// Messages that were published since the counters were last brought up to date.
    published: u64,
}

/// Why a topic cannot be subscribed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The server has no bus: [`Server::bus`](crate::Server::bus) makes one.
    NoBus,
    /// The text is no topic and no pattern.
    BadTopic(ringway_bus::topics::BadTopic),
    /// A limit of [`BusOptions::topics`].
    Full(Full),
}

/// Why a message was not published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PublishError {
    /// The server has no bus: [`Server::bus`](crate::Server::bus) makes one.
    NoBus,
    /// The text is no topic, or a pattern.
    BadTopic(ringway_bus::topics::BadTopic),
    /// Another process writes this worker's log, or its memory is damaged.
    Deposed,
    /// The message is larger than an eighth of a log ([`BusOptions::log_bytes`]).
    TooBig {
        /// Bytes that it may have, its header of up to 10 bytes included.
        bytes_max: usize,
    },
}

impl std::fmt::Display for SubscribeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoBus => f.write_str("this server has no bus"),
            Self::BadTopic(bad) => bad.fmt(f),
            Self::Full(full) => full.fmt(f),
        }
    }
}

impl std::error::Error for SubscribeError {}

impl std::fmt::Display for PublishError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoBus => f.write_str("this server has no bus"),
            Self::BadTopic(bad) => bad.fmt(f),
            Self::Deposed => f.write_str("the bus of this worker belongs to another process"),
            Self::TooBig { bytes_max } => {
                write!(f, "the bus takes messages of {bytes_max} bytes at most")
            }
        }
    }
}

impl std::error::Error for PublishError {}

/// A subscriber's number in the table of topics.
pub(crate) fn number_of(id: ConnId) -> u64 {
    u64::from(id.generation) << 32 | u64::from(id.slot)
}

/// The connection with this number.
pub(crate) fn conn_of(number: u64) -> ConnId {
    ConnId {
        slot: u32::try_from(number & u64::from(u32::MAX)).unwrap_or(u32::MAX),
        generation: u32::try_from(number >> 32).unwrap_or(u32::MAX),
    }
}

impl Fanout {
    pub(crate) fn new(
        (bus, bell): (Bus, Fd),
        options: BusOptions,
        deflate: Option<Deflate>,
    ) -> Self {
        Self {
            bus,
            bell,
            options,
            topics: Topics::new(options.topics),
            turn: Turn::default(),
            spare: Turn::default(),
            late: HashMap::new(),
            hashes: std::hash::RandomState::new(),
            deflater: None,
            deflate,
            compressing: HashSet::new(),
            found: Vec::new(),
            // Places are this worker's own, so an epoch says nothing.
            history: (options.history.messages_max > 0).then(|| History::new(options.history, 1)),
            published: 0,
        }
    }

    /// Whether the next turn has something to do before it waits.
    pub(crate) fn is_pending(&self) -> bool {
        !self.turn.is_empty() || self.bus.has_news()
    }

    pub(crate) fn subscribe(
        &mut self,
        id: ConnId,
        pattern: &str,
        agreed_to_compress: bool,
    ) -> Result<Subscribed, SubscribeError> {
        let pattern = Pattern::parse(pattern).map_err(SubscribeError::BadTopic)?;
        let done = self.topics.subscribe(number_of(id), pattern);
        let done = done.map_err(SubscribeError::Full)?;
        if done == Subscribed::First {
            self.bus.tell_interest("", pattern.as_str(), true);
        }
        if let (true, Some(deflate)) = (agreed_to_compress, &self.deflate) {
            self.compressing.insert(number_of(id));
            let made = || Deflater::new(deflate.setup(deflate.sends.window_bits));
            self.deflater.get_or_insert_with(|| (made(), *deflate));
        }
        Ok(done)
    }

    pub(crate) fn unsubscribe(&mut self, id: ConnId, pattern: &str) -> bool {
        let Ok(pattern) = Pattern::parse(pattern) else {
            return false;
        };
        let number = number_of(id);
        let done = self.topics.unsubscribe(number, pattern);
        if done == Unsubscribed::Last {
            self.bus.tell_interest("", pattern.as_str(), false);
        }
        if self.topics.topics_of(number).next().is_none() {
            self.compressing.remove(&number);
        }
        done != Unsubscribed::NotSubscribed
    }

    pub(crate) fn subscribers_of(&self, pattern: &str) -> usize {
        Pattern::parse(pattern).map_or(0, |pattern| self.topics.subscribers_of(pattern))
    }

    /// Keeps messages of one topic for those who ask for its last ones, if anything is to be kept.
    pub(crate) fn keep(&mut self, now: Instant, turn: &Turn, items: Range<usize>) {
        let Some(history) = &mut self.history else {
            return;
        };
        let topic = std::str::from_utf8(turn.topic(&turn.items[items.start]));
        let Ok(Ok(topic)) = topic.map(Topic::parse) else {
            return;
        };
        for item in &turn.items[items] {
            let (header, range) = &turn.frames[item.message];
            let payload_len = usize::try_from(header.payload_len).unwrap_or(usize::MAX);
            let payload = range.end.saturating_sub(payload_len)..range.end;
            let message = LateRef::new(header.opcode, &turn.bytes[payload]);
            history.publish(now.since(Instant::ZERO), topic, message, Retain::No);
        }
    }

    /// The last messages of a topic that were kept, oldest first.
    pub(crate) fn last(&mut self, now: Instant, topic: &str, count: usize) -> Vec<Rc<Late>> {
        let (Some(history), Ok(topic)) = (&mut self.history, Topic::parse(topic)) else {
            return Vec::new();
        };
        let Some(mut from) = history.position(topic) else {
            return Vec::new();
        };
        from.offset = from.offset.saturating_sub(count as u64);
        let (_, messages) = history.since(now.since(Instant::ZERO), topic, from);
        messages
            .map(|(_, LateRef(message))| Rc::clone(message))
            .collect()
    }

    /// The connection is closed. Returns what was dropped of what waited for it.
    pub(crate) fn leave(&mut self, id: ConnId) -> u64 {
        let number = number_of(id);
        let Self { topics, bus, .. } = self;
        topics.remove(number, |name| bus.tell_interest("", name, false));
        if bus.has_bridge() {
            // A connection can end after the turn has rung.
            bus.ring();
        }
        self.compressing.remove(&number);
        let waiting = self.late.remove(&number);
        waiting.map_or(0, |waiting| waiting.queue.messages() as u64)
    }

    /// Publishes a message to the subscribers of a topic, on all workers. `origin`: the connection that it comes from.
    pub(crate) fn publish(
        &mut self,
        topic: &str,
        (audience, origin): (Audience, u64),
        kind: proto::Kind,
        payload: &[u8],
    ) -> Result<(), PublishError> {
        let topic = Topic::parse(topic).map_err(PublishError::BadTopic)?;
        let topic = topic.as_str().as_bytes();
        let (head, head_len) = frame::message_head(kind, payload.len());
        let kind = match audience {
            Audience::All => Kind::FRAME,
            Audience::Others => Kind::FRAME_FOR_OTHERS,
        };
        self.say(topic, (kind, origin), &[&head[..head_len], payload])?;
        self.published += 1;
        Ok(())
    }

    /// Says something on the bus, and to this worker itself.
    pub(crate) fn say(
        &mut self,
        topic: &[u8],
        (kind, origin): (Kind, u64),
        body: &[&[u8]],
    ) -> Result<(), PublishError> {
        let own = self.bus.own();
        self.turn.push(kind, (own, origin), topic, body);
        let Some(item) = self.turn.items.last() else {
            unreachable!("it was pushed above")
        };
        let result = self
            .bus
            .publish(kind, origin, topic, &self.turn.bytes[item.body.clone()]);
        let Err(refusal) = result else { return Ok(()) };
        self.turn.pop();
        Err(match refusal {
            Refusal::TooBig { bytes_max, .. } => PublishError::TooBig { bytes_max },
            _ => PublishError::Deposed,
        })
    }

    /// Tells the bridge of all topics of the library that are wanted here.
    pub(crate) fn list_interests(&mut self) {
        let Self { topics, bus, .. } = self;
        bus.list_interests("", topics.iter().map(|(name, _)| name));
    }

    /// Collects what was said here and elsewhere since the last call, if anything was.
    pub(crate) fn collect(&mut self, counters: &mut Counters) -> Option<Turn> {
        counters.published += std::mem::take(&mut self.published);
        let Self { bus, turn, .. } = self;
        let own = bus.own();
        bus.read(|seat, said| match said {
            Said::Record {
                kind,
                origin,
                topic,
                body,
            } => {
                if matches!(kind, Kind::INTEREST | Kind::ASK) {
                    if kind == Kind::ASK && interest::asked(body) == Some(own) {
                        turn.asides.push(Aside::Asked { round: origin });
                    }
                    return;
                }
                // Another process is not trusted to have written a frame.
                let is_one = turn.push(kind, (seat, origin), topic, &[body]);
                counters.bus_missed += u64::from(!is_one);
            }
            Said::Missed(records) => {
                counters.bus_missed += records.get();
                turn.asides.push(Aside::Missed { seat, records });
            }
            Said::Replaced => turn.asides.push(Aside::Replaced { seat }),
        });
        bus.ring();
        if turn.is_empty() {
            return None;
        }
        Some(std::mem::replace(turn, std::mem::take(&mut self.spare)))
    }

    pub(crate) fn recycle(&mut self, mut turn: Turn) {
        turn.recycle();
        self.spare = turn;
    }

    /// The subscribers of a topic, each once. Nothing if another process has written what is no topic.
    pub(crate) fn find(&mut self, topic: &[u8], found: &mut Vec<u64>) {
        found.clear();
        let topic = str::from_utf8(topic).ok().map(Topic::parse);
        if let Some(Ok(topic)) = topic {
            self.topics.publish(topic, |number| found.push(number));
        }
    }

    /// Puts a message into the queue of a subscriber that does not keep up, and counts what was dropped.
    pub(crate) fn wait(
        &mut self,
        number: u64,
        topic: &[u8],
        late: LateRef,
        counters: &mut Counters,
    ) -> Push {
        let topic = self.hashes.hash_one(topic);
        let BusOptions { policy, queue, .. } = self.options;
        let waiting = self.late.entry(number).or_insert_with(|| Waiting {
            queue: Queue::new(policy, queue),
            is_listed: false,
        });
        let before = *waiting.queue.drops();
        let push = waiting.queue.push(topic, late);
        counters.late += 1;
        count_drops(counters, waiting.queue.drops(), &before);
        if push == Push::Close {
            self.late.remove(&number);
        }
        push
    }

    /// The frames of a turn as one block, and compressed as well once a subscriber has agreed to that.
    pub(crate) fn prepare(
        &mut self,
        turn: &Turn,
        blocks: &mut Blocks,
    ) -> Result<Prepared, TooMuch> {
        let deflater = self
            .deflater
            .as_mut()
            .filter(|_| !self.compressing.is_empty())
            .map(|(deflater, how)| (deflater, &*how));
        Prepared::of_frames(blocks, &turn.bytes, &turn.frames, deflater)
    }
}

/// Counts what the queues of slow subscribers have dropped since `before`.
pub(crate) const fn count_drops(counters: &mut Counters, now: &Drops, before: &Drops) {
    counters.late_dropped_closed += now.closed - before.closed;
    counters.late_dropped_conflated += now.conflated - before.conflated;
    counters.late_dropped_newest += now.newest - before.newest;
    counters.late_dropped_oldest += now.oldest - before.oldest;
    counters.late_dropped_too_big += now.too_big - before.too_big;
}

//! The `pubsub` service of one worker: requests of its clients and records of the bus in, events to its clients and records out.
//!
//! Owns: who has subscribed here, a copy of the history of every topic, what waits for slow clients, and what waits for other workers.
//! Never: reads a clock, sends, or maps memory; an [`Outlet`] does what is to be done.
//!
//! Each topic has an *owner*, a worker that its name alone decides ([`Station::owner`]). The owner gives each message its place, so that
//! all subscribers on all workers see one order per topic:
//!
//! ```text
//!  publisher ──▶ its station ── publish ──▶ owner: epoch, offset ── message ──▶ every station ──▶ its subscribers, its copy of the history
//!                     ▲                                                              │
//!                     └─────────────────────────── ack ──────────────────────────────┘ the publisher's
//! ```
//!
//! A station that owns the topic of its client's publish writes the message at once. It never reads its own records.
//!
//! To drive a [`Station`]:
//! 1. `open` and `close` for each connection; `handle_request` for each message of a client.
//! 2. `handle_record` for each record of the other workers' logs, `handle_loss` when some were overtaken, and `handle_began` when a log
//!    has a new writer. A worker that takes another's place begins to read at the end of the logs: a publish must not be taken twice.
//! 3. `writable` when a connection that was [`Sent::Full`] takes more.
//! 4. `handle_timeout` at `poll_timeout`.
//!
//! Nothing is silently less: what was dropped for a slow client is told to it in its place; a hole in the offsets of a topic is told as a
//! gap with its number; records that were overtaken, and workers that were replaced, are told as a gap without a number to those who may
//! have missed something.
//!
//! # Allocations
//!
//! A message takes one for the copy in the history; one or two in [`Outlet::prepare`] as that pleases, for each form that somebody wants;
//! one for its topic's name if a subscriber is slow, and as the queue of that one grows. A delivery takes none.
//!
//! | limit | default | memory |
//! |---|---|---|
//! | publishes that wait for their place | 100,000, and 10,000 of one client | about 100 bytes each |
//! | open questions for presence | 1,000, and 100 of one client | about 150 bytes, the topic's name, and a byte for each worker |
//! | answers that wait for a slow client | 1,000 | up to 1 KiB each; beyond, the client is closed with 1013 |

mod clients;
pub mod record;
mod requests;
#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
mod waiting;

use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use crate::history::{self, Applied, History, Position, Weight};
use crate::log::Refusal;
use crate::pubsub::{self, ErrorCode, Event, binary, json};
use crate::queue::{self, Drops, Policy};
use crate::rights::Rights;
use crate::topics::{self, Pattern, Topic, Topics};
use clients::{Clients, Encoded, What};
use record::{Content, Record};
use waiting::Waiting;

/// The form of a message: its opcode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// JSON in a text message.
    Text,
    /// The binary layout in a binary message.
    Binary,
}

impl Form {
    const fn mark(self) -> u8 {
        self as u8
    }

    const fn of_mark(mark: u8) -> Self {
        match mark {
            0 => Self::Text,
            _ => Self::Binary,
        }
    }
}

/// What became of a message that was to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The connection has it.
    Taken,
    /// The connection does not take it now; [`Station::writable`] follows when it would.
    Full,
    /// There is no such connection, or it is closing.
    Gone,
}

/// Whether the clients of this worker want a topic or pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// The first one has subscribed.
    First,
    /// The last one has left.
    None,
}

/// What a station does to its surroundings. The engine implements it for a worker.
pub trait Outlet {
    /// A message encoded once (a frame, perhaps also compressed), for any number of clients. A clone is a reference.
    type Message: Weight;

    /// Makes a message of the bytes of an event.
    fn prepare(&mut self, form: Form, event: &[u8]) -> Self::Message;

    /// Sends a message to a client.
    fn send(&mut self, client: u64, message: &Self::Message) -> Sent;

    /// Writes a record to this worker's log. Every other worker's station gets it by [`Station::handle_record`]; this one does not.
    ///
    /// # Errors
    /// It is not written.
    fn publish(&mut self, body: &[u8]) -> Result<(), Refusal>;

    /// Closes a client's connection with this status code. The station has forgotten the client; [`Station::close`] may follow or not.
    fn close(&mut self, client: u64, code: u16, reason: &str);

    /// Somebody here, or nobody any more, wants this topic or pattern: for a bridge to other machines. Ignored unless implemented.
    fn interest(&mut self, _pattern: &str, _interest: Interest) {}
}

/// What a station may hold, and how it behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The number of this worker, from 0.
    pub worker: usize,
    /// How many there are, at most 65,535. Writers of the bus with higher numbers are no workers, and own no topic.
    pub workers: usize,
    /// Limits of requests.
    pub requests: pubsub::Limits,
    /// Limits of subscriptions.
    pub topics: topics::Limits,
    /// Limits of the history. All workers should have the same.
    pub history: history::Limits,
    /// Limits of what waits for a slow client.
    pub queue: queue::Limits,
    /// What happens to a client that is too slow.
    pub policy: Policy,
    /// Limits of what waits for other workers, and for whom.
    pub waiting: Limits,
}

/// What may wait. See the table of the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Publishes that wait for their place, of all clients.
    pub acks_max: usize,
    /// Of one client.
    pub client_acks_max: usize,
    /// How long each waits before it is answered with [`ErrorCode::Unavailable`].
    pub ack_timeout: Duration,
    /// Questions for presence that other workers have not answered, of all clients.
    pub queries_max: usize,
    /// Of one client.
    pub client_queries_max: usize,
    /// How long each waits before it is answered with what came.
    pub query_timeout: Duration,
    /// Answers and gaps for one slow client.
    pub answers_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            acks_max: 100_000,
            client_acks_max: 10_000,
            ack_timeout: Duration::from_secs(5),
            queries_max: 1000,
            client_queries_max: 100,
            query_timeout: Duration::from_millis(500),
            answers_max: 1000,
        }
    }
}

impl Options {
    /// The defaults for a worker.
    pub fn new(worker: usize, workers: usize) -> Self {
        Self {
            worker,
            workers,
            requests: pubsub::Limits::default(),
            topics: topics::Limits::default(),
            history: history::Limits::default(),
            queue: queue::Limits::default(),
            policy: Policy::DropOldest,
            waiting: Limits::default(),
        }
    }
}

/// What a station has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Publishes of clients that went onto the bus.
    pub published: u64,
    /// Messages with a place that came to this station, its own included.
    pub messages: u64,
    /// Messages that a connection has taken; replayed and retained ones as well.
    pub deliveries: u64,
    /// Messages that were dropped for slow clients, and those that waited when the connection ended.
    pub drops: Drops,
    /// Messages for connections that were found gone, and the rest of a replay for one that was closed meanwhile.
    pub drops_gone: u64,
    /// Gaps that clients were told of.
    pub gaps_told: u64,
    /// Messages in those gaps whose number is known.
    pub gap_messages_told: u64,
    /// How often records of other workers were overtaken.
    pub losses: u64,
    /// How many records that were, as far as it is known.
    pub records_lost: u64,
    /// Records that could not be read, or that their writer may not write.
    pub records_invalid: u64,
    /// Messages that were older than what was known of their topic.
    pub records_stale: u64,
    /// Records that the bus did not take.
    pub records_refused: u64,
    /// Publishes whose place did not come in time.
    pub acks_late: u64,
    /// Questions that not all workers answered in time.
    pub queries_late: u64,
    /// Clients that were closed because they read too slowly.
    pub closed_slow: u64,
    /// Requests that were refused, by [`ErrorCode`].
    refused: [u64; 8],
}

impl Counts {
    /// Requests that were refused with this code.
    pub const fn refused(&self, code: ErrorCode) -> u64 {
        self.refused[code as usize]
    }

    const fn sent(&mut self, what: What) {
        match what {
            What::Answer => {}
            What::Message => self.deliveries += 1,
            What::Gap(messages) => {
                self.gaps_told += 1;
                if let Some(messages) = messages {
                    self.gap_messages_told = self.gap_messages_told.saturating_add(messages.get());
                }
            }
        }
    }
}

/// A message as the history keeps it: the byte of its format, then its data.
type Body = Arc<[u8]>;

/// The service of one worker. `M` is the outlet's message.
pub struct Station<M> {
    reader: json::Reader,
    hall: Hall<M>,
}

impl<M> fmt::Debug for Station<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Station");
        debug
            .field("options", &self.hall.options)
            .finish_non_exhaustive()
    }
}

/// Everything but the reader of requests, from which a request borrows.
struct Hall<M> {
    options: Options,
    topics: Topics,
    history: History<Body>,
    clients: Clients<M>,
    waiting: Waiting,
    /// Where records are written.
    pen: Vec<u8>,
}

impl<M: Weight> Station<M> {
    /// A station without clients. The first epoch must be larger than all that an earlier station of this worker can have used: the time
    /// in nanoseconds, for example.
    ///
    /// # Panics
    /// There are more than 65,535 workers, or the worker is none of them.
    pub fn new(options: Options, first_epoch: u64) -> Self {
        assert!(options.workers <= usize::from(u16::MAX), "too many workers");
        assert!(options.worker < options.workers, "no worker of these");
        let answers_max = options.waiting.answers_max;
        Self {
            reader: json::Reader::new(options.requests),
            hall: Hall {
                options,
                topics: Topics::new(options.topics),
                history: History::new(options.history, first_epoch),
                clients: Clients::new(options.policy, options.queue, answers_max),
                waiting: Waiting::new(first_epoch),
                pen: Vec::new(),
            },
        }
    }

    /// A client has come, with the rights to do this. Its number is not that of another open one.
    pub fn open(&mut self, client: u64, rights: Arc<Rights>) {
        debug_assert!(self.hall.clients.at(client).is_none(), "it is open");
        self.hall.clients.open(client, rights);
    }

    /// The connection has ended. Unknown clients are ignored: the station itself may have ended this one before.
    pub fn close(&mut self, client: u64, outlet: &mut impl Outlet<Message = M>) {
        if let Some(at) = self.hall.clients.at(client) {
            self.hall.remove(at, outlet);
        }
    }

    /// A message of a client.
    pub fn handle_request(
        &mut self,
        now: Duration,
        client: u64,
        form: Form,
        bytes: &[u8],
        outlet: &mut impl Outlet<Message = M>,
    ) {
        let Self { reader, hall } = self;
        let Some(at) = hall.clients.at(client) else {
            return;
        };
        let request = match form {
            Form::Text => reader.read(bytes),
            Form::Binary => binary::read(&hall.options.requests, bytes),
        };
        match request {
            Ok(request) => hall.handle(now, (at, form), &request, outlet),
            Err(refused) => hall.refuse_fault((at, form), refused, outlet),
        }
        hall.sweep(outlet);
    }

    /// A record of another writer of the bus.
    pub fn handle_record(
        &mut self,
        now: Duration,
        from_worker: usize,
        body: &[u8],
        outlet: &mut impl Outlet<Message = M>,
    ) {
        if from_worker == self.hall.options.worker {
            return;
        }
        let record = Record::decode(body);
        let is_valid =
            record.is_some_and(|record| self.hall.take(now, from_worker, &record, outlet));
        self.hall.clients.counts.records_invalid += u64::from(!is_valid);
        self.hall.sweep(outlet);
    }

    /// Records of a worker's log were overtaken before they could be read: messages of its topics, and publishes to topics of this worker.
    pub fn handle_loss(
        &mut self,
        from_worker: usize,
        records: Option<NonZeroU64>,
        outlet: &mut impl Outlet<Message = M>,
    ) {
        let hall = &mut self.hall;
        hall.clients.counts.losses += 1;
        let records_lost = &mut hall.clients.counts.records_lost;
        *records_lost = records_lost.saturating_add(records.map_or(0, NonZeroU64::get));
        let (own, workers) = (hall.options.worker, hall.options.workers);
        hall.tell_gap_of_owners(outlet, |owner| owner == own || owner == from_worker);
        if workers > 1 {
            // Publishes to topics of this worker may be among them, whose subscribers are everywhere.
            let lost = Record::Lost {
                messages: 0,
                topic: None,
            };
            // A log that does not take it has another writer, who tells the same by having begun.
            hall.write(&lost, outlet).ok();
        }
        hall.sweep(outlet);
    }

    /// Another process writes this worker's log from now on. What the one before had not yet written is lost.
    pub fn handle_began(&mut self, worker: usize, outlet: &mut impl Outlet<Message = M>) {
        if worker != self.hall.options.worker {
            self.hall
                .tell_gap_of_owners(outlet, |owner| owner == worker);
            self.hall.sweep(outlet);
        }
    }

    /// The connection of a client takes more.
    pub fn writable(&mut self, client: u64, outlet: &mut impl Outlet<Message = M>) {
        if let Some(at) = self.hall.clients.at(client) {
            self.hall.clients.drain(at, outlet);
            self.hall.sweep(outlet);
        }
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Duration> {
        let history = self.hall.history.poll_timeout();
        let waiting = self.hall.waiting.poll_timeout();
        history.into_iter().chain(waiting).min()
    }

    /// Answers what has waited too long, and forgets what is too old.
    pub fn handle_timeout(&mut self, now: Duration, outlet: &mut impl Outlet<Message = M>) {
        let hall = &mut self.hall;
        hall.history.handle_timeout(now);
        while let Some(ack) = hall.waiting.pop_late_ack(now) {
            hall.clients.counts.acks_late += 1;
            hall.fail_ack(ack.asker, outlet);
        }
        while let Some(query) = hall.waiting.pop_late_query(now) {
            hall.clients.counts.queries_late += 1;
            hall.answer_query(&query, outlet);
        }
        hall.sweep(outlet);
    }

    /// What was done so far.
    pub const fn counts(&self) -> &Counts {
        &self.hall.clients.counts
    }

    /// What was given up of the history.
    pub const fn evictions(&self) -> &history::Evictions {
        self.hall.history.evictions()
    }

    /// Clients that are open.
    pub fn clients(&self) -> usize {
        self.hall.clients.len()
    }

    /// The topics and patterns with subscribers here, and how many each has; in no order.
    pub fn topics(&self) -> impl Iterator<Item = (&str, usize)> {
        self.hall.topics.iter()
    }

    /// Which worker gives the messages of this topic their places.
    pub fn owner(&self, topic: Topic<'_>) -> usize {
        owner(topic.as_str(), self.hall.options.workers)
    }
}

impl<M: Weight> Hall<M> {
    /// Takes a record. Says whether its writer may write it.
    fn take(
        &mut self,
        now: Duration,
        from: usize,
        record: &Record<'_>,
        outlet: &mut impl Outlet<Message = M>,
    ) -> bool {
        let Options {
            worker, workers, ..
        } = self.options;
        match *record {
            Record::Publish { ticket, content } => {
                let Ok(origin) = u16::try_from(from) else {
                    return false;
                };
                if owner(content.topic.as_str(), workers) == worker {
                    // What the bus refuses is counted, and its publisher is told when its time is over.
                    self.sequence(now, (origin, ticket), &content, outlet).ok();
                }
            }
            Record::Message {
                origin,
                ticket,
                position,
                content,
            } => {
                if owner(content.topic.as_str(), workers) != from {
                    return false;
                }
                self.spread(now, position, &content, outlet);
                if usize::from(origin) == worker {
                    self.acknowledge(ticket, position, outlet);
                }
            }
            Record::Query { ticket, topic } => {
                let Ok(to) = u16::try_from(from) else {
                    return false;
                };
                let subscribers = self.subscribers_of(topic);
                let count = Record::Count {
                    to,
                    ticket,
                    subscribers,
                };
                // Whoever asked answers without this worker when the time is over.
                self.write(&count, outlet).ok();
            }
            Record::Count {
                to,
                ticket,
                subscribers,
            } => {
                if usize::from(to) != worker {
                    return true;
                }
                let query = self.waiting.answer(ticket, from, subscribers);
                if let Some(query) = query {
                    self.answer_query(&query, outlet);
                }
            }
            Record::Lost {
                messages,
                topic: Some(topic),
            } => self.tell_gap_of(topic, NonZeroU64::new(messages), outlet),
            Record::Lost { topic: None, .. } => {
                self.tell_gap_of_owners(outlet, |owner| owner == from || from >= workers);
            }
        }
        true
    }

    /// Gives a message of an own topic its place, and tells everybody.
    fn sequence(
        &mut self,
        now: Duration,
        (origin, ticket): (u16, u64),
        content: &Content<'_>,
        outlet: &mut impl Outlet<Message = M>,
    ) -> Result<Position, Refusal> {
        let position = self.history.next(content.topic);
        let message = Record::Message {
            origin,
            ticket,
            position,
            content: *content,
        };
        self.write(&message, outlet)?;
        self.spread(now, position, content, outlet);
        Ok(position)
    }

    /// Keeps a message that has its place, and delivers it to the subscribers here.
    fn spread(
        &mut self,
        now: Duration,
        position: Position,
        content: &Content<'_>,
        outlet: &mut impl Outlet<Message = M>,
    ) {
        let Content {
            topic,
            retain,
            payload,
        } = *content;
        let (format, data) = record::kept(payload);
        self.pen.clear();
        self.pen.push(format);
        self.pen.extend_from_slice(data);
        let body = Body::from(&*self.pen);
        self.clients.counts.messages += 1;
        let applied = self.history.apply(now, topic, position, body, retain);
        let missing = match applied {
            Applied::Stale => {
                self.clients.counts.records_stale += 1;
                return;
            }
            Applied::Next => None,
            Applied::Behind(messages) => Some(messages),
            Applied::BeganAgain(messages) => NonZeroU64::new(messages),
        };
        if missing.is_some() {
            self.tell_gap_of(topic, missing, outlet);
        }
        let offset = NonZeroU64::new(position.offset);
        let mut event = Encoded::new(Event::Message {
            topic,
            offset,
            payload,
        });
        let Self {
            topics, clients, ..
        } = self;
        topics.publish_marked(topic, |at, mark| {
            clients.deliver(place(at), Form::of_mark(mark), &mut event, outlet);
        });
    }

    fn acknowledge(
        &mut self,
        ticket: u64,
        position: Position,
        outlet: &mut impl Outlet<Message = M>,
    ) {
        let Some(ack) = self.waiting.acks.remove(&ticket) else {
            return;
        };
        let asker = ack.asker;
        let client = self.clients.get_mut(asker.at, asker.serial);
        if let (Some(client), Some(id)) = (client, asker.id) {
            client.acks_waiting -= 1;
            let position = Some(position);
            let mut event = Encoded::new(Event::Ack { id, position });
            self.clients
                .answer(asker.at, asker.form, What::Answer, &mut event, outlet);
        }
    }

    /// Tells the subscribers of a topic that messages of it are missing.
    fn tell_gap_of(
        &mut self,
        topic: Topic<'_>,
        messages: Option<NonZeroU64>,
        outlet: &mut impl Outlet<Message = M>,
    ) {
        let mut event = Encoded::new(Event::Gap {
            topic: Some(topic),
            messages,
        });
        let Self {
            topics, clients, ..
        } = self;
        topics.publish_marked(topic, |at, mark| {
            let (at, form) = (place(at), Form::of_mark(mark));
            match messages {
                Some(messages) => clients.tell_gap(at, form, messages, &mut event, outlet),
                None => clients.answer(at, form, What::Gap(None), &mut event, outlet),
            }
        });
    }

    /// Tells all who may have missed messages of these owners' topics: nobody knows which, and how many.
    fn tell_gap_of_owners(
        &mut self,
        outlet: &mut impl Outlet<Message = M>,
        is_meant: impl Fn(usize) -> bool,
    ) {
        let workers = self.options.workers;
        let mut event = Encoded::new(Event::Gap {
            topic: None,
            messages: None,
        });
        let Self {
            topics, clients, ..
        } = self;
        let may_miss = |name: &str| {
            let topic = Pattern::parse(name).ok().and_then(Pattern::as_topic);
            topic.is_none_or(|topic| is_meant(owner(topic.as_str(), workers)))
        };
        topics.subscribers_with(may_miss, |at| {
            let at = place(at);
            let form = clients.client(at).form;
            clients.answer(at, form, What::Gap(None), &mut event, outlet);
        });
    }

    fn write(
        &mut self,
        record: &Record<'_>,
        outlet: &mut impl Outlet<Message = M>,
    ) -> Result<(), Refusal> {
        self.pen.clear();
        record.encode(&mut self.pen);
        let result = outlet.publish(&self.pen);
        self.clients.counts.records_refused += u64::from(result.is_err());
        result
    }

    /// Ends those that turned out to be gone or too slow.
    fn sweep(&mut self, outlet: &mut impl Outlet<Message = M>) {
        while let Some(at) = self.clients.pop_leaving(outlet) {
            self.remove(at, outlet);
        }
    }

    fn remove(&mut self, at: usize, outlet: &mut impl Outlet<Message = M>) {
        self.topics
            .remove(at as u64, |name| outlet.interest(name, Interest::None));
        self.clients.remove(at);
    }
}

/// The place of a client, as the table of topics has it.
fn place(subscriber: u64) -> usize {
    usize::try_from(subscriber).expect("it was a usize")
}

/// FNV-1a with 64 bits: the same in every process and every build.
fn owner(topic: &str, workers: usize) -> usize {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = topic.bytes().fold(0xcbf2_9ce4_8422_2325, step);
    // The low bits alone hardly depend on the last byte's high ones.
    let hash = hash ^ (hash >> 32);
    usize::try_from(hash % workers as u64).expect("below a usize")
}

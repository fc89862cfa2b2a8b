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
mod options;
mod outlet;
pub mod record;
mod records;
mod requests;
#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
mod waiting;

use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use crate::history::{self, History, Weight};
use crate::log::Refusal;
use crate::pubsub::{binary, json};
use crate::rights::Rights;
use crate::topics::{Topic, Topics};
use clients::Clients;
pub use options::{Counts, Limits, Options};
pub use outlet::{Form, Interest, Outlet, Sent};
use record::Record;
use waiting::Waiting;

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

/// FNV-1a with 64 bits: the same in every process and every build.
fn owner(topic: &str, workers: usize) -> usize {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = topic.bytes().fold(0xcbf2_9ce4_8422_2325, step);
    // The low bits alone hardly depend on the last byte's high ones.
    let hash = hash ^ (hash >> 32);
    usize::try_from(hash % workers as u64).expect("below a usize")
}

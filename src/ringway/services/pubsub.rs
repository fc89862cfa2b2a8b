//! Publish and subscribe for clients: topics by name, with history, retained messages and presence (`docs/pubsub.md`).
//!
//! Owns: the way between a worker's connections, the bus and the station. Never: knows a request (`ringway_bus::station` does).
//!
//! ```text
//!  message · writable · close ──▶ work of the turn ──▶ turn ──▶ Station ──▶ connections of this worker
//!                                       notes of others ──▶ event ──┘  └──▶ notes to others
//! ```

use std::ops::Range;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use ringway_bus::api;
use ringway_bus::history::Weight;
use ringway_bus::log::Refusal;
use ringway_bus::station::{Counts, Form, Interest, Options, Outlet, Sent, Station};

use super::admission::Admission;
use super::ask;
use super::echo::Subprotocols;
use super::members::{Guest, Members};
use crate::proto::{CloseCode, Kind, Message, Role};
use crate::protocol::{
    App, Closed, Context, Handle, News, Opening, Prepared, PublishError, Scope, Verdict, conn_of,
    count_drops, number_of,
};
use crate::stats::Counters;
use crate::time::Instant;

/// Bytes in the send queue of a connection from which on messages wait for it as references (64 KiB).
const QUEUED_BYTES_MAX: usize = 64 << 10;

/// Bytes for which the work of a turn keeps memory.
const KEPT_BYTES: usize = 1 << 20;

/// The application `pubsub`. It needs a bus ([`Server::bus`](crate::Server::bus)).
#[derive(Debug)]
pub struct PubSub {
    subprotocols: Subprotocols,
    station: Station<Encoded>,
    members: Members,
    /// The path of the service.
    service: String,
    /// Under which topic the stations of this service speak to each other.
    name: String,
    work: Vec<Work>,
    /// Payloads of [`Work::Request`].
    bytes: Vec<u8>,
    /// What was counted when the worker's counters were last brought up to date.
    counted: Counts,
}

#[derive(Debug)]
enum Work {
    Request(u64, Form, Range<usize>),
    Writable(u64),
    Close(u64),
}

/// An event, encoded once.
#[derive(Clone, Debug)]
pub(super) enum Encoded {
    Prepared(Prepared),
    /// No block was free for it: it is copied for each client.
    Copied(Rc<(Kind, Box<[u8]>)>),
}

impl Weight for Encoded {
    fn bytes(&self) -> usize {
        match self {
            Self::Prepared(prepared) => prepared.wire_bytes(0),
            Self::Copied(message) => message.1.len(),
        }
    }
}

impl PubSub {
    /// The service of a worker, under a name that no other one of the server has.
    ///
    /// # Panics
    /// There is no such worker.
    pub fn new(
        name: &str,
        options: Options,
        admission: Admission,
        subprotocols: Subprotocols,
    ) -> Self {
        let epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        // Later than that of the process before, unless the clock was set back for the time between two starts.
        let epoch = epoch.map_or(0, |since| {
            u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
        });
        Self {
            subprotocols,
            station: Station::new(options, epoch),
            members: Members::new(admission),
            service: name.to_owned(),
            name: api::pubsub_topic(name),
            work: Vec::new(),
            bytes: Vec::new(),
            counted: Counts::default(),
        }
    }

    /// What a turn or an event has led to: counters, and when the station wants to be called again.
    fn settle(&mut self, worker: &mut Handle<'_>) {
        let now = *self.station.counts();
        count(worker.counters(), &now, &self.counted);
        self.counted = now;
        if let Some(due) = self.station.poll_timeout() {
            worker.commands().wake_at(Instant::ZERO + due);
        }
    }
}

/// The instants of the station.
fn since_zero(now: Instant) -> Duration {
    now.since(Instant::ZERO)
}

impl App for PubSub {
    /// Between the opening handshake and the first message.
    type Session = Option<Box<Guest>>;

    fn connect(&mut self, opening: &mut Opening<'_>, session: &mut Self::Session) -> Verdict {
        match self.members.admit(opening) {
            Ok(guest) => *session = Some(Box::new(guest)),
            Err(refused) => return refused,
        }
        self.subprotocols.accept(opening)
    }

    fn open(&mut self, context: &mut Context<'_>, session: &mut Self::Session) {
        let Some(guest) = session.take() else { return };
        let rights = guest.admitted.rights.clone();
        self.station.open(number_of(context.id()), rights);
        self.members.enter(context, *guest);
    }

    fn message(
        &mut self,
        context: &mut Context<'_>,
        _session: &mut Self::Session,
        message: Message<'_>,
    ) {
        if !self.members.is_heard(number_of(context.id())) {
            return;
        }
        let form = match message.kind() {
            Kind::Text => Form::Text,
            Kind::Binary => Form::Binary,
        };
        let start = self.bytes.len();
        self.bytes.extend_from_slice(message.payload());
        let range = start..self.bytes.len();
        self.work
            .push(Work::Request(number_of(context.id()), form, range));
    }

    fn writable(&mut self, context: &mut Context<'_>, _session: &mut Self::Session) {
        self.work.push(Work::Writable(number_of(context.id())));
    }

    fn close(&mut self, scope: &mut Scope<'_>, _session: Self::Session, _closed: Closed<'_>) {
        self.members.leave(number_of(scope.id()));
        self.work.push(Work::Close(number_of(scope.id())));
        // A connection can end after the application's turn.
        scope.commands().wake();
    }

    fn event(&mut self, worker: &mut Handle<'_>, news: &News<'_>) {
        let now = since_zero(worker.now());
        let outlet = &mut Out {
            worker,
            name: &self.name,
        };
        match *news {
            News::Note { seat, topic, body } if topic == self.name.as_bytes() => {
                self.station.handle_record(now, seat, body, outlet);
            }
            News::Missed { seat, records } => self.station.handle_loss(seat, Some(records), outlet),
            News::Replaced { seat } => self.station.handle_began(seat, outlet),
            News::Asked => {
                let patterns = self.station.topics().map(|(name, _)| name);
                worker.list_interests(&self.name, patterns);
            }
            _ => return ask::answer(self, worker, news),
        }
        self.settle(worker);
    }

    fn turn(&mut self, worker: &mut Handle<'_>) {
        self.members.turn(worker);
        let now = since_zero(worker.now());
        let is_due = self.station.poll_timeout().is_some_and(|due| due <= now);
        if self.work.is_empty() && !is_due {
            return self.settle(worker);
        }
        let outlet = &mut Out {
            worker,
            name: &self.name,
        };
        for work in self.work.drain(..) {
            match work {
                Work::Request(client, form, range) => {
                    let bytes = &self.bytes[range];
                    self.station
                        .handle_request(now, client, form, bytes, outlet);
                }
                Work::Writable(client) => self.station.writable(client, outlet),
                Work::Close(client) => self.station.close(client, outlet),
            }
        }
        if is_due {
            self.station.handle_timeout(now, outlet);
        }
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES);
        self.settle(worker);
    }
}

impl ask::Asked for PubSub {
    fn service(&self) -> &str {
        &self.service
    }

    fn topics(&self) -> Vec<(&str, u64)> {
        let topics = self.station.topics();
        topics
            .map(|(name, subscribers)| (name, subscribers as u64))
            .collect()
    }

    fn members(&mut self) -> &mut Members {
        &mut self.members
    }
}

/// The worker, as the station sees it.
struct Out<'a, 'w> {
    worker: &'a mut Handle<'w>,
    name: &'a str,
}

impl Outlet for Out<'_, '_> {
    type Message = Encoded;

    fn prepare(&mut self, form: Form, event: &[u8]) -> Encoded {
        let kind = match form {
            Form::Text => Kind::Text,
            Form::Binary => Kind::Binary,
        };
        match self.worker.prepare(Role::Server, &[(kind, event)]) {
            Ok(prepared) => Encoded::Prepared(prepared),
            Err(_) => Encoded::Copied(Rc::new((kind, event.into()))),
        }
    }

    fn send(&mut self, client: u64, message: &Encoded) -> Sent {
        let Some(mut context) = self.worker.context(conn_of(client)) else {
            return Sent::Gone;
        };
        if context.queued_bytes() > QUEUED_BYTES_MAX {
            context.tell_when_writable();
            return Sent::Full;
        }
        let result = match message {
            Encoded::Prepared(prepared) => context.send_prepared(prepared, 0),
            Encoded::Copied(message) => context.send(message.0, &message.1),
        };
        match result {
            Ok(()) => Sent::Taken,
            Err(crate::protocol::SendError::QueueFull) => Sent::Full,
            Err(_) => Sent::Gone,
        }
    }

    fn publish(&mut self, body: &[u8]) -> Result<(), Refusal> {
        self.worker.note(self.name, body).map_err(|why| match why {
            PublishError::TooBig { bytes_max } => Refusal::TooBig {
                bytes: body.len(),
                bytes_max,
            },
            _ => Refusal::Deposed,
        })
    }

    fn interest(&mut self, pattern: &str, interest: Interest) {
        self.worker
            .tell_interest(self.name, pattern, interest == Interest::First);
    }

    fn close(&mut self, client: u64, code: u16, reason: &str) {
        if let Some(mut context) = self.worker.context(conn_of(client)) {
            // Fails only if it is closing already.
            let _ = context.close(
                CloseCode::sendable(code).unwrap_or(CloseCode::TryAgainLater),
                reason,
            );
        }
    }
}

fn count(counters: &mut Counters, now: &Counts, before: &Counts) {
    counters.published += now.published - before.published;
    counters.deliveries += now.deliveries - before.deliveries;
    counters.drops += now.drops_gone - before.drops_gone;
    count_drops(counters, &now.drops, &before.drops);
}

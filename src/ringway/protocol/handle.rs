//! What [`App::turn`](super::App::turn) can do with its worker.

use std::sync::Arc;

use ringway_bus::topics::BadTopic;

use super::commands::Commands;
use super::context::Context;
use super::fanout::{Audience, Fanout, PublishError};
use super::prepared::{Prepared, TooMuch};
use super::request::OpeningRequest;
use super::waker::Waker;
use crate::bus;
use crate::io::sys::Traffic;
use crate::io::{ConnId, ConnectOptions, Errno};
use crate::proto::{Kind, Role};
use crate::stats::Counters;
use crate::time::Instant;

/// The worker, its connections and its clock.
#[expect(
    missing_debug_implementations,
    reason = "a borrowed worker: nothing to show"
)]
pub struct Handle<'a> {
    worker: &'a mut dyn Reach,
}

impl<'a> Handle<'a> {
    pub(crate) const fn new(worker: &'a mut dyn Reach) -> Self {
        Self { worker }
    }

    /// The worker's clock as read in this turn: when its wait ended or, for a client, at its last bulk receive.
    pub fn now(&self) -> Instant {
        self.worker.now()
    }

    /// The clock now. Later than [`Self::now`] by what the turn has taken so far.
    pub fn clock(&self) -> Instant {
        self.worker.clock()
    }

    /// Connections of this worker in any phase. Those count whose conversation is over and whose socket has not ended.
    pub fn connections(&self) -> usize {
        self.worker.connections()
    }

    /// Whether the worker accepts nothing more and ends when its connections have.
    pub fn is_stopping(&self) -> bool {
        self.worker.is_stopping()
    }

    /// Begins a connection in the client's role. Within `handshake_timeout`, the worker calls
    /// [`App::open`](super::App::open) or [`App::failed`](super::App::failed); both see `tag`.
    ///
    /// # Errors
    /// No descriptor (`EMFILE`), no port (`EADDRNOTAVAIL`), no route, or the worker is stopping (`ESHUTDOWN`). No
    /// connection was begun then, and no callback follows.
    pub fn connect(
        &mut self,
        dial: &ConnectOptions,
        request: &Arc<OpeningRequest>,
        tag: u32,
    ) -> Result<ConnId, Errno> {
        self.worker.connect(dial, request, tag)
    }

    /// An open connection, to send on it or to close it. `None` when it is not open.
    pub fn context(&mut self, id: ConnId) -> Option<Context<'_>> {
        self.worker.context(id)
    }

    /// What the kernel has counted of a connection in any phase: bytes, retransmissions, round-trip time. A system call of
    /// about 0.3 us, and nothing when it is not asked for. `None`: the connection has ended, or is a Unix socket.
    pub fn traffic(&mut self, id: ConnId) -> Option<Traffic> {
        self.worker.traffic(id)
    }

    /// Encodes messages once, to be sent any number of times on connections in `role`. The memory is freed when the
    /// last clone is dropped and the last send is done.
    ///
    /// # Errors
    /// [`TooMuch`]: more than 1 GiB of messages, or no block is free.
    pub fn prepare(&mut self, role: Role, messages: &[(Kind, &[u8])]) -> Result<Prepared, TooMuch> {
        self.worker.prepare(role, messages)
    }

    /// Ends a connection in any phase with RST at the end of this turn.
    pub fn reset(&mut self, id: ConnId) {
        self.worker.reset(id);
    }

    /// Sends the connection's output of this turn at once, with one system call for this connection only. Otherwise it
    /// leaves with the other connections' output at the end of the turn. Use it to measure like a client that has no
    /// other connection.
    pub fn send_now(&mut self, id: ConnId) {
        self.worker.send_now(id);
    }

    /// Stops reading from an open connection, as a slow reader does: what its peer sends fills the socket. Bytes that
    /// have arrived are still delivered. If you close a paused connection, resume it as well: otherwise the peer's
    /// Close is never read.
    pub fn pause(&mut self, id: ConnId) {
        self.worker.pause(id);
    }

    /// Goes on reading after [`Self::pause`].
    pub fn resume(&mut self, id: ConnId) {
        self.worker.resume(id);
    }

    /// Sends a message to the subscribers of a topic, on all workers. Those of this worker get it in this turn if it is published in
    /// [`App::event`](super::App::event) or [`App::turn`](super::App::turn).
    ///
    /// # Errors
    /// [`PublishError`]; nobody gets it.
    pub fn publish(&mut self, topic: &str, kind: Kind, payload: &[u8]) -> Result<(), PublishError> {
        let fanout = self.worker.fanout().ok_or(PublishError::NoBus)?;
        fanout.publish(topic, (Audience::All, u64::MAX), kind, payload)
    }

    /// Says something to the applications of all workers, this one included: each gets it as [`News::Note`](super::News::Note). The
    /// notes of one worker come in order. `topic` is any text that they agree on, of at most 65,535 bytes.
    ///
    /// # Errors
    /// [`PublishError`]; nobody gets it.
    pub fn note(&mut self, topic: &str, body: &[u8]) -> Result<(), PublishError> {
        let fanout = self.worker.fanout().ok_or(PublishError::NoBus)?;
        if topic.len() > usize::from(u16::MAX) {
            return Err(PublishError::BadTopic(BadTopic::TooLong));
        }
        fanout.say(topic.as_bytes(), (bus::Kind::NOTE, u64::MAX), &[body])
    }

    /// Tells the bridge to a broker, if there is one, of the first subscriber of a service or of the end of the last one.
    pub(crate) fn tell_interest(&mut self, space: &str, pattern: &str, is_wanted: bool) {
        if let Some(fanout) = self.worker.fanout() {
            fanout.bus.tell_interest(space, pattern, is_wanted);
        }
    }

    /// Tells the bridge of all that a service wants.
    pub(crate) fn list_interests<'p>(
        &mut self,
        space: &str,
        patterns: impl Iterator<Item = &'p str>,
    ) {
        if let Some(fanout) = self.worker.fanout() {
            fanout.bus.list_interests(space, patterns);
        }
    }

    /// Connections of this worker that have subscribed to exactly this topic or pattern.
    pub fn subscribers(&mut self, pattern: &str) -> usize {
        let fanout = self.worker.fanout();
        fanout.map_or(0, |fanout| fanout.subscribers_of(pattern))
    }

    /// The worker's counters, for applications that come with Ringway.
    pub(crate) fn counters(&mut self) -> &mut Counters {
        self.worker.counters()
    }

    /// What wakes this worker from another thread. All wakers of a worker ring one bell.
    ///
    /// # Errors
    /// The process has no descriptor left for the bell.
    pub fn waker(&mut self) -> std::io::Result<Waker> {
        self.worker.waker()
    }

    /// The list of commands that other callbacks use. The worker drains it after [`App::turn`](super::App::turn).
    pub fn commands(&mut self) -> &mut Commands {
        self.worker.commands()
    }
}

/// What a [`Handle`] needs of a worker, for any ring and any application.
pub(crate) trait Reach {
    fn now(&self) -> Instant;
    fn clock(&self) -> Instant;
    fn connections(&self) -> usize;
    fn is_stopping(&self) -> bool;
    fn connect(
        &mut self,
        dial: &ConnectOptions,
        request: &Arc<OpeningRequest>,
        tag: u32,
    ) -> Result<ConnId, Errno>;
    fn context(&mut self, id: ConnId) -> Option<Context<'_>>;
    fn traffic(&mut self, id: ConnId) -> Option<Traffic>;
    fn prepare(&mut self, role: Role, messages: &[(Kind, &[u8])]) -> Result<Prepared, TooMuch>;
    fn reset(&mut self, id: ConnId);
    fn send_now(&mut self, id: ConnId);
    fn pause(&mut self, id: ConnId);
    fn resume(&mut self, id: ConnId);
    fn commands(&mut self) -> &mut Commands;
    fn fanout(&mut self) -> Option<&mut Fanout>;
    fn counters(&mut self) -> &mut Counters;
    fn waker(&mut self) -> std::io::Result<Waker>;
}

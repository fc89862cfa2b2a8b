//! The worker as its application reaches it once per turn, in [`App::turn`](super::App::turn).

use std::sync::Arc;

use super::commands::Commands;
use super::context::Context;
use super::prepared::{Prepared, TooMuch};
use super::request::OpeningRequest;
use crate::io::{ConnId, ConnectOptions, Errno};
use crate::proto::{Kind, Role};
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

    /// The instant of this turn.
    pub fn now(&self) -> Instant {
        self.worker.now()
    }

    /// The clock now: later than [`Self::now`] by what the turn itself took so far.
    pub fn clock(&self) -> Instant {
        self.worker.clock()
    }

    /// Begins a connection in the client's role. [`App::open`](super::App::open) or [`App::failed`](super::App::failed) tells
    /// what became of it, with `tag`, after at most `handshake_timeout`.
    ///
    /// # Errors
    /// No descriptor (`EMFILE`), no port (`EADDRNOTAVAIL`), no route, or the worker is stopping (`ESHUTDOWN`): nothing was
    /// begun, and nothing will be told.
    pub fn connect(
        &mut self,
        dial: &ConnectOptions,
        request: &Arc<OpeningRequest>,
        tag: u32,
    ) -> Result<ConnId, Errno> {
        self.worker.connect(dial, request, tag)
    }

    /// An open connection, to send on it or to close it. `None` when it is not open (any more).
    pub fn context(&mut self, id: ConnId) -> Option<Context<'_>> {
        self.worker.context(id)
    }

    /// Encodes messages once, to be sent any number of times on connections in `role`.
    ///
    /// # Errors
    /// [`TooMuch`].
    pub fn prepare(&mut self, role: Role, messages: &[(Kind, &[u8])]) -> Result<Prepared, TooMuch> {
        self.worker.prepare(role, messages)
    }

    /// Ends a connection in any phase with RST at the end of this turn.
    pub fn reset(&mut self, id: ConnId) {
        self.worker.reset(id);
    }

    /// Sends what was handed over for a connection in this turn with a system call of its own, now, instead of together with what
    /// the others send at the end of the turn: as a client does that has no other connection.
    pub fn send_now(&mut self, id: ConnId) {
        self.worker.send_now(id);
    }

    /// Stops reading from an open connection, as a slow reader does: what its peer sends fills the socket. What has arrived
    /// is still delivered. Who closes a connection that is paused has to resume it as well, or the peer's answer is never
    /// read.
    pub fn pause(&mut self, id: ConnId) {
        self.worker.pause(id);
    }

    /// Goes on reading after [`Self::pause`].
    pub fn resume(&mut self, id: ConnId) {
        self.worker.resume(id);
    }

    /// The list that other callbacks use. It is drained after [`App::turn`](super::App::turn).
    pub fn commands(&mut self) -> &mut Commands {
        self.worker.commands()
    }
}

/// What a [`Handle`] needs, whatever the worker's ring and application are.
pub(crate) trait Reach {
    fn now(&self) -> Instant;
    fn clock(&self) -> Instant;
    fn connect(
        &mut self,
        dial: &ConnectOptions,
        request: &Arc<OpeningRequest>,
        tag: u32,
    ) -> Result<ConnId, Errno>;
    fn context(&mut self, id: ConnId) -> Option<Context<'_>>;
    fn prepare(&mut self, role: Role, messages: &[(Kind, &[u8])]) -> Result<Prepared, TooMuch>;
    fn reset(&mut self, id: ConnId);
    fn send_now(&mut self, id: ConnId);
    fn pause(&mut self, id: ConnId);
    fn resume(&mut self, id: ConnId);
    fn commands(&mut self) -> &mut Commands;
}

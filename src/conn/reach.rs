//! What an application may do of its own accord, once per turn.

use std::sync::Arc;

use super::connection::{Connection, Phase};
use super::context::Context;
use super::dialling::{self, OpeningRequest};
use super::table::Table;
use super::worker::Core;
use crate::io::{BufferId, ConnId, Dial, Errno, Io, Op, ReceiveMode, Token};
use crate::proto::Role;
use crate::time::Instant;

/// The worker as its application reaches it in [`App::turn`](super::App::turn).
#[derive(Debug)]
pub struct Reach<'a, I> {
    pub(super) core: &'a mut Core<I>,
    pub(super) table: &'a mut Table,
}

impl<I: Io> Reach<'_, I> {
    /// The instant of this turn.
    pub const fn now(&self) -> Instant {
        self.core.shared.now
    }

    /// The clock, for who wants to know what the turn itself took so far.
    pub fn clock(&self) -> Instant {
        self.core.io.now()
    }

    /// Begins a connection in the client's role. [`App::open`](super::App::open) or [`App::failed`](super::App::failed) tells
    /// what became of it, with `tag`, after at most `handshake_timeout`.
    ///
    /// # Errors
    /// No descriptor (`EMFILE`), no port (`EADDRNOTAVAIL`), no route, or the worker is stopping (`ESHUTDOWN`): nothing was
    /// begun, and nothing will be told.
    pub fn connect(
        &mut self,
        dial: &Dial,
        request: &Arc<OpeningRequest>,
        tag: u32,
    ) -> Result<ConnId, Errno> {
        let Core { io, shared, .. } = &mut *self.core;
        if shared.draining {
            return Err(Errno(libc::ESHUTDOWN));
        }
        let fd = io.connect(dial)?;
        let receive = io.receive_mode().into();
        let (limits, now) = (shared.config.message_limits, shared.now);
        let new = |id| Connection::new(id, fd, Role::Client, receive, limits, now);
        let id = self.table.insert(new);
        let Some(conn) = self.table.get_mut(id) else {
            unreachable!("it was inserted above")
        };
        conn.tag = tag;
        conn.head = Some(dialling::head(request, shared.keys.nonce()));
        if io.receive_mode() == ReceiveMode::Readiness {
            // Where readiness is one registration, reading comes first and waiting for room is added to it.
            conn.armed.poll_in = true;
            io.submit_poll_in(Token::new(Op::PollIn, id), fd);
        }
        conn.armed.poll_out = true;
        io.submit_poll_out(Token::new(Op::PollOut, id), fd);
        shared.reschedule(conn, Some(now + shared.config.handshake_timeout));
        Ok(id)
    }

    /// An open connection, to send on it or to close it.
    pub fn context(&mut self, id: ConnId) -> Option<Context<'_>> {
        let conn = self.table.get_mut(id)?;
        if conn.phase != Phase::Open {
            return None;
        }
        let (_, scratch) = self.core.io.buffer_and_scratch(BufferId::SCRATCH);
        Some(self.core.shared.context(conn, scratch, BufferId::HOT))
    }

    /// Sends what was handed over for a connection in this turn with a system call of its own, now, in place of together
    /// with what the others send at the turn's end: as one does who has no other connection.
    pub fn send_now(&mut self, id: ConnId) {
        let Some(conn) = self.table.get_mut(id) else {
            return;
        };
        let waits_for_room = conn.armed.poll_out;
        if conn.phase == Phase::Open && !waits_for_room && self.core.send_now(conn).is_err() {
            self.core.shared.condemned.push(id);
        }
    }

    /// Ends a connection in any phase with RST at the end of this turn.
    pub fn reset(&mut self, id: ConnId) {
        self.core.shared.condemned.push(id);
    }

    /// Stops reading from a server while the connection is open, as a slow reader does: what it sends fills the socket.
    /// Octets that have arrived are still delivered. Who closes a connection that is held has to release it as well, or
    /// the server's answer is never read.
    pub fn hold(&mut self, id: ConnId) {
        let Some(conn) = self.table.get_mut(id) else {
            return;
        };
        if conn.role == Role::Client && !conn.paused && conn.phase == Phase::Open {
            conn.paused = true;
            if conn.armed.recv {
                self.core.cancel_receive(conn);
            }
        }
    }

    /// Goes on reading.
    pub fn release(&mut self, id: ConnId) {
        let Some(conn) = self.table.get_mut(id) else {
            return;
        };
        if conn.role == Role::Client {
            self.core.release(conn);
        }
    }
}

//! The part of a worker that a [`Handle`](crate::protocol::Handle) reaches.

use std::sync::Arc;
use std::time::Duration;

use crate::conn::link::{Link, Pauses, Phase, Side};
use crate::io::sys::{self, Traffic};
use crate::io::{BufferId, ConnId, ConnectOptions, Errno, Fd, Io, Op, ReceiveMode, Token};
use crate::proto::{Kind, Role};
use crate::protocol::{
    Commands, Connection, Context, Core, Fanout, OpeningRequest, Prepared, Reach, Speaks, Table,
    TooMuch, Waker,
};
use crate::stats::Counters;
use crate::time::Instant;

/// The number of the watch of the bell that other threads ring.
const WAKER: u32 = 30;

impl<I: Io> Core<I> {
    /// Whether the watch of this number is the one that other threads ring. If so, it has rung: every call of
    /// [`App::turn`](crate::protocol::App::turn) from now on sees what they left. `is_watched`: the kernel tells of the next ring as well.
    #[cold]
    pub(super) fn hush_waker(&mut self, number: u32, is_watched: bool) -> bool {
        let waker = self.shared.protocol.waker.as_ref();
        let Some(waker) = waker.filter(|_| number == WAKER) else {
            return false;
        };
        waker.hush();
        if !is_watched {
            // A full completion queue ends a multishot poll.
            let token = Token::fixed(Op::Watch, WAKER);
            self.io.submit_poll_in(token, waker.fd());
        }
        true
    }
}

/// The ring and the connections of a worker, apart from its application.
#[derive(Debug)]
pub(crate) struct Reachable<'a, I> {
    pub(crate) core: &'a mut Core<I>,
    pub(crate) table: &'a mut Table,
}

impl<I: Io> Core<I> {
    /// Adds a connection that we began. It has to be open within `timeout`.
    pub(super) fn insert_begun<'a>(
        &mut self,
        table: &'a mut Table,
        (fd, speaks): (Fd, Speaks),
        timeout: Duration,
    ) -> &'a mut Connection {
        let receive = self.io.receive_mode().into();
        let now = self.shared.now;
        let id = table.insert(|id| Connection {
            link: Link::new(id, fd, Side::Begun, receive, now),
            speaks,
        });
        let Some(conn) = table.get_mut(id) else {
            unreachable!("it was inserted above")
        };
        conn.link.is_apart = self.shared.protocol.frame_log.is_some();
        self.await_connect(&mut conn.link, timeout);
        conn
    }

    /// Waits for the kernel to decide a connect that has begun.
    fn await_connect(&mut self, link: &mut Link, timeout: Duration) {
        let (id, fd) = (link.id, link.fd);
        if self.io.receive_mode() == ReceiveMode::Readiness {
            // Where all readiness of a socket is one registration, it begins with reading; waiting for room is added to
            // it.
            link.armed.poll_in = true;
            self.io.submit_poll_in(Token::new(Op::PollIn, id), fd);
        }
        link.armed.poll_out = true;
        self.io.submit_poll_out(Token::new(Op::PollOut, id), fd);
        let deadline = self.shared.now + timeout;
        self.shared.reschedule(link, Some(deadline));
    }
}

impl<I: Io> Reach for Reachable<'_, I> {
    fn now(&self) -> Instant {
        self.core.shared.now
    }

    fn clock(&self) -> Instant {
        self.core.io.now()
    }

    fn connections(&self) -> usize {
        self.table.len()
    }

    fn is_stopping(&self) -> bool {
        self.core.shared.protocol.draining
    }

    fn connect(
        &mut self,
        dial: &ConnectOptions,
        request: &Arc<OpeningRequest>,
        tag: u32,
    ) -> Result<ConnId, Errno> {
        let Core { io, shared, .. } = &mut *self.core;
        if shared.protocol.draining {
            return Err(Errno(libc::ESHUTDOWN));
        }
        let fd = io.connect(dial)?;
        let speaks = Speaks::begun(request, shared.protocol.keys.nonce());
        let timeout = shared.protocol.config.handshake_timeout;
        let conn = self.core.insert_begun(self.table, (fd, speaks), timeout);
        conn.link.tag = tag;
        Ok(conn.link.id)
    }

    fn context(&mut self, id: ConnId) -> Option<Context<'_>> {
        let conn = self.table.get_mut(id)?;
        if conn.link.phase != Phase::Open || conn.speaks.websocket().is_none() {
            return None;
        }
        let (_, scratch) = self.core.io.buffer_and_scratch(BufferId::SCRATCH);
        Some(self.core.shared.context(conn, scratch, BufferId::HOT))
    }

    fn traffic(&mut self, id: ConnId) -> Option<Traffic> {
        sys::traffic(self.table.get_mut(id)?.link.fd)
    }

    fn prepare(&mut self, role: Role, messages: &[(Kind, &[u8])]) -> Result<Prepared, TooMuch> {
        self.core.shared.prepare(role, messages, None)
    }

    fn reset(&mut self, id: ConnId) {
        self.core.shared.condemned.push(id);
    }

    fn send_now(&mut self, id: ConnId) {
        let Some(conn) = self.table.get_mut(id) else {
            return;
        };
        let waits_for_room = conn.link.armed.poll_out;
        if conn.link.phase == Phase::Open
            && !waits_for_room
            && self.core.send_now(&mut conn.link).is_err()
        {
            self.core.shared.condemned.push(id);
        }
    }

    fn pause(&mut self, id: ConnId) {
        if let Some(conn) = self.table.get_mut(id)
            && conn.link.phase == Phase::Open
        {
            self.core.pause(&mut conn.link, Pauses::APPLICATION);
        }
    }

    fn resume(&mut self, id: ConnId) {
        if let Some(conn) = self.table.get_mut(id) {
            self.core.resume(&mut conn.link, Pauses::APPLICATION);
        }
    }

    fn commands(&mut self) -> &mut Commands {
        &mut self.core.shared.protocol.commands
    }

    fn fanout(&mut self) -> Option<&mut Fanout> {
        self.core.shared.protocol.fanout.as_deref_mut()
    }

    fn counters(&mut self) -> &mut Counters {
        &mut self.core.shared.counters
    }

    fn waker(&mut self) -> std::io::Result<Waker> {
        if let Some(waker) = &self.core.shared.protocol.waker {
            return Ok(waker.clone());
        }
        let waker = Waker::new()?;
        let token = Token::fixed(Op::Watch, WAKER);
        self.core.io.submit_poll_in(token, waker.fd());
        self.core.shared.protocol.waker = Some(waker.clone());
        Ok(waker)
    }
}

//! How a connection ends, and what time does to it.

use std::time::Duration;

use super::app::{App, Closed, Host, Scope};
use super::connect::Failure;
use super::connection::{Connection, Heartbeat, Pauses, Phase};
use super::feed::Shared;
use super::worker::Core;
use crate::io::{BufferId, Io, Op, Token};
use crate::proto::handshake::Refusal;
use crate::proto::{CloseCode, Role};
use crate::time::Instant;

/// Looks at a peer that takes nothing within its write timeout, which is kept by that much: it ends up to a quarter later.
const WRITE_LOOKS: u32 = 4;

impl Shared {
    /// Has the wheel look at the connection at `deadline`.
    pub(super) fn reschedule(&mut self, conn: &mut Connection, deadline: Option<Instant>) {
        let Some(deadline) = deadline else { return };
        conn.deadline = deadline;
        self.rescheduled.push(conn.id);
    }

    /// When an open connection is to be looked at: when its silence reaches the next limit.
    pub(super) fn next_check(&self, conn: &Connection) -> Option<Instant> {
        let config = self.config.of(conn.service);
        let idle = config.idle_timeout.map(|timeout| conn.heard + timeout);
        let ping = config.ping_interval.map(|interval| match conn.heartbeat {
            Heartbeat::Quiet => conn.heard + interval,
            Heartbeat::Pinged(at) => at + interval,
            Heartbeat::Leaving { .. } => Instant::from_nanos(u64::MAX),
        });
        let write = conn
            .transmit
            .queue
            .as_ref()
            .and_then(|_| self.next_look(conn));
        [idle, ping, write].into_iter().flatten().min()
    }

    /// When to look again whether a peer takes what is queued for it.
    fn next_look(&self, conn: &Connection) -> Option<Instant> {
        self.config
            .of(conn.service)
            .write_timeout
            .map(|timeout| self.now + timeout / WRITE_LOOKS)
    }

    /// The socket is full: has the wheel look at the connection in time for the write timeout.
    pub(super) fn watch_queue(&mut self, conn: &mut Connection) {
        let now = self.now;
        if let Some(queue) = &mut conn.transmit.queue {
            queue.stuck_since.get_or_insert(now);
        }
        let look = match conn.phase {
            // An earlier deadline leads to the next one, but for one that is over: nothing was to follow it.
            Phase::Open => self
                .next_look(conn)
                .filter(|look| conn.deadline > *look || conn.deadline <= now),
            _ => None,
        };
        self.reschedule(conn, look);
    }

    /// The conversation is over: what is queued still leaves, then FIN; what the peer still says is discarded.
    pub(super) fn linger<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
        closed: Closed<'_>,
    ) {
        self.report_close(host, conn, closed);
        conn.phase = Phase::Lingering;
        // RFC 6455 §7.1.1: "the server SHOULD close the connection first": its end keeps the address in TIME_WAIT.
        conn.finish = conn.role == Role::Server || !conn.clean;
        conn.pauses = Pauses::default();
        self.discard_input(conn);
        self.dirty.push(conn.id);
        self.reschedule(
            conn,
            Some(self.now + self.config.of(conn.service).close_timeout),
        );
    }

    /// Tells the application, once, and counts.
    pub(super) fn report_close<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
        closed: Closed<'_>,
    ) {
        if std::mem::take(&mut conn.opened) {
            self.counters.clients -= 1;
            if conn.role == Role::Server {
                self.leave();
            }
            self.counters.closed_unclean += u64::from(!closed.clean);
            let (app, session) = host.end(conn.id);
            app.close(&mut self.scope(conn), session, closed);
        }
    }

    /// A scope for callbacks on `conn` while nothing can be sent on it.
    pub(super) fn scope(&mut self, conn: &Connection) -> Scope<'_> {
        Scope {
            id: conn.id,
            tag: conn.tag,
            now: self.now,
            commands: &mut self.commands,
        }
    }

    fn discard_input(&mut self, conn: &mut Connection) {
        conn.head = None;
        if let Some(assembly) = conn.assembly.take() {
            let data = assembly.into_data(&mut self.buffers);
            self.buffers.give_back(data);
        }
        if let Some(spill) = conn.spill.take() {
            self.buffers.give_back(spill.into_memory());
        }
    }
}

impl<I: Io> Core<I> {
    /// Ends a connection: nothing more is sent or read. The descriptor is closed after the last completion.
    pub(super) fn end<A: App>(&mut self, host: &mut Host<A>, conn: &mut Connection) {
        if conn.phase == Phase::Ended {
            return;
        }
        match (conn.role, conn.phase) {
            (Role::Server, Phase::Opening) => {
                self.shared.counters.handshakes_failed += 1;
                self.shared.withdraw(host, conn, Failure::Closed);
            }
            (Role::Client, Phase::Connecting | Phase::Opening) => {
                self.shared.report_failure(host, conn, Failure::Closed);
            }
            _ => {}
        }
        if !conn.reset && !conn.armed.poll_out {
            // Answers to what came with the end of the stream. Whether the peer still takes them does not matter now.
            let _ = self.send_now(conn);
        }
        self.shared.report_close(host, conn, Closed::ABNORMAL);
        self.shared.discard_input(conn);
        self.drop_output(conn);
        conn.phase = Phase::Ended;
        self.cancel_receive(conn);
        if conn.armed.poll_out {
            self.io
                .submit_cancel(Token::new(Op::PollOut, conn.id), conn.fd);
        }
        self.release_when_idle(conn);
    }

    /// The peer said its last. Answers that its socket does not take yet still leave, while it takes some in time.
    pub(super) fn end_of_stream<A: App>(&mut self, host: &mut Host<A>, conn: &mut Connection) {
        if !conn.armed.poll_out && self.send_now(conn).is_err() {
            return self.reset(host, conn);
        }
        // A request that leaves after the server said its last gets no answer.
        let unanswered = conn.role == Role::Client && conn.phase == Phase::Opening;
        if conn.queued_bytes() == 0 || unanswered || conn.phase == Phase::Ended {
            return self.end(host, conn);
        }
        if conn.phase != Phase::Lingering {
            self.shared.linger(host, conn, Closed::ABNORMAL);
        }
        conn.deaf = true;
        self.cancel_receive(conn);
    }

    /// Ends with RST: the peer is gone, or has to be told hard.
    pub(super) fn reset<A: App>(&mut self, host: &mut Host<A>, conn: &mut Connection) {
        conn.reset = true;
        self.end(host, conn);
    }

    /// Frees the slot in this turn, when nothing is armed any more.
    pub(super) fn release_when_idle(&mut self, conn: &Connection) {
        if conn.phase == Phase::Ended && conn.armed.is_empty() {
            self.released.push(conn.id);
        }
    }

    /// The time of a connection has come.
    pub(super) fn handle_timeout<A: App>(&mut self, host: &mut Host<A>, conn: &mut Connection) {
        match conn.phase {
            Phase::Connecting => self.fail(host, conn, Failure::Timeout),
            Phase::Opening if conn.role == Role::Client => self.fail(host, conn, Failure::Timeout),
            Phase::Opening => {
                self.shared.withdraw(host, conn, Failure::Timeout);
                self.refuse(host, conn, &Refusal::TIMEOUT);
            }
            Phase::Open => self.handle_silence(host, conn),
            Phase::Closing | Phase::Lingering => self.handle_leaving(host, conn),
            Phase::Ended => {}
        }
    }

    /// The peer did not answer our Close, or does not end its side, for the close timeout. While it takes what is left for
    /// it, or may still do so because the server waits anyway, that is delivered.
    fn handle_leaving<A: App>(&mut self, host: &mut Host<A>, conn: &mut Connection) {
        let (now, config) = (self.shared.now, self.shared.config.of(conn.service));
        let left = conn.queued_bytes() + self.io.unsent(conn.fd);
        let left_bytes = u32::try_from(left).unwrap_or(u32::MAX);
        let since = match conn.heartbeat {
            Heartbeat::Leaving {
                left_bytes: before,
                since,
            } if left_bytes >= before => since,
            _ => now,
        };
        let patience = match self.shared.draining {
            // The end of the drain is the end of it.
            true => config.write_timeout.unwrap_or(Duration::MAX),
            false => config.close_timeout,
        };
        if left > 0 && (now.since(since) < patience.max(config.close_timeout)) {
            let deadline = now + config.close_timeout;
            conn.heartbeat = Heartbeat::Leaving { left_bytes, since };
            return self.shared.reschedule(conn, Some(deadline));
        }
        conn.reset = conn.queued_bytes() > 0 || conn.phase == Phase::Closing;
        self.end(host, conn);
    }

    /// Refuses an opening handshake that is not complete.
    pub(super) fn refuse<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
        refusal: &Refusal,
    ) {
        let (_, scratch) = self.io.buffer_and_scratch(BufferId::SCRATCH);
        self.shared.refuse_with(host, conn, refusal, scratch);
    }

    fn handle_silence<A: App>(&mut self, host: &mut Host<A>, conn: &mut Connection) {
        let now = self.shared.now;
        if self.is_stuck(conn) {
            tracing::debug!(slot = conn.id.slot, "the peer takes nothing: write timeout");
            return self.reset(host, conn);
        }
        if !conn.pauses.is_empty() {
            // The silence of a peer that is not read from proves nothing: its Pong may lie unread. Whether it still takes
            // bytes is for the write timeout to say.
            conn.heard = now;
        }
        let silent = now.since(conn.heard);
        let config = self.shared.config.of(conn.service);
        let (idle, ping_interval) = (config.idle_timeout, config.ping_interval);
        if idle.is_some_and(|timeout| silent >= timeout) {
            return self.close(conn, CloseCode::GoingAway, "idle timeout");
        }
        match (conn.heartbeat, ping_interval) {
            (Heartbeat::Pinged(at), _) if conn.heard > at => conn.heartbeat = Heartbeat::Quiet,
            (Heartbeat::Pinged(at), Some(interval)) if now.since(at) >= interval => {
                return self.reset(host, conn);
            }
            (Heartbeat::Quiet, Some(interval)) if silent >= interval => {
                let (_, scratch) = self.io.buffer_and_scratch(BufferId::SCRATCH);
                let mut context = self.shared.context(conn, scratch, BufferId::HOT);
                // Refused only after a Close, and then the phase is another.
                let _ = context.ping(&now.nanos().to_be_bytes());
                conn.heartbeat = Heartbeat::Pinged(now);
            }
            _ => {}
        }
        let deadline = self.shared.next_check(conn);
        self.shared.reschedule(conn, deadline);
    }

    /// Whether the peer has taken nothing of what is queued for it for the write timeout. Bytes that leave the kernel's
    /// buffer count as well: a socket has room again only when a third of it is free.
    fn is_stuck(&mut self, conn: &mut Connection) -> bool {
        let now = self.shared.now;
        let (Some(timeout), Some(queue)) = (
            self.shared.config.of(conn.service).write_timeout,
            &mut conn.transmit.queue,
        ) else {
            return false;
        };
        let unsent = self.io.unsent(conn.fd);
        let before = queue.unsent_bytes.replace(unsent);
        if before.is_some_and(|before| unsent < before) {
            queue.stuck_since = Some(now);
        }
        queue
            .stuck_since
            .is_some_and(|since| now.since(since) >= timeout)
    }

    /// Begins the closing handshake.
    pub(super) fn close(&mut self, conn: &mut Connection, code: CloseCode, reason: &str) {
        let (_, scratch) = self.io.buffer_and_scratch(BufferId::SCRATCH);
        let mut context = self.shared.context(conn, scratch, BufferId::HOT);
        // Refused when the application has closed already, which is as good.
        let _ = context.close(code, reason);
    }
}

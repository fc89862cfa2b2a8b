//! How a connection ends, and what time does to it.

use super::app::{App, Closed, Host, Scope};
use super::connect::Failure;
use super::connection::{Connection, Heartbeat, Pauses, Phase};
use super::feed::Shared;
use super::worker::Core;
use crate::io::{BufferId, Io, Op, Token};
use crate::proto::handshake::Refusal;
use crate::proto::{CloseCode, Role};
use crate::time::Instant;

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
        });
        [idle, ping].into_iter().flatten().min()
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
        if conn.queued_octets() == 0 || unanswered || conn.phase == Phase::Ended {
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
            // The peer did not answer our Close, or does not end its side: there is nothing to wait for.
            Phase::Closing | Phase::Lingering => {
                conn.reset = conn.queued_octets() > 0 || conn.phase == Phase::Closing;
                self.end(host, conn);
            }
            Phase::Ended => {}
        }
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
        if !conn.pauses.is_empty() {
            // The silence of a peer that is not read from proves nothing: its Pong may lie unread. Whether it still takes
            // octets is for TCP to say (`--user-timeout`); what it holds here is bounded by its send queue.
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

    /// Begins the closing handshake.
    pub(super) fn close(&mut self, conn: &mut Connection, code: CloseCode, reason: &str) {
        let (_, scratch) = self.io.buffer_and_scratch(BufferId::SCRATCH);
        let mut context = self.shared.context(conn, scratch, BufferId::HOT);
        // Refused when the application has closed already, which is as good.
        let _ = context.close(code, reason);
    }
}

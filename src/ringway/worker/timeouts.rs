//! Timeouts of connections: handshake, silence, write, close.

use std::time::Duration;

use crate::conn::link::{Leaving, Link, Next, Phase, Side};
use crate::io::{BufferId, Io};
use crate::proto::CloseCode;
use crate::proto::handshake::Refusal;
use crate::protocol::{App, Connection, Core, Failure, Heartbeat, Host, Speaks};

impl<I: Io> Core<I> {
    /// Handles a deadline of a connection that has passed.
    pub(super) fn handle_timeout<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
    ) -> Next {
        let phase = conn.link.phase;
        if let (Speaks::Raw(raw), Phase::Connecting | Phase::Opening) = (&mut conn.speaks, phase) {
            raw.fail(Failure::Timeout);
            return Next::Reset;
        }
        match (phase, conn.link.side) {
            (Phase::Connecting, _) | (Phase::Opening, Side::Begun) => {
                self.shared.report_failure(host, conn, Failure::Timeout);
                Next::Reset
            }
            (Phase::Opening, Side::Accepted) => {
                self.shared.withdraw(host, conn, Failure::Timeout);
                self.refuse(host, conn, &Refusal::TIMEOUT);
                Next::Continue
            }
            (Phase::Open, _) => self.handle_silence(conn),
            (Phase::Closing | Phase::Lingering, _) => self.handle_leaving(&mut conn.link),
            (Phase::Ended, _) => Next::Continue,
        }
    }

    /// The peer did not answer our Close, or did not send its FIN, within the close timeout. While bytes wait for it,
    /// the connection is kept if the peer took some within the close timeout; during a drain, within the write timeout
    /// if that is longer.
    fn handle_leaving(&mut self, link: &mut Link) -> Next {
        let (now, limits) = (self.shared.now, *self.shared.limits_of(link.service));
        let left = link.queued_bytes() + self.io.unsent(link.fd);
        let left_bytes = u32::try_from(left).unwrap_or(u32::MAX);
        let since = match &link.leaving {
            Some(before) if left_bytes >= before.left_bytes => before.since,
            _ => now,
        };
        let patience = match self.shared.protocol.draining {
            // Without a write timeout, the end of the drain ends the connection.
            true => limits.write_timeout.unwrap_or(Duration::MAX),
            false => limits.close_timeout,
        };
        if left > 0 && (now.since(since) < patience.max(limits.close_timeout)) {
            link.leaving = Some(Box::new(Leaving { left_bytes, since }));
            let deadline = now + limits.close_timeout;
            self.shared.reschedule(link, Some(deadline));
            return Next::Continue;
        }
        match link.queued_bytes() > 0 || link.phase == Phase::Closing {
            true => Next::Reset,
            false => Next::End,
        }
    }

    /// Refuses an opening handshake whose request is not complete.
    pub(crate) fn refuse<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
        refusal: &Refusal,
    ) {
        let (_, scratch) = self.io.buffer_and_scratch(BufferId::SCRATCH);
        self.shared.refuse_with(host, conn, refusal, scratch);
    }

    /// Handles the silence of an open WebSocket's peer: write timeout, idle timeout, Ping.
    fn handle_silence(&mut self, conn: &mut Connection) -> Next {
        let now = self.shared.now;
        let link = &mut conn.link;
        if self.is_stuck(link) {
            tracing::debug!(slot = link.id.slot, "the peer takes nothing: write timeout");
            return Next::Reset;
        }
        if !link.pauses.is_empty() {
            // The silence of a peer that we do not read from proves nothing: its Pong may lie unread. The write timeout
            // finds out whether it still takes bytes.
            link.heard = now;
        }
        let (heard, silent) = (link.heard, now.since(link.heard));
        let config = self.shared.protocol.config.of(link.service);
        let idle = config.idle_timeout;
        if let Speaks::Raw(raw) = &conn.speaks {
            // A WebSocket that it is paired with has all timeouts but that of writing.
            let idle = idle.filter(|_| raw.keeps_time(link));
            if idle.is_some_and(|timeout| silent >= timeout) {
                return Next::End;
            }
            let look = link
                .out
                .queue
                .as_ref()
                .and_then(|_| self.shared.next_look(link));
            let idle = idle.map(|timeout| heard + timeout);
            let deadline = [idle, look].into_iter().flatten().min();
            self.shared.reschedule(link, deadline);
            return Next::Continue;
        }
        let ping = config.ping_interval;
        let ping = ping.map(|interval| (interval, config.pong_timeout(interval)));
        if idle.is_some_and(|timeout| silent >= timeout) {
            self.close(conn, CloseCode::GoingAway, "idle timeout");
            return Next::Continue;
        }
        let Some(websocket) = conn.speaks.websocket() else {
            unreachable!("the phase is open while a WebSocket is")
        };
        let heartbeat = match (websocket.heartbeat, ping) {
            (Heartbeat::Pinged(at), _) if heard > at => Heartbeat::Quiet,
            (Heartbeat::Pinged(at), Some((_, timeout))) if now.since(at) >= timeout => {
                return Next::Reset;
            }
            (Heartbeat::Quiet, Some((interval, _))) if silent >= interval => Heartbeat::Pinged(now),
            (heartbeat, _) => heartbeat,
        };
        let begins = heartbeat == Heartbeat::Pinged(now);
        websocket.heartbeat = heartbeat;
        if begins {
            let (_, scratch) = self.io.buffer_and_scratch(BufferId::SCRATCH);
            let mut context = self.shared.context(conn, scratch, BufferId::HOT);
            // `ping` fails only after a Close, and then the phase is not `Open`.
            let _ = context.ping(&now.nanos().to_be_bytes());
        }
        let deadline = self.shared.next_check(&conn.link, heartbeat);
        self.shared.reschedule(&mut conn.link, deadline);
        Next::Continue
    }

    /// Whether the peer has taken none of the bytes queued for it for the write timeout. Bytes that leave the kernel's
    /// send buffer count as taken: the kernel reports room only when a third of that buffer is free.
    fn is_stuck(&mut self, link: &mut Link) -> bool {
        let now = self.shared.now;
        let (Some(timeout), Some(queue)) = (
            self.shared.limits_of(link.service).write_timeout,
            &mut link.out.queue,
        ) else {
            return false;
        };
        let unsent = self.io.unsent(link.fd);
        let before = queue.unsent_bytes.replace(unsent);
        if before.is_some_and(|before| unsent < before) {
            queue.stuck_since = Some(now);
        }
        queue
            .stuck_since
            .is_some_and(|since| now.since(since) >= timeout)
    }

    /// Begins the closing handshake.
    pub(crate) fn close(&mut self, conn: &mut Connection, code: CloseCode, reason: &str) {
        let (_, scratch) = self.io.buffer_and_scratch(BufferId::SCRATCH);
        let mut context = self.shared.context(conn, scratch, BufferId::HOT);
        // Fails when the application has closed already, which has the same effect.
        let _ = context.close(code, reason);
    }
}

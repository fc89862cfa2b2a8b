//! Carries out what a step returned. This is the one place where a connection ends.
//!
//! ```text
//!  worker ──▶ step (read · poll out · send · timeout · command · flush) ──▶ Next
//!     └─────────────────────────▶ settle ◀──────────────────────────────────┘
//!                                   Continue: arm, cancel or pause receiving as the connection wants it now
//!                                   End, Reset: tell the application, drop its output, cancel what is armed
//! ```
//!
//! No step calls `settle`, and `settle` calls no step: the caller of a step may still need the connection.

use crate::conn::link::{Ending, Inbound, Next, Phase, Side};
use crate::io::{Io, Op, Token};
use crate::protocol::{App, Closed, Connection, Core, Failure, Host, Speaks, is_over};

impl<I: Io> Core<I> {
    #[inline]
    pub(super) fn settle<A: App>(&mut self, host: &mut Host<A>, conn: &mut Connection, next: Next) {
        match next {
            Next::Continue | Next::Carry => {}
            Next::Park => return,
            Next::End => self.end(host, conn),
            Next::Reset => {
                conn.link.ending = Ending::Reset;
                self.end(host, conn);
            }
        }
        self.settle_receive(&mut conn.link);
    }

    /// Ends the connection: nothing more is sent or read. After the last completion, the descriptor is closed and the
    /// slot freed.
    #[cold]
    fn end<A: App>(&mut self, host: &mut Host<A>, conn: &mut Connection) {
        let phase = conn.link.phase;
        if phase == Phase::Ended {
            return;
        }
        match (conn.link.side, phase) {
            _ if matches!(conn.speaks, Speaks::Raw(_)) => self.shared.end_raw(conn),
            (Side::Accepted, Phase::Opening) => {
                self.shared.counters.handshakes_failed += 1;
                self.shared.withdraw(host, conn, Failure::Closed);
            }
            (Side::Begun, Phase::Connecting | Phase::Opening) => {
                self.shared.report_failure(host, conn, Failure::Closed);
            }
            _ => {}
        }
        let link = &mut conn.link;
        if link.ending != Ending::Reset && !link.armed.poll_out {
            // Sends answers to what came with the end of the stream. Whether the peer still takes them does not matter.
            let _ = self.send_now(link);
        }
        self.shared.report_close(host, conn, Closed::ABNORMAL);
        let link = &mut conn.link;
        self.shared.discard_spill(link);
        self.drop_output(link);
        link.phase = Phase::Ended;
        self.cancel_receive(link);
        if link.armed.poll_out {
            self.io
                .submit_cancel(Token::new(Op::PollOut, link.id), link.fd);
        }
    }

    /// The peer ended its direction. Queued answers are still sent, as long as the peer takes some within the write
    /// timeout.
    pub(super) fn end_of_stream<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
    ) -> Next {
        if let (Speaks::Raw(_), Phase::Open) = (&conn.speaks, conn.link.phase) {
            conn.link.inbound = Inbound::Closed;
            self.shared.finish_raw(conn);
            return match is_over(conn) {
                true => Next::End,
                false => Next::Continue,
            };
        }
        let link = &mut conn.link;
        if !link.armed.poll_out && self.send_now(link).is_err() {
            return Next::Reset;
        }
        // A server that has ended its direction cannot answer a request, and of a client without one all that may wait is
        // our part of the TLS handshake.
        let unanswered = link.phase == Phase::Opening;
        if link.queued_bytes() == 0 || unanswered || link.phase == Phase::Ended {
            return Next::End;
        }
        if link.phase != Phase::Lingering {
            self.shared.finish(host, conn, Closed::ABNORMAL);
        }
        conn.link.inbound = Inbound::Closed;
        Next::Continue
    }
}

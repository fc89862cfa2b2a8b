//! TLS in both roles: from received records to plaintext for the protocol.

use crate::conn::link::{Next, Phase, Side};
use crate::conn::tls::{HANDSHAKE, Opened, Tls};
use crate::io::{BufferId, HOT_BYTES, Io};
use crate::proto::handshake::Refusal;
use crate::proto::http::StatusCode;
use crate::protocol::{App, Closed, Connection, Core, Failure, Host, Speaks};
use crate::tls::TlsMode;

/// The answer to a client that speaks without TLS to a port that needs it.
const TLS_NEEDED: Refusal = Refusal::new(
    StatusCode::BAD_REQUEST,
    "this port speaks TLS only: use wss:// or https://",
);

impl<I: Io> Core<I> {
    /// Handles the bytes of a connection that speaks TLS, or whose first byte decides that now.
    #[inline(never)]
    pub(super) fn feed_tls<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
        buffer: BufferId,
        len: usize,
    ) {
        if matches!(conn.link.phase, Phase::Lingering | Phase::Ended) {
            return;
        }
        let Some(mut tls) = conn.link.out.tls.take() else {
            return;
        };
        let mut len = len;
        if tls.is_undecided() {
            len = self.skip_preface(conn, buffer, len);
            if len == 0 {
                conn.link.out.tls = Some(tls);
                return;
            }
            let Some(server) = &self.shared.protocol.config.tls else {
                return self.feed_opened(host, conn, buffer, len);
            };
            if self.io.buffer(buffer)[0] != HANDSHAKE {
                return match server.mode {
                    TlsMode::Only => self.refuse(host, conn, &TLS_NEEDED),
                    _ => self.feed_opened(host, conn, buffer, len),
                };
            }
            if let Err(error) = tls.begin(&server.config.clone()) {
                tracing::error!("a TLS session cannot begin: {error}");
                conn.link.out.tls = Some(tls);
                return self.fail_tls(host, conn, Failure::Tls(error.to_string()));
            }
        }
        self.feed_records(host, conn, tls, buffer, len);
    }

    /// Reads a PROXY header, which comes before TLS. What follows it moves to the beginning of the buffer; returns how much
    /// that is.
    fn skip_preface(&mut self, conn: &mut Connection, buffer: BufferId, len: usize) -> usize {
        if !matches!(conn.speaks, Speaks::Opening(_)) || !self.shared.expects_preface(conn) {
            return len;
        }
        let (memory, _) = self.io.buffer_and_scratch(buffer);
        let used = self.shared.feed_preface(conn, &memory[..len]);
        memory.copy_within(used..len, 0);
        len - used
    }

    fn feed_records<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
        mut tls: Box<Tls>,
        buffer: BufferId,
        len: usize,
    ) {
        let mut room = std::mem::take(&mut self.shared.room);
        let was_ready = tls.is_ready();
        let result = tls.open(&self.io.buffer(buffer)[..len], &mut room);
        if tls.has_output() {
            self.shared.dirty.push(conn.link.id);
        }
        let is_new = !was_ready && tls.is_ready();
        let counters = &mut self.shared.counters;
        counters.tls_handshakes += u64::from(is_new);
        counters.tls_resumed += u64::from(is_new && tls.is_resumed());
        conn.link.out.tls = Some(tls);
        if is_new && conn.link.side == Side::Begun {
            let (_, scratch) = self.io.buffer_and_scratch(BufferId::SCRATCH);
            self.shared.send_request(conn, scratch);
        }
        // Answers are written where the plaintext lies. It is longer than the received bytes if a record began earlier.
        let (own, _) = self.io.buffer_and_scratch(buffer);
        let target = match room.plain.len() <= own.len() {
            true => buffer,
            false => BufferId::HOT,
        };
        // A piece is all of it: what is received at once, and held before, fits the hot buffer.
        for plain in room.plain.chunks(HOT_BYTES) {
            let (memory, _) = self.io.buffer_and_scratch(target);
            memory[..plain.len()].copy_from_slice(plain);
            self.feed_opened(host, conn, target, plain.len());
            if target != buffer && self.flush_hot(&mut conn.link) == Next::Reset {
                self.shared.condemned.push(conn.link.id);
            }
        }
        self.shared.room = room;
        match result {
            Ok(Opened::More) => {}
            Ok(Opened::PeerClosed) if conn.link.spill.is_some() => {}
            Ok(Opened::PeerClosed) => self.end_after_close_notify(host, conn),
            Err(error) => {
                tracing::debug!(slot = conn.link.id.slot, "TLS failed: {error}");
                self.fail_tls(host, conn, Failure::Tls(error.to_string()));
            }
        }
    }

    /// The spill is handled: if the peer's close_notify followed it, the conversation ends.
    pub(super) fn end_after_spill<A: App>(&mut self, host: &mut Host<A>, conn: &mut Connection) {
        let tls = conn.link.out.tls.as_ref();
        if tls.is_some_and(|tls| tls.peer_closed) {
            self.end_after_close_notify(host, conn);
        }
    }

    /// The peer sends no more. Answers that wait are still sent, then our close_notify and FIN.
    #[cold]
    fn end_after_close_notify<A: App>(&mut self, host: &mut Host<A>, conn: &mut Connection) {
        if !matches!(conn.link.phase, Phase::Lingering | Phase::Ended) {
            self.fail_tls(host, conn, Failure::Closed);
        }
    }

    /// Ends the conversation: an alert that waits is sent, then FIN, or RST from a client whose handshake failed.
    #[cold]
    fn fail_tls<A: App>(&mut self, host: &mut Host<A>, conn: &mut Connection, why: Failure) {
        match conn.link.phase {
            Phase::Lingering | Phase::Ended => return,
            Phase::Opening if conn.link.side == Side::Begun => {
                return self.shared.give_up(host, conn, why);
            }
            Phase::Opening => {
                self.shared.counters.handshakes_failed += 1;
                self.shared.withdraw(host, conn, Failure::Closed);
            }
            _ => {}
        }
        self.shared.finish(host, conn, Closed::ABNORMAL);
    }
}

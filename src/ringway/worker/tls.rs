//! TLS in both roles: from received records to plaintext for the protocol.

use crate::conn::link::{Next, Phase, Side};
use crate::conn::tls::{HANDSHAKE, Opened, Reading, Tls, sentence};
use crate::io::{BufferId, Io};
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
                return self.feed_opened(host, conn, buffer, 0..len);
            };
            if self.io.buffer(buffer)[0] != HANDSHAKE {
                return match server.mode {
                    TlsMode::Only => self.refuse(host, conn, &TLS_NEEDED),
                    _ => self.feed_opened(host, conn, buffer, 0..len),
                };
            }
            if let Err(error) = tls.begin(&server.config.clone()) {
                tracing::error!("a TLS session cannot begin: {error}");
                conn.link.out.tls = Some(tls);
                return self.fail_tls(host, conn, Failure::Tls(sentence(&error)));
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
        if tls.peer_closed {
            // RFC 8446 §6.1: "Any data received after a closure alert has been received MUST be ignored."
            conn.link.out.tls = Some(tls);
            return;
        }
        if !tls.is_ready() {
            return self.feed_handshake(host, conn, tls, buffer, len);
        }
        let Some((target, len)) = self.join(&mut tls, buffer, len) else {
            conn.link.out.tls = Some(tls);
            return;
        };
        self.open_records(host, conn, tls, (target, len));
        // The hot buffer is used again at once.
        if target != buffer && self.flush_hot(&mut conn.link) == Next::Reset {
            self.shared.condemned.push(conn.link.id);
        }
    }

    /// Puts the beginning of a record, which arrived earlier, before the received bytes. Returns where they lie, from the
    /// first byte of the buffer on; `None` if the record is still not whole.
    #[inline]
    fn join(&mut self, tls: &mut Tls, buffer: BufferId, len: usize) -> Option<(BufferId, usize)> {
        let held = tls.held().len();
        if held == 0 {
            return Some((buffer, len));
        }
        // A receive into the hot buffer has left room for what is held.
        let at = match buffer {
            BufferId::HOT => held,
            _ => 0,
        };
        let buffers = &mut self.shared.buffers;
        if tls.lacks(len) {
            tls.hold(&self.io.buffer(buffer)[at..at + len], buffers);
            return None;
        }
        if buffer == BufferId::HOT {
            let (hot, _) = self.io.buffer_and_scratch(BufferId::HOT);
            hot[..held].copy_from_slice(tls.held());
        } else {
            tls.hold(&self.io.buffer(buffer)[..len], buffers);
            self.io.refill_hot(tls.held());
        }
        tls.release(buffers);
        Some((BufferId::HOT, held + len))
    }

    /// Goes on with the handshake, and with the records that follow it.
    #[cold]
    fn feed_handshake<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
        mut tls: Box<Tls>,
        buffer: BufferId,
        len: usize,
    ) {
        let mut room = std::mem::take(&mut self.shared.room);
        let received = &self.io.buffer(buffer)[..len];
        let result = tls.shake_hands(received, &mut room, &mut self.shared.buffers);
        if tls.has_output() {
            self.shared.dirty.push(conn.link.id);
        }
        let is_complete = tls.is_ready();
        let counters = &mut self.shared.counters;
        counters.tls_handshakes += u64::from(is_complete);
        counters.tls_resumed += u64::from(is_complete && tls.is_resumed());
        let peer_closed = tls.peer_closed;
        conn.link.out.tls = Some(tls);
        if is_complete {
            let (_, scratch) = self.io.buffer_and_scratch(BufferId::SCRATCH);
            match (&conn.speaks, conn.link.side) {
                (Speaks::Raw(_), Side::Begun) => self.shared.begin_raw(conn, scratch),
                (Speaks::Raw(_), Side::Accepted) => self.shared.forward_stream(conn),
                (_, Side::Begun) => self.shared.send_request(conn, scratch),
                (_, Side::Accepted) => {}
            }
        }
        match result {
            Err(error) => {
                tracing::debug!(slot = conn.link.id.slot, "TLS failed: {error}");
                self.fail_tls(host, conn, Failure::Tls(sentence(&error)));
            }
            Ok(_) if peer_closed => self.end_after_close_notify(host, conn),
            Ok(used) if is_complete && used < room.inbox.len() => {
                self.feed_after_handshake(host, conn, buffer, &room.inbox[used..]);
            }
            Ok(_) => {}
        }
        self.shared.room = room;
    }

    /// Handles records that arrived together with the end of the handshake.
    fn feed_after_handshake<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
        buffer: BufferId,
        records: &[u8],
    ) {
        let Some(tls) = conn.link.out.tls.take() else {
            return;
        };
        // They are longer than the received bytes if a record began earlier.
        let (own, _) = self.io.buffer_and_scratch(buffer);
        let target = match records.len() <= own.len() {
            true => {
                own[..records.len()].copy_from_slice(records);
                buffer
            }
            false => {
                self.io.refill_hot(records);
                BufferId::HOT
            }
        };
        self.open_records(host, conn, tls, (target, records.len()));
        if target != buffer && self.flush_hot(&mut conn.link) == Next::Reset {
            self.shared.condemned.push(conn.link.id);
        }
    }

    /// Opens the records at the beginning of a buffer where they lie, and keeps the one that does not end. Answers are
    /// written where the plaintext lies.
    fn open_records<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
        mut tls: Box<Tls>,
        (buffer, len): (BufferId, usize),
    ) {
        if conn.link.out.queue.is_none() {
            tls.note_sent();
        }
        let (own, _) = self.io.buffer_and_scratch(buffer);
        let memory = &mut own[..len];
        let Reading {
            mut plain,
            used,
            result,
        } = tls.open(memory);
        if used < len && result.is_ok() {
            tls.hold(&memory[used..], &mut self.shared.buffers);
        }
        if tls.has_output() {
            self.shared.dirty.push(conn.link.id);
        }
        conn.link.out.tls = Some(tls);
        if !plain.is_empty() {
            if matches!(conn.speaks, Speaks::Opening(_)) {
                // A head is read from the beginning of a buffer.
                memory.copy_within(plain.clone(), 0);
                plain = 0..plain.len();
            }
            self.feed_opened(host, conn, buffer, plain);
        }
        match result {
            Ok(Opened::More) => {}
            Ok(Opened::PeerClosed) if conn.link.spill.is_some() => {}
            Ok(Opened::PeerClosed) => self.end_after_close_notify(host, conn),
            Err(error) => {
                tracing::debug!(slot = conn.link.id.slot, "TLS failed: {error}");
                self.fail_tls(host, conn, Failure::Tls(sentence(&error)));
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

    /// The peer sends no more. Answers that wait are still sent, then our close_notify and FIN: of a stream those of the other
    /// end.
    #[cold]
    fn end_after_close_notify<A: App>(&mut self, host: &mut Host<A>, conn: &mut Connection) {
        if let (Speaks::Raw(_), Phase::Open) = (&conn.speaks, conn.link.phase) {
            // Its FIN, which may come only after ours, ends the reading.
            self.shared.finish_raw(conn);
        } else if !matches!(conn.link.phase, Phase::Lingering | Phase::Ended) {
            self.fail_tls(host, conn, Failure::Closed);
        }
    }

    /// Ends the conversation: an alert that waits is sent, then FIN, or RST from a client whose handshake failed.
    #[cold]
    fn fail_tls<A: App>(&mut self, host: &mut Host<A>, conn: &mut Connection, why: Failure) {
        match conn.link.phase {
            Phase::Lingering | Phase::Ended => return,
            Phase::Opening if conn.link.side == Side::Begun => {
                let Speaks::Raw(raw) = &mut conn.speaks else {
                    return self.shared.give_up(host, conn, why);
                };
                raw.fail(why);
                return self.shared.condemned.push(conn.link.id);
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

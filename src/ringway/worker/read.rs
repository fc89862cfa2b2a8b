//! Reading: bytes from the kernel to the protocol of a connection.

use std::ops::Range;
use std::time::Duration;

use crate::conn::link::{Backlog, Inbound, Link, Next, Phase, Receive, Side};
use crate::conn::spill::Spill;
use crate::conn::tls::HELD_BYTES_MAX;
use crate::io::{BufferId, Completion, Errno, HOT_BYTES, Io, Op, Token};
use crate::protocol::{App, Connection, Core, Failure, Host, Shared, Speaks, is_over};
use crate::time::Instant;

/// Missing bytes of a frame from which on it is received straight into its message (16 KiB).
const DIRECT_BYTES_MIN: u64 = 16 << 10;

/// Bytes of a message that must have arrived before its rest is received straight into its own memory (16 KiB).
/// Otherwise a peer could make us allocate [`DIRECT_STEP_BYTES`] by sending only a header.
const DIRECT_FILLED_MIN: usize = 16 << 10;

/// Room of the smallest direct receive (64 KiB). Below that, the extra system call costs more than the copy that it
/// saves.
const DIRECT_STEP_BYTES: usize = 64 << 10;

/// Readiness that includes the end of the peer's stream, or an error.
const HANG_UP: u32 = (libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR).cast_unsigned() as u32;

/// Missing bytes of a message, after its first receive, from which on it is *large* (128 KiB). The first receive of the
/// next message is then short, because its bytes are copied to the memory where the rest arrives directly.
const LARGE_BYTES_MIN: u64 = 128 << 10;
const LARGE_FIRST_BYTES: usize = 16 << 10;

/// Room of the largest direct receive (512 KiB). The bytes are unmasked right after it, and so much is still in the L2
/// cache.
const DIRECT_BYTES_MAX: usize = 512 << 10;

/// Bytes read from one connection before the others get their turn.
const TURN_BYTES_MAX: usize = 1 << 20;

/// Time for which one connection is read in bulk before the others get their turn. Checked after each receive.
const TURN_TIME_MAX: Duration = Duration::from_millis(1);

/// Bytes of a spill that are handled before the clock is read.
const SPILL_BYTES: usize = 64 << 10;

/// What one connection may still read in bulk in a turn.
pub(super) struct Bulk {
    bytes: usize,
    began: Option<Instant>,
}

impl Bulk {
    pub(super) const fn new() -> Self {
        Self {
            bytes: TURN_BYTES_MAX,
            began: None,
        }
    }

    /// Notes a receive. Returns whether it was the last one.
    fn is_used_up(&mut self, len: usize, now: Instant) -> bool {
        self.bytes = self.bytes.saturating_sub(len);
        let time = now.since(*self.began.get_or_insert(now));
        self.bytes == 0 || time >= TURN_TIME_MAX
    }
}

/// Where a receive put its bytes.
enum Target {
    Hot,
    Assembly,
    /// The bytes were received in an earlier turn.
    Spill,
}

/// What handles the bytes of a buffer behind an offset, and returns where it stopped: [`Shared::feed`] and its like.
trait Handles<A: App>:
    Fn(&mut Shared, &mut Host<A>, &mut Connection, &mut [u8], usize, &mut [u8], BufferId) -> usize
{
}

impl<A: App, F> Handles<A> for F where
    F: Fn(
        &mut Shared,
        &mut Host<A>,
        &mut Connection,
        &mut [u8],
        usize,
        &mut [u8],
        BufferId,
    ) -> usize
{
}

impl<I: Io> Core<I> {
    /// Handles a completion of the multishot receive.
    pub(crate) fn handle_recv<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
        done: &Completion,
    ) -> Next {
        if !done.more {
            conn.link.armed.recv = false;
            conn.link.armed.cancelled = false;
        }
        match (done.result, done.buffer) {
            (Ok(len), Some(buffer)) if len > 0 => {
                Self::note_buffer(&mut conn.link, len as usize);
                self.feed(host, conn, buffer, len as usize);
            }
            // Bytes in the spill precede the end of the stream. The end is read again after them.
            (Ok(_), _) if conn.link.spill.is_some() => conn.link.hang_up(),
            (Ok(_), _) => return self.end_of_stream(host, conn),
            (Err(Errno(libc::ENOBUFS)), _) => {
                self.shared.counters.enobufs += 1;
                self.ran_dry = true;
                if conn.link.phase != Phase::Ended {
                    self.starved.push(conn.link.id);
                    return Next::Park;
                }
            }
            (Err(Errno(libc::ECANCELED | libc::EAGAIN | libc::EINTR)), _) => {}
            (Err(_), _) => return Next::Reset,
        }
        Next::Continue
    }

    /// Handles a completion of the multishot readiness.
    pub(crate) fn handle_poll_in<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
        done: &Completion,
    ) -> Next {
        if !done.more {
            conn.link.armed.poll_in = false;
            conn.link.armed.cancelled = false;
        }
        match done.result {
            Ok(events) => {
                if events & HANG_UP != 0 {
                    conn.link.hang_up();
                }
                if conn.link.phase == Phase::Connecting {
                    conn.link.backlog = Backlog::Readable;
                } else if conn.link.backlog != Backlog::Listed {
                    return self.read(host, conn);
                }
            }
            Err(Errno(libc::ECANCELED | libc::EAGAIN | libc::EINTR)) => {}
            Err(_) => return Next::Reset,
        }
        Next::Continue
    }

    /// Reads a ready connection until its socket is drained or its share of the turn is used up.
    pub(super) fn read<A: App>(&mut self, host: &mut Host<A>, conn: &mut Connection) -> Next {
        if conn.link.pair().is_some() {
            return Next::Carry;
        }
        let mut bulk = Bulk::new();
        loop {
            if let Some(next) = self.read_some(host, conn, &mut bulk) {
                return next;
            }
        }
    }

    /// Receives once. Returns what follows, when nothing more is to be read now.
    #[inline(always)]
    pub(super) fn read_some<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
        bulk: &mut Bulk,
    ) -> Option<Next> {
        if conn.link.phase == Phase::Ended || conn.link.inbound == Inbound::Closed {
            return Some(Self::read_to_the_end(conn));
        }
        if !conn.link.pauses.is_empty() {
            conn.link.backlog = Backlog::Readable;
            return Some(Next::Continue);
        }
        if conn.link.armed.recv && conn.link.spill.is_none() {
            // The receive that is being cancelled may still bring bytes. What the socket holds comes after those.
            return Some(Next::Continue);
        }
        let (target, asked, result) = self.receive_some(conn);
        let len = match result {
            // The spill is empty while a message is inflated that ends what was received.
            Ok(0) if !matches!(target, Target::Spill) => {
                return Some(self.end_of_stream(host, conn));
            }
            Ok(len) => len,
            Err(Errno(libc::EAGAIN)) => return Some(Self::read_to_the_end(conn)),
            Err(_) => return Some(Next::Reset),
        };
        match target {
            Target::Assembly => self.feed_assembly(host, conn, len),
            Target::Hot => {
                self.note_bulk(&mut conn.link, len);
                self.feed(host, conn, BufferId::HOT, len);
            }
            Target::Spill => self.feed_spill(host, conn, len),
        }
        // The hot buffer is reused at once, by this connection or the next.
        if self.flush_hot(&mut conn.link) == Next::Reset {
            return Some(Next::Reset);
        }
        self.check_pause(&mut conn.link);
        if conn.link.backlog == Backlog::Listed {
            // The connection has used up its share of frames.
            return Some(Next::Continue);
        }
        // Edge-triggered readiness fires once for the last bytes and the FIN behind them. After a FIN, read until
        // 0: no second event will come.
        if len < asked && conn.link.inbound == Inbound::Open {
            return Some(Self::read_to_the_end(conn));
        }
        if bulk.is_used_up(len, self.io.now()) {
            self.list_ready(&mut conn.link);
            return Some(Next::Continue);
        }
        None
    }

    /// Nothing is left to be read before the kernel says so.
    fn read_to_the_end(conn: &mut Connection) -> Next {
        if conn.link.backlog == Backlog::Readable {
            conn.link.backlog = Backlog::None;
        }
        Next::Continue
    }

    /// Receives once: into the message in progress when much of its frame is missing, else into the hot buffer.
    fn receive_some(&mut self, conn: &mut Connection) -> (Target, usize, Result<usize, Errno>) {
        if let Some(spill) = &conn.link.spill {
            let rest = spill.rest();
            let len = rest.len().min(SPILL_BYTES);
            self.io.refill_hot(&rest[..len]);
            return (Target::Spill, len, Ok(len));
        }
        if let Some(tls) = &conn.link.out.tls {
            // A record may be opened only as a whole: its beginning gets its place before the rest.
            let limit = HOT_BYTES - HELD_BYTES_MAX;
            let at = match tls.is_ready() {
                true => tls.held().len(),
                false => 0,
            };
            let result = self.io.recv_hot_behind(conn.link.fd, at, limit);
            return (Target::Hot, limit, result);
        }
        let Speaks::WebSocket(websocket) = &mut conn.speaks else {
            return (
                Target::Hot,
                HOT_BYTES,
                self.io.recv_hot(conn.link.fd, HOT_BYTES),
            );
        };
        let remaining = websocket.receiver.payload_remaining();
        let limit = match (remaining, &mut websocket.assembly) {
            (Some(remaining), Some(assembly)) if remaining >= DIRECT_BYTES_MIN => {
                websocket.large |= remaining >= LARGE_BYTES_MIN;
                if assembly.filled >= DIRECT_FILLED_MIN {
                    let buffers = &mut self.shared.buffers;
                    let tail =
                        assembly.tail(remaining, DIRECT_STEP_BYTES, DIRECT_BYTES_MAX, buffers);
                    return (
                        Target::Assembly,
                        tail.len(),
                        self.io.recv(conn.link.fd, tail),
                    );
                }
                DIRECT_FILLED_MIN
            }
            // Receives the rest of a large message, and of the next one only as much as is worth copying.
            (Some(remaining), _) if websocket.large => {
                LARGE_FIRST_BYTES + usize::try_from(remaining).unwrap_or(0)
            }
            (None, _) if std::mem::take(&mut websocket.large) => LARGE_FIRST_BYTES,
            _ => HOT_BYTES,
        };
        (Target::Hot, limit, self.io.recv_hot(conn.link.fd, limit))
    }

    #[inline(always)] // once per receive
    pub(crate) fn feed<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
        buffer: BufferId,
        len: usize,
    ) {
        self.note_heard(&mut conn.link, len);
        if conn.link.is_apart {
            return self.feed_apart(host, conn, buffer, len);
        }
        self.feed_span(host, conn, buffer, 0..len, Shared::feed);
    }

    /// Handles the bytes of a connection that speaks TLS, or may, or whose frames may be logged.
    #[inline(never)]
    fn feed_apart<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
        buffer: BufferId,
        len: usize,
    ) {
        if conn.link.out.tls.is_some() {
            return self.feed_tls(host, conn, buffer, len);
        }
        conn.link.is_apart = self.shared.protocol.frame_log.is_some()
            || conn.link.pair().is_some()
            || conn.speaks.is_read_in_events();
        self.feed_opened(host, conn, buffer, 0..len);
    }

    /// Handles bytes that are not under TLS, or have been opened, and logs their frames if that is wanted. Those of the
    /// buffer before `span` count only while a WebSocket is open.
    #[inline(never)]
    pub(super) fn feed_opened<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
        buffer: BufferId,
        span: Range<usize>,
    ) {
        if self.shared.protocol.frame_log.is_some() && conn.speaks.websocket().is_some() {
            let bytes = &self.io.buffer(buffer)[span.clone()];
            self.shared.log_received(conn.link.id, bytes);
        }
        if conn.link.pair().is_some() && !matches!(conn.speaks, Speaks::Opening(_)) {
            return self.feed_paired(host, conn, buffer, span);
        }
        match conn.speaks.is_read_in_events() {
            true => self.feed_span(host, conn, buffer, span, Shared::feed_events),
            false => self.feed_span(host, conn, buffer, span, Shared::feed),
        }
    }

    /// Makes pieces for the other end of a pair. Before that is there, the bytes wait in the spill.
    fn feed_paired<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
        buffer: BufferId,
        span: Range<usize>,
    ) {
        let waits = conn.link.pair().is_some_and(|pair| pair.waits);
        if waits || conn.link.spill.is_some() {
            return self.spill(&mut conn.link, buffer, span);
        }
        let end = span.end;
        let read = self.stretches(host, conn, buffer, span, Shared::carry);
        // As in `feed_span`.
        if read < end || conn.link.spill.is_some() {
            self.spill(&mut conn.link, buffer, read..end);
        }
    }

    #[inline(always)] // a connection without TLS shall not pay for the place
    fn feed_span<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
        buffer: BufferId,
        span: Range<usize>,
        handle: impl Handles<A>,
    ) {
        if conn.link.spill.is_some() {
            return self.spill(&mut conn.link, buffer, span);
        }
        let end = span.end;
        let read = self.stretches(host, conn, buffer, span, handle);
        // The spill is there, and may stay empty, when a message is inflated in later turns.
        if read < end || conn.link.spill.is_some() {
            self.spill(&mut conn.link, buffer, read..end);
        }
    }

    /// Handles the bytes of a buffer by `handle` until the connection's share of the turn is used up. Returns where it stopped.
    #[inline(always)] // see above
    fn stretches<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
        buffer: BufferId,
        span: Range<usize>,
        handle: impl Handles<A>,
    ) -> usize {
        let Range { start, end } = span;
        let mut read = start;
        loop {
            let (buf, scratch) = self.io.buffer_and_scratch(buffer);
            let buf = &mut buf[..end];
            read = handle(&mut self.shared, host, conn, buf, read, scratch, buffer);
            if read == end || !self.shared.protocol.share.goes_on(self.io.now()) {
                return read;
            }
        }
    }

    /// Copies bytes beyond the connection's share of the turn to its spill, for the next turn. From then on the
    /// connection is read in bulk, so that no more arrives than it can handle.
    #[cold]
    fn spill(&mut self, link: &mut Link, buffer: BufferId, range: Range<usize>) {
        let buffers = &mut self.shared.buffers;
        let spill = link.spill.get_or_insert_with(|| Spill::new(buffers));
        spill.push(&self.io.buffer(buffer)[range], buffers);
        (link.receive, link.misfits) = (Receive::Bulk, 0);
        self.list_ready(link);
    }

    /// Handles the first `len` bytes of the spill, which were copied to the hot buffer.
    #[cold]
    fn feed_spill<A: App>(&mut self, host: &mut Host<A>, conn: &mut Connection, len: usize) {
        let (_, scratch) = self.io.buffer_and_scratch(BufferId::HOT);
        let read = match self.shared.inflate_on(host, conn, scratch) {
            true => 0,
            false if conn.link.pair().is_some() => {
                self.stretches(host, conn, BufferId::HOT, 0..len, Shared::carry)
            }
            false if conn.speaks.is_read_in_events() => {
                self.stretches(host, conn, BufferId::HOT, 0..len, Shared::feed_events)
            }
            false => self.stretches(host, conn, BufferId::HOT, 0..len, Shared::feed),
        };
        // A connection that ended meanwhile has no spill any more.
        let Some(mut spill) = conn.link.spill.take() else {
            return;
        };
        spill.advance(read);
        let inflates = conn.speaks.inflates();
        if spill.rest().is_empty() && !inflates {
            self.shared.buffers.give_back(spill.into_memory());
            self.end_after_spill(host, conn);
        } else {
            conn.link.spill = Some(spill);
        }
        if read < len || inflates {
            self.list_ready(&mut conn.link);
        }
    }

    fn feed_assembly<A: App>(&mut self, host: &mut Host<A>, conn: &mut Connection, len: usize) {
        self.note_heard(&mut conn.link, len);
        if let Some(websocket) = conn.speaks.websocket()
            && let Some(assembly) = &websocket.assembly
        {
            let bytes = &assembly.data[assembly.filled..assembly.filled + len];
            self.shared.log_received(conn.link.id, bytes);
        }
        let (_, scratch) = self.io.buffer_and_scratch(BufferId::SCRATCH);
        self.shared.feed_assembly(host, conn, len, scratch);
        if conn.link.spill.is_some() {
            // The message is inflated in later turns.
            self.list_ready(&mut conn.link);
        }
    }

    fn note_heard(&mut self, link: &mut Link, len: usize) {
        if link.side == Side::Begun && link.receive == Receive::Bulk {
            // Bulk receives happen during the turn, so the instant of its start is stale. A client may time these
            // messages: take the clock again.
            self.shared.now = self.io.now();
        }
        link.heard = self.shared.now;
        self.shared.counters.wire_bytes_in += len as u64;
    }

    /// Sends at once what a bulk receive led to: first segments of scratch and the hot buffer in the order in which
    /// they were made, then the queue.
    pub(super) fn flush_hot(&mut self, link: &mut Link) -> Next {
        let waits = link.armed.poll_out || link.phase == Phase::Ended;
        if waits && link.out.tls.is_some() {
            // The plaintext lies in the hot buffer even while a queue of ciphertext waits.
            self.seal(link);
        }
        match waits || self.send_now(link).is_ok() {
            true => Next::Continue,
            false => Next::Reset,
        }
    }

    /// The socket has room again, or the kernel has decided the connect.
    pub(super) fn handle_poll_out<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
    ) -> Next {
        conn.link.armed.poll_out = false;
        match conn.link.phase {
            Phase::Ended => return Next::Continue,
            Phase::Connecting => return self.handle_connected(host, conn),
            _ => {}
        }
        // The application learns of the room at the end of this function.
        conn.link.out.refused = false;
        if self.send_now(&mut conn.link).is_err() {
            return Next::Reset;
        }
        let was_over = conn.link.phase != Phase::Open && conn.link.inbound == Inbound::Closed;
        if conn.link.out.queue.is_none() && was_over || is_over(conn) {
            return Next::End;
        }
        self.tell_writable(host, conn);
        Next::Continue
    }

    /// The kernel has decided the connect: sends the request, or gives the connection up.
    fn handle_connected<A: App>(&mut self, host: &mut Host<A>, conn: &mut Connection) -> Next {
        match self.io.connect_result(conn.link.fd) {
            Ok(()) => {}
            Err(Errno(libc::EINPROGRESS | libc::EALREADY)) => {
                conn.link.armed.poll_out = true;
                let token = Token::new(Op::PollOut, conn.link.id);
                self.io.submit_poll_out(token, conn.link.fd);
                return Next::Continue;
            }
            Err(errno) => {
                match &mut conn.speaks {
                    Speaks::Raw(raw) => raw.fail(Failure::Connect(errno)),
                    _ => self
                        .shared
                        .report_failure(host, conn, Failure::Connect(errno)),
                }
                return Next::Reset;
            }
        }
        if matches!(conn.speaks, Speaks::Raw(_)) {
            let next = self.enter_target(conn);
            if next != Next::Continue {
                return next;
            }
        } else {
            let (_, scratch) = self.io.buffer_and_scratch(BufferId::SCRATCH);
            self.shared.ask(host, conn, scratch);
        }
        if conn.link.backlog == Backlog::Readable {
            self.list_ready(&mut conn.link);
        }
        Next::Continue
    }

    /// Calls the application's `writable` if the send queue is empty.
    pub(super) fn tell_writable<A: App>(&mut self, host: &mut Host<A>, conn: &mut Connection) {
        if self
            .shared
            .protocol
            .fanout
            .as_ref()
            .is_some_and(|fanout| !fanout.late.is_empty())
        {
            self.send_late(host, conn);
        }
        let is_open = conn.link.phase == Phase::Open && conn.speaks.websocket().is_some();
        if conn.link.out.queue.is_none() && is_open {
            let (_, scratch) = self.io.buffer_and_scratch(BufferId::SCRATCH);
            let (app, session) = host.of(conn.link.id);
            app.writable(
                &mut self.shared.context(conn, scratch, BufferId::HOT),
                session,
            );
        }
    }
}

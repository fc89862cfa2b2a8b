//! Receiving: small messages in buffers of the pool, large ones in bulk.
//!
//! ```text
//!             a frame announces more than 8 KiB, or buffers come back full again and again
//!  Buffers ────────────────────────────────────────▶ Bulk
//!  multishot receive       cancel, then              multishot readiness; plain receives into the hot buffer, or
//!                          arm the other             straight into the message's own memory
//!          ◀────────────────────────────────────────
//!             32 receives in a row that a buffer would have held
//! ```

use std::time::Duration;

use super::app::{App, Host};
use super::connection::{Connection, Pauses, Phase, Receive};
use super::spill::Spill;
use super::worker::Core;
use crate::io::pool::BUFFER_BYTES;
use crate::io::{BufferId, Completion, Errno, HOT_BYTES, Io, Op, ReceiveMode, Token};
use crate::proto::Role;

/// Receives that would have suited the other way of receiving, after which the connection changes over. A full buffer
/// counts for bulk and one that is not full against it, so that four full ones and a rest are worth three.
const MISFITS_MAX: u8 = 32;

/// A frame of which more than this is missing is received straight into its message.
const DIRECT_BYTES_MIN: u64 = 16 << 10;

/// A message of which less than this is there goes on through the hot buffer: else a header and a few bytes would be worth
/// the memory of a whole direct receive to anyone who sends them.
const DIRECT_FILLED_MIN: usize = 16 << 10;

/// Smallest direct receive: one system call for less would cost more than the copy it saves.
const DIRECT_STEP_BYTES: usize = 64 << 10;

/// Readiness of which the peer's end of the stream, or an error, is a part.
const HANG_UP: u32 = (libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR).cast_unsigned() as u32;

/// A message of which more than this was missing after its first receive is *large*: the first receive of the next one is
/// short, so that little of it has to be copied to where the rest goes directly.
const LARGE_BYTES_MIN: u64 = 128 << 10;
const LARGE_FIRST_BYTES: usize = 16 << 10;

/// Largest direct receive: what of it is unmasked at once is still in the L2 cache.
const DIRECT_BYTES_MAX: usize = 512 << 10;

/// Bytes read from one connection before the others get their turn.
const TURN_BYTES_MAX: usize = 1 << 20;

/// Time that one connection reads in bulk before the others get their turn, when it takes several receives.
const TURN_TIME_MAX: Duration = Duration::from_millis(1);

/// Bytes of a spill that are handled in one go.
const SPILL_BYTES: usize = 64 << 10;

/// Where a receive went.
enum Target {
    Hot,
    Assembly,
    /// It was received in an earlier turn.
    Spill,
}

impl<I: Io> Core<I> {
    /// A completion of the multishot receive.
    pub(super) fn handle_recv<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
        done: &Completion,
    ) {
        if !done.more {
            conn.armed.recv = false;
            conn.armed.cancelled = false;
        }
        match (done.result, done.buffer) {
            (Ok(len), Some(buffer)) if len > 0 => {
                Self::note_buffer(conn, len as usize);
                self.feed(host, conn, buffer, len as usize);
            }
            // What came before the end is handled first; the end is met again behind it.
            (Ok(_), _) if conn.spill.is_some() => conn.hung_up = true,
            (Ok(_), _) => self.end_of_stream(host, conn),
            (Err(Errno(libc::ENOBUFS)), _) => {
                self.shared.counters.enobufs += 1;
                self.ran_dry = true;
                if conn.phase != Phase::Ended {
                    self.starved.push(conn.id);
                    return;
                }
            }
            (Err(Errno(libc::ECANCELED | libc::EAGAIN | libc::EINTR)), _) => {}
            (Err(_), _) => self.reset(host, conn),
        }
        self.settle_receive(conn);
    }

    /// A completion of the multishot readiness.
    pub(super) fn handle_poll_in<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
        done: &Completion,
    ) {
        if !done.more {
            conn.armed.poll_in = false;
            conn.armed.cancelled = false;
        }
        match done.result {
            Ok(events) => {
                conn.hung_up |= events & HANG_UP != 0;
                if conn.phase == Phase::Connecting {
                    conn.readable = true;
                } else if !conn.listed {
                    self.read(host, conn);
                }
            }
            Err(Errno(libc::ECANCELED | libc::EAGAIN | libc::EINTR)) => {}
            Err(_) => self.reset(host, conn),
        }
        self.settle_receive(conn);
    }

    /// Reads a ready connection until its socket is drained or its share of the turn is used up.
    pub(super) fn read<A: App>(&mut self, host: &mut Host<A>, conn: &mut Connection) {
        let mut share = TURN_BYTES_MAX;
        let mut began = None;
        while conn.phase != Phase::Ended && !conn.deaf {
            if !conn.pauses.is_empty() {
                conn.readable = true;
                return;
            }
            if conn.armed.recv && conn.spill.is_none() {
                // The receive that is being cancelled may bring more, and what the socket holds comes behind that.
                return;
            }
            let (target, asked, result) = self.receive_some(conn);
            let len = match result {
                Ok(0) => return self.end_of_stream(host, conn),
                Ok(len) => len,
                Err(Errno(libc::EAGAIN)) => break,
                Err(_) => return self.reset(host, conn),
            };
            match target {
                Target::Assembly => self.feed_assembly(host, conn, len),
                Target::Hot => {
                    self.note_bulk(conn, len);
                    self.feed(host, conn, BufferId::HOT, len);
                }
                Target::Spill => self.feed_spill(host, conn, len),
            }
            // The hot buffer is used again at once, by this connection or the next.
            self.flush_hot(host, conn);
            self.check_pause(conn);
            if conn.listed {
                // Its share of frames is used up.
                return;
            }
            // Readiness is told once for the last bytes and the end behind them, so the end must be fetched now.
            if len < asked && !conn.hung_up {
                break;
            }
            share = share.saturating_sub(len);
            let now = self.io.now();
            let time = now.since(*began.get_or_insert(now));
            if share == 0 || time >= TURN_TIME_MAX {
                return self.list_ready(conn);
            }
        }
        conn.readable = false;
    }

    /// To be read in the next turn.
    pub(super) fn list_ready(&mut self, conn: &mut Connection) {
        if !std::mem::replace(&mut conn.listed, true) {
            self.ready.push(conn.id);
        }
    }

    /// One receive: into the message in progress when much of its frame is missing, else into the hot buffer.
    fn receive_some(&mut self, conn: &mut Connection) -> (Target, usize, Result<usize, Errno>) {
        if let Some(spill) = &conn.spill {
            let rest = spill.rest();
            let len = rest.len().min(SPILL_BYTES);
            self.io.refill_hot(&rest[..len]);
            return (Target::Spill, len, Ok(len));
        }
        let limit = match (conn.receiver.payload_remaining(), &mut conn.assembly) {
            (Some(remaining), Some(assembly)) if remaining >= DIRECT_BYTES_MIN => {
                conn.large |= remaining >= LARGE_BYTES_MIN;
                if assembly.filled >= DIRECT_FILLED_MIN {
                    let buffers = &mut self.shared.buffers;
                    let tail =
                        assembly.tail(remaining, DIRECT_STEP_BYTES, DIRECT_BYTES_MAX, buffers);
                    return (Target::Assembly, tail.len(), self.io.recv(conn.fd, tail));
                }
                DIRECT_FILLED_MIN
            }
            // The rest of a large message, and no more of the next than is worth copying.
            (Some(remaining), _) if conn.large => {
                LARGE_FIRST_BYTES + usize::try_from(remaining).unwrap_or(0)
            }
            (None, _) if std::mem::take(&mut conn.large) => LARGE_FIRST_BYTES,
            _ => HOT_BYTES,
        };
        (Target::Hot, limit, self.io.recv_hot(conn.fd, limit))
    }

    pub(super) fn feed<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
        buffer: BufferId,
        len: usize,
    ) {
        self.note_heard(conn, len);
        if conn.spill.is_some() {
            return self.spill(conn, buffer, 0..len);
        }
        let read = self.feed_stretches(host, conn, buffer, len);
        if read < len {
            self.spill(conn, buffer, read..len);
        }
    }

    /// Handles what a buffer holds, as far as the connection's share of the turn reaches; returns how far that is.
    fn feed_stretches<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
        buffer: BufferId,
        len: usize,
    ) -> usize {
        let mut read = 0;
        loop {
            let (buf, scratch) = self.io.buffer_and_scratch(buffer);
            read = self
                .shared
                .feed(host, conn, &mut buf[..len], read, scratch, buffer);
            if read == len || !self.shared.share.goes_on(self.io.now()) {
                return read;
            }
        }
    }

    /// Keeps what is beyond the connection's share of the turn for the next one. From then on it is read in bulk: only what
    /// it can handle.
    #[cold]
    fn spill(&mut self, conn: &mut Connection, buffer: BufferId, range: std::ops::Range<usize>) {
        let buffers = &mut self.shared.buffers;
        let spill = conn.spill.get_or_insert_with(|| Spill::new(buffers));
        spill.push(&self.io.buffer(buffer)[range], buffers);
        (conn.receive, conn.misfit) = (Receive::Bulk, 0);
        self.list_ready(conn);
    }

    /// The first `len` bytes of the spill lie in the hot buffer.
    #[cold]
    fn feed_spill<A: App>(&mut self, host: &mut Host<A>, conn: &mut Connection, len: usize) {
        let read = self.feed_stretches(host, conn, BufferId::HOT, len);
        // A connection that is over has none any more.
        let Some(mut spill) = conn.spill.take() else {
            return;
        };
        spill.advance(read);
        if spill.rest().is_empty() {
            self.shared.buffers.give_back(spill.into_memory());
        } else {
            conn.spill = Some(spill);
        }
        if read < len {
            self.list_ready(conn);
        }
    }

    fn feed_assembly<A: App>(&mut self, host: &mut Host<A>, conn: &mut Connection, len: usize) {
        self.note_heard(conn, len);
        let (_, scratch) = self.io.buffer_and_scratch(BufferId::SCRATCH);
        self.shared.feed_assembly(host, conn, len, scratch);
    }

    fn note_heard(&mut self, conn: &mut Connection, len: usize) {
        if conn.role == Role::Client && conn.receive == Receive::Bulk {
            // What a turn reads by itself arrives in the course of it: whoever measures times needs them true.
            self.shared.now = self.io.now();
        }
        conn.heard = self.shared.now;
        self.shared.counters.wire_bytes_in += len as u64;
    }

    /// Sends what a bulk receive led to, at once: segments of scratch and the hot buffer in the order they were made, then the
    /// queue.
    pub(super) fn flush_hot<A: App>(&mut self, host: &mut Host<A>, conn: &mut Connection) {
        let waits = conn.armed.poll_out || conn.phase == Phase::Ended;
        if !waits && self.send_now(conn).is_err() {
            self.reset(host, conn);
        }
    }

    /// A connection whose buffers come back full sends more than they are good for.
    fn note_buffer(conn: &mut Connection, len: usize) {
        conn.misfit = if len == BUFFER_BYTES {
            conn.misfit + 1
        } else {
            conn.misfit.saturating_sub(1)
        };
        if conn.misfit == MISFITS_MAX {
            conn.misfit = 0;
            conn.receive = Receive::Bulk;
        }
    }

    /// A connection whose bulk receives would fit a buffer goes back to buffers, where there are any.
    fn note_bulk(&self, conn: &mut Connection, len: usize) {
        conn.misfit = if len < BUFFER_BYTES {
            conn.misfit + 1
        } else {
            0
        };
        if conn.misfit == MISFITS_MAX {
            conn.misfit = 0;
            if self.io.receive_mode() == ReceiveMode::Buffers {
                conn.receive = Receive::Buffers;
            }
        }
    }

    /// Arms what the connection wants next, or ends what it wants no more.
    pub(super) fn settle_receive(&mut self, conn: &mut Connection) {
        self.check_pause(conn);
        if conn.phase == Phase::Ended {
            self.release_when_idle(conn);
        } else if conn.armed.recv && (conn.receive == Receive::Bulk || !conn.pauses.is_empty())
            || conn.armed.poll_in && conn.receive == Receive::Buffers
        {
            self.cancel_receive(conn);
        } else {
            self.arm_receive(conn);
        }
    }

    /// Arms the receive that the connection wants, unless one is armed or reading is paused.
    pub(super) fn arm_receive(&mut self, conn: &mut Connection) {
        if conn.armed.recv || conn.armed.poll_in || conn.deaf || conn.phase == Phase::Ended {
            return;
        }
        match conn.receive {
            Receive::Buffers if !conn.pauses.is_empty() => {}
            Receive::Buffers => {
                conn.armed.recv = true;
                self.io.submit_recv(Token::new(Op::Recv, conn.id), conn.fd);
            }
            Receive::Bulk => {
                conn.armed.poll_in = true;
                self.io
                    .submit_poll_in(Token::new(Op::PollIn, conn.id), conn.fd);
            }
        }
    }

    /// Stops reading: what is armed ends, and what it still brings is delivered.
    pub(super) fn pause(&mut self, conn: &mut Connection, reason: Pauses) {
        conn.pauses.insert(reason);
        if conn.armed.recv {
            self.cancel_receive(conn);
        }
    }

    /// Reads on, unless there is another reason not to.
    pub(super) fn resume(&mut self, conn: &mut Connection, reason: Pauses) {
        if !conn.pauses.contains(reason) || conn.phase == Phase::Ended {
            return;
        }
        conn.pauses.remove(reason);
        if conn.pauses.is_empty() {
            self.resume_receive(conn);
        }
    }

    /// Reading goes on after a pause.
    fn resume_receive(&mut self, conn: &mut Connection) {
        if std::mem::take(&mut conn.readable) {
            self.list_ready(conn);
        }
        self.arm_receive(conn);
    }

    pub(super) fn cancel_receive(&mut self, conn: &mut Connection) {
        if conn.armed.cancelled || !(conn.armed.recv || conn.armed.poll_in) {
            return;
        }
        conn.armed.cancelled = true;
        let op = if conn.armed.recv {
            Op::Recv
        } else {
            Op::PollIn
        };
        self.io.submit_cancel(Token::new(op, conn.id), conn.fd);
    }
}

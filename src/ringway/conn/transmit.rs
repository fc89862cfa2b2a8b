//! Sending: one send per connection and turn from shared buffers, the rest from the connection's own queue.

use super::app::{App, Host};
use super::connection::{Connection, Pauses, Phase};
use super::outbox::{Carries, Outbox};
use super::worker::Core;
use crate::io::{BufferId, Errno, Follows, Io, Op, ReceiveMode, SEGMENTS_MAX, Segment, Token};
use crate::proto::Role;

/// The socket is of no use any more.
#[derive(Debug)]
pub(super) struct Broken;

/// Segments of one send, in memory that is used again.
#[derive(Debug, Default)]
pub(super) struct Batch {
    segments: Vec<Segment>,
    bytes: usize,
}

impl Batch {
    /// At most one send's worth.
    fn collect(&mut self, segments: impl Iterator<Item = Segment>) {
        self.segments.clear();
        self.segments.extend(segments.take(SEGMENTS_MAX));
        self.bytes = self
            .segments
            .iter()
            .map(|segment| segment.len as usize)
            .sum();
    }
}

/// What comes behind a send that leaves `rest_bytes` of the queue for the next one.
fn what_follows(conn: &Connection, rest_bytes: usize) -> Follows {
    match conn.finish && rest_bytes == 0 {
        true => Follows::End,
        false => Follows::Nothing,
    }
}

impl<I: Io> Core<I> {
    /// What a connection wants to send in this turn. The common case goes into the ring and is decided by the next
    /// `enter`; whatever needs an order (queue, FIN) is sent at once.
    pub(super) fn flush<A: App>(&mut self, host: &mut Host<A>, conn: &mut Connection) {
        if conn.phase == Phase::Ended || conn.armed.poll_out {
            return self.check_pause(conn);
        }
        let simple = conn.transmit.queue.is_none() && !conn.finish;
        if simple && self.submit(conn) {
            return;
        }
        match self.send_now(conn) {
            Ok(()) => self.check_pause(conn),
            Err(Broken) => self.reset(host, conn),
        }
    }

    /// Puts the segments of this turn into the ring. False when there are too many for one send.
    fn submit(&mut self, conn: &mut Connection) -> bool {
        self.shared.blocks.register(&mut self.io);
        if let Some(segment) = self.shared.outbox.only_pending(&conn.transmit.list) {
            self.submit_segments(conn, std::slice::from_ref(&segment), segment.len as usize);
            return true;
        }
        let mut pending = self.shared.outbox.pending(&conn.transmit.list);
        self.batch.collect(pending.by_ref());
        let is_longer = pending.next().is_some();
        drop(pending);
        if is_longer {
            return false;
        }
        if self.batch.bytes > 0 {
            let batch = std::mem::take(&mut self.batch);
            self.submit_segments(conn, &batch.segments, batch.bytes);
            self.batch = batch;
        }
        true
    }

    #[inline]
    fn submit_segments(&mut self, conn: &mut Connection, segments: &[Segment], bytes: usize) {
        self.io
            .submit_send(Token::new(Op::Send, conn.id), conn.fd, segments);
        // Where there is no ring, a send that is submitted is done at once.
        self.lone_sends += u64::from(self.io.receive_mode() == ReceiveMode::Readiness);
        self.shared.counters.wire_bytes_out += bytes as u64;
        Outbox::submit(&mut conn.transmit.list);
    }

    /// Sends the segments of this turn, then the queue, until the socket is full. With everything gone and nothing to
    /// follow, ends our direction.
    pub(super) fn send_now(&mut self, conn: &mut Connection) -> Result<(), Broken> {
        self.shared.blocks.register(&mut self.io);
        self.queue_excess(conn);
        let mut batch = std::mem::take(&mut self.batch);
        batch.collect(self.shared.outbox.pending(&conn.transmit.list));
        let result = self.send_batch(conn, &mut batch);
        self.batch = batch;
        if !result? {
            self.wait_for_room(conn);
            return Ok(());
        }
        if std::mem::take(&mut conn.finish) {
            self.io.shutdown(conn.fd, std::net::Shutdown::Write);
        }
        if std::mem::take(&mut conn.transmit.refused) {
            self.relieved.push(conn.id);
        }
        Ok(())
    }

    /// Sends `batch`, then the queue. False when the socket is full before the end.
    fn send_batch(&mut self, conn: &mut Connection, batch: &mut Batch) -> Result<bool, Broken> {
        while batch.bytes > 0 || conn.transmit.queue.is_some() {
            let (result, queued) = match &conn.transmit.queue {
                None => {
                    let follows = what_follows(conn, 0);
                    (self.io.send(conn.fd, &batch.segments, &[], follows), 0)
                }
                Some(queue) => {
                    let (slices, count) = queue.slices();
                    let queued = slices.iter().map(|slice| slice.len()).sum();
                    let follows = what_follows(conn, queue.bytes() - queued);
                    (
                        self.io
                            .send(conn.fd, &batch.segments, &slices[..count], follows),
                        queued,
                    )
                }
            };
            self.lone_sends += 1;
            let sent = match result {
                Ok(sent) => sent,
                Err(Errno(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM)) => 0,
                Err(_) => return Err(Broken),
            };
            self.shared.counters.wire_bytes_out += sent as u64;
            let whole = sent == batch.bytes + queued;
            self.settle(conn, batch, sent);
            batch.collect(std::iter::empty());
            if let (1.., Some(queue)) = (sent, &mut conn.transmit.queue) {
                (queue.stuck_since, queue.unsent_bytes) = (None, None);
            }
            if sent > 0 && matches!(conn.phase, Phase::Closing | Phase::Lingering) {
                // The time that the peer has to close counts from the last byte that it is known to take.
                let deadline = self.shared.now + self.shared.config.of(conn.service).close_timeout;
                self.shared.reschedule(conn, Some(deadline));
            }
            if !whole {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// More segments than one send takes go through the queue: they come last.
    fn queue_excess(&mut self, conn: &mut Connection) {
        let shared = &mut self.shared;
        let mut excess = shared
            .outbox
            .pending(&conn.transmit.list)
            .skip(SEGMENTS_MAX)
            .peekable();
        if excess.peek().is_none() {
            return;
        }
        // They precede what the queue holds already.
        let (mut data, mut len) = (shared.buffers.take(0), 0);
        for segment in excess {
            let bytes =
                &self.io.buffer(segment.buffer)[segment.start as usize..][..segment.len as usize];
            shared.buffers.grow(&mut data, len, len + bytes.len());
            data[len..len + bytes.len()].copy_from_slice(bytes);
            len += bytes.len();
        }
        let queue = conn
            .transmit
            .queue
            .get_or_insert_with(|| shared.buffers.take_queue());
        queue.push_front(data, len);
        queue.carries = queue.carries.and(conn.transmit.list.carries);
        shared
            .outbox
            .truncate(&mut conn.transmit.list, SEGMENTS_MAX);
    }

    /// The socket took `sent` bytes of batch and queue: keeps what is left of the batch in the queue.
    fn settle(&mut self, conn: &mut Connection, batch: &Batch, sent: usize) {
        let carries = conn.transmit.list.carries;
        Outbox::clear(&mut conn.transmit.list);
        if sent < batch.bytes {
            return self.keep(conn, batch, sent, carries);
        }
        let Some(queue) = &mut conn.transmit.queue else {
            return;
        };
        queue.advance(sent - batch.bytes, &mut self.shared.buffers);
        if queue.is_empty()
            && let Some(queue) = conn.transmit.queue.take()
        {
            self.shared.buffers.give_back_queue(queue);
        }
    }

    /// Copies what follows the first `sent` bytes of a batch to the front of the queue.
    fn keep(&mut self, conn: &mut Connection, batch: &Batch, sent: usize, carries: Carries) {
        let len = batch.bytes - sent;
        let mut data = self.shared.buffers.take(len);
        let (mut skip, mut filled) = (sent, 0);
        for segment in &batch.segments {
            let bytes =
                &self.io.buffer(segment.buffer)[segment.start as usize..][..segment.len as usize];
            let bytes = &bytes[skip.min(bytes.len())..];
            skip = skip.saturating_sub(segment.len as usize);
            data[filled..filled + bytes.len()].copy_from_slice(bytes);
            filled += bytes.len();
        }
        let queue = conn
            .transmit
            .queue
            .get_or_insert_with(|| self.shared.buffers.take_queue());
        queue.push_front(data, len);
        queue.carries = queue.carries.and(carries);
    }

    fn wait_for_room(&mut self, conn: &mut Connection) {
        self.shared.counters.partial_sends += 1;
        conn.armed.poll_out = true;
        self.io
            .submit_poll_out(Token::new(Op::PollOut, conn.id), conn.fd);
        self.shared.watch_queue(conn);
    }

    /// What became of a send of the last turn, when it was not silent. Called before its buffers go back.
    pub(super) fn handle_send<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
        result: Result<u32, Errno>,
    ) {
        let mut batch = std::mem::take(&mut self.batch);
        batch.collect(self.shared.outbox.submitted(&conn.transmit.list));
        self.settle_submitted(host, conn, &batch, result);
        self.batch = batch;
    }

    fn settle_submitted<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
        batch: &Batch,
        result: Result<u32, Errno>,
    ) {
        let sent = match result {
            Ok(sent) => sent as usize,
            Err(Errno(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM)) => 0,
            Err(_) => {
                self.shared.counters.wire_bytes_out -= batch.bytes as u64;
                let lost = conn.transmit.list.carries == Carries::Messages;
                self.shared.counters.drops += u64::from(lost);
                return self.reset(host, conn);
            }
        };
        if sent < batch.bytes {
            self.shared.counters.wire_bytes_out -= (batch.bytes - sent) as u64;
            self.keep(conn, batch, sent, conn.transmit.list.carries);
            self.wait_for_room(conn);
            self.check_pause(conn);
        }
    }

    /// The socket has room again.
    pub(super) fn handle_poll_out<A: App>(&mut self, host: &mut Host<A>, conn: &mut Connection) {
        conn.armed.poll_out = false;
        match conn.phase {
            Phase::Ended => return self.release_when_idle(conn),
            Phase::Connecting => return self.handle_connected(host, conn),
            _ => {}
        }
        // It is told below.
        conn.transmit.refused = false;
        if self.send_now(conn).is_err() {
            return self.reset(host, conn);
        }
        if conn.transmit.queue.is_none() && conn.deaf {
            return self.end(host, conn);
        }
        self.tell_writable(host, conn);
        self.check_pause(conn);
    }

    /// The queue is empty again.
    pub(super) fn tell_writable<A: App>(&mut self, host: &mut Host<A>, conn: &mut Connection) {
        if conn.transmit.queue.is_none() && conn.phase == Phase::Open {
            let (_, scratch) = self.io.buffer_and_scratch(BufferId::SCRATCH);
            let (app, session) = host.of(conn.id);
            app.writable(
                &mut self.shared.context(conn, scratch, BufferId::HOT),
                session,
            );
        }
    }

    /// Stops reading from a peer that does not read, and goes on when it did.
    pub(super) fn check_pause(&mut self, conn: &mut Connection) {
        if conn.role == Role::Client {
            // A server may wait as well until it is read from. What a client sends is bounded where it is accepted.
            return;
        }
        let (queued, max) = (
            conn.queued_bytes(),
            self.shared.config.of(conn.service).send_queue_bytes_max,
        );
        let paused = conn.pauses.contains(Pauses::QUEUE);
        if !paused && queued > max && matches!(conn.phase, Phase::Open | Phase::Closing) {
            self.shared.counters.pauses += 1;
            self.pause(conn, Pauses::QUEUE);
        } else if paused && queued <= max / 2 {
            self.resume(conn, Pauses::QUEUE);
        }
    }

    /// Gives up what was not sent, and counts it if there were messages in it.
    pub(super) fn drop_output(&mut self, conn: &mut Connection) {
        let list = &conn.transmit.list;
        let pending = match self.shared.outbox.is_pending(list) {
            true => list.carries,
            false => Carries::Control,
        };
        Outbox::clear(&mut conn.transmit.list);
        let queue = conn.transmit.queue.take();
        let carries = queue
            .as_ref()
            .map_or(pending, |queue| pending.and(queue.carries));
        self.shared.counters.drops += u64::from(carries == Carries::Messages);
        if let Some(queue) = queue {
            self.shared.buffers.give_back_queue(queue);
        }
    }
}

//! Sending: each turn makes one send per connection from shared buffers. What the socket does not take goes to the
//! connection's queue.

use super::core::Core;
use super::link::{Ending, Link, Next, Pauses, Phase, Throttles};
use super::outbox::{Carries, Outbox};
use crate::io::{Errno, Follows, Io, Op, ReceiveMode, SEGMENTS_MAX, Segment, Token};

/// The socket failed: nothing can be sent on it.
#[derive(Debug)]
pub(crate) struct Broken;

/// The segments of one send. Every send reuses the memory.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    segments: Vec<Segment>,
    bytes: usize,
}

impl Batch {
    /// Takes the segments, up to the most that one send can have.
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

/// What follows a send that leaves `rest_bytes` of the queue.
fn what_follows(link: &Link, rest_bytes: usize) -> Follows {
    match link.ending == Ending::FinAfterQueue && rest_bytes == 0 {
        true => Follows::End,
        false => Follows::Nothing,
    }
}

impl<I: Io, P> Core<I, P> {
    /// Sends a connection's output of this turn. The common case goes into the ring, and the next `enter` sends it.
    /// Output that needs an order (queue, FIN) is sent at once.
    pub(crate) fn flush(&mut self, link: &mut Link) -> Next {
        if link.out.tls.is_some() && link.phase != Phase::Ended {
            self.seal(link);
            // What waited in plaintext may have been over the limit, and does not wait any more.
            self.check_pause(link);
        }
        if link.phase == Phase::Ended || link.armed.poll_out {
            self.check_pause(link);
            return Next::Continue;
        }
        let simple = link.out.queue.is_none() && link.ending == Ending::None;
        if simple && self.submit(link) {
            return Next::Continue;
        }
        match self.send_sealed(link) {
            Ok(()) => self.check_pause(link),
            Err(Broken) => return Next::Reset,
        }
        Next::Continue
    }

    /// Puts the segments of this turn into the ring. Returns false if there are too many for one send.
    fn submit(&mut self, link: &mut Link) -> bool {
        self.shared.blocks.register(&mut self.io);
        if let Some(segment) = self.shared.outbox.only_pending(&link.out.list) {
            self.submit_segments(link, std::slice::from_ref(&segment), segment.len as usize);
            return true;
        }
        let mut pending = self.shared.outbox.pending(&link.out.list);
        self.batch.collect(pending.by_ref());
        let is_longer = pending.next().is_some();
        drop(pending);
        if is_longer {
            return false;
        }
        if self.batch.bytes > 0 {
            let batch = std::mem::take(&mut self.batch);
            self.submit_segments(link, &batch.segments, batch.bytes);
            self.batch = batch;
        }
        true
    }

    #[inline]
    fn submit_segments(&mut self, link: &mut Link, segments: &[Segment], bytes: usize) {
        self.io
            .submit_send(Token::new(Op::Send, link.id), link.fd, segments);
        // Without a ring, a submitted send is a system call at once.
        self.lone_sends += u64::from(self.io.receive_mode() == ReceiveMode::Readiness);
        self.shared.counters.wire_bytes_out += bytes as u64;
        Outbox::submit(&mut link.out.list);
    }

    /// Sends this turn's segments, then the queue, until the socket is full. If everything is sent and the connection
    /// is to end, ends our direction.
    pub(crate) fn send_now(&mut self, link: &mut Link) -> Result<(), Broken> {
        if link.out.tls.is_none() {
            return self.send_sealed(link);
        }
        let scratch = self.shared.outbox.scratch;
        self.seal(link);
        let result = self.send_sealed(link);
        // Nothing of what was sealed is left there: it was sent, or copied to the queue.
        self.shared.outbox.scratch = scratch;
        result
    }

    /// Sends what needs no sealing, or is sealed.
    fn send_sealed(&mut self, link: &mut Link) -> Result<(), Broken> {
        self.shared.blocks.register(&mut self.io);
        self.queue_excess(link);
        let mut batch = std::mem::take(&mut self.batch);
        batch.collect(self.shared.outbox.pending(&link.out.list));
        let result = self.send_batch(link, &mut batch);
        self.batch = batch;
        if !result? {
            self.wait_for_room(link);
            return Ok(());
        }
        if link.ending == Ending::FinAfterQueue {
            link.ending = Ending::None;
            self.io.shutdown(link.fd, std::net::Shutdown::Write);
        }
        if std::mem::take(&mut link.out.refused) {
            self.relieved.push(link.id);
        }
        Ok(())
    }

    /// Sends `batch`, then the queue. Returns false if the socket is full before the end.
    fn send_batch(&mut self, link: &mut Link, batch: &mut Batch) -> Result<bool, Broken> {
        while batch.bytes > 0 || link.out.queue.is_some() {
            let (result, queued) = match &link.out.queue {
                None => {
                    let follows = what_follows(link, 0);
                    (self.io.send(link.fd, &batch.segments, &[], follows), 0)
                }
                Some(queue) => {
                    let (slices, count) = queue.slices();
                    let queued = slices.iter().map(|slice| slice.len()).sum();
                    let follows = what_follows(link, queue.bytes() - queued);
                    (
                        self.io
                            .send(link.fd, &batch.segments, &slices[..count], follows),
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
            self.account(link, batch, sent);
            batch.collect(std::iter::empty());
            if let (1.., Some(queue)) = (sent, &mut link.out.queue) {
                (queue.stuck_since, queue.unsent_bytes) = (None, None);
            }
            if sent > 0 && matches!(link.phase, Phase::Closing | Phase::Lingering) {
                // The peer's time to close starts anew with each byte that it takes, as far as we know.
                let deadline = self.shared.now + self.shared.limits_of(link.service).close_timeout;
                self.shared.reschedule(link, Some(deadline));
            }
            if !whole {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Moves the segments beyond one send to the front of the queue.
    fn queue_excess(&mut self, link: &mut Link) {
        let shared = &mut self.shared;
        let mut excess = shared
            .outbox
            .pending(&link.out.list)
            .skip(SEGMENTS_MAX)
            .peekable();
        if excess.peek().is_none() {
            return;
        }
        // They precede the bytes in the queue.
        let (mut data, mut len) = (shared.buffers.take(0), 0);
        for segment in excess {
            let bytes =
                &self.io.buffer(segment.buffer)[segment.start as usize..][..segment.len as usize];
            shared.buffers.grow(&mut data, len, len + bytes.len());
            data[len..len + bytes.len()].copy_from_slice(bytes);
            len += bytes.len();
        }
        let queue = link
            .out
            .queue
            .get_or_insert_with(|| shared.buffers.take_queue());
        queue.push_front(data, len);
        queue.carries = queue.carries.and(link.out.list.carries);
        shared.outbox.truncate(&mut link.out.list, SEGMENTS_MAX);
    }

    /// Accounts for `sent` bytes of batch and queue. The rest of the batch moves to the queue.
    fn account(&mut self, link: &mut Link, batch: &Batch, sent: usize) {
        let carries = link.out.list.carries;
        Outbox::clear(&mut link.out.list);
        if sent < batch.bytes {
            return self.keep(link, batch, sent, carries);
        }
        let Some(queue) = &mut link.out.queue else {
            return;
        };
        queue.advance(sent - batch.bytes, &mut self.shared.buffers);
        if queue.is_empty()
            && let Some(queue) = link.out.queue.take()
        {
            self.shared.buffers.give_back_queue(queue);
        }
    }

    /// Copies the batch, without its first `sent` bytes, to the front of the queue.
    fn keep(&mut self, link: &mut Link, batch: &Batch, sent: usize, carries: Carries) {
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
        let queue = link
            .out
            .queue
            .get_or_insert_with(|| self.shared.buffers.take_queue());
        queue.push_front(data, len);
        queue.carries = queue.carries.and(carries);
    }

    fn wait_for_room(&mut self, link: &mut Link) {
        self.shared.counters.partial_sends += 1;
        link.armed.poll_out = true;
        self.io
            .submit_poll_out(Token::new(Op::PollOut, link.id), link.fd);
        self.shared.watch_queue(link);
    }

    /// Handles the completion of the last turn's send, which the ring reports only if it failed or was partial. Must
    /// run before the send's buffers go back to the kernel.
    pub(crate) fn handle_send(&mut self, link: &mut Link, result: Result<u32, Errno>) -> Next {
        let mut batch = std::mem::take(&mut self.batch);
        batch.collect(self.shared.outbox.submitted(&link.out.list));
        let next = self.settle_submitted(link, &batch, result);
        self.batch = batch;
        next
    }

    fn settle_submitted(
        &mut self,
        link: &mut Link,
        batch: &Batch,
        result: Result<u32, Errno>,
    ) -> Next {
        let sent = match result {
            Ok(sent) => sent as usize,
            Err(Errno(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM)) => 0,
            Err(_) => {
                self.shared.counters.wire_bytes_out -= batch.bytes as u64;
                let lost = link.out.list.carries == Carries::Messages;
                self.shared.counters.drops += u64::from(lost);
                return Next::Reset;
            }
        };
        if sent < batch.bytes {
            self.shared.counters.wire_bytes_out -= (batch.bytes - sent) as u64;
            self.keep(link, batch, sent, link.out.list.carries);
            self.wait_for_room(link);
            self.check_pause(link);
        }
        Next::Continue
    }

    /// Pauses reading from a peer that does not read what we send, and resumes when the queue is half empty.
    pub(crate) fn check_pause(&mut self, link: &mut Link) {
        if link.throttles != Throttles::Itself {
            return self.check_pair(link);
        }
        let (queued, max) = (
            link.queued_bytes(),
            self.shared.limits_of(link.service).queue_bytes_max,
        );
        let paused = link.pauses.contains(Pauses::QUEUE);
        if !paused && queued > max && matches!(link.phase, Phase::Open | Phase::Closing) {
            self.shared.counters.pauses += 1;
            self.pause(link, Pauses::QUEUE);
        } else if paused && queued <= max / 2 {
            self.resume(link, Pauses::QUEUE);
        }
    }

    /// Notes when the send queue of a paired connection is above its limit, and when it is half empty again: the other end
    /// stops reading meanwhile.
    fn check_pair(&mut self, link: &mut Link) {
        let (queued, max) = (
            link.queued_bytes(),
            self.shared.limits_of(link.service).queue_bytes_max,
        );
        let Throttles::Pair(pair) = &mut link.throttles else {
            return;
        };
        let limit = match pair.holds {
            true => max / 2,
            false => max,
        };
        let holds = queued > limit && link.phase != Phase::Ended;
        if std::mem::replace(&mut pair.holds, holds) != holds {
            self.shared.counters.pauses += u64::from(holds);
            self.shared.pair_news.extend(pair.with);
        }
    }

    /// Drops output that was not sent, and counts a drop if it contained messages.
    pub(crate) fn drop_output(&mut self, link: &mut Link) {
        let list = &link.out.list;
        let mut pending = match self.shared.outbox.is_pending(list) {
            true => list.carries,
            false => Carries::Control,
        };
        Outbox::clear(&mut link.out.list);
        if let Some(mut tls) = link.out.tls.take() {
            self.shared.counters.tls_failed += u64::from(tls.is_incomplete());
            tls.release(&mut self.shared.buffers);
            if let Some(plain) = tls.plain {
                pending = pending.and(plain.carries);
                self.shared.buffers.give_back_queue(plain);
            }
        }
        let queue = link.out.queue.take();
        let carries = queue
            .as_ref()
            .map_or(pending, |queue| pending.and(queue.carries));
        self.shared.counters.drops += u64::from(carries == Carries::Messages);
        if let Some(queue) = queue {
            self.shared.buffers.give_back_queue(queue);
        }
    }
}

//! What a callback or a protocol sends on one connection: it goes to the outbox, or behind what waits already.

use std::ops::Range;
use std::sync::Arc;

use super::buffers::Buffers;
use super::core::Shared;
use super::link::Outgoing;
use super::outbox::Carries;
use super::queue::SendQueue;
use crate::io::{BufferId, ConnId, Segment};

/// A prepared message that is longer goes through the queue, from which it is sent without a copy however much of it the
/// socket takes at a time; what is left of a segment would be copied there. About what a socket takes at once.
const SHARED_SEGMENT_BYTES_MAX: usize = 64 << 10;

/// A prepared message that is no longer is copied to a queue that waits: there are few pieces in one send, and a copy of so
/// little costs less than one of them. Chosen, untested.
const QUEUED_COPY_BYTES_MAX: usize = 4 << 10;

/// Where the message of the current callback lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backing {
    /// In a shared buffer.
    Buffer(BufferId),
    /// In the connection's assembly, which becomes part of the send queue when it is sent back.
    Assembly,
}

/// Answers in the buffer that is being read, not yet in the outbox: they grow at the end.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Run {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Run {
    pub(crate) const EMPTY: Self = Self { start: 0, end: 0 };
}

/// Output of one connection during one buffer.
#[derive(Debug)]
pub(crate) struct Output<'a, P> {
    pub(crate) out: &'a mut Outgoing,
    pub(crate) shared: &'a mut Shared<P>,
    pub(crate) scratch: &'a mut [u8],
    pub(crate) id: ConnId,
    pub(crate) backing: Backing,
    pub(crate) run: Run,
}

impl<P> Output<'_, P> {
    /// Puts the answers made so far into the outbox, because something else follows them.
    pub(crate) fn end_run(&mut self) {
        let Run { start, end } = std::mem::take(&mut self.run);
        if let (Backing::Buffer(buffer), true) = (self.backing, end > start) {
            self.push_segment(buffer, start, end - start, Carries::Messages);
        }
    }

    fn push_segment(&mut self, buffer: BufferId, start: usize, len: usize, carries: Carries) {
        let [start, len] =
            [start, len].map(|n| u32::try_from(n).expect("buffers are smaller than 4 GiB"));
        let segment = Segment { buffer, start, len };
        let Shared { outbox, dirty, .. } = &mut *self.shared;
        if outbox.push(&mut self.out.list, segment, carries) {
            dirty.push(self.id);
        }
    }

    /// Copies to scratch, or to the queue when that must come first or scratch is full. Returns the payload where it went to.
    pub(crate) fn copy(&mut self, carries: Carries, head: &[u8], payload: &[u8]) -> &mut [u8] {
        self.end_run();
        let len = head.len() + payload.len();
        let at = self.shared.outbox.scratch;
        if self.out.queue.is_some() || len > self.scratch.len() - at {
            let (queue, buffers) = self.queue(carries);
            queue.push(head, buffers);
            return queue.push(payload, buffers);
        }
        self.shared.outbox.scratch += len;
        self.push_segment(BufferId::SCRATCH, at, len, carries);
        let (front, rest) = self.scratch[at..at + len].split_at_mut(head.len());
        front.copy_from_slice(head);
        rest.copy_from_slice(payload);
        rest
    }

    /// Sends a part of a shared block from where it lies: with this turn's other segments, or behind what waits.
    pub(crate) fn share(&mut self, buffer: BufferId, block: &Arc<[u8]>, range: Range<usize>) {
        self.end_run();
        let waits = self.out.queue.is_some();
        if !waits && range.len() <= SHARED_SEGMENT_BYTES_MAX {
            return self.push_segment(buffer, range.start, range.len(), Carries::Messages);
        }
        let (queue, buffers) = self.queue(Carries::Messages);
        if range.len() <= QUEUED_COPY_BYTES_MAX {
            queue.push(&block[range], buffers);
        } else {
            queue.push_shared(block, range);
        }
    }

    /// The queue, which from now on takes everything that this connection sends.
    pub(crate) fn queue(&mut self, carries: Carries) -> (&mut SendQueue, &mut Buffers) {
        let Shared { buffers, dirty, .. } = &mut *self.shared;
        if self.out.queue.is_none() {
            dirty.push(self.id);
        }
        let queue = self.out.queue.get_or_insert_with(|| buffers.take_queue());
        queue.carries = queue.carries.and(carries);
        (queue, buffers)
    }

    /// Where the answers made so far in the buffer end.
    #[inline]
    pub(crate) fn answers_end(&self) -> Option<usize> {
        (self.run.end > self.run.start).then_some(self.run.end)
    }
}

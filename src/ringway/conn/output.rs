//! The output of one connection: it goes to the outbox, or to the send queue if there is one.

use std::ops::Range;
use std::sync::Arc;

use super::buffers::Buffers;
use super::core::Shared;
use super::link::Outgoing;
use super::outbox::Carries;
use super::queue::SendQueue;
use crate::io::{BufferId, ConnId, Segment};

/// Bytes of the largest prepared message that is sent as a segment (64 KiB, about one socket buffer). The rest of a
/// partly sent segment is copied to the queue. A message that is queued by reference is never copied, so larger ones go
/// there at once.
const SHARED_SEGMENT_BYTES_MAX: usize = 64 << 10;

/// Bytes of the largest prepared message that is copied to a queue that waits. One send takes only a few pieces, and
/// copying so little costs less than one piece more. Chosen, untested.
const QUEUED_COPY_BYTES_MAX: usize = 4 << 10;

/// Bytes of the largest payload that is copied behind its head, so that both are one piece for the send. Chosen, untested.
const PASSED_COPY_BYTES_MAX: usize = 512;

/// Where the message of the current callback lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backing {
    /// In a shared buffer.
    Buffer(BufferId),
    /// In the connection's assembly. If it is sent back, the assembly becomes part of the send queue.
    Assembly,
}

/// Answers in the buffer that is being read, which are not in the outbox yet. Further answers are appended.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Run {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// The output of one connection while one buffer is read.
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
    /// Puts the answers made so far into the outbox, because other output follows them.
    #[inline(always)]
    pub(crate) fn end_run(&mut self) {
        if self.run.end > self.run.start {
            self.push_run();
        }
    }

    #[inline(never)] // or its variables weigh on the loop that makes answers
    fn push_run(&mut self) {
        self.end_last_run();
    }

    /// The same where a buffer has been read.
    #[inline(always)]
    pub(crate) fn end_last_run(&mut self) {
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

    /// Copies bytes to scratch, or to the queue if there is one or scratch is full. Returns the copy of `payload`.
    pub(crate) fn copy(&mut self, carries: Carries, head: &[u8], payload: &[u8]) -> &mut [u8] {
        self.end_run();
        let len = head.len() + payload.len();
        let at = self.shared.outbox.scratch;
        if self.out.entry().is_some() || len > self.scratch.len() - at {
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

    /// Sends `head`, and behind it received bytes from where they lie. They are copied if they are few, or if they have to wait.
    pub(crate) fn pass(&mut self, head: &[u8], buffer: BufferId, buf: &[u8], range: Range<usize>) {
        let is_copied = !head.is_empty() && range.len() <= PASSED_COPY_BYTES_MAX;
        if is_copied || self.out.entry().is_some() {
            self.copy(Carries::Messages, head, &buf[range]);
            return;
        }
        if !head.is_empty() {
            self.copy(Carries::Messages, head, &[]);
        }
        // The head may have begun a queue.
        match self.out.entry() {
            None => self.push_segment(buffer, range.start, range.len(), Carries::Messages),
            Some(_) => {
                self.copy(Carries::Messages, &[], &buf[range]);
            }
        }
    }

    /// Sends a part of a shared block without a copy: as a segment of this turn, or in the queue.
    pub(crate) fn share(&mut self, buffer: BufferId, block: &Arc<[u8]>, range: Range<usize>) {
        self.end_run();
        let waits = self.out.entry().is_some();
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

    /// The queue, made if there is none. From now on it takes all output of this connection.
    pub(crate) fn queue(&mut self, carries: Carries) -> (&mut SendQueue, &mut Buffers) {
        let Shared { buffers, dirty, .. } = &mut *self.shared;
        let entry = self.out.entry_mut();
        if entry.is_none() {
            dirty.push(self.id);
        }
        let queue = entry.get_or_insert_with(|| buffers.take_queue());
        queue.carries = queue.carries.and(carries);
        (queue, buffers)
    }

    /// The end of the answers made so far in the buffer.
    #[inline]
    pub(crate) fn answers_end(&self) -> Option<usize> {
        (self.run.end > self.run.start).then_some(self.run.end)
    }
}

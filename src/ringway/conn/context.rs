//! What a callback may do to its connection: answer in place, send, close.

use std::ops::Range;

use super::buffers::Buffers;
use super::commands::Commands;
use super::config::Config;
use super::connection::{Phase, Transmit};
use super::feed::Shared;
use super::outbox::Carries;
use super::prepared::{Prepared, TooMuch};
use super::queue::SendQueue;
use crate::io::{BufferId, ConnId, Segment};
use crate::proto::frame::{self, HEADER_BYTES_MAX, Header};
use crate::proto::mask::{self, Key};
use crate::proto::{CONTROL_FRAME_BYTES_MAX, CloseCode, Kind, Message, Misuse, Opcode, Role};
use crate::time::Instant;

/// A prepared message that is longer goes through the queue, from which it is sent without a copy however much of it the
/// socket takes at a time; what is left of a segment would be copied there. About what a socket takes at once.
const SHARED_SEGMENT_BYTES_MAX: usize = 64 << 10;

/// A prepared message that is no longer is copied to a queue that waits: there are few pieces in one send, and a copy of so
/// little costs less than one of them. Chosen, untested.
const QUEUED_COPY_BYTES_MAX: usize = 4 << 10;

/// With more than this queued for a server its Pings are not answered any more.
const PONG_QUEUE_BYTES_MAX: usize = 64 << 10;

/// Where the message of the current callback lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Backing {
    /// In a shared buffer.
    Buffer(BufferId),
    /// In the connection's assembly, which becomes part of the send queue when it is sent back.
    Assembly,
}

/// Answers in the buffer that is being read, not yet in the outbox: they grow at the end.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Run {
    pub(super) start: usize,
    pub(super) end: usize,
}

/// Output of one connection during one buffer.
#[derive(Debug)]
pub(super) struct Output<'a> {
    pub(super) transmit: &'a mut Transmit,
    pub(super) shared: &'a mut Shared,
    pub(super) scratch: &'a mut [u8],
    pub(super) id: ConnId,
    pub(super) service: u16,
    pub(super) backing: Backing,
    pub(super) run: Run,
}

impl Output<'_> {
    /// Puts the answers made so far into the outbox, because something else follows them.
    pub(super) fn end_run(&mut self) {
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
        if outbox.push(&mut self.transmit.list, segment, carries) {
            dirty.push(self.id);
        }
    }

    /// Copies to scratch, or to the queue when that must come first or scratch is full. The payload is masked where it
    /// went to.
    pub(super) fn copy(
        &mut self,
        carries: Carries,
        head: &[u8],
        payload: &[u8],
        masking_key: Option<[u8; 4]>,
    ) {
        self.end_run();
        let len = head.len() + payload.len();
        let at = self.shared.outbox.scratch;
        let copy = if self.transmit.queue.is_some() || len > self.scratch.len() - at {
            let (queue, buffers) = self.queue(carries);
            queue.push(head, buffers);
            queue.push(payload, buffers)
        } else {
            self.shared.outbox.scratch += len;
            self.push_segment(BufferId::SCRATCH, at, len, carries);
            let (front, rest) = self.scratch[at..at + len].split_at_mut(head.len());
            front.copy_from_slice(head);
            rest.copy_from_slice(payload);
            rest
        };
        if let Some(key) = masking_key {
            mask::apply(copy, Key::new(key));
        }
    }

    /// Sends a part of prepared messages from where it lies: with this turn's other segments, or behind what waits.
    fn share(&mut self, prepared: &Prepared, range: Range<usize>) {
        self.end_run();
        let waits = self.transmit.queue.is_some();
        if !waits && range.len() <= SHARED_SEGMENT_BYTES_MAX {
            let (start, len) = (range.start, range.len());
            return self.push_segment(prepared.buffer(), start, len, Carries::Messages);
        }
        let (queue, buffers) = self.queue(Carries::Messages);
        if range.len() <= QUEUED_COPY_BYTES_MAX {
            queue.push(&prepared.block()[range], buffers);
        } else {
            queue.push_shared(prepared.block(), range);
        }
    }

    /// The queue, which from now on takes everything that this connection sends.
    fn queue(&mut self, carries: Carries) -> (&mut SendQueue, &mut Buffers) {
        let Shared { buffers, dirty, .. } = &mut *self.shared;
        if self.transmit.queue.is_none() {
            dirty.push(self.id);
        }
        let queue = self
            .transmit
            .queue
            .get_or_insert_with(|| buffers.take_queue());
        queue.carries = queue.carries.and(carries);
        (queue, buffers)
    }

    /// Sends a message back from where it lies: its header is written into the room before it. Small messages were moved
    /// to where the answer before them ends ([`Input::set_answers_end`](crate::proto::Input::set_answers_end)), so that
    /// the answers of one receive are one run of bytes.
    #[inline(always)]
    fn reply_in_place(&mut self, header: &Header, message: Message<'_>) {
        let head_len = frame::encoded_bytes(header.payload_len, false);
        let (buf, room_at, payload) = message.into_parts();
        if payload.start - room_at < head_len {
            // The header came in another buffer, so there is no room before the payload.
            let mut head = [0; HEADER_BYTES_MAX];
            frame::encode(header, &mut head);
            return self.copy(Carries::Messages, &head[..head_len], &buf[payload], None);
        }
        let start = payload.start - head_len;
        frame::encode(header, &mut buf[start..]);
        if start == self.run.end && self.run.end > self.run.start {
            self.run.end = payload.end;
        } else {
            self.end_run();
            self.run = Run {
                start,
                end: payload.end,
            };
        }
    }

    /// Where the answers made so far in the buffer end.
    #[inline]
    pub(super) fn answers_end(&self) -> Option<usize> {
        (self.run.end > self.run.start).then_some(self.run.end)
    }
}

/// A connection as a callback sees it.
#[derive(Debug)]
pub struct Context<'a> {
    pub(super) output: Output<'a>,
    pub(super) phase: &'a mut Phase,
    pub(super) deadline: &'a mut Instant,
    pub(super) tag: u32,
}

/// Why something was not sent. Nothing of it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// The peer does not keep up: its queue is full. Wait for [`App::writable`](super::App::writable).
    QueueFull,
    /// Against RFC 6455, for example after a close.
    Misuse(Misuse),
}

impl From<Misuse> for SendError {
    fn from(misuse: Misuse) -> Self {
        Self::Misuse(misuse)
    }
}

impl Context<'_> {
    /// Which connection this is: the same for its whole life.
    pub const fn id(&self) -> ConnId {
        self.output.id
    }

    /// What the connection was begun with ([`Handle::connect`](super::Handle::connect)); zero for one that was accepted.
    pub const fn tag(&self) -> u32 {
        self.tag
    }

    /// The instant of this turn.
    pub const fn now(&self) -> Instant {
        self.output.shared.now
    }

    /// What is to be done to other connections of this worker, at the end of this turn.
    pub const fn commands(&mut self) -> &mut Commands {
        &mut self.output.shared.commands
    }

    /// Encodes messages once, as this side of the connection sends them, for any number of connections in the same role
    /// ([`Self::send_prepared`], [`Commands::send_prepared`]). The memory goes back when the last clone is dropped and the
    /// last send is done.
    ///
    /// # Errors
    /// [`TooMuch`].
    pub fn prepare(&mut self, messages: &[(Kind, &[u8])]) -> Result<Prepared, TooMuch> {
        let role = if self.output.transmit.sender.masks() {
            Role::Client
        } else {
            Role::Server
        };
        self.output.shared.prepare(role, messages)
    }

    /// Bytes that wait because the peer does not keep up.
    pub fn queued_bytes(&self) -> usize {
        self.output
            .transmit
            .queue
            .as_ref()
            .map_or(0, |queue| queue.bytes())
    }

    /// Sends a message back to its sender, changed or not, from where it lies: no payload byte is copied unless the
    /// peer does not keep up (then into its queue). Only a server can do that: what a client sends is masked, and there is
    /// no room for the key.
    ///
    /// # Errors
    /// [`Misuse::AfterClose`] when this side has closed; [`Misuse::WrongMask`] on a client's side.
    #[inline(always)]
    pub fn reply(&mut self, message: Message<'_>) -> Result<(), Misuse> {
        let header = Header {
            fin: true,
            opcode: message.kind().opcode(),
            payload_len: message.len() as u64,
            masking_key: None,
        };
        self.output.transmit.sender.check(&header)?;
        self.output.shared.count_out(1, header.payload_len);
        if let Backing::Assembly = self.output.backing {
            self.reply_assembled(&header, message);
        } else if self.output.transmit.queue.is_some() {
            let mut head = [0; HEADER_BYTES_MAX];
            let len = frame::encode(&header, &mut head);
            let head = &head[..len];
            self.output
                .copy(Carries::Messages, head, message.payload(), None);
        } else {
            self.output.reply_in_place(&header, message);
        }
        Ok(())
    }

    /// The assembly itself becomes a part of the queue: its place is reserved here, its memory follows after the callback.
    fn reply_assembled(&mut self, header: &Header, message: Message<'_>) {
        let head_len = frame::encoded_bytes(header.payload_len, false);
        let (buf, _, payload) = message.into_parts();
        let start = payload.start - head_len; // HEADROOM is as long as the longest header
        frame::encode(header, &mut buf[start..]);
        self.output
            .queue(Carries::Messages)
            .0
            .reserve(start, payload.end);
    }

    /// Sends a message. Its payload is copied once, into memory that leaves with everything else of this turn.
    ///
    /// # Errors
    /// [`SendError`]; nothing was sent then.
    pub fn send(&mut self, kind: Kind, payload: &[u8]) -> Result<(), SendError> {
        self.check_queue()?;
        let masking_key = self.masking_key();
        let header = Header {
            fin: true,
            opcode: kind.opcode(),
            payload_len: payload.len() as u64,
            masking_key,
        };
        let mut head = [0; HEADER_BYTES_MAX];
        let len = self.output.transmit.sender.header(&header, &mut head)?;
        let head = &head[..len];
        self.output.shared.count_out(1, header.payload_len);
        self.output
            .copy(Carries::Messages, head, payload, masking_key);
        Ok(())
    }

    /// Sends a message that this worker has encoded before ([`Self::prepare`]). Nothing of it is
    /// copied, unless it is small and the socket does not take it.
    ///
    /// # Errors
    /// [`SendError`]; nothing was sent then.
    #[inline]
    pub fn send_prepared(&mut self, prepared: &Prepared, index: usize) -> Result<(), SendError> {
        self.send_prepared_run(prepared, index..index + 1)
    }

    /// Sends messages that were encoded one behind the other: all of them in one piece.
    ///
    /// # Errors
    /// [`SendError`]; nothing was sent then.
    ///
    /// # Panics
    /// When `messages` is empty, or there are not so many.
    #[inline]
    pub fn send_prepared_run(
        &mut self,
        prepared: &Prepared,
        messages: Range<usize>,
    ) -> Result<(), SendError> {
        assert!(!messages.is_empty(), "there is something to send");
        self.check_queue()?;
        let (header, first) = prepared.frame(messages.start);
        let (_, last) = prepared.frame(messages.end - 1);
        // A whole message leaves the sender as it was, so what holds for the first holds for all.
        self.output.transmit.sender.check(&header)?;
        let payload_bytes = prepared.payload_bytes(&messages);
        self.output
            .shared
            .count_out(messages.len() as u64, payload_bytes);
        self.output.share(prepared, first.start..last.end);
        Ok(())
    }

    /// The limits that hold for this connection.
    fn config(&self) -> &Config {
        self.output.shared.config.of(self.output.service)
    }

    /// Whether the queue takes more. After a Close that is not the question: nobody will tell of room.
    fn check_queue(&mut self) -> Result<(), SendError> {
        let full = self.queued_bytes() > self.config().send_queue_bytes_max;
        if full && !self.output.transmit.sender.is_closed() {
            self.output.transmit.refused = true;
            return Err(SendError::QueueFull);
        }
        Ok(())
    }

    /// A key for the next frame, on the side that masks.
    fn masking_key(&mut self) -> Option<[u8; 4]> {
        let masks = self.output.transmit.sender.masks();
        masks.then(|| self.output.shared.keys.masking_key())
    }

    /// Sends a Ping with up to 125 bytes.
    ///
    /// # Errors
    /// [`Misuse`]; nothing was sent then.
    pub fn ping(&mut self, payload: &[u8]) -> Result<(), Misuse> {
        self.control(Opcode::Ping, payload)
    }

    /// Sends a Pong with up to 125 bytes.
    ///
    /// A server that pings and does not read gets no more of them while many wait: RFC 6455 §5.5.3 lets an endpoint answer
    /// "only the most recently processed Ping frame". A client that does so is not read from.
    pub(super) fn pong(&mut self, payload: &[u8]) -> Result<(), Misuse> {
        let is_client = self.output.transmit.sender.masks();
        if is_client && self.queued_bytes() > PONG_QUEUE_BYTES_MAX {
            return Ok(());
        }
        self.control(Opcode::Pong, payload)
    }

    fn control(&mut self, opcode: Opcode, payload: &[u8]) -> Result<(), Misuse> {
        let mut frame = [0; CONTROL_FRAME_BYTES_MAX];
        let key = self.masking_key();
        let sender = &mut self.output.transmit.sender;
        let len = sender.control(opcode, payload, key, &mut frame)?;
        self.output.copy(Carries::Control, &frame[..len], &[], None);
        Ok(())
    }

    /// Begins the closing handshake. The peer's answer arrives as [`App::close`](super::App::close); without one the
    /// connection is dropped after `close_timeout`.
    ///
    /// # Errors
    /// [`Misuse::AfterClose`] when it was begun before.
    pub fn close(&mut self, code: CloseCode, reason: &str) -> Result<(), Misuse> {
        self.close_with(Some(code), reason)?;
        if *self.phase == Phase::Open {
            *self.phase = Phase::Closing;
            *self.deadline = self.now() + self.config().close_timeout;
            self.output.shared.rescheduled.push(self.output.id);
        }
        Ok(())
    }

    pub(super) fn close_with(
        &mut self,
        code: Option<CloseCode>,
        reason: &str,
    ) -> Result<(), Misuse> {
        let mut frame = [0; CONTROL_FRAME_BYTES_MAX];
        let key = self.masking_key();
        let sender = &mut self.output.transmit.sender;
        let len = sender.close(code, reason, key, &mut frame)?;
        self.output.copy(Carries::Control, &frame[..len], &[], None);
        Ok(())
    }
}

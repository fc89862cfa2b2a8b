//! What goes into a [`Receiver`](super::Receiver) and what comes out of it.

use std::ops::Range;

use super::close::CloseCode;
use super::frame::Kind;

/// Received bytes, and how far they have been read. Payloads are unmasked in place.
#[derive(Debug)]
pub struct Input<'b> {
    pub(super) buf: &'b mut [u8],
    pub(super) at: usize,
    /// End of the answers that the caller has placed in this same buffer, in bytes from its beginning.
    pub(super) answers_end: Option<usize>,
}

impl<'b> Input<'b> {
    /// All of `buf` is to be read.
    pub const fn new(buf: &'b mut [u8]) -> Self {
        Self::starting_at(buf, 0)
    }

    /// `buf[at..]` is to be read.
    ///
    /// # Panics
    /// When `at` is beyond the end of `buf`.
    pub const fn starting_at(buf: &'b mut [u8], at: usize) -> Self {
        assert!(at <= buf.len());
        Self {
            buf,
            at,
            answers_end: None,
        }
    }

    /// Says that the caller's answers to earlier messages lie in this buffer up to `end`, or that there are none. The
    /// receiver of a server then moves a small message while it unmasks it: its payload lands behind `end` and room for
    /// one header. The caller writes that header, and the answer directly follows the answer before.
    ///
    /// ```text
    ///  │hdr│answer 1│ …  │hdr+key│payload 2│     before: a masked header is 4 bytes longer than the answer's
    ///  │hdr│answer 1│hdr │payload 2│             after: header and payload join the answer before
    /// ```
    ///
    /// # Panics
    /// When `end` is beyond what was read.
    #[inline]
    pub const fn set_answers_end(&mut self, end: Option<usize>) {
        if let Some(end) = end {
            assert!(end <= self.at);
        }
        self.answers_end = end;
    }

    /// Bytes that have not been read.
    pub const fn remaining(&self) -> usize {
        self.buf.len() - self.at
    }

    /// Bytes that have been read.
    pub const fn position(&self) -> usize {
        self.at
    }

    /// Moves bytes that were read to the left, and returns where they lie then. For a caller that joins payloads.
    ///
    /// # Panics
    /// When `range` is not behind `to` or was not read.
    pub fn move_back(&mut self, range: Range<usize>, to: usize) -> Range<usize> {
        assert!(to <= range.start && range.end <= self.at);
        let len = range.len();
        self.buf.copy_within(range, to);
        to..to + len
    }

    pub(super) fn rest(&self) -> &[u8] {
        &self.buf[self.at..]
    }

    /// Consumes up to `len` bytes and returns their range in the buffer.
    pub(super) fn take(&mut self, len: usize) -> Range<usize> {
        let start = self.at;
        self.at += len.min(self.remaining());
        start..self.at
    }
}

/// What the peer sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'i> {
    /// A whole message in one frame, not compressed. All of it lies in the input.
    Message(Message<'i>),
    /// A piece of a message that came in several frames or in several inputs, or is compressed.
    Chunk(Chunk<'i>),
    /// A Ping; RFC 6455 §5.5.2 wants a Pong with the same payload.
    Ping(&'i [u8]),
    /// A Pong, whether or not a Ping asked for it.
    Pong(&'i [u8]),
    /// A Close. Nothing the peer sends after it is read.
    Close(Close<'i>),
}

/// A whole message in a buffer: in the receive buffer behind its own header, or in an assembly buffer behind room for a
/// header.
///
/// ```text
///  buf:  … | header or headroom | payload | …
///          room_at              payload.start  payload.end
/// ```
#[derive(Debug, PartialEq, Eq)]
pub struct Message<'i> {
    kind: Kind,
    buf: &'i mut [u8],
    room_at: usize,
    payload: Range<usize>,
}

impl<'i> Message<'i> {
    /// A message whose payload is `buf[payload]`; `buf[room_at..payload.start]` is free for a header.
    ///
    /// # Panics
    /// When the ranges do not lie in `buf` in that order.
    pub const fn new(kind: Kind, buf: &'i mut [u8], room_at: usize, payload: Range<usize>) -> Self {
        assert!(
            room_at <= payload.start && payload.start <= payload.end && payload.end <= buf.len()
        );
        Self {
            kind,
            buf,
            room_at,
            payload,
        }
    }

    /// The same of ranges that the receiver has just computed.
    #[inline(always)]
    pub(super) const fn found(
        kind: Kind,
        buf: &'i mut [u8],
        room_at: usize,
        payload: Range<usize>,
    ) -> Self {
        Self {
            kind,
            buf,
            room_at,
            payload,
        }
    }

    /// Text or binary.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The payload data.
    pub fn payload(&self) -> &[u8] {
        &self.buf[self.payload.clone()]
    }

    /// The payload data, to be changed in place before it is sent back.
    pub fn payload_mut(&mut self) -> &mut [u8] {
        &mut self.buf[self.payload.clone()]
    }

    /// The text. `None` for a binary message, or if the application has overwritten the payload with bytes that are not
    /// UTF-8.
    pub fn text(&self) -> Option<&str> {
        match self.kind {
            // The receiver has validated the text; the application may have changed it since.
            Kind::Text => std::str::from_utf8(self.payload()).ok(),
            Kind::Binary => None,
        }
    }

    /// Bytes of payload data.
    pub const fn len(&self) -> usize {
        self.payload.end - self.payload.start
    }

    /// Whether there is no payload data.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The whole buffer, the offset at which the room for a header begins, and the range of the payload.
    pub fn into_parts(self) -> (&'i mut [u8], usize, Range<usize>) {
        (self.buf, self.room_at, self.payload)
    }
}

/// A piece of a message, in order. It may end inside a frame: the flags tell where frames and messages begin and end.
#[derive(Debug, PartialEq, Eq)]
pub struct Chunk<'i> {
    /// The kind of the message this belongs to.
    pub kind: Kind,
    /// The message is compressed (RFC 7692): the payload is as the peer sent it, and text was not checked.
    pub compressed: bool,
    /// Payload data, unmasked. Of a plain text message everything up to here is valid UTF-8, except a code point that the
    /// next chunk may complete. May be empty where a frame begins or ends.
    pub payload: &'i mut [u8],
    /// This is the first piece of its message.
    pub message_begins: bool,
    /// This is the first piece of its frame, which has this many bytes of payload. Frames that announce none count as one for
    /// each piece, and this is its length: those of Hixie's protocols, and those of a message that was inflated as it came.
    pub frame_begins: Option<u64>,
    /// This is the last piece of its frame.
    pub frame_ends: bool,
    /// This is the last piece of its message.
    pub message_ends: bool,
}

/// The content of a Close frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Close<'i> {
    /// The status code, when there was one.
    pub code: Option<CloseCode>,
    /// The reason, possibly empty.
    pub reason: &'i str,
}

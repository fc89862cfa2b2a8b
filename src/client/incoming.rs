//! From bytes of the stream to messages: the read buffer, and the memory in which a long message is assembled.
//!
//! ```text
//!  stream ──▶ buffer ──▶ receiver ──▶ a message in the buffer: cut off without a copy, or copied if it is small in it
//!     │                     └───────▶ pieces of a longer one ──▶ message
//!     └── the rest of a long frame is read where the message is assembled ──▶
//! ```
//!
//! Owns: received bytes that nobody has taken. Never: writes, or keeps memory while nothing is there.

use std::future::Future as _;
use std::io;
use std::ops::Range;
use std::pin::pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use ringway_proto::frame::Kind;
use ringway_proto::{CloseCode, Event, Input, Receiver, Violation};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::block;
use crate::message::{Chunk, CloseFrame, Text};

/// Bytes of the read buffer at most. It begins as a [block](crate::block), doubles when a read fills it, and halves when two in
/// succession take less than a quarter of it. So messages of a size lie whole in it, and are cut off without a copy.
const BLOCK_BYTES_MAX: usize = 64 << 10;

/// A message that is cut off keeps its whole block alive. So it is copied if it is below this part of the block.
const COPIED_PART: usize = 8;

/// Bytes by which the memory of a message grows at least. What a header announces is not believed.
const GROWTH_BYTES_MIN: usize = 16 << 10;

/// What the peer sent.
#[derive(Debug)]
pub(crate) enum Received {
    /// A whole message: text or binary, possibly still compressed.
    Message {
        is_text: bool,
        compressed: bool,
        payload: Bytes,
    },
    /// A piece of a message, when pieces are asked for.
    Chunk(Chunk),
    Ping(Bytes),
    Pong(Bytes),
    Close(CloseFrame),
}

/// How a message is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// Whole.
    Message,
    /// In pieces as they come. A compressed message is whole also then.
    Chunks,
}

/// The message that has begun and not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Part {
    #[default]
    None,
    /// Its pieces are handed on as they come.
    Chunks,
    /// It is assembled.
    Whole { is_text: bool, compressed: bool },
}

/// The received bytes.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    buffer: BytesMut,
    /// Bytes that the block of the buffer has, or had.
    block_bytes: usize,
    /// Bytes that the next block will have, if it is more than the least.
    next_block_bytes: usize,
    /// The last read took less than a quarter of its block.
    was_small: bool,
    part: Part,
    /// What is there of a message that is assembled.
    message: BytesMut,
    /// The rest of the frame is read into `message`, of which so many bytes were parsed.
    into_message: Option<usize>,
}

impl Incoming {
    /// Bytes that came behind the head of the opening handshake.
    pub(crate) fn starting_with(bytes: BytesMut) -> Self {
        Self {
            block_bytes: bytes.capacity(),
            buffer: bytes,
            ..Self::default()
        }
    }

    /// Whether a message was begun in pieces, and not ended.
    pub(crate) fn is_in_chunks(&self) -> bool {
        self.part == Part::Chunks
    }

    /// Bytes of the message that is assembled.
    pub(crate) fn assembled_bytes(&self) -> usize {
        self.message.len()
    }

    /// Reads once. `Ok(0)`: the stream has ended. While the stream has nothing, no buffer is kept.
    pub(crate) fn poll_read<S: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut S,
        receiver: &Receiver,
    ) -> Poll<io::Result<usize>> {
        if let (Some(remaining), Some(_)) = (receiver.payload_remaining(), self.into_message) {
            return self.poll_read_message(cx, io, remaining);
        }
        debug_assert!(self.buffer.is_empty(), "all of it was parsed");
        self.block_bytes = self.next_block_bytes.max(block::BYTES);
        self.buffer = match self.block_bytes {
            block::BYTES => block::take(),
            larger => BytesMut::with_capacity(larger),
        };
        let result = pin!(io.read_buf(&mut self.buffer)).poll(cx);
        match self.buffer.len() {
            0 => block::give(std::mem::take(&mut self.buffer)),
            read => self.choose_block(read),
        }
        result
    }

    /// Chooses the next block by what a read has brought. One small read is no reason: it may be the end of a message.
    fn choose_block(&mut self, read: usize) {
        let is_small = read < self.block_bytes / 4;
        if read == self.block_bytes {
            self.next_block_bytes = (2 * read).min(BLOCK_BYTES_MAX);
        } else if is_small && self.was_small {
            self.next_block_bytes = self.block_bytes / 2;
        }
        self.was_small = is_small;
    }

    fn poll_read_message<S: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut S,
        remaining: u64,
    ) -> Poll<io::Result<usize>> {
        let remaining = usize::try_from(remaining).unwrap_or(usize::MAX);
        let message = &mut self.message;
        if message.capacity() == message.len() {
            message.reserve(remaining.min(message.len().max(GROWTH_BYTES_MIN)));
        }
        let room = remaining.min(message.capacity() - message.len());
        let mut room = message.limit(room);
        pin!(io.read_buf(&mut room)).poll(cx)
    }

    /// The next thing that the peer sent. `None`: the received bytes are used up.
    ///
    /// # Errors
    /// The peer broke the protocol. Nothing follows then.
    pub(crate) fn next(
        &mut self,
        receiver: &mut Receiver,
        want: Want,
    ) -> Result<Option<Received>, Violation> {
        if want == Want::Chunks
            && let Part::Whole {
                is_text,
                compressed: false,
            } = self.part
        {
            return Ok(Some(self.hand_over(is_text, receiver)));
        }
        loop {
            let found = match self.into_message {
                Some(parsed) => self.parse_message(parsed, receiver)?,
                None => self.parse_buffer(receiver, want)?,
            };
            match found {
                Found::Nothing => return Ok(None),
                Found::Piece => {}
                Found::Received(received) => {
                    // Nobody knows when the caller comes back.
                    if self.buffer.is_empty() {
                        block::give(std::mem::take(&mut self.buffer));
                    }
                    return Ok(Some(received));
                }
            }
        }
    }

    /// From now on, pieces: the first one is what was assembled.
    fn hand_over(&mut self, is_text: bool, receiver: &Receiver) -> Received {
        (self.part, self.into_message) = (Part::Chunks, None);
        Received::Chunk(Chunk {
            is_text,
            payload: std::mem::take(&mut self.message).freeze(),
            message_begins: true,
            frame_ends: receiver.payload_remaining().is_none(),
            message_ends: false,
        })
    }

    /// Parses what was read to the end of `message`: the rest of a frame.
    fn parse_message(
        &mut self,
        parsed: usize,
        receiver: &mut Receiver,
    ) -> Result<Found, Violation> {
        let mut input = Input::starting_at(&mut self.message, parsed);
        let Some(Event::Chunk(chunk)) = receiver.poll_event(&mut input)? else {
            return Ok(Found::Nothing);
        };
        let (frame_ends, message_ends) = (chunk.frame_ends, chunk.message_ends);
        self.into_message = (!frame_ends).then_some(self.message.len());
        Ok(self.assembled(message_ends))
    }

    fn assembled(&mut self, message_ends: bool) -> Found {
        match self.part {
            Part::Whole {
                is_text,
                compressed,
            } if message_ends => {
                self.part = Part::None;
                Found::Received(Received::Message {
                    is_text,
                    compressed,
                    payload: std::mem::take(&mut self.message).freeze(),
                })
            }
            _ => Found::Piece,
        }
    }

    fn parse_buffer(&mut self, receiver: &mut Receiver, want: Want) -> Result<Found, Violation> {
        let mut input = Input::new(&mut self.buffer);
        let Some(event) = receiver.poll_event(&mut input)? else {
            block::give(std::mem::take(&mut self.buffer));
            return Ok(Found::Nothing);
        };
        let (piece, payload_bytes) = match event {
            Event::Message(message) => {
                let piece = Piece {
                    is_text: message.kind() == Kind::Text,
                    compressed: false,
                    message_begins: true,
                    frame_ends: true,
                    message_ends: true,
                };
                (piece, message.len())
            }
            Event::Chunk(chunk) => {
                let piece = Piece {
                    is_text: chunk.kind == Kind::Text,
                    compressed: chunk.compressed,
                    message_begins: chunk.message_begins,
                    frame_ends: chunk.frame_ends,
                    message_ends: chunk.message_ends,
                };
                (piece, chunk.payload.len())
            }
            control => {
                let received = received_control(control);
                let end = input.position();
                self.buffer.advance(end);
                return Ok(Found::Received(received));
            }
        };
        let end = input.position();
        Ok(self.piece(piece, end - payload_bytes..end, receiver, want))
    }

    /// A piece of a message, which lies in the buffer there.
    fn piece(
        &mut self,
        piece: Piece,
        payload: Range<usize>,
        receiver: &Receiver,
        want: Want,
    ) -> Found {
        let Piece {
            is_text,
            compressed,
            message_begins,
            frame_ends,
            message_ends,
        } = piece;
        if message_begins {
            self.part = match want {
                Want::Chunks if !compressed => Part::Chunks,
                _ => Part::Whole {
                    is_text,
                    compressed,
                },
            };
        }
        if self.part == Part::Chunks {
            if message_ends {
                self.part = Part::None;
            }
            return Found::Received(Received::Chunk(Chunk {
                is_text,
                payload: self.cut(payload),
                message_begins,
                frame_ends,
                message_ends,
            }));
        }
        if message_begins && message_ends {
            self.part = Part::None;
            return Found::Received(Received::Message {
                is_text,
                compressed,
                payload: self.cut(payload),
            });
        }
        self.message
            .extend_from_slice(&self.buffer[payload.clone()]);
        self.buffer.advance(payload.end);
        // A short rest is read with what follows it.
        if receiver.payload_remaining() >= Some(block::BYTES as u64) {
            self.into_message = Some(self.message.len());
        }
        self.assembled(message_ends)
    }

    /// Takes a payload off the buffer, and all that is before it.
    fn cut(&mut self, payload: Range<usize>) -> Bytes {
        if payload.len() < self.block_bytes / COPIED_PART {
            let copy = Bytes::copy_from_slice(&self.buffer[payload.clone()]);
            self.buffer.advance(payload.end);
            return copy;
        }
        self.buffer.advance(payload.start);
        self.buffer.split_to(payload.len()).freeze()
    }

    /// Reads what is not wanted any more. `Ok(0)`: the stream has ended.
    pub(crate) fn poll_discard<S: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut S,
    ) -> Poll<io::Result<usize>> {
        (self.buffer, self.message) = (BytesMut::new(), BytesMut::new());
        let mut unwanted = BytesMut::with_capacity(block::BYTES);
        pin!(io.read_buf(&mut unwanted)).poll(cx)
    }
}

enum Found {
    /// The bytes are used up.
    Nothing,
    /// A piece of a message that is assembled.
    Piece,
    Received(Received),
}

/// What the receiver says of a piece.
struct Piece {
    is_text: bool,
    compressed: bool,
    message_begins: bool,
    frame_ends: bool,
    message_ends: bool,
}

fn received_control(event: Event<'_>) -> Received {
    match event {
        Event::Ping(payload) => Received::Ping(Bytes::copy_from_slice(payload)),
        Event::Pong(payload) => Received::Pong(Bytes::copy_from_slice(payload)),
        Event::Close(close) => Received::Close(CloseFrame {
            code: close.code.unwrap_or(CloseCode::NoStatusRcvd),
            reason: Text::from(close.reason),
        }),
        Event::Message(_) | Event::Chunk(_) => unreachable!("data was handled"),
    }
}

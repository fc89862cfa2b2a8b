//! The receiving half of a [`WebSocket`](super::WebSocket): frames go in, cut into any chunks of bytes; messages come
//! out.
//!
//! ```text
//!            header complete             payload complete
//!  Header ───────────────────▶ Data ───────────────────────▶ Header
//!    │ ▲                                                       │
//!    │ └──────────── Control ◀── control header ◀──────────────┤
//!    └──────── Close received, or any violation ──▶ Done
//! ```

#[cfg(feature = "legacy")]
mod hixie;
mod small;

use std::ops::Range;

use super::close::CloseCode;
use super::event::{Chunk, Close, Event, Input, Message};
use super::frame::{self, Compression, Header, Kind, Opcode, Role};
use super::mask::{self, Charset, Key};
use super::utf8;
use super::violation::Violation;

/// What a peer may send at most (RFC 6455 §10.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of payload in one frame; above it, 1009. Default 16 MiB.
    pub frame_bytes_max: u64,
    /// Bytes of payload in one message; above it, 1009. Default 16 MiB. The caller assembles a message that spans several
    /// receives in memory, so this bounds that memory per connection.
    pub message_bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame_bytes_max: 16 << 20,
            message_bytes_max: 16 << 20,
        }
    }
}

/// Bytes that a compressed message or frame may have beyond its limit, and a 64th of the limit: deflate adds so much at
/// most, also when it was flushed now and then.
const COMPRESSED_EXCESS_BYTES: u64 = 1024;

/// Reads frames. It keeps no payload of messages: only an incomplete header, and an incomplete control frame.
#[derive(Debug)]
pub struct Receiver {
    phase: Phase,
    /// The bytes so far of an incomplete header.
    stash: [u8; frame::HEADER_BYTES_MAX],
    stash_len: u8,
    /// The MASK bit of every header the peer sends: set by a client, clear from a server.
    mask_bit: u8,
    /// Longest payload of a single-frame message: the smaller of the two limits.
    bytes_max: u64,
    /// Whether the peer may compress.
    compression: Compression,
    /// The message whose first frame has arrived and whose last has not is compressed.
    compressed: bool,
    /// Kind of the message whose first frame has arrived and whose last has not.
    message: Option<Kind>,
    text: utf8::Validator,
    message_bytes: u64,
    limits: Limits,
    /// A control frame that is split over inputs. This is rare, so the memory is allocated only then.
    control: Option<Box<SplitControl>>,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Header,
    Data {
        fin: bool,
        key: Key,
        remaining: u64,
    },
    Control {
        opcode: Opcode,
        key: Key,
        remaining: u8,
    },
    /// The peer sends the frames of Hixie-75 or Hixie-76, in place of all of the above.
    #[cfg(feature = "legacy")]
    Hixie(hixie::Place),
    Done,
}

#[derive(Debug)]
struct SplitControl {
    payload: [u8; frame::CONTROL_PAYLOAD_BYTES_MAX],
    len: usize,
}

/// An [`Event`] by offsets, before it borrows from the input.
enum Step {
    Message {
        kind: Kind,
        room_at: usize,
        payload: Range<usize>,
    },
    Chunk {
        kind: Kind,
        compressed: bool,
        payload: Range<usize>,
        begins: bool,
        frame: Option<u64>,
        frame_ends: bool,
        ends: bool,
    },
    Control {
        opcode: Opcode,
        payload: ControlPayload,
    },
}

enum ControlPayload {
    Input(Range<usize>),
    Split,
}

impl Receiver {
    /// A receiver of the endpoint `role`: a server's receiver reads a client's frames.
    pub const fn new(role: Role, limits: Limits) -> Self {
        Self {
            phase: Phase::Header,
            stash: [0; frame::HEADER_BYTES_MAX],
            stash_len: 0,
            mask_bit: match role {
                Role::Server => frame::MASK,
                Role::Client => 0,
            },
            bytes_max: if limits.frame_bytes_max < limits.message_bytes_max {
                limits.frame_bytes_max
            } else {
                limits.message_bytes_max
            },
            compression: Compression::None,
            compressed: false,
            message: None,
            text: utf8::Validator::new(),
            message_bytes: 0,
            limits,
            control: None,
        }
    }

    /// The same, of an endpoint that agreed to permessage-deflate. A compressed message comes out in
    /// [chunks](Event::Chunk), as the peer sent it: the caller inflates it, holds it to
    /// [`Limits::message_bytes_max`] while it does, and checks text.
    #[must_use]
    pub const fn with_compression(mut self) -> Self {
        self.compression = Compression::PerMessage;
        self
    }

    /// Payload bytes that the data frame in progress still lacks.
    pub const fn payload_remaining(&self) -> Option<u64> {
        match self.phase {
            Phase::Data { remaining, .. } => Some(remaining),
            _ => None,
        }
    }

    /// Whether the receiver reads nothing further: the peer sent a Close, or broke the protocol.
    pub const fn is_done(&self) -> bool {
        matches!(self.phase, Phase::Done)
    }

    /// Reads the next event. `None` when all of `input` is consumed.
    ///
    /// # Errors
    /// A [`Violation`] ends the receiver: it reads nothing after it.
    #[inline(always)]
    pub fn poll_event<'i>(
        &'i mut self,
        input: &'i mut Input<'_>,
    ) -> Result<Option<Event<'i>>, Violation> {
        match self.find_small(input) {
            Some(frame) => self.open_small(frame, input),
            None if input.remaining() == 0 => {
                if self.control.is_some() {
                    self.free_control();
                }
                Ok(None)
            }
            None => self.any_event(input),
        }
    }

    /// Frees the memory of a split control frame once it was read: an idle connection shall not keep it.
    #[cold]
    fn free_control(&mut self) {
        self.control.take_if(|control| control.len == 0);
    }

    #[inline(never)]
    fn any_event<'i>(
        &'i mut self,
        input: &'i mut Input<'_>,
    ) -> Result<Option<Event<'i>>, Violation> {
        match self.step(input) {
            Ok(Some(step)) => self.event(step, input).map(Some),
            Ok(None) => Ok(None),
            Err(violation) => {
                self.phase = Phase::Done;
                Err(violation)
            }
        }
    }

    /// The general path: any frame, cut into any chunks.
    fn step(&mut self, input: &mut Input<'_>) -> Result<Option<Step>, Violation> {
        match self.phase {
            Phase::Header => {
                let room_at = input.at;
                let Some(header) = self.read_header(input)? else {
                    return Ok(None);
                };
                self.begin_frame(header, room_at, input)
            }
            Phase::Data {
                fin,
                key,
                remaining,
            } => {
                if input.remaining() == 0 {
                    return Ok(None);
                }
                self.data_chunk(fin, key, remaining, None, false, input)
                    .map(Some)
            }
            Phase::Control {
                opcode,
                key,
                remaining,
            } => self.control_piece(opcode, key, remaining, input),
            #[cfg(feature = "legacy")]
            Phase::Hixie(place) => self.step_hixie(place, input),
            Phase::Done => {
                input.at = input.buf.len();
                Ok(None)
            }
        }
    }

    /// Reads one header, from the input or from the bytes stashed of it and the input.
    fn read_header(&mut self, input: &mut Input<'_>) -> Result<Option<Header>, Violation> {
        let stashed = usize::from(self.stash_len);
        if stashed == 0
            && let Some((header, bytes)) = frame::decode(input.rest(), self.compression)?
        {
            input.at += bytes;
            return Ok(Some(header));
        }
        let more = (frame::HEADER_BYTES_MAX - stashed).min(input.remaining());
        self.stash[stashed..stashed + more].copy_from_slice(&input.rest()[..more]);
        match frame::decode(&self.stash[..stashed + more], self.compression)? {
            Some((header, bytes)) => {
                self.stash_len = 0;
                input.at += bytes - stashed;
                Ok(Some(header))
            }
            None => {
                self.stash_len = (stashed + more).to_le_bytes()[0];
                input.at += more;
                Ok(None)
            }
        }
    }

    fn begin_frame(
        &mut self,
        header: Header,
        room_at: usize,
        input: &mut Input<'_>,
    ) -> Result<Option<Step>, Violation> {
        let key = match header.masking_key {
            // RFC 6455 §5.1: "The server MUST close the connection upon receiving a frame that is not masked."
            None if self.mask_bit != 0 => return Err(Violation::UnmaskedClientFrame),
            // RFC 6455 §5.1: "A client MUST close a connection if it detects a masked frame."
            Some(_) if self.mask_bit == 0 => return Err(Violation::MaskedServerFrame),
            None => Key::default(),
            Some(key) => Key::new(key),
        };
        let len = header.payload_len;
        let kind = match header.opcode {
            Opcode::Text => Some(Kind::Text),
            Opcode::Binary => Some(Kind::Binary),
            Opcode::Continuation => None,
            opcode => {
                let remaining = len.to_le_bytes()[0]; // at most 125: decode has checked
                self.phase = Phase::Control {
                    opcode,
                    key,
                    remaining,
                };
                return self.control_piece(opcode, key, remaining, input);
            }
        };
        // RFC 6455 §5.4: fragments of one message MUST NOT be interleaved with those of another.
        match (kind, self.message) {
            (Some(_), Some(_)) => return Err(Violation::MessageInsideMessage),
            (None, None) => return Err(Violation::ContinuationWithoutMessage),
            (Some(_), None) => {
                self.message = kind;
                self.compressed = header.compressed;
                self.message_bytes = 0;
                debug_assert!(self.text.is_complete(), "the last text ended or failed");
            }
            (None, Some(_)) => {}
        }
        self.message_bytes = self.message_bytes.saturating_add(len);
        self.check_size(len)?;
        match kind {
            Some(kind) if header.fin && !self.compressed && input.remaining() as u64 >= len => {
                self.whole_message(kind, key, room_at, len, input).map(Some)
            }
            _ => self
                .data_chunk(header.fin, key, len, Some(len), kind.is_some(), input)
                .map(Some),
        }
    }

    fn check_size(&self, frame_bytes: u64) -> Result<(), Violation> {
        // Deflate lengthens what it cannot compress, and the limit is one of the message, not of its form.
        let allowed = |bytes_max: u64| match self.compressed {
            false => bytes_max,
            true => bytes_max.saturating_add(bytes_max / 64 + COMPRESSED_EXCESS_BYTES),
        };
        if frame_bytes > allowed(self.limits.frame_bytes_max) {
            return Err(Violation::FrameTooBig(frame_bytes));
        }
        if self.message_bytes > allowed(self.limits.message_bytes_max) {
            return Err(Violation::MessageTooBig(self.message_bytes));
        }
        Ok(())
    }

    fn whole_message(
        &mut self,
        kind: Kind,
        key: Key,
        room_at: usize,
        len: u64,
        input: &mut Input<'_>,
    ) -> Result<Step, Violation> {
        let payload = input.take(usize::try_from(len).unwrap_or(usize::MAX));
        let data = &mut input.buf[payload.clone()];
        if mask::apply(data, key) == Charset::Other && kind == Kind::Text {
            utf8::validate(data).map_err(|utf8::Invalid| Violation::TextNotUtf8)?;
        }
        self.message = None;
        Ok(Step::Message {
            kind,
            room_at,
            payload,
        })
    }

    /// The next chunk of a data frame: as much of its payload as the input holds. `frame` is the frame's length when it
    /// begins here.
    fn data_chunk(
        &mut self,
        fin: bool,
        key: Key,
        remaining: u64,
        frame: Option<u64>,
        begins: bool,
        input: &mut Input<'_>,
    ) -> Result<Step, Violation> {
        let kind = self.message.expect("a data frame belongs to a message");
        let payload = input.take(usize::try_from(remaining).unwrap_or(usize::MAX));
        let left = remaining - payload.len() as u64;
        let data = &mut input.buf[payload.clone()];
        let charset = mask::apply(data, key);
        let is_text = kind == Kind::Text && !self.compressed;
        if is_text && !(charset == Charset::Ascii && self.text.is_complete()) {
            self.text
                .push(data)
                .map_err(|utf8::Invalid| Violation::TextNotUtf8)?;
        }
        let frame_ends = left == 0;
        let ends = frame_ends && fin;
        if ends {
            if !self.text.is_complete() {
                return Err(Violation::TextNotUtf8);
            }
            self.message = None;
        }
        self.phase = if frame_ends {
            Phase::Header
        } else {
            Phase::Data {
                fin,
                key: key.advanced(payload.len()),
                remaining: left,
            }
        };
        Ok(Step::Chunk {
            kind,
            compressed: self.compressed,
            payload,
            begins,
            frame,
            frame_ends,
            ends,
        })
    }

    fn control_piece(
        &mut self,
        opcode: Opcode,
        key: Key,
        remaining: u8,
        input: &mut Input<'_>,
    ) -> Result<Option<Step>, Violation> {
        let range = input.take(remaining.into());
        mask::apply(&mut input.buf[range.clone()], key);
        let left = remaining - range.len().to_le_bytes()[0];
        let payload = if left == 0 && self.control.as_ref().is_none_or(|control| control.len == 0) {
            ControlPayload::Input(range)
        } else {
            let control = self.control.get_or_insert_with(Box::default);
            control.payload[control.len..control.len + range.len()]
                .copy_from_slice(&input.buf[range.clone()]);
            control.len += range.len();
            if left > 0 {
                self.phase = Phase::Control {
                    opcode,
                    key: key.advanced(range.len()),
                    remaining: left,
                };
                return Ok(None);
            }
            ControlPayload::Split
        };
        // Control frames stand between frames, never inside one: a header follows.
        self.phase = if opcode == Opcode::Close {
            Phase::Done
        } else {
            Phase::Header
        };
        Ok(Some(Step::Control { opcode, payload }))
    }

    fn event<'i>(
        &'i mut self,
        step: Step,
        input: &'i mut Input<'_>,
    ) -> Result<Event<'i>, Violation> {
        match step {
            Step::Message {
                kind,
                room_at,
                payload,
            } => Ok(Event::Message(Message::new(
                kind, input.buf, room_at, payload,
            ))),
            Step::Chunk {
                kind,
                compressed,
                payload,
                begins,
                frame,
                frame_ends,
                ends,
            } => Ok(Event::Chunk(Chunk {
                kind,
                compressed,
                payload: &mut input.buf[payload],
                message_begins: begins,
                frame_begins: frame,
                frame_ends,
                message_ends: ends,
            })),
            Step::Control { opcode, payload } => self.control_event(opcode, payload, input),
        }
    }

    fn control_event<'i>(
        &'i mut self,
        opcode: Opcode,
        payload: ControlPayload,
        input: &'i mut Input<'_>,
    ) -> Result<Event<'i>, Violation> {
        let payload: &'i [u8] = match payload {
            ControlPayload::Input(range) => &input.buf[range],
            ControlPayload::Split => {
                let control = self
                    .control
                    .as_mut()
                    .expect("a split control frame was collected");
                let len = std::mem::take(&mut control.len);
                &control.payload[..len]
            }
        };
        match opcode {
            Opcode::Ping => Ok(Event::Ping(payload)),
            Opcode::Pong => Ok(Event::Pong(payload)),
            _ => parse_close(payload).map(Event::Close),
        }
    }
}

impl Default for SplitControl {
    fn default() -> Self {
        Self {
            payload: [0; frame::CONTROL_PAYLOAD_BYTES_MAX],
            len: 0,
        }
    }
}

fn parse_close(payload: &[u8]) -> Result<Close<'_>, Violation> {
    // RFC 6455 §5.5.1: "If there is a body, the first two bytes of the body MUST be a 2-byte unsigned integer"
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return match payload {
            [] => Ok(Close {
                code: None,
                reason: "",
            }),
            _ => Err(Violation::ClosePayloadOneByte),
        };
    };
    let number = u16::from_be_bytes(*code);
    let code = CloseCode::sendable(number).ok_or(Violation::CloseCodeInvalid(number))?;
    let reason = std::str::from_utf8(reason).map_err(|_| Violation::CloseReasonNotUtf8)?;
    Ok(Close {
        code: Some(code),
        reason,
    })
}

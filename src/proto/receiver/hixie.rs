//! The frames of Hixie-75 and Hixie-76, which come out as the same events.
//!
//! ```text
//!            0x00                    0xFF
//!  Type ───────────▶ Text ─────────────────────▶ Type
//!   │ ▲   0x01–0x7F, Hixie-75 only   0xFF
//!   │ ├────────────▶ Passed ───────────────────▶ Type
//!   │ │   0x80–0xFF  length in base 128          bytes of that length, Hixie-75 only
//!   │ └────────────▶ Length ──▶ Skipped ───────▶ Type
//!   └───── 0xFF 0x00 in Hixie-76, or any violation ──▶ Done
//! ```

use super::{ControlPayload, Limits, Phase, Receiver, Step};
use crate::event::Input;
use crate::frame::{Kind, Opcode, Role};
use crate::hixie::{Draft, TEXT, TEXT_END};
use crate::utf8;
use crate::violation::Violation;

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    Type(Draft),
    /// The text of a message.
    Text {
        draft: Draft,
        /// The application got a piece of it.
        begun: bool,
    },
    /// A frame up to 0xFF that no version defines.
    Passed,
    /// The length of a frame of type `kind`. As far as it is known it stands in `message_bytes`.
    Length {
        draft: Draft,
        kind: u8,
    },
    /// A frame with a length. As many bytes are left of it as stand in `message_bytes`.
    Skipped,
}

impl Receiver {
    /// A receiver of the frames of `draft`, in either role. Every message is text. Frames of other types, which Hixie-75
    /// wants skipped, are held to [`Limits::frame_bytes_max`] like messages.
    ///
    /// Text that is not UTF-8 is a [`Violation`] as in RFC 6455. The drafts want U+FFFD in place of what cannot be read.
    pub const fn hixie(draft: Draft, limits: Limits) -> Self {
        let mut receiver = Self::new(Role::Client, limits);
        receiver.phase = Phase::Hixie(Place::Type(draft));
        receiver
    }

    /// As [`Self::step`](Receiver::step), from `place` on.
    pub(super) fn step_hixie(
        &mut self,
        mut place: Place,
        input: &mut Input<'_>,
    ) -> Result<Option<Step>, Violation> {
        let mut room_at = input.at;
        loop {
            self.phase = Phase::Hixie(place);
            place = match place {
                Place::Text { draft, begun } => match input.remaining() {
                    0 => return Ok(None),
                    _ => return self.text_piece(draft, begun, room_at, input).map(Some),
                },
                Place::Skipped => {
                    let left = usize::try_from(self.message_bytes).unwrap_or(usize::MAX);
                    self.message_bytes -= input.take(left).len() as u64;
                    match self.message_bytes {
                        0 => Place::Type(Draft::Hixie75),
                        _ => return Ok(None),
                    }
                }
                Place::Type(draft) => {
                    room_at = input.at;
                    match next_byte(input) {
                        None => return Ok(None),
                        Some(kind) => self.begin_hixie_frame(draft, kind)?,
                    }
                }
                Place::Passed => {
                    let end = input.rest().iter().position(|&byte| byte == TEXT_END);
                    let passed = input.take(end.unwrap_or(usize::MAX)).len();
                    if self.count(passed, self.limits.frame_bytes_max).is_some() {
                        return Err(Violation::FrameTooBig(self.message_bytes));
                    }
                    match next_byte(input) {
                        None => return Ok(None),
                        Some(_) => Place::Type(Draft::Hixie75),
                    }
                }
                Place::Length { draft, kind } => {
                    let Some(byte) = next_byte(input) else {
                        return Ok(None);
                    };
                    let bytes = self
                        .message_bytes
                        .saturating_mul(128)
                        .saturating_add(u64::from(byte & 0x7F));
                    self.message_bytes = bytes;
                    match (draft, byte) {
                        (_, 0x80..) => Place::Length { draft, kind },
                        (Draft::Hixie75, _) if bytes > self.limits.frame_bytes_max => {
                            return Err(Violation::FrameTooBig(bytes));
                        }
                        (Draft::Hixie75, _) => Place::Skipped,
                        (Draft::Hixie76, _) if bytes == 0 => {
                            self.phase = Phase::Done;
                            return Ok(Some(Step::Control {
                                opcode: Opcode::Close,
                                payload: ControlPayload::Input(0..0),
                            }));
                        }
                        (Draft::Hixie76, _) => return Err(Violation::UnknownFrameType(kind)),
                    }
                }
            };
        }
    }

    fn begin_hixie_frame(&mut self, draft: Draft, kind: u8) -> Result<Place, Violation> {
        self.message_bytes = 0;
        match (kind, draft) {
            (TEXT, _) => Ok(Place::Text {
                draft,
                begun: false,
            }),
            (0x80..=0xFF, Draft::Hixie75) | (0xFF, Draft::Hixie76) => {
                Ok(Place::Length { draft, kind })
            }
            (_, Draft::Hixie75) => Ok(Place::Passed),
            (_, Draft::Hixie76) => Err(Violation::UnknownFrameType(kind)),
        }
    }

    /// The next piece of a message: what the input holds of it, or its end. The end is no part of a piece but of one without
    /// payload, so that a payload ends where the input is read to, as in RFC 6455.
    fn text_piece(
        &mut self,
        draft: Draft,
        begun: bool,
        room_at: usize,
        input: &mut Input<'_>,
    ) -> Result<Step, Violation> {
        let end = input.rest().iter().position(|&byte| byte == TEXT_END);
        let payload = input.take(end.unwrap_or(usize::MAX));
        let ends = end.is_some() && (!begun || payload.is_empty());
        // The first byte that is wrong says what is wrong, however the text is cut.
        let counted = self.count(payload.len(), self.bytes_max);
        let within = payload.end - counted.unwrap_or(0);
        self.text
            .push(&input.buf[payload.start..within])
            .map_err(|utf8::Invalid| Violation::TextNotUtf8)?;
        if counted.is_some() {
            return Err(Violation::MessageTooBig(self.message_bytes));
        }
        if ends && !self.text.is_complete() {
            return Err(Violation::TextNotUtf8);
        }
        self.phase = Phase::Hixie(match ends {
            true => Place::Type(draft),
            false => Place::Text { draft, begun: true },
        });
        input.at += usize::from(ends);
        let kind = Kind::Text;
        Ok(match ends && !begun {
            true => Step::Message {
                kind,
                room_at,
                payload,
            },
            false => Step::Chunk {
                kind,
                compressed: false,
                begins: !begun,
                // The length of the frame is not known before its end.
                frame: (!begun).then_some(payload.len() as u64),
                frame_ends: ends,
                ends,
                payload,
            },
        })
    }

    /// Counts bytes of a frame, up to the first one above its limit. If that is among them, returns how many are not within it.
    fn count(&mut self, bytes: usize, bytes_max: u64) -> Option<usize> {
        let left = bytes_max - self.message_bytes;
        if bytes as u64 <= left {
            self.message_bytes += bytes as u64;
            return None;
        }
        self.message_bytes = bytes_max.saturating_add(1);
        // Less than `bytes`, which is a usize.
        Some(bytes - usize::try_from(left).unwrap_or(bytes))
    }
}

fn next_byte(input: &mut Input<'_>) -> Option<u8> {
    let byte = input.rest().first().copied();
    input.at += usize::from(byte.is_some());
    byte
}

//! The common case: messages of one frame each, of at most 65535 bytes, that lie in the input as a whole. Whatever is unusual
//! about a frame, a fault included, is for the general path to name.

use super::{Phase, Receiver};
use crate::event::{Event, Input, Message};
use crate::frame::{Kind, MASK};
use crate::mask::{self, Charset, Key};
use crate::utf8;
use crate::violation::Violation;

/// A whole frame where it lies in the input, still masked.
#[derive(Clone, Copy)]
pub(super) struct Frame {
    kind: Kind,
    key: Key,
    header_len: usize,
    payload_len: usize,
}

impl Frame {
    /// The frame that begins `rest`, if it is one of the common ones. `mask_bit`: what the peer's role demands.
    #[inline(always)]
    fn find(rest: &[u8], mask_bit: u8, bytes_max: u64) -> Option<Self> {
        // As long as the longest header read here. What is shorter is rare: a server's frame of up to 5 bytes that ends the
        // input.
        let head = u64::from_le_bytes(*rest.first_chunk::<8>()?);
        let [first, second, high, low, ..] = head.to_le_bytes();
        let kind = match first {
            0x81 => Kind::Text,
            0x82 => Kind::Binary,
            _ => return None,
        };
        // Without the right mask bit this is above 127.
        let len7 = second ^ mask_bit;
        let (len, mut header_len) = match len7 {
            0..=125 => (u16::from(len7), 2),
            126 => match u16::from_be_bytes([high, low]) {
                0..=125 => return None,
                len => (len, 4),
            },
            _ => return None,
        };
        let mut key = Key::default();
        if mask_bit != 0 {
            let [key0, key1, key2, key3, ..] = (head >> (8 * header_len)).to_le_bytes();
            key = Key::new([key0, key1, key2, key3]);
            header_len += 4;
        }
        let payload_len = usize::from(len);
        if u64::from(len) > bytes_max || payload_len > rest.len() - header_len {
            return None;
        }
        Some(Self {
            kind,
            key,
            header_len,
            payload_len,
        })
    }
}

/// Bytes of payload that one byte of a header can announce (RFC 6455 §5.2).
const SHORT_MAX: usize = 125;

/// A masked data frame with a header of six bytes, whole in the input.
struct ShortFrame {
    kind: Kind,
    key: Key,
    len: usize,
}

#[inline(always)]
fn short_frame(buf: &[u8], at: usize) -> Option<ShortFrame> {
    let rest = buf.get(at..)?;
    let head = u64::from_le_bytes(*rest.first_chunk::<8>()?);
    let [first, second, key @ .., _, _] = head.to_le_bytes();
    let kind = match first {
        0x81 => Kind::Text,
        0x82 => Kind::Binary,
        _ => return None,
    };
    let len = usize::from(second ^ MASK);
    if len > SHORT_MAX || len > rest.len() - 6 {
        return None;
    }
    let key = Key::new(key);
    Some(ShortFrame { kind, key, len })
}

impl Receiver {
    /// Hands over the messages that come next to a server, each in a frame of at most 125 bytes of payload that has arrived
    /// as a whole, until something else comes or `frames_max` were handed over; returns how many were. `hand_over` says
    /// where the answers end that it has made in the input ([`Input::set_answers_end`]).
    ///
    /// Nothing but these frames is looked at here, so that place, end and key stay in registers.
    ///
    /// # Errors
    /// A [`Violation`] ends the receiver: it reads nothing after it.
    ///
    /// # Panics
    /// When answers are said to end beyond what was read.
    #[inline(always)]
    pub fn short_messages(
        &mut self,
        input: &mut Input<'_>,
        frames_max: u32,
        mut hand_over: impl FnMut(Message<'_>) -> Option<usize>,
    ) -> Result<u32, Violation> {
        if !self.is_between_messages() || self.mask_bit == 0 || self.bytes_max < SHORT_MAX as u64 {
            return Ok(0);
        }
        let buf = &mut *input.buf;
        let mut at = input.at;
        // Without answers a message is moved as if its own answer were the first: over its header's last four bytes.
        let mut answers_end = input.answers_end.unwrap_or(at);
        let mut frames = 0;
        let mut result = Ok(());
        while frames < frames_max {
            let Some(frame) = short_frame(buf, at) else {
                break;
            };
            let ShortFrame { kind, key, len } = frame;
            let (from, start) = (at + 6, answers_end + 2);
            at = from + len;
            frames += 1;
            let charset = mask::apply_moving(buf, from, start, len, key);
            let payload = start..start + len;
            if charset == Charset::Other
                && kind == Kind::Text
                && utf8::validate(&buf[payload.clone()]) == Err(utf8::Invalid)
            {
                self.phase = Phase::Done;
                result = Err(Violation::TextNotUtf8);
                break;
            }
            let message = Message::found(kind, buf, answers_end, payload);
            answers_end = hand_over(message).unwrap_or(at);
            assert!(answers_end <= at, "answers to what was read");
        }
        input.at = at;
        input.answers_end = (answers_end < at).then_some(answers_end);
        result.map(|()| frames)
    }

    /// The frame that comes next, if it is a common one.
    #[inline(always)]
    pub(super) fn find_small(&self, input: &Input<'_>) -> Option<Frame> {
        if !self.is_between_messages() {
            return None;
        }
        Frame::find(input.buf.get(input.at..)?, self.mask_bit, self.bytes_max)
    }

    /// The message of a frame that was found.
    #[inline(always)]
    pub(super) fn open_small<'i>(
        &'i mut self,
        frame: Frame,
        input: &'i mut Input<'_>,
    ) -> Result<Option<Event<'i>>, Violation> {
        let at = input.at;
        input.at += frame.header_len + frame.payload_len;
        let opened = open(input.buf, at, input.answers_end, self.mask_bit, frame);
        if opened.is_err() {
            self.phase = Phase::Done;
        }
        opened.map(|message| Some(Event::Message(message)))
    }

    /// Nothing of a frame or message is missing.
    #[inline(always)]
    const fn is_between_messages(&self) -> bool {
        matches!(self.phase, Phase::Header) && self.stash_len == 0 && self.message.is_none()
    }
}

/// Unmasks the frame at `at` and judges its text. A server's payload is moved, on the way, to where its own answer would
/// follow the answers made before.
#[inline(always)]
fn open<'i>(
    buf: &'i mut [u8],
    at: usize,
    answers_end: Option<usize>,
    mask_bit: u8,
    frame: Frame,
) -> Result<Message<'i>, Violation> {
    let Frame {
        kind,
        key,
        header_len,
        payload_len,
    } = frame;
    let mut room_at = at;
    let mut start = at + header_len;
    let charset = if mask_bit == 0 {
        // A server's payload is not masked: it is looked at, and only where that matters.
        match kind {
            Kind::Text if !buf[start..start + payload_len].is_ascii() => Charset::Other,
            _ => Charset::Ascii,
        }
    } else if let Some(end) = answers_end {
        let from = start;
        // Room for the answer's header: this one's without its key.
        (room_at, start) = (end, end + header_len - 4);
        mask::apply_moving(buf, from, start, payload_len, key)
    } else {
        mask::apply(&mut buf[start..start + payload_len], key)
    };
    let payload = start..start + payload_len;
    if charset == Charset::Other
        && kind == Kind::Text
        && utf8::validate(&buf[payload.clone()]) == Err(utf8::Invalid)
    {
        return Err(Violation::TextNotUtf8);
    }
    Ok(Message::new(kind, buf, room_at, payload))
}

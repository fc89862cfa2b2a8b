//! A look at the frames of one direction of a connection, for a log. It changes nothing, judges nothing, and allocates
//! nothing.

use super::frame::{self, Compression, Header};
use super::mask::{self, Key};

/// Payload bytes that are kept of a frame at most.
pub const SHOWN_BYTES_MAX: usize = 64;

/// Bytes of the longest header.
const HEADER_BYTES_MAX: usize = frame::HEADER_BYTES_MAX;

/// One direction of a connection, from its first frame on.
#[derive(Debug)]
pub struct Tap {
    state: State,
    shown_bytes_max: usize,
    /// A header that has not come whole, or the first payload bytes of a frame.
    kept: [u8; SHOWN_BYTES_MAX],
    kept_bytes: usize,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Header,
    Payload {
        header: Header,
        remaining: u64,
    },
    /// What followed was no frame.
    Over,
}

impl Tap {
    /// Of a direction whose opening handshake is over. `shown_bytes_max`: payload bytes of a frame that are shown, at most
    /// [`SHOWN_BYTES_MAX`].
    pub fn new(shown_bytes_max: usize) -> Self {
        Self {
            state: State::Header,
            shown_bytes_max: shown_bytes_max.min(SHOWN_BYTES_MAX),
            kept: [0; SHOWN_BYTES_MAX],
            kept_bytes: 0,
        }
    }

    /// Looks at bytes as they are on the wire. Calls `show` with each frame, as soon as its first payload bytes are there:
    /// the header, and these bytes unmasked.
    pub fn look(&mut self, bytes: &[u8], mut show: impl FnMut(&Header, &[u8])) {
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.state {
                State::Header => rest = self.take_header(rest, &mut show),
                State::Payload { header, remaining } => {
                    rest = self.take_payload(rest, header, remaining, &mut show);
                }
                State::Over => return,
            }
        }
    }

    fn take_header<'b>(
        &mut self,
        bytes: &'b [u8],
        show: &mut impl FnMut(&Header, &[u8]),
    ) -> &'b [u8] {
        let before = self.kept_bytes;
        let taken = bytes.len().min(HEADER_BYTES_MAX - before);
        self.kept[before..before + taken].copy_from_slice(&bytes[..taken]);
        match frame::decode(&self.kept[..before + taken], Compression::PerMessage) {
            Ok(Some((header, len))) => {
                self.kept_bytes = 0;
                self.state = State::Payload {
                    header,
                    remaining: header.payload_len,
                };
                self.show_if_complete(header, header.payload_len, show);
                &bytes[len - before..]
            }
            Ok(None) => {
                self.kept_bytes += taken;
                &bytes[taken..]
            }
            Err(_) => {
                self.state = State::Over;
                &[]
            }
        }
    }

    fn take_payload<'b>(
        &mut self,
        bytes: &'b [u8],
        header: Header,
        remaining: u64,
        show: &mut impl FnMut(&Header, &[u8]),
    ) -> &'b [u8] {
        let taken = usize::try_from(remaining).map_or(bytes.len(), |left| left.min(bytes.len()));
        let is_shown = self.kept_bytes == self.shown_bytes(header);
        let wanted = self.shown_bytes(header) - self.kept_bytes;
        let kept = &bytes[..taken.min(wanted)];
        self.kept[self.kept_bytes..][..kept.len()].copy_from_slice(kept);
        self.kept_bytes += kept.len();
        let remaining = remaining - taken as u64;
        self.state = State::Payload { header, remaining };
        match is_shown {
            true => self.end_if_over(remaining),
            false => self.show_if_complete(header, remaining, show),
        }
        &bytes[taken..]
    }

    fn shown_bytes(&self, header: Header) -> usize {
        let len = usize::try_from(header.payload_len).unwrap_or(usize::MAX);
        len.min(self.shown_bytes_max)
    }

    fn show_if_complete(
        &mut self,
        header: Header,
        remaining: u64,
        show: &mut impl FnMut(&Header, &[u8]),
    ) {
        if self.kept_bytes == self.shown_bytes(header) {
            let shown = &mut self.kept[..self.kept_bytes];
            if let Some(key) = header.masking_key {
                mask::apply(shown, Key::new(key));
            }
            show(&header, shown);
        }
        self.end_if_over(remaining);
    }

    const fn end_if_over(&mut self, remaining: u64) {
        if remaining == 0 {
            (self.state, self.kept_bytes) = (State::Header, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Opcode;

    /// What is seen of `bytes`, which come in two pieces.
    fn seen(bytes: &[u8], cut: usize, shown: usize) -> Vec<(Opcode, bool, u64, Vec<u8>)> {
        let mut tap = Tap::new(shown);
        let mut seen = Vec::new();
        for part in [&bytes[..cut], &bytes[cut..]] {
            tap.look(part, |header, payload| {
                seen.push((
                    header.opcode,
                    header.fin,
                    header.payload_len,
                    payload.to_vec(),
                ));
            });
        }
        seen
    }

    #[test]
    fn every_frame_is_seen_once_however_the_bytes_are_cut() {
        let mut bytes = b"\x81\x85\x01\x02\x03\x04Idomn".to_vec(); // masked
        bytes.extend(b"\x89\x00\x02\x7e\x01\x00");
        bytes.extend([b'x'; 256]);
        bytes.extend(b"\x80\x02ab\x88\x02\x03\xe8");
        for shown in [0, 3, 64] {
            let part = |bytes: &[u8]| bytes[..bytes.len().min(shown)].to_vec();
            let expected = vec![
                (Opcode::Text, true, 5, part(b"Hflio")),
                (Opcode::Ping, true, 0, Vec::new()),
                (Opcode::Binary, false, 256, part(&[b'x'; 256])),
                (Opcode::Continuation, true, 2, part(b"ab")),
                (Opcode::Close, true, 2, part(b"\x03\xe8")),
            ];
            for cut in 0..=bytes.len() {
                assert_eq!(seen(&bytes, cut, shown), expected, "{shown} at {cut}");
            }
        }
    }

    #[test]
    fn what_is_no_frame_ends_the_look() {
        let bytes = b"\x81\x01a\x8b\x00\x81\x01a";
        for cut in 0..=bytes.len() {
            assert_eq!(seen(bytes, cut, 64).len(), 1);
        }
    }
}

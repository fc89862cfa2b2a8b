//! The bytes to send and the bytes to expect, built once.
//!
//! Several variants of the message follow each other in a ring, so that a lost, doubled or reordered message shows in the
//! content of the next one. The request ring is stored twice in a row, so that any run of up to one ring is one
//! contiguous slice, wherever it begins.
//!
//! ```text
//! requests: | hdr key p0 | hdr key p1 | … | hdr key pN || hdr key p0 | … | hdr key pN |   masked
//! replies:  | hdr p0 | hdr p1 | … | hdr pN |                                              unmasked, 4 bytes shorter
//! ```

use crate::options::{Mode, Options, Payload};

/// A constant with four different bytes: a server that unmasks with a rotated key is noticed.
pub const MASKING_KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
/// Bytes of a ring of requests. It stays close to the L1 cache. Chosen, untested.
const RING_BYTES: usize = 32 << 10;
const VARIANTS_MIN: usize = 16;

/// Request and reply rings of one measurement.
#[derive(Debug)]
pub struct Frames {
    /// Two request rings in a row (one, when there is only one variant).
    pub requests: Vec<u8>,
    /// One reply ring.
    pub replies: Vec<u8>,
    /// Bytes of one request on the wire.
    pub request_len: usize,
    /// Bytes of one reply on the wire.
    pub reply_len: usize,
    /// Bytes of a reply's header.
    pub reply_header_len: usize,
    /// Messages in a ring.
    pub variants: usize,
}

impl Frames {
    /// Builds the rings for `options`.
    pub fn new(options: &Options) -> Self {
        let request_len = header_len(options.size) + 4 + options.size;
        let variants = (RING_BYTES / request_len).clamp(1, options.in_flight.max(VARIANTS_MIN));
        let mut requests = Vec::with_capacity(2 * variants * request_len);
        let mut replies = Vec::with_capacity(variants * request_len);
        for variant in 0..variants {
            let payload = payload(options.payload, options.size, variant);
            let begin = requests.len();
            push_header(&mut requests, options.payload, options.size, true);
            requests.extend_from_slice(&MASKING_KEY);
            requests.extend(payload.iter().zip(MASKING_KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
            match options.mode {
                Mode::Tcp => replies.extend_from_slice(&requests[begin..]),
                Mode::Ws => {
                    push_header(&mut replies, options.payload, options.size, false);
                    replies.extend_from_slice(&payload);
                }
            }
        }
        if variants > 1 {
            requests.extend_from_within(..);
        }
        let (reply_len, reply_header_len) = match options.mode {
            Mode::Ws => (request_len - 4, header_len(options.size)),
            Mode::Tcp => (request_len, header_len(options.size) + 4),
        };
        Self { requests, replies, request_len, reply_len, reply_header_len, variants }
    }

    /// Bytes of one request ring: where a send position wraps.
    pub fn request_ring_len(&self) -> usize {
        self.variants * self.request_len
    }

    /// The longest contiguous slice of at most `len` bytes of the endless request stream, beginning at `position`.
    pub fn request_slice(&self, position: usize, len: usize) -> &[u8] {
        let end = (position + len.min(self.request_ring_len())).min(self.requests.len());
        &self.requests[position..end]
    }
}

/// Bytes of an unmasked frame header. RFC 6455 §5.2: "the minimal number of bytes MUST be used to encode the length".
fn header_len(size: usize) -> usize {
    match size {
        0..=125 => 2,
        126..=65535 => 4,
        _ => 10,
    }
}

/// The header of a whole message. If it is masked, the masking key has to follow.
pub fn push_header(out: &mut Vec<u8>, kind: Payload, size: usize, masked: bool) {
    let opcode = match kind {
        Payload::Text => 1,
        Payload::Binary => 2,
    };
    let mask_bit = if masked { 0x80 } else { 0 };
    out.push(0x80 | opcode);
    match size {
        0..=125 => out.push(mask_bit | size as u8),
        126..=65535 => {
            out.push(mask_bit | 126);
            out.extend_from_slice(&(size as u16).to_be_bytes());
        }
        _ => {
            out.push(mask_bit | 127);
            out.extend_from_slice(&(size as u64).to_be_bytes());
        }
    }
}

/// A payload whose every variant differs from the others at every byte. Text is printable ASCII.
fn payload(kind: Payload, size: usize, variant: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as usize
    };
    match kind {
        Payload::Text => (0..size).map(|_| 0x20 + ((next() + variant) % 95) as u8).collect(),
        Payload::Binary => (0..size).map(|_| (next() + variant) as u8).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    fn frames(mode: Mode, size: usize) -> Frames {
        let mut options = Options::new(SocketAddr::from(([127, 0, 0, 1], 9)));
        options.mode = mode;
        options.size = size;
        Frames::new(&options)
    }

    #[test]
    fn a_request_is_a_masked_text_frame_and_its_reply_is_four_bytes_shorter() {
        let f = frames(Mode::Ws, 20);
        assert_eq!(f.requests[..6], [0x81, 0x94, 0x37, 0xfa, 0x21, 0x3d]);
        assert_eq!(f.replies[..2], [0x81, 0x14]);
        assert_eq!((f.request_len, f.reply_len, f.reply_header_len), (26, 22, 2));
        assert_eq!(f.requests[6] ^ 0x37, f.replies[2]);
        assert_eq!(f.requests[11] ^ 0xfa, f.replies[7]);
        assert!(f.replies[2..22].iter().all(|byte| (0x20..0x7f).contains(byte)));
    }

    #[test]
    fn lengths_use_the_minimal_header() {
        for (size, request, header) in [(125, 131, 2), (126, 134, 4), (65535, 65543, 4), (65536, 65550, 10)] {
            let f = frames(Mode::Ws, size);
            assert_eq!((f.request_len, f.reply_header_len), (request, header), "{size}");
        }
        assert_eq!(frames(Mode::Ws, 65536).requests[..10], [0x81, 0xff, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn bare_tcp_expects_the_request_bytes() {
        let f = frames(Mode::Tcp, 1024);
        assert_eq!(f.replies[..], f.requests[..f.request_ring_len()]);
    }

    #[test]
    fn a_request_slice_wraps_within_the_doubled_ring() {
        let f = frames(Mode::Ws, 20);
        let ring = f.request_ring_len();
        assert_eq!(f.request_slice(ring - 26, 52).len(), 52);
        assert_eq!(f.request_slice(ring - 26, 52)[26..], f.requests[..26]);
        let large = frames(Mode::Ws, 1 << 20);
        assert_eq!(large.variants, 1);
        assert_eq!(large.request_slice(100, 3 << 20).len(), large.request_len - 100);
    }
}

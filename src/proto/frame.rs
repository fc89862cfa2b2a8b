//! The base framing protocol: one header in, one header out (RFC 6455 §5.2).
//!
//! ```text
//!   0                   1                   2                   3
//!   0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//!  +-+-+-+-+-------+-+-------------+-------------------------------+
//!  |F|R|R|R| opcode|M| Payload len |  16 bits more when len = 126  |
//!  |I|S|S|S|  (4)  |A|     (7)     |  64 bits more when len = 127  |
//!  |N|V|V|V|       |S|             |                               |
//!  | |1|2|3|       |K|             |                               |
//!  +-+-+-+-+-------+-+-------------+-------------------------------+
//!  |        masking key (4 bytes, if MASK)   | payload data …       |
//!  +----------------------------------------+----------------------+
//! ```

use super::violation::Violation;

/// The longest header: 2 bytes, 8 of extended length, 4 of masking key.
pub const HEADER_BYTES_MAX: usize = 14;

/// The longest payload of a control frame (RFC 6455 §5.5).
pub const CONTROL_PAYLOAD_BYTES_MAX: usize = 125;

pub(super) const FIN: u8 = 0x80;
pub(super) const RSV: u8 = 0x70;
/// RSV1, which says that a message is compressed (RFC 7692 §6).
const RSV1: u8 = 0x40;
pub(super) const MASK: u8 = 0x80;

/// Which side of the connection an endpoint is. It decides masking and nothing else after the opening handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Opened the connection; masks what it sends.
    Client,
    /// Accepted the connection; never masks.
    Server,
}

/// What a frame is (RFC 6455 §11.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// Continues a fragmented message.
    Continuation = 0x0,
    /// Begins a text message.
    Text = 0x1,
    /// Begins a binary message.
    Binary = 0x2,
    /// Begins or answers the closing handshake.
    Close = 0x8,
    /// Asks for a Pong.
    Ping = 0x9,
    /// Answers a Ping, or is sent unasked as a heartbeat.
    Pong = 0xA,
}

impl Opcode {
    const fn from_bits(bits: u8) -> Result<Self, Violation> {
        match bits {
            0x0 => Ok(Self::Continuation),
            0x1 => Ok(Self::Text),
            0x2 => Ok(Self::Binary),
            0x8 => Ok(Self::Close),
            0x9 => Ok(Self::Ping),
            0xA => Ok(Self::Pong),
            reserved => Err(Violation::ReservedOpcode(reserved)),
        }
    }

    /// Whether this is Close, Ping or Pong.
    pub const fn is_control(self) -> bool {
        self as u8 & 0x8 != 0
    }
}

/// What a message is: the opcode of its first frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// UTF-8 text.
    Text = 0x1,
    /// Arbitrary bytes.
    Binary = 0x2,
}

impl Kind {
    /// The opcode that begins a message of this kind.
    pub const fn opcode(self) -> Opcode {
        match self {
            Self::Text => Opcode::Text,
            Self::Binary => Opcode::Binary,
        }
    }
}

/// One frame header, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Last fragment of its message.
    pub fin: bool,
    /// The message that begins with this frame is compressed (RSV1, RFC 7692 §6).
    pub compressed: bool,
    /// What the frame is.
    pub opcode: Opcode,
    /// Bytes of payload data.
    pub payload_len: u64,
    /// The masking key, when the payload is masked.
    pub masking_key: Option<[u8; 4]>,
}

/// Bytes of the header that begins with these two bytes.
pub const fn header_bytes(second: u8) -> usize {
    let length = match second & !MASK {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let key = if second & MASK == 0 { 0 } else { 4 };
    2 + length + key
}

/// Bytes of the header that [`encode`] writes for this payload length.
pub const fn encoded_bytes(payload_len: u64, masked: bool) -> usize {
    let length = match payload_len {
        0..=125 => 2,
        126..=0xFFFF => 4,
        _ => 10,
    };
    if masked { length + 4 } else { length }
}

/// Whether the endpoints agreed that messages may be compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// RSV1 is a violation.
    None,
    /// RSV1 on the first frame of a message says that the message is compressed (RFC 7692 §6).
    PerMessage,
}

/// Decodes one header from the front of `bytes`. `None`: more bytes are needed (at most [`HEADER_BYTES_MAX`]).
///
/// What the first two bytes already prove wrong is an error at once.
pub fn decode(
    bytes: &[u8],
    compression: Compression,
) -> Result<Option<(Header, usize)>, Violation> {
    let [first, second, rest @ ..] = bytes else {
        return match bytes {
            [first] => check_first(*first, compression).map(|_| None),
            _ => Ok(None),
        };
    };
    let opcode = check_first(*first, compression)?;
    let fin = first & FIN != 0;
    check_control(opcode, fin, second & !MASK)?;
    let header_len = header_bytes(*second);
    if bytes.len() < header_len {
        return Ok(None);
    }
    let (payload_len, rest) = decode_length(second & !MASK, rest)?;
    let masking_key = if second & MASK == 0 {
        None
    } else {
        rest.first_chunk::<4>().copied()
    };
    Ok(Some((
        Header {
            fin,
            compressed: first & RSV1 != 0,
            opcode,
            payload_len,
            masking_key,
        },
        header_len,
    )))
}

fn check_first(first: u8, compression: Compression) -> Result<Opcode, Violation> {
    let reserved = first & RSV;
    if reserved == 0 {
        return Opcode::from_bits(first & 0x0F);
    }
    // RFC 6455 §5.2: "MUST be 0 unless an extension is negotiated that defines meanings for non-zero values."
    if reserved != RSV1 || compression == Compression::None {
        return Err(Violation::ReservedBits(reserved));
    }
    match Opcode::from_bits(first & 0x0F)? {
        opcode @ (Opcode::Text | Opcode::Binary) => Ok(opcode),
        // RFC 7692 §6.1: "An endpoint MUST NOT set the "Per-Message Compressed" bit of control frames and non-first
        // fragments of a data message."
        _ => Err(Violation::ReservedBits(reserved)),
    }
}

fn check_control(opcode: Opcode, fin: bool, len7: u8) -> Result<(), Violation> {
    // RFC 6455 §5.5: "All control frames MUST have a payload length of 125 bytes or less and MUST NOT be fragmented."
    if opcode.is_control() {
        if !fin {
            return Err(Violation::FragmentedControl);
        }
        if usize::from(len7) > CONTROL_PAYLOAD_BYTES_MAX {
            return Err(Violation::ControlTooLong);
        }
    }
    Ok(())
}

/// The payload length and what follows it; the caller has checked that the header is complete.
fn decode_length(len7: u8, rest: &[u8]) -> Result<(u64, &[u8]), Violation> {
    // RFC 6455 §5.2: "the minimal number of bytes MUST be used to encode the length"
    match len7 {
        126 => match rest.split_first_chunk::<2>() {
            Some((length, rest)) => match u16::from_be_bytes(*length) {
                0..=125 => Err(Violation::NonMinimalLength),
                length => Ok((length.into(), rest)),
            },
            None => Ok((0, rest)),
        },
        127 => match rest.split_first_chunk::<8>() {
            Some((length, rest)) => match u64::from_be_bytes(*length) {
                0..=0xFFFF => Err(Violation::NonMinimalLength),
                // RFC 6455 §5.2: "the most significant bit MUST be 0"
                length if length >> 63 != 0 => Err(Violation::LengthTopBit),
                length => Ok((length, rest)),
            },
            None => Ok((0, rest)),
        },
        length => Ok((length.into(), rest)),
    }
}

/// Writes `header` to the front of `out` and says how many bytes it took.
///
/// # Panics
/// When `out` is shorter than [`encoded_bytes`].
#[inline(always)]
pub fn encode(header: &Header, out: &mut [u8]) -> usize {
    let fin = if header.fin { FIN } else { 0 };
    let compressed = if header.compressed { RSV1 } else { 0 };
    let mask = if header.masking_key.is_some() {
        MASK
    } else {
        0
    };
    out[0] = fin | compressed | header.opcode as u8;
    let bytes = match header.payload_len {
        length @ 0..=125 => {
            out[1] = mask | length.to_le_bytes()[0];
            2
        }
        length @ 126..=0xFFFF => {
            out[1] = mask | 126;
            out[2..4].copy_from_slice(&length.to_be_bytes()[6..]);
            4
        }
        length => {
            out[1] = mask | 127;
            out[2..10].copy_from_slice(&length.to_be_bytes());
            10
        }
    };
    match header.masking_key {
        Some(key) => {
            out[bytes..bytes + 4].copy_from_slice(&key);
            bytes + 4
        }
        None => bytes,
    }
}

/// The header of a server's frame for a whole message that is not compressed, and its length.
pub fn message_head(kind: Kind, payload_bytes: usize) -> ([u8; HEADER_BYTES_MAX], usize) {
    let header = Header {
        compressed: false,
        fin: true,
        opcode: kind.opcode(),
        payload_len: payload_bytes as u64,
        masking_key: None,
    };
    let mut head = [0; HEADER_BYTES_MAX];
    let len = encode(&header, &mut head);
    (head, len)
}

/// The header of a server's frame if `bytes` are one: a whole message, not compressed.
pub fn whole_of_server(bytes: &[u8]) -> Option<Header> {
    let (header, len) = decode(bytes, Compression::None).ok()??;
    let is_whole = header.fin
        && header.masking_key.is_none()
        && !header.opcode.is_control()
        && header.opcode != Opcode::Continuation
        && header.payload_len == (bytes.len() - len) as u64;
    is_whole.then_some(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unmasked(opcode: Opcode, payload_len: u64) -> Header {
        Header {
            fin: true,
            compressed: false,
            opcode,
            payload_len,
            masking_key: None,
        }
    }

    fn plain(bytes: &[u8]) -> Result<Option<(Header, usize)>, Violation> {
        decode(bytes, Compression::None)
    }

    #[test]
    fn a_first_frame_may_say_that_its_message_is_compressed() {
        for (first, opcode, fin) in [(0xC1, Opcode::Text, true), (0x42, Opcode::Binary, false)] {
            let header = Header {
                fin,
                compressed: true,
                ..unmasked(opcode, 5)
            };
            let bytes = [first, 5];
            let decoded = decode(&bytes, Compression::PerMessage);
            assert_eq!(decoded, Ok(Some((header, 2))));
            let mut out = [0; HEADER_BYTES_MAX];
            assert_eq!((encode(&header, &mut out), out[0]), (2, first));
        }
    }

    #[test]
    fn rsv1_on_a_continuation_or_control_frame_is_refused_and_so_are_the_other_bits() {
        for first in [0xC0, 0x40, 0xC8, 0xC9, 0xCA, 0xA1, 0x91, 0xE1, 0xF2] {
            let decoded = decode(&[first], Compression::PerMessage);
            let bits = Violation::ReservedBits(first & RSV);
            assert_eq!(decoded, Err(bits), "{first:#x}");
        }
    }

    #[test]
    fn headers_of_all_three_length_forms_decode_to_what_they_say() {
        let cases: [(&[u8], Header); 5] = [
            (&[0x81, 0x05], unmasked(Opcode::Text, 5)),
            (&[0x82, 0x7E, 0x01, 0x00], unmasked(Opcode::Binary, 256)),
            (
                &[0x82, 0x7F, 0, 0, 0, 0, 0, 1, 0, 0],
                unmasked(Opcode::Binary, 65536),
            ),
            (
                &[0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d],
                Header {
                    masking_key: Some([0x37, 0xfa, 0x21, 0x3d]),
                    ..unmasked(Opcode::Text, 5)
                },
            ),
            (
                &[0x01, 0x03],
                Header {
                    fin: false,
                    ..unmasked(Opcode::Text, 3)
                },
            ),
        ];
        for (bytes, header) in cases {
            assert_eq!(
                decode(bytes, Compression::None),
                Ok(Some((header, bytes.len())))
            );
            let mut out = [0; HEADER_BYTES_MAX];
            let len = encode(&header, &mut out);
            assert_eq!(&out[..len], bytes);
            assert_eq!(
                encoded_bytes(header.payload_len, header.masking_key.is_some()),
                bytes.len()
            );
            for cut in 0..bytes.len() {
                assert_eq!(
                    decode(&bytes[..cut], Compression::None),
                    Ok(None),
                    "cut at {cut}"
                );
            }
        }
    }

    #[test]
    fn length_forms_longer_than_needed_are_refused() {
        assert_eq!(
            plain(&[0x82, 126, 0, 125]),
            Err(Violation::NonMinimalLength)
        );
        assert_eq!(
            plain(&[0x82, 127, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF]),
            Err(Violation::NonMinimalLength)
        );
        assert_eq!(
            plain(&[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0]),
            Err(Violation::LengthTopBit)
        );
    }

    #[test]
    fn the_first_byte_alone_condemns_a_bad_frame() {
        assert_eq!(plain(&[0xC1]), Err(Violation::ReservedBits(0x40)));
        assert_eq!(plain(&[0x83]), Err(Violation::ReservedOpcode(3)));
        assert_eq!(plain(&[0x09, 0x00]), Err(Violation::FragmentedControl));
        assert_eq!(plain(&[0x89, 126]), Err(Violation::ControlTooLong));
    }
}

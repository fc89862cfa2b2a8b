//! The subprotocol `base64` of stream gateways: each text message is one block of base64 (RFC 4648 §4) with its padding, and
//! the decoded blocks, one after the other, are the stream.
//!
//! A message may arrive in any pieces. It is decoded where it lies, so no memory is needed beyond three bytes of state. The
//! decoder is strict, as RFC 4648 §3 wants it: no line breaks, no other characters, no missing or early padding, and no bits
//! behind the last byte.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Marks a byte that is no character of the alphabet.
const NONE: u8 = 0xFF;

/// The value of each character.
const VALUES: [u8; 256] = {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut values = [NONE; 256];
    let mut value: u8 = 0;
    while value < 64 {
        values[alphabet[value as usize] as usize] = value;
        value += 1;
    }
    values
};

/// Why a message is no base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A character outside the alphabet.
    Character(u8),
    /// Padding where none may be, or something behind it.
    Padding,
    /// The message ends inside a group of four characters.
    Incomplete,
    /// The last character carries bits beyond the last byte.
    TrailingBits,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Character(byte) => write!(f, "byte 0x{byte:02x} is no base64"),
            Self::Padding => f.write_str("base64 padding in the wrong place"),
            Self::Incomplete => f.write_str("base64 that ends inside a group of four characters"),
            Self::TrailingBits => f.write_str("base64 with bits behind its last byte"),
        }
    }
}

impl std::error::Error for Fault {}

/// Decodes messages that arrive in pieces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decoder {
    /// The bits of the characters of the current group that filled no byte yet: at most six.
    bits: u8,
    /// Characters of the current group, padding included.
    group: u8,
    /// Padding characters seen: the message ends with them.
    padding: u8,
}

impl Decoder {
    /// Decodes the next piece of a message in place, and returns how many bytes it became: they lie at its beginning.
    ///
    /// # Errors
    /// A [`Fault`]. The decoder is of no further use then.
    pub fn decode(&mut self, piece: &mut [u8]) -> Result<usize, Fault> {
        let mut filled = 0;
        for at in 0..piece.len() {
            let byte = piece[at];
            if byte == b'=' {
                self.pad()?;
                continue;
            }
            let value = VALUES[usize::from(byte)];
            if value == NONE {
                return Err(Fault::Character(byte));
            }
            if self.padding > 0 {
                return Err(Fault::Padding);
            }
            let bits = u16::from(self.bits) << 6 | u16::from(value);
            self.group = (self.group + 1) % 4;
            // After the second, third and fourth character of a group a byte is complete: 4, 2 and 0 bits are left of it.
            let left = match self.group {
                1 => {
                    self.bits = value;
                    continue;
                }
                2 => 4,
                3 => 2,
                _ => 0,
            };
            let [decoded, _] = (bits >> left).to_le_bytes();
            piece[filled] = decoded; // never beyond `at`
            filled += 1;
            self.bits = value & ((1 << left) - 1);
        }
        Ok(filled)
    }

    /// Ends the message.
    ///
    /// # Errors
    /// [`Fault::Incomplete`].
    pub fn end(&mut self) -> Result<(), Fault> {
        match std::mem::take(self).group {
            0 => Ok(()),
            _ => Err(Fault::Incomplete),
        }
    }

    fn pad(&mut self) -> Result<(), Fault> {
        if self.group < 2 {
            return Err(Fault::Padding);
        }
        if self.bits != 0 {
            return Err(Fault::TrailingBits);
        }
        self.padding += 1;
        self.group = (self.group + 1) % 4;
        Ok(())
    }
}

/// Appends `bytes` as one message to `text`.
pub fn encode(bytes: &[u8], text: &mut String) {
    STANDARD.encode_string(bytes, text);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes a message that comes in pieces of `size` bytes.
    fn decode(text: &str, size: usize) -> Result<Vec<u8>, Fault> {
        let mut decoder = Decoder::default();
        let mut decoded = Vec::new();
        for piece in text.as_bytes().chunks(size) {
            let mut piece = piece.to_vec();
            let len = decoder.decode(&mut piece)?;
            decoded.extend_from_slice(&piece[..len]);
        }
        decoder.end()?;
        Ok(decoded)
    }

    #[test]
    fn the_examples_of_rfc_4648_come_out_however_they_are_cut() {
        let examples = [
            ("", ""),
            ("Zg==", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYg==", "foob"),
            ("Zm9vYmE=", "fooba"),
            ("Zm9vYmFy", "foobar"),
        ];
        for (text, plain) in examples {
            for size in 1..=8 {
                assert_eq!(decode(text, size), Ok(plain.as_bytes().to_vec()), "{text}");
            }
            let mut encoded = String::new();
            encode(plain.as_bytes(), &mut encoded);
            assert_eq!(encoded, text);
        }
    }

    #[test]
    fn every_byte_survives() {
        let bytes: Vec<u8> = (0..=255).collect();
        for len in 0..=bytes.len() {
            let mut text = String::new();
            encode(&bytes[..len], &mut text);
            assert_eq!(decode(&text, 7).as_deref(), Ok(&bytes[..len]));
        }
    }

    #[test]
    fn what_is_no_base64_has_a_reason() {
        let faults = [
            ("Zm9v\n", Fault::Character(b'\n')),
            ("Zm_v", Fault::Character(b'_')),
            ("Zm9", Fault::Incomplete),
            ("Z", Fault::Incomplete),
            ("Zg=", Fault::Incomplete),
            ("=", Fault::Padding),
            ("Z===", Fault::Padding),
            ("Zg==Zg==", Fault::Padding),
            ("Zm8=a", Fault::Padding),
            ("Zm8==", Fault::Padding),
            ("Zh==", Fault::TrailingBits),
            ("Zm9=", Fault::TrailingBits),
        ];
        for (text, fault) in faults {
            for size in 1..=8 {
                assert_eq!(decode(text, size), Err(fault), "{text}");
            }
        }
    }

    #[test]
    fn the_next_message_begins_anew() {
        let mut decoder = Decoder::default();
        for _ in 0..3 {
            let mut piece = *b"Zg==";
            assert_eq!(decoder.decode(&mut piece), Ok(1));
            assert_eq!(decoder.end(), Ok(()));
        }
    }
}

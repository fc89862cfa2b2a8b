//! `Sec-WebSocket-Key` and the `Sec-WebSocket-Accept` that answers it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};

/// A `Sec-WebSocket-Key` as it travels: 24 characters, base64 of 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key([u8; KEY_CHARS]);

impl Key {
    /// The key of 16 random bytes, for a client.
    pub fn from_nonce(nonce: &[u8; 16]) -> Self {
        let mut chars = [0; KEY_CHARS];
        STANDARD
            .encode_slice(nonce, &mut chars)
            .expect("16 bytes are 24 characters of base64");
        Self(chars)
    }

    /// The key in a header value, or `None` when it cannot be base64 of 16 bytes.
    ///
    /// The four spare bits of the last character may have any value: the RFC's own example of a key (§4.1,
    /// "AQIDBAUGBwgJCgsMDQ4PEC==") sets one of them.
    pub fn parse(value: &[u8]) -> Option<Self> {
        // RFC 6455 §4.2.1: "A |Sec-WebSocket-Key| header field with a base64-encoded (see Section 4 of
        // [RFC4648]) value that, when decoded, is 16 bytes in length."
        let chars: [u8; KEY_CHARS] = value.try_into().ok()?;
        let digits = chars.strip_suffix(b"==")?;
        let base64 = |c: &u8| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'/');
        digits.iter().all(base64).then_some(Self(chars))
    }

    /// The 24 characters.
    pub fn as_bytes(&self) -> &[u8; KEY_CHARS] {
        &self.0
    }

    /// The value of `Sec-WebSocket-Accept` that proves this key was read.
    pub fn accept(&self) -> [u8; ACCEPT_CHARS] {
        // RFC 6455 §4.2.2: "concatenating /key/, defined above in step 4 in Section 4.2.2, with the string
        // "258EAFA5-E914-47DA-95CA-C5AB0DC85B11", taking the SHA-1 hash of this concatenated value to obtain a
        // 20-byte value and base64-encoding […] this 20-byte hash."
        let digest = Sha1::new()
            .chain_update(self.0)
            .chain_update(GUID)
            .finalize();
        let mut chars = [0; ACCEPT_CHARS];
        STANDARD
            .encode_slice(digest, &mut chars)
            .expect("20 bytes are 28 characters of base64");
        chars
    }
}

const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const KEY_CHARS: usize = 24;
const ACCEPT_CHARS: usize = 28;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_value_is_that_of_the_rfc() {
        // RFC 6455 §1.3
        let key = Key::parse(b"dGhlIHNhbXBsZSBub25jZQ==").expect("a valid key");
        assert_eq!(&key.accept(), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn sixteen_bytes_become_the_key_of_the_rfc() {
        assert_eq!(
            Key::from_nonce(b"the sample nonce").as_bytes(),
            b"dGhlIHNhbXBsZSBub25jZQ=="
        );
    }

    #[test]
    fn a_key_is_22_base64_characters_and_two_equal_signs() {
        assert!(Key::parse(b"AAAAAAAAAAAAAAAAAAAAAA==").is_some());
        assert!(Key::parse(b"+/abcdefghijklmnopqrsA==").is_some());
        for wrong in [
            &b""[..],
            b"AAAAAAAAAAAAAAAAAAAAAA=",
            b"AAAAAAAAAAAAAAAAAAAAAA===",
            b"AAAAAAAAAAAAAAAAAAAAA===",
            b"AAAAAAAAAAAAAAAAAAAAAAA=",
            b"AAAAAAAAAAAAAAAAAAAAAAAA",
            b"-_AAAAAAAAAAAAAAAAAAAA==",
            b"AAAAAAAAAA AAAAAAAAAAA==",
            b"AAAAAAAAAAAAAAAAAAAA\xc3\xa4==",
        ] {
            assert_eq!(Key::parse(wrong), None, "{}", wrong.escape_ascii());
        }
    }

    #[test]
    fn the_key_example_of_the_rfc_with_spare_bits_set_is_a_key() {
        // RFC 6455 §4.1 prints this value; a strict base64 decoder refuses it.
        assert!(Key::parse(b"AQIDBAUGBwgJCgsMDQ4PEC==").is_some());
    }
}

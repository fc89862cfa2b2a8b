//! Masking (RFC 6455 §5.3), and whether the result is ASCII: both in one pass, so that short text needs no second look.

/// A masking key turned so that its first octet belongs to the next payload octet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Key(u32);

impl Key {
    /// The key as it stands in a header.
    #[inline]
    pub const fn new(octets: [u8; 4]) -> Self {
        Self(u32::from_le_bytes(octets))
    }

    /// The key for the octet `count` further on.
    #[inline]
    #[must_use]
    pub const fn advanced(self, count: usize) -> Self {
        Self(self.0.rotate_right(8 * (count % 4) as u32))
    }
}

/// Whether a run of octets is all ASCII.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charset {
    /// No octet has its top bit set: valid UTF-8 whatever precedes or follows.
    Ascii,
    /// Some octet has its top bit set.
    Other,
}

/// Masks or unmasks `data` in place and says what came out.
///
/// Whole words compile to SIMD: `results/` holds the figures of `bench/micro/mask.rs`.
#[inline]
pub fn apply(data: &mut [u8], key: Key) -> Charset {
    let wide = u64::from(key.0) | u64::from(key.0) << 32;
    let mut seen = 0u64;
    let (blocks, rest) = data.as_chunks_mut::<64>();
    for block in blocks {
        seen |= xor_block(block, wide);
    }
    let (words, rest) = rest.as_chunks_mut::<8>();
    for word in words {
        let plain = u64::from_le_bytes(*word) ^ wide;
        seen |= plain;
        *word = plain.to_le_bytes();
    }
    let mut key = wide;
    for octet in rest {
        *octet ^= key.to_le_bytes()[0];
        seen |= u64::from(*octet);
        key >>= 8;
    }
    if seen & 0x8080_8080_8080_8080 == 0 {
        Charset::Ascii
    } else {
        Charset::Other
    }
}

/// Fixed size and no exit: the compiler makes four or eight vector operations of it.
#[inline]
fn xor_block(block: &mut [u8; 64], wide: u64) -> u64 {
    let mut seen = 0;
    for word in block.as_chunks_mut::<8>().0 {
        let plain = u64::from_le_bytes(*word) ^ wide;
        seen |= plain;
        *word = plain.to_le_bytes();
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, octet by octet: RFC 6455 §5.3 "transformed-octet-i = original-octet-i XOR masking-key-octet-(i MOD 4)".
    fn by_definition(data: &[u8], key: [u8; 4]) -> Vec<u8> {
        data.iter()
            .enumerate()
            .map(|(i, octet)| octet ^ key[i % 4])
            .collect()
    }

    #[test]
    fn hello_of_rfc_6455_5_7_unmasks() {
        let mut data = [0x7f, 0x9f, 0x4d, 0x51, 0x58];
        assert_eq!(
            apply(&mut data, Key::new([0x37, 0xfa, 0x21, 0x3d])),
            Charset::Ascii
        );
        assert_eq!(&data, b"Hello");
    }

    #[test]
    fn every_length_and_every_split_equals_the_definition() {
        let key = [0x11, 0xA2, 0x53, 0xF4];
        let data: Vec<u8> = (0..300u32)
            .map(|i| (i * 7 % 251).to_le_bytes()[0])
            .collect();
        for len in 0..data.len() {
            let mut whole = data[..len].to_vec();
            apply(&mut whole, Key::new(key));
            assert_eq!(whole, by_definition(&data[..len], key), "length {len}");
        }
        for cut in 0..data.len() {
            let mut split = data.clone();
            let (head, tail) = split.split_at_mut(cut);
            apply(head, Key::new(key));
            apply(tail, Key::new(key).advanced(cut));
            assert_eq!(split, by_definition(&data, key), "cut at {cut}");
        }
    }

    #[test]
    fn one_high_bit_anywhere_is_seen() {
        for len in 1..150 {
            for at in 0..len {
                let mut data = vec![b'a'; len];
                data[at] = 0x80;
                assert_eq!(
                    apply(&mut data, Key::new([0; 4])),
                    Charset::Other,
                    "{at} of {len}"
                );
            }
            assert_eq!(
                apply(&mut vec![0x7F; len], Key::new([0; 4])),
                Charset::Ascii
            );
        }
    }
}

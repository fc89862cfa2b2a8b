//! Masking (RFC 6455 §5.3). The same pass finds out whether the result is ASCII: then text needs no UTF-8 validation.

/// A masking key, rotated so that its first byte belongs to the next payload byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Key(u32);

impl Key {
    /// The key as it stands in a header.
    #[inline]
    pub const fn new(bytes: [u8; 4]) -> Self {
        Self(u32::from_le_bytes(bytes))
    }

    /// The key for the payload byte that is `count` bytes further on.
    #[inline]
    #[must_use]
    pub const fn advanced(self, count: usize) -> Self {
        let [bytes, ..] = (count % 4).to_le_bytes();
        Self(self.0.rotate_right(8 * bytes as u32))
    }

    /// The key repeated over 16 bytes.
    #[inline]
    const fn double(self) -> u128 {
        self.wide() as u128 | (self.wide() as u128) << 64
    }

    /// The key repeated over 8 bytes.
    #[inline]
    const fn wide(self) -> u64 {
        self.0 as u64 | (self.0 as u64) << 32
    }
}

/// Whether a run of bytes is all ASCII.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charset {
    /// No byte has its top bit set: valid UTF-8 whatever precedes or follows.
    Ascii,
    /// Some byte has its top bit set.
    Other,
}

/// Masks or unmasks `data` in place, and returns whether the result is ASCII.
///
/// The end of `data` that fills no word is masked as part of one last word, which ends with the data and overlaps the
/// word before it, as in `memcpy`. That word is read before anything is written, so no byte is masked twice and no loop
/// goes byte by byte.
#[inline]
pub fn apply(data: &mut [u8], key: Key) -> Charset {
    let Some(last) = data.last_chunk::<8>() else {
        return apply_short(data, key);
    };
    // The last word begins 8 bytes before the end. 8 is a multiple of the key's length, so the key of the end fits.
    let last = u64::from_le_bytes(*last) ^ key.advanced(data.len()).wide();
    let wide = key.wide();
    let seen = if data.len() < DISPATCHED_BYTES_MIN {
        apply_words(data, wide)
    } else {
        apply_words_dispatched(data, wide)
    };
    if let Some(end) = data.last_chunk_mut() {
        *end = last.to_le_bytes();
    }
    charset(last | seen)
}

/// From this length on, wider vectors win more than the indirect call to their code costs: 256 bytes take 0.71 of the time
/// and 1 KiB takes 0.48 (`results/2026-11-28-vm2-unmask`); 128 bytes took 0.93 and 64 took 1.18.
const DISPATCHED_BYTES_MIN: usize = 256;

/// Masks every whole word of `data`. Returns all resulting words ORed together.
#[inline(always)]
fn apply_words(data: &mut [u8], wide: u64) -> u64 {
    let mut seen = 0;
    // One word per step: the compiler vectorises this loop. It did not vectorise one over blocks of 64 bytes.
    for word in data.as_chunks_mut::<8>().0 {
        let plain = u64::from_le_bytes(*word) ^ wide;
        seen |= plain;
        *word = plain.to_le_bytes();
    }
    seen
}

/// The same in the widest vectors that this CPU has, of those that we have measured. The CPU is asked once.
#[multiversion::multiversion(targets("x86_64+avx2"))]
fn apply_words_dispatched(data: &mut [u8], wide: u64) -> u64 {
    apply_words(data, wide)
}

/// Like [`apply`] on `buf[from..from + len]`, but the result is written to `to`, which lies before `from`.
#[inline(always)]
pub fn apply_moving(buf: &mut [u8], from: usize, to: usize, len: usize, key: Key) -> Charset {
    let gap = from - to;
    let data = &mut buf[to..from + len];
    // The commonest lengths need no loop: two halves that may overlap, both read before either is written.
    if (16..=32).contains(&len)
        && let Some(first) = data[gap..].first_chunk::<16>()
        && let Some(last) = data.last_chunk::<16>()
    {
        let first = u128::from_le_bytes(*first) ^ key.double();
        let last = u128::from_le_bytes(*last) ^ key.advanced(len).double();
        data[..16].copy_from_slice(&first.to_le_bytes());
        data[len - 16..len].copy_from_slice(&last.to_le_bytes());
        let ascii = (first | last) & TOP_BITS == 0;
        return if ascii {
            Charset::Ascii
        } else {
            Charset::Other
        };
    }
    apply_moving_any(data, gap, key)
}

/// [`apply_moving`] for any length: moves `data[gap..]` to the beginning. Two vectorised passes, the second over bytes
/// that the first has just put into the L1 cache. A single pass would have a distance unknown to the compiler, which then
/// makes scalar code: 1 KiB took three times as long.
#[inline(never)]
fn apply_moving_any(data: &mut [u8], gap: usize, key: Key) -> Charset {
    let len = data.len() - gap;
    data.copy_within(gap.., 0);
    apply(&mut data[..len], key)
}

/// The top bit of every byte of two words.
const TOP_BITS: u128 = u128::from_le_bytes([0x80; 16]);

/// Masks up to 7 bytes: two half words that may overlap, or single bytes.
fn apply_short(data: &mut [u8], key: Key) -> Charset {
    let (Some(first), Some(last)) = (data.first_chunk::<4>(), data.last_chunk::<4>()) else {
        let mut seen = 0;
        for (byte, key) in data.iter_mut().zip(key.0.to_le_bytes()) {
            *byte ^= key;
            seen |= *byte;
        }
        return charset(seen.into());
    };
    let first = u32::from_le_bytes(*first) ^ key.0;
    let last = u32::from_le_bytes(*last) ^ key.advanced(data.len()).0;
    if let Some(start) = data.first_chunk_mut() {
        *start = first.to_le_bytes();
    }
    if let Some(end) = data.last_chunk_mut() {
        *end = last.to_le_bytes();
    }
    charset((first | last).into())
}

#[inline]
const fn charset(seen: u64) -> Charset {
    if seen & 0x8080_8080_8080_8080 == 0 {
        Charset::Ascii
    } else {
        Charset::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, byte by byte: RFC 6455 §5.3 "transformed-octet-i = original-octet-i XOR masking-key-octet-(i MOD 4)".
    fn by_definition(data: &[u8], key: [u8; 4]) -> Vec<u8> {
        data.iter()
            .enumerate()
            .map(|(i, byte)| byte ^ key[i % 4])
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
        // Up to 600 bytes: beyond the length from which the wider vectors are used.
        let data: Vec<u8> = (0..600u32)
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
    fn moving_left_by_any_distance_equals_the_definition() {
        let key = [0x91, 0x02, 0xB3, 0x44];
        let data: Vec<u8> = (0..200u8).map(|i| i.wrapping_mul(37)).collect();
        for len in 0..150 {
            for gap in 1..40 {
                let mut buf = data.clone();
                let charset = apply_moving(&mut buf, 5 + gap, 5, len, Key::new(key));
                let expected = by_definition(&data[5 + gap..5 + gap + len], key);
                assert_eq!(buf[5..5 + len], expected, "length {len} by {gap}");
                assert_eq!(charset == Charset::Ascii, expected.is_ascii());
                assert_eq!(buf[..5], data[..5], "what is before stays");
                assert_eq!(
                    buf[5 + gap + len..],
                    data[5 + gap + len..],
                    "what is behind stays"
                );
            }
        }
    }

    #[test]
    fn one_high_bit_anywhere_is_seen() {
        for len in (1..150).chain(250..270) {
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

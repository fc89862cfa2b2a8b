//! Blocks of a deflate stream (RFC 1951 §3.2.3 to §3.2.7), in whichever form is the shortest.

#![expect(
    clippy::cast_possible_truncation,
    reason = "classes, lengths and distances are small by RFC 1951 §3.2.5"
)]

use super::huffman::Code;

/// Literals, the end of a block, and the classes of lengths.
const LITERALS: usize = 286;
const DISTANCES: usize = 30;
const END_OF_BLOCK: usize = 256;
/// Symbols in which the lengths of a block's codes are written.
const LENGTHS: usize = 19;
/// The order in which the lengths of their codes are written.
const LENGTHS_ORDER: [usize; LENGTHS] = [
    16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
];
/// Payload bytes of the longest block without compression.
const STORED_BYTES_MAX: usize = 0xFFFF;

pub(super) const MATCH_BYTES_MIN: usize = 3;
pub(super) const MATCH_BYTES_MAX: usize = 258;

/// Marks a token that is a reference.
const REFERENCE: u32 = 1 << 31;

/// The class of a length and its extra bits, by length minus 3.
static LENGTH_CLASSES: [(u8, u8); 256] = length_classes();

const fn length_classes() -> [(u8, u8); 256] {
    let mut classes = [(0, 0); 256];
    let mut length = 0;
    while length < 256 {
        classes[length] = match length {
            0..4 => (length as u8, 0),
            255 => (28, 0),
            _ => {
                let extra = length.ilog2() - 2;
                ((4 * extra as usize + (length >> extra)) as u8, extra as u8)
            }
        };
        length += 1;
    }
    classes
}

/// The class of a distance minus 1.
#[inline]
const fn distance_class(distance: u32) -> (usize, u32) {
    if distance < 4 {
        return (distance as usize, 0);
    }
    let extra = distance.ilog2() - 1;
    (2 * extra as usize + (distance >> extra) as usize, extra)
}

/// What a block says: literals, and references to what was before.
#[derive(Debug)]
pub(super) struct Tokens {
    tokens: Vec<u32>,
    literals: [u16; LITERALS],
    distances: [u16; DISTANCES],
    /// Extra bits of all references.
    extra_bits: usize,
}

impl Tokens {
    /// Of a block with at most `max` tokens, below 65,535.
    pub(super) fn new(max: usize) -> Self {
        Self {
            tokens: Vec::with_capacity(max),
            literals: [0; LITERALS],
            distances: [0; DISTANCES],
            extra_bits: 0,
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.tokens.len() == self.tokens.capacity()
    }

    #[inline]
    pub(super) fn push_literal(&mut self, byte: u8) {
        self.literals[usize::from(byte)] += 1;
        self.tokens.push(u32::from(byte));
    }

    #[inline]
    pub(super) fn push_reference(&mut self, bytes: usize, distance: usize) {
        debug_assert!(
            (MATCH_BYTES_MIN..=MATCH_BYTES_MAX).contains(&bytes)
                && (1..=32_768).contains(&distance)
        );
        let (length, distance) = (
            (bytes - MATCH_BYTES_MIN) & 0xFF,
            (distance - 1) as u32 & 0x7FFF,
        );
        let (length_class, length_extra) = LENGTH_CLASSES[length];
        let (distance_class, distance_extra) = distance_class(distance);
        self.literals[(END_OF_BLOCK + 1 + usize::from(length_class)).min(LITERALS - 1)] += 1;
        self.distances[distance_class.min(DISTANCES - 1)] += 1;
        self.extra_bits += usize::from(length_extra) + distance_extra as usize;
        self.tokens
            .push(REFERENCE | (length as u32) << 16 | distance);
    }

    fn clear(&mut self) {
        self.tokens.clear();
        self.literals = [0; LITERALS];
        self.distances = [0; DISTANCES];
        self.extra_bits = 0;
    }
}

/// Writes bits, lowest first. There is room for all of them, and for 8 bytes more.
#[derive(Debug)]
pub(super) struct Bits<'o> {
    out: &'o mut [u8],
    end: usize,
    held: u64,
    count: u32,
}

impl<'o> Bits<'o> {
    pub(super) fn new(out: &'o mut [u8], at: usize) -> Self {
        Self {
            out,
            end: at,
            held: 0,
            count: 0,
        }
    }

    /// Writes the lowest `count` bits of `bits`, at most 48; the others are 0.
    #[inline]
    fn put(&mut self, bits: u64, count: u32) {
        self.held |= bits << self.count;
        self.count += count;
        self.out[self.end..self.end + 8].copy_from_slice(&self.held.to_le_bytes());
        let whole = self.count / 8;
        self.end += whole as usize;
        self.held >>= 8 * whole;
        self.count %= 8;
    }

    /// The header of an empty block without compression, whose length is left to the receiver to add (RFC 7692 §7.2.1). Returns the
    /// end.
    pub(super) fn flush(mut self) -> usize {
        self.put(0, 3);
        self.align();
        self.end
    }

    fn align(&mut self) {
        let missing = (8 - self.count) % 8;
        self.put(0, missing);
    }
}

/// The codes of a block. They are big, so they are made once.
#[derive(Debug)]
pub(super) struct Codes {
    literals: Code<LITERALS>,
    distances: Code<DISTANCES>,
    lengths: Code<LENGTHS>,
    fixed_literals: Code<288>,
    fixed_distances: Code<DISTANCES>,
    /// The lengths of the first two codes as symbols and extra bits.
    runs: Vec<(u8, u8)>,
    run_frequencies: [u16; LENGTHS],
}

impl Codes {
    pub(super) fn new() -> Self {
        let mut fixed_literals = Code::EMPTY;
        for (symbol, length) in fixed_literals.lengths.iter_mut().enumerate() {
            *length = match symbol {
                144..256 => 9,
                256..280 => 7,
                _ => 8,
            };
        }
        fixed_literals.set_codes_of_lengths();
        // Of 32 codes of 5 bits, the last two have no meaning.
        let mut fixed_distances = Code::EMPTY;
        fixed_distances.lengths = [5; DISTANCES];
        fixed_distances.set_codes_of_lengths();
        Self {
            literals: Code::EMPTY,
            distances: Code::EMPTY,
            lengths: Code::EMPTY,
            fixed_literals,
            fixed_distances,
            runs: Vec::with_capacity(LITERALS + DISTANCES),
            run_frequencies: [0; LENGTHS],
        }
    }

    /// Writes the tokens as one block, or the `plain` bytes that they stand for where those take less. The tokens are gone then.
    pub(super) fn write(&mut self, tokens: &mut Tokens, plain: &[u8], bits: &mut Bits<'_>) {
        tokens.literals[END_OF_BLOCK] = 1;
        self.literals.set_from(&tokens.literals, 15);
        self.distances.set_from(&tokens.distances, 15);
        let head_bits = self.set_runs();
        let body_bits =
            self.literals.bits(&tokens.literals) + self.distances.bits(&tokens.distances);
        let fixed_bits = self.fixed_bits(tokens);
        // With the bits up to the next whole byte, a header of 4 bytes for each part, and the header of 3 bits.
        let stored_bits = 8 * (plain.len() + 4 * plain.len().div_ceil(STORED_BYTES_MAX)) + 10;
        let own_bits = head_bits + body_bits;
        if stored_bits < own_bits.min(fixed_bits) + tokens.extra_bits {
            store(plain, bits);
        } else if fixed_bits <= own_bits {
            bits.put(0b010, 3);
            write_tokens(
                &tokens.tokens,
                &self.fixed_literals,
                &self.fixed_distances,
                bits,
            );
        } else {
            self.write_head(bits);
            write_tokens(&tokens.tokens, &self.literals, &self.distances, bits);
        }
        tokens.clear();
    }

    /// Bits of the block with the fixed codes (RFC 1951 §3.2.6), without extra bits.
    fn fixed_bits(&self, tokens: &Tokens) -> usize {
        let literals = tokens.literals.iter().zip(&self.fixed_literals.lengths);
        let literals: usize = literals
            .map(|(count, length)| usize::from(*count) * usize::from(*length))
            .sum();
        let distances: usize = tokens
            .distances
            .iter()
            .map(|count| usize::from(*count))
            .sum();
        3 + literals + 5 * distances
    }

    /// Puts the lengths of both codes into symbols, and makes the code of these. Returns the bits that all of it takes.
    fn set_runs(&mut self) -> usize {
        let (literals, distances) = (self.literals.count(257), self.distances.count(1));
        self.runs.clear();
        self.run_frequencies = [0; LENGTHS];
        let mut lengths = [0; LITERALS + DISTANCES];
        lengths[..literals].copy_from_slice(&self.literals.lengths[..literals]);
        lengths[literals..literals + distances]
            .copy_from_slice(&self.distances.lengths[..distances]);
        let mut rest = &lengths[..literals + distances];
        while let [length, ..] = *rest {
            let run = rest.iter().take_while(|other| **other == length).count();
            rest = &rest[run..];
            self.push_run(length, run);
        }
        self.lengths.set_from(&self.run_frequencies, 7);
        let extra_bits = 2 * u32::from(self.run_frequencies[16])
            + 3 * u32::from(self.run_frequencies[17])
            + 7 * u32::from(self.run_frequencies[18]);
        let of_code = 3 * self.lengths_written();
        3 + 5 + 5 + 4 + of_code + self.lengths.bits(&self.run_frequencies) + extra_bits as usize
    }

    /// A length that comes `run` times (RFC 1951 §3.2.7: 16 repeats the one before, 17 and 18 repeat zeros).
    fn push_run(&mut self, length: u8, mut run: usize) {
        let mut push = |symbol: u8, extra: usize| {
            self.run_frequencies[usize::from(symbol)] += 1;
            self.runs.push((symbol, extra as u8));
        };
        if length == 0 {
            while run >= 11 {
                let part = run.min(138);
                push(18, part - 11);
                run -= part;
            }
            if run >= 3 {
                push(17, run - 3);
                run = 0;
            }
        } else if run >= 4 {
            push(length, 0);
            run -= 1;
            while run >= 3 {
                let part = run.min(6);
                push(16, part - 3);
                run -= part;
            }
        }
        (0..run).for_each(|_| push(length, 0));
    }

    /// How many lengths of the lengths' code are written: at least four, and none behind the last that is used.
    fn lengths_written(&self) -> usize {
        let last = LENGTHS_ORDER
            .iter()
            .rposition(|symbol| self.lengths.lengths[*symbol] > 0);
        last.map_or(4, |last| (last + 1).max(4))
    }

    fn write_head(&self, bits: &mut Bits<'_>) {
        let (literals, distances) = (self.literals.count(257), self.distances.count(1));
        let lengths = self.lengths_written();
        bits.put(0b100, 3);
        bits.put((literals - 257) as u64, 5);
        bits.put((distances - 1) as u64, 5);
        bits.put((lengths - 4) as u64, 4);
        for symbol in &LENGTHS_ORDER[..lengths] {
            bits.put(u64::from(self.lengths.lengths[*symbol]), 3);
        }
        for (symbol, extra) in &self.runs {
            let symbol = usize::from(*symbol);
            let (code, length) = (self.lengths.codes[symbol], self.lengths.lengths[symbol]);
            let extra_count = match symbol {
                16 => 2,
                17 => 3,
                18 => 7,
                _ => 0,
            };
            let both = u64::from(code) | u64::from(*extra) << length;
            bits.put(both, u32::from(length) + extra_count);
        }
    }
}

fn write_tokens<const N: usize>(
    tokens: &[u32],
    literals: &Code<N>,
    distances: &Code<DISTANCES>,
    bits: &mut Bits<'_>,
) {
    for token in tokens {
        if token & REFERENCE == 0 {
            let literal = (token & 0xFF) as usize;
            bits.put(
                u64::from(literals.codes[literal]),
                u32::from(literals.lengths[literal]),
            );
            continue;
        }
        let (length, distance) = (token >> 16 & 0xFF, token & 0x7FFF);
        let (class, extra) = LENGTH_CLASSES[length as usize];
        let class = (END_OF_BLOCK + 1 + usize::from(class)).min(LITERALS - 1);
        let (mut all, mut count) = (u64::from(literals.codes[class]), literals.lengths[class]);
        all |= u64::from(length & !(!0 << extra)) << count;
        count += extra;
        let (class, extra) = distance_class(distance);
        let class = class.min(DISTANCES - 1);
        all |= u64::from(distances.codes[class]) << count;
        count += distances.lengths[class];
        all |= u64::from(distance & !(!0 << extra)) << count;
        bits.put(all, u32::from(count) + extra);
    }
    let (code, length) = (literals.codes[END_OF_BLOCK], literals.lengths[END_OF_BLOCK]);
    bits.put(u64::from(code), u32::from(length));
}

/// Blocks without compression.
fn store(plain: &[u8], bits: &mut Bits<'_>) {
    for part in plain.chunks(STORED_BYTES_MAX) {
        bits.put(0, 3);
        bits.align();
        let len = part.len() as u64;
        bits.put(len | (!len & 0xFFFF) << 16, 32);
        bits.out[bits.end..bits.end + part.len()].copy_from_slice(part);
        bits.end += part.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_distances_are_in_the_classes_of_the_rfc() {
        // RFC 1951 §3.2.5, by the first and last of some classes.
        for (length, class) in [
            (3, 257),
            (10, 264),
            (11, 265),
            (12, 265),
            (13, 266),
            (114, 279),
            (115, 280),
            (227, 284),
            (257, 284),
            (258, 285),
        ] {
            assert_eq!(
                257 + usize::from(LENGTH_CLASSES[length - 3].0),
                class,
                "of {length}"
            );
        }
        for (distance, class) in [
            (1, 0),
            (4, 3),
            (5, 4),
            (6, 4),
            (7, 5),
            (24_576, 28),
            (24_577, 29),
            (32_768, 29),
        ] {
            assert_eq!(distance_class(distance - 1).0, class, "of {distance}");
        }
    }

    #[test]
    fn bytes_that_do_not_compress_are_stored_whatever_their_number() {
        let plain: Vec<u8> = (0..70_000u32)
            .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect();
        let mut tokens = Tokens::new(16);
        for byte in &plain[..16] {
            tokens.push_literal(*byte);
        }
        assert!(tokens.is_full());
        let mut out = vec![0; 70_100];
        let mut bits = Bits::new(&mut out, 0);
        // These tokens are too many, so as long as they seem, the plain bytes are not shorter.
        tokens.extra_bits = 8 * 80_000;
        Codes::new().write(&mut tokens, &plain, &mut bits);
        let end = bits.flush();
        assert_eq!(end, 5 + 65_535 + 5 + (70_000 - 65_535) + 1);
        assert_eq!(out[..5], [0, 0xFF, 0xFF, 0, 0]);
        assert_eq!(out[5..5 + 65_535], plain[..65_535]);
        assert!(tokens.tokens.is_empty() && tokens.literals == [0; LITERALS]);
    }
}

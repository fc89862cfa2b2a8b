//! Huffman codes of limited length (RFC 1951 §3.2.2).
#![expect(
    clippy::cast_possible_truncation,
    reason = "there are 288 symbols at most, and codes of 15 bits"
)]

/// A code of at most `N` symbols.
#[derive(Clone, Debug)]
pub(super) struct Code<const N: usize> {
    /// Bits of each symbol's code; 0: the symbol does not occur.
    pub(super) lengths: [u8; N],
    /// The codes, first bit lowest, as they are written.
    pub(super) codes: [u16; N],
}

/// Bits of the longest code that deflate has.
const LENGTH_MAX: usize = 15;

impl<const N: usize> Code<N> {
    pub(super) const EMPTY: Self = Self {
        lengths: [0; N],
        codes: [0; N],
    };

    /// The code that makes symbols of these frequencies shortest, with no code longer than `length_max` bits. Symbols with
    /// frequency 0 have none; but there are always two codes, because some inflaters refuse fewer.
    pub(super) fn set_from(&mut self, frequencies: &[u16; N], length_max: usize) {
        // The frequency above, the symbol below: so they sort as one number.
        let mut used = [0u32; N];
        let mut count = 0;
        for (symbol, frequency) in (0u32..).zip(frequencies) {
            used[count] = u32::from(*frequency) << 16 | symbol;
            count += usize::from(*frequency > 0);
        }
        for (symbol, frequency) in (0u32..).zip(&frequencies[..2]) {
            if count < 2 && *frequency == 0 {
                used[count] = 1 << 16 | symbol;
                count += 1;
            }
        }
        let used = &mut used[..count];
        used.sort_unstable();
        let mut depths = [0u32; N];
        for (depth, packed) in depths.iter_mut().zip(used.iter()) {
            *depth = packed >> 16;
        }
        minimum_redundancy(&mut depths[..count]);
        let mut per_length = [0u32; LENGTH_MAX + 1];
        for depth in &depths[..count] {
            per_length[(*depth as usize).min(length_max)] += 1;
        }
        limit(&mut per_length, length_max);
        self.lengths = [0; N];
        // The rarest symbols get the longest codes.
        let mut rarest = used.iter();
        for length in (1..=length_max).rev() {
            for packed in rarest.by_ref().take(per_length[length] as usize) {
                self.lengths[(packed & 0xFFFF) as usize] = u8::try_from(length).unwrap_or(0);
            }
        }
        self.set_codes(&per_length);
    }

    /// The canonical code of lengths that are set already.
    pub(super) fn set_codes_of_lengths(&mut self) {
        let mut per_length = [0u32; LENGTH_MAX + 1];
        for length in &self.lengths {
            per_length[usize::from(*length)] += u32::from(*length > 0);
        }
        self.set_codes(&per_length);
    }

    fn set_codes(&mut self, per_length: &[u32; LENGTH_MAX + 1]) {
        let mut next = [0u16; LENGTH_MAX + 1];
        let mut code = 0;
        for length in 1..=LENGTH_MAX {
            next[length] = code as u16;
            code = (code + per_length[length]) << 1;
        }
        for (code, length) in self.codes.iter_mut().zip(&self.lengths) {
            let length = usize::from(*length) & LENGTH_MAX;
            if length > 0 {
                *code = next[length].reverse_bits() >> (16 - length);
                next[length] = next[length].wrapping_add(1);
            }
        }
    }

    /// Bits that symbols of these frequencies take.
    pub(super) fn bits(&self, frequencies: &[u16; N]) -> usize {
        let bits =
            |(frequency, length): (&u16, &u8)| usize::from(*frequency) * usize::from(*length);
        frequencies.iter().zip(&self.lengths).map(bits).sum()
    }

    /// Symbols up to the last one that occurs, and no fewer than `min`.
    pub(super) fn count(&self, min: usize) -> usize {
        let last = self.lengths.iter().rposition(|length| *length > 0);
        last.map_or(min, |last| (last + 1).max(min))
    }
}

/// Makes lengths of Huffman codes out of ascending frequencies, in place: the longest comes first (Moffat and Katajainen, "In-place
/// calculation of minimum-redundancy codes", 1995). There are at least two.
fn minimum_redundancy(values: &mut [u32]) {
    let count = values.len();
    // Each inner node takes the place of a frequency that is no longer needed. `root` is the first node without parent.
    let (mut root, mut leaf) = (0, 0);
    for next in 0..count - 1 {
        let mut sum = 0;
        for _ in 0..2 {
            let is_node = leaf >= count || (root < next && values[root] < values[leaf]);
            if is_node {
                sum += values[root];
                values[root] = next as u32;
                root += 1;
            } else {
                sum += values[leaf];
                leaf += 1;
            }
        }
        values[next] = sum;
    }
    // From parents to depths of the inner nodes.
    values[count - 2] = 0;
    for next in (0..count - 2).rev() {
        values[next] = values[values[next] as usize] + 1;
    }
    // From depths of the inner nodes to those of the leaves.
    let (mut nodes_left, mut next) = (count - 1, count);
    let (mut open, mut depth) = (1, 0);
    while open > 0 {
        let mut inner = 0;
        while nodes_left > 0 && values[nodes_left - 1] == depth {
            nodes_left -= 1;
            inner += 1;
        }
        for _ in inner..open {
            next -= 1;
            values[next] = depth;
        }
        open = 2 * inner;
        depth += 1;
    }
}

/// Lengthens codes until those that were cut to `length_max` bits have room. All of them together then use every bit
/// pattern exactly once.
fn limit(per_length: &mut [u32; LENGTH_MAX + 1], length_max: usize) {
    let patterns = |per_length: &[u32; LENGTH_MAX + 1]| -> u32 {
        (1..=length_max)
            .map(|length| per_length[length] << (length_max - length))
            .sum()
    };
    let mut excess = patterns(per_length).saturating_sub(1 << length_max);
    while excess > 0 {
        // A longest code goes; another code becomes one bit longer, and makes room beside itself.
        per_length[length_max] -= 1;
        let shorter = (1..length_max).rev().find(|length| per_length[*length] > 0);
        let Some(shorter) = shorter else {
            unreachable!("there are fewer symbols than bit patterns of {length_max} bits")
        };
        per_length[shorter] -= 1;
        per_length[shorter + 1] += 2;
        excess -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every bit pattern is the beginning of exactly one code, and no code is too long.
    fn assert_complete<const N: usize>(code: &Code<N>, length_max: usize) {
        let lengths = code.lengths.iter().filter(|length| **length > 0);
        let patterns: u64 = lengths
            .map(|length| {
                assert!(usize::from(*length) <= length_max);
                1u64 << (LENGTH_MAX - usize::from(*length))
            })
            .sum();
        assert_eq!(patterns, 1 << LENGTH_MAX);
    }

    #[test]
    fn frequent_symbols_have_the_shorter_codes_and_the_code_is_complete() {
        let mut code = Code::<8>::EMPTY;
        code.set_from(&[1, 1, 2, 4, 8, 16, 32, 64], 15);
        assert_eq!(code.lengths, [7, 7, 6, 5, 4, 3, 2, 1]);
        code.set_from(&[5, 0, 5, 5, 0, 5, 0, 0], 15);
        assert_eq!(code.lengths, [2, 0, 2, 2, 0, 2, 0, 0]);
        assert_eq!(code.codes[0], 0b00);
        assert_eq!(code.codes[2], 0b10, "01, first bit lowest");
        assert_complete(&code, 15);
    }

    #[test]
    fn there_are_two_codes_at_least() {
        for used in [None, Some(0), Some(1), Some(7)] {
            let mut frequencies = [0; 30];
            if let Some(used) = used {
                frequencies[used] = 3;
            }
            let mut code = Code::<30>::EMPTY;
            code.set_from(&frequencies, 15);
            assert_complete(&code, 1);
            assert!(used.is_none_or(|used| code.lengths[used] == 1));
        }
    }

    #[test]
    fn no_code_is_longer_than_the_limit_however_skewed_the_frequencies_are() {
        // Fibonacci numbers make the deepest tree.
        let mut frequencies = [0u16; 286];
        let (mut one, mut other) = (1u16, 1u16);
        for frequency in frequencies.iter_mut().take(23) {
            *frequency = one;
            (one, other) = (other, one.saturating_add(other));
        }
        for length_max in [7, 9, 15] {
            let mut code = Code::<286>::EMPTY;
            code.set_from(&frequencies, length_max);
            assert_complete(&code, length_max);
        }
        let mut code = Code::<286>::EMPTY;
        code.set_from(&[1; 286], 9);
        assert_complete(&code, 9);
    }
}

//! Masking keys and handshake nonces of connections in the client's role.

/// A sequence of 64-bit numbers without visible order (SplitMix64: Steele, Lea, Flood, OOPSLA 2014). Not for secrets: as
/// unpredictable as its seed, and no more.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    state: u64,
}

impl Keys {
    pub(super) const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    const fn next(&mut self) -> [u8; 8] {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)).to_le_bytes()
    }

    /// A key for one frame (RFC 6455 §5.3).
    pub(super) const fn masking_key(&mut self) -> [u8; 4] {
        let [a, b, c, d, ..] = self.next();
        [a, b, c, d]
    }

    /// A nonce for one opening handshake (RFC 6455 §4.1).
    pub(super) fn nonce(&mut self) -> [u8; 16] {
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&self.next());
        nonce[8..].copy_from_slice(&self.next());
        nonce
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_of_seed_zero_is_splitmix64() {
        // The first outputs of the reference implementation for seed 0.
        let mut keys = Keys::new(0);
        assert_eq!(u64::from_le_bytes(keys.next()), 0xE220_A839_7B1D_CDAF);
        assert_eq!(u64::from_le_bytes(keys.next()), 0x6E78_9E6A_A1B9_65F4);
    }
}

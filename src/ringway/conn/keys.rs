//! Masking keys and handshake nonces of connections in the client's role.

use crate::random::Random;

/// One sequence per worker.
#[derive(Clone, Debug)]
pub(super) struct Keys(Random);

impl Keys {
    pub(super) const fn new(seed: u64) -> Self {
        Self(Random::new(seed))
    }

    /// A key for one frame (RFC 6455 §5.3).
    pub(super) const fn masking_key(&mut self) -> [u8; 4] {
        let [a, b, c, d, ..] = self.0.bits().to_le_bytes();
        [a, b, c, d]
    }

    /// A nonce for one opening handshake (RFC 6455 §4.1).
    pub(super) fn nonce(&mut self) -> [u8; 16] {
        let mut nonce = [0; 16];
        self.0.fill(&mut nonce);
        nonce
    }
}

//! Masking keys and handshake nonces of connections in the client's role.
//!
//! RFC 6455 §10.3: a masking key must be unpredictable for the author of the payload. Otherwise the author can choose a
//! payload that looks like HTTP to a proxy. Keys and nonces come from separate streams: a server sees every nonce, and
//! must not learn a later key from it.

use crate::io::sys;
use crate::random::Random;

/// Bytes drawn from the system at once: 1,024 keys for one system call.
const BLOCK_BYTES: usize = 4096;

/// Source of masking keys and nonces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Masking {
    /// From the system's randomness (getrandom(2)), in blocks.
    #[default]
    System,
    /// From a seed: the same keys in every run. Only for payloads that you wrote yourself, as in tests and
    /// measurements.
    Seeded(u64),
}

/// The two streams of one worker.
#[derive(Debug)]
pub(crate) struct Keys {
    keys: Stream,
    nonces: Stream,
}

#[derive(Debug)]
enum Stream {
    Seeded(Random),
    System(Block),
}

/// Random bytes, and how many of them are used. Empty until the first are needed: a server needs none.
#[derive(Debug, Default)]
struct Block {
    bytes: Vec<u8>,
    used: usize,
}

impl Keys {
    pub(crate) fn new(masking: Masking) -> Self {
        let stream = |number: u64| match masking {
            Masking::System => Stream::System(Block::default()),
            // Any two different seeds of this generator begin unrelated sequences.
            Masking::Seeded(seed) => Stream::Seeded(Random::new(seed ^ number << 63)),
        };
        Self {
            keys: stream(0),
            nonces: stream(1),
        }
    }

    /// A key for one frame (RFC 6455 §5.3).
    pub(crate) fn masking_key(&mut self) -> [u8; 4] {
        self.keys.take()
    }

    /// A nonce for one opening handshake (RFC 6455 §4.1).
    pub(crate) fn nonce(&mut self) -> [u8; 16] {
        self.nonces.take()
    }
}

impl Stream {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut taken = [0; N];
        match self {
            Self::Seeded(random) => random.fill(&mut taken),
            Self::System(block) => taken.copy_from_slice(block.take(N)),
        }
        taken
    }
}

impl Block {
    fn take(&mut self, len: usize) -> &[u8] {
        if self.bytes.len() - self.used < len {
            self.bytes.resize(BLOCK_BYTES, 0);
            sys::fill_random(&mut self.bytes);
            self.used = 0;
        }
        let at = self.used;
        self.used += len;
        &self.bytes[at..self.used]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_keys_differ_from_worker_to_worker_and_from_frame_to_frame() {
        let (mut one, mut other) = (Keys::new(Masking::System), Keys::new(Masking::System));
        let mut seen = std::collections::BTreeSet::new();
        // More than two blocks of each worker. Four equal bytes in 5,000 keys: about 0.003 by chance, so pairs are compared.
        for _ in 0..2_500 {
            let keys = [
                one.masking_key(),
                one.masking_key(),
                other.masking_key(),
                other.masking_key(),
            ];
            seen.insert(keys);
        }
        assert_eq!(seen.len(), 2_500);
    }

    #[test]
    fn a_seed_decides_keys_and_nonces_and_neither_stream_moves_the_other() {
        let mut alone = Keys::new(Masking::Seeded(7));
        let mut mixed = Keys::new(Masking::Seeded(7));
        let keys: Vec<_> = (0..10).map(|_| alone.masking_key()).collect();
        let with_nonces: Vec<_> = (0..10)
            .map(|_| {
                mixed.nonce();
                mixed.masking_key()
            })
            .collect();
        assert_eq!(keys, with_nonces);
        // The first outputs of SplitMix64 for seed 0: 0xE220A8397B1DCDAF and 0x6E789E6AA1B965F4.
        let mut zero = Keys::new(Masking::Seeded(0));
        assert_eq!(zero.masking_key(), [0xAF, 0xCD, 0x1D, 0x7B]);
        assert_eq!(zero.masking_key(), [0xF4, 0x65, 0xB9, 0xA1]);
        assert_ne!(zero.nonce()[..4], [0xAF, 0xCD, 0x1D, 0x7B]);
    }
}

//! Random bytes for masking keys, handshake keys and jitter.

use std::cell::RefCell;

/// Bytes that one system call fetches: 64 masking keys.
const POOL_BYTES: usize = 256;

struct Pool {
    bytes: [u8; POOL_BYTES],
    used: usize,
}

thread_local! {
    static POOL: RefCell<Pool> = const {
        RefCell::new(Pool { bytes: [0; POOL_BYTES], used: POOL_BYTES })
    };
}

/// Bytes that nobody can guess (RFC 6455 §5.3: "derived from a strong source of entropy").
///
/// # Panics
/// When the system has no random numbers: a client that went on could be made to write what an attacker chose.
pub(crate) fn bytes<const N: usize>() -> [u8; N] {
    POOL.with_borrow_mut(|pool| {
        if POOL_BYTES - pool.used < N {
            getrandom::fill(&mut pool.bytes).expect("the system has random numbers");
            pool.used = 0;
        }
        let mut out = [0; N];
        out.copy_from_slice(&pool.bytes[pool.used..pool.used + N]);
        pool.used += N;
        out
    })
}

/// A number in `0.0..1.0`.
pub(crate) fn fraction() -> f64 {
    f64::from(u32::from_le_bytes(bytes())) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_bytes_come_twice_and_none_stay_zero() {
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..200 {
            assert!(seen.insert(super::bytes::<16>()));
        }
        let some = |at: usize| seen.iter().any(|bytes| bytes[at] != 0);
        assert!((0..16).all(some));
        assert!((0..1000).all(|_| (0.0..1.0).contains(&super::fraction())));
    }
}

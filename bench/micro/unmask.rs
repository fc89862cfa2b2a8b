//! Unmasking as shipped against the same loop in what every machine of this architecture has: `cargo bench --bench unmask`.
//!
//! Pairs in turn, so that a noisy machine disturbs both alike: quartiles of the time of each and of their ratio. Below the
//! length from which `mask::apply` asks for wider code, both are the same.

use std::hint::black_box;
use std::time::Instant;

use ringway::proto::mask::{self, Key};

const KEY: [u8; 4] = [0x11, 0x22, 0x33, 0x44];
const PAIRS: usize = 41;

/// Octets unmasked in one measurement.
const OCTETS: usize = 1 << 23;

/// Where a payload begins behind its header.
const OFFSET: usize = 14;

/// What `mask::apply` was before it dispatched.
#[inline(never)]
fn baseline(data: &mut [u8], wide: u64) -> bool {
    let mut seen = 0;
    for word in data.as_chunks_mut::<8>().0 {
        let plain = u64::from_le_bytes(*word) ^ wide;
        seen |= plain;
        *word = plain.to_le_bytes();
    }
    seen & 0x8080_8080_8080_8080 == 0
}

fn ns_each(calls: usize, mut call: impl FnMut()) -> f64 {
    let began = Instant::now();
    (0..calls).for_each(|_| call());
    began.elapsed().as_secs_f64() * 1e9 / calls as f64
}

/// First quartile, median, third quartile.
fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values[(values.len() - 1) * quarter / 4])
}

fn main() {
    let wide = u64::from_le_bytes([KEY, KEY].concat().try_into().expect("eight octets"));
    println!("octets | ns, baseline (quartiles) | ns, as shipped | ratio");
    for len in [
        64,
        128,
        256,
        512,
        1024,
        4096,
        16 << 10,
        64 << 10,
        256 << 10,
        1 << 20,
    ] {
        let mut buf = vec![b'a'; len + OFFSET];
        let calls = (OCTETS / len).max(4);
        let (mut before, mut now) = (Vec::new(), Vec::new());
        for pair in 0..PAIRS {
            for which in [pair % 2, 1 - pair % 2] {
                let payload = &mut buf[OFFSET..];
                if which == 0 {
                    before.push(ns_each(calls, || {
                        black_box(baseline(black_box(payload), black_box(wide)));
                    }));
                } else {
                    now.push(ns_each(calls, || {
                        black_box(mask::apply(black_box(payload), black_box(Key::new(KEY))));
                    }));
                }
            }
        }
        let ratios = before
            .iter()
            .zip(&now)
            .map(|(old, new)| new / old)
            .collect();
        println!(
            "{len:>8} | {:.1?} | {:.1?} | {:.3?}",
            quartiles(before),
            quartiles(now),
            quartiles(ratios)
        );
    }
}

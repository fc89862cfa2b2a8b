//! Unmasking as shipped, compared with the same loop compiled for any CPU of this architecture: `cargo bench --bench
//! unmask`.
//!
//! Both run in turn, so that a noisy machine disturbs them alike. Printed are quartiles of the time of each and of their
//! ratio. Below the length from which `mask::apply` uses wider vectors, both are the same code.

use std::hint::black_box;
use std::time::Instant;

use ringway::proto::mask::{self, Key};

const KEY: [u8; 4] = [0x11, 0x22, 0x33, 0x44];
const PAIRS: usize = 41;

/// Bytes unmasked in one measurement.
const BYTES: usize = 1 << 23;

/// Offset of a payload in its frame: the longest header.
const OFFSET: usize = 14;

/// Payloads in a row, as in a receive buffer. With a single one, the loads of each call would wait for the stores of the
/// call before.
const IN_A_ROW: usize = 16;

/// `mask::apply` without the choice of vectors: the same head and tail, and a loop compiled for any CPU.
#[inline(never)]
fn baseline(data: &mut [u8], key: u32) -> bool {
    let key = u64::from(key) | u64::from(key) << 32;
    let turned = key.rotate_right(u32::try_from(data.len() % 4 * 8).expect("below 32"));
    let last = data
        .last_chunk::<8>()
        .map_or(0, |last| u64::from_le_bytes(*last))
        ^ turned;
    let mut seen = last;
    for word in data.as_chunks_mut::<8>().0 {
        let plain = u64::from_le_bytes(*word) ^ key;
        seen |= plain;
        *word = plain.to_le_bytes();
    }
    if let Some(end) = data.last_chunk_mut() {
        *end = last.to_le_bytes();
    }
    seen & 0x8080_8080_8080_8080 == 0
}

/// Nanoseconds of a call, over all payloads in turn.
fn ns_each(rounds: usize, buf: &mut [u8], len: usize, mut call: impl FnMut(&mut [u8])) -> f64 {
    let began = Instant::now();
    for _ in 0..rounds {
        for frame in buf.chunks_exact_mut(len + OFFSET) {
            call(&mut frame[OFFSET..]);
        }
    }
    began.elapsed().as_secs_f64() * 1e9 / (rounds * IN_A_ROW) as f64
}

/// First quartile, median, third quartile.
fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values[(values.len() - 1) * quarter / 4])
}

fn main() {
    let word = u32::from_le_bytes(KEY);
    println!("bytes | ns, baseline (quartiles) | ns, as shipped | ratio");
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
        let mut buf = vec![b'a'; (len + OFFSET) * IN_A_ROW];
        let rounds = (BYTES / len / IN_A_ROW).max(1);
        let (mut before, mut now) = (Vec::new(), Vec::new());
        for pair in 0..PAIRS {
            for which in [pair % 2, 1 - pair % 2] {
                let payloads = &mut buf;
                if which == 0 {
                    before.push(ns_each(rounds, payloads, len, |payload| {
                        black_box(baseline(black_box(payload), black_box(word)));
                    }));
                } else {
                    now.push(ns_each(rounds, payloads, len, |payload| {
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

//! Messages there and back, in any pieces, and what a hostile peer sends. The chunks of others are from python-snappy.

use super::*;
use crate::progress::{Hooks, Progress, inflated_in_steps};
use crate::violation::Violation;

const IDENTIFIER: &[u8] = b"\xff\x06\x00\x00sNaPpY";

/// `"Hello, "` ten times, behind the identifier.
const HELLO: &[u8] =
    b"\x00\x10\x00\x00\x81\x55\xb3\x89\x46\x18\x48\x65\x6c\x6c\x6f\x2c\x20\xfa\x07\x00";

/// A chunk that is not compressed.
const SHORT: &[u8] = b"\x01\x09\x00\x00\x5e\xac\x79\x4fshort";

fn text(len: usize) -> Vec<u8> {
    let words = (0..len as u64).map(|n| b"abcdefgh"[(n * n / 7 % 8) as usize]);
    words.collect()
}

fn compressed(begins: bool, message: &[u8]) -> Vec<u8> {
    let mut out = vec![0; compressed_bytes_max(message.len())];
    let room = out.len();
    let end = Compressor::default().compress(begins, message, &mut out, 0);
    assert_eq!(out.len(), room, "there was room");
    out.truncate(end);
    out
}

/// Inflates about `step` bytes at a time. Returns the message and the number of steps.
fn inflate(
    chunks: &[u8],
    goes_on: bool,
    bytes_max: u64,
    step: usize,
) -> Result<(Vec<u8>, u32), Violation> {
    let mut inflater = Inflater::new(goes_on);
    let step_max = step.saturating_add((64 << 10) - 1);
    let (message, _, steps) = inflated_in_steps(bytes_max, step_max, |progress, out, hooks| {
        inflater.go_on(progress, chunks, out, step, hooks)
    })?;
    Ok((message, steps))
}

fn whole(chunks: &[u8], goes_on: bool) -> Result<Vec<u8>, Violation> {
    inflate(chunks, goes_on, 1 << 20, usize::MAX).map(|(message, _)| message)
}

#[test]
fn chunks_of_others_are_read() {
    let both = [IDENTIFIER, HELLO, SHORT].concat();
    let expected = [&b"Hello, ".repeat(10)[..], b"short"].concat();
    assert_eq!(whole(&both, false), Ok(expected));
    assert_eq!(whole(SHORT, true), Ok(b"short".to_vec()));
    // The framing format allows the identifier again, and has chunks to skip.
    let more = [IDENTIFIER, b"\xfe\x02\x00\x00ab\x80\x00\x00\x00", SHORT].concat();
    assert_eq!(whole(&more, true), Ok(b"short".to_vec()));
    // What python-snappy makes of nothing.
    assert_eq!(whole(b"", false), Ok(vec![]));
}

#[test]
fn a_message_comes_back_in_any_steps() {
    for len in [0, 1, 255, 65_535, 65_536, 65_537, 300_000] {
        let message = text(len);
        for begins in [true, false] {
            let chunks = compressed(begins, &message);
            assert_eq!(chunks.starts_with(IDENTIFIER), begins);
            for step in [1, 100, 65_536, 100_000, usize::MAX] {
                let (read, _) = inflate(&chunks, !begins, 1 << 20, step).expect("good chunks");
                assert!(read == message, "{len} in steps of {step}");
            }
        }
    }
    let noise: Vec<u8> = (0..200_000_u32)
        .map(|n| n.wrapping_mul(n).wrapping_mul(0x9e37_79b9).to_le_bytes()[2])
        .collect();
    assert_eq!(whole(&compressed(true, &noise), false), Ok(noise));
}

#[test]
fn what_is_no_row_of_chunks_is_invalid() {
    let good = compressed(true, &text(3000));
    for cut in 1..good.len() {
        let is_whole = cut == IDENTIFIER.len();
        assert_eq!(whole(&good[..cut], false).is_ok(), is_whole, "{cut}");
    }
    for changed in 0..good.len() {
        let mut bad = good.clone();
        bad[changed] ^= 0x10;
        assert_eq!(
            whole(&bad, false),
            Err(Violation::SnappyInvalid),
            "{changed}"
        );
    }
    let too_long = [b"\x01\x05\x00\x01\0\0\0\0", &vec![0; 65_537][..]].concat();
    for bad in [
        &b"\x01\x03\x00\x00abc"[..],
        b"\x02\x00\x00\x00",
        b"\xff\x05\x00\x00sNaPp",
        b"\xff\x06\x00\x00SnApPy",
        // A block that says it has 4 GiB.
        b"\x00\x09\x00\x00\0\0\0\0\xff\xff\xff\xff\x0f",
        &too_long,
        &[good.clone(), b"x".to_vec()].concat(),
        &[0xff; 300],
    ] {
        assert_eq!(whole(bad, true), Err(Violation::SnappyInvalid));
    }
    // A stream that never began.
    for chunks in [SHORT, b"\xfe\x00\x00\x00"] {
        assert_eq!(whole(chunks, false), Err(Violation::SnappyInvalid));
    }
}

#[test]
fn the_limit_counts_inflated_bytes_exactly() {
    let chunks = compressed(true, &text(70_000));
    for step in [1, 7, 70_000, usize::MAX] {
        assert!(inflate(&chunks, false, 70_000, step).is_ok());
        let read = inflate(&chunks, false, 69_999, step).map(drop);
        assert_eq!(read, Err(Violation::MessageTooBig(70_000)));
    }
    // The first chunk is not inflated, and nothing grows.
    let mut out = vec![0; 1];
    let result = Inflater::new(false).go_on(
        &mut Progress::new(0, 1000),
        &chunks,
        &mut out,
        usize::MAX,
        Hooks {
            grow: &mut |_, _| panic!("there is nothing to put there"),
            check: &mut |_| Ok(()),
        },
    );
    assert_eq!(result, Err(Violation::MessageTooBig(65_536)));
}

#[test]
fn chunks_without_payload_cost_steps() {
    let padding = b"\xfe\x00\x00\x00".repeat(10_000);
    let (message, steps) =
        inflate(&[IDENTIFIER, &padding].concat(), false, 1000, 64 << 10).expect("it is in order");
    assert!(message.is_empty());
    assert!(steps >= 9, "{steps}");
}

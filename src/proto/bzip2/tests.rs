//! Messages there and back, in any pieces, and what a hostile peer sends. The streams of others are from Python's `bz2`.

use super::*;
use crate::progress::{Hooks, Progress, inflated_in_steps};
use crate::violation::Violation;

/// `"Hello, "` ten times, level 1.
const HELLO: &[u8] = b"BZh11AY&SY\xe5\xf8\x9b\x71\x00\x00\x0e\x95\x00\x40\x04\x00\x40\x02\x04\xa0\x00\x20\xa5\x43\x20\xc0\x38\x9a\x9d\x4f\x26\x26\x93\xe2\xee\x48\xa7\x0a\x12\x1c\xbf\x13\x6e\x20";

const EMPTY: &[u8] = b"BZh9\x17\x72\x45\x38\x50\x90\x00\x00\x00\x00";

fn text(len: usize) -> Vec<u8> {
    let words = (0..len as u64).map(|n| b"abcdefgh"[(n * n / 7 % 8) as usize]);
    words.collect()
}

fn compressed(level: u8, message: &[u8]) -> Vec<u8> {
    let mut out = vec![0; compressed_bytes_max(message.len())];
    let room = out.len();
    let end = compress(level, message, &mut out, 0);
    assert_eq!(out.len(), room, "there was room");
    out.truncate(end);
    out
}

/// Inflates `step` bytes at a time. Returns the message and how much memory it had.
fn inflate(
    stream: &[u8],
    level_max: u8,
    bytes_max: u64,
    step: usize,
) -> Result<(Vec<u8>, usize), Violation> {
    let mut inflater = Inflater::new(level_max);
    let (message, room, _) = inflated_in_steps(bytes_max, step, |progress, out, hooks| {
        inflater.go_on(progress, stream, out, step, hooks)
    })?;
    Ok((message, room))
}

fn whole(stream: &[u8]) -> Result<Vec<u8>, Violation> {
    inflate(stream, 9, 1 << 20, usize::MAX).map(|(message, _)| message)
}

#[test]
fn streams_of_others_are_read() {
    assert_eq!(whole(HELLO), Ok(b"Hello, ".repeat(10)));
    assert_eq!(whole(EMPTY), Ok(vec![]));
}

#[test]
fn a_message_comes_back_in_any_steps() {
    let message = text(3000);
    let stream = compressed(9, &message);
    assert_eq!(stream[3], b'1', "no larger block than it needs");
    for step in (1..200).chain([1000, 2999, 3000, 3001, usize::MAX]) {
        let (read, _) = inflate(&stream, 1, 1 << 20, step).expect("a good stream");
        assert!(read == message, "in steps of {step}");
    }
    for len in [1, 255, 99_999, 100_000, 450_000, 950_000] {
        let message = text(len);
        for level in [1, 5, 9] {
            let stream = compressed(level, &message);
            assert!(stream[3] - b'0' <= level);
            assert_eq!(whole(&stream).as_ref(), Ok(&message), "{len} at {level}");
        }
    }
    // What cannot be compressed has room, too.
    let noise: Vec<u8> = (0..200_000_u32)
        .map(|n| n.wrapping_mul(0x9e37_79b9).to_le_bytes()[2] ^ n.to_le_bytes()[1])
        .collect();
    assert_eq!(whole(&compressed(9, &noise)), Ok(noise));
}

#[test]
fn what_is_no_whole_stream_is_invalid() {
    let stream = compressed(9, &text(3000));
    for cut in 0..stream.len() {
        assert_eq!(whole(&stream[..cut]), Err(Violation::Bzip2Invalid), "{cut}");
    }
    for changed in 0..stream.len() {
        let mut bad = stream.clone();
        bad[changed] ^= 0x10;
        // A larger level is no fault of the stream.
        if changed != 3 {
            assert_ne!(whole(&bad), Ok(text(3000)), "{changed}");
        }
    }
    for more in [&b"x"[..], &stream, EMPTY] {
        let bad = [&stream, more].concat();
        assert_eq!(whole(&bad), Err(Violation::Bzip2Invalid));
    }
    for bad in [&b""[..], b"BZ", b"BZh0", b"BZhA", b"hello", &[0xff; 300]] {
        assert_eq!(whole(bad), Err(Violation::Bzip2Invalid));
    }
}

#[test]
fn a_level_above_the_agreed_one_is_invalid() {
    assert_eq!(
        inflate(EMPTY, 8, 100, 100).err(),
        Some(Violation::Bzip2Invalid)
    );
    assert!(inflate(HELLO, 1, 100, 100).is_ok());
}

#[test]
fn the_limit_counts_inflated_bytes_exactly() {
    let message = text(5000);
    let stream = compressed(1, &message);
    for step in [1, 7, 5000, usize::MAX] {
        assert!(inflate(&stream, 9, 5000, step).is_ok());
        let too_big = Err(Violation::MessageTooBig(5000));
        let read = inflate(&stream, 9, 4999, step).map(drop);
        assert_eq!(read, too_big);
    }
    // 64 MiB in less than 1 KiB.
    let bomb = compressed(9, &vec![0; 64 << 20]);
    assert!(bomb.len() < 1 << 10, "{}", bomb.len());
    let mut inflater = Inflater::new(9);
    let mut progress = Progress::new(0, 1 << 20);
    let mut out = vec![0; 1];
    let result = inflater.go_on(
        &mut progress,
        &bomb,
        &mut out,
        usize::MAX,
        Hooks {
            grow: &mut |out, filled| out.resize(2 * filled, 0),
            check: &mut |_| Ok(()),
        },
    );
    assert_eq!(result, Err(Violation::MessageTooBig((1 << 20) + 1)));
    assert!(out.len() <= 2 << 20);
}

//! Compressor and inflater of one message.

use std::fmt;

use ::bzip2::{Action, Compress, Compression, Decompress, Status};

use crate::progress::{Hooks, Progress, STEP_BYTES};
use crate::violation::Violation;

/// Bytes of one block, times the level.
const BLOCK_BYTES: usize = 100_000;

/// Compresses one message into `out[at..]` and returns where it ends there. `out` is lengthened if need be; with
/// [`compressed_bytes_max`] of room it never is.
///
/// The level is as small as one block needs for the message: memory of both sides goes by it, and the result does not.
///
/// # Panics
/// When `level_max` is not from 1 to 9.
pub fn compress(level_max: u8, message: &[u8], out: &mut Vec<u8>, at: usize) -> usize {
    assert!((1..=super::LEVEL_MAX).contains(&level_max));
    let blocks = u32::try_from(message.len() / BLOCK_BYTES + 1).unwrap_or(u32::MAX);
    let level = blocks.min(u32::from(level_max));
    let mut stream = Compress::new(Compression::new(level), 0);
    let room_end = at + compressed_bytes_max(message.len());
    if out.len() < room_end {
        out.resize(room_end, 0);
    }
    let place = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
    loop {
        let (taken, end) = (place(stream.total_in()), at + place(stream.total_out()));
        if end == out.len() {
            out.resize(end + STEP_BYTES, 0); // libbzip2 says that this does not happen
        }
        let status = stream.compress(&message[taken..], &mut out[end..], Action::Finish);
        match status {
            Ok(Status::StreamEnd) => return at + place(stream.total_out()),
            Ok(_) => {}
            Err(error) => unreachable!("a new stream takes a message: {error}"),
        }
    }
}

/// Bytes that a message of `len` has at most when it is compressed: what libbzip2's manual says (§3.5.1), and some more.
pub const fn compressed_bytes_max(len: usize) -> usize {
    len + len / 64 + 640
}

/// The inflater of one message. It takes up to 0.4 MB times the level of the stream, from the first byte on.
pub struct Inflater {
    level_max: u8,
    stream: Option<Decompress>,
}

impl fmt::Debug for Inflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflater")
            .field("level_max", &self.level_max)
            .finish_non_exhaustive()
    }
}

impl Inflater {
    /// An inflater for the next message, whose peer may use levels up to this one.
    pub const fn new(level_max: u8) -> Self {
        Self {
            level_max,
            stream: None,
        }
    }

    /// Inflates, and stops behind `bytes_max` more bytes. Returns whether the message is whole. Each call gets the same
    /// message.
    ///
    /// # Errors
    /// [`Violation::Bzip2Invalid`], [`Violation::MessageTooBig`] as soon as there is one byte more than `progress` allows,
    /// and what the check returns.
    pub fn go_on(
        &mut self,
        progress: &mut Progress,
        compressed: &[u8],
        out: &mut Vec<u8>,
        bytes_max: usize,
        hooks: Hooks<'_>,
    ) -> Result<bool, Violation> {
        let until = progress.end.saturating_add(bytes_max);
        // Blocks of one byte cost time as well, and have 22 bytes each. A header has four, which come first.
        let input_end = progress
            .taken
            .saturating_add(bytes_max.max(64))
            .min(compressed.len());
        loop {
            if progress.end >= until {
                return Ok(false);
            }
            if progress.end == out.len() {
                (hooks.grow)(out, progress.end);
            }
            let room_end = [progress.limit, progress.end + STEP_BYTES, until]
                .iter()
                .fold(out.len(), |room_end, place| room_end.min(*place));
            let room = &mut out[progress.end..room_end];
            let status = self.step(&compressed[progress.taken..input_end], room)?;
            let stream = self.stream.as_ref();
            let total = |count: fn(&Decompress) -> u64| {
                usize::try_from(stream.map_or(0, count)).unwrap_or(usize::MAX)
            };
            let before = progress.end;
            progress.taken = total(Decompress::total_in);
            progress.end = progress.at + total(Decompress::total_out);
            if progress.end == progress.limit {
                let bytes_max = progress.limit - progress.at;
                return Err(Violation::MessageTooBig(bytes_max as u64));
            }
            (hooks.check)(&out[before..progress.end])?;
            let is_read = progress.taken == compressed.len();
            match status {
                // A second stream, or anything else behind the first, is none of this message.
                Status::StreamEnd if is_read => return Ok(true),
                Status::StreamEnd => return Err(Violation::Bzip2Invalid),
                _ if progress.taken == input_end && !is_read => return Ok(false),
                // There was room, so the inflater waits for more.
                _ if is_read && progress.end < room_end => return Err(Violation::Bzip2Invalid),
                _ => {}
            }
        }
    }

    /// One call of libbz2.
    fn step(&mut self, input: &[u8], room: &mut [u8]) -> Result<Status, Violation> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => {
                // The level decides about the memory, so it is looked at before libbz2 sees it.
                let [b'B', b'Z', b'h', level @ b'1'..=b'9', ..] = input else {
                    return Err(Violation::Bzip2Invalid);
                };
                if level - b'0' > self.level_max {
                    return Err(Violation::Bzip2Invalid);
                }
                none.insert(Decompress::new(false))
            }
        };
        match stream.decompress(input, room) {
            // A message that there is no memory for.
            Ok(Status::MemNeeded) => Err(Violation::MessageTooBig(input.len() as u64)),
            Ok(status) => Ok(status),
            Err(_) => Err(Violation::Bzip2Invalid),
        }
    }
}

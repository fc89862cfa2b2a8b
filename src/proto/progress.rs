//! How far one compressed message is inflated, whichever format it has.
#![cfg_attr(
    not(feature = "deflate"),
    allow(dead_code, reason = "some of it is deflate's alone")
)]

use std::fmt;

use crate::violation::Violation;

/// Bytes that one call inflates. Their UTF-8 is checked while they are in the cache.
pub(crate) const STEP_BYTES: usize = 64 << 10;

/// What is called while a message is inflated.
pub struct Hooks<'h> {
    /// Lengthens the memory, of which so many bytes are filled.
    pub grow: &'h mut dyn FnMut(&mut Vec<u8>, usize),
    /// Sees each piece once, while it is in the cache.
    pub check: &'h mut dyn FnMut(&[u8]) -> Result<(), Violation>,
}

impl fmt::Debug for Hooks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks").finish_non_exhaustive()
    }
}

/// How far a message is inflated.
#[derive(Debug)]
pub struct Progress {
    pub(crate) at: usize,
    pub(crate) end: usize,
    /// Bytes of the message that have left its memory.
    pub(crate) gone: usize,
    /// One byte more than may be there: so an excess shows, and a message at the limit ends.
    pub(crate) limit: usize,
    /// Bytes that were taken of the message or, behind it, of the tail that is not sent.
    pub(crate) taken: usize,
    pub(crate) in_tail: bool,
    pub(crate) begun: bool,
    /// Ends of the deflate stream so far.
    pub(crate) streams: u32,
}

/// Inflates in steps that are bounded, and checks each of them: no more than `step_max` bytes come at once, and each piece is
/// checked once. Returns the message, the memory that it had, and the number of steps.
#[cfg(all(test, any(feature = "bzip2", feature = "snappy")))]
pub(crate) fn inflated_in_steps(
    bytes_max: u64,
    step_max: usize,
    mut go_on: impl FnMut(&mut Progress, &mut Vec<u8>, Hooks<'_>) -> Result<bool, Violation>,
) -> Result<(Vec<u8>, usize, u32), Violation> {
    let mut progress = Progress::new(3, bytes_max);
    let (mut out, mut seen) = (vec![0; 5], Vec::new());
    for steps in 1.. {
        let before = progress.end();
        let hooks = Hooks {
            grow: &mut |out, filled| out.resize(2 * filled, 0),
            check: &mut |piece| {
                seen.extend_from_slice(piece);
                Ok(())
            },
        };
        let is_whole = go_on(&mut progress, &mut out, hooks)?;
        assert!(progress.end() - before <= step_max);
        if is_whole {
            assert!(out[3..progress.end()] == seen, "each piece is checked once");
            return Ok((seen, out.len(), steps));
        }
    }
    unreachable!("it ends")
}

impl Progress {
    /// Of a message that begins in its memory at `at` and has at most `bytes_max`.
    pub fn new(at: usize, bytes_max: u64) -> Self {
        let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        Self {
            at,
            end: at,
            gone: 0,
            limit: at.saturating_add(bytes_max).saturating_add(1),
            taken: 0,
            in_tail: false,
            begun: false,
            streams: 0,
        }
    }

    /// Where the message ends so far.
    pub const fn end(&self) -> usize {
        self.end
    }

    /// What is inflated so far has left the memory, and the rest of the message goes to memory from `at` on.
    pub const fn move_to(&mut self, at: usize) {
        self.gone += self.end - self.at;
        self.limit = at.saturating_add(self.limit - self.end);
        (self.at, self.end) = (at, at);
    }
}

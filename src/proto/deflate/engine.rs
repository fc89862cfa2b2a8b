//! Compressor, inflater, and the history that goes from one to the next (RFC 7692 §7.2).

use std::fmt;

use zlib_rs::{Inflate, InflateFlush, Status};

use super::block::{Bits, Codes, Tokens};
use super::window::{Effort, Window};
use super::{Direction, Setup};
use crate::progress::{Hooks, Progress, STEP_BYTES};
use crate::violation::Violation;

/// The end of every flushed block, which is not sent (RFC 7692 §7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xFF, 0xFF];

/// Bytes of the largest window: no reference reaches further back.
const WINDOW_BYTES_MAX: usize = 32 << 10;

/// Ends of the deflate stream (BFINAL) inside one message. Each costs up to 3 µs, and a peer could put one in every second
/// byte.
const STREAMS_PER_MESSAGE_MAX: u32 = 1024;

/// The last bytes of the messages that went in one direction: what the next message may refer to.
#[derive(Debug, Default)]
pub struct History {
    bytes: Vec<u8>,
}

impl History {
    /// The bytes, oldest first.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes of memory in use.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Adds a message. Keeps the last bytes, as many as the window has, or nothing without takeover.
    pub fn push(&mut self, message: &[u8], direction: Direction) {
        if !direction.takeover {
            return;
        }
        let window = 1 << direction.window_bits;
        let message = &message[message.len().saturating_sub(window)..];
        let keep = self.bytes.len().min(window - message.len());
        let drop = self.bytes.len() - keep;
        if drop > 0 {
            self.bytes.copy_within(drop.., 0);
            self.bytes.truncate(keep);
        }
        if self.bytes.capacity() < keep + message.len() {
            // Doubles, but never beyond the window.
            let room = (2 * self.bytes.capacity()).clamp(keep + message.len(), window);
            self.bytes.reserve_exact(room - keep);
        }
        self.bytes.extend_from_slice(message);
    }
}

/// A compressor. It takes up to 94 KiB with 12 bits and memory level 5, and up to 262 KiB with 15 and 8.
pub struct Deflater {
    window: Window,
    tokens: Tokens,
    codes: Codes,
    setup: Setup,
}

impl fmt::Debug for Deflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deflater")
            .field("setup", &self.setup)
            .finish_non_exhaustive()
    }
}

impl Deflater {
    /// A compressor without history.
    ///
    /// # Panics
    /// When the setup is not [possible](Setup::is_possible).
    pub fn new(setup: Setup) -> Self {
        assert!(setup.is_possible(), "{setup:?} is out of range");
        // As zlib's memory level: so many places in the index, and tokens in a block.
        let (hash_bits, tokens_max) = (
            u32::from(setup.mem_level) + 7,
            1 << (u32::from(setup.mem_level) + 6),
        );
        Self {
            window: Window::new(setup.window_bits, hash_bits, Effort::of(setup.level)),
            tokens: Tokens::new(tokens_max),
            codes: Codes::new(),
            setup,
        }
    }

    /// How it works.
    pub const fn setup(&self) -> Setup {
        self.setup
    }

    /// Goes on behind `history` with the next message.
    pub fn restart(&mut self, history: &History) {
        self.window.restart(&history.bytes);
    }

    /// Compresses one message into `out[at..]` and returns where it ends there. `out` is lengthened if need be; with
    /// [`compressed_bytes_max`](Self::compressed_bytes_max) of room it never is.
    ///
    /// # Panics
    /// When `message` is empty: there is no compressed form that every peer reads, and the caller sends it as it is.
    pub fn compress(&mut self, message: &[u8], out: &mut Vec<u8>, at: usize) -> usize {
        assert!(!message.is_empty());
        let room_end = at + Self::compressed_bytes_max(message.len());
        if out.len() < room_end {
            out.resize(room_end, 0);
        }
        let mut bits = Bits::new(out, at);
        self.window
            .compress(message, &mut self.tokens, &mut self.codes, &mut bits);
        bits.flush()
    }

    /// Bytes that a message of `len` has at most while it is compressed, with any setup: a block of 128 bytes or more, all of
    /// which are stored, has 6 bytes beside them.
    pub const fn compressed_bytes_max(len: usize) -> usize {
        len + len / 16 + 64
    }
}

/// The bytes of one call, which are no more than its slices have.
fn difference(after: u64, before: u64) -> usize {
    usize::try_from(after - before).unwrap_or(usize::MAX)
}

/// Where an inflated message goes.
#[derive(Debug)]
pub struct Place<'o> {
    /// Initialised memory. It is lengthened if need be.
    pub out: &'o mut Vec<u8>,
    /// Where the message begins there.
    pub at: usize,
    /// Bytes that it may have.
    pub bytes_max: u64,
}

/// A part of a compressed message.
#[derive(Clone, Copy, Debug)]
pub struct Part<'p> {
    /// Its bytes.
    pub compressed: &'p [u8],
    /// Whether it is the last one.
    pub is_last: bool,
    /// What [`Inflater::restart`] was, or would be, called with.
    pub history: &'p History,
    /// The last 32 KiB of what has [left the memory](Progress::move_to) of this message.
    pub gone: &'p History,
}

/// Why an inflater has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// There are as many bytes as were asked for, and perhaps more to come of the same part.
    Enough,
    /// The part is used up, and another one follows.
    PartEnds,
    /// The message is whole.
    MessageEnds,
}

/// An inflater, of 46 KiB. It accepts any window.
pub struct Inflater {
    zlib: Inflate,
    /// The next message can go on here, without [`Self::restart`].
    whole: bool,
}

impl fmt::Debug for Inflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflater")
            .field("whole", &self.whole)
            .finish_non_exhaustive()
    }
}

impl Default for Inflater {
    fn default() -> Self {
        Self::new()
    }
}

impl Inflater {
    /// An inflater without history.
    pub fn new() -> Self {
        Self {
            // A larger window accepts all that a smaller one does.
            zlib: Inflate::new(false, 15),
            whole: true,
        }
    }

    /// Whether the last message left the inflater where the next one of the same peer can go on.
    pub const fn goes_on(&self) -> bool {
        self.whole
    }

    /// Goes on behind `history` with the next message.
    pub fn restart(&mut self, history: &History) {
        self.begin_stream(&[&history.bytes]);
        self.whole = true;
    }

    /// Begins a deflate stream whose references may reach into what went before.
    fn begin_stream(&mut self, before: &[&[u8]]) {
        self.zlib.reset(false);
        for bytes in before {
            if !bytes.is_empty() {
                self.zlib
                    .set_dictionary(bytes)
                    .expect("a raw stream takes a dictionary at any time");
            }
        }
    }

    /// Inflates a whole message into its place and returns where it ends there. `history` is what [`Self::restart`] was, or
    /// would be, called with. `grow` lengthens the memory, of which so many bytes are filled; `check` sees each piece once,
    /// while it is in the cache.
    ///
    /// # Errors
    /// [`Violation::DeflateInvalid`], [`Violation::MessageTooBig`] as soon as there is one byte more than `bytes_max`, and
    /// what `check` returns. After an error the inflater needs a [restart](Self::restart).
    pub fn inflate(
        &mut self,
        compressed: &[u8],
        history: &History,
        place: Place<'_>,
        mut grow: impl FnMut(&mut Vec<u8>, usize),
        mut check: impl FnMut(&[u8]) -> Result<(), Violation>,
    ) -> Result<usize, Violation> {
        let mut progress = Progress::new(place.at, place.bytes_max);
        let is_whole = self.go_on(
            &mut progress,
            (compressed, history),
            place.out,
            usize::MAX,
            Hooks {
                grow: &mut grow,
                check: &mut check,
            },
        )?;
        debug_assert!(is_whole);
        Ok(progress.end)
    }

    /// Inflates as [`Self::inflate`] does, and stops behind `bytes_max` more bytes. Returns whether the message is
    /// whole. Until it is, the inflater handles no other one, and each call gets the same message.
    ///
    /// # Errors
    /// As [`Self::inflate`].
    pub fn go_on(
        &mut self,
        progress: &mut Progress,
        (compressed, history): (&[u8], &History),
        out: &mut Vec<u8>,
        bytes_max: usize,
        hooks: Hooks<'_>,
    ) -> Result<bool, Violation> {
        let part = Part {
            compressed,
            is_last: true,
            history,
            gone: &History::default(),
        };
        let stop = self.go_on_with(progress, &part, out, bytes_max, hooks)?;
        Ok(stop == Stop::MessageEnds)
    }

    /// The same with a message that comes in parts. Each call gets the same part until that ends.
    ///
    /// # Errors
    /// As [`Self::inflate`].
    pub fn go_on_with(
        &mut self,
        progress: &mut Progress,
        part: &Part<'_>,
        out: &mut Vec<u8>,
        bytes_max: usize,
        hooks: Hooks<'_>,
    ) -> Result<Stop, Violation> {
        let part_end = match part.is_last {
            true => Stop::MessageEnds,
            false => Stop::PartEnds,
        };
        // Some compressors make nothing of an empty message, where RFC 7692 §7.2.3.6 wants an empty block.
        if part.compressed.is_empty() && !progress.begun {
            return Ok(part_end);
        }
        debug_assert!(self.whole || progress.begun, "restart comes first");
        (self.whole, progress.begun) = (false, true);
        let until = progress.end.saturating_add(bytes_max);
        loop {
            if progress.end >= until {
                return Ok(Stop::Enough);
            }
            if progress.end == out.len() {
                (hooks.grow)(out, progress.end);
            }
            let input = match progress.in_tail {
                false => &part.compressed[progress.taken..],
                true => &TAIL[progress.taken..],
            };
            let before = progress.end;
            let part_ends = self.step(progress, (input, part), (&mut *out, until), hooks.check)?;
            debug_assert!(progress.end > before || part_ends || progress.taken > 0);
            if !part_ends {
                continue;
            }
            if progress.in_tail {
                break;
            }
            progress.taken = 0;
            if !part.is_last {
                return Ok(part_end);
            }
            progress.in_tail = true;
            if progress.streams > 0 && self.zlib.total_in() == 0 {
                break; // The peer ended its stream, and nothing follows: there is no block to end.
            }
        }
        self.whole = progress.streams == 0;
        Ok(part_end)
    }

    /// One call of zlib. Returns whether there is nothing more to come of this input.
    fn step(
        &mut self,
        progress: &mut Progress,
        (input, part): (&[u8], &Part<'_>),
        (out, until): (&mut [u8], usize),
        check: &mut dyn FnMut(&[u8]) -> Result<(), Violation>,
    ) -> Result<bool, Violation> {
        let Progress { at, end, .. } = *progress;
        let room_end = [progress.limit, end + STEP_BYTES, until]
            .iter()
            .fold(out.len(), |room_end, place| room_end.min(*place));
        let (taken, made) = (self.zlib.total_in(), self.zlib.total_out());
        let status = self
            .zlib
            .decompress(input, &mut out[end..room_end], InflateFlush::SyncFlush)
            .map_err(|_| Violation::DeflateInvalid)?;
        let taken = difference(self.zlib.total_in(), taken);
        progress.taken += taken;
        progress.end += difference(self.zlib.total_out(), made);
        if progress.end == progress.limit {
            return Err(Violation::MessageTooBig(
                (progress.gone + progress.limit - at) as u64,
            ));
        }
        check(&out[end..progress.end])?;
        if status == Status::StreamEnd {
            progress.streams += 1;
            if progress.streams > STREAMS_PER_MESSAGE_MAX {
                return Err(Violation::DeflateInvalid);
            }
            let message = &out[at.max(progress.end.saturating_sub(WINDOW_BYTES_MAX))..progress.end];
            self.begin_stream(&[&part.history.bytes, &part.gone.bytes, message]);
            return Ok(taken == input.len());
        }
        // Room that was not used up says so, too.
        let ends = progress.end < room_end;
        debug_assert!(!ends || taken == input.len());
        Ok(ends)
    }
}

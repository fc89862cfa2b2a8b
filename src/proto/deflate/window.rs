//! What a message repeats of the bytes before it: a window of plain text, and an index of it.

#![expect(
    clippy::cast_possible_truncation,
    reason = "a place has 16 bits, and a hash is made of four bytes of eight"
)]

use super::block::{Bits, Codes, MATCH_BYTES_MAX, Tokens};

/// Bytes of plain text that are kept at once, the largest window included. So a place in it has 16 bits.
const PLAIN_BYTES: usize = 64 << 10;

/// Bytes behind the plain text that may be read, eight at a time, but never count.
const PADDING_BYTES: usize = 8;

/// Bytes of the largest window: no reference reaches further back.
const WINDOW_BYTES_MAX: usize = 32 << 10;

/// Places for the largest memory level.
const HASHES_MAX: usize = 64 << 10;

/// Bytes that the index is made of. Shorter repetitions are not found: they gain little in text.
const INDEXED_BYTES: usize = 4;

/// Bytes of a history that are indexed behind a restart: so many times the message, and at least so many. Indexing takes about a
/// nanosecond for each byte, and what a short message gains from far away is less.
const HISTORY_TIMES: usize = 8;
const HISTORY_BYTES_MIN: usize = 1 << 10;

/// How hard a repetition is looked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effort {
    /// Earlier places that are compared.
    places: u32,
    /// A repetition shorter than this is held back while a longer one may begin at the next byte.
    patience: usize,
    /// A repetition of this length is good enough.
    enough: usize,
}

impl Effort {
    /// From 1 (fast) to 9 (small).
    pub(super) const fn of(level: u8) -> Self {
        let (places, patience, enough) = match level {
            0 | 1 => (4, 6, 32),
            2 => (6, 10, 48),
            3 => (8, 16, 64),
            4 => (12, 24, 96),
            5 => (20, 32, 128),
            6 => (32, 64, 192),
            7 => (64, 128, 258),
            8 => (160, 258, 258),
            _ => (512, 258, 258),
        };
        Self {
            places,
            patience,
            enough,
        }
    }
}

/// A repetition; `bytes` is 0 if there is none.
#[derive(Clone, Copy, Debug, Default)]
struct Repetition {
    bytes: usize,
    distance: usize,
}

/// The last bytes that were compressed, the ones to come, and where their parts occurred last.
pub(super) struct Window {
    plain: Box<Plain>,
    end: usize,
    /// The first place that is not in the index.
    indexed: usize,
    /// The plain text is a history, of which nothing is in the index.
    restarted: bool,
    /// The last place of each hash. Place 0 means none.
    heads: Box<[u16; HASHES_MAX]>,
    /// The place before, of the same hash, by place modulo the window.
    earlier: Box<[u16; WINDOW_BYTES_MAX]>,
    window_bytes: usize,
    hash_bits: u32,
    effort: Effort,
}

/// Zeroed memory, which takes no room before it is used.
fn zeroed<T: Clone + Default, const N: usize>() -> Box<[T; N]> {
    match vec![T::default(); N].into_boxed_slice().try_into() {
        Ok(array) => array,
        Err(_) => unreachable!("it has N elements"),
    }
}

impl Window {
    /// Of `window_bits` from 8 to 15, with `hash_bits` up to 16.
    pub(super) fn new(window_bits: u8, hash_bits: u32, effort: Effort) -> Self {
        Self {
            plain: zeroed(),
            end: 1,
            indexed: 1,
            restarted: false,
            heads: zeroed(),
            earlier: zeroed(),
            window_bytes: (1 << window_bits).min(WINDOW_BYTES_MAX),
            hash_bits: hash_bits.min(16),
            effort,
        }
    }

    /// Forgets what was before, and goes on behind `history`.
    pub(super) fn restart(&mut self, history: &[u8]) {
        self.heads[..1 << self.hash_bits].fill(0);
        let history = &history[history.len().saturating_sub(self.window_bytes)..];
        (self.end, self.indexed, self.restarted) = (1 + history.len(), 1, true);
        self.plain[1..self.end].copy_from_slice(history);
    }

    /// Compresses a message into `bits`.
    pub(super) fn compress(
        &mut self,
        mut message: &[u8],
        tokens: &mut Tokens,
        codes: &mut Codes,
        bits: &mut Bits<'_>,
    ) {
        if std::mem::take(&mut self.restarted) {
            let bytes = (HISTORY_TIMES * message.len()).max(HISTORY_BYTES_MIN);
            self.indexed = self.end.saturating_sub(bytes).max(1);
        }
        while !message.is_empty() {
            if message.len() > PLAIN_BYTES - self.end {
                self.slide();
            }
            let (part, rest) = message.split_at(message.len().min(PLAIN_BYTES - self.end));
            let begin = self.end;
            self.plain[begin..begin + part.len()].copy_from_slice(part);
            self.end += part.len();
            self.compress_from(begin, tokens, codes, bits);
            message = rest;
        }
    }

    /// Makes room: moves the last window of bytes to the front.
    fn slide(&mut self) {
        let by = self.end.saturating_sub(self.window_bytes);
        let Ok(by_places) = u16::try_from(by) else {
            unreachable!("a place has 16 bits, and the window is not empty")
        };
        self.plain.copy_within(by..self.end, 0);
        self.end -= by;
        self.indexed = self.indexed.saturating_sub(by).max(1);
        for place in &mut self.heads[..1 << self.hash_bits] {
            *place = place.saturating_sub(by_places);
        }
        // By a multiple of the window every place would keep its index; so they are moved to it.
        let window = &mut self.earlier[..self.window_bytes];
        for place in window.iter_mut() {
            *place = place.saturating_sub(by_places);
        }
        let shift = by % self.window_bytes;
        window.rotate_left(shift);
    }

    /// Compresses what lies behind `begin`, as one block or several.
    fn compress_from(
        &mut self,
        begin: usize,
        tokens: &mut Tokens,
        codes: &mut Codes,
        bits: &mut Bits<'_>,
    ) {
        let (mut at, mut block) = (begin, begin);
        let mut next = self.find(at, 0);
        while at < self.end {
            if tokens.is_full() {
                codes.write(tokens, &self.plain[block..at], bits);
                block = at;
            }
            let found = next;
            if found.bytes < self.effort.patience || found.bytes == 0 {
                next = self.find(at + 1, found.bytes);
                if found.bytes == 0 || next.bytes > found.bytes {
                    tokens.push_literal(self.plain[at & (PLAIN_BYTES - 1)]);
                    at += 1;
                    continue;
                }
            }
            debug_assert!(found.distance < self.window_bytes);
            tokens.push_reference(found.bytes, found.distance);
            at += found.bytes;
            next = self.find(at, 0);
        }
        codes.write(tokens, &self.plain[block..self.end], bits);
    }

    /// Puts all places before `at` into the index.
    #[inline]
    fn index_up_to(&mut self, at: usize) {
        let Self {
            plain,
            heads,
            earlier,
            ..
        } = self;
        let (mask, shift) = (self.window_bytes - 1, 32 - self.hash_bits);
        for place in self.indexed..at {
            let hash = hash(eight(plain, place) as u32, shift);
            earlier[place & mask & (WINDOW_BYTES_MAX - 1)] = heads[hash];
            heads[hash] = place as u16;
        }
        self.indexed = self.indexed.max(at);
    }

    /// The longest repetition that begins at a place, if it is longer than `than` bytes.
    #[inline]
    fn find(&mut self, at: usize, than: usize) -> Repetition {
        let left = self.end.saturating_sub(at).min(MATCH_BYTES_MAX);
        if left < INDEXED_BYTES {
            return Repetition::default();
        }
        self.index_up_to(at + 1);
        let (plain, earlier) = (&*self.plain, &*self.earlier);
        let mask = self.window_bytes - 1;
        let before = |place: usize| usize::from(earlier[place & mask & (WINDOW_BYTES_MAX - 1)]);
        let mut best = Repetition {
            bytes: than.max(INDEXED_BYTES - 1),
            distance: 0,
        };
        if best.bytes >= left {
            return Repetition::default();
        }
        let floor = at.saturating_sub(mask).max(1);
        // A longer repetition agrees in the four bytes that end one behind the best one.
        let mut last_four = eight(plain, at + best.bytes - 3) as u32;
        let (mut place, mut later) = (before(at), at);
        for _ in 0..self.effort.places {
            // A place that is not before the last one was written over by one that is beyond the window.
            if place < floor || place >= later {
                break;
            }
            if eight(plain, place + best.bytes - 3) as u32 == last_four {
                let bytes = common(plain, place, at, left);
                if bytes > best.bytes {
                    best = Repetition {
                        bytes,
                        distance: at - place,
                    };
                    if bytes >= self.effort.enough || bytes == left {
                        break;
                    }
                    last_four = eight(plain, at + best.bytes - 3) as u32;
                }
            }
            (place, later) = (before(place), place);
        }
        match best.distance {
            0 => Repetition::default(),
            _ => best,
        }
    }
}

type Plain = [u8; PLAIN_BYTES + PADDING_BYTES];

/// Eight bytes of plain text or padding.
#[inline]
fn eight(plain: &Plain, at: usize) -> u64 {
    let at = at & (PLAIN_BYTES - 1);
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&plain[at..at + 8]);
    u64::from_le_bytes(bytes)
}

#[inline]
fn hash(four: u32, shift: u32) -> usize {
    usize::from((four.wrapping_mul(0x9E37_79B1) >> shift) as u16)
}

/// Bytes that two places have in common, up to `max`.
#[inline]
fn common(plain: &Plain, one: usize, other: usize, max: usize) -> usize {
    let mut bytes = 0;
    while bytes < max {
        let difference = eight(plain, one + bytes) ^ eight(plain, other + bytes);
        if difference != 0 {
            return (bytes + difference.trailing_zeros() as usize / 8).min(max);
        }
        bytes += 8;
    }
    max
}

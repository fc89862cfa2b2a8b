//! Checks received bytes. The reply stream of a connection is known in advance, so there is no parser: a position in the
//! reply ring says which bytes must come next.
//!
//! Comparing costs CPU time, so not everything is compared. Bytes that come through the buffer ring always are. Of large
//! messages, the first of each connection are, and then one read in eight; of very large ones every header, and one
//! message in 64. The other bytes are counted: at the end of a run every connection must have received exactly the bytes
//! it asked for.

use crate::frames::Frames;

/// Bytes of a reply from which every header is compared. For smaller ones, a separate read for the header would cost too
/// much.
pub const LARGE_BYTES_MIN: usize = 32 << 10;
/// One read in this many is compared, after the first messages.
const SAMPLE_READS: u32 = 8;
/// One large message in this many is compared.
const SAMPLE_LARGE: u64 = 64;

/// The position of one connection in its reply stream.
#[derive(Clone, Copy, Debug)]
pub struct Position {
    variant: usize,
    in_message: usize,
    completed: u64,
    /// Reads since the last one that was compared.
    reads: u32,
    /// Number of first messages that are compared completely.
    verify: u64,
    /// Messages asked for and not yet answered.
    pub outstanding: u32,
}

/// How to receive the next bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Read at most this many bytes, and compare them.
    Compare(usize),
    /// Discard at most this many bytes in the kernel, without copying them.
    Skip(usize),
}

/// Why the bytes are not the expected echo.
#[derive(Debug, PartialEq, Eq)]
pub struct Mismatch(pub String);

impl Position {
    /// The beginning of the stream. The first `verify` messages are compared completely, whatever their size.
    pub fn new(verify: u32) -> Self {
        Self { variant: 0, in_message: 0, completed: 0, reads: 0, verify: u64::from(verify), outstanding: 0 }
    }

    /// How to receive at most `room` of the outstanding bytes.
    pub fn next(&mut self, frames: &Frames, room: usize) -> Next {
        if self.completed < self.verify {
            return Next::Compare(room);
        }
        if frames.reply_len >= LARGE_BYTES_MIN {
            return self.next_of_large(frames, room);
        }
        self.reads = (self.reads + 1) % SAMPLE_READS;
        let due = (self.outstanding as usize * frames.reply_len).saturating_sub(self.in_message);
        if self.reads == 0 || due == 0 { Next::Compare(room) } else { Next::Skip(due.min(room)) }
    }

    fn next_of_large(&self, frames: &Frames, room: usize) -> Next {
        let message_left = (frames.reply_len - self.in_message).min(room);
        if self.completed.is_multiple_of(SAMPLE_LARGE) {
            return Next::Compare(message_left);
        }
        match frames.reply_header_len.saturating_sub(self.in_message) {
            0 => Next::Skip(message_left),
            header_left => Next::Compare(header_left),
        }
    }

    /// Compares the next `bytes` of the stream. Returns how many messages they complete.
    pub fn accept(&mut self, frames: &Frames, bytes: &[u8]) -> Result<u32, Mismatch> {
        let mut rest = bytes;
        let mut messages = 0;
        while !rest.is_empty() {
            let begin = self.variant * frames.reply_len + self.in_message;
            let (now, later) = rest.split_at(rest.len().min(frames.replies.len() - begin));
            if now != &frames.replies[begin..begin + now.len()] {
                return Err(self.mismatch(frames, now, begin));
            }
            messages += self.accept_skipped(frames, now.len())?;
            rest = later;
        }
        Ok(messages)
    }

    /// Counts `len` bytes, compared or not. Returns how many messages they complete.
    pub fn accept_skipped(&mut self, frames: &Frames, len: usize) -> Result<u32, Mismatch> {
        let reached = self.in_message + len;
        if reached < frames.reply_len {
            self.in_message = reached;
            // More bytes than were asked for: the server has doubled a message, which shows before it is complete.
            return if self.outstanding == 0 { Err(self.surplus()) } else { Ok(0) };
        }
        let messages = reached / frames.reply_len;
        self.in_message = reached % frames.reply_len;
        self.variant = (self.variant + messages) % frames.variants;
        let messages = messages as u32;
        self.completed += u64::from(messages);
        match self.outstanding.checked_sub(messages) {
            Some(0) if self.in_message > 0 => Err(self.surplus()),
            Some(left) => {
                self.outstanding = left;
                Ok(messages)
            }
            None => Err(self.surplus()),
        }
    }

    #[cold]
    fn surplus(&self) -> Mismatch {
        Mismatch(format!("bytes arrived that were not asked for, after {} messages", self.completed))
    }

    #[cold]
    fn mismatch(&self, frames: &Frames, got: &[u8], begin: usize) -> Mismatch {
        let expected = &frames.replies[begin..begin + got.len()];
        let at = got.iter().zip(expected).position(|(a, b)| a != b).unwrap_or(0);
        let message = self.completed as usize + (self.in_message + at) / frames.reply_len;
        let byte = (self.in_message + at) % frames.reply_len;
        Mismatch(format!("message {message}, byte {byte}: got 0x{:02x}, expected 0x{:02x}", got[at], expected[at]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;
    use std::net::SocketAddr;

    fn frames(size: usize) -> Frames {
        let mut options = Options::new(SocketAddr::from(([127, 0, 0, 1], 9)));
        options.size = size;
        Frames::new(&options)
    }

    fn position(outstanding: u32) -> Position {
        Position { outstanding, ..Position::new(1) }
    }

    #[test]
    fn the_right_bytes_are_accepted_at_every_split() {
        let f = frames(20);
        for cut in 0..=44 {
            let mut p = position(2);
            let first = p.accept(&f, &f.replies[..cut]).unwrap();
            let second = p.accept(&f, &f.replies[cut..44]).unwrap();
            assert_eq!((first + second, p.outstanding), (2, 0), "{cut}");
        }
    }

    #[test]
    fn every_corrupted_byte_of_a_small_message_is_noticed() {
        let f = frames(20);
        for at in 0..44 {
            let mut bytes = f.replies[..44].to_vec();
            bytes[at] ^= 1;
            let error = position(2).accept(&f, &bytes).unwrap_err();
            assert!(error.0.starts_with(&format!("message {}, byte {}:", at / 22, at % 22)), "{error:?}");
        }
    }

    #[test]
    fn a_dropped_a_doubled_and_a_swapped_message_are_noticed() {
        let f = frames(20);
        let of =
            |order: &[usize]| order.iter().flat_map(|i| f.replies[i * 22..i * 22 + 22].to_vec()).collect::<Vec<_>>();
        assert!(position(3).accept(&f, &of(&[0, 2])).is_err());
        assert!(position(3).accept(&f, &of(&[0, 0])).is_err());
        assert!(position(3).accept(&f, &of(&[1, 0])).is_err());
        assert!(position(1).accept(&f, &of(&[0, 1])).is_err());
        assert!(position(1).accept(&f, &f.replies[..23]).is_err());
        assert!(position(0).accept(&f, &f.replies[..1]).is_err());
    }

    #[test]
    fn the_first_replies_are_compared_and_then_one_read_in_eight() {
        let f = frames(16384);
        let mut p = Position { outstanding: 100, ..Position::new(1) };
        assert_eq!(p.next(&f, 65536), Next::Compare(65536));
        p.accept(&f, &f.replies[..f.reply_len]).unwrap();
        for _ in 0..3 {
            for _ in 0..7 {
                assert_eq!(p.next(&f, 65536), Next::Skip(65536));
                p.accept_skipped(&f, 1000).unwrap();
            }
            assert_eq!(p.next(&f, 65536), Next::Compare(65536));
            p.accept_skipped(&f, 500).unwrap();
        }
    }

    #[test]
    fn no_more_is_skipped_than_is_outstanding() {
        let f = frames(16384);
        let mut p = Position { outstanding: 3, ..Position::new(1) };
        p.accept(&f, &f.replies[..f.reply_len]).unwrap();
        assert_eq!(p.next(&f, 1 << 20), Next::Skip(32776));
        assert_eq!(p.accept_skipped(&f, 16389), Ok(1));
        assert_eq!(p.next(&f, 1 << 20), Next::Skip(16387));
        assert!(p.accept_skipped(&f, 16388).is_err());
    }

    #[test]
    fn every_header_of_very_large_replies_is_compared() {
        let f = frames(100_000);
        let mut p = Position { outstanding: 3, ..Position::new(1) };
        assert_eq!(p.accept(&f, &f.replies[..f.reply_len]), Ok(1));
        assert_eq!(p.next(&f, 1 << 20), Next::Compare(10));
        assert_eq!(p.accept(&f, &f.replies[..10]), Ok(0));
        assert_eq!(p.next(&f, 1 << 20), Next::Skip(100_000));
        assert_eq!(p.accept_skipped(&f, 60_000), Ok(0));
        assert_eq!(p.next(&f, 30_000), Next::Skip(30_000));
        assert_eq!(p.accept_skipped(&f, 40_000), Ok(1));
        let mut bad_header = f.replies[..10].to_vec();
        bad_header[9] ^= 1;
        assert!(p.accept(&f, &bad_header).is_err());
    }
}

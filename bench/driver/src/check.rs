//! The verdict on received octets. The reply stream of a connection is known in advance, so there is no parser: a
//! position in the reply ring says what must come next.

use crate::frames::Frames;

/// Replies up to this size are compared octet by octet throughout; it costs about 0.1 µs for 4 KiB.
const ALWAYS_EXACT_OCTETS: usize = 4096;

/// Where one connection stands in its reply stream.
#[derive(Clone, Copy, Debug)]
pub struct Position {
    variant: usize,
    in_message: usize,
    /// Messages whose every octet is still to be compared.
    exact_left: u32,
    completed: u64,
    /// Messages asked for and not yet answered.
    pub outstanding: u32,
}

/// Why the octets are not the echo.
#[derive(Debug, PartialEq, Eq)]
pub struct Mismatch(pub String);

impl Position {
    /// The beginning of the stream; `verify` messages will be compared in full whatever their size.
    pub fn new(frames: &Frames, verify: u32) -> Self {
        let exact_left = if frames.reply_len <= ALWAYS_EXACT_OCTETS { u32::MAX } else { verify };
        Self { variant: 0, in_message: 0, exact_left, completed: 0, outstanding: 0 }
    }

    /// Whether payloads are still compared; when not, they need not even be copied out of the kernel.
    pub fn exact(&self) -> bool {
        self.exact_left > 0
    }

    /// Octets of the current reply's header still to come.
    pub fn header_left(&self, frames: &Frames) -> usize {
        frames.reply_header_len.saturating_sub(self.in_message)
    }

    /// Octets of the current reply still to come.
    pub fn message_left(&self, frames: &Frames) -> usize {
        frames.reply_len - self.in_message
    }

    /// Checks `octets`, the next of the stream, and returns how many messages they complete.
    pub fn accept(&mut self, frames: &Frames, octets: &[u8]) -> Result<u32, Mismatch> {
        let mut rest = octets;
        let mut messages = 0;
        while !rest.is_empty() {
            let begin = self.variant * frames.reply_len + self.in_message;
            let exact = self.exact();
            // In full: up to the end of the ring. By header: up to the end of the header, or of the message.
            let span = match self.header_left(frames) {
                _ if exact => frames.replies.len() - begin,
                0 => self.message_left(frames),
                header_left => header_left,
            };
            let (now, later) = rest.split_at(span.min(rest.len()));
            let compared = exact || self.in_message < frames.reply_header_len;
            if compared && now != &frames.replies[begin..begin + now.len()] {
                return Err(self.mismatch(frames, now, begin));
            }
            messages += self.advance(frames, now.len())?;
            rest = later;
        }
        Ok(messages)
    }

    /// Counts `len` octets of payload that were discarded unseen.
    pub fn accept_discarded(&mut self, frames: &Frames, len: usize) -> Result<u32, Mismatch> {
        assert!(len <= self.message_left(frames) && self.header_left(frames) == 0);
        self.advance(frames, len)
    }

    fn advance(&mut self, frames: &Frames, len: usize) -> Result<u32, Mismatch> {
        let reached = self.in_message + len;
        if reached < frames.reply_len {
            self.in_message = reached;
            // More octets than were asked for: a doubled message, seen before it is complete.
            return if self.outstanding == 0 { Err(self.surplus()) } else { Ok(0) };
        }
        let messages = reached / frames.reply_len;
        self.in_message = reached % frames.reply_len;
        self.variant = (self.variant + messages) % frames.variants;
        let messages = messages as u32;
        self.completed += u64::from(messages);
        if self.exact_left != u32::MAX {
            self.exact_left = self.exact_left.saturating_sub(messages);
        }
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
        Mismatch(format!("octets arrived that were not asked for, after {} messages", self.completed))
    }

    #[cold]
    fn mismatch(&self, frames: &Frames, got: &[u8], begin: usize) -> Mismatch {
        let expected = &frames.replies[begin..begin + got.len()];
        let at = got.iter().zip(expected).position(|(a, b)| a != b).unwrap_or(0);
        let message = self.completed as usize + (self.in_message + at) / frames.reply_len;
        let octet = (self.in_message + at) % frames.reply_len;
        Mismatch(format!("message {message}, octet {octet}: got 0x{:02x}, expected 0x{:02x}", got[at], expected[at]))
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

    fn position(frames: &Frames, outstanding: u32) -> Position {
        Position { outstanding, ..Position::new(frames, 1) }
    }

    #[test]
    fn the_right_octets_are_accepted_at_every_split() {
        let f = frames(20);
        for cut in 0..=44 {
            let mut p = position(&f, 2);
            let first = p.accept(&f, &f.replies[..cut]).unwrap();
            let second = p.accept(&f, &f.replies[cut..44]).unwrap();
            assert_eq!((first + second, p.outstanding), (2, 0), "{cut}");
        }
    }

    #[test]
    fn every_corrupted_octet_of_a_small_message_is_noticed() {
        let f = frames(20);
        for at in 0..44 {
            let mut octets = f.replies[..44].to_vec();
            octets[at] ^= 1;
            let error = position(&f, 2).accept(&f, &octets).unwrap_err();
            assert!(error.0.starts_with(&format!("message {}, octet {}:", at / 22, at % 22)), "{error:?}");
        }
    }

    #[test]
    fn a_dropped_a_doubled_and_a_swapped_message_are_noticed() {
        let f = frames(20);
        let of =
            |order: &[usize]| order.iter().flat_map(|i| f.replies[i * 22..i * 22 + 22].to_vec()).collect::<Vec<_>>();
        assert!(position(&f, 3).accept(&f, &of(&[0, 2])).is_err());
        assert!(position(&f, 3).accept(&f, &of(&[0, 0])).is_err());
        assert!(position(&f, 3).accept(&f, &of(&[1, 0])).is_err());
        assert!(position(&f, 1).accept(&f, &of(&[0, 1])).is_err());
        assert!(position(&f, 1).accept(&f, &f.replies[..23]).is_err());
        assert!(position(&f, 0).accept(&f, &f.replies[..1]).is_err());
    }

    #[test]
    fn a_large_message_is_compared_in_full_first_and_by_header_afterwards() {
        let f = frames(100_000);
        let mut bad_payload = f.replies[..f.reply_len].to_vec();
        bad_payload[50_000] ^= 1;
        assert!(position(&f, 2).accept(&f, &bad_payload).is_err());

        let mut p = position(&f, 3);
        assert_eq!(p.accept(&f, &f.replies), Ok(1));
        assert!(!p.exact());
        let mut bad_header = f.replies[..f.reply_len].to_vec();
        bad_header[9] ^= 1;
        let mut q = p;
        assert!(q.accept(&f, &bad_header).is_err());
        // What the header check cannot see, said as a fact: the documentation says it too.
        assert_eq!(p.accept(&f, &bad_payload), Ok(1));
    }

    #[test]
    fn discarded_payload_counts_towards_its_message() {
        let f = frames(100_000);
        let mut p = position(&f, 2);
        p.accept(&f, &f.replies).unwrap();
        assert_eq!(p.accept(&f, &f.replies[..10]), Ok(0));
        assert_eq!(p.accept_discarded(&f, 60_000), Ok(0));
        assert_eq!(p.accept_discarded(&f, 40_000), Ok(1));
        assert_eq!(p.outstanding, 0);
    }
}

//! What workers and the bridge to a broker say to each other on the bus: who wants which topics.
//!
//! ```text
//!  Kind::INTEREST   topic: the space            origin: 0, or the round that is answered
//!                   body: entries               1 = wanted, 0 = no more │ length: 1 │ topic or pattern
//!                         or one byte           2 = the answer is complete
//!  Kind::ASK        topic: none                 origin: the round
//!                   body: the worker, 4 bytes   which is to say all that it wants
//! ```
//!
//! A space is a service whose stations speak to each other under that name; the topics of the library have an empty one. Numbers are in
//! network byte order.

use super::{Bus, Kind};

/// The first segment of topics that stay on their server.
pub(crate) const LOCAL: &str = "$local";

/// Bytes of one record of a longer answer.
const PIECE_BYTES_MAX: usize = 4096;

const COMPLETE: u8 = 2;

/// An entry of a record.
#[cfg(any(feature = "backplane", test))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry<'a> {
    Pattern(&'a str, bool),
    Complete,
}

/// Whether a topic is one of those that stay on their server.
pub(crate) fn is_local(topic: &str) -> bool {
    topic
        .strip_prefix(LOCAL)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Reads a record of interest. What is none ends it.
#[cfg(any(feature = "backplane", test))]
pub(crate) fn entries(mut body: &[u8]) -> impl Iterator<Item = Entry<'_>> {
    std::iter::from_fn(move || {
        let (flag, rest) = body.split_first()?;
        if *flag == COMPLETE {
            body = rest;
            return Some(Entry::Complete);
        }
        let (length, rest) = rest.split_first()?;
        let (pattern, rest) = rest.split_at_checked(usize::from(*length))?;
        body = rest;
        let pattern = std::str::from_utf8(pattern).ok()?;
        (*flag < COMPLETE).then_some(Entry::Pattern(pattern, *flag == 1))
    })
}

/// The worker that is asked.
pub(crate) fn asked(body: &[u8]) -> Option<usize> {
    let worker = u32::from_be_bytes(body.try_into().ok()?);
    usize::try_from(worker).ok()
}

impl Bus {
    /// Tells the bridge, if there is one, of the first subscriber here or of the end of the last one.
    pub(crate) fn tell_interest(&mut self, space: &str, pattern: &str, is_wanted: bool) {
        if self.has_bridge() {
            let mut body = Vec::with_capacity(2 + pattern.len());
            push(&mut body, pattern, is_wanted);
            self.say_interest(space, &body);
        }
    }

    /// Tells the bridge of some that have subscribers here.
    pub(crate) fn list_interests<'a>(
        &mut self,
        space: &str,
        patterns: impl Iterator<Item = &'a str>,
    ) {
        let mut body = Vec::new();
        for pattern in patterns {
            if body.len() + 2 + pattern.len() > PIECE_BYTES_MAX {
                self.say_interest(space, &body);
                body.clear();
            }
            push(&mut body, pattern, true);
        }
        if !body.is_empty() {
            self.say_interest(space, &body);
        }
    }

    /// Tells the bridge that the answer to its question of this round is complete.
    pub(crate) fn complete_interests(&mut self, round: u64) {
        // A log that does not take it has another writer, who is asked again.
        let _ = self.publish(Kind::INTEREST, round, b"", &[COMPLETE]);
    }

    /// Asks a worker for all that it wants.
    #[cfg(feature = "backplane")]
    pub(crate) fn ask(&mut self, worker: usize, round: u64) {
        let worker = u32::try_from(worker).unwrap_or(u32::MAX);
        // Asked again if the log does not take it.
        let _ = self.publish(Kind::ASK, round, b"", &worker.to_be_bytes());
    }

    fn say_interest(&mut self, space: &str, body: &[u8]) {
        // A log that does not take it has another writer, who is asked for everything.
        let _ = self.publish(Kind::INTEREST, 0, space.as_bytes(), body);
    }
}

fn push(body: &mut Vec<u8>, pattern: &str, is_wanted: bool) {
    if is_local(pattern) {
        return;
    }
    let length = u8::try_from(pattern.len()).expect("a pattern has 255 bytes at most");
    body.extend([u8::from(is_wanted), length]);
    body.extend_from_slice(pattern.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_as_they_are_written_and_local_topics_are_not() {
        let mut body = Vec::new();
        for (pattern, is_wanted) in [("a/+", true), ("$local/tick", true), ("$locals", false)] {
            push(&mut body, pattern, is_wanted);
        }
        body.push(COMPLETE);
        let read: Vec<_> = entries(&body).collect();
        let expected = [
            Entry::Pattern("a/+", true),
            Entry::Pattern("$locals", false),
            Entry::Complete,
        ];
        assert_eq!(read, expected);
    }

    #[test]
    fn what_is_no_entry_ends_the_record() {
        for bad in [&b"\x01"[..], b"\x01\x02a", b"\x03\x01a", b"\x01\x01\xff"] {
            assert_eq!(entries(bad).next(), None);
        }
        assert_eq!((asked(b"\0\0\0\x07"), asked(b"\x07")), (Some(7), None));
    }
}

//! A stream of text in messages: each line is one text message, without its line break.
//!
//! Owns: where lines begin and end, and what becomes of bytes that are no UTF-8. Never: decides who is joined.
//!
//! | | |
//! |---|---|
//! | a text message | its payload, then a line feed, for the stream ([`super::carry`]) |
//! | a line of the stream, ended by LF or CRLF | one text message, perhaps empty |
//! | the end of the stream behind bytes without a line break | one text message more |
//! | bytes that are no UTF-8 (RFC 3629) | U+FFFD: a text message may not have them (RFC 6455 §8.1), and the client would fail the connection |
//!
//! A line that came in one receive leaves from where it lies. The beginning of another one waits, up to [`KEPT_BYTES_MAX`]; a longer
//! line leaves in several frames of its one message, so that lines have no limit and the memory has one.

use std::borrow::Cow;
use std::ops::Range;

use super::context::Context;
use crate::io::BufferId;
use crate::proto::Kind;

/// Bytes of a line without an end that are kept before they leave as a frame (64 KiB): a message that carries a stream has no more.
const KEPT_BYTES_MAX: usize = 64 << 10;

/// A line whose end has not come.
#[derive(Debug, Default)]
pub(crate) struct Line {
    rest: Vec<u8>,
    /// Frames of its message have left.
    has_begun: bool,
}

impl Context<'_> {
    /// Sends the lines in `range` of `buf`, behind the beginning of the first one if that has come before. Keeps one that has no end
    /// there.
    pub(super) fn send_lines(
        &mut self,
        buffer: Option<BufferId>,
        buf: &mut [u8],
        range: Range<usize>,
    ) {
        let id = self.id();
        let mut line = self.output.shared.protocol.pairs.lines.remove(&id);
        let mut start = range.start;
        while let Some(len) = memchr::memchr(b'\n', &buf[start..range.end]) {
            let end = start + len;
            match line.take() {
                None => {
                    let kept = without_return(&buf[start..end]).len();
                    self.send_line(buffer, buf, start..start + kept);
                }
                Some(mut line) => {
                    line.rest.extend_from_slice(&buf[start..end]);
                    let kept = without_return(&line.rest).len();
                    line.rest.truncate(kept);
                    self.end_line(line);
                }
            }
            start = end + 1;
        }
        if start < range.end {
            let line = line.get_or_insert_default();
            line.rest.extend_from_slice(&buf[start..range.end]);
            if line.rest.len() > KEPT_BYTES_MAX {
                self.send_beginning(line);
            }
        }
        if let Some(line) = line {
            self.output.shared.protocol.pairs.lines.insert(id, line);
        }
    }

    fn send_line(&mut self, buffer: Option<BufferId>, buf: &mut [u8], range: Range<usize>) {
        let is_whole = self.is_fragmented(range.len()) || self.compresses(range.len());
        match (String::from_utf8_lossy(&buf[range.clone()]), buffer) {
            (Cow::Borrowed(_), Some(buffer)) if !is_whole => {
                self.send_in_place(Kind::Text, buffer, buf, range);
            }
            (text, _) => self.send_whole(Kind::Text, text.as_bytes()),
        }
    }

    /// Sends what there is of a long line as a frame of its message.
    fn send_beginning(&mut self, line: &mut Line) {
        let whole = line.rest.len() - unfinished(&line.rest);
        let text = String::from_utf8_lossy(&line.rest[..whole]);
        self.send_part_of_line(&text, false);
        line.has_begun = true;
        line.rest = line.rest.split_off(whole);
    }

    /// Sends what is left of a line, which ends here, or its stream does.
    pub(super) fn end_line(&mut self, line: Line) {
        let text = String::from_utf8_lossy(&line.rest);
        match line.has_begun {
            true => self.send_part_of_line(&text, true),
            false => self.send_whole(Kind::Text, text.as_bytes()),
        }
    }

    /// Sends a part of a message as a frame, whatever waits before it. Dropped after our Close.
    fn send_part_of_line(&mut self, text: &str, ends: bool) {
        let header = self.part_header(Kind::Text, text.len(), ends);
        if self.sender.check(&header).is_err() {
            self.output.shared.counters.drops += 1;
            return;
        }
        self.count_out(u64::from(ends), header.payload_len);
        self.send_frame(header, text.as_bytes());
    }
}

/// A line without the CR of its CRLF.
fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Bytes at the end that only what follows gives a meaning: the beginning of a code point, or a CR.
fn unfinished(bytes: &[u8]) -> usize {
    if bytes.ends_with(b"\r") {
        return 1;
    }
    for (behind, byte) in bytes.iter().rev().take(3).enumerate() {
        let needs = match byte {
            0x80..=0xBF => continue,
            0xC2..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF4 => 4,
            _ => return 0,
        };
        let has = behind + 1;
        return if has < needs { has } else { 0 };
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_beginning_of_a_code_point_and_a_carriage_return_are_unfinished() {
        for (bytes, left) in [
            (&b""[..], 0),
            (b"abc", 0),
            (b"abc\r", 1),
            ("a\u{e9}".as_bytes(), 0),
            (&"a\u{e9}".as_bytes()[..2], 1),
            (&"\u{20ac}".as_bytes()[..2], 2),
            (&"\u{1f600}".as_bytes()[..3], 3),
            ("\u{1f600}".as_bytes(), 0),
            (b"\x80\x80\x80\x80", 0),
            (b"a\xFF", 0),
        ] {
            assert_eq!(unfinished(bytes), left, "{bytes:?}");
        }
    }
}

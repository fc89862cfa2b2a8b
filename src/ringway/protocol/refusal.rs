//! A server's answer that refuses the WebSocket, as the client reads it: status, `Location`, and the beginning of the
//! content.

use std::fmt::{self, Write as _};

use crate::proto::handshake::StatusCode;
use crate::proto::http::{self, Body};

/// Bytes of the content that are kept. A sentence helps the user; a page does not. Chosen, untested.
const BODY_BYTES_MAX: usize = 512;

/// Bytes of the content that are read, chunk headers included.
const RAW_BYTES_MAX: usize = 2048;

/// Characters of a server's text that are shown in a message.
const SHOWN_CHARS_MAX: usize = 200;

/// A server's answer that refused the WebSocket. Its text comes from a stranger: print it with `Display`, which escapes
/// control characters, or escape it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refused {
    /// Any status but 101 and the other 1xx, which are skipped.
    pub status: StatusCode,
    /// `Location`, as sent.
    pub location: Option<Vec<u8>>,
    /// The first bytes of the content, at most 512. Empty if the content is compressed or did not arrive within a
    /// second.
    pub body: Vec<u8>,
}

impl fmt::Display for Refused {
    /// `503 Service Unavailable: no backend is up`, in one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:03}", self.status.0)?;
        let phrase = self.status.reason_phrase();
        if !phrase.is_empty() {
            write!(f, " {phrase}")?;
        }
        if let Some(location) = &self.location {
            f.write_str(", Location: ")?;
            show(location, f)?;
        }
        if self.body.iter().any(|b| !b.is_ascii_whitespace()) {
            f.write_str(": ")?;
            show(&self.body, f)?;
        }
        Ok(())
    }
}

/// Prints a stranger's text in one line: white space as single spaces, unprintable characters escaped.
fn show(text: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let text = String::from_utf8_lossy(text);
    let words = text.split(|c: char| c.is_whitespace());
    let mut left = SHOWN_CHARS_MAX;
    let mut first = true;
    for word in words.filter(|word| !word.is_empty()) {
        if !std::mem::take(&mut first) {
            f.write_char(' ')?;
        }
        for c in word.chars() {
            if left == 0 {
                return f.write_char('…');
            }
            left -= 1;
            match c {
                '"' | '\'' | '\\' => f.write_char(c)?,
                // Escapes control characters, and those that change the direction or the look of others.
                _ => write!(f, "{}", c.escape_debug())?,
            }
        }
    }
    Ok(())
}

/// A refusal whose content is still arriving.
#[derive(Debug)]
pub(crate) struct Reading {
    refused: Refused,
    framing: Body,
    raw: Vec<u8>,
}

impl Reading {
    /// The refusal of a response whose head was read.
    pub(crate) fn new(response: &http::Response<'_>) -> Self {
        let is_plain = response
            .header("Content-Encoding")
            .is_none_or(|coding| coding.eq_ignore_ascii_case(b"identity"));
        Self {
            refused: Refused {
                status: response.status(),
                location: response.header("Location").map(<[u8]>::to_vec),
                body: Vec::new(),
            },
            framing: if is_plain {
                response.body()
            } else {
                Body::None
            },
            raw: Vec::new(),
        }
    }

    /// Takes bytes behind the head. Returns `true` when no more are wanted.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> bool {
        let room = RAW_BYTES_MAX - self.raw.len();
        self.raw
            .extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        let body = &mut self.refused.body;
        body.clear();
        let done = self.framing.beginning(&self.raw, BODY_BYTES_MAX, body);
        done || self.raw.len() == RAW_BYTES_MAX
    }

    /// The refusal, with the content that has arrived.
    pub(crate) fn finish(self) -> Refused {
        self.refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, location: Option<&[u8]>, body: &[u8]) -> String {
        let refused = Refused {
            status: StatusCode(status),
            location: location.map(<[u8]>::to_vec),
            body: body.to_vec(),
        };
        refused.to_string()
    }

    #[test]
    fn a_refusal_is_one_line_without_control_characters() {
        assert_eq!(refused(404, None, b""), "404 Not Found");
        assert_eq!(refused(799, None, b" \r\n"), "799");
        assert_eq!(refused(99, None, b"x"), "099: x");
        assert_eq!(
            refused(503, None, b"no \"backend\"\r\n\tis up\n"),
            "503 Service Unavailable: no \"backend\" is up"
        );
        assert_eq!(
            refused(302, Some(b"https://a/\x1b[31m"), b"over there"),
            "302 Found, Location: https://a/\\u{1b}[31m: over there"
        );
        assert_eq!(
            refused(
                400,
                None,
                "a\0b\u{7}\u{202e}c\u{9b}d \u{e4}\u{2028}x".as_bytes()
            ),
            "400 Bad Request: a\\0b\\u{7}\\u{202e}c\\u{9b}d \u{e4} x"
        );
        assert_eq!(refused(400, None, b"\xffx"), "400 Bad Request: \u{fffd}x");
        let long = refused(400, None, &[b'x'; 512]);
        assert_eq!(long, format!("400 Bad Request: {}…", "x".repeat(200)));
    }

    /// The text of a whole response that arrives in pieces of `piece` bytes, and whether its end was seen.
    fn read(response: &[u8], piece: usize) -> (String, bool) {
        let mut bytes = response.to_vec();
        let limits = http::Limits::default();
        let Ok(http::Progress::Complete { head, head_bytes }) =
            http::parse_response(&mut bytes, &limits)
        else {
            panic!("not complete");
        };
        let mut reading = Reading::new(&head);
        let mut done = reading.push(b"");
        for piece in response[head_bytes..].chunks(piece) {
            if !done {
                done = reading.push(piece);
            }
        }
        let body = String::from_utf8(reading.finish().body).expect("text");
        (body, done)
    }

    #[test]
    fn the_content_is_read_as_it_is_delimited_and_no_further() {
        for piece in [1, 7, 10_000] {
            let at = |response: &str| read(response.as_bytes(), piece);
            let (busy, none) = ("busy".to_owned(), String::new());
            assert_eq!(
                at("HTTP/1.0 503 X\r\nContent-Length: 4\r\n\r\nbusy"),
                (busy.clone(), true)
            );
            assert_eq!(at("HTTP/1.0 503 X\r\n\r\nbusy"), (busy.clone(), false));
            assert_eq!(
                at(
                    "HTTP/1.1 503 X\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nb\r\n3\r\nusy\r\n0\r\n\r\n"
                ),
                (busy, true)
            );
            assert_eq!(
                at("HTTP/1.1 503 X\r\nContent-Encoding: gzip\r\n\r\nbusy"),
                (none.clone(), true)
            );
            assert_eq!(at("HTTP/1.1 204 X\r\n\r\n"), (none.clone(), true));
            assert_eq!(
                at("HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n"),
                (none, true)
            );
            let endless = "HTTP/1.1 200 OK\r\n\r\n".to_owned() + &"y".repeat(9000);
            assert_eq!(at(&endless), ("y".repeat(512), true));
        }
    }
}

//! How the body of a message is delimited (RFC 9112 §6), and the beginning of one.

use super::Version;
use super::fields::list;
use super::refusal::{Refusal, StatusCode};

/// How the bytes after a head are delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// Nothing.
    None,
    /// This many bytes.
    Length(u64),
    /// Chunks, up to one of length zero (RFC 9112 §7.1).
    Chunked,
    /// Everything up to the end of the connection; only a response can have that.
    UntilClose,
}

/// `Content-Length` in all its lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Length {
    #[default]
    Absent,
    One(u64),
    /// More than one line, and all say this.
    Same(u64),
    /// Not a number, or lines that differ.
    Invalid,
}

/// `Transfer-Encoding` in all its lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Codings {
    #[default]
    Absent,
    /// `chunked`, once, and nothing else.
    Chunked,
    /// Others, and `chunked` once at the end.
    OthersThenChunked,
    /// Others, and no `chunked` so far.
    Others,
    /// Nothing at all, or something after `chunked`.
    Invalid,
}

/// The headers that say where a message ends.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Framing {
    length: Length,
    codings: Codings,
}

impl Framing {
    pub(super) fn add_length(&mut self, value: &[u8]) {
        let number = decimal(value);
        self.length = match (self.length, number) {
            (Length::Absent, Some(n)) => Length::One(n),
            (Length::One(before) | Length::Same(before), Some(n)) if before == n => Length::Same(n),
            _ => Length::Invalid,
        };
    }

    pub(super) fn add_codings(&mut self, value: &[u8]) {
        let mut any = false;
        for coding in list(value) {
            any = true;
            let is_chunked = coding.eq_ignore_ascii_case(b"chunked");
            self.codings = match (self.codings, is_chunked) {
                (Codings::Absent, true) => Codings::Chunked,
                (Codings::Absent | Codings::Others, false) => Codings::Others,
                (Codings::Others, true) => Codings::OthersThenChunked,
                _ => Codings::Invalid,
            };
        }
        if !any {
            self.codings = Codings::Invalid;
        }
    }

    /// RFC 9112 §6.3 for a request. A body whose end has two readings is what request smuggling is made of.
    pub(super) fn of_request(self, version: Version) -> Result<Body, Refusal> {
        let bad = Refusal::bad;
        match (self.codings, self.length) {
            (Codings::Absent, Length::Absent) => Ok(Body::None),
            (Codings::Absent, Length::One(0)) => Ok(Body::None),
            (Codings::Absent, Length::One(n)) => Ok(Body::Length(n)),
            (Codings::Absent, Length::Same(_)) => {
                Err(bad("there is more than one Content-Length header"))
            }
            (Codings::Absent, Length::Invalid) => {
                Err(bad("the Content-Length header is not one number"))
            }
            // "A server MAY reject a request that contains both Content-Length and Transfer-Encoding"
            (_, Length::One(_) | Length::Same(_) | Length::Invalid) => Err(bad(
                "there is a Content-Length header beside a Transfer-Encoding header",
            )),
            // RFC 9112 §6.1: "A client MUST NOT send a request containing Transfer-Encoding unless it knows the server
            // will handle HTTP/1.1 requests", and one in 1.0 "MUST" be treated "as if the framing is faulty".
            _ if version < Version::HTTP_1_1 => Err(bad(
                "there is a Transfer-Encoding header in a request of HTTP/1.0",
            )),
            (Codings::Chunked, _) => Ok(Body::Chunked),
            // RFC 9112 §6.1: "A server that receives a request message with a transfer coding it does not understand
            // SHOULD respond with 501 (Not Implemented)."
            (Codings::OthersThenChunked, _) => Err(Refusal::new(
                StatusCode::NOT_IMPLEMENTED,
                "the Transfer-Encoding header names something else than chunked",
            )),
            // "If a Transfer-Encoding header field is present in a request and the chunked transfer coding is not the
            // final encoding, the message body length cannot be determined reliably; the server MUST respond with the
            // 400 (Bad Request) status code and then close the connection."
            (Codings::Others | Codings::Invalid, _) => Err(bad(
                "the Transfer-Encoding header does not end in one chunked",
            )),
        }
    }

    /// RFC 9112 §6.3 for the response to a GET. A body with faulty framing counts as lasting until the connection ends,
    /// so that the person who reads our error still sees the server's status.
    pub(super) fn of_response(self, status: StatusCode) -> Body {
        match (status.0, self.codings, self.length) {
            (100..=199 | 204 | 304, ..) => Body::None,
            (_, Codings::Chunked, _) => Body::Chunked,
            (_, Codings::Absent, Length::One(0) | Length::Same(0)) => Body::None,
            (_, Codings::Absent, Length::One(n) | Length::Same(n)) => Body::Length(n),
            _ => Body::UntilClose,
        }
    }
}

impl Body {
    /// Appends what `bytes`, the beginning of this body, holds of the content, up to `max` bytes. Returns `true` when the
    /// caller need not read further: the body has ended, `max` is reached, or a chunk is malformed.
    pub fn beginning(self, bytes: &[u8], max: usize, out: &mut Vec<u8>) -> bool {
        let want = match self {
            Self::None => return true,
            Self::Length(n) => usize::try_from(n).unwrap_or(usize::MAX).min(max),
            Self::UntilClose => max,
            Self::Chunked => return beginning_of_chunks(bytes, max, out),
        };
        out.extend_from_slice(bytes.get(..want).unwrap_or(bytes));
        bytes.len() >= want
    }
}

fn beginning_of_chunks(mut bytes: &[u8], max: usize, out: &mut Vec<u8>) -> bool {
    let mut room = max;
    loop {
        let Some(end) = bytes.iter().position(|&b| b == b'\n') else {
            // Gives up on a line of chunk extensions that is longer than the limit.
            return bytes.len() > CHUNK_LINE_BYTES_MAX;
        };
        let (line, rest) = bytes.split_at(end + 1);
        let Some(len) = chunk_len(line) else {
            return true;
        };
        let content = rest.get(..len.min(room)).unwrap_or(rest);
        out.extend_from_slice(content);
        room -= content.len();
        if len == 0 || room == 0 {
            return true;
        }
        // The CRLF behind a chunk.
        match rest.get(len + 2..) {
            Some(after) => bytes = after,
            None => return false,
        }
    }
}

/// `chunk-size [ chunk-ext ] CRLF`
fn chunk_len(line: &[u8]) -> Option<usize> {
    let end = line.iter().position(|b| !b.is_ascii_hexdigit())?;
    let digits = str::from_utf8(line.get(..end)?).ok()?;
    let is_end = matches!(line.get(end)?, b';' | b' ' | b'\t' | b'\r' | b'\n');
    let len = usize::from_str_radix(digits, 16).ok().filter(|_| is_end)?;
    // Half of the range, so that sums with it cannot overflow.
    (len <= usize::MAX >> 1).then_some(len)
}

/// `1*DIGIT`.
fn decimal(value: &[u8]) -> Option<u64> {
    let text = str::from_utf8(value).ok()?;
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

/// Bytes of a chunk's size line, its extensions included. Chosen, untested: hardly any server sends extensions.
const CHUNK_LINE_BYTES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn framing(lines: &[(&str, &str)]) -> Framing {
        let mut framing = Framing::default();
        for (name, value) in lines {
            match *name {
                "CL" => framing.add_length(value.as_bytes()),
                _ => framing.add_codings(value.as_bytes()),
            }
        }
        framing
    }

    fn of_request(lines: &[(&str, &str)]) -> Result<Body, u16> {
        let body = framing(lines).of_request(Version::HTTP_1_1);
        body.map_err(|refusal| refusal.status().0)
    }

    #[test]
    fn the_body_of_a_request_has_one_end() {
        assert_eq!(of_request(&[]), Ok(Body::None));
        assert_eq!(of_request(&[("CL", "0")]), Ok(Body::None));
        assert_eq!(of_request(&[("CL", "0012")]), Ok(Body::Length(12)));
        let max = "18446744073709551615";
        assert_eq!(of_request(&[("CL", max)]), Ok(Body::Length(u64::MAX)));
        assert_eq!(of_request(&[("TE", "chunked")]), Ok(Body::Chunked));
        assert_eq!(of_request(&[("TE", ", CHUNKED,")]), Ok(Body::Chunked));
        for value in ["", "+1", "-1", "1 2", "1, 1", "0x1", "18446744073709551616"] {
            assert_eq!(of_request(&[("CL", value)]), Err(400), "{value}");
        }
        assert_eq!(of_request(&[("CL", "1"), ("CL", "1")]), Err(400));
        assert_eq!(of_request(&[("CL", "1"), ("CL", "2")]), Err(400));
        assert_eq!(of_request(&[("CL", "1"), ("TE", "chunked")]), Err(400));
        for value in ["", "gzip", "identity", "chunked, gzip", "chunked, chunked"] {
            assert_eq!(of_request(&[("TE", value)]), Err(400), "{value}");
        }
        assert_eq!(of_request(&[("TE", "gzip, chunked")]), Err(501));
        assert_eq!(of_request(&[("TE", "gzip"), ("TE", "chunked")]), Err(501));
        let old = Version { major: 1, minor: 0 };
        assert!(framing(&[("TE", "chunked")]).of_request(old).is_err());
    }

    #[test]
    fn the_body_of_a_response_is_read_as_far_as_it_can_be() {
        let of = |status, lines| framing(lines).of_response(StatusCode(status));
        assert_eq!(of(503, &[]), Body::UntilClose);
        assert_eq!(of(204, &[("CL", "5")]), Body::None);
        assert_eq!(of(304, &[("CL", "5")]), Body::None);
        assert_eq!(of(200, &[("CL", "5"), ("CL", "5")]), Body::Length(5));
        assert_eq!(of(200, &[("CL", "5"), ("CL", "6")]), Body::UntilClose);
        assert_eq!(of(200, &[("CL", "5"), ("TE", "chunked")]), Body::Chunked);
        assert_eq!(of(200, &[("TE", "gzip, chunked")]), Body::UntilClose);
    }

    fn beginning(body: Body, bytes: &str, max: usize) -> (String, bool) {
        let mut out = Vec::new();
        let done = body.beginning(bytes.as_bytes(), max, &mut out);
        (String::from_utf8(out).expect("text"), done)
    }

    #[test]
    fn the_beginning_of_a_body_is_bounded_and_ends_where_the_body_does() {
        let text = |text: &str, done| (text.to_owned(), done);
        assert_eq!(beginning(Body::None, "abc", 9), text("", true));
        assert_eq!(beginning(Body::Length(2), "abc", 9), text("ab", true));
        assert_eq!(beginning(Body::Length(5), "abc", 9), text("abc", false));
        assert_eq!(beginning(Body::Length(5), "abc", 3), text("abc", true));
        assert_eq!(beginning(Body::UntilClose, "abc", 9), text("abc", false));
        assert_eq!(beginning(Body::UntilClose, "abcd", 3), text("abc", true));
        let chunks = "3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n";
        assert_eq!(beginning(Body::Chunked, chunks, 9), text("abcde", true));
        assert_eq!(beginning(Body::Chunked, chunks, 4), text("abcd", true));
        for cut in 0..chunks.len() - 4 {
            let (got, done) = beginning(Body::Chunked, &chunks[..cut], 9);
            assert!("abcde".starts_with(&got) && !done, "cut at {cut}");
        }
        for bad in [
            "x\r\n",
            "\r\n",
            "1g\r\n",
            "ffffffffffffffffff\r\n",
            "-1\r\n",
        ] {
            assert_eq!(beginning(Body::Chunked, bad, 9), text("", true), "{bad}");
        }
        let endless = "1;".to_owned() + &"x".repeat(300);
        assert_eq!(beginning(Body::Chunked, &endless, 9), text("", true));
    }
}

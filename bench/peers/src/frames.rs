//! A minimal WebSocket echo over a byte buffer. Frames are unmasked and re-framed in place, so that all complete frames
//! of one read leave in one write. Unlike a full implementation it does not reassemble messages: it echoes fragments as
//! fragments, and does not validate UTF-8 across them.
//!
//! A masked client header is four bytes longer than the server's. The first reply therefore begins four bytes after
//! its request, its payload does not move at all, and each further payload moves four bytes more to the left:
//!
//! ```text
//! in:   | hdr key payload0 | hdr key payload1 | …
//! out:      | hdr payload0 | hdr payload1 | …
//! ```

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

use crate::MESSAGE_BYTES_MAX;

/// The peer broke the protocol or sent a Close: flush and close.
#[derive(Debug, PartialEq, Eq)]
pub struct Closing;

/// The result of [`echo`].
#[derive(Debug, PartialEq, Eq)]
pub struct Echoed {
    /// The replies, in place.
    pub replies: Range<usize>,
    /// Consumed bytes at the front.
    pub consumed: usize,
    /// Bytes of the incomplete frame after them, if its header is complete.
    pub frame_bytes: usize,
    /// Whether to close after the replies.
    pub closing: Option<Closing>,
}

struct Header {
    first: u8,
    len: usize,
    bytes: usize,
    key: [u8; 4],
}

/// Echoes all complete frames of `buffer` in place.
pub fn echo(buffer: &mut [u8]) -> Echoed {
    let mut read = 0;
    // `write` and `begin` are set by the first frame: four bytes behind its begin.
    let (mut write, mut begin) = (4, 4);
    loop {
        let header = match header(&buffer[read..]) {
            Ok(Some(header)) => header,
            Ok(None) => return Echoed { replies: begin..write, consumed: read, frame_bytes: 0, closing: None },
            Err(closing) => {
                return Echoed { replies: begin..write, consumed: read, frame_bytes: 0, closing: Some(closing) };
            }
        };
        let frame_bytes = header.bytes + header.len;
        if buffer.len() - read < frame_bytes {
            return Echoed { replies: begin..write, consumed: read, frame_bytes, closing: None };
        }
        if read == 0 {
            (write, begin) = (4, 4);
        }
        let opcode = header.first & 0x0f;
        if opcode == 10 {
            // A Pong has no answer.
            read += frame_bytes;
            continue;
        }
        let payload = write + header.bytes - 4;
        unmask(buffer, read + header.bytes, payload, header.len, header.key);
        let whole_text = header.first == 0x81;
        if whole_text && simdutf8::basic::from_utf8(&buffer[payload..payload + header.len]).is_err() {
            return Echoed { replies: begin..write, consumed: read, frame_bytes: 0, closing: Some(Closing) };
        }
        let first = if opcode == 9 { 0x8a } else { header.first };
        write_header(&mut buffer[write..payload], first, header.len);
        write = payload + header.len;
        read += frame_bytes;
        if opcode == 8 {
            return Echoed { replies: begin..write, consumed: read, frame_bytes: 0, closing: Some(Closing) };
        }
    }
}

fn header(bytes: &[u8]) -> Result<Option<Header>, Closing> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    let (first, second) = (*first, *second);
    let control = first & 0x08 != 0;
    if first & 0x70 != 0 || second & 0x80 == 0 || (control && (first & 0x80 == 0 || second & 0x7f > 125)) {
        return Err(Closing);
    }
    let (len, extended) = match (second & 0x7f, rest) {
        (126, [a, b, ..]) => (usize::from(u16::from_be_bytes([*a, *b])), 2),
        (127, [a, b, c, d, e, f, g, h, ..]) => {
            let len = u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]);
            (usize::try_from(len).map_err(|_| Closing)?, 8)
        }
        (126 | 127, _) => return Ok(None),
        (len, _) => (usize::from(len), 0),
    };
    if len > MESSAGE_BYTES_MAX {
        return Err(Closing);
    }
    match rest[extended..] {
        [a, b, c, d, ..] => Ok(Some(Header { first, len, bytes: 2 + extended + 4, key: [a, b, c, d] })),
        _ => Ok(None),
    }
}

fn write_header(room: &mut [u8], first: u8, len: usize) {
    room[0] = first;
    match room.len() {
        2 => room[1] = len as u8,
        4 => {
            room[1] = 126;
            room[2..].copy_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            room[1] = 127;
            room[2..].copy_from_slice(&(len as u64).to_be_bytes());
        }
    }
}

/// Unmasks `len` bytes at `from` to `to`, which is at `from` or before it.
fn unmask(buffer: &mut [u8], from: usize, to: usize, len: usize, key: [u8; 4]) {
    let word_key = u64::from_ne_bytes([key[0], key[1], key[2], key[3], key[0], key[1], key[2], key[3]]);
    if from == to {
        let (words, rest) = buffer[from..from + len].as_chunks_mut::<8>();
        for word in words {
            *word = (u64::from_ne_bytes(*word) ^ word_key).to_ne_bytes();
        }
        rest.iter_mut().zip(key.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
        return;
    }
    buffer.copy_within(from..from + len, to);
    unmask(buffer, to, to, len, key);
}

/// The response to an opening handshake, once `bytes` holds all of it. `Err`: it is refused.
pub fn handshake(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, Closing> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut request = httparse::Request::new(&mut headers);
    let Ok(httparse::Status::Complete(len)) = request.parse(bytes) else {
        return if bytes.len() > 8192 { Err(Closing) } else { Ok(None) };
    };
    let key = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case("sec-websocket-key"));
    let Some(key) = key else { return Err(Closing) };
    let mut digest = Sha1::new();
    digest.update(key.value);
    digest.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let accept = STANDARD.encode(digest.finalize());
    let response = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    Ok(Some((response.into_bytes(), len)))
}

#[cfg(test)]
mod tests {
    use super::*;

    // "Hi" and "you" with the key 01 02 03 04.
    const HI: [u8; 8] = [0x81, 0x82, 1, 2, 3, 4, b'H' ^ 1, b'i' ^ 2];
    const YOU: [u8; 9] = [0x81, 0x83, 1, 2, 3, 4, b'y' ^ 1, b'o' ^ 2, b'u' ^ 3];

    #[test]
    fn all_complete_frames_become_one_run_of_replies() {
        let mut buffer = [&HI[..], &YOU, &HI, &YOU[..7]].concat();
        let echoed = echo(&mut buffer);
        assert_eq!(&buffer[echoed.replies], b"\x81\x02Hi\x81\x03you\x81\x02Hi");
        assert_eq!((echoed.consumed, echoed.frame_bytes, echoed.closing), (25, 9, None));
    }

    #[test]
    fn a_frame_is_echoed_only_when_it_is_complete() {
        for cut in 0..8 {
            let echoed = echo(&mut HI[..cut].to_vec());
            assert_eq!((echoed.consumed, echoed.replies.len(), echoed.closing), (0, 0, None), "{cut}");
        }
    }

    #[test]
    fn a_ping_becomes_a_pong_and_a_close_closes() {
        let mut buffer = vec![0x89, 0x80, 1, 2, 3, 4, 0x88, 0x80, 1, 2, 3, 4];
        let echoed = echo(&mut buffer);
        assert_eq!(&buffer[echoed.replies], b"\x8a\x00\x88\x00");
        assert_eq!(echoed.closing, Some(Closing));
    }

    #[test]
    fn unmasked_frames_and_bad_utf_8_close() {
        assert_eq!(echo(&mut [0x81, 0x02, b'H', b'i']).closing, Some(Closing));
        assert_eq!(echo(&mut [0x81, 0x81, 0, 0, 0, 0, 0xff]).closing, Some(Closing));
    }

    #[test]
    fn the_handshake_is_the_example_of_the_standard() {
        let request = b"GET / HTTP/1.1\r\nHost: a\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        let (response, len) = handshake(request).unwrap().unwrap();
        assert!(String::from_utf8(response).unwrap().contains("Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
        assert_eq!(len, request.len());
        assert_eq!(handshake(&request[..20]), Ok(None));
    }
}

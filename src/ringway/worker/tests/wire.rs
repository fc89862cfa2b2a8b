//! What comes from a server, decoded by the letter of RFC 6455 and without the code under test.

use flate2::{Decompress, FlushDecompress};

/// What was found at the front of the bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// An HTTP head: its status.
    Head(u16),
    /// A frame, or a message in several. A server never masks.
    Frame { opcode: u8, payload: Vec<u8> },
}

/// Bytes that came and are not decoded yet.
#[derive(Debug, Default)]
pub(super) struct Wire {
    bytes: Vec<u8>,
    at: usize,
    status: Option<u16>,
    /// For compressed messages.
    inflater: Option<Inflater>,
    /// Messages may come in several frames; the one that has begun.
    pub(super) parts: Option<Vec<u8>>,
    opcode: u8,
    /// Bytes of the HTTP head.
    pub(super) head_bytes: usize,
}

/// An inflater that is not ours.
#[derive(Debug)]
struct Inflater {
    judge: Decompress,
    takeover: bool,
}

impl Inflater {
    fn read(&mut self, compressed: &[u8]) -> Vec<u8> {
        if !self.takeover {
            self.judge.reset(false);
        }
        let input = [compressed, &[0, 0, 0xFF, 0xFF]].concat();
        let (mut message, began) = (Vec::new(), self.judge.total_in());
        loop {
            message.reserve(64 << 10);
            let (at, len) = (self.judge.total_in() - began, message.len());
            let rest = &input[usize::try_from(at).expect("small")..];
            let judged = self
                .judge
                .decompress_vec(rest, &mut message, FlushDecompress::Sync);
            judged.expect("a server's message is valid");
            if rest.is_empty() && message.len() == len {
                return message;
            }
        }
    }
}

impl Wire {
    /// Of a server that may compress, with context takeover or without.
    pub(super) fn compressed(takeover: bool) -> Self {
        Self {
            inflater: Some(Inflater {
                judge: Decompress::new(false),
                takeover,
            }),
            ..Self::default()
        }
    }

    pub(super) fn extend(&mut self, bytes: &[u8]) {
        self.bytes.drain(..std::mem::take(&mut self.at));
        self.bytes.extend_from_slice(bytes);
    }

    /// Bytes that are not decoded.
    pub(super) fn rest(&self) -> &[u8] {
        &self.bytes[self.at..]
    }

    pub(super) fn next(&mut self) -> Option<Item> {
        match self.status {
            None => self.next_head(),
            Some(101) => self.next_frame(),
            Some(_) => {
                // A page, of no interest here.
                self.at = self.bytes.len();
                None
            }
        }
    }

    fn next_head(&mut self) -> Option<Item> {
        let rest = self.rest();
        let end = rest.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        let status = std::str::from_utf8(&rest[9..12])
            .expect("a status line")
            .parse()
            .expect("a status");
        self.at += end;
        self.status = Some(status);
        self.head_bytes = end;
        Some(Item::Head(status))
    }

    fn next_frame(&mut self) -> Option<Item> {
        let rest = self.rest();
        let (&first, &second) = (rest.first()?, rest.get(1)?);
        let compressed = first & 0xF0 == 0xC0 && self.inflater.is_some();
        let in_parts = self.parts.is_some() && first & 0xF8 == 0;
        let is_one = compressed || in_parts || first & 0xF0 == 0x80;
        assert!(is_one, "FIN and no other bit");
        assert_eq!(second & 0x80, 0, "a server's frame is not masked");
        let (len, head) = match second {
            126 => {
                let len = u16::from_be_bytes(*rest.get(2..)?.first_chunk()?);
                assert!(len > 125, "the shortest form of a length");
                (u64::from(len), 4)
            }
            127 => {
                let len = u64::from_be_bytes(*rest.get(2..)?.first_chunk()?);
                assert!(len > 0xFFFF, "the shortest form of a length");
                (len, 10)
            }
            len => (u64::from(len), 2),
        };
        let len = usize::try_from(len).expect("a frame that fits memory");
        let mut payload = rest.get(head..head + len)?.to_vec();
        self.at += head + len;
        if compressed && let Some(inflater) = &mut self.inflater {
            payload = inflater.read(&payload);
        }
        let opcode = first & 0x0F;
        if opcode >= 8 || self.parts.is_none() {
            return Some(Item::Frame { opcode, payload });
        }
        self.add_part(first & 0x80 != 0, opcode, &payload)
    }

    /// RFC 6455 §5.4: the first frame of a message has its opcode, and the others have 0.
    fn add_part(&mut self, ends: bool, opcode: u8, payload: &[u8]) -> Option<Item> {
        assert_eq!(opcode == 0, self.opcode != 0, "frames in order");
        if opcode != 0 {
            self.opcode = opcode;
        }
        self.parts
            .get_or_insert_default()
            .extend_from_slice(payload);
        if !ends {
            return self.next_frame();
        }
        Some(Item::Frame {
            opcode: std::mem::take(&mut self.opcode),
            payload: self.parts.replace(Vec::new())?,
        })
    }
}

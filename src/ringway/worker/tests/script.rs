//! What a peer will say, encoded, and what must come back for it.

use std::collections::VecDeque;

use flate2::{Compress, Compression, FlushCompress};

use crate::io::sim::Random;
use crate::proto::compression;
use crate::proto::deflate::Terms;
use crate::proto::frame::{HEADER_BYTES_MAX, Header};
use crate::proto::handshake::{self, ClientRequest, Offered};
use crate::proto::{CONTROL_FRAME_BYTES_MAX, CloseCode, Kind, Opcode, Role, Sender, mask};
use crate::protocol::Deflate;

/// A frame as it must come from the other side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) opcode: u8,
    pub(super) payload: Vec<u8>,
}

/// Bytes to be sent and the answers to them, in order.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) bytes: Vec<u8>,
    pub(super) expected: VecDeque<Expected>,
    /// Messages among the answers, and their bytes.
    pub(super) messages: u64,
    pub(super) message_bytes: u64,
    /// How long the opening handshake is.
    pub(super) head_bytes: usize,
    sender: Sender,
    /// The terms of the server, if this client offers permessage-deflate, and a compressor that is not ours.
    pub(super) deflate: Option<Deflate>,
    compressor: Compress,
}

impl Default for Script {
    /// A server's, which begins with frames.
    fn default() -> Self {
        Self {
            bytes: Vec::new(),
            expected: VecDeque::new(),
            messages: 0,
            message_bytes: 0,
            head_bytes: 0,
            sender: Sender::new(Role::Server),
            deflate: None,
            compressor: Compress::new(Compression::fast(), false),
        }
    }
}

impl Script {
    /// A client's proper opening handshake.
    pub(super) fn open(random: &mut Random) -> Self {
        Self::open_with(random, None)
    }

    /// The same, with an offer of permessage-deflate to a server that has these terms.
    pub(super) fn open_with(random: &mut Random, deflate: Option<Deflate>) -> Self {
        let mut key = [0; 16];
        random.fill(&mut key);
        let mut bytes = Vec::new();
        let offered = Offered {
            compression: compression::Terms {
                deflate: deflate.map(|_| Terms::ANY),
                ..compression::Terms::NONE
            },
            ..Offered::NOTHING
        };
        let request = ClientRequest {
            offered,
            ..ClientRequest::new("ringway", "/echo", key)
        };
        handshake::encode_request(&request, &mut bytes).expect("a good request");
        let head_bytes = bytes.len();
        Self {
            bytes,
            head_bytes,
            sender: Sender::new(Role::Client),
            deflate,
            ..Self::default()
        }
    }

    /// Messages of every size with at most `bytes` of payload in all, some in fragments, some with Pings between.
    pub(super) fn add_messages(&mut self, random: &mut Random, mut bytes: usize) {
        // What this client mostly sends: one habit per client finds more than a mixture.
        let size_max = random.pick(&[100, 125, 2_000, 5_000, 20_000, 70_000, 300_000]);
        let fragmented = random.pick(&[0, 0, 100, 700]);
        let pinged = random.pick(&[0, 50, 500]);
        let burst = random.pick(&[1, 3, 30, 200]);
        for _ in 0..burst {
            let len = match random.below(20) {
                0 => 0,
                1 => random
                    .pick(&[
                        125, 126, 127, 4082, 8191, 8192, 8193, 65_535, 65_536, 65_537,
                    ])
                    .min(size_max),
                _ => random.magnitude(size_max),
            };
            if len > bytes {
                break;
            }
            bytes -= len;
            self.add_message(random, len, fragmented, pinged);
        }
    }

    /// One message of `len` bytes.
    pub(super) fn add_message(
        &mut self,
        random: &mut Random,
        len: usize,
        fragmented: u16,
        pinged: u16,
    ) {
        let kind = random.pick(&[Kind::Text, Kind::Binary]);
        let payload = match kind {
            Kind::Text => text(random, len),
            Kind::Binary => bytes(random, len),
        };
        let pieces = if random.chance(fragmented) {
            random.between(2, 6)
        } else {
            1
        };
        let compressed = self.compressed(random, &payload);
        let mut rest = compressed.as_deref().unwrap_or(&payload);
        for piece in 1..=pieces {
            if random.chance(pinged) {
                self.add_ping(random);
            }
            let cut = if piece == pieces {
                rest.len()
            } else {
                random.below(rest.len() + 1)
            };
            let (now, later) = rest.split_at(cut);
            rest = later;
            let opcode = if piece == 1 {
                kind.opcode()
            } else {
                Opcode::Continuation
            };
            let compressed = piece == 1 && compressed.is_some();
            self.add_frame_with(random, piece == pieces, compressed, opcode, now);
        }
        self.messages += 1;
        self.message_bytes += payload.len() as u64;
        self.expected.push_back(Expected {
            opcode: kind.opcode() as u8,
            payload,
        });
    }

    /// A text message that is not answered.
    pub(super) fn add_plain(&mut self, random: &mut Random, text: &[u8]) {
        self.add_frame(random, true, Opcode::Text, text);
    }

    /// What a client sends in place of `payload`, if it compresses this message.
    pub(super) fn compressed(&mut self, random: &mut Random, payload: &[u8]) -> Option<Vec<u8>> {
        let deflate = self.deflate?;
        if payload.is_empty() || random.chance(200) {
            return None;
        }
        if !deflate.receives.takeover {
            self.compressor.reset();
        }
        let mut out = Vec::with_capacity(payload.len() * 2 + 100);
        self.compressor
            .compress_vec(payload, &mut out, FlushCompress::Sync)
            .expect("there is room");
        assert!(out.ends_with(&[0, 0, 0xFF, 0xFF]));
        out.truncate(out.len() - 4);
        Some(out)
    }

    pub(super) fn add_frame(
        &mut self,
        random: &mut Random,
        fin: bool,
        opcode: Opcode,
        payload: &[u8],
    ) {
        self.add_frame_with(random, fin, false, opcode, payload);
    }

    pub(super) fn add_frame_with(
        &mut self,
        random: &mut Random,
        fin: bool,
        compressed: bool,
        opcode: Opcode,
        payload: &[u8],
    ) {
        let masking_key = self.key(random);
        let header = Header {
            compressed,
            fin,
            opcode,
            payload_len: payload.len() as u64,
            masking_key,
        };
        let mut head = [0; HEADER_BYTES_MAX];
        let len = self
            .sender
            .header(&header, &mut head)
            .expect("frames in order");
        self.bytes.extend_from_slice(&head[..len]);
        let at = self.bytes.len();
        self.bytes.extend_from_slice(payload);
        if let Some(key) = masking_key {
            mask::apply(&mut self.bytes[at..], mask::Key::new(key));
        }
    }

    /// A key for the next frame, on a client's side.
    fn key(&self, random: &mut Random) -> Option<[u8; 4]> {
        self.sender.masks().then(|| key(random))
    }

    fn add_ping(&mut self, random: &mut Random) {
        let len = random.below(126);
        let payload = bytes(random, len);
        if random.chance(200) {
            return self.add_control(random, Opcode::Pong, &payload); // unasked: no answer
        }
        self.add_control(random, Opcode::Ping, &payload);
        self.expected.push_back(Expected {
            opcode: Opcode::Pong as u8,
            payload,
        });
    }

    pub(super) fn add_control(&mut self, random: &mut Random, opcode: Opcode, payload: &[u8]) {
        let mut frame = [0; CONTROL_FRAME_BYTES_MAX];
        let key = self.key(random);
        let len = self
            .sender
            .control(opcode, payload, key, &mut frame)
            .expect("a control frame");
        self.bytes.extend_from_slice(&frame[..len]);
    }

    /// A Close with 1000; the server must answer with the same.
    pub(super) fn add_close(&mut self, random: &mut Random) {
        self.bytes.extend_from_slice(&self.close_frame(random));
        self.expect_close();
    }

    /// The answer to a Close with 1000.
    pub(super) fn expect_close(&mut self) {
        let payload = 1000_u16.to_be_bytes().to_vec();
        self.expected.push_back(Expected {
            opcode: Opcode::Close as u8,
            payload,
        });
    }

    /// The answer to a Ping of the server.
    pub(super) fn pong_frame(&self, random: &mut Random, payload: &[u8]) -> Vec<u8> {
        let mut frame = [0; CONTROL_FRAME_BYTES_MAX];
        let pong =
            Sender::new(Role::Client).control(Opcode::Pong, payload, Some(key(random)), &mut frame);
        frame[..pong.expect("a Pong")].to_vec()
    }

    /// A Close frame on its own.
    pub(super) fn close_frame(&self, random: &mut Random) -> Vec<u8> {
        let mut frame = [0; CONTROL_FRAME_BYTES_MAX];
        let code = Some(CloseCode::NormalClosure);
        let len = Sender::new(Role::Client)
            .close(code, "bye", Some(key(random)), &mut frame)
            .expect("the first Close");
        frame[..len].to_vec()
    }

    /// A frame that breaks RFC 6455, and the code that the server must close with.
    pub(super) fn add_violation(&mut self, random: &mut Random) {
        let (bytes, code): (&[u8], u16) = random.pick(&[
            (&[0xA1, 0x80, 0, 0, 0, 0], 1002),                         // RSV2
            (&[0x83, 0x80, 0, 0, 0, 0], 1002),                         // reserved opcode
            (&[0x81, 0x01, b'x'], 1002),                               // not masked
            (&[0x09, 0x80, 0, 0, 0, 0], 1002),                         // fragmented Ping
            (&[0x80, 0x80, 0, 0, 0, 0], 1002),                         // continuation of nothing
            (&[0x88, 0x81, 0, 0, 0, 0, 3], 1002),                      // Close of one byte
            (&[0x81, 0x82, 0, 0, 0, 0, 0xC3, 0x28], 1007),             // not UTF-8
            (&[0x82, 0xFF, 0, 0, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4], 1009), // 4 GiB announced
        ]);
        self.bytes.extend_from_slice(bytes);
        // The rest is noise that must not matter.
        let len = random.below(3000);
        self.bytes.extend_from_slice(&self::bytes(random, len));
        let payload = code.to_be_bytes().to_vec();
        self.expected.push_back(Expected {
            opcode: Opcode::Close as u8,
            payload,
        });
    }
}

fn key(random: &mut Random) -> [u8; 4] {
    let mut key = [0; 4];
    random.fill(&mut key);
    key
}

pub(super) fn bytes(random: &mut Random, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    random.fill(&mut bytes);
    bytes
}

/// Bytes of a stream: noise, or what compresses well.
pub(super) fn stream(random: &mut Random, len: usize) -> Vec<u8> {
    match random.chance(500) {
        true => bytes(random, len),
        false => text(random, len),
    }
}

/// Text of exactly `len` bytes, ASCII or with code points of every length.
pub(super) fn text(random: &mut Random, len: usize) -> Vec<u8> {
    let ascii = random.chance(500);
    let mut text = String::with_capacity(len);
    while text.len() < len {
        let char = if ascii {
            'x'
        } else {
            random.pick(&['a', 'ß', '水', '🦀'])
        };
        let run = random.between(1, 50);
        for _ in 0..run {
            let fits = text.len() + char.len_utf8() <= len;
            text.push(if fits { char } else { '.' });
            if text.len() == len {
                break;
            }
        }
    }
    text.into_bytes()
}

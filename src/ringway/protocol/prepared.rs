//! Messages that are encoded once, then sent any number of times to any number of peers without a copy.

use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use super::keys::Keys;
use crate::conn::blocks::{Block, Blocks};
use crate::io::BufferId;
use crate::proto::deflate::{Deflate, Deflater, History};
use crate::proto::frame::{self, HEADER_BYTES_MAX, Header};
use crate::proto::mask::{self, Key};
use crate::proto::{Kind, Opcode, Role};

/// Most bytes of all messages of one form of a [`Prepared`], headers included (1 GiB).
const BLOCK_BYTES_MAX: usize = 1 << 30;

/// Encoded messages, one behind the other in one block. Messages that follow each other there are sent in one piece. A
/// clone refers to the same block.
///
/// A second block may hold the same messages compressed, for connections that agreed to permessage-deflate. None of them
/// refers to another message, so they may go to any such connection at any time.
#[derive(Clone, Debug)]
pub struct Prepared(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    plain: Form,
    compressed: Option<Compressed>,
}

/// Messages as they leave.
#[derive(Debug)]
pub(crate) struct Form {
    block: Block,
    frames: Box<[Frame]>,
}

#[derive(Debug)]
struct Compressed {
    form: Form,
    /// The window that a peer must keep to inflate them.
    window_bits: u8,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    header: Header,
    start: usize,
    end: usize,
    /// Payload bytes of all messages before this one, as the application has them.
    payload_before: u64,
    payload_bytes: u64,
}

/// The messages have more than 1 GiB, or the worker has no block free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMuch;

impl std::fmt::Display for TooMuch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("more than 1 GiB of prepared messages, or too many blocks of them")
    }
}

impl std::error::Error for TooMuch {}

impl Prepared {
    /// Encodes `messages` as frames of `role`, and compressed as well if `deflate` says how. A client's frames are masked
    /// here, with the same key for every send. That is safe for payloads of the application, but never for those of
    /// strangers (RFC 6455 §10.3).
    pub(crate) fn new(
        blocks: &mut Blocks,
        keys: &mut Keys,
        role: Role,
        messages: &[(Kind, &[u8])],
        deflate: Option<&Deflate>,
    ) -> Result<Self, TooMuch> {
        let mut encode = |deflate| Encoder::new(role, deflate).encode(blocks, keys, messages);
        let plain = encode(None)?;
        let compressed = match deflate {
            None => None,
            Some(deflate) => {
                let mut deflater = Deflater::new(deflate.setup(deflate.sends.window_bits));
                Some(Compressed {
                    form: encode(Some((&mut deflater, deflate)))?,
                    window_bits: deflate.sends.window_bits,
                })
            }
        };
        Ok(Self(Rc::new(Inner { plain, compressed })))
    }

    /// Messages that are encoded already as `frames` of `bytes`, each a whole message of a server, in order. They are compressed as
    /// well if there is a compressor.
    pub(crate) fn of_frames(
        blocks: &mut Blocks,
        bytes: &[u8],
        frames: &[(Header, Range<usize>)],
        deflate: Option<(&mut Deflater, &Deflate)>,
    ) -> Result<Self, TooMuch> {
        if bytes.len() > BLOCK_BYTES_MAX {
            return Err(TooMuch);
        }
        let mut payload_before = 0;
        let of = |(header, range): &(Header, Range<usize>)| {
            let frame = Frame {
                header: *header,
                start: range.start,
                end: range.end,
                payload_before,
                payload_bytes: header.payload_len,
            };
            payload_before += frame.payload_bytes;
            frame
        };
        let frames: Box<[_]> = frames.iter().map(of).collect();
        let compressed = deflate.map(|(deflater, deflate)| {
            let mut encoder = Encoder::new(Role::Server, Some((deflater, deflate)));
            for frame in &frames {
                let len = usize::try_from(frame.header.payload_len).unwrap_or(0);
                encoder.push_frame(
                    frame.header.opcode,
                    &bytes[frame.end - len..frame.end],
                    None,
                );
            }
            (encoder.end(), deflate.sends.window_bits)
        });
        let plain = Form {
            block: blocks.add(bytes.into()).ok_or(TooMuch)?,
            frames,
        };
        let compressed = match compressed {
            None => None,
            Some(((block, frames), window_bits)) => Some(Compressed {
                form: Form {
                    block: blocks.add(block.into()).ok_or(TooMuch)?,
                    frames,
                },
                window_bits,
            }),
        };
        Ok(Self(Rc::new(Inner { plain, compressed })))
    }

    /// Bytes of message `index` on the wire, uncompressed.
    ///
    /// # Panics
    /// When there is no message `index`.
    pub fn wire_bytes(&self, index: usize) -> usize {
        self.0.plain.frame(index).1.len()
    }

    /// The messages as they are.
    pub(crate) fn plain(&self) -> &Form {
        &self.0.plain
    }

    /// The messages compressed, for a peer that keeps a window of so many bits.
    pub(crate) fn compressed(&self, window_bits: u8) -> Option<&Form> {
        let compressed = self.0.compressed.as_ref();
        let fits = compressed.filter(|compressed| compressed.window_bits <= window_bits);
        fits.map(|compressed| &compressed.form)
    }
}

impl Form {
    pub(crate) fn frame(&self, index: usize) -> (Header, Range<usize>) {
        let frame = &self.frames[index];
        (frame.header, frame.start..frame.end)
    }

    /// Payload bytes of these messages, as the application has them. `messages` is not empty.
    pub(crate) fn payload_bytes(&self, messages: &Range<usize>) -> u64 {
        let (first, last) = (&self.frames[messages.start], &self.frames[messages.end - 1]);
        last.payload_before + last.payload_bytes - first.payload_before
    }

    /// The payload of an unmasked message, as it leaves.
    pub(crate) fn payload(&self, index: usize) -> &[u8] {
        let (header, frame) = self.frame(index);
        let len = usize::try_from(header.payload_len).unwrap_or(usize::MAX);
        &self.block()[frame.end - len..frame.end]
    }

    pub(crate) fn buffer(&self) -> BufferId {
        self.block.buffer()
    }

    pub(crate) fn block(&self) -> &Arc<[u8]> {
        self.block.bytes()
    }
}

/// Encodes messages in one form.
struct Encoder<'a> {
    role: Role,
    deflate: Option<(&'a mut Deflater, &'a Deflate)>,
    /// A message while it is compressed.
    memory: Vec<u8>,
    block: Vec<u8>,
    frames: Vec<Frame>,
    payload_before: u64,
}

impl<'a> Encoder<'a> {
    const fn new(role: Role, deflate: Option<(&'a mut Deflater, &'a Deflate)>) -> Self {
        Self {
            role,
            deflate,
            memory: Vec::new(),
            block: Vec::new(),
            frames: Vec::new(),
            payload_before: 0,
        }
    }

    fn encode(
        mut self,
        blocks: &mut Blocks,
        keys: &mut Keys,
        messages: &[(Kind, &[u8])],
    ) -> Result<Form, TooMuch> {
        let bytes: usize = messages
            .iter()
            .map(|(_, payload)| payload.len() + HEADER_BYTES_MAX)
            .sum();
        if bytes > BLOCK_BYTES_MAX {
            return Err(TooMuch);
        }
        if self.deflate.is_none() {
            self.block.reserve_exact(bytes);
        }
        self.frames.reserve_exact(messages.len());
        for (kind, payload) in messages {
            let key = (self.role == Role::Client).then(|| keys.masking_key());
            self.push_frame(kind.opcode(), payload, key);
        }
        let (block, frames) = self.end();
        Ok(Form {
            block: blocks.add(block.into()).ok_or(TooMuch)?,
            frames,
        })
    }

    fn end(self) -> (Vec<u8>, Box<[Frame]>) {
        (self.block, self.frames.into())
    }

    fn push_frame(&mut self, opcode: Opcode, payload: &[u8], masking_key: Option<[u8; 4]>) {
        let compressed = self.compress(payload);
        let body = compressed.map_or(payload, |len| &self.memory[..len]);
        let header = Header {
            fin: true,
            compressed: compressed.is_some(),
            opcode,
            payload_len: body.len() as u64,
            masking_key,
        };
        let block = &mut self.block;
        let start = block.len();
        let mut head = [0; HEADER_BYTES_MAX];
        let head_len = frame::encode(&header, &mut head);
        block.extend_from_slice(&head[..head_len]);
        block.extend_from_slice(body);
        if let Some(key) = header.masking_key {
            mask::apply(&mut block[start + head_len..], Key::new(key));
        }
        let frame = Frame {
            header,
            start,
            end: block.len(),
            payload_before: self.payload_before,
            payload_bytes: payload.len() as u64,
        };
        self.payload_before += frame.payload_bytes;
        self.frames.push(frame);
    }

    /// Compresses a message into `memory`, if that makes it smaller.
    fn compress(&mut self, payload: &[u8]) -> Option<usize> {
        let (deflater, deflate) = self.deflate.as_mut()?;
        if payload.len() < deflate.bytes_min.max(1) {
            return None;
        }
        deflater.restart(&History::default());
        let len = deflater.compress(payload, &mut self.memory, 0);
        (len < payload.len()).then_some(len)
    }
}

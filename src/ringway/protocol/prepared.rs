//! Messages that are encoded once, then sent any number of times to any number of peers without a copy.

use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use super::keys::Keys;
use crate::conn::blocks::{Block, Blocks};
use crate::io::BufferId;
use crate::proto::frame::{self, HEADER_BYTES_MAX, Header};
use crate::proto::mask::{self, Key};
use crate::proto::{Kind, Role};

/// Most bytes of all messages of one [`Prepared`], headers included (1 GiB).
const BLOCK_BYTES_MAX: usize = 1 << 30;

/// Encoded messages, one behind the other in one block. Messages that follow each other there are sent in one piece. A
/// clone refers to the same block.
#[derive(Clone, Debug)]
pub struct Prepared(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    block: Block,
    frames: Box<[Frame]>,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    header: Header,
    start: usize,
    end: usize,
    /// Payload bytes of all messages before this one.
    payload_before: u64,
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
    /// Encodes `messages` as frames of `role`. A client's frames are masked here, with the same key for every send.
    /// That is safe for payloads of the application, but never for those of strangers (RFC 6455 §10.3).
    pub(crate) fn new(
        blocks: &mut Blocks,
        keys: &mut Keys,
        role: Role,
        messages: &[(Kind, &[u8])],
    ) -> Result<Self, TooMuch> {
        let bytes: usize = messages
            .iter()
            .map(|(_, payload)| payload.len() + HEADER_BYTES_MAX)
            .sum();
        if bytes > BLOCK_BYTES_MAX {
            return Err(TooMuch);
        }
        let mut block = Vec::with_capacity(bytes);
        let mut payload_before = 0;
        let encode = |(kind, payload): &(Kind, &[u8])| {
            let header = Header {
                compressed: false,
                fin: true,
                opcode: kind.opcode(),
                payload_len: payload.len() as u64,
                masking_key: (role == Role::Client).then(|| keys.masking_key()),
            };
            let frame = push(&mut block, header, payload, payload_before);
            payload_before += header.payload_len;
            frame
        };
        let frames = messages.iter().map(encode).collect();
        Ok(Self(Rc::new(Inner {
            block: blocks.add(block.into()).ok_or(TooMuch)?,
            frames,
        })))
    }

    /// Bytes of message `index` on the wire.
    ///
    /// # Panics
    /// When there is no message `index`.
    pub fn wire_bytes(&self, index: usize) -> usize {
        self.frame(index).1.len()
    }

    pub(crate) fn frame(&self, index: usize) -> (Header, Range<usize>) {
        let frame = &self.0.frames[index];
        (frame.header, frame.start..frame.end)
    }

    /// Payload bytes of these messages. `messages` is not empty.
    pub(crate) fn payload_bytes(&self, messages: &Range<usize>) -> u64 {
        let (first, last) = (
            &self.0.frames[messages.start],
            &self.0.frames[messages.end - 1],
        );
        last.payload_before + last.header.payload_len - first.payload_before
    }

    pub(crate) fn buffer(&self) -> BufferId {
        self.0.block.buffer()
    }

    pub(crate) fn block(&self) -> &Arc<[u8]> {
        self.0.block.bytes()
    }
}

fn push(block: &mut Vec<u8>, header: Header, payload: &[u8], payload_before: u64) -> Frame {
    let start = block.len();
    let mut head = [0; HEADER_BYTES_MAX];
    let head_len = frame::encode(&header, &mut head);
    block.extend_from_slice(&head[..head_len]);
    block.extend_from_slice(payload);
    if let Some(key) = header.masking_key {
        mask::apply(&mut block[start + head_len..], Key::new(key));
    }
    Frame {
        header,
        start,
        end: block.len(),
        payload_before,
    }
}

//! Compressor and inflater of snappy's framing format, chunk by chunk.

use std::fmt;

use snap::raw::{Decoder, Encoder, decompress_len};

use crate::progress::{Hooks, Progress};
use crate::violation::Violation;

/// The chunk that begins a stream.
const IDENTIFIER: &[u8; 10] = b"\xff\x06\x00\x00sNaPpY";

/// Types of chunks; 0x02 to 0x7F may not come, and 0x80 to 0xFE are skipped.
const COMPRESSED: u8 = 0x00;
const UNCOMPRESSED: u8 = 0x01;
const IDENTIFIES: u8 = 0xFF;

/// Type and length.
const HEAD_BYTES: usize = 4;
const CHECKSUM_BYTES: usize = 4;

/// Payload bytes of a chunk at most.
const CHUNK_BYTES: usize = 64 << 10;

/// Bytes that 64 KiB have at most when they are compressed: `snap::raw::max_compress_len`, which is no constant.
const BLOCK_BYTES_MAX: usize = 32 + CHUNK_BYTES + CHUNK_BYTES / 6;

/// What one chunk costs, in payload bytes, however short it is: a peer could send any number that have none.
const CHUNK_COST_BYTES: usize = 64;

/// The checksum of a chunk's payload: CRC-32C, masked as the framing format says.
fn checksum(payload: &[u8]) -> u32 {
    crc32c::crc32c(payload)
        .rotate_right(15)
        .wrapping_add(0xa282_ead8)
}

/// Bytes that a message of `len` has at most when it is compressed.
pub const fn compressed_bytes_max(len: usize) -> usize {
    IDENTIFIER.len() + len + (len / CHUNK_BYTES + 1) * (HEAD_BYTES + CHECKSUM_BYTES)
}

/// A compressor, of 110 KB. It keeps nothing between messages, so one serves all connections.
pub struct Compressor {
    encoder: Encoder,
    block: Box<[u8]>,
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressor").finish_non_exhaustive()
    }
}

impl Default for Compressor {
    fn default() -> Self {
        Self {
            encoder: Encoder::new(),
            block: vec![0; BLOCK_BYTES_MAX].into(),
        }
    }
}

impl Compressor {
    /// Compresses one message into `out[at..]` and returns where it ends there; `begins` says whether the stream does.
    /// `out` is lengthened if need be; with [`compressed_bytes_max`] of room it never is.
    pub fn compress(
        &mut self,
        begins: bool,
        message: &[u8],
        out: &mut Vec<u8>,
        at: usize,
    ) -> usize {
        let room_end = at + compressed_bytes_max(message.len());
        if out.len() < room_end {
            out.resize(room_end, 0);
        }
        let mut end = at;
        if begins {
            end = put(out, end, IDENTIFIER);
        }
        for payload in message.chunks(CHUNK_BYTES) {
            let len = match self.encoder.compress(payload, &mut self.block) {
                Ok(len) => len,
                Err(error) => unreachable!("a block has room for any chunk: {error}"),
            };
            // As Snappy's own writer: what saves less than an eighth is not worth inflating.
            let (kind, body) = match len < payload.len() - payload.len() / 8 {
                true => (COMPRESSED, &self.block[..len]),
                false => (UNCOMPRESSED, payload),
            };
            let len = u32::try_from(CHECKSUM_BYTES + body.len()).unwrap_or(u32::MAX);
            let [a, b, c, _] = len.to_le_bytes();
            end = put(out, end, &[kind, a, b, c]);
            end = put(out, end, &checksum(payload).to_le_bytes());
            end = put(out, end, body);
        }
        end
    }
}

fn put(out: &mut [u8], at: usize, bytes: &[u8]) -> usize {
    out[at..at + bytes.len()].copy_from_slice(bytes);
    at + bytes.len()
}

/// The inflater of one message. It holds no memory of its own.
pub struct Inflater {
    decoder: Decoder,
    /// The stream has begun, with this message or one before it.
    identified: bool,
}

impl fmt::Debug for Inflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflater")
            .field("identified", &self.identified)
            .finish_non_exhaustive()
    }
}

/// One chunk of a message.
struct Chunk<'c> {
    kind: u8,
    body: &'c [u8],
}

impl<'c> Chunk<'c> {
    fn first_of(bytes: &'c [u8]) -> Option<Self> {
        let (&[kind, a, b, c], rest) = bytes.split_first_chunk::<HEAD_BYTES>()?;
        let len = usize::try_from(u32::from_le_bytes([a, b, c, 0])).ok()?;
        let body = rest.get(..len)?;
        Some(Self { kind, body })
    }

    /// The checksum and what follows it, if the chunk carries payload.
    fn data(&self) -> Option<(u32, &'c [u8])> {
        let (sum, data) = self.body.split_first_chunk::<CHECKSUM_BYTES>()?;
        Some((u32::from_le_bytes(*sum), data))
    }
}

impl Inflater {
    /// An inflater for the next message; `goes_on` says whether a message before it has begun the stream.
    pub fn new(goes_on: bool) -> Self {
        Self {
            decoder: Decoder::new(),
            identified: goes_on,
        }
    }

    /// Inflates, and stops behind about `bytes_max` more bytes: a chunk is inflated whole. Returns whether the message is
    /// whole. Each call gets the same message. An empty one is in order, because Autobahn makes that of an empty payload.
    ///
    /// # Errors
    /// [`Violation::SnappyInvalid`], [`Violation::MessageTooBig`] before a chunk is inflated that is too much, and what the
    /// check returns.
    pub fn go_on(
        &mut self,
        progress: &mut Progress,
        compressed: &[u8],
        out: &mut Vec<u8>,
        bytes_max: usize,
        hooks: Hooks<'_>,
    ) -> Result<bool, Violation> {
        let until = progress.end.saturating_add(bytes_max);
        let mut chunks = 0_usize;
        while progress.taken < compressed.len() {
            if progress.end.saturating_add(chunks * CHUNK_COST_BYTES) >= until {
                return Ok(false);
            }
            chunks += 1;
            let chunk = Chunk::first_of(&compressed[progress.taken..]);
            let chunk = chunk.ok_or(Violation::SnappyInvalid)?;
            progress.taken += HEAD_BYTES + chunk.body.len();
            match chunk.kind {
                IDENTIFIES if chunk.body == &IDENTIFIER[HEAD_BYTES..] => self.identified = true,
                COMPRESSED | UNCOMPRESSED if self.identified => {
                    let before = progress.end;
                    self.inflate(progress, &chunk, out, hooks.grow)?;
                    (hooks.check)(&out[before..progress.end])?;
                }
                0x80..=0xFE if self.identified => {}
                _ => return Err(Violation::SnappyInvalid),
            }
        }
        Ok(true)
    }

    /// Inflates one chunk to the end of `out`.
    fn inflate(
        &mut self,
        progress: &mut Progress,
        chunk: &Chunk<'_>,
        out: &mut Vec<u8>,
        grow: &mut dyn FnMut(&mut Vec<u8>, usize),
    ) -> Result<(), Violation> {
        let (expected, data) = chunk.data().ok_or(Violation::SnappyInvalid)?;
        let len = match chunk.kind {
            UNCOMPRESSED => data.len(),
            _ => decompress_len(data).map_err(|_| Violation::SnappyInvalid)?,
        };
        if len > CHUNK_BYTES {
            return Err(Violation::SnappyInvalid);
        }
        let end = progress.end + len;
        if end >= progress.limit {
            return Err(Violation::MessageTooBig((end - progress.at) as u64));
        }
        while out.len() < end {
            let filled = out.len();
            grow(out, filled);
        }
        let payload = &mut out[progress.end..end];
        match chunk.kind {
            UNCOMPRESSED => payload.copy_from_slice(data),
            _ => {
                let made = self.decoder.decompress(data, payload);
                made.map_err(|_| Violation::SnappyInvalid)?;
            }
        }
        if checksum(payload) != expected {
            return Err(Violation::SnappyInvalid);
        }
        progress.end = end;
        Ok(())
    }
}

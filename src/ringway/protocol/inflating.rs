//! Inflating a message, over several turns if it is large.
//!
//! A few kilobytes of a peer may become as much as a message may have, which takes about a millisecond for each MiB. So a
//! connection inflates a bounded number of bytes in a turn. The rest waits here, with an inflater of its own, and nothing more
//! is read from the connection until the message is delivered.

use super::Shared;
use super::context::Context;
use super::windowless;
use crate::conn::buffers::{Buffers, HEADROOM};
use crate::proto::deflate::{History, Hooks, Inflater, Progress};
use crate::proto::{Kind, Violation, utf8};

/// Compressed bytes by which the first memory of an inflated message is chosen at most. A peer that sends more than that
/// has it grown as it inflates.
const GUESS_BYTES_MAX: usize = 16 << 10;

/// A message that is inflated in part.
#[derive(Debug)]
pub(crate) struct Inflating {
    message: Message,
    compressed: Vec<u8>,
    /// The compressed message lies in `compressed[HEADROOM..filled]`.
    filled: usize,
    inflater: Own,
}

/// An inflater that is taken away from the others until the message is whole.
#[derive(Debug)]
enum Own {
    Deflate(Inflater),
    Windowless(windowless::Inflater),
}

/// What inflates a message, and the history behind which it goes on.
enum Engine<'a> {
    Deflate(&'a mut Inflater, &'a History),
    Windowless(&'a mut windowless::Inflater),
}

#[derive(Debug)]
struct Message {
    kind: Kind,
    text: utf8::Validator,
    /// The message begins behind the headroom, as an assembled one does.
    data: Vec<u8>,
    progress: Progress,
}

/// Where a compressed message lies.
pub(super) enum Compressed<'a> {
    /// In a buffer that others need after this.
    There(&'a [u8]),
    /// In memory of its own, `data[HEADROOM..filled]`.
    Own(Vec<u8>, usize),
}

pub(super) enum Inflated {
    /// The message is `data[HEADROOM..end]`.
    Whole(Kind, Vec<u8>, usize),
    InPart(Box<Inflating>),
}

/// Begins to inflate a message, and ends with it unless the connection's share of the turn is too small for it.
pub(super) fn begin(
    context: &mut Context<'_>,
    kind: Kind,
    compressed: Compressed<'_>,
) -> Result<Inflated, Violation> {
    let id = context.output.id;
    let bytes_max = context.config().message_limits.message_bytes_max;
    let Some(codec) = &mut context.codec else {
        unreachable!("the receiver lets no compressed message pass without agreement")
    };
    let Shared {
        buffers, protocol, ..
    } = &mut *context.output.shared;
    let bytes = match &compressed {
        Compressed::There(bytes) => bytes,
        Compressed::Own(data, filled) => &data[HEADROOM..*filled],
    };
    // JSON becomes three to four times as long.
    let guess = 4 * bytes.len().min(GUESS_BYTES_MAX);
    let mut message = Message {
        kind,
        text: utf8::Validator::new(),
        data: buffers.take(HEADROOM + guess),
        progress: Progress::new(HEADROOM, bytes_max),
    };
    let left = codec.affordable(protocol.share.inflate_left(id));
    let mut windowless = codec.windowless_inflater();
    let engine = match &mut windowless {
        None => {
            let (inflater, history) = codec.inflater(id, &mut protocol.engines);
            Engine::Deflate(inflater, history)
        }
        Some(inflater) => Engine::Windowless(inflater),
    };
    let result = message.inflate(engine, bytes, left, buffers);
    let cost_bytes = codec.cost_bytes(message.bytes());
    protocol.share.inflated(cost_bytes);
    let len = bytes.len();
    if let Ok(false) = result
        && let Some(inflater) = match windowless {
            None => protocol.engines.lend_inflater(id).map(Own::Deflate),
            Some(inflater) => Some(Own::Windowless(inflater)),
        }
    {
        let (compressed, filled) = match compressed {
            Compressed::Own(data, filled) => (data, filled),
            Compressed::There(bytes) => {
                let filled = HEADROOM + bytes.len();
                let mut data = buffers.take(filled);
                data[HEADROOM..filled].copy_from_slice(bytes);
                (data, filled)
            }
        };
        return Ok(Inflated::InPart(Box::new(Inflating {
            message,
            compressed,
            filled,
            inflater,
        })));
    }
    if let Compressed::Own(data, _) = compressed {
        buffers.give_back(data);
    }
    deliver(context, message, result, len)
}

impl Inflating {
    /// Goes on with the message, in a later turn.
    pub(super) fn go_on(
        mut self: Box<Self>,
        context: &mut Context<'_>,
    ) -> Result<Inflated, Violation> {
        let id = context.output.id;
        let Some(codec) = &mut context.codec else {
            unreachable!("this message came from a codec")
        };
        let Shared {
            buffers, protocol, ..
        } = &mut *context.output.shared;
        let left = codec.affordable(protocol.share.inflate_left(id));
        let before = self.message.bytes();
        let compressed = &self.compressed[HEADROOM..self.filled];
        let engine = match &mut self.inflater {
            Own::Deflate(inflater) => Engine::Deflate(inflater, codec.history_received()),
            Own::Windowless(inflater) => Engine::Windowless(inflater),
        };
        let result = self.message.inflate(engine, compressed, left, buffers);
        let cost_bytes = codec.cost_bytes(self.message.bytes() - before);
        protocol.share.inflated(cost_bytes);
        if let Ok(false) = result {
            return Ok(Inflated::InPart(self));
        }
        let Self {
            message,
            compressed,
            filled,
            inflater,
        } = *self;
        match inflater {
            Own::Deflate(inflater) => protocol.engines.take_inflater_back(id, inflater),
            Own::Windowless(_) => {} // it ends with its message
        }
        buffers.give_back(compressed);
        deliver(context, message, result, filled - HEADROOM)
    }

    /// Gives the memory back: the connection has ended.
    pub(crate) fn discard(self, buffers: &mut Buffers) {
        buffers.give_back(self.compressed);
        buffers.give_back(self.message.data);
    }
}

impl Message {
    /// Bytes inflated so far.
    const fn bytes(&self) -> usize {
        self.progress.end() - HEADROOM
    }

    /// Inflates about `bytes_max` more bytes. Returns whether the message is whole.
    fn inflate(
        &mut self,
        engine: Engine<'_>,
        compressed: &[u8],
        bytes_max: usize,
        buffers: &mut Buffers,
    ) -> Result<bool, Violation> {
        let Self {
            kind,
            text,
            data,
            progress,
        } = self;
        let hooks = Hooks {
            grow: &mut |data, filled| buffers.grow(data, filled, filled + 1),
            check: &mut |piece| match kind {
                Kind::Text => text.push(piece).map_err(|_| Violation::TextNotUtf8),
                Kind::Binary => Ok(()),
            },
        };
        let is_whole = match engine {
            Engine::Deflate(inflater, history) => {
                inflater.go_on(progress, (compressed, history), data, bytes_max, hooks)
            }
            Engine::Windowless(inflater) => {
                inflater.go_on(progress, compressed, data, bytes_max, hooks)
            }
        }?;
        match is_whole && !text.is_complete() {
            true => Err(Violation::TextNotUtf8),
            false => Ok(is_whole),
        }
    }
}

/// Notes a message that is whole, or gives the memory of one that is invalid back.
fn deliver(
    context: &mut Context<'_>,
    message: Message,
    result: Result<bool, Violation>,
    compressed_bytes: usize,
) -> Result<Inflated, Violation> {
    let Shared {
        buffers, counters, ..
    } = &mut *context.output.shared;
    if let Err(violation) = result {
        buffers.give_back(message.data);
        return Err(violation);
    }
    let end = message.progress.end();
    if let Some(codec) = &mut context.codec {
        codec.received(&message.data[HEADROOM..end], compressed_bytes);
    }
    counters.inflated += 1;
    counters.inflated_bytes += (end - HEADROOM) as u64;
    counters.inflated_from_bytes += compressed_bytes as u64;
    Ok(Inflated::Whole(message.kind, message.data, end))
}

//! Inflating messages in pieces, for a stream or an application that takes them so: each goes on as it comes out, and no
//! message is collected.
//!
//! ```text
//!  a part of a message, as it arrived ──▶ Inflow ──▶ at most 64 KiB, which go on at once ──▶ what is left of the part waits
//! ```
//!
//! A connection holds, while a message has begun and not ended, an inflater (46 KiB) and the last 32 KiB of the message; and, while
//! they do not go on, what one receive brought (512 KiB at most) compressed. Nothing more is read before that is inflated.

use super::codec::{Codec, Engines};
use super::{Shared, State};
use crate::conn::buffers::Buffers;
use crate::io::ConnId;
use crate::proto::deflate::{Direction, History, Hooks, Inflater, Part, Progress, Stop};
use crate::proto::{Kind, Violation, utf8};

/// Inflated bytes that go on at once (64 KiB): the other end's queue, or the connection's pauses, are looked at before there are more.
const BYTES_MAX: usize = 64 << 10;

/// A message that is inflated in part.
#[derive(Debug)]
pub(crate) struct Inflow {
    kind: Kind,
    text: utf8::Validator,
    /// It is taken away from the others until the message is whole.
    inflater: Inflater,
    progress: Progress,
    /// The last bytes of what has gone on.
    gone: History,
    waiting: Option<Waiting>,
}

/// What is left of a part.
#[derive(Debug)]
struct Waiting {
    data: Vec<u8>,
    filled: usize,
    is_last: bool,
}

impl Waiting {
    fn new((part, is_last): (&[u8], bool), buffers: &mut Buffers) -> Self {
        let mut data = buffers.take(part.len());
        data[..part.len()].copy_from_slice(part);
        Self {
            data,
            filled: part.len(),
            is_last,
        }
    }
}

/// Inflated bytes, which wait to be handed on.
#[derive(Debug, Default)]
pub(crate) struct Inflated {
    pub(crate) data: Vec<u8>,
    pub(super) end: usize,
}

impl Inflated {
    /// They have gone on. The memory is given back.
    pub(crate) fn clear(&mut self, buffers: &mut Buffers) {
        if !self.data.is_empty() {
            buffers.give_back(std::mem::take(&mut self.data));
            self.end = 0;
        }
    }
}

impl Inflow {
    fn begin(
        (id, bytes_max): (ConnId, u64),
        kind: Kind,
        codec: &Codec,
        engines: &mut Engines,
    ) -> Self {
        codec.inflater(id, engines);
        let Some(inflater) = engines.lend_inflater(id) else {
            unreachable!("the connection has just used it")
        };
        Self {
            kind,
            text: utf8::Validator::new(),
            inflater,
            progress: Progress::new(0, bytes_max),
            gone: History::default(),
            waiting: None,
        }
    }

    pub(super) const fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether nothing has come out yet.
    pub(super) fn is_at_start(&self) -> bool {
        self.gone.bytes().is_empty()
    }

    /// Whether there is a part that is not used up.
    pub(super) const fn waits(&self) -> bool {
        self.waiting.is_some()
    }

    /// Inflates at most `room` bytes, and notes them for what may refer to them.
    fn go_on(
        &mut self,
        codec: &mut Codec,
        (compressed, is_last): (&[u8], bool),
        inflated: &mut Inflated,
        room: usize,
        buffers: &mut Buffers,
    ) -> Result<Stop, Violation> {
        let Inflated { data, end } = inflated;
        let at = *end;
        if data.is_empty() {
            // JSON becomes three to four times as long.
            *data = buffers.take((4 * compressed.len()).min(BYTES_MAX));
        }
        let part = Part {
            compressed,
            is_last,
            history: codec.history_received(),
            gone: &self.gone,
        };
        let hooks = Hooks {
            grow: &mut |data, filled| buffers.grow(data, filled, filled + 1),
            check: &mut |piece| match self.kind {
                Kind::Text => self.text.push(piece).map_err(|_| Violation::TextNotUtf8),
                Kind::Binary => Ok(()),
            },
        };
        self.progress.move_to(at);
        let room = room.min(BYTES_MAX - at);
        let stop = self
            .inflater
            .go_on_with(&mut self.progress, &part, data, room, hooks)?;
        *end = self.progress.end();
        if stop == Stop::MessageEnds && !self.text.is_complete() {
            return Err(Violation::TextNotUtf8);
        }
        let piece = &data[at..*end];
        if stop == Stop::MessageEnds && self.gone.bytes().is_empty() {
            codec.received(piece, 0);
            return Ok(stop);
        }
        self.gone.push(piece, Direction::FARTHEST);
        if stop == Stop::MessageEnds {
            codec.received(self.gone.bytes(), 0);
        }
        Ok(stop)
    }

    /// Gives the memory back: the connection has ended.
    pub(super) fn discard(self, buffers: &mut Buffers) {
        if let Some(waiting) = self.waiting {
            buffers.give_back(waiting.data);
        }
        buffers.note_freed(self.gone.capacity());
    }
}

impl Shared {
    /// Inflates a part of a message that has arrived, or what waits of one, as far as the turn goes. What comes out lies behind
    /// the other [`Inflated`] bytes. Returns where it begins there, and why it stops.
    pub(super) fn inflate_part(
        &mut self,
        (id, bytes_max): (ConnId, u64),
        codec: &mut Codec,
        kind: Kind,
        arrived: Option<(&[u8], bool)>,
    ) -> Result<(usize, Stop), Violation> {
        let engines = &mut self.protocol.engines;
        let mut inflow = match codec.inflow.take() {
            Some(inflow) => inflow,
            None => Box::new(Inflow::begin((id, bytes_max), kind, codec, engines)),
        };
        let at = self.protocol.pairs.inflated.end;
        let stop = match (arrived, inflow.waiting.take()) {
            (Some(part), _) => {
                let stop = self.inflate_some(id, codec, &mut inflow, part)?;
                self.counters.inflated_from_bytes += part.0.len() as u64;
                let buffers = &mut self.buffers;
                inflow.waiting = (stop == Stop::Enough).then(|| Waiting::new(part, buffers));
                stop
            }
            (None, Some(waiting)) => {
                let part = (&waiting.data[..waiting.filled], waiting.is_last);
                let result = self.inflate_some(id, codec, &mut inflow, part);
                match result {
                    Ok(Stop::Enough) => inflow.waiting = Some(waiting),
                    _ => self.buffers.give_back(waiting.data),
                }
                result?
            }
            (None, None) => unreachable!("there is something to inflate"),
        };
        match stop {
            Stop::Enough | Stop::PartEnds => codec.inflow = Some(inflow),
            Stop::MessageEnds => {
                self.counters.inflated += 1;
                let engines = &mut self.protocol.engines;
                engines.take_inflater_back(id, inflow.inflater);
            }
        }
        Ok((at, stop))
    }

    /// Inflates as much as the connection's share of the turn allows.
    fn inflate_some(
        &mut self,
        id: ConnId,
        codec: &mut Codec,
        inflow: &mut Inflow,
        part: (&[u8], bool),
    ) -> Result<Stop, Violation> {
        let State { share, pairs, .. } = &mut self.protocol;
        let (room, at) = (share.inflate_left(id), pairs.inflated.end);
        let result = inflow.go_on(codec, part, &mut pairs.inflated, room, &mut self.buffers);
        let made = pairs.inflated.end - at;
        share.inflated(made);
        self.counters.inflated_bytes += made as u64;
        result
    }
}

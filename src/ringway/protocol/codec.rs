//! permessage-deflate (RFC 7692) on the connections of a worker.
//!
//! ```text
//!  connection ── Codec: terms, and per direction the last bytes of its plain text       100 bytes, and up to a window
//!                  │                                                                     each with context takeover
//!                  ▼
//!  worker ────── Engines: up to 4 compressors, up to 4 inflaters                        94 to 262 KiB and 46 KiB each
//! ```
//!
//! A message borrows an engine. The engine that handled a connection's last message goes on where it stopped; any other
//! engine is first brought to that point from the connection's history. So memory does not grow with the connections that
//! compress, and a few busy connections do not pay for the many.
//!
//! How often a payload byte is touched, beside deflate itself: compressed once from where it lies into memory of the worker,
//! and the result copied once to the scratch space or the queue. Inflated once into memory of its own, where it is checked
//! and delivered; sent back uncompressed it leaves from there. With takeover the last window of each message is copied to
//! the history.

use super::inflating::Inflating;
use super::inflow::Inflow;
use super::windowless::{self, Compressions, Windowless, by_role};
use crate::conn::buffers::Buffers;
use crate::io::ConnId;
use crate::proto::compression::Agreed;
use crate::proto::deflate::{Deflate, Deflater, Direction, History, Inflater, Setup};
use crate::proto::{Kind, Role};

/// Engines of each kind that a worker keeps. Chosen, untested: the connections of one turn that go on without a restart.
const ENGINES_MAX: usize = 4;

/// What a connection keeps that agreed to compress messages.
#[derive(Debug)]
pub(crate) struct Codec {
    sends: Direction,
    receives: Direction,
    setup: Setup,
    bytes_min: usize,
    sent: History,
    /// A message was sent compressed that no engine of ours has seen: the next one begins from the history.
    sent_apart: bool,
    received: History,
    /// Another extension than permessage-deflate, for which all of the above but `bytes_min` is idle.
    windowless: Option<Windowless>,
    /// A message that is inflated in part. Nothing more is read before it is delivered.
    pub(super) inflating: Option<Box<Inflating>>,
    /// A message that goes on in pieces, and is inflated in part.
    pub(super) inflow: Option<Box<Inflow>>,
}

impl Codec {
    /// `ours` is what was offered, or accepted.
    pub(crate) fn new(agreed: Agreed, role: Role, ours: &Compressions) -> Box<Self> {
        let deflate = ours.deflate.unwrap_or_default();
        let (sends, receives) = match agreed {
            Agreed::Deflate(agreed) => by_role(role, agreed.server, agreed.client),
            Agreed::Bzip2(_) => {
                return Self::windowless(agreed, role, ours.bzip2.map(|ours| ours.bytes_min));
            }
            Agreed::Snappy(_) => {
                return Self::windowless(agreed, role, ours.snappy.map(|ours| ours.bytes_min));
            }
        };
        let setup = deflate.setup(sends.window_bits);
        // Nothing is compressed for a window of 8 bits, which a server may ask of us. Then everything leaves as it is.
        let bytes_min = match setup.is_possible() {
            true => deflate.bytes_min.max(1),
            false => usize::MAX,
        };
        Box::new(Self {
            sends,
            receives,
            setup,
            bytes_min,
            sent: History::default(),
            sent_apart: false,
            received: History::default(),
            windowless: None,
            inflating: None,
            inflow: None,
        })
    }

    #[cold]
    fn windowless(agreed: Agreed, role: Role, bytes_min: Option<usize>) -> Box<Self> {
        // A window of no bits, which no prepared message fits.
        let nothing = Direction {
            takeover: false,
            window_bits: 0,
        };
        Box::new(Self {
            sends: nothing,
            receives: nothing,
            setup: Deflate::default().setup(Direction::FARTHEST.window_bits),
            bytes_min: bytes_min.unwrap_or(usize::MAX).max(1),
            sent: History::default(),
            sent_apart: false,
            received: History::default(),
            windowless: Windowless::new(&agreed, role),
            inflating: None,
            inflow: None,
        })
    }

    /// Whether messages can be compressed and inflated as a stream: by permessage-deflate.
    pub(super) const fn streams(&self) -> bool {
        self.windowless.is_none()
    }

    /// Whether something is inflated in part that has arrived, so that nothing may be read before the rest of it.
    pub(super) fn has_more(&self) -> bool {
        let inflow = self.inflow.as_ref();
        self.inflating.is_some() || inflow.is_some_and(|inflow| inflow.waits())
    }

    /// The kind of the message that is inflated in part.
    pub(super) fn inflow_kind(&self) -> Kind {
        let inflow = self.inflow.as_ref();
        inflow.map_or(Kind::Binary, |inflow| inflow.kind())
    }

    /// Whether nothing has come out yet of the message that is to be inflated.
    pub(super) fn inflow_begins(&self) -> bool {
        let inflow = self.inflow.as_ref();
        inflow.is_none_or(|inflow| inflow.is_at_start())
    }

    /// Gives the memory back of what is inflated in part: the connection has ended.
    pub(super) fn discard(&mut self, buffers: &mut Buffers) {
        if let Some(inflating) = self.inflating.take() {
            inflating.discard(buffers);
        }
        if let Some(inflow) = self.inflow.take() {
            inflow.discard(buffers);
        }
    }

    /// Whether a message of this size is compressed. Decided before the compressor sees a byte of it.
    pub(crate) const fn compresses(&self, bytes: usize) -> bool {
        bytes >= self.bytes_min
    }

    /// Bytes of the smallest message that is compressed.
    pub(crate) const fn bytes_min(&self) -> usize {
        self.bytes_min
    }

    /// Bytes that a message of `len` has at most while it is compressed.
    pub(crate) fn compressed_bytes_max(&self, len: usize) -> usize {
        match &self.windowless {
            None => Deflater::compressed_bytes_max(len),
            Some(windowless) => windowless.compressed_bytes_max(len),
        }
    }

    /// Bytes of memory that the histories take.
    pub(crate) fn history_bytes(&self) -> usize {
        self.sent.capacity() + self.received.capacity()
    }

    /// Compresses a message into `out` and returns its length there. `None`: it did not become smaller, and may be sent as it
    /// is because no later message refers to it.
    pub(crate) fn compress(
        &mut self,
        id: ConnId,
        engines: &mut Engines,
        message: &[u8],
        out: &mut Vec<u8>,
    ) -> Option<usize> {
        if let Some(windowless) = &mut self.windowless {
            return windowless.compress(&mut engines.windowless, message, out);
        }
        let setup = self.setup;
        let cached = engines.deflaters.get(
            id,
            |deflater| deflater.setup() == setup,
            || Deflater::new(setup),
        );
        let sent_apart = std::mem::take(&mut self.sent_apart);
        if !self.sends.takeover || !cached.goes_on || sent_apart {
            cached.engine.restart(&self.sent);
        }
        let len = cached.engine.compress(message, out, 0);
        if !self.sends.takeover && len >= message.len() {
            return None;
        }
        self.sent.push(message, self.sends);
        Some(len)
    }

    /// The window of what we send, 2 to the power of this in bytes.
    pub(crate) const fn window_bits(&self) -> u8 {
        self.sends.window_bits
    }

    /// Whether the messages that we send may refer to those before them.
    pub(crate) const fn has_takeover(&self) -> bool {
        self.sends.takeover
    }

    /// Notes a message that leaves compressed, but not by our engine: later ones may refer to it.
    pub(crate) fn sent_apart(&mut self, message: &[u8]) {
        self.sent.push(message, self.sends);
        self.sent_apart = true;
    }

    /// The inflater for the next message, and the history that it goes on behind. [`Self::received`] must follow.
    pub(crate) fn inflater<'a>(
        &'a self,
        id: ConnId,
        engines: &'a mut Engines,
    ) -> (&'a mut Inflater, &'a History) {
        let cached = engines.inflaters.get(id, |_| true, Inflater::new);
        if !(self.receives.takeover && cached.goes_on && cached.engine.goes_on()) {
            cached.engine.restart(&self.received);
        }
        (cached.engine, &self.received)
    }

    /// The last bytes of what was received, behind which the next message goes on.
    pub(crate) const fn history_received(&self) -> &History {
        &self.received
    }

    /// The inflater of the next message, if the extension is not permessage-deflate.
    pub(super) fn windowless_inflater(&self) -> Option<windowless::Inflater> {
        self.windowless.as_ref().map(Windowless::inflater)
    }

    /// How many bytes are inflated in the time of so many of deflate.
    pub(super) fn affordable(&self, bytes: usize) -> usize {
        let windowless = self.windowless.as_ref();
        windowless.map_or(bytes, |windowless| windowless.affordable(bytes))
    }

    /// How many bytes of deflate are inflated in the time of so many.
    pub(super) fn cost_bytes(&self, bytes: usize) -> usize {
        let windowless = self.windowless.as_ref();
        windowless.map_or(bytes, |windowless| windowless.cost_bytes(bytes))
    }

    /// Notes a message that was inflated from so many bytes.
    pub(crate) fn received(&mut self, message: &[u8], compressed_bytes: usize) {
        match &mut self.windowless {
            None => self.received.push(message, self.receives),
            Some(windowless) => windowless.received(compressed_bytes),
        }
    }
}

/// The engines of one worker, which all its connections share.
#[derive(Debug, Default)]
pub(crate) struct Engines {
    deflaters: Cache<Deflater>,
    inflaters: Cache<Inflater>,
    windowless: windowless::Shared,
}

impl Engines {
    /// Takes an inflater away from the others, in the middle of a message.
    pub(crate) fn lend_inflater(&mut self, id: ConnId) -> Option<Inflater> {
        self.inflaters.remove(id)
    }

    /// Takes it back, behind the message.
    pub(crate) fn take_inflater_back(&mut self, id: ConnId, inflater: Inflater) {
        self.inflaters.put(id, inflater);
    }

    /// A connection has ended: a later one of the same identity must not go on where it stopped.
    pub(crate) fn forget(&mut self, id: ConnId) {
        self.deflaters.forget(id);
        self.inflaters.forget(id);
    }
}

#[derive(Debug)]
struct Cache<E> {
    entries: Vec<Entry<E>>,
    uses: u64,
}

#[derive(Debug)]
struct Entry<E> {
    engine: E,
    /// The connection whose message it handled last.
    owner: Option<ConnId>,
    last_use: u64,
}

struct Cached<'a, E> {
    engine: &'a mut E,
    /// It handled this connection's last message.
    goes_on: bool,
}

impl<E> Default for Cache<E> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            uses: 0,
        }
    }
}

impl<E> Cache<E> {
    /// The engine that served `id` last, else the one that has been unused for longest. One that does not `fit` is replaced.
    fn get(&mut self, id: ConnId, fits: impl Fn(&E) -> bool, new: impl Fn() -> E) -> Cached<'_, E> {
        self.uses += 1;
        let entries = &mut self.entries;
        let own = entries.iter().position(|entry| entry.owner == Some(id));
        let goes_on = own.is_some();
        let at = own.unwrap_or_else(|| {
            let oldest = (0..entries.len()).min_by_key(|at| entries[*at].last_use);
            match oldest {
                Some(at) if entries.len() == ENGINES_MAX => at,
                _ => {
                    entries.push(Entry {
                        engine: new(),
                        owner: None,
                        last_use: 0,
                    });
                    entries.len() - 1
                }
            }
        });
        let entry = &mut entries[at];
        if !fits(&entry.engine) {
            entry.engine = new();
        }
        entry.owner = Some(id);
        entry.last_use = self.uses;
        Cached {
            engine: &mut entry.engine,
            goes_on,
        }
    }

    /// Removes the engine that served `id` last.
    fn remove(&mut self, id: ConnId) -> Option<E> {
        let at = self
            .entries
            .iter()
            .position(|entry| entry.owner == Some(id))?;
        Some(self.entries.swap_remove(at).engine)
    }

    /// Adds an engine that served `id` last. With too many, the one that has been unused for longest goes.
    fn put(&mut self, id: ConnId, engine: E) {
        self.uses += 1;
        if self.entries.len() == ENGINES_MAX
            && let Some(oldest) = (0..ENGINES_MAX).min_by_key(|at| self.entries[*at].last_use)
        {
            self.entries.swap_remove(oldest);
        }
        self.entries.push(Entry {
            engine,
            owner: Some(id),
            last_use: self.uses,
        });
    }

    fn forget(&mut self, id: ConnId) {
        for entry in &mut self.entries {
            entry.owner.take_if(|owner| *owner == id);
        }
    }
}

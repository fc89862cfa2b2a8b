//! The bus of a server: what workers tell each other through shared memory.
//!
//! Owns: the memory of the logs and the bells, this worker's place on them, and how much of them a turn reads.
//! Never: knows a connection or a topic; the order of loads and stores is `ringway_bus`'s.
//!
//! ```text
//!  one memfd, sealed:  │ bells │ log of seat 0 │ log of seat 1 │ … │     an eventfd for each seat
//!                                     ▲ written by worker 0 alone, read by all
//! ```
//!
//! A seat is a worker's index, or one of [`OUTSIDE_SEATS`] behind them.
#![forbid(unsafe_code)]

pub(crate) mod interest;
mod memory;
mod options;

use std::fs::File;
use std::num::NonZeroU64;

use ringway_bus::doorbell::{Bells, Sleep, Sleeper};
pub use ringway_bus::history::Limits as HistoryLimits;
use ringway_bus::log::{self, Event, Layout, Outgoing, Reader, RecordBuffer, Writer};
pub use ringway_bus::log::{Kind, Refusal};
pub use ringway_bus::queue::{Limits as QueueLimits, Policy};
pub use ringway_bus::topics::Limits as TopicLimits;

pub(crate) use crate::io::Error;
use crate::io::Fd;
use crate::io::words::{self, Words};

pub use memory::{OUTSIDE_SEATS, Plan, Segments};
pub use options::BusOptions;

/// Bytes of records that a turn reads of one log at most. The rest waits for the next turn, which does not wait.
const TURN_BYTES_MAX: usize = 1 << 20;

/// What an empty record counts as.
const RECORD_BYTES_MIN: usize = 24;

/// What another seat has said.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Said<'a> {
    Record {
        kind: Kind,
        origin: u64,
        topic: &'a [u8],
        body: &'a [u8],
    },
    /// This worker was too slow: so many records were overwritten before it read them.
    Missed(NonZeroU64),
    /// A new process has taken the seat of one that ended.
    Replaced,
}

/// A worker's place on the bus.
pub struct Bus {
    own: usize,
    /// The seat of the bridge to a broker, if there is one.
    bridge: Option<usize>,
    writer: Writer<Words>,
    /// The logs of the others by seat.
    readers: Vec<Source>,
    bells: Bells<Words>,
    sleeper: Sleeper<Words>,
    /// The eventfd of each seat.
    rings: Vec<File>,
    buffer: RecordBuffer,
    /// Something was published since the others were last rung for.
    has_published: bool,
}

impl std::fmt::Debug for Bus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bus")
            .field("own", &self.own)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Source {
    seat: usize,
    words: Words,
    layout: Layout,
    /// `None`: the log contradicts itself. It is read again once its seat has a new process.
    reader: Option<Reader<Words>>,
    /// The epoch in which it was attached, or could not be.
    looked_in: u64,
}

impl Bus {
    /// Takes the seat `own` on a bus. Whoever had it before has ended.
    ///
    /// # Errors
    /// The memory is none of `plan`, or cannot be mapped.
    pub fn join(segments: Segments, plan: &Plan, own: usize) -> Result<Self, Error> {
        let Segments { memory, rings } = segments;
        if own >= plan.seats() || rings.len() != plan.seats() {
            return Err(failed("it has other seats"));
        }
        let taken = Writer::take_over(plan.map_log(&memory, own, words::Access::Write)?);
        let writer = match taken {
            Ok(writer) if *writer.layout() == plan.layout(own) => writer,
            _ => {
                tracing::error!(
                    "the log of worker {own} on the bus is damaged, so it begins anew: the others miss what it \
                     had published last"
                );
                plan.format_again(&memory, own)?;
                let words = plan.map_log(&memory, own, words::Access::Write)?;
                Writer::take_over(words).map_err(|fault| failed(fault.to_string()))?
            }
        };
        let bells = Bells::attach(plan.map_bells(&memory)?);
        let bells = bells.map_err(|fault| failed(fault.to_string()))?;
        let sleeper = Sleeper::new(bells.clone(), own);
        let sleeper = sleeper.map_err(|fault| failed(fault.to_string()))?;
        let source = |seat| -> Result<Source, Error> {
            let words = plan.map_log(&memory, seat, words::Access::Read)?;
            let mut source = Source {
                seat,
                layout: plan.layout(seat),
                words,
                reader: None,
                looked_in: 0,
            };
            source.attach();
            Ok(source)
        };
        let others = (0..plan.seats()).filter(|seat| *seat != own);
        let bus = Self {
            own,
            bridge: plan.has_bridge().then(|| plan.bridge_seat()),
            readers: others.map(source).collect::<Result<_, _>>()?,
            buffer: RecordBuffer::new(plan.layout(0).record_bytes_max),
            writer,
            bells,
            sleeper,
            rings,
            has_published: false,
        };
        // A predecessor that was killed between a record and its ring has left sleepers.
        let rings = &bus.rings;
        bus.bells
            .ring_all(Some(own), |seat| words::ring(&rings[seat]));
        Ok(bus)
    }

    /// The seat of this worker.
    pub const fn own(&self) -> usize {
        self.own
    }

    /// Whether there is a bridge to a broker.
    pub(crate) const fn has_bridge(&self) -> bool {
        self.bridge.is_some()
    }

    /// What becomes readable when another seat rings for this one.
    pub(crate) fn bell(&self) -> Fd {
        words::fd(&self.rings[self.own])
    }

    /// The same for a runtime.
    ///
    /// # Errors
    /// There is no runtime, or no descriptor.
    #[cfg(any(feature = "backplane", feature = "pages"))]
    pub(crate) fn watch_bell(&self) -> std::io::Result<tokio::io::unix::AsyncFd<File>> {
        words::waited(self.rings[self.own].try_clone()?)
    }

    /// Puts a record on the bus, for all other seats.
    ///
    /// # Errors
    /// It is too large; nothing was published.
    pub fn publish(
        &mut self,
        kind: Kind,
        origin: u64,
        topic: &[u8],
        body: &[u8],
    ) -> Result<(), Refusal> {
        self.writer.publish(&Outgoing {
            kind,
            origin,
            topic,
            body,
        })?;
        self.has_published = true;
        Ok(())
    }

    /// Wakes the seats that sleep, if something was published since the last call.
    pub fn ring(&mut self) {
        if !std::mem::take(&mut self.has_published) {
            return;
        }
        let Self { bells, rings, .. } = self;
        let rung = bells.ring(Some(self.own), |seat| words::ring(&rings[seat]));
        if rung.failed > 0 {
            // Only a wrong descriptor fails. The sleeper wakes up by its own deadlines.
            tracing::error!("a worker cannot be woken: its bell is no eventfd");
        }
    }

    /// Whether [`Self::read`] would find anything.
    pub(crate) fn has_news(&self) -> bool {
        self.readers.iter().any(Source::has_news)
    }

    /// Announces that this worker is about to wait. `false`: there is something to read.
    pub(crate) fn fall_asleep(&mut self) -> bool {
        let Self {
            readers, sleeper, ..
        } = self;
        sleeper.fall_asleep(|| readers.iter().any(Source::has_news)) == Sleep::Asleep
    }

    /// This worker reads again before it waits.
    pub(crate) fn wake(&mut self) {
        self.sleeper.wake();
    }

    /// The bell has rung, and is to ring again.
    pub(crate) fn hush(&self) {
        words::hush(&self.rings[self.own]);
    }

    /// Leaves out what the others have said so far.
    #[cfg(feature = "pages")]
    pub(crate) fn skip(&mut self) {
        self.readers.iter_mut().for_each(Source::attach);
    }

    /// Hands over what the others have said, a turn's share of each, in the order of each.
    pub(crate) fn read(&mut self, mut tell: impl FnMut(usize, Said<'_>)) {
        for source in &mut self.readers {
            source.read(&mut self.buffer, &mut tell);
        }
    }
}

impl Source {
    fn has_news(&self) -> bool {
        match &self.reader {
            Some(reader) => reader.has_news(),
            None => log::epoch(&self.words) != self.looked_in,
        }
    }

    fn attach(&mut self) {
        self.looked_in = log::epoch(&self.words);
        self.reader = match Reader::attach(self.words.clone()) {
            Ok(reader) if *reader.layout() == self.layout => Some(reader),
            _ => None,
        };
    }

    fn read(&mut self, buffer: &mut RecordBuffer, tell: &mut impl FnMut(usize, Said<'_>)) {
        let seat = self.seat;
        if self.reader.is_none() && self.has_news() {
            self.attach();
        }
        let mut bytes = 0;
        while bytes < TURN_BYTES_MAX {
            let Some(reader) = &mut self.reader else {
                return;
            };
            bytes += RECORD_BYTES_MIN;
            match reader.poll(buffer) {
                Ok(None) => return,
                // The first process of a seat has nobody's place.
                Ok(Some(Event::Began { epoch: ..=1 })) => {}
                Ok(Some(Event::Began { .. })) => tell(seat, Said::Replaced),
                Ok(Some(Event::Gap { records })) => tell(seat, Said::Missed(records)),
                Ok(Some(Event::Record(record))) => {
                    bytes += record.topic.len() + record.body.len();
                    tell(
                        seat,
                        Said::Record {
                            kind: record.kind,
                            origin: record.origin,
                            topic: record.topic,
                            body: record.body,
                        },
                    );
                }
                Err(corrupt) => {
                    tracing::error!(
                        "the bus of seat {seat}: {corrupt}; what it said last is missed here"
                    );
                    // A new process has made it anew, or nobody has yet.
                    match log::epoch(&self.words) == self.looked_in {
                        true => self.reader = None,
                        false => self.attach(),
                    }
                    tell(seat, Said::Missed(NonZeroU64::MIN));
                    return;
                }
            }
        }
    }
}

impl Drop for Bus {
    /// What was published last is not forgotten by sleepers.
    fn drop(&mut self) {
        self.ring();
    }
}

fn failed(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error {
        operation: "join the workers' bus",
        source: std::io::Error::other(why),
    }
}

#[cfg(test)]
mod tests;

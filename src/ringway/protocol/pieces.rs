//! Messages in pieces, for applications that take frames, or whatever of a message arrives, in place of whole messages; and
//! the reading of connections that are measured.
//!
//! ```text
//!  receive ──▶ events ──▶ Messages: assembled, App::message
//!                    ├──▶ Frames:   each assembled, App::chunk
//!                    ├──▶ Chunks:   where they lie, App::chunk
//!                    └──▶ of either, compressed: inflated, App::chunk   ──▶ counted, if the connection is measured
//! ```
//!
//! Owns: this second, slower loop over events. The other one knows whole messages only and counts nothing ([`super::websocket`]).
//! Never: keeps more of a message in pieces than one frame, or of one that is compressed more than [`super::inflow`] says.

use super::app::App;
use super::commands::Command;
use super::context::{Context, SendError};
use super::host::Host;
use super::traffic::TrafficStats;
use super::websocket::{BULK_FRAME_BYTES, Ending, assemble, hear};
use super::{Connection, Shared, Speaks};
use crate::conn::buffers::{Assembly, HEADROOM};
use crate::conn::link::Receive;
use crate::io::BufferId;
use crate::proto::deflate::Stop;
use crate::proto::frame::Header;
use crate::proto::hixie::Draft;
use crate::proto::{Chunk, Event, Input, Kind, Message, Opcode};

/// What an application gets of the messages of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Receiving {
    /// Whole messages, in [`App::message`](super::App::message). A message takes memory up to `message_bytes_max`.
    #[default]
    Messages,
    /// Whole frames (RFC 6455 §5.4), in [`App::chunk`](super::App::chunk). A frame takes memory up to `frame_bytes_max`. A compressed
    /// message has none that mean anything to an application (RFC 7692 §6): it is inflated as it comes, and each piece counts
    /// as a frame.
    Frames,
    /// Pieces as they arrive, in [`App::chunk`](super::App::chunk): of up to 512 KiB, and never of two frames. They take no memory. Those of a
    /// compressed message have up to 64 KiB, and count as frames.
    Chunks,
}

/// How a connection is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Manner {
    pub(super) receiving: Receiving,
    pub(super) is_measured: bool,
    /// It speaks one of the protocols before RFC 6455.
    pub(super) draft: Option<Draft>,
}

impl Manner {
    pub(super) const PLAIN: Self = Self {
        receiving: Receiving::Messages,
        is_measured: false,
        draft: None,
    };

    /// Whether the fast loop serves it.
    pub(super) fn is_plain(self) -> bool {
        self == Self::PLAIN
    }
}

/// A frame of a message in frames.
pub(super) struct Frame {
    pub(super) kind: Kind,
    pub(super) begins: bool,
    pub(super) ends: bool,
}

impl Speaks {
    /// Whether the loop of this module reads the connection.
    pub(crate) fn is_read_in_events(&self) -> bool {
        matches!(self, Self::WebSocket(websocket)
            if websocket.receiving != Receiving::Messages || websocket.is_measured)
    }
}

impl Shared {
    /// Handles the bytes of `buffer` behind `from`, as [`Self::feed`] does.
    pub(crate) fn feed_events<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
        buf: &mut [u8],
        from: usize,
        scratch: &mut [u8],
        buffer: BufferId,
    ) -> usize {
        let Speaks::WebSocket(websocket) = &mut conn.speaks else {
            return buf.len();
        };
        let frames = self.protocol.share.stretch(conn.link.id);
        let mut input = Input::starting_at(buf, from);
        let receiving = websocket.receiving;
        let (hearing, speech) = websocket.halves();
        let mut reading = Reading {
            receiving,
            receive: conn.link.receive,
            assembly: hearing.assembly,
            frame_begins_message: hearing.frame_begins_message,
        };
        let mut context = Context::new(self, &mut conn.link, speech, scratch, buffer);
        let (app, session) = host.of(context.id());
        let mut left = frames;
        let mut ending = go_on(app, session, &mut context).err();
        while ending.is_none() && left > 0 {
            left -= 1;
            ending = match hearing.receiver.poll_event(&mut input) {
                Ok(None) => break,
                Ok(Some(event)) => reading.take(app, session, &mut context, event).err(),
                Err(violation) => Some(Ending::Violation(violation)),
            };
        }
        context.output.end_last_run();
        let read = input.position();
        context.count_received(0, (read - from) as u64);
        let receive = reading.receive;
        conn.link.receive = receive;
        self.protocol.share.frames += frames - left;
        match ending {
            None => read,
            Some(Ending::Inflates) => {
                self.put_off(&mut conn.link);
                read
            }
            Some(ending) => {
                self.conclude(host, conn, ending, scratch);
                buf.len()
            }
        }
    }
}

/// What is read of a connection in one go.
struct Reading<'a> {
    receiving: Receiving,
    receive: Receive,
    assembly: &'a mut Option<Assembly>,
    frame_begins_message: &'a mut bool,
}

impl Reading<'_> {
    fn take<A: App>(
        &mut self,
        app: &mut A,
        session: &mut A::Session,
        context: &mut Context<'_>,
        event: Event<'_>,
    ) -> Result<(), Ending> {
        match event {
            Event::Message(message) => {
                context.count_received(1, 0);
                context.count_in(1, message.len());
                match self.receiving {
                    Receiving::Messages => app.message(context, session, message),
                    Receiving::Frames | Receiving::Chunks => whole(message, |chunk| {
                        app.chunk(context, session, chunk);
                    }),
                }
                Ok(())
            }
            Event::Chunk(part) => {
                if part.frame_begins.is_some_and(|len| len > BULK_FRAME_BYTES) && !part.frame_ends {
                    self.receive = Receive::Bulk;
                }
                context.count_received(u64::from(part.frame_ends), 0);
                match self.receiving {
                    Receiving::Messages => assemble(app, session, context, self.assembly, &part),
                    _ if part.compressed => {
                        let arrived = Some((&*part.payload, part.message_ends));
                        inflate(app, session, context, part.kind, arrived)
                    }
                    Receiving::Frames => {
                        self.collect(app, session, context, part);
                        Ok(())
                    }
                    Receiving::Chunks => {
                        context.count_in(u64::from(part.message_ends), part.payload.len());
                        app.chunk(context, session, part);
                        Ok(())
                    }
                }
            }
            control => {
                context.count_received(1, 0);
                hear(app, session, context, control).map_or(Ok(()), Err)
            }
        }
    }

    /// Appends a piece to its frame, and delivers the frame after its last one.
    fn collect<A: App>(
        &mut self,
        app: &mut A,
        session: &mut A::Session,
        context: &mut Context<'_>,
        part: Chunk<'_>,
    ) {
        if part.frame_begins.is_some() && part.frame_ends {
            context.count_in(u64::from(part.message_ends), part.payload.len());
            return app.chunk(context, session, part);
        }
        if part.frame_begins.is_some() {
            *self.frame_begins_message = part.message_begins;
        }
        let buffers = &mut context.output.shared.buffers;
        self.assembly
            .get_or_insert_with(|| Assembly::new(buffers, part.frame_begins.unwrap_or(0)))
            .push(part.payload, buffers);
        if part.frame_ends
            && let Some(assembly) = self.assembly.take()
        {
            let frame = Frame {
                kind: part.kind,
                begins: *self.frame_begins_message,
                ends: part.message_ends,
            };
            deliver_frame(app, session, context, &frame, assembly);
        }
    }
}

/// Goes on with a part of a message that was not used up.
fn go_on<A: App>(
    app: &mut A,
    session: &mut A::Session,
    context: &mut Context<'_>,
) -> Result<(), Ending> {
    match context.codec.as_ref().filter(|codec| codec.has_more()) {
        None => Ok(()),
        Some(codec) => {
            let kind = codec.inflow_kind();
            inflate(app, session, context, kind, None)
        }
    }
}

/// Inflates a part of a message, or what is left of one, and hands over what comes out.
#[cold]
fn inflate<A: App>(
    app: &mut A,
    session: &mut A::Session,
    context: &mut Context<'_>,
    kind: Kind,
    arrived: Option<(&[u8], bool)>,
) -> Result<(), Ending> {
    let bytes_max = context.config().message_limits.message_bytes_max;
    let whose = (context.output.id, bytes_max);
    let Some(codec) = context.codec.as_deref_mut() else {
        unreachable!("the receiver lets no compressed message pass without agreement")
    };
    let shared = &mut *context.output.shared;
    shared.protocol.pairs.inflated.clear(&mut shared.buffers);
    let message_begins = codec.inflow_begins();
    let (at, stop) = shared.inflate_part(whose, codec, kind, arrived)?;
    let mut inflated = std::mem::take(&mut shared.protocol.pairs.inflated);
    let payload = &mut inflated.data[at..inflated.end];
    let message_ends = stop == Stop::MessageEnds;
    if message_ends || !payload.is_empty() {
        context.count_in(u64::from(message_ends), payload.len());
        let chunk = Chunk {
            kind,
            compressed: false,
            frame_begins: Some(payload.len() as u64),
            payload,
            message_begins,
            frame_ends: true,
            message_ends,
        };
        app.chunk(context, session, chunk);
    }
    inflated.clear(&mut context.output.shared.buffers);
    match stop {
        Stop::Enough => Err(Ending::Inflates),
        Stop::PartEnds | Stop::MessageEnds => Ok(()),
    }
}

/// Hands an assembled frame to the application, and takes its memory back.
pub(super) fn deliver_frame<A: App>(
    app: &mut A,
    session: &mut A::Session,
    context: &mut Context<'_>,
    frame: &Frame,
    assembly: Assembly,
) {
    let filled = assembly.filled;
    let mut data = assembly.into_data(&mut context.output.shared.buffers);
    let payload = &mut data[HEADROOM..filled];
    context.count_in(u64::from(frame.ends), payload.len());
    let chunk = Chunk {
        kind: frame.kind,
        compressed: false,
        frame_begins: Some(payload.len() as u64),
        payload,
        message_begins: frame.begins,
        frame_ends: true,
        message_ends: frame.ends,
    };
    app.chunk(context, session, chunk);
    context.output.shared.buffers.give_back(data);
}

/// A message in one frame, as a piece.
fn whole(mut message: Message<'_>, hand_over: impl FnOnce(Chunk<'_>)) {
    let (kind, len) = (message.kind(), message.len() as u64);
    hand_over(Chunk {
        kind,
        compressed: false,
        payload: message.payload_mut(),
        message_begins: true,
        frame_begins: Some(len),
        frame_ends: true,
        message_ends: true,
    });
}

impl Context<'_> {
    /// Sends a part of a message as a frame of its own (RFC 6455 §5.4): for a message that is larger than memory, or is made while it leaves.
    /// The first part begins the message and says its kind; the one with `ends` ends it. Parts are not compressed. The payload
    /// is copied once.
    ///
    /// Inside the message nothing else may be sent but Ping, Pong and Close: [`Self::send`] fails with [`Misuse::OutOfOrder`](crate::Misuse::OutOfOrder),
    /// [`Commands::send`](super::Commands::send) counts a drop, and messages of topics wait.
    ///
    /// # Errors
    /// [`SendError`]; the part was not sent. [`SendError::QueueFull`]: go on in [`App::writable`](super::App::writable).
    pub fn send_part(&mut self, kind: Kind, payload: &[u8], ends: bool) -> Result<(), SendError> {
        self.check_queue()?;
        let header = self.part_header(kind, payload.len(), ends);
        self.sender.check(&header)?;
        self.count_out(u64::from(ends), header.payload_len);
        self.send_frame(header, payload);
        let state = &mut self.output.shared.protocol;
        if ends && state.fanout.is_some() {
            state
                .commands
                .list
                .push((self.output.id, Command::SendLate));
        }
        Ok(())
    }

    pub(super) fn part_header(&mut self, kind: Kind, bytes: usize, ends: bool) -> Header {
        Header {
            compressed: false,
            fin: ends,
            opcode: match self.sender.is_inside_message() {
                true => Opcode::Continuation,
                false => kind.opcode(),
            },
            payload_len: bytes as u64,
            masking_key: self.masking_key(),
        }
    }

    /// What went over this connection, if it is measured ([`Verdict::measured`](super::Verdict::measured)).
    pub fn traffic_stats(&self) -> Option<&TrafficStats> {
        self.output.shared.protocol.traffic.get(&self.output.id)
    }

    /// The counts of this connection, to be raised.
    #[inline(always)]
    pub(super) fn tally(&mut self) -> Option<&mut TrafficStats> {
        match self.output.shared.protocol.traffic.is_empty() {
            true => None,
            false => self.find_tally(),
        }
    }

    #[cold]
    #[inline(never)]
    fn find_tally(&mut self) -> Option<&mut TrafficStats> {
        self.output.shared.protocol.traffic.get_mut(&self.output.id)
    }

    /// Counts payload that arrived, and the messages that ended with it.
    pub(super) fn count_in(&mut self, messages: u64, payload_bytes: usize) {
        let (shared, bytes) = (&mut *self.output.shared, payload_bytes as u64);
        shared.counters.messages_in += messages;
        shared.counters.message_bytes_in += bytes;
        let now = shared.now;
        if let Some(traffic) = self.tally() {
            traffic.incoming.count(messages, bytes, now);
        }
    }

    /// Counts frames, or bytes of frames, that arrived.
    pub(super) fn count_received(&mut self, frames: u64, bytes: u64) {
        if let Some(traffic) = self.tally() {
            traffic.incoming.frames += frames;
            traffic.incoming.frame_bytes += bytes;
        }
    }
}

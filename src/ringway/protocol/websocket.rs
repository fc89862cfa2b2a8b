//! The frames of one open WebSocket, on their way to the application. Answers wait in the outbox.

use super::app::{App, Closed};
use super::carry::Coding;
use super::config::{CloseAnswer, OnViolation};
use super::context::{Context, Speech};
use super::host::Host;
use super::inflating::{self, Compressed, Inflated};
use super::pieces::{self, Frame, Receiving};
use super::prepared::{Prepared, TooMuch};
use super::{Codec, Connection, Deflate, Shared, Speaks};
use crate::conn::buffers::{Assembly, HEADROOM};
use crate::conn::link::{self, Link, Receive, Side};
use crate::conn::output::{Backing, Output, Run};
use crate::conn::spill::Spill;
use crate::io::{BufferId, ConnId};
use crate::proto::frame::HEADER_BYTES_MAX;
use crate::proto::hixie::Draft;
use crate::proto::{
    Chunk, CloseCode, Event, Input, Kind, Limits, Message, Receiver, Role, Sender, Violation,
};
use crate::time::Instant;

// An assembled message is answered from where it lies, so its header must fit before it.
const _: () = assert!(HEADROOM == HEADER_BYTES_MAX);

/// Payload bytes of a frame from which on the connection is read in bulk: twice a receive buffer. Messages of 16 KiB
/// cost 1.5 times as much when they are received through such buffers (measured).
pub(super) const BULK_FRAME_BYTES: u64 = 8 << 10;

/// Whether a Ping tests the peer's silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heartbeat {
    /// No Ping is unanswered.
    Quiet,
    /// The protocol of the connection has no Ping.
    Absent,
    /// A Ping was sent at this instant, and the peer has been silent since.
    Pinged(Instant),
}

/// An open WebSocket, until both sides have closed it or it has failed.
#[derive(Debug)]
pub(crate) struct WebSocket {
    pub(crate) receiver: Receiver,
    pub(crate) sender: Sender,
    /// The message that is arriving in pieces.
    pub(crate) assembly: Option<Assembly>,
    pub(crate) heartbeat: Heartbeat,
    /// Present if both sides agreed to compress messages.
    pub(crate) codec: Option<Box<Codec>>,
    /// Bytes of a message from which on it is not sent back from where it lies: because it is to be compressed or fragmented,
    /// or because the connection is under TLS (0). One number for all, so that an answer is looked at once.
    pub(crate) in_place_below: u32,
    /// The last message was so large that bytes arriving with the next header are not worth copying.
    pub(crate) large: bool,
    /// How the stream travels that it is joined with. `None`: its messages are the application's.
    pub(crate) stream: Option<Coding>,
    /// What the application gets of its messages.
    pub(super) receiving: Receiving,
    /// The frame in the assembly is the first of its message, where the application gets frames.
    pub(super) frame_begins_message: bool,
    /// What goes over it is counted.
    pub(super) is_measured: bool,
}

impl WebSocket {
    pub(crate) fn new(
        role: Role,
        limits: Limits,
        codec: Option<Box<Codec>>,
        in_place_below: usize,
    ) -> Self {
        let bytes_min = codec.as_ref().map_or(usize::MAX, |codec| codec.bytes_min());
        let in_place_below = in_place_below.min(bytes_min);
        let receiver = Receiver::new(role, limits);
        Self {
            receiver: match codec {
                None => receiver,
                Some(_) => receiver.with_compression(),
            },
            sender: Sender::new(role),
            in_place_below: u32::try_from(in_place_below).unwrap_or(u32::MAX),
            codec,
            assembly: None,
            heartbeat: Heartbeat::Quiet,
            large: false,
            stream: None,
            receiving: Receiving::Messages,
            frame_begins_message: false,
            is_measured: false,
        }
    }

    /// What is read with, and what a context of its callbacks needs.
    #[inline(always)]
    pub(super) fn halves(&mut self) -> (Hearing<'_>, Speech<'_>) {
        let hearing = Hearing {
            receiver: &mut self.receiver,
            assembly: &mut self.assembly,
            frame_begins_message: &mut self.frame_begins_message,
        };
        let speech = Speech {
            sender: &mut self.sender,
            codec: self.codec.as_deref_mut(),
            in_place_below: self.in_place_below,
        };
        (hearing, speech)
    }

    /// The same of one of Hixie's protocols. Nothing is compressed, and nothing leaves from where it lies.
    pub(super) fn hixie(draft: Draft, limits: Limits) -> Self {
        Self {
            receiver: Receiver::hixie(draft, limits),
            sender: Sender::hixie(draft),
            heartbeat: Heartbeat::Absent,
            ..Self::new(Role::Server, limits, None, 0)
        }
    }
}

/// What a WebSocket is read with.
pub(super) struct Hearing<'a> {
    pub(super) receiver: &'a mut Receiver,
    pub(super) assembly: &'a mut Option<Assembly>,
    pub(super) frame_begins_message: &'a mut bool,
}

/// Frames that are handled in one go.
struct Stretch {
    /// Frames that may still be handled.
    left: u32,
    /// Messages that the application got, and their payload bytes. The counters get them after the stretch: until then they
    /// stay in registers.
    messages: u64,
    bytes: u64,
}

impl Stretch {
    #[inline(always)]
    const fn count(&mut self, len: usize) {
        self.messages += 1;
        self.bytes += len as u64;
    }
}

/// How the conversation ended, found while frames were read.
pub(super) enum Ending {
    PeerClosed {
        code: Option<CloseCode>,
        reason: String,
    },
    Violation(Violation),
    /// A message that the stream cannot take.
    Unfit {
        code: CloseCode,
        reason: String,
    },
    /// Not an end: a message is inflated in later turns, and nothing is read before.
    Inflates,
}

impl From<Violation> for Ending {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

impl Shared {
    /// Counts messages that the application sent. Every way of sending calls this.
    #[inline(always)]
    pub(crate) const fn count_out(&mut self, messages: u64, payload_bytes: u64) {
        self.counters.messages_out += messages;
        self.counters.message_bytes_out += payload_bytes;
    }

    /// Logs frames that have arrived, if those of this connection are logged.
    #[cold]
    pub(crate) fn log_received(&mut self, id: ConnId, bytes: &[u8]) {
        if let Some(log) = &mut self.protocol.frame_log {
            log.received(id, self.now, bytes);
        }
    }

    /// Encodes messages for connections in `role`, and compresses them as well if `deflate` says how.
    pub(crate) fn prepare(
        &mut self,
        role: Role,
        messages: &[(Kind, &[u8])],
        deflate: Option<&Deflate>,
    ) -> Result<Prepared, TooMuch> {
        let keys = &mut self.protocol.keys;
        Prepared::new(&mut self.blocks, keys, role, messages, deflate)
    }

    /// The output of a connection into `buffer`, whatever the connection speaks.
    pub(crate) fn output<'a>(
        &'a mut self,
        link: &'a mut Link,
        scratch: &'a mut [u8],
        buffer: BufferId,
    ) -> Output<'a, super::State> {
        Output {
            id: link.id,
            out: &mut link.out,
            shared: self,
            scratch,
            backing: Backing::Buffer(buffer),
            run: Run::default(),
        }
    }

    /// A context for callbacks on an open WebSocket, with output into `buffer`.
    pub(crate) fn context<'a>(
        &'a mut self,
        conn: &'a mut Connection,
        scratch: &'a mut [u8],
        buffer: BufferId,
    ) -> Context<'a> {
        let Speaks::WebSocket(websocket) = &mut conn.speaks else {
            unreachable!("callbacks with a context come while the WebSocket is open")
        };
        let (_, speech) = websocket.halves();
        Context::new(self, &mut conn.link, speech, scratch, buffer)
    }

    /// Handles the bytes of `buffer` behind `from`. Returns where it stopped: at the end, or after one stretch of
    /// frames.
    pub(crate) fn feed<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
        buf: &mut [u8],
        from: usize,
        scratch: &mut [u8],
        buffer: BufferId,
    ) -> usize {
        let mut from = from;
        if !matches!(conn.speaks, Speaks::WebSocket(_)) {
            from = match conn.speaks {
                Speaks::Opening(_) if conn.link.side == Side::Begun => {
                    self.feed_response(host, conn, buf, scratch)
                }
                Speaks::Opening(_) => self.feed_opening(host, conn, buf, scratch),
                Speaks::WebSocket(_) | Speaks::Raw(_) | Speaks::Over => buf.len(),
            };
            if from >= buf.len() || matches!(conn.speaks, Speaks::Opening(_) | Speaks::Over) {
                return buf.len();
            }
            if conn.link.pair().is_some() {
                return from;
            }
            if self.protocol.frame_log.is_some() {
                self.log_received(conn.link.id, &buf[from..]);
            }
            if conn.speaks.is_read_in_events() {
                // The other loop reads the rest, from the spill.
                self.protocol.share.use_up();
                return from;
            }
        }
        self.feed_frames(host, conn, buf, from, scratch, buffer)
    }

    fn feed_frames<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
        buf: &mut [u8],
        from: usize,
        scratch: &mut [u8],
        buffer: BufferId,
    ) -> usize {
        let frames = self.protocol.share.stretch(conn.link.id);
        let mut stretch = Stretch {
            left: frames,
            messages: 0,
            bytes: 0,
        };
        let mut input = Input::starting_at(buf, from);
        let Speaks::WebSocket(websocket) = &mut conn.speaks else {
            unreachable!("frames are read while the WebSocket is open")
        };
        let (hearing, speech) = websocket.halves();
        let mut receive = conn.link.receive;
        let app = host.of(conn.link.id);
        let mut context = Context::new(self, &mut conn.link, speech, scratch, buffer);
        let ending = read_frames(
            app,
            hearing,
            &mut input,
            &mut context,
            &mut receive,
            &mut stretch,
        );
        context.output.end_last_run();
        let read = input.position();
        self.protocol.share.frames += frames - stretch.left;
        self.counters.messages_in += stretch.messages;
        self.counters.message_bytes_in += stretch.bytes;
        conn.link.receive = receive;
        match ending {
            None => read,
            Some(Ending::Inflates) => {
                self.put_off(&mut conn.link);
                read
            }
            Some(ending) => {
                let end = buf.len();
                self.conclude(host, conn, ending, scratch);
                end
            }
        }
    }

    /// Handles `len` bytes of a frame that were received straight into the end of the connection's assembly.
    pub(crate) fn feed_assembly<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
        len: usize,
        scratch: &mut [u8],
    ) {
        let Some(websocket) = conn.speaks.websocket() else {
            unreachable!("bytes were received for an open WebSocket")
        };
        let Some(assembly) = &mut websocket.assembly else {
            unreachable!("bytes were received into an assembly")
        };
        let mut input = Input::new(&mut assembly.data[assembly.filled..assembly.filled + len]);
        let ending = match websocket.receiver.poll_event(&mut input) {
            Ok(Some(Event::Chunk(part))) => {
                let (kind, compressed, frame_ends) = (part.kind, part.compressed, part.frame_ends);
                let frame = Frame {
                    kind,
                    begins: websocket.frame_begins_message,
                    ends: part.message_ends,
                };
                assembly.filled += len;
                let in_frames = websocket.receiving == Receiving::Frames;
                let is_whole = frame.ends || in_frames && frame_ends;
                let mut assembly = websocket.assembly.take_if(|_| is_whole);
                let (app, session) = host.of(conn.link.id);
                let mut context = self.context(conn, scratch, BufferId::HOT);
                context.count_received(u64::from(frame_ends), len as u64);
                if !is_whole {
                    return;
                }
                if let Some(assembly) = assembly.take_if(|_| in_frames) {
                    return pieces::deliver_frame(app, session, &mut context, &frame, assembly);
                }
                match deliver(app, session, &mut context, kind, compressed, assembly) {
                    Ok(()) => return,
                    Err(Ending::Inflates) => return self.put_off(&mut conn.link),
                    Err(ending) => ending,
                }
            }
            Err(violation) => Ending::Violation(violation),
            Ok(_) => unreachable!("no more was received than the frame in progress misses"),
        };
        self.conclude(host, conn, ending, scratch);
    }

    /// A message is inflated in later turns: what follows it waits in the spill, which may be empty.
    #[cold]
    pub(super) fn put_off(&mut self, link: &mut Link) {
        self.protocol.share.use_up();
        let buffers = &mut self.buffers;
        link.spill.get_or_insert_with(|| Spill::new(buffers));
        (link.receive, link.misfits) = (Receive::Bulk, 0);
    }

    /// Goes on with a message that was inflated in part. Returns whether there is still more to come.
    #[cold]
    pub(crate) fn inflate_on<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
        scratch: &mut [u8],
    ) -> bool {
        let Some(websocket) = conn.speaks.websocket() else {
            return false;
        };
        let Some(inflating) = websocket
            .codec
            .as_mut()
            .and_then(|codec| codec.inflating.take())
        else {
            return false;
        };
        let (app, session) = host.of(conn.link.id);
        let mut context = self.context(conn, scratch, BufferId::HOT);
        match inflating.go_on(&mut context) {
            Ok(Inflated::Whole(kind, data, end)) => {
                hand_over(app, session, &mut context, kind, data, end);
                false
            }
            Ok(Inflated::InPart(inflating)) => {
                if let Some(codec) = &mut context.codec {
                    codec.inflating = Some(inflating);
                }
                true
            }
            Err(violation) => {
                self.conclude(host, conn, Ending::Violation(violation), scratch);
                false
            }
        }
    }

    /// Answers the peer's Close or its violation, and lets the connection linger.
    #[cold]
    pub(super) fn conclude<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
        ending: Ending,
        scratch: &mut [u8],
    ) {
        let config = self.protocol.config.of(conn.link.service);
        let (close_answer, on_violation) = (config.close_answer, config.on_violation);
        let mut context = self.context(conn, scratch, BufferId::HOT);
        let closed = match ending {
            Ending::Inflates => unreachable!("the conversation is not over"),
            Ending::PeerClosed { code, ref reason } => {
                let echoed = match close_answer {
                    CloseAnswer::Code => "",
                    CloseAnswer::CodeAndReason => reason,
                };
                // RFC 6455 §5.5.1: "When sending a Close frame in response, the endpoint typically echos the status
                // code it received." Fails if we sent a Close first: then the handshake is complete.
                let _ = context.close_with(code, echoed);
                Closed {
                    clean: true,
                    code: code.unwrap_or(CloseCode::NoStatusRcvd),
                    reason,
                    ..Closed::ABNORMAL
                }
            }
            Ending::Unfit { code, ref reason } => {
                let _ = context.close_with(Some(code), reason);
                self.counters.violations += 1;
                Closed::ABNORMAL
            }
            Ending::Violation(violation) => {
                match on_violation {
                    OnViolation::Close => {
                        let code = Some(violation.close_code());
                        let _ = context.close_with(code, &violation.to_string());
                    }
                    OnViolation::Reset => self.protocol.commands.reset(conn.link.id),
                }
                self.counters.violations += 1;
                tracing::debug!(
                    slot = conn.link.id.slot,
                    section = violation.section(),
                    "peer failed: {violation}"
                );
                Closed {
                    violation: Some(violation),
                    ..Closed::ABNORMAL
                }
            }
        };
        let is_dropped = closed.violation.is_some() && on_violation == OnViolation::Reset;
        self.finish(host, conn, closed);
        if is_dropped {
            // The reset comes at the end of the turn. No FIN comes before it.
            conn.link.ending = link::Ending::Reset;
        }
    }

    /// Ends the conversation: tells the application, and lets queued bytes leave.
    pub(crate) fn finish<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
        closed: Closed<'_>,
    ) {
        self.report_close(host, conn, closed);
        conn.speaks = Speaks::Over;
        // RFC 6455 §7.1.1: "the server SHOULD close the connection first". The side that closes first keeps the address
        // in TIME_WAIT.
        let ending = match conn.link.side {
            Side::Begun if closed.clean => link::Ending::None,
            _ => link::Ending::FinAfterQueue,
        };
        self.linger(&mut conn.link, ending);
    }
}

/// Hands frames to the application until the input is read, the conversation is over, or the stretch is.
#[inline(always)]
fn read_frames<A: App>(
    (app, session): (&mut A, &mut A::Session),
    hearing: Hearing<'_>,
    input: &mut Input<'_>,
    context: &mut Context<'_>,
    receive: &mut Receive,
    stretch: &mut Stretch,
) -> Option<Ending> {
    let Hearing {
        receiver, assembly, ..
    } = hearing;
    // Short messages are looked for at the beginning and behind a frame that was split: what follows other frames is
    // likely to be like them.
    let mut short_may_follow = true;
    while stretch.left > 0 {
        if std::mem::take(&mut short_may_follow) {
            let short = receiver.short_messages(input, stretch.left, |message| {
                stretch.count(message.len());
                app.message(context, session, message);
                context.output.answers_end()
            });
            match short {
                Ok(frames) => stretch.left -= frames,
                Err(violation) => return Some(Ending::Violation(violation)),
            }
            continue;
        }
        stretch.left -= 1;
        let event = receiver.poll_event(input);
        if let Ok(Some(Event::Message(message))) = event {
            stretch.count(message.len());
            app.message(context, session, message);
            input.set_answers_end(context.output.answers_end());
            continue;
        }
        match event {
            Ok(Some(Event::Message(_))) => unreachable!("handled above"),
            Ok(Some(Event::Chunk(part))) => {
                if part.frame_begins.is_some_and(|len| len > BULK_FRAME_BYTES) && !part.frame_ends {
                    *receive = Receive::Bulk;
                }
                short_may_follow = part.frame_ends;
                if let Err(ending) = assemble(app, session, context, assembly, &part) {
                    return Some(ending);
                }
            }
            Ok(Some(control)) => {
                let ending = hear(app, session, context, control);
                if ending.is_some() {
                    return ending;
                }
            }
            Ok(None) => return None,
            Err(violation) => return Some(Ending::Violation(violation)),
        }
    }
    None
}

/// Handles a control frame.
#[inline(always)]
pub(super) fn hear<A: App>(
    app: &mut A,
    session: &mut A::Session,
    context: &mut Context<'_>,
    control: Event<'_>,
) -> Option<Ending> {
    match control {
        Event::Ping(payload) => {
            // `pong` fails only after our Close, when a Pong is neither due nor allowed.
            let _ = context.pong(payload);
            app.ping(context, session, payload);
        }
        Event::Pong(payload) => app.pong(context, session, payload),
        Event::Close(close) => {
            return Some(Ending::PeerClosed {
                code: close.code,
                reason: close.reason.to_owned(),
            });
        }
        Event::Message(_) | Event::Chunk(_) => unreachable!("this is no control frame"),
    }
    None
}

/// Appends a piece to the message that is being assembled, and delivers the message after its last piece.
#[inline(never)]
pub(super) fn assemble<A: App>(
    app: &mut A,
    session: &mut A::Session,
    context: &mut Context<'_>,
    assembly: &mut Option<Assembly>,
    part: &Chunk<'_>,
) -> Result<(), Ending> {
    if part.compressed && part.message_begins && part.message_ends {
        // All of it is here.
        let inflated = inflating::begin(context, part.kind, Compressed::There(part.payload))?;
        return take_inflated(app, session, context, inflated);
    }
    let buffers = &mut context.output.shared.buffers;
    assembly
        .get_or_insert_with(|| Assembly::new(buffers, part.frame_begins.unwrap_or(0)))
        .push(part.payload, buffers);
    match part.message_ends {
        true => deliver(
            app,
            session,
            context,
            part.kind,
            part.compressed,
            assembly.take(),
        ),
        false => Ok(()),
    }
}

/// Hands an assembled message to the application, inflated if need be.
fn deliver<A: App>(
    app: &mut A,
    session: &mut A::Session,
    context: &mut Context<'_>,
    kind: Kind,
    compressed: bool,
    assembly: Option<Assembly>,
) -> Result<(), Ending> {
    let Some(assembly) = assembly else {
        unreachable!("the last piece of a message follows its first")
    };
    let filled = assembly.filled;
    let data = assembly.into_data(&mut context.output.shared.buffers);
    if compressed {
        let inflated = inflating::begin(context, kind, Compressed::Own(data, filled))?;
        return take_inflated(app, session, context, inflated);
    }
    hand_over(app, session, context, kind, data, filled);
    Ok(())
}

/// Hands an inflated message over, or keeps what is inflated of it.
fn take_inflated<A: App>(
    app: &mut A,
    session: &mut A::Session,
    context: &mut Context<'_>,
    inflated: Inflated,
) -> Result<(), Ending> {
    match (inflated, &mut context.codec) {
        (Inflated::Whole(kind, data, end), _) => {
            hand_over(app, session, context, kind, data, end);
            Ok(())
        }
        (Inflated::InPart(inflating), Some(codec)) => {
            codec.inflating = Some(inflating);
            Err(Ending::Inflates)
        }
        (Inflated::InPart(_), None) => unreachable!("a codec inflated it"),
    }
}

/// Hands the message in `data[HEADROOM..end]` to the application. If the application sends it back, its memory moves to the
/// queue; otherwise it is given back.
fn hand_over<A: App>(
    app: &mut A,
    session: &mut A::Session,
    context: &mut Context<'_>,
    kind: Kind,
    mut data: Vec<u8>,
    end: usize,
) {
    context.output.end_run();
    let backing = std::mem::replace(&mut context.output.backing, Backing::Assembly);
    let in_place_below = std::mem::take(&mut context.in_place_below);
    context.count_in(1, end - HEADROOM);
    app.message(
        context,
        session,
        Message::new(kind, &mut data, 0, HEADROOM..end),
    );
    context.output.backing = backing;
    context.in_place_below = in_place_below;
    let left = match context.output.out.entry_mut() {
        Some(queue) => queue.fill(data),
        None => Some(data),
    };
    if let Some(data) = left {
        context.output.shared.buffers.give_back(data);
    }
}

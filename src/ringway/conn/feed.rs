//! Bytes of one connection through the protocol to the application: no I/O, whatever comes out waits in the outbox.

use std::time::Duration;

use super::app::{App, Closed, Host};
use super::blocks::Blocks;
use super::buffers::{Assembly, Buffers, HEADROOM};
use super::clock::Clock;
use super::commands::Commands;
use super::config::Config;
use super::connection::{Connection, Phase, Receive};
use super::context::{Backing, Context, Output, Run};
use super::keys::Keys;
use super::outbox::Outbox;
use super::prepared::{Prepared, TooMuch};
use crate::io::board::Board;
use crate::io::{BufferId, ConnId};
use crate::proto::{CloseCode, Event, Input, Kind, Message, Part, Receiver, Role, Violation};
use crate::stats::Counters;
use crate::time::Instant;

/// A frame that announces more than this is received in bulk. Twice a receive buffer; DESIGN measured 1.5 times the cost
/// for 16 KiB messages through such buffers.
const BULK_FRAME_BYTES: u64 = 8 << 10;

/// Frames handled in one go: then the clock is looked at.
const STRETCH_FRAMES: u32 = 512;

/// Frames of one connection handled in one turn: as many of the cheapest ones take a few hundred microseconds.
const TURN_FRAMES_MAX: u32 = 8 * STRETCH_FRAMES;

/// Time that one connection may take of a turn, give or take one stretch. What an application does with a message is within
/// it.
const TURN_TIME_MAX: Duration = Duration::from_millis(2);

/// How much of a turn the connection that was fed last has used. All that one turn receives of a connection comes in one
/// row, so that this is one value and not one for each.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Share {
    of: Option<ConnId>,
    frames: u32,
    /// When its first stretch ended.
    began: Option<Instant>,
}

impl Share {
    /// `conn` is fed: how many frames it may handle now.
    const fn stretch(&mut self, id: ConnId) -> u32 {
        if !matches!(self.of, Some(of) if of.slot == id.slot) {
            *self = Self {
                of: Some(id),
                frames: 0,
                began: None,
            };
        }
        let left = TURN_FRAMES_MAX - self.frames;
        if left < STRETCH_FRAMES {
            left
        } else {
            STRETCH_FRAMES
        }
    }

    /// Whether the connection whose stretch has ended may go on at once.
    pub(super) fn goes_on(&mut self, now: Instant) -> bool {
        let began = *self.began.get_or_insert(now);
        self.frames < TURN_FRAMES_MAX && now.since(began) < TURN_TIME_MAX
    }
}

/// What the connections of a worker share, apart from the ring.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: Config,
    /// Where the clients of all workers are counted, when there are several.
    pub(super) board: Option<Board>,
    pub(super) counters: Counters,
    pub(super) outbox: Outbox,
    pub(super) buffers: Buffers,
    /// Connections with output in this turn.
    pub(super) dirty: Vec<ConnId>,
    /// Connections whose deadline has moved towards now.
    pub(super) rescheduled: Vec<ConnId>,
    /// The response of an opening handshake while it is made.
    pub(super) response: Vec<u8>,
    /// Connections to be reset when everything that arrived is handled.
    pub(super) condemned: Vec<ConnId>,
    pub(super) keys: Keys,
    /// Prepared messages that the ring can send from.
    pub(super) blocks: Blocks,
    /// What callbacks asked for since the list was drained.
    pub(super) commands: Commands,
    pub(super) share: Share,
    pub(super) now: Instant,
    pub(super) clock: Clock,
    pub(super) told: Told,
    /// The worker is stopping: no further WebSocket is opened, and no connection begun.
    pub(super) draining: bool,
}

/// What was logged, because once is enough.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// A client began TLS.
    pub(super) tls: bool,
    /// A client began HTTP/2.
    pub(super) http_2: bool,
}

/// Frames that are handled in one go.
struct Stretch {
    /// How many may still be handled.
    left: u32,
    /// How many were no whole message: fragments and control frames. The rest are messages, so that counting them costs no
    /// message an instruction.
    others: u32,
}

/// How a conversation ended, found while events were read.
enum Ending {
    PeerClosed {
        code: Option<CloseCode>,
        reason: String,
    },
    Violation(Violation),
}

impl Shared {
    /// Messages were accepted from the application. Every way of sending comes through here.
    #[inline(always)]
    pub(super) const fn count_out(&mut self, messages: u64, payload_bytes: u64) {
        self.counters.messages_out += messages;
        self.counters.message_bytes_out += payload_bytes;
    }

    /// Encodes messages for connections in `role`.
    pub(super) fn prepare(
        &mut self,
        role: Role,
        messages: &[(Kind, &[u8])],
    ) -> Result<Prepared, TooMuch> {
        Prepared::new(&mut self.blocks, &mut self.keys, role, messages)
    }

    /// A context for callbacks on `conn`, for output from `buffer`.
    pub(super) fn context<'a>(
        &'a mut self,
        conn: &'a mut Connection,
        scratch: &'a mut [u8],
        buffer: BufferId,
    ) -> Context<'a> {
        Context {
            output: Output {
                transmit: &mut conn.transmit,
                shared: self,
                scratch,
                id: conn.id,
                service: conn.service,
                backing: Backing::Buffer(buffer),
                run: Run::default(),
            },
            phase: &mut conn.phase,
            deadline: &mut conn.deadline,
            tag: conn.tag,
        }
    }

    /// What arrived in `buffer`, from `from` on. Returns how far it was read: to the end, or as far as a stretch reaches.
    pub(super) fn feed<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
        buf: &mut [u8],
        from: usize,
        scratch: &mut [u8],
        buffer: BufferId,
    ) -> usize {
        let from = match conn.phase {
            Phase::Opening if conn.role == Role::Client => {
                self.feed_response(host, conn, buf, scratch)
            }
            Phase::Opening => self.feed_opening(host, conn, buf, scratch),
            _ => from,
        };
        if from < buf.len() && matches!(conn.phase, Phase::Open | Phase::Closing) {
            self.feed_frames(host, conn, buf, from, scratch, buffer)
        } else {
            buf.len()
        }
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
        let frames = self.share.stretch(conn.id);
        let mut stretch = Stretch {
            left: frames,
            others: 0,
        };
        let mut input = Input::starting_at(buf, from);
        let Connection {
            receiver,
            transmit,
            assembly,
            receive,
            phase,
            id,
            service,
            tag,
            deadline,
            ..
        } = conn;
        let (app, session) = host.of(*id);
        let mut context = Context {
            output: Output {
                transmit,
                shared: &mut *self,
                scratch,
                id: *id,
                service: *service,
                backing: Backing::Buffer(buffer),
                run: Run::default(),
            },
            phase,
            deadline,
            tag: *tag,
        };
        let ending = read_frames(
            (app, session),
            receiver,
            &mut input,
            &mut context,
            assembly,
            receive,
            &mut stretch,
        );
        context.output.end_run();
        let read = input.position();
        let handled = frames - stretch.left;
        self.share.frames += handled;
        self.counters.messages_in += u64::from(handled - stretch.others);
        match ending {
            Some(ending) => {
                let end = buf.len();
                self.conclude(host, conn, ending, scratch);
                end
            }
            None => read,
        }
    }

    /// A piece of a frame that was received straight into the connection's assembly: `len` bytes at its end.
    pub(super) fn feed_assembly<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
        len: usize,
        scratch: &mut [u8],
    ) {
        let Some(assembly) = &mut conn.assembly else {
            unreachable!("bytes were received into an assembly")
        };
        let mut input = Input::new(&mut assembly.data[assembly.filled..assembly.filled + len]);
        let ending = match conn.receiver.poll_event(&mut input) {
            Ok(Some(Event::Part(part))) => {
                let (kind, ends) = (part.kind, part.message_ends);
                assembly.filled += len;
                if ends {
                    let assembly = conn.assembly.take();
                    let (app, session) = host.of(conn.id);
                    let mut context = self.context(conn, scratch, BufferId::HOT);
                    deliver(app, session, &mut context, kind, assembly);
                }
                return;
            }
            Err(violation) => Ending::Violation(violation),
            Ok(_) => unreachable!("no more was received than the frame in progress misses"),
        };
        self.conclude(host, conn, ending, scratch);
    }

    /// Answers the peer's Close, or its fault, and lets the connection linger.
    #[cold]
    fn conclude<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
        ending: Ending,
        scratch: &mut [u8],
    ) {
        let mut context = self.context(conn, scratch, BufferId::HOT);
        let closed = match ending {
            Ending::PeerClosed { code, ref reason } => {
                // RFC 6455 §5.5.1: "When sending a Close frame in response, the endpoint typically echos the status
                // code it received." Refused when ours went out first: then the handshake is complete.
                let _ = context.close_with(code, "");
                conn.clean = true;
                Closed {
                    clean: true,
                    code: code.unwrap_or(CloseCode::NoStatusRcvd),
                    reason,
                    violation: None,
                }
            }
            Ending::Violation(violation) => {
                let _ = context.close_with(Some(violation.close_code()), &violation.to_string());
                self.counters.violations += 1;
                tracing::debug!(
                    slot = conn.id.slot,
                    section = violation.section(),
                    "peer failed: {violation}"
                );
                Closed {
                    violation: Some(violation),
                    ..Closed::ABNORMAL
                }
            }
        };
        self.linger(host, conn, closed);
    }
}

/// Hands frames to the application until the input is read, the conversation is over, or the stretch is.
#[inline(always)]
fn read_frames<A: App>(
    (app, session): (&mut A, &mut A::Session),
    receiver: &mut Receiver,
    input: &mut Input<'_>,
    context: &mut Context<'_>,
    assembly: &mut Option<Assembly>,
    receive: &mut Receive,
    stretch: &mut Stretch,
) -> Option<Ending> {
    while stretch.left > 0 {
        stretch.left -= 1;
        let event = receiver.poll_event(input);
        if let Ok(Some(Event::Message(message))) = event {
            context.output.shared.counters.message_bytes_in += message.len() as u64;
            app.message(context, session, message);
            input.set_answers_end(context.output.answers_end());
            continue;
        }
        stretch.others += 1;
        match event {
            Ok(Some(Event::Message(_))) => unreachable!("handled above"),
            Ok(Some(Event::Part(part))) => {
                if part.frame_begins.is_some_and(|len| len > BULK_FRAME_BYTES) && !part.frame_ends {
                    *receive = Receive::Bulk;
                }
                assemble(app, session, context, assembly, &part);
            }
            Ok(Some(Event::Ping(payload))) => {
                // Refused only after our Close, when a Pong is neither due nor allowed.
                let _ = context.pong(payload);
                app.ping(context, session, payload);
            }
            Ok(Some(Event::Pong(payload))) => app.pong(context, session, payload),
            Ok(Some(Event::Close(close))) => {
                return Some(Ending::PeerClosed {
                    code: close.code,
                    reason: close.reason.to_owned(),
                });
            }
            Ok(None) => return None,
            Err(violation) => return Some(Ending::Violation(violation)),
        }
    }
    None
}

/// Adds a piece to the message in assembly, and delivers the message with its last one.
fn assemble<A: App>(
    app: &mut A,
    session: &mut A::Session,
    context: &mut Context<'_>,
    assembly: &mut Option<Assembly>,
    part: &Part<'_>,
) {
    let buffers = &mut context.output.shared.buffers;
    assembly
        .get_or_insert_with(|| Assembly::new(buffers, part.frame_begins.unwrap_or(0)))
        .push(part.payload, buffers);
    if part.message_ends {
        deliver(app, session, context, part.kind, assembly.take());
    }
}

/// Hands an assembled message to the application. Its memory follows the answer into the queue, or is given back.
fn deliver<A: App>(
    app: &mut A,
    session: &mut A::Session,
    context: &mut Context<'_>,
    kind: Kind,
    assembly: Option<Assembly>,
) {
    let Some(mut assembly) = assembly else {
        unreachable!("the last piece of a message follows its first")
    };
    context.output.end_run();
    let backing = std::mem::replace(&mut context.output.backing, Backing::Assembly);
    let counters = &mut context.output.shared.counters;
    counters.messages_in += 1;
    counters.message_bytes_in += (assembly.filled - HEADROOM) as u64;
    app.message(
        context,
        session,
        Message::new(kind, &mut assembly.data, 0, HEADROOM..assembly.filled),
    );
    context.output.backing = backing;
    let data = assembly.into_data(&mut context.output.shared.buffers);
    let left = match &mut context.output.transmit.queue {
        Some(queue) => queue.fill(data),
        None => Some(data),
    };
    if let Some(data) = left {
        context.output.shared.buffers.give_back(data);
    }
}

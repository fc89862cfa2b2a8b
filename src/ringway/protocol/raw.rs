//! Streams beside WebSockets: a raw connection speaks no protocol of ours, and is paired with a WebSocket of its worker, or
//! with another raw connection.
//!
//! Owns: how the bytes of a stream travel in messages, and what the two ends of a pair tell each other.
//! Never: opens a socket, stops reading (`worker::pair` does).
//!
//! ```text
//!  WebSocket ── payloads, where they were unmasked ──▶ pieces ──▶ raw connection
//!            ◀── a header before each piece ────────── pieces ◀── what was received
//!  raw connection ◀────────────── pieces, as they are ──────────────▶ raw connection
//! ```
//!
//! The bytes of a message leave as they arrive: a message is never collected. What a stream brings becomes one message per
//! receive, and per [`MESSAGE_BYTES_MAX`] of it.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::app::{App, Carried, Way};
use super::context::Context;
use super::host::Host;
use super::request::Failure;
use super::websocket::{BULK_FRAME_BYTES, Ending};
use super::{Connection, Shared, Speaks, WebSocket};
use crate::conn::link::{self, Inbound, Link, Phase, Receive, Side};
use crate::conn::outbox::Carries;
use crate::io::{BufferId, ConnId, ConnectOptions};
use crate::proto::base64_stream::{self, Decoder};
use crate::proto::{CloseCode, Event, Input, Kind};
use crate::time::Instant;
use crate::tls::TlsClient;

/// Payload bytes of a message that carries what a stream brought (64 KiB). Some clients have limits not far above it, and
/// websockify sends no more.
const MESSAGE_BYTES_MAX: usize = 64 << 10;

/// Bytes of a stream whose base64 is so long.
const BASE64_BYTES_MAX: usize = MESSAGE_BYTES_MAX / 4 * 3;

/// Payload bytes of the longest message that is moved next to the one before (2 KiB): one piece for the send costs less
/// than two. Chosen, untested.
const MOVED_BYTES_MAX: usize = 2 << 10;

/// Where a stream leads to.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its addresses, which are tried in this order.
    pub addresses: Vec<ConnectOptions>,
    /// Time for one address, the handshake of TLS included.
    pub connect_timeout: Duration,
    /// The TLS that it speaks: its certificate is checked before it gets a byte. Default: none.
    pub tls: Option<TlsClient>,
    /// Whether the WebSocket stays open after the target has ended its direction, so that the client can still send. It then
    /// learns of that end by nothing. Otherwise it gets a Close with 1000.
    pub half_close: bool,
}

/// Where requests go that open no WebSocket: another server, which answers them and what follows on their connections.
#[derive(Clone, Debug)]
pub struct Relay {
    /// Its addresses. Clients get 502 if none can be reached. `half_close` is of no concern: an end goes both ways.
    pub target: Arc<Target>,
    /// Whether each connection to it begins with a PROXY header of version 2, which tells the address of the client as its
    /// connection or a trusted PROXY header has it, and whether it speaks TLS.
    pub proxy_header: bool,
}

/// For whom a target is connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// A stream, which the counters count.
    Stream,
    /// An HTTP request of a client, perhaps one for a head.
    Request { is_head: bool },
}

/// A connect to a target.
#[derive(Clone, Debug)]
pub(crate) struct Dial {
    pub(crate) target: Arc<Target>,
    pub(crate) caller: Caller,
    /// Bytes that the target gets before the stream.
    first: Box<[u8]>,
    /// Which address is next.
    pub(crate) at: usize,
    /// When the connect to the last one began.
    began: Instant,
    /// Why the last one failed. A connection that ends says nothing.
    pub(crate) failure: Failure,
}

impl Dial {
    pub(super) fn new(target: &Arc<Target>, caller: Caller, first: &[u8]) -> Self {
        Self {
            target: target.clone(),
            caller,
            first: first.into(),
            at: 0,
            began: Instant::ZERO,
            failure: Failure::Closed,
        }
    }

    /// The next address.
    pub(crate) fn next_address(&mut self) -> Option<&ConnectOptions> {
        let address = self.target.addresses.get(self.at)?;
        self.at += 1;
        Some(address)
    }

    /// A sentence: why no address could be reached.
    pub(crate) fn why(&self) -> String {
        match &self.failure {
            Failure::Connect(errno) => format!("the target cannot be reached: {errno}"),
            Failure::Tls(why) => format!("TLS with the target: {why}"),
            Failure::Timeout => "the target does not answer in time".to_owned(),
            _ => "the target has closed the connection at once".to_owned(),
        }
    }
}

/// A raw connection.
#[derive(Debug)]
pub(crate) struct Raw {
    /// Present until it is connected.
    pub(crate) dial: Option<Dial>,
    /// As [`Target::half_close`].
    half_close: bool,
    /// It is the stream that the counters count: of two raw connections the one that we began.
    is_counted: bool,
    /// Its peer has ended its direction, and the other end knows that.
    has_ended: bool,
    /// The other end has ended its direction: our FIN follows what it has sent, or is sent.
    pub(crate) is_ending: bool,
}

impl Raw {
    /// One that was accepted.
    pub(crate) const fn accepted() -> Self {
        Self {
            dial: None,
            half_close: false,
            is_counted: false,
            has_ended: false,
            is_ending: false,
        }
    }

    /// One that was begun. The other end may have ended its direction already.
    pub(crate) fn begun(mut dial: Dial, is_ending: bool, now: Instant) -> Self {
        dial.began = now;
        Self {
            half_close: dial.target.half_close,
            is_counted: dial.caller == Caller::Stream,
            dial: Some(dial),
            has_ended: false,
            is_ending,
        }
    }

    /// Whether it is the client's end of a pair without a WebSocket, which looks after the idle timeout.
    pub(crate) const fn keeps_time(&self, link: &Link) -> bool {
        matches!(link.side, Side::Accepted) && !self.is_counted
    }

    /// Notes why the connect failed.
    pub(crate) fn fail(&mut self, failure: Failure) {
        if let Some(dial) = &mut self.dial {
            dial.failure = failure;
        }
    }

    /// The TLS that is to begin now that the connect has succeeded.
    pub(crate) fn secured(&self) -> Option<&TlsClient> {
        self.dial.as_ref()?.target.tls.as_ref()
    }
}

/// Whether both directions of a raw connection are over: all is sent that the other end had for it, and our FIN.
pub(crate) const fn is_over(conn: &Connection) -> bool {
    let link = &conn.link;
    matches!(
        conn.speaks,
        Speaks::Raw(Raw {
            is_ending: true,
            ..
        })
    ) && matches!(link.inbound, Inbound::Closed)
        && matches!(link.ending, link::Ending::None)
        && link.out.queue.is_none()
}

/// How a stream travels in the messages of a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    /// As binary messages.
    Binary,
    /// As text messages, each of which is base64.
    Base64(Decoder),
}

impl From<Kind> for Coding {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Binary => Self::Binary,
            Kind::Text => Self::Base64(Decoder::default()),
        }
    }
}

/// How one end of a pair ended, for the other one.
#[derive(Debug)]
pub(crate) enum Fate {
    /// A connect failed or was not decided in time.
    Unreached(Dial),
    /// The stream has ended its direction.
    Finished { half_close: bool },
    /// The connection is gone before its end.
    Reset,
    /// The connection, or the conversation on it, is over.
    Ended,
}

/// Bytes in a buffer, for the other end of a pair.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) to: Option<ConnId>,
    pub(crate) buffer: BufferId,
    pub(crate) range: Range<usize>,
}

/// What concerns pairs in the current turn.
#[derive(Debug, Default)]
pub(crate) struct Pairs {
    /// What the current callback asked for.
    joining: Option<(ConnId, Dial, Kind)>,
    /// WebSockets that are to be joined with a target.
    pub(crate) asked: Vec<(ConnId, Dial)>,
    /// What the last receive brought.
    pub(crate) pieces: Vec<Piece>,
    /// Ends, by the connection that is left.
    pub(crate) ended: Vec<(ConnId, Fate)>,
}

impl Pairs {
    /// Bytes of the lists' memory beyond `len` entries each, which are freed.
    pub(crate) fn shrink(&mut self, len: usize) -> usize {
        fn shrink<T>(list: &mut Vec<T>, len: usize) -> usize {
            let before = list.capacity();
            list.shrink_to(len);
            (before - list.capacity()) * size_of::<T>()
        }
        shrink(&mut self.asked, len) + shrink(&mut self.pieces, len) + shrink(&mut self.ended, len)
    }
}

impl Shared {
    /// Carries out [`Context::join`], behind [`App::open`].
    #[cold]
    fn join(&mut self, conn: &mut Connection) {
        let joining = self.protocol.pairs.joining.take();
        let Some((id, dial, kind)) = joining else {
            return;
        };
        let Some(websocket) = conn.speaks.websocket() else {
            return;
        };
        if id != conn.link.id {
            // Another callback asked for it.
            return;
        }
        websocket.stream = Some(kind.into());
        self.dial(&mut conn.link, dial);
    }

    /// Asks the worker for the other end of a pair.
    fn dial(&mut self, link: &mut Link, dial: Dial) {
        link.pair_with(None, true);
        self.protocol.pairs.asked.push((link.id, dial));
        self.pair_news.push(link.id);
        // What follows the request waits in the spill.
        self.protocol.share.use_up();
    }

    /// Makes a raw connection of one that was accepted, and joins it with the target of `dial`.
    #[cold]
    pub(crate) fn forward(&mut self, conn: &mut Connection, dial: Dial) {
        conn.speaks = Speaks::Raw(Raw::accepted());
        conn.link.phase = Phase::Open;
        let idle = self.protocol.config.idle_timeout;
        let deadline = idle.map(|timeout| self.now + timeout);
        self.reschedule(&mut conn.link, deadline);
        self.dial(&mut conn.link, dial);
    }

    /// Carries out what [`App::open`] asked for.
    #[inline]
    pub(super) fn join_if_asked(&mut self, conn: &mut Connection) {
        if self.protocol.pairs.joining.is_some() {
            self.join(conn);
        }
    }

    /// The same, where the configuration says that the bytes of accepted connections are streams'.
    pub(crate) fn forward_stream(&mut self, conn: &mut Connection) {
        if let Some(target) = &self.protocol.config.streams_to {
            let dial = Dial::new(target, Caller::Stream, &[]);
            self.forward(conn, dial);
        }
    }

    /// Tells the other end of a pair how this one ended.
    pub(crate) fn tell_pair(&mut self, link: &Link, fate: Fate) {
        if let Some(with) = link.pair().and_then(|pair| pair.with) {
            self.protocol.pairs.ended.push((with, fate));
            self.pair_news.push(with);
        }
    }

    /// Ends what a raw connection speaks, and tells the other end.
    #[cold]
    pub(crate) fn end_raw(&mut self, conn: &mut Connection) {
        let Speaks::Raw(raw) = std::mem::replace(&mut conn.speaks, Speaks::Over) else {
            unreachable!("the caller has seen that it is raw")
        };
        self.counters.streams -= u64::from(raw.is_counted && raw.dial.is_none());
        let is_reset = conn.link.ending == link::Ending::Reset;
        let fate = match raw.dial {
            Some(dial) => Fate::Unreached(dial),
            // A target that has ended its direction and is gone answers what still comes with a reset.
            None if is_reset && conn.link.inbound != Inbound::Closed => Fate::Reset,
            None => Fate::Ended,
        };
        self.counters.streams_reset += u64::from(raw.is_counted && matches!(fate, Fate::Reset));
        self.tell_pair(&conn.link, fate);
    }

    /// A raw connection is connected, and its handshake of TLS is complete if it has one.
    pub(crate) fn begin_raw(&mut self, conn: &mut Connection, scratch: &mut [u8]) {
        let Speaks::Raw(raw) = &mut conn.speaks else {
            unreachable!("the caller has seen that it is raw")
        };
        let (first, began) = match raw.dial.take() {
            Some(dial) => (Some(dial.first), dial.began),
            None => (None, self.now),
        };
        let is_counted = raw.is_counted;
        let link = &mut conn.link;
        link.phase = Phase::Open;
        if link.ending == link::Ending::FinAfterQueue {
            self.dirty.push(link.id);
        }
        if let Some(first) = first.filter(|first| !first.is_empty()) {
            let mut output = self.output(link, scratch, BufferId::SCRATCH);
            output.copy(Carries::Control, &first, &[]);
        }
        self.pair_news
            .extend(link.pair().and_then(|pair| pair.with));
        if is_counted {
            self.counters.streams += 1;
            self.counters.streams_opened += 1;
            self.counters.stream_connect_ns +=
                u64::try_from(self.now.since(began).as_nanos()).unwrap_or(u64::MAX);
        }
    }

    /// The peer of a raw connection has ended its direction: tells the other end, once.
    pub(crate) fn finish_raw(&mut self, conn: &mut Connection) {
        if let Speaks::Raw(raw) = &mut conn.speaks
            && !std::mem::replace(&mut raw.has_ended, true)
        {
            let half_close = raw.half_close;
            self.tell_pair(&conn.link, Fate::Finished { half_close });
        }
    }

    /// Makes pieces of the bytes of `buffer` behind `from`, for the other end of the pair. Returns where it stopped, as
    /// [`Self::feed`].
    pub(crate) fn carry<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
        buf: &mut [u8],
        from: usize,
        scratch: &mut [u8],
        buffer: BufferId,
    ) -> usize {
        let to = conn.link.pair().and_then(|pair| pair.with);
        match conn.speaks {
            Speaks::Raw(Raw { is_counted, .. }) => {
                let counted = u64::from(is_counted) * (buf.len() - from) as u64;
                self.counters.stream_bytes_in += counted;
                let range = from..buf.len();
                self.protocol.pairs.pieces.push(Piece { to, buffer, range });
                buf.len()
            }
            Speaks::WebSocket(_) => {
                let frames = self.protocol.share.stretch(conn.link.id);
                let mut reading = Reading {
                    left: frames,
                    run: 0..0,
                    to,
                    buffer,
                };
                let mut input = Input::starting_at(buf, from);
                let ending = self.carry_frames(conn, &mut input, &mut reading, scratch);
                let read = input.position();
                reading.end_run(self);
                // Before the application may learn of the end.
                let (app, session) = host.of(conn.link.id);
                for piece in &self.protocol.pairs.pieces {
                    app.carried(
                        session,
                        Carried {
                            id: conn.link.id,
                            now: self.now,
                            way: Way::ToTarget,
                            bytes: &buf[piece.range.clone()],
                        },
                    );
                }
                self.protocol.share.frames += frames - reading.left;
                match ending {
                    None => read,
                    Some(ending) => {
                        self.conclude(host, conn, ending, scratch);
                        buf.len()
                    }
                }
            }
            Speaks::Opening(_) | Speaks::Over => buf.len(),
        }
    }

    fn carry_frames(
        &mut self,
        conn: &mut Connection,
        input: &mut Input<'_>,
        reading: &mut Reading,
        scratch: &mut [u8],
    ) -> Option<Ending> {
        let Speaks::WebSocket(WebSocket {
            receiver,
            sender,
            stream: Some(coding),
            ..
        }) = &mut conn.speaks
        else {
            unreachable!("a paired WebSocket carries a stream")
        };
        while reading.left > 0 {
            reading.left -= 1;
            let event = match receiver.poll_event(input) {
                Ok(None) => return None,
                Ok(Some(event)) => event,
                Err(violation) => return Some(Ending::Violation(violation)),
            };
            let (kind, len, ends) = match event {
                Event::Message(mut message) => {
                    let decoded = match decode(coding, message.kind(), message.payload_mut(), true)
                    {
                        Ok(decoded) => decoded,
                        Err(ending) => return Some(ending),
                    };
                    let (_, _, payload) = message.into_parts();
                    self.count_in(1, payload.len());
                    reading.push(self, input, payload.start..payload.start + decoded);
                    continue;
                }
                Event::Chunk(part) => {
                    if part.frame_begins.is_some_and(|len| len > BULK_FRAME_BYTES)
                        && !part.frame_ends
                    {
                        conn.link.receive = Receive::Bulk;
                    }
                    let ends = part.message_ends;
                    (part.kind, (part.payload.len(), part.payload), ends)
                }
                Event::Ping(payload) => {
                    let speaks = (&mut *sender, None, 0);
                    let buffer = reading.buffer;
                    Context::new(self, &mut conn.link, speaks, scratch, buffer).pong_once(payload);
                    continue;
                }
                Event::Pong(_) => continue,
                Event::Close(close) => {
                    return Some(Ending::PeerClosed {
                        code: close.code,
                        reason: close.reason.to_owned(),
                    });
                }
            };
            let (len, payload) = len;
            let decoded = match decode(coding, kind, payload, ends) {
                Ok(decoded) => decoded,
                Err(ending) => return Some(ending),
            };
            self.count_in(u64::from(ends), len);
            let start = input.position() - len;
            reading.push(self, input, start..start + decoded);
        }
        None
    }

    fn count_in(&mut self, messages: u64, payload_bytes: usize) {
        self.counters.messages_in += messages;
        self.counters.message_bytes_in += payload_bytes as u64;
    }

    /// Sends a piece to the connection that it is for. Returns whether that still takes any.
    pub(crate) fn pass_on(
        &mut self,
        conn: &mut Connection,
        (buf, scratch): (&mut [u8], &mut [u8]),
        buffer: BufferId,
        range: Range<usize>,
    ) -> bool {
        // Bytes from either side count for both, so that only a silent pair is idle.
        conn.link.heard = self.now;
        match (&mut conn.speaks, conn.link.phase) {
            (Speaks::Raw(raw), Phase::Open) => {
                let counted = u64::from(raw.is_counted) * range.len() as u64;
                self.counters.stream_bytes_out += counted;
                self.output(&mut conn.link, scratch, buffer)
                    .pass(&[], buffer, buf, range);
                true
            }
            (Speaks::WebSocket(websocket), Phase::Open) => {
                let coding = websocket.stream;
                let mut context = self.context(conn, scratch, buffer);
                match coding {
                    Some(Coding::Base64(_)) => context.send_base64(&buf[range]),
                    _ => context.send_stream(buffer, buf, range),
                }
                true
            }
            _ => false,
        }
    }
}

/// What is read of a WebSocket in one go.
struct Reading {
    /// Frames that may still be read.
    left: u32,
    /// Payloads that lie next to each other.
    run: Range<usize>,
    to: Option<ConnId>,
    buffer: BufferId,
}

impl Reading {
    /// Adds a payload. A short one is moved next to the one before.
    fn push(&mut self, shared: &mut Shared, input: &mut Input<'_>, payload: Range<usize>) {
        if payload.is_empty() {
            return;
        }
        let joins = !self.run.is_empty() && payload.len() <= MOVED_BYTES_MAX;
        let payload = match joins && payload.start > self.run.end {
            true => input.move_back(payload, self.run.end),
            false => payload,
        };
        if !self.run.is_empty() && payload.start == self.run.end {
            self.run.end = payload.end;
        } else {
            self.end_run(shared);
            self.run = payload;
        }
    }

    fn end_run(&mut self, shared: &mut Shared) {
        let range = std::mem::take(&mut self.run);
        if !range.is_empty() {
            let (to, buffer) = (self.to, self.buffer);
            shared
                .protocol
                .pairs
                .pieces
                .push(Piece { to, buffer, range });
        }
    }
}

/// Decodes the next bytes of a message in place. Returns how many bytes of the stream they are.
fn decode(
    coding: &mut Coding,
    kind: Kind,
    payload: &mut [u8],
    ends: bool,
) -> Result<usize, Ending> {
    match (coding, kind) {
        (Coding::Binary, Kind::Binary) => Ok(payload.len()),
        (Coding::Base64(decoder), Kind::Text) => {
            let decoded = decoder.decode(payload).and_then(|len| match ends {
                true => decoder.end().map(|()| len),
                false => Ok(len),
            });
            decoded.map_err(|fault| Ending::Unfit {
                code: CloseCode::InvalidFramePayloadData,
                reason: fault.to_string(),
            })
        }
        (Coding::Binary, Kind::Text) => Err(Ending::Unfit {
            code: CloseCode::UnsupportedData,
            reason: "this stream takes binary messages only".to_owned(),
        }),
        (Coding::Base64(_), Kind::Binary) => Err(Ending::Unfit {
            code: CloseCode::UnsupportedData,
            reason: "this stream takes text messages only: base64".to_owned(),
        }),
    }
}

impl Context<'_> {
    /// Sends bytes of a stream as binary messages, from where they lie.
    fn send_stream(&mut self, buffer: BufferId, buf: &mut [u8], range: Range<usize>) {
        let mut start = range.start;
        while start < range.end {
            let end = range.end.min(start + MESSAGE_BYTES_MAX);
            self.send_in_place(Kind::Binary, buffer, buf, start..end);
            start = end;
        }
    }

    /// Sends bytes of a stream as text messages.
    fn send_base64(&mut self, bytes: &[u8]) {
        let mut text = String::with_capacity(bytes.len().min(BASE64_BYTES_MAX).div_ceil(3) * 4);
        for piece in bytes.chunks(BASE64_BYTES_MAX) {
            text.clear();
            base64_stream::encode(piece, &mut text);
            self.send_whole(Kind::Text, text.as_bytes());
        }
    }

    /// Joins this WebSocket with a stream to `target`: whatever its peer sends from now on goes there, behind the bytes of
    /// `first`, and what the target sends comes back in messages of `kind`, text being base64. The worker carries the bytes
    /// without further callbacks but [`App::close`]. It reads nothing before the target has accepted. A target that cannot be
    /// reached closes the WebSocket with 1011. To be called in [`App::open`]; elsewhere it has no effect, nor with compression.
    pub fn join(&mut self, target: &Arc<Target>, kind: Kind, first: &[u8]) {
        if self.codec.is_none() {
            let id = self.id();
            let pairs = &mut self.output.shared.protocol.pairs;
            pairs.joining = Some((id, Dial::new(target, Caller::Stream, first), kind));
        }
    }
}

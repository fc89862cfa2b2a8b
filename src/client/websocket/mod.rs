//! An open WebSocket on any stream: receiving, sending, closing.
//!
//! Owns: the connection's state, all of it here and none in a future, so that any future may be dropped. Never: opens a
//! stream, or starts a task.

mod drive;
mod sending;
mod stream;
mod wakers;

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use ringway_proto::compression::Agreed;
use ringway_proto::frame::Kind;
use ringway_proto::{CloseCode, Role};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::clock::Clock;
use crate::codec::Codec;
use crate::error::Error;
use crate::incoming::{Incoming, Want};
use crate::message::{Chunk, CloseFrame, Message};
use crate::options::Options;
use crate::outbox::Outbox;
use wakers::Wakers;

/// An open WebSocket, in either role, on a stream `S`.
///
/// # Futures may be dropped
///
/// Each method may be used in `tokio::select!` and under a timeout:
///
/// | future | dropped before it ends |
/// |---|---|
/// | [`recv`](Self::recv), [`recv_chunk`](Self::recv_chunk) | nothing is lost: what has come is kept for the next call |
/// | [`send`](Self::send), [`send_part`](Self::send_part) | the message was taken as a whole, or not at all. What was taken leaves with the next call of any method. To know which: [`ready`](Self::ready), then [`queue`](Self::queue) |
/// | [`ready`](Self::ready), [`flush`](Self::flush) | nothing is lost; call it again |
/// | [`close`](Self::close) | the closing handshake has begun; `close` or `recv` goes on with it |
///
/// # Who answers Pings
///
/// Every method that waits reads and writes both: a connection that only sends answers Pings, too, and one that only
/// receives writes what waits. While it only sends, it reads until one message is there, which is kept for `recv`. What
/// is never polled does nothing: [`spawn`](Self::spawn) gives a connection a task of its own.
///
/// Deadlines ([`Options::close_timeout`], [`Options::ping_interval`]) need a runtime with tokio's time driver; without it they
/// panic.
///
/// # Memory
///
/// An idle connection has neither read nor write buffer: this value, its stream, and with compression up to the window
/// that was agreed on per direction. [`Options`] bound everything else.
pub struct WebSocket<S> {
    io: S,
    role: Role,
    options: Options,
    proto: ringway_proto::WebSocket,
    incoming: Incoming,
    outbox: Outbox,
    codec: Option<Box<Codec>>,
    clock: Clock,
    wakers: Wakers,
    phase: Phase,
    /// What was read while the caller sent.
    ahead: Option<Item>,
    /// How the caller received last.
    want: Want,
    /// The last Ping, not answered yet because too much waits already.
    ping: Option<Bytes>,
    /// Kind of the message whose parts are being sent.
    part: Option<Kind>,
    /// The stream takes nothing more.
    write_failed: Option<io::ErrorKind>,
    /// Why the connection ended. The next `recv` tells it.
    failure: Option<Error>,
    closed: Option<Box<CloseFrame>>,
    subprotocol: Option<Box<str>>,
    traffic: Traffic,
}

/// Where the connection is in its life.
///
/// ```text
///            Close sent             Close received, or the peer at fault        stream at its end, or out of time
///  Open ───────────────▶ Closing ───────────────────────────────────▶ Ending ──────────────────────────────────▶ Done
///    └────────────────────────── the same ────────────────────────────▲
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// The peer's Close is waited for. What it sends until then is received.
    Closing,
    /// Everything was said. The last bytes leave, and the stream ends.
    Ending {
        read_ended: bool,
        write_ended: bool,
    },
    Done,
}

/// What a caller receives.
#[derive(Debug)]
enum Item {
    Message(Message),
    Chunk(Chunk),
}

/// What went over a connection so far, without its opening handshake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Messages received. Read in chunks, each counts at its end.
    pub messages_received: u64,
    /// Messages taken for sending. Sent in parts, each counts at its end.
    pub messages_sent: u64,
    /// Bytes of their payload, after inflation.
    pub payload_received: u64,
    /// Bytes of their payload, before compression.
    pub payload_sent: u64,
    /// Bytes read from the stream, under TLS the plain ones.
    pub bytes_received: u64,
    /// Bytes taken for sending, headers and control frames included.
    pub bytes_sent: u64,
    /// Messages, or chunks of them, that came after [`WebSocket::close`] was called, or that the
    /// [`Receiver`](crate::Receiver) did not take: it was gone, or did not receive until the connection had ended.
    pub discarded: u64,
}

/// What an opening handshake has agreed on.
#[derive(Debug, Default)]
pub(crate) struct Opened {
    /// Bytes behind the head.
    pub(crate) rest: BytesMut,
    pub(crate) subprotocol: Option<Box<str>>,
    pub(crate) compression: Option<Agreed>,
}

impl<S> WebSocket<S> {
    /// A WebSocket whose opening handshake is over, without subprotocol and compression. `rest`: bytes that came behind the
    /// peer's head.
    pub fn after_handshake(io: S, role: Role, rest: BytesMut, options: Options) -> Self {
        let opened = Opened {
            rest,
            ..Opened::default()
        };
        Self::opened(io, role, opened, options)
    }

    pub(crate) fn opened(io: S, role: Role, opened: Opened, options: Options) -> Self {
        let mut proto = ringway_proto::WebSocket::new(role, options.limits());
        let codec = match (opened.compression, &options.deflate) {
            (Some(Agreed::Deflate(agreed)), Some(deflate)) => {
                proto = proto.with_compression();
                Some(Box::new(Codec::new(role, deflate, agreed)))
            }
            _ => None,
        };
        Self {
            io,
            role,
            options,
            proto,
            incoming: Incoming::starting_with(opened.rest),
            outbox: Outbox::default(),
            codec,
            clock: Clock::new(options.ping_interval, options.ping_timeout),
            wakers: Wakers::default(),
            phase: Phase::Open,
            ahead: None,
            want: Want::Message,
            ping: None,
            part: None,
            write_failed: None,
            failure: None,
            closed: None,
            subprotocol: opened.subprotocol,
            traffic: Traffic::default(),
        }
    }

    /// Limits, timeouts and compression.
    pub const fn options(&self) -> &Options {
        &self.options
    }

    /// The subprotocol that was agreed on.
    pub fn subprotocol(&self) -> Option<&str> {
        self.subprotocol.as_deref()
    }

    /// Whether messages may be compressed.
    pub fn is_compressed(&self) -> bool {
        self.codec.is_some()
    }

    /// The peer's Close, once it was received.
    pub fn closed(&self) -> Option<&CloseFrame> {
        self.closed.as_deref()
    }

    /// What went over the connection so far.
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// Bytes that were taken for sending and not written yet.
    pub fn waiting_bytes(&self) -> usize {
        self.outbox.waiting()
    }

    /// A message that nobody wanted.
    pub(crate) fn count_discarded(&mut self) {
        self.traffic.discarded += 1;
    }

    /// The stream.
    pub fn get_ref(&self) -> &S {
        &self.io
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// The next message. `None` once the connection is closed; [`closed`](Self::closed) says how.
    ///
    /// # Errors
    /// The connection failed, which is told once; `None` follows. [`Error::Misuse`] inside a message that is read in
    /// chunks: the connection goes on.
    pub async fn recv(&mut self) -> Result<Option<Message>, Error> {
        poll_fn(|cx| self.poll_message(cx)).await
    }

    /// The next piece of a message as it comes, however long the message is: for messages that are larger than memory.
    /// [`Options::message_bytes_max`] and [`Options::frame_bytes_max`] hold here, too. A compressed message comes as one
    /// chunk. Control frames are not shown.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub async fn recv_chunk(&mut self) -> Result<Option<Chunk>, Error> {
        poll_fn(|cx| self.poll_chunk(cx)).await
    }

    /// Sends a message: waits while [`Options::send_buffer_bytes`] wait already, then until all is written.
    ///
    /// # Errors
    /// [`Error::Closed`] after a Close of either side, [`Error::Io`] if the stream fails, and [`Error::Misuse`] for a Ping or
    /// Pong of more than 125 bytes, or inside a message that is sent in parts.
    pub async fn send(&mut self, message: impl Into<Message>) -> Result<(), Error> {
        let mut message = Some(message.into());
        poll_fn(|cx| {
            if message.is_some() {
                std::task::ready!(self.poll_send_ready(cx))?;
            }
            if let Some(message) = message.take() {
                self.queue(message)?;
            }
            self.poll_send_flush(cx)
        })
        .await
    }

    /// Sends a part of a message as a frame of its own. The first part begins the message, and the one with `ends` ends it;
    /// all are text, or all are binary. Parts are not compressed. Pings and Pongs may be sent in between.
    ///
    /// # Errors
    /// As [`send`](Self::send); [`Error::Misuse`] if the kind changes.
    pub async fn send_part(&mut self, part: impl Into<Message>, ends: bool) -> Result<(), Error> {
        let mut part = Some(part.into());
        poll_fn(|cx| {
            if part.is_some() {
                std::task::ready!(self.poll_send_ready(cx))?;
            }
            if let Some(part) = part.take() {
                self.queue_part(part, ends)?;
            }
            self.poll_send_flush(cx)
        })
        .await
    }

    /// Waits until fewer than [`Options::send_buffer_bytes`] wait.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn ready(&mut self) -> Result<(), Error> {
        poll_fn(|cx| self.poll_send_ready(cx)).await
    }

    /// Waits until all that was taken is written.
    ///
    /// # Errors
    /// [`Error::Io`]: the stream fails.
    pub async fn flush(&mut self) -> Result<(), Error> {
        poll_fn(|cx| self.poll_send_flush(cx)).await
    }

    /// Closes the connection: sends a Close, waits for the peer's, and for the end of the stream. What the peer sends
    /// meanwhile is discarded; to receive it, [`start_close`](Self::start_close) and then `recv` until `None`. On a
    /// connection that is closed already it does nothing.
    ///
    /// # Errors
    /// [`Error::CloseTimeout`] if the peer does not answer in [`Options::close_timeout`], and how else the connection failed
    /// meanwhile. [`Error::Misuse`] for a code that may not be sent.
    pub async fn close(&mut self, code: CloseCode, reason: &str) -> Result<(), Error> {
        self.start_close(code, reason)?;
        poll_fn(|cx| {
            loop {
                match std::task::ready!(self.poll_item(cx, Want::Chunks)) {
                    Ok(Some(_)) => self.traffic.discarded += 1,
                    Ok(None) => return Poll::Ready(Ok(())),
                    Err(error) => return Poll::Ready(Err(error)),
                }
            }
        })
        .await
    }
}

impl<S> fmt::Debug for WebSocket<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocket")
            .field("role", &self.role)
            .field("phase", &self.phase)
            .field("subprotocol", &self.subprotocol)
            .field("traffic", &self.traffic)
            .finish_non_exhaustive()
    }
}

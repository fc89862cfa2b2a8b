//! The application of a worker: callbacks that the worker calls from its loop.
//!
//! ```text
//!  accepted:   connect ──▶ open ──▶ message · ping · pong · writable … ──▶ close
//!                 └ refused: nothing more                (a verdict of Later that is never given ──▶ failed)
//!  begun here: connected ──▶ open ──▶ the same …                        └─ or failed
//!  each turn:  turn, after everything else
//! ```
//!
//! A callback acts on *its* connection through its [`Context`]. It acts on other connections of the worker through
//! [`Commands`], which the worker carries out at the end of the turn.

use std::borrow::Cow;
use std::num::NonZeroU64;

use super::commands::Commands;
use super::context::Context;
use super::fanout::{Fanout, News};
use super::handle::Handle;
use super::page;
use super::raw::Onward;
use super::request::Failure;
use super::traffic::TrafficStats;
use super::verdict::{Opening, Verdict};
use crate::io::ConnId;
use crate::proto::{Chunk, CloseCode, Message, Violation, http};
use crate::time::Instant;

/// An application. Each worker has one value of it and calls it on its own thread. A callback that blocks stops every
/// connection of the worker.
pub trait App {
    /// What the application keeps for each connection. The worker creates it with `default()` when the connection
    /// begins, passes it to every callback, and hands it over when the connection ends. `()` takes no memory.
    type Session: Default;

    /// Where accepted connections lead to whose bytes are no HTTP but a stream's: asked once, when the worker begins. The
    /// worker carries the bytes; what it opens a WebSocket for is told as of any other. Default: accepted connections are HTTP.
    fn streams_to(&self) -> Option<Onward> {
        None
    }

    /// A client asks to open a WebSocket; its request has passed every check of RFC 6455 §4.2.1. Not called for
    /// connections that the application begins.
    fn connect(&mut self, _opening: &mut Opening<'_>, _session: &mut Self::Session) -> Verdict {
        Verdict::accept()
    }

    /// A client asks in HTTP/1 for something that is no WebSocket, such as a page or a health check. The connection is
    /// closed after the answer. The default answers GET and HEAD with a page that says what this port is, and other
    /// methods with 501 or 405.
    fn request<'a>(&'a mut self, request: &'a http::Request<'_>) -> http::Answer<'a> {
        page::answer(request)
    }

    /// A connection that [`Handle::connect`] began has reached its server; the request leaves with this turn.
    fn connected(&mut self, _scope: &mut Scope<'_>, _session: &mut Self::Session) {}

    /// A connection did not open. Either [`Handle::connect`] began it, or its verdict was [`Verdict::later`] and is not
    /// needed any more. While a client waits for a verdict, nothing is read from it: if it leaves, the worker may
    /// notice only when `handshake_timeout` is over.
    fn failed(&mut self, _scope: &mut Scope<'_>, _session: Self::Session, _failure: Failure) {}

    /// The opening handshake is complete. Server: the 101 is queued for the client. Client: the server's 101 has
    /// arrived.
    fn open(&mut self, _context: &mut Context<'_>, _session: &mut Self::Session) {}

    /// A whole message has arrived, unmasked and validated.
    fn message(
        &mut self,
        context: &mut Context<'_>,
        session: &mut Self::Session,
        message: Message<'_>,
    );

    /// A piece of a message has arrived, on a connection that takes its messages in pieces ([`Verdict::receiving`],
    /// [`OpeningRequest::receiving`](crate::OpeningRequest::receiving)): whole frames, or what a receive brought. The worker keeps none
    /// of it. Default: the piece is dropped.
    fn chunk(
        &mut self,
        _context: &mut Context<'_>,
        _session: &mut Self::Session,
        _chunk: Chunk<'_>,
    ) {
    }

    /// A Ping has arrived. The worker has queued the Pong.
    fn ping(&mut self, _context: &mut Context<'_>, _session: &mut Self::Session, _payload: &[u8]) {}

    /// A Pong arrived.
    fn pong(&mut self, _context: &mut Context<'_>, _session: &mut Self::Session, _payload: &[u8]) {}

    /// The send queue is empty again, after it was full or the socket took only a part.
    fn writable(&mut self, _context: &mut Context<'_>, _session: &mut Self::Session) {}

    /// The WebSocket is closed, and nothing can be sent on it. Called once for each [`App::open`].
    fn close(&mut self, _scope: &mut Scope<'_>, _session: Self::Session, _closed: Closed<'_>) {}

    /// Bytes of a stream pass ([`Context::join`]), unmasked and without their frames, before they are sent on.
    #[inline]
    fn carried(&mut self, _session: &mut Self::Session, _carried: Carried<'_>) {}

    /// A text message beside a stream ([`Carriage::Controlled`](crate::Carriage::Controlled)), of at most 125 bytes. It comes before the bytes that follow it are sent
    /// on. An error is the Close that the peer gets.
    ///
    /// # Errors
    /// The application does not understand it. Default: always.
    fn control(
        &mut self,
        _session: &mut Self::Session,
        _text: &str,
    ) -> Result<(), (CloseCode, Cow<'static, str>)> {
        let sentence = "there are no control messages here";
        Err((CloseCode::UnsupportedData, sentence.into()))
    }

    /// The target has ended its direction of a stream ([`Context::join`]), and its last byte is sent: the code and reason of the Close that
    /// the client gets behind that. A reason has at most 123 bytes. Default: 1000 without a reason.
    fn farewell(&mut self, _session: &mut Self::Session) -> (CloseCode, Cow<'static, str>) {
        (CloseCode::NormalClosure, Cow::Borrowed(""))
    }

    /// The target's side of a stream has ended, or was never reached, and the client is told so with this Close. Called once at most.
    fn parted(&mut self, _session: &mut Self::Session, _code: CloseCode, _reason: &str) {}

    /// Messages of topics were dropped, because this connection's peer did not keep up ([`BusOptions::policy`](crate::BusOptions::policy)). Those that follow came after them.
    fn missed(
        &mut self,
        _context: &mut Context<'_>,
        _session: &mut Self::Session,
        _messages: NonZeroU64,
    ) {
    }

    /// The worker stops. Whether an open connection may be closed now, with 1001. If not, the application closes it when it has
    /// done what it must; the end of the drain cuts it off.
    fn drain(&mut self, _session: &mut Self::Session) -> bool {
        true
    }

    /// Something has happened on the bus of the server's workers.
    fn event(&mut self, _worker: &mut Handle<'_>, _news: &News<'_>) {}

    /// Called once at the end of each turn, after all other callbacks. Anything sent here leaves with this turn's
    /// sends. Use it for timers, for messages from other threads and for new connections.
    fn turn(&mut self, _worker: &mut Handle<'_>) {}
}

/// A connection as a callback sees it while nothing can be sent on it: before it is open, or after it is closed.
#[derive(Debug)]
pub struct Scope<'a> {
    pub(crate) id: ConnId,
    pub(crate) tag: u32,
    pub(crate) now: Instant,
    pub(crate) commands: &'a mut Commands,
    pub(super) fanout: Option<&'a mut Fanout>,
}

impl Scope<'_> {
    /// Which connection this is.
    pub const fn id(&self) -> ConnId {
        self.id
    }

    /// The number that the application gave to [`Handle::connect`]; 0 for an accepted connection.
    pub const fn tag(&self) -> u32 {
        self.tag
    }

    /// The worker's clock as read in this turn: when its wait ended or, for a client, at its last bulk receive.
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// Commands for other connections of this worker.
    pub const fn commands(&mut self) -> &mut Commands {
        self.commands
    }
}

/// Bytes of a stream on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Carried<'a> {
    /// The WebSocket.
    pub id: ConnId,
    /// The worker's clock as read in this turn.
    pub now: Instant,
    /// Where they go.
    pub way: Way,
    /// The bytes.
    pub bytes: &'a [u8],
}

/// A direction of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the client to the target.
    ToTarget,
    /// From the target to the client.
    ToClient,
}

/// How a WebSocket ended (RFC 6455 §7.1.4, §7.1.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Closed<'a> {
    /// Both sides have sent a Close.
    pub clean: bool,
    /// The code of the peer's Close: 1005 when it had none, 1006 when there was no Close.
    pub code: CloseCode,
    /// The reason in the peer's Close, or empty.
    pub reason: &'a str,
    /// The peer's violation of RFC 6455, if we failed the connection for one.
    pub violation: Option<Violation>,
    /// What went over a connection that was measured ([`Verdict::measured`]).
    pub traffic: Option<&'a TrafficStats>,
}

impl Closed<'_> {
    /// The end without a Close from the peer: the connection broke, or we gave it up.
    pub(crate) const ABNORMAL: Self = Self {
        clean: false,
        code: CloseCode::AbnormalClosure,
        reason: "",
        violation: None,
        traffic: None,
    };
}

//! What an application is to a worker: callbacks, called from the worker's loop and nowhere else.
//!
//! ```text
//!  accepted:   connect ──▶ open ──▶ message · ping · pong · writable … ──▶ close
//!                 └ refused: nothing more                (a verdict of Later that is never given ──▶ failed)
//!  begun here: connected ──▶ open ──▶ the same …                        └─ or failed
//!  each turn:  turn, after everything else
//! ```
//!
//! What a callback wants of *its* connection it does through its [`Context`]. What it wants of any other connection of the
//! worker goes through [`Commands`], which the worker carries out at the end of the turn.

use super::commands::Commands;
use super::context::Context;
use super::handle::Handle;
use super::page;
use super::request::Failure;
use super::verdict::{Opening, Verdict};
use crate::io::ConnId;
use crate::proto::{CloseCode, Message, Violation, http};
use crate::time::Instant;

/// One value per worker. It runs on the worker's thread: a callback that waits stops every connection of the worker.
pub trait App {
    /// What the application keeps for each connection. It begins as its default when the connection does, is lent to every
    /// callback, and is handed over when the connection ends. `()` costs nothing.
    type Session: Default;

    /// A client asks to open a WebSocket; the request passed every check of RFC 6455 §4.2.1. Not called for connections
    /// that the application begins itself.
    fn connect(&mut self, _opening: &mut Opening<'_>, _session: &mut Self::Session) -> Verdict {
        Verdict::accept()
    }

    /// A client asks for something that is no WebSocket: a page, a health check, anything in HTTP/1. The connection is closed
    /// after the answer. By default GET and HEAD get a page that says what this port is, and other methods are told that they
    /// are not served.
    fn request<'a>(&'a mut self, request: &'a http::Request<'_>) -> http::Answer<'a> {
        page::answer(request)
    }

    /// A connection that [`Handle::connect`] began has reached its server; the request leaves with this turn.
    fn connected(&mut self, _scope: &mut Scope<'_>, _session: &mut Self::Session) {}

    /// A connection did not open: one that [`Handle::connect`] began, or one whose verdict was [`Verdict::later`] and is not
    /// needed any more. Of a client that left while it waited for a verdict this may tell only when the time of the opening
    /// handshake is over: nothing is read from it meanwhile.
    fn failed(&mut self, _scope: &mut Scope<'_>, _session: Self::Session, _failure: Failure) {}

    /// The opening handshake is done: the 101 is queued for the client, or has arrived from the server.
    fn open(&mut self, _context: &mut Context<'_>, _session: &mut Self::Session) {}

    /// A whole message arrived, unmasked and validated.
    fn message(
        &mut self,
        context: &mut Context<'_>,
        session: &mut Self::Session,
        message: Message<'_>,
    );

    /// A Ping arrived; it has been answered.
    fn ping(&mut self, _context: &mut Context<'_>, _session: &mut Self::Session, _payload: &[u8]) {}

    /// A Pong arrived.
    fn pong(&mut self, _context: &mut Context<'_>, _session: &mut Self::Session, _payload: &[u8]) {}

    /// The send queue of a connection that could not keep up, or whose queue refused a message, is empty again.
    fn writable(&mut self, _context: &mut Context<'_>, _session: &mut Self::Session) {}

    /// The WebSocket is closed; nothing can be sent on it any more. Called once for each [`App::open`].
    fn close(&mut self, _scope: &mut Scope<'_>, _session: Self::Session, _closed: Closed<'_>) {}

    /// Called once at the end of each turn, after all other callbacks. What is sent here leaves with this turn's sends. The
    /// place for timers, for messages from other threads, and for new connections.
    fn turn(&mut self, _worker: &mut Handle<'_>) {}
}

/// A callback on a connection that cannot be sent on: not yet open, or closed.
#[derive(Debug)]
pub struct Scope<'a> {
    pub(crate) id: ConnId,
    pub(crate) tag: u32,
    pub(crate) now: Instant,
    pub(crate) commands: &'a mut Commands,
}

impl Scope<'_> {
    /// Which connection this is.
    pub const fn id(&self) -> ConnId {
        self.id
    }

    /// What the connection was begun with ([`Handle::connect`]); zero for one that was accepted.
    pub const fn tag(&self) -> u32 {
        self.tag
    }

    /// The instant of this turn.
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// What is to be done to other connections of this worker.
    pub const fn commands(&mut self) -> &mut Commands {
        self.commands
    }
}

/// How a WebSocket ended (RFC 6455 §7.1.4, §7.1.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Closed<'a> {
    /// Both Close frames were exchanged.
    pub clean: bool,
    /// The code of the peer's Close: 1005 when it had none, 1006 when there was no Close.
    pub code: CloseCode,
    /// The reason in the peer's Close.
    pub reason: &'a str,
    /// What the peer did against RFC 6455, when we failed the connection for it.
    pub violation: Option<Violation>,
}

impl Closed<'_> {
    /// Without a Close from the peer: the connection broke, or was given up.
    pub(crate) const ABNORMAL: Self = Self {
        clean: false,
        code: CloseCode::AbnormalClosure,
        reason: "",
        violation: None,
    };
}

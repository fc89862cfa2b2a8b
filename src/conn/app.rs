//! What an application is to a worker: callbacks, called from the worker's loop and nowhere else.

use super::context::Context;
use super::dialling::Failed;
use super::page;
use super::reach::Reach;
use crate::io::Io;
use crate::proto::handshake::{Request, Verdict};
use crate::proto::{CloseCode, Message, Violation, http};
use crate::time::Instant;

/// One value per worker. It runs on the worker's thread: a callback that waits stops every connection of the worker.
pub trait App {
    /// A client asks to open a WebSocket; the request passed every check of RFC 6455 §4.2.1.
    fn connect<'a>(&'a mut self, _request: &'a Request<'_>) -> Verdict<'a> {
        Verdict::Accept {
            subprotocol: None,
            headers: &[],
        }
    }

    /// A client asks for something that is no WebSocket: a page, a health check, anything in HTTP/1. The connection is
    /// closed after the answer. By default GET and HEAD get a page that says what this port is, and other methods are
    /// told that they are not served.
    fn request<'a>(&'a mut self, request: &'a http::Request<'_>) -> http::Answer<'a> {
        page::answer(request)
    }

    /// A connection that [`Reach::connect`] began has reached its server; the request leaves with this turn. `tag` is
    /// what the connection was begun with.
    fn connected(&mut self, _tag: u32, _now: Instant) {}

    /// A connection that [`Reach::connect`] began did not open. Called once for each that is not told to
    /// [`App::open`].
    fn failed(&mut self, _failed: Failed) {}

    /// The opening handshake is done: the client has been told so, or we have by the server.
    fn open(&mut self, _context: &mut Context<'_>) {}

    /// A whole message arrived, unmasked and validated.
    fn message(&mut self, context: &mut Context<'_>, message: Message<'_>);

    /// A Ping arrived; it has been answered.
    fn ping(&mut self, _context: &mut Context<'_>, _payload: &[u8]) {}

    /// A Pong arrived.
    fn pong(&mut self, _context: &mut Context<'_>, _payload: &[u8]) {}

    /// The send queue of a connection that could not keep up, or whose queue refused a message, is empty again.
    fn writable(&mut self, _context: &mut Context<'_>) {}

    /// Everything that happened in this turn is told; what this does leaves with it. The place for what has its own time:
    /// pacing, other threads' messages, connections to be begun.
    fn turn<I: Io>(&mut self, _reach: &mut Reach<'_, I>) {}

    /// The WebSocket is closed; nothing can be sent any more. Called once for each [`App::open`].
    fn close(&mut self, _closed: Closed) {}
}

/// How a WebSocket ended (RFC 6455 §7.1.4, §7.1.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The connection.
    pub id: crate::io::ConnId,
    /// What it was begun with; zero for one that was accepted.
    pub tag: u32,
    /// The closing handshake was completed.
    pub clean: bool,
    /// The code of the peer's Close: 1005 when it had none, 1006 when there was no Close.
    pub code: CloseCode,
    /// What the peer did against RFC 6455, when we failed the connection for it.
    pub violation: Option<Violation>,
}

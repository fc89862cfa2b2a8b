//! What an application is to a worker: callbacks, called from the worker's loop and nowhere else.

use super::context::Context;
use crate::proto::handshake::{Request, Verdict};
use crate::proto::{CloseCode, Message};

/// One value per worker. It runs on the worker's thread: a callback that waits stops every connection of the worker.
pub trait App {
    /// A client asks to open a WebSocket; the request passed every check of RFC 6455 §4.2.1.
    fn connect<'a>(&'a mut self, _request: &'a Request<'_>) -> Verdict<'a> {
        Verdict::Accept {
            subprotocol: None,
            headers: &[],
        }
    }

    /// The opening handshake is done; the client has been told so.
    fn open(&mut self, _context: &mut Context<'_>) {}

    /// A whole message arrived, unmasked and validated.
    fn message(&mut self, context: &mut Context<'_>, message: Message<'_>);

    /// A Ping arrived; it has been answered.
    fn ping(&mut self, _context: &mut Context<'_>, _payload: &[u8]) {}

    /// A Pong arrived.
    fn pong(&mut self, _context: &mut Context<'_>, _payload: &[u8]) {}

    /// The send queue of a connection that could not keep up is empty again.
    fn writable(&mut self, _context: &mut Context<'_>) {}

    /// The WebSocket is closed; nothing can be sent any more. Called once for each [`App::open`].
    fn close(&mut self, _closed: Closed) {}
}

/// How a WebSocket ended (RFC 6455 §7.1.4, §7.1.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The connection.
    pub id: crate::io::ConnId,
    /// The closing handshake was completed.
    pub clean: bool,
    /// The code of the peer's Close: 1005 when it had none, 1006 when there was no Close.
    pub code: CloseCode,
}

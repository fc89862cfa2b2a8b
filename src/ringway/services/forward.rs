//! The forwarder: every connection that it accepts, a stream or a WebSocket, leads to one place.
//!
//! Owns: which subprotocol a client gets. Never: sees a byte of a stream (the worker carries them).

use std::sync::Arc;

use super::carriers::{self, BASE64, Choice};
use crate::proto::{Kind, Message};
use crate::protocol::{App, Context, Onward, Opening, Verdict};

/// The application of `ringway forward`.
#[derive(Clone, Debug)]
pub struct Forward {
    /// Where accepted connections lead to.
    pub to: Onward,
    /// Whether they are streams. Otherwise they are WebSockets that carry one each.
    pub accepts_streams: bool,
    /// Subprotocols beside `binary` and `base64` that clients may choose; their messages are binary.
    pub subprotocols: Arc<[String]>,
    /// Whether a client that offers no subprotocol is refused.
    pub require_subprotocol: bool,
}

impl App for Forward {
    /// Whether its messages are base64.
    type Session = bool;

    fn streams_to(&self) -> Option<Onward> {
        self.accepts_streams.then(|| self.to.clone())
    }

    fn connect(&mut self, opening: &mut Opening<'_>, as_base64: &mut bool) -> Verdict {
        let more = &self.subprotocols;
        match carriers::choose(opening.request().subprotocols(), true, more) {
            Choice::Known(name) => {
                *as_base64 = name == BASE64;
                Verdict::accept().subprotocol(name)
            }
            Choice::NoneOffered if !self.require_subprotocol => Verdict::accept(),
            Choice::NoneOffered | Choice::Unknown => {
                let names = carriers::names(true, more);
                Verdict::refuse(406, &format!("offer one of these subprotocols: {names}\n"))
            }
        }
    }

    fn open(&mut self, context: &mut Context<'_>, as_base64: &mut bool) {
        // Has no effect on a WebSocket that was begun for a stream.
        let kind = match *as_base64 {
            true => Kind::Text,
            false => Kind::Binary,
        };
        match &self.to {
            Onward::Stream(target) => context.join(target, kind, &[]),
            Onward::WebSocket(uplink) => context.join_uplink(uplink, kind),
            Onward::Handed(stream) => context.join_handed(stream, kind.into()),
        }
    }

    fn message(&mut self, _: &mut Context<'_>, _: &mut bool, _: Message<'_>) {
        unreachable!("the messages of a joined WebSocket are the stream's")
    }
}

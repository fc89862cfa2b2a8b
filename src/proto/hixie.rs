//! The protocols before RFC 6455: draft-hixie-thewebsocketprotocol-75 and -76 of 2010, the second of which is also hybi-00. Safari
//! 5, Chrome 4 to 13, Opera 11, and Flash in the place of a WebSocket speak them.
//!
//! ```text
//!  0x00  UTF-8 …  0xFF       a message; no text has the byte 0xFF
//!  0xFF  0x00                the end, in Hixie-76: each side sends it once
//!  0x80–0xFF  length  …      no version sends it; Hixie-75 skips it
//! ```
//!
//! Owns: how their messages look. Their opening handshake is a version among others
//! ([`Versions::Legacy`](crate::handshake::Versions)), and their frames come out of a [`Receiver`](crate::Receiver) as events like
//! those of RFC 6455: so who drives a WebSocket drives these as well.
//! Never: serves anybody who did not ask for it: their proofs are weaker than RFC 6455's, or missing.
//!
//! What they do not have: binary messages, Ping and Pong, close codes and reasons, fragments (but a message may leave in pieces),
//! compression, masking. Hixie-75 has no closing handshake either: the end of the connection is its end.

use crate::frame::{Header, Opcode};

/// Begins a message.
pub(crate) const TEXT: u8 = 0x00;
/// Ends a message.
pub(crate) const TEXT_END: u8 = 0xFF;

/// One of the two protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Draft {
    /// draft-hixie-thewebsocketprotocol-75.
    Hixie75,
    /// draft-hixie-thewebsocketprotocol-76, and draft-ietf-hybi-thewebsocketprotocol-00.
    Hixie76,
}

impl Draft {
    /// What stands for a Close: nothing in Hixie-75.
    pub const fn end(self) -> &'static [u8] {
        match self {
            Self::Hixie75 => b"",
            Self::Hixie76 => b"\xFF\x00",
        }
    }
}

/// The bytes before and behind the payload of a text frame that [`Sender::check`](crate::Sender::check) has passed. The frames of one
/// message become one frame in pieces.
pub const fn encode(header: &Header) -> (&'static [u8], &'static [u8]) {
    let before: &[u8] = match header.opcode {
        Opcode::Continuation => &[],
        _ => &[TEXT],
    };
    let behind: &[u8] = match header.fin {
        true => &[TEXT_END],
        false => &[],
    };
    (before, behind)
}

/// Whether a frame can carry `payload`: UTF-8 has no byte 0xFF.
pub fn can_carry(payload: &[u8]) -> bool {
    !payload.contains(&TEXT_END)
}

//! The sending half of a [`WebSocket`](super::WebSocket): headers and control frames for what the application says.

use std::fmt;

use super::close::CloseCode;
use super::frame::{self, Header, Opcode, Role};

/// The calling program asked for something that RFC 6455 forbids. A bug there, never the peer's doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Misuse {
    /// A Close was sent: nothing may follow it (§5.5.1).
    AfterClose,
    /// A control frame with more than 125 bytes, or without FIN (§5.5).
    ControlTooLong,
    /// A data frame where a control frame is wanted (§5.5).
    NotControl,
    /// A continuation without a message, or a message inside a message (§5.4).
    OutOfOrder,
    /// A close code that only describes a connection: 1005, 1006, 1015 (§7.4.1).
    UnsendableCode,
    /// A client frame without a masking key, or a server frame with one (§5.1).
    WrongMask,
}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AfterClose => "nothing may be sent after a close frame",
            Self::ControlTooLong => "control frame longer than 125 bytes or fragmented",
            Self::NotControl => "data frame sent as a control frame",
            Self::OutOfOrder => "fragment out of order",
            Self::UnsendableCode => "close code that is never sent",
            Self::WrongMask => "clients mask, servers do not",
        })
    }
}

impl std::error::Error for Misuse {}

/// Bytes of the longest control frame: header, masking key and payload.
pub const CONTROL_FRAME_BYTES_MAX: usize = 2 + 4 + frame::CONTROL_PAYLOAD_BYTES_MAX;

/// Checks and encodes what an endpoint sends, and refuses frames in a forbidden order. It holds no payload.
#[derive(Debug)]
pub struct Sender {
    masks: bool,
    state: SendState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SendState {
    Ground,
    InsideMessage,
    Closed,
}

impl Sender {
    /// A sender of the endpoint `role`.
    pub const fn new(role: Role) -> Self {
        Self {
            masks: matches!(role, Role::Client),
            state: SendState::Ground,
        }
    }

    /// Whether every frame is masked: the client's side.
    pub const fn masks(&self) -> bool {
        self.masks
    }

    /// Whether a Close was sent.
    pub fn is_closed(&self) -> bool {
        self.state == SendState::Closed
    }

    /// Whether a message has begun whose last frame was not sent.
    pub fn is_inside_message(&self) -> bool {
        self.state == SendState::InsideMessage
    }

    /// Encodes the header of one frame to the front of `out` and returns its length. The caller sends the payload after
    /// it; a client masks it with the same key.
    ///
    /// # Errors
    /// [`Misuse`], and nothing is written or changed.
    ///
    /// # Panics
    /// When `out` is shorter than [`frame::encoded_bytes`].
    #[inline]
    pub fn header(&mut self, header: &Header, out: &mut [u8]) -> Result<usize, Misuse> {
        self.check(header)?;
        Ok(frame::encode(header, out))
    }

    /// Checks as [`Self::header`] does, for a caller that encodes the header later itself.
    ///
    /// # Errors
    /// [`Misuse`], and nothing is changed.
    #[inline]
    pub fn check(&mut self, header: &Header) -> Result<(), Misuse> {
        if header.masking_key.is_some() != self.masks {
            return Err(Misuse::WrongMask);
        }
        self.state = self.after(header)?;
        Ok(())
    }

    #[inline]
    fn after(&self, header: &Header) -> Result<SendState, Misuse> {
        if self.state == SendState::Closed {
            return Err(Misuse::AfterClose);
        }
        if header.opcode.is_control() {
            if !header.fin || header.payload_len > frame::CONTROL_PAYLOAD_BYTES_MAX as u64 {
                return Err(Misuse::ControlTooLong);
            }
            return Ok(if header.opcode == Opcode::Close {
                SendState::Closed
            } else {
                self.state
            });
        }
        let continues = header.opcode == Opcode::Continuation;
        if continues != (self.state == SendState::InsideMessage) {
            return Err(Misuse::OutOfOrder);
        }
        Ok(if header.fin {
            SendState::Ground
        } else {
            SendState::InsideMessage
        })
    }

    /// Encodes a whole control frame and returns its length.
    ///
    /// # Errors
    /// [`Misuse`], and nothing is changed.
    pub fn control(
        &mut self,
        opcode: Opcode,
        payload: &[u8],
        masking_key: Option<[u8; 4]>,
        out: &mut [u8; CONTROL_FRAME_BYTES_MAX],
    ) -> Result<usize, Misuse> {
        if !opcode.is_control() {
            return Err(Misuse::NotControl);
        }
        let bytes = self.header(
            &Header {
                compressed: false,
                fin: true,
                opcode,
                payload_len: payload.len() as u64,
                masking_key,
            },
            out,
        )?;
        let body = &mut out[bytes..bytes + payload.len()];
        body.copy_from_slice(payload);
        if let Some(key) = masking_key {
            super::mask::apply(body, super::mask::Key::new(key));
        }
        Ok(bytes + payload.len())
    }

    /// Encodes a Close frame and returns its length. A reason longer than 123 bytes is cut between code points. A Close
    /// without a code has no reason either.
    ///
    /// # Errors
    /// [`Misuse`], and nothing is changed.
    pub fn close(
        &mut self,
        code: Option<CloseCode>,
        reason: &str,
        masking_key: Option<[u8; 4]>,
        out: &mut [u8; CONTROL_FRAME_BYTES_MAX],
    ) -> Result<usize, Misuse> {
        let mut payload = [0; frame::CONTROL_PAYLOAD_BYTES_MAX];
        let len = match code {
            None => 0,
            Some(code) => {
                // RFC 6455 §7.4.1: 1005, 1006 and 1015 "MUST NOT be set as a status code in a Close control frame".
                if CloseCode::sendable(code.number()).is_none() {
                    return Err(Misuse::UnsendableCode);
                }
                let reason =
                    &reason[..reason.floor_char_boundary(frame::CONTROL_PAYLOAD_BYTES_MAX - 2)];
                payload[..2].copy_from_slice(&code.number().to_be_bytes());
                payload[2..2 + reason.len()].copy_from_slice(reason.as_bytes());
                2 + reason.len()
            }
        };
        self.control(Opcode::Close, &payload[..len], masking_key, out)
    }
}

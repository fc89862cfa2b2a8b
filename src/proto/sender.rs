//! The sending half of a [`WebSocket`](super::WebSocket): headers and control frames for what the application says.

use std::fmt;

use super::close::CloseCode;
use super::frame::{self, Header, Opcode, Role};
#[cfg(feature = "legacy")]
use super::hixie::Draft;

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
    /// What Hixie's protocols cannot say: they have text messages and an end, but neither binary messages nor Ping and Pong.
    #[cfg(feature = "legacy")]
    NotInHixie,
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
            #[cfg(feature = "legacy")]
            Self::NotInHixie => "Hixie's protocols have text messages only, and no Ping or Pong",
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
    form: Form,
    state: SendState,
}

/// What frames look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// A server's.
    Plain,
    /// A client's.
    Masked,
    #[cfg(feature = "legacy")]
    Hixie75,
    #[cfg(feature = "legacy")]
    Hixie76,
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
            form: match role {
                Role::Client => Form::Masked,
                Role::Server => Form::Plain,
            },
            state: SendState::Ground,
        }
    }

    /// A sender of the frames of one of Hixie's protocols, in either role.
    #[cfg(feature = "legacy")]
    pub const fn hixie(draft: Draft) -> Self {
        Self {
            form: match draft {
                Draft::Hixie75 => Form::Hixie75,
                Draft::Hixie76 => Form::Hixie76,
            },
            state: SendState::Ground,
        }
    }

    /// Which of Hixie's protocols it speaks. Their frames are encoded by [`hixie::encode`](crate::hixie::encode).
    #[cfg(feature = "legacy")]
    #[inline]
    pub const fn draft(&self) -> Option<Draft> {
        match self.form {
            Form::Plain | Form::Masked => None,
            Form::Hixie75 => Some(Draft::Hixie75),
            Form::Hixie76 => Some(Draft::Hixie76),
        }
    }

    /// Whether every frame is masked: the client's side.
    pub const fn masks(&self) -> bool {
        matches!(self.form, Form::Masked)
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
    /// When `out` is shorter than [`frame::encoded_bytes`]. In debug builds also for Hixie's protocols, whose frames have
    /// another form.
    #[inline]
    pub fn header(&mut self, header: &Header, out: &mut [u8]) -> Result<usize, Misuse> {
        #[cfg(feature = "legacy")]
        debug_assert!(self.draft().is_none(), "a frame of RFC 6455");
        self.check(header)?;
        Ok(frame::encode(header, out))
    }

    /// Checks as [`Self::header`] does, for a caller that encodes the header later itself.
    ///
    /// # Errors
    /// [`Misuse`], and nothing is changed.
    #[inline]
    pub fn check(&mut self, header: &Header) -> Result<(), Misuse> {
        let form = match header.masking_key {
            Some(_) => Form::Masked,
            None => Form::Plain,
        };
        if form != self.form {
            self.check_form(header)?;
        }
        self.state = self.after(header)?;
        Ok(())
    }

    /// Judges a header that is not one of the usual form.
    #[cold]
    fn check_form(&self, header: &Header) -> Result<(), Misuse> {
        #[cfg(feature = "legacy")]
        if self.draft().is_some() && header.masking_key.is_none() {
            return match header.opcode {
                Opcode::Text | Opcode::Continuation | Opcode::Close => Ok(()),
                _ => Err(Misuse::NotInHixie),
            };
        }
        let _ = header;
        Err(Misuse::WrongMask)
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
    /// without a code has no reason either. The end of Hixie-76 has neither, and Hixie-75 has no end: the length is 0.
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
        #[cfg(feature = "legacy")]
        if let Some(draft) = self.draft() {
            let header = Header {
                compressed: false,
                fin: true,
                opcode: Opcode::Close,
                payload_len: 0,
                masking_key,
            };
            self.check(&header)?;
            let end = draft.end();
            out[..end.len()].copy_from_slice(end);
            return Ok(end.len());
        }
        self.control(Opcode::Close, &payload[..len], masking_key, out)
    }
}

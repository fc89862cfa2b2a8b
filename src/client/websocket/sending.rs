//! Messages to frames.

use bytes::Bytes;
use ringway_proto::frame::{HEADER_BYTES_MAX, Header, Kind};
use ringway_proto::{CONTROL_FRAME_BYTES_MAX, CloseCode, Misuse, Opcode};

use super::{Phase, WebSocket};
use crate::error::Error;
use crate::message::Message;
use crate::random;

impl<S> WebSocket<S> {
    /// Takes a message for sending, however much waits already, and without waiting. It leaves with the next call of any
    /// method that waits. To keep the memory bounded, wait for [`ready`](Self::ready) first.
    ///
    /// # Errors
    /// As [`send`](Self::send); the message was not taken then.
    pub fn queue(&mut self, message: impl Into<Message>) -> Result<(), Error> {
        let Some((kind, payload)) = self.check_data(message.into())? else {
            return Ok(());
        };
        if self.part.is_some() {
            return Err(Misuse::OutOfOrder.into());
        }
        self.count_sent(&payload, true);
        let compressed = self
            .codec
            .as_mut()
            .and_then(|codec| codec.compress(&payload));
        let opcode = kind.opcode();
        match compressed {
            Some(compressed) => self.push_frames(opcode, true, compressed, true),
            None => self.push_frames(opcode, false, payload, true),
        }
    }

    pub(super) fn queue_part(&mut self, part: Message, ends: bool) -> Result<(), Error> {
        let Some((kind, payload)) = self.check_data(part)? else {
            return Ok(());
        };
        let opcode = match self.part {
            None => kind.opcode(),
            Some(begun) if begun == kind => Opcode::Continuation,
            Some(_) => return Err(Misuse::OutOfOrder.into()),
        };
        self.part = (!ends).then_some(kind);
        self.count_sent(&payload, ends);
        self.push_frames(opcode, false, payload, ends)
    }

    /// Begins to close the connection, without waiting: a Close leaves with the next call of any method that waits.
    /// Nothing is sent after it. [`recv`](Self::recv) returns what the peer sent before its own Close, and then `None`. On a
    /// connection that is closed or closing it does nothing.
    ///
    /// # Errors
    /// [`Error::Misuse`] for a code that may not be sent: 1005, 1006, 1015 and those that nobody has defined.
    pub fn start_close(&mut self, code: CloseCode, reason: &str) -> Result<(), Error> {
        if self.phase != Phase::Open {
            return Ok(());
        }
        self.push_close(Some(code), reason)?;
        self.phase = Phase::Closing;
        self.clock.end_within(self.options.close_timeout);
        Ok(())
    }

    /// Sends control frames on, and says of data whether it may be sent.
    fn check_data(&mut self, message: Message) -> Result<Option<(Kind, Bytes)>, Error> {
        if let Some(kind) = self.write_failed {
            return Err(Error::Io(kind.into()));
        }
        if self.phase != Phase::Open {
            return Err(Error::Closed);
        }
        match message {
            Message::Text(text) => Ok(Some((Kind::Text, text.into_bytes()))),
            Message::Binary(bytes) => Ok(Some((Kind::Binary, bytes))),
            Message::Ping(payload) => self.push_control(Opcode::Ping, &payload).map(|()| None),
            Message::Pong(payload) => self.push_control(Opcode::Pong, &payload).map(|()| None),
        }
    }

    fn count_sent(&mut self, payload: &Bytes, ends: bool) {
        self.traffic.messages_sent += u64::from(ends);
        self.traffic.payload_sent += payload.len() as u64;
    }

    fn key(&self) -> Option<[u8; 4]> {
        self.proto.sender.masks().then(random::bytes)
    }

    /// The frames of a message, or of a part of one.
    fn push_frames(
        &mut self,
        mut opcode: Opcode,
        mut compressed: bool,
        mut rest: Bytes,
        fin: bool,
    ) -> Result<(), Error> {
        let frame_bytes = self.options.fragment_bytes.unwrap_or(usize::MAX).max(1);
        loop {
            let payload = rest.split_to(frame_bytes.min(rest.len()));
            let header = Header {
                fin: fin && rest.is_empty(),
                compressed,
                opcode,
                payload_len: payload.len() as u64,
                masking_key: self.key(),
            };
            let mut out = [0; HEADER_BYTES_MAX];
            let header_bytes = self.proto.sender.header(&header, &mut out)?;
            self.traffic.bytes_sent += (header_bytes + payload.len()) as u64;
            self.outbox.push(&out[..header_bytes]);
            self.outbox.push_payload(payload, header.masking_key);
            if rest.is_empty() {
                return Ok(());
            }
            (opcode, compressed) = (Opcode::Continuation, false);
        }
    }

    pub(super) fn push_control(&mut self, opcode: Opcode, payload: &[u8]) -> Result<(), Error> {
        let mut out = [0; CONTROL_FRAME_BYTES_MAX];
        let key = self.key();
        let bytes = self.proto.sender.control(opcode, payload, key, &mut out)?;
        self.push_whole(&out[..bytes]);
        Ok(())
    }

    pub(super) fn push_close(
        &mut self,
        code: Option<CloseCode>,
        reason: &str,
    ) -> Result<(), Error> {
        let mut out = [0; CONTROL_FRAME_BYTES_MAX];
        let key = self.key();
        let bytes = self.proto.sender.close(code, reason, key, &mut out)?;
        self.push_whole(&out[..bytes]);
        Ok(())
    }

    fn push_whole(&mut self, frame: &[u8]) {
        self.traffic.bytes_sent += frame.len() as u64;
        self.outbox.push(frame);
    }
}

//! The connection's one machine: whoever polls, bytes are read and written, Pings answered, deadlines kept.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use ringway_proto::{CloseCode, Misuse, Opcode, Role, Violation};
use tokio::io::{AsyncRead, AsyncWrite};

use super::wakers::Side;
use super::{Item, Phase, WebSocket};
use crate::clock::Due;
use crate::error::Error;
use crate::incoming::{Received, Want};
use crate::message::{Chunk, CloseFrame, Message, Text};

/// While a caller only sends, a message of the peer is assembled up to so many bytes: the rest waits for the caller to
/// receive.
const AHEAD_BYTES_MAX: usize = 64 << 10;

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    pub(crate) fn poll_message(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Message>, Error>> {
        if self.is_in_chunks() {
            return Poll::Ready(Err(Misuse::OutOfOrder.into()));
        }
        self.want = Want::Message;
        Poll::Ready(Ok(match ready!(self.poll_item(cx, Want::Message))? {
            None => None,
            Some(Item::Message(message)) => Some(message),
            // Only what was read in chunks while the caller sent: a message that was begun so.
            Some(Item::Chunk(chunk)) => {
                self.ahead = Some(Item::Chunk(chunk));
                return Poll::Ready(Err(Misuse::OutOfOrder.into()));
            }
        }))
    }

    /// The caller has begun to read a message in chunks.
    fn is_in_chunks(&self) -> bool {
        match &self.ahead {
            Some(Item::Chunk(_)) => true,
            Some(Item::Message(_)) => false,
            // What has ended has no further chunk; `recv` tells why.
            None => self.changed().is_pending() && self.incoming.is_in_chunks(),
        }
    }

    pub(super) fn poll_chunk(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Chunk>, Error>> {
        self.want = Want::Chunks;
        loop {
            let (is_text, payload) = match ready!(self.poll_item(cx, Want::Chunks))? {
                None => return Poll::Ready(Ok(None)),
                Some(Item::Chunk(chunk)) => return Poll::Ready(Ok(Some(chunk))),
                Some(Item::Message(Message::Text(text))) => (true, text.into_bytes()),
                Some(Item::Message(Message::Binary(bytes))) => (false, bytes),
                Some(Item::Message(Message::Ping(_) | Message::Pong(_))) => continue,
            };
            return Poll::Ready(Ok(Some(Chunk {
                is_text,
                payload,
                message_begins: true,
                frame_ends: true,
                message_ends: true,
            })));
        }
    }

    /// The next thing for the caller. `None`: the connection is closed.
    pub(super) fn poll_item(
        &mut self,
        cx: &mut Context<'_>,
        want: Want,
    ) -> Poll<Result<Option<Item>, Error>> {
        self.with_both(Side::Recv, cx, |this, cx| {
            loop {
                let _ = this.poll_writes(cx);
                if let Some(item) = this.ahead.take() {
                    return Poll::Ready(Ok(Some(item)));
                }
                match this.phase {
                    Phase::Open | Phase::Closing => {
                        let received = this.poll_incoming(cx, want, usize::MAX);
                        // An answer to a Ping leaves before the caller waits, or is busy with a message.
                        let _ = this.poll_writes(cx);
                        if let Some(item) = ready!(received) {
                            return Poll::Ready(Ok(Some(item)));
                        }
                    }
                    Phase::Ending { .. } => ready!(this.poll_ending(cx)),
                    Phase::Done => return Poll::Ready(this.failure.take().map_or(Ok(None), Err)),
                }
            }
        })
    }

    /// Ready when fewer bytes wait than the mark.
    pub(crate) fn poll_send_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.with_both(Side::Send, cx, |this, cx| {
            loop {
                this.check_sendable()?;
                if this.outbox.waiting() < this.mark() {
                    return Poll::Ready(Ok(()));
                }
                this.poll_ahead(cx);
                let written = this.poll_writes(cx);
                if written.is_pending() && this.outbox.waiting() >= this.mark() {
                    return Poll::Pending;
                }
            }
        })
    }

    /// Ready when nothing waits.
    pub(crate) fn poll_send_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.with_both(Side::Send, cx, |this, cx| {
            this.poll_ahead(cx);
            let written = this.poll_writes(cx);
            match this.write_failed {
                Some(kind) => Poll::Ready(Err(Error::Io(kind.into()))),
                None => written.map(Ok),
            }
        })
    }

    /// At so many waiting bytes a send waits.
    fn mark(&self) -> usize {
        self.options.send_buffer_bytes.max(1)
    }

    fn check_sendable(&self) -> Result<(), Error> {
        match (self.write_failed, self.phase) {
            (Some(kind), _) => Err(Error::Io(kind.into())),
            (None, Phase::Open) => Ok(()),
            (None, _) => Err(Error::Closed),
        }
    }

    /// Polls for one side. The other one, if another task waits there, is woken by the stream, too, and told what changed.
    fn with_both<T>(
        &mut self,
        side: Side,
        cx: &mut Context<'_>,
        poll: impl FnOnce(&mut Self, &mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let state = |this: &Self| (this.phase, this.outbox.waiting(), this.ahead.is_some());
        let before = state(self);
        let joined = self.wakers.joined(side, cx.waker());
        let waker = joined.as_ref().unwrap_or_else(|| cx.waker());
        let result = poll(self, &mut Context::from_waker(waker));
        self.wakers
            .set(side, result.is_pending().then(|| cx.waker()));
        if state(self) != before {
            self.wakers.wake_other(side);
        }
        result
    }

    /// While the caller sends: answers Pings, keeps deadlines, and reads up to one message ahead.
    fn poll_ahead(&mut self, cx: &mut Context<'_>) {
        loop {
            match self.phase {
                // The answer to a Ping of ours may lie behind this message: only the end has its time.
                Phase::Open if self.ahead.is_some() => return,
                Phase::Closing if self.ahead.is_some() => return self.keep_time(cx),
                Phase::Open | Phase::Closing => {
                    match self.poll_incoming(cx, self.want, AHEAD_BYTES_MAX) {
                        Poll::Pending => return,
                        Poll::Ready(item) => self.ahead = item,
                    }
                }
                Phase::Ending { .. } => {
                    if self.poll_ending(cx).is_pending() {
                        return;
                    }
                }
                Phase::Done => return,
            }
        }
    }

    /// Reads and handles until there is something for the caller, or until the phase has changed (`None`).
    fn poll_incoming(
        &mut self,
        cx: &mut Context<'_>,
        want: Want,
        assembled_max: usize,
    ) -> Poll<Option<Item>> {
        loop {
            match self.incoming.next(&mut self.proto.receiver, want) {
                Ok(Some(received)) => match self.handle(received) {
                    Ok(Some(item)) => return Poll::Ready(Some(item)),
                    Ok(None) => {}
                    Err(violation) => self.fail(violation),
                },
                Ok(None) if self.incoming.assembled_bytes() > assembled_max => {
                    if self.phase == Phase::Closing {
                        self.keep_time(cx);
                    }
                    return self.changed();
                }
                Ok(None) => {
                    let io = &mut self.io;
                    match self.incoming.poll_read(cx, io, &self.proto.receiver) {
                        Poll::Pending => {
                            self.keep_time(cx);
                            return self.changed();
                        }
                        Poll::Ready(Ok(0)) => self.stream_ended(Error::Ended),
                        Poll::Ready(Ok(bytes)) => {
                            self.traffic.bytes_received += bytes as u64;
                            self.clock.heard();
                        }
                        Poll::Ready(Err(error)) => self.stream_ended(Error::Io(error)),
                    }
                }
                Err(violation) => self.fail(violation),
            }
            if !matches!(self.phase, Phase::Open | Phase::Closing) {
                return Poll::Ready(None);
            }
        }
    }

    /// Ready if the phase is none in which the peer is heard.
    fn changed(&self) -> Poll<Option<Item>> {
        match self.phase {
            Phase::Open | Phase::Closing => Poll::Pending,
            Phase::Ending { .. } | Phase::Done => Poll::Ready(None),
        }
    }

    /// What the caller gets of it.
    fn handle(&mut self, received: Received) -> Result<Option<Item>, Violation> {
        let shown = self.options.show_control;
        let item = match received {
            Received::Message {
                is_text,
                compressed,
                payload,
            } => Item::Message(self.message(is_text, compressed, payload)?),
            Received::Chunk(chunk) => {
                self.traffic.messages_received += u64::from(chunk.message_ends);
                self.traffic.payload_received += chunk.payload.len() as u64;
                Item::Chunk(chunk)
            }
            Received::Ping(payload) => {
                self.ping = Some(payload.clone());
                self.answer_ping();
                Item::Message(Message::Ping(payload))
            }
            Received::Pong(payload) => Item::Message(Message::Pong(payload)),
            Received::Close(frame) => {
                self.peer_closes(frame);
                return Ok(None);
            }
        };
        let is_control = matches!(item, Item::Message(Message::Ping(_) | Message::Pong(_)));
        Ok((shown || !is_control).then_some(item))
    }

    fn message(
        &mut self,
        is_text: bool,
        compressed: bool,
        payload: Bytes,
    ) -> Result<Message, Violation> {
        let payload = match &mut self.codec {
            Some(codec) if compressed => codec.inflate(&payload, self.options.message_bytes_max)?,
            _ => payload,
        };
        self.traffic.messages_received += 1;
        self.traffic.payload_received += payload.len() as u64;
        Ok(match is_text {
            true => Message::Text(Text::try_from(payload).map_err(|_| Violation::TextNotUtf8)?),
            false => Message::Binary(payload),
        })
    }

    /// Answers the last Ping, unless too much waits. RFC 6455 §5.5.3: an endpoint "MAY elect to send a Pong frame for only
    /// the most recently processed Ping frame."
    fn answer_ping(&mut self) {
        if self.outbox.waiting() >= self.mark() {
            return;
        }
        if let Some(payload) = self.ping.take() {
            // Refused only behind a Close, where no answer is due.
            let _ = self.push_control(Opcode::Pong, &payload);
        }
    }

    fn peer_closes(&mut self, frame: CloseFrame) {
        // RFC 6455 §5.5.1: "When sending a Close frame in response, the endpoint typically echos the status code it
        // received."
        let code = Some(frame.code).filter(|code| *code != CloseCode::NoStatusRcvd);
        self.closed = Some(Box::new(frame));
        // Refused if ours was sent before.
        let _ = self.push_close(code, "");
        self.begin_ending();
    }

    /// *Fails the connection* (RFC 6455 §7.1.7).
    fn fail(&mut self, violation: Violation) {
        // Refused if a Close was sent before.
        let _ = self.push_close(Some(violation.close_code()), &violation.to_string());
        self.failure = Some(violation.into());
        self.begin_ending();
    }

    fn begin_ending(&mut self) {
        self.clock.end_within(self.options.close_timeout);
        self.phase = Phase::Ending {
            read_ended: false,
            write_ended: false,
        };
    }

    /// Nothing more comes, and no Close has come.
    fn stream_ended(&mut self, error: Error) {
        let error = self
            .write_failed
            .map_or(error, |kind| Error::Io(kind.into()));
        self.failure = Some(error);
        self.abandon(io::ErrorKind::BrokenPipe);
    }

    /// Looks whether a deadline has passed.
    fn keep_time(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(due) = self.clock.poll(cx) {
            self.failure = Some(match due {
                Due::Ping => {
                    let _ = self.push_control(Opcode::Ping, b"");
                    let _ = self.poll_writes(cx);
                    continue;
                }
                Due::Silence => Error::PongTimeout,
                Due::End => Error::CloseTimeout,
            });
            self.abandon(io::ErrorKind::TimedOut);
            return;
        }
    }

    /// Writes what waits. Ready when nothing waits, also because the stream has failed.
    fn poll_writes(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            self.answer_ping();
            if self.write_failed.is_some() {
                return Poll::Ready(());
            }
            if let Err(error) = ready!(self.outbox.poll_flush(cx, &mut self.io)) {
                // What the peer has sent, perhaps a Close, is still to be read.
                self.write_failed = Some(error.kind());
                self.outbox.clear();
                self.ping = None;
            }
            if self.ping.is_none() {
                return Poll::Ready(());
            }
        }
    }

    /// The last bytes leave. Then a server, or who fails the connection, ends the stream and waits for the peer to do so;
    /// a client lets the server go first (RFC 6455 §7.1.1). Closing at once could reset the connection under the Close.
    fn poll_ending(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Phase::Ending {
            mut read_ended,
            mut write_ended,
        } = self.phase
        else {
            return Poll::Ready(());
        };
        let ends_first = self.role == Role::Server || self.failure.is_some();
        let out_of_time = self.clock.poll(cx).is_ready();
        loop {
            let is_written = self.poll_writes(cx).is_ready();
            if is_written && !write_ended && (ends_first || read_ended) {
                write_ended = Pin::new(&mut self.io).poll_shutdown(cx).is_ready();
            }
            if read_ended {
                break;
            }
            match self.incoming.poll_discard(cx, &mut self.io) {
                Poll::Pending => break,
                Poll::Ready(Ok(bytes)) if bytes > 0 => self.traffic.bytes_received += bytes as u64,
                Poll::Ready(_) => read_ended = true,
            }
        }
        if (read_ended && write_ended) || out_of_time {
            self.abandon(io::ErrorKind::TimedOut);
            return Poll::Ready(());
        }
        self.phase = Phase::Ending {
            read_ended,
            write_ended,
        };
        Poll::Pending
    }

    /// Nothing more is read or written.
    fn abandon(&mut self, kind: io::ErrorKind) {
        self.phase = Phase::Done;
        if self.outbox.waiting() > 0 {
            self.write_failed.get_or_insert(kind);
        }
        self.outbox.clear();
        self.ping = None;
    }
}

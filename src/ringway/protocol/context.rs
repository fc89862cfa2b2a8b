//! What a callback may do to its connection: answer in place, send, close.

use std::ops::Range;

use super::codec::Codec;
use super::commands::Commands;
use super::config::Config;
use super::prepared::{Form, Prepared, TooMuch};
use super::{Shared, State};
use crate::conn::link::{Link, Phase};
use crate::conn::outbox::Carries;
use crate::conn::output::{Backing, Output, Run};
use crate::io::{BufferId, ConnId};
use crate::proto::deflate::Deflate;
use crate::proto::frame::{self, HEADER_BYTES_MAX, Header};
use crate::proto::mask::{self, Key};
use crate::proto::{
    CONTROL_FRAME_BYTES_MAX, CloseCode, Kind, Message, Misuse, Opcode, Role, Sender,
};
use crate::time::Instant;

/// Bytes queued for a server above which we do not answer its Pings.
const PONG_QUEUE_BYTES_MAX: usize = 64 << 10;

/// Bytes of the largest message that was inflated and is copied when it is sent back as it is (4 KiB). A larger one leaves
/// from its own memory, through the send queue.
const INFLATED_COPY_BYTES_MAX: usize = 4 << 10;

impl Output<'_, State> {
    /// Sends a message back from where it lies: its header is written into the room before it. The receiver has moved
    /// small messages to the end of the previous answer
    /// ([`Input::set_answers_end`](crate::proto::Input::set_answers_end)), so that the answers to one receive are one
    /// run of bytes.
    #[inline(always)]
    fn reply_in_place(&mut self, message: Message<'_>) {
        let header = answer_header(&message);
        let head_len = frame::encoded_bytes(header.payload_len, false);
        let (buf, room_at, payload) = message.into_parts();
        if payload.start - room_at < head_len {
            // The header came in another buffer, so there is no room before the payload.
            return self.reply_copied(header, &buf[payload]);
        }
        let start = payload.start - head_len;
        frame::encode(&header, &mut buf[start..]);
        if start == self.run.end && self.run.end > self.run.start {
            self.run.end = payload.end;
        } else {
            self.end_run();
            self.run = Run {
                start,
                end: payload.end,
            };
        }
    }

    #[cold]
    fn reply_copied(&mut self, header: Header, payload: &[u8]) {
        let mut head = [0; HEADER_BYTES_MAX];
        let len = frame::encode(&header, &mut head);
        self.copy(Carries::Messages, &head[..len], payload);
    }
}

/// The header of a message that a server sends back.
#[inline(always)]
const fn answer_header(message: &Message<'_>) -> Header {
    Header {
        compressed: false,
        fin: true,
        opcode: message.kind().opcode(),
        payload_len: message.len() as u64,
        masking_key: None,
    }
}

/// A connection as a callback sees it.
#[derive(Debug)]
pub struct Context<'a> {
    pub(crate) output: Output<'a, State>,
    pub(super) sender: &'a mut Sender,
    /// Bytes of a message from which on it is not sent back from where it lies: because it is to be compressed or
    /// fragmented, because its memory moves to the queue, or because the connection is under TLS. One number for all, so that an answer is looked at once.
    pub(super) in_place_below: u32,
    /// Present if both sides agreed to compress messages.
    pub(super) codec: Option<&'a mut Codec>,
    phase: &'a mut Phase,
    deadline: &'a mut Instant,
    tag: u32,
    service: u16,
}

/// What a context needs of a WebSocket.
#[derive(Debug)]
pub(super) struct Speech<'a> {
    pub(super) sender: &'a mut Sender,
    pub(super) codec: Option<&'a mut Codec>,
    pub(super) in_place_below: u32,
}

impl<'a> Speech<'a> {
    /// Enough for control frames.
    pub(super) const fn of_control(sender: &'a mut Sender) -> Self {
        Self {
            sender,
            codec: None,
            in_place_below: 0,
        }
    }
}

/// Why a message was not sent. No part of it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// The peer does not keep up, and its send queue is full. Wait for [`App::writable`](super::App::writable).
    QueueFull,
    /// RFC 6455 forbids the message, for example after a Close.
    Misuse(Misuse),
}

impl From<Misuse> for SendError {
    fn from(misuse: Misuse) -> Self {
        Self::Misuse(misuse)
    }
}

impl<'a> Context<'a> {
    /// A context whose output lies in `buffer`, in scratch space or in the queue.
    #[inline(always)]
    pub(super) fn new(
        shared: &'a mut Shared,
        link: &'a mut Link,
        speech: Speech<'a>,
        scratch: &'a mut [u8],
        buffer: BufferId,
    ) -> Self {
        Self {
            tag: link.tag,
            service: link.service,
            output: Output {
                id: link.id,
                backing: Backing::Buffer(buffer),
                out: &mut link.out,
                shared,
                scratch,
                run: Run::default(),
            },
            sender: speech.sender,
            in_place_below: speech.in_place_below,
            codec: speech.codec,
            phase: &mut link.phase,
            deadline: &mut link.deadline,
        }
    }
}

impl Context<'_> {
    /// The connection's identity, the same for its whole life.
    pub const fn id(&self) -> ConnId {
        self.output.id
    }

    /// The number that the application gave to [`Handle::connect`](super::Handle::connect); 0 for an accepted
    /// connection.
    pub const fn tag(&self) -> u32 {
        self.tag
    }

    /// The worker's clock as read in this turn: when its wait ended or, for a client, at its last bulk receive.
    pub const fn now(&self) -> Instant {
        self.output.shared.now
    }

    /// Commands for other connections of this worker. They are carried out at the end of this turn.
    pub const fn commands(&mut self) -> &mut Commands {
        &mut self.output.shared.protocol.commands
    }

    /// Encodes messages once, for any number of connections in the same role as this one ([`Self::send_prepared`],
    /// [`Commands::send_prepared`]). The memory is freed when the last clone is dropped and the last send is done.
    ///
    /// # Errors
    /// [`TooMuch`]: more than 1 GiB of messages, or no block is free.
    pub fn prepare(&mut self, messages: &[(Kind, &[u8])]) -> Result<Prepared, TooMuch> {
        let role = self.role();
        self.output.shared.prepare(role, messages, None)
    }

    /// The same, and compresses the messages once for all connections that agreed to compression
    /// ([`Deflate`](super::Deflate)) and keep a window that is large enough. Others get them as they are.
    ///
    /// # Errors
    /// [`TooMuch`], as [`Self::prepare`].
    ///
    /// # Panics
    /// When a level or a window is out of its range.
    pub fn prepare_compressed(
        &mut self,
        messages: &[(Kind, &[u8])],
        deflate: &Deflate,
    ) -> Result<Prepared, TooMuch> {
        let role = self.role();
        self.output.shared.prepare(role, messages, Some(deflate))
    }

    const fn role(&self) -> Role {
        match self.sender.masks() {
            true => Role::Client,
            false => Role::Server,
        }
    }

    /// Asks for [`App::writable`](super::App::writable) once the send queue, which is not empty, is.
    pub(crate) const fn tell_when_writable(&mut self) {
        self.output.out.refused = true;
    }

    /// Bytes in the send queue, which the peer's socket has not taken.
    pub fn queued_bytes(&self) -> usize {
        self.output.out.queued_bytes()
    }

    /// Sends a message back to its sender, changed or not, from where it lies. No payload byte is copied, unless the
    /// peer does not keep up: then they are copied to its send queue. Only for servers: a client masks what it sends,
    /// and there is no room for the key.
    ///
    /// # Errors
    /// [`Misuse::AfterClose`] after our Close; [`Misuse::WrongMask`] on a client's side.
    #[inline(always)]
    pub fn reply(&mut self, message: Message<'_>) -> Result<(), Misuse> {
        let header = answer_header(&message);
        self.sender.check(&header)?;
        self.output.shared.count_out(1, header.payload_len);
        if message.len() < self.in_place_below as usize && self.output.out.queue.is_none() {
            self.output.reply_in_place(message);
        } else {
            self.reply_apart(message);
        }
        Ok(())
    }

    /// Sends a message back that cannot leave from where it lies, or may not.
    #[cold]
    fn reply_apart(&mut self, message: Message<'_>) {
        self.tally_sent(1, message.len() as u64);
        if self.compresses(message.len()) {
            return self.send_compressed(message.kind(), message.payload(), None);
        }
        let header = answer_header(&message);
        if self.is_fragmented(message.len()) {
            return self.send_fragments(header, message.payload());
        }
        if self.sender.draft().is_some() {
            return self.send_hixie(&header, message.payload());
        }
        self.log_sent(&header, message.payload());
        let is_small = message.len() <= INFLATED_COPY_BYTES_MAX;
        match self.output.backing {
            // Under TLS, what lies in the buffer is sealed at the end of the turn.
            Backing::Buffer(_) if self.output.out.entry().is_none() => {
                self.output.reply_in_place(message);
            }
            Backing::Assembly if self.codec.is_none() || !is_small => {
                self.reply_assembled(&header, message);
            }
            _ => self.output.reply_copied(header, message.payload()),
        }
    }

    /// Whether a message of this size is compressed.
    pub(super) fn compresses(&self, bytes: usize) -> bool {
        let codec = self.codec.as_ref();
        codec.is_some_and(|codec| codec.compresses(bytes))
    }

    /// Sends a message that was checked and counted in compressed form.
    fn send_compressed(&mut self, kind: Kind, payload: &[u8], masking_key: Option<[u8; 4]>) {
        let Some(codec) = &mut self.codec else {
            unreachable!("a connection without codec compresses nothing")
        };
        let shared = &mut *self.output.shared;
        let mut data = shared
            .buffers
            .take(codec.compressed_bytes_max(payload.len()));
        let engines = &mut shared.protocol.engines;
        let len = codec.compress(self.output.id, engines, payload, &mut data);
        if let Some(len) = len {
            shared.counters.deflated += 1;
            shared.counters.deflated_bytes += payload.len() as u64;
            shared.counters.deflated_to_bytes += len as u64;
        }
        let body = len.map_or(payload, |len| &data[..len]);
        let header = Header {
            fin: true,
            compressed: len.is_some(),
            opcode: kind.opcode(),
            payload_len: body.len() as u64,
            masking_key,
        };
        self.send_copied(header, body);
        self.output.shared.buffers.give_back(data);
    }

    /// Sends a message whose header is checked and counted: copied, in one frame or in several.
    fn send_copied(&mut self, header: Header, payload: &[u8]) {
        if self.is_fragmented(payload.len()) {
            return self.send_fragments(header, payload);
        }
        self.send_frame(header, payload);
    }

    pub(super) fn send_frame(&mut self, header: Header, payload: &[u8]) {
        if self.sender.draft().is_some() {
            return self.send_hixie(&header, payload);
        }
        self.log_sent(&header, payload);
        let mut head = [0; HEADER_BYTES_MAX];
        let len = frame::encode(&header, &mut head);
        let sent = self.output.copy(Carries::Messages, &head[..len], payload);
        if let Some(key) = header.masking_key {
            mask::apply(sent, Key::new(key));
        }
    }

    /// Sends a message that is not compressed from where it lies in `buffer`, whatever waits before it. Dropped after our Close.
    pub(super) fn send_in_place(
        &mut self,
        kind: Kind,
        buffer: BufferId,
        buf: &mut [u8],
        range: Range<usize>,
    ) {
        let Some(header) = self.begin_message(kind, range.len()) else {
            return;
        };
        self.log_sent(&header, &buf[range.clone()]);
        if let Some(key) = header.masking_key {
            mask::apply(&mut buf[range.clone()], Key::new(key));
        }
        let mut head = [0; HEADER_BYTES_MAX];
        let len = frame::encode(&header, &mut head);
        self.output.pass(&head[..len], buffer, buf, range);
    }

    /// Sends a message, compressed if it is to be, whatever waits before it. Dropped after our Close.
    pub(super) fn send_whole(&mut self, kind: Kind, payload: &[u8]) {
        match self.begin_message(kind, payload.len()) {
            None => {}
            Some(header) if self.compresses(payload.len()) => {
                self.send_compressed(kind, payload, header.masking_key);
            }
            Some(header) if self.is_fragmented(payload.len()) => {
                self.send_fragments(header, payload);
            }
            Some(header) => self.send_frame(header, payload),
        }
    }

    /// Checks and counts a message in one frame. `None` after our Close, when it counts as a drop.
    fn begin_message(&mut self, kind: Kind, bytes: usize) -> Option<Header> {
        let header = Header {
            compressed: false,
            fin: true,
            opcode: kind.opcode(),
            payload_len: bytes as u64,
            masking_key: self.masking_key(),
        };
        if self.sender.check(&header).is_err() {
            self.output.shared.counters.drops += 1;
            return None;
        }
        self.count_out(1, header.payload_len);
        Some(header)
    }

    /// Counts messages that the application sent.
    pub(super) fn count_out(&mut self, messages: u64, payload_bytes: u64) {
        self.output.shared.count_out(messages, payload_bytes);
        self.tally_sent(messages, payload_bytes);
    }

    fn tally_sent(&mut self, messages: u64, payload_bytes: u64) {
        let now = self.now();
        if let Some(traffic) = self.tally() {
            traffic.outgoing.count(messages, payload_bytes, now);
        }
    }

    /// Counts and logs a frame that leaves, if those of this connection are counted or logged. `payload` is not masked.
    #[inline]
    fn log_sent(&mut self, header: &Header, payload: &[u8]) {
        if let Some(traffic) = self.tally() {
            let head_len = frame::encoded_bytes(header.payload_len, header.masking_key.is_some());
            traffic
                .outgoing
                .count_frame((head_len + payload.len()) as u64);
        }
        let shared = &mut *self.output.shared;
        if let Some(log) = &mut shared.protocol.frame_log {
            log.sent(self.output.id, shared.now, header, payload);
        }
    }

    /// Whether a message of this size leaves in several frames.
    pub(super) fn is_fragmented(&self, bytes: usize) -> bool {
        let bytes_max = self.config().fragment_bytes_max;
        bytes_max.is_some_and(|max| bytes > max)
    }

    /// Sends a message in several frames (RFC 6455 §5.4). It is whole: nothing comes between its frames.
    #[cold]
    fn send_fragments(&mut self, whole: Header, payload: &[u8]) {
        let fragment_bytes = self.config().fragment_bytes_max.unwrap_or(usize::MAX);
        let mut fragments = payload.chunks(fragment_bytes.max(1)).peekable();
        let mut header = whole;
        while let Some(fragment) = fragments.next() {
            header.payload_len = fragment.len() as u64;
            header.fin = fragments.peek().is_none();
            self.send_frame(header, fragment);
            // RFC 7692 §6.1: RSV1 stands in the first frame only.
            header.compressed = false;
            header.opcode = Opcode::Continuation;
            header.masking_key = self.masking_key();
        }
    }

    /// The assembly becomes a part of the queue: its place is reserved here, and its memory moves there after the
    /// callback.
    fn reply_assembled(&mut self, header: &Header, message: Message<'_>) {
        let head_len = frame::encoded_bytes(header.payload_len, false);
        let (buf, _, payload) = message.into_parts();
        let start = payload.start - head_len; // HEADROOM is as long as the longest header
        frame::encode(header, &mut buf[start..]);
        self.output
            .queue(Carries::Messages)
            .0
            .reserve(start, payload.end);
    }

    /// Sends a message. Its payload is copied once, and leaves with this turn's sends.
    ///
    /// # Errors
    /// [`SendError`]; no part of the message was sent.
    pub fn send(&mut self, kind: Kind, payload: &[u8]) -> Result<(), SendError> {
        let compressed = self.compresses(payload.len());
        self.send_in_form(kind, payload, compressed)
    }

    /// Sends a message that is not compressed, whatever was agreed on: because it does not shrink, or because it holds a
    /// secret whose bytes its length on the wire could reveal.
    ///
    /// # Errors
    /// [`SendError`]; no part of the message was sent.
    pub fn send_uncompressed(&mut self, kind: Kind, payload: &[u8]) -> Result<(), SendError> {
        self.send_in_form(kind, payload, false)
    }

    fn send_in_form(
        &mut self,
        kind: Kind,
        payload: &[u8],
        compressed: bool,
    ) -> Result<(), SendError> {
        self.check_queue()?;
        let masking_key = self.masking_key();
        let header = Header {
            compressed: false,
            fin: true,
            opcode: kind.opcode(),
            payload_len: payload.len() as u64,
            masking_key,
        };
        self.sender.check(&header)?;
        self.count_out(1, header.payload_len);
        match compressed {
            true => self.send_compressed(kind, payload, masking_key),
            false => self.send_copied(header, payload),
        }
        Ok(())
    }

    /// Sends a message encoded by [`Self::prepare`]. It is copied only if it is small and the socket does not take it.
    ///
    /// # Errors
    /// [`SendError`]; no part of the message was sent.
    #[inline]
    pub fn send_prepared(&mut self, prepared: &Prepared, index: usize) -> Result<(), SendError> {
        self.send_prepared_run(prepared, index..index + 1)
    }

    /// Sends several prepared messages that follow each other, in one piece.
    ///
    /// # Errors
    /// [`SendError`]; no part of the messages was sent.
    ///
    /// # Panics
    /// When `messages` is empty, or goes beyond the prepared messages.
    #[inline]
    pub fn send_prepared_run(
        &mut self,
        prepared: &Prepared,
        messages: Range<usize>,
    ) -> Result<(), SendError> {
        assert!(!messages.is_empty(), "there is something to send");
        self.check_queue()?;
        let form = self.form(prepared);
        let (header, first) = form.frame(messages.start);
        let (_, last) = form.frame(messages.end - 1);
        // A whole message leaves the sender's state as it was, so the check of the first header holds for all.
        self.sender.check(&header)?;
        if self.sender.draft().is_some() {
            return self.send_prepared_hixie(form, messages);
        }
        let payload_bytes = form.payload_bytes(&messages);
        self.count_out(messages.len() as u64, payload_bytes);
        if let Some(traffic) = self.tally() {
            traffic.outgoing.frames += messages.len() as u64;
            traffic.outgoing.frame_bytes += (last.end - first.start) as u64;
        }
        self.output
            .share(form.buffer(), form.block(), first.start..last.end);
        if self.output.shared.protocol.frame_log.is_some() {
            self.log_prepared(form, messages.clone());
        }
        if self.codec.is_some() {
            self.note_prepared(prepared, form, messages);
        }
        Ok(())
    }

    #[cold]
    fn log_prepared(&mut self, form: &Form, messages: Range<usize>) {
        for index in messages {
            let shared = &mut *self.output.shared;
            if let Some(log) = &mut shared.protocol.frame_log {
                let (_, frame) = form.frame(index);
                log.sent_encoded(self.output.id, shared.now, &form.block()[frame]);
            }
        }
    }

    /// The form in which prepared messages leave. A client's takeover needs the payload for its history, which is masked.
    #[inline]
    fn form<'p>(&self, prepared: &'p Prepared) -> &'p Form {
        let compressed = self.codec.as_ref().and_then(|codec| {
            let is_possible = !(codec.has_takeover() && self.sender.masks());
            prepared
                .compressed(codec.window_bits())
                .filter(|_| is_possible)
        });
        compressed.unwrap_or_else(|| prepared.plain())
    }

    /// Counts those of the messages that left compressed, and adds them to the history.
    #[cold]
    fn note_prepared(&mut self, prepared: &Prepared, form: &Form, messages: Range<usize>) {
        let Some(codec) = &mut self.codec else { return };
        let counters = &mut self.output.shared.counters;
        for index in messages {
            let (header, _) = form.frame(index);
            if !header.compressed {
                continue;
            }
            counters.deflated += 1;
            counters.deflated_bytes += form.payload_bytes(&(index..index + 1));
            counters.deflated_to_bytes += header.payload_len;
            if codec.has_takeover() {
                codec.sent_apart(prepared.plain().payload(index));
            }
        }
    }

    /// The limits that hold for this connection.
    pub(super) fn config(&self) -> &Config {
        self.output.shared.protocol.config.of(self.service)
    }

    /// Fails with `QueueFull` if the send queue is above its limit. Not checked after our Close: then
    /// `Misuse::AfterClose` is the right error, and `writable` is not called any more.
    pub(super) fn check_queue(&mut self) -> Result<(), SendError> {
        let full = self.queued_bytes() > self.config().send_queue_bytes_max;
        if full && !self.sender.is_closed() {
            self.output.out.refused = true;
            return Err(SendError::QueueFull);
        }
        Ok(())
    }

    /// A masking key for the next frame, in the client's role.
    pub(super) fn masking_key(&mut self) -> Option<[u8; 4]> {
        let masks = self.sender.masks();
        masks.then(|| self.output.shared.protocol.keys.masking_key())
    }

    /// Sends a Ping with up to 125 bytes.
    ///
    /// # Errors
    /// [`Misuse`]; no Ping was sent.
    pub fn ping(&mut self, payload: &[u8]) -> Result<(), Misuse> {
        self.control(Opcode::Ping, payload)
    }

    /// Sends a Pong with up to 125 bytes.
    ///
    /// A client's side drops it while more than [`PONG_QUEUE_BYTES_MAX`] are queued: the server sends Pings and does
    /// not read. RFC 6455 §5.5.3 lets an endpoint answer "only the most recently processed Ping frame". A server stops
    /// reading from a client that does so.
    pub(crate) fn pong(&mut self, payload: &[u8]) -> Result<(), Misuse> {
        let is_client = self.sender.masks();
        if is_client && self.queued_bytes() > PONG_QUEUE_BYTES_MAX {
            return Ok(());
        }
        self.control(Opcode::Pong, payload)
    }

    /// Answers a Ping unless more waits than the peer would have asked for, if it read at all. For a peer whose reading of
    /// its messages does not depend on what it reads.
    pub(super) fn pong_once(&mut self, payload: &[u8]) {
        if self.queued_bytes() <= PONG_QUEUE_BYTES_MAX {
            // Fails only after our Close, when a Pong is neither due nor allowed.
            let _ = self.pong(payload);
        }
    }

    fn control(&mut self, opcode: Opcode, payload: &[u8]) -> Result<(), Misuse> {
        let mut frame = [0; CONTROL_FRAME_BYTES_MAX];
        let key = self.masking_key();
        let sender = &mut *self.sender;
        let len = sender.control(opcode, payload, key, &mut frame)?;
        self.send_control(&frame[..len]);
        Ok(())
    }

    fn send_control(&mut self, frame: &[u8]) {
        if frame.is_empty() {
            return; // Hixie-75 has no Close
        }
        if let Some(traffic) = self.tally() {
            traffic.outgoing.count_frame(frame.len() as u64);
        }
        let shared = &mut *self.output.shared;
        if let Some(log) = &mut shared.protocol.frame_log {
            log.sent_encoded(self.output.id, shared.now, frame);
        }
        self.output.copy(Carries::Control, frame, &[]);
    }

    /// Begins the closing handshake; `reason` is at most 123 bytes. When the peer answers, the worker calls
    /// [`App::close`](super::App::close). Without an answer, the connection is reset after `close_timeout`.
    ///
    /// # Errors
    /// [`Misuse::AfterClose`] when this side has sent a Close already.
    pub fn close(&mut self, code: CloseCode, reason: &str) -> Result<(), Misuse> {
        self.close_with(Some(code), reason)?;
        if *self.phase == Phase::Open {
            *self.phase = Phase::Closing;
            *self.deadline = self.now() + self.config().close_timeout;
            self.output.shared.rescheduled.push(self.output.id);
            self.hang_up_if_hixie_75();
        }
        Ok(())
    }

    pub(crate) fn close_with(
        &mut self,
        code: Option<CloseCode>,
        reason: &str,
    ) -> Result<(), Misuse> {
        let mut frame = [0; CONTROL_FRAME_BYTES_MAX];
        let key = self.masking_key();
        let sender = &mut *self.sender;
        let len = sender.close(code, reason, key, &mut frame)?;
        self.send_control(&frame[..len]);
        Ok(())
    }
}

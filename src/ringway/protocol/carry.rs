//! How the bytes of a stream travel: from a receive to pieces, and from pieces to the sends of the other end.
//!
//! ```text
//!  WebSocket ── payloads, where they were unmasked ──▶ pieces ──▶ raw connection
//!            ◀── a header before each piece ────────── pieces ◀── what was received
//!  raw connection ◀────────────── pieces, as they are ──────────────▶ raw connection
//! ```
//!
//! Owns: a stream in messages, either way. Never: decides who is joined, or how an end travels ([`super::raw`] does).
//!
//! The bytes of a message leave as they arrive: a message is never collected. What a stream brings becomes one message per
//! receive, and per [`MESSAGE_BYTES_MAX`] of it.

use std::ops::Range;

use super::app::{App, Carried, Way};
use super::context::{Context, Speech};
use super::handed::Carriage;
use super::host::Host;
use super::raw::{Pairs, Raw};
use super::websocket::{BULK_FRAME_BYTES, Ending};
use super::{Codec, Connection, Shared, Speaks, WebSocket};
use crate::conn::link::{Link, Phase, Receive};
use crate::conn::outbox::Carries;
use crate::io::{BufferId, ConnId};
use crate::proto::base64_stream::{self, Decoder};
use crate::proto::deflate::Stop;
use crate::proto::{CloseCode, Event, Input, Kind};

/// Payload bytes of a message that carries what a stream brought (64 KiB). Some clients have limits not far above it, and
/// websockify sends no more.
const MESSAGE_BYTES_MAX: usize = 64 << 10;

/// Bytes of a stream whose base64 is so long.
const BASE64_BYTES_MAX: usize = MESSAGE_BYTES_MAX / 4 * 3;

/// Payload bytes of the longest message that is moved next to the one before (2 KiB): one piece for the send costs less
/// than two. Chosen, untested.
const MOVED_BYTES_MAX: usize = 2 << 10;

/// Bytes of the longest text message for the application. They are kept until it ends, so this is what a peer can make us keep.
const CONTROL_BYTES_MAX: usize = 125;

/// What ends a line.
const LINE_FEED: &[u8] = b"\n";

/// How a stream travels in the messages of a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    /// As binary messages.
    Binary,
    /// As text messages, each of which is base64.
    Base64(Decoder),
    /// As text messages, each of which is a line.
    Lines,
    /// As binary messages; those of the peer may be text as well.
    Either,
    /// As binary messages, beside which text messages are for the application.
    Controlled,
}

impl From<Kind> for Coding {
    fn from(kind: Kind) -> Self {
        Carriage::from(kind).into()
    }
}

impl From<Carriage> for Coding {
    fn from(carriage: Carriage) -> Self {
        match carriage {
            Carriage::Binary => Self::Binary,
            Carriage::Base64 => Self::Base64(Decoder::default()),
            Carriage::Lines => Self::Lines,
            Carriage::Either => Self::Either,
            Carriage::Controlled => Self::Controlled,
        }
    }
}

/// Bytes for the other end of a pair.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) to: Option<ConnId>,
    /// Where they lie. `None`: they were inflated ([`super::raw::Pairs`]).
    pub(crate) buffer: Option<BufferId>,
    pub(crate) range: Range<usize>,
    /// A line feed follows them.
    pub(crate) ends_line: bool,
}

impl Shared {
    /// Makes pieces of the bytes of `buffer` behind `from`, for the other end of the pair. Returns where it stopped, as
    /// [`Self::feed`].
    pub(crate) fn carry<A: App>(
        &mut self,
        host: &mut Host<A>,
        conn: &mut Connection,
        buf: &mut [u8],
        from: usize,
        scratch: &mut [u8],
        buffer: BufferId,
    ) -> usize {
        let to = conn.link.pair().and_then(|pair| pair.with);
        match conn.speaks {
            Speaks::Raw(Raw { is_counted, .. }) => {
                let counted = u64::from(is_counted) * (buf.len() - from) as u64;
                self.counters.stream_bytes_in += counted;
                let range = from..buf.len();
                self.protocol.pairs.pieces.push(Piece {
                    to,
                    buffer: Some(buffer),
                    range,
                    ends_line: false,
                });
                buf.len()
            }
            Speaks::WebSocket(_) => {
                let frames = self.protocol.share.stretch(conn.link.id);
                let pairs = &mut self.protocol.pairs;
                if pairs.pieces.is_empty() {
                    pairs.inflated.clear(&mut self.buffers);
                }
                let first = pairs.pieces.len();
                let mut reading = Reading {
                    left: frames,
                    run: 0..0,
                    first,
                    to,
                    buffer,
                    controls: Vec::new(),
                };
                let mut input = Input::starting_at(buf, from);
                let carried = self.carry_frames(conn, &mut input, &mut reading, scratch);
                let read = input.position();
                reading.end_run(self, false);
                // Before the application may learn of the end.
                let (app, session) = host.of(conn.link.id);
                let obeyed = obey(app, session, &reading.controls);
                let Pairs {
                    pieces, inflated, ..
                } = &self.protocol.pairs;
                for Piece { buffer, range, .. } in &pieces[first..] {
                    let bytes = match buffer {
                        Some(_) => &buf[range.clone()],
                        None => &inflated.data[range.clone()],
                    };
                    app.carried(
                        session,
                        Carried {
                            id: conn.link.id,
                            now: self.now,
                            way: Way::ToTarget,
                            bytes,
                        },
                    );
                }
                self.protocol.share.frames += frames - reading.left;
                match obeyed.and(carried) {
                    Ok(()) => read,
                    Err(Ending::Inflates) => {
                        self.put_off(&mut conn.link);
                        read
                    }
                    Err(ending) => {
                        self.conclude(host, conn, ending, scratch);
                        buf.len()
                    }
                }
            }
            Speaks::Opening(_) | Speaks::Over => buf.len(),
        }
    }

    fn carry_frames(
        &mut self,
        conn: &mut Connection,
        input: &mut Input<'_>,
        reading: &mut Reading,
        scratch: &mut [u8],
    ) -> Result<(), Ending> {
        let Speaks::WebSocket(WebSocket {
            receiver,
            sender,
            codec,
            stream: Some(coding),
            ..
        }) = &mut conn.speaks
        else {
            unreachable!("a paired WebSocket carries a stream")
        };
        if let Some(codec) = codec.as_deref_mut().filter(|codec| codec.has_more()) {
            let kind = codec.inflow_kind();
            let speaks = (codec, &mut *coding, kind);
            self.carry_compressed(&conn.link, speaks, None, reading)?;
        }
        while reading.left > 0 {
            reading.left -= 1;
            let Some(event) = receiver.poll_event(input)? else {
                return Ok(());
            };
            let (kind, payload, ends, start) = match event {
                Event::Message(message) => {
                    let kind = message.kind();
                    let (buf, _, range) = message.into_parts();
                    let start = range.start;
                    (kind, &mut buf[range], true, Some(start))
                }
                Event::Chunk(part) => {
                    if part.frame_begins.is_some_and(|len| len > BULK_FRAME_BYTES)
                        && !part.frame_ends
                    {
                        conn.link.receive = Receive::Bulk;
                    }
                    let ends = part.message_ends;
                    if part.compressed
                        && let Some(codec) = codec
                    {
                        let arrived = Some((&*part.payload, ends));
                        let speaks = (&mut **codec, &mut *coding, part.kind);
                        self.carry_compressed(&conn.link, speaks, arrived, reading)?;
                        continue;
                    }
                    (part.kind, part.payload, ends, None)
                }
                Event::Ping(payload) => {
                    let buffer = reading.buffer;
                    let speech = Speech::of_control(sender);
                    Context::new(self, &mut conn.link, speech, scratch, buffer).pong_once(payload);
                    continue;
                }
                Event::Pong(_) => continue,
                Event::Close(close) => {
                    return Err(Ending::PeerClosed {
                        code: close.code,
                        reason: close.reason.to_owned(),
                    });
                }
            };
            let len = payload.len();
            self.count_in(u64::from(ends), len);
            if is_control(coding, kind) {
                self.take_control(conn.link.id, payload, ends, reading)?;
                continue;
            }
            let decoded = decode(coding, kind, payload, ends)?;
            // The payload of a piece is the last that was read.
            let start = start.unwrap_or_else(|| input.position() - len);
            let ends_line = ends && is_line(coding, kind);
            reading.push(self, input, start..start + decoded, ends_line);
        }
        Ok(())
    }

    /// Inflates a part of a message, and makes a piece of what comes out.
    #[cold]
    fn carry_compressed(
        &mut self,
        link: &Link,
        (codec, coding, kind): (&mut Codec, &mut Coding, Kind),
        arrived: Option<(&[u8], bool)>,
        reading: &mut Reading,
    ) -> Result<(), Ending> {
        reading.end_run(self, false);
        let config = self.protocol.config.of(link.service);
        let whose = (link.id, config.message_limits.message_bytes_max);
        let (at, stop) = self.inflate_part(whose, codec, kind, arrived)?;
        let ends = stop == Stop::MessageEnds;
        let inflated = &mut self.protocol.pairs.inflated;
        let made = inflated.end - at;
        let bytes = &mut inflated.data[at..inflated.end];
        if is_control(coding, kind) {
            let text = bytes.to_vec();
            inflated.end = at;
            self.take_control(link.id, &text, ends, reading)?;
        } else {
            inflated.end = at + decode(coding, kind, bytes, ends)?;
            let range = at..inflated.end;
            reading.push_inflated(self, range, ends && is_line(coding, kind));
        }
        self.count_in(u64::from(ends), made);
        match stop {
            Stop::Enough => Err(Ending::Inflates),
            Stop::PartEnds | Stop::MessageEnds => Ok(()),
        }
    }

    /// Keeps a part of a text message for the application, until it ends.
    #[cold]
    fn take_control(
        &mut self,
        id: ConnId,
        part: &[u8],
        ends: bool,
        reading: &mut Reading,
    ) -> Result<(), Ending> {
        let controls = &mut self.protocol.pairs.controls;
        let mut text = controls.remove(&id).unwrap_or_default();
        if text.len() + part.len() > CONTROL_BYTES_MAX {
            return Err(Ending::Unfit {
                code: CloseCode::MessageTooBig,
                reason: format!("a control message has at most {CONTROL_BYTES_MAX} bytes"),
            });
        }
        text.extend_from_slice(part);
        if !ends {
            controls.insert(id, text);
            return Ok(());
        }
        let text = String::from_utf8(text).map_err(|_| Ending::Unfit {
            code: CloseCode::InvalidFramePayloadData,
            reason: "a control message is text".to_owned(),
        })?;
        reading.controls.push(text);
        Ok(())
    }

    fn count_in(&mut self, messages: u64, payload_bytes: usize) {
        self.counters.messages_in += messages;
        self.counters.message_bytes_in += payload_bytes as u64;
    }

    /// Sends a piece to the connection that it is for. Returns whether that still takes any.
    pub(crate) fn pass_on(
        &mut self,
        conn: &mut Connection,
        (buf, scratch): (&mut [u8], &mut [u8]),
        piece: Piece,
    ) -> bool {
        let Piece {
            buffer,
            range,
            ends_line,
            ..
        } = piece;
        // Bytes from either side count for both, so that only a silent pair is idle.
        conn.link.heard = self.now;
        match (&mut conn.speaks, conn.link.phase) {
            (Speaks::Raw(raw), Phase::Open) => {
                let bytes = range.len() + usize::from(ends_line);
                self.counters.stream_bytes_out += u64::from(raw.is_counted) * bytes as u64;
                let output_to = buffer.unwrap_or(BufferId::SCRATCH);
                let mut output = self.output(&mut conn.link, scratch, output_to);
                let line_end = if ends_line { LINE_FEED } else { &[] };
                match buffer {
                    Some(buffer) if !ends_line || range.len() > MOVED_BYTES_MAX => {
                        output.pass(&[], buffer, buf, range);
                        if ends_line {
                            output.copy(Carries::Messages, line_end, &[]);
                        }
                    }
                    _ => {
                        output.copy(Carries::Messages, &buf[range], line_end);
                    }
                }
                true
            }
            (Speaks::WebSocket(websocket), Phase::Open) => {
                let coding = websocket.stream;
                let output_to = buffer.unwrap_or(BufferId::SCRATCH);
                let mut context = self.context(conn, scratch, output_to);
                match coding {
                    Some(Coding::Lines) => context.send_lines(buffer, buf, range),
                    Some(Coding::Base64(_)) => context.send_base64(&buf[range]),
                    _ => context.send_stream(buffer, buf, range),
                }
                true
            }
            _ => false,
        }
    }

    /// The stream has ended: sends what waits for more of it.
    pub(crate) fn end_carriage(&mut self, conn: &mut Connection, scratch: &mut [u8]) {
        if let Some(line) = self.protocol.pairs.lines.remove(&conn.link.id)
            && conn.link.phase == Phase::Open
        {
            self.context(conn, scratch, BufferId::SCRATCH)
                .end_line(line);
        }
    }
}

/// Tells the application what the peer has said beside the stream.
fn obey<A: App>(app: &mut A, session: &mut A::Session, controls: &[String]) -> Result<(), Ending> {
    controls.iter().try_for_each(|text| {
        let obeyed = app.control(session, text);
        obeyed.map_err(|(code, reason)| Ending::Unfit {
            code,
            reason: reason.into_owned(),
        })
    })
}

/// What is read of a WebSocket in one go.
struct Reading {
    /// Frames that may still be read.
    left: u32,
    /// Payloads that lie next to each other.
    run: Range<usize>,
    /// The first piece that is of this go.
    first: usize,
    to: Option<ConnId>,
    buffer: BufferId,
    /// Text messages for the application.
    controls: Vec<String>,
}

impl Reading {
    /// Adds a payload, which may be empty. A short one is moved next to the one before.
    fn push(
        &mut self,
        shared: &mut Shared,
        input: &mut Input<'_>,
        payload: Range<usize>,
        ends_line: bool,
    ) {
        if !payload.is_empty() {
            self.join(shared, input, payload);
        }
        if ends_line {
            self.end_run(shared, true);
        }
    }

    fn join(&mut self, shared: &mut Shared, input: &mut Input<'_>, payload: Range<usize>) {
        let joins = !self.run.is_empty() && payload.len() <= MOVED_BYTES_MAX;
        let payload = match joins && payload.start > self.run.end {
            true => input.move_back(payload, self.run.end),
            false => payload,
        };
        if !self.run.is_empty() && payload.start == self.run.end {
            self.run.end = payload.end;
        } else {
            self.end_run(shared, false);
            self.run = payload;
        }
    }

    /// Makes a piece of what was added. A line may be empty.
    fn end_run(&mut self, shared: &mut Shared, ends_line: bool) {
        let range = std::mem::take(&mut self.run);
        if !range.is_empty() || ends_line {
            shared.protocol.pairs.pieces.push(Piece {
                to: self.to,
                buffer: Some(self.buffer),
                range,
                ends_line,
            });
        }
    }

    /// Adds inflated bytes, to the piece before them if they follow it. A line may be empty.
    fn push_inflated(&self, shared: &mut Shared, range: Range<usize>, ends_line: bool) {
        let pieces = &mut shared.protocol.pairs.pieces;
        match pieces[self.first..].last_mut() {
            _ if range.is_empty() && !ends_line => {}
            Some(last) if last.buffer.is_none() && !last.ends_line => {
                last.range.end = range.end;
                last.ends_line = ends_line;
            }
            _ => pieces.push(Piece {
                to: self.to,
                buffer: None,
                range,
                ends_line,
            }),
        }
    }
}

/// Whether a message of this kind is a line, so that a line feed follows it.
const fn is_line(coding: &Coding, kind: Kind) -> bool {
    matches!((coding, kind), (Coding::Lines, Kind::Text))
}

/// Whether a message of this kind is for the application.
const fn is_control(coding: &Coding, kind: Kind) -> bool {
    matches!((coding, kind), (Coding::Controlled, Kind::Text))
}

/// Decodes the next bytes of a message in place. Returns how many bytes of the stream they are.
fn decode(
    coding: &mut Coding,
    kind: Kind,
    payload: &mut [u8],
    ends: bool,
) -> Result<usize, Ending> {
    match (coding, kind) {
        (Coding::Binary | Coding::Controlled, Kind::Binary)
        | (Coding::Lines | Coding::Either, _) => Ok(payload.len()),
        (Coding::Base64(decoder), Kind::Text) => {
            let decoded = decoder.decode(payload).and_then(|len| match ends {
                true => decoder.end().map(|()| len),
                false => Ok(len),
            });
            decoded.map_err(|fault| Ending::Unfit {
                code: CloseCode::InvalidFramePayloadData,
                reason: fault.to_string(),
            })
        }
        (Coding::Binary | Coding::Controlled, Kind::Text) => Err(Ending::Unfit {
            code: CloseCode::UnsupportedData,
            reason: "this stream takes binary messages only".to_owned(),
        }),
        (Coding::Base64(_), Kind::Binary) => Err(Ending::Unfit {
            code: CloseCode::UnsupportedData,
            reason: "this stream takes text messages only: base64".to_owned(),
        }),
    }
}

impl Context<'_> {
    /// Sends bytes of a stream as binary messages, from where they lie if they are neither compressed nor fragmented, nor were
    /// inflated.
    fn send_stream(&mut self, buffer: Option<BufferId>, buf: &mut [u8], range: Range<usize>) {
        let mut start = range.start;
        while start < range.end {
            let end = range.end.min(start + MESSAGE_BYTES_MAX);
            let is_whole = self.is_fragmented(end - start) || self.compresses(end - start);
            match buffer {
                Some(buffer) if !is_whole => {
                    self.send_in_place(Kind::Binary, buffer, buf, start..end);
                }
                _ => self.send_whole(Kind::Binary, &buf[start..end]),
            }
            start = end;
        }
    }

    /// Sends bytes of a stream as text messages.
    fn send_base64(&mut self, bytes: &[u8]) {
        let mut text = String::with_capacity(bytes.len().min(BASE64_BYTES_MAX).div_ceil(3) * 4);
        for piece in bytes.chunks(BASE64_BYTES_MAX) {
            text.clear();
            base64_stream::encode(piece, &mut text);
            self.send_whole(Kind::Text, text.as_bytes());
        }
    }
}

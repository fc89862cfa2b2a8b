//! Two endpoints in memory: what goes in is written out byte by byte, what comes out is compared with literals.
//!
//! 1. A [`Frame`] is put on the wire by the few lines below, not by the code under test: masked when a client speaks.
//! 2. Every vector is fed whole, byte by byte, cut at every offset, and (short ones) cut at every pair of offsets.
//!    The [`Outcome`] must be the same each time, and the one that the test expects.
//! 3. While it feeds, [`Listener`] checks the drive contract: all input used up, chunks in order, frames as long as
//!    announced, room for a header where it is said to be.

mod closing;
mod differential;
mod framing;
#[cfg(feature = "legacy")]
mod hixie;
mod limits;
mod sending;
mod text;
mod violations;

use super::*;

/// The masking key of every client frame here; RFC 6455 §5.7 uses the same.
const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// No limit that a test could reach by accident.
const UNLIMITED: Limits = Limits {
    frame_bytes_max: u64::MAX,
    message_bytes_max: u64::MAX,
};

/// The roles, as "who speaks": every case runs with both.
const SPEAKERS: [Role; 2] = [Role::Client, Role::Server];

const fn other(role: Role) -> Role {
    match role {
        Role::Client => Role::Server,
        Role::Server => Role::Client,
    }
}

// ---------------------------------------------------------------------------------------------------------- the wire

/// One frame as its bytes say it, right or wrong.
#[derive(Clone, Debug)]
struct Frame {
    /// FIN, RSV1–3 and the opcode.
    first: u8,
    /// The payload length, 7 bits.
    len7: u8,
    /// The extended payload length.
    extended: Vec<u8>,
    payload: Vec<u8>,
    /// The masking key, when there is one.
    key: [u8; 4],
    /// Whether MASK is as the role of the speaker wants it.
    masking_is_right: bool,
}

/// A frame in the length form that its payload needs (RFC 6455 §5.2).
fn frame(first: u8, payload: impl AsRef<[u8]>) -> Frame {
    let payload = payload.as_ref();
    let (len7, extended) = match payload.len() {
        len @ 0..=125 => (u8::try_from(len).unwrap(), vec![]),
        len @ 126..=65535 => (126, u16::try_from(len).unwrap().to_be_bytes().to_vec()),
        len => (127, (len as u64).to_be_bytes().to_vec()),
    };
    raw(first, len7, &extended, payload)
}

/// A frame in any length form.
fn raw(first: u8, len7: u8, extended: &[u8], payload: impl AsRef<[u8]>) -> Frame {
    Frame {
        first,
        len7,
        extended: extended.to_vec(),
        payload: payload.as_ref().to_vec(),
        key: KEY,
        masking_is_right: true,
    }
}

impl Frame {
    fn wrongly_masked(mut self) -> Self {
        self.masking_is_right = false;
        self
    }

    fn wire(&self, speaker: Role) -> Vec<u8> {
        let masked = (speaker == Role::Client) == self.masking_is_right;
        let mut wire = vec![
            self.first,
            if masked { self.len7 | 0x80 } else { self.len7 },
        ];
        wire.extend_from_slice(&self.extended);
        if masked {
            wire.extend_from_slice(&self.key);
            wire.extend(
                self.payload
                    .iter()
                    .zip(0..)
                    .map(|(o, i)| o ^ self.key[i % 4]),
            );
        } else {
            wire.extend_from_slice(&self.payload);
        }
        wire
    }
}

fn wire(speaker: Role, frames: &[Frame]) -> Vec<u8> {
    frames.iter().flat_map(|f| f.wire(speaker)).collect()
}

// ------------------------------------------------------------------------------------------------------ what was heard

/// An event without its borrows; the chunks of a message are put together.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Heard {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
    Violation(Violation),
}

use Heard::{Binary, Close as Closing, Ping, Pong, Text};

fn text(text: &str) -> Heard {
    Text(text.to_owned())
}

fn binary(bytes: impl AsRef<[u8]>) -> Heard {
    Binary(bytes.as_ref().to_vec())
}

fn ping(bytes: impl AsRef<[u8]>) -> Heard {
    Ping(bytes.as_ref().to_vec())
}

fn pong(bytes: impl AsRef<[u8]>) -> Heard {
    Pong(bytes.as_ref().to_vec())
}

fn closing(code: u16, reason: &str) -> Heard {
    Closing(Some(code), reason.to_owned())
}

fn violation(violation: Violation) -> Heard {
    Heard::Violation(violation)
}

/// All that one endpoint made of what it was fed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Outcome {
    heard: Vec<Heard>,
    /// The bytes so far of a message that has not ended; none after a violation.
    unfinished: Option<Vec<u8>>,
}

// --------------------------------------------------------------------------------------------------------- the endpoint

/// One endpoint that only listens, and the checks of the drive contract.
struct Listener {
    socket: WebSocket,
    outcome: Outcome,
    /// Bytes of the data frame in progress that have not come.
    frame_remaining: Option<u64>,
    /// Whether it answers every whole message in the input itself, as an echo does.
    echoes: bool,
    /// Whether it takes a few short messages at a time on their own path.
    short: bool,
}

/// The answers that an echo has made in one input: they lie in one run, and nothing later may touch them.
#[derive(Default)]
struct Answers {
    begin: usize,
    bytes: Vec<u8>,
}

impl Answers {
    fn end(&self) -> usize {
        self.begin + self.bytes.len()
    }

    /// Answers `message` where it lies, with a header that takes all the room.
    fn add(&mut self, message: Message<'_>) {
        let (buf, room_at, payload) = message.into_parts();
        buf[room_at..payload.start].fill(0xEE);
        if room_at != self.end() {
            self.begin = room_at;
            self.bytes.clear();
        }
        self.bytes.extend_from_slice(&buf[room_at..payload.end]);
    }
}

impl Listener {
    fn new(role: Role, limits: Limits) -> Self {
        Self {
            socket: WebSocket::new(role, limits),
            outcome: Outcome::default(),
            frame_remaining: None,
            echoes: false,
            short: false,
        }
    }

    fn feed(&mut self, piece: &[u8]) {
        let mut piece = piece.to_vec();
        let mut input = Input::new(&mut piece);
        let mut answers = Answers::default();
        loop {
            if self.short && !self.hear_short(&mut input, &mut answers) {
                continue;
            }
            let before = input.position();
            let heard = match self.socket.receiver.poll_event(&mut input) {
                Ok(None) => break,
                Ok(Some(Event::Message(message))) if self.echoes => {
                    let heard = own_message(&message);
                    answers.add(message);
                    input.set_answers_end(Some(answers.end()));
                    heard
                }
                Ok(Some(Event::Chunk(chunk))) => {
                    let chunk = OwnedChunk::new(chunk);
                    self.hear_chunk(chunk);
                    continue;
                }
                Ok(Some(event)) => own(event),
                Err(violation) => Heard::Violation(violation),
            };
            assert!(
                !self
                    .outcome
                    .heard
                    .iter()
                    .any(|heard| matches!(heard, Heard::Close(..) | Heard::Violation(_))),
                "{heard:?} after the end: {:?}",
                self.outcome.heard
            );
            match heard {
                Text(_) | Binary(_) => assert_eq!(self.outcome.unfinished, None),
                Heard::Violation(_) => self.outcome.unfinished = None,
                Ping(_) | Pong(_) | Closing(..) => {}
            }
            if matches!(heard, Heard::Close(..) | Heard::Violation(_)) {
                assert!(self.socket.receiver.is_done());
            } else {
                assert!(input.position() > before, "an event of no bytes");
            }
            self.outcome.heard.push(heard);
        }
        assert_eq!(
            input.buf[answers.begin..answers.end()],
            answers.bytes,
            "answers stay as they were made"
        );
        assert_eq!(input.remaining(), 0, "None means that all is used up");
        assert_eq!(
            self.socket.receiver.poll_event(&mut input),
            Ok(None),
            "and stays so"
        );
        if !self.socket.receiver.is_done() {
            assert_eq!(
                self.socket.receiver.payload_remaining(),
                self.frame_remaining
            );
        }
    }

    /// Up to two short messages; false when there may be more.
    fn hear_short(&mut self, input: &mut Input<'_>, answers: &mut Answers) -> bool {
        let Self {
            socket,
            outcome,
            echoes,
            ..
        } = self;
        let before = input.position();
        let mut count = 0;
        let result = socket.receiver.short_messages(input, 2, |message| {
            assert!(message.len() <= 125);
            count += 1;
            outcome.heard.push(own_message(&message));
            echoes.then(|| {
                answers.add(message);
                answers.end()
            })
        });
        match result {
            Ok(frames) => {
                assert_eq!(frames, count);
                assert_eq!(frames > 0, input.position() > before);
                frames < 2
            }
            Err(violation) => {
                assert!(socket.receiver.is_done());
                outcome.heard.push(Heard::Violation(violation));
                true
            }
        }
    }

    fn hear_chunk(&mut self, chunk: OwnedChunk) {
        assert_eq!(chunk.message_begins, self.outcome.unfinished.is_none());
        match chunk.frame_begins {
            Some(len) => assert_eq!(self.frame_remaining.replace(len), None),
            None => assert!(
                !chunk.payload.is_empty(),
                "an empty chunk only at a boundary"
            ),
        }
        let left =
            self.frame_remaining.take().expect("inside a frame") - chunk.payload.len() as u64;
        assert_eq!(chunk.frame_ends, left == 0);
        if left > 0 {
            self.frame_remaining = Some(left);
        }
        let mut message = self.outcome.unfinished.take().unwrap_or_default();
        message.extend_from_slice(&chunk.payload);
        if chunk.message_ends {
            assert!(chunk.frame_ends);
            self.outcome.heard.push(whole(chunk.kind, message));
        } else {
            self.outcome.unfinished = Some(message);
        }
    }
}

struct OwnedChunk {
    kind: Kind,
    payload: Vec<u8>,
    message_begins: bool,
    frame_begins: Option<u64>,
    frame_ends: bool,
    message_ends: bool,
}

impl OwnedChunk {
    fn new(chunk: Chunk<'_>) -> Self {
        Self {
            kind: chunk.kind,
            payload: chunk.payload.to_vec(),
            message_begins: chunk.message_begins,
            frame_begins: chunk.frame_begins,
            frame_ends: chunk.frame_ends,
            message_ends: chunk.message_ends,
        }
    }
}

fn own_message(message: &Message<'_>) -> Heard {
    assert_eq!(message.text().is_some(), message.kind() == Kind::Text);
    assert_eq!(message.len(), message.payload().len());
    whole(message.kind(), message.payload().to_vec())
}

fn own(event: Event<'_>) -> Heard {
    match event {
        Event::Message(message) => {
            let heard = own_message(&message);
            let (buf, room_at, payload) = message.into_parts();
            assert!(
                room_at < payload.start,
                "a byte of header at least is in this input"
            );
            assert!(payload.start - room_at <= frame::HEADER_BYTES_MAX && payload.end <= buf.len());
            heard
        }
        Event::Ping(payload) => ping(payload),
        Event::Pong(payload) => pong(payload),
        Event::Close(close) => Closing(close.code.map(CloseCode::number), close.reason.to_owned()),
        Event::Chunk(_) => unreachable!("a chunk is not whole"),
    }
}

fn whole(kind: Kind, payload: Vec<u8>) -> Heard {
    match kind {
        Kind::Text => Text(String::from_utf8(payload).expect("text is UTF-8")),
        Kind::Binary => Binary(payload),
    }
}

// ------------------------------------------------------------------------------------------------------------- splits

/// Vectors up to this long are cut at every pair of offsets.
const PAIRS_BYTES_MAX: usize = if cfg!(miri) { 12 } else { 64 };

/// Vectors up to this long are cut at every offset; longer ones where a header or a word can end.
const EVERY_BYTES_MAX: usize = if cfg!(miri) { 48 } else { 1200 };

fn listen(listener: Role, limits: Limits, pieces: &[&[u8]], echoes: bool) -> Outcome {
    let [outcome, by_short] = [false, true].map(|short| {
        let mut listener = Listener::new(listener, limits);
        (listener.echoes, listener.short) = (echoes, short);
        for piece in pieces {
            listener.feed(piece);
        }
        listener.outcome
    });
    assert_eq!(outcome, by_short, "the path of short messages, {pieces:x?}");
    outcome
}

fn interesting(len: usize) -> impl Iterator<Item = usize> {
    (0..=len).filter(move |&at| {
        len <= EVERY_BYTES_MAX || at < 80 || len - at < 80 || (at % 4096).wrapping_add(3) % 4096 < 6
    })
}

/// Feeds `wire` in every split and demands `expected` of each.
fn in_every_split(listener: Role, limits: Limits, wire: &[u8], expected: &Outcome) {
    let check = |pieces: &[&[u8]], split: &dyn std::fmt::Debug| {
        for echoes in [false, true] {
            let outcome = listen(listener, limits, pieces, echoes);
            assert!(
                outcome == *expected,
                "{listener:?} hears {outcome:?}\n    instead of {expected:?}\n    when {:x?}… is {split:?}, \
                 echoes: {echoes}",
                &wire[..wire.len().min(80)],
            );
        }
    };
    check(&[wire], &"whole");
    let bytes: Vec<&[u8]> = wire.chunks(1).collect();
    check(&bytes, &"fed byte by byte");
    for cut in interesting(wire.len()) {
        check(&[&wire[..cut], &wire[cut..]], &("cut at", cut));
        if wire.len() <= PAIRS_BYTES_MAX {
            for cut2 in cut..=wire.len() {
                check(
                    &[&wire[..cut], &wire[cut..cut2], &wire[cut2..]],
                    &("cut at", cut, cut2),
                );
            }
        }
    }
}

/// The case, with either side speaking: `frames` in every split are heard as `expected`, and no message is left open.
fn hears(frames: &[Frame], expected: &[Heard]) {
    hears_within(UNLIMITED, frames, expected);
}

fn hears_within(limits: Limits, frames: &[Frame], expected: &[Heard]) {
    let expected = Outcome {
        heard: expected.to_vec(),
        unfinished: None,
    };
    for speaker in SPEAKERS {
        in_every_split(other(speaker), limits, &wire(speaker, frames), &expected);
    }
}

// ------------------------------------------------------------------------------------------------------------- the pair

/// Two endpoints that hear each other.
struct Pair {
    client: Speaker,
    server: Speaker,
}

/// One endpoint that listens and answers.
struct Speaker {
    role: Role,
    listener: Listener,
    /// What it has said and the other side has not read.
    on_its_way: Vec<u8>,
}

impl Pair {
    fn new() -> Self {
        Self {
            client: Speaker::new(Role::Client),
            server: Speaker::new(Role::Server),
        }
    }

    /// This side and the other side.
    fn sides(&mut self, role: Role) -> (&mut Speaker, &mut Speaker) {
        match role {
            Role::Client => (&mut self.client, &mut self.server),
            Role::Server => (&mut self.server, &mut self.client),
        }
    }

    fn side(&mut self, role: Role) -> &mut Speaker {
        self.sides(role).0
    }

    /// `role` reads `bytes` at most of what is on its way, and answers.
    fn step(&mut self, role: Role, bytes: usize) {
        let (reader, writer) = self.sides(role);
        let bytes = bytes.min(writer.on_its_way.len());
        let piece: Vec<u8> = writer.on_its_way.drain(..bytes).collect();
        reader.read(&piece);
    }

    /// Both sides read, `bytes` at a time, until nothing is on its way.
    fn drive(&mut self, bytes: usize) {
        while !self.client.on_its_way.is_empty() || !self.server.on_its_way.is_empty() {
            self.step(Role::Client, bytes);
            self.step(Role::Server, bytes);
        }
    }
}

impl Speaker {
    fn new(role: Role) -> Self {
        Self {
            role,
            listener: Listener::new(role, UNLIMITED),
            on_its_way: vec![],
        }
    }

    fn state(&self) -> State {
        self.listener.socket.state()
    }

    fn heard(&self) -> &[Heard] {
        &self.listener.outcome.heard
    }

    fn key(&self) -> Option<[u8; 4]> {
        (self.role == Role::Client).then_some(KEY)
    }

    /// Sends one frame.
    fn send(&mut self, opcode: Opcode, fin: bool, payload: &[u8]) -> Result<(), Misuse> {
        let masking_key = self.key();
        let header = frame::Header {
            compressed: false,
            fin,
            opcode,
            payload_len: payload.len() as u64,
            masking_key,
        };
        let mut out = [0; frame::HEADER_BYTES_MAX];
        let bytes = self.listener.socket.sender.header(&header, &mut out)?;
        self.on_its_way.extend_from_slice(&out[..bytes]);
        let body = self.on_its_way.len();
        self.on_its_way.extend_from_slice(payload);
        if let Some(key) = masking_key {
            mask::apply(&mut self.on_its_way[body..], mask::Key::new(key));
        }
        Ok(())
    }

    fn close(&mut self, code: Option<CloseCode>, reason: &str) -> Result<(), Misuse> {
        let key = self.key();
        let mut out = [0; CONTROL_FRAME_BYTES_MAX];
        let bytes = self
            .listener
            .socket
            .sender
            .close(code, reason, key, &mut out)?;
        self.on_its_way.extend_from_slice(&out[..bytes]);
        Ok(())
    }

    /// Reads, and answers as RFC 6455 wants: a Ping with a Pong, a Close with a Close, a violation with its Close.
    fn read(&mut self, piece: &[u8]) {
        let heard_before = self.heard().len();
        self.listener.feed(piece);
        let heard_now = self.heard()[heard_before..].to_vec();
        for heard in heard_now {
            if self.listener.socket.sender.is_closed() {
                return;
            }
            match heard {
                Ping(payload) => self.send(Opcode::Pong, true, &payload),
                Closing(code, reason) => self.close(code.and_then(CloseCode::sendable), &reason),
                Heard::Violation(fault) => self.close(Some(fault.close_code()), &fault.to_string()),
                Text(_) | Binary(_) | Pong(_) => Ok(()),
            }
            .expect("an answer in its place");
        }
    }
}

//! What every fuzz target does with its input. Each asserts more than "no panic": the result must not depend on how
//! the bytes were cut, and what was decoded must encode to the same bytes again.

use std::fmt::Debug;
use std::time::Duration;

use ringway::options::strings;
use ringway::proto::deflate::{self, Deflater, Direction, History, Inflater, Place, Setup, Terms};
use ringway::proto::frame::{self, Compression, HEADER_BYTES_MAX};
use ringway::proto::handshake::{self, Asked, Date, Offered, Progress, Resume, Verdict};
use ringway::proto::http::{self, Answer, StatusCode};
use ringway::proto::{
    CloseCode, Event, Input, Kind, Limits, Opcode, Receiver, Role, Violation, bzip2, compression,
    proxy_protocol, snappy, utf8 as text,
};
use ringway::services::gateway::{self, tokens};
use ringway_command::recording::{self, Limits as RecordingLimits, Way, What};
use wsperf::load::compat::command::{self, Test};
use wsperf::load::compat::reply;

#[path = "cgi.rs"]
mod cgi;
#[path = "legacy.rs"]
mod legacy;

pub use cgi::{cgi_head, cgi_path};
pub use legacy::hixie;

/// An endpoint string of either side: wrong ones have a sentence, and a colon behind a backslash ends nothing.
pub fn endpoint(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    for parse in [strings::parse_listening, strings::parse_connecting] {
        match parse(text) {
            Ok(endpoint) => {
                assert_eq!(parse(text), Ok(endpoint.clone()));
                let is_socket = !matches!(
                    endpoint.place,
                    strings::Place::Stdio | strings::Place::Process(_) | strings::Place::Serial(_)
                );
                if endpoint.websocket.is_none() && is_socket {
                    // The same endpoint carries a WebSocket.
                    let inner = text.replace('\\', "\\\\").replace(':', "\\:");
                    let inner = inner.replace('=', "\\=");
                    let wrapped = parse(&format!("autobahn:{inner}:url=ws\\://a"));
                    assert_eq!(wrapped.map(|wrapped| wrapped.place), Ok(endpoint.place));
                }
            }
            Err(bad) => assert!(bad.to_string().len() > 10),
        }
    }
}

/// One header: what decodes encodes to the same bytes, and no prefix of it decodes.
pub fn header(data: &[u8]) {
    header_with(data, Compression::None);
    header_with(data, Compression::PerMessage);
}

fn header_with(data: &[u8], compression: Compression) {
    match frame::decode(data, compression) {
        Ok(Some((header, bytes))) => {
            assert!((2..=HEADER_BYTES_MAX).contains(&bytes));
            assert!(header.payload_len <= u64::MAX >> 1);
            let mut out = [0; HEADER_BYTES_MAX];
            assert_eq!(frame::encode(&header, &mut out), bytes);
            assert_eq!(out[..bytes], data[..bytes]);
            let masked = header.masking_key.is_some();
            assert_eq!(frame::encoded_bytes(header.payload_len, masked), bytes);
            assert_eq!(frame::header_bytes(data[1]), bytes);
            assert_eq!(
                frame::decode(&data[..bytes], compression),
                Ok(Some((header, bytes)))
            );
            for cut in 0..bytes {
                assert_eq!(frame::decode(&data[..cut], compression), Ok(None));
            }
        }
        Ok(None) => assert!(data.len() < HEADER_BYTES_MAX),
        Err(violation) => {
            // Once wrong, wrong in the same way however much follows.
            let needed = data.len().min(HEADER_BYTES_MAX);
            assert_eq!(frame::decode(&data[..needed], compression), Err(violation));
        }
    }
}

/// A token file: what is read of it reads the same when it is written again, and each line counts once.
pub fn tokens(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let table = tokens::read(text);
    assert!(table.targets.len() + table.faulty <= text.lines().count());
    assert!(table.faults.len() <= table.faulty);
    let mut again = String::new();
    for (token, place) in &table.targets {
        assert!((1..=tokens::TOKEN_BYTES_MAX).contains(&token.len()));
        assert_eq!(
            gateway::Place::parse(&place.to_string()).as_ref(),
            Some(place)
        );
        again += &format!("{token}: {place}\n");
    }
    let read_again = tokens::read(&again);
    assert_eq!(read_again.targets, table.targets);
    assert_eq!(read_again.faulty, 0);
}

/// The whole receive path, close payloads included, with and without the path of short messages. The first byte chooses the role, the limits and a cut; the rest
/// arrives whole, byte by byte, and in pieces as long as the cut says.
pub fn receive(data: &[u8]) {
    let Some((choice, wire)) = data.split_first() else {
        return;
    };
    let role = if choice & 1 == 0 {
        Role::Server
    } else {
        Role::Client
    };
    let limits = if choice & 2 == 0 {
        Limits::default()
    } else {
        Limits {
            frame_bytes_max: 60,
            message_bytes_max: 100,
        }
    };
    let receiver = || match choice & 4 {
        0 => Receiver::new(role, limits),
        _ => Receiver::new(role, limits).with_compression(),
    };
    let listen = |piece, short| listen_on(receiver(), limits, wire, piece, short);
    let whole = listen(wire.len().max(1), true);
    let general = listen(wire.len().max(1), false);
    assert_eq!(general, whole, "without the path of short messages");
    assert_eq!(listen(1, true), whole, "byte by byte");
    let piece = usize::from(choice >> 2) + 2;
    assert_eq!(listen(piece, true), whole, "{piece} at a time");
}

/// A PROXY header: no cut changes what it says, and only its own bytes count.
pub fn proxy(data: &[u8]) {
    let whole = proxy_protocol::parse(data);
    if let Ok(Some((_, header_bytes))) = whole {
        assert!((15..=proxy_protocol::HEADER_BYTES_MAX).contains(&header_bytes));
        assert_eq!(proxy_protocol::parse(&data[..header_bytes]), whole);
    }
    assert!(whole != Ok(None) || data.len() < proxy_protocol::HEADER_BYTES_MAX);
    let mut decided = false;
    for cut in 0..data.len() {
        match proxy_protocol::parse(&data[..cut]) {
            Ok(None) => assert!(!decided, "undecided again at {cut}"),
            early => {
                decided = true;
                assert_eq!(early, whole, "cut at {cut}");
            }
        }
    }
}

/// The records of a peer after the TLS handshake.
pub fn records(data: &[u8]) {
    ringway::tls::judge(data);
}

/// A text in two pieces, cut where the first byte says: the validator agrees with std about all of it.
pub fn utf8(data: &[u8]) {
    let Some((cut, text)) = data.split_first() else {
        return;
    };
    let (head, tail) = text.split_at(usize::from(*cut).min(text.len()));
    let mut validator = text::Validator::new();
    let pushed = validator.push(head).and_then(|()| validator.push(tail));
    match std::str::from_utf8(text) {
        Ok(_) => {
            assert_eq!(pushed, Ok(()));
            assert!(validator.is_complete());
            assert_eq!(text::validate(text), Ok(()));
        }
        // An end inside a code point is no fault until the message ends there.
        Err(e) if e.error_len().is_none() => {
            assert_eq!(pushed, Ok(()));
            assert!(!validator.is_complete());
            assert_eq!(text::validate(text), Err(text::Invalid));
        }
        Err(_) => {
            assert_eq!(pushed, Err(text::Invalid));
            assert_eq!(text::validate(text), Err(text::Invalid));
        }
    }
}

/// The head of a request, as a server reads it. What is understood can be answered, and a client understands the answer;
/// another reader of heads sees the same in it.
pub fn request(data: &[u8]) {
    let limits = handshake::Limits::default();
    let whole = handshake::parse_request(data, &limits);
    same_in_pieces(data, &whole, |bytes, resume| {
        handshake::parse_request_from(bytes, resume, &limits)
    });
    let mut answer = vec![];
    match whole {
        Ok(Progress::Complete { head, head_bytes }) => {
            assert!(head_bytes <= data.len().min(limits.head_bytes_max));
            answer_request(&head, &data[..head_bytes], &mut answer);
        }
        Ok(Progress::Incomplete { .. }) => return,
        Err(refusal) => handshake::encode_refusal(&refusal, &Date::from_unix_s(0), &mut answer),
    }
    let answered = handshake::parse_response(
        &mut answer.clone(),
        b"the sample nonce",
        &Offered::NOTHING,
        &limits,
    )
    .map(|progress| matches!(progress, Progress::Complete { .. }));
    assert!(
        matches!(answered, Ok(true) | Err(handshake::Fault::AcceptWrong)),
        "{answered:?} to {:?}",
        String::from_utf8_lossy(&answer)
    );
}

fn answer_request(asked: &Asked<'_>, head: &[u8], answer: &mut Vec<u8>) {
    let date = Date::from_unix_s(0);
    let request = match asked {
        Asked::WebSocket(request) => request.http(),
        Asked::Http(request) => request,
    };
    assert!(request.path().starts_with('/') || !request.target().starts_with('/'));
    for (name, _) in request.headers() {
        assert!(request.header(name).is_some());
    }
    is_what_httparse_reads(request, head);
    match asked {
        Asked::WebSocket(request) => {
            answer_offers(request);
            if let Some(key) = request.key() {
                assert_eq!(handshake::Key::parse(key.as_bytes()), Some(key));
            }
            assert_eq!(request.key().is_none(), request.hixie().is_some());
            let verdict = Verdict::Accept {
                compression: None,
                subprotocol: None,
                headers: &[],
            };
            assert_eq!(
                handshake::encode_verdict(request, &verdict, &date, answer),
                Ok(())
            );
            // One that was offered may be chosen.
            let verdict = Verdict::Accept {
                compression: None,
                subprotocol: request.subprotocols().last(),
                headers: &[],
            };
            let mut other = vec![];
            assert_eq!(
                handshake::encode_verdict(request, &verdict, &date, &mut other),
                Ok(())
            );
        }
        Asked::Http(request) => {
            let page = Answer {
                status: StatusCode::OK,
                content_type: "text/plain",
                headers: &[],
                body: b"a page",
            };
            assert_eq!(http::encode_answer(request, &page, &date, answer), Ok(()));
        }
    }
}

/// What a server accepts, a client that offered it understands.
fn answer_offers(request: &handshake::Request<'_>) {
    request.extensions().for_each(|extension| {
        extension.params().for_each(drop);
    });
    let terms = compression::Terms {
        deflate: Some(Terms::ANY),
        ..compression::Terms::NONE
    };
    let Some((compression::Agreed::Deflate(agreed), answer)) =
        compression::accept(&terms, request.extensions())
    else {
        return;
    };
    let mut header = vec![];
    compression::encode_answer(&answer, &mut header);
    let value = header
        .strip_prefix(b"Sec-WebSocket-Extensions: ")
        .and_then(|value| value.strip_suffix(b"\r\n"))
        .expect("one header");
    let mut chosen = handshake::extensions(value);
    let extension = chosen.next().expect("one extension").expect("it is good");
    let understood = deflate::answered(&Terms::ANY, &extension).expect("it is an answer");
    assert_eq!(understood.client, agreed.client);
    assert!(agreed.server.window_bits >= 9);
    assert!(agreed.server.window_bits <= understood.server.window_bits);
    assert!(chosen.next().is_none());
}

/// Compressed messages of a stranger, cut where a length byte says: an inflater that goes on and one that is made anew for
/// each message read the same, within the limit, and what another inflater reads.
pub fn inflate(data: &[u8]) {
    let mut rest = data;
    let mut readers = [Reader::default(), Reader::default()];
    let mut judge = Some(flate2::Decompress::new(false));
    while let Some((len, after)) = rest.split_first() {
        let (message, after) = after.split_at(usize::from(*len).min(after.len()));
        rest = after;
        let [on, anew] = &mut readers;
        let is_whole = anew.ends_whole(message);
        let read = on.read(message, false);
        assert_eq!(anew.read(message, true), read);
        // After a message that is cut off each reader may go on as it likes.
        let (Ok(read), true) = (read, is_whole) else {
            return;
        };
        if let Some(judging) = &mut judge
            && !is_read_by(judging, message, &read)
        {
            judge = None;
        }
    }
}

/// False when the judge is no judge of this and what follows: its stream has ended, or a message is cut off.
fn is_read_by(judge: &mut flate2::Decompress, message: &[u8], read: &[u8]) -> bool {
    if message.is_empty() {
        return true;
    }
    let whole = [message, &[0, 0, 0xff, 0xff]].concat();
    let mut out = Vec::with_capacity(read.len() + 64);
    match judge.decompress_vec(&whole, &mut out, flate2::FlushDecompress::Sync) {
        Ok(flate2::Status::Ok) => {
            // It keeps back what a block that is cut off may still change.
            assert!(read.starts_with(&out) || out.starts_with(read));
            out == read
        }
        Ok(_) | Err(_) => false,
    }
}

/// A message of permessage-bzip2 (first byte 0) or -snappy: inflated at once and in steps the same is read, within the limit.
#[cfg(all(feature = "bzip2", feature = "snappy"))]
pub fn windowless(data: &[u8]) {
    let [choice, step, message @ ..] = data else {
        return;
    };
    let at_once = unpack(*choice, message, usize::MAX);
    assert_eq!(
        unpack(*choice, message, 16 * usize::from(*step) + 1),
        at_once
    );
}

#[cfg(all(feature = "bzip2", feature = "snappy"))]
fn unpack(choice: u8, message: &[u8], step: usize) -> Result<Vec<u8>, Violation> {
    const BYTES_MAX: usize = 1 << 16;
    let mut bzip2 = bzip2::Inflater::new(9);
    let mut snappy = snappy::Inflater::new(choice & 2 == 0);
    let mut progress = compression::Progress::new(0, BYTES_MAX as u64);
    let (mut out, mut checked) = (vec![0; 64], 0);
    loop {
        let hooks = compression::Hooks {
            grow: &mut |out, filled| out.resize(2 * filled, 0),
            check: &mut |piece| {
                checked += piece.len();
                Ok(())
            },
        };
        let is_whole = match choice {
            0 => bzip2.go_on(&mut progress, message, &mut out, step, hooks)?,
            _ => snappy.go_on(&mut progress, message, &mut out, step, hooks)?,
        };
        assert_eq!(progress.end(), checked);
        assert!(checked <= BYTES_MAX && out.len() <= 2 * BYTES_MAX);
        if is_whole {
            out.truncate(checked);
            return Ok(out);
        }
    }
}

/// Any message, compressed in any setup in the middle of others, is read again.
pub fn deflate(data: &[u8]) {
    let [choice, more, message @ ..] = data else {
        return;
    };
    let setup = Setup {
        level: 1 + choice % 9,
        window_bits: 9 + choice / 9 % 7,
        mem_level: 1 + more % 9,
    };
    let direction = Direction {
        takeover: more & 0x80 == 0,
        window_bits: setup.window_bits,
    };
    let mut history = History::default();
    let mut deflater = Deflater::new(setup);
    let mut readers = [Reader::default(), Reader::default()];
    for piece in message.chunks(usize::from(*more) * 4 + 1) {
        deflater.restart(&history);
        let mut out = vec![0; Deflater::compressed_bytes_max(piece.len())];
        let room = out.len();
        let end = deflater.compress(piece, &mut out, 0);
        assert_eq!(out.len(), room, "there was room");
        history.push(piece, direction);
        assert!(history.capacity() <= 1 << setup.window_bits);
        for (reader, anew) in readers.iter_mut().zip([true, false]) {
            assert_eq!(reader.read(&out[..end], anew).as_deref(), Ok(piece));
        }
    }
}

#[derive(Default)]
struct Reader {
    inflater: Inflater,
    history: History,
}

impl Reader {
    /// Whether a message ends between blocks: a block behind it is read as what it is.
    fn ends_whole(&self, compressed: &[u8]) -> bool {
        const BLOCK: [u8; 10] = [0, 0, 0xff, 0xff, 0, 1, 0, 0xfe, 0xff, b'x'];
        let read = |bytes: &[u8]| {
            let mut probe = Self::default();
            probe
                .history
                .push(self.history.bytes(), Direction::FARTHEST);
            probe.read(bytes, true)
        };
        let alone = read(compressed);
        let with_block = read(&[compressed, &BLOCK].concat());
        compressed.is_empty()
            || alone.is_ok_and(|alone| with_block == Ok([&alone[..], b"x"].concat()))
    }

    fn read(&mut self, compressed: &[u8], anew: bool) -> Result<Vec<u8>, Violation> {
        const BYTES_MAX: usize = 1 << 16;
        if anew || !self.inflater.goes_on() {
            self.inflater.restart(&self.history);
        }
        let mut out = vec![0; 64];
        let end = self.inflater.inflate(
            compressed,
            &self.history,
            Place {
                out: &mut out,
                at: 0,
                bytes_max: BYTES_MAX as u64,
            },
            |out, filled| out.resize(2 * filled, 0),
            |_| Ok(()),
        )?;
        out.truncate(end);
        assert!(end <= BYTES_MAX);
        self.history.push(&out, Direction::FARTHEST);
        Ok(out)
    }
}

fn is_what_httparse_reads(request: &http::Request<'_>, head: &[u8]) {
    let mut array = [httparse::EMPTY_HEADER; 128];
    let mut theirs = httparse::Request::new(&mut array);
    let minor = request.version().minor;
    match theirs.parse(head) {
        Ok(status) => assert_eq!(status, httparse::Status::Complete(head.len())),
        // It knows 1.0 and 1.1 only.
        Err(httparse::Error::Version) if minor > 1 => return,
        Err(error) => panic!("{error}"),
    }
    assert_eq!(theirs.method, Some(request.method()));
    assert_eq!(theirs.path, Some(request.target()));
    assert_eq!(theirs.version, Some(minor));
    let fields = theirs.headers.iter().map(|h| (h.name, h.value));
    assert!(request.headers().eq(fields));
}

/// The head of a response, as the client reads it that sent RFC 6455 §1.3's key and offered two subprotocols.
pub fn response(data: &[u8]) {
    let limits = handshake::Limits::default();
    let key = b"the sample nonce";
    let offered = Offered {
        subprotocols: &["chat", "superchat"],
        compression: compression::Terms {
            deflate: Some(Terms::ANY),
            snappy: Some(snappy::Terms::ANY),
            bzip2: Some(bzip2::Terms::ANY),
        },
    };
    // A response may be changed where it lies: each way to cut it gets its own copy, and what is read of it is compared
    // as text.
    let shown = |progress: Progress<handshake::Response<'_>>| match progress {
        Progress::Incomplete { resume } => Progress::Incomplete { resume },
        Progress::Complete { head, head_bytes } => {
            assert!(head_bytes <= data.len().min(limits.head_bytes_max));
            for (name, value) in head.headers() {
                assert!(head.header(name).is_some());
                assert!(!value.contains(&b'\r') && !value.contains(&b'\n'));
            }
            let mut content = vec![];
            let body = head.http().body();
            body.beginning(&data[head_bytes..], 64, &mut content);
            assert!(content.len() <= 64);
            let headers: Vec<_> = head.headers().collect();
            let head = format!("{:?} {body:?} {headers:?}", head.kind());
            Progress::Complete { head, head_bytes }
        }
    };
    let whole = handshake::parse_response(&mut data.to_vec(), key, &offered, &limits).map(shown);
    same_in_pieces(data, &whole, |bytes, resume| {
        handshake::parse_response_from(&mut bytes.to_vec(), resume, key, &offered, &limits)
            .map(shown)
    });
}

/// A command of the control protocol. What is understood keeps its limits and is understood again as it is shown; what is
/// not has an answer that is one line of JSON.
pub fn command(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match command::parse(text) {
        Ok(test) => {
            match &test {
                Test::Message(test) => {
                    assert!(test.size as u64 <= command::SIZE_MAX);
                    assert!((1..=command::MESSAGES_MAX).contains(&test.count));
                    assert!(test.timeout > Duration::ZERO && test.timeout <= command::TEST_MAX);
                }
                Test::Stress(test) => {
                    let connections = test.connection_count as u64;
                    assert!((1..=command::CONNECTIONS_MAX).contains(&connections));
                    assert!(test.msg_size as u64 * connections <= command::STRESS_BYTES_MAX);
                }
            }
            assert!(text.contains(test.token()) && !test.token().is_empty());
            assert_eq!(command::parse(&test.to_string()), Ok(test));
        }
        Err(refusal) => {
            assert!(refusal.data.starts_with("Invalid "));
            let answer = reply::refused(&refusal);
            assert!(answer.starts_with(r#"{"type":"error","token":""#));
            assert!(!answer.contains(|c| c < ' '), "{answer}");
        }
    }
}

/// A recording in any of its forms: the limits hold, and what is read of it reads the same when it is written again.
pub fn recordings(data: &[u8]) {
    let limits = RecordingLimits {
        bytes_max: 4096,
        entries_max: 64,
        payload_bytes_max: 256,
    };
    let Ok(recording) = recording::parse(data, &limits) else {
        return;
    };
    assert!(data.len() <= 4096 && recording.entries.len() <= 64);
    assert!(recording.largest() <= 256);
    let head = match recording.is_stream {
        true => recording::STREAM,
        false => recording::MESSAGES,
    };
    let mut again = [head, b"{}\n"].concat();
    let mut before = Duration::ZERO;
    for entry in &recording.entries {
        let (mark, payload) = match &entry.what {
            What::Message(_, payload) if recording.is_stream => (b'>', payload.clone()),
            What::Message(Kind::Text, payload) => (b'T', payload.clone()),
            What::Message(Kind::Binary, payload) => (b'B', payload.clone()),
            What::Ping(payload) => (b'P', payload.clone()),
            What::Pong(payload) => (b'O', payload.clone()),
            What::Close(code, reason) => {
                let code = code.number().to_be_bytes();
                (b'C', [&code, reason.as_bytes()].concat())
            }
        };
        let mark = match (entry.way, recording.is_stream) {
            (Way::Sent, _) => mark,
            (Way::Received, true) => b'<',
            (Way::Received, false) => mark.to_ascii_lowercase(),
        };
        assert!(entry.at >= before, "times go on");
        recording::write(mark, entry.at - before, &payload, &mut again);
        before = entry.at;
    }
    again.extend_from_slice(if recording.is_complete { b"." } else { b"!" });
    // A form may take more bytes than another.
    let limits = RecordingLimits::default();
    assert_eq!(recording::parse(&again, &limits), Ok(recording));
}

/// Byte by byte, with the hint of the byte before, the outcome is the same; and comes no later.
fn same_in_pieces<'b, T: Debug, E: Debug>(
    data: &'b [u8],
    whole: &Result<Progress<T>, E>,
    parse: impl Fn(&'b [u8], Resume) -> Result<Progress<T>, E>,
) {
    let mut hint = Resume::default();
    for end in 0..=data.len() {
        match parse(&data[..end], hint) {
            Ok(Progress::Incomplete { resume }) => hint = resume,
            pieces => return assert_eq!(format!("{pieces:?}"), format!("{whole:?}")),
        }
    }
    assert!(
        matches!(whole, Ok(Progress::Incomplete { .. })),
        "{whole:?}"
    );
}

/// An event without its borrows; the chunks of a message are put together.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Message(Kind, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<CloseCode>, String),
    Violation(Violation),
    /// All is read, and a message is open.
    Unfinished(Vec<u8>),
}

fn listen_on(
    mut receiver: Receiver,
    limits: Limits,
    wire: &[u8],
    piece: usize,
    short: bool,
) -> Vec<Heard> {
    let mut heard = vec![];
    let mut open: Option<Vec<u8>> = None;
    for piece in wire.chunks(piece) {
        let mut piece = piece.to_vec();
        let mut input = Input::new(&mut piece);
        loop {
            let found = if !short || open.is_some() {
                Ok(0)
            } else {
                // Answered in place, as an echo does.
                receiver.short_messages(&mut input, 3, |message| {
                    heard.push(Heard::Message(message.kind(), message.payload().to_vec()));
                    let (buf, room_at, payload) = message.into_parts();
                    buf[room_at..payload.start].fill(0xEE);
                    Some(payload.end)
                })
            };
            if let Err(violation) = found {
                heard.push(Heard::Violation(violation));
                continue;
            }
            let event = match receiver.poll_event(&mut input) {
                Ok(None) => break,
                Ok(Some(event)) => event,
                Err(violation) => {
                    assert!(violation.to_string().len() <= 123);
                    open = None;
                    heard.push(Heard::Violation(violation));
                    continue;
                }
            };
            heard.push(match event {
                Event::Message(message) => {
                    let (kind, payload) = (message.kind(), message.payload().to_vec());
                    assert!(payload.len() as u64 <= limits.frame_bytes_max);
                    Heard::Message(kind, payload)
                }
                Event::Chunk(chunk) => {
                    assert_eq!(chunk.message_begins, open.is_none());
                    let mut message = open.take().unwrap_or_default();
                    message.extend_from_slice(chunk.payload);
                    // A compressed one is held to the limit while it is inflated.
                    let excess = if chunk.compressed { 2048 } else { 0 };
                    assert!(
                        message.len() as u64
                            <= limits.message_bytes_max + limits.message_bytes_max / 64 + excess
                    );
                    if !chunk.message_ends {
                        open = Some(message);
                        continue;
                    }
                    Heard::Message(chunk.kind, message)
                }
                Event::Ping(payload) => Heard::Ping(payload.to_vec()),
                Event::Pong(payload) => Heard::Pong(payload.to_vec()),
                Event::Close(close) => Heard::Close(close.code, close.reason.to_owned()),
            });
            if let Some(Heard::Message(Kind::Text, text)) = heard.last() {
                assert!(std::str::from_utf8(text).is_ok());
            }
        }
        assert_eq!(input.remaining(), 0);
    }
    let ended = |heard: &Heard| matches!(heard, Heard::Close(..) | Heard::Violation(_));
    assert_eq!(heard.iter().any(ended), receiver.is_done());
    assert!(
        !heard.iter().rev().skip(1).any(ended),
        "nothing after the end"
    );
    heard.extend(open.map(Heard::Unfinished));
    heard
}

//! What every fuzz target does with its input. Each asserts more than "no panic": the result must not depend on how
//! the bytes were cut, and what was decoded must encode to the same bytes again.

use std::fmt::Debug;
use std::time::Duration;

use ringway::proto::frame::{self, HEADER_BYTES_MAX};
use ringway::proto::handshake::{self, Asked, Date, Progress, Resume, Verdict};
use ringway::proto::http::{self, Answer, StatusCode};
use ringway::proto::{
    CloseCode, Event, Input, Kind, Limits, Receiver, Role, Violation, proxy_protocol, utf8 as text,
};
use wsperf::load::compat::command::{self, Test};
use wsperf::load::compat::reply;

/// One header: what decodes encodes to the same bytes, and no prefix of it decodes.
pub fn header(data: &[u8]) {
    match frame::decode(data) {
        Ok(Some((header, bytes))) => {
            assert!((2..=HEADER_BYTES_MAX).contains(&bytes));
            assert!(header.payload_len <= u64::MAX >> 1);
            let mut out = [0; HEADER_BYTES_MAX];
            assert_eq!(frame::encode(&header, &mut out), bytes);
            assert_eq!(out[..bytes], data[..bytes]);
            let masked = header.masking_key.is_some();
            assert_eq!(frame::encoded_bytes(header.payload_len, masked), bytes);
            assert_eq!(frame::header_bytes(data[1]), bytes);
            assert_eq!(frame::decode(&data[..bytes]), Ok(Some((header, bytes))));
            for cut in 0..bytes {
                assert_eq!(frame::decode(&data[..cut]), Ok(None));
            }
        }
        Ok(None) => assert!(data.len() < HEADER_BYTES_MAX),
        Err(violation) => {
            // Once wrong, wrong in the same way however much follows.
            let needed = data.len().min(HEADER_BYTES_MAX);
            assert_eq!(frame::decode(&data[..needed]), Err(violation));
        }
    }
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
    let whole = listen(role, limits, wire, wire.len().max(1));
    let general = listen_on(role, limits, wire, wire.len().max(1), false);
    assert_eq!(general, whole, "without the path of short messages");
    assert_eq!(listen(role, limits, wire, 1), whole, "byte by byte");
    let piece = usize::from(choice >> 2) + 2;
    assert_eq!(
        listen(role, limits, wire, piece),
        whole,
        "{piece} at a time"
    );
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
    let answered =
        handshake::parse_response(&mut answer.clone(), b"the sample nonce", &[], &limits)
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
            request.extensions().for_each(|extension| {
                extension.params().for_each(drop);
            });
            let key = request.key();
            assert_eq!(handshake::Key::parse(key.as_bytes()), Some(key));
            let verdict = Verdict::Accept {
                subprotocol: None,
                headers: &[],
            };
            assert_eq!(
                handshake::encode_verdict(request, &verdict, &date, answer),
                Ok(())
            );
            // One that was offered may be chosen.
            let verdict = Verdict::Accept {
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
    let (key, offered) = (b"the sample nonce", ["chat", "superchat"]);
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

fn listen(role: Role, limits: Limits, wire: &[u8], piece: usize) -> Vec<Heard> {
    listen_on(role, limits, wire, piece, true)
}

fn listen_on(role: Role, limits: Limits, wire: &[u8], piece: usize, short: bool) -> Vec<Heard> {
    let mut receiver = Receiver::new(role, limits);
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
                    assert!(message.len() as u64 <= limits.message_bytes_max);
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

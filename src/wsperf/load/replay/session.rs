//! What every connection of a replay does, made once of the recording; and the comparison of what comes back.
//!
//! Owns: the plan of a session, and the sentence for the first difference. Never: sends, reads a clock.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use ringway_command::recording::{Recording, Way, What};

use crate::load::options::{Check, Replay};
use crate::proto::{CloseCode, Kind, Message};

/// Bytes that are shown of each side of a difference.
const EXCERPT_BYTES: usize = 16;

/// What a client does at one moment of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Sends the next prepared message, of so many payload bytes.
    Message(usize),
    Ping(Vec<u8>),
    Close(CloseCode, String),
}

/// An act, with its time since the WebSocket opened, at the speed of this run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) at: Duration,
    pub(super) act: Act,
}

/// The plan of a session, which all connections of all threads share.
#[derive(Debug)]
pub(in crate::load) struct Session {
    recording: Arc<Recording>,
    pub(super) steps: Vec<Step>,
    /// Whether the steps have times. Otherwise each follows the one before at once.
    pub(super) is_timed: bool,
    /// When the recording ends, at the speed of this run.
    pub(super) length: Duration,
    /// Pongs that answer no Ping: a client of this engine sends none.
    pub(super) pongs: u64,
    check: Check,
    /// The entries that came from the server.
    expected: Vec<usize>,
    /// Their bytes; the bytes themselves where a stream is compared.
    bytes: u64,
    stream: Vec<u8>,
}

impl Session {
    pub(in crate::load) fn new(replay: &Replay) -> Self {
        let recording = &replay.recording;
        let mut session = Self {
            recording: recording.clone(),
            steps: Vec::new(),
            is_timed: replay.speed.is_some(),
            length: replay.length(),
            pongs: 0,
            check: replay.check,
            expected: Vec::new(),
            bytes: 0,
            stream: Vec::new(),
        };
        for (index, entry) in recording.entries.iter().enumerate() {
            let act = match (entry.way, &entry.what) {
                (Way::Received, What::Message(_, payload)) => {
                    session.expected.push(index);
                    session.bytes += payload.len() as u64;
                    if recording.is_stream && replay.check == Check::Exact {
                        session.stream.extend_from_slice(payload);
                    }
                    continue;
                }
                (Way::Received, _) => continue,
                (Way::Sent, What::Message(_, payload)) => Act::Message(payload.len()),
                (Way::Sent, What::Ping(payload)) => Act::Ping(payload.clone()),
                (Way::Sent, What::Pong(_)) => {
                    session.pongs += 1;
                    continue;
                }
                (Way::Sent, What::Close(code, reason)) => Act::Close(*code, reason.clone()),
            };
            let at = replay.at(entry.at);
            session.steps.push(Step { at, act });
        }
        session
    }

    /// Whether what comes is compared, or counted.
    pub(super) fn is_checked(&self) -> bool {
        self.check != Check::None
    }

    /// The messages to be prepared, in the order of the steps.
    pub(super) fn messages(&self) -> Vec<(Kind, &[u8])> {
        let sent = self.recording.entries.iter();
        let sent = sent.filter(|entry| entry.way == Way::Sent);
        sent.filter_map(|entry| match &entry.what {
            What::Message(kind, payload) => Some((*kind, payload.as_slice())),
            _ => None,
        })
        .collect()
    }

    /// Of a recorded message of the server: its kind and payload.
    fn expected(&self, number: usize) -> Option<(Kind, &[u8])> {
        let entry = self.recording.entries.get(*self.expected.get(number)?)?;
        match &entry.what {
            What::Message(kind, payload) => Some((*kind, payload)),
            _ => None,
        }
    }
}

/// What has come from the server in one session.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Came {
    messages: usize,
    bytes: u64,
}

/// How much of what is expected has not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owed {
    /// Messages; of a stream, 1 if bytes are missing.
    pub(super) messages: u64,
    /// All that is expected: messages, or bytes of a stream.
    all: u64,
    came: u64,
    is_stream: bool,
}

impl Came {
    /// Takes a message. Returns what is wrong with it.
    pub(super) fn take(&mut self, message: &Message<'_>, session: &Session) -> Option<String> {
        let number = self.messages;
        let start = self.bytes;
        self.messages += 1;
        self.bytes += message.len() as u64;
        let nth = self.messages;
        match (session.check, session.recording.is_stream) {
            (Check::None, _) => None,
            (Check::Exact, true) => in_stream(nth, start, message.payload(), &session.stream),
            (Check::Exact, false) if number < session.expected.len() => {
                let (kind, payload) = session.expected(number)?;
                in_message(nth, message, kind, payload)
            }
            (_, true) => (self.bytes > session.bytes).then(|| {
                format!(
                    "with message {nth} {} bytes have come, and the recording has {}",
                    self.bytes, session.bytes
                )
            }),
            (_, false) => (nth > session.expected.len()).then(|| {
                format!(
                    "message {nth} came, and the recording has {}",
                    session.expected.len()
                )
            }),
        }
    }

    /// What is still to come. Nothing, when nothing is checked.
    pub(super) fn owed(&self, session: &Session) -> Option<Owed> {
        let is_stream = session.recording.is_stream;
        let (all, came) = match is_stream {
            true => (session.bytes, self.bytes),
            false => (session.expected.len() as u64, self.messages as u64),
        };
        let missing = all.saturating_sub(came);
        let is_owed = session.check != Check::None && missing > 0;
        is_owed.then_some(Owed {
            messages: if is_stream { 1 } else { missing },
            all,
            came,
            is_stream,
        })
    }
}

impl std::fmt::Display for Owed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = if self.is_stream { "bytes" } else { "messages" };
        write!(
            f,
            "{} {what} came, and the recording has {}",
            self.came, self.all
        )
    }
}

fn in_message(nth: usize, message: &Message<'_>, kind: Kind, payload: &[u8]) -> Option<String> {
    let name = |kind| match kind {
        Kind::Text => "text",
        Kind::Binary => "binary",
    };
    if message.kind() != kind {
        return Some(format!(
            "message {nth} is {}, and {} in the recording",
            name(message.kind()),
            name(kind)
        ));
    }
    let at = first_difference(message.payload(), payload)?;
    Some(format!(
        "message {nth} ({} bytes, recorded {}) differs at byte {at}: {}",
        message.len(),
        payload.len(),
        excerpts(&message.payload()[at..], &payload[at..])
    ))
}

fn in_stream(nth: usize, start: u64, piece: &[u8], stream: &[u8]) -> Option<String> {
    let rest = usize::try_from(start).ok();
    let rest = rest.and_then(|start| stream.get(start..)).unwrap_or(&[]);
    let at = first_difference(piece, &rest[..piece.len().min(rest.len())])?;
    Some(format!(
        "byte {} of the stream, which is byte {at} of message {nth}, differs: {}",
        start + at as u64,
        excerpts(&piece[at..], &rest[at..])
    ))
}

/// Where two texts begin to differ. The end of the shorter one is such a place.
fn first_difference(one: &[u8], other: &[u8]) -> Option<usize> {
    let differs = one.iter().zip(other).position(|(one, other)| one != other);
    differs.or_else(|| (one.len() != other.len()).then(|| one.len().min(other.len())))
}

fn excerpts(came: &[u8], recorded: &[u8]) -> String {
    format!("{} came, recorded {}", excerpt(came), excerpt(recorded))
}

/// The first bytes in hexadecimal.
fn excerpt(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes.iter().take(EXCERPT_BYTES) {
        let _ = write!(text, "{byte:02x} ");
    }
    match bytes.len() {
        0 => "nothing".to_owned(),
        1..=EXCERPT_BYTES => text.trim_end().to_owned(),
        _ => text + "…",
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use ringway_command::recording::{Limits, STREAM, parse};

    use super::*;

    fn replay(bytes: &[u8], check: Check, speed: Option<f64>) -> Session {
        let recording = parse(bytes, &Limits::default()).expect("a recording");
        Session::new(&Replay {
            file: PathBuf::new(),
            recording: recording.into(),
            speed,
            check,
            repeat: 1,
            connects_per_second: None,
        })
    }

    /// What is wrong with messages, and what is owed behind them.
    fn judged(session: &Session, messages: &[(Kind, &[u8])]) -> (Vec<String>, Option<String>) {
        let mut came = Came::default();
        let mut wrong = Vec::new();
        for (kind, payload) in messages {
            let mut bytes = payload.to_vec();
            let message = Message::new(*kind, &mut bytes, 0, 0..payload.len());
            wrong.extend(came.take(&message, session));
        }
        (wrong, came.owed(session).map(|owed| owed.to_string()))
    }

    const TALK: &[u8] = b"ringway-record 2\n{}\nT\x64\x02hit\x64\x05helloB\xc8\x01\x01xo\x00\x00b\x00\x03abcC\x00\x02\x03\xe8.";

    #[test]
    fn steps_have_their_times_at_the_speed() {
        let session = replay(TALK, Check::Exact, Some(2.0));
        let steps: Vec<_> = session
            .steps
            .iter()
            .map(|step| step.at.as_micros())
            .collect();
        assert_eq!(steps, [50, 200, 200]);
        assert_eq!(
            session.messages(),
            [(Kind::Text, &b"hi"[..]), (Kind::Binary, b"x")]
        );
        let close = Act::Close(CloseCode::NormalClosure, String::new());
        assert_eq!(session.steps[2].act, close);
        let session = replay(TALK, Check::Exact, None);
        assert!(session.steps.iter().all(|step| step.at.is_zero()));
    }

    #[test]
    fn the_first_difference_has_its_place() {
        let session = replay(TALK, Check::Exact, Some(1.0));
        let right: [(Kind, &[u8]); 2] = [(Kind::Text, b"hello"), (Kind::Binary, b"abc")];
        assert_eq!(judged(&session, &right), (vec![], None));
        let (wrong, owed) = judged(&session, &[(Kind::Text, b"help!")]);
        assert_eq!(
            wrong,
            ["message 1 (5 bytes, recorded 5) differs at byte 3: 70 21 came, recorded 6c 6f"]
        );
        assert_eq!(
            owed.as_deref(),
            Some("1 messages came, and the recording has 2")
        );
        let more = [right[0], (Kind::Text, b"abc"), (Kind::Text, b"")];
        assert_eq!(
            judged(&session, &more).0,
            [
                "message 2 is text, and binary in the recording",
                "message 3 came, and the recording has 2"
            ]
        );
        let longer: [(Kind, &[u8]); 1] = [(Kind::Text, b"hello, this is more than fits")];
        assert_eq!(
            judged(&session, &longer).0,
            [
                "message 1 (29 bytes, recorded 5) differs at byte 5: 2c 20 74 68 69 73 20 69 73 20 6d 6f 72 65 20 74 … came, recorded nothing"
            ]
        );
    }

    #[test]
    fn a_stream_is_its_bytes_in_whatever_messages() {
        let stream = [STREAM, b"{}\n>\x00\x01?<\x00\x03abc<\x00\x03def."].concat();
        let session = replay(&stream, Check::Exact, Some(1.0));
        let pieces: [(Kind, &[u8]); 3] = [
            (Kind::Binary, b"a"),
            (Kind::Binary, b""),
            (Kind::Binary, b"bcdef"),
        ];
        assert_eq!(judged(&session, &pieces), (vec![], None));
        let (wrong, owed) = judged(&session, &[pieces[0], (Kind::Binary, b"bcX")]);
        assert_eq!(
            wrong,
            [
                "byte 3 of the stream, which is byte 2 of message 2, differs: 58 came, recorded 64 65 66"
            ]
        );
        assert_eq!(
            owed.as_deref(),
            Some("4 bytes came, and the recording has 6")
        );
        let (wrong, _) = judged(&session, &[(Kind::Binary, b"abcdefg")]);
        assert_eq!(
            wrong,
            [
                "byte 6 of the stream, which is byte 6 of message 1, differs: 67 came, recorded nothing"
            ]
        );
        let session = replay(&stream, Check::Count, None);
        assert_eq!(
            judged(&session, &[(Kind::Binary, b"uvwxyz")]),
            (vec![], None)
        );
        assert_eq!(
            judged(&session, &[(Kind::Binary, b"uvwxyz!")]).0,
            ["with message 1 7 bytes have come, and the recording has 6"]
        );
        let session = replay(&stream, Check::None, None);
        assert_eq!(judged(&session, &[]), (vec![], None));
    }
}
